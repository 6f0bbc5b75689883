/* SPDX-License-Identifier: MIT */
/* hw/net/rtl8139-rx.c - the RTL8139 receives: address filter, ring buffer (C), descriptors (C+).
 *
 * A frame that finds no room waits at the cable (net/nic.h), where the part would lose it and raise
 * RXOVW. In C mode it waits until the guest moves CAPR; RXOVW is raised when nothing else has the
 * guest look at its ring. A C+ ring tells nobody when it has room again: then a frame waits for the
 * next write to IMR or ISR, or for a timer, and is lost after some of those. The four bytes of CRC
 * behind a frame are zero.
 *
 *   C ring: [status 2][length 2][frame][CRC 4][to a multiple of 4] ... at RBSTART + CBR
 *   it ends at its length (8, 16, 32, 64 KiB) or, with WRAP, runs over the end by one frame
 *
 * Reference: RTL8139C(L)+ data sheet, 5.4 (receive), 6.7 (RCR), 9.2.2 (C+ descriptors).
 */
#include "hw/net/rtl8139-int.h"

#include "dm/base/bytes.h"

enum {
    MIN_FRAME = 60,
    CRC_LEN = 4,
    HEADER = 4,
    RX_ROK = 0x0001, /* C: status word */
    RX_BAR = 0x2000,
    RX_PAM = 0x4000,
    RX_MAR = 0x8000,
    CP_TCPF = 1u << 13,
    CP_UDPF = 1u << 14,
    CP_IPF = 1u << 15,
    CP_PID_SHIFT = 16, /* 1 TCP, 2 UDP, 3 IP */
    CP_BAR = 1u << 24,
    CP_PAM = 1u << 25,
    CP_MAR = 1u << 26,
    CP_LS = 1u << 28,
    CP_FS = 1u << 29,
    CP_EOR = 1u << 30,
    CP_TAVA = 1u << 16, /* in the second word */
    CP_SIZE = 0x1fff,
};
#define CP_OWN (1u << 31)

/* Why a frame passes; 0: it does not. */
enum match { NO_MATCH, MATCH_PHYSICAL, MATCH_MULTICAST, MATCH_BROADCAST, MATCH_ANY };

static enum match match(const struct rtl8139 *s, const uint8_t *mac)
{
    if (mac_is_broadcast(mac)) {
        return s->rcr & (RCR_AB | RCR_AAP) ? MATCH_BROADCAST : NO_MATCH;
    }
    if (mac_is_multicast(mac)) {
        unsigned bit = mac_hash(mac);
        bool hit = s->rcr & RCR_AM && s->mar[bit >> 3] >> (bit & 7) & 1;
        return hit || s->rcr & RCR_AAP ? MATCH_MULTICAST : NO_MATCH;
    }
    if (memcmp(mac, s->idr, 6) == 0 && s->rcr & (RCR_APM | RCR_AAP)) {
        return MATCH_PHYSICAL;
    }
    return s->rcr & RCR_AAP ? MATCH_ANY : NO_MATCH;
}

static void count(struct rtl8139 *s, enum match m)
{
    s->tally.rx_ok++;
    s->tally.rx_ok_phy += m == MATCH_PHYSICAL;
    s->tally.rx_ok_brd += m == MATCH_BROADCAST;
    s->tally.rx_ok_mul += m == MATCH_MULTICAST;
}

static void missed(struct rtl8139 *s, uint16_t cause)
{
    if (s->tally.missed < UINT16_MAX) {
        s->tally.missed++;
    }
    s->mpc = (s->mpc + 1) & 0xffffff;
    rtl_cause(s, cause);
}

/* ---- C mode ---- */

/* Copies into the ring buffer at *at, over its end if it wraps there. */
static void ring_put(struct rtl8139 *s, uint32_t *at, const void *data, uint32_t len)
{
    uint32_t size = rtl_buffer_len(s), first = len;
    bool wraps = size == 65536 || !(s->rcr & RCR_WRAP);
    if (wraps && *at + len > size) {
        first = *at < size ? size - *at : 0;
    }
    int ret = first ? pci_dma_write(&s->pci, (uint64_t)s->rbstart + *at, data, first) : 0;
    if (ret == 0 && len > first) {
        ret = pci_dma_write(&s->pci, s->rbstart, (const uint8_t *)data + first, len - first);
    }
    if (ret < 0) {
        guest_odd(&s->pci.dev, "receive buffer outside memory");
    }
    *at += len;
    if (wraps && *at >= size) {
        *at -= size;
    }
}

static bool into_buffer(struct rtl8139 *s, const uint8_t *data, uint32_t len, enum match m)
{
    uint32_t size = rtl_buffer_len(s), need = HEADER + len + CRC_LEN, at = s->cbr;
    uint32_t room = ((uint32_t)s->read_ptr - s->cbr) & (size - 1); /* 0: empty */
    uint8_t head[HEADER];
    if (((need + 3) & ~3u) >= (room ? room : size)) {
        return false;
    }
    store_le(head, 2,
             RX_ROK | (m == MATCH_PHYSICAL    ? RX_PAM
                       : m == MATCH_MULTICAST ? RX_MAR
                       : m == MATCH_BROADCAST ? RX_BAR
                                              : 0));
    store_le(head + 2, 2, len + CRC_LEN);
    ring_put(s, &at, head, HEADER);
    ring_put(s, &at, data, len);
    ring_put(s, &at, "\0\0\0", CRC_LEN);
    s->cbr = (uint16_t)(((at + 3) & ~3u) & (size - 1));
    rtl_cause(s, ISR_ROK);
    return true;
}

/* A driver may clear ROK behind each frame it takes, and stop with frames left in a ring that was filled
 * up meanwhile (Linux's 8139too at the end of its budget): it counts on more frames, each of which
 * raises ROK or RXOVW. */
static void wait_for_reader(struct rtl8139 *s)
{
    bool told = s->isr & ISR_RX_WORK;
    if (!told && s->refused == RTL_WAITED_LONG) {
        rtl_cause(s, ISR_RXOVW);
    } else if (!told) {
        rtl_retry_soon(s);
    }
    s->refused = RTL_WAITS;
}

/* ---- C+ mode ---- */

static uint64_t slot(const struct rtl8139 *s, unsigned index)
{
    return s->rdsar[0] + ((uint64_t)s->rdsar[1] << 32) + index * 16u;
}

struct rx_slot {
    uint64_t at, addr;
    uint32_t opts;
    unsigned next; /* index behind it */
};

static bool read_slot(struct rtl8139 *s, unsigned index, struct rx_slot *out)
{
    uint8_t raw[16];
    out->at = slot(s, index);
    if (pci_dma_read(&s->pci, out->at, raw, sizeof(raw)) < 0) {
        guest_odd(&s->pci.dev, "receive ring outside memory");
        return false;
    }
    out->opts = load_le32(raw);
    out->addr = load_le64(raw + 8);
    out->next = out->opts & CP_EOR ? 0 : (index + 1) & (RTL_RING_MAX - 1);
    return out->opts & CP_OWN;
}

/* Whether descriptors for len bytes are there. */
static bool has_room(struct rtl8139 *s, uint32_t len)
{
    unsigned index = s->rx_index;
    struct rx_slot d;
    for (unsigned n = 0; n < RTL_RING_MAX; n++) {
        if (!read_slot(s, index, &d)) {
            return false;
        }
        if ((d.opts & CP_SIZE) >= len) {
            return true;
        }
        len -= d.opts & CP_SIZE;
        index = d.next;
        if (index == s->rx_index) {
            return false;
        }
    }
    return false;
}

static uint32_t sum_bits(const struct rtl8139 *s, const struct nic_frame *f)
{
    unsigned sums = s->cpcr & CPCR_RXCHKSUM ? nic_check_sums(f) : 0;
    if (!(sums & NIC_SUM_IP)) {
        return 0;
    }
    uint32_t pid = sums & NIC_SUM_TCP ? 1 : sums & NIC_SUM_UDP ? 2 : 3;
    uint32_t bits = pid << CP_PID_SHIFT;
    bits |= sums & NIC_SUM_IP_BAD ? CP_IPF : 0;
    bits |= sums & NIC_SUM_L4_BAD ? (pid == 1 ? CP_TCPF : CP_UDPF) : 0;
    return bits;
}

static void put_slot(struct rtl8139 *s, const struct rx_slot *d, uint32_t status, uint32_t opts2)
{
    uint8_t raw[8];
    store_le(raw, 4, (d->opts & CP_EOR) | status);
    store_le(raw + 4, 4, opts2);
    pci_dma_write(&s->pci, d->at + 4, raw + 4, 4);
    pci_dma_write(&s->pci, d->at, raw, 4); /* gives it back: last */
}

/* data: len bytes and behind them four of CRC. */
static bool into_ring(struct rtl8139 *s, const uint8_t *data, uint32_t len, uint32_t status,
                      uint32_t opts2)
{
    uint32_t total = len + CRC_LEN;
    if (!has_room(s, total)) {
        return false;
    }
    for (uint32_t at = 0, n; at < total; at += n) {
        struct rx_slot d;
        if (!read_slot(s, s->rx_index, &d)) {
            break;
        }
        n = d.opts & CP_SIZE;
        n = n < total - at ? n : total - at;
        if (n && pci_dma_write(&s->pci, d.addr, data + at, n) < 0) {
            guest_odd(&s->pci.dev, "receive buffer outside memory");
        }
        put_slot(s, &d, status | (at == 0 ? CP_FS : 0) | (at + n == total ? CP_LS : 0) | total,
                 opts2);
        s->rx_index = (uint8_t)d.next;
    }
    rtl_cause(s, ISR_ROK);
    return true;
}

/* Nobody tells when there is room again. */
static bool wait_for_ring(struct rtl8139 *s)
{
    if (s->refused == 0) {
        rtl_cause(s, ISR_RXOVW);
    }
    if (net_hold_frame(&s->refused, &s->retry)) {
        return false;
    }
    missed(s, ISR_RXOVW);
    return true;
}

/* ---- any frame ---- */

/* Pads f into buf (RTL_RX_MAX + 4), with zeroes for the CRC; takes the tag out if wanted. */
static uint32_t prepare(const struct rtl8139 *s, const struct nic_frame *f, uint8_t *buf,
                        uint32_t *opts2)
{
    uint32_t len = f->len;
    bool tagged = s->cpcr & CPCR_RX && s->cpcr & CPCR_RXVLAN && len >= 18 &&
                  load_be16(f->data + 12) == 0x8100;
    if (tagged) {
        *opts2 = CP_TAVA | load_le16(f->data + 14);
        memcpy(buf, f->data, 12);
        memcpy(buf + 12, f->data + 16, len - 16);
        len -= 4;
    } else {
        memcpy(buf, f->data, len);
    }
    uint32_t padded = len < MIN_FRAME ? MIN_FRAME : len;
    memset(buf + len, 0, padded - len + CRC_LEN);
    return padded;
}

/* False: no room. */
static bool take_frame(struct rtl8139 *s, const struct nic_frame *f)
{
    uint8_t buf[RTL_RX_MAX + CRC_LEN];
    uint32_t opts2 = 0, status = 0;
    enum match m = match(s, f->data);
    if (m == NO_MATCH) {
        return true;
    }
    if (f->len > RTL_RX_MAX) {
        s->tally.rx_err++;
        return true;
    }
    uint32_t len = prepare(s, f, buf, &opts2);
    bool done;
    if (s->cpcr & CPCR_RX) {
        status = sum_bits(s, f) | (m == MATCH_PHYSICAL    ? CP_PAM
                                   : m == MATCH_MULTICAST ? CP_MAR
                                   : m == MATCH_BROADCAST ? CP_BAR
                                                          : 0);
        done = into_ring(s, buf, len, status, opts2);
    } else {
        done = into_buffer(s, buf, len, m);
    }
    if (done) {
        s->refused = 0;
        count(s, m);
    }
    return done;
}

bool rtl_receive(void *opaque, const struct nic_frame *f)
{
    struct rtl8139 *s = opaque;
    if (!machine_running(s->pci.dev.m)) {
        return false;
    }
    if (!(s->cr & CR_RE) || !rtl_awake(s) || (s->tcr & TCR_LBK) == TCR_LBK) {
        return true;
    }
    if (take_frame(s, f)) {
        return true;
    }
    if (s->cpcr & CPCR_RX) {
        return wait_for_ring(s);
    }
    wait_for_reader(s);
    return false;
}

/* The receiver never sends, so this does not come back. */
void rtl_loop_back(struct rtl8139 *s, const uint8_t *data, uint32_t len)
{
    struct nic_frame f = { data, len, { 0 }, 0 };
    if (s->cr & CR_RE && !take_frame(s, &f)) {
        missed(s, ISR_RXOVW);
    }
}

void rtl_rx_filter(void *opaque, struct nic_rx_filter *f)
{
    const struct rtl8139 *s = opaque;
    bool all = load_le64(s->mar) == UINT64_MAX;
    memcpy(f->mac, s->idr, 6);
    f->promiscuous = s->rcr & RCR_AAP;
    f->broadcast_allowed = s->rcr & RCR_AB;
    f->unicast = s->rcr & RCR_AAP ? NIC_RX_ALL : s->rcr & RCR_APM ? NIC_RX_NORMAL : NIC_RX_NONE;
    f->multicast = !(s->rcr & RCR_AM) || !load_le64(s->mar) ? NIC_RX_NONE
                   : all                                    ? NIC_RX_ALL
                                                            : NIC_RX_NORMAL;
    f->multicast_overflow = f->multicast == NIC_RX_NORMAL;
    f->vlan = NIC_RX_ALL;
}
