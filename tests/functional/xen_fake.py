# SPDX-License-Identifier: MIT
"""A fake Xen domain for tests: starts fake-guest and a device model under it, and talks to both.

Usage of a test built on this: TEST.py [BUILD_DIR [TEST...]], or $KEEL_BUILD names the build
directory. main() runs every function named test_*, prints one line each and exits 1 if any failed.
"""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback


class Error(Exception):
    pass


class Guest:
    """One domain: memory, vCPUs and event channels (tests/fake-xen/fake-guest.c)."""

    def __init__(self, build, domid=7, vcpus=1, ram=4 << 20, max_memkb=None):
        self.build = build
        self.domid = domid
        self.ram = ram
        self.dir = tempfile.mkdtemp(prefix="fake-xen-")
        self.models = []
        kb = max_memkb if max_memkb is not None else ram // 1024 + 64 * 1024
        self.proc = subprocess.Popen(
            [build + "/tests/fake-xen/fake-guest", self.dir, str(domid), str(vcpus), str(ram), str(kb)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.proc.stdout.readline() != "ok\n":
            raise Error("fake-guest did not start")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for m in self.models:
            m.kill()
        self.proc.stdin.close()
        self.proc.wait()
        self.proc.stdout.close()
        shutil.rmtree(self.dir)

    def cmd(self, *words):
        """Sends a command; returns the list of words after "ok"."""
        self.proc.stdin.write(" ".join(hex(w) if isinstance(w, int) else w for w in words) + "\n")
        self.proc.stdin.flush()
        line = self.proc.stdout.readline().split()
        if not line or line[0] != "ok":
            raise Error("%s: %s" % (" ".join(map(str, words)), " ".join(line) or "fake-guest died"))
        return line[1:]

    def num(self, *words):
        return int(self.cmd(*words)[0], 0)

    def inb(self, port): return self.num("inb", port)
    def inw(self, port): return self.num("inw", port)
    def inl(self, port): return self.num("inl", port)
    def outb(self, port, val): self.cmd("outb", port, val)
    def outw(self, port, val): self.cmd("outw", port, val)
    def outl(self, port, val): self.cmd("outl", port, val)
    def irq(self, n): return self.num("irq", n)

    def config(self, bdf, reg, size, *val):
        return self.num("config", bdf, reg, size, *val)

    def memread(self, gpa, n):
        out = self.cmd("memread", gpa, n)
        return bytes.fromhex(out[0]) if out else b""

    def memwrite(self, gpa, data):
        self.cmd("memwrite", gpa, data.hex())

    def domain(self):
        return {k: int(v) for k, v in (w.split("=") for w in self.cmd("domain"))}

    def request(self, type=0, read=1, addr=0, size=1, count=1, data=0, ptr=0, df=0, ms=5000):
        """A raw slot; returns (state, data)."""
        out = self.cmd("request", type, read, addr, size, count, data, ptr, df, ms)
        return int(out[0]), int(out[1], 0)

    def store(self, path, value=None):
        """Reads a xenstore node (None: absent), or writes it."""
        name = "%s/xenstore/%s" % (self.dir, path.replace("/", "!"))
        if value is not None:
            with open(self.dir + "/node", "w") as f:
                f.write(value)
            os.replace(self.dir + "/node", name)  # never seen half-written
            return value
        if not os.path.exists(name):
            return None
        with open(name) as f:
            return f.read()

    @property
    def state(self):
        return self.store("/local/domain/0/device-model/%d/state" % self.domid)

    def calls(self):
        """The log of hypercalls, a list of lines."""
        name = self.dir + "/calls"
        if not os.path.exists(name):
            return []
        with open(name) as f:
            return f.read().splitlines()

    def spawn(self, argv, fail=None, **kw):
        m = Model(self, argv, fail, **kw)
        self.models.append(m)
        return m


class Model:
    """A device model process in a Guest's world."""

    def __init__(self, guest, argv, fail=None, env=None, **kw):
        self.guest = guest
        self.log = open("%s/log.%d" % (guest.dir, len(guest.models)), "w+")
        e = dict(os.environ, FAKE_XEN_DIR=guest.dir, XEN_DOMAIN_ID=str(guest.domid),
                 LD_LIBRARY_PATH=guest.build + "/tests/fake-xen")
        e.update(env or {})
        if fail:
            e["FAKE_XEN_FAIL"] = fail
        kw.setdefault("stdin", subprocess.PIPE)
        self.proc = subprocess.Popen(argv, stdout=self.log, stderr=self.log, env=e, **kw)

    def output(self):
        self.log.flush()
        self.log.seek(0)
        return self.log.read()

    def ready(self, ms=10000):
        end = time.time() + ms / 1000
        while time.time() < end:
            if self.proc.poll() is not None:
                raise Error("device model ended with %d: %s" % (self.proc.returncode, self.output()))
            try:
                self.guest.cmd("ready", 100)
                return self
            except Error:
                pass
        raise Error("device model not ready: " + self.output())

    def wait(self, timeout=60):
        return self.proc.wait(timeout)

    def hangup(self):
        self.proc.send_signal(signal.SIGHUP)
        return self.wait()

    def kill(self):
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        if self.proc.stdin:
            self.proc.stdin.close()
        self.log.close()


def until(what, fn, seconds=60):
    """Waits until fn() is true."""
    end = time.time() + seconds
    while not fn():
        if time.time() > end:
            raise Error("waited in vain for " + what)
        time.sleep(0.005)


def expect(what, got, want):
    if got != want:
        raise Error("%s: expected %r, got %r" % (what, want, got))


def main(names, argv=None):
    """Runs every test_* of a module's globals(); says "ok - WHAT" or "not ok - WHAT" for each."""
    argv = argv or sys.argv
    build = os.path.abspath(argv[1] if len(argv) > 1 else os.environ["KEEL_BUILD"])
    only = argv[2:]
    failed = 0
    for name, fn in names.items():
        if not name.startswith("test_") or (only and name not in only):
            continue
        what = name[5:].replace("_", " ")
        start = time.time()
        try:
            fn(build)
            print("ok - %s (%.2f s)" % (what, time.time() - start))
        except Exception:
            failed += 1
            traceback.print_exc(file=sys.stdout)
            print("not ok - %s" % what)
        sys.stdout.flush()
    sys.exit(1 if failed else 0)
