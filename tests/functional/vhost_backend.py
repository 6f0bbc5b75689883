# SPDX-License-Identifier: MIT
"""The other end of vhost-user: a back end as a switch has it, in Python, for tests. Reference: QEMU
docs/interop/vhost-user.rst, virtio 1.2, 2.7.
"""
import mmap
import os
import socket
import struct
import threading
import time

from keel import Failure

NAMES = {1: "GET_FEATURES", 2: "SET_FEATURES", 3: "SET_OWNER", 5: "SET_MEM_TABLE", 8: "SET_VRING_NUM",
         9: "SET_VRING_ADDR", 10: "SET_VRING_BASE", 12: "SET_VRING_KICK", 13: "SET_VRING_CALL",
         15: "GET_PROTOCOL_FEATURES", 16: "SET_PROTOCOL_FEATURES", 17: "GET_QUEUE_NUM", 18: "SET_VRING_ENABLE"}
VERSION_1, PROTOCOL, CSUM, HOST_TSO4 = 1 << 32, 1 << 30, 1, 1 << 11
MQ, REPLY_ACK = 1, 8


class Ring:
    def __init__(self):
        self.num = self.seen = self.given = 0
        self.desc = self.used = self.avail = self.kick = self.call = None
        self.enabled = False
        self.was_enabled = False  # once; a driver that ends takes it back


class Backend:
    """Serves one connection after the other at path until it is closed."""

    def __init__(self, path, features=VERSION_1 | PROTOCOL | CSUM | HOST_TSO4, protocol=MQ | REPLY_ACK, queues=1,
                 refuse=None):
        self.features, self.protocol, self.queues, self.refuse = features, protocol, queues, refuse
        self.said, self.rings, self.mem, self.regions, self.conn = [], {}, None, [], None
        self.head = 10
        self.connections = 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(1)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                self.conn, _ = self.listener.accept()
            except OSError:
                return
            self.rings, self.said = {}, []
            self.connections += 1
            try:
                while self.one():
                    pass
            except OSError:
                pass
            self.conn.close()

    def close(self):
        for s in (self.listener, self.conn):
            try:
                s and s.shutdown(socket.SHUT_RDWR)  # wakes the thread
            except OSError:
                pass
        self.listener.close()

    def drop(self):
        self.conn.shutdown(socket.SHUT_RDWR)

    def one(self):
        """Takes a request and answers it. False: the peer has left."""
        data, fds, _, _ = socket.recv_fds(self.conn, 12, 8)
        if len(data) < 12:
            return False
        req, flags, size = struct.unpack("<III", data)
        body = self.conn.recv(size, socket.MSG_WAITALL) if size else b""
        name = NAMES.get(req, str(req))
        answer = self.take(name, body, fds)
        if answer is None and flags & 8:
            answer = 1 if name == self.refuse else 0
        if answer is not None:
            self.conn.sendall(struct.pack("<IIIQ", req, 5, 8, answer))
        self.said.append(name)  # it is done, for who waits
        return True

    def take(self, name, body, fds):
        asked = {"GET_FEATURES": self.features, "GET_PROTOCOL_FEATURES": self.protocol,
                 "GET_QUEUE_NUM": self.queues}
        if name in asked:
            return asked[name]
        if name == "SET_FEATURES":
            self.head = 12 if struct.unpack("<Q", body)[0] & VERSION_1 else 10
            self.chosen = struct.unpack("<Q", body)[0]
        elif name == "SET_MEM_TABLE":
            n, = struct.unpack("<I", body[:4])
            self.regions = [struct.unpack("<QQQQ", body[8 + 32 * i:40 + 32 * i]) for i in range(n)]
            self.memfd = fds[0]
            self.mem = mmap.mmap(fds[0], self.regions[0][1])
        elif name.startswith("SET_VRING"):
            ring = self.rings.setdefault(body[0], Ring())
            self.ring(ring, name, body, fds)
        return None

    def ring(self, ring, name, body, fds):
        value = struct.unpack("<I", body[4:8])[0]
        if name == "SET_VRING_NUM":
            ring.num = value
        elif name == "SET_VRING_BASE":
            ring.seen = ring.given = value
        elif name == "SET_VRING_ADDR":
            base = self.regions[0][2]
            ring.desc, ring.used, ring.avail = (a - base for a in struct.unpack("<QQQ", body[8:32]))
        elif name == "SET_VRING_KICK":
            ring.kick = fds[0]
        elif name == "SET_VRING_CALL":
            ring.call = fds[0]
        elif name == "SET_VRING_ENABLE":
            ring.enabled = value == 1
            ring.was_enabled |= ring.enabled

    # ---- frames ----

    def ready(self, pairs=1, seconds=60):
        """Until the front end has set everything up."""
        end = time.time() + seconds
        while self.said.count("SET_VRING_ENABLE") < 2 * pairs:
            if time.time() > end:
                raise Failure("vhost-user: only %r" % self.said)
            time.sleep(0.005)
        return self

    def word(self, at):
        return struct.unpack("<H", self.mem[at:at + 2])[0]

    def chain(self, ring):
        """(id, offset, length) of the next available descriptor, or None."""
        if self.word(ring.avail + 2) == ring.seen:
            return None
        which = self.word(ring.avail + 4 + 2 * (ring.seen % ring.num))
        ring.seen = (ring.seen + 1) & 0xffff
        gpa, n, _, _ = struct.unpack("<QIHH", self.mem[ring.desc + 16 * which:ring.desc + 16 * which + 16])
        return which, gpa - self.regions[0][0], n

    def give(self, ring, which, written):
        at = ring.used + 4 + 8 * (ring.given % ring.num)
        self.mem[at:at + 8] = struct.pack("<II", which, written)
        ring.given = (ring.given + 1) & 0xffff
        self.mem[ring.used + 2:ring.used + 4] = struct.pack("<H", ring.given)
        os.write(ring.call, struct.pack("<Q", 1))

    def receive(self, pair=0):
        """(virtio header, frame) that the guest sent, or None."""
        ring = self.rings[2 * pair + 1]
        got = self.chain(ring)
        if not got:
            return None
        which, at, n = got
        data = bytes(self.mem[at:at + n])
        self.give(ring, which, 0)
        return data[:self.head], data[self.head:]

    def wait(self, pair=0, seconds=60):
        end = time.time() + seconds
        while time.time() < end:
            got = self.receive(pair)
            if got:
                return got
            time.sleep(0.002)
        raise Failure("vhost-user: no frame")

    def send(self, frame, pair=0, header=b""):
        """A frame for the guest; False when it has no buffer there."""
        ring = self.rings[2 * pair]
        got = self.chain(ring)
        if not got:
            return False
        which, at, _ = got
        data = header.ljust(self.head, b"\0") + frame
        self.mem[at:at + len(data)] = data
        self.give(ring, which, len(data))
        return True


def echo(frame, ip):
    """What a host with that address answers: ARP and ICMP echo. None: nothing."""
    from card import csum, ip4
    mac = b"\x52\x54\x00\x00\x00\x99"
    addr = socket.inet_aton(ip)
    if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\1" and frame[38:42] == addr:
        return frame[6:12] + mac + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x800, 6, 4, 2) + mac + addr + frame[22:32]
    if frame[12:14] == b"\x08\0" and frame[23] == 1 and frame[34] == 8 and frame[30:34] == addr:
        total, = struct.unpack("!H", frame[16:18])
        icmp = b"\0\0\0\0" + frame[38:14 + total]
        icmp = icmp[:2] + struct.pack("!H", csum(icmp)) + icmp[4:]
        return frame[6:12] + mac + b"\x08\0" + ip4(ip, socket.inet_ntoa(frame[26:30]), 1, icmp)
    return None
