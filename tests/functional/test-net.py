#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Network back ends with real peers: a card driven over the device test protocol on one side, the
host's stack in a network namespace, a server on the host or another Keel on the other.
"""
import os
import shutil
import socket
import struct
import subprocess
import threading
import time

from card import BROADCAST, Card, Host, csum, ip4, serve_once, tftp_read, udp
from keel import Failure, expect, expect_in, main
from netns import Namespace, can_have_namespaces, sh

E1000 = "e1000,netdev=n0,id=c0,addr=4,mac=52:54:00:00:00:01"


def host(bed, *args, **kw):
    p = bed.machine(*args, "-device", E1000)
    return p, Host(p.qtest(), 4, **kw)


def free_port(kind=socket.SOCK_STREAM):
    s = socket.socket(socket.AF_INET, kind)
    s.bind(("127.0.0.1", 0))
    return s.getsockname()[1]


# ---- user ----

def test_net_user_when_guest_asks_then_dhcp_arp_and_echo_answer(bed):
    _, h = host(bed, "-netdev", "user,id=n0")
    lease = h.configure()
    expect("address", h.ip, "10.0.2.15")
    expect("mask", lease[1], b"\xff\xff\xff\0")
    expect("router", socket.inet_ntoa(lease[3]), "10.0.2.2")
    expect("name server", socket.inet_ntoa(lease[6]), "10.0.2.3")
    mac = h.resolve("10.0.2.2")
    expect("echo", h.ping(mac, "10.0.2.2"), True)
    expect("echo of 1400 bytes", h.ping(mac, "10.0.2.2", b"y" * 1400), True)


def test_net_user_when_options_are_given_then_dhcp_says_them(bed):
    _, h = host(bed, "-netdev", "user,id=n0,net=192.168.76.0/24,host=192.168.76.9,"
                "dhcpstart=192.168.76.50,dns=192.168.76.4,hostname=fred,domainname=example.org,"
                "dnssearch=a.example,dnssearch=b.example,bootfile=boot/me,tftp=%s" % bed.dir)
    lease = h.configure()
    expect("address", h.ip, "192.168.76.50")
    expect("router", socket.inet_ntoa(lease[3]), "192.168.76.9")
    expect("dns", socket.inet_ntoa(lease[6]), "192.168.76.4")
    expect("hostname", lease[12], b"fred")
    expect("domain", lease[15], b"example.org")
    expect("search", b"\1a\7example\0" in lease[119], True)
    expect("bootfile", lease["file"], b"boot/me")


def test_net_user_when_file_is_fetched_by_tftp_then_it_is_the_same(bed):
    data = os.urandom(5000)
    os.mkdir(bed.path("tftp"))
    bed.file("tftp/kernel", data)
    bed.file("secret", b"not for the guest")
    _, h = host(bed, "-netdev", "user,id=n0,tftp=" + bed.path("tftp"))
    h.configure()
    mac = h.resolve("10.0.2.2")
    expect("file", tftp_read(h, mac, "10.0.2.2", "kernel") == data, True)
    expect("absent", tftp_read(h, mac, "10.0.2.2", "none"), None)
    expect("outside", tftp_read(h, mac, "10.0.2.2", "../secret"), None)


def test_net_user_when_tftp_client_is_hostile_then_it_sees_nothing_outside(bed):
    """Ways out of the directory, requests cut anywhere, options that make no sense; then a file as ever."""
    os.mkdir(bed.path("tftp"))
    bed.file("tftp/kernel", b"for all")
    secret = bed.file("secret", b"not for the guest")
    p, h = host(bed, "-netdev", "user,id=n0,tftp=" + bed.path("tftp"))
    h.configure()
    mac = h.resolve("10.0.2.2")
    names = ["../secret", "/../secret", "a/../../secret", "./../secret", secret, "..//secret", "%2e%2e/secret",
             "..\\secret", "tftp/../../secret", "kernel/../../secret", "x" * 600, ".", "..", "/", ""]
    requests = [struct.pack("!H", 1) + n.encode() + b"\0octet\0" for n in names]
    whole = struct.pack("!H", 1) + b"kernel\0octet\0blksize\x00512\0tsize\x000\0"
    requests += [whole[:n] for n in range(len(whole))]
    requests += [struct.pack("!H", op) + b"../secret\0octet\0" for op in (0, 2, 3, 4, 5, 6, 65535)]
    requests += [b"\0\1kernel\0octet\0" + o for o in (
        b"blksize\x000\0", b"blksize\x00-1\0", b"blksize\x0099999999999\0", b"tsize\0x\0", b"blksize\0",
        b"timeout\x00255\0", b"\0" * 400, b"blksize\x008\0" * 40)]
    got = []
    for n, r in enumerate(requests):
        h.send_ip(mac, "10.0.2.2", 17, udp(3000 + n, 69, r))
        got += h.poll()
    time.sleep(0.3)
    got += h.poll()
    expect("requests that were answered", len(got) > len(names), True)
    expect("answers with the secret", [f for f in got if b"not for the guest" in f], [])
    expect("a file, after all that", tftp_read(h, mac, "10.0.2.2", "kernel"), b"for all")
    expect("it lives", p.qmp().cmd("query-status")["running"], True)


def test_net_user_when_dhcp_client_is_hostile_then_the_guest_keeps_its_address(bed):
    """Messages cut anywhere, options that run past the end, and more clients than there are addresses for."""
    p, h = host(bed, "-netdev", "user,id=n0")
    h.configure()
    head = struct.pack("!BBBBIHH", 1, 1, 6, 0, 1, 0, 0x8000) + bytes(16)
    after = bytes(10 + 192) + b"\x63\x82\x53\x63"

    def say(message):
        h.send(h.eth(BROADCAST, 0x800, ip4("0.0.0.0", "255.255.255.255", 17, udp(68, 67, message))))
    whole = head + b"\2\0\0\0\0\1" + after + b"\x35\1\1\xff"
    for n in range(0, len(whole), 3):
        say(whole[:n])
    for options in (b"\x35", b"\x35\xff\1", b"\x35\0\xff", b"\x35\1\1\x32\xff\1", b"\x32\4\1\1\1\1", b"\0" * 300,
                    b"\x35\1\3\x32\4\x0a\0\2\2\xff", b"\x35\1\1" * 100, b"\x35\1\x63\xff", b"\x0c\xff" + b"h" * 255):
        say(head + b"\2\0\0\0\0\2" + after + options)
    for n in range(500):
        say(head + struct.pack("!HI", 0x0200, 100 + n) + after + b"\x35\1\1\xff")
        if n % 8 == 0:
            h.poll()
    time.sleep(0.2)
    while h.poll():
        pass
    h.ip = None
    h.configure()
    expect("address", h.ip, "10.0.2.15")
    expect("echo", h.ping(h.resolve("10.0.2.2"), "10.0.2.2"), True)
    expect("it lives", p.qmp().cmd("query-status")["running"], True)


def ask(port, data, out):
    s = socket.create_connection(("127.0.0.1", port), 10)
    s.settimeout(60)
    s.sendall(data)
    got = b""
    while True:
        more = s.recv(4096)
        if not more:
            break
        got += more
    out.append(got)


def forwarded(h, port, guest_port):
    out = []
    t = threading.Thread(target=ask, args=(port, b"hello guest", out))
    t.start()
    expect("at the guest", h.tcp_echo_once(guest_port), b"hello guest")
    for _ in range(100):
        h.seen = h.poll()
        for f in h.seen:
            h.answer(f)
        h.seen = []
        if out:
            break
        time.sleep(0.01)
    t.join(10)
    expect("back at the host", out, [b"hello guest"])


def test_net_user_when_port_is_forwarded_then_host_reaches_the_guest(bed):
    port, later = free_port(), free_port()
    p, h = host(bed, "-netdev", "user,id=n0,hostfwd=tcp:127.0.0.1:%d-:7" % port)
    h.configure()
    forwarded(h, port, 7)
    q = p.qmp()
    q.hmp("hostfwd_add tcp:127.0.0.1:%d-:8" % later)
    forwarded(h, later, 8)
    expect_in("shown", "TCP[HOST_FORWARD]",
              q.hmp("info usernet"))
    expect_in("removed", "removed", q.hmp("hostfwd_remove n0 tcp:127.0.0.1:%d" % later))
    end = time.time() + 60  # once the library's thread looks up from its poll
    while True:
        try:
            socket.create_connection(("127.0.0.1", later), 1).close()
        except ConnectionRefusedError:
            break
        if time.time() > end:
            raise Failure("still forwarded")
        time.sleep(0.01)


def host_server():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(4)
    seen = []
    threading.Thread(target=serve_once, args=(listener, seen), daemon=True).start()
    return listener.getsockname()[1], seen


def test_net_user_when_guest_connects_then_it_reaches_the_host(bed):
    port, seen = host_server()
    _, h = host(bed, "-netdev", "user,id=n0")
    h.configure()
    mac = h.resolve("10.0.2.2")
    expect("answer", h.tcp_fetch(mac, "10.0.2.2", port, b"GET"), b"from the host")
    expect("request", seen, [b"GET"])


def test_net_user_when_restricted_then_it_does_not(bed):
    port, seen = host_server()
    _, h = host(bed, "-netdev", "user,id=n0,restrict=on")
    h.configure()
    mac = h.resolve("10.0.2.2")
    try:
        h.tcp_fetch(mac, "10.0.2.2", port, b"GET")
    except Failure:
        expect("nothing came", seen, [])
        return
    raise Failure("the host was reached")


def test_net_user_when_guest_forward_is_given_then_it_leads_there(bed):
    port, seen = host_server()
    path = bed.path("unix")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1)
    seen_unix = []
    threading.Thread(target=serve_once, args=(listener, seen_unix), daemon=True).start()
    _, h = host(bed, "-netdev", "user,id=n0,restrict=on,guestfwd=tcp:10.0.2.100:80-tcp:127.0.0.1:%d,"
                "guestfwd=tcp:10.0.2.101:81-unix:%s,guestfwd=tcp:10.0.2.102:82-cmd:echo hi" %
                (port, path))
    h.configure()
    for n, want, took in ((100, b"from the host", seen), (101, b"from the host", seen_unix),
                          (102, b"hi\n", None)):
        mac = h.resolve("10.0.2.%d" % n)
        out = b""
        h.tcp(mac, "10.0.2.%d" % n, 5000 + n, n - 20, 100, 0, 2)
        _, seq, _, flags, _ = h.tcp_frame(5000 + n)
        expect("accepted", flags & 0x12, 0x12)
        h.tcp(mac, "10.0.2.%d" % n, 5000 + n, n - 20, 101, seq + 1, 0x18, b"GET")
        while not out:
            out = h.tcp_frame(5000 + n)[4]
        expect("answer", out, want)
        if took is not None:
            expect("request", took, [b"GET"])


def test_net_user_when_port_is_taken_then_it_is_named(bed):
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen(1)
    port = s.getsockname()[1]
    line = bed.refused("-machine", "pc", "-accel", "qtest", "-display", "none", "-nodefaults",
                       "-netdev", "user,id=n0,hostfwd=tcp:127.0.0.1:%d-:22" % port)
    expect_in("port", "port %d: Address already in use" % port, line)


def test_net_when_options_are_wrong_then_one_line_names_them(bed):
    base = ("-machine", "pc", "-accel", "qtest", "-display", "none", "-nodefaults")
    for spec, what in (
            ("user", "id: missing"), ("user,id=n,frob=1", "'frob'"), ("type=frob,id=n", "frob"),
            ("user,id=n,net=1.2.3.4/33", "net=1.2.3.4/33"), ("user,id=n,net=x", "net=x"),
            ("user,id=n,host=1.2.3.4", "host=1.2.3.4"), ("user,id=n,dns=frob", "dns=frob"),
            ("user,id=n,dhcpstart=9.9.9.9", "dhcpstart=9.9.9.9"), ("user,id=n,smb=/none", "smb=/none"),
            ("user,id=n,smb=/,smbserver=9.9.9.9", "smbserver=9.9.9.9"),
            ("user,id=n,smbserver=10.0.2.4", "smbserver: without smb="),
            ("user,id=n,tftp=/none", "tftp=/none"), ("user,id=n,hostfwd=tcp::x-:1", "hostfwd"),
            ("user,id=n,hostfwd=sctp::1-:1", "hostfwd"), ("user,id=n,guestfwd=x", "guestfwd"),
            ("user,id=n,guestfwd=tcp:10.0.2.9:80-frob:x", "behind the dash"),
            ("user,id=n,guestfwd=tcp:10.0.2.9:80-tcp:x", "tcp:HOST:PORT is expected"),
            ("user,id=n,guestfwd=tcp:10.0.2.9:80-tcp:127.0.0.1:1", "tcp:127.0.0.1:1: Connection refused"),
            ("user,id=n,guestfwd=tcp:9.9.9.9:80-cmd:x", "not an address of the user network"),
            ("user,id=n,ipv4=off,ipv6=off", "ipv4"), ("user,id=n,ipv6-net=zz", "ipv6-net=zz"),
            ("tap,id=n,ifname=%s" % ("x" * 20), "longer than 15"), ("tap,id=n,fd=77", "fd=77"),
            ("tap,id=n,vhost=on", "no vhost-net"), ("tap,id=n,queues=0", "queues=0"),
            ("tap,id=n,queues=17", "queues=17"), ("tap,id=n,fds=1:x", "fds=1:x"),
            ("tap,id=n,fd=1:2", "fd=1:2"), ("tap,id=n,fds=0:1,queues=2", "not together"),
            ("tap,id=n,vhostfd=3", "vhostfd"), ("tap,id=n,ifname=lo", "ifname=lo"),
            ("tap,id=n,fd=0,ifname=x", "not together"),
            ("socket,id=n", "one of"), ("socket,id=n,listen=x", "listen=x"),
            ("socket,id=n,connect=127.0.0.1:1", "refused"),
            ("socket,id=n,listen=:1,connect=:2", "not together"), ("socket,id=n,udp=:1", "localaddr"),
            ("stream,id=n", "addr.type"), ("stream,id=n,addr.type=inet", "addr.port"),
            ("stream,id=n,addr.type=unix,addr.path=/none/x", "/none/x"),
            ("stream,id=n,addr.type=unix,addr.path=%s" % ("x" * 200), "path=: a socket's path has 1 to 107"),
            ("stream,id=n,server=on,reconnect=1,addr.type=inet,addr.port=0", "reconnect"),
            ("dgram,id=n", "local.type"), ("dgram,id=n,local.type=x", "local.type=x"),
            ("hubport,id=n", "hubid"), ("hubport,id=n,hubid=0,netdev=x", "netdev=x"),
            ("vhost-vdpa,id=n", "does not have it yet"), ("l2tpv3,id=n", "does not have it yet")):
        expect_in(spec, what, bed.refused(*base, "-netdev", spec))
    expect_in("twice", "used twice", bed.refused(*base, "-netdev", "user,id=n", "-netdev", "user,id=n"))
    expect_in("smb", "-runas", bed.refused(*base, "-netdev", "user,id=n,smb=/", "-runas", "nobody"))
    expect_in("mac", "mac=1:2", bed.refused(*base, "-device", "e1000,mac=1:2"))
    expect_in("netdev", "no -netdev", bed.refused(*base, "-device", "e1000,netdev=x"))
    expect_in("in use", "in use", bed.refused(*base, "-netdev", "user,id=n", "-device",
                                              "e1000,netdev=n", "-device", "rtl8139,netdev=n"))
    expect_in("model", "unknown device", bed.refused(*base, "-nic", "user,model=frob"))
    expect_in("rom", "romfile=/none", bed.refused(*base, "-device", "e1000,romfile=/none"))
    expect_in("object", "file: missing", bed.refused(*base, "-netdev", "user,id=n", "-object",
                                                     "filter-dump,id=f,netdev=n"))
    user = (*base, "-netdev", "user,id=n", "-object")
    for spec, what in (("filter-mirror,id=f,netdev=n", "outdev: missing"),
                       ("filter-mirror,id=f,netdev=n,outdev=x", "outdev=x: no -chardev"),
                       ("filter-redirector,id=f,netdev=n", "indev= or outdev="),
                       ("filter-buffer,id=f,netdev=n", "interval"),
                       ("filter-buffer,id=f,netdev=n,interval=x", "interval=x"),
                       ("filter-buffer,id=f,netdev=n,interval=1,frob=1", "frob"),
                       ("filter-dump,id=f,netdev=n,file=/none/x", "/none/x"),
                       ("filter-dump,id=f,netdev=n,file=x,queue=y", "queue=y"),
                       ("filter-rewriter,id=f,netdev=n", "does not have it yet")):
        expect_in(spec, what, bed.refused(*user, spec))
    expect_in("object", "no -netdev", bed.refused(*base, "-object", "filter-dump,id=f,netdev=x,file=y"))


# ---- the monitor ----

def test_net_monitor_when_asked_then_it_tells_and_changes(bed):
    p = bed.machine("-netdev", "user,id=n0", "-device", E1000, "-device",
                    "rtl8139,id=c1,addr=5,mac=52:54:00:00:00:02")
    q, h = p.qmp(), Host(p.qtest(), 4)

    hmp = q.hmp
    text = hmp("info network")
    expect_in("card", "c0: index=0,type=nic,model=e1000,macaddr=52:54:00:00:00:01", text)
    expect_in("back end", "n0: index=0,type=user,net=10.0.2.0,restrict=off", text)
    expect_in("without", "c1: index=0,type=nic,model=rtl8139", text)
    rx = q.cmd("query-rx-filter", name="c0")[0]
    expect("filter", (rx["main-mac"], rx["promiscuous"], rx["broadcast-allowed"]),
           ("52:54:00:00:00:01", True, True))
    expect("both", len(q.cmd("query-rx-filter")), 2)
    q.cmd("set_link", name="c0", up=False)
    expect("down", h.rd(8) & 2, 0)
    expect_in("told", "link=down", hmp("info network"))
    expect("up", hmp("set_link n0 on"), "")
    expect_in("unknown", "not found", hmp("set_link zz on"))
    expect("add", q.cmd("netdev_add", type="stream", id="n1", server=True,
                        addr={"type": "unix", "path": bed.path("net")}), {})
    expect("there", os.path.exists(bed.path("net")), True)
    expect("add", q.cmd("netdev_add", type="user", id="n2", hostfwd=[
        {"str": "tcp:127.0.0.1:%d-:1" % free_port()}]), {})
    expect_in("listed", "n1: index=0,type=stream", hmp("info network"))
    q.cmd("netdev_del", id="n1")
    expect("gone", os.path.exists(bed.path("net")), False)
    expect("in use", q.error("netdev_del", id="n0")[1], "Device 'n0' is in use")
    expect("class", q.error("netdev_del", id="zz")[0], "DeviceNotFound")
    expect_in("bad", "frob", q.error("netdev_add", type="frob", id="n3")[1])
    expect_in("twice", "used twice", hmp("netdev_add user,id=n0"))


# ---- tap ----

def test_net_tap_when_host_pings_then_the_guest_answers(bed):
    if not can_have_namespaces():
        return
    for model in ("vnet_hdr=on", "vnet_hdr=off", "queues=4"):
        with Namespace("tap") as ns:
            name = "kt%d" % os.getpid()
            bed2 = type(bed)(bed.keel)
            p = bed2.machine("-netdev", "tap,id=n0,ifname=%s,script=no,downscript=no,%s" %
                             (name, model), "-device", E1000)
            h = Host(p.qtest(), 4, ip="10.9.0.2")
            ns.adopt(name, "10.9.0.1/24")
            ping = ns.start("busybox", "ping", "-c", "3", "-i", "0.1", "-s", "1400", "10.9.0.2")
            while ping.poll() is None:
                for f in h.poll():
                    h.answer(f)
                time.sleep(0.005)
            expect_in("ping", "3 packets received", ping.stdout.read())
            mac = h.resolve("10.9.0.1")
            expect("other way", h.ping(mac, "10.9.0.1"), True)
            bed2.close()


def test_net_tap_when_descriptor_is_passed_then_it_is_used(bed):
    if not can_have_namespaces():
        return
    import fcntl
    with Namespace("fd") as ns:
        fd = os.open("/dev/net/tun", os.O_RDWR)
        name = "kf%d" % os.getpid()
        fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH22x", name.encode(), 0x1002 | 0x4000))
        p = bed.machine("-netdev", "tap,id=n0,fd=%d" % fd, "-device", E1000, pass_fds=(fd,))
        h = Host(p.qtest(), 4, ip="10.9.0.2")
        ns.adopt(name, "10.9.0.1/24")
        expect("ping", h.ping(h.resolve("10.9.0.1"), "10.9.0.1"), True)
        os.close(fd)


def test_net_tap_when_descriptors_of_queues_are_passed_then_they_are_used(bed):
    if not can_have_namespaces():
        return
    import fcntl
    name = "kq%d" % os.getpid()
    fds = [os.open("/dev/net/tun", os.O_RDWR) for _ in range(3)]
    for fd, what, flags in zip(fds, (name, name, name + "x"), (0x5102, 0x5102, 0x5002)):
        fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH22x", what.encode(), flags))
    base = ("-machine", "pc", "-accel", "qtest", "-display", "none", "-nodefaults", "-netdev")
    line = bed.refused(*base, "tap,id=n,fds=%d:%d" % (fds[0], fds[2]), pass_fds=fds)
    expect_in("of another", "%d is of %sx" % (fds[2], name), line)
    line = bed.refused(*base, "tap,id=n,fds=%d:%d" % (fds[2], fds[2]), pass_fds=fds)
    expect_in("of one queue", "one queue only", line)
    line = bed.refused(*base, "tap,id=n,queues=2,ifname=%sx" % name, pass_fds=fds)
    expect_in("of one queue", "ifname=%sx" % name, line)
    with Namespace("fds") as ns:
        p = bed.machine("-netdev", "tap,id=n0,fds=%d:%d" % tuple(fds[:2]), "-device", E1000,
                        pass_fds=fds)
        h = Host(p.qtest(), 4, ip="10.9.0.2")
        ns.adopt(name, "10.9.0.1/24")
        expect("ping", h.ping(h.resolve("10.9.0.1"), "10.9.0.1"), True)
    for fd in fds:
        os.close(fd)


def test_net_tap_when_user_has_no_rights_then_it_is_said(bed):
    if not can_have_namespaces() or not shutil.which("setpriv"):
        return
    bed.file("keel", b'#!/bin/sh\nexec setpriv --reuid 65534 --clear-groups --bounding-set=-all '
             b'--inh-caps=-all %s "$@"\n' % bed.keel.encode())
    os.chmod(bed.path("keel"), 0o755)
    os.chmod(bed.dir, 0o755)
    bed.keel = bed.path("keel")
    line = bed.refused("-machine", "pc", "-accel", "qtest", "-display", "none", "-nodefaults",
                       "-netdev", "tap,id=n,ifname=kn%d" % os.getpid())
    expect_in("named", "ifname=kn%d: Operation not permitted" % os.getpid(), line)


def test_net_tap_when_scripts_are_given_then_they_run(bed):
    if not can_have_namespaces():
        return
    for which in ("up", "down"):
        bed.file(which, b"#!/bin/sh\necho $1 > %s\n" % bed.path("said-" + which).encode())
        os.chmod(bed.path(which), 0o755)
    name = "ks%d" % os.getpid()
    p = bed.machine("-netdev", "tap,id=n0,ifname=%s,script=%s,downscript=%s" %
                    (name, bed.path("up"), bed.path("down")), "-device", E1000)
    p.qmp().cmd("quit")
    p.wait()
    for which in ("up", "down"):
        with open(bed.path("said-" + which)) as f:
            expect(which, f.read(), name + "\n")
    bed.file("bad", b"#!/bin/sh\nexit 3\n")
    os.chmod(bed.path("bad"), 0o755)
    expect_in("failing", "failed with status 3",
              bed.refused("-machine", "pc", "-accel", "qtest", "-display", "none", "-netdev",
                          "tap,id=n0,script=%s,downscript=no" % bed.path("bad")))


def test_net_tap_when_libxl_writes_it_then_the_card_is_there(bed):
    if not can_have_namespaces():
        return
    name = "vif%d.0-emu" % (os.getpid() % 100000)
    p = bed.machine("-device", "rtl8139,id=nic0,netdev=net0,mac=00:16:3e:49:82:5a", "-netdev",
                    "type=tap,id=net0,ifname=%s,br=nobridge0,script=no,downscript=no" % name)
    expect_in("card", "nic0: index=0,type=nic,model=rtl8139,macaddr=00:16:3e:49:82:5a",
              p.qmp().hmp("info network"))
    expect_in("interface", name, sh("ip", "link", "show", name))


# ---- guest to guest ----

def second(bed, *args):
    """Another Keel, in a place of its own."""
    other = type(bed)(bed.keel)
    p = other.machine(*args, "-device", E1000.replace("00:01", "00:02"))
    return other, p


def frame(card, text):
    return card.eth(BROADCAST, 0x88b5, text.ljust(50, b"."))


def talk(a, b):
    for n in range(3):
        for one, two in ((a, b), (b, a)):
            f = frame(one, b"%d from %s" % (n, one.mac.hex().encode()))
            one.send(f)
            two.wait(lambda got, f=f: got == f)
    big = a.eth(BROADCAST, 0x88b5, os.urandom(1500))
    a.send(big)
    b.wait(lambda got: got == big)


def pair(bed, one, two):
    a = Card(bed.machine("-netdev", one, "-device", E1000).qtest(), 4)
    other, p = second(bed, "-netdev", two)
    try:
        b = Card(p.qtest(), 4)
        end = time.time() + 60  # until both ends are connected
        while time.time() < end:
            b.send(frame(b, b"anybody"))
            time.sleep(0.02)
            if a.poll():
                break
        talk(a, b)
    finally:
        other.close()


def test_net_socket_when_tcp_connects_then_guests_talk(bed):
    port = free_port()
    pair(bed, "socket,id=n0,listen=127.0.0.1:%d" % port, "socket,id=n0,connect=127.0.0.1:%d" % port)


def test_net_socket_when_udp_then_guests_talk(bed):
    a, b = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
    pair(bed, "socket,id=n0,udp=127.0.0.1:%d,localaddr=127.0.0.1:%d" % (a, b),
         "socket,id=n0,udp=127.0.0.1:%d,localaddr=127.0.0.1:%d" % (b, a))


def test_net_socket_when_multicast_then_guests_talk(bed):
    spec = "socket,id=n0,mcast=230.0.0.1:%d,localaddr=127.0.0.1" % free_port(socket.SOCK_DGRAM)
    pair(bed, spec, spec)


def test_net_stream_when_unix_then_guests_talk(bed):
    spec = "stream,id=n0,addr.type=unix,addr.path=" + bed.path("wire")
    pair(bed, spec + ",server=on", spec)


def test_net_stream_when_abstract_then_guests_talk(bed):
    spec = "stream,id=n0,addr.type=unix,addr.abstract=on,addr.path=keel%d" % os.getpid()
    pair(bed, spec + ",server=on", spec)


def test_net_stream_when_server_comes_later_then_client_finds_it(bed):
    port = free_port()
    client = "stream,id=n0,addr.type=inet,addr.host=127.0.0.1,addr.port=%d,reconnect-ms=50" % port
    pair(bed, client, client.replace(",reconnect-ms=50", ",server=on"))


def test_net_unix_when_path_is_another_file_then_it_is_refused_and_stays(bed):
    path = bed.file("precious", b"precious")
    base = ("-M", "pc", "-accel", "qtest", "-nodefaults", "-display", "none")
    for spec in ("stream,id=n,server=on,addr.type=unix,addr.path=" + path, "dgram,id=n,local.type=unix,local.path=%s,"
                 "remote.type=unix,remote.path=%s" % (path, bed.path("other"))):
        expect_in(spec, path + ": Address already in use", bed.refused(*base, "-netdev", spec))
        with open(path, "rb") as f:
            expect("the file", f.read(), b"precious")


def test_net_dgram_when_unix_then_guests_talk(bed):
    a, b = bed.path("a"), bed.path("b")
    spec = "dgram,id=n0,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s"
    pair(bed, spec % (a, b), spec % (b, a))


def test_net_dgram_when_udp_then_guests_talk(bed):
    a, b = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
    spec = "dgram,id=n0,local.type=inet,local.host=127.0.0.1,local.port=%d,remote.type=inet," \
           "remote.host=127.0.0.1,remote.port=%d"
    pair(bed, spec % (a, b), spec % (b, a))


def test_net_dgram_when_multicast_then_guests_talk(bed):
    spec = "dgram,id=n0,remote.type=inet,remote.host=230.0.0.1,remote.port=%d,local.type=inet," \
           "local.host=127.0.0.1,local.port=0" % free_port(socket.SOCK_DGRAM)
    pair(bed, spec, spec)


def test_net_socket_when_descriptors_are_passed_then_guests_talk(bed):
    for kind, spec in ((socket.SOCK_STREAM, "socket,id=n0,fd=%d"),
                       (socket.SOCK_STREAM, "stream,id=n0,addr.type=fd,addr.str=%d")):
        one, two = socket.socketpair(socket.AF_UNIX, kind)
        beds = type(bed)(bed.keel), type(bed)(bed.keel)
        cards = [Card(b.machine("-netdev", spec % s.fileno(), "-device",
                                E1000.replace("00:01", "00:0%d" % (n + 1)),
                                pass_fds=(s.fileno(),)).qtest(), 4)
                 for n, (b, s) in enumerate(zip(beds, (one, two)))]
        one.close()
        two.close()
        talk(*cards)
        for b in beds:
            b.close()


def switches(pid, name):
    """How often the thread of that name gave up the processor by itself."""
    for t in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/status" % (pid, t)) as f:
            lines = f.read().splitlines()
        if lines[0].split()[1] == name:
            return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary"))
    raise Failure("no thread " + name)


def test_net_user_when_asked_briefly_then_the_answer_is_there_and_its_thread_sleeps_on(bed):
    p, h = host(bed, "-netdev", "user,id=n0")
    h.configure()
    mac = h.resolve("10.0.2.2")
    time.sleep(1.2)  # the library's own first timers
    before = switches(p.proc.pid, "net-user")
    for i in range(50):
        icmp = struct.pack("!BBHHH", 8, 0, 0, i, 1) + b"y" * 56
        h.send_ip(mac, "10.0.2.2", 1, icmp[:2] + struct.pack("!H", csum(icmp)) + icmp[4:])
        expect("answers behind the register write", [f[34] for f in h.poll() if f[23] == 1], [0])
    expect("wake-ups of net-user", switches(p.proc.pid, "net-user") - before <= 2, True)


def test_net_idle_when_nothing_passes_then_nothing_wakes(bed):
    p = bed.machine("-netdev", "user,id=n0", "-netdev",
                    "stream,id=n1,server=on,addr.type=unix,addr.path=" + bed.path("wire"), "-device",
                    E1000, "-device", "rtl8139,netdev=n1,addr=5")
    Host(p.qtest(), 4).configure()

    def wakes():
        n = 0
        for t in os.listdir("/proc/%d/task" % p.proc.pid):
            with open("/proc/%d/task/%s/status" % (p.proc.pid, t)) as f:
                n += sum(int(line.split()[1]) for line in f if line.startswith("voluntary"))
        return n
    time.sleep(1.2)  # the library's own first timers
    before = wakes()
    time.sleep(1)
    expect("wake-ups in a second", wakes() - before <= 1, True)


def test_net_hub_when_two_cards_are_on_it_then_they_talk(bed):
    p = bed.machine("-netdev", "hubport,hubid=1,id=h0", "-netdev", "hubport,hubid=1,id=h1",
                    "-device", "e1000,netdev=h0,addr=4", "-device", "e1000,netdev=h1,addr=5")
    t = p.qtest()
    a, b = Card(t, 4), Card(t, 5, at=1)
    expect("addresses", (a.mac.hex(), b.mac.hex()), ("525400123456", "525400123457"))
    talk(a, b)


def test_net_nic_and_net_when_given_then_card_and_back_end_are_there(bed):
    p = bed.machine("-nic", "user,model=e1000,mac=52:54:00:00:00:07")
    h = Host(p.qtest(), 2)
    expect("mac", h.mac.hex(), "525400000007")
    h.configure()
    other = type(bed)(bed.keel)
    h = Host(other.machine("-net", "nic,model=e1000", "-net", "user").qtest(), 2)
    h.configure()
    expect("address", h.ip, "10.0.2.15")
    other.close()


# ---- hostile peers ----

def test_net_stream_when_peer_is_hostile_then_it_is_cut_off_and_the_next_one_served(bed):
    path = bed.path("wire")
    a = Card(bed.machine("-netdev", "stream,id=n0,server=on,addr.type=unix,addr.path=" + path,
                         "-device", E1000).qtest(), 4)
    for bad in (b"\xff\xff\xff\xff", b"\0\1\0\x20" + bytes(70000), b"\0\0\0\0" * 1000,
                b"\0\0\0\x05abcde" * 10, os.urandom(200000)):
        s = socket.socket(socket.AF_UNIX)
        s.connect(path)
        s.settimeout(60)
        try:
            s.sendall(bad)
        except OSError:
            pass
        s.close()
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    s.settimeout(60)
    f = BROADCAST + bytes(6) + b"\x88\xb5" + b"q" * 50
    for piece in (b"\0\0", b"\0" + bytes([len(f)]) + f[:10], f[10:], struct.pack("!I", 64) + f):
        s.sendall(piece)  # in pieces, as streams come
        time.sleep(0.02)
    a.wait(lambda got: got == f)
    a.wait(lambda got: got == f)
    a.send(f)
    expect("back", s.recv(68), struct.pack("!I", 64) + f)


def test_net_stream_when_peer_does_not_read_then_memory_is_bounded(bed):
    path = bed.path("wire")
    p = bed.machine("-netdev", "stream,id=n0,server=on,addr.type=unix,addr.path=" + path,
                    "-device", E1000)
    a = Card(p.qtest(), 4)
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    time.sleep(0.1)

    def rss():
        with open("/proc/%d/statm" % p.proc.pid) as f:
            return int(f.read().split()[1]) * 4096
    f = a.eth(BROADCAST, 0x88b5, b"z" * 1500)
    before = rss()
    for _ in range(1500):
        a.send(f)
    expect("bounded", rss() - before < 4 << 20, True)
    expect("stopped", a.rd(0x3810) != a.rd(0x3818), True)
    s.settimeout(60)
    got = 0
    while a.rd(0x3810) != a.rd(0x3818):  # the card goes on as it is drained
        got += len(s.recv(1 << 20))
    expect("came", got > 100000, True)


# ---- filters ----

def on_stream(path):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    s.settimeout(60)
    return s


def take_frame(s, vnet=False):
    data = b""
    while len(data) < (8 if vnet else 4):
        data += s.recv((8 if vnet else 4) - len(data))
    n, head = struct.unpack("!I", data[:4])[0], data[4:]
    out = b""
    while len(out) < n:
        out += s.recv(n - len(out))
    return (out, struct.unpack("!I", head)[0]) if vnet else out


def wire(bed, *args):
    """A card whose back end is a socket in the test's hands."""
    p = bed.machine("-netdev", "stream,id=n0,server=on,addr.type=unix,addr.path=" + bed.path("wire"),
                    *args, "-device", E1000)
    return p, Card(p.qtest(), 4), on_stream(bed.path("wire"))


def chardev(bed, name):
    return "socket,id=%s,path=%s,server=on,wait=off" % (name, bed.path(name))


def test_net_mirror_when_frames_pass_then_a_stream_has_them_too(bed):
    _, card, peer = wire(bed, "-chardev", chardev(bed, "a"), "-chardev", chardev(bed, "b"), "-object",
                         "filter-mirror,id=f,netdev=n0,outdev=a", "-object",
                         "filter-mirror,id=g,netdev=n0,outdev=b,queue=tx,vnet_hdr_support=on")
    a, b = on_stream(bed.path("a")), on_stream(bed.path("b"))
    time.sleep(0.1)
    sent, came = frame(card, b"sent"), BROADCAST + bytes(6) + b"\x88\xb5" + b"r" * 50
    card.send(sent)
    expect("peer", take_frame(peer), sent)
    expect("mirror", take_frame(a), sent)
    peer.sendall(struct.pack("!I", len(came)) + came)
    card.wait(lambda f: f == came)
    expect("mirror", take_frame(a), came)
    expect("of one direction", take_frame(b, True), (came, 0))


def test_net_redirector_when_streams_are_given_then_frames_go_through_them(bed):
    _, card, peer = wire(bed, "-chardev", chardev(bed, "a"), "-chardev", chardev(bed, "b"), "-object",
                         "filter-redirector,id=f,netdev=n0,outdev=a,queue=rx", "-object",
                         "filter-redirector,id=g,netdev=n0,indev=b,queue=rx")
    a, b = on_stream(bed.path("a")), on_stream(bed.path("b"))
    time.sleep(0.1)
    # g is next to the card, f to the back end: what comes from b passes f
    sent = frame(card, b"sent")
    card.send(sent)
    expect("redirected", take_frame(a), sent)
    empty = struct.pack("!I", 0)  # a frame without bytes is for nobody
    for piece in (empty, empty + b"\0\0", struct.pack("!I", 64)[2:] + b"x" * 10, b"x" * 54):
        b.sendall(piece)
        time.sleep(0.02)
    expect("injected", take_frame(a), b"x" * 64)
    peer.setblocking(False)
    try:
        raise Failure("the back end got %r" % peer.recv(100))
    except BlockingIOError:
        pass
    b.sendall(b"\xff" * 100)  # no frame: nothing more is read, the next peer starts anew
    b.close()
    b = on_stream(bed.path("b"))
    time.sleep(0.1)
    b.sendall(struct.pack("!I", 60) + b"y" * 60)
    expect("again", take_frame(a), b"y" * 60)


def test_net_redirector_when_guest_is_the_target_then_it_gets_them(bed):
    _, card, _ = wire(bed, "-chardev", chardev(bed, "b"), "-object",
                      "filter-redirector,id=g,netdev=n0,indev=b,queue=tx,vnet_hdr_support=on")
    b = on_stream(bed.path("b"))
    f = BROADCAST + bytes(6) + b"\x88\xb5" + b"i" * 50
    b.sendall(struct.pack("!II", len(f) + 10, 10) + bytes(10) + f)
    card.wait(lambda got: got == f)


def test_net_buffer_when_interval_is_given_then_frames_come_late_and_in_order(bed):
    _, card, peer = wire(bed, "-object", "filter-buffer,id=f,netdev=n0,interval=300000")
    start = time.time()
    for n in range(3):
        card.send(frame(card, b"%d" % n))
    for n in range(3):
        expect("in order", take_frame(peer), frame(card, b"%d" % n))
    late = time.time() - start
    expect("late", late > 0.28, True)
    f = BROADCAST + bytes(6) + b"\x88\xb5" + b"i" * 50
    peer.sendall(struct.pack("!I", len(f)) + f)
    card.wait(lambda got: got == f)


# ---- capture, recording ----

def test_net_dump_when_frames_pass_then_they_are_in_the_file(bed):
    path = bed.path("x.pcap")
    p = bed.machine("-netdev", "user,id=n0", "-object", "filter-dump,id=f0,netdev=n0,file=%s,maxlen=100"
                    % path, "-device", E1000)
    h = Host(p.qtest(), 4)
    h.configure()
    with open(path, "rb") as f:
        data = f.read()
    expect("header", struct.unpack("<IHHIIII", data[:24]), (0xa1b2c3d4, 2, 4, 0, 0, 100, 1))
    at, n = 24, 0
    while at < len(data):
        sec, usec, kept, size = struct.unpack("<IIII", data[at:at + 16])
        expect("time", abs(sec - time.time()) < 60 and usec < 1000000, True)
        expect("kept", kept, min(size, 100))
        at, n = at + 16 + kept, n + 1
    expect("frames", n >= 4, True)


def test_net_record_when_replayed_then_every_frame_is_the_same(bed):
    trace = bed.path("t.ktr")
    p = bed.machine("-netdev", "user,id=n0", "-keel-record", trace, "-device", E1000)
    h = Host(p.qtest(), 4)
    h.configure()
    h.ping(h.resolve("10.0.2.2"), "10.0.2.2", b"r" * 1000)
    q = p.qmp()
    q.cmd("set_link", name="c0", up=False)
    h.send(frame(h, b"into nothing"))
    q.cmd("set_link", name="c0", up=True)
    q.cmd("quit")
    p.wait()
    tool = os.path.join(os.path.dirname(os.path.dirname(bed.keel)), "tools", "keel-trace")
    r = subprocess.run([tool, "replay", trace], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True)
    expect("replay: " + r.stdout[-300:], r.returncode, 0)


if __name__ == "__main__":
    main(globals())
