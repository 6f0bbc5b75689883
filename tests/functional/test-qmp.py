#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""QMP: what libxl and people ask, and what nobody should."""
import json
import os
import socket
import struct
import subprocess
import zlib

from keel import Failure, expect, expect_in, main

CD = ("-drive", "if=none,readonly=on,id=ide-5632,file=%s,format=raw", "-device",
      "ide-cd,id=ide-5632,drive=ide-5632,bus=ide.1,unit=0")


def with_cd(bed, *args):
    cd = bed.file("cd.iso", b"\x44" * (1 << 20))
    return bed.machine(*[a % cd if "%s" in a else a for a in CD], *args)


# ---- the probe ----

def test_qmp_when_libxl_probes_then_it_finds_run_with(bed):
    p = bed.probe()
    q = p.qmp()
    options = {o["option"]: {x["name"] for x in o["parameters"]}
               for o in q.cmd("query-command-line-options")}
    expect("run-with", options["run-with"], {"chroot", "user"})
    expect_in("machine", "max-ram-below-4g", options["machine"])
    expect("one", [o["option"] for o in q.cmd("query-command-line-options", option="vnc")], ["vnc"])
    expect_in("none", "invalid option name", q.error("query-command-line-options", option="x")[1])
    expect("status", q.cmd("query-status"),
           {"status": "prelaunch", "singlestep": False, "running": False})
    expect("pci", q.cmd("query-pci")[0]["devices"], [])
    expect("block", q.cmd("query-block"), [])
    q.cmd("quit")
    expect("exit", p.wait(), 0)


def test_qmp_when_socket_is_inherited_with_a_caller_waiting_then_it_is_answered(bed):
    path = bed.path("inherited")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(4)
    early = socket.socket(socket.AF_UNIX)
    early.connect(path)
    early.sendall(b'{"execute":"qmp_capabilities","id":1}\n{"execute":"query-status","id":2}\n')
    os.set_inheritable(listener.fileno(), True)
    p = bed.start("-accel", "qtest", "-machine", "pc", "-nodefaults", "-chardev",
                  "socket,id=libxl-cmd,fd=%d,server=on,wait=off" % listener.fileno(), "-S", "-mon",
                  "chardev=libxl-cmd,mode=control", pass_fds=(listener.fileno(),))
    listener.close()
    early.settimeout(60)
    f = early.makefile("rb")
    lines = [json.loads(f.readline()) for _ in range(3)]
    expect("greeting", "QMP" in lines[0], True)
    expect("status", lines[2], {"return": {"status": "prelaunch", "singlestep": False,
                                           "running": False}, "id": 2})
    early.close()
    f.close()
    q = p.qmp(path)
    q.cmd("cont")
    expect("event", q.event("RESUME")["event"], "RESUME")
    expect("status", q.cmd("query-status")["status"], "running")


# ---- framing ----

def test_qmp_when_greeted_then_version_is_one_libxl_accepts(bed):
    q = bed.probe().qmp(negotiate=False)
    v = q.greeting["QMP"]["version"]["qemu"]
    expect("at least 2.12", (v["major"], v["minor"]) >= (2, 12), True)
    expect("capabilities", q.greeting["QMP"]["capabilities"], ["oob"])


def test_qmp_when_not_negotiated_then_commands_are_refused(bed):
    q = bed.probe().qmp(negotiate=False)
    expect("early", q.error("query-status"), (
        "CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'"))
    expect("bad capability", q.error("qmp_capabilities", enable=["frob"])[0], "GenericError")
    expect("negotiated", q.cmd("qmp_capabilities", enable=["oob"]), {})
    expect("again", q.error("qmp_capabilities")[0], "CommandNotFound")


def test_qmp_when_id_is_any_json_then_it_comes_back(bed):
    q = bed.probe().qmp()
    for ident in (0, -1, 2020372736, 1.5, "text", None, True, [1, {"a": []}], {"x": "y"}):
        q.raw(json.dumps({"execute": "query-name", "id": ident}) + "\n")
        r = q.reply()
        expect("reply", r, {"return": {}, "id": ident})
    q.raw('{"execute":"query-name"}\n')
    expect("no id", q.reply(), {"return": {}})
    q.raw('{"execute":"nope","id":[7]}\n')
    expect("error", q.reply()["id"], [7])


def test_qmp_when_framing_is_odd_then_values_are_still_found(bed):
    q = bed.probe().qmp()
    q.raw('{"execute":"query-name","id":1}{"execute":"query-name","id":2}\n\n  \r\n')
    expect("two in a line", [q.reply()["id"], q.reply()["id"]], [1, 2])
    for c in '{"execute"\n:\t"query-name",\r\n"id":3}':
        q.raw(c)
    expect("byte by byte", q.reply()["id"], 3)
    q.raw("{'execute':'query-name','id':'it\\'s \"4\"'}")
    expect("single quotes", q.reply()["id"], "it's \"4\"")
    q.raw('{"execute":"query-name","id":"}{[]\\"\\\\"}')
    expect("brackets in a string", q.reply()["id"], '}{[]"\\')
    q.raw('{"execute":"query-name","id":"\u00e4\\u20ac"}')
    expect("utf-8", q.reply()["id"], "\u00e4\u20ac")


def test_qmp_when_input_is_no_request_then_an_error_says_why(bed):
    q = bed.probe().qmp()
    for line, what in (("[1]", "must be a JSON object"), ("5", "must be a JSON object"),
                       ("null", "must be a JSON object"), ('"text"', "must be a JSON object"),
                       ("hello", "invalid keyword 'hello'"), ("}", "JSON parse error"),
                       ("{]", "JSON parse error"), ("{,}", "JSON parse error"),
                       ('{"execute":}', "JSON parse error"),
                       ('{"execute":"a","execute":"b"}', "JSON parse error"),
                       ('{"a\x01b":1}', "JSON parse error"), ("{}", "lacks member 'execute'"),
                       ('{"foo":1}', "'foo' is unexpected"),
                       ('{"execute":5}', "'execute' must be a string"),
                       ('{"execute":"query-name","arguments":[]}', "must be an object"),
                       ('{"execute":"query-name","bar":1}', "'bar' is unexpected"),
                       ('{"execute":"a\\u0000b"}', "JSON parse error")):
        q.raw(line + "\n")
        r = q.reply()
        expect("class for " + line, r["error"]["class"], "GenericError")
        expect_in(line, what, r["error"]["desc"])
    q.raw(b'{"execute":"\xff\xfe"}\n')
    expect("bytes", q.reply()["error"]["class"], "GenericError")
    expect("still there", q.cmd("query-name"), {})


def test_qmp_when_input_is_deep_or_huge_then_an_error_and_nothing_worse(bed):
    q = bed.probe().qmp()
    q.raw("[" * 5000 + "\n")
    expect_in("deep", "nesting depth", q.reply()["error"]["desc"])
    expect("alive", q.cmd("query-name"), {})
    q.raw("[" * 1000 + "]" * 1000 + "\n")
    expect_in("as deep as allowed", "must be a JSON object", q.reply()["error"]["desc"])
    q.raw('{"execute":"' + "a" * (2 << 20) + '"}\n')
    expect_in("huge", "token size", q.reply()["error"]["desc"])
    expect("alive", q.cmd("query-name"), {})
    expect_in("long name", "has not been found", q.error("x" * 100000)[1])


def test_qmp_when_peer_leaves_in_the_middle_then_the_next_starts_clean(bed):
    p = bed.probe()
    q = p.qmp()
    q.raw('{"execute":"query-na')
    q.sock.close()
    for _ in range(11):
        q = p.qmp()
        expect("clean", q.cmd("query-name"), {})
        q.sock.close()


def test_qmp_when_peer_never_reads_then_others_are_served(bed):
    p = bed.machine("-chardev", "socket,id=b,path=%s,server=on,wait=off" % bed.path("b"), "-mon",
                    "chardev=b,mode=control")
    deaf = p.qmp(bed.path("b"))
    deaf.sock.settimeout(0.5)
    try:
        while True:
            deaf.raw('{"execute":"query-command-line-options"}' * 50)
    except (socket.timeout, BlockingIOError):
        pass
    q = p.qmp()
    for _ in range(300):
        q.cmd("stop")
        q.cmd("cont")
    expect("alive", q.cmd("query-status")["running"], True)
    with open("/proc/%d/status" % p.proc.pid) as f:
        rss = int([x for x in f.read().splitlines() if x.startswith("VmRSS")][0].split()[1])
    if rss > 200000:
        raise Failure("memory grows: %d KiB" % rss)


def test_qmp_when_arguments_are_wrong_then_the_parameter_is_named(bed):
    q = bed.machine().qmp()
    for cmd, args, want in (
            ("eject", {"foo": 1}, "Parameter 'foo' is unexpected"),
            ("eject", {"id": 1}, "Invalid parameter type for 'id', expected: string"),
            ("eject", {}, "Need exactly one of 'device' and 'id'"),
            ("eject", {"id": "a", "device": "b"}, "Need exactly one of 'device' and 'id'"),
            ("screendump", {}, "Parameter 'filename' is missing"),
            ("screendump", {"filename": "/x", "format": "bmp"},
             "Parameter 'format' does not accept value 'bmp'"),
            ("xen-set-global-dirty-log", {"enable": "on"},
             "Invalid parameter type for 'enable', expected: boolean"),
            ("device_add", {}, "Parameter 'driver' is missing"),
            ("send-key", {"keys": "a"}, "Invalid parameter type for 'keys', expected: array"),
            ("stop", {"x": 1}, "Parameter 'x' is unexpected"),
            ("human-monitor-command", {"command-line": 5},
             "Invalid parameter type for 'command-line', expected: string")):
        expect("%s %r" % (cmd, args), q.error(cmd, **args), ("GenericError", want))
    expect("unknown", q.error("frob"),
           ("CommandNotFound", "The command frob has not been found"))


def test_qmp_when_oob_is_asked_for_then_refused_by_name(bed):
    q = bed.probe().qmp(negotiate=False)
    q.raw('{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}')
    q.reply()
    q.raw('{"exec-oob":"query-status"}')
    expect_in("oob", "does not support OOB", q.reply()["error"]["desc"])
    q.raw('{"execute":"query-status","exec-oob":"query-status"}')
    expect_in("both", "clashes with", q.reply()["error"]["desc"])


# ---- queries ----

def test_qmp_when_asked_what_there_is_then_the_tables_answer(bed):
    q = bed.machine("-device", "VGA,id=screen,vgamem_mb=8").qmp()
    schema = {t["name"]: t for t in q.cmd("query-qmp-schema")}
    for name in [c["name"] for c in q.cmd("query-commands") if c["name"] != "qmp_capabilities"]:
        members = schema[schema[name]["arg-type"]]["members"]
        expect(name, schema[name]["meta-type"], "command")
        for m in members:
            expect_in("type of %s.%s" % (name, m["name"]), m["type"], schema)
    uri = schema[schema["migrate"]["arg-type"]]["members"][0]
    expect("migrate", uri, {"name": "uri", "type": "str"})
    expect("no data", schema["STOP"], {"name": "STOP", "meta-type": "event", "arg-type": "q_empty"})
    expect("events", sorted(e["name"] for e in q.cmd("query-events")),
           sorted(t["name"] for t in schema.values() if t["meta-type"] == "event"))
    expect("data", schema[schema["DEVICE_DELETED"]["arg-type"]]["members"],
           [{"name": "device", "type": "str", "default": None}, {"name": "path", "type": "str"}])
    expect_in("types", {"name": "e1000", "parent": "device"}, q.cmd("qom-list-types"))
    expect_in("properties", "mac", [p["name"] for p in q.cmd("device-list-properties", typename="e1000")])
    expect_in("unknown", "not found", q.error("device-list-properties", typename="frob")[1])
    expect_in("models", "Haswell", [c["name"] for c in q.cmd("query-cpu-definitions")])
    model = q.cmd("query-cpu-model-expansion", type="full", model={"name": "Nehalem", "props": {"sse4.2": False}})
    expect("features", (model["model"]["props"]["sse4.2"], model["model"]["props"]["avx"],
                        model["model"]["props"]["sse2"]), (False, False, True))
    expect_in("tree", {"name": "screen", "type": "child<VGA>"}, q.cmd("qom-list", path="/machine/peripheral"))
    expect("value", q.cmd("qom-get", path="/machine/peripheral/screen", property="vgamem_mb"), 8)
    expect_in("no such property", "not found",
              q.error("qom-get", path="/machine/peripheral/screen", property="frob")[1])


def test_qmp_when_started_with_defer_then_migrate_incoming_brings_the_state(bed):
    p = bed.machine("-device", "VGA")
    q = p.qmp()
    q.cmd("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
    expect_in("others", "not available", q.error("migrate-set-capabilities", capabilities=[
        {"capability": "postcopy-ram", "state": True}])[1])
    q.cmd("migrate-set-parameters", max_bandwidth=1 << 40)
    expect("kept", q.cmd("query-migrate-parameters")["max-bandwidth"], 1 << 40)
    with open(bed.path("state"), "wb") as f:
        q.cmd("getfd", fds=[f.fileno()], fdname="migrate")
    q.cmd("migrate", uri="fd:migrate")
    expect("events", [q.event("MIGRATION")["data"]["status"] for _ in range(3)], ["setup", "active", "completed"])
    expect("taken", q.error("closefd", fdname="migrate")[1], "File descriptor named 'migrate' not found")
    p.hurt()
    q = bed.machine("-device", "VGA", "-incoming", "defer").qmp()
    expect("waits", q.cmd("query-status")["status"], "inmigrate")
    ours, theirs = socket.socketpair()
    q.cmd("getfd", fds=[theirs.fileno()], fdname="out")
    theirs.close()
    expect_in("too early", "waits for its state", q.error("migrate", uri="fd:out")[1])
    ours.settimeout(60)
    expect("the descriptor is closed", ours.recv(1), b"")
    expect_in("no file", "No such file", q.error("migrate-incoming", uri="file:" + bed.path("none"))[1])
    q.cmd("migrate-incoming", uri="file:" + bed.path("state"))
    expect("runs", q.cmd("query-status")["status"], "running")
    expect_in("once", "has arrived", q.error("migrate-incoming", uri="file:" + bed.path("state"))[1])


def test_qmp_when_commands_are_listed_then_each_answers(bed):
    q = bed.machine().qmp()
    names = {c["name"] for c in q.cmd("query-commands")}
    for name in ("cont", "stop", "quit", "query-chardev", "query-vnc", "change-vnc-password", "eject",
                 "query-version", "blockdev-change-medium", "change", "add-fd", "remove-fd",
                 "query-fdsets", "xen-save-devices-state", "xen-load-devices-state",
                 "xen-set-global-dirty-log", "query-cpus-fast", "query-cpus", "device_add",
                 "query-hotpluggable-cpus", "device_del", "query-pci", "query-status",
                 "human-monitor-command", "query-block", "query-blockstats", "qmp_capabilities",
                 "query-command-line-options"):
        expect_in("query-commands", name, names)
    for name in sorted(names):
        if name.startswith("query-") and name != "query-cpu-model-expansion":  # which takes arguments
            q.cmd(name)
    expect("uuid", q.cmd("query-uuid"), {"UUID": "0" * 8 + "-0000-0000-0000-" + "0" * 12})
    expect("kvm", q.cmd("query-kvm"), {"enabled": False, "present": False})


def test_qmp_when_pci_is_asked_for_then_the_board_is_as_drawn(bed):
    q = bed.machine("-device", "VGA,id=screen").qmp()
    bus, = q.cmd("query-pci")
    slots = [(d["slot"], d["function"], d["id"]["vendor"], d["id"]["device"]) for d in bus["devices"]]
    expect("slots", slots, [(0, 0, 0x8086, 0x1237), (1, 0, 0x8086, 0x7000), (1, 1, 0x8086, 0x7010),
                            (1, 3, 0x8086, 0x7113), (2, 0, 0x1234, 0x1111)])
    vga = bus["devices"][-1]
    expect("id", vga["qdev_id"], "screen")
    expect("first region", (vga["regions"][0]["bar"], vga["regions"][0]["type"],
                            vga["regions"][0]["size"]), (0, "memory", 16 << 20))


def test_qmp_when_chardevs_are_asked_for_then_ptys_have_paths(bed):
    q = bed.machine("-serial", "pty", "-serial", "null").qmp()
    by_label = {c["label"]: c for c in q.cmd("query-chardev")}
    path = by_label["serial0"]["filename"]
    expect("pty", path[:13], "pty:/dev/pts/")
    expect("exists", os.path.exists(path[4:]), True)
    expect("serial1", by_label["serial1"]["filename"], "null")


def test_qmp_when_vnc_runs_then_query_vnc_gives_strings(bed):
    q = bed.machine("-vnc", "127.0.0.1:40,to=99").qmp()
    v = q.cmd("query-vnc")
    expect("vnc", (v["enabled"], v["host"], v["family"], v["auth"], v["clients"]),
           (True, "127.0.0.1", "ipv4", "none", []))
    expect("port", 5940 <= int(v["service"]) <= 5999, True)
    expect("no password wanted", q.error("change-vnc-password", password="x")[0], "GenericError")
    s = socket.create_connection(("127.0.0.1", int(v["service"])))
    expect("rfb", s.recv(12)[:4], b"RFB ")
    s.close()


def test_qmp_when_vnc_is_a_unix_socket_then_query_vnc_names_it(bed):
    v = bed.machine("-vnc", "unix:vnc.sock").qmp().cmd("query-vnc")
    expect("vnc", (v["host"], v["service"], v["family"]), ("", "vnc.sock", "unix"))


def test_qmp_when_vnc_has_password_then_it_can_be_set(bed):
    q = bed.machine("-vnc", "127.0.0.1:40,password=on,to=99").qmp()
    expect("auth", q.cmd("query-vnc")["auth"], "vnc")
    expect("set", q.cmd("change-vnc-password", password="secret"), {})
    expect("change", q.cmd("change", device="vnc", target="password", arg="other"), {})
    expect("set_password", q.cmd("set_password", protocol="vnc", password="third"), {})


def test_qmp_when_vnc_is_off_then_it_says_so(bed):
    q = bed.machine("-vnc", "none").qmp()
    expect("vnc", q.cmd("query-vnc"), {"enabled": False})
    expect("password", q.error("change-vnc-password", password="x"),
           ("GenericError", "Could not set password"))


# ---- CD-ROM ----

def test_qmp_when_libxl_inserts_and_ejects_then_as_recorded(bed):
    q = with_cd(bed).qmp()
    expect("eject", q.cmd("eject", id="ide-5632"), {})
    e = q.event("DEVICE_TRAY_MOVED")
    expect("event", e["data"], {"device": "ide-5632", "tray-open": True, "id": "ide-5632"})
    expect("time", set(e["timestamp"]), {"seconds", "microseconds"})
    expect("empty", "inserted" in q.cmd("query-block")[0], False)
    other = bed.file("cd2.iso", b"\x55" * (2 << 20))
    fd = os.open(other, os.O_RDONLY)
    r = q.cmd("add-fd", fds=[fd], opaque="raw:" + other)
    os.close(fd)
    expect("set", r["fdset-id"], 0)
    expect("insert", q.cmd("blockdev-change-medium", id="ide-5632", filename="/dev/fdset/0",
                           format="raw"), {})
    expect("event", q.event("DEVICE_TRAY_MOVED")["data"]["tray-open"], False)
    info = q.cmd("query-block")[0]
    expect("size", info["inserted"]["image"]["virtual-size"], 2 << 20)
    expect("read-only", info["inserted"]["ro"], True)
    expect("again", q.cmd("eject", id="ide-5632"), {})
    expect("twice", q.cmd("eject", id="ide-5632"), {})
    expect("old name", q.cmd("change", device="ide-5632", target=other), {})
    expect("remove", q.cmd("remove-fd", fdset_id=0), {})
    expect("sets", q.cmd("query-fdsets"), [])


def test_qmp_when_new_medium_cannot_be_opened_then_the_old_one_stays(bed):
    q = with_cd(bed).qmp()
    cls, desc = q.error("blockdev-change-medium", id="ide-5632", filename="/none")
    expect_in("desc", "/none", desc)
    expect_in("still in", "inserted", q.cmd("query-block")[0])
    expect("set", q.error("blockdev-change-medium", id="ide-5632", filename="/dev/fdset/9")[0],
           "GenericError")
    expect_in("format", "qcow2", q.error("blockdev-change-medium", id="ide-5632",
                                         filename=bed.path("cd.iso"), format="qcow2")[1])
    q.quiet()


def test_qmp_when_drive_is_unknown_or_fixed_then_errors_name_it(bed):
    q = with_cd(bed, "-hda", bed.file("disk", bytes(1 << 20))).qmp()
    expect("unknown", q.error("eject", id="zz"), ("DeviceNotFound", "Device 'zz' not found"))
    expect("unknown", q.error("eject", device="zz")[0], "DeviceNotFound")
    expect("unknown", q.error("change", device="zz", target="/x")[0], "DeviceNotFound")
    expect("fixed", q.error("eject", device="ide0-hd0"),
           ("GenericError", "Device 'ide0-hd0' is not removable"))
    expect("fixed", q.error("blockdev-change-medium", device="ide0-hd0",
                            filename=bed.path("cd.iso"))[0], "GenericError")


# ---- descriptors ----

def test_qmp_when_fds_are_passed_then_sets_keep_them(bed):
    q = bed.probe().qmp()
    expect("none", q.error("add-fd"),
           ("GenericError", "No file descriptor supplied via SCM_RIGHTS"))
    fd = os.open(bed.file("f"), os.O_RDWR)
    a = q.cmd("add-fd", fds=[fd], fdset_id=5, opaque="x")
    b = q.cmd("add-fd", fds=[fd], fdset_id=5)
    expect("lowest free", q.cmd("add-fd", fds=[fd])["fdset-id"], 0)
    expect("sets", q.cmd("query-fdsets")[1],
           {"fds": [{"fd": a["fd"], "opaque": "x"}, {"fd": b["fd"]}], "fdset-id": 5})
    expect("one away", q.cmd("remove-fd", fdset_id=5, fd=a["fd"]), {})
    expect_in("gone", "not found", q.error("remove-fd", fdset_id=5, fd=a["fd"])[1])
    expect("all away", q.cmd("remove-fd", fdset_id=5), {})
    expect("gone", q.error("remove-fd", fdset_id=5),
           ("GenericError", "File descriptor named 'fdset-id:5' not found"))
    expect_in("negative", "non-negative", q.error("add-fd", fds=[fd], fdset_id=-1)[1])
    expect("getfd", q.cmd("getfd", fds=[fd], fdname="a"), {})
    expect("closefd", q.cmd("closefd", fdname="a"), {})
    expect("again", q.error("closefd", fdname="a"),
           ("GenericError", "File descriptor named 'a' not found"))
    expect_in("digit", "digit", q.error("getfd", fds=[fd], fdname="1a")[1])
    os.close(fd)


def test_qmp_when_fds_flood_in_then_none_leak(bed):
    p = bed.probe()
    q = p.qmp()
    q.cmd("query-name")
    before = len(os.listdir("/proc/%d/fd" % p.proc.pid))
    fd = os.open("/dev/null", os.O_RDWR)
    for _ in range(50):
        q.cmd("query-name", fds=[fd, fd, fd])
    held = len(os.listdir("/proc/%d/fd" % p.proc.pid)) - before
    if held > 12:
        raise Failure("%d descriptors held" % held)
    q.sock.close()
    q = p.qmp()
    expect("after the peer left", len(os.listdir("/proc/%d/fd" % p.proc.pid)), before)
    os.close(fd)


# ---- running, saving ----

def test_qmp_when_stopped_and_continued_then_events_and_states(bed):
    q = bed.machine("-S").qmp()
    expect("first", q.cmd("query-status")["status"], "prelaunch")
    q.cmd("stop")
    expect("not running: stays", q.cmd("query-status")["status"], "prelaunch")
    q.cmd("cont")
    q.event("RESUME")
    q.cmd("stop")
    q.event("STOP")
    expect("paused", q.cmd("query-status"),
           {"status": "paused", "singlestep": False, "running": False})
    q.cmd("stop")
    q.cmd("cont")
    q.event("RESUME")
    q.cmd("cont")
    q.quiet()
    q.cmd("system_reset")
    expect("reset", q.event("RESET")["data"], {"guest": False, "reason": "host-qmp-system-reset"})
    q.cmd("system_powerdown")
    q.event("POWERDOWN")
    expect_in("wakeup", "not in suspended state", q.error("system_wakeup")[1])


def test_qmp_when_quit_then_reply_and_event_come_first(bed):
    p = bed.machine()
    q = p.qmp()
    expect("quit", q.cmd("quit"), {})
    expect("event", q.event("SHUTDOWN")["data"], {"guest": False, "reason": "host-qmp-quit"})
    expect("exit", p.wait(), 0)


def test_qmp_when_saved_then_incoming_brings_the_same_state_back(bed):
    p = with_cd(bed, "-device", "VGA", "-smp", "1,maxcpus=3")
    t, q = p.qtest(), p.qmp()
    t.config_write(2, 0, 0x10, 0xe0000000)
    t.out("b", 0x92, 2)
    q.cmd("xen-set-global-dirty-log", enable=True)
    q.cmd("stop")
    fd = os.open(bed.path("state"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    r = q.cmd("add-fd", fds=[fd])
    os.close(fd)
    expect("save", q.cmd("xen-save-devices-state", live=False,
                         filename="/dev/fdset/%d" % r["fdset-id"]), {})
    q.cmd("xen-set-global-dirty-log", enable=False)
    q.cmd("quit")
    p.wait()
    for name in ("qmp", "qtest"):
        if os.path.exists(bed.path(name)):
            os.unlink(bed.path(name))
    fd = os.open(bed.path("state"), os.O_RDONLY)
    os.set_inheritable(fd, True)
    p = bed.machine("-drive", "if=none,readonly=on,id=ide-5632", "-device", CD[3], "-device", "VGA",
                    "-S", "-incoming", "fd:%d" % fd, pass_fds=(fd,))
    os.close(fd)
    q = p.qmp()
    expect("status", q.cmd("query-status")["status"], "paused")
    q.cmd("cont")
    t = p.qtest()
    expect("BAR", t.config_read(2, 0, 0x10) & ~0xf, 0xe0000000)
    expect("port 92", t.inp("b", 0x92), 2)
    q.cmd("xen-save-devices-state", filename=bed.path("again"))
    expect("runs on", q.cmd("query-status")["status"], "running")


def test_qmp_when_migrated_through_a_command_then_incoming_reads_another(bed):
    p = bed.machine()
    t, q = p.qtest(), p.qmp()
    t.out("b", 0x92, 2)
    expect("never", q.cmd("query-migrate"), {})
    expect_in("scheme", "exec:COMMAND", q.error("migrate", uri="rdma:localhost:1")[1])
    expect_in("failing", "the command failed", q.error("migrate", uri="exec:cat > /dev/null; exit 3")[1])
    expect("failed", q.cmd("query-migrate")["status"], "failed")
    expect("goes on", q.cmd("query-status")["running"], True)
    q.cmd("migrate", uri="exec:gzip -c > %s" % bed.path("state.gz"))
    expect("done", q.cmd("query-migrate")["status"], "completed")
    expect("stays", q.cmd("query-status")["running"], False)
    q.cmd("quit")
    p.wait()
    for name in ("qmp", "qtest"):
        if os.path.exists(bed.path(name)):
            os.unlink(bed.path(name))
    p = bed.machine("-S", "-incoming", "exec:gzip -dc " + bed.path("state.gz"))
    p.qmp().cmd("cont")
    expect("port 92", p.qtest().inp("b", 0x92), 2)
    expect_in("command", "exec:exit 7", bed.refused("-M", "pc", "-accel", "qtest", "-incoming", "exec:exit 7"))


def test_qmp_when_state_is_loaded_into_a_running_machine_then_refused(bed):
    p = bed.machine()
    q = p.qmp()
    q.cmd("xen-save-devices-state", filename=bed.path("state"))
    expect_in("running", "stop it first", q.error("xen-load-devices-state",
                                                  filename=bed.path("state"))[1])
    q.cmd("stop")
    expect("load", q.cmd("xen-load-devices-state", filename=bed.path("state")), {})
    with open(bed.path("state"), "rb") as f:
        state = f.read()
    for n in list(range(0, 64)) + [len(state) // 2, len(state) - 1]:
        bed.file("cut", state[:n])
        expect("cut at %d" % n, q.error("xen-load-devices-state", filename=bed.path("cut"))[0],
               "GenericError")
    expect("nowhere", q.error("xen-save-devices-state", filename="/none/x"),
           ("GenericError", "Unable to open /none/x: No such file or directory"))
    expect("full disk", "No space" in q.error("xen-save-devices-state", filename="/dev/full")[1], True)
    expect("alive", q.cmd("query-status")["status"], "paused")


def test_qmp_when_cpus_are_plugged_then_as_recorded(bed):
    q = bed.machine("-smp", "1,maxcpus=3").qmp()
    expect("one", [c["cpu-index"] for c in q.cmd("query-cpus-fast")], [0])
    slots = q.cmd("query-hotpluggable-cpus")
    expect("sockets", [s["props"]["socket-id"] for s in slots], [2, 1, 0])
    expect("type", slots[0]["type"], "qemu32-i386-cpu")
    plug = dict(driver=slots[0]["type"], core_id=0, thread_id=0)
    expect("plug", q.cmd("device_add", id="cpu-1", socket_id=1, **plug), {})
    cpus = q.cmd("query-cpus-fast")
    expect("two", [c["cpu-index"] for c in cpus], [0, 1])
    expect("path", cpus[1]["qom-path"], "/machine/peripheral/cpu-1")
    expect_in("again", "already exists", q.error("device_add", id="x", socket_id=1, **plug)[1])
    expect_in("id", "Duplicate", q.error("device_add", id="cpu-1", socket_id=2, **plug)[1])
    expect_in("range", "range 0:2", q.error("device_add", id="c", socket_id=3, **plug)[1])
    expect_in("type", "expected cpu type", q.error("device_add", driver="frob-cpu", socket_id=2)[1])
    expect_in("del", "cannot unplug", q.error("device_del", id="cpu-1")[1])


def test_qmp_when_devices_are_plugged_then_a_clear_no(bed):
    q = bed.machine().qmp()
    expect_in("known", "yet", q.error("device_add", driver="usb-ehci", id="xenusb-0")[1])
    expect_in("unknown", "not a valid device model name", q.error("device_add", driver="frob")[1])
    expect("del", q.error("device_del", id="none"), ("DeviceNotFound", "Device 'none' not found"))


# ---- screen and keys ----

def test_qmp_when_screen_is_dumped_then_a_picture(bed):
    q = bed.machine("-device", "VGA").qmp()
    q.cmd("screendump", filename=bed.path("a.ppm"))
    with open(bed.path("a.ppm"), "rb") as f:
        head = f.read(20).split(b"\n")
    expect("ppm", head[0], b"P6")
    q.cmd("screendump", filename=bed.path("a.png"), format="png")
    with open(bed.path("a.png"), "rb") as f:
        data = f.read()
    expect("png", data[:8], b"\x89PNG\r\n\x1a\n")
    expect("crc", struct.unpack(">I", data[29:33])[0], zlib.crc32(data[12:29]))
    expect_in("nowhere", "/none", q.error("screendump", filename="/none/x")[1])


def test_qmp_when_there_is_no_screen_then_it_says_so(bed):
    expect_in("screendump", "no console",
              bed.machine().qmp().error("screendump", filename=bed.path("a"))[1])


def typed(t):
    """What the keyboard controller holds; nobody has turned its translation on."""
    codes = []
    while t.inp("b", 0x64) & 1:
        codes.append(t.inp("b", 0x60))
        t.ok("clock_step 10000000")
    return codes


def test_qmp_when_keys_are_sent_then_the_controller_has_them(bed):
    p = bed.machine()
    q, t = p.qmp(), p.qtest()
    expect("bad", q.error("send-key", keys=[{"type": "qcode", "data": "zz"}])[1],
           "Parameter 'data' does not accept value 'zz'")
    for bad in ([5], [{}], [{"type": "frob", "data": "a"}], [{"type": "number", "data": 0}],
                [{"type": "number", "data": 1 << 40}], [{"type": "qcode"}],
                [{"type": "qcode", "data": "a"}] * 17):
        expect("bad %r" % bad, q.error("send-key", keys=bad)[0], "GenericError")
    q.cmd("send-key", keys=[{"type": "qcode", "data": "a"}])
    expect("full", t.inp("b", 0x64) & 1, 1)
    expect("make and break, set 2", typed(t), [0x1c, 0xf0, 0x1c])
    q.cmd("input-send-event", events=[{"type": "key", "data": {
        "down": True, "key": {"type": "qcode", "data": "b"}}}])
    expect("b", typed(t), [0x32])
    q.cmd("input-send-event", events=[{"type": "rel", "data": {"axis": "x", "value": 5}},
                                      {"type": "btn", "data": {"button": "left", "down": True}}])
    for bad in ({"type": "abs", "data": {"axis": "x", "value": 1}}, {"type": "frob", "data": {}},
                {"type": "btn", "data": {"button": "frob", "down": True}}, {}, 7,
                {"type": "rel", "data": {"axis": "z", "value": 1}},
                {"type": "rel", "data": {"axis": "x", "value": "1"}}, {"type": "key", "data": 1}):
        expect("bad %r" % bad, q.error("input-send-event", events=[bad])[0], "GenericError")


# ---- HMP ----

def test_qmp_when_hmp_is_used_then_answers_look_like_qemus(bed):
    p = with_cd(bed, "-device", "VGA,id=screen", "-name", "frodo")
    q = p.qmp()
    expect("status", q.hmp("info status"), "VM status: running\r\n")
    expect_in("version", "Keel 0.1.0", q.hmp("info version"))
    expect("name", q.hmp("info name"), "frodo\r\n")
    expect("unknown", q.hmp("frob"), "unknown command: 'frob'\r\n")
    expect("quoted", q.hmp('"no such" x'), "unknown command: 'no such'\r\n")
    expect("escaped", q.hmp('"a\\"b\\\\'), "unknown command: 'a\"b\\'\r\n")
    expect("unknown info", q.hmp("info frob"), "unknown command: 'info frob'\r\n")
    expect_in("block", "cd.iso (raw, read-only)", q.hmp("info block"))
    expect_in("stats", "rd_bytes=0", q.hmp("info blockstats"))
    expect_in("pci", "8086:1237", q.hmp("info pci"))
    expect_in("mtree", "PORT92", q.hmp("info mtree"))
    expect_in("qtree", 'id "screen"', q.hmp("info qtree"))
    expect_in("state", "PIIX4_PM", q.hmp("info state"))
    expect("vnc", q.hmp("info vnc"), "None\r\n")
    expect_in("chardev", "qtest", q.hmp("info chardev"))
    expect_in("cpus", "* CPU #0", q.hmp("info cpus"))
    expect("xen", q.hmp("info xen"), "not on Xen\r\n")
    expect("i", q.hmp("i /b 0x64"), "portb[0x0064] = 0x18\r\n")
    q.hmp("o /b 0x92 2")
    expect("o", q.hmp("i/b 0x92"), "portb[0x0092] = 0x02\r\n")
    expect("xp", q.hmp("xp /4xb 0"), "0000000000000000: 0x00 0x00 0x00 0x00\r\n")
    expect_in("xp far", "Cannot access memory", q.hmp("xp /1xw 0xfffffffff0000000"))
    expect_in("bad", "invalid number", q.hmp("xp zz"))
    expect_in("few", "needs", q.hmp("o 0x92"))
    expect_in("few", "needs", q.hmp("i"))
    expect("eject", q.hmp("eject ide-5632"), "")
    q.event("DEVICE_TRAY_MOVED")
    expect("change", q.hmp("change ide-5632 " + bed.path("cd.iso")), "")
    expect_in("change", "/none", q.hmp("change ide-5632 /none"))
    expect("sendkey", q.hmp("sendkey ctrl-alt-delete"), "")
    expect_in("sendkey", "invalid parameter: zz", q.hmp("sendkey zz"))
    expect("stop", q.hmp("stop"), "")
    expect("paused", q.hmp("info status"), "VM status: paused\r\n")
    expect("cont", q.hmp("c"), "")
    expect("reset", q.hmp("system_reset"), "")
    expect("power", q.hmp("system_powerdown"), "")
    expect("dump", q.hmp("screendump " + bed.path("x.png")), "")
    expect_in("help", "sendkey", q.hmp("help"))
    expect("nothing", q.hmp(""), "")
    expect("blanks", q.hmp(" \t "), "")
    expect_in("long", "unknown command", q.hmp("x" * 50000))
    expect_in("many", "unknown command", q.hmp("xx " * 5000))
    expect("quit", q.hmp("q"), "")
    expect("exit", p.wait(), 0)


def test_qmp_when_recording_then_looking_leaves_no_trace(bed):
    trace = bed.path("t.ktr")
    p = bed.machine("-keel-record", trace, "-vga", "std", "-cdrom", bed.file("cd", bytes(1 << 20)))
    q = p.qmp()
    expect_in("memory", "0x00000000", q.hmp("xp/4xw 0x1000"))
    q.hmp("info pci")
    q.cmd("query-block")
    q.cmd("screendump", filename=bed.path("picture"))
    q.cmd("quit")
    expect("exit", p.wait(), 0)
    r = subprocess.run([os.environ["KEEL_BUILD"] + "/tools/keel-trace", "replay", trace],
                       capture_output=True, text=True)
    expect("replay: " + r.stdout, r.returncode, 0)


def test_qmp_when_names_are_not_utf8_then_answers_still_are(bed):
    odd = os.fsdecode(b"h\xf6f")
    disk = bed.file(odd, bytes(1 << 20))
    q = bed.machine("-name", odd, "-chardev", "null,id=" + odd,
                    "-drive", "if=none,format=raw,id=%s,file=%s" % (odd, disk)).qmp()
    expect("name", q.cmd("query-name"), {"name": "h?f"})
    expect("file", [d["inserted"]["file"] for d in q.cmd("query-block") if d["device"] == "h?f"],
           [disk.replace(odd, "h?f")])
    expect("statistics", "h?f" in [d["device"] for d in q.cmd("query-blockstats")], True)
    expect("stream", "h?f" in [c["label"] for c in q.cmd("query-chardev")], True)
    expect_in("HMP", "h?f", q.hmp("info block"))


def test_qmp_when_hmp_is_on_a_socket_then_it_prompts(bed):
    p = bed.start("-accel", "qtest", "-machine", "pc", "-nodefaults", "-monitor",
                  "unix:%s,server=on,wait=off" % bed.path("mon"))
    s = p.connect(bed.path("mon"))
    s.settimeout(60)
    got = b""

    def until(text):
        nonlocal got
        while text not in got:
            got += s.recv(4096)
        part, got = got.split(text, 1)
        return part
    expect_in("banner", b"Keel", until(b"(qemu) "))
    s.sendall(b"info status\r\n")
    expect_in("status", b"VM status: running\r\n", until(b"(qemu) "))
    s.sendall(b"stop\ninfo status\n")
    until(b"(qemu) ")
    expect_in("status", b"paused", until(b"(qemu) "))
    s.sendall(b"\n")
    until(b"(qemu) ")
    s.sendall(b"quit\n")
    expect("exit", p.wait(), 0)
    s.close()


if __name__ == "__main__":
    main(globals())
