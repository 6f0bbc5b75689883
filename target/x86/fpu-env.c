/* SPDX-License-Identifier: MIT */
/* target/x86/fpu-env.c - images of the floating-point state: FXSAVE, XSAVE, FNSTENV, FNSAVE and
 * their counterparts; floating-point exceptions.
 *
 * The last instruction and operand pointers are not tracked: they read as 0. Reference: SDM vol. 1 chapters 8, 10, 13.
 */
#include "ioreq/cpu.h"
#include "target/x86/cpuid.h"
#include "target/x86/vcpu-int.h"
#include "target/x86/simd-int.h"
#include "target/x86/x86-int.h"

enum {
    FX_CW = 0,
    FX_SW = 2,
    FX_TAG = 4,
    FX_POINTERS = 6,
    FX_MXCSR = 24,
    FX_ST = 32,
    FX_XMM = 160,
    XS_BV = 512,
    XS_COMP = 520,
    XS_YMM = 576
};
enum { COMP_X87 = 1, COMP_SSE = 2, COMP_AVX = 4 };
#define MXCSR_MASK 0xffffu

/* FNINIT: what the x87 area's initial state is. */
static void init_x87(struct x86_cpu *c)
{
    memset(c->fpu.image, 0, sizeof(c->fpu.image));
    store_le(c->fpu.image + FX_CW, 2, 0x37f);
    c->tcg.x87_live = false;
}

/* The image in memory, to look at or to change. */
static uint8_t *image(struct x86_cpu *c)
{
    x86_x87_sync(&c->tcg, false);
    return c->fpu.image;
}

/* ---- FXSAVE area ---- */

static void write_legacy(struct x86_cpu *c, uint64_t at, bool x87, bool sse)
{
    uint8_t b[FX_XMM + 256];
    unsigned mode = x86_data_mode(c), regs = c->mode & MODE_CS64 ? 16 : 8;
    if (x87) {
        memcpy(b, image(c), FX_MXCSR);
        x86_write_bytes(c, mode, at, b, FX_MXCSR);
        x86_write_bytes(c, mode, at + FX_ST, c->fpu.image + FX_ST, FX_XMM - FX_ST);
    }
    if (sse) {
        for (unsigned i = 0; i < regs; i++) {
            memcpy(b + 16 * i, c->tcg.vec[i].b, 16);
        }
        x86_write_bytes(c, mode, at + FX_XMM, b, 16 * regs);
    }
}

static void write_mxcsr(struct x86_cpu *c, uint64_t at)
{
    x86_st(c, at + FX_MXCSR, 8, c->tcg.mxcsr | (uint64_t)MXCSR_MASK << 32);
}

static void check_aligned(struct x86_cpu *c, uint64_t at, unsigned by)
{
    if (at & (by - 1)) {
        x86_raise_code(c, EX_GP, 0);
    }
}

static uint32_t read_mxcsr(struct x86_cpu *c, uint64_t at)
{
    uint32_t v = (uint32_t)x86_ld(c, at + FX_MXCSR, 4);
    if (v & ~MXCSR_MASK) {
        x86_raise_code(c, EX_GP, 0);
    }
    return v;
}

/* ES and B follow from what is pending and unmasked. */
static void fix_summary(uint8_t *fx)
{
    uint32_t cw = (uint32_t)load_le(fx + FX_CW, 2), sw = (uint32_t)load_le(fx + FX_SW, 2);
    sw = sw & ~cw & 0x3f ? sw | 0x8080 : sw & ~0x8080u;
    store_le(fx + FX_CW, 2, (cw & 0x1f3f) | 0x40);
    store_le(fx + FX_SW, 2, sw);
}

static void load_x87(struct x86_cpu *c, const uint8_t *b)
{
    uint8_t *fx = image(c);
    memcpy(fx, b, FX_POINTERS - 1);
    for (unsigned i = 0; i < 8; i++) {
        memcpy(fx + FX_ST + 16 * i, b + FX_ST + 16 * i, 10);
    }
    fix_summary(fx);
}

#define SAVE_FLAGS (IR_H_READS | IR_H_FAULTS | IR_H_VECTOR)
#define LOAD_FLAGS (IR_H_READS | IR_H_WRITES | IR_H_FAULTS | IR_H_VECTOR)

X86_HELPER(fxsave, SAVE_FLAGS)
{
    struct x86_cpu *c = x86_of(t);
    (void)b, (void)cc;
    check_aligned(c, a, 16);
    x86_probe_as(c, x86_data_mode(c), a, 512);
    write_legacy(c, a, true, c->cr4 & CR4_OSFXSR);
    write_mxcsr(c, a);
    return 0;
}

X86_HELPER(fxrstor, LOAD_FLAGS)
{
    struct x86_cpu *c = x86_of(t);
    (void)b, (void)cc;
    uint8_t area[512];
    check_aligned(c, a, 16);
    x86_read_bytes(c, x86_data_mode(c), a, area, 512);
    uint32_t mxcsr = (uint32_t)load_le(area + FX_MXCSR, 4);
    bool sse = c->cr4 & CR4_OSFXSR;
    if (mxcsr & ~MXCSR_MASK && x86_has(c, X86_SSE)) {
        x86_raise_code(c, EX_GP, 0);
    }
    load_x87(c, area);
    if (sse) {
        unsigned regs = c->mode & MODE_CS64 ? 16 : 8;
        t->mxcsr = mxcsr;
        for (unsigned i = 0; i < regs; i++) {
            memcpy(t->vec[i].b, area + FX_XMM + 16 * i, 16);
        }
    }
    return 0;
}

/* ---- XSAVE ---- */

static void write_avx(struct x86_cpu *c, uint64_t at)
{
    uint8_t b[256];
    unsigned regs = c->mode & MODE_CS64 ? 16 : 8;
    for (unsigned i = 0; i < regs; i++) {
        memcpy(b + 16 * i, c->tcg.vec[i].b + 16, 16);
    }
    x86_write_bytes(c, x86_data_mode(c), at + XS_YMM, b, 16 * regs);
}

static void need_xsave(struct x86_cpu *c)
{
    if (!(c->cr4 & CR4_OSXSAVE)) {
        x86_raise(c, EX_UD);
    }
}

static void save_areas(struct x86_cpu *c, uint64_t at, uint64_t mask, bool compact)
{
    need_xsave(c);
    check_aligned(c, at, 64);
    mask &= c->xcr0;
    x86_probe_as(c, x86_data_mode(c), at, 576);
    if (mask & COMP_AVX) {
        x86_probe_as(c, x86_data_mode(c), at + XS_YMM, 256);
    }
    uint64_t bv = compact ? 0 : x86_ld(c, at + XS_BV, 8) & ~mask;
    write_legacy(c, at, mask & COMP_X87, mask & COMP_SSE);
    if (mask & (COMP_SSE | COMP_AVX)) {
        write_mxcsr(c, at);
    }
    if (mask & COMP_AVX) {
        write_avx(c, at);
    }
    x86_st(c, at + XS_BV, 8, bv | mask);
    if (compact) {
        x86_st(c, at + XS_COMP, 8, mask | 1ull << 63);
    }
}

X86_HELPER(xsave, SAVE_FLAGS)
{
    (void)b;
    save_areas(x86_of(t), a, cc, false);
    return 0;
}

X86_HELPER(xsaveopt, SAVE_FLAGS)
{
    (void)b;
    save_areas(x86_of(t), a, cc, false);
    return 0;
}

X86_HELPER(xsavec, SAVE_FLAGS)
{
    (void)b;
    save_areas(x86_of(t), a, cc, true);
    return 0;
}

X86_HELPER(xsaves, SAVE_FLAGS)
{
    (void)b;
    if (x86_cpl(x86_of(t)) != 0) {
        x86_raise_code(x86_of(t), EX_GP, 0);
    }
    save_areas(x86_of(t), a, cc, true);
    return 0;
}

/* The header's rules (SDM vol. 1, 13.8.1); returns XSTATE_BV. */
static uint64_t check_header(struct x86_cpu *c, uint64_t at, bool only_compact, bool *compact)
{
    uint64_t bv = x86_ld(c, at + XS_BV, 8), comp = x86_ld(c, at + XS_COMP, 8);
    bool ok;
    *compact = comp >> 63;
    if (*compact) {
        comp &= ~(1ull << 63);
        ok = !(comp & ~c->xcr0) && !(bv & ~comp) && x86_has(c, X86_XSAVEC);
    } else {
        ok = !only_compact && !comp && !(bv & ~c->xcr0) && x86_ld(c, at + XS_COMP + 8, 8) == 0;
    }
    if (!ok) {
        x86_raise_code(c, EX_GP, 0);
    }
    return bv;
}

static void restore_sse(struct x86_cpu *c, const uint8_t *xmm)
{
    unsigned regs = c->mode & MODE_CS64 ? 16 : 8;
    for (unsigned i = 0; i < regs; i++) {
        if (xmm) {
            memcpy(c->tcg.vec[i].b, xmm + 16 * i, 16);
        } else {
            memset(c->tcg.vec[i].b, 0, 16);
        }
    }
}

static void restore_avx(struct x86_cpu *c, const uint8_t *upper)
{
    unsigned regs = c->mode & MODE_CS64 ? 16 : 8;
    for (unsigned i = 0; i < regs; i++) {
        if (upper) {
            memcpy(c->tcg.vec[i].b + 16, upper + 16 * i, 16);
        } else {
            memset(c->tcg.vec[i].b + 16, 0, 16);
        }
    }
}

static void restore_areas(struct x86_cpu *c, uint64_t at, uint64_t mask, bool only_compact)
{
    uint8_t area[832];
    bool compact;
    need_xsave(c);
    check_aligned(c, at, 64);
    mask &= c->xcr0;
    uint64_t bv = check_header(c, at, only_compact, &compact);
    bool avx = bv & mask & COMP_AVX;
    x86_read_bytes(c, x86_data_mode(c), at, area, avx ? 832 : 576);
    bool loads_mxcsr = compact ? bv & mask & COMP_SSE : mask & (COMP_SSE | COMP_AVX);
    uint32_t mxcsr = loads_mxcsr ? read_mxcsr(c, at) : 0x1f80;
    if (mask & COMP_X87 && bv & COMP_X87) {
        load_x87(c, area);
    } else if (mask & COMP_X87) {
        image(c);
        init_x87(c);
    }
    if (mask & COMP_SSE) {
        restore_sse(c, bv & COMP_SSE ? area + FX_XMM : NULL);
    }
    if (mask & COMP_AVX) {
        restore_avx(c, avx ? area + XS_YMM : NULL);
    }
    if (loads_mxcsr || (compact && mask & COMP_SSE)) {
        c->tcg.mxcsr = mxcsr;
    }
}

X86_HELPER(xrstor, LOAD_FLAGS)
{
    (void)b;
    restore_areas(x86_of(t), a, cc, false);
    return 0;
}

X86_HELPER(xrstors, LOAD_FLAGS)
{
    (void)b;
    if (x86_cpl(x86_of(t)) != 0) {
        x86_raise_code(x86_of(t), EX_GP, 0);
    }
    restore_areas(x86_of(t), a, cc, true);
    return 0;
}

/* ---- FNSTENV, FNSAVE ---- */

static unsigned top(const uint8_t *fx)
{
    return fx[FX_SW + 1] >> 3 & 7;
}

/* The full tag word: valid 0, zero 1, special 2, empty 3. */
static uint32_t full_tags(const uint8_t *fx)
{
    uint32_t tags = 0;
    for (unsigned i = 0; i < 8; i++) {
        unsigned phys = (top(fx) + i) & 7, tag = 3;
        const uint8_t *st = fx + FX_ST + 16 * i;
        uint64_t m = load_le(st, 8);
        unsigned e = (unsigned)load_le(st + 8, 2) & 0x7fff;
        if (fx[FX_TAG] >> phys & 1) {
            tag = e == 0 && m == 0 ? 1 : e == 0 || e == 0x7fff || !(m >> 63) ? 2 : 0;
        }
        tags |= tag << 2 * phys;
    }
    return tags;
}

static uint8_t short_tags(uint32_t full)
{
    unsigned t = 0;
    for (unsigned i = 0; i < 8; i++) {
        t |= (full >> 2 * i & 3) != 3 ? 1u << i : 0;
    }
    return (uint8_t)t;
}

static unsigned make_env(const uint8_t *fx, unsigned size, uint8_t *b)
{
    uint32_t w[7] = { (uint32_t)load_le(fx + FX_CW, 2), (uint32_t)load_le(fx + FX_SW, 2),
                      full_tags(fx) };
    for (unsigned i = 0; i < 7; i++) {
        bool ones = size == 4 && (i < 3 || i == 6);
        store_le(b + size * i, size, w[i] | (ones ? 0xffff0000u : 0));
    }
    return 7 * size;
}

static void take_env(uint8_t *fx, unsigned size, const uint8_t *b)
{
    memcpy(fx + FX_CW, b, 2);
    memcpy(fx + FX_SW, b + size, 2);
    fx[FX_TAG] = short_tags((uint32_t)load_le(b + 2 * size, 2));
    fix_summary(fx);
}

X86_HELPER(fnstenv, SAVE_FLAGS | IR_H_WRITES)
{
    struct x86_cpu *c = x86_of(t);
    (void)cc;
    uint8_t env[28], *fx = image(c);
    unsigned n = make_env(fx, (unsigned)b, env);
    x86_write_bytes(c, x86_data_mode(c), a, env, n);
    fx[FX_CW] |= 0x3f;
    fix_summary(fx);
    return 0;
}

X86_HELPER(fldenv, LOAD_FLAGS)
{
    struct x86_cpu *c = x86_of(t);
    (void)cc;
    uint8_t env[28];
    x86_read_bytes(c, x86_data_mode(c), a, env, 7 * (unsigned)b);
    take_env(image(c), (unsigned)b, env);
    return 0;
}

X86_HELPER(fnsave, SAVE_FLAGS | IR_H_WRITES)
{
    struct x86_cpu *c = x86_of(t);
    (void)cc;
    uint8_t area[108], *fx = image(c);
    unsigned n = make_env(fx, (unsigned)b, area);
    for (unsigned i = 0; i < 8; i++, n += 10) {
        memcpy(area + n, fx + FX_ST + 16 * i, 10);
    }
    x86_write_bytes(c, x86_data_mode(c), a, area, n);
    init_x87(c);
    return 0;
}

X86_HELPER(frstor, LOAD_FLAGS)
{
    struct x86_cpu *c = x86_of(t);
    (void)cc;
    uint8_t area[108], *fx = image(c);
    unsigned n = 7 * (unsigned)b;
    x86_read_bytes(c, x86_data_mode(c), a, area, n + 80);
    take_env(fx, (unsigned)b, area);
    for (unsigned i = 0; i < 8; i++) {
        memcpy(fx + FX_ST + 16 * i, area + n + 10 * i, 10);
    }
    return 0;
}

/* ---- exceptions ---- */

/* #MF, or FERR# and the PIC where the guest asked for that (CR0.NE clear). */
static void raise_mf(struct x86_cpu *c)
{
    if (c->cr0 & CR0_NE) {
        x86_raise(c, EX_MF);
    }
    x86_lock_machine(c);
    cpu_ferr(c->m, true);
    x86_unlock_machine(c);
}

X86_HELPER(fwait, IR_H_READS | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    (void)a, (void)b, (void)cc;
    if (c->mode & MODE_MP_TS) {
        x86_raise(c, EX_NM);
    }
    if (c->fpu.image[FX_SW] & 0x80 || t->x87_live) {
        if (load_le(image(c) + FX_SW, 2) & 0x80) {
            raise_mf(c);
        }
    }
    return 0;
}

void x86_fp_exception(struct tcg_cpu *cpu, enum tcg_unit unit)
{
    struct x86_cpu *c = x86_of(cpu);
    if (unit == TCG_DIVIDER) {
        x86_raise(c, EX_DE);
    }
    if (unit == TCG_SIMD) {
        x86_raise(c, c->cr4 & CR4_OSXMMEXCPT ? EX_XM : EX_UD);
    }
    raise_mf(c);
    c->raised = RAISED_NONE; /* again, until the interrupt is taken */
    tcg_raise(cpu);
}

X86_HELPER(fnstsw, IR_H_READS)
{
    (void)a, (void)b, (void)cc;
    return load_le(image(x86_of(t)) + FX_SW, 2);
}

X86_HELPER(ldmxcsr, IR_H_READS | IR_H_WRITES | IR_H_FAULTS | IR_H_VECTOR)
{
    (void)b, (void)cc;
    if ((uint32_t)a & ~MXCSR_MASK) {
        x86_raise_code(x86_of(t), EX_GP, 0);
    }
    t->mxcsr = (uint32_t)a;
    return 0;
}

X86_HELPER(stmxcsr, IR_H_READS | IR_H_VECTOR)
{
    (void)a, (void)b, (void)cc;
    return t->mxcsr;
}

X86_HELPER(fpu_nm, IR_H_READS | IR_H_FAULTS)
{
    (void)a, (void)b, (void)cc;
    x86_raise(x86_of(t), EX_NM);
}

/* ---- MASKMOVQ, MASKMOVDQU ---- */

/* Each byte whose mask has its top bit set is a store of its own. */
X86_HELPER(maskmov, IR_H_READS | IR_H_WRITES | IR_H_FAULTS | IR_H_VECTOR)
{
    struct x86_cpu *c = x86_of(t);
    unsigned data = b & 0xff, mask = b >> 8 & 0xff, size = (unsigned)cc;
    const uint8_t *from = t->vec[data & 15].b, *by = t->vec[mask & 15].b;
    uint64_t mm[2];
    if (size == 8) {
        image(c); /* the state is in memory behind this */
        mmx_check_pending(t);
        mmx_enter(t);
        mm[0] = mmx_read(t, data);
        mm[1] = mmx_read(t, mask);
        from = (const uint8_t *)&mm[0];
        by = (const uint8_t *)&mm[1];
    }
    for (unsigned i = 0; i < size; i++) {
        if (by[i] & 0x80) {
            x86_st(c, a + i, 1, from[i]);
        }
    }
    return 0;
}
