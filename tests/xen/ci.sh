#!/bin/bash
# ci.sh -d DEVICE_MODEL [-o DIR] [JOB...] - real Xen under emulation: build dom0, boot it, run the
# jobs (default: life.sh, linux.sh and net.sh; with KEEL_XEN_ALL=1 in the environment all of net.sh,
# qdisk.sh and toolstack.sh) in two machines side by side, power off. Prints their checks.
#
# keel-img and keel-io are taken from ../tools beside the device model's folder, as the build has them.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd); out=/tmp/keel-xen; dm=
while getopts d:o: o; do case $o in d) dm=$OPTARG ;; o) out=$OPTARG ;; *) exit 2 ;; esac; done
shift $((OPTIND - 1))
[ $# -gt 0 ] || set -- "$here"/jobs/{life,linux,net}.sh
[ -z "${KEEL_XEN_ALL-}" ] || set -- "$@" "$here"/jobs/{qdisk,toolstack}.sh
extra=()
for t in keel-img keel-io; do
  t=$(dirname "$dm")/../tools/$t
  [ ! -x "$t" ] || extra+=(-x "$t")
done
"$here/build.sh" -o "$out" ${dm:+-d "$dm"} ${extra[@]+"${extra[@]}"} || exit 125
# Should a program in dom0 crash that is none of ours, the machine's jobs are run once more in a new
# one, and the log says so. It has not been seen since Xen runs with eager-fpu.
attempt() { # MACHINE JOB...
  python3 "$here/run.py" -b "$out" -s "$out/share-$1" --timeout 900 all "${@:2}" > "$out/$1.log" 2>&1
}
dom0_crashed() { grep -qE 'line [0-9]+: .*(Segmentation fault|Aborted|command not found)|Exception ignored' "$out/$1.log"; }
perform() {
  local rc=0
  attempt "$@" || rc=$?
  if [ $rc != 0 ] && dom0_crashed "$1"; then
    mv "$out/$1.log" "$out/$1.first.log"
    rc=0; attempt "$@" || rc=$?
    echo "# a program of dom0 crashed; the jobs ran twice: $out/$1.first.log" >> "$out/$1.log"
  fi
  return $rc
}
# The first job, the third and so on in one machine, the others in the other.
one=() two=() n=0
for job; do if [ $((n++ % 2)) = 0 ]; then one+=("$job"); else two+=("$job"); fi; done
rc=0 pids=()
perform one "${one[@]}" & pids+=($!)
[ $# = 1 ] || { perform two "${two[@]}" & pids+=($!); }
for p in "${pids[@]}"; do wait "$p" || rc=$?; done
cat "$out/one.log"; [ $# = 1 ] || cat "$out/two.log"
exit $rc
