/* SPDX-License-Identifier: MIT */
/* target/x86/tables.h - everything a guest's page tables map, for whoever looks from outside.
 *
 * Called while the vCPU is paused or by its own thread; no accessed bit is set, nothing of the guest
 * changes. Reference: SDM volume 3, 4.3 to 4.5.
 */
#ifndef TARGET_X86_TABLES_H
#define TARGET_X86_TABLES_H

#include <stdint.h>

struct x86_cpu;

enum {
    PTE_P = 1,
    PTE_W = 2,
    PTE_U = 4,
    PTE_PWT = 8,
    PTE_PCD = 16,
    PTE_A = 32,
    PTE_D = 64,
    PTE_PS = 128,
    PTE_G = 256,
};
#define PTE_NX (1ull << 63)
#define PTE_ADDR 0x000ffffffffff000ull

struct x86_mapping {
    uint64_t linear, phys, len; /* one page */
    uint64_t pte;               /* its own entry */
    uint64_t rights;            /* PTE_W and PTE_U, of all levels together */
};
enum x86_tables {
    X86_TABLES_OFF, /* no paging: nothing was called */
    X86_TABLES_ALL,
    X86_TABLES_CUT, /* they have more than X86_TABLES_MOST entries, as some that point at themselves */
};
#define X86_TABLES_MOST (1u << 20)

/* Calls fn for each page, by rising address. */
enum x86_tables x86_each_mapping(const struct x86_cpu *c,
                                 void (*fn)(void *o, const struct x86_mapping *m), void *o);

#endif
