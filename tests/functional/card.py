# SPDX-License-Identifier: MIT
"""An E1000 driven over the device test protocol, and as much of a network stack as tests need."""
import socket
import struct
import time

from keel import Failure

BAR, TX, RX, TXBUF, RXBUF, RING = 0xe0000000, 0x1000, 0x2000, 0x10000, 0x40000, 64
BROADCAST = b"\xff" * 6


def csum(data):
    if len(data) % 2:
        data += b"\0"
    s = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while s >> 16:
        s = (s & 0xffff) + (s >> 16)
    return s ^ 0xffff


def ip4(src, dst, proto, payload, ident=1):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), ident, 0, 64, proto, 0,
                       socket.inet_aton(src), socket.inet_aton(dst))
    return head[:10] + struct.pack("!H", csum(head)) + head[12:] + payload


def udp(sport, dport, payload):
    return struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload


class Card:
    """The card in PCI slot `slot` of a machine whose device test protocol is t."""

    def __init__(self, t, slot, at=0):
        self.t, self.bar = t, BAR + at * 0x100000
        self.base = at * 0x100000
        t.config_write(slot, 0, 0x10, self.bar)
        t.config_write(slot, 0, 4, 6)
        if t.config_read(slot, 0, 0) != 0x100e8086:
            raise Failure("no E1000 in slot %d" % slot)
        mac = struct.pack("<IH", self.rd(0x5400), self.rd(0x5404) & 0xffff)
        self.mac, self.tail, self.head, self.seen = mac, 0, 0, []
        for reg, at_, tail in ((0x3800, TX, 0), (0x2800, RX, RING - 1)):
            self.wr(reg, self.base + at_)
            self.wr(reg + 8, RING * 16)
            self.wr(reg + 0x18, tail)
        for i in range(RING):
            self.rx_desc(i)
        self.wr(0x400, 0xa)
        self.wr(0x100, 0x0400801a)  # everything, FCS stripped

    def rd(self, reg):
        return int(self.t.ok("readl 0x%x" % (self.bar + reg)), 16)

    def wr(self, reg, val):
        self.t.ok("writel 0x%x 0x%x" % (self.bar + reg, val))

    def rx_desc(self, i):
        self.t.write(self.base + RX + 16 * i, struct.pack("<QQ", self.base + RXBUF + 2048 * i, 0))

    def send(self, frame):
        i = self.tail
        self.t.write(self.base + TXBUF + 2048 * i, frame)
        self.t.write(self.base + TX + 16 * i,
                     struct.pack("<QII", self.base + TXBUF + 2048 * i, len(frame) | 0x9 << 24, 0))
        self.tail = (i + 1) % RING
        self.wr(0x3818, self.tail)

    def poll(self):
        """Frames that are there now."""
        out = []
        while True:
            i = self.head
            desc = self.t.read(self.base + RX + 16 * i + 8, 8)
            n, _, status = struct.unpack("<HHB", desc[:5])
            if not status & 1:
                return out
            out.append(self.t.read(self.base + RXBUF + 2048 * i, n))
            self.rx_desc(i)
            self.wr(0x2818, i)
            self.head = (i + 1) % RING

    def wait(self, match, seconds=60, each=None):
        """The first frame for which match() is true; each() runs with every other one."""
        end = time.time() + seconds
        while time.time() < end:
            for n, f in enumerate(self.seen):
                if match(f):
                    del self.seen[:n + 1]
                    return f
                if each:
                    each(f)
            self.seen = self.poll()
            if not self.seen:
                time.sleep(0.002)
        raise Failure("no such frame in %d s" % seconds)

    def eth(self, dst, kind, payload):
        return dst + self.mac + struct.pack("!H", kind) + payload


class Host(Card):
    """A card with an address: answers ARP and ICMP echo while it waits."""

    def __init__(self, t, slot, ip=None, at=0):
        super().__init__(t, slot, at)
        self.ip, self.gateway_mac, self.udp_in = ip, None, []

    def answer(self, f):
        if f[12:14] == b"\x08\x06" and self.ip and f[20:22] == b"\0\1" and \
                f[38:42] == socket.inet_aton(self.ip):
            self.send(self.eth(f[6:12], 0x806, struct.pack("!HHBBH", 1, 0x800, 6, 4, 2) + self.mac +
                               f[38:42] + f[22:28] + f[28:32]))
        elif f[12:14] == b"\x08\0" and f[23] == 1 and f[34] == 8:
            total = struct.unpack("!H", f[16:18])[0]
            icmp = b"\0\0\0\0" + f[38:14 + total]
            icmp = icmp[:2] + struct.pack("!H", csum(icmp)) + icmp[4:]
            self.send(self.eth(f[6:12], 0x800, ip4(self.ip, socket.inet_ntoa(f[26:30]), 1, icmp)))

    def serve(self, match, seconds=60):
        return self.wait(match, seconds, self.answer)

    def resolve(self, ip):
        self.send(self.eth(BROADCAST, 0x806, struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + self.mac +
                           socket.inet_aton(self.ip) + bytes(6) + socket.inet_aton(ip)))
        f = self.serve(lambda f: f[12:14] == b"\x08\x06" and f[20:22] == b"\0\2" and
                       f[28:32] == socket.inet_aton(ip))
        return f[22:28]

    def send_ip(self, mac, dst, proto, payload):
        self.send(self.eth(mac, 0x800, ip4(self.ip or "0.0.0.0", dst, proto, payload)))

    def ping(self, mac, dst, data=b"x" * 56, seconds=60):
        icmp = struct.pack("!BBHHH", 8, 0, 0, 7, 1) + data
        icmp = icmp[:2] + struct.pack("!H", csum(icmp)) + icmp[4:]
        self.send_ip(mac, dst, 1, icmp)
        f = self.serve(lambda f: f[12:14] == b"\x08\0" and f[23] == 1 and f[34] == 0 and
                       f[26:30] == socket.inet_aton(dst), seconds)
        return f[42:42 + len(data)] == data

    def udp_ask(self, mac, dst, sport, dport, payload, seconds=60):
        """Sends a datagram; (source port, payload) of the next one for sport."""
        self.send_ip(mac, dst, 17, udp(sport, dport, payload))
        return self.udp_wait(sport, seconds)

    def udp_wait(self, sport, seconds=60):
        f = self.serve(lambda f: f[12:14] == b"\x08\0" and f[23] == 17 and
                       struct.unpack("!H", f[36:38])[0] == sport, seconds)
        n = struct.unpack("!H", f[38:40])[0]
        return struct.unpack("!H", f[34:36])[0], f[42:34 + n]

    def dhcp(self, kind, extra=b""):
        """One exchange; the answer's options, by number, and the address offered as 0."""
        body = struct.pack("!BBBBIHH", 1, 1, 6, 0, 0x12345678, 0, 0x8000) + bytes(16) + self.mac + \
            bytes(10 + 192) + b"\x63\x82\x53\x63\x35\x01" + bytes([kind]) + extra + b"\xff"
        self.send(self.eth(BROADCAST, 0x800, ip4("0.0.0.0", "255.255.255.255", 17,
                                                 udp(68, 67, body))))
        _, answer = self.udp_wait(68)
        options, at = {0: socket.inet_ntoa(answer[16:20]), "file": answer[108:236].rstrip(b"\0")}, 240
        while at < len(answer) and answer[at] != 255:
            if answer[at] == 0:
                at += 1
                continue
            options[answer[at]] = answer[at + 2:at + 2 + answer[at + 1]]
            at += 2 + answer[at + 1]
        return options

    def configure(self):
        """DHCP: discover, request. All that was offered."""
        offer = self.dhcp(1)
        ack = self.dhcp(3, b"\x32\x04" + socket.inet_aton(offer[0]) + b"\x36\x04" + offer[54])
        self.ip = ack[0]
        return ack

    def tcp(self, mac, sip, sport, dport, seq, ack, flags, data=b""):
        head = struct.pack("!HHIIBBHHH", sport, dport, seq, ack, 0x50, flags, 65535, 0, 0) + data
        pseudo = socket.inet_aton(self.ip) + socket.inet_aton(sip) + struct.pack("!HH", 6, len(head))
        head = head[:16] + struct.pack("!H", csum(pseudo + head)) + head[18:]
        self.send_ip(mac, sip, 6, head)

    def tcp_frame(self, port):
        f = self.serve(lambda f: f[12:14] == b"\x08\0" and f[23] == 6 and
                       struct.unpack("!H", f[36:38])[0] == port)
        total = struct.unpack("!H", f[16:18])[0]
        off = 34 + (f[46] >> 4) * 4
        seq, ack = struct.unpack("!II", f[38:46])
        return f, seq, ack, f[47], f[off:14 + total]

    def tcp_echo_once(self, port):
        """Accepts one connection on `port`, sends back the first bytes that come, closes."""
        f, seq, _, flags, _ = self.tcp_frame(port)
        if not flags & 2:
            raise Failure("not a SYN")
        mac, sip, sport = f[6:12], socket.inet_ntoa(f[26:30]), struct.unpack("!H", f[34:36])[0]
        mine, theirs = 5000, seq + 1
        self.tcp(mac, sip, port, sport, mine, theirs, 0x12)
        data = b""
        while not data:
            _, _, _, _, data = self.tcp_frame(port)
        theirs += len(data)
        self.tcp(mac, sip, port, sport, mine + 1, theirs, 0x18, data)
        self.tcp(mac, sip, port, sport, mine + 1 + len(data), theirs, 0x11)
        return data

    def tcp_fetch(self, mac, dip, dport, request, sport=4000):
        """Connects, sends request, returns what comes back until the peer closes or answers."""
        self.tcp(mac, dip, sport, dport, 100, 0, 2)
        _, seq, _, flags, _ = self.tcp_frame(sport)
        if flags & 0x12 != 0x12:
            raise Failure("refused: flags %02x" % flags)
        mine, theirs, out = 101, seq + 1, b""
        self.tcp(mac, dip, sport, dport, mine, theirs, 0x18, request)
        mine += len(request)
        while True:
            _, seq, _, flags, data = self.tcp_frame(sport)
            if seq == theirs & 0xffffffff:
                out += data
                theirs += len(data)
                if flags & 1:
                    self.tcp(mac, dip, sport, dport, mine, theirs + 1, 0x11)
                    return out
                if data:
                    self.tcp(mac, dip, sport, dport, mine, theirs, 0x10)


def tftp_read(host, mac, server, name):
    """The file's bytes; None when the server says no."""
    request = struct.pack("!H", 1) + name.encode() + b"\0octet\0"
    port, answer = host.udp_ask(mac, server, 2000, 69, request)
    out = b""
    while True:
        op, block = struct.unpack("!HH", answer[:4])
        if op == 5:
            return None
        out += answer[4:]
        host.send_ip(mac, server, 17, udp(2000, port, struct.pack("!HH", 4, block)))
        if len(answer) < 516:
            return out
        _, answer = host.udp_wait(2000)


def serve_once(listener, seen):
    s, _ = listener.accept()
    seen.append(s.recv(4096))
    s.sendall(b"from the host")
    s.close()
