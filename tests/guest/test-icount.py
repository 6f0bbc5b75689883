#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""With -icount two runs are one: memory, registers and what the guest said."""
import hashlib
import time

import initramfs
from guest import Failure, Guest, expect, expect_in, main

SCRIPT = """
cat /proc/interrupts /proc/uptime
date
dd if=/dev/urandom bs=16 count=1 2>/dev/null | md5sum
(seq 1 500 | sha256sum) & (seq 1 500 | sha256sum) & wait
echo BOOT DONE
poweroff -f
"""
CLOCK = ["-rtc", "base=2026-01-31T12:00:00,clock=vm"]


def settled(g, seconds=300):
    """Waits for the guest to switch itself off; what is left of it."""
    q, end = g.qmp(), time.time() + seconds
    while q.cmd("query-status")["status"] != "shutdown":
        if time.time() > end or g.ended():
            raise Failure("the guest does not end:\n" + g.text()[-2000:])
        time.sleep(0.2)
    image = g.bed.path("memory")
    q.cmd("pmemsave", val=0, size=0xa0000, filename=image)
    low = open(image, "rb").read()
    q.cmd("pmemsave", val=0x100000, size=127 << 20, filename=image)
    high = open(image, "rb").read()
    left = {"serial": g.text(), "registers": g.hmp("info registers"), "interrupts": g.hmp("info irq"),
            "memory": hashlib.sha256(low + high).hexdigest()}
    q.cmd("quit")
    g.proc.wait(30)
    return left


def linux(bed, *args, **more):
    kernel, release = initramfs.kernels()
    initrd = initramfs.build(bed.path("initrd"), SCRIPT, release=release)
    return Guest(bed, "-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0", "-no-shutdown",
                 "-nic", "none", *CLOCK, *args, memory=128, **more)


def test_two_runs_of_linux_are_the_same_bit_for_bit(bed):
    """Two processors, the random numbers, the dates and every interrupt included."""
    first, second = (settled(linux(bed, "-icount", "shift=1,sleep=off", "-smp", "2", "-cpu", "max"))
                     for _ in range(2))
    expect_in("end", "BOOT DONE", first["serial"])
    for what in first:
        expect(what, second[what], first[what])


# Real mode: rdtsc; 100000 turns of two instructions; rdtsc; the difference to port 0xe9, low byte first,
# and out by port 0xf4.
COUNTS = bytes.fromhex("fa 0f31 6689c3 66b9a0860100 6649 75fc 0f31 6629d8"
                       "baE900 b90400 ee 66c1e808 e2f9 baf400 ee f4")


def counted(bed, *icount):
    disk = bed.file("disk", COUNTS.ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    g = Guest(bed, "-icount", ",".join(icount), "-drive", "format=raw,file=" + disk, "-debugcon",
              "file:" + bed.path("e9"), "-device", "isa-debug-exit,iobase=0xf4,iosize=4", memory=32)
    g.proc.wait(120)
    return int.from_bytes(open(bed.path("e9"), "rb").read()[:4], "little")


def test_time_is_instructions(bed):
    once = counted(bed, "shift=0", "sleep=off")
    expect("instructions, give or take a block: %d" % once, 200000 <= once <= 200064, True)
    expect("at 32 ns each", counted(bed, "shift=5", "sleep=on"), 32 * once)


main(globals())
