/* SPDX-License-Identifier: MIT */
/* block/nbd-client.c - the protocol node "nbd": requests in flight on one connection.
 *
 * A request becomes one or more steps, each one NBD command. A step is sent at once by whoever
 * submits it as far as the socket takes it; what is left goes to the sender's thread. The
 * receiver's thread puts what comes straight into the request's buffers and ends the step; the
 * next step, or the request's completion, follows on the context's thread.
 *
 *   submit -> step_send -> [socket] -> receiver -> node_ctx_end -> step_done -> next step or done
 *
 * One lock guards the slots and the sender's queue. A step keeps its slot until it has ended, and
 * it ends only when the sender does not hold its buffers. When the connection is lost, or the server
 * breaks the protocol, all steps end with -EIO and later requests do so at once.
 *
 * With reconnect_s the receiver's thread connects again, every second: meanwhile (`lost`) steps queue
 * up, and those in flight go out once more, from their beginning, when a connection is there. When it
 * takes longer they end like that (`dead`), until it is there.
 */
#include "block/nbd-client-int.h"

#include "block/nbd-proto.h"
#include "block/tls.h"
#include "dm/base/bytes.h"
#include "dm/base/err.h"
#include "dm/base/ev.h"
#include "dm/base/log.h"
#include "dm/base/util.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* ---- sending ---- */

/* Sends what is left of op. 0: all gone. -EAGAIN only with MSG_DONTWAIT. */
static int send_rest(struct nbd *n, struct nbd_op *op, int flags)
{
    uint64_t data = op->with_data ? op->len : 0;
    struct iovec zeros = { n->zeros, op->len };
    bool zero = op->r->op == NODE_ZERO;

    while (op->sent < NBD_REQUEST_LEN + data) {
        struct iovec iov[IOV + 1];
        int cnt = 0;
        uint64_t at = op->sent < NBD_REQUEST_LEN ? 0 : op->sent - NBD_REQUEST_LEN;
        if (op->sent < NBD_REQUEST_LEN) {
            iov[cnt++] = (struct iovec){ op->head + op->sent, NBD_REQUEST_LEN - op->sent };
        }
        if (data) {
            cnt += node_iov_part(zero ? &zeros : op->r->iov, zero ? 1 : op->r->iovcnt,
                                 zero ? at : op->at + at, data - at, iov + cnt, IOV);
        }
        struct msghdr m = { .msg_iov = iov, .msg_iovlen = (size_t)cnt };
        ssize_t k = sendmsg(n->h.fd, &m, MSG_NOSIGNAL | flags);
        if (k < 0 && errno == EINTR) {
            continue;
        }
        if (k < 0) {
            return -errno;
        }
        op->sent += (uint64_t)k;
    }
    return 0;
}

static void *sender(void *opaque)
{
    struct nbd *n = opaque;

    pthread_mutex_lock(&n->lock);
    while (!n->stop) {
        struct nbd_op *op = n->lost ? NULL : n->queue;
        if (!op) {
            pthread_cond_wait(&n->changed, &n->lock);
            continue;
        }
        n->queue = op->next;
        if (!n->queue) {
            n->queue_tail = &n->queue;
        }
        n->sending = op;
        pthread_mutex_unlock(&n->lock);
        /* A failure shows at the receiver, who ends everything. */
        if (send_rest(n, op, 0) < 0) {
            shutdown(n->h.fd, SHUT_RDWR);
        }
        pthread_mutex_lock(&n->lock);
        n->sending = NULL;
        pthread_cond_broadcast(&n->changed);
    }
    pthread_mutex_unlock(&n->lock);
    return NULL;
}

static void step_command(struct nbd_op *op)
{
    const struct nbd *n = op->n;
    const struct node_req *r = op->r;
    bool can_zero = n->h.flags & NBD_SEND_WRITE_ZEROES;
    unsigned cmd = NBD_CMD_READ, flags = 0;
    uint64_t max = RANGE_STEP;

    op->with_data = false;
    if (r->op == NODE_FLUSH || op->flush) {
        cmd = NBD_CMD_FLUSH;
    } else if (r->op == NODE_READ) {
        max = n->h.max_data;
    } else if (r->op == NODE_DISCARD) {
        cmd = NBD_CMD_TRIM;
    } else if (r->op == NODE_STATUS) {
        cmd = NBD_CMD_BLOCK_STATUS;
        flags = NBD_CMD_REQ_ONE;
    } else if (r->op == NODE_ZERO && can_zero) {
        cmd = NBD_CMD_WRITE_ZEROES;
        flags = r->flags & NODE_UNMAP ? 0 : NBD_CMD_NO_HOLE;
    } else {
        cmd = NBD_CMD_WRITE;
        max = r->op == NODE_ZERO ? min_u64(ZERO_STEP, n->h.max_data) : n->h.max_data;
        op->with_data = true;
    }
    if (n->sync_writes && (cmd == NBD_CMD_WRITE || cmd == NBD_CMD_WRITE_ZEROES) &&
        (n->h.flags & NBD_SEND_FUA)) {
        flags |= NBD_CMD_FUA;
    }
    /* The last sector may reach beyond an export whose size is no multiple of 512. */
    uint64_t from = r->offset + op->at, room = n->h.size > from ? n->h.size - from : 0;
    op->len = cmd == NBD_CMD_FLUSH ? 0 : min_u64(min_u64(r->len - op->at, max), room);
    store_be32(op->head, NBD_REQUEST_MAGIC);
    store_be16(op->head + 4, (uint16_t)flags);
    store_be16(op->head + 6, (uint16_t)cmd);
    store_be64(op->head + 8, op->slot);
    store_be64(op->head + 16, cmd == NBD_CMD_FLUSH ? 0 : from);
    store_be32(op->head + 24, (uint32_t)op->len);
}

/* A free slot is op's. */
static void step_send(struct nbd_op *op)
{
    struct nbd *n = op->n;

    op->sent = op->have = 0;
    op->ended = false;
    op->next = NULL;
    op->ret = 0;
    node_ctx_begin(n->base.ctx, &op->work);
    pthread_mutex_lock(&n->lock);
    for (op->slot = 0; n->slot[op->slot]; op->slot++) {
    }
    step_command(op);
    if (n->dead) {
        op->ret = -EIO;
        pthread_mutex_unlock(&n->lock);
        node_ctx_end(&op->work);
        return;
    }
    n->slot[op->slot] = op;
    n->used++;
    if (n->lost || n->queue || n->sending || send_rest(n, op, MSG_DONTWAIT) < 0) {
        *n->queue_tail = op;
        n->queue_tail = &op->next;
        pthread_cond_broadcast(&n->changed);
    }
    pthread_mutex_unlock(&n->lock);
}

/* ---- losing a connection ---- */

/* Everything that waits ends with an error. */
static void fail_all(struct nbd *n)
{
    struct nbd_op *gone[SLOTS];

    pthread_mutex_lock(&n->lock);
    n->dead = true;
    n->queue = NULL;
    n->queue_tail = &n->queue;
    memcpy(gone, n->slot, sizeof(gone));
    memset(n->slot, 0, sizeof(n->slot));
    n->used = 0;
    pthread_mutex_unlock(&n->lock);
    for (int i = 0; i < SLOTS; i++) {
        if (gone[i]) {
            gone[i]->ret = -EIO;
            node_ctx_end(&gone[i]->work);
        }
    }
}

/* Nothing is sent any more when it returns. */
static void lose(struct nbd *n, int ret)
{
    shutdown(n->h.fd, SHUT_RDWR);
    pthread_mutex_lock(&n->lock);
    n->lost = true;
    if (!n->stop) {
        log_msg(LOG_WARN, "nbd", "%s: the connection is lost: %s", n->base.filename,
                strerror(-ret));
    }
    while (n->sending) {
        pthread_cond_wait(&n->changed, &n->lock);
    }
    pthread_mutex_unlock(&n->lock);
}

/* A second later, or as soon as the node is closed. */
static void wait_second(struct nbd *n)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    pthread_mutex_lock(&n->lock);
    while (!n->stop && pthread_cond_timedwait(&n->changed, &n->lock, &until) == 0) {
    }
    pthread_mutex_unlock(&n->lock);
}

/* The new connection takes the old one's place; steps in flight begin again. */
static void found_again(struct nbd *n)
{
    pthread_mutex_lock(&n->lock);
    close(n->h.fd);
    n->h.fd = n->next.fd;
    n->h.context = n->next.context; /* all else is the same */
    n->queue = NULL;
    n->queue_tail = &n->queue;
    for (int i = 0; i < SLOTS; i++) {
        struct nbd_op *op = n->slot[i];
        if (op) {
            op->sent = op->have = 0;
            op->ended = false;
            op->ret = 0;
            op->next = NULL;
            *n->queue_tail = op;
            n->queue_tail = &op->next;
        }
    }
    n->lost = n->dead = false;
    pthread_cond_broadcast(&n->changed);
    pthread_mutex_unlock(&n->lock);
    log_msg(LOG_INFO, "nbd", "%s: connected again", n->base.filename);
}

/* Steps that were laid out for the old connection have to fit the new one. */
static bool same_export(const struct nbd *n)
{
    return n->next.size == n->h.size && n->next.flags == n->h.flags &&
           n->next.status == n->h.status && n->next.structured == n->h.structured &&
           n->next.max_data >= n->h.max_data;
}

/* Until there is a connection; false: the node is closed. */
static bool reconnect(struct nbd *n)
{
    int64_t until = ev_now_ns() + n->how.reconnect_s * 1000000000ll;
    struct err e = { 0 };

    while (!__atomic_load_n(&n->stop, __ATOMIC_RELAXED)) {
        struct nbd_hello h;
        if (nbd_connect(n->base.filename, &n->how, &h, &e) == 0) {
            n->next = h;
            if (same_export(n)) {
                found_again(n);
                return true;
            }
            log_msg(LOG_WARN, "nbd", "%s: the export is another one now", n->base.filename);
            close(h.fd);
        }
        if (!n->dead && ev_now_ns() >= until) {
            fail_all(n);
        }
        wait_second(n);
    }
    return false;
}

static void *receiver(void *opaque)
{
    struct nbd *n = opaque;
    bool again;

    do {
        int ret = 0;
        while (ret == 0) {
            ret = nbd_receive(n);
        }
        lose(n, ret);
        again = n->how.reconnect_s && reconnect(n);
    } while (again);
    fail_all(n);
    return NULL;
}

/* ---- requests ---- */

static bool slot_free(struct nbd *n)
{
    pthread_mutex_lock(&n->lock);
    bool is = n->used < SLOTS;
    pthread_mutex_unlock(&n->lock);
    return is;
}

static void start(struct nbd_op *op)
{
    struct nbd *n = op->n;

    if (n->waiting || !slot_free(n)) {
        op->next = NULL;
        *n->waiting_tail = op;
        n->waiting_tail = &op->next;
        return;
    }
    step_send(op);
}

static void start_waiting(struct nbd *n)
{
    while (n->waiting && slot_free(n)) {
        struct nbd_op *op = n->waiting;
        n->waiting = op->next;
        if (!n->waiting) {
            n->waiting_tail = &n->waiting;
        }
        step_send(op);
    }
}

static bool changes(const struct node_req *r)
{
    return r->op == NODE_WRITE || r->op == NODE_ZERO;
}

/* A step has ended: the next, or the end. */
static void step_done(struct node_work *w)
{
    struct nbd_op *op = (struct nbd_op *)w;
    struct nbd *n = op->n;
    struct node_req *r = op->r;
    bool clipped = op->len % NODE_ALIGN; /* by the export's end */
    bool whole = op->at + op->len >= r->len || r->op == NODE_STATUS || op->flush || clipped;

    if (op->ret == 0 && !whole) {
        op->at += op->len;
        start(op);
    } else if (op->ret == 0 && n->sync_writes && changes(r) && !op->flush &&
               !(n->h.flags & NBD_SEND_FUA) && (n->h.flags & NBD_SEND_FLUSH)) {
        op->flush = true;
        start(op);
    } else {
        int ret = op->ret;
        if (ret == 0 && r->op == NODE_READ && op->at + op->len < r->len) {
            node_iov_zero(r->iov, r->iovcnt, op->at + op->len, r->len - op->at - op->len);
        }
        free(op);
        node_complete(r, ret);
    }
    start_waiting(n);
}

static void nbd_submit(struct node *node, struct node_req *r)
{
    struct nbd *n = (struct nbd *)node;
    struct nbd_op *op;

    if (r->op == NODE_STATUS && !n->h.status) {
        r->status = (struct node_status){ .len = r->len,
                                          .flags = NODE_HAS_DATA | NODE_ALLOCATED | NODE_MAPPED,
                                          .mapped = r->offset };
        node_complete(r, 0);
        return;
    }
    if ((r->op == NODE_FLUSH && (n->ignore_flush || !(n->h.flags & NBD_SEND_FLUSH))) ||
        (r->op == NODE_DISCARD && !(n->h.flags & NBD_SEND_TRIM))) {
        node_complete(r, 0);
        return;
    }
    op = calloc(1, sizeof(*op));
    if (!op) {
        node_complete(r, -ENOMEM);
        return;
    }
    op->n = n;
    op->r = r;
    op->work.done = step_done;
    start(op);
}

static int nbd_close(struct node *node)
{
    struct nbd *n = (struct nbd *)node;
    uint8_t bye[NBD_REQUEST_LEN] = { 0 };

    pthread_mutex_lock(&n->lock);
    __atomic_store_n(&n->stop, true, __ATOMIC_RELAXED);
    store_be32(bye, NBD_REQUEST_MAGIC);
    store_be16(bye + 6, NBD_CMD_DISC);
    if (!n->dead && !n->lost) {
        send(n->h.fd, bye, sizeof(bye), MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    shutdown(n->h.fd, SHUT_RDWR);
    pthread_cond_broadcast(&n->changed);
    pthread_mutex_unlock(&n->lock);
    pthread_join(n->sender, NULL);
    pthread_join(n->receiver, NULL);
    pthread_mutex_destroy(&n->lock);
    pthread_cond_destroy(&n->changed);
    close(n->h.fd);
    tls_creds_free(n->how.tls);
    free(n->tls_host);
    free(n->zeros);
    free(n);
    return 0;
}

static const struct node_ops nbd_ops = { .name = "nbd", .submit = nbd_submit, .close = nbd_close };

/* Signals stay with the threads that were there before. */
static int start_threads(struct nbd *n)
{
    sigset_t all, old;
    int ret;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    ret = pthread_create(&n->sender, NULL, sender, n);
    if (ret == 0) {
        ret = pthread_create(&n->receiver, NULL, receiver, n);
        if (ret) {
            pthread_mutex_lock(&n->lock);
            n->stop = true;
            pthread_cond_broadcast(&n->changed);
            pthread_mutex_unlock(&n->lock);
            pthread_join(n->sender, NULL);
        }
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -ret;
}

/* A server that is not there yet is waited for, if it was asked for. */
static int first_connection(const struct nbd_open *o, struct nbd_hello *h, struct err *e)
{
    int64_t until = ev_now_ns() + o->how.open_s * 1000000000ll;
    int ret = nbd_connect(o->address, &o->how, h, e);

    while (ret < 0 && ret != -EINVAL && ev_now_ns() < until) {
        usleep(100000);
        ret = nbd_connect(o->address, &o->how, h, e);
    }
    return ret;
}

struct node *nbd_open(struct node_ctx *c, const struct nbd_open *o, struct err *e)
{
    struct nbd *n = xcalloc(1, sizeof(*n));
    int ret = first_connection(o, &n->h, e);

    if (ret == 0 && !o->read_only && (n->h.flags & NBD_READ_ONLY)) {
        ret = err_set(e, -EROFS, "'%s': the export is read-only", o->address);
    }
    pthread_mutex_init(&n->lock, NULL);
    pthread_cond_init(&n->changed, NULL);
    n->base.ops = &nbd_ops;
    n->base.ctx = c;
    n->base.read_only = o->read_only;
    n->base.len = (n->h.size + NODE_ALIGN - 1) & ~(uint64_t)(NODE_ALIGN - 1);
    n->base.filename = xstrdup(o->address);
    n->how = o->how;
    n->how.tls = o->how.tls ? tls_creds_share(o->how.tls) : NULL;
    n->how.tls_host = n->tls_host = o->how.tls_host ? xstrdup(o->how.tls_host) : NULL;
    n->sync_writes = o->sync_writes;
    n->ignore_flush = o->ignore_flush;
    n->waiting_tail = &n->waiting;
    n->queue_tail = &n->queue;
    n->zeros = n->h.flags & NBD_SEND_WRITE_ZEROES ? NULL : xcalloc(1, ZERO_STEP);
    if (ret == 0 && (ret = start_threads(n)) < 0) {
        err_set(e, ret, "'%s': no thread: %s", o->address, strerror(-ret));
    }
    if (ret < 0) {
        if (n->h.fd >= 0) {
            close(n->h.fd);
        }
        tls_creds_free(n->how.tls);
        free(n->tls_host);
        free(n->zeros);
        free(n->base.filename);
        free(n);
        return NULL;
    }
    return &n->base;
}
