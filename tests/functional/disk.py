# SPDX-License-Identifier: MIT
"""A machine's first IDE disk, driven by ATA commands; images, looked at with Keel's tools."""
import os
import signal
import subprocess
import time

from keel import Failure, expect

TOOLS = os.path.join(os.path.abspath(os.environ.get("KEEL_BUILD", "build")), "tools")


def img(*args, rc=0):
    p = subprocess.run([os.path.join(TOOLS, "keel-img"), *args], capture_output=True, text=True)
    expect("keel-img %r: %s" % (args, p.stdout + p.stderr), p.returncode, rc)
    return p.stdout + p.stderr


def holds(path, *reads, fmt="qcow2", share=False):
    args = ["-U"] * share + [a for r in reads for a in ("-c", "read " + r)]
    p = subprocess.run([os.path.join(TOOLS, "keel-io"), "-r", "-f", fmt, *args, path],
                       capture_output=True, text=True)
    if p.returncode or "verification failed" in p.stdout:
        raise Failure("%s: %s" % (path, p.stdout + p.stderr))


class Far:
    """A disk that another process serves, until the block ends: one of fixed length."""

    def __init__(self, bed, data):
        self.path, self.sock, self.pid = bed.file("far", data), bed.path("sock"), bed.path("pid")
        self.server = subprocess.Popen([os.path.join(TOOLS, "keel-nbd"), "-f", "raw", "-t", "-k", self.sock,
                                        "--pid-file", self.pid, self.path])

    def __enter__(self):
        while not os.path.exists(self.pid):
            time.sleep(0.01)
        return self

    def add(self, q):
        q.cmd("blockdev-add", driver="nbd", node_name="n", server={"type": "unix", "path": self.sock})

    def stand_still(self, yes):
        self.server.send_signal(signal.SIGSTOP if yes else signal.SIGCONT)

    def __exit__(self, *_):
        self.stand_still(False)
        self.server.terminate()
        self.server.wait()


# ---- ATA commands of a guest, t the machine's device test line ----


def wait_ready(t):
    end = time.time() + 60
    while time.time() < end:
        if t.inp("b", 0x1f7) & 0x88 in (0, 8):
            return
    raise Failure("the disk stays busy")


def ata(t, command, lba, count=1):
    t.out("b", 0x1f6, 0xe0 | lba >> 24)
    t.out("b", 0x1f2, count)
    for i in range(3):
        t.out("b", 0x1f3 + i, lba >> 8 * i & 255)
    t.out("b", 0x1f7, command)
    wait_ready(t)


def write_sector(t, lba, byte):
    ata(t, 0x30, lba)
    for _ in range(256):
        t.out("w", 0x1f0, byte * 0x101)
    wait_ready(t)
    ata(t, 0xe7, 0)
    expect("status", t.inp("b", 0x1f7) & 0x21, 0)


def read_sector(t, lba):
    ata(t, 0x20, lba)
    return [t.inp("w", 0x1f0) for _ in range(256)]


class Disk:
    """A machine with one IDE disk, written by the ATA commands of a guest."""

    def __init__(self, bed, *args):
        self.p = bed.machine(*args)
        self.q, self.t = self.p.qmp(), self.p.qtest()

    def ata(self, command, lba, count=1):
        ata(self.t, command, lba, count)

    def put(self, lba, byte):
        write_sector(self.t, lba, byte)

    def get(self, lba):
        return read_sector(self.t, lba)[255] & 255
