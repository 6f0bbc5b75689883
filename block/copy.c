/* SPDX-License-Identifier: MIT */
/* block/copy.c - copies what a bitmap says from one node to another. */
#include "block/copy.h"

#include "block/bitmap.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>

/* ---- what lies where ---- */

static void status_done(struct node_req *r, int ret)
{
    struct chain_status *s = (struct chain_status *)r;
    struct node *below = s->at->backing;

    s->status = r->status;
    s->len = min_u64(s->len, r->status.len);
    if (ret < 0 || (r->status.flags & NODE_ALLOCATED)) {
        s->done(s, ret);
    } else if (!below || below == s->base) {
        s->depth = -1;
        s->status.flags |= NODE_IS_ZERO;
        s->done(s, 0);
    } else {
        s->depth++;
        chain_status(s, below);
    }
}

void chain_status(struct chain_status *s, struct node *top)
{
    while (top->ops->filter && top != s->base) {
        top = top->file;
    }
    s->at = top;
    s->r = (struct node_req){ .op = NODE_STATUS, .done = status_done };
    if (top == s->base) { /* a filter stood on it */
        s->depth = -1;
        s->done(s, 0);
    } else if (s->offset >= top->len) { /* past the end of a shorter layer: it says zeros */
        s->status = (struct node_status){ .flags = NODE_IS_ZERO };
        s->done(s, 0);
    } else {
        s->r.offset = s->offset;
        s->r.len = min_u64(s->len, top->len - s->offset);
        node_submit(top, &s->r);
    }
}

/* ---- pieces ---- */

struct piece {
    struct copier *c;
    struct range range;
    struct chain_status st;
    struct node_req r;
    uint64_t at, end; /* what is left of it */
    uint64_t step;    /* of that, being copied */
    void *buf;
    struct iovec iov;
    bool reading;
    void (*done)(void *opaque, int ret, bool reading); /* NULL: from the bitmap */
    void *opaque;
};

static void piece_look(struct piece *p);

static void piece_end(struct piece *p, int ret)
{
    struct copier *c = p->c;
    uint64_t from = p->range.from, len = p->range.to - from;
    bool reading = p->reading;

    c->in_flight--;
    free(p->buf);
    if (p->done) {
        void (*done)(void *, int, bool) = p->done;
        void *opaque = p->opaque;
        free(p);
        done(opaque, ret, reading);
        return;
    }
    if (ret < 0) {
        bitmap_set(c->todo, from, len);
    }
    range_unlock(c->locks, &p->range);
    free(p);
    c->ended(c, ret < 0 ? 0 : len, ret, reading);
}

static void piece_next(struct piece *p, int ret)
{
    p->at += p->step;
    if (ret < 0 || p->at == p->end) {
        piece_end(p, ret);
    } else {
        piece_look(p);
    }
}

static void piece_wrote(struct node_req *r, int ret)
{
    struct piece *p = container_of(r, struct piece, r);

    p->reading = false;
    piece_next(p, ret);
}

static void piece_send(struct piece *p, enum node_op op, unsigned flags)
{
    uint64_t room = p->c->to->len > p->at ? p->c->to->len - p->at : 0;
    uint64_t len = p->c->to->growable ? p->step : min_u64(p->step, room);

    if (len == 0) { /* past the end of a shorter disk there is nothing to write to */
        piece_next(p, 0);
        return;
    }
    p->reading = false;
    p->iov.iov_len = len;
    p->r = (struct node_req){ .op = op,
                              .flags = flags | (p->c->unchanged ? NODE_UNCHANGED : 0),
                              .offset = p->at,
                              .len = len,
                              .iov = op == NODE_WRITE ? &p->iov : NULL,
                              .iovcnt = op == NODE_WRITE,
                              .done = piece_wrote };
    node_submit(p->c->to, &p->r);
}

static void piece_read(struct node_req *r, int ret)
{
    struct piece *p = container_of(r, struct piece, r);

    if (ret < 0) {
        piece_next(p, ret);
    } else {
        piece_send(p, NODE_WRITE, p->c->compress ? NODE_COMPRESS : 0);
    }
}

/* Only whole clusters can be compressed. False: this one holds more than one kind of thing. */
static bool piece_round(struct piece *p)
{
    uint64_t cluster = p->c->compress, left = p->end - p->at;

    if (!cluster || p->step == left) {
        return true;
    }
    if (p->step < cluster) {
        p->step = min_u64(cluster, left);
        return false;
    }
    p->step -= p->step % cluster;
    return true;
}

static void piece_read_data(struct piece *p)
{
    if (!p->buf && posix_memalign(&p->buf, 4096, p->end - p->range.from)) {
        p->buf = NULL;
        piece_next(p, -ENOMEM);
        return;
    }
    p->iov = (struct iovec){ p->buf, p->step };
    p->r = (struct node_req){ .op = NODE_READ,
                              .offset = p->at,
                              .len = p->step,
                              .iov = &p->iov,
                              .iovcnt = 1,
                              .done = piece_read };
    node_submit(p->c->from, &p->r);
}

static void piece_looked(struct chain_status *s, int ret)
{
    struct piece *p = container_of(s, struct piece, st);
    struct copier *c = p->c;

    p->reading = true;
    p->step = min_u64(s->len, p->end - p->at);
    if (ret < 0) {
        piece_next(p, ret);
    } else if (!piece_round(p)) {
        piece_read_data(p);
    } else if ((s->depth < 0 && (c->base || c->skip_top)) || (s->depth == 0 && c->skip_top)) {
        piece_next(p, 0);
    } else if (s->status.flags & NODE_IS_ZERO) {
        piece_send(p, NODE_ZERO, c->keep_storage ? 0 : NODE_UNMAP);
    } else {
        piece_read_data(p);
    }
}

static void piece_look(struct piece *p)
{
    p->st = (struct chain_status){
        .base = p->c->base, .offset = p->at, .len = p->end - p->at, .done = piece_looked
    };
    chain_status(&p->st, p->c->from);
}

static void piece_granted(struct range *r)
{
    piece_look(container_of(r, struct piece, range));
}

static struct piece *piece_new(struct copier *c, uint64_t offset, uint64_t len)
{
    struct piece *p = calloc(1, sizeof(*p));

    if (p) {
        p->c = c;
        p->range = (struct range){ offset, offset + len, .granted = piece_granted };
        p->at = offset;
        p->end = min_u64(offset + len, c->from->len);
        c->in_flight++;
    }
    return p;
}

void copy_range(struct copier *c, uint64_t offset, uint64_t len,
                void (*done)(void *opaque, int ret, bool reading), void *opaque)
{
    struct piece *p = piece_new(c, offset, len);

    if (!p) {
        done(opaque, -ENOMEM, true);
        return;
    }
    p->done = done;
    p->opaque = opaque;
    piece_look(p);
}

/* The next dirty range, at most limit bytes of it: from where the last one ended, then from 0. */
static bool next_range(struct copier *c, uint64_t limit, uint64_t *offset, uint64_t *len)
{
    uint64_t bit = 1ull << c->todo->granularity_bits;

    limit = min_u64(limit, c->chunk ? c->chunk : COPY_CHUNK);
    limit = max_u64(limit & ~(bit - 1), bit);
    *offset = c->cursor;
    if (!bitmap_next(c->todo, offset, len, limit)) {
        *offset = 0;
        if (!bitmap_next(c->todo, offset, len, limit)) {
            return false;
        }
    }
    c->cursor = *offset + *len;
    return true;
}

void copy_start(struct copier *c)
{
    uint64_t offset, len, limit;

    while (c->in_flight < COPY_PIECES && c->todo->dirty &&
           (limit = c->allowance ? c->allowance(c) : UINT64_MAX) > 0 &&
           next_range(c, limit, &offset, &len)) {
        struct piece *p = piece_new(c, offset, len);
        if (!p) {
            break;
        }
        bitmap_clear(c->todo, offset, len);
        if (c->charge) {
            c->charge(c, len);
        }
        if (range_lock(c->locks, &p->range)) {
            piece_look(p);
        }
    }
}
