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
