/* SPDX-License-Identifier: MIT */
/* hw/intc/apic.c - the local APICs of all processors, xAPIC and x2APIC.
 *
 *   devices -> MSI ---------------+                    +-> INTR of a processor
 *   I/O APIC --> apic_deliver ----+-> IRR -> ISR, TPR -+
 *   ICR of another processor -----+
 *   PIC -> LINT0 (ExtINT: INTR as it is)       NMI -> LINT1
 *
 * The window at 0xfee00000 is one for all: whose registers it shows is whose request is being
 * answered. The timer counts a bus of 1 GHz and is not counted: its value is computed when asked
 * for, and a masked one has no host timer.
 *
 * Left out: APIC bus arbitration, remote reads, CMCI, moving the window for one processor only (it
 * follows the boot processor's base). LINT pins have no polarity: PIC and NMI are as asserted.
 * Reference: Intel SDM volume 3, chapter 11 (advanced programmable interrupt controller).
 */
#include "hw/intc/apic.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    REG_ID = 0x02,
    REG_VERSION = 0x03,
    REG_TPR = 0x08,
    REG_APR = 0x09,
    REG_PPR = 0x0a,
    REG_EOI = 0x0b,
    REG_LDR = 0x0d,
    REG_DFR = 0x0e,
    REG_SVR = 0x0f,
    REG_ISR = 0x10,
    REG_TMR = 0x18,
    REG_IRR = 0x20,
    REG_ESR = 0x28,
    REG_ICR = 0x30,
    REG_ICR2 = 0x31,
    REG_LVT = 0x32, /* timer, thermal, counters, LINT0, LINT1, error */
    REG_TMICT = 0x38,
    REG_TMCCT = 0x39,
    REG_TDCR = 0x3e,
    REG_SELF_IPI = 0x3f, /* x2APIC only */

    LVT_TIMER = 0,
    LVT_THERMAL,
    LVT_COUNTERS,
    LVT_LINT0,
    LVT_LINT1,
    LVT_ERROR,
    LVTS,

    LVT_MASKED = 1 << 16,
    LVT_LEVEL = 1 << 15,
    LVT_REMOTE_IRR = 1 << 14,
    SVR_ENABLED = 1 << 8,
    SVR_NO_BROADCAST = 1 << 12,
    SVR_WRITABLE = 0x13ff,
    ICR_LOGICAL = 1 << 11,
    ICR_ASSERT = 1 << 14,
    ICR_LEVEL = 1 << 15,
    ICR_WRITABLE = 0xccfff,
    ESR_SENT_ILLEGAL = 1 << 5,
    ESR_GOT_ILLEGAL = 1 << 6,
    ESR_REGISTER = 1 << 7,
    VERSION = 0x01050014, /* 6 LVT entries, EOI broadcasts can be suppressed */

    MSR_APIC_BASE = 0x1b,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_X2APIC = 0x800,
    BASE_BSP = 1 << 8,
    BASE_X2APIC = 1 << 10,
    BASE_ENABLED = 1 << 11,
    FIRST_VECTOR = 16, /* those below are reserved */
};
enum timer_mode { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_DEADLINE };

#define APIC_WINDOW 0xfee00000u
#define BASE_ADDR 0x000ffffffffff000ull
#define MAX_RUN_NS (1ll << 39) /* 2^32 counts divided by 128 */
#define BROADCAST 0xffffffffu

static const uint32_t lvt_writable[LVTS] = { 0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff };

struct lapic {
    uint64_t base; /* IA32_APIC_BASE */
    uint32_t id;   /* xAPIC id */
    uint32_t tpr, ldr, dfr, svr, esr, errors, icr, icr2;
    uint32_t isr[8], tmr[8], irr[8];
    uint32_t lvt[LVTS];
    uint32_t initial, divide;
    int64_t started; /* virtual ns at which the timer was */
    uint64_t deadline;
    struct vtimer timer;
};

struct apic;
struct timer_of { /* a timer's opaque */
    struct apic *s;
    unsigned cpu;
};

struct apic {
    struct device dev;
    uint32_t cpus;
    struct apic_pic *pic_prop, pic;
    struct apic_eoi *eoi_prop, eoi;
    struct apic_ferr *ferr_prop, ferr;
    struct region window;
    struct lapic cpu[CPU_MAX];
    struct timer_of timer_of[CPU_MAX];
    bool pic_level;
    uint32_t next; /* where the search for a lowest-priority receiver starts */
};

/* ---- bit sets of vectors ---- */

static bool test(const uint32_t *set, unsigned v)
{
    return set[v / 32] >> v % 32 & 1;
}

static void put(uint32_t *set, unsigned v, bool on)
{
    uint32_t bit = 1u << v % 32;
    set[v / 32] = on ? set[v / 32] | bit : set[v / 32] & ~bit;
}

static int highest(const uint32_t *set)
{
    for (int i = 7; i >= 0; i--) {
        if (set[i]) {
            return i * 32 + 31 - __builtin_clz(set[i]);
        }
    }
    return -1;
}

/* ---- one local APIC towards its processor ---- */

static bool on(const struct lapic *a)
{
    return a->base & BASE_ENABLED;
}

static bool x2(const struct lapic *a)
{
    return a->base & BASE_X2APIC;
}

static bool software_on(const struct lapic *a)
{
    return on(a) && (a->svr & SVR_ENABLED);
}

static uint32_t ppr_of(const struct lapic *a)
{
    int isr = highest(a->isr);
    uint32_t serving = isr < 0 ? 0 : (uint32_t)isr & 0xf0;
    return (a->tpr & 0xf0) >= serving ? a->tpr : serving;
}

/* The vector to be taken next, or -1. */
static int deliverable(const struct lapic *a)
{
    int irr = software_on(a) ? highest(a->irr) : -1;
    return irr >= 0 && ((uint32_t)irr & 0xf0) > (ppr_of(a) & 0xf0) ? irr : -1;
}

static unsigned lvt_mode(uint32_t lvt)
{
    return lvt >> 8 & 7;
}

/* The PIC's INT passes: the APIC is off (as if it were not there), or LINT0 is ExtINT. */
static bool passes_pic(const struct lapic *a)
{
    if (!on(a)) {
        return a->base & BASE_BSP;
    }
    return !(a->lvt[LVT_LINT0] & LVT_MASKED) && lvt_mode(a->lvt[LVT_LINT0]) == APIC_EXTINT;
}

static void update(struct apic *s, unsigned cpu)
{
    const struct lapic *a = &s->cpu[cpu];
    cpu_intr(s->dev.m, cpu, deliverable(a) >= 0 || (s->pic_level && passes_pic(a)));
}

static void accept(struct apic *s, unsigned cpu, uint8_t vector, bool level);

static void raise_error(struct apic *s, unsigned cpu, uint32_t bit)
{
    struct lapic *a = &s->cpu[cpu];
    a->errors |= bit;
    if (!(a->lvt[LVT_ERROR] & LVT_MASKED) && (uint8_t)a->lvt[LVT_ERROR] >= FIRST_VECTOR) {
        accept(s, cpu, (uint8_t)a->lvt[LVT_ERROR], false);
    }
}

static void accept(struct apic *s, unsigned cpu, uint8_t vector, bool level)
{
    struct lapic *a = &s->cpu[cpu];
    if (!software_on(a)) {
        return;
    }
    if (vector < FIRST_VECTOR) {
        raise_error(s, cpu, ESR_GOT_ILLEGAL);
        return;
    }
    put(a->tmr, vector, level);
    put(a->irr, vector, true);
    update(s, cpu);
}

/* An event of the APIC's own, as its LVT entry says. */
static void local_event(struct apic *s, unsigned cpu, unsigned n)
{
    uint32_t lvt = s->cpu[cpu].lvt[n];
    if (lvt & LVT_MASKED) {
        return;
    }
    switch (lvt_mode(lvt)) {
    case APIC_FIXED:
        accept(s, cpu, (uint8_t)lvt, n == LVT_LINT0 && (lvt & LVT_LEVEL));
        break;
    case APIC_SMI:
        cpu_smi(s->dev.m, cpu);
        break;
    case APIC_NMI:
        cpu_nmi(s->dev.m, cpu);
        break;
    case APIC_INIT:
        cpu_init_signal(s->dev.m, cpu);
        break;
    default: /* ExtINT: update() looks at the level */
        break;
    }
}

void apic_set_pic(struct device *d, bool level)
{
    struct apic *s = (struct apic *)d;
    bool rose = level && !s->pic_level;
    s->pic_level = level;
    for (unsigned cpu = 0; cpu < s->cpus; cpu++) {
        if (rose && on(&s->cpu[cpu])) {
            local_event(s, cpu, LVT_LINT0);
        }
        update(s, cpu);
    }
}

void apic_nmi(struct device *d)
{
    struct apic *s = (struct apic *)d;
    for (unsigned cpu = 0; cpu < s->cpus; cpu++) {
        if (on(&s->cpu[cpu])) {
            local_event(s, cpu, LVT_LINT1);
        } else if (s->cpu[cpu].base & BASE_BSP) {
            cpu_nmi(d->m, cpu);
        }
    }
}

static int apic_ack(void *o, unsigned cpu)
{
    struct apic *s = o;
    struct lapic *a = &s->cpu[cpu];
    int vector = deliverable(a);
    if (vector >= 0) {
        put(a->irr, (unsigned)vector, false);
        put(a->isr, (unsigned)vector, true);
        update(s, cpu);
        return vector;
    }
    if (s->pic_level && passes_pic(a) && s->pic.ack) {
        return s->pic.ack(s->pic.o);
    }
    return -1;
}

static void end_of_interrupt(struct apic *s, unsigned cpu)
{
    struct lapic *a = &s->cpu[cpu];
    int vector = highest(a->isr);
    if (vector < 0) {
        return;
    }
    put(a->isr, (unsigned)vector, false);
    if (test(a->tmr, (unsigned)vector) && !(a->svr & SVR_NO_BROADCAST) && s->eoi.fn) {
        s->eoi.fn(s->eoi.o, (uint8_t)vector);
    }
    update(s, cpu);
}

/* ---- the bus ---- */

static uint32_t x2_ldr(unsigned cpu)
{
    return (cpu >> 4) << 16 | 1u << (cpu & 15);
}

static bool logical_match(const struct lapic *a, unsigned cpu, const struct apic_message *msg)
{
    if (x2(a)) {
        uint32_t ldr = x2_ldr(cpu);
        return msg->dest >> 16 == ldr >> 16 && (msg->dest & ldr & 0xffff);
    }
    uint8_t dest = (uint8_t)msg->dest, ldr = (uint8_t)(a->ldr >> 24);
    if (msg->dest > 0xff) {
        return false;
    }
    if (a->dfr >> 28 == 0xf) { /* flat */
        return dest & ldr;
    }
    return dest >> 4 == ldr >> 4 && (dest & ldr & 0xf);
}

static bool match(const struct apic *s, unsigned cpu, const struct apic_message *msg)
{
    const struct lapic *a = &s->cpu[cpu];
    if (msg->dest == (msg->wide ? BROADCAST : 0xff)) {
        return true;
    }
    if (msg->logical) {
        return logical_match(a, cpu, msg);
    }
    return msg->dest == (x2(a) ? cpu : a->id);
}

static void deliver_to(struct apic *s, unsigned cpu, const struct apic_message *msg)
{
    struct machine *m = s->dev.m;
    switch (msg->mode) {
    case APIC_FIXED:
    case APIC_LOWEST:
        accept(s, cpu, msg->vector, msg->level);
        break;
    case APIC_SMI:
        cpu_smi(m, cpu);
        break;
    case APIC_NMI:
        cpu_nmi(m, cpu);
        break;
    case APIC_INIT:
        cpu_init_signal(m, cpu);
        break;
    case APIC_SIPI:
        cpu_sipi(m, cpu, msg->vector);
        break;
    default: /* ExtINT needs a PIC at the sender; nobody wires one there */
        break;
    }
}

/* Among those addressed the one that does the least important work, in turn if several do. */
static void deliver_lowest(struct apic *s, const struct apic_message *msg)
{
    int best = -1;
    for (unsigned i = 0; i < s->cpus; i++) {
        unsigned cpu = (s->next + i) % s->cpus;
        if (match(s, cpu, msg) && software_on(&s->cpu[cpu]) &&
            (best < 0 || ppr_of(&s->cpu[cpu]) < ppr_of(&s->cpu[best]))) {
            best = (int)cpu;
        }
    }
    if (best >= 0) {
        s->next = ((unsigned)best + 1) % s->cpus;
        deliver_to(s, (unsigned)best, msg);
    }
}

void apic_deliver(struct device *d, const struct apic_message *msg)
{
    struct apic *s = (struct apic *)d;
    if (msg->mode == APIC_LOWEST) {
        deliver_lowest(s, msg);
        return;
    }
    for (unsigned cpu = 0; cpu < s->cpus; cpu++) {
        if (match(s, cpu, msg)) {
            deliver_to(s, cpu, msg);
        }
    }
}

void apic_msi(struct device *d, uint64_t addr, uint32_t data)
{
    struct apic_message msg = {
        .dest = (uint32_t)(addr >> 12) & 0xff,
        .logical = addr & 4,
        .mode = data >> 8 & 7,
        .vector = (uint8_t)data,
        .level = data & 0x8000,
    };
    if (addr >> 20 == APIC_WINDOW >> 20) {
        apic_deliver(d, &msg);
    }
}

/* ---- interprocessor interrupts ---- */

static void send_ipi(struct apic *s, unsigned cpu, uint32_t icr, uint32_t dest, bool wide)
{
    enum { TO_DEST, TO_SELF, TO_ALL, TO_OTHERS } to = icr >> 18 & 3;
    struct apic_message msg = { .dest = dest,
                                .logical = icr & ICR_LOGICAL,
                                .wide = wide,
                                .mode = icr >> 8 & 7,
                                .vector = (uint8_t)icr };
    bool vectored = msg.mode == APIC_FIXED || msg.mode == APIC_LOWEST;
    if (vectored && msg.vector < FIRST_VECTOR) {
        raise_error(s, cpu, ESR_SENT_ILLEGAL);
        return;
    }
    if (msg.mode == APIC_INIT && (icr & ICR_LEVEL) && !(icr & ICR_ASSERT)) {
        return; /* INIT level de-assert only synchronises arbitration */
    }
    if (to == TO_DEST) {
        apic_deliver(&s->dev, &msg);
        return;
    }
    for (unsigned i = 0; i < s->cpus; i++) {
        if (to == TO_ALL || (i == cpu) == (to == TO_SELF)) {
            deliver_to(s, i, &msg);
        }
    }
}

/* ---- the timer ---- */

static enum timer_mode timer_mode(const struct lapic *a)
{
    return a->lvt[LVT_TIMER] >> 17 & 3;
}

static unsigned divide_shift(const struct lapic *a)
{
    unsigned v = (a->divide & 3) | (a->divide >> 1 & 4);
    return (v + 1) & 7;
}

static int64_t period_ns(const struct lapic *a)
{
    return (int64_t)a->initial << divide_shift(a);
}

static uint32_t timer_count(struct apic *s, const struct lapic *a)
{
    int64_t period = period_ns(a), d = vclock_now(s->dev.m) - a->started;
    if (!period || timer_mode(a) == TIMER_DEADLINE) {
        return 0;
    }
    if (timer_mode(a) == TIMER_PERIODIC) {
        d %= period;
    }
    return d >= period ? 0
                       : (uint32_t)((period - d + (1ll << divide_shift(a)) - 1) >> divide_shift(a));
}

/* Arms the host timer for the next expiry that somebody would notice. */
static void arm_timer(struct apic *s, unsigned cpu)
{
    struct lapic *a = &s->cpu[cpu];
    int64_t now = vclock_now(s->dev.m), period = period_ns(a), when = -1;
    bool masked = (a->lvt[LVT_TIMER] & LVT_MASKED) || !software_on(a);
    if (timer_mode(a) == TIMER_DEADLINE) {
        when = a->deadline ? cpu_tsc_due(s->dev.m, cpu, a->deadline) : -1;
    } else if (period && timer_mode(a) == TIMER_PERIODIC) {
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

static void timer_fired(void *opaque)
{
    struct timer_of *t = opaque;
    struct lapic *a = &t->s->cpu[t->cpu];
    if (timer_mode(a) == TIMER_DEADLINE) {
        a->deadline = 0;
    }
    accept(t->s, t->cpu, (uint8_t)a->lvt[LVT_TIMER], false);
    if (timer_mode(a) == TIMER_PERIODIC) {
        arm_timer(t->s, t->cpu);
    }
}

static void start_timer(struct apic *s, unsigned cpu, uint32_t count)
{
    struct lapic *a = &s->cpu[cpu];
    if (timer_mode(a) == TIMER_DEADLINE) {
        return;
    }
    a->initial = count;
    a->started = vclock_now(s->dev.m);
    arm_timer(s, cpu);
}

static void write_divide(struct apic *s, unsigned cpu, uint32_t v)
{
    struct lapic *a = &s->cpu[cpu];
    int64_t left = (int64_t)timer_count(s, a);
    a->divide = v & 0xb;
    /* What is left of the count goes on at the new rate. */
    a->started = vclock_now(s->dev.m) - ((a->initial - left) << divide_shift(a));
    arm_timer(s, cpu);
}

/* ---- registers ---- */

static void write_lvt(struct apic *s, unsigned cpu, unsigned n, uint32_t v)
{
    struct lapic *a = &s->cpu[cpu];
    enum timer_mode before = timer_mode(a);
    v &= lvt_writable[n];
    if (!(a->svr & SVR_ENABLED)) {
        v |= LVT_MASKED;
    }
    a->lvt[n] = v;
    if (n == LVT_TIMER) {
        if ((timer_mode(a) == TIMER_DEADLINE) != (before == TIMER_DEADLINE)) {
            a->initial = 0;
            a->deadline = 0;
        }
        arm_timer(s, cpu);
    }
    update(s, cpu);
}

static void write_svr(struct apic *s, unsigned cpu, uint32_t v)
{
    struct lapic *a = &s->cpu[cpu];
    a->svr = v & SVR_WRITABLE;
    for (unsigned i = 0; i < LVTS && !(v & SVR_ENABLED); i++) {
        a->lvt[i] |= LVT_MASKED;
    }
    arm_timer(s, cpu);
    update(s, cpu);
}

static void set_priority(struct apic *s, unsigned cpu, uint32_t tpr)
{
    s->cpu[cpu].tpr = tpr & 0xff;
    update(s, cpu);
}

/* Registers that both ways of access have, by number. */
static bool read_common(struct apic *s, unsigned cpu, unsigned reg, uint32_t *v)
{
    const struct lapic *a = &s->cpu[cpu];
    if (reg >= REG_ISR && reg < REG_ESR) {
        const uint32_t *set = reg < REG_TMR ? a->isr : reg < REG_IRR ? a->tmr : a->irr;
        *v = set[reg & 7];
        return true;
    }
    if (reg >= REG_LVT && reg < REG_LVT + LVTS) {
        *v = a->lvt[reg - REG_LVT];
        return true;
    }
    switch (reg) {
    case REG_VERSION:
        *v = VERSION;
        return true;
    case REG_TPR:
        *v = a->tpr;
        return true;
    case REG_PPR:
        *v = ppr_of(a);
        return true;
    case REG_SVR:
        *v = a->svr;
        return true;
    case REG_ESR:
        *v = a->esr;
        return true;
    case REG_TMICT:
        *v = a->initial;
        return true;
    case REG_TMCCT:
        *v = timer_count(s, a);
        return true;
    case REG_TDCR:
        *v = a->divide;
        return true;
    default:
        return false;
    }
}

static bool write_common(struct apic *s, unsigned cpu, unsigned reg, uint32_t v)
{
    struct lapic *a = &s->cpu[cpu];
    if (reg >= REG_LVT && reg < REG_LVT + LVTS) {
        write_lvt(s, cpu, reg - REG_LVT, v);
        return true;
    }
    switch (reg) {
    case REG_TPR:
        set_priority(s, cpu, v);
        return true;
    case REG_EOI:
        end_of_interrupt(s, cpu);
        return true;
    case REG_SVR:
        write_svr(s, cpu, v);
        return true;
    case REG_ESR:
        a->esr = a->errors;
        a->errors = 0;
        return true;
    case REG_TMICT:
        start_timer(s, cpu, v);
        return true;
    case REG_TDCR:
        write_divide(s, cpu, v);
        return true;
    default:
        return false;
    }
}

/* ---- xAPIC: the window ---- */

static uint32_t read_xapic(struct apic *s, unsigned cpu, unsigned reg)
{
    const struct lapic *a = &s->cpu[cpu];
    uint32_t v = 0;
    switch (reg) {
    case REG_ID:
        return a->id << 24;
    case REG_LDR:
        return a->ldr;
    case REG_DFR:
        return a->dfr;
    case REG_ICR:
        return a->icr;
    case REG_ICR2:
        return a->icr2;
    case REG_APR:
    case REG_EOI:
        return 0;
    default:
        if (!read_common(s, cpu, reg, &v)) {
            raise_error(s, cpu, ESR_REGISTER);
        }
        return v;
    }
}

static void write_xapic(struct apic *s, unsigned cpu, unsigned reg, uint32_t v)
{
    struct lapic *a = &s->cpu[cpu];
    switch (reg) {
    case REG_ID:
        a->id = v >> 24;
        break;
    case REG_LDR:
        a->ldr = v & 0xff000000;
        break;
    case REG_DFR:
        a->dfr = v | 0x0fffffff;
        break;
    case REG_ICR:
        a->icr = v & ICR_WRITABLE;
        send_ipi(s, cpu, a->icr, a->icr2 >> 24, false);
        break;
    case REG_ICR2:
        a->icr2 = v & 0xff000000;
        break;
    default:
        if (!write_common(s, cpu, reg, v)) {
            raise_error(s, cpu, ESR_REGISTER);
        }
        break;
    }
}

/* Registers are dwords at multiples of 16. */
static uint64_t window_read(struct device *d, uint64_t off, unsigned size)
{
    struct apic *s = (struct apic *)d;
    unsigned cpu = cpu_current(d->m);
    if (cpu >= s->cpus || !on(&s->cpu[cpu]) || x2(&s->cpu[cpu])) {
        return ones(size);
    }
    if ((off & 15) >= 4) {
        return 0;
    }
    return read_xapic(s, cpu, (unsigned)off >> 4) >> (8 * (off & 3)) & ones(size);
}

static void window_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct apic *s = (struct apic *)d;
    unsigned cpu = cpu_current(d->m);
    if (cpu < s->cpus && on(&s->cpu[cpu]) && !x2(&s->cpu[cpu]) && (off & 15) == 0 && size == 4) {
        write_xapic(s, cpu, (unsigned)off >> 4, (uint32_t)val);
    }
}

static const struct reg_name names[] = {
    { 0x020, "ID" },     { 0x030, "VERSION" },   { 0x080, "TPR" },       { 0x0a0, "PPR" },
    { 0x0b0, "EOI" },    { 0x0d0, "LDR" },       { 0x0e0, "DFR" },       { 0x0f0, "SVR" },
    { 0x100, "ISR" },    { 0x180, "TMR" },       { 0x200, "IRR" },       { 0x280, "ESR" },
    { 0x300, "ICR" },    { 0x310, "ICR2" },      { 0x320, "LVT_TIMER" }, { 0x330, "LVT_THERMAL" },
    { 0x340, "LVT_PC" }, { 0x350, "LVT_LINT0" }, { 0x360, "LVT_LINT1" }, { 0x370, "LVT_ERROR" },
    { 0x380, "TMICT" },  { 0x390, "TMCCT" },     { 0x3e0, "TDCR" },      { 0, NULL },
};
static const struct region_ops ops = { window_read, window_write, 4, names };

/* ---- model-specific registers ---- */

static bool read_x2apic(struct apic *s, unsigned cpu, unsigned reg, uint64_t *val)
{
    const struct lapic *a = &s->cpu[cpu];
    uint32_t v = 0;
    switch (reg) {
    case REG_ID:
        *val = cpu;
        return true;
    case REG_LDR:
        *val = x2_ldr(cpu);
        return true;
    case REG_ICR:
        *val = (uint64_t)a->icr2 << 32 | a->icr;
        return true;
    default:
        if (!read_common(s, cpu, reg, &v)) {
            return false;
        }
        *val = v;
        return true;
    }
}

/* Reserved bits fault here, where the window would ignore them. */
static bool x2_value_ok(unsigned reg, uint64_t val)
{
    if (reg == REG_ICR) {
        return !((uint32_t)val & ~(uint32_t)(ICR_WRITABLE));
    }
    if (val >> 32 || ((reg == REG_EOI || reg == REG_ESR) && val)) {
        return false;
    }
    uint32_t v = (uint32_t)val;
    if (reg >= REG_LVT && reg < REG_LVT + LVTS) {
        return !(v & ~(lvt_writable[reg - REG_LVT] | LVT_REMOTE_IRR | 1u << 12));
    }
    return !((reg == REG_TPR || reg == REG_SELF_IPI) && v > 0xff) &&
           !(reg == REG_SVR && (v & ~(uint32_t)SVR_WRITABLE)) && !(reg == REG_TDCR && (v & ~0xbu));
}

static bool write_x2apic(struct apic *s, unsigned cpu, unsigned reg, uint64_t val)
{
    struct lapic *a = &s->cpu[cpu];
    if (!x2_value_ok(reg, val)) {
        return false;
    }
    switch (reg) {
    case REG_ICR:
        a->icr = (uint32_t)val;
        a->icr2 = (uint32_t)(val >> 32);
        send_ipi(s, cpu, a->icr, a->icr2, true);
        return true;
    case REG_SELF_IPI:
        send_ipi(s, cpu, 1u << 18 | (uint32_t)val, 0, true);
        return true;
    default:
        return write_common(s, cpu, reg, (uint32_t)val);
    }
}

static void init_state(struct apic *s, unsigned cpu);

static void map_window(struct apic *s)
{
    region_map(&s->window, s->cpu[0].base & BASE_ADDR);
}

/* Legal: off <-> xAPIC -> x2APIC -> off. */
static bool write_base(struct apic *s, unsigned cpu, uint64_t val)
{
    struct lapic *a = &s->cpu[cpu];
    bool enable = val & BASE_ENABLED, extend = val & BASE_X2APIC;
    if (val & ~(BASE_ADDR | BASE_BSP | BASE_X2APIC | BASE_ENABLED) || (extend && !enable) ||
        (x2(a) && enable && !extend) || (!on(a) && extend)) {
        return false;
    }
    bool was = on(a);
    a->base = (val & ~(uint64_t)BASE_BSP) | (a->base & BASE_BSP);
    if (extend) {
        a->icr2 = 0;
    }
    if (was && !enable) {
        init_state(s, cpu);
    }
    if (cpu == 0) {
        map_window(s);
    }
    update(s, cpu);
    return true;
}

static bool write_deadline(struct apic *s, unsigned cpu, uint64_t val)
{
    struct lapic *a = &s->cpu[cpu];
    if (timer_mode(a) == TIMER_DEADLINE) {
        a->deadline = val;
        arm_timer(s, cpu);
    }
    return true;
}

static bool apic_rdmsr(void *o, unsigned cpu, uint32_t msr, uint64_t *val)
{
    struct apic *s = o;
    const struct lapic *a = &s->cpu[cpu];
    if (msr == MSR_APIC_BASE) {
        *val = a->base;
        return true;
    }
    if (msr == MSR_TSC_DEADLINE) {
        *val = a->deadline;
        return true;
    }
    return x2(a) && msr >= MSR_X2APIC && msr < MSR_X2APIC + 0x100 &&
           read_x2apic(s, cpu, msr - MSR_X2APIC, val);
}

static bool apic_wrmsr(void *o, unsigned cpu, uint32_t msr, uint64_t val)
{
    struct apic *s = o;
    if (msr == MSR_APIC_BASE) {
        return write_base(s, cpu, val);
    }
    if (msr == MSR_TSC_DEADLINE) {
        return write_deadline(s, cpu, val);
    }
    return x2(&s->cpu[cpu]) && msr >= MSR_X2APIC && msr < MSR_X2APIC + 0x100 &&
           write_x2apic(s, cpu, msr - MSR_X2APIC, val);
}

static uint8_t apic_tpr(void *o, unsigned cpu)
{
    const struct apic *s = o;
    return (uint8_t)(s->cpu[cpu].tpr >> 4);
}

static void apic_set_tpr(void *o, unsigned cpu, uint8_t tpr)
{
    set_priority(o, cpu, (uint32_t)(tpr & 0xf) << 4);
}

static void apic_cpu_reset(void *o, unsigned cpu)
{
    init_state(o, cpu);
    update(o, cpu);
}

static void apic_ferr_pin(void *o, bool level)
{
    struct apic *s = o;
    if (s->ferr.fn) {
        s->ferr.fn(s->ferr.o, level);
    }
}

const struct cpu_intc apic_cpu_intc = {
    .ack = apic_ack,
    .tpr = apic_tpr,
    .set_tpr = apic_set_tpr,
    .rdmsr = apic_rdmsr,
    .wrmsr = apic_wrmsr,
    .cpu_reset = apic_cpu_reset,
    .ferr = apic_ferr_pin,
};

/* ---- life ---- */

/* After INIT: everything but the base register and the id. The boot processor's LINT0 lets the PIC
 * through at once, as BIOSes without APIC support expect. */
static void init_state(struct apic *s, unsigned cpu)
{
    struct lapic *a = &s->cpu[cpu];
    a->tpr = a->ldr = a->esr = a->errors = a->icr = a->icr2 = 0;
    a->dfr = 0xffffffff;
    a->svr = 0xff;
    memset(a->isr, 0, sizeof(a->isr));
    memset(a->tmr, 0, sizeof(a->tmr));
    memset(a->irr, 0, sizeof(a->irr));
    for (unsigned i = 0; i < LVTS; i++) {
        a->lvt[i] = LVT_MASKED;
    }
    if (a->base & BASE_BSP) {
        a->lvt[LVT_LINT0] = APIC_EXTINT << 8;
    }
    a->initial = a->divide = 0;
    a->started = 0;
    a->deadline = 0;
    vtimer_disarm(&a->timer);
}

static int apic_init(struct device *d, struct err *e)
{
    struct apic *s = (struct apic *)d;
    if (s->cpus < 1 || s->cpus > CPU_MAX) {
        return err_set(e, -EINVAL, "%s: cpus=%u is not 1 to %u", d->id, s->cpus, CPU_MAX);
    }
    s->pic = s->pic_prop ? *s->pic_prop : s->pic;
    s->eoi = s->eoi_prop ? *s->eoi_prop : s->eoi;
    s->ferr = s->ferr_prop ? *s->ferr_prop : s->ferr;
    s->pic_prop = NULL;
    s->eoi_prop = NULL;
    s->ferr_prop = NULL;
    for (unsigned i = 0; i < CPU_MAX; i++) {
        s->timer_of[i] = (struct timer_of){ s, i };
        vtimer_init(&s->cpu[i].timer, d->m, "lapic", timer_fired, &s->timer_of[i]);
    }
    region_init(&s->window, d, &ops, IO_MMIO, 0x1000, "LAPIC");
    return 0;
}

static void apic_reset(struct device *d)
{
    struct apic *s = (struct apic *)d;
    for (unsigned i = 0; i < CPU_MAX; i++) {
        s->cpu[i].base = APIC_WINDOW | BASE_ENABLED | (i == 0 ? BASE_BSP : 0);
        s->cpu[i].id = i;
        init_state(s, i);
    }
    s->next = 0;
    map_window(s);
    for (unsigned i = 0; i < s->cpus; i++) {
        update(s, i);
    }
}

static bool state_ok(const struct apic *s, const struct lapic *a)
{
    bool bsp = a == &s->cpu[0];
    for (unsigned i = 0; i < LVTS; i++) {
        if (a->lvt[i] & ~lvt_writable[i]) {
            return false;
        }
    }
    return !(a->base & ~(BASE_ADDR | BASE_BSP | BASE_X2APIC | BASE_ENABLED)) && (on(a) || !x2(a)) &&
           !!(a->base & BASE_BSP) == bsp && !(a->svr & ~SVR_WRITABLE) && !(a->divide & ~0xbu) &&
           a->id <= 0xff && a->tpr <= 0xff && a->started >= -MAX_RUN_NS &&
           a->started <= vclock_now(s->dev.m) && timer_mode(a) <= TIMER_DEADLINE;
}

static int apic_loaded(struct device *d, struct err *e)
{
    struct apic *s = (struct apic *)d;
    for (unsigned i = 0; i < CPU_MAX; i++) {
        if (!state_ok(s, &s->cpu[i])) {
            return err_set(e, -EINVAL, "%s: processor %u's APIC is in no possible state", d->id, i);
        }
    }
    s->next %= s->cpus;
    map_window(s);
    for (unsigned i = 0; i < s->cpus; i++) { /* timers came along, due or overdue */
        update(s, i);
    }
    return 0;
}

static void apic_fini(struct device *d)
{
    struct apic *s = (struct apic *)d;
    region_unmap(&s->window);
    for (unsigned i = 0; i < CPU_MAX; i++) {
        vtimer_fini(&s->cpu[i].timer);
    }
}

static void put_set(const char *name, const uint32_t *set, void (*put_line)(void *, const char *),
                    void *o)
{
    char line[256];
    int n = snprintf(line, sizeof(line), "%s:", name);
    for (unsigned v = 0; v < 256 && n < 240; v++) {
        if (test(set, v)) {
            n += snprintf(line + n, sizeof(line) - (size_t)n, " %u", v);
        }
    }
    put_line(o, line);
}

void apic_info_cpu(const struct device *d, unsigned cpu, void (*put_line)(void *o, const char *),
                   void *o)
{
    static const char *const lvts[] = { "LVTT", "LVTTHMR", "LVTPC", "LVT0", "LVT1", "LVTERR" };
    const struct apic *s = (const struct apic *)d;
    const struct lapic *a = &s->cpu[cpu];
    char line[160];
    snprintf(line, sizeof(line),
             "CPU %u: base 0x%llx %s, id 0x%02x, SVR 0x%08x, TPR 0x%02x, PPR "
             "0x%02x",
             cpu, (unsigned long long)a->base,
             !on(a)  ? "off"
             : x2(a) ? "x2APIC"
                     : "xAPIC",
             a->id, a->svr, a->tpr, ppr_of(a));
    put_line(o, line);
    for (unsigned i = 0; i < LVTS; i++) {
        snprintf(line, sizeof(line), "%-8s 0x%08x%s", lvts[i], a->lvt[i],
                 a->lvt[i] & LVT_MASKED ? " masked" : "");
        put_line(o, line);
    }
    snprintf(line, sizeof(line), "Timer    DCR=0x%x (divide by %u) initial_count = %u", a->divide,
             1u << divide_shift(a), a->initial);
    put_line(o, line);
    snprintf(line, sizeof(line), "ICR      0x%08x 0x%08x, LDR 0x%08x, DFR 0x%08x, ESR 0x%02x",
             a->icr, a->icr2, a->ldr, a->dfr, a->esr);
    put_line(o, line);
    put_set("ISR", a->isr, put_line, o);
    put_set("IRR", a->irr, put_line, o);
}

static const struct dev_prop props[] = {
    PROP(struct apic, "cpus", PROP_U32, cpus, 1, "processors"),
    PROP(struct apic, "pic", PROP_PTR, pic_prop, 0, "where an ExtINT's vector comes from"),
    PROP(struct apic, "eoi", PROP_PTR, eoi_prop, 0, "told of the end of level interrupts"),
    PROP(struct apic, "ferr", PROP_PTR, ferr_prop, 0, "FERR# of any processor"),
    { 0 },
};

static const struct state_field lapic_state[] = {
    FIELD(struct lapic, base),        FIELD(struct lapic, id),
    FIELD(struct lapic, tpr),         FIELD(struct lapic, ldr),
    FIELD(struct lapic, dfr),         FIELD(struct lapic, svr),
    FIELD(struct lapic, esr),         FIELD(struct lapic, errors),
    FIELD(struct lapic, icr),         FIELD(struct lapic, icr2),
    FIELD_ARRAY(struct lapic, isr),   FIELD_ARRAY(struct lapic, tmr),
    FIELD_ARRAY(struct lapic, irr),   FIELD_ARRAY(struct lapic, lvt),
    FIELD(struct lapic, initial),     FIELD(struct lapic, divide),
    FIELD(struct lapic, started),     FIELD(struct lapic, deadline),
    FIELD_TIMER(struct lapic, timer), FIELD_END,
};

static const struct state_field state[] = {
    FIELD_SUB(struct apic, cpu, lapic_state, CPU_MAX),
    FIELD(struct apic, pic_level),
    FIELD(struct apic, next),
    FIELD_END,
};

const struct dev_class apic_class = {
    .name = "apic",
    .desc = "local APICs of all processors",
    .size = sizeof(struct apic),
    .props = props,
    .state = state,
    .state_version = 1,
    .init = apic_init,
    .reset = apic_reset,
    .loaded = apic_loaded,
    .fini = apic_fini,
};
