/* SPDX-License-Identifier: MIT */
/* net/nic.c - the cable: queue towards the card, link state, counts, offloads done in software. */
#include "net/nic.h"

#include "dm/base/util.h"
#include "net/offload-int.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* What may wait for a card that has no room. A TCP window of the user network fits. */
#define QUEUE_FRAMES 4096u
#define QUEUE_BYTES (4u << 20)

struct nic_queued {
    struct nic_queued *next;
    struct nic_offload off;
    uint32_t len;
    uint16_t queue;
    uint8_t data[];
};

/* ---- waiting frames ---- */

static void enqueue(struct nic *n, const struct nic_frame *f)
{
    struct nic_queued *q = NULL;
    if (n->queued < QUEUE_FRAMES && n->queued_bytes + f->len <= QUEUE_BYTES) {
        q = malloc(sizeof(*q) + f->len);
    }
    if (!q) {
        n->rx.dropped++;
        return;
    }
    *q = (struct nic_queued){ NULL, f->off, f->len, f->queue };
    memcpy(q->data, f->data, f->len);
    *n->tail = q;
    n->tail = &q->next;
    n->queued++;
    n->queued_bytes += f->len;
}

static void drop_head(struct nic *n)
{
    struct nic_queued *q = n->head;
    n->head = q->next;
    n->tail = n->head ? n->tail : &n->head;
    n->queued--;
    n->queued_bytes -= q->len;
    free(q);
}

static void drop_all(struct nic *n)
{
    while (n->head) {
        n->rx.dropped++;
        drop_head(n);
    }
}

/* Counted before the card sees it: what it sends in answer comes after. */
static bool offer(struct nic *n, const struct nic_frame *f)
{
    if (!n->user->receive(n->opaque, f)) {
        return false;
    }
    n->rx.frames++;
    n->rx.bytes += f->len;
    return true;
}

static void flush(void *opaque)
{
    struct nic *n = opaque;
    while (n->head) {
        struct nic_frame f = { n->head->data, n->head->len, n->head->off, n->head->queue };
        if (n->user && !offer(n, &f)) {
            return;
        }
        drop_head(n);
    }
    if (n->stopped) {
        n->stopped = false;
        if (n->ops->resume) {
            n->ops->resume(n);
        }
    }
}

/* ---- the card's side ---- */

void nic_attach(struct nic *n, const struct nic_user *u, void *opaque)
{
    if (n) {
        n->user = u;
        n->opaque = opaque;
        if (!u) {
            n->dev_id[0] = '\0';
            drop_all(n);
            nic_set_rx_takes(n, 0);
            nic_use_queues(n, 1);
            nic_kick(n); /* the back end may go on, into nothing */
        }
    }
}

struct sending {
    struct nic *n;
    bool more;
};

static void send_one(void *opaque, const struct nic_frame *f)
{
    struct sending *s = opaque;
    s->more = s->n->ops->send(s->n, f);
}

/* From the card: past w and those before it, then to the back end. */
static bool to_backend(struct nic *n, struct nic_filter *w, const struct nic_frame *f)
{
    struct sending s = { n, true };
    for (; w; w = w->prev) {
        if (w->from_card && !w->pass(w, false, f)) {
            return true;
        }
    }
    if (!offload_do(f, n->tx_takes, send_one, &s)) {
        n->tx.dropped++;
    }
    return s.more;
}

bool nic_send(struct nic *n, const struct nic_frame *f)
{
    if (!n) {
        return true;
    }
    if (!n->link || f->len < NIC_FRAME_MIN || f->len > NIC_FRAME_MAX) {
        n->tx.dropped++;
        return true;
    }
    n->tx.frames++;
    n->tx.bytes += f->len;
    if (n->tap) {
        n->tap->sending(n->tap_opaque, f);
    }
    bool more = to_backend(n, n->last_filter, f);
    return n->tap ? n->tap->sent(n->tap_opaque, more) : more;
}

void nic_kick(struct nic *n)
{
    if (n && (n->head || n->stopped)) {
        ev_post(n->loop, &n->flush);
    }
}

bool nic_link(const struct nic *n)
{
    return n && n->link;
}

void nic_set_rx_takes(struct nic *n, unsigned takes)
{
    if (n && n->rx_takes != takes) {
        n->rx_takes = takes;
        if (n->ops->rx_takes) {
            n->ops->rx_takes(n, takes);
        }
    }
}

void nic_use_queues(struct nic *n, unsigned used)
{
    if (n && n->queues_used != used) {
        assert(used >= 1 && used <= n->queues);
        n->queues_used = used;
        if (n->ops->use_queues) {
            n->ops->use_queues(n, used);
        }
    }
}

/* ---- the back end's side ---- */

struct nic *nic_new(struct ev_loop *loop, const char *id, const struct nic_ops *ops)
{
    struct nic *n = xcalloc(1, sizeof(*n));
    n->ops = ops;
    n->id = xstrdup(id);
    n->link = true;
    n->queues = n->queues_used = 1;
    n->loop = loop;
    n->flush = (struct ev_post){ .cb = flush, .opaque = n };
    n->tail = &n->head;
    return n;
}

void nic_free(struct nic *n)
{
    if (!n) {
        return;
    }
    if (n->ops->free) {
        n->ops->free(n);
    }
    drop_all(n);
    while (n->filters) {
        nic_del_filter(n, n->filters);
    }
    ev_post_cancel(n->loop, &n->flush);
    free(n->id);
    free(n->info);
    free(n);
}

static void deliver_one(void *opaque, const struct nic_frame *f)
{
    struct nic *n = opaque;
    if (n->head || !offer(n, f)) {
        enqueue(n, f);
    }
}

static void deliver_queued(void *opaque, const struct nic_frame *f)
{
    enqueue(opaque, f);
}

/* From the back end: past w and those behind it, then to the card. */
static bool deliver(struct nic *n, struct nic_filter *w, const struct nic_frame *f,
                    void (*one)(void *, const struct nic_frame *))
{
    if (!n->user || !n->link || f->len < NIC_FRAME_MIN || f->len > NIC_FRAME_MAX) {
        n->rx.dropped++;
        return true;
    }
    for (; w; w = w->next) {
        if (w->to_card && !w->pass(w, true, f)) {
            return !n->stopped;
        }
    }
    if (!offload_do(f, n->rx_takes, one, n)) {
        n->rx.dropped++;
    }
    n->stopped = n->head != NULL;
    return !n->stopped;
}

bool nic_deliver(struct nic *n, const struct nic_frame *f)
{
    return deliver(n, n->filters, f, deliver_one);
}

void nic_deliver_later(struct nic *n, const struct nic_frame *f)
{
    deliver(n, n->filters, f, deliver_queued);
    nic_kick(n);
}

void nic_writable(struct nic *n)
{
    if (n->user && n->user->writable) {
        n->user->writable(n->opaque);
    }
}

/* ---- who commands ---- */

void nic_set_link(struct nic *n, bool up)
{
    if (n->link == up) {
        return;
    }
    n->link = up;
    if (!up) {
        drop_all(n);
        nic_kick(n);
    }
    if (n->user && n->user->link_changed) {
        n->user->link_changed(n->opaque);
    }
}

void nic_add_filter(struct nic *n, struct nic_filter *f)
{
    if (!f->from_card && !f->to_card) {
        f->from_card = f->to_card = true;
    }
    f->n = n;
    f->next = NULL;
    f->prev = n->last_filter;
    *(f->prev ? &f->prev->next : &n->filters) = f;
    n->last_filter = f;
}

void nic_filter_go_on(struct nic_filter *f, bool to_card, const struct nic_frame *frame)
{
    if (to_card) {
        deliver(f->n, f->next, frame, deliver_one);
    } else if (frame->len >= NIC_FRAME_MIN && frame->len <= NIC_FRAME_MAX) {
        to_backend(f->n, f->prev, frame);
    }
}

void nic_del_filter(struct nic *n, struct nic_filter *f)
{
    *(f->prev ? &f->prev->next : &n->filters) = f->next;
    *(f->next ? &f->next->prev : &n->last_filter) = f->prev;
    f->free(f);
}
