#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tests/bench/guest-disk.py [--keel PROGRAM] [--qemu PROGRAM] [--runs N] [--cards a,b] [--format raw|qcow2]
[--cache MODE] [--short]

Disks of a guest under `keel -accel tcg` and under `qemu-system-x86_64 -accel tcg`, in turns: Linux with
direct I/O (tests/bench/disk/disk.c) on IDE DMA, virtio-blk, AHCI and NVMe. The same kernel
(/boot/vmlinuz-*-amd64), initramfs and images. Prints a table of medians and ratios (ours over QEMU's
speed) for docs/performance.md: requests in a second of processor time of the emulator, all its threads, so
that a busy host counts little; wall time stands beside it.
"""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [TOP + '/tests/guest', TOP + '/tests/functional']
import initramfs  # noqa: E402

CARDS = {  # device, name in the guest, module
    'ide': ('ide-hd,bus=ide.0,unit=0,drive=d', 'sda', 'ata_piix'),
    'virtio-blk': ('virtio-blk-pci,drive=d', 'vda', 'virtio_blk'),
    'ahci': ('ide-hd,bus=h.0,drive=d', 'sda', 'ahci'),
    'nvme': ('nvme,drive=d,serial=1', 'nvme0n1', 'nvme'),
}
MIB = 64
LIMIT = 600
STEPS = [  # name, disk.c's words, count
    ('sequential read, 64 KiB', 'read seq 65536', 1500, 1),
    ('sequential write, 64 KiB', 'write seq 65536', 1500, 1),
    ('sequential read, 64 KiB, depth 32', 'read seq 65536', 3000, 32),
    ('sequential write, 64 KiB, depth 32', 'write seq 65536', 3000, 32),
    ('random read, 4 KiB', 'read random 4096', 6000, 1),
    ('random write, 4 KiB', 'write random 4096', 4000, 1),
    ('random read, 4 KiB, depth 32', 'read random 4096', 12000, 32),
    ('random write, 4 KiB, depth 32', 'write random 4096', 12000, 32),
]


def script(node, steps):
    lines = ['sleep 1', '/disk /dev/%s read seq 65536 32 1' % node, 'echo STEP']
    for _, words, count, depth in steps:
        lines += ['/disk /dev/%s %s %d %d || echo FAILED' % (node, words, count, depth), 'echo STEP']
    return '\n'.join(lines + ['echo ALL DONE', 'poweroff -f', ''])


def spent(pid):
    """Processor time of a process in seconds, all threads."""
    return time.clock_gettime_ns((~pid << 3) | 2) / 1e9


def follow(p):
    """(wall, processor) of each step."""
    marks, end = [], time.time() + LIMIT
    for raw in p.stdout:
        line = raw.decode(errors='replace').strip()
        if line == 'STEP':
            marks.append((time.time(), spent(p.pid)))
        elif line == 'ALL DONE' or time.time() > end:
            break
        elif line and not line.startswith('['):
            print('# ' + line, file=sys.stderr)
    return [tuple(b - a for a, b in zip(*two)) for two in zip(marks, marks[1:])]


def measure(program, card, work, a):
    kernel, _ = initramfs.kernels()
    argv = [program, '-M', 'pc', '-accel', 'tcg', '-m', '256', '-nodefaults', '-display', 'none', '-no-reboot',
            '-serial', 'stdio', '-kernel', kernel, '-initrd', work + '/initrd-' + card, '-append',
            'console=ttyS0 quiet panic=-1 tsc=reliable mitigations=off no_timer_check',
            '-drive', 'if=none,id=d,file=%s/disk,format=%s,cache=%s' % (work, a.format, a.cache)]
    if card == 'ahci':
        argv += ['-device', 'ahci,id=h']
    argv += ['-device', CARDS[card][0]]
    p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        return follow(p)
    finally:
        p.kill()
        p.wait()


def table(card, steps, got):
    ratios = []
    for i, (name, _, count, _) in enumerate(steps):
        t = {who: [statistics.median(run[i][k] for run in got[who] if len(run) > i) for k in (0, 1)]
             for who in got}
        ratios.append(t['qemu'][1] / t['keel'][1])
        print('| %s, %s | %.0f | %.0f | %.2f | %.2f |' % (
            card, name, count / t['keel'][1], count / t['qemu'][1], ratios[-1], t['qemu'][0] / t['keel'][0]),
            flush=True)
    return ratios


def main():
    ap = argparse.ArgumentParser(usage=__doc__)
    ap.add_argument('--keel', default=TOP + '/build-release/dm/keel')
    ap.add_argument('--qemu', default='qemu-system-x86_64')
    ap.add_argument('--runs', type=int, default=3)
    ap.add_argument('--cards', default=','.join(CARDS))
    ap.add_argument('--format', default='raw')
    ap.add_argument('--cache', default='writeback')
    ap.add_argument('--short', action='store_true', help='a quarter of everything')
    a = ap.parse_args()
    steps = [(n, w, c // 4 if a.short else c, d) for n, w, c, d in STEPS]
    ratios = []
    with tempfile.TemporaryDirectory(dir=os.environ.get('TMPDIR', '/var/tmp')) as work:
        with open(work + '/raw', 'wb') as f:
            f.write(os.urandom(1 << 20) * MIB)
        subprocess.run(['qemu-img', 'convert', '-f', 'raw', '-O', a.format, work + '/raw', work + '/disk'],
                       check=True)
        subprocess.run(['gcc', '-O2', '-static', '-o', work + '/prog', TOP + '/tests/bench/disk/disk.c'], check=True)
        with open(work + '/prog', 'rb') as f:
            prog = f.read()
        print('%s, cache=%s; requests in a second of processor time:\n' % (a.format, a.cache))
        print('| disk, what | Keel | QEMU | Keel / QEMU | by the wall clock |\n|---|---:|---:|---:|---:|')
        for card in a.cards.split(','):
            initramfs.build(work + '/initrd-' + card, script(CARDS[card][1], steps),
                            ['sd_mod', 'virtio_pci', CARDS[card][2]], files=[('/disk', prog, 0o755)])
            got = {'keel': [], 'qemu': []}
            for _ in range(a.runs):
                for who, program in (('keel', a.keel), ('qemu', a.qemu)):
                    got[who].append(measure(program, card, work, a))
            ratios += table(card, steps, got)
    print('| *geometric mean* | | | %.2f | |' % statistics.geometric_mean(ratios))


main()
