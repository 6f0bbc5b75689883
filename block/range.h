/* SPDX-License-Identifier: MIT */
/* block/range.h - locks on ranges of bytes, shared or exclusive, granted in the order asked for.
 *
 * For filters that must keep two requests apart. No thread ever waits: who has to is called back.
 */
#ifndef BLOCK_RANGE_H
#define BLOCK_RANGE_H

#include <stdbool.h>
#include <stdint.h>

struct range {
    uint64_t from, to; /* bytes, to is the first one outside */
    bool shared;       /* with others that are shared too */
    void (*granted)(struct range *r);
    bool held; /* from here on the lock's own */
    struct range *next;
};

struct ranges {
    struct range *first; /* held ones and waiting ones, oldest first */
};

/* True: r is held now. False: granted(r) runs when it is, from inside a range_unlock. */
bool range_lock(struct ranges *s, struct range *r);
void range_unlock(struct ranges *s, struct range *r);

#endif
