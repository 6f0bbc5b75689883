/* SPDX-License-Identifier: MIT */
/* hw/net/ne2000.c - the DP8390 of an NE2000: four pages of registers, remote DMA, ring of pages.
 *
 *   guest --ports 10..17, RSAR, RBCR--> PROM and RAM <--local DMA-- frames
 *
 *   0000..001f PROM    4000..7fff RAM: the driver divides it into a transmit buffer (TPSR) and a ring of
 *   256-byte pages (PSTART..PSTOP) that is filled from CURR and emptied up to BNRY
 *
 * A frame that finds no room waits at the cable until the driver moves BNRY; the card never overflows.
 * QUIRK: PRX comes back while packets are left in the ring. Linux's driver takes nine at a time and then
 * clears PRX; on a wire of 10 Mb/s the next packet would have set it again.
 * Left out: send packet command, the FIFO as a register, collisions, DMA's low addresses; loopback
 * ends in the FIFO and so nowhere. Reference: DP8390D data sheet; RTL8029AS data sheet.
 */
#include "hw/net/ne2000.h"

#include "dm/base/bytes.h"

#include <errno.h>

enum {
    CR_STP = 0x01,
    CR_STA = 0x02,
    CR_TXP = 0x04,
    CR_RD = 0x38,
    CR_RD_READ = 0x08,
    CR_RD_WRITE = 0x10,
    CR_RD_ABORT = 0x20,
    ISR_PRX = 0x01,
    ISR_PTX = 0x02,
    ISR_TXE = 0x08,
    ISR_CNT = 0x20,
    ISR_RDC = 0x40,
    ISR_RST = 0x80,
    RCR_AB = 0x04,
    RCR_AM = 0x08,
    RCR_PRO = 0x10,
    RCR_MON = 0x20,
    TCR_LB = 0x06,
    DCR_WTS = 0x01,
    RSR_PRX = 0x01,
    RSR_PHY = 0x20, /* multicast or broadcast */
    TSR_PTX = 0x01,
    TSR_ABT = 0x08,

    PORT_DATA = 0x10,
    PORT_RESET = 0x18,
    PAGE = 256,
    HEADER = 4,
    FCS = 4,
    MIN_FRAME = 60,
    RX_MAX = 1518, /* with a tag, without FCS */
    COUNTER_MAX = 192,
};

static void update_irq(struct ne2000 *s)
{
    s->interrupt(s->d, s->isr & s->imr & 0x7f);
}

static void cause(struct ne2000 *s, uint8_t bits)
{
    s->isr |= bits;
    update_irq(s);
}

static void missed(struct ne2000 *s)
{
    if (s->counter[2] < COUNTER_MAX && ++s->counter[2] >= 128) {
        cause(s, ISR_CNT);
    }
}

/* ---- its memory ---- */

static uint8_t *cell(struct ne2000 *s, uint16_t at)
{
    return at < NE2000_PROM                                         ? &s->prom[at]
           : at >= NE2000_RAM_AT && at < NE2000_RAM_AT + NE2000_RAM ? &s->ram[at - NE2000_RAM_AT]
                                                                    : NULL;
}

/* The address comes round at the end of the ring. */
static void remote_step(struct ne2000 *s)
{
    s->rsar++;
    if (s->rsar == s->pstop * PAGE) {
        s->rsar = (uint16_t)(s->pstart * PAGE);
    }
    s->rbcr--;
}

/* An access of n bytes at the data port; with WTS at least a word moves. */
static unsigned remote_bytes(const struct ne2000 *s, unsigned size)
{
    return s->dcr & DCR_WTS && size < 2 ? 2 : size;
}

static uint64_t remote_read(struct ne2000 *s, unsigned size)
{
    uint64_t val = 0;
    unsigned n = remote_bytes(s, size);
    for (unsigned i = 0; i < n && (s->cr & CR_RD) == CR_RD_READ && s->rbcr; i++) {
        const uint8_t *c = cell(s, s->rsar);
        val |= (uint64_t)(c ? *c : 0xff) << 8 * i;
        remote_step(s);
    }
    if (s->rbcr == 0) {
        cause(s, ISR_RDC);
    }
    return val;
}

static void remote_write(struct ne2000 *s, unsigned size, uint64_t val)
{
    unsigned n = remote_bytes(s, size);
    for (unsigned i = 0; i < n && (s->cr & CR_RD) == CR_RD_WRITE && s->rbcr; i++) {
        if (s->rsar >= NE2000_RAM_AT && cell(s, s->rsar)) {
            *cell(s, s->rsar) = (uint8_t)(val >> 8 * i);
        }
        remote_step(s);
    }
    if (s->rbcr == 0) {
        cause(s, ISR_RDC);
    }
}

/* ---- sending ---- */

static void sent(struct ne2000 *s, uint8_t tsr, uint8_t bits)
{
    s->cr &= (uint8_t)~CR_TXP;
    s->tsr = tsr;
    cause(s, bits);
}

static void transmit(struct ne2000 *s)
{
    uint8_t buf[NE2000_RAM];
    struct nic_frame f = { buf, s->tbcr, { 0 } };
    if (f.len < NIC_FRAME_MIN || f.len > sizeof(buf)) {
        guest_odd(s->d, "a frame of %u bytes", f.len);
        sent(s, TSR_ABT, ISR_TXE);
        return;
    }
    for (unsigned i = 0; i < f.len; i++) {
        const uint8_t *c = cell(s, (uint16_t)(s->tpsr * PAGE + i));
        buf[i] = c ? *c : 0xff;
    }
    if (!(s->tcr & TCR_LB) && !nic_send(s->nic, &f)) {
        s->tx_full = true;
        return;
    }
    sent(s, TSR_PTX, ISR_PTX);
}

static void writable(void *opaque)
{
    struct ne2000 *s = opaque;
    if (s->tx_full) {
        s->tx_full = false;
        sent(s, TSR_PTX, ISR_PTX);
    }
}

/* ---- receiving ---- */

static bool passes(const struct ne2000 *s, const uint8_t *mac)
{
    if (s->rcr & RCR_PRO) {
        return true;
    }
    if (mac_is_broadcast(mac)) {
        return s->rcr & RCR_AB;
    }
    if (mac_is_multicast(mac)) {
        unsigned bit = mac_hash(mac);
        return s->rcr & RCR_AM && s->mar[bit >> 3] >> (bit & 7) & 1;
    }
    return memcmp(mac, s->par, 6) == 0;
}

static bool ring_makes_sense(const struct ne2000 *s)
{
    return s->pstart * PAGE >= NE2000_RAM_AT && s->pstart < s->pstop &&
           s->pstop * PAGE <= NE2000_RAM_AT + NE2000_RAM && s->curr >= s->pstart &&
           s->curr < s->pstop;
}

/* Pages from CURR to BNRY; the whole ring when they are the same. A BNRY in front of the ring, where
 * Linux's driver puts it when it has read up to the end, is the ring's last page. */
static unsigned free_pages(const struct ne2000 *s)
{
    unsigned size = s->pstop - s->pstart, bnry = s->bnry, curr = s->curr;
    if (bnry < s->pstart || bnry >= s->pstop) {
        bnry = s->pstop - 1u;
    }
    return bnry > curr ? bnry - curr : size - (curr - bnry);
}

static void ring_put(struct ne2000 *s, unsigned *at, uint8_t byte)
{
    s->ram[*at - NE2000_RAM_AT] = byte;
    if (++*at == s->pstop * (unsigned)PAGE) {
        *at = s->pstart * (unsigned)PAGE;
    }
}

/* Status, next page, length, then the frame with its padding and FCS, both zeroes. */
static void into_ring(struct ne2000 *s, const struct nic_frame *f, uint32_t padded, unsigned pages)
{
    unsigned at = s->curr * (unsigned)PAGE, next = s->curr + pages;
    uint32_t count = padded + FCS;
    next = next >= s->pstop ? next - (s->pstop - s->pstart) : next;
    s->rsr = (uint8_t)(RSR_PRX | (mac_is_multicast(f->data) ? RSR_PHY : 0));
    const uint8_t head[HEADER] = { s->rsr, (uint8_t)next, (uint8_t)count, (uint8_t)(count >> 8) };
    for (unsigned i = 0; i < HEADER; i++) {
        ring_put(s, &at, head[i]);
    }
    for (uint32_t i = 0; i < count; i++) {
        ring_put(s, &at, i < f->len ? f->data[i] : 0);
    }
    s->curr = (uint8_t)next;
    cause(s, ISR_PRX);
}

static bool receive(void *opaque, const struct nic_frame *f)
{
    struct ne2000 *s = opaque;
    uint32_t padded = f->len < MIN_FRAME ? MIN_FRAME : f->len;
    unsigned pages = (HEADER + padded + FCS + PAGE - 1) / PAGE;
    if (!machine_running(s->d->m)) {
        return false;
    }
    if (s->cr & CR_STP || s->tcr & TCR_LB || !passes(s, f->data) || f->len > RX_MAX) {
        return true;
    }
    if (s->rcr & RCR_MON || !ring_makes_sense(s) || pages >= (unsigned)(s->pstop - s->pstart)) {
        missed(s);
        return true;
    }
    if (pages >= free_pages(s)) { /* one page stays free: CURR never meets BNRY */
        cause(s, ISR_PRX);
        return false;
    }
    into_ring(s, f, padded, pages);
    return true;
}

static void rx_filter(void *opaque, struct nic_rx_filter *f)
{
    const struct ne2000 *s = opaque;
    bool all = load_le64(s->mar) == UINT64_MAX;
    memcpy(f->mac, s->par, 6);
    f->promiscuous = s->rcr & RCR_PRO;
    f->broadcast_allowed = s->rcr & RCR_AB;
    f->unicast = s->rcr & RCR_PRO ? NIC_RX_ALL : NIC_RX_NORMAL;
    f->multicast = !(s->rcr & RCR_AM) || !load_le64(s->mar) ? NIC_RX_NONE
                   : all                                    ? NIC_RX_ALL
                                                            : NIC_RX_NORMAL;
    f->multicast_overflow = f->multicast == NIC_RX_NORMAL;
    f->vlan = NIC_RX_ALL;
}

static const struct nic_user user = { receive, writable, NULL, rx_filter };

/* Whether the driver left packets in the ring, by either habit: BNRY at the next one, or a page before.
 */
static bool packets_wait(const struct ne2000 *s)
{
    unsigned next = s->bnry + 1 == s->pstop ? s->pstart : s->bnry + 1u;
    return !(s->cr & CR_STP) && ring_makes_sense(s) && s->curr != s->bnry && s->curr != next;
}

/* ---- registers ---- */

static void cr_write(struct ne2000 *s, uint8_t val)
{
    uint8_t rd = val & CR_RD;
    s->cr = (uint8_t)((val & ~CR_TXP) | (s->cr & CR_TXP));
    if (val & CR_STP) {
        s->isr |= ISR_RST;
        nic_kick(s->nic); /* what waits is dropped */
        return;
    }
    if (!(val & CR_STA)) {
        return;
    }
    s->isr &= (uint8_t)~ISR_RST;
    if ((rd == CR_RD_READ || rd == CR_RD_WRITE) && s->rbcr == 0) {
        cause(s, ISR_RDC);
    }
    if (val & CR_TXP && !(s->cr & CR_TXP)) {
        s->cr |= CR_TXP;
        transmit(s);
    }
    nic_kick(s->nic);
}

static uint8_t take_counter(struct ne2000 *s, unsigned n)
{
    uint8_t v = s->counter[n];
    s->counter[n] = 0;
    return v;
}

static uint8_t page0_read(struct ne2000 *s, unsigned reg)
{
    switch (reg) {
    case 0x02:
        return s->curr; /* CLDA1: where local DMA goes on */
    case 0x03:
        return s->bnry;
    case 0x04:
        return s->tsr;
    case 0x07:
        return s->isr;
    case 0x08:
        return (uint8_t)s->rsar;
    case 0x09:
        return (uint8_t)(s->rsar >> 8);
    case 0x0a:
        return s->pci ? 0x50 : 0; /* "P", "C": an RTL8029 */
    case 0x0b:
        return s->pci ? 0x43 : 0;
    case 0x0c:
        return s->rsr;
    case 0x0d:
    case 0x0e:
    case 0x0f:
        return take_counter(s, reg - 0x0d);
    default: /* CLDA0, NCR, FIFO */
        return 0;
    }
}

static uint8_t page2_read(const struct ne2000 *s, unsigned reg)
{
    const uint8_t r[16] = { [1] = s->pstart, [2] = s->pstop, [4] = s->tpsr, [12] = s->rcr,
                            [13] = s->tcr,   [14] = s->dcr,  [15] = s->imr };
    return r[reg];
}

static uint8_t reg_read(struct ne2000 *s, unsigned reg)
{
    if (reg == 0) {
        return s->cr;
    }
    switch (s->cr >> 6) {
    case 0:
        return page0_read(s, reg);
    case 1:
        return reg < 7 ? s->par[reg - 1] : reg == 7 ? s->curr : s->mar[reg - 8];
    case 2:
        return page2_read(s, reg);
    default:
        return s->pci ? s->config[reg] : 0;
    }
}

static void page0_write(struct ne2000 *s, unsigned reg, uint8_t val)
{
    switch (reg) {
    case 0x01:
        s->pstart = val;
        break;
    case 0x02:
        s->pstop = val;
        break;
    case 0x03:
        s->bnry = val;
        nic_kick(s->nic);
        break;
    case 0x04:
        s->tpsr = val;
        break;
    case 0x05:
        s->tbcr = (uint16_t)((s->tbcr & 0xff00) | val);
        break;
    case 0x06:
        s->tbcr = (uint16_t)((s->tbcr & 0xff) | val << 8);
        break;
    case 0x07: /* a one clears; RST stays as it is */
        s->isr &= (uint8_t) ~(val & ~ISR_RST);
        s->isr |= val & ISR_PRX && packets_wait(s) ? ISR_PRX : 0;
        nic_kick(s->nic);
        break;
    case 0x08:
        s->rsar = (uint16_t)((s->rsar & 0xff00) | val);
        break;
    case 0x09:
        s->rsar = (uint16_t)((s->rsar & 0xff) | val << 8);
        break;
    case 0x0a:
        s->rbcr = (uint16_t)((s->rbcr & 0xff00) | val);
        break;
    case 0x0b:
        s->rbcr = (uint16_t)((s->rbcr & 0xff) | val << 8);
        break;
    case 0x0c:
        s->rcr = val & 0x3f;
        nic_kick(s->nic);
        break;
    case 0x0d:
        s->tcr = val & 0x1f;
        break;
    case 0x0e:
        s->dcr = val & 0x7f;
        break;
    default:
        s->imr = val & 0x7f;
        break;
    }
    update_irq(s);
}

static void reg_write(struct ne2000 *s, unsigned reg, uint8_t val)
{
    unsigned page = s->cr >> 6;
    if (reg == 0) {
        cr_write(s, val);
    } else if (page == 0) {
        page0_write(s, reg, val);
    } else if (page == 1 && reg == 7) {
        s->curr = val;
    } else if (page == 1) {
        *(reg < 7 ? &s->par[reg - 1] : &s->mar[reg - 8]) = val;
    } else if (page == 3 && s->pci && reg != 0x0e && reg != 0x0f) {
        s->config[reg] = val;
    }
}

/* The reset port, and RESET itself: stopped, nothing under way, no interrupts. */
static void stop(struct ne2000 *s)
{
    s->cr = CR_STP | CR_RD_ABORT;
    s->isr = ISR_RST;
    s->imr = 0;
    s->tx_full = false;
    nic_kick(s->nic);
    update_irq(s);
}

uint64_t ne2000_read(struct ne2000 *s, uint64_t off, unsigned size)
{
    uint64_t val = 0;
    if (off >= PORT_RESET) {
        if (off < NE2000_PORTS) {
            stop(s);
        }
        return 0;
    }
    if (off >= PORT_DATA) {
        return remote_read(s, size);
    }
    for (unsigned i = 0; i < size && off + i < PORT_DATA; i++) {
        val |= (uint64_t)reg_read(s, (unsigned)off + i) << 8 * i;
    }
    return val;
}

void ne2000_write(struct ne2000 *s, uint64_t off, unsigned size, uint64_t val)
{
    if (off >= PORT_DATA && off < PORT_RESET) {
        remote_write(s, size, val);
        return;
    }
    for (unsigned i = 0; i < size && off + i < PORT_DATA; i++) {
        reg_write(s, (unsigned)off + i, (uint8_t)(val >> 8 * i));
    }
}

const struct reg_name ne2000_names[] = {
    { 0x00, "CR" },          { 0x01, "PSTART, PAR0" },
    { 0x02, "PSTOP, PAR1" }, { 0x03, "BNRY, PAR2" },
    { 0x04, "TSR, TPSR" },   { 0x05, "TBCR0" },
    { 0x06, "TBCR1" },       { 0x07, "ISR, CURR" },
    { 0x08, "RSAR0" },       { 0x09, "RSAR1" },
    { 0x0a, "RBCR0" },       { 0x0b, "RBCR1" },
    { 0x0c, "RSR, RCR" },    { 0x0d, "CNTR0, TCR" },
    { 0x0e, "CNTR1, DCR" },  { 0x0f, "CNTR2, IMR" },
    { 0x10, "DATA" },        { 0x18, "RESET" },
    { 0x20, "RESERVED" },    { 0, NULL },
};

/* ---- life ---- */

void ne2000_init(struct ne2000 *s, const uint8_t *mac)
{
    memcpy(s->mac, mac, sizeof(s->mac));
    nic_attach(s->nic, &user, s);
}

void ne2000_reset(struct ne2000 *s)
{
    memset(s->ram, 0, sizeof(s->ram));
    for (unsigned i = 0; i < NE2000_PROM; i++) {
        s->prom[i] = i / 2 < 6 ? s->mac[i / 2] : i / 2 >= 14 ? 'W' : 0;
    }
    s->pstart = s->pstop = s->bnry = s->curr = s->tpsr = s->tsr = s->rsr = 0;
    s->rcr = s->tcr = s->dcr = 0;
    s->tbcr = s->rsar = s->rbcr = 0;
    memset(s->par, 0, sizeof(s->par));
    memset(s->mar, 0, sizeof(s->mar));
    memset(s->counter, 0, sizeof(s->counter));
    memset(s->config, 0, sizeof(s->config));
    s->config[0x0e] = 0x29; /* 8029ASID */
    s->config[0x0f] = 0x80;
    stop(s);
}

int ne2000_loaded(struct ne2000 *s, struct err *e)
{
    if (s->tx_full && !(s->cr & CR_TXP)) {
        return err_set(e, -EINVAL, "%s: waits for a packet it does not send", s->d->id);
    }
    writable(s); /* another back end, which has room */
    update_irq(s);
    nic_kick(s->nic);
    return 0;
}

#define N(member) FIELD(struct ne2000, member)
const struct state_field ne2000_state[] = {
    FIELD_ARRAY(struct ne2000, prom),
    FIELD_ARRAY(struct ne2000, ram),
    N(cr),
    N(pstart),
    N(pstop),
    N(bnry),
    N(curr),
    N(tpsr),
    N(tsr),
    N(rsr),
    N(isr),
    N(imr),
    N(rcr),
    N(tcr),
    N(dcr),
    N(tbcr),
    N(rsar),
    N(rbcr),
    FIELD_ARRAY(struct ne2000, par),
    FIELD_ARRAY(struct ne2000, mar),
    FIELD_ARRAY(struct ne2000, counter),
    FIELD_ARRAY(struct ne2000, config),
    N(tx_full),
    FIELD_END,
};
