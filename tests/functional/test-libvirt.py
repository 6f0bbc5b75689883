#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""libvirt takes Keel for a QEMU: it asks what there is, starts a machine, and manages it.

A libvirtd of the test's own, in its own directories (qemu:///session); virsh commands it. That is for users
without privileges only, so root becomes one, and the programs move to where that one may read.
"""
import os
import re
import shutil
import subprocess
import time

from keel import Failure, expect, expect_in, main

DOMAIN = """
<domain type='qemu'>
  <name>%(name)s</name>
  <memory unit='MiB'>64</memory>
  <vcpu>2</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/></os>
  <features><acpi/></features>
  <devices>
    <emulator>%(keel)s</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/><source file='%(dir)s/disk.qcow2'/><target dev='hda' bus='ide'/>
    </disk>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/><source file='%(dir)s/data.raw'/><target dev='vda' bus='virtio'/>
    </disk>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <interface type='user'><model type='e1000'/></interface>
    <serial type='file'><source path='%(dir)s/serial'/></serial>
    <graphics type='vnc' socket='%(dir)s/vnc'/>
    <video><model type='cirrus'/></video>
  </devices>
</domain>
"""


class Libvirt:
    def __init__(self, bed):
        self.env = dict(os.environ, HOME=bed.dir, XDG_RUNTIME_DIR=bed.dir + "/run", XDG_CONFIG_HOME=bed.dir + "/conf",
                        XDG_CACHE_HOME=bed.dir + "/cache", XDG_DATA_HOME=bed.dir + "/data")
        self.user = []
        os.makedirs(bed.dir + "/conf/libvirt")
        os.mkdir(bed.dir + "/run", 0o700)
        with open(bed.dir + "/conf/libvirt/qemu.conf", "w") as f:
            f.write('stdio_handler = "file"\nsecurity_driver = "none"\nnamespaces = []\ncgroup_controllers = []\n'
                    'remember_owner = 0\n')
        if os.getuid() == 0:
            self.user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            for folder, _, files in os.walk(bed.dir):
                for path in [folder] + [folder + "/" + f for f in files]:
                    os.chown(path, 65534, 65534)
        self.log = open(bed.path("libvirtd.log"), "w+")
        self.proc = subprocess.Popen(self.user + ["libvirtd", "--timeout", "120"], env=self.env, stdout=self.log, stderr=self.log)
        self.bed = bed
        end = time.time() + 60
        while self.ask("version")[0] != 0:
            if time.time() > end:
                raise Failure("libvirtd: " + open(bed.path("libvirtd.log")).read()[-2000:])
            time.sleep(0.1)

    def ask(self, *words):
        r = subprocess.run(self.user + ["virsh", "-c", "qemu:///session", "-q"] + list(words), env=self.env, text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=60)
        return r.returncode, r.stdout

    def run(self, *words):
        code, text = self.ask(*words)
        if code:
            raise Failure("virsh %s: %s" % (" ".join(words), text))
        return text

    def end(self):
        self.ask("destroy", "keel")
        self.proc.terminate()
        self.proc.wait(60)


def prepare(bed):
    shutil.copy(bed.keel, bed.path("keel"))
    subprocess.run([os.path.dirname(bed.keel) + "/../tools/keel-img", "create", "-q", "-f", "qcow2",
                    bed.path("disk.qcow2"), "8M"], check=True)
    bed.file("data.raw", bytes(1 << 20))
    bed.file("domain.xml", (DOMAIN % {"name": "keel", "dir": bed.dir, "keel": bed.path("keel")}).encode())


def start(bed, virt):
    virt.run("define", bed.path("domain.xml"))
    virt.run("start", "keel")


def manage(bed, virt):
    expect_in("state", "running", virt.run("domstate", "keel"))
    expect_in("disks", "disk.qcow2", virt.run("domblklist", "keel"))
    expect_in("capacity", "8388608", virt.run("domblkinfo", "keel", "hda"))
    expect_in("statistics", "vda rd_req", virt.run("domblkstat", "keel", "vda"))
    virt.run("suspend", "keel")
    expect_in("suspended", "paused", virt.run("domstate", "keel"))
    virt.run("resume", "keel")
    virt.run("screenshot", "keel", bed.path("shot"))
    with open(bed.path("shot"), "rb") as f:
        expect("screenshot", f.read(2), b"P6")
    virt.run("send-key", "keel", "KEY_ENTER")
    virt.run("reset", "keel")
    expect_in("HMP", "VM status: running", virt.run("qemu-monitor-command", "keel", "--hmp", "info status"))
    expect_in("log", "-sandbox on", open(bed.dir + "/cache/libvirt/qemu/log/keel.log").read())


def save_and_restore(bed, virt):
    virt.run("save", "keel", bed.path("saved"))
    expect_in("saved", "shut off", virt.run("domstate", "keel"))
    virt.run("restore", bed.path("saved"))
    expect_in("restored", "running", virt.run("domstate", "keel"))
    virt.run("managedsave", "keel")
    virt.run("start", "keel")
    expect_in("started from the saved state", "running", virt.run("domstate", "keel"))
    if re.search("sandbox: system call", open(bed.dir + "/cache/libvirt/qemu/log/keel.log").read()):
        raise Failure("a system call was refused")


def test_libvirt_starts_manages_saves_and_restores_a_machine(bed):
    if "ASAN_OPTIONS" in os.environ:  # what it asks is looked at elsewhere; libvirt's patience is short
        return
    prepare(bed)
    virt = Libvirt(bed)
    try:
        start(bed, virt)
        manage(bed, virt)
        save_and_restore(bed, virt)
        virt.run("destroy", "keel")
    except Failure as e:
        log = bed.dir + "/cache/libvirt/qemu/log/keel.log"
        said = open(log).read()[-1500:] if os.path.exists(log) else ""
        raise Failure("%s\n%s\n%s" % (e, said, open(bed.path("libvirtd.log")).read()[-1500:]))
    finally:
        virt.end()


if __name__ == "__main__":
    main(globals())
