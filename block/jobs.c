/* SPDX-License-Identifier: MIT */
/* block/jobs.c - what the kinds of jobs share: looking at chains and changing them. */
#include "block/jobs.h"

#include "block/open.h"
#include "block/qcow2.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <string.h>

uint32_t job_granularity(const struct node *n)
{
    struct qcow2_info info;
    uint32_t least = 64 << 10;

    while (n->ops->filter) {
        n = n->file;
    }
    if (qcow2_is(n)) {
        qcow2_info(n, &info);
        least = (uint32_t)max_u64(least, 1ull << info.cluster_bits);
    }
    return least;
}

struct node *chain_below(const struct node *n)
{
    return n->ops->filter ? n->file : n->backing;
}

struct node *chain_above(struct node *top, const struct node *n)
{
    while (top && chain_below(top) != n) {
        top = chain_below(top);
    }
    return top;
}

bool chain_has(struct node *top, const struct node *n)
{
    while (top && top != n) {
        top = chain_below(top);
    }
    return top;
}

int chain_set_backing(struct node *n, struct node *backing, const char *file, struct err *e)
{
    bool was = n->read_only;
    struct node *old;
    int ret = 0;

    if (qcow2_is(n)) {
        ret = node_reopen(n, false, e);
        ret =
            ret == 0 ? qcow2_set_backing(n, file, backing ? image_format(backing) : NULL, e) : ret;
        if (was) {
            struct err unused;
            node_reopen(n, true, ret == 0 ? e : &unused);
        }
    }
    if (ret == 0) {
        old = n->backing;
        n->backing = backing ? node_share(backing) : NULL;
        node_close(old);
    }
    return ret;
}

void job_claim(struct node *n, const struct node *end, const char *type)
{
    for (; n && n != end; n = chain_below(n)) {
        n->job = type;
    }
}

struct users {
    struct node *top, *n;
    bool others;
};

static void see_user(void *opaque, struct node *u)
{
    struct users *s = opaque;

    s->others |= (u->file == s->n || u->backing == s->n) && !chain_has(s->top, u);
}

int chain_alone(struct node *top, struct node *n, struct err *e)
{
    struct users s = { .top = top, .n = n };

    if (n == top) {
        return 0;
    }
    graph_each(n->ctx, see_user, &s);
    if (s.others || graph_has_user(n)) {
        return err_set(e, -EBUSY, "Node '%s' is used by another disk too", node_name(n));
    }
    return 0;
}
