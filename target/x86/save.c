/* SPDX-License-Identifier: MIT */
/* target/x86/save.c - a processor as a device of the machine's saved state.
 *
 * Processors are no devices; one of these stands for each and carries a copy, taken before a save and
 * put back after a load, when a state that no processor can have is refused. What is derived (mode,
 * soft TLBs, translated code) is made anew.
 */
#include "ioreq/machine.h"
#include "target/x86/cpuid.h"
#include "target/x86/vcpu-int.h"
#include "target/x86/x86-int.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

struct saved {
    struct device dev; /* first */
    struct x86_cpu *c;

    uint64_t gpr[16], pc, flags, seg_base[6], vec[64];
    uint32_t mxcsr, eflags;
    struct x86_segment seg[6];
    struct x86_system_segment ldt, tr;
    struct x86_table gdt, idt;
    uint64_t cr0, cr2, cr3, cr4, xcr0, efer, dr[8];
    uint8_t fpu[512];
    uint64_t star, lstar, cstar, sfmask, kernel_gs_base, tsc_aux, pat, misc_enable;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t mtrr_def, mtrr_fixed[11], mtrr_base[8], mtrr_mask[8];
    uint64_t smbase, tsc_offset, mcg_status, debugctl;
    uint64_t db_pending, inhibit_pc, a20_mask;
    uint32_t pending;
    uint8_t sipi_vector;
    bool intr_level, halted, wait_sipi, smm, nmi_blocked, inhibit;
};

#define SAME_AS(saved_member, cpu_member)                                                          \
    {                                                                                              \
        offsetof(struct saved, saved_member), offsetof(struct x86_cpu, cpu_member),                \
            sizeof(((struct saved *)0)->saved_member), sizeof(((struct x86_cpu *)0)->cpu_member)   \
    }
#define SAME(member) SAME_AS(member, member)
static const struct {
    size_t saved, cpu, size, cpu_size;
} members[] = {
    SAME_AS(gpr, tcg.gpr),
    SAME_AS(pc, tcg.pc),
    SAME_AS(flags, tcg.flags),
    SAME_AS(vec, tcg.vec),
    SAME_AS(fpu, fpu),
    SAME_AS(seg_base, tcg.seg_base),
    SAME(eflags),
    SAME_AS(mxcsr, tcg.mxcsr),
    SAME(seg),
    SAME(ldt),
    SAME(tr),
    SAME(gdt),
    SAME(idt),
    SAME(cr0),
    SAME(cr2),
    SAME(cr3),
    SAME(cr4),
    SAME(xcr0),
    SAME(efer),
    SAME(dr),
    SAME(star),
    SAME(lstar),
    SAME(cstar),
    SAME(sfmask),
    SAME(kernel_gs_base),
    SAME(tsc_aux),
    SAME(pat),
    SAME(misc_enable),
    SAME(sysenter_cs),
    SAME(sysenter_esp),
    SAME(sysenter_eip),
    SAME(mtrr_def),
    SAME(mtrr_fixed),
    SAME(mtrr_base),
    SAME(mtrr_mask),
    SAME(smbase),
    SAME(tsc_offset),
    SAME(mcg_status),
    SAME(debugctl),
    SAME(db_pending),
    SAME(inhibit_pc),
    SAME(a20_mask),
    SAME(pending),
    SAME(sipi_vector),
    SAME(intr_level),
    SAME(halted),
    SAME(wait_sipi),
    SAME(smm),
    SAME(nmi_blocked),
    SAME(inhibit),
};
enum { CARRIED = PEND_INTR | PEND_NMI | PEND_SMI | PEND_INIT | PEND_SIPI };

/* The x87 image's MXCSR is not the guest's, and the unit would fault on a bad one. */
static void put_mxcsr(struct saved *s)
{
    const uint32_t mxcsr = 0x1f80;
    memcpy(s->fpu + 24, &mxcsr, sizeof(mxcsr));
}

static void saving(struct device *d)
{
    struct saved *s = (struct saved *)d;
    for (unsigned i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        assert(members[i].size == members[i].cpu_size);
        memcpy((uint8_t *)s + members[i].saved, (const uint8_t *)s->c + members[i].cpu,
               members[i].size);
    }
    s->pending &= CARRIED;
    put_mxcsr(s);
}

/* What instructions would have refused to set up, as far as the code relies on it. */
static const char *impossible(const struct saved *s)
{
    const uint64_t cr4 = CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE |
                         CR4_PGE | CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE |
                         CR4_PCIDE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP;
    bool pg = s->cr0 & CR0_PG, lma = s->efer & EFER_LMA;
    if (s->flags & ~(uint64_t)F_ALL || s->eflags & F_ALL || !(s->eflags & EF_FIXED) ||
        s->eflags >> 22 || (lma && s->eflags & EF_VM)) {
        return "eflags";
    }
    if (s->cr0 >> 32 || (pg && !(s->cr0 & CR0_PE))) {
        return "cr0";
    }
    if (s->cr4 & ~cr4 || (lma && !(s->cr4 & CR4_PAE)) || (s->cr4 & CR4_PCIDE && !lma)) {
        return "cr4";
    }
    if (s->efer & ~(uint64_t)(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE) ||
        lma != (pg && s->efer & EFER_LME) || (lma && !x86_has(s->c, X86_LM))) {
        return "efer";
    }
    if (s->xcr0 & ~7ull || !(s->xcr0 & 1) || (s->xcr0 & 4 && !(s->xcr0 & 2))) {
        return "xcr0";
    }
    if (s->mxcsr >> 16) {
        return "mxcsr";
    }
    if (s->pending & ~(uint32_t)CARRIED || (~s->a20_mask & ~(1ull << 20))) {
        return "pins";
    }
    return s->db_pending & ~0xe00full ? "db_pending" : NULL;
}

static int loaded(struct device *d, struct err *e)
{
    struct saved *s = (struct saved *)d;
    struct x86_cpu *c = s->c;
    const char *what = impossible(s);
    if (what) {
        return err_set(e, -EINVAL, "%s: no processor can be in this state", what);
    }
    put_mxcsr(s);
    for (unsigned i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        memcpy((uint8_t *)c + members[i].cpu, (const uint8_t *)s + members[i].saved,
               members[i].size);
    }
    c->tcg.x87_live = false;
    c->raised = RAISED_NONE;
    x86_mode_changed(c);
    x86_tlb_flush(c, true);
    tcg_jc_flush(&c->tcg);
    tcg_flush(c->tcg.tcg);
    return 0;
}

static const struct state_field segment[] = {
    FIELD(struct x86_segment, sel),
    FIELD(struct x86_segment, flags),
    FIELD(struct x86_segment, limit),
    FIELD_END,
};
static const struct state_field system_segment[] = {
    FIELD(struct x86_system_segment, sel),
    FIELD(struct x86_system_segment, flags),
    FIELD(struct x86_system_segment, limit),
    FIELD(struct x86_system_segment, base),
    FIELD_END,
};
static const struct state_field table[] = {
    FIELD(struct x86_table, base),
    FIELD(struct x86_table, limit),
    FIELD_END,
};

#define ONE(member) FIELD(struct saved, member)
#define ALL(member) FIELD_ARRAY(struct saved, member)
static const struct state_field state[] = {
    ALL(gpr),
    ONE(pc),
    ONE(flags),
    ONE(eflags),
    ALL(seg_base),
    FIELD_SUB(struct saved, seg, segment, 6),
    FIELD_SUB(struct saved, ldt, system_segment, 1),
    FIELD_SUB(struct saved, tr, system_segment, 1),
    FIELD_SUB(struct saved, gdt, table, 1),
    FIELD_SUB(struct saved, idt, table, 1),
    ONE(cr0),
    ONE(cr2),
    ONE(cr3),
    ONE(cr4),
    ONE(xcr0),
    ONE(efer),
    ALL(dr),
    ALL(vec),
    ONE(mxcsr),
    ALL(fpu),
    ONE(star),
    ONE(lstar),
    ONE(cstar),
    ONE(sfmask),
    ONE(kernel_gs_base),
    ONE(tsc_aux),
    ONE(pat),
    ONE(misc_enable),
    ONE(sysenter_cs),
    ONE(sysenter_esp),
    ONE(sysenter_eip),
    ONE(mtrr_def),
    ALL(mtrr_fixed),
    ALL(mtrr_base),
    ALL(mtrr_mask),
    ONE(smbase),
    ONE(tsc_offset),
    ONE(mcg_status),
    ONE(debugctl),
    ONE(db_pending),
    ONE(inhibit_pc),
    ONE(a20_mask),
    ONE(pending),
    ONE(sipi_vector),
    ONE(intr_level),
    ONE(halted),
    ONE(wait_sipi),
    ONE(smm),
    ONE(nmi_blocked),
    ONE(inhibit),
    FIELD_END,
};

static const struct dev_class class = {
    .name = "x86-cpu",
    .desc = "the state of a processor",
    .size = sizeof(struct saved),
    .state = state,
    .state_version = 1,
    .outside = true,
    .saving = saving,
    .loaded = loaded,
};

int vcpus_add_state(struct vcpus *v, struct err *e)
{
    int ret = 0;
    for (unsigned i = 0; ret == 0 && i < v->n; i++) {
        char id[16];
        snprintf(id, sizeof(id), "cpu%u", i);
        struct saved *s = (struct saved *)dev_new(v->m, &class, id);
        s->c = v->cpu[i].c;
        ret = dev_init(&s->dev, e);
    }
    return ret;
}
