/* SPDX-License-Identifier: MIT */
/* block/mapped.h - what the simpler formats share: a table says where each block of the disk lies.
 *
 * A format (vpc, vdi, vmdk, vhdx, qcow) reads its tables into memory when it is opened and answers
 * lookups from there. The engine moves the data, takes blocks apart and allocates. Tables that
 * changed are written by a flush and at the end:
 *
 *   flush the data | the changed sectors, as they were before that flush | flush
 *
 * so that what is on disk only ever refers to data that are there. A crash leaks blocks at most.
 * Allocations of a node follow one another; other requests are not held up by them.
 */
#ifndef BLOCK_MAPPED_H
#define BLOCK_MAPPED_H

#include "block/format.h"

struct mapped;

enum map_kind {
    MAP_NONE, /* the backing file decides, zeros without one */
    MAP_ZERO,
    MAP_FILE,   /* the bytes lie in `file` from `at` on */
    MAP_PACKED, /* one block, compressed: packed_len bytes from `at` on */
    MAP_BAD,    /* the table makes no sense here */
};

struct map_run {
    enum map_kind kind;
    uint64_t len; /* bytes for which this holds, from the offset asked for */
    struct node *file;
    uint64_t at;
    uint32_t packed_len;
    bool in_place; /* MAP_NONE: the block has its place already, from `at` on */
};

struct map_ops {
    struct node_ops node; /* name only; the engine fills in the rest at mapped_open */
    /* What the bytes from offset on are. r->len may be short, down to a sector. */
    void (*lookup)(const struct mapped *m, uint64_t offset, uint64_t len, struct map_run *r);
    /* Room for count blocks from number `first` on, one after the other: *at. -errno. NULL: the
     * node cannot allocate. */
    int (*allocate)(struct mapped *m, uint64_t first, uint64_t count, uint64_t *at);
    /* They have been written there; len is that of a packed block, else 0. Changes the table and
     * calls mapped_dirty. */
    void (*written)(struct mapped *m, uint64_t first, uint64_t count, uint64_t at, uint32_t len);
    /* The sector a key stands for, as it is now. Returns its place in the file. */
    uint64_t (*table)(const struct mapped *m, uint64_t key, uint8_t sector[512]);
    /* One block from its packed form; any thread. 0 or -errno. */
    int (*unpack)(const struct mapped *m, const uint8_t *src, uint32_t len, uint8_t *dst);
    /* The packed form of block number `index`, whole sectors; any thread. dst has room for two
     * blocks. Returns its bytes. NULL: no packing. */
    uint32_t (*pack)(const struct mapped *m, uint64_t index, const uint8_t *src, uint8_t *dst);
    /* Before everything is closed: what has to be written last. May be NULL. */
    int (*finish)(struct mapped *m);
    void (*free)(struct mapped *m); /* the format's own memory, m included */
};

struct mapped {
    struct node base; /* first */
    const struct map_ops *ops;
    uint64_t block; /* bytes, a power of two from 512 on */
    bool gaps;      /* blocks never lie one after the other */
    bool
        knows_zeros; /* without a backing file, a block without a place is the format's word for zeros */
    bool pass_discard;
    uint64_t end;        /* where the next allocation lies in the file; the format's */
    struct node **files; /* more than base.file: closed with it */
    unsigned nfiles;
    uint64_t keys; /* how many keys mapped_dirty knows */

    /* the engine's own */
    struct node_ops node_ops;
    uint64_t *dirty;
    bool any_dirty;
    struct map_op *allocating, *waiting, **waiting_tail;
    unsigned writing;
    uint64_t tickets, pack_turn;
    struct node_req *flush_next, **flush_tail; /* for the flush after this one */
    struct map_flush *flushing;
};

/* Fills in the rest of m: ops, block, base.len and keys are set. Takes file. */
void mapped_start(struct mapped *m, struct node *file, const struct image_open *o);
/* The sector that key stands for has to be written. */
void mapped_dirty(struct mapped *m, uint64_t key);
/* format's check: blocks that lie nowhere, or over one another. */
int mapped_check(struct node *n, struct format_check *out);
/* Reads len bytes, whole sectors, of tables at `at` into memory of its own. NULL with e; what lies
 * beyond the file's end is an error. */
void *mapped_read(struct node *file, uint64_t at, uint64_t len, const char *what, struct err *e);

#endif
