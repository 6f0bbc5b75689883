/* SPDX-License-Identifier: MIT */
/* hw/net/e1000-rx.c - 82540EM and 82574L receive: filters, tags, checksums, the descriptor ring.
 *
 * A frame that finds no room in an enabled ring waits at the cable (net/nic.h) instead of being lost;
 * one that the filters refuse, or that comes while the receiver is off, is gone. The four bytes that
 * the part leaves behind a frame for its CRC are zero.
 * The 82574L has two rings and three kinds of descriptors:
 *
 *   legacy         address (8), zero (8)     -> address, length, sum, status, errors, tag
 *   extended       the same                  -> hash type, hash, status and errors, length, tag
 *   packet split   four addresses (32)       -> the same, then header length, three lengths
 *
 * Reference: 317694, 7.1 for these; 317453, 3.2 (reception), 9 (VLAN), 13.4.22 (RCTL), 13.5 (filters).
 */
#include "hw/net/e1000-int.h"

#include "dm/base/bytes.h"

enum { /* 3.2.3 */
       STA_DD = 0x01,
       STA_EOP = 0x02,
       STA_IXSM = 0x04,
       STA_VP = 0x08,
       STA_TCPCS = 0x20,
       STA_IPCS = 0x40,
       STA_PIF = 0x80,
       ERR_TCPE = 0x20,
       ERR_IPE = 0x40,
       HDRSP = 0x8000, /* header_status */
       RING_UNIT = 16, /* bytes */
       FCS = 4,
       MAX_STANDARD = 1522, /* with a tag and FCS */
       MIN_FRAME = 60,
};

/* ---- filters ---- */

static bool vlan_passes(const struct e1000 *s, const struct nic_frame *f)
{
    if (!(s->reg[R_RCTL] & RCTL_VFE) || f->len < 18 || load_be16(f->data + 12) != s->reg[R_VET]) {
        return true;
    }
    unsigned vid = load_be16(f->data + 14) & 0xfff;
    return s->vfta[vid >> 5] >> (vid & 31) & 1;
}

static unsigned multicast_hash(const struct e1000 *s, const uint8_t *mac)
{
    static const uint8_t shift[4] = { 4, 3, 2, 0 };
    return load_le16(mac + 4) >> shift[s->reg[R_RCTL] >> RCTL_MO_SHIFT & 3] & 0xfff;
}

static bool exact(const struct e1000 *s, const uint8_t *mac)
{
    for (unsigned i = 0; i < 16; i++) {
        if (s->ra[2 * i + 1] & RAH_AV && s->ra[2 * i] == load_le32(mac) &&
            (s->ra[2 * i + 1] & 0xffff) == load_le16(mac + 4)) {
            return true;
        }
    }
    return false;
}

/* Whether the address is ours; *pif when only the hash said so. 3.2.2 */
static bool address_passes(struct e1000 *s, const uint8_t *mac, bool *pif)
{
    uint32_t rctl = s->reg[R_RCTL];
    bool multicast = mac_is_multicast(mac);
    *pif = false;
    if (mac_is_broadcast(mac)) {
        return rctl & (RCTL_BAM | RCTL_MPE | RCTL_UPE);
    }
    if (exact(s, mac) || (multicast ? rctl & RCTL_MPE : rctl & RCTL_UPE)) {
        return true;
    }
    unsigned hash = multicast_hash(s, mac);
    *pif = multicast && s->mta[hash >> 5] >> (hash & 31) & 1;
    return *pif;
}

static void count_received(struct e1000 *s, const uint8_t *mac, uint32_t len)
{
    e1000_count(s, S_TPR, 1);
    e1000_count(s, S_GPRC, 1);
    e1000_count64(s, S_TOR, len + FCS);
    e1000_count64(s, S_GORC, len + FCS);
    e1000_count_size(s, S_PRC64, len);
    if (mac_is_broadcast(mac)) {
        e1000_count(s, S_BPRC, 1);
    } else if (mac_is_multicast(mac)) {
        e1000_count(s, S_MPRC, 1);
    }
}

/* ---- what the descriptor says ---- */

static void report_sums(const struct e1000 *s, const struct nic_frame *f, uint8_t *status,
                        uint8_t *errors)
{
    uint32_t on = s->reg[R_RXCSUM] & (RXCSUM_IPOFL | RXCSUM_TUOFL);
    unsigned sums = on ? nic_check_sums(f) : 0;
    if (!sums) {
        *status |= STA_IXSM;
        return;
    }
    if (on & RXCSUM_IPOFL && sums & NIC_SUM_IP) {
        *status |= STA_IPCS;
        *errors |= sums & NIC_SUM_IP_BAD ? ERR_IPE : 0;
    }
    if (on & RXCSUM_TUOFL && sums & (NIC_SUM_TCP | NIC_SUM_UDP)) {
        *status |= STA_TCPCS;
        *errors |= sums & NIC_SUM_L4_BAD ? ERR_TCPE : 0;
    }
}

/* ---- the ring ---- */

static bool packet_split(const struct e1000 *s)
{
    return s->is_82574 && s->reg[R_RCTL] & RCTL_DTYP_PS && s->xreg[X_RFCTL] & RFCTL_EXSTEN;
}

/* How big a descriptor's buffers are; returns their sum. */
static uint32_t buffer_sizes(const struct e1000 *s, uint32_t size[4])
{
    uint32_t rctl = s->reg[R_RCTL], n = 2048u >> (rctl >> RCTL_BSIZE_SHIFT & 3);
    uint32_t ps = s->xreg[X_PSRCTL];
    if (packet_split(s)) {
        size[0] = (ps & 0x7f) * 128;
        size[1] = (ps >> 8 & 0x3f) * 1024;
        size[2] = (ps >> 16 & 0x3f) * 1024;
        size[3] = (ps >> 24 & 0x3f) * 1024;
    } else {
        size[0] = rctl & RCTL_BSEX && n < 2048 ? n * 16 : n;
        size[1] = size[2] = size[3] = 0;
    }
    return size[0] + size[1] + size[2] + size[3];
}

static uint32_t desc_bytes(const struct e1000 *s)
{
    return packet_split(s) ? 32 : 16;
}

static uint32_t ring_count(const struct e1000 *s, const uint32_t *ring)
{
    return ring[RING_LEN] / desc_bytes(s);
}

/* Head and tail count units of 16 bytes, of which a packet split descriptor has two. */
static uint32_t ring_units(const uint32_t *ring)
{
    return ring[RING_LEN] / RING_UNIT;
}

/* Descriptors the part owns; 0 when the pointers make no sense. */
static uint32_t ring_free(const struct e1000 *s, const uint32_t *ring)
{
    uint32_t n = ring_units(ring), head = ring[RING_HEAD], tail = ring[RING_TAIL];
    if (head >= n || tail >= n) {
        return 0;
    }
    return (tail >= head ? tail - head : n - head + tail) * RING_UNIT / desc_bytes(s);
}

static void ring_advance(const struct e1000 *s, uint32_t *ring)
{
    uint32_t next = ring[RING_HEAD] + desc_bytes(s) / RING_UNIT;
    ring[RING_HEAD] = next < ring_units(ring) ? next : 0;
}

struct rx_out {
    const uint8_t *data; /* tag taken out, padded */
    uint32_t len;        /* without FCS */
    uint32_t total;      /* bytes of guest memory */
    uint32_t header;     /* packet split: bytes of headers, 0 when it is nothing known */
    uint8_t status, errors;
    uint16_t tag;
    unsigned queue;
    uint32_t hash_type, hash;
};

/* Bytes [at, at + n) of the frame and the zeroes behind it. All or nothing. */
static int put_bytes(struct e1000 *s, const struct rx_out *o, uint64_t gpa, uint32_t at, uint32_t n)
{
    static const uint8_t zeroes[FCS] = { 0 };
    uint32_t data = at < o->len ? o->len - at : 0;
    data = data < n ? data : n;
    int ret = data ? pci_dma_write(&s->pci, gpa, o->data + at, data) : 0;
    return ret == 0 && n > data ? pci_dma_write(&s->pci, gpa + data, zeroes, n - data) : ret;
}

/* The buffers of one descriptor, from `at` of the frame on. Fills used[]; returns their sum. */
static uint32_t put_buffers(struct e1000 *s, const struct rx_out *o, const uint8_t *raw,
                            uint32_t at, uint32_t used[4])
{
    uint32_t size[4], sum = 0;
    buffer_sizes(s, size);
    if (at == 0 && o->header && o->header <= size[0]) {
        size[0] = o->header;
    }
    for (unsigned i = 0; i < 4; i++) {
        uint32_t left = o->total - at - sum, n = left < size[i] ? left : size[i];
        uint64_t gpa = n ? load_le64(raw + 8 * i) : 0;
        if (gpa &&
            put_bytes(s, o, gpa, at + sum, n) < 0) { /* 3.2.3: a null buffer is passed over */
            guest_odd(&s->pci.dev, "receive buffer outside memory");
        }
        used[i] = n;
        sum += n;
    }
    return sum;
}

/* What goes back into the descriptor: from its byte 8 on for the legacy kind. */
static void write_back(struct e1000 *s, const struct rx_out *o, uint64_t desc, uint32_t at,
                       const uint32_t used[4], bool last)
{
    uint8_t raw[32] = { 0 }, status = (uint8_t)(o->status | STA_DD | (last ? STA_EOP : 0));
    bool split = at == 0 && o->header && used[0] == o->header;
    if (!(s->is_82574 && s->xreg[X_RFCTL] & RFCTL_EXSTEN)) {
        store_le(raw + 8, 2, used[0]);
        raw[12] = status;
        raw[13] = last ? o->errors : 0;
        store_le(raw + 14, 2, o->tag);
        pci_dma_write(&s->pci, desc + 8, raw + 8, 8);
        return;
    }
    store_le(raw, 4, o->hash_type);
    store_le(raw + 4, 4, o->hash);
    store_le(raw + 8, 4, status | (last ? (uint32_t)o->errors << 24 : 0));
    store_le(raw + 12, 2, used[0]);
    store_le(raw + 14, 2, o->tag);
    store_le(raw + 16, 2, split ? HDRSP | o->header : 0);
    for (unsigned i = 1; i < 4; i++) {
        store_le(raw + 16 + 2 * i, 2, used[i]);
    }
    if (packet_split(s)) {
        pci_dma_write(&s->pci, desc + 16, raw + 16, 16);
    }
    pci_dma_write(&s->pci, desc, raw, 16); /* with DD: last */
}

/* Fills one descriptor from `at` on. Bytes used, 0 when the ring is not memory or has no buffers. */
static uint32_t put_part(struct e1000 *s, const struct rx_out *o, uint32_t at)
{
    uint32_t *ring = e1000_rx_ring(s, o->queue), used[4];
    uint64_t base = ring[RING_BAL] | (uint64_t)ring[RING_BAH] << 32;
    uint64_t desc = base + (uint64_t)ring[RING_HEAD] * RING_UNIT;
    uint8_t raw[32];
    if (pci_dma_read(&s->pci, desc, raw, desc_bytes(s)) < 0) {
        guest_odd(&s->pci.dev, "receive ring outside memory, or no bus master");
        return 0;
    }
    uint32_t n = put_buffers(s, o, raw, at, used);
    write_back(s, o, desc, at, used, at + n == o->total);
    ring_advance(s, ring);
    return n;
}

/* 3.2.7: RXT0 now, or RDTR after the last frame and RADV after the first. */
static void report(struct e1000 *s, unsigned queue)
{
    const uint32_t *ring = e1000_rx_ring(s, queue);
    uint32_t causes = 0, own = ICR_RXQ0 << queue;
    if (ring_free(s, ring) <= ring_count(s, ring) >>
        (1 + (s->reg[R_RCTL] >> RCTL_RDMTS_SHIFT & 3))) {
        causes |= ICR_RXDMT0 | own;
    }
    if (s->reg[R_RDTR] == 0) {
        causes |= ICR_RXT0 | own;
    } else {
        e1000_delay(&s->rx_delay, ICR_RXT0 | own);
    }
    if (causes) {
        e1000_cause(s, causes);
    }
}

/* True when it is done with, into the ring or not. */
static bool into_ring(struct e1000 *s, const struct rx_out *o)
{
    const uint32_t *ring = e1000_rx_ring(s, o->queue);
    uint32_t size[4], room = buffer_sizes(s, size), n;
    /* where headers are split off, up to all of the first buffer stays empty */
    uint32_t waste = o->header && o->header <= size[0] ? size[0] - o->header : 0;
    uint32_t need = room ? (o->total + waste + room - 1) / room : UINT32_MAX;
    if (need >= ring_count(s, ring)) {
        e1000_count(s, S_MPC, 1); /* never fits */
        return true;
    }
    if (need > ring_free(s, ring)) {
        return false;
    }
    for (uint32_t at = 0; at < o->total; at += n) {
        n = put_part(s, o, at);
        if (n == 0) {
            e1000_count(s, S_MPC, 1);
            return true;
        }
    }
    report(s, o->queue);
    return true;
}

/* 317694, 7.1.10: bytes up to the payload of TCP or UDP over IP without extensions, else 0. */
static uint32_t header_bytes(const uint8_t *p, uint32_t len)
{
    uint32_t ip = load_be16(p + 12) == 0x8100 ? 18 : 14, l4, end;
    if (len < ip + 40) {
        return 0;
    }
    uint16_t type = load_be16(p + ip - 2);
    bool v4 = type == 0x0800 && p[ip] >> 4 == 4 && (p[ip] & 15) >= 5;
    if (!v4 && (type != 0x86dd || p[ip] >> 4 != 6)) {
        return 0;
    }
    uint8_t proto = p[ip + (v4 ? 9 : 6)];
    l4 = ip + (v4 ? (p[ip] & 15) * 4u : 40u);
    if (l4 + 20 > len || (v4 && load_be16(p + ip + 6) & 0x3fff)) {
        return 0;
    }
    end = proto == 6 ? l4 + (p[l4 + 12] >> 4) * 4u : proto == 17 ? l4 + 8 : 0;
    return end <= len ? end : 0;
}

/* Takes f's tag out if that is wanted, and pads it, into buf. */
static void prepare(const struct e1000 *s, const struct nic_frame *f, uint8_t *buf,
                    struct rx_out *o)
{
    bool tagged =
        s->reg[R_CTRL] & CTRL_VME && f->len >= 18 && load_be16(f->data + 12) == s->reg[R_VET];
    o->data = f->data;
    o->len = f->len;
    if (tagged) {
        o->status |= STA_VP;
        o->tag = load_be16(f->data + 14);
        memcpy(buf, f->data, 12);
        memcpy(buf + 12, f->data + 16, f->len - 16);
        o->len -= 4;
        o->data = buf;
    } else if (f->len < MIN_FRAME) {
        memcpy(buf, f->data, f->len);
        o->data = buf;
    }
    if (o->len < MIN_FRAME) {
        memset(buf + o->len, 0, MIN_FRAME - o->len);
        o->len = MIN_FRAME;
    }
    o->total = o->len + (s->reg[R_RCTL] & RCTL_SECRC ? 0 : FCS);
}

static bool take_frame(struct e1000 *s, const struct nic_frame *f)
{
    uint8_t buf[E1000_RX_MAX];
    struct rx_out o = { 0 };
    bool pif;
    if (!address_passes(s, f->data, &pif) || !vlan_passes(s, f)) {
        return true;
    }
    if (f->len + FCS > E1000_RX_MAX ||
        (f->len + FCS > MAX_STANDARD && !(s->reg[R_RCTL] & RCTL_LPE))) {
        e1000_count(s, S_ROC, 1);
        return true;
    }
    if (s->reg[R_RCTL] & RCTL_DPF && load_be16(f->data + 12) == 0x8808) {
        return true; /* a pause frame */
    }
    o.status = pif ? STA_PIF : 0;
    prepare(s, f, buf, &o);
    report_sums(s, f, &o.status, &o.errors);
    if (s->is_82574) {
        o.queue = e1000_rss(s, f, &o.hash_type, &o.hash);
        o.header = packet_split(s) ? header_bytes(o.data, o.len) : 0;
    }
    if (!into_ring(s, &o)) {
        return false;
    }
    count_received(s, f->data, f->len < MIN_FRAME ? MIN_FRAME : f->len);
    return true;
}

bool e1000_receive(void *opaque, const struct nic_frame *f)
{
    struct e1000 *s = opaque;
    if (!machine_running(s->pci.dev.m)) {
        return false;
    }
    if (!(s->reg[R_RCTL] & RCTL_EN) || s->reg[R_RCTL] & RCTL_LBM || !e1000_link_up(s) ||
        !pci_bus_master(&s->pci) || !pci_powered(&s->pci)) {
        return true;
    }
    return take_frame(s, f);
}

/* The receiver never sends, so this does not come back. */
void e1000_loop_back(struct e1000 *s, const uint8_t *data, uint32_t len)
{
    struct nic_frame f = { data, len, { 0 }, 0 };
    if (s->reg[R_RCTL] & RCTL_EN && !take_frame(s, &f)) {
        e1000_count(s, S_MPC, 1);
        e1000_count(s, S_RNBC, 1);
        e1000_cause(s, ICR_RXO);
    }
}

void e1000_rx_filter(void *opaque, struct nic_rx_filter *f)
{
    const struct e1000 *s = opaque;
    uint32_t rctl = s->reg[R_RCTL];
    bool hashes = false;
    for (unsigned i = 0; i < 128; i++) {
        hashes |= s->mta[i] != 0;
        for (unsigned bit = 0; bit < 32 && s->vfta[i]; bit++) {
            if (s->vfta[i] >> bit & 1 && f->nvlans < ARRAY_SIZE(f->vlans)) {
                f->vlans[f->nvlans++] = (uint16_t)(i * 32 + bit);
            }
        }
    }
    for (unsigned i = 0; i < 16; i++) {
        uint8_t *mac = i ? f->table[f->ntable] : f->mac;
        if (s->ra[2 * i + 1] & RAH_AV) {
            store_le(mac, 4, s->ra[2 * i]);
            store_le(mac + 4, 2, s->ra[2 * i + 1]);
            f->ntable += i > 0;
        }
    }
    f->promiscuous = rctl & RCTL_UPE;
    f->broadcast_allowed = rctl & RCTL_BAM;
    f->unicast = rctl & RCTL_UPE ? NIC_RX_ALL : NIC_RX_NORMAL;
    f->multicast = rctl & RCTL_MPE ? NIC_RX_ALL : hashes ? NIC_RX_NORMAL : NIC_RX_NONE;
    f->multicast_overflow = hashes;
    f->vlan = rctl & RCTL_VFE ? NIC_RX_NORMAL : NIC_RX_ALL;
}
