#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A guest that runs garbage, with every device there is, does Keel no harm.

The firmware is garbage.S: after each reset it runs other code, random bytes or random instructions that
mostly are valid, in another mode. $KEEL_GARBAGE_SECONDS says how long (10, half of it on each engine),
$KEEL_SEED chooses other instructions.
"""
import os
import random
import struct
import subprocess
import time

from keel import Failure, expect, main

HERE = os.path.dirname(os.path.abspath(__file__))
SECONDS = float(os.environ.get("KEEL_GARBAGE_SECONDS", "10"))

PORTS = [0xcf8, 0xcfc, 0xcf9, 0x1f0, 0x1f6, 0x1f7, 0x170, 0x177, 0x3f2, 0x3f4, 0x3f5, 0x60, 0x64, 0x20, 0x21,
         0xa0, 0xa1, 0x4d0, 0x40, 0x43, 0x61, 0x70, 0x71, 0x510, 0x511, 0x514, 0x518, 0x3c0, 0x3c4, 0x3c5,
         0x3ce, 0x3cf, 0x3d4, 0x3d5, 0x1ce, 0x1cf, 0x3f8, 0x3fb, 0x92, 0xb2, 0x00, 0x08, 0x0b, 0x81, 0x402,
         0xb000, 0xafe0, 0xc000, 0x604]
ADDRESSES = [0xfee00000, 0xfec00000, 0xfed00000, 0xa0000, 0xb8000, 0xc0000, 0xe0000, 0xfffc0000, 0x100000]
MODRM = (list(range(0x00, 0x40)) + [0x63, 0x69, 0x6b, 0x80, 0x81, 0x83] + list(range(0x84, 0x8f)) +
         [0xc0, 0xc1, 0xc6, 0xc7] + list(range(0xd0, 0xd4)) + list(range(0xd8, 0xe0)) +
         [0xf6, 0xf7, 0xfe, 0xff])
PLAIN = ([0x27, 0x2f, 0x37, 0x3f, 0x98, 0x99, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xf5, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc,
          0xfd, 0xc9, 0xd7, 0xcc, 0xce, 0xcf, 0xc3, 0xcb, 0xf4, 0x60, 0x61] + list(range(0x40, 0x60)) +
         list(range(0x6c, 0x70)) + list(range(0xa4, 0xa8)) + list(range(0xaa, 0xb0)))


class Instructions:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def some(self, n):
        return bytes(self.r.choices(range(256), k=n))

    def modrm(self):
        r = self.r
        if r.random() < 0.4:
            return bytes([0xc0 | r.randrange(64)]) + self.some(4)
        m = r.choice([0, 0x40, 0x80]) | r.randrange(64)
        return bytes([m]) + self.some(1 if m & 7 == 4 else 0) + self.some([0, 1, 4][m >> 6]) + self.some(
            r.choice([0, 0, 1, 4]))

    def prefixes(self):
        out = b""
        while self.r.random() < 0.25:
            out += bytes([self.r.choice([0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x64, 0x65, 0x36])])
        if self.r.random() < 0.2:
            out += bytes([self.r.randrange(0x40, 0x50)])
        return out

    def one(self):
        r = self.r
        kind = r.randrange(20)
        if kind < 6:
            return self.prefixes() + bytes([r.choice(MODRM)]) + self.modrm()
        if kind < 8:
            return self.prefixes() + bytes([r.choice(PLAIN)])
        if kind < 12:
            return self.prefixes() + bytes([0x0f, r.randrange(256)]) + self.modrm()
        if kind == 12:
            return self.prefixes() + bytes([0x0f, r.choice([0x38, 0x3a]), r.randrange(256)]) + self.modrm()
        if kind == 13:
            return bytes([0xc5, r.randrange(256), r.randrange(256)]) + self.modrm()
        if kind == 14:
            return bytes([0xc4, r.randrange(0xe0) | r.choice([1, 2, 3]), r.randrange(256),
                          r.randrange(256)]) + self.modrm()
        if kind == 15:  # mov dx, port; in or out
            return struct.pack("<BBH", 0x66, 0xba, r.choice(PORTS) + r.choice([0, 0, 1, 4])) + bytes(
                [r.choice([0xec, 0xed, 0xee, 0xef, 0x6c, 0x6d, 0x6e, 0x6f])])
        if kind == 16:  # a configuration access of PCI: an address, then data
            return (b"\x66\xba\xf8\x0c\xb8" + struct.pack("<I", 0x80000000 | r.randrange(16) << 11 |
                                                            r.randrange(64) << 2) +
                    b"\xef\x66\xba\xfc\x0c" + (b"\xb8" + self.some(4) if r.random() < 0.5 else b"") +
                    r.choice([b"\xed", b"\xef", b"\xee"]))
        if kind == 17:  # a device's memory
            at = r.choice(ADDRESSES) + r.randrange(0, 0x1000, 4) if r.random() < 0.7 else r.randrange(1 << 32)
            return bytes([0xbf]) + struct.pack("<I", at) + r.choice([b"\x89\x07", b"\x8b\x07", b"\x01\x07",
                                                                      b"\xf3\xa5", b"\xf3\xab"])
        if kind == 18:  # a model-specific register
            return bytes([0xb9]) + struct.pack("<I", r.choice([0x10, 0x1b, 0x277, 0x2ff, 0x3a, 0x6e0, 0xc0000080,
                                                                0xc0000081, 0xc0000100, 0x800 + r.randrange(64)])) + (
                r.choice([b"\x0f\x30", b"\x0f\x32"]))
        return bytes([r.choice([0x70 + r.randrange(16), 0xeb, 0xe2, 0xe3])]) + bytes([r.randrange(40)])

    def pool(self, size):
        out = b""
        parts = []
        n = 0
        while n < size:
            parts.append(self.one())
            n += len(parts[-1])
        return out.join(parts)[:size]


def firmware(bed, seed):
    obj, raw = bed.path("garbage.o"), bed.path("garbage.raw")
    subprocess.run(["gcc", "-m32", "-c", "-o", obj, HERE + "/garbage.S"], check=True)
    subprocess.run(["ld", "-m", "elf_i386", "-Ttext=0", "--oformat=binary", "-e", "start", "-o", raw, obj],
                   check=True)
    with open(raw, "rb") as f:
        code = f.read()
    expect("size of the code", len(code), 0x10000)
    return bed.file("garbage.bin", Instructions(seed).pool(0x30000) + code)


def devices(bed):
    out = ["-vga", random.choice(["std", "cirrus"]), "-serial", "null", "-device", "isa-debugcon,iobase=0x402",
           "-device", "pc-testdev", "-netdev", "hubport,id=h,hubid=0"]
    for i, card in enumerate(["e1000", "rtl8139", "virtio-net-pci"]):
        out += ["-netdev", "user,id=n%d,restrict=on" % i, "-device", "%s,netdev=n%d,romfile=" % (card, i)]
    for i, spec in enumerate(["if=floppy", "if=ide", "if=none,id=nvme", "if=none,id=ahci", "if=none,id=virtio"]):
        image = bed.file("disk%d" % i, bytes(1474560))
        out += ["-drive", "format=raw,file=%s,%s" % (image, spec)]
    return out + [
        "-device", "nvme,drive=nvme,serial=1", "-device", "ahci,id=a", "-device", "ide-hd,drive=ahci,bus=a.0",
        "-device", "virtio-blk-pci,drive=virtio"]


def suffers(bed, engine, seconds):
    seed = os.environ.get("KEEL_SEED", "1")
    random.seed(seed)
    p = bed.start("-M", "pc", "-accel", "tcg,keel-engine=" + engine, "-cpu", "max", "-m", "32", "-nodefaults",
                  "-smp", "2", "-display", "none", "-no-shutdown", "-bios", firmware(bed, seed), "-qmp",
                  "unix:%s,server=on,wait=off" % bed.path("qmp"), *devices(bed))
    q, end, rounds = p.qmp(), time.time() + seconds, 0
    q.sock.settimeout(60)
    while time.time() < end:
        time.sleep(0.05 + 0.25 * random.random())
        if p.proc.poll() is not None:
            raise Failure("seed %s: keel ended with %d: %s" % (seed, p.proc.returncode, p.output()[-3000:]))
        q.hmp("info registers")
        q.cmd("system_reset")
        if not q.cmd("query-status")["running"]:
            q.cmd("cont")
        q.events.clear()
        rounds += 1
    q.cmd("quit")
    code = p.proc.wait(60)
    if code:
        raise Failure("seed %s: exit code %d: %s" % (seed, code, p.output()[-3000:]))
    print("# %d rounds" % rounds)


def test_garbage_does_no_harm(bed):
    suffers(bed, "jit", SECONDS / 2)


def test_garbage_does_no_harm_on_the_interpreter(bed):
    suffers(bed, "interp", SECONDS / 2)


main(globals())
