/* SPDX-License-Identifier: MIT */
/* target/x86/simd-fp.c - SSE, AVX, FMA and F16C floating point: element by element through fp.h.
 *
 * The frame simd_fp enters the guest's MXCSR, lets a function compute s->d, and stores it unless an
 * unmasked exception came up. Reference: SDM volume 1, chapter 11.5; volume 2 under each mnemonic.
 */
#include "target/x86/simd-int.h"

#include <string.h>

typedef void (*fp_fn)(struct simd *s, struct fp *f);

static void simd_fp(SEM_ARGS, fp_fn fn)
{
    struct simd s;
    struct fp f;
    simd_load(&s, cpu, n, mem);
    fp_begin(&f, cpu->mxcsr);
    fn(&s, &f);
    if (!simd_flags(cpu, fp_end(&f))) {
        simd_raise(cpu);
        return;
    }
    simd_store(&s);
}

#define SEM_FP(name)                                                                               \
    void x86_sem_##name(SEM_ARGS)                                                                  \
    {                                                                                              \
        simd_fp(cpu, n, mem, fp_##name);                                                           \
    }
#define FP_FN(name) static void fp_##name(struct simd *s, struct fp *f)

/* ---- d = op(a, b) in the packed and scalar forms of single and double precision ---- */

typedef uint32_t (*op32)(struct fp *f, uint32_t a, uint32_t b);
typedef uint64_t (*op64)(struct fp *f, uint64_t a, uint64_t b);

static void packed32(struct simd *s, struct fp *f, op32 op)
{
    for (unsigned i = 0; i < s->bytes / 4; i++) {
        s->d.u32[i] = op(f, s->a.u32[i], s->b.u32[i]);
    }
}

static void packed64(struct simd *s, struct fp *f, op64 op)
{
    for (unsigned i = 0; i < s->bytes / 8; i++) {
        s->d.u64[i] = op(f, s->a.u64[i], s->b.u64[i]);
    }
}

static void scalar32(struct simd *s, struct fp *f, op32 op)
{
    s->bytes = 16;
    s->d.u32[0] = op(f, s->a.u32[0], s->b.u32[0]);
}

static void scalar64(struct simd *s, struct fp *f, op64 op)
{
    s->bytes = 16;
    s->d.u64[0] = op(f, s->a.u64[0], s->b.u64[0]);
}

#define SEM_OP(name, frame, op)                                                                    \
    FP_FN(name)                                                                                    \
    {                                                                                              \
        frame(s, f, op);                                                                           \
    }                                                                                              \
    SEM_FP(name)
#define SEM_FOUR(op)                                                                               \
    SEM_OP(op##ps, packed32, fp_##op##32)                                                          \
    SEM_OP(op##pd, packed64, fp_##op##64)                                                          \
    SEM_OP(op##ss, scalar32, fp_##op##32)                                                          \
    SEM_OP(op##sd, scalar64, fp_##op##64)
SEM_FOUR(add)
SEM_FOUR(sub)
SEM_FOUR(mul)
SEM_FOUR(div)
SEM_FOUR(min)
SEM_FOUR(max)
SEM_FOUR(sqrt)
SEM_OP(rcpps, packed32, fp_rcp32)
SEM_OP(rcpss, scalar32, fp_rcp32)
SEM_OP(rsqrtps, packed32, fp_rsqrt32)
SEM_OP(rsqrtss, scalar32, fp_rsqrt32)

FP_FN(addsubps)
{
    for (unsigned i = 0; i < s->bytes / 4; i++) {
        s->d.u32[i] = (i & 1 ? fp_add32 : fp_sub32)(f, s->a.u32[i], s->b.u32[i]);
    }
}
SEM_FP(addsubps)

FP_FN(addsubpd)
{
    for (unsigned i = 0; i < s->bytes / 8; i++) {
        s->d.u64[i] = (i & 1 ? fp_add64 : fp_sub64)(f, s->a.u64[i], s->b.u64[i]);
    }
}
SEM_FP(addsubpd)

/* Pairs of a, then pairs of b, within each lane. */
static void horizontal32(struct simd *s, struct fp *f, op32 op)
{
    for (unsigned i = 0; i < s->bytes / 4; i++) {
        const uint32_t *p = (i & 2 ? &s->b : &s->a)->u32 + (i & ~3u) + 2 * (i & 1);
        s->d.u32[i] = op(f, p[0], p[1]);
    }
}

static void horizontal64(struct simd *s, struct fp *f, op64 op)
{
    for (unsigned i = 0; i < s->bytes / 8; i++) {
        const uint64_t *p = (i & 1 ? &s->b : &s->a)->u64 + (i & ~1u);
        s->d.u64[i] = op(f, p[0], p[1]);
    }
}
SEM_OP(haddps, horizontal32, fp_add32)
SEM_OP(haddpd, horizontal64, fp_add64)
SEM_OP(hsubps, horizontal32, fp_sub32)
SEM_OP(hsubpd, horizontal64, fp_sub64)

/* ---- rounding to integers ---- */

#define SEM_ROUND(name, member, bits, count)                                                       \
    FP_FN(name)                                                                                    \
    {                                                                                              \
        unsigned elements = (count) ? (count) : s->bytes * 8 / (bits);                             \
        s->bytes = (count) ? 16 : s->bytes;                                                        \
        for (unsigned i = 0; i < elements; i++) {                                                  \
            s->d.member[i] = fp_round##bits(f, s->b.member[i], s->imm);                            \
        }                                                                                          \
    }                                                                                              \
    SEM_FP(name)
SEM_ROUND(roundps, u32, 32, 0)
SEM_ROUND(roundpd, u64, 64, 0)
SEM_ROUND(roundss, u32, 32, 1)
SEM_ROUND(roundsd, u64, 64, 1)

/* ---- compares ---- */

/* Predicates 0..15 as sets of relations; 16..31 are the same with signalling turned round. */
static const uint8_t predicates[16] = {
    FP_EQ,
    FP_LT,
    FP_LT | FP_EQ,
    FP_UNORDERED,
    FP_LT | FP_GT | FP_UNORDERED,
    FP_EQ | FP_GT | FP_UNORDERED,
    FP_GT | FP_UNORDERED,
    FP_LT | FP_EQ | FP_GT,
    FP_EQ | FP_UNORDERED,
    FP_LT | FP_UNORDERED,
    FP_LT | FP_EQ | FP_UNORDERED,
    0,
    FP_LT | FP_GT,
    FP_EQ | FP_GT,
    FP_GT,
    FP_LT | FP_EQ | FP_GT | FP_UNORDERED,
};

static unsigned predicate(const struct simd *s)
{
    return s->imm & (s->n->encoding == ENC_VEX ? 31 : 7);
}

/* In each group of four, the two in the middle signal. */
static bool predicate_signals(unsigned p)
{
    return (((p + 1) & 2) != 0) ^ (p >> 4);
}

static uint32_t compare32(struct simd *s, struct fp *f, unsigned i)
{
    unsigned p = predicate(s);
    enum fp_relation r = fp_compare32(f, s->a.u32[i], s->b.u32[i], predicate_signals(p));
    return predicates[p & 15] & r ? UINT32_MAX : 0;
}

static uint64_t compare64(struct simd *s, struct fp *f, unsigned i)
{
    unsigned p = predicate(s);
    enum fp_relation r = fp_compare64(f, s->a.u64[i], s->b.u64[i], predicate_signals(p));
    return predicates[p & 15] & r ? UINT64_MAX : 0;
}

FP_FN(cmpps)
{
    for (unsigned i = 0; i < s->bytes / 4; i++) {
        s->d.u32[i] = compare32(s, f, i);
    }
}

FP_FN(cmppd)
{
    for (unsigned i = 0; i < s->bytes / 8; i++) {
        s->d.u64[i] = compare64(s, f, i);
    }
}

FP_FN(cmpss)
{
    s->bytes = 16;
    s->d.u32[0] = compare32(s, f, 0);
}

FP_FN(cmpsd)
{
    s->bytes = 16;
    s->d.u64[0] = compare64(s, f, 0);
}
SEM_FP(cmpps)
SEM_FP(cmppd)
SEM_FP(cmpss)
SEM_FP(cmpsd)

/* COMISS and its like: the relation in ZF, PF, CF. */
static void set_flags(struct tcg_cpu *cpu, enum fp_relation r)
{
    static const uint8_t flags[] = {
        [FP_LT] = F_CF, [FP_EQ] = F_ZF, [FP_GT] = 0, [FP_UNORDERED] = F_ZF | F_PF | F_CF
    };
    cpu->flags = flags[r];
}

static void compare_flags(SEM_ARGS, bool wide, bool signal)
{
    struct simd s;
    struct fp f;
    simd_load(&s, cpu, n, mem);
    fp_begin(&f, cpu->mxcsr);
    enum fp_relation r = wide ? fp_compare64(&f, s.a.u64[0], s.b.u64[0], signal)
                              : fp_compare32(&f, s.a.u32[0], s.b.u32[0], signal);
    if (!simd_flags(cpu, fp_end(&f))) {
        simd_raise(cpu);
        return;
    }
    set_flags(cpu, r);
}

#define SEM_COMPARE(name, wide, signal)                                                            \
    void x86_sem_##name(SEM_ARGS)                                                                  \
    {                                                                                              \
        compare_flags(cpu, n, mem, wide, signal);                                                  \
    }
SEM_COMPARE(comiss, false, true)
SEM_COMPARE(comisd, true, true)
SEM_COMPARE(ucomiss, false, false)
SEM_COMPARE(ucomisd, true, false)

/* ---- conversions: scalar ---- */

FP_FN(cvtsi2ss)
{
    s->bytes = 16;
    s->d.u32[0] =
        s->n->w ? fp_int64_to_32(f, (int64_t)s->b.u64[0]) : fp_int32_to_32(f, s->b.s32[0]);
}

FP_FN(cvtsi2sd)
{
    s->bytes = 16;
    s->d.u64[0] =
        s->n->w ? fp_int64_to_64(f, (int64_t)s->b.u64[0]) : fp_int32_to_64(f, s->b.s32[0]);
}
SEM_FP(cvtsi2ss)
SEM_FP(cvtsi2sd)

FP_FN(cvtss2sd)
{
    s->bytes = 16;
    s->d.u64[0] = fp_32_to_64(f, s->b.u32[0]);
}

FP_FN(cvtsd2ss)
{
    s->bytes = 16;
    s->d.u32[0] = fp_64_to_32(f, s->b.u64[0]);
}
SEM_FP(cvtss2sd)
SEM_FP(cvtsd2ss)

static uint64_t scalar_to_int(struct simd *s, struct fp *f, bool wide, bool chop)
{
    if (s->n->w) {
        return wide ? fp_64_to_int64(f, s->b.u64[0], chop) : fp_32_to_int64(f, s->b.u32[0], chop);
    }
    return wide ? fp_64_to_int32(f, s->b.u64[0], chop) : fp_32_to_int32(f, s->b.u32[0], chop);
}

static void to_gpr(SEM_ARGS, bool wide, bool chop)
{
    struct simd s;
    struct fp f;
    simd_load(&s, cpu, n, mem);
    fp_begin(&f, cpu->mxcsr);
    uint64_t v = scalar_to_int(&s, &f, wide, chop);
    if (!simd_flags(cpu, fp_end(&f))) {
        simd_raise(cpu);
        return;
    }
    cpu->gpr[n->reg] = v;
}

#define SEM_TO_GPR(name, wide, chop)                                                               \
    void x86_sem_##name(SEM_ARGS)                                                                  \
    {                                                                                              \
        to_gpr(cpu, n, mem, wide, chop);                                                           \
    }
SEM_TO_GPR(cvtss2si, false, false)
SEM_TO_GPR(cvtsd2si, true, false)
SEM_TO_GPR(cvttss2si, false, true)
SEM_TO_GPR(cvttsd2si, true, true)

/* ---- conversions: packed ---- */

/* d.to[i] = expr for count elements; the rest of the register is cleared. */
#define SEM_CONVERT(name, result_bytes, count, to, expr)                                           \
    FP_FN(name)                                                                                    \
    {                                                                                              \
        unsigned elements = (count);                                                               \
        memset(&s->d, 0, sizeof(s->d));                                                            \
        for (unsigned i = 0; i < elements; i++) {                                                  \
            s->d.to[i] = (expr);                                                                   \
        }                                                                                          \
        s->bytes = (result_bytes);                                                                 \
    }                                                                                              \
    SEM_FP(name)
SEM_CONVERT(cvtdq2ps, s->bytes, s->bytes / 4, u32, fp_int32_to_32(f, s->b.s32[i]))
SEM_CONVERT(cvtdq2pd, s->bytes, s->bytes / 8, u64, fp_int32_to_64(f, s->b.s32[i]))
SEM_CONVERT(cvtps2dq, s->bytes, s->bytes / 4, u32, fp_32_to_int32(f, s->b.u32[i], false))
SEM_CONVERT(cvttps2dq, s->bytes, s->bytes / 4, u32, fp_32_to_int32(f, s->b.u32[i], true))
SEM_CONVERT(cvtpd2dq, 16, s->bytes / 8, u32, fp_64_to_int32(f, s->b.u64[i], false))
SEM_CONVERT(cvttpd2dq, 16, s->bytes / 8, u32, fp_64_to_int32(f, s->b.u64[i], true))
SEM_CONVERT(cvtps2pd, s->bytes, s->bytes / 8, u64, fp_32_to_64(f, s->b.u32[i]))
SEM_CONVERT(cvtpd2ps, 16, s->bytes / 8, u32, fp_64_to_32(f, s->b.u64[i]))
SEM_CONVERT(vcvtph2ps, s->bytes, s->bytes / 4, u32, fp_16_to_32(f, s->b.u16[i]))
SEM_CONVERT(vcvtps2ph, 16, s->bytes / 4, u16, fp_32_to_16(f, s->b.u32[i], s->imm))

/* With MMX registers two elements always. */
SEM_CONVERT(cvtpi2pd, 16, 2, u64, fp_int32_to_64(f, s->b.s32[i]))
SEM_CONVERT(cvtps2pi, 8, 2, u32, fp_32_to_int32(f, s->b.u32[i], false))
SEM_CONVERT(cvttps2pi, 8, 2, u32, fp_32_to_int32(f, s->b.u32[i], true))
SEM_CONVERT(cvtpd2pi, 8, 2, u32, fp_64_to_int32(f, s->b.u64[i], false))
SEM_CONVERT(cvttpd2pi, 8, 2, u32, fp_64_to_int32(f, s->b.u64[i], true))

FP_FN(cvtpi2ps) /* the upper half stays */
{
    s->d.u32[0] = fp_int32_to_32(f, s->b.s32[0]);
    s->d.u32[1] = fp_int32_to_32(f, s->b.s32[1]);
}
SEM_FP(cvtpi2ps)

/* ---- dot products: three steps, each with its own exceptions for all lanes ---- */

/* False: something unmasked came up and ends the instruction. */
static bool step(struct simd *s, struct fp *f)
{
    return simd_flags(s->cpu, fp_take(f));
}

static bool dot32(struct simd *s, struct fp *f)
{
    uint32_t t[8], sum[4];
    unsigned n = s->bytes / 4;
    for (unsigned i = 0; i < n; i++) {
        t[i] = s->imm >> (4 + (i & 3)) & 1 ? fp_mul32(f, s->a.u32[i], s->b.u32[i]) : 0;
    }
    if (!step(s, f)) {
        return false;
    }
    for (unsigned i = 0; i < n / 2; i++) {
        sum[i] = fp_add32(f, t[2 * i], t[2 * i + 1]);
    }
    if (!step(s, f)) {
        return false;
    }
    for (unsigned i = 0; i < n / 4; i++) {
        sum[i] = fp_add32(f, sum[2 * i], sum[2 * i + 1]);
    }
    for (unsigned i = 0; i < n; i++) {
        s->d.u32[i] = s->imm >> (i & 3) & 1 ? sum[i / 4] : 0;
    }
    return step(s, f);
}

static bool dot64(struct simd *s, struct fp *f)
{
    uint64_t t[2], sum;
    for (unsigned i = 0; i < 2; i++) {
        t[i] = s->imm >> (4 + i) & 1 ? fp_mul64(f, s->a.u64[i], s->b.u64[i]) : 0;
    }
    if (!step(s, f)) {
        return false;
    }
    sum = fp_add64(f, t[0], t[1]);
    for (unsigned i = 0; i < 2; i++) {
        s->d.u64[i] = s->imm >> i & 1 ? sum : 0;
    }
    return step(s, f);
}

static void dot(SEM_ARGS, bool (*fn)(struct simd *s, struct fp *f))
{
    struct simd s;
    struct fp f;
    simd_load(&s, cpu, n, mem);
    fp_begin(&f, cpu->mxcsr);
    bool ok = fn(&s, &f);
    fp_end(&f);
    if (!ok) {
        simd_raise(cpu);
        return;
    }
    simd_store(&s);
}

void x86_sem_dpps(SEM_ARGS)
{
    dot(cpu, n, mem, dot32);
}

void x86_sem_dppd(SEM_ARGS)
{
    dot(cpu, n, mem, dot64);
}

/* ---- fused multiply-add ---- */

/* neg: of even and of odd elements. The destination is a source as well. */
struct fma {
    enum fp_fma_form form;
    bool wide, scalar;
    uint8_t neg[2];
};

static void fma_elements(struct simd *s, struct fp *f, const struct fma *m)
{
    unsigned size = m->wide ? 8 : 4;
    simd_read(s->cpu, s->n->reg_class, s->n->reg, &s->d);
    s->bytes = m->scalar ? 16 : s->bytes;
    for (unsigned i = 0; i < (m->scalar ? 1 : s->bytes / size); i++) {
        if (m->wide) {
            s->d.u64[i] =
                fp_fma64(f, m->form, m->neg[i & 1], s->d.u64[i], s->a.u64[i], s->b.u64[i]);
        } else {
            s->d.u32[i] =
                fp_fma32(f, m->form, m->neg[i & 1], s->d.u32[i], s->a.u32[i], s->b.u32[i]);
        }
    }
}

#define SEM_FMA(name, form, wide, scalar, even, odd)                                               \
    FP_FN(name)                                                                                    \
    {                                                                                              \
        static const struct fma m = { form, wide, scalar, { even, odd } };                         \
        fma_elements(s, f, &m);                                                                    \
    }                                                                                              \
    SEM_FP(name)
#define SEM_FMA_PACKED(name, form, digits, even, odd)                                              \
    SEM_FMA(name##digits##ps, form, false, false, even, odd)                                       \
    SEM_FMA(name##digits##pd, form, true, false, even, odd)
#define SEM_FMA_FORM(name, form, digits, neg)                                                      \
    SEM_FMA_PACKED(name, form, digits, neg, neg)                                                   \
    SEM_FMA(name##digits##ss, form, false, true, neg, neg)                                         \
    SEM_FMA(name##digits##sd, form, true, true, neg, neg)
#define SEM_FMA_ALL(name, neg)                                                                     \
    SEM_FMA_FORM(name, FP_132, 132, neg)                                                           \
    SEM_FMA_FORM(name, FP_213, 213, neg)                                                           \
    SEM_FMA_FORM(name, FP_231, 231, neg)
#define SEM_FMA_MIXED(name, even, odd)                                                             \
    SEM_FMA_PACKED(name, FP_132, 132, even, odd)                                                   \
    SEM_FMA_PACKED(name, FP_213, 213, even, odd)                                                   \
    SEM_FMA_PACKED(name, FP_231, 231, even, odd)
SEM_FMA_ALL(vfmadd, 0)
SEM_FMA_ALL(vfmsub, FP_NEG_ADDEND)
SEM_FMA_ALL(vfnmadd, FP_NEG_PRODUCT)
SEM_FMA_ALL(vfnmsub, FP_NEG_PRODUCT | FP_NEG_ADDEND)
SEM_FMA_MIXED(vfmaddsub, FP_NEG_ADDEND, 0)
SEM_FMA_MIXED(vfmsubadd, 0, FP_NEG_ADDEND)
