#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tests/bench/img.py [--build DIR] [--mib N] [--rounds N] - keel-img convert beside qemu-img's.

Each row runs both by turns on the same file (programs and libraries of this machine, a quarter of it
holes) and prints the medians of wall and processor time and the ratio qemu-img / keel-img.
"""
import argparse
import os
import resource
import statistics
import subprocess
import tempfile
import time

ROWS = [  # name, source, options; %s: the target
    ("raw to qcow2", "src.raw", "-f raw -O qcow2"),
    ("raw to qcow2, -W", "src.raw", "-W -f raw -O qcow2"),
    ("raw to qcow2, compressed", "src.raw", "-c -f raw -O qcow2"),
    ("raw to qcow2, zstd", "src.raw", "-c -f raw -O qcow2 -o compression_type=zstd"),
    ("qcow2 to raw", "plain.qcow2", "-f qcow2 -O raw"),
    ("compressed qcow2 to raw", "packed.qcow2", "-f qcow2 -O raw"),
    ("raw to vmdk, streamOptimized", "src.raw", "-f raw -O vmdk -o subformat=streamOptimized"),
]


def make_source(path, mib):
    names = ("/usr/bin", "/usr/lib/x86_64-linux-gnu")
    left = mib << 20
    with open(path, "wb") as out:
        for d in names:
            for n in sorted(os.listdir(d)):
                f = os.path.join(d, n)
                if left > 0 and os.path.isfile(f) and not os.path.islink(f):
                    with open(f, "rb") as src:
                        data = src.read(min(left, 8 << 20))
                    out.write(data)
                    out.seek(len(data) // 3, 1)
                    left -= len(data) + len(data) // 3
        out.truncate(mib << 20)


def once(tool, d, source, options):
    target = os.path.join(d, "out")
    if os.path.exists(target):
        os.unlink(target)
    before, t = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([tool, "convert", *options.split(), os.path.join(d, source), target], check=True)
    wall, after = time.monotonic() - t, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, os.stat(target).st_blocks * 512


def main():
    ap = argparse.ArgumentParser(usage=__doc__)
    ap.add_argument("--build", default="build")
    ap.add_argument("--mib", type=int, default=256)
    ap.add_argument("--rounds", type=int, default=5)
    a = ap.parse_args()
    keel = os.path.join(os.path.abspath(a.build), "tools/keel-img")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as d:
        src = os.path.join(d, "src.raw")
        make_source(src, a.mib)
        for name, extra in (("plain.qcow2", []), ("packed.qcow2", ["-c"])):
            subprocess.run(["qemu-img", "convert", *extra, "-f", "raw", "-O", "qcow2", src,
                            os.path.join(d, name)], check=True)
        print("| %d MiB | keel-img s | qemu-img s | ratio | cpu ratio | size ratio |" % a.mib)
        print("|---|---|---|---|---|---|")
        for name, source, options in ROWS:
            runs = {"keel": [], "qemu": []}
            for _ in range(a.rounds):
                runs["keel"].append(once(keel, d, source, options))
                runs["qemu"].append(once("qemu-img", d, source, options))
            k, q = ([statistics.median(x) for x in zip(*runs[w])] for w in ("keel", "qemu"))
            print("| %s | %.2f | %.2f | %.2f | %.2f | %.2f |"
                  % (name, k[0], q[0], q[0] / k[0], q[1] / k[1], k[2] / q[2]), flush=True)


main()
