#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""keel-img and keel-io against qemu-img and qemu-io, both ways."""
import json
import os
import random
import shutil
import subprocess
import sys
import time

from keel import Failure, expect, expect_in, main, run_tool as run

BUILD = os.environ.get("KEEL_BUILD", os.path.join(os.path.dirname(__file__), "../../build"))
IMG = os.path.join(BUILD, "tools/keel-img")
IO = os.path.join(BUILD, "tools/keel-io")
K = {"img": IMG, "io": IO}
Q = {"img": "qemu-img", "io": "qemu-io"}


def have_qemu():
    return shutil.which("qemu-img") and shutil.which("qemu-io")


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)
    return path


def read(path):
    with open(path, "rb") as f:
        return f.read()


def sample(n, seed=1):
    """n bytes: noise, text that packs well, zeros."""
    r = random.Random(seed)
    out = bytearray()
    while len(out) < n:
        k = r.randrange(1, 40) * 4096
        out += r.choice([r.randbytes(k), b"the quick brown fox " * (k // 20), bytes(k)])
    return bytes(out[:n])


def path(bed, name):  # where a test keeps its files
    return bed.path(name)


def test_img_convert_round_trips_in_every_shape(bed):
    src = write(path(bed, "src"), sample(3 << 20))
    out, back = path(bed, "out"), path(bed, "back")
    for opts in ("cluster_size=512", "cluster_size=64k,refcount_bits=1", "compat=0.10",
                 "cluster_size=2M,refcount_bits=64", "lazy_refcounts=on,cluster_size=4k",
                 "compression_type=zstd", "extended_l2=on,cluster_size=16k"):
        for flags in ([], ["-c"]):
            run(IMG, "convert", *flags, "-f", "raw", "-O", "qcow2", "-o", opts, src, out)
            run(IMG, "check", "-q", out)
            run(IMG, "convert", "-f", "qcow2", "-O", "raw", out, back)
            expect(opts + " comes back", read(back) == read(src), True)
            if have_qemu():
                run("qemu-img", "check", "-q", out)
                run("qemu-img", "compare", "-q", "-f", "raw", "-F", "qcow2", src, out)
                run("qemu-img", "convert", *flags, "-f", "raw", "-O", "qcow2", "-o", opts, src,
                    out)
                run(IMG, "check", "-q", out)
                run(IMG, "compare", "-q", "-f", "raw", "-F", "qcow2", src, out)


def test_img_info_and_check_and_map_say_what_qemu_says(bed):
    if not have_qemu():
        return
    base, top = path(bed, "base.qcow2"), path(bed, "top.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", base, "64M")
    run("qemu-io", "-c", "write -P 1 0 1M", "-c", "write -z 2M 128k", "-c", "write -c -P 3 5M 64k",
        base)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", top)
    run("qemu-io", "-c", "write -P 4 300k 700k", "-c", "write -z 0 64k", top)
    run("qemu-img", "snapshot", "-c", "one", top)
    for name in (base, top):
        for cmd in ("info", "check", "map"):
            ours, theirs = (json.loads(run(p, cmd, "--output=json", "-f", "qcow2", name))
                            for p in (IMG, "qemu-img"))
            expect("%s %s" % (cmd, name), ours, theirs)
        expect("info " + name, run(IMG, "info", name), run("qemu-img", "info", name))
        expect("check " + name, run(IMG, "check", name), run("qemu-img", "check", name))
    chain = [json.loads(run(p, "info", "--output=json", "--backing-chain", top))
             for p in (IMG, "qemu-img")]
    expect("chain", chain[0], chain[1])
    expect("list", run(IMG, "snapshot", "-l", top), run("qemu-img", "snapshot", "-l", top))


def test_img_measure_agrees_with_qemu(bed):
    src = write(path(bed, "src"), sample(2 << 20))
    if not have_qemu():
        return
    for args in (["--size", "10G"], ["--size", "1000M", "-o", "cluster_size=4k"],
                 ["--size", "10G", "-o", "refcount_bits=1"], ["-f", "raw", src]):
        ours, theirs = (json.loads(run(p, "measure", "--output=json", "-O", "qcow2", *args))
                        for p in (IMG, "qemu-img"))
        expect("required", ours["required"], theirs["required"])
        expect("fully-allocated", ours["fully-allocated"], theirs["fully-allocated"])


def test_img_snapshots_come_and_go(bed):
    f = path(bed, "a.qcow2")
    run(IMG, "create", "-q", "-f", "qcow2", f, "8M")
    run(IO, "-f", "qcow2", "-c", "write -q -P 1 0 1M", f)
    run(IMG, "snapshot", "-c", "one", f)
    run(IO, "-f", "qcow2", "-c", "write -q -P 2 512k 1M", f)
    run(IMG, "snapshot", "-c", "two", f)
    run(IO, "-f", "qcow2", "-c", "write -q -P 3 0 2M", f)
    out = path(bed, "out.raw")
    run(IMG, "convert", "-l", "one", "-O", "raw", f, out)
    expect("the first", read(out)[:2 << 20], b"\1" * (1 << 20) + bytes(1 << 20))
    run(IMG, "snapshot", "-a", "two", f)
    run(IO, "-r", "-f", "qcow2", "-c", "read -P 1 0 512k", "-c", "read -P 2 512k 1M", f)
    run(IMG, "snapshot", "-d", "one", f)
    run(IMG, "snapshot", "-d", "2", f)
    run(IMG, "check", "-q", f)
    run(IO, "-r", "-f", "qcow2", "-c", "read -P 1 0 512k", "-c", "read -P 2 512k 1M", f)
    expect_in("no such", "has no snapshot 'one'", run(IMG, "snapshot", "-d", "one", f, rc=1))
    if have_qemu():
        run("qemu-img", "check", "-q", f)


def test_img_commit_and_rebase_keep_the_view(bed):
    a, b, top = (path(bed, n + ".qcow2") for n in ("a", "b", "top"))
    src, src2 = (write(path(bed, "s%d" % i), sample(2 << 20, i)) for i in (1, 2))
    run(IMG, "convert", "-f", "raw", "-O", "qcow2", src, a)
    run(IMG, "convert", "-f", "raw", "-O", "qcow2", src2, b)
    run(IMG, "create", "-q", "-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2", top)
    run(IO, "-f", "qcow2", "-c", "write -q -P 9 300k 100k", top)
    before = path(bed, "before.raw")
    run(IMG, "convert", "-O", "raw", top, before)
    run(IMG, "rebase", "-b", "b.qcow2", "-F", "qcow2", top)
    run(IMG, "compare", "-q", "-f", "raw", before, top)
    expect_in("backing", "backing file: b.qcow2", run(IMG, "info", top))
    run(IMG, "commit", "-q", top)
    run(IMG, "compare", "-q", "-f", "raw", before, b)
    run(IMG, "compare", "-q", "-f", "raw", before, top)
    run(IMG, "rebase", "-b", "", top)
    run(IMG, "compare", "-q", "-f", "raw", before, top)
    for f in (a, b, top):
        run(IMG, "check", "-q", f)
        if have_qemu():
            run("qemu-img", "check", "-q", f)


def test_img_resize_both_ways(bed):
    f = path(bed, "a.qcow2")
    run(IMG, "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", f, "1M")
    run(IO, "-f", "qcow2", "-c", "write -q -P 1 0 1M", f)
    expect_in("shrink", "--shrink", run(IMG, "resize", f, "512k", rc=1))
    run(IMG, "resize", "--shrink", f, "600k")
    run(IMG, "resize", f, "+1G")
    run(IO, "-r", "-f", "qcow2", "-c", "read -P 1 0 600k", "-c", "read -P 0 600k 1M", f)
    run(IMG, "check", "-q", f)
    if have_qemu():
        run("qemu-img", "check", "-q", f)
        run("qemu-img", "resize", "--shrink", "-q", f, "512k")
        run(IMG, "check", "-q", f)


def test_img_repairs_what_is_broken(bed):
    f = path(bed, "a.qcow2")
    run(IMG, "create", "-q", "-f", "qcow2", f, "8M")
    run(IO, "-f", "qcow2", "-c", "write -q -P 1 0 1M", f)
    good = read(f)
    at = good.index(b"\0\1" * 16)  # the refcount block
    leaky = bytearray(good)
    leaky[at + 2 * 30 + 1] = 1
    write(f, bytes(leaky))
    run(IMG, "check", "-q", f, rc=3)
    run(IMG, "check", "-q", "-r", "leaks", f)
    run(IMG, "check", "-q", f)
    write(f, good[:at] + bytes(64) + good[at + 64:])
    run(IMG, "check", "-q", f, rc=2)
    run(IMG, "check", "-q", "-r", "all", f)
    run(IO, "-r", "-f", "qcow2", "-c", "read -P 1 0 1M", f)
    if have_qemu():
        run("qemu-img", "check", "-q", f)


def test_img_locks_keep_others_out(bed):
    f = path(bed, "a.qcow2")
    run(IMG, "create", "-q", "-f", "qcow2", f, "8M")
    for holder, other in ((IO, "qemu-img"), (IO, IMG), ("qemu-io", IMG)):
        if not have_qemu() and (holder, other) != (IO, IMG):
            continue
        p = subprocess.Popen([holder, "-f", "qcow2", f], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
        try:
            p.stdin.write(b"read 0 512\n")
            p.stdin.flush()
            p.stdout.readline()
            expect_in("locked", "lock", run(other, "info", f, rc=1))
            run(other, "info", "-U", f)
        finally:
            p.stdin.close()
            p.wait()
            p.stdout.close()
    run(IMG, "info", f)


def test_img_names_what_it_does_not_have(bed):
    f = path(bed, "a.qcow2")
    for opt in ("encrypt.format=aes", "encryption=on"):
        expect_in(opt, "is not safe", run(IMG, "create", "-f", "qcow2", "-o", opt, f, "1M", rc=1))
    expect_in("qed", "Keel does not have it yet", run(IMG, "create", "-f", "qed", f, "1M", rc=1))
    expect_in("foo", "Unknown file format", run(IMG, "create", "-f", "foo", f, "1M", rc=1))


def test_img_data_file_is_opened_only_when_asked_for(bed):
    f, data = path(bed, "a.qcow2"), path(bed, "data")
    for opts in ("data_file=" + data, "data_file_raw=on,data_file=" + data):
        run(IMG, "create", "-q", "-f", "qcow2", "-o", opts, f, "4M")
        expect_in("info", "data file: " + data, run(IMG, "info", f))
        expect_in("not asked", "opened only when asked for", run(IMG, "map", f, rc=1))
        io(K, f, ["write -P 7 64k 100k", "write -z 1M 64k"])
        expect("in its place", read(data)[64 << 10:164 << 10], b"\7" * (100 << 10))
        run(IMG, "check", "-q", f)
        expect_in("snapshot", "no snapshots", run(IMG, "snapshot", "-f", "qcow2", "-c", "s", f, rc=1))
        expect_in("packed", "not supported",
                  run(IO, "-f", "qcow2", "-c", "write -c 0 64k", f, rc=None).lower())
        if have_qemu():
            io(Q, f, ["read -P 7 64k 100k", "read -P 0 1M 64k", "write -P 8 2M 64k"])
            run("qemu-img", "check", "-q", f)
            io(K, f, ["read -P 8 2M 64k"])
        run(IMG, "convert", "-f", "qcow2", "-O", "raw", f, path(bed, "raw"))
        os.unlink(data)
        expect_in("gone", "data file of", run(IMG, "map", "-f", "qcow2", f, rc=1))
    expect_in("raw", "data-file-raw requires data-file",
              run(IMG, "create", "-f", "qcow2", "-o", "data_file_raw=on", f, "1M", rc=1))


def test_img_preallocation_gives_everything_its_place(bed):
    f = path(bed, "a.qcow2")
    for mode in ("metadata", "falloc", "full"):
        for opts in ("cluster_size=4k", "extended_l2=on", "cluster_size=256k"):
            run(IMG, "create", "-q", "-f", "qcow2", "-o", opts + ",preallocation=" + mode, f, "5M")
            run(IMG, "resize", "-q", "-f", "qcow2", "--preallocation=" + mode, f, "9M")
            run(IMG, "check", "-q", f)
            io(K, f, ["read -P 0 0 9M"])
            where = json.loads(run(IMG, "map", "--output=json", "-f", "qcow2", f))
            expect(mode + ": all have a place", all("offset" in r for r in where), True)
            room = os.stat(f).st_blocks * 512
            expect(mode + ": room", room >= 9 << 20, mode != "metadata")
            if have_qemu():
                run("qemu-img", "check", "-q", f)
                io(Q, f, ["read -P 0 0 9M", "write -P 3 1M 3M"])
                io(K, f, ["read -P 3 1M 3M", "read -P 0 4M 5M"])
    raw = path(bed, "raw")
    run(IMG, "create", "-q", "-f", "raw", "-o", "preallocation=falloc", raw, "3M")
    expect("raw", os.stat(raw).st_blocks * 512 >= 3 << 20, True)
    base = path(bed, "base")
    run(IMG, "create", "-q", "-f", "raw", base, "1M")
    expect_in("backing", "extended_l2", run(IMG, "create", "-f", "qcow2", "-b", base, "-F", "raw",
                                            "-o", "preallocation=metadata", f, rc=1))


def io(tool, f, commands):
    args = [tool["io"], "-f", "qcow2"]
    for c in commands:
        args += ["-c", c]
    out = run(*args, f, rc=None)
    if "ailed" in out or "rror" in out:
        raise Failure("%s: %s\n%s" % (f, out, commands))


def bitmap_info(tool, f):
    data = json.loads(run(tool, "info", "--output=json", "-f", "qcow2", f))
    return data["format-specific"]["data"].get("bitmaps", [])


def dirty(f, name):
    """What qemu-img finds dirty: ranges of a map through the bitmap."""
    out = run("qemu-img", "map", "--output=json", "--image-opts", "driver=nbd,server.type=unix,"
              "server.path=%s,x-dirty-bitmap=qemu:dirty-bitmap:%s" % (f, name))
    return [(r["start"], r["length"]) for r in json.loads(out) if not r["data"]]


def test_img_bitmaps_come_and_go_and_record(bed):
    f, g = path(bed, "a.qcow2"), path(bed, "b.qcow2")
    run(IMG, "create", "-q", "-f", "qcow2", f, "10M")
    run(IMG, "bitmap", "--add", "-g", "32k", f, "one")
    run(IMG, "bitmap", "--add", "--disable", f, "two")
    expect("list", [(b["name"], b["flags"], b["granularity"]) for b in bitmap_info(IMG, f)],
           [("one", ["auto"], 32768), ("two", [], 65536)])
    for args, words in ((["--add", f, "one"], "already exists"), (["--remove", f, "x"], "not found"),
                        (["--merge", "x", f, "one"], "not found"), ([f, "one"], "at least one"),
                        (["--add", "-g", "5", f, "x"], "power of")):
        expect_in(" ".join(args), words, run(IMG, "bitmap", *args, rc=1))
    io(K, f, ["write -P 1 1M 100k", "write -z 3M 64k", "discard 5M 64k"])
    run(IMG, "check", "-q", f)
    run(IMG, "convert", "--bitmaps", "-f", "qcow2", "-O", "qcow2", f, g)
    expect("copied", bitmap_info(IMG, g), bitmap_info(IMG, f))
    run(IMG, "bitmap", "--clear", "--merge", "one", "-b", f, "-F", "qcow2", g, "two")
    run(IMG, "snapshot", "-c", "s", g)
    run(IMG, "resize", "-q", "-f", "qcow2", g, "12M")
    run(IMG, "check", "-q", g)
    if have_qemu():
        expect("info", run(IMG, "info", g), run("qemu-img", "info", g))
        expect("measure", json.loads(run(IMG, "measure", "--output=json", "-O", "qcow2", g)),
               json.loads(run("qemu-img", "measure", "--output=json", "-O", "qcow2", g)))
        io(Q, g, ["write 8M 64k"])
        run("qemu-img", "check", "-q", g)
        run(IMG, "check", "-q", g)
        want = [(1 << 20, 131072), (3 << 20, 65536), (5 << 20, 65536), (8 << 20, 65536)]
        expect("one, by qemu", served_dirty(bed, g, "one"), want)
        expect("two, by qemu", served_dirty(bed, g, "two"), want[:3])
    run(IMG, "bitmap", "--remove", g, "one")
    run(IMG, "bitmap", "--remove", g, "two")
    expect("none", bitmap_info(IMG, g), [])
    run(IMG, "check", "-q", g)


def served_dirty(bed, f, name):
    if not shutil.which("qemu-nbd"):
        return None
    sock = path(bed, "sock")
    p = subprocess.Popen(["qemu-nbd", "-r", "-t", "-f", "qcow2", "-k", sock, "-B", name, f])
    try:
        for _ in range(200):
            if os.path.exists(sock):
                break
            time.sleep(.05)
        return dirty(sock, name)
    finally:
        p.terminate()
        p.wait()


def test_img_bitmap_in_use_at_a_crash_is_only_good_for_removal(bed):
    f = path(bed, "a.qcow2")
    run(IMG, "create", "-q", "-f", "qcow2", f, "10M")
    run(IMG, "bitmap", "--add", f, "b")
    p = subprocess.Popen([IO, "-f", "qcow2", f], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    p.stdin.write(b"write 0 64k\nflush\n")
    p.stdin.flush()
    p.stdout.readline()
    p.kill()
    p.wait()
    p.stdin.close()
    p.stdout.close()
    end = time.time() + 60  # the kernel lets go of the file when what was under way has ended
    while "lock" in run(IMG, "info", f, rc=None) and time.time() < end:
        time.sleep(.01)
    expect("flags", [b["flags"] for b in bitmap_info(IMG, f)], [["in-use", "auto"]])
    expect_in("merge", "inconsistent", run(IMG, "bitmap", "--clear", f, "b", rc=1))
    expect_in("convert", "inconsistent", run(IMG, "convert", "--bitmaps", "-f", "qcow2", "-O", "qcow2",
                                             f, path(bed, "g"), rc=1))
    run(IMG, "convert", "--bitmaps", "--skip-broken-bitmaps", "-f", "qcow2", "-O", "qcow2", f,
        path(bed, "g"))
    run(IMG, "check", "-q", "-r", "leaks", f)
    if have_qemu():
        run("qemu-img", "check", "-q", f)
        expect("by qemu", bitmap_info("qemu-img", f), bitmap_info(IMG, f))
    run(IMG, "bitmap", "--remove", f, "b")
    expect("gone", bitmap_info(IMG, f), [])
    run(IMG, "check", "-q", f)


SECRET = ["--object", "secret,id=s,data=open sesame"]
LUKS = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"


def opts_of(f, driver="qcow2"):
    key = "encrypt.key-secret" if driver == "qcow2" else "key-secret"
    return "driver=%s,%s=s,file.filename=%s" % (driver, key, f)


def test_img_luks_inside_qcow2_is_qemus(bed):
    f, key = path(bed, "a.qcow2"), write(path(bed, "key"), b"open sesame")
    for opts in ("cluster_size=4k", "extended_l2=on", "encrypt.cipher-alg=aes-128,preallocation=metadata",
                 "encrypt.hash-alg=sha512,data_file=" + path(bed, "data")):
        for maker in (IMG, "qemu-img") if have_qemu() else (IMG,):
            if "preallocation" in opts and maker == "qemu-img":
                continue  # what it gives a place to reads as noise
            out = run(maker, "create", "-q", *SECRET, "-f", "qcow2", "-o", LUKS + "," + opts, f, "4M",
                      rc=0 if maker == IMG else None)
            if "accurate CPU usage" in out:
                continue  # qemu-img gives up measuring on a busy machine
            o = opts_of(f)
            if "data_file" in opts:
                o += ",data-file.driver=file,data-file.filename=" + path(bed, "data")
            run(IO, *SECRET, "--image-opts", "-c", "write -P 7 1k 100k", "-c", "write -z 32k 5k",
                "-c", "write -P 8 3M 1M", o)
            for tool in (IO, "qemu-io") if have_qemu() else (IO,):
                out = run(tool, *SECRET, "--image-opts", "-c", "read -P 7 1k 31k", "-c",
                          "read -P 0 32k 5k", "-c", "read -P 7 37k 64k", "-c", "read -P 0 101k 90k",
                          "-c", "read -P 8 3M 1M", "-c", "write -P 9 200k 70k", o, rc=None)
                expect(opts + " by " + tool, "erification failed" in out or "rror" in out, False)
            run(IO, "--object", "secret,id=s,file=" + key, "--image-opts", "-c", "read -P 9 200k 70k", o)
            run(IMG, "check", "-q", f)
            where = path(bed, "data") if "data_file" in opts else f
            expect("nothing is readable", b"\7" * 64 in read(where), False)
    expect_in("no key", "key-secret", run(IO, "-r", "-f", "qcow2", "-c", "read 0 512", f, rc=1))
    expect_in("wrong", "Invalid password",
              run(IO, "--object", "secret,id=s,data=x", "--image-opts", "-c", "l", o, rc=1))
    run(IMG, "create", "-q", *SECRET, "-f", "qcow2", "-o", LUKS, f, "4M")
    if have_qemu():
        expect("info", run(IMG, "info", f), run("qemu-img", "info", f))
    src = write(path(bed, "src"), sample(3 << 20))
    run(IMG, "convert", *SECRET, "-f", "raw", "-O", "qcow2", "-o", LUKS, src, f)
    run(IMG, "convert", *SECRET, "--image-opts", "-O", "raw", opts_of(f), path(bed, "back"))
    expect("comes back", read(path(bed, "back")) == read(src), True)


def test_img_luks_by_itself_is_cryptsetups(bed):
    f, key = path(bed, "a.luks"), write(path(bed, "key"), b"open sesame")
    src = write(path(bed, "src"), sample(3 << 20))
    for hash_alg, cipher in (("sha256", "aes-256"), ("sha1", "aes-128"), ("sha512", "aes-256")):
        run(IMG, "convert", *SECRET, "-f", "raw", "-O", "luks", "-o", "key-secret=s,iter-time=10,"
            "hash-alg=%s,cipher-alg=%s" % (hash_alg, cipher), src, f)
        run(IMG, "convert", *SECRET, "--image-opts", "-O", "raw", opts_of(f, "luks"),
            path(bed, "back"))
        expect("comes back", read(path(bed, "back")) == read(src), True)
        if shutil.which("cryptsetup"):
            run("cryptsetup", "luksOpen", "--test-passphrase", "--key-file", key, f)
            expect_in("dump", hash_alg, run("cryptsetup", "luksDump", f))
        if have_qemu():
            run("qemu-img", "convert", *SECRET, "--image-opts", "-O", "raw", opts_of(f, "luks"),
                path(bed, "back"))
            expect("by qemu", read(path(bed, "back")) == read(src), True)
    if shutil.which("cryptsetup"):
        write(f, bytes(8 << 20))
        run("cryptsetup", "luksFormat", "--type", "luks1", "-q", "--pbkdf-force-iterations", "1000",
            "--cipher", "aes-xts-plain64", "--key-size", "512", "--key-file", key, f)
        run(IO, *SECRET, "--image-opts", "-c", "write -P 5 0 1M", "-c", "read -P 5 0 1M",
            opts_of(f, "luks"))
        run("cryptsetup", "luksOpen", "--test-passphrase", "--key-file", key, f)


def test_img_amend_changes_only_what_can_change(bed):
    f = path(bed, "a.qcow2")
    run(IMG, "create", "-q", "-f", "qcow2", "-o", "extended_l2=on", f, "1M")
    for opt in ("extended_l2=off", "data_file=x", "cluster_size=4k", "preallocation=full"):
        expect_in(opt, "only supported for image creation",
                  run(IMG, "amend", "-f", "qcow2", "-o", opt, f, rc=1))
    expect_in("compat", "does not have", run(IMG, "amend", "-o", "compat=0.10", f, rc=1))
    run(IMG, "amend", "-o", "refcount_bits=32,lazy_refcounts=on", f)
    expect_in("info", "refcount bits: 32", run(IMG, "info", f))


def test_img_backing_loops_and_unsaid_formats_are_refused(bed):
    a, b = path(bed, "a.qcow2"), path(bed, "b.qcow2")
    run(IMG, "create", "-q", "-f", "qcow2", a, "1M")
    run(IMG, "create", "-q", "-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2", b)
    run(IMG, "rebase", "-u", "-b", "b.qcow2", "-F", "qcow2", a)
    expect_in("loop", "in its own backing chain", run(IMG, "map", a, rc=1))
    expect_in("chain", "in its own backing chain", run(IO, "-r", "-f", "qcow2", "-c", "l", b, rc=1))
    expect_in("format", "-F", run(IMG, "create", "-f", "qcow2", "-b", "a.qcow2", b, rc=1))


if __name__ == "__main__":
    main(globals())
