/* SPDX-License-Identifier: MIT */
/* hw/net/e1000.c - Intel 82540EM gigabit controller: registers, interrupts, PHY, EEPROM.
 *
 * Sending is in e1000-tx.c, receiving in e1000-rx.c. What is left out is in docs/hw/e1000.md.
 * Reference: PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual (317453),
 * 13 (registers), 5.6 (EEPROM), 8.10 (PHY).
 */
#include "hw/net/e1000-int.h"

#include "dm/base/bytes.h"

#include <errno.h>
#include <stdlib.h>

enum {
    EECD_SK = 1,
    EECD_CS = 2,
    EECD_DI = 4,
    EECD_DO = 8,
    EECD_FWE = 0x30,
    EECD_REQ = 0x40,
    EECD_GNT = 0x80,
    EECD_PRES = 0x100,
    EERD_START = 1,
    EERD_DONE = 0x10,
    MDIC_WRITE = 1,
    MDIC_READ = 2,
    PHY_ADDRESS = 1,
    AUTONEG_NS = 500 * 1000 * 1000,
};
#define MDIC_READY (1u << 28)
#define MDIC_I (1u << 29)
#define MDIC_E (1u << 30)

enum { /* PHY registers: IEEE 802.3, 22.2.4, and the Marvell 88E1011S of the 82540EM */
       PHY_CTRL = 0,
       PHY_STATUS = 1,
       PHY_ID1 = 2,
       PHY_ID2 = 3,
       PHY_AN_ADV = 4,
       PHY_AN_PARTNER = 5,
       PHY_AN_EXP = 6,
       PHY_1000T_CTRL = 9,
       PHY_1000T_STATUS = 10,
       PHY_EXT_STATUS = 15,
       M88_CTRL = 16,
       M88_STATUS = 17,
       M88_INT_ENABLE = 18,
       M88_INT_STATUS = 19,
       M88_EXT_CTRL = 20,
       M88_ERRORS = 21,

       PHY_CTRL_RESET = 0x8000,
       PHY_CTRL_AUTONEG = 0x1000,
       PHY_CTRL_RESTART = 0x0200,
       PHY_STATUS_DONE = 0x0020,
       PHY_STATUS_LINK = 0x0004,
       M88_STATUS_UP = 0xac08 | 0x0400, /* 1000, full duplex, resolved, link */
       M88_STATUS_DOWN = 0x8000,
};

/* ---- interrupts ---- */

static void raise(struct e1000 *s, bool on)
{
    s->raised = on;
    pci_set_intx(&s->pci, on);
}

/* 13.4.18: between two assertions at least ITR * 256 ns pass. */
void e1000_update_irq(struct e1000 *s)
{
    int64_t now;
    if (s->is_82574 && msix_enabled(&s->msix)) {
        raise(s, false);
        e1000e_send_messages(s);
        return;
    }
    if (!(s->reg[R_ICR] & s->reg[R_IMS])) {
        vtimer_disarm(&s->itr_timer);
        raise(s, false);
        return;
    }
    if (s->raised || vtimer_armed(&s->itr_timer)) {
        return;
    }
    if (s->reg[R_ITR]) {
        now = vclock_now(s->pci.dev.m);
        if (now < s->quiet_until) {
            vtimer_arm_at(&s->itr_timer, s->quiet_until);
            return;
        }
        s->quiet_until = now + (int64_t)s->reg[R_ITR] * 256;
    }
    raise(s, true);
}

int64_t e1000_quiet_until(const struct e1000 *s)
{
    return s->is_82574 && msix_enabled(&s->msix) ? 0 : s->quiet_until;
}

static void itr_done(void *opaque)
{
    e1000_update_irq(opaque);
}

void e1000_cause(struct e1000 *s, uint32_t bits)
{
    s->reg[R_ICR] |= bits & (s->is_82574 ? ICR_82574 : ICR_ALL);
    e1000_update_irq(s);
}

/* ---- statistics: they stop at the top, and a read clears them ---- */

void e1000_count(struct e1000 *s, enum e1000_stat what, uint64_t n)
{
    s->stat[what] = (uint32_t)min_u64((uint64_t)s->stat[what] + n, UINT32_MAX);
}

void e1000_count64(struct e1000 *s, enum e1000_stat what, uint64_t n)
{
    uint64_t v = s->stat[what] | (uint64_t)s->stat[what + 1] << 32;
    v = v + n < v ? UINT64_MAX : v + n;
    s->stat[what] = (uint32_t)v;
    s->stat[what + 1] = (uint32_t)(v >> 32);
}

/* len without FCS; six counters: 64, 65-127, 128-255, 256-511, 512-1023, above. */
void e1000_count_size(struct e1000 *s, enum e1000_stat first, uint32_t len)
{
    static const uint32_t limits[] = { 64, 127, 255, 511, 1023 };
    unsigned i = 0;
    while (i < ARRAY_SIZE(limits) && len + 4 > limits[i]) {
        i++;
    }
    e1000_count(s, first + i, 1);
}

/* ---- link and PHY ---- */

bool e1000_link_up(const struct e1000 *s)
{
    return s->reg[R_STATUS] & STATUS_LU;
}

static void link_down(struct e1000 *s)
{
    s->reg[R_STATUS] &= ~STATUS_LU;
    s->phy[PHY_STATUS] &= (uint16_t) ~(PHY_STATUS_LINK | PHY_STATUS_DONE);
    s->phy[PHY_AN_PARTNER] = 0;
    s->phy[PHY_1000T_STATUS] = 0;
    s->phy[M88_STATUS] = M88_STATUS_DOWN;
}

static void link_up(struct e1000 *s)
{
    s->reg[R_STATUS] |= STATUS_LU;
    s->phy[PHY_STATUS] |= PHY_STATUS_LINK | PHY_STATUS_DONE;
    s->phy[PHY_AN_PARTNER] = 0x45e1; /* acknowledged, pause, 10 and 100 in both duplexes */
    s->phy[PHY_1000T_STATUS] = 0x3c00;
    s->phy[M88_STATUS] = M88_STATUS_UP;
}

static void negotiated(void *opaque)
{
    struct e1000 *s = opaque;
    if (s->net.nic == NULL || nic_link(s->net.nic)) {
        link_up(s);
        e1000_cause(s, ICR_LSC);
        nic_kick(s->net.nic);
    }
}

static void negotiate(struct e1000 *s)
{
    link_down(s);
    vtimer_arm(&s->autoneg, AUTONEG_NS);
}

/* The cable was plugged in or out. */
static void link_changed(void *opaque)
{
    struct e1000 *s = opaque;
    if (!nic_link(s->net.nic)) {
        vtimer_disarm(&s->autoneg);
        link_down(s);
        e1000_cause(s, ICR_LSC);
    } else if (s->phy[PHY_CTRL] & PHY_CTRL_AUTONEG) {
        negotiate(s);
    } else {
        negotiated(s);
    }
}

static void phy_reset(struct e1000 *s)
{
    static const struct {
        uint8_t reg;
        uint16_t val;
    } values[] = {
        { PHY_CTRL, 0x1140 },       { PHY_STATUS, 0x7949 }, { PHY_ID1, 0x0141 },
        { PHY_AN_ADV, 0x0de1 },     { PHY_AN_EXP, 0x000d }, { PHY_1000T_CTRL, 0x0e00 },
        { PHY_EXT_STATUS, 0x3000 }, { M88_CTRL, 0x0360 },   { M88_EXT_CTRL, 0x0d60 },
    };
    memset(s->phy, 0, sizeof(s->phy));
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        s->phy[values[i].reg] = values[i].val;
    }
    s->phy[PHY_ID2] = s->is_82574 ? 0x0cb1 : 0x0c20;
    link_down(s);
}

static void phy_write(struct e1000 *s, unsigned reg, uint16_t val)
{
    if (reg == PHY_CTRL) {
        s->phy[PHY_CTRL] = val & 0x7dc0; /* reset and restart clear themselves */
        if (val & PHY_CTRL_RESET) {
            phy_reset(s);
            negotiate(s);
        } else if (val & PHY_CTRL_AUTONEG && val & PHY_CTRL_RESTART) {
            negotiate(s);
        }
    } else if (reg == PHY_AN_ADV || reg == PHY_1000T_CTRL || reg == M88_CTRL ||
               reg == M88_INT_ENABLE || reg >= M88_EXT_CTRL) {
        s->phy[reg] = val;
    }
}

/* 13.4.13 */
static void mdic_write(struct e1000 *s, uint32_t val)
{
    unsigned reg = val >> 16 & 31, phy = val >> 21 & 31, op = val >> 26 & 3;
    uint32_t out = val & ~(MDIC_READY | MDIC_E);
    if (phy != PHY_ADDRESS || (op != MDIC_READ && op != MDIC_WRITE)) {
        out |= MDIC_E;
    } else if (op == MDIC_WRITE) {
        phy_write(s, reg, (uint16_t)val);
    } else {
        out = (out & ~0xffffu) | s->phy[reg];
        if (reg == M88_INT_STATUS || reg == M88_ERRORS) {
            s->phy[reg] = 0;
        }
    }
    s->reg[R_MDIC] = out | MDIC_READY;
    if (val & MDIC_I) {
        e1000_cause(s, ICR_MDAC);
    }
}

/* ---- EEPROM ---- */

void e1000_seal_eeprom(struct e1000 *s, const uint16_t (*words)[2], unsigned n)
{
    uint16_t sum = 0;
    for (unsigned i = 0; i < 3; i++) {
        s->eeprom.word[i] = load_le16(s->net.mac + 2 * i);
    }
    for (unsigned i = 0; i < n; i++) {
        s->eeprom.word[words[i][0]] = words[i][1];
    }
    for (unsigned i = 0; i < 63; i++) {
        sum = (uint16_t)(sum + s->eeprom.word[i]);
    }
    s->eeprom.word[63] = (uint16_t)(0xbaba - sum);
}

/* 5.6.1: what drivers print, identity. */
static void fill_eeprom(struct e1000 *s)
{
    static const uint16_t words[][2] = {
        { 0x03, 0x0d30 },                   /* compatibility: client adapter, copper */
        { 0x05, 0x1000 },                   /* image version 1.0.0 */
        { 0x08, 0xffff }, { 0x09, 0xffff }, /* no part number */
        { 0x0a, 0x640b },                   /* loads the next four; power management */
        { 0x0b, 0x1100 }, { 0x0c, 0x1af4 }, /* subsystem */
        { 0x0d, 0x100e }, { 0x0e, 0x8086 }, { 0x0f, 0xb280 }, /* link, speed, automatic crossover */
        { 0x2f, 0x0602 },
    };
    e1000_seal_eeprom(s, words, ARRAY_SIZE(words));
}

static void eecd_write(struct e1000 *s, uint32_t val)
{
    s->reg[R_EECD] = val & (EECD_SK | EECD_CS | EECD_DI | EECD_FWE | EECD_REQ);
    eeprom93_wires(&s->eeprom, val & EECD_CS, val & EECD_SK, val & EECD_DI);
}

static uint32_t eecd_read(struct e1000 *s)
{
    uint32_t v = s->reg[R_EECD];
    return v | EECD_PRES | (v & EECD_REQ ? EECD_GNT : 0) | (s->eeprom.out ? EECD_DO : 0);
}

static void eerd_write(struct e1000 *s, uint32_t val)
{
    unsigned word = val >> 8 & 0xff;
    s->reg[R_EERD] = val & 0xff00;
    if (val & EERD_START) {
        s->reg[R_EERD] |= EERD_DONE | (word < 64 ? (uint32_t)s->eeprom.word[word] << 16 : 0);
    }
}

static void load_address(struct e1000 *s)
{
    s->ra[0] = s->eeprom.word[0] | (uint32_t)s->eeprom.word[1] << 16;
    s->ra[1] = s->eeprom.word[2] | RAH_AV;
}

/* ---- reset ---- */

/* 4.6: everything but PCI configuration; the address comes from the EEPROM again. */
static void reset_mac(struct e1000 *s)
{
    bool was_up = e1000_link_up(s);
    memset(s->reg, 0, sizeof(s->reg));
    memset(s->mta, 0, sizeof(s->mta));
    memset(s->vfta, 0, sizeof(s->vfta));
    memset(s->ra, 0, sizeof(s->ra));
    memset(s->stat, 0, sizeof(s->stat));
    memset(s->filter, 0, sizeof(s->filter));
    memset(&s->context, 0, sizeof(s->context));
    memset(&s->tso, 0, sizeof(s->tso));
    memset(s->frame, 0, s->frame_len);
    s->frame_len = 0;
    s->too_long = s->segmented = s->tx_full = false;
    s->popts = 0;
    s->ioaddr = 0;
    s->quiet_until = 0;
    vtimer_disarm(&s->itr_timer);
    e1000_delay_drop(&s->rx_delay);
    e1000_delay_drop(&s->tx_delay);
    vtimer_disarm(&s->tx_more);
    s->reg[R_CTRL] = 0x00140000 | CTRL_SPEED_1000 | CTRL_SLU | CTRL_FD;
    s->reg[R_STATUS] = STATUS_FD | STATUS_SPEED_1000 | STATUS_ASDV_1000 | (was_up ? STATUS_LU : 0);
    s->reg[R_LEDCTL] = 0x602;
    s->reg[R_PBA] = 0x00100030;
    s->reg[R_MANC] = 0x5820;
    s->reg[R_TXDMAC] = 0;
    s->reg[R_VET] = 0x8100;
    load_address(s);
    if (s->is_82574) {
        e1000e_reset_mac(s);
    }
    raise(s, false);
}

void e1000_reset(struct device *d)
{
    struct e1000 *s = (struct e1000 *)d;
    pci_reset(&s->pci);
    memset(&s->eeprom, 0, sizeof(s->eeprom));
    eeprom93_idle(&s->eeprom);
    if (s->is_82574) {
        e1000e_fill_eeprom(s);
    } else {
        fill_eeprom(s);
    }
    memset(s->frame, 0, sizeof(s->frame));
    reset_mac(s);
    vtimer_disarm(&s->autoneg);
    phy_reset(s);
    if (s->net.nic == NULL || nic_link(s->net.nic)) {
        link_up(s);
    }
}

static void ctrl_write(struct e1000 *s, uint32_t val)
{
    if (val & CTRL_RST) {
        reset_mac(s);
        return;
    }
    if (val & CTRL_PHY_RST) {
        phy_reset(s);
        negotiate(s);
    }
    s->reg[R_CTRL] = val & ~CTRL_PHY_RST;
}

/* ---- registers ---- */

enum { /* how a register behaves */
       STORE,
       READ_ONLY,
       WRITE_ONLY, /* reads as zero */
       SPECIAL,
};

/* One register. What has a function of its own is in reg_read and reg_write. */
static const struct e1000_register {
    uint32_t off;
    const char *name;
    uint8_t index; /* enum e1000_reg */
    uint8_t kind;
    uint32_t wmask;
} registers[] = {
    /* offset, name, where, kind, writable bits */
    { 0x0000, "CTRL", R_CTRL, SPECIAL, ~0u },
    { 0x0004, "CTRL_DUP", R_CTRL, SPECIAL, ~0u },
    { 0x0008, "STATUS", R_STATUS, READ_ONLY, 0 },
    { 0x0010, "EECD", R_EECD, SPECIAL, ~0u },
    { 0x0014, "EERD", R_EERD, SPECIAL, ~0u },
    { 0x0018, "CTRL_EXT", R_CTRL_EXT, STORE, ~0x2000u },
    { 0x0020, "MDIC", R_MDIC, SPECIAL, ~0u },
    { 0x0028, "FCAL", R_FCAL, STORE, ~0u },
    { 0x002c, "FCAH", R_FCAH, STORE, 0xffff },
    { 0x0030, "FCT", R_FCT, STORE, 0xffff },
    { 0x0038, "VET", R_VET, STORE, 0xffff },
    { 0x00c0, "ICR", R_ICR, SPECIAL, ~0u },
    { 0x00c4, "ITR", R_ITR, STORE, 0xffff },
    { 0x00c8, "ICS", R_ICR, SPECIAL, ~0u },
    { 0x00d0, "IMS", R_IMS, SPECIAL, ~0u },
    { 0x00d8, "IMC", R_IMS, SPECIAL, ~0u },
    { 0x0100, "RCTL", R_RCTL, SPECIAL, 0x06dfb3fe },
    { 0x0170, "FCTTV", R_FCTTV, STORE, 0xffff },
    { 0x0178, "TXCW", R_TXCW, STORE, ~0u },
    { 0x0400, "TCTL", R_TCTL, SPECIAL, 0x037ffffa },
    { 0x0410, "TIPG", R_TIPG, STORE, 0x3fffffff },
    { 0x0458, "AIT", R_AIT, STORE, 0xffff },
    { 0x0e00, "LEDCTL", R_LEDCTL, STORE, ~0u },
    { 0x1000, "PBA", R_PBA, STORE, 0xffff },
    { 0x2160, "FCRTL", R_FCRTL, STORE, 0x8000fff8 },
    { 0x2168, "FCRTH", R_FCRTH, STORE, 0x0000fff8 },
    { 0x2800, "RDBAL", R_RDBAL, STORE, 0xfffffff0 },
    { 0x2804, "RDBAH", R_RDBAH, STORE, ~0u },
    { 0x2808, "RDLEN", R_RDLEN, STORE, 0x000fff80 },
    { 0x2810, "RDH", R_RDH, STORE, 0xffff },
    { 0x2818, "RDT", R_RDT, SPECIAL, 0xffff },
    { 0x2820, "RDTR", R_RDTR, SPECIAL, 0xffff },
    { 0x2828, "RXDCTL", R_RXDCTL, STORE, 0x013f3f3f },
    { 0x282c, "RADV", R_RADV, STORE, 0xffff },
    { 0x2c00, "RSRPD", R_RSRPD, STORE, 0xfff },
    { 0x3000, "TXDMAC", R_TXDMAC, STORE, 1 },
    { 0x3800, "TDBAL", R_TDBAL, STORE, 0xfffffff0 },
    { 0x3804, "TDBAH", R_TDBAH, STORE, ~0u },
    { 0x3808, "TDLEN", R_TDLEN, STORE, 0x000fff80 },
    { 0x3810, "TDH", R_TDH, STORE, 0xffff },
    { 0x3818, "TDT", R_TDT, SPECIAL, 0xffff },
    { 0x3820, "TIDV", R_TIDV, SPECIAL, 0xffff },
    { 0x3828, "TXDCTL", R_TXDCTL, STORE, 0xff3f3f3f },
    { 0x382c, "TADV", R_TADV, STORE, 0xffff },
    { 0x3830, "TSPMT", R_TSPMT, STORE, ~0u },
    { 0x5000, "RXCSUM", R_RXCSUM, STORE, 0x7ff },
    { 0x5800, "WUC", R_WUC, STORE, 0x0f },
    { 0x5808, "WUFC", R_WUFC, STORE, 0x000f80ff },
    { 0x5810, "WUS", R_WUS, READ_ONLY, 0 },
    { 0x5820, "MANC", R_MANC, STORE, ~0u },
    { 0x5838, "IPAV", R_IPAV, STORE, 0x00010fff },
};

/* Arrays of plain words: first offset, words, bytes from one to the next, where. */
static const struct e1000_array {
    uint32_t off, count, step;
    size_t at;
    bool clears; /* statistics */
} arrays[] = {
    { 0x4000, S_COUNT, 4, offsetof(struct e1000, stat), true },
    { 0x5200, 128, 4, offsetof(struct e1000, mta), false },
    { 0x5400, 32, 4, offsetof(struct e1000, ra), false },
    { 0x5600, 128, 4, offsetof(struct e1000, vfta), false },
    { 0x5840, 4, 8, offsetof(struct e1000, filter), false },          /* IP4AT */
    { 0x5880, 4, 4, offsetof(struct e1000, filter) + 16, false },     /* IP6AT */
    { 0x5f00, 4, 8, offsetof(struct e1000, filter) + 32, false },     /* FFLT */
    { 0x9000, 128, 8, offsetof(struct e1000, filter) + 48, false },   /* FFMT */
    { 0x9800, 128, 8, offsetof(struct e1000, filter) + 1072, false }, /* FFVT */
};

static int compare_register(const void *key, const void *entry)
{
    uint32_t off = *(const uint32_t *)key, at = ((const struct e1000_register *)entry)->off;
    return off < at ? -1 : off > at;
}

static const struct e1000_register *find_register(uint32_t off)
{
    return bsearch(&off, registers, ARRAY_SIZE(registers), sizeof(registers[0]), compare_register);
}

static uint32_t *find_word(struct e1000 *s, uint32_t off, const struct e1000_array **array)
{
    for (size_t i = 0; i < ARRAY_SIZE(arrays); i++) {
        const struct e1000_array *a = &arrays[i];
        if (off >= a->off && off < a->off + a->count * a->step && (off - a->off) % a->step == 0) {
            *array = a;
            return (uint32_t *)((char *)s + a->at) + (off - a->off) / a->step;
        }
    }
    return NULL;
}

/* The low word of a pair stays until the high one is read; 13.7. */
static uint32_t stat_read(struct e1000 *s, uint32_t *word)
{
    static const uint8_t pairs[] = { S_GORC, S_GOTC, S_TOR, S_TOT };
    uint32_t v = *word;
    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
        if (word == &s->stat[pairs[i]]) {
            return v;
        }
        if (word == &s->stat[pairs[i] + 1]) {
            s->stat[pairs[i]] = 0;
        }
    }
    *word = 0;
    return v;
}

static uint32_t icr_read(struct e1000 *s)
{
    e1000_delays_settle(s);
    uint32_t v = s->reg[R_ICR];
    s->reg[R_ICR] = 0;
    e1000_update_irq(s);
    return v;
}

static uint32_t read_word(struct e1000 *s, uint32_t off)
{
    const struct e1000_register *r = find_register(off);
    const struct e1000_array *a;
    uint32_t own;
    if (s->is_82574 && e1000e_read(s, off, &own)) {
        return own;
    }
    if (!r) {
        uint32_t *word = find_word(s, off, &a);
        return !word ? 0 : a->clears ? stat_read(s, word) : *word;
    }
    switch (r->off) {
    case 0x0010:
        return eecd_read(s);
    case 0x00c0:
        return icr_read(s);
    case 0x00c8: /* ICS, IMC: write only */
    case 0x00d8:
        return 0;
    default:
        return s->reg[r->index];
    }
}

/* FPD: what waits is reported now; 13.4.30, 13.4.44. */
static void delay_write(struct e1000_delay *d, uint32_t val)
{
    d->s->reg[d->delay] = val & 0xffff;
    if (val & DELAY_FPD) {
        e1000_delay_end(d);
    }
}

static void special_write(struct e1000 *s, const struct e1000_register *r, uint32_t val)
{
    switch (r->off) {
    case 0x0000:
    case 0x0004:
        ctrl_write(s, val);
        break;
    case 0x0010:
        eecd_write(s, val);
        break;
    case 0x0014:
        eerd_write(s, val);
        break;
    case 0x0020:
        mdic_write(s, val);
        break;
    case 0x00c0: /* a one clears */
        s->reg[R_ICR] &= ~val;
        e1000_update_irq(s);
        break;
    case 0x00c8:
        e1000_cause(s, val);
        break;
    case 0x00d0:
        s->reg[R_IMS] |= val & (s->is_82574 ? ICR_82574 : ICR_ALL);
        e1000_update_irq(s);
        break;
    case 0x00d8:
        s->reg[R_IMS] &= ~val;
        e1000_update_irq(s);
        break;
    case 0x0100:
    case 0x2818:
        s->reg[r->index] = val & r->wmask;
        nic_kick(s->net.nic);
        break;
    case 0x2820:
        delay_write(&s->rx_delay, val);
        break;
    case 0x3820:
        delay_write(&s->tx_delay, val);
        break;
    default: /* TCTL, TDT */
        s->reg[r->index] = val & r->wmask;
        e1000_transmit(s);
        break;
    }
}

static void write_word(struct e1000 *s, uint32_t off, uint32_t val)
{
    const struct e1000_register *r = find_register(off);
    const struct e1000_array *a;
    if (s->is_82574 && e1000e_write(s, off, val)) {
        return;
    }
    if (!r) {
        uint32_t *word = find_word(s, off, &a);
        if (word && !a->clears) {
            *word = val;
        }
    } else if (r->kind == SPECIAL) {
        special_write(s, r, val);
    } else if (r->kind == STORE) {
        s->reg[r->index] = (s->reg[r->index] & ~r->wmask) | (val & r->wmask);
    }
}

/* Registers are words; a part of one is read as such, and written with zeroes around it. */
static uint64_t mmio_read(struct device *d, uint64_t off, unsigned size)
{
    (void)size;
    return read_word((struct e1000 *)d, (uint32_t)off & ~3u) >> (off & 3) * 8;
}

static void mmio_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    write_word((struct e1000 *)d, (uint32_t)off & ~3u,
               (uint32_t)((val & ones(size)) << (off & 3) * 8));
}

/* IOADDR and IODATA, 13.2. */
static uint64_t io_bar_read(struct device *d, uint64_t off, unsigned size)
{
    struct e1000 *s = (struct e1000 *)d;
    (void)size;
    if (off == 0) {
        return s->ioaddr;
    }
    return off == 4 && s->ioaddr < 0x20000 ? read_word(s, s->ioaddr & ~3u) : 0;
}

static void io_bar_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct e1000 *s = (struct e1000 *)d;
    if (off == 0) {
        s->ioaddr = (uint32_t)(val & ones(size)) & 0xfffff;
    } else if (off == 4 && s->ioaddr < 0x20000) {
        write_word(s, s->ioaddr & ~3u, (uint32_t)(val & ones(size)));
    }
}

static const struct reg_name mmio_names[] = {
    { 0x0000, "CTRL" },       { 0x0008, "STATUS" }, { 0x0010, "EECD" },    { 0x0014, "EERD" },
    { 0x0018, "CTRL_EXT" },   { 0x0020, "MDIC" },   { 0x0028, "FCAL" },    { 0x002c, "FCAH" },
    { 0x0030, "FCT" },        { 0x0038, "VET" },    { 0x00c0, "ICR" },     { 0x00c4, "ITR" },
    { 0x00c8, "ICS" },        { 0x00d0, "IMS" },    { 0x00d8, "IMC" },     { 0x0100, "RCTL" },
    { 0x0170, "FCTTV" },      { 0x0178, "TXCW" },   { 0x0400, "TCTL" },    { 0x0410, "TIPG" },
    { 0x0458, "AIT" },        { 0x0e00, "LEDCTL" }, { 0x1000, "PBA" },     { 0x2160, "FCRTL" },
    { 0x2168, "FCRTH" },      { 0x2800, "RDBAL" },  { 0x2804, "RDBAH" },   { 0x2808, "RDLEN" },
    { 0x2810, "RDH" },        { 0x2818, "RDT" },    { 0x2820, "RDTR" },    { 0x2828, "RXDCTL" },
    { 0x282c, "RADV" },       { 0x2c00, "RSRPD" },  { 0x3000, "TXDMAC" },  { 0x3800, "TDBAL" },
    { 0x3804, "TDBAH" },      { 0x3808, "TDLEN" },  { 0x3810, "TDH" },     { 0x3818, "TDT" },
    { 0x3820, "TIDV" },       { 0x3828, "TXDCTL" }, { 0x382c, "TADV" },    { 0x3830, "TSPMT" },
    { 0x4000, "STATISTICS" }, { 0x5000, "RXCSUM" }, { 0x5200, "MTA" },     { 0x5400, "RAL/RAH" },
    { 0x5600, "VFTA" },       { 0x5800, "WUC" },    { 0x5808, "WUFC" },    { 0x5810, "WUS" },
    { 0x5820, "MANC" },       { 0x5838, "IPAV" },   { 0x5840, "WAKE-UP" }, { 0, NULL },
};
static const struct reg_name io_names[] = { { 0, "IOADDR" }, { 4, "IODATA" }, { 0, NULL } };
const struct region_ops e1000_mmio_ops = { mmio_read, mmio_write, 4, mmio_names };
const struct region_ops e1000_io_ops = { io_bar_read, io_bar_write, 4, io_names };

/* ---- life ---- */

static void tx_more(void *opaque)
{
    e1000_transmit(opaque);
}

static void writable(void *opaque)
{
    struct e1000 *s = opaque;
    s->tx_full = false;
    e1000_transmit(s);
}

const struct nic_user e1000_user = { e1000_receive, writable, link_changed, e1000_rx_filter };

void e1000_start(struct e1000 *s)
{
    struct machine *m = s->pci.dev.m;
    vtimer_init(&s->itr_timer, m, "e1000 itr", itr_done, s);
    e1000_delays_init(s);
    vtimer_init(&s->tx_more, m, "e1000 tx", tx_more, s);
    vtimer_init(&s->autoneg, m, "e1000 autoneg", negotiated, s);
    nic_attach(s->net.nic, &e1000_user, s);
}

static int e1000_init(struct device *d, struct err *e)
{
    static const struct pci_info info = {
        .vendor = 0x8086,
        .device = 0x100e,
        .subvendor = 0x1af4,
        .subdevice = 0x1100,
        .class = 0x020000,
        .revision = 3,
        .int_pin = 1,
    };
    struct e1000 *s = (struct e1000 *)d;
    int ret = pci_init(&s->pci, &info, e);
    if (ret < 0) {
        return ret;
    }
    pci_add_bar(&s->pci, 0, false, 0x20000, &e1000_mmio_ops, "E1000 MMIO");
    pci_add_bar(&s->pci, 1, true, 0x40, &e1000_io_ops, "E1000 IO");
    ret = net_dev_init(&s->pci, &s->net, e);
    if (ret < 0) {
        return ret;
    }
    e1000_start(s);
    return 0;
}

int e1000_loaded(struct device *d, struct err *e)
{
    struct e1000 *s = (struct e1000 *)d;
    if (s->frame_len > sizeof(s->frame)) {
        return err_set(e, -EINVAL, "%s: frame_len is %u", d->id, s->frame_len);
    }
    int ret = pci_loaded(&s->pci, e);
    if (ret == 0) {
        pci_set_intx(&s->pci, s->raised);
        nic_kick(s->net.nic);
    }
    if (ret == 0 && s->tx_full) { /* another back end, which has room */
        s->tx_full = false;
        vtimer_arm(&s->tx_more, 0);
    }
    return ret;
}

void e1000_fini(struct device *d)
{
    struct e1000 *s = (struct e1000 *)d;
    struct vtimer *timers[] = { &s->itr_timer, &s->rx_delay.timer, &s->tx_delay.timer, &s->tx_more,
                                &s->autoneg };
    for (size_t i = 0; i < ARRAY_SIZE(timers); i++) {
        if (timers[i]->m) {
            vtimer_fini(timers[i]);
        }
    }
    pci_fini(&s->pci);
    net_dev_fini(&s->pci, &s->net);
}

static const struct dev_prop e1000_props[] = {
    NET_DEV_PROPS(struct e1000),
    { NULL, PROP_END, 0, 0, NULL },
};

const struct state_field e1000_state[] = {
    PCI_STATE(struct e1000),
    FIELD_BLOCK(struct e1000, net.rom),
    FIELD_ARRAY(struct e1000, reg),
    FIELD_ARRAY(struct e1000, mta),
    FIELD_ARRAY(struct e1000, vfta),
    FIELD_ARRAY(struct e1000, ra),
    FIELD_ARRAY(struct e1000, stat),
    FIELD_ARRAY(struct e1000, filter),
    FIELD(struct e1000, ioaddr),
    FIELD_ARRAY(struct e1000, phy),
    FIELD_SUB(struct e1000, eeprom, eeprom93_state, 1),
    FIELD_SUB(struct e1000, context, e1000_context_state, 1),
    FIELD_SUB(struct e1000, tso, e1000_context_state, 1),
    FIELD_ARRAY(struct e1000, frame),
    FIELD_RANGE(struct e1000, frame_len, 0, E1000_FRAME_MAX),
    FIELD(struct e1000, too_long),
    FIELD(struct e1000, popts),
    FIELD(struct e1000, segmented),
    FIELD(struct e1000, tx_full),
    FIELD(struct e1000, raised),
    FIELD(struct e1000, quiet_until),
    FIELD(struct e1000, rx_delay.causes),
    FIELD_RANGE(struct e1000, rx_delay.first, 0, INT64_MAX / 2),
    FIELD_RANGE(struct e1000, rx_delay.last, 0, INT64_MAX / 2),
    FIELD(struct e1000, tx_delay.causes),
    FIELD_RANGE(struct e1000, tx_delay.first, 0, INT64_MAX / 2),
    FIELD_RANGE(struct e1000, tx_delay.last, 0, INT64_MAX / 2),
    FIELD_TIMER(struct e1000, itr_timer),
    FIELD_TIMER(struct e1000, rx_delay.timer),
    FIELD_TIMER(struct e1000, tx_delay.timer),
    FIELD_TIMER(struct e1000, tx_more),
    FIELD_TIMER(struct e1000, autoneg),
    FIELD_END,
};

const struct dev_class e1000_class = {
    .name = "e1000",
    .desc = "Intel 82540EM gigabit Ethernet (PCI 8086:100e)",
    .size = sizeof(struct e1000),
    .props = e1000_props,
    .state = e1000_state,
    .state_version = 1,
    .user_creatable = true,
    .init = e1000_init,
    .reset = e1000_reset,
    .loaded = e1000_loaded,
    .fini = e1000_fini,
};
