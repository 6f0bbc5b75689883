#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Linux's own drivers on every disk controller: one boot, one disk of another size behind each."""
import hashlib

import initramfs
from guest import Guest, expect, expect_in, main

MIB = 1 << 20
# name, size in MiB, options
DISKS = [
    ("ide", 8, ["-device", "ide-hd,bus=ide.0,unit=0,drive=ide"]),
    ("ahci", 9, ["-device", "ahci,id=ahci0", "-device", "ide-hd,bus=ahci0.0,drive=ahci"]),
    ("virtio", 10, ["-device", "virtio-blk-pci,drive=virtio,serial=VIRT01"]),
    ("legacy", 11, ["-device", "virtio-blk-pci,drive=legacy,disable-modern=on"]),
    ("modern", 12, ["-device", "virtio-blk-pci,drive=modern,disable-legacy=on,num-queues=2"]),
    ("nvme", 13, ["-device", "nvme,drive=nvme,serial=NVME01"]),
    ("scsi", 14, ["-device", "lsi,id=scsi0", "-device", "scsi-hd,bus=scsi0.0,scsi-id=3,drive=scsi"]),
]
MODULES = ["ata_piix", "ahci", "sd_mod", "sr_mod", "virtio_pci", "virtio_blk", "nvme", "cdrom",
           "sym53c8xx"]

SCRIPT = """
sleep 1
for b in /sys/block/sd* /sys/block/vd* /sys/block/nvme*; do
  [ -e $b ] || continue
  d=/dev/${b##*/}
  n=$(cat $b/size)
  echo "DISK $n $(sha256sum < $d | cut -d' ' -f1)"
  # a marker at 1 MiB, unaligned to pages; then 512 KiB copied inside the disk
  yes "$n-marker" | dd of=$d bs=512 seek=2051 count=33 iflag=fullblock conv=fsync 2>/dev/null
  dd if=$d of=/tmp/x bs=128k count=4 2>/dev/null
  dd if=/tmp/x of=$d bs=128k seek=48 count=4 conv=fsync 2>/dev/null
  echo 3 > /proc/sys/vm/drop_caches
  echo "AFTER $n $(sha256sum < $d | cut -d' ' -f1)"
done
for d in /dev/sr0 /dev/sr1; do
  echo "CD $d $(head -c 1048576 $d | sha256sum | cut -d' ' -f1)"
done
echo "SERIAL $(cat /sys/block/vd*/serial | tr '\\n' ' ')"
echo STORAGE DONE
poweroff -f
"""


def pattern(name, mib):
    """Contents that differ everywhere, so that no block can stand in for another."""
    out = bytearray()
    for i in range(mib * MIB // 64):
        out += hashlib.sha512(b"%s %d" % (name.encode(), i)).digest()
    return out


def changed(data, sectors):
    """What the guest's script makes of a disk."""
    line = b"%d-marker\n" % sectors
    data[2051 * 512:2084 * 512] = (line * (33 * 512 // len(line) + 1))[:33 * 512]
    data[48 * 128 * 1024:52 * 128 * 1024] = data[:512 * 1024]
    return data


def test_storage_linux_reads_and_writes_every_controllers_disk(bed):
    args, disks = [], {}
    for name, mib, options in DISKS:
        data = pattern(name, mib)
        path = bed.file(name + ".img", bytes(data))
        args += ["-drive", "if=none,id=%s,file=%s,format=raw" % (name, path), *options]
        disks[mib * MIB // 512] = (name, path, data)
    cd = bytes(pattern("cd", 2))
    args += ["-drive", "if=none,id=cd,file=%s,format=raw,readonly=on" % bed.file("cd.iso", cd),
             "-device", "ide-cd,bus=ahci0.3,drive=cd",
             "-drive", "if=none,id=scd,file=%s,format=raw,readonly=on" % bed.path("cd.iso"),
             "-device", "scsi-cd,bus=scsi0.0,scsi-id=5,drive=scd"]
    kernel, release = initramfs.kernels()
    initrd = initramfs.build(bed.path("initrd"), SCRIPT, MODULES, release=release)
    g = Guest(bed, "-kernel", kernel, "-initrd", initrd, "-append",
              "console=ttyS0 quiet panic=-1 tsc=reliable", "-no-reboot", *args)
    g.wait("STORAGE DONE", 300)
    text = g.finish()
    before = dict(line.split()[1:3] for line in text.splitlines() if line.startswith("DISK "))
    after = dict(line.split()[1:3] for line in text.splitlines() if line.startswith("AFTER "))
    expect("disks seen", sorted(map(int, before)), sorted(disks))
    for sectors, (name, path, data) in disks.items():
        expect("what the guest read of " + name, before[str(sectors)],
               hashlib.sha256(data).hexdigest())
        data = changed(data, sectors)
        expect("what it read back of " + name, after[str(sectors)],
               hashlib.sha256(data).hexdigest())
        with open(path, "rb") as f:
            expect("the image of " + name, f.read() == data, True)
    for drive in "/dev/sr0", "/dev/sr1":
        expect_in("CD", "CD %s %s" % (drive, hashlib.sha256(cd[:MIB]).hexdigest()), text)
    expect_in("serial", "VIRT01", text)



COMES_AND_GOES = """
echo READY
for n in 1 2 3; do
  until d=$(ls /sys/block | grep -E '^(vd|nvme)'); do sleep 0.2; done
  echo "CAME $n $(cat /sys/block/$d/size) $(sha256sum < /dev/$d | cut -d' ' -f1)"
  echo "round $n" | dd of=/dev/$d bs=512 seek=5 count=1 conv=fsync,sync 2>/dev/null
  echo "WROTE $n"
  [ $n = 3 ] && (while dd if=/dev/zero of=/dev/$d bs=64k count=64 seek=1 2>/dev/null; do :; done) &
  while [ -e /sys/block/$d ]; do sleep 0.2; done
  echo "WENT $n"
done
read wait < /dev/ttyS0
"""


def test_storage_linux_sees_disks_come_and_go(bed):
    kernel, release = initramfs.kernels()
    initrd = initramfs.build(bed.path("initrd"), COMES_AND_GOES, ["virtio_pci", "virtio_blk", "nvme"],
                             release=release)
    g = Guest(bed, "-kernel", kernel, "-initrd", initrd, "-append",
              "console=ttyS0 quiet panic=-1 tsc=reliable", "-no-reboot")
    g.wait("READY", 200)
    q, mib = g.qmp(), 5
    data = pattern("plugged", mib)
    path = bed.file("plugged.img", bytes(data))
    for n, (driver, more) in enumerate((("virtio-blk-pci", {}), ("nvme", {"serial": "N1"}),
                                        ("virtio-blk-pci", {})), 1):
        expect("drive_add", q.hmp("drive_add 0 if=none,id=d%d,format=raw,file=%s" % (n, path)), "OK\r\n")
        q.cmd("device_add", driver=driver, id="disk", drive="d%d" % n, **more)
        text = g.wait("WROTE %d" % n, 120)
        expect_in("came", "CAME %d %d %s" % (n, mib * MIB // 512, hashlib.sha256(data).hexdigest()), text)
        data[5 * 512:6 * 512] = (b"round %d\n" % n).ljust(512, b"\0")
        q.cmd("device_del", id="disk")  # the third time requests are under way
        g.wait("WENT %d" % n, 60)
        q.event("DEVICE_DELETED")
        expect("its drive went, too", [d["device"] for d in q.cmd("query-block")], [])
    with open(path, "rb") as f:
        expect("written", f.read(64 << 10), bytes(data[:64 << 10]))
    q.cmd("quit")


main(globals())
