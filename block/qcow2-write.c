/* SPDX-License-Identifier: MIT */
/* block/qcow2-write.c - writing: in place, or to clusters that are allocated, filled, written and then
 * linked; and writing whole clusters compressed.
 */
#include "block/qcow2-op.h"

#include <assert.h>

/* ---- an L2 table that may be changed ---- */

static int l2_alloc(struct qop *op, uint64_t *offset)
{
    struct qcow2 *s = op->s;
    uint64_t cluster, got;
    bool zeroed;
    int ret = qcow2_alloc(s, op, 1, &cluster, &got, &zeroed);

    if (ret == 0) {
        meta_add(s, cluster, 1);
        *offset = cluster << s->cluster_bits;
    }
    return ret;
}

static struct table *l2_create(struct qop *op, uint32_t index, int *ret)
{
    struct qcow2 *s = op->s;
    struct table *t;
    uint64_t offset;

    *ret = l2_alloc(op, &offset);
    if (*ret < 0) {
        return NULL;
    }
    t = table_new(s, true, index, offset);
    if (!t) {
        *ret = -ENOMEM;
        return NULL;
    }
    l1_set(s, index, offset | OFLAG_COPIED);
    return t;
}

/* The table is a snapshot's too: the image goes on with a copy. */
static struct table *l2_copy(struct qop *op, uint32_t index, int *ret)
{
    struct qcow2 *s = op->s;
    struct table *t = l2_get(s, index, op, ret);
    uint64_t offset, old = s->l1[index] & OFFSET_MASK;

    if (!t) {
        return NULL;
    }
    t->pins++;
    *ret = l2_alloc(op, &offset);
    t->pins--;
    if (*ret < 0) {
        return NULL;
    }
    t->offset = offset;
    table_dirty(t, 0, s->cluster_size);
    l1_set(s, index, offset | OFLAG_COPIED);
    qcow2_free(s, cluster_of(s, old), 1);
    return t;
}

struct table *l2_for_write(struct qop *op, uint64_t guest, int *ret)
{
    struct qcow2 *s = op->s;
    uint32_t index = l1_index(s, cluster_of(s, guest));

    if (s->broken || index >= s->h.l1_size) {
        *ret = -EIO;
        return NULL;
    }
    if (!(s->l1[index] & OFFSET_MASK)) {
        return l2_create(op, index, ret);
    }
    return s->l1[index] & OFLAG_COPIED ? l2_get(s, index, op, ret) : l2_copy(op, index, ret);
}

/* ---- writing ---- */

static void write_in_place_done(struct node_req *io, int ret)
{
    struct qop *op = io->opaque;

    if (ret < 0) {
        op_finish(op, ret);
        return;
    }
    op->at += op->piece;
    write_map(op);
}

static int check_overlap(struct qcow2 *s, uint64_t host, uint64_t len)
{
    for (uint64_t c = cluster_of(s, host); c <= cluster_of(s, host + len - 1); c++) {
        if (c == 0 || meta_has(s, c)) {
            return qcow2_corrupt(s, "the guest's data are mapped onto metadata at %#llx",
                                 (unsigned long long)(c << s->cluster_bits));
        }
    }
    return 0;
}

static void write_in_place(struct qop *op, const struct mapping *m)
{
    int n, ret = check_overlap(op->s, m->host, m->len);

    op->piece = m->len;
    ret = ret < 0 ? ret : piece_iov(op, m->len, &n);
    if (ret < 0) {
        op_finish(op, ret);
        return;
    }
    io_start(op, op->s->node.file, NODE_WRITE, m->host, op->iov + 1, n, m->len,
             write_in_place_done);
}

/* Give what was allocated back; nothing refers to it. */
static void write_failed(struct qop *op, int ret)
{
    qcow2_free(op->s, op->host, op->clusters);
    op_finish(op, ret);
}

static void write_link(struct node_req *io, int ret)
{
    struct qop *op = io->opaque;
    struct qcow2 *s = op->s;
    uint64_t first = l2_index(s, cluster_of(s, guest_at(op)));

    if (ret < 0) {
        write_failed(op, ret);
        return;
    }
    for (uint64_t i = 0; i < op->clusters; i++) {
        uint64_t old = entry_at(op->pin, first + i);

        entry_set(op->pin, first + i, ((op->host + i) << s->cluster_bits) | OFLAG_COPIED);
        qcow2_free_entry(s, old);
    }
    op->pin->pins--;
    op->pin = NULL;
    free(op->head_buf);
    free(op->tail_buf);
    op->head_buf = op->tail_buf = NULL;
    op->at += op->piece;
    write_map(op);
}

static void write_data(struct qop *op)
{
    struct qcow2 *s = op->s;
    struct iovec *iov;
    uint64_t at = (op->host << s->cluster_bits) + in_cluster(s, guest_at(op)), len = op->piece;
    int n, ret = piece_iov(op, op->piece, &n);

    if (ret < 0) {
        write_failed(op, ret);
        return;
    }
    iov = op->iov + 1;
    if (op->head) {
        *--iov = (struct iovec){ op->head_buf, op->head };
        n++;
        at -= op->head;
        len += op->head;
    }
    if (op->tail) {
        iov[n++] = (struct iovec){ op->tail_buf, op->tail };
        len += op->tail;
    }
    io_start(op, s->node.file, NODE_WRITE, at, iov, n, len, write_link);
}

static void write_fill(struct qop *op);

static void write_filled(struct node_req *io, int ret)
{
    struct qop *op = io->opaque;

    if (ret < 0) {
        write_failed(op, ret);
        return;
    }
    write_fill(op);
}

/* Reads what surrounds the piece in its first and last cluster. */
static void write_fill(struct qop *op)
{
    uint64_t from = guest_at(op);
    uint8_t **buf = NULL;
    uint32_t len = 0;

    if (op->head && !op->head_buf) {
        buf = &op->head_buf;
        len = op->head;
        from -= len;
    } else if (op->tail && !op->tail_buf) {
        buf = &op->tail_buf;
        len = op->tail;
        from += op->piece;
    } else {
        write_data(op);
        return;
    }
    *buf = malloc(len);
    if (!*buf) {
        write_failed(op, -ENOMEM);
        return;
    }
    io_own(op, NODE_READ, from, *buf, len, write_filled);
}

/* How many clusters from `guest` on need a new place, within one L2 table and the request. */
static uint64_t count_moving(const struct qop *op, const struct table *t, uint64_t guest)
{
    const struct qcow2 *s = op->s;
    uint64_t i = l2_index(s, cluster_of(s, guest)), n = 0;
    uint64_t max = cluster_of(s, guest + left(op) - 1) - cluster_of(s, guest) + 1;

    while (n < max && i + n < 1ull << s->l2_bits && !in_place(s, entry_at(t, i + n))) {
        n++;
    }
    return n;
}

static void write_plan_edges(struct qop *op)
{
    struct qcow2 *s = op->s;
    uint64_t guest = guest_at(op), first = l2_index(s, cluster_of(s, guest));
    uint64_t room = (op->clusters << s->cluster_bits) - in_cluster(s, guest), end;

    op->piece = min_u64(left(op), room);
    end = guest + op->piece;
    op->head = in_cluster(s, guest);
    op->tail = (uint32_t)(room - op->piece);
    if (op->zeroed && reads_zero(s, entry_at(op->pin, first), guest - op->head)) {
        op->head = 0;
    }
    if (op->zeroed && reads_zero(s, entry_at(op->pin, first + op->clusters - 1),
                                 (end - 1) & ~(uint64_t)(s->cluster_size - 1))) {
        op->tail = 0;
    }
}

static void write_alloc(struct qop *op)
{
    struct qcow2 *s = op->s;
    uint64_t guest = guest_at(op);
    int ret;
    struct table *t = l2_for_write(op, guest, &ret);

    op->step = write_alloc;
    if (t) {
        t->pins++;
        ret = qcow2_alloc(s, op, count_moving(op, t, guest), &op->host, &op->clusters, &op->zeroed);
        t->pins--;
    }
    if (ret < 0) {
        if (ret != -EAGAIN) {
            op_finish(op, ret);
        }
        return;
    }
    op->pin = t;
    t->pins++;
    write_plan_edges(op);
    write_fill(op);
}

void write_map(struct qop *op)
{
    struct mapping m;
    int ret;

    op->step = write_map;
    if (!left(op)) {
        op_finish(op, 0);
        return;
    }
    ret = op->s->broken ? -EIO : map_range(op, guest_at(op), left(op), &m);
    if (ret < 0) {
        if (ret != -EAGAIN) {
            op_finish(op, ret);
        }
    } else if (m.writable) {
        write_in_place(op, &m);
    } else if (op->exclusive || op->borrowed) {
        write_alloc(op);
    } else {
        unlock_range(op);
        if (lock_range(op, true)) {
            write_map(op);
        }
    }
}

/* ---- writing compressed ---- */

static void pack_advance(struct qop *op)
{
    free(op->packed);
    free(op->head_buf);
    op->packed = op->head_buf = NULL;
    op->at += op->piece;
    pack_start(op);
}

static void packed_plain_done(struct node_req *io, int ret)
{
    struct qop *op = io->opaque;

    if (ret < 0) {
        op_finish(op, ret);
    } else {
        pack_advance(op);
    }
}

static void packed_link(struct node_req *io, int ret)
{
    struct qop *op = io->opaque;
    struct qcow2 *s = op->s;
    uint64_t i = l2_index(s, cluster_of(s, guest_at(op))), old = entry_at(op->pin, i);

    if (ret < 0) {
        qcow2_free_entry(s, op->entry);
        op_finish(op, ret);
        return;
    }
    entry_set(op->pin, i, op->entry);
    qcow2_free_entry(s, old);
    op->pin->pins--;
    op->pin = NULL;
    pack_advance(op);
}

static void packed_alloc(struct qop *op)
{
    struct qcow2 *s = op->s;
    unsigned shift = 62 - (s->cluster_bits - 8);
    uint64_t at;
    int ret;
    struct table *t = l2_for_write(op, guest_at(op), &ret);

    op->step = packed_alloc;
    if (t) {
        t->pins++;
        ret = qcow2_alloc_bytes(s, op, op->packed_len, &at);
        t->pins--;
    }
    if (ret < 0) {
        if (ret != -EAGAIN) {
            op_finish(op, ret);
        }
        return;
    }
    op->pin = t;
    t->pins++;
    op->entry = OFLAG_COMPRESSED | ((op->packed_len / 512ull - 1) << shift) | at;
    op->one = (struct iovec){ op->packed, op->packed_len };
    io_start(op, s->node.file, NODE_WRITE, at, &op->one, 1, op->packed_len, packed_link);
}

static void pack_run(struct node_work *w)
{
    struct qop *op = container_of(w, struct qop, work);
    struct qcow2 *s = op->s;
    long n = pack_cluster(s->h.compression == 1, op->packed, s->cluster_size, op->head_buf,
                          s->cluster_size);

    op->ret = n < 0 ? (int)n : 0;
    op->packed_len = n > 0 ? (uint32_t)((n + 511) & ~511l) : 0;
}

static void pack_done(struct node_work *w)
{
    struct qop *op = container_of(w, struct qop, work);
    struct qcow2 *s = op->s;

    if (op->ret < 0) {
        op_finish(op, op->ret);
    } else if (!op->packed_len || op->packed_len >= s->cluster_size) {
        io_own(op, NODE_WRITE, guest_at(op), op->head_buf, op->piece, packed_plain_done);
    } else {
        packed_alloc(op);
    }
}

void pack_start(struct qop *op)
{
    struct qcow2 *s = op->s;

    op->step = pack_start;
    if (!left(op) || s->broken) {
        op_finish(op, left(op) ? -EIO : 0);
        return;
    }
    op->piece = min_u64(left(op), s->cluster_size);
    op->head_buf = calloc(1, s->cluster_size);
    op->packed = calloc(1, s->cluster_size);
    if (!op->head_buf || !op->packed) {
        op_finish(op, -ENOMEM);
        return;
    }
    node_iov_to_buf(op->r->iov, op->r->iovcnt, op->at, op->head_buf, op->piece);
    op->work = (struct node_work){ .run = pack_run, .done = pack_done };
    node_ctx_work(s->node.ctx, &op->work);
}
