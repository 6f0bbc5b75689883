#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A machine moves to another process over a socket: state, disk, who runs when something goes wrong.

The guest is longmode.S, which stands still with known memory and registers.
"""
import os
import socket
import subprocess
import threading

from disk import TOOLS
from keel import Failure, expect, expect_in, main
from longmode import RAX, HIGH, TEXT, guest, machine

IMG = TOOLS + "/keel-img"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def disk(bed):
    if not os.path.exists(bed.path("disk")):
        subprocess.run([IMG, "create", "-q", "-f", "qcow2", bed.path("disk"), "1M"], check=True)
    return ("-drive", "if=none,id=d,format=qcow2,file=" + bed.path("disk"), "-device", "virtio-blk-pci,drive=d")


def arrives(bed, uri, *more):
    p = machine(bed, "-debugcon", "null", "-incoming", uri, *disk(bed), *more, name="there")
    return p, p.qmp(bed.path("there"))


def moves(bed, uri):
    here = guest(bed, *disk(bed)).qmp()
    p, there = arrives(bed, uri)
    expect("waits", there.cmd("query-status")["status"], "inmigrate")
    here.cmd("migrate", uri=uri)
    expect("completed", here.cmd("query-migrate")["status"], "completed")
    expect("it has gone", here.cmd("query-status")["running"], False)
    there.event("RESUME")
    expect("it runs", there.cmd("query-status")["status"], "running")
    expect("registers", there.hmp("print/x $rax"), "0x%x\r\n" % RAX)
    there.cmd("memsave", val=HIGH - (1 << 64) + 0x123, size=len(TEXT), filename=bed.path("mem"))
    expect("memory", open(bed.path("mem"), "rb").read(), TEXT)
    here.cmd("quit")
    there.cmd("quit")
    expect("end", p.wait(), 0)


def test_migrate_over_a_unix_socket(bed):
    moves(bed, "unix:" + bed.path("way"))
    expect("the socket has gone", os.path.exists(bed.path("way")), False)


def test_migrate_over_tcp(bed):
    moves(bed, "tcp:127.0.0.1:%d" % free_port())


def test_migrate_when_asked_by_qmp_and_stopped_then_it_waits_to_be_continued(bed):
    here = guest(bed, *disk(bed)).qmp()
    uri = "unix:" + bed.path("way")
    p, there = arrives(bed, "defer", "-S")
    there.cmd("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
    there.cmd("migrate-incoming", uri=uri)
    expect_in("twice", "is awaited already", there.error("migrate-incoming", uri=uri)[1])
    expect("hmp", here.hmp("migrate -d " + uri), "")
    expect("events", [there.event("MIGRATION")["data"]["status"] for _ in range(3)],
           ["setup", "active", "completed"])
    expect("paused", there.cmd("query-status")["status"], "paused")
    there.cmd("cont")
    expect("registers", there.hmp("print/x $rax"), "0x%x\r\n" % RAX)


def test_migrate_when_the_other_side_refuses_then_the_machine_runs_on(bed):
    here = guest(bed, *disk(bed), "-device", "e1000").qmp()
    uri = "unix:" + bed.path("way")
    p, there = arrives(bed, uri)  # which has no such card
    cls, why = here.error("migrate", uri=uri)
    expect_in("why", "refused there: ", why)
    expect_in("what", "e1000", why)
    expect("runs on", here.cmd("query-status")["status"], "running")
    expect("the other side ends", p.wait(), 1)
    expect_in("it says why, too", "e1000", p.output())
    expect_in("failed", "refused there", here.cmd("query-migrate")["error-desc"])
    expect("still", here.hmp("print/x $rax"), "0x%x\r\n" % RAX)


def test_migrate_when_no_answer_comes_then_nobody_runs_twice(bed):
    here = guest(bed).qmp()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(bed.path("way"))
    listener.listen(1)

    def swallow():
        s, _ = listener.accept()
        while s.recv(1 << 16):
            pass
        s.close()
    t = threading.Thread(target=swallow)
    t.start()
    expect_in("no answer", "no answer; the machine may run there now",
              here.error("migrate", uri="unix:" + bed.path("way"))[1])
    t.join()
    expect("stands still", here.cmd("query-status")["running"], False)
    here.cmd("cont")
    expect("on request it goes on", here.cmd("query-status")["status"], "running")


def test_migrate_when_nobody_is_there_then_one_line_says_so(bed):
    here = guest(bed).qmp()
    for uri, why in (("unix:" + bed.path("nobody"), "No such file"), ("unix:", "a socket's path has"),
                     ("tcp:127.0.0.1:%d" % free_port(), "Connection refused"), ("tcp:127.0.0.1:", "a port is missing"),
                     ("tcp:127", "is expected"), ("rdma:x:1", "is expected")):
        expect_in(uri, why, here.error("migrate", uri=uri)[1])
        expect("runs on", here.cmd("query-status")["status"], "running")


def test_migrate_when_what_arrives_is_no_state_then_the_process_ends(bed):
    for data in (b"", b"junk", os.urandom(100000)):
        p, q = arrives(bed, "unix:" + bed.path("way"))
        s = socket.socket(socket.AF_UNIX)
        s.connect(bed.path("way"))
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        answer = s.makefile().read()
        if not answer or "loaded" in answer:
            raise Failure("answer: %r" % answer)
        expect("end", p.wait(), 1)
        expect_in("one line", answer.strip(), p.output())
        expect("lines", len(p.output().splitlines()), 1)


main(globals())
