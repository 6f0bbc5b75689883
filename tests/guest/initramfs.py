# SPDX-License-Identifier: MIT
"""An initramfs for test guests: busybox, the kernel modules asked for, files, and a script as init.

Everything comes from Debian's packages on this machine: linux-image-amd64 and busybox-static.
"""
import glob
import lzma
import os
import platform
import re
import stat

BUSYBOX = "/bin/busybox"

INIT = """#!/bin/busybox sh
B=/bin/busybox
export PATH=/bin
$B mkdir -p /proc /sys /dev /tmp /mnt
$B mount -t proc proc /proc
$B mount -t sysfs sysfs /sys
$B mount -t devtmpfs dev /dev
$B --install -s /bin
for m in $(cat /modules.order); do insmod $m || echo "insmod $m failed"; done
%s
"""


def kernels(arch="amd64"):
    """(image, release) of the newest installed kernel; None when there is none."""
    found = sorted(glob.glob("/boot/vmlinuz-*-%s" % arch), key=os.path.getmtime)
    return (found[-1], found[-1].split("vmlinuz-", 1)[1]) if found else None


def unpack(image, elf):
    """Writes the ELF inside a kernel image, which starts by its PVH note: unpacking it is slow work for guests."""
    with open(image, "rb") as f:
        data = f.read()
    data = lzma.LZMADecompressor().decompress(data[data.index(b"\xfd7zXZ\0"):])
    if data[:4] != b"\x7fELF":
        raise ValueError("%s: no ELF inside" % image)
    with open(elf, "wb") as f:
        f.write(data)
    return elf


def closure(release, names):
    """Paths of the modules and what they need, in the order of loading."""
    top = "/lib/modules/%s/" % release
    needs, path = {}, {}
    with open(top + "modules.dep") as f:
        for line in f:
            file, deps = line.split(":", 1)
            name = re.sub(r"\.ko(\.\w+)?$", "", os.path.basename(file)).replace("-", "_")
            path[name] = file
            needs[file] = deps.split()
    order = []

    def add(file):
        for d in reversed(needs[file]):
            add(d)
        if file not in order:
            order.append(file)

    for name in names:
        name = name.replace("-", "_")
        if name in path:  # else it is built in
            add(path[name])
    return [top + p for p in order]


class Cpio:
    """A "newc" archive."""

    def __init__(self):
        self.parts = []
        self.ino = 1
        self.dirs = set()

    def entry(self, name, mode, data=b"", rdev=(0, 0)):
        self.ino += 1
        n = name.encode() + b"\0"
        head = "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X" % (
            self.ino, mode, 0, 0, 1, 0, len(data), 0, 0, rdev[0], rdev[1], len(n), 0)
        for part in (head.encode() + n, data):
            self.parts.append(part + b"\0" * (-len(part) % 4))

    def folder(self, name):
        if name and name not in self.dirs:
            self.folder(os.path.dirname(name))
            self.dirs.add(name)
            self.entry(name, stat.S_IFDIR | 0o755)

    def file(self, name, data, mode=0o644):
        self.folder(os.path.dirname(name))
        self.entry(name, stat.S_IFREG | mode, data if isinstance(data, bytes) else data.encode())

    def node(self, name, kind, major, minor):
        self.folder(os.path.dirname(name))
        self.entry(name, kind | 0o600, rdev=(major, minor))

    def finish(self):
        self.entry("TRAILER!!!", 0)
        return b"".join(self.parts)


def build(path, script, modules=(), files=(), release=None, busybox=BUSYBOX):
    """Writes the archive to path. script: what init does when everything is mounted and loaded. files:
    (name in the guest, bytes or text, mode) each."""
    release = release or kernels()[1]
    c = Cpio()
    with open(busybox, "rb") as f:
        c.file("bin/busybox", f.read(), 0o755)
    c.node("dev/console", stat.S_IFCHR, 5, 1)
    c.node("dev/null", stat.S_IFCHR, 1, 3)
    order = []
    for m in closure(release, modules) if modules else []:
        with open(m, "rb") as f:
            c.file("mod/" + os.path.basename(m), f.read())
        order.append("/mod/" + os.path.basename(m))
    c.file("modules.order", "\n".join(order) + "\n")
    for name, data, mode in files:
        c.file(name.lstrip("/"), data, mode)
    c.file("init", INIT % script, 0o755)
    with open(path, "wb") as f:
        f.write(c.finish())
    return path


assert platform.machine() == "x86_64"
