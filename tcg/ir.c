/* SPDX-License-Identifier: MIT */
/* tcg/ir.c - building blocks of the intermediate representation, and what its operations mean for
 * flags.
 */
#include "tcg/ir.h"

#include <assert.h>
#include <string.h>

const struct ir_opdef ir_opdefs[IR_OPCODES] = {
#define X(name, inputs, fw, fr) [IR_##name] = { #name, inputs, fw, fr },
    IR_OPS(X)
#undef X
};

uint16_t ir_cond_flags(enum ir_cond c)
{
    static const uint16_t flags[8] = {
        F_OF, F_CF, F_ZF, F_CF | F_ZF, F_SF, F_PF, F_SF | F_OF, F_ZF | F_SF | F_OF,
    };
    return flags[(c >> 1) & 7];
}

/* A shift by count 0 leaves the flags alone. */
static bool is_shift(uint8_t op)
{
    return (op >= IR_SHL && op <= IR_RCR) || op == IR_SHLD || op == IR_SHRD;
}

static const struct ir_arg *count_of(const struct ir_op *o)
{
    return o->op == IR_SHLD || o->op == IR_SHRD ? &o->c : &o->b;
}

static bool shifts_by_zero(const struct ir_op *o)
{
    const struct ir_arg *n = count_of(o);
    return n->kind == IR_CONST && (n->value & (o->size == 8 ? 63 : 31)) == 0;
}

uint16_t ir_flags_written(const struct ir_op *o)
{
    switch (o->op) {
    case IR_F_SET:
        return (uint16_t)(o->imm & F_ALL);
    case IR_CALL:
        return o->helper->flags & IR_H_F_OUT ? F_ALL : 0;
    case IR_NATIVE:
        return o->native->fw;
    case IR_A_RMW:
        return ir_opdefs[o->imm].fw;
    default:
        return is_shift(o->op) && shifts_by_zero(o) ? 0 : ir_opdefs[o->op].fw;
    }
}

uint16_t ir_flags_read(const struct ir_op *o)
{
    switch (o->op) {
    case IR_SETCC:
    case IR_CMOV:
    case IR_BRCC:
        return ir_cond_flags(o->cond);
    case IR_CALL:
        return o->helper->flags & IR_H_F_IN ? F_ALL : 0;
    case IR_NATIVE:
        return o->native->fr;
    case IR_A_RMW:
        return ir_opdefs[o->imm].fr;
    default:
        if (is_shift(o->op) && count_of(o)->kind != IR_CONST) {
            return ir_opdefs[o->op].fr | ir_opdefs[o->op].fw;
        }
        return ir_opdefs[o->op].fr;
    }
}

bool ir_is_terminator(const struct ir_op *o)
{
    return o->op >= IR_GOTO;
}

void ir_block_init(struct ir_block *b, uint64_t pc)
{
    b->n = 0;
    b->temps = 0;
    b->natives = 0;
    b->insns = 0;
    b->peek_lo = b->peek_hi = 0;
    b->pc = pc;
    b->live_out = F_ALL;
    for (unsigned i = 0; i < 2; i++) {
        b->exit[i] = (struct ir_exit){ .live_flags = F_ALL };
    }
}

bool ir_full(const struct ir_block *b)
{
    return b->n + 64 > IR_MAX_OPS || b->temps + 64 > IR_MAX_TEMPS ||
           b->natives + 2 > sizeof(b->native) / sizeof(b->native[0]);
}

struct ir_arg ir_temp(struct ir_block *b)
{
    assert(b->temps < IR_MAX_TEMPS);
    return (struct ir_arg){ .kind = IR_TEMP, .num = (uint16_t)b->temps++ };
}

struct ir_op *ir_emit(struct ir_block *b, enum ir_opcode op, unsigned size, struct ir_arg dst,
                      struct ir_arg a, struct ir_arg bb)
{
    assert(b->n < IR_MAX_OPS);
    struct ir_op *o = &b->op[b->n++];
    memset(o, 0, sizeof(*o));
    o->op = (uint8_t)op;
    o->size = (uint8_t)size;
    o->dst = dst;
    o->a = a;
    o->b = bb;
    o->mem.seg = -1;
    o->fneed = ir_opdefs[op].fw;
    return o;
}
