#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""VHD, VDI, VMDK, VHDX and qcow version 1: with qemu-img and qemu-io, both ways, and broken ones.

  KEEL_FORMATS_SEED=N   the seed of the random writes
"""
import json
import os
import random
import shutil
import struct
import subprocess

from keel import Failure, expect, expect_in, main

TOOLS = os.path.join(os.path.abspath(os.environ.get("KEEL_BUILD", "build")), "tools")
IMG, IO = (os.path.join(TOOLS, "keel-" + n) for n in ("img", "io"))
WRITTEN = [("vpc", ""), ("vpc", "subformat=fixed"), ("vpc", "force_size=on"), ("vdi", ""),
           ("vdi", "static=on"), ("vmdk", ""), ("vmdk", "zeroed_grain=on"),
           ("vmdk", "subformat=monolithicFlat"), ("vmdk", "subformat=twoGbMaxExtentFlat"),
           ("vmdk", "subformat=streamOptimized")]
READ = WRITTEN + [("vmdk", "subformat=twoGbMaxExtentSparse"), ("vhdx", ""),
                  ("vhdx", "subformat=fixed"), ("vhdx", "block_size=1M"), ("qcow", "")]
SIZE = 12 << 20


def run(*args, rc=0):
    p = subprocess.run(args, capture_output=True, text=True, timeout=120)
    if rc is not None and p.returncode != rc:
        raise Failure("%s: exit status %d, wanted %d\n%s%s"
                      % (" ".join(args)[:2000], p.returncode, rc, p.stdout, p.stderr))
    return p.stdout + p.stderr


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)
    return path


def sample(seed=1):
    r, data = random.Random(seed), bytearray(SIZE)
    for _ in range(20):
        at, n = r.randrange(SIZE // 512) * 512, r.randrange(1, 300) * 512
        data[at:at + n] = r.choice([r.randbytes(4096), b"text " * 820])[:4096] * (n // 4096 + 1)
    return bytes(data[:SIZE])


def holds(path, data):
    got = read(path)
    return got[:len(data)] == data and not any(got[len(data):])


def opts(o):
    return ["-o", o] if o else []


def fresh(bed, name):
    """A directory of its own, since some images are several files."""
    d = bed.path(name)
    shutil.rmtree(d, ignore_errors=True)
    os.mkdir(d)
    return os.path.join(d, "i.img")


def test_formats_read_what_qemu_writes(bed):
    if not shutil.which("qemu-img"):
        return
    data = sample()
    src, out = write(bed.path("src"), data), bed.path("out")
    for f, o in READ:
        i = fresh(bed, "d")
        run("qemu-img", "convert", "-f", "raw", "-O", f, *opts(o), src, i)
        run(IMG, "convert", "-f", f, "-O", "raw", i, out)
        expect("%s %s" % (f, o), holds(out, data), True)
        expect("probed", json.loads(run(IMG, "info", "--output=json", i))["format"],
               f if o != "subformat=fixed" or f != "vpc" else "raw")
        run(IMG, "check", "-f", f, i, rc=63 if f == "qcow" else 0)
    i = fresh(bed, "d")
    if subprocess.run(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow", src, i],
                      capture_output=True).returncode == 0:
        run(IMG, "convert", "-f", "qcow", "-O", "raw", i, out)
        expect("packed qcow", holds(out, data), True)


def test_formats_qemu_reads_what_keel_writes(bed):
    data = sample(2)
    src, out = write(bed.path("src"), data), bed.path("out")
    for f, o in WRITTEN:
        i = fresh(bed, "d")
        run(IMG, "convert", "-f", "raw", "-O", f, *opts(o), src, i)
        run(IMG, "check", "-q", "-f", f, i)
        for tool in (IMG, "qemu-img") if shutil.which("qemu-img") else (IMG,):
            run(tool, "convert", "-f", f, "-O", "raw", i, out)
            expect("%s %s by %s" % (f, o, tool), holds(out, data), True)
        if shutil.which("qemu-img") and f != "vpc":
            run("qemu-img", "check", "-q", "-f", f, i)


def test_formats_create_and_info_say_what_qemu_says(bed):
    if not shutil.which("qemu-img"):
        return
    for f, o in WRITTEN:
        said = []
        for tool in (IMG, "qemu-img"):
            i = fresh(bed, "d")
            said.append(run(tool, "create", "-f", f, *opts(o), i, "100M"))
        expect("create %s %s" % (f, o), said[0], said[1])
        if "stream" in o:
            continue
        infos = [json.loads(run(tool, "info", "--output=json", "-f", f, i))
                 for tool in (IMG, "qemu-img")]
        expect("info %s %s" % (f, o), *infos)
        expect("info %s %s" % (f, o), *(run(tool, "info", "-f", f, i)
                                        for tool in (IMG, "qemu-img")))


def test_formats_random_writes_by_turns(bed):
    if not shutil.which("qemu-io"):
        return
    r = random.Random(int(os.environ.get("KEEL_FORMATS_SEED", "1")))
    for f, o in WRITTEN[:-1]:
        i, d = fresh(bed, "d"), bytearray(SIZE)
        run(r.choice([IMG, "qemu-img"]), "create", "-q", "-f", f, *opts(o), i, str(SIZE))
        for turn in range(4):
            tool, commands = [IO, "qemu-io"][turn % 2], []
            for _ in range(8):
                at, v = r.randrange(SIZE // 512) * 512, r.randrange(1, 256)
                n = min(r.choice([512, 4096, 65536, 1 << 20, 3 << 20]), SIZE - at)
                zero = r.random() < .25
                commands += ["-c", "write -q %s %d %d" % ("-z" if zero else "-P %d" % v, at, n)]
                d[at:at + n] = bytes([0 if zero else v]) * n
            out = run(tool, "-f", f, *commands, i)
            expect("%s %s by %s" % (f, o, tool), out, "")
        for tool in (IMG, "qemu-img"):
            run(tool, "convert", "-f", f, "-O", "raw", i, bed.path("out"))
            expect("%s %s by %s" % (f, o, tool), holds(bed.path("out"), bytes(d)), True)
            if tool == IMG or f != "vpc":
                run(tool, "check", "-q", "-f", f, i)


def test_formats_many_writes_at_once(bed):
    for f, o in WRITTEN[:-1]:
        i = fresh(bed, "d")
        run(IMG, "create", "-q", "-f", f, *opts(o), i, str(SIZE))
        writes = [c for k in range(60) for c in
                  ("-c", "aio_write -q -P %d %d 33k" % (k + 1, k * 99 * 1024))]
        reads = [c for k in range(60) for c in
                 ("-c", "read -q -P %d %d 33k" % (k + 1, k * 99 * 1024))]
        gaps = [c for k in range(60) for c in
                ("-c", "read -q -P 0 %d 66k" % (k * 99 * 1024 + 33 * 1024))]
        run(IO, "-f", f, *writes, "-c", "aio_flush", *reads, *gaps, i)
        run(IO, "-r", "-f", f, *reads, *gaps, i)
        run(IMG, "check", "-q", "-f", f, i)


def test_formats_backing_files_of_vmdk(bed):
    base, top = fresh(bed, "d"), os.path.join(bed.path("d"), "top.vmdk")
    run(IMG, "create", "-q", "-f", "vmdk", base, "4M")
    run(IO, "-f", "vmdk", "-c", "write -q -P 1 0 2M", base)
    run(IMG, "create", "-q", "-f", "vmdk", "-b", "i.img", "-F", "vmdk", top)
    run(IO, "-f", "vmdk", "-c", "write -q -P 2 100k 1k", "-c", "write -q -z 1M 64k", top)
    tools = [(IO, ["-r"])] + ([("qemu-io", ["-r"])] if shutil.which("qemu-io") else [])
    for tool, args in tools:
        out = run(tool, *args, "-f", "vmdk", "-c", "read -q -P 1 0 100k", "-c",
                  "read -q -P 2 100k 1k", "-c", "read -q -P 1 101k 900k", "-c",
                  "read -q -P 0 1M 64k", "-c", "read -q -P 0 2M 2M", top)
        expect(tool, out, "")


def vhd_child(parent, size):
    """A differencing VHD: the first block half the child's, by its bitmap."""
    def summed(b, at):
        s = ~sum(b) & 0xffffffff
        return b[:at] + struct.pack(">I", s) + b[at + 4:]

    footer = struct.pack(">8sIIQI4sI4sQQHBBII16sB427x", b"conectix", 2, 0x10000, 512, 0, b"win ",
                         0, b"Wi2k", size, size, 100, 4, 17, 4, 0, bytes(range(16)), 0)
    name = parent.encode("utf-16-le")
    locator = struct.pack(">4sIIIQ", b"W2ru", 512, len(name), 0, 2048)
    head = struct.pack(">8sQQIIII16sII512s", b"cxsparse", (1 << 64) - 1, 1536, 0x10000,
                       (size + (2 << 20) - 1) >> 21, 2 << 20, 0, bytes(16), 0, 0,
                       parent.encode("utf-16-be")) + locator
    head += bytes(1024 - len(head))
    bat = struct.pack(">I", 5).ljust(512, b"\xff")
    bitmap = b"\xff" * 256 + bytes(256)
    footer = summed(footer, 64)
    return (footer + summed(head, 36) + bat + name.ljust(512, b"\0") + bitmap + b"\x22" * (2 << 20)
            + footer)


def test_formats_differencing_vhd(bed):
    base, top = fresh(bed, "d"), os.path.join(bed.path("d"), "top.vhd")
    run(IMG, "create", "-q", "-f", "vpc", "-o", "force_size=on", base, "4M")
    run(IO, "-f", "vpc", "-c", "write -q -P 0x11 0 4M", base)
    write(top, vhd_child(".\\i.img", 4 << 20))
    expect_in("info", "backing file: i.img", run(IMG, "info", "-f", "vpc", top))
    run(IO, "-r", "-f", "vpc", "-c", "read -P 0x22 0 1M", "-c", "read -P 0x11 1M 3M", top)
    # a write into the half that is the parent's fills the block; one into the other stays in place
    run(IO, "-f", "vpc", "-c", "aio_write -q -P 0x33 1M 4k", "-c", "aio_write -q -P 0x44 0 4k",
        "-c", "aio_write -q -P 0x55 3M 4k", "-c", "aio_flush", top)
    run(IO, "-r", "-f", "vpc", "-c", "read -P 0x44 0 4k", "-c", "read -P 0x22 4k 1020k", "-c",
        "read -P 0x33 1M 4k", "-c", "read -P 0x11 1028k 2044k", "-c", "read -P 0x55 3M 4k", "-c",
        "read -P 0x11 3076k 1020k", top)
    run(IMG, "check", "-q", "-f", "vpc", top)


def test_formats_a_guessed_image_names_no_files(bed):
    i = fresh(bed, "d")
    run(IMG, "create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", i, "1M")
    for args, why in ((("-drive", "file=%s,if=ide" % i), "a guest can write such a header"),
                      (("-drive", "file=%s,if=ide,format=vmdk" % i), None)):
        if why:
            expect_in(why, why, bed.refused("-accel", "qtest", "-machine", "pc", "-nodefaults",
                                            "-display", "none", *args))
        else:
            p = bed.machine(*args)
            q = p.qmp()
            expect("drv", q.cmd("query-block")[0]["inserted"]["drv"], "vmdk")
            q.cmd("quit")
            p.wait()


def test_formats_say_what_they_do_not_have(bed):
    i = fresh(bed, "d")
    for f, args, why in (("vhdx", (), "reads it but makes none"), ("qcow", (), "makes none"),
                         ("vmdk", ("-o", "subformat=twoGbMaxExtentSparse"), "reads it but makes"),
                         ("vmdk", ("-o", "subformat=x"), "unknown"),
                         ("vmdk", ("-o", "adapter_type=x"), "Unknown adapter type"),
                         ("vdi", ("-o", "subformat=fixed"), "Invalid parameter 'subformat'"),
                         ("vdi", ("-o", "static=x"), "expects 'on' or 'off'"),
                         ("vpc", ("-b", "x", "-F", "vpc"), "Backing file not supported"),
                         ("qed", (), "does not have it yet")):
        expect_in(f, why, run(IMG, "create", "-q", "-f", f, *args, i, "1M", rc=1))
    for size, f in (("3T", "vpc"), ("17T", "vdi"), ("3T", "vmdk")):
        expect_in(f, "too large", run(IMG, "create", "-q", "-f", f, i, size, rc=1))
    expect_in("resize", "cannot be resized",
              run(IMG, "create", "-q", "-f", "vdi", i, "1M") +
              run(IMG, "resize", "-f", "vdi", i, "2M", rc=1))


def test_formats_broken_images_are_refused_or_found(bed):
    i = fresh(bed, "d")

    def broken(f, at, data, why, rc=1, o=""):
        run(IMG, "create", "-q", "-f", f, *opts(o), i, "8M")
        run(IO, "-f", f, "-c", "write -q 0 64k", "-c", "write -q 5M 64k", i)
        with open(i, "r+b") as h:
            h.seek(at)
            h.write(data)
        expect_in("%s at %d" % (f, at), why, run(IMG, "check", "-f", f, i, rc=rc))

    broken("vdi", 64, b"x", "not one of version 1")
    broken("vdi", 384, b"\xff\xff\xff\xff", "lies over something else")
    broken("vdi", 376, struct.pack("<I", 3 << 20), "blocks of this size")
    broken("vdi", 512, struct.pack("<I", 1), "two blocks share bytes", rc=2)
    broken("vdi", 512, struct.pack("<I", 0xfffffff0), "absurd")
    broken("vmdk", 12, b"\xff" * 8, "capacity")
    broken("vmdk", 73, b"\r\n\r\n", "transfer as text")
    broken("vmdk", 56, struct.pack("<Q", 1 << 40), "lies nowhere")
    broken("vpc", 512 + 24, b"\xff", "header of a dynamic disk is damaged")
    broken("vpc", 1536, struct.pack(">I", 1), "no place in the file", rc=2)
    write(i, b"vhdxfile" + bytes(1 << 20))
    expect_in("vhdx", "neither header is whole", run(IMG, "info", i, rc=1))
    write(i, b"QFI\xfb\0\0\0\1" + b"\xff" * 504)
    expect_in("qcow", "qcow:", run(IMG, "info", i, rc=1))
    if shutil.which("qemu-img"):
        run("qemu-img", "create", "-q", "-f", "vhdx", i, "8M")
        expect_in("vhdx", "does not write it", run(IO, "-f", "vhdx", "-c", "l", i, rc=1))


def crc32c(data):
    crc = 0xffffffff
    for b in data:
        crc ^= b
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def make_dirty(path):
    """What qemu-io, killed before it closed the image, wrote to the log shall be replayed: puts the
    log's id back into the header and takes the block table out of the file."""
    data = bytearray(read(path))
    heads = {struct.unpack_from("<Q", data, at + 8)[0]: at for at in (65536, 131072)}
    at, log = heads[max(heads)], struct.unpack_from("<Q", data, heads[max(heads)] + 72)[0]
    last = max(x for x in range(log, log + (1 << 20), 4096) if data[x:x + 4] == b"loge")
    data[at + 48:at + 64] = data[last + 32:last + 48]  # each has an id of its own
    data[at + 4:at + 8] = bytes(4)
    struct.pack_into("<I", data, at + 4, crc32c(data[at:at + 4096]))
    for i in range(struct.unpack_from("<I", data, 196616)[0]):
        ident, place = data[196624 + 32 * i:196628 + 32 * i], 196640 + 32 * i
        if ident == b"\x66\x77\xc2\x2d":
            bat = struct.unpack_from("<Q", data, place)[0]
            data[bat:bat + 4096] = bytes(4096)
    write(path, data)


def test_vhdx_log_of_qemu_is_replayed_as_qemu_does(bed):
    if not shutil.which("qemu-io"):
        return
    i, j, out, ref = bed.path("i"), bed.path("j"), bed.path("out"), bed.path("ref")
    run("qemu-img", "create", "-q", "-f", "vhdx", "-o", "block_size=1M", i, "12M")
    run("qemu-io", "-f", "vhdx", "-c", "write -P 5 0 64k", "-c", "write -P 6 3M 2M",
        "-c", "write -P 7 9M 512", "-c", "abort", i, rc=-6)
    make_dirty(i)
    before = read(i)
    shutil.copy(i, j)
    run("qemu-img", "check", "-r", "all", "-f", "vhdx", j, rc=None)
    run("qemu-img", "convert", "-f", "vhdx", "-O", "raw", j, ref)
    run(IMG, "convert", "-f", "vhdx", "-O", "raw", i, out)
    expect("the disk as qemu-img replays it", read(out) == read(ref), True)
    expect("data are there", read(out)[3 << 20], 6)
    expect("the file is as it was", read(i) == before, True)
    expect_in("check", "No errors", run(IMG, "check", "-f", "vhdx", i))
    with open(i, "r+b") as f:
        for at in range(0, 1 << 20, 4096):
            f.seek((1 << 20) + at + 100)
            f.write(b"x")
    expect_in("a broken log", "holds no sequence of whole entries", run(IMG, "info", i, rc=1))


if __name__ == "__main__":
    main(globals())
