/* SPDX-License-Identifier: MIT */
/* target/x86/dump.c - registers and page tables as text. Reference: SDM vol. 3, 4.3 to 4.5. */
#include "target/x86/dump.h"

#include "ioreq/machine.h"
#include "target/x86/cpu.h"

#include <string.h>

typedef unsigned long long ull;

/* ---- registers ---- */

static const char *const gpr_names[16] = { "AX", "CX", "DX", "BX", "SP", "BP", "SI", "DI",
                                           "8",  "9",  "10", "11", "12", "13", "14", "15" };
static const uint8_t gpr_order[16] = { RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP,
                                       8,   9,   10,  11,  12,  13,  14,  15 };

static void dump_general(const struct x86_cpu *c, bool wide, FILE *out)
{
    for (unsigned i = 0; i < (wide ? 16u : 8u); i++) {
        unsigned r = gpr_order[i];
        if (wide) {
            fprintf(out, "R%-2s=%016llx%c", gpr_names[r], (ull)c->tcg.gpr[r],
                    i % 4 == 3 ? '\n' : ' ');
        } else {
            fprintf(out, "E%s=%08x%c", gpr_names[r], (uint32_t)c->tcg.gpr[r],
                    i % 4 == 3 ? '\n' : ' ');
        }
    }
}

static void dump_flags(const struct x86_cpu *c, bool wide, FILE *out)
{
    static const struct {
        uint32_t bit;
        char name;
    } letters[] = { { EF_DF, 'D' }, { F_OF, 'O' }, { F_SF, 'S' }, { F_ZF, 'Z' },
                    { F_AF, 'A' },  { F_PF, 'P' }, { F_CF, 'C' } };
    uint64_t f = x86_get_eflags(c);
    char text[8] = "-------";
    for (unsigned i = 0; i < 7; i++) {
        if (f & letters[i].bit) {
            text[i] = letters[i].name;
        }
    }
    fprintf(out, wide ? "RIP=%016llx RFL=%08x" : "EIP=%08llx EFL=%08x", (ull)c->tcg.pc,
            (uint32_t)f);
    fprintf(out, " [%s] CPL=%u II=%d A20=%d SMM=%d HLT=%d\n", text, x86_cpl(c), c->inhibit,
            (int)(c->a20_mask >> 20 & 1), c->smm, c->halted);
}

static void dump_segment(const char *name, uint16_t sel, uint64_t base, uint32_t limit,
                         uint16_t flags, bool wide, FILE *out)
{
    fprintf(out, "%-3s=%04x %0*llx %08x %08x\n", name, sel, wide ? 16 : 8, (ull)base, limit,
            (uint32_t)flags << 8);
}

static void dump_segments(const struct x86_cpu *c, bool wide, FILE *out)
{
    static const char *const names[6] = { "ES", "CS", "SS", "DS", "FS", "GS" };
    for (unsigned i = 0; i < 6; i++) {
        dump_segment(names[i], c->seg[i].sel, c->tcg.seg_base[i], c->seg[i].limit, c->seg[i].flags,
                     wide, out);
    }
    dump_segment("LDT", c->ldt.sel, c->ldt.base, c->ldt.limit, c->ldt.flags, wide, out);
    dump_segment("TR", c->tr.sel, c->tr.base, c->tr.limit, c->tr.flags, wide, out);
    fprintf(out, "GDT=     %0*llx %08x\nIDT=     %0*llx %08x\n", wide ? 16 : 8, (ull)c->gdt.base,
            c->gdt.limit, wide ? 16 : 8, (ull)c->idt.base, c->idt.limit);
}

static void dump_control(const struct x86_cpu *c, bool wide, FILE *out)
{
    int w = wide ? 16 : 8;
    fprintf(out, "CR0=%08x CR2=%0*llx CR3=%0*llx CR4=%08x\n", (uint32_t)c->cr0, w, (ull)c->cr2, w,
            (ull)c->cr3, (uint32_t)c->cr4);
    for (unsigned i = 0; i < 4; i++) {
        fprintf(out, "DR%u=%016llx ", i, (ull)c->dr[i]);
    }
    fprintf(out, "\nDR6=%016llx DR7=%016llx\nEFER=%016llx\n", (ull)c->dr[6], (ull)c->dr[7],
            (ull)c->efer);
}

static void dump_fpu(const struct x86_cpu *c, bool wide, FILE *out)
{
    const uint8_t *fx = c->fpu.image;
    fprintf(out, "FCW=%02x%02x FSW=%02x%02x [ST=%u] FTW=%02x MXCSR=%08x\n", fx[1], fx[0], fx[3],
            fx[2], fx[3] >> 3 & 7, fx[4], c->tcg.mxcsr);
    for (unsigned i = 0; i < 8; i++) {
        uint64_t fraction;
        uint16_t exponent;
        memcpy(&fraction, fx + 32 + 16 * i, 8);
        memcpy(&exponent, fx + 40 + 16 * i, 2);
        fprintf(out, "FPR%u=%016llx %04x%c", i, (ull)fraction, exponent, i % 2 ? '\n' : ' ');
    }
    for (unsigned i = 0; i < (wide ? 16u : 8u); i++) {
        const union tcg_vec *v = &c->tcg.vec[i];
        fprintf(out, "XMM%02u=%016llx %016llx%c", i, (ull)v->q[1], (ull)v->q[0],
                i % 2 ? '\n' : ' ');
    }
}

void x86_dump_registers(const struct x86_cpu *c, bool fpu, FILE *out)
{
    bool wide = (c->mode & MODE_CS64) != 0;
    dump_general(c, wide, out);
    dump_flags(c, wide, out);
    dump_segments(c, wide, out);
    dump_control(c, wide, out);
    if (fpu) {
        dump_fpu(c, wide, out);
    }
}

/* ---- page tables ---- */

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
#define MAX_ENTRIES (1u << 20)
#define PTE_NX (1ull << 63)
#define PTE_ADDR 0x000ffffffffff000ull

/* One kind of page table: how many levels, and what an entry is. */
struct paging {
    unsigned levels, index_bits, entry_bytes;
    bool big_at[5]; /* PS means something at this level, 1 the lowest */
};

struct walk {
    const struct x86_cpu *c;
    struct paging p;
    void (*leaf)(struct walk *w, uint64_t linear, uint64_t pte, uint64_t phys, uint64_t len,
                 uint64_t rights);
    FILE *out;
    unsigned budget; /* entries still looked at: tables may point at themselves */
    /* info mem: the range so far */
    uint64_t start, end, rights;
    bool open;
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
            uint64_t phys = big ? big_page_address(w, pte, shift) : pte & PTE_ADDR;
            w->leaf(w, canonical(w, at), pte, phys, 1ull << shift, sum);
        } else {
            walk_table(w, pte & PTE_ADDR, level - 1, at, sum);
        }
    }
}

static bool walk_all(struct walk *w)
{
    if (!(w->c->cr0 & CR0_PG)) {
        fprintf(w->out, "PG disabled\n");
        return false;
    }
    w->p = paging_of(w->c);
    w->budget = MAX_ENTRIES;
    uint64_t root = w->c->cr3 & (w->p.levels == 3 ? 0xffffffe0ull : PTE_ADDR);
    walk_table(w, root, w->p.levels, 0, PTE_W | PTE_U);
    if (w->budget == 0) {
        fprintf(w->out, "(more than %u entries: cut)\n", MAX_ENTRIES);
    }
    return true;
}

static void print_page(struct walk *w, uint64_t linear, uint64_t pte, uint64_t phys, uint64_t len,
                       uint64_t rights)
{
    (void)rights;
    fprintf(w->out, "%016llx: %016llx %c%c%c%c%c%c%c%c%c\n", (ull)linear, (ull)phys,
            pte & PTE_NX ? 'X' : '-', pte & PTE_G ? 'G' : '-', len > 4096 ? 'P' : '-',
            pte & PTE_D ? 'D' : '-', pte & PTE_A ? 'A' : '-', pte & PTE_PCD ? 'C' : '-',
            pte & PTE_PWT ? 'T' : '-', pte & PTE_U ? 'U' : '-', pte & PTE_W ? 'W' : '-');
}

static void end_range(struct walk *w)
{
    if (w->open) {
        fprintf(w->out, "%016llx-%016llx %016llx %c%c%c\n", (ull)w->start, (ull)w->end,
                (ull)(w->end - w->start), w->rights & PTE_U ? 'u' : '-', 'r',
                w->rights & PTE_W ? 'w' : '-');
    }
    w->open = false;
}

static void add_to_range(struct walk *w, uint64_t linear, uint64_t pte, uint64_t phys, uint64_t len,
                         uint64_t rights)
{
    (void)pte, (void)phys;
    rights &= PTE_W | PTE_U;
    if (!w->open || w->end != linear || w->rights != rights) {
        end_range(w);
        w->start = linear;
        w->rights = rights;
        w->open = true;
    }
    w->end = linear + len;
}

void x86_dump_tlb(const struct x86_cpu *c, FILE *out)
{
    struct walk w = { .c = c, .leaf = print_page, .out = out };
    walk_all(&w);
}

void x86_dump_mem(const struct x86_cpu *c, FILE *out)
{
    struct walk w = { .c = c, .leaf = add_to_range, .out = out };
    if (walk_all(&w)) {
        end_range(&w);
    }
}
