#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The gdb server: raw packets, hostile ones included, and the real gdb.

The guest is a 64 KiB BIOS of a few bytes: a counter in BX that is stored at 0:500, then HLT.
"""
import os
import shutil
import subprocess
import time

from keel import Failure, expect, expect_in, main

CODE = bytes([
    0xb8, 0x34, 0x12,        # e000: mov ax, 0x1234
    0x31, 0xdb,              # e003: xor bx, bx
    0x43,                    # e005: inc bx
    0x89, 0x1e, 0x00, 0x05,  # e006: mov [0x500], bx
    0x83, 0xfb, 0x05,        # e00a: cmp bx, 5
    0x75, 0xf6,              # e00d: jne e005
    0xf4,                    # e00f: hlt
    0xeb, 0xfd,              # e010: jmp e00f
])
START, STORE = 0xfe000, 0xfe006


def bios(bed):
    image = bytearray(b"\x90" * 65536)
    image[0xe000:0xe000 + len(CODE)] = CODE
    image[0xfff0:0xfff5] = bytes([0xea, 0x00, 0xe0, 0x00, 0xf0])  # jmp f000:e000
    path = bed.path("bios.bin")
    with open(path, "wb") as f:
        f.write(image)
    return path


class Gdb:
    """The debugger's end of the protocol."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(60)
        self.buf = b""

    def byte(self):
        if not self.buf:
            self.buf = self.sock.recv(65536)
            if not self.buf:
                raise Failure("gdb: connection closed")
        c, self.buf = self.buf[:1], self.buf[1:]
        return c

    def send(self, payload):
        if isinstance(payload, str):
            payload = payload.encode()
        self.sock.sendall(b"$%s#%02x" % (payload, sum(payload) & 0xff))

    def packet(self):
        c = self.byte()
        while c != b"$":
            if c not in b"+":
                raise Failure("gdb: %r before a packet" % c)
            c = self.byte()
        data = b""
        while (c := self.byte()) != b"#":
            data += c
        told = int(self.byte() + self.byte(), 16)
        expect("checksum", told, sum(data) & 0xff)
        self.sock.sendall(b"+")
        return data.replace(b"}\x03", b"#").replace(b"}\x04", b"$").replace(b"}\n", b"*").decode("latin-1")

    def ask(self, payload):
        self.send(payload)
        return self.packet()

    def register(self, n, size):
        return int.from_bytes(bytes.fromhex(self.ask("p%x" % n))[:size], "little")


def until(what, ask):
    end = time.time() + 60
    while not ask():
        if time.time() > end:
            raise Failure("never: " + what)
        time.sleep(0.01)


RAX, RBX, RIP, EFLAGS, CS = 0, 1, 16, 17, 18


def boot(bed, *more):
    """A machine that waits for its debugger at "gdb"."""
    path = bed.path("gdb")
    p = bed.start("-M", "pc", "-accel", os.environ.get("KEEL_ACCEL", "tcg"), "-m", "16", "-nodefaults", "-display", "none", "-S",
                  "-bios", bios(bed), "-gdb", "unix:" + path, *more)
    until("gdb server", lambda: os.path.exists(path) or p.proc.poll() is not None)
    return p


def start(bed, *more):
    return Gdb(boot(bed, *more).connect(bed.path("gdb")))


def test_gdb_when_connected_then_registers_are_the_reset_ones(bed):
    g = start(bed)
    expect_in("features", "qXfer:features:read+", g.ask("qSupported:swbreak+"))
    expect_in("?", "T05thread:01;", g.ask("?"))
    expect("rip", g.register(RIP, 8), 0xfff0)
    expect("cs", g.register(CS, 4), 0xf000)
    expect("g begins with rax", g.ask("g")[:16], "00" * 8)
    xml = ""
    while not xml or part[0] == "m":
        part = g.ask("qXfer:features:read:target.xml:%x,200" % len(xml))
        xml += part[1:]
    expect_in("description", '<reg name="cr3"', xml)
    expect("it ends", xml[-9:], "</target>")
    total = sum(int(x.split('"')[0]) for x in xml.split('bitsize="')[1:]) // 8
    expect("g has what the description says", len(g.ask("g")), 2 * total)


def test_gdb_when_stepped_and_continued_then_it_stops_where_it_should(bed):
    g = start(bed)
    expect_in("step", "T05thread:01;", g.ask("s"))
    expect("rip", g.register(RIP, 8), 0xe000)
    expect_in("vCont step", "T05thread:01;", g.ask("vCont;s:1;c"))
    expect("ax", g.register(RAX, 2), 0x1234)
    expect("Z0", g.ask("Z0,%x,1" % STORE), "OK")
    for n in (1, 2):
        expect_in("break", "swbreak", g.ask("c"))
        expect("rip", g.register(RIP, 8), 0xe006)
        expect("bx", g.register(RBX, 2), n)
        expect_in("off the breakpoint", "T05", g.ask("s"))
        expect("rip", g.register(RIP, 8), 0xe00a)
    expect("z0", g.ask("z0,%x,1" % STORE), "OK")
    expect("P", g.ask("P%x=%s" % (RBX, (0x7ffe).to_bytes(8, "little").hex())), "OK")
    expect("watch", g.ask("Z2,500,2"), "OK")
    expect_in("watched", "watch:500;", g.ask("c"))
    expect("what was stored", g.ask("m500,2"), "ff7f")
    expect("rip is behind the store", g.register(RIP, 8), 0xe00a)
    expect("z2", g.ask("z2,500,2"), "OK")


def test_gdb_when_memory_is_written_then_the_code_that_runs_is_the_new(bed):
    g = start(bed)
    expect("mov ax", g.ask("m%x,3" % START), "b83412")
    expect("a hole", g.ask("m40000000,4"), "E0e")
    expect("M", g.ask("M500,2:abcd"), "OK")
    expect("X", g.ask(b"X502,3:}\x03a}\x5d"), "OK")  # "#", "a", "}"
    expect("read back", g.ask("m500,5"), "abcd23617d")
    for _ in range(4):  # jmp, mov, xor, inc
        g.ask("s")
    expect("bx", g.register(RBX, 2), 1)
    expect("physical", g.ask("Qqemu.PhyMemMode:1"), "OK")
    expect("mode", g.ask("qqemu.PhyMemMode"), "1")
    expect("m", g.ask("m500,2"), "abcd")


def test_gdb_when_interrupted_then_it_says_where_and_detach_lets_go(bed):
    g = start(bed, "-qmp", "unix:%s,server,nowait" % bed.path("qmp"))
    q = bed.started[0].qmp()
    g.send("c")
    until("the guest halts", lambda: "HLT=1" in q.hmp("info registers"))
    g.sock.sendall(b"\x03")
    expect_in("interrupt", "T02thread:01;", g.packet())
    expect("rip is behind the hlt", g.register(RIP, 8), 0xe010)
    expect("status", q.cmd("query-status")["status"], "paused")
    expect("monitor", bytes.fromhex(g.ask("qRcmd," + b"info status".hex())), b"VM status: paused\r\n")
    expect("D", g.ask("D"), "OK")
    expect("status", q.cmd("query-status")["status"], "running")
    expect_in("registers", "EIP=0000e0", q.hmp("info registers"))
    expect_in("paging", "PG disabled", q.hmp("info tlb"))
    expect_in("paging", "PG disabled", q.hmp("info mem"))
    expect_in("blocks", "TB count", q.hmp("info jit"))
    expect_in("memory", "0xb8 0x34 0x12", q.hmp("x /3xb 0xfe000"))
    expect("number", q.hmp("xp /1dh 0xfe001"), "00000000000fe001:   4660\r\n")
    expect("number", q.hmp("xp/ub 0xfe000"), "00000000000fe000:  184\r\n")
    expect("letters", q.hmp("xp /2c 0xfe001"), "00000000000fe001: '4' '\\x12'\r\n")
    code = q.hmp("x /2i 0xfe000").splitlines()
    expect("instructions", (len(code), "b83412" in code[0], "mov ax, 0x1234" in code[0]), (2, True, True))
    expect("form", q.hmp("x /2z 0xfe000"), "invalid char in format: 'z'\r\n")
    expect("cpu", q.hmp("cpu 1"), "invalid CPU index\r\n")
    expect("cpu", q.hmp("cpu 0"), "")


def test_log_of_ir_has_the_guests_loop(bed):
    log = bed.path("log")
    p = boot(bed, "-d", "op,op_opt", "-D", log)
    Gdb(p.connect(bed.path("gdb"))).ask("D")
    until("the loop is in the log", lambda: "INC.2" in open(log).read())


def test_gdb_when_packets_are_broken_then_an_answer_and_nothing_worse(bed):
    g = start(bed)
    g.sock.sendall(b"$g#00")
    expect("NAK", g.byte(), b"-")
    for bad in ("p", "pfffff", "P10", "P10=zz", "m", "m1", "m1,", "m0,fffffff", "M0,1:g", "M0,10:00",
                "Hg99", "T99", "Z0", "Z2,0,0", "Z2,0,ffffff", "vCont;", "vCont;x", "vCont;c:99",
                "G00", "qXfer:features:read:target.xml:", "qRcmd,zz", "X0,ff:a"):
        answer = g.ask(bad)
        if not answer.startswith("E"):
            raise Failure("%s: %r" % (bad, answer))
    for unknown in ("!", "R00", "b1", "Z9,0,1", "qWhatever", "vWhatever", "QWhatever", "x0,1"):
        expect(unknown, g.ask(unknown), "")
    expect("too long", g.ask("m" + "0" * 40000)[:1], "E")
    g.sock.sendall(b"\x00\xff$$$#zz")
    expect("NAK", g.byte(), b"-")
    expect_in("still there", "T05", g.ask("?"))


def test_gdb_when_it_is_the_real_one_then_it_works(bed):
    if not shutil.which("gdb"):
        raise Failure("gdb is not installed")
    path = bed.path("gdb")
    boot(bed)
    script = ["set pagination off", "set confirm off", "target remote " + path, "info threads",
              "p/x $cs", "p/x $rip", "x/5xb 0xffff0", "stepi", "stepi", "p/x $rax", "p $eflags",
              "watch *(unsigned short *)0x500", "continue", "p *(unsigned short *)0x500", "p/x $cr0",
              "monitor info status", "detach"]
    argv = ["gdb", "-nx", "-batch"]
    for line in script:
        argv += ["-ex", line]
    p = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, timeout=60, env=dict(os.environ, HOME=bed.path("")))
    out = p.stdout.decode()
    for want in ("CPU#0", "= 0xf000", "0xea", "= 0x1234", "New value = 1", "= 1", "= 0x60000010",
                 "VM status: paused"):
        expect_in(want, want, out)


main(globals())
