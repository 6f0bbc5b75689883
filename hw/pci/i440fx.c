/* SPDX-License-Identifier: MIT */
/* hw/pci/i440fx.c - 82441FX host bridge: the root bus, and configuration mechanism 1.
 *
 * A dword written to port 0xcf8 is the address latch; ports 0xcfc to 0xcff reach the latched
 * register in accesses of any width. Narrower accesses to 0xcf8-0xcfb are not the latch: byte 0xcf9
 * is PIIX3's reset control register, the rest is nobody.
 *
 * PAM and SMRAM go to whoever owns guest memory (gmem_shadow, gmem_smram): under Xen 0xc0000-0xfffff
 * is plain RAM at all times and there is no SMM, so they have no effect there.
 *
 * Left out: what the other memory controller registers do. SMRAM's D_CLS, which hides data but not
 * code, is kept without effect. The turbo reset control register (0x93) is read-only zero. Error
 * reporting never reports.
 * Reference: Intel 82441FX (PMC) data sheet 290549, chapter 3.
 */
#include "hw/pci/i440fx.h"

#include <errno.h>

enum {
    PAM0 = I440FX_PAM0,
    PAM_REGS = I440FX_PAM_REGS,
    PAM_READ = 1,
    PAM_WRITE = 2,
    SMRAM = 0x72,
    SMRAM_RESET = 0x02,    /* C_BASE_SEG: 0xa0000, hard-wired */
    SMRAM_WRITABLE = 0x78, /* D_OPEN, D_CLS, D_LCK, G_SMRAME */
    SMRAM_D_LCK = 0x10,
    SMRAM_D_OPEN = 0x40,
    SMRAM_G_SMRAME = 0x08,

    CONFADD_ENABLE = 0x80000000u,
    CONFADD_BITS = 0x80fffffc,
};

struct i440fx {
    struct pci_dev pci;
    struct pci_bus bus;
    struct region confadd, confdata;
    uint32_t latch;
};

/* DRAM timing and size, PAM and the like: registers whose only effect is to be read back. */
static const struct {
    uint8_t off, last, value, writable;
} stored[] = {
    { 0x50, 0x51, 0x00, 0xff }, /* PMCCFG */
    { 0x52, 0x52, 0x00, 0xff }, /* DETURBO */
    { 0x53, 0x53, 0x80, 0xff }, /* DBC */
    { 0x54, 0x54, 0x00, 0xff }, /* AXC */
    { 0x55, 0x56, 0x00, 0xff }, /* DRT */
    { 0x57, 0x57, 0x01, 0xff }, /* DRAMC */
    { 0x58, 0x58, 0x10, 0xff }, /* DRAMT */
    { 0x59, 0x59, 0x00, 0x70 }, /* PAM0: only its upper half is a segment */
    { 0x5a, 0x5f, 0x00, 0x77 }, /* PAM1..6 */
    { 0x60, 0x67, 0x01, 0xff }, /* DRB0..7 */
    { 0x68, 0x68, 0x00, 0xc0 }, /* FDHC */
    { 0x70, 0x70, 0x00, 0xf8 }, /* MTT */
    { 0x71, 0x71, 0x10, 0xff }, /* CLT */
    { 0x90, 0x90, 0x00, 0xff }, /* ERRCMD */
};

/* D_LCK closes SMRAM and locks its register until the next reset. */
static void smram_lock(struct pci_dev *p)
{
    bool locked = p->config[SMRAM] & SMRAM_D_LCK;

    if (locked) {
        p->config[SMRAM] &= (uint8_t)~SMRAM_D_OPEN;
    }
    p->wmask[SMRAM] = locked ? 0 : SMRAM_WRITABLE;
}

/* PAM0 covers 0xf0000-0xfffff with its upper half; each half of PAM1 to 6 covers 16 KiB from
 * 0xc0000 on. */
static void apply_pam(struct pci_dev *p, unsigned i)
{
    uint8_t v = p->config[PAM0 + i];

    for (unsigned half = i == 0; half < 2; half++) {
        uint8_t bits = v >> (4 * half);
        uint64_t gpa = i == 0 ? 0xf0000 : 0xc0000 + 0x8000 * (i - 1) + 0x4000 * half;
        gmem_shadow(p->dev.m, gpa, i == 0 ? 0x10000 : 0x4000, bits & PAM_READ, bits & PAM_WRITE);
    }
}

static void apply_smram(struct pci_dev *p)
{
    uint8_t v = p->config[SMRAM];
    bool on = v & SMRAM_G_SMRAME;

    gmem_smram(p->dev.m, on, on && (v & SMRAM_D_OPEN));
}

static void apply_memory(struct pci_dev *p)
{
    for (unsigned i = 0; i < PAM_REGS; i++) {
        apply_pam(p, i);
    }
    apply_smram(p);
}

static void i440fx_config_wrote(struct pci_dev *p, unsigned off, unsigned size)
{
    for (unsigned i = 0; i < PAM_REGS; i++) {
        if (off <= PAM0 + i && PAM0 + i < off + size) {
            apply_pam(p, i);
        }
    }
    if (off <= SMRAM && SMRAM < off + size) {
        smram_lock(p);
        apply_smram(p);
    }
}

static uint64_t confadd_read(struct device *d, uint64_t off, unsigned size)
{
    struct i440fx *s = (struct i440fx *)d;

    if (off == 0 && size == 4) {
        return s->latch;
    }
    if (off == 1 && size == 1 && s->bus.cf9) {
        return s->bus.cf9->read(s->bus.cf9_dev, 0, 1);
    }
    return ones(size);
}

static void confadd_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct i440fx *s = (struct i440fx *)d;

    if (off == 0 && size == 4) {
        s->latch = (uint32_t)val & CONFADD_BITS;
    } else if (off == 1 && size == 1 && s->bus.cf9) {
        s->bus.cf9->write(s->bus.cf9_dev, 0, 1, val & 0xff);
    }
}

static uint64_t confdata_read(struct device *d, uint64_t off, unsigned size)
{
    uint32_t at = ((struct i440fx *)d)->latch;

    if (!(at & CONFADD_ENABLE)) {
        return ones(size);
    }
    return pci_cfg_read(d->m, (uint8_t)(at >> 16), (uint8_t)(at >> 8), (at & 0xfc) + (unsigned)off,
                        size);
}

static void confdata_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    uint32_t at = ((struct i440fx *)d)->latch;

    if (at & CONFADD_ENABLE) {
        pci_cfg_write(d->m, (uint8_t)(at >> 16), (uint8_t)(at >> 8), (at & 0xfc) + (unsigned)off,
                      size, (uint32_t)val);
    }
}

static const struct reg_name confadd_names[] = { { 0, "CONFADD" }, { 0, NULL } };
static const struct reg_name confdata_names[] = { { 0, "CONFDATA" }, { 0, NULL } };
static const struct region_ops confadd_ops = { confadd_read, confadd_write, 4, confadd_names };
static const struct region_ops confdata_ops = { confdata_read, confdata_write, 4, confdata_names };

static void fill_config(struct pci_dev *p)
{
    /* Memory decoding and bus mastering of a host bridge are hard-wired on. */
    p->config[PCI_COMMAND] = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
    p->wmask[PCI_COMMAND] = 0x40;
    p->wmask[PCI_COMMAND + 1] = 0x01;
    p->config[PCI_STATUS] = 0x80;     /* fast back-to-back */
    p->config[PCI_STATUS + 1] = 0x02; /* medium DEVSEL timing */
    for (unsigned i = 0; i < ARRAY_SIZE(stored); i++) {
        for (unsigned off = stored[i].off; off <= stored[i].last; off++) {
            p->config[off] = stored[i].value;
            p->wmask[off] = stored[i].writable;
        }
    }
    p->config[SMRAM] = SMRAM_RESET;
    p->wmask[SMRAM] = SMRAM_WRITABLE;
    p->config_wrote = i440fx_config_wrote;
}

static int i440fx_init(struct device *d, struct err *e)
{
    static const struct pci_info info = {
        .vendor = 0x8086,
        .device = 0x1237,
        .subvendor = 0x1af4,
        .subdevice = 0x1100,
        .class = 0x060000,
        .revision = 2,
    };
    struct i440fx *s = (struct i440fx *)d;
    struct pci_dev *p = &s->pci;
    int ret;

    s->bus.m = d->m;
    d->m->pci = &s->bus;
    ret = pci_init(p, &info, e);
    if (ret < 0) {
        d->m->pci = NULL;
        return ret;
    }
    fill_config(p);
    region_init(&s->confadd, d, &confadd_ops, IO_PIO, 4, "CONFADD");
    region_init(&s->confdata, d, &confdata_ops, IO_PIO, 4, "CONFDATA");
    region_map(&s->confadd, 0xcf8);
    region_map(&s->confdata, 0xcfc);
    return 0;
}

static void i440fx_reset(struct device *d)
{
    struct i440fx *s = (struct i440fx *)d;

    pci_reset(&s->pci);
    smram_lock(&s->pci);
    apply_memory(&s->pci);
    s->latch = 0;
}

static int i440fx_loaded(struct device *d, struct err *e)
{
    struct i440fx *s = (struct i440fx *)d;

    s->latch &= CONFADD_BITS;
    s->pci.wmask[SMRAM] = SMRAM_WRITABLE; /* what a running machine may have written before D_LCK */
    if (pci_loaded(&s->pci, e) < 0) {
        return -EINVAL;
    }
    smram_lock(&s->pci);
    apply_memory(&s->pci);
    return 0;
}

static void i440fx_fini(struct device *d)
{
    struct i440fx *s = (struct i440fx *)d;

    region_unmap(&s->confadd);
    region_unmap(&s->confdata);
    pci_fini(&s->pci);
    if (d->m->pci == &s->bus) {
        d->m->pci = NULL;
    }
}

static const struct dev_prop i440fx_props[] = {
    PCI_PROPS(struct i440fx),
    { NULL, PROP_END, 0, 0, NULL },
};

static const struct state_field i440fx_state[] = {
    PCI_STATE(struct i440fx),
    FIELD(struct i440fx, latch),
    FIELD_END,
};

const struct dev_class i440fx_class = {
    .name = "i440FX",
    .desc = "Intel 82441FX host bridge with the root PCI bus",
    .size = sizeof(struct i440fx),
    .props = i440fx_props,
    .state = i440fx_state,
    .state_version = 1,
    .init = i440fx_init,
    .reset = i440fx_reset,
    .loaded = i440fx_loaded,
    .fini = i440fx_fini,
};
