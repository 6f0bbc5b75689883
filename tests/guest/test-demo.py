#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What tools/demo shows: Debian's kernel, its disk, its screen, and the way off."""
import os
import subprocess
import sys

from guest import Failure, expect, expect_in, main

HERE = os.path.dirname(os.path.abspath(__file__))


def test_demo_boots_to_the_guests_own_words_and_leaves_its_picture(bed):
    build = os.path.abspath(os.environ.get("KEEL_BUILD", "build"))
    p = subprocess.run([sys.executable, HERE + "/demo.py", build, bed.path("")],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       timeout=300)
    text = p.stdout.decode(errors="replace")
    expect("exit code", (p.returncode, text if p.returncode else ""), (0, ""))
    for words in ("GNU/Linux", "This file came from the guest's IDE disk.", "Power down"):
        expect_in("words", words, text)
    with open(bed.path("screen.png"), "rb") as f:
        png = f.read()
    if not png.startswith(b"\x89PNG") or len(png) < 1500:
        raise Failure("no picture")


main(globals())
