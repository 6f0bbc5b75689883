# Short lives of small guests: CD boot, restricted device model, reset, death, no BIOS at all, kernels
# without a disk, and what an operator reads when something is wrong.
. /share/lib.sh
small() { mkcfg "$1" <<< "disk=['$G/disk.raw,raw,hda,rw']
serial=\"pty\"
$2"; }
log_says() { grep -qaE "$2" "$(dm_log "$1")" || { cat "$(dm_log "$1")"; return 1; }; }
refused() { ! xl create "/tmp/$1.cfg" && log_says "$1" "$2"; }

note "cd boot"
mkcfg cdboot <<C
disk=['$G/cd.iso,raw,hdc,cdrom']
boot="d"
serial="file:/tmp/cdboot.serial"
vga="cirrus"
vnc=1
vncpasswd="secret"
C
check "create with a password for VNC" xl create /tmp/cdboot.cfg
check "boots from CD" waitfor /tmp/cdboot.serial "BOOTSECT READ" 60
check "VNC asks for the password" vncshot 127.0.0.1 "$(xenstore-read /local/domain/$(domid cdboot)/console/vnc-port)" -
check "destroy" xl destroy cdboot

note "restricted"
small restr "dm_restrict=1
device_model_user=\"nobody\"
vnc=0"
sed -i "s#^disk.*#disk=['$G/disk.raw,raw,hda,rw','$G/cd.iso,raw,hdc,cdrom']#" /tmp/restr.cfg
check "create with dm_restrict" xl create /tmp/restr.cfg
check "runs as nobody" grep -q '^Uid:.*65534' "/proc/$(dm_pid restr)/status"
check "may write to the whole disk, and no further" grep -qE "^Max file size +$(stat -c %s $G/disk.raw) " "/proc/$(dm_pid restr)/limits"
check "in an empty root directory" test -z "$(ls -A /proc/$(dm_pid restr)/root/)"
check "boots" ask restr 60 "" "BOOTSECT READ OK"
check "cd-insert into a restricted device model" xl cd-insert restr hdc $G/cd2.iso
check "save" xl save restr /tmp/restr.save
check "restore, where the stock device model fails" xl restore /tmp/restr.save
check "the restored guest answers" ask restr 20 "x" "x"
check "destroy restricted" xl destroy restr

note "reset"
small reset "vga=\"none\"
vnc=0"; sed -i 's/on_reboot=.*/on_reboot="restart"/' /tmp/reset.cfg
check "create" xl create /tmp/reset.cfg
check "boots" ask reset 60 "" "BOOTSECT READ OK"
old=$(domid reset); ask reset 2 "r" "x"
for i in $(seq $((20 * 5 * PATIENCE))); do new=$(domid reset); [ -n "$new" ] && [ "$new" != "$old" ] && break; usleep 200000; done
check "a reset gives a new domain" test "$new" -gt "$old"
sleep 1
check "that boots" ask reset 60 "" "BOOTSECT READ OK"
check "power off through ACPI registers" ask reset 10 "q" "OFF"
check "destroys the domain" gone reset 20
xl destroy reset 2>/dev/null

note "firmware"
mkcfg fw <<C
firmware_override="$G/fw.elf"
vga="none"
serial="file:/tmp/fw.serial"
vnc=0
C
check "create with firmware_override" xl create /tmp/fw.cfg
check "the firmware runs" waitfor /tmp/fw.serial "FW DONE" 30
pid=$(dm_pid fw); kill -9 "$pid"; usleep 300000
check "a killed device model leaves the domain" domid fw
check "which can be destroyed" timeout 60 xl destroy fw

note "kernel"
for k in multiboot pvh; do
  mkcfg $k <<C
kernel="$G/$k.elf"
ramdisk="$G/module"
cmdline="of $k"
vga="none"
serial="file:/tmp/$k.serial"
vnc=0
C
  check "create with a $k kernel" xl create /tmp/$k.cfg
  check "it has its command line, its module and the memory map" \
    waitfor /tmp/$k.serial "of $k first MEMORY KNOWN" 60
  check "the domain ends when its processor halts for good" gone $k 20
done

note "errors"
small nic "vnc=0
vif=['model=vmxnet3']"
check "a device it does not have is named" refused nic "vmxnet3"
small args "vnc=0
device_model_args_hvm=['-frobnicate']"
check "an unknown option is named" refused args "frobnicate"
note "done"
done_testing
