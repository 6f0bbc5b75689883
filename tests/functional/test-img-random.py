#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random images and operations, by turns with keel's tools and qemu's.

  KEEL_IMG_RANDOM=N   how many images (a few otherwise)
  KEEL_IMG_SEED=N     where to begin: an image's seed decides all about it

An image's life: made by one of the tools, in any shape; then turns. In each turn one of the tools reads
what must be there and writes on, and changes the image as a whole (snapshots, sizes, bitmaps, ...);
after it both check it and say the same map. At the end both read all of it. Almost all the time goes
into starting programs, so a turn starts as few as it can; files lie in memory where there is a place.
"""
import functools
import json
import os
import random
import shutil
import subprocess
import sys
import time

from keel import Failure, expect, main, run_tool

BUILD = os.environ.get("KEEL_BUILD", os.path.join(os.path.dirname(__file__), "../../build"))
K = {"img": os.path.join(BUILD, "tools/keel-img"), "io": os.path.join(BUILD, "tools/keel-io")}
Q = {"img": "qemu-img", "io": "qemu-io"}
SECRET = ["--object", "secret,id=s,data=open sesame"]
MAX_READ = 1 << 20
MIB = 1 << 20
run = functools.partial(run_tool, timeout=600)


class Image:
    """A file, how to name it to a tool, and what it must hold."""

    def __init__(self, directory, seed):
        self.rng = random.Random(seed)
        self.dir = directory
        self.file = os.path.join(directory, "i.qcow2")
        self.size = self.rng.choice([1, 2, 5]) * MIB
        self.data = bytearray(self.size)
        self.snapshots = {}
        self.bitmaps = {}  # name: [recording, dirty 64 KiB pieces, those that may be: made by a resize]
        self.backing = False
        self.choose_shape()

    def choose_shape(self):
        r = self.rng
        self.bits = r.choice([9, 9, 10, 11, 12, 13, 14, 15, 16, 16, 16, 17, 18, 19, 20, 21])
        self.cluster = 1 << self.bits
        self.v3 = r.random() < .8
        self.refcount_bits = 1 << r.randrange(7) if self.v3 else 16
        self.lazy = self.v3 and r.random() < .4
        self.zstd = self.v3 and self.bits >= 12 and r.random() < .5
        self.extended = self.v3 and self.bits >= 14 and r.random() < .4
        self.external = self.v3 and r.random() < .12
        self.raw_data = self.external and r.random() < .5
        self.luks = not self.external and r.random() < .1
        self.prealloc = r.choice(["off", "off", "off", "off", "metadata", "falloc", "full"])
        if self.luks:  # what such clusters decrypt to is nobody's promise
            self.prealloc = "off"

    def options(self):
        o = ["cluster_size=%d" % self.cluster, "compat=" + ("1.1" if self.v3 else "0.10"),
             "preallocation=" + self.prealloc]
        if self.v3:
            o += ["refcount_bits=%d" % self.refcount_bits,
                  "lazy_refcounts=" + ("on" if self.lazy else "off"),
                  "compression_type=" + ("zstd" if self.zstd else "zlib")]
        if self.extended:
            o.append("extended_l2=on")
        if self.external:
            o += ["data_file=" + os.path.join(self.dir, "data"),
                  "data_file_raw=" + ("on" if self.raw_data else "off")]
        if self.luks:
            o += ["encrypt.format=luks", "encrypt.key-secret=s", "encrypt.iter-time=10",
                  "encrypt.cipher-alg=" + self.rng.choice(["aes-128", "aes-256"]),
                  "encrypt.hash-alg=" + self.rng.choice(["sha1", "sha256", "sha512"])]
        return ",".join(o)

    def named(self, as_io=False):
        """The arguments that name it: (before, the name)."""
        if not self.luks:
            return ["-f", "qcow2"], self.file
        return SECRET + ["--image-opts"], \
            "driver=qcow2,encrypt.key-secret=s,file.filename=" + self.file \
            + (",discard=unmap" if as_io else "")

    def img(self, tool, verb, *args, after=(), rc=0):
        options, name = self.named()
        if verb in ("snapshot", "bitmap") and not self.luks:
            options = [] if verb == "snapshot" else options
        return run(tool["img"], verb, *options, *args, name, *after, rc=rc)

    # ---- what it must hold ----

    def fill(self, at, n, v):
        self.data[at:at + n] = bytes([v]) * n
        for b in self.bitmaps.values():
            if b[0]:
                b[1].update(range(at >> 16, (at + n - 1 >> 16) + 1))

    def uniform(self, at):
        """How many bytes from `at` on are alike, no more than a read takes."""
        n = min(self.size - at, MAX_READ)
        lead = bytes([self.data[at]]) * 512
        end = at
        while end < at + n and self.data[end:end + 512] == lead:
            end += 512
        return end - at

    def reads(self, n):
        for _ in range(n):
            at = self.rng.randrange(self.size // 512) * 512
            yield "read -q -P %d %d %d" % (self.data[at], at, self.uniform(at))

    # ---- turns ----

    def writes(self, ours, kinds="wwwwvzuucdf"):
        for _ in range(self.rng.randrange(1, 14)):
            at = self.rng.randrange(self.size // 512) * 512
            n = self.rng.choice([512, 4096, self.cluster, self.cluster * 3, 65536])
            n = min(n, self.size - at)
            yield from self.one_write(self.rng.choice(kinds), at, n, ours)

    def one_write(self, kind, at, n, ours):
        v = self.rng.randrange(1, 256)
        whole = at - at % self.cluster
        whole = (whole, min(self.cluster * self.rng.choice([1, 1, 4]), self.size - whole))
        if kind == "w":
            self.fill(at, n, v)
            yield "write -q -P %d %d %d" % (v, at, n)
        elif kind == "v":
            parts = [n // 1024 * 512, n - n // 1024 * 512]
            self.fill(at, n, v)
            yield "writev -q -P %d %d %s" % (v, at, " ".join(str(p) for p in parts if p))
        elif kind in "zu":
            self.fill(at, n, 0)
            yield "write -q -z%s %d %d" % (" -u" if kind == "u" else "", at, n)
        elif kind == "d" and (self.v3 or not self.backing) and not self.external:
            self.fill(*whole, 0)
            yield "discard -q %d %d" % whole
        elif kind == "c" and self.may_pack(ours) and whole[1] >= self.cluster:
            self.fill(whole[0], self.cluster, v)
            yield "write -q -c -P %d %d %d" % (v, whole[0], self.cluster)
        elif kind == "f":
            yield "flush"

    def may_pack(self, ours):
        """qemu-io does not pack what has its place already."""
        return ours and self.cluster >= 4096 and not self.external and not self.luks

    def io(self, tool, commands):
        options, name = self.named(as_io=True)
        self.io_on(tool, options + (["-d", "unmap"] if not self.luks else []), name, commands)

    def io_on(self, tool, options, name, commands):
        args = [a for c in commands for a in ("-c", c)]
        out = run(tool["io"], *options, *args, name, rc=None)
        if "ailed" in out or "rror" in out:
            raise Failure("%s %s: %s\n%s" % (tool["io"], name, out, commands))

    def turn(self, tool):
        commands = list(self.reads(4))
        self.io(tool, commands + list(self.writes(tool is K)))
        if self.rng.random() < .5:
            getattr(self, self.rng.choice(["snapshot", "snapshot", "grow", "shrink", "bitmap",
                                           "amend"]))(tool)

    # ---- what changes it as a whole ----

    def snapshot(self, tool):
        if self.refcount_bits < 4 or self.external:
            return
        kind = self.rng.choice(["-c", "-c", "-a", "-d"])
        name = self.rng.choice(sorted(self.snapshots) or [""])
        if kind == "-c":
            name = "s%d" % len(self.snapshots)
            if name in self.snapshots or len(self.snapshots) > 4:
                return
            self.snapshots[name] = bytes(self.data)
        elif not name or (kind == "-a" and len(self.snapshots[name]) != self.size):
            return
        elif kind == "-a" and tool is Q and self.bitmaps:
            return  # qemu-img refuses; Keel marks all as dirty
        self.img(tool, "snapshot", kind, name)
        if kind == "-a":
            before, self.data = self.data, bytearray(self.snapshots[name])
            for i in range(0, self.size, 65536):
                if before[i:i + 65536] != self.data[i:i + 65536]:
                    self.bitmaps = {}  # neither says which bits a change of all makes
                    break
        elif kind == "-d":
            del self.snapshots[name]

    def resize(self, tool, size, *args):
        before = self.size
        out = self.img(tool, "resize", "-q", *args, after=[str(size)], rc=None)
        if out:
            return
        self.size = size
        self.data = self.data[:size] + bytes(max(0, size - before))
        for b in self.bitmaps.values():
            b[1] = {i for i in b[1] if i << 16 < size}
            b[2].update(range(before >> 16, (size + 65535) >> 16))

    def grow(self, tool):
        if not self.backing and not self.external and (self.v3 or not self.snapshots):
            mode = self.rng.choice(["off", "off", "metadata", "falloc", "full"][:2 if self.luks else 5])
            if mode in ("falloc", "full"):
                tool = K  # qemu-img 7.2 takes freed clusters at the file's end for zeros
            self.resize(tool, self.size + self.rng.choice([512, 65536, MIB]),
                        "--preallocation=" + mode)

    def shrink(self, tool):
        if self.size > MIB and not self.backing and not self.external and not self.snapshots:
            self.resize(tool, self.size - self.rng.choice([512, 65536, MIB // 2]), "--shrink")

    def bitmap(self, tool):
        if not self.v3 or self.snapshots:
            return
        name = "b%d" % self.rng.randrange(3)
        if name not in self.bitmaps:
            self.img(tool, "bitmap", "--add", after=[name])
            self.bitmaps[name] = [True, set(), set()]
            return
        verb = self.rng.choice(["--disable", "--enable", "--clear", "--remove"])
        b = self.bitmaps[name]
        if verb[2:] + ("d" if verb.endswith("e") else "") == ("enabled" if b[0] else "disabled"):
            return  # to say so twice is an error to one of the two
        self.img(tool, "bitmap", verb, after=[name])
        if verb == "--remove":
            del self.bitmaps[name]
        elif verb == "--clear":
            b[1], b[2] = set(), set()
        else:
            b[0] = verb == "--enable"

    def amend(self, tool):
        if not self.v3 and self.rng.random() < .5:
            self.img(tool, "amend", "-q", "-o", "compat=1.1")
            self.v3 = True
        elif self.v3:
            self.lazy = not self.lazy
            self.img(tool, "amend", "-q", "-o", "lazy_refcounts=" + ("on" if self.lazy else "off"))

    # ---- its beginning and its end ----

    def make_chain(self):
        """Files under it, and what they hold."""
        r = self.rng
        if r.random() > .4 or self.raw_data or self.luks or \
                (self.prealloc != "off" and not self.extended):
            return []
        below, fmt = None, None
        for i in range(r.randrange(1, 4)):
            f = os.path.join(self.dir, "base%d" % i)
            kind = r.choice(["qcow2", "qcow2", "raw", "vdi", "vpc"]) if not below else "qcow2"
            extra = ["-b", below, "-F", fmt] if below else []
            extra += ["-o", "force_size=on"] if kind == "vpc" else []
            run(r.choice([K, Q])["img"], "create", "-q", "-f", kind, *extra, f, str(self.size))
            layer = Image.__new__(Image)
            layer.__dict__.update(self.__dict__, file=f, cluster=65536, backing=True, luks=False)
            tool = r.choice([K, Q])
            self.io_on(tool, ["-f", kind], f, list(layer.writes(False, "wwwvzu")))
            below, fmt = f, kind
        self.backing = True
        return ["-b", below, "-F", fmt]

    def make(self):
        chain = self.make_chain()
        # qemu measures for a second how fast this processor guesses, and gives up on a busy one
        tool = K if self.luks else self.rng.choice([K, Q])
        run(tool["img"], "create", "-q", *(SECRET if self.luks else []), "-f", "qcow2", "-o",
            self.options(), *chain, self.file, str(self.size))

    def agree(self):
        maps = []
        for t in (K, Q):
            self.img(t, "check", "-q")
            maps.append(joined(json.loads(self.img(t, "map", "--output=json"))))
        if maps[0] != maps[1]:
            raise Failure("map\n%s\n%s" % (maps[0], maps[1]))

    def finish(self):
        for name in sorted(self.snapshots):
            if self.rng.random() < .5:  # a disk that has grown since is as long as now
                data = self.snapshots[name]
                self.compare(self.rng.choice([K, Q]), data + bytes(max(0, self.size - len(data))),
                             "-l", name)
        for t in (K, Q):
            self.compare(t, self.data)
        if self.bitmaps:
            self.compare_bitmaps()
        if self.backing and not self.snapshots and self.rng.random() < .5:
            self.leave_chain()

    def compare(self, tool, data, *args):
        raw = os.path.join(self.dir, "raw")
        options, name = self.named()
        run(tool["img"], "convert", *options, *args, "-O", "raw", name, raw)
        with open(raw, "rb") as f:
            expect("data %s by %s" % (args, tool["img"]), f.read() == data, True)

    def compare_bitmaps(self):
        """Bits as qemu serves them, which it reads from what was stored."""
        sock = os.path.join(self.dir, "sock")
        name, want = sorted(self.bitmaps.items())[0]
        p = subprocess.Popen(["qemu-nbd", "-r", "-t", "-k", sock, "-B", name]
                             + self.named()[0] + [self.named()[1]])
        try:
            while not os.path.exists(sock) and p.poll() is None:
                time.sleep(.01)
            out = run("qemu-img", "map", "--output=json", "--image-opts",
                      "driver=nbd,server.type=unix,server.path=%s,x-dirty-bitmap="
                      "qemu:dirty-bitmap:%s" % (sock, name))
        finally:
            p.terminate()
            p.wait()
        got = set()
        for r in json.loads(out):
            if not r["data"]:
                got.update(range(r["start"] >> 16, (r["start"] + r["length"] - 1 >> 16) + 1))
        expect("bitmap " + name, got - (want[2] - want[1]), want[1])

    def leave_chain(self):
        """Commit, or rebase onto nothing: the data stay."""
        tool = self.rng.choice([K, Q])
        if self.rng.random() < .5:
            self.img(tool, "rebase", "-q", "-b", "")
            self.compare(K if tool is Q else Q, self.data)
            return
        out = self.img(tool, "commit", "-q", rc=None)
        if not out:
            self.agree()
            self.compare(K if tool is Q else Q, self.data)


def joined(runs):
    """A map without what one of the tools may know from holes in the file itself."""
    out = []
    for r in runs:
        r = dict(r, zero=r["zero"] and not r["data"])
        last = out[-1] if out else None
        same = last and all(last[k] == r[k] for k in ("depth", "present", "zero", "data"))
        if same and last.get("offset", -1) + last["length"] == r.get("offset", last["length"] - 1):
            last["length"] += r["length"]
        else:
            out.append(r)
    return out


def one_image(directory, seed):
    os.mkdir(directory)
    image = Image(directory, seed)
    image.make()
    for _ in range(image.rng.randrange(2, 6)):
        image.turn(image.rng.choice([K, Q]))
        image.agree()
    image.finish()
    shutil.rmtree(directory)


def memory_for(bed):
    """A directory in memory if there is one: then flushes cost nothing."""
    if os.access("/dev/shm", os.W_OK) and shutil.disk_usage("/dev/shm").free > 64 * MIB:
        d = "/dev/shm/keel-img-%d" % os.getpid()
        os.mkdir(d)
        return d
    return bed.dir


def test_img_random_images_are_the_same_to_both(bed):
    if not shutil.which("qemu-img") or not shutil.which("qemu-io"):
        return
    n = int(os.environ.get("KEEL_IMG_RANDOM", "12"))
    first = int(os.environ.get("KEEL_IMG_SEED", "1"))
    directory = memory_for(bed)
    wrong = []
    for seed in range(first, first + n):
        try:
            one_image(os.path.join(directory, str(seed)), seed)
        except Failure as e:
            wrong.append("seed %d: %s" % (seed, e))
            print("# %s" % wrong[-1].replace("\n", "\n# "), file=sys.stderr, flush=True)
            if len(wrong) == 20:
                break
            if not os.environ.get("KEEL_IMG_KEEP"):
                shutil.rmtree(os.path.join(directory, str(seed)), ignore_errors=True)
    if directory != bed.dir and not (wrong and os.environ.get("KEEL_IMG_KEEP")):
        shutil.rmtree(directory)
    if wrong:
        raise Failure("%d images: %s" % (len(wrong), wrong[0]))


if __name__ == "__main__":
    main(globals())
