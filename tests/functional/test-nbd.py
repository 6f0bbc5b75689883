#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""NBD both ways: Keel's client with nbdkit and qemu-nbd, keel-nbd with nbdinfo, nbdcopy, qemu."""
import os
import shutil
import socket
import subprocess
import time

from keel import Failure, expect, expect_in, main

TOOLS = os.path.join(os.path.abspath(os.environ.get("KEEL_BUILD", "build")), "tools")
IMG, IO = (os.path.join(TOOLS, "keel-" + n) for n in ("img", "io"))


def run(*args, rc=0):
    p = subprocess.run(args, capture_output=True, text=True, timeout=120)
    if rc is not None and p.returncode != rc:
        raise Failure("%s: exit status %d, wanted %d\n%s%s"
                      % (" ".join(args), p.returncode, rc, p.stdout, p.stderr))
    return p.stdout + p.stderr


class Server:
    """A server on a socket in the bed, until the block ends."""

    def __init__(self, bed, *args, name="sock"):
        self.path = bed.path(name)
        args = [a.replace("SOCK", self.path) for a in args]
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.proc = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def __enter__(self):
        end = time.time() + 30
        while not os.path.exists(self.path):
            if self.proc.poll() is not None or time.time() > end:
                raise Failure("no server: %r" % self.proc.stdout.read())
            time.sleep(.01)
        return self

    def uri(self, export=""):
        return "nbd+unix:///%s?socket=%s" % (export, self.path)

    def __exit__(self, *_):
        self.proc.terminate()
        self.output = self.proc.communicate()[0].decode()


def io(uri, *commands, args=("-f", "raw"), rc=0):
    return run(IO, *args, *[a for c in commands for a in ("-c", c)], uri, rc=rc)


def exercise(uri):
    io(uri, "write -q -P 5 0 1M", "read -P 5 4k 100k", "write -q -z 64k 64k", "read -P 0 64k 64k",
       "flush", "discard -q 512k 256k", "aio_write -q -P 7 2M 40M", "aio_write -q -P 8 48M 10M",
       "aio_flush", "read -P 7 2M 40M", "read -P 8 48M 10M", "read -P 5 768k 256k")


def test_nbd_client_reads_and_writes_at_every_kind_of_server(bed):
    if shutil.which("nbdkit"):
        for extra in ([], ["--no-sr"], ["--filter=nozero"]):
            with Server(bed, "nbdkit", "-f", "-U", "SOCK", *extra, "memory", "64M") as s:
                exercise(s.uri())
    if shutil.which("qemu-nbd"):
        run(IMG, "create", "-q", bed.path("raw"), "64M")
        with Server(bed, "qemu-nbd", "-t", "-f", "raw", "-x", "one", "-k", "SOCK",
                    bed.path("raw"), name="q") as s:
            exercise(s.uri("one"))
            io("nbd:unix:%s:exportname=one" % s.path, "read -P 7 2M 40M")
            expect_in("no such", "refuses export 'two'", io(s.uri("two"), "l", rc=1))
            expect_in("map", '"start": 2097152', run(IMG, "map", "--output=json", s.uri("one")))


def test_nbd_client_writethrough_and_read_only(bed):
    if not shutil.which("nbdkit"):
        return
    for fua in ("native", "none"):
        said = bed.path(fua)
        with Server(bed, "nbdkit", "-f", "-U", "SOCK", "eval", "get_size=echo 1M", "can_write=:",
                    "can_flush=:", "can_fua=echo " + fua, "pread=head -c $3 /dev/zero",
                    "pwrite=cat >/dev/null; echo write $5 >>" + said,
                    "flush=echo flush >>" + said) as s:
            io(s.uri(), "write -q 0 4k", args=("-f", "raw", "-t", "writethrough"))
        with open(said) as f:
            expect("durable", f.read(), "write fua\n" if fua == "native" else "write\nflush\n")
    with Server(bed, "nbdkit", "-f", "-r", "-U", "SOCK", "memory", "1M", name="r") as s:
        expect_in("read-only", "export is read-only", io(s.uri(), "l", rc=1))
        io(s.uri(), "read -P 0 0 1M", args=("-f", "raw", "-r"))


def test_nbd_client_survives_a_server_that_dies(bed):
    if not shutil.which("nbdkit"):
        return
    with Server(bed, "nbdkit", "-f", "-U", "SOCK", "--filter=exitlast", "--filter=delay", "memory",
                "1M", "delay-read=20") as s:
        p = subprocess.Popen([IO, "-f", "raw", "-c", "aio_read 0 4k", "-c", "aio_flush", "-c",
                              "read 0 4k", s.uri()], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT)
        time.sleep(.5)
        s.proc.kill()
        out = p.communicate(timeout=60)[0].decode()
    expect("both reads fail: " + out, out.count("read failed: Input/output error"), 2)


def test_nbd_client_refuses_what_is_no_server(bed):
    greetings = {
        b"HTTP/1.1 400 Bad Request\r\n\r\n": "this is no NBD server",
        b"NBDMAGIC\x00\x00\x42\x02\x81\x86\x12\x53" + bytes(16): "oldstyle",
        b"NBDMAGICIHAVEOPT\0\0": "fixed newstyle",
        b"NBDMAGIC": "Connection reset",
        # a reply that claims to be 4 GiB long
        b"NBDMAGICIHAVEOPT\0\3" + bytes.fromhex("0003e889045565a9") + b"\0\0\0\x08\0\0\0\1"
        + b"\xff\xff\xff\xff": "Protocol error",
    }
    for i, (hello, want) in enumerate(greetings.items()):
        path = bed.path("s%d" % i)
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
            s.listen(1)
            p = subprocess.Popen([IO, "-c", "l", "nbd+unix:///?socket=" + path],
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            c = s.accept()[0]
            c.sendall(hello)
            c.shutdown(socket.SHUT_WR)
            expect_in("greeting %d" % i, want, p.communicate(timeout=60)[0].decode())
            c.close()
    for bad, why in (("nbds://h/", "TLS"), ("nbd+unix:///x", "socket=PATH"), ("nbd:", "host"),
                     ("nbd://127.0.0.1:1/", "refused")):
        expect_in(bad, why, run(IO, "-c", "l", bad, rc=1))


def test_nbd_disk_of_a_machine(bed):
    if not shutil.which("nbdkit"):
        return
    with Server(bed, "nbdkit", "-f", "-U", "SOCK", "memory", "1M") as s:
        io(s.uri(), "write -q -P 0x5a 0 512")
        for args in (("-drive", "file=nbd:unix:%s,format=raw,if=ide" % s.path),
                     ("-blockdev", "driver=nbd,node-name=n,server.type=unix,server.path=" + s.path,
                      "-blockdev", "driver=raw,node-name=d,file=n",
                      "-device", "ide-hd,drive=d,bus=ide.0,unit=0"),
                     ("-blockdev", "driver=raw,node-name=d,file.driver=nbd,file.server.type=unix,"
                      "file.server.path=" + s.path, "-device", "ide-hd,drive=d,bus=ide.0,unit=0")):
            p = bed.machine(*args)
            m, q = p.qmp(), p.qtest()
            q.out("b", 0x1f6, 0xe0)
            q.out("b", 0x1f2, 1)
            for i in range(3):
                q.out("b", 0x1f3 + i, 0)
            q.out("b", 0x1f7, 0x20)
            end = time.time() + 30
            while q.inp("b", 0x1f7) & 0x88 not in (0, 8) and time.time() < end:
                pass
            expect("data", q.inp("w", 0x1f0), 0x5a5a)
            m.cmd("quit")
            p.wait()


if __name__ == "__main__":
    main(globals())
