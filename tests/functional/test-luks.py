#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Encrypted disks, and disks whose data lie in another file, behind a machine's drives."""
import json
import os
import shutil
import subprocess

from disk import Disk, TOOLS, img
from keel import Failure, expect, expect_in, main, run_tool as run

QTEST = ("-accel", "qtest", "-machine", "pc", "-nodefaults", "-display", "none")
SECRET = ("--object", "secret,id=s,data=open sesame")
IDE = ("-device", "ide-hd,drive=d,bus=ide.0,unit=0")


def encrypted(bed, driver="qcow2"):
    f = bed.path("d." + driver)
    prefix = "encrypt." if driver == "qcow2" else ""
    opts = ("encrypt.format=luks," if prefix else "") + "%skey-secret=s,%siter-time=10" \
        % (prefix, prefix)
    img("create", "-q", *SECRET, "-f", driver, "-o", opts, f, "8M")
    return f, "driver=%s,%skey-secret=s,file.filename=%s" % (driver, prefix, f)


def reads(tool, named, at, byte):
    p = subprocess.run([tool, *SECRET, "--image-opts", "-c", "read -P %d %d 512" % (byte, at), named],
                       capture_output=True, text=True)
    if p.returncode or "verification failed" in p.stdout:
        raise Failure("%s: %s" % (tool, p.stdout + p.stderr))


def check_written(bed, f, named, args):
    """A guest writes, and sees it again; the image holds no plain byte of it; both tools read it."""
    m = Disk(bed, *args)
    info = m.q.cmd("query-block")[0]["inserted"]
    expect("encrypted", (info["encrypted"], info["image"]["encrypted"]), (True, True))
    m.put(100, 0x5a)
    expect("read", m.get(100), 0x5a)
    m.q.cmd("quit")
    m.p.wait()
    expect("plain text in the image", bytes([0x5a] * 32) in open(f, "rb").read(), False)
    reads(os.path.join(TOOLS, "keel-io"), named, 51200, 0x5a)
    if shutil.which("qemu-io"):
        reads("qemu-io", named, 51200, 0x5a)


def test_luks_a_guest_reads_and_writes_inside_qcow2(bed):
    f, named = encrypted(bed)
    key = bed.file("key", b"open sesame")
    for args in (("-object", "secret,id=s,data=open sesame", "-drive",
                  "file=%s,format=qcow2,index=0,encrypt.format=luks,encrypt.key-secret=s" % f),
                 ("-object", "secret,id=s,file=" + key, "-drive",
                  "file=%s,index=0,encrypt.key-secret=s" % f),
                 ("-object", json.dumps({"qom-type": "secret", "id": "s", "format": "base64",
                                         "data": "b3BlbiBzZXNhbWU="}), "-blockdev",
                  "driver=qcow2,node-name=d,encrypt.format=luks,encrypt.key-secret=s,"
                  "file.driver=file,file.filename=" + f, *IDE)):
        check_written(bed, f, named, args)


def test_luks_a_guest_reads_and_writes_luks_by_itself(bed):
    f, named = encrypted(bed, "luks")
    for args in (("-object", "secret,id=s,data=open sesame", "-drive",
                  "file=%s,format=luks,index=0,key-secret=s" % f),
                 ("-object", "secret,id=s,data=open sesame", "-blockdev",
                  "driver=luks,node-name=d,key-secret=s,file.driver=file,file.filename=" + f,
                  *IDE)):
        check_written(bed, f, named, args)
    if shutil.which("cryptsetup"):
        subprocess.run(["cryptsetup", "luksOpen", "--test-passphrase", "--key-file",
                        bed.file("key", b"open sesame"), f], check=True)


def test_luks_a_secret_under_a_secret_as_libvirt_has_it(bed):
    f, named = encrypted(bed)
    key, iv, plain = bytes(range(32)), bytes(range(16)), b"open sesame"
    p = subprocess.run(["openssl", "enc", "-aes-256-cbc", "-K", key.hex(), "-iv", iv.hex(), "-a"],
                       input=plain, capture_output=True, check=True)
    b64 = subprocess.run(["openssl", "base64"], input=iv, capture_output=True, check=True)
    sealed = ("secret,id=s,keyid=master,iv=%s,format=base64,data=%s"
              % (b64.stdout.decode().strip(), p.stdout.decode().strip()))
    master = ("-object", "secret,id=master,format=raw,file=" + bed.file("master", key))
    drive = ("-drive", "file=%s,format=qcow2,index=0,encrypt.key-secret=s" % f)
    check_written(bed, f, named, (*master, "-object", sealed, *drive))
    expect_in("order", "No secret with id 'master'",
              bed.refused(*QTEST, "-object", sealed, *master, *drive))
    short = ("-object", "secret,id=master,file=" + bed.file("short", key[:16]))
    expect_in("short", "32 bytes", bed.refused(*QTEST, *short, "-object", sealed, *drive))


def test_luks_errors_name_the_secret_and_never_tell_it(bed):
    f, _ = encrypted(bed)
    drive = "file=%s,format=qcow2,index=0,encrypt.key-secret=s" % f
    wrong = ("-object", "secret,id=s,data=hush-hush")
    for args, words in ((("-drive", drive), "No secret with id 's'"),
                        (("-drive", "file=%s,format=qcow2" % f), "encrypt.key-secret"),
                        ((*wrong, "-drive", drive), "'s'"),
                        ((*wrong, *wrong), "'s' is there already"),
                        (("-object", "secret,id=s,data=hush-hush,foo=1"), "foo"),
                        (("-object", "secret,data=hush-hush"), "id"),
                        (("-object", "secret,id=s,file=/none"), "/none"),
                        (("-object", "secret,id=s,format=base64,data=hush-hush"), "base64"),
                        ((*wrong, "-drive", drive + ",encrypt.format=aes"), "aes"),
                        ((*wrong, "-drive", "file=%s,format=raw,encrypt.key-secret=s" % f),
                         "encrypt.key-secret"),
                        ((*wrong, "-blockdev", "driver=qcow2,node-name=d,encrypt.key-secret=t,"
                          "file.driver=file,file.filename=" + f), "No secret with id 't'")):
        said = bed.refused(*QTEST, *args)
        expect_in(" ".join(args), words, said)
        expect("told", "hush" in said, False)


def test_luks_objects_come_and_go_by_qmp(bed):
    f, _ = encrypted(bed)
    q = bed.machine().qmp()
    q.cmd("object-add", qom_type="secret", id="s", data="open sesame")
    expect_in("twice", "'s'", q.error("object-add", qom_type="secret", id="s", data="x")[1])
    node = {"driver": "qcow2", "node-name": "d", "encrypt": {"format": "luks", "key-secret": "s"},
            "file": {"driver": "file", "filename": f}}
    q.cmd("blockdev-add", **node)
    q.cmd("object-del", id="s")
    expect("encrypted", [n["encrypted"] for n in q.cmd("query-named-block-nodes")
                         if n["node-name"] == "d"], [True])
    q.cmd("blockdev-del", node_name="d")
    expect_in("gone", "No secret with id 's'", q.error("blockdev-add", **node)[1])
    expect_in("gone", "not found", q.error("object-del", id="s")[1])


def test_luks_the_secret_is_read_before_power_is_given_up(bed):
    """Neither key file nor image can be reached any more once the machine runs."""
    f, named = encrypted(bed)
    key = bed.file("key", b"open sesame")
    os.chmod(key, 0o400)
    os.mkdir(bed.path("root"))
    m = Disk(bed, "-object", "secret,id=s,file=" + key, "-drive",
             "file=%s,format=qcow2,index=0,encrypt.key-secret=s" % f, "-chroot", bed.path("root"),
             "-runas", "65534:65534")
    m.put(7, 0x21)
    expect("read", m.get(7), 0x21)
    expect_in("later", "cannot be read",
              m.q.error("object-add", qom_type="secret", id="t", file=key)[1])
    m.p.proc.terminate()
    m.p.wait()
    reads(os.path.join(TOOLS, "keel-io"), named, 3584, 0x21)


def test_luks_a_recording_does_not_tell_the_secret(bed):
    f, _ = encrypted(bed)
    for secret in ("secret,id=s,data=open sesame",
                   json.dumps({"qom-type": "secret", "id": "s", "data": "open sesame"})):
        trace = bed.path("t.ktr")
        m = Disk(bed, "-object", secret, "-drive",
                 "file=%s,format=qcow2,index=0,encrypt.key-secret=s" % f, "-keel-record", trace)
        m.put(1, 0x21)
        m.p.proc.terminate()
        m.p.wait()
        told = subprocess.run([os.path.join(TOOLS, "keel-trace"), "info", trace],
                              capture_output=True, text=True, check=True).stdout
        expect_in("the option", "secret", told)
        expect("told", "sesame" in told, False)
        subprocess.run([os.path.join(TOOLS, "keel-trace"), "replay", trace], check=True,
                       capture_output=True)


# ---- data in another file ----

def test_data_file_of_a_machine_is_opened_only_when_asked_for(bed):
    f, data = bed.path("d.qcow2"), bed.path("d.data")
    img("create", "-q", "-f", "qcow2", "-o", "data_file=%s,data_file_raw=on" % data, f, "8M")
    drive, node = "file=%s,format=qcow2,index=0" % f, "driver=qcow2,node-name=d,file.driver=file," \
        "file.filename=" + f
    for refused in (("-drive", drive), ("-drive", "file=%s,index=0" % f), ("-blockdev", node)):
        expect_in("not asked", "data-file", bed.refused(*QTEST, *refused))
    for byte, args in enumerate((
            ("-drive", drive + ",data-file.driver=file,data-file.filename=" + data),
            ("-drive", drive + ",data-file.filename=" + data),
            ("-blockdev", node + ",data-file.driver=file,data-file.filename=" + data, *IDE),
            ("-blockdev", "driver=file,node-name=e,filename=" + data, "-blockdev",
             node + ",data-file=e", *IDE)), 17):
        m = Disk(bed, *args)
        m.put(300, byte)
        expect("read", m.get(300), byte)
        m.q.cmd("quit")
        m.p.wait()
        expect("data", open(data, "rb").read()[153600:154112], bytes([byte]) * 512)
        img("check", "-q", f)
    plain = bed.path("p.qcow2")
    img("create", "-q", "-f", "qcow2", plain, "8M")
    for refused in (("-drive", "file=%s,format=qcow2,data-file.filename=%s" % (plain, data)),
                    ("-drive", "file=%s,format=raw,data-file.filename=%s" % (plain, data)),
                    ("-blockdev", "driver=qcow2,node-name=d,file.driver=file,file.filename=%s,"
                     "data-file.driver=file,data-file.filename=%s" % (plain, data))):
        expect_in("has none", "data", bed.refused(*QTEST, *refused))

IMG, IO = (os.path.join(TOOLS, "keel-" + n) for n in ("img", "io"))


def test_luks_amend_changes_key_slots_as_qemu_img_does(bed):
    one, two, three = (("--object", "secret,id=%s,data=%s" % (x, x)) for x in ("one", "two", "three"))
    keys = (*one, *two, *three)
    for fmt, p in (("luks", ""), ("qcow2", "encrypt.")):
        f = bed.path(fmt)
        made = p + "format=luks," if p else ""
        run(IMG, "create", "-q", *one, "-f", fmt, "-o", "%s%skey-secret=one,%siter-time=10" % (made, p, p), f, "1M")

        def opts(key):
            return "driver=%s,%skey-secret=%s,file.filename=%s" % (fmt, p, key, f)

        def amend(key, *options, force=(), rc=0, tool=IMG):
            o = ",".join(p + x for x in options)
            return run(tool, "amend", *keys, *force, "-o", o, "--image-opts", opts(key), rc=rc)

        def opens(key, rc=0, tool=IO):
            run(tool, *keys, "--image-opts", "-c", "read -P 7 0 64k", opts(key), rc=rc)

        run(IO, *keys, "--image-opts", "-c", "write -q -P 7 0 64k", opts("one"))
        amend("one", "state=active", "new-secret=two", "iter-time=10")
        opens("one")
        opens("two")
        if shutil.which("qemu-io"):
            opens("two", tool="qemu-io")
            amend("two", "state=active", "new-secret=three", "iter-time=10", tool="qemu-img")
            opens("three")
        else:
            amend("two", "state=active", "new-secret=three", "iter-time=10")
        amend("one", "state=inactive", "old-secret=two")
        opens("two", rc=1)
        opens("three")
        for options, why in ((("state=active", "new-secret=two", "keyslot=0"), "Refusing to overwrite active keyslot 0"),
                             (("state=active", "new-secret=two", "keyslot=8"), "Invalid keyslot 8"),
                             (("state=active",), "new-secret' is required"),
                             (("state=active", "new-secret=two", "old-secret=one"), "must not be given"),
                             (("state=inactive",), "must be given"), (("state=x",), "active or inactive"),
                             (("state=inactive", "new-secret=two"), "must not be given"),
                             (("state=inactive", "old-secret=two"), "No keyslots match"),
                             (("state=inactive", "keyslot=5"), "already erased"),
                             (("state=active", "new-secret=nobody"), "nobody"), (("bogus=1",), "bogus")):
            expect_in(why, why, amend("one", *options, rc=1))
        amend("one", "state=inactive", "keyslot=0")
        expect_in("a key that is none", "cannot unlock", amend("one", "state=active", "new-secret=two", rc=1))
        expect_in("the last slot", "the only active keyslot", amend("three", "state=inactive", "keyslot=2", rc=1))
        expect_in("the last key", "All the active keyslots", amend("three", "state=inactive", "old-secret=three", rc=1))
        opens("three")
        amend("three", "state=active", "new-secret=two", "keyslot=2", "iter-time=10", force=("--force",))
        opens("three", rc=1)
        opens("two")
        if p:
            run(IMG, "check", *keys, "--image-opts", opts("two"))
        amend("two", "state=inactive", "keyslot=2", force=("--force",))
        opens("two", rc=1)


if __name__ == "__main__":
    main(globals())
