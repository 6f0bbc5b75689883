#!/bin/bash
# linux-disk.sh OUT.raw PV.raw KVER - a bootable disk: MBR and core image of GRUB, one squashfs
# partition with a Debian kernel, an initramfs that loads the disk's driver, and busybox as the root
# file system, then 4 MiB of scratch space that the guest writes to. Needs no loop device.
# OUT's kernel stays with the emulated devices; PV's, else the same, unplugs them for its PV drivers.
# Beside OUT, for guests whose kernel the toolstack names: vmlinuz, initrd and cmdline.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$1 pv=$2 kver=$3
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
r=$t/root; mkdir -p "$r"/{bin,dev,proc,sys,mnt,boot,tmp,mods} "$t"/i/{dev,mods,newroot}

# initramfs: the drivers between firmware and root file system, in load order, and a tiny init
for m in ata_piix sd_mod squashfs xen-blkfront; do
  modprobe -S "$kver" --show-depends "$m" | awk '$1 == "insmod" { print $2 }'
done | grep -v pclmul | awk '!seen[$0]++' | while read -r ko; do
  strip -g -o "$t/i/mods/${ko##*/}" "$ko"; echo "${ko##*/}" >> "$t/i/mods/order"
done
small() {
  gcc -Os -static -nostdlib -fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none \
    -Wl,--build-id=none -s -o "$@"
}
small "$t/i/init" "$here/early.c"
(cd "$t/i" && find . | LC_ALL=C sort | cpio --quiet -o -H newc | xz --check=crc32 --lzma2=preset=9e,dict=1MiB) > "$r/boot/initrd"
cp "/boot/vmlinuz-$kver" "$r/boot/vmlinuz"

# root file system; the CD-ROM driver is here because only some tests have a drive
cp /bin/busybox "$r/bin/"
for a in $(busybox --list); do [ "$a" = busybox ] || ln -s busybox "$r/bin/$a"; done
small "$r/bin/vectors" -mgeneral-regs-only "$here/vectors.c"
mkdir "$r/sbin" # the kernel's own word for xl shutdown; init here is a shell that takes no signals
printf '#!/bin/sh\nexec /bin/busybox poweroff -f\n' > "$r/sbin/poweroff"; chmod 755 "$r/sbin/poweroff"
for m in sr_mod isofs; do
  modprobe -S "$kver" --show-depends "$m" | awk '$1 == "insmod" { print $2 }'
done | grep -v pclmul | awk '!seen[$0]++' | while read -r ko; do
  [ -e "$t/i/mods/${ko##*/}" ] && continue
  strip -g -o "$r/mods/${ko##*/}" "$ko"; echo "${ko##*/}" >> "$r/mods/order"
done
# network cards, each with what it needs, for the tests that have one
mkdir -p "$r/netmods"
for m in 8139cp e1000 xen-netfront; do
  modprobe -S "$kver" --show-depends "$m" | awk '$1 == "insmod" { print $2 }'
done | awk '!seen[$0]++' | while read -r ko; do
  strip -g -o "$r/netmods/${ko##*/}" "$ko"; echo "${ko##*/}" >> "$r/netmods/order"
done
install -m755 "$here/root-init" "$r/init"
cp "$here/splash.txt" "$r/"
mksquashfs "$r" "$t/root.sq" -quiet -no-progress -noI -noD -noF -noX -all-root -mkfs-time 0 

arguments="console=tty0 console=ttyS0 quiet root=/dev/sda1 mitigations=off nokaslr no_timer_check lpj=4600000 audit=0 apparmor=0 random.trust_cpu=on cryptomgr.notests tsc=reliable"
emulated="$arguments xen_emul_unplug=never"

# grub OUT KERNEL-ARGUMENTS
grub() {
  cat > "$t/early.cfg" <<G
set root=(hd0,msdos1)
linux /boot/vmlinuz $2
initrd /boot/initrd
boot
G
  grub-mkimage -O i386-pc -p / -c "$t/early.cfg" -o "$t/core.img" biosdisk part_msdos squash4 linux boot
  python3 "$here/mkdisk.py" "$1" /usr/lib/grub/i386-pc/boot.img "$t/core.img" "$t/root.sq"
}
grub "$out" "$emulated"
grub "$pv" "$arguments"
cp "$r/boot/vmlinuz" "$r/boot/initrd" "$(dirname "$out")/"
echo "$emulated" > "$(dirname "$out")/cmdline"
