/* SPDX-License-Identifier: MIT */
/* block/image.c - what a drive holds when it holds an image: a node.
 *
 * The node may be part of a graph with other drives' and jobs' nodes. Waiting for one drive's requests
 * ends others' too; those are delivered later, by the loop: a controller in the middle of cancelling
 * is not called back by another's.
 */
#include "block/blk.h"

#include "block/copy-on-read.h"
#include "block/graph.h"
#include "block/open.h"
#include "block/qcow2.h"
#include "block/throttle.h"
#include "dm/base/err.h"
#include "dm/base/log.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct image {
    struct blk_image base; /* first: a struct blk_image * is a struct image * */
    struct blk_image_ops ops;
    struct node_root root;
    struct node_ctx *own_ctx; /* NULL: it is part of a larger graph */
    bool ignore_discard;
    bool flush_writes; /* a write counts once a flush has covered it: writethrough on a format,
                          whose own tables must be on disk too */
};

struct image_req {
    struct node_req r;
    struct blk_req *b;
    struct image *im;
};

static void image_done(struct node_req *r, int ret)
{
    struct image_req *q = container_of(r, struct image_req, r);
    struct blk_req *b = q->b;

    struct node *n = q->im->root.node;

    if (ret == 0 && q->im->flush_writes && (r->op == NODE_WRITE || r->op == NODE_ZERO)) {
        q->r = (struct node_req){ .op = NODE_FLUSH, .done = image_done };
        node_submit(n, &q->r);
        return;
    }
    free(q);
    if (node_ctx_blocking(n->ctx)) {
        blk_complete_later(b, ret);
    } else {
        blk_complete(b, ret);
    }
}

static void image_submit(struct blk_image *i, struct blk_req *b)
{
    static const enum node_op ops[BLK_OPS] = { NODE_READ, NODE_WRITE, NODE_FLUSH, NODE_DISCARD };
    struct image *im = (struct image *)i;
    struct image_req *q;

    if ((b->op == BLK_DISCARD && im->ignore_discard) || (b->len == 0 && b->op != BLK_FLUSH)) {
        blk_complete(b, 0);
        return;
    }
    q = calloc(1, sizeof(*q));
    if (!q) {
        blk_complete(b, -ENOMEM);
        return;
    }
    q->b = b;
    q->im = im;
    q->r = (struct node_req){ .op = ops[b->op],
                              .flags = b->guest_memory ? NODE_GUEST : 0,
                              .offset = b->op == BLK_FLUSH ? 0 : b->offset,
                              .len = b->op == BLK_FLUSH ? 0 : b->len,
                              .iov = b->iov,
                              .iovcnt = b->iovcnt,
                              .done = image_done };
    node_root_submit(&im->root, &q->r);
}

static bool image_wait(struct blk_image *i)
{
    return node_root_wait(&((struct image *)i)->root);
}

static void image_hold(struct blk_image *i, bool on)
{
    struct node_ctx *c = ((struct image *)i)->root.node->ctx;

    if (on) {
        node_ctx_hold(c);
    } else {
        node_ctx_release(c);
    }
}

static void image_close(struct blk_image *i)
{
    struct image *im = (struct image *)i;
    int ret = node_root_del(&im->root);

    if (ret < 0) {
        log_msg(LOG_ERROR, "block", "image '%s': closing it failed: %s", i->filename,
                strerror(-ret));
    }
    node_ctx_free(im->own_ctx);
    free(i->filename);
    free(im);
}

struct node *blk_image_node(struct blk_image *i)
{
    return i->ops->submit == image_submit ? ((struct image *)i)->root.node : NULL;
}

void blk_image_allow_discard(struct blk_image *i)
{
    struct node *n = blk_image_node(i), *format = n ? node_skip_filters(n) : NULL;
    if (n) {
        ((struct image *)i)->ignore_discard = false;
    }
    if (format && qcow2_is(format)) {
        qcow2_pass_discard(format, true);
    }
}

int blk_image_quiesce(struct blk_image *i)
{
    struct node *n = blk_image_node(i), *format = n ? node_skip_filters(n) : NULL;
    int ret = format && qcow2_is(format) ? qcow2_quiesce(format) : 0;

    return ret == 0 && n && !n->read_only ? node_flush(n) : ret;
}

int blk_image_activate(struct blk_image *i, struct err *e)
{
    struct node *top = blk_image_node(i), *format = top ? node_skip_filters(top) : NULL;
    int ret = format && qcow2_is(format) ? qcow2_activate(format, e) : 0;

    for (struct node *n = top; ret == 0 && n && n != format; n = n->file) {
        n->read_only = format->read_only;
        n->len = format->len;
    }
    i->len = ret == 0 && top ? top->len : i->len;
    return ret;
}

/* It stands on another node now, or its node has another length. */
static void image_moved(struct node_root *r)
{
    struct image *im = container_of(r, struct image, root);
    struct node *n = r->node;

    im->ops.format = image_format(n);
    im->base.len = n->len;
    im->base.read_only = n->read_only;
    im->base.is_file = n->is_file;
    im->base.grows = strcmp(im->ops.format, "raw") != 0;
    free(im->base.filename);
    im->base.filename = xstrdup(n->filename);
}

void blk_image_resized(struct blk_image *i)
{
    struct node *n = blk_image_node(i);

    if (n) {
        for (struct node *f = n; f->ops->filter; f = f->file) { /* they have their child's length */
            f->len = node_skip_filters(f)->len;
        }
        image_moved(&((struct image *)i)->root);
    }
}

void blk_image_throttle(struct blk_image *i, struct throttle_group *g)
{
    struct node_root *r = &((struct image *)i)->root;
    struct node *n = r->node;
    bool own = throttle_group_of(n) && (!n->name[0] || n->name[0] == '#'); /* the user made none */

    if (own && g) {
        throttle_set_group(n, g);
    } else if (own) {
        node_close(node_root_swap(r, node_share(n->file)));
    } else if (g) {
        node_root_swap(r, throttle_new(n, g));
    }
}

struct blk_image *blk_image_of_node(struct node *n, bool discard, bool flush_writes)
{
    struct image *im = xcalloc(1, sizeof(*im));

    im->ops = (struct blk_image_ops){
        .submit = image_submit, .wait = image_wait, .close = image_close, .hold = image_hold
    };
    im->base.ops = &im->ops;
    im->ignore_discard = !discard;
    im->flush_writes = flush_writes;
    im->root.moved = image_moved;
    node_root_add(&im->root, n);
    image_moved(&im->root);
    return &im->base;
}

struct blk_image *blk_open_image(struct ev_loop *loop, const struct blk_open *o, struct err *e)
{
    struct image_open p = {
        .filename = o->filename,
        .fd = o->fd,
        .format = o->format ? o->format : "raw",
        .read_only = o->read_only,
        .guessed = o->guessed,
        .data_file = o->data_file,
        .key = o->key,
        .inactive = o->inactive,
        .lock = o->lock,
        .share_rw = o->share_rw,
        .discard = o->discard,
        .temporary = o->temporary,
        .aio = o->aio,
        .cache = o->cache,
        .l2_cache = o->l2_cache,
    };
    char *made_up = o->filename ? NULL : xasprintf("fd:%d", o->fd);
    bool through = strcmp(p.format, "raw") != 0 &&
                   (o->cache == BLK_WRITETHROUGH || o->cache == BLK_DIRECTSYNC);
    struct node_ctx *c = o->ctx ? o->ctx : node_ctx_new(loop);
    struct node *n;

    p.filename = o->filename ? o->filename : made_up;
    if (through) {
        p.cache = o->cache == BLK_DIRECTSYNC ? BLK_NONE : BLK_WRITEBACK;
    }
    n = image_open(c, &p, e);
    free(made_up);
    if (!n) {
        node_ctx_free(o->ctx ? NULL : c);
        return NULL;
    }
    n->detect_zeroes = (enum node_zeroes)o->detect_zeroes;
    n = o->copy_on_read ? copy_on_read_new(n) : n;
    n = o->throttle ? throttle_new(n, o->throttle) : n;
    struct blk_image *i = blk_image_of_node(n, o->discard, through);
    ((struct image *)i)->own_ctx = o->ctx ? NULL : c;
    i->read_only = o->inactive ? o->read_only : n->read_only;
    return i;
}
