# SPDX-License-Identifier: MIT
"""What the Xen role costs, under fake Xen: bench-xen.py BUILD_DIR [KEEL].

Prints a table of medians: CPU time of the process per synchronous request (all its threads, by the
scheduler's own account), CPU time from exec to `running`, private memory and wake-ups when idle.
Requests are measured twice: back to back, as a guest that is busy with a device sends them, and so
far apart that the process sleeps before each. The second is mostly the price of two system calls
and a wake, which depends on the machine, so the smallest possible device model
(tests/fake-xen/floor-model.c) is measured beside it.
"""
import os
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "functional"))
from xen_fake import Guest, until  # noqa: E402
from xen_keel import find_keel, keel_argv  # noqa: E402

RAM = 48 << 20
ROUNDS, REQUESTS = 9, 50000
PAUSED_REQUESTS, PAUSE_NS = 2000, 100000


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
    """Private pages of everything but the guest's memory; clean ones of files may be shared."""
    total, skip = 0, False
    with open("/proc/%d/smaps" % pid) as f:
        for line in f:
            word = line.split()
            if "-" in word[0] and not word[0].endswith(":"):
                skip = line.rstrip().endswith("/memory")
            elif word[0] == "Private_Dirty:" and not skip:
                total += int(word[1])
    return total


def per_request(guest, model, port, n=REQUESTS, pause_ns=0):
    """(CPU us of the process, elapsed us) of one request."""
    before = cpu_ns(model.proc.pid)
    wall = float(guest.cmd("bench", n, port, pause_ns)[0])
    time.sleep(0.02)  # the scheduler's account is exact once the thread sleeps
    return (cpu_ns(model.proc.pid) - before) / n / 1000, wall / 1000


def apart(guest, model):
    """The guest's vCPU has a processor of its own, as under Xen."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) > 1:
        os.sched_setaffinity(guest.proc.pid, cpus[-1:])
        for t in threads(model.proc.pid):
            os.sched_setaffinity(int(t), cpus[:-1])


def requests(build, keel, **how):
    """Medians of keel's and the floor's per_request: both run by turns, so that other work on the
    machine meets both."""
    with Guest(build, ram=RAM) as g, Guest(build, ram=RAM) as h:
        k = g.spawn(keel_argv(keel, g, vga="VGA,vgamem_mb=16")).ready()
        f = h.spawn([build + "/tests/fake-xen/floor-model", "7"]).ready()
        apart(g, k)
        apart(h, f)
        pairs = [(per_request(g, k, 0x92, **how), per_request(h, f, 0x100, **how))
                 for _ in range(ROUNDS + 1)][1:]
        return [[statistics.median(p[who][i] for p in pairs) for i in (0, 1)] for who in (0, 1)]


def start(build, keel, cpu_ms):
    """Adds the CPU time of one process from exec until `running` is in xenstore."""
    with Guest(build, ram=RAM) as g:
        m = g.spawn(keel_argv(keel, g, vga="VGA,vgamem_mb=16"))
        until("running", lambda: g.state == "running", 30)
        cpu_ms.append(cpu_ns(m.proc.pid) / 1e6)
        m.hangup()


def idle(build, keel):
    """Wake-ups a second and private MiB of a guest that does nothing."""
    with Guest(build, ram=RAM) as g:
        m = g.spawn(keel_argv(keel, g, vga="VGA,vgamem_mb=16")).ready()
        time.sleep(1)
        before = switches(m.proc.pid)
        time.sleep(4)
        return (switches(m.proc.pid) - before) / 4, private_kb(m.proc.pid) / 1024


def main():
    build = os.path.abspath(sys.argv[1])
    keel = find_keel(build, sys.argv[2:])
    mine, floor = requests(build, keel)
    paused, floor_paused = requests(build, keel, n=PAUSED_REQUESTS, pause_ns=PAUSE_NS)
    wakes, private = idle(build, keel)
    starts = []
    for _ in range(5):
        start(build, keel, starts)
    rows = (
        ("synchronous request, CPU of the process", mine[0], "us", "< 1.5"),
        ("  elapsed", mine[1], "us", ""),
        ("  the same, floor-model, which always sleeps", floor[0], "us", ""),
        ("after a pause of %d us, CPU" % (PAUSE_NS // 1000), paused[0], "us", ""),
        ("  the same, floor-model", floor_paused[0], "us", ""),
        ("exec to running, CPU", statistics.median(starts), "ms", "< 15"),
        ("private memory, idle", private, "MiB", "< 6"),
        ("wake-ups, idle", wakes, "/s", "< 10"),
    )
    print("%-44s %10s %-4s %s" % ("under fake Xen", "measured", "", "aim"))
    for name, value, unit, aim in rows:
        print("%-44s %10.2f %-4s %s" % (name, value, unit, aim))


main()
