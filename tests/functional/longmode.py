# SPDX-License-Identifier: MIT
"""A guest that stands still in long mode with known memory, page tables and registers: longmode.S."""
import os
import subprocess
import time

from keel import Failure

HERE = os.path.dirname(os.path.abspath(__file__))
HIGH, HIGH_PHYS, TABLES = 0xffffffff80000000, 0x400000, 0x180000
TEXT = b"written through the high mapping\0"
RAX = 0x1122334455667788


def machine(bed, *more, name="qmp"):
    """A PC for it without it, its monitor at name."""
    return bed.start("-M", "pc", "-accel", "tcg", "-m", "16", "-nodefaults", "-display", "none", "-qmp",
                     "unix:%s,server=on,wait=off" % bed.path(name), *more)


def guest(bed, *more):
    """It, up and waiting."""
    path, out = bed.path("kernel"), bed.path("out")
    subprocess.run(["gcc", "-m64", "-nostdlib", "-static", "-no-pie", "-Wl,-Ttext=0x100000,-z,noexecstack",
                    "-Wl,--build-id=none,-estart,-n", "-o", path + ".64", HERE + "/longmode.S"], check=True)
    subprocess.run(["objcopy", "-O", "elf32-i386", path + ".64", path], check=True)
    p = machine(bed, "-debugcon", "file:" + out, "-kernel", path, *more)
    end = time.time() + 60
    while not os.path.exists(out) or b"!" not in open(out, "rb").read():
        if time.time() > end:
            raise Failure("the guest says nothing")
        time.sleep(0.01)
    return p
