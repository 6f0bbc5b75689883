/* SPDX-License-Identifier: MIT */
/* tests/unit/test-lock.c - the lock of dm/base/lock.h: one holder at a time, and nobody sleeps for ever. */
#include "dm/base/lock.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

enum { THREADS = 4, ROUNDS = 30000 };

struct shared {
    struct lock lock;
    unsigned inside; /* changed only by the holder, and not atomically */
    uint64_t sum, overlaps;
    int started;
};

struct worker {
    struct shared *s;
    unsigned dawdle; /* sleeps while it holds the lock, once in so many rounds */
};

static void *work(void *o)
{
    const struct worker *w = o;
    struct shared *s = w->s;
    __atomic_fetch_add(&s->started, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&s->started, __ATOMIC_SEQ_CST) < THREADS) {
        sched_yield();
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        lock_take(&s->lock);
        s->overlaps += s->inside++;
        if (i % w->dawdle == 0) {
            usleep(20); /* the others give up spinning */
        }
        s->sum++;
        s->inside--;
        lock_give(&s->lock);
    }
    return NULL;
}

/* Whoever is not woken stays: then the end does not come, and the test's time runs out. */
static void test_lock_when_threads_sleep_for_it_then_each_gets_it(void **state)
{
    (void)state;
    static struct shared s;
    struct worker w[THREADS];
    pthread_t t[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        w[i] = (struct worker){ &s, 100u << i };
        assert_int_equal(pthread_create(&t[i], NULL, work, &w[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(t[i], NULL);
    }
    assert_int_equal(s.overlaps, 0);
    assert_int_equal(s.sum, (uint64_t)THREADS * ROUNDS);
    assert_int_equal(s.lock.state, 0);
}

static void test_lock_when_held_then_try_fails(void **state)
{
    (void)state;
    struct lock l = { 0 };
    assert_true(lock_try(&l));
    assert_false(lock_try(&l));
    lock_give(&l);
    assert_true(lock_try(&l));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lock_when_held_then_try_fails),
        cmocka_unit_test(test_lock_when_threads_sleep_for_it_then_each_gets_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
