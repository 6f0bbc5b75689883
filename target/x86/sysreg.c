/* SPDX-License-Identifier: MIT */
/* target/x86/sysreg.c - control and debug registers, descriptor tables, TLB and cache instructions,
 * HLT and MWAIT.
 *
 * Reference: SDM vol. 3 chapter 2, vol. 2 for each instruction.
 */
#include "ioreq/cpu.h"
#include "target/x86/cpuid.h"
#include "target/x86/vcpu-int.h"
#include "target/x86/x86-int.h"

static void need_cpl0(struct x86_cpu *c)
{
    if (x86_cpl(c) != 0) {
        x86_raise_code(c, EX_GP, 0);
    }
}

static void gp(struct x86_cpu *c) __attribute__((noreturn));
static void gp(struct x86_cpu *c)
{
    x86_raise_code(c, EX_GP, 0);
}

/* ---- control registers ---- */

/* PAE outside long mode: the four top entries are checked when they would be loaded. */
static void check_pdptes(struct x86_cpu *c, uint64_t cr0, uint64_t cr3, uint64_t cr4)
{
    if (!(cr0 & CR0_PG) || !(cr4 & CR4_PAE) || c->efer & EFER_LME) {
        return;
    }
    for (unsigned i = 0; i < 4; i++) {
        uint64_t e = x86_ld_phys(c, (cr3 & 0xffffffe0u) + 8 * i, 8);
        uint64_t rsvd = 0xfff00000000001e6ull | (0x000ffffffffff000ull & ~c->phys_mask);
        if (e & 1 && e & rsvd) {
            gp(c);
        }
    }
}

void x86_set_cr0(struct x86_cpu *c, uint64_t v)
{
    enum { FLUSH = CR0_PG | CR0_WP | CR0_PE };
    v |= CR0_ET;
    uint64_t changed = c->cr0 ^ v;
    c->cr0 = v;
    if (changed & CR0_PG) {
        bool lma = v & CR0_PG && c->efer & EFER_LME;
        c->efer = lma ? c->efer | EFER_LMA : c->efer & ~(uint64_t)EFER_LMA;
    }
    if (changed & (uint32_t)FLUSH) {
        x86_tlb_flush(c, true);
    }
    x86_mode_changed(c);
}

static void write_cr0(struct x86_cpu *c, uint64_t v)
{
    if (v >> 32 || (v & CR0_PG && !(v & CR0_PE)) || (v & CR0_NW && !(v & CR0_CD))) {
        gp(c);
    }
    v &= 0xe005003fu;
    bool turning_on = v & CR0_PG && !(c->cr0 & CR0_PG);
    if (turning_on && c->efer & EFER_LME && (!(c->cr4 & CR4_PAE) || c->seg[CS].flags & SEG_L)) {
        gp(c);
    }
    if (!(v & CR0_PG) && c->cr0 & CR0_PG && (c->mode & MODE_CS64 || c->cr4 & CR4_PCIDE)) {
        gp(c);
    }
    if (turning_on) {
        check_pdptes(c, v, c->cr3, c->cr4);
    }
    x86_set_cr0(c, v);
}

void x86_set_cr3(struct x86_cpu *c, uint64_t v)
{
    c->cr3 = v;
    x86_tlb_flush(c, false);
}

static void write_cr3(struct x86_cpu *c, uint64_t v)
{
    uint64_t reserved = ~c->phys_mask & 0x7fffffffffffffffull;
    if (!(c->efer & EFER_LMA)) {
        v = (uint32_t)v;
        check_pdptes(c, c->cr0, v, c->cr4);
    } else if (v & reserved || (v >> 63 && !(c->cr4 & CR4_PCIDE))) {
        gp(c);
    }
    v &= ~(1ull << 63);
    x86_set_cr3(c, v);
}

/* CR4 bits of this model. */
static uint64_t cr4_valid(const struct x86_cpu *c)
{
    static const struct {
        uint32_t bits;
        enum x86_feature f;
    } by[] = {
        { CR4_VME | CR4_PVI, X86_VME }, { CR4_TSD, X86_TSC },       { CR4_DE, X86_DE },
        { CR4_PSE, X86_PSE },           { CR4_PAE, X86_PAE },       { CR4_MCE, X86_MCE },
        { CR4_PGE, X86_PGE },           { CR4_PCE, X86_MSR },       { CR4_OSFXSR, X86_FXSR },
        { CR4_OSXMMEXCPT, X86_SSE },    { CR4_UMIP, X86_UMIP },     { CR4_FSGSBASE, X86_FSGSBASE },
        { CR4_PCIDE, X86_PCID },        { CR4_OSXSAVE, X86_XSAVE }, { CR4_SMEP, X86_SMEP },
        { CR4_SMAP, X86_SMAP },
    };
    uint64_t ok = 0;
    for (unsigned i = 0; i < sizeof(by) / sizeof(by[0]); i++) {
        ok |= x86_has(c, by[i].f) ? by[i].bits : 0;
    }
    return ok;
}

void x86_set_cr4(struct x86_cpu *c, uint64_t v)
{
    enum { FLUSH = CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP };
    uint64_t changed = c->cr4 ^ v;
    c->cr4 = v;
    if (changed & FLUSH) {
        x86_tlb_flush(c, true);
    }
    x86_mode_changed(c);
}

static void write_cr4(struct x86_cpu *c, uint64_t v)
{
    if (v & ~cr4_valid(c)) {
        gp(c);
    }
    if (c->efer & EFER_LMA && !(v & CR4_PAE)) {
        gp(c);
    }
    if (v & CR4_PCIDE && !(c->cr4 & CR4_PCIDE) && (!(c->efer & EFER_LMA) || c->cr3 & 0xfff)) {
        gp(c);
    }
    if ((v ^ c->cr4) & (CR4_PAE | CR4_PSE | CR4_PGE | CR4_SMEP)) {
        check_pdptes(c, c->cr0, c->cr3, v);
    }
    x86_set_cr4(c, v);
}

static uint64_t read_cr8(struct x86_cpu *c)
{
    x86_lock_machine(c);
    uint64_t v = cpu_tpr(c->m, c->index) >> 4;
    x86_unlock_machine(c);
    return v;
}

static void write_cr8(struct x86_cpu *c, uint64_t v)
{
    if (v & ~0xfull) {
        gp(c);
    }
    x86_lock_machine(c);
    cpu_set_tpr(c->m, c->index, (uint8_t)(v << 4));
    x86_unlock_machine(c);
}

X86_HELPER(mov_to_cr, IR_H_READS | IR_H_WRITES | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    need_cpl0(c);
    if (!(c->mode & MODE_CS64)) {
        b = (uint32_t)b;
    }
    switch (a) {
    case 0:
        write_cr0(c, b);
        break;
    case 2:
        c->cr2 = b;
        break;
    case 3:
        write_cr3(c, b);
        break;
    case 4:
        write_cr4(c, b);
        break;
    case 8:
        write_cr8(c, b);
        break;
    default:
        x86_raise(c, EX_UD);
    }
    return x86_go(c, cc);
}

X86_HELPER(mov_from_cr, IR_H_READS | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    (void)b, (void)cc;
    need_cpl0(c);
    switch (a) {
    case 0:
        return c->cr0;
    case 2:
        return c->cr2;
    case 3:
        return c->cr3;
    case 4:
        return c->cr4;
    case 8:
        return read_cr8(c);
    default:
        x86_raise(c, EX_UD);
    }
}

X86_HELPER(clts, IR_H_READS | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    (void)a, (void)b;
    need_cpl0(c);
    x86_set_cr0(c, c->cr0 & ~(uint64_t)CR0_TS);
    return x86_go(c, cc);
}

X86_HELPER(lmsw, IR_H_READS | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    (void)b;
    need_cpl0(c);
    /* PE can be set but not cleared */
    write_cr0(c, (c->cr0 & ~0xeull) | (a & 0xf));
    return x86_go(c, cc);
}

/* ---- debug registers ---- */

static unsigned dr_number(struct x86_cpu *c, uint64_t n)
{
    if (n == 4 || n == 5) {
        if (c->cr4 & CR4_DE) {
            x86_raise(c, EX_UD);
        }
        n += 2;
    }
    need_cpl0(c);
    if (c->dr[7] & 1u << 13) { /* GD */
        c->dr[6] |= 1u << 13;
        x86_raise(c, EX_DB);
    }
    return (unsigned)n;
}

X86_HELPER(mov_to_dr, IR_H_READS | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    unsigned n = dr_number(c, a);
    if (!(c->mode & MODE_CS64)) {
        b = (uint32_t)b;
    }
    if (n >= 6 && b >> 32) {
        gp(c);
    }
    if (n == 6) {
        b = (b & 0xe00f) | 0xffff0ff0u;
    } else if (n == 7) {
        b = (b & 0xffff2fffu) | 0x400;
    }
    bool armed = c->dr[7] & 0xff || (n == 7 && b & 0xff);
    c->dr[n] = b;
    if (armed) { /* pages with a breakpoint are not plain */
        x86_tlb_flush(c, true);
        x86_mode_changed(c);
    }
    return x86_go(c, cc);
}

X86_HELPER(mov_from_dr, IR_H_READS | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    (void)b, (void)cc;
    return c->dr[dr_number(c, a)];
}

/* ---- descriptor tables ---- */

static void load_table(struct x86_cpu *c, struct x86_table *to, uint64_t linear, unsigned size)
{
    need_cpl0(c);
    uint16_t limit = (uint16_t)x86_ld(c, linear, 2);
    uint64_t base = x86_ld(c, linear + 2, size == 8 ? 8 : 4);
    if (size == 2) {
        base &= 0xffffff;
    }
    if (!x86_canonical(base)) {
        gp(c);
    }
    *to = (struct x86_table){ .base = base, .limit = limit };
}

static void store_table(struct x86_cpu *c, const struct x86_table *from, uint64_t linear,
                        unsigned size)
{
    if (c->cr4 & CR4_UMIP && x86_cpl(c) != 0) {
        gp(c);
    }
    x86_probe_as(c, x86_data_mode(c), linear, size == 8 ? 10 : 6);
    x86_st(c, linear, 2, from->limit);
    x86_st(c, linear + 2, size == 8 ? 8 : 4, from->base);
}

X86_HELPER(lgdt, IR_H_READS | IR_H_FAULTS)
{
    (void)cc;
    load_table(x86_of(t), &x86_of(t)->gdt, a, (unsigned)b);
    return 0;
}

X86_HELPER(lidt, IR_H_READS | IR_H_FAULTS)
{
    (void)cc;
    load_table(x86_of(t), &x86_of(t)->idt, a, (unsigned)b);
    return 0;
}

X86_HELPER(sgdt, IR_H_READS | IR_H_FAULTS)
{
    (void)cc;
    store_table(x86_of(t), &x86_of(t)->gdt, a, (unsigned)b);
    return 0;
}

X86_HELPER(sidt, IR_H_READS | IR_H_FAULTS)
{
    (void)cc;
    store_table(x86_of(t), &x86_of(t)->idt, a, (unsigned)b);
    return 0;
}

/* ---- TLB and caches ---- */

X86_HELPER(invlpg, IR_H_READS | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    (void)b;
    need_cpl0(c);
    x86_tlb_flush_page(c, a);
    return x86_go(c, cc);
}

X86_HELPER(invpcid, IR_H_READS | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    need_cpl0(c);
    uint64_t pcid = x86_ld(c, b, 8), linear = x86_ld(c, b + 8, 8);
    if (a > 3 || pcid >> 12 || (a == 0 && !x86_canonical(linear)) ||
        (a <= 1 && pcid && !(c->cr4 & CR4_PCIDE))) {
        gp(c);
    }
    if (a == 0) {
        x86_tlb_flush_page(c, linear);
    } else {
        x86_tlb_flush(c, a == 2);
    }
    return x86_go(c, cc);
}

X86_HELPER(wbinvd, IR_H_READS | IR_H_FAULTS)
{
    (void)a, (void)b, (void)cc;
    need_cpl0(x86_of(t));
    return 0;
}

/* ---- waiting ---- */

X86_HELPER(hlt, IR_H_READS | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    (void)b, (void)cc;
    need_cpl0(c);
    c->halted = true;
    __atomic_store_n(&t->exit_request, 1, __ATOMIC_RELAXED);
    t->pc = a;
    return a;
}

/* MONITOR arms nothing and MWAIT returns at once after a yield: both may wake for any reason. */
X86_HELPER(monitor, IR_H_READS | IR_H_FAULTS)
{
    (void)b, (void)cc;
    need_cpl0(x86_of(t));
    x86_ld(x86_of(t), a, 1);
    return 0;
}

X86_HELPER(pause, IR_H_READS)
{
    (void)b, (void)cc;
    __atomic_store_n(&t->exit_request, 1, __ATOMIC_RELAXED);
    x86_of(t)->all->icount.turn = 0;
    t->pc = a;
    return a;
}

X86_HELPER(mwait, IR_H_READS | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    (void)b, (void)cc;
    need_cpl0(c);
    __atomic_store_n(&t->exit_request, 1, __ATOMIC_RELAXED);
    t->pc = a;
    return a;
}
