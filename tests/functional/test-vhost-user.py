#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""-netdev vhost-user: frames both ways by a back end of the test's own, several queues, one that goes and
comes again, those that break the rules, and what is refused. And two cards
with Open vSwitch between them.
"""
import os
import struct
import time

import ovs
from card import BROADCAST, Card
from keel import Failure, expect, expect_in, main
from vhost_backend import Backend

E1000 = "e1000,netdev=n0,addr=4,mac=52:54:00:00:00:01"
TO = bytes.fromhex("525400000001")


def plugged(bed, *args, queues="", reconnect="", card=E1000):
    return bed.machine("-chardev", "socket,id=c0,path=%s%s" % (bed.path("vhost"), reconnect), "-netdev",
                       "vhost-user,id=n0,chardev=c0" + queues, "-device", card, *args)


def agreed(b, p, pairs=1):
    """The back end b, once Keel has its last answer, too: a frame before that goes nowhere."""
    b.ready(pairs)
    expect("all is agreed", until(lambda: "(connected)" in p.qmp().hmp("info network")), True)
    return b


def started(bed, **backend):
    b = Backend(bed.path("vhost"), **backend)
    p = plugged(bed)
    return agreed(b, p), p, Card(p.qtest(), 4)


def until(what, seconds=60):
    end = time.time() + seconds
    while not what():
        if time.time() > end:
            return False
        time.sleep(0.01)
    return True


def both_ways(b, card, pair=0):
    card.send(card.eth(BROADCAST, 0x88b5, b"out" * 20))
    head, frame = b.wait()
    expect("header", head, bytes(b.head))
    expect("sent", frame, card.eth(BROADCAST, 0x88b5, b"out" * 20))
    back = TO + frame[6:12] + b"\x88\xb5" + b"in" * 30
    expect("a buffer is there", b.send(back, pair), True)
    expect("received", card.wait(lambda f: True), back)


def test_vhost_user_when_frames_pass_then_both_ends_see_them(bed):
    b, p, card = started(bed)
    both_ways(b, card)
    for i in range(300):  # more than a ring holds, both ways
        card.send(card.eth(BROADCAST, 0x88b5, struct.pack("!H", i) * 30))
        expect("frame %d" % i, b.wait()[1][14:16], struct.pack("!H", i))
        expect("a buffer is there", b.send(TO + TO + b"\x88\xb5" + struct.pack("!H", i) * 30), True)
        expect("frame %d" % i, card.wait(lambda f: True)[14:16], struct.pack("!H", i))
    expect_in("info network", "vhost-user,chardev=c0,queues=1 (connected)", p.qmp().hmp("info network"))
    b.close()


def test_vhost_user_when_back_end_is_plain_then_it_works_too(bed):
    b = Backend(bed.path("vhost"), features=0)
    p = plugged(bed)
    card = Card(p.qtest(), 4)
    expect("set up", until(lambda: b.said.count("SET_VRING_CALL") == 2), True)
    expect("header of a legacy device", b.head, 10)
    both_ways(b, card)
    expect("requests", [r for r in b.said if "ENABLE" in r or "PROTOCOL" in r], [])
    b.close()


def test_vhost_user_when_large_segment_comes_then_card_gets_frames(bed):
    """A TCP segment of 4000 bytes that the switch left uncut: an E1000 has it in pieces, with sums."""
    b, _, card = started(bed)
    tcp = struct.pack("!HHIIBBHHH", 1, 2, 7, 0, 5 << 4, 0x10, 100, 0, 0)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + 20 + 4000, 1, 0, 64, 6, 0, b"\x0a\0\0\1", b"\x0a\0\0\2")
    frame = TO + TO + b"\x08\0" + ip + tcp + bytes(range(250)) * 16
    header = struct.pack("<BBHHHH", 1, 1, 54, 1448, 34, 16)
    expect("a buffer is there", b.send(frame, header=header), True)
    got = [card.wait(lambda f: True)[54:] for _ in range(3)]
    expect("payload", b"".join(got)[:4000], bytes(range(250)) * 16)
    b.close()


def test_vhost_user_when_several_queues_then_each_has_its_rings(bed):
    b = Backend(bed.path("vhost"), queues=4)
    p = plugged(bed, queues=",queues=4", card="virtio-net-pci,netdev=n0,mq=on")
    agreed(b, p, 4)
    expect("rings", sorted(b.rings), list(range(8)))
    expect("enabled before the driver says more", [b.rings[i].enabled for i in range(8)], [True] * 2 + [False] * 6)
    expect_in("info network", "queues=4 (connected)", p.qmp().hmp("info network"))
    b.close()


def test_vhost_user_when_back_end_leaves_then_it_may_come_again(bed):
    b = Backend(bed.path("vhost"))
    p = plugged(bed, reconnect=",reconnect-ms=50")
    card = Card(p.qtest(), 4)
    both_ways(agreed(b, p), card)
    b.drop()
    expect("it comes again", until(lambda: b.connections == 2), True)
    both_ways(agreed(b, p), card)
    b.close()
    os.unlink(bed.path("vhost"))
    expect("gone", until(lambda: "(not connected)" in p.qmp().hmp("info network")), True)
    card.send(card.eth(BROADCAST, 0x88b5, bytes(60)))
    b = Backend(bed.path("vhost"))
    both_ways(agreed(b, p), card)
    b.close()


def test_vhost_user_when_back_end_comes_late_then_it_is_found(bed):
    p = plugged(bed, reconnect=",reconnect-ms=50")
    card = Card(p.qtest(), 4)
    b = Backend(bed.path("vhost"))
    both_ways(agreed(b, p), card)
    b.close()


def hostile(bed, do, why):
    b, p, card = started(bed)
    do(b)
    expect("the connection ends", until(lambda: "(not connected)" in p.qmp().hmp("info network")), True)
    expect_in("the log", why, p.output())
    card.send(card.eth(BROADCAST, 0x88b5, bytes(60)))  # into nothing
    expect("it lives", p.qmp().cmd("query-status")["running"], True)
    b.close()


def test_vhost_user_when_used_index_runs_away_then_connection_ends(bed):
    def do(b):
        r = b.rings[0]
        b.mem[r.used + 2:r.used + 4] = struct.pack("<H", 1000)
        os.write(r.call, struct.pack("<Q", 1))
    hostile(bed, do, "a used ring that cannot be")


def test_vhost_user_when_descriptor_comes_twice_then_connection_ends(bed):
    def do(b):
        r = b.rings[1]  # nothing was sent: no descriptor is the back end's
        b.give(r, 5, 0)
    hostile(bed, do, "a used ring that cannot be")


def test_vhost_user_when_length_is_past_the_buffer_then_connection_ends(bed):
    hostile(bed, lambda b: b.give(b.rings[0], b.chain(b.rings[0])[0], 0xffffffff), "a used ring that cannot be")


def test_vhost_user_when_answer_has_no_question_then_connection_ends(bed):
    hostile(bed, lambda b: b.conn.sendall(struct.pack("<IIIQ", 1, 5, 8, 0)), "not an answer to a request")


def test_vhost_user_when_back_end_says_no_then_the_log_says_to_what(bed):
    b = Backend(bed.path("vhost"), refuse="SET_MEM_TABLE")
    p = plugged(bed)
    expect("it is said", until(lambda: "request 5 failed at the back end" in p.output()), True)
    b.close()


def test_vhost_user_when_back_end_has_fewer_queues_then_the_log_says_so(bed):
    b = Backend(bed.path("vhost"), queues=2)
    p = plugged(bed, queues=",queues=4")
    expect("it is said", until(lambda: "queues=4: the back end has 2" in p.output()), True)
    b.close()


def test_vhost_user_when_memory_is_shared_then_it_cannot_shrink(bed):
    b, p, card = started(bed)
    try:
        os.ftruncate(b.memfd, 4096)
        raise Failure("the memory shrinks")
    except PermissionError:
        pass
    both_ways(b, card)
    b.close()


def exchange(one, other):
    """Frames of all sizes, both ways, in order."""
    end = time.time() + 60
    while not other.poll():  # until the switch has seen that both are there
        one.send(one.eth(BROADCAST, 0x88b5, b"first".ljust(46)))
        if time.time() > end:
            raise Failure("nothing passes")
        time.sleep(0.1)
    other.send(other.eth(BROADCAST, 0x88b5, b"last".ljust(46)))  # and where each is
    one.wait(lambda f: f[14:18] == b"last")
    for size in list(range(46, 1500, 97)) + [1500]:
        for a, b in ((one, other), (other, one)):
            frame = a.eth(b.mac, 0x88b5, os.urandom(size))
            a.send(frame)
            expect("a frame of %d" % size, b.wait(lambda f: f[14:19] != b"first"), frame)


def test_vhost_user_when_open_vswitch_is_the_switch_then_two_cards_talk(bed):
    """One port of its listens, the other connects; both come again with another Open vSwitch."""
    if not ovs.is_there():
        return
    first = ovs.Switch(bed, ["port0"], ["port1"])
    with first:
        args = []
        for i, how in enumerate(("reconnect-ms=100", "server=on,wait=off")):
            args += ["-chardev", "socket,id=c%d,path=%s,%s" % (i, bed.path("port%d" % i), how), "-netdev",
                     "vhost-user,id=n%d,chardev=c%d,queues=%d" % (i, i, i + 1), "-device",
                     "e1000,netdev=n%d,addr=%d,mac=52:54:00:00:00:%02x" % (i, 4 + i, i + 1)]
        p = bed.machine(*args)
        t, q = p.qtest(), p.qmp()

        def connected(n):
            if not until(lambda: q.hmp("info network").count("(connected)") == n, 20):
                raise Failure("%d are not connected: %s" % (n, q.hmp("info network")))
        one, other = Card(t, 4), Card(t, 5, 1)
        connected(2)
        exchange(one, other)
    connected(0)
    for name in os.listdir(bed.dir):
        if name.startswith("ovs."):
            os.unlink(bed.path(name))
    with ovs.Switch(bed, ["port0"], ["port1"]):
        connected(2)
        exchange(one, other)


def test_vhost_user_when_options_are_wrong_then_one_line_names_them(bed):
    b = Backend(bed.path("vhost"))
    chardev = ("-chardev", "socket,id=c0,path=" + bed.path("vhost"), "-chardev", "null,id=c1")
    base = ("-M", "pc", "-accel", "qtest", "-nodefaults", "-display", "none") + chardev
    for spec, why in (("id=n", "chardev: missing"), ("id=n,chardev=c9", "chardev=c9"), ("id=n,chardev=c1", "not a socket"),
                      ("id=n,chardev=c0,queues=0", "queues=0"), ("id=n,chardev=c0,queues=17", "queues=17"),
                      ("id=n,chardev=c0,vhostforce=on,foo=1", "unknown parameter 'foo'"),
                      ("id=n,chardev=c0,vhostforce=x", "vhostforce=x")):
        expect_in(spec, why, bed.refused(*base, "-netdev", "vhost-user," + spec))
    base = base[:7]
    for spec, why in (("reconnect=1,server=on,wait=off", "reconnect"), ("reconnect=1,reconnect-ms=1", "reconnect=1"),
                      ("reconnect-ms=x", "reconnect-ms")):
        expect_in(spec, why, bed.refused(*base, "-chardev", "socket,id=c0,path=%s,%s" % (bed.path("x"), spec)))
    expect_in("nobody there", "/nobody", bed.refused(*base, "-chardev", "socket,id=c0,path=/nobody"))
    b.close()


main(globals())
