/* SPDX-License-Identifier: MIT */
/* hw/intc/apic-int.h - what the files of the local APICs share: registers, state, who calls whom.
 *
 *   apic.c         the device: properties, state, reset
 *   apic-bus.c     messages between devices and processors, interprocessor interrupts
 *   lapic.c        one local APIC towards its processor: IRR, ISR, priorities, LVT events
 *   lapic-timer.c  its timer
 *   lapic-regs.c   its registers in the window and as MSRs
 *   lapic-info.c   its registers for people
 */
#ifndef HW_INTC_APIC_INT_H
#define HW_INTC_APIC_INT_H

#include "hw/intc/apic.h"

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
#define BROADCAST 0xffffffffu

/* What an LVT entry lets be written. */
extern const uint32_t lapic_lvt_writable[LVTS];

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
/* ---- sets of vectors ---- */

static inline bool vector_test(const uint32_t *set, unsigned v)
{
    return set[v / 32] >> v % 32 & 1;
}

static inline void vector_put(uint32_t *set, unsigned v, bool on)
{
    uint32_t bit = 1u << v % 32;
    set[v / 32] = on ? set[v / 32] | bit : set[v / 32] & ~bit;
}

static inline int vector_highest(const uint32_t *set)
{
    for (int i = 7; i >= 0; i--) {
        if (set[i]) {
            return i * 32 + 31 - __builtin_clz(set[i]);
        }
    }
    return -1;
}

/* ---- what state a local APIC is in ---- */

static inline bool lapic_on(const struct lapic *a)
{
    return a->base & BASE_ENABLED;
}

static inline bool lapic_x2(const struct lapic *a)
{
    return a->base & BASE_X2APIC;
}

static inline bool lapic_software_on(const struct lapic *a)
{
    return lapic_on(a) && (a->svr & SVR_ENABLED);
}

static inline uint32_t lapic_ppr(const struct lapic *a)
{
    int isr = vector_highest(a->isr);
    uint32_t serving = isr < 0 ? 0 : (uint32_t)isr & 0xf0;
    return (a->tpr & 0xf0) >= serving ? a->tpr : serving;
}

/* ---- lapic.c ---- */

/* Tells the processor whether an interrupt waits for it; after every change that may matter. */
void lapic_update(struct apic *s, unsigned cpu);
/* A vector arrives; one below FIRST_VECTOR is an error. */
void lapic_accept(struct apic *s, unsigned cpu, uint8_t vector, bool level);
/* Notes an ESR_ bit and raises the error interrupt. */
void lapic_error(struct apic *s, unsigned cpu, uint32_t bit);
/* The processor takes an interrupt: its vector, or -1. As struct cpu_intc's ack. */
int lapic_ack(void *o, unsigned cpu);
/* The guest's EOI. */
void lapic_eoi(struct apic *s, unsigned cpu);
/* After INIT: everything but the base register and the id. */
void lapic_init_state(struct apic *s, unsigned cpu);

/* ---- apic-bus.c ---- */

/* Sends what was written to the ICR; wide: dest has 32 bits. */
void apic_send_ipi(struct apic *s, unsigned cpu, uint32_t icr, uint32_t dest, bool wide);
/* The logical id of an x2APIC (SDM volume 3, 11.12.10.2). */
uint32_t lapic_x2_ldr(unsigned cpu);

/* ---- lapic-timer.c ---- */

enum timer_mode lapic_timer_mode(const struct lapic *a);
unsigned lapic_divide_shift(const struct lapic *a);
/* The current count register. */
uint32_t lapic_timer_count(struct apic *s, const struct lapic *a);
/* Arms the host timer for the next expiry that somebody would notice. */
void lapic_arm_timer(struct apic *s, unsigned cpu);
/* The initial count register is written. */
void lapic_start_timer(struct apic *s, unsigned cpu, uint32_t count);
/* The divide configuration register is written. */
void lapic_write_divide(struct apic *s, unsigned cpu, uint32_t v);
/* For vtimer_init; opaque is a struct timer_of. */
void lapic_timer_fired(void *opaque);

/* ---- lapic-regs.c ---- */

/* The window at 0xfee00000, one for all processors. */
extern const struct region_ops apic_window_ops;
/* Puts the window where the boot processor's base register says. */
void apic_map_window(struct apic *s);

#endif
