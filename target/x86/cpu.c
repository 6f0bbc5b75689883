/* SPDX-License-Identifier: MIT */
/* target/x86/cpu.c - the processor's mode, flags and reset state.
 *
 * c->mode condenses what translation depends on. The jump caches hold blocks of one mode each for
 * the supervisor and the user: a change that is not just of privilege empties the one concerned.
 * Reference: SDM vol. 3 chapter 10 (initial state).
 */
#include "target/x86/cpuid.h"
#include "target/x86/dump.h"
#include "target/x86/vcpu-int.h"
#include "target/x86/x86-int.h"

/* Everything can be read and written: a code segment cannot be written, a read-only one neither. */
static bool flat(const struct x86_cpu *c, unsigned seg)
{
    const struct x86_segment *s = &c->seg[seg];
    return s->limit == UINT32_MAX && s->flags & SEG_P && (s->flags & 0xe) == 2;
}

/* QUIRK: a supervisor's accesses through a null FS or GS are not refused. Linux for i386 enters its kernel with
 * the user's, and each change of the key would empty the jump cache. */
static bool may_use(const struct x86_cpu *c, unsigned seg)
{
    return flat(c, seg) || (!(c->seg[seg].flags & SEG_P) && !(c->seg[SS].flags >> 5 & 3));
}

static uint32_t segment_bits(const struct x86_cpu *c, bool cs64)
{
    uint32_t m = 0;
    if (cs64) {
        return MODE_CS64 | MODE_CS32 | MODE_SS32 | MODE_ZERO_BASES;
    }
    bool protected = c->cr0 & CR0_PE && !(c->eflags & EF_VM);
    m |= c->seg[CS].flags & SEG_DB ? MODE_CS32 : 0;
    m |= c->seg[SS].flags & SEG_DB ? MODE_SS32 : 0;
    const uint64_t *b = c->tcg.seg_base;
    m |= !(b[ES] | b[CS] | b[SS] | b[DS]) ? MODE_ZERO_BASES : 0;
    if (protected) {
        m |= flat(c, ES) && flat(c, SS) && flat(c, DS) ? 0 : MODE_SEGLIMITS;
        m |= may_use(c, FS) && may_use(c, GS) ? 0 : MODE_FSGS_LIMITS;
    }
    return m;
}

static uint32_t unit_bits(const struct x86_cpu *c)
{
    uint32_t m = 0;
    bool ts = c->cr0 & CR0_TS, em = c->cr0 & CR0_EM;
    m |= !ts && !em ? MODE_FPU : 0;
    m |= !ts && !em && c->cr4 & CR4_OSFXSR ? MODE_SSE : 0;
    m |= !ts && c->cr4 & CR4_OSXSAVE && (c->xcr0 & 6) == 6 ? MODE_AVX : 0;
    m |= ts && c->cr0 & CR0_MP ? MODE_MP_TS : 0;
    m |= c->cr0 & CR0_NE ? MODE_NE : 0;
    m |= c->cr4 & CR4_OSXSAVE ? MODE_OSXSAVE : 0;
    return m;
}

static bool code_breakpoints(const struct x86_cpu *c)
{
    for (unsigned n = 0; n < 4; n++) {
        if (c->dr[7] >> 2 * n & 3 && !(c->dr[7] >> (16 + 4 * n) & 3)) {
            return true;
        }
    }
    return false;
}

/* What control and debug registers say. */
static uint32_t system_bits(const struct x86_cpu *c)
{
    uint32_t m = unit_bits(c);
    m |= c->cr0 & CR0_PE ? MODE_PE : 0;
    m |= c->efer & EFER_LMA ? MODE_LMA : 0;
    m |= c->smm ? MODE_SMM : 0;
    m |= c->cr4 & CR4_UMIP ? MODE_UMIP : 0;
    m |= c->cr4 & CR4_FSGSBASE ? MODE_FSGSBASE : 0;
    m |= c->dr[7] & 0xff && code_breakpoints(c) ? MODE_RF_DR : 0;
    m |= c->cr0 & CR0_PG ? MODE_PG : 0;
    m |= c->cr4 & CR4_VME ? MODE_VME : 0;
    m |= c->cr4 & CR4_PVI ? MODE_PVI : 0;
    m |= c->cr4 & CR4_TSD ? MODE_TSD : 0;
    return m;
}

/* What segments and EFLAGS say. */
static uint32_t code_bits(const struct x86_cpu *c)
{
    bool pe = c->cr0 & CR0_PE, vm = pe && c->eflags & EF_VM, lma = c->efer & EFER_LMA;
    bool cs64 = lma && c->seg[CS].flags & SEG_L;
    unsigned cpl = vm ? 3 : pe ? c->seg[SS].flags >> 5 & 3 : 0;
    uint32_t m = segment_bits(c, cs64);
    m |= vm ? MODE_VM86 : 0;
    m |= cpl << MODE_CPL_SHIFT;
    m |= (c->eflags >> 12 & 3) << MODE_IOPL_SHIFT;
    m |= c->eflags & EF_TF ? MODE_TF : 0;
    m |= c->cr0 & CR0_AM && c->eflags & EF_AC && cpl == 3 ? MODE_AC : 0;
    return m;
}

void x86_rights_changed(struct x86_cpu *c)
{
    unsigned which = x86_data_mode(c);
    uint64_t base = c->mode & MODE_CS64 ? 0 : c->tcg.seg_base[CS];
    c->tcg.tlb = &c->tcg.tlbs[which];
    c->tcg.jc = c->tcg.jcs[which];
    if (c->jc_mode[which] != c->mode || c->jc_cs_base[which] != base) {
        c->jc_mode[which] = c->mode;
        c->jc_cs_base[which] = base;
        tcg_jc_flush_mode(&c->tcg, which);
    }
}

void x86_code_changed(struct x86_cpu *c)
{
    c->mode = c->mode_system | code_bits(c);
    x86_rights_changed(c);
}

void x86_mode_changed(struct x86_cpu *c)
{
    c->mode_system = system_bits(c);
    x86_code_changed(c);
}

uint64_t x86_get_eflags(const struct x86_cpu *c)
{
    return c->eflags | (c->tcg.flags & EFLAGS_ARITH) | EF_FIXED;
}

void x86_set_eflags(struct x86_cpu *c, uint64_t val, uint64_t mask)
{
    enum { LOOKED_AT = EF_TF | EF_IOPL | EF_VM | EF_AC };
    uint64_t arith = mask & EFLAGS_ARITH;
    c->tcg.flags = (c->tcg.flags & ~arith) | (val & arith);
    uint32_t old = c->eflags, m = (uint32_t)mask & ~EFLAGS_ARITH;
    c->eflags = (old & ~m) | ((uint32_t)val & m) | EF_FIXED;
    if ((old ^ c->eflags) & LOOKED_AT) {
        x86_code_changed(c);
    }
}

void x86_set_segment(struct x86_cpu *c, enum x86_seg s, uint16_t sel, uint64_t base, uint32_t limit,
                     uint16_t flags)
{
    c->tcg.seg_base[s] = base;
    c->seg[s] = (struct x86_segment){ .sel = sel, .flags = flags, .limit = limit };
}

static void reset_segments(struct x86_cpu *c)
{
    for (unsigned s = 0; s < 6; s++) {
        x86_set_segment(c, s, 0, 0, 0xffff, 0x93);
    }
    x86_set_segment(c, CS, 0xf000, 0xffff0000u, 0xffff, 0x9b);
    c->ldt = (struct x86_system_segment){ .limit = 0xffff, .flags = 0x82 };
    c->tr = (struct x86_system_segment){ .limit = 0xffff, .flags = 0x8b };
    c->gdt = (struct x86_table){ .limit = 0xffff };
    c->idt = (struct x86_table){ .limit = 0xffff };
}

static void reset_msrs(struct x86_cpu *c)
{
    c->star = c->lstar = c->cstar = c->sfmask = c->kernel_gs_base = c->tsc_aux = 0;
    c->sysenter_cs = c->sysenter_esp = c->sysenter_eip = 0;
    c->pat = 0x0007040600070406ull;
    c->misc_enable = 1; /* fast strings */
    c->mtrr_def = 0;
    memset(c->mtrr_fixed, 0, sizeof(c->mtrr_fixed));
    memset(c->mtrr_base, 0, sizeof(c->mtrr_base));
    memset(c->mtrr_mask, 0, sizeof(c->mtrr_mask));
    c->mcg_status = c->debugctl = 0;
    c->smbase = 0x30000;
}

/* What only power-on clears. */
static void reset_cold(struct x86_cpu *c)
{
    reset_msrs(c);
    c->xcr0 = 1;
    c->tcg.mxcsr = 0x1f80;
    memset(c->tcg.vec, 0, sizeof(c->tcg.vec));
    x86_fpu_reset(c);
    c->nmi_blocked = false;
    __atomic_store_n(&c->pending, 0, __ATOMIC_SEQ_CST);
    c->intr_level = false;
}

void x86_reset(struct x86_cpu *c, bool power_on)
{
    if (c->all->log & VCPU_LOG_RESET) {
        fprintf(c->all->log_to, "CPU Reset (CPU %u)\n", c->index);
        x86_dump_registers(c, false, c->all->log_to);
    }
    memset(c->tcg.gpr, 0, sizeof(c->tcg.gpr));
    c->tcg.gpr[RDX] = cpuid_signature(c->model);
    c->tcg.pc = 0xfff0;
    c->tcg.flags = 0;
    c->eflags = EF_FIXED;
    reset_segments(c);
    uint64_t cache_bits = power_on ? CR0_CD | CR0_NW : c->cr0 & (CR0_CD | CR0_NW);
    c->cr0 = CR0_ET | cache_bits;
    c->cr2 = c->cr3 = c->cr4 = c->efer = 0;
    memset(c->dr, 0, sizeof(c->dr));
    c->dr[6] = 0xffff0ff0u;
    c->dr[7] = 0x400;
    c->smm = c->inhibit = false;
    c->halted = false;
    c->db_pending = 0;
    c->raised = RAISED_NONE;
    if (power_on) {
        reset_cold(c);
    }
    c->wait_sipi = c->index != 0;
    for (unsigned m = 0; m < TLB_MODES; m++) {
        c->jc_mode[m] = UINT32_MAX;
    }
    x86_mode_changed(c);
    x86_tlb_flush(c, true);
}
