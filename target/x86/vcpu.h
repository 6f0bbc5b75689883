/* SPDX-License-Identifier: MIT */
/* target/x86/vcpu.h - the processors of a machine that Keel runs itself: threads around tcg_run.
 *
 * The process makes them after the board, starts them with the machine and may pause them at any time.
 * vcpus_new wires them to the interrupt chips (ioreq/cpu.h) and listens to the soft host (ioreq/soft.h).
 */
#ifndef TARGET_X86_VCPU_H
#define TARGET_X86_VCPU_H

#include "target/x86/icount.h"
#include "tcg/tcg.h"

#include <stdbool.h>
#include <stdint.h>

struct machine;
struct soft_host;
struct err;
struct vcpus;
struct x86_cpu;
struct x86_debug;

enum {
    VCPU_LOG_INT = 1,
    VCPU_LOG_RESET = 2,
    VCPU_LOG_PCALL = 4,
    VCPU_LOG_IN_ASM = 8,
    VCPU_LOG_EXEC = 16,
    VCPU_LOG_CPU = 32
};
struct vcpu_options {
    unsigned cpus;                    /* 1 to CPU_MAX */
    unsigned sockets, cores, threads; /* topology for CPUID; 0: one socket a CPU */
    const char *model;  /* "qemu64", "max", "Haswell,+avx2,-sse4.2"; NULL: the board's default */
    bool single_thread; /* thread=single: round robin on one thread */
    struct tcg_options tcg;
    unsigned log; /* VCPU_LOG_*: told to log_to */
    FILE *log_to;
    int icount_shift;  /* ICOUNT_OFF, ICOUNT_AUTO; else 2^shift ns an instruction */
    bool icount_sleep; /* see icount.h */
    /* icount: true when something of the host's is under way that must not take time; it calls
     * vcpus_settled when that has come to its end. On the processors' thread, without locks. */
    bool (*settle)(void *o);
    /* A processor met what nobody handles (triple fault): under the machine lock. NULL: line_power
     * with POWER_RESET. */
    void (*triple_fault)(void *o, unsigned cpu);
    void *o;
};

/* NULL with e (unknown model or flag by name, no memory). Processors are in their reset state. */
struct vcpus *vcpus_new(struct machine *m, struct soft_host *s, const struct vcpu_options *o,
                        struct err *e);
void vcpus_free(struct vcpus *v); /* ends the threads */
/* Let them run. Not under the machine lock. */
void vcpus_resume(struct vcpus *v);
/* Returns when all stand at an instruction boundary outside the machine lock. Called by the loop
 * thread without the machine lock; idempotent. A vCPU that itself provokes a pause (breakpoint, debug port)
 * uses vcpus_request_pause. */
void vcpus_pause(struct vcpus *v);
void vcpus_request_pause(struct vcpus *v);
bool vcpus_running(const struct vcpus *v);
/* icount: the time of the next timer is another; under the machine lock, from any thread. */
void vcpus_timer_changed(struct vcpus *v);
void vcpus_settled(struct vcpus *v);
/* All to power-on; while paused or under the machine lock from any thread. */
void vcpus_reset(struct vcpus *v);

/* The processors as devices "cpu0", ... of the machine's saved state, until it is freed. They stand while
 * it is saved or loaded. */
int vcpus_add_state(struct vcpus *v, struct err *e);

/* For the gdb server, while paused: what each vCPU does at the next resume. A step executes one
 * instruction (delivering what it raises, taking no interrupt), reports X86_STOP_STEP through
 * x86_debug_stopped and pauses the machine; breakpoints and watchpoints report the same way. Reset to
 * VCPU_RUN by every pause. */
enum vcpu_how { VCPU_RUN, VCPU_STEP, VCPU_HOLD };
void vcpus_set_how(struct vcpus *v, unsigned cpu, enum vcpu_how how);
struct x86_debug *vcpus_debug(struct vcpus *v); /* see debug.h */
/* While paused: all soft TLBs go, x87 and vector state is in memory, and so may be changed. */
void vcpus_flush_tlbs(struct vcpus *v);

/* While paused: what is logged from now on, VCPU_LOG_* and TCG_DUMP_*. Code is translated anew. */
void vcpus_set_log(struct vcpus *v, unsigned log, unsigned dump);

unsigned vcpus_count(const struct vcpus *v);
struct x86_cpu *vcpus_cpu(struct vcpus *v, unsigned i); /* its state: while paused */
struct tcg *vcpus_tcg(struct vcpus *v);

#endif
