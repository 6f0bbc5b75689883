/* SPDX-License-Identifier: MIT */
/* hw/net/e1000-delay.c - interrupts put off: RDTR and RADV for frames received, TIDV and TADV for sent.
 *
 *   first event -> timer -> due? its causes go to ICR : again for the rest
 *
 * The delay counts from the last event, the limit from the first. While ITR keeps the interrupt back
 * anyhow, nobody but a reader of ICR could tell that a cause came to be: the timer waits for ITR then,
 * and a read of ICR settles what is due.
 *
 * Of frames sent a driver learns only what memory it may free. The host may be late to tell it, and one
 * that goes on sending is told on the way by a later frame: interrupts are what short frames cost most.
 * Reference: 317453, 3.2.7, 3.4.3.1, 13.4.30, 13.4.31, 13.4.44, 13.4.46.
 */
#include "hw/net/e1000-int.h"

#include "dm/base/util.h"

#define DELAY_NS 1024 /* unit of all four registers */
#define TX_SLACK_NS 100000
#define SOON_NS 40000

static int64_t due(const struct e1000_delay *d)
{
    const uint32_t *reg = d->s->reg;
    int64_t after_last = d->last + (int64_t)reg[d->delay] * DELAY_NS;
    int64_t after_first = d->first + (int64_t)reg[d->limit] * DELAY_NS;
    if (!reg[d->delay]) { /* the delay is off by now */
        return d->first;
    }
    return reg[d->limit] && after_first < after_last ? after_first : after_last;
}

static void arm(struct e1000_delay *d)
{
    int64_t when = due(d), out = e1000_quiet_until(d->s);
    vtimer_arm_at(&d->timer, when > out ? when : out);
}

void e1000_delay(struct e1000_delay *d, uint32_t causes)
{
    d->last = vclock_now(d->s->pci.dev.m);
    if (!d->causes) {
        d->first = d->last;
        arm(d);
    }
    d->causes |= causes;
}

void e1000_delay_end(struct e1000_delay *d)
{
    uint32_t causes = d->causes;
    if (causes) {
        e1000_delay_drop(d);
        e1000_cause(d->s, causes);
    }
}

void e1000_delay_drop(struct e1000_delay *d)
{
    d->causes = 0;
    vtimer_disarm(&d->timer);
}

static bool over(const struct e1000_delay *d)
{
    return due(d) <= vclock_now(d->s->pci.dev.m);
}

void e1000_delays_settle(struct e1000 *s)
{
    struct e1000_delay *all[] = { &s->rx_delay, &s->tx_delay };
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        if (all[i]->causes && over(all[i])) {
            e1000_delay_end(all[i]);
        }
    }
}

void e1000_delay_hurry(struct e1000_delay *d)
{
    if (d->causes && d->timer.when + d->timer.slack - SOON_NS <= vclock_now(d->s->pci.dev.m)) {
        e1000_delay_end(d);
    }
}

static void fired(void *opaque)
{
    struct e1000_delay *d = opaque;
    if (over(d)) {
        e1000_delay_end(d);
    } else {
        arm(d);
    }
}

static void init(struct e1000_delay *d, struct e1000 *s, const char *name, enum e1000_reg delay,
                 enum e1000_reg limit)
{
    d->s = s;
    d->delay = delay;
    d->limit = limit;
    vtimer_init(&d->timer, s->pci.dev.m, name, fired, d);
}

void e1000_delays_init(struct e1000 *s)
{
    init(&s->rx_delay, s, "e1000 rdtr", R_RDTR, R_RADV);
    init(&s->tx_delay, s, "e1000 tidv", R_TIDV, R_TADV);
    s->tx_delay.timer.slack = TX_SLACK_NS;
}
