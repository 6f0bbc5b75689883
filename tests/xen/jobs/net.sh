# A Linux guest with both emulated cards on dom0's bridge, started from a kernel that its configuration
# names. One card after the other: the driver and ping both ways; TCP both ways with the bytes compared,
# the link down and up; then save, restore and migration. And guests without a disk that boot over PXE:
# card's ROM, DHCP, TFTP. What takes long is done with one card; with KEEL_XEN_ALL, with both. There are
# no screens: text mode scrolls by a request for every word, which takes seconds a line in this machine.
. /share/lib.sh
mkdir -p /tmp/www; dd if=/dev/urandom of=/tmp/www/f bs=64k count=16 2>/dev/null
busybox httpd -p 10.99.0.1:8000 -h /tmp/www
sum=$(md5sum < /tmp/www/f | cut -d' ' -f1)
RTL=00:16:3e:01:02:03 E1000=00:16:3e:01:02:04
mkcfg net <<C
disk=['$G/linux.raw,raw,hda,rw']
kernel="$G/vmlinuz"
ramdisk="$G/initrd"
cmdline="$(cat $G/cmdline)"
memory=128
vcpus=1
serial="pty"
vga="none"
vnc=0
vif=['mac=$RTL,bridge=xenbr0,model=rtl8139','mac=$E1000,bridge=xenbr0,model=e1000']
C
say() { ask net "$1" "$2
" "$3"; }
# takes: 512 KiB that come to port 9000. Not by nc, which would hang up when its own input ends.
cat > /tmp/takes.py <<'P'
import socket
s = socket.create_server(("10.99.0.1", 9000))
s.settimeout(600)
c = s.accept()[0]
c.settimeout(600)
n = 0
with open("/tmp/given", "wb") as f:
    while n < 512 << 10:
        data = c.recv(65536)
        if not data:
            break
        n += f.write(data)
c.close()
P
takes() { python3 /tmp/takes.py & taker=$!; usleep 500000; }
same() { test "$(md5sum < /tmp/given)" = "$(dd if=$G/linux.raw bs=64k count=8 2>/dev/null | md5sum)"; }

# card MODEL MAC ADDRESS
card() {
  note "$1"
  check "$1: the driver finds the card, the guest pings dom0" say 300 "net $3/24 $2" "NET $2 3 of 3"
  check "$1: dom0 pings the guest" ping -c 3 -W 5 "$3"
}
# transfers MODEL
transfers() {
  check "$1: 1 MiB to the guest" say 300 "fetch f" "FETCH $sum"
  takes
  check "$1: 512 KiB from the guest" say 300 "give 8" "GAVE [0-9a-f]+"
  wait $taker
  check "$1: they are the same" same
  check "$1: link down and up" say 300 "flap x" "FLAP 2 of 2"
}
check "xl create" xl create /tmp/net.cfg
domid net > /dev/null || { cat "$(dm_log net)"; done_testing; }
check "the kernel of its configuration reaches user space" say 300 "" "GUEST LINUX UP"
check "the taps are on the bridge" test -e "/sys/class/net/xenbr0/brif/vif$(domid net).0-emu" -a \
  -e "/sys/class/net/xenbr0/brif/vif$(domid net).1-emu"
card e1000 $E1000 10.99.0.3
[ -z "${KEEL_XEN_ALL-}" ] || transfers e1000
card rtl8139 $RTL 10.99.0.2
transfers rtl8139
note "save"
check "xl save" xl save net /tmp/net.save
restored() { xl restore /tmp/net.save || { cat "$(dm_log net)"; return 1; }; }
check "xl restore" restored
check "the restored guest answers" answers net 60 again
check "and has its network" say 300 "fetch f" "FETCH $sum"
check "xl migrate localhost" xl migrate net localhost
check "the migrated guest has its network" say 300 "fetch f" "FETCH $sum"
xl destroy net; gone net 20

mkdir -p /tmp/tftp; cp $G/pxe.0 /tmp/tftp/
cat > /tmp/udhcpd.conf <<C
interface xenbr0
start 10.99.0.100
end 10.99.0.200
option subnet 255.255.255.0
siaddr 10.99.0.1
boot_file pxe.0
lease_file /tmp/leases
pidfile /tmp/udhcpd.pid
C
touch /tmp/leases
udhcpd -f /tmp/udhcpd.conf > /tmp/udhcpd.log 2>&1 & dhcp=$!
tftpd 10.99.0.1 /tmp/tftp > /tmp/tftpd.log 2>&1 & tftp=$!
# pxe MODEL MAC
pxe() {
  note "PXE, $1"
  mkcfg "pxe-$1" <<C
disk=[]
boot="n"
serial="pty"
vga="none"
vnc=0
vif=['mac=$2,bridge=xenbr0,model=$1']
C
  check "$1: xl create without a disk" xl create "/tmp/pxe-$1.cfg"
  check "$1: the card's ROM finds an address and a file, and starts it" ask "pxe-$1" 300 "" "BOOTSECT START"
  xl destroy "pxe-$1"
}
pxe e1000 $E1000
[ -z "${KEEL_XEN_ALL-}" ] || pxe rtl8139 $RTL
check "the file came over TFTP" grep -q "sends pxe.0 to 10.99.0" /tmp/tftpd.log
kill $dhcp $tftp
note "done"
done_testing
