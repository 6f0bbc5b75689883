# SPDX-License-Identifier: MIT
"""xen-glue alone, under fake Xen: rings, claims, memory, lines, xenstore, restriction, failures.

The device model is tests/fake-xen/mini-model.c, whose one device reaches every host function.
"""
import os
import time

from xen_fake import Error, Guest, expect, main, until

RAM = 4 << 20
ADDR, LEN, COMMAND, RESULT = 0x110, 0x114, 0x118, 0x11c
(FILL, SUM, PIN, UNPIN, LEND, TAKE_BACK, DIRTY, BLOCK_PUT, BLOCK_GET, ISA, INTX, LINK, MSI, POWER,
 DIRTY_LOG, MOVE_WINDOW, STAT, TIMER) = range(1, 19)
S_SYNC, S_BUFFERED, S_INVALIDATE, S_TIMEOFFSET, S_BAD, S_HITS, S_MISSES, S_BYTES, S_LINGERED, S_VAIN = range(10)
ONES = 0xffffffffffffffff


class Rig:
    """A guest with a mini-model that is ready."""

    def __init__(self, build, *words, vcpus=1, fail=None, **kw):
        self.g = Guest(build, ram=RAM, vcpus=vcpus, **kw)
        self.build = build
        try:
            self.m = self.start(*words, fail=fail).ready()
        except Exception:
            self.g.__exit__()
            raise

    def start(self, *words, fail=None, domid=None):
        return self.g.spawn([self.build + "/tests/fake-xen/mini-model", str(domid or self.g.domid),
                             str(RAM)] + list(words), fail)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.g.__exit__()

    def do(self, command, addr=0, n=0):
        self.g.outl(ADDR, addr)
        self.g.outl(LEN, n)
        self.g.outl(COMMAND, command)
        return self.g.inl(RESULT)

    def stat(self, field):
        return self.do(STAT, field)


def refused(build, text, *words, **kw):
    """The model must end with 1 and a line that holds text."""
    with Guest(build, ram=RAM, **{k: v for k, v in kw.items() if k != "fail" and k != "domid"}) as g:
        m = g.spawn([build + "/tests/fake-xen/mini-model", str(kw.get("domid", 7)), str(RAM)] +
                    list(words), kw.get("fail"))
        expect("exit status", m.wait(), 1)
        lines = m.output().splitlines()
        if len(lines) != 1 or text not in lines[0]:
            raise Error("expected one line with %r, got %r" % (text, lines))
        return g.store("/local/domain/0/device-model/%d/keel-error" % kw.get("domid", 7))


def test_access_of_every_size_reaches_the_device(build):
    with Rig(build) as r:
        g = r.g
        g.outl(0x100, 0x12345678)
        g.outb(0x104, 0x9a)
        expect("inb", g.inb(0x101), 0x56)
        expect("inw", g.inw(0x103), 0x9a12)
        expect("inl", g.inl(0x100), 0x12345678)
        g.cmd("writeq", 0xe0000010, 0x1122334455667788)
        expect("readl", g.num("readl", 0xe0000014), 0x11223344)
        expect("readq", g.num("readq", 0xe0000010), 0x1122334455667788)
        g.config(5 << 3, 0x40, 4, 0xcafef00d)
        expect("config", g.config(5 << 3, 0x42, 2), 0xcafe)
        expect("nobody's port", g.inb(0x200), 0xff)
        expect("nobody's function", g.config(6 << 3, 0, 4), 0xffffffff)


def test_string_io_moves_guest_memory(build):
    with Rig(build) as r:
        g = r.g
        g.memwrite(0x1ffe, b"\x01\x02\x03\x04")
        g.request(addr=0x104, size=1, count=4, data=0x1ffe, ptr=1, read=0)
        expect("last byte out", g.inb(0x104), 4)
        g.outb(0x104, 0x77)
        g.request(addr=0x104, size=1, count=6000, data=0x8000, ptr=1, read=1)
        expect("bytes in", g.memread(0x8000, 6001), b"\x77" * 6000 + b"\0")
        g.request(addr=0x104, size=1, count=3, data=0x1ffe + 2, ptr=1, read=0, df=1)
        expect("downwards", g.inb(0x104), 1)
        state, _ = g.request(type=1, addr=0xe0000000, size=4, count=8, data=0x8000, ptr=1, read=0)
        expect("movs", (state, g.num("readq", 0xe0000018)), (3, 0x7777777777777777))
        g.request(addr=0x104, size=1, count=4, data=0xd0000000, ptr=1, read=0)
        expect("from a hole", g.inb(0x104), 0xff)


def test_every_hostile_slot_is_answered(build):
    with Rig(build) as r:
        g = r.g
        hostile = [dict(addr=0x10100), dict(addr=ONES), dict(size=0), dict(size=3), dict(size=16),
                   dict(size=0xffffffff), dict(count=0), dict(count=65537), dict(count=0xffffffff),
                   dict(type=3), dict(type=4), dict(type=5), dict(type=6), dict(type=9),
                   dict(type=255)]
        for h in hostile:
            state, data = g.request(**{**dict(addr=0x100, size=4, data=0x5555), **h})
            expect(repr(h), (state, data), (3, ONES))
            state, data = g.request(**{**dict(addr=0x100, size=4, data=0x55, read=0), **h})
            expect("write " + repr(h), (state, data), (3, 0x55))
            state, _ = g.request(**{**dict(addr=0x100, size=4, data=0x3000, ptr=1), **h})
            expect("string " + repr(h), state, 3)
        expect("nothing stored", g.memread(0x3000, 8), bytes(8))
        expect("bad slots", r.stat(S_BAD), 3 * len(hostile))
        expect("scratch untouched", g.inl(0x100), 0)
        expect("config register above 4 KiB", g.request(type=2, addr=5 << 35 | 0x1000, size=4),
               (3, ONES))
        # The address space ends in the middle of the repeat: no fault, all ones.
        expect("wrap", g.request(type=1, addr=ONES - 3, size=4, count=3), (3, 0xffffffff))
        expect("df below 0", g.request(type=1, addr=4, size=4, count=3, df=1)[0], 3)
        g.request(type=1, addr=0xe0000000, size=8, count=65536, data=ONES - 100, ptr=1, read=0)
        lines = r.m.output().splitlines()
        if not 1 <= len(lines) <= 30:
            raise Error("log lines: %d" % len(lines))


def test_slots_in_other_states_are_left_alone(build):
    with Rig(build) as r:
        for state in [0, 2, 3] + list(range(4, 16)):
            expect("state %d" % state, r.g.cmd("state", state, 5), [str(state)])
        expect("still alive", r.g.inb(0x100), 0)


def test_foreign_events_do_no_harm(build):
    with Rig(build, vcpus=2) as r:
        for port in (0, 1, 8, 9, 10, 11, 12, 100):
            r.g.cmd("event", port)
        expect("still alive", r.g.inb(0x100), 0)


def test_every_vcpu_is_served(build):
    with Rig(build, vcpus=128) as r:
        for v in (0, 1, 63, 64, 127):
            r.g.cmd("vcpu", v)
            r.g.outb(0x100, v)
            expect("vcpu %d" % v, r.g.inb(0x100), v)


def test_buffered_writes_come_before_a_later_request(build):
    with Rig(build) as r:
        g = r.g
        r.do(MOVE_WINDOW, 0xa0000)
        expect("still there", g.num("readb", 0xa0000), 0)
        for i in range(400):
            g.cmd("buffered", 1, 0xa0000 + i, 1, i & 0xff)
        g.cmd("buffered", 1, 0xa0200, 8, 0x0102030405060708)
        g.cmd("buffered", 1, 0xa0300, 2, 0xbeef)
        g.cmd("buffered", 1, 0xa0304, 4, 0xdeadbeef)
        # No event for the buffered ring at all: the synchronous request drains it.
        expect("8 bytes", g.num("readq", 0xa0200), 0x0102030405060708)
        expect("2 bytes", g.num("readl", 0xa0300), 0xbeef)
        expect("4 bytes", g.num("readl", 0xa0304), 0xdeadbeef)
        expect("last single", g.num("readb", 0xa0000 + 399), 399 & 0xff)
        expect("count", r.stat(S_BUFFERED), 403)
        for lap in range(5):
            for i in range(510):
                g.cmd("buffered", 1, 0xa0000 + i, 1, lap + i & 0xff)
            g.cmd("kick", 2000)
        expect("after laps", g.num("readb", 0xa0000 + 509), 4 + 509 & 0xff)


def test_hostile_buffered_ring_is_bounded(build):
    with Rig(build) as r:
        g = r.g
        bad = r.stat(S_BAD)
        g.cmd("bufpoke", 1, 0x80000000)  # write index far ahead
        g.cmd("kick", 2000)
        expect("wild pointers", r.stat(S_BAD), bad + 1)
        g.cmd("bufpoke", 0, 5)
        g.cmd("bufpoke", 1, 0)           # and behind
        g.cmd("kick", 2000)
        g.cmd("bufpoke", 0, 0)
        g.cmd("bufpoke", 1, 0)
        g.cmd("buffered", 3, 0x100, 1, 0)  # no such type
        g.cmd("kick", 2000)
        for word in range(2, 1024):
            g.cmd("bufpoke", word, 0xffffffff)
        g.cmd("bufpoke", 0, 0)
        g.cmd("bufpoke", 1, 511)           # a full ring of nonsense, the last entry cut in half
        g.cmd("kick", 2000)
        expect("still alive", g.inb(0x100), 0)


def test_buffered_read_and_half_an_entry_are_refused(build):
    with Rig(build) as r:
        g = r.g
        bad = r.stat(S_BAD)
        g.cmd("bufpoke", 2, 1 | 1 << 9 | 0xe0000 << 12)  # MMIO, direction read
        g.cmd("bufpoke", 1, 1)
        g.cmd("kick", 2000)
        g.cmd("bufpoke", 4, 1 | 3 << 10 | 0xa0000 << 12)  # 8 bytes, but one entry only
        g.cmd("bufpoke", 1, 2)
        g.cmd("kick", 2000)
        expect("bad", r.stat(S_BAD), bad + 2)


def test_request_costs_three_system_calls(build):
    def calls(pid):
        with open("/proc/%d/io" % pid) as f:
            io = dict(line.split(": ") for line in f)
        return int(io["syscr"]), int(io["syscw"])

    with Rig(build) as r:
        reads, writes = calls(r.m.proc.pid)
        r.g.cmd("bench", 2000, 0x100)
        after = calls(r.m.proc.pid)
        # Under fake Xen notifying is a write, as unmasking is.
        if after[0] - reads > 2010 or after[1] - writes > 4010:
            raise Error("2000 requests took %d reads, %d writes" %
                        (after[0] - reads, after[1] - writes))


def test_claims_are_exact(build):
    with Rig(build) as r:
        g = r.g
        for port, want in ((0xff, 0), (0x100, 1), (0x107, 1), (0x108, 0), (0x10f, 0), (0x110, 1),
                           (0x11f, 1), (0x120, 0)):
            expect("port %#x" % port, g.num("claimed", "pio", port, 1), want)
        expect("window", g.num("claimed", "mmio", 0xe0000000, 0x1000), 1)
        expect("behind it", g.num("claimed", "mmio", 0xe0000fff, 2), 0)
        expect("function", [g.num("claimed", "pci", n, 1) for n in (39, 40, 41)], [0, 1, 0])
        r.do(MOVE_WINDOW, 0xe8000000)
        expect("old place", g.num("claimed", "mmio", 0xe0000000, 1), 0)
        expect("new place", g.num("claimed", "mmio", 0xe8000000, 0x1000), 1)
        # Over chips that are Xen's own: only the rest is claimed.
        r.do(MOVE_WINDOW, 0xfed00000 - 0x800)
        expect("before the HPET", g.num("claimed", "mmio", 0xfed00000 - 0x800, 0x800), 1)
        expect("the HPET", g.num("claimed", "mmio", 0xfed00000, 1), 0)
        expect("behind it", g.num("claimed", "mmio", 0xfed00400, 0x400), 1)
        r.do(MOVE_WINDOW, 0xfee00000)
        expect("local APIC", g.domain()["mmio_ranges"], 0)
        r.do(MOVE_WINDOW, 0xe0000000)
        expect("back", g.domain()["mmio_ranges"], 1)


def test_dma_reaches_ram_only(build):
    with Rig(build) as r:
        g = r.g
        expect("fill", r.do(FILL, 0x3ff0, 0x20), 0)
        expect("filled", g.memread(0x3fef, 0x22), b"\0" + b"\xa5" * 0x20 + b"\0")
        expect("sum", r.do(SUM, 0x3ff0, 0x20), 0xa5 * 0x20)
        expect("end of RAM", r.do(FILL, RAM - 16, 16), 0)
        expect("over the end", r.do(FILL, RAM + 0x40000 - 16, 17), 14)  # the block's home
        expect("own window", r.do(FILL, 0xe0000000, 4), 14)
        expect("hole", r.do(FILL, 0xd0000000, 4), 14)
        expect("across windows of the cache", r.do(FILL, 0x3ff00, 0x200), 0)
        expect("there", g.memread(0x3ffff, 2), b"\xa5\xa5")
        hits, misses = r.stat(S_HITS), r.stat(S_MISSES)
        for _ in range(50):
            r.do(FILL, 0x3ff0, 4)
        expect("no new mapping", r.stat(S_MISSES), misses)
        if r.stat(S_HITS) < hits + 50:
            raise Error("hits not counted")


def test_ballooned_page_is_noticed_after_invalidate(build):
    with Rig(build) as r:
        g = r.g
        expect("before", r.do(FILL, 0x5000, 4), 0)
        g.cmd("balloon", 5)
        expect("invalidate", g.request(type=8, read=0, data=ONES)[0], 3)
        expect("counted", r.stat(S_INVALIDATE), 1)
        expect("gone", r.do(FILL, 0x5000, 4), 14)
        expect("neighbour", r.do(FILL, 0x6000, 4), 0)
        expect("all or nothing", r.do(FILL, 0x4ffc, 8), 14)
        expect("untouched", g.memread(0x4ffc, 4), bytes(4))


def test_pinned_memory_survives_invalidate(build):
    with Rig(build) as r:
        g = r.g
        expect("pin", r.do(PIN, 0x7000, 0x1000), 0)
        mapped = r.stat(S_BYTES)
        g.request(type=8, read=0, data=ONES)
        expect("kept", r.stat(S_BYTES), mapped)
        expect("unpin", r.do(UNPIN), 0)
        expect("data", g.memread(0x7000, 0x1000), b"\x5a" * 0x1000)
        expect("then dropped", r.stat(S_BYTES), mapped - 0x40000)


def test_block_moves_and_exists_once(build):
    with Rig(build) as r:
        g = r.g
        home = RAM
        g.memwrite(home, b"early")
        r.do(BLOCK_PUT, 0x100, 0x42)
        expect("home", g.memread(home, 5), b"early")
        expect("lend", r.do(LEND, 0xf0000000), 1)
        expect("moved", g.memread(0xf0000000, 5), b"early")
        expect("device's write", g.memread(0xf0000100, 1), b"\x42")
        g.memwrite(0xf0000000 + 0x200, b"\x99")
        expect("guest's write", r.do(BLOCK_GET, 0x200), 0x99)
        try:
            g.memread(home, 1)
            raise Error("block is still at home")
        except Error as e:
            if "hole" not in str(e):
                raise
        expect("move", r.do(LEND, 0xf8000000), 1)
        expect("there", g.memread(0xf8000000, 5), b"early")
        expect("half over itself", r.do(LEND, 0xf8010000), 1)
        expect("there too", g.memread(0xf8010000, 5), b"early")
        expect("over RAM", r.do(LEND, 0x100000), 0)
        expect("sent home", g.memread(home, 5), b"early")
        expect("RAM untouched", g.memread(0x100000, 5), bytes(5))
        expect("not page-aligned", r.do(LEND, 0xf0000010), 0)
        expect("legacy window too small", r.do(LEND, 0x90000), 0)
        r.do(LEND, 0xf0000000)
        expect("one caching range", g.domain()["cache_ranges"], 1)
        r.do(TAKE_BACK)
        expect("taken back", g.memread(home, 5), b"early")
        expect("none", g.domain()["cache_ranges"], 0)
        expect("DMA into it", (r.do(LEND, 0xf0000000), r.do(FILL, 0xf0000000, 4)), (1, 0))
        expect("arrived", r.do(BLOCK_GET, 3), 0xa5)


def test_limit_is_raised_for_blocks(build):
    with Rig(build, max_memkb=RAM // 1024) as r:
        expect("raised", [c for c in r.g.calls() if c.startswith("setmaxmem")],
               ["setmaxmem %d" % (RAM // 1024 + 8 + 256 - 128)])
    with Rig(build) as r:
        expect("enough room", [c for c in r.g.calls() if c.startswith("setmaxmem")], [])


def test_dirty_pages_are_the_guests_and_the_devices(build):
    with Rig(build) as r:
        g = r.g
        r.do(BLOCK_PUT, 0x3000, 1)
        expect("at home only the device's", r.do(DIRTY), 1)
        expect("no tracking at home", g.domain()["track_calls"], 0)
        r.do(LEND, 0xf0000000)
        expect("everything at first", r.do(DIRTY), 64)
        expect("nothing since", r.do(DIRTY), 0)
        g.memwrite(0xf0001ffe, b"1234")
        r.do(BLOCK_PUT, 0x5000, 1)
        expect("two and one", r.do(DIRTY), 3)
        expect("forgotten", r.do(DIRTY), 0)
        until("tracking to end", lambda: "track off" in g.calls(), 6)
        expect("everything again", r.do(DIRTY), 64)


def cpu_ticks(m):
    with open("/proc/%d/stat" % m.proc.pid) as f:
        return sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13]))


def apart(r):
    """Guest and model on a processor each; False where there is only one."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) > 1:
        os.sched_setaffinity(r.g.proc.pid, cpus[-1:])
        for t in os.listdir("/proc/%d/task" % r.m.proc.pid):
            os.sched_setaffinity(int(t), cpus[:-1])
    return len(cpus) > 1


def test_busy_guest_is_answered_without_a_wake(build):
    with Rig(build, vcpus=3) as r:
        def bench():  # on a busy machine both run at the same time only now and then
            r.g.cmd("bench", 2000, 0x100)
            return r.stat(S_LINGERED) > 20
        if apart(r):
            until("requests to be found before the thread slept", bench, 100)
        r.g.cmd("vcpu", 2)  # its event is sent while other ports may still be masked
        expect("another vCPU", r.g.inb(0x100), 0)
        r.g.cmd("buffered", 0, 0x101, 1, 0x5a)
        r.g.cmd("kick", 1000)
        expect("a buffered write", r.g.inb(0x101), 0x5a)


def test_idle_guest_costs_nothing(build):
    with Rig(build) as r:
        r.g.cmd("bench", 2000, 0x100)
        time.sleep(0.1)
        before = cpu_ticks(r.m)
        time.sleep(0.5)
        expect("ticks of 10 ms", cpu_ticks(r.m) - before <= 1, True)


def test_requests_far_apart_stop_the_lingering(build):
    """Each try in vain doubles the wait for the next: of 1300 wakes a dozen linger."""
    with Rig(build) as r:
        before = r.stat(S_VAIN)
        r.g.cmd("bench", 1300, 0x100, 300000)
        tries = r.stat(S_VAIN) - before
        expect("%d tries in vain, of 1300" % tries, 0 < tries < 40, True)


def test_dirty_means_everything_when_xen_does_not_know(build):
    with Rig(build, fail="xendevicemodel_track_dirty_vram=61") as r:  # ENODATA
        r.do(LEND, 0xf0000000)
        expect("all", (r.do(DIRTY), r.do(DIRTY)), (64, 64))


def test_writes_are_reported_while_the_log_is_on(build):
    with Rig(build) as r:
        r.do(FILL, 0x4000, 4)
        expect("off", r.g.domain()["modified_calls"], 0)
        r.do(DIRTY_LOG, 1)
        r.do(FILL, 0x4ffe, 4)
        expect("two pages", r.g.domain()["modified_pages"], 2)
        r.do(BLOCK_PUT, 0x1000, 7)
        expect("the block's home", r.g.calls()[-1], "modified %#x 1" % (RAM // 4096 + 1))
        r.do(DIRTY_LOG, 0)
        r.do(FILL, 0x4000, 4)
        expect("off again", r.g.domain()["modified_pages"], 3)


def test_lines_are_told_once(build):
    with Rig(build) as r:
        g = r.g
        r.do(ISA, 5, 1)
        expect("IRQ 5", g.irq(5), 1)
        calls = g.domain()["isa_calls"]
        r.do(ISA, 5, 1)
        expect("no second call", g.domain()["isa_calls"], calls)
        r.do(ISA, 5, 0)
        expect("IRQ 5 low", g.irq(5), 0)
        r.do(INTX, 0, 1)
        expect("INTA of slot 5", g.num("intx", 5, 0), 1)
        r.do(LINK, 2, 11)
        expect("PIRQC", g.num("link", 2), 11)
        r.do(MSI, 0xfee01000, 0x4041)
        expect("MSI", g.cmd("msi"), ["1", "0xfee01000", "0x4041"])


def test_power_events_become_shutdowns(build):
    for event, reason in ((0, 0), (1, 1), (3, 3)):
        with Rig(build) as r:
            r.do(POWER, event)
            d = r.g.domain()
            expect("event %d" % event, (d["shutdowns"], d["reason"]), (1, reason))
    with Rig(build) as r:
        r.do(POWER, 2)
        expect("S3", (r.g.domain()["s_state"], r.g.domain()["shutdowns"]), (3, 0))


def test_timer_fires_on_the_loop(build):
    with Rig(build) as r:
        r.do(TIMER, 0, 30)
        expect("not yet", r.g.irq(7), 0)
        until("IRQ 7", lambda: r.g.irq(7) == 1)


def test_clock_offset_goes_to_xenstore(build):
    with Rig(build) as r:
        g = r.g
        node = "/vm/4711-ab/rtc/timeoffset"
        g.store("/local/domain/7/vm", "/vm/4711-ab")
        g.store(node, "-100")
        g.request(type=7, read=0, size=8, data=3600)
        until("the node", lambda: g.store(node) == "3500")
        g.cmd("buffered", 7, 0, 8, (1 << 64) - 500)
        g.cmd("kick", 2000)
        until("the second change", lambda: g.store(node) == "3000")
        expect("counted", r.stat(S_TIMEOFFSET), 2)


def test_clock_offset_with_odd_nodes_does_no_harm(build):
    with Rig(build) as r:
        g = r.g
        change = lambda delta: g.request(type=7, read=0, size=8, data=delta % (1 << 64))
        change(5)  # no vm node: nowhere to write to
        expect("alive", g.inb(0x100), 0)
        for odd in ("", "/vm/" + "x" * 4000, "/" * 200):
            g.store("/local/domain/7/vm", odd)
            change(5)
            expect("alive", g.inb(0x100), 0)
        r.do(TIMER, 0, 1)  # the loop has been around
        until("a timer", lambda: g.irq(7) == 1)
        expect("nothing written",
               [f for f in os.listdir(g.dir + "/xenstore") if f.endswith("timeoffset")], [])
        g.store("/local/domain/7/vm", "/vm/ab")
        node = "/vm/ab/rtc/timeoffset"
        for old, delta, new in (("frog", 7, "7"), ("", 8, "8"), ("12 monkeys", 1, "13"),
                                ("9" * 4000, -1, str((1 << 63) - 2)),
                                (str((1 << 63) - 1), 1, str(-1 << 63)),
                                ("-5", -1 << 63, str((1 << 63) - 5))):
            g.store(node, old)
            change(delta)
            until("%s + %d" % (old[:20], delta), lambda: g.store(node) == new)


def test_running_is_written_and_errors_too(build):
    with Rig(build) as r:
        until("running", lambda: r.g.state == "running")
    note = refused(build, "domain 8 does not exist", domid=8)
    expect("keel-error", note, "domain 8 does not exist")
    refused(build, "domain 6 does not exist", domid=6)
    refused(build, "does not exist", domid=40000)


def test_failing_calls_end_the_start_with_one_line(build):
    for call, text in (("xc_interface_open=13", "hypercalls"),
                       ("xendevicemodel_open=13", "device model calls"),
                       ("xenforeignmemory_open=13", "foreign memory"),
                       ("xenevtchn_open=2", "event channels"),
                       ("xs_open=2", "xenstore"),
                       ("xendevicemodel_create_ioreq_server=24", "cannot create an ioreq server"),
                       ("xenforeignmemory_map_resource=1", "cannot map the ioreq pages"),
                       ("xc_domain_populate_physmap_exact=12", "mini.ram"),
                       ("xenforeignmemory_map2=12", "mini.ram"),
                       ("xc_domain_getinfo=13", "cannot ask about domain 7"),
                       ("xc_domain_getinfo=3", "domain 7 does not exist"),
                       ("xendevicemodel_map_io_range_to_ioreq_server=28", "cannot claim ports 0x"),
                       ("xendevicemodel_map_pcidev_to_ioreq_server=28", "cannot claim PCI 00:05.0"),
                       ("xendevicemodel_set_ioreq_server_state=22", "cannot enable"),
                       ("xenevtchn_bind_interdomain=22", "cannot bind event channel 10"),
                       ("xs_write=13", "cannot write device-model/7/state")):
        refused(build, text, fail=call)
    refused(build, "cannot restrict", "restrict", fail="xentoolcore_restrict_all=95")


def test_old_xen_maps_the_pages_by_frame(build):
    with Rig(build, fail="xenforeignmemory_map_resource=95") as r:
        r.g.outb(0x100, 0x21)
        expect("served", r.g.inb(0x100), 0x21)
        expect("the old way", "ioreq pages by frame number" in r.g.calls(), True)


def test_restricted_model_serves_everything(build):
    with Rig(build, "restrict", vcpus=2) as r:
        g = r.g
        expect("no xenstore", g.state, None)
        r.do(LEND, 0xf0000000)
        expect("block", r.do(BLOCK_GET, 0), 0)
        expect("DMA", r.do(FILL, 0x9000, 0x100), 0)
        r.do(DIRTY)
        r.do(DIRTY_LOG, 1)
        r.do(FILL, 0x9000, 1)
        r.do(ISA, 3, 1)
        r.do(MOVE_WINDOW, 0xe1000000)
        r.do(POWER, 0)
        expect("shut down", g.domain()["shutdowns"], 1)
        g.request(type=7, read=0, size=8, data=1)
        expect("alive", g.inb(0x100), 0)
        expect("nothing refused", [c for c in g.calls() if c.startswith("refused")], [])


def test_restored_model_finds_its_block(build):
    with Rig(build) as r:
        g = r.g
        r.do(LEND, 0xf0000000)
        g.memwrite(0xf0000000, b"picture")
        r.m.kill()
        before = len([c for c in g.calls() if c.startswith("populate")])
        r.m = r.start("restoring").ready()
        expect("nothing populated", len([c for c in g.calls() if c.startswith("populate")]), before)
        expect("stand-in", r.do(BLOCK_GET, 0), 0)
        expect("nothing there", r.do(LEND, 0xe8000000), 0)
        before = g.domain()["cache_ranges"]
        expect("lend", r.do(LEND, 0xf0000000), 1)
        expect("cached again", g.domain()["cache_ranges"], before + 1)
        expect("picture", r.do(BLOCK_GET, 0), ord("p"))
        r.do(TAKE_BACK)
        expect("home", g.memread(RAM, 7), b"picture")
        r.m.kill()
        r.m = r.start("restoring").ready()
        expect("found at home", r.do(BLOCK_GET, 0), ord("p"))
        expect("lend again", r.do(LEND, 0xf8000000), 1)
        expect("there", g.memread(0xf8000000, 7), b"picture")


def test_model_ends_cleanly(build):
    with Rig(build) as r:
        r.do(FILL, 0x1000, 4)
        r.m.proc.stdin.close()
        r.m.proc.stdin = None
        expect("exit", r.m.wait(), 0)
        expect("server", "destroy_server" in r.g.calls(), True)
        expect("mappings", r.g.domain()["mapped_pages"], 0)
        expect("silent", r.m.output(), "")


def other_libraries(g, replaced, source):
    """A directory like the fake's, with one library from elsewhere."""
    libs = g.dir + "/libs"
    os.mkdir(libs)
    fake = g.build + "/tests/fake-xen"
    for name in os.listdir(fake):
        if ".so" in name and name != replaced and not name.endswith(".p"):
            os.symlink(os.path.join(fake, name), libs + "/" + name)
    os.symlink(os.path.abspath(source), libs + "/" + replaced)
    return {"LD_LIBRARY_PATH": libs}


def test_missing_library_or_function_is_named(build):
    for broken, source, text in (
            ("libxendevicemodel.so.1", __file__, "cannot open Xen's library libxendevicemodel.so.1"),
            ("libxentoolcore.so.1", "/lib/x86_64-linux-gnu/libdl.so.2",
             "libxentoolcore.so.1 has no function xentoolcore_restrict_all")):
        with Guest(build, ram=RAM) as g:
            m = g.spawn([build + "/tests/fake-xen/mini-model", "7", str(RAM)],
                        env=other_libraries(g, broken, source))
            expect("exit", m.wait(), 1)
            if text not in m.output() or m.output().count("\n") != 1:
                raise Error(m.output())


def test_newer_xen_without_getinfo_is_served(build):
    for domid in (7, 9):
        with Guest(build, ram=RAM, vcpus=3) as g:
            m = g.spawn([build + "/tests/fake-xen/mini-model", str(domid), str(RAM)],
                        env=other_libraries(g, "libxenctrl.so.4.17",
                                            build + "/tests/fake-xen/libfakexen-new.so"))
            if domid == 9:
                expect("exit", m.wait(), 1)
                expect("why", m.output(), "mini-model: domain 9 does not exist\n")
                continue
            m.ready()
            g.cmd("vcpu", 2)
            g.outb(0x100, 0x33)
            expect("served", g.inb(0x100), 0x33)


def test_host_without_xen_is_told_in_one_line(build):
    if os.path.exists("/dev/xen/privcmd"):
        return
    with Guest(build, ram=RAM) as g:
        m = g.spawn([build + "/tests/fake-xen/mini-model", "7", str(RAM)],
                    env={"LD_LIBRARY_PATH": ""})
        expect("exit", m.wait(), 1)
        if m.output().count("\n") != 1 or "Xen's" not in m.output():
            raise Error(m.output())


main(globals())
