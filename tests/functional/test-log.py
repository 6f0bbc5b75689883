#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""-d: what each item tells of a small guest; and where `info` says an interrupt is stuck."""
import os
import re
import time

from keel import Failure, expect, expect_in, main

ACCEL = os.environ.get("KEEL_ACCEL", "tcg")


def firmware(bed):
    """Real mode: INT 0x20 and back; protected mode: a far call and back, a loop, and a halt."""
    rom = bytearray(0x10000)

    def put(at, hexes):
        code = bytes.fromhex(hexes)
        rom[at:at + len(code)] = code

    put(0xe000, "c706800000e1 c706820000f0 cd20"  # the vector; int 0x20
                "2e660f011600e2 0f20c0 0c01 0f22c0 66ea00e40f000800")
    put(0xe100, "cf")
    put(0xe200, "1700 10e20f00")
    put(0xe210, "0000000000000000 ffff0000009bcf00 ffff00000093cf00")
    put(0xe400, "66b81000 8ed0 bc00700000 9a00e50f000800 b903000000 49 75fd f4 ebfd")
    put(0xe500, "cb")
    put(0xfff0, "e90de0")
    return bed.file("firmware", bytes(rom))


def log_of(bed, items, *until, only=()):
    log = bed.path("log")
    p = bed.start("-M", "pc", "-accel", ACCEL, "-m", "16", "-nodefaults", "-display", "none", "-bios",
                  firmware(bed), *only, "-d", items, "-D", log, "-qmp", "unix:%s,server=on,wait=off" % bed.path("qmp"))
    end = time.time() + 60
    while not os.path.exists(log) or any(not re.search(u, open(log).read()) for u in until):
        if time.time() > end:
            raise Failure("no %r in:\n%s" % (until, open(log).read()[-3000:]))
        time.sleep(0.05)
    return open(log).read(), p


def test_log_of_guest_code(bed):
    text, _ = log_of(bed, "in_asm", r"0x000000000000e00c  cd20 +int 0x20", r"IN: ",
                     r"0x00000000000fe400  66b81000 +mov ax, 0x10", r"dec ecx", "hlt")
    expect("no other item", "Trace" in text, False)


def test_log_of_blocks_that_run(bed):
    text, _ = log_of(bed, "exec", r"Trace 0: \[0000000000000000/00000000000fe500/")
    loop = re.findall(r"Trace 0: \[0000000000000000/00000000000fe41\w/", text)
    expect("turns of the loop, %d" % len(loop), len(loop) >= 2, True)


def test_log_of_registers_before_each_block(bed):
    text, _ = log_of(bed, "exec,cpu", r"ECX=00000001")
    # The loop counts ECX down; each block's registers stand behind it.
    seen = re.findall(r"Trace 0: \[0{16}/0{10}0fe41[0-9a-f]/.*\]\n.* ECX=(\w+).*\n.*\nEIP=000fe41", text)
    expect_in("ECX in the loop", "00000002", seen)
    expect_in("ECX in the loop", "00000001", seen)


def test_log_of_host_code(bed):
    log_of(bed, "out_asm", r"OUT", r"\bmov\b", r"0x[0-9a-f]{8,}")


def test_log_of_some_addresses(bed):
    text, _ = log_of(bed, "in_asm,exec,op", r"hlt", r"Trace", only=("-dfilter", "1..2,0xfe410+0x20,0xfe41f-0x10"))
    blocks = set(re.findall(r"^OP: 0x(\w+)|^0x(0000\w+)  |Trace 0: \[\w+/(\w+)", text, re.M))
    at = sorted({int("".join(b), 16) for b in blocks})
    expect("blocks at %s" % " ".join(map(hex, at)), at and all(0xfe410 <= a <= 0xfe42f for a in at), True)


def test_log_of_addresses_that_are_none(bed):
    for what in ("1", "1.2", "x..y", "5+0", "7..3", "1+2+3"):
        expect("-dfilter " + what, bed.refused("-dfilter", what),
               "-dfilter %s: %s: not FIRST..LAST, START+SIZE or START-SIZE" % (what, what))


def test_log_of_interrupts(bed):
    log_of(bed, "int", r"v=20 e=0000 int cpl=0 IP=f000:000000000000e00e")


def test_log_of_far_calls(bed):
    text, _ = log_of(bed, "pcall", "0008:000fe500")
    expect_in("and back", "0008:000fe4", text)


def test_log_of_resets(bed):
    _, p = log_of(bed, "cpu_reset")
    p.qmp().cmd("system_reset")
    end = time.time() + 60
    while "EIP=" not in open(bed.path("log")).read():
        if time.time() > end:
            raise Failure("no registers: " + open(bed.path("log")).read())
        time.sleep(0.05)


def wait_for(path, what):
    end = time.time() + 60
    while what not in open(path).read():
        if time.time() > end:
            raise Failure("no %r in:\n%s" % (what, open(path).read()[-3000:]))
        time.sleep(0.05)


def test_log_begins_and_ends_by_the_monitor(bed):
    log = bed.path("log")
    p = bed.start("-M", "pc", "-accel", ACCEL, "-m", "16", "-nodefaults", "-display", "none", "-bios",
                  firmware(bed), "-D", log, "-qmp", "unix:%s,server=on,wait=off" % bed.path("qmp"))
    q = p.qmp()
    expect("log in_asm,int", q.hmp("log in_asm,int"), "")
    q.cmd("system_reset")
    wait_for(log, "v=20 e=0000 int")
    wait_for(log, "int 0x20")
    wait_for(log, "hlt")
    expect("log none", q.hmp("log none"), "")
    size = os.path.getsize(log)
    q.cmd("system_reset")
    q.hmp("info registers")
    time.sleep(0.2)
    expect("bytes behind log none", os.path.getsize(log) - size, 0)
    expect("log in_asm,what", q.hmp("log in_asm,what"), "Error: what: unknown item (-d help lists them)\r\n")
    said = q.hmp("log help")
    expect_in("log help", "in_asm          guest code as it is translated\r\n", said)
    expect("-d help", bed.run("-d", "help"), (0, said.replace("\r", "")))
    expect("-d none", bed.run("-d", "none", "-version")[0], 0)


def test_interrupts_are_where_info_says(bed):
    """The timer's line is up in the 8259, masked; the local APIC is as after a reset."""
    _, p = log_of(bed, "cpu_reset")
    q = p.qmp()
    lapic = q.hmp("info lapic")
    for part in ("CPU 0: base 0xfee00900 xAPIC", "SVR 0x000000ff", "LVT0     0x00000700"):
        expect_in("info lapic", part, lapic)
    before = q.hmp("info irq")
    q.hmp("o /b 0x43 0x34")  # counter 0, mode 2, 2 bytes
    q.hmp("o /b 0x40 0x00")
    q.hmp("o /b 0x40 0x10")
    end = time.time() + 60
    while q.hmp("info irq") == before:
        if time.time() > end:
            raise Failure("IRQ 0 does not count: " + before)
        time.sleep(0.05)
    expect_in("IRQ 0", "0:", q.hmp("info irq"))
    expect_in("info pic", "irr=", q.hmp("info pic"))


main(globals())
