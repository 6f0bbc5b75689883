/* SPDX-License-Identifier: MIT */
/* block/raw.c - the format node "raw": a part of a file, or all of it, as it is. */
#include "block/raw.h"

#include "block/filter.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>

struct raw {
    struct node base; /* first */
    uint64_t offset;
    bool part; /* it ends where it was told to */
};

static void raw_looked(struct pass *p, int ret)
{
    p->r.status.flags |= NODE_ALLOCATED;
    pass_end(p, ret);
}

static void raw_submit(struct node *n, struct node_req *r)
{
    struct raw *w = (struct raw *)n;
    struct pass *p = pass_new(n, r);

    if (p) {
        p->r.offset += r->op == NODE_FLUSH ? 0 : w->offset;
        p->then = r->op == NODE_STATUS ? raw_looked : NULL;
        pass_down(p);
    }
}

static int raw_close(struct node *n)
{
    int ret = node_close(n->file);

    free(n);
    return ret;
}

static int raw_resize(struct node *n, uint64_t len, struct err *e)
{
    struct raw *w = (struct raw *)n;
    int ret;

    if (w->part) {
        return err_set(e, -ENOTSUP, "Cannot resize fixed-size raw disks");
    }
    ret = node_resize(n->file, w->offset + len, e);
    n->len = ret == 0 ? len : n->len;
    return ret;
}

static int raw_reopen(struct node *n, bool read_only, struct err *e)
{
    (void)e;
    n->read_only = read_only;
    return 0;
}

static const struct node_ops raw_ops = { .name = "raw",
                                         .submit = raw_submit,
                                         .close = raw_close,
                                         .resize = raw_resize,
                                         .reopen = raw_reopen };

struct node *raw_open(struct node *file, const struct raw_open *o, struct err *e)
{
    struct raw *w;

    if (o->offset % NODE_ALIGN || o->size % NODE_ALIGN) {
        err_set(e, -EINVAL, "Specified offset and size must be multiples of 512");
        node_close(file);
        return NULL;
    }
    if (o->offset > file->len || o->size > file->len - o->offset) {
        err_set(e, -EINVAL,
                "The sum of offset (%llu) and size (%llu) has to be smaller or equal "
                "to the actual size of the containing file (%llu)",
                (unsigned long long)o->offset, (unsigned long long)o->size,
                (unsigned long long)file->len);
        node_close(file);
        return NULL;
    }
    w = xcalloc(1, sizeof(*w));
    filter_init(&w->base, &raw_ops, file);
    w->offset = o->offset;
    w->part = o->size;
    w->base.len = o->size ? o->size : file->len - o->offset;
    w->base.read_only = o->read_only || file->read_only;
    w->base.growable = file->growable && !w->part; /* a format may keep its image here */
    w->base.zero_tail = file->zero_tail && !w->part;
    return &w->base;
}
