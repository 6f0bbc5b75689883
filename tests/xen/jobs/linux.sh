# One Linux guest through its whole life: SeaBIOS, GRUB, IDE root, then everything xl can do to it.
. /share/lib.sh
mkcfg lin <<C
disk=['$G/linux.raw,raw,hda,rw','$G/cd.iso,raw,hdc,cdrom']
memory=160
vcpus=1
maxvcpus=2
serial="pty"
vga="stdvga"
vnc=1
C
# say SECONDS TEXT REGEX: asks again, twice at most, if the emulator broke a program on the way
broken=0
say() {
  local out
  for _ in 1 2 3; do
    out=$(ask lin "$1" "$2
" "$3" 2>&1) && return
    echo "$out"
    case $out in *"Segmentation fault"* | *malloc*) broken=$((broken + 1)) ;; *) return 1 ;; esac
  done
  return 1
}
md5() { dd if=$G/linux.raw bs=64k count=32 2>/dev/null | md5sum | cut -d' ' -f1; }
scratch_is() { # the second partition starts with 64 KiB of this letter
  python3 - $G/linux.raw "$1" <<'P'
import struct, sys
f = open(sys.argv[1], 'rb'); start = struct.unpack('<I', f.read(512)[446 + 16 + 8:][:4])[0]
f.seek(start * 512); sys.exit(f.read(65536) != sys.argv[2].encode() * 65536)
P
}
screen_has_splash() { # what a viewer sees: the lit part of the splash screen, and it is mostly black
  python3 - "$1" <<'P'
import sys
d = open(sys.argv[1], 'rb').read(); head = d.split(b'\n', 3); w, h = map(int, head[1].split()); p = head[3]
lit = sum(1 for i in range(0, len(p), 3) if p[i] > 80)
print(w, h, lit); sys.exit(not (w in (640, 720) and h == 400 and 1500 < lit < 60000))
P
}
screen() { vncshot 127.0.0.1 "$(xenstore-read /local/domain/$(domid lin)/console/vnc-port)" "$1"; }

note "create"
check "xl create starts the device model" xl create /tmp/lin.cfg
domid lin > /dev/null || { cat "$(dm_log lin)"; done_testing; }
check "SeaBIOS, GRUB and Linux reach user space from the IDE disk" say 300 "" "GUEST LINUX UP"
note "up"
check "the serial port answers" answers lin 60 one
check "the guest reads the disk's bytes" say 60 "sum 32" "SUM $(md5)"
check "the guest writes and flushes" say 60 "write k" "WROTE k"
check "what it flushed is in the image" scratch_is k
check "VNC shows the screen" screen $OUT/linux-vnc.ppm
check "the screen has the guest's words" screen_has_splash $OUT/linux-vnc.ppm
check "QMP takes the same picture" xl qemu-monitor-command lin "screendump $OUT/linux-qmp.ppm"
check "both pictures have the splash" screen_has_splash $OUT/linux-qmp.ppm
check "the CD is there" say 60 "cd" "CD .*hello.txt|CD .*HELLO.TXT"
check "xl cd-insert" xl cd-insert lin hdc $G/cd2.iso
check "the guest sees the other CD" say 60 "cd" "CD .*(OTHER|other)"
check "xl cd-eject" xl cd-eject lin hdc
check "the guest sees no CD" say 60 "cd" "CD none"
check "xl pause" xl pause lin
check "xl unpause" xl unpause lin
check "the guest runs on" answers lin 60 two
note "save"
check "xl save" xl save lin /tmp/lin.save
check "the domain is gone after save" gone lin 10
check "xl restore" xl restore /tmp/lin.save
check "the restored guest answers" answers lin 60 three
check "the restored guest reads its disk" say 60 "sum 32" "SUM $(md5)"
check "the restored screen is the same" screen $OUT/linux-restored.ppm
check "it still has the splash" screen_has_splash $OUT/linux-restored.ppm
note "migrate"
check "xl migrate localhost" xl migrate lin localhost
check "the migrated guest answers" answers lin 60 four
check "the migrated guest writes" say 60 "write m" "WROTE m"
check "and its write is in the image" scratch_is m
# This late because with two processors the emulator breaks programs more often.
check "xl vcpu-set 2" xl vcpu-set --ignore-host lin 2
check "the guest has two processors" say 60 "online" "CPUS 2"
check "vector registers keep what programs put there" say 120 "do vectors" "VECTORS [0-9]+ rounds, 0 lost"
check "xl save -c" xl save -c lin /tmp/lin2.save
check "the guest runs on after save -c" answers lin 60 five
check "the guest powers itself off" say 30 "off" "GUEST OFF"
note "off"
usleep 500000; xl destroy lin 2>/dev/null
check "the domain is gone" gone lin 10
cp /var/log/xen/qemu-dm-lin.log* $OUT/ 2>/dev/null
note "done, programs the emulator broke: $broken"
done_testing
