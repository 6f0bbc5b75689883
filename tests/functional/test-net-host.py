#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The host's own network stack and programs as the guest of a back end: a hub joins it to a tap, and
the tap lies in a namespace that has nothing else.
"""
import glob
import os
import random
import shutil
import socket
import subprocess
import threading
import time

from card import Host, serve_once
from keel import Failure, expect, expect_in, main
from netns import Namespace, can_have_namespaces


class Wire:
    """A namespace whose only interface is plugged into back end `spec` (with id=n)."""

    def __init__(self, bed, spec, *args):
        self.ns = Namespace("wire")
        self.name = "kw%d" % os.getpid()
        self.spec, self.bed, self.args = spec, bed, args

    def __enter__(self):
        self.keel = self.bed.machine(
            "-netdev", self.spec, "-netdev",
            "tap,id=t,ifname=%s,script=no,downscript=no" % self.name, "-netdev",
            "hubport,id=h0,hubid=1,netdev=n", "-netdev", "hubport,id=h1,hubid=1,netdev=t", *self.args)
        self.keel.qmp().cmd("query-status")
        self.ns.__enter__()
        return self

    def __exit__(self, *_):
        self.ns.__exit__()

    def address(self, address):
        self.ns.adopt(self.name, address)

    def __call__(self, *words, **kw):
        return self.ns(*words, **kw)


def wait_for(what, fn, seconds=60):
    end = time.time() + seconds
    while True:
        got = fn()
        if got:
            return got
        if time.time() > end:
            raise Failure("no %s in %d s" % (what, seconds))
        time.sleep(0.05)


def test_net_smb_when_directory_is_shared_then_a_client_reads_and_writes(bed):
    if not can_have_namespaces() or not shutil.which("smbclient") or not shutil.which("smbd"):
        return
    data = os.urandom(300000)
    os.mkdir(bed.path("share"))
    bed.file("share/there", data)
    bed.file("secret", b"not in the share")
    before = set(d for d in os.listdir("/tmp") if d.startswith("keel-smb."))

    def private():
        return set(d for d in os.listdir("/tmp") if d.startswith("keel-smb.")) - before
    with Wire(bed, "user,id=n,restrict=on,smb=" + bed.path("share")) as w:
        made = private()
        expect("private directory", bool(made), True)
        expect("of ours alone", os.stat("/tmp/" + sorted(made)[0]).st_mode & 0o77, 0)
        w.address("10.0.2.15/24")

        def smb(commands):
            return w("smbclient", "-N", "//10.0.2.4/qemu", "-t", "60", "-c", commands, check=False)
        smb("lcd %s; get there copied; put copied back" % bed.dir)
        with open(bed.path("copied"), "rb") as f:
            expect("read", f.read() == data, True)
        with open(bed.path("share/back"), "rb") as f:
            expect("written", f.read() == data, True)
        smb("lcd %s; get ../secret stolen" % bed.dir)
        expect("outside", os.path.exists(bed.path("stolen")), False)
        w.keel.qmp().cmd("quit")
        w.keel.wait()
    expect("left behind", private() & made, set())


def text_of(path):
    try:
        with open(path) as f:
            return f.read()
    except OSError:  # another test's, which has ended
        return ""


def test_net_smb_when_directory_has_any_name_then_that_one_is_shared_or_none(bed):
    if not shutil.which("smbd") or not shutil.which("testparm"):
        return
    rnd = random.Random(int(os.environ.get("KEEL_SEED", "1")))
    os.mkdir(bed.path("s"))
    for n in range(40):
        name = "%d" % n + "".join(rnd.choice("ab ;#[]=%$()\"'\\\n\t\x01,~`!*?{}<>|&\u00e9") for _ in range(rnd.randrange(1, 9)))
        path = os.path.realpath(bed.path("s")) + "/" + name
        os.mkdir(path)
        args = ["-netdev", "user,id=n,smb=" + path.replace(",", ",,")]
        if any(c < " " or c in '%"' for c in name) or name[-1] in "\\ ":
            why = bed.refused("-M", "none", "-nodefaults", "-display", "none", *args)
            expect_in(repr(name), "a name that smb.conf cannot hold", why)
            continue
        p = bed.machine(*args)
        q = p.qmp()
        conf = next(c for c in glob.glob("/tmp/keel-smb.*/smb.conf") if bed.dir in text_of(c))
        said = subprocess.run(["testparm", "-s", "--section-name=qemu", "--parameter-name=path", conf], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        expect(repr(name), said, path + "\n")
        q.cmd("quit")
        expect("exit code", p.wait(), 0)


RESOLVER = "127.0.0.99"


def answer_names(seen):
    """A name server that says 192.0.2.7 to everything."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((RESOLVER, 53))

    def serve():
        while True:
            q, who = s.recvfrom(512)
            seen.append(q)
            s.sendto(q[:2] + b"\x81\x80" + q[4:6] + b"\0\1\0\0\0\0" + q[12:] +
                     b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\7", who)
    threading.Thread(target=serve, daemon=True).start()


def can_have_a_resolver():
    """A plain chroot cannot: its root is no mount point, so nothing in it can be made private."""
    return shutil.which("unshare") and subprocess.run(["unshare", "-m", "true"],
                                                      stderr=subprocess.DEVNULL).returncode == 0


def with_file(bed, path, data):
    """Has bed's Keel see data as the file at path."""
    mine = bed.file(os.path.basename(path), data)
    bed.file("keel", b'#!/bin/sh\nexec unshare -m sh -c \'f="$1"; shift; mount --bind "$0" "$f" && '
             b'exec "$@"\' %s %s %s "$@"\n' % (mine.encode(), path.encode(), bed.keel.encode()))
    os.chmod(bed.path("keel"), 0o755)
    bed.keel = bed.path("keel")


def with_resolver(bed):
    """Has bed's Keel see a resolv.conf that names ours."""
    with_file(bed, "/etc/resolv.conf", b"nameserver %s\nnameserver ::1\n" % RESOLVER.encode())


def test_net_stream_when_a_name_has_two_addresses_then_both_are_tried(bed):
    """Nobody listens on ::1, which comes first."""
    if not can_have_a_resolver() or os.geteuid() != 0:
        return
    with_file(bed, "/etc/hosts", b"::1 both.test\n127.0.0.1 both.test\n")
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    for extra in ("", ",reconnect-ms=20"):
        p = bed.machine("-netdev", "stream,id=n0,addr.type=inet,addr.host=both.test,addr.port=%d%s" % (port, extra))
        listener.settimeout(60)
        peer = listener.accept()[0]
        q = p.qmp()
        wait_for("connection", lambda: "127.0.0.1:%d (connected)" % port in q.hmp("info network"))
        q.cmd("quit")
        p.wait()
        peer.close()
    p = bed.machine("-chardev", "socket,id=c0,host=both.test,port=%d,reconnect-ms=20" % port, "-serial", "chardev:c0")
    for _ in range(3):
        listener.accept()[0].close()
    p.qmp().cmd("quit")


def test_net_user_when_guest_asks_for_names_then_the_host_s_server_answers(bed):
    if not can_have_namespaces() or not can_have_a_resolver():
        return
    seen = []
    answer_names(seen)
    with_resolver(bed)
    query = b"\x12\x34\1\0\0\1\0\0\0\0\0\0\4keel\4test\0\0\1\0\1"
    p = bed.machine("-netdev", "user,id=n0,dns=10.0.2.9", "-device", "e1000,netdev=n0,addr=4")
    h = Host(p.qtest(), 4)
    h.configure()
    _, answer = h.udp_ask(h.resolve("10.0.2.9"), "10.0.2.9", 3000, 53, query)
    expect("asked", [q[2:] for q in seen], [query[2:]])
    expect("address", answer[-4:], b"\xc0\0\2\7")


def test_net_user_when_guest_speaks_ipv6_then_prefix_names_and_host_are_there(bed):
    if not can_have_namespaces():
        return
    seen, listener = [], socket.create_server(("::1", 0), family=socket.AF_INET6)
    threading.Thread(target=serve_once, args=(listener, seen), daemon=True).start()
    dump = bed.path("x.pcap")
    resolver = can_have_a_resolver()
    if resolver:
        with_resolver(bed)  # the library tells guests of a name server if the host has one
    with Wire(bed, "user,id=n,ipv4=off,ipv6-prefix=fd00:77::,ipv6-prefixlen=64,ipv6-host=fd00:77::9,"
              "ipv6-dns=fd00:77::53", "-object",
              "filter-dump,id=f,netdev=n,file=" + dump) as w:
        for key, value in (("disable_ipv6", 0), ("accept_ra", 2), ("accept_dad", 0)):
            for name in ("default", "all"):
                w("busybox", "sysctl", "-w", "net.ipv6.conf.%s.%s=%d" % (name, key, value))
        w.address("10.0.2.15/24")
        wait_for("address of the prefix", lambda: "fd00:77::" in w("ip", "-6", "addr"))
        expect_in("route", "default", w("ip", "-6", "route"))
        expect_in("echo", "1 packets received", w("busybox", "ping", "-6", "-c", "1", "-W", "10",
                                                  "fd00:77::9"))
        got = w("sh", "-c", "echo over six | busybox nc -w 10 fd00:77::9 %d" %
                listener.getsockname()[1])
        expect("answer", got, "from the host")
        expect("request", seen, [b"over six\n"])
        with open(dump, "rb") as f:
            told = f.read()
    if not resolver:
        return
    rdnss = b"\x19\3\0\0", socket.inet_pton(socket.AF_INET6, "fd00:77::53")
    at = told.index(rdnss[0])
    expect("name server in the advertisement", told[at + 8:at + 24], rdnss[1])


if __name__ == "__main__":
    main(globals())
