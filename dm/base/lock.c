/* SPDX-License-Identifier: MIT */
/* dm/base/lock.c - waiting for a lock: futex(2) behind membarrier(2). */
#include "dm/base/lock.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SPINS = 100 }; /* some microseconds: most holders are in a device's callback */

static bool barrier_everywhere(void)
{
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0) {
        return true;
    }
    return errno == EPERM && /* the first time */
           syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0 &&
           syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}

static bool try_for_a_while(struct lock *l)
{
    for (unsigned i = 0; i < SPINS; i++) {
        if (!__atomic_load_n(&l->state, __ATOMIC_RELAXED) && lock_try(l)) {
            return true;
        }
#ifdef __x86_64__
        __builtin_ia32_pause();
#endif
    }
    return false;
}

/* A kernel without the barrier: whoever gives the lock back may miss that somebody sleeps, who looks again
 * by himself. */
static const struct timespec a_millisecond = { .tv_nsec = 1000000 };

void lock_wait(struct lock *l)
{
    if (try_for_a_while(l)) {
        return;
    }
    __atomic_fetch_add(&l->waiting, 1, __ATOMIC_SEQ_CST);
    const struct timespec *most = barrier_everywhere() ? NULL : &a_millisecond;
    while (!lock_try(l)) {
        syscall(SYS_futex, &l->state, FUTEX_WAIT_PRIVATE, 1, most, NULL, 0);
    }
    __atomic_fetch_sub(&l->waiting, 1, __ATOMIC_RELAXED);
}

void lock_wake(struct lock *l)
{
    syscall(SYS_futex, &l->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
