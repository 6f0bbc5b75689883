#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Other firmware, boot loaders, a hypervisor, an installer and 32-bit Linux on Keel's own processors."""
import glob
import gzip
import os
import re

import initramfs
from guest import Failure, Guest, expect, expect_in, main
from screen import keep, wait_picture, wait_screen

HERE = os.path.dirname(os.path.abspath(__file__))
UBOOT = "/usr/lib/u-boot/%s/u-boot.rom"
IPXE = "/usr/lib/ipxe/ipxe.iso"
XEN = "/boot/xen-*-amd64.gz"
INSTALLER = "/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64/"
I386 = "/var/cache/keel/i386/"


# ---- u-boot ----

def uboot(bed, which):
    """In the place of the BIOS, up to its prompt; it answers a command typed on the keyboard."""
    g = Guest(bed, "-vga", "std", "-bios", UBOOT % which)
    g.wait("\n=> ", 120)
    for key in "v e r s i o n ret".split():
        g.hmp("sendkey " + key)
    text = g.wait("\n=> version", 60)
    g.wait("gcc", 60)
    expect("banners", len(re.findall("U-Boot 20", g.wait("\n=> ", 60))) >= 2, True)
    expect_in("memory", "256 MiB", text)


def test_u_boot_in_32_bit_code(bed):
    uboot(bed, "qemu-x86")


def test_u_boot_in_64_bit_code(bed):
    uboot(bed, "qemu-x86_64")


# ---- iPXE ----

# mov dx, 0xf4; mov al, 5; out dx, al; hlt
PROGRAM = bytes.fromhex("baf400 b005 ee f4")


def test_ipxe_from_a_compact_disc_chains_a_script_and_a_program(bed):
    os.mkdir(bed.path("tftp"))
    bed.file("tftp/first.ipxe", b"#!ipxe\necho THE SCRIPT RUNS\nchain tftp://${next-server}/program\n")
    bed.file("tftp/program", PROGRAM.ljust(4096, b"\x90"))
    g = Guest(bed, "-vga", "std", "-cdrom", IPXE, "-netdev",
              "user,id=n,tftp=%s,bootfile=first.ipxe" % bed.path("tftp"), "-device",
              "e1000,netdev=n,romfile=", "-device", "isa-debug-exit,iobase=0xf4,iosize=4", memory=64)
    expect("exit code", g.proc.wait(180), 11)


def test_ipxe_asks_at_its_prompt(bed):
    g = Guest(bed, "-vga", "std", "-cdrom", IPXE, memory=64)
    wait_screen(g, "Press Ctrl-B for the iPXE command line", 120)
    g.hmp("sendkey ctrl-b")
    wait_screen(g, "iPXE>", 60)
    for key in "e c h o spc h i ret".split():
        g.hmp("sendkey " + key)
    wait_screen(g, "(?m)^hi$", 60)


# ---- Xen ----

DOM0 = """
echo "HYPERVISOR $(cat /sys/hypervisor/type)"
grep -c ^processor /proc/cpuinfo
echo BOOT DONE
poweroff -f
"""


def hypervisor(bed):
    found = sorted(glob.glob(XEN))
    if not found:
        raise Failure("no %s" % XEN)
    with gzip.open(found[-1]) as f:
        return bed.file("xen", f.read())


def test_xen_without_a_kernel_says_so(bed):
    g = Guest(bed, "-vga", "std", "-kernel", hypervisor(bed), "-append", "console=com1 noreboot")
    g.wait("Panic on CPU 0:", 120)
    g.wait("dom0 kernel not specified", 10)


def test_xen_boots_a_paravirtual_linux(bed):
    """Two processors. Xen finds no hardware virtualisation, and its first guest needs none."""
    kernel, release = initramfs.kernels()
    initrd = initramfs.build(bed.path("initrd"), DOM0, release=release)
    g = Guest(bed, "-vga", "std", "-smp", "2", "-kernel", hypervisor(bed), "-append",
              "console=com1 com1=115200,8n1 noreboot dom0_mem=400M", "-initrd",
              "%s console=hvc0 quiet,%s" % (kernel, initrd), memory=768)
    text = g.wait("BOOT DONE", 300)
    expect_in("what Linux runs on", "HYPERVISOR xen", text)
    expect_in("processors", "Brought up 2 CPUs", text)
    expect("hardware virtualisation", "HVM: " in text, False)
    g.finish(60)


# ---- the installer ----

def test_installer_shows_its_first_screen(bed):
    """With as little memory as this the first screen is a warning."""
    g = Guest(bed, "-vga", "std", "-kernel", INSTALLER + "linux", "-initrd", INSTALLER + "initrd.gz",
              "-append", "vga=788 --- quiet", memory=512)
    wait_picture(g, HERE + "/installer.png", 300)
    keep(g, "installer")


# ---- Linux for i686 ----

SCRIPT32 = """
echo "CPUS $(nproc)"
echo "MACHINE $(uname -m)"
i=0
while [ $i -lt 4 ]; do
  (seq 1 1000 | sha256sum) > /tmp/w$i &
  i=$((i+1))
done
wait
sort -u /tmp/w0 /tmp/w1 /tmp/w2 /tmp/w3
dmesg | grep -E "traps:|Oops|BUG:|WARNING:|stalls on CPU" | sed 's/^/TROUBLE /'
echo BOOT DONE
poweroff -f
"""
# sha256 of the lines 1 to 1000
SUM32 = "67d4ff71d43921d5739f387da09746f405e425b07d727e4c69d029461d1f051f"


def linux32(bed, cpus, *args, memory=256):
    kernel = glob.glob(I386 + "vmlinuz-*-686-pae")
    if not kernel:
        raise Failure("no kernel in %s: tools/i386-guest" % I386)
    initrd = initramfs.build(bed.path("initrd"), SCRIPT32, busybox=I386 + "busybox")
    g = Guest(bed, "-kernel", kernel[0], "-initrd", initrd, "-append", "console=ttyS0", "-smp", str(cpus),
              *args, memory=memory)
    text = g.wait("BOOT DONE", 240)
    g.finish(60)
    expect_in("processors", "CPUS %d" % cpus, text)
    expect_in("machine", "MACHINE i686", text)
    expect_in("the work's result", SUM32, text)
    expect("complaints of the kernel", re.findall("TROUBLE .*", text), [])


def test_32_bit_linux_on_one_processor(bed):
    linux32(bed, 1)


def test_32_bit_linux_on_four_processors_with_memory_above_4_gib(bed):
    linux32(bed, 4, "-cpu", "max", memory=4608)


main(globals())
