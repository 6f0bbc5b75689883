# SPDX-License-Identifier: MIT
"""Network namespaces: hosts of a test's own."""
import ctypes
import os
import shutil
import subprocess

from keel import Failure


def sh(*words, check=True):
    r = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if check and r.returncode:
        raise Failure("%s: %s" % (" ".join(words), r.stdout))
    return r.stdout


class Namespace:
    """A network namespace that lives as long as the with statement."""

    def __init__(self, name):
        self.name = "keel-%s-%d" % (name, os.getpid())

    def __enter__(self):
        sh("ip", "netns", "add", self.name)
        self("ip", "link", "set", "lo", "up")
        return self

    def __exit__(self, *_):
        sh("ip", "netns", "del", self.name, check=False)

    def __call__(self, *words, check=True):
        return sh("nsenter", "--net=/run/netns/" + self.name, *words, check=check)

    def start(self, *words):
        return subprocess.Popen(["nsenter", "--net=/run/netns/" + self.name, *words],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def adopt(self, ifname, address):
        """Takes an interface from outside, gives it an address."""
        sh("ip", "link", "set", ifname, "netns", self.name)
        self("ip", "addr", "add", address, "dev", ifname)
        self("ip", "link", "set", ifname, "up")


def own_namespace():
    """This process, and what it starts from here on, has a network of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x40000000):
        raise Failure("unshare: %s" % os.strerror(ctypes.get_errno()))
    sh("ip", "link", "set", "lo", "up")
    with open("/proc/sys/net/ipv6/conf/default/disable_ipv6", "w") as f:
        f.write("1")


def can_have_namespaces():
    return os.geteuid() == 0 and shutil.which("ip") and shutil.which("busybox") and \
        os.path.exists("/dev/net/tun")
