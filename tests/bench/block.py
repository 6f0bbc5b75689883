#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tests/bench/block.py [BUILD] [ROUNDS] - keel-img bench beside qemu-img bench, row by row.

Both programs run by turns on images of their own, in one directory; each row is the ratio of their
median times (more than 1: Keel is faster). The page cache is warm: what is measured is the way
through the programs, not the drive. Prints a table for docs/performance.md.
"""
import math
import os
import re
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


def bench(program, where, kind, write, kib, depth, random):
    if write:
        fresh(where, kind)
    size = kib << 10
    step = size * (9973 if kib == 4 else 1021) if random else size
    args = ["-f", "raw" if kind == "raw" else "qcow2", "-c", str(COUNTS[kib, depth]), "-d",
            str(depth), "-s", str(size), "-S", str(step)] + (["-w"] if write else [])
    out = run(program, "bench", *args, os.path.join(where, kind))
    return float(re.search(r"completed in ([\d.]+)", out)[1])


def main():
    ratios, keel_times = [], {}
    print("| image | | size | depth | order | Keel ms | qemu-img ms | ratio |\n"
          "|---|---|---|---|---|---|---|---|")
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
                        k, q = (max(statistics.median(t[p]), 0.0005) for p in (KEEL, "qemu-img"))
                        ratios.append(q / k)
                        keel_times[kind, write, kib, depth, random] = k
                        print("| %s | %s | %d KiB | %d | %s | %.0f | %.0f | %.2f |" % (
                            kind, "write" if write else "read", kib, depth,
                            "random" if random else "sequential", k * 1e3, q * 1e3, q / k),
                            flush=True)
    mean = math.exp(statistics.fmean(map(math.log, ratios)))
    beside = [keel_times[("allocated",) + k[1:]] / v for k, v in keel_times.items()
              if k[0] == "raw"]
    print("\n%d rows, geometric mean %.2f, least %.2f; qcow2 (allocated) takes %.2f times raw's time"
          % (len(ratios), mean, min(ratios),
             math.exp(statistics.fmean(map(math.log, beside)))))


main()
