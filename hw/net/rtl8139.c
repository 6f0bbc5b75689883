/* SPDX-License-Identifier: MIT */
/* hw/net/rtl8139.c - Realtek RTL8139C+ fast Ethernet controller: registers, interrupts, PHY, timer.
 *
 * Sending is in rtl8139-tx.c, receiving in rtl8139-rx.c. What is left out is in docs/hw/rtl8139.md.
 * An access of any width is taken apart into the registers that it covers.
 * Reference: RTL8139C(L)+ data sheet 1.5 (registers: 6), RTL8139D programming guide.
 */
#include "hw/net/rtl8139-int.h"

#include "dm/base/bytes.h"

#include <errno.h>
#include <stdlib.h>

enum {
    EEM = 0xc0, /* 9346CR: operating mode */
    EEM_LOAD = 0x40,
    EEM_PROGRAM = 0x80,
    EEM_CONFIG = 0xc0,
    EECS = 8,
    EESK = 4,
    EEDI = 2,
    EEDO = 1,
    MSR_LINKB = 0x04,
    BMSR_LINK = 0x0004,
    BMCR_RESET = 0x8000,
    BMCR_RESTART = 0x0200,
    CSCR_GOOD = 0x0008, /* a valid link */
    CSCR_LINK = 0x0400, /* these two the data sheet keeps to itself, drivers do not */
    CSCR_CHANGED = 0x0800,
    CSCR_WRITABLE = 0xf1f7,
    DTCCR_CMD = 8,
};
#define HWVERID_CPLUS 0x74800000u
#define HWVERID_C 0x74000000u
#define REVISION_C 0x10 /* below 20h: what drivers tell the two by */
#define TCR_WRITABLE 0x030fe7f1u
#define TIMER_HZ 33000000ll
#define RETRY_NS 1000000 /* a full ring of C mode */

/* ---- lines ---- */

static void update_irq(struct rtl8139 *s)
{
    pci_set_intx(&s->pci, s->isr & s->imr);
}

void rtl_cause(struct rtl8139 *s, uint16_t bits)
{
    s->isr |= bits;
    update_irq(s);
}

uint32_t rtl_buffer_len(const struct rtl8139 *s)
{
    return 8192u << (s->rcr >> RCR_RBLEN_SHIFT & 3);
}

bool rtl_awake(const struct rtl8139 *s)
{
    return pci_bus_master(&s->pci) && pci_powered(&s->pci);
}

static bool link_is_up(const struct rtl8139 *s)
{
    return s->net.nic == NULL || nic_link(s->net.nic);
}

void rtl_retry_soon(struct rtl8139 *s)
{
    if (!vtimer_armed(&s->retry)) {
        vtimer_arm(&s->retry, RETRY_NS);
    }
}

static void link_changed(void *opaque)
{
    rtl_cause(opaque, ISR_PUN);
}

/* ---- EEPROM ---- */

static void fill_eeprom(struct rtl8139 *s)
{
    static const uint16_t head[7] = { 0x8129, 0x10ec, 0x8139, 0x1af4, 0x1100, 0x4020, 0x0c01 };
    memcpy(s->eeprom.word, head, sizeof(head));
    for (unsigned i = 0; i < 3; i++) {
        s->eeprom.word[7 + i] = load_le16(s->net.mac + 2 * i);
    }
}

static void load_address(struct rtl8139 *s)
{
    for (unsigned i = 0; i < 3; i++) {
        store_le(s->idr + 2 * i, 2, s->eeprom.word[7 + i]);
    }
}

static void cr9346_write(struct rtl8139 *s, uint8_t val)
{
    if ((val & EEM) == EEM_LOAD) {
        load_address(s);
        val = 0; /* it goes back to normal by itself */
    }
    s->cr9346 = val & ~EEDO;
    if ((val & EEM) == EEM_PROGRAM) {
        eeprom93_wires(&s->eeprom, val & EECS, val & EESK, val & EEDI);
    } else {
        eeprom93_idle(&s->eeprom);
    }
}

static uint8_t cr9346_read(const struct rtl8139 *s)
{
    bool out = (s->cr9346 & EEM) == EEM_PROGRAM && s->eeprom.out;
    return s->cr9346 | (out ? EEDO : 0);
}

/* ---- timer ---- */

static uint32_t timer_ticks(struct rtl8139 *s)
{
    int64_t ns = vclock_now(s->pci.dev.m) - s->timer_base;
    return (uint32_t)(ns / 1000000000 * TIMER_HZ + ns % 1000000000 * TIMER_HZ / 1000000000);
}

/* TIMERINT 0 means never. */
static void arm_timeout(struct rtl8139 *s)
{
    vtimer_disarm(&s->timeout);
    if (s->timer_int) {
        uint32_t left = s->timer_int - timer_ticks(s); /* modulo 2^32 */
        int64_t ticks = left ? left : 1ll << 32;
        vtimer_arm(&s->timeout, (ticks * 1000 + 32) / 33);
    }
}

static void timed_out(void *opaque)
{
    struct rtl8139 *s = opaque;
    rtl_cause(s, ISR_TIMEOUT);
    arm_timeout(s);
}

/* ---- reset ---- */

static void reset_rx_ring(struct rtl8139 *s)
{
    s->read_ptr = s->cbr = 0;
}

/* CR.RST: sender, receiver and interrupts; not addresses, configuration, timer. */
static void soft_reset(struct rtl8139 *s)
{
    for (unsigned i = 0; i < 4; i++) {
        s->tsd[i] = TSD_OWN;
    }
    memset(s->tsad, 0, sizeof(s->tsad));
    memset(s->rdsar, 0, sizeof(s->rdsar));
    memset(s->dtccr, 0, sizeof(s->dtccr));
    memset(s->tx_index, 0, sizeof(s->tx_index));
    memset(s->tx_opts, 0, sizeof(s->tx_opts));
    memset(s->frame, 0, s->frame_len);
    s->frame_len = 0;
    s->tx_open = s->too_long = s->tx_full = false;
    s->tx_next = s->rx_index = s->polled = s->refused = 0;
    s->rbstart = 0;
    s->cr = 0;
    s->imr = s->isr = 0;
    s->tcr = s->rcr = s->mpc = 0;
    s->cpcr = s->mitigate = 0;
    s->etthr = 0;
    reset_rx_ring(s);
    vtimer_disarm(&s->tx_more);
    vtimer_disarm(&s->retry);
    update_irq(s);
}

static void rtl_reset(struct device *d)
{
    struct rtl8139 *s = (struct rtl8139 *)d;
    pci_reset(&s->pci);
    memset(&s->eeprom, 0, sizeof(s->eeprom));
    eeprom93_idle(&s->eeprom);
    fill_eeprom(s);
    load_address(s);
    memset(s->mar, 0, sizeof(s->mar));
    memset(s->wake, 0, sizeof(s->wake));
    memset(s->frame, 0, sizeof(s->frame));
    memset(&s->tally, 0, sizeof(s->tally));
    soft_reset(s);
    s->cr9346 = 0;
    s->config1 = 0x0c; /* both windows mapped */
    s->config3 = 0x01;
    s->config4 = s->config5 = 0;
    s->mulint = s->nwaytr = 0;
    s->bmcr = 0x1000;
    s->anar = 0x05e1;
    s->cscr = 0x01c0;
    s->phy1_parm = s->tw_parm = 0;
    s->phy2_parm = 0;
    s->timer_int = 0;
    s->timer_base = 0;
    vtimer_disarm(&s->timeout);
}

/* ---- registers ---- */

enum rtl_reg {
    IDR0,
    IDR4,
    MAR0,
    MAR4,
    TSD0,
    TSD1,
    TSD2,
    TSD3,
    TSAD0,
    TSAD1,
    TSAD2,
    TSAD3,
    RBSTART,
    ERBCR,
    ERSR,
    CR,
    CAPR,
    CBR,
    IMR,
    ISR,
    TCR,
    RCR,
    TCTR,
    MPC,
    CR9346,
    CONFIG0,
    CONFIG1,
    TIMERINT,
    MSR,
    CONFIG3,
    CONFIG4,
    MULINT,
    RERID,
    TSAD,
    BMCR,
    BMSR,
    ANAR,
    ANLPAR,
    ANER,
    DIS,
    FCSC,
    NWAYTR,
    REC,
    CSCR,
    PHY1_PARM,
    TW_PARM,
    PHY2_PARM,
    WAKE,
    FLASH,
    CONFIG5,
    TPPOLL,
    CPCR,
    MITIGATE,
    RDSAR0,
    RDSAR4,
    ETTHR, /* from TPPOLL on: the C+ only */
};

static const struct rtl_register {
    uint8_t off, size, id;
    bool clears; /* a write's missing bytes are zero, not what is there */
} registers[] = {
    { 0x00, 4, IDR0, 0 },     { 0x04, 2, IDR4, 0 },      { 0x08, 4, MAR0, 0 },
    { 0x0c, 4, MAR4, 0 },     { 0x10, 4, TSD0, 0 },      { 0x14, 4, TSD1, 0 },
    { 0x18, 4, TSD2, 0 },     { 0x1c, 4, TSD3, 0 },      { 0x20, 4, TSAD0, 0 },
    { 0x24, 4, TSAD1, 0 },    { 0x28, 4, TSAD2, 0 },     { 0x2c, 4, TSAD3, 0 },
    { 0x30, 4, RBSTART, 0 },  { 0x34, 2, ERBCR, 0 },     { 0x36, 1, ERSR, 0 },
    { 0x37, 1, CR, 0 },       { 0x38, 2, CAPR, 0 },      { 0x3a, 2, CBR, 0 },
    { 0x3c, 2, IMR, 0 },      { 0x3e, 2, ISR, 1 },       { 0x40, 4, TCR, 0 },
    { 0x44, 4, RCR, 0 },      { 0x48, 4, TCTR, 0 },      { 0x4c, 4, MPC, 0 },
    { 0x50, 1, CR9346, 0 },   { 0x51, 1, CONFIG0, 0 },   { 0x52, 1, CONFIG1, 0 },
    { 0x54, 4, TIMERINT, 0 }, { 0x58, 1, MSR, 0 },       { 0x59, 1, CONFIG3, 0 },
    { 0x5a, 1, CONFIG4, 0 },  { 0x5c, 2, MULINT, 0 },    { 0x5e, 1, RERID, 0 },
    { 0x60, 2, TSAD, 0 },     { 0x62, 2, BMCR, 0 },      { 0x64, 2, BMSR, 0 },
    { 0x66, 2, ANAR, 0 },     { 0x68, 2, ANLPAR, 0 },    { 0x6a, 2, ANER, 0 },
    { 0x6c, 2, DIS, 0 },      { 0x6e, 2, FCSC, 0 },      { 0x70, 2, NWAYTR, 0 },
    { 0x72, 2, REC, 0 },      { 0x74, 2, CSCR, 0 },      { 0x78, 4, PHY1_PARM, 0 },
    { 0x7c, 4, TW_PARM, 0 },  { 0x80, 1, PHY2_PARM, 0 }, { 0x84, 0x50, WAKE, 0 },
    { 0xd4, 4, FLASH, 0 },    { 0xd8, 1, CONFIG5, 0 },   { 0xd9, 1, TPPOLL, 1 },
    { 0xe0, 2, CPCR, 0 },     { 0xe2, 2, MITIGATE, 0 },  { 0xe4, 4, RDSAR0, 0 },
    { 0xe8, 4, RDSAR4, 0 },   { 0xec, 1, ETTHR, 0 },
};

static const struct reg_name names[] = {
    { 0x00, "IDR" },     { 0x06, "-" },
    { 0x08, "MAR" },     { 0x10, "TSD0" },
    { 0x14, "TSD1" },    { 0x18, "TSD2" },
    { 0x1c, "TSD3" },    { 0x20, "TSAD0/TNPDS" },
    { 0x24, "TSAD1" },   { 0x28, "TSAD2/THPDS" },
    { 0x2c, "TSAD3" },   { 0x30, "RBSTART" },
    { 0x34, "ERBCR" },   { 0x36, "ERSR" },
    { 0x37, "CR" },      { 0x38, "CAPR" },
    { 0x3a, "CBR" },     { 0x3c, "IMR" },
    { 0x3e, "ISR" },     { 0x40, "TCR" },
    { 0x44, "RCR" },     { 0x48, "TCTR" },
    { 0x4c, "MPC" },     { 0x50, "9346CR" },
    { 0x51, "CONFIG0" }, { 0x52, "CONFIG1" },
    { 0x53, "-" },       { 0x54, "TIMERINT" },
    { 0x58, "MSR" },     { 0x59, "CONFIG3" },
    { 0x5a, "CONFIG4" }, { 0x5b, "-" },
    { 0x5c, "MULINT" },  { 0x5e, "RERID" },
    { 0x5f, "-" },       { 0x60, "TSAD" },
    { 0x62, "BMCR" },    { 0x64, "BMSR" },
    { 0x66, "ANAR" },    { 0x68, "ANLPAR" },
    { 0x6a, "ANER" },    { 0x6c, "DIS" },
    { 0x6e, "FCSC" },    { 0x70, "NWAYTR" },
    { 0x72, "REC" },     { 0x74, "CSCR" },
    { 0x76, "-" },       { 0x78, "PHY1_PARM" },
    { 0x7c, "TW_PARM" }, { 0x80, "PHY2_PARM" },
    { 0x81, "-" },       { 0x84, "WAKEUP" },
    { 0xd4, "FLASH" },   { 0xd8, "CONFIG5" },
    { 0xd9, "TPPOLL" },  { 0xda, "-" },
    { 0xe0, "CPCR" },    { 0xe2, "INTRMIT" },
    { 0xe4, "RDSAR" },   { 0xec, "ETTHR" },
    { 0xed, "-" },       { 0, NULL },
};

/* 60h: OWN, TABT, TUN and TOK of the four descriptors, four bits each. */
static uint16_t all_tsd(const struct rtl8139 *s)
{
    uint16_t v = 0;
    for (unsigned i = 0; i < 4; i++) {
        v |= (uint16_t)((s->tsd[i] & TSD_OWN ? 0x0001u : 0) << i |
                        (s->tsd[i] & TSD_TOK ? 0x1000u : 0) << i);
    }
    return v;
}

static uint32_t tsd_read(const struct rtl8139 *s, unsigned n)
{
    return s->cpcr & CPCR_TX && n < 2 ? s->dtccr[n] : s->tsd[n];
}

static uint32_t phy_read(const struct rtl8139 *s, unsigned id)
{
    switch (id) {
    case BMCR:
        return s->bmcr;
    case BMSR:
        return 0x7809 | 0x0020 | (link_is_up(s) ? BMSR_LINK : 0);
    case ANAR:
        return s->anar;
    case ANLPAR:
        return link_is_up(s) ? 0x45e1 : 0;
    case ANER:
        return 0x0001;
    case NWAYTR:
        return s->nwaytr;
    case CSCR:
        return (s->cscr & CSCR_WRITABLE) | (link_is_up(s) ? CSCR_GOOD | CSCR_LINK : 0u) |
               (s->isr & ISR_PUN ? CSCR_CHANGED : 0u);
    case PHY1_PARM:
        return s->phy1_parm;
    case TW_PARM:
        return s->tw_parm;
    case PHY2_PARM:
        return s->phy2_parm;
    default: /* counters of bad lines */
        return 0;
    }
}

static uint32_t reg_read(struct rtl8139 *s, unsigned id)
{
    switch (id) {
    case IDR0:
        return load_le32(s->idr);
    case IDR4:
        return load_le16(s->idr + 4);
    case MAR0:
    case MAR4:
        return load_le32(s->mar + (id == MAR4 ? 4 : 0));
    case TSD0:
    case TSD1:
    case TSD2:
    case TSD3:
        return tsd_read(s, id - TSD0);
    case TSAD0:
    case TSAD1:
    case TSAD2:
    case TSAD3:
        return s->tsad[id - TSAD0];
    case RBSTART:
        return s->rbstart;
    case CR:
        return s->cr | (s->read_ptr == s->cbr ? CR_BUFE : 0u);
    case CAPR:
        return (uint16_t)(s->read_ptr - 16);
    case CBR:
        return s->cbr;
    case IMR:
        return s->imr;
    case ISR:
        return s->isr;
    case TCR:
        return s->tcr | (s->cplus ? HWVERID_CPLUS : HWVERID_C);
    case RCR:
        return s->rcr;
    case TCTR:
        return timer_ticks(s);
    case MPC:
        return s->mpc;
    case CR9346:
        return cr9346_read(s);
    case CONFIG1:
        return s->config1;
    case TIMERINT:
        return s->timer_int;
    case MSR:
        return link_is_up(s) ? 0 : MSR_LINKB;
    case CONFIG3:
        return s->config3;
    case CONFIG4:
        return s->config4;
    case MULINT:
        return s->mulint;
    case TSAD:
        return all_tsd(s);
    case CONFIG5:
        return s->config5;
    case CPCR:
        return s->cpcr;
    case MITIGATE:
        return s->mitigate;
    case RDSAR0:
    case RDSAR4:
        return s->rdsar[id - RDSAR0];
    case ETTHR:
        return s->etthr;
    default:
        return phy_read(s, id);
    }
}

/* ---- writes ---- */

static void cr_write(struct rtl8139 *s, uint8_t val)
{
    uint8_t on = val & ~s->cr;
    if (val & CR_RST) {
        soft_reset(s);
        return;
    }
    s->cr = val & (CR_TE | CR_RE);
    if (on & CR_TE) {
        s->tx_next = 0;
        memset(s->tx_index, 0, sizeof(s->tx_index));
        s->tx_open = false;
    }
    if (on & CR_RE) {
        s->rx_index = 0;
        reset_rx_ring(s);
        nic_kick(s->net.nic);
    }
}

static void tally_dump(struct rtl8139 *s)
{
    uint64_t at = (s->dtccr[0] & ~63u) | (uint64_t)s->dtccr[1] << 32;
    const struct rtl_tally *t = &s->tally;
    uint8_t raw[64];
    store_le(raw, 8, t->tx_ok);
    store_le(raw + 8, 8, t->rx_ok);
    store_le(raw + 16, 8, t->tx_err);
    store_le(raw + 24, 4, t->rx_err);
    store_le(raw + 28, 2, t->missed);
    store_le(raw + 30, 2, t->fae);
    store_le(raw + 32, 4, t->tx_1col);
    store_le(raw + 36, 4, t->tx_mcol);
    store_le(raw + 40, 8, t->rx_ok_phy);
    store_le(raw + 48, 8, t->rx_ok_brd);
    store_le(raw + 56, 4, t->rx_ok_mul);
    store_le(raw + 60, 2, t->tx_abt);
    store_le(raw + 62, 2, t->tx_undrn);
    if (pci_dma_write(&s->pci, at, raw, sizeof(raw)) < 0) {
        guest_odd(&s->pci.dev, "tally counters outside memory");
    }
    s->dtccr[0] &= ~DTCCR_CMD;
}

static void tsd_write(struct rtl8139 *s, unsigned n, uint32_t val)
{
    if (s->cpcr & CPCR_TX) { /* 10h is DTCCR then, the rest is nothing */
        if (n < 2) {
            s->dtccr[n] = n ? val : val & ~0x37u;
        }
        if (n == 0 && val & DTCCR_CMD) {
            tally_dump(s);
        }
        return;
    }
    s->tsd[n] = val & 0x003f3fff;
    rtl_transmit(s);
}

static void tsad_write(struct rtl8139 *s, unsigned n, uint32_t val)
{
    s->tsad[n] = val;
    if (s->cpcr & CPCR_TX && n % 2 == 0) {
        s->tx_index[n / 2] = 0;
    }
}

static void rcr_write(struct rtl8139 *s, uint32_t val)
{
    uint32_t was = rtl_buffer_len(s);
    s->rcr = val & 0x0f03ffbf;
    if (rtl_buffer_len(s) != was) {
        reset_rx_ring(s);
    }
    nic_kick(s->net.nic);
}

static void cpcr_write(struct rtl8139 *s, uint16_t val)
{
    uint16_t on = (uint16_t)(val & ~s->cpcr);
    s->cpcr = val & 0x007b;
    if (on & CPCR_TX) {
        memset(s->tx_index, 0, sizeof(s->tx_index));
        s->tx_open = false;
    }
    if (on & CPCR_RX) {
        s->rx_index = 0;
    }
}

static void tppoll_write(struct rtl8139 *s, uint8_t val)
{
    if (val & TPPOLL_FSWINT) {
        rtl_cause(s, ISR_SWINT);
    }
    s->polled |= val & (TPPOLL_NPQ | TPPOLL_HPQ);
    rtl_transmit(s);
}

/* Only in the mode that allows it. */
static void config_write(struct rtl8139 *s, unsigned id, uint8_t val)
{
    if ((s->cr9346 & EEM) != EEM_CONFIG) {
        return;
    }
    switch (id) {
    case CONFIG1:
        s->config1 = (uint8_t)((s->config1 & 0x0c) | (val & 0xf3));
        break;
    case CONFIG3:
        s->config3 = (uint8_t)((s->config3 & 0x89) | (val & 0x76));
        break;
    case CONFIG4:
        s->config4 = val & 0xfc;
        break;
    default:
        s->config5 = val & 0x7f;
        break;
    }
}

static void phy_write(struct rtl8139 *s, unsigned id, uint32_t val)
{
    switch (id) {
    case BMCR:
        s->bmcr = val & BMCR_RESET ? 0x1000 : (uint16_t)(val & 0x3100);
        break;
    case ANAR:
        s->anar = (uint16_t)(val & 0xefff);
        break;
    case NWAYTR:
        s->nwaytr = (uint16_t)(val & 0x80);
        break;
    case CSCR:
        s->cscr = (uint16_t)(val & CSCR_WRITABLE);
        break;
    case PHY1_PARM:
        s->phy1_parm = val;
        break;
    case TW_PARM:
        s->tw_parm = val;
        break;
    case PHY2_PARM:
        s->phy2_parm = (uint8_t)val;
        break;
    default:
        break;
    }
}

static void int_write(struct rtl8139 *s, unsigned id, uint16_t val)
{
    if (id == IMR) {
        s->imr = val & 0xe1ff;
    } else {
        s->isr &= (uint16_t)~val;
    }
    update_irq(s);
    if (s->cpcr & CPCR_RX) {
        nic_kick(s->net.nic); /* a driver that has worked through its ring ends with one of these */
    } else if (s->refused && !(s->isr & ISR_RX_WORK)) {
        rtl_retry_soon(s);
    }
}

static void reg_write(struct rtl8139 *s, unsigned id, uint32_t val)
{
    switch (id) {
    case IDR0:
        store_le(s->idr, 4, val);
        break;
    case IDR4:
        store_le(s->idr + 4, 2, val);
        break;
    case MAR0:
    case MAR4:
        store_le(s->mar + (id == MAR4 ? 4 : 0), 4, val);
        break;
    case TSD0:
    case TSD1:
    case TSD2:
    case TSD3:
        tsd_write(s, id - TSD0, val);
        break;
    case TSAD0:
    case TSAD1:
    case TSAD2:
    case TSAD3:
        tsad_write(s, id - TSAD0, val);
        break;
    case RBSTART:
        s->rbstart = val;
        reset_rx_ring(s);
        break;
    case CR:
        cr_write(s, (uint8_t)val);
        break;
    case CAPR:
        s->read_ptr = (uint16_t)((val + 16) & (rtl_buffer_len(s) - 1));
        nic_kick(s->net.nic);
        break;
    case IMR:
    case ISR:
        int_write(s, id, (uint16_t)val);
        break;
    case TCR:
        s->tcr = val & TCR_WRITABLE;
        break;
    case RCR:
        rcr_write(s, val);
        break;
    case TCTR:
        s->timer_base = vclock_now(s->pci.dev.m);
        arm_timeout(s);
        break;
    case MPC:
        s->mpc = 0;
        break;
    case CR9346:
        cr9346_write(s, (uint8_t)val);
        break;
    case CONFIG1:
    case CONFIG3:
    case CONFIG4:
    case CONFIG5:
        config_write(s, id, (uint8_t)val);
        break;
    case TIMERINT:
        s->timer_int = val;
        arm_timeout(s);
        break;
    case MULINT:
        s->mulint = (uint16_t)(val & 0x0fff);
        break;
    case TPPOLL:
        tppoll_write(s, (uint8_t)val);
        break;
    case CPCR:
        cpcr_write(s, (uint16_t)val);
        break;
    case MITIGATE:
        s->mitigate = (uint16_t)val;
        break;
    case RDSAR0:
        s->rdsar[0] = val & ~0xffu;
        s->rx_index = 0;
        nic_kick(s->net.nic);
        break;
    case RDSAR4:
        s->rdsar[1] = val;
        break;
    case ETTHR:
        s->etthr = val & 0x3f;
        break;
    default:
        phy_write(s, id, val);
        break;
    }
}

/* ---- the window ---- */

static const struct rtl_register *find(const struct rtl8139 *s, unsigned off)
{
    for (size_t i = 0; i < ARRAY_SIZE(registers); i++) {
        if (off >= registers[i].off && off < registers[i].off + registers[i].size) {
            return s->cplus || registers[i].id < TPPOLL ? &registers[i] : NULL;
        }
    }
    return NULL;
}

static uint64_t window_read(struct device *d, uint64_t off, unsigned size)
{
    struct rtl8139 *s = (struct rtl8139 *)d;
    uint64_t val = 0;
    unsigned n;
    for (unsigned i = 0; i < size; i += n) {
        unsigned at = (unsigned)off + i, part = 0;
        const struct rtl_register *r = find(s, at);
        n = 1;
        if (r && r->id == WAKE) {
            part = ((uint8_t *)s->wake)[at - r->off];
        } else if (r) {
            n = r->off + r->size - at;
            n = n < size - i ? n : size - i;
            part = reg_read(s, r->id) >> (at - r->off) * 8;
        }
        val |= (part & ones(n)) << 8 * i;
    }
    return val;
}

static void window_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct rtl8139 *s = (struct rtl8139 *)d;
    unsigned n;
    for (unsigned i = 0; i < size; i += n) {
        unsigned at = (unsigned)off + i;
        const struct rtl_register *r = find(s, at);
        n = 1;
        if (r && r->id == WAKE) {
            ((uint8_t *)s->wake)[at - r->off] = (uint8_t)(val >> 8 * i);
        } else if (r) {
            n = r->off + r->size - at;
            n = n < size - i ? n : size - i;
            unsigned shift = (at - r->off) * 8;
            uint64_t mask = ones(n) << shift;
            uint64_t keep = r->clears || n == r->size ? 0 : reg_read(s, r->id) & ~mask;
            reg_write(s, r->id, (uint32_t)(keep | (val >> 8 * i << shift & mask)));
        }
    }
}

static const struct region_ops window_ops = { window_read, window_write, 4, names };

/* ---- life ---- */

static void more(void *opaque)
{
    rtl_transmit(opaque);
}

static void retry(void *opaque)
{
    struct rtl8139 *s = opaque;
    if (!(s->cpcr & CPCR_RX) && s->refused) {
        s->refused = RTL_WAITED_LONG;
    }
    nic_kick(s->net.nic);
}

static void writable(void *opaque)
{
    struct rtl8139 *s = opaque;
    s->tx_full = false;
    rtl_transmit(s);
}

static const struct nic_user user = { rtl_receive, writable, link_changed, rtl_rx_filter };

static int rtl_init(struct device *d, struct err *e)
{
    struct rtl8139 *s = (struct rtl8139 *)d;
    const struct pci_info info = {
        .vendor = 0x10ec,
        .device = 0x8139,
        .subvendor = 0x1af4,
        .subdevice = 0x1100,
        .class = 0x020000,
        .revision = s->cplus ? 0x20 : REVISION_C,
        .int_pin = 1,
    };
    int ret = pci_init(&s->pci, &info, e);
    if (ret < 0) {
        return ret;
    }
    pci_add_bar(&s->pci, 0, true, 0x100, &window_ops, "RTL8139 IO");
    pci_add_bar(&s->pci, 1, false, 0x100, &window_ops, "RTL8139 MEM");
    pci_add_power_management(&s->pci);
    ret = net_dev_init(&s->pci, &s->net, e);
    if (ret < 0) {
        return ret;
    }
    vtimer_init(&s->timeout, d->m, "rtl8139 timer", timed_out, s);
    vtimer_init(&s->tx_more, d->m, "rtl8139 tx", more, s);
    vtimer_init(&s->retry, d->m, "rtl8139 rx", retry, s);
    nic_attach(s->net.nic, &user, s);
    return 0;
}

static int rtl_loaded(struct device *d, struct err *e)
{
    struct rtl8139 *s = (struct rtl8139 *)d;
    if (s->read_ptr >= rtl_buffer_len(s) || s->cbr >= rtl_buffer_len(s)) {
        return err_set(e, -EINVAL, "%s: ring pointers 0x%x, 0x%x outside its buffer", d->id,
                       s->read_ptr, s->cbr);
    }
    int ret = pci_loaded(&s->pci, e);
    if (ret < 0) {
        return ret;
    }
    update_irq(s);
    nic_kick(s->net.nic);
    if (s->tx_full) { /* another back end, which has room */
        s->tx_full = false;
        vtimer_arm(&s->tx_more, 0);
    }
    return 0;
}

static void rtl_fini(struct device *d)
{
    struct rtl8139 *s = (struct rtl8139 *)d;
    struct vtimer *timers[] = { &s->timeout, &s->tx_more, &s->retry };
    for (size_t i = 0; i < ARRAY_SIZE(timers); i++) {
        if (timers[i]->m) {
            vtimer_fini(timers[i]);
        }
    }
    pci_fini(&s->pci);
    net_dev_fini(&s->pci, &s->net);
}

static const struct dev_prop rtl_props[] = {
    NET_DEV_PROPS(struct rtl8139),
    PROP(struct rtl8139, "cplus", PROP_BOOL, cplus, 1, "off: an RTL8139C, without C+ mode"),
    { NULL, PROP_END, 0, 0, NULL },
};

const struct state_field rtl_tally_state[] = {
    FIELD(struct rtl_tally, tx_ok),     FIELD(struct rtl_tally, rx_ok),
    FIELD(struct rtl_tally, tx_err),    FIELD(struct rtl_tally, rx_err),
    FIELD(struct rtl_tally, missed),    FIELD(struct rtl_tally, fae),
    FIELD(struct rtl_tally, tx_1col),   FIELD(struct rtl_tally, tx_mcol),
    FIELD(struct rtl_tally, rx_ok_phy), FIELD(struct rtl_tally, rx_ok_brd),
    FIELD(struct rtl_tally, rx_ok_mul), FIELD(struct rtl_tally, tx_abt),
    FIELD(struct rtl_tally, tx_undrn),  FIELD_END,
};

static const struct state_field rtl_state[] = {
    PCI_STATE(struct rtl8139),
    FIELD_BLOCK(struct rtl8139, net.rom),
    FIELD_ARRAY(struct rtl8139, idr),
    FIELD_ARRAY(struct rtl8139, mar),
    FIELD_ARRAY(struct rtl8139, tsd),
    FIELD_ARRAY(struct rtl8139, tsad),
    FIELD(struct rtl8139, rbstart),
    FIELD(struct rtl8139, cr),
    FIELD(struct rtl8139, read_ptr),
    FIELD(struct rtl8139, cbr),
    FIELD(struct rtl8139, imr),
    FIELD(struct rtl8139, isr),
    FIELD(struct rtl8139, tcr),
    FIELD(struct rtl8139, rcr),
    FIELD(struct rtl8139, mpc),
    FIELD(struct rtl8139, timer_int),
    FIELD(struct rtl8139, cr9346),
    FIELD(struct rtl8139, config1),
    FIELD(struct rtl8139, config3),
    FIELD(struct rtl8139, config4),
    FIELD(struct rtl8139, config5),
    FIELD(struct rtl8139, mulint),
    FIELD(struct rtl8139, bmcr),
    FIELD(struct rtl8139, anar),
    FIELD(struct rtl8139, nwaytr),
    FIELD(struct rtl8139, cscr),
    FIELD(struct rtl8139, phy1_parm),
    FIELD(struct rtl8139, tw_parm),
    FIELD(struct rtl8139, phy2_parm),
    FIELD_ARRAY(struct rtl8139, wake),
    FIELD(struct rtl8139, cpcr),
    FIELD(struct rtl8139, mitigate),
    FIELD_ARRAY(struct rtl8139, rdsar),
    FIELD_ARRAY(struct rtl8139, dtccr),
    FIELD(struct rtl8139, etthr),
    FIELD_RANGE(struct rtl8139, tx_next, 0, 3),
    FIELD_ARRAY(struct rtl8139, tx_index),
    FIELD_RANGE(struct rtl8139, rx_index, 0, RTL_RING_MAX - 1),
    FIELD_ARRAY(struct rtl8139, frame),
    FIELD_RANGE(struct rtl8139, frame_len, 0, RTL_FRAME_MAX),
    FIELD_ARRAY(struct rtl8139, tx_opts),
    FIELD(struct rtl8139, tx_open),
    FIELD(struct rtl8139, too_long),
    FIELD(struct rtl8139, tx_full),
    FIELD(struct rtl8139, polled),
    FIELD(struct rtl8139, refused),
    FIELD_SUB(struct rtl8139, tally, rtl_tally_state, 1),
    FIELD_SUB(struct rtl8139, eeprom, eeprom93_state, 1),
    FIELD(struct rtl8139, timer_base),
    FIELD_TIMER(struct rtl8139, timeout),
    FIELD_TIMER(struct rtl8139, tx_more),
    FIELD_TIMER(struct rtl8139, retry),
    FIELD_END,
};

const struct dev_class rtl8139_class = {
    .name = "rtl8139",
    .desc = "Realtek RTL8139C+ fast Ethernet (PCI 10ec:8139)",
    .size = sizeof(struct rtl8139),
    .props = rtl_props,
    .state = rtl_state,
    .state_version = 1,
    .user_creatable = true,
    .init = rtl_init,
    .reset = rtl_reset,
    .loaded = rtl_loaded,
    .fini = rtl_fini,
};
