#!/usr/bin/env python3
"""ppm2png.py IN.ppm OUT.png - for looking at what a viewer in dom0 saw."""
import struct
import sys
import zlib

head, size, _, pix = open(sys.argv[1], 'rb').read().split(b'\n', 3)
w, h = map(int, size.split())
rows = b''.join(b'\0' + pix[y * w * 3:(y + 1) * w * 3] for y in range(h))


def chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


with open(sys.argv[2], 'wb') as f:
    f.write(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', w, h, 8, 2, 0, 0, 0)) +
            chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b''))
