/* SPDX-License-Identifier: MIT */
/* ioreq/cpu.h - the wires between processors and the interrupt chips, where Keel owns both.
 *
 * On Xen and KVM the hypervisor has these chips and none of this is used. With Keel's own
 * translator the vCPU owner fills in struct cpu_wires and the interrupt chips (hw/intc/) fill in
 * struct cpu_intc; neither includes the other. Every call is made under the machine lock.
 */
#ifndef IOREQ_CPU_H
#define IOREQ_CPU_H

#include <stdbool.h>
#include <stdint.h>

struct machine;

#define CPU_MAX 64 /* vCPUs of a machine whose processors Keel runs */

/* Chips to processor. Called under the machine lock from any thread; must not block: the owner
 * notes the fact and kicks the vCPU out of translated code. */
struct cpu_wires {
    void (*intr)(void *o, unsigned cpu, bool level); /* INTR pin, LAPIC and PIC already merged */
    void (*nmi)(void *o, unsigned cpu);
    void (*smi)(void *o, unsigned cpu);
    void (*init)(void *o, unsigned cpu);
    void (*sipi)(void *o, unsigned cpu, uint8_t vector);
    void (*a20)(void *o, bool open); /* all processors: address line 20 passes or is masked */
    void (*reset)(void *o);          /* all processors to power-on, after the devices were reset */
    /* Virtual time at which this processor's time-stamp counter reaches tsc; INT64_MAX: never.
     * NULL: the counter counts virtual nanoseconds. */
    int64_t (*tsc_due)(void *o, unsigned cpu, uint64_t tsc);
};

/* Processor to chips. */
struct cpu_intc {
    /* INTA: the vector to take now, or -1 when the request has gone (a spurious one is a vector). */
    int (*ack)(void *o, unsigned cpu);
    /* CR8 / TPR bits 7..4 of this processor's local APIC. */
    uint8_t (*tpr)(void *o, unsigned cpu);
    void (*set_tpr)(void *o, unsigned cpu, uint8_t tpr);
    /* IA32_APIC_BASE (0x1b), IA32_TSC_DEADLINE (0x6e0) and x2APIC 0x800..0x8ff. False: #GP. */
    bool (*rdmsr)(void *o, unsigned cpu, uint32_t msr, uint64_t *val);
    bool (*wrmsr)(void *o, unsigned cpu, uint32_t msr, uint64_t val);
    void (*cpu_reset)(void *o, unsigned cpu); /* INIT arrived: the local APIC's INIT state */
    void (*ferr)(void *o, bool level);        /* FERR#: IRQ 13 */
};

/* One machine has at most one of each; set by their owners before the first vCPU runs. */
void cpu_set_wires(struct machine *m, const struct cpu_wires *w, void *o, unsigned cpus);
void cpu_set_intc(struct machine *m, const struct cpu_intc *c, void *o);
unsigned cpu_count(const struct machine *m); /* 0 when Keel does not own the processors */

/* Both directions are recorded, and compared in replay, from here on: channel "cpu" of the trace
 * (docs/trace.md). When m is replayed, p feeds the chips what the processors asked of them. */
struct trace_play;
void cpu_trace(struct machine *m, struct trace_play *p);
/* Hook of ioreq_run's recorder: a request of another vCPU than the last. */
void cpu_trace_request(struct machine *m, uint8_t cpu);

/* For chips; each does nothing when nobody is wired. */
void cpu_intr(struct machine *m, unsigned cpu, bool level);
void cpu_nmi(struct machine *m, unsigned cpu);
void cpu_smi(struct machine *m, unsigned cpu);
void cpu_init_signal(struct machine *m, unsigned cpu);
void cpu_sipi(struct machine *m, unsigned cpu, uint8_t vector);
void cpu_a20(struct machine *m, bool open);
int64_t cpu_tsc_due(struct machine *m, unsigned cpu, uint64_t tsc);

/* For processors; ack gives -1 and the others nothing when nobody is wired. */
int cpu_ack(struct machine *m, unsigned cpu);
uint8_t cpu_tpr(struct machine *m, unsigned cpu);
void cpu_set_tpr(struct machine *m, unsigned cpu, uint8_t tpr);
bool cpu_apic_rdmsr(struct machine *m, unsigned cpu, uint32_t msr, uint64_t *val);
bool cpu_apic_wrmsr(struct machine *m, unsigned cpu, uint32_t msr, uint64_t val);
void cpu_apic_init(struct machine *m, unsigned cpu);
void cpu_ferr(struct machine *m, bool level);

/* The end of machine_reset: wires->reset. */
void cpu_power_on(struct machine *m);

/* Which vCPU's request is being answered (struct io_req's cpu): the local APIC's window is at one
 * address for all of them. */
unsigned cpu_current(const struct machine *m);

#endif
