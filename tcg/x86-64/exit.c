/* SPDX-License-Identifier: MIT */
/* tcg/x86-64/exit.c - how blocks end: patched jumps, the jump cache, and the ways back to C.
 *
 * A way out to the same page of code is one jump, patched to lead to the next block once that exists.
 * Another page may be mapped elsewhere tomorrow: there a look at cpu->code_page comes first,
 *
 *     cmp   [cpu + code_page + slot], number    both known when the jump is linked
 *     je    block
 *     jmp   stub                                asks the jump caches
 *
 * A call notes RIP behind it and where a pointer to the code there is (cpu->ret), in a place that its
 * stack pointer chooses; RET finds it there. Other indirect jumps, and ways to a block that lies on two
 * pages, go through the jump cache. Every loop has a jump that goes backwards or an indirect one: only
 * those look for a request to leave.
 */
#include "tcg/x86-64/gen.h"

#define CPU(field) offsetof(struct tcg_cpu, field)

static void ask_request(struct gen *g)
{
    as_alu_imm(&g->a, ALU_CMP, 4, rm_cpu(CPU(exit_request)), 0);
}

/* The displacement of the next jump must not cross what a store writes at once. */
static void align_slot(struct gen *g, unsigned opcode_bytes)
{
    as_nop(&g->a, (unsigned)(-((intptr_t)g->a.p + (intptr_t)opcode_bytes) & 3));
}

static void to_stub(struct exit_stub *s, uint8_t *from)
{
    s->from[s->n++] = from;
}

/* A jump that block_link patches; leads to the stub until then. */
static void linked_jump(struct gen *g, unsigned k, unsigned cc, bool conditional)
{
    align_slot(g, conditional ? 2 : 1);
    uint8_t *after = conditional ? as_jcc_ahead(&g->a, cc) : as_jmp_ahead(&g->a);
    g->b->exit[k].slot = (uint32_t)(after - 4 + g->a.rx - g->start);
    to_stub(&g->far_stub[k], after);
}

static bool backward(const struct gen *g, unsigned k)
{
    return g->b->exit[k].pc <= g->b->tb.key.pc;
}

/* Bytes from the number that a guard compares with to the jump's slot. */
enum { GUARD_TO_SLOT = 8 };

/* To another page. */
static void guarded_jump(struct gen *g, unsigned k)
{
    const struct tb_key *key = &g->b->tb.key;
    size_t at = CPU(code_page) + key->mode * sizeof(((struct tcg_cpu *)0)->code_page[0]) +
                code_page_slot(g->b->exit[k].pc + key->cs_base) * sizeof(uint32_t);
    align_slot(g, 7);
    as_digit(&g->a, 0x80, 4, 7, rm_cpu(at)); /* cmp */
    as_imm(&g->a, 4, (int32_t)CODE_PAGE_NEVER);
    linked_jump(g, k, CC_E, true);
    to_stub(&g->far_stub[k], as_jmp_ahead(&g->a));
}

static size_t jc_off(const struct gen *g)
{
    return CPU(jcs) + g->b->tb.key.mode * sizeof(((struct tcg_cpu *)0)->jcs[0]);
}

/* The last code of a block for way out k. */
static void leave_by(struct gen *g, unsigned k)
{
    const struct tcg_link *l = &g->b->exit[k];
    if (l->same_page && !backward(g, k)) {
        linked_jump(g, k, 0, false);
        return;
    }
    if (backward(g, k)) {
        ask_request(g);
    }
    if (l->same_page) {
        linked_jump(g, k, CC_E, true);
        to_stub(&g->stub[k], as_jmp_ahead(&g->a));
        return;
    }
    if (backward(g, k)) {
        to_stub(&g->stub[k], as_jcc_ahead(&g->a, CC_NE));
    }
    guarded_jump(g, k);
}

/* A conditional jump to way out 0; 1 follows. Loops run best when their jump back comes last. */
static void two_ways(struct gen *g, unsigned cc)
{
    if (g->b->exit[0].same_page && !backward(g, 0)) {
        linked_jump(g, 0, cc, true);
        leave_by(g, 1);
    } else if (g->b->exit[1].same_page && !backward(g, 1)) {
        linked_jump(g, 1, cc ^ 1, true);
        leave_by(g, 0);
    } else {
        uint8_t *taken = as_jcc_ahead(&g->a, cc);
        leave_by(g, 1);
        as_land(&g->a, taken);
        leave_by(g, 0);
    }
}

static void branch_nonzero(struct gen *g, const struct ir_op *o)
{
    struct rm m = rm_of(g, &o->a, o->size);
    if (m.mem) {
        as_alu_imm(&g->a, ALU_CMP, o->size, m, 0);
    } else {
        as_op(&g->a, 0x84, o->size, m.reg, m); /* test */
    }
    two_ways(g, CC_NE);
}

static size_t age_off(const struct gen *g)
{
    return CPU(jc2_age) + g->b->tb.key.mode * sizeof(((struct tcg_cpu *)0)->jc2_age[0]);
}

/* A field of the entry that ret_slot chose. */
static struct rm ret_entry(const struct gen *g, size_t field)
{
    size_t mode = g->b->tb.key.mode * sizeof(((struct tcg_cpu *)0)->ret[0]);
    return rm_sum(SP, R15, 2, (int32_t)(CPU(ret) + mode + field));
}

/* R15 becomes half the offset of the entry for a stack pointer. */
static void ret_slot(struct gen *g, int64_t above)
{
    enum { HALF_ENTRY = sizeof(struct tcg_ret_entry) / 2 };
    as_lea(&g->a, 4, R15, rm_at(R13, (int32_t)above));
    as_alu_imm(&g->a, ALU_AND, 4, rm_reg(R15), (RET_SIZE - 1) * HALF_ENTRY);
}

/* A call notes where it returns to; R14 stays. pushed: bytes. */
static void note_return(struct gen *g, int64_t pushed)
{
    uint64_t pc = g->b->exit[1].pc;
    struct rm entry = ret_entry(g, offsetof(struct tcg_ret_entry, pc));
    ret_slot(g, pushed);
    if (fits32((int64_t)pc)) {
        as_mov_imm(&g->a, 8, entry, (int64_t)pc);
    } else {
        as_const(&g->a, R12, pc);
        as_mov_to(&g->a, 8, entry, R12);
    }
    as_mov(&g->a, 4, R12, rm_cpu(age_off(g)));
    as_mov_to(&g->a, 4, ret_entry(g, offsetof(struct tcg_ret_entry, age)), R12);
    as_mov_imm(&g->a, 4, ret_entry(g, offsetof(struct tcg_ret_entry, cell)), 0);
    g->return_cell = g->a.p - 4;
}

/* RET to R14: mostly where the call said that pushed it. */
static void go_back(struct gen *g)
{
    const uint8_t *unknown = g->jit->leave_return[g->b->tb.key.mode];
    ret_slot(g, 0);
    as_mov(&g->a, 4, R12, ret_entry(g, offsetof(struct tcg_ret_entry, age)));
    as_alu(&g->a, ALU_CMP, 4, R12, rm_cpu(age_off(g)));
    as_jcc(&g->a, CC_NE, unknown);
    as_alu(&g->a, ALU_CMP, 8, R14, ret_entry(g, offsetof(struct tcg_ret_entry, pc)));
    as_jcc(&g->a, CC_NE, unknown);
    as_mov(&g->a, 4, R12, ret_entry(g, offsetof(struct tcg_ret_entry, cell)));
    as_const(&g->a, R15, (uint64_t)(uintptr_t)g->t->cache.rx);
    as_rm(&g->a, 0xff, 4, 4, rm_sum(R15, R12, 1, 0)); /* jmp */
}

/* To a RIP known only now. */
static void indirect(struct gen *g, const struct ir_op *o)
{
    if (reg_of(g, &o->a) != R14) {
        load_reg(g, R14, &o->a, o->size, true);
    }
    if (o->size == 2) {
        as_full(&g->a, M_0F | 0xb7, 4, R14, false, &(struct rm){ .reg = R14, .index = NO_REG },
                false);
    } else if (o->size == 4) {
        as_mov(&g->a, 4, R14, rm_reg(R14));
    }
    if (o->imm == IR_JMP_CALL) {
        note_return(g, o->imm2);
    }
    ask_request(g);
    as_jcc(&g->a, CC_NE, g->jit->leave_pc);
    if (o->imm == IR_JMP_RET) {
        go_back(g);
        return;
    }
    jc_slot_code(&g->a, R15, R14, JC_SIZE);
    struct rm entry = rm_sum(SP, R15, 1, (int32_t)jc_off(g));
    const uint8_t *missed = g->jit->leave_missed[g->b->tb.key.mode];
    if (o->imm == IR_JMP_MODE) {
        missed = g->jit->leave_pc;
        as_alu(&g->a, ALU_ADD, 8, R15, rm_cpu(CPU(jc)));
        entry = rm_at(R15, 0);
    }
    as_alu(&g->a, ALU_CMP, 8, R14, entry);
    as_jcc(&g->a, CC_NE, missed);
    entry.disp += 8;
    as_rm(&g->a, 0xff, 4, 4, entry); /* jmp */
}

void gen_exit(struct gen *g, const struct ir_op *o)
{
    flags_to_mem(g, g->live[g->at]);
    cache_write_back(g);
    switch (o->op) {
    case IR_GOTO:
        if (o->imm == IR_JMP_CALL) {
            note_return(g, o->imm2);
        }
        leave_by(g, 0);
        break;
    case IR_BRCC:
        two_ways(g, flags_cond(g, o->cond));
        break;
    case IR_BRNZ:
        branch_nonzero(g, o);
        break;
    case IR_JMP:
        indirect(g, o);
        break;
    default:
        as_jmp(&g->a, g->jit->leave_block);
    }
}

/* Returns where it lies in the block. */
static uint32_t stub_code(struct gen *g, unsigned k, struct exit_stub *s, const uint8_t *to)
{
    uint32_t at = (uint32_t)(as_here(&g->a) - g->start);
    if (s->n) {
        for (unsigned i = 0; i < s->n; i++) {
            as_land(&g->a, s->from[i]);
        }
        as_const(&g->a, R12, (uint64_t)(uintptr_t)&g->b->exit[k]);
        as_jmp(&g->a, to);
    }
    return at;
}

static void set_stub(struct tcg_link *l, uint32_t at)
{
    assert(at >> LINK_STUB_BITS == 0);
    l->stub = at & ((1u << LINK_STUB_BITS) - 1);
}

/* A pointer to what follows the call, once that is known: until then to code that finds it. */
static void return_cell(struct gen *g)
{
    struct tcg_link *l = &g->b->exit[1];
    const uint8_t *stub = as_here(&g->a);
    as_const(&g->a, R12, (uint64_t)(uintptr_t)l);
    as_jmp(&g->a, g->jit->leave_far[g->b->tb.key.mode]);
    while ((uintptr_t)g->a.p & 7) {
        as_byte(&g->a, 0xcc);
    }
    uint32_t place = (uint32_t)(as_here(&g->a) - g->t->cache.rx);
    memcpy(g->return_cell, &place, sizeof(place));
    l->returns = 1;
    set_stub(l, (uint32_t)(stub - g->start));
    l->slot = (uint32_t)(as_here(&g->a) - g->start);
    as_u64(&g->a, (uint64_t)(uintptr_t)stub);
}

void exit_stubs(struct gen *g)
{
    for (unsigned k = 0; k < 2; k++) {
        struct tcg_link *l = &g->b->exit[k];
        stub_code(g, k, &g->stub[k], g->jit->leave_link);
        set_stub(l, stub_code(g, k, &g->far_stub[k], g->jit->leave_far[g->b->tb.key.mode]));
    }
    if (g->return_cell) {
        return_cell(g);
    }
}

_Static_assert(sizeof(struct tcg_jc_entry) == sizeof(struct tcg_jc2_entry), "reckoned alike");
void jc_slot_code(struct as *a, unsigned to, unsigned pc, size_t entries)
{
    as_lea(a, 4, to, rm_sum(pc, pc, JC_MULTIPLIER - 1, 0));
    as_alu_imm(a, ALU_AND, 4, rm_reg(to), (int64_t)((entries - 1) * sizeof(struct tcg_jc_entry)));
}

/* Counts the block's instructions before they run; leaves when they are more than are left, or somebody
 * asks: where exactly must not depend on which blocks are linked already. */
void icount_code(struct gen *g)
{
    struct rm left = rm_cpu(CPU(icount_left));
    as_alu_imm(&g->a, ALU_CMP, 4, rm_cpu(CPU(exit_request)), 0);
    uint8_t *asked = as_jcc_ahead(&g->a, CC_NE);
    as_alu_imm(&g->a, ALU_SUB, 8, left, g->b->tb.insns);
    uint8_t *ok = as_jcc_ahead(&g->a, CC_NS);
    as_alu_imm(&g->a, ALU_ADD, 8, left, g->b->tb.insns);
    as_land(&g->a, asked);
    set_pc_code(g, g->b->tb.key.pc, R14);
    as_jmp(&g->a, g->jit->leave_icount);
    as_land(&g->a, ok);
}

bool jit_guard(struct tcg *t, const struct tcg_link *l, uint32_t page)
{
    const uint8_t *slot = (const uint8_t *)link_from(l)->tb.code + l->slot;
    uint32_t *number = (uint32_t *)(void *)cache_rw(&t->cache, slot - GUARD_TO_SLOT);
    if (__atomic_load_n(number, __ATOMIC_RELAXED) == CODE_PAGE_NEVER) {
        __atomic_store_n(number, page, __ATOMIC_RELEASE);
    }
    return __atomic_load_n(number, __ATOMIC_RELAXED) == page;
}

void jit_patch(struct tcg *t, struct tcg_link *l, const uint8_t *target)
{
    const uint8_t *slot = (const uint8_t *)link_from(l)->tb.code + l->slot;
    if (l->returns) {
        __atomic_store_n((uint64_t *)(void *)cache_rw(&t->cache, slot), (uint64_t)(uintptr_t)target,
                         __ATOMIC_RELEASE);
        return;
    }
    __atomic_store_n((uint32_t *)(void *)cache_rw(&t->cache, slot), (uint32_t)(target - slot - 4),
                     __ATOMIC_RELEASE);
}
