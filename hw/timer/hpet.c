/* SPDX-License-Identifier: MIT */
/* hw/timer/hpet.c - HPET: a 64-bit counter at 100 MHz and three comparators, all periodic.
 *
 * The counter is computed from virtual time, and a comparator has a host timer only while its
 * interrupt is enabled and the counter runs: an unused HPET costs nothing.
 *
 * Interrupts: with legacy replacement timer 0 is IRQ 0 and timer 1 IRQ 8; otherwise a timer goes to
 * the pin its configuration names, of which there is one: pin 2 (the wire of IRQ 0). No FSB
 * delivery. A match that came due while the machine looked elsewhere is one interrupt.
 * Reference: Intel IA-PC HPET specification 1.0a.
 */
#include "hw/timer/hpet.h"

#include <errno.h>

enum {
    CAP = 0x000,
    CFG = 0x010,
    STATUS = 0x020,
    COUNTER = 0x0f0,
    TIMER0 = 0x100,
    TIMER_STEP = 0x20,
    T_CFG = 0x00,
    T_CMP = 0x08,
    T_FSB = 0x10,

    CFG_ENABLE = 1,
    CFG_LEGACY = 2,

    T_LEVEL = 1 << 1,
    T_ENABLED = 1 << 2,
    T_PERIODIC = 1 << 3,
    T_PERIODIC_CAP = 1 << 4,
    T_64BIT_CAP = 1 << 5,
    T_SET_VALUE = 1 << 6,
    T_32BIT = 1 << 8,
    T_ROUTE_SHIFT = 9,
    T_WRITABLE = 0x3f4e,
    PIN = 2,

    NS_PER_TICK = 10,
    IRQ_NONE = 0xff,
};
#define FAR_TICKS ((uint64_t)INT64_MAX / NS_PER_TICK / 8) /* a match beyond is never seen */
#define PERIOD_FS 10000000ull
#define VENDOR 0x8086ull
#define CAPABILITIES                                                                               \
    (PERIOD_FS << 32 | VENDOR << 16 | 1 << 15 | 1 << 13 | (HPET_TIMERS - 1) << 8 | 1)

struct comparator {
    uint32_t cfg;
    uint64_t cmp;    /* as the guest reads it */
    uint64_t period; /* what a periodic one adds */
    uint64_t base;   /* counter up to which matches were seen */
    struct vtimer timer;
};

struct hpet;
struct timer_of {
    struct hpet *s;
    unsigned n;
};

struct hpet {
    struct device dev;
    struct hpet_legacy *legacy_prop, legacy;
    struct region window;
    struct line irq0, irq8, pin2;
    uint32_t cfg, status;
    uint64_t counter; /* while it stands still */
    int64_t zero_ns;  /* virtual time at which a running counter was 0 */
    struct comparator t[HPET_TIMERS];
    struct timer_of timer_of[HPET_TIMERS];
};

uint32_t hpet_block_id(void)
{
    return (uint32_t)CAPABILITIES;
}

/* ---- the counter ---- */

static uint64_t counter_now(struct hpet *s)
{
    if (!(s->cfg & CFG_ENABLE)) {
        return s->counter;
    }
    return ((uint64_t)vclock_now(s->dev.m) - (uint64_t)s->zero_ns) / NS_PER_TICK + s->counter;
}

static uint64_t width_mask(const struct comparator *t)
{
    return t->cfg & T_32BIT ? 0xffffffff : UINT64_MAX;
}

/* Ticks from `from` to the next match, 1 or more; 0: none that would be seen in this life. */
static uint64_t distance(const struct comparator *t, uint64_t from)
{
    uint64_t mask = width_mask(t), d = (t->cmp - from) & mask;
    if (d == 0) {
        d = t->cfg & T_PERIODIC && t->period ? t->period & mask : mask;
    }
    return d;
}

/* ---- interrupts ---- */

static bool is_pulse(const struct comparator *t)
{
    return !(t->cfg & T_LEVEL);
}

static struct line *line_of(struct hpet *s, unsigned n)
{
    if (s->cfg & CFG_LEGACY && n < 2) {
        return n ? &s->irq8 : &s->irq0;
    }
    return (s->t[n].cfg >> T_ROUTE_SHIFT & 31) == PIN ? &s->pin2 : NULL;
}

/* Levels of level-triggered timers; edges are pulses and leave their line low. */
static void update_lines(struct hpet *s)
{
    struct line *lines[] = { &s->irq0, &s->irq8, &s->pin2 };
    for (unsigned i = 0; i < ARRAY_SIZE(lines); i++) {
        bool level = false;
        for (unsigned n = 0; n < HPET_TIMERS; n++) {
            level |= line_of(s, n) == lines[i] && !is_pulse(&s->t[n]) &&
                     (s->t[n].cfg & T_ENABLED) && (s->cfg & CFG_ENABLE) && (s->status >> n & 1);
        }
        line_set(lines[i], level);
    }
}

static void raise(struct hpet *s, unsigned n)
{
    struct comparator *t = &s->t[n];
    if (!is_pulse(t)) {
        s->status |= 1u << n;
        update_lines(s);
    } else if (t->cfg & T_ENABLED) {
        struct line *l = line_of(s, n);
        if (l) {
            line_set(l, true);
        }
        update_lines(s);
    }
}

/* Moves a periodic comparator past `now`. */
static void step(struct comparator *t, uint64_t now)
{
    uint64_t mask = width_mask(t), period = t->period & mask;
    if (!(t->cfg & T_PERIODIC) || !period) {
        return;
    }
    uint64_t behind = (now - t->cmp) & mask;
    if (behind <= mask / 2) {
        t->cmp = (t->cmp + (behind / period + 1) * period) & mask;
    }
}

static void arm(struct hpet *s, unsigned n)
{
    struct comparator *t = &s->t[n];
    if (!(s->cfg & CFG_ENABLE) || !(t->cfg & T_ENABLED)) {
        vtimer_disarm(&t->timer);
        return;
    }
    uint64_t d = distance(t, t->base);
    uint64_t due = t->base - s->counter + d; /* ticks after zero_ns */
    if (!d || d > FAR_TICKS || due > 2 * FAR_TICKS) {
        vtimer_disarm(&t->timer);
    } else {
        vtimer_arm_at(&t->timer, s->zero_ns + (int64_t)due * NS_PER_TICK);
    }
}

static void rearm(struct hpet *s, unsigned n)
{
    s->t[n].base = counter_now(s);
    step(&s->t[n], s->t[n].base);
    arm(s, n);
}

static void timer_fired(void *opaque)
{
    struct timer_of *o = opaque;
    struct hpet *s = o->s;
    raise(s, o->n);
    rearm(s, o->n);
}

/* ---- registers ---- */

static uint64_t merge(uint64_t old, uint64_t off, unsigned size, uint64_t val)
{
    uint64_t shift = 8 * (off & 7), mask = ones(size) << shift;
    return (old & ~mask) | (val << shift & mask);
}

static void set_running(struct hpet *s, bool run)
{
    if (run) {
        s->zero_ns = vclock_now(s->dev.m);
        s->cfg |= CFG_ENABLE;
    } else {
        s->counter = counter_now(s);
        s->cfg &= ~(uint32_t)CFG_ENABLE;
    }
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        s->t[n].base = counter_now(s);
        arm(s, n);
    }
}

static void write_cfg(struct hpet *s, uint32_t v)
{
    bool legacy = v & CFG_LEGACY, was = s->cfg & CFG_LEGACY;
    if ((v & CFG_ENABLE) != (s->cfg & CFG_ENABLE)) {
        set_running(s, v & CFG_ENABLE);
    }
    s->cfg = (s->cfg & CFG_ENABLE) | (v & CFG_LEGACY);
    if (legacy != was && s->legacy.fn) {
        s->legacy.fn(s->legacy.o, legacy);
    }
    update_lines(s);
}

static void write_counter(struct hpet *s, uint64_t v)
{
    s->counter = v;
    s->zero_ns = vclock_now(s->dev.m);
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        rearm(s, n);
    }
}

static void write_timer_cfg(struct hpet *s, unsigned n, uint32_t v)
{
    struct comparator *t = &s->t[n];
    t->cfg = (v & T_WRITABLE) | T_PERIODIC_CAP | T_64BIT_CAP;
    if (t->cfg & T_32BIT) {
        t->cmp &= 0xffffffff;
        t->period &= 0xffffffff;
    }
    if (is_pulse(t)) {
        s->status &= ~(1u << n);
    }
    update_lines(s);
    rearm(s, n);
}

/* In periodic mode a write sets the period; with SET_VALUE, once, the comparator as well. */
static void write_cmp(struct hpet *s, unsigned n, uint64_t off, unsigned size, uint64_t val)
{
    struct comparator *t = &s->t[n];
    bool periodic = t->cfg & T_PERIODIC, set = t->cfg & T_SET_VALUE;
    if (!periodic || set) {
        t->cmp = merge(t->cmp, off, size, val) & width_mask(t);
    }
    if (periodic) {
        t->period = merge(t->period, off, size, val) & width_mask(t);
    }
    if ((off & 7) + size == 8 || t->cfg & T_32BIT || !set) {
        t->cfg &= ~(uint32_t)T_SET_VALUE;
    }
    t->base = counter_now(s);
    if (!set) {
        step(t, t->base);
    }
    arm(s, n);
}

static uint64_t read_timer(struct hpet *s, unsigned n, unsigned reg)
{
    struct comparator *t = &s->t[n];
    switch (reg) {
    case T_CFG:
        return (1ull << PIN) << 32 | t->cfg;
    case T_CMP:
        if (s->cfg & CFG_ENABLE) {
            step(t, counter_now(s));
        }
        return t->cmp;
    default: /* T_FSB: not there */
        return 0;
    }
}

static uint64_t read_reg(struct hpet *s, unsigned reg)
{
    if (reg >= TIMER0) {
        unsigned n = (reg - TIMER0) / TIMER_STEP;
        return n < HPET_TIMERS ? read_timer(s, n, reg & (TIMER_STEP - 1)) : 0;
    }
    switch (reg) {
    case CAP:
        return CAPABILITIES;
    case CFG:
        return s->cfg;
    case STATUS:
        return s->status;
    case COUNTER:
        return counter_now(s);
    default:
        return 0;
    }
}

static uint64_t hpet_read(struct device *d, uint64_t off, unsigned size)
{
    return read_reg((struct hpet *)d, (unsigned)off & ~7u) >> (8 * (off & 7)) & ones(size);
}

static void hpet_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct hpet *s = (struct hpet *)d;
    unsigned reg = (unsigned)off & ~7u, n = (reg - TIMER0) / TIMER_STEP;
    if (reg >= TIMER0 && n < HPET_TIMERS && (reg & (TIMER_STEP - 1)) == T_CFG) {
        write_timer_cfg(s, n, (uint32_t)merge(s->t[n].cfg, off, size, val));
    } else if (reg >= TIMER0 && n < HPET_TIMERS && (reg & (TIMER_STEP - 1)) == T_CMP) {
        write_cmp(s, n, off, size, val);
    } else if (reg == CFG) {
        write_cfg(s, (uint32_t)merge(s->cfg, off, size, val));
    } else if (reg == STATUS) {
        s->status &= ~(uint32_t)merge(0, off, size, val);
        update_lines(s);
    } else if (reg == COUNTER) {
        write_counter(s, merge(counter_now(s), off, size, val));
    }
}

static const struct reg_name names[] = {
    { CAP, "CAP" },      { CFG, "CFG" },      { STATUS, "STATUS" }, { COUNTER, "COUNTER" },
    { 0x100, "T0_CFG" }, { 0x108, "T0_CMP" }, { 0x110, "T0_FSB" },  { 0x120, "T1_CFG" },
    { 0x128, "T1_CMP" }, { 0x130, "T1_FSB" }, { 0x140, "T2_CFG" },  { 0x148, "T2_CMP" },
    { 0x150, "T2_FSB" }, { 0, NULL },
};
static const struct region_ops ops = { hpet_read, hpet_write, 8, names };

/* ---- life ---- */

static int hpet_init(struct device *d, struct err *e)
{
    struct hpet *s = (struct hpet *)d;
    (void)e;
    s->legacy = s->legacy_prop ? *s->legacy_prop : s->legacy;
    s->legacy_prop = NULL;
    line_init(&s->irq0, d, LINE_ISA, 0);
    line_init(&s->irq8, d, LINE_ISA, 8);
    line_init(&s->pin2, d, LINE_ISA, PIN);
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        s->timer_of[n] = (struct timer_of){ s, n };
        vtimer_init(&s->t[n].timer, d->m, "hpet", timer_fired, &s->timer_of[n]);
    }
    region_init(&s->window, d, &ops, IO_MMIO, 0x400, "HPET");
    region_map(&s->window, HPET_BASE);
    return 0;
}

static void hpet_reset(struct device *d)
{
    struct hpet *s = (struct hpet *)d;
    bool legacy = s->cfg & CFG_LEGACY;
    s->cfg = s->status = 0;
    s->counter = 0;
    s->zero_ns = 0;
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        struct comparator *t = &s->t[n];
        t->cfg = T_PERIODIC_CAP | T_64BIT_CAP;
        t->cmp = UINT64_MAX;
        t->period = t->base = 0;
        vtimer_disarm(&t->timer);
    }
    if (legacy && s->legacy.fn) {
        s->legacy.fn(s->legacy.o, false);
    }
    update_lines(s);
}

static int hpet_loaded(struct device *d, struct err *e)
{
    struct hpet *s = (struct hpet *)d;
    bool ok = !(s->cfg & ~(uint32_t)(CFG_ENABLE | CFG_LEGACY)) && !(s->status >> HPET_TIMERS) &&
              s->zero_ns >= 0 && s->zero_ns <= vclock_now(d->m);
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        uint32_t cfg = s->t[n].cfg, fixed = T_PERIODIC_CAP | T_64BIT_CAP;
        ok = ok && (cfg & ~(uint32_t)T_WRITABLE) == fixed && !(s->t[n].cmp & ~width_mask(&s->t[n]));
    }
    if (!ok) {
        return err_set(e, -EINVAL, "%s: registers are in no possible state", d->id);
    }
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        arm(s, n);
    }
    if (s->legacy.fn) {
        s->legacy.fn(s->legacy.o, s->cfg & CFG_LEGACY);
    }
    update_lines(s);
    return 0;
}

static void hpet_fini(struct device *d)
{
    struct hpet *s = (struct hpet *)d;
    region_unmap(&s->window);
    for (unsigned n = 0; n < HPET_TIMERS; n++) {
        vtimer_fini(&s->t[n].timer);
    }
    line_fini(&s->irq0);
    line_fini(&s->irq8);
    line_fini(&s->pin2);
}

static const struct dev_prop props[] = {
    PROP(struct hpet, "legacy", PROP_PTR, legacy_prop, 0, "told of legacy replacement"),
    { 0 },
};

static const struct state_field comparator_state[] = {
    FIELD(struct comparator, cfg),         FIELD(struct comparator, cmp),
    FIELD(struct comparator, period),      FIELD(struct comparator, base),
    FIELD_TIMER(struct comparator, timer), FIELD_END,
};

static const struct state_field state[] = {
    FIELD(struct hpet, cfg),
    FIELD(struct hpet, status),
    FIELD(struct hpet, counter),
    FIELD(struct hpet, zero_ns),
    FIELD_SUB(struct hpet, t, comparator_state, HPET_TIMERS),
    FIELD_END,
};

const struct dev_class hpet_class = {
    .name = "hpet",
    .desc = "high precision event timers",
    .size = sizeof(struct hpet),
    .props = props,
    .state = state,
    .state_version = 1,
    .init = hpet_init,
    .reset = hpet_reset,
    .loaded = hpet_loaded,
    .fini = hpet_fini,
};
