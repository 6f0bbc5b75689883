#!/usr/bin/env python3
"""mkdisk.py OUT BOOT.IMG CORE.IMG PARTITION - lay out a BIOS disk as grub-bios-setup would.

Sector 0 boot.img with the partition table, core.img from sector 1, the partition at 1 MiB,
and 4 MiB of scratch space as a second partition behind it.
"""
import struct
import sys

SECTOR = 512
PART = 2048
SCRATCH = 8192


def sectors(data):
    return (len(data) + SECTOR - 1) // SECTOR


def entry(active, kind, start, count):
    return struct.pack('<B3sB3sII', 0x80 if active else 0, b'\xfe\xff\xff', kind, b'\xfe\xff\xff', start, count)


out, boot, core, part = sys.argv[1], *(open(f, 'rb').read() for f in sys.argv[2:5])
assert sectors(core) < PART - 1, 'core.img does not fit before the partition'
mbr = bytearray(boot[:SECTOR])
mbr[0x5c:0x64] = struct.pack('<Q', 1)       # where boot.img finds core.img
mbr[0x66:0x68] = b'\x90\x90'                # boot from the BIOS's drive number
core = bytearray(core)
core[SECTOR - 12:SECTOR] = struct.pack('<QHH', 2, sectors(core) - 1, 0x820)
count = (sectors(part) + 7) & ~7
mbr[446:510] = entry(True, 0x83, PART, count) + entry(False, 0xda, PART + count, SCRATCH) + bytes(32)
mbr[440:444] = b'KEEL'
mbr[510:512] = b'\x55\xaa'
with open(out, 'wb') as f:
    f.write(mbr)
    f.write(core)
    f.seek(PART * SECTOR)
    f.write(part)
    f.truncate((PART + count + SCRATCH) * SECTOR)
