#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The command line: what is had works, what is not ends the start with one line naming it."""
import ctypes
import os
import re
import resource
import signal
import socket
import subprocess
import time

from keel import Failure, expect, expect_in, main

QTEST = ("-accel", "qtest", "-machine", "pc", "-nodefaults", "-display", "none")


def test_cli_when_option_is_known_but_missing_then_it_is_named(bed):
    expect("-spice", bed.refused("-spice", "port=1"),
           "-spice: known, but Keel does not have it yet")
    expect("--usb", bed.refused("--usb"), "-usb: known, but Keel does not have it yet")
    for option in ("-usbdevice",
                   "-object", "-trace", "-xen-attach"):
        expect_in(option, "known, but Keel does not have it yet", bed.refused(option, "x"))


def test_cli_when_option_is_unknown_then_it_is_named(bed):
    expect_in("bootindex", "bootindex: needs firmware of Keel's own",
              bed.refused("-M", "pc", "-accel", "qtest", "-drive", "if=none,id=c",
                          "-device", "ide-cd,drive=c,bootindex=1"))
    expect("-frobnicate", bed.refused("-frobnicate"), "-frobnicate: unknown option")
    expect_in("operand", "disk.img: not an option", bed.refused("disk.img"))
    expect_in("-", "not an option", bed.refused("-"))
    expect_in("--", "not an option", bed.refused("--"))
    expect_in("empty", "not an option", bed.refused(""))


def test_cli_when_argument_is_missing_then_it_says_so(bed):
    expect("-m", bed.refused("-m"), "-m: needs an argument")
    expect("-xen-domid", bed.refused("-S", "-xen-domid"), "-xen-domid: needs an argument")


def test_cli_when_suboption_is_unknown_then_it_is_named(bed):
    expect("drive", bed.refused("-drive", "file=/x,frob=1"),
           "-drive file=/x,frob=1: unknown parameter 'frob'")
    expect("vnc", bed.refused("-vnc", ":1,tls-creds=a"),
           "-vnc :1,tls-creds=a: tls-creds: known, but Keel does not have it yet")
    expect("machine", bed.refused("-machine", "xenfv,igd-passthru=on"),
           "-machine xenfv,igd-passthru=on: igd-passthru: known, but Keel does not have it yet")
    expect_in("smp", "dies", bed.refused("-smp", "2,dies=2"))
    expect_in("accel", "frob", bed.refused("-accel", "tcg,frob=2"))
    expect_in("net", "frob", bed.refused("-net", "none,frob=1"))
    expect_in("audiodev", "frob", bed.refused("-audiodev", "none,id=a,frob=1"))
    expect_in("display", "frob", bed.refused("-display", "none,frob=1"))
    expect_in("run-with", "frob", bed.refused("-run-with", "frob=1"))


def test_cli_when_value_is_bad_then_it_is_named(bed):
    for args, what in ((("-m", "0"), "1M"), (("-m", "64Q"), "64Q"), (("-m", ""), "-m"),
                       (("-m", "99999999999999999999"), "9999"), (("-m", "-5"), "-5"),
                       (("-smp", "0"), "1 to 512"), (("-smp", "4,maxcpus=2"), "maxcpus=2"),
                       (("-smp", "x"), "x"), (("-smp", "3,cores=2"), "cores (2)"),
                       (("-smp", "2,threads=0"), "1 to 512"), (("-smp", "65"), "at most 64"),
                       (("-accel", "tcg,thread=two"), "thread=two"),
                       (("-icount", "11"), "0 to 10, or auto"), (("-icount", "sleep=off"), "shift="),
                       (("-icount", "auto,sleep=off"), "contradict"), (("-icount", "1,align=on"), "align=on"),
                       (("-icount", "1,rr=record"), "rr: known"),
                       (("-accel", "tcg,tb-size=4096"), "tb-size"),
                       (("-fw_cfg", "name=opt/a"), "file= or string="),
                       (("-machine", "pc,smm=perhaps"), "perhaps"),
                       (("-initrd", "x"), "needs -kernel"), (("-append", "x"), "needs -kernel"),
                       (("-kernel", "/none"), "/none"),
                       (("-accel", "tcg,keel-engine=x"), "keel-engine=x"), (("-boot", "order=c%"), "order"),
                       (("-boot", "cc"), "twice"), (("-xen-domid", "70000"), "32751"),
                       (("-xen-domid", "-1"), "32751"), (("-uuid", "1234"), "UUID"),
                       (("-display", "sdl"), "sdl"), (("-vga", "qxl"), "qxl"),
                       (("-machine", "q35"), "q35"), (("-machine", "frob"), "unknown machine"),
                       (("-accel", "kvm"), "kvm"), (("-accel", "frob"), "unknown accelerator"),
                       (("-machine", "pc,max-ram-below-4g=1T"), "more than 4G"),
                       (("-machine", "pc,suppress-vmdesc=maybe"), "maybe"),
                       (("-rtc", "base=tomorrow"), "tomorrow"), (("-rtc", "clock=x"), "clock=x"),
                       (("-rtc", "driftfix=x"), "driftfix=x"), (("-boot", "once=c1"), "once"),
                       (("-boot", "reboot-timeout=99999"), "65535"),
                       (("-action", "reboot=x"), "reboot=x"), (("-smbios", "type=9"), "type=9"),
                       (("-smbios", "type=1,vendor=x"), "vendor"), (("-smbios", "x=y"), "'x'"),
                       (("-smbios", "file=/none"), "/none"), (("-bios", "/none"), "/none"),
                       (("-fw_cfg", "name=%s,string=x" % ("n" * 56)), "55"), (("-netdev", "vde,id=n"), "vde"),
                       (("-incoming", "rdma:0:4444"), "rdma"), (("-mon", "mode=control"), "chardev"),
                       (("-mon", "chardev=a,mode=x"), "mode=x"), (("-global", "x"), "PROPERTY")):
        line = bed.refused(*args)
        expect_in("%r" % (args,), what, line)
        expect_in("option named", args[0], line)


def test_cli_when_accel_does_not_fit_then_it_says_so(bed):
    expect_in("xenfv", "accel=xen only", bed.refused("-machine", "xenfv", "-accel", "qtest"))
    expect_in("kernel", "-kernel: runs with accel=tcg or xen only",
              bed.refused("-machine", "pc", "-accel", "qtest", "-kernel", "vmlinuz"))
    expect_in("domid", "-xen-domid: missing", bed.refused("-machine", "xenfv"))
    expect_in("restrict", "needs -xen-domid", bed.refused(*QTEST, "-xen-domid-restrict"))


def test_cli_when_device_is_wrong_then_it_is_named(bed):
    for name in ("vmxnet3", "megasas", "usb-tablet", "intel-hda", "ac97",
                 "ich9-usb-ehci1", "piix3-usb-uhci", "nec-usb-xhci", "virtio-scsi-pci", "virtio-gpu-pci"):
        expect(name, bed.refused(*QTEST, "-device", name),
               "-device %s: %s: known, but Keel does not have it yet" % (name, name))
    expect_in("unknown", "frob: unknown device", bed.refused(*QTEST, "-device", "frob"))
    expect_in("property", "frob", bed.refused(*QTEST, "-device", "VGA,frob=1"))
    expect_in("value", "vgamem_mb", bed.refused(*QTEST, "-device", "VGA,vgamem_mb=x"))
    expect_in("board part", "part of the board", bed.refused(*QTEST, "-device", "PIIX3"))
    expect_in("drive", "no -drive or -blockdev has that id",
              bed.refused(*QTEST, "-device", "ide-hd,drive=none,bus=ide.0"))
    expect_in("chardev", "no -chardev has that id",
              bed.refused(*QTEST, "-device", "isa-serial,chardev=none"))
    expect_in("twice", "used twice", bed.refused(*QTEST, "-device", "isa-debugcon,id=a", "-device",
                                                 "isa-debugcon,id=a,iobase=0x402"))
    expect_in("global", "x.y=z", bed.refused(*QTEST, "-global", "x.y=z"))
    expect_in("json", "not a JSON object", bed.refused(*QTEST, "-device", '{"driver":"VGA"'))
    expect_in("json", "frob", bed.refused(*QTEST, "-device", '{"driver":"VGA","frob":1}'))


def test_cli_when_drive_is_wrong_then_it_is_named(bed):
    raw = bed.file("disk", bytes(1 << 20))
    for spec, what in (("file=/none,format=raw", "/none"), ("file=%s,format=qcow2" % raw, "qcow2"),
                       ("file=%s,format=frob" % raw, "frob"), ("file=%s,if=virtio" % raw, "if=virtio"),
                       ("file=%s,if=scsi,index=7" % raw, "index=7"),
                       ("file=%s,if=frob" % raw, "if=frob"), ("file=%s,index=4" % raw, "index=4"),
                       ("file=%s,cache=frob" % raw, "frob"), ("file=%s,if=none" % raw, "id"),
                       ("file=%s,aio=uring" % raw, "io_uring"), ("file=%s" % bed.dir, bed.dir),
                       ("file=%s,readonly=maybe" % raw, "maybe"), ("file=%s,media=x" % raw, "x"),
                       ("file=%s,rerror=enospc" % raw, "rerror=enospc"),
                       ("file=%s,werror=x" % raw, "werror=x"),
                       ("file=%s,file.locking=x" % raw, "locking"),
                       ("file=/dev/fdset/7,format=raw", "/dev/fdset/7")):
        expect_in(spec, what, bed.refused(*QTEST, "-drive", spec))
    one = ("-drive", "file=%s,index=0,format=raw" % raw)
    expect_in("place", "used twice", bed.refused(*QTEST, *one, *one))
    expect_in("too many", "used twice", bed.refused(
        *QTEST, *[a for i in range(5) for a in ("-drive", "id=d%d,media=cdrom" % i)]))


def test_cli_when_file_name_is_a_protocol_then_it_is_a_file_that_is_not_there(bed):
    for name in ('json:{"driver":"file","filename":"/etc/passwd"}', "ssh://127.0.0.1/x",
                 "fat:/etc", "host_device:/dev/null", "driver=file", "unix:/x", "fd:0"):
        for spec in ("file=%s,format=raw", "file=%s"):
            line = bed.refused(*QTEST, "-drive", spec % name.replace(",", ",,"))
            expect_in(name, "No such file", line)


def test_cli_when_image_looks_like_another_format_then_its_header_is_data_or_refused(bed):
    # With /etc/passwd as backing file: what a guest would write to its own disk.
    qcow2 = bed.path("disk.qcow2")
    subprocess.run([os.path.join(os.environ.get("KEEL_BUILD", "build"), "tools/keel-img"), "create",
                    "-q", "-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw", qcow2, "1M"],
                   check=True)
    with open(qcow2, "rb") as f:
        image = f.read()
    flat = b"# Disk DescriptorFile\nRW 16 FLAT \"/etc/passwd\" 0\n"
    for name, header, what in (("qcow2", image, "has a backing file"),
                               ("vmdk", b"KDMV\1\0\0\0", "VMDK: "),
                               ("vmdk", flat, "a guest can write such a header"),
                               ("vpc", b"conectix", "VHD: "), ("qed", b"QED\0", "looks like qed"),
                               ("vdi", bytes(64) + b"\x7f\x10\xda\xbe", "VDI: "),
                               ("vhdx", b"vhdxfile", "VHDX: ")):
        disk = bed.file("disk." + name, header.ljust(1 << 20, b"\0"))
        expect_in(name, what, bed.refused(*QTEST, "-drive", "file=" + disk))
        expect_in(name, what, bed.refused(*QTEST, "-hda", disk))
        for mode in ("rb", "r+b"):  # handed over as a descriptor, also one that can write
            with open(disk, mode) as f:
                line = bed.refused(*QTEST, "-add-fd", "fd=%d,set=1" % f.fileno(), "-drive",
                                   "file=/dev/fdset/1,index=0,readonly=%s"
                                   % ("on" if mode == "rb" else "off"), pass_fds=(f.fileno(),))
                expect_in(name, what, line)
    disk = bed.path("disk.qcow2")
    q = bed.machine("-drive", "format=raw,index=0,file=" + disk).qmp()
    image = q.cmd("query-block")[0]["inserted"]["image"]
    expect("format", (image["format"], image["virtual-size"]), ("raw", 1 << 20))
    if "backing-filename" in image:
        raise Failure("a backing file: %r" % image)


def test_cli_when_words_are_long_or_odd_then_one_clean_line(bed):
    long = "x" * 100000
    for args in (("-device", long), ("-drive", "file=" + long), ("-drive", long + "=on"),
                 ("-" + long,), ("-device", "VGA," + "a=" * 40000), ("-device", "VGA,addr=" + long),
                 ("-vnc", long), ("-k", long), ("-chardev", "file,id=a,path=" + long),
                 ("-runas", long), ("-incoming", "file:" + long), ("-m", "9" * 100000),
                 ("-smp", "9" * 30), ("-device", "\x1b[2J\nkeel: all is well"), ("-boot", "\r\n"),
                 ("-xen-domid", "99999999999999999999"), ("-device", "")):
        line = bed.refused(*QTEST, *args)
        if len(line) > 2000 or not line.isprintable():
            raise Failure("%.50r: %r" % (args, line))


def test_cli_when_image_is_unreadable_then_one_line(bed):
    if os.getuid() == 0:  # root reads everything: a directory is as good
        line = bed.refused(*QTEST, "-hda", bed.dir)
    else:
        path = bed.file("secret", bytes(512))
        os.chmod(path, 0)
        line = bed.refused(*QTEST, "-hda", path)
    expect_in("image", bed.dir, line)


def test_cli_when_chardev_is_wrong_then_it_is_named(bed):
    for args in (("-chardev", "socket,id=a,path=/none/x,server=on,wait=off"),
                 ("-chardev", "frob,id=a"), ("-chardev", "null"), ("-chardev", "spicevmc,id=a"),
                 ("-serial", "frob"), ("-serial", "chardev:none"), ("-serial", "file:/none/x"),
                 ("-qmp", "frob:"), ("-monitor", "chardev:x"), ("-mon", "chardev=none"),
                 ("-qtest", "frob")):
        expect_in("%r" % (args,), args[0], bed.refused(*QTEST, *args))
    expect_in("twice", "used twice",
              bed.refused(*QTEST, "-chardev", "null,id=a", "-chardev", "null,id=a"))
    expect_in("in use", "in use", bed.refused(*QTEST, "-chardev", "null,id=a", "-mon", "chardev=a",
                                              "-mon", "chardev=a"))
    expect_in("five", "four serial ports", bed.refused(*QTEST, *["-serial", "null"] * 5))


def test_cli_when_vnc_port_is_busy_then_it_is_named(bed):
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen(1)
    port = s.getsockname()[1]
    if port >= 5900:
        line = bed.refused(*QTEST, "-vnc", "127.0.0.1:%d" % (port - 5900))
        expect_in("port", str(port), line)
    s.close()
    expect_in("display", "expected [HOST]:DISPLAY", bed.refused(*QTEST, "-vnc", "frob"))
    expect_in("keymap", "-k xx", bed.refused(*QTEST, "-k", "xx"))


def test_cli_when_asked_for_help_then_it_lists(bed):
    code, text = bed.run("-help")
    expect("exit", code, 0)
    for option in ("-machine", "-drive", "-run-with", "-keel-record", "-qtest"):
        expect_in("help", "\n%s " % option, text)
    code, text = bed.run("-version")
    expect_in("version", "Keel version 0.1.0", text)
    code, text = bed.run("-machine", "help")
    expect("exit", code, 0)
    expect_in("machines", "xenfv", text)
    code, text = bed.run("-device", "help")
    expect("exit", code, 0)
    expect_in("devices", 'name "VGA"', text)
    expect("board parts stay out", "PIIX3" in text, False)
    code, text = bed.run("-device", "ide-cd,help")
    expect_in("properties", "drive=<drive>", text)
    expect_in("unknown", "frob", bed.refused("-device", "frob,help"))


def test_cli_when_all_the_board_takes_then_it_runs(bed):
    disk, cd = bed.file("a.raw", bytes(1 << 20)), bed.file("cd.iso", bytes(1 << 20))
    p = bed.machine("-hda", disk, "-cdrom", cd, "-m", "size=64M",
                    "-smp", "2,maxcpus=4", "-name", "guest=frodo,debug-threads=on", "-uuid",
                    "01234567-89ab-cdef-0123-456789abcdef", "-boot", "order=dc", "-no-reboot",
                    "-no-shutdown", "-rtc", "base=utc", "-net", "none", "-nic", "none",
                    "-no-user-config", "-k", "de", "-serial", "null", "-serial",
                    "file:" + bed.path("com2"), "-device", "VGA,vgamem_mb=8", "-device",
                    "isa-debugcon,iobase=0x402,chardev=dbg", "-chardev",
                    "file,id=dbg,path=" + bed.path("dbg"), "-global", "VGA.vgamem_mb=4")
    q = p.qmp()
    expect("name", q.cmd("query-name"), {"name": "frodo"})
    expect("uuid", q.cmd("query-uuid"), {"UUID": "01234567-89ab-cdef-0123-456789abcdef"})
    expect("cpus", len(q.cmd("query-cpus-fast")), 2)
    drives = {d["device"]: d.get("inserted", {}).get("file") for d in q.cmd("query-block")}
    expect("drives", drives, {"ide0-hd0": disk, "ide1-cd0": cd})


def test_cli_when_comma_is_doubled_then_it_is_part_of_the_name(bed):
    disk = bed.file("a,b", bytes(1 << 20))
    q = bed.machine("-drive", "file=%s,format=raw,id=x,,y" % disk.replace(",", ",,")).qmp()
    expect("drive", [d["device"] for d in q.cmd("query-block")], ["x,y"])


def test_cli_when_pidfile_then_it_holds_the_pid(bed):
    p = bed.machine("-pidfile", bed.path("pid"))
    p.qmp()
    with open(bed.path("pid")) as f:
        expect("pid", int(f.read()), p.proc.pid)
    expect_in("busy", "-pidfile", bed.refused(*QTEST, "-pidfile", bed.path("pid")))
    expect_in("no dir", "-pidfile /none/x", bed.refused(*QTEST, "-pidfile", "/none/x"))


def test_cli_when_daemonized_then_start_errors_still_reach_the_caller(bed):
    expect_in("error", "/none", bed.refused(*QTEST, "-daemonize", "-hda", "/none"))
    p = bed.machine("-daemonize", "-pidfile", bed.path("pid"))
    expect("exit", p.wait(), 0)
    q = p.qmp()
    q.cmd("quit")
    with open(bed.path("pid")) as f:
        pid = int(f.read())
    end = time.time() + 60
    while time.time() < end:
        try:
            with open("/proc/%d/stat" % pid) as f:
                if f.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return
        except FileNotFoundError:
            return
        time.sleep(0.01)
    raise Failure("the daemon stays")


def test_cli_when_daemonized_then_the_log_file_stays(bed):
    p = bed.machine("-daemonize", "-pidfile", bed.path("pid"), "-D", bed.path("log"))
    expect("exit", p.wait(), 0)
    q = p.qmp()
    with open(bed.path("pid")) as f:
        pid = int(f.read())
    expect("log", os.readlink("/proc/%d/fd/2" % pid), bed.path("log"))
    expect("output", os.readlink("/proc/%d/fd/1" % pid), "/dev/null")
    q.cmd("quit")


def test_cli_when_signalled_then_it_ends_cleanly(bed):
    for sig in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        p = bed.machine()
        q = p.qmp()
        p.proc.send_signal(sig)
        expect("event", q.event("SHUTDOWN")["data"], {"guest": False, "reason": "host-signal"})
        expect("exit", p.wait(), 0)


def test_cli_when_log_file_then_messages_go_there(bed):
    code, text = bed.run("-D", bed.path("log"), *QTEST, "-hda", "/none")
    expect("exit", code, 1)
    expect("stderr", text, "")
    with open(bed.path("log")) as f:
        expect_in("log", "/none", f.read())


def test_cli_when_user_is_given_then_privileges_go(bed):
    if os.getuid() != 0:
        return
    root = bed.path("root")
    os.mkdir(root, 0)
    disk = bed.file("disk", bytes(1 << 20))
    os.chmod(disk, 0o600)
    for args in (("-chroot", root, "-runas", "nobody"), ("-run-with", "chroot=%s,user=65534:65534" % root)):
        p = bed.machine("-hda", disk, *args)
        q = p.qmp()
        with open("/proc/%d/status" % p.proc.pid) as f:
            status = dict(line.split(":\t", 1) for line in f.read().splitlines() if ":\t" in line)
        expect("uid", status["Uid"].split(), ["65534"] * 4)
        expect("gid", status["Gid"].split(), ["65534"] * 4)
        expect("groups", len(status["Groups"].split()), 1)
        expect("no new privileges", status["NoNewPrivs"].strip(), "1")
        expect("capabilities", int(status["CapEff"], 16), 0)
        expect("root", os.readlink("/proc/%d/root" % p.proc.pid), root)
        expect("disk is open", q.cmd("query-block")[0]["inserted"]["ro"], False)
        expect("outside", q.error("xen-save-devices-state", filename="/state")[0], "GenericError")
        p.hurt()
        os.unlink(bed.path("qmp"))
    expect_in("user", "no such user", bed.refused(*QTEST, "-runas", "nobodyatall"))
    expect_in("uid", "no such user", bed.refused(*QTEST, "-runas", "1:2:3"))
    expect_in("root", "-chroot /none", bed.refused(*QTEST, "-chroot", "/none"))


def test_cli_when_file_size_is_limited_then_a_save_fails_and_nothing_dies(bed):
    p = bed.machine("-device", "VGA", preexec_fn=lambda: resource.setrlimit(
        resource.RLIMIT_FSIZE, (4096, 4096)))
    q = p.qmp()
    expect_in("save", "File too large",
              q.error("xen-save-devices-state", filename=bed.path("state"))[1])
    expect("alive", q.cmd("query-status")["status"], "running")


def cannot_raise_limits():
    PR_CAPBSET_DROP, CAP_SYS_RESOURCE = 24, 24
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_SYS_RESOURCE, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def test_cli_when_file_size_is_limited_then_an_image_is_writable_whole_or_refused(bed):
    disk = bed.file("disk", bytes(1 << 20))
    ways = ((disk, "cannot be raised"), (disk + ",readonly=on,media=cdrom", None))
    for file, refusal in ways:
        p = bed.start(*QTEST, "-drive", "format=raw,file=" + file, preexec_fn=cannot_raise_limits,
                      *(() if refusal else ("-S", "-qmp", "unix:%s,server=on,wait=off" % bed.path("qmp"))))
        if refusal:
            expect("exit code", p.wait(), 1)
            expect_in("why", refusal, p.output())
            expect_in("which", disk, p.output())
        else:
            expect("runs", p.qmp().cmd("query-status")["running"], False)


def test_cli_when_incoming_is_broken_then_one_line(bed):
    junk = bed.file("junk", b"QEVM" + bytes(1000))
    expect_in("junk", "-incoming", bed.refused(*QTEST, "-incoming", "file:" + junk))
    expect_in("empty", "-incoming", bed.refused(*QTEST, "-incoming", "file:" + bed.file("empty")))
    expect_in("absent", "/none", bed.refused(*QTEST, "-incoming", "file:/none"))
    expect_in("fd", "not an open descriptor", bed.refused(*QTEST, "-incoming", "fd:77"))
    expect_in("fd", "-incoming fd:x", bed.refused(*QTEST, "-incoming", "fd:x"))


def test_cli_when_help_is_asked_for_then_what_there_is_is_listed(bed):
    for args, want in ((("-cpu", "help"), r"(?s)Available CPUs:.*x86 Haswell.*Recognized CPUID flags:.* avx2"),
                       (("-accel", "help"), "tcg\nxen\nqtest"), (("-machine", "help"), "xenfv"),
                       (("-device", "help"), 'name "e1000"'), (("-device", "e1000,help"), "bus=<str>|bus")):
        code, text = bed.run(*args)
        expect("exit code", code, 0)
        if not re.search(want, text):
            raise Failure("%r: %s" % (args, text))


def test_cli_when_bus_is_named_then_it_is_the_one_there_is(bed):
    bed.machine("-device", "VGA,bus=pci.0", "-device", "virtio-blk-pci,bus=pci.0,drive=d", "-drive",
                "if=none,id=d,format=raw,file=" + bed.file("d", bytes(512))).qmp()
    expect("bus", bed.refused(*QTEST, "-device", "VGA,bus=pci.1"),
           "-device VGA,bus=pci.1: VGA.0: bus=pci.1: this machine has pci.0 only")


def test_cli_when_fd_is_handed_over_then_it_is_a_disk(bed):
    disk = bed.file("disk", b"hello" + bytes((1 << 20) - 5))
    fd = os.open(disk, os.O_RDWR)
    os.set_inheritable(fd, True)
    p = bed.machine("-add-fd", "fd=%d,set=3,opaque=disk" % fd, "-drive",
                    "file=/dev/fdset/3,format=raw,index=0", pass_fds=(fd,))
    q = p.qmp()
    expect("set", [s["fdset-id"] for s in q.cmd("query-fdsets")], [3])
    expect("disk", q.cmd("query-block")[0]["inserted"]["image"]["virtual-size"], 1 << 20)
    os.close(fd)
    expect_in("bad fd", "fd=99", bed.refused(*QTEST, "-add-fd", "fd=99,set=1"))
    expect_in("missing", "set: missing", bed.refused(*QTEST, "-add-fd", "fd=0"))


if __name__ == "__main__":
    main(globals())
