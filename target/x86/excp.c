/* SPDX-License-Identifier: MIT */
/* target/x86/excp.c - exceptions and interrupts: raising, and delivery through IVT and IDT.
 *
 *   helper, callback --x86_raise--> tcg_raise --> loop --> x86_deliver_raised --> frame on the stack
 *                                                              |  fault on the way
 *                                                              +--> double fault --> triple fault
 *
 * Delivery runs outside tcg_run. It pushes first and changes registers last, so that what raises on
 * the way finds the processor as the first event left it. Reference: SDM vol. 3 chapter 6.
 */
#include "target/x86/dump.h"
#include "target/x86/vcpu-int.h"
#include "target/x86/x86-int.h"

#include <setjmp.h>

struct event {
    unsigned vector;
    enum x86_soft soft;
    bool external; /* interrupt or NMI */
    bool has_code;
    uint32_t code;
    uint64_t rip; /* to return to */
    uint32_t ext; /* bit 0 of error codes raised on the way */
};

/* ---- raising ---- */

static void leave(struct x86_cpu *c) __attribute__((noreturn));
static void leave(struct x86_cpu *c)
{
    c->ends_block = false;
    if (c->outside) {
        siglongjmp(*c->outside, 1);
    }
    tcg_raise(&c->tcg);
}

void x86_raise(struct x86_cpu *c, enum x86_vector v)
{
    c->raised = (int)v;
    c->raised_soft = SOFT_NOT;
    c->raised_has_code = false;
    leave(c);
}

void x86_raise_code(struct x86_cpu *c, enum x86_vector v, uint32_t code)
{
    c->raised = (int)v;
    c->raised_soft = SOFT_NOT;
    c->raised_has_code = true;
    c->raised_code = code;
    leave(c);
}

static void raise_soft(struct x86_cpu *c, unsigned vector, enum x86_soft how, uint64_t next)
    __attribute__((noreturn));
static void raise_soft(struct x86_cpu *c, unsigned vector, enum x86_soft how, uint64_t next)
{
    c->raised = (int)vector;
    c->raised_soft = (uint8_t)how;
    c->raised_has_code = false;
    c->raised_next = next;
    leave(c);
}

void x86_raise_soft(struct x86_cpu *c, uint8_t vector, uint64_t next)
{
    raise_soft(c, vector, SOFT_INT_N, next);
}

X86_HELPER(raise, IR_H_READS | IR_H_FAULTS)
{
    (void)b, (void)cc;
    x86_raise(x86_of(t), (enum x86_vector)a);
}

X86_HELPER(raise_code, IR_H_READS | IR_H_FAULTS)
{
    (void)cc;
    x86_raise_code(x86_of(t), (enum x86_vector)a, (uint32_t)b);
}

X86_HELPER(int3, IR_H_READS | IR_H_FAULTS)
{
    (void)b, (void)cc;
    raise_soft(x86_of(t), EX_BP, SOFT_INT3, a);
}

X86_HELPER(into, IR_H_READS | IR_H_FAULTS)
{
    (void)b, (void)cc;
    raise_soft(x86_of(t), EX_OF, SOFT_INT3, a);
}

X86_HELPER(int1, IR_H_READS | IR_H_FAULTS)
{
    (void)b, (void)cc;
    raise_soft(x86_of(t), EX_DB, SOFT_INT1, a);
}

/* ---- frames ---- */

static uint32_t pushed_eflags(const struct x86_cpu *c, const struct event *e)
{
    uint32_t f = (uint32_t)x86_get_eflags(c);
    bool fault = e->soft == SOFT_NOT && !e->external && e->vector != EX_DB && e->vector != EX_DF;
    return fault ? f | EF_RF : f;
}

static void clear_flags(struct x86_cpu *c, bool interrupt_gate)
{
    c->eflags &= ~(uint32_t)(EF_TF | EF_NT | EF_RF | EF_VM | (interrupt_gate ? EF_IF : 0));
}

static void push_return(struct x86_cpu *c, const struct event *e, struct x86_stack *s)
{
    stack_push(s, pushed_eflags(c, e));
    stack_push(s, c->seg[CS].sel);
    stack_push(s, e->rip);
    if (e->has_code) {
        stack_push(s, e->code);
    }
}

/* ---- real mode ---- */

static void deliver_real(struct x86_cpu *c, const struct event *e)
{
    if (e->vector * 4 + 3 > c->idt.limit) {
        x86_raise_code(c, EX_GP, e->vector * 8 + 2 + e->ext);
    }
    uint64_t v = x86_ld_kernel(c, (uint32_t)(c->idt.base + e->vector * 4), 4);
    struct x86_stack s = x86_stack_here(c, 2);
    stack_push(&s, x86_get_eflags(c));
    stack_push(&s, c->seg[CS].sel);
    stack_push(&s, e->rip);
    stack_commit(&s);
    c->eflags &= ~(uint32_t)(EF_IF | EF_TF | EF_RF | EF_AC);
    c->seg[CS].sel = (uint16_t)(v >> 16);
    c->tcg.seg_base[CS] = (v >> 16 & 0xffff) << 4;
    c->tcg.pc = v & 0xffff;
    x86_code_changed(c);
}

/* ---- VM86: INT n that stays there (SDM vol. 3 table 20-2) ---- */

static bool redirected(struct x86_cpu *c, unsigned vector)
{
    if (!(c->cr4 & CR4_VME) || c->tr.limit < 0x67) {
        return false;
    }
    uint32_t map = (uint32_t)x86_ld_kernel(c, (uint32_t)(c->tr.base + 0x66), 2);
    if (map < 32 || map - 32 + vector / 8 > c->tr.limit) {
        return false;
    }
    uint64_t at = (uint32_t)(c->tr.base + map - 32 + vector / 8);
    return !(x86_ld_kernel(c, at, 1) >> (vector & 7) & 1);
}

static void deliver_in_vm86(struct x86_cpu *c, const struct event *e)
{
    bool iopl3 = (c->eflags & EF_IOPL) == EF_IOPL;
    uint64_t v = x86_ld(c, e->vector * 4, 4);
    uint64_t f = x86_get_eflags(c);
    if (!iopl3) {
        f = (f & ~(uint64_t)EF_IF) | EF_IOPL | (f & EF_VIF ? EF_IF : 0);
    }
    struct x86_stack s = x86_stack_here(c, 2);
    stack_push(&s, f);
    stack_push(&s, c->seg[CS].sel);
    stack_push(&s, e->rip);
    stack_commit(&s);
    c->eflags &= ~(uint32_t)(EF_TF | EF_RF | EF_NT | (iopl3 ? EF_IF : EF_VIF));
    x86_load_seg_vm86(c, CS, (uint16_t)(v >> 16));
    c->tcg.pc = v & 0xffff;
    x86_code_changed(c);
}

/* ---- protected mode ---- */

static uint32_t gate_code(const struct event *e)
{
    return e->vector * 8 + 2 + e->ext;
}

static void deliver_task(struct x86_cpu *c, const struct event *e, uint16_t sel)
{
    struct x86_desc d;
    uint32_t code = (sel & 0xfffcu) | e->ext;
    if (sel & 4 || !x86_read_desc(c, sel, &d) || desc_s(&d) || (desc_type(&d) & 7) != 1) {
        x86_raise_code(c, EX_GP, code);
    }
    if (!desc_p(&d)) {
        x86_raise_code(c, EX_NP, code);
    }
    uint32_t flags = c->eflags;
    c->eflags = pushed_eflags(c, e) & ~EFLAGS_ARITH; /* RF goes into the old TSS */
    x86_task_switch(c, sel, &d, TASK_CALL, e->rip);
    (void)flags;
    if (e->has_code) {
        struct x86_stack s = x86_stack_here(c, c->tr.flags & 8 ? 4 : 2);
        stack_push(&s, e->code);
        stack_commit(&s);
    }
}

struct idt_gate {
    uint16_t sel;
    uint64_t off;
    unsigned type, ist;
};

static void read_handler_cs(struct x86_cpu *c, const struct event *e, const struct idt_gate *g,
                            struct x86_desc *cs)
{
    uint32_t code = (g->sel & 0xfffcu) | e->ext;
    bool lma = c->efer & EFER_LMA;
    if (!(g->sel & 0xfffc)) {
        x86_raise_code(c, EX_GP, e->ext);
    }
    if (!x86_read_desc(c, g->sel, cs) || !desc_is_code(cs) || desc_dpl(cs) > x86_cpl(c)) {
        x86_raise_code(c, EX_GP, code);
    }
    if (!desc_p(cs)) {
        x86_raise_code(c, EX_NP, code);
    }
    if (lma && (cs->hi >> 21 & 3) != 1) {
        x86_raise_code(c, EX_GP, code);
    }
}

static void push_vm86_segments(struct x86_cpu *c, struct x86_stack *s)
{
    stack_push(s, c->seg[GS].sel);
    stack_push(s, c->seg[FS].sel);
    stack_push(s, c->seg[DS].sel);
    stack_push(s, c->seg[ES].sel);
}

static void null_data_segments(struct x86_cpu *c)
{
    static const uint8_t data[] = { ES, DS, FS, GS };
    for (unsigned i = 0; i < 4; i++) {
        x86_set_segment(c, data[i], 0, 0, 0, 0);
    }
}

static void to_inner(struct x86_cpu *c, const struct event *e, const struct idt_gate *g,
                     struct x86_desc *cs)
{
    unsigned dpl = desc_dpl(cs);
    bool vm = c->mode & MODE_VM86;
    struct x86_desc ss;
    uint16_t ss_sel;
    uint64_t sp;
    if (vm && dpl != 0) {
        x86_raise_code(c, EX_GP, (g->sel & 0xfffcu) | e->ext);
    }
    x86_tss_stack(c, dpl, &ss_sel, &sp);
    x86_check_ss(c, ss_sel, dpl, EX_TS, &ss);
    struct x86_stack s = { .c = c,
                           .sp = sp,
                           .base = desc_base(&ss),
                           .mode = TLB_KERNEL,
                           .mask = ss.hi & 1u << 22 ? 0xffffffffu : 0xffff,
                           .size = g->type & 8 ? 4 : 2 };
    if (vm) {
        push_vm86_segments(c, &s);
    }
    stack_push(&s, c->seg[SS].sel);
    stack_push(&s, c->tcg.gpr[RSP]);
    push_return(c, e, &s);
    check_limit(c, desc_limit(cs), g->off);
    x86_touch_desc(c, cs);
    if (vm) {
        null_data_segments(c);
    }
    x86_load_desc(c, SS, ss_sel, &ss);
    x86_load_desc(c, CS, (uint16_t)((g->sel & ~3u) | dpl), cs);
    stack_commit(&s);
}

static void to_same(struct x86_cpu *c, const struct event *e, const struct idt_gate *g,
                    struct x86_desc *cs)
{
    unsigned cpl = x86_cpl(c);
    if (c->mode & MODE_VM86) {
        x86_raise_code(c, EX_GP, (g->sel & 0xfffcu) | e->ext);
    }
    struct x86_stack s = x86_stack_here(c, g->type & 8 ? 4 : 2);
    push_return(c, e, &s);
    check_limit(c, desc_limit(cs), g->off);
    x86_touch_desc(c, cs);
    x86_load_desc(c, CS, (uint16_t)((g->sel & ~3u) | cpl), cs);
    stack_commit(&s);
}

static void deliver_protected(struct x86_cpu *c, const struct event *e)
{
    if (e->vector * 8 + 7 > c->idt.limit) {
        x86_raise_code(c, EX_GP, gate_code(e));
    }
    uint64_t v = x86_ld_kernel(c, (uint32_t)(c->idt.base + e->vector * 8), 8);
    uint32_t lo = (uint32_t)v, hi = (uint32_t)(v >> 32);
    struct idt_gate g = { .sel = (uint16_t)(lo >> 16), .type = hi >> 8 & 0x1f };
    g.off = (lo & 0xffff) | (g.type & 8 ? hi & 0xffff0000u : 0);
    if (g.type != 5 && (g.type & ~9u) != 6) {
        x86_raise_code(c, EX_GP, gate_code(e));
    }
    bool checked = e->soft == SOFT_INT_N || e->soft == SOFT_INT3;
    if (checked && (hi >> 13 & 3) < x86_cpl(c)) {
        x86_raise_code(c, EX_GP, gate_code(e));
    }
    if (!(hi & 1u << 15)) {
        x86_raise_code(c, EX_NP, gate_code(e));
    }
    if (g.type == 5) {
        deliver_task(c, e, g.sel);
        return;
    }
    struct x86_desc cs;
    read_handler_cs(c, e, &g, &cs);
    if (!(desc_type(&cs) & 4) && desc_dpl(&cs) < x86_cpl(c)) {
        to_inner(c, e, &g, &cs);
    } else {
        to_same(c, e, &g, &cs);
    }
    clear_flags(c, !(g.type & 1));
    c->tcg.pc = g.off;
    x86_code_changed(c);
}

/* ---- long mode ---- */

static uint64_t long_stack(struct x86_cpu *c, const struct event *e, const struct idt_gate *g,
                           unsigned dpl, bool inner)
{
    uint32_t at = g->ist ? 36 + (g->ist - 1) * 8 : 4 + dpl * 8;
    if (!g->ist && !inner) {
        return c->tcg.gpr[RSP];
    }
    if (at + 7 > c->tr.limit) {
        x86_raise_code(c, EX_TS, (c->tr.sel & 0xfffcu) | e->ext);
    }
    uint64_t sp = x86_ld_kernel(c, c->tr.base + at, 8);
    if (!x86_canonical(sp)) {
        x86_raise_code(c, EX_SS, e->ext);
    }
    return sp;
}

/* The frame, at once when its place is plain memory. */
static void push_long(struct x86_cpu *c, const struct event *e, struct x86_stack *s)
{
    const uint64_t v[] = { e->code,         e->rip,        c->seg[CS].sel, pushed_eflags(c, e),
                           c->tcg.gpr[RSP], c->seg[SS].sel };
    unsigned first = e->has_code ? 0 : 1, bytes = (6 - first) * 8;
    uint8_t *h = x86_plain_write(c, s->mode, s->sp - bytes, bytes);
    if (h) {
        memcpy(h, v + first, bytes);
        s->sp -= bytes;
        return;
    }
    for (unsigned i = 6; i-- > first;) {
        stack_push(s, v[i]);
    }
}

static void deliver_long(struct x86_cpu *c, const struct event *e)
{
    if (e->vector * 16 + 15 > c->idt.limit) {
        x86_raise_code(c, EX_GP, gate_code(e));
    }
    uint64_t at = c->idt.base + e->vector * 16;
    uint64_t v = x86_ld_kernel(c, at, 8);
    uint32_t lo = (uint32_t)v, hi = (uint32_t)(v >> 32);
    struct idt_gate g = { .sel = (uint16_t)(lo >> 16), .type = hi >> 8 & 0x1f, .ist = hi & 7 };
    g.off = (lo & 0xffff) | (hi & 0xffff0000u) | x86_ld_kernel(c, at + 8, 4) << 32;
    if ((g.type & ~1u) != 14) {
        x86_raise_code(c, EX_GP, gate_code(e));
    }
    bool checked = e->soft == SOFT_INT_N || e->soft == SOFT_INT3;
    if (checked && (hi >> 13 & 3) < x86_cpl(c)) {
        x86_raise_code(c, EX_GP, gate_code(e));
    }
    if (!(hi & 1u << 15)) {
        x86_raise_code(c, EX_NP, gate_code(e));
    }
    struct x86_desc cs;
    read_handler_cs(c, e, &g, &cs);
    unsigned cpl = x86_cpl(c), dpl = desc_type(&cs) & 4 ? cpl : desc_dpl(&cs);
    bool inner = dpl < cpl;
    struct x86_stack s = {
        .c = c, .mask = UINT64_MAX, .size = 8, .mode = cpl == 3 ? TLB_KERNEL : x86_data_mode(c)
    };
    if (dpl == 3) {
        s.mode = TLB_USER;
    }
    s.sp = long_stack(c, e, &g, dpl, inner) & ~0xfull;
    push_long(c, e, &s);
    if (!x86_canonical(g.off)) {
        x86_raise_code(c, EX_GP, e->ext);
    }
    x86_touch_desc(c, &cs);
    if (inner) {
        x86_set_segment(c, SS, (uint16_t)dpl, 0, UINT32_MAX, (uint16_t)(0xc093 | dpl << 5));
    }
    x86_load_desc(c, CS, (uint16_t)((g.sel & ~3u) | dpl), &cs);
    c->tcg.gpr[RSP] = s.sp;
    clear_flags(c, !(g.type & 1));
    c->tcg.pc = g.off;
    x86_code_changed(c);
}

/* ---- which way ---- */

/* -d int, in QEMU's words. */
static void tell(struct x86_cpu *c, const struct event *e)
{
    static const char *const how[] = { "", " int", " int3", " int1" };
    FILE *f = c->all->log_to;
    fprintf(f, "cpu %u: v=%02x e=%04x%s cpl=%u IP=%04x:%016llx SP=%04x:%016llx", c->index,
            e->vector, e->has_code ? e->code : 0, e->external ? " hw" : how[e->soft], x86_cpl(c),
            c->seg[CS].sel, (unsigned long long)e->rip, c->seg[SS].sel,
            (unsigned long long)c->tcg.gpr[RSP]);
    if (e->vector == EX_PF) {
        fprintf(f, " CR2=%016llx", (unsigned long long)c->cr2);
    }
    fputc('\n', f);
    x86_dump_registers(c, false, f);
}

static void deliver(struct x86_cpu *c, const struct event *e)
{
    if (c->all->log & VCPU_LOG_INT) {
        tell(c, e);
    }
    if (e->vector == EX_DB) {
        c->dr[7] &= ~(1ull << 13); /* GD */
    }
    if (!(c->mode & MODE_PE)) {
        deliver_real(c, e);
    } else if (c->efer & EFER_LMA) {
        deliver_long(c, e);
    } else if (c->mode & MODE_VM86 && e->soft == SOFT_INT_N) {
        if (redirected(c, e->vector)) {
            deliver_in_vm86(c, e);
        } else if ((c->eflags & EF_IOPL) != EF_IOPL) {
            x86_raise_code(c, EX_GP, 0);
        } else {
            deliver_protected(c, e);
        }
    } else {
        deliver_protected(c, e);
    }
}

static bool contributory(unsigned v)
{
    return v == EX_DE || (v >= EX_TS && v <= EX_GP);
}

/* second was raised while first was delivered (SDM table 6-5). False: triple fault. */
static bool combine(struct x86_cpu *c, const struct event *first, struct event *second)
{
    bool exception = !first->external && first->soft == SOFT_NOT;
    *second = (struct event){ .vector = (unsigned)c->raised,
                              .has_code = c->raised_has_code,
                              .code = c->raised_code,
                              .rip = c->tcg.pc,
                              .ext = 1 };
    if (!exception) {
        return true;
    }
    unsigned v = first->vector, w = second->vector;
    if (v == EX_DF && (contributory(w) || w == EX_PF)) {
        return false;
    }
    if ((contributory(v) && contributory(w)) || (v == EX_PF && (contributory(w) || w == EX_PF))) {
        *second = (struct event){ .vector = EX_DF, .has_code = true, .rip = c->tcg.pc, .ext = 1 };
    }
    return true;
}

static bool delivered(struct x86_cpu *c, bool ok)
{
    c->outside = NULL;
    c->raised = RAISED_NONE;
    return ok;
}

static bool deliver_all(struct x86_cpu *c, const struct event *first)
{
    struct event e = *first, *volatile now = &e;
    sigjmp_buf back;
    c->outside = &back;
    while (sigsetjmp(back, 0)) {
        struct event next;
        if (!combine(c, now, &next)) {
            return delivered(c, false);
        }
        *now = next;
        now->has_code = now->has_code && c->mode & MODE_PE;
    }
    deliver(c, now);
    return delivered(c, true);
}

bool x86_deliver_raised(struct x86_cpu *c)
{
    struct event e = { .vector = (unsigned)c->raised,
                       .soft = (enum x86_soft)c->raised_soft,
                       .has_code = c->raised_has_code && c->mode & MODE_PE,
                       .code = c->raised_code };
    e.rip = e.soft == SOFT_NOT ? c->tcg.pc : c->raised_next;
    e.ext = e.soft == SOFT_NOT || e.soft == SOFT_INT1;
    return deliver_all(c, &e);
}

bool x86_deliver_interrupt(struct x86_cpu *c, uint8_t vector)
{
    struct event e = { .vector = vector, .external = true, .rip = c->tcg.pc, .ext = 1 };
    return deliver_all(c, &e);
}

bool x86_deliver_nmi(struct x86_cpu *c)
{
    struct event e = { .vector = EX_NMI, .external = true, .rip = c->tcg.pc, .ext = 1 };
    c->nmi_blocked = true;
    return deliver_all(c, &e);
}

/* ---- INT n ---- */

enum { SOFT_FLAGS = IR_H_READS | IR_H_WRITES | IR_H_FAULTS | IR_H_F_IN };

/* Delivered on the spot where that cannot end in a task switch. What faults on the way is a fault of
 * the instruction itself, as if the loop had delivered it. */
static uint64_t int_n(struct x86_cpu *c, unsigned vector, uint64_t next)
{
    struct event e = { .vector = vector, .soft = SOFT_INT_N, .rip = next };
    if (c->eflags & EF_TF || (c->mode & (MODE_PE | MODE_LMA)) == MODE_PE) {
        raise_soft(c, vector, SOFT_INT_N, next);
    }
    c->ends_block = true;
    deliver(c, &e);
    c->ends_block = false;
    return x86_go(c, c->tcg.pc);
}

X86_HELPER(int, SOFT_FLAGS)
{
    (void)cc;
    return int_n(x86_of(t), a & 0xff, b);
}

/* ---- debug exceptions ---- */

void x86_debug_trap(struct x86_cpu *c, uint64_t dr6)
{
    if (c->outside) {
        c->db_pending |= dr6;
        return;
    }
    tcg_sync_pc(&c->tcg);
    if (!c->ends_block && c->retried_pc != c->tcg.pc) {
        c->retried_pc = c->tcg.pc;
        tcg_retry_single(&c->tcg);
    }
    c->retried_pc = UINT64_MAX;
    c->db_pending |= dr6;
    __atomic_store_n(&c->tcg.exit_request, 1, __ATOMIC_RELAXED);
}

X86_HELPER(singlestep, IR_H_READS | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    (void)b, (void)cc;
    t->pc = a;
    c->db_pending |= 1u << 14;
    __atomic_store_n(&t->exit_request, 1, __ATOMIC_RELAXED);
    return a;
}

X86_HELPER(debug_check, IR_H_READS | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    (void)b, (void)cc;
    uint64_t linear = a + (c->mode & MODE_CS64 ? 0 : t->seg_base[CS]), hit = 0;
    if (c->eflags & EF_RF) {
        c->eflags &= ~(uint32_t)EF_RF;
        return 0;
    }
    for (unsigned n = 0; n < 4; n++) {
        bool on = c->dr[7] >> 2 * n & 3 && !(c->dr[7] >> (16 + 4 * n) & 3);
        hit |= on && c->dr[n] == linear ? 1ull << n : 0;
    }
    if (hit) {
        c->dr[6] = (c->dr[6] & ~0xfull) | hit;
        c->eflags |= EF_RF; /* a fault: the handler returns to the instruction */
        x86_raise(c, EX_DB);
    }
    return 0;
}
