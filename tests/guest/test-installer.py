#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Debian's installer, from nothing but a network card: iPXE, PXELINUX, its kernel and 40 MB of initramfs
over TFTP, until it asks its first question on the serial port.
"""
import os

from guest import Guest, expect_in, main

IMAGES = "/usr/lib/debian-installer/images/12/amd64/text"
CONFIG = b"""serial 0
default install
label install
kernel debian-installer/amd64/linux
append initrd=debian-installer/amd64/initrd.gz console=ttyS0 ---
"""


def test_installer_when_booted_over_pxe_then_it_asks_its_first_question(bed):
    if not os.path.isdir(IMAGES):
        print("# skipped: no debian-installer-12-netboot-amd64 here")
        return
    os.makedirs(bed.path("tftp/pxelinux.cfg"))
    for name in ("debian-installer", "pxelinux.0", "ldlinux.c32"):
        os.symlink("%s/%s" % (IMAGES, name), bed.path("tftp/" + name))
    bed.file("tftp/pxelinux.cfg/default", CONFIG)
    g = Guest(bed, "-vga", "std", "-netdev", "user,id=n,tftp=%s,bootfile=pxelinux.0" %
              bed.path("tftp"), "-device", "e1000,netdev=n", "-boot", "n", memory=512)
    g.wait("Loading debian-installer/amd64/linux", 300)
    text = g.wait("<Continue>", 800)  # with little memory it asks that first, in English
    expect_in("the driver", "e1000", text)
    expect_in("the dialogue", "Tab> moves", text)


main(globals())
