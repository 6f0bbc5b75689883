/* SPDX-License-Identifier: MIT */
/* hw/xen/xen-platform.c - 5853:0001, the device by which PV drivers find and tame an HVM machine.
 *
 * Its fixed ports carry the unplug protocol: the driver reads a magic number, names itself, and
 * writes a mask of emulated devices that shall disappear because their PV twins take over; bytes
 * written to port 0x12 are a log. A driver that is blacklisted reads another magic number once it
 * has named its build. BAR 0 is the older way in: two registers that unplug at once. BAR 1 is only
 * address space, where drivers put their grant table; as memory it reads as zero.
 *
 * Left out: the lock that would make the ROM area 0xc0000 read-only (its flag is kept); NVMe, which
 * no machine here has. A half-written log line does not survive a migration.
 * Reference: Xen docs/misc/hvm-emulated-unplug; docs/man/xen-pci-device-reservations.
 */
#include "hw/xen/xen-platform.h"

#include <errno.h>

enum {
    MAGIC = 0x49d2,
    MAGIC_BLACKLISTED = 0xd249,
    PROTOCOL = 1,
    FLAG_ROM_LOCK = 1,

    UNPLUG_DISKS = 1,
    UNPLUG_NICS = 2,
    UNPLUG_AUX_DISKS = 4,
    UNPLUG_ALL = UNPLUG_DISKS | UNPLUG_NICS | UNPLUG_AUX_DISKS,

    LOG_LINE = 200,
};

struct xen_platform {
    struct pci_dev pci;
    bool blacklisted;
    struct xen_unplug *unplug;
    struct region fixed;

    uint8_t flags, unplugged;
    uint16_t product;
    uint32_t build;
    bool named; /* the driver wrote its build number */

    char line[LOG_LINE + 1];
    unsigned line_len;
    struct log_limit log;
};

static void unplug(struct xen_platform *s, unsigned mask)
{
    const struct xen_unplug *u = s->unplug;

    s->unplugged |= mask & UNPLUG_ALL;
    if (u && u->disks && (mask & (UNPLUG_DISKS | UNPLUG_AUX_DISKS))) {
        u->disks(u->o, !(mask & UNPLUG_DISKS));
    }
    if (u && u->nics && (mask & UNPLUG_NICS)) {
        u->nics(u->o);
    }
}

static void log_byte(struct xen_platform *s, uint8_t c)
{
    if (c != '\n' && s->line_len < LOG_LINE) {
        s->line[s->line_len++] = c >= 0x20 && c < 0x7f ? (char)c : '?';
        return;
    }
    s->line[s->line_len] = 0;
    log_limited(&s->log, s->pci.dev.id, "guest: %s", s->line);
    s->line_len = 0;
    if (c != '\n') {
        log_byte(s, c);
    }
}

static uint64_t fixed_read(struct device *d, uint64_t off, unsigned size)
{
    struct xen_platform *s = (struct xen_platform *)d;

    if (off == 0 && size == 2) {
        return s->blacklisted && s->named ? MAGIC_BLACKLISTED : MAGIC;
    }
    if (off == 0 && size == 1) {
        return s->flags;
    }
    return off == 2 && size == 1 ? PROTOCOL : ones(size);
}

static void fixed_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct xen_platform *s = (struct xen_platform *)d;

    if (off == 0 && size == 4) {
        s->build = (uint32_t)val;
        s->named = true;
    } else if (off == 0 && size == 2) {
        unplug(s, val & 0xffff);
    } else if (off == 0 && size == 1) {
        s->flags = val & FLAG_ROM_LOCK;
    } else if (off == 2 && size == 2) {
        s->product = (uint16_t)val;
    } else if (off == 2 && size == 1) {
        log_byte(s, (uint8_t)val);
    }
}

static uint64_t bar0_read(struct device *d, uint64_t off, unsigned size)
{
    return off == 0 && size == 1 ? ((struct xen_platform *)d)->flags : ones(size);
}

static void bar0_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct xen_platform *s = (struct xen_platform *)d;

    val &= ones(size);
    if (off == 0 && size == 1) {
        s->flags = val & FLAG_ROM_LOCK;
    } else if (off == 4 && val == 1) {
        unplug(s, UNPLUG_DISKS | UNPLUG_NICS);
    } else if (off == 8 && (val == 1 || val == 2)) {
        unplug(s, val == 1 ? UNPLUG_DISKS : UNPLUG_NICS);
    }
}

static uint64_t bar1_read(struct device *d, uint64_t off, unsigned size)
{
    (void)d, (void)off, (void)size;
    return 0;
}

static void bar1_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    (void)off, (void)size, (void)val;
    guest_odd(d, "write to the empty memory BAR");
}

static const struct reg_name fixed_names[] = {
    { 0, "UNPLUG" },
    { 2, "PRODUCT_LOG" },
    { 3, "RESERVED" },
    { 0, NULL },
};
static const struct reg_name bar0_names[] = {
    { 0, "FLAGS" }, { 4, "UNPLUG_ALL" }, { 8, "UNPLUG_SOME" }, { 12, "RESERVED" }, { 0, NULL },
};
static const struct region_ops fixed_ops = { fixed_read, fixed_write, 4, fixed_names };
static const struct region_ops bar0_ops = { bar0_read, bar0_write, 4, bar0_names };
static const struct region_ops bar1_ops = { bar1_read, bar1_write, 8, NULL };

static int xen_platform_init(struct device *d, struct err *e)
{
    static const struct pci_info info = {
        .vendor = 0x5853,
        .device = 0x0001,
        .subvendor = 0x5853,
        .subdevice = 0x0001,
        .class = 0xff8000,
        .revision = 1,
        .int_pin = 1,
    };
    struct xen_platform *s = (struct xen_platform *)d;
    int ret = pci_init(&s->pci, &info, e);

    if (ret < 0) {
        return ret;
    }
    pci_add_bar(&s->pci, 0, true, 0x100, &bar0_ops, "XEN_IO");
    pci_add_bar(&s->pci, 1, false, 16 << 20, &bar1_ops, "XEN_MEM");
    pci_set_prefetch(&s->pci, 1, true);
    region_init(&s->fixed, d, &fixed_ops, IO_PIO, 16, "XEN_FIXED");
    region_map(&s->fixed, 0x10);
    return 0;
}

static void xen_platform_reset(struct device *d)
{
    struct xen_platform *s = (struct xen_platform *)d;

    pci_reset(&s->pci);
    s->flags = s->unplugged = 0;
    s->product = 0;
    s->build = 0;
    s->named = false;
    s->line_len = 0;
}

static int xen_platform_loaded(struct device *d, struct err *e)
{
    struct xen_platform *s = (struct xen_platform *)d;

    if (pci_loaded(&s->pci, e) < 0) {
        return -EINVAL;
    }
    unplug(s, s->unplugged);
    return 0;
}

static void xen_platform_fini(struct device *d)
{
    struct xen_platform *s = (struct xen_platform *)d;

    if (s->pci.bus) {
        region_unmap(&s->fixed);
        pci_fini(&s->pci);
    }
}

static const struct dev_prop xen_platform_props[] = {
    PCI_PROPS(struct xen_platform),
    PROP(struct xen_platform, "blacklisted", PROP_BOOL, blacklisted, 0,
         "tell PV drivers not to load"),
    PROP(struct xen_platform, "unplug", PROP_PTR, unplug, 0, "who unplugs emulated devices"),
    { NULL, PROP_END, 0, 0, NULL },
};

static const struct state_field xen_platform_state[] = {
    PCI_STATE(struct xen_platform),
    FIELD_RANGE(struct xen_platform, flags, 0, FLAG_ROM_LOCK),
    FIELD_RANGE(struct xen_platform, unplugged, 0, UNPLUG_ALL),
    FIELD(struct xen_platform, product),
    FIELD(struct xen_platform, build),
    FIELD(struct xen_platform, named),
    FIELD_END,
};

const struct dev_class xen_platform_class = {
    .name = "xen-platform",
    .desc = "Xen platform device: unplug protocol for PV drivers",
    .size = sizeof(struct xen_platform),
    .props = xen_platform_props,
    .state = xen_platform_state,
    .state_version = 1,
    .user_creatable = true,
    .init = xen_platform_init,
    .reset = xen_platform_reset,
    .loaded = xen_platform_loaded,
    .fini = xen_platform_fini,
};
