# A Linux guest with PV drivers: its disks are served by Keel's back end (qdisk), raw and qcow2, one card by
# dom0's and another by Keel's, and the emulated ones go away. Then what xl can do to them.
. /share/lib.sh
IMG=/opt/extra/keel-img IO=/opt/extra/keel-io
FIRST=00:16:3e:03:00:01 SECOND=00:16:3e:03:00:02 KEEL=00:16:3e:03:00:03
$IMG create -q -f qcow2 /tmp/data.qcow2 64M
cp $G/disk.raw /tmp/plain.raw
mkcfg pv <<C
disk=['vdev=hda,format=raw,backendtype=qdisk,access=rw,target=$G/pv.raw',
      'vdev=hdb,format=raw,backendtype=qdisk,access=rw,target=/tmp/plain.raw',
      'vdev=xvde,format=qcow2,access=rw,discard,target=/tmp/data.qcow2',
      '$G/cd.iso,raw,hdc,cdrom']
memory=160
vcpus=1
serial="pty"
vga="none"
vnc=0
vif=['mac=$FIRST,bridge=xenbr0,model=e1000']
device_model_args_hvm=['-netdev','bridge,id=own,br=xenbr0','-device','xen-net-device,netdev=own,mac=$KEEL,idx=7']
C
say() { ask pv "$1" "$2
" "$3"; }
# runs SECONDS COMMAND: the guest does it, with success
runs() { say "$1" "do $2" "DONE 0"; }
eventually() { runs 60 "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do $1 && break; sleep 1; done; $1"; }
sum_of() { dd if="$1" bs=64k count="$2" 2>/dev/null | md5sum | cut -d' ' -f1; }
holds() { ! $IO -f qcow2 -r -c "read -P $2 $1" /tmp/data.qcow2 | grep -E "failed|error"; }
used_kib() { echo $(($(stat -c %b /tmp/data.qcow2) / 2)); }
# fewer_than KIB: soon, for nobody flushes
fewer_than() { local i; for i in $(seq $((40 * PATIENCE))); do [ "$(used_kib)" -ge "$1" ] || return 0; usleep 500000; done; used_kib; return 1; }
at_least() { test "$(used_kib)" -ge "$1"; }
# fill DISK MIB LETTER: from MIB on, one MiB of it, flushed
fill() { runs 60 "dd if=/dev/zero bs=4k count=256 2>/dev/null | tr '\0' $3 | dd of=$1 bs=64k seek=$(($2 * 16)) conv=fsync 2>/dev/null"; }
monitor() { xl qemu-monitor-command pv "$1" 2>&1; }
nothing_said() { test -z "$(monitor "$1" | tee /dev/stderr)"; }

check "xl create" xl create /tmp/pv.cfg
domid pv > /dev/null || { cat "$(dm_log pv)"; done_testing; }
check "Linux reaches user space from a PV disk" say 300 "" "GUEST LINUX UP"
check "the emulated disks are gone, the CD-ROM drive is not" runs 30 "test -b /dev/xvda -a ! -e /dev/sda -a -b /dev/xvde"
check "the emulated card is gone" runs 30 "! grep -q 0x0200 /sys/bus/pci/devices/*/class"
check "the PV keyboard is connected" test "$(xenstore-read /local/domain/0/backend/vkbd/$(domid pv)/0/state)" = 4
runs 20 "exec 3< /dev/tty1; (read x <&3; echo \$x > /tmp/typed) &" > /dev/null # a key is lost while nobody has it open
monitor "sendkey k" > /dev/null; monitor "sendkey ret" > /dev/null
check "and types" eventually "grep -qx k /tmp/typed"
note "disks"
check "the guest reads the disk's bytes" say 60 "sum 32" "SUM $(sum_of $G/pv.raw 32)"
check "qcow2: the guest writes and flushes" fill /dev/xvde 3 q
check "qcow2: writes 4 MiB more" runs 60 "dd if=/dev/xvda of=/dev/xvde bs=64k seek=256 count=64 conv=fsync 2>/dev/null"
check "qcow2: the image has grown" at_least 5000
check "qcow2: discards them" runs 30 "blkdiscard -o 16777216 -l 4194304 /dev/xvde"
check "qcow2: the image has shrunk" fewer_than 2500
check "qcow2: block_resize" nothing_said "block_resize qdisk-51776 96M"
check "qcow2: the guest sees the length" eventually "test \$(blockdev --getsize64 /dev/xvde) = 100663296"
check "qcow2: writes at the new end" fill /dev/xvde 95 r
check "xl block-detach" xl block-detach pv xvde
check "the guest's disk is gone" eventually "test ! -e /dev/xvde"
check "the image is in order" $IMG check -q /tmp/data.qcow2
check "and has what was written" holds "3M 1M" 0x71
check "at its new end" holds "95M 1M" 0x72
check "and zeroes where it was discarded" holds "16M 4M" 0
check "xl block-detach of a disk with an emulated twin" xl block-detach pv hdb
check "the guest's disk is gone too" eventually "test ! -e /dev/xvdb"
check "nobody holds its image" $IO -f raw -c "write -P 0x33 1M 64k" /tmp/plain.raw
check "the CD is for the emulated drive: Linux makes no PV disk of it" runs 20 "test ! -e /dev/xvdc"
check "the guest reads it" say 60 "cd" "CD .*(hello|HELLO)"
check "xl cd-eject" xl cd-eject pv hdc
check "the drive is empty" say 60 "cd" "CD none"
check "xl block-attach, qcow2" xl block-attach pv "format=qcow2,vdev=xvdg,access=rw,target=/tmp/data.qcow2"
check "the guest reads it" eventually "dd if=/dev/xvdg bs=1M skip=3 count=1 2>/dev/null | tr -d q | wc -c | grep -qx 0"
check "xl block-attach, raw, read-only" xl block-attach pv "format=raw,backendtype=qdisk,vdev=xvdf,access=ro,target=/tmp/plain.raw"
check "the guest reads that" eventually "dd if=/dev/xvdf bs=64k 2>/dev/null | md5sum | grep -q $(md5sum < /tmp/plain.raw | cut -d' ' -f1)"
check "and cannot write it" runs 30 "! dd if=/dev/zero of=/dev/xvdf bs=4k count=1 conv=fsync 2>/dev/null"
check "xl block-list has four" test "$(xl block-list pv | grep -c '^[0-9]')" = 4
note "network"
mkdir -p /tmp/www; dd if=/dev/urandom of=/tmp/www/f bs=64k count=16 2>/dev/null
busybox httpd -p 10.99.0.1:8000 -h /tmp/www
sum=$(md5sum < /tmp/www/f | cut -d' ' -f1)
check "the PV card pings dom0" say 120 "net 10.99.0.4/24 $FIRST" "NET $FIRST 3 of 3"
check "1 MiB to the guest" say 120 "fetch f" "FETCH $sum"
check "Keel's own PV card pings dom0" say 120 "net 10.99.0.6/24 $KEEL" "NET $KEEL 3 of 3"
check "1 MiB to the guest through it" say 120 "fetch f" "FETCH $sum"
check "xl network-attach" xl network-attach pv mac=$SECOND bridge=xenbr0
check "the guest has the card" eventually "grep -q $SECOND /sys/class/net/*/address"
check "which pings dom0" say 120 "net 10.99.0.5/24 $SECOND" "NET $SECOND 3 of 3"
check "xl network-detach" xl network-detach pv $SECOND
check "the guest's card is gone" eventually "! grep -q $SECOND /sys/class/net/*/address"
note "save"
check "xl save" xl save pv /tmp/pv.save
restored() { xl restore /tmp/pv.save || { cat "$(dm_log pv)"; return 1; }; }
check "xl restore" restored
check "the restored guest answers" answers pv 60 again
check "and reads its disk" say 60 "sum 32" "SUM $(sum_of $G/pv.raw 32)"
check "and its qcow2" eventually "dd if=/dev/xvdg bs=1M skip=3 count=1 2>/dev/null | tr -d q | wc -c | grep -qx 0"
check "and has its network" say 120 "net 10.99.0.4/24 $FIRST" "NET $FIRST 3 of 3"
note "save without the card"
check "xl network-detach of a card with an emulated twin" xl network-detach pv $FIRST
check "the guest's card is gone" eventually "! grep -q $FIRST /sys/class/net/*/address"
check "xl save" xl save pv /tmp/pv.save
check "xl restore" restored
check "the restored guest answers" answers pv 60 again
note "end"
check "xl shutdown" xl shutdown pv
check "the domain is gone" gone pv 60
cp "$(dm_log pv)"* $OUT/ 2>/dev/null
xl destroy pv 2>/dev/null
note "dm_restrict"
mkcfg tight <<C
disk=['vdev=hda,format=raw,backendtype=qdisk,access=rw,target=$G/pv.raw']
memory=160
serial="pty"
vga="none"
vnc=0
dm_restrict=1
C
check "with dm_restrict=1: xl create" xl create /tmp/tight.cfg
check "Linux, which unplugs emulated disks, boots all the same" ask tight 300 "" "GUEST LINUX UP"
check "from its emulated disk" ask tight 60 "do test -b /dev/sda -a ! -e /dev/xvda
" "DONE 0"
check "the log says so" grep -q "qdisk: 768: with dm_restrict .* keeps its emulated drive" "$(dm_log tight)"
xl destroy tight; gone tight 20
sed -i 's/vdev=hda/vdev=xvde/' /tmp/tight.cfg
unseen() { ! xl create /tmp/tight.cfg && grep -q "disk 51776 has no emulated drive" "$(dm_log tight)"; }
check "a disk that only PV drivers would see is refused by name" unseen
note "done"
done_testing
