/* SPDX-License-Identifier: MIT */
/* block/range.h - locks on ranges of bytes, shared or exclusive, granted in the order asked for.
 *
 * For whoever must keep two requests apart. No thread ever waits: who has to is called back. As long
 * as nobody holds or wants a range alone, locking and unlocking look at no other lock.
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
    struct range *next, **at, *also;
};

struct ranges {
    struct range *first, **tail; /* held ones and waiting ones, oldest first */
    unsigned alone, waiting;     /* how many of them are not shared, are not held */
};

/* True: r is held now. False: granted(r) runs when it is, from inside a range_unlock. */
bool range_lock(struct ranges *s, struct range *r);
/* r is held or waits. */
void range_unlock(struct ranges *s, struct range *r);

#endif
