/* SPDX-License-Identifier: MIT */
/* block/nbd-receive.c - what an NBD server answers, straight into the buffers of who asked. A server may send
 * anything: what no request waits for ends the connection.
 */
#include "block/nbd-client-int.h"

#include "dm/base/bytes.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static int get(struct nbd *n, void *buf, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t k = recv(n->h.fd, (char *)buf + at, len - at, 0);
        if (k < 0 && errno == EINTR) {
            continue;
        }
        if (k <= 0) {
            return k < 0 ? -errno : -ECONNRESET;
        }
        at += (size_t)k;
    }
    return 0;
}

/* len bytes into the read's buffers, from byte `at` of the step on. */
static int get_data(struct nbd *n, struct nbd_op *op, uint64_t at, uint64_t len)
{
    while (len) {
        struct iovec iov[IOV];
        int cnt = node_iov_part(op->r->iov, op->r->iovcnt, op->at + at, len, iov, IOV);
        struct msghdr m = { .msg_iov = iov, .msg_iovlen = (size_t)cnt };
        ssize_t k = recvmsg(n->h.fd, &m, 0);
        if (k < 0 && errno == EINTR) {
            continue;
        }
        if (k <= 0) {
            return k < 0 ? -errno : -ECONNRESET;
        }
        at += (uint64_t)k;
        len -= (uint64_t)k;
    }
    return 0;
}

static int skip(struct nbd *n, uint32_t len)
{
    char buf[512];
    int ret = 0;

    while (len && ret == 0) {
        uint32_t k = len < sizeof(buf) ? len : (uint32_t)sizeof(buf);
        ret = get(n, buf, k);
        len -= k;
    }
    return ret;
}

static int wire_error(uint32_t v)
{
    static const int known[] = {
        EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN
    };

    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        if ((uint32_t)known[i] == v) { /* the wire's numbers are Linux's */
            return -known[i];
        }
    }
    return v ? -EIO : 0;
}

/* Who waits for this handle. It stays in its slot; its buffers are not being sent from. */
static struct nbd_op *find_op(struct nbd *n, uint64_t handle)
{
    struct nbd_op *op = NULL;

    pthread_mutex_lock(&n->lock);
    if (handle < SLOTS) {
        op = n->slot[handle];
    }
    while (op && n->sending == op) {
        pthread_cond_wait(&n->changed, &n->lock);
    }
    for (const struct nbd_op *q = n->queue; op && q; q = q->next) {
        op = q == op ? NULL : op; /* answered before it was asked */
    }
    pthread_mutex_unlock(&n->lock);
    return op;
}

static void end_op(struct nbd *n, struct nbd_op *op)
{
    pthread_mutex_lock(&n->lock);
    n->slot[op->slot] = NULL;
    n->used--;
    pthread_mutex_unlock(&n->lock);
    node_ctx_end(&op->work);
}

static bool is_read(const struct nbd_op *op)
{
    return op->r->op == NODE_READ && !op->flush;
}

/* base:allocation: the first extent alone is of interest. */
static int take_status(struct nbd *n, struct nbd_op *op, uint32_t len)
{
    uint8_t ext[12];
    int ret;

    if (op->r->op != NODE_STATUS || len < sizeof(ext) || len % 8 != 4 || len > MAX_STATUS) {
        return -EPROTO;
    }
    ret = get(n, ext, sizeof(ext));
    ret = ret < 0 ? ret : skip(n, len - (uint32_t)sizeof(ext));
    if (ret < 0 || load_be32(ext) != n->h.context) {
        return ret;
    }
    struct node_status *st = &op->r->status;
    uint32_t flags = load_be32(ext + 8), bytes = load_be32(ext + 4);
    bool whole = bytes >= op->len; /* then it holds for the sector beyond the end, too */
    st->len = whole ? op->r->len - op->at : bytes & ~(uint32_t)(NODE_ALIGN - 1);
    st->len = min_u64(st->len, RANGE_STEP);
    st->flags = NODE_ALLOCATED | NODE_MAPPED | (flags & NBD_STATE_HOLE ? 0 : NODE_HAS_DATA) |
                (flags & NBD_STATE_ZERO ? NODE_IS_ZERO : 0);
    if (!st->len || !(st->flags & (NODE_HAS_DATA | NODE_IS_ZERO))) {
        st->len = max_u64(st->len, NODE_ALIGN);
        st->flags = NODE_ALLOCATED | NODE_MAPPED | NODE_HAS_DATA;
    }
    st->mapped = op->r->offset;
    op->have = op->len;
    return 0;
}

static int take_chunk(struct nbd *n, struct nbd_op *op, unsigned type, uint32_t len)
{
    uint8_t buf[12];
    int ret;

    if (type & 0x8000) {
        ret = len < 6 ? -EPROTO : get(n, buf, 6);
        if (ret == 0 && op->ret == 0) {
            op->ret = wire_error(load_be32(buf));
            op->ret = op->ret ? op->ret : -EIO;
        }
        return ret < 0 ? ret : skip(n, len - 6);
    }
    switch (type) {
    case NBD_CHUNK_NONE:
        return len ? -EPROTO : 0;
    case NBD_CHUNK_STATUS:
        return take_status(n, op, len);
    case NBD_CHUNK_DATA:
    case NBD_CHUNK_HOLE:
        break;
    default:
        return -EPROTO;
    }
    bool hole = type == NBD_CHUNK_HOLE;
    if (!is_read(op) || (hole ? len != 12 : len <= 8)) {
        return -EPROTO;
    }
    ret = get(n, buf, hole ? 12 : 8);
    if (ret < 0) {
        return ret;
    }
    uint64_t at = load_be64(buf) - (op->r->offset + op->at);
    uint64_t bytes = hole ? load_be32(buf + 8) : len - 8;
    if (at > op->len || bytes > op->len - at) {
        return -EPROTO;
    }
    op->have += bytes;
    if (hole) {
        node_iov_zero(op->r->iov, op->r->iovcnt, op->at + at, bytes);
        return 0;
    }
    return get_data(n, op, at, bytes);
}

static int take_simple(struct nbd *n, struct nbd_op *op, uint32_t error)
{
    op->ret = wire_error(error);
    if (op->ret == 0 && op->r->op == NODE_STATUS) {
        return -EPROTO;
    }
    op->ended = true;
    if (op->ret == 0 && is_read(op)) {
        if (n->h.structured) {
            return -EPROTO; /* reads are answered in chunks then */
        }
        op->have = op->len;
        return get_data(n, op, 0, op->len);
    }
    return 0;
}

int nbd_receive(struct nbd *n)
{
    uint8_t head[NBD_CHUNK_LEN];
    int ret = get(n, head, NBD_SIMPLE_LEN);
    uint32_t magic = load_be32(head);
    struct nbd_op *op;

    if (ret < 0) {
        return ret;
    }
    if (magic != NBD_SIMPLE_MAGIC && (magic != NBD_CHUNK_MAGIC || !n->h.structured)) {
        return -EPROTO;
    }
    op = find_op(n, load_be64(head + 8));
    if (!op) {
        return -EPROTO;
    }
    if (magic == NBD_SIMPLE_MAGIC) {
        ret = take_simple(n, op, load_be32(head + 4));
    } else {
        ret = get(n, head + NBD_SIMPLE_LEN, 4);
        ret = ret < 0 ? ret : take_chunk(n, op, load_be16(head + 6), load_be32(head + 16));
        op->ended = load_be16(head + 4) & NBD_CHUNK_DONE;
    }
    if (ret == 0 && op->ended) {
        bool all = !(is_read(op) || op->r->op == NODE_STATUS) || op->have >= op->len;
        op->ret = op->ret < 0 || all ? op->ret : -EIO;
        end_op(n, op);
    }
    return ret;
}
