/* SPDX-License-Identifier: MIT */
/* block/file-aio.c - reads and writes of a file opened O_DIRECT through libaio.
 *
 * What a turn of the context collected goes to the kernel in one call; completions come with the
 * context's eventfd. What the kernel does not take at once a thread does: it has no room for more,
 * or no memory.
 */
#include "block/file-int.h"

#include <errno.h>
#include <limits.h>

enum { AIO_DEPTH = 128 };

static bool aio_queue(struct file_op *op)
{
    struct file *f = op->f;

    if ((op->r->op != NODE_READ && op->r->op != NODE_WRITE) || op->iovcnt > IOV_MAX ||
        f->sync_writes) {
        return false;
    }
    if (op->r->op == NODE_READ) {
        io_prep_preadv(&op->cb, f->fd, op->iov, op->iovcnt, (long long)op->r->offset);
    } else {
        io_prep_pwritev(&op->cb, f->fd, op->iov, op->iovcnt, (long long)op->r->offset);
    }
    io_set_eventfd(&op->cb, node_ctx_eventfd(f->base.ctx));
    op->cb.data = op;
    file_list_add(&f->aio.collected, op);
    node_ctx_collected(f->base.ctx);
    return true;
}

static int aio_submit(struct file *f)
{
    struct iocb *list[AIO_DEPTH];
    long n = 0;

    for (struct file_op *op = f->aio.collected.head; op && n < AIO_DEPTH; op = op->next) {
        list[n++] = &op->cb;
    }
    return file_may_send(f) ? io_submit(f->aio.context, n, list) : -EAGAIN;
}

static void aio_send(void *opaque)
{
    struct file *f = opaque;

    while (f->aio.collected.head) {
        int ret = aio_submit(f);

        if (ret == -EINTR) {
            continue;
        }
        if (ret <= 0) {
            file_to_thread(file_list_take(&f->aio.collected));
        }
        for (int i = 0; i < ret; i++) {
            file_list_take(&f->aio.collected);
            f->aio.in_flight++;
        }
    }
}

static void aio_ended(struct file_op *op, long res)
{
    op->f->aio.in_flight--;
    res = file_heard(op->f, res);
    if (res == -EAGAIN || res == -EINTR) {
        file_to_thread(op);
    } else if (res < 0) {
        file_end(op, (int)res);
    } else if ((uint64_t)res == op->r->len) {
        file_end(op, 0);
    } else {
        /* Short: the end of the file, or a transfer to be continued. A worker sees to both. */
        op->at = (uint64_t)res;
        file_to_thread(op);
    }
}

static bool aio_poll(void *opaque, bool block)
{
    struct file *f = opaque;
    struct io_event events[AIO_DEPTH];
    struct timespec now = { 0 };
    int n;

    (void)block;
    if (!f->aio.in_flight) {
        return false;
    }
    do {
        n = io_getevents(f->aio.context, 0, AIO_DEPTH, events, &now);
    } while (n == -EINTR);
    for (int i = 0; i < n; i++) {
        aio_ended(events[i].data, (long)events[i].res);
    }
    return n > 0;
}

static void aio_close(struct file *f)
{
    node_ctx_del_poller(f->base.ctx, &f->aio.poller);
    io_destroy(f->aio.context);
}

int file_use_aio(struct file *f)
{
    static const struct file_engine engine = { "native", aio_queue, aio_close };
    int ret = io_setup(AIO_DEPTH, &f->aio.context);

    if (ret < 0) {
        return ret;
    }
    file_list_init(&f->aio.collected);
    f->engine = &engine;
    f->aio.poller = (struct node_poller){ .poll = aio_poll, .send = aio_send, .opaque = f };
    node_ctx_add_poller(f->base.ctx, &f->aio.poller);
    return 0;
}
