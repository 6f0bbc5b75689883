/* SPDX-License-Identifier: MIT */
/* net/filter.c - filters that do more than look: filter-mirror, filter-redirector, filter-buffer.
 *
 * On a character stream a frame has its length in front, in four bytes, most significant first; with
 * vnet_hdr_support= four more tell the length of a virtio header that is part of the frame. Ours go
 * out finished, so that it is 0. A peer whose bytes cannot be a row of frames is not heard any more.
 * What
 * waits, for a stream or for its time, is bounded; the rest is dropped and counted.
 * Reference: qemu(1), -object filter-*; virtio 1.2, 5.1.6 for the header.
 */
#include "net/net.h"
#include "net/offload-int.h"

#include "dm/base/bytes.h"
#include "dm/base/chr.h"
#include "dm/base/log.h"
#include "dm/base/util.h"

#include <stdlib.h>
#include <string.h>

#define WAIT_BYTES (4u << 20)
enum { HEAD_MAX = 8, VNET_MAX = 12 };

static void count_drop(struct nic_filter *f, bool to_card)
{
    struct nic_stats *s = to_card ? &f->n->rx : &f->n->tx;
    s->dropped++;
}

/* ---- frames on a character stream ---- */

struct on_stream {
    struct nic_filter filter; /* first */
    struct chr *out, *in;     /* NULL: none */
    bool redirects;           /* what goes to `out` goes nowhere else */
    bool vnet;                /* a header's length in front of each frame */
    bool bad;                 /* `in` is no row of frames */
    uint8_t *wait;            /* WAIT_BYTES for `out` */
    size_t wait_at, wait_len;
    size_t got; /* bytes of a frame from `in` */
    uint8_t frame[HEAD_MAX + VNET_MAX + NIC_FRAME_MAX];
};

static void flush(void *opaque)
{
    struct on_stream *s = opaque;
    while (s->wait_len) {
        long n = chr_write(s->out, s->wait + s->wait_at, s->wait_len);
        if (n <= 0) {
            return;
        }
        s->wait_at += (size_t)n;
        s->wait_len -= (size_t)n;
    }
    s->wait_at = 0;
}

static void put(struct on_stream *s, const void *p, size_t len)
{
    memcpy(s->wait + s->wait_at + s->wait_len, p, len);
    s->wait_len += len;
}

static void write_frame(void *opaque, const struct nic_frame *f)
{
    struct on_stream *s = opaque;
    uint8_t head[HEAD_MAX] = { 0 };
    size_t nhead = s->vnet ? 8 : 4;
    if (!s->out->open) {
        return;
    }
    if (s->wait_at + s->wait_len + nhead + f->len > WAIT_BYTES) {
        memmove(s->wait, s->wait + s->wait_at, s->wait_len);
        s->wait_at = 0;
    }
    if (s->wait_len + nhead + f->len > WAIT_BYTES) {
        s->filter.n->tx.dropped++;
        return;
    }
    store_be32(head, f->len);
    put(s, head, nhead);
    put(s, f->data, f->len);
}

static bool stream_pass(struct nic_filter *f, bool to_card, const struct nic_frame *frame)
{
    struct on_stream *s = (struct on_stream *)f;
    (void)to_card;
    if (s->out) {
        offload_do(frame, 0, write_frame, s);
        flush(s);
    }
    return !s->redirects || !s->out;
}

/* The frame in s->frame, head bytes of which are lengths. */
static void inject(struct on_stream *s, size_t head, uint32_t len, uint32_t vnet)
{
    const uint8_t *p = s->frame + head;
    struct nic_frame f = { p + vnet, len - vnet, { 0 }, 0 };
    if (vnet) {
        nic_offload_from_vnet(p, &f.off);
    }
    if (s->filter.to_card) {
        nic_filter_go_on(&s->filter, true, &f);
    }
    if (s->filter.from_card) {
        nic_filter_go_on(&s->filter, false, &f);
    }
}

/* Whether the lengths in a frame's head can be; says so once if not. */
static bool lengths_are_sane(const struct on_stream *s, uint32_t len, uint32_t vnet)
{
    if (len <= VNET_MAX + NIC_FRAME_MAX && vnet <= len && (vnet == 0 || vnet == 10 || vnet == 12)) {
        return true;
    }
    log_msg(LOG_WARN, s->filter.n->id,
            "indev=%s: a frame of %u bytes: the peer is not heard any more", s->in->id, len);
    return false;
}

/* Takes what is missing of a frame's head or of its rest from the n bytes at p; how many it took. A
 * frame without bytes ends with its head and is for nobody. */
static size_t take(struct on_stream *s, const uint8_t *p, size_t n)
{
    size_t head = s->vnet ? 8 : 4;
    size_t want = s->got < head ? head : head + load_be32(s->frame);
    n = min_u64(n, want - s->got);
    memcpy(s->frame + s->got, p, n);
    s->got += n;
    if (s->got < head) {
        return n;
    }
    uint32_t len = load_be32(s->frame), vnet = s->vnet ? load_be32(s->frame + 4) : 0;
    if (s->got == head) {
        s->bad = !lengths_are_sane(s, len, vnet);
    }
    if (!s->bad && s->got == head + len) {
        s->got = 0;
        if (len > vnet) {
            inject(s, head, len, vnet);
        }
    }
    return n;
}

static size_t can_read(void *opaque)
{
    (void)opaque;
    return NIC_FRAME_MAX;
}

static void on_read(void *opaque, const uint8_t *buf, size_t len)
{
    struct on_stream *s = opaque;
    for (size_t at = 0; at < len && !s->bad;) {
        at += take(s, buf + at, len - at);
    }
}

static void on_event(void *opaque, enum chr_event e)
{
    struct on_stream *s = opaque;
    if (e != CHR_BREAK) { /* another peer, and from a frame's beginning */
        s->got = s->wait_at = s->wait_len = 0;
        s->bad = false;
    }
}

/* What comes from `out` is for nobody; reading it shows when the peer goes. */
static size_t can_swallow(void *opaque)
{
    (void)opaque;
    return 4096;
}

static void swallow(void *opaque, const uint8_t *buf, size_t len)
{
    (void)opaque, (void)buf, (void)len;
}

static void stream_free(struct nic_filter *f)
{
    struct on_stream *s = (struct on_stream *)f;
    if (s->out) {
        chr_attach(s->out, NULL, NULL);
    }
    if (s->in) {
        chr_attach(s->in, NULL, NULL);
    }
    free(s->wait);
    free(s);
}

struct nic_filter *net_mirror_new(struct chr *out, struct chr *in, bool redirects, bool vnet)
{
    static const struct chr_handlers out_only = { can_swallow, swallow, flush, on_event };
    static const struct chr_handlers in_only = { can_read, on_read, NULL, on_event };
    struct on_stream *s = xcalloc(1, sizeof(*s));
    s->filter = (struct nic_filter){ .pass = stream_pass, .free = stream_free };
    s->redirects = redirects;
    s->vnet = vnet;
    s->out = out;
    s->in = in;
    if (out) {
        s->wait = xrealloc(NULL, WAIT_BYTES);
        chr_attach(out, &out_only, s);
    }
    if (in) {
        chr_attach(in, &in_only, s);
    }
    return &s->filter;
}

/* ---- holding frames back ---- */

struct held {
    struct held *next;
    struct nic_offload off;
    uint32_t len;
    uint16_t queue;
    bool to_card;
    uint8_t data[];
};

struct buffer {
    struct nic_filter filter; /* first */
    struct ev_loop *loop;
    struct ev_timer timer;
    int64_t interval_ns;
    struct held *head, **tail;
    size_t bytes;
};

/* What comes while these go on waits for the next time. */
static void release(void *opaque)
{
    struct buffer *b = opaque;
    struct held *h = b->head;
    b->head = NULL;
    b->tail = &b->head;
    b->bytes = 0;
    for (struct held *next; h; h = next) {
        struct nic_frame f = { h->data, h->len, h->off, h->queue };
        next = h->next;
        nic_filter_go_on(&b->filter, h->to_card, &f);
        free(h);
    }
}

static bool buffer_pass(struct nic_filter *f, bool to_card, const struct nic_frame *frame)
{
    struct buffer *b = (struct buffer *)f;
    size_t size = sizeof(struct held) + frame->len;
    struct held *h = b->bytes + size <= WAIT_BYTES ? malloc(size) : NULL;
    if (!h) {
        count_drop(f, to_card);
        return false;
    }
    *h = (struct held){ NULL, frame->off, frame->len, frame->queue, to_card };
    memcpy(h->data, frame->data, frame->len);
    *b->tail = h;
    b->tail = &h->next;
    b->bytes += size;
    if (!b->timer.loop) {
        ev_timer_arm(b->loop, &b->timer, ev_now_ns() + b->interval_ns);
    }
    return false;
}

static void buffer_free(struct nic_filter *f)
{
    struct buffer *b = (struct buffer *)f;
    ev_timer_disarm(&b->timer);
    for (struct held *h = b->head, *next; h; h = next) {
        next = h->next;
        free(h);
    }
    free(b);
}

struct nic_filter *net_buffer_new(struct ev_loop *loop, uint32_t interval_us)
{
    struct buffer *b = xcalloc(1, sizeof(*b));
    b->filter = (struct nic_filter){ .pass = buffer_pass, .free = buffer_free };
    b->loop = loop;
    b->timer = (struct ev_timer){ .cb = release, .opaque = b };
    b->interval_ns = interval_us * 1000ll;
    b->tail = &b->head;
    return &b->filter;
}
