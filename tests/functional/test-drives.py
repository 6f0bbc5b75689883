#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Drives as a monitor sees them: what they hold, what they did, trays, media, commit."""
import os

from disk import Disk, holds, img
from keel import expect, expect_in, main


def overlay(bed):
    base, top = bed.path("base.qcow2"), bed.path("top.qcow2")
    img("create", "-q", "-f", "qcow2", base, "8M")
    img("create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", top)
    return base, top


STATS = {p + o for p in ("rd_", "wr_", "unmap_") for o in ("bytes", "merged", "operations",
                                                          "total_time_ns")} | \
    {p + o + "_operations" for p in ("failed_", "invalid_") for o in ("rd", "wr", "flush", "unmap")} \
    | {"flush_operations", "flush_total_time_ns", "account_failed", "account_invalid",
       "timed_stats", "wr_highest_offset"}


def test_drives_say_what_they_did(bed):
    base, top = overlay(bed)
    m = Disk(bed, "-drive", "file=%s,format=qcow2,index=0,id=d" % top)
    before = m.q.cmd("query-blockstats")[0]
    expect("never used", "idle_time_ns" in before["stats"], False)
    m.put(100, 0x5a)
    m.get(100)
    s = m.q.cmd("query-blockstats")[0]
    expect("keys", set(s["stats"]), STATS | {"idle_time_ns"})
    expect("parts", set(s), {"device", "node-name", "qdev", "stats", "parent", "backing"})
    st = s["stats"]
    expect("counts", (st["wr_operations"], st["wr_bytes"], st["rd_bytes"], st["flush_operations"],
                      st["wr_highest_offset"], st["account_failed"]),
           (1, 512, 512, 1, 51712, True))
    expect("times", min(st[k + "_total_time_ns"] for k in ("rd", "wr", "flush")) > 0, True)
    for n in (s["parent"], s["backing"], s["backing"]["parent"]):
        expect("a node's keys", set(n["stats"]), STATS)
        expect("a node counts nothing", n["stats"]["account_failed"], False)
    end = s["parent"]["stats"]["wr_highest_offset"]
    expect("as far as the file was written", 65536 < end <= os.path.getsize(top), True)
    expect("base", s["backing"]["parent"]["stats"]["wr_highest_offset"], 0)
    nodes = m.q.cmd("query-blockstats", query_nodes=True)
    expect("nodes", len(nodes), 4)
    expect("by node", {k for n in nodes for k in n}, {"node-name", "stats", "parent"})


def test_drives_tell_when_a_node_is_written_past_a_threshold(bed):
    top = bed.path("d.qcow2")
    img("create", "-q", "-f", "qcow2", top, "8M")
    m = Disk(bed, "-blockdev", "driver=file,node-name=f,filename=" + top,
             "-blockdev", "driver=qcow2,node-name=q,file=f",
             "-device", "ide-hd,drive=q,bus=ide.0,unit=0")
    expect("unknown", m.q.error("block-set-write-threshold", node_name="no", write_threshold=1),
           ("GenericError", "Device 'no' not found"))

    def threshold():
        return [n["write_threshold"] for n in m.q.cmd("query-named-block-nodes")
                if n["node-name"] == "f"][0]

    m.q.cmd("block-set-write-threshold", node_name="f", write_threshold=1 << 20)
    m.put(1, 0x11)
    expect("below", (threshold(), m.q.events), (1 << 20, []))
    m.q.cmd("block-set-write-threshold", node_name="f", write_threshold=100000)
    m.put(8000, 0x22)
    e = m.q.event("BLOCK_WRITE_THRESHOLD")["data"]
    expect("event", (e["node-name"], e["write-threshold"], e["amount-exceeded"] > 0),
           ("f", 100000, True))
    # It is told of once.
    m.put(16000, 0x33)
    expect("once", (threshold(), m.q.events), (0, []))


def test_drives_count_how_long_requests_take(bed):
    disk = bed.file("d", bytes(1 << 20))
    m = Disk(bed, "-drive", "file=%s,format=raw,if=none,id=d" % disk,
             "-device", "ide-hd,id=dev,drive=d,bus=ide.0,unit=0")

    def histograms():
        st = m.q.cmd("query-blockstats")[0]["stats"]
        return {k.split("_")[0]: v for k, v in st.items() if k.endswith("_latency_histogram")}

    for args, want in (({"id": "d"}, "Device 'd' not found"),
                       ({"id": "dev", "boundaries": [10, 5]},
                        "Device 'dev' set read boundaries fail"),
                       ({"id": "dev", "boundaries": ["x"]},
                        "Parameter 'boundaries[0]' expects uint64")):
        expect("refused", m.q.error("block-latency-histogram-set", **args)[1], want)
    expect("off", histograms(), {})
    m.q.cmd("block-latency-histogram-set", id="dev", boundaries=[1, 1 << 40],
            boundaries_write=[1 << 40])
    for n in range(3):
        m.put(n, n)
    m.get(1)
    expect("counted", histograms(),
           {"rd": {"boundaries": [1, 1 << 40], "bins": [0, 1, 0]},
            "wr": {"boundaries": [1 << 40], "bins": [3, 0]},
            "flush": {"boundaries": [1, 1 << 40], "bins": [0, 3, 0]}})
    m.q.cmd("block-latency-histogram-set", id="dev")
    expect("off", histograms(), {})


def test_drives_say_what_they_hold(bed):
    base, top = overlay(bed)
    img("bitmap", "--add", top, "b")
    img("snapshot", "-c", "s", top)
    m = Disk(bed, "-drive", "file=%s,format=qcow2,index=0,id=d" % top)
    image = m.q.cmd("query-block")[0]["inserted"]["image"]
    data = image["format-specific"]["data"]
    expect("type", image["format-specific"]["type"], "qcow2")
    expect("data", set(data), {"compat", "compression-type", "refcount-bits", "extended-l2",
                               "lazy-refcounts", "corrupt", "bitmaps"})
    expect("snapshot", image["snapshots"][0]["name"], "s")
    expect("backing", image["backing-image"]["format-specific"]["data"]["compat"], "1.1")
    for flat in (False, True):
        nodes = m.q.cmd("query-named-block-nodes", flat=flat)
        expect("flat", any("backing-image" in n["image"] for n in nodes), not flat)


def test_drives_trays_open_step_by_step(bed):
    cd, other = bed.file("cd", bytes(1 << 20)), bed.file("other", b"\1" * (1 << 20))
    m = Disk(bed, "-drive", "if=none,id=cd,media=cdrom,format=raw,file=" + cd, "-device",
             "ide-cd,drive=cd,id=dev,bus=ide.1", "-drive", "index=0,format=raw,file=" + bed.file("hd", bytes(1 << 20)),
             "-blockdev", "driver=raw,node-name=n,read-only=on,file.driver=file,file.filename=" + other)
    q = m.q
    expect_in("shut", "is not open", q.error("blockdev-remove-medium", id="dev")[1])
    expect_in("no tray", "does not have a tray", q.error("blockdev-open-tray", device="ide0-hd0")[1])
    expect_in("nobody", "not found", q.error("blockdev-close-tray", id="x")[1])
    q.cmd("blockdev-open-tray", id="dev")
    expect("moved", q.event("DEVICE_TRAY_MOVED")["data"]["tray-open"], True)
    expect_in("full", "already is a medium", q.error("blockdev-insert-medium", id="dev", node_name="n")[1])
    q.cmd("blockdev-remove-medium", id="dev")
    q.cmd("blockdev-remove-medium", id="dev")
    expect_in("no node", "Node 'x' not found", q.error("blockdev-insert-medium", id="dev", node_name="x")[1])
    q.cmd("blockdev-insert-medium", id="dev", node_name="n")
    q.cmd("blockdev-close-tray", id="dev")
    expect("moved", q.event("DEVICE_TRAY_MOVED")["data"]["tray-open"], False)
    d = [d for d in q.cmd("query-block") if d.get("qdev") == "dev"][0]
    expect("in", (d["tray_open"], d["inserted"]["node-name"], d["inserted"]["ro"]), (False, "n", True))
    expect_in("in use", "in use", q.error("blockdev-del", node_name="n")[1])


def test_drives_commit_into_their_backing_files(bed):
    base, top = overlay(bed)
    m = Disk(bed, "-drive", "file=%s,format=qcow2,index=0,id=d" % top, "-drive",
             "file=%s,format=raw,index=1,id=alone" % bed.file("raw", bytes(1 << 20)))
    m.put(100, 0x5a)
    for line, words in (("commit nobody", "Device 'nobody' not found"),
                        ("commit alone", "'commit' error for 'alone'")):
        expect_in(line, words, m.q.hmp(line))
    for byte, who in ((0x5a, "all"), (0x66, "d")):
        m.put(200, byte)
        expect("commit", m.q.hmp("commit " + who), "")
        expect("still there", (m.get(200), m.get(100)), (byte, 0x5a))
    m.put(300, 0x77)  # the base is for reading again
    m.q.cmd("quit")
    m.p.wait()
    holds(base, "-P 0x5a 51200 512", "-P 0x66 102400 512", "-P 0 153600 512")
    holds(top, "-P 0x77 153600 512", "-P 0x66 102400 512")
    for f in (base, top):
        img("check", "-q", f)


def test_drives_commit_what_was_temporary(bed):
    disk = bed.path("d.qcow2")
    img("create", "-q", "-f", "qcow2", disk, "8M")
    m = Disk(bed, "-drive", "file=%s,format=qcow2,index=0,id=d,snapshot=on" % disk)
    m.put(100, 0x5a)
    expect("commit", m.q.hmp("commit d"), "")
    m.put(100, 0x11)
    m.q.cmd("quit")
    m.p.wait()
    holds(disk, "-P 0x5a 51200 512")


if __name__ == "__main__":
    main(globals())
