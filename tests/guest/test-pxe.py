#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SeaBIOS, iPXE's own drivers and a network boot program, over every card."""
import os

from guest import ACCEL, expect, main

# mov dx, 0x402; mov al, 'P'; out dx, al; mov dx, 0xf4; mov al, N; out dx, al; hlt
PROGRAM = "ba0204 b050 ee baf400 b0%02x ee f4"


def boots(bed, *cards, order=("-boot", "n"), which=0):
    """Each card has a network of its own with a program of its own: the one that runs is that of `which`."""
    os.mkdir(bed.path("tftp"))
    args = []
    for i, card in enumerate(cards):
        bed.file("tftp/nbp%d" % i, bytes.fromhex(PROGRAM % (5 + i)).ljust(4096, b"\x90"))
        args += ["-netdev", "user,id=n%d,tftp=%s,bootfile=nbp%d" % (i, bed.path("tftp"), i),
                 "-device", "%s,netdev=n%d" % (card, i)]
    p = bed.start("-M", "pc", "-accel", ACCEL, "-m", "64", "-nodefaults", "-vga", "std", "-display",
                  "none", *args, *order, "-device", "isa-debug-exit,iobase=0xf4,iosize=4")
    expect("exit code", p.wait(240), 2 * (5 + which) + 1)


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


def test_pxe_boots_from_the_card_that_bootindex_names(bed):
    boots(bed, "e1000,bootindex=2", "rtl8139,bootindex=1", order=(), which=1)


def test_pxe_boots_from_the_card_that_has_a_rom(bed):
    boots(bed, "e1000,bootindex=1,romfile=", "pcnet,bootindex=2,romfile=/usr/lib/ipxe/qemu/efi-pcnet.rom",
          order=(), which=1)


main(globals())
