/* SPDX-License-Identifier: MIT */
/* target/x86/vcpu-int.h - what a processor's instructions ask of the thread that runs it, and what
 * vcpu.c (threads) and vcpu-run.c (one processor's loop) share.
 */
#ifndef TARGET_X86_VCPU_INT_H
#define TARGET_X86_VCPU_INT_H

#include "ioreq/machine.h"
#include "target/x86/cpu.h"
#include "target/x86/icount.h"
#include "target/x86/vcpu.h"

#include <pthread.h>

struct io_req;
struct x86_debug;

/* ioreq_run for this vCPU: it counts as outside guest code if it must wait for the machine lock, and
 * what others or the device itself changed meanwhile is seen before it returns. */
void x86_io(struct x86_cpu *c, struct io_req *r);
/* struct tcg_target's alone. */
void x86_alone(struct tcg_cpu *t, bool begin);
/* The machine lock around questions to the interrupt chips. */
void x86_lock_machine(struct x86_cpu *c);
void x86_unlock_machine(struct x86_cpu *c);
/* A breakpoint or watchpoint of the debugger was met: the machine pauses. */
void x86_report_stop(struct x86_cpu *c, unsigned why, uint64_t addr, unsigned access);

/* One processor as its thread sees it. */
struct vcpu {
    struct x86_cpu *c;
    struct vcpus *all;
    bool inside;       /* atomic: in guest code or between; soft TLB entries may be in use */
    bool asking;       /* atomic: outside with a request that the machine has not answered */
    pthread_t thread;  /* atomic: that ran it last */
    enum vcpu_how how; /* set while paused */
    struct machine_keeper keeper;
};

struct vcpus {
    struct machine *m;
    struct soft_host *soft;
    struct tcg *tcg;
    struct x86_model *model;
    struct x86_debug *debug;
    struct glances *glances; /* the translator's */
    unsigned n;
    struct vcpu *cpu; /* n */
    bool single;
    struct icount icount;
    unsigned log; /* VCPU_LOG_* */
    FILE *log_to;
    bool (*settle)(void *o);
    void (*triple_fault)(void *o, unsigned cpu);
    void *o;

    /* One processor has guest memory for itself: who, under alone_lock; atomic for the others, who
     * wait for the lock outside guest code. */
    pthread_mutex_t alone_lock;
    const struct x86_cpu *alone;

    pthread_t *threads; /* n, or one */
    pthread_t ticker;   /* thread=single: ends time slices */
    unsigned nthreads;
    bool ticks;

    pthread_mutex_t lock; /* below the machine lock */
    pthread_cond_t wake;  /* vCPUs: resumed, or something is pending */
    pthread_cond_t idle;  /* whoever pauses: one more stands still */
    bool run, quit;
    unsigned standing; /* threads that wait for run */
};

/* ---- vcpu-run.c ---- */

/* Runs one processor: until PEND_STOP, until it waits for an event (then true), or with slice until
 * the next kick. */
bool vcpu_run(struct vcpu *v, bool slice);
/* Something is pending that a waiting processor wakes up for. */
bool vcpu_has_work(const struct x86_cpu *c);
/* Any of them; under v->lock. */
bool vcpus_have_work(const struct vcpus *v);
/* State into memory, for who looks while it stands. */
void vcpu_settle(struct x86_cpu *c);

/* ---- vcpu.c ---- */

/* Notes PEND_* bits for a processor from any thread, and makes it look. */
void vcpu_notify(struct vcpu *v, uint32_t bits);

#endif
