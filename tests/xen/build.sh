#!/bin/bash
# build.sh - put together a bootable dom0 for real Xen under emulation, from Debian packages alone.
#
#   build.sh -o DIR [-d DEVICE_MODEL] [-x FILE]...
#
#   -o DIR   results: xen, vmlinux, initrd.cpio, root.ext4
#   -d FILE  device model under test, installed as /opt/dm/dm with its shared libraries
#   -x FILE  another program for dom0's /opt/extra, with its shared libraries
#
# Debian's own xen-qemu-system-i386 is always installed beside it: it is the reference that the
# tables of measurements compare with. What does not depend on the device model is kept in DIR and
# made only once.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out= dm=; extra=()
while getopts o:d:x: o; do case $o in
  o) out=$OPTARG ;; d) dm=$OPTARG ;; x) extra+=("$OPTARG") ;; *) exit 2 ;;
esac; done
[ -n "$out" ] || { sed -n 2,13p "$0"; exit 2; }
mkdir -p "$out"; out=$(cd "$out" && pwd)
kver=$(find /lib/modules -maxdepth 1 -name '*-amd64' -printf '%f\n' | sort -V | tail -1)
xenver=4.17
log() { printf '[build %3ds] %s\n' $SECONDS "$*" >&2; }

root=$out/root
rm -rf "$root"
mkdir -p "$root"/{bin,sbin,usr/bin,usr/sbin,usr/lib,usr/libexec,lib64,etc,dev,proc,sys,run,tmp,var/{lib/xen,lib/xenstored,log/xen,cache},root,opt/{dm,extra},share,lib/mods,mnt}
ln -s /run "$root/var/run"; ln -s /run/lock "$root/var/lock"

# put FILE...: copy to the same absolute path, with the libraries it is linked to
put() {
  local f
  for f in "$@"; do
    [ -e "$f" ] || { log "missing $f"; return 1; }
    mkdir -p "$root$(dirname "$f")"; cp -aL --remove-destination "$f" "$root$f"; libs "$f"
  done
}
libs() {
  local l
  for l in $(ldd "$1" 2>/dev/null | awk '/=> \//{print $3} $1~/^\/lib/{print $1}'); do
    [ -e "$root$l" ] || { mkdir -p "$root$(dirname "$l")"; cp -aL "$l" "$root$l"; }
  done
}
# kernel modules with what they need, in load order
modules() { for m in "$@"; do modprobe -S "$kver" --show-depends "$m" | awk '$1=="insmod"{print $2}'; done | awk '!s[$0]++'; }
flatten() { # DIR MODULE...
  local d=$1 f; shift; : > "$d/order"
  for f in $(modules "$@"); do strip -g -o "$d/${f##*/}" "$f"; echo "${f##*/}" >> "$d/order"; done
}

hypervisor_and_kernel() {
  [ -s "$out/xen" ] || zcat "/boot/xen-$xenver-amd64.gz" > "$out/xen"
  if [ ! -s "$out/vmlinux" ] || [ "/boot/vmlinuz-$kver" -nt "$out/vmlinux" ]; then
    # dom0 starts from the ELF inside the bzImage: unpacking it under emulation costs seconds
    PYTHONPATH=$here/../guest python3 -c 'import initramfs, sys; initramfs.unpack(*sys.argv[1:])' \
      "/boot/vmlinuz-$kver" "$out/vmlinux"
  fi
}

early_userspace() {
  local ini=$out/initrd; rm -rf "$ini"; mkdir -p "$ini"/{bin,dev,proc,sys,mods,newroot,ro,rw}
  cp /bin/busybox "$ini/bin/"
  flatten "$ini/mods" virtio_pci virtio_blk 9pnet_virtio 9p ext4 overlay
  install -m755 "$here/dom0/initramfs-init" "$ini/init"
  (cd "$ini" && find . | LC_ALL=C sort | cpio --quiet -o -H newc) > "$out/initrd.cpio"
}

base_system() {
  cp /bin/busybox "$root/bin/busybox"
  local a t p b
  for a in $(/bin/busybox --list); do [ -e "$root/bin/$a" ] || ln -s busybox "$root/bin/$a"; done
  # what the toolstack's hotplug scripts need in its real version
  rm -f "$root/bin/bash"; put /bin/bash
  for t in strace losetup flock stat readlink sort logger ip bridge; do
    p=$(PATH=/usr/sbin:/usr/bin:/sbin:/bin type -P $t) || { log "no $t on this host"; exit 1; }
    rm -f "$root/bin/$t"; put "$p"
  done
  put /usr/bin/python3.11; ln -s python3.11 "$root/usr/bin/python3"
  mkdir -p "$root/usr/lib/python3.11"
  (cd /usr/lib/python3.11 && tar c --exclude=test --exclude=idlelib --exclude=ensurepip --exclude=lib2to3 \
    --exclude='config-*' --exclude=pydoc_data --exclude=distutils --exclude=tkinter .) | tar x -C "$root/usr/lib/python3.11"
  for b in "$root"/usr/lib/python3.11/lib-dynload/*.so; do libs "$b"; done
  flatten "$root/lib/mods" xen-evtchn xen-gntdev xen-gntalloc xen-privcmd xenfs tun bridge xen-netback xen-blkback loop binfmt_misc
  install -m755 "$here/dom0/init" "$root/sbin/dom0-init"
  install -m755 "$here/dom0/agent" "$root/sbin/dom0-agent"
  install -m755 "$here"/dom0/bin/* "$root/usr/bin/"
  cat > "$root/etc/passwd" <<'P'
root:x:0:0:root:/root:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
xen-qemuuser-range-base:x:20000:20000::/nonexistent:/bin/false
xen-qemuuser-shared:x:30000:30000::/nonexistent:/bin/false
P
  printf 'root:x:0:\nnogroup:x:65534:\nxenqemu:x:20000:\nxenqemus:x:30000:\n' > "$root/etc/group"
  printf 'passwd: files\ngroup: files\n' > "$root/etc/nsswitch.conf"
  put /lib/x86_64-linux-gnu/libnss_files.so.2 2>/dev/null || :
  echo dom0 > "$root/etc/hostname"; echo 127.0.0.1 localhost > "$root/etc/hosts"
}

toolstack() {
  local x=/usr/lib/xen-$xenver b
  for b in "$x"/bin/*; do case $b in
    *pygrub|*test-*|*xen-kdd|*xentrace*|*xen-livepatch|*xenpvnetboot|*stream*) ;;
    *) put "$b" ;;
  esac; done
  put "$x/boot/hvmloader"
  for b in xl xenstored xenconsoled xen-init-dom0 xenstore-control; do ln -s "$x/bin/$b" "$root/usr/sbin/$b"; done
  put /usr/bin/xenstore
  for b in chmod exists list ls read rm watch write; do ln -s xenstore "$root/usr/bin/xenstore-$b"; done
  cp -a /etc/xen "$root/etc/xen"; mkdir -p "$root/etc/xen/auto"
  # migration goes through "ssh": in one dom0 that is a local shell
  printf '#!/bin/bash\nshift\nexec bash -c "$*"\n' > "$root/usr/bin/ssh"; chmod 755 "$root/usr/bin/ssh"
}

reference_device_model() {
  local q=/usr/libexec/xen-qemu-system-i386 d f
  if [ ! -x $q ] && [ ! -x "$out/debs/x$q" ]; then
    mkdir -p "$out/debs"; (cd "$out/debs"; apt-get -qq download qemu-system-xen; dpkg -x qemu-system-xen_*.deb x)
  fi
  if [ -x $q ]; then put $q; else install -D "$out/debs/x$q" "$root$q"; libs "$out/debs/x$q"; fi
  ln -s $q "$root/opt/dm/stock"
  for d in /usr/share/seabios /usr/lib/ipxe/qemu /usr/share/qemu; do
    mkdir -p "$root$d"
    for f in "$d"/*; do case $f in
      *bios*.bin|*vga*.bin|*vgabios*|*/kvmvapic.bin|*/pvh.bin|*/linuxboot*|*/multiboot*|*.rom) cp -aL "$f" "$root$d/" 2>/dev/null || : ;;
      */keymaps) cp -a "$f" "$root$d/" ;;
    esac; done
  done
}

guests() {
  local stamp; stamp=$(cat "$here"/guest/* | md5sum | cut -d' ' -f1)-$kver
  if [ "$(cat "$out/guest/stamp" 2>/dev/null)" != "$stamp" ]; then
    rm -rf "$out/guest"; mkdir -p "$out/guest"
    "$here/guest/small.sh" "$out/guest"
    "$here/guest/linux-disk.sh" "$out/guest/linux.raw" "$out/guest/pv.raw" "$kver"
    echo "$stamp" > "$out/guest/stamp"
  fi
  cp -a "$out/guest" "$root/opt/guest"
}

hypervisor_and_kernel; log "hypervisor and kernel"
early_userspace
base_system; toolstack; reference_device_model; log "dom0 system"
guests; log "guests"
if [ -n "$dm" ]; then install -D -m755 "$dm" "$root/opt/dm/dm"; libs "$dm"; fi
for e in ${extra[@]+"${extra[@]}"}; do install -m755 "$e" "$root/opt/extra/"; libs "$e"; done
ldconfig -r "$root"
sz=$(du -sm "$root" | cut -f1)
rm -f "$out/root.ext4"
mke2fs -q -t ext4 -O ^has_journal,^metadata_csum,^64bit -m 0 -d "$root" "$out/root.ext4" $((sz + sz/8 + 32))M
rm -rf "$root" "$out/initrd"
log "root.ext4: $sz MiB"
