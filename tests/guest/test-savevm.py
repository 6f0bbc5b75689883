#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A Linux guest goes back to where savevm took it while it worked: memory and both disks, together."""
import os
import re
import shutil
import subprocess

import initramfs
from guest import Guest, expect, main

TOOLS = os.path.join(os.path.abspath(os.environ.get("KEEL_BUILD", "build")), "tools")
TURNS = 60
# Each turn writes its number to both disks and reads the turn before from them, past the cache. Work
# in the background keeps disk and second processor busy.
SCRIPT = """
(while true; do dd if=/dev/zero of=/dev/sda bs=64k seek=32 count=32 conv=fsync 2>/dev/null; done) &
i=1
for d in /dev/sda /dev/vda; do echo "0 mark" | dd of=$d bs=512 conv=sync,fsync 2>/dev/null; done
while [ $i -le %d ]; do
  for d in /dev/sda /dev/vda; do
    echo 3 > /proc/sys/vm/drop_caches
    n=$(dd if=$d bs=512 count=1 2>/dev/null | (read a b; echo $a))
    [ "$n" = $((i-1)) ] || echo "TROUBLE $d has $n in turn $i"
    echo "$i mark" | dd of=$d bs=512 conv=sync,fsync 2>/dev/null
  done
  echo "TURN $i"
  i=$((i+1))
done
dmesg | grep -E "traps:|Oops|BUG:|WARNING:|stalls on CPU|I/O error" | sed 's/^/TROUBLE /'
echo ALL TURNS DONE
poweroff -f
""" % TURNS


def image(bed, name):
    path = bed.path(name)
    subprocess.run([os.path.join(TOOLS, "keel-img"), "create", "-q", "-f", "qcow2", path, "8M"], check=True)
    return path


def check(path):
    for tool in [os.path.join(TOOLS, "keel-img")] + [t for t in [shutil.which("qemu-img")] if t]:
        p = subprocess.run([tool, "check", path], capture_output=True, text=True)
        expect("%s check: %s" % (tool, p.stdout + p.stderr), p.returncode, 0)
        p = subprocess.run([tool, "snapshot", "-l", path], capture_output=True, text=True, check=True)
        yield re.search(r"^\S+ +(work .*)", p.stdout, re.M)[1].split()


def linux(bed, *args):
    kernel, release = initramfs.kernels()
    initrd = bed.path("initrd")
    if not os.path.exists(initrd):
        initramfs.build(initrd, SCRIPT, ["ata_piix", "sd_mod", "virtio_pci", "virtio_blk"],
                        release=release)
    disks = ["-drive", "if=ide,format=qcow2,file=" + bed.path("a.qcow2"), "-drive",
             "if=none,id=v,format=qcow2,file=" + bed.path("b.qcow2"), "-device", "virtio-blk-pci,drive=v"]
    return Guest(bed, "-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0 quiet",
                 "-smp", "2", *disks, *args, memory=128)


def turns(text):
    return [int(n) for n in re.findall(r"^TURN (\d+)", text, re.M)]


def test_linux_goes_back_and_works_on(bed):
    a, b = image(bed, "a.qcow2"), image(bed, "b.qcow2")
    g = linux(bed)
    g.wait("TURN 5\r\n", 180)
    expect("savevm", g.hmp("savevm work"), "")
    saved = turns(g.text())[-1]
    g.wait("TURN %d\r\n" % (saved + 12), 120)
    expect("loadvm", g.hmp("loadvm work"), "")
    after = len(turns(g.text()))
    expect("runs", g.qmp().cmd("query-status")["status"], "running")
    listed = re.search(r"^-- +(work .*)", g.hmp("info snapshots"), re.M)[1].split()
    g.wait("ALL TURNS DONE", 180)
    text = g.finish()
    seen = turns(text)
    again = seen[after:]
    # The turn under way when it was saved may have been told already.
    expect("first turn after loading", again[0] in range(saved - 1, saved + 3), True)
    expect("turns after loading", again, list(range(again[0], TURNS + 1)))
    expect("complaints", re.findall("TROUBLE .*", text), [])
    for path, mine in ((a, True), (b, False)):
        for row in check(path):
            expect("date and clock", row[3:], listed[3:])
            expect("has the state", row[1] != "0", mine)
    # Another process starts from there.
    g = linux(bed, "-loadvm", "work")
    text = g.wait("ALL TURNS DONE", 180)
    g.finish()
    expect("first turn", turns(text)[0] in range(saved - 1, saved + 3), True)
    expect("complaints", re.findall("TROUBLE .*", text), [])


main(globals())
