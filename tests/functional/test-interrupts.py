#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""When the translator lets an interrupt in: a BIOS of a few bytes waits for timer ticks.

Each guest counts interrupts of the 8254 and leaves through isa-debug-exit, or never.
"""

from keel import Failure, expect, main

ENGINES = ("jit", "interp")
SETUP = bytes.fromhex(
    "fa 31c0 8ed8 8ed0 bc0070"            # cli; ds = ss = 0; sp = 7000
    "c7062000 00f0 c7062200 00f0"         # vector 8 at f000:f000
    "b011e620 b008e621 b004e621 b001e621 b0fee621"  # 8259: vectors from 8, only IRQ 0
    "b034e643 b0a9e640 b004e640")         # 8254: every millisecond
EXIT = bytes.fromhex("b005 baf400 ee f4")  # mov al, 5; out 0xf4, al; hlt
HANDLER = bytes.fromhex("50 fe060005 b020e620 58 cf")  # inc byte [500]; EOI; iret
COUNT = bytes.fromhex("803e000514")        # cmp byte [500], 20


def until(body):
    """body, again and again until 20 ticks have come."""
    loop = body + COUNT
    return loop + bytes([0x72, -(len(loop) + 2) & 0xff])  # jb


def run(bed, engine, body, seconds=60):
    code = SETUP + body + EXIT
    image = bytearray(b"\x90" * 65536)
    image[0xe000:0xe000 + len(code)] = code
    image[0xf000:0xf000 + len(HANDLER)] = HANDLER
    image[0xfff0:0xfff5] = bytes.fromhex("ea00e000f0")
    p = bed.start("-M", "pc", "-accel", "tcg,keel-engine=" + engine, "-m", "16", "-nodefaults",
                  "-display", "none", "-bios", bed.file("bios.bin", bytes(image)),
                  "-device", "isa-debug-exit,iobase=0xf4,iosize=4")
    try:
        return p.wait(seconds)
    except Failure:
        return None


def comes(bed, body):
    for engine in ENGINES:
        expect("exit code with " + engine, run(bed, engine, until(bytes.fromhex(body))), 11)


def test_interrupts_come_between_sti_and_cli(bed):
    comes(bed, "fb 90 90 fa")  # sti; nop; nop; cli: one instruction wide


def test_interrupts_come_behind_sti_hlt(bed):
    comes(bed, "fb f4 fa")


def test_interrupts_come_behind_popf(bed):
    comes(bed, "68 02 02 9d 90 fa")  # push 0202; popf; nop; cli


def test_interrupts_come_in_a_loop_without_any_call(bed):
    comes(bed, "fb")


def test_interrupts_do_not_come_in_the_shadow_of_sti(bed):
    for engine in ENGINES:
        body = until(bytes.fromhex("fb fa"))  # sti; cli
        expect("exit code with " + engine, run(bed, engine, body, 1), None)
        bed.started[-1].proc.kill()
        bed.started.pop().proc.wait()


main(globals())
