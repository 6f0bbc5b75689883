#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tests/bench/smp.py [--keel PROGRAM] [--runs N] - what a second processor brings.

Two copies of a program of tests/bench/cpu run at once, in a guest with one processor and in one with two
under `keel -accel tcg`. Throughput is work in a second of wall time; on a host that has other work to do
it says nothing, so the emulator's processor time counts as well: with two host processors to
themselves, two vCPUs that need T2 for what one does in T1 give 2 * T1 / T2 of its throughput.
What the host's second processor brings natively stands beside it: two copies on one of its processors and on
two, wall time. Processors that share a core, or its power, bring less than 2.
`pipe` is a pipeline of a writer and a reader, which share a queue and the scheduler.
"""
import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

import cpu

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../guest'))
import initramfs  # noqa: E402

KERNELS = ['mix', 'quicksort', 'interp', 'syscall']
SCRIPT = '''
two() { /bench/$1 %d > /tmp/a & /bench/$1 %d > /tmp/b & wait; }
pipe() { dd if=/dev/zero bs=4k count=20000 2>/dev/null | md5sum > /tmp/a; }
for i in $(seq %d); do
  for k in %s; do echo "run $k"; two $k; echo "end $k"; done
  echo "run pipe"; pipe; echo "end pipe"
done
echo bench-end; poweroff -f
'''
TIMES, LIMIT = 40, 900


def guest(program, work, cpus):
    """(processor time, wall time) in ms of each run, by name."""
    argv = cpu.machine(program, True) + [
        '-smp', str(cpus), '-kernel', initramfs.kernels()[0], '-initrd', work + '/rd', '-append',
        'console=ttyS0 quiet panic=-1 tsc=reliable']
    found, began = {}, (0, 0)
    for now, line in cpu.lines_of(argv, LIMIT):
        m = re.match(r'(run|end) (\w+)$', line)
        if line == 'bench-end':
            break
        if m and m[1] == 'run':
            began = now, time.perf_counter_ns()
        elif m:
            found.setdefault(m[2], []).append(((now - began[0]) / 1e6,
                                               (time.perf_counter_ns() - began[1]) / 1e6))
    return found


def native(work, runs):
    """How much sooner two copies end on two host processors than on one, by name."""
    two = sorted(os.sched_getaffinity(0))[:2]
    found = {}
    for name in KERNELS:
        took = {1: [], 2: []}
        for _ in range(runs):
            for n in took:
                began = time.perf_counter_ns()
                copies = [subprocess.Popen([work + '/' + name, str(TIMES)], stdout=subprocess.DEVNULL,
                                           preexec_fn=lambda: os.sched_setaffinity(0, two[:n])) for _ in range(2)]
                for p in copies:
                    p.wait()
                took[n].append(time.perf_counter_ns() - began)
        found[name] = statistics.median(took[1]) / statistics.median(took[2])
    return found


def main():
    ap = argparse.ArgumentParser(usage=__doc__)
    ap.add_argument('--keel', default=os.environ.get('KEEL_BUILD', 'build') + '/dm/keel')
    ap.add_argument('--runs', type=int, default=3)
    a = ap.parse_args()
    with tempfile.TemporaryDirectory() as work:
        cpu.compile_all(work)
        files = [('bench/' + k, open(work + '/' + k, 'rb').read(), 0o755) for k in KERNELS]
        initramfs.build(work + '/rd', SCRIPT % (TIMES, TIMES, a.runs, ' '.join(KERNELS)), files=files)
        one, two = guest(a.keel, work, 1), guest(a.keel, work, 2)
        host = native(work, a.runs)
    print('| two at once | 1 vCPU, ms of processor | 2 vCPUs | throughput with two host processors | wall 1 | wall 2 '
          '| wall 1 / wall 2 | the same natively |')
    print('|---|---:|---:|---:|---:|---:|---:|---:|')
    for name in KERNELS + ['pipe']:
        p1, w1, p2, w2 = [statistics.median(x[i] for x in g[name]) for g in (one, two) for i in (0, 1)]
        print('| %s | %.0f | %.0f | %.2f | %.0f | %.0f | **%.2f** | %s |' % (
            name, p1, p2, 2 * p1 / p2, w1, w2, w1 / w2, '%.2f' % host[name] if name in host else ''))
    return 0


if __name__ == '__main__':
    sys.exit(main())
