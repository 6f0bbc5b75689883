/* SPDX-License-Identifier: MIT */
/* target/x86/far.c - control transfers between segments: far JMP, CALL, RET, IRET, call gates, and
 * the fast system calls.
 *
 * Everything is checked and pushed before registers change, so that a fault leaves the processor
 * as it was. Reference: SDM vol. 2 (each instruction), vol. 3 chapter 5.8.
 */
#include "target/x86/vcpu-int.h"
#include "target/x86/x86-int.h"

/* -d pcall */
static void tell(const struct x86_cpu *c, const char *what, uint64_t sel, uint64_t off)
{
    if (c->all->log & VCPU_LOG_PCALL) {
        fprintf(c->all->log_to, "%s: %04x:%08llx from %04x:%016llx\n", what, (unsigned)sel,
                (unsigned long long)off, c->seg[CS].sel, (unsigned long long)c->tcg.pc);
    }
}

static uint64_t cut(uint64_t rip, unsigned size)
{
    return size == 2 ? (uint16_t)rip : size == 4 ? (uint32_t)rip : rip;
}

static void set_cs(struct x86_cpu *c, uint16_t sel, const struct x86_desc *d, unsigned cpl)
{
    x86_load_desc(c, CS, (uint16_t)((sel & ~3u) | cpl), d);
}

/* L and D both set, or L outside long mode (where it is ignored). */
static void check_cs_bits(struct x86_cpu *c, uint16_t sel, const struct x86_desc *d)
{
    if (c->efer & EFER_LMA && (d->hi >> 21 & 3) == 3) {
        x86_raise_code(c, EX_GP, sel & 0xfffcu);
    }
}

/* The target of a transfer must be reachable: inside the limit, or canonical. */
static void check_target(struct x86_cpu *c, const struct x86_desc *d, uint64_t rip)
{
    if (c->efer & EFER_LMA && d->hi & 1u << 21) {
        if (!x86_canonical(rip)) {
            x86_raise_code(c, EX_GP, 0);
        }
    } else {
        check_limit(c, desc_limit(d), rip);
    }
}

static void read_code_target(struct x86_cpu *c, uint16_t sel, struct x86_desc *d)
{
    if (!(sel & 0xfffc)) {
        x86_raise_code(c, EX_GP, 0);
    }
    if (!x86_read_desc(c, sel, d)) {
        x86_raise_code(c, EX_GP, sel & 0xfffcu);
    }
}

/* Privilege rules of a direct far JMP or CALL. */
static void check_direct(struct x86_cpu *c, uint16_t sel, const struct x86_desc *d)
{
    unsigned cpl = x86_cpl(c);
    bool conforming = desc_type(d) & 4;
    if (conforming ? desc_dpl(d) > cpl : (sel & 3u) > cpl || desc_dpl(d) != cpl) {
        x86_raise_code(c, EX_GP, sel & 0xfffcu);
    }
    if (!desc_p(d)) {
        x86_raise_code(c, EX_NP, sel & 0xfffcu);
    }
    check_cs_bits(c, sel, d);
}

static bool real_or_vm86(const struct x86_cpu *c)
{
    return !(c->mode & MODE_PE) || c->mode & MODE_VM86;
}

static void set_cs_real(struct x86_cpu *c, uint16_t sel)
{
    if (c->mode & MODE_VM86) {
        x86_load_seg_vm86(c, CS, sel);
    } else {
        c->seg[CS].sel = sel;
        c->tcg.seg_base[CS] = (uint64_t)sel << 4;
        c->seg[CS].flags = (uint16_t)((c->seg[CS].flags & ~0x6fu) | 0x9b);
    }
}

/* ---- call gates ---- */

struct gate {
    uint16_t sel;
    uint64_t off;
    unsigned size, params;
};

static void read_gate(struct x86_cpu *c, uint16_t sel, const struct x86_desc *d, struct gate *g)
{
    unsigned cpl = x86_cpl(c);
    uint32_t code = sel & 0xfffcu;
    if (desc_dpl(d) < cpl || desc_dpl(d) < (sel & 3u)) {
        x86_raise_code(c, EX_GP, code);
    }
    if (!desc_p(d)) {
        x86_raise_code(c, EX_NP, code);
    }
    g->sel = (uint16_t)(d->lo >> 16);
    g->off = (d->lo & 0xffff) | (d->hi & 0xffff0000u);
    g->params = d->hi & 0x1f;
    g->size = desc_type(d) & 8 ? 4 : 2;
    if (g->size == 2) {
        g->off &= 0xffff;
    }
    if (c->efer & EFER_LMA) {
        uint64_t hi = x86_ld_kernel(c, d->at + 8, 8);
        if (hi >> 32 & 0x1f00) {
            x86_raise_code(c, EX_GP, code);
        }
        g->off |= hi << 32;
        g->size = 8;
    }
}

static void read_gate_code(struct x86_cpu *c, const struct gate *g, struct x86_desc *d)
{
    uint32_t code = g->sel & 0xfffcu;
    if (!code) {
        x86_raise_code(c, EX_GP, 0);
    }
    if (!x86_read_desc(c, g->sel, d) || !desc_is_code(d) || desc_dpl(d) > x86_cpl(c)) {
        x86_raise_code(c, EX_GP, code);
    }
    if (c->efer & EFER_LMA && (d->hi >> 21 & 3) != 1) {
        x86_raise_code(c, EX_GP, code);
    }
    if (!desc_p(d)) {
        x86_raise_code(c, EX_NP, code);
    }
}

static void copy_params(struct x86_cpu *c, const struct gate *g, struct x86_stack *to)
{
    struct x86_stack from = x86_stack_here(c, g->size);
    for (unsigned i = g->params; i-- > 0;) {
        uint64_t at = from.base + ((from.sp + i * g->size) & from.mask);
        stack_push(to, x86_ld_as(c, from.mode, (uint32_t)at, g->size));
    }
}

static uint64_t call_inner(struct x86_cpu *c, const struct gate *g, struct x86_desc *cs,
                           uint64_t next)
{
    unsigned dpl = desc_dpl(cs);
    bool lma = c->efer & EFER_LMA;
    struct x86_desc ss = { 0 };
    uint16_t ss_sel;
    uint64_t sp;
    x86_tss_stack(c, dpl, &ss_sel, &sp);
    if (lma) {
        ss_sel = (uint16_t)dpl;
    } else {
        x86_check_ss(c, ss_sel, dpl, EX_TS, &ss);
    }
    struct x86_stack s = { .c = c, .sp = sp, .mode = TLB_KERNEL, .size = g->size };
    s.base = lma ? 0 : desc_base(&ss);
    s.mask = lma ? UINT64_MAX : ss.hi & 1u << 22 ? 0xffffffffu : 0xffff;
    stack_push(&s, c->seg[SS].sel);
    stack_push(&s, c->tcg.gpr[RSP] & (c->mode & MODE_CS64 ? UINT64_MAX : 0xffffffffu));
    if (!lma) {
        copy_params(c, g, &s);
    }
    stack_push(&s, c->seg[CS].sel);
    stack_push(&s, next);
    check_target(c, cs, g->off);
    x86_touch_desc(c, cs);
    if (lma) {
        x86_set_segment(c, SS, ss_sel, 0, UINT32_MAX, (uint16_t)(0xc093 | dpl << 5));
    } else {
        x86_load_desc(c, SS, ss_sel, &ss);
    }
    set_cs(c, g->sel, cs, dpl);
    stack_commit(&s);
    x86_code_changed(c);
    return x86_go(c, g->off);
}

static uint64_t call_same(struct x86_cpu *c, uint16_t sel, struct x86_desc *cs, uint64_t rip,
                          unsigned size, uint64_t next)
{
    struct x86_stack s = x86_stack_here(c, size);
    stack_push(&s, c->seg[CS].sel);
    stack_push(&s, next);
    check_target(c, cs, rip);
    x86_touch_desc(c, cs);
    unsigned cpl = x86_cpl(c);
    stack_commit(&s);
    set_cs(c, sel, cs, cpl);
    x86_code_changed(c);
    return x86_go(c, rip);
}

/* ---- far JMP and CALL ---- */

/* A task gate's TSS selector and descriptor. */
static uint16_t through_task_gate(struct x86_cpu *c, uint16_t sel, struct x86_desc *d)
{
    if (desc_dpl(d) < x86_cpl(c) || desc_dpl(d) < (sel & 3u)) {
        x86_raise_code(c, EX_GP, sel & 0xfffcu);
    }
    if (!desc_p(d)) {
        x86_raise_code(c, EX_NP, sel & 0xfffcu);
    }
    uint16_t tss = (uint16_t)(d->lo >> 16);
    if (tss & 4 || !x86_read_desc(c, tss, d) || desc_s(d) || (desc_type(d) & 7) != 1) {
        x86_raise_code(c, EX_GP, tss & 0xfffcu);
    }
    return tss;
}

static uint64_t to_task(struct x86_cpu *c, uint16_t sel, struct x86_desc *d, bool call,
                        uint64_t next)
{
    if ((desc_type(d) & 7) == 5) {
        sel = through_task_gate(c, sel, d);
    } else if (desc_dpl(d) < x86_cpl(c) || desc_dpl(d) < (sel & 3u) || sel & 4) {
        x86_raise_code(c, EX_GP, sel & 0xfffcu);
    }
    if (!desc_p(d)) {
        x86_raise_code(c, EX_NP, sel & 0xfffcu);
    }
    x86_task_switch(c, sel, d, call ? TASK_CALL : TASK_JMP, next);
    return x86_go(c, c->tcg.pc);
}

/* JMP or CALL to a system descriptor: a gate or a task. */
static uint64_t to_system(struct x86_cpu *c, uint16_t sel, struct x86_desc *d, bool call,
                          uint64_t next)
{
    unsigned type = desc_type(d);
    bool lma = c->efer & EFER_LMA;
    if (type == 12 || (type == 4 && !lma)) {
        struct gate g;
        struct x86_desc cs;
        read_gate(c, sel, d, &g);
        read_gate_code(c, &g, &cs);
        bool conforming = desc_type(&cs) & 4;
        if (call && !conforming && desc_dpl(&cs) < x86_cpl(c)) {
            return call_inner(c, &g, &cs, next);
        }
        if (!call && !conforming && desc_dpl(&cs) != x86_cpl(c)) {
            x86_raise_code(c, EX_GP, g.sel & 0xfffcu);
        }
        if (call) {
            return call_same(c, g.sel, &cs, g.off, g.size, next);
        }
        check_target(c, &cs, g.off);
        x86_touch_desc(c, &cs);
        set_cs(c, g.sel, &cs, x86_cpl(c));
        x86_code_changed(c);
        return x86_go(c, g.off);
    }
    if (!lma && (type == 1 || type == 9 || type == 5)) {
        return to_task(c, sel, d, call, next);
    }
    x86_raise_code(c, EX_GP, sel & 0xfffcu);
}

X86_HELPER(jmp_far, IR_H_READS | IR_H_WRITES | IR_H_FAULTS | IR_H_F_IN | IR_H_F_OUT)
{
    struct x86_cpu *c = x86_of(t);
    uint16_t sel = (uint16_t)a;
    unsigned size = cc & 0xff;
    uint64_t rip = cut(b, size);
    if (real_or_vm86(c)) {
        check_limit(c, c->mode & MODE_VM86 ? 0xffff : c->seg[CS].limit, rip);
        set_cs_real(c, sel);
        x86_code_changed(c);
        return x86_go(c, rip);
    }
    struct x86_desc d;
    tell(c, "ljmp", sel, rip);
    read_code_target(c, sel, &d);
    if (!desc_is_code(&d)) {
        if (desc_s(&d)) {
            x86_raise_code(c, EX_GP, sel & 0xfffcu);
        }
        return to_system(c, sel, &d, false, cc >> 8);
    }
    check_direct(c, sel, &d);
    check_target(c, &d, rip);
    x86_touch_desc(c, &d);
    set_cs(c, sel, &d, x86_cpl(c));
    x86_code_changed(c);
    return x86_go(c, rip);
}

X86_HELPER(call_far, IR_H_READS | IR_H_WRITES | IR_H_FAULTS | IR_H_F_IN | IR_H_F_OUT)
{
    struct x86_cpu *c = x86_of(t);
    uint16_t sel = (uint16_t)a;
    unsigned size = cc & 0xff;
    /* next comes as a sign-extended 56-bit number */
    uint64_t rip = cut(b, size), next = (uint64_t)((int64_t)cc >> 8);
    if (real_or_vm86(c)) {
        struct x86_stack s = x86_stack_here(c, size);
        stack_push(&s, c->seg[CS].sel);
        stack_push(&s, next);
        check_limit(c, c->mode & MODE_VM86 ? 0xffff : c->seg[CS].limit, rip);
        stack_commit(&s);
        set_cs_real(c, sel);
        x86_code_changed(c);
        return x86_go(c, rip);
    }
    struct x86_desc d;
    tell(c, "lcall", sel, rip);
    read_code_target(c, sel, &d);
    if (!desc_is_code(&d)) {
        if (desc_s(&d)) {
            x86_raise_code(c, EX_GP, sel & 0xfffcu);
        }
        return to_system(c, sel, &d, true, next);
    }
    check_direct(c, sel, &d);
    return call_same(c, sel, &d, rip, size, next);
}

/* ---- far RET and IRET ---- */

/* Data segments that the outer level may not see become null. */
static void drop_inner_segments(struct x86_cpu *c, unsigned cpl)
{
    static const uint8_t data[] = { ES, DS, FS, GS };
    for (unsigned i = 0; i < 4; i++) {
        struct x86_segment *s = &c->seg[data[i]];
        bool conforming = (s->flags & 0xc) == 0xc;
        if (s->sel & 0xfffc && !conforming && (s->flags >> 5 & 3u) < cpl) {
            s->sel = 0;
            s->flags &= (uint16_t)~SEG_P;
            /* a null selector keeps its base in the hidden part; nobody can use it outside 64-bit
             * code since it is not present */
        }
    }
}

struct ret {
    uint64_t rip, sp;
    uint16_t cs, ss;
    struct x86_desc d_cs, d_ss;
};

static void check_ret_cs(struct x86_cpu *c, struct ret *r)
{
    uint32_t code = r->cs & 0xfffcu;
    unsigned rpl = r->cs & 3;
    if (!code) {
        x86_raise_code(c, EX_GP, 0);
    }
    if (!x86_read_desc(c, r->cs, &r->d_cs) || !desc_is_code(&r->d_cs) || rpl < x86_cpl(c)) {
        x86_raise_code(c, EX_GP, code);
    }
    bool conforming = desc_type(&r->d_cs) & 4;
    if (conforming ? desc_dpl(&r->d_cs) > rpl : desc_dpl(&r->d_cs) != rpl) {
        x86_raise_code(c, EX_GP, code);
    }
    if (!desc_p(&r->d_cs)) {
        x86_raise_code(c, EX_NP, code);
    }
    check_cs_bits(c, r->cs, &r->d_cs);
}

/* The stack that an outer level gets back. A null SS is good for 64-bit code below level 3. */
static void check_ret_ss(struct x86_cpu *c, struct ret *r)
{
    unsigned rpl = r->cs & 3;
    bool to64 = c->efer & EFER_LMA && r->d_cs.hi & 1u << 21;
    if (!(r->ss & 0xfffc)) {
        if (!to64 || rpl == 3 || (r->ss & 3u) != rpl) {
            x86_raise_code(c, EX_GP, 0);
        }
        r->d_ss = (struct x86_desc){ .lo = 0xffff, .hi = 0xcf9300u | rpl << 13 };
        return;
    }
    uint32_t code = r->ss & 0xfffcu;
    if (!x86_read_desc(c, r->ss, &r->d_ss) || (r->ss & 3u) != rpl || desc_dpl(&r->d_ss) != rpl ||
        !desc_s(&r->d_ss) || (desc_type(&r->d_ss) & 0xa) != 2) {
        x86_raise_code(c, EX_GP, code);
    }
    if (!desc_p(&r->d_ss)) {
        x86_raise_code(c, EX_SS, code);
    }
    x86_touch_desc(c, &r->d_ss);
}

static void commit_outer(struct x86_cpu *c, struct ret *r, unsigned add)
{
    bool to64 = c->efer & EFER_LMA && r->d_cs.hi & 1u << 21;
    set_cs(c, r->cs, &r->d_cs, r->cs & 3);
    x86_load_desc(c, SS, r->ss, &r->d_ss);
    x86_set_cpl(c, r->cs & 3);
    uint64_t *sp = &c->tcg.gpr[RSP];
    if (to64) {
        *sp = r->sp + add;
    } else if (r->d_ss.hi & 1u << 22) {
        *sp = (uint32_t)(r->sp + add);
    } else {
        *sp = (*sp & ~0xffffull) | ((r->sp + add) & 0xffff);
    }
    drop_inner_segments(c, r->cs & 3);
}

X86_HELPER(ret_far, IR_H_READS | IR_H_WRITES | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    unsigned size = (unsigned)a, add = (unsigned)b;
    (void)cc;
    struct x86_stack s = x86_stack_here(c, size);
    struct ret r = { .rip = stack_pop(&s) };
    r.cs = (uint16_t)stack_pop(&s);
    if (real_or_vm86(c)) {
        check_limit(c, c->mode & MODE_VM86 ? 0xffff : c->seg[CS].limit, r.rip);
        s.sp += add;
        stack_commit(&s);
        set_cs_real(c, r.cs);
        x86_code_changed(c);
        return x86_go(c, r.rip);
    }
    tell(c, "lret", r.cs, r.rip);
    check_ret_cs(c, &r);
    if ((r.cs & 3u) == x86_cpl(c)) {
        check_target(c, &r.d_cs, r.rip);
        x86_touch_desc(c, &r.d_cs);
        s.sp += add;
        stack_commit(&s);
        set_cs(c, r.cs, &r.d_cs, r.cs & 3);
    } else {
        s.sp += add;
        r.sp = stack_pop(&s);
        r.ss = (uint16_t)stack_pop(&s);
        check_ret_ss(c, &r);
        check_target(c, &r.d_cs, r.rip);
        x86_touch_desc(c, &r.d_cs);
        commit_outer(c, &r, add);
    }
    x86_code_changed(c);
    return x86_go(c, r.rip);
}

/* EFLAGS bits that IRET and POPF may change at this privilege. */
static uint32_t flags_mask(const struct x86_cpu *c, unsigned size, bool iret)
{
    unsigned cpl = x86_cpl(c), iopl = c->eflags >> 12 & 3;
    uint32_t m = EFLAGS_ARITH | EF_TF | EF_DF | EF_NT;
    if (size > 2) {
        m |= EF_AC | EF_ID | (iret ? EF_RF : 0);
    }
    if (cpl <= iopl) {
        m |= EF_IF;
    }
    if (cpl == 0) {
        m |= EF_IOPL;
        m |= size > 2 && iret ? EF_VIF | EF_VIP : 0;
    }
    return m;
}

static uint64_t iret_to_vm86(struct x86_cpu *c, struct x86_stack *s, uint64_t rip, uint16_t cs,
                             uint32_t flags)
{
    static const uint8_t order[] = { ES, DS, FS, GS };
    uint16_t sel[4];
    uint64_t sp = stack_pop(s);
    uint16_t ss = (uint16_t)stack_pop(s);
    for (unsigned i = 0; i < 4; i++) {
        sel[i] = (uint16_t)stack_pop(s);
    }
    c->eflags = (flags & ~EFLAGS_ARITH & 0x3fffd7u) | EF_FIXED | EF_VM;
    c->tcg.flags = flags & EFLAGS_ARITH;
    x86_load_seg_vm86(c, CS, cs);
    x86_load_seg_vm86(c, SS, ss);
    for (unsigned i = 0; i < 4; i++) {
        x86_load_seg_vm86(c, order[i], sel[i]);
    }
    c->tcg.gpr[RSP] = (uint32_t)sp;
    x86_code_changed(c);
    return x86_go(c, rip & 0xffff);
}

static uint64_t iret_real(struct x86_cpu *c, unsigned size)
{
    struct x86_stack s = x86_stack_here(c, size);
    uint64_t rip = stack_pop(&s);
    uint16_t cs = (uint16_t)stack_pop(&s);
    uint32_t flags = (uint32_t)stack_pop(&s);
    bool vm = c->mode & MODE_VM86;
    check_limit(c, vm ? 0xffff : c->seg[CS].limit, rip);
    uint32_t mask = flags_mask(c, size, true);
    if (vm && (c->eflags & EF_IOPL) != EF_IOPL) {
        /* VME, 16 bits: IF goes to VIF */
        if (!(c->cr4 & CR4_VME) || size != 2 || flags & EF_TF ||
            (flags & EF_IF && c->eflags & EF_VIP)) {
            x86_raise_code(c, EX_GP, 0);
        }
        mask &= ~EF_IF;
        c->eflags = flags & EF_IF ? c->eflags | EF_VIF : c->eflags & ~EF_VIF;
    }
    if (vm) {
        mask &= ~(uint32_t)EF_IOPL;
    }
    stack_commit(&s);
    set_cs_real(c, cs);
    x86_set_eflags(c, flags, mask);
    x86_code_changed(c);
    return x86_go(c, rip);
}

static uint64_t iret_task(struct x86_cpu *c, uint64_t next)
{
    if (c->efer & EFER_LMA) {
        x86_raise_code(c, EX_GP, 0);
    }
    uint16_t link = (uint16_t)x86_ld_kernel(c, c->tr.base, 2);
    struct x86_desc d;
    if (link & 4 || !x86_read_desc(c, link, &d) || desc_s(&d) || (desc_type(&d) & 7) != 3) {
        x86_raise_code(c, EX_TS, link & 0xfffcu);
    }
    if (!desc_p(&d)) {
        x86_raise_code(c, EX_NP, link & 0xfffcu);
    }
    x86_task_switch(c, link, &d, TASK_IRET, next);
    return x86_go(c, c->tcg.pc);
}

static uint64_t iret_protected(struct x86_cpu *c, unsigned size)
{
    bool was64 = c->mode & MODE_CS64;
    struct x86_stack s = x86_stack_here(c, size);
    struct ret r = { 0 };
    uint32_t flags;
    const uint8_t *frame = was64 && size == 8 ? x86_plain_read(c, s.mode, s.sp, 40) : NULL;
    if (frame) {
        r = (struct ret){ .rip = load_le64(frame),
                          .cs = load_le16(frame + 8),
                          .sp = load_le64(frame + 24),
                          .ss = load_le16(frame + 32) };
        flags = load_le32(frame + 16);
    } else {
        r.rip = stack_pop(&s);
        r.cs = (uint16_t)stack_pop(&s);
        flags = (uint32_t)stack_pop(&s);
    }
    if (flags & EF_VM && size == 4 && x86_cpl(c) == 0 && !(c->efer & EFER_LMA)) {
        return iret_to_vm86(c, &s, r.rip, r.cs, flags);
    }
    uint32_t mask = flags_mask(c, size, true);
    check_ret_cs(c, &r);
    bool outer = (r.cs & 3u) != x86_cpl(c);
    if (outer || was64) {
        if (!frame) {
            r.sp = stack_pop(&s);
            r.ss = (uint16_t)stack_pop(&s);
        }
        check_ret_ss(c, &r);
    }
    check_target(c, &r.d_cs, r.rip);
    x86_touch_desc(c, &r.d_cs);
    /* before the registers: the mask was made for the old level */
    c->tcg.flags = flags & EFLAGS_ARITH;
    uint32_t m = mask & ~EFLAGS_ARITH;
    c->eflags = (c->eflags & ~m) | (flags & m) | EF_FIXED;
    if (outer || was64) {
        commit_outer(c, &r, 0);
    } else {
        stack_commit(&s);
        set_cs(c, r.cs, &r.d_cs, r.cs & 3);
    }
    x86_code_changed(c);
    return x86_go(c, r.rip);
}

X86_HELPER(iret, IR_H_READS | IR_H_WRITES | IR_H_FAULTS | IR_H_F_IN | IR_H_F_OUT)
{
    struct x86_cpu *c = x86_of(t);
    (void)cc;
    uint64_t rip;
    if (real_or_vm86(c)) {
        rip = iret_real(c, (unsigned)a);
    } else if (c->eflags & EF_NT) {
        rip = iret_task(c, b);
    } else {
        rip = iret_protected(c, (unsigned)a);
    }
    c->nmi_blocked = false;
    return rip;
}

/* ---- POPF, PUSHF ---- */

X86_HELPER(popf, IR_H_READS | IR_H_WRITES | IR_H_FAULTS | IR_H_F_IN | IR_H_F_OUT)
{
    struct x86_cpu *c = x86_of(t);
    unsigned size = (unsigned)b;
    uint32_t mask = flags_mask(c, size, false);
    if (c->mode & MODE_VM86) {
        mask &= ~(uint32_t)EF_IOPL;
        if ((c->eflags & EF_IOPL) != EF_IOPL) {
            if (!(c->cr4 & CR4_VME) || size != 2 || a & EF_TF ||
                (a & EF_IF && c->eflags & EF_VIP)) {
                x86_raise_code(c, EX_GP, 0);
            }
            c->eflags = a & EF_IF ? c->eflags | EF_VIF : c->eflags & ~EF_VIF;
        }
    }
    x86_set_eflags(c, a, mask);
    if (size > 2) {
        c->eflags &= ~EF_RF;
    }
    return x86_go(c, cc);
}

X86_HELPER(pushf, IR_H_READS | IR_H_FAULTS | IR_H_F_IN)
{
    struct x86_cpu *c = x86_of(t);
    (void)b, (void)cc;
    uint64_t f = x86_get_eflags(c);
    if (c->mode & MODE_VM86 && (c->eflags & EF_IOPL) != EF_IOPL) {
        if (!(c->cr4 & CR4_VME) || a != 2) {
            x86_raise_code(c, EX_GP, 0);
        }
        f = (f & ~(uint64_t)EF_IF) | EF_IOPL | (f & EF_VIF ? EF_IF : 0);
    }
    return f & ~(uint64_t)(EF_VM | EF_RF);
}

/* CLI and STI with the rules for VME and PVI; returns false when VIF was meant. */
static bool may_change_if(struct x86_cpu *c)
{
    unsigned cpl = x86_cpl(c), iopl = c->eflags >> 12 & 3;
    if (!(c->mode & MODE_PE) || cpl <= iopl) {
        return true;
    }
    bool virtual_if = c->mode & MODE_VM86 ? c->cr4 & CR4_VME : cpl == 3 && c->cr4 & CR4_PVI;
    if (!virtual_if) {
        x86_raise_code(c, EX_GP, 0);
    }
    return false;
}

X86_HELPER(cli, IR_H_READS | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    (void)a, (void)b;
    c->eflags &= may_change_if(c) ? ~(uint32_t)EF_IF : ~(uint32_t)EF_VIF;
    t->pc = cc;
    return cc;
}

X86_HELPER(sti, IR_H_READS | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    (void)a, (void)b;
    if (!may_change_if(c)) {
        if (c->eflags & EF_VIP) {
            x86_raise_code(c, EX_GP, 0);
        }
        c->eflags |= EF_VIF;
        return x86_go(c, cc);
    }
    if (!(c->eflags & EF_IF)) {
        c->eflags |= EF_IF;
        c->inhibit = true;
        c->inhibit_pc = cc;
    }
    return x86_go(c, cc);
}

static void set_ac(struct x86_cpu *c, bool ac)
{
    if (!(c->mode & MODE_PE) || c->mode & MODE_VM86 || x86_cpl(c) != 0) {
        x86_raise(c, EX_UD);
    }
    c->eflags = ac ? c->eflags | EF_AC : c->eflags & ~(uint32_t)EF_AC;
    x86_rights_changed(c);
}

X86_HELPER(stac, IR_H_READS | IR_H_FAULTS)
{
    (void)a, (void)b;
    set_ac(x86_of(t), true);
    return x86_go(x86_of(t), cc);
}

X86_HELPER(clac, IR_H_READS | IR_H_FAULTS)
{
    (void)a, (void)b;
    set_ac(x86_of(t), false);
    return x86_go(x86_of(t), cc);
}

/* ---- SYSCALL, SYSRET, SYSENTER, SYSEXIT ---- */

enum { FLAT_CODE64 = 0xa09b, FLAT_CODE32 = 0xc09b, FLAT_DATA = 0xc093 };

static void flat(struct x86_cpu *c, enum x86_seg s, unsigned sel, unsigned flags, unsigned dpl)
{
    x86_set_segment(c, s, (uint16_t)sel, 0, UINT32_MAX, (uint16_t)(flags | dpl << 5));
}

X86_HELPER(syscall, IR_H_READS | IR_H_WRITES | IR_H_FAULTS | IR_H_F_IN | IR_H_F_OUT)
{
    struct x86_cpu *c = x86_of(t);
    (void)b, (void)cc;
    if (!(c->efer & EFER_SCE) || !(c->mode & MODE_PE) || c->mode & MODE_VM86) {
        x86_raise(c, EX_UD);
    }
    unsigned sel = c->star >> 32 & 0xfffc;
    uint64_t rip, clear;
    t->gpr[RCX] = a;
    if (c->efer & EFER_LMA) {
        uint64_t f = x86_get_eflags(c) & ~(uint64_t)EF_RF;
        t->gpr[R11] = f;
        rip = c->mode & MODE_CS64 ? c->lstar : c->cstar;
        clear = c->sfmask;
        flat(c, CS, sel, FLAT_CODE64, 0);
    } else {
        t->gpr[RCX] = (uint32_t)a;
        rip = (uint32_t)c->star;
        clear = EF_IF | EF_VM | EF_RF;
        flat(c, CS, sel, FLAT_CODE32, 0);
    }
    flat(c, SS, sel + 8, FLAT_DATA, 0);
    c->eflags = (c->eflags & ~(uint32_t)(clear | EF_RF)) | EF_FIXED;
    t->flags &= ~clear;
    x86_code_changed(c);
    return x86_go(c, rip);
}

X86_HELPER(sysret, IR_H_READS | IR_H_WRITES | IR_H_FAULTS | IR_H_F_IN | IR_H_F_OUT)
{
    struct x86_cpu *c = x86_of(t);
    (void)b, (void)cc;
    if (!(c->efer & EFER_SCE) || !(c->mode & MODE_PE) || c->mode & MODE_VM86) {
        x86_raise(c, EX_UD);
    }
    if (x86_cpl(c) != 0) {
        x86_raise_code(c, EX_GP, 0);
    }
    unsigned sel = (unsigned)(c->star >> 48);
    uint64_t rip = t->gpr[RCX];
    if (c->efer & EFER_LMA) {
        if (a == 8 && !x86_canonical(rip)) {
            x86_raise_code(c, EX_GP, 0);
        }
        enum { KEEP = EF_RF | EF_VM };
        uint64_t f = t->gpr[R11] & 0x3c7fd7;
        c->eflags = ((uint32_t)f & ~EFLAGS_ARITH & ~(uint32_t)KEEP) | EF_FIXED;
        t->flags = f & EFLAGS_ARITH;
        if (a == 8) {
            flat(c, CS, (sel + 16) | 3, FLAT_CODE64, 3);
        } else {
            rip = (uint32_t)rip;
            flat(c, CS, sel | 3, FLAT_CODE32, 3);
        }
    } else {
        rip = (uint32_t)rip;
        c->eflags |= EF_IF;
        flat(c, CS, sel | 3, FLAT_CODE32, 3);
    }
    flat(c, SS, (sel + 8) | 3, FLAT_DATA, 3);
    x86_code_changed(c);
    return x86_go(c, rip);
}

X86_HELPER(sysenter, IR_H_READS | IR_H_WRITES | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    (void)a, (void)b, (void)cc;
    if (!(c->mode & MODE_PE) || !(c->sysenter_cs & 0xfffc)) {
        x86_raise_code(c, EX_GP, 0);
    }
    bool lma = c->efer & EFER_LMA;
    unsigned sel = c->sysenter_cs & 0xfffc;
    c->eflags &= ~(uint32_t)(EF_VM | EF_IF | EF_RF);
    flat(c, CS, sel, lma ? FLAT_CODE64 : FLAT_CODE32, 0);
    flat(c, SS, sel + 8, FLAT_DATA, 0);
    t->gpr[RSP] = lma ? c->sysenter_esp : (uint32_t)c->sysenter_esp;
    x86_code_changed(c);
    return x86_go(c, lma ? c->sysenter_eip : (uint32_t)c->sysenter_eip);
}

X86_HELPER(sysexit, IR_H_READS | IR_H_WRITES | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    (void)b, (void)cc;
    if (!(c->mode & MODE_PE) || !(c->sysenter_cs & 0xfffc) || x86_cpl(c) != 0) {
        x86_raise_code(c, EX_GP, 0);
    }
    unsigned sel = c->sysenter_cs & 0xfffc;
    uint64_t rip = t->gpr[RDX], sp = t->gpr[RCX];
    if (a == 8) {
        if (!x86_canonical(rip) || !x86_canonical(sp)) {
            x86_raise_code(c, EX_GP, 0);
        }
        flat(c, CS, (sel + 32) | 3, FLAT_CODE64, 3);
        flat(c, SS, (sel + 40) | 3, FLAT_DATA, 3);
    } else {
        rip = (uint32_t)rip;
        sp = (uint32_t)sp;
        flat(c, CS, (sel + 16) | 3, FLAT_CODE32, 3);
        flat(c, SS, (sel + 24) | 3, FLAT_DATA, 3);
    }
    t->gpr[RSP] = sp;
    x86_code_changed(c);
    return x86_go(c, rip);
}
