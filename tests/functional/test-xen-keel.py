# SPDX-License-Identifier: MIT
"""Keel in its Xen role from end to end, under fake Xen: started as libxl starts it, spoken to as
libxl and the guest do."""
import os
import pwd
import resource
import socket
import struct
import subprocess
import time

from xen_fake import Error, Guest, expect, main, until
from xen_keel import Keel, Qmp, argv_for, find_keel, make_disk, recording, without_leak_check

MIB = 1 << 20
ONES = 0xffffffffffffffff
I440FX, PIIX3, IDE, PM, PLATFORM, VGA = 0, 1 << 3, 1 << 3 | 1, 1 << 3 | 3, 2 << 3, 3 << 3
BMIDE, PRD, DATA = 0xc000, 0x10000, 0x11000


def guest(build, ram=56, **kw):
    return Guest(build, ram=ram * MIB, **kw)


def disk_guest(build, **kw):
    g = guest(build, **kw)
    make_disk(g)
    return g


def replaced(words, **changes):
    """Words with the values of some options changed: _m="64" changes what follows -m."""
    words = list(words)
    for option, value in changes.items():
        words[words.index("-" + option.replace("_", "-").strip("-")) + 1] = value
    return words


# ---- start and end ----

def test_recorded_guests_start_run_and_end_on_sighup(build):
    for name, ram in (("a-minimal", 56), ("sr", 56), ("stopped", 56), ("a-raw-nonet", 56)):
        with disk_guest(build, ram=ram) as g:
            make_disk(g, "cd.iso")
            words = [w.replace("127.0.0.1:3,password=on", "none") for w in recording(name)]
            k = Keel(build, g, words)
            until("running", lambda: g.state == "running")
            with k.qmp() as q:
                q("query-chardev")
            expect(name + ": exit status", k.hangup(), 0)
            expect(name + ": server", "destroy_server" in g.calls(), True)
            expect(name + ": sockets", os.path.exists(g.dir + "/qmp-libxl"), False)


def test_start_sequence_is_libxls(build):
    with disk_guest(build) as g:
        words = recording("sr")
        words[words.index("-vnc") + 1] = "127.0.0.1:90,password=on,to=99"
        k = Keel(build, g, words)
        with k.qmp() as q:
            labels = {c["label"]: c["filename"] for c in q("query-chardev")}
            expect("labels", sorted(labels), ["libxenstat-cmd", "libxl-cmd", "serial0"])
            expect("pty", labels["serial0"][:13], "pty:/dev/pts/")
            vnc = q("query-vnc")
            expect("host", (vnc["enabled"], vnc["host"]), (True, "127.0.0.1"))
            if not 5990 <= int(vnc["service"]) < 6000 or not isinstance(vnc["service"], str):
                raise Error("service: %r" % vnc)
            expect("password", q("change-vnc-password", password="secret"), {})
        with k.qmp() as q:
            expect("cont", q("cont"), {})
            expect("status", q("query-status")["status"], "running")
        with Qmp(g.dir + "/qmp-libxenstat") as q:
            q("query-blockstats")


def refused(build, words, text, ram=56, setup=None, domid=7, fail=None):
    with Guest(build, ram=ram * MIB, domid=domid) as g:
        if setup:
            setup(g)
        m = g.spawn(argv_for(find_keel(build), g, words), fail=fail)
        expect("exit status", m.wait(), 1)
        lines = m.output().splitlines()
        if len(lines) != 1 or text not in lines[0]:
            raise Error("one line with %r expected: %r" % (text, lines))
        expect("not running", g.state, None)
        note = g.store("/local/domain/0/device-model/%d/keel-error" % domid) or ""
        if text not in note:
            raise Error("keel-error: %r" % note)


def test_bad_starts_say_why_in_one_line(build):
    refused(build, recording("sr"), "disk.raw")  # no such file
    refused(build, recording("sr") + ["-frobnicate"], "-frobnicate", setup=make_disk)
    refused(build, recording("life"), "-usb", ram=48,
            setup=lambda g: (make_disk(g), make_disk(g, "cd.iso")))
    refused(build, recording("a-minimal"), "hypercalls", fail="xc_interface_open=13")
    refused(build, recording("a-minimal"), "cannot create an ioreq server",
            fail="xendevicemodel_create_ioreq_server=24")


def test_absent_domain_is_named(build):
    with guest(build) as g:
        words = argv_for(find_keel(build), g, recording("a-minimal"))
        words[words.index("-xen-domid") + 1] = "8"
        m = g.spawn(words)
        expect("exit status", m.wait(), 1)
        if "domain 8 does not exist" not in m.output():
            raise Error(m.output())
        expect("keel-error", g.store("/local/domain/0/device-model/8/keel-error"),
               "domain 8 does not exist")


def test_busy_vnc_port_is_named(build):
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    while s.getsockname()[1] < 5900:
        s.close()
        s = socket.socket()
        s.bind(("127.0.0.1", 0))
    s.listen()
    words = replaced(recording("a-minimal"), vnc="127.0.0.1:%d" % (s.getsockname()[1] - 5900))
    refused(build, words, "-vnc")
    s.close()


# ---- what hvmloader and firmware look for ----

def test_pci_functions_are_where_hvmloader_expects_them(build):
    with guest(build) as g:
        Keel(build, g, recording("a-minimal"))
        for bdf, want in ((I440FX, 0x12378086), (PIIX3, 0x70008086), (IDE, 0x70108086),
                          (PM, 0x71138086), (PLATFORM, 0x00015853), (VGA, 0x00b81013)):
            expect("%02x.%x" % (bdf >> 3, bdf & 7), g.config(bdf, 0, 4), want)
        expect("nothing at 04.0", g.config(4 << 3, 0, 4), 0xffffffff)
        g.outl(0xcf8, 0x80000000 | IDE << 8)
        expect("by port too", g.inl(0xcfc), 0x70108086)


def test_hvmloaders_sci_check_passes(build):
    with guest(build) as g:
        Keel(build, g, recording("a-minimal"))
        g.config(PM, 0x40, 4, 0xb001)
        g.config(PM, 0x80, 1, 1)
        g.outb(0xb2, 0xf1)
        expect("SCI_EN", g.inw(0xb004) & 1, 1)
        expect("Xen's registers are not claimed",
               [g.num("claimed", "pio", p, 1) for p in (0xb000, 0xb003, 0xb008, 0xb00b)], [0] * 4)


def test_xens_own_chips_are_not_claimed(build):
    with guest(build) as g:
        Keel(build, g, recording("a-minimal"))
        for port in (0x20, 0x21, 0x40, 0x41, 0x42, 0x43, 0x61, 0xa0, 0xa1, 0xe9, 0x4d0,
                     0x4d1):
            expect("port %#x" % port, g.num("claimed", "pio", port, 1), 0)
        for addr in (0xfec00000, 0xfed00000, 0xfee00000):
            expect("%#x" % addr, g.num("claimed", "mmio", addr, 1), 0)
        for port, size in ((0x60, 1), (0x64, 1), (0x92, 1), (0x1f0, 8), (0x170, 8), (0x3f6, 1),
                           (0x3c0, 0x10), (0x3d4, 2), (0xcf8, 8), (0, 16), (0xc0, 32), (0xb2, 2)):
            expect("port %#x" % port, g.num("claimed", "pio", port, size), 1)
        expect("VGA window", g.num("claimed", "mmio", 0xa0000, 0x20000), 1)


# ---- devices through the ring ----

def test_serial_port_talks_through_its_pty(build):
    with disk_guest(build) as g:
        k = Keel(build, g, recording("sr"))
        with k.qmp() as q:
            pty = [c["filename"][4:] for c in q("query-chardev") if c["label"] == "serial0"][0]
            q("cont")
        fd = os.open(pty, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        got = b""
        try:
            for c in b"Hello from the guest\n":
                until("THR empty", lambda: g.inb(0x3fd) & 0x20)
                g.outb(0x3f8, c)
            end = time.time() + 60
            while b"guest" not in got and time.time() < end:
                try:
                    got += os.read(fd, 100)
                except BlockingIOError:
                    time.sleep(0.01)
            expect("said", got.replace(b"\r", b"").startswith(b"Hello from the guest"), True)
            os.write(fd, b"q")
            until("a byte", lambda: g.inb(0x3fd) & 1)
            expect("heard", g.inb(0x3f8), ord("q"))
        finally:
            os.close(fd)


def ide_setup(g):
    g.config(IDE, 0x20, 4, BMIDE)
    g.config(IDE, 4, 2, 5)
    g.config(IDE, 0x40, 4, 0x80008000)  # both channels decode
    g.outb(0x3f6, 0)


def ide_dma(g, lba, write, data=DATA, count=1):
    """One sector by bus master DMA; waits for IRQ 14."""
    g.memwrite(PRD, struct.pack("<II", data, 512 * count | 0x80000000))
    g.outl(BMIDE + 4, PRD)
    g.outb(BMIDE + 2, 6)
    g.outb(BMIDE, 0 if write else 8)
    g.outb(0x1f2, count)
    for i, port in enumerate((0x1f3, 0x1f4, 0x1f5)):
        g.outb(port, lba >> 8 * i & 0xff)
    g.outb(0x1f6, 0xe0)
    g.outb(0x1f7, 0xca if write else 0xc8)
    g.outb(BMIDE, 1 if write else 9)
    until("IRQ 14", lambda: g.irq(14) == 1)
    expect("BMDMA status", g.inb(BMIDE + 2) & 7, 4)
    g.outb(BMIDE, 0)
    g.outb(BMIDE + 2, 4)
    expect("disk status", g.inb(0x1f7) & 0x89, 0)
    expect("IRQ 14 after the status was read", g.irq(14), 0)


def ide_flush(g):
    g.outb(0x1f7, 0xe7)
    until("flush", lambda: not g.inb(0x1f7) & 0x80)


def test_disk_reads_and_writes_by_dma(build):
    with disk_guest(build) as g:
        with Keel(build, g, recording("sr")).qmp() as q:
            q("cont")
        ide_setup(g)
        ide_dma(g, 5, False)
        expect("sector 5", g.memread(DATA, 8), b"sector 5")
        g.memwrite(DATA, b"from the guest")
        ide_dma(g, 7, True)
        ide_flush(g)
        with open(g.dir + "/disk.raw", "rb") as f:
            f.seek(7 * 512)
            expect("on the disk", f.read(14), b"from the guest")


def test_dma_is_reported_while_the_dirty_log_is_on(build):
    with disk_guest(build) as g:
        k = Keel(build, g, recording("sr"))
        with k.qmp() as q:
            q("cont")
        ide_setup(g)
        ide_dma(g, 1, False)
        expect("off", g.domain()["modified_calls"], 0)
        with k.qmp() as q:
            expect("on", q("xen-set-global-dirty-log", enable=True), {})
        ide_dma(g, 2, False)
        if "modified %#x 1" % (DATA >> 12) not in g.calls():
            raise Error("not reported: %r" % g.calls()[-5:])
        n = g.domain()["modified_calls"]
        with k.qmp() as q:
            q("xen-set-global-dirty-log", enable=False)
        ide_dma(g, 3, False)
        expect("off again", g.domain()["modified_calls"], n)


def vga_on(g, base=0xf0000000):
    g.config(VGA, 0x10, 4, base)
    g.config(VGA, 4, 2, 3)


def std_vga_linear(g, xres=800, yres=600):
    """A Bochs VBE mode with the linear frame buffer."""
    for index, val in ((4, 0), (1, xres), (2, yres), (3, 32), (4, 0x41)):
        g.outw(0x1ce, index)
        g.outw(0x1cf, val)
    g.inb(0x3da)
    g.outb(0x3c0, 0x20)  # the attribute controller shows pictures


def std_words(name="a-minimal"):
    words = recording(name)
    words = [w.replace("cirrus-vga,vgamem_mb=8", "VGA,vgamem_mb=16") for w in words]
    return replaced(words, m="48")


def test_video_memory_is_the_guests_own_pages(build):
    with guest(build, ram=48) as g:
        Keel(build, g, std_words())
        std_vga_linear(g)
        vga_on(g)
        g.memwrite(0xf0000000, b"pixels")  # fails unless there are pages now
        calls = len([c for c in g.calls() if c.startswith("relocate")])
        g.config(VGA, 4, 2, 0)
        vga_on(g, 0xe0000000)
        expect("moved with the BAR", g.memread(0xe0000000, 6), b"pixels")
        if len([c for c in g.calls() if c.startswith("relocate")]) <= calls:
            raise Error("no pages moved")
        expect("no tracking without a viewer", g.domain()["track_calls"], 0)


def moves(g):
    return [c for c in g.calls() if c.startswith("relocate")]


def is_hole(g, gpa):
    try:
        g.memread(gpa, 4)
    except Error:
        return True
    return False


def test_half_done_move_of_video_memory_is_undone(build):
    """128 MiB take two calls to move: the second fails, or the first."""
    words = replaced(std_words(), m="48")
    words = [w.replace("vgamem_mb=16", "vgamem_mb=128") for w in words]
    for nth, calls in (("@2", 2), ("@1", 0)):  # calls that went well
        with guest(build, ram=48, max_memkb=300 << 10) as g:
            k = Keel(build, g, words, fail="xendevicemodel_relocate_memory=12" + nth)
            std_vga_linear(g)
            vga_on(g, 0xe0000000)
            expect("calls", len(moves(g)), calls)
            if calls:
                there, back = (c.split()[1:] for c in moves(g))
                expect("undone", (back[1], back[0], back[2]), tuple(there))
            expect("no pages at the window", is_hole(g, 0xe0000000), True)
            g.cmd("writel", 0xe0000000, 0x11223344)
            expect("the device answers there", g.num("readl", 0xe0000000), 0x11223344)
            expect("all pages are home", g.memread(48 * MIB, 4), b"\x44\x33\x22\x11")
            expect("the last as well", g.memread(176 * MIB - 4, 4), bytes(4))
            if "cannot move vga.vram" not in k.model.output():
                raise Error(k.model.output())
            vga_on(g, 0xd0000000)
            g.memwrite(0xd0000000, b"now")  # later moves work again
            g.memwrite(0xd8000000 - 3, b"end")


def test_broken_event_channels_end_the_process(build):
    with guest(build) as g:
        k = Keel(build, g, recording("a-minimal"))
        g.cmd("hangup")
        expect("exit status", k.model.wait(), 1)
        lines = k.model.output().splitlines()
        if len(lines) != 1 or "no more event channels of domain 7" not in lines[0]:
            raise Error("one line expected: %r" % lines)
        note = g.store("/local/domain/0/device-model/7/keel-error") or ""
        expect("keel-error", "no more event channels" in note, True)


class Viewer:
    """The least RFB client: raw pixels, updates on request."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), 10)
        self.sock.sendall(self.take(12))
        types = self.take(self.take(1)[0])
        self.sock.sendall(bytes([1]))
        expect("no password", (1 in types, self.take(4)), (True, bytes(4)))
        self.sock.sendall(b"\1")
        self.width, self.height = struct.unpack(">HH", self.take(4))
        self.take(16)
        self.take(struct.unpack(">I", self.take(4))[0])
        self.sock.sendall(struct.pack(">BxHii", 2, 2, 0, -223))  # raw, desktop size

    def take(self, n):
        out = b""
        while len(out) < n:
            data = self.sock.recv(n - len(out))
            if not data:
                raise Error("viewer dropped")
            out += data
        return out

    def ask(self, incremental):
        self.sock.sendall(struct.pack(">BBHHHH", 3, incremental, 0, 0, self.width, self.height))

    def update(self):
        """One update's rectangles as (x, y, width, height); sizes are followed."""
        while True:
            kind = self.take(1)[0]
            if kind == 0:
                break
            if kind == 3:
                self.take(self.take(7) and 0)
            elif kind != 2:
                raise Error("message %d" % kind)
        out = []
        for _ in range(struct.unpack(">xH", self.take(3))[0]):
            x, y, w, h, encoding = struct.unpack(">HHHHi", self.take(12))
            if encoding == -223:
                self.width, self.height = w, h
            else:
                self.take(w * h * 4)
                out.append((x, y, w, h))
        return out


def test_tracking_is_on_only_while_a_viewer_looks(build):
    with guest(build, ram=48) as g:
        k = Keel(build, g, std_words())
        with k.qmp() as q:
            port = int(q("query-vnc")["service"])
            q("cont")
        std_vga_linear(g)
        vga_on(g)
        g.memwrite(0xf0000000, b"\xff" * 64)
        time.sleep(0.3)
        expect("nobody looks", g.domain()["track_calls"], 0)
        v = Viewer(port)
        end = time.time() + 60
        while v.width != 800 and time.time() < end:
            v.ask(0)
            v.update()
        expect("size", (v.width, v.height), (800, 600))
        until("tracking", lambda: (v.ask(0), v.update(), g.domain()["track_pages"])[2] > 0)
        changed = []  # the first look finds everything changed
        while not any(y <= 300 < y + h < y + 300 for _, y, _, h in changed) and time.time() < end:
            g.memwrite(0xf0000000 + 300 * 800 * 4, os.urandom(64))
            v.ask(1)
            changed = v.update()
        expect("the changed line is sent", bool(changed), True)
        expect("not the whole screen", all(h < 300 for _, _, _, h in changed), True)
        v.sock.close()
        until("the end of tracking", lambda: g.domain()["track_pages"] == 0, 8)
        calls = g.domain()["track_calls"]
        time.sleep(0.5)
        expect("no more questions", g.domain()["track_calls"], calls)


# ---- power ----

def test_soft_off_tells_xen_and_the_process_stays(build):
    with guest(build) as g:
        k = Keel(build, g, recording("a-minimal"))
        g.config(PM, 0x40, 4, 0xb001)
        g.config(PM, 0x80, 1, 1)
        with k.qmp() as q:
            q("cont")
        g.outw(0xb004, 0x2000)
        until("shutdown", lambda: g.domain()["shutdowns"] == 1)
        expect("reason", g.domain()["reason"], 0)
        time.sleep(0.2)
        expect("still there", k.model.proc.poll(), None)
        expect("exit status", k.hangup(), 0)


def test_every_way_to_reset_tells_xen(build):
    for port, vals in ((0xcf9, (0x02, 0x06)), (0x92, (0x01,)), (0x64, (0xfe,))):
        with guest(build) as g:
            k = Keel(build, g, recording("a-minimal"))
            with k.qmp() as q:
                q("cont")
            for v in vals:
                g.outb(port, v)
            until("reset by port %#x" % port, lambda: g.domain()["shutdowns"] >= 1)
            expect("reason", g.domain()["reason"], 1)


# ---- save, restore, restriction ----

def save(k, g, keep=False):
    """libxl's sequence; the state file's name."""
    path = g.dir + "/state"
    with k.qmp() as q:
        q("query-cpus-fast")
    with k.qmp() as q:
        q("xen-set-global-dirty-log", enable=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    with k.qmp() as q:
        expect("stop", q("stop"), {})
        fdset = q("add-fd", fd=fd)["fdset-id"]
        q("xen-save-devices-state", live=False, filename="/dev/fdset/%d" % fdset)
    os.close(fd)
    with k.qmp() as q:
        q("xen-set-global-dirty-log", enable=False)
    if keep:
        with k.qmp() as q:
            q("cont")
    return path


def restored(build, g, words, path, fds=None, pass_fds=(), **kw):
    fd = os.open(path, os.O_RDONLY)
    # The recording names the descriptor; ours has another number.
    name = [w for w in words if w.startswith("fd:")][0]
    k = Keel(build, g, words, fds={name: fd, **(fds or {})}, pass_fds=(fd,) + tuple(pass_fds), **kw)
    os.close(fd)
    return k


def test_save_and_restore_bring_devices_and_pictures_back(build):
    with disk_guest(build, ram=48) as g:
        k = Keel(build, g, std_words("sr"))
        with k.qmp() as q:
            q("cont")
        std_vga_linear(g)
        vga_on(g)
        g.memwrite(0xf0000100, b"picture")
        ide_setup(g)
        g.outb(0x3ff, 0x5a)
        g.config(PIIX3, 0x62, 1, 11)
        expect("link", g.num("link", 2), 11)
        path = save(k, g)
        k.model.kill()
        populated = len([c for c in g.calls() if c.startswith("populate")])
        k = restored(build, g, std_words("srr"), path)
        expect("nothing new populated", len([c for c in g.calls() if c.startswith("populate")]),
               populated)
        with k.qmp() as q:
            q("query-chardev")
            q("cont")
        expect("UART scratch", g.inb(0x3ff), 0x5a)
        expect("BAR", g.config(VGA, 0x10, 4) & ~15, 0xf0000000)
        expect("picture", g.memread(0xf0000100, 7), b"picture")
        ide_dma(g, 9, False)
        expect("disk works", g.memread(DATA, 8), b"sector 9")
        g.config(VGA, 4, 2, 0)
        vga_on(g, 0xe0000000)
        expect("picture moves", g.memread(0xe0000100, 7), b"picture")


def test_save_and_go_on(build):
    with disk_guest(build) as g:
        k = Keel(build, g, recording("sr"))
        with k.qmp() as q:
            q("cont")
            expect("savevm", q("human-monitor-command", command_line="savevm x"),
                   "Error: the guest's memory and processors are Xen's: use xl save\r\n")
        ide_setup(g)
        save(k, g, keep=True)
        ide_dma(g, 3, False)
        expect("goes on", g.memread(DATA, 8), b"sector 3")


def test_broken_state_files_are_refused_in_one_line(build):
    with disk_guest(build) as g:
        k = Keel(build, g, recording("sr"))
        path = save(k, g)
        k.model.kill()
        with open(path, "rb") as f:
            good = f.read()
        broken = [b"", b"x", good[:10], good[:len(good) // 2], good[:-1], bytes(len(good)),
                  os.urandom(5000), good[:200] + b"\xff" * 100 + good[300:]]
        for i, data in enumerate(broken):
            with open(path, "wb") as f:
                f.write(data)
            k = restored(build, g, recording("srr"), path, wait=False)
            try:
                expect("exit status", k.model.wait(), 1)
            except subprocess.TimeoutExpired:
                raise Error("broken stream %d was accepted" % i) from None
            if k.model.output().count("\n") != 1:
                raise Error("one line expected: %r" % k.model.output())
            k.model.kill()


def nobody_may_enter(g):
    """The guest directory as libxl leaves things: images belong to root."""
    os.chmod(g.dir, 0o755)
    os.mkdir(g.dir + "/qemu-root", 0)


def listening(path):
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    s.listen(5)
    os.set_inheritable(s.fileno(), True)
    return s


def may_raise_limits():
    CAP_SYS_RESOURCE = 24
    with open("/proc/self/status") as f:
        return [int(x.split()[1], 16) for x in f if x.startswith("CapEff")][0] >> CAP_SYS_RESOURCE & 1


def libxls_limits():
    """What libxl 4.17 sets for a restricted device model, soft and hard; soft only in a container
    whose root may not raise limits."""
    hard = 256 << 10 if may_raise_limits() else resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 << 10, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))


def restrict_guest(build, g, name, fds=None, pass_fds=()):
    """dm_restrict: libxl connects before exec, on a socket the process inherits."""
    sock = g.dir + "/qmp-libxl"
    if os.path.exists(sock):
        os.unlink(sock)
    ls = listening(sock)
    early = socket.socket(socket.AF_UNIX)
    early.connect(sock)
    old = [w for w in recording(name) if "libxl-cmd,fd=" in w][0].split(",")[2]
    k = Keel(build, g, recording(name), fds={old: ls.fileno(), **(fds or {})},
             pass_fds=(ls.fileno(),) + tuple(pass_fds), env=without_leak_check(),
             preexec_fn=libxls_limits)
    ls.close()
    return k, Qmp(early)


def threads(k):
    """Paths of the status files of all of them; the ring thread is one."""
    top = "/proc/%d/task" % k.model.proc.pid
    return ["%s/%s/status" % (top, t) for t in os.listdir(top)]


def no_new_privs(path):
    with open(path) as f:
        return [line.split()[1] for line in f if line.startswith("NoNewPrivs:")][0]


def check_restricted(k, g):
    with open("/proc/%d/status" % k.model.proc.pid) as f:
        uid = [line.split()[1:] for line in f if line.startswith("Uid:")][0]
    expect("uids", uid, [str(pwd.getpwnam("nobody").pw_uid)] * 4)
    expect("privileges stay gone", {t: no_new_privs(t) for t in threads(k)},
           {t: "1" for t in threads(k)})
    expect("root", os.readlink("/proc/%d/root" % k.model.proc.pid), g.dir + "/qemu-root")
    expect("restricted", "restrict 7" in g.calls(), True)
    expect("not in xenstore", g.state, None)


def test_restricted_guest_runs_saves_and_restores(build):
    if os.getuid() != 0:
        print("     (needs root)")
        return
    with disk_guest(build) as g:
        make_disk(g, "cd.iso")
        nobody_may_enter(g)
        k, q = restrict_guest(build, g, "restrict")
        with q:
            expect("status", q("query-status"),
                   {"status": "prelaunch", "singlestep": False, "running": False})
        check_restricted(k, g)
        with k.qmp() as q:
            q("cont")
        ide_setup(g)
        ide_dma(g, 4, False)
        expect("disk", g.memread(DATA, 8), b"sector 4")
        path = save(k, g)
        k.model.kill()
        fd = os.open(path, os.O_RDONLY)
        name = [w for w in recording("restrict2r") if w.startswith("fd:")][0]
        k, q = restrict_guest(build, g, "restrict2r", {name: fd}, (fd,))
        os.close(fd)
        with q:
            expect("status", q("query-status")["status"], "paused")
        check_restricted(k, g)
        with k.qmp() as q:
            q("cont")
        ide_dma(g, 6, False)
        expect("disk after restore", g.memread(DATA, 8), b"sector 6")
        last = 2047  # of 1 MiB, behind libxl's limit on file sizes
        g.memwrite(DATA, b"from the guest")
        ide_dma(g, last, True)
        ide_flush(g)
        with open(g.dir + "/disk.raw", "rb") as f:
            f.seek(last * 512)
            expect("on the disk", f.read(14), b"from the guest")
        with open("/proc/%d/limits" % k.model.proc.pid) as f:
            limit = [line.split()[3:5] for line in f if line.startswith("Max file size")][0]
        expect("no file grows past the image", limit[0], str(1 << 20))
        with k.qmp() as q:
            q("cont")
        expect("nothing refused", [c for c in g.calls() if c.startswith("refused")], [])
        expect("exit status", k.hangup(), 0)


# ---- other things xl does ----

def test_cd_is_ejected_and_inserted_by_descriptor(build):
    with guest(build) as g:
        make_disk(g, "cd.iso")
        make_disk(g, "cd2.iso", 2 << 20)
        k = Keel(build, g, recording("stopped"))
        with k.qmp() as q:
            q("cont")
        with k.qmp() as q:
            q("query-version")
            q("eject", id="ide-5632")
            fd = os.open(g.dir + "/cd2.iso", os.O_RDONLY)
            fdset = q("add-fd", fd=fd, opaque="raw:/cd2.iso")["fdset-id"]
            os.close(fd)
            q("blockdev-change-medium", id="ide-5632", filename="/dev/fdset/%d" % fdset,
              format="raw")
            expect("events", q.events, ["DEVICE_TRAY_MOVED"] * 2)
        with k.qmp() as q:
            q("eject", id="ide-5632")


def test_vcpu_set_sequence(build):
    with guest(build, vcpus=3) as g:
        words = recording("a-minimal") + ["-smp", "1,maxcpus=3"]
        k = Keel(build, g, words)
        with k.qmp() as q:
            expect("cpus", [c["cpu-index"] for c in q("query-cpus-fast")], [0])
            kind = q("query-hotpluggable-cpus")[0]["type"]
            q("device_add", id="cpu-1", driver=kind, socket_id=1, core_id=0, thread_id=0)
            expect("two", sorted(c["cpu-index"] for c in q("query-cpus-fast")), [0, 1])
        g.cmd("vcpu", 2)
        expect("the third one's requests", g.config(IDE, 0, 4), 0x70108086)


# ---- a kernel of the configuration's ----

FW_CFG, FW_DMA, READ_SELECTED = 0x510, 0x514, 0x0a
KERNEL_SIZE, INITRD_SIZE, INITRD_ADDR, KERNEL, INITRD, CMDLINE_SIZE, CMDLINE, DIRECTORY = (
    0x08, 0x0b, 0x0a, 0x11, 0x12, 0x14, 0x15, 0x19)


def fw_read(g, item, n):
    g.outw(FW_CFG, item)
    return bytes(g.inb(FW_CFG + 1) for _ in range(n))


def fw_number(g, item):
    return int.from_bytes(fw_read(g, item, 4), "little")


def fw_dma(g, item, n, to):
    """As the boot ROM does it: one request for the whole item."""
    at = 0x9000
    g.memwrite(at, struct.pack(">IIQ", item << 16 | READ_SELECTED, n, to))
    g.outl(FW_DMA, 0)
    g.outl(FW_DMA + 4, int.from_bytes(struct.pack(">I", at), "little"))
    expect("DMA", g.memread(at, 4), bytes(4))
    return g.memread(to, n)


def fw_file(g, name):
    n = int.from_bytes(fw_read(g, DIRECTORY, 4), "big")
    table = fw_read(g, DIRECTORY, 4 + 64 * n)[4:]
    for i in range(n):
        size, key, _, found = struct.unpack_from(">IHH56s", table, 64 * i)
        if found.rstrip(b"\0") == name:
            return fw_read(g, key, size)
    raise Error("fw_cfg has no file %r" % name)


def kernel_words(g):
    """A guest as of xl's kernel=, ramdisk= and cmdline=; its kernel and initrd."""
    head = bytearray(1024)
    head[0x1f1] = 1
    head[0x1fe:0x206] = b"\x55\xaa\xeb\x66HdrS"
    struct.pack_into("<H", head, 0x206, 0x206)
    head[0x211] = 1
    struct.pack_into("<I", head, 0x22c, 0x37ffffff)
    struct.pack_into("<I", head, 0x238, 255)
    body, initrd = bytes(range(256)) * 40, b"initrd" * 1000
    for name, data in (("kernel", bytes(head) + body), ("initrd", initrd)):
        with open("%s/%s" % (g.dir, name), "wb") as f:
            f.write(data)
    return replaced(recording("a-kernel"), _kernel="/tmp/kernel", _initrd="/tmp/initrd"), body, initrd


def check_kernel(g, body, initrd):
    boot = fw_file(g, b"bootorder").rstrip(b"\0\n")
    expect("first boot device", boot[:5], b"/rom@")
    expect("its ROM", fw_file(g, boot[5:])[:2], b"\x55\xaa")
    expect("kernel", fw_dma(g, KERNEL, fw_number(g, KERNEL_SIZE), 1 << 20), body)
    expect("initrd", fw_dma(g, INITRD, fw_number(g, INITRD_SIZE), fw_number(g, INITRD_ADDR)),
           initrd)
    text = fw_read(g, CMDLINE, fw_number(g, CMDLINE_SIZE))
    expect("command line", text, b"console=ttyS0 root=/dev/ram0\0")


def test_kernel_of_the_configuration_is_offered_to_the_firmware(build):
    with guest(build, ram=64, vcpus=2) as g:
        words, body, initrd = kernel_words(g)
        trace = g.dir + "/kernel.ktr"
        k = Keel(build, g, words + ["-keel-record", "/tmp/kernel.ktr"])
        with k.qmp() as q:
            q("cont")
        check_kernel(g, body, initrd)
        path = save(k, g)
        expect("exit status", k.hangup(), 0)
        os.unlink(g.dir + "/kernel")  # the trace has the bytes
        replay = subprocess.run([build + "/tools/keel-trace", "replay", trace],
                                capture_output=True, text=True)
        expect("replay", (replay.returncode, replay.stderr), (0, ""))
        words, body, initrd = kernel_words(g)
        with open(path, "rb") as state:
            fd = state.fileno()
            k = Keel(build, g, words + ["-incoming", "fd:%d" % fd], pass_fds=(fd,))
        with k.qmp() as q:
            q("cont")
        check_kernel(g, body, initrd)


def test_kernel_that_cannot_be_had_is_named(build):
    words = replaced(recording("a-kernel"), _kernel="/tmp/kernel")
    refused(build, words, "kernel: cannot open", ram=64)


def test_hostile_ring_values_do_not_hurt_real_devices(build):
    with disk_guest(build) as g:
        k = Keel(build, g, recording("sr"))
        with k.qmp() as q:
            q("cont")
        for type in (0, 1, 2, 3, 255):
            for size in (0, 3, 16, 0xffffffff):
                for count in (0, 1, 70000, 0xffffffff):
                    expect("state", g.request(type=type, addr=0x1f0, size=size, count=count)[0], 3)
        for addr in (0, 0x60, 0x1f0, 0x3b0, 0xcfc, 0xfffe, 0xffff):
            for size in (1, 2, 4, 8):
                for read in (0, 1):
                    for ptr in (0, 1):
                        g.request(addr=addr, size=size, count=300, read=read, ptr=ptr, data=0x2000)
        g.request(type=1, addr=0xa0000, size=8, count=65536, read=1, ptr=1, data=0x200000)
        g.cmd("bufpoke", 1, 0x12345678)
        g.cmd("kick", 2000)
        with k.qmp() as q:
            expect("alive", q("query-status")["status"] != "", True)
        if len(k.model.output().splitlines()) > 200:
            raise Error("a guest can fill the log")


def test_guest_clock_change_reaches_xenstore(build):
    with guest(build) as g:
        g.store("/local/domain/7/vm", "/vm/abc")
        Keel(build, g, recording("a-minimal"))
        g.cmd("buffered", 7, 0, 8, 7200)
        g.cmd("kick", 2000)
        until("the node", lambda: g.store("/vm/abc/rtc/timeoffset") == "7200")


main(globals())
