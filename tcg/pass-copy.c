/* SPDX-License-Identifier: MIT */
/* tcg/pass-copy.c - copies: uses of a copied temporary read the original, and a result that is only
 * moved on is made where it goes. */
#include "tcg/pass.h"

#include <string.h>

struct copies {
    struct ir_arg of[IR_MAX_TEMPS]; /* IR_NONE: not a copy */
    unsigned version[IR_MAX_TEMPS]; /* of the register when it was copied */
    unsigned gpr[16];               /* how often each register was written */
};

static void replace(const struct copies *c, struct ir_arg *a)
{
    if (a->kind != IR_TEMP) {
        return;
    }
    const struct ir_arg *from = &c->of[a->num];
    if (from->kind == IR_TEMP ||
        (from->kind == IR_GPR && c->gpr[from->num] == c->version[a->num])) {
        *a = *from;
    }
}

/* A byte register's high half cannot stand where the whole register is read. */
static bool may_replace(const struct ir_op *o)
{
    return o->op == IR_MOV && o->dst.kind == IR_TEMP && !o->a.high &&
           (o->a.kind == IR_TEMP || o->a.kind == IR_GPR);
}

static void forward(struct ir_block *b)
{
    struct copies c;
    memset(c.gpr, 0, sizeof(c.gpr));
    memset(c.of, 0, b->temps * sizeof(c.of[0]));
    for (unsigned i = 0; i < b->n; i++) {
        struct ir_op *o = &b->op[i];
        struct ir_arg *use[5];
        for (unsigned k = 0, n = ir_uses(o, use); k < n; k++) {
            replace(&c, use[k]);
        }
        for (unsigned left = ir_gprs_written(o); left; left &= left - 1) {
            c.gpr[__builtin_ctz(left)]++;
        }
        if (may_replace(o)) {
            c.of[o->dst.num] = o->a;
            c.version[o->dst.num] = o->a.kind == IR_GPR ? c.gpr[o->a.num] : 0;
        }
    }
}

static struct ir_op *next_op(struct ir_block *b, unsigned i)
{
    while (++i < b->n && b->op[i].op == IR_NOP) {
    }
    return i < b->n ? &b->op[i] : NULL;
}

/* t = OP ...; reg = MOV t, and t is used nowhere else: reg = OP ... */
static void coalesce(struct ir_block *b)
{
    unsigned uses[IR_MAX_TEMPS];
    memset(uses, 0, b->temps * sizeof(uses[0]));
    for (unsigned i = 0; i < b->n; i++) {
        struct ir_arg *use[5];
        for (unsigned k = 0, n = ir_uses(&b->op[i], use); k < n; k++) {
            if (use[k]->kind == IR_TEMP) {
                uses[use[k]->num]++;
            }
        }
    }
    for (unsigned i = 0; i < b->n; i++) {
        struct ir_op *o = &b->op[i], *m = next_op(b, i);
        bool same = m && m->op == IR_MOV && o->dst.kind == IR_TEMP && m->a.kind == IR_TEMP &&
                    m->a.num == o->dst.num && uses[o->dst.num] == 1 && m->dst.kind == IR_GPR &&
                    m->size == o->size && o->dst2.kind == IR_NONE;
        if (same && o->op != IR_CALL && o->op != IR_LD_STATE) {
            o->dst = m->dst;
            m->op = IR_NOP;
            m->dst = m->a = ir_none();
        }
    }
}

void pass_copy(struct ir_block *b)
{
    forward(b);
    coalesce(b);
}
