/* SPDX-License-Identifier: MIT */
/* dm/base/lock.h - a mutex that costs two instructions while nobody else wants it.
 *
 * The machine lock is taken for each port access of a guest, where the library's mutex is half of the
 * price. Not recursive, any thread may wait, no fairness.
 */
#ifndef DM_BASE_LOCK_H
#define DM_BASE_LOCK_H

#include <stdbool.h>

struct lock {
    int state; /* 0 free, 1 held, 2 held and somebody may be asleep */
};

void lock_wait(struct lock *l); /* takes a lock that was not free */
void lock_wake(struct lock *l);

static inline bool lock_try(struct lock *l)
{
    int free = 0;
    return __atomic_compare_exchange_n(&l->state, &free, 1, false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

static inline void lock_take(struct lock *l)
{
    if (!lock_try(l)) {
        lock_wait(l);
    }
}

static inline void lock_give(struct lock *l)
{
    if (__atomic_exchange_n(&l->state, 0, __ATOMIC_RELEASE) == 2) {
        lock_wake(l);
    }
}

#endif
