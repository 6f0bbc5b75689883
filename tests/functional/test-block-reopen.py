#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""blockdev-reopen, change-backing-file, block_set_io_throttle: what may be changed, and the words in which
the rest is refused, are QEMU's 7.2."""
import json
import os
import shutil
import socket
import subprocess
import time

from disk import Disk, holds, img
from keel import Failure, Qmp, expect, expect_in, main, run_tool

MB = 1 << 20
Q = {"driver": "qcow2", "node-name": "q", "file": "f"}
NO_BACKING = "not allowing backing file change on an image without a backing file"


def reopen(*options):
    return "blockdev-reopen", {"options": list(options)}


def change(device, node):
    return "change-backing-file", {"device": device, "image-node-name": node,
                                   "backing-file": "DIR/b"}


def limit(**limits):
    no = dict.fromkeys(("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"), 0)
    return "block_set_io_throttle", {"device": "d", **no, **limits}


# What is refused, with what QEMU says.
LIMITS = [
    (limit(device="no"), "Device 'no' not found"),
    (limit(id="x"), "Need exactly one of 'device' and 'id'"),
    (limit(device="cd", bps=1000), "Device has no medium"),
    (limit(bps=-1), "bps/iops/max values must be within [0, 1000000000000000]"),
    (limit(bps=1000, bps_rd=100), "bps/iops/max total values and read/write values cannot be used "
     "at the same time"),
    (limit(bps_max=100), "bps_max/iops_max require corresponding bps/iops values"),
    (limit(bps=100, bps_max=10), "bps_max/iops_max cannot be lower than bps/iops"),
    (limit(bps=100, bps_max_length=3), "burst length set without burst rate"),
    (limit(bps=100, bps_max=200, bps_max_length=0), "the burst length cannot be 0"),
    (limit(iops_size=4096), "iops size requires an iops value to be set"),
    (limit(bps=1 << 20, bps_max=2 << 20, bps_max_length=5, iops=100, iops_size=4096),
     {"bps": 1 << 20, "bps_max": 2 << 20, "bps_max_length": 5, "iops": 100, "iops_size": 4096,
      "group": "d"}),
    (limit(iops_rd=5, group="other"), {"bps": 0, "iops_rd": 5, "group": "other"}),
    (limit(), {"bps": 0, "iops_rd": 0, "group": None}),
]

# Commands and the error, or what holds of node q afterwards.
STORY = [
    (reopen({**Q, "node-name": "no"}), "Failed to find node with node-name='no'"),
    (reopen({**Q, "driver": "raw"}), "Cannot change the option 'driver'"),
    (reopen({**Q, "read-only": True}), {"ro": True}),
    (reopen({**Q, "discard": "unmap", "detect-zeroes": "unmap"}),
     {"ro": False, "detect_zeroes": "unmap"}),
    (reopen(Q), {"ro": False, "detect_zeroes": "off"}),
    (reopen({**Q, "backing": "b"}), {"backing_file_depth": 1}),
    (reopen(Q), "backing is missing for 'q'"),
    (reopen({**Q, "backing": "q"}), "Making 'q' a backing child of 'q' would create a cycle"),
    (reopen({**Q, "backing": "no"}), "Cannot find device='' nor node-name='no'"),
    (reopen({**Q, "backing": None}), {"backing_file_depth": 0}),
    # All, or none.
    (reopen({**Q, "detect-zeroes": "on"}, {"driver": "file", "node-name": "f", "filename": "x"}),
     "Cannot change the option 'filename'"),
    (reopen(Q), {"detect_zeroes": "off"}),
    (reopen({"driver": "file", "node-name": "f", "filename": "DIR/f", "read-only": True}),
     "Read-only block node 'f' cannot support read-write users"),
    (reopen({"driver": "file", "node-name": "f", "filename": "DIR/f"}), {}),
    (reopen({"driver": "throttle", "node-name": "t", "file": "n", "throttle-group": "no"}),
     "Throttle group 'no' does not exist"),
    (reopen({"driver": "throttle", "node-name": "t", "file": "n", "throttle-group": "g2"}), {}),
    (change("q", "q"), NO_BACKING),
    (change("q", "no"), "Cannot find device='' nor node-name='no'"),
    (reopen({**Q, "backing": "b"}), {"backing_file_depth": 1}),
    (change("q", "b"), NO_BACKING),
    (change("q", "q"), {}),
]


def ask(q, command, arguments):
    """The whole reply; arguments are named as they are."""
    q.send(json.dumps({"execute": command, "arguments": arguments}) + "\n")
    return q.reply()


def tell(q, path, story=STORY):
    def fill(v):
        if isinstance(v, dict):
            return {k: fill(w) for k, w in v.items()}
        if isinstance(v, list):
            return [fill(w) for w in v]
        return v.replace("DIR", path) if isinstance(v, str) else v

    for (command, arguments), want in story:
        answer = ask(q, command, fill(arguments))
        if isinstance(want, str):
            expect("%r" % (arguments,), answer.get("error", {}).get("desc"), want)
            continue
        expect("%r" % (arguments,), answer, {"return": {}})
        node = q.cmd("query-block")[0]["inserted"] if story is LIMITS else \
            [n for n in q.cmd("query-named-block-nodes") if n["node-name"] == "q"][0]
        for key, value in want.items():
            expect("%r: %s" % (arguments, key), node.get(key), value)


def nodes(bed):
    img("create", "-q", "-f", "qcow2", bed.path("f"), "1M")
    for name in "bn":
        img("create", "-q", bed.path(name), "1M")
    return ["-M", "none", "-nodefaults", "-display", "none",
            "-object", "throttle-group,id=g1", "-object", "throttle-group,id=g2",
            "-blockdev", "driver=file,node-name=f,filename=" + bed.path("f"),
            "-blockdev", "driver=qcow2,node-name=q,file=f",
            "-blockdev", "driver=raw,node-name=b,read-only=on,file.driver=file,file.filename="
            + bed.path("b"),
            "-blockdev", "driver=file,node-name=n,filename=" + bed.path("n"),
            "-blockdev", "driver=throttle,node-name=t,file=n,throttle-group=g1",
            "-drive", "if=none,id=d,format=raw,file=" + bed.file("d", bytes(MB)),
            "-drive", "if=none,id=cd,media=cdrom"]


def test_reopen_changes_what_qemu_changes(bed):
    p = bed.start(*nodes(bed), "-qmp", "unix:%s,server=on,wait=off" % bed.path("qmp"))
    q = p.qmp()
    tell(q, os.path.dirname(bed.path("f")))
    tell(q, "", LIMITS)
    expect("group", [n.get("group") for n in q.cmd("query-named-block-nodes", flat=True)
                     if n["node-name"] == "t"], ["g2"])
    q.cmd("quit")
    p.wait()
    expect_in("backing file", "backing file: " + bed.path("b"), img("info", bed.path("f")))


def test_reopen_story_is_qemus(bed):
    if not shutil.which("qemu-system-x86_64"):
        return
    ours, theirs = socket.socketpair()
    p = subprocess.Popen(["qemu-system-x86_64", *nodes(bed), "-chardev",
                          "socket,id=c,fd=%d" % theirs.fileno(), "-mon", "c,mode=control"],
                         pass_fds=[theirs.fileno()])
    theirs.close()
    q = Qmp(ours)
    tell(q, os.path.dirname(bed.path("f")))
    tell(q, "", LIMITS)
    q.cmd("quit")
    p.wait()


def test_limits_of_a_disk_in_use(bed):
    d = Disk(bed, "-drive", "id=d,if=ide,index=0,format=raw,file=" + bed.file("r", bytes(MB)))
    d.put(1, 0x11)
    expect("limit", ask(d.q, *limit(iops_wr=2)), {"return": {}})
    began = time.time()
    for n in range(2, 5):
        d.put(n, n)
    if time.time() - began < 0.5:
        raise Failure("three writes at two a second took %f s" % (time.time() - began))
    # To nobody's harm while a request waits, through the other monitor.
    expect("hmp", d.q.hmp("block_set_io_throttle d 0 0 0 0 0 0"), "")
    for n in range(5, 60):
        d.put(n, n)
    expect("guest", [d.get(n) for n in (1, 2, 4, 59)], [0x11, 2, 4, 59])
    d.q.cmd("quit")
    d.p.wait()
    holds(bed.path("r"), "-P 4 2048 512", fmt="raw")


def test_reopen_under_a_guest(bed):
    """A chain is changed under a disk in use; who writes to a node keeps it writable."""
    for name, size in (("base", "8M"), ("top", "8M")):
        img("create", "-q", "-f", "qcow2", bed.path(name), size)
    d = Disk(bed, *[a for name, extra in (("base", ",read-only=on"), ("top", ""))
                    for a in ("-blockdev", "driver=qcow2,node-name=%s%s,file.driver=file,"
                              "file.filename=%s" % (name, extra, bed.path(name)))],
             "-device", "ide-hd,drive=top,bus=ide.0,unit=0")
    q = d.q
    file = [n["parent"]["node-name"] for n in q.cmd("query-blockstats", query_nodes=True)
            if n["node-name"] == "top"][0]
    top = {"driver": "qcow2", "node-name": "top", "file": file}
    d.put(1, 0x11)
    expect_in("writer", "cannot support read-write users",
              q.error("blockdev-reopen", options=[{**top, "read-only": True}])[1])
    q.cmd("blockdev-reopen", options=[{**top, "backing": "base"}])
    d.put(2, 0x22)
    expect("guest", [d.get(n) for n in (1, 2, 3)], [0x11, 0x22, 0])
    q.cmd("change-backing-file", device="top", image_node_name="top",
          backing_file=bed.path("base"))
    q.cmd("quit")
    d.p.wait()
    img("check", "-q", bed.path("top"))
    holds(bed.path("top"), "-P 0x11 512 512", "-P 0x22 1024 512")
    if shutil.which("qemu-img"):
        run_tool("qemu-img", "check", "-q", bed.path("top"))


main(globals())
