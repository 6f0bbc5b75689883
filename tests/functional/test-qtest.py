#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The device test protocol, and a few devices through it, as programs of that kind drive them."""
import base64
import os
import socket

from keel import Qmp, Qtest, expect, expect_in, main


def test_qtest_when_answered_then_formats_are_the_fields(bed):
    t = bed.machine().qtest()
    expect("outl", t.line("outl 0xcf8 0x80000000"), "OK")
    expect("inl", t.line("inl 0xcfc"), "OK 0x12378086")
    expect("inw", t.line("inw 0xcfc"), "OK 0x8086")
    expect("inb", t.line("inb 0x64"), "OK 0x0018")
    expect("writel", t.line("writel 0x1000 0x12345678"), "OK")
    expect("readb", t.line("readb 0x1000"), "OK 0x0000000000000078")
    expect("readw", t.line("readw 0x1000"), "OK 0x0000000000005678")
    expect("readl", t.line("readl 0x1000"), "OK 0x0000000012345678")
    expect("writeq", t.line("writeq 0x1000 0xffeeddccbbaa9988"), "OK")
    expect("readq", t.line("readq 0x1000"), "OK 0xffeeddccbbaa9988")
    expect("read", t.line("read 0x1000 3"), "OK 0x8899aa")
    expect("write", t.line("write 0x1000 4 0xdeadbeef"), "OK")
    expect("big digits", t.line("read 0x1000 4"), "OK 0xdeadbeef")
    expect("short data", t.line("write 0x1000 4 0x11"), "OK")
    expect("zero-filled", t.line("read 0x1000 4"), "OK 0x11000000")
    expect("memset", t.line("memset 0x1000 0x4 0xa5"), "OK")
    expect("b64read", t.line("b64read 0x1000 4"),
           "OK " + base64.b64encode(b"\xa5" * 4).decode())
    expect("b64write", t.line("b64write 0x1000 5 " + base64.b64encode(b"hello").decode()), "OK")
    expect("read", t.read(0x1000, 5), b"hello")
    expect("endianness", t.line("endianness"), "OK little")
    expect("decimal", t.line("outl 3320 2147483648"), "OK")


def test_qtest_when_line_is_wrong_then_fail_and_go_on(bed):
    t = bed.machine().qtest()
    expect("unknown", t.line("frob 1 2"), "FAIL Unknown command 'frob'")
    for line in ("inb", "inb x", "inb 0x10000", "outb 0x60", "outb 0x60 y", "readl", "writel 0",
                 "read 0", "read 0 0x10000000000", "write 0 4 zz", "write 0 4 0xzz", "memset 0 4",
                 "b64write 0 4 !!!!", "b64write 0 1 aGVsbG8=", "clock_step x", "clock_set",
                 "irq_intercept_in", "inb " + "9" * 400, "x" * 100000):
        expect_in(line[:40], "FAIL", t.line(line))
    t.sock.sendall(b"\n\n  \r\n")
    expect("alive", t.line("inb 0x64"), "OK 0x0018")
    t.sock.sendall(b"inb 0x64\ninb 0x92\n")
    expect("two at once", [t.file.readline(), t.file.readline()], ["OK 0x0018\n", "OK 0x0000\n"])


def test_qtest_when_memory_ends_then_it_floats(bed):
    t = bed.machine("-m", "1M").qtest()
    expect("inside", t.line("readb 0xfffff"), "OK 0x0000000000000000")
    expect("outside", t.line("readq 0x100000"), "OK 0xffffffffffffffff")
    expect("across", t.read(0xffffe, 4), b"\0\0\xff\xff")
    expect("write outside", t.line("writeq 0x100000 5"), "OK")
    expect("wrap", t.read(0xffffffffffffffff, 1), b"\xff")


def test_qtest_when_clock_is_stepped_then_time_moves_and_only_then(bed):
    t = bed.machine().qtest()
    expect("step", t.line("clock_step 1000"), "OK 1000")
    expect("step", t.line("clock_step 24"), "OK 1024")
    expect("set", t.line("clock_set 5000"), "OK 5000")
    expect("set back", t.line("clock_set 10"), "OK 5000")
    expect("no timer", t.line("clock_step"), "OK 5000")


def test_qtest_when_com1_talks_then_bytes_and_interrupts_come(bed):
    t = bed.machine("-serial", "file:" + bed.path("com1")).qtest()
    t.ok("irq_intercept_in ioapic")
    t.out("b", 0x3fc, 0x0b)
    t.out("b", 0x3f9, 0x02)
    for c in b"hi":
        t.out("b", 0x3f8, c)
        t.ok("clock_step 10000000")
    expect("raised", "IRQ raise 4" in t.irqs, True)
    t.inp("b", 0x3fa)
    expect("lowered", t.irqs[-1], "IRQ lower 4")
    with open(bed.path("com1"), "rb") as f:
        expect("bytes", f.read(), b"hi")


def test_qtest_when_disk_is_read_by_pio_then_its_bytes_come(bed):
    disk = bed.file("disk", b"".join(b"sector %-8d" % n + bytes(497) for n in range(64)))
    t = bed.machine("-hda", disk).qtest()
    t.ok("irq_intercept_in ioapic")
    t.out("b", 0x1f6, 0xe0)
    for port, val in ((0x1f2, 1), (0x1f3, 7), (0x1f4, 0), (0x1f5, 0), (0x1f7, 0x20)):
        t.out("b", port, val)
    for _ in range(1000):
        t.ok("clock_step 1000000")
        if t.inp("b", 0x3f6) & 0x88 == 0x08:
            break
    expect("interrupt", "IRQ raise 14" in t.irqs, True)
    data = b"".join(t.inp("w", 0x1f0).to_bytes(2, "little") for _ in range(256))
    expect("sector", data[:15], b"sector 7       ")


def test_qtest_when_guest_powers_off_then_the_process_ends(bed):
    p = bed.machine()
    t, q = p.qtest(), p.qmp()
    t.config_write(1, 3, 0x40, 0xb001)
    t.config_write(1, 3, 0x80, 1)
    t.out("w", 0xb004, 0x2000)
    expect("event", q.event("SHUTDOWN")["data"], {"guest": True, "reason": "guest-shutdown"})
    expect("exit", p.wait(), 0)


def test_qtest_when_guest_sleeps_then_system_wakeup_ends_it(bed):
    p = bed.machine()
    t, q = p.qtest(), p.qmp()
    t.config_write(1, 3, 0x40, 0xb001)
    t.config_write(1, 3, 0x80, 1)
    t.out("w", 0xb004, 0x2400)
    q.event("SUSPEND")
    expect("status", q.cmd("query-status")["status"], "suspended")
    q.cmd("system_wakeup")
    q.event("WAKEUP")
    expect("status", q.cmd("query-status")["status"], "running")


def test_qtest_when_no_shutdown_then_it_stays(bed):
    p = bed.machine("-no-shutdown")
    t, q = p.qtest(), p.qmp()
    t.config_write(1, 3, 0x40, 0xb001)
    t.config_write(1, 3, 0x80, 1)
    t.out("w", 0xb004, 0x2000)
    q.event("SHUTDOWN")
    q.event("STOP")
    expect("status", q.cmd("query-status")["status"], "shutdown")
    expect_in("cont", "Resetting", q.error("cont")[1])
    q.cmd("system_reset")
    q.cmd("cont")
    expect("runs", q.cmd("query-status")["status"], "running")


def test_qtest_when_guest_resets_then_devices_are_as_new(bed):
    p = bed.machine("-device", "VGA")
    t, q = p.qtest(), p.qmp()
    t.config_write(2, 0, 0x10, 0xe0000000)
    t.out("b", 0x92, 1)
    expect("event", q.event("RESET")["data"], {"guest": True, "reason": "guest-reset"})
    expect("BAR", t.config_read(2, 0, 0x10) & ~0xf, 0)
    expect("still there", q.cmd("query-status")["status"], "running")


def test_qtest_when_no_reboot_then_a_reset_ends_it(bed):
    p = bed.machine("-no-reboot")
    t, q = p.qtest(), p.qmp()
    t.out("b", 0x92, 1)
    expect("reason", q.event("SHUTDOWN")["data"]["reason"], "guest-reset")
    expect("exit", p.wait(), 0)


def test_qtest_when_debug_exit_is_written_then_the_exit_code_says_it(bed):
    p = bed.machine("-device", "isa-debug-exit,iobase=0xf4,iosize=4")
    p.qtest().sock.sendall(b"outl 0xf4 0x10\n")
    expect("exit", p.wait(), 0x21)


def test_qtest_when_debugcon_is_written_then_bytes_come_out(bed):
    t = bed.machine("-debugcon", "file:" + bed.path("log")).qtest()
    expect("readback", t.inp("b", 0xe9), 0xe9)
    for c in b"boot":
        t.out("b", 0xe9, c)
    with open(bed.path("log"), "rb") as f:
        expect("bytes", f.read(), b"boot")


def test_qtest_when_firmware_asks_cmos_then_the_command_line_answers(bed):
    t = bed.machine("-boot", "order=dca", "-m", "64M", "-smp", "2", "-hda",
                    bed.file("disk", bytes(1 << 20))).qtest()

    def cmos(n):
        t.out("b", 0x70, n)
        return t.inp("b", 0x71)
    expect("boot order", (cmos(0x3d), cmos(0x38)), (0x23, 0x10))
    expect("memory", cmos(0x34) | cmos(0x35) << 8, 48 << 4)
    expect("CPUs", cmos(0x5f), 1)
    expect("disks", cmos(0x12), 0xf0)
    expect("no floppy", cmos(0x10), 0)


def test_qtest_when_logged_then_both_directions_are_there(bed):
    t = bed.machine("-qtest-log", bed.path("log")).qtest()
    t.line("inb 0x64")
    with open(bed.path("log")) as f:
        expect("log", f.read(), "R inb 0x64\nS OK 0x0018\n")


def test_qtest_when_the_test_listens_then_keel_connects(bed):
    """As existing test programs start a device model."""
    listeners = []
    for name in ("lq.sock", "lq.qmp"):
        s = socket.socket(socket.AF_UNIX)
        s.bind(bed.path(name))
        s.listen(1)
        s.settimeout(60)
        listeners.append(s)
    p = bed.start("-qtest", "unix:" + bed.path("lq.sock"), "-qtest-log", "/dev/null", "-chardev",
                  "socket,path=%s,id=char0" % bed.path("lq.qmp"), "-mon",
                  "chardev=char0,mode=control", "-display", "none", "-audio", "none", "-machine",
                  "pc", "-accel", "qtest")
    t, q = Qtest(listeners[0].accept()[0]), Qmp(listeners[1].accept()[0])
    expect("qtest", t.line("inb 0x64"), "OK 0x0018")
    expect("qmp", q.cmd("query-status")["status"], "running")
    q.cmd("quit")
    expect("exit", p.wait(), 0)
    for s in listeners:
        s.close()


def test_qtest_when_peer_comes_back_then_it_starts_clean(bed):
    p = bed.machine()
    t = p.qtest()
    t.ok("irq_intercept_in ioapic")
    t.sock.sendall(b"inb 0x6")
    t.sock.close()
    t.file.close()
    expect("clean", p.qtest().line("inb 0x64"), "OK 0x0018")


def test_qtest_when_defaults_are_wanted_then_a_pc_has_drives_and_a_screen(bed):
    p = bed.start("-accel", "qtest", "-machine", "pc", "-display", "none", "-qmp",
                  "unix:%s,server=on,wait=off" % bed.path("qmp"), "-qtest",
                  "unix:%s,server=on,wait=off" % bed.path("qtest"), "-audio", "none")
    q = p.qmp()
    expect("drives", {d["device"] for d in q.cmd("query-block")}, {"ide1-cd0", "floppy0"})
    expect("VGA", q.cmd("query-pci")[0]["devices"][-1]["class_info"]["class"], 0x300)
    expect("log", os.path.getsize(bed.path("log.0")), 0)


if __name__ == "__main__":
    main(globals())
