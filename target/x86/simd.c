/* SPDX-License-Identifier: MIT */
/* target/x86/simd.c - vector instructions in C: look-up and operands. See simd-int.h. */
#include "target/x86/simd-int.h"

#include <Zydis/Zydis.h>
#include <string.h>

#define BOTH(name, NAME)                                                                           \
    [ZYDIS_MNEMONIC_##NAME] = x86_sem_##name, [ZYDIS_MNEMONIC_V##NAME] = x86_sem_##name,
#define ONE(name, NAME) [ZYDIS_MNEMONIC_##NAME] = x86_sem_##name,
static const x86_sem_fn semantics[ZYDIS_MNEMONIC_MAX_VALUE + 1] = { SIMD_OPS(BOTH, ONE) };
#undef BOTH
#undef ONE

x86_sem_fn x86_simd_semantics(unsigned zydis_mnemonic, const struct ir_native *n)
{
    (void)n;
    return zydis_mnemonic <= ZYDIS_MNEMONIC_MAX_VALUE ? semantics[zydis_mnemonic] : NULL;
}

void simd_read(struct tcg_cpu *cpu, unsigned reg_class, unsigned num, union lanes *v)
{
    switch (reg_class) {
    case RC_VEC:
        memcpy(v, &cpu->vec[num], sizeof(*v));
        return;
    case RC_MMX:
        memset(v, 0, sizeof(*v));
        v->u64[0] = mmx_read(cpu, num);
        return;
    case RC_GPR:
        memset(v, 0, sizeof(*v));
        v->u64[0] = cpu->gpr[num];
        return;
    }
    memset(v, 0, sizeof(*v));
}

void simd_write(struct tcg_cpu *cpu, const struct ir_native *n, unsigned reg_class, unsigned num,
                const union lanes *v, unsigned bytes)
{
    if (reg_class == RC_MMX) {
        mmx_write(cpu, num, v->u64[0]);
        return;
    }
    bytes = bytes < 16 ? 16 : bytes;
    memcpy(&cpu->vec[num], v, bytes);
    if (n->encoding == ENC_VEX) {
        memset(cpu->vec[num].b + bytes, 0, sizeof(cpu->vec[num]) - bytes);
    }
}

void simd_write_gpr(struct simd *s, unsigned num, uint64_t val)
{
    s->cpu->gpr[num] = s->n->gpr_size == 8 ? val : (uint32_t)val;
    s->done = true;
}

static bool uses_mmx(const struct ir_native *n)
{
    return n->reg_class == RC_MMX || n->rm_class == RC_MMX;
}

static void read_rm(struct simd *s, union lanes *v)
{
    const struct ir_native *n = s->n;
    if (n->rm_class != RC_NONE) {
        simd_read(s->cpu, n->rm_class, n->rm, v);
        return;
    }
    memset(v, 0, sizeof(*v));
    if (s->mem && n->mem_read) {
        memcpy(v, s->mem, n->mem_size < sizeof(*v) ? n->mem_size : sizeof(*v));
    }
}

void simd_load(struct simd *s, struct tcg_cpu *cpu, const struct ir_native *n, void *mem)
{
    memset(s, 0, sizeof(*s));
    s->cpu = cpu;
    s->n = n;
    s->mem = mem;
    s->imm = n->imm;
    s->bytes = uses_mmx(n) ? 8 : n->l ? 32 : 16;
    if (n->x87) {
        mmx_check_pending(cpu);
    }
    if (n->reg_class == RC_FIXED) {
        read_rm(s, &s->a);
        s->b = s->a;
    } else if (simd_to_rm(n)) {
        simd_read(cpu, n->reg_class, n->reg, &s->b);
        read_rm(s, &s->a);
    } else {
        read_rm(s, &s->b);
        simd_read(cpu, n->v_class ? n->v_class : n->reg_class, n->v_class ? n->v : n->reg, &s->a);
    }
    s->d = s->a;
    if (n->x87) { /* even when an exception follows */
        mmx_enter(cpu);
    }
}

/* Shifts by immediate have the destination in vvvv or, in legacy encodings, in rm. */
void simd_store(struct simd *s)
{
    const struct ir_native *n = s->n;
    if (s->done) {
        return;
    }
    if (n->reg_class == RC_FIXED) {
        bool vex = n->v_class != RC_NONE;
        simd_write(s->cpu, n, vex ? n->v_class : n->rm_class, vex ? n->v : n->rm, &s->d, s->bytes);
    } else if (!simd_to_rm(n)) {
        simd_write(s->cpu, n, n->reg_class, n->reg, &s->d, s->bytes);
    } else if (n->rm_class != RC_NONE) {
        simd_write(s->cpu, n, n->rm_class, n->rm, &s->d, s->bytes);
    } else if (s->mem) {
        memcpy(s->mem, &s->d, n->mem_size);
    }
}

void simd_lanes(SEM_ARGS, lane_fn fn)
{
    struct simd s;
    simd_load(&s, cpu, n, mem);
    for (unsigned i = 0; i * 16 < s.bytes; i++) {
        fn(&s.d.lane[i], &s.a.lane[i], &s.b.lane[i], s.bytes < 16 ? s.bytes : 16, s.imm);
    }
    simd_store(&s);
}

void simd_whole(SEM_ARGS, whole_fn fn)
{
    struct simd s;
    simd_load(&s, cpu, n, mem);
    fn(&s);
    simd_store(&s);
}

/* SDM vol. 1, 11.5.1: flags of the operands (IE, DE, ZE) come first; an unmasked one of those keeps
 * the results, and with them the flags of the results, from being made. */
bool simd_flags(struct tcg_cpu *cpu, uint32_t flags)
{
    uint32_t unmasked = ~(cpu->mxcsr >> MX_MASK_SHIFT) & MX_FLAGS;
    if (flags & unmasked & (MX_IE | MX_DE | MX_ZE)) {
        flags &= MX_IE | MX_DE | MX_ZE;
    }
    cpu->mxcsr |= flags;
    return !(flags & unmasked);
}

void simd_raise(struct tcg_cpu *cpu)
{
    tcg_target(cpu->tcg)->fp_exception(cpu, TCG_SIMD);
}
