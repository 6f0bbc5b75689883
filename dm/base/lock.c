/* SPDX-License-Identifier: MIT */
/* dm/base/lock.c - waiting for a lock: a moment awake, then asleep by futex(2). */
#include "dm/base/lock.h"

#include "dm/base/util.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Looks for about ten microseconds: the lock is held over one device access, and to sleep and be woken
 * costs both sides more than that. */
#define LOOKS 300

static bool wait_awake(struct lock *l)
{
    for (int i = 0; i < LOOKS; i++) {
        pause_core();
        if (__atomic_load_n(&l->state, __ATOMIC_RELAXED) == 0 && lock_try(l)) {
            return true;
        }
    }
    return false;
}

/* Whoever was asleep leaves 2 behind: it cannot know that it was the only one. */
void lock_wait(struct lock *l)
{
    if (wait_awake(l)) {
        return;
    }
    while (__atomic_exchange_n(&l->state, 2, __ATOMIC_ACQUIRE)) {
        syscall(SYS_futex, &l->state, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
    }
}

void lock_wake(struct lock *l)
{
    syscall(SYS_futex, &l->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
