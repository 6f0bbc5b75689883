/* SPDX-License-Identifier: MIT */
/* dm/base/lock.h - a mutex that costs one locked instruction while nobody else wants it.
 *
 * The machine lock is taken for each port access of a guest, where the library's mutex is half of the
 * price. Not recursive, any thread may wait, no fairness.
 *
 * Giving it back is a store and then a look for who waits, with nothing between that keeps the processor
 * from doing them the other way round. Whoever is about to sleep says so first and then puts a barrier into all
 * threads of the process (membarrier(2)): one that did not see it has given the lock back visibly by then.
 */
#ifndef DM_BASE_LOCK_H
#define DM_BASE_LOCK_H

#include <stdbool.h>

struct lock {
    int state;   /* 0 free, 1 held */
    int waiting; /* threads in lock_wait that may be asleep */
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
    __atomic_store_n(&l->state, 0, __ATOMIC_RELEASE);
    __atomic_signal_fence(__ATOMIC_SEQ_CST); /* the compiler keeps the order */
    if (__atomic_load_n(&l->waiting, __ATOMIC_RELAXED)) {
        lock_wake(l);
    }
}

#endif
