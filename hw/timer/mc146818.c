/* SPDX-License-Identifier: MIT */
/* hw/timer/mc146818.c - MC146818A real-time clock and CMOS RAM, ports 0x70 and 0x71.
 *
 * The time is an offset to virtual time; registers are filled in when somebody reads them. Nothing
 * ticks: of the three interrupt causes the next moment is computed, a timer is armed only while
 * one of them is enabled and not yet raised, and the flags of causes that are not enabled are made
 * up from the time that passed since register C was read. So a clock nobody listens to costs
 * nothing. A guest that falls behind gets one interrupt for many, as from the real chip.
 *
 * With driftfix=slew periodic interrupts that were missed are made up for, eight times as fast as
 * they were asked for: some systems count time by them.
 *
 * With clock=host the time follows the wall clock over a stop of the machine: when they differ by
 * two seconds or more the clock jumps. The century is in byte 0x32, as BIOSes keep it.
 *
 * Left out: square wave output, daylight saving, dividers other than 32.768 kHz.
 * Reference: Motorola MC146818A data sheet; 82371SB data sheet 290550, 2.5.4.
 */
#include "hw/timer/mc146818.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S 1000000000ll
#define UIP_NS 244000ll /* update in progress is seen this long before the second changes */
#define CRYSTAL_HZ 32768ll
#define MAX_OWED 65536
#define SLEW_RATE 8
#define SECONDS_PER_DAY 86400ll

enum {
    SEC,
    SEC_ALARM,
    MIN,
    MIN_ALARM,
    HOUR,
    HOUR_ALARM,
    WEEKDAY,
    DAY,
    MONTH,
    YEAR,
    REG_A,
    REG_B,
    REG_C,
    REG_D,
    CENTURY = 0x32,
    INDEX_MASK = 0x7f,

    A_UIP = 0x80,
    A_DIVIDER = 0x70,
    A_RUNNING = 0x20, /* divider for 32.768 kHz */
    A_RATE = 0x0f,
    A_RESET = 0x26,
    B_SET = 0x80,
    B_PIE = 0x40,
    B_AIE = 0x20,
    B_UIE = 0x10,
    B_BINARY = 0x04,
    B_24H = 0x02,
    C_IRQF = 0x80,
    C_PF = 0x40,
    C_AF = 0x20,
    C_UF = 0x10,
    D_VALID = 0x80,
    HOUR_PM = 0x80,
    ALARM_ANY = 0xc0,
};

#define MAX_SECONDS 9000000000ll

struct mc146818 {
    struct device dev;
    struct region port;
    struct line irq8;
    struct vtimer event;
    const uint8_t *content; /* property */
    const int64_t *offset;  /* property */
    bool slew;              /* property: driftfix=slew */
    bool follow;            /* property: clock=host */
    bool irq_off;
    uint8_t index;
    uint8_t reg[MC146818_BYTES]; /* time registers: as last computed or written */
    int64_t base_ns;             /* its clock less virtual time */
    int64_t checked_ns;          /* virtual time up to which flags in C are right */
    uint32_t owed;               /* slew: periodic interrupts that came due while one was pending */
    int64_t wall_offset;         /* seconds from the wall clock to this one */
};

/* ---- calendar ---- */

/* Days since 1970-01-01 of a date in the proleptic Gregorian calendar. */
static int64_t days_of(int64_t y, unsigned m, unsigned d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400, yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void date_of(int64_t days, int64_t *y, unsigned *m, unsigned *d)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097, doe = days - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    *d = (unsigned)(doy - (153 * mp + 2) / 5 + 1);
    *m = (unsigned)(mp < 10 ? mp + 3 : mp - 9);
    *y = yoe + era * 400 + (*m <= 2);
}

static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return q * b > a ? q - 1 : q;
}

/* ---- registers in the format that B asks for ---- */

static uint8_t encode(const struct mc146818 *s, unsigned v)
{
    return (uint8_t)(s->reg[REG_B] & B_BINARY ? v : v / 10 << 4 | v % 10);
}

static unsigned decode(const struct mc146818 *s, uint8_t v)
{
    return s->reg[REG_B] & B_BINARY ? v : (v >> 4) * 10u + (v & 15u);
}

static uint8_t encode_hour(const struct mc146818 *s, unsigned h)
{
    if (s->reg[REG_B] & B_24H) {
        return encode(s, h);
    }
    unsigned h12 = h % 12 ? h % 12 : 12;
    return (uint8_t)(encode(s, h12) | (h >= 12 ? HOUR_PM : 0));
}

static unsigned decode_hour(const struct mc146818 *s, uint8_t v)
{
    if (s->reg[REG_B] & B_24H) {
        return decode(s, v);
    }
    return decode(s, v & 0x7f) % 12 + (v & HOUR_PM ? 12 : 0);
}

static void fill_time(struct mc146818 *s, int64_t seconds)
{
    int64_t days = floor_div(seconds, SECONDS_PER_DAY), year;
    unsigned rest = (unsigned)(seconds - days * SECONDS_PER_DAY), month, day;
    date_of(days, &year, &month, &day);
    s->reg[SEC] = encode(s, rest % 60);
    s->reg[MIN] = encode(s, rest / 60 % 60);
    s->reg[HOUR] = encode_hour(s, rest / 3600);
    s->reg[WEEKDAY] = encode(s, (unsigned)((days % 7 + 11) % 7) + 1); /* 1970 began on a Thursday */
    s->reg[DAY] = encode(s, day);
    s->reg[MONTH] = encode(s, month);
    s->reg[YEAR] = encode(s, (unsigned)(year % 100));
    s->reg[CENTURY] = encode(s, (unsigned)(year / 100 % 100));
}

/* Seconds since the epoch that the registers say; a nonsensical date is some other date. */
static int64_t read_time(const struct mc146818 *s)
{
    int64_t year = decode(s, s->reg[CENTURY]) * 100 + decode(s, s->reg[YEAR]);
    unsigned month = decode(s, s->reg[MONTH]);
    int64_t days = days_of(year, month >= 1 && month <= 12 ? month : 1, decode(s, s->reg[DAY]));
    return days * SECONDS_PER_DAY + decode_hour(s, s->reg[HOUR]) * 3600 +
           decode(s, s->reg[MIN]) * 60 + decode(s, s->reg[SEC]);
}

/* ---- the clock ---- */

static bool running(const struct mc146818 *s)
{
    return !(s->reg[REG_B] & B_SET) && (s->reg[REG_A] & A_DIVIDER) == A_RUNNING;
}

/* Time is 64 bits of nanoseconds: from 1684 to 2255. A date outside is the nearest inside. */
static int64_t within(int64_t seconds)
{
    return seconds > MAX_SECONDS ? MAX_SECONDS : seconds < -MAX_SECONDS ? -MAX_SECONDS : seconds;
}

static int64_t clock_ns(struct mc146818 *s)
{
    return vclock_now(s->dev.m) + s->base_ns;
}

/* Jumps to the wall clock if that went on without this machine. */
static void follow_host(struct mc146818 *s)
{
    if (!s->follow) {
        return;
    }
    int64_t want = within(wallclock_now(s->dev.m) + s->wall_offset);
    int64_t behind = want - floor_div(clock_ns(s), NS_PER_S);
    if (behind > 1 || behind < -1) {
        s->base_ns += behind * NS_PER_S;
    }
}

static void refresh(struct mc146818 *s)
{
    if (running(s)) {
        fill_time(s, floor_div(clock_ns(s), NS_PER_S));
    }
}

/* The registers were written, or the clock starts: they are the time from now on. fraction: ns
 * into the second. */
static void set_time(struct mc146818 *s, int64_t fraction)
{
    int64_t seconds = within(read_time(s));
    s->base_ns = seconds * NS_PER_S + fraction - vclock_now(s->dev.m);
    s->wall_offset = s->follow ? seconds - wallclock_now(s->dev.m) : 0;
}

static int64_t fraction(struct mc146818 *s)
{
    int64_t ns = clock_ns(s);
    return ns - floor_div(ns, NS_PER_S) * NS_PER_S;
}

/* ---- interrupt causes; times are the clock's, in ns ---- */

/* 0: no periodic interrupt. */
static int64_t period_of(const struct mc146818 *s, int64_t *num)
{
    unsigned rate = s->reg[REG_A] & A_RATE;
    *num = rate == 0 ? 0 : 1ll << (rate < 3 ? rate + 6 : rate - 1);
    return *num;
}

/* The first periodic moment after t: multiples of num / 32768 s. */
static int64_t next_periodic(const struct mc146818 *s, int64_t t)
{
    int64_t num;
    if (!period_of(s, &num) || (s->reg[REG_A] & A_DIVIDER) != A_RUNNING) {
        return INT64_MAX;
    }
    __int128 k = (__int128)t * CRYSTAL_HZ / (num * NS_PER_S) + 1;
    return (int64_t)((k * num * NS_PER_S + CRYSTAL_HZ - 1) / CRYSTAL_HZ);
}

static int64_t next_update(const struct mc146818 *s, int64_t t)
{
    return running(s) ? (floor_div(t, NS_PER_S) + 1) * NS_PER_S : INT64_MAX;
}

struct alarm {
    unsigned from[3], to[3]; /* hour, minute, second: the values that match */
};

static void alarm_range(struct alarm *a, unsigned i, uint8_t raw, unsigned value, unsigned last)
{
    bool any = (raw & ALARM_ANY) == ALARM_ANY;
    a->from[i] = any ? 0 : value;
    a->to[i] = any ? last : value;
}

/* Seconds from second `now` of the day (excluded) to the next match, at most a day; 0: never. */
static int64_t alarm_distance(const struct alarm *a, int64_t now)
{
    int64_t best = 0;
    for (unsigned h = a->from[0]; h <= a->to[0]; h++) {
        for (unsigned m = a->from[1]; m <= a->to[1]; m++) {
            for (unsigned sec = a->from[2]; sec <= a->to[2]; sec++) {
                int64_t d = (int64_t)(h * 3600 + m * 60 + sec) - now;
                d = d <= 0 ? d + SECONDS_PER_DAY : d;
                best = !best || d < best ? d : best;
                if (best == 1) {
                    return 1;
                }
            }
        }
    }
    return best;
}

static int64_t next_alarm(const struct mc146818 *s, int64_t t)
{
    unsigned h = decode_hour(s, s->reg[HOUR_ALARM]), m = decode(s, s->reg[MIN_ALARM]);
    unsigned sec = decode(s, s->reg[SEC_ALARM]);
    struct alarm a;
    alarm_range(&a, 0, s->reg[HOUR_ALARM], h, 23);
    alarm_range(&a, 1, s->reg[MIN_ALARM], m, 59);
    alarm_range(&a, 2, s->reg[SEC_ALARM], sec, 59);
    if (!running(s) || a.to[0] > 23 || a.to[1] > 59 || a.to[2] > 59) {
        return INT64_MAX;
    }
    int64_t seconds = floor_div(t, NS_PER_S);
    int64_t of_day = seconds - floor_div(seconds, SECONDS_PER_DAY) * SECONDS_PER_DAY;
    return (seconds + alarm_distance(&a, of_day)) * NS_PER_S;
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Periods after the one that ended at `first`, and that one as well if its interrupt still waits. */
static void count_missed(struct mc146818 *s, int64_t first, int64_t now)
{
    int64_t num;
    if (!s->slew || !(s->reg[REG_B] & B_PIE) || !period_of(s, &num)) {
        s->owed = 0;
        return;
    }
    int64_t missed = (now - first) / (num * NS_PER_S / CRYSTAL_HZ);
    missed += s->reg[REG_C] & C_PF ? 1 : 0;
    s->owed = (uint32_t)sooner(s->owed + missed, MAX_OWED);
}

/* Raises in C what came about since the last look. */
static void check_flags(struct mc146818 *s)
{
    int64_t from = s->checked_ns + s->base_ns, now = clock_ns(s);
    s->checked_ns = vclock_now(s->dev.m);
    int64_t first = next_periodic(s, from);
    if (first <= now) {
        count_missed(s, first, now);
        s->reg[REG_C] |= C_PF;
    }
    if (next_update(s, from) <= now) {
        s->reg[REG_C] |= C_UF;
    }
    if (!(s->reg[REG_C] & C_AF) && next_alarm(s, from) <= now) {
        s->reg[REG_C] |= C_AF;
    }
}

static uint8_t raised_causes(const struct mc146818 *s)
{
    return s->reg[REG_C] & s->reg[REG_B] & (C_PF | C_AF | C_UF);
}

/* Drives IRQ 8 and arms the timer for the first enabled cause that is not yet raised. */
static void update_irq(struct mc146818 *s)
{
    uint8_t wanted = s->reg[REG_B] & (B_PIE | B_AIE | B_UIE), raised = raised_causes(s);
    int64_t when = INT64_MAX, now = clock_ns(s);
    s->reg[REG_C] = (uint8_t)((s->reg[REG_C] & ~C_IRQF) | (raised ? C_IRQF : 0));
    line_set(&s->irq8, raised && !s->irq_off);
    if (!raised && (wanted & B_PIE)) {
        when = sooner(when, next_periodic(s, now));
        int64_t num;
        if (s->owed && period_of(s, &num)) {
            when = sooner(when, now + num * NS_PER_S / CRYSTAL_HZ / SLEW_RATE);
        }
    }
    if (!raised && (wanted & B_UIE)) {
        when = sooner(when, next_update(s, now));
    }
    if (!raised && (wanted & B_AIE)) {
        when = sooner(when, next_alarm(s, now));
    }
    if (when == INT64_MAX) {
        vtimer_disarm(&s->event);
    } else {
        vtimer_arm_at(&s->event, when - s->base_ns);
    }
}

static void event_fired(void *opaque)
{
    struct mc146818 *s = opaque;
    check_flags(s);
    if (s->owed && !(s->reg[REG_C] & C_PF)) { /* too early for a real one */
        s->owed--;
        s->reg[REG_C] |= C_PF;
    }
    update_irq(s);
}

void mc146818_irq_off(struct device *d, bool off)
{
    struct mc146818 *s = (struct mc146818 *)d;
    s->irq_off = off;
    update_irq(s);
}

/* ---- registers ---- */

static bool is_time(unsigned index)
{
    return index == CENTURY ||
           (index <= YEAR && index != SEC_ALARM && index != MIN_ALARM && index != HOUR_ALARM);
}

static uint8_t read_a(struct mc146818 *s)
{
    bool uip = running(s) && fraction(s) >= NS_PER_S - UIP_NS;
    return (uint8_t)(s->reg[REG_A] | (uip ? A_UIP : 0));
}

static uint8_t read_c(struct mc146818 *s)
{
    check_flags(s);
    uint8_t v = s->reg[REG_C];
    if (raised_causes(s)) {
        v |= C_IRQF;
    }
    s->reg[REG_C] = 0;
    update_irq(s);
    return v;
}

static uint8_t read_reg(struct mc146818 *s, unsigned index)
{
    switch (index) {
    case REG_A:
        follow_host(s);
        return read_a(s);
    case REG_C:
        return read_c(s);
    case REG_D:
        return D_VALID;
    default:
        if (is_time(index)) {
            refresh(s);
        }
        return s->reg[index];
    }
}

static void write_time(struct mc146818 *s, unsigned index, uint8_t v)
{
    bool on = running(s);
    check_flags(s);
    refresh(s);
    s->reg[index] = v;
    if (on) {
        set_time(s, fraction(s));
    }
}

/* A divider that leaves its reset state makes the first second end half a second later. */
static void write_a(struct mc146818 *s, uint8_t v)
{
    bool was = running(s);
    refresh(s);
    s->reg[REG_A] = v & (A_DIVIDER | A_RATE);
    if (!was && running(s)) {
        set_time(s, NS_PER_S / 2);
    }
}

/* Switching BCD, binary, 12 and 24 hours reinterprets the bytes: they are not converted, so that a
 * guest finds the running time in the new format and a set one as it wrote it. */
static void write_b(struct mc146818 *s, uint8_t v)
{
    bool was = running(s);
    int64_t part = fraction(s);
    refresh(s);
    s->reg[REG_B] = v & B_SET ? v & (uint8_t)~B_UIE : v;
    if (!was && running(s)) {
        set_time(s, part);
    }
}

static void write_reg(struct mc146818 *s, unsigned index, uint8_t v)
{
    check_flags(s);
    switch (index) {
    case REG_A:
        write_a(s, v);
        break;
    case REG_B:
        write_b(s, v);
        break;
    case REG_C:
    case REG_D:
        return;
    default:
        if (is_time(index)) {
            write_time(s, index, v);
        } else {
            s->reg[index] = v;
        }
        break;
    }
    s->checked_ns = vclock_now(s->dev.m);
    update_irq(s);
}

void mc146818_set_byte(struct device *d, unsigned index, uint8_t v)
{
    ((struct mc146818 *)d)->reg[index & INDEX_MASK] = v;
}

static uint64_t cmos_read(struct device *d, uint64_t off, unsigned size)
{
    struct mc146818 *s = (struct mc146818 *)d;
    (void)size;
    return off == 0 ? 0xff : read_reg(s, s->index); /* the index cannot be read */
}

/* Bit 7 of the index masks NMI at its source, of which there are none here. */
static void cmos_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct mc146818 *s = (struct mc146818 *)d;
    (void)size;
    if (off == 0) {
        s->index = val & INDEX_MASK;
    } else {
        write_reg(s, s->index, (uint8_t)val);
    }
}

static const struct reg_name names[] = { { 0, "INDEX" }, { 1, "DATA" }, { 0, NULL } };
static const struct region_ops ops = { cmos_read, cmos_write, 1, names };

/* ---- life ---- */

static int mc146818_init(struct device *d, struct err *e)
{
    struct mc146818 *s = (struct mc146818 *)d;
    (void)e;
    if (s->content) {
        memcpy(s->reg, s->content, sizeof(s->reg));
        s->content = NULL;
    }
    s->wall_offset = s->offset ? *s->offset : 0;
    s->offset = NULL;
    memset(s->reg, 0, REG_D + 1);
    s->reg[REG_A] = A_RESET;
    s->reg[REG_B] = B_24H;
    s->base_ns = within(wallclock_now(d->m) + s->wall_offset) * NS_PER_S - vclock_now(d->m);
    line_init(&s->irq8, d, LINE_ISA, 8);
    vtimer_init(&s->event, d->m, "rtc", event_fired, s);
    region_init(&s->port, d, &ops, IO_PIO, 2, "CMOS");
    region_map(&s->port, 0x70);
    return 0;
}

/* RESET# clears interrupt enables and flags; time and RAM live on the battery. */
static void mc146818_reset(struct device *d)
{
    struct mc146818 *s = (struct mc146818 *)d;
    s->index = 0;
    s->irq_off = false;
    s->owed = 0;
    s->reg[REG_B] &= (uint8_t) ~(B_PIE | B_AIE | B_UIE);
    s->reg[REG_C] = 0;
    s->checked_ns = vclock_now(d->m);
    update_irq(s);
}

static int mc146818_loaded(struct device *d, struct err *e)
{
    struct mc146818 *s = (struct mc146818 *)d;
    int64_t now = vclock_now(d->m), bound = MAX_SECONDS * NS_PER_S + (1ll << 57);
    if (s->base_ns > bound || s->base_ns < -bound || s->checked_ns < 0 || s->checked_ns > now ||
        s->wall_offset > 2 * MAX_SECONDS || s->wall_offset < -2 * MAX_SECONDS) {
        return err_set(e, -EINVAL, "%s: no such time", d->id);
    }
    line_set(&s->irq8, raised_causes(s) && !s->irq_off); /* the timer came along, due or overdue */
    return 0;
}

static void mc146818_fini(struct device *d)
{
    struct mc146818 *s = (struct mc146818 *)d;
    region_unmap(&s->port);
    vtimer_fini(&s->event);
    line_fini(&s->irq8);
}

static const struct dev_prop props[] = {
    PROP(struct mc146818, "content", PROP_PTR, content, 0, "what the battery kept"),
    PROP(struct mc146818, "offset", PROP_PTR, offset, 0, "seconds from the wall clock"),
    PROP(struct mc146818, "slew", PROP_BOOL, slew, 0, "make up for missed periodic interrupts"),
    PROP(struct mc146818, "follow", PROP_BOOL, follow, 0, "go with the wall clock over a stop"),
    { 0 },
};

static const struct state_field state[] = {
    FIELD_TIMER(struct mc146818, event),
    FIELD(struct mc146818, irq_off),
    FIELD_RANGE(struct mc146818, index, 0, INDEX_MASK),
    FIELD_ARRAY(struct mc146818, reg),
    FIELD(struct mc146818, base_ns),
    FIELD(struct mc146818, checked_ns),
    FIELD(struct mc146818, wall_offset),
    FIELD_RANGE(struct mc146818, owed, 0, MAX_OWED),
    FIELD_END,
};

const struct dev_class mc146818_class = {
    .name = "mc146818rtc",
    .desc = "MC146818A real-time clock with CMOS RAM",
    .size = sizeof(struct mc146818),
    .props = props,
    .state = state,
    .state_version = 1,
    .init = mc146818_init,
    .reset = mc146818_reset,
    .loaded = mc146818_loaded,
    .fini = mc146818_fini,
};
