/* SPDX-License-Identifier: MIT */
/* tests/unit/test-range.c - block/range.h: who gets a range when, and in which order. */
#include "block/range.h"

#include "dm/base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

struct user {
    struct range r;
    char name;
    bool leaves; /* as soon as it is granted */
};

static struct {
    struct ranges s;
    char order[16];
    struct user u[4];
} b;

static void granted(struct range *r)
{
    struct user *u = container_of(r, struct user, r);

    assert_true(r->held);
    b.order[strlen(b.order)] = u->name;
    if (u->leaves) {
        range_unlock(&b.s, r);
    }
}

static bool lock(unsigned i, uint64_t from, uint64_t to, bool shared)
{
    bool leaves = b.u[i].leaves;

    b.u[i] = (struct user){ { from, to, .shared = shared, .granted = granted },
                            (char)('a' + i),
                            leaves };
    return range_lock(&b.s, &b.u[i].r);
}

static void unlock(unsigned i)
{
    range_unlock(&b.s, &b.u[i].r);
}

static int begin(void **state)
{
    (void)state;
    memset(&b, 0, sizeof(b));
    return 0;
}

static int nothing_is_left(void **state)
{
    (void)state;
    return b.s.first || b.s.alone || b.s.waiting;
}

static void test_range_when_ranges_meet_then_only_shared_ones_are_held_together(void **state)
{
    (void)state;
    assert_true(lock(3, 150, 200, false)); /* alone, but it only touches the others */
    assert_true(lock(0, 0, 100, true));
    assert_true(lock(1, 50, 150, true));
    assert_false(lock(2, 99, 100, false));
    unlock(0);
    assert_string_equal(b.order, "");
    unlock(1);
    assert_string_equal(b.order, "c");
    unlock(2);
    unlock(3);
}

static void test_range_when_one_waits_alone_then_later_shared_ones_wait_behind_it(void **state)
{
    (void)state;
    assert_true(lock(0, 0, 100, true));
    assert_false(lock(1, 0, 100, false));
    assert_false(lock(2, 0, 50, true));
    assert_false(lock(3, 50, 100, true));
    unlock(0);
    assert_string_equal(b.order, "b");
    unlock(1);
    assert_string_equal(b.order, "bcd");
    unlock(2);
    unlock(3);
}

static void test_range_when_who_is_granted_leaves_at_once_then_the_next_follows(void **state)
{
    (void)state;
    b.u[1].leaves = b.u[2].leaves = b.u[3].leaves = true;
    assert_true(lock(0, 0, 100, false));
    assert_false(lock(1, 0, 50, false));
    assert_false(lock(2, 0, 100, false));
    assert_false(lock(3, 60, 100, true));
    unlock(0);
    assert_string_equal(b.order, "bcd");
}

static void test_range_when_one_that_waits_gives_up_then_those_behind_it_go(void **state)
{
    (void)state;
    assert_true(lock(0, 0, 10, true));
    assert_false(lock(1, 0, 100, false));
    assert_false(lock(2, 5, 100, true));
    unlock(1);
    assert_string_equal(b.order, "c");
    unlock(0);
    unlock(2);
}

int main(void)
{
#define RANGE_TEST(name) cmocka_unit_test_setup_teardown(name, begin, nothing_is_left)
    const struct CMUnitTest tests[] = {
        RANGE_TEST(test_range_when_ranges_meet_then_only_shared_ones_are_held_together),
        RANGE_TEST(test_range_when_one_waits_alone_then_later_shared_ones_wait_behind_it),
        RANGE_TEST(test_range_when_who_is_granted_leaves_at_once_then_the_next_follows),
        RANGE_TEST(test_range_when_one_that_waits_gives_up_then_those_behind_it_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
