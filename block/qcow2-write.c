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
    uint64_t offset = 0;

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
    uint64_t offset = 0, old = s->l1[index] & OFFSET_MASK;

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
    if (s->external) {
        return 0;
    }
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
    io_start(op, op->s->data, NODE_WRITE, m->host, op->iov + 1, n, m->len, write_in_place_done);
}

/* Give what was allocated back; nothing refers to it. */
static void write_failed(struct qop *op, int ret)
{
    if (!op->kept && !op->s->external) {
        qcow2_free(op->s, op->host, op->clusters);
    }
    op_finish(op, ret);
}

/* The map of the op's i-th cluster once what it covers is in the file. */
static uint64_t linked_map(const struct qop *op, uint64_t i, struct l2_entry old)
{
    const struct qcow2 *s = op->s;
    uint64_t start = (cluster_of(s, guest_at(op)) + i) << s->cluster_bits;
    uint64_t from = max_u64(op->cover_from, start) - start;
    uint64_t to = min_u64(op->cover_to - start, s->cluster_size) - 1, map = old.map, covered;

    if (!s->extended) {
        return 0;
    }
    if (op->cover_from == op->cover_to) {
        return map & MAP_ZEROS;
    }
    from >>= s->sub_bits;
    to >>= s->sub_bits;
    covered = (MAP_ALLOCATED >> (31 - (to - from))) << from;
    map = op->kept ? map : map & MAP_ZEROS;
    return (map & ~(covered << 32)) | covered;
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
        struct l2_entry old = entry_at(op->pin, first + i), now;

        now.place = ((op->host + i) << s->cluster_bits) | OFLAG_COPIED;
        now.map = linked_map(op, i, old);
        entry_set(op->pin, first + i, now);
        if (!op->kept) {
            qcow2_free_entry(s, old.place);
        }
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
    io_start(op, s->data, NODE_WRITE, at, iov, n, len, write_link);
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

enum { FULL_CLUSTERS = 64 }; /* of zeros, written at a time */

/* How many clusters from `guest` on need a new place, within one L2 table and the request. */
static uint64_t count_moving(const struct qop *op, const struct table *t, uint64_t guest)
{
    const struct qcow2 *s = op->s;
    uint64_t i = l2_index(s, cluster_of(s, guest)), n = 0;
    uint64_t max = cluster_of(s, guest + left(op) - 1) - cluster_of(s, guest) + 1;

    max = op->r->flags & OP_PREALLOC_FULL ? min_u64(max, FULL_CLUSTERS) : max;
    while (n < max && i + n < 1ull << s->l2_bits && !keeps_place(s, entry_at(t, i + n))) {
        n++;
    }
    return n;
}

/* The cluster that holds byte `guest` moves, or parts of it get into use: from where on it has to
 * be filled. With the cluster move all parts that lie in it. */
static uint64_t fill_from(const struct qop *op, struct l2_entry e, uint64_t guest)
{
    const struct qcow2 *s = op->s;
    unsigned sub = sub_of(s, guest), first = sub;

    if (op->kept && qcow2_kind(s, e, sub) == CLUSTER_NORMAL) {
        return guest;
    }
    if (!op->kept && (e.place & OFLAG_COMPRESSED)) {
        first = 0;
    } else if (!op->kept && (e.map & ((1ull << sub) - 1))) {
        first = (unsigned)__builtin_ctzll(e.map);
    }
    return guest - in_cluster(s, guest) + ((uint64_t)first << s->sub_bits);
}

/* The same for its end; last is the last byte written. */
static uint64_t fill_to(const struct qop *op, struct l2_entry e, uint64_t last)
{
    const struct qcow2 *s = op->s;
    unsigned sub = sub_of(s, last), to = sub;
    uint32_t behind = sub < 31 ? (uint32_t)e.map >> (sub + 1) : 0;

    if (op->kept && qcow2_kind(s, e, sub) == CLUSTER_NORMAL) {
        return last + 1;
    }
    if (!op->kept && (e.place & OFLAG_COMPRESSED)) {
        to = subs_per_cluster(s) - 1;
    } else if (!op->kept && behind) {
        to = sub + 32 - (unsigned)__builtin_clz(behind);
    }
    return last - in_cluster(s, last) + ((to + 1ull) << s->sub_bits);
}

/* Whether all parts from one byte of a cluster to another, both included, read as zeros. */
static bool all_zero(const struct qcow2 *s, struct l2_entry e, uint64_t from, uint64_t to)
{
    for (unsigned i = sub_of(s, from); i <= sub_of(s, to); i++) {
        if (!reads_zero(s, qcow2_kind(s, e, i), from - in_sub(s, from))) {
            return false;
        }
    }
    return true;
}

static void write_plan_edges(struct qop *op)
{
    struct qcow2 *s = op->s;
    uint64_t guest = guest_at(op), first = l2_index(s, cluster_of(s, guest));
    uint64_t room = (op->clusters << s->cluster_bits) - in_cluster(s, guest), end;
    struct l2_entry e = entry_at(op->pin, first), l = entry_at(op->pin, first + op->clusters - 1);

    op->piece = min_u64(left(op), room);
    end = guest + op->piece;
    op->cover_from = fill_from(op, e, guest);
    op->cover_to = fill_to(op, l, end - 1);
    op->head = (uint32_t)(guest - op->cover_from);
    op->tail = (uint32_t)(op->cover_to - end);
    if (op->zeroed && op->head && all_zero(s, e, op->cover_from, guest)) {
        op->head = 0;
    }
    if (op->zeroed && op->tail && all_zero(s, l, end - 1, op->cover_to - 1)) {
        op->tail = 0;
    }
}

/* Where the clusters from `guest` on go. As qcow2_alloc. */
static int find_place(struct qop *op, const struct table *t, uint64_t guest)
{
    struct qcow2 *s = op->s;
    struct l2_entry e = entry_at(t, l2_index(s, cluster_of(s, guest)));
    uint64_t moving;

    op->kept = keeps_place(s, e);
    op->zeroed = false;
    if (op->kept) {
        op->host = cluster_of(s, e.place & OFFSET_MASK);
        op->clusters = 1;
        return check_overlap(s, e.place & OFFSET_MASK, s->cluster_size);
    }
    moving = count_moving(op, t, guest);
    if (s->external) { /* as far from the start as for the guest */
        op->host = cluster_of(s, guest);
        op->clusters = moving;
        return 0;
    }
    int ret = qcow2_alloc(s, op, moving, &op->host, &op->clusters, &op->zeroed);
    op->zeroed = op->zeroed && !s->crypt; /* zeros of the file's are none of the guest's */
    return ret;
}

/* ---- giving clusters their place before there is anything to write ---- */

static bool prealloc(const struct qop *op)
{
    return op->r->flags & (OP_PREALLOC_METADATA | OP_PREALLOC_FALLOC | OP_PREALLOC_FULL);
}

static int prealloc_write_zeros(struct qop *op, uint64_t at)
{
    const struct qcow2 *s = op->s;
    int n = (int)op->clusters;

    if (!op->iov) {
        op->iov = calloc(FULL_CLUSTERS, sizeof(*op->iov));
    }
    if (!op->iov) {
        return -ENOMEM;
    }
    for (int i = 0; i < n; i++) {
        op->iov[i] = (struct iovec){ s->zeros, s->cluster_size };
    }
    io_start(op, s->data, NODE_WRITE, at, op->iov, n, op->clusters << s->cluster_bits, write_link);
    return 0;
}

/* The clusters' bytes have to be zeros, and inside the file. */
static void prealloc_zero(struct qop *op)
{
    struct qcow2 *s = op->s;
    uint64_t at = op->host << s->cluster_bits, len = op->clusters << s->cluster_bits;
    int ret = 0;

    op->cover_from = op->cover_to = guest_at(op);
    op->piece = min_u64(left(op), len - in_cluster(s, guest_at(op)));
    if (op->r->flags & OP_PREALLOC_FULL) {
        ret = prealloc_write_zeros(op, at);
    } else if ((op->r->flags & OP_PREALLOC_METADATA) && (op->zeroed || s->extended)) {
        io_start(op, s->data, NODE_ZERO, at + len - 512, NULL, 0, 512, write_link);
    } else {
        io_start(op, s->data, NODE_ZERO, at, NULL, 0, len, write_link);
    }
    if (ret < 0) {
        write_failed(op, ret);
    }
}

static void write_alloc(struct qop *op)
{
    uint64_t guest = guest_at(op);
    int ret;
    struct table *t = l2_for_write(op, guest, &ret);

    op->step = write_alloc;
    if (t) {
        t->pins++;
        ret = find_place(op, t, guest);
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
    if (prealloc(op)) {
        prealloc_zero(op);
        return;
    }
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
    } else if (prealloc(op) && m.placed && keeps_place(op->s, m.entry)) {
        op->at += m.len;
        write_map(op);
    } else if (m.writable) {
        write_in_place(op, &m);
    } else if (op->borrowed || !op->lock.shared) {
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
    uint64_t i = l2_index(s, cluster_of(s, guest_at(op)));
    struct l2_entry old = entry_at(op->pin, i);

    if (ret < 0) {
        qcow2_free_entry(s, op->entry);
        op_finish(op, ret);
        return;
    }
    entry_set(op->pin, i, (struct l2_entry){ op->entry, 0 });
    qcow2_free_entry(s, old.place);
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
