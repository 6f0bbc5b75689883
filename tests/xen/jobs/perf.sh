# Measured inside guests and with xl, Keel beside the stock device model in the same dom0, paired
# run by run. One line a sample: "sample WHO WHAT VALUE".
. /share/lib.sh
keel=$DM; runs=${RUNS:-3}
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
for run in $(seq "$runs"); do
  for who in keel stock; do
    n=p$who$run
    boot "$n" $who novnc "vnc=0"
    for i in 1 2 3; do
      sample $who port-us "$(echo "scale=1; $((16#$(tsc "$n" p))) / $(mhz) / 1000" | bc)"
      sample $who mmio-us "$(echo "scale=1; $((16#$(tsc "$n" m))) / $(mhz) / 1000" | bc)"
    done
    sample $who rss-anon-kb "$(awk '/RssAnon/ { print $2 }' /proc/"$(dm_pid "$n")"/status)"
    xl destroy "$n"
    [ "$run" = 1 ] && { boot "v$who$run" $who vnc "vnc=1"; xl destroy "v$who$run"; }
  done
done
done_testing
