/* SPDX-License-Identifier: MIT */
/* hw/intc/lapic.c - one local APIC towards its processor: what is requested, what is in service,
 * which comes next.
 *
 * Reference: Intel SDM volume 3, 11.5 (local interrupts), 11.8 (handling interrupts).
 */
#include <string.h>

#include "hw/intc/apic-int.h"

const uint32_t lapic_lvt_writable[LVTS] = { 0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff };

/* The vector to be taken next, or -1. */
static int deliverable(const struct lapic *a)
{
    int irr = lapic_software_on(a) ? vector_highest(a->irr) : -1;
    return irr >= 0 && ((uint32_t)irr & 0xf0) > (lapic_ppr(a) & 0xf0) ? irr : -1;
}

static unsigned lvt_mode(uint32_t lvt)
{
    return lvt >> 8 & 7;
}

/* The PIC's INT passes: the APIC is off (as if it were not there), or LINT0 is ExtINT. */
static bool passes_pic(const struct lapic *a)
{
    if (!lapic_on(a)) {
        return a->base & BASE_BSP;
    }
    return !(a->lvt[LVT_LINT0] & LVT_MASKED) && lvt_mode(a->lvt[LVT_LINT0]) == APIC_EXTINT;
}

void lapic_update(struct apic *s, unsigned cpu)
{
    const struct lapic *a = &s->cpu[cpu];
    cpu_intr(s->dev.m, cpu, deliverable(a) >= 0 || (s->pic_level && passes_pic(a)));
}

void lapic_error(struct apic *s, unsigned cpu, uint32_t bit)
{
    struct lapic *a = &s->cpu[cpu];
    a->errors |= bit;
    if (!(a->lvt[LVT_ERROR] & LVT_MASKED) && (uint8_t)a->lvt[LVT_ERROR] >= FIRST_VECTOR) {
        lapic_accept(s, cpu, (uint8_t)a->lvt[LVT_ERROR], false);
    }
}

void lapic_accept(struct apic *s, unsigned cpu, uint8_t vector, bool level)
{
    struct lapic *a = &s->cpu[cpu];
    if (!lapic_software_on(a)) {
        return;
    }
    if (vector < FIRST_VECTOR) {
        lapic_error(s, cpu, ESR_GOT_ILLEGAL);
        return;
    }
    vector_put(a->tmr, vector, level);
    vector_put(a->irr, vector, true);
    lapic_update(s, cpu);
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
        lapic_accept(s, cpu, (uint8_t)lvt, n == LVT_LINT0 && (lvt & LVT_LEVEL));
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
    default: /* ExtINT: lapic_update() looks at the level */
        break;
    }
}

void apic_set_pic(struct device *d, bool level)
{
    struct apic *s = (struct apic *)d;
    bool rose = level && !s->pic_level;
    s->pic_level = level;
    for (unsigned cpu = 0; cpu < s->cpus; cpu++) {
        if (rose && lapic_on(&s->cpu[cpu])) {
            local_event(s, cpu, LVT_LINT0);
        }
        lapic_update(s, cpu);
    }
}

void apic_nmi(struct device *d)
{
    struct apic *s = (struct apic *)d;
    for (unsigned cpu = 0; cpu < s->cpus; cpu++) {
        if (lapic_on(&s->cpu[cpu])) {
            local_event(s, cpu, LVT_LINT1);
        } else if (s->cpu[cpu].base & BASE_BSP) {
            cpu_nmi(d->m, cpu);
        }
    }
}

int lapic_ack(void *o, unsigned cpu)
{
    struct apic *s = o;
    struct lapic *a = &s->cpu[cpu];
    int vector = deliverable(a);
    if (vector >= 0) {
        vector_put(a->irr, (unsigned)vector, false);
        vector_put(a->isr, (unsigned)vector, true);
        lapic_update(s, cpu);
        return vector;
    }
    if (s->pic_level && passes_pic(a) && s->pic.ack) {
        return s->pic.ack(s->pic.o);
    }
    return -1;
}

void lapic_eoi(struct apic *s, unsigned cpu)
{
    struct lapic *a = &s->cpu[cpu];
    int vector = vector_highest(a->isr);
    if (vector < 0) {
        return;
    }
    vector_put(a->isr, (unsigned)vector, false);
    if (vector_test(a->tmr, (unsigned)vector) && !(a->svr & SVR_NO_BROADCAST) && s->eoi.fn) {
        s->eoi.fn(s->eoi.o, (uint8_t)vector);
    }
    lapic_update(s, cpu);
}

/* After INIT: everything but the base register and the id. The boot processor's LINT0 lets the PIC
 * through at once, as BIOSes without APIC support expect. */
void lapic_init_state(struct apic *s, unsigned cpu)
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
