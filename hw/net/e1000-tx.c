/* SPDX-License-Identifier: MIT */
/* hw/net/e1000-tx.c - 82540EM and 82574L send: descriptors, checksums, TCP segmentation, VLAN tags.
 *
 *   TDT written -> e1000_transmit -> descriptors one by one -> bytes gathered in s->frame
 *   end of packet -> checksums or segments -> tag -> nic_send, or our own receiver in loopback
 *
 * One call works through at most BUDGET descriptors and BUDGET_BYTES, then goes on by a timer that is
 * due at once: a ring can be long, and other vCPUs wait for the lock. Each descriptor is read once
 * into a local and consumed once, whatever it says.
 * Reference: 317453, 3.3 (descriptors), 3.5 (segmentation), 3.4 (transmission), 9 (VLAN).
 */
#include "hw/net/e1000-int.h"

#include "dm/base/bytes.h"

#define BUDGET 512u
#define BUDGET_BYTES (1u << 20)

enum { /* command bits, legacy byte 11 and data byte 11; 3.3.3.1, 3.3.7.1 */
       CMD_EOP = 0x01,
       CMD_IFCS = 0x02,
       CMD_IC = 0x04,  /* legacy */
       CMD_TSE = 0x04, /* data */
       CMD_RS = 0x08,
       CMD_RPS = 0x10,
       CMD_DEXT = 0x20,
       CMD_VLE = 0x40,
       CMD_IDE = 0x80,
       STA_DD = 0x01,
       POPTS_IXSM = 0x01,
       POPTS_TXSM = 0x02,
       TUCMD_TCP = 0x01,
       TUCMD_IP = 0x02, /* IPv4 */
       TUCMD_TSE = 0x04,
       DTYP_CONTEXT = 0,
       DTYP_DATA = 1,
       TCP_FIN_PSH = 0x09,
       TCP_FLAGS = 13,
       PHY_LOOPBACK = 0x4000, /* PHY register 0 */
};

/* A descriptor, read once. */
struct tx_desc {
    uint64_t addr; /* or the context's fields */
    uint32_t lower, upper;
};

const struct state_field e1000_context_state[] = {
    FIELD(struct e1000_context, ipcss),
    FIELD(struct e1000_context, ipcso),
    FIELD(struct e1000_context, tucss),
    FIELD(struct e1000_context, tucso),
    FIELD(struct e1000_context, ipcse),
    FIELD(struct e1000_context, tucse),
    FIELD(struct e1000_context, paylen),
    FIELD(struct e1000_context, mss),
    FIELD(struct e1000_context, hdrlen),
    FIELD(struct e1000_context, tucmd),
    FIELD_END,
};

static uint8_t command(const struct tx_desc *d)
{
    return (uint8_t)(d->lower >> 24);
}

/* Each queue has contexts of its own. */
static struct e1000_context *context_of(struct e1000 *s)
{
    return s->tx_queue ? &s->context1 : &s->context;
}

static struct e1000_context *tso_of(struct e1000 *s)
{
    return s->tx_queue ? &s->tso1 : &s->tso;
}

static void take_context(struct e1000 *s, const struct tx_desc *d)
{
    struct e1000_context c = {
        .ipcss = (uint8_t)d->addr,
        .ipcso = (uint8_t)(d->addr >> 8),
        .ipcse = (uint16_t)(d->addr >> 16),
        .tucss = (uint8_t)(d->addr >> 32),
        .tucso = (uint8_t)(d->addr >> 40),
        .tucse = (uint16_t)(d->addr >> 48),
        .paylen = d->lower & 0xfffff,
        .tucmd = command(d),
        .hdrlen = (uint8_t)(d->upper >> 8),
        .mss = (uint16_t)(d->upper >> 16),
    };
    bool tse = c.tucmd & TUCMD_TSE;
    *(tse ? tso_of(s) : context_of(s)) = c;
}

/* ---- out of the chip ---- */

static bool loops_back(const struct e1000 *s)
{
    return s->reg[R_RCTL] & RCTL_LBM || s->phy[0] & PHY_LOOPBACK;
}

static void count_sent(struct e1000 *s, const uint8_t *data, uint32_t len)
{
    e1000_count(s, S_TPT, 1);
    e1000_count(s, S_GPTC, 1);
    e1000_count64(s, S_TOT, len + 4);
    e1000_count64(s, S_GOTC, len + 4);
    e1000_count_size(s, S_PTC64, len);
    if (mac_is_broadcast(data)) {
        e1000_count(s, S_BPTC, 1);
    } else if (mac_is_multicast(data)) {
        e1000_count(s, S_MPTC, 1);
    }
}

/* len is at least NIC_FRAME_MIN. */
static void put_frame(struct e1000 *s, uint8_t *data, uint32_t len, const struct nic_offload *off)
{
    struct nic_frame f = { data, len, *off, 0 };
    if (len < 60 && s->reg[R_TCTL] & TCTL_PSP) {
        memset(data + len, 0, 60 - len);
        f.len = 60;
    }
    count_sent(s, data, f.len);
    if (loops_back(s)) {
        e1000_loop_back(s, data, f.len);
    } else if (e1000_link_up(s) && !nic_send(s->net.nic, &f)) {
        s->tx_full = true;
    }
}

/* ---- checksums ---- */

/* 3.3.6.1: sums css..cse (0: to the end) and stores the complement at cso. */
static void put_sum(uint8_t *data, uint32_t len, uint32_t cso, uint32_t css, uint32_t cse)
{
    uint32_t end = cse && cse < len ? cse + 1 : len;
    if (css < end && cso + 2 <= len) {
        store_le(data + cso, 2, (uint16_t)~net_fold(net_sum(0, data + css, end - css)));
    }
}

static void put_sums(const struct e1000_context *c, uint8_t popts, uint8_t *data, uint32_t len)
{
    if (popts & POPTS_TXSM) {
        put_sum(data, len, c->tucso, c->tucss, c->tucse);
    }
    if (popts & POPTS_IXSM) {
        put_sum(data, len, c->ipcso, c->ipcss, c->ipcse);
    }
}

/* ---- tags ---- */

/* Opens a gap of four bytes behind the addresses of *len bytes; there must be room. */
static void put_tag(const struct e1000 *s, uint8_t *data, uint32_t *len, uint16_t tag)
{
    memmove(data + 16, data + 12, *len - 12);
    store_be16(data + 12, (uint16_t)s->reg[R_VET]);
    store_be16(data + 14, tag);
    *len += 4;
}

/* ---- segmentation, as 3.5 describes it, for what is not plain TCP over IP ---- */

static void fix_segment(struct e1000 *s, uint8_t *data, uint32_t len, uint32_t n, bool last)
{
    const struct e1000_context *c = tso_of(s);
    uint32_t l4_len = c->tucss < len ? len - c->tucss : 0;
    if (c->ipcss + 6u <= len && c->tucmd & TUCMD_IP) {
        store_be16(data + c->ipcss + 2, (uint16_t)(len - c->ipcss));
        store_be16(data + c->ipcss + 4, (uint16_t)(load_be16(data + c->ipcss + 4) + n));
    } else if (c->ipcss + 40u <= len) {
        store_be16(data + c->ipcss + 4, (uint16_t)(len - c->ipcss - 40));
    }
    if (c->tucmd & TUCMD_TCP && c->tucss + 14u <= len) {
        store_be32(data + c->tucss + 4, load_be32(data + c->tucss + 4) + n * c->mss);
        data[c->tucss + TCP_FLAGS] &= (uint8_t) ~(last ? 0 : TCP_FIN_PSH);
    } else if (!(c->tucmd & TUCMD_TCP) && c->tucss + 6u <= len) {
        store_be16(data + c->tucss + 4, (uint16_t)l4_len);
    }
    if (s->popts & POPTS_TXSM && c->tucso + 2u <= len) { /* the driver left the length out */
        store_be16(data + c->tucso, net_fold((uint64_t)load_be16(data + c->tucso) + l4_len));
    }
    put_sums(c, s->popts, data, len);
}

static void send_segments(struct e1000 *s, bool tagged, uint16_t tag)
{
    static const struct nic_offload none = { 0 };
    uint8_t out[256 + 65536 + 4];
    const struct e1000_context *c = tso_of(s);
    uint32_t head = c->hdrlen, total = s->frame_len - head, n, count = 0;
    for (uint32_t at = 0; at < total; at += n, count++) {
        n = total - at < c->mss ? total - at : c->mss;
        uint32_t len = head + n;
        memcpy(out, s->frame, head);
        memcpy(out + head, s->frame + head + at, n);
        fix_segment(s, out, len, count, at + n == total);
        if (len >= NIC_FRAME_MIN) {
            if (tagged) {
                put_tag(s, out, &len, tag);
            }
            put_frame(s, out, len, &none);
        }
    }
}

/* The whole at once, for whoever can cut it: the back end, or the cable. */
static bool send_uncut(struct e1000 *s, bool tagged, uint16_t tag)
{
    const struct e1000_context *c = tso_of(s);
    struct nic_offload off;
    uint8_t copy[E1000_FRAME_MAX + 4];
    uint32_t len = s->frame_len;
    if (loops_back(s) || !(c->tucmd & TUCMD_TCP) || (s->popts & POPTS_TXSM) == 0 ||
        (tagged && s->reg[R_VET] != 0x8100)) {
        return false;
    }
    if (!tagged) {
        if (!nic_prepare_tso(s->frame, len, c->mss, &off)) {
            return false;
        }
        put_frame(s, s->frame, len, &off);
        return true;
    }
    memcpy(copy, s->frame, len);
    put_tag(s, copy, &len, tag);
    if (!nic_prepare_tso(copy, len, c->mss, &off)) {
        return false;
    }
    put_frame(s, copy, len, &off);
    return true;
}

static void send_segmented(struct e1000 *s, bool tagged, uint16_t tag)
{
    const struct e1000_context *c = tso_of(s);
    if (c->mss == 0 || c->hdrlen == 0 || c->hdrlen >= s->frame_len) {
        guest_odd(&s->pci.dev, "segmentation with MSS %u, header %u of %u bytes", c->mss, c->hdrlen,
                  s->frame_len);
        return;
    }
    e1000_count(s, S_TSCTC, 1);
    if (!send_uncut(s, tagged, tag)) {
        send_segments(s, tagged, tag);
    }
}

/* ---- one packet ---- */

static void send_plain(struct e1000 *s, const struct tx_desc *last, bool tagged, uint16_t tag)
{
    static const struct nic_offload none = { 0 };
    uint8_t cmd = command(last);
    if (s->frame_len < NIC_FRAME_MIN) {
        return;
    }
    if (cmd & CMD_DEXT) {
        put_sums(context_of(s), s->popts, s->frame, s->frame_len);
    } else if (cmd & CMD_IC) {
        put_sum(s->frame, s->frame_len, last->lower >> 16 & 0xff, last->upper >> 8 & 0xff, 0);
    }
    if (tagged && s->frame_len + 4 <= sizeof(s->frame)) {
        put_tag(s, s->frame, &s->frame_len, tag);
    }
    put_frame(s, s->frame, s->frame_len, &none);
}

static void end_packet(struct e1000 *s, const struct tx_desc *last)
{
    bool tagged = command(last) & CMD_VLE && s->reg[R_CTRL] & CTRL_VME;
    uint16_t tag = (uint16_t)(last->upper >> 16);
    if (s->too_long) {
        guest_odd(&s->pci.dev, "a packet of more than %u bytes", E1000_FRAME_MAX);
    } else if (s->segmented) {
        send_segmented(s, tagged, tag);
    } else {
        send_plain(s, last, tagged, tag);
    }
    s->frame_len = 0;
    s->too_long = s->segmented = false;
    s->popts = 0;
}

static void gather(struct e1000 *s, uint64_t addr, uint32_t len)
{
    s->too_long |= !net_gather(&s->pci, addr, len, s->frame, &s->frame_len, E1000_FRAME_MAX);
}

/* Bytes that it named. */
static uint32_t take_desc(struct e1000 *s, const struct tx_desc *d)
{
    uint8_t cmd = command(d);
    unsigned type = d->lower >> 20 & 15;
    uint32_t len;
    if (cmd & CMD_DEXT && type == DTYP_CONTEXT) {
        take_context(s, d);
        return 0;
    }
    if (cmd & CMD_DEXT && type != DTYP_DATA) {
        guest_odd(&s->pci.dev, "transmit descriptor type %u", type);
        return 0;
    }
    if (cmd & CMD_DEXT) {
        len = d->lower & 0xfffff;
        if (s->frame_len == 0) { /* 3.3.7.3: from the first one only */
            s->popts = (uint8_t)(d->upper >> 8);
            s->segmented = cmd & CMD_TSE;
        }
    } else {
        len = d->lower & 0xffff;
    }
    gather(s, d->addr, len);
    if (cmd & CMD_EOP) {
        end_packet(s, d);
    }
    return len;
}

/* ---- the ring ---- */

/* Status back, if it is asked for. The causes to report. */
static uint32_t finish_desc(struct e1000 *s, const struct tx_desc *d, uint64_t at)
{
    uint8_t cmd = command(d), status = (uint8_t)(d->upper | STA_DD);
    if (!(cmd & (CMD_RS | CMD_RPS))) {
        return 0;
    }
    uint32_t causes = ICR_TXDW | ICR_TXQ0 << s->tx_queue;
    pci_dma_write(&s->pci, at + 12, &status, 1);
    if (cmd & CMD_IDE && s->reg[R_TIDV]) {
        e1000_delay(&s->tx_delay, causes);
        return 0;
    }
    return causes;
}

static bool read_desc(struct e1000 *s, uint64_t at, struct tx_desc *d)
{
    uint8_t raw[16];
    if (pci_dma_read(&s->pci, at, raw, sizeof(raw)) < 0) {
        guest_odd(&s->pci.dev, "transmit ring outside memory, or no bus master");
        return false;
    }
    *d = (struct tx_desc){ load_le64(raw), load_le32(raw + 8), load_le32(raw + 12) };
    return true;
}

/* What one call may still do. */
struct budget {
    unsigned descriptors;
    uint32_t bytes;
};

static bool open_packet(const struct e1000 *s)
{
    return s->frame_len || s->too_long;
}

/* Works ring q off; returns causes. A packet that is under way keeps the other ring waiting. */
static uint32_t run_ring(struct e1000 *s, unsigned q, struct budget *b)
{
    uint32_t *ring = e1000_tx_ring(s, q), count = ring[RING_LEN] / 16, causes = 0;
    struct tx_desc d;
    if (ring[RING_HEAD] == ring[RING_TAIL] || (open_packet(s) && s->tx_queue != q)) {
        return 0;
    }
    if (ring[RING_HEAD] >= count || ring[RING_TAIL] >= count) {
        guest_odd(&s->pci.dev, "TDH %u or TDT %u outside a ring of %u", ring[RING_HEAD],
                  ring[RING_TAIL], count);
        return 0;
    }
    s->tx_queue = (uint8_t)q;
    while (ring[RING_HEAD] != ring[RING_TAIL] && !s->tx_full) {
        uint64_t base = ring[RING_BAL] | (uint64_t)ring[RING_BAH] << 32;
        uint64_t at = base + ring[RING_HEAD] * 16ull;
        if (b->descriptors == BUDGET || b->bytes > BUDGET_BYTES) {
            vtimer_arm(&s->tx_more, 0);
            break;
        }
        if (!read_desc(s, at, &d)) {
            break;
        }
        b->descriptors++;
        b->bytes += take_desc(s, &d);
        causes |= finish_desc(s, &d, at);
        ring[RING_HEAD] = ring[RING_HEAD] + 1 == count ? 0 : ring[RING_HEAD] + 1;
    }
    return ring[RING_HEAD] == ring[RING_TAIL] ? causes | ICR_TXQE : causes;
}

void e1000_transmit(struct e1000 *s)
{
    struct budget b = { 0, 0 };
    uint32_t causes = 0;
    if (!(s->reg[R_TCTL] & TCTL_EN) || s->tx_full || vtimer_armed(&s->tx_more) ||
        !pci_powered(&s->pci)) {
        return;
    }
    e1000_delay_hurry(&s->tx_delay);
    for (unsigned q = 0; q < (s->is_82574 ? 2 : 1); q++) {
        causes |= run_ring(s, q, &b);
    }
    if (causes) {
        e1000_cause(s, causes);
    }
}
