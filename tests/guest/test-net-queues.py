#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Linux with two processors on virtio-net with two pairs of queues, on a tap (packed rings) and on vhost-user,
and on an E1000 by vhost-user: pings through each, TCP over the tap by both pairs. A disk with packed rings.
"""
import hashlib
import os
import sys
import threading
import time

import initramfs
from guest import Guest, expect, expect_in, main, serve_bytes
from netns import can_have_namespaces, own_namespace, sh

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "functional"))
from vhost_backend import Backend, echo  # noqa: E402

DATA = os.urandom(1 << 20)
CMDLINE = "console=ttyS0 quiet panic=-1 tsc=reliable net.ifnames=0 ipv6.disable=1 no_timer_check"
DISK = os.urandom(1 << 20)
MODULES = ["virtio_pci", "e1000", "virtio_net", "virtio_blk"]
SCRIPT = """
try() {
  ip addr add 10.79.$2.2/24 dev $1; ip link set $1 up
  for n in 1 2 3 4 5; do ping -c 1 -W 2 10.79.$2.1 > /dev/null && break; done
  echo "PING $1 $(ping -c 3 -W 2 10.79.$2.1 | grep -c 'bytes from')"
  echo "BIGPING $1 $(ping -c 3 -W 2 -s 1472 10.79.$2.1 | grep -c 'bytes from')"
  echo "PAIRS $1 $(ls -d /sys/class/net/$1/queues/rx-* | wc -l)"
}
try eth0 0
try eth1 1
[ -e /sys/class/net/eth2 ] && {
  try eth2 2
  for n in 1 2 3 4 5 6 7 8; do
    taskset $((1 + n % 2)) wget -q -O - http://10.79.2.1:8000/data | sha256sum | cut -d' ' -f1 | sed 's/^/FETCH /' &
  done
  wait
  for q in 0 1; do echo "SENT BY $q $(grep -c "[1-9].*virtio3-output.$q" /proc/interrupts)"; done
}
echo "DISK $(sha256sum < /dev/vda | cut -d' ' -f1)"
dd if=/dev/vda of=/dev/vdb bs=64k oflag=direct 2> /dev/null; sync
packed() { for i in /sys/bus/virtio/devices/*; do cut -c35 $i/features; done | tr -d '\\n'; }
echo "PACKED $(packed)"
echo ALL DONE
poweroff -f
"""


def answer(b, ip, pairs, used):
    """A host behind the switch; `used` gathers which pairs the guest sends by."""
    while True:
        any_ = False
        for pair in range(pairs):
            got = b.receive(pair) if (2 * pair + 1) in b.rings and b.rings[2 * pair + 1].call else None
            if got:
                any_ = True
                used.add(pair)
                reply = echo(got[1], ip)
                if reply:
                    b.send(reply, pair)
        if not any_:
            time.sleep(0.002)


def behind(bed, name, ip, pairs):
    b, used = Backend(bed.path(name), queues=pairs), set()
    threading.Thread(target=answer, args=(b, ip, pairs, used), daemon=True).start()
    return b, used


def test_net_linux_uses_every_pair_of_queues(bed):
    behind(bed, "switch0", "10.79.0.1", 1)
    b, _ = behind(bed, "switch1", "10.79.1.1", 2)
    args = ["-netdev", "vhost-user,id=n0,chardev=c0", "-device", "e1000,netdev=n0,mac=52:54:00:00:00:01",
            "-netdev", "vhost-user,id=n1,chardev=c1,queues=2",
            "-device", "virtio-net-pci,netdev=n1,mq=on,mac=52:54:00:00:00:02"]
    for i in range(2):
        args[:0] = ["-chardev", "socket,id=c%d,path=%s" % (i, bed.path("switch%d" % i))]
    bed.file("from", DISK)
    bed.file("to", bytes(len(DISK)))
    for i, name in enumerate(("from", "to")):
        args += ["-drive", "if=none,format=raw,id=d%d,file=%s" % (i, bed.path(name)), "-device",
                 "virtio-blk-pci,drive=d%d,packed=on,disable-legacy=on" % i]
    tap = can_have_namespaces()
    if tap:
        own_namespace()
        args += ["-netdev", "tap,id=n2,queues=2,script=no,downscript=no,ifname=t0", "-device",
                 "virtio-net-pci,netdev=n2,mq=on,packed=on,mac=52:54:00:00:00:03"]
    kernel, release = initramfs.kernels()
    initrd = initramfs.build(bed.path("initrd"), SCRIPT, MODULES, release=release)
    g = Guest(bed, "-smp", "2", "-kernel", kernel, "-initrd", initrd, "-append", CMDLINE, *args)
    if tap:
        g.qmp()  # the interface is there
        sh("ip", "addr", "add", "10.79.2.1/24", "dev", "t0")
        sh("ip", "link", "set", "t0", "up")
        serve_bytes(DATA, "0.0.0.0", 8000)
    text = g.wait("ALL DONE", 400)
    for i in range(3 if tap else 2):
        for line in ("PING eth%d 3", "BIGPING eth%d 3", "PAIRS eth%d " + ("2" if i else "1")):
            expect_in("eth%d" % i, line % i, text)
    expect("pairs that were on", [b.rings[i].was_enabled for i in range(4)], [True] * 4)
    if tap:
        expect("whole", text.count("FETCH " + hashlib.sha256(DATA).hexdigest()), 8)
        for q in range(2):
            expect_in("queue", "SENT BY %d 1" % q, text)
    expect_in("what was read", "DISK " + hashlib.sha256(DISK).hexdigest(), text)
    expect_in("who has packed rings", "PACKED 011" + ("1" if tap else ""), text)
    g.finish(60)
    with open(bed.path("to"), "rb") as f:
        expect("what was written", f.read() == DISK, True)


main(globals())
