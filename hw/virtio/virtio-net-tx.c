/* SPDX-License-Identifier: MIT */
/* hw/virtio/virtio-net-tx.c - sending: each chain a header and a frame.
 *
 * The header says what its sender left undone; it passes to the back end, or is done by the cable. One turn
 * sends at most BUDGET chains, then a timer that is due at once goes on. Of short frames sent the driver is
 * told at most once in TELL_NS: interrupts are what they cost most, and free memory only.
 * Reference: virtio 1.2, 5.1.6.2.
 */
#include "hw/virtio/virtio-net-int.h"

#include "dm/base/bytes.h"

enum {
    BUDGET = 256,
    SHORT = 512, /* bytes of a frame */
    TELL_NS = 100000,
    SOON_NS = 40000, /* sooner than that the next frame brings it out, not the timer */
};

static void parse_header(const uint8_t *p, struct nic_offload *o)
{
    uint8_t gso = p[1] & (uint8_t)~GSO_ECN;
    *o = (struct nic_offload){ .csum = p[0] & HDR_NEEDS_CSUM,
                               .ecn = p[1] & GSO_ECN,
                               .gso = gso == GSO_TCP4   ? NIC_GSO_TCP4
                                      : gso == GSO_TCP6 ? NIC_GSO_TCP6
                                                        : NIC_GSO_NONE,
                               .hdr_len = load_le16(p + 2),
                               .gso_size = load_le16(p + 4),
                               .csum_start = load_le16(p + 6),
                               .csum_offset = load_le16(p + 8) };
}

/* The frame of the chain just taken. False: the driver broke the rules. */
static bool send_chain(struct virtio_net *s, unsigned pair)
{
    struct virtq_chain *c = &s->chain;
    uint32_t head = virtio_net_header_len(s);
    struct nic_frame f = { s->frame + head, 0, { 0 }, (uint16_t)pair };
    if (c->out_len < head || c->out_len > head + NIC_FRAME_MAX) {
        virtio_broken(&s->v, "a frame without header, or too long");
        return false;
    }
    if (virtq_read(&s->v, c, 0, s->frame, c->out_len) != (int64_t)c->out_len) {
        return false;
    }
    f.len = (uint32_t)c->out_len - head;
    parse_header(s->frame, &f.off);
    if (f.len >= NIC_FRAME_MIN && virtio_net_link_is_up(s) && !nic_send(s->net.nic, &f)) {
        s->tx_full = true;
    }
    virtq_put(&s->v, virtio_net_tx_queue(pair), c->head, 0);
    return true;
}

void virtio_net_tell_sent(void *opaque)
{
    struct virtio_net *s = opaque;
    uint64_t pairs = s->tx_untold;
    vtimer_disarm(&s->tx_tell);
    s->tx_untold = 0;
    s->tx_told = vclock_now(s->v.pci.dev.m);
    for (unsigned i = 0; pairs >> i; i++) {
        if (pairs >> i & 1) {
            virtq_tell(&s->v, virtio_net_tx_queue(i));
        }
    }
}

/* Frames of pair have been put; the longest has max bytes. */
static void sent(struct virtio_net *s, unsigned pair, uint32_t max)
{
    int64_t now = vclock_now(s->v.pci.dev.m), due = s->tx_told + TELL_NS;
    s->tx_untold |= 1ull << pair;
    if (max > SHORT || now >= due - SOON_NS) {
        virtio_net_tell_sent(s);
        return;
    }
    virtq_publish(&s->v, virtio_net_tx_queue(pair));
    if (!vtimer_armed(&s->tx_tell)) {
        vtimer_arm_at(&s->tx_tell, due);
    }
}

void virtio_net_transmit(struct virtio_net *s, unsigned pair)
{
    uint32_t max = 0;
    unsigned n = 0;
    while (virtio_ready(&s->v) && !s->tx_full && !vtimer_armed(&s->tx_more)) {
        if (n == BUDGET) {
            vtimer_arm(&s->tx_more, 0);
            break;
        }
        if (!virtq_take(&s->v, virtio_net_tx_queue(pair), &s->chain) || !send_chain(s, pair)) {
            break;
        }
        max = s->chain.out_len > max ? (uint32_t)s->chain.out_len : max;
        n++;
    }
    if (n) {
        sent(s, pair, max);
    }
}

/* Another pair goes first each time, so that none starves behind a busy one. */
void virtio_net_transmit_all(struct virtio_net *s)
{
    unsigned first = s->turn++;
    for (unsigned i = 0; i < s->pairs; i++) {
        virtio_net_transmit(s, (first + i) % s->pairs);
    }
}
