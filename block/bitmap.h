/* SPDX-License-Identifier: MIT */
/* block/bitmap.h - dirty bitmaps: which parts of a node have changed since a bitmap was cleared.
 *
 * A node has any number of them, each with a name of its own. One bit stands for `granularity`
 * bytes. While a bitmap records, node_complete marks what a write, zero or discard touched, also
 * one that failed: it may have changed a part. So once a request has completed its bits are set,
 * and whoever clears bits and then reads the node misses nothing.
 *
 * A node that can keep bitmaps (qcow2, block/qcow2.h) loads the stored ones when it is opened and
 * stores the persistent ones when it is closed. The others end with the node. Everything here runs
 * on the node's thread.
 */
#ifndef BLOCK_BITMAP_H
#define BLOCK_BITMAP_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct node;

enum {
    BITMAP_MIN_BITS = 9, /* log2 of the least and the greatest granularity */
    BITMAP_MAX_BITS = 31,
    BITMAP_MAX_NAME = 1023,
    BITMAP_MAX_BYTES = 256 << 20, /* of memory for all bitmaps of a node */
};

struct bitmap {
    struct bitmap *next; /* of the same node */
    struct node *node;
    char *name;
    unsigned granularity_bits; /* log2 bytes */
    uint64_t len;              /* bytes of the node it covers */
    uint64_t *words;           /* bit i stands for bytes [i, i + 1) << granularity_bits */
    uint64_t dirty;            /* bits that are set */
    bool recording;
    bool persistent; /* stored with the image */
    bool
        inconsistent; /* it was in use when its image was last left: all it is good for is removal */
    bool busy;        /* a job uses it: nobody else may change or remove it */
};

/* A new, empty bitmap that records. granularity, in bytes; 0: 64 KiB. NULL with e: the name is taken
 * (-EEXIST), too long or empty, the granularity is no power of two in bounds, or there are too many bits
 * (-EFBIG). */
struct bitmap *bitmap_new(struct node *n, const char *name, uint32_t granularity, struct err *e);
/* Takes it off its node. NULL is fine. */
void bitmap_free(struct bitmap *b);
struct bitmap *bitmap_find(const struct node *n, const char *name);
/* Why it cannot be used right now: -EBUSY or -EINVAL (inconsistent) with e, or 0. */
int bitmap_usable(const struct bitmap *b, struct err *e);

/* Any range; what lies past the end does not count. A set marks all bits it touches, a clear only
 * those it covers whole. */
void bitmap_set(struct bitmap *b, uint64_t offset, uint64_t len);
void bitmap_clear(struct bitmap *b, uint64_t offset, uint64_t len);
bool bitmap_get(const struct bitmap *b, uint64_t offset);
/* The first dirty range at or after *offset: *offset and *len then tell it, cut to [*offset, end)
 * and to max bytes (0: as long as it is). False: there is none. */
bool bitmap_next(const struct bitmap *b, uint64_t *offset, uint64_t *len, uint64_t max);
/* Bytes that are dirty: whole bits but for the last, which ends with the node. */
uint64_t bitmap_dirty_bytes(const struct bitmap *b);
/* What is dirty in `from` becomes dirty in `to`; the granularities may differ. -EINVAL: another
 * length. */
int bitmap_merge(struct bitmap *to, const struct bitmap *from);
/* Exchanges what the two have recorded: same node, same granularity. A backup takes the bits this
 * way and gives them back by merging if it fails. */
void bitmap_swap(struct bitmap *a, struct bitmap *b);

/* Words from `first` on are set from bytes, len of them, a multiple of 8, as a qcow2 image has them:
 * the first bit is the lowest of the first byte. */
void bitmap_load(struct bitmap *b, uint64_t first, const void *bytes, uint64_t len);

/* block/node.c's own: marks a range in all that record. */
void bitmap_mark(struct node *n, uint64_t offset, uint64_t len);
/* The node is len bytes long now. What is new is clean. -ENOMEM: some are still as they were. */
int bitmap_resize(struct node *n, uint64_t len);
void bitmap_free_list(struct bitmap *first);

#endif
