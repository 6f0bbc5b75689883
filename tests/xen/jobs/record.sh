# Makes the fixtures of tests/traces: guests under real Xen with -keel-record. The traces are left
# in the share's out/ directory.
. /share/lib.sh
start() { # NAME, config lines on stdin
  { cat; echo "serial=\"pty\""; echo "vnc=0"
    echo "device_model_args_hvm=[\"-keel-record\",\"$OUT/$1.ktr\"]"; } | mkcfg "$1"
  note "$1"
  check "$1 starts" xl create "/tmp/$1.cfg"
}
end() { # NAME: powered off, or destroyed; then the trace is whole
  gone "$1" 20 || xl destroy "$1"
  usleep 500000; ls -l "$OUT/$1.ktr"
}
start cd-boot <<C
disk=['$G/disk.raw,raw,hda,rw','$G/cd.iso,raw,hdc,cdrom']
boot="d"
vga="stdvga"
C
check "CD boots" ask cd-boot 60 "" "BOOTSECT READ"
check "echo" ask cd-boot 20 "hi" "hi"
ask cd-boot 10 q OFF; end cd-boot
start cirrus-blt <<C
disk=['$G/cirrus.raw,raw,hda,rw']
vga="cirrus"
C
check "blits" ask cirrus-blt 100 "" "CIRRUS DONE"
ask cirrus-blt 3 q x; end cirrus-blt
start linux-boot <<C
disk=['$G/linux.raw,raw,hda,rw']
memory=160
vga="stdvga"
C
check "Linux boots" ask linux-boot 400 "" "GUEST LINUX UP"
check "answers" ask linux-boot 20 "ping replay
" "PONG replay"
ask linux-boot 20 "off
" OFF; end linux-boot
done_testing
