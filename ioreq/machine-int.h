/* SPDX-License-Identifier: MIT */
/* ioreq/machine-int.h - what the doors' implementations share among themselves. */
#ifndef IOREQ_MACHINE_INT_H
#define IOREQ_MACHINE_INT_H

#include "ioreq/machine.h"

/* Whether a trace listens to or feeds this machine. */
static inline bool machine_traced(const struct machine *m)
{
    return m->rec || m->play;
}

/* The calling thread's name: where its thread-local storage is, one instruction. */
static inline void *machine_thread(void)
{
    return __builtin_thread_pointer();
}

/* Who holds the machine lock. Read without it by ioreq_run: a thread can only ever read its own
 * name here if it wrote it itself and has not left since. */
static inline bool machine_is_mine(const struct machine *m)
{
    return __atomic_load_n(&m->owner, __ATOMIC_RELAXED) == machine_thread();
}

/* Runs what was asked for by machine_ask_leave, as an event of its own. */
void machine_before_leave(struct machine *m);

static inline void machine_own(struct machine *m)
{
    __atomic_store_n(&m->owner, machine_thread(), __ATOMIC_RELAXED);
}

/* An event that is not a keeper's request began. */
static inline void machine_locked(struct machine *m)
{
    machine_own(m);
    m->last = NULL;
}

/* False when somebody else is in an event. */
static inline bool machine_try_begin_event(struct machine *m)
{
    if (!lock_try(&m->lock)) {
        return false;
    }
    machine_locked(m);
    return true;
}

static inline void machine_begin_event(struct machine *m)
{
    lock_take(&m->lock);
    machine_locked(m);
}

/* All of an event's end but giving the lock back. */
static inline void machine_disown(struct machine *m)
{
    m->now = -1;
    if (m->leave_asked) {
        machine_before_leave(m);
    }
    __atomic_store_n(&m->owner, NULL, __ATOMIC_RELAXED);
}

static inline void machine_end_event(struct machine *m)
{
    machine_disown(m);
    lock_give(&m->lock);
}

/* The span that answers addr, or NULL. */
const struct region_span *region_find(struct region_table *t, uint64_t addr);
/* Bytes from addr, which nobody answers, to the next address somebody does; UINT64_MAX: none. */
uint64_t region_gap(const struct region_table *t, uint64_t addr);
/* The highest address of a space. */
uint64_t space_last(enum io_space space);
void region_tables_free(struct machine *m);

/* gmem_peek's counterpart: the CPU's own writes. */
int gmem_poke(struct machine *m, uint64_t gpa, const void *buf, size_t len);

/* Whether machine_set_run_state would take s. */
bool machine_may_step(const struct machine *m, enum run_state s);
/* Tells the host when the next timer is due, if that changed or force is set. */
void clock_tell_host(struct machine *m, bool force);
/* Stops or starts virtual time at the value it has. */
void clock_stop(struct machine *m);
void clock_start(struct machine *m);
/* What vclock_now says after a load; only while stopped. */
void clock_set(struct machine *m, int64_t now);

/* Bytes of one scalar of a kind; a timer's is its `when`. 0: not a scalar. */
unsigned state_scalar_size(enum state_kind kind);

/* The stream's fixed points; state.c describes the format. */
#define STATE_MAGIC "KEELSTA1"
#define STATE_FORMAT 1
#define STATE_PAGE 4096u
enum { STATE_REC_DEVICE = 1, STATE_REC_END = 2 };

#endif
