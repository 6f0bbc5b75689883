/* SPDX-License-Identifier: MIT */
/* hw/intc/lapic-timer.c - a local APIC's timer: one shot, periodic, by the time stamp counter.
 *
 * It counts a bus of 1 GHz, and nothing counts: the value is computed when asked for.
 * Reference: Intel SDM volume 3, 11.5.4.
 */
#include "hw/intc/apic-int.h"

enum timer_mode lapic_timer_mode(const struct lapic *a)
{
    return a->lvt[LVT_TIMER] >> 17 & 3;
}

unsigned lapic_divide_shift(const struct lapic *a)
{
    unsigned v = (a->divide & 3) | (a->divide >> 1 & 4);
    return (v + 1) & 7;
}

static int64_t period_ns(const struct lapic *a)
{
    return (int64_t)a->initial << lapic_divide_shift(a);
}

uint32_t lapic_timer_count(struct apic *s, const struct lapic *a)
{
    int64_t period = period_ns(a), d = vclock_now(s->dev.m) - a->started;
    if (!period || lapic_timer_mode(a) == TIMER_DEADLINE) {
        return 0;
    }
    if (lapic_timer_mode(a) == TIMER_PERIODIC) {
        d %= period;
    }
    return d >= period ? 0
                       : (uint32_t)((period - d + (1ll << lapic_divide_shift(a)) - 1) >>
                                    lapic_divide_shift(a));
}

void lapic_arm_timer(struct apic *s, unsigned cpu)
{
    struct lapic *a = &s->cpu[cpu];
    int64_t now = vclock_now(s->dev.m), period = period_ns(a), when = -1;
    bool masked = (a->lvt[LVT_TIMER] & LVT_MASKED) || !lapic_software_on(a);
    if (lapic_timer_mode(a) == TIMER_DEADLINE) {
        when = a->deadline ? cpu_tsc_due(s->dev.m, cpu, a->deadline) : -1;
    } else if (period && lapic_timer_mode(a) == TIMER_PERIODIC) {
        when = a->started + ((now - a->started) / period + 1) * period;
    } else if (period && now - a->started < period) {
        when = a->started + period;
    }
    if (masked || when < 0 || when == INT64_MAX) {
        vtimer_disarm(&a->timer);
    } else {
        vtimer_arm_at(&a->timer, when);
    }
}

void lapic_timer_fired(void *opaque)
{
    struct timer_of *t = opaque;
    struct lapic *a = &t->s->cpu[t->cpu];
    if (lapic_timer_mode(a) == TIMER_DEADLINE) {
        a->deadline = 0;
    }
    lapic_accept(t->s, t->cpu, (uint8_t)a->lvt[LVT_TIMER], false);
    if (lapic_timer_mode(a) == TIMER_PERIODIC) {
        lapic_arm_timer(t->s, t->cpu);
    }
}

void lapic_start_timer(struct apic *s, unsigned cpu, uint32_t count)
{
    struct lapic *a = &s->cpu[cpu];
    if (lapic_timer_mode(a) == TIMER_DEADLINE) {
        return;
    }
    a->initial = count;
    a->started = vclock_now(s->dev.m);
    lapic_arm_timer(s, cpu);
}

void lapic_write_divide(struct apic *s, unsigned cpu, uint32_t v)
{
    struct lapic *a = &s->cpu[cpu];
    int64_t left = (int64_t)lapic_timer_count(s, a);
    a->divide = v & 0xb;
    /* What is left of the count goes on at the new rate. */
    a->started = vclock_now(s->dev.m) - ((a->initial - left) << lapic_divide_shift(a));
    lapic_arm_timer(s, cpu);
}
