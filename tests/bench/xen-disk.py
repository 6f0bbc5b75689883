#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Disks under fake Xen: tests/bench/xen-disk.py BUILD_DIR [KEEL] [--runs N].

A raw image of 64 MiB in the page cache, cache=writeback; the guest's driver is tests/fake-xen/disk-bench.c: IDE
bus master DMA, 64 KiB a request, and the PV disk's ring, 11 pages a request. Beside them stands what nobody
can do without: the same bytes by pread and pwrite, a call a request, in a process that does nothing else. Prints
medians for docs/performance.md: requests in a second of Keel's processor time (all its threads), MiB in a
second of the clock.
"""
import argparse
import os
import statistics
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "functional"))
from xen_fake import Guest, until  # noqa: E402
from xen_keel import argv_for, find_keel, recording  # noqa: E402

MIB, PAGE = 1 << 20, 4096
SPAN = 64 * MIB
RING, DATA = 0x300, 0x400  # guest frames, granted under their own numbers
IDE_BYTES, PV_BYTES = 64 << 10, 11 * PAGE
COUNT = 4000
PV = 51712  # xvda


def cpu_s(pid):
    return time.clock_gettime_ns((~pid << 3) | 2) / 1e9


def measured(work, pid, count):
    """(processor s, wall s) of one request."""
    cpu, wall = cpu_s(pid), time.time()
    work()
    return (cpu_s(pid) - cpu) / count, (time.time() - wall) / count


def nodes(g, path):
    back, front = "/local/domain/0/backend/qdisk/%d/%d/" % (g.domid, PV), "/local/domain/%d/device/vbd/%d/" % (g.domid, PV)
    g.store(front + "state", "1")
    for name, value in (("frontend", front[:-1]), ("online", "1"), ("mode", "w"), ("state", "1"),
                        ("device-type", "disk"), ("params", "aio:" + path)):
        g.store(back + name, value)
    return back, front


def connect(g, back, front):
    until("the offer", lambda: g.store(back + "state") == "2")
    g.memwrite(RING * PAGE, struct.pack("<IIII", 0, 1, 0, 1).ljust(PAGE, b"\0"))
    for name, value in (("ring-ref", RING), ("event-channel", 64), ("protocol", "x86_64-abi"),
                        ("feature-persistent", 1), ("state", 3)):
        g.store(front + name, str(value))
    until("the connection", lambda: g.store(back + "state") == "4")


def guest(build):
    g = Guest(build, ram=56 * MIB)
    for name in ("pv-events", "pv-notify"):
        os.mkfifo(g.dir + "/" + name)
    with open(g.dir + "/grants", "wb") as f:
        for ref in range(4096):
            f.write(struct.pack("<Q", ref << 2 | 1))
    return g


def image(g, name):
    path = "%s/%s" % (g.dir, name)
    with open(path, "wb") as f:
        f.write(os.urandom(MIB) * (SPAN // MIB))
    return path


def plain(path, way, size, count):
    """The same requests by hand, in this process."""
    fd, buf = os.open(path, os.O_RDWR), bytearray(size)

    def work():
        for i in range(count):
            at = i * size % (SPAN - SPAN % size)
            os.preadv(fd, [buf], at) if way == "read" else os.pwritev(fd, [buf], at)
    result = measured(work, os.getpid(), count)
    os.close(fd)
    return result


def one_round(build, keel, add):
    with guest(build) as g:
        disk, pv = image(g, "disk"), image(g, "pv")
        back, front = nodes(g, pv)
        argv = argv_for(keel, g, recording("a-minimal"))
        argv += ["-drive", "file=%s,if=ide,index=0,media=disk,format=raw,cache=writeback" % disk]
        m = g.spawn(argv, stdin=open(os.devnull)).ready(20000)
        connect(g, back, front)
        for way in ("read", "write"):
            g.cmd("idebench", way, 200, SPAN)
            add(("IDE DMA, sequential %s, 64 KiB" % way, IDE_BYTES),
                measured(lambda: g.cmd("idebench", way, COUNT, SPAN), m.proc.pid, COUNT),
                plain(disk, way, IDE_BYTES, COUNT))
            for depth in (1, 16):
                g.cmd("pvbench", way, 200, SPAN, depth, RING, DATA)
                add(("PV disk, sequential %s, 44 KiB, depth %d" % (way, depth), PV_BYTES),
                    measured(lambda: g.cmd("pvbench", way, COUNT, SPAN, depth, RING, DATA), m.proc.pid, COUNT),
                    plain(pv, way, PV_BYTES, COUNT))
        m.hangup()


def main():
    ap = argparse.ArgumentParser(usage=__doc__)
    ap.add_argument("build")
    ap.add_argument("keel", nargs="?")
    ap.add_argument("--runs", type=int, default=5)
    a = ap.parse_args()
    build, rows = os.path.abspath(a.build), {}
    for _ in range(a.runs):
        one_round(build, find_keel(build, [a.keel] if a.keel else []),
                  lambda row, mine, bare: rows.setdefault(row, []).append((mine, bare)))
    print("| disk, what | requests a processor second | pread, pwrite alone | MiB/s by the clock |\n|---|---:|---:|---:|")
    for (name, size), got in rows.items():
        cpu, wall, bare = (statistics.median(x) for x in (
            [mine[0] for mine, _ in got], [mine[1] for mine, _ in got], [b[0] for _, b in got]))
        print("| %s | %.0f | %.0f | %.0f |" % (name, 1 / cpu, 1 / bare, size / wall / MIB))


main()
