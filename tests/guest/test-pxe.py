#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SeaBIOS, iPXE's own drivers and a network boot program, over every card."""
import os

from guest import ACCEL, expect, main

# mov dx, 0x402; mov al, 'P'; out dx, al; mov dx, 0xf4; mov al, 5; out dx, al; hlt
PROGRAM = bytes.fromhex("ba0204 b050 ee baf400 b005 ee f4")


def boots(bed, card):
    os.mkdir(bed.path("tftp"))
    bed.file("tftp/nbp", PROGRAM.ljust(4096, b"\x90"))
    p = bed.start("-M", "pc", "-accel", ACCEL, "-m", "64", "-nodefaults", "-vga", "std", "-display",
                  "none", "-netdev", "user,id=n,tftp=%s,bootfile=nbp" % bed.path("tftp"), "-device",
                  card + ",netdev=n", "-boot", "n", "-device", "isa-debug-exit,iobase=0xf4,iosize=4")
    expect("exit code", p.wait(120), 11)


def test_pxe_boots_over_e1000(bed):
    boots(bed, "e1000")


def test_pxe_boots_over_e1000e(bed):
    boots(bed, "e1000e")


def test_pxe_boots_over_ne2k_pci(bed):
    boots(bed, "ne2k_pci")


def test_pxe_boots_over_pcnet(bed):
    boots(bed, "pcnet")


def test_pxe_boots_over_rtl8139(bed):
    boots(bed, "rtl8139")


def test_pxe_boots_over_virtio_net(bed):
    boots(bed, "virtio-net-pci")


main(globals())
