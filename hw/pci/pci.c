/* SPDX-License-Identifier: MIT */
/* hw/pci/pci.c - PCI functions on one root bus: configuration space, BARs, INTx and MSI.
 *
 * Config space is three byte arrays: the value, which bits the guest may write, and which it
 * clears by writing one. Everything else (windows, the INTx wire) is derived from the value after
 * each write, so that a restore only has to bring the bytes back and derive again.
 *
 * A BAR answers only when its decode bit is on and its base is a place a bridge would forward:
 * not 0, and not ending at the top of its space. So a guest may size a BAR with decoding on, as
 * Linux does: all ones in the base is nowhere. A guest that puts a BAR over its own RAM hurts only
 * itself: what traps is decided by whoever owns the vCPUs.
 *
 * Left out: bridges and other buses, 64-bit BARs, MSI with several vectors (no class needs them
 * yet).
 * Reference: PCI Local Bus Specification 3.0, 6.1-6.3, 6.7, 6.8.1.
 */
#include "hw/pci/pci.h"

#include "hw/pci/msix.h"

#include "dm/base/bytes.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    PCI_REVISION = 0x08,
    PCI_CLASS_INTERFACE = 0x09,
    PCI_CACHE_LINE = 0x0c,
    PCI_HEADER_TYPE = 0x0e,
    PCI_SUBVENDOR = 0x2c,
    PCI_SUBDEVICE = 0x2e,

    COMMAND_WRITABLE = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
                       PCI_COMMAND_INTX_DISABLE | 0x0140, /* parity response, SERR# */
    STATUS_INTX = 0x08,
    STATUS_CAPS = 0x10,
    STATUS_W1C_HIGH = 0xf9, /* parity error ... data parity, bits 15-11 and 8 */
    HEADER_MULTIFUNCTION = 0x80,
    BAR_IO = 1,
    BAR_PREFETCH = 8,
    ROM_ENABLE = 1,

    CAP_PM = 0x01,
    PM_LEN = 8,
    PM_VERSION = 2, /* in PMC */
    PMCSR = 4,
    PMCSR_STATE = 3,
    CAP_MSI = 0x05,
    MSI_CONTROL = 2,
    MSI_ADDR = 4,
    MSI_DATA = 12,
    MSI_LEN = 14,
    MSI_ENABLE = 0x01,
    MSI_64BIT = 0x80,
};

const struct state_field pci_state[] = {
    FIELD_ARRAY(struct pci_dev, config),
    FIELD_END,
};

static const struct reg_name cfg_names[] = {
    { 0x00, "VENDOR_ID" },
    { 0x02, "DEVICE_ID" },
    { 0x04, "COMMAND" },
    { 0x06, "STATUS" },
    { 0x08, "REVISION_ID" },
    { 0x09, "CLASS_CODE" },
    { 0x0c, "CACHE_LINE_SIZE" },
    { 0x0d, "LATENCY_TIMER" },
    { 0x0e, "HEADER_TYPE" },
    { 0x0f, "BIST" },
    { 0x10, "BAR0" },
    { 0x14, "BAR1" },
    { 0x18, "BAR2" },
    { 0x1c, "BAR3" },
    { 0x20, "BAR4" },
    { 0x24, "BAR5" },
    { 0x28, "CARDBUS_CIS" },
    { 0x2c, "SUBSYSTEM_VENDOR_ID" },
    { 0x2e, "SUBSYSTEM_ID" },
    { 0x30, "EXPANSION_ROM" },
    { 0x34, "CAP_PTR" },
    { 0x35, "RESERVED" },
    { 0x3c, "INTERRUPT_LINE" },
    { 0x3d, "INTERRUPT_PIN" },
    { 0x3e, "MIN_GNT" },
    { 0x3f, "MAX_LAT" },
    { 0x40, "DEVICE_SPECIFIC" },
    { 0, NULL },
};

static unsigned bar_offset(unsigned n)
{
    return n == PCI_ROM_BAR ? PCI_ROM : PCI_BAR0 + 4 * n;
}

/* Where config says BAR n is, or PCI_BAR_OFF. */
static uint64_t bar_decode(const struct pci_dev *p, unsigned n)
{
    const struct pci_bar *b = &p->bar[n];
    uint32_t val = load_le32(&p->config[bar_offset(n)]);
    uint16_t command = load_le16(&p->config[PCI_COMMAND]);
    uint64_t base = val & ~(b->size - 1) & UINT32_MAX;
    uint64_t top = b->io ? 0xffff : UINT32_MAX;

    if (p->dev.absent || !(command & (b->io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY))) {
        return PCI_BAR_OFF;
    }
    if (n == PCI_ROM_BAR && !(val & ROM_ENABLE)) {
        return PCI_BAR_OFF;
    }
    if (base == 0 || base + b->size - 1 >= top) {
        return PCI_BAR_OFF;
    }
    return base;
}

static void bar_move(struct pci_dev *p, unsigned n, uint64_t at)
{
    struct pci_bar *b = &p->bar[n];
    bool lent = false;

    b->at = at;
    if (b->block) {
        lent = gmem_block_lend(p->dev.m, b->block, at == PCI_BAR_OFF ? GMEM_NOWHERE : at);
    }
    if (at == PCI_BAR_OFF || lent) {
        region_unmap(&b->region);
    } else {
        region_map(&b->region, at);
    }
}

/* Takes back every window that moves before any is put down again: two may swap places. */
static void update_bars(struct pci_dev *p)
{
    for (unsigned n = 0; n <= PCI_ROM_BAR; n++) {
        if (p->bar[n].used && p->bar[n].at != PCI_BAR_OFF && p->bar[n].at != bar_decode(p, n)) {
            bar_move(p, n, PCI_BAR_OFF);
        }
    }
    for (unsigned n = 0; n <= PCI_ROM_BAR; n++) {
        if (p->bar[n].used && p->bar[n].at != bar_decode(p, n)) {
            bar_move(p, n, bar_decode(p, n));
        }
    }
}

static bool msi_enabled(const struct pci_dev *p)
{
    return p->msi_cap && (p->config[p->msi_cap + MSI_CONTROL] & MSI_ENABLE);
}

/* The wire follows the status bit unless the guest turned it off or chose messages. */
static void update_intx(struct pci_dev *p)
{
    bool off = p->dev.absent || load_le16(&p->config[PCI_COMMAND]) & PCI_COMMAND_INTX_DISABLE;

    if (p->config[PCI_INT_PIN]) {
        bool messages = msi_enabled(p) || (p->msix && msix_enabled(p->msix));
        line_set(&p->intx, (p->config[PCI_STATUS] & STATUS_INTX) && !off && !messages);
    }
}

static uint64_t config_read(struct pci_dev *p, unsigned off, unsigned size)
{
    if (p->config_reading) {
        p->config_reading(p, off, size);
    }
    return load_le(&p->config[off], size);
}

static void config_write(struct pci_dev *p, unsigned off, unsigned size, uint64_t val)
{
    for (unsigned i = 0; i < size; i++, val >>= 8) {
        uint8_t *byte = &p->config[off + i], mask = p->wmask[off + i];
        uint8_t v = (uint8_t)val;
        *byte = (uint8_t)(((*byte & ~mask) | (v & mask)) & ~(v & p->w1c[off + i]));
    }
    update_bars(p);
    update_intx(p);
    if (p->msix) {
        msix_config_wrote(p->msix);
    }
    if (p->config_wrote) {
        p->config_wrote(p, off, size);
    }
}

static uint64_t cfg_read(struct device *d, uint64_t off, unsigned size)
{
    return config_read((struct pci_dev *)d, (unsigned)off, size);
}

static void cfg_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    config_write((struct pci_dev *)d, (unsigned)off, size, val);
}

static const struct region_ops cfg_ops = { cfg_read, cfg_write, 4, cfg_names };

static bool slot_free(const struct pci_bus *bus, unsigned slot)
{
    for (unsigned fn = 0; fn < 8; fn++) {
        if (bus->fn[PCI_DEVFN(slot, fn)]) {
            return false;
        }
    }
    return true;
}

/* "slot[.function]", both hexadecimal. Returns devfn or -1. */
static int parse_addr(const char *s)
{
    char *end;
    unsigned long slot = strtoul(s, &end, 16), fn = 0;

    if (end == s || *s == '-' || *s == '+') {
        return -1;
    }
    if (*end == '.') {
        s = end + 1;
        fn = strtoul(s, &end, 16);
        if (end == s || *s == '-' || *s == '+') {
            return -1;
        }
    }
    return *end || slot > 31 || fn > 7 ? -1 : PCI_DEVFN(slot, fn);
}

static int choose_devfn(struct pci_dev *p, struct err *e)
{
    int devfn;

    if (p->addr) {
        devfn = parse_addr(p->addr);
        if (devfn < 0) {
            return err_set(e, -EINVAL, "%s: addr=%s is not slot[.function] in hex", p->dev.id,
                           p->addr);
        }
        if (p->bus->fn[devfn]) {
            return err_set(e, -EBUSY, "%s: addr=%s is taken by %s", p->dev.id, p->addr,
                           p->bus->fn[devfn]->dev.id);
        }
        return devfn;
    }
    for (unsigned slot = 0; slot < 32; slot++) {
        if (slot_free(p->bus, slot)) {
            return PCI_DEVFN(slot, 0);
        }
    }
    return err_set(e, -EBUSY, "%s: the PCI bus has no free slot", p->dev.id);
}

static void fill_header(struct pci_dev *p, const struct pci_info *info)
{
    uint8_t *c = p->config;

    store_le(&c[0x00], 2, info->vendor);
    store_le(&c[0x02], 2, info->device);
    c[PCI_REVISION] = info->revision;
    store_le(&c[PCI_CLASS_INTERFACE], 3, info->class);
    c[PCI_HEADER_TYPE] = info->multifunction ? HEADER_MULTIFUNCTION : 0;
    store_le(&c[PCI_SUBVENDOR], 2, info->subvendor);
    store_le(&c[PCI_SUBDEVICE], 2, info->subdevice);
    c[PCI_INT_PIN] = info->int_pin;

    store_le(&p->wmask[PCI_COMMAND], 2, COMMAND_WRITABLE);
    p->w1c[PCI_STATUS + 1] = STATUS_W1C_HIGH;
    p->wmask[PCI_CACHE_LINE] = 0xff;
    p->wmask[PCI_INT_LINE] = 0xff;
}

int pci_init(struct pci_dev *p, const struct pci_info *info, struct err *e)
{
    int devfn;

    assert(info->int_pin <= 4);
    p->bus = p->dev.m->pci;
    if (!p->bus) {
        return err_set(e, -ENODEV, "%s: this machine has no PCI bus", p->dev.id);
    }
    if (p->bus_name && strcmp(p->bus_name, "pci.0") != 0) {
        p->bus = NULL;
        return err_set(e, -ENODEV, "%s: bus=%s: this machine has pci.0 only", p->dev.id,
                       p->bus_name);
    }
    devfn = choose_devfn(p, e);
    if (devfn < 0) {
        p->bus = NULL;
        return devfn;
    }
    p->devfn = (uint8_t)devfn;
    p->bus->fn[devfn] = p;
    fill_header(p, info);
    if (info->int_pin) {
        line_init(&p->intx, &p->dev, LINE_INTX, (uint16_t)(devfn << 2 | (info->int_pin - 1)));
    }
    region_init(&p->cfg, &p->dev, &cfg_ops, IO_PCI, 256, "CFG");
    region_map(&p->cfg, PCI_CFG_ADDR(devfn, 0));
    return 0;
}

void pci_fini(struct pci_dev *p)
{
    if (!p->bus) {
        return;
    }
    for (unsigned n = 0; n <= PCI_ROM_BAR; n++) {
        if (p->bar[n].used && p->bar[n].at != PCI_BAR_OFF) {
            bar_move(p, n, PCI_BAR_OFF);
        }
    }
    if (p->config[PCI_INT_PIN]) {
        line_fini(&p->intx);
    }
    region_unmap(&p->cfg);
    p->bus->fn[p->devfn] = NULL;
    p->bus = NULL;
}

void pci_reset(struct pci_dev *p)
{
    if (!p->sealed) {
        memcpy(p->power_on, p->config, sizeof(p->config));
        p->sealed = true;
    }
    memcpy(p->config, p->power_on, sizeof(p->config));
    if (p->dev.absent) {
        p->dev.absent = false;
        region_map(&p->cfg, PCI_CFG_ADDR(p->devfn, 0));
    }
    update_bars(p);
    update_intx(p);
}

void pci_vanish(struct pci_dev *p)
{
    if (!p->dev.absent) {
        p->dev.absent = true;
        region_unmap(&p->cfg);
        update_bars(p);
        update_intx(p);
    }
}

int pci_loaded(struct pci_dev *p, struct err *e)
{
    for (unsigned i = 0; i < sizeof(p->config); i++) {
        uint8_t moves = p->wmask[i] | p->w1c[i] | (i == PCI_STATUS ? STATUS_INTX : 0);
        if ((p->config[i] ^ p->power_on[i]) & ~moves) {
            return err_set(e, -EINVAL, "%s: config byte 0x%02x is 0x%02x where 0x%02x is read-only",
                           p->dev.id, i, p->config[i], p->power_on[i]);
        }
    }
    update_bars(p);
    update_intx(p);
    return 0;
}

static struct pci_bar *add_bar(struct pci_dev *p, unsigned n, bool io, uint64_t len,
                               const struct region_ops *ops, const char *name)
{
    struct pci_bar *b = &p->bar[n];
    unsigned off = bar_offset(n);
    uint32_t mask = ~((uint32_t)len - 1);

    assert(n <= PCI_ROM_BAR && !b->used && len <= 1u << 31);
    assert((len & (len - 1)) == 0 && len >= (io ? 4 : n == PCI_ROM_BAR ? 2048 : 16));
    b->used = true;
    b->io = io;
    b->size = len;
    b->at = PCI_BAR_OFF;
    region_init(&b->region, &p->dev, ops, io ? IO_PIO : IO_MMIO, len, name);
    b->region.prio = 0;
    p->config[off] = io ? BAR_IO : 0;
    store_le(&p->wmask[off], 4, n == PCI_ROM_BAR ? mask | ROM_ENABLE : mask);
    return b;
}

void pci_add_bar(struct pci_dev *p, unsigned n, bool io, uint64_t len, const struct region_ops *ops,
                 const char *name)
{
    assert(n < PCI_ROM_BAR);
    add_bar(p, n, io, len, ops, name);
}

void pci_add_block_bar(struct pci_dev *p, unsigned n, struct gmem_block *b, bool prefetch,
                       const struct region_ops *ops, const char *name)
{
    struct pci_bar *bar = add_bar(p, n, false, b->len, ops, name);

    bar->block = b;
    pci_set_prefetch(p, n, prefetch);
}

void pci_set_prefetch(struct pci_dev *p, unsigned n, bool prefetch)
{
    assert(p->bar[n].used && !p->bar[n].io && !p->sealed);
    p->bar[n].prefetch = prefetch && n != PCI_ROM_BAR;
    p->config[bar_offset(n)] = p->bar[n].prefetch ? BAR_PREFETCH : 0;
}

uint64_t pci_bar_at(const struct pci_dev *p, unsigned n)
{
    return p->bar[n].used ? p->bar[n].at : PCI_BAR_OFF;
}

/* The byte that will point at the next capability. */
static uint8_t *cap_tail(struct pci_dev *p)
{
    uint8_t *link = &p->config[PCI_CAP_PTR];

    while (*link) {
        link = &p->config[*link + 1];
    }
    return link;
}

unsigned pci_add_cap(struct pci_dev *p, uint8_t id, unsigned len)
{
    unsigned off = p->cap_end ? p->cap_end : 0x40;

    assert(len >= 2 && off + len <= sizeof(p->config));
    *cap_tail(p) = (uint8_t)off;
    p->config[off] = id;
    p->config[PCI_STATUS] |= STATUS_CAPS;
    p->cap_end = (uint16_t)((off + len + 3) & ~3u);
    return off;
}

void pci_add_msi(struct pci_dev *p)
{
    unsigned off = pci_add_cap(p, CAP_MSI, MSI_LEN);

    p->msi_cap = (uint8_t)off;
    p->config[off + MSI_CONTROL] = MSI_64BIT;
    p->wmask[off + MSI_CONTROL] = MSI_ENABLE;
    store_le(&p->wmask[off + MSI_ADDR], 8, ~3ull);
    store_le(&p->wmask[off + MSI_DATA], 2, 0xffff);
}

void pci_add_power_management(struct pci_dev *p)
{
    unsigned off = pci_add_cap(p, CAP_PM, PM_LEN);

    p->pm_cap = (uint8_t)off;
    p->config[off + 2] = PM_VERSION;
    p->wmask[off + PMCSR] = PMCSR_STATE;
}

bool pci_powered(const struct pci_dev *p)
{
    return !p->pm_cap || (p->config[p->pm_cap + PMCSR] & PMCSR_STATE) == 0;
}

void pci_set_intx(struct pci_dev *p, bool level)
{
    bool was = p->config[PCI_STATUS] & STATUS_INTX;
    const uint8_t *msi = &p->config[p->msi_cap];

    assert(p->config[PCI_INT_PIN]);
    p->config[PCI_STATUS] =
        (uint8_t)((p->config[PCI_STATUS] & ~STATUS_INTX) | (level ? STATUS_INTX : 0));
    update_intx(p);
    if (level && !was && msi_enabled(p)) {
        line_msi(&p->dev, load_le64(msi + MSI_ADDR), load_le16(msi + MSI_DATA));
    }
}

bool pci_bus_master(const struct pci_dev *p)
{
    return !p->dev.absent && p->config[PCI_COMMAND] & PCI_COMMAND_MASTER;
}

int pci_dma_read(struct pci_dev *p, uint64_t gpa, void *buf, size_t len)
{
    return pci_bus_master(p) ? gmem_read(p->dev.m, gpa, buf, len) : -EPERM;
}

int pci_dma_write(struct pci_dev *p, uint64_t gpa, const void *buf, size_t len)
{
    return pci_bus_master(p) ? gmem_write(p->dev.m, gpa, buf, len) : -EPERM;
}

static struct pci_dev *cfg_target(struct machine *m, uint8_t bus, uint8_t devfn, unsigned reg,
                                  unsigned size)
{
    struct pci_dev *p = m->pci && bus == 0 && reg + size <= 256 ? m->pci->fn[devfn] : NULL;

    return p && !p->dev.absent ? p : NULL;
}

uint32_t pci_cfg_read(struct machine *m, uint8_t bus, uint8_t devfn, unsigned reg, unsigned size)
{
    struct pci_dev *p = cfg_target(m, bus, devfn, reg, size);

    return (uint32_t)(p ? config_read(p, reg, size) : ones(size));
}

void pci_cfg_write(struct machine *m, uint8_t bus, uint8_t devfn, unsigned reg, unsigned size,
                   uint32_t val)
{
    struct pci_dev *p = cfg_target(m, bus, devfn, reg, size);

    if (p) {
        config_write(p, reg, size, val);
    }
}
