#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Linux's own drivers on every network card: one boot, a network of its own behind each. DHCP, ping,
TCP both ways with the bytes compared, the link down and up under load, VLAN tags, large frames.
"""
import hashlib
import os
import socket
import threading

import initramfs
from guest import Failure, Guest, expect, expect_in, main, serve_bytes

# model, driver, network
CARDS = [("e1000", "e1000", "10.0.2"), ("rtl8139", "8139cp", "192.168.76"),
         ("virtio-net-pci,disable-legacy=on", "virtio_net", "192.168.77"),
         ("virtio-net-pci,disable-modern=on", "virtio_net", "192.168.78"),
         ("pcnet", "pcnet32", "192.168.79"), ("ne2k_pci", "ne2k-pci", "192.168.80"),
         ("e1000e", "e1000e", "192.168.81")]
MODULES = ["e1000", "8139cp", "virtio_pci", "virtio_net", "pcnet32", "ne2k-pci", "e1000e"]
ONLY = os.environ.get("KEEL_CARDS", "").split()  # models, to look at some of them
CARDS = [c for c in CARDS if not ONLY or c[0].split(",")[0] in ONLY]
DATA = os.urandom(3 << 20)

UDHCPC = """#!/bin/busybox sh
[ "$1" = bound ] || exit 0
ip addr add $ip/${mask:-24} dev $interface
echo "LEASE $interface $ip $router $dns"
"""

SCRIPT = """
lease() { udhcpc -i $1 -s /udhcpc -n -q -t 8 -T 1 2>/dev/null; }
for i in /sys/class/net/eth*; do
  n=${i##*/}; mac=$(cat $i/address); drv=$(basename $(readlink $i/device/driver)).$n
  ip link set $n up; lease $n
  net=$(ip -4 addr show dev $n | sed -n 's/.*inet \\([0-9]*\\.[0-9]*\\.[0-9]*\\)\\..*/\\1/p')
  echo "CARD $n $mac $drv $net"
  echo "PING $drv $(ping -c 3 -W 2 -I $n $net.2 | grep -c 'bytes from')"
  echo "BIGPING $drv $(ping -c 2 -W 2 -s 1472 -I $n $net.2 | grep -c 'bytes from')"
  echo "FETCH $drv $(wget -q -O - http://$net.2:PORT/data | sha256sum | cut -d' ' -f1)"
  wget -q -O /tmp/data http://$net.2:PORT/data
  echo "GIVE $drv $(nc $net.2 GIVEPORT < /tmp/data)"
  ip link set $n down; ip link set $n up; lease $n > /dev/null
  echo "AGAIN $drv $(ping -c 2 -W 2 -I $n $net.2 | grep -c 'bytes from')"
  echo "ERRORS $drv $(cat $i/statistics/rx_errors $i/statistics/tx_errors | tr '\\n' ' ')"
  ip link set $n down
done
echo NET DONE
read wait < /dev/ttyS0
poweroff -f
"""


def take(listener):
    """Answers each connection with the hash of what it sent."""
    while True:
        try:
            s, _ = listener.accept()
        except OSError:
            return
        s.settimeout(60)
        h, n = hashlib.sha256(), 0
        while n < len(DATA):
            piece = s.recv(1 << 16)
            if not piece:
                break
            h.update(piece)
            n += len(piece)
        s.sendall(h.hexdigest().encode())
        s.close()


def servers():
    port = serve_bytes(DATA, "127.0.0.1")
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=take, args=(listener,), daemon=True).start()
    return port, listener.getsockname()[1]


def boot(bed, script, *args, modules=MODULES):
    kernel, release = initramfs.kernels()
    initrd = initramfs.build(bed.path("initrd"), script, modules, release=release,
                             files=[("udhcpc", UDHCPC, 0o755)])
    return Guest(bed, "-kernel", kernel, "-initrd", initrd, "-append",
                 "console=ttyS0 quiet panic=-1 tsc=reliable net.ifnames=0", "-no-reboot", *args)


def test_net_linux_drives_every_card(bed):
    port, give = servers()
    args = []
    for i, (model, _, net) in enumerate(CARDS):
        args += ["-netdev", "user,id=n%d,net=%s.0/24" % (i, net), "-device",
                 "%s,netdev=n%d,mac=52:54:00:00:00:%02x" % (model, i, i + 1)]
    script = SCRIPT.replace("GIVEPORT", str(give)).replace("PORT", str(port))
    g = boot(bed, script, *args)
    text = g.wait("NET DONE", 400)
    want = hashlib.sha256(DATA).hexdigest()
    for i, (model, driver, net) in enumerate(CARDS):
        driver = "%s.eth%d" % (driver, i)
        expect_in(model, "52:54:00:00:00:%02x %s %s" % (i + 1, driver, net), text)
        for line in ("PING %s 3" % driver, "BIGPING %s 2" % driver, "FETCH %s %s" % (driver, want),
                     "GIVE %s %s" % (driver, want), "AGAIN %s 2" % driver, "ERRORS %s 0 0" % driver):
            if line not in text:
                raise Failure("%s: no %r in\n%s\n%s" % (model, line, text[-3000:], g.hmp("info network")))
    g.qmp().cmd("quit")


COMES_AND_GOES = """
ready() { [ -e /sys/class/net/eth0 ]; }
echo READY
for n in 1 2; do
  until ready; do sleep 0.2; done
  ip link set eth0 up
  udhcpc -i eth0 -s /udhcpc -n -q -t 8 -T 1 2>/dev/null
  echo "CAME $n $(ping -c 2 -W 2 10.0.2.2 | grep -c 'bytes from')"
  while ready; do sleep 0.2; done
  echo "WENT $n"
done
read wait < /dev/ttyS0
"""


def test_net_linux_sees_cards_come_and_go(bed):
    g = boot(bed, COMES_AND_GOES, "-netdev", "user,id=n0", modules=["e1000e", "pcnet32"])
    g.wait("READY", 200)
    q = g.qmp()
    for n, model in enumerate(("e1000e", "pcnet"), 1):
        q.cmd("device_add", driver=model, id="c0", netdev="n0")
        g.wait("CAME %d 2" % n, 120)
        q.cmd("device_del", id="c0")
        g.wait("WENT %d" % n, 60)
        q.event("DEVICE_DELETED")
    q.cmd("quit")


main(globals())
