#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Locked operations of two processors where memory is not plain: over two pages, beside code, devices.

The guest is atomics.S, which says of each round what got lost.
"""
import os
import subprocess

from keel import Failure, expect, main

HERE = os.path.dirname(os.path.abspath(__file__))


def kernel(bed):
    path = bed.path("kernel")
    subprocess.run(["gcc", "-m32", "-nostdlib", "-static", "-no-pie", "-Wl,-Ttext=0x100000,-z,noexecstack",
                    "-Wl,--build-id=none,-estart,-n", "-o", path, HERE + "/atomics.S"], check=True)
    return path


def nothing_is_lost(bed, accel):
    out = bed.path("out")
    p = bed.start("-M", "pc", "-accel", accel, "-m", "16", "-smp", "2", "-nodefaults", "-display", "none",
                  "-vga", "std", "-debugcon", "file:" + out, "-device", "isa-debug-exit,iobase=0xf4",
                  "-kernel", kernel(bed))
    code = p.wait(120)
    with open(out) as f:
        text = f.read()
    if code != 1:
        raise Failure("keel ended with %d: %s, after %r" % (code, p.output(), text))
    expect("what got lost", text[text.index("A"):], "A+B+C+D+")


def test_translated_code_loses_nothing(bed):
    nothing_is_lost(bed, "tcg")


def test_the_interpreter_loses_nothing(bed):
    nothing_is_lost(bed, "tcg,keel-engine=interp")


def test_processors_on_one_thread_lose_nothing(bed):
    nothing_is_lost(bed, "tcg,thread=single")


main(globals())
