# IDE DMA as a Linux guest sees it, Keel beside the stock device model. "sample WHO WHAT VALUE".
. /share/lib.sh
keel=$DM
for run in $(seq "${RUNS:-3}"); do
  order="keel stock"; [ $((run % 2)) = 0 ] && order="stock keel"
  for who in $order; do
    if [ $who = stock ]; then DM=/opt/dm/stock; else DM=$keel; fi
    n=d$who$run
    mkcfg $n <<C
disk=['$G/linux.raw,raw,hda,rw']
memory=160
serial="pty"
vnc=0
C
    a=$(now); xl create /tmp/$n.cfg > /dev/null || exit 1
    ask $n 300 "" "GUEST LINUX UP" > /dev/null || exit 1
    echo "sample $who linux-boot-s $(echo "$(now)-$a" | bc)"
    for i in 1 2 3; do
      t=$(ask $n 200 "time 128
" "TIME [0-9.]+ [0-9.]+ s" | grep -aoE "TIME [0-9.]+ [0-9.]+" | tail -1)
      set -- $t; echo "sample $who dma-read-8MiB-s $(echo "$3-$2" | bc)"
    done
    xl destroy $n
  done
done
done_testing
