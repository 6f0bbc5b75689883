#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Live operations on disks, over QMP: nodes, snapshots, jobs, bitmaps, transactions."""
import os
import resource
import shutil
import subprocess
import time

from disk import TOOLS, Disk, Far, holds, img
from keel import Failure, expect, expect_in, main, run_tool

MB = 1 << 20


class Machine(Disk):
    """With jobs on its disk."""

    def finish(self, job):
        """Waits until the job is gone; its event."""
        seen = None
        while True:
            e = self.q.events.pop(0) if self.q.events else self.q.message()
            data = e.get("data", {})
            if e["event"] in ("BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED") and \
                    data["device"] == job:
                seen = e
            if e["event"] == "JOB_STATUS_CHANGE" and data == {"id": job, "status": "null"}:
                return seen

    def ready_event(self, job):
        while True:
            e = self.q.event("BLOCK_JOB_READY")
            if e["data"]["device"] == job:
                return

    def quit(self):
        self.q.cmd("quit")
        self.p.wait()


def qcow2(bed, name="d.qcow2", size="8M", *args):
    path = bed.path(name)
    img("create", "-q", "-f", "qcow2", *args, path, size)
    return path


def disk(bed, path, extra=""):
    return Machine(bed, "-drive", "id=d,if=ide,index=0,format=qcow2,file=%s%s" % (path, extra))


def chain_of(q):
    """File names of the disk's chain, top first."""
    names, image = [], q.cmd("query-block")[0]["inserted"]["image"]
    while image:
        names.append(os.path.basename(image["filename"]))
        image = image.get("backing-image")
    return names


def test_jobs_snapshot_commit_and_stream(bed):
    d = disk(bed, qcow2(bed))
    q = d.q
    d.put(1, 0x11)
    for i, lba in enumerate((2, 3, 4)):
        q.cmd("blockdev-snapshot-sync", device="d", snapshot_file=bed.path("s%d" % i),
              snapshot_node_name="n%d" % i)
        d.put(lba, 0x20 + i)
    expect("chain", chain_of(q), ["s2", "s1", "s0", "d.qcow2"])
    # The middle goes down.
    q.cmd("block-commit", job_id="c", device="d", top_node="n1", base=bed.path("d.qcow2"))
    expect("commit", d.finish("c")["data"]["type"], "commit")
    expect("chain", chain_of(q), ["s2", "d.qcow2"])
    # What the guest writes to goes down, while it writes.
    q.cmd("block-commit", job_id="c", device="d")
    d.ready_event("c")
    job = q.cmd("query-block-jobs")[0]
    expect("job", (job["ready"], job["status"], job["type"]), (True, "ready", "commit"))
    d.put(5, 0x55)
    q.cmd("block-job-complete", device="c")
    expect("commit", d.finish("c")["data"].get("error"), None)
    expect("chain", chain_of(q), ["d.qcow2"])
    q.cmd("blockdev-snapshot-sync", device="d", snapshot_file=bed.path("t"))
    d.put(6, 0x66)
    q.cmd("block-stream", device="d")
    expect("stream", d.finish("d")["data"]["type"], "stream")
    expect("chain", chain_of(q), ["t"])
    want = [(1, 0x11), (2, 0x20), (3, 0x21), (4, 0x22), (5, 0x55), (6, 0x66)]
    expect("guest", [(lba, d.get(lba)) for lba, _ in want], want)
    d.quit()
    img("check", "-q", bed.path("t"))
    img("check", "-q", bed.path("d.qcow2"))
    holds(bed.path("t"), *("-P %d %d 512" % (v, lba * 512) for lba, v in want))
    expect("no backing file", "backing file" in img("info", bed.path("t")), False)
    holds(bed.path("d.qcow2"), *("-P %d %d 512" % (v, lba * 512) for lba, v in want[:5]))


def test_jobs_mirror_and_pivot(bed):
    d = disk(bed, qcow2(bed))
    q = d.q
    d.put(1, 0x11)
    for mode, name in (("background", "m1"), ("write-blocking", "m2")):
        q.cmd("drive-mirror", device="d", target=bed.path(name), sync="full", copy_mode=mode)
        d.ready_event("d")
        expect_in("busy", "busy", q.error("block-stream", device="d", job_id="x")[1])
        d.put(2, 0x22)
        q.cmd("block-job-complete", device="d")
        expect("mirror", d.finish("d")["event"], "BLOCK_JOB_COMPLETED")
        expect("chain", chain_of(q), [name])
        d.put(3, 0x33)
    # Into a raw file, cancelled once it has caught up: a copy.
    q.cmd("drive-mirror", device="d", target=bed.path("raw"), sync="full", format="raw")
    d.ready_event("d")
    q.cmd("block-job-cancel", device="d")
    expect("mirror", d.finish("d")["event"], "BLOCK_JOB_COMPLETED")
    d.put(4, 0x44)
    d.quit()
    holds(bed.path("raw"), "-P 0x11 512 512", "-P 0x22 1024 512", "-P 0x33 1536 512",
          "-P 0 2048 512", fmt="raw")
    holds(bed.path("m2"), "-P 0x44 2048 512")


def test_jobs_backup_full_and_incremental(bed):
    d = disk(bed, qcow2(bed))
    q = d.q
    d.put(1, 0x11)
    q.cmd("transaction", actions=[
        {"type": "block-dirty-bitmap-add", "data": {"node": "d", "name": "b"}},
        {"type": "drive-backup", "data": {"device": "d", "sync": "full", "job-id": "full",
                                          "target": bed.path("full")}}])
    expect("full", d.finish("full")["data"], {"device": "full", "len": 8 * MB, "offset": 8 * MB,
                                              "speed": 0, "type": "backup"})
    d.put(2, 0x22)
    d.put(5000, 0x55)
    bm = q.cmd("query-block")[0]["inserted"]["dirty-bitmaps"][0]
    expect("bitmap", (bm["name"], bm["count"], bm["granularity"]), ("b", 131072, 65536))
    img("create", "-q", "-f", "qcow2", "-b", "full", "-F", "qcow2", bed.path("inc"))
    q.cmd("drive-backup", device="d", sync="incremental", bitmap="b", mode="existing",
          target=bed.path("inc"), job_id="inc")
    expect("inc", d.finish("inc")["data"]["len"], 131072)
    bm = q.cmd("query-block")[0]["inserted"]["dirty-bitmaps"][0]
    expect("bitmap", (bm["count"], bm["busy"]), (0, False))
    # A transaction that fails half way changes nothing.
    d.put(3, 0x33)
    q.error("transaction", actions=[
        {"type": "block-dirty-bitmap-clear", "data": {"node": "d", "name": "b"}},
        {"type": "blockdev-snapshot-sync", "data": {"device": "d", "snapshot-file":
                                                    bed.path("gone")}},
        {"type": "abort", "data": {}}])
    expect("rolled back", (chain_of(q), os.path.exists(bed.path("gone"))), (["d.qcow2"], False))
    expect("bitmap", q.cmd("query-block")[0]["inserted"]["dirty-bitmaps"][0]["count"], 65536)
    d.quit()
    holds(bed.path("full"), "-P 0x11 512 512", "-P 0 1024 512", "-P 0 2560000 512")
    # What was not copied of the incremental comes from the full one.
    img("rebase", "-u", "-f", "qcow2", "-b", bed.path("full"), "-F", "qcow2", bed.path("inc"))
    holds(bed.path("inc"), "-P 0x11 512 512", "-P 0x22 1024 512", "-P 0x55 2560000 512",
          "-P 0 1536 512")


def test_jobs_backup_compressed(bed):
    """Clusters whole, in part, of zeros, and what the guest overwrites meanwhile."""
    d = disk(bed, qcow2(bed))
    q = d.q
    for n in (1, 300, 301, 5000):
        d.put(n, n & 127)
    expect_in("raw", "Compression is not supported for this drive",
              q.error("drive-backup", device="d", sync="full", target=bed.path("r"), format="raw",
                      compress=True)[1])
    q.cmd("drive-backup", device="d", sync="full", target=bed.path("c"), compress=True, speed=1 << 20)
    d.put(5000, 0x77)
    d.put(16000, 0x77)
    q.cmd("block-job-set-speed", device="d", speed=0)
    expect("backup", d.finish("d")["data"].get("error"), None)
    d.quit()
    img("check", "-q", bed.path("c"))
    holds(bed.path("c"), *("-P %d %d 512" % (n & 127, n * 512) for n in (1, 300, 301, 5000)),
          "-P 0 8192000 512", "-P 0 0 512")
    if shutil.which("qemu-img"):
        said = run_tool("qemu-img", "check", bed.path("c"))
        expect_in("compressed", "100.00% compressed clusters", said)


def test_jobs_point_in_time_view(bed):
    """sync=none: the target reads as the disk did."""
    d = disk(bed, qcow2(bed))
    d.put(1, 0x11)
    d.q.cmd("drive-backup", device="d", sync="none", target=bed.path("view"), job_id="v")
    d.put(1, 0x99)
    expect("guest", d.get(1), 0x99)
    d.q.cmd("block-job-cancel", device="v")
    expect("end", d.finish("v")["event"], "BLOCK_JOB_CANCELLED")
    d.quit()
    holds(bed.path("view"), "-P 0x11 512 512")


def test_jobs_stages_and_events(bed):
    d = disk(bed, qcow2(bed))
    q = d.q
    d.put(1, 0x11)
    q.events.clear()
    q.cmd("drive-backup", device="d", sync="full", target=bed.path("b"), job_id="j",
          auto_finalize=False, auto_dismiss=False, speed=64 << 10)
    q.cmd("block-job-pause", device="j")
    while q.cmd("query-jobs")[0]["status"] != "paused":
        pass
    expect_in("paused", "currently paused", q.error("block-job-cancel", device="j")[1])
    expect("class", q.error("block-job-pause", device="nobody")[0], "DeviceNotActive")
    q.cmd("block-job-resume", device="j")
    q.cmd("block-job-set-speed", device="j", speed=0)
    q.event("BLOCK_JOB_PENDING")
    job = q.cmd("query-jobs")
    expect("pending", (len(job), job[0]["status"]), (1, "pending"))
    q.cmd("block-job-finalize", id="j")
    q.cmd("job-dismiss", id="j")
    expect("gone", q.cmd("query-jobs"), [])
    states = [e["data"]["status"] for e in q.events if e["event"] == "JOB_STATUS_CHANGE"]
    expect("states", [s for s in states if s not in ("paused",)][:2], ["created", "running"])
    expect("end", states[-2:], ["concluded", "null"])
    expect_in("id", "Invalid job ID", q.error("drive-backup", device="d", sync="full",
                                              target=bed.path("c"), job_id="0x")[1])
    d.quit()


def test_jobs_nodes_come_and_go(bed):
    d = disk(bed, qcow2(bed))
    q = d.q
    d.put(1, 0x11)
    other = qcow2(bed, "o.qcow2")
    raw = bed.file("r.raw", bytes(MB))
    q.cmd("blockdev-add", driver="qcow2", node_name="o",
          file={"driver": "file", "filename": other, "node-name": "of"})
    q.cmd("blockdev-add", driver="raw", node_name="part", offset=65536, size=131072,
          file={"driver": "file", "filename": raw})
    q.cmd("object-add", **{"qom-type": "throttle-group", "id": "tg",
                           "limits": {"iops-total": 100}})
    q.cmd("blockdev-add", driver="throttle", node_name="th", throttle_group="tg",
          file={"driver": "file", "filename": bed.file("t.raw", bytes(MB))})
    q.cmd("blockdev-add", driver="copy-on-read", node_name="cor",
          file={"driver": "file", "filename": bed.file("u.raw", bytes(MB))})
    nodes = {n["node-name"]: n for n in q.cmd("query-named-block-nodes")}
    expect("part", (nodes["part"]["drv"], nodes["part"]["image"]["virtual-size"]),
           ("raw", 131072))
    expect("throttle", (nodes["th"]["iops"], nodes["th"]["group"]), (100, "tg"))
    expect_in("twice", "Duplicate", q.error("blockdev-add", driver="file", node_name="o",
                                            filename=raw)[1])
    expect_in("in use", "in use", q.error("blockdev-add", driver="raw", node_name="x",
                                          file="of")[1])
    expect_in("unknown", "nonsense", q.error("blockdev-add", driver="file", node_name="x",
                                             filename=bed.file("v"), nonsense=1)[1])
    expect_in("in use", "in use", q.error("object-del", id="tg")[1])
    q.cmd("blockdev-mirror", job_id="m", device="d", target="o", sync="full")
    d.ready_event("m")
    expect_in("busy", "in use", q.error("blockdev-del", node_name="o")[1])
    q.cmd("job-complete", id="m")
    d.finish("m")
    expect("chain", chain_of(q), ["o.qcow2"])
    expect_in("in use", "in use", q.error("blockdev-del", node_name="o")[1])
    for name in ("part", "th", "cor"):
        q.cmd("blockdev-del", node_name=name)
    q.cmd("object-del", id="tg")
    expect_in("gone", "Failed to find", q.error("blockdev-del", node_name="part")[1])
    # An overlay that is there already.
    top = bed.path("top")
    img("create", "-q", "-f", "qcow2", top, "8M")
    q.cmd("blockdev-add", driver="qcow2", node_name="top", backing=None,
          file={"driver": "file", "filename": top})
    q.cmd("blockdev-snapshot", node="o", overlay="top")
    expect("chain", chain_of(q), ["top", "o.qcow2"])
    expect("guest", d.get(1), 0x11)
    q.cmd("block_resize", node_name="top", size=16 * MB)
    expect("size", q.cmd("query-block")[0]["inserted"]["image"]["virtual-size"], 16 * MB)
    d.quit()


def test_jobs_blockdev_json_and_filters(bed):
    path = qcow2(bed)
    zeros = qcow2(bed, "z.qcow2")
    d = Machine(bed, "-object", "throttle-group,id=g,x-iops-total=1000", "-blockdev",
             '{"driver": "file", "node-name": "f", "filename": "%s"}' % path, "-blockdev",
             '{"driver": "qcow2", "node-name": "q", "file": "f"}', "-blockdev",
             '{"driver": "throttle", "node-name": "t", "throttle-group": "g", "file": "q"}',
             "-device", "ide-hd,drive=t,bus=ide.0,unit=0", "-drive",
             "file=%s,format=qcow2,index=1,detect-zeroes=unmap,discard=unmap,"
             "throttling.group=h,bps_max_length=2,bps=1000000,bps_max=2000000" % zeros)
    d.put(3, 0x42)
    info = {b["device"]: b["inserted"] for b in d.q.cmd("query-block")}
    expect("zeroes", info["ide0-hd1"]["detect_zeroes"], "unmap")
    expect("limits", [info["ide0-hd1"][k] for k in ("bps", "bps_max", "bps_max_length", "group")],
           [1000000, 2000000, 2, "h"])
    expect("node", info[""]["node-name"], "t")
    d.quit()
    holds(path, "-P 0x42 1536 512")
    for spec, what in (('{"driver": "file"', "JSON"), ('{"driver": "file", "filename": "x"}',
                                                      "node-name")):
        expect_in(spec, what, bed.refused("-accel", "qtest", "-machine", "pc", "-nodefaults",
                                          "-display", "none", "-blockdev", spec))


def test_jobs_an_error_stops_the_machine_until_it_is_gone(bed):
    """The disk's file may not grow beyond 4 MiB, for a while."""
    raw = bed.file("r.raw")
    os.truncate(raw, 8 * MB)
    no = resource.RLIM_INFINITY
    p = bed.machine("-drive", "file=%s,format=raw,index=0,werror=stop" % raw)
    q, t = p.qmp(), p.qtest()
    resource.prlimit(p.proc.pid, resource.RLIMIT_FSIZE, (4 * MB, no))
    t.out("b", 0x1f6, 0xe0)
    for reg, v in ((0x1f2, 1), (0x1f3, 0), (0x1f4, 0x30), (0x1f5, 0), (0x1f7, 0x30)):
        t.out("b", reg, v)  # sector 0x3000: 6 MiB
    for _ in range(256):
        t.out("w", 0x1f0, 0x7777)
    q.event("STOP")
    expect("state", q.cmd("query-status")["status"], "io-error")
    expect("drive", q.cmd("query-block")[0]["io-status"], "failed")
    resource.prlimit(p.proc.pid, resource.RLIMIT_FSIZE, (no, no))
    q.cmd("cont")
    end = time.time() + 60
    while t.inp("b", 0x1f7) & 0x80 and time.time() < end:
        pass
    expect("status", t.inp("b", 0x1f7) & 0x21, 0)
    expect("running", q.cmd("query-status")["status"], "running")
    q.cmd("quit")
    p.wait()
    holds(raw, "-P 0x77 6M 512", fmt="raw")


def test_jobs_from_the_human_monitor(bed):
    d = disk(bed, qcow2(bed))
    d.put(1, 0x11)
    expect_in("none", "No active jobs", d.q.hmp("info block-jobs"))
    expect("overlay", d.q.hmp("snapshot_blkdev d %s qcow2" % bed.path("s")), "")
    d.put(2, 0x22)
    expect("backup", d.q.hmp("drive_backup -f d %s raw" % bed.path("b")), "")
    d.finish("d")
    expect("mirror", d.q.hmp("drive_mirror -f d %s" % bed.path("m")), "")
    d.ready_event("d")
    expect_in("jobs", "Type mirror, device d: Completed 8388608 of", d.q.hmp("info block-jobs"))
    expect("end", d.q.hmp("block_job_complete d"), "")
    d.finish("d")
    expect("resize", d.q.hmp("block_resize d 16"), "")
    expect_in("error", "not found", d.q.hmp("block_job_cancel d"))
    d.quit()
    holds(bed.path("b"), "-P 0x11 512 512", "-P 0x22 1024 512", fmt="raw")
    holds(bed.path("m"), "-P 0x11 512 512", "-P 0x22 1024 512", "-P 0 15M 512")


def test_jobs_internal_snapshots(bed):
    path = qcow2(bed)
    d = disk(bed, path)
    d.put(1, 0x11)
    d.q.cmd("blockdev-snapshot-internal-sync", device="d", name="s1")
    expect_in("twice", "already exists", d.q.error("blockdev-snapshot-internal-sync", device="d",
                                                   name="s1")[1])
    d.put(1, 0x22)
    d.q.cmd("blockdev-snapshot-internal-sync", device="d", name="s2")
    snaps = d.q.cmd("query-block")[0]["inserted"]["image"]["snapshots"]
    expect("names", [s["name"] for s in snaps], ["s1", "s2"])
    expect("gone", d.q.cmd("blockdev-snapshot-delete-internal-sync", device="d",
                           name="s2")["name"], "s2")
    d.quit()
    img("snapshot", "-a", "s1", path)
    holds(path, "-P 0x11 512 512")



def test_exports_over_nbd(bed):
    tools = os.path.join(os.path.abspath(os.environ.get("KEEL_BUILD", "build")), "tools")
    path, sock = qcow2(bed), bed.path("nbd")
    m = disk(bed, path)
    q = m.q

    def refused(command, why, **args):
        expect_in(command, why, q.error(command, **args)[1])

    def io(export, *commands, how="-n", rc=0):
        p = subprocess.run([tools + "/keel-io", how, "-f", "raw", *[a for c in commands for a in ("-c", c)],
                            "nbd+unix:///%s?socket=%s" % (export, sock)], capture_output=True, text=True)
        expect("%s: %s" % (commands, p.stdout + p.stderr), p.returncode, rc)

    listed = {x["name"] for x in q.cmd("query-commands")}
    for name in ("block-export-add", "block-export-del", "query-block-exports", "nbd-server-start", "nbd-server-add",
                 "nbd-server-remove", "nbd-server-stop"):
        expect("%s is listed" % name, name in listed, True)
    refused("nbd-server-stop", "NBD server not running")
    refused("nbd-server-start", "expected type unix", addr={"type": "unix", "data": {}})
    q.cmd("nbd-server-start", addr={"type": "unix", "data": {"path": sock}})
    refused("nbd-server-start", "already running", addr={"type": "unix", "data": {"path": sock}})
    q.cmd("block-dirty-bitmap-add", node="d", name="bits")
    q.cmd("nbd-server-add", device="d", bitmap="bits")
    refused("nbd-server-add", "already in use", device="d")
    refused("nbd-server-add", "for reading alone", device="d", name="w", writable=True)
    refused("nbd-server-add", "Bitmap 'none' is not found", device="d", name="w", bitmap="none")
    refused("block-dirty-bitmap-remove", "bits", node="d", name="bits")
    io("d", "read -P 0 0 1M", how="-r")
    io("d", "write 0 512", rc=1)
    with open(bed.path("spare"), "wb") as f:
        f.truncate(MB)
    q.cmd("blockdev-add", driver="file", **{"node-name": "spare", "filename": bed.path("spare")})
    q.cmd("block-export-add", type="nbd", id="e", name="out", writable=True, **{"node-name": "spare"})
    refused("block-export-add", "already has export named 'out'", type="nbd", id="f", name="out", **{"node-name": "spare"})
    refused("block-export-add", "Keel has nbd", type="fuse", id="f", **{"node-name": "spare"})
    io("out", "write -P 7 4k 4k", "flush", "read -P 7 4k 4k")
    with open(bed.path("spare"), "rb") as f:
        expect("written", f.read()[4096:8192] == b"\7" * 4096, True)
    expect("listed", [(x["id"], x["type"], x["shutting-down"]) for x in q.cmd("query-block-exports")],
           [("d", "nbd", False), ("e", "nbd", False)])
    p = subprocess.Popen([tools + "/keel-io", "-f", "raw", "nbd+unix:///out?socket=" + sock], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True)
    p.stdin.write("length\n")
    p.stdin.flush()
    expect("connected", p.stdout.readline(), "1 MiB\n")
    refused("block-export-del", "still in use", id="e")
    q.cmd("block-export-del", id="e", mode="hard")
    p.communicate()
    refused("block-export-del", "is not found", id="e")
    io("out", "length", rc=1)
    q.cmd("nbd-server-remove", name="d")
    q.cmd("block-dirty-bitmap-remove", node="d", name="bits")
    q.cmd("nbd-server-add", device="d", name="again")
    q.cmd("nbd-server-stop")
    expect("no socket left", os.path.exists(sock), False)
    q.cmd("nbd-server-start", addr={"type": "unix", "data": {"path": sock}})
    q.cmd("nbd-server-add", device="d")
    for line, why in (("nbd_server_stop", ""), ("nbd_server_start nowhere", "expected HOST:PORT"),
                      ("nbd_server_start unix:" + sock, ""), ("nbd_server_add d hmp", ""),
                      ("nbd_server_add -w d two", "for reading alone"), ("nbd_server_add -w spare", "")):
        said = q.cmd("human-monitor-command", **{"command-line": line})
        expect_in(line, why, said)
        expect("%s: %s" % (line, said), bool(said), bool(why))
    io("spare", "write -q -P 3 0 4k", "read -P 3 0 4k")
    expect("removed", q.cmd("human-monitor-command", **{"command-line": "nbd_server_remove -f hmp"}), "")
    m.quit()
    expect("gone at the end", os.path.exists(sock), False)


def test_jobs_when_the_target_is_gone_then_events_tell_why(bed):
    far, sock, pid = bed.path("far"), bed.path("sock"), bed.path("pid")
    img("create", "-q", "-f", "raw", far, "8M")
    server = subprocess.Popen([os.path.join(TOOLS, "keel-nbd"), "-f", "raw", "-t", "-k", sock, "--pid-file", pid, far])
    while not os.path.exists(pid):
        time.sleep(0.01)
    d = disk(bed, qcow2(bed))
    d.q.cmd("blockdev-add", driver="nbd", node_name="far", server={"type": "unix", "path": sock})
    server.kill()
    server.wait()
    d.q.cmd("blockdev-backup", job_id="b", device="d", target="far", sync="full")
    expect("piece", d.q.event("BLOCK_JOB_ERROR")["data"], {"device": "b", "operation": "write", "action": "report"})
    expect("job", d.finish("b")["data"]["error"], "Input/output error")
    d.quit()


def job_now(q):
    """Its status, while whoever asks need not wait."""
    begin = time.monotonic()
    jobs = q.cmd("query-jobs")
    expect("answered at once", time.monotonic() - begin < 5, True)
    return jobs[0]["status"] if jobs else "gone"


def test_jobs_end_while_another_disk_does_not_answer(bed):
    path, base = qcow2(bed), qcow2(bed, "base")
    img("rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", base, path)
    with Far(bed, bytes(MB)) as far:
        d = Machine(bed, "-drive", "id=d,if=ide,index=0,format=qcow2,file=" + path,
                    "-drive", "id=far,if=ide,index=1,format=raw,file=nbd+unix:///?socket=" + far.sock)
        far.stand_still(True)
        d.t.out("b", 0x1f6, 0xf0)  # the second disk
        d.t.out("b", 0x1f7, 0xe7)
        d.q.cmd("block-stream", job_id="s", device="d")
        expect("stream", d.finish("s")["event"], "BLOCK_JOB_COMPLETED")
        expect("the other is busy", d.t.inp("b", 0x3f6) & 0x80, 0x80)
        far.stand_still(False)
        while d.t.inp("b", 0x3f6) & 0x80:
            time.sleep(0.01)
        d.quit()


def test_jobs_end_when_a_target_that_stood_still_answers(bed):
    path = qcow2(bed)
    for end, after in (("complete", None), ("cancel", None), ("complete", "job-cancel")):
        with Far(bed, bytes(8 * MB)) as far:
            d = disk(bed, path)
            d.put(3, 0x33)
            far.add(d.q)
            d.q.cmd("blockdev-mirror", job_id="m", device="d", target="n", sync="full")
            d.ready_event("m")
            far.stand_still(True)
            d.q.cmd("block-job-" + end, device="m")
            for _ in range(20):
                time.sleep(0.02)
                expect(end, job_now(d.q), "waiting")
            if after:
                d.q.cmd(after, id="m")
                expect(after, job_now(d.q), "aborting")
            far.stand_still(False)
            expect(end, d.finish("m")["event"], "BLOCK_JOB_CANCELLED" if after else "BLOCK_JOB_COMPLETED")
            expect("now on", chain_of(d.q)[0] == "d.qcow2", end == "cancel" or after is not None)
            expect("what was written", d.get(3), 0x33)
            d.put(3, 0x33)
            d.quit()


def test_jobs_backup_to_a_shorter_target_is_refused(bed):
    d = disk(bed, qcow2(bed))
    small = {"driver": "file", "filename": bed.file("small", bytes(MB))}
    for node in small, {"driver": "raw", "file": small}:
        d.q.cmd("blockdev-add", node_name="t", **node)
        expect("refused", d.q.error("blockdev-backup", job_id="b", device="d", target="t", sync="full")[1],
               "Source and target image have different sizes")
        d.q.cmd("blockdev-del", node_name="t")
    d.quit()


if __name__ == "__main__":
    main(globals())
