# What a person would do: xl create, read the serial port, look at the screen, type, power off.
. /share/lib.sh
mkcfg demo <<C
disk=['$G/linux.raw,raw,hda,rw']
memory=160
serial="pty"
vga="stdvga"
vnc=1
C
note "xl create demo.cfg:"; sed 's/^/    /' /tmp/demo.cfg
xl create /tmp/demo.cfg || { cat "$(dm_log demo)"; exit 1; }
note "device model: pid $(dm_pid demo), $(tr '\0' ' ' < /proc/$(dm_pid demo)/cmdline | cut -c1-200)..."
note "waiting for the guest (SeaBIOS, GRUB, Linux) on its serial port $(tty_of demo)"
check "the guest says hello" ask demo 300 "" "GUEST LINUX UP [0-9. ]+\r?\n"
grep -a "GUEST" /tmp/check.log | sed 's/^/    guest: /'
check "the guest answers" ask demo 20 "ping are you there
" "PONG are you there"
grep -a "PONG" /tmp/check.log | sed 's/^/    guest: /'
check "a VNC viewer sees its screen" vncshot 127.0.0.1 "$(xenstore-read /local/domain/$(domid demo)/console/vnc-port)" $OUT/screen.ppm
note "memory of the device model: $(grep -E 'VmRSS|RssAnon' /proc/$(dm_pid demo)/status | tr -s '\t\n ' ' ')"
check "the guest powers off" ask demo 30 "off
" "GUEST OFF"
gone demo 20; xl destroy demo 2>/dev/null; done_testing
