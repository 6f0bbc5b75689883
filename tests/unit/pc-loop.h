/* SPDX-License-Identifier: MIT */
/* tests/unit/pc-loop.h - the event loop on which a bare PC's back ends complete. */
#ifndef TESTS_UNIT_PC_LOOP_H
#define TESTS_UNIT_PC_LOOP_H

#include "flat-pc.h"

#include "dm/base/ev.h"

static inline void pc_loop_lock(void *m)
{
    machine_enter(m);
}

static inline void pc_loop_unlock(void *m)
{
    machine_leave(m);
}

/* Its callbacks run under the machine's lock. */
static inline struct ev_loop *pc_loop_new(struct flat_pc *pc)
{
    return ev_loop_new(pc_loop_lock, pc_loop_unlock, pc->m);
}

/* Delivers all completions that are due. */
static inline void settle(struct ev_loop *l)
{
    while (ev_loop_turn(l, 0) > 0) {
    }
}

#endif
