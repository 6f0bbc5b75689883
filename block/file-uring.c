/* SPDX-License-Identifier: MIT */
/* block/file-uring.c - reads, writes, flushes, zeros and discards of files through io_uring.
 *
 * All files of a context share one ring. What a turn of the context collected goes to the kernel in
 * one call; completions come with the context's eventfd. A thread does what the ring cannot end by
 * itself: the rest of a short transfer, zeros that the file system has no call for, and whatever the
 * kernel did not take or gave back (EAGAIN, EINTR, and ECANCELED when the thread that handed it over
 * has ended).
 *
 * A flush covers each request that had completed when it was submitted, so the ring needs no order.
 */
#include "block/file-int.h"

#include "block/node-int.h"
#include "dm/base/util.h"

#include <errno.h>
#include <liburing.h>
#include <limits.h>
#include <linux/falloc.h>
#include <stdlib.h>

enum {
    RING_ENTRIES = 128,
    RING_REAP = 64,
    RING_BYTES = 1 << 30, /* of one request: the kernel's counts are of 32 bits */
};

struct ring {
    struct io_uring io;
    struct node_ctx *ctx;
    struct node_poller poller;
    struct file_list collected;
    unsigned in_flight; /* with the kernel, or about to be */
};

/* ---- handing over ---- */

static void prepare_transfer(struct io_uring_sqe *sqe, const struct file_op *op)
{
    const struct node_req *r = op->r;

    if (r->op == NODE_READ) {
        io_uring_prep_readv(sqe, op->f->fd, op->iov, (unsigned)op->iovcnt, r->offset);
    } else {
        io_uring_prep_writev(sqe, op->f->fd, op->iov, (unsigned)op->iovcnt, r->offset);
    }
}

static void prepare(struct io_uring_sqe *sqe, struct file_op *op)
{
    const struct node_req *r = op->r;

    if (r->op == NODE_FLUSH || op->syncing) {
        io_uring_prep_fsync(sqe, op->f->fd, IORING_FSYNC_DATASYNC);
    } else if (r->op == NODE_READ || r->op == NODE_WRITE) {
        prepare_transfer(sqe, op);
    } else {
        bool punch = r->op == NODE_DISCARD || (r->flags & NODE_UNMAP);
        io_uring_prep_fallocate(sqe, op->f->fd,
                                punch ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
                                      : FALLOC_FL_ZERO_RANGE,
                                (off_t)r->offset, (off_t)r->len);
    }
    io_uring_sqe_set_data(sqe, op);
}

/* The kernel does not want what is in the submission queue: threads take it. */
static void ring_withdraw(struct ring *g)
{
    struct io_uring_sq *sq = &g->io.sq;
    unsigned head = __atomic_load_n(sq->khead, __ATOMIC_ACQUIRE), tail = sq->sqe_tail;

    sq->sqe_head = sq->sqe_tail = head;
    __atomic_store_n(sq->ktail, head, __ATOMIC_RELEASE);
    for (unsigned i = head; i != tail; i++) {
        g->in_flight--;
        file_to_thread((void *)(uintptr_t)sq->sqes[i & *sq->kring_mask].user_data);
    }
}

static void ring_fill(struct ring *g)
{
    struct io_uring_sqe *sqe;

    while (g->collected.head && (sqe = io_uring_get_sqe(&g->io))) {
        struct file_op *op = file_list_take(&g->collected);

        g->in_flight++;
        prepare(sqe, op);
    }
}

static void ring_send(void *opaque)
{
    struct ring *g = opaque;

    for (;;) {
        bool may = !g->collected.head || file_may_send(g->collected.head->f);
        int ret;

        ring_fill(g);
        if (!io_uring_sq_ready(&g->io)) {
            return;
        }
        ret = may ? io_uring_submit(&g->io) : -EAGAIN;
        if (ret <= 0 && ret != -EINTR) {
            ring_withdraw(g);
        }
    }
}

/* ---- taking back ---- */

static bool given_back(int res)
{
    return res == -EAGAIN || res == -EINTR || res == -ECANCELED;
}

static void transfer_ended(struct file_op *op, int res)
{
    if (res < 0) {
        file_end(op, res);
    } else if ((uint64_t)res != op->r->len) {
        op->at = (uint64_t)res;
        file_to_thread(op);
    } else if (op->r->op == NODE_WRITE && op->f->sync_writes) {
        op->at = op->r->len; /* should a thread have to end it */
        op->syncing = true;
        file_list_add(&op->f->ring->collected, op);
        node_ctx_collected(op->f->base.ctx);
    } else {
        file_end(op, 0);
    }
}

static void ring_ended(struct file_op *op, int res)
{
    struct file *f = op->f;

    f->ring->in_flight--;
    res = (int)file_heard(f, res);
    if (given_back(res)) {
        file_to_thread(op);
    } else if (op->r->op == NODE_FLUSH || op->syncing) {
        if (res < 0) {
            file_flush_failed(f, res);
        }
        file_end(op, res);
    } else if (op->r->op == NODE_READ || op->r->op == NODE_WRITE) {
        transfer_ended(op, res);
    } else if (res < 0) {
        file_to_thread(op); /* which knows other ways */
    } else {
        file_end(op, 0);
    }
}

/* Copies and frees the entries first: what ends a request may come back here. */
static unsigned ring_reap(struct ring *g)
{
    struct io_uring_cqe *cqes[RING_REAP];
    struct file_op *ops[RING_REAP];
    int res[RING_REAP];
    unsigned n = io_uring_peek_batch_cqe(&g->io, cqes, RING_REAP);

    for (unsigned i = 0; i < n; i++) {
        ops[i] = io_uring_cqe_get_data(cqes[i]);
        res[i] = cqes[i]->res;
    }
    io_uring_cq_advance(&g->io, n);
    for (unsigned i = 0; i < n; i++) {
        ring_ended(ops[i], res[i]);
    }
    return n;
}

static bool ring_poll(void *opaque, bool block)
{
    struct ring *g = opaque;
    bool any = false;

    (void)block;
    while (g->in_flight && ring_reap(g)) {
        any = true;
    }
    return any;
}

/* ---- the engine ---- */

/* A file that may get longer by it is a thread's, which knows how long it is. */
static bool fallocates(const struct file_op *op)
{
    const struct file *f = op->f;
    const struct node_req *r = op->r;

    return !f->block_device && !f->sync_writes && r->offset + r->len <= f->base.len &&
           !__atomic_load_n(r->flags & NODE_UNMAP ? &f->no_punch : &f->no_zero_range,
                            __ATOMIC_RELAXED);
}

static bool ring_queue(struct file_op *op)
{
    struct file *f = op->f;

    switch (op->r->op) {
    case NODE_READ:
    case NODE_WRITE:
        if (op->iovcnt > IOV_MAX || op->r->len > RING_BYTES) {
            return false;
        }
        op->at = 0; /* it reads again what the page cache had */
        break;
    case NODE_FLUSH:
        if (file_lost(f)) {
            return false;
        }
        break;
    case NODE_DISCARD:
    case NODE_ZERO:
        if (!fallocates(op)) {
            return false;
        }
        break;
    default:
        return false;
    }
    file_list_add(&f->ring->collected, op);
    node_ctx_collected(f->base.ctx);
    return true;
}

static int ring_new(struct node_ctx *c, struct ring **out)
{
    struct ring *g = xcalloc(1, sizeof(*g));
    int ret = io_uring_queue_init(RING_ENTRIES, &g->io, 0);

    if (ret < 0) {
        free(g);
        return ret;
    }
    ret = io_uring_register_eventfd(&g->io, node_ctx_eventfd(c));
    /* Before NODROP (5.5) completions could get lost; such kernels are too old for it. */
    ret = ret == 0 && !(g->io.features & IORING_FEAT_NODROP) ? -ENOSYS : ret;
    if (ret < 0) {
        io_uring_queue_exit(&g->io);
        free(g);
        return ret;
    }
    g->ctx = c;
    file_list_init(&g->collected);
    g->poller = (struct node_poller){ .poll = ring_poll, .send = ring_send, .opaque = g };
    node_ctx_add_poller(c, &g->poller);
    *out = g;
    return 0;
}

void ring_free(struct ring *g)
{
    if (g) {
        node_ctx_del_poller(g->ctx, &g->poller);
        io_uring_queue_exit(&g->io);
        free(g);
    }
}

int file_use_uring(struct file *f)
{
    static const struct file_engine engine = { "io_uring", ring_queue, NULL };
    struct ring **g = node_ctx_ring(f->base.ctx);
    int ret = *g ? 0 : ring_new(f->base.ctx, g);

    if (ret == 0) {
        f->ring = *g;
        f->engine = &engine;
    }
    return ret;
}
