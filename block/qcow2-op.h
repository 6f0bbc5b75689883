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

/* Flags of a NODE_WRITE without data: its clusters get a place, what they read as stays. With
 * METADATA the file is long enough then; with FALLOC the host has set the room aside; with FULL
 * zeros were written. The guest's clusters hold nothing, or have a place. */
enum {
    OP_PREALLOC_METADATA = 1 << 28,
    OP_PREALLOC_FALLOC = 1 << 29,
    OP_PREALLOC_FULL = 1 << 30,
};

struct mapping {
    enum cluster_kind kind;
    struct l2_entry entry; /* of the first cluster */
    bool placed;           /* there is room at `host`, also if it is not in use */
    uint64_t host;         /* bytes, where guest's byte is */
    bool writable;         /* in place */
    uint64_t len;          /* bytes of which this is true */
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

static inline uint32_t in_sub(const struct qcow2 *s, uint64_t offset)
{
    return (uint32_t)(offset & ((1u << s->sub_bits) - 1));
}

/* Which part of its cluster a byte is in. */
static inline unsigned sub_of(const struct qcow2 *s, uint64_t offset)
{
    return in_cluster(s, offset) >> s->sub_bits;
}

static inline unsigned subs_per_cluster(const struct qcow2 *s)
{
    return 1u << (s->cluster_bits - s->sub_bits);
}

static inline struct l2_entry entry_at(const struct table *t, uint64_t index)
{
    return entry_load(t->s, t->bytes, index);
}

static inline void entry_set(struct table *t, uint64_t index, struct l2_entry e)
{
    entry_store(t->s, t->bytes, index, e);
    table_dirty(t, (uint32_t)(index << t->s->entry_bits),
                (uint32_t)((index + 1) << t->s->entry_bits));
}

/* Whether the guest's byte `guest`, in a part of that kind, reads as zero. */
static inline bool reads_zero(const struct qcow2 *s, enum cluster_kind k, uint64_t guest)
{
    return k == CLUSTER_ZERO ||
           (k == CLUSTER_NONE && (!s->node.backing || guest >= s->node.backing->len));
}

/* The cluster is the image's own: it may be written where it is. */
static inline bool keeps_place(const struct qcow2 *s, struct l2_entry e)
{
    return !(e.place & OFLAG_COMPRESSED) && (e.place & OFLAG_COPIED) && qcow2_has_place(s, e);
}

/* Whole clusters, or up to the end of the disk. */
static inline bool whole_clusters(const struct qcow2 *s, uint64_t offset, uint64_t len)
{
    return in_cluster(s, offset) == 0 && (in_cluster(s, len) == 0 || offset + len >= s->node.len);
}

/* qcow2-map.c */
/* What is behind guest bytes [guest, guest + want). 0; -EAGAIN: op was queued. */
int map_range(struct qop *op, uint64_t guest, uint64_t want, struct mapping *m);
/* The same for whoever cannot wait. False: it takes reading, or something is wrong. */
bool map_at_hand(struct qcow2 *s, uint64_t guest, uint64_t want, struct mapping *m);

/* qcow2-io.c */
/* Locks the clusters of op's request. False: op's step runs when it has them. */
bool lock_range(struct qop *op, bool exclusive);
void unlock_range(struct qop *op);
/* Frees op, unlocks, completes its request. */
void op_finish(struct qop *op, int ret);
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
void erase_start(struct qop *op);
void erase_step(struct qop *op);

#endif
