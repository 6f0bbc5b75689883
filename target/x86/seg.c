/* SPDX-License-Identifier: MIT */
/* target/x86/seg.c - segment registers, descriptors and the instructions that look at them.
 *
 * Reference: SDM vol. 3 chapters 3 and 5.
 */
#include "target/x86/x86-int.h"

/* ---- descriptors ---- */

bool x86_read_desc(struct x86_cpu *c, uint16_t sel, struct x86_desc *d)
{
    uint64_t base = sel & 4 ? c->ldt.base : c->gdt.base;
    uint32_t limit = sel & 4 ? c->ldt.limit : c->gdt.limit;
    uint32_t off = sel & 0xfff8u;
    if ((sel & 4 && !(c->ldt.flags & SEG_P)) || off + 7 > limit) {
        return false;
    }
    d->at = base + off;
    if (!(c->efer & EFER_LMA)) {
        d->at = (uint32_t)d->at;
    }
    uint64_t v = x86_ld_kernel(c, d->at, 8);
    d->lo = (uint32_t)v;
    d->hi = (uint32_t)(v >> 32);
    return true;
}

void x86_touch_desc(struct x86_cpu *c, struct x86_desc *d)
{
    if (!(d->hi & 1u << 8)) {
        d->hi |= 1u << 8;
        x86_st_kernel(c, d->at + 5, 1, d->hi >> 8 & 0xff);
    }
}

void x86_load_desc(struct x86_cpu *c, enum x86_seg s, uint16_t sel, const struct x86_desc *d)
{
    x86_set_segment(c, s, sel, desc_base(d), desc_limit(d), desc_flags(d));
}

void x86_set_cpl(struct x86_cpu *c, unsigned cpl)
{
    c->seg[SS].flags = (uint16_t)((c->seg[SS].flags & ~0x60) | cpl << 5);
}

void x86_load_seg_vm86(struct x86_cpu *c, enum x86_seg s, uint16_t sel)
{
    x86_set_segment(c, s, sel, (uint64_t)sel << 4, 0xffff, 0xf3);
}

/* ---- MOV, POP, LDS ... to a segment register ---- */

static void load_null(struct x86_cpu *c, enum x86_seg s, uint16_t sel)
{
    unsigned cpl = x86_cpl(c);
    if (s == SS) {
        if (!(c->mode & MODE_CS64) || cpl == 3 || (sel & 3) != cpl) {
            x86_raise_code(c, EX_GP, 0);
        }
        x86_set_segment(c, SS, sel, 0, UINT32_MAX, (uint16_t)(0xc093 | cpl << 5));
        return;
    }
    /* the base of FS and GS stays in 64-bit mode on AMD; Intel clears it */
    x86_set_segment(c, s, sel, 0, 0, 0);
}

static void check_stack_segment(struct x86_cpu *c, uint16_t sel, const struct x86_desc *d)
{
    unsigned cpl = x86_cpl(c), type = desc_type(d);
    if ((sel & 3) != cpl || !desc_s(d) || (type & 0xa) != 2 || desc_dpl(d) != cpl) {
        x86_raise_code(c, EX_GP, sel & 0xfffcu);
    }
    if (!desc_p(d)) {
        x86_raise_code(c, EX_SS, sel & 0xfffcu);
    }
}

static void check_data_segment(struct x86_cpu *c, uint16_t sel, const struct x86_desc *d)
{
    unsigned cpl = x86_cpl(c), rpl = sel & 3, type = desc_type(d);
    bool readable = desc_s(d) && (type & 0xa) != 8;
    bool conforming = (type & 0xc) == 0xc;
    if (!readable || (!conforming && (desc_dpl(d) < cpl || desc_dpl(d) < rpl))) {
        x86_raise_code(c, EX_GP, sel & 0xfffcu);
    }
    if (!desc_p(d)) {
        x86_raise_code(c, EX_NP, sel & 0xfffcu);
    }
}

void x86_load_segment(struct x86_cpu *c, enum x86_seg s, uint16_t sel)
{
    if (!(c->mode & MODE_PE)) {
        c->seg[s].sel = sel;
        c->tcg.seg_base[s] = (uint64_t)sel << 4;
    } else if (c->mode & MODE_VM86) {
        x86_load_seg_vm86(c, s, sel);
    } else if (!(sel & 0xfffc)) {
        load_null(c, s, sel);
    } else {
        struct x86_desc d;
        if (!x86_read_desc(c, sel, &d)) {
            x86_raise_code(c, EX_GP, sel & 0xfffcu);
        }
        if (s == SS) {
            check_stack_segment(c, sel, &d);
        } else {
            check_data_segment(c, sel, &d);
        }
        x86_touch_desc(c, &d);
        x86_load_desc(c, s, sel, &d);
    }
    x86_code_changed(c);
}

X86_HELPER(load_seg, IR_H_READS | IR_H_WRITES | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    if (a == CS) {
        x86_raise(c, EX_UD);
    }
    x86_load_segment(c, (enum x86_seg)a, (uint16_t)b);
    if (a == SS) {
        c->inhibit = true;
        c->inhibit_pc = cc;
    }
    return x86_go(c, cc);
}

/* ---- stacks of inner levels ---- */

struct x86_stack x86_stack_here(struct x86_cpu *c, unsigned size)
{
    return (struct x86_stack){ .c = c,
                               .sp = c->tcg.gpr[RSP],
                               .base = c->mode & MODE_CS64 ? 0 : c->tcg.seg_base[SS],
                               .mask = stack_mask(c),
                               .mode = x86_data_mode(c),
                               .size = size };
}

void x86_check_ss(struct x86_cpu *c, uint16_t sel, unsigned dpl, enum x86_vector v,
                  struct x86_desc *d)
{
    uint32_t code = sel & 0xfffcu;
    if (!code) {
        x86_raise_code(c, v, 0);
    }
    if (!x86_read_desc(c, sel, d) || (sel & 3) != dpl || desc_dpl(d) != dpl || !desc_s(d) ||
        (desc_type(d) & 0xa) != 2) {
        x86_raise_code(c, v, code);
    }
    if (!desc_p(d)) {
        x86_raise_code(c, EX_SS, code);
    }
    x86_touch_desc(c, d);
}

void x86_tss_stack(struct x86_cpu *c, unsigned dpl, uint16_t *ss, uint64_t *sp)
{
    unsigned type = c->tr.flags & 0xf;
    *ss = 0;
    if (c->efer & EFER_LMA) {
        uint32_t at = 4 + dpl * 8;
        if (at + 7 > c->tr.limit) {
            x86_raise_code(c, EX_TS, c->tr.sel & 0xfffcu);
        }
        *sp = x86_ld_kernel(c, c->tr.base + at, 8);
    } else if (type & 8) {
        uint32_t at = 4 + dpl * 8;
        if (at + 5 > c->tr.limit) {
            x86_raise_code(c, EX_TS, c->tr.sel & 0xfffcu);
        }
        *sp = x86_ld_kernel(c, (uint32_t)(c->tr.base + at), 4);
        *ss = (uint16_t)x86_ld_kernel(c, (uint32_t)(c->tr.base + at + 4), 2);
    } else {
        uint32_t at = 2 + dpl * 4;
        if (at + 3 > c->tr.limit) {
            x86_raise_code(c, EX_TS, c->tr.sel & 0xfffcu);
        }
        *sp = x86_ld_kernel(c, (uint32_t)(c->tr.base + at), 2);
        *ss = (uint16_t)x86_ld_kernel(c, (uint32_t)(c->tr.base + at + 2), 2);
    }
}

/* ---- LLDT, LTR ---- */

/* In long mode system descriptors are 16 bytes long. */
static uint64_t system_base(struct x86_cpu *c, uint16_t sel, const struct x86_desc *d)
{
    uint64_t base = desc_base(d);
    if (!(c->efer & EFER_LMA)) {
        return base;
    }
    if ((sel & 0xfff8u) + 15 > c->gdt.limit) {
        x86_raise_code(c, EX_GP, sel & 0xfffcu);
    }
    uint64_t hi = x86_ld_kernel(c, d->at + 8, 8);
    base |= hi << 32;
    if (hi >> 32 & 0x1f00 || !x86_canonical(base)) {
        x86_raise_code(c, EX_GP, sel & 0xfffcu);
    }
    return base;
}

static void need_cpl0(struct x86_cpu *c)
{
    if (x86_cpl(c) != 0) {
        x86_raise_code(c, EX_GP, 0);
    }
}

static void read_system(struct x86_cpu *c, uint16_t sel, struct x86_desc *d)
{
    if (sel & 4 || !x86_read_desc(c, sel, d) || desc_s(d)) {
        x86_raise_code(c, EX_GP, sel & 0xfffcu);
    }
}

X86_HELPER(lldt, IR_H_READS | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    (void)b, (void)cc;
    uint16_t sel = (uint16_t)a;
    need_cpl0(c);
    if (!(sel & 0xfffc)) {
        c->ldt = (struct x86_system_segment){ .sel = sel };
        return 0;
    }
    struct x86_desc d;
    read_system(c, sel, &d);
    if (desc_type(&d) != 2) {
        x86_raise_code(c, EX_GP, sel & 0xfffcu);
    }
    if (!desc_p(&d)) {
        x86_raise_code(c, EX_NP, sel & 0xfffcu);
    }
    c->ldt = (struct x86_system_segment){ .sel = sel,
                                          .base = system_base(c, sel, &d),
                                          .limit = desc_limit(&d),
                                          .flags = desc_flags(&d) };
    return 0;
}

X86_HELPER(ltr, IR_H_READS | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    (void)b, (void)cc;
    uint16_t sel = (uint16_t)a;
    need_cpl0(c);
    struct x86_desc d;
    if (!(sel & 0xfffc)) {
        x86_raise_code(c, EX_GP, 0);
    }
    read_system(c, sel, &d);
    unsigned type = desc_type(&d);
    if (type != 9 && (type != 1 || c->efer & EFER_LMA)) {
        x86_raise_code(c, EX_GP, sel & 0xfffcu);
    }
    if (!desc_p(&d)) {
        x86_raise_code(c, EX_NP, sel & 0xfffcu);
    }
    uint64_t base = system_base(c, sel, &d);
    d.hi |= 1u << 9; /* busy */
    x86_st_kernel(c, d.at + 5, 1, d.hi >> 8 & 0xff);
    c->tr = (struct x86_system_segment){
        .sel = sel, .base = base, .limit = desc_limit(&d), .flags = desc_flags(&d)
    };
    return 0;
}

/* ---- LAR, LSL, VERR, VERW: ZF says whether ---- */

static void set_zf(struct x86_cpu *c, bool zf)
{
    c->tcg.flags = zf ? c->tcg.flags | F_ZF : c->tcg.flags & ~(uint64_t)F_ZF;
}

/* Visible at this privilege, and of a type in the mask of system types. */
static bool look_at(struct x86_cpu *c, uint16_t sel, uint32_t system_types, struct x86_desc *d)
{
    if (!(sel & 0xfffc) || !x86_read_desc(c, sel, d)) {
        return false;
    }
    unsigned type = desc_type(d);
    if (!desc_s(d) && !(system_types >> type & 1)) {
        return false;
    }
    bool conforming = desc_s(d) && (type & 0xc) == 0xc;
    return conforming || (desc_dpl(d) >= x86_cpl(c) && desc_dpl(d) >= (sel & 3u));
}

static void no_real_mode(struct x86_cpu *c)
{
    if (!(c->mode & MODE_PE) || c->mode & MODE_VM86) {
        x86_raise(c, EX_UD);
    }
}

X86_HELPER(lar, IR_H_READS | IR_H_FAULTS | IR_H_F_IN | IR_H_F_OUT)
{
    struct x86_cpu *c = x86_of(t);
    (void)cc;
    struct x86_desc d;
    no_real_mode(c);
    bool ok = look_at(c, (uint16_t)a, c->efer & EFER_LMA ? 0x1a04 : 0x1a3e, &d);
    set_zf(c, ok);
    return ok ? d.hi & 0x00f0ff00 : b;
}

X86_HELPER(lsl, IR_H_READS | IR_H_FAULTS | IR_H_F_IN | IR_H_F_OUT)
{
    struct x86_cpu *c = x86_of(t);
    (void)cc;
    struct x86_desc d;
    no_real_mode(c);
    bool ok = look_at(c, (uint16_t)a, c->efer & EFER_LMA ? 0x0a04 : 0x0a0e, &d);
    set_zf(c, ok);
    return ok ? desc_limit(&d) : b;
}

X86_HELPER(verr, IR_H_READS | IR_H_FAULTS | IR_H_F_IN | IR_H_F_OUT)
{
    struct x86_cpu *c = x86_of(t);
    (void)b, (void)cc;
    struct x86_desc d;
    no_real_mode(c);
    set_zf(c, look_at(c, (uint16_t)a, 0, &d) && (desc_type(&d) & 0xa) != 8);
    return 0;
}

X86_HELPER(verw, IR_H_READS | IR_H_FAULTS | IR_H_F_IN | IR_H_F_OUT)
{
    struct x86_cpu *c = x86_of(t);
    (void)b, (void)cc;
    struct x86_desc d;
    no_real_mode(c);
    set_zf(c, look_at(c, (uint16_t)a, 0, &d) && (desc_type(&d) & 0xa) == 2);
    return 0;
}

X86_HELPER(arpl, IR_H_FAULTS | IR_H_F_IN | IR_H_F_OUT)
{
    struct x86_cpu *c = x86_of(t);
    (void)cc;
    no_real_mode(c);
    bool raise = (a & 3) < (b & 3);
    set_zf(c, raise);
    return raise ? (a & 0xfffc) | (b & 3) : a & 0xffff;
}

/* ---- limits ---- */

static bool limit_ok(const struct x86_segment *s, uint32_t off, uint32_t size)
{
    uint32_t last = off + size - 1;
    if ((s->flags & 0xc) == 4) { /* expand down: above the limit */
        uint32_t top = s->flags & SEG_DB ? UINT32_MAX : 0xffff;
        return off > s->limit && last >= off && last <= top;
    }
    return last >= off && last <= s->limit;
}

X86_HELPER(check_seg, IR_H_READS | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    unsigned seg = a & 7;
    bool write = a >> 8 & 1;
    const struct x86_segment *s = &c->seg[seg];
    bool code = s->flags & 8;
    bool rights = c->mode & MODE_VM86 ||
                  (s->flags & SEG_P && (write ? !code && s->flags & 2 : !code || s->flags & 2));
    if (!rights || !limit_ok(s, (uint32_t)b, (uint32_t)cc)) {
        x86_raise_code(c, seg == SS ? EX_SS : EX_GP, 0);
    }
    return 0;
}

/* ---- FS and GS bases ---- */

X86_HELPER(swapgs, IR_H_READS | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    (void)a, (void)b, (void)cc;
    if (!(c->mode & MODE_CS64)) {
        x86_raise(c, EX_UD);
    }
    need_cpl0(c);
    uint64_t was = t->seg_base[GS];
    t->seg_base[GS] = c->kernel_gs_base;
    c->kernel_gs_base = was;
    return 0;
}

static void need_fsgsbase(struct x86_cpu *c)
{
    if (!(c->cr4 & CR4_FSGSBASE) || !(c->mode & MODE_CS64)) {
        x86_raise(c, EX_UD);
    }
}

X86_HELPER(rdfsbase, IR_H_READS | IR_H_FAULTS)
{
    (void)b, (void)cc;
    need_fsgsbase(x86_of(t));
    return t->seg_base[a & 7];
}

X86_HELPER(wrfsbase, IR_H_READS | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    need_fsgsbase(c);
    uint64_t v = cc == 4 ? (uint32_t)b : b;
    if (!x86_canonical(v)) {
        x86_raise_code(c, EX_GP, 0);
    }
    t->seg_base[a & 7] = v;
    return 0;
}
