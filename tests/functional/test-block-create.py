#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""blockdev-create: images made by a machine, as QEMU's 7.2 makes them, and refused with its words."""
import os
import shutil
import socket
import subprocess
import time

from disk import TOOLS, Far, holds, img
from keel import Failure, Qmp, expect, expect_in, main, run_tool

MB = 1 << 20
QCOW2 = {"driver": "qcow2", "file": "f", "size": MB}
LUKS = {"key-secret": "s", "iter-time": 10}

# Options and what becomes of them. Each is the same in both programs.
CASES = [
    ({"driver": "file", "filename": "DIR/f", "size": 0}, None),
    ({"driver": "file", "filename": "DIR/g", "size": MB, "preallocation": "falloc"}, None),
    ({"driver": "file", "filename": "DIR/g", "size": MB, "preallocation": "full"}, None),
    ({"driver": "file", "filename": "DIR/g"}, "Parameter 'options.size' is missing"),
    ({"driver": "file", "filename": "DIR/g", "size": 1, "x": 1},
     "Parameter 'options.x' is unexpected"),
    ({"driver": "file", "filename": "DIR/g", "size": 1024, "preallocation": "metadata"},
     "Unsupported preallocation mode: metadata"),
    ({"driver": "file", "filename": "DIR/g", "size": 1024, "preallocation": "what"},
     "Parameter 'preallocation' does not accept value 'what'"),
    ({"driver": "raw"}, "Driver does not support blockdev-create"),
    ({"driver": "wat"}, "Parameter 'driver' does not accept value 'wat'"),
    ({"size": 1024}, "Parameter 'options.driver' is missing"),
    ({**QCOW2, "file": "no"}, "Cannot find device='no' nor node-name='no'"),
    ({**QCOW2, "file": 3}, "Invalid parameter type for 'file', expected: BlockdevRef"),
    ({**QCOW2, "size": MB + 1}, "Image size must be a multiple of 512 bytes"),
    ({"driver": "qcow2", "size": MB}, "Parameter 'options.file' is missing"),
    ({**QCOW2, "cluster-size": 1234},
     "Cluster size must be a power of two between 512 and 2048k"),
    ({**QCOW2, "refcount-bits": 7},
     "Refcount width must be a power of two and may not exceed 64 bits"),
    ({**QCOW2, "version": "v1"}, "Parameter 'version' does not accept value 'v1'"),
    ({**QCOW2, "version": "v2", "lazy-refcounts": True},
     "Lazy refcounts only supported with compatibility level 1.1 and above (use version=v3 or "
     "greater)"),
    ({**QCOW2, "version": "v2", "refcount-bits": 1},
     "Different refcount widths than 16 bits require compatibility level 1.1 or above (use "
     "version=v3 or greater)"),
    ({**QCOW2, "cluster-size": 4096, "extended-l2": True},
     "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes"),
    ({**QCOW2, "backing-fmt": "raw"}, "Backing format cannot be used without backing file"),
    ({**QCOW2, "data-file-raw": True}, "data-file-raw requires data-file"),
    ({**QCOW2, "preallocation": "full", "backing-file": "x", "backing-fmt": "raw"},
     "Backing file and preallocation can only be used at the same time if extended_l2 is on"),
    ({**QCOW2, "encrypt": {"format": "luks"}},
     "Parameter 'encrypt.key-secret' is required for cipher"),
    ({**QCOW2, "encrypt": {"format": "luks", "key-secret": "no"}}, "No secret with id 'no'"),
    ({**QCOW2, "encrypt": {"format": "luks", **LUKS, "bad": 1}},
     "Parameter 'options.encrypt.bad' is unexpected"),
    ({"driver": "luks", "file": "f", "size": MB},
     "Parameter 'key-secret' is required for cipher"),
    ({"driver": "vpc", "file": "f", "size": MB, "subformat": "x"},
     "Parameter 'subformat' does not accept value 'x'"),
    (QCOW2, None),
    ({**QCOW2, "version": "v2", "cluster-size": 512}, None),
    ({**QCOW2, "compression-type": "zstd", "lazy-refcounts": True, "refcount-bits": 64}, None),
    ({**QCOW2, "extended-l2": True, "preallocation": "metadata"}, None),
    ({**QCOW2, "backing-file": "DIR/g", "backing-fmt": "raw"}, None),
    ({**QCOW2, "preallocation": "full"}, None),
    ({**QCOW2, "encrypt": {"format": "luks", **LUKS}}, None),
    ({"driver": "luks", "file": "f", "size": MB, **LUKS}, None),
    ({"driver": "vpc", "file": "f", "size": MB, "force-size": True}, None),
    ({"driver": "vdi", "file": "f", "size": MB}, None),
    ({"driver": "vmdk", "file": "f", "size": MB}, None),
]


def create(q, options, job="j"):
    """Why it failed; None: it did not."""
    answer = q.ask("blockdev-create", job_id=job, options=options)
    if "error" in answer:
        return answer["error"]["desc"]
    while True:
        e = q.event("JOB_STATUS_CHANGE")["data"]
        if e == {"id": job, "status": "concluded"}:
            break
    jobs = q.cmd("query-jobs")
    expect("job", [(j["id"], j["type"], j["status"], j["current-progress"]) for j in jobs],
           [(job, "create", "concluded", 1)])
    q.cmd("job-dismiss", id=job)
    return jobs[0].get("error")


def within(options, path):
    """options with DIR as path."""
    if isinstance(options, dict):
        return {k: within(v, path) for k, v in options.items()}
    return options.replace("DIR", path) if isinstance(options, str) else options


def machine(bed, *args):
    p = bed.start("-M", "none", "-nodefaults", "-display", "none", "-object",
                  "secret,id=s,data=pw", "-qmp",
                  "unix:%s,server=on,wait=off" % bed.path("qmp"), *args)
    return p, p.qmp()


def run_cases(q, path):
    for i, (options, want) in enumerate(CASES):
        got = create(q, within(options, path))
        while got == "Unable to get accurate CPU usage":  # QEMU, when the host has much to do
            got = create(q, within(options, path))
        expect("%r" % options, got, want)
        if i == 0:
            q.cmd("blockdev-add", driver="file", node_name="f", filename=path + "/f")


def test_create_answers_as_qemu_does(bed):
    p, q = machine(bed)
    run_cases(q, bed.path(""))
    q.cmd("quit")
    p.wait()


def test_create_cases_are_qemus(bed):
    if not shutil.which("qemu-system-x86_64"):
        return
    ours, theirs = socket.socketpair()
    p = subprocess.Popen(
        ["qemu-system-x86_64", "-M", "none", "-nodefaults", "-display", "none", "-object",
         "secret,id=s,data=pw", "-chardev", "socket,id=c,fd=%d" % theirs.fileno(), "-mon",
         "c,mode=control"], pass_fds=[theirs.fileno()])
    theirs.close()
    q = Qmp(ours)
    run_cases(q, bed.path(""))
    q.cmd("quit")
    p.wait()


def test_create_makes_images_that_can_be_used(bed):
    p, q = machine(bed)
    for name in "fdo":
        expect("file", create(q, {"driver": "file", "filename": bed.path(name), "size": 0}), None)
        q.cmd("blockdev-add", driver="file", node_name=name, filename=bed.path(name))
    q.cmd("blockdev-add", driver="file", node_name="r", filename=bed.file("r"), read_only=True)
    expect("read-only", create(q, {**QCOW2, "file": "r"}), "Block node is read-only")
    # Encrypted, with a data file, over a backing file; what was there before is gone.
    expect("luks", create(q, {**QCOW2, "encrypt": {"format": "luks", **LUKS}}), None)
    expect_in("luks", "encrypted: yes", img("info", "-U", "-f", "qcow2", bed.path("f")))
    expect("data file", create(q, {**QCOW2, "data-file": "d"}), None)
    q.cmd("blockdev-add", driver="qcow2", node_name="q", file="f", data_file="d")
    expect_in("in use", "in use", create(q, QCOW2))
    expect("overlay", create(q, {**QCOW2, "file": "o", "backing-file": bed.path("f"),
                                 "backing-fmt": "qcow2"}), None)
    q.cmd("blockdev-del", node_name="q")
    q.cmd("blockdev-del", node_name="f")
    # Inline options, and a file that is in the way.
    expect("inline", create(q, {**QCOW2, "file": {"driver": "file", "filename": bed.path("f")},
                                "preallocation": "falloc"}), None)
    expect_in("nowhere", "No such file",
              create(q, {"driver": "file", "filename": bed.path("no/where"), "size": 0}))
    # The end may come while a thread is at work.
    q.cmd("blockdev-create", job_id="last", options={
        "driver": "luks", "file": "d", "size": MB, "key-secret": "s", "iter-time": 500})
    q.cmd("quit")
    expect("exit status", p.wait(), 0)
    img("check", "-q", "-f", "qcow2", bed.path("f"))
    holds(bed.path("f"), "-P 0 0 1M")
    if shutil.which("qemu-img"):
        run_tool("qemu-img", "check", "-q", bed.path("f"))
        expect_in("overlay", "backing file: " + bed.path("f"),
                  run_tool("qemu-img", "info", bed.path("o")))


def test_create_on_a_disk_that_cannot_be_emptied(bed):
    p, q = machine(bed)
    with Far(bed, b"old!" * (8 * MB // 4)) as far:
        far.add(q)
        for more in ({}, {"preallocation": "metadata"}, {"preallocation": "full"},
                     {"encrypt": {"format": "luks", **LUKS}}):
            expect("%r" % more, create(q, {**QCOW2, **more, "file": "n"}), None)
            img("check", "-q", "-U", "-f", "qcow2", far.path)
            if "encrypt" not in more:
                holds(far.path, "-P 0 0 1M", share=True)
        expect("too small", create(q, {**QCOW2, "file": "n", "size": 16 * MB, "preallocation": "full"}),
               "Could not preallocate: No space left on device")
        # What is put beside the old metadata finds room too.
        expect("small", create(q, {**QCOW2, "file": "n"}), None)
        q.cmd("blockdev-add", driver="qcow2", node_name="q", file="n")
        for name in "ab":
            q.cmd("blockdev-snapshot-internal-sync", device="q", name=name)
        q.cmd("block_resize", node_name="q", size=1 << 40)
        q.cmd("blockdev-snapshot-delete-internal-sync", device="q", name="a")
        q.cmd("quit")
        expect("exit status", p.wait(), 0)
    img("check", "-q", "-f", "qcow2", far.path)
    expect_in("grown", "1 TiB", img("info", "-f", "qcow2", far.path))
    expect_in("snapshot", "b", img("snapshot", "-l", far.path).splitlines()[-1])


def grows_on(bed, path, **node):
    """An image is made on a node over the file path, and written to through it."""
    p, q = machine(bed)
    sock = bed.path("sock")
    q.cmd("object-add", qom_type="throttle-group", id="g")
    q.cmd("blockdev-add", node_name="n", file={"driver": "file", "filename": path}, **node)
    expect("image", create(q, {**QCOW2, "file": "n", "size": 8 * MB}), None)
    q.cmd("blockdev-add", driver="qcow2", node_name="q", file="n")
    q.cmd("nbd-server-start", addr={"type": "unix", "data": {"path": sock}})
    q.cmd("nbd-server-add", device="q", writable=True)
    run_tool(os.path.join(TOOLS, "keel-io"), "-f", "raw", "-c", "write -q -P 5 1M 4M", "nbd+unix:///q?socket=" + sock)
    q.cmd("quit")
    expect("exit status", p.wait(), 0)


def has_grown(path):
    img("check", "-q", "-f", "qcow2", path)
    if shutil.which("qemu-img"):
        run_tool("qemu-img", "check", "-q", "-f", "qcow2", path)
    holds(path, "-P 0 0 1M", "-P 5 1M 4M", "-P 0 5M 3M")


def test_create_under_a_throttle_then_the_image_grows(bed):
    path = bed.file("d", b"")
    grows_on(bed, path, driver="throttle", throttle_group="g")
    has_grown(path)


def test_create_under_a_raw_node_then_the_image_grows(bed):
    path = bed.file("d", b"")
    grows_on(bed, path, driver="raw")
    has_grown(path)


def test_create_behind_an_offset_then_the_image_grows(bed):
    path, part = bed.file("d", b"x" * MB), bed.path("part")
    grows_on(bed, path, driver="raw", offset=MB)
    with open(path, "rb") as f, open(part, "wb") as o:
        expect("in front of it", f.read(MB), b"x" * MB)
        shutil.copyfileobj(f, o)
    has_grown(part)


def test_create_in_a_part_of_a_file_then_the_image_stays_in_it(bed):
    path = bed.file("d", b"x" * (4 * MB))
    p, q = machine(bed)
    q.cmd("blockdev-add", driver="raw", node_name="n", offset=MB, size=MB,
          file={"driver": "file", "filename": path})
    expect("no room", create(q, {**QCOW2, "file": "n", "preallocation": "full"}),
           "Could not preallocate: No space left on device")
    q.cmd("quit")
    expect("exit status", p.wait(), 0)
    with open(path, "rb") as f:
        data = f.read()
    expect("the rest", (len(data), data[:MB], data[2 * MB:]),
           (4 * MB, b"x" * MB, b"x" * (2 * MB)))


def job_status(q):
    return q.cmd("query-jobs")[0]["status"]


def rtc_seconds(q):
    q.hmp("o/b 0x70 0")
    return q.hmp("i/b 0x71")


def test_create_while_it_takes_long_then_guest_and_monitor_go_on(bed):
    p = bed.start("-accel", "tcg", "-M", "pc", "-m", "64", "-nodefaults", "-display", "none", "-qmp",
                  "unix:%s,server=on,wait=off" % bed.path("qmp"))
    q = p.qmp()
    with Far(bed, bytes(4 * MB)) as far:
        far.add(q)
        far.stand_still(True)
        q.cmd("blockdev-create", job_id="j", options={"driver": "vdi", "file": "n", "size": 1 << 30})
        begin, first = time.monotonic(), rtc_seconds(q)
        while rtc_seconds(q) == first:
            time.sleep(0.05)
            if time.monotonic() - begin > 20:
                raise Failure("the guest's clock stands still")
        expect("at work", job_status(q), "running")
        expect_in("busy", "is in use", q.error("blockdev-del", node_name="n")[1])
        expect_in("busy", "in use by block job: create",
                  q.error("blockdev-reopen", options=[{"driver": "nbd", "node-name": "n"}])[1])
        far.stand_still(False)
        while job_status(q) == "running":
            time.sleep(0.02)
        expect("made", [(j["status"], j.get("error")) for j in q.cmd("query-jobs")], [("concluded", None)])
        q.cmd("job-dismiss", id="j")
        q.cmd("blockdev-del", node_name="n")
        q.cmd("quit")
        expect("exit status", p.wait(), 0)
    expect_in("image", "virtual size: 1 GiB", img("info", "-f", "vdi", far.path))


def until_status(q, want):
    end = time.monotonic() + 60
    while job_status(q) != want:
        if time.monotonic() > end:
            raise Failure("the job is %s, not %s" % (job_status(q), want))
        time.sleep(0.02)


def test_create_when_it_is_paused_then_nothing_is_written_until_it_is_resumed(bed):
    p, q = machine(bed)
    with Far(bed, bytes(4 * MB)) as far:
        far.add(q)
        far.stand_still(True)
        q.cmd("blockdev-create", job_id="j", options={"driver": "vdi", "file": "n", "size": 1 << 30})
        for _ in range(50):
            q.cmd("job-pause", id="j")
            time.sleep(0.1)
            if job_status(q) == "running":
                break
            q.cmd("job-resume", id="j")  # it was before its first request
            time.sleep(0.1)
        expect("a request is still under way", job_status(q), "running")
        far.stand_still(False)
        until_status(q, "paused")
        expect("event", {"id": "j", "status": "paused"} in [e["data"] for e in q.events], True)
        with open(far.path, "rb") as f:
            was = f.read()
            time.sleep(0.3)
            f.seek(0)
            expect("the image", f.read() == was, True)
        expect("status", job_status(q), "paused")
        q.cmd("job-resume", id="j")
        until_status(q, "concluded")
        q.cmd("job-dismiss", id="j")
        q.cmd("quit")
        expect("exit status", p.wait(), 0)
    expect_in("image", "virtual size: 1 GiB", img("info", "-f", "vdi", far.path))


def test_create_when_it_is_paused_then_it_can_be_cancelled(bed):
    p, q = machine(bed)
    f = bed.path("f")
    expect("file", create(q, {"driver": "file", "filename": f, "size": 0}), None)
    q.cmd("blockdev-add", driver="file", node_name="f", filename=f)
    q.cmd("blockdev-create", job_id="j", options={**QCOW2, "size": 64 << 30, "preallocation": "full"})
    q.cmd("job-pause", id="j")
    until_status(q, "paused")
    q.cmd("job-cancel", id="j")
    until_status(q, "concluded")
    q.cmd("quit")
    expect("exit status", p.wait(), 0)


def test_create_when_it_is_cancelled_then_it_ends_soon(bed):
    p, q = machine(bed)
    large, f = 64 << 30, bed.path("f")
    expect("file", create(q, {"driver": "file", "filename": f, "size": 0}), None)
    q.cmd("blockdev-add", driver="file", node_name="f", filename=f)
    image, file = {**QCOW2, "size": large}, {"driver": "file", "filename": bed.path("g"), "size": large}
    for options, path, by in ((image, f, "job-cancel"), (file, bed.path("g"), "job-cancel"), (image, f, "quit")):
        q.cmd("blockdev-create", job_id="j", options={**options, "preallocation": "full"})
        while not os.path.exists(path) or os.stat(path).st_blocks * 512 < 4 * MB:
            expect("at work", job_status(q), "running")
        if by == "quit":
            q.cmd("quit")
            expect("exit status", p.wait(), 0)
        else:
            q.cmd("job-cancel", id="j")
            while job_status(q) != "concluded":
                time.sleep(0.02)
            q.cmd("job-dismiss", id="j")
        if os.stat(path).st_blocks * 512 > large // 2:
            raise Failure("it went on to the end")


main(globals())
