#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""savevm, loadvm, delvm and QMP's snapshot-* jobs: machine and disks together, in qcow2 images."""
import json
import os
import re
import shutil
import subprocess
import time

from keel import Failure, expect, expect_in, main

TOOLS = os.path.join(os.path.abspath(os.environ.get("KEEL_BUILD", "build")), "tools")
MARK = 0x3000  # a byte of RAM that no firmware touches


def tool(name, *args):
    p = subprocess.run([os.path.join(TOOLS, name), *args], capture_output=True, text=True)
    if p.returncode:
        raise Failure("%s %r: %s" % (name, args, p.stdout + p.stderr))
    return p.stdout


def image(bed, name, size="8M", fmt="qcow2", *args):
    path = bed.path(name)
    tool("keel-img", "create", "-q", "-f", fmt, *args, path, size)
    return path


def check(path):
    tool("keel-img", "check", "-q", path)
    if shutil.which("qemu-img"):
        p = subprocess.run(["qemu-img", "check", "-q", path], capture_output=True, text=True)
        expect("qemu-img check: " + p.stdout + p.stderr, p.returncode, 0)


def disk(path, name, unit, fmt="qcow2"):
    return ["-drive", "id=%s,if=ide,index=%d,format=%s,file=%s" % (name, unit, fmt, path)]


def machine(bed, *args):
    """A PC that only counts, in the word at MARK."""
    p = bed.start("-M", "pc", "-accel", "tcg", "-m", "16", "-nodefaults", "-display", "none",
                  "-bios", firmware(bed), "-qmp", "unix:%s,server=on,wait=off" % bed.path("qmp"),
                  *args)
    return p, p.qmp()


def firmware(bed):
    """64 KiB that count in the word at MARK for ever: jmp far to f000:0000; mov ds; inc; jmp."""
    path = bed.path("bios")
    if not os.path.exists(path):
        code = bytes.fromhex("31c08ed8" "66ff060030" "ebf9")
        rom = bytearray(b"\xf4" * 65536)
        rom[:len(code)] = code
        rom[0xfff0:0xfff5] = bytes.fromhex("ea000000f0")
        with open(path, "wb") as f:
            f.write(rom)
    return path


def count(q):
    text = q.hmp("xp/1xw 0x%x" % MARK)
    return int(re.search(r": (0x[0-9a-f]+)", text)[1], 16)


def counts_on(q, since):
    end = time.time() + 60
    while time.time() < end:
        if count(q) > since:
            return
        time.sleep(0.02)
    raise Failure("the guest stands still")


def test_memory_processors_and_two_disks_go_back(bed):
    a, b = image(bed, "a.qcow2"), image(bed, "b.qcow2")
    p, q = machine(bed, *disk(a, "da", 0), *disk(b, "db", 1))
    expect("no snapshot", q.hmp("info snapshots"), "There is no suitable snapshot available\r\n")
    counts_on(q, 5)
    expect("savevm", q.hmp("savevm one"), "")
    expect("goes on", q.cmd("query-status")["status"], "running")
    q.cmd("stop")
    then = count(q)
    q.cmd("cont")
    counts_on(q, then + 1000)
    text = q.hmp("info snapshots")
    expect_in("list", "List of snapshots present on all disks:\r\n"
              "ID        TAG               VM SIZE                DATE     VM CLOCK     ICOUNT\r\n"
              "--        one", text)
    # The state is in the first disk alone, with size and clock.
    sizes = [json.loads(tool("keel-img", "info", "-U", "--output=json", f))["snapshots"][0]
             for f in (a, b)]
    expect("tags", [s["name"] for s in sizes], ["one", "one"])
    expect("state", (sizes[0]["vm-state-size"] > 0, sizes[1]["vm-state-size"]), (True, 0))
    q.cmd("stop")
    late = count(q)
    expect("loadvm", q.hmp("loadvm one"), "")
    expect("stays stopped", q.cmd("query-status")["status"], "paused")
    early = count(q)
    expect("memory is of then", early <= then < late, True)
    q.cmd("cont")
    counts_on(q, early)
    # A second save under the name takes the first one's place.
    q.hmp("savevm one")
    expect("one snapshot", q.hmp("info snapshots").count("one"), 1)
    q.cmd("quit")
    p.wait()
    check(a)
    check(b)


def test_the_command_line_loads_and_people_delete(bed):
    a = image(bed, "a.qcow2", "8M", "qcow2", "-o", "cluster_size=4096")
    p, q = machine(bed, *disk(a, "da", 0))
    counts_on(q, 100)
    q.cmd("stop")
    then = count(q)
    expect("savevm", q.hmp("savevm halt"), "")
    expect("stays stopped", q.cmd("query-status")["status"], "paused")
    q.cmd("quit")
    p.wait()
    check(a)
    p, q = machine(bed, *disk(a, "da", 0), "-loadvm", "halt", "-S")
    expect("count", count(q), then)
    q.cmd("cont")
    counts_on(q, then)
    expect("delvm", q.hmp("delvm halt"), "")
    expect("gone", q.hmp("info snapshots"), "There is no suitable snapshot available\r\n")
    q.cmd("quit")
    p.wait()
    check(a)
    p = bed.start("-M", "pc", "-accel", "tcg", "-m", "16", "-nodefaults", "-display", "none",
                  "-bios", firmware(bed), *disk(a, "da", 0), "-loadvm", "halt")
    expect("exit", p.wait(), 1)
    expect_in("why", "-loadvm halt: Snapshot 'halt' does not exist in one or more devices",
              p.output())


def job(q, command, error=None, **args):
    q.cmd(command, job_id="j", **args)
    end = time.time() + 60
    while True:
        j = q.cmd("query-jobs")[0]
        if j["status"] == "concluded":
            break
        if time.time() > end:
            raise Failure("%r" % j)
    expect("type", (j["type"], j["id"]), (command, "j"))
    expect("block jobs", q.cmd("query-block-jobs"), [])
    if (error or "") not in j.get("error", "") or ("error" in j) != (error is not None):
        raise Failure("%s: %r, wanted %r" % (command, j.get("error"), error))
    q.cmd("job-dismiss", id="j")


def test_jobs_save_to_the_disk_that_is_named(bed):
    a, b = image(bed, "a.qcow2"), image(bed, "b.qcow2", "8M", "qcow2", "-o", "extended_l2=on")
    p, q = machine(bed, *disk(a, "da", 0), *disk(b, "db", 1))
    counts_on(q, 5)
    both = {"devices": ["da", "db"], "vmstate": "db"}
    job(q, "snapshot-save", tag="t", **both)
    status = [e["data"]["status"] for e in q.events if e["event"] == "JOB_STATUS_CHANGE"]
    expect("stages", status, ["created", "running", "waiting", "pending", "concluded", "null"])
    expect("events of block jobs", [e for e in q.events if e["event"].startswith("BLOCK_JOB")], [])
    now = count(q)
    counts_on(q, now + 1000)
    job(q, "snapshot-save", "Snapshot 't' already exists in one or more devices", tag="t", **both)
    job(q, "snapshot-load", "Snapshot 'u' does not exist", tag="u", **both)
    job(q, "snapshot-load", "This is a disk-only snapshot", tag="t", devices=["da"], vmstate="da")
    job(q, "snapshot-load", "No block device node 'dz'", tag="t", devices=["dz"], vmstate="db")
    job(q, "snapshot-load", "vmstate block device 'dz' does not exist", tag="t", devices=["da"],
        vmstate="dz")
    q.cmd("stop")
    late = count(q)
    job(q, "snapshot-load", tag="t", **both)
    expect("memory is of then", count(q) < late - 900, True)
    job(q, "snapshot-delete", tag="t", devices=["da", "db"])
    job(q, "snapshot-delete", tag="t", devices=["da", "db"])
    q.cmd("quit")
    p.wait()
    for path in (a, b):
        check(path)
        expect("snapshots left", tool("keel-img", "snapshot", "-l", path), "")


def test_what_cannot_be_saved_is_named(bed):
    a, raw = image(bed, "a.qcow2"), image(bed, "r.raw", "1M", "raw")
    p, q = machine(bed, *disk(a, "da", 0), *disk(raw, "dr", 1, "raw"))
    expect("raw", q.hmp("savevm x"),
           "Error: Device 'dr' is writable but does not support snapshots\r\n")
    expect("list", q.hmp("info snapshots"),
           "Error: Device 'dr' is writable but does not support snapshots\r\n")
    job(q, "snapshot-save", tag="x", devices=["da"], vmstate="da")
    job(q, "snapshot-save", "Device 'dr' is writable", tag="y", devices=["da", "dr"], vmstate="da")
    q.cmd("quit")
    p.wait()
    p, q = machine(bed)
    expect("none", q.hmp("savevm x"),
           "Error: No block device can store vmstate for snapshot\r\n")
    q.cmd("quit")
    p.wait()
    m = bed.machine("-drive", "if=ide,format=qcow2,file=" + a)
    expect("qtest", m.qmp().hmp("savevm x"),
           "Error: only a machine with processors of Keel's own has snapshots\r\n")


def test_a_state_of_another_machine_is_refused_and_it_stands_still(bed):
    a = image(bed, "a.qcow2")
    p, q = machine(bed, *disk(a, "da", 0))
    q.hmp("savevm x")
    q.cmd("quit")
    p.wait()
    p, q = machine(bed, *disk(a, "da", 0), "-device", "e1000,netdev=n", "-netdev", "user,id=n")
    expect_in("why", "there is nothing about device", q.hmp("loadvm x"))
    expect("stands still", q.cmd("query-status")["running"], False)
    q.cmd("quit")
    p.wait()
    check(a)


main(globals())
