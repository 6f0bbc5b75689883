#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Firmware, boot loader, memory test and Linux on Keel's own processors, with both engines.

Screens that a test looked at stay in $KEEL_BUILD/out/.
"""
import hashlib
import os
import re
import shutil
import time

import initramfs
from guest import Failure, Guest, expect, expect_in, main
from screen import keep, wait_screen

GRUB = "/usr/lib/grub-rescue/grub-rescue-"
MEMTEST = "/usr/lib/memtest86+/memtest86+"

SCRIPT = """
echo "CPUS $(nproc)"
grep -m1 ^flags /proc/cpuinfo
i=0
while [ $i -lt 4 ]; do
  (seq 1 3000 | sha256sum; dd if=/dev/zero bs=64k count=40 2>/dev/null | md5sum) > /tmp/w$i &
  i=$((i+1))
done
wait
sort -u /tmp/w0 /tmp/w1 /tmp/w2 /tmp/w3 | tr '\\n' ' '
echo
dmesg | grep -E "traps:|Oops|BUG:|WARNING:|stalls on CPU" | sed 's/^/TROUBLE /'
echo BOOT DONE
poweroff -f
"""


def linux(bed, *args, cpus=1, accel=None, seconds=180, unpacked=False):
    kernel, release = initramfs.kernels()
    if unpacked:
        kernel = initramfs.unpack(kernel, bed.path("vmlinux"))
    initrd = initramfs.build(bed.path("initrd"), SCRIPT, release=release)
    more = {"accel": accel} if accel else {}
    g = Guest(bed, "-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0", "-smp",
              str(cpus), *args, **more)
    text = g.wait("BOOT DONE", seconds)
    g.finish(60)
    expect_in("processors", "CPUS %d" % cpus, text)
    expect("complaints of the kernel", re.findall("TROUBLE .*", text), [])
    sums = re.search(r"^([0-9a-f]{32})  - ([0-9a-f]{64})  - *\r?$|^([0-9a-f]{64})  - ([0-9a-f]{32})  - *\r?$",
                     text, re.M)
    if not sums:
        raise Failure("the four jobs disagree:\n" + text[-1500:])
    got = [s for s in sums.groups() if s]
    expect("the work's results", sorted(got), sorted(expected_work()))
    return text


def expected_work():
    numbers = "".join("%d\n" % n for n in range(1, 3001)).encode()
    return [hashlib.sha256(numbers).hexdigest(), hashlib.md5(b"\0" * (64 * 1024 * 40)).hexdigest()]


def test_linux_on_one_processor(bed):
    linux(bed)


def test_linux_on_four_processors(bed):
    linux(bed, cpus=4)


def test_linux_with_every_feature_and_little_room_for_its_code(bed):
    text = linux(bed, "-cpu", "max", cpus=2, accel="tcg,tb-size=4")
    flags = re.search("^flags.*", text, re.M)[0].split()
    for f in ["smep", "smap", "fsgsbase", "pcid", "xsave", "umip", "rdtscp"]:
        expect_in("flags", f, flags)


def test_linux_on_the_interpreter(bed):
    linux(bed, accel="tcg,keel-engine=interp", seconds=400, unpacked=True)


def test_linux_with_two_processors_on_one_thread(bed):
    linux(bed, cpus=2, accel="tcg,thread=single", seconds=300)


def test_firmware_says_what_is_missing(bed):
    g = Guest(bed, "-vga", "std", memory=64)
    text = wait_screen(g, "No bootable device")
    expect_in("banner", "SeaBIOS (version", text)
    keep(g, "seabios")


def copy(bed, name):
    """A copy that may be written."""
    return shutil.copy(GRUB + name, bed.path(name))


def grub(bed, name, *option):
    g = Guest(bed, "-vga", "std", *option, memory=64)
    wait_screen(g, r"GNU GRUB  version[^@]*Memtest86\+", 150)
    keep(g, "grub-" + name)


def test_grub_from_a_compact_disc(bed):
    grub(bed, "cdrom", "-cdrom", GRUB + "cdrom.iso")


def test_grub_from_a_disk(bed):
    grub(bed, "disk", "-drive", "format=raw,file=" + copy(bed, "usb.img"))


def test_grub_from_a_floppy(bed):
    grub(bed, "floppy", "-drive", "if=floppy,format=raw,file=" + copy(bed, "floppy.img"))


def memtest(bed, which):
    """Up to its fifth test, or with $KEEL_MEMTEST_PASS a whole pass, which takes many minutes."""
    full, start = os.environ.get("KEEL_MEMTEST_PASS"), time.time()
    g = Guest(bed, "-vga", "std", "-cdrom", MEMTEST + which + ".iso", memory=32)
    text = wait_screen(g, r"Pass: +[1-9]", 4 * 3600, every=5) if full else \
        wait_screen(g, r"Test #[4-9]|Pass: +[1-9]", 240)
    keep(g, "memtest-" + which)
    if full:
        print("# %s: %d s\n#   %s" % (which, time.time() - start, text.replace("\n", "\n#   ")))
    errors = re.search(r"Errors: +(\d+)", text)
    expect("errors", errors and errors[1], "0")


def test_memory_test_in_64_bit_code(bed):
    memtest(bed, "x64")


def test_memory_test_in_32_bit_code(bed):
    memtest(bed, "ia32")


# ---- reset and pause ----

def test_stop_cont_and_system_reset(bed):
    g = Guest(bed, "-vga", "std", memory=64)
    wait_screen(g, "SeaBIOS")
    q = g.qmp()
    q.cmd("stop")
    first = g.hmp("info registers")
    time.sleep(0.3)
    expect("registers while stopped", g.hmp("info registers"), first)
    q.cmd("cont")
    q.cmd("system_reset")
    wait_screen(g, "No bootable device")


main(globals())
