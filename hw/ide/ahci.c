/* SPDX-License-Identifier: MIT */
/* hw/ide/ahci.c - ICH9 AHCI: the PCI function, HBA and port registers.
 *
 * Six ports, 32 command slots, native command queueing, 64-bit addresses; always in AHCI mode. Left out:
 * port multipliers, command completion coalescing, enclosure management, hot plug, power states (they are
 * accepted and take no time). Reference: Serial ATA AHCI 1.3.1, chapter 3 and 10; ICH9 data sheet 316972.
 */
#include "hw/ide/ahci-int.h"

#include "dm/base/bytes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    HBA_CAP = 0x00,
    HBA_GHC = 0x04,
    HBA_IS = 0x08,
    HBA_PI = 0x0c,
    HBA_VS = 0x10,
    HBA_PORTS = 0x100,
    PORT_BYTES = 0x80,
    BAR_LEN = 0x1000,
    GHC_HR = 1 << 0,
    GHC_IE = 1 << 1,
    GHC_AE = 1u << 31,
    PxCLB = 0x00,
    PxCLBU = 0x04,
    PxFB = 0x08,
    PxFBU = 0x0c,
    PxIS = 0x10,
    PxIE = 0x14,
    PxCMD = 0x18,
    PxTFD = 0x20,
    PxSIG = 0x24,
    PxSSTS = 0x28,
    PxSCTL = 0x2c,
    PxSERR = 0x30,
    PxSACT = 0x34,
    PxCI = 0x38,
    PCMD_ATAPI = 1 << 24,
    PCMD_WRITABLE = 0x03000000 | PCMD_FRE | PCMD_ST | 0x6 /* SUD, POD */,
    SSTS_PRESENT = 0x113, /* communication established, 1.5 Gb/s, active */
    SERR_X = 1 << 26,     /* exchanged */
    IDX_BAR = 4,
    ABAR = 5,
};
#define CAP_VALUE                                                                                  \
    ((AHCI_PORTS - 1u) | (AHCI_SLOTS - 1u) << 8 | 1u << 18 /* AHCI only */ |                       \
     1u << 20 /* 1.5 Gb/s */                                                                       \
     | 1u << 30 /* queueing */ | 1u << 31 /* 64-bit addresses */)
#define PIS_ALL 0xfdc000ffu

static struct ahci *ahci_of(struct device *d)
{
    return (struct ahci *)d;
}

/* ---- interrupts ---- */

static void update_irq(struct ahci *a)
{
    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        if (a->port[i].is & a->port[i].ie) {
            a->is |= 1u << i;
        }
    }
    pci_set_intx(&a->pci, a->is && (a->ghc & GHC_IE));
}

void ahci_raise(struct ahci_port *p, uint32_t bits)
{
    p->is |= bits;
    update_irq(p->hba);
}

/* ---- resets ---- */

static void port_reset(struct ahci_port *p)
{
    struct ide_drive *d = ahci_drive(p);
    ahci_stop(p);
    if (d) {
        ide_drive_reset(d, false);
        p->serr = SERR_X;
    }
    ahci_signature(p);
}

static void port_power_on(struct ahci_port *p)
{
    ahci_stop(p);
    p->clb = p->fb = 0;
    p->is = p->ie = p->sctl = p->serr = 0;
    p->cmd = 6;
    p->ch.control = 0;
    port_reset(p);
}

static void hba_reset(struct ahci *a)
{
    a->ghc = GHC_AE;
    a->is = 0;
    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        port_power_on(&a->port[i]);
    }
    update_irq(a);
}

/* ---- port registers (3.3) ---- */

static uint32_t port_command(const struct ahci_port *p)
{
    struct ide_drive *d = ahci_drive(p);
    uint32_t slot = p->current >= 0 ? (uint32_t)p->current << 8 : 0;
    return p->cmd | slot | (p->cmd & PCMD_FRE ? PCMD_FR : 0) | (p->cmd & PCMD_ST ? PCMD_CR : 0) |
           (d && d->cd ? PCMD_ATAPI : 0);
}

static uint32_t port_read(const struct ahci_port *p, unsigned off)
{
    switch (off) {
    case PxCLB:
        return (uint32_t)p->clb;
    case PxCLBU:
        return (uint32_t)(p->clb >> 32);
    case PxFB:
        return (uint32_t)p->fb;
    case PxFBU:
        return (uint32_t)(p->fb >> 32);
    case PxIS:
        return p->is;
    case PxIE:
        return p->ie;
    case PxCMD:
        return port_command(p);
    case PxTFD:
        return p->tfd;
    case PxSIG:
        return p->sig;
    case PxSSTS:
        return ahci_drive(p) && (p->sctl & 0xf) == 0 ? SSTS_PRESENT : 0;
    case PxSCTL:
        return p->sctl;
    case PxSERR:
        return p->serr;
    case PxSACT:
        return p->sact;
    case PxCI:
        return p->ci;
    default:
        return 0;
    }
}

static void write_command(struct ahci_port *p, uint32_t val)
{
    bool fre = !(p->cmd & PCMD_FRE) && (val & PCMD_FRE);
    bool stops = (p->cmd & PCMD_ST) && !(val & PCMD_ST);
    p->cmd = val & PCMD_WRITABLE;
    if (stops) {
        ahci_stop(p);
        p->tfd &= ~(uint32_t)ST_ERR;
    }
    if (val & PCMD_CLO) {
        p->tfd &= ~(uint32_t)(ST_BSY | ST_DRQ);
    }
    if (fre && p->current < 0 && !p->sact) {
        ahci_signature(p); /* the first FIS waited for a place to go */
    }
    ahci_run(p);
}

static void write_control(struct ahci_port *p, uint32_t val)
{
    bool was = (p->sctl & 0xf) == 1, is = (val & 0xf) == 1;
    p->sctl = val & 0xfff;
    if (is && !was) {
        ahci_stop(p);
        p->tfd = 0x7f;
    } else if (was && !is) {
        port_reset(p);
    }
}

static void port_write(struct ahci_port *p, unsigned off, uint32_t val)
{
    switch (off) {
    case PxCLB:
    case PxCLBU:
        p->clb = with_half(p->clb, off & 4, val) & ~0x3ffull;
        break;
    case PxFB:
    case PxFBU:
        p->fb = with_half(p->fb, off & 4, val) & ~0xffull;
        break;
    case PxIS:
        p->is &= ~val;
        update_irq(p->hba);
        break;
    case PxIE:
        p->ie = val & PIS_ALL;
        update_irq(p->hba);
        break;
    case PxCMD:
        write_command(p, val);
        break;
    case PxSCTL:
        write_control(p, val);
        break;
    case PxSERR:
        p->serr &= ~val;
        break;
    case PxSACT:
        if (p->cmd & PCMD_ST) {
            p->sact |= val;
        }
        break;
    case PxCI:
        if (p->cmd & PCMD_ST) {
            p->ci |= val;
            ahci_run(p);
        }
        break;
    default:
        break;
    }
}

/* ---- HBA registers (3.1) ---- */

static uint32_t hba_read(struct ahci *a, uint64_t off)
{
    uint64_t port = (off - HBA_PORTS) / PORT_BYTES;
    switch (off) {
    case HBA_CAP:
        return CAP_VALUE;
    case HBA_GHC:
        return a->ghc;
    case HBA_IS:
        return a->is;
    case HBA_PI:
        return (1u << AHCI_PORTS) - 1;
    case HBA_VS:
        return 0x00010000;
    default:
        return off >= HBA_PORTS && port < AHCI_PORTS
                   ? port_read(&a->port[port], (unsigned)(off % PORT_BYTES))
                   : 0;
    }
}

static void hba_write(struct ahci *a, uint64_t off, uint32_t val)
{
    uint64_t port = (off - HBA_PORTS) / PORT_BYTES;
    if (off == HBA_GHC && (val & GHC_HR)) {
        hba_reset(a);
    } else if (off == HBA_GHC) {
        a->ghc = GHC_AE | (val & GHC_IE);
        update_irq(a);
    } else if (off == HBA_IS) {
        /* What a port still asks for, or asked for since, is asked for anew: as a message of its own. */
        a->is &= ~val;
        pci_set_intx(&a->pci, a->is && (a->ghc & GHC_IE));
        update_irq(a);
    } else if (off >= HBA_PORTS && port < AHCI_PORTS) {
        port_write(&a->port[port], (unsigned)(off % PORT_BYTES), val);
    }
}

static uint64_t abar_read(struct device *d, uint64_t off, unsigned size)
{
    (void)size; /* the caller keeps the low bytes */
    return hba_read(ahci_of(d), off & ~3ull) >> (8 * (off & 3));
}

/* Registers are written whole (3): anything else is dropped. */
static void abar_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    if (size != 4 || off % 4) {
        guest_odd(d, "write of %u bytes at 0x%llx", size, (unsigned long long)off);
        return;
    }
    hba_write(ahci_of(d), off, (uint32_t)val);
}

static const struct reg_name abar_names[] = {
    { HBA_CAP, "CAP" }, { HBA_GHC, "GHC" }, { HBA_IS, "IS" },      { HBA_PI, "PI" },
    { HBA_VS, "VS" },   { 0x14, "" },       { HBA_PORTS, "PORT" }, { BAR_LEN, NULL },
};
static const struct region_ops abar_ops = { abar_read, abar_write, 4, abar_names };

/* The index/data pair (ICH9 14.1.20): a way in for code without paging. */
enum { IDX_INDEX = 0x10, IDX_DATA = 0x14, IDX_LEN = 0x20 };

static uint64_t idx_read(struct device *d, uint64_t off, unsigned size)
{
    struct ahci *a = ahci_of(d);
    (void)size;
    return off == IDX_INDEX ? a->index : off == IDX_DATA ? hba_read(a, a->index) : 0;
}

static void idx_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct ahci *a = ahci_of(d);
    if (off == IDX_INDEX) {
        a->index = (uint32_t)val & (BAR_LEN - 4);
    } else if (off == IDX_DATA && size == 4) {
        hba_write(a, a->index, (uint32_t)val);
    }
}

static const struct reg_name idx_names[] = {
    { 0, "" }, { IDX_INDEX, "INDEX" }, { IDX_DATA, "DATA" }, { IDX_LEN, NULL }
};
static const struct region_ops idx_ops = { idx_read, idx_write, 4, idx_names };

/* ---- life ---- */

struct ide_channel *ahci_bus_find(struct device *d, const char *name)
{
    size_t len = strlen(d->id);
    const char *n = name + len + 1;
    if (d->class != &ich9_ahci_class || strncmp(name, d->id, len) != 0 || name[len] != '.' ||
        n[0] < '0' || n[0] >= '0' + AHCI_PORTS || n[1]) {
        return NULL;
    }
    return &ahci_of(d)->port[n[0] - '0'].ch;
}

static int ahci_init(struct device *d, struct err *e)
{
    struct ahci *a = ahci_of(d);
    const struct pci_info info = {
        .vendor = 0x8086,
        .device = 0x2922,
        .subvendor = 0x1af4,
        .subdevice = 0x1100,
        .class = 0x010601,
        .revision = 2,
        .int_pin = 1,
    };
    int ret = pci_init(&a->pci, &info, e);
    if (ret < 0) {
        return ret;
    }
    a->pci.config[0x90] = 1 << 6; /* MAP: AHCI mode */
    pci_add_bar(&a->pci, IDX_BAR, true, IDX_LEN, &idx_ops, "AHCI-IDX");
    pci_add_bar(&a->pci, ABAR, false, BAR_LEN, &abar_ops, "AHCI");
    pci_add_msi(&a->pci);
    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        struct ahci_port *p = &a->port[i];
        p->ch.pci = &a->pci;
        p->ch.link = &ahci_link;
        p->hba = a;
        p->index = (uint8_t)i;
        p->current = -1;
    }
    return 0;
}

static void ahci_reset(struct device *d)
{
    pci_reset(&ahci_of(d)->pci);
    ahci_of(d)->index = 0;
    hba_reset(ahci_of(d));
}

static int ahci_loaded(struct device *d, struct err *e)
{
    struct ahci *a = ahci_of(d);
    int ret = pci_loaded(&a->pci, e);
    if (a->index & ~(uint32_t)(BAR_LEN - 4)) {
        return err_set(e, -EINVAL, "index %08x is out of the registers", a->index);
    }
    if (ret == 0) {
        update_irq(a);
    }
    return ret;
}

static void ahci_fini(struct device *d)
{
    pci_fini(&ahci_of(d)->pci);
}

#define P(member) FIELD(struct ahci_port, member)
static const struct state_field port_state[] = {
    P(clb),  P(fb),   P(is),   P(ie), P(cmd),        P(tfd),    P(sig),
    P(sctl), P(serr), P(sact), P(ci), P(ch.control), FIELD_END,
};

static const struct state_field state[] = {
    PCI_STATE(struct ahci),
    FIELD(struct ahci, ghc),
    FIELD(struct ahci, is),
    FIELD(struct ahci, index),
    FIELD_SUB(struct ahci, port, port_state, AHCI_PORTS),
    FIELD_END,
};

static const struct dev_prop props[] = {
    PCI_PROPS(struct ahci),
    { NULL, PROP_END, 0, 0, NULL },
};

const struct dev_class ich9_ahci_class = {
    .name = "ich9-ahci",
    .desc = "ICH9 serial ATA controller (AHCI)",
    .size = sizeof(struct ahci),
    .props = props,
    .state = state,
    .state_version = 1,
    .user_creatable = true,
    .init = ahci_init,
    .reset = ahci_reset,
    .loaded = ahci_loaded,
    .fini = ahci_fini,
};
