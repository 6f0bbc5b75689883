/* SPDX-License-Identifier: MIT */
/* target/x86/tables.c - a walk over all of a guest's page tables. */
#include "target/x86/tables.h"

#include <stdbool.h>

#include "ioreq/machine.h"
#include "target/x86/cpu.h"

/* One kind of page table: how many levels, and what an entry is. */
struct paging {
    unsigned levels, index_bits, entry_bytes;
    bool big_at[5]; /* PS means something at this level, 1 the lowest */
};

struct walk {
    const struct x86_cpu *c;
    struct paging p;
    void (*fn)(void *o, const struct x86_mapping *m);
    void *o;
    unsigned budget; /* entries still looked at: tables may point at themselves */
};

static struct paging paging_of(const struct x86_cpu *c)
{
    if (c->efer & EFER_LMA) {
        return (struct paging){ 4, 9, 8, { [2] = true, [3] = true } };
    }
    if (c->cr4 & CR4_PAE) {
        return (struct paging){ 3, 9, 8, { [2] = true } };
    }
    return (struct paging){ 2, 10, 4, { [2] = (c->cr4 & CR4_PSE) != 0 } };
}

static uint64_t canonical(const struct walk *w, uint64_t linear)
{
    return w->p.levels == 4 ? (uint64_t)((int64_t)(linear << 16) >> 16) : linear;
}

static uint64_t big_page_address(const struct walk *w, uint64_t pte, unsigned shift)
{
    uint64_t low = (1ull << shift) - 1;
    if (w->p.entry_bytes == 4) { /* PSE-36: bits 20..13 are address bits 39..32 */
        return (pte & 0xffc00000) | (pte >> 13 & 0xff) << 32;
    }
    return pte & PTE_ADDR & ~low;
}

static void walk_table(struct walk *w, uint64_t table, unsigned level, uint64_t linear,
                       uint64_t rights)
{
    unsigned shift = 12 + w->p.index_bits * (level - 1);
    unsigned n = w->p.levels == 3 && level == 3 ? 4 : 1u << w->p.index_bits;
    for (unsigned i = 0; i < n; i++) {
        uint64_t pte = 0, at = linear | (uint64_t)i << shift;
        if (w->budget == 0 || --w->budget == 0) {
            return;
        }
        if (gmem_peek(w->c->m, table + i * w->p.entry_bytes, &pte, w->p.entry_bytes) < 0) {
            return;
        }
        if (!(pte & PTE_P)) {
            continue;
        }
        bool pdpte = w->p.levels == 3 && level == 3; /* has no rights of its own */
        uint64_t sum = pdpte ? rights : rights & (pte | ~(uint64_t)(PTE_W | PTE_U));
        bool big = w->p.big_at[level] && (pte & PTE_PS);
        if (level == 1 || big) {
            struct x86_mapping m = {
                .linear = canonical(w, at),
                .phys = big ? big_page_address(w, pte, shift) : pte & PTE_ADDR,
                .len = 1ull << shift,
                .pte = pte,
                .rights = sum & (PTE_W | PTE_U),
            };
            w->fn(w->o, &m);
        } else {
            walk_table(w, pte & PTE_ADDR, level - 1, at, sum);
        }
    }
}

enum x86_tables x86_each_mapping(const struct x86_cpu *c,
                                 void (*fn)(void *o, const struct x86_mapping *m), void *o)
{
    struct walk w = { .c = c, .p = paging_of(c), .fn = fn, .o = o, .budget = X86_TABLES_MOST };
    if (!(c->cr0 & CR0_PG)) {
        return X86_TABLES_OFF;
    }
    uint64_t root = c->cr3 & (w.p.levels == 3 ? 0xffffffe0ull : PTE_ADDR);
    walk_table(&w, root, w.p.levels, 0, PTE_W | PTE_U);
    return w.budget ? X86_TABLES_ALL : X86_TABLES_CUT;
}
