/* SPDX-License-Identifier: MIT */
/* target/x86/task.c - hardware task switches: 16 and 32-bit TSS, nested tasks, VM86 tasks.
 *
 * Reference: SDM vol. 3 chapter 7. The old task's state is written once the new TSS is known to be
 * readable; a bad segment in the new task is a fault of the new task.
 */
#include "target/x86/x86-int.h"

struct tss {
    bool wide; /* 32 bits */
    uint32_t cr3, eip, eflags, gpr[8];
    uint16_t seg[6], ldt;
    bool trap;
};

static uint32_t get(struct x86_cpu *c, uint64_t base, unsigned at, unsigned size)
{
    return (uint32_t)x86_ld_kernel(c, (uint32_t)(base + at), size);
}

static void put(struct x86_cpu *c, uint64_t base, unsigned at, unsigned size, uint32_t v)
{
    x86_st_kernel(c, (uint32_t)(base + at), size, v);
}

static void read_tss(struct x86_cpu *c, uint64_t base, struct tss *s)
{
    if (s->wide) {
        s->cr3 = get(c, base, 28, 4);
        s->eip = get(c, base, 32, 4);
        s->eflags = get(c, base, 36, 4);
        for (unsigned i = 0; i < 8; i++) {
            s->gpr[i] = get(c, base, 40 + 4 * i, 4);
        }
        for (unsigned i = 0; i < 6; i++) {
            s->seg[i] = (uint16_t)get(c, base, 72 + 4 * i, 2);
        }
        s->ldt = (uint16_t)get(c, base, 96, 2);
        s->trap = get(c, base, 100, 2) & 1;
        return;
    }
    s->eip = get(c, base, 14, 2);
    s->eflags = get(c, base, 16, 2);
    for (unsigned i = 0; i < 8; i++) {
        s->gpr[i] = get(c, base, 18 + 2 * i, 2) | 0xffff0000u;
    }
    for (unsigned i = 0; i < 4; i++) {
        s->seg[i] = (uint16_t)get(c, base, 34 + 2 * i, 2);
    }
    s->ldt = (uint16_t)get(c, base, 42, 2);
}

static void save_old(struct x86_cpu *c, uint64_t next, uint32_t eflags)
{
    uint64_t base = c->tr.base;
    if (c->tr.flags & 8) {
        put(c, base, 32, 4, (uint32_t)next);
        put(c, base, 36, 4, eflags);
        for (unsigned i = 0; i < 8; i++) {
            put(c, base, 40 + 4 * i, 4, (uint32_t)c->tcg.gpr[i]);
        }
        for (unsigned i = 0; i < 6; i++) {
            put(c, base, 72 + 4 * i, 2, c->seg[i].sel);
        }
        return;
    }
    put(c, base, 14, 2, (uint16_t)next);
    put(c, base, 16, 2, (uint16_t)eflags);
    for (unsigned i = 0; i < 8; i++) {
        put(c, base, 18 + 2 * i, 2, (uint16_t)c->tcg.gpr[i]);
    }
    for (unsigned i = 0; i < 4; i++) {
        put(c, base, 34 + 2 * i, 2, c->seg[i].sel);
    }
}

static void set_busy(struct x86_cpu *c, uint16_t sel, bool busy)
{
    uint64_t at = (uint32_t)(c->gdt.base + (sel & 0xfff8u) + 5);
    uint64_t b = x86_ld_kernel(c, at, 1);
    x86_st_kernel(c, at, 1, busy ? b | 2 : b & ~2ull);
}

static void bad_tss(struct x86_cpu *c, uint16_t sel) __attribute__((noreturn));
static void bad_tss(struct x86_cpu *c, uint16_t sel)
{
    x86_raise_code(c, EX_TS, sel & 0xfffcu);
}

static void load_ldt(struct x86_cpu *c, uint16_t sel)
{
    struct x86_desc d;
    c->ldt = (struct x86_system_segment){ .sel = sel };
    if (!(sel & 0xfffc)) {
        return;
    }
    if (sel & 4 || !x86_read_desc(c, sel, &d) || desc_s(&d) || desc_type(&d) != 2 || !desc_p(&d)) {
        bad_tss(c, sel);
    }
    c->ldt = (struct x86_system_segment){
        .sel = sel, .base = desc_base(&d), .limit = desc_limit(&d), .flags = desc_flags(&d)
    };
}

static void load_task_cs(struct x86_cpu *c, uint16_t sel)
{
    struct x86_desc d;
    unsigned rpl = sel & 3;
    if (!(sel & 0xfffc) || !x86_read_desc(c, sel, &d) || !desc_is_code(&d)) {
        bad_tss(c, sel);
    }
    if (desc_type(&d) & 4 ? desc_dpl(&d) > rpl : desc_dpl(&d) != rpl) {
        bad_tss(c, sel);
    }
    if (!desc_p(&d)) {
        x86_raise_code(c, EX_NP, sel & 0xfffcu);
    }
    x86_touch_desc(c, &d);
    x86_load_desc(c, CS, sel, &d);
}

static void load_task_data(struct x86_cpu *c, enum x86_seg s, uint16_t sel, unsigned cpl)
{
    struct x86_desc d;
    if (!(sel & 0xfffc)) {
        x86_set_segment(c, s, sel, 0, 0, 0);
        return;
    }
    if (!x86_read_desc(c, sel, &d) || !desc_s(&d) || (desc_type(&d) & 0xa) == 8) {
        bad_tss(c, sel);
    }
    bool conforming = (desc_type(&d) & 0xc) == 0xc;
    if (!conforming && (desc_dpl(&d) < cpl || desc_dpl(&d) < (sel & 3u))) {
        bad_tss(c, sel);
    }
    if (!desc_p(&d)) {
        x86_raise_code(c, EX_NP, sel & 0xfffcu);
    }
    x86_touch_desc(c, &d);
    x86_load_desc(c, s, sel, &d);
}

static void load_segments(struct x86_cpu *c, const struct tss *s)
{
    static const uint8_t data[] = { ES, DS, FS, GS };
    struct x86_desc d;
    if (c->eflags & EF_VM) {
        for (unsigned i = 0; i < 6; i++) {
            x86_load_seg_vm86(c, i, s->seg[i]);
        }
        load_ldt(c, s->ldt);
        return;
    }
    for (unsigned i = 0; i < 6; i++) { /* selectors are there even if a descriptor is bad */
        x86_set_segment(c, i, s->seg[i], 0, 0, 0);
    }
    unsigned cpl = s->seg[CS] & 3;
    x86_set_cpl(c, cpl);
    x86_mode_changed(c);
    load_ldt(c, s->ldt);
    load_task_cs(c, s->seg[CS]);
    x86_check_ss(c, s->seg[SS], cpl, EX_TS, &d);
    x86_load_desc(c, SS, s->seg[SS], &d);
    for (unsigned i = 0; i < 4; i++) {
        load_task_data(c, data[i], s->seg[data[i]], cpl);
    }
}

static void commit(struct x86_cpu *c, uint16_t sel, const struct x86_desc *d, const struct tss *s,
                   enum x86_task_why why)
{
    c->tr = (struct x86_system_segment){ .sel = sel,
                                         .base = desc_base(d),
                                         .limit = desc_limit(d),
                                         .flags = (uint16_t)(desc_flags(d) | 2) };
    c->cr0 |= CR0_TS;
    if (s->wide && c->cr0 & CR0_PG && s->cr3 != c->cr3) {
        x86_set_cr3(c, s->cr3);
    }
    c->tcg.pc = s->eip;
    uint32_t f = s->eflags | (why == TASK_CALL ? EF_NT : 0);
    uint32_t mask = s->wide ? 0x277fd7 : 0x7fd7;
    c->tcg.flags = f & EFLAGS_ARITH;
    c->eflags = (f & mask & ~EFLAGS_ARITH) | EF_FIXED;
    for (unsigned i = 0; i < 8; i++) {
        c->tcg.gpr[i] = s->gpr[i];
    }
    c->dr[7] &= ~0x55ull; /* local breakpoints */
}

void x86_task_switch(struct x86_cpu *c, uint16_t sel, struct x86_desc *d, enum x86_task_why why,
                     uint64_t next)
{
    struct tss s = { .wide = desc_type(d) & 8 };
    uint32_t limit = desc_limit(d);
    if (limit < (s.wide ? 103u : 43u)) {
        bad_tss(c, sel);
    }
    if (why != TASK_IRET && desc_type(d) & 2) {
        x86_raise_code(c, EX_GP, sel & 0xfffcu);
    }
    read_tss(c, desc_base(d), &s);
    x86_probe_as(c, TLB_KERNEL, (uint32_t)c->tr.base, c->tr.flags & 8 ? 104 : 44);
    uint16_t old = c->tr.sel;
    uint32_t flags = (uint32_t)x86_get_eflags(c);
    if (why == TASK_IRET) {
        flags &= ~(uint32_t)EF_NT;
    }
    save_old(c, next, flags);
    if (why == TASK_CALL) {
        put(c, desc_base(d), 0, 2, old);
    } else {
        set_busy(c, old, false);
    }
    if (why != TASK_IRET) {
        set_busy(c, sel, true);
    }
    commit(c, sel, d, &s, why);
    load_segments(c, &s);
    x86_mode_changed(c);
    if (s.wide && s.trap) {
        c->db_pending |= 1u << 15; /* BT */
        __atomic_store_n(&c->tcg.exit_request, 1, __ATOMIC_RELAXED);
    }
}
