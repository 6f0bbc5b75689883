/* SPDX-License-Identifier: MIT */
/* tcg/x86-64/lookup.c - where an operand in guest memory is: its address, and the look-up in the soft TLB.
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
 * An operand that must be aligned is tested for that and for being in the page by one TEST.
 */
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

static void slot_code(struct gen *g, unsigned index, unsigned addr)
{
    struct rm from = rm_reg(addr);
    if (g->jit->slots == TCG_SLOTS_BEXTR) {
        as_const(&g->a, index, 12 | TLB_BITS << 8);
        as_vex(&g->a, M_0F38 | 0xf7, true, false, index, index, &from);
        return;
    }
    if (g->jit->slots == TCG_SLOTS_RORX) {
        as_vex(&g->a, P_F2 | M_0F3A | 0xf0, true, false, index, 0, &from);
    } else {
        as_mov(&g->a, 8, index, from);
        as_digit(&g->a, 0xc0, 8, 5, rm_reg(index)); /* shr */
    }
    as_byte(&g->a, 12);
    as_alu_imm(&g->a, ALU_AND, 4, rm_reg(index), TLB_SIZE - 1);
}

static struct slow *new_slow(struct gen *g, enum slow_kind kind)
{
    struct slow *s = &g->slow[g->slows++];
    kind = g->place[g->at].apart ? SLOW_APART : kind;
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
    struct slow *s = new_slow(g, kind); /* all have registers */
    s->addr = (uint8_t)addr;
    s->index = (uint8_t)index;
    s->to = (uint8_t)to;
    s->less = beside;
    s->missed = beside ? MISSED_ADDR : MISSED_TAG;
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
    struct slow *s = new_slow(g, kind);
    s->from = as_jcc_ahead(&g->a, CC_NE);
    if (near) {
        as_mov(&g->a, 8, to, host);
    } else {
        as_alu(&g->a, ALU_ADD, 8, to, host);
    }
    s->size = (uint16_t)size;
    s->addr = s->index = s->to = (uint8_t)to;
    s->write = write;
    s->missed = MISSED_KNOWN;
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

struct rm grouped(struct gen *g, unsigned group, int32_t disp)
{
    struct ir_arg pointer = pointer_of(g, group);
    unsigned reg = to_reg(g, &pointer, 8), base = g->group[group].base;
    return base == NO_REG ? rm_at(reg, disp) : rm_sum(base, reg, 1, disp);
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
    if (all->base != NO_REG && s->less) {
        all->off = (int32_t)from.disp;
        let_go(g, s->addr);
    } else {
        one_pointer(g, s);
        all->base = NO_REG;
        all->off = s->off;
    }
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
    struct rm to = grouped(g, p->group, g->group[p->group].off + p->at);
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

/* ---- when it is missed ---- */

void missed_address(struct gen *g, const struct slow *s)
{
    if (s->missed == MISSED_KNOWN) {
        as_const(&g->a, s->addr, s->at);
    } else if (s->missed == MISSED_TAG) {
        as_alu(&g->a, ALU_XOR, 8, s->addr, tlb_rm(g, s->index, tag_of(s->write)));
    }
}

void as_found(struct gen *g, const struct slow *s)
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
