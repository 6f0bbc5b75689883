#!/usr/bin/env python3
"""tests/bench/real-xen.py [--disk] [--smp N] [--dm FILE] [--table LOG]... - Keel beside the stock
device model under emulated real Xen.

Boots dom0 once, runs tests/xen/jobs/perf.sh (and perf-disk.sh with --disk) with both device models
in turn, and prints the median of each figure and the ratio Keel / stock. --table reads the samples
of earlier runs in place of making any.
"""
import argparse
import os
import re
import statistics
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WHAT = {
    'port-us': 'port read, guest to device model and back (us)',
    'mmio-us': 'read of video memory at 0xb8000 (us)',
    'novnc-create-s': '`xl create`, vnc=0 (s)',
    'novnc-boot-s': '`xl create` to the boot sector, vnc=0 (s)',
    'vnc-create-s': '`xl create`, vnc=1, no viewer (s)',
    'vnc-boot-s': '`xl create` to the boot sector, vnc=1, no viewer (s)',
    'rss-anon-kb': 'anonymous memory of the device model (KiB)',
    'linux-boot-s': '`xl create` to Linux user space from the IDE disk (s)',
    'dma-read-8MiB-s': 'Linux reads 8 MiB by IDE DMA (s)',
}


def run(jobs, dm, smp):
    out = os.path.join(TOP, 'build-xen')
    subprocess.run([TOP + '/tests/xen/build.sh', '-o', out, '-d', dm], check=True)
    p = subprocess.run([sys.executable, TOP + '/tests/xen/run.py', '-b', out, '-s', out + '/share-perf',
                        '--smp', smp, '--timeout', '3000', 'all'] +
                       [TOP + '/tests/xen/jobs/' + j for j in jobs], stdout=subprocess.PIPE, text=True)
    return p.stdout


def figure(v):
    return '%.0f' % v if v >= 100 else '%.3g' % v


def table(text):
    samples = {}
    for who, what, value in re.findall(r'^sample (\w+) ([\w-]+) ([\d.]+)$', text, re.M):
        samples.setdefault(what, {}).setdefault(who, []).append(float(value))
    print('| figure | Keel | stock | Keel / stock | samples |')
    print('|---|---|---|---|---|')
    for what, title in WHAT.items():
        s = samples.get(what, {})
        if 'keel' in s and 'stock' in s:
            k, q = statistics.median(s['keel']), statistics.median(s['stock'])
            print('| %s | %s | %s | %.2f | %d + %d |' % (title, figure(k), figure(q), k / q, len(s['keel']),
                                                         len(s['stock'])))
    for who in ('keel', 'stock'):
        if {'vnc-boot-s', 'novnc-boot-s'} <= samples.keys() and who in samples['vnc-boot-s']:
            a = statistics.median(samples['vnc-boot-s'][who])
            b = statistics.median(samples['novnc-boot-s'][who])
            print('\n%s: a boot with vnc=1 and no viewer takes %.2f times one with vnc=0' % (who, a / b))


def main():
    ap = argparse.ArgumentParser(usage=__doc__)
    ap.add_argument('--disk', action='store_true')
    ap.add_argument('--smp', default='1')
    ap.add_argument('--dm', default=TOP + '/build/dm/keel')
    ap.add_argument('--table', nargs='+')
    a = ap.parse_args()
    if a.table:
        table(''.join(open(f).read() for f in a.table))
    else:
        text = run(['perf.sh'] + (['perf-disk.sh'] if a.disk else []), a.dm, a.smp)
        print(text, file=sys.stderr)
        table(text)


if __name__ == '__main__':
    main()
