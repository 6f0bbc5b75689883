# What else xl asks of a device model, and what it answers to what it does not have: channels, a second
# serial port, triggers, USB, a saved state that another device model wrote.
. /share/lib.sh
small() { mkcfg "$1" <<< "disk=['$G/disk.raw,raw,hda,rw']
serial=\"pty\"
$2"; }
log_says() { grep -qaE "$2" "$(dm_log "$1")" || { cat "$(dm_log "$1")"; return 1; }; }

note "what xl asks for beside disks"
small ask "vnc=1
vfb=['vnc=1']
channel=['name=org.keel.test,connection=socket,path=/tmp/channel.sock']"
sed -i 's/^serial.*/serial=["pty","pty"]/' /tmp/ask.cfg
check "create with a channel, two serial ports and a framebuffer" xl create /tmp/ask.cfg
check "boots" ask ask 60 "" "BOOTSECT READ OK"
check "the channel's socket is there" test -S /tmp/channel.sock
check "so is the second serial port" xenstore-read "/local/domain/$(domid ask)/serial/1/tty"
check "xl trigger power, nmi and xl sysrq" eval "xl trigger ask power && xl trigger ask nmi && xl sysrq ask h"
usb() { ! xl usbctrl-attach ask version="$1" 2> /tmp/usb.log && cat /tmp/usb.log && grep -q "$2.*Keel cannot" /tmp/usb.log; }
check "xl usbctrl-attach is refused by name" usb 2 "usb-ehci"
check "nor is a controller left" test -z "$(xl usb-list ask)"
check "destroy" xl destroy ask

note "another device model's state"
keel=$DM; DM=/opt/dm/stock; small other "vnc=0"; DM=$keel
check "create with the stock device model" xl create /tmp/other.cfg
check "boots" ask other 60 "" "BOOTSECT READ OK"
check "save" xl save other /tmp/other.save
sed "s#^device_model_override.*#device_model_override=\"$keel\"#" /tmp/other.cfg > /tmp/mine.cfg
mine() { ! xl restore /tmp/mine.cfg /tmp/other.save && log_says other "QEMU migration stream: only QEMU can restore it"; }
check "its saved state is refused by name" mine
note "done"
done_testing
