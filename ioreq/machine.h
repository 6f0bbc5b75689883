/* SPDX-License-Identifier: MIT */
/* ioreq/machine.h - the machine: devices between four doors, and the host that stands behind them.
 *
 * A machine has no thread of its own. vCPU owners call ioreq_run; the loop calls machine_enter,
 * delivers completions and timers, and machine_leave. Several machines may live in one process.
 */
#ifndef IOREQ_MACHINE_H
#define IOREQ_MACHINE_H

#include "dm/base/lock.h"
#include "ioreq/dev.h"

#include <pthread.h>

/* Who stands behind the doors: Xen, KVM, the translator, a trace, a test. Every member may be NULL
 * (then: nothing happens, memory is a hole, time stands still). All are called under the lock. */
struct machine_host {
    const char *name; /* "xen", "qtest", "replay", "flat" */

    /* request: [first, last] of a space is answered by some region now, or no longer */
    void (*claim)(void *h, enum io_space space, uint64_t first, uint64_t last);
    void (*release)(void *h, enum io_space space, uint64_t first, uint64_t last);

    /* line */
    void (*isa_irq)(void *h, unsigned irq, bool level);
    void (*pci_intx)(void *h, unsigned devfn, unsigned pin, bool level);
    void (*pci_link)(void *h, unsigned link, unsigned isa_irq);
    void (*msi)(void *h, uint64_t addr, uint32_t data);
    void (*power)(void *h, enum power_event ev);

    /* memory: a host pointer for [gpa, gpa + *len), with *len cut to what is contiguous; NULL when
     * gpa is not RAM. Valid until the next call unless pinned; a pinned one until unmap. */
    void *(*map)(void *h, uint64_t gpa, size_t *len, bool pin);
    void (*unmap)(void *h, void *ptr, size_t len);
    /* the same for what may only be read: ROM, write-protected shadow RAM. NULL: there is none */
    const void *(*map_rom)(void *h, uint64_t gpa, size_t *len);
    void (*dirtied)(void *h, uint64_t gpa, size_t len); /* the device side wrote guest RAM */
    void (*shadow)(void *h, uint64_t gpa, uint64_t len, bool read, bool write); /* gmem_shadow */
    void (*smram)(void *h, bool smm, bool all);                                 /* gmem_smram */
    int (*block_new)(void *h, struct gmem_block *b, struct err *e);
    void (*block_free)(void *h, struct gmem_block *b);
    bool (*block_lend)(void *h, struct gmem_block *b, uint64_t gpa);
    void (*block_dirty)(void *h, struct gmem_block *b, uint64_t off, uint64_t len,
                        uint64_t *bitmap);
    /* the device side wrote b; when NULL, dirtied is called instead while b is lent */
    void (*block_wrote)(void *h, struct gmem_block *b, uint64_t off, uint64_t len);
    bool carries_blocks; /* block contents travel with the guest's RAM (Xen), not in our stream */

    /* clock */
    int64_t (*now)(void *h);                 /* free-running ns */
    void (*timer)(void *h, int64_t when_ns); /* call machine_timers at host time when, -1: never */
    int64_t (*wallclock)(void *h);           /* seconds since the epoch */
};

/* Whose processors: see cpu.h. */
struct cpu_wires;
struct cpu_intc;
struct cpu_links {
    const struct cpu_wires *wires;
    void *wires_o;
    unsigned n;
    const struct cpu_intc *intc;
    void *intc_o;
    bool traced;
    unsigned channel; /* of the trace */
    uint8_t asked;    /* traced: the vCPU of the last request */
};

struct trace_rec;
struct trace_play;
struct pci_bus;

enum run_state {
    RUN_PRELAUNCH,
    RUN_RUNNING,
    RUN_PAUSED,
    RUN_INMIGRATE,
    RUN_SHUTDOWN,
    RUN_SUSPENDED,
    RUN_IO_ERROR /* a disk's error stopped it */
};

struct region_table {
    struct region_span *spans; /* sorted, disjoint */
    struct region_span *spare; /* where the next table is built */
    size_t n;
    struct region **mapped; /* every mapped region of the space */
    size_t nmapped, capmapped;
    size_t last; /* where the last look-up ended */
};

/* A vCPU that has requests for ioreq_try, in its owner's hands. The lock's ask may still be called a moment
 * after the lock was given back. */
struct machine_keeper {
    struct lock_keeper lock;
    bool keeps;   /* it has the machine lock between its requests */
    unsigned run; /* its requests since anybody else had the lock */
};

struct machine {
    const struct machine_host *host;
    void *h;          /* passed to every host call */
    const char *type; /* "xenfv", "pc" */
    struct lock lock;
    void *owner;                       /* the thread in an event: machine_thread(); NULL: none */
    const struct machine_keeper *last; /* whose request the last event was; NULL: none's */

    struct region_table regions[IO_SPACES];
    struct io_stats stats;
    uint32_t next_serial;

    struct device *devices; /* creation order */
    struct pci_bus *pci;    /* the root bus, set by the host bridge */

    struct line *lines;
    uint8_t isa_level[16]; /* wires that drive each ISA IRQ high */

    struct gmem_block *blocks;

    struct cpu_links cpus;
    uint8_t cpu; /* whose request is being answered */

    /* The process listens here: called by line_power after the host, under the lock, maybe from
     * inside a device callback; NULL: nobody. */
    void (*on_power)(void *opaque, enum power_event ev);
    void *on_power_opaque;

    void (*leave)(void *opaque); /* see machine_set_leave */
    void *leave_opaque;
    bool leave_asked;

    enum run_state run_state;
    int64_t vclock_offset; /* virtual = host + offset while running, frozen value while stopped */
    int64_t now;           /* latched for the current event, -1 when not latched */
    int64_t next_expiry;   /* what host->timer was last told */
    struct vtimer *timers;
    uint32_t next_timer_id;

    struct trace_rec *rec;   /* recording, or NULL */
    struct trace_play *play; /* replaying, or NULL */
};

struct machine *machine_new(const char *type, const struct machine_host *host, void *h);
/* Frees every device, newest first, then the machine. */
void machine_free(struct machine *m);

/* The machine lock, for the loop and for set-up code: around anything that touches devices. Not
 * recursive. Entering starts an event: virtual time is latched at its first use until leave. */
void machine_enter(struct machine *m);
void machine_leave(struct machine *m);
/* machine_enter if nobody has the lock, by any thread that does not: whether it got it. */
bool machine_try_enter(struct machine *m);
/* The lock, if k keeps it: before its vCPU waits for anything, and soon when it is asked to. */
void machine_give_back(struct machine *m, struct machine_keeper *k);

/* All under the lock. */
/* leave is called once for each machine_ask_leave, by whoever holds the lock then, before it is let go
 * of: what has to wait until a device's callback has returned, without another thread. */
void machine_set_leave(struct machine *m, void (*leave)(void *opaque), void *opaque);
void machine_ask_leave(struct machine *m);
void machine_reset(struct machine *m);
/* Starts or stops virtual time and the back ends' right to complete. */
void machine_set_run_state(struct machine *m, enum run_state s);
bool machine_running(const struct machine *m);
/* Fires what is due, in order of time, then of creation. */
void machine_timers(struct machine *m);
struct device *machine_find(const struct machine *m, const char *id);
/* gmem_read that no trace hears of: for who looks at RAM without being a device. */
int gmem_peek(struct machine *m, uint64_t gpa, void *buf, size_t len);
/* Tells the host every line's level again (after a load). */
void machine_push_lines(struct machine *m);

#endif
