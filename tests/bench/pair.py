#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tests/bench/pair.py A B [--only NAME,...] [--rounds N] [--first] - two builds of Keel by turns.

The programs of programs.py in a guest under each of the two keel programs A and B, both on one and the same
processor of the host, one stopped while the other runs a program: whatever else the host does, and
whichever of its processors is the slower one, meets both alike. Prints medians of processor time in ms and the
median of the ratios, which tells 1 to 2 per cent where two tables in turn differ by ten.
With --first each run is the first one of its guest, which has the translation of the program in it.
"""
import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile

import cpu
import programs


class Guest:
    """One guest, stopped but within run()."""

    def __init__(self, program, work, on):
        self.p = subprocess.Popen(programs.machine(program, True, work), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, text=True,
                                  preexec_fn=lambda: os.sched_setaffinity(0, {on}))
        os.kill(self.p.pid, signal.SIGSTOP)

    def run(self):
        """Lets it run its next program: name and ms."""
        name, began = None, 0
        os.kill(self.p.pid, signal.SIGCONT)
        for line in self.p.stdout:
            word = line.split()
            if word[:1] == ['run']:
                name, began = word[1], cpu.spent(self.p.pid)
            elif word[:1] == ['end']:
                took = (cpu.spent(self.p.pid) - began) / 1e6
                os.kill(self.p.pid, signal.SIGSTOP)
                return name, took
        sys.exit('pair.py: the guest ended')

    def end(self):
        self.p.kill()
        self.p.wait()


def take_turns(builds, work, on, rounds, names):
    """Of each program a list of pairs of times."""
    guests = [Guest(b, work, on) for b in builds]
    found = {n: [] for n in names}
    for i in range(rounds * len(names)):
        order = (0, 1) if i // len(names) % 2 else (1, 0)
        times = [0, 0]
        for k in order:
            name, times[k] = guests[k].run()
        if i >= len(names):  # the first of each translates
            found[name].append(times)
    for g in guests:
        g.end()
    return found


def start_anew(builds, work, on, rounds, name):
    found = []
    for i in range(rounds):
        times = [0, 0]
        for k in (0, 1) if i % 2 else (1, 0):
            g = Guest(builds[k], work, on)
            _, times[k] = g.run()
            g.end()
        found.append(times)
    return {name: found}


def report(found):
    for name, pairs in found.items():
        a, b = [statistics.median(p[k] for p in pairs) for k in (0, 1)]
        ratios = sorted(p[0] / p[1] for p in pairs)
        print('| %s | %.0f | %.0f | **%.3f** | %.3f to %.3f |' % (name, a, b, statistics.median(ratios), ratios[0], ratios[-1]),
              flush=True)


def main():
    ap = argparse.ArgumentParser(usage=__doc__)
    ap.add_argument('builds', nargs=2)
    ap.add_argument('--only', default='gzip,python3,perl,sqlite3,cc1')
    ap.add_argument('--rounds', type=int, default=9)
    ap.add_argument('--first', action='store_true')
    a = ap.parse_args()
    names = a.only.split(',')
    on = min(os.sched_getaffinity(0))
    unknown = [n for n in names if n not in programs.PROGRAMS]
    if unknown:
        sys.exit('pair.py: unknown: ' + ', '.join(unknown))
    print('| program | A ms | B ms | A / B | of single pairs |')
    print('|---|---:|---:|---:|---:|')
    with tempfile.TemporaryDirectory() as work:
        os.makedirs(work + '/data')
        programs.inputs(work + '/data')
        if not a.first:
            programs.archive(work, names, a.rounds + 1)
            report(take_turns(a.builds, work, on, a.rounds + 1, names))
        for name in names if a.first else []:
            programs.archive(work, [name])
            report(start_anew(a.builds, work, on, a.rounds, name))
    return 0


if __name__ == '__main__':
    sys.exit(main())
