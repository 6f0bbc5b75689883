#!/usr/bin/env python3
"""tests/bench/net.py [--keel PROGRAM] [--qemu PROGRAM] [--runs N] [--only user,tap] [--cards a,b] [--short]
                    [--minutes N]

Networks of a guest under `keel -accel tcg` and under `qemu-system-x86_64 -accel tcg`, in turns: TCP in
bulk both ways by iperf3, request and response (one byte to a process of the host's and back by rr.c,
and pings), frames of 64 bytes, and a card that nothing passes. The same kernel (/boot/vmlinuz-*-amd64) and initramfs, the same back ends. Prints tables of medians and ratios
(ours over QEMU's speed) for docs/performance.md. Times are processor time of the emulator, all threads,
so that a busy host counts little; wall time stands beside it. Needs root for tap. Back ends and programs
take turns, and no turn is begun that would not end within --minutes (10): what is there by then is told.
"""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [TOP + '/tests/guest', TOP + '/tests/functional']
import initramfs  # noqa: E402
from netns import Namespace, can_have_namespaces, sh  # noqa: E402

CARDS = {'rtl8139': '8139cp', 'e1000': 'e1000', 'virtio-net-pci': 'virtio_net'}
IDLE = 5  # seconds
amounts = {'out': 48, 'in': 48, 'rr': 1000, 'ping': 300, 'frames': 40000}  # MiB, round trips, frames
STEPS = ['out', 'in', 'rr', 'ping', 'frames', 'idle']
LIMIT = 300  # seconds for one guest

SCRIPT = """
mount -t tmpfs t /tmp
n=0
for mac in %(macs)s; do
  for i in /sys/class/net/eth*; do [ $(cat $i/address) = $mac ] && e=${i##*/}; done
  port=$((%(port)d + n)); n=$((n + 1))
  ip link set $e up; ip addr add 10.0.2.15/24 dev $e
  for try in 1 2 3 4 5; do ping -c 1 -W 2 10.0.2.2 > /dev/null && break; done
  iperf3 -c 10.0.2.2 -p $port -n 1M > /dev/null
  echo "STEP $mac begin"
  iperf3 -c 10.0.2.2 -p $port -n %(out)dM > /tmp/l || cat /tmp/l; echo "STEP $mac out"
  iperf3 -c 10.0.2.2 -p $port -n %(in)dM -R > /tmp/l || cat /tmp/l; echo "STEP $mac in"
  rr 10.0.2.2 $((port + 100)) %(rr)d; echo "STEP $mac rr"
  ping -A -q -c %(pings)d 10.0.2.2 > /tmp/l || cat /tmp/l; echo "STEP $mac ping"
  iperf3 -u -l 18 -b 0 -c 10.0.2.2 -p $port -n %(bytes)d > /tmp/l || cat /tmp/l; echo "STEP $mac frames"
  sleep %(idle)d; echo "STEP $mac idle"
  ip addr flush dev $e; ip link set $e down
done
echo ALL DONE
poweroff -f
"""


def libraries(program):
    """The program and what it is linked with, for an initramfs."""
    out = [(program, 0o755)]
    for line in subprocess.run(['ldd', program], capture_output=True, text=True).stdout.splitlines():
        path = next((w for w in line.split() if w.startswith('/')), None)
        if path:
            out.append((path, 0o755))
    return [(path, open(path, 'rb').read(), mode) for path, mode in out]


def spent(pid):
    """Processor time of a process in ns, all threads."""
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError:
        return 0


def wakeups(pid):
    """How often its threads gave up the processor by themselves."""
    n = 0
    for t in os.listdir('/proc/%d/task' % pid):
        with open('/proc/%d/task/%s/status' % (pid, t)) as f:
            n += sum(int(line.split()[1]) for line in f if line.startswith('voluntary'))
    return n


def mac_of(i):
    return '52:54:00:00:01:%02x' % (i + 1)


class Servers:
    """iperf3 and rr for each card, in ns or on the host's loopback."""

    def __init__(self, port, n, rr, ns=None):
        enter = ['nsenter', '--net=/run/netns/' + ns.name] if ns else []
        self.all = [subprocess.Popen(enter + words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                    for i in range(n) for words in (['iperf3', '-s', '-p', str(port + i)],
                                                    [rr, 'serve', str(port + 100 + i)])]

    def close(self):
        for p in self.all:
            p.kill()
            p.wait()


def follow(p, cards):
    """{(card, step): (wall, processor, wakes)}: what each step took."""
    out, at = {}, None
    for raw in p.stdout:
        line = raw.decode(errors='replace').strip()
        words = line.split()
        if line.startswith('STEP ') and len(words) == 3:
            now = time.time(), spent(p.pid) / 1e9, wakeups(p.pid)
            if words[2] != 'begin':
                card = cards[int(words[1][-2:], 16) - 1]
                out[card, words[2]] = tuple(b - a for a, b in zip(at, now))
            at = now
        elif line and not line.startswith('['):
            print('# ' + line, file=sys.stderr)
        if line == 'ALL DONE':
            return out
    print('# the guest ended early', file=sys.stderr)
    return out


def measure(program, kind, cards, work, port):
    kernel, _ = initramfs.kernels()
    argv = [program, '-M', 'pc', '-accel', 'tcg', '-m', '256', '-nodefaults', '-display', 'none',
            '-no-reboot', '-serial', 'stdio', '-kernel', kernel, '-initrd', work + '/initrd', '-append',
            'console=ttyS0 quiet panic=-1 tsc=reliable net.ifnames=0 mitigations=off no_timer_check']
    taps = ['kb%d-%d' % (os.getpid(), i) for i in range(len(cards))]
    for i, card in enumerate(cards):
        back = 'user,id=n%d' % i if kind == 'user' else \
            'tap,id=n%d,ifname=%s,script=no,downscript=no' % (i, taps[i])
        argv += ['-netdev', back, '-device', '%s,netdev=n%d,mac=%s,romfile=' % (card, i, mac_of(i))]
    ns = Namespace('bench').__enter__() if kind == 'tap' else None
    p = servers = watchdog = None
    try:
        servers = Servers(port, len(cards), work + '/rr', ns)
        p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        watchdog = threading.Timer(LIMIT, p.kill)  # a guest that says nothing more
        watchdog.start()
        if ns:
            bridge(ns, taps)
        return follow(p, cards)
    finally:
        if watchdog:
            watchdog.cancel()
        for x in [p] if p else []:
            x.kill()
            x.wait()
        if servers:
            servers.close()
        if ns:
            ns.__exit__()


def bridge(ns, taps):
    """All taps on one bridge of the namespace's, which has the address."""
    ns('ip', 'link', 'add', 'br0', 'type', 'bridge')
    ns('ip', 'addr', 'add', '10.0.2.2/24', 'dev', 'br0')
    ns('ip', 'link', 'set', 'br0', 'up')
    for tap in taps:
        end = time.time() + 20
        while not os.path.exists('/sys/class/net/' + tap) and time.time() < end:
            time.sleep(0.01)
        sh('ip', 'link', 'set', tap, 'netns', ns.name)
        ns('ip', 'link', 'set', tap, 'master', 'br0', 'up')


def row(what, unit, ours, theirs):
    """ours, theirs: medians of speeds."""
    return '| %s | %s | %.4g | %.4g | %.2f |' % (what, unit, ours, theirs, ours / theirs if theirs else 0)


def speed(step, seconds):
    return amounts[step] / seconds if seconds > 0 else 0


def table(kind, cards, got):
    unit = {'out': 'MiB/s', 'in': 'MiB/s', 'rr': 'round trips/s', 'ping': 'round trips/s', 'frames': 'frames/s'}
    name = {'out': 'TCP out', 'in': 'TCP in', 'rr': 'request, response', 'ping': 'ping',
            'frames': '64-byte frames out'}
    ratios = []
    print('\n%s, a second of processor time:\n' % kind)
    print('| card, what | unit | Keel | QEMU | ratio | by the wall clock | processor time a GiB, Keel, QEMU |')
    print('|---|---|---|---|---|---|---|')
    for card in cards:
        for step in STEPS[:-1]:
            a, b = ([r[card, step] for r in got[who] if (card, step) in r] for who in ('keel', 'qemu'))
            if not a or not b:
                continue
            cpu = [statistics.median(speed(step, x[1]) for x in l) for l in (a, b)]
            wall = [statistics.median(speed(step, x[0]) for x in l) for l in (a, b)]
            ratios.append(cpu[0] / cpu[1])
            a_gib = '%.1f s, %.1f s' % tuple(1024 / x for x in cpu) if step in ('out', 'in') else ''
            print(row('%s, %s' % (card, name[step]), unit[step], *cpu) + ' %.2f | %s |' % (wall[0] / wall[1], a_gib))
        idle = [statistics.median([r[card, 'idle'][2] / IDLE for r in got[who] if (card, 'idle') in r] or [-1])
                for who in ('keel', 'qemu')]
        print('| %s, idle guest | wakes/s | %.0f | %.0f | | | |' % (card, *idle))
    if ratios:
        print('| geometric mean | | | | %.2f | | |' % statistics.geometric_mean(ratios))


def rounds(a, kinds, cards, work, port):
    got = {kind: {'keel': [], 'qemu': []} for kind in kinds}
    start = last = time.time()
    longest = 0
    for n, kind in [(n, kind) for n in range(a.runs) for kind in kinds]:
        if n and last + longest > start + 60 * a.minutes:
            break
        for who, program in (('keel', a.keel), ('qemu', a.qemu)):
            got[kind][who].append(measure(program, kind, cards, work, port))
        longest = max(longest, time.time() - last)
        last = time.time()
    print('%.0f s' % (last - start))
    for kind in kinds:
        print('%d runs' % len(got[kind]['qemu']))
        table(kind, cards, got[kind])


def main():
    ap = argparse.ArgumentParser(usage=__doc__)
    ap.add_argument('--keel', default=TOP + '/build-release/dm/keel')
    ap.add_argument('--qemu', default='qemu-system-x86_64')
    ap.add_argument('--runs', type=int, default=3)
    ap.add_argument('--only', default='user,tap')
    ap.add_argument('--cards', default=','.join(CARDS))
    ap.add_argument('--minutes', type=float, default=10)
    ap.add_argument('--short', action='store_true', help='less of everything')
    a = ap.parse_args()
    if a.short:
        amounts.update(out=16, rr=300, ping=150, frames=15000)
        amounts['in'] = 16
    cards = a.cards.split(',')
    port = 20000 + os.getpid() % 20000
    with tempfile.TemporaryDirectory() as work:
        script = SCRIPT % {'macs': ' '.join(mac_of(i) for i in range(len(cards))), 'port': port,
                           'out': amounts['out'], 'in': amounts['in'], 'rr': amounts['rr'], 'pings': amounts['ping'],
                           'bytes': 18 * amounts['frames'], 'idle': IDLE}
        subprocess.run(['cc', '-O1', '-static', '-o', work + '/rr', TOP + '/tests/bench/rr.c'], check=True)
        files = libraries('/usr/bin/iperf3')
        files.append(('/bin/iperf3', files.pop(0)[1], 0o755))
        files.append(('/bin/rr', open(work + '/rr', 'rb').read(), 0o755))
        initramfs.build(work + '/initrd', script, ['virtio_pci'] + [CARDS[c] for c in cards], files=files)
        kinds = [k for k in a.only.split(',') if k != 'tap' or can_have_namespaces()]
        if len(kinds) < len(a.only.split(',')):
            print('tap: skipped, needs root')
        rounds(a, kinds, cards, work, port)


if __name__ == '__main__':
    main()
