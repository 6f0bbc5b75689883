/* SPDX-License-Identifier: MIT */
/* block/qcow2-op.h - what the parts of the qcow2 driver that move data share.
 *
 * qcow2-io.c    range locks, mapping, reading, where requests come in
 * qcow2-write.c writing, also compressed
 * qcow2-erase.c zeros and discards
 */
#ifndef BLOCK_QCOW2_OP_H
#define BLOCK_QCOW2_OP_H

#include "block/qcow2-int.h"

struct mapping {
    enum cluster_kind kind;
    uint64_t entry; /* of the first cluster */
    uint64_t host;  /* bytes, where guest's byte is; CLUSTER_NORMAL only */
    bool writable;  /* in place */
    uint64_t len;   /* bytes of which this is true */
};

static inline uint64_t guest_at(const struct qop *op)
{
    return op->r->offset + op->at;
}

static inline uint64_t left(const struct qop *op)
{
    return op->r->len - op->at;
}

static inline uint32_t in_cluster(const struct qcow2 *s, uint64_t offset)
{
    return (uint32_t)(offset & (s->cluster_size - 1));
}

static inline uint64_t entry_at(const struct table *t, uint64_t index)
{
    return load_be64(t->bytes + index * 8);
}

static inline void entry_set(struct table *t, uint64_t index, uint64_t entry)
{
    store_be64(t->bytes + index * 8, entry);
    table_dirty(t, (uint32_t)(index * 8), (uint32_t)(index * 8 + 8));
}

static inline bool reads_zero(const struct qcow2 *s, uint64_t entry, uint64_t guest)
{
    enum cluster_kind k = qcow2_kind(s, entry);

    return k == CLUSTER_ZERO ||
           (k == CLUSTER_NONE && (!s->node.backing || guest >= s->node.backing->len));
}

static inline bool in_place(const struct qcow2 *s, uint64_t entry)
{
    return qcow2_kind(s, entry) == CLUSTER_NORMAL && (entry & OFLAG_COPIED);
}

/* Whole clusters, or up to the end of the disk. */
static inline bool whole_clusters(const struct qcow2 *s, uint64_t offset, uint64_t len)
{
    return in_cluster(s, offset) == 0 && (in_cluster(s, len) == 0 || offset + len >= s->node.len);
}

/* qcow2-io.c */
/* Locks the clusters of op's request. False: op's step runs when it has them. */
bool lock_range(struct qop *op, bool exclusive);
void unlock_range(struct qop *op);
/* Frees op, unlocks, completes its request. */
void op_finish(struct qop *op, int ret);
/* What is behind guest bytes [guest, guest + want). 0; -EAGAIN: op was queued. */
int map_range(struct qop *op, uint64_t guest, uint64_t want, struct mapping *m);
/* The request's bytes [at, at + piece) as an iovec of op's own, with room for two more. */
int piece_iov(struct qop *op, uint64_t piece, int *n);
void io_start(struct qop *op, struct node *to, enum node_op what, uint64_t offset,
              const struct iovec *iov, int n, uint64_t len, void (*done)(struct node_req *, int));
/* A request to ourselves under op's lock. It may reach past the disk's end, to the cluster's. */
void io_own(struct qop *op, enum node_op what, uint64_t offset, void *buf, uint64_t len,
            void (*done)(struct node_req *, int));

/* qcow2-write.c: a table that may be changed, made or copied if need be; and steps. */
struct table *l2_for_write(struct qop *op, uint64_t guest, int *ret);
void write_map(struct qop *op);
void pack_start(struct qop *op);

/* qcow2-erase.c */
void erase_step(struct qop *op);

#endif
