/* SPDX-License-Identifier: MIT */
/* dm/base/lock.h - a mutex that costs two instructions while nobody else wants it.
 *
 * The machine lock is taken for each port access of a guest, where the library's mutex is half of the
 * price. Not recursive, any thread may wait, no fairness.
 *
 * Those two are locked instructions, and most of what is left of the price. A thread that takes the lock
 * again and again therefore may keep it in between, at no cost, and has it asked back by whoever waits.
 */
#ifndef DM_BASE_LOCK_H
#define DM_BASE_LOCK_H

#include <stdbool.h>
#include <stddef.h>

/* Who keeps a lock: ask, on any thread, makes it call lock_return soon. */
struct lock_keeper {
    void (*ask)(struct lock_keeper *k);
};

struct lock {
    int state;                  /* 0 free, 1 held, 2 held and somebody may be asleep */
    struct lock_keeper *keeper; /* atomic: holds it without using it, or NULL */
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

/* The holder keeps it from now on. False: somebody waits, and it is only held. The order matters: who
 * waits says so before it looks for a keeper, and one of the two sees the other. */
static inline bool lock_keep(struct lock *l, struct lock_keeper *k)
{
    __atomic_store_n(&l->keeper, k, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&l->state, __ATOMIC_SEQ_CST) == 1) {
        return true;
    }
    __atomic_store_n(&l->keeper, NULL, __ATOMIC_RELAXED);
    return false;
}

/* lock_give by the keeper. */
static inline void lock_return(struct lock *l)
{
    __atomic_store_n(&l->keeper, NULL, __ATOMIC_RELAXED);
    lock_give(l);
}

#endif
