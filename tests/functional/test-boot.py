#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A PC of Keel's own, from firmware to guest: small images of every kind that say what they found
on the debug port, and Debian's kernel where it is installed."""
import gzip
import os
import struct
import subprocess
import glob
import time

from keel import Failure, expect, expect_in, main

# The interpreter needs nothing of the host; what the generator does differently others test.
TCG = ("-accel", "tcg,keel-engine=interp", "-display", "none", "-monitor", "none",
       "-device", "isa-debug-exit,iobase=0xf4,iosize=4")


class Code:
    """Bytes with labels; jumps and calls are relative."""

    def __init__(self, wide):
        self.b, self.labels, self.fix, self.wide = bytearray(), {}, [], wide

    def __call__(self, hexa):
        self.b += bytes.fromhex(hexa)
        return self

    def dword(self, v):
        self.b += struct.pack("<I", v)
        return self

    def label(self, name):
        self.labels[name] = len(self.b)
        return self

    def to(self, opcode, name):
        """Opcode with an 8-bit displacement; for E8 (call) it is of full width."""
        self.b += bytes.fromhex(opcode)
        size = (4 if self.wide else 2) if opcode == "e8" else 1
        self.fix.append((len(self.b), size, name))
        self.b += bytes(size)
        return self

    def puts(self):
        """A function: prints the string at SI, then a newline."""
        self.label("puts")("ac84c0").to("74", "end")("e6e9").to("eb", "puts").label("end")
        return self("b00ae6e9c3")

    def out(self):
        for at, size, name in self.fix:
            d = self.labels[name] - at - size
            self.b[at:at + size] = d.to_bytes(size, "little", signed=True)
        return bytes(self.b)


def leave(c, ok):
    """Ends Keel with exit code 2 * n + 1."""
    return c("b0%02x" % (0x10 if ok else 0x20))("e6f4f4")


def elf32(code, at=0x200000, notes=b"", entry=None):
    head = struct.pack("<4sBBB9xHHIIIIIHHHHHH", b"\x7fELF", 1, 1, 1, 2, 3, 1, entry or at, 52, 0, 0,
                       52, 32, 2, 0, 0, 0)
    load = struct.pack("<IIIIIIII", 1, 0x1000, at, at, len(code), len(code) + 0x100, 7, 4096)
    note = struct.pack("<IIIIIIII", 4, 0x800, 0, 0, len(notes), len(notes), 4, 4)
    return (head + load + note).ljust(0x800, b"\0") + notes.ljust(0x800, b"\0") + code


def multiboot_code():
    c = Code(True)
    c.dword(0x1badb002).dword(3).dword((-0x1badb002 - 3) & 0xffffffff)
    start = len(c.b)
    c("bc").dword(0x80000)
    c("89dd3d02b0ad2b").to("75", "fail")
    c("8b7510").to("e8", "puts")
    c("8b45188b7008").to("e8", "puts")
    c("8b45188b30").to("e8", "puts")
    c("8b451883c0108b7008").to("e8", "puts")
    c("837d1402").to("75", "fail")
    c("837d2c30").to("72", "fail")
    c("817d08").dword(0x1000).to("72", "fail")
    leave(c, True).label("fail")
    return leave(c, False).puts().out(), start


def pvh_code():
    c = Code(True)
    c("bc").dword(0x80000)
    c("89dd817d00").dword(0x336ec578).to("75", "fail")
    c("8b7518").to("e8", "puts")
    c("8b45108b30").to("e8", "puts")
    c("8b4520813852534420").to("75", "fail")
    c("837d3002").to("72", "fail")
    leave(c, True).label("fail")
    return leave(c, False).puts().out()


def said(bed, *args, code, what=""):
    log = bed.path("said")
    p = bed.start(*TCG, "-debugcon", "file:" + log, "-m", "32", *args)
    expect("exit code of %s" % what, p.wait(60), code)
    with open(log, "rb") as f:
        return f.read().decode("latin-1").splitlines()


OK = 0x21


def test_boot_when_multiboot_then_command_line_modules_and_memory_map(bed):
    code, start = multiboot_code()
    one, two = bed.file("one", b"first module\0"), bed.file("two", b"second\0" + bytes(5000))
    kernel = bed.file("kernel", elf32(code, entry=0x200000 + start))
    got = said(bed, "-kernel", kernel, "-append", "a=b c", "-initrd", "%s x y,%s z" % (one, two),
               code=OK, what="multiboot")
    expect("said", got, [kernel + " a=b c", one + " x y", "first module", two + " z"])


def test_boot_when_multiboot_names_addresses_then_a_flat_image_loads(bed):
    code, start = multiboot_code()
    at = 0x110000
    head = struct.pack("<IIIIIIII", 0x1badb002, 0x10003, (-0x1badb002 - 0x10003) & 0xffffffff,
                       at, at, 0, 0, at + 32 + start)
    m = bed.file("m", b"flat\0")
    got = said(bed, "-kernel", bed.file("kernel", head + code), "-initrd", "%s 1,%s 2" % (m, m),
               code=OK, what="flat multiboot")
    expect("module", got[2], "flat")


def test_boot_when_pvh_note_then_start_info_and_rsdp(bed):
    notes = struct.pack("<III4sI", 4, 4, 18, b"Xen", 0x200000)
    kernel = bed.file("kernel", elf32(pvh_code(), notes=notes, entry=0x200fff))
    got = said(bed, "-kernel", kernel, "-append", "hello there", "-initrd",
               bed.file("m", b"a module\0"), code=OK, what="pvh")
    expect("said", got, ["hello there", "a module"])


def test_boot_when_bzimage_then_setup_code_finds_command_line_and_initrd(bed):
    c = Code(False)
    c("1e07fa8cc83d2010").to("75", "fail")  # CS is DS + 0x20
    c("813e1c02d204").to("75", "fail")      # ramdisk_size is 1234
    c("833e1e0200").to("75", "fail")
    c("803e1002ff").to("75", "fail")        # type_of_loader
    c("66813e280200000200").to("75", "fail")
    c("b800208ed831f6").to("e8", "puts")
    leave(c, True).label("fail")
    code = leave(c, False).puts().out()
    sector = bytearray(512)
    sector[0x1f1] = 1
    sector[0x1fe:0x200] = b"\x55\xaa"
    head = bytearray(0x100)
    head[0:2] = b"\xeb\x7e"                 # over the header
    head[2:6] = b"HdrS"
    struct.pack_into("<H", head, 6, 0x206)
    head[0x11] = 1
    struct.pack_into("<I", head, 0x2c, 0x37ffffff)
    struct.pack_into("<I", head, 0x38, 255)
    setup = (bytes(head[:0x80]) + code).ljust(512, b"\0")
    kernel = bed.file("kernel", bytes(sector) + setup + bytes(4096))
    got = said(bed, "-kernel", kernel, "-append", "root=/dev/ram quiet", "-initrd",
               bed.file("initrd", bytes(1234)), code=OK, what="bzImage")
    expect("said", got, ["root=/dev/ram quiet"])


def test_boot_when_kernel_is_hostile_then_one_line(bed):
    code, _ = multiboot_code()
    good = elf32(code)
    linux = bytearray(4096)
    linux[0x1fe:0x206] = b"\x55\xaa\0\0HdrS"
    struct.pack_into("<H", linux, 0x206, 0x20c)
    linux[0x211] = 1
    big = bytearray(linux)
    big[0x1f1] = 255
    old = bytearray(linux)
    old[0x211] = 0

    def patched(image, off, data):
        b = bytearray(image)
        b[off:off + len(data)] = data
        return bytes(b)

    nothing = elf32(b"\x90" * 64)
    pvh = elf32(b"\x90" * 64, notes=struct.pack("<III4sI", 4, 4, 18, b"Xen", 0x900000))
    cases = ((b"x", "neither"), (b"\x7fELF", "neither"), (nothing, "without a PVH note"),
             (patched(nothing, 44, b"\xff\xff"), "PVH note"), (good[:100], "without a PVH note"),
             (patched(good, 28, b"\xff\xff\xff\xff"), "program headers"),
             (patched(good, 18, b"\x28\0"), "another processor"),
             (patched(good, 52 + 4, b"\0\0\0\xff"), "not inside the file"),
             (patched(good, 52 + 20, b"\xff\xff\xff\xff"), "not in memory"),
             (patched(good, 52 + 12, b"\0\0\0\0"), "not in memory"),
             (patched(good, 52 + 16, b"\xff\xff\0\0"), "not inside the file"),
             (pvh, "outside the image"), (bytes(old), "does not have it yet"),
             (bytes(big), "truncated"), (bytes(linux[:700]), "truncated"),
             (patched(linux, 0x1f4, b"\0\1\0\0"), "truncated: 4096 bytes, its header says 6656"),
             (struct.pack("<III", 0x1badb002, 0x10000, (-0x1badb002 - 0x10000) & 0xffffffff),
              "cut off"),
             (struct.pack("<IIIIIIII", 0x1badb002, 0x10000, (-0x1badb002 - 0x10000) & 0xffffffff,
                          0x100000, 0x200000, 0, 0, 0), "make no sense"),
             (struct.pack("<III", 0x1badb002, 8, (-0x1badb002 - 8) & 0xffffffff), "unknown"),
             (struct.pack("<III", 0x1badb002, 0, (-0x1badb002) & 0xffffffff), "names no addresses"))
    for image, what in cases:
        line = bed.refused(*TCG, "-m", "32", "-kernel", bed.file("kernel", image))
        expect_in("%r..." % image[:8], what, line)
        expect_in("named", "-kernel", line)
    kernel = bed.file("kernel", bytes(linux))
    expect_in("initrd", "do not fit", bed.refused(*TCG, "-m", "8", "-kernel", kernel, "-initrd",
                                                  bed.file("big", bytes(9 << 20))))
    expect_in("append", "longer", bed.refused(*TCG, "-kernel", kernel, "-append", "x" * 3000))
    expect_in("module", "/none", bed.refused(*TCG, "-kernel", bed.file("kernel", good), "-initrd",
                                             "/none x"))


def boot_sector(c):
    return c.out().ljust(510, b"\0") + b"\x55\xaa"


def letter_disk(bed, letter):
    """A disk that says its letter and ends."""
    c = Code(False)
    c("b0%02xe6e9" % ord(letter))
    leave(c, True)
    return bed.file("disk-" + letter, boot_sector(c).ljust(1 << 20, b"\0"))


def drive(path, n):
    return "-drive", "file=%s,format=raw,if=none,id=d%d" % (path, n)


def test_boot_when_bootindex_then_that_disk_first(bed):
    a, b = drive(letter_disk(bed, "a"), 0), drive(letter_disk(bed, "b"), 1)
    for first, second, want in ((1, 2, "a"), (2, 1, "b")):
        got = said(bed, *a, *b, "-device", "ide-hd,drive=d0,bus=ide.0,bootindex=%d" % first,
                   "-device", "ide-hd,drive=d1,bus=ide.1,bootindex=%d" % second, code=OK,
                   what="bootindex")
        expect("booted", got, [want])
    expect_in("twice", "used twice", bed.refused(
        *TCG, *a, *b, "-device", "ide-hd,drive=d0,bootindex=1", "-device",
        "ide-hd,drive=d1,bootindex=1"))


def test_boot_when_disk_is_on_scsi_then_its_sector_runs(bed):
    a, b = letter_disk(bed, "a"), letter_disk(bed, "b")
    expect("if=scsi", said(bed, "-drive", "file=%s,format=raw,if=scsi" % a, code=OK, what="scsi"),
           ["a"])
    got = said(bed, *drive(a, 0), *drive(b, 1), "-device", "lsi,id=s", "-device",
               "scsi-hd,bus=s.0,scsi-id=1,drive=d0,bootindex=2", "-device",
               "scsi-hd,bus=s.0,scsi-id=4,drive=d1,bootindex=1", code=OK, what="scsi bootindex")
    expect("bootindex", got, ["b"])


def test_boot_when_order_or_once_then_floppy_or_disk(bed):
    disk, floppy = letter_disk(bed, "c"), letter_disk(bed, "a")
    with open(floppy, "ab") as f:
        f.truncate(1474560)
    drives = ("-drive", "file=%s,format=raw,if=ide" % disk, "-drive",
              "file=%s,format=raw,if=floppy" % floppy)
    for order, want in (("order=c", "c"), ("order=a", "a"), ("order=c,once=a", "a"), ("ac", "a")):
        expect(order, said(bed, *drives, "-boot", order, code=OK, what=order), [want])


def test_boot_when_the_timer_ticks_then_bios_counts(bed):
    c = Code(False)
    c("31c08ed8fb").label("wait")("f4a16c0483f803")  # until the BIOS has counted: IRQ 0 arrives
    c("a16c04a36005").label("again")("f4a16c042b06600583f803").to("72", "again")
    leave(c, True)
    disk = bed.file("disk", boot_sector(c).ljust(1 << 20, b"\0"))
    said(bed, "-hda", disk, code=OK, what="ticks")


def test_boot_when_rtc_has_a_base_then_the_guest_reads_it(bed):
    c = Code(False)
    for reg in (0x09, 0x08, 0x07, 0x04):
        c("b0%02xe670e471" % reg)("0440e6e9")  # BCD below 0x20, made printable
    leave(c, True)
    disk = bed.file("disk", boot_sector(c).ljust(1 << 20, b"\0"))
    got = said(bed, "-hda", disk, "-rtc", "base=2001-02-03T04:05:06", code=OK, what="rtc")
    expect("date", got, ["ABCD"])


def test_boot_when_option_rom_is_given_then_the_firmware_runs_it(bed):
    c = Code(False)
    c("55aa01").to("eb", "go")("b052cb").label("go")("b052e6e9")
    rom = bytearray(leave(c, True).out().ljust(512, b"\0"))
    rom[511] = -sum(rom) & 0xff
    got = said(bed, "-option-rom", bed.file("own.rom", bytes(rom)), code=OK, what="option ROM")
    expect("said", got, ["R"])
    expect_in("missing", "/none", bed.refused(*TCG, "-option-rom", "/none"))
    for bad in (b"\x55\xaa", bytes(512), bytes(rom[:511]), b"\x55\xaa\x02" + bytes(600)):
        expect_in("odd", "no option ROM", bed.refused(*TCG, "-option-rom", bed.file("odd.rom", bad)))


def test_boot_when_the_nmi_button_is_pressed_then_the_handler_runs(bed):
    c = Code(False)
    # vector 2 to "nmi"; LINT1 delivers NMIs once the firmware has set it up
    c("31c08ed8c7060800").label("at")("0000c7060a000000").label("wait")("f4").to("eb", "wait")
    c.label("nmi")("b04ee6e9")
    leave(c, True)
    code = bytearray(c.out())
    at = c.labels["at"]
    code[at:at + 2] = struct.pack("<H", 0x7c00 + c.labels["nmi"])
    disk = bed.file("disk", bytes(code).ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    log, end = bed.path("said"), time.time() + 60
    p = bed.start(*TCG, "-debugcon", "file:" + log, "-hda", disk, "-qmp",
                  "unix:%s,server=on,wait=off" % bed.path("qmp"))
    q = p.qmp()
    while p.proc.poll() is None and time.time() < end:
        time.sleep(0.3)
        try:
            q.cmd("inject-nmi")
        except (OSError, Failure):
            pass
    expect("exit code", p.wait(60), OK)
    with open(log, "rb") as f:
        expect("said", f.read(), b"N")


def test_boot_when_asleep_in_s3_then_wakeup_resumes_at_the_waking_vector(bed):
    c = Code(True)
    c.dword(0x1badb002).dword(3).dword((-0x1badb002 - 3) & 0xffffffff)
    start = len(c.b)
    c("bc").dword(0x80000)("be").dword(0xe0000)
    c.label("scan")("813e52534420").to("75", "next")("817e0450545220").to("74", "rsdp")
    c.label("next")("83c610").to("eb", "scan")
    c.label("rsdp")("8b76108b4e0401f18d7e24")  # tables of the RSDT
    c.label("each")("8b07813846414350").to("74", "fadt")("83c70439cf").to("72", "each")
    leave(c, False).label("fadt")
    c("8b5824c7430c").dword(0x8000)("8b5040be")  # FACS: the waking vector; PM1a control
    at = len(c.b)
    c.dword(0)("bf").dword(0x8000)("b9").dword(32)("f3a466b8012466ef")
    c.label("halt")("f4").to("eb", "halt").label("wake")("b057e6e9")
    leave(c, True)
    code = bytearray(c.out())
    struct.pack_into("<I", code, at, 0x200000 + c.labels["wake"])
    log = bed.path("said")
    p = bed.start(*TCG, "-debugcon", "file:" + log, "-m", "32", "-kernel",
                  bed.file("kernel", elf32(bytes(code), entry=0x200000 + start)), "-qmp",
                  "unix:%s,server=on,wait=off" % bed.path("qmp"))
    q, end = p.qmp(), time.time() + 60
    while q.cmd("query-status")["status"] != "suspended" and time.time() < end:
        time.sleep(0.1)
    q.cmd("system_wakeup")
    expect("exit code", p.wait(60), OK)
    with open(log, "rb") as f:
        expect("said", f.read(), b"W")


def test_boot_when_nothing_boots_then_reboot_ends_it_with_no_reboot(bed):
    p = bed.start(*TCG, "-no-reboot", "-boot", "reboot-timeout=100", "-m", "32")
    expect("exit code", p.wait(60), 0)


def test_boot_when_nographic_then_terminal_is_shared_with_the_monitor(bed):
    p = subprocess.Popen([bed.keel, "-accel", "tcg,keel-engine=interp", "-nographic", "-S"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out, _ = p.communicate(b"\1cinfo status\r\1x", timeout=60)
    expect_in("the typed line, then its answer", b"(qemu) info status\r\nVM status: paused", out)
    expect("exit code", p.returncode, 0)


INIT = b"""#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox echo GUEST-IS-UP $(/bin/busybox grep -c ^processor /proc/cpuinfo)
/bin/busybox dmesg | /bin/busybox grep -E 'DMI:|ACPI.*(Error|Warning|BUG)'
/bin/busybox poweroff -f
"""


def fastest(bed):
    """The generator where this host has one."""
    p = bed.start("-accel", "tcg", "-S", "-display", "none", "-monitor", "none")
    time.sleep(0.5)
    return "tcg" if p.proc.poll() is None else "tcg,keel-engine=interp"


def initramfs(bed):
    root = bed.path("root")
    os.makedirs(root + "/bin")
    os.mkdir(root + "/proc")
    with open("/bin/busybox" if os.path.exists("/bin/busybox") else "/usr/bin/busybox", "rb") as f:
        box = f.read()
    for name, data in (("/bin/busybox", box), ("/init", INIT)):
        with open(root + name, "wb") as f:
            f.write(data)
        os.chmod(root + name, 0o755)
    cpio = subprocess.run("find . | cpio -o -H newc", shell=True, cwd=root, capture_output=True)
    return bed.file("initrd", gzip.compress(cpio.stdout, 1))


def test_boot_when_debians_kernel_then_user_space_and_power_off(bed):
    kernels = sorted(glob.glob("/boot/vmlinuz-*-amd64"))
    if not kernels or not (os.path.exists("/bin/busybox") or os.path.exists("/usr/bin/busybox")):
        print("# skipped: no linux-image-amd64 or busybox-static here")
        return
    log = bed.path("serial")
    p = bed.start("-accel", fastest(bed), "-display", "none", "-monitor", "none", "-m", "256",
                   "-smp", "2", "-serial", "file:" + log, "-kernel", kernels[-1], "-initrd",
                  initramfs(bed), "-append", "console=ttyS0 panic=-1", "-smbios",
                  "type=1,manufacturer=Acme,product=Anvil", "-no-reboot")
    try:
        code = p.wait(560)
    except Exception as e:
        with open(log, "rb") as f:
            raise Failure("%s: %s" % (e, f.read()[-1500:]))
    with open(log, "rb") as f:
        text = f.read().decode("latin-1")
    expect("exit code", code, 0)
    expect_in("user space", "GUEST-IS-UP 2", text)
    expect_in("SMBIOS", "DMI: Acme Anvil", text)
    if "Error" in text[text.index("GUEST-IS-UP"):]:
        raise Failure(text[-2000:])


if __name__ == "__main__":
    main(globals())
