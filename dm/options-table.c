/* SPDX-License-Identifier: MIT */
/* dm/options-table.c - every command line option of QEMU for x86, and what Keel does with it.
 *
 * Reference: qemu(1) 7.2 to 10, xl's libxl_dm.c for the ones a toolstack writes, docs/cli.md.
 */
#include "dm/options.h"

#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/net.h"
#include "dm/channel.h"
#include "dm/options-host.h"
#include "dm/options-machine.h"
#include "dm/options-pc.h"
#include "dm/options-tcg.h"
#include "dm/xen-net.h"
#include "hw/registry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TAKER(name)                                                                                \
    static int name(struct options *o, const char *arg, struct keyval *kv, struct err *e)

/* Options that only set something. */
#define FLAG(name, statement)                                                                      \
    TAKER(name)                                                                                    \
    {                                                                                              \
        (void)o, (void)arg, (void)kv, (void)e;                                                     \
        statement;                                                                                 \
        return 0;                                                                                  \
    }
FLAG(take_append, o->append = arg)
FLAG(take_bios, o->bios = arg)
FLAG(take_initrd, o->initrd = arg)
FLAG(take_kernel, o->kernel = arg)
FLAG(take_no_hpet, o->no_hpet = true)
FLAG(take_chroot, o->chroot = arg)
FLAG(take_daemonize, o->daemonize = true)
FLAG(take_log_file, o->log_file = arg)
FLAG(take_help, o->action = ACT_HELP)
FLAG(take_version, o->action = ACT_VERSION)
FLAG(take_keymap, o->keymap = arg)
FLAG(take_record, o->record = arg)
FLAG(take_no_acpi, o->acpi = false)
FLAG(take_no_reboot, o->no_reboot = true)
FLAG(take_no_shutdown, o->no_shutdown = true)
FLAG(take_snapshot, o->snapshot = true)
FLAG(take_nothing, (void)0)
FLAG(take_nodefaults, o->nodefaults = true)
FLAG(take_nographic, o->nographic = true)
FLAG(take_pidfile, o->pidfile = arg)
FLAG(take_qtest, o->qtest = arg)
FLAG(take_qtest_log, o->qtest_log = arg)
FLAG(take_runas, o->runas = arg)
FLAG(take_stopped, o->stopped = true)
FLAG(take_domid_restrict, o->domid_restrict = true)
FLAG(take_data_dir, opt_list_add(&o->data_dirs, kv))
FLAG(take_chardev, opt_list_add(&o->chardevs, kv))
FLAG(take_gdb, opt_list_add(&o->gdbs, kv))
FLAG(take_gdb_default, opt_list_add(&o->gdbs, opt_keyval(o, "tcp::1234", NULL)))
FLAG(take_perfmap, o->perf_map = true)
FLAG(take_debugcon, opt_list_add(&o->debugcons, kv))
FLAG(take_monitor, opt_list_add(&o->monitors, kv))
FLAG(take_qmp, opt_list_add(&o->qmps, kv))
FLAG(take_serial, opt_list_add(&o->serials, kv))
FLAG(take_blockdev, opt_list_add(&o->blockdevs, kv))
FLAG(take_drive, opt_list_add(&o->drives, kv))
FLAG(take_vnc, opt_list_add(&o->vncs, kv))
FLAG(take_add_fd, opt_list_add(&o->add_fds, kv))

static const struct opt_param name_params[] = {
    { "guest", "string", false },
    { "process", "string", true },
    { "debug-threads", "boolean", false },
    { 0 },
};

TAKER(take_name)
{
    bool debug_threads; /* Keel's threads always have names */
    (void)arg;
    o->name = keyval_get(kv, "guest");
    return keyval_bool(kv, "debug-threads", &debug_threads, e);
}

static bool uuid_ok(const char *s)
{
    for (int i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? s[i] != '-' : !s[i] || !strchr("0123456789abcdefABCDEF", s[i])) {
            return false;
        }
    }
    return s[36] == '\0';
}

TAKER(take_uuid)
{
    (void)kv;
    o->uuid = arg;
    return uuid_ok(arg) ? 0 : err_set(e, -EINVAL, "not a UUID");
}

TAKER(take_domid)
{
    uint64_t v;
    (void)kv;
    /* Above are Xen's own names: 0x7ff0 DOMID_SELF and up. */
    if (parse_u64(arg, 0x7fef, &v) < 0) {
        return err_set(e, -EINVAL, "expected a domain id from 0 to 32751");
    }
    o->domid = (long)v;
    return 0;
}

static const struct opt_param mon_params[] = {
    { "chardev", "string", false },
    { "id", "string", false },
    { "mode", "string", false },
    { "pretty", "boolean", true },
    { 0 },
};

TAKER(take_mon)
{
    const char *mode = keyval_get(kv, "mode");
    (void)arg;
    if (!keyval_get(kv, "chardev")) {
        return err_set(e, -EINVAL, "chardev: missing");
    }
    if (mode && strcmp(mode, "control") != 0 && strcmp(mode, "readline") != 0) {
        return err_set(e, -EINVAL, "mode=%s: expected control or readline", mode);
    }
    opt_list_add(&o->mons, kv);
    return 0;
}

static const struct opt_param add_fd_params[] = {
    { "fd", "number", false },
    { "set", "number", false },
    { "opaque", "string", false },
    { 0 },
};

static const struct opt_param vnc_params[] = {
    { "vnc", "string", false },
    { "to", "number", false },
    { "password", "boolean", false },
    { "id", "string", false },
    { "websocket", "string", true },
    { "reverse", "boolean", true },
    { "password-secret", "string", true },
    { "tls-creds", "string", true },
    { "tls-authz", "string", true },
    { "sasl", "boolean", true },
    { "sasl-authz", "string", true },
    { "acl", "boolean", true },
    { "lossy", "boolean", true },
    { "non-adaptive", "boolean", true },
    { "share", "string", true },
    { "display", "string", true },
    { "head", "number", true },
    { "lock-key-sync", "boolean", true },
    { "key-delay-ms", "number", true },
    { "connections", "number", true },
    { "audiodev", "string", false },
    { "power-control", "boolean", true },
    { "ipv4", "boolean", true },
    { "ipv6", "boolean", true },
    { 0 },
};

static const struct opt_param drive_params[] = {
    { "file", "string", false },
    { "if", "string", false },
    { "index", "number", false },
    { "bus", "number", false },
    { "unit", "number", false },
    { "media", "string", false },
    { "id", "string", false },
    { "format", "string", false },
    { "cache", "string", false },
    { "aio", "string", false },
    { "encrypt.format", "string", false },
    { "encrypt.key-secret", "string", false },
    { "key-secret", "string", false },
    { "data-file.driver", "string", false },
    { "data-file.filename", "string", false },
    { "readonly", "boolean", false },
    { "read-only", "boolean", false },
    { "discard", "string", false },
    { "detect-zeroes", "string", false },
    { "snapshot", "boolean", false },
    { "rerror", "string", false },
    { "werror", "string", false },
    { "copy-on-read", "boolean", false },
    { "serial", "string", true },
    { "addr", "string", true },
    { "driver", "string", true },
    { "node-name", "string", true },
    { "cache.direct", "boolean", true },
    { "cache.no-flush", "boolean", true },
    { "cache.writeback", "boolean", true },
    { "bps", "number", false },
    { "bps_max", "number", false },
    { "bps_max_length", "number", false },
    { "bps_rd", "number", false },
    { "bps_rd_max", "number", false },
    { "bps_rd_max_length", "number", false },
    { "bps_wr", "number", false },
    { "bps_wr_max", "number", false },
    { "bps_wr_max_length", "number", false },
    { "iops", "number", false },
    { "iops_max", "number", false },
    { "iops_max_length", "number", false },
    { "iops_rd", "number", false },
    { "iops_rd_max", "number", false },
    { "iops_rd_max_length", "number", false },
    { "iops_wr", "number", false },
    { "iops_wr_max", "number", false },
    { "iops_wr_max_length", "number", false },
    { "throttling.bps-total", "number", false },
    { "throttling.bps-total-max", "number", false },
    { "throttling.bps-total-max-length", "number", false },
    { "throttling.bps-read", "number", false },
    { "throttling.bps-read-max", "number", false },
    { "throttling.bps-read-max-length", "number", false },
    { "throttling.bps-write", "number", false },
    { "throttling.bps-write-max", "number", false },
    { "throttling.bps-write-max-length", "number", false },
    { "throttling.iops-total", "number", false },
    { "throttling.iops-total-max", "number", false },
    { "throttling.iops-total-max-length", "number", false },
    { "throttling.iops-read", "number", false },
    { "throttling.iops-read-max", "number", false },
    { "throttling.iops-read-max-length", "number", false },
    { "throttling.iops-write", "number", false },
    { "throttling.iops-write-max", "number", false },
    { "throttling.iops-write-max-length", "number", false },
    { "throttling.group", "string", false },
    { "throttling.iops-size", "number", false },
    { "group", "string", false },
    { "file.locking", "string", false },
    { 0 },
};

/* -hda FILE and its kin are short for -drive file=FILE,... */
static int add_drive(struct options *o, const char *file, const char *interface, const char *index,
                     const char *media)
{
    struct keyval *kv = opt_keyval(o, "", NULL);
    keyval_add(kv, "file", file);
    keyval_add(kv, "if", interface);
    keyval_add(kv, "index", index);
    keyval_add(kv, "media", media);
    opt_list_add(&o->drives, kv);
    return 0;
}
FLAG(take_hda, add_drive(o, arg, "ide", "0", "disk"))
FLAG(take_hdb, add_drive(o, arg, "ide", "1", "disk"))
FLAG(take_hdc, add_drive(o, arg, "ide", "2", "disk"))
FLAG(take_hdd, add_drive(o, arg, "ide", "3", "disk"))
FLAG(take_cdrom, add_drive(o, arg, "ide", "2", "cdrom"))
FLAG(take_fda, add_drive(o, arg, "floppy", "0", "disk"))
FLAG(take_fdb, add_drive(o, arg, "floppy", "1", "disk"))

TAKER(take_device)
{
    const char *driver = keyval_get(kv, "driver");
    (void)arg;
    if (!driver || !*driver) {
        return err_set(e, -EINVAL, "driver: missing");
    }
    opt_list_add(&o->devices, kv);
    if (strcmp(driver, "help") == 0 || strcmp(driver, "?") == 0 || keyval_get(kv, "help") ||
        keyval_get(kv, "?")) {
        o->action = ACT_DEVICE_HELP;
    } else if (!hw_find(device_full_name(driver)) &&
               !xen_card_is(driver)) { /* here: the NIC is named before its -netdev */
        return device_missing(driver, e);
    }
    return 0;
}

TAKER(take_global)
{
    const char *dot = strchr(arg, '.'), *eq = strchr(arg, '=');
    if (!dot || !eq || dot > eq) {
        return err_set(e, -EINVAL, "expected DEVICE.PROPERTY=VALUE");
    }
    opt_list_add(&o->globals, kv);
    return 0;
}

TAKER(take_display)
{
    const char *type = keyval_get(kv, "type");
    (void)o, (void)arg;
    if (type && strcmp(type, "none") == 0) {
        return keyval_done(kv, e);
    }
    return err_not_yet(e, type ? type : "display");
}

TAKER(take_vga)
{
    (void)kv;
    o->vga = arg;
    if (strcmp(arg, "std") == 0 || strcmp(arg, "cirrus") == 0 || strcmp(arg, "none") == 0) {
        return 0;
    }
    return err_not_yet(e, arg);
}

/* The parameters depend on the type; dm/net.c looks at them. */
FLAG(take_netdev, opt_list_add(&o->netdevs, kv))
FLAG(take_nic, opt_list_add(&o->nics, kv))
FLAG(take_net, opt_list_add(&o->nets, kv))

TAKER(take_object)
{
    const char *type = keyval_get(kv, "qom-type");
    if (type && strcmp(type, "secret") == 0) {
        free(kv->text);
        kv->text = opt_public_object(arg); /* messages show it */
        opt_list_add(&o->secrets, kv);
        return 0;
    }
    if (type && (strcmp(type, "tls-creds-x509") == 0 || strcmp(type, "tls-creds-psk") == 0)) {
        opt_list_add(&o->tls, kv);
        return 0;
    }
    if (type && strcmp(type, "throttle-group") == 0) {
        opt_list_add(&o->throttles, kv);
        return 0;
    }
    if (!type || !net_filter_type(type)) {
        return err_not_yet(e, type ? type : "object");
    }
    opt_list_add(&o->filters, kv);
    return 0;
}

TAKER(take_audio)
{
    const char *driver = keyval_get(kv, "driver");
    (void)arg;
    o->audiodev = keyval_get(kv, "id");
    return driver && strcmp(driver, "none") == 0 ? keyval_done(kv, e)
                                                 : err_not_yet(e, driver ? driver : "sound");
}

TAKER(take_incoming)
{
    (void)kv;
    o->incoming = arg;
    return strcmp(arg, "defer") == 0 ? 0 : channel_check(arg, e);
}

TAKER(take_loadvm)
{
    (void)kv;
    o->loadvm = arg;
    return *arg ? 0 : err_set(e, -EINVAL, "the name of a snapshot is expected");
}

const struct opt_def opt_table[] = {
    /* name, takes argument, have, parameters, implied key, taker, help, JSON */
    { "D", true, true, NULL, NULL, take_log_file,
      "FILE  append messages to FILE in place of standard error" },
    { "L", true, true, NULL, NULL, take_data_dir, "DIR  look for option ROM images here first" },
    { "M", true, true, opt_machine_params, "type", opt_take_machine,
      "NAME[,...]  same as -machine" },
    { "S", false, true, NULL, NULL, take_stopped, " start stopped, until `cont`" },
    { "accel", true, true, opt_accel_params, "accel", opt_take_accel,
      "NAME  who owns the vCPUs: tcg (Keel's translator), xen, or qtest for device tests" },
    { "acpitable", true, false, NULL, NULL, NULL, NULL },
    { "action", true, true, opt_action_params, NULL, opt_take_action,
      "[reboot=reset|shutdown][,shutdown=poweroff|pause][,panic=shutdown|pause]" },
    { "add-fd", true, true, add_fd_params, NULL, take_add_fd,
      "fd=N,set=M[,opaque=TEXT]  put an inherited descriptor into /dev/fdset/M" },
    { "alt-grab", false, false, NULL, NULL, NULL, NULL },
    { "append", true, true, NULL, NULL, take_append, "TEXT  command line of the -kernel" },
    { "async-teardown", false, false, NULL, NULL, NULL, NULL },
    { "audio", true, true, NULL, "driver", take_audio, "none  no sound" },
    { "audio-help", false, false, NULL, NULL, NULL, NULL },
    { "audiodev", true, true, NULL, "driver", take_audio, "none,id=ID  no sound", OPT_JSON },
    { "balloon", true, false, NULL, NULL, NULL, NULL },
    { "bios", true, true, NULL, NULL, take_bios, "FILE  the BIOS (bios-256k.bin)" },
    { "blockdev", true, true, NULL, "driver", take_blockdev,
      "driver=raw|qcow2|file,node-name=NAME,file.filename=FILE[,...]", OPT_JSON_NODES },
    { "boot", true, true, opt_boot_params, "order", opt_take_boot,
      "[order=]LETTERS[,once=LETTERS][,menu=on][,strict=on]  a floppy, c disk, d CD-ROM, n "
      "network" },
    { "bootp", true, false, NULL, NULL, NULL, NULL },
    { "cdrom", true, true, NULL, "file", take_cdrom, "FILE  a CD-ROM image at ide.1, unit 0" },
    { "chardev", true, true, NULL, "backend", take_chardev,
      "KIND,id=ID[,...]  a character stream: socket, pty, file, stdio, null" },
    { "chroot", true, true, NULL, NULL, take_chroot,
      "DIR  change the root directory before the guest runs" },
    { "clock", true, false, NULL, NULL, NULL, NULL },
    { "compat", true, false, NULL, NULL, NULL, NULL },
    { "cpu", true, true, NULL, NULL, opt_take_cpu,
      "MODEL[,+FEATURE][,-FEATURE]  what the processors are" },
    { "ctrl-grab", false, false, NULL, NULL, NULL, NULL },
    { "curses", false, false, NULL, NULL, NULL, NULL },
    { "d", true, true, NULL, NULL, opt_take_d, "ITEM,...  log to standard error or -D (-d help)" },
    { "daemonize", false, true, NULL, NULL, take_daemonize,
      " go to the background once the start succeeded" },
    { "debugcon", true, true, NULL, NULL, take_debugcon, "DEV  a debug console at port 0xe9" },
    { "device", true, true, NULL, "driver", take_device,
      "NAME[,PROPERTY=VALUE...]  add a device; help lists them", OPT_JSON },
    { "dfilter", true, true, NULL, NULL, opt_take_dfilter,
      "FIRST..LAST|START+SIZE|START-SIZE,...  -d tells of blocks there only" },
    { "display", true, true, NULL, "type", take_display, "none  no local window" },
    { "drive", true, true, drive_params, "file", take_drive,
      "[file=]FILE[,if=ide|scsi|none|floppy][,index=N][,media=disk|cdrom][,...]" },
    { "dtb", true, false, NULL, NULL, NULL, NULL },
    { "dump-vmstate", true, false, NULL, NULL, NULL, NULL },
    { "echr", true, false, NULL, NULL, NULL, NULL },
    { "enable-fips", false, false, NULL, NULL, NULL, NULL },
    { "enable-kvm", false, false, NULL, NULL, NULL, NULL },
    { "enable-sync-profile", false, false, NULL, NULL, NULL, NULL },
    { "fda", true, true, NULL, "file", take_fda, "FILE  an image in the first floppy drive" },
    { "fdb", true, true, NULL, "file", take_fdb, "FILE  an image in the second floppy drive" },
    { "fsdev", true, false, NULL, NULL, NULL, NULL },
    { "full-screen", false, false, NULL, NULL, NULL, NULL },
    { "fw_cfg", true, true, opt_fw_cfg_params, "name", opt_take_fw_cfg,
      "[name=]NAME,file=FILE|string=TEXT  a file for the firmware to find" },
    { "gdb", true, true, NULL, NULL, take_gdb, "DEV  wait for gdb there: tcp::PORT, unix:PATH" },
    { "global", true, true, NULL, NULL, take_global,
      "DEVICE.PROPERTY=VALUE  a default for every device of that name" },
    { "h", false, true, NULL, NULL, take_help, " this text" },
    { "hda", true, true, NULL, "file", take_hda, "FILE  an IDE disk image" },
    { "hdachs", true, false, NULL, NULL, NULL, NULL },
    { "hdb", true, true, NULL, "file", take_hdb, "FILE  an IDE disk image" },
    { "hdc", true, true, NULL, "file", take_hdc, "FILE  an IDE disk image" },
    { "hdd", true, true, NULL, "file", take_hdd, "FILE  an IDE disk image" },
    { "help", false, true, NULL, NULL, take_help, " this text" },
    { "icount", true, true, opt_icount_params, "shift", opt_take_icount,
      "shift=N|auto[,sleep=on|off]  time follows instructions, 2^N ns each" },
    { "incoming", true, true, NULL, NULL, take_incoming,
      "tcp:HOST:PORT|unix:PATH|fd:N|file:PATH|exec:COMMAND|defer  start from saved state; defer: "
      "QMP's migrate-incoming "
      "says "
      "which" },
    { "initrd", true, true, NULL, NULL, take_initrd,
      "FILE  initial file system; for multiboot \"FILE ARGS,FILE ARGS\", the modules" },
    { "iscsi", true, false, NULL, NULL, NULL, NULL },
    { "jitdump", false, false, NULL, NULL, NULL, NULL },
    { "k", true, true, NULL, NULL, take_keymap,
      "NAME  keyboard layout of VNC viewers that send symbols" },
    { "keel-pass", true, true, NULL, NULL, opt_take_pass,
      "PASS,...  translator passes that run; -PASS takes one out of all" },
    { "keel-perfmap", false, true, NULL, NULL, take_perfmap,
      "tell perf of translated code: /tmp/perf-PID.map" },
    { "keel-record", true, true, NULL, NULL, take_record,
      "FILE  record everything that crosses the doors" },
    { "kernel", true, true, NULL, NULL, take_kernel,
      "FILE  start this Linux bzImage, multiboot image or ELF file with PVH note" },
    { "kvm-shadow-memory", true, false, NULL, NULL, NULL, NULL },
    { "loadvm", true, true, NULL, NULL, take_loadvm,
      "TAG  start from a snapshot of the machine in its disks" },
    { "localtime", false, false, NULL, NULL, NULL, NULL },
    { "m", true, true, opt_memory_params, "size", opt_take_memory,
      "[size=]MiB  guest memory; under Xen without video memory" },
    { "machine", true, true, opt_machine_params, "type", opt_take_machine,
      "pc|xenfv|none[,accel=tcg|xen|qtest][,max-ram-below-4g=SIZE][,smm=on|off][,hpet=on|off]" },
    { "mem-path", true, false, NULL, NULL, NULL, NULL },
    { "mem-prealloc", false, false, NULL, NULL, NULL, NULL },
    { "mon", true, true, mon_params, "chardev", take_mon,
      "[chardev=]ID[,mode=control|readline]  a monitor on a character stream" },
    { "monitor", true, true, NULL, NULL, take_monitor, "DEV  a monitor for people on DEV" },
    { "msg", true, true, opt_msg_params, NULL, opt_take_msg,
      "[timestamp=on|off][,guest-name=on|off]  what log lines start with" },
    { "mtdblock", true, false, NULL, NULL, NULL, NULL },
    { "name", true, true, name_params, "guest", take_name, "NAME  the guest's name" },
    { "net", true, true, NULL, "type", take_net,
      "nic|user|tap|...|none  a card or a back end on hub 0" },
    { "netdev", true, true, NULL, "type", take_netdev,
      "user|tap|bridge|socket|stream|dgram|hubport,id=ID[,...]  a network back end", OPT_JSON },
    { "nic", true, true, NULL, "type", take_nic,
      "user|tap|...[,model=NAME][,mac=ADDRESS]  a card and its back end; none for none" },
    { "no-acpi", false, true, NULL, NULL, take_no_acpi, " no ACPI power management registers" },
    { "no-fd-bootchk", false, false, NULL, NULL, NULL, NULL },
    { "no-frame", false, false, NULL, NULL, NULL, NULL },
    { "no-hpet", false, true, NULL, NULL, take_no_hpet, " no HPET" },
    { "no-kvm", false, false, NULL, NULL, NULL, NULL },
    { "no-kvm-irqchip", false, false, NULL, NULL, NULL, NULL },
    { "no-kvm-pit", false, false, NULL, NULL, NULL, NULL },
    { "no-kvm-pit-reinjection", false, false, NULL, NULL, NULL, NULL },
    { "no-quit", false, false, NULL, NULL, NULL, NULL },
    { "no-reboot", false, true, NULL, NULL, take_no_reboot, " power off where the guest resets" },
    { "no-shutdown", false, true, NULL, NULL, take_no_shutdown, " stay when the guest powers off" },
    { "no-user-config", false, true, NULL, NULL, take_nothing,
      " Keel reads no configuration files anyway" },
    { "nodefaults", false, true, NULL, NULL, take_nodefaults, " only the devices asked for" },
    { "nographic", false, true, NULL, NULL, take_nographic, " no local window" },
    { "numa", true, false, NULL, NULL, NULL, NULL },
    { "object", true, true, NULL, "qom-type", take_object,
      "filter-dump|mirror|redirector|buffer,id=ID,netdev=ID[,...]  between a card and its back "
      "end; secret,id=ID,file=FILE  a passphrase; throttle-group,id=ID[,...]  limits for disks",
      OPT_JSON },
    { "one-insn-per-tb", false, false, NULL, NULL, NULL, NULL },
    { "only-migratable", false, false, NULL, NULL, NULL, NULL },
    { "option-rom", true, true, opt_option_rom_params, "romfile", opt_take_option_rom,
      "FILE[,bootindex=N]  a ROM for the firmware to run" },
    { "overcommit", true, true, opt_overcommit_params, NULL, opt_take_overcommit,
      "mem-lock=on|off  keep all memory out of swap" },
    { "parallel", true, false, NULL, NULL, NULL, NULL },
    { "perfmap", false, false, NULL, NULL, NULL, NULL },
    { "pflash", true, false, NULL, NULL, NULL, NULL },
    { "pidfile", true, true, NULL, NULL, take_pidfile, "FILE  write the process id to FILE" },
    { "plugin", true, false, NULL, NULL, NULL, NULL },
    { "portrait", false, false, NULL, NULL, NULL, NULL },
    { "preconfig", false, false, NULL, NULL, NULL, NULL },
    { "qmp", true, true, NULL, NULL, take_qmp, "DEV  a QMP monitor on DEV" },
    { "qmp-pretty", true, false, NULL, NULL, NULL, NULL },
    { "qtest", true, true, NULL, NULL, take_qtest, "DEV  the device test protocol on DEV" },
    { "qtest-log", true, true, NULL, NULL, take_qtest_log,
      "FILE  copy the device test protocol to FILE" },
    { "readconfig", true, false, NULL, NULL, NULL, NULL },
    { "realtime", true, false, NULL, NULL, NULL, NULL },
    { "redir", true, false, NULL, NULL, NULL, NULL },
    { "rotate", true, false, NULL, NULL, NULL, NULL },
    { "rtc", true, true, opt_rtc_params, NULL, opt_take_rtc,
      "[base=utc|localtime|DATE][,clock=host|rt|vm][,driftfix=none|slew]  the clock chip's time" },
    { "run-with", true, true, opt_run_with_params, NULL, opt_take_run_with,
      "[chroot=DIR][,user=NAME|UID:GID]" },
    { "runas", true, true, NULL, NULL, take_runas,
      "NAME|UID:GID  become this user before the guest runs" },
    { "s", false, true, NULL, NULL, take_gdb_default, "shorthand for -gdb tcp::1234" },
    { "sandbox", true, true, opt_sandbox_params, "enable", opt_take_sandbox,
      "on|off[,obsolete=...][,elevateprivileges=...][,spawn=...][,resourcecontrol=allow|deny]  "
      "system calls to refuse" },
    { "sd", true, false, NULL, NULL, NULL, NULL },
    { "sdl", false, false, NULL, NULL, NULL, NULL },
    { "seed", true, false, NULL, NULL, NULL, NULL },
    { "serial", true, true, NULL, NULL, take_serial,
      "DEV  pty, stdio, file:PATH, unix:PATH, tcp:HOST:PORT, chardev:ID, null, none" },
    { "set", true, false, NULL, NULL, NULL, NULL },
    { "shim", true, false, NULL, NULL, NULL, NULL },
    { "show-cursor", false, false, NULL, NULL, NULL, NULL },
    { "singlestep", false, false, NULL, NULL, NULL, NULL },
    { "smb", true, false, NULL, NULL, NULL, NULL },
    { "smbios", true, true, opt_smbios_params, NULL, opt_take_smbios,
      "type=N,KEY=TEXT...|file=FILE  what the SMBIOS tables say" },
    { "smp", true, true, opt_smp_params, "cpus", opt_take_smp, "[cpus=]N[,maxcpus=M]" },
    { "snapshot", false, true, NULL, NULL, take_snapshot, " writes to disks are gone at the end" },
    { "soundhw", true, false, NULL, NULL, NULL, NULL },
    { "spice", true, false, NULL, NULL, NULL, NULL },
    { "startdate", true, false, NULL, NULL, NULL, NULL },
    { "tb-size", true, false, NULL, NULL, NULL, NULL },
    { "tdf", false, false, NULL, NULL, NULL, NULL },
    { "tftp", true, false, NULL, NULL, NULL, NULL },
    { "tpmdev", true, false, NULL, NULL, NULL, NULL },
    { "trace", true, false, NULL, NULL, NULL, NULL },
    { "usb", false, false, NULL, NULL, NULL, NULL },
    { "usbdevice", true, false, NULL, NULL, NULL, NULL },
    { "uuid", true, true, NULL, NULL, take_uuid, "UUID  for query-uuid" },
    { "version", false, true, NULL, NULL, take_version, " print the version" },
    { "vga", true, true, NULL, NULL, take_vga, "std|cirrus|none" },
    { "virtfs", true, false, NULL, NULL, NULL, NULL },
    { "virtioconsole", true, false, NULL, NULL, NULL, NULL },
    { "vnc", true, true, vnc_params, "vnc", take_vnc,
      "[HOST]:DISPLAY[,to=N][,password=on]  a VNC server; none for none" },
    { "watchdog", true, false, NULL, NULL, NULL, NULL },
    { "watchdog-action", true, false, NULL, NULL, NULL, NULL },
    { "win2k-hack", false, false, NULL, NULL, NULL, NULL },
    { "writeconfig", true, false, NULL, NULL, NULL, NULL },
    { "xen-attach", false, false, NULL, NULL, NULL, NULL },
    { "xen-domid", true, true, NULL, NULL, take_domid, "N  the Xen domain to serve" },
    { "xen-domid-restrict", false, true, NULL, NULL, take_domid_restrict,
      " give up power over other domains" },
    { 0 },
};
