/* SPDX-License-Identifier: MIT */
/* block/qcow2-io.c - requests. Each is a struct qop whose step is the state it is in.
 *
 *   read:    lock shared -> map -> child read / unpack -> map ...
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
#include "block/qcow2-int.h"

#include <assert.h>
#include <string.h>

/* ---- range locks ---- */

static bool conflict(const struct qop *a, const struct qop *b)
{
    return (a->exclusive || b->exclusive) && a->lock_from <= b->lock_to &&
           b->lock_from <= a->lock_to;
}

static bool grantable(const struct qcow2 *s, const struct qop *op)
{
    for (const struct qop *o = s->locks; o != op; o = o->lock_next) {
        if (conflict(o, op)) {
            return false;
        }
    }
    return true;
}

static bool lock_range(struct qop *op, bool exclusive)
{
    struct qcow2 *s = op->s;

    if (op->borrowed) {
        return true;
    }
    op->lock_from = cluster_of(s, op->r->offset);
    op->lock_to = cluster_of(s, op->r->offset + op->r->len - 1);
    op->exclusive = exclusive;
    op->locking = true;
    op->lock_next = NULL;
    if (!s->locks) {
        s->locks_tail = &s->locks;
    }
    *s->locks_tail = op;
    s->locks_tail = &op->lock_next;
    op->granted = grantable(s, op);
    return op->granted;
}

static void unlock_range(struct qop *op)
{
    struct qcow2 *s = op->s;
    struct qop **at = &s->locks;
    struct op_list go = { 0 };

    if (!op->locking) {
        return;
    }
    while (*at != op) {
        at = &(*at)->lock_next;
    }
    *at = op->lock_next;
    if (!op->lock_next) {
        s->locks_tail = at;
    }
    op->locking = op->granted = false;
    for (struct qop *o = s->locks; o; o = o->lock_next) {
        if (!o->granted && conflict(o, op) && grantable(s, o)) {
            o->granted = true;
            op_list_add(&go, o);
        }
    }
    op_list_run(&go);
}

/* ---- common ---- */

static void op_finish(struct qop *op, int ret)
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

static uint64_t guest_at(const struct qop *op)
{
    return op->r->offset + op->at;
}

static uint64_t left(const struct qop *op)
{
    return op->r->len - op->at;
}

static uint32_t in_cluster(const struct qcow2 *s, uint64_t offset)
{
    return (uint32_t)(offset & (s->cluster_size - 1));
}

void qcow2_compressed_place(const struct qcow2 *s, uint64_t entry, uint64_t *at, uint32_t *len)
{
    unsigned shift = 62 - (s->cluster_bits - 8);
    uint64_t sectors = ((entry & ~(OFLAG_COPIED | OFLAG_COMPRESSED)) >> shift) + 1;

    *at = entry & ((1ull << shift) - 1);
    *len = (uint32_t)(sectors * 512 - (*at & 511));
}

enum cluster_kind qcow2_kind(const struct qcow2 *s, uint64_t entry)
{
    if (entry & OFLAG_COMPRESSED) {
        return CLUSTER_COMPRESSED;
    }
    if ((entry & OFLAG_ZERO) && s->h.version >= 3) {
        return CLUSTER_ZERO;
    }
    return entry & OFFSET_MASK ? CLUSTER_NORMAL : CLUSTER_NONE;
}

static int check_entry(struct qcow2 *s, uint64_t entry, uint64_t cluster)
{
    uint64_t reserved = L2_RESERVED | (s->h.version < 3 ? OFLAG_ZERO : 0);

    if (!(entry & OFLAG_COMPRESSED) &&
        ((entry & reserved) || (entry & OFFSET_MASK) % s->cluster_size)) {
        return qcow2_corrupt(s, "L2 entry of guest cluster %#llx is %#llx",
                             (unsigned long long)cluster, (unsigned long long)entry);
    }
    return 0;
}

struct mapping {
    enum cluster_kind kind;
    uint64_t entry; /* of the first cluster */
    uint64_t host;  /* bytes, where guest's byte is; CLUSTER_NORMAL only */
    bool writable;  /* in place */
    uint64_t len;   /* bytes of which this is true */
};

static uint64_t entry_at(const struct table *t, uint64_t index)
{
    return load_be64(t->bytes + index * 8);
}

static bool continues(const struct qcow2 *s, const struct mapping *m, uint64_t entry, uint64_t n)
{
    if (qcow2_kind(s, entry) != m->kind || m->kind == CLUSTER_COMPRESSED) {
        return false;
    }
    if (!(m->entry & OFFSET_MASK)) {
        return !(entry & OFFSET_MASK);
    }
    return entry == m->entry + (n << s->cluster_bits);
}

/* What is behind guest bytes [guest, guest + want). 0; -EAGAIN: op was queued. */
static int map_range(struct qop *op, uint64_t guest, uint64_t want, struct mapping *m)
{
    struct qcow2 *s = op->s;
    uint64_t cluster = cluster_of(s, guest);
    uint32_t l1i = l1_index(s, cluster), i = l2_index(s, cluster);
    uint64_t in_table = (((uint64_t)l1i + 1) << (s->l2_bits + s->cluster_bits)) - guest;
    int ret;

    *m = (struct mapping){ .len = min_u64(want, in_table) };
    if (l1i >= s->h.l1_size || !(s->l1[l1i] & OFFSET_MASK)) {
        return 0;
    }
    struct table *t = l2_get(s, l1i, op, &ret);
    if (!t) {
        return ret;
    }
    m->entry = entry_at(t, i);
    ret = check_entry(s, m->entry, cluster);
    if (ret < 0) {
        return ret;
    }
    m->kind = qcow2_kind(s, m->entry);
    m->host = (m->entry & OFFSET_MASK) + in_cluster(s, guest);
    m->writable = m->kind == CLUSTER_NORMAL && (m->entry & OFLAG_COPIED);
    uint64_t len = s->cluster_size - in_cluster(s, guest), n = 1;
    while (len < m->len && continues(s, m, entry_at(t, i + n), n)) {
        len += s->cluster_size;
        n++;
    }
    m->len = min_u64(len, m->len);
    return 0;
}

/* The request's bytes [at, at + piece) as an iovec of op's own, with room for two more. */
static int piece_iov(struct qop *op, uint64_t piece, int *n)
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

static void io_start(struct qop *op, struct node *to, enum node_op what, uint64_t offset,
                     const struct iovec *iov, int n, uint64_t len,
                     void (*done)(struct node_req *, int))
{
    op->io = (struct node_req){ .op = what,
                                .flags = op->r->flags & NODE_GUEST,
                                .offset = offset,
                                .len = len,
                                .iov = iov,
                                .iovcnt = n,
                                .done = done,
                                .opaque = op };
    node_submit(to, &op->io);
}

static void op_start(struct qcow2 *s, struct node_req *r, bool borrowed);

/* A request to ourselves under op's lock. It may reach past the disk's end, to the cluster's. */
static void io_own(struct qop *op, enum node_op what, uint64_t offset, void *buf, uint64_t len,
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
    op->io.node = &op->s->node;
    op->s->node.in_flight++;
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
    int n, ret = piece_iov(op, op->piece, &n);

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
        return read_from(op, op->s->node.file, m->host);
    case CLUSTER_COMPRESSED:
        return read_compressed(op, m->entry);
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

static struct table *l2_for_write(struct qop *op, uint64_t guest, int *ret)
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

static void entry_set(struct table *t, uint64_t index, uint64_t entry)
{
    store_be64(t->bytes + index * 8, entry);
    table_dirty(t, (uint32_t)(index * 8), (uint32_t)(index * 8 + 8));
}

/* ---- writing ---- */

static void write_map(struct qop *op);

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

static bool reads_zero(const struct qcow2 *s, uint64_t entry, uint64_t guest)
{
    enum cluster_kind k = qcow2_kind(s, entry);

    return k == CLUSTER_ZERO ||
           (k == CLUSTER_NONE && (!s->node.backing || guest >= s->node.backing->len));
}

static bool in_place(const struct qcow2 *s, uint64_t entry)
{
    return qcow2_kind(s, entry) == CLUSTER_NORMAL && (entry & OFLAG_COPIED);
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

static void write_map(struct qop *op)
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

static void pack_start(struct qop *op);

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

static void pack_start(struct qop *op)
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

/* Whole clusters, or up to the end of the disk. */
static bool whole_clusters(const struct qcow2 *s, uint64_t offset, uint64_t len)
{
    return in_cluster(s, offset) == 0 && (in_cluster(s, len) == 0 || offset + len >= s->node.len);
}

/* ---- zeros and discards ---- */

static void erase_step(struct qop *op);

static void erase_wrote(struct node_req *io, int ret)
{
    struct qop *op = io->opaque;

    if (ret < 0) {
        op_finish(op, ret);
        return;
    }
    op->at += op->piece;
    erase_step(op);
}

/* What an entry becomes; the same when nothing is to be done. */
static uint64_t erased(const struct qop *op, uint64_t entry, uint64_t guest)
{
    const struct qcow2 *s = op->s;
    bool keep = op->r->op == NODE_ZERO && !(op->r->flags & NODE_UNMAP);

    if (qcow2_kind(s, entry) == CLUSTER_NONE && reads_zero(s, entry, guest)) {
        return entry;
    }
    if (s->h.version < 3) {
        return 0;
    }
    if (keep && in_place(s, entry)) {
        return entry | OFLAG_ZERO;
    }
    if (qcow2_kind(s, entry) == CLUSTER_ZERO && (keep || !(entry & OFFSET_MASK))) {
        return entry;
    }
    return reads_zero(s, 0, guest) && op->r->op == NODE_DISCARD ? 0 : OFLAG_ZERO;
}

static void erase_entries(struct qop *op, struct table *t, uint64_t len)
{
    struct qcow2 *s = op->s;
    uint64_t guest = guest_at(op), i = l2_index(s, cluster_of(s, guest)), n = 0;
    uint64_t max = (len + s->cluster_size - 1) >> s->cluster_bits;

    t->pins++;
    for (; n < max && i + n < 1ull << s->l2_bits; n++) {
        uint64_t old = entry_at(t, i + n), now = erased(op, old, guest + (n << s->cluster_bits));

        if (now != old) {
            entry_set(t, i + n, now);
            if (!(now & OFFSET_MASK)) {
                qcow2_free_entry(s, old);
            }
        }
    }
    t->pins--;
    op->piece = min_u64(len, n << s->cluster_bits);
}

/* 1: the piece is done; 0: it is under way; -EAGAIN: op was queued; or why not. */
static int erase_whole(struct qop *op, uint64_t len)
{
    struct qcow2 *s = op->s;
    uint64_t guest = guest_at(op);
    uint32_t l1i = l1_index(s, cluster_of(s, guest));
    uint64_t in_table = (((uint64_t)l1i + 1) << (s->l2_bits + s->cluster_bits)) - guest;
    bool nothing = l1i >= s->h.l1_size || !(s->l1[l1i] & OFFSET_MASK);
    int ret = 1;

    if (nothing && (reads_zero(s, 0, guest) || op->r->op == NODE_DISCARD)) {
        op->piece = min_u64(len, in_table);
        return 1;
    }
    struct table *t = l2_for_write(op, guest, &ret);
    if (!t) {
        return ret;
    }
    erase_entries(op, t, len);
    return 1;
}

static int erase_by_writing(struct qop *op)
{
    struct qcow2 *s = op->s;
    uint64_t guest = guest_at(op);
    struct mapping m;
    int ret;

    op->piece = min_u64(left(op), s->cluster_size - in_cluster(s, guest));
    if (op->r->op == NODE_DISCARD) {
        return 1;
    }
    ret = map_range(op, guest, op->piece, &m);
    if (ret < 0) {
        return ret;
    }
    if (reads_zero(s, m.entry, guest)) {
        return 1;
    }
    io_own(op, NODE_WRITE, guest, s->zeros, op->piece, erase_wrote);
    return 0;
}

static int erase_piece(struct qop *op)
{
    struct qcow2 *s = op->s;
    uint64_t guest = guest_at(op), rest = left(op);
    uint64_t whole = guest + rest >= s->node.len ? rest : rest & ~(s->cluster_size - 1ull);

    if (s->broken) {
        return -EIO;
    }
    if (in_cluster(s, guest) == 0 && whole && (s->h.version >= 3 || !s->node.backing)) {
        return erase_whole(op, whole);
    }
    return erase_by_writing(op);
}

static void erase_step(struct qop *op)
{
    op->step = erase_step;
    while (left(op)) {
        int ret = erase_piece(op);

        if (ret == 0 || ret == -EAGAIN) {
            return;
        }
        if (ret < 0) {
            op_finish(op, ret);
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
    *st = (struct node_status){ .len = m.len };
    if (m.kind == CLUSTER_NONE) {
        st->flags = s->node.backing ? 0 : NODE_IS_ZERO;
    } else if (m.kind == CLUSTER_ZERO) {
        st->flags = NODE_IS_ZERO | NODE_ALLOCATED;
        if (m.entry & OFFSET_MASK) { /* room it keeps; the bytes there do not count */
            st->flags |= NODE_MAPPED;
            st->mapped = m.host;
        }
    } else if (m.kind == CLUSTER_NORMAL) {
        st->flags = NODE_HAS_DATA | NODE_ALLOCATED | NODE_MAPPED;
        st->mapped = m.host;
    } else {
        st->flags = NODE_HAS_DATA | NODE_ALLOCATED | NODE_COMPRESSED;
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

static void op_start(struct qcow2 *s, struct node_req *r, bool borrowed)
{
    struct qop *op = calloc(1, sizeof(*op));

    if (!op) {
        node_complete(r, -ENOMEM);
        return;
    }
    op->s = s;
    op->r = r;
    op->borrowed = borrowed;
    switch (r->op) {
    case NODE_READ:
        start_locked(op, false, read_map);
        break;
    case NODE_WRITE:
        if (!(r->flags & NODE_COMPRESS)) {
            start_locked(op, false, write_map);
        } else if (whole_clusters(s, r->offset, r->len)) {
            start_locked(op, true, pack_start);
        } else {
            op_finish(op, -EINVAL);
        }
        break;
    case NODE_ZERO:
    case NODE_DISCARD:
        start_locked(op, true, erase_step);
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

void qcow2_submit(struct node *n, struct node_req *r)
{
    op_start((struct qcow2 *)n, r, false);
}
