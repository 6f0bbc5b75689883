# SPDX-License-Identifier: MIT
"""vkbd in a whole Keel under fake Xen: keys that QMP presses arrive on the PV keyboard's page."""
import os
import struct

from xen_fake import Guest, expect, main, until
from xen_keel import Keel, recording

PAGE, FRAME = 4096, 0x100
EVENT, RING = 40, 1024


def test_xen_input_takes_keys_while_the_guests_driver_is_connected(build):
    with Guest(build, ram=56 << 20) as g:
        for name in ("pv-events", "pv-notify"):
            os.mkfifo(g.dir + "/" + name)
        with open(g.dir + "/grants", "wb") as f:
            for ref in range(512):
                f.write(struct.pack("<Q", ref << 2 | 1 if ref == FRAME else 0))
        back, front = "/local/domain/0/backend/vkbd/%d/0/" % g.domid, "/local/domain/%d/device/vkbd/0/" % g.domid
        for path, value in ((front + "state", "1"), (back + "frontend", front[:-1]), (back + "online", "1"),
                            (back + "state", "1")):
            g.store(path, value)
        k = Keel(build, g, recording("a-minimal"))
        until("the offer", lambda: g.store(back + "state") == "2")
        g.memwrite(FRAME * PAGE, bytes(PAGE))
        for name, value in (("page-gref", FRAME), ("event-channel", 64), ("state", 4)):
            g.store(front + name, str(value))
        until("the connection", lambda: g.store(back + "state") == "4")
        with k.qmp() as q:
            q("send-key", keys=[{"type": "qcode", "data": "x"}])
            q("input-send-event", events=[{"type": "rel", "data": {"axis": "x", "value": 3}}])
        until("the events", lambda: struct.unpack("<I", g.memread(FRAME * PAGE + 4, 4))[0] == 3)
        page = g.memread(FRAME * PAGE, PAGE)
        got = [struct.unpack_from("<BBxxI", page, RING + i * EVENT) for i in range(3)]
        expect("events", got, [(3, 1, 45), (3, 0, 45), (1, 0, 3)])
        expect("exit status", k.hangup(), 0)


main(globals())
