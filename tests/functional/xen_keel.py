# SPDX-License-Identifier: MIT
"""Keel as libxl starts it: recorded command lines, and libxl's side of QMP.

recordings/*.argv are the arguments libxl 4.17 passed for real guests, one a line; keel_argv puts
the test's own directory, domain and descriptors in their place.
"""
import array
import json
import os
import re
import socket

from xen_fake import Error

HERE = os.path.dirname(os.path.abspath(__file__))


def find_keel(build, args=()):
    for name in list(args) + [build + "/dm/keel", build + "/keel"]:
        if os.path.exists(name):
            return name
    raise Error("no keel in " + build)


def recording(name):
    with open("%s/recordings/%s.argv" % (HERE, name)) as f:
        return f.read().splitlines()


def argv_for(keel, guest, words, fds=None):
    """Recorded words with this guest's domid, paths and descriptors ({"fd=16": n, ...})."""
    out = [keel]
    for i, w in enumerate(words):
        if words[i - 1] == "-xen-domid":
            w = str(guest.domid)
        w = re.sub(r"/tmp/(?:g/)?|/var/run/xen/(qmp-libxl|qmp-libxenstat|qemu-root)-\d+",
                   lambda m: "%s/%s" % (guest.dir, m.group(1) or ""), w)
        for old, new in (fds or {}).items():
            w = re.sub(re.escape(old) + r"\b", re.sub(r"\d+$", str(new), old), w)
        out.append(w)
    return out


def keel_argv(keel, guest, vga="cirrus-vga,vgamem_mb=8"):
    """A guest without disks."""
    words = recording("a-minimal")
    words[words.index("cirrus-vga,vgamem_mb=8")] = vga
    words[words.index("-m") + 1] = str(guest.ram >> 20)
    return argv_for(keel, guest, words)


class Qmp:
    """One connection as libxl makes it; every operation of libxl has one of its own."""

    def __init__(self, where):
        if isinstance(where, str):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(where)
        else:
            self.sock = where
        self.sock.settimeout(60)
        self.buf = b""
        self.events = []
        self.id = 2020372736
        greeting = self.message()
        if greeting["QMP"]["version"]["qemu"]["major"] < 3:
            raise Error("version: %r" % greeting)
        self("qmp_capabilities")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.sock.close()

    def message(self):
        """libxl only sees a message once CR LF has come."""
        while b"\r\n" not in self.buf:
            data = self.sock.recv(65536)
            if not data:
                raise Error("QMP connection closed")
            self.buf += data
        line, self.buf = self.buf.split(b"\r\n", 1)
        if b"\n" in line:
            raise Error("newline inside a message: %r" % line)
        return json.loads(line)

    def answer(self):
        while True:
            m = self.message()
            if "event" in m:
                self.events.append(m["event"])
                continue
            if m.get("id") != self.id:
                raise Error("id %d wanted: %r" % (self.id, m))
            return m

    def send(self, command, arguments, fd=None):
        self.id += 1
        m = {"execute": command, "id": self.id}
        if arguments:
            m["arguments"] = arguments
        line = (json.dumps(m, separators=(",", ":")) + "\r\n").encode()
        if fd is None:
            self.sock.sendall(line)
            return
        self.sock.sendmsg([line[:1]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                        array.array("i", [fd]))])
        self.sock.sendall(line[1:])

    def __call__(self, command, fd=None, **arguments):
        self.send(command, {k.replace("_", "-"): v for k, v in arguments.items()}, fd)
        m = self.answer()
        if "error" in m:
            raise Error("%s: %s: %s" % (command, m["error"]["class"], m["error"]["desc"]))
        return m["return"]


def without_leak_check():
    """For a model in a chroot, or that may start no process: a sanitized build could not look there."""
    return {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}


class Keel:
    """A keel process for a recorded command line, in a guest's world."""

    def __init__(self, build, guest, words, fds=None, pass_fds=(), args=(), wait=True, **kw):
        self.guest = guest
        self.model = guest.spawn(argv_for(find_keel(build), guest, words, fds) + list(args),
                                 pass_fds=pass_fds, stdin=open(os.devnull), **kw)
        if wait:
            self.model.ready(20000)

    def qmp(self):
        return Qmp(self.guest.dir + "/qmp-libxl")

    def hangup(self):
        return self.model.hangup()


def make_disk(guest, name="disk.raw", size=1 << 20):
    """An image whose sector n starts with the number n as text."""
    path = guest.dir + "/" + name
    with open(path, "wb") as f:
        for n in range(size // 512):
            f.write(b"sector %-8d" % n + bytes(497))
    return path


