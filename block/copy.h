/* SPDX-License-Identifier: MIT */
/* block/copy.h - copies what a bitmap says from one node to another, several pieces at a time.
 *
 * The engine of every job. Each piece is taken out of the bitmap, locked, looked at (data, zeros, or
 * nothing of the layers that count), read and written. A piece that fails goes back into the
 * bitmap. Everything happens in completions of node requests; nothing here waits.
 */
#ifndef BLOCK_COPY_H
#define BLOCK_COPY_H

#include "block/node.h"
#include "block/range.h"

struct bitmap;

enum { COPY_CHUNK = 1 << 20, COPY_PIECES = 16 };

struct copier {
    struct node *from, *to;
    const struct node *base; /* what comes from here on below `from` does not count, and is not
                                copied; NULL: everything counts */
    bool skip_top;           /* what `from` itself holds is not copied: it is there already */
    bool unchanged;          /* `to` reads the same before and after */
    bool keep_storage;       /* no holes where zeros are */
    uint64_t compress;       /* bytes of the clusters that are written compressed; 0: none are */
    struct bitmap *todo;
    struct ranges *locks; /* pieces hold theirs exclusively: also against each other */
    /* Each piece, when it has ended, with the bytes it brought forward. ret 0, or -errno of reading
     * or writing. */
    void (*ended)(struct copier *c, uint64_t len, int ret, bool reading);
    /* How much may be started now; 0: the owner calls copy_start again later. NULL: no limit. */
    uint64_t (*allowance)(struct copier *c);
    void (*charge)(struct copier *c,
                   uint64_t len); /* len bytes are being copied now; may be NULL */
    void *opaque;
    uint64_t chunk; /* bytes of a piece at most; 0: COPY_CHUNK */
    unsigned in_flight;
    uint64_t cursor;
};

/* Starts as many pieces as there is room for. */
void copy_start(struct copier *c);
/* Copies [offset, offset + len), which the caller has locked and taken out of the bitmap, then
 * calls done(opaque, ret). In flight like any piece, but `ended` does not hear of it. */
void copy_range(struct copier *c, uint64_t offset, uint64_t len,
                void (*done)(void *opaque, int ret, bool reading), void *opaque);

/* What the bytes from offset on are in the chain that begins with top and ends above base (NULL: at
 * its end): depth 0 says top decides, 1 what stands under it, and so on, filters not counted; -1:
 * no layer that counts holds anything there. */
struct chain_status {
    struct node_req r; /* first */
    const struct node *base;
    struct node *at;
    uint64_t offset, len;
    int depth;
    void (*done)(struct chain_status *s, int ret);
    struct node_status status; /* the answer, with depth */
};
void chain_status(struct chain_status *s, struct node *top);

#endif
