/* SPDX-License-Identifier: MIT */
/* block/mapped.c - the engine under formats whose tables say where each block lies (mapped.h).
 *
 * A request is taken apart into runs, one after the other; each is one request to a file, to the
 * backing file, or nothing but zeros. A run that needs room goes through
 *
 *   [pack] -> wait for the slot -> [read the backing file | zero the block] -> write -> written()
 *
 * where the slot is one a node. While somebody waits for the slot, later writes wait behind him.
 */
#include "block/mapped-int.h"

#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct map_op {
    struct node_work work; /* first: packing and unpacking */
    struct mapped *m;
    struct node_req *r, sub;
    struct map_op *next;
    uint64_t at;  /* how far the request is */
    uint64_t len; /* bytes of the run in hand */
    struct map_run run;
    bool counted;                 /* in m->writing */
    uint64_t first, count, place; /* the allocation: blocks, and where */
    uint8_t *buf;                 /* packed bytes, or a whole block */
    uint8_t *block;
    uint32_t packed_len;
    uint64_t ticket; /* packed blocks are written in the order they came */
    bool ticketed;
    int ret;
    struct iovec one, *iov;
};

static void op_step(struct map_op *op);

static uint64_t here(const struct map_op *op)
{
    return op->r->offset + op->at;
}

static bool is_change(const struct node_req *r)
{
    return r->op == NODE_WRITE || r->op == NODE_ZERO || r->op == NODE_DISCARD;
}

static void wait_here(struct map_op *op)
{
    struct mapped *m = op->m;

    op->next = NULL;
    *m->waiting_tail = op;
    m->waiting_tail = &op->next;
}

static void uncount(struct map_op *op)
{
    op->m->writing -= op->counted;
    op->counted = false;
}

/* Everybody who waits looks again whether it may go on. */
static void wake(struct mapped *m)
{
    struct map_op *list = m->waiting, *next;

    if (m->allocating) {
        return;
    }
    m->waiting = NULL;
    m->waiting_tail = &m->waiting;
    for (; list; list = next) {
        next = list->next;
        if (m->allocating) {
            wait_here(list);
        } else {
            op_step(list);
        }
    }
}

static void op_end(struct map_op *op, int ret)
{
    struct mapped *m = op->m;
    struct node_req *r = op->r;

    if (m->allocating == op) {
        m->allocating = NULL;
    }
    m->pack_turn += op->ticketed;
    uncount(op);
    free(op->buf);
    free(op->block);
    free(op->iov);
    free(op);
    node_complete(r, ret);
    wake(m);
}

/* ---- runs ---- */

/* The run at op->at, as long as it goes on in one piece. */
static void find_run(struct map_op *op, uint64_t len)
{
    const struct mapped *m = op->m;
    struct map_run more;

    m->ops->lookup(m, here(op), len, &op->run);
    op->len = op->run.len = min_u64(op->run.len, len);
    while (op->len < len && op->run.kind != MAP_PACKED && op->run.kind != MAP_BAD) {
        m->ops->lookup(m, here(op) + op->len, len - op->len, &more);
        bool same = more.kind == op->run.kind && more.file == op->run.file && !more.in_place &&
                    !op->run.in_place && (more.kind != MAP_FILE || more.at == op->run.at + op->len);
        if (!same) {
            break;
        }
        op->len += min_u64(more.len, len - op->len);
    }
    op->run.len = op->len;
}

static void run_done(struct node_req *r, int ret)
{
    struct map_op *op = container_of(r, struct map_op, sub);

    uncount(op);
    if (ret < 0) {
        op_end(op, ret);
        return;
    }
    op->at += op->len;
    wake(op->m);
    op_step(op);
}

/* The run is one request of another node's. */
static void pass(struct map_op *op, struct node *n, uint64_t at)
{
    const struct node_req *r = op->r;

    op->sub = (struct node_req){ .op = r->op,
                                 .flags = r->flags & (NODE_UNMAP | NODE_GUEST),
                                 .offset = at,
                                 .len = op->len,
                                 .done = run_done };
    if (op->iov) {
        op->sub.iov = op->iov;
        op->sub.iovcnt = node_iov_part(r->iov, r->iovcnt, op->at, op->len, op->iov, r->iovcnt);
    }
    if (is_change(r)) {
        op->counted = true;
        op->m->writing++;
    }
    node_submit(n, &op->sub);
}

static void read_zeros(struct map_op *op)
{
    node_iov_zero(op->r->iov, op->r->iovcnt, op->at, op->len);
    op->at += op->len;
}

/* ---- packed blocks ---- */

static void unpack_run(struct node_work *w)
{
    struct map_op *op = (struct map_op *)w;
    uint32_t in = op->run.at % NODE_ALIGN;

    op->ret = op->m->ops->unpack(op->m, op->buf + in, op->run.packed_len, op->block);
}

static void unpack_done(struct node_work *w)
{
    struct map_op *op = (struct map_op *)w;
    uint64_t in = here(op) & (op->m->block - 1);

    if (op->ret < 0) {
        op_end(op, op->ret);
        return;
    }
    node_iov_from_buf(op->r->iov, op->r->iovcnt, op->at, op->block + in, op->len);
    free(op->buf);
    free(op->block);
    op->buf = op->block = NULL;
    op->at += op->len;
    op_step(op);
}

static void packed_read(struct node_req *r, int ret)
{
    struct map_op *op = container_of(r, struct map_op, sub);

    if (ret < 0) {
        op_end(op, ret);
        return;
    }
    op->work.run = unpack_run;
    op->work.done = unpack_done;
    node_ctx_work(op->m->base.ctx, &op->work);
}

static void read_packed(struct map_op *op)
{
    uint64_t from = op->run.at & ~(uint64_t)(NODE_ALIGN - 1);
    uint64_t to = (op->run.at + op->run.packed_len + NODE_ALIGN - 1) & ~(uint64_t)(NODE_ALIGN - 1);

    op->buf = malloc(to - from);
    op->block = malloc(op->m->block);
    if (!op->buf || !op->block) {
        op_end(op, -ENOMEM);
        return;
    }
    op->one = (struct iovec){ op->buf, to - from };
    op->sub = (struct node_req){ .op = NODE_READ,
                                 .offset = from,
                                 .len = to - from,
                                 .iov = &op->one,
                                 .iovcnt = 1,
                                 .done = packed_read };
    node_submit(op->run.file, &op->sub);
}

/* ---- allocation ---- */

static void alloc_submit(struct map_op *op, struct node *n, enum node_op what, uint64_t at,
                         uint64_t len, void (*done)(struct node_req *r, int ret))
{
    op->sub = (struct node_req){ .op = what,
                                 .flags = what == NODE_ZERO ? NODE_UNMAP : 0,
                                 .offset = at,
                                 .len = len,
                                 .done = done };
    if (what != NODE_ZERO) {
        op->one = (struct iovec){ op->block, len };
        op->sub.iov = &op->one;
        op->sub.iovcnt = 1;
    }
    node_submit(n, &op->sub);
}

static void alloc_wrote(struct node_req *r, int ret)
{
    struct map_op *op = container_of(r, struct map_op, sub);
    struct mapped *m = op->m;

    if (ret < 0) {
        op_end(op, ret);
        return;
    }
    m->ops->written(m, op->first, op->count, op->place, op->packed_len);
    free(op->buf);
    free(op->block);
    op->buf = op->block = NULL;
    op->packed_len = 0;
    op->at += op->len;
    m->pack_turn += op->ticketed;
    op->ticketed = false;
    m->allocating = NULL;
    wake(m);
    op_step(op);
}

/* The request's own bytes of this run, to their place. */
static void alloc_write_part(struct map_op *op)
{
    const struct node_req *r = op->r;
    uint64_t in = here(op) & (op->m->block - 1);

    op->sub = (struct node_req){ .op = r->op,
                                 .flags = r->flags & (NODE_UNMAP | NODE_GUEST),
                                 .offset = op->place + in,
                                 .len = op->len,
                                 .done = alloc_wrote };
    if (op->iov) {
        op->sub.iov = op->iov;
        op->sub.iovcnt = node_iov_part(r->iov, r->iovcnt, op->at, op->len, op->iov, r->iovcnt);
    }
    node_submit(op->m->base.file, &op->sub);
}

static void alloc_zeroed(struct node_req *r, int ret)
{
    struct map_op *op = container_of(r, struct map_op, sub);

    if (ret < 0) {
        op_end(op, ret);
        return;
    }
    alloc_write_part(op);
}

/* The block as it was is in op->block: the request's bytes over it, and out with all of it. */
static void alloc_filled(struct node_req *r, int ret)
{
    struct map_op *op = container_of(r, struct map_op, sub);
    uint64_t in = here(op) & (op->m->block - 1);

    if (ret < 0) {
        op_end(op, ret);
        return;
    }
    if (op->r->op == NODE_WRITE) {
        node_iov_to_buf(op->r->iov, op->r->iovcnt, op->at, op->block + in, op->len);
    } else {
        memset(op->block + in, 0, op->len);
    }
    alloc_submit(op, op->m->base.file, NODE_WRITE, op->place, op->m->block, alloc_wrote);
}

/* What the node itself reads there, through the front door: it finds the old state. */
static void alloc_fill(struct map_op *op)
{
    struct mapped *m = op->m;
    uint64_t from = op->first * m->block, len = min_u64(m->block, m->base.len - from);

    op->block = calloc(1, m->block);
    if (!op->block) {
        op_end(op, -ENOMEM);
        return;
    }
    alloc_submit(op, &m->base, NODE_READ, from, len, alloc_filled);
}

static void start_allocation(struct map_op *op)
{
    struct mapped *m = op->m;
    uint64_t in = here(op) & (m->block - 1), room;
    bool whole, in_place = op->run.in_place;
    int ret = 0;

    op->first = here(op) / m->block;
    op->count = in || m->gaps || in_place ? 1 : max_u64(op->len / m->block, 1);
    room = op->count * m->block;
    op->len = min_u64(op->len, room - in);
    whole = op->len == room;
    m->allocating = op;
    if (op->packed_len) {
        op->block = op->buf;
        op->buf = NULL;
    }
    if (in_place) {
        op->place = op->run.at - in;
    } else {
        ret = m->ops->allocate(m, op->first, op->count, &op->place);
    }
    if (ret < 0) {
        op_end(op, ret);
    } else if (op->packed_len) {
        m->end = op->place + op->packed_len;
        alloc_submit(op, m->base.file, NODE_WRITE, op->place, op->packed_len, alloc_wrote);
    } else if (whole) {
        alloc_write_part(op);
    } else if (m->base.backing || in_place) {
        alloc_fill(op);
    } else {
        alloc_submit(op, m->base.file, NODE_ZERO, op->place, room, alloc_zeroed);
    }
}

static void pack_run(struct node_work *w)
{
    struct map_op *op = (struct map_op *)w;

    op->packed_len = op->m->ops->pack(op->m, here(op) / op->m->block, op->block, op->buf);
}

static void pack_done(struct node_work *w)
{
    struct map_op *op = (struct map_op *)w;

    free(op->block);
    op->block = NULL;
    op_step(op);
}

static void start_packing(struct map_op *op)
{
    struct mapped *m = op->m;

    if (here(op) & (m->block - 1) || (op->len < m->block && here(op) + op->len < m->base.len)) {
        op_end(op, -EINVAL);
        return;
    }
    op->block = calloc(1, m->block);
    op->buf = malloc(2 * m->block);
    if (!op->block || !op->buf) {
        op_end(op, -ENOMEM);
        return;
    }
    node_iov_to_buf(op->r->iov, op->r->iovcnt, op->at, op->block, min_u64(op->len, m->block));
    op->ticket = m->tickets++;
    op->ticketed = true;
    op->work.run = pack_run;
    op->work.done = pack_done;
    node_ctx_work(m->base.ctx, &op->work);
}

/* ---- requests ---- */

/* Bytes from here to where another kind of thing begins have been looked up; what now? Returns
 * false when op waits or is in flight. */
static bool step_read(struct map_op *op)
{
    struct mapped *m = op->m;
    struct node *b = m->base.backing;

    switch (op->run.kind) {
    case MAP_FILE:
        pass(op, op->run.file, op->run.at);
        return false;
    case MAP_PACKED:
        read_packed(op);
        return false;
    case MAP_NONE:
        if (b && here(op) < b->len) {
            op->len = min_u64(op->len, b->len - here(op));
            pass(op, b, here(op));
            return false;
        }
        /* fall through */
    case MAP_ZERO:
        read_zeros(op);
        return true;
    default:
        op_end(op, -EIO);
        return false;
    }
}

/* The blocks that are being written may not change under who writes them. */
static bool meets_allocation(const struct map_op *op)
{
    const struct map_op *a = op->m->allocating;
    uint64_t from = here(op), to = from + op->r->len - op->at, block = op->m->block;

    return a && from < (a->first + a->count) * block && to > a->first * block;
}

static bool step_change(struct map_op *op)
{
    struct mapped *m = op->m;
    bool zero = op->r->op == NODE_ZERO;
    bool nothing = op->run.kind == MAP_ZERO || (op->run.kind == MAP_NONE && !m->base.backing);

    if (op->r->op == NODE_DISCARD) {
        if (op->run.kind == MAP_FILE && m->pass_discard) {
            pass(op, op->run.file, op->run.at);
            return false;
        }
        op->at += op->len;
        return true;
    }
    if (op->ticketed && op->ticket != m->pack_turn) {
        wait_here(op);
        return false;
    }
    bool compress = op->r->flags & NODE_COMPRESS;
    if (op->r->op == NODE_WRITE && compress != (m->ops->pack != NULL)) {
        op_end(op, -ENOTSUP); /* all of an image is packed, or nothing */
        return false;
    }
    if (op->run.kind == MAP_FILE && !op->packed_len) {
        pass(op, op->run.file, op->run.at);
        return false;
    }
    if (zero && nothing && !op->run.in_place) {
        op->at += op->len;
        return true;
    }
    if ((op->run.kind != MAP_NONE && op->run.kind != MAP_ZERO) || !m->ops->allocate) {
        op_end(op, op->run.kind == MAP_BAD ? -EIO : -ENOTSUP);
        return false;
    }
    if (compress && !op->packed_len) {
        start_packing(op);
        return false;
    }
    if (m->allocating || (op->run.in_place && m->writing)) {
        wait_here(op);
        return false;
    }
    start_allocation(op);
    return false;
}

static void op_step(struct map_op *op)
{
    struct mapped *m = op->m;

    while (op->at < op->r->len) {
        if (is_change(op->r) && meets_allocation(op)) {
            wait_here(op);
            return;
        }
        find_run(op, op->packed_len ? min_u64(m->block, op->r->len - op->at) : op->r->len - op->at);
        if (op->r->flags & NODE_COMPRESS) {
            op->len = min_u64(op->len, m->block);
        }
        if (!(op->r->op == NODE_READ ? step_read(op) : step_change(op))) {
            return;
        }
    }
    op_end(op, 0);
}

static void status(struct mapped *m, struct node_req *r)
{
    struct map_op op = { .m = m, .r = r };

    find_run(&op, r->len);
    static const unsigned flags[] = {
        [MAP_NONE] = 0,
        [MAP_ZERO] = NODE_IS_ZERO | NODE_ALLOCATED,
        [MAP_FILE] = NODE_HAS_DATA | NODE_ALLOCATED,
        [MAP_PACKED] = NODE_HAS_DATA | NODE_ALLOCATED | NODE_COMPRESSED,
        [MAP_BAD] = 0,
    };
    r->status = (struct node_status){ .len = op.len, .flags = flags[op.run.kind] };
    if (op.run.kind == MAP_NONE && !m->base.backing) {
        r->status.flags = NODE_IS_ZERO | (m->knows_zeros ? NODE_ALLOCATED : 0);
    }
    if (op.run.kind == MAP_FILE && op.run.file == m->base.file) {
        r->status.flags |= NODE_MAPPED;
        r->status.mapped = op.run.at;
    }
    node_complete(r, op.run.kind == MAP_BAD ? -EIO : 0);
}

/* ---- the node ---- */

static void mapped_submit(struct node *n, struct node_req *r)
{
    struct mapped *m = (struct mapped *)n;
    struct map_op *op;

    if (r->op == NODE_STATUS) {
        status(m, r);
        return;
    }
    if (r->op == NODE_FLUSH) {
        mapped_flush(m, r);
        return;
    }
    op = calloc(1, sizeof(*op));
    if (op && r->iovcnt) {
        op->iov = calloc((size_t)r->iovcnt, sizeof(*op->iov));
    }
    if (!op || (r->iovcnt && !op->iov)) {
        free(op);
        node_complete(r, -ENOMEM);
        return;
    }
    op->m = m;
    op->r = r;
    if (is_change(r) && m->waiting) {
        wait_here(op);
        return;
    }
    op_step(op);
}

static int mapped_close(struct node *n)
{
    struct mapped *m = (struct mapped *)n;
    int ret = 0, more;

    if (!n->read_only) {
        ret = mapped_write_tables(m);
        ret = ret == 0 && m->ops->finish ? m->ops->finish(m) : ret;
        more = node_flush(n->file);
        ret = ret < 0 ? ret : more;
    }
    for (unsigned i = 0; i < m->nfiles; i++) {
        more = node_close(m->files[i]);
        ret = ret < 0 ? ret : more;
    }
    free(m->files);
    more = node_close(n->file);
    ret = ret < 0 ? ret : more;
    more = node_close(n->backing);
    ret = ret < 0 ? ret : more;
    free(m->dirty);
    m->ops->free(m);
    return ret;
}

void mapped_start(struct mapped *m, struct node *file, const struct image_open *o)
{
    m->node_ops = m->ops->node;
    m->node_ops.submit = mapped_submit;
    m->node_ops.close = mapped_close;
    m->base.ops = &m->node_ops;
    m->base.ctx = file->ctx;
    m->base.file = file;
    m->base.read_only = o->read_only;
    m->base.filename = xstrdup(file->filename);
    m->pass_discard = o->discard;
    m->dirty = xcalloc((m->keys + 63) / 64 + 1, sizeof(*m->dirty));
    m->waiting_tail = &m->waiting;
    m->flush_tail = &m->flush_next;
}
