#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tests/bench/start.py [--keel FILE] [--runs N] - from exec to the guest's first instruction, to Linux's first
process, and memory.

The guest's first instructions leave by isa-debug-exit: what is measured is a whole process's life, so the
figure is an upper bound. Private memory is of a PC that halted, without guest RAM, the code cache's
pages and clean pages of files, which other processes may share, and of one that runs Debian's kernel with
busybox. User space is when that kernel's first process says so. Beside qemu-system-x86_64 -accel tcg, if it is there.
"""
import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../guest"))
import initramfs  # noqa: E402


def firmware(path, code):
    rom = bytearray(0x10000)
    rom[0xe000:0xe000 + len(code)] = code
    rom[0xfff0:0xfff3] = bytes.fromhex("e90de0")
    with open(path, "wb") as f:
        f.write(rom)
    return path


def machine(program, bios, *more):
    return [program, "-M", "pc", "-accel", "tcg", "-m", "512", "-nodefaults", "-display", "none", "-vga", "std",
            "-serial", "null", "-bios", bios, *more]


def start_ms(program, bios):
    t, before = time.perf_counter(), os.times()
    subprocess.run(machine(program, bios, "-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return 1000 * (time.perf_counter() - t), 1000 * cpu


def halted(program, bios):
    p = subprocess.Popen(machine(program, bios), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(2)
    return p


def booted(program, folder, line):
    """Debian's kernel with busybox, when init has said USER, or when it has run some programs and said READY."""
    script = "echo USER; for i in 1 2 3; do ls -lR /sys | sort | md5sum; done; echo READY; sleep 1000"
    kernel, release = initramfs.kernels()
    initrd = initramfs.build(folder + "/initrd", script, release=release)
    p = subprocess.Popen([program, "-M", "pc", "-accel", "tcg", "-m", "512", "-nodefaults", "-display", "none",
                          "-serial", "stdio", "-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0 quiet"],
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for said in p.stdout:
        if line in said:
            break
    return p


def boot_s(program, folder):
    t = time.perf_counter()
    p = booted(program, folder, b"USER")
    took = time.perf_counter() - t
    p.kill()
    p.wait()
    return took


def private_mib(p):
    """Ends p."""
    total, skip = 0, False
    for line in open("/proc/%d/smaps" % p.pid):
        m = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)
        if m:
            skip = int(m[2], 16) - int(m[1], 16) >= 256 << 20 or "/dev/zero" in line
        elif line.startswith("Private_Dirty:") and not skip:
            total += int(line.split()[1])
    p.kill()
    p.wait()
    return total / 1024


def main():
    ap = argparse.ArgumentParser(usage=__doc__)
    ap.add_argument("--keel", default="build/dm/keel")
    ap.add_argument("--runs", type=int, default=15)
    a = ap.parse_args()
    programs = [os.path.abspath(a.keel)] + [p for p in [shutil.which("qemu-system-x86_64")] if p]
    with tempfile.TemporaryDirectory() as d:
        leaves = firmware(d + "/leaves", bytes.fromhex("baf400 b001 ee f4"))
        halts = firmware(d + "/halts", bytes.fromhex("fa f4 ebfc"))
        times = {p: [] for p in programs}
        for _ in range(a.runs):
            for p in programs:
                times[p].append(start_ms(p, leaves))
        boots = {p: [] for p in programs}
        for _ in range(max(1, a.runs // 3)):
            for p in programs:
                boots[p].append(boot_s(p, d))
        print("%-20s %10s %10s %14s %12s %12s %14s" % ("", "median ms", "best ms", "processor ms", "private MiB",
                                                       "with Linux", "user space s"))
        for p in programs:
            wall, cpu = zip(*times[p])
            print("%-20s %10.1f %10.1f %14.1f %12.1f %12.1f %14.2f" % (
                os.path.basename(p), statistics.median(wall), min(wall), statistics.mean(cpu),
                private_mib(halted(p, halts)), private_mib(booted(p, d, b"READY")), statistics.median(boots[p])))


main()
