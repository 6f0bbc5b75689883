/* SPDX-License-Identifier: MIT */
/* target/x86/dump.c - registers and page tables as text. Reference: SDM vol. 3, 4.3 to 4.5. */
#include "target/x86/dump.h"

#include "target/x86/cpu.h"
#include "target/x86/tables.h"

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

static void print_page(void *opaque, const struct x86_mapping *m)
{
    static const struct {
        uint64_t bit;
        char name;
    } letters[] = { { PTE_D, 'D' },   { PTE_A, 'A' }, { PTE_PCD, 'C' },
                    { PTE_PWT, 'T' }, { PTE_U, 'U' }, { PTE_W, 'W' } };
    FILE *out = opaque;
    fprintf(out, "%016llx: %016llx %c%c%c", (ull)m->linear, (ull)m->phys,
            m->pte & PTE_NX ? 'X' : '-', m->pte & PTE_G ? 'G' : '-', m->len > 4096 ? 'P' : '-');
    for (unsigned i = 0; i < 6; i++) {
        fputc(m->pte & letters[i].bit ? letters[i].name : '-', out);
    }
    fputc('\n', out);
}

/* Neighbours of equal rights, so far. */
struct range {
    FILE *out;
    uint64_t start, end, rights;
    bool open;
};

static void end_range(struct range *r)
{
    if (r->open) {
        fprintf(r->out, "%016llx-%016llx %016llx %c%c%c\n", (ull)r->start, (ull)r->end,
                (ull)(r->end - r->start), r->rights & PTE_U ? 'u' : '-', 'r',
                r->rights & PTE_W ? 'w' : '-');
    }
    r->open = false;
}

static void add_to_range(void *opaque, const struct x86_mapping *m)
{
    struct range *r = opaque;
    if (!r->open || r->end != m->linear || r->rights != m->rights) {
        end_range(r);
        *r = (struct range){ r->out, m->linear, m->linear, m->rights, true };
    }
    r->end = m->linear + m->len;
}

static void end_tables(FILE *out, enum x86_tables how)
{
    if (how == X86_TABLES_OFF) {
        fprintf(out, "PG disabled\n");
    } else if (how == X86_TABLES_CUT) {
        fprintf(out, "(more than %u entries: cut)\n", X86_TABLES_MOST);
    }
}

void x86_dump_tlb(const struct x86_cpu *c, FILE *out)
{
    end_tables(out, x86_each_mapping(c, print_page, out));
}

void x86_dump_mem(const struct x86_cpu *c, FILE *out)
{
    struct range r = { .out = out };
    enum x86_tables how = x86_each_mapping(c, add_to_range, &r);
    end_range(&r);
    end_tables(out, how);
}
