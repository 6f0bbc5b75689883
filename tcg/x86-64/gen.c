/* SPDX-License-Identifier: MIT */
/* tcg/x86-64/gen.c - drives the generator through a block, and gives temporaries registers.
 *
 * One pass forward. The guest's registers have fixed homes, so only temporaries need places: three
 * scratch registers, and slots in struct tcg_cpu when those run out. A temporary frees its register at
 * its last use; when none is free the one that is used latest goes to a slot.
 */
#include "tcg/x86-64/gen.h"

#include "dm/base/util.h"

#include <stdio.h>
#include <stdlib.h>

const bool jit_exists = true;

const uint8_t gpr_home[16] = { AX, CX, DX,  BX,  R13,    BP,     SI,     DI,
                               R8, R9, R10, R11, NO_REG, NO_REG, NO_REG, NO_REG };
static const uint8_t scratch_regs[] = { R14, R15, R12 };
enum { SCRATCHES = sizeof(scratch_regs), ROOM_PER_OP = 400 };

bool is_const(const struct ir_arg *a)
{
    return a->kind == IR_CONST;
}

bool fits32(int64_t v)
{
    return v == (int32_t)v;
}

/* ---- registers ---- */

bool is_scratch(unsigned reg)
{
    return reg == R12 || reg == R14 || reg == R15;
}

bool is_ours(const struct gen *g, unsigned reg)
{
    return is_scratch(reg) && g->owner[reg] == FREE;
}

static unsigned new_slot(struct gen *g)
{
    unsigned s = (unsigned)__builtin_ctz(~g->slots);
    assert(s < SPILL_SLOTS);
    g->slots |= 1u << s;
    return s;
}

/* Where a T_LAZY's bytes are. */
static struct rm lazy_rm(const struct temp *t)
{
    return t->base == NO_REG ? rm_at(t->reg, t->disp) : rm_sum(t->base, t->reg, 1, t->disp);
}

static void lazy_base_done(struct gen *g, const struct temp *t)
{
    if (t->base != NO_REG) {
        g->owner[t->base] = FREE;
    }
}

static void load_lazy(struct gen *g, struct temp *t)
{
    struct rm m = lazy_rm(t);
    if (t->where == T_LAZY) {
        lazy_base_done(g, t);
    } else {
        uint16_t held = g->busy;
        unsigned group = t->reg;
        m = grouped(g, group, t->disp);
        t->reg = (uint8_t)scratch(g);
        g->owner[t->reg] = (int16_t)(t - g->temp);
        consume_pointer(g, group);
        g->busy = held;
    }
    if (t->size <= 2) {
        as_full(&g->a, M_0F | (t->size == 1 ? 0xb6 : 0xb7), 4, t->reg, false, &m, false);
    } else {
        as_mov(&g->a, t->size, t->reg, m);
    }
    t->where = T_REG;
}

static void spill(struct gen *g, unsigned reg)
{
    if (g->owner[reg] >= GPR_OWNER) {
        cache_evict(g, (unsigned)g->owner[reg] - GPR_OWNER);
        return;
    }
    struct temp *t = &g->temp[g->owner[reg]];
    if (t->where == T_LAZY) {
        load_lazy(g, t);
        if (g->owner[reg] == FREE) { /* it was the base */
            return;
        }
    }
    t->slot = (uint8_t)new_slot(g);
    t->where = T_SPILL;
    as_mov_to(&g->a, 8, rm_cpu(spill_off(t->slot)), reg);
    g->owner[reg] = FREE;
}

bool scratch_free(const struct gen *g)
{
    for (unsigned i = 0; i < SCRATCHES; i++) {
        if (g->owner[scratch_regs[i]] == FREE && !(g->busy >> scratch_regs[i] & 1)) {
            return true;
        }
    }
    return false;
}

/* The operation that needs what reg holds next. */
static unsigned next_use(const struct gen *g, unsigned reg)
{
    int owner = g->owner[reg];
    return owner == FREE        ? NEVER
           : owner >= GPR_OWNER ? cache_next_use(g, (unsigned)owner - GPR_OWNER)
                                : g->temp[owner].last;
}

unsigned scratch_spare(const struct gen *g)
{
    unsigned n = 0;
    for (unsigned i = 0; i < SCRATCHES; i++) {
        unsigned r = scratch_regs[i];
        n += !(g->busy >> r & 1) && next_use(g, r) == NEVER;
    }
    return n;
}

unsigned scratch(struct gen *g)
{
    unsigned victim = NO_REG;
    for (unsigned i = 0; i < SCRATCHES; i++) {
        unsigned r = scratch_regs[i];
        if (g->busy >> r & 1) {
            continue;
        }
        if (g->owner[r] == FREE) {
            g->busy |= (uint16_t)(1u << r);
            return r;
        }
        if (victim == NO_REG || next_use(g, r) > next_use(g, victim)) {
            victim = r;
        }
    }
    assert(victim != NO_REG);
    spill(g, victim);
    g->busy |= (uint16_t)(1u << victim);
    return victim;
}

void let_go(struct gen *g, unsigned reg)
{
    g->busy &= (uint16_t) ~(1u << reg);
}

static void forget(struct gen *g, struct temp *t)
{
    if (t->where == T_SPILL) {
        g->slots &= ~(1u << t->slot);
    } else if (t->where == T_GROUPED) {
        consume_pointer(g, t->reg);
    } else if (t->where != T_NONE) {
        if (t->where == T_LAZY) {
            lazy_base_done(g, t);
        }
        g->owner[t->reg] = FREE;
    }
    t->where = T_NONE;
}

void consume(struct gen *g, const struct ir_arg *a)
{
    if (a->kind == IR_TEMP && --g->temp[a->num].uses == 0) {
        forget(g, &g->temp[a->num]);
    }
}

bool dies_here(const struct gen *g, const struct ir_arg *a)
{
    return a->kind == IR_TEMP && g->temp[a->num].uses == 1;
}

void bind_temp(struct gen *g, const struct ir_arg *temp, unsigned reg)
{
    struct temp *t = &g->temp[temp->num];
    t->where = T_REG;
    t->reg = (uint8_t)reg;
    g->owner[reg] = (int16_t)temp->num;
    if (t->uses == 0) {
        forget(g, t);
    }
}

/* ---- operands ---- */

unsigned reg_of(const struct gen *g, const struct ir_arg *a)
{
    if (a->kind == IR_GPR) {
        unsigned r = gpr_home[a->num];
        return r == NO_REG ? cache_reg(g, a->num) : a->high ? r | HIGH : r;
    }
    if (a->kind == IR_TEMP && g->temp[a->num].where == T_REG) {
        return g->temp[a->num].reg;
    }
    return NO_REG;
}

static void hold(struct gen *g, unsigned reg)
{
    if (is_scratch(reg)) {
        g->busy |= (uint16_t)(1u << reg);
    }
}

struct rm rm_of(struct gen *g, const struct ir_arg *a, unsigned size)
{
    unsigned r = reg_of(g, a);
    if (a->kind == IR_CONST || (r != NO_REG && r & HIGH)) {
        return rm_reg(to_reg(g, a, size));
    }
    if (r != NO_REG) {
        hold(g, r);
        return rm_reg(r);
    }
    if (a->kind == IR_GPR) {
        if (scratch_free(g) && cache_next_use(g, a->num) != NEVER) {
            return rm_reg(to_reg(g, a, size));
        }
        return rm_cpu(gpr_off(a->num));
    }
    const struct temp *t = &g->temp[a->num];
    assert(t->where >= T_SPILL);
    if (t->where != T_SPILL) {
        if (size > t->size) { /* upper bits are undefined, not somebody else's memory */
            return rm_reg(to_reg(g, a, size));
        }
        if (t->where == T_GROUPED) {
            return grouped(g, t->reg, t->disp);
        }
        hold(g, t->reg);
        if (t->base != NO_REG) {
            hold(g, t->base);
        }
        return lazy_rm(t);
    }
    return rm_cpu(spill_off(t->slot));
}

/* AH, CH, DH or BH into the low byte of reg, leaving the flags alone. */
static void extract_high(struct gen *g, unsigned reg, unsigned home)
{
    if (g->jit->has.bmi2) {
        as_vex(&g->a, P_F2 | M_0F3A | 0xf0, true, false, reg, 0, /* rorx */
               &(struct rm){ .reg = (uint8_t)home, .index = NO_REG });
        as_byte(&g->a, 8);
    } else {
        size_t off = spill_off(SAVE_SLOT);
        as_mov_to(&g->a, 8, rm_cpu(off), home);
        as_full(&g->a, M_0F | 0xb6, 4, reg, false,
                &(struct rm){
                    .mem = true, .reg = SP, .index = NO_REG, .scale = 1, .disp = (int32_t)off + 1 },
                false);
    }
}

unsigned to_reg(struct gen *g, const struct ir_arg *a, unsigned size)
{
    unsigned r = reg_of(g, a);
    if (r != NO_REG && !(r & HIGH)) {
        hold(g, r);
        return r;
    }
    if (a->kind == IR_TEMP && g->temp[a->num].where >= T_LAZY) {
        load_lazy(g, &g->temp[a->num]);
        hold(g, g->temp[a->num].reg);
        return g->temp[a->num].reg;
    }
    r = scratch(g);
    if (a->kind == IR_GPR && gpr_home[a->num] == NO_REG) {
        as_mov(&g->a, 8, r, rm_cpu(gpr_off(a->num)));
        cache_set(g, a->num, r, false);
    } else {
        load_reg(g, r, a, size, true);
    }
    return r;
}

void load_reg(struct gen *g, unsigned reg, const struct ir_arg *a, unsigned size, bool whole)
{
    unsigned r = reg_of(g, a);
    if (a->kind == IR_CONST) {
        if (whole || size >= 4) {
            uint64_t v = (uint64_t)a->value;
            as_const(&g->a, reg, size == 8 ? v : size == 4 ? (uint32_t)v : (uint16_t)v);
        } else {
            as_mov_imm(&g->a, size, rm_reg(reg), a->value);
        }
        return;
    }
    if (r != NO_REG && r & HIGH) {
        if (whole) {
            extract_high(g, reg, r & 15);
        } else { /* a byte of a home */
            unsigned s = scratch(g);
            extract_high(g, s, r & 15);
            as_mov(&g->a, 1, reg, rm_reg(s));
        }
        return;
    }
    uint16_t held = g->busy;
    struct rm m = rm_of(g, a, size);
    if (!whole && size < 4) {
        as_mov(&g->a, size, reg, m);
    } else if (m.mem && size < 4) {
        as_full(&g->a, M_0F | (size == 1 ? 0xb6 : 0xb7), 4, reg, false, &m, false);
    } else if (m.mem || m.reg != reg || size == 4) {
        as_mov(&g->a, size == 8 ? 8 : 4, reg, m);
    }
    g->busy = held; /* the source was read */
}

unsigned dst_reg(struct gen *g, const struct ir_arg *dst)
{
    if (dst->kind == IR_GPR && !dst->high && gpr_home[dst->num] != NO_REG) {
        return gpr_home[dst->num];
    }
    const struct ir_op *o = &g->ir->op[g->at];
    if (dst->kind == IR_GPR && !dst->high && o->size >= 4 && !(ir_gprs_read(o) >> dst->num & 1)) {
        cache_drop(g, dst->num);
    }
    return scratch(g);
}

static void insert_high(struct gen *g, unsigned home, unsigned reg)
{
    struct rm low = rm_reg(home);
    as_op(&g->a, 0x86, 1, home | HIGH, low); /* xchg al, ah */
    as_mov(&g->a, 1, home, rm_reg(reg));
    as_op(&g->a, 0x86, 1, home | HIGH, low);
}

/* To a guest register without a home. */
static void finish_slot(struct gen *g, unsigned n, unsigned reg, unsigned size)
{
    unsigned c = cache_reg(g, n);
    if (c == reg) {
        cache_changed(g, n);
        return;
    }
    if (size < 4) {
        if (c != NO_REG) {
            as_mov(&g->a, size, c, rm_reg(reg));
            cache_changed(g, n);
        } else {
            as_mov_to(&g->a, size, rm_cpu(gpr_off(n)), reg);
        }
        return;
    }
    cache_drop(g, n);
    bool again = cache_next_use(g, n) != NEVER;
    if (again && is_scratch(reg) && g->owner[reg] == FREE) {
        cache_set(g, n, reg, true);
    } else if (again && scratch_free(g)) {
        unsigned s = scratch(g);
        as_mov(&g->a, 8, s, rm_reg(reg));
        cache_set(g, n, s, true);
    } else {
        as_mov_to(&g->a, 8, rm_cpu(gpr_off(n)), reg);
    }
}

void finish(struct gen *g, const struct ir_arg *dst, unsigned reg, unsigned size)
{
    if (dst->kind == IR_TEMP) {
        assert(is_scratch(reg));
        bind_temp(g, dst, reg);
    } else if (dst->kind == IR_GPR) {
        unsigned home = gpr_home[dst->num];
        if (dst->high) {
            insert_high(g, home, reg);
        } else if (home == NO_REG) {
            finish_slot(g, dst->num, reg, size);
        } else if (home != reg) {
            as_mov(&g->a, size, home, rm_reg(reg));
        }
    }
}

/* ---- simple operations ---- */

static void gen_mov(struct gen *g, const struct ir_op *o)
{
    const struct ir_arg *d = &o->dst;
    unsigned home = d->kind == IR_GPR ? gpr_home[d->num] : NO_REG;
    if (d->kind == IR_GPR && home == NO_REG) { /* to struct tcg_cpu */
        struct rm slot = rm_cpu(gpr_off(d->num));
        if (o->size < 4 && cache_reg(g, d->num) != NO_REG) {
            load_reg(g, cache_reg(g, d->num), &o->a, o->size, false);
            cache_changed(g, d->num);
            return;
        }
        if (is_const(&o->a) && cache_next_use(g, d->num) == NEVER &&
            (o->size < 4 || (o->size == 8 && fits32(o->a.value)) ||
             (o->size == 4 && (int32_t)o->a.value >= 0))) {
            cache_drop(g, d->num);
            as_mov_imm(&g->a, o->size == 4 ? 8 : o->size, slot, o->a.value);
            return;
        }
        unsigned r;
        if (o->size == 4 || (o->size == 8 && cache_next_use(g, d->num) != NEVER)) {
            r = scratch(g);
            load_reg(g, r, &o->a, o->size, true);
        } else {
            r = to_reg(g, &o->a, o->size);
        }
        finish(g, d, r, o->size);
        return;
    }
    if (d->kind == IR_GPR && !d->high) {
        load_reg(g, home, &o->a, o->size, false);
        return;
    }
    if (d->high && is_const(&o->a)) {
        as_mov_imm(&g->a, 1, rm_reg(home | HIGH), o->a.value);
        return;
    }
    if (d->high) {
        unsigned r = reg_of(g, &o->a);
        if (r != NO_REG && ((r & HIGH) || r < SP)) {
            as_mov(&g->a, 1, home | HIGH, rm_reg(r));
            return;
        }
        finish(g, d, to_reg(g, &o->a, 1), 1);
        return;
    }
    if (dies_here(g, &o->a) && g->temp[o->a.num].where == T_REG) { /* takes the register over */
        unsigned r = g->temp[o->a.num].reg;
        g->temp[o->a.num].where = T_NONE;
        bind_temp(g, d, r);
        return;
    }
    unsigned s = scratch(g);
    load_reg(g, s, &o->a, o->size, true);
    finish(g, d, s, o->size);
}

static void gen_setcc(struct gen *g, const struct ir_op *o)
{
    const struct ir_arg *d = &o->dst;
    unsigned cc = flags_cond(g, o->cond);
    if (d->kind == IR_GPR && o->size == 1) {
        unsigned home = reg_of(g, d);
        struct rm m = (home & 0xff) == NO_REG ? rm_cpu(gpr_off(d->num)) : rm_reg(home);
        as_full(&g->a, M_0F | 0x90 | cc, 1, 0, false, &m, true);
        if (cache_reg(g, d->num) != NO_REG) {
            cache_changed(g, d->num);
        }
        return;
    }
    unsigned s = scratch(g);
    struct rm m = rm_reg(s);
    as_full(&g->a, M_0F | 0x90 | cc, 1, 0, false, &m, true);
    as_full(&g->a, M_0F | 0xb6, 4, s, false, &m, true);
    finish(g, d, s, o->size);
}

static void gen_f_get(struct gen *g, const struct ir_op *o)
{
    flags_to_mem(g, F_ALL);
    flags_clobber(g, g->live[g->at]);
    flags_put_right(g);
    unsigned s = scratch(g);
    as_mov(&g->a, 4, s, rm_cpu(offsetof(struct tcg_cpu, flags)));
    as_alu_imm(&g->a, ALU_AND, 4, rm_reg(s), F_ALL);
    finish(g, &o->dst, s, o->size);
}

static void gen_f_set(struct gen *g, const struct ir_op *o)
{
    struct rm flags = rm_cpu(offsetof(struct tcg_cpu, flags));
    uint32_t mask = (uint32_t)o->imm & F_ALL;
    if (!o->fneed) {
        return;
    }
    flags_clobber(g, g->live[g->at] & (uint16_t)~mask);
    flags_put_right(g);
    unsigned s = scratch(g);
    load_reg(g, s, &o->a, o->size, true);
    as_alu_imm(&g->a, ALU_AND, 4, rm_reg(s), mask);
    if (mask == F_ALL) {
        as_mov_to(&g->a, 4, flags, s);
    } else {
        as_alu_imm(&g->a, ALU_AND, 4, flags, F_ALL & ~mask);
        as_alu_to(&g->a, ALU_OR, 4, flags, s);
    }
    let_go(g, s);
    g->f_mem = true;
}

static void gen_carry(struct gen *g, const struct ir_op *o)
{
    if (o->fneed) {
        flags_before(g, o);
        as_byte(&g->a, o->op == IR_CLC ? 0xf8 : o->op == IR_STC ? 0xf9 : 0xf5);
        flags_written(g, o);
    }
}

static void gen_state(struct gen *g, const struct ir_op *o)
{
    struct rm m = rm_cpu((size_t)o->imm);
    if (o->op == IR_LD_STATE) {
        bool partial = o->size < 4 && o->dst.kind == IR_GPR;
        unsigned r = dst_reg(g, &o->dst);
        if (o->size < 4 && !(partial && !is_scratch(r))) {
            as_full(&g->a, M_0F | (o->size == 1 ? 0xb6 : 0xb7), 4, r, false, &m, false);
        } else {
            as_mov(&g->a, o->size, r, m);
        }
        finish(g, &o->dst, r, o->size);
    } else if (is_const(&o->a) && (o->size < 8 || fits32(o->a.value))) {
        as_mov_imm(&g->a, o->size, m, o->a.value);
    } else {
        as_mov_to(&g->a, o->size, m, to_reg(g, &o->a, o->size));
    }
}

/* ---- the pass ---- */

static void gen_op(struct gen *g, const struct ir_op *o)
{
    switch (o->op) {
    case IR_NOP:
        break;
    case IR_INSN:
        g->pc = (uint64_t)o->imm;
        break;
    case IR_MOV:
        gen_mov(g, o);
        break;
    case IR_SETCC:
        gen_setcc(g, o);
        break;
    case IR_F_GET:
        gen_f_get(g, o);
        break;
    case IR_F_SET:
        gen_f_set(g, o);
        break;
    case IR_CLC:
    case IR_STC:
    case IR_CMC:
        gen_carry(g, o);
        break;
    case IR_LEA:
    case IR_LINEAR:
        gen_lea(g, o);
        break;
    case IR_LD:
    case IR_LDZX:
    case IR_LDSX:
    case IR_ST:
    case IR_LDST_PROBE:
        gen_mem(g, o);
        break;
    case IR_A_RMW:
    case IR_A_XCHG:
    case IR_A_CMPXCHG:
        gen_atomic(g, o);
        break;
    case IR_FENCE:
        as_byte(&g->a, 0x0f); /* mfence */
        as_byte(&g->a, 0xae);
        as_byte(&g->a, 0xf0);
        break;
    case IR_LD_STATE:
    case IR_ST_STATE:
        gen_state(g, o);
        break;
    case IR_CALL:
        gen_call(g, o);
        break;
    case IR_NATIVE:
        gen_native(g, o);
        break;
    default:
        if (ir_is_terminator(o)) {
            gen_exit(g, o);
        } else {
            gen_alu(g, o);
        }
    }
}

static void count_uses(struct gen *g)
{
    for (unsigned i = 0; i < g->ir->temps; i++) {
        g->temp[i] = (struct temp){ .where = T_NONE };
    }
    for (unsigned i = 0; i < g->ir->n; i++) {
        struct ir_arg *use[5];
        for (unsigned k = 0, n = ir_uses(&g->ir->op[i], use); k < n; k++) {
            if (use[k]->kind == IR_TEMP) {
                g->temp[use[k]->num].uses++;
                g->temp[use[k]->num].last = (uint16_t)i;
            }
        }
    }
}

static void begin(struct gen *g, struct block *b, struct ir_block *ir)
{
    struct tcg_cache *c = &g->t->cache;
    g->b = b;
    g->ir = ir;
    g->a = (struct as){ .p = c->rw + c->used, .end = c->rw + c->bytes, .rx = c->rx - c->rw };
    while ((uintptr_t)g->a.p & 15) {
        as_byte(&g->a, 0xcc);
    }
    g->start = as_here(&g->a);
    for (unsigned i = 0; i < 16; i++) {
        g->owner[i] = FREE;
        g->cached[i & 3] = (struct cached){ NO_REG, false };
    }
    g->slots = g->busy = 0;
    g->slows = g->sites = 0;
    g->f_host = g->x87_in = g->vec_in = g->by_c = false;
    g->f_mem = true;
    g->pc = ir->pc;
    memset(g->stub, 0, sizeof(g->stub));
    memset(g->far_stub, 0, sizeof(g->far_stub));
    g->return_cell = NULL;
    count_uses(g);
    group_accesses(g);
    flags_liveness(g);
}

static void one_op(struct gen *g)
{
    struct ir_op *o = &g->ir->op[g->at];
    g->busy = 0;
    unsigned taken = gen_rmw(g);
    if (taken) {
        g->at += taken - 1;
        return;
    }
    gen_op(g, o);
    consume(g, &o->a);
    consume(g, &o->b);
    consume(g, &o->c);
}

static void show(struct gen *g, const uint8_t *code, size_t len)
{
    FILE *out = g->t->opt.dump_to ? g->t->opt.dump_to : stderr;
    uint64_t rx = (uint64_t)(uintptr_t)(code + g->a.rx);
    fprintf(out, "OUT: %zu bytes at 0x%llx\n", len, (unsigned long long)rx);
    if (g->t->target->host_disas) {
        g->t->target->host_disas(out, rx, code, (unsigned)len);
    } else {
        for (size_t i = 0; i < len; i++) {
            fprintf(out, "%02x%s", code[i], i % 32 == 31 || i + 1 == len ? "\n" : "");
        }
    }
    fputc('\n', out);
}

/* Most blocks run their vector instructions themselves: what described them is not needed any more. */
static void drop_natives(struct gen *g)
{
    struct block_more *m = g->b->more;
    if (m && !g->by_c) {
        free(m->native);
        m->native = NULL;
    }
    if (m && !m->native && !g->sites && m->phys2 == UINT64_MAX) {
        free(m);
        g->b->more = NULL;
    }
}

static bool keep(struct gen *g, const uint8_t *code)
{
    struct tcg *t = g->t;
    struct block *b = g->b;
    size_t len = (size_t)(g->a.p - code);
    b->tb.code = code + g->a.rx;
    b->tb.code_len = (uint32_t)len;
    b->vec_out = g->vec_in;
    t->cache.used = (size_t)(g->a.p - t->cache.rw);
    drop_natives(g);
    if (g->sites) {
        struct block_more *m = block_more(b);
        m->site = xcalloc(g->sites, sizeof(*m->site));
        memcpy(m->site, g->site, g->sites * sizeof(*m->site));
        m->sites = g->sites;
    }
    if (t->opt.dump & TCG_DUMP_OUT && tcg_shows(t, b->tb.key.pc)) {
        show(g, code, len);
    }
    if (t->perf_map) {
        fprintf(t->perf_map, "%llx %zx guest_%llx\n", (unsigned long long)(uintptr_t)b->tb.code,
                len, (unsigned long long)b->tb.key.pc);
        fflush(t->perf_map);
    }
    return true;
}

static void copy_natives(struct block *b, struct ir_block *ir)
{
    if (!ir->natives) {
        return;
    }
    struct block_more *m = block_more(b);
    m->native = xcalloc(ir->natives, sizeof(*m->native));
    memcpy(m->native, ir->native, ir->natives * sizeof(*m->native));
    for (unsigned i = 0; i < ir->n; i++) {
        if (ir->op[i].op == IR_NATIVE) {
            ir->op[i].native = &m->native[ir->op[i].native - ir->native];
        }
    }
}

bool jit_compile(struct tcg *t, struct block *b, struct ir_block *ir, const uint64_t *gpr)
{
    struct gen *g = t->jit->gen;
    size_t room = (size_t)ir->n * ROOM_PER_OP + 4096;
    if (t->cache.end - t->cache.used < room) {
        return false;
    }
    copy_natives(b, ir);
    cache_grow(&t->cache, room);
    g->entry = gpr;
    begin(g, b, ir);
    uint8_t *code = g->a.p;
    if (b->tb.key.cflags & TB_ICOUNT) {
        icount_code(g);
    }
    vec_at_start(g);
    for (g->at = 0; g->at < ir->n; g->at++) {
        one_op(g);
    }
    for (unsigned i = 0; i < g->slows; i++) {
        slow_code(g, &g->slow[i]);
    }
    exit_stubs(g);
    return keep(g, code);
}
