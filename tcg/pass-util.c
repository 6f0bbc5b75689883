/* SPDX-License-Identifier: MIT */
/* tcg/pass-util.c - what an operation touches. */
#include "tcg/pass.h"

bool ir_has_mem(const struct ir_op *o)
{
    return (o->op >= IR_LEA && o->op <= IR_A_CMPXCHG) ||
           (o->op == IR_NATIVE && o->native->mem_size != 0);
}

unsigned ir_uses(struct ir_op *o, struct ir_arg *use[5])
{
    unsigned n = 0;
    struct ir_arg *all[] = { &o->a, &o->b, &o->c };
    for (unsigned i = 0; i < 3; i++) {
        if (all[i]->kind != IR_NONE) {
            use[n++] = all[i];
        }
    }
    if (ir_has_mem(o)) {
        if (o->mem.base.kind != IR_NONE) {
            use[n++] = &o->mem.base;
        }
        if (o->mem.index.kind != IR_NONE) {
            use[n++] = &o->mem.index;
        }
    }
    return n;
}

static uint16_t bit_of(const struct ir_arg *a)
{
    return (uint16_t)(a->kind == IR_GPR ? 1u << a->num : 0);
}

/* DIV, IDIV: RAX and RDX. PCMPESTRM, PCMPESTRI, PCMPISTRM, PCMPISTRI: lengths in RAX and RDX, the index
 * to RCX. */
static uint16_t implied_gprs(const struct ir_native *n, bool written)
{
    if (n->map == 0 && n->encoding == ENC_LEGACY) {
        return 1 << 0 | 1 << 2;
    }
    if (n->map != 3 || n->opcode < 0x60 || n->opcode > 0x63 || n->encoding == ENC_X87) {
        return 0;
    }
    return written ? 1 << 1 : 1 << 0 | 1 << 2;
}

static uint16_t native_gprs(const struct ir_native *n, bool written)
{
    uint16_t m = implied_gprs(n, written);
    if (n->reg_class == RC_GPR && (written ? n->reg_write : n->reg_read)) {
        m |= (uint16_t)(1u << n->reg);
    }
    if (n->rm_class == RC_GPR && !n->mem_size && (written ? n->rm_write : n->rm_read)) {
        m |= (uint16_t)(1u << n->rm);
    }
    if (n->v_class == RC_GPR && !written) {
        m |= (uint16_t)(1u << n->v);
    }
    return m;
}

uint16_t ir_gprs_written(const struct ir_op *o)
{
    uint16_t m = bit_of(&o->dst) | bit_of(&o->dst2);
    if (o->op == IR_CALL && o->helper->flags & IR_H_WRITES) {
        m = 0xffff;
    }
    return o->op == IR_NATIVE ? m | native_gprs(o->native, true) : m;
}

uint16_t ir_gprs_read(const struct ir_op *o)
{
    struct ir_arg *use[5];
    unsigned n = ir_uses((struct ir_op *)o, use);
    uint16_t m = 0;
    for (unsigned i = 0; i < n; i++) {
        m |= bit_of(use[i]);
    }
    if (o->op == IR_CALL && o->helper->flags & (IR_H_READS | IR_H_WRITES | IR_H_FAULTS)) {
        m = 0xffff;
    }
    return o->op == IR_NATIVE ? m | native_gprs(o->native, false) : m;
}

bool ir_may_fault(const struct ir_op *o)
{
    if (o->op == IR_CALL) {
        return o->helper->flags & IR_H_FAULTS;
    }
    if (o->op == IR_NATIVE) {
        return o->native->mem_size || o->native->may_raise || o->native->x87;
    }
    return o->op >= IR_LD && o->op <= IR_A_CMPXCHG;
}

uint16_t ir_live_at_end(const struct ir_block *b)
{
    switch (b->op[b->n - 1].op) {
    case IR_GOTO:
        return b->exit[0].live_flags;
    case IR_BRCC:
    case IR_BRNZ:
        return b->exit[0].live_flags | b->exit[1].live_flags;
    default:
        return b->live_out;
    }
}
