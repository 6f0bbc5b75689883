/* SPDX-License-Identifier: MIT */
/* ioreq/clock.h - the clock door: virtual nanoseconds and timers.
 *
 * Virtual time stands still while the machine is stopped and within one event (a request, a timer,
 * a completion): a device sees one time from the start of a callback to its end. What moves it is
 * the host behind the doors: monotonic time, retired instructions, a test, or a trace.
 */
#ifndef IOREQ_CLOCK_H
#define IOREQ_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct machine;

/* ns since the machine was created, plus whatever restored state says. */
int64_t vclock_now(struct machine *m);

struct vtimer {
    struct machine *m;
    void (*fire)(void *opaque);
    void *opaque;
    const char *name;
    int64_t when; /* virtual ns, or -1 when not armed; migrated */
    int64_t
        slack; /* the host may let it fire later by as many ns: more of them by one wake-up; 0 at first */
    uint32_t id; /* in order of creation: a trace names timers by it */
    struct vtimer *next;
};
void vtimer_init(struct vtimer *t, struct machine *m, const char *name, void (*fire)(void *),
                 void *opaque);
/* Takes t off the machine's list for good. */
void vtimer_fini(struct vtimer *t);
/* Fires once at virtual time `when` (re-arms if armed). A time already past fires at once, but
 * never from inside this call. */
void vtimer_arm_at(struct vtimer *t, int64_t when);
void vtimer_arm(struct vtimer *t, int64_t delay_ns);
void vtimer_disarm(struct vtimer *t);
bool vtimer_armed(const struct vtimer *t);

/* Wall-clock seconds since the epoch, an input like any other: recorded and replayed. */
int64_t wallclock_now(struct machine *m);

#endif
