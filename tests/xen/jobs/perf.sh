# Measured inside guests and with xl, Keel beside the stock device model in the same dom0, paired:
# both guests are there at once and are asked in turn, so that what else the machine does meets
# both. One line a sample: "sample WHO WHAT VALUE".
. /share/lib.sh
keel=$DM; runs=${RUNS:-4}
mhz() { awk '/cpu MHz/ { print int($4); exit }' /proc/cpuinfo; }
sample() { echo "sample $1 $2 $3"; }
guest() { # NAME WHO [config line]: a small guest with that device model
  if [ "$2" = stock ]; then DM=/opt/dm/stock; else DM=$keel; fi
  mkcfg "$1" <<< "disk=['$G/disk.raw,raw,hda,rw']
serial=\"pty\"
$3"
}
tsc() { ask "$1" 60 "$2" "[0-9a-f]{8} tsc" | grep -oaE "[0-9a-f]{8} tsc" | tail -1 | cut -d' ' -f1; }
boot() { # NAME WHO WHAT CONFIG: xl create to the boot sector's first words, seconds
  guest "$1" "$2" "$4"; local a b c
  a=$(now); xl create "/tmp/$1.cfg" > /dev/null || return 1; b=$(now)
  ask "$1" 120 "" "READ OK" > /dev/null; c=$(now)
  sample "$2" "$3-create-s" "$(echo "$b-$a" | bc)"; sample "$2" "$3-boot-s" "$(echo "$c-$a" | bc)"
}
# WHO WHAT KEY NAME: 1000 accesses, microseconds each. In guests older than about 40 s Xen answers
# port 0x3ff itself, in some 25 us; that is no trip to a device model.
trip() {
  local us; us=$(echo "scale=1; $((16#$(tsc "$4" "$3"))) / $(mhz) / 1000" | bc)
  if [ "${us%.*}" -lt 100 ]; then echo "# $1 $2 $us us: did not leave Xen"; else sample "$1" "$2" "$us"; fi
}
for run in $(seq "$runs"); do
  order="keel stock"; [ $((run % 2)) = 0 ] && order="stock keel"
  for who in $order; do boot "v$who$run" "$who" vnc "vnc=1"; xl destroy "v$who$run"; done
  for who in $order; do boot "p$who$run" "$who" novnc "vnc=0"; done
  for i in 1 2 3; do
    for who in $order; do trip "$who" port-us p "p$who$run"; done
    for who in $order; do trip "$who" mmio-us m "p$who$run"; done
  done
  for who in $order; do
    sample "$who" rss-anon-kb "$(awk '/RssAnon/ { print $2 }' /proc/"$(dm_pid "p$who$run")"/status)"
    xl destroy "p$who$run"
  done
done
done_testing
