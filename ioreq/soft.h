/* SPDX-License-Identifier: MIT */
/* ioreq/soft.h - the host behind the doors of a machine whose processors Keel runs itself.
 *
 * It owns guest RAM (one mapping: [0, below 4 GiB) and, above 4 GiB, the rest), ROM, the shadow
 * attributes of 0xc0000..0xfffff and SMRAM, lent blocks, host time, and routes lines to the
 * interrupt chips. The vCPU side asks one question, soft_page: what is this guest-physical page to
 * plain loads, stores and instruction fetches? Whatever is not plain goes through ioreq_run.
 *
 * Threads: soft_page and soft_mark_dirty may be called by vCPU threads without the machine lock;
 * everything else is called under it.
 */
#ifndef IOREQ_SOFT_H
#define IOREQ_SOFT_H

#include "ioreq/irq-route.h"
#include "ioreq/machine.h"

struct soft_host;
struct err;

struct soft_options {
    uint64_t ram_bytes;
    uint64_t below_4g;             /* at most this much RAM below 4 GiB; 0: 3.5 GiB */
    bool no_core_dump;             /* RAM stays out of core files */
    bool icount;                   /* virtual time is retired instructions: soft_set_time */
    int64_t (*wallclock)(void *o); /* seconds since the epoch; o is soft_attach's */
};
struct soft_host *soft_new(const struct soft_options *o, struct err *e);
void soft_free(struct soft_host *s);
extern const struct machine_host soft_host_ops; /* h is the struct soft_host */
/* After machine_new: which machine this is, and its loop for timers (arm is called from any thread
 * that holds the lock: the process re-arms its timer descriptor; when_ns is host time, -1 never). */
void soft_attach(struct soft_host *s, struct machine *m, void (*arm)(void *o, int64_t when_ns),
                 void *o);

enum soft_page_flags {
    SOFT_READ = 1,   /* loads and fetches may use the pointer */
    SOFT_WRITE = 2,  /* stores may use it */
    SOFT_LOG = 4,    /* before the first store through a new translation, call soft_mark_dirty */
    SOFT_IGNORE = 8, /* with READ and without WRITE: stores vanish (ROM), no device sees them */
};
/* The 4 KiB page at gpa (A20 already applied): its host memory, or NULL when devices or nobody
 * answer. smm: the access is made in system management mode. Valid until the listener's `changed`.
 */
uint8_t *soft_page(struct soft_host *s, uint64_t gpa, bool smm, unsigned *flags);
/* The same with the addresses around that are alike: the answer at first, for [first, last]. */
struct soft_span {
    uint64_t first, last;
    uint8_t *host; /* at first; NULL: devices, for that one page */
    unsigned flags;
};
struct soft_span soft_span(struct soft_host *s, uint64_t gpa, bool smm);
void soft_mark_dirty(struct soft_host *s, uint64_t gpa);

/* What vCPUs want to hear; under the lock, from any thread. They must make every vCPU see the
 * change before its next instruction boundary (ask it to flush, and wait if it is another's). */
struct soft_listener {
    void (*changed)(void *o);                           /* some page's answer is another now */
    void (*wrote)(void *o, uint64_t gpa, uint64_t len); /* a device wrote RAM: code may be stale */
    void (*unlogged)(void *o, uint64_t gpa, uint64_t len); /* dirty marks were taken: log again */
};
void soft_set_listener(struct soft_host *s, const struct soft_listener *l, void *o);

/* Where interrupts go. */
void soft_set_sink(struct soft_host *s, const struct soft_sink *sink, void *o);
/* How often irq rose since the machine was made. */
uint64_t soft_irq_count(const struct soft_host *s, unsigned irq);

/* Guest RAM as part of the machine's saved state. */
int soft_add_state(struct soft_host *s, struct machine *m, struct err *e);
/* Read-only memory for good (a BIOS): len bytes, copied, a multiple of 4096. */
int soft_add_rom(struct soft_host *s, uint64_t gpa, const void *data, uint64_t len, struct err *e);
/* icount: moves virtual time to ns (never backwards). From the thread that counts. */
void soft_set_time(struct soft_host *s, int64_t ns);
/* icount: when the next timer is due; -1: none is. From any thread. */
int64_t soft_deadline(const struct soft_host *s);
/* Host memory of RAM as one span for loaders: NULL when [gpa, gpa+len) is not one piece of RAM. */
uint8_t *soft_ram(struct soft_host *s, uint64_t gpa, uint64_t len);
uint64_t soft_ram_below_4g(const struct soft_host *s);
uint64_t soft_ram_above_4g(const struct soft_host *s);

#endif
