/* SPDX-License-Identifier: MIT */
/* target/x86/icount.h - virtual time that follows retired instructions (-icount).
 *
 * All processors take turns on one thread, which also fires the machine's timers: at the block boundary
 * where the count reaches them. Nothing that happens then depends on the host, so a run that nobody
 * touches from outside is the same every time. When all processors wait, time goes on to the next timer:
 * at once, or with `sleep` when the host's clock has come as far.
 */
#ifndef TARGET_X86_ICOUNT_H
#define TARGET_X86_ICOUNT_H

#include "tcg/tcg.h"

#include <stdbool.h>
#include <stdint.h>

struct vcpus;
struct x86_cpu;

enum { ICOUNT_OFF = -1, ICOUNT_AUTO = -2, ICOUNT_MAX_SHIFT = 10 };

struct icount {
    int shift;          /* an instruction takes 2^shift ns; ICOUNT_OFF: real time */
    bool adapts;        /* shift follows the host's speed: not repeatable */
    bool sleep;         /* waiting takes as long as it would */
    bool tail;          /* what is left of the present grant is shorter than the next block */
    int64_t retired;    /* instructions, but for the present grant */
    int64_t granted;    /* to the processor that runs */
    int64_t turn;       /* left of that processor's turn */
    int64_t warp_ns;    /* time that passed while all waited */
    uint64_t random;    /* state of RDRAND */
    bool settling;      /* the host has something to finish first; under v->lock */
    int64_t seen_ns[2]; /* adapts: real and virtual time of the last look */
};

void icount_init(struct icount *i, int shift, bool sleep);
static inline bool icount_on(const struct icount *i)
{
    return i->shift >= 0;
}
/* Tells the soft host how late it is; before c's instructions meet anything that asks. */
void icount_publish(const struct x86_cpu *c);
/* Behind what may have given the host work: waits for its end. Outside, without locks. */
void icount_settle(struct vcpus *v);
/* Fires timers that are due. */
void icount_fire(struct x86_cpu *c);
/* tcg_run, or tcg_run_one with alone, for as long as no timer is due and the turn lasts. */
enum tcg_exit icount_run(struct x86_cpu *c, bool alone);
/* The turn is over; begins the next one. */
bool icount_turn_over(struct vcpus *v);
/* All processors wait: moves time. False when only the outside can wake one up. */
bool icount_idle(struct vcpus *v);
uint64_t icount_random(struct icount *i);

#endif
