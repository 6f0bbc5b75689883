# SPDX-License-Identifier: MIT
"""Open vSwitch, which has DPDK's vhost-user ports, as the switch between guests: programs, data base and sockets
of a test's own. No huge pages, no network card; its threads sleep while nothing passes.
"""
import os
import subprocess
import time

from keel import Failure, run_tool
from netns import can_have_namespaces

VSWITCHD = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"


def is_there():
    if can_have_namespaces() and os.path.exists(VSWITCHD):
        return True
    print("# skipped: needs root and openvswitch-switch-dpdk")
    return False


class Switch:
    """`listening`: ports that are sockets named so in the bed. `calling`: those that connect to such sockets."""

    def __init__(self, bed, listening=(), calling=(), large=False):
        self.bed, self.daemons = bed, []
        self.env = dict(os.environ, OVS_RUNDIR=bed.dir, OVS_LOGDIR=bed.dir, OVS_DBDIR=bed.dir)
        self.db = "unix:" + bed.path("ovs.db.sock")
        try:
            self.start(listening, calling, large)
        except BaseException:
            self.__exit__()
            raise

    def start(self, listening, calling, large):
        bed = self.bed
        run_tool("ovsdb-tool", "create", bed.path("ovs.db"), SCHEMA, env=self.env)
        self.daemon("ovsdb-server", bed.path("ovs.db"), "--remote=p" + self.db)
        self.vsctl("--no-wait", "init")
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".", "other_config:dpdk-init=true",
                   "other_config:dpdk-extra=--no-huge --legacy-mem -m 512 --no-pci --no-telemetry --no-shconf",
                   "other_config:per-port-memory=true", "other_config:pmd-maxsleep=200",
                   "other_config:userspace-tso-enable=%s" % ("true" if large else "false"))
        self.daemon("unshare", "-n", VSWITCHD, self.db)
        self.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev")
        for name in listening:
            self.vsctl("add-port", "br0", name, "--", "set", "Interface", name, "type=dpdkvhostuser")
        for name in calling:
            self.vsctl("add-port", "br0", name, "--", "set", "Interface", name, "type=dpdkvhostuserclient",
                       "options:vhost-server-path=" + bed.path(name))

    def daemon(self, *words):
        name = "ovs.%d" % len(self.daemons)
        args = ["--unixctl=" + self.bed.path(name + ".ctl"), "--log-file=" + self.bed.path(name + ".log")]
        self.daemons.append(subprocess.Popen([*words, *args], env=self.env, stdin=subprocess.DEVNULL,
                                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        end = time.time() + 60
        while not os.path.exists(self.bed.path(name + ".ctl")):
            if self.daemons[-1].poll() is not None or time.time() > end:
                raise Failure("%s does not start" % words[0])
            time.sleep(0.02)

    def vsctl(self, *words):
        return run_tool("ovs-vsctl", "--timeout=20", "--db=" + self.db, *words, env=self.env)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for d in reversed(self.daemons):
            d.terminate()
            d.wait(60)
        self.daemons = []
