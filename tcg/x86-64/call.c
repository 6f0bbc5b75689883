/* SPDX-License-Identifier: MIT */
/* tcg/x86-64/call.c - helpers, atomic operations, and arithmetic that is left to C. */
#include "tcg/x86-64/gen.h"

#define CPU(field) offsetof(struct tcg_cpu, field)

/* Operand i of a C function, whole registers. */
static void pass(struct gen *g, const struct ir_arg *a, unsigned i, unsigned size)
{
    if (a->kind == IR_NONE) {
        return;
    }
    struct rm m = rm_cpu(CPU(arg) + i * 8);
    if (is_const(a) && fits32(a->value)) {
        as_mov_imm(&g->a, 8, m, a->value);
        return;
    }
    as_mov_to(&g->a, 8, m, to_reg(g, a, size));
    g->busy = 0; /* all that the operation needs is in memory */
}

static void take(struct gen *g, const struct ir_arg *dst, unsigned i, unsigned size)
{
    if (dst->kind != IR_NONE) {
        unsigned d = dst_reg(g, dst);
        as_mov(&g->a, size, d, rm_cpu(CPU(arg) + i * 8));
        finish(g, dst, d, size);
    }
}

void gen_call(struct gen *g, const struct ir_op *o)
{
    const struct ir_helper *h = o->helper;
    flags_clobber(g, flags_live_before(g, o));
    cache_flush(g);
    pass(g, &o->a, 0, 8);
    pass(g, &o->b, 1, 8);
    pass(g, &o->c, 2, 8);
    unsigned s = scratch(g);
    as_const(&g->a, s, (uint64_t)(uintptr_t)h->fn);
    as_mov_to(&g->a, 8, rm_cpu(CPU(call_fn)), s);
    set_pc_code(g, g->pc, s);
    let_go(g, s);
    cache_flush(g); /* what was loaded to be passed */
    uint8_t *skip = NULL;
    if (o->imm) {
        as_alu_imm(&g->a, ALU_CMP, 8, rm_cpu(CPU(arg) + 16), 0);
        skip = as_jcc_ahead(&g->a, CC_E);
    }
    as_call(&g->a, g->jit->thunk[TH_HELPER]);
    if (skip) {
        as_land(&g->a, skip);
    }
    g->x87_in = g->vec_in = false;
    g->f_mem = true;
    take(g, &o->dst, 0, 8);
}

void gen_eval(struct gen *g, const struct ir_op *o)
{
    flags_clobber(g, F_ALL);
    pass(g, &o->a, 0, o->size);
    pass(g, &o->b, 1, o->size);
    if (o->op == IR_CRC32) {
        struct ir_arg bytes = ir_const(o->imm);
        pass(g, &bytes, 2, 8);
    } else {
        pass(g, &o->c, 2, o->size);
    }
    as_mov_imm(&g->a, 4, rm_cpu(CPU(slow_op)), o->op);
    as_mov_imm(&g->a, 4, rm_cpu(CPU(slow_size)), o->size);
    as_call(&g->a, g->jit->thunk[TH_EVAL]);
    take(g, &o->dst, 0, o->size);
    take(g, &o->dst2, 1, o->size);
}

/* ---- atomic operations ---- */

static void atomic_by_c(struct gen *g, const struct ir_op *o)
{
    cache_write_back(g);
    unsigned at = linear_address(g, &o->mem);
    as_mov_to(&g->a, 8, rm_cpu(CPU(slow_addr)), at);
    let_go(g, at);
    pass(g, &o->a, 0, o->size);
    pass(g, &o->b, 1, o->size);
    as_mov_imm(&g->a, 4, rm_cpu(CPU(slow_op)), o->op == IR_A_RMW ? o->imm : o->op);
    as_mov_imm(&g->a, 4, rm_cpu(CPU(slow_size)), o->size);
    unsigned s = scratch(g);
    set_pc_code(g, g->pc, s);
    let_go(g, s);
    as_call(&g->a, g->jit->thunk[TH_ATOMIC]);
    g->f_mem = true;
    take(g, &o->dst, 0, o->size);
}

static unsigned copy(struct gen *g, const struct ir_arg *a, unsigned size)
{
    unsigned s = scratch(g);
    load_reg(g, s, a, size, true);
    return s;
}

static void xchg(struct gen *g, const struct ir_op *o)
{
    unsigned v = copy(g, &o->a, o->size);
    struct slow *s = probe(g, &o->mem, o->size, true, SLOW_ATOMIC);
    s->src = (struct src){ .reg = (uint8_t)v };
    as_op(&g->a, 0x86, o->size, v, found(s));
    s->done = g->a.p;
    let_go(g, s->to);
    if (o->dst.kind != IR_NONE) {
        finish(g, &o->dst, v, o->size);
    }
}

/* The accumulator is RAX: its old value waits in a register, where the operand's then is. */
static void cmpxchg(struct gen *g, const struct ir_op *o)
{
    unsigned b = to_reg(g, &o->b, o->size);
    struct slow *s = probe(g, &o->mem, o->size, true, SLOW_ATOMIC);
    s->src = (struct src){ .reg = (uint8_t)b };
    unsigned old = scratch(g);
    s->native_reg = (uint8_t)old;
    as_mov(&g->a, 8, old, rm_reg(AX));
    as_byte(&g->a, 0xf0);
    as_op(&g->a, M_0F | 0xb0, o->size, b, found(s));
    as_op(&g->a, 0x86, 8, AX, rm_reg(old));
    s->done = g->a.p;
    flags_written(g, o);
    if (o->size == 4) {
        as_mov(&g->a, 4, old, rm_reg(old));
    }
    let_go(g, s->to);
    if (o->dst.kind != IR_NONE) {
        finish(g, &o->dst, old, o->size);
    }
}

static void xadd(struct gen *g, const struct ir_op *o)
{
    unsigned v = copy(g, &o->b, o->size);
    struct slow *s = probe(g, &o->mem, o->size, true, SLOW_ATOMIC);
    s->src = (struct src){ .reg = (uint8_t)v };
    as_byte(&g->a, 0xf0);
    as_op(&g->a, M_0F | 0xc0, o->size, v, found(s));
    s->done = g->a.p;
    flags_written(g, o);
    let_go(g, s->to);
    finish(g, &o->dst, v, o->size);
}

static bool is_bit_op(int64_t op)
{
    return op == IR_BTS || op == IR_BTR || op == IR_BTC;
}

static void locked(struct gen *g, const struct ir_op *o)
{
    struct src src;
    if (is_bit_op(o->imm) && !is_const(&o->b)) { /* never beyond the operand */
        src = (struct src){ .reg = (uint8_t)copy(g, &o->b, o->size) };
        as_alu_imm(&g->a, ALU_AND, 4, rm_reg(src.reg), o->size * 8 - 1);
    } else {
        src = src_of(g, &o->b, o->size);
    }
    struct slow *s = probe(g, &o->mem, o->size, true, SLOW_ATOMIC);
    s->src = src;
    flags_before(g, o);
    rmw_code(g, o, found(s), &src, true);
    s->done = g->a.p;
    flags_written(g, o);
}

bool atomic_is_c(const struct ir_op *o)
{
    bool rax = o->a.kind == IR_GPR && o->a.num == 0 && !o->a.high;
    return o->op == IR_A_CMPXCHG ? !rax
                                 : o->op == IR_A_RMW && o->dst.kind != IR_NONE && o->imm != IR_ADD;
}

void gen_atomic(struct gen *g, const struct ir_op *o)
{
    flags_clobber(g, flags_live_before(g, o));
    if (atomic_is_c(o)) {
        atomic_by_c(g, o);
    } else if (o->op == IR_A_XCHG) {
        xchg(g, o);
    } else if (o->op == IR_A_CMPXCHG) {
        cmpxchg(g, o);
    } else if (o->dst.kind == IR_NONE) {
        locked(g, o);
    } else {
        xadd(g, o);
    }
}

static void pass_src(struct gen *g, const struct src *v)
{
    if (v->is_const) {
        as_mov_imm(&g->a, 8, rm_cpu(CPU(arg) + 8), v->value);
    } else if (v->reg != NO_REG) {
        as_mov_to(&g->a, 8, rm_cpu(CPU(arg) + 8), v->reg);
    }
}

/* The address and RIP are passed already. */
void atomic_slow(struct gen *g, struct slow *s)
{
    const struct ir_op *o = s->op;
    bool has_result = o->op != IR_A_RMW || o->dst.kind != IR_NONE;
    pass_src(g, &s->src);
    if (o->op == IR_A_CMPXCHG) {
        as_mov_to(&g->a, 8, rm_cpu(CPU(arg)), AX);
    } else if (o->op == IR_A_XCHG) {
        as_mov_to(&g->a, 8, rm_cpu(CPU(arg)), s->src.reg);
    }
    as_mov_imm(&g->a, 4, rm_cpu(CPU(slow_op)), o->op == IR_A_RMW ? o->imm : o->op);
    as_call(&g->a, g->jit->thunk[TH_ATOMIC]);
    if (has_result) {
        unsigned to = o->op == IR_A_CMPXCHG ? s->native_reg : s->src.reg;
        as_mov(&g->a, o->size == 8 ? 8 : 4, to, rm_cpu(CPU(arg)));
    }
    if (o->fneed & ir_flags_written(o)) {
        flags_restore_code(&g->a);
    }
    as_jmp(&g->a, s->done + g->a.rx);
}
