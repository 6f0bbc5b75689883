#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Network cards and disks that come and go: device_add and device_del, the hot-plug registers as ACPI reads and
writes them, and what is refused.
"""
from card import Host
from keel import expect, expect_in, main

UP, DOWN, EJECT = 0xae00, 0xae04, 0xae08
CARDS = ["e1000", "e1000e", "rtl8139", "pcnet", "ne2k_pci", "virtio-net-pci"]


def identity(t, slot):
    return t.config_read(slot, 0, 0)


def test_hotplug_when_card_is_added_and_removed_then_registers_and_events_tell(bed):
    p = bed.machine("-netdev", "user,id=n0")
    t, q = p.qtest(), p.qmp()
    for model in CARDS:
        expect("empty", identity(t, 6), 0xffffffff)
        q.cmd("device_add", driver=model, id="c0", netdev="n0", addr="6", mac="52:54:00:00:00:07")
        expect("there", identity(t, 6) != 0xffffffff, True)
        expect("up", t.inp("l", UP), 1 << 6)
        expect("up once", t.inp("l", UP), 0)
        expect_in("card", "model=%s,macaddr=52:54:00:00:00:07" % model, q.hmp("info network"))
        q.cmd("device_del", id="c0")
        expect("down", t.inp("l", DOWN), 1 << 6)
        expect("still there", identity(t, 6) != 0xffffffff, True)
        expect("twice", q.error("device_del", id="c0")[1],
               "Device c0 is already in the process of unplug")
        t.out("l", EJECT, 1 << 6)
        event = q.event("DEVICE_DELETED")["data"]
        expect("event", event, {"device": "c0", "path": "/machine/peripheral/c0"})
        expect("gone", identity(t, 6), 0xffffffff)
        expect("down no more", t.inp("l", DOWN), 0)


def test_hotplug_added_card_carries_frames(bed):
    p = bed.machine("-netdev", "user,id=n0")
    p.qmp().hmp("device_add e1000,id=c0,netdev=n0,addr=4,mac=52:54:00:00:00:01")
    h = Host(p.qtest(), 4)
    h.configure()
    expect("address", h.ip, "10.0.2.15")
    expect("echo", h.ping(h.resolve("10.0.2.2"), "10.0.2.2"), True)


def test_hotplug_when_disk_is_added_and_removed_then_its_drive_goes_too(bed):
    image = bed.file("d.img", bytes(1 << 20))
    p = bed.machine("-blockdev", "driver=raw,node-name=n0,file.driver=file,file.filename=" + image)
    t, q = p.qtest(), p.qmp()
    for model, more in (("virtio-blk-pci", {}), ("nvme", {"serial": "1"}), ("virtio-blk-pci", {})):
        q.cmd("device_add", driver=model, id="disk", drive="n0", addr="6", **more)
        expect("up", t.inp("l", UP), 1 << 6)
        expect_in("in use", "in use", q.error("device_add", driver=model, id="b", drive="n0", **more)[1])
        expect_in("in use", "in use", q.error("blockdev-del", node_name="n0")[1])
        q.cmd("device_del", id="disk")
        t.out("l", EJECT, 1 << 6)
        q.event("DEVICE_DELETED")
        expect("gone", identity(t, 6), 0xffffffff)
        expect("no drive", q.cmd("query-block"), [])
    q.cmd("blockdev-del", node_name="n0")
    expect("add", q.hmp("drive_add 0 if=none,id=d0,format=raw,file=" + image), "OK\r\n")
    expect_in("twice", "d0", q.hmp("drive_add 0 if=none,id=d0,format=raw,file=" + image))
    expect_in("taken", "taken by",
              q.error("device_add", driver="virtio-blk-pci", id="disk", drive="d0", addr="1.3")[1])
    q.cmd("device_add", driver="virtio-blk-pci", id="disk", drive="d0", addr="6")  # was never left in use
    expect_in("used", "in use: device_del first", q.hmp("drive_del d0"))
    q.cmd("device_del", id="disk")
    t.out("l", EJECT, 1 << 6)
    q.event("DEVICE_DELETED")
    expect("add", q.hmp("drive_add if=none,id=d0,format=raw,file=" + image), "OK\r\n")
    expect("del", q.hmp("drive_del d0"), "")
    expect_in("gone", "Device 'd0' not found", q.hmp("drive_del d0"))
    for bad, why in (("if=ide,id=d1,file=" + image, "if=none"), ("if=none,file=" + image, "id: missing"),
                     ("if=none,id=d1,file=/no/such", "/no/such"), ("if=none,id=d1,frob=1", "frob")):
        expect_in(bad, why, q.hmp("drive_add 0 " + bad))


def test_hotplug_reset_finishes_what_was_asked(bed):
    p = bed.machine("-netdev", "user,id=n0", "-device", "pcnet,id=c0,netdev=n0,addr=5")
    t, q = p.qtest(), p.qmp()
    q.cmd("device_del", id="c0")
    q.cmd("system_reset")
    q.event("DEVICE_DELETED")
    expect("gone", identity(t, 5), 0xffffffff)
    q.cmd("netdev_del", id="n0")


def test_hotplug_mistakes_are_named_and_leave_nothing_behind(bed):
    p = bed.machine("-netdev", "user,id=n0", "-device", "e1000,id=c0,netdev=n0,addr=5", "-netdev",
                    "user,id=n1")
    q = p.qmp()
    for want, args in (
            ("in use", dict(driver="e1000", id="c1", netdev="n0")),
            ("no -netdev", dict(driver="e1000", id="c1", netdev="n9")),
            ("used twice", dict(driver="e1000", id="c0", netdev="n1")),
            ("taken by", dict(driver="e1000", id="c1", netdev="n1", addr="5")),
            ("multicast", dict(driver="pcnet", id="c1", netdev="n1", mac="01:00:00:00:00:00")),
            ("bootindex", dict(driver="pcnet", id="c1", netdev="n1", bootindex=1)),
            ("frob", dict(driver="e1000", id="c1", netdev="n1", frob="x")),
            ("no -drive or -blockdev", dict(driver="virtio-blk-pci", id="c1", drive="d9")),
            ("cannot plug", dict(driver="isa-serial", id="c1"))):
        expect_in(want, want, q.error("device_add", **args)[1])
    q.cmd("device_add", driver="e1000", id="c1", netdev="n1")  # n1 was never left in use
    expect("class", q.error("device_del", id="none"), ("DeviceNotFound", "Device 'none' not found"))
    expect_in("chipset", "cannot unplug", q.error("device_del", id="piix3-ide.0")[1])


main(globals())
