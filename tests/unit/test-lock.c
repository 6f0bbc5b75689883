/* SPDX-License-Identifier: MIT */
/* tests/unit/test-lock.c - the lock of dm/base/lock.h: one holder at a time, and nobody sleeps for ever. */
#include "dm/base/lock.h"

#include "dm/base/util.h"

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

/* ---- a keeper ---- */

struct keeper {
    struct lock_keeper k;
    struct shared *s;
    int asked; /* atomic */
    bool keeps;
};

static void on_ask(struct lock_keeper *k)
{
    __atomic_store_n(&container_of(k, struct keeper, k)->asked, 1, __ATOMIC_SEQ_CST);
}

/* Works under the lock, keeps it as often as it can, and looks now and then whether it was asked. */
static void keep_working(struct keeper *k, unsigned round)
{
    struct shared *s = k->s;
    if (!k->keeps) {
        lock_take(&s->lock);
    }
    s->overlaps += s->inside++;
    s->sum++;
    s->inside--;
    k->keeps = k->keeps || lock_keep(&s->lock, &k->k);
    if (!k->keeps) {
        lock_give(&s->lock);
    } else if (round % 8 == 0 && __atomic_exchange_n(&k->asked, 0, __ATOMIC_SEQ_CST)) {
        k->keeps = false;
        lock_return(&s->lock);
    }
}

/* A question that the keeper does not hear leaves the others asleep, and the end does not come. */
static void test_lock_when_one_keeps_it_then_the_others_still_get_it(void **state)
{
    (void)state;
    static struct shared s;
    struct keeper k = { .k.ask = on_ask, .s = &s };
    struct worker w[THREADS];
    pthread_t t[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        w[i] = (struct worker){ &s, 1000u << i };
        assert_int_equal(pthread_create(&t[i], NULL, work, &w[i]), 0);
    }
    uint64_t mine = 0, others = (uint64_t)THREADS * ROUNDS;
    for (bool all = false; !all; mine++) {
        keep_working(&k, (unsigned)mine);
        all = k.keeps && s.sum == mine + 1 + others;
    }
    lock_return(&s.lock);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(t[i], NULL);
    }
    assert_int_equal(s.overlaps, 0);
    assert_int_equal(s.sum, mine + others);
    assert_null(s.lock.keeper);
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
        cmocka_unit_test(test_lock_when_one_keeps_it_then_the_others_still_get_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
