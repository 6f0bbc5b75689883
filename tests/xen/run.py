#!/usr/bin/env python3
"""Boot Xen + dom0 under QEMU TCG and run jobs inside dom0.

  run.py -b BUILDDIR [-s SHAREDIR] start        boot, wait until dom0 is ready
  run.py -b BUILDDIR [-s SHAREDIR] job FILE...  run script(s) in the live dom0
  run.py -b BUILDDIR [-s SHAREDIR] stop         power dom0 off
  run.py -b BUILDDIR [-s SHAREDIR] all FILE...  start + job + stop (for CI)

KEEL_XEN_ALL in the environment is passed on to the jobs: they then do more.

Exit status: that of the first failing job (the others run all the same), 124 when one takes too long,
125 on harness failure. --timeout is in seconds of the emulated machine's processor time, so that other
work on the host costs a job nothing; one that waits without working may take twice as many by the clock.
"""
import argparse, os, shutil, signal, socket, subprocess, sys, time

ap = argparse.ArgumentParser()
ap.add_argument('-b', '--build', required=True)
ap.add_argument('-s', '--share')
ap.add_argument('--cpu', default='max,-smap,-smep,-la57,-rdtscp,-fsgsbase')
ap.add_argument('--smp', default='1')
ap.add_argument('--mem', default='2560')
ap.add_argument('--dom0-mem', default='1280')
ap.add_argument('--dom0-vcpus', default='1')
ap.add_argument('--xen-args', default='')
ap.add_argument('--linux-args', default='')
ap.add_argument('--boot-timeout', type=float, default=120)
ap.add_argument('--timeout', type=float, default=500)
ap.add_argument('--qemu', default='qemu-system-x86_64')
ap.add_argument('--dm', help='device model to use in place of the one in the image')
ap.add_argument('--trace-xenstored', action='store_true')
ap.add_argument('cmd', choices=['start', 'job', 'stop', 'all'])
ap.add_argument('files', nargs='*')
a = ap.parse_args()
b = os.path.abspath(a.build)
share = os.path.abspath(a.share or os.path.join(b, 'share'))
pidf = os.path.join(share, 'qemu.pid')
conf = os.path.join(share, 'console.log')
t0 = time.time()
NUDGE_SECONDS = 5

def say(*x):
    print('[run %6.1fs]' % (time.time() - t0), *x, file=sys.stderr, flush=True)

def alive():
    try:
        os.kill(int(open(pidf).read()), 0)
        return True
    except Exception:
        return False

def cpu_seconds():
    """Processor time that the emulated machine has taken so far."""
    try:
        fields = open('/proc/%s/stat' % open(pidf).read().strip()).read().rsplit(')', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')
    except OSError:
        return 0

def nudge():
    """A key that nobody reads. It happens that QEMU (7.2) never takes a timer interrupt that is pending
    in the local APIC: Xen waits for it, while a guest, with a second vCPU just plugged in, spins until
    Xen runs that one. The next interrupt of any kind ends this."""
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(1)
            s.connect(share + '/mon')
            s.sendall(b'sendkey shift\n')
            heard = more = s.recv(4096)
            while more and heard.count(b'(qemu) ') < 2: # one before the command, one after it
                more = s.recv(4096)
                heard += more
    except OSError:
        pass # it ended meanwhile, or will be asked again

def start():
    if os.path.isdir(share):
        shutil.rmtree(share)
    os.makedirs(share + '/jobs')
    shutil.copy(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'jobs/lib.sh'), share)
    with open(share + '/env', 'w') as f:
        f.write('KEEL_XEN_ALL=%s\n' % os.environ.get('KEEL_XEN_ALL', ''))
    if a.dm:
        shutil.copy(a.dm, share + '/dm')
    if a.trace_xenstored:
        open(share + '/xenstored-trace', 'w').close()
    xen = ('console=com1 com1=115200,8n1 vga= noreboot=1 loglvl=all guest_loglvl=all '
           'dom0_mem=%sM,max:%sM dom0_max_vcpus=%s spec-ctrl=no,eager-fpu xpti=no pv-l1tf=no '
           'bootscrub=0 watchdog=0 cpufreq=none iommu=no sync_console=0 %s'
           % (a.dom0_mem, a.dom0_mem, a.dom0_vcpus, a.xen_args))
    lin = ('console=hvc0 quiet mitigations=off nokaslr audit=0 apparmor=0 nmi_watchdog=0 '
           'random.trust_cpu=on cryptomgr.notests tsc=reliable %s' % a.linux_args)
    cmd = [a.qemu, '-M', 'pc', '-accel', 'tcg,thread=multi,tb-size=1024', '-cpu', a.cpu,
           '-smp', a.smp, '-m', a.mem, '-nodefaults', '-display', 'none', '-no-reboot',
           '-kernel', b + '/xen', '-append', xen,
           '-initrd', '%s/vmlinux %s,%s/initrd.cpio' % (b, lin.replace(',', ',,'), b),
           '-drive', 'file=%s/root.ext4,format=raw,if=none,id=r,readonly=on' % b,
           '-device', 'virtio-blk-pci,drive=r',
           '-fsdev', 'local,id=s,path=%s,security_model=none,multidevs=remap' % share,
           '-device', 'virtio-9p-pci,fsdev=s,mount_tag=share',
           '-object', 'rng-random,id=g,filename=/dev/urandom', '-device', 'virtio-rng-pci,rng=g',
           '-chardev', 'file,id=c,path=' + conf, '-serial', 'chardev:c',
           '-monitor', 'unix:%s/mon,server=on,wait=off' % share, '-pidfile', pidf]
    log = open(share + '/qemu.err', 'w')
    subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    end = time.time() + a.boot_timeout
    seen = 0
    marks = [b'Xen version', b'*** Serial input', b'DOM0 modules', b'DOM0 ready']
    while time.time() < end:
        time.sleep(0.1)
        try:
            d = open(conf, 'rb').read()
        except FileNotFoundError:
            d = b''
        while marks and marks[0] in d:
            say('console:', marks.pop(0).decode())
        if os.path.exists(share + '/ready'):
            say('dom0 agent ready')
            return
        if b'crashed' in d or b'Kernel panic' in d or b'Panic on CPU' in d:
            say('crash on console'); time.sleep(0.5); break
        if os.path.exists(pidf) and not alive():
            say('qemu exited'); break
    say('boot failed, console tail:')
    sys.stderr.write(open(conf, errors='replace').read()[-3000:] if os.path.exists(conf) else '')
    if alive():
        os.kill(int(open(pidf).read()), signal.SIGKILL)
    sys.exit(125)

def job(f):
    n = 1
    while os.path.exists('%s/jobs/%d.go' % (share, n)):
        n += 1
    p = '%s/jobs/%d' % (share, n)
    shutil.copyfile(f, p + '.sh')
    open(p + '.go', 'w').close()
    t = nudged = time.time(); cpu = cpu_seconds(); pos = 0
    while True:
        time.sleep(0.1)
        if time.time() - nudged > NUDGE_SECONDS:
            nudged = time.time(); nudge()
        done = os.path.exists(p + '.rc')
        if os.path.exists(p + '.out'):
            with open(p + '.out', 'rb') as o:
                o.seek(pos); d = o.read(); pos += len(d)
            sys.stdout.write(d.decode(errors='replace')); sys.stdout.flush()
        if done:
            rc = int(open(p + '.rc').read()); break
        if not alive():
            say('qemu died'); return 125
        if cpu_seconds() - cpu > a.timeout or time.time() - t > 2 * a.timeout:
            say('job %s: too long, %.0fs, %.0fs of processor time' % (
                os.path.basename(f), time.time() - t, cpu_seconds() - cpu))
            return 124
    say('job %s rc=%d in %.1fs, %.0fs of processor time' % (
        os.path.basename(f), rc, time.time() - t, cpu_seconds() - cpu))
    return rc

def stop():
    if not alive():
        return
    open(share + '/quit', 'w').close()
    for _ in range(200):
        time.sleep(0.1)
        if not alive():
            say('dom0 powered off'); return
    os.kill(int(open(pidf).read()), signal.SIGKILL); say('killed qemu')

rc = 0
if a.cmd in ('start', 'all'):
    start()
if a.cmd in ('job', 'all'):
    for f in a.files:
        failed = job(f)
        rc = rc or failed
        if failed in (124, 125):
            break
if a.cmd in ('stop', 'all'):
    stop()
sys.exit(rc)
