/* SPDX-License-Identifier: MIT */
/* tcg/x86-64/mem.c - guest memory: loads, stores, what does both, and the misses of their look-ups.
 *
 * A miss is handled behind the block: C code does the access with all state saved, by way of cpu->bounce,
 * and the block goes on with its registers pointing there.
 */
#include "tcg/eval.h"
#include "tcg/x86-64/gen.h"

#define CPU(field) offsetof(struct tcg_cpu, field)

/* ---- loads and stores ---- */

/* The register that all operands of its group are beside, if they are, as a bit. */
static uint16_t beside(const struct gen *g, const struct ir_op *o)
{
    unsigned group = g->place[g->at].group;
    bool any = group != NO_GROUP && g->group[group].base != NO_REG;
    return any ? (uint16_t)(1u << o->mem.base.num) : 0;
}

/* The only use is close and may take the operand from memory. */
static bool may_stay_in_memory(const struct gen *g, const struct ir_op *o)
{
    if (o->op != IR_LD || o->dst.kind != IR_TEMP || g->temp[o->dst.num].uses != 1) {
        return false;
    }
    unsigned last = g->temp[o->dst.num].last;
    uint16_t written = ir_gprs_written(&g->ir->op[last]);
    for (unsigned i = g->at + 1; i < last; i++) {
        const struct ir_op *p = &g->ir->op[i];
        if (p->op != IR_NOP && p->op != IR_INSN && !ir_is_pure(p->op)) {
            return false;
        }
        written |= ir_gprs_written(p);
    }
    return !(written & beside(g, o)) &&
           (ir_is_pure(g->ir->op[last].op) || g->ir->op[last].op == IR_CMOV);
}

static bool takes_one_register(const struct ir_arg *a)
{
    return (a->kind == IR_GPR && !a->high) || (is_const(a) && fits32(a->value));
}

/* Beside two registers for one operand the operation needs one at most. */
static bool may_take_two(const struct ir_op *o, unsigned load)
{
    const struct ir_arg *other = o->a.kind == IR_TEMP && o->a.num == load ? &o->b : &o->a;
    bool plain =
        o->op == IR_ADD || o->op == IR_SUB || o->op == IR_AND || o->op == IR_OR || o->op == IR_XOR;
    return plain && takes_one_register(other) && !o->dst.high;
}

/* Leaves a load to the operation that uses it. */
static bool leave_in_memory(struct gen *g, const struct ir_op *o, struct rm m, const struct slow *s)
{
    struct temp *t = &g->temp[o->dst.num];
    if (!may_stay_in_memory(g, o) || g->place[g->at].indexed) {
        return false;
    }
    if (s && s->less && !(is_ours(g, s->addr) && may_take_two(&g->ir->op[t->last], o->dst.num))) {
        return false;
    }
    if (s) {
        bind_temp(g, &o->dst, s->to);
        t->where = T_LAZY;
        t->base = s->less ? s->addr : NO_REG;
        if (s->less) {
            g->owner[s->addr] = g->owner[s->to];
        }
    } else {
        t->where = T_GROUPED;
        t->reg = g->place[g->at].group;
    }
    t->disp = m.disp;
    t->size = o->size;
    return true;
}

static void load_code(struct gen *g, const struct ir_op *o, unsigned from, unsigned d, struct rm m)
{
    bool home = !is_scratch(d);
    if (o->op == IR_LD && o->size >= 4) {
        as_mov(&g->a, o->size, d, m);
    } else if (o->op == IR_LD && home) {
        as_mov(&g->a, o->size, d, m);
    } else if (from == 4) { /* to 8 */
        as_rm(&g->a, o->op == IR_LDSX ? 0x63 : 0x8b, o->op == IR_LDSX ? 8 : 4, d, m);
    } else if (from == o->size && home) {
        as_mov(&g->a, o->size, d, m);
    } else if (from == 8) {
        as_mov(&g->a, 8, d, m);
    } else {
        bool sign = o->op == IR_LDSX;
        unsigned op = M_0F | (sign ? 0xbe : 0xb6) | (from == 2 ? 1 : 0);
        unsigned size = o->op == IR_LD ? 4 : sign || o->size == 2 ? o->size : 4;
        as_full(&g->a, op, size, d, false, &m, false);
    }
}

static void load(struct gen *g, const struct ir_op *o)
{
    unsigned from = o->op == IR_LD ? o->size : (unsigned)o->imm;
    struct slow *s;
    struct rm m = operand(g, &o->mem, from, o->mem.flags & IR_MEM_RMW, SLOW_LOAD, &s);
    if (leave_in_memory(g, o, m, s)) {
        return;
    }
    operand_done(g);
    let_go(g, m.reg); /* may be the destination: the load reads it first */
    if (m.index != NO_REG) {
        let_go(g, m.index);
    }
    unsigned d = dst_reg(g, &o->dst);
    load_code(g, o, from, d, m);
    finish(g, &o->dst, d, o->size);
}

static void store_code(struct gen *g, unsigned size, struct rm m, const struct src *src)
{
    if (src->is_const) {
        as_mov_imm(&g->a, size, m, src->value);
    } else {
        as_mov_to(&g->a, size, m, src->reg);
    }
}

static void store(struct gen *g, const struct ir_op *o)
{
    struct src src = src_of(g, &o->a, o->size);
    struct slow *s;
    struct rm m = operand(g, &o->mem, o->size, true, SLOW_STORE, &s);
    store_code(g, o->size, m, &src);
    operand_done(g);
    if (s) {
        s->src = src;
        s->done = g->a.p;
    }
}

void gen_mem(struct gen *g, const struct ir_op *o)
{
    if (!follows(g)) {
        flags_clobber(g, flags_live_before(g, o));
    }
    struct slow *s;
    if (o->op == IR_ST) {
        store(g, o);
    } else if (o->op == IR_LDST_PROBE) {
        operand(g, &o->mem, o->size, true, SLOW_PROBE, &s);
        operand_done(g);
    } else {
        load(g, o);
    }
}

/* ---- read, modify, write ---- */

static unsigned skip_nops(const struct gen *g, unsigned i)
{
    while (i < g->ir->n && g->ir->op[i].op == IR_NOP) {
        i++;
    }
    return i;
}

static bool same_arg(const struct ir_arg *a, const struct ir_arg *b)
{
    return a->kind == b->kind && a->num == b->num;
}

static bool same_place(const struct ir_mem *a, const struct ir_mem *b)
{
    return same_arg(&a->base, &b->base) && same_arg(&a->index, &b->index) && a->disp == b->disp &&
           (a->index.kind == IR_NONE || a->scale == b->scale) && a->seg == b->seg &&
           a->addr_size == b->addr_size && a->lin32 == b->lin32;
}

static bool only_use(const struct gen *g, const struct ir_arg *a)
{
    return a->kind == IR_TEMP && g->temp[a->num].uses == 1;
}

bool rmw_shape(const struct gen *g, unsigned at, unsigned *op_at, unsigned *st_at)
{
    const struct ir_op *ld = &g->ir->op[at];
    if (ld->op != IR_LD || !(ld->mem.flags & IR_MEM_RMW) || !only_use(g, &ld->dst)) {
        return false;
    }
    unsigned i = skip_nops(g, at + 1), k = skip_nops(g, i + 1);
    if (k >= g->ir->n) {
        return false;
    }
    *op_at = i;
    *st_at = k;
    const struct ir_op *op = &g->ir->op[i], *st = &g->ir->op[k];
    return rmw_fits(op) && same_arg(&op->a, &ld->dst) && only_use(g, &op->dst) && st->op == IR_ST &&
           same_arg(&st->a, &op->dst) && same_place(&ld->mem, &st->mem) && op->size == ld->size &&
           st->size == ld->size && !(op->b.kind == IR_TEMP && op->b.num == ld->dst.num);
}

unsigned gen_rmw(struct gen *g)
{
    unsigned first = g->at, i, k;
    if (!rmw_shape(g, first, &i, &k)) {
        return 0;
    }
    const struct ir_op *ld = &g->ir->op[first], *op = &g->ir->op[i], *st = &g->ir->op[k];
    if (!follows(g)) {
        flags_clobber(g, flags_live_before(g, ld));
    }
    struct src src = src_of(g, &op->b, op->size);
    struct slow *s;
    struct rm m = operand(g, &ld->mem, ld->size, true, SLOW_RMW, &s);
    g->at = i; /* liveness of the operation itself */
    if (s) {
        s->op = op;
        s->src = src;
        s->need = flags_wanted_before(g, op);
    }
    flags_before(g, op);
    rmw_code(g, op, m, &src, false);
    if (s) {
        s->done = g->a.p;
    }
    flags_written(g, op);
    consume(g, &ld->dst);
    consume(g, &op->dst);
    consume(g, &op->b);
    consume(g, &st->mem.base);
    consume(g, &st->mem.index);
    g->at = first;
    operand_done(g);
    return k - first + 1;
}

/* ---- misses ---- */

void set_pc_code(struct gen *g, uint64_t pc, unsigned reg)
{
    struct rm m = rm_cpu(CPU(pc));
    if (fits32((int64_t)pc)) {
        as_mov_imm(&g->a, 8, m, (int64_t)pc);
    } else {
        as_const(&g->a, reg, pc);
        as_mov_to(&g->a, 8, m, reg);
    }
}

/* Address, what and RIP to where C looks; the index register is free afterwards. */
static void slow_entry(struct gen *g, const struct slow *s, int64_t what)
{
    missed_address(g, s);
    as_mov_to(&g->a, 8, rm_cpu(CPU(slow_addr)), s->addr);
    as_mov_imm(&g->a, 4, rm_cpu(CPU(slow_size)), what);
    set_pc_code(g, s->pc, s->index);
    for (unsigned i = 0; i < 4; i++) {
        if (s->dirty[i] != NO_REG) {
            as_mov_to(&g->a, 8, rm_cpu(gpr_off(12 + i)), s->dirty[i]);
        }
    }
}

static void call_thunk(struct gen *g, enum thunk t)
{
    as_call(&g->a, g->jit->thunk[t]);
}

static void back_to(struct gen *g, const uint8_t *p)
{
    as_jmp(&g->a, p + g->a.rx);
}

void slow_code(struct gen *g, struct slow *s)
{
    as_land(&g->a, s->from);
    if (s->kind == SLOW_VEC) {
        as_call(&g->a, g->jit->vec_in);
        back_to(g, s->done);
        return;
    }
    if (s->kind == SLOW_X87) {
        as_mov_to(&g->a, 8, rm_cpu(spill_off(SAVE_SLOT)), R14);
        set_pc_code(g, s->pc, R14);
        as_mov(&g->a, 8, R14, rm_cpu(spill_off(SAVE_SLOT)));
        call_thunk(g, TH_X87_IN);
        back_to(g, s->done);
        return;
    }
    if (s->kind == SLOW_APART) {
        slow_entry(g, s, s->size | (s->write ? PLAIN_WRITE : 0) | (s->align ? PLAIN_ALIGNED : 0));
        as_call(&g->a, g->jit->plain[g->b->tb.key.mode]);
        as_mov(&g->a, 8, s->to, rm_cpu(CPU(arg)));
        as_found(g, s);
        back_to(g, s->resume);
        return;
    }
    slow_entry(g, s, s->size);
    if (s->align) {
        as_digit(&g->a, 0xf6, 1, 0, rm_reg(s->addr)); /* test */
        as_byte(&g->a, s->size - 1u);
        uint8_t *ok = as_jcc_ahead(&g->a, CC_E);
        call_thunk(g, TH_UNALIGNED);
        as_land(&g->a, ok);
    }
    switch (s->kind) {
    case SLOW_LOAD:
        call_thunk(g, s->write ? TH_RMW_LOAD : TH_LOAD);
        point_at_bounce(g, s);
        back_to(g, s->resume);
        break;
    case SLOW_STORE:
        store_code(g, s->size, rm_cpu(CPU(bounce)), &s->src);
        call_thunk(g, TH_STORE);
        back_to(g, s->done);
        break;
    case SLOW_RMW:
        call_thunk(g, TH_RMW_LOAD);
        point_at_bounce(g, s);
        if (s->need) {
            flags_restore_code(&g->a);
        }
        rmw_code(g, s->op, found(s), &s->src, false);
        call_thunk(g, TH_STORE); /* keeps EFLAGS */
        back_to(g, s->done);
        break;
    case SLOW_PROBE:
        call_thunk(g, TH_PROBE);
        back_to(g, s->resume);
        break;
    case SLOW_NATIVE:
        native_slow(g, s);
        break;
    default:
        atomic_slow(g, s);
    }
}
