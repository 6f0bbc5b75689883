#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the functional tests that need neither Xen nor a fake of it.

Usage: run.py KEEL [PART...]   every test_* of qmp*.py, cli*.py and qtest*.py whose name has a PART
"""
import glob
import importlib
import os
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import keel  # noqa: E402


def tests():
    for pattern in ("cli*.py", "qmp*.py", "qtest*.py"):
        for path in sorted(glob.glob(HERE + "/" + pattern)):
            module = importlib.import_module(os.path.basename(path)[:-3])
            for name, fn in vars(module).items():
                if name.startswith("test_"):
                    yield name, fn


def run(binary, fn):
    bed = keel.Bed(binary)
    try:
        fn(bed)
    except BaseException:
        for p in bed.started:
            p.proc.kill()
        try:
            bed.close()
        except keel.Failure:
            pass
        raise
    bed.close()


def main():
    binary, parts = os.path.abspath(sys.argv[1]), sys.argv[2:]
    chosen = [t for t in tests() if not parts or any(p in t[0] for p in parts)]
    failed = 0
    print("1..%d" % len(chosen))
    for n, (name, fn) in enumerate(chosen, 1):
        start = time.time()
        try:
            run(binary, fn)
            print("ok %d - %s # %.2f s" % (n, name, time.time() - start))
        except Exception:
            failed += 1
            print("not ok %d - %s" % (n, name))
            print("".join("# %s\n" % line for line in traceback.format_exc().splitlines()), end="")
        sys.stdout.flush()
    print("# passed %d, failed %d" % (len(chosen) - failed, failed))
    sys.exit(1 if failed or not chosen else 0)


if __name__ == "__main__":
    main()
