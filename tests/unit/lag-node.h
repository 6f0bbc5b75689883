/* SPDX-License-Identifier: MIT */
/* tests/unit/lag-node.h - a protocol node in memory that takes its time.
 *
 * Requests take effect and complete one by one, in random order, when the context is polled. The
 * I/O of a chosen number fails. What no flush has covered can be lost: lag_crash.
 */
#ifndef TESTS_UNIT_LAG_NODE_H
#define TESTS_UNIT_LAG_NODE_H

#include "tests/unit/ram-node.h"

#include <unistd.h>

enum { LAG_OPS = 64, LAG_WRITES = 4096 };

struct lag_write {
    uint64_t offset, len;
    uint8_t *bytes;
};

struct lag_node {
    struct ram_node ram; /* first */
    struct node_req *ops[LAG_OPS];
    unsigned nops;
    struct node_poller poller;
    uint64_t ios, fail_at; /* the I/O of that number fails with fail_with; 0: none */
    int fail_with;
    bool fail_on; /* and all after it */
    bool stands_still;
    uint8_t *stable;
    uint64_t stable_room;
    struct lag_write pending[LAG_WRITES]; /* not covered by a flush */
    unsigned npending;
    bool keep_log;
};

static uint64_t lag_rng = 88172645463325252ull;

/* Runs after each I/O of any such node. */
static void (*lag_hook)(void);

static inline uint64_t lag_rnd(uint64_t n)
{
    lag_rng ^= lag_rng << 13;
    lag_rng ^= lag_rng >> 7;
    lag_rng ^= lag_rng << 17;
    return (lag_rng >> 11) % n;
}

static inline void lag_wake(struct lag_node *l)
{
    uint64_t one = 1;

    if (write(node_ctx_eventfd(l->ram.base.ctx), &one, sizeof(one)) < 0) {
        abort();
    }
}

static inline void lag_settle_one(struct lag_node *l, const struct lag_write *w)
{
    if (w->offset + w->len > l->stable_room) {
        l->stable = xrealloc(l->stable, w->offset + w->len);
        memset(l->stable + l->stable_room, 0, w->offset + w->len - l->stable_room);
        l->stable_room = w->offset + w->len;
    }
    memcpy(l->stable + w->offset, w->bytes, w->len);
}

static inline void lag_log(struct lag_node *l, const struct node_req *r)
{
    struct lag_write *w = &l->pending[l->npending];

    if (r->op == NODE_FLUSH) {
        for (unsigned i = 0; i < l->npending; i++) {
            lag_settle_one(l, &l->pending[i]);
            free(l->pending[i].bytes);
        }
        l->npending = 0;
    } else if (r->op == NODE_WRITE || r->op == NODE_ZERO) {
        *w = (struct lag_write){ r->offset, r->len, xcalloc(1, r->len) };
        if (r->op == NODE_WRITE) {
            node_iov_to_buf(r->iov, r->iovcnt, 0, w->bytes, r->len);
        }
        l->npending++;
        assert_true(l->npending < LAG_WRITES);
    }
}

static inline bool lag_poll(void *opaque, bool block)
{
    struct lag_node *l = opaque;
    struct node_req *r;
    unsigned i;
    int ret;

    (void)block;
    if (!l->nops || l->stands_still) {
        return false;
    }
    i = (unsigned)lag_rnd(l->nops);
    r = l->ops[i];
    l->ops[i] = l->ops[--l->nops];
    if (l->nops) {
        lag_wake(l);
    }
    bool fails = ++l->ios == l->fail_at || (l->fail_on && l->fail_at && l->ios > l->fail_at);
    ret = fails && r->op != NODE_STATUS ? l->fail_with : ram_do(&l->ram, r);
    if (ret == 0 && l->keep_log) {
        lag_log(l, r);
    }
    if (lag_hook) {
        lag_hook();
    }
    node_complete(r, ret);
    return true;
}

static inline void lag_submit(struct node *n, struct node_req *r)
{
    struct lag_node *l = (struct lag_node *)n;

    assert_true(l->nops < LAG_OPS);
    l->ops[l->nops++] = r;
    lag_wake(l);
}

static inline int lag_close(struct node *n)
{
    struct lag_node *l = (struct lag_node *)n;

    node_ctx_del_poller(n->ctx, &l->poller);
    for (unsigned i = 0; i < l->npending; i++) {
        free(l->pending[i].bytes);
    }
    free(l->stable);
    return ram_close(n);
}

static inline int lag_reopen(struct node *n, bool read_only, struct err *e)
{
    (void)e;
    n->read_only = read_only;
    return 0;
}

static const struct node_ops lag_ops = { .name = "lag",
                                         .submit = lag_submit,
                                         .close = lag_close,
                                         .resize = ram_resize,
                                         .reopen = lag_reopen };

static inline struct lag_node *lag_node_new(struct node_ctx *c, const void *data, uint64_t len)
{
    struct lag_node *l = xcalloc(1, sizeof(*l));

    l->ram.base.ops = &lag_ops;
    l->ram.base.ctx = c;
    l->ram.base.growable = l->ram.base.zero_tail = true;
    l->ram.base.filename = xstrdup("lag");
    ram_reach(&l->ram, (len + 511) & ~511ull);
    if (data && len) {
        memcpy(l->ram.data, data, len);
    }
    l->poller = (struct node_poller){ .poll = lag_poll, .opaque = l };
    node_ctx_add_poller(c, &l->poller);
    return l;
}

/* It answers nothing until it is told to go on. */
static inline void lag_stand_still(struct lag_node *l, bool still)
{
    l->stands_still = still;
    lag_wake(l);
}

/* From now on lag_crash knows what is safe. */
static inline void lag_keep_log(struct lag_node *l)
{
    l->stable = xcalloc(1, l->ram.base.len + 1);
    memcpy(l->stable, l->ram.data, l->ram.base.len);
    l->stable_room = l->ram.base.len;
    l->keep_log = true;
}

/* What may be on the disk after a loss of power: what was flushed, and any part of what was not. */
static inline struct node *lag_crash(const struct lag_node *l, struct node_ctx *c)
{
    struct ram_node *m = (struct ram_node *)ram_node_new(c, l->stable, l->stable_room);

    for (unsigned i = 0; i < l->npending; i++) {
        const struct lag_write *w = &l->pending[i];
        if (lag_rnd(2)) {
            uint64_t len = lag_rnd(4) ? w->len : lag_rnd(w->len / 512) * 512;
            ram_reach(m, w->offset + len);
            memcpy(m->data + w->offset, w->bytes, len);
        }
    }
    return &m->base;
}

#endif
