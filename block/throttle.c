/* SPDX-License-Identifier: MIT */
/* block/throttle.c - a filter that holds requests back until the limits have room for them.
 *
 * Each limit is a leaky bucket: a request pours its bytes (or one) into it, it drains at `avg` a
 * second, and while it is over its brim nothing else may go. So a single request is never larger
 * than the limit allows, only later. A burst that lasts has a second bucket, which drains at `max`.
 * Nodes of a group pour into the same buckets and take turns. Reads and writes queue apart, in
 * order. Flushes and status are not held back. Whoever waits for the node (a drain, a cancel) gets
 * it at once.
 */
#include "block/throttle.h"

#include "block/filter.h"
#include "dm/base/err.h"
#include "dm/base/ev.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define THROTTLE_MOST 1000000000000000ull /* of anything, a second */

struct queue {
    struct node_req *first, **tail; /* linked through next: they are not completed yet */
};

struct throttle {
    struct node base; /* first */
    struct throttle_group *group;
    struct throttle *next; /* of the same group */
    struct queue queue[2]; /* reads, writes */
    struct node_poller poller;
};

struct throttle_group {
    char *name;
    unsigned shares;
    struct throttle_limits limits;
    double level[THROTTLE_LIMITS], burst[THROTTLE_LIMITS]; /* what is in the buckets */
    int64_t last_ns;
    struct throttle *members; /* whose turn it is, first */
    struct ev_timer timer;
    struct throttle_group *next;
};

/* ---- groups ---- */

int throttle_check(const struct throttle_limits *l, struct err *e)
{
    bool requests = l->avg[THROTTLE_IOPS] || l->avg[THROTTLE_IOPS_RD] || l->avg[THROTTLE_IOPS_WR];

    for (size_t i = 0; i < THROTTLE_LIMITS; i++) {
        size_t total = i / 3 * 3;
        if ((l->avg[total] && i != total && l->avg[i]) ||
            (l->max[total] && i != total && l->max[i])) {
            return err_set(e, -EINVAL,
                           "bps/iops/max total values and read/write values cannot be used at the "
                           "same time");
        }
    }
    if (l->iops_size && !requests) {
        return err_set(e, -EINVAL, "iops size requires an iops value to be set");
    }
    for (size_t i = 0; i < THROTTLE_LIMITS; i++) {
        if (l->avg[i] > THROTTLE_MOST || l->max[i] > THROTTLE_MOST) {
            return err_set(e, -EINVAL, "bps/iops/max values must be within [0, %llu]",
                           THROTTLE_MOST);
        }
        if (l->max[i] && !l->avg[i]) {
            return err_set(e, -EINVAL, "bps_max/iops_max require corresponding bps/iops values");
        }
        if (l->max[i] && l->max[i] < l->avg[i]) {
            return err_set(e, -EINVAL, "bps_max/iops_max cannot be lower than bps/iops");
        }
        if (l->length[i] > 1 && !l->max[i]) {
            return err_set(e, -EINVAL, "burst length set without burst rate");
        }
    }
    return 0;
}

static void group_time(void *opaque);

struct throttle_group *throttle_group_new(struct throttle_group **list, const char *name)
{
    struct throttle_group *g = xcalloc(1, sizeof(*g));

    g->name = xstrdup(name);
    g->last_ns = ev_now_ns();
    g->timer = (struct ev_timer){ .cb = group_time, .opaque = g };
    if (list) {
        g->next = *list;
        *list = g;
    }
    return g;
}

struct throttle_group *throttle_group_find(struct throttle_group *first, const char *name)
{
    while (first && strcmp(first->name, name) != 0) {
        first = first->next;
    }
    return first;
}

void throttle_group_share(struct throttle_group *g)
{
    g->shares++;
}

void throttle_group_drop(struct throttle_group **list, struct throttle_group *g)
{
    if (!g || g->shares) {
        if (g) {
            g->shares--;
        }
        return;
    }
    for (struct throttle_group **at = list; list && *at; at = &(*at)->next) {
        if (*at == g) {
            *at = g->next;
            break;
        }
    }
    ev_timer_disarm(&g->timer);
    free(g->name);
    free(g);
}

void throttle_group_set(struct throttle_group *g, const struct throttle_limits *l)
{
    g->limits = *l;
    memset(g->level, 0, sizeof(g->level));
    memset(g->burst, 0, sizeof(g->burst));
    group_time(g);
}

const struct throttle_limits *throttle_group_limits(const struct throttle_group *g)
{
    return &g->limits;
}

const char *throttle_group_name(const struct throttle_group *g)
{
    return g->name;
}

bool throttle_group_used(const struct throttle_group *g)
{
    return g->members;
}

/* ---- buckets ---- */

static bool counts(unsigned limit, bool write)
{
    unsigned kind = limit % 3; /* both, reads, writes */

    return kind == 0 || kind == 1 + (unsigned)write;
}

static double less(double level, double by)
{
    return level > by ? level - by : 0;
}

static void drain_buckets(struct throttle_group *g)
{
    int64_t now = ev_now_ns();
    double seconds = (double)(now - g->last_ns) / 1e9;

    g->last_ns = now;
    for (unsigned i = 0; i < THROTTLE_LIMITS; i++) {
        g->level[i] = less(g->level[i], seconds * (double)g->limits.avg[i]);
        g->burst[i] = less(g->burst[i], seconds * (double)g->limits.max[i]);
    }
}

/* Seconds until the next request of this kind may go; 0: now. */
static double wait_s(const struct throttle_group *g, bool write)
{
    double longest = 0;

    for (unsigned i = 0; i < THROTTLE_LIMITS; i++) {
        double avg = (double)g->limits.avg[i], max = (double)g->limits.max[i], wait;
        double length = (double)max_u64(g->limits.length[i], 1);

        if (avg == 0 || !counts(i, write)) {
            continue;
        }
        wait = (g->level[i] - (max > 0 ? max * length : avg / 10)) / avg;
        longest = wait > longest ? wait : longest;
        if (length > 1) {
            wait = (g->burst[i] - max / 10) / max;
            longest = wait > longest ? wait : longest;
        }
    }
    return longest;
}

static void pour(struct throttle_group *g, const struct node_req *r)
{
    uint64_t size = g->limits.iops_size;
    double requests = size && r->len > size ? (double)r->len / (double)size : 1;

    for (unsigned i = 0; i < THROTTLE_LIMITS; i++) {
        if (counts(i, r->op != NODE_READ)) {
            double units = i < THROTTLE_IOPS ? (double)r->len : requests;
            g->level[i] += units;
            g->burst[i] += units;
        }
    }
}

/* ---- queues ---- */

static void let_go(struct throttle *t, bool write)
{
    struct queue *q = &t->queue[write];
    struct node_req *r = q->first;

    q->first = r->next;
    if (!q->first) {
        q->tail = &q->first;
    }
    r->next = NULL;
    pour(t->group, r);
    filter_pass(&t->base, r);
}

/* The member whose turn it is, moved to the end of the list; NULL: none has such a request. */
static struct throttle *next_member(struct throttle_group *g, bool write)
{
    for (struct throttle **at = &g->members, *t; (t = *at); at = &t->next) {
        if (t->queue[write].first) {
            struct throttle **end = &t->next;
            *at = t->next;
            while (*end) {
                end = &(*end)->next;
            }
            if (end != &t->next) {
                *end = t;
                t->next = NULL;
            } else {
                *at = t;
            }
            return t;
        }
    }
    return NULL;
}

static bool waiting(const struct throttle_group *g, bool write)
{
    for (const struct throttle *t = g->members; t; t = t->next) {
        if (t->queue[write].first) {
            return true;
        }
    }
    return false;
}

/* Lets go what may go. */
static void release(struct throttle_group *g)
{
    double next = -1;

    drain_buckets(g);
    for (unsigned w = 0; w < 2; w++) {
        double wait = 0;
        struct throttle *t;

        while ((wait = wait_s(g, w)) <= 0 && (t = next_member(g, w))) {
            let_go(t, w);
        }
        if (waiting(g, w) && (next < 0 || wait < next)) {
            next = wait;
        }
    }
    if (next >= 0) {
        ev_timer_arm(node_ctx_loop(g->members->base.ctx), &g->timer,
                     g->last_ns + (int64_t)(next * 1e9) + 1);
    }
}

static void group_time(void *opaque)
{
    release(opaque);
}

static bool throttle_poll(void *opaque, bool block)
{
    struct throttle *t = opaque;
    bool any = false;

    for (unsigned w = 0; block && w < 2 && node_awaited(&t->base); w++) {
        while (t->queue[w].first) {
            let_go(t, w);
            any = true;
        }
    }
    return any;
}

static void throttle_submit(struct node *n, struct node_req *r)
{
    struct throttle *t = (struct throttle *)n;
    struct queue *q = &t->queue[r->op != NODE_READ];

    if (r->op == NODE_FLUSH || r->op == NODE_STATUS) {
        filter_pass(n, r);
        return;
    }
    r->next = NULL;
    *q->tail = r;
    q->tail = &r->next;
    release(t->group);
}

static void join(struct throttle *t, struct throttle_group *g)
{
    t->group = g;
    throttle_group_share(g);
    t->next = g->members;
    g->members = t;
}

static void leave(struct throttle *t)
{
    struct throttle **at = &t->group->members;

    while (*at != t) {
        at = &(*at)->next;
    }
    *at = t->next;
    if (!t->group->members) {
        ev_timer_disarm(&t->group->timer);
    }
    throttle_group_drop(NULL, t->group);
}

static int throttle_close(struct node *n)
{
    struct throttle *t = (struct throttle *)n;
    int ret;

    leave(t);
    node_ctx_del_poller(n->ctx, &t->poller);
    ret = node_close(n->file);
    free(t);
    return ret;
}

static const struct node_ops throttle_ops = {
    .name = "throttle",
    .filter = true,
    .submit = throttle_submit,
    .close = throttle_close,
    .resize = filter_resize,
    .reopen = filter_reopen,
};

struct node *throttle_new(struct node *child, struct throttle_group *g)
{
    struct throttle *t = xcalloc(1, sizeof(*t));

    filter_init(&t->base, &throttle_ops, child);
    t->base.growable = child->growable; /* a format may keep its image here */
    t->base.zero_tail = child->zero_tail;
    join(t, g);
    t->queue[0].tail = &t->queue[0].first;
    t->queue[1].tail = &t->queue[1].first;
    t->poller = (struct node_poller){ .poll = throttle_poll, .opaque = t };
    node_ctx_add_poller(child->ctx, &t->poller);
    return &t->base;
}

struct throttle_group *throttle_group_of(const struct node *n)
{
    return n->ops == &throttle_ops ? ((const struct throttle *)n)->group : NULL;
}

void throttle_set_group(struct node *n, struct throttle_group *g)
{
    struct throttle *t = (struct throttle *)n;

    leave(t);
    join(t, g);
}
