#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Looking at a guest's memory and registers from the monitor: expressions, files, core dumps for gdb.

The guest is longmode.S, which stands still with known memory, page tables and registers.
"""
import os
import re
import socket
import stat
import subprocess

from keel import Failure, expect, expect_in, main
from longmode import HIGH, HIGH_PHYS, RAX, TABLES, TEXT, guest


def gdb(core, *commands):
    words = ["gdb", "-nx", "-batch", "-ex", "target core " + core]
    for c in commands:
        words += ["-ex", c]
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=60).stdout


def readelf(*words):
    return subprocess.run(["readelf", "-W", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=True).stdout


def test_monitor_when_numbers_are_expressions_then_they_are_reckoned(bed):
    q = guest(bed).qmp()
    for text, value in [("1 + 2*3", "7"), ("(1+2)*3", "9"), ("-1", "-1"), ("~0 & 0xff", "255"),
                        ("7 / 2 % 2", "1"), ("1 + 6 & 3", "3"), ("'A' ^ 1", "64"), ("010", "8")]:
        expect(text, q.hmp("print " + text), value + "\r\n")
    expect("x", q.hmp("print/x $rax"), "0x%x\r\n" % RAX)
    expect("p", q.hmp("p /x $eax"), "0x55667788\r\n")
    expect("u", q.hmp("print/u -1"), "18446744073709551615\r\n")
    expect("o", q.hmp("print/o 8"), "010\r\n")
    expect("c", q.hmp("print/c 0x41"), "'A'\r\n")
    expect("cr3", q.hmp("print/x $cr3"), "0x%x\r\n" % TABLES)
    expect("cs", q.hmp("print $cs"), "8\r\n")
    expect("stack", q.hmp("x/1xg $rsp"), "%016x: 0x%016x\r\n" % (HIGH + 0xff8, RAX))
    expect("blanks", q.hmp("x/1xg $rsp + 8 - 8"), "%016x: 0x%016x\r\n" % (HIGH + 0xff8, RAX))
    expect_in("code", "hlt", q.hmp("x/2i $rip - 1"))
    expect("mapped", q.hmp("gva2gpa 0x%x" % (HIGH + 0x123)), "gpa: 0x%x\r\n" % (HIGH_PHYS + 0x123))
    expect("unmapped", q.hmp("gva2gpa 0x700000000000"), "Unmapped\r\n")
    total = 0
    for b in TEXT:
        total = ((total >> 1 | total << 15) + b) & 0xffff
    expect("sum", q.hmp("sum 0x%x %d" % (HIGH_PHYS + 0x123, len(TEXT))), "%05d\r\n" % total)
    for bad, why in [("1 +", "invalid number at ''"), ("(1", "')' expected"), ("$foo", "unknown register at 'foo'"),
                     ("1 2", "end of the expression expected at '2'"), ("1/0", "division by zero"),
                     ("'A", "expected"), ("0x", "invalid number"), ("1z", "invalid number"),
                     ("0x10000000000000000", "invalid number"), ("(" * 100, "too deep"),
                     ("$" + "a" * 100, "unknown register")]:
        expect_in(bad, why, q.hmp("print " + bad))
    expect_in("format", "invalid format: 'q'", q.hmp("print/q 1"))


def test_monitor_when_memory_is_saved_then_the_file_has_it(bed):
    q, out = guest(bed).qmp(), bed.path("mem")
    q.cmd("memsave", val=HIGH - (1 << 64) + 0x123, size=len(TEXT), filename=out)
    expect("linear", open(out, "rb").read(), TEXT)
    q.cmd("pmemsave", val=HIGH_PHYS, size=0x2000, filename=out)
    expect("physical", open(out, "rb").read()[0x123:0x123 + len(TEXT)], TEXT)
    expect("hmp", q.hmp("memsave 0x%x %d %s" % (HIGH + 0x123, len(TEXT), out)), "")
    expect("hmp linear", open(out, "rb").read(), TEXT)
    expect("hmp", q.hmp("pmemsave 0x%x+0x123 8 %s" % (HIGH_PHYS, out)), "")
    expect("hmp physical", open(out, "rb").read(), TEXT[:8])
    expect_in("unmapped", "Invalid addr 0x700000000000/size 1 specified",
              q.error("memsave", val=0x700000000000, size=1, filename=out)[1])
    expect_in("behind the end", "Invalid addr 0x1000000/size 1 ",
              q.error("pmemsave", val=0xffffff, size=2, filename=out)[1])
    expect_in("cpu", "cpu-index", q.error("memsave", val=0, size=1, filename=out, cpu_index=7)[1])
    expect_in("file", "Could not open", q.error("memsave", val=0, size=1, filename="/no/such")[1])


def test_monitor_when_memory_is_dumped_then_gdb_reads_the_core(bed):
    q, core = guest(bed, "-smp", "2").qmp(), bed.path("core")
    expect("formats", q.cmd("query-dump-guest-memory-capability"), {"formats": ["elf"]})
    expect("none yet", q.cmd("query-dump"), {"status": "none", "completed": 0, "total": 0})
    q.cmd("dump-guest-memory", paging=True, protocol="file:" + core)
    expect("event", q.event("DUMP_COMPLETED")["data"]["result"],
           {"status": "completed", "completed": 16 << 20, "total": 16 << 20})
    expect("runs on", q.cmd("query-status")["status"], "running")
    head = readelf("-h", core)
    expect_in("class", "ELF64", head)
    expect_in("type", "CORE (Core file)", head)
    expect_in("machine", "X86-64", head)
    expect("notes", re.findall(r"^ +(CORE|QEMU) ", readelf("-n", core), re.M), ["CORE"] * 2 + ["QEMU"] * 2)
    said = gdb(core, "p/x $rax", "p/x $r15", "p/x $cs", "x/s 0x%x" % (HIGH + 0x123), "info threads")
    expect_in("rax", "$1 = 0x%x" % RAX, said)
    expect_in("r15", "$2 = 0x%x" % RAX, said)
    expect_in("cs", "$3 = 0x8", said)
    expect_in("text", TEXT[:-1].decode(), said)
    expect("processors", len(re.findall(r"^. +\d +", said, re.M)), 2)


def test_monitor_when_memory_is_dumped_by_physical_addresses_then_they_hold(bed):
    q, core = guest(bed).qmp(), bed.path("core")
    expect("hmp", q.hmp("dump-guest-memory %s" % core), "")
    loads = re.findall(r"LOAD +0x(\w+) 0x(\w+) 0x(\w+) 0x(\w+)", readelf("-l", core))
    expect("one piece", [int(x, 16) for x in loads[0][1:]], [0, 0, 16 << 20])
    with open(core, "rb") as f:
        f.seek(int(loads[0][0], 16) + HIGH_PHYS + 0x123)
        expect("text", f.read(len(TEXT)), TEXT)
    st = os.stat(core)
    if st.st_blocks * 512 > 4 << 20:
        raise Failure("zeroes take %d blocks" % st.st_blocks)
    expect("nobody else reads it", stat.S_IMODE(st.st_mode), 0o400)
    os.unlink(core)
    expect("a piece", q.hmp("dump-guest-memory %s 0x%x 0x1000" % (core, HIGH_PHYS)), "")
    loads = re.findall(r"LOAD +0x(\w+) 0x(\w+) 0x(\w+) 0x(\w+)", readelf("-l", core))
    expect("that piece", [[int(x, 16) for x in l[2:]] for l in loads], [[HIGH_PHYS, 0x1000]])


def test_monitor_when_a_dump_goes_to_a_pipe_then_every_byte_is_written(bed):
    q = guest(bed).qmp()
    r, w = os.pipe()
    q.cmd("getfd", fds=[w], fdname="core")
    os.close(w)
    reader = subprocess.Popen(["cat"], stdin=r, stdout=open(bed.path("core"), "wb"))
    os.close(r)
    q.cmd("dump-guest-memory", paging=False, protocol="fd:core")
    expect("cat", reader.wait(60), 0)
    expect_in("whole", "LOAD", readelf("-l", bed.path("core")))
    if os.path.getsize(bed.path("core")) < 16 << 20:
        raise Failure("the core is too short")


def test_monitor_when_a_dump_cannot_be_then_one_line_says_why(bed):
    q, core = guest(bed).qmp(), bed.path("core")
    expect_in("format", "kdump-zlib", q.error("dump-guest-memory", paging=False, protocol="file:" + core,
                                              format="kdump-zlib")[1])
    expect_in("protocol", "'protocol' expects", q.error("dump-guest-memory", paging=False, protocol=core)[1])
    expect_in("fd", "'nothing' has not been found",
              q.error("dump-guest-memory", paging=False, protocol="fd:nothing")[1])
    expect_in("file", "/no/such", q.error("dump-guest-memory", paging=False, protocol="file:/no/such")[1])
    expect_in("begin", "'length' is missing",
              q.error("dump-guest-memory", paging=False, protocol="file:" + core, begin=0)[1])
    expect_in("length", "above 0", q.error("dump-guest-memory", paging=False, protocol="file:" + core, begin=0,
                                           length=0)[1])
    expect_in("nothing there", "no guest memory from 0x10000000",
              q.error("dump-guest-memory", paging=False, protocol="file:" + core, begin=1 << 28, length=1)[1])
    expect_in("failed", "no guest memory", q.event("DUMP_COMPLETED")["data"]["error"])
    expect("state", q.cmd("query-dump")["status"], "failed")
    expect_in("full", "No space left", q.error("dump-guest-memory", paging=False, protocol="file:/dev/full")[1])
    expect_in("hmp", "-z: not available", q.hmp("dump-guest-memory -z " + core))
    expect("lives", q.cmd("query-status")["status"], "running")



def packet(sock, payload):
    """What a gdb server answers."""
    sock.sendall(b"$%s#%02x" % (payload, sum(payload) & 0xff))
    data = b""
    while not re.search(rb"\$[^#]*#..", data):
        data += sock.recv(4096)
    sock.sendall(b"+")
    return re.search(rb"\$([^#]*)#", data)[1]


def streams(q):
    return [c["label"] for c in q.cmd("query-chardev")]


def test_monitor_when_gdbserver_is_asked_for_then_a_debugger_can_come_and_go(bed):
    p = guest(bed)
    q, path = p.qmp(), bed.path("gdb")
    before = streams(q)
    for device in ("unix:" + path, "chardev:mine"):
        if device == "chardev:mine":
            q.cmd("chardev-add", id="mine", backend={"type": "socket", "data": {
                "addr": {"type": "unix", "data": {"path": path}}, "server": True}})
        expect("open", q.hmp("gdbserver " + device), "Waiting for gdb connection on device '%s'\r\n" % device)
        sock = p.connect(path)
        expect("stopped", packet(sock, b"?")[:3], b"T05")
        expect("paused", q.cmd("query-status")["status"], "paused")
        if device == "chardev:mine":
            expect_in("busy", "'mine' is busy", q.error("chardev-remove", id="mine")[1])
        expect("none", q.hmp("gdbserver none"), "Disabled gdbserver\r\n")
        expect("runs on", q.cmd("query-status")["status"], "running")
        sock.close()
    q.cmd("chardev-remove", id="mine")
    expect("nothing left", streams(q), before)
    expect("none twice", q.hmp("gdbserver none"), "Disabled gdbserver\r\n")
    expect_in("bad", "Could not open gdbserver on device 'unix:/no/such'", q.hmp("gdbserver unix:/no/such"))
    expect("nothing left", streams(q), before)


def test_monitor_when_streams_are_added_then_they_are_what_was_asked_for(bed):
    q = guest(bed).qmp()
    before = streams(q)
    expect_in("kinds", {"name": "pty"}, q.cmd("query-chardev-backends"))
    pty = q.cmd("chardev-add", id="p", backend={"type": "pty", "data": {}})["pty"]
    expect("terminal", os.path.exists(pty), True)
    q.cmd("chardev-add", id="n", backend={"type": "null", "data": {}})
    odd = bed.path("a,b=c")
    q.cmd("chardev-add", id="f", backend={"type": "file", "data": {"out": odd, "append": False}})
    expect("file with a comma", os.path.exists(odd), True)
    a, b = socket.socketpair()
    q.cmd("getfd", fds=[b.fileno()], fdname="end")
    b.close()
    q.cmd("chardev-add", id="s", backend={"type": "socket", "data": {
        "addr": {"type": "fd", "data": {"str": "end"}}, "server": False}})
    expect("hmp", q.hmp("chardev-add null,id=h"), "")
    expect("all", streams(q), before + ["p", "n", "f", "s", "h"])
    expect("break", q.hmp("chardev-send-break h"), "")
    expect("hmp", q.hmp("chardev-remove h"), "")
    for name in "pnfs":
        q.cmd("chardev-remove", id=name)
    expect("the peer hears of it", a.recv(1), b"")
    expect("none", streams(q), before)
    for backend, why in (({"type": "frob", "data": {}}, "Invalid parameter 'frob'"),
                         ({"type": "file", "data": {"out": "/no/such/file"}}, "/no/such/file"),
                         ({"type": "file", "data": {"out": {}}}, "type for 'out'"),
                         ({"type": "null", "data": {"out": "x"}}, "'out': not available for 'null'"),
                         ({"type": "socket", "data": {}}, "'addr' is missing"),
                         ({"type": "socket", "data": {"addr": {"type": "vsock", "data": {}}}}, "'vsock'"),
                         ({"type": "socket", "data": {"addr": {"type": "fd", "data": {"str": "x"}}}}, "named 'x'"),
                         ({"type": "socket", "data": {"telnet": True, "addr": {"type": "unix", "data": {
                             "path": "x"}}}}, "'telnet': not available"),
                         ({"type": "socket", "data": {"wait": True, "addr": {"type": "unix", "data": {
                             "path": "x"}}}}, "stand still"), ({}, "'backend.type' is missing")):
        expect_in(str(backend), why, q.error("chardev-add", id="x", backend=backend)[1])
    expect_in("hmp wait", "without wait=off", q.hmp("chardev-add socket,id=x,server=on,path=" + bed.path("w")))
    expect_in("twice", "used twice", q.error("chardev-add", id=before[0], backend={"type": "null", "data": {}})[1])
    expect_in("unknown", "'zz' not found", q.error("chardev-remove", id="zz")[1])
    expect_in("busy", "is busy", q.error("chardev-remove", id=before[0])[1])
    expect("none", streams(q), before)


main(globals())
