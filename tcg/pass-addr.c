/* SPDX-License-Identifier: MIT */
/* tcg/pass-addr.c - sums that only make addresses become part of the memory operands. */
#include "tcg/pass.h"

#include <string.h>

struct sum { /* t = base + index * scale + disp at some place of the block */
    struct ir_arg base, index;
    uint8_t scale, size; /* size 0: not such a sum */
    int64_t disp;
    unsigned at[2]; /* how often the registers had been written */
};

struct sums {
    struct sum of[IR_MAX_TEMPS];
    unsigned gpr[16];
};

static unsigned version(const struct sums *s, const struct ir_arg *a)
{
    return a->kind == IR_GPR ? s->gpr[a->num] : 0;
}

static bool still_holds(const struct sums *s, const struct sum *m)
{
    return m->size && m->at[0] == version(s, &m->base) && m->at[1] == version(s, &m->index);
}

static bool fits32(int64_t v)
{
    return v == (int32_t)v;
}

/* Replaces the base by what it is the sum of. */
static void fold_base(const struct sums *s, struct ir_mem *m)
{
    if (m->base.kind != IR_TEMP) {
        return;
    }
    const struct sum *b = &s->of[m->base.num];
    if (!still_holds(s, b) || b->size < m->addr_size || !fits32(m->disp + b->disp) ||
        (b->index.kind != IR_NONE && m->index.kind != IR_NONE)) {
        return;
    }
    m->base = b->base;
    m->disp += b->disp;
    if (b->index.kind != IR_NONE) {
        m->index = b->index;
        m->scale = b->scale;
    }
}

static struct sum sum_of(const struct sums *s, const struct ir_op *o)
{
    struct sum m = { .size = o->size, .scale = 1 };
    if (o->op == IR_LEA && o->mem.addr_size >= o->size) {
        m.base = o->mem.base;
        m.index = o->mem.index;
        m.scale = o->mem.scale;
        m.disp = o->mem.disp;
    } else if ((o->op == IR_ADD || o->op == IR_SUB) && o->b.kind == IR_CONST &&
               o->a.kind != IR_CONST && !o->a.high) {
        m.base = o->a;
        m.disp = o->op == IR_ADD ? o->b.value : (int64_t)(0 - (uint64_t)o->b.value);
    } else if (o->op == IR_ADD && o->a.kind != IR_CONST && o->b.kind != IR_CONST && !o->a.high &&
               !o->b.high) {
        m.base = o->a;
        m.index = o->b;
    } else {
        m.size = 0;
    }
    m.at[0] = version(s, &m.base);
    m.at[1] = version(s, &m.index);
    return m;
}

void pass_addr(struct ir_block *b)
{
    struct sums s;
    memset(s.gpr, 0, sizeof(s.gpr));
    memset(s.of, 0, b->temps * sizeof(s.of[0])); /* blocks are short: not all of it */
    for (unsigned i = 0; i < b->n; i++) {
        struct ir_op *o = &b->op[i];
        if (ir_has_mem(o)) {
            fold_base(&s, &o->mem);
        }
        struct sum m = sum_of(&s, o);
        for (unsigned left = ir_gprs_written(o); left; left &= left - 1) {
            s.gpr[__builtin_ctz(left)]++;
        }
        if (o->dst.kind == IR_TEMP) {
            s.of[o->dst.num] = m;
        }
    }
}
