/* SPDX-License-Identifier: MIT */
/* block/nbd-server-req.c - the NBD server's requests: from the wire to the node and back.
 *
 * Clients may ask for single bytes, nodes move sectors. A read is widened. A write or a zeroing that
 * does not fall on sectors is rare; it waits until nothing else of its export is in flight and keeps
 * later requests waiting (`held`), because it has to read what it writes around.
 */
#include "block/bitmap.h"
#include "block/graph.h"
#include "block/nbd-server-int.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_EXTENTS = 1024 };

static const uint64_t in_sector = NODE_ALIGN - 1;

unsigned export_flags(const struct export *x)
{
    unsigned flags = NBD_HAS_FLAGS | NBD_SEND_FLUSH | NBD_SEND_DF;

    flags |= x->read_only ? NBD_READ_ONLY : NBD_SEND_FUA | NBD_SEND_TRIM | NBD_SEND_WRITE_ZEROES;
    return flags | (x->server->open.max_clients == 1 ? 0u : NBD_CAN_MULTI_CONN);
}

/* ---- replies ---- */

static uint32_t wire_error(int ret)
{
    switch (-ret) {
    case EPERM:
    case EROFS:
        return NBD_EPERM;
    case ENOMEM:
        return NBD_ENOMEM;
    case EINVAL:
        return NBD_EINVAL;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return NBD_ENOSPC;
    case ENOTSUP:
        return NBD_ENOTSUP;
    default:
        return NBD_EIO;
    }
}

static void chunk_head(struct msg *m, unsigned type, bool last, size_t payload)
{
    store_be32(m->head, NBD_CHUNK_MAGIC);
    store_be16(m->head + 4, last ? NBD_CHUNK_DONE : 0);
    store_be16(m->head + 6, (uint16_t)type);
    store_be64(m->head + 8, m->handle);
    store_be32(m->head + 16, (uint32_t)payload);
    m->head_len = NBD_CHUNK_LEN;
}

static void finish(struct msg *m, int ret)
{
    bool read = m->cmd == NBD_CMD_READ;
    bool chunk = m->c->structured && (read || m->cmd == NBD_CMD_BLOCK_STATUS);

    if (ret < 0 || !(read || m->cmd == NBD_CMD_BLOCK_STATUS)) {
        m->data_len = 0;
    }
    if (!chunk) {
        store_be32(m->head, NBD_SIMPLE_MAGIC);
        store_be32(m->head + 4, ret < 0 ? wire_error(ret) : 0);
        store_be64(m->head + 8, m->handle);
        m->head_len = NBD_SIMPLE_LEN;
    } else if (ret < 0) {
        chunk_head(m, NBD_CHUNK_ERROR, true, 6);
        store_be32(m->head + m->head_len, wire_error(ret));
        store_be16(m->head + m->head_len + 4, 0);
        m->head_len += 6;
    } else if (read) {
        chunk_head(m, NBD_CHUNK_DATA, true, 8 + m->data_len);
        store_be64(m->head + m->head_len, m->offset);
        m->head_len += 8;
    } else {
        chunk_head(m, NBD_CHUNK_STATUS, true, m->data_len);
    }
    client_send(m->c, m);
}

/* ---- at the node ---- */

static void run(struct msg *m);

static bool unaligned(const struct msg *m)
{
    return (m->cmd == NBD_CMD_WRITE || m->cmd == NBD_CMD_WRITE_ZEROES) &&
           ((m->offset | m->iov.iov_len) & in_sector);
}

/* The head of the line may go once nothing is in its way. */
static bool must_wait(const struct export *x, const struct msg *m)
{
    return unaligned(m) && x->in_flight;
}

static void release(struct export *x)
{
    while (x->held && !must_wait(x, x->held)) {
        struct msg *m = x->held;
        x->held = m->next;
        if (!x->held) {
            x->held_tail = &x->held;
        }
        run(m);
    }
}

static void start(struct msg *m)
{
    struct export *x = m->c->export;

    if (x->held || must_wait(x, m)) {
        m->next = NULL;
        *x->held_tail = m;
        x->held_tail = &m->next;
        return;
    }
    run(m);
}

static void to_node(struct msg *m, struct node *n, enum node_op op, uint64_t offset, uint64_t len);
static void status_answered(struct msg *m);

static bool changes(const struct msg *m)
{
    return m->cmd == NBD_CMD_WRITE || m->cmd == NBD_CMD_WRITE_ZEROES || m->cmd == NBD_CMD_TRIM;
}

/* ---- block status ---- */

/* len bytes from m->pos on have these flags. False: no more extents, please. */
static bool add_extent(struct msg *m, uint64_t len, uint32_t flags)
{
    uint8_t *next = m->data + m->data_len;
    uint64_t end = m->offset + m->iov.iov_len;

    len = min_u64(m->pos + len, end) - max_u64(m->pos, m->offset);
    if (m->data_len > 4 && load_be32(next - 4) == flags &&
        load_be32(next - 8) + len <= UINT32_MAX) {
        store_be32(next - 8, (uint32_t)(load_be32(next - 8) + len));
    } else {
        store_be32(next, (uint32_t)len);
        store_be32(next + 4, flags);
        m->data_len += 8;
    }
    return m->data_len < 4 + 8 * MAX_EXTENTS && !(m->flags & NBD_CMD_REQ_ONE);
}

/* As base:allocation has it. */
static uint32_t allocation_flags(unsigned status)
{
    if (!(status & (NODE_HAS_DATA | NODE_IS_ZERO))) {
        return 0;
    }
    return (status & NODE_HAS_DATA ? 0u : NBD_STATE_HOLE) |
           (status & NODE_IS_ZERO ? NBD_STATE_ZERO : 0u);
}

static void status_look(struct msg *m, struct node *at, unsigned depth, uint64_t len)
{
    m->at = node_skip_filters(at);
    m->depth = depth;
    to_node(m, m->at, NODE_STATUS, m->pos, len);
}

static void bitmap_status(struct msg *m, const struct bitmap *b)
{
    uint64_t end = m->offset + m->iov.iov_len, at, len;
    bool more = true;

    for (m->pos = m->offset; m->pos < end && more; m->pos += len) {
        at = m->pos;
        bool any = bitmap_next(b, &at, &len, 0) && at < end;
        if (!any || at > m->pos) { /* clean up to there */
            len = (any ? at : end) - m->pos;
            any = false;
        }
        more = add_extent(m, len, any);
    }
}

/* The next context that the client wants, from m->context on; CONTEXTS: none. */
static unsigned next_context(const struct msg *m)
{
    unsigned i = m->context;

    while (i < CONTEXTS && !(m->c->contexts >> i & 1)) {
        i++;
    }
    return i;
}

/* Begins the answer about m->context, or what is left of them. Each but the last leaves in a message
 * of its own, and m goes on. */
static void status_start(struct msg *m)
{
    const struct export *x = m->c->export;
    uint64_t end = (m->offset + m->iov.iov_len + in_sector) & ~in_sector;

    m->context = next_context(m);
    store_be32(m->data, m->context + 1);
    m->data_len = 4;
    if (m->context < CONTEXT_BITMAPS) {
        m->pos = m->offset & ~in_sector;
        status_look(m, x->node, 1, end - m->pos);
        return;
    }
    bitmap_status(m, x->bitmaps[m->context - CONTEXT_BITMAPS]);
    status_answered(m);
}

static void status_answered(struct msg *m)
{
    struct msg *part;

    m->context++;
    if (next_context(m) == CONTEXTS) {
        finish(m, 0);
        return;
    }
    part = msg_new(m->c);
    if (!part || !(part->data = malloc(m->data_len))) {
        free(part);
        finish(m, -ENOMEM);
        return;
    }
    part->handle = m->handle;
    part->data_len = m->data_len;
    memcpy(part->data, m->data, m->data_len);
    chunk_head(part, NBD_CHUNK_STATUS, false, part->data_len);
    client_send(m->c, part);
    status_start(m);
}

/* What is known of the next stretch: deeper, further, or done. */
static void status_step(struct msg *m)
{
    const struct node_status *st = &m->r.status;
    uint64_t end = m->offset + m->iov.iov_len, len = st->len;
    struct node *below = m->at->backing;
    bool own = st->flags & NODE_ALLOCATED;

    if (!own && below && m->pos < below->len) {
        status_look(m, below, m->depth + 1, min_u64(len, below->len - m->pos));
        return;
    }
    uint32_t flags = m->context == CONTEXT_DEPTH
                         ? (own ? m->depth : 0)
                         : allocation_flags(!own && below ? NODE_IS_ZERO : st->flags);
    bool more = add_extent(m, len, flags);
    m->pos += len;
    if (m->pos >= end || !more) {
        status_answered(m);
        return;
    }
    status_look(m, m->c->export->node, 1, ((end + in_sector) & ~in_sector) - m->pos);
}

static void node_done(struct node_req *r, int ret)
{
    struct msg *m = container_of(r, struct msg, r);
    struct export *x = m->c->export;

    x->in_flight--;
    if (ret == 0 && (m->flags & NBD_CMD_FUA) && changes(m) && r->op != NODE_FLUSH) {
        to_node(m, x->node, NODE_FLUSH, 0, 0);
        return;
    }
    if (ret == 0 && m->cmd == NBD_CMD_BLOCK_STATUS && !m->c->closed) {
        status_step(m);
    } else {
        finish(m, ret);
    }
    release(x);
}

static void to_node(struct msg *m, struct node *n, enum node_op op, uint64_t offset, uint64_t len)
{
    bool zero = op == NODE_ZERO && !(m->flags & NBD_CMD_NO_HOLE);

    m->c->export->in_flight++;
    m->r = (struct node_req){
        .op = op, .flags = zero ? NODE_UNMAP : 0, .offset = offset, .len = len, .done = node_done
    };
    if (op == NODE_READ || op == NODE_WRITE) {
        m->iov = (struct iovec){ m->data, len };
        m->r.iov = &m->iov;
        m->r.iovcnt = 1;
    }
    node_submit(n, &m->r);
}

/* Nothing else is in flight: writes, or zeroes without data, around the edges. */
static int write_bytes(struct node *n, uint64_t offset, uint64_t len, const uint8_t *data)
{
    uint8_t sector[NODE_ALIGN];
    int ret = 0;

    for (uint64_t at = 0, k; at < len && ret == 0; at += k) {
        uint64_t in = (offset + at) & in_sector, from = offset + at - in;
        k = min_u64(NODE_ALIGN - in, len - at);
        if (k == NODE_ALIGN) {
            k = (len - at) & ~in_sector;
            ret = data ? node_write(n, from, data + at, k)
                       : node_rw(n, NODE_ZERO, from, NULL, k, NODE_UNMAP);
            continue;
        }
        ret = node_read(n, from, sector, sizeof(sector));
        if (data) {
            memcpy(sector + in, data + at, k);
        } else {
            memset(sector + in, 0, k);
        }
        ret = ret < 0 ? ret : node_write(n, from, sector, sizeof(sector));
    }
    return ret;
}

static void run_unaligned(struct msg *m)
{
    struct node *n = m->c->export->node;
    int ret = write_bytes(n, m->offset, m->iov.iov_len, m->data);

    if (ret == 0 && (m->flags & NBD_CMD_FUA)) {
        ret = node_flush(n);
    }
    finish(m, ret);
}

static void run(struct msg *m)
{
    struct node *n = m->c->export->node;
    uint64_t len = m->iov.iov_len;
    uint64_t from = m->offset & ~in_sector, to = (m->offset + len + in_sector) & ~in_sector;

    if (unaligned(m)) {
        run_unaligned(m);
        return;
    }
    switch (m->cmd) {
    case NBD_CMD_READ:
        m->data_at = m->offset - from;
        m->data_len = len;
        to_node(m, n, NODE_READ, from, to - from);
        break;
    case NBD_CMD_WRITE:
        to_node(m, n, NODE_WRITE, from, len);
        break;
    case NBD_CMD_WRITE_ZEROES:
        to_node(m, n, NODE_ZERO, from, len);
        break;
    case NBD_CMD_TRIM: /* advice: whole sectors */
        from = (m->offset + in_sector) & ~in_sector;
        to = (m->offset + len) & ~in_sector;
        to_node(m, n, NODE_DISCARD, from, to > from ? to - from : 0);
        break;
    case NBD_CMD_BLOCK_STATUS:
        m->context = 0;
        status_start(m);
        break;
    default:
        to_node(m, n, NODE_FLUSH, 0, 0);
    }
}

/* ---- from the wire ---- */

static void want_request(struct client *c);

static int check(const struct client *c, const struct msg *m, uint64_t len)
{
    const struct export *x = c->export;

    if (m->cmd > NBD_CMD_BLOCK_STATUS || m->cmd == NBD_CMD_CACHE ||
        (m->cmd == NBD_CMD_BLOCK_STATUS && !c->contexts)) {
        return -EINVAL;
    }
    if (m->cmd == NBD_CMD_FLUSH) {
        return 0;
    }
    if (changes(m) && x->read_only) {
        return -EPERM;
    }
    if (!len || (m->cmd == NBD_CMD_READ && len > NBD_MAX_DATA)) {
        return -EINVAL;
    }
    if (len > x->node->len || m->offset > x->node->len - len) {
        return changes(m) ? -ENOSPC : -EINVAL;
    }
    return 0;
}

static int make_room(struct msg *m, uint64_t len)
{
    uint64_t room = m->cmd == NBD_CMD_WRITE  ? len
                    : m->cmd == NBD_CMD_READ ? len + 2 * NODE_ALIGN
                                             : 4 + 8 * (MAX_EXTENTS + 1);

    if (m->cmd == NBD_CMD_READ || m->cmd == NBD_CMD_WRITE || m->cmd == NBD_CMD_BLOCK_STATUS) {
        return posix_memalign((void **)&m->data, 4096, room + !room) ? -ENOMEM : 0;
    }
    return 0;
}

static void data_came(struct client *c)
{
    struct msg *m = c->writing;
    int ret = check(c, m, m->iov.iov_len);

    c->writing = NULL;
    want_request(c);
    if (ret < 0) {
        finish(m, ret);
    } else {
        start(m);
    }
}

static void request_came(struct client *c)
{
    struct msg *m = msg_new(c);
    uint32_t len = load_be32(c->small + 24);
    int ret;

    if (!m || load_be32(c->small) != NBD_REQUEST_MAGIC || load_be16(c->small + 6) == NBD_CMD_DISC) {
        free(m);
        client_drop(c);
        return;
    }
    m->flags = load_be16(c->small + 4);
    m->cmd = load_be16(c->small + 6);
    m->handle = load_be64(c->small + 8);
    m->offset = load_be64(c->small + 16);
    m->len = len;
    m->iov.iov_len = len; /* until the request goes to the node */
    if (m->cmd == NBD_CMD_WRITE && (len > NBD_MAX_DATA || make_room(m, len) < 0)) {
        free(m);
        client_drop(c);
        return;
    }
    want_request(c);
    client_count(c, m);
    if (m->cmd == NBD_CMD_WRITE) {
        c->writing = m;
        client_want(c, m->data, len, data_came);
        return;
    }
    ret = check(c, m, len);
    ret = ret < 0 ? ret : make_room(m, len);
    if (ret < 0) {
        finish(m, ret);
    } else {
        start(m);
    }
}

static void want_request(struct client *c)
{
    client_want(c, c->small, NBD_REQUEST_LEN, request_came);
}

void client_serve(struct client *c)
{
    want_request(c);
}
