/* SPDX-License-Identifier: MIT */
/* tests/unit/crash-rig.h - what tests of crashes share: a guest's view of its disk, a simulated disk that
 * may lose power, and what it then holds.
 *
 * The disk completes its requests in random order and remembers which writes no flush has covered yet. At
 * every event (a write submitted, a flush completed) it calls the test's crash_point: any subset of those
 * writes may be there, in any order, each torn between sectors. The model knows what each sector of the
 * guest's may read as then: what it held at the last flush, or something written, zeroed or discarded since.
 */
#ifndef TESTS_UNIT_CRASH_RIG_H
#define TESTS_UNIT_CRASH_RIG_H

#include "dm/base/log.h"
#include "dm/base/util.h"
#include "tests/unit/ram-node.h"

#include <inttypes.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t workload_seed; /* for messages */

/* ---- randomness ---- */

static uint64_t rng;

static uint64_t rnd(uint64_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (rng >> 11) % n;
}

/* ---- the guest's view: what each sector may hold ---- */

#ifndef CRASH_SECTORS
#define CRASH_SECTORS 4096 /* of the largest disk; before this header a test may say otherwise */
#endif
enum { MAX_VALS = 40, MAX_SECTORS = CRASH_SECTORS };

struct val {
    uint32_t id;   /* 0: zeros */
    uint64_t when; /* it completed at, UINT64_MAX: in flight */
    bool maybe;    /* a discard, or it met others: what was there before stays possible */
    uint32_t tag;  /* of the request */
};

struct sector {
    struct val v[MAX_VALS];
    unsigned n;
    unsigned busy;    /* changes in flight */
    uint64_t changed; /* when the last of them ended */
};

static struct model {
    struct sector s[MAX_SECTORS];
    uint64_t sectors;
    uint64_t other_sectors; /* while a resize is under way: the other size it may have */
    uint64_t clock;
    bool changed[MAX_SECTORS]; /* by a request since there is a bitmap */
} model;

static void fill_sector(uint8_t *p, uint64_t sector, uint32_t id)
{
    if (id == 0) {
        memset(p, 0, 512);
        return;
    }
    /* Half of it packs well, so that compressed clusters get small. */
    for (unsigned i = 0; i < 512; i += 8) {
        uint64_t v = i < 256 ? id : id * 0x9e3779b97f4a7c15ull + sector * 0x2545f4914f6cdd1dull + i;
        memcpy(p + i, &v, 8);
    }
    memcpy(p, &id, 4);
    memcpy(p + 4, &sector, 4);
}

static void sector_add(uint64_t i, uint32_t id, uint64_t when, bool maybe, uint32_t tag)
{
    struct sector *s = &model.s[i];

    for (unsigned k = 0; k < s->n && s->busy; k++) { /* either may come last */
        s->v[k].maybe |= s->v[k].when == UINT64_MAX;
        maybe = true;
    }

    if (s->n == MAX_VALS) { /* forget the oldest but one: the check gets no weaker by much */
        memmove(&s->v[1], &s->v[2], (MAX_VALS - 2) * sizeof(s->v[0]));
        s->n--;
    }
    s->v[s->n++] = (struct val){ id, when, maybe, tag };
}

/* What was surely overwritten before a flush began is gone. */
static void model_flushed(uint64_t since)
{
    for (uint64_t i = 0; i < model.sectors; i++) {
        struct sector *s = &model.s[i];
        unsigned keep = 0;

        for (unsigned k = 0; k < s->n; k++) {
            if (s->v[k].when < since && !s->v[k].maybe) {
                keep = k;
            }
        }
        memmove(s->v, s->v + keep, (s->n - keep) * sizeof(s->v[0]));
        s->n -= keep;
    }
}

static bool sector_allows(const struct sector *s, uint64_t i, const uint8_t *p)
{
    uint8_t want[512];

    for (unsigned k = 0; k < s->n; k++) {
        fill_sector(want, i, s->v[k].id);
        if (memcmp(want, p, 512) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- the simulated disk ---- */

struct sim_write {
    uint64_t offset, len;
    uint8_t *bytes;
    uint64_t done;          /* when it completed, 0: not yet */
    struct sim_write *next; /* in the order submitted */
};

struct sim_op {
    struct node_req *r;
    struct sim_write *w;
    uint64_t since; /* when it was submitted */
    struct sim_op *next;
};

struct sim {
    struct node base; /* first */
    uint8_t *now;     /* what reads find */
    uint8_t *stable;  /* what a crash cannot take */
    uint64_t room;
    struct sim_write *writes, **tail; /* not covered by a flush */
    struct sim_op *ops;
    unsigned nops;
    struct node_poller poller;
    uint64_t fail_at; /* the I/O of that number fails; 0: none */
    int fail_with;
    uint64_t ios, clock;
    struct sim **slot; /* where the test keeps it: NULL once it is closed; may be NULL itself */
};

/* Power may fail now: the test looks at what would be there. */
static void crash_point(void);

static void sim_reach(struct sim *m, uint64_t end)
{
    if (end > m->room) {
        uint64_t room = max_u64(end, m->room * 2);

        m->now = xrealloc(m->now, room);
        m->stable = xrealloc(m->stable, room);
        memset(m->now + m->room, 0, room - m->room);
        memset(m->stable + m->room, 0, room - m->room);
        m->room = room;
    }
    m->base.len = max_u64(m->base.len, end);
}

static struct sim_write *sim_log(struct sim *m, const struct node_req *r)
{
    struct sim_write *w = xcalloc(1, sizeof(*w));

    w->offset = r->offset;
    w->len = r->len;
    w->bytes = xcalloc(1, r->len);
    if (r->op == NODE_WRITE) {
        node_iov_to_buf(r->iov, r->iovcnt, 0, w->bytes, r->len);
    }
    sim_reach(m, r->offset + r->len);
    *m->tail = w;
    m->tail = &w->next;
    return w;
}

static void sim_submit(struct node *n, struct node_req *r)
{
    struct sim *m = (struct sim *)n;
    struct sim_op *op = xcalloc(1, sizeof(*op));

    op->r = r;
    op->since = m->clock;
    op->next = m->ops;
    m->ops = op;
    m->nops++;
    if (r->op == NODE_DISCARD && r->offset >= n->len) {
        return;
    }
    if (r->op == NODE_WRITE || r->op == NODE_ZERO || r->op == NODE_DISCARD) {
        op->w = sim_log(m, r);
        crash_point();
    }
}

/* The disk is as lazy as it may be: a flush covers what had completed when it was submitted. */
static void sim_flush(struct sim *m, uint64_t since)
{
    struct sim_write **at = &m->writes, *w;

    while ((w = *at)) {
        if (!w->done || w->done > since) {
            at = &w->next;
            continue;
        }
        memcpy(m->stable + w->offset, w->bytes, w->len);
        *at = w->next;
        free(w->bytes);
        free(w);
    }
    m->tail = at;
}

static int sim_do(struct sim *m, struct sim_op *op)
{
    struct node_req *r = op->r;

    if (m->fail_at && ++m->ios == m->fail_at) {
        if (op->w) {
            op->w->done = ++m->clock; /* it may be there all the same, wholly or in part */
        }
        return m->fail_with;
    }
    switch (r->op) {
    case NODE_READ:
        node_iov_zero(r->iov, r->iovcnt, 0, r->len);
        if (r->offset < m->room) {
            node_iov_from_buf(r->iov, r->iovcnt, 0, m->now + r->offset,
                              min_u64(r->len, m->room - r->offset));
        }
        return 0;
    case NODE_FLUSH:
        sim_flush(m, op->since);
        return 0;
    default:
        if (op->w) {
            memcpy(m->now + op->w->offset, op->w->bytes, op->w->len);
            op->w->done = ++m->clock;
        }
        return 0;
    }
}

static bool sim_poll(void *opaque, bool block)
{
    struct sim *m = opaque;
    struct sim_op **at = &m->ops, *op;

    (void)block;
    if (!m->nops) {
        return false;
    }
    for (uint64_t k = rnd(m->nops); k; k--) {
        at = &(*at)->next;
    }
    op = *at;
    *at = op->next;
    m->nops--;
    bool flush = op->r->op == NODE_FLUSH;
    node_complete(op->r, sim_do(m, op));
    free(op);
    if (flush) {
        crash_point();
    }
    return true;
}

static int sim_close(struct node *n)
{
    struct sim *m = (struct sim *)n;
    struct sim_write *w;

    node_ctx_del_poller(n->ctx, &m->poller);
    while ((w = m->writes)) {
        m->writes = w->next;
        free(w->bytes);
        free(w);
    }
    free(m->now);
    free(m->stable);
    if (m->slot) {
        *m->slot = NULL;
    }
    free(m);
    return 0;
}

static const struct node_ops sim_ops = { .name = "sim", .submit = sim_submit, .close = sim_close };

static struct sim *sim_new(struct node_ctx *c, const uint8_t *data, uint64_t len)
{
    struct sim *m = xcalloc(1, sizeof(*m));

    m->base.ops = &sim_ops;
    m->base.ctx = c;
    m->base.growable = m->base.zero_tail = true;
    m->base.filename = xstrdup("sim");
    m->tail = &m->writes;
    m->poller = (struct node_poller){ .poll = sim_poll, .opaque = m };
    node_ctx_add_poller(c, &m->poller);
    sim_reach(m, max_u64(len, 512));
    if (len) {
        memcpy(m->now, data, len);
        memcpy(m->stable, data, len);
    }
    return m;
}

/* It has len bytes from now on, and full of something; nothing was written yet. */
static inline void sim_fix(struct sim *m, uint64_t len)
{
    uint64_t had = m->base.len;

    sim_reach(m, len);
    memset(m->now + had, 0x5a, len - had);
    memset(m->stable + had, 0x5a, len - had);
    m->base.growable = m->base.zero_tail = false;
}

/* ---- what is left after a crash ---- */

enum how { KEEP_ALL, DROP_ALL, SOME, TORN, LAST_ONLY, ALL_BUT_ONE, SHUFFLED, HOWS };

static void apply(uint8_t *image, const struct sim_write *w, bool torn)
{
    for (uint64_t at = 0; at < w->len; at += 512) {
        if (!torn || rnd(2)) {
            memcpy(image + w->offset + at, w->bytes + at, 512);
        }
    }
}

static void apply_shuffled(uint8_t *image, const struct sim *m)
{
    const struct sim_write *list[512];
    unsigned n = 0;

    for (const struct sim_write *w = m->writes; w && n < ARRAY_SIZE(list); w = w->next) {
        list[n++] = w;
    }
    while (n) {
        unsigned k = (unsigned)rnd(n);
        if (rnd(4)) {
            apply(image, list[k], rnd(2));
        }
        list[k] = list[--n];
    }
}

static uint8_t *crash_image(const struct sim *m, enum how how)
{
    uint8_t *image = malloc(m->room);
    uint64_t n = 0, i = 0, odd;

    memcpy(image, m->stable, m->base.len);
    for (const struct sim_write *w = m->writes; w; w = w->next) {
        n++;
    }
    odd = n ? rnd(n) : 0;
    if (how == SHUFFLED) {
        apply_shuffled(image, m);
        return image;
    }
    for (const struct sim_write *w = m->writes; w; w = w->next, i++) {
        bool keep = how == KEEP_ALL || how == TORN || (how == SOME && rnd(2)) ||
                    (how == LAST_ONLY && i == n - 1) || (how == ALL_BUT_ONE && i != odd);
        if (keep) {
            apply(image, w, how == TORN);
        }
    }
    return image;
}

/* ---- the guest's requests ---- */

struct guest_op {
    struct node_req r;
    struct iovec iov;
    uint64_t first, n, since;
    uint32_t tag;
    unsigned *in_flight;
    bool may_fail;
};

static uint32_t next_id, next_tag;

static void trace(const char *what, const struct guest_op *g, int ret)
{
    if (getenv("KEEL_CRASH_VERBOSE")) {
        print_message("%s: op %d sectors %" PRIu64 "+%" PRIu64 " flags %u tag %u ret %d\n", what,
                      g->r.op, g->first, g->n, g->r.flags, g->tag, ret);
    }
}

static void guest_done(struct node_req *r, int ret)
{
    struct guest_op *g = container_of(r, struct guest_op, r);

    if (ret < 0 && !g->may_fail) {
        fail_msg("seed %" PRIu64 ": request %d ends with %d", workload_seed, r->op, ret);
    }
    model.clock++;
    trace("done", g, ret);
    if (r->op == NODE_FLUSH && ret == 0) {
        model_flushed(g->since);
    }
    for (uint64_t i = g->first; i < g->first + g->n && r->op != NODE_READ; i++) {
        for (unsigned k = 0; k < model.s[i].n; k++) {
            struct val *v = &model.s[i].v[k];
            if (v->tag == g->tag) {
                v->when = model.clock;
                v->maybe |= ret < 0;
            }
        }
        model.s[i].busy--;
        model.s[i].changed = model.clock;
    }
    for (uint64_t i = g->first; i < g->first + g->n && r->op == NODE_READ && ret == 0; i++) {
        const struct sector *s = &model.s[i];
        /* What changed while the read was under way may be read as before or as after. */
        if (s->busy == 0 && s->changed < g->since &&
            !sector_allows(s, i, (uint8_t *)g->iov.iov_base + (i - g->first) * 512)) {
            fail_msg("seed %" PRIu64 ": sector %" PRIu64 " reads wrong", workload_seed, i);
        }
    }
    --*g->in_flight;
    free(g->iov.iov_base);
    free(g);
}

static bool any_busy(uint64_t first, uint64_t n)
{
    for (uint64_t i = first; i < first + n; i++) {
        if (model.s[i].busy) {
            return true;
        }
    }
    return false;
}

static void guest_submit(struct node *n, enum node_op op, uint64_t first, uint64_t len,
                         unsigned flags, unsigned *in_flight, bool may_fail)
{
    struct guest_op *g = xcalloc(1, sizeof(*g));

    g->first = first;
    g->n = op == NODE_FLUSH ? 0 : len;
    g->in_flight = in_flight;
    g->since = model.clock + 1;
    g->may_fail = may_fail;
    g->r = (struct node_req){ .op = op,
                              .flags = flags,
                              .offset = g->n ? first * 512 : 0,
                              .len = g->n * 512,
                              .done = guest_done };
    if (op == NODE_WRITE || op == NODE_READ) {
        g->iov = (struct iovec){ xcalloc(len, 512), len * 512 };
        g->r.iov = &g->iov;
        g->r.iovcnt = 1;
    }
    uint32_t id = op == NODE_WRITE ? ++next_id : 0;
    g->tag = ++next_tag;
    for (uint64_t i = first; i < first + g->n && op != NODE_READ; i++) {
        if (op == NODE_WRITE) {
            fill_sector((uint8_t *)g->iov.iov_base + (i - first) * 512, i, id);
        }
        sector_add(i, id, UINT64_MAX, op == NODE_DISCARD, g->tag);
        model.changed[i] = true;
        model.s[i].busy++;
    }
    ++*in_flight;
    trace("submit", g, 0);
    node_submit(n, &g->r);
}

/* ---- the run ---- */

static uint64_t env_number(const char *name, uint64_t otherwise)
{
    const char *v = getenv(name);

    return v ? strtoull(v, NULL, 0) : otherwise;
}

/* What the images after a crash are opened in. */
static struct node_ctx *crash_context(void)
{
    struct node_ctx *ctx = node_ctx_new(NULL);

    log_set_level(LOG_ERROR);
    mallopt(M_MMAP_THRESHOLD, 64 << 20); /* images come and go: keep their memory */
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
    node_ctx_no_threads(ctx);
    return ctx;
}

#endif
