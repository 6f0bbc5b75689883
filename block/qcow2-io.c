/* SPDX-License-Identifier: MIT */
/* block/qcow2-io.c - requests. Each is a struct qop whose step is the state it is in.
 *
 *   read:    lock shared -> map -> child read / unpack -> map ...
 *            or on the spot, without an op, when nothing of that would wait
 *   write:   lock shared -> map -> write in place -> map ...
 *                            \-> lock exclusive -> allocate -> fill head, tail -> write -> link
 *   packed:  lock exclusive -> pack -> allocate -> write -> link -> pack ...
 *   zero, discard: lock exclusive -> change entries -> ...
 *   flush:   commit
 *
 * The locks are over ranges of the guest's clusters, granted in the order asked for. What changes a
 * mapping holds its range alone; what uses a mapping holds it with others. So no cluster is given
 * up while a request still reads or writes it, however late its own I/O is: without that, a
 * discard from one queue and a write that takes the freed cluster from another would meet in it.
 */
#include "block/qcow2-op.h"

#include <assert.h>
#include <string.h>

/* ---- range locks ---- */

static void granted(struct range *r)
{
    struct qop *op = container_of(r, struct qop, lock);

    op->step(op);
}

bool lock_range(struct qop *op, bool exclusive)
{
    uint64_t mask = op->s->cluster_size - 1, from = op->r->offset, to = from + op->r->len;

    if (op->borrowed) {
        return true;
    }
    op->lock = (struct range){ from & ~mask, (to + mask) & ~mask, .shared = !exclusive,
                               .granted = granted };
    op->locking = true;
    return range_lock(&op->s->locks, &op->lock);
}

void unlock_range(struct qop *op)
{
    if (op->locking) {
        op->locking = false;
        range_unlock(&op->s->locks, &op->lock);
    }
}

/* ---- common ---- */

void op_finish(struct qop *op, int ret)
{
    struct node_req *r = op->r;

    if (op->pin) {
        op->pin->pins--;
    }
    unlock_range(op);
    free(op->head_buf);
    free(op->tail_buf);
    free(op->packed);
    free(op->iov);
    free(op);
    node_complete(r, ret);
}

int piece_iov(struct qop *op, uint64_t piece, int *n)
{
    if (!op->iov) {
        op->iov = calloc((size_t)op->r->iovcnt + 2, sizeof(*op->iov));
        if (!op->iov) {
            return -ENOMEM;
        }
    }
    *n = node_iov_part(op->r->iov, op->r->iovcnt, op->at, piece, op->iov + 1, op->r->iovcnt);
    return 0;
}

void io_start(struct qop *op, struct node *to, enum node_op what, uint64_t offset,
              const struct iovec *iov, int n, uint64_t len, void (*done)(struct node_req *, int))
{
    op->io = (struct node_req){ .op = what,
                                .flags = op->r->flags & (NODE_GUEST | NODE_UNMAP),
                                .offset = offset,
                                .len = len,
                                .iov = iov,
                                .iovcnt = n,
                                .done = done,
                                .opaque = op };
    node_submit(to, &op->io);
}

static void op_start(struct qcow2 *s, struct node_req *r, bool borrowed);

void io_own(struct qop *op, enum node_op what, uint64_t offset, void *buf, uint64_t len,
            void (*done)(struct node_req *, int))
{
    op->one = (struct iovec){ buf, len };
    op->io = (struct node_req){ .op = what,
                                .offset = offset,
                                .len = len,
                                .iov = &op->one,
                                .iovcnt = 1,
                                .done = done,
                                .opaque = op };
    node_adopt(&op->s->node, &op->io);
    op_start(op->s, &op->io, true);
}

/* ---- reading ---- */

static void read_map(struct qop *op);

static void read_advance(struct qop *op)
{
    op->at += op->piece;
    read_map(op);
}

static void read_child_done(struct node_req *io, int ret)
{
    struct qop *op = io->opaque;

    if (ret < 0) {
        op_finish(op, ret);
    } else {
        read_advance(op);
    }
}

static void copy_unpacked(struct qop *op, const uint8_t *bytes)
{
    node_iov_from_buf(op->r->iov, op->r->iovcnt, op->at, bytes + in_cluster(op->s, guest_at(op)),
                      op->piece);
}

static void unpack_run(struct node_work *w)
{
    struct qop *op = container_of(w, struct qop, work);

    op->ret = unpack_cluster(op->s->h.compression == 1, op->head_buf, op->s->cluster_size,
                             op->packed, op->packed_len);
}

static void unpack_done(struct node_work *w)
{
    struct qop *op = container_of(w, struct qop, work);
    struct qcow2 *s = op->s;
    int ret = op->ret;

    op->ret = 0;
    free(op->packed);
    op->packed = NULL;
    if (ret < 0) {
        op_finish(op, ret);
        return;
    }
    copy_unpacked(op, op->head_buf);
    free(s->unpacked);
    s->unpacked = op->head_buf;
    s->unpacked_entry = op->entry;
    op->head_buf = NULL;
    read_advance(op);
}

static void packed_read(struct node_req *io, int ret)
{
    struct qop *op = io->opaque;

    if (ret < 0) {
        op_finish(op, ret);
        return;
    }
    /* Whole sectors were read; the cluster may begin inside the first. */
    uint64_t at;
    uint32_t len;
    qcow2_compressed_place(op->s, op->entry, &at, &len);
    memmove(op->packed, op->packed + (at & 511), len);
    op->packed_len = len;
    op->work = (struct node_work){ .run = unpack_run, .done = unpack_done };
    node_ctx_work(op->s->node.ctx, &op->work);
}

/* These four return whether the piece is there already. */
static bool read_compressed(struct qop *op, uint64_t entry)
{
    struct qcow2 *s = op->s;
    uint64_t at;
    uint32_t len;

    if (s->unpacked && entry == s->unpacked_entry) {
        copy_unpacked(op, s->unpacked);
        return true;
    }
    qcow2_compressed_place(s, entry, &at, &len);
    len += (uint32_t)(at & 511);
    at &= ~511ull;
    op->entry = entry;
    op->packed = malloc(len);
    op->head_buf = malloc(s->cluster_size);
    if (!op->packed || !op->head_buf) {
        op_finish(op, -ENOMEM);
        return false;
    }
    op->one = (struct iovec){ op->packed, len };
    io_start(op, s->node.file, NODE_READ, at, &op->one, 1, len, packed_read);
    return false;
}

static bool read_zeros(struct qop *op)
{
    node_iov_zero(op->r->iov, op->r->iovcnt, op->at, op->piece);
    return true;
}

static bool read_from(struct qop *op, struct node *from, uint64_t offset)
{
    int n, ret;

    if (op->piece == op->r->len) {
        io_start(op, from, NODE_READ, offset, op->r->iov, op->r->iovcnt, op->piece,
                 read_child_done);
        return false;
    }
    ret = piece_iov(op, op->piece, &n);
    if (ret < 0) {
        op_finish(op, ret);
    } else {
        io_start(op, from, NODE_READ, offset, op->iov + 1, n, op->piece, read_child_done);
    }
    return false;
}

static bool read_backing(struct qop *op)
{
    struct node *b = op->s->node.backing;
    uint64_t guest = guest_at(op);

    if (!b || guest >= b->len) {
        return read_zeros(op);
    }
    op->piece = min_u64(op->piece, b->len - guest);
    return read_from(op, b, guest);
}

static bool read_piece(struct qop *op, const struct mapping *m)
{
    op->piece = m->len;
    switch (m->kind) {
    case CLUSTER_NORMAL:
        return read_from(op, op->s->data, m->host);
    case CLUSTER_COMPRESSED:
        return read_compressed(op, m->entry.place);
    case CLUSTER_ZERO:
        return read_zeros(op);
    default:
        return read_backing(op);
    }
}

static void read_map(struct qop *op)
{
    struct mapping m;
    int ret;

    op->step = read_map;
    while (left(op)) {
        ret = map_range(op, guest_at(op), left(op), &m);
        if (ret < 0) {
            if (ret != -EAGAIN) {
                op_finish(op, ret);
            }
            return;
        }
        if (!read_piece(op, &m)) {
            return;
        }
        op->at += op->piece;
    }
    op_finish(op, 0);
}

/* ---- status and flush ---- */

static void status_step(struct qop *op)
{
    struct qcow2 *s = op->s;
    struct node_status *st = &op->r->status;
    struct mapping m;
    int ret = map_range(op, guest_at(op), left(op), &m);

    if (ret < 0) {
        if (ret != -EAGAIN) {
            op_finish(op, ret);
        }
        return;
    }
    static const unsigned flags[] = {
        [CLUSTER_NONE] = 0,
        [CLUSTER_ZERO] = NODE_IS_ZERO | NODE_ALLOCATED,
        [CLUSTER_NORMAL] = NODE_HAS_DATA | NODE_ALLOCATED,
        [CLUSTER_COMPRESSED] = NODE_HAS_DATA | NODE_ALLOCATED | NODE_COMPRESSED,
    };
    *st = (struct node_status){ .len = m.len, .flags = flags[m.kind] };
    if (m.kind == CLUSTER_NONE && !s->node.backing) {
        st->flags = NODE_IS_ZERO;
    }
    if (m.placed &&
        !s->h.crypt_offset) { /* unless it is data, room it keeps: the bytes there do not count */
        st->flags |= NODE_MAPPED;
        st->mapped = m.host;
    }
    op_finish(op, 0);
}

static void flush_done(struct qop *op)
{
    op_finish(op, op->ret);
}

/* ---- entry ---- */

static void start_locked(struct qop *op, bool exclusive, void (*step)(struct qop *))
{
    op->step = step;
    if (lock_range(op, exclusive)) {
        step(op);
    }
}

static bool changes(const struct node_req *r)
{
    return r->op == NODE_WRITE || r->op == NODE_ZERO || r->op == NODE_DISCARD;
}

static void op_write(struct qop *op)
{
    struct qcow2 *s = op->s;
    const struct node_req *r = op->r;

    if (!(r->flags & NODE_COMPRESS)) {
        start_locked(op, false, write_map);
    } else if (s->external || s->crypt) {
        op_finish(op, -ENOTSUP);
    } else if (whole_clusters(s, r->offset, r->len)) {
        start_locked(op, true, pack_start);
    } else {
        op_finish(op, -EINVAL);
    }
}

static void op_begin(struct qop *op)
{
    struct qcow2 *s = op->s;

    op->step = op_begin;
    if (op->ret < 0) {
        op_finish(op, op->ret);
        return;
    }
    if (s->unclaimed && changes(op->r) && !op->borrowed) {
        qcow2_bitmaps_claim_for(s, op);
        return;
    }
    switch (op->r->op) {
    case NODE_READ:
        start_locked(op, false, read_map);
        break;
    case NODE_WRITE:
        op_write(op);
        break;
    case NODE_ZERO:
    case NODE_DISCARD:
        start_locked(op, true, erase_start);
        break;
    case NODE_STATUS:
        op->step = status_step;
        status_step(op);
        break;
    default:
        op->step = flush_done;
        if (s->node.read_only) {
            flush_done(op);
        } else {
            qcow2_commit(s, op);
        }
    }
}

static void op_start(struct qcow2 *s, struct node_req *r, bool borrowed)
{
    struct qop *op = malloc(sizeof(*op)); /* calloc passes malloc's cache by */

    if (!op) {
        node_complete(r, -ENOMEM);
        return;
    }
    *op = (struct qop){ .s = s, .r = r, .borrowed = borrowed };
    if (!s->data && r->op != NODE_STATUS && r->op != NODE_FLUSH) {
        op_finish(op, -ENOMEDIUM); /* its data file or key was not given */
        return;
    }
    op_begin(op);
}

/* A read of one piece that needs no waiting. Whoever holds a range alone may change what is there. */
static bool read_now(struct qcow2 *s, const struct node_req *r)
{
    struct mapping m;

    if (s->locks.alone || !s->data || !map_at_hand(s, r->offset, r->len, &m) || m.len < r->len) {
        return false;
    }
    if (m.kind == CLUSTER_NORMAL) {
        return node_read_now(s->data, m.host, r->iov, r->iovcnt, r->len);
    }
    if (!reads_zero(s, m.kind, r->offset)) {
        return false;
    }
    node_iov_zero(r->iov, r->iovcnt, 0, r->len);
    return true;
}

void qcow2_submit(struct node *n, struct node_req *r)
{
    struct qcow2 *s = (struct qcow2 *)n;

    if (r->op == NODE_READ && read_now(s, r)) {
        node_complete(r, 0);
    } else {
        op_start(s, r, false);
    }
}
