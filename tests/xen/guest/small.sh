#!/bin/bash
# small.sh DIR - guests of a few hundred bytes: a boot sector on disk, CD and for PXE, a firmware image,
# kernels
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); o=$1; mkdir -p "$o"
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
bootsector() { # SOURCE IMAGE
  as --32 -o "$t/b.o" "$here/$1"
  ld -m elf_i386 -Ttext 0x7c00 --oformat binary -e _start -o "$t/${1%.S}.bin" "$t/b.o"
  dd if=/dev/zero of="$o/$2" bs=1M count=4 status=none
  dd if="$t/${1%.S}.bin" of="$o/$2" conv=notrunc status=none
}
bootsector bootsect.S disk.raw
bootsector cirrus.S cirrus.raw
cp "$t/bootsect.bin" "$o/pxe.0"
mkdir "$t/iso"; cp "$t/bootsect.bin" "$t/iso/boot.img"; echo hello > "$t/iso/HELLO.TXT"
xorriso -as mkisofs -quiet -o "$o/cd.iso" -b boot.img -no-emul-boot -boot-load-size 4 "$t/iso" 2>/dev/null
echo other > "$t/iso/OTHER.TXT"
xorriso -as mkisofs -quiet -o "$o/cd2.iso" "$t/iso" 2>/dev/null
# elf32 SOURCE IMAGE [SYMBOL=VALUE]: loads at 1 MiB, runs in 32-bit protected mode
elf32() {
  as --32 -I "$here" ${3:+--defsym "$3"} -o "$t/elf.o" "$here/$1"
  ld -m elf_i386 -Ttext 0x100000 --section-start=.note.Xen=0x102000 -N --no-warn-rwx-segments -e _start \
    -o "$o/$2" "$t/elf.o"
}
elf32 fw.S fw.elf # replaces hvmloader (firmware_override)
elf32 kernel.S multiboot.elf
elf32 kernel.S pvh.elf PVH=1
printf 'first\0' > "$o/module"
