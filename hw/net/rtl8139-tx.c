/* SPDX-License-Identifier: MIT */
/* hw/net/rtl8139-tx.c - the RTL8139 sends: four descriptors of the C mode, two rings of the C+ mode.
 *
 * The C mode takes its descriptors strictly in turn: one that is not ready holds the others up. A C+
 * ring has at most 64; each is read once, handed back, and counted against a budget, after which a
 * timer that is due at once goes on.
 * Reference: RTL8139C(L)+ data sheet, 6.2 (TSD), 9.2.1 (C+ descriptors), large send.
 */
#include "hw/net/rtl8139-int.h"

#include "dm/base/bytes.h"

#define BUDGET 256u

enum {
    CP_IPCS = 1u << 18,
    CP_UDPCS = 1u << 17,
    CP_TCPCS = 1u << 16,
    CP_LGSEN = 1u << 27,
    CP_LS = 1u << 28,
    CP_FS = 1u << 29,
    CP_EOR = 1u << 30,
    CP_TAGC = 1u << 17,     /* in the second word */
    CP_STATUS = 0x03f00000, /* UNF, TES, OWC, LNKF, EXC, CC: errors, none of which happens */
};
#define CP_OWN (1u << 31)

static void put_frame(struct rtl8139 *s, uint8_t *data, uint32_t len, const struct nic_offload *off)
{
    struct nic_frame f = { data, len, *off, 0 };
    if (len < NIC_FRAME_MIN) {
        guest_odd(&s->pci.dev, "a frame of %u bytes", len);
        return;
    }
    s->tally.tx_ok++;
    if ((s->tcr & TCR_LBK) == TCR_LBK) {
        rtl_loop_back(s, data, len);
    } else if (!nic_send(s->net.nic, &f)) {
        s->tx_full = true;
    }
}

/* ---- C mode ---- */

static void send_one(struct rtl8139 *s, unsigned n)
{
    static const struct nic_offload none = { 0 };
    uint8_t data[TSD_SIZE + 1];
    uint32_t len = s->tsd[n] & TSD_SIZE;
    if (len && pci_dma_read(&s->pci, s->tsad[n], data, len) < 0) {
        guest_odd(&s->pci.dev, "transmit buffer outside memory, or no bus master");
        memset(data, 0, len);
    }
    put_frame(s, data, len, &none);
    s->tsd[n] |= TSD_OWN | TSD_TOK;
}

static void transmit_c(struct rtl8139 *s)
{
    bool sent = false;
    while (s->cr & CR_TE && !(s->tsd[s->tx_next] & TSD_OWN) && !s->tx_full) {
        send_one(s, s->tx_next);
        s->tx_next = (s->tx_next + 1) & 3;
        sent = true;
    }
    if (sent) {
        rtl_cause(s, ISR_TOK);
    }
}

/* ---- C+ mode ---- */

/* A VLAN tag in the descriptor has its bytes swapped. Adds four bytes; there is room. */
static void put_tag(uint8_t *data, uint32_t *len, uint32_t opts2)
{
    memmove(data + 16, data + 12, *len - 12);
    store_be16(data + 12, 0x8100);
    store_le(data + 14, 2, opts2 & 0xffff);
    *len += 4;
}

static void end_packet(struct rtl8139 *s)
{
    struct nic_offload off = { 0 };
    uint32_t opts = s->tx_opts[0], len = s->frame_len;
    if (s->too_long) {
        guest_odd(&s->pci.dev, "a packet of more than %u bytes", RTL_FRAME_MAX);
        return;
    }
    if (s->tx_opts[1] & CP_TAGC && len >= NIC_FRAME_MIN && len + 4 <= sizeof(s->frame)) {
        put_tag(s->frame, &len, s->tx_opts[1]);
    }
    if (opts & CP_LGSEN) {
        uint32_t mss = opts >> 16 & 0x7ff;
        if (!nic_prepare_tso(s->frame, len, mss, &off)) {
            guest_odd(&s->pci.dev, "large send of what is not TCP, or with MSS %u", mss);
        }
    } else if (opts & (CP_IPCS | CP_UDPCS | CP_TCPCS)) {
        nic_put_sums(s->frame, len, opts & CP_IPCS, opts & CP_TCPCS, opts & CP_UDPCS);
    }
    put_frame(s, s->frame, len, &off);
}

static void gather(struct rtl8139 *s, uint64_t addr, uint32_t len)
{
    s->too_long |= !net_gather(&s->pci, addr, len, s->frame, &s->frame_len, RTL_FRAME_MAX);
}

static void take_desc(struct rtl8139 *s, uint32_t opts, uint32_t opts2, uint64_t addr)
{
    if (opts & CP_FS) {
        s->frame_len = 0;
        s->too_long = false;
        s->tx_open = true;
        s->tx_opts[0] = opts;
        s->tx_opts[1] = opts2;
    }
    if (!s->tx_open) {
        guest_odd(&s->pci.dev, "a packet without a first descriptor");
        return;
    }
    gather(s, addr, opts & 0xffff);
    if (opts & CP_LS) {
        end_packet(s);
        s->tx_open = false;
        s->frame_len = 0;
    }
}

/* One descriptor of ring q (0 normal, 1 high priority). False at the end of what there is. */
static bool step(struct rtl8139 *s, unsigned q)
{
    uint64_t ring = (s->tsad[2 * q] & ~0xffu) | (uint64_t)s->tsad[2 * q + 1] << 32;
    uint64_t at = ring + (s->tx_index[q] & (RTL_RING_MAX - 1)) * 16u;
    uint8_t raw[16];
    if (pci_dma_read(&s->pci, at, raw, sizeof(raw)) < 0) {
        guest_odd(&s->pci.dev, "transmit ring outside memory, or no bus master");
        return false;
    }
    uint32_t opts = load_le32(raw);
    if (!(opts & CP_OWN)) {
        return false;
    }
    take_desc(s, opts, load_le32(raw + 4), load_le64(raw + 8));
    store_le(raw, 4, opts & ~(CP_OWN | CP_STATUS));
    pci_dma_write(&s->pci, at, raw, 4);
    s->tx_index[q] = opts & CP_EOR ? 0 : (s->tx_index[q] + 1) & (RTL_RING_MAX - 1);
    return true;
}

static void transmit_cplus(struct rtl8139 *s)
{
    uint16_t causes = 0;
    unsigned n = 0;
    while (s->polled && s->cr & CR_TE && !s->tx_full) {
        unsigned q = s->polled & TPPOLL_HPQ ? 1 : 0;
        if (n++ == BUDGET) {
            vtimer_arm(&s->tx_more, 0);
            break;
        }
        if (step(s, q)) {
            causes |= ISR_TOK;
        } else {
            s->polled &= (uint8_t) ~(q ? TPPOLL_HPQ : TPPOLL_NPQ);
            causes |= causes ? ISR_TDU : 0;
        }
    }
    if (causes) {
        rtl_cause(s, causes);
    }
}

void rtl_transmit(struct rtl8139 *s)
{
    if (!rtl_awake(s) || vtimer_armed(&s->tx_more)) {
        return;
    }
    if (s->cpcr & CPCR_TX) {
        transmit_cplus(s);
    } else {
        s->polled = 0;
        transmit_c(s);
    }
}
