#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Linux installs itself onto a qcow2 image with a backing file and boots from it, through SeaBIOS and
GRUB, on every disk controller. Each boot stands on the image of the installation, as its backing file."""
import os
import subprocess
import sys

import initramfs
from guest import Guest, expect, expect_in, main

HERE = os.path.dirname(os.path.abspath(__file__))
MKDISK = os.path.join(HERE, "..", "xen", "guest", "mkdisk.py")
BUILD = os.environ.get("KEEL_BUILD", "build")
PARTITION = 40 << 20
MODULES = ["ata_piix", "ahci", "sd_mod", "virtio_pci", "virtio_blk", "nvme", "sym53c8xx",
           "crc32c_generic", "ext4"]
CMDLINE = "console=ttyS0 quiet panic=-1 tsc=reliable"
# name, the disk as Linux sees it, options
CONTROLLERS = [
    ("ide", "sda", ["-device", "ide-hd,bus=ide.0,drive=d"]),
    ("ahci", "sda", ["-device", "ahci,id=a", "-device", "ide-hd,bus=a.0,drive=d"]),
    ("virtio", "vda", ["-device", "virtio-blk-pci,drive=d"]),
    ("nvme", "nvme0n1", ["-device", "nvme,drive=d,serial=1"]),
    ("scsi", "sda", ["-device", "lsi,id=s", "-device", "scsi-hd,bus=s.0,scsi-id=2,drive=d"]),
]
# Scanning a bus goes on behind insmod's back.
FIND = """
for i in 1 2 3 4 5 6 7 8 9 10; do
  for d in sda vda nvme0n1; do [ -b /dev/$d ] && disk=$d; done
  [ -n "$disk" ] && break; sleep 1
done
part=/dev/${disk}1; [ $disk = nvme0n1 ] && part=/dev/${disk}p1
"""
INSTALL = FIND + """
cat /head > /dev/$disk && blockdev --rereadpt /dev/$disk && mke2fs -q $part && mount -t ext4 $part /mnt &&
cp /vmlinuz /system /mnt/ && echo "installed on $disk" > /mnt/where && umount /mnt &&
blockdev --flushbufs /dev/$disk && echo INSTALL OK
poweroff -f
"""
SYSTEM = FIND + """
mount -t ext4 $part /mnt && echo "BOOTED $disk: $(cat /mnt/where)" && echo "up on $disk" > /mnt/where &&
umount /mnt && mount -t ext4 $part /mnt && echo "WROTE $(cat /mnt/where)" && umount /mnt
poweroff -f
"""


def head(bed):
    """The disk up to its partition: boot sector with the partition table, GRUB's core."""
    config, core, empty, disk = (bed.path(n) for n in ("grub.cfg", "core.img", "empty", "head"))
    with open(config, "w") as f:
        f.write("set root=(hd0,msdos1)\nlinux /vmlinuz %s\ninitrd /system\nboot\n" % CMDLINE)
    subprocess.run(["grub-mkimage", "-O", "i386-pc", "-p", "/", "-c", config, "-o", core, "biosdisk",
                    "part_msdos", "ext2", "linux", "boot"], check=True)
    with open(empty, "wb") as f:
        f.truncate(PARTITION)
    subprocess.run([sys.executable, MKDISK, disk, "/usr/lib/grub/i386-pc/boot.img", core, empty],
                   check=True)
    with open(disk, "rb") as f:
        return f.read(1 << 20), os.path.getsize(disk)


def overlay(path, backing, size=None):
    args = ["-b", backing, "-F", "qcow2"] if backing else []
    subprocess.run([BUILD + "/tools/keel-img", "create", "-q", "-f", "qcow2", *args, path,
                    *([str(size)] if size else [])], check=True)
    return path


def disk(path):
    return "-drive", "if=none,id=d,format=qcow2,file=" + path


def test_install_linux_onto_qcow2_and_boot_it_from_every_controller(bed):
    kernel, release = initramfs.kernels()
    with open(kernel, "rb") as f:
        image = f.read()
    start, size = head(bed)
    with open(initramfs.build(bed.path("system"), SYSTEM, MODULES, release=release), "rb") as f:
        system = f.read()
    installer = initramfs.build(bed.path("installer"), INSTALL, MODULES, release=release, files=[
        ("head", start, 0o644), ("vmlinuz", image, 0o644), ("system", system, 0o644)])
    base = overlay(bed.path("base.qcow2"), None, size)
    installed = overlay(bed.path("installed.qcow2"), base)
    g = Guest(bed, "-kernel", kernel, "-initrd", installer, "-append", CMDLINE, *disk(installed),
              *CONTROLLERS[2][2])
    expect_in("installation", "INSTALL OK", g.finish(300))
    for name, seen, options in CONTROLLERS:
        mine = overlay(bed.path(name + ".qcow2"), installed)
        text = Guest(bed, *disk(mine), *options).finish(300)
        expect_in(name, "BOOTED %s: installed on vda" % seen, text)
        expect_in(name, "WROTE up on " + seen, text)
        check = subprocess.run([BUILD + "/tools/keel-img", "check", "-q", mine], capture_output=True)
        expect(name + ": check", check.returncode, 0)


main(globals())
