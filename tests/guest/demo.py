#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""demo.py BUILD_DIR OUT_DIR - Debian's kernel boots on Keel's translator to a shell on this terminal.

The guest has a disk with a file on it, a screen with a picture on it, and this terminal as its serial
port. The screen goes to OUT_DIR/screen.png. When standard input is no terminal, the guest runs a few
commands by itself instead of a shell. Ends when the guest switches itself off.
"""
import os
import subprocess
import sys
import tempfile
import threading
import time

import initramfs
from guest import Failure
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "functional"))
from keel import Qmp  # noqa: E402
import socket  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
HELLO = "This file came from the guest's IDE disk.\n"
BATCH = "uname -a; cat /proc/loadavg; head -c %d /dev/sda; sleep 2; poweroff -f" % len(HELLO)
SHELL = "echo 'A shell in the guest; poweroff -f ends it.'; setsid sh -c 'exec sh </dev/ttyS0 >/dev/ttyS0 2>&1'; poweroff -f"
SCRIPT = """
clear > /dev/tty0
cat /splash.txt > /dev/tty0
(uname -a; grep -m1 'model name' /proc/cpuinfo; cat /proc/partitions) > /dev/tty0
echo up > /dev/ttyS1
%s
"""


def picture(sock, marker, path, stop):
    """When the guest says it is up: its screen into path."""
    while not stop.is_set():
        if os.path.exists(marker) and os.path.getsize(marker):
            time.sleep(0.2)
            s = socket.socket(socket.AF_UNIX)
            s.connect(sock)
            Qmp(s).hmp("screendump " + path)
            return
        time.sleep(0.05)


def main():
    build, out = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    batch = not sys.stdin.isatty()
    kernel, release = initramfs.kernels()
    with tempfile.TemporaryDirectory(prefix="keel-demo-") as d:
        with open(os.path.join(HERE, "..", "xen", "guest", "splash.txt")) as f:
            splash = f.read()
        initrd = initramfs.build(d + "/initrd", SCRIPT % (BATCH if batch else SHELL),
                                 ["ata_piix", "sd_mod"], [("splash.txt", splash, 0o644)], release)
        with open(d + "/disk.img", "wb") as f:
            f.write(HELLO.encode().ljust(8 << 20, b"\0"))
        stop = threading.Event()
        watcher = threading.Thread(target=picture,
                                   args=(d + "/qmp", d + "/up", out + "/screen.png", stop))
        start = time.time()
        keel = subprocess.Popen(
            [build + "/dm/keel", "-M", "pc", "-accel", "tcg", "-m", "512", "-display", "none",
             "-nodefaults", "-vga", "std", "-kernel", kernel, "-initrd", initrd, "-append",
             "console=ttyS0 quiet panic=-1", "-no-reboot", "-serial", "stdio", "-serial",
             "file:" + d + "/up", "-drive", "file=%s/disk.img,format=raw,if=ide" % d, "-qmp",
             "unix:%s/qmp,server=on,wait=off" % d],
            stdin=subprocess.DEVNULL if batch else None)
        watcher.start()
        code = keel.wait()
        stop.set()
        watcher.join()
        if code:
            raise Failure("keel ended with %d" % code)
        print("%.1f s from start to power-off" % (time.time() - start))


main()
