#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Images behind a machine's drives: formats, temporary disks, locks, -blockdev."""
import os
import time

from disk import ata, holds, img, read_sector, wait_ready, write_sector
from keel import Failure, Qtest, expect, expect_in, main

TOOLS = os.path.join(os.path.abspath(os.environ.get("KEEL_BUILD", "build")), "tools")
QTEST = ("-accel", "qtest", "-machine", "pc", "-nodefaults", "-display", "none")


def qcow2(bed, name="d.qcow2", *args):
    path = bed.path(name)
    img("create", "-q", "-f", "qcow2", *args, path, "8M")
    return path


def test_block_a_guest_writes_to_qcow2(bed):
    disk = qcow2(bed)
    for args in (("-hda", disk), ("-drive", "file=%s,format=qcow2,index=0" % disk),
                 ("-drive", "file=%s,format=qcow2,index=0,cache=none" % disk)):
        p = bed.machine(*args)
        q, t = p.qmp(), p.qtest()
        info = q.cmd("query-block")[0]["inserted"]
        expect("format", (info["drv"], info["image"]["virtual-size"]), ("qcow2", 8 << 20))
        write_sector(t, 100, 0x5a)
        write_sector(t, 16383, 0x77)
        expect("read", read_sector(t, 100), [0x5a5a] * 256)
        q.cmd("quit")
        p.wait()
        img("check", "-q", disk)
        holds(disk, "-P 0x5a 51200 512", "-P 0x77 8388096 512", "-P 0 0 51200")


def test_block_every_aio_mode_works_inside_the_sandbox(bed):
    root = bed.path("root")
    os.mkdir(root, 0)
    inside = ("-chroot", root, "-runas", "nobody") if os.getuid() == 0 else ()
    for aio in ("threads", "native", "io_uring"):
        for cache in ("writeback", "none", "directsync"):
            disk = qcow2(bed)
            p = bed.machine("-drive", "file=%s,format=qcow2,index=0,aio=%s,cache=%s"
                            % (disk, aio, cache), *inside)
            q, t = p.qmp(), p.qtest()
            rings = [f for f in os.listdir("/proc/%d/fd" % p.proc.pid)
                     if "io_uring" in os.readlink("/proc/%d/fd/%s" % (p.proc.pid, f))]
            expect("ring with aio=" + aio, len(rings), 1 if aio == "io_uring" else 0)
            write_sector(t, 100, 0x5a)
            write_sector(t, 16383, 0x77)
            expect("read", read_sector(t, 100), [0x5a5a] * 256)
            q.cmd("quit")
            p.wait()
            holds(disk, "-P 0x5a 51200 512", "-P 0x77 8388096 512", "-P 0 0 51200")


def test_block_a_backing_file_stays_as_it_is(bed):
    base = qcow2(bed, "base.qcow2")
    top = bed.path("top.qcow2")
    img("create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", top)
    before = open(base, "rb").read()
    p = bed.machine("-drive", "file=%s,format=qcow2,index=0" % top)
    q, t = p.qmp(), p.qtest()
    expect("depth", q.cmd("query-block")[0]["inserted"]["backing_file_depth"], 1)
    write_sector(t, 5, 0x11)
    q.cmd("quit")
    p.wait()
    expect("base", open(base, "rb").read() == before, True)
    holds(top, "-P 0x11 2560 512")


def test_block_what_is_temporary_is_gone(bed):
    disk, raw = qcow2(bed), bed.file("d.raw", bytes(1 << 20))
    for args, path, size in ((("-drive", "file=%s,format=qcow2,index=0,snapshot=on" % disk), disk,
                              8 << 20),
                             (("-hda", raw, "-snapshot"), raw, 1 << 20)):
        before = open(path, "rb").read()
        p = bed.machine(*args)
        q, t = p.qmp(), p.qtest()
        write_sector(t, 5, 0x11)
        expect("read", read_sector(t, 5), [0x1111] * 256)
        expect("size", q.cmd("query-block")[0]["inserted"]["image"]["virtual-size"], size)
        q.cmd("quit")
        p.wait()
        expect("unchanged", open(path, "rb").read() == before, True)


def test_block_a_disk_in_use_is_locked(bed):
    disk = qcow2(bed)
    spec = "file=%s,format=qcow2,index=0" % disk
    p = bed.machine("-drive", spec)
    q = p.qmp()
    expect_in("second", 'Failed to get "write" lock', bed.refused(*QTEST, "-drive", spec))
    expect_in("tool", "lock", img("info", disk, rc=1))
    img("info", "-U", disk)
    q.cmd("quit")
    p.wait()
    img("info", disk)


def test_block_writethrough_needs_no_flush(bed):
    disk = qcow2(bed)
    for mode, lba in (("writethrough", 9), ("directsync", 70)):
        p = bed.machine("-drive", "file=%s,format=qcow2,index=0,cache=%s" % (disk, mode))
        t = p.qtest()
        ata(t, 0x30, lba)
        for _ in range(256):
            t.out("w", 0x1f0, 0x4242)
        wait_ready(t)
        p.proc.kill()
        p.proc.wait()
        img("check", "-q", disk)
        holds(disk, "-P 0x42 %d 512" % (lba * 512))
        bed.started.remove(p)


def test_block_a_machine_goes_on_with_anothers_disk(bed):
    disk = qcow2(bed)
    spec = ("-drive", "file=%s,format=qcow2,index=0" % disk)
    a = bed.machine(*spec)
    q, t = a.qmp(), a.qtest()
    write_sector(t, 5, 0x11)
    ata(t, 0x30, 3000)
    for _ in range(256):
        t.out("w", 0x1f0, 0x2222)
    wait_ready(t)  # and no flush
    r, w = os.pipe()
    b = bed.start("-accel", "qtest", "-machine", "pc", "-nodefaults", "-display", "none", *spec,
                  "-qtest", "unix:%s,server=on,wait=off" % bed.path("qtest2"), "-incoming",
                  "fd:%d" % r, pass_fds=(r,))
    os.close(r)
    time.sleep(0.3)  # it has opened the image by now
    ata(t, 0x30, 9000)
    for _ in range(256):
        t.out("w", 0x1f0, 0x3333)
    wait_ready(t)
    q.cmd("stop")
    fdset = q.cmd("add-fd", fds=[w])["fdset-id"]
    os.close(w)
    q.cmd("xen-save-devices-state", live=False, filename="/dev/fdset/%d" % fdset)
    q.cmd("remove-fd", **{"fdset-id": fdset})
    t2 = Qtest(b.connect(bed.path("qtest2")))
    for lba, word in ((5, 0x1111), (3000, 0x2222), (9000, 0x3333)):
        expect("sector %d" % lba, read_sector(t2, lba), [word] * 256)
    write_sector(t2, 12000, 0x44)
    q.cmd("quit")
    a.wait()
    write_sector(t2, 14000, 0x55)
    b.proc.terminate()
    b.wait()
    img("check", "-q", disk)
    holds(disk, *("-P %d %d 512" % (w, lba * 512) for lba, w in
                  ((5, 0x11), (3000, 0x22), (9000, 0x33), (12000, 0x44), (14000, 0x55))))


def test_block_limits_hold_requests_back(bed):
    disk = qcow2(bed)
    p = bed.machine("-drive", "file=%s,format=qcow2,index=0,iops_rd=10,bps=100000" % disk)
    q, t = p.qmp(), p.qtest()
    info = q.cmd("query-block")[0]["inserted"]
    expect("limits", (info["iops_rd"], info["bps"], info["iops"]), (10, 100000, 0))
    start = time.time()
    for lba in range(14):
        read_sector(t, lba)
    took = time.time() - start
    if took < 1:
        raise Failure("14 reads at 10 a second took %.2f s" % took)
    for spec, what in (("iops=5,iops_max=2", "iops_max"), ("bps_max=1000", "bps_max")):
        expect_in(spec, what, bed.refused(*QTEST, "-drive", "file=%s,%s" % (bed.file("x"), spec)))


def test_block_blockdev_and_device(bed):
    disk = qcow2(bed)
    for args in (("-blockdev", "driver=qcow2,node-name=d,file.driver=file,file.filename=" + disk),
                 ("-blockdev", "driver=file,node-name=f,filename=" + disk, "-blockdev",
                  "driver=qcow2,node-name=d,file=f")):
        p = bed.machine(*args, "-device", "ide-hd,drive=d,bus=ide.0,unit=0")
        q, t = p.qmp(), p.qtest()
        write_sector(t, 7, 0x33)
        expect("drives", [d["inserted"]["drv"] for d in q.cmd("query-block")], ["qcow2"])
        q.cmd("quit")
        p.wait()
        holds(disk, "-P 0x33 3584 512")
    for spec, what in (("driver=qcow2,node-name=d", "file: missing"), ("node-name=d", "driver"),
                       ("driver=vdi,node-name=d,file.filename=x", "vdi"),
                       ("driver=raw,node-name=d,file=none", "file=none"),
                       ("driver=raw,file.filename=x", "node-name")):
        expect_in(spec, what, bed.refused(*QTEST, "-blockdev", spec))


if __name__ == "__main__":
    main(globals())
