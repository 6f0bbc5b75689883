# SPDX-License-Identifier: MIT
"""xen-net-device in a whole Keel under fake Xen: the test is the PV front end, a socket the network."""
import os
import socket
import struct
import time

from xen_fake import Error, Guest, expect, main, until
from xen_keel import Keel, recording

MIB = 1 << 20
BACK, FRONT = "/local/domain/0/backend/qnic/7/0/", "/local/domain/7/device/vif/0/"
TX, RX, DATA, PAGE = 0x100, 0x101, 0x110, 4096  # guest frames
FRAME = b"\xff" * 6 + b"\0\x16\x3e\1\2\3" + b"\x88\xb5"


class Front:
    """netfront: grants, rings, an event channel."""

    def __init__(self, g):
        self.g, self.tx_prod, self.rx_prod, self.rx_seen = g, 0, 0, 0
        for name in ("pv-events", "pv-notify"):
            os.mkfifo(g.dir + "/" + name)
        self.events = os.open(g.dir + "/pv-events", os.O_RDWR)
        with open(g.dir + "/grants", "wb") as f:
            for ref in range(4096):
                f.write(struct.pack("<Q", ref << 2 | 1 if 0x100 <= ref < 0x200 else 0))
        for gfn in (TX, RX):
            g.memwrite(gfn * PAGE, struct.pack("<IIII", 0, 1, 0, 1))

    def store(self, **nodes):
        for name, value in nodes.items():
            self.g.store(FRONT + name.replace("_", "-"), str(value))

    def connect(self):
        until("the offer", lambda: self.g.store(BACK + "state") == "2")
        self.store(tx_ring_ref=TX, rx_ring_ref=RX, event_channel=64, request_rx_copy=1,
                   feature_sg=1)
        self.store(state=4)
        until("the connection", lambda: self.g.store(BACK + "state") == "4")

    def ring(self):
        os.write(self.events, struct.pack("<I", 164))

    def word(self, gfn, n):
        return struct.unpack("<I", self.g.memread(gfn * PAGE + 4 * n, 4))[0]

    def send(self, frame, flags=0):
        i = self.tx_prod % 256
        self.g.memwrite((DATA + i % 16) * PAGE, frame)
        self.g.memwrite(TX * PAGE + 64 + 12 * i, struct.pack("<IHHHH", DATA + i % 16, 0, flags, i,
                                                            len(frame)))
        self.tx_prod += 1
        self.g.memwrite(TX * PAGE, struct.pack("<I", self.tx_prod))
        self.ring()

    def post(self, n):
        for _ in range(n):
            i = self.rx_prod % 256
            self.g.memwrite(RX * PAGE + 64 + 8 * i, struct.pack("<HHI", i, 0, DATA + 32 + i % 64))
            self.rx_prod += 1
        self.g.memwrite(RX * PAGE, struct.pack("<I", self.rx_prod))
        self.ring()

    def take(self):
        until("a frame", lambda: self.word(RX, 2) != self.rx_seen)
        i = self.rx_seen % 256
        at = self.g.memread(RX * PAGE + 64 + 8 * i, 8)
        ident, off, _, size = struct.unpack("<HHHh", at)
        self.rx_seen += 1
        return self.g.memread((DATA + 32 + ident % 64) * PAGE + off, size)


def network(build, g, *args, wait=True):
    path = g.dir + "/wire"
    k = Keel(build, g, recording("a-minimal"), wait=wait, args=[
        "-netdev", "stream,id=n0,server=on,addr.type=unix,addr.path=" + path, "-device",
        "xen-net-device,netdev=n0,mac=00:16:3e:01:02:03", *args])
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    s.settimeout(60)
    return k, s


def frame_of(s):
    n = struct.unpack("!I", s.recv(4, socket.MSG_WAITALL))[0]
    return s.recv(n, socket.MSG_WAITALL)


def test_xen_net_device_carries_frames_both_ways_and_goes_away(build):
    with Guest(build, ram=56 * MIB) as g:
        f = Front(g)
        k, wire = network(build, g)
        f.connect()
        time.sleep(0.05)
        f.send(FRAME + b"out of the guest".ljust(50, b"."))
        expect("at the network", frame_of(wire), FRAME + b"out of the guest".ljust(50, b"."))
        f.post(40)
        for n in range(20):
            data = FRAME + os.urandom(40 + 70 * n)
            wire.sendall(struct.pack("!I", len(data)) + data)
            expect("at the guest", f.take(), data)
        with k.qmp() as q:
            text = q("human-monitor-command", command_line="info network")
            if "model=xen-net-device,macaddr=00:16:3e:01:02:03" not in text:
                raise Error("info network: " + text)
        f.store(state=5)
        until("closing", lambda: g.store(BACK + "state") == "5")
        f.store(state=6)
        until("closed", lambda: g.store(BACK + "state") == "6")
        expect("exit status", k.hangup(), 0)
        expect("nodes left", (g.store(BACK + "state"), g.store(FRONT + "state")), (None, None))


def test_xen_net_device_when_front_end_is_hostile_then_only_the_card_closes(build):
    with Guest(build, ram=56 * MIB) as g:
        f = Front(g)
        k, wire = network(build, g)
        f.connect()
        g.memwrite(TX * PAGE, struct.pack("<I", 0x7fffffff))
        f.ring()
        until("closing", lambda: g.store(BACK + "state") == "5")
        g.memwrite(TX * PAGE, struct.pack("<IIII", 0, 1, 0, 1))
        f.store(state=1)
        f.connect()
        f.send(FRAME + bytes(50))
        expect("again", frame_of(wire), FRAME + bytes(50))
        with k.qmp() as q:
            q("query-status")


def card_slot(g):
    """Where the E1000 is on the bus; None: nowhere."""
    return next((slot for slot in range(32) if g.config(slot << 3, 0, 4) == 0x100e8086), None)


def test_xen_card_that_pv_drivers_unplugged_need_not_be_there_when_its_guest_is_restored(build):
    """libxl starts the next one without the card if its vif was detached meanwhile, else with it."""
    nic = ["-netdev", "user,id=net0", "-device", "e1000,id=nic0,netdev=net0,mac=00:16:3e:01:02:03"]
    with Guest(build, ram=56 * MIB) as g:
        k = Keel(build, g, recording("a-minimal"), args=nic)
        expect("the card is there", card_slot(g) is not None, True)
        g.outw(0x10, 2)  # PV drivers unplug emulated cards
        expect("unplugged", card_slot(g), None)
        with k.qmp() as q:
            q("stop")
            q("xen-save-devices-state", filename=g.dir + "/state", live=True)
        expect("exit status", k.hangup(), 0)
        for args in ([], nic):
            with Guest(build, ram=56 * MIB) as h:
                k = Keel(build, h, recording("a-minimal"), args=args + ["-incoming", "file:" + g.dir + "/state"])
                expect("what was said", k.model.output(), "")
                expect("it is unplugged still", card_slot(h), None)
                expect("exit status", k.hangup(), 0)


def test_xen_net_device_options_are_checked(build):
    for device, what in (("xen-net-device", "netdev: missing"),
                         ("xen-net-device,netdev=x", "netdev=x"),
                         ("xen-net-device,netdev=n0,mac=1", "mac=1"),
                         ("xen-net-device,netdev=n0,idx=x", "idx=x"),
                         ("xen-net-device,netdev=n0,frob=1", "frob")):
        with Guest(build, ram=56 * MIB) as g:
            k = Keel(build, g, recording("a-minimal"), wait=False,
                     args=["-netdev", "user,id=n0", "-device", device])
            expect("exit code", k.model.wait(), 1)
            if what not in k.model.output():
                raise Error("%s: %s" % (device, k.model.output()))


main(globals())
