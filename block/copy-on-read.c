/* SPDX-License-Identifier: MIT */
/* block/copy-on-read.c - a filter that copies what is read of backing files into the image.
 *
 * A read takes whole clusters for itself, copies up what the image lacks of them, and then reads.
 * Writes share their range, so that none is in flight while its neighbourhood is copied. When the
 * copy fails the read does not.
 */
#include "block/copy-on-read.h"

#include "block/copy.h"
#include "block/filter.h"
#include "block/jobs.h"
#include "dm/base/util.h"

#include <stdlib.h>

struct cor {
    struct node base; /* first */
    struct copier copy;
    struct ranges locks;
    uint64_t granularity;
};

static void cor_ended(struct pass *p, int ret)
{
    range_unlock(&((struct cor *)p->filter)->locks, &p->range);
    pass_end(p, ret);
}

static void cor_copied(void *opaque, int ret, bool reading)
{
    (void)ret, (void)reading;
    pass_down(opaque);
}

static void cor_granted(struct range *r)
{
    struct pass *p = container_of(r, struct pass, range);
    struct cor *c = (struct cor *)p->filter;

    if (r->shared) {
        pass_down(p);
    } else {
        copy_range(&c->copy, r->from, r->to - r->from, cor_copied, p);
    }
}

static void cor_submit(struct node *n, struct node_req *r)
{
    struct cor *c = (struct cor *)n;
    bool copies = r->op == NODE_READ && node_skip_filters(n)->backing && !n->file->read_only;
    struct pass *p = pass_new(n, r);
    uint64_t mask = copies ? c->granularity - 1 : 0;

    if (!p) {
        return;
    }
    if (r->op == NODE_FLUSH || r->op == NODE_STATUS || (r->op == NODE_READ && !copies)) {
        pass_down(p);
        return;
    }
    p->then = cor_ended;
    p->range = (struct range){ r->offset & ~mask, (r->offset + r->len + mask) & ~mask,
                               .shared = !copies, .granted = cor_granted };
    if (range_lock(&c->locks, &p->range)) {
        cor_granted(&p->range);
    }
}

static int cor_close(struct node *n)
{
    int ret = node_close(n->file);

    free(n);
    return ret;
}

static const struct node_ops cor_ops = { .name = "copy-on-read",
                                         .filter = true,
                                         .submit = cor_submit,
                                         .close = cor_close,
                                         .resize = filter_resize,
                                         .reopen = filter_reopen };

struct node *copy_on_read_new(struct node *child)
{
    struct cor *c = xcalloc(1, sizeof(*c));

    filter_init(&c->base, &cor_ops, child);
    c->granularity = job_granularity(child);
    c->copy.from = c->copy.to = child;
    c->copy.skip_top = c->copy.unchanged = true;
    c->copy.locks = &c->locks;
    return &c->base;
}
