/* SPDX-License-Identifier: MIT */
/* target/x86/walk.c - page tables: 32-bit, PSE, PAE, four levels.
 *
 * Where the last table of a 2 MiB region lies, and what the levels above allow, is kept until the next
 * flush of any kind (a paging-structure cache, SDM vol. 3 4.10.3). A fault found with its help is looked for
 * again without it. Reference: SDM vol. 3 chapter 4.
 */
#include "ioreq/soft.h"
#include "target/x86/cpuid.h"
#include "target/x86/mmu-int.h"
#include "target/x86/tables.h"

/* ---- memory that tables lie in ---- */

uint8_t *mmu_soft_page(struct x86_cpu *c, uint64_t phys, unsigned *flags)
{
    uint32_t gen = __atomic_load_n(&c->tlb_gen, __ATOMIC_SEQ_CST);
    struct soft_span *s = &c->span;
    phys &= ~PAGE_MASK;
    if (gen != c->span_gen || c->smm != c->span_smm || phys < s->first || phys > s->last) {
        *s = soft_span(c->soft, phys, c->smm);
        c->span_gen = gen;
        c->span_smm = c->smm;
    }
    *flags = s->flags;
    return s->host ? s->host + (phys - s->first) : NULL;
}

static uint8_t *table_host(struct x86_cpu *c, uint64_t gpa)
{
    gpa &= c->a20_mask;
    if (gpa - 0x100000 < c->ram_len) {
        return c->ram + (gpa - 0x100000);
    }
    unsigned flags = 0;
    uint8_t *h = mmu_soft_page(c, gpa, &flags);
    return h && (flags & SOFT_READ) ? h + (gpa & PAGE_MASK) : NULL;
}

static uint64_t read_entry(struct x86_cpu *c, uint64_t gpa, unsigned size)
{
    const uint8_t *h = table_host(c, gpa);
    if (!h) {
        return 0; /* nobody keeps page tables in a device */
    }
    return size == 4 ? __atomic_load_n((const uint32_t *)(const void *)h, __ATOMIC_RELAXED)
                     : __atomic_load_n((const uint64_t *)(const void *)h, __ATOMIC_RELAXED);
}

/* Sets bits in an entry that still reads old. False: it changed meanwhile, walk again. */
static bool set_bits(const struct walker *k, uint64_t gpa, unsigned size, uint64_t old,
                     uint64_t bits)
{
    struct x86_cpu *c = k->c;
    if (k->quiet || (old & bits) == bits) {
        return true;
    }
    gpa &= c->a20_mask;
    unsigned flags = 0;
    uint8_t *h = mmu_soft_page(c, gpa, &flags);
    if (!h || !(flags & SOFT_WRITE)) {
        return true;
    }
    h += gpa & PAGE_MASK;
    bool ok;
    if (size == 4) {
        uint32_t o = (uint32_t)old;
        ok = __atomic_compare_exchange_n((uint32_t *)(void *)h, &o, o | (uint32_t)bits, false,
                                         __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
    } else {
        ok = __atomic_compare_exchange_n((uint64_t *)(void *)h, &old, old | bits, false,
                                         __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
    }
    if (flags & SOFT_LOG) {
        soft_mark_dirty(c->soft, gpa);
    }
    if (!k->no_code && tcg_page_has_code(c->tcg.tcg, gpa)) {
        tcg_invalidate(c->tcg.tcg, NULL, gpa, size);
    }
    return ok;
}

/* ---- rights ---- */

/* The error code of a fault that is not a matter of presence gets PF_P from the caller. */
static int fault_code(const struct walker *k, int code)
{
    struct x86_cpu *c = k->c;
    bool nx = (c->cr4 & CR4_PAE && c->efer & EFER_NXE) || c->cr4 & CR4_SMEP;
    code |= k->how == ACC_WRITE ? PF_W : 0;
    code |= k->mode == TLB_USER ? PF_U : 0;
    code |= k->how == ACC_EXEC && nx ? PF_I : 0;
    return code;
}

bool mmu_allowed(const struct walker *k, const struct page *p, enum x86_access how)
{
    const struct x86_cpu *c = k->c;
    if (k->mode == TLB_USER) {
        return p->u && (how == ACC_READ || (how == ACC_WRITE ? p->w : p->x));
    }
    switch (how) {
    case ACC_EXEC:
        return p->x && !(p->u && c->cr4 & CR4_SMEP);
    case ACC_WRITE:
        if (!p->w && c->cr0 & CR0_WP) {
            return false;
        }
        /* fall through */
    default:
        return !(p->u && c->cr4 & CR4_SMAP && k->mode == TLB_KERNEL);
    }
}

/* The last entry of a walk: rights, A and D. again: the entry changed under us. */
static int take_leaf(const struct walker *k, uint64_t at, unsigned size, uint64_t e, bool *again)
{
    struct page *p = k->p;
    if (!mmu_allowed(k, p, k->how) && !k->quiet) {
        return fault_code(k, PF_P);
    }
    uint64_t bits = PTE_A | (k->how == ACC_WRITE ? PTE_D : 0);
    *again = !set_bits(k, at, size, e, bits);
    p->dirty = (e | bits) & PTE_D;
    p->global = e & PTE_G && k->c->cr4 & CR4_PGE;
    return PF_NONE;
}

/* ---- walks ---- */

/* 32-bit page tables (SDM 4.3). */
static int walk_legacy(const struct walker *k, bool *again)
{
    struct x86_cpu *c = k->c;
    struct page *p = k->p;
    uint32_t la = (uint32_t)k->linear;
    uint64_t at = (c->cr3 & 0xfffff000u) + (la >> 22) * 4u;
    uint64_t e = read_entry(c, at, 4);
    if (!(e & PTE_P)) {
        return fault_code(k, 0);
    }
    p->w = e & PTE_W;
    p->u = e & PTE_U;
    p->x = true;
    if (e & PTE_PS && c->cr4 & CR4_PSE) {
        if (e & 1u << 21) {
            return fault_code(k, PF_P | PF_RSVD);
        }
        p->phys = (e & 0xffc00000u) | (e >> 13 & 0xff) << 32 | (la & 0x3ff000);
        p->large = true;
        return take_leaf(k, at, 4, e, again);
    }
    if (!set_bits(k, at, 4, e, PTE_A)) {
        *again = true;
        return PF_NONE;
    }
    at = (e & 0xfffff000u) + (la >> 12 & 0x3ff) * 4u;
    e = read_entry(c, at, 4);
    if (!(e & PTE_P)) {
        return fault_code(k, 0);
    }
    p->w = p->w && e & PTE_W;
    p->u = p->u && e & PTE_U;
    p->phys = e & 0xfffff000u;
    return take_leaf(k, at, 4, e, again);
}

/* Bits that must be 0 in an entry of level (1: PTE .. 4: PML4E) whose PS bit is large. */
static uint64_t reserved_bits(const struct x86_cpu *c, unsigned level, bool large)
{
    uint64_t r = PTE_ADDR & ~c->phys_mask;
    if (!(c->efer & EFER_NXE)) {
        r |= PTE_NX;
    }
    if (level == 4 || (level == 3 && large && !x86_model_has(c->model, X86_PDPE1GB))) {
        r |= PTE_PS;
    } else if (large) {
        r |= level == 2 ? 0x1fe000u : 0x3fffe000u;
    }
    if (!(c->efer & EFER_LMA)) {
        r |= 0x7ff0000000000000ull;
    }
    return r;
}

/* ---- tables found before ---- */

enum { KEPT_X = 1, KEPT_W = PTE_W, KEPT_U = PTE_U };

static struct x86_kept_table *kept_slot(struct x86_cpu *c, uint64_t linear)
{
    return &c->kept_table[linear >> 21 & (X86_KEPT_TABLES - 1)];
}

static uint64_t kept_tag(const struct x86_cpu *c, uint64_t linear)
{
    return (linear >> 21 & ((1u << 27) - 1)) | c->kept_gen << 27;
}

static void keep_table(const struct walker *k, uint64_t table)
{
    const struct page *p = k->p;
    if (!k->quiet) {
        table |= (p->x ? KEPT_X : 0u) | (p->w ? KEPT_W : 0u) | (p->u ? KEPT_U : 0u);
        *kept_slot(k->c, k->linear) = (struct x86_kept_table){ kept_tag(k->c, k->linear), table };
    }
}

/* The last table of the address, with the rights of the levels above in *k->p; 0: not known. */
static uint64_t find_table(const struct walker *k)
{
    const struct x86_kept_table *t = kept_slot(k->c, k->linear);
    if (k->quiet || t->tag != kept_tag(k->c, k->linear)) {
        return 0;
    }
    k->p->x = t->table & KEPT_X;
    k->p->w = t->table & KEPT_W;
    k->p->u = t->table & KEPT_U;
    return t->table & PTE_ADDR;
}

/* PAE and 4-level tables (SDM 4.4, 4.5). */
static int walk_long(const struct walker *k, bool *again)
{
    struct x86_cpu *c = k->c;
    struct page *p = k->p;
    bool lma = c->efer & EFER_LMA;
    unsigned level = lma ? 4 : 3;
    uint64_t table = lma ? c->cr3 & PTE_ADDR & c->phys_mask : c->cr3 & 0xffffffe0u;
    uint64_t known = find_table(k);
    if (known) {
        table = known;
        level = 1;
    } else {
        p->w = p->u = p->x = true;
    }
    for (;; level--) {
        unsigned shift = 12 + 9 * (level - 1);
        uint64_t index = k->linear >> shift & 0x1ff;
        if (!lma && level == 3) {
            index = k->linear >> 30 & 3;
        }
        uint64_t at = table + index * 8, e = read_entry(c, at, 8);
        if (!(e & PTE_P)) {
            return fault_code(k, 0);
        }
        bool large = level == 1 || (e & PTE_PS && (level == 2 || (level == 3 && lma)));
        uint64_t rsvd = !lma && level == 3 ? (PTE_ADDR & ~c->phys_mask) | 0xfff00000000001e6ull
                                           : reserved_bits(c, level, large && level > 1);
        if (e & rsvd) {
            return fault_code(k, PF_P | PF_RSVD);
        }
        if (lma || level < 3) {
            p->w = p->w && e & PTE_W;
            p->u = p->u && e & PTE_U;
            p->x = p->x && !(e & PTE_NX);
        }
        if (large) {
            uint64_t in = (1ull << shift) - 1;
            p->phys = (e & PTE_ADDR & ~in) | (k->linear & in & ~PAGE_MASK);
            p->large = level == 2;
            p->huge = level == 3;
            return take_leaf(k, at, 8, e, again);
        }
        if ((lma || level < 3) && !set_bits(k, at, 8, e, PTE_A)) {
            *again = true;
            return PF_NONE;
        }
        table = e & PTE_ADDR;
        if (level == 2) {
            keep_table(k, table);
        }
    }
}

static int walk_once(const struct walker *k, bool *again)
{
    *k->p = (struct page){ 0 };
    return k->c->cr4 & CR4_PAE ? walk_long(k, again) : walk_legacy(k, again);
}

int mmu_walk(const struct walker *k)
{
    struct x86_cpu *c = k->c;
    struct page *p = k->p;
    if (!(c->cr0 & CR0_PG)) {
        *p = (struct page){ .phys = (uint32_t)k->linear & ~(uint32_t)PAGE_MASK,
                            .w = true,
                            .u = true,
                            .x = true,
                            .dirty = true };
        return PF_NONE;
    }
    if (c->efer & EFER_LMA && !x86_canonical(k->linear)) {
        return PF_NONCANON;
    }
    bool again, kept;
    int code;
    do {
        again = false;
        kept = find_table(k) != 0;
        code = walk_once(k, &again);
        if (code != PF_NONE && kept) { /* it may be old */
            kept_slot(c, k->linear)->tag = 0;
            again = true;
        }
    } while (again);
    return code;
}
