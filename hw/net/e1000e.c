/* SPDX-License-Identifier: MIT */
/* hw/net/e1000e.c - Intel 82574L: what it adds to the 82540EM (e1000.c).
 *
 *   ICR & IMS:  RXQ0  RXQ1  TXQ0  TXQ1  OTHER       each cause of MSI-X has a field in IVAR
 *                 |     |     |     |     |
 *   IVAR         0-3   4-7  8-11  12-15 16-19  ->  vector 0..4, no more often than EITR[vector] allows
 *
 * A message clears its cause in ICR where EIAC says so, and masks it where IAM says so and
 * CTRL_EXT.EIAME is set. Without MSI-X all causes raise INTx or MSI as in the 82540EM; ICR bit 31 then
 * says that this happened, and reading ICR masks what IAM says under IAME.
 * What is left out is in docs/hw/e1000e.md. Reference: 82574 data sheet (317694), 7.4, 10.2.
 */
#include "hw/net/e1000-int.h"

#include "dm/base/bytes.h"

#include <errno.h>
#include <stdlib.h>

enum {
    EERD_START = 1,
    EERD_DONE = 2,
    EECD_REQ = 0x40,
    EECD_GNT = 0x80,
    EECD_PRES = 0x100,
    EECD_AUTO_RD = 0x200,
    EEMNGCTL_CFG_DONE = 1 << 18,
    STATUS_GIO_MASTER = 1 << 19,
    ICR_OTHERS = ICR_LSC | ICR_RXO | ICR_MDAC | 0x70000, /* and small packets, ACK, management */
    IVAR_VALID = 8,
    FLASH_BAR = 1,
    FLASH_BYTES = 0x20000,
    IO_BAR = 2,
    MSIX_BAR = 3,
    CAP_EXPRESS = 0x10,
    EXPRESS_BYTES = 0x14,
};

/* ---- messages ---- */

/* Sends vector v for cause; false when it must wait. */
static bool send(struct e1000 *s, unsigned v, uint32_t cause)
{
    int64_t now = vclock_now(s->pci.dev.m);
    if (s->xreg[X_EITR + v] && now < s->vector_quiet[v]) {
        if (!vtimer_armed(&s->eitr_timer) || s->eitr_timer.when > s->vector_quiet[v]) {
            vtimer_arm_at(&s->eitr_timer, s->vector_quiet[v]);
        }
        return false;
    }
    s->vector_quiet[v] = now + (int64_t)s->xreg[X_EITR + v] * 256;
    msix_notify(&s->msix, v);
    s->reg[R_ICR] &= ~(s->xreg[X_EIAC] & cause);
    if (s->reg[R_CTRL_EXT] & CTRL_EXT_EIAME) {
        s->reg[R_IMS] &= ~(s->xreg[X_IAM] & cause);
    }
    return true;
}

void e1000e_send_messages(struct e1000 *s)
{
    uint32_t ivar = s->xreg[X_IVAR];
    if (s->reg[R_ICR] & ICR_OTHERS) {
        s->reg[R_ICR] |= ICR_OTHER;
    }
    s->signalled &= s->reg[R_ICR] & s->reg[R_IMS];
    for (unsigned i = 0; i < E1000E_VECTORS; i++, ivar >>= 4) {
        uint32_t cause = ICR_RXQ0 << i;
        bool waits = s->reg[R_ICR] & s->reg[R_IMS] & cause & ~s->signalled;
        if (waits && ivar & IVAR_VALID && (ivar & 7) < E1000E_VECTORS && send(s, ivar & 7, cause)) {
            s->signalled |= cause & s->reg[R_ICR] & s->reg[R_IMS];
        }
    }
}

static void eitr_done(void *opaque)
{
    e1000_update_irq(opaque);
}

static uint32_t icr_read(struct e1000 *s)
{
    e1000_delays_settle(s);
    bool messages = msix_enabled(&s->msix), asserted = s->raised;
    uint32_t v = s->reg[R_ICR] | (asserted ? ICR_INT_ASSERTED : 0);
    if (messages || asserted || s->reg[R_IMS] == 0) { /* 10.2.4.1 */
        s->reg[R_ICR] = 0;
    }
    if (!messages && asserted && s->reg[R_CTRL_EXT] & CTRL_EXT_IAME) {
        s->reg[R_IMS] &= ~s->xreg[X_IAM];
    }
    e1000_update_irq(s);
    return v;
}

/* ---- NVM ---- */

void e1000e_fill_eeprom(struct e1000 *s)
{
    static const uint16_t words[][2] = {
        { 0x03, 0x0420 }, { 0x05, 0x1000 }, /* image version 1.0.0 */
        { 0x08, 0xffff }, { 0x09, 0xffff }, /* no part number */
        { 0x0a, 0x026b },                   /* identity is loaded from here */
        { 0x0b, 0x0000 }, { 0x0c, 0x8086 }, /* subsystem */
        { 0x0d, 0x10d3 }, { 0x0e, 0x8086 }, { 0x0f, 0x2400 }, { 0x14, 0x2004 }, { 0x24, 0x0080 },
    };
    e1000_seal_eeprom(s, words, ARRAY_SIZE(words));
}

static void eerd_write(struct e1000 *s, uint32_t val)
{
    unsigned word = val >> 2 & 0x3fff;
    s->reg[R_EERD] = val & 0xfffc;
    if (val & EERD_START) {
        s->reg[R_EERD] |= EERD_DONE | (word < 64 ? (uint32_t)s->eeprom.word[word] << 16 : 0);
    }
}

/* ---- registers ---- */

static const struct {
    uint16_t off;
    uint8_t index; /* enum e1000e_reg */
    uint32_t wmask;
} registers[] = {
    /* offset, where, writable bits: sorted */
    { 0x0034, X_KMRNCTRLSTA, 0x003fffff },
    { 0x00dc, X_EIAC, 0x01f00000 },
    { 0x00e0, X_IAM, ~0u },
    { 0x00e4, X_IVAR, 0x800fffff },
    { 0x00e8, X_EITR, 0xffff },
    { 0x00ec, X_EITR + 1, 0xffff },
    { 0x00f0, X_EITR + 2, 0xffff },
    { 0x00f4, X_EITR + 3, 0xffff },
    { 0x00f8, X_EITR + 4, 0xffff },
    { 0x0f00, X_EXTCNF, 0x0fff00ff },
    { 0x1010, X_EEMNGCTL, 0 },
    { 0x1100, X_PBA_ECC, ~0u },
    { 0x2170, X_PSRCTL, 0x3f3f3f7f },
    { 0x2900, X_RDBAL1, 0xfffffff0 },
    { 0x2904, X_RDBAH1, ~0u },
    { 0x2908, X_RDLEN1, 0x000fff80 },
    { 0x2910, X_RDH1, 0xffff },
    { 0x2918, X_RDT1, 0xffff },
    { 0x2928, X_RXDCTL1, 0x013f3f3f },
    { 0x3840, X_TARC0, ~0u },
    { 0x3900, X_TDBAL1, 0xfffffff0 },
    { 0x3904, X_TDBAH1, ~0u },
    { 0x3908, X_TDLEN1, 0x000fff80 },
    { 0x3910, X_TDH1, 0xffff },
    { 0x3918, X_TDT1, 0xffff },
    { 0x3928, X_TXDCTL1, 0xff3f3f3f },
    { 0x3940, X_TARC1, ~0u },
    { 0x5008, X_RFCTL, 0x0001ffff },
    { 0x5818, X_MRQC, 0x003f0003 },
    { 0x5b00, X_GCR, ~0u },
    { 0x5b30, X_FACTPS, 0 },
    { 0x5b50, X_SWSM, 0x0f },
    { 0x5b54, X_FWSM, 0 },
    { 0x5b58, X_SWSM2, 0x03 },
    { 0x5b64, X_GCR2, ~0u },
    { 0xb608, X_TIMINCA, ~0u },
    { 0xb614, X_TSYNCTXCTL, 0x10 },
    { 0xb620, X_TSYNCRXCTL, 0x1e },
};

static int compare(const void *key, const void *entry)
{
    uint32_t off = *(const uint32_t *)key, at = ((const __typeof__(registers[0]) *)entry)->off;
    return off < at ? -1 : off > at;
}

/* RETA and the hash key. */
static uint32_t *rss_word(struct e1000 *s, uint32_t off)
{
    return off >= 0x5c00 && off < 0x5c80   ? &s->reta[(off - 0x5c00) / 4]
           : off >= 0x5c80 && off < 0x5ca8 ? &s->rss_key[(off - 0x5c80) / 4]
                                           : NULL;
}

bool e1000e_read(struct e1000 *s, uint32_t off, uint32_t *val)
{
    const __typeof__(registers[0]) *r =
        bsearch(&off, registers, ARRAY_SIZE(registers), sizeof(registers[0]), compare);
    const uint32_t *word = r ? &s->xreg[r->index] : rss_word(s, off);
    if (word) {
        *val = *word;
        return true;
    }
    switch (off) {
    case 0x0008: {
        bool off_bus = s->reg[R_CTRL] & CTRL_GIO_MASTER_DISABLE;
        *val = s->reg[R_STATUS] | (off_bus ? 0 : STATUS_GIO_MASTER);
        return true;
    }
    case 0x0010:
        *val = (s->reg[R_EECD] & EECD_REQ ? EECD_REQ | EECD_GNT : 0) | EECD_PRES | EECD_AUTO_RD;
        return true;
    case 0x00c0:
        *val = icr_read(s);
        return true;
    default:
        return false;
    }
}

static void wrote(struct e1000 *s, unsigned index)
{
    switch (index) {
    case X_RDT1:
        nic_kick(s->net.nic);
        break;
    case X_TDT1:
        e1000_transmit(s);
        break;
    case X_IVAR:
        e1000_update_irq(s);
        break;
    default:
        break;
    }
}

bool e1000e_write(struct e1000 *s, uint32_t off, uint32_t val)
{
    const __typeof__(registers[0]) *r =
        bsearch(&off, registers, ARRAY_SIZE(registers), sizeof(registers[0]), compare);
    uint32_t *word = rss_word(s, off);
    if (r) {
        uint32_t *x = &s->xreg[r->index];
        *x = (*x & ~r->wmask) | (val & r->wmask);
        wrote(s, r->index);
        return true;
    }
    if (word) {
        *word = val;
        return true;
    }
    switch (off) {
    case 0x0010:
        s->reg[R_EECD] = val & EECD_REQ;
        return true;
    case 0x0014:
        eerd_write(s, val);
        return true;
    case 0x0100:
        s->reg[R_RCTL] = val & 0x06dfbffe;
        nic_kick(s->net.nic);
        return true;
    case 0x5000: /* RXCSUM, with PCSD */
        s->reg[R_RXCSUM] = val & 0x37ff;
        return true;
    default:
        return false;
    }
}

void e1000e_reset_mac(struct e1000 *s)
{
    memset(s->xreg, 0, sizeof(s->xreg));
    memset(s->reta, 0, sizeof(s->reta));
    memset(s->rss_key, 0, sizeof(s->rss_key));
    memset(s->vector_quiet, 0, sizeof(s->vector_quiet));
    memset(&s->context1, 0, sizeof(s->context1));
    memset(&s->tso1, 0, sizeof(s->tso1));
    s->tx_queue = 0;
    s->signalled = 0;
    s->xreg[X_EEMNGCTL] = EEMNGCTL_CFG_DONE;
    s->xreg[X_TARC0] = s->xreg[X_TARC1] = 0x00000403;
    s->reg[R_PBA] = 0x00140014;
    vtimer_disarm(&s->eitr_timer);
}

/* ---- life ---- */

/* A flash that was never written. */
static uint64_t flash_read(struct device *d, uint64_t off, unsigned size)
{
    (void)d, (void)off;
    return ones(size);
}

static void flash_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    (void)d, (void)off, (void)size, (void)val;
}

static const struct region_ops flash_ops = { flash_read, flash_write, 8, NULL };

/* An endpoint inside the root complex: there is no port above it on this bus. */
static void add_express(struct pci_dev *p)
{
    uint8_t *c = &p->config[pci_add_cap(p, CAP_EXPRESS, EXPRESS_BYTES)];
    c[2] = 9 << 4 | 1;
    store_le(c + 4, 4, 1 << 15); /* role-based error reporting, 128 bytes of payload */
    store_le(c + 12, 4, 0x11);   /* one lane of 2.5 GT/s, able to and at work */
    store_le(c + 18, 2, 0x11);
}

static int init(struct device *d, struct err *e)
{
    static const struct pci_info info = {
        .vendor = 0x8086,
        .device = 0x10d3,
        .subvendor = 0x8086,
        .class = 0x020000,
        .int_pin = 1,
    };
    struct e1000 *s = (struct e1000 *)d;
    s->is_82574 = true;
    int ret = pci_init(&s->pci, &info, e);
    if (ret < 0) {
        return ret;
    }
    pci_add_bar(&s->pci, 0, false, 0x20000, &e1000_mmio_ops, "E1000E MMIO");
    pci_add_bar(&s->pci, FLASH_BAR, false, FLASH_BYTES, &flash_ops, "E1000E FLASH");
    pci_add_bar(&s->pci, IO_BAR, true, 0x20, &e1000_io_ops, "E1000E IO");
    pci_add_power_management(&s->pci);
    pci_add_msi(&s->pci);
    add_express(&s->pci);
    msix_init(&s->pci, &s->msix, E1000E_VECTORS, MSIX_BAR);
    ret = net_dev_init(&s->pci, &s->net, e);
    if (ret < 0) {
        return ret;
    }
    vtimer_init(&s->eitr_timer, d->m, "e1000e eitr", eitr_done, s);
    e1000_start(s);
    return 0;
}

static void reset(struct device *d)
{
    msix_reset(&((struct e1000 *)d)->msix);
    e1000_reset(d);
}

static int loaded(struct device *d, struct err *e)
{
    int ret = msix_loaded(&((struct e1000 *)d)->msix, e);
    return ret == 0 ? e1000_loaded(d, e) : ret;
}

static void fini(struct device *d)
{
    struct e1000 *s = (struct e1000 *)d;
    if (s->eitr_timer.m) {
        vtimer_fini(&s->eitr_timer);
    }
    e1000_fini(d);
}

static const struct dev_prop props[] = {
    NET_DEV_PROPS(struct e1000),
    { NULL, PROP_END, 0, 0, NULL },
};

/* All of struct e1000 that the 82540EM has, too, is one field. */
struct whole {
    struct e1000 e1000;
};
static const struct state_field state[] = {
    FIELD_SUB(struct whole, e1000, e1000_state, 1),
    MSIX_STATE(struct e1000, msix),
    FIELD_ARRAY(struct e1000, xreg),
    FIELD_ARRAY(struct e1000, reta),
    FIELD_ARRAY(struct e1000, rss_key),
    FIELD_SUB(struct e1000, context1, e1000_context_state, 1),
    FIELD_SUB(struct e1000, tso1, e1000_context_state, 1),
    FIELD_RANGE(struct e1000, tx_queue, 0, 1),
    FIELD(struct e1000, signalled),
    FIELD_ARRAY(struct e1000, vector_quiet),
    FIELD_TIMER(struct e1000, eitr_timer),
    FIELD_END,
};

const struct dev_class e1000e_class = {
    .name = "e1000e",
    .desc = "Intel 82574L gigabit Ethernet (PCI 8086:10d3)",
    .size = sizeof(struct e1000),
    .props = props,
    .state = state,
    .state_version = 1,
    .user_creatable = true,
    .init = init,
    .reset = reset,
    .loaded = loaded,
    .fini = fini,
};
