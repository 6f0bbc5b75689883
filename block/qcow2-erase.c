/* SPDX-License-Identifier: MIT */
/* block/qcow2-erase.c - zeros and discards: L2 entries change, data are written only where they
 * cannot tell. */
#include "block/qcow2-op.h"

/* ---- zeros and discards ---- */

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

/* All parts of the cluster read as zeros. */
static bool zero_already(const struct qcow2 *s, struct l2_entry e, uint64_t guest)
{
    for (unsigned i = 0; i < subs_per_cluster(s); i++) {
        if (!reads_zero(s, qcow2_kind(s, e, i), guest)) {
            return false;
        }
    }
    return true;
}

/* What an entry becomes; the same when nothing is to be done. */
static struct l2_entry erased(const struct qop *op, struct l2_entry e, uint64_t guest)
{
    const struct qcow2 *s = op->s;
    bool keep = op->r->op == NODE_ZERO && !(op->r->flags & NODE_UNMAP);
    struct l2_entry now = { 0 };

    if (zero_already(s, e, guest) && (keep || !qcow2_has_place(s, e))) {
        return e;
    }
    if (s->h.version < 3 || (op->r->op == NODE_DISCARD && reads_zero(s, CLUSTER_NONE, guest))) {
        return now;
    }
    if (keep && keeps_place(s, e)) {
        now.place = e.place;
    }
    if (s->extended) {
        now.map = MAP_ZEROS;
    } else {
        now.place |= OFLAG_ZERO;
    }
    return now;
}

static void erase_entries(struct qop *op, struct table *t, uint64_t len)
{
    struct qcow2 *s = op->s;
    uint64_t guest = guest_at(op), i = l2_index(s, cluster_of(s, guest)), n = 0;
    uint64_t max = (len + s->cluster_size - 1) >> s->cluster_bits;

    t->pins++;
    for (; n < max && i + n < 1ull << s->l2_bits; n++) {
        struct l2_entry old = entry_at(t, i + n);
        struct l2_entry now = erased(op, old, guest + (n << s->cluster_bits));

        if (now.place != old.place || now.map != old.map) {
            entry_set(t, i + n, now);
            if (!qcow2_has_place(s, now)) {
                qcow2_free_entry(s, old.place);
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

    if (nothing && reads_zero(s, CLUSTER_NONE, guest)) {
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

/* The parts that [guest, guest + len) covers whole, of one cluster, become zeros. As erase_whole. */
static int erase_parts(struct qop *op, uint64_t len)
{
    struct qcow2 *s = op->s;
    uint64_t guest = guest_at(op), i = l2_index(s, cluster_of(s, guest)), mask;
    unsigned sub = sub_of(s, guest), n;
    int ret;
    struct table *t = l2_for_write(op, guest, &ret);

    if (!t) {
        return ret;
    }
    if (guest + len < s->node.len) {
        len &= ~((1ull << s->sub_bits) - 1);
    }
    op->piece = min_u64(len, s->cluster_size - in_cluster(s, guest));
    n = (unsigned)((op->piece + (1u << s->sub_bits) - 1) >> s->sub_bits);
    mask = (MAP_ALLOCATED >> (32 - n)) << sub;
    struct l2_entry e = entry_at(t, i);
    e.map = (e.map & ~mask) | mask << 32;
    entry_set(t, i, e);
    return 1;
}

static int erase_by_writing(struct qop *op)
{
    struct qcow2 *s = op->s;
    uint64_t guest = guest_at(op);
    struct mapping m;
    int ret;

    if (op->r->op == NODE_DISCARD) {
        op->piece = min_u64(left(op), s->cluster_size - in_cluster(s, guest));
        return 1;
    }
    op->piece = min_u64(left(op), (1u << s->sub_bits) - in_sub(s, guest));
    ret = map_range(op, guest, op->piece, &m);
    if (ret < 0) {
        return ret;
    }
    if (reads_zero(s, m.kind, guest)) {
        return 1;
    }
    if (in_sub(s, guest) == 0 && m.kind != CLUSTER_COMPRESSED && s->extended &&
        (op->piece == 1u << s->sub_bits || guest + op->piece >= s->node.len)) {
        return erase_parts(op, left(op));
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

static void data_erased(struct node_req *io, int ret)
{
    struct qop *op = io->opaque;

    if (ret < 0 && (op->r->op == NODE_ZERO || (op->s->h.autoclear & AUTOCLEAR_RAW_DATA))) {
        op_finish(op, ret);
    } else {
        erase_step(op);
    }
}

/* A data file loses the bytes first: one that others read by itself (raw) has to show the zeros,
 * any other gives the room back. What its tables say then changes nothing for the guest. */
void erase_start(struct qop *op)
{
    struct qcow2 *s = op->s;
    bool unmap = op->r->op == NODE_DISCARD || (op->r->flags & NODE_UNMAP);

    if (s->external && ((s->h.autoclear & AUTOCLEAR_RAW_DATA) || (s->pass_discard && unmap))) {
        io_start(op, s->data, NODE_ZERO, op->r->offset, NULL, 0, op->r->len, data_erased);
    } else {
        erase_step(op);
    }
}

void erase_step(struct qop *op)
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
