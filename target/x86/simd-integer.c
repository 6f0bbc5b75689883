/* SPDX-License-Identifier: MIT */
/* target/x86/simd-integer.c - integer arithmetic, logic, compares and shifts on packed elements
 * (MMX, SSE2, SSSE3, SSE4.1, AVX2). Reference: SDM volume 2, under each mnemonic.
 */
#include "target/x86/simd-int.h"

#include <string.h>

#define ABS(x) ((x) < 0 ? -(x) : (x))
#define MIN(x, y) ((x) < (y) ? (x) : (y))
#define MAX(x, y) ((x) > (y) ? (x) : (y))

/* ---- one element at a time ---- */

SEM_EACH(paddb, u8, uint8_t, A + B)
SEM_EACH(paddw, u16, uint16_t, A + B)
SEM_EACH(paddd, u32, uint32_t, A + B)
SEM_EACH(paddq, u64, uint64_t, A + B)
SEM_EACH(psubb, u8, uint8_t, A - B)
SEM_EACH(psubw, u16, uint16_t, A - B)
SEM_EACH(psubd, u32, uint32_t, A - B)
SEM_EACH(psubq, u64, uint64_t, A - B)
SEM_EACH(paddsb, s8, int8_t, sat_s(A + B, INT8_MIN, INT8_MAX))
SEM_EACH(paddsw, s16, int16_t, sat_s(A + B, INT16_MIN, INT16_MAX))
SEM_EACH(psubsb, s8, int8_t, sat_s(A - B, INT8_MIN, INT8_MAX))
SEM_EACH(psubsw, s16, int16_t, sat_s(A - B, INT16_MIN, INT16_MAX))
SEM_EACH(paddusb, u8, uint8_t, sat_s(A + B, 0, UINT8_MAX))
SEM_EACH(paddusw, u16, uint16_t, sat_s(A + B, 0, UINT16_MAX))
SEM_EACH(psubusb, u8, uint8_t, sat_s(A - B, 0, UINT8_MAX))
SEM_EACH(psubusw, u16, uint16_t, sat_s(A - B, 0, UINT16_MAX))
SEM_EACH(pmullw, s16, int16_t, A *B)
SEM_EACH(pmulhw, s16, int16_t, (A * B) >> 16)
SEM_EACH(pmulhuw, u16, uint16_t, ((uint32_t)A * B) >> 16)
SEM_EACH(pmulhrsw, s16, int16_t, (((A * B) >> 14) + 1) >> 1)
SEM_EACH(pmulld, u32, uint32_t, A *B)
SEM_EACH(pmuludq, u64, uint64_t, (uint64_t)(uint32_t)A *(uint32_t)B)
SEM_EACH(pmuldq, s64, int64_t, (int64_t)(int32_t)A *(int32_t)B)
SEM_EACH(pavgb, u8, uint8_t, (A + B + 1) >> 1)
SEM_EACH(pavgw, u16, uint16_t, (A + B + 1) >> 1)
SEM_EACH(pminub, u8, uint8_t, MIN(A, B))
SEM_EACH(pminuw, u16, uint16_t, MIN(A, B))
SEM_EACH(pminud, u32, uint32_t, MIN(A, B))
SEM_EACH(pminsb, s8, int8_t, MIN(A, B))
SEM_EACH(pminsw, s16, int16_t, MIN(A, B))
SEM_EACH(pminsd, s32, int32_t, MIN(A, B))
SEM_EACH(pmaxub, u8, uint8_t, MAX(A, B))
SEM_EACH(pmaxuw, u16, uint16_t, MAX(A, B))
SEM_EACH(pmaxud, u32, uint32_t, MAX(A, B))
SEM_EACH(pmaxsb, s8, int8_t, MAX(A, B))
SEM_EACH(pmaxsw, s16, int16_t, MAX(A, B))
SEM_EACH(pmaxsd, s32, int32_t, MAX(A, B))
SEM_EACH(pabsb, s8, int8_t, ABS(B))
SEM_EACH(pabsw, s16, int16_t, ABS(B))
SEM_EACH(pabsd, u32, uint32_t, B >> 31 ? 0 - B : B)
SEM_EACH(psignb, s8, int8_t, B < 0 ? -A : B ? A : 0)
SEM_EACH(psignw, s16, int16_t, B < 0 ? -A : B ? A : 0)
SEM_EACH(psignd, u32, uint32_t, B >> 31 ? 0 - A : B ? A : 0)
SEM_EACH(pcmpeqb, u8, uint8_t, A == B ? -1 : 0)
SEM_EACH(pcmpeqw, u16, uint16_t, A == B ? -1 : 0)
SEM_EACH(pcmpeqd, u32, uint32_t, A == B ? -1 : 0)
SEM_EACH(pcmpeqq, u64, uint64_t, A == B ? -1 : 0)
SEM_EACH(pcmpgtb, s8, int8_t, A > B ? -1 : 0)
SEM_EACH(pcmpgtw, s16, int16_t, A > B ? -1 : 0)
SEM_EACH(pcmpgtd, s32, int32_t, A > B ? -1 : 0)
SEM_EACH(pcmpgtq, s64, int64_t, A > B ? -1 : 0)

LANE_FN(lane_and, u64, uint64_t, A &B)
LANE_FN(lane_andn, u64, uint64_t, ~A &B)
LANE_FN(lane_or, u64, uint64_t, A | B)
LANE_FN(lane_xor, u64, uint64_t, A ^ B)
SEM_LANES(pand, lane_and)
SEM_LANES(andps, lane_and)
SEM_LANES(andpd, lane_and)
SEM_LANES(pandn, lane_andn)
SEM_LANES(andnps, lane_andn)
SEM_LANES(andnpd, lane_andn)
SEM_LANES(por, lane_or)
SEM_LANES(orps, lane_or)
SEM_LANES(orpd, lane_or)
SEM_LANES(pxor, lane_xor)
SEM_LANES(xorps, lane_xor)
SEM_LANES(xorpd, lane_xor)

/* ---- neighbours ---- */

/* member[i] of d is made of elements 2i and 2i+1 of a (lower half), then of b. */
#define SEM_PAIRS(name, member, T, expr)                                                           \
    static void lane_##name(union lane *d, const union lane *a, const union lane *b, unsigned len, \
                            unsigned imm)                                                          \
    {                                                                                              \
        unsigned half = len / (unsigned)sizeof(T) / 2;                                             \
        (void)imm;                                                                                 \
        for (unsigned i = 0; i < 2 * half; i++) {                                                  \
            const T *p = (i < half ? a : b)->member + 2 * (i % half);                              \
            T X = p[0], Y = p[1];                                                                  \
            d->member[i] = (T)(expr);                                                              \
        }                                                                                          \
    }                                                                                              \
    SEM_LANES(name, lane_##name)
SEM_PAIRS(phaddw, u16, uint16_t, X + Y)
SEM_PAIRS(phaddd, u32, uint32_t, X + Y)
SEM_PAIRS(phaddsw, s16, int16_t, sat_s(X + Y, INT16_MIN, INT16_MAX))
SEM_PAIRS(phsubw, u16, uint16_t, X - Y)
SEM_PAIRS(phsubd, u32, uint32_t, X - Y)
SEM_PAIRS(phsubsw, s16, int16_t, sat_s(X - Y, INT16_MIN, INT16_MAX))

static void lane_pmaddwd(union lane *d, const union lane *a, const union lane *b, unsigned len,
                         unsigned imm)
{
    (void)imm;
    for (unsigned i = 0; i < len / 4; i++) {
        d->u32[i] = (uint32_t)(a->s16[2 * i] * b->s16[2 * i]) +
                    (uint32_t)(a->s16[2 * i + 1] * b->s16[2 * i + 1]);
    }
}
SEM_LANES(pmaddwd, lane_pmaddwd)

static void lane_pmaddubsw(union lane *d, const union lane *a, const union lane *b, unsigned len,
                           unsigned imm)
{
    (void)imm;
    for (unsigned i = 0; i < len / 2; i++) {
        d->s16[i] =
            (int16_t)sat_s(a->u8[2 * i] * b->s8[2 * i] + a->u8[2 * i + 1] * b->s8[2 * i + 1],
                           INT16_MIN, INT16_MAX);
    }
}
SEM_LANES(pmaddubsw, lane_pmaddubsw)

static void lane_psadbw(union lane *d, const union lane *a, const union lane *b, unsigned len,
                        unsigned imm)
{
    (void)imm;
    for (unsigned i = 0; i < len / 8; i++) {
        unsigned sum = 0;
        for (unsigned k = 8 * i; k < 8 * i + 8; k++) {
            sum += (unsigned)ABS(a->u8[k] - b->u8[k]);
        }
        d->u64[i] = sum;
    }
}
SEM_LANES(psadbw, lane_psadbw)

/* Eight sums of four absolute differences; the immediate's lower and upper three bits say where
 * each 128-bit lane takes its bytes from. */
static void whole_mpsadbw(struct simd *s)
{
    for (unsigned l = 0; l * 16 < s->bytes; l++) {
        unsigned imm = s->imm >> (3 * l);
        const uint8_t *a = s->a.lane[l].u8 + (imm & 4), *b = s->b.lane[l].u8 + 4 * (imm & 3);
        for (unsigned i = 0; i < 8; i++) {
            unsigned sum = 0;
            for (unsigned k = 0; k < 4; k++) {
                sum += (unsigned)ABS(a[i + k] - b[k]);
            }
            s->d.lane[l].u16[i] = (uint16_t)sum;
        }
    }
}
SEM_WHOLE(mpsadbw, whole_mpsadbw)

static void lane_phminposuw(union lane *d, const union lane *a, const union lane *b, unsigned len,
                            unsigned imm)
{
    unsigned best = 0;
    (void)a;
    (void)len;
    (void)imm;
    for (unsigned i = 1; i < 8; i++) {
        best = b->u16[i] < b->u16[best] ? i : best;
    }
    d->u64[0] = b->u16[best] | best << 16;
    d->u64[1] = 0;
}
SEM_LANES(phminposuw, lane_phminposuw)

/* ---- narrowing ---- */

#define SEM_PACK(name, from, to, T, lo, hi)                                                        \
    static void lane_##name(union lane *d, const union lane *a, const union lane *b, unsigned len, \
                            unsigned imm)                                                          \
    {                                                                                              \
        unsigned half = len / (unsigned)sizeof(T) / 2;                                             \
        (void)imm;                                                                                 \
        for (unsigned i = 0; i < half; i++) {                                                      \
            d->to[i] = (T)sat_s(a->from[i], lo, hi);                                               \
            d->to[i + half] = (T)sat_s(b->from[i], lo, hi);                                        \
        }                                                                                          \
    }                                                                                              \
    SEM_LANES(name, lane_##name)
SEM_PACK(packsswb, s16, s8, int8_t, INT8_MIN, INT8_MAX)
SEM_PACK(packssdw, s32, s16, int16_t, INT16_MIN, INT16_MAX)
SEM_PACK(packuswb, s16, u8, uint8_t, 0, UINT8_MAX)
SEM_PACK(packusdw, s32, u16, uint16_t, 0, UINT16_MAX)

/* ---- shifts ---- */

/* By one count for all elements: the immediate, or the low 64 bits of the last operand. */
static uint64_t shift_count(const struct simd *s)
{
    return s->n->reg_class == RC_FIXED ? s->imm : s->b.u64[0];
}

#define SEM_SHIFT(name, T, op, far)                                                                \
    static void whole_##name(struct simd *s)                                                       \
    {                                                                                              \
        uint64_t count = shift_count(s);                                                           \
        for (unsigned i = 0; i < s->bytes / sizeof(T); i++) {                                      \
            T v;                                                                                   \
            memcpy(&v, s->a.u8 + i * sizeof(T), sizeof(T));                                        \
            v = count < 8 * sizeof(T) ? (T)(v op count) : (T)(far);                                \
            memcpy(s->d.u8 + i * sizeof(T), &v, sizeof(T));                                        \
        }                                                                                          \
    }                                                                                              \
    SEM_WHOLE(name, whole_##name)
SEM_SHIFT(psllw, uint16_t, <<, 0)
SEM_SHIFT(pslld, uint32_t, <<, 0)
SEM_SHIFT(psllq, uint64_t, <<, 0)
SEM_SHIFT(psrlw, uint16_t, >>, 0)
SEM_SHIFT(psrld, uint32_t, >>, 0)
SEM_SHIFT(psrlq, uint64_t, >>, 0)
SEM_SHIFT(psraw, int16_t, >>, v < 0 ? -1 : 0)
SEM_SHIFT(psrad, int32_t, >>, v < 0 ? -1 : 0)

SEM_EACH(vpsllvd, u32, uint32_t, B < 32 ? A << B : 0)
SEM_EACH(vpsllvq, u64, uint64_t, B < 64 ? A << B : 0)
SEM_EACH(vpsrlvd, u32, uint32_t, B < 32 ? A >> B : 0)
SEM_EACH(vpsrlvq, u64, uint64_t, B < 64 ? A >> B : 0)
SEM_EACH(vpsravd, s32, int32_t, A >> ((uint32_t)B < 32 ? B : 31))

/* Whole lanes by bytes. */
static void whole_pslldq(struct simd *s)
{
    for (unsigned l = 0; l * 16 < s->bytes; l++) {
        for (unsigned i = 0; i < 16; i++) {
            s->d.lane[l].u8[i] = i >= s->imm ? s->a.lane[l].u8[i - s->imm] : 0;
        }
    }
}
SEM_WHOLE(pslldq, whole_pslldq)

static void whole_psrldq(struct simd *s)
{
    for (unsigned l = 0; l * 16 < s->bytes; l++) {
        for (unsigned i = 0; i < 16; i++) {
            s->d.lane[l].u8[i] = i + s->imm < 16 ? s->a.lane[l].u8[i + s->imm] : 0;
        }
    }
}
SEM_WHOLE(psrldq, whole_psrldq)

static void lane_palignr(union lane *d, const union lane *a, const union lane *b, unsigned len,
                         unsigned imm)
{
    uint8_t both[32];
    memcpy(both, b, len);
    memcpy(both + len, a, len);
    for (unsigned i = 0; i < len; i++) {
        d->u8[i] = i + imm < 2 * len ? both[i + imm] : 0;
    }
}
SEM_LANES(palignr, lane_palignr)

/* ---- tests ---- */

#define SEM_TEST(name, mask)                                                                       \
    static void whole_##name(struct simd *s)                                                       \
    {                                                                                              \
        uint64_t both = 0, other = 0;                                                              \
        for (unsigned i = 0; i < s->bytes / 8; i++) {                                              \
            both |= s->a.u64[i] & s->b.u64[i] & (mask);                                            \
            other |= ~s->a.u64[i] & s->b.u64[i] & (mask);                                          \
        }                                                                                          \
        s->cpu->flags = (uint64_t)(both ? 0 : F_ZF) | (uint64_t)(other ? 0 : F_CF);                \
        s->done = true;                                                                            \
    }                                                                                              \
    SEM_WHOLE(name, whole_##name)
SEM_TEST(ptest, UINT64_MAX)
SEM_TEST(vtestps, 0x8000000080000000u)
SEM_TEST(vtestpd, 0x8000000000000000u)
