/* SPDX-License-Identifier: MIT */
/* tcg/x86-64/native.c - NATIVE: the guest's vector, x87 and MMX instructions run as they are.
 *
 * Vector, MMX and x87 registers are the processor's own. General registers and memory operands get the
 * places they have here: so the instruction is encoded anew. An instruction that this processor does
 * not know is done by its C meaning.
 */
#include "tcg/x86-64/gen.h"

#define CPU(field) offsetof(struct tcg_cpu, field)

static bool host_has(const struct gen *g, const struct ir_native *n)
{
    return n->encoding != ENC_VEX || g->jit->has.avx2;
}

bool native_is_c(const struct gen *g, const struct ir_native *n)
{
    return !host_has(g, n) || (n->mem_read && n->mem_write);
}

static bool has_modrm(const struct ir_native *n)
{
    return n->reg_class != RC_NONE || n->rm_class != RC_NONE || n->mem_size;
}

static void encode(struct as *a, const struct ir_native *n, unsigned reg, const struct rm *m)
{
    unsigned op = n->opcode | (unsigned)n->map << 8 | (unsigned)n->pp << 12;
    if (n->encoding == ENC_VEX) {
        if (has_modrm(n)) {
            as_vex(a, op, n->w, n->l, reg, n->v_class == RC_NONE ? 0 : n->v, m);
        } else { /* VZEROUPPER, VZEROALL */
            as_byte(a, 0xc5);
            as_byte(a, 0xf8 | (n->l ? 4 : 0));
            as_byte(a, n->opcode);
        }
    } else if (!has_modrm(n)) { /* EMMS */
        as_byte(a, 0x0f);
        as_byte(a, n->opcode);
    } else {
        as_rm(a, op, n->w ? 8 : 4, reg, *m);
    }
    if (n->has_imm) {
        as_byte(a, n->imm);
    }
}

/* RIP and the place of F for an exception that this instruction gives. */
static void note_site(struct gen *g, const struct ir_native *n, uint64_t pc)
{
    if (!n->may_raise && !n->x87) {
        return;
    }
    struct tcg_site *s = &g->site[g->sites++];
    *s = (struct tcg_site){ .host = (uint32_t)(as_here(&g->a) - g->start),
                            .flags_live = g->f_host && !g->f_mem,
                            .x87 = n->x87,
                            .pc = pc };
}

static bool is_home(unsigned reg)
{
    return reg != R12 && reg != R14 && reg != R15;
}

static unsigned gpr_operand(struct gen *g, unsigned num, bool read)
{
    struct ir_arg a = ir_gpr(num);
    unsigned r = dst_reg(g, &a);
    if (!is_home(r) && read) {
        load_reg(g, r, &a, 8, true);
    }
    return r;
}

/* Works on vector registers or under MXCSR. */
static bool needs_vec(const struct ir_native *n)
{
    bool reg = n->reg_class == RC_VEC || n->rm_class == RC_VEC || n->v_class == RC_VEC;
    return reg || n->encoding == ENC_VEX ||
           (n->encoding == ENC_LEGACY && n->may_raise && n->map != 0);
}

/* Changes EFLAGS. */
static void vec_look(struct gen *g)
{
    g->vec_in = true;
    as_alu_imm(&g->a, ALU_CMP, 1, rm_cpu(CPU(vec_live)), 0);
    struct slow *s = &g->slow[g->slows++];
    *s = (struct slow){ .kind = SLOW_VEC };
    s->from = as_jcc_ahead(&g->a, CC_E);
    s->done = g->a.p;
}

void vec_at_start(struct gen *g)
{
    const uint8_t *before = g->a.p;
    for (unsigned i = 0; i < g->ir->n && g->ir->op[i].op != IR_CALL; i++) {
        const struct ir_op *o = &g->ir->op[i];
        if (o->op == IR_NATIVE && host_has(g, o->native) && needs_vec(o->native)) {
            vec_look(g);
            break;
        }
    }
    bool first = !(g->b->tb.key.cflags & TB_ICOUNT);
    g->b->vec_skip = first ? (uint8_t)(g->a.p - before) : 0;
}

/* The x87's and MMX's state must be in the processor: looked at once a block. */
static void x87_in(struct gen *g, const struct ir_op *o)
{
    if (g->x87_in) {
        return;
    }
    g->x87_in = true;
    flags_clobber(g, flags_live_before(g, o));
    as_alu_imm(&g->a, ALU_CMP, 1, rm_cpu(CPU(x87_live)), 0);
    struct slow *s = &g->slow[g->slows++];
    *s = (struct slow){ .kind = SLOW_X87, .pc = g->pc };
    s->from = as_jcc_ahead(&g->a, CC_E);
    s->done = g->a.p;
}

static void by_c(struct gen *g, const struct ir_op *o)
{
    const struct ir_native *n = o->native;
    flags_to_mem(g, F_ALL);
    flags_clobber(g, F_ALL);
    cache_flush(g);
    if (n->mem_size) {
        unsigned at = linear_address(g, &o->mem);
        as_mov_to(&g->a, 8, rm_cpu(CPU(slow_addr)), at);
    }
    unsigned s = scratch(g);
    as_const(&g->a, s, (uint64_t)(uintptr_t)n);
    g->by_c = true;
    as_mov_to(&g->a, 8, rm_cpu(CPU(call_fn)), s);
    as_mov_imm(&g->a, 4, rm_cpu(CPU(slow_op)), o->mem.flags & IR_MEM_ALIGN ? 1 : 0);
    set_pc_code(g, g->pc, s);
    cache_flush(g); /* what the address was made of */
    as_call(&g->a, g->jit->thunk[TH_NATIVE_SEM]);
    g->f_mem = true;
    g->x87_in = g->vec_in = false;
}

/* A general register result goes home. */
static void put_back(struct gen *g, unsigned num, unsigned reg)
{
    struct ir_arg a = ir_gpr(num);
    if (!is_home(reg)) {
        finish(g, &a, reg, 8);
    }
}

void gen_native(struct gen *g, const struct ir_op *o)
{
    const struct ir_native *n = o->native;
    if (native_is_c(g, n)) {
        by_c(g, o);
        return;
    }
    if (n->x87) {
        x87_in(g, o);
    }
    if (!g->vec_in && needs_vec(n)) {
        flags_clobber(g, flags_live_before(g, o));
        vec_look(g);
    }
    bool look_up = n->mem_size && !follows(g);
    if (n->x87 || n->may_raise || look_up || n->reg_class == RC_GPR || n->rm_class == RC_GPR) {
        cache_write_back(g);
    }
    unsigned reg = n->reg, rm = n->rm;
    if (n->reg_class == RC_GPR) {
        reg = gpr_operand(g, n->reg, n->reg_read);
    }
    if (n->rm_class == RC_GPR && !n->mem_size) {
        rm = gpr_operand(g, n->rm, n->rm_read);
    }
    struct rm m = rm_reg(rm);
    struct slow *s = NULL;
    if (look_up) {
        flags_clobber(g, flags_live_before(g, o));
    }
    if (n->mem_size) {
        m = operand(g, &o->mem, n->mem_size, n->mem_write, SLOW_NATIVE, &s);
    }
    if (s) {
        s->native = n;
        s->native_reg = (uint8_t)reg;
    }
    flags_before(g, o);
    note_site(g, n, g->pc);
    encode(&g->a, n, reg, &m);
    if (s) {
        s->done = g->a.p;
    }
    if (n->mem_size) {
        operand_done(g);
    }
    flags_written(g, o);
    if (n->reg_class == RC_GPR && n->reg_write) {
        put_back(g, n->reg, reg);
    }
    if (n->rm_class == RC_GPR && n->rm_write && !n->mem_size) {
        put_back(g, n->rm, rm);
    }
}

void native_slow(struct gen *g, struct slow *s)
{
    const struct ir_native *n = s->native;
    as_call(&g->a, g->jit->thunk[n->mem_write ? TH_NATIVE_PROBE : TH_NATIVE_LOAD]);
    if (n->mem_write && n->encoding == ENC_X87) {
        /* An unmasked exception keeps it from storing: then what was there is written back. */
        as_call(&g->a, g->jit->thunk[TH_NATIVE_LOAD]);
    }
    point_at_bounce(g, s);
    if (!n->mem_write) {
        as_jmp(&g->a, s->resume + g->a.rx);
        return;
    }
    struct rm m = found(s);
    g->f_host = false; /* F is in memory, as behind any look-up */
    note_site(g, n, s->pc);
    encode(&g->a, n, s->native_reg, &m);
    as_call(&g->a, g->jit->thunk[TH_NATIVE_STORE]);
    as_jmp(&g->a, s->done + g->a.rx);
}
