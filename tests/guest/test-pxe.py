#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SeaBIOS, iPXE's own driver in the card's ROM, and a program that drives the card by what that ROM offers to
others (UNDI), as packet drivers do: over every card. And which card is booted from.
"""
import os
import shutil

from guest import ACCEL, expect, main

UNDIONLY = "/usr/lib/ipxe/undionly.kpxe"
BYTES = 0x8000
# Adds up its own bytes and ends the machine with the sum:
#   xor ax, ax; mov ds, ax; xor bl, bl; mov si, 0x7c00; mov cx, BYTES; cld
#   again: lodsb; add bl, al; loop again; mov al, bl; mov dx, 0xf4; out dx, al; hlt
PROGRAM = bytes.fromhex("31c0 8ed8 30db be007c b90080 fc ac 00c3 e2fb 88d8 baf400 ee f4")
# Run by the ROM's iPXE it fetches another one, which drives the card by the ROM's UNDI calls and then runs it too.
SCRIPT = "#!ipxe\niseq ${net0/chip} undionly && chain nbp0 || chain undionly.kpxe\n"


def program(total):
    """Random bytes behind the program, of which the last one makes the sum right."""
    body = PROGRAM + os.urandom(BYTES - 1 - len(PROGRAM))
    return body + bytes([(total - sum(body)) & 0xff])


def boots(bed, *cards, order=("-boot", "n"), which=0, file="nbp%d"):
    """Each card has a network of its own with a program of its own: the one that runs is that of `which`."""
    os.mkdir(bed.path("tftp"))
    bed.file("tftp/undi.ipxe", SCRIPT.encode())
    shutil.copy(UNDIONLY, bed.path("tftp"))
    args = []
    for i, card in enumerate(cards):
        bed.file("tftp/nbp%d" % i, program(5 + i))
        args += ["-netdev", "user,id=n%d,tftp=%s,bootfile=%s" % (i, bed.path("tftp"), file.replace("%d", str(i))),
                 "-device", "%s,netdev=n%d" % (card, i)]
    p = bed.start("-M", "pc", "-accel", ACCEL, "-m", "64", "-nodefaults", "-vga", "std", "-display",
                  "none", *args, *order, "-device", "isa-debug-exit,iobase=0xf4,iosize=4")
    expect("exit code", p.wait(240), 2 * (5 + which) + 1)


def undi(bed, card):
    """SeaBIOS, the card's ROM, what it fetched, and that over UNDI."""
    boots(bed, card, file="undi.ipxe")


def test_pxe_boots_and_serves_undi_over_e1000(bed):
    undi(bed, "e1000")


def test_pxe_boots_and_serves_undi_over_e1000e(bed):
    undi(bed, "e1000e")


def test_pxe_boots_and_serves_undi_over_ne2k_pci(bed):
    undi(bed, "ne2k_pci")


def test_pxe_boots_and_serves_undi_over_pcnet(bed):
    undi(bed, "pcnet")


def test_pxe_boots_and_serves_undi_over_rtl8139(bed):
    undi(bed, "rtl8139")


def test_pxe_boots_and_serves_undi_over_virtio_net(bed):
    undi(bed, "virtio-net-pci")


def test_pxe_boots_from_the_card_that_bootindex_names(bed):
    boots(bed, "e1000,bootindex=2", "rtl8139,bootindex=1", order=(), which=1)


def test_pxe_boots_from_the_card_that_has_a_rom(bed):
    boots(bed, "e1000,bootindex=1,romfile=", "pcnet,bootindex=2,romfile=/usr/lib/ipxe/qemu/efi-pcnet.rom",
          order=(), which=1)


main(globals())
