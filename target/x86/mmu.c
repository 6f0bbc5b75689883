/* SPDX-License-Identifier: MIT */
/* target/x86/mmu.c - from linear addresses to memory: page tables, soft TLB, everything not plain.
 *
 *   translated code --miss--> load, store --> in one page? --> tlb_fill: walk, soft_page, new entry
 *                                                         |--> plain memory, or ioreq_run
 *
 * A table for each set of rights (TLB_*): an entry's tags say what is plain with those rights. What
 * is never plain: devices, ROM for writing, pages with translated code for writing, pages with a
 * data breakpoint, clean pages whose D bit must be set first, pages whose writes are logged.
 *
 * Other threads only ever take tags away (x86_tlb_drop_writes) or ask for a flush; tlb_gen and the
 * second look at tcg_page_has_code catch what they change while an entry is being made.
 * Reference: SDM vol. 3 chapter 4.
 */
#include "ioreq/machine.h"
#include "ioreq/soft.h"
#include "target/x86/vcpu-int.h"
#include "target/x86/debug.h"
#include "target/x86/x86-int.h"

#define PAGE_MASK 0xfffull
enum { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_A = 0x20, PTE_D = 0x40, PTE_PS = 0x80, PTE_G = 0x100 };
#define PHYS_GLOBAL 1ull /* in tlb_phys */
#define PTE_NX (1ull << 63)
#define PTE_ADDR 0x000ffffffffff000ull
enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16, PF_NONE = -1, PF_NONCANON = -2 };

/* What a walk found. */
struct page {
    uint64_t phys;
    bool w, u, x, dirty, large, huge, global; /* large: of 2 or 4 MiB; huge: 1 GiB */
    uint8_t *host;                            /* NULL: devices */
    unsigned flags;                           /* SOFT_* */
};

/* ---- page tables ---- */

struct walker {
    struct x86_cpu *c;
    uint64_t linear;
    enum x86_access how;
    unsigned mode; /* TLB_*: the rights */
    bool quiet;    /* the debugger looks: set no bits */
    bool no_code;  /* called with the translator's lock: do not look for code in page tables */
    struct page *p;
};

static uint8_t *table_host(struct x86_cpu *c, uint64_t gpa)
{
    gpa &= c->a20_mask;
    if (gpa - 0x100000 < c->ram_len) {
        return c->ram + (gpa - 0x100000);
    }
    unsigned flags = 0;
    uint8_t *h = soft_page(c->soft, gpa & ~PAGE_MASK, c->smm, &flags);
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
    uint8_t *h = soft_page(c->soft, gpa & ~PAGE_MASK, c->smm, &flags);
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

static bool allowed(const struct walker *k, const struct page *p, enum x86_access how)
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
    if (!allowed(k, p, k->how) && !k->quiet) {
        return fault_code(k, PF_P);
    }
    uint64_t bits = PTE_A | (k->how == ACC_WRITE ? PTE_D : 0);
    *again = !set_bits(k, at, size, e, bits);
    p->dirty = (e | bits) & PTE_D;
    p->global = e & PTE_G && k->c->cr4 & CR4_PGE;
    return PF_NONE;
}

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
    if (level == 4) {
        r |= PTE_PS;
    } else if (large) {
        r |= level == 2 ? 0x1fe000u : 0x3fffe000u;
    }
    if (!(c->efer & EFER_LMA)) {
        r |= 0x7ff0000000000000ull;
    }
    return r;
}

/* PAE and 4-level tables (SDM 4.4, 4.5). */
static int walk_long(const struct walker *k, bool *again)
{
    struct x86_cpu *c = k->c;
    struct page *p = k->p;
    bool lma = c->efer & EFER_LMA;
    unsigned level = lma ? 4 : 3;
    uint64_t table = lma ? c->cr3 & PTE_ADDR & c->phys_mask : c->cr3 & 0xffffffe0u;
    p->w = p->u = p->x = true;
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
    }
}

/* PF_NONE, or the fault's code. */
static int walk(const struct walker *k)
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
    bool again;
    int code;
    do {
        again = false;
        *p = (struct page){ 0 };
        code = c->cr4 & CR4_PAE ? walk_long(k, &again) : walk_legacy(k, &again);
    } while (code == PF_NONE && again);
    return code;
}

/* ---- the soft TLB ---- */

static inline uint64_t large_page_bit(uint64_t linear, unsigned *word)
{
    uint64_t n = linear >> 22;
    *word = (n ^ n >> 9) >> 6 & 7;
    return 1ull << ((n ^ n >> 9) & 63);
}

static void note_large(struct x86_cpu *c, uint64_t linear)
{
    unsigned word;
    uint64_t bit = large_page_bit(linear, &word);
    c->large_pages[word] |= bit;
}

static void note_huge(struct x86_cpu *c, uint64_t linear)
{
    unsigned half = (unsigned)(linear >> 63);
    if (c->large_lo[half] > linear || c->large_hi[half] < linear) {
        uint64_t lo = linear & ~0x3fffffffull, hi = linear | 0x3fffffff;
        bool none = c->large_lo[half] > c->large_hi[half];
        c->large_lo[half] = none || lo < c->large_lo[half] ? lo : c->large_lo[half];
        c->large_hi[half] = none || hi > c->large_hi[half] ? hi : c->large_hi[half];
    }
}

static void note_local(struct x86_cpu *c, unsigned mode, unsigned slot)
{
    unsigned n = c->local_n[mode];
    if (n < sizeof(c->local_slot[0]) / sizeof(c->local_slot[0][0])) {
        c->local_slot[mode][n] = (uint16_t)slot;
    }
    c->local_n[mode] = n + 1;
}

static bool write_is_plain(const struct walker *k, const struct page *p)
{
    return p->dirty && p->flags & SOFT_WRITE && allowed(k, p, ACC_WRITE) &&
           (!(p->flags & SOFT_LOG) || k->how == ACC_WRITE) &&
           !tcg_page_has_code(k->c->tcg.tcg, p->phys);
}

static void enter_page(const struct walker *k, const struct page *p, uint32_t gen)
{
    struct x86_cpu *c = k->c;
    uint64_t tag = k->linear & ~PAGE_MASK;
    struct tcg_tlb *tlb = &c->tcg.tlbs[k->mode];
    struct tcg_tlb_entry *e = tcg_tlb_slot(tlb, tag);
    bool readable = p->host && p->flags & SOFT_READ, watched = x86_watch_page(c, tag);
    if (!p->host) {
        tcg_tlb_set(tlb, tag, NULL, false, false, false);
        return;
    }
    bool write = !watched && write_is_plain(k, p);
    unsigned slot = (unsigned)(e - tlb->e);
    c->tlb_phys[k->mode][slot] = p->phys | (p->global ? PHYS_GLOBAL : 0);
    if (!p->global) {
        note_local(c, k->mode, slot);
    }
    tcg_tlb_set(tlb, tag, p->host, readable && !watched && allowed(k, p, ACC_READ), write,
                readable && allowed(k, p, ACC_EXEC));
    if (p->large) {
        note_large(c, tag);
    } else if (p->huge) {
        note_huge(c, tag);
    }
    __atomic_thread_fence(
        __ATOMIC_SEQ_CST); /* the tags are out: look again at what took them away */
    if (write && tcg_page_has_code(c->tcg.tcg, p->phys)) {
        e->write = TLB_NEVER(tag);
    }
    if (__atomic_load_n(&c->tlb_gen, __ATOMIC_SEQ_CST) != gen) {
        tcg_tlb_set(tlb, tag, NULL, false, false, false);
    }
}

/* Translates and enters; PF_NONE or the fault's code. */
static int tlb_fill(const struct walker *k)
{
    struct x86_cpu *c = k->c;
    struct page *p = k->p;
    uint32_t gen = __atomic_load_n(&c->tlb_gen, __ATOMIC_SEQ_CST);
    int code = walk(k);
    if (code != PF_NONE) {
        return code;
    }
    p->phys &= c->a20_mask;
    p->flags = 0;
    p->host = soft_page(c->soft, p->phys, c->smm, &p->flags);
    if (k->how == ACC_WRITE && p->host && p->flags & SOFT_LOG) {
        soft_mark_dirty(c->soft, p->phys);
    }
    enter_page(k, p, gen);
    return PF_NONE;
}

static void raise_fault(struct x86_cpu *c, uint64_t linear, int code)
{
    if (!c->outside) {
        tcg_sync_pc(&c->tcg);
        x86_mf_before_fault(c);
    }
    if (code == PF_NONCANON) {
        x86_raise_noncanonical(c, linear);
    }
    c->cr2 = linear;
    x86_raise_code(c, EX_PF, (uint32_t)code);
}

static void fill_or_raise(struct x86_cpu *c, unsigned mode, uint64_t linear, enum x86_access how,
                          struct page *p)
{
    struct walker k = { .c = c, .linear = linear, .how = how, .mode = mode, .p = p };
    int code = tlb_fill(&k);
    if (code != PF_NONE) {
        raise_fault(c, linear, code);
    }
}

static inline uint8_t *plain_read(struct x86_cpu *c, unsigned mode, uint64_t linear)
{
    const struct tcg_tlb_entry *e = tcg_tlb_slot(&c->tcg.tlbs[mode], linear);
    return e->read == (linear & ~PAGE_MASK) ? e->host + (linear & PAGE_MASK) : NULL;
}

static inline uint8_t *plain_write(struct x86_cpu *c, unsigned mode, uint64_t linear)
{
    const struct tcg_tlb_entry *e = tcg_tlb_slot(&c->tcg.tlbs[mode], linear);
    return e->write == (linear & ~PAGE_MASK) ? e->host + (linear & PAGE_MASK) : NULL;
}

enum { LOCAL_LISTED = sizeof(((struct x86_cpu *)0)->local_slot[0]) / sizeof(uint16_t) };

/* Drops what is not global from one table. */
static void flush_local(struct x86_cpu *c, unsigned m)
{
    struct tcg_tlb *tlb = &c->tcg.tlbs[m];
    if (c->local_n[m] <= LOCAL_LISTED) {
        for (unsigned i = 0; i < c->local_n[m]; i++) {
            tcg_tlb_set(tlb, (uint64_t)c->local_slot[m][i] << 12, NULL, false, false, false);
        }
    } else {
        for (uint64_t i = 0; i < TLB_SIZE; i++) {
            if (!(c->tlb_phys[m][i] & PHYS_GLOBAL)) {
                tcg_tlb_set(tlb, i << 12, NULL, false, false, false);
            }
        }
    }
    c->local_n[m] = 0;
    if (c->local_code[m]) {
        tcg_jc_flush_mode(&c->tcg, m);
        c->local_code[m] = false;
    }
}

void x86_tlb_flush(struct x86_cpu *c, bool global_too)
{
    if (!global_too && c->cr4 & CR4_PGE) {
        for (unsigned m = 0; m < TLB_MODES; m++) {
            flush_local(c, m);
        }
        return;
    }
    tcg_tlb_flush(&c->tcg);
    tcg_jc_flush(&c->tcg);
    memset(c->local_n, 0, sizeof(c->local_n));
    memset(c->local_code, 0, sizeof(c->local_code));
    memset(c->code_pages, 0, sizeof(c->code_pages));
    memset(c->large_pages, 0, sizeof(c->large_pages));
    c->large_lo[0] = c->large_lo[1] = UINT64_MAX;
    c->large_hi[0] = c->large_hi[1] = 0;
}

static inline uint64_t code_page_bit(uint64_t linear, unsigned *word)
{
    uint64_t n = linear >> 12;
    *word = (n ^ n >> 9) >> 6 & 7;
    return 1ull << ((n ^ n >> 9) & 63);
}

void x86_tlb_flush_page(struct x86_cpu *c, uint64_t linear)
{
    unsigned half = (unsigned)(linear >> 63), word;
    uint64_t bit = large_page_bit(linear, &word);
    if ((linear >= c->large_lo[half] && linear <= c->large_hi[half]) ||
        c->large_pages[word] & bit) {
        x86_tlb_flush(c, true);
        return;
    }
    for (unsigned m = 0; m < TLB_MODES; m++) {
        tcg_tlb_set(&c->tcg.tlbs[m], linear, NULL, false, false, false);
    }
    bit = code_page_bit(linear, &word);
    if (c->code_pages[word] & bit) {
        tcg_jc_flush(&c->tcg);
        memset(c->code_pages, 0, sizeof(c->code_pages));
    }
}

void x86_tlb_drop_writes(struct x86_cpu *c, uint64_t first, uint64_t last)
{
    for (unsigned m = 0; m < TLB_MODES; m++) {
        for (unsigned i = 0; i < TLB_SIZE; i++) {
            struct tcg_tlb_entry *e = &c->tcg.tlbs[m].e[i];
            uint64_t page = c->tlb_phys[m][i] & ~PAGE_MASK;
            if ((page | PAGE_MASK) >= first && page <= last) {
                __atomic_store_n(&e->write, TLB_NEVER((uint64_t)i << 12), __ATOMIC_SEQ_CST);
            }
        }
    }
}

/* ---- devices ---- */

/* The largest naturally aligned piece of [at, at + n). */
static unsigned piece(uint64_t at, unsigned n)
{
    unsigned p = 8;
    while (p > n || (p > 1 && at & (p - 1) && n != p)) {
        p >>= 1;
    }
    return p;
}

static uint64_t device_read(struct x86_cpu *c, uint64_t phys, unsigned size)
{
    uint64_t v = 0;
    for (unsigned at = 0, n; at < size; at += n) {
        n = piece(phys + at, size - at);
        struct io_req r = { .addr = phys + at, .count = 1, .size = (uint8_t)n, .space = IO_MMIO };
        x86_io(c, &r);
        uint64_t got = n == 8 ? r.data : r.data & ((1ull << 8 * n) - 1);
        v |= got << 8 * at;
    }
    return v;
}

static void device_write(struct x86_cpu *c, uint64_t phys, unsigned size, uint64_t val)
{
    for (unsigned at = 0, n; at < size; at += n) {
        n = piece(phys + at, size - at);
        struct io_req r = { .addr = phys + at,
                            .data = val >> 8 * at,
                            .count = 1,
                            .size = (uint8_t)n,
                            .space = IO_MMIO,
                            .write = true };
        x86_io(c, &r);
    }
}

/* ---- one page ---- */

static uint64_t load_here(struct x86_cpu *c, unsigned mode, uint64_t linear, unsigned size)
{
    const uint8_t *h = plain_read(c, mode, linear);
    if (h) {
        return load_le(h, size);
    }
    struct page p;
    fill_or_raise(c, mode, linear, ACC_READ, &p);
    x86_watch_check(c, linear, size, false);
    if (p.host && p.flags & SOFT_READ) {
        return load_le(p.host + (linear & PAGE_MASK), size);
    }
    return device_read(c, p.phys | (linear & PAGE_MASK), size);
}

/* A page with translated code: its blocks go before the bytes change. */
static void before_code_changes(struct x86_cpu *c, uint64_t phys, unsigned size)
{
    bool inside = !c->outside && !c->ends_block;
    if (tcg_page_has_code(c->tcg.tcg, phys) &&
        tcg_invalidate(c->tcg.tcg, inside ? &c->tcg : NULL, phys, size)) {
        tcg_retry_single(&c->tcg);
    }
}

static void store_found(struct x86_cpu *c, const struct page *p, uint64_t linear, const void *buf,
                        unsigned size)
{
    uint64_t phys = p->phys | (linear & PAGE_MASK);
    x86_watch_check(c, linear, size, true);
    if (p->host && p->flags & SOFT_WRITE) {
        before_code_changes(c, phys, size);
        memcpy(p->host + (linear & PAGE_MASK), buf, size);
    } else if (!(p->host && p->flags & SOFT_IGNORE)) {
        for (unsigned at = 0; at < size; at += 8) {
            unsigned n = size - at < 8 ? size - at : 8;
            device_write(c, phys + at, n, load_le((const uint8_t *)buf + at, n));
        }
    }
}

static void store_here(struct x86_cpu *c, unsigned mode, uint64_t linear, unsigned size,
                       uint64_t val)
{
    uint8_t *h = plain_write(c, mode, linear);
    if (h) {
        store_le(h, size, val);
        return;
    }
    struct page p;
    fill_or_raise(c, mode, linear, ACC_WRITE, &p);
    store_found(c, &p, linear, &val, size);
}

static void probe_here(struct x86_cpu *c, unsigned mode, uint64_t linear)
{
    if (!plain_write(c, mode, linear)) {
        struct page p;
        fill_or_raise(c, mode, linear, ACC_WRITE, &p);
    }
}

/* ---- any address ---- */

/* Bytes of [linear, linear + size) on its first page. */
static inline unsigned first_part(uint64_t linear, unsigned size)
{
    unsigned room = 4096 - (unsigned)(linear & PAGE_MASK);
    return size < room ? size : room;
}

static inline uint64_t advance(const struct x86_cpu *c, uint64_t linear, unsigned n)
{
    return linear >> 32 || c->mode & MODE_CS64 ? linear + n : (uint32_t)(linear + n);
}

uint64_t x86_ld_as(struct x86_cpu *c, unsigned mode, uint64_t linear, unsigned size)
{
    unsigned n = first_part(linear, size);
    if (n == size) {
        return load_here(c, mode, linear, size);
    }
    uint64_t lo = load_here(c, mode, linear, n);
    return lo | load_here(c, mode, advance(c, linear, n), size - n) << 8 * n;
}

void x86_st_as(struct x86_cpu *c, unsigned mode, uint64_t linear, unsigned size, uint64_t val)
{
    unsigned n = first_part(linear, size);
    if (n == size) {
        store_here(c, mode, linear, size, val);
        return;
    }
    uint64_t second = advance(c, linear, n);
    probe_here(c, mode, linear);
    probe_here(c, mode, second);
    store_here(c, mode, linear, n, val);
    store_here(c, mode, second, size - n, val >> 8 * n);
}

void x86_probe_as(struct x86_cpu *c, unsigned mode, uint64_t linear, unsigned size)
{
    unsigned n = first_part(linear, size);
    probe_here(c, mode, linear);
    if (n < size) {
        probe_here(c, mode, advance(c, linear, n));
    }
}

static void read_here(struct x86_cpu *c, unsigned mode, uint64_t linear, uint8_t *buf, unsigned n)
{
    const uint8_t *h = plain_read(c, mode, linear);
    struct page p;
    if (!h) {
        fill_or_raise(c, mode, linear, ACC_READ, &p);
        x86_watch_check(c, linear, n, false);
        h = p.host && p.flags & SOFT_READ ? p.host + (linear & PAGE_MASK) : NULL;
    }
    if (h) {
        memcpy(buf, h, n);
        return;
    }
    for (unsigned at = 0, s; at < n; at += s) {
        s = n - at < 8 ? n - at : 8;
        store_le(buf + at, s, device_read(c, (p.phys | (linear & PAGE_MASK)) + at, s));
    }
}

static void write_here(struct x86_cpu *c, unsigned mode, uint64_t linear, const uint8_t *buf,
                       unsigned n)
{
    uint8_t *h = plain_write(c, mode, linear);
    if (h) {
        memcpy(h, buf, n);
        return;
    }
    struct page p;
    fill_or_raise(c, mode, linear, ACC_WRITE, &p);
    store_found(c, &p, linear, buf, n);
}

void x86_read_bytes(struct x86_cpu *c, unsigned mode, uint64_t linear, void *buf, unsigned size)
{
    uint8_t *to = buf;
    for (unsigned n; size; size -= n, to += n, linear = advance(c, linear, n)) {
        n = first_part(linear, size);
        read_here(c, mode, linear, to, n);
    }
}

void x86_write_bytes(struct x86_cpu *c, unsigned mode, uint64_t linear, const void *buf,
                     unsigned size)
{
    const uint8_t *from = buf;
    unsigned first = first_part(linear, size);
    if (first < size) {
        x86_probe_as(c, mode, linear, size); /* all or nothing */
    }
    for (unsigned n; size; size -= n, from += n, linear = advance(c, linear, n)) {
        n = first_part(linear, size);
        write_here(c, mode, linear, from, n);
    }
}

/* ---- the engine's callbacks ---- */

static inline unsigned mode_now(const struct x86_cpu *c)
{
    return (unsigned)(c->tcg.tlb - c->tcg.tlbs);
}

uint64_t x86_mmu_load(struct tcg_cpu *cpu, uint64_t linear, unsigned size)
{
    struct x86_cpu *c = x86_of(cpu);
    return x86_ld_as(c, mode_now(c), linear, size);
}

void x86_mmu_store(struct tcg_cpu *cpu, uint64_t linear, unsigned size, uint64_t val)
{
    struct x86_cpu *c = x86_of(cpu);
    x86_st_as(c, mode_now(c), linear, size, val);
}

void x86_mmu_load_bytes(struct tcg_cpu *cpu, uint64_t linear, void *buf, unsigned size)
{
    struct x86_cpu *c = x86_of(cpu);
    x86_read_bytes(c, mode_now(c), linear, buf, size);
}

void x86_mmu_store_bytes(struct tcg_cpu *cpu, uint64_t linear, const void *buf, unsigned size)
{
    struct x86_cpu *c = x86_of(cpu);
    x86_write_bytes(c, mode_now(c), linear, buf, size);
}

void x86_mmu_probe_write(struct tcg_cpu *cpu, uint64_t linear, unsigned size)
{
    struct x86_cpu *c = x86_of(cpu);
    x86_probe_as(c, mode_now(c), linear, size);
}

void *x86_mmu_host_write(struct tcg_cpu *cpu, uint64_t linear, unsigned size)
{
    struct x86_cpu *c = x86_of(cpu);
    if (first_part(linear, size) < size) {
        x86_probe_as(c, mode_now(c), linear, size);
        return NULL;
    }
    probe_here(c, mode_now(c), linear);
    return plain_write(c, mode_now(c), linear);
}

void x86_unaligned(struct tcg_cpu *cpu, uint64_t linear)
{
    (void)linear;
    tcg_sync_pc(cpu);
    x86_mf_before_fault(x86_of(cpu));
    x86_raise_code(x86_of(cpu), EX_GP, 0);
}

/* ---- for helpers ---- */

uint64_t x86_ld(struct x86_cpu *c, uint64_t linear, unsigned size)
{
    return x86_ld_as(c, mode_now(c), linear, size);
}

void x86_st(struct x86_cpu *c, uint64_t linear, unsigned size, uint64_t val)
{
    x86_st_as(c, mode_now(c), linear, size, val);
}

uint64_t x86_ld_kernel(struct x86_cpu *c, uint64_t linear, unsigned size)
{
    return x86_ld_as(c, TLB_KERNEL, linear, size);
}

void x86_st_kernel(struct x86_cpu *c, uint64_t linear, unsigned size, uint64_t val)
{
    x86_st_as(c, TLB_KERNEL, linear, size, val);
}

void *x86_host_page(struct x86_cpu *c, uint64_t linear, enum x86_access how)
{
    unsigned mode = mode_now(c);
    uint8_t *h = how == ACC_WRITE ? plain_write(c, mode, linear) : plain_read(c, mode, linear);
    if (!h) {
        struct page p;
        fill_or_raise(c, mode, linear, how, &p);
        h = how == ACC_WRITE ? plain_write(c, mode, linear) : plain_read(c, mode, linear);
    }
    return h;
}

static unsigned exec_mode(const struct x86_cpu *c)
{
    return x86_cpl(c) == 3 ? TLB_USER : TLB_KERNEL;
}

static bool fetch_page(struct x86_cpu *c, uint64_t linear, struct page *p, int *code)
{
    unsigned mode = exec_mode(c), word;
    struct tcg_tlb_entry *e = tcg_tlb_slot(&c->tcg.tlbs[mode], linear);
    uint64_t bit = code_page_bit(linear, &word);
    c->code_pages[word] |= bit;
    if (e->exec == (linear & ~PAGE_MASK)) {
        uint64_t phys = c->tlb_phys[mode][e - c->tcg.tlbs[mode].e];
        p->phys = phys & ~PAGE_MASK;
        p->global = phys & PHYS_GLOBAL;
        p->host = e->host;
        p->flags = SOFT_READ;
        c->local_code[mode_now(c)] |= !p->global;
        return true;
    }
    struct walker k = {
        .c = c, .linear = linear, .how = ACC_EXEC, .mode = mode, .no_code = true, .p = p
    };
    *code = tlb_fill(&k);
    c->local_code[mode_now(c)] |= !p->global;
    return *code == PF_NONE;
}

uint64_t x86_fetch_phys(struct x86_cpu *c, uint64_t linear)
{
    struct page p;
    int code;
    if (!fetch_page(c, linear, &p, &code)) {
        raise_fault(c, linear, code);
    }
    return p.phys | (linear & PAGE_MASK);
}

const uint8_t *x86_fetch(struct x86_cpu *c, uint64_t linear, unsigned *avail, bool *fault)
{
    struct page p;
    int code;
    *avail = 4096 - (unsigned)(linear & PAGE_MASK);
    *fault = !fetch_page(c, linear, &p, &code);
    if (*fault || !p.host || !(p.flags & SOFT_READ)) {
        return NULL;
    }
    return p.host + (linear & PAGE_MASK);
}

bool x86_fetch_byte(struct x86_cpu *c, uint64_t linear, uint8_t *byte)
{
    unsigned avail;
    bool fault;
    const uint8_t *h = x86_fetch(c, linear, &avail, &fault);
    *byte = h ? *h : 0xff;
    return !fault;
}

bool x86_debug_translate(struct x86_cpu *c, uint64_t linear, uint64_t *phys)
{
    struct page p;
    struct walker k = {
        .c = c, .linear = linear, .how = ACC_READ, .mode = TLB_KERNEL_AC, .quiet = true, .p = &p
    };
    if (walk(&k) != PF_NONE) {
        return false;
    }
    *phys = (p.phys & c->a20_mask) | (linear & PAGE_MASK);
    return true;
}

/* ---- physical memory ---- */

uint64_t x86_ld_phys(struct x86_cpu *c, uint64_t phys, unsigned size)
{
    unsigned flags = 0;
    const uint8_t *h = soft_page(c->soft, phys & ~PAGE_MASK, c->smm, &flags);
    return h && flags & SOFT_READ ? load_le(h + (phys & PAGE_MASK), size)
                                  : device_read(c, phys, size);
}

void x86_st_phys(struct x86_cpu *c, uint64_t phys, unsigned size, uint64_t val)
{
    struct page p = { .phys = phys & ~PAGE_MASK };
    p.host = soft_page(c->soft, p.phys, c->smm, &p.flags);
    if (p.host && p.flags & SOFT_LOG) {
        soft_mark_dirty(c->soft, p.phys);
    }
    if (p.host && p.flags & SOFT_WRITE && tcg_page_has_code(c->tcg.tcg, phys)) {
        tcg_invalidate(c->tcg.tcg, NULL, phys, size);
    }
    if (p.host && p.flags & SOFT_WRITE) {
        store_le(p.host + (phys & PAGE_MASK), size, val);
    } else if (!(p.host && p.flags & SOFT_IGNORE)) {
        device_write(c, phys, size, val);
    }
}

/* ---- data breakpoints (SDM vol. 3, 18.2) ---- */

/* Whether DRn watches [linear, linear + size) for that kind of access. */
static bool watches(const struct x86_cpu *c, unsigned n, uint64_t linear, uint64_t size)
{
    static const uint8_t lens[4] = { 1, 2, 8, 4 };
    unsigned rw = c->dr[7] >> (16 + 4 * n) & 3;
    uint64_t len = lens[c->dr[7] >> (18 + 4 * n) & 3], at = c->dr[n] & ~(len - 1);
    return c->dr[7] >> 2 * n & 3 && rw & 1 && linear < at + len && at < linear + size;
}

bool x86_watch_page(const struct x86_cpu *c, uint64_t linear)
{
    if (x86_debug_watches_page(c->debug, linear)) {
        return true;
    }
    if (!(c->dr[7] & 0xff)) {
        return false;
    }
    for (unsigned n = 0; n < 4; n++) {
        if (watches(c, n, linear & ~PAGE_MASK, 4096)) {
            return true;
        }
    }
    return false;
}

void x86_watch_check(struct x86_cpu *c, uint64_t linear, unsigned size, bool write)
{
    if (x86_debug_watch_hit(c->debug, linear, size, write, &c->watch_addr, &c->watch_how)) {
        x86_debug_trap(c, DB_WATCHED);
    }
    if (!(c->dr[7] & 0xff)) {
        return;
    }
    uint64_t hit = 0;
    for (unsigned n = 0; n < 4; n++) {
        bool reads = (c->dr[7] >> (16 + 4 * n) & 3) == 3;
        if ((write || reads) && watches(c, n, linear, size)) {
            hit |= 1ull << n;
        }
    }
    if (hit) {
        x86_debug_trap(c, hit);
    }
}
