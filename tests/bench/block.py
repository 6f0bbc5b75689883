#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tests/bench/block.py [BUILD] [ROUNDS] - keel-img bench beside qemu-img bench, row by row.

Both programs run by turns on images of their own, in one directory; each row has two ratios of medians
(more than 1: Keel is better): of the time the programs say the requests took, and of the processor time
of the whole process, less that of a run with one request. On a busy machine only the second says much:
a program with more threads then gets more of the processors. The page cache is warm: what is measured is
the way through the programs, not the drive. Prints a table for docs/performance.md.
"""
import math
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile

BUILD = sys.argv[1] if len(sys.argv) > 1 else "build"
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 3
KEEL = os.path.join(os.path.abspath(BUILD), "tools", "keel-img")
SIZE = 256 << 20
COUNTS = {(4, 1): 2000, (4, 32): 10000, (64, 1): 1500, (64, 32): 3000}


def run(*args):
    p = subprocess.run(args, capture_output=True, text=True)
    if p.returncode:
        sys.exit("%s: %s" % (args, p.stdout + p.stderr))
    return p.stdout


def make(where):
    """The images of one program."""
    raw = os.path.join(where, "raw")
    with open(raw, "wb") as f:
        block = os.urandom(1 << 19) + bytes(1 << 19)
        for _ in range(SIZE >> 20):
            f.write(block)
    run("qemu-img", "convert", "-O", "qcow2", "-S", "0", raw, os.path.join(where, "allocated"))
    run("qemu-img", "convert", "-O", "qcow2", "-c", raw, os.path.join(where, "compressed"))
    fresh(where, "unallocated")
    fresh(where, "backing")


def fresh(where, kind):
    path = os.path.join(where, kind)
    if kind == "unallocated":
        run("qemu-img", "create", "-q", "-f", "qcow2", path, str(SIZE))
    elif kind == "backing":
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "allocated", "-F", "qcow2", path)


def spent():
    r = resource.getrusage(resource.RUSAGE_CHILDREN)
    return r.ru_utime + r.ru_stime


def timed(*args):
    """(seconds the program says, processor seconds)"""
    before = spent()
    out = run(*args)
    return float(re.search(r"completed in ([\d.]+)", out)[1]), spent() - before


def bench(program, where, kind, write, kib, depth, random):
    if write:
        fresh(where, kind)
    size = kib << 10
    step = size * (9973 if kib == 4 else 1021) if random else size
    args = ["-f", "raw" if kind == "raw" else "qcow2", "-d", str(depth), "-s", str(size), "-S",
            str(step)] + (["-w"] if write else [])
    path = os.path.join(where, kind)
    wall, processor = timed(program, "bench", "-c", str(COUNTS[kib, depth]), *args, path)
    return wall, processor - timed(program, "bench", "-c", "1", *args, path)[1]


def geomean(ratios):
    return math.exp(statistics.fmean(map(math.log, ratios)))


def medians(runs):
    """Of wall and processor times; a millisecond is what the clocks tell at least."""
    return [max(statistics.median(x), 0.001) for x in zip(*runs)]


def cells(ratios):
    """The table of docs/performance.md: wall clock, processor time."""
    names = [("4 KiB", "1"), ("4 KiB", "32"), ("64 KiB", "1"), ("64 KiB", "32")]
    print("\n| image | |", " | ".join("%s, depth %s" % n for n in names), "|\n|---|---|---|---|---|---|")
    for what in dict.fromkeys(r[0][:2] for r in ratios):
        of = [[r for r in ratios if r[0][:4] == what + n] for n in names]
        print("| %s | %s |" % what, " | ".join(
            " / ".join("%.2f" % geomean([r[i] for r in rows]) for i in (1, 2)) for rows in of), "|")


def main():
    ratios, keel_times = [], {}
    print("| image | | size | depth | order | Keel ms | qemu-img ms | ratio | processor ms | qemu-img's |"
          " ratio |\n|---|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as top:
        dirs = {}
        for program in (KEEL, "qemu-img"):
            dirs[program] = os.path.join(top, os.path.basename(program))
            os.mkdir(dirs[program])
            make(dirs[program])
        for kind in ("raw", "allocated", "unallocated", "backing", "compressed"):
            for write in (False, True) if kind != "compressed" else (False,):
                for kib, depth in COUNTS:
                    for random in (False, True):
                        t = {p: [] for p in dirs}
                        for _ in range(ROUNDS):
                            for p, where in dirs.items():
                                t[p].append(bench(p, where, kind, write, kib, depth, random))
                        k, q = (medians(t[p]) for p in (KEEL, "qemu-img"))
                        row = (kind, "write" if write else "read", "%d KiB" % kib, "%d" % depth,
                               "random" if random else "sequential")
                        ratios.append((row, q[0] / k[0], q[1] / k[1]))
                        keel_times[row] = k
                        print("| %s |" % " | ".join(row), "%.0f | %.0f | %.2f | %.0f | %.0f | %.2f |" % (
                            k[0] * 1e3, q[0] * 1e3, q[0] / k[0], k[1] * 1e3, q[1] * 1e3, q[1] / k[1]),
                            flush=True)
    cells(ratios)
    for i, clock in (1, "wall clock"), (2, "processor time"):
        beside = [keel_times[("allocated",) + k[1:]][i - 1] / v[i - 1] for k, v in keel_times.items()
                  if k[0] == "raw"]
        low = ["%s %.2f" % (" ".join(r[0]), r[i]) for r in ratios if r[i] < 1]
        print("\n%s: %d rows, geometric mean %.2f, least %.2f; qcow2 (allocated) takes %.2f times raw's"
              " time. Below 1: %s." % (clock, len(ratios), geomean([r[i] for r in ratios]),
                                       min(r[i] for r in ratios), geomean(beside), ", ".join(low) or "none"))


main()
