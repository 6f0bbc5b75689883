/* SPDX-License-Identifier: MIT */
/* hw/intc/lapic-regs.c - a local APIC's registers, in the window of an xAPIC and as the MSRs of an x2APIC.
 *
 * Reference: Intel SDM volume 3, tables 11-1 (xAPIC) and 11-6 (x2APIC).
 */
#include "hw/intc/apic-int.h"

static void write_lvt(struct apic *s, unsigned cpu, unsigned n, uint32_t v)
{
    struct lapic *a = &s->cpu[cpu];
    enum timer_mode before = lapic_timer_mode(a);
    v &= lapic_lvt_writable[n];
    if (!(a->svr & SVR_ENABLED)) {
        v |= LVT_MASKED;
    }
    a->lvt[n] = v;
    if (n == LVT_TIMER) {
        if ((lapic_timer_mode(a) == TIMER_DEADLINE) != (before == TIMER_DEADLINE)) {
            a->initial = 0;
            a->deadline = 0;
        }
        lapic_arm_timer(s, cpu);
    }
    lapic_update(s, cpu);
}

static void write_svr(struct apic *s, unsigned cpu, uint32_t v)
{
    struct lapic *a = &s->cpu[cpu];
    a->svr = v & SVR_WRITABLE;
    for (unsigned i = 0; i < LVTS && !(v & SVR_ENABLED); i++) {
        a->lvt[i] |= LVT_MASKED;
    }
    lapic_arm_timer(s, cpu);
    lapic_update(s, cpu);
}

static void set_priority(struct apic *s, unsigned cpu, uint32_t tpr)
{
    s->cpu[cpu].tpr = tpr & 0xff;
    lapic_update(s, cpu);
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
        *v = lapic_ppr(a);
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
        *v = lapic_timer_count(s, a);
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
        lapic_eoi(s, cpu);
        return true;
    case REG_SVR:
        write_svr(s, cpu, v);
        return true;
    case REG_ESR:
        a->esr = a->errors;
        a->errors = 0;
        return true;
    case REG_TMICT:
        lapic_start_timer(s, cpu, v);
        return true;
    case REG_TDCR:
        lapic_write_divide(s, cpu, v);
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
            lapic_error(s, cpu, ESR_REGISTER);
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
        apic_send_ipi(s, cpu, a->icr, a->icr2 >> 24, false);
        break;
    case REG_ICR2:
        a->icr2 = v & 0xff000000;
        break;
    default:
        if (!write_common(s, cpu, reg, v)) {
            lapic_error(s, cpu, ESR_REGISTER);
        }
        break;
    }
}

/* Registers are dwords at multiples of 16. */
static uint64_t window_read(struct device *d, uint64_t off, unsigned size)
{
    struct apic *s = (struct apic *)d;
    unsigned cpu = cpu_current(d->m);
    if (cpu >= s->cpus || !lapic_on(&s->cpu[cpu]) || lapic_x2(&s->cpu[cpu])) {
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
    if (cpu < s->cpus && lapic_on(&s->cpu[cpu]) && !lapic_x2(&s->cpu[cpu]) && (off & 15) == 0 &&
        size == 4) {
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
const struct region_ops apic_window_ops = { window_read, window_write, 4, names };

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
        *val = lapic_x2_ldr(cpu);
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
        return !(v & ~(lapic_lvt_writable[reg - REG_LVT] | LVT_REMOTE_IRR | 1u << 12));
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
        apic_send_ipi(s, cpu, a->icr, a->icr2, true);
        return true;
    case REG_SELF_IPI:
        apic_send_ipi(s, cpu, 1u << 18 | (uint32_t)val, 0, true);
        return true;
    default:
        return write_common(s, cpu, reg, (uint32_t)val);
    }
}

void apic_map_window(struct apic *s)
{
    region_map(&s->window, s->cpu[0].base & BASE_ADDR);
}

/* Legal: off <-> xAPIC -> x2APIC -> off. */
static bool write_base(struct apic *s, unsigned cpu, uint64_t val)
{
    struct lapic *a = &s->cpu[cpu];
    bool enable = val & BASE_ENABLED, extend = val & BASE_X2APIC;
    if (val & ~(BASE_ADDR | BASE_BSP | BASE_X2APIC | BASE_ENABLED) || (extend && !enable) ||
        (lapic_x2(a) && enable && !extend) || (!lapic_on(a) && extend)) {
        return false;
    }
    bool was = lapic_on(a);
    a->base = (val & ~(uint64_t)BASE_BSP) | (a->base & BASE_BSP);
    if (extend) {
        a->icr2 = 0;
    }
    if (was && !enable) {
        lapic_init_state(s, cpu);
    }
    if (cpu == 0) {
        apic_map_window(s);
    }
    lapic_update(s, cpu);
    return true;
}

static bool write_deadline(struct apic *s, unsigned cpu, uint64_t val)
{
    struct lapic *a = &s->cpu[cpu];
    if (lapic_timer_mode(a) == TIMER_DEADLINE) {
        a->deadline = val;
        lapic_arm_timer(s, cpu);
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
    return lapic_x2(a) && msr >= MSR_X2APIC && msr < MSR_X2APIC + 0x100 &&
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
    return lapic_x2(&s->cpu[cpu]) && msr >= MSR_X2APIC && msr < MSR_X2APIC + 0x100 &&
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
    lapic_init_state(o, cpu);
    lapic_update(o, cpu);
}

static void apic_ferr_pin(void *o, bool level)
{
    struct apic *s = o;
    if (s->ferr.fn) {
        s->ferr.fn(s->ferr.o, level);
    }
}

const struct cpu_intc apic_cpu_intc = {
    .ack = lapic_ack,
    .tpr = apic_tpr,
    .set_tpr = apic_set_tpr,
    .rdmsr = apic_rdmsr,
    .wrmsr = apic_wrmsr,
    .cpu_reset = apic_cpu_reset,
    .ferr = apic_ferr_pin,
};
