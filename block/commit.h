/* SPDX-License-Identifier: MIT */
/* block/commit.h - writing layers of a chain into one below them, while nothing else happens. */
#ifndef BLOCK_COMMIT_H
#define BLOCK_COMMIT_H

#include "block/node.h"

struct commit_watch {
    void (*progress)(void *opaque, uint64_t done, uint64_t of); /* bytes; may be NULL */
    void *opaque;
};

/* What the layers from top down to base, without that, decide is written into base, which is open for
 * writing and need not be in top's chain: then it is what top decides alone. A shorter base grows.
 * Flushed at the end. Waits for its I/O. watch may be NULL. 0, or -errno with e. */
int commit_down(struct node *top, struct node *base, const struct commit_watch *watch,
                struct err *e);
/* What qcow2 image top has of its own goes into its backing file, which is open for reading and is so
 * afterwards; then top is emptied. 0, or -errno with e: -ENOTSUP when there is nothing to do it with. */
int commit_near(struct node *top, struct err *e);

#endif
