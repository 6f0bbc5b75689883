/* SPDX-License-Identifier: MIT */
/* hw/net/pcnet-ring.c - the Am79C970A's descriptor rings: sending, receiving, the address filter.
 *
 * BCR20.SWSTYLE chooses how a descriptor lies in memory; all become one struct desc:
 *
 *   style   bytes  +0              +4                      +8            +12
 *   0       8      address (24)    BCNT (16), misc (16)
 *                  | status << 24
 *   1, 2    16     address         status << 16 | BCNT     misc          -
 *   3       16     misc            status << 16 | BCNT     address       -
 *
 * misc is MCNT of a received frame, or why a frame could not be sent. A frame that finds no
 * descriptors waits at the cable; the rings tell nobody when there is room, so it is tried again at the
 * driver's next write to CSR0, or by a timer a bounded number of times, and then missed. What cannot be
 * read or written ends in MERR and that channel stops. The FCS behind a frame is zero.
 * Reference: data sheet 19436, descriptors; ring handling.
 */
#include "hw/net/pcnet-int.h"

#include "dm/base/bytes.h"

#define BUDGET 256u

enum { /* status, in the positions of TMD1 and RMD1 */
       ERR = 1u << 30,
       LTINT = 1u << 28,
       RX_BUFF = 1u << 26,
       STP = 1u << 25,
       ENP = 1u << 24,
       PAM = 1u << 22,
       LAFM = 1u << 21,
       BAM = 1u << 20,
       TX_KEEP = 0x23800000, /* ADD_FCS, STP, ENP, BPE: what a driver gets back unchanged */
       TX_UFLO = 1u << 30,   /* misc of a sent frame */
       TX_LCAR = 1u << 27,
       BCNT = 0xfff,
       FCS = 4,
       MIN_FRAME = 60,
       MAX_STANDARD = 1514,
};
#define OWN (1u << 31)
#define TX_BUFF (1u << 31)

struct desc {
    uint64_t at;
    uint32_t addr, len; /* len: 1..4096 */
    uint32_t status;
};

/* ---- descriptors ---- */

static unsigned style(const struct pcnet *s)
{
    return s->bcr[BCR_SWS] & 3;
}

static uint32_t ring_len(const struct pcnet *s, bool rx)
{
    return (uint16_t)-s->csr[rx ? CSR_RCVRL : CSR_XMTRL];
}

static void out_of_memory(struct pcnet *s, bool rx)
{
    guest_odd(&s->pci.dev, "%s ring outside memory, or no bus master", rx ? "receive" : "transmit");
    s->csr[0] &= (uint16_t) ~(rx ? CSR0_RXON : CSR0_TXON);
    pcnet_cause(s, CSR0_MERR);
}

static bool read_desc(struct pcnet *s, bool rx, uint32_t index, struct desc *d)
{
    const uint16_t *base = &s->csr[rx ? CSR_BADR : CSR_BADX];
    unsigned size = style(s) == 0 ? 8 : 16;
    uint8_t raw[16];
    d->at = ((base[0] | (uint32_t)base[1] << 16) & ~(size - 1)) + (uint64_t)index * size;
    if (pci_dma_read(&s->pci, d->at, raw, size) < 0) {
        out_of_memory(s, rx);
        return false;
    }
    uint32_t second = load_le32(raw + 4);
    d->len = 4096 - (second & BCNT);
    d->status = second & 0xffff0000;
    if (style(s) == 0) {
        d->addr = (load_le32(raw) & 0xffffff) | (uint32_t)(s->csr[2] & 0xff00) << 16;
        d->status = load_le32(raw) & 0xff000000;
    } else {
        d->addr = load_le32(raw + (style(s) == 3 ? 8 : 0));
    }
    return true;
}

/* Gives a descriptor back; the byte with OWN goes last. */
static bool put_desc(struct pcnet *s, bool rx, const struct desc *d, uint32_t status, uint32_t misc)
{
    uint8_t raw[4], top[2];
    bool ok;
    store_le(top, 2, status >> 16);
    if (style(s) == 0) {
        store_le(raw, 2, rx ? misc : misc >> 16);
        ok = pci_dma_write(&s->pci, d->at + 6, raw, 2) == 0 &&
             pci_dma_write(&s->pci, d->at + 3, top + 1, 1) == 0;
    } else {
        store_le(raw, 4, misc);
        ok = pci_dma_write(&s->pci, d->at + (style(s) == 3 ? 0 : 8), raw, 4) == 0 &&
             pci_dma_write(&s->pci, d->at + 6, top, 2) == 0;
    }
    if (!ok) {
        out_of_memory(s, rx);
    }
    return ok;
}

static uint32_t next_index(const struct pcnet *s, bool rx, uint32_t index)
{
    return index + 1 >= ring_len(s, rx) ? 0 : index + 1;
}

/* ---- receiving ---- */

/* The status bit that says why a frame passes; 0 with `pass` for promiscuous mode. */
static uint32_t match(const struct pcnet *s, const uint8_t *mac, bool *pass)
{
    uint16_t mode = s->csr[CSR_MODE];
    unsigned hash = ~net_crc32(mac, 6) >> 26;
    *pass = true;
    if (mac_is_broadcast(mac)) {
        *pass = !(mode & MODE_DRCVBC) || mode & MODE_PROM;
        return BAM;
    }
    if (mac_is_multicast(mac) && s->csr[CSR_LADRF + hash / 16] >> hash % 16 & 1) {
        return LAFM;
    }
    if (!(mode & MODE_DRCVPA) && memcmp(mac, &s->csr[CSR_PADR], 6) == 0) {
        return PAM;
    }
    *pass = mode & MODE_PROM;
    return 0;
}

/* Whether len bytes find descriptors now. A ring that is too short for them, but ours, does. */
static bool has_room(struct pcnet *s, uint32_t len)
{
    uint32_t index = s->rx_index;
    for (uint32_t n = 0; n < ring_len(s, true); n++) {
        struct desc d;
        if (!read_desc(s, true, index, &d) || !(d.status & OWN)) {
            return false;
        }
        if (d.len >= len) {
            return true;
        }
        len -= d.len;
        index = next_index(s, true, index);
    }
    return ring_len(s, true) != 0;
}

/* Fills descriptors; where the ring ends before the frame does, the last one says BUFF. */
static void into_ring(struct pcnet *s, const uint8_t *data, uint32_t total, uint32_t why)
{
    uint32_t most = ring_len(s, true);
    for (uint32_t at = 0, i = 0, n; at < total && i < most; at += n, i++) {
        struct desc d;
        if (!read_desc(s, true, s->rx_index, &d) || !(d.status & OWN)) {
            return;
        }
        n = min_u64(d.len, total - at) & UINT32_MAX;
        if (pci_dma_write(&s->pci, d.addr, data + at, n) < 0) {
            guest_odd(&s->pci.dev, "receive buffer outside memory");
        }
        bool last = at + n == total, cut = !last && i + 1 == most;
        uint32_t status = (at == 0 ? STP : 0) | (last ? ENP | why : 0) | (cut ? ERR | RX_BUFF : 0);
        if (!put_desc(s, true, &d, status, last ? total : 0)) {
            return;
        }
        s->rx_index = (uint16_t)next_index(s, true, s->rx_index);
    }
    pcnet_cause(s, CSR0_RINT);
}

/* Pads f into buf with the FCS behind it, or takes an 802.3 frame's padding off; the bytes to store. */
static uint32_t prepare(const struct pcnet *s, const struct nic_frame *f, uint8_t *buf)
{
    uint32_t padded = f->len < MIN_FRAME ? MIN_FRAME : f->len, length = load_be16(f->data + 12);
    memcpy(buf, f->data, f->len);
    memset(buf + f->len, 0, padded - f->len + FCS);
    bool strip = s->csr[4] & CSR4_ASTRP_RCV && length < MIN_FRAME - NIC_FRAME_MIN;
    return strip ? NIC_FRAME_MIN + length : padded + FCS;
}

static void missed(struct pcnet *s)
{
    s->csr[CSR_MISSED]++;
    pcnet_cause(s, CSR0_MISS);
}

/* False: no room. */
static bool take_frame(struct pcnet *s, const struct nic_frame *f)
{
    uint8_t buf[PCNET_FRAME_MAX + FCS];
    bool pass;
    uint32_t why = match(s, f->data, &pass);
    if (!pass || f->len > PCNET_FRAME_MAX - 1) {
        return true;
    }
    uint32_t total = prepare(s, f, buf);
    if (!has_room(s, total)) {
        return !(s->csr[0] & CSR0_RXON);
    }
    into_ring(s, buf, total, style(s) < 2 ? 0 : why);
    return true;
}

bool pcnet_receive(void *opaque, const struct nic_frame *f)
{
    struct pcnet *s = opaque;
    if (!machine_running(s->pci.dev.m)) {
        return false;
    }
    if (!(s->csr[0] & CSR0_RXON) || s->csr[CSR_MODE] & MODE_LOOP || !pci_bus_master(&s->pci)) {
        return true;
    }
    if (pcnet_suspended(s)) {
        return false;
    }
    if (take_frame(s, f)) {
        s->refused = 0;
        return true;
    }
    if (net_hold_frame(&s->refused, &s->retry)) {
        return false;
    }
    missed(s);
    return true;
}

void pcnet_rx_filter(void *opaque, struct nic_rx_filter *f)
{
    const struct pcnet *s = opaque;
    uint16_t mode = s->csr[CSR_MODE];
    uint64_t hashes = load_le64(&s->csr[CSR_LADRF]);
    memcpy(f->mac, &s->csr[CSR_PADR], 6);
    f->promiscuous = mode & MODE_PROM;
    f->broadcast_allowed = !(mode & MODE_DRCVBC);
    f->unicast = mode & MODE_PROM ? NIC_RX_ALL : mode & MODE_DRCVPA ? NIC_RX_NONE : NIC_RX_NORMAL;
    f->multicast = !hashes ? NIC_RX_NONE : hashes == UINT64_MAX ? NIC_RX_ALL : NIC_RX_NORMAL;
    f->multicast_overflow = f->multicast == NIC_RX_NORMAL;
    f->vlan = NIC_RX_ALL;
}

/* ---- sending ---- */

/* What is gathered goes out; returns misc. The receiver never sends, so loopback does not come back. */
static uint32_t put_frame(struct pcnet *s)
{
    struct nic_frame f = { s->frame, s->frame_len, { 0 } };
    if (s->too_long || f.len > MAX_STANDARD) {
        pcnet_cause(s, CSR0_BABL);
    }
    if (s->too_long || f.len < NIC_FRAME_MIN) {
        guest_odd(&s->pci.dev, "a frame of %u bytes%s", f.len, s->too_long ? " or more" : "");
        return 0;
    }
    if (s->csr[4] & CSR4_APAD_XMT && f.len < MIN_FRAME) {
        memset(s->frame + f.len, 0, MIN_FRAME - f.len);
        f.len = MIN_FRAME;
    }
    if (s->csr[CSR_MODE] & MODE_LOOP) {
        if (s->csr[0] & CSR0_RXON && !take_frame(s, &f)) {
            missed(s);
        }
        return 0;
    }
    if (!pcnet_link_up(s)) {
        s->csr[0] |= CSR0_CERR;
        return TX_LCAR;
    }
    s->tx_full = !nic_send(s->net.nic, &f);
    return 0;
}

static void gather(struct pcnet *s, const struct desc *d)
{
    s->too_long |= !net_gather(&s->pci, d->addr, d->len, s->frame, &s->frame_len, PCNET_FRAME_MAX);
}

/* A packet goes on in a descriptor that is not ours: the chip runs dry. */
static bool runs_dry(struct pcnet *s, const struct desc *d)
{
    struct desc next;
    return !(d->status & ENP) && (!read_desc(s, false, next_index(s, false, s->tx_index), &next) ||
                                  next.at == d->at || !(next.status & OWN));
}

static bool wants_tint(const struct pcnet *s, uint32_t status, uint32_t misc)
{
    if (misc) {
        return true;
    }
    return s->csr[5] & CSR5_LTINTEN ? status & LTINT : !(s->csr[5] & CSR5_TOKINTD);
}

/* One descriptor. False: nothing more to do for now. */
static bool step(struct pcnet *s)
{
    struct desc d;
    uint32_t misc = 0;
    if (!read_desc(s, false, s->tx_index, &d) || !(d.status & OWN)) {
        return false;
    }
    if (d.status & STP) {
        s->tx_open = true;
        s->too_long = false;
        s->frame_len = 0;
        s->csr[4] |= CSR4_TXSTRT;
    }
    bool open = s->tx_open, dry = open && runs_dry(s, &d);
    if (open) {
        gather(s, &d);
    }
    if (open && d.status & ENP) {
        misc = put_frame(s);
    } else if (dry) {
        misc = TX_BUFF | TX_UFLO;
        s->csr[0] &= (uint16_t) ~(s->csr[3] & CSR3_DXSUFLO ? 0 : CSR0_TXON);
    }
    if (!put_desc(s, false, &d, (d.status & TX_KEEP) | (misc ? ERR : 0), misc)) {
        return false;
    }
    s->tx_index = (uint16_t)next_index(s, false, s->tx_index);
    if (open && (d.status & ENP || dry)) {
        s->tx_open = false;
        s->frame_len = 0;
        pcnet_cause(s, wants_tint(s, d.status, misc) ? CSR0_TINT : 0);
    }
    return true;
}

void pcnet_transmit(struct pcnet *s)
{
    if (vtimer_armed(&s->tx_more)) {
        return;
    }
    for (unsigned n = 0; s->csr[0] & CSR0_TXON && !pcnet_suspended(s) && !s->tx_full; n++) {
        if (n == BUDGET) {
            vtimer_arm(&s->tx_more, 0);
            return;
        }
        if (!step(s)) {
            return;
        }
    }
}
