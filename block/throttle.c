/* SPDX-License-Identifier: MIT */
/* block/throttle.c - a filter that holds requests back until the limits have room for them.
 *
 * Each limit is a leaky bucket: a request pours its bytes (or one) into it, it drains at `avg` a
 * second, and while it is over its brim nothing else may go. So a single request is never larger
 * than the limit allows, only later. Reads and writes queue apart, in order. Flushes and status
 * are not held back. Whoever waits for everything (a drain, a cancel) gets it at once.
 */
#include "block/throttle.h"

#include "dm/base/ev.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>

struct queue {
    struct node_req *first, **tail; /* linked through next: they are not completed yet */
};

struct pass {
    struct node_req r; /* to the child */
    struct node_req *from;
};

struct throttle {
    struct node base; /* first */
    struct throttle_limits limits;
    double level[THROTTLE_LIMITS]; /* what is in the bucket */
    int64_t last_ns;
    struct queue queue[2]; /* reads, writes */
    struct ev_timer timer;
    struct node_poller poller;
};

static bool counts(unsigned limit, bool write)
{
    unsigned kind = limit % 3; /* both, reads, writes */

    return kind == 0 || kind == 1 + (unsigned)write;
}

static void drain_buckets(struct throttle *t)
{
    int64_t now = ev_now_ns();
    double seconds = (double)(now - t->last_ns) / 1e9;

    t->last_ns = now;
    for (unsigned i = 0; i < THROTTLE_LIMITS; i++) {
        t->level[i] -= seconds * (double)t->limits.avg[i];
        t->level[i] = t->level[i] < 0 ? 0 : t->level[i];
    }
}

/* Seconds until the next request of this kind may go; 0: now. */
static double wait_s(const struct throttle *t, bool write)
{
    double longest = 0;

    for (unsigned i = 0; i < THROTTLE_LIMITS; i++) {
        double avg = (double)t->limits.avg[i], brim = (double)t->limits.max[i];
        double wait;

        if (avg == 0 || !counts(i, write)) {
            continue;
        }
        wait = (t->level[i] - (brim > 0 ? brim : avg / 10)) / avg;
        longest = wait > longest ? wait : longest;
    }
    return longest;
}

static void passed(struct node_req *r, int ret)
{
    struct pass *p = container_of(r, struct pass, r);
    struct node_req *from = p->from;

    from->status = r->status;
    free(p);
    node_complete(from, ret);
}

static void pass_on(struct throttle *t, struct node_req *from)
{
    struct pass *p = calloc(1, sizeof(*p));

    if (!p) {
        node_complete(from, -ENOMEM);
        return;
    }
    p->from = from;
    p->r = (struct node_req){ .op = from->op,
                              .flags = from->flags,
                              .offset = from->offset,
                              .len = from->len,
                              .iov = from->iov,
                              .iovcnt = from->iovcnt,
                              .done = passed };
    node_submit(t->base.file, &p->r);
}

static void pour(struct throttle *t, const struct node_req *r)
{
    bool write = r->op != NODE_READ;

    for (unsigned i = 0; i < THROTTLE_LIMITS; i++) {
        if (counts(i, write)) {
            t->level[i] += i < THROTTLE_IOPS ? (double)r->len : 1;
        }
    }
}

/* Lets go what may go, all of it with `all`. Returns whether anything went. */
static bool release(struct throttle *t, bool all)
{
    double next = -1;
    bool any = false;

    drain_buckets(t);
    for (unsigned w = 0; w < 2; w++) {
        struct queue *q = &t->queue[w];
        double wait = 0;

        while (q->first && (all || (wait = wait_s(t, w)) <= 0)) {
            struct node_req *r = q->first;
            q->first = r->next;
            r->next = NULL;
            pour(t, r);
            pass_on(t, r);
            any = true;
        }
        if (!q->first) {
            q->tail = &q->first;
        } else if (next < 0 || wait < next) {
            next = wait;
        }
    }
    if (next >= 0) {
        ev_timer_arm(node_ctx_loop(t->base.ctx), &t->timer, t->last_ns + (int64_t)(next * 1e9) + 1);
    }
    return any;
}

static void throttle_time(void *opaque)
{
    release(opaque, false);
}

static bool throttle_poll(void *opaque, bool block)
{
    struct throttle *t = opaque;

    return block && node_awaited(&t->base) && release(t, true);
}

static void throttle_submit(struct node *n, struct node_req *r)
{
    struct throttle *t = (struct throttle *)n;
    struct queue *q = &t->queue[r->op != NODE_READ];

    if (r->op == NODE_FLUSH || r->op == NODE_STATUS) {
        pass_on(t, r);
        return;
    }
    r->next = NULL;
    *q->tail = r;
    q->tail = &r->next;
    release(t, false);
}

static int throttle_close(struct node *n)
{
    struct throttle *t = (struct throttle *)n;
    int ret;

    ev_timer_disarm(&t->timer);
    node_ctx_del_poller(n->ctx, &t->poller);
    ret = node_close(n->file);
    free(t);
    return ret;
}

static int throttle_resize(struct node *n, uint64_t len, struct err *e)
{
    int ret = node_resize(n->file, len, e);

    n->len = n->file->len;
    return ret;
}

static const struct node_ops throttle_ops = {
    .name = "throttle",
    .filter = true,
    .submit = throttle_submit,
    .close = throttle_close,
    .resize = throttle_resize,
};

struct node *throttle_new(struct node *child, const struct throttle_limits *l)
{
    struct throttle *t = xcalloc(1, sizeof(*t));

    t->base.ops = &throttle_ops;
    t->base.ctx = child->ctx;
    t->base.len = child->len;
    t->base.read_only = child->read_only;
    t->base.is_file = child->is_file;
    t->base.filename = xstrdup(child->filename);
    t->base.file = child;
    t->limits = *l;
    t->last_ns = ev_now_ns();
    t->queue[0].tail = &t->queue[0].first;
    t->queue[1].tail = &t->queue[1].first;
    t->timer = (struct ev_timer){ .cb = throttle_time, .opaque = t };
    t->poller = (struct node_poller){ .poll = throttle_poll, .opaque = t };
    node_ctx_add_poller(child->ctx, &t->poller);
    return &t->base;
}
