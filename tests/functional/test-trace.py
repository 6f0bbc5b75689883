#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""-keel-record and keel-trace from outside: a PC driven over the qtest protocol is recorded, then
replayed, shown, compared, killed, damaged, and replayed on a machine with one bad register bit."""
import glob
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get('KEEL_BUILD', TOP + '/build')
sys.path.insert(0, TOP + '/tests/functional')
import xen_fake  # noqa: E402
import xen_keel  # noqa: E402

TRACE = BUILD + '/tools/keel-trace'
failed = 0


def check(what, ok, details=''):
    global failed
    failed += not ok
    print('%sok - %s' % ('' if ok else 'not ', what))
    for line in str(details).splitlines() if not ok else []:
        print('#  ', line)
    sys.stdout.flush()


class Pc:
    """A machine without guest that does what we write."""

    def __init__(self, trace, disk):
        self.p = subprocess.Popen(
            [BUILD + '/dm/keel', '-machine', 'pc', '-accel', 'qtest', '-display', 'none', '-m', '16',
             '-qtest', 'stdio', '-serial', 'null', '-drive', 'file=%s,format=raw,index=0' % disk,
             '-keel-record', trace], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, words):
        self.p.stdin.write(words.encode() + b'\n')
        self.p.stdin.flush()
        while True:
            line = self.p.stdout.readline().decode().split()
            if not line or line[0] != 'IRQ':
                return int(line[1], 0) if len(line) > 1 else None

    def read_sector(self, lba):
        for reg, val in enumerate([0, 1, lba & 255, lba >> 8 & 255, lba >> 16, 0xe0, 0x20], 0x1f1):
            self('outb 0x%x 0x%x' % (reg, val))
        deadline = time.time() + 60
        while self('inb 0x1f7') & 0x88 != 8 and time.time() < deadline:
            self('clock_step 100000')
        return struct.pack('<256H', *[self('inw 0x1f0') for _ in range(256)])

    def end(self, sig=signal.SIGTERM):
        self.p.send_signal(sig)
        self.p.communicate()
        return self.p.returncode


def keel_trace(*words):
    r = subprocess.run([TRACE] + list(words), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return r.returncode, r.stdout.decode(), r.stderr.decode()


def record(path, disk, byte=0x41, end=signal.SIGTERM, read=True):
    pc = Pc(path, disk)
    data = pc.read_sector(5) if read else None
    for _ in range(3):
        pc('outb 0x3f8 0x%x' % byte)
        pc('inb 0x3fd')
        pc('inb 0x60')
        pc('clock_step 700000000')
    pc.end(end)
    return data


def wrong_register(path, space, addr, bit):
    r = subprocess.run([BUILD + '/tests/functional/wrong-register', path, space, addr, str(bit)],
                       stdout=subprocess.PIPE)
    return r.returncode, r.stdout.decode().strip()


def test_tool(work, trace):
    rc, out, err = keel_trace('replay', trace)
    check('a recorded session replays', rc == 0 and re.search(r'^\d+ events, .* events/s\)$', out),
          out + err)
    rc, out, err = keel_trace('info', trace)
    check('info tells how it was made and what is in it',
          rc == 0 and re.search(r'^argv +-keel-record$', out, re.M) and
          re.search(r'^drive\.ide0-hd0 +\d+ rw$', out, re.M) and
          re.search(r'^requests +\d+ port', out, re.M), out + err)
    rc, out, err = keel_trace('show', trace, '3', '4')
    check('show gives the events asked for',
          rc == 0 and [line.split()[0] for line in out.splitlines()] == ['3', '4', '5', '6'],
          out + err)
    rc, out, err = keel_trace('replay', '--png', work + '/s.png', '--state', '--until', '40', trace)
    png = open(work + '/s.png', 'rb').read(8) if os.path.exists(work + '/s.png') else b''
    check('replay stops where told, prints state and draws the screen',
          rc == 0 and png == b'\x89PNG\r\n\x1a\n' and re.search(r'^\S+\.\S+ = 0x', out, re.M) and
          re.match(r'4\d events', out), out + err)


def test_diff(work, disk, trace):
    one, other = work + '/one.ktr', work + '/other.ktr'
    shutil.copy(trace, other)
    check('a trace is the same as its copy', keel_trace('diff', trace, other) == (0, '', ''))
    record(one, disk, read=False)  # when a disk is done nobody knows
    record(other, disk, byte=0x42, read=False)
    rc, out, err = keel_trace('diff', one, other)
    check('diff shows the first other event',
          rc == 1 and 'pio write 0x3f8 size 1 = 0x41, against pio write 0x3f8 size 1 = 0x42' in out,
          out + err)


def test_own_processors(work):
    """Two of Keel's own: firmware, the other one's start, interrupts, video memory, an NMI."""
    kernel, trace = work + '/kernel', work + '/own.ktr'
    subprocess.run(['gcc', '-m32', '-nostdlib', '-static', '-no-pie', '-Wl,-Ttext=0x100000,-z,noexecstack,-n',
                    '-Wl,--build-id=none,-estart,--no-warn-rwx-segments', '-o', kernel,
                    TOP + '/tests/functional/atomics.S'],
                   check=True)
    p = subprocess.run([BUILD + '/dm/keel', '-machine', 'pc', '-accel', 'tcg', '-display', 'none', '-m', '16',
                        '-smp', '2', '-vga', 'std', '-nodefaults', '-kernel', kernel, '-keel-record', trace,
                        '-device', 'isa-debug-exit,iobase=0xf4'], capture_output=True, text=True, timeout=100)
    check('a guest on processors of its own is recorded', p.returncode == 1, p.stderr)
    os.unlink(kernel)  # the trace has it
    rc, out, err = keel_trace('replay', trace)
    check('and replays without a difference', rc == 0, out + err)
    check('with everything in it', rc == 0 and int(out.split()[0]) > 50000, out)


def test_killed(work, disk):
    path = work + '/killed.ktr'
    record(path, disk, end=signal.SIGKILL)
    rc, out, err = keel_trace('replay', path)
    check('what a killed recorder wrote replays', rc == 0 and 'did not finish' in out and
          int(out.split()[0]) > 500, out + err)


def test_xen(work):
    """The same under (a fake of) Xen, with libxl's words; the guest finds its PCI functions."""
    path = work + '/xen.ktr'
    words = xen_keel.recording('a-minimal') + ['-keel-record', '/tmp/xen.ktr']
    with xen_fake.Guest(BUILD, ram=56 << 20) as g:
        k = xen_keel.Keel(BUILD, g, words)  # which puts the guest's directory for /tmp
        found = [g.config(devfn, 0, 4) for devfn in (0, 8, 9, 11, 16, 24)]
        for port in range(0x1f0, 0x1f8):
            g.inb(port)
        g.outb(0x64, 0xfe)  # the keyboard controller resets the machine
        status = k.hangup()
        shutil.move(g.dir + '/xen.ktr', path)
    rc, out, err = keel_trace('replay', path)
    check('a session under fake Xen replays without it',
          status == 0 and found[0] == 0x12378086 and rc == 0 and int(out.split()[0]) > 30,
          '%s %s %s' % (found, out, err))
    rc, out, err = keel_trace('show', path)
    check('... and shows configuration accesses and the power event',
          'pci read 00:00.0+0x0 size 4' in out and re.search(r'\bpower event \d', out), out)


def test_broken(work, trace):
    whole = open(trace, 'rb').read()
    bad = work + '/bad.ktr'
    cases = {'not a trace': b'Ahoi' + whole[4:], 'another version': whole[:4] + b'\x09' + whole[5:],
             'a damaged frame': whole[:-9] + b'\x00' + whole[-8:], 'nothing': b''}
    for what, data in cases.items():
        with open(bad, 'wb') as f:
            f.write(data)
        rc, out, err = keel_trace('replay', bad)
        check('%s is refused in one line' % what,
              rc == 2 and err.startswith('keel-trace: ') and err.count('\n') == 1, out + err)
    for words in [[], ['replay'], ['play', trace], ['show', trace, 'x'], ['diff', trace],
                  ['replay', '--until', 'x', trace]]:
        rc, out, err = keel_trace(*words)
        check('"keel-trace %s" explains itself' % ' '.join(words[:2]).replace(work, ''),
              rc == 2 and err.startswith(('usage: ', 'keel-trace: ')), out + err)
    rc, out, err = keel_trace('info', work + '/absent')
    check('an absent file is named', rc == 2 and 'absent: No such file' in err, out + err)


def test_wrong_register(trace):
    """The player must notice a device that differs in one bit, and say which."""
    cases = [('0x1f7', 2, 'piix3-ide.0', 'STATUS'), ('0x3fd', 3, 'isa-serial.0', 'LSR')]
    for addr, bit, device, register in cases:
        rc, out = wrong_register(trace, 'pio', addr, bit)
        check('a wrong bit in %s of %s is named' % (register, device),
              rc == 1 and device in out and addr + ' ' + register in out and 'expected' in out, out)
    for path in sorted(glob.glob(TOP + '/tests/traces/*.ktr')):
        rc, out = wrong_register(path, 'pio', '0x1f7', 2)
        check('%s: a wrong bit in STATUS is named' % os.path.basename(path),
              rc == 1 and 'STATUS' in out, out)


def main():
    with tempfile.TemporaryDirectory() as work:
        disk, trace = work + '/disk', work + '/t.ktr'
        with open(disk, 'wb') as f:
            f.write(bytes(i * 7 & 255 for i in range(64 << 10)))
        data = record(trace, disk)
        check('the recorded machine reads its disk', data == open(disk, 'rb').read()[2560:3072])
        test_tool(work, trace)
        test_diff(work, disk, trace)
        test_killed(work, disk)
        test_own_processors(work)
        test_xen(work)
        test_broken(work, trace)
        test_wrong_register(trace)
    return failed != 0


sys.exit(main())
