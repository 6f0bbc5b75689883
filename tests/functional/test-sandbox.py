#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""-sandbox: what the process may still ask of the kernel, and that its work gets done with that."""
import errno
import os
import re
import signal

from inject import system_call
from keel import Failure, expect, expect_in, main

LIBVIRT = ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")


# A leak check at the end starts a process, which nobody may any more.
QUIET = {"env": dict(os.environ, ASAN_OPTIONS="detect_leaks=0")} if "ASAN_OPTIONS" in os.environ else {}


def filter_modes(pid):
    """seccomp(2)'s mode of every thread: 0 none, 2 a filter."""
    modes = set()
    for t in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/status" % (pid, t)) as f:
            modes.add(int(re.search(r"^Seccomp:\s+(\d)", f.read(), re.M).group(1)))
    return modes


REFUSED = {  # name: number and arguments
    "ptrace": (101, 16, 1), "execve": (59, "/bin/true"), "clone": (56, signal.SIGCHLD),
    "unshare": (272, 0x10000000), "setuid": (105, 0), "chroot": (161, "/"), "personality": (135, 8),
    "mmap": (9, 0, 4096, 7, 0x22, -1, 0), "socket": (41, 17, 3, 0), "bpf": (321, 0, 0, 0), "kill": (62, 1, 15),
}
SETPRIORITY = (141, 0, 0, 1)


def test_sandbox_when_spawn_is_denied_then_every_thread_keeps_only_listed_calls(bed):
    p = bed.machine(*LIBVIRT, "-vnc", "unix:" + bed.path("vnc"), "-netdev", "user,id=n", **QUIET)
    qmp = p.qmp()
    expect("threads", filter_modes(p.proc.pid), {2})
    for name, call in REFUSED.items():
        expect(name, system_call(p.proc.pid, *call), -errno.EPERM)
        if len(re.findall("sandbox:", p.output())) < 8:
            expect_in("the log", "(%s) refused" % name, p.output())
    expect("a listed call", system_call(p.proc.pid, 110), os.getpid())
    expect("alive", qmp.cmd("query-status")["status"], "running")
    expect("the log is bounded", len(re.findall("sandbox:", p.output())), 8)


def test_sandbox_when_spawn_is_denied_then_a_machine_works_as_before(bed):
    disk, other = bed.file("disk", bytes(1 << 20)), bed.file("other", b"other" + bytes(507))
    p = bed.machine(*LIBVIRT, "-drive", "if=ide,format=raw,file=" + disk, "-device", "VGA", "-netdev",
                    "user,id=n,hostfwd=tcp:127.0.0.1:0-:22", "-device", "e1000,netdev=n,bus=pci.0",
                    "-vnc", "unix:" + bed.path("vnc"), **QUIET)
    q = p.qmp()
    viewer = p.connect(bed.path("vnc"))
    expect("a viewer", viewer.recv(12)[:4], b"RFB ")
    q.cmd("blockdev-add", driver="raw", node_name="o", file={"driver": "file", "filename": other})
    q.cmd("blockdev-snapshot-sync", device="ide0-hd0", snapshot_file=bed.path("over"))
    q.cmd("screendump", filename=bed.path("s.ppm"))
    q.cmd("netdev_add", type="socket", id="m", listen="127.0.0.1:0")
    q.cmd("xen-save-devices-state", filename=bed.path("state"))
    expect_in("screen", "P6", open(bed.path("s.ppm"), "rb").read(2).decode())
    if "sandbox:" in p.output():
        raise Failure(p.output())


def test_sandbox_when_spawn_is_denied_then_no_program_starts_and_the_log_says_why(bed):
    p = bed.machine("-sandbox", "on,spawn=deny", **QUIET)
    q = p.qmp()
    expect_in("migrate", "not permitted", q.error("migrate", uri="exec:cat > %s" % bed.path("out"))[1])
    expect_in("the log", "sandbox: system call 56 (clone) refused", p.output())
    expect("nothing ran", os.path.exists(bed.path("out")), False)


def test_sandbox_by_default_refuses_ways_into_the_host_only(bed):
    p = bed.machine()
    q = p.qmp()
    expect("threads", filter_modes(p.proc.pid), {2})
    for call in (REFUSED["unshare"], REFUSED["bpf"], (165, "a", "/", "b", 0, 0)):  # and mount
        expect(call, system_call(p.proc.pid, *call), -errno.EPERM)
    expect("a scheduling call", system_call(p.proc.pid, *SETPRIORITY), 0)
    q.cmd("migrate", uri="exec:cat > " + bed.path("out"))
    while q.cmd("query-migrate")["status"] == "active":
        pass
    expect("a program ran", os.path.getsize(bed.path("out")) > 0, True)


def test_sandbox_when_off_or_in_part_then_it_is(bed):
    p = bed.machine("-sandbox", "off")
    p.qmp()
    expect("off", filter_modes(p.proc.pid), {0})
    p.hurt()
    p = bed.machine("-sandbox", "on,elevateprivileges=deny,resourcecontrol=deny")
    p.qmp()
    for call in (REFUSED["chroot"], SETPRIORITY):
        expect(call, system_call(p.proc.pid, *call), -errno.EPERM)


def test_sandbox_when_value_is_wrong_then_it_is_named(bed):
    for value, what in (("perhaps", "enable=perhaps: expected on or off"),
                        ("on,spawn=maybe", "spawn=maybe: expected allow or deny"),
                        ("on,elevateprivileges=no", "expected allow, deny or children"),
                        ("on,frob=deny", "unknown parameter 'frob'")):
        expect_in(value, what, bed.refused("-sandbox", value))


def test_sandbox_when_a_back_end_would_start_a_program_then_it_is_refused(bed):
    expect("smb", bed.refused("-sandbox", "on,spawn=deny", "-netdev", "user,id=n,smb=/tmp"),
           "-sandbox spawn=deny: smb= starts a server for the guest")


def test_guest_memory_stays_out_of_core_files_when_asked(bed):
    if "ASAN_OPTIONS" in os.environ:  # whose own memory is kept out as well
        return
    for args, flagged in (((), False), (("-machine", "pc,dump-guest-core=off"), True)):
        p = bed.start("-S", "-nodefaults", "-display", "none", "-m", "100", *args, "-qmp",
                      "unix:%s,server=on,wait=off" % bed.path("qmp"))
        p.qmp()
        with open("/proc/%d/smaps" % p.proc.pid) as f:
            maps = re.findall(r"^Size: +(\d+) kB$(?:.|\n)*?^VmFlags: (.*)$", f.read(), re.M)
        ram = [flags.split() for size, flags in maps if 100 << 10 <= int(size) < 1 << 20]
        expect("guest memory is there", len(ram) > 0, True)
        expect("kept out of core files", any("dd" in flags for flags in ram), flagged)
        p.hurt()


def test_log_lines_start_with_what_msg_asks_for(bed):
    p = bed.machine("-msg", "timestamp=on,guest-name=on", "-name", "web", "-sandbox", "on,spawn=deny", "-incoming",
                    "fd:77")
    p.wait()
    if not re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z web keel: -incoming fd:77", p.output()):
        raise Failure(p.output())
    expect_in("cpu-pm", "cpu-pm=on: known", bed.refused("-overcommit", "cpu-pm=on"))


def test_memory_is_locked_when_overcommit_asks(bed):
    if os.getuid() != 0 or "ASAN_OPTIONS" in os.environ:  # whose shadow is terabytes
        return
    p = bed.machine("-m", "16", "-overcommit", "mem-lock=on")
    p.qmp()
    with open("/proc/%d/status" % p.proc.pid) as f:
        locked = int(re.search(r"^VmLck:\s+(\d+) kB", f.read(), re.M).group(1))
    if locked < 16 << 10:
        raise Failure("VmLck is %d kB" % locked)


if __name__ == "__main__":
    main(globals())
