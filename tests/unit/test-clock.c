/* SPDX-License-Identifier: MIT */
/* tests/unit/test-clock.c - virtual time and timers. */
#include "tests/unit/toy.h"

struct rig {
    struct flat_host *f;
    struct machine *m;
    struct vtimer t[6];
    char order[64]; /* of firing, a letter each */
    int64_t at[64];
    unsigned n;
    int64_t again; /* timer 0 re-arms itself this much later, unless 0 */
};

static void fire(void *opaque);

static int set_up(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    r->m = toy_machine(&r->f, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(r->t); i++) {
        vtimer_init(&r->t[i], r->m, "t", fire, &r->t[i]);
    }
    *state = r;
    r->f->opaque = r;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *r = *state;
    for (unsigned i = 0; i < ARRAY_SIZE(r->t); i++) {
        vtimer_fini(&r->t[i]);
    }
    machine_free(r->m);
    flat_free(r->f);
    free(r);
    return 0;
}

static void fire(void *opaque)
{
    struct vtimer *t = opaque;
    struct rig *r = ((struct flat_host *)t->m->h)->opaque;
    assert_false(vtimer_armed(t));
    if (r->n < ARRAY_SIZE(r->order) - 1) {
        r->at[r->n] = vclock_now(t->m);
        r->order[r->n++] = (char)('a' + (t - r->t));
    }
    if (t == r->t && r->again) {
        vtimer_arm_at(t, r->again > 0 ? vclock_now(t->m) + r->again : 0);
    }
}

static void go(struct rig *r, enum run_state s)
{
    machine_enter(r->m);
    machine_set_run_state(r->m, s);
    machine_leave(r->m);
}

static void test_clock_timers_fire_in_order_at_their_times(void **state)
{
    struct rig *r = *state;
    vtimer_arm(&r->t[2], 50);
    vtimer_arm(&r->t[1], 100);
    vtimer_arm(&r->t[0], 100);
    vtimer_arm(&r->t[3], 10);
    assert_int_equal(r->f->timer_at, 10);
    flat_advance(r->f, r->m, 99);
    assert_string_equal(r->order, "dc");
    assert_int_equal(r->at[0], 10);
    assert_int_equal(r->at[1], 50);
    flat_advance(r->f, r->m, 1);
    assert_string_equal(r->order, "dcab"); /* among equals, the one made first */
    assert_int_equal(r->f->timer_at, -1);
    assert_int_equal(vclock_now(r->m), 100);
}

static void test_clock_rearm_moves_and_disarm_forgets(void **state)
{
    struct rig *r = *state;
    vtimer_arm(&r->t[0], 10);
    vtimer_arm(&r->t[1], 20);
    vtimer_arm(&r->t[0], 30);
    assert_int_equal(r->f->timer_at, 20);
    vtimer_disarm(&r->t[1]);
    vtimer_disarm(&r->t[1]);
    assert_int_equal(r->f->timer_at, 30);
    flat_advance(r->f, r->m, 100);
    assert_string_equal(r->order, "a");
}

static void test_clock_past_fires_soon_but_not_inside_the_call(void **state)
{
    struct rig *r = *state;
    flat_advance(r->f, r->m, 1000);
    vtimer_arm_at(&r->t[0], 5);
    vtimer_arm(&r->t[1], -7);
    assert_int_equal(r->n, 0);
    assert_true(r->f->timer_at >= 0 && r->f->timer_at <= 1000);
    flat_advance(r->f, r->m, 0);
    assert_string_equal(r->order, "ab");
    assert_int_equal(r->at[0], 1000);
}

static void test_clock_far_future_does_not_overflow(void **state)
{
    struct rig *r = *state;
    flat_advance(r->f, r->m, 1000);
    vtimer_arm(&r->t[0], INT64_MAX);
    assert_true(r->t[0].when == INT64_MAX);
    vtimer_arm_at(&r->t[1], INT64_MIN);
    assert_int_equal(r->t[1].when, 0);
    flat_advance(r->f, r->m, 10);
    assert_string_equal(r->order, "b");
    go(r, RUN_PAUSED);
    flat_advance(r->f, r->m, 1000000);
    go(r, RUN_RUNNING); /* virtual lags behind host now: when - offset is beyond 64 bits */
    assert_true(r->f->timer_at == INT64_MAX);
}

static void test_clock_stands_while_stopped(void **state)
{
    struct rig *r = *state;
    flat_advance(r->f, r->m, 40);
    vtimer_arm(&r->t[0], 10);
    go(r, RUN_PAUSED);
    assert_int_equal(r->f->timer_at, -1);
    flat_advance(r->f, r->m, 1000);
    assert_int_equal(vclock_now(r->m), 40);
    assert_int_equal(r->n, 0);
    machine_enter(r->m);
    machine_timers(r->m);
    machine_leave(r->m);
    assert_int_equal(r->n, 0);
    go(r, RUN_RUNNING);
    assert_int_equal(vclock_now(r->m), 40);
    assert_int_equal(r->f->timer_at, 1050); /* the host's own time */
    flat_advance(r->f, r->m, 10);
    assert_string_equal(r->order, "a");
    assert_int_equal(r->at[0], 50);
}

static void test_clock_is_latched_within_an_event(void **state)
{
    struct rig *r = *state;
    machine_enter(r->m);
    assert_int_equal(vclock_now(r->m), 0);
    r->f->now = 77;
    assert_int_equal(vclock_now(r->m), 0);
    machine_leave(r->m);
    assert_int_equal(vclock_now(r->m), 77);
    r->f->now = 78; /* nothing is kept outside of events */
    assert_int_equal(vclock_now(r->m), 78);
}

static void test_clock_self_rearming_timer_does_not_take_the_machine(void **state)
{
    struct rig *r = *state;
    r->again = -1; /* for ever in the past */
    flat_advance(r->f, r->m, 10);
    vtimer_arm_at(&r->t[0], 0);
    r->f->timer_at = -1; /* a host's timer fires once */
    machine_enter(r->m);
    machine_timers(r->m); /* comes back */
    machine_leave(r->m);
    assert_true(vtimer_armed(&r->t[0]));
    assert_true(r->f->timer_at >= 0 && r->f->timer_at <= 10); /* and asks for another turn */
    r->again = 0;
    flat_advance(r->f, r->m, 0);
    assert_false(vtimer_armed(&r->t[0]));
}

static void test_clock_periodic_timer_keeps_its_beat(void **state)
{
    struct rig *r = *state;
    r->again = 7;
    vtimer_arm(&r->t[0], 7);
    flat_advance(r->f, r->m, 70);
    assert_int_equal(r->n, 10);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(r->at[i], 7 * (i + 1));
    }
}

static void test_clock_fini_of_a_zeroed_timer_is_nothing(void **state)
{
    struct vtimer t = { 0 };
    (void)state;
    assert_false(vtimer_armed(&t));
    vtimer_fini(&t);
}

static void test_clock_wall_time_is_the_hosts(void **state)
{
    struct rig *r = *state;
    r->f->wall = 1234567;
    assert_int_equal(wallclock_now(r->m), 1234567);
}

/* Many arms and disarms at random against a plain search. */
static void test_clock_random_arms_agree_with_a_search(void **state)
{
    struct rig *r = *state;
    int64_t when[ARRAY_SIZE(r->t)];
    memset(when, -1, sizeof(when));
    srand(2);
    for (unsigned step = 0; step < 5000; step++) {
        unsigned i = (unsigned)rand() % ARRAY_SIZE(r->t);
        if (rand() % 3) {
            when[i] = rand() % 100;
            vtimer_arm_at(&r->t[i], when[i]);
        } else {
            when[i] = -1;
            vtimer_disarm(&r->t[i]);
        }
        int64_t first = -1;
        for (unsigned k = 0; k < ARRAY_SIZE(r->t); k++) {
            assert_int_equal(vtimer_armed(&r->t[k]), when[k] >= 0);
            first = when[k] >= 0 && (first < 0 || when[k] < first) ? when[k] : first;
        }
        assert_int_equal(r->f->timer_at, first);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_clock_timers_fire_in_order_at_their_times),
        T(test_clock_rearm_moves_and_disarm_forgets),
        T(test_clock_past_fires_soon_but_not_inside_the_call),
        T(test_clock_far_future_does_not_overflow),
        T(test_clock_stands_while_stopped),
        T(test_clock_is_latched_within_an_event),
        T(test_clock_self_rearming_timer_does_not_take_the_machine),
        T(test_clock_periodic_timer_keeps_its_beat),
        T(test_clock_fini_of_a_zeroed_timer_is_nothing),
        T(test_clock_wall_time_is_the_hosts),
        T(test_clock_random_arms_agree_with_a_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
