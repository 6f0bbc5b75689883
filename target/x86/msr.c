/* SPDX-License-Identifier: MIT */
/* target/x86/msr.c - model-specific registers, the time-stamp counter, XCR0, random numbers.
 *
 * Reference: SDM vol. 4. The local APIC's registers are asked of the interrupt chips.
 */
#include "ioreq/cpu.h"
#include "ioreq/machine.h"
#include "target/x86/cpuid.h"
#include "target/x86/vcpu-int.h"
#include "target/x86/x86-int.h"

#include <sys/random.h>

enum {
    MSR_TSC = 0x10,
    MSR_PLATFORM_ID = 0x17,
    MSR_APIC_BASE = 0x1b,
    MSR_FEATURE_CONTROL = 0x3a,
    MSR_TSC_ADJUST = 0x3b,
    MSR_UCODE_WRITE = 0x79,
    MSR_UCODE_REV = 0x8b,
    MSR_SMBASE = 0x9e,
    MSR_MTRRCAP = 0xfe,
    MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP = 0x175,
    MSR_SYSENTER_EIP = 0x176,
    MSR_MCG_CAP = 0x179,
    MSR_MCG_STATUS = 0x17a,
    MSR_MCG_CTL = 0x17b,
    MSR_PERF_STATUS = 0x198,
    MSR_MISC_ENABLE = 0x1a0,
    MSR_DEBUGCTL = 0x1d9,
    MSR_MTRR_BASE0 = 0x200,
    MSR_MTRR_MASK7 = 0x20f,
    MSR_MTRR_FIX64K = 0x250,
    MSR_MTRR_FIX16K_0 = 0x258,
    MSR_MTRR_FIX16K_1 = 0x259,
    MSR_MTRR_FIX4K_0 = 0x268,
    MSR_MTRR_FIX4K_7 = 0x26f,
    MSR_PAT = 0x277,
    MSR_MTRR_DEF = 0x2ff,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_X2APIC_FIRST = 0x800,
    MSR_X2APIC_LAST = 0x8ff,
    MSR_XSS = 0xda0,
};
#define MSR_EFER 0xc0000080u
#define MSR_STAR 0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_CSTAR 0xc0000083u
#define MSR_SFMASK 0xc0000084u
#define MSR_FS_BASE 0xc0000100u
#define MSR_GS_BASE 0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX 0xc0000103u
#define MTRR_COUNT 8

static void gp(struct x86_cpu *c) __attribute__((noreturn));
static void gp(struct x86_cpu *c)
{
    x86_raise_code(c, EX_GP, 0);
}

/* Virtual nanoseconds: it stands still with the machine. Neither field changes while vCPUs run. */
static uint64_t tsc_now(const struct x86_cpu *c)
{
    icount_publish(c);
    const struct machine *m = c->m;
    int64_t host = m->host->now ? m->host->now(m->h) : 0;
    return (uint64_t)(host + m->vclock_offset);
}

uint64_t x86_tsc(struct x86_cpu *c)
{
    return tsc_now(c) + c->tsc_offset;
}

/* ---- MTRRs: kept, without effect ---- */

static uint64_t *mtrr(struct x86_cpu *c, uint32_t msr)
{
    if (msr >= MSR_MTRR_BASE0 && msr <= MSR_MTRR_MASK7) {
        unsigned n = (msr - MSR_MTRR_BASE0) / 2;
        return msr & 1 ? &c->mtrr_mask[n] : &c->mtrr_base[n];
    }
    if (msr >= MSR_MTRR_FIX4K_0 && msr <= MSR_MTRR_FIX4K_7) {
        return &c->mtrr_fixed[3 + msr - MSR_MTRR_FIX4K_0];
    }
    switch (msr) {
    case MSR_MTRR_FIX64K:
        return &c->mtrr_fixed[0];
    case MSR_MTRR_FIX16K_0:
        return &c->mtrr_fixed[1];
    case MSR_MTRR_FIX16K_1:
        return &c->mtrr_fixed[2];
    case MSR_MTRR_DEF:
        return &c->mtrr_def;
    default:
        return NULL;
    }
}

static bool memory_type(uint8_t t)
{
    return t == 0 || t == 1 || t == 4 || t == 5 || t == 6;
}

static bool memory_types(uint64_t v, bool pat)
{
    for (unsigned i = 0; i < 8; i++) {
        uint8_t t = (uint8_t)(v >> 8 * i);
        if (!memory_type(t) && !(pat && t == 7)) {
            return false;
        }
    }
    return true;
}

static bool mtrr_valid(const struct x86_cpu *c, uint32_t msr, uint64_t v)
{
    uint64_t reserved = ~c->phys_mask;
    if (msr == MSR_MTRR_DEF) {
        return !(v & ~0xcffull) && memory_type((uint8_t)v);
    }
    if (msr >= MSR_MTRR_FIX64K && msr <= MSR_MTRR_FIX4K_7) {
        return memory_types(v, false);
    }
    return msr & 1 ? !(v & (reserved | 0x7ff))
                   : !(v & (reserved | 0xf00)) && memory_type((uint8_t)v);
}

/* ---- RDMSR ---- */

static bool apic_msr(uint32_t msr)
{
    return msr == MSR_APIC_BASE || msr == MSR_TSC_DEADLINE ||
           (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST);
}

static bool read_apic(struct x86_cpu *c, uint32_t msr, uint64_t *v)
{
    x86_lock_machine(c);
    bool ok = cpu_apic_rdmsr(c->m, c->index, msr, v);
    x86_unlock_machine(c);
    return ok;
}

/* Those that simply hold a value. */
static uint64_t *plain_msr(struct x86_cpu *c, uint32_t msr)
{
    bool lm = x86_has(c, X86_LM);
    switch (msr) {
    case MSR_SYSENTER_CS:
        return &c->sysenter_cs;
    case MSR_SYSENTER_ESP:
        return &c->sysenter_esp;
    case MSR_SYSENTER_EIP:
        return &c->sysenter_eip;
    case MSR_PAT:
        return &c->pat;
    case MSR_MISC_ENABLE:
        return &c->misc_enable;
    case MSR_MCG_STATUS:
        return &c->mcg_status;
    case MSR_DEBUGCTL:
        return &c->debugctl;
    case MSR_STAR:
        return &c->star;
    case MSR_LSTAR:
        return lm ? &c->lstar : NULL;
    case MSR_CSTAR:
        return lm ? &c->cstar : NULL;
    case MSR_SFMASK:
        return lm ? &c->sfmask : NULL;
    case MSR_FS_BASE:
        return lm ? &c->tcg.seg_base[FS] : NULL;
    case MSR_GS_BASE:
        return lm ? &c->tcg.seg_base[GS] : NULL;
    case MSR_KERNEL_GS_BASE:
        return lm ? &c->kernel_gs_base : NULL;
    case MSR_TSC_AUX:
        return x86_has(c, X86_RDTSCP) || x86_has(c, X86_RDPID) ? &c->tsc_aux : NULL;
    default:
        return mtrr(c, msr);
    }
}

/* AMD's own (SYSCFG, HWCR, NB_CFG ...): guests that see that vendor touch them without a net. They
 * read as 0 and forget. */
static bool amd_msr(const struct x86_cpu *c, uint32_t msr)
{
    return msr >> 16 == 0xc001 && memcmp(c->model->vendor, "AuthenticAMD", 12) == 0;
}

static bool read_msr(struct x86_cpu *c, uint32_t msr, uint64_t *v)
{
    const uint64_t *p = plain_msr(c, msr);
    if (p) {
        *v = *p;
        return true;
    }
    if (apic_msr(msr)) {
        return read_apic(c, msr, v);
    }
    switch (msr) {
    case MSR_TSC:
        *v = x86_tsc(c);
        return true;
    case MSR_TSC_ADJUST:
        *v = c->tsc_offset;
        return x86_has(c, X86_TSC_ADJUST);
    case MSR_EFER:
        *v = c->efer;
        return x86_has(c, X86_NX) || x86_has(c, X86_LM) || x86_has(c, X86_SYSCALL);
    case MSR_MTRRCAP:
        *v = MTRR_COUNT | 1u << 8 | 1u << 10;
        return true;
    case MSR_UCODE_REV:
        *v = 1ull << 32;
        return true;
    case MSR_MCG_CAP: /* no banks */
    case MSR_PLATFORM_ID:
    case MSR_FEATURE_CONTROL:
    case MSR_MCG_CTL:
    case MSR_XSS:
        *v = msr == MSR_FEATURE_CONTROL ? 1 : 0;
        return true;
    case MSR_PERF_STATUS:
        *v = 1000ull | 4ull << 40;
        return true;
    case MSR_SMBASE:
        *v = c->smbase;
        return c->smm;
    default:
        *v = 0;
        return amd_msr(c, msr);
    }
}

X86_HELPER(rdmsr, IR_H_READS | IR_H_WRITES | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    (void)a, (void)b, (void)cc;
    uint64_t v = 0;
    if (x86_cpl(c) != 0 || !read_msr(c, (uint32_t)t->gpr[RCX], &v)) {
        gp(c);
    }
    t->gpr[RAX] = (uint32_t)v;
    t->gpr[RDX] = v >> 32;
    return 0;
}

/* ---- WRMSR ---- */

static bool write_efer(struct x86_cpu *c, uint64_t v)
{
    uint64_t ok = EFER_LMA;
    ok |= x86_has(c, X86_SYSCALL) || x86_has(c, X86_LM) ? EFER_SCE : 0;
    ok |= x86_has(c, X86_LM) ? EFER_LME : 0;
    ok |= x86_has(c, X86_NX) ? EFER_NXE : 0;
    if (v & ~ok || (c->cr0 & CR0_PG && (v ^ c->efer) & EFER_LME)) {
        return false;
    }
    uint64_t was = c->efer;
    c->efer = (v & ~(uint64_t)EFER_LMA) | (was & EFER_LMA);
    if ((was ^ c->efer) & EFER_NXE) {
        x86_tlb_flush(c, true);
    }
    x86_mode_changed(c);
    return true;
}

static bool plain_valid(const struct x86_cpu *c, uint32_t msr, uint64_t v)
{
    switch (msr) {
    case MSR_LSTAR:
    case MSR_CSTAR:
    case MSR_FS_BASE:
    case MSR_GS_BASE:
    case MSR_KERNEL_GS_BASE:
    case MSR_SYSENTER_ESP:
    case MSR_SYSENTER_EIP:
        return x86_canonical(v);
    case MSR_PAT:
        return memory_types(v, true);
    case MSR_TSC_AUX:
        return !(v >> 32);
    case MSR_DEBUGCTL:
        return !(v & ~3ull);
    default:
        return (msr >= MSR_MTRR_BASE0 && msr <= MSR_MTRR_DEF) ? mtrr_valid(c, msr, v) : true;
    }
}

static bool write_apic(struct x86_cpu *c, uint32_t msr, uint64_t v)
{
    x86_lock_machine(c);
    bool ok = cpu_apic_wrmsr(c->m, c->index, msr, v);
    x86_unlock_machine(c);
    return ok;
}

static bool write_msr(struct x86_cpu *c, uint32_t msr, uint64_t v)
{
    uint64_t *p = plain_msr(c, msr);
    if (p) {
        if (!plain_valid(c, msr, v)) {
            return false;
        }
        *p = v;
        if (msr == MSR_FS_BASE || msr == MSR_GS_BASE) {
            x86_mode_changed(c);
        }
        return true;
    }
    if (apic_msr(msr)) {
        return write_apic(c, msr, v);
    }
    switch (msr) {
    case MSR_TSC:
        c->tsc_offset = v - tsc_now(c);
        return true;
    case MSR_TSC_ADJUST:
        c->tsc_offset = v;
        return x86_has(c, X86_TSC_ADJUST);
    case MSR_EFER:
        return write_efer(c, v);
    case MSR_UCODE_REV:
    case MSR_UCODE_WRITE:
    case MSR_MCG_CTL:
    case MSR_PLATFORM_ID:
        return true;
    case MSR_XSS:
        return v == 0;
    default:
        return amd_msr(c, msr);
    }
}

X86_HELPER(wrmsr, IR_H_READS | IR_H_WRITES | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    (void)a, (void)b;
    uint64_t v = (uint32_t)t->gpr[RAX] | t->gpr[RDX] << 32;
    if (x86_cpl(c) != 0 || !write_msr(c, (uint32_t)t->gpr[RCX], v)) {
        gp(c);
    }
    return x86_go(c, cc);
}

/* ---- time ---- */

static void check_tsd(struct x86_cpu *c)
{
    if (c->cr4 & CR4_TSD && x86_cpl(c) != 0) {
        gp(c);
    }
}

static void give_tsc(struct x86_cpu *c)
{
    uint64_t v = x86_tsc(c);
    c->tcg.gpr[RAX] = (uint32_t)v;
    c->tcg.gpr[RDX] = v >> 32;
}

X86_HELPER(rdtsc, IR_H_READS | IR_H_WRITES | IR_H_FAULTS)
{
    (void)a, (void)b, (void)cc;
    check_tsd(x86_of(t));
    give_tsc(x86_of(t));
    return 0;
}

X86_HELPER(rdtscp, IR_H_READS | IR_H_WRITES | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    (void)a, (void)b, (void)cc;
    check_tsd(c);
    give_tsc(c);
    t->gpr[RCX] = (uint32_t)c->tsc_aux;
    return 0;
}

/* There are no counters: every index is beyond the last one. */
X86_HELPER(rdpmc, IR_H_READS | IR_H_FAULTS)
{
    (void)a, (void)b, (void)cc;
    gp(x86_of(t));
}

X86_HELPER(rdpid, IR_H_READS)
{
    (void)a, (void)b, (void)cc;
    return (uint32_t)x86_of(t)->tsc_aux;
}

/* ---- XCR0 ---- */

X86_HELPER(xgetbv, IR_H_READS | IR_H_WRITES | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    (void)a, (void)b, (void)cc;
    uint32_t n = (uint32_t)t->gpr[RCX];
    if (!(c->cr4 & CR4_OSXSAVE)) {
        x86_raise(c, EX_UD);
    }
    if (n > 1 || (n == 1 && !x86_has(c, X86_XGETBV1))) {
        gp(c);
    }
    /* XINUSE: nobody tracks what is in its initial state */
    t->gpr[RAX] = (uint32_t)c->xcr0;
    t->gpr[RDX] = c->xcr0 >> 32;
    return 0;
}

X86_HELPER(xsetbv, IR_H_READS | IR_H_WRITES | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    (void)a, (void)b;
    uint64_t v = (uint32_t)t->gpr[RAX] | t->gpr[RDX] << 32;
    if (!(c->cr4 & CR4_OSXSAVE)) {
        x86_raise(c, EX_UD);
    }
    uint64_t have = 3 | (x86_has(c, X86_AVX) ? 4 : 0);
    if (x86_cpl(c) != 0 || t->gpr[RCX] << 32 || v & ~have || !(v & 1) || (v & 6) == 4) {
        gp(c);
    }
    c->xcr0 = v;
    x86_mode_changed(c);
    return x86_go(c, cc);
}

/* ---- random numbers ---- */

static uint64_t give_random(struct x86_cpu *c, uint64_t size)
{
    uint64_t v = 0;
    bool ok = true;
    if (icount_on(&c->all->icount)) { /* the same in every run */
        v = icount_random(&c->all->icount);
    } else {
        ok = getrandom(&v, sizeof(v), GRND_NONBLOCK) == sizeof(v);
    }
    c->tcg.flags = ok ? F_CF : 0;
    v = ok ? v : 0;
    return size == 2 ? (uint16_t)v : size == 4 ? (uint32_t)v : v;
}

X86_HELPER(rdrand, IR_H_READS | IR_H_F_OUT)
{
    (void)b, (void)cc;
    return give_random(x86_of(t), a);
}

X86_HELPER(rdseed, IR_H_READS | IR_H_F_OUT)
{
    (void)b, (void)cc;
    return give_random(x86_of(t), a);
}
