# SPDX-License-Identifier: MIT
"""What stands on a guest's screen."""
import os
import re
import sys
import time

from guest import Failure, expect

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from run import pixels  # noqa: E402

OUT = os.path.join(os.path.abspath(os.environ.get("KEEL_BUILD", "build")), "out")


def font():
    """The VGA BIOS's 8x16 letters: {16 bytes: character}."""
    with open("/usr/share/seabios/vgabios-stdvga.bin", "rb") as f:
        rom = f.read()
    letter_a = bytes.fromhex("000010386cc6c6fec6c6c6c600000000")
    base = rom.index(letter_a) - 65 * 16
    return {rom[base + 16 * c:base + 16 * c + 16]: chr(c) for c in range(126, 31, -1)}


def picture(g):
    """Width, height and RGB bytes of the screen."""
    path = g.bed.path("screen.ppm")
    g.hmp("screendump " + path)
    with open(path, "rb") as f:
        data = f.read()
    head = re.match(rb"P6\s+(\d+)\s+(\d+)\s+255\s", data)
    return int(head[1]), int(head[2]), data[head.end():]


def screen(g, letters=font()):
    """The text of an 80 by 25 screen, read off its pixels; "" in another mode."""
    width, height, pixels = picture(g)
    if (width, height) != (720, 400):
        return ""

    def cell(row, column):
        lines = []
        for y in range(row * 16, row * 16 + 16):
            at = 3 * (y * width + column * 9)
            lines.append([pixels[at + 3 * x:at + 3 * x + 3] for x in range(8)])
        flat = [p for line in lines for p in line]
        back = max(set(flat), key=flat.count)
        bits = bytes(sum((p != back) << (7 - x) for x, p in enumerate(line)) for line in lines)
        return letters.get(bits, " ")

    return "\n".join("".join(cell(r, c) for c in range(80)).rstrip() for r in range(25))


def wait_screen(g, what, seconds=90, every=0.3):
    end = time.time() + seconds
    while True:
        text = screen(g)
        if re.search(what, text):
            return text
        if g.ended() or time.time() > end:
            raise Failure("no %r on the screen:\n%s" % (what, text))
        time.sleep(every)


def keep(g, name):
    os.makedirs(OUT, exist_ok=True)
    path = os.path.join(OUT, name + ".png")
    g.hmp("screendump %s -f png" % path)
    with open(path, "rb") as f:
        expect("a picture", f.read(8), b"\x89PNG\r\n\x1a\n")


def wait_picture(g, reference, seconds):
    """Until the screen is the picture in the PNG file reference, pixel for pixel; what was there instead
    stays in $KEEL_BUILD/out/."""
    want = pixels(reference)
    end = time.time() + seconds
    while picture(g) != want:
        if g.ended() or time.time() > end:
            keep(g, os.path.basename(reference)[:-4])
            raise Failure("the screen is never %s" % reference)
        time.sleep(0.5)
