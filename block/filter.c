/* SPDX-License-Identifier: MIT */
/* block/filter.c - what filter nodes share. */
#include "block/filter.h"

#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>

void filter_init(struct node *f, const struct node_ops *ops, struct node *child)
{
    f->ops = ops;
    f->ctx = child->ctx;
    f->len = child->len;
    f->read_only = child->read_only;
    f->is_file = child->is_file;
    f->filename = xstrdup(child->filename);
    f->file = child;
}

void pass_end(struct pass *p, int ret)
{
    struct node_req *from = p->from;
    struct node *n = p->filter;

    if (ret == 0 && n->growable && (from->op == NODE_WRITE || from->op == NODE_ZERO)) {
        n->len = max_u64(n->len, from->offset + from->len);
    }
    from->status = p->r.status;
    free(p);
    node_complete(from, ret);
}

static void pass_done(struct node_req *r, int ret)
{
    struct pass *p = (struct pass *)r;

    if (p->then) {
        p->then(p, ret);
    } else {
        pass_end(p, ret);
    }
}

struct pass *pass_new(struct node *filter, struct node_req *from)
{
    struct pass *p = calloc(1, sizeof(*p));

    if (!p) {
        node_complete(from, -ENOMEM);
        return NULL;
    }
    p->from = from;
    p->filter = filter;
    p->r = (struct node_req){ .op = from->op,
                              .flags = from->flags,
                              .offset = from->offset,
                              .len = from->len,
                              .iov = from->iov,
                              .iovcnt = from->iovcnt,
                              .done = pass_done };
    return p;
}

void pass_down(struct pass *p)
{
    node_submit(p->filter->file, &p->r);
}

void filter_pass(struct node *filter, struct node_req *from)
{
    struct pass *p = pass_new(filter, from);

    if (p) {
        pass_down(p);
    }
}

int filter_resize(struct node *n, uint64_t len, struct err *e)
{
    int ret = node_resize(n->file, len, e);

    n->len = n->file->len;
    return ret;
}

int filter_reopen(struct node *n, bool read_only, struct err *e)
{
    int ret = node_reopen(n->file, read_only, e);

    n->read_only = n->file->read_only;
    return ret;
}
