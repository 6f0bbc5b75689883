#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A guest that is saved in the middle of its work goes on in another Keel."""
import hashlib
import os
import re

import initramfs
from guest import Guest, expect, expect_in, main

TURNS = 60
SCRIPT = """
echo "CPUS $(nproc)"
(while true; do :; done) &
i=0
while [ $i -lt %d ]; do
  echo "TURN $i $(seq 1 $((i + 100)) | sha256sum)"
  i=$((i+1))
  usleep 20000
done
date
dmesg | grep -E "traps:|Oops|BUG:|WARNING:|stalls on CPU" | sed 's/^/TROUBLE /'
echo ALL TURNS DONE
poweroff -f
""" % TURNS


def linux(bed, *args):
    kernel, release = initramfs.kernels()
    initrd = bed.path("initrd")
    if not os.path.exists(initrd):
        initramfs.build(initrd, SCRIPT, release=release)
    return Guest(bed, "-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0", "-vga", "std",
                 *args, memory=128)


def turn(i):
    numbers = "".join("%d\n" % n for n in range(1, i + 101)).encode()
    return "TURN %d %s" % (i, hashlib.sha256(numbers).hexdigest())


def moved(bed, file, *args):
    """Boots, goes on elsewhere at some turn, and again at a later one."""
    text, g = "", linux(bed, *args)
    for at in (5, 25):
        g.wait("TURN %d " % at, 180)
        q = g.qmp()
        q.cmd("migrate", uri="file:" + file)
        expect("status", q.cmd("query-migrate"), {"status": "completed"})
        expect("run state", q.cmd("query-status")["running"], False)
        text += g.text()
        q.cmd("quit")
        g.proc.wait(30)
        g = linux(bed, "-incoming", "file:" + file, *args)
    text += g.wait("ALL TURNS DONE", 180)
    g.finish(60)
    for i in range(TURNS):
        expect_in("turn", turn(i), text)
    expect("turns", len(re.findall("^TURN", text, re.M)), TURNS)
    expect("complaints of the kernel", re.findall("TROUBLE .*", text), [])


def test_two_processors_go_on_from_a_file(bed):
    moved(bed, bed.path("state"), "-smp", "2", "-cpu", "max")


main(globals())
