# sourced by jobs as /share/lib.sh: starting guests in dom0, talking to them, counting checks
G=/tmp/g; OUT=/share/out; mkdir -p $OUT
DM=${DM:-/opt/dm/dm}; [ -x /share/dm ] && DM=/share/dm
[ -d $G ] || { mkdir -p $G; cp /opt/guest/* $G/; }
failed=0
# Limits are in seconds of a machine of its own; beside other work on its host everything takes as many times longer.
PATIENCE=4
[ ! -e /share/env ] || . /share/env

now() { cut -d' ' -f1 /proc/uptime; }
note() { echo "# $(now) $*"; }
# check DESCRIPTION COMMAND...: one test; what a failing command said comes before its line
check() {
  local d=$1 log=/tmp/check.log; shift
  if "$@" > $log 2>&1; then echo "ok - $d"; else
    sed 's/^/#   /' $log | tail -n 12; echo "not ok - $d"; failed=$((failed + 1)); fi
}
done_testing() { exit $((failed != 0)); }

# mkcfg NAME: writes /tmp/NAME.cfg from a base and the lines on stdin
mkcfg() {
  { cat <<C
type="hvm"
name="$1"
memory=64
device_model_override="$DM"
device_model_version="qemu-xen"
on_poweroff="destroy"
on_reboot="destroy"
on_crash="destroy"
C
    cat; } > /tmp/$1.cfg
}
domid() { xl domid "$1" 2>/dev/null || { usleep 300000; xl domid "$1" 2>/dev/null; }; }
# tty_of NAME: the guest's serial port, once libxl has published it
tty_of() {
  local i
  for i in $(seq 50); do
    xenstore-read "/local/domain/$(domid "$1")/serial/0/tty" 2>/dev/null && return
    usleep 200000
  done
  return 1
}
dm_pid() { xenstore-read "/local/domain/$(domid "$1")/image/device-model-pid"; }
dm_log() { echo "/var/log/xen/qemu-dm-$1.log"; }
# ask NAME SECONDS TEXT REGEX: types a line on the guest's serial port, waits for an answer
ask() { ttyio "$(tty_of "$1")" $(($2 * PATIENCE)) "$3" "$4"; }
# answers NAME SECONDS WORD: asks again and again, since a guest that is waking up clears its UART
answers() {
  local i
  for i in $(seq $(($2 * PATIENCE / 5))); do ttyio "$(tty_of "$1")" 5 "ping $3
" "PONG $3" && return 0; done
  return 1
}
# waitfor FILE REGEX SECONDS
waitfor() { local i; for i in $(seq $(($3 * 5 * PATIENCE))); do grep -qaE "$2" "$1" 2>/dev/null && return 0; usleep 200000; done; return 1; }
# gone NAME SECONDS: the domain has been destroyed
gone() { local i; for i in $(seq $(($2 * 5 * PATIENCE))); do domid "$1" > /dev/null || return 0; usleep 200000; done; return 1; }
