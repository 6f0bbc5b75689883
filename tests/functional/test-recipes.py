#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The recipes of docs/network.md, run as they are written: each block in a directory and a network
namespace of its own, `keel ...` being a Keel that the test can ask.
"""
import os
import re
import shutil
import signal
import socket
import subprocess
import time

from keel import Failure, Qmp, expect, expect_in, main

DOC = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "network.md")
WRAPPER = """#!/bin/sh
# keel ... OPTIONS: in the background, answering QMP at q.N
[ "$1" = ... ] || exit 99
shift
n=$(ls -d "$T"/q.* 2>/dev/null | wc -l)
"%s" -machine pc -accel qtest -nodefaults -display none -qmp "unix:$T/q.$n,server=on,wait=off" "$@" \\
  > "$T/log.$n" 2>&1 &
echo $! >> "$T/pids"
for i in $(seq 200); do
  [ -S "$T/q.$n" ] && grep -q . "$T/log.$n" && break
  [ -S "$T/q.$n" ] && exit 0
  kill -0 $! 2>/dev/null || break
  sleep 0.02
done
cat "$T/log.$n"
exit 1
"""


def blocks():
    with open(DOC) as f:
        return re.findall(r"^```sh\n(.*?)^```", f.read(), re.M | re.S)


def kinds(block):
    """What each `keel ...` of a block must show."""
    out = []
    for line in block.replace("\\\n", " ").splitlines():
        if line.startswith("keel ..."):
            kind = re.search(r"-(?:netdev|nic) ([\w-]+)", line)[1]
            out.append((kind if kind != "bridge" else "tap",
                        next((m for m in ("rtl8139", "virtio-net-pci") if m in line), "e1000")))
    return out


def ask(path):

    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    q = Qmp(s)
    text = q.hmp("info network")
    q.cmd("quit")
    return text


def run_block(bed, n, block):
    place = bed.path("recipe%d" % n)
    os.makedirs(place + "/bin")
    with open(place + "/bin/keel", "w") as f:
        f.write(WRAPPER % bed.keel)
    os.chmod(place + "/bin/keel", 0o755)
    os.chmod(bed.dir, 0o755)
    name = "keel-recipe-%d-%d" % (os.getpid(), n)
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["nsenter", "--net=/run/netns/" + name, "ip", "link", "set", "lo", "up"], check=True)
        env = dict(os.environ, T=place, PATH=place + "/bin:" + os.environ["PATH"])
        r = subprocess.run(["nsenter", "--net=/run/netns/" + name, "sh", "-e", "-c", block], cwd=place, env=env,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        expect("recipe %d: %s" % (n, r.stdout), r.returncode, 0)
        want = kinds(block)
        for i, (kind, model) in enumerate(want):
            text = ask("%s/q.%d" % (place, i))
            expect_in(block, "type=%s" % kind, text)
            expect_in(block, "model=%s" % model, text)
        return len(want)
    finally:
        time.sleep(0.05)
        if os.path.exists(place + "/pids"):
            for pid in open(place + "/pids").read().split():
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    pass
        subprocess.run(["ip", "netns", "del", name])


def test_recipes_when_run_as_written_then_each_has_its_network(bed):
    if os.geteuid() != 0 or not shutil.which("ip") or not os.path.exists("/dev/net/tun"):
        return
    ran = sum(run_block(bed, n, block) for n, block in enumerate(blocks()))
    if ran < 8:
        raise Failure("only %d command lines found" % ran)


if __name__ == "__main__":
    main(globals())
