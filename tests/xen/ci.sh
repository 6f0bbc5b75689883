#!/bin/bash
# ci.sh -d DEVICE_MODEL [-o DIR] [JOB...] - real Xen under emulation: build dom0, boot it, run the
# jobs (default: linux.sh and life.sh, in two machines side by side), power off. Prints their checks.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd); out=/tmp/keel-xen; dm=
while getopts d:o: o; do case $o in d) dm=$OPTARG ;; o) out=$OPTARG ;; *) exit 2 ;; esac; done
shift $((OPTIND - 1))
[ $# -gt 0 ] || set -- "$here/jobs/linux.sh" "$here/jobs/life.sh"
"$here/build.sh" -o "$out" ${dm:+-d "$dm"} || exit 125
pids=()
for job; do
  name=$(basename "$job" .sh)
  python3 "$here/run.py" -b "$out" -s "$out/share-$name" all "$job" > "$out/$name.log" 2>&1 & pids+=($!)
done
rc=0
for p in "${pids[@]}"; do wait "$p" || rc=$?; done
for job; do cat "$out/$(basename "$job" .sh).log"; done
exit $rc
