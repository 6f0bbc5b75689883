# A Linux guest with an emulated card on dom0's bridge, once for each model: the driver, ping both
# ways, TCP both ways with the bytes compared, the link down and up, save and restore.
. /share/lib.sh
mkdir -p /tmp/www; dd if=/dev/urandom of=/tmp/www/f bs=64k count=32 2>/dev/null
busybox httpd -p 10.99.0.1:8000 -h /tmp/www
sum=$(md5sum < /tmp/www/f | cut -d' ' -f1)

# card MODEL MAC ADDRESS
card() {
  local n=net$1
  mkcfg $n <<C
disk=['$G/linux.raw,raw,hda,rw']
memory=128
vcpus=1
serial="pty"
vnc=0
vif=['mac=$2,bridge=xenbr0,model=$1']
C
  say() { ask $n "$1" "$2
" "$3"; }
  note "$1"
  check "$1: xl create" xl create /tmp/$n.cfg
  domid $n > /dev/null || { cat "$(dm_log $n)"; return; }
  check "$1: Linux reaches user space" say 900 "" "GUEST LINUX UP"
  check "$1: the tap is on the bridge" test -e "/sys/class/net/xenbr0/brif/vif$(domid $n).0-emu"
  check "$1: the driver finds the card, the guest pings dom0" say 300 "net $3/24" "NET $2 3 of 3"
  check "$1: dom0 pings the guest" ping -c 3 -W 5 "$3"
  check "$1: 2 MiB to the guest" say 300 "fetch f" "FETCH $sum"
  busybox nc -l -p 9000 > /tmp/given & local nc=$!
  check "$1: 1 MiB from the guest" say 300 "give 16" "GAVE [0-9a-f]+"
  wait $nc
  check "$1: it is the same" test "$(md5sum < /tmp/given | cut -d' ' -f1)" = "$(dd if=$G/linux.raw bs=64k count=16 2>/dev/null | md5sum | cut -d' ' -f1)"
  check "$1: link down and up" say 300 "flap x" "FLAP 2 of 2"
  check "$1: xl save" xl save $n /tmp/$n.save
  check "$1: xl restore" xl restore /tmp/$n.save
  check "$1: the restored guest answers" answers $n 60 again
  check "$1: and has its network" say 300 "fetch f" "FETCH $sum"
  xl qemu-monitor-command $n "info network"
  xl destroy $n; gone $n 20
}
card rtl8139 00:16:3e:01:02:03 10.99.0.2
card e1000 00:16:3e:01:02:04 10.99.0.3
done_testing
