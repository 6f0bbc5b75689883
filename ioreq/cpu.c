/* SPDX-License-Identifier: MIT */
/* ioreq/cpu.c - the wires between processors and interrupt chips: see cpu.h. */
#include "ioreq/cpu.h"

#include "dm/base/bytes.h"
#include "ioreq/machine.h"
#include "ioreq/trace.h"

#include <assert.h>

void cpu_set_wires(struct machine *m, const struct cpu_wires *w, void *o, unsigned cpus)
{
    assert(cpus <= CPU_MAX);
    m->cpus.wires = w;
    m->cpus.wires_o = o;
    m->cpus.n = cpus;
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

/* ---- the trace ---- */

enum {
    CPU_ASKS = 0, /* inputs */
    CPU_ACK,
    CPU_SET_TPR,
    CPU_RDMSR,
    CPU_WRMSR,
    CPU_INIT_DONE,
    CPU_FERR,
    CPU_ANSWER = 16, /* outputs */
    CPU_INTR,
    CPU_NMI,
    CPU_SMI,
    CPU_INIT,
    CPU_SIPI,
    CPU_A20,
    CPU_TSC_DUE, /* a value */
};
enum { CPU_EVENT = 13 }; /* bytes: vCPU, MSR, value */

static void pack(uint8_t *b, unsigned cpu, uint32_t msr, uint64_t v)
{
    b[0] = (uint8_t)cpu;
    store_le(b + 1, 4, msr);
    store_le(b + 5, 8, v);
}

static void note_input(struct machine *m, uint32_t tag, unsigned cpu, uint32_t msr, uint64_t v)
{
    uint8_t b[CPU_EVENT];
    if (m->cpus.traced) {
        pack(b, cpu, msr, v);
        trace_input(m, m->cpus.channel, tag, b, sizeof(b));
    }
}

static void note_output(struct machine *m, uint32_t tag, unsigned cpu, uint64_t v)
{
    uint8_t b[CPU_EVENT];
    if (m->cpus.traced) {
        pack(b, cpu, 0, v);
        trace_output(m, m->cpus.channel, tag, b, sizeof(b));
    }
}

void cpu_trace_request(struct machine *m, uint8_t cpu)
{
    if (m->cpus.traced && cpu != m->cpus.asked) {
        note_input(m, CPU_ASKS, cpu, 0, 0);
        m->cpus.asked = cpu;
    }
}

static void play(void *opaque, uint32_t tag, const void *data, size_t len)
{
    struct machine *m = opaque;
    const uint8_t *b = data;
    if (len != CPU_EVENT || b[0] >= CPU_MAX) {
        trace_refuse(m->h, "a question that no processor asks");
        return;
    }
    unsigned cpu = b[0];
    uint32_t msr = (uint32_t)load_le(b + 1, 4);
    uint64_t v = load_le(b + 5, 8);
    switch (tag) {
    case CPU_ASKS:
        trace_set_cpu(m->h, b[0]);
        break;
    case CPU_ACK:
        cpu_ack(m, cpu);
        break;
    case CPU_SET_TPR:
        cpu_set_tpr(m, cpu, (uint8_t)v);
        break;
    case CPU_RDMSR:
        cpu_apic_rdmsr(m, cpu, msr, &v);
        break;
    case CPU_WRMSR:
        cpu_apic_wrmsr(m, cpu, msr, v);
        break;
    case CPU_INIT_DONE:
        cpu_apic_init(m, cpu);
        break;
    case CPU_FERR:
        cpu_ferr(m, v);
        break;
    default:
        trace_refuse(m->h, "a question that no processor asks");
    }
}

void cpu_trace(struct machine *m, struct trace_play *p)
{
    if (m->cpus.intc) {
        m->cpus.channel = trace_channel(m, "cpu");
        m->cpus.traced = true;
        if (p) {
            trace_on_input(p, "cpu", play, m);
        }
    }
}

/* ---- chips to processor ---- */

#define WIRED(m, what) ((m)->cpus.wires && (m)->cpus.wires->what)

void cpu_intr(struct machine *m, unsigned cpu, bool level)
{
    note_output(m, CPU_INTR, cpu, level);
    if (WIRED(m, intr) && cpu < m->cpus.n) {
        m->cpus.wires->intr(m->cpus.wires_o, cpu, level);
    }
}

void cpu_nmi(struct machine *m, unsigned cpu)
{
    note_output(m, CPU_NMI, cpu, 0);
    if (WIRED(m, nmi) && cpu < m->cpus.n) {
        m->cpus.wires->nmi(m->cpus.wires_o, cpu);
    }
}

void cpu_smi(struct machine *m, unsigned cpu)
{
    note_output(m, CPU_SMI, cpu, 0);
    if (WIRED(m, smi) && cpu < m->cpus.n) {
        m->cpus.wires->smi(m->cpus.wires_o, cpu);
    }
}

void cpu_init_signal(struct machine *m, unsigned cpu)
{
    note_output(m, CPU_INIT, cpu, 0);
    if (WIRED(m, init) && cpu < m->cpus.n) {
        m->cpus.wires->init(m->cpus.wires_o, cpu);
    }
}

void cpu_sipi(struct machine *m, unsigned cpu, uint8_t vector)
{
    note_output(m, CPU_SIPI, cpu, vector);
    if (WIRED(m, sipi) && cpu < m->cpus.n) {
        m->cpus.wires->sipi(m->cpus.wires_o, cpu, vector);
    }
}

void cpu_a20(struct machine *m, bool open)
{
    note_output(m, CPU_A20, 0, open);
    if (WIRED(m, a20)) {
        m->cpus.wires->a20(m->cpus.wires_o, open);
    }
}

static int64_t tsc_due(struct machine *m, unsigned cpu, uint64_t tsc)
{
    if (WIRED(m, tsc_due) && cpu < m->cpus.n) {
        return m->cpus.wires->tsc_due(m->cpus.wires_o, cpu, tsc);
    }
    return tsc > INT64_MAX ? INT64_MAX : (int64_t)tsc;
}

int64_t cpu_tsc_due(struct machine *m, unsigned cpu, uint64_t tsc)
{
    int64_t due = tsc_due(m, cpu, tsc);
    return m->cpus.traced ? trace_value(m, m->cpus.channel, CPU_TSC_DUE, due) : due;
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
    note_input(m, CPU_ACK, cpu, 0, 0);
    int vector = CHIPS(m, ack) ? m->cpus.intc->ack(m->cpus.intc_o, cpu) : -1;
    note_output(m, CPU_ANSWER, cpu, (uint64_t)vector);
    return vector;
}

uint8_t cpu_tpr(struct machine *m, unsigned cpu)
{
    return CHIPS(m, tpr) ? m->cpus.intc->tpr(m->cpus.intc_o, cpu) : 0;
}

void cpu_set_tpr(struct machine *m, unsigned cpu, uint8_t tpr)
{
    note_input(m, CPU_SET_TPR, cpu, 0, tpr);
    if (CHIPS(m, set_tpr)) {
        m->cpus.intc->set_tpr(m->cpus.intc_o, cpu, tpr);
    }
}

bool cpu_apic_rdmsr(struct machine *m, unsigned cpu, uint32_t msr, uint64_t *val)
{
    note_input(m, CPU_RDMSR, cpu, msr, 0);
    bool ok = CHIPS(m, rdmsr) && m->cpus.intc->rdmsr(m->cpus.intc_o, cpu, msr, val);
    note_output(m, CPU_ANSWER, cpu, ok ? *val : 0);
    return ok;
}

bool cpu_apic_wrmsr(struct machine *m, unsigned cpu, uint32_t msr, uint64_t val)
{
    note_input(m, CPU_WRMSR, cpu, msr, val);
    bool ok = CHIPS(m, wrmsr) && m->cpus.intc->wrmsr(m->cpus.intc_o, cpu, msr, val);
    note_output(m, CPU_ANSWER, cpu, ok);
    return ok;
}

void cpu_apic_init(struct machine *m, unsigned cpu)
{
    note_input(m, CPU_INIT_DONE, cpu, 0, 0);
    if (CHIPS(m, cpu_reset)) {
        m->cpus.intc->cpu_reset(m->cpus.intc_o, cpu);
    }
}

void cpu_ferr(struct machine *m, bool level)
{
    note_input(m, CPU_FERR, 0, 0, level);
    if (CHIPS(m, ferr)) {
        m->cpus.intc->ferr(m->cpus.intc_o, level);
    }
}
