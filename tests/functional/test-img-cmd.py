#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""keel-img's commands option by option, beside qemu-img's where there is one."""
import json
import os
import re
import shutil
import subprocess
import time

from keel import Failure, expect, expect_in, main, run_tool as run

BUILD = os.environ.get("KEEL_BUILD", os.path.join(os.path.dirname(__file__), "../../build"))
IMG = os.path.join(BUILD, "tools/keel-img")
IO = os.path.join(BUILD, "tools/keel-io")
MIB = 1 << 20
COMMANDS = ("amend bench bitmap check commit compare convert create dd info map measure rebase "
            "resize snapshot").split()


def tools():
    """Keel's, and qemu's as the second opinion."""
    return [IMG] + (["qemu-img"] if shutil.which("qemu-img") else [])


def io(f, *commands, fmt="qcow2"):
    out = run(IO, "-f", fmt, *[a for c in commands for a in ("-c", c)], f)
    expect("keel-io " + out, "ailed" in out, False)


def read(f):
    with open(f, "rb") as file:
        return file.read()


def layers(bed, n, size="2M"):
    """A chain of n images, written by layer: [lowest, ...]."""
    files = [bed.path("l%d.qcow2" % i) for i in range(n)]
    for i, f in enumerate(files):
        below = ["-b", files[i - 1], "-F", "qcow2"] if i else []
        run(IMG, "create", "-q", "-f", "qcow2", *below, f, size)
        io(f, "write -P %d %d 64k" % (i + 1, i * 65536), "write -P %d 512k 64k" % (i + 17))
    return files


def test_cmd_what_a_command_does_not_have_is_refused_by_name(bed):
    f = bed.path("a.qcow2")
    run(IMG, "create", "-q", "-f", "qcow2", f, "1M")
    for command, options in (("info", ("--shrink", "--bitmaps", "--salvage", "-W", "-c")),
                             ("resize", ("--output=json", "--backing-chain", "-U")),
                             ("map", ("--bitmaps", "--repair=all", "-p")),
                             ("create", ("--image-opts", "--salvage", "-U")),
                             ("amend", ("--shrink", "--bitmaps")), ("dd", ("-q", "--size=1"))):
        for o in options:
            expect_in("%s %s" % (command, o), o.lstrip("-").split("=")[0],
                      run(IMG, command, o, f, rc=1))
    for command in COMMANDS:
        expect_in("help", command, run(IMG, command, "--help"))


def test_cmd_convert_joins_several_sources(bed):
    a, b, c = bed.file("a", b"a" * (MIB + 512)), bed.file("b", b"b" * 65536), bed.path("c")
    for tool in tools():
        for fmt in ("raw", "qcow2"):
            run(tool, "convert", "-f", "raw", "-O", fmt, a, b, a, c)
            run(IMG, "convert", "-f", fmt, "-O", "raw", c, c + ".raw")
            expect(tool, read(c + ".raw") == read(a) + read(b) + read(a), True)
    expect_in("backing", "concatenating", run(IMG, "convert", "-f", "raw", "-O", "qcow2", "-B", a,
                                              "-F", "raw", a, b, c, rc=1))


def test_cmd_convert_to_image_opts_and_at_a_rate(bed):
    a, c = bed.file("a", os.urandom(MIB)), bed.path("c.qcow2")
    for tool in tools():
        run(IMG, "create", "-q", "-f", "qcow2", c, "1M")
        run(tool, "convert", "-n", "-f", "raw", "--target-image-opts", a,
            "driver=qcow2,file.filename=" + c)
        run(IMG, "compare", "-q", "-f", "raw", "-F", "qcow2", a, c)
        expect_in("without -n", "requires use of -n",
                  run(tool, "convert", "-f", "raw", "--target-image-opts", a, c, rc=1))
        expect_in("zero", "requires use of -n",
                  run(tool, "convert", "-f", "raw", "--target-is-zero", a, c, rc=1))
    run(IMG, "convert", "--image-opts", "driver=raw,file.filename=" + a, c)
    expect("by options", read(c) == read(a), True)
    start = time.time()
    run(IMG, "convert", "-f", "raw", "-r", "2M", a, c)
    expect("rate", time.time() - start > .4, True)


def test_cmd_convert_salvages_what_can_be_read(bed):
    f, out = bed.path("a.qcow2"), bed.path("out")
    run(IMG, "create", "-q", "-f", "qcow2", f, "1M")
    io(f, "write -P 1 0 64k", "write -c -P 2 64k 64k", "write -P 3 128k 64k")
    run_ = [r for r in json.loads(run(IMG, "map", "--output=json", f)) if r["start"] == 65536][0]
    expect("compressed", "offset" in run_, False)
    data = bytearray(read(f))
    at = data.index(b"\x01" * 65536) + 65536
    data[at:at + 512] = b"\xff" * 512  # its packed form lies behind the first cluster
    open(f, "wb").write(data)
    for tool in tools():
        run(tool, "convert", "-f", "qcow2", "-O", "raw", f, out, rc=1)
        said = run(tool, "convert", "--salvage", "-f", "qcow2", "-O", "raw", f, out)
        expect_in("warning", "warning: error while reading offset 65536", said)
        got = read(out)
        expect(tool, (got[:65536] == b"\1" * 65536, got[65536:131072] == bytes(65536),
                      got[131072:196608] == b"\3" * 65536), (True, True, True))
        expect("quiet", run(tool, "convert", "-q", "--salvage", "-f", "qcow2", "-O", "raw", f, out),
               "")


def test_cmd_commit_goes_as_far_down_as_asked(bed):
    for tool in tools():
        low, mid, top = layers(bed, 3)
        want, before = bed.path("want"), read(top)
        run(IMG, "convert", "-f", "qcow2", "-O", "raw", top, want)
        expect_in("not there", "Did not find 'x'", run(tool, "commit", "-b", "x", top, rc=1))
        expect("said", run(tool, "commit", "-b", low, "-f", "qcow2", top), "Image committed.\n")
        run(IMG, "compare", "-q", "-f", "raw", "-F", "qcow2", want, low)
        expect("top is as it was", read(top) == before, True)
        run(IMG, "compare", "-q", "-f", "raw", "-F", "qcow2", want, top)
        for f in (low, mid, top):
            run(IMG, "check", "-q", f)


def test_cmd_snapshots_by_id_and_by_name(bed):
    f, out = bed.path("a.qcow2"), bed.path("out")
    run(IMG, "create", "-q", "-f", "qcow2", f, "1M")
    for i, name in enumerate(("2", "one"), 1):
        io(f, "write -P %d 0 64k" % i)
        run(IMG, "snapshot", "-c", name, f)
    for tool in tools():
        for l, byte in (("one", 2), ("snapshot.id=2", 2), ("snapshot.name=2", 1),
                        ("snapshot.name=one", 2), ("snapshot.id=1,snapshot.name=2", 1)):
            run(tool, "convert", "-l", l, "-f", "qcow2", "-O", "raw", f, out)
            expect("%s -l %s" % (tool, l), read(out)[0], byte)
        for l in ("snapshot.id=one", "none", "snapshot.id=1,snapshot.name=one"):
            run(tool, "convert", "-l", l, "-f", "qcow2", "-O", "raw", f, out, rc=1)


def test_cmd_compare_says_what_differs_and_strictly(bed):
    a, b, c, d = (bed.path(n) for n in ("a.qcow2", "b.qcow2", "c.qcow2", "d.qcow2"))
    for f, size, commands in ((a, "1M", ("write -P 1 64k 64k",)),
                              (b, "1M", ("write -P 1 64k 64k", "write -P 0 256k 64k")),
                              (c, "2M", ("write -P 1 64k 64k",)),
                              (d, "2M", ("write -P 1 64k 64k", "write -P 5 1536k 512"))):
        run(IMG, "create", "-q", "-f", "qcow2", f, size)
        io(f, *commands)
    for args in ((a, a), (a, b), ("-s", a, b), (a, c), ("-s", a, c), (a, d), (d, a), (b, d), (c, d),
                 ("-s", c, d), ("-q", "-s", a, b), ("-q", a, d)):
        said = []
        for tool in tools():
            p = subprocess.run([tool, "compare", *args], capture_output=True, text=True)
            said.append((p.returncode, re.sub("Offset [0-9]+", "Offset", p.stdout)))
        expect(" ".join(args), said[0], said[-1])  # qemu's offset may be one of equal status
    expect("no file", subprocess.run([IMG, "compare", a, "/none"], capture_output=True).returncode, 2)


def test_cmd_measure_knows_every_format_that_qemu_does(bed):
    f, luks = bed.path("a.qcow2"), ["--object", "secret,id=s,data=x"]
    run(IMG, "create", "-q", "-f", "qcow2", f, "64M")
    io(f, "write 0 3M")
    run(IMG, "snapshot", "-c", "s", f)
    io(f, "write 10M 5M")
    for args in (("-O", "qcow2", "-l", "s", f), ("-O", "raw", f), ("-O", "qcow2", f),
                 ("-O", "qcow2", "-o", "extended_l2=on,cluster_size=16k", f),
                 ("-O", "qcow2", "-o", "refcount_bits=1,cluster_size=512", "--size", "3G")):
        said = [json.loads(run(t, "measure", "--output=json", *args)) for t in tools()]
        expect(" ".join(args), said[0], said[-1])
    for args, extra in ((("-O", "luks", "-o", "key-secret=s"), 2068480),
                        (("-O", "luks", "-o", "key-secret=s,cipher-alg=aes-128"), 1052672),
                        (("-O", "qcow2", "-o", "encrypt.format=luks,encrypt.key-secret=s"),
                         393216 + (2068480 + 65535) // 65536 * 65536)):
        said = json.loads(run(IMG, "measure", *luks, "--output=json", "--size", "1G", *args))
        expect(" ".join(args), said["fully-allocated"], (1 << 30) + extra)
    expect_in("vdi", "does not support size measurement",
              run(IMG, "measure", "-O", "vdi", "--size", "1G", rc=1))


def test_cmd_dd_copies_blocks_of_any_size(bed):
    a = bed.file("a", os.urandom(5000))
    for args in ((), ("bs=7", "count=9"), ("bs=1000", "skip=2"), ("bs=4k", "skip=1"), ("skip=20",)):
        outs = []
        for tool in tools():
            out = bed.path("out")
            if os.path.exists(out):
                os.unlink(out)
            rc = subprocess.run([tool, "dd", "-f", "raw", "-O", "raw", *args, "if=" + a,
                                 "of=" + out], capture_output=True).returncode
            outs.append((rc, read(out) if os.path.exists(out) else None))
        if len(outs) == 2:
            expect("dd %s" % (args,), [(rc, d and len(d)) for rc, d in outs[:1]],
                   [(rc, d and len(d)) for rc, d in outs[1:]])
            expect("dd %s" % (args,), outs[0] == outs[1], True)
    # dd(1) counts what it copies, qemu-img what it skips as well
    run(IMG, "dd", "-f", "raw", "-O", "raw", "bs=512", "skip=3", "count=2", "if=" + a, "of=" + out)
    expect("skip and count", read(out) == read(a)[1536:2560], True)


if __name__ == "__main__":
    main(globals())
