/* SPDX-License-Identifier: MIT */
/* tcg/x86-64/mem.c - guest memory: addresses, the inline look-up in the soft TLB, and its misses.
 *
 *     lea   A, [base + index * scale + disp]     not for [base] alone
 *     rorx  I, A, 12                    slot of the page: in one step by BEXTR where that is quick
 *     and   I, slots
 *     mov   H, [cpu + I * 8 + to_host]
 *     mov   I, [cpu + I * 8 + tag]
 *     xor   I, A                        the offset in the page, if the page is the slot's
 *     cmp   I, 4096 - size              above: another page, or the access crosses into the next
 *     ja    miss
 *
 * Then [A + H] is the operand, for any instruction. The check stands beside the way from an address to what
 * is there, which is what a chain of pointers waits for. Where H is one register too many, A is changed by
 * the tag, looked at, and changed back before to_host is added to it.
 * An address that is known now (a variable of a program that is not moved, or beside RIP) has its slot
 * known, too:
 *
 *     cmp   [cpu + slot + tag], page
 *     jne   miss
 *     mov   H, [cpu + slot + to_host]   the operand is [H + address]
 *
 * An operand that must be aligned is tested for that and for being in the page by one TEST. A miss is
 * handled behind the block: C code does the access with all state saved, by way of cpu->bounce, and the
 * block goes on with its registers pointing there.
 */
#include "tcg/eval.h"
#include "tcg/x86-64/gen.h"

#define CPU(field) offsetof(struct tcg_cpu, field)

/* ---- addresses ---- */

/* Operands of an address, in registers; those that were only needed for it are free again. */
struct parts {
    unsigned base, index;
};

static unsigned part(struct gen *g, const struct ir_arg *a)
{
    return a->kind == IR_NONE ? NO_REG : to_reg(g, a, 8);
}

/* held: registers that the operation holds for something else as well, as what it stores */
static void part_done(struct gen *g, const struct ir_arg *a, unsigned reg, uint16_t held)
{
    consume(g, a);
    if (is_scratch(reg) && !(held >> reg & 1)) {
        let_go(g, reg);
    }
}

/* base + index * scale + disp into `to`, cut to the address size; flags stay. */
static void sum_code(struct gen *g, const struct ir_mem *m, struct parts p, unsigned to)
{
    unsigned size = m->addr_size == 8 ? 8 : 4;
    int64_t disp = m->addr_size == 8 ? m->disp : (int32_t)m->disp;
    if (p.base == NO_REG && p.index == NO_REG) {
        as_const(&g->a, to, size == 8 ? (uint64_t)disp : (uint32_t)disp);
    } else if (!fits32(disp)) { /* only a constant base makes this: rare */
        size_t save = spill_off(SAVE_SLOT);
        as_lea(&g->a, 8, to, rm_sum(p.base, p.index, m->scale, 0));
        as_mov_to(&g->a, 8, rm_cpu(save), to);
        as_const(&g->a, to, (uint64_t)disp);
        as_mov_to(&g->a, 8, rm_cpu(save + 8), AX);
        as_mov(&g->a, 8, AX, rm_cpu(save));
        as_lea(&g->a, 8, to, rm_sum(to, AX, 1, 0));
        as_mov(&g->a, 8, AX, rm_cpu(save + 8));
    } else if (p.index == NO_REG && disp == 0) {
        as_mov(&g->a, size, to, rm_reg(p.base));
    } else if (p.base == NO_REG && m->scale == 1) {
        as_lea(&g->a, size, to, rm_at(p.index, (int32_t)disp));
    } else {
        as_lea(&g->a, size, to,
               rm_sum(p.base, p.index, p.index == NO_REG ? 1 : m->scale, (int32_t)disp));
    }
    if (m->addr_size == 2) {
        as_full(&g->a, M_0F | 0xb7, 4, to, false,
                &(struct rm){ .reg = (uint8_t)to, .index = NO_REG }, false);
    }
}

static struct parts parts_of(struct gen *g, const struct ir_mem *m)
{
    struct parts p;
    p.base = part(g, &m->base);
    p.index = part(g, &m->index);
    return p;
}

/* A register for the result: one of the operands' that nobody else needs. */
static unsigned sum_reg(struct gen *g, const struct ir_mem *m, struct parts p, uint16_t held)
{
    part_done(g, &m->base, p.base, held);
    part_done(g, &m->index, p.index, held);
    return scratch(g);
}

unsigned linear_address(struct gen *g, const struct ir_mem *m)
{
    uint16_t held = g->busy;
    struct parts p = parts_of(g, m);
    unsigned to = sum_reg(g, m, p, held);
    /* `to` may be one of the parts: the sum reads them before it writes */
    sum_code(g, m, p, to);
    if (m->seg >= 0) {
        as_alu(&g->a, ALU_ADD, m->lin32 ? 4 : 8, to, rm_cpu(CPU(seg_base) + (unsigned)m->seg * 8u));
    } else if (m->lin32) {
        as_mov(&g->a, 4, to, rm_reg(to));
    }
    return to;
}

void gen_lea(struct gen *g, const struct ir_op *o)
{
    const struct ir_mem *m = &o->mem;
    if (o->op == IR_LINEAR) {
        flags_clobber(g, g->live[g->at]);
        unsigned r = linear_address(g, m);
        finish(g, &o->dst, r, 8);
        return;
    }
    struct ir_mem low = *m;
    if (o->size <= 4 && m->addr_size == 8) { /* only the low half counts */
        low.addr_size = 4;
        low.disp = (int32_t)m->disp;
    }
    struct parts p = parts_of(g, m);
    unsigned d = dst_reg(g, &o->dst);
    bool narrow = o->dst.kind == IR_GPR && o->size < 4;
    if (narrow && !is_scratch(d)) {
        d = scratch(g); /* the other bytes of a home stay */
    }
    sum_code(g, &low, p, d);
    consume(g, &m->base);
    consume(g, &m->index);
    finish(g, &o->dst, d, o->size);
}

/* ---- the look-up ---- */

/* What of the soft TLB a look-up reads. */
enum tlb_part { TLB_READ, TLB_WRITE, TLB_TO_HOST };
static const size_t tlb_parts[] = {
    [TLB_READ] = offsetof(struct tcg_tlb, read),
    [TLB_WRITE] = offsetof(struct tcg_tlb, write),
    [TLB_TO_HOST] = offsetof(struct tcg_tlb, to_host),
};

static enum tlb_part tag_of(bool write)
{
    return write ? TLB_WRITE : TLB_READ;
}

static size_t tlb_off(const struct gen *g, enum tlb_part part)
{
    return CPU(tlbs) + g->b->tb.key.mode * sizeof(struct tcg_tlb) + tlb_parts[part];
}

static struct rm tlb_rm(const struct gen *g, unsigned index, enum tlb_part part)
{
    return rm_sum(SP, index, sizeof(uint64_t), (int32_t)tlb_off(g, part));
}

static struct rm tlb_rm_known(const struct gen *g, uint64_t linear, enum tlb_part part)
{
    return rm_cpu(tlb_off(g, part) + tcg_tlb_slot(linear) * sizeof(uint64_t));
}

static void shift_right(struct gen *g, unsigned to, unsigned from, unsigned by)
{
    if (g->jit->has.bmi2) { /* rorx: what comes in above is cut off by who asks */
        as_vex(&g->a, P_F2 | M_0F3A | 0xf0, true, false, to, 0,
               &(struct rm){ .reg = (uint8_t)from, .index = NO_REG });
    } else {
        as_mov(&g->a, 8, to, rm_reg(from));
        as_digit(&g->a, 0xc0, 8, 5, rm_reg(to));
    }
    as_byte(&g->a, by);
}

static void slot_code(struct gen *g, unsigned index, unsigned addr)
{
    if (g->jit->has.quick_bextr) {
        as_const(&g->a, index, 12 | TLB_BITS << 8);
        as_vex(&g->a, M_0F38 | 0xf7, true, false, index, index,
               &(struct rm){ .reg = (uint8_t)addr, .index = NO_REG });
        return;
    }
    shift_right(g, index, addr, 12);
    as_alu_imm(&g->a, ALU_AND, 4, rm_reg(index), TLB_SIZE - 1);
}

static struct slow *new_slow(struct gen *g, enum slow_kind kind)
{
    struct slow *s = &g->slow[g->slows++];
    *s = (struct slow){ .kind = (uint8_t)kind, .pc = g->pc, .op = &g->ir->op[g->at] };
    cache_note_dirty(g, s->dirty);
    return s;
}

/* The operand's page must be the slot's: tests what TAG ^ address left in reg. */
static void in_page(struct gen *g, struct slow *s, unsigned reg)
{
    if (s->align) {
        as_digit(&g->a, 0xf6, 8, 0, rm_reg(reg)); /* test */
        as_imm(&g->a, 8, ~(0xfffll & ~(int64_t)(s->size - 1)));
        s->from = as_jcc_ahead(&g->a, CC_NE);
    } else {
        as_alu_imm(&g->a, ALU_CMP, 8, rm_reg(reg), 4096 - (int64_t)s->size);
        s->from = as_jcc_ahead(&g->a, CC_A);
    }
}

/* reg is a scratch register that holds nothing else. */
static bool is_ours(const struct gen *g, unsigned reg)
{
    return is_scratch(reg) && g->owner[reg] == FREE;
}

/* [A + H] */
static void look_beside(struct gen *g, struct slow *s)
{
    slot_code(g, s->index, s->addr);
    as_mov(&g->a, 8, s->to, tlb_rm(g, s->index, TLB_TO_HOST));
    as_mov(&g->a, 8, s->index, tlb_rm(g, s->index, tag_of(s->write)));
    as_alu(&g->a, ALU_XOR, 8, s->index, rm_reg(s->addr));
    in_page(g, s, s->index);
}

/* [A], which is a register of ours */
static void look_within(struct gen *g, struct slow *s)
{
    struct rm tag = tlb_rm(g, s->index, tag_of(s->write));
    slot_code(g, s->index, s->addr);
    as_alu(&g->a, ALU_XOR, 8, s->addr, tag);
    in_page(g, s, s->addr);
    as_alu(&g->a, ALU_XOR, 8, s->addr, tag);
    as_alu(&g->a, ALU_ADD, 8, s->addr, tlb_rm(g, s->index, TLB_TO_HOST));
}

/* The operand's address as it stands in a register, which is not always ours, or in one of ours. */
static unsigned address(struct gen *g, const struct ir_mem *m)
{
    bool bare = m->base.kind != IR_NONE && m->index.kind == IR_NONE && m->disp == 0 &&
                m->addr_size == 8 && m->seg < 0 && !m->lin32;
    if (!bare) {
        return linear_address(g, m);
    }
    unsigned addr = part(g, &m->base);
    consume(g, &m->base);
    return addr;
}

static unsigned own_copy(struct gen *g, unsigned reg)
{
    if (is_ours(g, reg)) {
        return reg;
    }
    unsigned to = scratch(g);
    as_mov(&g->a, 8, to, rm_reg(reg));
    let_go(g, reg);
    return to;
}

static struct slow *look_up(struct gen *g, const struct ir_mem *m, unsigned size, bool write,
                            enum slow_kind kind)
{
    unsigned addr = address(g, m);
    bool beside = scratch_spare(g) >= 2;
    addr = beside ? addr : own_copy(g, addr);
    unsigned index = scratch(g), to = beside ? scratch(g) : addr;
    struct slow *s =
        new_slow(g, g->place[g->at].apart ? SLOW_APART : kind); /* all have registers */
    s->addr = (uint8_t)addr;
    s->index = (uint8_t)index;
    s->to = (uint8_t)to;
    s->less = beside;
    s->slot = !beside;
    s->size = (uint16_t)size;
    s->write = write;
    s->align = m->flags & IR_MEM_ALIGN;
    (beside ? look_beside : look_within)(g, s);
    s->resume = g->a.p;
    let_go(g, index);
    return s;
}

/* One register that points at the operand, and no other. */
static void one_pointer(struct gen *g, struct slow *s)
{
    if (!s->less) {
        return;
    }
    unsigned other = s->addr;
    if (is_ours(g, s->addr)) {
        other = s->to;
        s->to = s->addr;
    }
    as_alu(&g->a, ALU_ADD, 8, s->to, rm_reg(other));
    let_go(g, other);
    s->less = false;
    s->resume = g->a.p;
}

struct slow *probe(struct gen *g, const struct ir_mem *m, unsigned size, bool write,
                   enum slow_kind kind)
{
    struct slow *s = look_up(g, m, size, write, kind);
    one_pointer(g, s);
    return s;
}

struct rm found(const struct slow *s)
{
    return s->less ? rm_sum(s->addr, s->to, 1, s->off) : rm_at(s->to, s->off);
}

static bool known_address(const struct ir_mem *m, unsigned size, uint64_t *at)
{
    uint64_t sum = (uint64_t)m->disp;
    *at = m->addr_size == 8 ? sum : m->addr_size == 4 ? (uint32_t)sum : (uint16_t)sum;
    return m->base.kind == IR_NONE && m->index.kind == IR_NONE && m->seg < 0 &&
           !(m->flags & IR_MEM_ALIGN) && (*at & 0xfff) + size <= 4096;
}

static struct slow *probe_known(struct gen *g, uint64_t at, unsigned size, bool write,
                                enum slow_kind kind)
{
    unsigned to = scratch(g);
    int64_t page = (int64_t)(at & ~0xfffull);
    bool near = fits32(page) && fits32(page + 4095);
    struct rm tag = tlb_rm_known(g, at, tag_of(write)), host = tlb_rm_known(g, at, TLB_TO_HOST);
    if (near) {
        as_alu_imm(&g->a, ALU_CMP, 8, tag, page);
    } else {
        as_const(&g->a, to, (uint64_t)page);
        as_alu(&g->a, ALU_CMP, 8, to, tag);
    }
    struct slow *s = new_slow(g, g->place[g->at].apart ? SLOW_APART : kind);
    s->from = as_jcc_ahead(&g->a, CC_NE);
    if (near) {
        as_mov(&g->a, 8, to, host);
    } else {
        as_alu(&g->a, ALU_ADD, 8, to, host);
    }
    s->size = (uint16_t)size;
    s->addr = s->index = s->to = (uint8_t)to;
    s->write = write;
    s->known = true;
    s->at = at;
    s->off = (int32_t)(near ? (int64_t)at : (int64_t)(at & 0xfff));
    s->resume = g->a.p;
    return s;
}

static struct slow *probe_any(struct gen *g, const struct ir_mem *m, unsigned size, bool write,
                              enum slow_kind kind)
{
    uint64_t at;
    return known_address(m, size, &at) ? probe_known(g, at, size, write, kind)
                                       : look_up(g, m, size, write, kind);
}

/* ---- groups ---- */

bool follows(const struct gen *g)
{
    const struct place *p = &g->place[g->at];
    return p->group != NO_GROUP && !p->first;
}

struct ir_arg pointer_of(const struct gen *g, unsigned group)
{
    return (struct ir_arg){ .kind = IR_TEMP, .num = (uint16_t)(g->ir->temps + group) };
}

void consume_pointer(struct gen *g, unsigned group)
{
    struct ir_arg pointer = pointer_of(g, group);
    consume(g, &pointer);
}

/* The first of a group asks for all its bytes. */
static void probe_group(struct gen *g, const struct ir_mem *m)
{
    const struct place *p = &g->place[g->at];
    struct group *all = &g->group[p->group];
    struct ir_mem from = *m;
    from.disp -= p->at;
    if (p->indexed) {
        from.index = ir_none();
    }
    struct slow *s = probe_any(g, &from, all->bytes, all->write, SLOW_APART);
    one_pointer(g, s);
    all->off = s->off;
    struct ir_arg pointer = pointer_of(g, p->group);
    bind_temp(g, &pointer, s->to);
}

struct rm operand(struct gen *g, const struct ir_mem *m, unsigned size, bool write,
                  enum slow_kind kind, struct slow **s)
{
    const struct place *p = &g->place[g->at];
    *s = NULL;
    if (p->group == NO_GROUP) {
        *s = probe_any(g, m, size, write, kind);
        return found(*s);
    }
    struct ir_arg pointer = pointer_of(g, p->group);
    if (p->first) {
        probe_group(g, m);
    } else {
        consume(g, &m->base);
    }
    struct rm to = rm_at(to_reg(g, &pointer, 8), g->group[p->group].off + p->at);
    if (p->indexed) {
        to.index = (uint8_t)to_reg(g, &m->index, 8);
        to.scale = m->scale;
    }
    if (p->indexed || !p->first) {
        consume(g, &m->index);
    }
    g->temp[pointer.num].last = p->next;
    return to;
}

void operand_done(struct gen *g)
{
    unsigned group = g->place[g->at].group;
    if (group != NO_GROUP) {
        consume_pointer(g, group);
    }
}

/* ---- loads and stores ---- */

/* The only use is close and may take the operand from memory. */
static bool may_stay_in_memory(const struct gen *g, const struct ir_op *o)
{
    if (o->op != IR_LD || o->dst.kind != IR_TEMP || g->temp[o->dst.num].uses != 1) {
        return false;
    }
    unsigned last = g->temp[o->dst.num].last;
    for (unsigned i = g->at + 1; i < last; i++) {
        const struct ir_op *p = &g->ir->op[i];
        if (p->op != IR_NOP && p->op != IR_INSN && !ir_is_pure(p->op)) {
            return false;
        }
    }
    return ir_is_pure(g->ir->op[last].op) || g->ir->op[last].op == IR_CMOV;
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
    if (s->known) {
        as_const(&g->a, s->addr, s->at);
    } else if (s->slot) {
        as_alu(&g->a, ALU_XOR, 8, s->addr, tlb_rm(g, s->index, tag_of(s->write)));
    }
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

/* `to` holds where the operand is: makes it what the code behind the look-up takes. */
static void as_found(struct gen *g, const struct slow *s)
{
    if (s->off) {
        as_alu_imm(&g->a, ALU_SUB, 8, rm_reg(s->to), s->off);
    }
    if (s->less) {
        as_alu(&g->a, ALU_SUB, 8, s->to, rm_reg(s->addr));
    }
}

void point_at_bounce(struct gen *g, const struct slow *s)
{
    as_lea(&g->a, 8, s->to, rm_cpu(CPU(bounce)));
    as_found(g, s);
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
        call_thunk(g, TH_PLAIN);
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
