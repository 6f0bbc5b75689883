/* SPDX-License-Identifier: MIT */
/* tcg/x86-64/exit.c - how blocks end: patched jumps, the jump cache, and the ways back to C.
 *
 * A way out to the same page of code is one jump, patched to lead to the next block once that exists.
 * Another page may be mapped elsewhere tomorrow: that goes through the jump cache, whose slot is known
 * here. Every loop has a jump that goes backwards or an indirect one: only those look for a
 * request to leave.
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

static void to_stub(struct gen *g, unsigned k, uint8_t *from)
{
    g->stub[k].from[g->stub[k].n++] = from;
}

/* A jump that block_link patches; leads to the stub until then. */
static void linked_jump(struct gen *g, unsigned k, unsigned cc, bool conditional)
{
    align_slot(g, conditional ? 2 : 1);
    uint8_t *after = conditional ? as_jcc_ahead(&g->a, cc) : as_jmp_ahead(&g->a);
    g->b->exit[k].slot = (uint32_t)(after - 4 + g->a.rx - g->start);
    to_stub(g, k, after);
}

static bool backward(const struct gen *g, unsigned k)
{
    return g->b->exit[k].pc <= g->b->tb.key.pc;
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
        to_stub(g, k, as_jmp_ahead(&g->a));
        return;
    }
    if (backward(g, k)) {
        to_stub(g, k, as_jcc_ahead(&g->a, CC_NE));
    }
    size_t entry = jc_off(g) + jc_slot(l->pc) * sizeof(struct tcg_jc_entry);
    as_const(&g->a, R14, l->pc);
    as_alu(&g->a, ALU_CMP, 8, R14, rm_cpu(entry));
    to_stub(g, k, as_jcc_ahead(&g->a, CC_NE));
    as_rm(&g->a, 0xff, 4, 4, rm_cpu(entry + 8)); /* jmp */
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
    ask_request(g);
    as_jcc(&g->a, CC_NE, g->jit->leave_pc);
    shift_right(g, R15, R14, JC_BITS); /* jc_slot */
    as_alu(&g->a, ALU_XOR, 4, R15, rm_reg(R14));
    as_alu_imm(&g->a, ALU_AND, 4, rm_reg(R15), JC_SIZE - 1);
    as_digit(&g->a, 0xc0, 4, 4, rm_reg(R15)); /* shl */
    as_byte(&g->a, 4);
    struct rm entry = rm_sum(SP, R15, 1, (int32_t)jc_off(g));
    if (o->imm == IR_JMP_MODE) {
        as_alu(&g->a, ALU_ADD, 8, R15, rm_cpu(CPU(jc)));
        entry = rm_at(R15, 0);
    }
    as_alu(&g->a, ALU_CMP, 8, R14, entry);
    as_jcc(&g->a, CC_NE, g->jit->leave_pc);
    entry.disp += 8;
    as_rm(&g->a, 0xff, 4, 4, entry); /* jmp */
}

void gen_exit(struct gen *g, const struct ir_op *o)
{
    flags_to_mem(g, g->live[g->at]);
    cache_write_back(g);
    switch (o->op) {
    case IR_GOTO:
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

void exit_stubs(struct gen *g)
{
    for (unsigned k = 0; k < 2; k++) {
        struct exit_stub *s = &g->stub[k];
        if (!s->n) {
            continue;
        }
        for (unsigned i = 0; i < s->n; i++) {
            as_land(&g->a, s->from[i]);
        }
        g->b->exit[k].stub = (uint32_t)(as_here(&g->a) - g->start) & 0x3fffffff;
        as_const(&g->a, R12, (uint64_t)(uintptr_t)&g->b->exit[k]);
        as_jmp(&g->a, g->jit->leave_link);
    }
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

void jit_patch(struct tcg *t, struct tcg_link *l, const uint8_t *target)
{
    const uint8_t *slot = (const uint8_t *)link_from(l)->tb.code + l->slot;
    __atomic_store_n((uint32_t *)(void *)cache_rw(&t->cache, slot), (uint32_t)(target - slot - 4),
                     __ATOMIC_RELEASE);
}
