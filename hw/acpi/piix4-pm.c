/* SPDX-License-Identifier: MIT */
/* hw/acpi/piix4-pm.c - 82371AB (PIIX4) function 3: ACPI power management, and what grew around it.
 *
 * Windows, all I/O: PM1 block at PMBA (PMREGMISC turns it on), SMI command at 0xb2, GPE0 at
 * 0xafe0, PCI hot-plug at 0xae00, CPU hot-plug at 0xaf00, SMBus host at SMBBA. Its interrupt is
 * the SCI, ISA IRQ 9.
 *
 * Under Xen (property xen) the hypervisor answers the PM1 event registers and the PM timer itself,
 * so only PM1 control is claimed here. hvmloader requires that 0xf1 to port 0xb2 sets SCI_EN: the
 * SMM handler that would do so on real hardware is played by this device.
 *
 * Where Keel owns the processors a write to 0xb2 is an SMI as soon as DEVACTB.APMC_EN is set; with
 * property smm=off the bit is set from the start, which tells SeaBIOS to leave SMM alone.
 *
 * Left out: other sources of SMIs, device monitors, throttling, general purpose pins, the SMBus slave. The
 * SMBus has no devices: every transaction ends with a device error. The window is PIIX4's 16 bytes.
 * Reference: Intel 82371AB data sheet 290562, chapter 7; ACPI 1.0b, 4.7; the hot-plug registers are
 * those of the ACPI tables in hvmloader and SeaBIOS (docs/specs/acpi_pci_hotplug in QEMU).
 */
#include "hw/acpi/piix4-pm.h"

#include "dm/base/bytes.h"
#include "ioreq/cpu.h"

#include <errno.h>
#include <string.h>

enum {
    PMBA = PIIX4_PMBA,
    DEVACTB3 = 0x5b, /* bits 31-24 */
    APMC_EN = 0x02,
    PMREGMISC = 0x80,
    PMIOSE = 0x01,
    SMBBA = 0x90,
    SMBHSTCFG = 0xd2,
    SMB_HST_EN = 0x01,
    SMB_IRQ9 = 0x08, /* interrupt select, bits 3-1 */
    SMB_INTRSEL = 0x0e,

    PM1_TMR = 0x0001,
    PM1_PWRBTN = 0x0100,
    PM1_WAK = 0x8000,
    PM1_EN_BITS = 0x0521,
    SCI_EN = 0x0001,
    PM1_CNT_STORED = 0x1c03, /* SLP_TYP, BM_RLD, SCI_EN; GBL_RLS and SLP_EN read as zero */
    SLP_EN = 0x2000,

    APM_ENABLE = 0xf1,
    APM_DISABLE = 0xf0,

    GPE_PCI = 0x02,
    GPE_CPU = 0x04,

    SCI_IRQ = 9,
    PM_TIMER_HZ = 3579545,
    PM_TIMER_HALF = 0x800000, /* TMR_STS rises whenever bit 23 changes */
    NS_PER_S = 1000000000,
    CPU_BYTES = 32,

    HST_DEV_ERR = 0x04,
    HST_FAILED = 0x10,
    HST_W1C = 0x1e,
    CNT_INTEREN = 0x01,
    CNT_KILL = 0x02,
    CNT_START = 0x40,
};

struct smbus {
    uint8_t status, control, command, address, data0, data1;
    uint8_t block[32], index;
    uint8_t slave[8]; /* offsets 8..15: kept, without effect */
};

struct piix4_pm {
    struct pci_dev pci;
    bool xen, acpi, smm;
    uint32_t ncpus; /* property: present at power-on */
    struct piix4_pm_eject *eject;

    struct region evt, cnt, tmr, smi, gpe, pcihp, cpuhp, smb;
    struct line sci;
    struct vtimer overflow;

    uint16_t pm1_sts, pm1_en, pm1_cnt;
    uint64_t tmr_due; /* in PM timer ticks: bit 23 changes next, counted from the last clear */
    uint8_t apm_cnt, apm_sts;
    uint16_t gpe_sts, gpe_en;
    uint32_t pci_up, pci_down, pci_sel;
    uint8_t cpu[CPU_BYTES]; /* a bit per processor that is there */
    struct smbus smbus;
};

static uint64_t ticks_now(struct piix4_pm *s)
{
    unsigned __int128 t = (unsigned __int128)vclock_now(s->pci.dev.m) * PM_TIMER_HZ;

    return (uint64_t)(t / NS_PER_S);
}

static int64_t ticks_to_ns(uint64_t ticks)
{
    unsigned __int128 t = (unsigned __int128)ticks * NS_PER_S;

    return (int64_t)((t + PM_TIMER_HZ - 1) / PM_TIMER_HZ);
}

/* When bit 23 changes next. */
static uint64_t next_half(struct piix4_pm *s)
{
    return (ticks_now(s) | (PM_TIMER_HALF - 1)) + 1;
}

static void refresh_tmr_sts(struct piix4_pm *s)
{
    if (!s->xen && ticks_now(s) >= s->tmr_due) {
        s->pm1_sts |= PM1_TMR;
    }
}

static bool smbus_interrupt(const struct piix4_pm *s)
{
    return (s->smbus.control & CNT_INTEREN) && (s->smbus.status & HST_W1C) &&
           (s->pci.config[SMBHSTCFG] & SMB_INTRSEL) == SMB_IRQ9;
}

/* Without SCI_EN the chip raises SMIs instead, which nobody here would hear. */
static void update_sci(struct piix4_pm *s)
{
    bool acpi;

    refresh_tmr_sts(s);
    acpi = (s->pm1_cnt & SCI_EN) && ((s->pm1_sts & s->pm1_en) || (s->gpe_sts & s->gpe_en));
    line_set(&s->sci, acpi || smbus_interrupt(s));
    if (!s->xen && (s->pm1_en & PM1_TMR) && !(s->pm1_sts & PM1_TMR)) {
        vtimer_arm_at(&s->overflow, ticks_to_ns(s->tmr_due));
    } else {
        vtimer_disarm(&s->overflow);
    }
}

static void overflow_fired(void *opaque)
{
    update_sci(opaque);
}

/* ---- PM1 ---- */

static uint64_t evt_read(struct device *d, uint64_t off, unsigned size)
{
    struct piix4_pm *s = (struct piix4_pm *)d;
    uint32_t both;

    refresh_tmr_sts(s);
    both = s->pm1_sts | (uint32_t)s->pm1_en << 16;
    return both >> (8 * off) & ones(size);
}

static void evt_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct piix4_pm *s = (struct piix4_pm *)d;
    uint32_t mask = (uint32_t)(ones(size) << (8 * off));
    uint32_t v = (uint32_t)(val << (8 * off)) & mask;

    refresh_tmr_sts(s);
    if (s->pm1_sts & v & PM1_TMR) {
        s->tmr_due = next_half(s);
    }
    s->pm1_sts &= (uint16_t)~v;
    s->pm1_en = (uint16_t)((s->pm1_en & ~(mask >> 16)) | (v >> 16 & PM1_EN_BITS));
    update_sci(s);
}

static uint64_t cnt_read(struct device *d, uint64_t off, unsigned size)
{
    return (uint64_t)((struct piix4_pm *)d)->pm1_cnt >> (8 * off) & ones(size);
}

/* SLP_TYP as the ACPI tables of hvmloader and SeaBIOS know it: 0 is S5 (and hvmloader's S4), 1 is
 * S3, 2 is S4, which like S5 ends with the power off. */
static void sleep_now(struct piix4_pm *s)
{
    switch (s->pm1_cnt >> 10 & 7) {
    case 0:
    case 2:
        line_power(s->pci.dev.m, POWER_OFF);
        break;
    case 1:
        line_power(s->pci.dev.m, POWER_SUSPEND);
        break;
    default:
        guest_odd(&s->pci.dev, "sleep type %u is none", s->pm1_cnt >> 10 & 7);
        break;
    }
}

static void cnt_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct piix4_pm *s = (struct piix4_pm *)d;
    uint32_t mask = (uint32_t)(ones(size) << (8 * off));
    uint32_t v = (uint32_t)(val << (8 * off)) & mask;

    s->pm1_cnt = (uint16_t)((s->pm1_cnt & ~mask) | (v & PM1_CNT_STORED));
    update_sci(s);
    if (v & SLP_EN) {
        sleep_now(s);
    }
}

static uint64_t tmr_read(struct device *d, uint64_t off, unsigned size)
{
    return (ticks_now((struct piix4_pm *)d) & 0xffffff) >> (8 * off) & ones(size);
}

static void no_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    (void)d, (void)off, (void)size, (void)val;
}

void piix4_pm_power_button(struct device *d)
{
    struct piix4_pm *s = (struct piix4_pm *)d;

    if (!s->xen) {
        s->pm1_sts |= PM1_PWRBTN;
        update_sci(s);
    }
}

void piix4_pm_wake(struct device *d)
{
    struct piix4_pm *s = (struct piix4_pm *)d;

    s->pm1_sts |= PM1_WAK;
    update_sci(s);
}

/* ---- SMI command ---- */

static uint64_t smi_read(struct device *d, uint64_t off, unsigned size)
{
    struct piix4_pm *s = (struct piix4_pm *)d;

    (void)size;
    return off ? s->apm_sts : s->apm_cnt;
}

static void smi_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct piix4_pm *s = (struct piix4_pm *)d;

    (void)size;
    if (off) {
        s->apm_sts = (uint8_t)val;
        return;
    }
    s->apm_cnt = (uint8_t)val;
    if (s->acpi && s->apm_cnt == APM_ENABLE) {
        s->pm1_cnt |= SCI_EN;
    } else if (s->acpi && s->apm_cnt == APM_DISABLE) {
        s->pm1_cnt &= (uint16_t)~SCI_EN;
    }
    update_sci(s);
    if (s->smm && (s->pci.config[DEVACTB3] & APMC_EN)) {
        cpu_smi(d->m, 0); /* the only one whose handler SeaBIOS places */
    }
}

/* ---- general purpose events ---- */

static uint64_t gpe_read(struct device *d, uint64_t off, unsigned size)
{
    struct piix4_pm *s = (struct piix4_pm *)d;
    uint32_t both = s->gpe_sts | (uint32_t)s->gpe_en << 16;

    return both >> (8 * off) & ones(size);
}

static void gpe_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct piix4_pm *s = (struct piix4_pm *)d;
    uint32_t mask = (uint32_t)(ones(size) << (8 * off));
    uint32_t v = (uint32_t)(val << (8 * off)) & mask;

    s->gpe_sts &= (uint16_t)~v;
    s->gpe_en = (uint16_t)((s->gpe_en & ~(mask >> 16)) | v >> 16);
    update_sci(s);
}

static void raise_gpe(struct piix4_pm *s, uint16_t bit)
{
    s->gpe_sts |= bit;
    update_sci(s);
}

/* ---- PCI hot-plug: a bit per slot ---- */

enum { HP_UP = 0x00, HP_DOWN = 0x04, HP_EJECT = 0x08, HP_RMV = 0x0c, HP_SEL = 0x10, HP_LEN = 0x14 };

/* Slots the guest may eject: all but those of the chipset and of video. */
static uint32_t removable(const struct piix4_pm *s)
{
    uint32_t slots = UINT32_MAX;

    for (unsigned devfn = 0; devfn < 256; devfn++) {
        const struct pci_dev *p = s->pci.bus->fn[devfn];
        if (p && (!p->dev.class->user_creatable || p->config[0x0b] == 0x03)) {
            slots &= ~(1u << (devfn >> 3));
        }
    }
    return slots;
}

static uint32_t pcihp_reg(const struct piix4_pm *s, unsigned reg)
{
    switch (reg) {
    case HP_SEL:
        return s->pci_sel;
    case HP_UP:
        return s->pci_sel ? 0 : s->pci_up;
    case HP_DOWN:
        return s->pci_sel ? 0 : s->pci_down;
    case HP_RMV:
        return s->pci_sel ? 0 : removable(s);
    default:
        return 0; /* HP_EJECT reads as the feature set: none */
    }
}

/* Reading UP takes the bits read: the next event must not announce old slots again. */
static uint64_t pcihp_read(struct device *d, uint64_t off, unsigned size)
{
    struct piix4_pm *s = (struct piix4_pm *)d;
    uint64_t shift = 8 * (off & 3), val = pcihp_reg(s, off & ~3u) >> shift & ones(size);

    if (off + size <= HP_DOWN) {
        s->pci_up &= ~(uint32_t)(val << shift);
    }
    return val;
}

static void eject_slots(struct piix4_pm *s, uint32_t slots)
{
    slots &= s->pci_sel ? 0 : removable(s);
    for (unsigned slot = 0; slot < 32; slot++) {
        if (slots >> slot & 1) {
            s->pci_up &= ~(1u << slot);
            s->pci_down &= ~(1u << slot);
            if (s->eject) {
                s->eject->fn(s->eject->opaque, slot);
            }
        }
    }
}

static void pcihp_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct piix4_pm *s = (struct piix4_pm *)d;

    if ((off & ~3u) == HP_EJECT) {
        eject_slots(s, (uint32_t)((val & ones(size)) << (8 * (off & 3))));
    } else if (off == HP_SEL) {
        s->pci_sel = (uint32_t)val; /* only bus 0 exists */
    }
}

void piix4_pm_pci_plug(struct device *d, unsigned slot)
{
    struct piix4_pm *s = (struct piix4_pm *)d;

    s->pci_up |= 1u << (slot & 31);
    raise_gpe(s, GPE_PCI);
}

void piix4_pm_pci_unplug_request(struct device *d, unsigned slot)
{
    struct piix4_pm *s = (struct piix4_pm *)d;

    s->pci_down |= 1u << (slot & 31);
    raise_gpe(s, GPE_PCI);
}

/* ---- CPU hot-plug ---- */

static uint64_t cpuhp_read(struct device *d, uint64_t off, unsigned size)
{
    (void)size;
    return ((struct piix4_pm *)d)->cpu[off];
}

void piix4_pm_cpu_plug(struct device *d, unsigned cpu)
{
    struct piix4_pm *s = (struct piix4_pm *)d;

    s->cpu[cpu / 8 % CPU_BYTES] |= (uint8_t)(1 << cpu % 8);
    raise_gpe(s, GPE_CPU);
}

/* ---- SMBus host, on a bus without devices ---- */

static uint64_t smb_read(struct device *d, uint64_t off, unsigned size)
{
    struct smbus *b = &((struct piix4_pm *)d)->smbus;

    (void)size;
    switch (off) {
    case 0x0:
        return b->status;
    case 0x1:
        return 0; /* slave status */
    case 0x2:
        b->index = 0;
        return b->control;
    case 0x3:
        return b->command;
    case 0x4:
        return b->address;
    case 0x5:
        return b->data0;
    case 0x6:
        return b->data1;
    case 0x7:
        return b->block[b->index++ & 31];
    default:
        return b->slave[off - 8];
    }
}

/* No device acknowledges its address, so a transaction is over at once. */
static void smb_control(struct smbus *b, uint8_t val)
{
    b->control = val & (uint8_t) ~(CNT_START | CNT_KILL);
    if (val & CNT_KILL) {
        b->status |= HST_FAILED;
    } else if (val & CNT_START) {
        b->status |= HST_DEV_ERR;
    }
}

static void smb_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct piix4_pm *s = (struct piix4_pm *)d;
    struct smbus *b = &s->smbus;
    uint8_t v = (uint8_t)val;

    (void)size;
    switch (off) {
    case 0x0:
        b->status &= (uint8_t) ~(v & HST_W1C);
        break;
    case 0x1:
        break;
    case 0x2:
        smb_control(b, v);
        break;
    case 0x3:
        b->command = v;
        break;
    case 0x4:
        b->address = v;
        break;
    case 0x5:
        b->data0 = v;
        break;
    case 0x6:
        b->data1 = v;
        break;
    case 0x7:
        b->block[b->index++ & 31] = v;
        break;
    default:
        b->slave[off - 8] = v;
        break;
    }
    update_sci(s);
}

/* ---- windows ---- */

static const struct reg_name evt_names[] = { { 0, "PMSTS" }, { 2, "PMEN" }, { 0, NULL } };
static const struct reg_name cnt_names[] = { { 0, "PMCNTRL" }, { 0, NULL } };
static const struct reg_name tmr_names[] = { { 0, "PMTMR" }, { 0, NULL } };
static const struct reg_name smi_names[] = { { 0, "APMC" }, { 1, "APMS" }, { 0, NULL } };
static const struct reg_name gpe_names[] = { { 0, "GPE0_STS" }, { 2, "GPE0_EN" }, { 0, NULL } };
static const struct reg_name pcihp_names[] = {
    { HP_UP, "PCI_UP" },   { HP_DOWN, "PCI_DOWN" }, { HP_EJECT, "PCI_EJECT" },
    { HP_RMV, "PCI_RMV" }, { HP_SEL, "PCI_SEL" },   { 0, NULL },
};
static const struct reg_name cpuhp_names[] = { { 0, "CPU_PRESENT" }, { 0, NULL } };
static const struct reg_name smb_names[] = {
    { 0x0, "SMBHSTSTS" }, { 0x1, "SMBSLVSTS" },  { 0x2, "SMBHSTCNT" },  { 0x3, "SMBHSTCMD" },
    { 0x4, "SMBHSTADD" }, { 0x5, "SMBHSTDAT0" }, { 0x6, "SMBHSTDAT1" }, { 0x7, "SMBBLKDAT" },
    { 0x8, "SMBSLVCNT" }, { 0x9, "SMBSHDWCMD" }, { 0xa, "SMBSLVEVT" },  { 0xc, "SMBSLVDAT" },
    { 0, NULL },
};
static const struct region_ops evt_ops = { evt_read, evt_write, 4, evt_names };
static const struct region_ops cnt_ops = { cnt_read, cnt_write, 2, cnt_names };
static const struct region_ops tmr_ops = { tmr_read, no_write, 4, tmr_names };
static const struct region_ops smi_ops = { smi_read, smi_write, 1, smi_names };
static const struct region_ops gpe_ops = { gpe_read, gpe_write, 4, gpe_names };
static const struct region_ops pcihp_ops = { pcihp_read, pcihp_write, 4, pcihp_names };
static const struct region_ops cpuhp_ops = { cpuhp_read, no_write, 1, cpuhp_names };
static const struct region_ops smb_ops = { smb_read, smb_write, 1, smb_names };

static void place(struct region *r, bool on, uint64_t base)
{
    if (!on) {
        region_unmap(r);
    } else if (!r->mapped || r->base != base) {
        region_map(r, base);
    }
}

/* Maps PM1 and SMBus where the configuration registers say. Base 0 would cover the DMA controller:
 * a window there stays off, as a bridge would not forward it. */
static void update_windows(struct piix4_pm *s)
{
    const uint8_t *c = s->pci.config;
    unsigned pm = load_le16(&c[PMBA]) & 0xffc0u, smb = load_le16(&c[SMBBA]) & 0xfff0u;
    bool on = s->acpi && pm && (c[PMREGMISC] & PMIOSE);

    place(&s->evt, on && !s->xen, pm);
    place(&s->cnt, on, pm + 4);
    place(&s->tmr, on && !s->xen, pm + 8);
    place(&s->smb, smb && (c[SMBHSTCFG] & SMB_HST_EN), smb);
}

static void pm_config_wrote(struct pci_dev *p, unsigned off, unsigned size)
{
    (void)off, (void)size;
    update_windows((struct piix4_pm *)p);
    update_sci((struct piix4_pm *)p);
}

static void fill_config(struct piix4_pm *s)
{
    struct pci_dev *p = &s->pci;

    p->config[PCI_STATUS] = 0x80;     /* fast back-to-back */
    p->config[PCI_STATUS + 1] = 0x02; /* medium DEVSEL timing */
    p->config[PMBA] = 0x01;           /* an I/O base */
    p->wmask[PMBA] = 0xc0;
    p->wmask[PMBA + 1] = 0xff;
    p->config[DEVACTB3] = s->smm ? 0 : APMC_EN;
    memset(&p->wmask[0x44], 0xff, 0x7c - 0x44); /* CNTA, CNTB, device monitors: kept */
    p->wmask[PMREGMISC] = PMIOSE;
    store_le(&p->config[SMBBA], 2, 0xb101);
    p->wmask[SMBBA] = 0xf0;
    p->wmask[SMBBA + 1] = 0xff;
    p->config[SMBHSTCFG] = SMB_HST_EN | SMB_IRQ9;
    p->wmask[SMBHSTCFG] = 0x0f;
    p->config_wrote = pm_config_wrote;
}

static void init_regions(struct piix4_pm *s)
{
    struct device *d = &s->pci.dev;

    region_init(&s->evt, d, &evt_ops, IO_PIO, 4, "PM1_EVT");
    region_init(&s->cnt, d, &cnt_ops, IO_PIO, 2, "PM1_CNT");
    region_init(&s->tmr, d, &tmr_ops, IO_PIO, 4, "PM_TMR");
    region_init(&s->smi, d, &smi_ops, IO_PIO, 2, "APM");
    region_init(&s->gpe, d, &gpe_ops, IO_PIO, 4, "GPE0");
    region_init(&s->pcihp, d, &pcihp_ops, IO_PIO, HP_LEN, "PCI_HOTPLUG");
    region_init(&s->cpuhp, d, &cpuhp_ops, IO_PIO, CPU_BYTES, "CPU_HOTPLUG");
    region_init(&s->smb, d, &smb_ops, IO_PIO, 16, "SMBUS");
    region_map(&s->smi, 0xb2);
    if (s->acpi) {
        region_map(&s->gpe, 0xafe0);
        region_map(&s->pcihp, 0xae00);
        region_map(&s->cpuhp, 0xaf00);
    }
}

static int piix4_pm_init(struct device *d, struct err *e)
{
    static const struct pci_info info = {
        .vendor = 0x8086,
        .device = 0x7113,
        .subvendor = 0x1af4,
        .subdevice = 0x1100,
        .class = 0x068000,
        .revision = 3,
        .int_pin = 1,
    };
    struct piix4_pm *s = (struct piix4_pm *)d;
    int ret;

    if (s->ncpus < 1 || s->ncpus > 8 * CPU_BYTES) {
        return err_set(e, -EINVAL, "%s: cpus=%u is not 1 to 256", d->id, s->ncpus);
    }
    ret = pci_init(&s->pci, &info, e);
    if (ret < 0) {
        return ret;
    }
    fill_config(s);
    line_init(&s->sci, d, LINE_ISA, SCI_IRQ);
    vtimer_init(&s->overflow, d->m, "pm-timer", overflow_fired, s);
    init_regions(s);
    for (unsigned cpu = 0; cpu < s->ncpus; cpu++) {
        s->cpu[cpu / 8] |= (uint8_t)(1 << cpu % 8);
    }
    return 0;
}

/* Processors that were plugged stay over a reset, as the machine's do. */
static void piix4_pm_reset(struct device *d)
{
    struct piix4_pm *s = (struct piix4_pm *)d;

    pci_reset(&s->pci);
    s->pm1_sts = s->pm1_en = s->pm1_cnt = 0;
    s->tmr_due = next_half(s);
    s->apm_cnt = s->apm_sts = 0;
    s->gpe_sts = s->gpe_en = 0;
    s->pci_up = s->pci_down = s->pci_sel = 0;
    memset(&s->smbus, 0, sizeof(s->smbus));
    update_windows(s);
    update_sci(s);
}

static int piix4_pm_loaded(struct device *d, struct err *e)
{
    struct piix4_pm *s = (struct piix4_pm *)d;

    if ((s->pm1_en & ~PM1_EN_BITS) || (s->pm1_cnt & ~PM1_CNT_STORED)) {
        return err_set(e, -EINVAL, "%s: reserved bits are set in PM1", d->id);
    }
    if (s->tmr_due > ticks_now(s) + PM_TIMER_HALF) { /* a machine with an earlier clock */
        s->tmr_due = next_half(s);
    }
    if (pci_loaded(&s->pci, e) < 0) {
        return -EINVAL;
    }
    update_windows(s);
    update_sci(s);
    return 0;
}

static void piix4_pm_fini(struct device *d)
{
    struct piix4_pm *s = (struct piix4_pm *)d;
    struct region *all[] = { &s->evt, &s->cnt,   &s->tmr,   &s->smi,
                             &s->gpe, &s->pcihp, &s->cpuhp, &s->smb };

    if (!s->pci.bus) {
        return;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
        region_unmap(all[i]);
    }
    vtimer_fini(&s->overflow);
    line_fini(&s->sci);
    pci_fini(&s->pci);
}

static const struct dev_prop piix4_pm_props[] = {
    PCI_PROPS(struct piix4_pm),
    PROP(struct piix4_pm, "acpi", PROP_BOOL, acpi, 1, "answer the ACPI registers"),
    PROP(struct piix4_pm, "xen", PROP_BOOL, xen, 0, "Xen owns PM timer and PM1 events"),
    PROP(struct piix4_pm, "smm", PROP_BOOL, smm, 1, "SMM command port raises SMIs"),
    PROP(struct piix4_pm, "cpus", PROP_U32, ncpus, 1, "processors present at power-on"),
    PROP(struct piix4_pm, "eject", PROP_PTR, eject, 0, "who removes an ejected slot"),
    { NULL, PROP_END, 0, 0, NULL },
};

static const struct state_field smbus_state[] = {
    FIELD(struct smbus, status),      FIELD(struct smbus, control),
    FIELD(struct smbus, command),     FIELD(struct smbus, address),
    FIELD(struct smbus, data0),       FIELD(struct smbus, data1),
    FIELD_ARRAY(struct smbus, block), FIELD(struct smbus, index),
    FIELD_ARRAY(struct smbus, slave), FIELD_END,
};

static const struct state_field piix4_pm_state[] = {
    PCI_STATE(struct piix4_pm),
    FIELD(struct piix4_pm, pm1_sts),
    FIELD(struct piix4_pm, pm1_en),
    FIELD(struct piix4_pm, pm1_cnt),
    FIELD(struct piix4_pm, tmr_due),
    FIELD(struct piix4_pm, apm_cnt),
    FIELD(struct piix4_pm, apm_sts),
    FIELD(struct piix4_pm, gpe_sts),
    FIELD(struct piix4_pm, gpe_en),
    FIELD(struct piix4_pm, pci_up),
    FIELD(struct piix4_pm, pci_down),
    FIELD(struct piix4_pm, pci_sel),
    FIELD_ARRAY(struct piix4_pm, cpu),
    FIELD_SUB(struct piix4_pm, smbus, smbus_state, 1),
    FIELD_END,
};

const struct dev_class piix4_pm_class = {
    .name = "PIIX4_PM",
    .desc = "Intel 82371AB power management function with ACPI hot-plug",
    .size = sizeof(struct piix4_pm),
    .props = piix4_pm_props,
    .state = piix4_pm_state,
    .state_version = 1,
    .init = piix4_pm_init,
    .reset = piix4_pm_reset,
    .loaded = piix4_pm_loaded,
    .fini = piix4_pm_fini,
};
