#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A Linux guest on two processors of Keel's own is recorded, and its trace replays without a difference."""
import os
import re
import subprocess

import initramfs
from guest import Guest, expect, main

TOOLS = os.path.join(os.path.abspath(os.environ.get("KEEL_BUILD", "build")), "tools")
SCRIPT = """
ip link set eth0 up && udhcpc -i eth0 -q -n -t 10 -s /bin/true 2>/dev/null && echo LEASED
dd if=/dev/urandom of=/tmp/x bs=64k count=8 2>/dev/null
for d in /dev/sda /dev/vda; do
  dd if=/tmp/x of=$d bs=64k conv=fsync 2>/dev/null
  echo 3 > /proc/sys/vm/drop_caches
  dd if=$d bs=64k count=8 2>/dev/null | cmp - /tmp/x && echo "SAME $d"
done
echo READY
echo mem > /sys/power/state
for d in /dev/sda /dev/vda; do
  echo 3 > /proc/sys/vm/drop_caches
  dd if=$d bs=64k count=8 2>/dev/null | cmp - /tmp/x && echo "AWAKE $d"
done
poweroff -f
"""


def test_linux_replays_with_disks_network_nmi_and_sleep(bed):
    kernel, release = initramfs.kernels()
    initrd, trace = bed.path("initrd"), bed.path("trace")
    initramfs.build(initrd, SCRIPT, ["ata_piix", "sd_mod", "virtio_pci", "virtio_blk", "e1000"], release=release)
    for name in ("a", "b"):
        bed.file(name, bytes(1 << 20))
    g = Guest(bed, "-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0 quiet nmi_watchdog=0",
              "-smp", "2", "-vga", "std", "-drive", "if=ide,format=raw,file=" + bed.path("a"),
              "-drive", "if=none,id=v,format=raw,file=" + bed.path("b"), "-device", "virtio-blk-pci,drive=v",
              "-netdev", "user,id=n", "-device", "e1000,netdev=n,romfile=", "-keel-record", trace, memory=128)
    g.wait("READY", 240)
    q = g.qmp()
    q.cmd("inject-nmi")
    for key in ("a", "ret"):
        q.cmd("send-key", keys=[{"type": "qcode", "data": key}])
    q.event("SUSPEND")
    q.cmd("system_wakeup")
    text = g.finish(120)
    expect("disks", re.findall("SAME (.*?)\r", text), ["/dev/sda", "/dev/vda"])
    expect("disks after S3", re.findall("AWAKE (.*?)\\r", text), ["/dev/sda", "/dev/vda"])
    p = subprocess.run([os.path.join(TOOLS, "keel-trace"), "replay", trace], capture_output=True, text=True)
    expect("replay: " + p.stdout + p.stderr, p.returncode, 0)
    expect("events", int(p.stdout.split()[0]) > 300000, True)


main(globals())
