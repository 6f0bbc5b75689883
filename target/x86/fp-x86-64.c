/* SPDX-License-Identifier: MIT */
/* target/x86/fp-x86-64.c - fp.h on a host that has SSE itself: each operation is the host's scalar
 * instruction under the guest's MXCSR, so that results, NaN selection and flags need no model.
 *
 * The statements are volatile so that the compiler keeps them between fp_begin and fp_end.
 */
#include "target/x86/fp.h"

#include <math.h>
#include <string.h>

static inline float f32(uint32_t v)
{
    float f;
    memcpy(&f, &v, 4);
    return f;
}

static inline uint32_t u32(float f)
{
    uint32_t v;
    memcpy(&v, &f, 4);
    return v;
}

static inline double f64(uint64_t v)
{
    double f;
    memcpy(&f, &v, 8);
    return f;
}

static inline uint64_t u64(double f)
{
    uint64_t v;
    memcpy(&v, &f, 8);
    return v;
}

static inline uint32_t get_mxcsr(void)
{
    uint32_t v;
    __asm__ volatile("stmxcsr %0" : "=m"(v)::"memory");
    return v;
}

static inline void set_mxcsr(uint32_t v)
{
    __asm__ volatile("ldmxcsr %0" ::"m"(v) : "memory");
}

void fp_begin(struct fp *f, uint32_t mxcsr)
{
    f->mxcsr = mxcsr & 0xffffu & ~(uint32_t)MX_FLAGS;
    f->flags = 0;
    f->saved = get_mxcsr();
    f->tiny = !(mxcsr & (MX_UE << MX_MASK_SHIFT));
    if (f->tiny) { /* SDM vol. 1, 10.2.3.3: flushing needs the exception masked */
        f->mxcsr &= ~(uint32_t)MX_FTZ;
    }
    set_mxcsr(f->mxcsr | MX_MASKS);
}

uint32_t fp_take(struct fp *f)
{
    uint32_t flags = f->flags | (get_mxcsr() & MX_FLAGS);
    f->flags = 0;
    set_mxcsr(f->mxcsr | MX_MASKS);
    return flags;
}

uint32_t fp_end(struct fp *f)
{
    uint32_t flags = f->flags | (get_mxcsr() & MX_FLAGS);
    set_mxcsr(f->saved);
    return flags;
}

/* With underflow unmasked a tiny result signals even when it is exact; the masked hardware is silent
 * about those. */
static inline uint32_t result32(struct fp *f, float r)
{
    uint32_t v = u32(r);
    if (f->tiny && !(v & 0x7f800000u) && (v & 0x007fffffu)) {
        f->flags |= MX_UE;
    }
    return v;
}

static inline uint64_t result64(struct fp *f, double r)
{
    uint64_t v = u64(r);
    if (f->tiny && !(v & 0x7ff0000000000000u) && (v & 0x000fffffffffffffu)) {
        f->flags |= MX_UE;
    }
    return v;
}

#define BINARY(name, insn)                                                                         \
    uint32_t fp_##name##32(struct fp * f, uint32_t a, uint32_t b)                                  \
    {                                                                                              \
        float x = f32(a);                                                                          \
        __asm__ volatile(insn "ss %1, %0" : "+x"(x) : "x"(f32(b)));                                \
        return result32(f, x);                                                                     \
    }                                                                                              \
    uint64_t fp_##name##64(struct fp * f, uint64_t a, uint64_t b)                                  \
    {                                                                                              \
        double x = f64(a);                                                                         \
        __asm__ volatile(insn "sd %1, %0" : "+x"(x) : "x"(f64(b)));                                \
        return result64(f, x);                                                                     \
    }
BINARY(add, "add")
BINARY(sub, "sub")
BINARY(mul, "mul")
BINARY(div, "div")

/* These have no tiny results of their own: they pass on what they got. */
#define SILENT32(name, insn)                                                                       \
    uint32_t fp_##name##32(struct fp * f, uint32_t a, uint32_t b)                                  \
    {                                                                                              \
        float x = f32(a);                                                                          \
        (void)f;                                                                                   \
        __asm__ volatile(insn " %1, %0" : "+x"(x) : "x"(f32(b)));                                  \
        return u32(x);                                                                             \
    }
#define SILENT64(name, insn)                                                                       \
    uint64_t fp_##name##64(struct fp * f, uint64_t a, uint64_t b)                                  \
    {                                                                                              \
        double x = f64(a);                                                                         \
        (void)f;                                                                                   \
        __asm__ volatile(insn " %1, %0" : "+x"(x) : "x"(f64(b)));                                  \
        return u64(x);                                                                             \
    }
SILENT32(min, "minss")
SILENT32(max, "maxss")
SILENT32(sqrt, "sqrtss")
SILENT32(rcp, "rcpss")
SILENT32(rsqrt, "rsqrtss")
SILENT64(min, "minsd")
SILENT64(max, "maxsd")
SILENT64(sqrt, "sqrtsd")

#define FMA_FORMS(T, dst, v, rm, suffix)                                                           \
    switch (form * 4 + neg) {                                                                      \
        FMA_FORM(FP_132, "132" suffix, dst, v, rm)                                                 \
        FMA_FORM(FP_213, "213" suffix, dst, v, rm)                                                 \
        FMA_FORM(FP_231, "231" suffix, dst, v, rm)                                                 \
    }
#define FMA_FORM(form, tail, dst, v, rm)                                                           \
    FMA_CASE(form, 0, "vfmadd" tail, dst, v, rm)                                                   \
    FMA_CASE(form, FP_NEG_PRODUCT, "vfnmadd" tail, dst, v, rm)                                     \
    FMA_CASE(form, FP_NEG_ADDEND, "vfmsub" tail, dst, v, rm)                                       \
    FMA_CASE(form, FP_NEG_PRODUCT | FP_NEG_ADDEND, "vfnmsub" tail, dst, v, rm)
#define FMA_CASE(form, neg, insn, dst, v, rm)                                                      \
    case form * 4 + (neg):                                                                         \
        __asm__ volatile(insn " %2, %1, %0" : "+x"(dst) : "x"(v), "x"(rm));                        \
        break;

uint32_t fp_fma32(struct fp *f, enum fp_fma_form form, unsigned neg, uint32_t dst, uint32_t v,
                  uint32_t rm)
{
    float d = f32(dst), x = f32(v), y = f32(rm);
    if (__builtin_cpu_supports("fma")) {
        FMA_FORMS(float, d, x, y, "ss")
        return result32(f, d);
    }
    float a = form == FP_213 ? x : d, b = form == FP_213 ? d : y, c = form == FP_213 ? y : x;
    if (form == FP_231) {
        a = x, b = y, c = d;
    }
    return result32(f, fmaf(neg & FP_NEG_PRODUCT ? -a : a, b, neg & FP_NEG_ADDEND ? -c : c));
}

uint64_t fp_fma64(struct fp *f, enum fp_fma_form form, unsigned neg, uint64_t dst, uint64_t v,
                  uint64_t rm)
{
    double d = f64(dst), x = f64(v), y = f64(rm);
    if (__builtin_cpu_supports("fma")) {
        FMA_FORMS(double, d, x, y, "sd")
        return result64(f, d);
    }
    double a = form == FP_213 ? x : d, b = form == FP_213 ? d : y, c = form == FP_213 ? y : x;
    if (form == FP_231) {
        a = x, b = y, c = d;
    }
    return result64(f, fma(neg & FP_NEG_PRODUCT ? -a : a, b, neg & FP_NEG_ADDEND ? -c : c));
}

/* ZF, PF and CF as COMISS leaves them. */
static enum fp_relation relation(bool zf, bool pf, bool cf)
{
    return pf ? FP_UNORDERED : zf ? FP_EQ : cf ? FP_LT : FP_GT;
}

#define COMPARE(insn, a, b)                                                                        \
    __asm__ volatile(insn " %4, %3" : "=@ccz"(zf), "=@ccp"(pf), "=@ccc"(cf) : "x"(a), "x"(b))

enum fp_relation fp_compare32(struct fp *f, uint32_t a, uint32_t b, bool signal)
{
    bool zf, pf, cf;
    (void)f;
    if (signal) {
        COMPARE("comiss", f32(a), f32(b));
    } else {
        COMPARE("ucomiss", f32(a), f32(b));
    }
    return relation(zf, pf, cf);
}

enum fp_relation fp_compare64(struct fp *f, uint64_t a, uint64_t b, bool signal)
{
    bool zf, pf, cf;
    (void)f;
    if (signal) {
        COMPARE("comisd", f64(a), f64(b));
    } else {
        COMPARE("ucomisd", f64(a), f64(b));
    }
    return relation(zf, pf, cf);
}

/* The destination starts as zero: the instruction keeps its upper part. */
#define FROM_INT(name, T, insn, F, bits)                                                           \
    uint##bits##_t name(struct fp *f, T v)                                                         \
    {                                                                                              \
        F x = 0;                                                                                   \
        (void)f;                                                                                   \
        __asm__ volatile(insn " %1, %0" : "+x"(x) : "r"(v));                                       \
        return u##bits(x);                                                                         \
    }
FROM_INT(fp_int32_to_32, int32_t, "cvtsi2ssl", float, 32)
FROM_INT(fp_int64_to_32, int64_t, "cvtsi2ssq", float, 32)
FROM_INT(fp_int32_to_64, int32_t, "cvtsi2sdl", double, 64)
FROM_INT(fp_int64_to_64, int64_t, "cvtsi2sdq", double, 64)

#define TO_INT(name, T, from, kind)                                                                \
    T name(struct fp *f, uint##from##_t v, bool chop)                                              \
    {                                                                                              \
        T r;                                                                                       \
        (void)f;                                                                                   \
        if (chop) {                                                                                \
            __asm__ volatile("cvtt" kind "2si %1, %0" : "=r"(r) : "x"(f##from(v)));                \
        } else {                                                                                   \
            __asm__ volatile("cvt" kind "2si %1, %0" : "=r"(r) : "x"(f##from(v)));                 \
        }                                                                                          \
        return r;                                                                                  \
    }
TO_INT(fp_32_to_int32, uint32_t, 32, "ss")
TO_INT(fp_32_to_int64, uint64_t, 32, "ss")
TO_INT(fp_64_to_int32, uint32_t, 64, "sd")
TO_INT(fp_64_to_int64, uint64_t, 64, "sd")

uint64_t fp_32_to_64(struct fp *f, uint32_t v)
{
    double r = 0;
    (void)f;
    __asm__ volatile("cvtss2sd %1, %0" : "+x"(r) : "x"(f32(v)));
    return u64(r);
}

uint32_t fp_64_to_32(struct fp *f, uint64_t v)
{
    float r = 0;
    __asm__ volatile("cvtsd2ss %1, %0" : "+x"(r) : "x"(f64(v)));
    return result32(f, r);
}

/* The rounding is part of the instruction: one for each. */
#define ROUND_CASE(insn, imm)                                                                      \
    case imm:                                                                                      \
        __asm__ volatile(insn " %2, %1, %0" : "+x"(r) : "x"(x), "i"(imm));                         \
        break;
/* clang-format off */
#define ROUND_CASES(insn)                                                                          \
    ROUND_CASE(insn, 0) ROUND_CASE(insn, 1) ROUND_CASE(insn, 2) ROUND_CASE(insn, 3)                \
    ROUND_CASE(insn, 4) ROUND_CASE(insn, 8) ROUND_CASE(insn, 9) ROUND_CASE(insn, 10)               \
    ROUND_CASE(insn, 11) ROUND_CASE(insn, 12)
/* clang-format on */

static unsigned round_imm(unsigned imm)
{
    return imm & 4 ? imm & 12 : imm & 11;
}

uint32_t fp_round32(struct fp *f, uint32_t v, unsigned imm)
{
    float x = f32(v), r = 0;
    (void)f;
    switch (round_imm(imm)) {
        ROUND_CASES("roundss")
    }
    return u32(r);
}

uint64_t fp_round64(struct fp *f, uint64_t v, unsigned imm)
{
    double x = f64(v), r = 0;
    (void)f;
    switch (round_imm(imm)) {
        ROUND_CASES("roundsd")
    }
    return u64(r);
}
