# SPDX-License-Identifier: MIT
"""Keel as a test sees it: a process, its QMP connections, its device test line.

Every test function takes one argument, a Bed: a directory that goes away, and whatever was started
in it.
"""
import array
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback


def binary():
    return os.path.abspath(os.environ.get("KEEL_BUILD", "build")) + "/dm/keel"


class Failure(Exception):
    pass


def expect(what, got, want):
    if got != want:
        raise Failure("%s: got %r, wanted %r" % (what, got, want))


def expect_in(what, part, whole):
    if part not in whole:
        raise Failure("%s: %r is not in %r" % (what, part, whole))


def run_tool(*args, rc=0, timeout=120, **kw):
    """A program to its end, what it said. rc: how it must end; None: however."""
    p = subprocess.run(args, capture_output=True, text=True, timeout=timeout, **kw)
    if rc is not None and p.returncode != rc:
        raise Failure("%s: exit status %d, wanted %d\n%s%s"
                      % (" ".join(args), p.returncode, rc, p.stdout, p.stderr))
    return p.stdout + p.stderr


_events = {}


def check_event(event):
    """It is as query-qmp-schema tells it."""
    if not _events:
        # the answer is the same whatever the machine; one without devices is soon there
        ask = '{"execute":"qmp_capabilities"}{"execute":"query-qmp-schema"}{"execute":"quit"}'
        said = run_tool(binary(), "-machine", "none", "-nodefaults", "-display", "none", "-qmp", "stdio", input=ask)
        lines = [json.loads(line) for line in said.splitlines()]
        schema = next(m["return"] for m in lines if isinstance(m.get("return"), list))
        types = {t["name"]: t for t in schema}
        _events.update({t["name"]: types[t["arg-type"]]["members"] for t in schema if t["meta-type"] == "event"})
    python = {"str": str, "int": int, "bool": bool, "any": dict}
    expect_in("events", event["event"], _events)
    data, members = event.get("data", {}), _events[event["event"]]
    expect("unknown in %r" % event, set(data) - set(m["name"] for m in members), set())
    for m in members:
        if "default" not in m or m["name"] in data:
            expect_in(repr(event), m["name"], data)
            expect("type of %s in %r" % (m["name"], event), type(data[m["name"]]), python[m["type"]])


class Qmp:
    """One QMP connection; answers events aside, in order."""

    def __init__(self, sock, negotiate=True):
        self.sock = sock
        self.sock.settimeout(60)  # `migrate` answers at its end
        self.buf = b""
        self.events = []
        self.next_id = 1
        self.greeting = self.message()
        if negotiate:
            expect("qmp_capabilities", self.cmd("qmp_capabilities"), {})

    def message(self):
        while b"\r\n" not in self.buf:
            data = self.sock.recv(65536)
            if not data:
                raise Failure("QMP: connection closed")
            self.buf += data
        line, self.buf = self.buf.split(b"\r\n", 1)
        m = json.loads(line)
        if "event" in m:
            check_event(m)
        return m

    def raw(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())

    def reply(self):
        while True:
            m = self.message()
            if "event" not in m:
                return m
            self.events.append(m)

    def send(self, line, fds=()):
        """Like libxl: descriptors ride on the first byte."""
        data = line.encode()
        if fds:
            self.sock.sendmsg([data[:1]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                            array.array("i", fds))])
            data = data[1:]
        self.sock.sendall(data)

    def ask(self, command, fds=(), **arguments):
        """The whole reply object."""
        self.next_id += 1
        m = {"execute": command, "id": self.next_id}
        if arguments:
            m["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        self.send(json.dumps(m) + "\n", fds)
        r = self.reply()
        expect("id", r.pop("id", None), self.next_id)
        return r

    def cmd(self, command, fds=(), **arguments):
        r = self.ask(command, fds, **arguments)
        if "return" not in r:
            raise Failure("%s: %r" % (command, r))
        return r["return"]

    def error(self, command, fds=(), **arguments):
        """(class, desc) of the error that must come."""
        r = self.ask(command, fds, **arguments)
        if "error" not in r:
            raise Failure("%s: no error but %r" % (command, r))
        return r["error"]["class"], r["error"]["desc"]

    def hmp(self, line):
        return self.cmd("human-monitor-command", command_line=line)

    def event(self, name):
        """Waits for an event, which may have come already."""
        while True:
            for i, e in enumerate(self.events):
                if e["event"] == name:
                    return self.events.pop(i)
            m = self.message()
            if "event" not in m:
                raise Failure("%s awaited, got %r" % (name, m))
            self.events.append(m)

    def quiet(self, seconds=0.1):
        """No message comes."""
        if self.buf or select.select([self.sock], [], [], seconds)[0]:
            raise Failure("unasked: %r" % self.message())


class Qtest:
    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(60)
        self.file = sock.makefile("r")
        self.irqs = []

    def line(self, text):
        """The answer line; IRQ lines before it are put aside."""
        self.sock.sendall((text + "\n").encode())
        while True:
            answer = self.file.readline().rstrip("\n")
            if not answer:
                raise Failure("qtest: connection closed after %r" % text[:80])
            if not answer.startswith("IRQ "):
                return answer
            self.irqs.append(answer)

    def ok(self, text):
        answer = self.line(text)
        if answer.split()[0] != "OK":
            raise Failure("%s: %s" % (text, answer))
        return answer[3:]

    def inp(self, size, port):
        return int(self.ok("in%s 0x%x" % (size, port)), 16)

    def out(self, size, port, val):
        self.ok("out%s 0x%x 0x%x" % (size, port, val))

    def read(self, addr, n):
        return bytes.fromhex(self.ok("read 0x%x 0x%x" % (addr, n))[2:])

    def write(self, addr, data):
        self.ok("write 0x%x 0x%x 0x%s" % (addr, len(data), data.hex()))

    def config_read(self, slot, fn, reg):
        self.out("l", 0xcf8, 0x80000000 | slot << 11 | fn << 8 | reg)
        return self.inp("l", 0xcfc)

    def config_write(self, slot, fn, reg, val):
        self.out("l", 0xcf8, 0x80000000 | slot << 11 | fn << 8 | reg)
        self.out("l", 0xcfc, val)


class Process:
    def __init__(self, bed, args, pass_fds=(), **kw):
        self.bed = bed
        self.log = open("%s/log.%d" % (bed.dir, len(bed.started)), "w+b")
        self.proc = subprocess.Popen([bed.keel] + list(args), stdin=kw.pop("stdin", subprocess.DEVNULL),
                                     stdout=self.log, stderr=self.log, pass_fds=pass_fds, **kw)

    def output(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def wait(self, seconds=60):
        try:
            return self.proc.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure("keel does not end: " + self.output())

    def connect(self, path):
        end = time.time() + 60
        while True:
            s = socket.socket(socket.AF_UNIX)
            try:
                s.connect(path)
                return s
            except OSError:
                s.close()
                if self.proc.poll() is not None:
                    raise Failure("keel ended with %d: %s" % (self.proc.returncode, self.output()))
                if time.time() > end:
                    raise Failure("nobody listens at " + path)
                time.sleep(0.005)

    def qmp(self, path=None, **kw):
        return Qmp(self.connect(path or self.bed.dir + "/qmp"), **kw)

    def qtest(self):
        return Qtest(self.connect(self.bed.dir + "/qtest"))

    def hurt(self):
        """What a test must never leave behind: sanitizer reports, a signal."""
        if self.proc.poll() is None:
            self.proc.terminate()
        code = self.wait()
        text = self.output()
        if code < 0 or "ERROR: AddressSanitizer" in text or "runtime error:" in text:
            raise Failure("keel ended with %d: %s" % (code, text[-2000:]))


class Bed:
    def __init__(self, keel):
        self.keel = keel
        self.dir = tempfile.mkdtemp(prefix="keel-test-")
        self.started = []

    def path(self, name):
        return self.dir + "/" + name

    def file(self, name, data=b""):
        with open(self.path(name), "wb") as f:
            f.write(data)
        return self.path(name)

    def start(self, *args, **kw):
        p = Process(self, args, **kw)
        self.started.append(p)
        return p

    def run(self, *args, **kw):
        """To its end: (exit code, what it said)."""
        p = self.start(*args, **kw)
        return p.wait(), p.output()

    def refused(self, *args, **kw):
        """The one line that a start must end with."""
        code, text = self.run(*args, **kw)
        expect("exit code of %r" % (args,), code, 1)
        lines = text.splitlines()
        expect("lines", len(lines), 1)
        if not lines[0].startswith("keel: "):
            raise Failure("not ours: %r" % lines)
        return lines[0][6:]

    def machine(self, *args, **kw):
        """A PC without guest: QMP at "qmp", device tests at "qtest"."""
        return self.start("-accel", "qtest", "-machine", "pc", "-nodefaults", "-display", "none",
                          "-qmp", "unix:%s,server=on,wait=off" % self.path("qmp"),
                          "-qtest", "unix:%s,server=on,wait=off" % self.path("qtest"), *args, **kw)

    def probe(self, *args):
        """The run by which libxl asks what a device model can do."""
        return self.start("-S", "-no-user-config", "-nodefaults", "-nographic", "-machine",
                          "none,accel=xen", "-chardev",
                          "socket,id=libxl-cmd,path=%s,server=on,wait=off" % self.path("qmp"),
                          "-mon", "chardev=libxl-cmd,mode=control", *args)

    def close(self):
        try:
            for p in self.started:
                p.hurt()
        finally:
            for p in self.started:
                if p.proc.poll() is None:
                    p.proc.kill()
                    p.proc.wait()
            shutil.rmtree(self.dir, ignore_errors=True)


def run_one(keel, fn):
    bed = Bed(keel)
    try:
        fn(bed)
    except BaseException:
        for p in bed.started:
            p.proc.kill()
        try:
            bed.close()
        except Failure:
            pass
        raise
    bed.close()


def main(names):
    """Runs every test_* of names (a module's globals()) whose name has one of the words given on
    the command line. $KEEL_BUILD is the build directory. Prints TAP; exits 1 if any failed."""
    parts = sys.argv[1:]
    chosen = [(n, f) for n, f in names.items() if n.startswith("test_")
              and (not parts or any(p in n for p in parts))]
    failed = 0
    print("1..%d" % len(chosen))
    for n, (name, fn) in enumerate(chosen, 1):
        start = time.time()
        try:
            run_one(binary(), fn)
            print("ok %d - %s # %.2f s" % (n, name, time.time() - start))
        except Exception:
            failed += 1
            print("".join("# %s\n" % line for line in traceback.format_exc().splitlines()), end="")
            print("not ok %d - %s" % (n, name))
        sys.stdout.flush()
    print("# passed %d, failed %d" % (len(chosen) - failed, failed))
    sys.exit(1 if failed or not chosen else 0)
