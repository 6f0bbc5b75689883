#!/usr/bin/env python3
"""tests/bench/cpu.py [--keel PROGRAM] [--qemu PROGRAM] [--runs N] [--only NAME,...] [--no-events] [--wall]

Runs the programs of tests/bench/cpu natively, in a guest under `keel -accel tcg` and in one under
`qemu-system-x86_64 -accel tcg`, then the events of tests/bench/cpu/events.c under both. Prints tables
of medians and ratios for docs/performance.md. The three take turns with each program, N times, on one and the
same processor, so that what else the host does meets all alike; a turn is two runs, the second of which
counts. Times are processor time of what runs them (the emulator, or natively the program) between two lines
of output; --wall takes the guest's own clock.
The guest is Debian's kernel (/boot/vmlinuz-*-amd64) with the programs in an initramfs.
"""
import argparse
import glob
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'cpu')
INTEGER = ['sieve', 'sha256', 'quicksort', 'strings', 'interp', 'icall', 'recursion', 'mix', 'list']
FLOATING = ['matmul', 'nbody', 'x87', 'avx2dot']
STRING = ['movsb', 'stosb']
SYSTEM = ['syscall', 'ctxswitch']
GROUPS = [('integer', INTEGER), ('floating point, SIMD, x87', FLOATING),
          ('string instructions', STRING), ('kernel', SYSTEM)]
NAMES = INTEGER + FLOATING + STRING + SYSTEM
EVENTS = ['interrupt', 'pagefault', 'tlbrefill', 'port', 'smc', 'codestore', 'pushf']
LIMIT = 3600  # seconds a guest may take, the others' turns included
RUNS_A_TURN = 2


def cpio(files):
    """An initramfs in the newc format; files: name to (mode, bytes)."""
    out = b''
    for i, (name, (mode, data)) in enumerate(list(files.items()) + [('TRAILER!!!', (0, b''))]):
        head = '070701' + ''.join('%08X' % x for x in (
            i + 1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0))
        entry = head.encode() + name.encode() + b'\0'
        out += entry + bytes(-len(entry) % 4) + data + bytes(-len(data) % 4)
    return out


def compile_all(work):
    for name in NAMES + ['init']:
        subprocess.run(['gcc', '-static', '-O2', '-o', '%s/%s' % (work, name), '%s/%s.c' % (HERE, name),
                        '-lm'], check=True)
    files = {d: (0o040755, b'') for d in ('bench', 'dev', 'proc')}
    for name in NAMES:
        files['bench/' + name] = (0o100755, open(work + '/' + name, 'rb').read())
    files['init'] = (0o100755, open(work + '/init', 'rb').read())
    with open(work + '/initrd', 'wb') as f:
        f.write(cpio(files))
    subprocess.run(['gcc', '-m64', '-O2', '-ffreestanding', '-fno-pic', '-no-pie', '-nostdlib',
                    '-mno-red-zone', '-mgeneral-regs-only', '-fno-stack-protector', '-static',
                    '-fcf-protection=none', '-Wl,--build-id=none,--no-warn-rwx-segments', '-T', HERE + '/events.ld', '-o',
                    work + '/events.elf', HERE + '/events-start.S', HERE + '/events.c'], check=True)
    subprocess.run(['objcopy', '-O', 'elf32-i386', work + '/events.elf', work + '/events'], check=True)


def spent(pid):
    """Processor time of a process in ns, all threads: its clock as clock_getcpuclockid(3) gives it."""
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError:
        return 0


def lines_from(p, limit):
    """Lines of a process's output, each with the processor time by then; for limit seconds at most."""
    os.set_blocking(p.stdout.fileno(), False)
    end, rest = time.monotonic() + limit, b''
    while time.monotonic() < end:
        data = p.stdout.read()
        now = spent(p.pid)
        if data:
            *whole, rest = (rest + data).split(b'\n')
            for line in whole:
                yield now, line.decode(errors='replace').strip()
        elif data == b'' or p.poll() is not None:
            break
        else:
            time.sleep(0.0005)


def lines_of(argv, limit):
    """The same of a program, which is ended when nobody asks any more."""
    p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT)
    try:
        yield from lines_from(p, limit)
    finally:
        p.kill()
        p.wait()


class Results:
    """Times in ns by name, and the checksums seen."""

    def __init__(self, own_clock):
        self.own_clock = own_clock
        self.times, self.sums = {}, {}

    def take(self, lines):
        """Those of one turn. The first run of it warms up."""
        found, began = {}, 0
        for now, line in lines:
            m = re.match(r'bench (\w+) ([0-9a-f]{16}) (\d+)$', line)
            if line.startswith('run '):
                began = now
            elif m:
                found[m[1]] = int(m[3]) if self.own_clock else now - began
                self.sums.setdefault(m[1], set()).add(m[2])
            elif line.startswith(('bench-missing', 'bench-failed')):
                print('# ' + line)
            elif line == 'bench-ready':
                break
        for name, ns in found.items():
            self.times.setdefault(name, []).append(ns)


def machine(program, keel):
    argv = [program, '-accel', 'tcg', '-cpu', 'max', '-m', '512', '-display', 'none', '-nodefaults',
            '-no-reboot', '-serial', 'stdio']
    return argv if keel else argv + ['-machine', 'pc']


class Guest:
    def __init__(self, program, keel, work, kernel, wall):
        append = 'console=ttyS0 quiet panic=-1 tsc=reliable runs=%d' % RUNS_A_TURN
        self.p = subprocess.Popen(machine(program, keel) + [
            '-kernel', kernel, '-initrd', work + '/initrd', '-append', append],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.lines = lines_from(self.p, LIMIT)
        self.results = Results(wall)
        self.results.take(self.lines)

    def turn(self, name):
        if self.p.poll() is not None:
            sys.exit('cpu.py: %s ended' % self.p.args[0])
        self.p.stdin.write(b'%s\n' % name.encode())
        self.p.stdin.flush()
        self.results.take(self.lines)

    def end(self):
        self.p.kill()
        self.p.wait()


class Native:
    def __init__(self, work, wall):
        self.work, self.last = work, [] if wall else ['cpu']
        self.results = Results(True)

    def turn(self, name):
        argv = ['%s/%s' % (self.work, name), str(RUNS_A_TURN)] + self.last
        self.results.take(lines_of(argv, LIMIT))


def take_turns(a, work, names):
    """The results of native, keel and, if there is one, qemu."""
    native, guests = Native(work, a.wall), []
    try:
        guests.append(Guest(a.keel, True, work, a.kernel, a.wall))
        if a.qemu:
            guests.append(Guest(a.qemu, False, work, a.kernel, a.wall))
        for _ in range(a.runs):
            for name in names:
                for who in [native] + guests:
                    who.turn(name)
    finally:
        for g in guests:
            g.end()
    return [who.results for who in [native] + guests] + ([] if a.qemu else [Results(a.wall)])


def events(program, keel, work):
    """ns an event by name: processor time between the lines "begin" and "end"."""
    found, began = {}, {}
    for now, line in lines_of(machine(program, keel) + ['-kernel', work + '/events'], 120):
        m = re.search(r'(begin|end) (\w+) (\d+)$', line)
        if m and m[1] == 'begin':
            began[m[2]] = now
        elif m and m[2] in began:
            found[m[2]] = (now - began[m[2]]) / int(m[3])
        elif line.endswith('all done'):
            break
    return found


def event_turns(a, work):
    """Medians of keel and, if there is one, qemu."""
    programs = [(a.keel, True)] + ([(a.qemu, False)] if a.qemu else [])
    found = [{} for _ in programs]
    for _ in range(a.runs):
        for by_name, (program, is_keel) in zip(found, programs):
            for name, ns in events(program, is_keel, work).items():
                by_name.setdefault(name, []).append(ns)
    medians = [{n: statistics.median(v) for n, v in by_name.items()} for by_name in found]
    return medians + ([] if a.qemu else [{}])


def geomean(values):
    return statistics.geometric_mean(values) if values else float('nan')


def print_kernels(names, nat, keel, qemu):
    print('| kernel | native ms | Keel ms | QEMU ms | Keel / native | QEMU / Keel |')
    print('|---|---:|---:|---:|---:|---:|')
    for title, group in GROUPS:
        ratios, slow = [], []
        for name in [n for n in group if n in names]:
            n, k, q = [t.get(name) and statistics.median(t[name]) / 1e6 for t in (nat, keel, qemu)]
            cells = ['%.1f' % x if x else '-' for x in (n, k, q)]
            slow += [k / n] if k and n else []
            ratios += [q / k] if q and k else []
            cells.append('%.2f' % (k / n) if k and n else '-')
            cells.append('**%.2f**' % (q / k) if q and k else '-')
            print('| %s | %s |' % (name, ' | '.join(cells)))
        if ratios:
            print('| *%s, geometric mean* | | | | %.2f | **%.2f** |'
                  % (title, geomean(slow), geomean(ratios)))


def print_events(keel, qemu):
    print('\n| event | Keel ns | QEMU ns | QEMU / Keel |')
    print('|---|---:|---:|---:|')
    for name in EVENTS:
        k, q = keel.get(name), qemu.get(name)
        print('| %s | %s | %s | %s |' % (name, '%.0f' % k if k else '-', '%.0f' % q if q else '-',
                                         '**%.2f**' % (q / k) if k and q else '-'))


def main():
    ap = argparse.ArgumentParser(usage=__doc__)
    ap.add_argument('--keel', default=os.environ.get('KEEL_BUILD', 'build') + '/dm/keel')
    ap.add_argument('--qemu', default=shutil.which('qemu-system-x86_64'))
    ap.add_argument('--kernel', default=(sorted(glob.glob('/boot/vmlinuz-*-amd64')) or [None])[-1])
    ap.add_argument('--runs', type=int, default=5)
    ap.add_argument('--only', default=','.join(NAMES))
    ap.add_argument('--no-events', action='store_true')
    ap.add_argument('--wall', action='store_true')
    a = ap.parse_args()
    names = [n for n in a.only.split(',') if n]
    unknown = [n for n in names if n not in NAMES]
    if unknown or not a.kernel:
        sys.exit('cpu.py: %s' % ('unknown kernels: ' + ', '.join(unknown) if unknown else 'no /boot/vmlinuz'))
    with tempfile.TemporaryDirectory() as work:
        compile_all(work)
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        native, keel, qemu = take_turns(a, work, names)
        print_kernels(names, native.times, keel.times, qemu.times)
        for who, sums in (('keel', keel.sums), ('qemu', qemu.sums)):
            for name in sums:
                if sums[name] != native.sums.get(name):
                    print('# %s: %s has another checksum under %s' % (name, sums[name], who))
        if not a.no_events:
            print_events(*event_turns(a, work))
    return 0 if all(n in keel.times for n in names) else 1


if __name__ == '__main__':
    sys.exit(main())
