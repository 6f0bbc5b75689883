# SPDX-License-Identifier: MIT
"""qdisk in a whole Keel under fake Xen: the test is the tool stack and the PV front end."""
import os
import struct
import subprocess

from xen_fake import Error, Guest, expect, main, until
from xen_keel import Keel, recording, without_leak_check

MIB = 1 << 20
RING, DATA, PAGE = 0x100, 0x110, 4096  # guest frames
READ, WRITE, FLUSH, DISCARD = 0, 1, 3, 5


class Disk:
    """One device: its nodes in xenstore, and blkfront with a ring of one page."""

    def __init__(self, g, devno, params, mode="w", kind="disk", **nodes):
        self.g, self.devno, self.prod = g, devno, 0
        self.back = "/local/domain/0/backend/qdisk/%d/%d/" % (g.domid, devno)
        self.front = "/local/domain/%d/device/vbd/%d/" % (g.domid, devno)
        g.store(self.front + "state", "1")
        nodes = dict(nodes, frontend=self.front[:-1], online="1", mode=mode, state="1", device_type=kind,
                     params=params)  # last: without it there is no device yet; libxl has a transaction
        for name, value in nodes.items():
            g.store(self.back + name.replace("_", "-"), value)

    def state(self):
        return self.g.store(self.back + "state")

    def connect(self):
        until("the offer", lambda: self.state() == "2")
        self.g.memwrite(RING * PAGE, struct.pack("<IIII", 0, 1, 0, 1).ljust(PAGE, b"\0"))
        for name, value in (("ring-ref", RING), ("event-channel", 64), ("protocol", "x86_64-abi"),
                            ("state", 3)):
            self.g.store(self.front + name, str(value))
        until("the connection", lambda: self.state() == "4")

    def request(self, op, sector, pages=1, rest=b""):
        """Runs one request over whole pages from DATA on; returns its status. rest: of the slot, instead of pages"""
        i = self.prod % 32
        slot = struct.pack("<BBHIQQ", op, pages, 0, 0, self.prod, sector)
        for p in range(pages):
            slot += struct.pack("<IBBH", DATA + p, 0, 7, 0)
        self.g.memwrite(RING * PAGE + 64 + 112 * i, slot + rest)
        self.prod += 1
        self.g.memwrite(RING * PAGE, struct.pack("<I", self.prod))
        os.write(self.g.pv_events, struct.pack("<I", 164))
        until("the response", lambda: self.word(2) == self.prod)
        ident, op, status = struct.unpack("<QBxh", self.g.memread(RING * PAGE + 64 + 112 * i, 12))
        expect("its identifier", ident, self.prod - 1)
        return status

    def discard(self, sector, n):
        return self.request(DISCARD, sector, 0, struct.pack("<Q", n))

    def word(self, n):
        return struct.unpack("<I", self.g.memread(RING * PAGE + 4 * n, 4))[0]

    def read(self, sector, pages=1):
        expect("read", self.request(READ, sector, pages), 0)
        return self.g.memread(DATA * PAGE, pages * PAGE)

    def write(self, sector, data):
        self.g.memwrite(DATA * PAGE, data)
        expect("write", self.request(WRITE, sector, len(data) // PAGE), 0)


def guest(build):
    g = Guest(build, ram=56 * MIB)
    for name in ("pv-events", "pv-notify"):
        os.mkfifo(g.dir + "/" + name)
    g.pv_events = os.open(g.dir + "/pv-events", os.O_RDWR)
    with open(g.dir + "/grants", "wb") as f:
        for ref in range(4096):
            f.write(struct.pack("<Q", ref << 2 | 1 if 0x100 <= ref < 0x200 else 0))
    return g


def image(build, g, name="disk.qcow2", size="8M"):
    path = "%s/%s" % (g.dir, name)
    subprocess.run([build + "/tools/keel-img", "create", "-q", "-f", "qcow2", path, size], check=True)
    return path


def holds(build, path, pattern, offset):
    out = subprocess.run([build + "/tools/keel-io", "-f", "qcow2", "-r", "-c",
                          "read -P %d %d 4k" % (pattern, offset), path], capture_output=True, text=True)
    if out.returncode or "failed" in out.stdout:
        raise Error("image: " + out.stdout + out.stderr)


def hda(path):
    """What libxl says of an emulated disk; note that it gives it no name."""
    return ["-drive", "file=%s,if=ide,index=0,media=disk,format=raw,cache=writeback" % path]


def raw_image(g):
    path = g.dir + "/disk.raw"
    with open(path, "wb") as f:
        f.write(b"\x33" * MIB)
    return path


def emulated_drive_is_there(g):
    g.outb(0x1f6, 0xa0)
    return g.inb(0x1f7) == 0x50


def test_xen_disk_with_qcow2_reads_writes_and_is_detached(build):
    with guest(build) as g:
        path = image(build, g)
        d = Disk(g, 51712, "qcow2:" + path)
        k = Keel(build, g, recording("a-minimal"))
        d.connect()
        expect("sectors", g.store(d.back + "sectors"), "16384")
        d.write(8, b"\x5a" * PAGE + b"\xa5" * PAGE)
        expect("flush", d.request(FLUSH, 0, 0), 0)
        expect("first page", d.read(8), b"\x5a" * PAGE)
        expect("both", d.read(0, 3), bytes(PAGE) + b"\x5a" * PAGE + b"\xa5" * PAGE)
        expect("past the end", d.request(READ, 16384), -1)
        with k.qmp() as q:
            q("block_resize", device="qdisk-51712", size=9 * MIB)
        expect("sectors, longer", g.store(d.back + "sectors"), "18432")
        expect("read", d.request(READ, 16384), 0)
        g.store(d.back + "online", "0")  # xl block-detach
        g.store(d.back + "state", "5")
        until("closed", lambda: d.state() == "6")
        holds(build, path, 0x5a, PAGE)  # nobody has it any more
        other = Disk(g, 51728, "qcow2:" + image(build, g, "two.qcow2"))  # xl block-attach
        g.store("/local/domain/0/backend/qdisk/%d/51728/frontend" % g.domid, other.front[:-1])
        other.connect()
        other.write(0, b"\x11" * PAGE)
        expect("exit status", k.hangup(), 0)
        holds(build, "%s/two.qcow2" % g.dir, 0x11, 0)


def test_xen_disk_is_its_emulated_twins_drive(build):
    with guest(build) as g:
        cd = g.dir + "/cd.iso"
        with open(cd, "wb") as f:
            f.write(b"\xcd" * MIB)
        d = Disk(g, 5632, "aio:" + cd, mode="r", kind="cdrom", removable="1")
        k = Keel(build, g, recording("a-minimal"), args=[
            "-drive", "if=none,readonly=on,id=ide-5632,format=raw,file=" + cd, "-device",
            "ide-cd,id=ide-5632,drive=ide-5632,bus=ide.1,unit=0"])
        d.connect()
        expect("info", g.store(d.back + "info"), "7")
        expect("the CD", d.read(16), b"\xcd" * PAGE)
        expect("write", d.request(WRITE, 0), -1)
        with k.qmp() as q:
            q("eject", id="ide-5632")
        expect("sectors, though the front end asked for nothing", g.store(d.back + "sectors"), "0")
        expect("without a medium", d.request(READ, 0), -1)


def test_xen_disk_whose_twin_was_unplugged_lets_go_of_its_image_when_detached(build):
    with guest(build) as g:
        path = raw_image(g)
        d = Disk(g, 768, "aio:" + path, discard_enable="1")
        k = Keel(build, g, recording("a-minimal"), args=hda(path))
        d.connect()
        expect("the emulated drive", emulated_drive_is_there(g), True)
        g.outw(0x10, 1)  # PV drivers unplug emulated disks
        expect("the emulated drive, unplugged", emulated_drive_is_there(g), False)
        expect("the disk", d.read(0), b"\x33" * PAGE)
        before = os.stat(path).st_blocks
        expect("discard", d.discard(256, 1024), 0)  # which the twin was not told of
        expect("discarded blocks", before - os.stat(path).st_blocks, 1024)
        write = [build + "/tools/keel-io", "-f", "raw", "-c", "write -P 1 0 4k", path]
        expect("somebody else's write fails", subprocess.run(write, capture_output=True).returncode != 0, True)
        g.store(d.back + "online", "0")
        g.store(d.back + "state", "5")
        until("closed", lambda: d.state() == "6")
        expect("somebody else's write", subprocess.run(write, capture_output=True).returncode, 0)
        expect("exit status", k.hangup(), 0)


def test_xen_disk_that_was_detached_is_not_in_a_saved_state(build):
    with guest(build) as g:
        one, two = raw_image(g), g.dir + "/two.raw"
        with open(two, "wb") as f:
            f.write(bytes(MIB))
        disks = [hda(one), [w.replace("index=0", "index=1") for w in hda(two)]]
        d = Disk(g, 832, "aio:" + two)
        k = Keel(build, g, recording("a-minimal"), args=disks[0] + disks[1])
        d.connect()
        g.outw(0x10, 1)
        g.store(d.back + "online", "0")
        g.store(d.back + "state", "5")
        until("closed", lambda: d.state() == "6")
        with k.qmp() as q:
            expect("its drive", "two.raw" in str(q("query-block")), False)
            q("stop")
            q("xen-save-devices-state", filename=g.dir + "/state", live=True)
        expect("exit status", k.hangup(), 0)
        with guest(build) as h:  # libxl starts the next one without the disk
            k = Keel(build, h, recording("a-minimal"), args=disks[0] + ["-incoming", "file:" + g.dir + "/state"], wait=False)
            until("running", lambda: h.state == "running" or k.model.proc.poll() is not None, 20)
            expect("what was said", k.model.output(), "")
            expect("exit status", k.hangup(), 0)


def test_xen_disk_when_the_guest_discards_then_the_image_shrinks_without_a_flush(build):
    with guest(build) as g:
        path = image(build, g)
        d = Disk(g, 51712, "qcow2:" + path, discard_enable="1")
        k = Keel(build, g, recording("a-minimal"))
        d.connect()
        for i in range(0, MIB // PAGE, 8):
            d.write(i * 8, b"\x5a" * 8 * PAGE)
        expect("flush", d.request(FLUSH, 0, 0), 0)
        before = os.stat(path).st_blocks
        expect("discard", d.discard(0, MIB // 512), 0)
        until("its blocks to be gone", lambda: before - os.stat(path).st_blocks >= MIB // 512)
        d.write(0, b"\x11" * PAGE)
        expect("exit status", k.hangup(), 0)
        holds(build, path, 0x11, 0)
        holds(build, path, 0, PAGE)
        subprocess.run([build + "/tools/keel-img", "check", "-q", path], check=True)


def test_xen_disk_when_the_device_model_is_restricted_then_its_emulated_drive_stays(build):
    with guest(build) as g:
        path = raw_image(g)
        d = Disk(g, 768, "aio:" + path)
        cd = Disk(g, 5632, "aio:", mode="r", kind="cdrom")
        k = Keel(build, g, recording("a-minimal"), args=hda(path) + ["-xen-domid-restrict"],
                 env=without_leak_check())
        until("the PV disk to be closed, so that no driver waits for it", lambda: d.state() == "6")
        until("the CD's to be", lambda: cd.state() == "6")
        g.outw(0x10, 1)
        expect("the emulated drive", emulated_drive_is_there(g), True)
        expect("exit status", k.hangup(), 0)
        lines = [line for line in k.model.output().splitlines() if "qdisk: " in line]
        expect("what is said", [line.split("qdisk: ")[1] for line in lines],
               ["768: with dm_restrict xenstore and grant tables are out of reach: the guest keeps its emulated drive"])


def test_xen_disk_that_the_guest_could_not_have_ends_the_start_by_name(build):
    for devno, args, text in (
            (51712, ["-xen-domid-restrict"], "disk 51712 has no emulated drive and the back end qdisk, and with dm_restrict"),
            (51712, ["-keel-record", "/trace"], "disk 51712 has no emulated drive and the back end qdisk, and with -keel-record"),
            (768, ["-keel-record", "/trace"], "disk 768 has the back end qdisk, and with -keel-record its requests")):
        with guest(build) as g:
            path = raw_image(g)
            Disk(g, devno, "aio:" + path)
            args = [a.replace("/trace", g.dir + "/trace") for a in args]
            k = Keel(build, g, recording("a-minimal"), args=args + (hda(path) if devno == 768 else []), wait=False)
            expect("exit status", k.model.wait(), 1)
            lines = k.model.output().splitlines()
            if len(lines) != 1 or text not in lines[0]:
                raise Error("one line with %r expected: %r" % (text, lines))


def test_xen_disk_when_front_end_is_hostile_then_only_the_disk_closes(build):
    with guest(build) as g:
        path = image(build, g)
        d = Disk(g, 51712, "qcow2:" + path)
        bad = Disk(g, 51744, "frob:" + path)
        k = Keel(build, g, recording("a-minimal"))
        expect("a format nobody knows", bad.state(), "1")
        d.connect()
        g.memwrite(RING * PAGE, struct.pack("<I", 0x7fffffff))
        os.write(g.pv_events, struct.pack("<I", 164))
        until("closing", lambda: d.state() == "5")
        g.store(d.front + "state", "1")
        d.prod = 0
        d.connect()
        d.write(0, b"\x77" * PAGE)
        with k.qmp() as q:
            q("query-status")


main(globals())
