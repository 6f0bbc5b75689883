/* SPDX-License-Identifier: MIT */
/* dm/board.c - the machine's wiring, to be read like a schematic.
 *
 *   slot   xenfv           pc
 *   00.0   i440FX          i440FX
 *   01.0   PIIX3           PIIX3          -> ISA: 8237s, 8042, CMOS, port 92, floppy, UARTs
 *   01.1   piix3-ide       piix3-ide      -> ide.0, ide.1
 *   01.3   PIIX4_PM        PIIX4_PM
 *   02.0   xen-platform    first -device
 *   03.0   first -device   ...
 *
 * Under Xen the hypervisor itself owns PIC, PIT, port 0x61, the RTC's clock, local and I/O APIC,
 * HPET, PM timer and PM1a event block: nothing is built there. Reference: docs/architecture.md.
 */
#include "dm/board.h"

#include "dm/backends.h"
#include "dm/base/chr.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/board-cmos.h"
#include "dm/blockdev.h"
#include "dm/boot-list.h"
#include "dm/firmware.h"
#include "dm/keyval.h"
#include "dm/options.h"
#include "dm/xen-net.h"
#include "hw/ide/ide.h"
#include "hw/isa/cmos-ram.h"
#include "hw/scsi/scsi.h"
#include "hw/timer/i8254.h"
#include "hw/timer/mc146818.h"
#include "ioreq/soft.h"
#include "ioreq/trace.h"
#include "hw/net/net-dev.h"
#include "hw/registry.h"
#include "ioreq/machine.h"
#include "ui/con.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct build {
    struct machine *m;
    const struct options *o;
    struct backends *b;
    struct err *e;
    bool xen;
    bool own; /* the processors are ours: so are interrupts, timers and firmware */
};

const char *board_type(const struct options *o)
{
    static const char *const names[] = { "pc", "xenfv", "none" };
    return names[o->machine];
}

/* Returns what went wrong from the function that builds. */
#define DO(step)                                                                                   \
    do {                                                                                           \
        int ret_ = (step);                                                                         \
        if (ret_ < 0) {                                                                            \
            return ret_;                                                                           \
        }                                                                                          \
    } while (0)

/* ---- making a device ---- */

static int apply_global(struct device *d, const char *text, struct err *e)
{
    const char *dot = strchr(text, '.'), *eq = strchr(text, '=');
    const char *class = d->class->name;
    char prop[64];
    if (strlen(class) != (size_t)(dot - text) || strncmp(text, class, strlen(class)) != 0) {
        return 0;
    }
    snprintf(prop, sizeof(prop), "%.*s", (int)(eq - dot - 1), dot + 1);
    int ret = dev_set_text(d, prop, eq + 1, e);
    if (ret < 0) {
        err_prefix(e, "-global %s", text);
    }
    return ret;
}

/* A device with its defaults, the screen and -global applied; not yet initialised. */
static struct device *make(struct build *s, const char *name, const char *id)
{
    const struct dev_class *class = hw_find(name);
    if (!class) {
        err_set(s->e, -ENOENT, "%s: known, but Keel does not have it yet", name);
        return NULL;
    }
    struct device *d = dev_new(s->m, class, id);
    if (dev_prop_find(class, "con")) {
        dev_set_ptr(d, "con", s->b->con);
    }
    if (dev_prop_find(class, "rom")) {
        dev_set_ptr(d, "rom", backends_rom(s->b, name, NULL, &s->o->data_dirs, s->e));
    }
    if (dev_prop_find(class, "exit")) {
        dev_set_ptr(d, "exit", s->b->exit_hook);
    }
    if (dev_prop_find(class, "eject")) {
        dev_set_ptr(d, "eject", s->b->eject_hook);
    }
    for (size_t i = 0; i < s->o->globals.n; i++) {
        if (apply_global(d, s->o->globals.kv[i]->text, s->e) < 0) {
            dev_free(d);
            return NULL;
        }
    }
    return d;
}

/* Initialises d; on failure it is gone. */
static int finish(struct build *s, struct device *d)
{
    int ret = dev_init(d, s->e);
    if (ret < 0) {
        dev_free(d);
    }
    return ret;
}

static int chip(struct build *s, const char *name, const char *addr)
{
    struct device *d = make(s, name, NULL);
    if (!d) {
        return s->e->code;
    }
    if (addr) {
        dev_set_str(d, "addr", addr);
    }
    return finish(s, d);
}

/* ---- the chips ---- */

static int dma_controller(struct build *s, uint32_t base, uint32_t page_base, uint32_t dshift)
{
    struct device *d = make(s, "i8257", NULL);
    if (!d) {
        return s->e->code;
    }
    dev_set_u32(d, "base", base);
    dev_set_u32(d, "page-base", page_base);
    dev_set_u32(d, "dshift", dshift);
    return finish(s, d);
}

static int power_management(struct build *s)
{
    struct device *d = make(s, "PIIX4_PM", NULL);
    if (!d) {
        return s->e->code;
    }
    dev_set_str(d, "addr", "1.3");
    dev_set_bool(d, "acpi", s->o->acpi);
    dev_set_bool(d, "smm", !s->o->no_smm);
    dev_set_bool(d, "xen", s->xen);
    dev_set_u32(d, "cpus", s->o->cpus);
    return finish(s, d);
}

static void plug_drive(struct drive *dr, struct device *d, const char *prop)
{
    dev_set_ptr(d, prop, dr->blk);
    snprintf(dr->dev_id, sizeof(dr->dev_id), "%s", d->id);
}

static void unplug_disks(void *m, bool aux_only)
{
    ide_unplug_disks(m, aux_only);
    if (!aux_only) {
        scsi_unplug_disks(m);
    }
}

static void unplug_cards(void *m)
{
    net_unplug_cards(m);
}

static int xen_platform(struct build *s)
{
    struct device *d = make(s, "xen-platform", NULL);
    if (!d) {
        return s->e->code;
    }
    s->b->unplug = (struct xen_unplug){ .disks = unplug_disks, .nics = unplug_cards, .o = s->m };
    dev_set_str(d, "addr", "2.0");
    dev_set_ptr(d, "unplug", &s->b->unplug);
    return finish(s, d);
}

static int floppy_controller(struct build *s)
{
    struct device *d = make(s, "isa-fdc", NULL);
    if (!d) {
        return s->e->code;
    }
    for (struct drive *dr = s->b->drives; dr; dr = dr->next) {
        if (dr->interface == DRIVE_FLOPPY) {
            plug_drive(dr, d, dr->unit ? "driveB" : "driveA");
        }
    }
    return finish(s, d);
}

static int ide_drive(struct build *s, struct drive *dr)
{
    char bus[16];
    struct device *d = make(s, dr->cdrom ? "ide-cd" : "ide-hd", NULL);
    if (!d) {
        return s->e->code;
    }
    snprintf(bus, sizeof(bus), "ide.%u", dr->bus);
    dev_set_str(d, "bus", bus);
    dev_set_u32(d, "unit", dr->unit);
    plug_drive(dr, d, "drive");
    return finish(s, d);
}

static int ide_drives(struct build *s)
{
    for (struct drive *dr = s->b->drives; dr; dr = dr->next) {
        if (dr->interface == DRIVE_IDE) {
            int ret = ide_drive(s, dr);
            if (ret < 0) {
                return err_prefix(s->e, "drive '%s'", dr->id);
            }
        }
    }
    return 0;
}

/* if=scsi: on the first adapter; without one the board brings its own. */
static int scsi_drives(struct build *s)
{
    bool adapter = scsi_adapter_present(s->m);
    for (struct drive *dr = s->b->drives; dr; dr = dr->next) {
        if (dr->interface != DRIVE_SCSI) {
            continue;
        }
        if (!adapter) {
            DO(chip(s, "lsi53c895a", NULL));
            adapter = true;
        }
        struct device *d = make(s, dr->cdrom ? "scsi-cd" : "scsi-hd", NULL);
        if (!d) {
            return s->e->code;
        }
        dev_set_u32(d, "scsi-id", dr->unit);
        plug_drive(dr, d, "drive");
        if (finish(s, d) < 0) {
            return err_prefix(s->e, "drive '%s'", dr->id);
        }
    }
    return 0;
}

static int cmos_ram(struct build *s)
{
    uint8_t content[CMOS_RAM_BYTES] = { 0 };
    struct device *d = make(s, "cmos-ram", NULL);
    if (!d) {
        return s->e->code;
    }
    board_cmos(content, s->o, s->b);
    dev_set_ptr(d, "content", content);
    return finish(s, d);
}

static int speaker(struct build *s)
{
    struct device *d = make(s, "isa-pcspk", NULL);
    if (d && s->b->pc.pit) {
        i8254_speaker(s->b->pc.pit, &s->b->pc.speaker);
        dev_set_ptr(d, "timer", &s->b->pc.speaker);
    }
    return d ? finish(s, d) : s->e->code;
}

static int serial_port(struct build *s, uint32_t index, struct chr *c)
{
    struct device *d = make(s, "isa-serial", NULL);
    if (!d) {
        return s->e->code;
    }
    dev_set_u32(d, "index", index);
    dev_set_ptr(d, "chardev", c);
    return finish(s, d);
}

static int serial_ports(struct build *s)
{
    for (size_t i = 0; i < s->o->serials.n; i++) {
        const char *spec = s->o->serials.kv[i]->text;
        char id[16];
        snprintf(id, sizeof(id), "serial%u", (unsigned)i & 0xff);
        struct chr *c = i < 4 ? chr_from_spec(s->b, id, spec, s->e) : NULL;
        if (i >= 4) {
            err_set(s->e, -EINVAL, "there are four serial ports");
        }
        if (!c && s->e->code) {
            return err_prefix(s->e, "-serial %s", spec);
        }
        if (c && serial_port(s, (uint32_t)i, c) < 0) {
            return err_prefix(s->e, "-serial %s", spec);
        }
    }
    return 0;
}

static int debug_consoles(struct build *s)
{
    for (size_t i = 0; i < s->o->debugcons.n; i++) {
        const char *spec = s->o->debugcons.kv[i]->text;
        struct chr *c = chr_from_spec(s->b, "debugcon", spec, s->e);
        struct device *d = c ? make(s, "isa-debugcon", NULL) : NULL;
        if (d) {
            dev_set_ptr(d, "chardev", c);
        }
        if (s->e->code || (d && finish(s, d) < 0)) {
            return err_prefix(s->e, "-debugcon %s", spec);
        }
    }
    return 0;
}

/* A display named with -device takes the default one's place. */
static bool names_display(const struct options *o)
{
    for (size_t i = 0; i < o->devices.n; i++) {
        const struct dev_class *class = hw_find(keyval_get(o->devices.kv[i], "driver"));
        if (class && dev_prop_find(class, "vgamem_mb")) {
            return true;
        }
    }
    return false;
}

static int graphics(struct build *s)
{
    bool wanted = !s->o->nodefaults && !names_display(s->o);
    const char *vga = s->o->vga ? s->o->vga : wanted ? "std" : "none";
    if (strcmp(vga, "none") == 0) {
        return 0;
    }
    return chip(s, strcmp(vga, "cirrus") == 0 ? "cirrus-vga" : "VGA", NULL);
}

/* ---- what -device asks for ---- */

static int find_drive(struct build *s, struct device *d, const char *prop, const char *id)
{
    struct drive *dr = drive_find(s->b, id);
    if (!dr && !(dr = blockdev_drive(s->b, id, s->e))) {
        return err_prefix(s->e, "%s=%s", prop, id);
    }
    if (dr->dev_id[0] || dr->interface != DRIVE_NONE) {
        return err_set(s->e, -EBUSY, "%s=%s: the drive is in use", prop, id);
    }
    plug_drive(dr, d, prop);
    return 0;
}

static int find_chardev(struct build *s, struct device *d, const char *prop, const char *id)
{
    struct chr *c = chr_find(s->b, id);
    if (!c) {
        return err_set(s->e, -ENOENT, "%s=%s: no -chardev has that id", prop, id);
    }
    if (c->handlers) {
        return err_set(s->e, -EBUSY, "%s=%s: the chardev is in use", prop, id);
    }
    dev_set_ptr(d, prop, c);
    return 0;
}

static int find_nic(struct build *s, struct device *d, const char *prop, const char *id)
{
    struct nic *n = nic_find(s->b, id);
    if (!n) {
        return err_set(s->e, -ENOENT, "%s=%s: no -netdev has that id", prop, id);
    }
    if (n->user || n->dev_id[0]) {
        return err_set(s->e, -EBUSY, "%s=%s: the back end is in use", prop, id);
    }
    dev_set_ptr(d, prop, n);
    net_plugged(n, d);
    return 0;
}

/* A card gets what its user left open: an address, a cable. */
static void complete_card(struct build *s, struct device *d, struct keyval *kv)
{
    char mac[18];
    if (!keyval_get(kv, "mac")) {
        net_next_mac(s->b, mac);
        dev_set_str(d, "mac", mac);
    }
    if (!keyval_get(kv, "netdev")) {
        struct nic *n = net_nowhere(s->b, d);
        dev_set_ptr(d, "netdev", n);
        net_plugged(n, d);
    }
}

static int set_romfile(struct build *s, struct device *d, const char *file)
{
    struct pci_rom *rom = NULL;
    if (*file) {
        rom = backends_rom(s->b, d->class->name, file, &s->o->data_dirs, s->e);
        if (!rom) {
            return s->e->code;
        }
    }
    dev_set_ptr(d, "rom", rom);
    return 0;
}

static int user_property(struct build *s, struct device *d, const struct keyval_pair *kv)
{
    const struct dev_prop *p = dev_prop_find(d->class, kv->key);
    if (p && p->kind == PROP_BLK) {
        return find_drive(s, d, kv->key, kv->value);
    }
    if (p && p->kind == PROP_CHR) {
        return find_chardev(s, d, kv->key, kv->value);
    }
    if (p && p->kind == PROP_NIC) {
        return find_nic(s, d, kv->key, kv->value);
    }
    if (p && p->kind == PROP_PTR) {
        return err_set(s->e, -EINVAL, "%s: set by the board", kv->key);
    }
    if (strcmp(kv->key, "bootindex") == 0) {
        return s->own
                   ? 0
                   : err_set(s->e, -EINVAL, "bootindex: needs firmware of Keel's own (accel=tcg)");
    }
    if (strcmp(kv->key, "romfile") == 0 && dev_prop_find(d->class, "rom")) {
        return set_romfile(s, d, kv->value);
    }
    return dev_set_text(d, kv->key, kv->value, s->e);
}

static int user_properties(struct build *s, struct device *d, struct keyval *kv)
{
    for (size_t i = 0; i < kv->n; i++) {
        const char *key = kv->pair[i].key;
        if (strcmp(key, "driver") == 0 || strcmp(key, "id") == 0) {
            continue;
        }
        int ret = user_property(s, d, &kv->pair[i]);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* What d was given is free again. Returns ret. */
static int abandon(struct build *s, struct device *d, int ret)
{
    char id[sizeof(d->id)];
    snprintf(id, sizeof(id), "%s", d->id);
    net_unplugged(s->b, d);
    dev_free(d);
    drives_unplugged(s->b, id, false);
    return ret;
}

static int user_device(struct build *s, struct keyval *kv)
{
    const char *name = keyval_get(kv, "driver"), *id = keyval_get(kv, "id");
    name = device_full_name(name);
    const struct dev_class *class = hw_find(name);
    if (xen_card_is(name)) {
        return xen_card_add(s->b, s->o, kv, s->e);
    }
    if (!class) {
        return device_missing(name, s->e);
    }
    if (!class->user_creatable) {
        return err_set(s->e, -EINVAL, "%s: part of the board, not for -device", name);
    }
    if (id && (strlen(id) >= sizeof(((struct device *)0)->id) || machine_find(s->m, id))) {
        return err_set(s->e, -EINVAL, "id=%s: %s", id,
                       machine_find(s->m, id) ? "used twice" : "longer than 31 bytes");
    }
    struct device *d = make(s, name, id);
    if (!d) {
        return s->e->code;
    }
    if (dev_prop_find(class, "netdev")) {
        complete_card(s, d, kv);
    }
    int ret = user_properties(s, d, kv);
    ret = ret < 0 ? ret : dev_init(d, s->e);
    return ret < 0 ? abandon(s, d, ret) : boot_list_take(&s->b->boot, d, kv, s->e);
}

static int user_devices(struct build *s)
{
    for (size_t i = 0; i < s->o->devices.n; i++) {
        if (user_device(s, s->o->devices.kv[i]) < 0) {
            return err_prefix(s->e, "-device %s", s->o->devices.kv[i]->text);
        }
    }
    return 0;
}

/* What -nic and -net ask for. */
static int default_cards(struct build *s)
{
    for (size_t i = 0; i < s->b->net.ncards; i++) {
        if (user_device(s, s->b->net.cards[i].kv) < 0) {
            return err_prefix(s->e, "%s", s->b->net.cards[i].option);
        }
    }
    return 0;
}

/* A -drive if=none that no -device took is a mistake QEMU lets pass, and so does Keel: a toolstack
 * may name it later. A -global for a device nobody knows is not. */
static int check_globals(struct build *s)
{
    for (size_t i = 0; i < s->o->globals.n; i++) {
        const char *text = s->o->globals.kv[i]->text;
        char name[64];
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(text, "."), text);
        if (!hw_find(name)) {
            device_missing(name, s->e);
            return err_prefix(s->e, "-global %s", text);
        }
    }
    return 0;
}

/* ---- what a hypervisor has in itself ---- */

/* Seconds from UTC now to what the clock chip shall say now. */
static int64_t clock_offset(const struct options *o)
{
    time_t now = time(NULL);
    struct tm local;
    switch (o->rtc_base) {
    case RTC_LOCAL:
        return localtime_r(&now, &local) ? local.tm_gmtoff : 0;
    case RTC_DATE:
        return o->rtc_date - now;
    default:
        return 0;
    }
}

static int clock_chip(struct build *s)
{
    uint8_t content[MC146818_BYTES] = { 0 };
    int64_t offset = clock_offset(s->o);
    struct device *d = make(s, "mc146818rtc", NULL);
    if (!d) {
        return s->e->code;
    }
    board_cmos(content, s->o, s->b);
    dev_set_ptr(d, "content", content);
    dev_set_ptr(d, "offset", &offset);
    dev_set_bool(d, "follow", !s->o->rtc_vm_clock);
    dev_set_bool(d, "slew", s->o->rtc_slew);
    s->b->pc.rtc = d;
    return finish(s, d);
}

/* A chip that board_pc names, with up to two of its connections. */
static int wired_chip(struct build *s, struct device **slot, const char *name, const char *prop,
                      void *to)
{
    *slot = make(s, name, NULL);
    if (!*slot) {
        return s->e->code;
    }
    if (prop) {
        dev_set_ptr(*slot, prop, to);
    }
    return finish(s, *slot);
}

static int local_apics(struct build *s)
{
    struct board_pc *pc = &s->b->pc;
    pc->apic = make(s, "apic", NULL);
    if (!pc->apic) {
        return s->e->code;
    }
    dev_set_u32(pc->apic, "cpus", s->o->max_cpus);
    dev_set_ptr(pc->apic, "pic", &pc->ack);
    dev_set_ptr(pc->apic, "eoi", &pc->eoi);
    dev_set_ptr(pc->apic, "ferr", &pc->ferr);
    return finish(s, pc->apic);
}

static int own_chips(struct build *s)
{
    struct board_pc *pc = &s->b->pc;
    board_pc_wire(pc);
    pc->piix3 = machine_find(s->m, "PIIX3.0");
    DO(wired_chip(s, &pc->pic, "isa-i8259", "intr", &pc->intr));
    DO(local_apics(s));
    DO(wired_chip(s, &pc->ioapic, "ioapic", "messages", &pc->bus));
    DO(wired_chip(s, &pc->pit, "isa-pit", NULL, NULL));
    DO(clock_chip(s));
    if (!s->o->no_hpet) {
        DO(wired_chip(s, &pc->hpet, "hpet", "legacy", &pc->legacy));
    }
    board_pc_connect(pc, s->m);
    return 0;
}

/* Xen's firmware knows the machine from hvmloader; of a kernel only fw_cfg tells it. */
static bool has_fw_cfg(const struct build *s)
{
    return s->own || s->o->kernel;
}

static int firmware(struct build *s)
{
    if (s->m->host == &trace_play_host) {
        return 0; /* what the firmware is told is in the trace */
    }
    if (!s->own) {
        return firmware_offer_kernel(s->b->pc.fw_cfg, s->o, s->b, s->e);
    }
    if (s->m->host == &soft_host_ops) {
        DO(firmware_map_bios(s->m->h, s->o, s->e));
    }
    return firmware_describe(s->b->pc.fw_cfg, s->m, s->o, s->b, s->e);
}

/* ---- the board ---- */

static int isa_chips(struct build *s)
{
    DO(dma_controller(s, 0x00, 0x80, 0));
    DO(dma_controller(s, 0xc0, 0x88, 1));
    DO(chip(s, "i8042", NULL));
    if (!s->own) {
        DO(cmos_ram(s));
    }
    DO(chip(s, "port92", NULL));
    DO(floppy_controller(s));
    if (!s->xen) {
        DO(speaker(s));
    }
    DO(serial_ports(s));
    return debug_consoles(s);
}

int board_build(struct machine *m, const struct options *o, struct backends *b, struct err *e)
{
    struct build s = {
        .m = m, .o = o, .b = b, .e = e, .xen = o->accel == ACCEL_XEN, .own = o->accel == ACCEL_TCG
    };
    *e = (struct err){ 0 };
    if (o->machine == MACHINE_NONE) {
        return 0;
    }
    DO(check_globals(&s));
    DO(chip(&s, "i440FX", NULL));
    DO(chip(&s, "PIIX3", "1.0"));
    if (s.own) {
        DO(own_chips(&s));
    }
    if (has_fw_cfg(&s)) {
        DO(wired_chip(&s, &b->pc.fw_cfg, "fw_cfg_io", NULL, NULL));
    }
    DO(chip(&s, "piix3-ide", "1.1"));
    DO(power_management(&s));
    if (o->machine == MACHINE_XENFV) {
        DO(xen_platform(&s));
    }
    DO(graphics(&s));
    DO(default_cards(&s));
    DO(isa_chips(&s));
    DO(ide_drives(&s));
    DO(user_devices(&s));
    DO(scsi_drives(&s));
    return has_fw_cfg(&s) ? firmware(&s) : 0;
}

int board_device_add(struct machine *m, const struct options *o, struct backends *b,
                     struct keyval *kv, struct device **added, struct err *e)
{
    struct build s = {
        .m = m, .o = o, .b = b, .e = e, .xen = o->accel == ACCEL_XEN, .own = o->accel == ACCEL_TCG
    };
    *e = (struct err){ 0 };
    DO(user_device(&s, kv));
    for (*added = m->devices; (*added)->next;) { /* the newest is the last */
        *added = (*added)->next;
    }
    return 0;
}

/* ---- help ---- */

const char *board_prop_kind(const struct dev_prop *p)
{
    static const char *const names[] = {
        [PROP_BOOL] = "bool", [PROP_U32] = "uint32",  [PROP_SIZE] = "size",  [PROP_STR] = "str",
        [PROP_BLK] = "drive", [PROP_CHR] = "chardev", [PROP_NIC] = "netdev",
    };
    return names[p->kind];
}

static void print_class(const struct dev_class *c)
{
    printf("%s options:\n", c->name);
    for (const struct dev_prop *p = c->props; p && p->kind != PROP_END; p++) {
        if (p->kind != PROP_PTR) {
            printf("  %s=<%s> - %s\n", p->name, board_prop_kind(p), p->help ? p->help : "");
        }
    }
}

int board_device_help(const char *name, struct err *e)
{
    if (strcmp(name, "help") != 0 && strcmp(name, "?") != 0) {
        const struct dev_class *c = hw_find(name);
        if (!c) {
            return device_missing(name, e);
        }
        print_class(c);
        return 0;
    }
    for (size_t i = 0; hw_registry[i]; i++) {
        if (hw_registry[i]->user_creatable) {
            printf("name \"%s\", desc \"%s\"\n", hw_registry[i]->name, hw_registry[i]->desc);
        }
    }
    return 0;
}

void board_machine_help(void)
{
    printf("Supported machines are:\n"
           "none                 no devices\n"
           "pc                   i440FX and PIIX3, with accel=tcg, xen or qtest (default)\n"
           "xenfv                i440FX and PIIX3 with the Xen platform device, accel=xen\n");
}
