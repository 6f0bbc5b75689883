/* SPDX-License-Identifier: MIT */
/* hw/timer/i8254.c - 82C54 programmable interval timer, ports 0x40 to 0x43.
 *
 * Counter 0 drives IRQ 0, counter 1 once refreshed memory, counter 2 is the speaker's and is gated
 * by port 0x61. A counter is not counted: its value and output are computed from the time since it
 * was started, and only counter 0 has a timer, one expiry for each rising edge of OUT. Edges that
 * came due while nobody looked are one edge.
 *
 * A count written to a counter running in mode 2 or 3 takes effect at the end of the period. Left
 * out: the half-cycle at which mode 3 would already take it.
 * Reference: Intel 82C54 data sheet 231244.
 */
#include "hw/timer/i8254.h"

#include <errno.h>
#include <stdlib.h>

#define PIT_HZ 1193182
#define NS_PER_S 1000000000
#define NEVER INT64_MAX

enum {
    CTRL_BCD = 0x01,
    CTRL_MODE_SHIFT = 1,
    CTRL_RW_SHIFT = 4,
    RW_LATCH = 0,
    RW_LSB = 1,
    RW_MSB = 2,
    RW_BOTH = 3,
    READ_BACK = 3, /* as the counter number */
    READ_BACK_NO_STATUS = 0x10,
    READ_BACK_NO_COUNT = 0x20,
    STATUS_OUT = 0x80,
    STATUS_NULL = 0x40,
};

struct counter {
    uint32_t count; /* 1 to 0x10000 (BCD: 10000), in effect */
    uint32_t next;  /* takes effect at the end of the period in modes 2 and 3; 0: none */
    int64_t start;  /* tick at which count was loaded, or the gate rose */
    int64_t held;   /* modes 0 and 4, gate low: ticks counted so far */
    uint8_t mode, rw;
    bool bcd, gate;
    bool counting; /* start is valid */
    bool null;     /* no count was loaded since the control word */
    bool have_low, read_high;
    uint8_t low;
    uint8_t latched; /* bytes of latch left to read */
    uint16_t latch;
    bool status_latched;
    uint8_t status;
};

struct i8254 {
    struct device dev;
    struct region ports;
    struct line irq0;
    struct vtimer tick;
    bool irq_off;
    struct counter ch[3];
};

static int64_t ticks_now(struct i8254 *s)
{
    return (int64_t)((__int128)vclock_now(s->dev.m) * PIT_HZ / NS_PER_S);
}

static int64_t ticks_to_ns(int64_t ticks)
{
    return (int64_t)(((__int128)ticks * NS_PER_S + PIT_HZ - 1) / PIT_HZ);
}

/* ---- one counter at tick `now` ---- */

static bool periodic(const struct counter *c)
{
    return c->mode == 2 || c->mode == 3;
}

/* Counts since the start; those with a closed gate do not count in modes 0 and 4. */
static int64_t elapsed(const struct counter *c, int64_t now)
{
    bool stops = c->mode == 0 || c->mode == 4;
    return stops && !c->gate ? c->held : now - c->start;
}

/* A period ended: what was written meanwhile is in effect now. */
static void advance(struct counter *c, int64_t now)
{
    if (!c->counting || !c->next || !periodic(c) || now - c->start < c->count) {
        return;
    }
    c->start += c->count;
    c->count = c->next;
    c->next = 0;
}

static bool out_of(const struct counter *c, int64_t now)
{
    if (!c->counting) {
        return c->mode != 0;
    }
    int64_t d = elapsed(c, now);
    switch (c->mode) {
    case 0:
    case 1:
        return d >= c->count;
    case 2:
        return !c->gate || d % c->count != (int64_t)c->count - 1;
    case 3:
        return !c->gate || d % c->count < ((int64_t)c->count + 1) / 2;
    default:
        return d != c->count;
    }
}

static uint16_t to_bcd(uint32_t v)
{
    v %= 10000;
    return (uint16_t)(v / 1000 << 12 | v / 100 % 10 << 8 | v / 10 % 10 << 4 | v % 10);
}

static uint32_t from_bcd(uint32_t v)
{
    return (v >> 12 & 15) * 1000 + (v >> 8 & 15) * 100 + (v >> 4 & 15) * 10 + (v & 15);
}

static uint16_t value_of(const struct counter *c, int64_t now)
{
    int64_t d = c->counting ? elapsed(c, now) : 0, top = c->bcd ? 10000 : 0x10000, v;
    if (c->mode == 3) { /* counts by two: twice through a period */
        int64_t even = c->count & ~1u;
        v = even ? even - (2 * (d % c->count)) % even : 0;
    } else if (c->mode == 2) {
        v = c->count - d % c->count;
    } else {
        v = ((int64_t)c->count - d) % top;
        v = v < 0 ? v + top : v;
    }
    return c->bcd ? to_bcd((uint32_t)v) : (uint16_t)v;
}

/* The tick of counter 0's next rising edge after now. */
static int64_t next_edge(const struct counter *c, int64_t now)
{
    int64_t d = now - c->start;
    if (!c->counting || (!c->gate && c->mode != 1 && c->mode != 5)) {
        return NEVER;
    }
    if (periodic(c)) {
        return c->start + (d / c->count + 1) * c->count;
    }
    int64_t edge = c->mode < 2 ? c->count : (int64_t)c->count + 1;
    return d < edge ? c->start + edge : NEVER;
}

/* ---- IRQ 0 ---- */

static void drive(struct i8254 *s, bool level)
{
    line_set(&s->irq0, level && !s->irq_off);
}

static void arm(struct i8254 *s)
{
    int64_t edge = next_edge(&s->ch[0], ticks_now(s));
    if (edge == NEVER || s->irq_off) {
        vtimer_disarm(&s->tick);
    } else {
        vtimer_arm_at(&s->tick, ticks_to_ns(edge));
    }
}

/* The line shows edges: low and high again in periodic modes, whatever the duty cycle. */
static void tick_fired(void *opaque)
{
    struct i8254 *s = opaque;
    advance(&s->ch[0], ticks_now(s));
    drive(s, false);
    drive(s, true);
    arm(s);
}

static void counter_changed(struct i8254 *s, unsigned n)
{
    if (n == 0) {
        drive(s, out_of(&s->ch[0], ticks_now(s)));
        arm(s);
    }
}

/* ---- programming ---- */

static void load(struct counter *c, uint32_t v, int64_t now)
{
    uint32_t count = c->bcd ? from_bcd(v) : v;
    count = count ? count : c->bcd ? 10000 : 0x10000;
    if (periodic(c) && count == 1) {
        count = 2; /* not allowed; a divider by one has no output */
    }
    c->null = false;
    if (periodic(c) && c->counting && c->gate) {
        c->next = count;
        c->start += (now - c->start) / c->count * c->count;
        return;
    }
    c->count = count;
    c->next = 0;
    c->held = 0;
    if (c->mode != 1 && c->mode != 5) { /* those wait for the gate */
        c->start = now;
        c->counting = true;
    }
}

static void write_count(struct i8254 *s, unsigned n, uint8_t v)
{
    struct counter *c = &s->ch[n];
    int64_t now = ticks_now(s);
    advance(c, now);
    if (c->rw == RW_BOTH && !c->have_low) {
        c->low = v;
        c->have_low = true;
        if (c->mode == 0) { /* the first byte stops the count */
            c->counting = false;
            counter_changed(s, n);
        }
        return;
    }
    uint32_t count = c->rw == RW_LSB ? v : (uint32_t)v << 8;
    if (c->rw == RW_BOTH) {
        count |= c->low;
        c->have_low = false;
    }
    load(c, count, now);
    counter_changed(s, n);
}

static void latch_count(struct counter *c, int64_t now)
{
    if (!c->latched) {
        c->latch = value_of(c, now);
        c->latched = c->rw == RW_BOTH ? 2 : 1;
    }
}

static void latch_status(struct counter *c, int64_t now)
{
    if (!c->status_latched) {
        c->status = (uint8_t)((out_of(c, now) ? STATUS_OUT : 0) |
                              (c->null || c->next ? STATUS_NULL : 0) | c->rw << CTRL_RW_SHIFT |
                              c->mode << CTRL_MODE_SHIFT | (c->bcd ? CTRL_BCD : 0));
        c->status_latched = true;
    }
}

static void read_back(struct i8254 *s, uint8_t v)
{
    for (unsigned n = 0; n < 3; n++) {
        int64_t now = ticks_now(s);
        if (!(v & 2u << n)) {
            continue;
        }
        advance(&s->ch[n], now);
        if (!(v & READ_BACK_NO_COUNT)) {
            latch_count(&s->ch[n], now);
        }
        if (!(v & READ_BACK_NO_STATUS)) {
            latch_status(&s->ch[n], now);
        }
    }
}

static void write_control(struct i8254 *s, uint8_t v)
{
    unsigned n = v >> 6, rw = v >> CTRL_RW_SHIFT & 3, mode = v >> CTRL_MODE_SHIFT & 7;
    if (n == READ_BACK) {
        read_back(s, v);
        return;
    }
    struct counter *c = &s->ch[n];
    if (rw == RW_LATCH) {
        advance(c, ticks_now(s));
        latch_count(c, ticks_now(s));
        return;
    }
    bool gate = c->gate;
    uint32_t count = c->count;
    *c = (struct counter){ .gate = gate, .count = count, .rw = (uint8_t)rw, .null = true };
    c->mode = (uint8_t)(mode > 5 ? mode - 4 : mode);
    c->bcd = v & CTRL_BCD;
    counter_changed(s, n);
}

static uint8_t read_count(struct i8254 *s, unsigned n)
{
    struct counter *c = &s->ch[n];
    if (c->status_latched) {
        c->status_latched = false;
        return c->status;
    }
    advance(c, ticks_now(s));
    uint16_t v = c->latched ? c->latch : value_of(c, ticks_now(s));
    bool high = c->rw == RW_MSB || (c->rw == RW_BOTH && c->read_high);
    c->read_high = c->rw == RW_BOTH && !c->read_high;
    c->latched = c->latched ? c->latched - 1 : 0;
    return (uint8_t)(high ? v >> 8 : v);
}

/* ---- the gate ---- */

static void set_gate(struct i8254 *s, unsigned n, bool level)
{
    struct counter *c = &s->ch[n];
    int64_t now = ticks_now(s);
    if (c->gate == level) {
        return;
    }
    advance(c, now);
    if ((c->mode == 0 || c->mode == 4) && c->counting) {
        if (level) {
            c->start = now - c->held;
        } else {
            c->held = now - c->start;
        }
    } else if (level && c->mode != 0 && c->mode != 4 && !c->null) { /* a trigger */
        c->count = c->next ? c->next : c->count;
        c->next = 0;
        c->start = now;
        c->counting = true;
    }
    c->gate = level;
}

static void speaker_gate(void *opaque, bool level)
{
    set_gate(opaque, 2, level);
}

static bool speaker_out(void *opaque)
{
    struct i8254 *s = opaque;
    int64_t now = ticks_now(s);
    advance(&s->ch[2], now);
    return out_of(&s->ch[2], now);
}

void i8254_speaker(struct device *d, struct pcspk_timer *t)
{
    *t = (struct pcspk_timer){ speaker_gate, speaker_out, d };
}

void i8254_irq_off(struct device *d, bool off)
{
    struct i8254 *s = (struct i8254 *)d;
    if (s->irq_off != off) {
        s->irq_off = off;
        counter_changed(s, 0);
    }
}

/* ---- ports and life ---- */

static uint64_t pit_read(struct device *d, uint64_t off, unsigned size)
{
    (void)size;
    return off == 3 ? 0xff : read_count((struct i8254 *)d, (unsigned)off);
}

static void pit_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    (void)size;
    if (off == 3) {
        write_control((struct i8254 *)d, (uint8_t)val);
    } else {
        write_count((struct i8254 *)d, (unsigned)off, (uint8_t)val);
    }
}

static const struct reg_name names[] = {
    { 0, "COUNTER0" }, { 1, "COUNTER1" }, { 2, "COUNTER2" }, { 3, "CONTROL" }, { 0, NULL },
};
static const struct region_ops ops = { pit_read, pit_write, 1, names };

static int i8254_init(struct device *d, struct err *e)
{
    struct i8254 *s = (struct i8254 *)d;
    (void)e;
    line_init(&s->irq0, d, LINE_ISA, 0);
    vtimer_init(&s->tick, d->m, "pit", tick_fired, s);
    region_init(&s->ports, d, &ops, IO_PIO, 4, "PIT");
    region_map(&s->ports, 0x40);
    return 0;
}

/* Power-on leaves the counters undefined: here they run in mode 3 with the longest period. */
static void i8254_reset(struct device *d)
{
    struct i8254 *s = (struct i8254 *)d;
    int64_t now = ticks_now(s);
    s->irq_off = false;
    for (unsigned n = 0; n < 3; n++) {
        s->ch[n] = (struct counter){ .count = 0x10000,
                                     .mode = 3,
                                     .rw = RW_BOTH,
                                     .start = now,
                                     .gate = n != 2,
                                     .counting = n != 2 };
    }
    counter_changed(s, 0);
}

static int i8254_loaded(struct device *d, struct err *e)
{
    struct i8254 *s = (struct i8254 *)d;
    int64_t now = ticks_now(s);
    for (unsigned n = 0; n < 3; n++) {
        struct counter *c = &s->ch[n];
        if (c->start < 0 || c->start > now || c->held < 0 || (periodic(c) && c->count == 1)) {
            return err_set(e, -EINVAL, "%s: counter %u is in no possible state", d->id, n);
        }
    }
    drive(s, out_of(&s->ch[0], now)); /* the timer came along, due or overdue */
    return 0;
}

static void i8254_fini(struct device *d)
{
    struct i8254 *s = (struct i8254 *)d;
    region_unmap(&s->ports);
    vtimer_fini(&s->tick);
    line_fini(&s->irq0);
}

static const struct state_field counter_state[] = {
    FIELD_RANGE(struct counter, count, 1, 0x10000),
    FIELD_RANGE(struct counter, next, 0, 0x10000),
    FIELD(struct counter, start),
    FIELD(struct counter, held),
    FIELD_RANGE(struct counter, mode, 0, 5),
    FIELD_RANGE(struct counter, rw, 1, 3),
    FIELD(struct counter, bcd),
    FIELD(struct counter, gate),
    FIELD(struct counter, counting),
    FIELD(struct counter, null),
    FIELD(struct counter, have_low),
    FIELD(struct counter, read_high),
    FIELD(struct counter, low),
    FIELD_RANGE(struct counter, latched, 0, 2),
    FIELD(struct counter, latch),
    FIELD(struct counter, status_latched),
    FIELD(struct counter, status),
    FIELD_END,
};

static const struct state_field state[] = {
    FIELD_TIMER(struct i8254, tick),
    FIELD(struct i8254, irq_off),
    FIELD_SUB(struct i8254, ch, counter_state, 3),
    FIELD_END,
};

const struct dev_class i8254_class = {
    .name = "isa-pit",
    .desc = "82C54 programmable interval timer",
    .size = sizeof(struct i8254),
    .state = state,
    .state_version = 1,
    .init = i8254_init,
    .reset = i8254_reset,
    .loaded = i8254_loaded,
    .fini = i8254_fini,
};
