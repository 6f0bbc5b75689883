/* SPDX-License-Identifier: MIT */
/* ioreq/clock.c - virtual time and timers.
 *
 * While the machine runs, virtual time is the host's plus vclock_offset; while it stands still,
 * vclock_offset is the time itself. The time is read from the host at most once an event and kept
 * in m->now until the event ends. Armed timers form one list, earliest first and, among equals, in
 * order of creation; the host is told when the first is due.
 */
#include "ioreq/machine-int.h"
#include "ioreq/trace.h"

/* A timer that keeps re-arming itself for the past gets the rest of its turns later. */
#define MAX_FIRED_AT_ONCE 64

static int64_t host_now(const struct machine *m)
{
    return m->host->now ? m->host->now(m->h) : 0;
}

int64_t vclock_now(struct machine *m)
{
    if (!machine_running(m)) {
        return m->vclock_offset;
    }
    if (!__atomic_load_n(&m->owner,
                         __ATOMIC_RELAXED)) { /* outside an event nothing would end the latch */
        return host_now(m) + m->vclock_offset;
    }
    if (m->now < 0) {
        int64_t now = host_now(m) + m->vclock_offset;
        m->now = now < 0 ? 0 : now;
    }
    return m->now;
}

int64_t wallclock_now(struct machine *m)
{
    int64_t seconds = m->host->wallclock ? m->host->wallclock(m->h) : 0;
    return machine_traced(m) ? trace_wallclock(m, seconds) : seconds;
}

/* ---- the clock stands and goes ---- */

void clock_stop(struct machine *m)
{
    m->vclock_offset = vclock_now(m);
    m->now = -1;
}

void clock_start(struct machine *m)
{
    m->vclock_offset -= host_now(m);
    m->now = -1;
}

void clock_set(struct machine *m, int64_t now)
{
    m->vclock_offset = now;
}

/* Virtual time by which machine_timers must be called; some timer is armed. */
static int64_t deadline(const struct machine *m)
{
    int64_t best = INT64_MAX, last;
    for (const struct vtimer *t = m->timers; t && t->when < best; t = t->next) {
        if (!__builtin_add_overflow(t->when, t->slack, &last) && last < best) {
            best = last;
        }
    }
    return best;
}

void clock_tell_host(struct machine *m, bool force)
{
    int64_t when = -1;
    if (m->timers && machine_running(m)) {
        if (__builtin_sub_overflow(deadline(m), m->vclock_offset, &when)) {
            when = INT64_MAX;
        }
        when = when < 0 ? 0 : when; /* past before the host began to count */
    }
    if ((force || when != m->next_expiry) && m->host->timer) {
        m->next_expiry = when;
        m->host->timer(m->h, when);
    }
}

/* ---- timers ---- */

void vtimer_init(struct vtimer *t, struct machine *m, const char *name, void (*fire)(void *),
                 void *opaque)
{
    *t = (struct vtimer){
        .m = m, .fire = fire, .opaque = opaque, .name = name, .when = -1, .id = m->next_timer_id++
    };
}

/* The place of t on its machine's list: where it is, or where it belongs. */
static struct vtimer **place_of(const struct vtimer *t)
{
    struct vtimer **at = &t->m->timers;
    while (*at && *at != t &&
           ((*at)->when < t->when || ((*at)->when == t->when && (*at)->id < t->id))) {
        at = &(*at)->next;
    }
    return at;
}

static void take_off(struct vtimer *t)
{
    if (t->when >= 0) {
        *place_of(t) = t->next;
        t->when = -1;
    }
}

void vtimer_arm_at(struct vtimer *t, int64_t when)
{
    take_off(t);
    t->when = when < 0 ? 0 : when;
    struct vtimer **at = place_of(t);
    t->next = *at;
    *at = t;
    clock_tell_host(t->m, false);
}

void vtimer_arm(struct vtimer *t, int64_t delay_ns)
{
    int64_t now = vclock_now(t->m), when;
    if (delay_ns <= 0) {
        when = now;
    } else if (__builtin_add_overflow(now, delay_ns, &when)) {
        when = INT64_MAX;
    }
    vtimer_arm_at(t, when);
}

void vtimer_disarm(struct vtimer *t)
{
    if (vtimer_armed(t)) {
        take_off(t);
        clock_tell_host(t->m, false);
    }
}

void vtimer_fini(struct vtimer *t)
{
    if (t->m) {
        vtimer_disarm(t);
    }
}

bool vtimer_armed(const struct vtimer *t)
{
    return t->m && t->when >= 0;
}

/* All that fire in one call are one event and see one time: replay then needs to know that time
 * only, not how the firings were spread. */
void machine_timers(struct machine *m)
{
    m->now = -1;
    int64_t now = vclock_now(m);
    for (int n = 0; n < MAX_FIRED_AT_ONCE && machine_running(m) && m->timers; n++) {
        struct vtimer *t = m->timers;
        if (t->when > now) {
            break;
        }
        if (machine_traced(m)) {
            trace_timer(m, t); /* while it still says when */
        }
        take_off(t);
        t->fire(t->opaque);
    }
    m->now = -1;
    clock_tell_host(m, true);
}
