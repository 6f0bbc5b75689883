#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What befalls a network while Linux uses it, on every card: address filters, more frames than it can
take, jumbo frames, the cable pulled under load, a save and restore in the middle of transfers, sleep. One boot, a tap behind each card;
the host's side is a network namespace of this process. Then two guests, over every back end that leads
from guest to guest.
"""
import hashlib
import http.server
import os
import socket
import threading
import time

import initramfs
from guest import Failure, Guest, expect, expect_in, main
from netns import can_have_namespaces, own_namespace, sh
import ovs

# model, driver, largest MTU to try
CARDS = [("e1000", "e1000", 9000), ("e1000e", "e1000e", 9000), ("rtl8139", "8139cp", 4000),
         ("virtio-net-pci", "virtio_net", 9000),
         ("pcnet", "pcnet32", 1500), ("ne2k_pci", "ne2k-pci", 1500), ("rtl8139,cplus=off", "8139too", 1500)]
MODULES = ["virtio_pci"] + [c[1] for c in CARDS]
ONLY = os.environ.get("KEEL_CARDS", "").split()  # models, to look at some of them
CARDS = [c for c in CARDS if not ONLY or c[0] in ONLY]
DATA = os.urandom(2 << 20)
WANT = hashlib.sha256(DATA).hexdigest()
CMDLINE = "console=ttyS0 quiet panic=-1 tsc=reliable net.ifnames=0 ipv6.disable=1 no_timer_check no_console_suspend"

# The second serial port is where guest and test meet: `meet WHAT` returns when the test has answered.
SCRIPT = """
stty -F /dev/ttyS1 raw -echo
exec 3<> /dev/ttyS1 # for good: a port that nobody has open loses what comes
meet() { echo "$*" >&3; read answer <&3; }
each() { for n in %(all)s; do "$@" $n; done; }
host() { echo 10.77.${1#eth}.1; }
up() { ip addr add 10.77.${1#eth}.2/24 dev $1; ip link set $1 up; }
reach() { echo "$1 $2 $(ping -c 3 -W 2 $(host $2) | grep -c 'bytes from')"; }
received() { cat /sys/class/net/$1/statistics/rx_packets; }
count() { old=$(received $2); meet $1 $2; echo "$1 $2 $((($(received $2) - old) / 10))"; } # less than ten may be ARP
promisc() { ip link set $1 promisc on; count PROMISC $1; ip link set $1 promisc off; }
big() {
  ip link set $1 mtu $2
  for try in 1 2 3 4 5; do ping -c 1 -W 2 $(host $1) > /dev/null && break; done # some drivers start over
  echo "JUMBO $1 $(ping -c 2 -W 2 -s $(($2 - 28)) $(host $1) | grep -c 'bytes from')"
  ip link set $1 mtu 1500
}
get() { echo "$1 $2 $(wget -q -O - http://$(host $2):8000/$1 | sha256sum | cut -d' ' -f1)" > /tmp/$1.$2; }
all_get() { for n in %(all)s; do get $1 $n & done; meet $1; wait; cat /tmp/$1.*; }
each up
each reach PING
each count FILTER
each promisc
each meet FLOOD
each reach FLOODED
%(jumbo)s
all_get FLAP
for n in %(all)s; do echo "CARRIER $n $(cat /sys/class/net/$n/carrier_changes)"; done
all_get MOVE
meet SLEEP
echo mem > /sys/power/state
meet AWAKE
each reach AGAIN
dmesg | grep -E "Oops|BUG:|WARNING:|NETDEV WATCHDOG" | sed 's/^/TROUBLE /'
echo ALL DONE
poweroff -f
"""


class Served(http.server.BaseHTTPRequestHandler):
    """/FLAP and /MOVE: DATA, in pieces; the second half of each waits for the test."""
    go_on = {"FLAP": threading.Event(), "MOVE": threading.Event()}

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        half, step = len(DATA) // 2, 1 << 14
        for at in range(0, len(DATA), step):
            if at >= half and not self.go_on[self.path[1:]].is_set():
                time.sleep(0.05)  # a trickle: frames are under way whenever it happens
            self.wfile.write(DATA[at:at + step])

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 64  # all cards come at once


class Meeting:
    """The guest's second serial port, seen from here."""

    def __init__(self):
        self.s, self.buf = None, b""

    def join(self, g):
        self.s = g.proc.connect(g.bed.path("meeting"))

    def wait(self, what, seconds=300):
        self.s.settimeout(seconds)
        while b"\n" not in self.buf:
            piece = self.s.recv(1000)
            if not piece:
                raise Failure("the guest went away before %r" % what)
            self.buf += piece
        line, self.buf = self.buf.split(b"\n", 1)
        expect("what the guest waits for", line.decode().strip(), what)

    def answer(self):
        self.s.sendall(b"go\n")


def send_frames(tap):
    """Thirty to a stranger, fifty to a group nobody joined, seventy to the group all hosts are in."""
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    s.bind((tap, 0))
    for mac, n in (("5254000000ee", 30), ("01005e7f0102", 50), ("01005e000001", 70)):
        for _ in range(n):
            s.send(bytes.fromhex(mac + "5254000000ff88b5") + bytes(50))
            time.sleep(0.002)
    s.close()
    time.sleep(1)


def flood(tap, seconds=2):
    """More than the guest can take: its ring is full again and again while its driver reads it."""
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    s.bind((tap, 0))
    frame = bytes.fromhex("ffffffffffff" "5254000000ff" "88b5") + bytes(1486)
    end = time.time() + seconds
    while time.time() < end:
        try:
            s.send(frame)
        except OSError:  # the kernel's queue is full
            time.sleep(0.0001)
    s.close()
    time.sleep(1)


def booted(bed, *args):
    kernel, release = initramfs.kernels()
    script = SCRIPT % {"all": " ".join("eth%d" % i for i in range(len(CARDS))),
                       "jumbo": "\n".join("big eth%d %d" % (i, c[2]) for i, c in enumerate(CARDS) if c[2] > 1500)}
    if not os.path.exists(bed.path("initrd")):
        initramfs.build(bed.path("initrd"), script, MODULES, release=release)
    for i, card in enumerate(CARDS):
        args += ("-netdev", "tap,id=n%d,ifname=t%d,script=no,downscript=no" % (i, i),
                 "-device", "%s,id=c%d,netdev=n%d,mac=52:54:00:00:00:%02x" % (card[0], i, i, i + 1))
    return Guest(bed, "-serial", "unix:%s,server=on,wait=off" % bed.path("meeting"), "-kernel", kernel, "-initrd",
                 bed.path("initrd"), "-append", CMDLINE, *args)


def flap(g):
    for _ in range(3):
        for i in range(len(CARDS)):
            g.qmp().cmd("set_link", name="c%d" % i, up=False)
        time.sleep(1)
        for i in range(len(CARDS)):
            g.qmp().cmd("set_link", name="c%d" % i, up=True)
        time.sleep(1)


def moved(bed, g):
    """Saved, and another Keel goes on from there."""
    file = bed.path("state")
    g.qmp().cmd("migrate", uri="file:" + file)
    expect("status", g.qmp().cmd("query-migrate"), {"status": "completed"})
    text = g.text()
    g.qmp().cmd("quit")
    g.proc.wait(30)
    return booted(bed, "-incoming", "file:" + file), text


def asleep(g, seconds=300):
    end = time.time() + seconds
    while g.qmp().cmd("query-status")["status"] != "suspended":
        if time.time() > end:
            raise Failure("no sleep:\n" + g.text()[-3000:])
        time.sleep(0.1)


def check(text):
    for i, (model, driver, mtu) in enumerate(CARDS):
        want = ["PING eth%d 3", "FILTER eth%d 7", "PROMISC eth%d 15", "FLOODED eth%d 3", "FLAP eth%d " + WANT, "MOVE eth%d " + WANT,
                "AGAIN eth%d 3"] + (["JUMBO eth%d 2"] if mtu > 1500 else [])
        if driver == "8139too":  # tells each of three flaps from an underrun by a bit of CSCR
            want.append("CARRIER eth%d 6")
        for line in want:
            if line % i not in text:
                raise Failure("%s: no %r in\n%s" % (model, line % i, text[-4000:]))
    if "TROUBLE" in text:
        raise Failure(text[-4000:])


def test_net_linux_goes_on_whatever_befalls_its_cards(bed):
    if not can_have_namespaces():
        return
    own_namespace()
    for i, card in enumerate(CARDS):
        sh("ip", "tuntap", "add", "t%d" % i, "mode", "tap")
        sh("ip", "addr", "add", "10.77.%d.1/24" % i, "dev", "t%d" % i)
        sh("ip", "link", "set", "t%d" % i, "mtu", str(card[2]), "up")
    server = Server(("0.0.0.0", 8000), Served)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    g = booted(bed)
    at = Meeting()
    at.join(g)
    for what in ("FILTER", "PROMISC"):
        for i in range(len(CARDS)):
            at.wait("%s eth%d" % (what, i))
            send_frames("t%d" % i)
            at.answer()
    for i in range(len(CARDS)):
        at.wait("FLOOD eth%d" % i)
        flood("t%d" % i)
        at.answer()
    at.wait("FLAP")
    flap(g)
    Served.go_on["FLAP"].set()
    at.answer()
    at.wait("MOVE")
    time.sleep(1)
    g, text = moved(bed, g)
    at.join(g)
    Served.go_on["MOVE"].set()
    at.answer()
    at.wait("SLEEP")
    at.answer()
    asleep(g)
    g.qmp().cmd("system_wakeup")
    at.wait("AWAKE")
    at.answer()
    check(text + g.wait("ALL DONE", 300))
    g.finish(60)


# ---- guest to guest ----

HERE = "addr.type=inet,addr.host=127.0.0.1,addr.port=%(p)d"
UDP = "local.type=inet,local.host=127.0.0.1,local.port=%d,remote.type=inet,remote.host=127.0.0.1,remote.port=%d"
UNIX = "local.type=unix,local.path=%s,remote.type=unix,remote.path=%s"
MCAST = "socket,mcast=230.0.0.1:%(p)d,localaddr=127.0.0.1"
WIRES = [  # card, in the order of the drivers; one end, the other: %(d)s a directory, %(p)d and so on ports
    ("e1000", "stream,server=on,addr.type=unix,addr.path=%(d)s/a", "stream,addr.type=unix,addr.path=%(d)s/a"),
    ("e1000e", "dgram," + UNIX % ("%(d)s/b", "%(d)s/c"), "dgram," + UNIX % ("%(d)s/c", "%(d)s/b")),
    ("rtl8139", "stream,server=on," + HERE, "stream," + HERE),
    ("virtio-net-pci", "socket,listen=127.0.0.1:%(q)d", "socket,connect=127.0.0.1:%(q)d"),
    ("virtio-net-pci", "socket,udp=127.0.0.1:%(r)d,localaddr=127.0.0.1:%(s)d",
     "socket,udp=127.0.0.1:%(s)d,localaddr=127.0.0.1:%(r)d"),
    ("pcnet", "dgram," + UDP.replace("%d", "%%(%s)d") % ("p", "q"), "dgram," + UDP.replace("%d", "%%(%s)d") % ("q", "p")),
    ("ne2k_pci", MCAST, MCAST),
]
SWITCHED = ("virtio-net-pci", "vhost-user,chardev=c", "vhost-user,chardev=c")  # Open vSwitch is between the two
CHARDEV = "socket,id=c,path=%s/port%d,server=on,wait=off"
PAIR = """
for n in %(all)s; do ip addr add 10.78.${n#eth}.%(own)d/24 dev $n; ip link set $n up; done
"""
SERVER = PAIR + """
httpd -p 8000 -h /
echo SERVING
while true; do sleep 1000; done
"""
CLIENT = PAIR + """
for n in %(all)s; do
  net=10.78.${n#eth}
  echo "PING $n $(ping -c 3 -W 2 $net.1 | grep -c 'bytes from')"
  echo "FETCH $n $(wget -q -O - http://$net.1:8000/data | sha256sum | cut -d' ' -f1)"
done
echo ALL DONE
poweroff -f
"""


def one_of_two(bed, name, script, own, end, ports, wires):
    kernel, release = initramfs.kernels()
    names = {"all": " ".join("eth%d" % i for i in range(len(wires))), "own": own}
    initrd = initramfs.build(bed.path(name), script % names, MODULES, release=release,
                             files=[("data", DATA, 0o644)])
    args = ["-chardev", CHARDEV % (bed.dir, end)] if SWITCHED in wires else []
    for i, wire in enumerate(wires):
        args += ["-netdev", wire[end] % ports + ",id=n%d" % i, "-device",
                 "%s,netdev=n%d,mac=52:54:00:00:%02x:%02x" % (wire[0], i, own, i + 1)]
    return Guest(bed, "-kernel", kernel, "-initrd", initrd, "-append", CMDLINE, *args, name=name)


def free_ports(n):
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [s.getsockname()[1] for s in taken]
    for s in taken:
        s.close()
    return ports


def test_net_two_linux_guests_talk_over_every_back_end_between_guests(bed):
    p, q, r, s = free_ports(4)
    ports = {"d": bed.dir, "p": p, "q": q, "r": r, "s": s}
    if ovs.is_there():
        with ovs.Switch(bed, calling=["port1", "port2"], large=True):
            two_talk(bed, ports, WIRES + [SWITCHED])
    else:
        two_talk(bed, ports, WIRES)


def two_talk(bed, ports, wires):
    one = one_of_two(bed, "server", SERVER, 1, 1, ports, wires)
    one.wait("SERVING", 300)
    other = one_of_two(bed, "client", CLIENT, 2, 2, ports, wires)
    text = other.wait("ALL DONE", 400)
    for i, wire in enumerate(wires):
        expect_in(wire[1], "PING eth%d 3" % i, text)
        expect_in(wire[1], "FETCH eth%d %s" % (i, WANT), text)
    other.finish(60)
    expect("the server's complaints", [l for l in one.text().splitlines() if "Oops" in l or "BUG:" in l], [])


main(globals())
