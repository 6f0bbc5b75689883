/* SPDX-License-Identifier: MIT */
/* tcg/x86-64/cache.c - guest R12..R15, which have no home, in scratch registers while a block uses them.
 *
 * A value that is read again soon stays in the register it was loaded to or made in. Changed ones go
 * back to struct tcg_cpu when the register is wanted, before C code may look, and at the block's end;
 * a look-up that misses stores them on its way out of line.
 */
#include "tcg/x86-64/gen.h"

enum { LOOK_AHEAD = 48, FIRST = 12 };

unsigned cache_reg(const struct gen *g, unsigned n)
{
    return n >= FIRST ? g->cached[n - FIRST].reg : NO_REG;
}

void cache_set(struct gen *g, unsigned n, unsigned reg, bool dirty)
{
    g->cached[n - FIRST] = (struct cached){ (uint8_t)reg, dirty };
    g->owner[reg] = (int16_t)(GPR_OWNER + n);
}

void cache_drop(struct gen *g, unsigned n)
{
    struct cached *c = &g->cached[n - FIRST];
    if (c->reg != NO_REG) {
        g->owner[c->reg] = FREE;
        *c = (struct cached){ NO_REG, false };
    }
}

void cache_changed(struct gen *g, unsigned n)
{
    g->cached[n - FIRST].dirty = true;
}

static void store(struct gen *g, unsigned n)
{
    struct cached *c = &g->cached[n - FIRST];
    if (c->reg != NO_REG && c->dirty) {
        as_mov_to(&g->a, 8, rm_cpu(gpr_off(n)), c->reg);
        c->dirty = false;
    }
}

void cache_evict(struct gen *g, unsigned n)
{
    store(g, n);
    cache_drop(g, n);
}

void cache_write_back(struct gen *g)
{
    for (unsigned n = FIRST; n < 16; n++) {
        store(g, n);
    }
}

void cache_flush(struct gen *g)
{
    for (unsigned n = FIRST; n < 16; n++) {
        cache_evict(g, n);
    }
}

void cache_note_dirty(const struct gen *g, uint8_t dirty[4])
{
    for (unsigned i = 0; i < 4; i++) {
        dirty[i] = g->cached[i].dirty ? g->cached[i].reg : NO_REG;
    }
}

/* The operation that reads guest register n next, or NEVER: it is overwritten or C code comes first. */
unsigned cache_next_use(const struct gen *g, unsigned n)
{
    unsigned end = g->at + LOOK_AHEAD < g->ir->n ? g->at + LOOK_AHEAD : g->ir->n;
    for (unsigned i = g->at + 1; i < end; i++) {
        const struct ir_op *o = &g->ir->op[i];
        if (o->op == IR_CALL || ir_is_terminator(o)) {
            break;
        }
        if (ir_gprs_read(o) >> n & 1) {
            return i;
        }
        if (ir_gprs_written(o) >> n & 1) {
            return o->op != IR_NATIVE && o->size < 4 ? i : NEVER;
        }
    }
    return NEVER;
}

bool cache_wanted(const struct gen *g, unsigned n)
{
    return cache_reg(g, n) != NO_REG || cache_next_use(g, n) != NEVER;
}
