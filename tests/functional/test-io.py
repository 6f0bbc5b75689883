#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""keel-io's commands beside qemu-io's, --image-opts, keel-img bench."""
import os
import re
import shutil
import subprocess

from keel import Failure, expect, expect_in, main, run_tool

TOOLS = os.path.join(os.path.abspath(os.environ.get("KEEL_BUILD", "build")), "tools")
IMG, IO = (os.path.join(TOOLS, "keel-" + n) for n in ("img", "io"))


def run(*args, rc=0, stdin=""):
    return run_tool(*args, rc=rc, input=stdin)


def clean(text):
    """As image test suites do it: times and rates go."""
    return [re.sub(r"(\d+ ops); .*", r"\1", x) for x in text.split("\n")]


COMMANDS = (
    "write -P 1 0 64k", "write 100k 3k", "read -P 1 0 64k", "read -P 1 1k 300", "read -v 65530 20",
    "write -P 7 1000001 777", "read -P 7 1000001 777", "read -P 1 -s 4k -l 1k 0 64k",
    "read -P 2 0 4k", "readv -P 1 0 4k 8k 512", "writev -P 9 2M 4k 4k 64k", "readv -P 9 2M 72k", "map",
    "write -z 0 32k", "write -z -u 128k 128k", "read -P 0 0 32k", "discard 2M 64k", "flush",
    "write -f -P 3 3M 4k", "write -q -P 3 3M 4k", "read -P 3 -q 3M 4k", "length", "alloc 0 64k",
    "alloc 3M", "truncate 9M", "length", "bogus", "write -P 300 0 512")


def test_io_answers_like_qemu_io(bed):
    if not shutil.which("qemu-io"):
        return
    for fmt in ("raw", "qcow2"):
        said = []
        for tool in (IO, "qemu-io"):
            f = bed.path("i")
            run(IMG, "create", "-q", "-f", fmt, f, "8M")
            out = []
            for c in COMMANDS:
                text = run(tool, "-f", fmt, "-c", c, f, rc=None)
                if c in ("bogus", "write -P 300 0 512"):
                    text = ""  # the reason is worded in our own way
                out.append((c, clean(text)))
            said.append(out)
        for ours, theirs in zip(*said):
            if fmt == "raw" and ours[0] in ("map", "alloc 0 64k", "alloc 3M"):
                continue  # what a hole is depends on the file system
            expect("%s %s" % (fmt, ours[0]), ours[1], theirs[1])


# Wrong in one way or another, and what tests of images use besides: the same words on the same stream.
ANSWERS = (
    "read -x 0 1", "read -- -1 4k", "read 0 -1", "read", "read 0", "read 100M 4k", "read -P 1 0 4k",
    "read -P 1 -s 512 -l 512 0 4k", "read -P x 0 512", "write 1k 512 5", "write -u 0 64k",
    "write -n 0 64k", "write -zP 1 0 512", "write -r 0 4k", "write -s /none 0 512", "write -P 1",
    "aio_read -i 0 4k", "aio_write -i 0 4k", "aio_flush x", "alloc 0 3", "alloc x", "a 0", "nothing",
    "truncate", "truncate -m bad 3M", "truncate -m metadata 1M", "truncate -m metadata 9M",
    "discard 0", "sleep", "sleep 1", "sigraise", "sigraise 0", "abort x", "reopen", "reopen -r",
    "reopen -w", "reopen -r -w", "break a b", "remove_break b", "resume a", "open x", "open", "close",
    "flush x", "help x", "quit x", "multiwrite 0 1k", "h")


def test_io_answers_like_qemu_io_when_it_cannot_or_need_not(bed):
    if not shutil.which("qemu-io"):
        return
    for c in ANSWERS:
        said = []
        for tool in (IO, "qemu-io"):
            f = bed.path("i")
            run(IMG, "create", "-q", "-f", "qcow2", f, "4M")
            p = subprocess.run([tool, "-f", "qcow2", "-c", "write -P 7 1M 4k", "-c", c, "-c",
                                "length", f], capture_output=True, text=True)
            said.append((clean(p.stdout), p.stderr.replace("qemu-io", "keel-io"),
                         p.returncode if c != "help x" else None))
        expect(c, said[0], said[1])


def test_io_tells_machines_on_one_line(bed):
    f = bed.path("i")
    run(IMG, "create", "-q", "-f", "raw", f, "1M")
    for tool in (IO, "qemu-io") if shutil.which("qemu-io") else (IO,):
        for c in ("read -C 0 4k", "write -C 0 4k", "readv -C 0 4k", "writev -C 0 2k 2k"):
            out = run(tool, "-f", "raw", "-c", c, f)
            expect(c, bool(re.fullmatch(r"4096,1,0:00:\d\d\.\d\d,\d+\.\d{3},\d+\.\d{3}\n", out)), True)


def test_io_copies_on_read_and_crashes_when_told(bed):
    base, top = bed.path("base"), bed.path("top")
    run(IMG, "create", "-q", "-f", "qcow2", base, "1M")
    run(IO, "-f", "qcow2", "-c", "write -q -P 5 0 64k", base)
    run(IMG, "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", top)
    run(IO, "-C", "-f", "qcow2", "-c", "read -q -P 5 0 64k", top)
    expect_in("copied", "64 KiB (0x10000) bytes     allocated", run(IO, "-f", "qcow2", "-c", "map", top))
    run(IO, "-f", "qcow2", "-c", "write -q 0 64k", "-c", "flush", "-c", "abort", top, rc=-6)
    run(IO, "-f", "qcow2", "-c", "write -q 0 64k", "-c", "sigraise 9", top, rc=-9)
    run(IMG, "check", "-q", "-r", "leaks", top)


def test_io_exit_status_says_whether_all_went_well(bed):
    f = bed.path("i")
    run(IMG, "create", "-q", "-f", "raw", f, "1M")
    for c, rc in (("read -P 0 0 1M", 0), ("read -P 1 0 512", 1), ("read 1M 512", 1), ("what", 1),
                  ("write -P x 0 512", 1), ("read -P 0 -l 2k 0 1k", 1), ("write -zP 1 0 512", 1),
                  ("read 0", 1), ("read -b 0 512", 1), ("aio_read 0 x", 1)):
        run(IO, "-f", "raw", "-c", c, f, rc=rc)


def test_io_takes_commands_from_its_input_and_opens_images(bed):
    f, pattern = bed.path("i"), bed.file("p", b"abc")
    run(IMG, "create", "-q", "-f", "qcow2", f, "1M")
    out = run(IO, stdin="read 0 512\nopen -o driver=qcow2,file.filename=%s\nwrite -s %s 0 4k\n"
              "read -v 0 16\nclose\nopen -r %s\nread -P 0 4k 4k\nquit\nbogus\n" % (f, pattern, f),
              rc=1)
    expect_in("closed", "no file open", out)
    expect_in("pattern", "61 62 63 61 62 63", out)
    expect_in("the last", "read 4096/4096 bytes at offset 4096", out)
    expect("after quit", "bogus" in out, False)


def test_io_many_requests_at_once(bed):
    f = bed.path("i")
    run(IMG, "create", "-q", "-f", "qcow2", f, "64M")
    at = [(k, k * 191 * 1024) for k in range(1, 250)]
    run(IO, "-f", "qcow2", *[x for k, o in at for x in ("-c", "aio_write -q -P %d %d 33k" % (k, o))],
        "-c", "aio_flush", *[x for k, o in at for x in ("-c", "aio_read -q -P %d %d 33k" % (k, o))],
        "-c", "aio_flush", f)
    run(IMG, "check", "-q", f)


def test_io_failures_that_come_late_are_told_of(bed):
    f = bed.path("i")
    run(IMG, "create", "-q", "-f", "raw", f, "1M")
    out = run(IO, "-r", "-f", "raw", "-c", "aio_write 0 512", "-c", "aio_read -q 0 512", "-c",
              "aio_flush", f, rc=1)
    expect_in("by name", "aio_write failed: Read-only file system", out)


def test_io_image_opts(bed):
    f = bed.path("i")
    run(IMG, "create", "-q", "-f", "qcow2", f, "1M")
    opts = "driver=qcow2,file.driver=file,file.filename=" + f
    run(IO, "--image-opts", "-c", "write -q -P 5 0 4k", opts)
    expect_in("info", "file format: qcow2", run(IMG, "info", "--image-opts", opts))
    run(IMG, "convert", "--image-opts", "-O", "raw", opts, bed.path("raw"))
    run(IMG, "compare", "--image-opts", opts, "driver=raw,file.filename=" + bed.path("raw"))
    run(IO, "--image-opts", "-r", "-c", "read -P 5 0 4k", "driver=raw,file.driver=file,"
        "file.locking=off,cache.direct=off,file.filename=" + bed.path("raw"))
    for bad, why in (("driver=qcow2", "file.filename: missing"), ("x=y,file.filename=" + f, "x"),
                     ("driver=qcow2,file.driver=ssh,file.filename=x", "ssh"),
                     ("driver=raw,size=5,file.filename=" + f, "size")):
        expect_in(bad, why, run(IMG, "info", "--image-opts", bad, rc=1))
    expect_in("both", "mutually exclusive", run(IMG, "info", "--image-opts", "-f", "raw", opts,
                                                rc=1))


def test_io_bench(bed):
    f = bed.path("i")
    run(IMG, "create", "-q", "-f", "qcow2", f, "16M")
    tools = (IMG, "qemu-img") if shutil.which("qemu-img") else (IMG,)
    said = [run(tool, "bench", "-f", "qcow2", "-w", "-c", "500", "-d", "16", "-s", "8k", "-S", "12k",
                "--flush-interval=100", "--pattern=3", f) for tool in tools]
    expect("lines", re.sub(r"\d+\.\d+", "N", said[0]), re.sub(r"\d+\.\d+", "N", said[-1]))
    run(IO, "-f", "qcow2", "-c", "read -q -P 3 0 8k", "-c", "read -q -P 3 12k 8k", f)
    run(IMG, "check", "-q", f)
    expect("quiet", run(IMG, "bench", "-q", "-c", "10", "-f", "qcow2", f), "")
    for args, why in ((("-d", "0"), "queue depth"), (("-s", "100"), "buffer size"),
                      (("--flush-interval=5",), "only available in write tests"),
                      (("-o", "16M"), "smaller than")):
        expect_in(why, why, run(IMG, "bench", *args, f, rc=1))


if __name__ == "__main__":
    main(globals())
