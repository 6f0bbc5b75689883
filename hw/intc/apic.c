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
#include <errno.h>

#include "hw/intc/apic-int.h"

#define MAX_RUN_NS (1ll << 39) /* 2^32 counts divided by 128 */

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
        vtimer_init(&s->cpu[i].timer, d->m, "lapic", lapic_timer_fired, &s->timer_of[i]);
    }
    region_init(&s->window, d, &apic_window_ops, IO_MMIO, 0x1000, "LAPIC");
    return 0;
}

static void apic_reset(struct device *d)
{
    struct apic *s = (struct apic *)d;
    for (unsigned i = 0; i < CPU_MAX; i++) {
        s->cpu[i].base = APIC_WINDOW | BASE_ENABLED | (i == 0 ? BASE_BSP : 0);
        s->cpu[i].id = i;
        lapic_init_state(s, i);
    }
    s->next = 0;
    apic_map_window(s);
    for (unsigned i = 0; i < s->cpus; i++) {
        lapic_update(s, i);
    }
}

static bool state_ok(const struct apic *s, const struct lapic *a)
{
    bool bsp = a == &s->cpu[0];
    for (unsigned i = 0; i < LVTS; i++) {
        if (a->lvt[i] & ~lapic_lvt_writable[i]) {
            return false;
        }
    }
    return !(a->base & ~(BASE_ADDR | BASE_BSP | BASE_X2APIC | BASE_ENABLED)) &&
           (lapic_on(a) || !lapic_x2(a)) && !!(a->base & BASE_BSP) == bsp &&
           !(a->svr & ~SVR_WRITABLE) && !(a->divide & ~0xbu) && a->id <= 0xff && a->tpr <= 0xff &&
           a->started >= -MAX_RUN_NS && a->started <= vclock_now(s->dev.m) &&
           lapic_timer_mode(a) <= TIMER_DEADLINE;
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
    apic_map_window(s);
    for (unsigned i = 0; i < s->cpus; i++) { /* timers came along, due or overdue */
        lapic_update(s, i);
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
