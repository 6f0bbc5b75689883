/* SPDX-License-Identifier: MIT */
/* ioreq/cpu.c - the wires between processors and interrupt chips: see cpu.h. */
#include "ioreq/cpu.h"

#include "ioreq/machine.h"

#include <assert.h>

void cpu_set_wires(struct machine *m, const struct cpu_wires *w, void *o, unsigned cpus)
{
    assert(cpus <= CPU_MAX);
    m->cpus = (struct cpu_links){ w, o, cpus, m->cpus.intc, m->cpus.intc_o };
}

void cpu_set_intc(struct machine *m, const struct cpu_intc *c, void *o)
{
    m->cpus.intc = c;
    m->cpus.intc_o = o;
}

unsigned cpu_count(const struct machine *m)
{
    return m->cpus.n;
}

unsigned cpu_current(const struct machine *m)
{
    return m->cpu;
}

/* ---- chips to processor ---- */

#define WIRED(m, what) ((m)->cpus.wires && (m)->cpus.wires->what)

void cpu_intr(struct machine *m, unsigned cpu, bool level)
{
    if (WIRED(m, intr) && cpu < m->cpus.n) {
        m->cpus.wires->intr(m->cpus.wires_o, cpu, level);
    }
}

void cpu_nmi(struct machine *m, unsigned cpu)
{
    if (WIRED(m, nmi) && cpu < m->cpus.n) {
        m->cpus.wires->nmi(m->cpus.wires_o, cpu);
    }
}

void cpu_smi(struct machine *m, unsigned cpu)
{
    if (WIRED(m, smi) && cpu < m->cpus.n) {
        m->cpus.wires->smi(m->cpus.wires_o, cpu);
    }
}

void cpu_init_signal(struct machine *m, unsigned cpu)
{
    if (WIRED(m, init) && cpu < m->cpus.n) {
        m->cpus.wires->init(m->cpus.wires_o, cpu);
    }
}

void cpu_sipi(struct machine *m, unsigned cpu, uint8_t vector)
{
    if (WIRED(m, sipi) && cpu < m->cpus.n) {
        m->cpus.wires->sipi(m->cpus.wires_o, cpu, vector);
    }
}

void cpu_a20(struct machine *m, bool open)
{
    if (WIRED(m, a20)) {
        m->cpus.wires->a20(m->cpus.wires_o, open);
    }
}

int64_t cpu_tsc_due(struct machine *m, unsigned cpu, uint64_t tsc)
{
    if (WIRED(m, tsc_due) && cpu < m->cpus.n) {
        return m->cpus.wires->tsc_due(m->cpus.wires_o, cpu, tsc);
    }
    return tsc > INT64_MAX ? INT64_MAX : (int64_t)tsc;
}

void cpu_power_on(struct machine *m)
{
    if (WIRED(m, reset)) {
        m->cpus.wires->reset(m->cpus.wires_o);
    }
}

/* ---- processor to chips ---- */

#define CHIPS(m, what) ((m)->cpus.intc && (m)->cpus.intc->what)

int cpu_ack(struct machine *m, unsigned cpu)
{
    return CHIPS(m, ack) ? m->cpus.intc->ack(m->cpus.intc_o, cpu) : -1;
}

uint8_t cpu_tpr(struct machine *m, unsigned cpu)
{
    return CHIPS(m, tpr) ? m->cpus.intc->tpr(m->cpus.intc_o, cpu) : 0;
}

void cpu_set_tpr(struct machine *m, unsigned cpu, uint8_t tpr)
{
    if (CHIPS(m, set_tpr)) {
        m->cpus.intc->set_tpr(m->cpus.intc_o, cpu, tpr);
    }
}

bool cpu_apic_rdmsr(struct machine *m, unsigned cpu, uint32_t msr, uint64_t *val)
{
    return CHIPS(m, rdmsr) && m->cpus.intc->rdmsr(m->cpus.intc_o, cpu, msr, val);
}

bool cpu_apic_wrmsr(struct machine *m, unsigned cpu, uint32_t msr, uint64_t val)
{
    return CHIPS(m, wrmsr) && m->cpus.intc->wrmsr(m->cpus.intc_o, cpu, msr, val);
}

void cpu_apic_init(struct machine *m, unsigned cpu)
{
    if (CHIPS(m, cpu_reset)) {
        m->cpus.intc->cpu_reset(m->cpus.intc_o, cpu);
    }
}

void cpu_ferr(struct machine *m, bool level)
{
    if (CHIPS(m, ferr)) {
        m->cpus.intc->ferr(m->cpus.intc_o, level);
    }
}
