/* SPDX-License-Identifier: MIT */
/* tcg/x86-64/flags.c - where F is: in the processor's EFLAGS, in cpu->flags, or both.
 *
 * SETC or LAHF, and SETO, move it to memory without touching it; SAHF and an addition that overflows or
 * not bring it back. A condition on flags in memory needs no bringing back, only a TEST of the right bit.
 * In memory bit 1 may be set, as LAHF leaves it, and OF may stand at bit 8, as SETO leaves it: thunks and
 * F_GET put that right. Bytes are read as they were written, one by one: a processor is slow to read a
 * word whose halves have just been stored.
 */
#include "tcg/x86-64/gen.h"

#define FLAGS offsetof(struct tcg_cpu, flags)
enum { OF_BYTE = 9 }; /* in FLAGS + 1: either of them */

/* Without the pass, flags are exact wherever the block may stop. */
static bool all_live(const struct gen *g, const struct ir_op *o)
{
    return !(g->t->opt.passes & PASS_DEADFLAGS) && ir_may_fault(o);
}

/* An instruction that stops halfway begins anew: flags that it has read are wanted until then. */
static void note_again(struct gen *g)
{
    uint16_t read = 0;
    for (unsigned i = 0; i < g->ir->n; i++) {
        const struct ir_op *o = &g->ir->op[i];
        read = o->op == IR_INSN ? 0 : read;
        g->again[i] = ir_may_fault(o) ? read : 0;
        read |= ir_flags_read(o);
    }
}

void flags_liveness(struct gen *g)
{
    uint16_t live = ir_live_at_end(g->ir);
    note_again(g);
    for (unsigned i = g->ir->n; i-- > 0;) {
        const struct ir_op *o = &g->ir->op[i];
        g->live[i] = live;
        live = (uint16_t)((live & ~ir_flags_written(o)) | ir_flags_read(o));
        live |= all_live(g, o) ? F_ALL : g->again[i];
    }
}

uint16_t flags_live_before(const struct gen *g, const struct ir_op *o)
{
    if (all_live(g, o)) {
        return F_ALL;
    }
    uint16_t behind = (uint16_t)(g->live[g->at] & ~ir_flags_written(o));
    return (uint16_t)(behind | ir_flags_read(o) | g->again[g->at]);
}

static void set_to_mem(struct as *a, unsigned cc, size_t at)
{
    as_rm(a, M_0F | 0x90 | cc, 4, 0, rm_cpu(at));
}

/* EFLAGS to cpu->flags; neither EFLAGS nor any register changes. */
static void save_code(struct gen *g, uint16_t live)
{
    struct as *a = &g->a;
    if ((live & ~F_OF) == F_CF) {
        set_to_mem(a, CC_B, FLAGS);
    } else if (live & ~F_OF) {
        unsigned s = scratch(g);
        as_mov(a, 8, s, rm_reg(AX));
        as_byte(a, 0x9f); /* lahf */
        as_mov_to(a, 1, rm_cpu(FLAGS), AX | HIGH);
        as_mov(a, 8, AX, rm_reg(s));
        let_go(g, s);
    }
    if (live & F_OF) {
        set_to_mem(a, CC_O, FLAGS + 1);
    }
}

void flags_to_mem(struct gen *g, uint16_t live)
{
    if (g->f_host && !g->f_mem && live) {
        save_code(g, live);
    }
    g->f_mem = true;
}

void flags_clobber(struct gen *g, uint16_t live)
{
    flags_to_mem(g, live);
    g->f_host = false;
}

/* AX is free: AH takes the low byte of EFLAGS, AL what is not 0 when OF. */
static void restore_by_ax(struct as *a)
{
    as_rm(a, M_0F | 0xb6, 4, AX, rm_cpu(FLAGS + 1)); /* movzx */
    as_mov(a, 1, AX | HIGH, rm_cpu(FLAGS));
    as_alu_imm(a, ALU_ADD, 1, rm_reg(AX), 0x7f);
    as_byte(a, 0x9e); /* sahf */
}

void flags_restore_code(struct as *a)
{
    size_t save = spill_off(SAVE_SLOT);
    as_mov_to(a, 8, rm_cpu(save), AX);
    restore_by_ax(a);
    as_mov(a, 8, AX, rm_cpu(save));
}

static void carry_to_host(struct gen *g)
{
    struct rm at = rm_cpu(FLAGS);
    if (scratch_free(g)) {
        unsigned s = scratch(g);
        as_rm(&g->a, M_0F | 0xb6, 4, s, at);
        at = rm_reg(s);
        let_go(g, s);
    }
    as_rm(&g->a, M_0F | 0xba, 4, 4, at); /* bt */
    as_byte(&g->a, 0);
}

void flags_to_host(struct gen *g, uint16_t need)
{
    if (g->f_host || !need) {
        return;
    }
    if (need == F_CF) {
        carry_to_host(g);
        return; /* the others are not there: f_host stays false */
    }
    if (scratch_free(g)) {
        unsigned s = scratch(g);
        as_mov(&g->a, 8, s, rm_reg(AX));
        restore_by_ax(&g->a);
        as_mov(&g->a, 8, AX, rm_reg(s));
        let_go(g, s);
    } else {
        flags_restore_code(&g->a);
    }
    g->f_host = true;
}

void flags_put_right(struct gen *g)
{
    struct rm high = rm_cpu(FLAGS + 1);
    as_alu_imm(&g->a, ALU_AND, 1, high, OF_BYTE);
    uint8_t *clear = as_jcc_ahead(&g->a, CC_E);
    as_mov_imm(&g->a, 1, high, F_OF >> 8);
    as_land(&g->a, clear);
}

/* An instruction that leaves some flags alone must find them in EFLAGS when they are wanted. */
uint16_t flags_wanted_before(const struct gen *g, const struct ir_op *o)
{
    uint16_t written = ir_flags_written(o), kept = g->live[g->at] & (uint16_t)~written;
    return o->fneed & written ? ir_flags_read(o) | kept : ir_flags_read(o);
}

void flags_before(struct gen *g, const struct ir_op *o)
{
    flags_to_host(g, flags_wanted_before(g, o));
}

void flags_written(struct gen *g, const struct ir_op *o)
{
    uint16_t written = ir_flags_written(o);
    if (o->fneed & written) {
        g->f_host = true;
        g->f_mem = false;
    } else if ((written & F_ALL) == F_ALL) {
        g->f_host = false; /* nobody wants what is there now */
    }
}

/* Condition on cpu->flags: the byte and bits to test, non-zero for the positive one. */
static const struct {
    uint8_t byte, mask;
} tests[8] = { { 1, OF_BYTE },     { 0, F_CF }, { 0, F_ZF },
               { 0, F_CF | F_ZF }, { 0, F_SF }, { 0, F_PF } };

unsigned flags_cond(struct gen *g, unsigned cond)
{
    unsigned k = cond >> 1;
    if (g->f_host) {
        return cond;
    }
    if (!tests[k].mask) {
        flags_to_host(g, F_ALL);
        return cond;
    }
    as_digit(&g->a, 0xf6, 1, 0, rm_cpu(FLAGS + tests[k].byte)); /* test */
    as_byte(&g->a, tests[k].mask);
    return cond & 1 ? CC_E : CC_NE;
}
