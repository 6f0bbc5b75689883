#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""NBD both ways: Keel's client with nbdkit and qemu-nbd, keel-nbd with nbdinfo, nbdcopy, qemu."""
import json
import os
import shutil
import socket
import struct
import subprocess
import time

from keel import Failure, expect, expect_in, main, run_tool as run

TOOLS = os.path.join(os.path.abspath(os.environ.get("KEEL_BUILD", "build")), "tools")
IMG, IO, NBD = (os.path.join(TOOLS, "keel-" + n) for n in ("img", "io", "nbd"))


class Server:
    """A server on a socket in the bed, until the block ends."""

    def __init__(self, bed, *args, name="sock"):
        self.path = bed.path(name)
        args = [a.replace("SOCK", self.path) for a in args]
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.proc = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def listens(self):
        with open("/proc/net/unix") as f:  # the path is there before anybody listens
            return any(x[3] == "00010000" and x[-1] == self.path for x in map(str.split, f))

    def __enter__(self):
        end = time.time() + 60
        while not self.listens():
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


def test_nbd_server_whose_socket_would_be_another_file_leaves_that(bed):
    path = bed.file("precious", b"precious")
    run(IMG, "create", "-q", bed.path("raw"), "1M")
    said = run(NBD, "-f", "raw", "-k", path, bed.path("raw"), rc=1)
    expect_in("said", "Failed to bind socket to %s: Address already in use" % path, said)
    with open(path, "rb") as f:
        expect("the file", f.read(), b"precious")


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
    mark = bed.path("mark")
    with Server(bed, "nbdkit", "-f", "-U", "SOCK", "eval", "get_size=echo 1M",
                "pread=touch %s; sleep 20" % mark) as s:
        p = subprocess.Popen([IO, "-r", "-f", "raw", "-c", "aio_read 0 4k", "-c", "aio_flush", "-c",
                              "read 0 4k", s.uri()], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT)
        while not os.path.exists(mark):
            time.sleep(.02)
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
            end = time.time() + 60
            while q.inp("b", 0x1f7) & 0x88 not in (0, 8) and time.time() < end:
                pass
            expect("data", q.inp("w", 0x1f0), 0x5a5a)
            m.cmd("quit")
            p.wait()


def qcow2(bed, name="a.qcow2", size="64M", commands=("write -q -P 3 1M 3M", "write -q -z 8M 1M")):
    f = bed.path(name)
    run(IMG, "create", "-q", "-f", "qcow2", f, size)
    io(f, *commands, args=("-f", "qcow2"))
    return f


def test_nbd_server_and_libnbds_tools(bed):
    if not shutil.which("nbdinfo"):
        return
    f, src, out = qcow2(bed), bed.path("src"), bed.path("out")
    with open(src, "wb") as s:
        s.write(os.urandom(1 << 20) * 9 + bytes(55 << 20))
    info = json.loads(run("nbdinfo", "--json", "--no-content", "--", "[", NBD, "-f", "qcow2", "-x", "", "-D", "text",
                          f, "]"))
    x = info["exports"][0]
    expect("flags", (x["export-size"], x["can_fua"], x["can_trim"], x["can_zero"], x["is_read_only"],
                     x["description"], x["contexts"], info["structured"]),
           (64 << 20, True, True, True, False, "text", ["base:allocation"], True))
    maps = [json.loads(run("nbdinfo", "--map", "--json", "--", "[", *server, f, "]"))
            for server in ((NBD, "-r", "-f", "qcow2"), ("qemu-nbd", "-r", "-f", "qcow2"))
            if shutil.which(server[0])]
    expect("map", [(e["offset"], e["length"], e["type"]) for e in maps[0]],
           [(e["offset"], e["length"], e["type"]) for e in maps[-1]])
    for shared in "1", "0":
        run("nbdcopy", src, "--", "[", NBD, "-e", shared, "-f", "qcow2", f, "]")
        run(IMG, "compare", "-f", "raw", "-F", "qcow2", src, f)
        run("nbdcopy", "--", "[", NBD, "-r", "-e", shared, "-f", "qcow2", f, "]", out)
        with open(src, "rb") as a, open(out, "rb") as b:
            expect("the copy", a.read() == b.read(), True)
    run(IMG, "check", "-q", f)


def test_nbd_server_and_qemu(bed):
    if not shutil.which("qemu-io"):
        return
    f, pid = qcow2(bed), bed.path("pid")
    with Server(bed, NBD, "-t", "-e", "3", "-x", "e", "-f", "qcow2", "-k", "SOCK", "--pid-file", pid,
                f) as s:
        out = run("qemu-io", "-f", "raw", *[a for c in (
            "read -P 3 1M 3M", "write -P 9 1000001 777", "read -P 9 1000001 777",
            "write -z 2000001 100000", "read -P 0 2000001 100000", "read -P 3 2100001 500",
            "discard 3M 1M", "aio_write -P 4 5M 20M", "aio_write -P 5 30M 20M", "aio_flush",
            "read -P 4 5M 20M", "write -f -P 1 0 4k", "flush") for a in ("-c", c)], s.uri("e"))
        expect("qemu-io: " + out, "failed" in out, False)
        io(s.uri("e"), "read -P 4 5M 20M", "read -P 5 30M 20M", "read -P 1 0 4k")
        run("qemu-img", "convert", "-f", "raw", "-O", "raw", s.uri("e"), bed.path("out"))
        run(IMG, "convert", "-f", "raw", "-O", "qcow2", s.uri("e"), bed.path("out.qcow2"))
        with open(pid) as p:
            expect("pid", int(p.read()), s.proc.pid)
    for copy, fmt in (("out", "raw"), ("out.qcow2", "qcow2")):
        run(IMG, "compare", "-f", "qcow2", "-F", fmt, f, bed.path(copy))
    run("qemu-img", "check", "-q", f)


def test_nbd_server_options(bed):
    f, sock = qcow2(bed), bed.path("s")
    uri = "nbd+unix:///?socket=" + sock
    io(f, args=("-f", "qcow2"), *["l"])
    run(IMG, "snapshot", "-c", "old", f)
    io(f, "write -q -P 8 1M 1M", args=("-f", "qcow2"))
    with Server(bed, NBD, "-k", "SOCK", "-f", "qcow2", "-l", "old", f, name="s"):
        expect_in("read-only", "read-only", io(uri, "l", rc=1))
    with Server(bed, NBD, "-t", "-k", "SOCK", "-f", "qcow2", "-l", "old", f, name="s"):
        io(uri, "read -P 3 1M 3M", args=("-r", "-f", "raw"))
    with Server(bed, NBD, "-t", "-k", "SOCK", "-f", "qcow2", "-s", f, name="s"):
        io(uri, "write -q -P 1 1M 1M")
        io(uri, "read -P 1 1M 1M")
    with Server(bed, NBD, "-t", "-k", "SOCK", "-f", "qcow2", "-o", "1M", "--detect-zeroes=unmap",
                "--discard=unmap", f, name="s"):
        io(uri, "read -P 8 0 1M")
        io(uri, "write -q -P 0 1M 1M", "write -q -P 9 4M 64k")
    expect_in("zeros take no room", '"start": 2097152, "length": 1048576, "depth": 0, "present": true,'
              ' "zero": true, "data": false', run(IMG, "map", "--output=json", f))
    io(f, "read -P 9 5M 64k", args=("-f", "qcow2"))
    secret = ("--object", "secret,id=k,data=open sesame")
    run(IMG, "convert", *secret, "-f", "qcow2", "-O", "luks", "-o", "key-secret=k,iter-time=10", f, f + ".luks")
    with Server(bed, NBD, "-t", "-k", "SOCK", *secret, "--image-opts",
                "driver=luks,key-secret=k,file.filename=%s.luks" % f, name="s"):
        io(uri, "read -P 8 1M 1M")
    # without -t it ends with its last client
    with Server(bed, NBD, "-k", "SOCK", "--image-opts", "driver=qcow2,file.filename=" + f,
                name="s") as s:
        io(uri, "read -P 8 1M 1M")
        expect("status", s.proc.wait(timeout=60), 0)
    expect("no socket left", os.path.exists(sock), False)
    run(NBD, "--fork", "-t", "-b", "127.0.0.1", "-p", "0", "-f", "raw", "/none", rc=1)
    for args, why in ((("-o", "5"), "whole sectors"), (("-o", "512G"), "has to be smaller"), (("--tls-creds", "x"), "No TLS credentials"), (("--tls-hostname", "x"), "only supported with export list"), (("--tls-authz", "x"), "--tls-authz: known"),
                      (("--detect-zeroes=x",), "invalid parameter value: x"),
                      (("--detect-zeroes=unmap",), "without setting discard"),
                      (("--object", "secret,id=s"), "--object: "), (("-B", "x"), "Bitmap 'x' is not found"), (("-c", "x"), "-c: known"), (("-L",), "incompatible with a file name"), (("--cache", "x"), "Invalid cache mode"),
                      (("-k", "a", "-p", "1"), "can't both"), (("-e", "x"), "Invalid shared")):
        expect_in(why, why, run(NBD, *args, f, rc=1))


def send_and_see(sock, data, enough=lambda got: False):
    """What a server answers to data until it hangs up, or it is enough. Without a test for that it
    is told that nothing more comes."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(60)
        s.connect(sock)
        s.sendall(data)
        if not enough(bytes(1 << 16)):
            s.shutdown(socket.SHUT_WR)
        got = b""
        while not enough(got):
            more = s.recv(65536)
            if not more:
                break
            got += more
        return got


def test_nbd_server_and_clients_that_lie(bed):
    f = bed.path("raw")
    run(IMG, "create", "-q", f, "1M")
    opt = b"IHAVEOPT"
    go = opt + struct.pack(">II", 7, 6) + bytes(6)
    flags = struct.pack(">I", 3)

    def request(cmd, offset, length, fl=0):
        return struct.pack(">IHHQQI", 0x25609513, fl, cmd, 7, offset, length)

    def errors(*requests, answers=0):
        head = 18 + 32 + 20  # the greeting, INFO, ACK
        got = send_and_see(sock, flags + go + b"".join(requests),
                           lambda got: answers and len(got) >= head + 16 * answers)
        return [struct.unpack(">I", got[i + 4:i + 8])[0] for i in range(len(got) - 15)
                if got[i:i + 4] == b"\x67\x44\x66\x98"]

    with Server(bed, NBD, "-t", "-e", "0", "-f", "raw", "-k", "SOCK", f) as s:
        sock = s.path
        for bad in (b"", b"\xff" * 4, flags + b"GARBAGE!" * 4, flags + opt + b"\0\0\0\7\xff\xff\xff\xff",
                    flags + opt + struct.pack(">II", 1, 4) + b"nope"):
            expect("hung up on %r" % bad[:20], send_and_see(sock, bad)[:8], b"NBDMAGIC")
        expect_in("GO with a bad length", struct.pack(">I", 0x80000003),
                  send_and_see(sock, flags + opt + struct.pack(">II", 7, 6) + b"\xff" * 6))
        expect_in("TLS", struct.pack(">I", 0x80000002) + struct.pack(">I", 18) + b"TLS not configured",
                  send_and_see(sock, flags + opt + struct.pack(">II", 5, 0)))
        expect("errors", errors(request(0, 1 << 20, 512), request(0, 0, 33 << 20), request(0, 0, 0),
                                request(6, 1 << 63, 1), request(9, 0, 0), request(7, 0, 512),
                                request(1, 1 << 20, 4) + b"data", request(3, 0, 0),
                                answers=8),
               [22, 22, 22, 28, 22, 22, 28, 0])
        expect("too long a write ends it", errors(request(1, 0, 1 << 30), request(3, 0, 0)), [])
        expect("cut off", errors(request(1, 0, 4096) + b"data"), [])
        # a hundred reads whose answers nobody takes: the server goes on for others
        with socket.socket(socket.AF_UNIX) as c:
            c.connect(sock)
            c.sendall(flags + go + request(0, 0, 1 << 20) * 100)
            io(s.uri(), "read -P 0 0 1M")



def test_nbd_list_and_contexts_of_status(bed):
    f, base = bed.path("q"), bed.path("b")
    run(IMG, "create", "-q", "-f", "qcow2", base, "4M")
    io(base, "write -q -P 1 0 1M", args=("-f", "qcow2"))
    run(IMG, "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", f)
    run(IMG, "bitmap", "--add", f, "dirt")
    io(f, "write -q -P 2 1M 64k", "write -q -P 3 3M 128k", args=("-f", "qcow2"))
    run(IMG, "bitmap", "--add", f, "clean")
    args = ("-t", "-k", "SOCK", "-f", "qcow2", "-x", "disk", "-D", "my disk", "-A", "-B", "dirt", "-B", "clean", f)
    with Server(bed, NBD, *args) as s:
        said = run(NBD, "-L", "-k", s.path)
        for part in ("exports available: 1\n", " export: 'disk'\n", "  description: my disk\n", "  size:  4194304\n",
                     "   base:allocation\n", "   qemu:allocation-depth\n", "   qemu:dirty-bitmap:dirt\n"):
            expect_in("list", part, said)
        if shutil.which("qemu-nbd"):
            expect("qemu-nbd says the same", run("qemu-nbd", "-L", "-k", s.path), said)
        if shutil.which("nbdinfo"):
            for context, want in (
                    ("qemu:dirty-bitmap:dirt", [(0, 1 << 20, 0), (1 << 20, 65536, 1), (1114112, 2031616, 0),
                                                (3 << 20, 131072, 1), (3276800, 917504, 0)]),
                    ("qemu:dirty-bitmap:clean", [(0, 4 << 20, 0)]),
                    ("qemu:allocation-depth", [(0, 1 << 20, 2), (1 << 20, 65536, 1), (1114112, 2031616, 0),
                                               (3 << 20, 131072, 1), (3276800, 917504, 0)])):
                got = json.loads(run("nbdinfo", "--map=" + context, "--json", s.uri("disk")))
                expect(context, [(x["offset"], x["length"], x["type"]) for x in got], want)
            info = json.loads(run("nbdinfo", "--no-content", "--json", s.uri("disk")))["exports"][0]
            expect("contexts", info["contexts"], ["base:allocation", "qemu:allocation-depth",
                                                  "qemu:dirty-bitmap:dirt", "qemu:dirty-bitmap:clean"])
    expect_in("no server", "sock", run(NBD, "-L", "-k", bed.path("sock"), rc=1))
    if shutil.which("qemu-nbd"):
        with Server(bed, "qemu-nbd", *args[:3], "-f", "qcow2", "-x", "disk", "-A", "-B", "dirt", f) as s:
            expect("of qemu's server", run(NBD, "-L", "-k", s.path), run("qemu-nbd", "-L", "-k", s.path))


def make_certificates(d):
    """A certificate authority, and certificates for a server "box" and a client."""
    os.mkdir(d)

    def openssl(*args):
        run("openssl", *args)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", d + "/ca-key.pem", "-out", d + "/ca-cert.pem",
            "-subj", "/CN=authority", "-days", "30")
    for side in ("server", "client"):
        with open(d + "/ext", "w") as f:
            f.write("subjectAltName=DNS:box\n")
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "%s/%s-key.pem" % (d, side), "-out", d + "/req",
                "-subj", "/CN=" + side)
        openssl("x509", "-req", "-in", d + "/req", "-CA", d + "/ca-cert.pem", "-CAkey", d + "/ca-key.pem",
                "-CAcreateserial", "-out", "%s/%s-cert.pem" % (d, side), "-days", "30", "-extfile", d + "/ext")


def tls_clients(bed, kind, extra=""):
    d = bed.path("tls")
    return (("--object", "tls-creds-%s,id=s,dir=%s,endpoint=server%s" % (kind, d, extra), "--tls-creds", "s"),
            lambda host="": ("--object", "tls-creds-%s,id=c,dir=%s,endpoint=client" % (kind, d)))


def test_nbd_tls_with_certificates_and_with_keys(bed):
    f, d = bed.path("raw"), bed.path("tls")
    run(IMG, "create", "-q", f, "16M")
    kinds = ["psk"] + (["x509"] if shutil.which("openssl") else [])
    if "x509" in kinds:
        make_certificates(d)
        make_certificates(bed.path("other"))
    else:
        os.mkdir(d)
    with open(d + "/keys.psk", "w") as k:
        k.write("someone:%s\nqemu:%s\n" % (os.urandom(32).hex(), os.urandom(32).hex()))
    for kind in kinds:
        server, client = tls_clients(bed, kind)
        opts = "driver=nbd,server.type=unix,server.path=%s,tls-creds=c" % bed.path("sock")
        opts += ",tls-hostname=box" if kind == "x509" else ""
        keel = [NBD, "-t", "-e", "0", "-f", "raw", "-k", "SOCK", *server, f]
        servers = [keel] + ([["qemu-nbd", *keel[1:]]] if shutil.which("qemu-nbd") else [])
        tools = [IO] + (["qemu-io"] if shutil.which("qemu-io") else [])
        for start in servers:
            with Server(bed, *start):
                for tool in tools:
                    run(tool, *client(), "-c", "write -q -P 5 0 8M", "-c", "aio_read -P 5 0 4M",
                        "-c", "aio_read -P 5 4M 4M", "-c", "aio_flush", "-c", "write -q -z 1M 1M",
                        "-c", "read -P 0 1M 1M", "--image-opts", opts)
                expect_in("without TLS", "TLS", io("nbd:unix:" + bed.path("sock"), "l", rc=1))
                more = ("--tls-hostname", "box") if kind == "x509" else ()
                expect_in("list", "exports available: 1",
                          run(NBD, "-L", "-k", bed.path("sock"), *client(), "--tls-creds", "c", *more))
        with Server(bed, *keel) as s:
            if kind == "x509":
                bad = opts.replace("tls-hostname=box", "tls-hostname=fox")
                expect_in("another host", "TLS:", run(IO, *client(), "-c", "l", "--image-opts", bad, rc=1))
                other = ("--object", "tls-creds-x509,id=c,dir=%s,endpoint=client" % bed.path("other"))
                expect_in("another authority", "TLS:", run(IO, *other, "-c", "l", "--image-opts", opts, rc=1))
                expect_in("no host", "No hostname", run(IO, *client(), "-c", "l", "--image-opts",
                                                        opts.replace(",tls-hostname=box", ""), rc=1))
            else:
                os.mkdir(bed.path("mine"))
                with open(bed.path("mine/keys.psk"), "w") as k:
                    k.write("qemu:%s\n" % os.urandom(32).hex())
                other = ("--object", "tls-creds-psk,id=c,dir=" + bed.path("mine"))
                expect_in("another key", "TLS", run(IO, *other, "-c", "l", "--image-opts", opts, rc=1))
            plain = b"IHAVEOPT" + struct.pack(">II", 3, 0)
            flags = struct.pack(">I", 3)
            expect_in("nothing is told without TLS", struct.pack(">I", 0x80000005), send_and_see(s.path, flags + plain))
            # what is said in the clear behind STARTTLS is not taken for what is said inside
            expect("nothing is put in before", len(send_and_see(
                s.path, flags + b"IHAVEOPT" + struct.pack(">II", 5, 0) + plain)), 18 + 20)
            send_and_see(s.path, flags + b"IHAVEOPT" + struct.pack(">II", 5, 0), lambda got: len(got) >= 38)
            run(IO, *client(), "-c", "l", "--image-opts", opts)
    with Server(bed, NBD, "-t", "-f", "raw", "-k", "SOCK", f):
        expect_in("a server without", "TLS not configured", run(IO, *client(), "-c", "l", "--image-opts", opts, rc=1))
    for o, why in (("tls-creds-psk,id=x", "dir= is missing"), ("tls-creds-psk,id=x,dir=/none", "/none/keys.psk"),
                   ("tls-creds-psk,id=x,dir=%s,username=me" % d, "no key of username=me"),
                   ("tls-creds-x509,id=x,dir=/none", "/none/ca-cert.pem"), ("tls-creds-x509,id=x,dir=/,endpoint=both", "endpoint=both"),
                   ("tls-creds-psk,id=x,dir=%s,priority=BOGUS" % d, "priority=BOGUS"), ("tls-creds-anon,id=x", "Keel has")):
        expect_in(o, why, run(IO, "--object", o, "-c", "l", f, rc=1))
    expect_in("side", "Expecting TLS credentials with a client endpoint",
              run(IO, *server[:2], "-c", "l", "--image-opts", opts.replace("creds=c", "creds=s"), rc=1))


def test_nbd_client_waits_for_a_server_that_comes_back(bed):
    f = bed.path("raw")
    run(IMG, "create", "-q", f, "16M")
    serve = (NBD, "-t", "-f", "raw", "-k", "SOCK", f)
    opts = "driver=nbd,server.type=unix,server.path=%s," % bed.path("sock")

    def start(more, *commands):
        p = subprocess.Popen([IO, "--image-opts", opts + more], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True)
        say(p, *commands)
        return p

    def say(p, *commands):
        p.stdin.write("".join(c + "\n" for c in commands))
        p.stdin.flush()

    p = start("open-timeout=60", "write -P 1 0 4M", "read -P 1 0 4M")
    time.sleep(.3)
    with Server(bed, *serve):
        out = p.communicate(timeout=100)[0]
    expect("open-timeout: %s" % out, p.returncode, 0)
    expect_in("no server", "sock", run(IO, "--image-opts", "-c", "l", opts + "open-timeout=1", rc=1))
    with Server(bed, *serve):
        p = start("reconnect-delay=60", "write -P 2 0 4M")
        expect_in("first", "wrote", p.stdout.readline())
        p.stdout.readline()
    say(p, "aio_write -P 3 0 1M", "aio_write -P 4 1M 1M", "aio_flush", "read -P 2 2M 2M")
    time.sleep(.3)
    with Server(bed, *serve):
        out = p.communicate("read -P 3 0 1M\nread -P 4 1M 1M\n", timeout=100)[0]
        expect("reconnect-delay: %s" % out, p.returncode, 0)
        expect_in("told", "connected again" if "connected again" in out else "lost", out)
    with Server(bed, *serve):
        p = start("reconnect-delay=1", "write -P 5 0 4M")
        p.stdout.readline()
        p.stdout.readline()
    say(p, "read 0 4k")  # waits a second, then fails
    while "read failed: Input/output error" not in p.stdout.readline():
        expect("it goes on", p.poll(), None)
    with Server(bed, *serve):
        time.sleep(2.5)
        say(p, "read -P 5 0 4M")
        while "read 4194304/4194304" not in p.stdout.readline():
            expect("it goes on", p.poll(), None)
        p.communicate()


if __name__ == "__main__":
    main(globals())
