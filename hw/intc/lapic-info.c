/* SPDX-License-Identifier: MIT */
/* hw/intc/lapic-info.c - `info lapic`. */
#include <stdio.h>

#include "hw/intc/apic-int.h"

static void put_set(const char *name, const uint32_t *set, void (*put_line)(void *, const char *),
                    void *o)
{
    char line[256];
    int n = snprintf(line, sizeof(line), "%s:", name);
    for (unsigned v = 0; v < 256 && n < 240; v++) {
        if (vector_test(set, v)) {
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
             !lapic_on(a)  ? "off"
             : lapic_x2(a) ? "x2APIC"
                           : "xAPIC",
             a->id, a->svr, a->tpr, lapic_ppr(a));
    put_line(o, line);
    for (unsigned i = 0; i < LVTS; i++) {
        snprintf(line, sizeof(line), "%-8s 0x%08x%s", lvts[i], a->lvt[i],
                 a->lvt[i] & LVT_MASKED ? " masked" : "");
        put_line(o, line);
    }
    snprintf(line, sizeof(line), "Timer    DCR=0x%x (divide by %u) initial_count = %u", a->divide,
             1u << lapic_divide_shift(a), a->initial);
    put_line(o, line);
    snprintf(line, sizeof(line), "ICR      0x%08x 0x%08x, LDR 0x%08x, DFR 0x%08x, ESR 0x%02x",
             a->icr, a->icr2, a->ldr, a->dfr, a->esr);
    put_line(o, line);
    put_set("ISR", a->isr, put_line, o);
    put_set("IRR", a->irr, put_line, o);
}
