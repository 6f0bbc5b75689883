/* SPDX-License-Identifier: MIT */
/* hw/virtio/virtio-net-tx.c - sending: each chain a header and a frame.
 *
 * The header says what its sender left undone; it passes to the back end, or is done by the cable. One turn
 * sends at most BUDGET chains, then a timer that is due at once goes on.
 *
 * Short frames cost bells and interrupts more than all else. Of those sent the driver is told at most once in
 * TELL_NS, since all it learns is what memory is free. And a driver that rings FLOOD_RUN times in a row, each
 * time within FLOOD_GAP_NS and without an answer between, need not ring any more: a timer looks every TURN_NS
 * beside it, until it finds nothing or a long frame, or an answer came.
 * Reference: virtio 1.2, 5.1.6.2.
 */
#include "hw/virtio/virtio-net-int.h"

enum {
    BUDGET = 256,
    SHORT = 512, /* bytes of a frame */
    TELL_NS = 100000,
    SOON_NS = 40000, /* sooner than that the next frame brings it out, not the timer */
    FLOOD_RUN = 8,
    FLOOD_GAP_NS = 50000,
    TURN_NS = 50000,
};

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
    nic_offload_from_vnet(s->frame, &f.off);
    f.off.good = false; /* not what a driver may vouch for */
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
    if (max > SHORT) {
        s->tx_run = 0;
    }
    if (max > SHORT || now >= due - SOON_NS) {
        virtio_net_tell_sent(s);
        return;
    }
    virtq_publish(&s->v, virtio_net_tx_queue(pair));
    if (!vtimer_armed(&s->tx_tell)) {
        vtimer_arm_at(&s->tx_tell, due);
    }
}

/* Frames sent. */
static unsigned transmit(struct virtio_net *s, unsigned pair)
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
    return n;
}

/* Another pair goes first each time, so that none starves behind a busy one. */
unsigned virtio_net_transmit_all(struct virtio_net *s)
{
    unsigned first = s->turn++, n = 0;
    for (unsigned i = 0; i < s->pairs; i++) {
        n += transmit(s, (first + i) % s->pairs);
    }
    return n;
}

/* ---- a flood ---- */

static void set_flood(struct virtio_net *s, bool on)
{
    s->tx_flood = on;
    for (unsigned i = 0; i < s->max_pairs; i++) { /* those out of use may come back */
        virtq_want_kick(&s->v, virtio_net_tx_queue(i), !on);
    }
}

static void go_on(struct virtio_net *s)
{
    if (!vtimer_armed(&s->tx_more)) {
        vtimer_arm(&s->tx_more, TURN_NS);
    }
}

void virtio_net_rang(struct virtio_net *s, unsigned pair)
{
    int64_t now = vclock_now(s->v.pci.dev.m);
    s->tx_run = now - s->tx_rang < FLOOD_GAP_NS ? s->tx_run + 1 : 0;
    s->tx_rang = now;
    (void)transmit(s, pair);
    if (!s->tx_flood && s->tx_run >= FLOOD_RUN) {
        set_flood(s, true);
        go_on(s);
    }
}

void virtio_net_turn(void *opaque)
{
    struct virtio_net *s = opaque;
    unsigned n = virtio_net_transmit_all(s);
    if (!s->tx_flood) {
        return;
    }
    if (n && s->tx_run >= FLOOD_RUN) {
        go_on(s);
        return;
    }
    s->tx_run = 0;
    set_flood(s, false);
    (void)virtio_net_transmit_all(s); /* what came while no bell rang */
}

void virtio_net_tx_reset(struct virtio_net *s)
{
    s->tx_untold = 0;
    s->tx_run = 0;
    s->tx_flood = s->tx_full = false;
    vtimer_disarm(&s->tx_tell);
    vtimer_disarm(&s->tx_more);
}

void virtio_net_tx_loaded(struct virtio_net *s)
{
    s->tx_run = 0;
    s->tx_untold = (1ull << s->pairs) - 1; /* to be told once too often is no harm */
    vtimer_arm(&s->tx_tell, 0);
    if (s->tx_flood) { /* ends at the next turn */
        set_flood(s, true);
        go_on(s);
    }
    if (s->tx_full) { /* another back end, which has room */
        s->tx_full = false;
        vtimer_arm(&s->tx_more, 0);
    }
}
