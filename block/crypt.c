/* SPDX-License-Identifier: MIT */
/* block/crypt.c - a node that encrypts, and the format "luks" made of it.
 *
 * Data pass through a buffer: the guest's memory never shows what is on the disk, and what is on its
 * way to the disk cannot change any more. Requests are worked off in steps, large ones on a worker
 * thread. Zeros are written like anything else; there are no holes that read as zeros.
 */
#include "block/crypt.h"

#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    STEP = 1 << 20,
    HERE = 16 << 10, /* bytes that are not worth waking up a thread for */
};

struct crypt {
    struct node node; /* first */
    const struct luks *luks;
    struct luks *own; /* freed with the node */
    uint64_t base;
    bool format;
};

struct crypt_op {
    struct crypt *c;
    struct node_req *r;
    struct node_req io;
    struct node_work work;
    struct iovec iov;
    uint64_t at, piece;
    size_t room;
    uint8_t *buf;
};

static void op_step(struct crypt_op *op);

static void op_finish(struct crypt_op *op, int ret)
{
    struct node_req *r = op->r;

    free(op->buf);
    free(op);
    node_complete(r, ret);
}

static bool reads(const struct crypt_op *op)
{
    return op->r->op == NODE_READ;
}

static void op_run(struct node_work *w)
{
    struct crypt_op *op = container_of(w, struct crypt_op, work);

    luks_crypt(op->c->luks, !reads(op), (op->r->offset + op->at) / LUKS_SECTOR, op->buf, op->piece);
}

static void op_advance(struct crypt_op *op)
{
    op->at += op->piece;
    op_step(op);
}

static void io_done(struct node_req *io, int ret)
{
    struct crypt_op *op = io->opaque;

    if (ret < 0) {
        op_finish(op, ret);
    } else if (!reads(op)) {
        op_advance(op);
    } else if (op->piece <= HERE) {
        op_run(&op->work);
        op->work.done(&op->work);
    } else {
        node_ctx_work(op->c->node.ctx, &op->work);
    }
}

static void op_io(struct crypt_op *op, enum node_op what)
{
    op->iov = (struct iovec){ op->buf, op->piece };
    op->io = (struct node_req){ .op = what,
                                .offset = op->c->base + op->r->offset + op->at,
                                .len = op->piece,
                                .iov = &op->iov,
                                .iovcnt = 1,
                                .done = io_done,
                                .opaque = op };
    node_submit(op->c->node.file, &op->io);
}

static void op_crypted(struct node_work *w)
{
    struct crypt_op *op = container_of(w, struct crypt_op, work);

    if (reads(op)) {
        node_iov_from_buf(op->r->iov, op->r->iovcnt, op->at, op->buf, op->piece);
        op_advance(op);
    } else {
        op_io(op, NODE_WRITE);
    }
}

static void op_step(struct crypt_op *op)
{
    op->piece = min_u64(op->r->len - op->at, op->room);
    op->work = (struct node_work){ .run = op_run, .done = op_crypted };
    if (!op->piece) {
        op_finish(op, 0);
        return;
    }
    if (reads(op)) {
        op_io(op, NODE_READ);
        return;
    }
    if (op->r->op == NODE_ZERO) {
        memset(op->buf, 0, op->piece);
    } else {
        node_iov_to_buf(op->r->iov, op->r->iovcnt, op->at, op->buf, op->piece);
    }
    if (op->piece <= HERE) {
        op_run(&op->work);
        op_crypted(&op->work);
    } else {
        node_ctx_work(op->c->node.ctx, &op->work);
    }
}

static void passed_on(struct node_req *io, int ret)
{
    op_finish(io->opaque, ret);
}

static void crypt_submit(struct node *n, struct node_req *r)
{
    struct crypt *c = (struct crypt *)n;
    struct crypt_op *op;

    if (r->op == NODE_STATUS) {
        r->status = (struct node_status){ .len = r->len, .flags = NODE_HAS_DATA | NODE_ALLOCATED };
        node_complete(r, 0);
        return;
    }
    if (r->op == NODE_DISCARD) { /* a hole would not read as zeros, and tell where nothing is */
        node_complete(r, 0);
        return;
    }
    if (!c->luks) {
        node_complete(r, -EACCES);
        return;
    }
    op = calloc(1, sizeof(*op));
    if (op) {
        op->c = c;
        op->r = r;
        op->room = (size_t)min_u64(max_u64(r->len, LUKS_SECTOR), STEP);
    }
    if (!op || (r->op != NODE_FLUSH && posix_memalign((void **)&op->buf, 4096, op->room))) {
        free(op);
        node_complete(r, -ENOMEM);
        return;
    }
    if (r->op == NODE_FLUSH) {
        op->io = (struct node_req){ .op = NODE_FLUSH, .done = passed_on, .opaque = op };
        node_submit(n->file, &op->io);
    } else {
        op_step(op);
    }
}

static int crypt_close(struct node *n)
{
    struct crypt *c = (struct crypt *)n;
    int ret = node_close(n->file);

    luks_free(c->own);
    free(c);
    return ret;
}

static int crypt_resize(struct node *n, uint64_t len, struct err *e)
{
    struct crypt *c = (struct crypt *)n;
    int ret = node_resize(n->file, c->base + len, e);

    n->len = ret == 0 ? len : n->len;
    return ret;
}

static int crypt_reopen(struct node *n, bool read_only, struct err *e)
{
    (void)e;
    n->read_only = read_only;
    return 0;
}

/* Named as a format, with a file under it, though inside a qcow2 image nobody asks. */
static const struct node_ops crypt_ops = { .name = "luks",
                                           .submit = crypt_submit,
                                           .close = crypt_close,
                                           .resize = crypt_resize,
                                           .reopen = crypt_reopen };

bool crypt_is(const struct node *n)
{
    return n->ops == &crypt_ops;
}

struct node *crypt_new(struct node *file, const struct luks *l, uint64_t base)
{
    struct crypt *c = xcalloc(1, sizeof(*c));

    c->node.ops = &crypt_ops;
    c->node.ctx = file->ctx;
    c->node.file = file;
    c->node.read_only = file->read_only;
    c->node.growable = file->growable;
    c->node.is_file = file->is_file;
    c->node.len = file->len > base ? file->len - base : 0;
    c->node.filename = xstrdup(file->filename);
    c->luks = l;
    c->base = base;
    return &c->node;
}

struct node *crypt_open(struct node *file, const struct luks_key *key, bool no_io, struct err *e)
{
    struct luks_info info;
    struct luks *l = NULL;
    struct node *n = NULL;
    int ret = luks_info(file, 0, file->len, &info, e);

    if (ret == 0 && !key && !no_io) {
        ret = err_set(e, -EINVAL, "Parameter 'key-secret' is required for cipher");
    }
    if (ret == 0 && key && !no_io) {
        l = luks_open(file, 0, file->len, key, e);
        ret = l ? 0 : e->code;
    }
    if (ret < 0) {
        err_prefix(e, "image '%s'", file->filename);
        node_close(file);
        return NULL;
    }
    n = crypt_new(file, l, info.payload);
    n->growable = false;
    ((struct crypt *)n)->own = l;
    return n;
}

int crypt_create_with(struct node *file, uint64_t size, const uint8_t *header, uint64_t len,
                      struct err *e)
{
    int ret = node_write(file, 0, header, len);

    return ret < 0 ? err_set(e, ret, "its LUKS header cannot be written: %s", strerror(-ret))
                   : node_resize(file, len + size, e);
}

int crypt_create(struct node *file, uint64_t size, const struct luks_create *c,
                 const struct luks_key *key, struct err *e)
{
    uint64_t len;
    uint8_t *header = luks_create(c, key, &len, e);
    int ret = header ? crypt_create_with(file, size, header, len, e) : e->code;

    free(header);
    return ret;
}
