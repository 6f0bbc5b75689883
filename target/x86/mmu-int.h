/* SPDX-License-Identifier: MIT */
/* target/x86/mmu-int.h - what walk.c (page tables) and mmu.c (soft TLB, accesses) share. */
#ifndef TARGET_X86_MMU_INT_H
#define TARGET_X86_MMU_INT_H

#include "target/x86/x86-int.h"

#define PAGE_MASK 0xfffull
enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16, PF_NONE = -1, PF_NONCANON = -2 };

/* What a walk found. */
struct page {
    uint64_t phys;
    bool w, u, x, dirty, large, huge, global; /* large: of 2 or 4 MiB; huge: 1 GiB */
    uint8_t *host;                            /* NULL: devices */
    unsigned flags;                           /* SOFT_* */
};

struct walker {
    struct x86_cpu *c;
    uint64_t linear;
    enum x86_access how;
    unsigned mode; /* TLB_*: the rights */
    bool quiet;    /* the debugger looks: set no bits */
    bool no_code;  /* called with the translator's lock: do not look for code in page tables */
    struct page *p;
};

/* Finds the page and sets A and D bits; PF_NONE, or the fault's code. */
int mmu_walk(const struct walker *k);
/* Whether the page allows that with the walker's rights. */
bool mmu_allowed(const struct walker *k, const struct page *p, enum x86_access how);
/* soft_page, by way of what it said last. */
uint8_t *mmu_soft_page(struct x86_cpu *c, uint64_t phys, unsigned *flags);

#endif
