/* SPDX-License-Identifier: MIT */
/* dm/base/lock.c - sleeping on a lock: futex(2). */
#include "dm/base/lock.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Whoever waited leaves 2 behind: it cannot know that it was the only one. */
void lock_wait(struct lock *l)
{
    while (__atomic_exchange_n(&l->state, 2, __ATOMIC_SEQ_CST)) {
        struct lock_keeper *k = __atomic_load_n(&l->keeper, __ATOMIC_SEQ_CST);
        if (k) {
            k->ask(k);
        }
        syscall(SYS_futex, &l->state, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
    }
}

void lock_wake(struct lock *l)
{
    syscall(SYS_futex, &l->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
