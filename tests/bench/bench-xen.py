# SPDX-License-Identifier: MIT
"""What the Xen role costs, under fake Xen: bench-xen.py BUILD_DIR [KEEL].

Prints a table of medians: CPU time of the process per synchronous request (all its threads, by the
scheduler's own account), CPU time from exec to `running`, private memory and wake-ups when idle.
The first is mostly the price of three system calls and a wake, which depends on the machine, so
the smallest possible device model (tests/fake-xen/floor-model.c) is measured beside it; the aim is
on the difference.
"""
import os
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "functional"))
from xen_fake import Guest, until  # noqa: E402
from xen_keel import find_keel, keel_argv  # noqa: E402

RAM = 48 << 20
ROUNDS, REQUESTS = 7, 20000


def threads(pid):
    return os.listdir("/proc/%d/task" % pid)


def cpu_ns(pid):
    total = 0
    for t in threads(pid):
        with open("/proc/%d/task/%s/schedstat" % (pid, t)) as f:
            total += int(f.read().split()[0])
    return total


def switches(pid):
    total = 0
    for t in threads(pid):
        with open("/proc/%d/task/%s/status" % (pid, t)) as f:
            total += sum(int(l.split()[1]) for l in f if l.startswith("voluntary"))
    return total


def private_kb(pid):
    """Private pages of everything but the guest's memory."""
    total, skip = 0, False
    with open("/proc/%d/smaps" % pid) as f:
        for line in f:
            word = line.split()
            if "-" in word[0] and not word[0].endswith(":"):
                skip = line.rstrip().endswith("/memory")
            elif word[0] in ("Private_Clean:", "Private_Dirty:") and not skip:
                total += int(word[1])
    return total


def per_request(guest, model, port):
    """(CPU ns of the process, elapsed ns) of one request, medians."""
    guest.cmd("bench", 2000, port)
    cpu, wall = [], []
    for _ in range(ROUNDS):
        before = cpu_ns(model.proc.pid)
        wall.append(float(guest.cmd("bench", REQUESTS, port)[0]))
        cpu.append((cpu_ns(model.proc.pid) - before) / REQUESTS)
    return statistics.median(cpu), statistics.median(wall)


def floor(build):
    with Guest(build, ram=RAM) as g:
        return per_request(g, g.spawn([build + "/tests/fake-xen/floor-model", "7"]).ready(), 0x100)


def start(build, keel, restart_ms):
    """CPU time of one process from exec until `running` is in xenstore."""
    with Guest(build, ram=RAM) as g:
        m = g.spawn(keel_argv(keel, g, vga="VGA,vgamem_mb=16"))
        until("running", lambda: g.state == "running", 30)
        restart_ms.append(cpu_ns(m.proc.pid) / 1e6)
        m.hangup()


def idle(build, keel):
    with Guest(build, ram=RAM) as g:
        m = g.spawn(keel_argv(keel, g, vga="VGA,vgamem_mb=16")).ready()
        request = per_request(g, m, 0x3f5 if not g.num("claimed", "pio", 0x92, 1) else 0x92)
        time.sleep(1)
        before = switches(m.proc.pid)
        time.sleep(4)
        return request, (switches(m.proc.pid) - before) / 4, private_kb(m.proc.pid) / 1024


def main():
    build = os.path.abspath(sys.argv[1])
    keel = find_keel(build, sys.argv[2:])
    floor_cpu, floor_wall = floor(build)
    (cpu, wall), wakes, private = idle(build, keel)
    starts = []
    for _ in range(5):
        start(build, keel, starts)
    rows = (
        ("synchronous request, CPU of the process", cpu / 1000, "us", ""),
        ("  the least possible (floor-model)", floor_cpu / 1000, "us", ""),
        ("  of which Keel's own", (cpu - floor_cpu) / 1000, "us", "< 1.5"),
        ("synchronous request, elapsed", wall / 1000, "us", ""),
        ("  the least possible (floor-model)", floor_wall / 1000, "us", ""),
        ("exec to running, CPU", statistics.median(starts), "ms", "< 15"),
        ("private memory, idle", private, "MiB", "< 6"),
        ("wake-ups, idle", wakes, "/s", "< 10"),
    )
    print("%-44s %10s %-4s %s" % ("under fake Xen", "measured", "", "aim"))
    for name, value, unit, aim in rows:
        print("%-44s %10.2f %-4s %s" % (name, value, unit, aim))


main()
