/* SPDX-License-Identifier: MIT */
/* target/x86/smm.c - system management mode: SMI entry, the save map, RSM.
 *
 * Processors with long mode use AMD's 64-bit map (revision 0x20064), others the 32-bit one
 * (0x20000). Left out: I/O instruction restart. Reference: AMD APM vol. 2 chapter 10, SDM vol. 3
 * chapter 31.
 */
#include "target/x86/cpuid.h"
#include "target/x86/x86-int.h"

enum { REV32 = 0x20000, REV64 = 0x20064, AT_REV = 0xfefc, AT_BASE32 = 0xfef8, AT_BASE64 = 0xff00 };

/* One map in one direction: fields are visited, and either stored or loaded. */
struct map {
    struct x86_cpu *c;
    uint64_t base;
    bool save;
};

static void field(const struct map *m, unsigned at, unsigned size, void *p)
{
    if (m->save) {
        x86_st_phys(m->c, m->base + at, size, load_le(p, size));
    } else {
        store_le(p, size, x86_ld_phys(m->c, m->base + at, size));
    }
}

static void field32(const struct map *m, unsigned at, uint64_t *p)
{
    uint32_t v = (uint32_t)*p;
    field(m, at, 4, &v);
    *p = v;
}

/* ---- 64-bit map ---- */

static void segment64(const struct map *m, unsigned at, uint16_t *sel, uint16_t *flags,
                      uint32_t *limit, uint64_t *base)
{
    field(m, at, 2, sel);
    field(m, at + 2, 2, flags);
    field(m, at + 4, 4, limit);
    field(m, at + 8, 8, base);
}

static void map64(const struct map *m)
{
    struct x86_cpu *c = m->c;
    for (unsigned i = 0; i < 6; i++) {
        struct x86_segment *s = &c->seg[i];
        segment64(m, 0xfe00 + 16 * i, &s->sel, &s->flags, &s->limit, &c->tcg.seg_base[i]);
    }
    field(m, 0xfe64, 2, &c->gdt.limit);
    field(m, 0xfe68, 8, &c->gdt.base);
    segment64(m, 0xfe70, &c->ldt.sel, &c->ldt.flags, &c->ldt.limit, &c->ldt.base);
    field(m, 0xfe84, 2, &c->idt.limit);
    field(m, 0xfe88, 8, &c->idt.base);
    segment64(m, 0xfe90, &c->tr.sel, &c->tr.flags, &c->tr.limit, &c->tr.base);
    field(m, 0xfed0, 8, &c->efer);
    field(m, 0xff48, 8, &c->cr4);
    field(m, 0xff50, 8, &c->cr3);
    field(m, 0xff58, 8, &c->cr0);
    field(m, 0xff60, 8, &c->dr[6]);
    field(m, 0xff68, 8, &c->dr[7]);
    field(m, 0xff78, 8, &c->tcg.pc);
    static const uint8_t order[16] = { 15,  14,  13,  12,  11,  10,  9,   8,
                                       RDI, RSI, RBP, RSP, RBX, RDX, RCX, RAX };
    for (unsigned i = 0; i < 16; i++) {
        field(m, 0xff80 + 8 * i, 8, &c->tcg.gpr[order[i]]);
    }
}

/* ---- 32-bit map ---- */

static void segment32(const struct map *m, unsigned sel_at, unsigned at, uint16_t *sel,
                      uint16_t *flags, uint32_t *limit, uint64_t *base)
{
    uint64_t s = *sel, f = *flags;
    field32(m, sel_at, &s);
    field32(m, at, &f);
    field(m, at + 4, 4, limit);
    field32(m, at + 8, base);
    *sel = (uint16_t)s;
    *flags = (uint16_t)f;
}

static void table32(const struct map *m, unsigned at, struct x86_table *t)
{
    uint64_t limit = t->limit;
    field32(m, at, &limit);
    field32(m, at + 4, &t->base);
    t->limit = (uint16_t)limit;
}

static void map32(const struct map *m)
{
    struct x86_cpu *c = m->c;
    static const uint8_t order[8] = { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };
    for (unsigned i = 0; i < 6; i++) {
        struct x86_segment *s = &c->seg[i];
        segment32(m, 0xffa8 + 4 * i, i < 3 ? 0xff84 + 12 * i : 0xff2c + 12 * (i - 3), &s->sel,
                  &s->flags, &s->limit, &c->tcg.seg_base[i]);
    }
    field32(m, 0xff14, &c->cr4);
    table32(m, 0xff54, &c->idt);
    segment32(m, 0xffc4, 0xff5c, &c->tr.sel, &c->tr.flags, &c->tr.limit, &c->tr.base);
    table32(m, 0xff70, &c->gdt);
    segment32(m, 0xffc0, 0xff78, &c->ldt.sel, &c->ldt.flags, &c->ldt.limit, &c->ldt.base);
    field32(m, 0xffc8, &c->dr[7]);
    field32(m, 0xffcc, &c->dr[6]);
    for (unsigned i = 0; i < 8; i++) {
        field32(m, 0xffd0 + 4 * i, &c->tcg.gpr[order[i]]);
    }
    field32(m, 0xfff0, &c->tcg.pc);
    field32(m, 0xfff8, &c->cr3);
    field32(m, 0xfffc, &c->cr0);
}

/* ---- in and out ---- */

static void move_state(struct x86_cpu *c, bool save)
{
    bool wide = x86_has(c, X86_LM);
    struct map m = { .c = c, .base = c->smbase, .save = save };
    uint64_t flags = x86_get_eflags(c);
    if (wide) {
        map64(&m);
        field(&m, 0xff70, 8, &flags);
    } else {
        map32(&m);
        field32(&m, 0xfff4, &flags);
    }
    if (save) {
        x86_st_phys(c, m.base + AT_REV, 4, wide ? REV64 : REV32);
        x86_st_phys(c, m.base + (wide ? AT_BASE64 : AT_BASE32), 4, c->smbase);
        return;
    }
    c->tcg.flags = flags & EFLAGS_ARITH;
    c->eflags = ((uint32_t)flags & ~EFLAGS_ARITH & 0x3fffd7) | EF_FIXED;
    c->smbase = x86_ld_phys(c, m.base + (wide ? AT_BASE64 : AT_BASE32), 4);
}

void x86_smi(struct x86_cpu *c)
{
    c->smm = true;
    c->halted = false;
    c->inhibit = false;
    move_state(c, true);
    c->tcg.flags = 0;
    c->eflags = EF_FIXED;
    c->tcg.pc = 0x8000;
    c->cr0 &= ~(uint64_t)(CR0_PE | CR0_EM | CR0_TS | CR0_PG);
    c->cr4 = c->efer = 0;
    c->dr[7] = 0x400;
    for (unsigned i = 0; i < 6; i++) {
        x86_set_segment(c, i, 0, 0, UINT32_MAX, 0x8093);
    }
    x86_set_segment(c, CS, (uint16_t)(c->smbase >> 4), c->smbase, UINT32_MAX, 0x8093);
    x86_tlb_flush(c, true);
    x86_mode_changed(c);
}

X86_HELPER(rsm, IR_H_READS | IR_H_WRITES | IR_H_FAULTS | IR_H_F_IN | IR_H_F_OUT)
{
    struct x86_cpu *c = x86_of(t);
    (void)a, (void)b, (void)cc;
    if (!c->smm) {
        x86_raise(c, EX_UD);
    }
    move_state(c, false);
    c->smm = false;
    x86_tlb_flush(c, true);
    x86_mode_changed(c);
    return x86_go(c, t->pc);
}
