/* SPDX-License-Identifier: MIT */
/* tests/unit/test-ev.c - the event loop: descriptors, timers, posts, and other threads' hands. */
#include "dm/base/ev.h"
#include "dm/base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define MS 1000000ll

struct rig {
    struct ev_loop *l;
    pthread_mutex_t lock;
    bool held;
    int pair[2]; /* we write to 1, the loop reads 0 */
    struct ev_fd fd;
    unsigned events, calls;
    char order[64];
    unsigned n;
};

static void lock(void *opaque)
{
    struct rig *r = opaque;
    pthread_mutex_lock(&r->lock);
    r->held = true;
}

static void unlock(void *opaque)
{
    struct rig *r = opaque;
    r->held = false;
    pthread_mutex_unlock(&r->lock);
}

static void on_fd(void *opaque, unsigned events)
{
    struct rig *r = opaque;
    char c;
    assert_true(r->held);
    r->events = events;
    r->calls++;
    if (events & EV_READ) {
        (void)!read(r->pair[0], &c, 1);
    }
}

static int set_up(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    pthread_mutex_init(&r->lock, NULL);
    r->l = ev_loop_new(lock, unlock, r);
    assert_non_null(r->l);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, r->pair), 0);
    r->fd = (struct ev_fd){ .fd = r->pair[0], .events = EV_READ, .cb = on_fd, .opaque = r };
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *r = *state;
    ev_fd_del(&r->fd);
    ev_loop_free(r->l);
    close(r->pair[0]);
    if (r->pair[1] >= 0) {
        close(r->pair[1]);
    }
    pthread_mutex_destroy(&r->lock);
    free(r);
    return 0;
}

/* ---- descriptors ---- */

static void test_ev_readable_descriptor_calls_back_under_the_lock(void **state)
{
    struct rig *r = *state;
    assert_int_equal(ev_fd_add(r->l, &r->fd), 0);
    assert_int_equal(ev_loop_turn(r->l, 0), 0);
    assert_int_equal(write(r->pair[1], "x", 1), 1);
    assert_int_equal(ev_loop_turn(r->l, -1), 1);
    assert_int_equal(r->events, EV_READ);
    assert_int_equal(ev_loop_turn(r->l, 0), 0);
    ev_fd_del(&r->fd);
    assert_int_equal(write(r->pair[1], "x", 1), 1);
    assert_int_equal(ev_loop_turn(r->l, 0), 0);
}

static void test_ev_events_wanted_may_change(void **state)
{
    struct rig *r = *state;
    r->fd.events = 0;
    assert_int_equal(ev_fd_add(r->l, &r->fd), 0);
    assert_int_equal(write(r->pair[1], "x", 1), 1);
    assert_int_equal(ev_loop_turn(r->l, 0), 0);
    ev_fd_set(&r->fd, EV_WRITE);
    assert_int_equal(ev_loop_turn(r->l, 0), 1);
    assert_int_equal(r->events, EV_WRITE);
    ev_fd_set(&r->fd, EV_READ | EV_WRITE);
    assert_int_equal(ev_loop_turn(r->l, 0), 1);
    assert_int_equal(r->events, EV_READ | EV_WRITE);
    ev_fd_set(&r->fd, 0);
    assert_int_equal(ev_loop_turn(r->l, 0), 0);
}

static void test_ev_hangup_is_reported_and_silenced_by_wanting_nothing(void **state)
{
    struct rig *r = *state;
    assert_int_equal(ev_fd_add(r->l, &r->fd), 0);
    close(r->pair[1]);
    r->pair[1] = -1;
    assert_int_equal(ev_loop_turn(r->l, 0), 1);
    assert_int_equal(r->events, EV_READ | EV_HANGUP);
    ev_fd_set(&r->fd, EV_WRITE);
    assert_int_equal(ev_loop_turn(r->l, 0), 1);
    assert_int_equal(r->events, EV_WRITE | EV_HANGUP);
    ev_fd_set(&r->fd, 0);
    assert_int_equal(ev_loop_turn(r->l, 0), 0);
}

static void test_ev_hangup_alone_comes_with_read(void **state)
{
    struct rig *r = *state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct ev_fd f = { .fd = ends[0], .events = EV_READ, .cb = on_fd, .opaque = r };
    assert_int_equal(ev_fd_add(r->l, &f), 0);
    close(ends[1]); /* a pipe says nothing but "hung up" */
    assert_int_equal(ev_loop_turn(r->l, 0), 1);
    assert_int_equal(r->events, EV_READ | EV_HANGUP);
    ev_fd_del(&f);
    close(ends[0]);
}

static void test_ev_bad_descriptors_are_refused(void **state)
{
    struct rig *r = *state;
    struct ev_fd twin = r->fd, none = r->fd, file = r->fd;
    none.fd = -1;
    file.fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    assert_true(file.fd >= 0);
    assert_int_equal(ev_fd_add(r->l, &r->fd), 0);
    assert_int_equal(ev_fd_add(r->l, &twin), -EEXIST);
    assert_int_equal(ev_fd_add(r->l, &none), -EBADF);
    assert_int_equal(ev_fd_add(r->l, &file), -EPERM);
    ev_fd_del(&twin);
    ev_fd_del(&file);
    close(file.fd);
    assert_int_equal(write(r->pair[1], "x", 1), 1);
    assert_int_equal(ev_loop_turn(r->l, 0), 1);
}

static void kill_other(void *opaque, unsigned events)
{
    struct ev_fd *other = opaque;
    (void)events;
    ev_fd_del(other);
    memset(other, 0x5a, sizeof(*other)); /* it may be freed now */
}

static void test_ev_callback_may_remove_what_is_due_next(void **state)
{
    struct rig *r = *state;
    struct ev_fd a, b;
    int more[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, more), 0);
    a = (struct ev_fd){ .fd = r->pair[0], .events = EV_WRITE, .cb = kill_other, .opaque = &b };
    b = (struct ev_fd){ .fd = more[0], .events = EV_WRITE, .cb = kill_other, .opaque = &a };
    assert_int_equal(ev_fd_add(r->l, &a), 0);
    assert_int_equal(ev_fd_add(r->l, &b), 0);
    assert_int_equal(ev_loop_turn(r->l, 0), 1); /* whichever came first */
    ev_fd_del(a.fd == r->pair[0] ? &a : &b);
    close(more[0]);
    close(more[1]);
}

static void replace(void *opaque, unsigned events)
{
    struct rig *r = opaque;
    (void)events;
    char c;
    if (r->fd.loop && !r->calls) { /* the same number, another registration */
        ev_fd_del(&r->fd);
        assert_int_equal(read(r->fd.fd, &c, 1), 1);
        assert_int_equal(ev_fd_add(r->l, &r->fd), 0);
    }
    strcat(r->order, "r");
}

static void test_ev_stale_report_does_not_reach_a_new_registration(void **state)
{
    struct rig *r = *state;
    int more[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, more), 0);
    struct ev_fd first = { .fd = more[0], .events = EV_READ, .cb = replace, .opaque = r };
    assert_int_equal(ev_fd_add(r->l, &first), 0);
    assert_int_equal(ev_fd_add(r->l, &r->fd), 0);
    assert_int_equal(write(more[1], "x", 1), 1); /* ready first, so reported first */
    assert_int_equal(write(r->pair[1], "x", 1), 1);
    assert_int_equal(ev_loop_turn(r->l, 0), 1);
    assert_string_equal(r->order, "r");
    assert_int_equal(r->calls, 0); /* it was readable, but that was another */
    ev_fd_del(&first);
    close(more[0]);
    close(more[1]);
}

/* ---- timers ---- */

struct tick {
    struct ev_timer t;
    struct rig *r;
    char name;
    struct tick *kills;
    bool again;
};

static void on_tick(void *opaque)
{
    struct tick *k = opaque;
    assert_true(k->r->held);
    assert_null(k->t.loop);
    k->r->order[k->r->n++ % 60] = k->name;
    if (k->kills) {
        ev_timer_disarm(&k->kills->t);
    }
    if (k->again) {
        ev_timer_arm(k->r->l, &k->t, 0);
    }
}

static void ticks_init(struct rig *r, struct tick *k, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        k[i] = (struct tick){ .r = r, .name = (char)('a' + i) };
        k[i].t.cb = on_tick;
        k[i].t.opaque = &k[i];
    }
}

static void test_ev_timers_fire_in_order(void **state)
{
    struct rig *r = *state;
    struct tick k[4];
    int64_t now = ev_now_ns();
    ticks_init(r, k, 4);
    ev_timer_arm(r->l, &k[0].t, now + 3 * MS);
    ev_timer_arm(r->l, &k[1].t, now + 1 * MS);
    ev_timer_arm(r->l, &k[2].t, now + 2 * MS);
    ev_timer_arm(r->l, &k[3].t, now + 60000 * MS);
    while (r->n < 3) {
        ev_loop_turn(r->l, -1);
    }
    assert_string_equal(r->order, "bca");
    assert_true(ev_now_ns() - now >= 3 * MS);
    ev_timer_disarm(&k[3].t);
    ev_timer_disarm(&k[3].t);
    assert_int_equal(ev_loop_turn(r->l, 0), 0);
}

static void test_ev_past_timer_fires_at_the_next_turn(void **state)
{
    struct rig *r = *state;
    struct tick k[2];
    ticks_init(r, k, 2);
    ev_timer_arm(r->l, &k[0].t, -5);
    ev_timer_arm(r->l, &k[1].t, 0);
    assert_int_equal(r->n, 0);
    assert_int_equal(ev_loop_turn(r->l, -1), 2);
    assert_string_equal(r->order, "ab");
    assert_int_equal(ev_loop_turn(r->l, 0), 0);
}

static void test_ev_rearm_moves_the_timer(void **state)
{
    struct rig *r = *state;
    struct tick k[1];
    ticks_init(r, k, 1);
    ev_timer_arm(r->l, &k[0].t, ev_now_ns() + 60000 * MS);
    ev_timer_arm(r->l, &k[0].t, 1);
    assert_int_equal(ev_loop_turn(r->l, -1), 1);
    ev_timer_arm(r->l, &k[0].t, 1);
    ev_timer_arm(r->l, &k[0].t, ev_now_ns() + 60000 * MS);
    assert_int_equal(ev_loop_turn(r->l, 0), 0);
    ev_timer_disarm(&k[0].t);
}

static void test_ev_disarmed_timer_does_not_wake_the_loop(void **state)
{
    struct rig *r = *state;
    struct tick k[1];
    int64_t start = ev_now_ns();
    ticks_init(r, k, 1);
    ev_timer_arm(r->l, &k[0].t, start + 5 * MS);
    ev_timer_disarm(&k[0].t);
    assert_int_equal(ev_loop_turn(r->l, 30), 0);
    assert_true(ev_now_ns() - start >= 29 * MS);
}

static void test_ev_timer_may_disarm_another_that_is_due(void **state)
{
    struct rig *r = *state;
    struct tick k[3];
    ticks_init(r, k, 3);
    k[0].kills = &k[1];
    for (unsigned i = 0; i < 3; i++) {
        ev_timer_arm(r->l, &k[i].t, 1);
    }
    assert_int_equal(ev_loop_turn(r->l, -1), 2);
    assert_string_equal(r->order, "ac");
}

static void test_ev_self_rearming_timer_leaves_descriptors_their_turn(void **state)
{
    struct rig *r = *state;
    struct tick k[1];
    ticks_init(r, k, 1);
    k[0].again = true;
    ev_timer_arm(r->l, &k[0].t, 0);
    assert_int_equal(ev_loop_turn(r->l, -1), 1);
    assert_int_equal(ev_fd_add(r->l, &r->fd), 0);
    assert_int_equal(write(r->pair[1], "x", 1), 1);
    for (unsigned i = 0; i < 3 && !r->calls; i++) {
        ev_loop_turn(r->l, -1);
    }
    assert_int_equal(r->calls, 1);
    ev_timer_disarm(&k[0].t);
}

struct arm_later {
    struct rig *r;
    struct tick *k;
};

static void *arm_from_thread(void *opaque)
{
    struct arm_later *a = opaque;
    usleep(5000); /* the loop sleeps by now */
    lock(a->r);
    ev_timer_arm(a->r->l, &a->k->t, ev_now_ns() + MS);
    unlock(a->r);
    return NULL;
}

static void test_ev_timer_armed_by_another_thread_wakes_the_loop(void **state)
{
    struct rig *r = *state;
    struct tick k[1];
    struct arm_later a = { r, k };
    pthread_t th;
    ticks_init(r, k, 1);
    pthread_create(&th, NULL, arm_from_thread, &a);
    assert_int_equal(ev_loop_turn(r->l, 5000), 1);
    assert_string_equal(r->order, "a");
    pthread_join(th, NULL);
}

/* ---- posts ---- */

struct note {
    struct ev_post p;
    struct rig *r;
    struct note *cancels;
    bool again, quits;
};

static void on_post(void *opaque)
{
    struct note *n = opaque;
    assert_true(n->r->held);
    assert_false(n->p.queued);
    n->r->n++;
    if (n->cancels) {
        ev_post_cancel(n->r->l, &n->cancels->p);
    }
    if (n->again) {
        ev_post(n->r->l, &n->p);
    }
    if (n->quits) {
        ev_quit(n->r->l);
    }
}

static void note_init(struct rig *r, struct note *n)
{
    *n = (struct note){ .r = r };
    n->p.cb = on_post;
    n->p.opaque = n;
}

static bool try_lock(void *opaque)
{
    struct rig *r = opaque;
    bool got = pthread_mutex_trylock(&r->lock) == 0;
    r->held |= got;
    return got;
}

static void test_ev_call_runs_here_or_is_posted(void **state)
{
    struct rig *r = *state;
    struct note n;
    note_init(r, &n);
    ev_call(r->l, &n.p); /* nobody said how to try */
    assert_int_equal(r->n, 0);
    assert_int_equal(ev_loop_turn(r->l, 0), 1);
    assert_int_equal(r->n, 1);
    ev_loop_set_try(r->l, try_lock);
    ev_call(r->l, &n.p);
    assert_int_equal(r->n, 2);
    assert_int_equal(ev_loop_turn(r->l, 0), 0);
    lock(r);
    ev_call(r->l, &n.p); /* somebody has it */
    assert_int_equal(r->n, 2);
    unlock(r);
    assert_int_equal(ev_loop_turn(r->l, 0), 1);
    assert_int_equal(r->n, 3);
}

static unsigned asked;

static void ask_leave(void *opaque)
{
    (void)opaque;
    asked++;
}

static void on_leave_post(void *opaque)
{
    struct note *n = opaque;
    on_post(opaque);
    ev_before_leave(n->r->l, &n->p);
}

static void test_ev_before_leave_waits_for_who_has_the_lock(void **state)
{
    struct rig *r = *state;
    struct note n, again;
    note_init(r, &n);
    note_init(r, &again);
    again.p.cb = on_leave_post;
    ev_before_leave(r->l, &n.p); /* nobody would call ev_leaving */
    assert_int_equal(ev_loop_turn(r->l, 0), 1);
    assert_int_equal(r->n, 1);
    lock(r);
    ev_loop_set_leave(r->l, ask_leave);
    ev_before_leave(r->l, &n.p);
    ev_before_leave(r->l, &again.p);
    assert_int_equal(asked, 2);
    assert_int_equal(r->n, 1);
    ev_leaving(r->l);
    assert_int_equal(r->n, 3);
    ev_leaving(r->l);
    assert_int_equal(r->n, 3);
    unlock(r);
    n.p.cb = on_post;
    again.p.cb = on_post;
    assert_int_equal(ev_loop_turn(r->l, 0), 1); /* what it started itself */
    assert_int_equal(r->n, 4);
    lock(r);
    ev_before_leave(r->l, &again.p);
    ev_before_leave(r->l, &n.p);
    ev_post_cancel(r->l, &n.p);
    ev_leaving(r->l);
    assert_int_equal(r->n, 5);
    unlock(r);
}

static void test_ev_post_runs_once(void **state)
{
    struct rig *r = *state;
    struct note n;
    note_init(r, &n);
    ev_post(r->l, &n.p);
    ev_post(r->l, &n.p);
    assert_int_equal(ev_loop_turn(r->l, -1), 1);
    assert_int_equal(ev_loop_turn(r->l, 0), 0);
    ev_post(r->l, &n.p);
    assert_int_equal(ev_loop_turn(r->l, -1), 1);
}

static void test_ev_cancelled_post_does_not_run(void **state)
{
    struct rig *r = *state;
    struct note n[3];
    for (unsigned i = 0; i < 3; i++) {
        note_init(r, &n[i]);
        ev_post(r->l, &n[i].p);
    }
    n[0].cancels = &n[2];
    ev_post_cancel(r->l, &n[1].p);
    ev_post_cancel(r->l, &n[1].p);
    assert_int_equal(ev_loop_turn(r->l, -1), 1);
    ev_post(r->l, &n[2].p); /* the list's end is where it should be */
    ev_post(r->l, &n[1].p);
    assert_int_equal(ev_loop_turn(r->l, -1), 2);
}

static void test_ev_self_posting_post_waits_for_the_next_turn(void **state)
{
    struct rig *r = *state;
    struct note n;
    note_init(r, &n);
    n.again = true;
    ev_post(r->l, &n.p);
    assert_int_equal(ev_loop_turn(r->l, -1), 1);
    assert_int_equal(ev_loop_turn(r->l, -1), 1);
    ev_post_cancel(r->l, &n.p);
}

#define POSTS 2000
static void *post_many(void *opaque)
{
    struct note *n = opaque;
    for (unsigned i = 0; i < POSTS; i++) {
        ev_post(n[i].r->l, &n[i].p);
    }
    return NULL;
}

static void test_ev_post_made_behind_others_is_not_forgotten(void **state)
{
    struct rig *r = *state;
    struct note n[2];
    note_init(r, &n[0]);
    note_init(r, &n[1]);
    n[0].again = true;
    ev_post(r->l, &n[0].p);
    ev_post(r->l, &n[1].p);
    assert_int_equal(ev_loop_turn(r->l, -1), 2);
    assert_int_equal(ev_loop_turn(r->l, 2000), 1);
    ev_post_cancel(r->l, &n[0].p);
}

static void test_ev_posts_of_two_threads_all_arrive(void **state)
{
    struct rig *r = *state;
    static struct note n[2 * POSTS];
    pthread_t th[2];
    for (unsigned i = 0; i < 2 * POSTS; i++) {
        note_init(r, &n[i]);
    }
    pthread_create(&th[0], NULL, post_many, n);
    pthread_create(&th[1], NULL, post_many, n + POSTS);
    for (unsigned turns = 0; r->n < 2 * POSTS && turns < 100000; turns++) {
        ev_loop_turn(r->l, 1000);
    }
    assert_int_equal(r->n, 2 * POSTS);
    pthread_join(th[0], NULL);
    pthread_join(th[1], NULL);
}

static void test_ev_run_ends_at_quit(void **state)
{
    struct rig *r = *state;
    struct note n;
    note_init(r, &n);
    n.quits = true;
    ev_post(r->l, &n.p);
    ev_loop_run(r->l);
    assert_int_equal(r->n, 1);
    ev_quit(r->l);
    ev_loop_run(r->l); /* asked before it ran: still */
    ev_post(r->l, &n.p);
    ev_loop_run(r->l);
    assert_int_equal(r->n, 2);
}

static void test_ev_idle_loop_does_not_wake(void **state)
{
    struct rig *r = *state;
    uint64_t before;
    assert_int_equal(ev_fd_add(r->l, &r->fd), 0);
    before = ev_wakeups(r->l);
    ev_loop_turn(r->l, 30);
    assert_int_equal(ev_wakeups(r->l) - before, 1); /* the timeout itself */
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_ev_readable_descriptor_calls_back_under_the_lock),
        T(test_ev_events_wanted_may_change),
        T(test_ev_hangup_is_reported_and_silenced_by_wanting_nothing),
        T(test_ev_hangup_alone_comes_with_read),
        T(test_ev_bad_descriptors_are_refused),
        T(test_ev_callback_may_remove_what_is_due_next),
        T(test_ev_stale_report_does_not_reach_a_new_registration),
        T(test_ev_timers_fire_in_order),
        T(test_ev_past_timer_fires_at_the_next_turn),
        T(test_ev_rearm_moves_the_timer),
        T(test_ev_disarmed_timer_does_not_wake_the_loop),
        T(test_ev_timer_may_disarm_another_that_is_due),
        T(test_ev_self_rearming_timer_leaves_descriptors_their_turn),
        T(test_ev_call_runs_here_or_is_posted),
        T(test_ev_before_leave_waits_for_who_has_the_lock),
        T(test_ev_post_runs_once),
        T(test_ev_timer_armed_by_another_thread_wakes_the_loop),
        T(test_ev_cancelled_post_does_not_run),
        T(test_ev_self_posting_post_waits_for_the_next_turn),
        T(test_ev_post_made_behind_others_is_not_forgotten),
        T(test_ev_posts_of_two_threads_all_arrive),
        T(test_ev_run_ends_at_quit),
        T(test_ev_idle_loop_does_not_wake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
