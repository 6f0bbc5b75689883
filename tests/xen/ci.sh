#!/bin/bash
# ci.sh -d DEVICE_MODEL [-o DIR] [JOB...] - real Xen under emulation: build dom0, boot it, run the
# jobs (default: linux.sh and life.sh, in two machines side by side), power off. Prints their checks.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd); out=/tmp/keel-xen; dm=
while getopts d:o: o; do case $o in d) dm=$OPTARG ;; o) out=$OPTARG ;; *) exit 2 ;; esac; done
shift $((OPTIND - 1))
[ $# -gt 0 ] || set -- "$here/jobs/linux.sh" "$here/jobs/life.sh"
"$here/build.sh" -o "$out" ${dm:+-d "$dm"} || exit 125
# The emulator rarely breaks a program in dom0 (docs/testing.md, section 6): a job in which one
# of the job's own tools did is run once more, in a new machine.
attempt() { python3 "$here/run.py" -b "$out" -s "$out/share-$1" all "$2" > "$out/$1.log" 2>&1; }
dom0_crashed() { grep -qE 'line [0-9]+: .*(Segmentation fault|Aborted|command not found)|Exception ignored' "$out/$1.log"; }
perform() {
  local name rc=0
  name=$(basename "$1" .sh)
  attempt "$name" "$1" || rc=$?
  if [ $rc != 0 ] && dom0_crashed "$name"; then
    mv "$out/$name.log" "$out/$name.first.log"
    rc=0; attempt "$name" "$1" || rc=$?
    echo "# a program of dom0 crashed; the job ran twice: $out/$name.first.log" >> "$out/$name.log"
  fi
  return $rc
}
pids=()
for job; do perform "$job" & pids+=($!); done
rc=0
for p in "${pids[@]}"; do wait "$p" || rc=$?; done
for job; do cat "$out/$(basename "$job" .sh).log"; done
exit $rc
