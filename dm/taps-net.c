/* SPDX-License-Identifier: MIT */
/* dm/taps-net.c - between a network card and its cable, for a trace: see record.h and taps.c.
 *
 * Frames are taken where the card hands them over or gets them: what the cable does to them (cutting,
 * summing, holding them back) depends on the host.
 */
#include "dm/taps-int.h"

#include "dm/base/bytes.h"
#include "dm/base/util.h"
#include "net/nic.h"

#include <stdlib.h>
#include <string.h>

enum { NIC_SEND = 1, NIC_MORE, NIC_FRAME, NIC_WRITABLE, NIC_LINK };
enum { HEAD = 10, F_CSUM = 1, F_GOOD = 2, F_ECN = 4, QUEUE_SHIFT = 3 };

struct tap_nic {
    struct taps *t;
    struct nic *n;
    unsigned channel;
    const struct nic_user *inner; /* the card's, while recording */
    void *opaque;
    uint8_t buf[HEAD + NIC_FRAME_MAX];
    struct tap_nic *next;
};

/* What a frame leaves undone, then its bytes, in s->buf. Its length. */
static size_t pack(struct tap_nic *s, const struct nic_frame *f)
{
    const struct nic_offload *o = &f->off;

    s->buf[0] = (uint8_t)((o->csum ? F_CSUM : 0) | (o->good ? F_GOOD : 0) | (o->ecn ? F_ECN : 0) |
                          f->queue << QUEUE_SHIFT);
    s->buf[1] = o->gso;
    store_le(s->buf + 2, 2, o->hdr_len);
    store_le(s->buf + 4, 2, o->gso_size);
    store_le(s->buf + 6, 2, o->csum_start);
    store_le(s->buf + 8, 2, o->csum_offset);
    memcpy(s->buf + HEAD, f->data, f->len);
    return HEAD + f->len;
}

static bool unpack(const uint8_t *p, size_t len, struct nic_frame *f)
{
    if (len < HEAD + NIC_FRAME_MIN || len > HEAD + NIC_FRAME_MAX || p[1] > NIC_GSO_TCP6 ||
        p[0] >> QUEUE_SHIFT >= NIC_QUEUES_MAX) {
        return false;
    }
    *f = (struct nic_frame){ p + HEAD,
                             (uint32_t)(len - HEAD),
                             { .csum = p[0] & F_CSUM,
                               .good = p[0] & F_GOOD,
                               .ecn = p[0] & F_ECN,
                               .gso = p[1],
                               .hdr_len = load_le16(p + 2),
                               .gso_size = load_le16(p + 4),
                               .csum_start = load_le16(p + 6),
                               .csum_offset = load_le16(p + 8) },
                             p[0] >> QUEUE_SHIFT };
    return true;
}

static void sending(void *opaque, const struct nic_frame *f)
{
    struct tap_nic *s = opaque;

    trace_output(s->t->m, s->channel, NIC_SEND, s->buf, pack(s, f));
}

static bool sent(void *opaque, bool more)
{
    struct tap_nic *s = opaque;

    return trace_value(s->t->m, s->channel, NIC_MORE, more) != 0;
}

static const struct nic_tap nic_tap = { sending, sent };

/* ---- recording: in the card's place ---- */

static bool tap_receive(void *opaque, const struct nic_frame *f)
{
    struct tap_nic *s = opaque;

    trace_input(s->t->m, s->channel, NIC_FRAME, s->buf, pack(s, f));
    return s->inner->receive(s->opaque, f);
}

static void tap_writable(void *opaque)
{
    struct tap_nic *s = opaque;

    trace_input(s->t->m, s->channel, NIC_WRITABLE, NULL, 0);
    if (s->inner->writable) {
        s->inner->writable(s->opaque);
    }
}

static void tap_link(void *opaque)
{
    struct tap_nic *s = opaque;
    uint8_t up = s->n->link;

    trace_input(s->t->m, s->channel, NIC_LINK, &up, 1);
    if (s->inner->link_changed) {
        s->inner->link_changed(s->opaque);
    }
}

static void tap_rx_filter(void *opaque, struct nic_rx_filter *f)
{
    struct tap_nic *s = opaque;

    if (s->inner->rx_filter) {
        s->inner->rx_filter(s->opaque, f);
    }
}

static const struct nic_user tap_user = { tap_receive, tap_writable, tap_link, tap_rx_filter };

/* ---- replay ---- */

static void nic_input(void *opaque, uint32_t tag, const void *data, size_t len)
{
    struct tap_nic *s = opaque;
    struct nic_frame f;

    if (tag == NIC_FRAME && unpack(data, len, &f)) {
        s->n->user->receive(s->n->opaque, &f);
    } else if (tag == NIC_WRITABLE) {
        nic_writable(s->n);
    } else if (tag == NIC_LINK && len == 1) {
        nic_set_link(s->n, *(const uint8_t *)data);
    } else {
        trace_refuse(s->t->play, "an input that no network card has");
    }
}

void taps_nic(struct taps *t, struct nic *n)
{
    struct tap_nic *s;

    if (!n->user || !n->dev_id[0]) {
        return;
    }
    s = xcalloc(1, sizeof(*s));
    s->t = t;
    s->n = n;
    s->inner = n->user;
    s->opaque = n->opaque;
    s->channel = taps_channel(t, "cable", n->id, nic_input, s);
    s->next = t->nics;
    t->nics = s;
    n->tap = &nic_tap;
    n->tap_opaque = s;
    if (!t->play) {
        n->user = &tap_user;
        n->opaque = s;
    }
}

void taps_free_nics(struct taps *t)
{
    for (struct tap_nic *s = t->nics, *next; s; s = next) {
        next = s->next;
        s->n->tap = NULL;
        if (s->n->user == &tap_user) {
            s->n->user = s->inner;
            s->n->opaque = s->opaque;
        }
        free(s);
    }
}
