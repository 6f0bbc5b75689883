/* SPDX-License-Identifier: MIT */
/* tcg/pass-dead.c - drops operations whose results nobody uses. Loads stay: they may fault. */
#include "tcg/pass.h"

#include <string.h>

static bool has_effect(const struct ir_op *o)
{
    switch (o->op) {
    case IR_INSN:
    case IR_FENCE:
    case IR_ST_STATE:
    case IR_NATIVE:
        return true;
    case IR_CALL:
        return !(o->helper->flags & IR_H_PURE);
    default:
        return ir_may_fault(o) || ir_is_terminator(o);
    }
}

static bool is_live(const struct ir_arg *dst, const bool *live)
{
    return dst->kind == IR_GPR || (dst->kind == IR_TEMP && live[dst->num]);
}

void pass_dead(struct ir_block *b)
{
    bool live[IR_MAX_TEMPS];
    memset(live, 0, b->temps * sizeof(live[0]));
    for (unsigned i = b->n; i-- > 0;) {
        struct ir_op *o = &b->op[i];
        struct ir_arg *use[5];
        if (!has_effect(o) && !is_live(&o->dst, live) && !is_live(&o->dst2, live) &&
            !(o->fneed & ir_flags_written(o))) {
            o->op = IR_NOP;
            o->dst = o->dst2 = o->a = o->b = o->c = ir_none();
            continue;
        }
        for (unsigned k = 0, n = ir_uses(o, use); k < n; k++) {
            if (use[k]->kind == IR_TEMP) {
                live[use[k]->num] = true;
            }
        }
    }
}
