/* SPDX-License-Identifier: MIT */
/* target/x86/simd-move.c - moves, shuffles, blends, broadcasts and extensions of vector registers.
 * Reference: SDM volume 2, under each mnemonic.
 */
#include "target/x86/simd-int.h"

#include <string.h>

/* ---- whole registers ---- */

static void lane_copy(union lane *d, const union lane *a, const union lane *b, unsigned len,
                      unsigned imm)
{
    (void)a;
    (void)imm;
    memcpy(d, b, len);
}
SEM_LANES(movaps, lane_copy)
SEM_LANES(movapd, lane_copy)
SEM_LANES(movups, lane_copy)
SEM_LANES(movupd, lane_copy)
SEM_LANES(movdqa, lane_copy)
SEM_LANES(movdqu, lane_copy)
SEM_LANES(lddqu, lane_copy)
SEM_LANES(movntps, lane_copy)
SEM_LANES(movntpd, lane_copy)
SEM_LANES(movntdq, lane_copy)
SEM_LANES(movntdqa, lane_copy)
SEM_LANES(movntq, lane_copy)

/* ---- one element ---- */

/* Between any two kinds of register or memory, zero-extended to a vector register's 16 bytes. */
static void move_low(struct simd *s, unsigned bytes)
{
    const struct ir_native *n = s->n;
    bool to_rm = simd_to_rm(n);
    unsigned to_class = to_rm ? n->rm_class : n->reg_class, to = to_rm ? n->rm : n->reg;
    uint64_t v = bytes == 4 ? s->b.u32[0] : s->b.u64[0];
    if (to_class == RC_GPR) {
        simd_write_gpr(s, to, v);
        return;
    }
    memset(&s->d, 0, sizeof(s->d));
    s->d.u64[0] = v;
    s->bytes = to_class == RC_VEC ? 16 : 8;
}

static void whole_movd(struct simd *s)
{
    move_low(s, 4);
}

static void whole_movq(struct simd *s)
{
    move_low(s, 8);
}
SEM_WHOLE(movd, whole_movd)
SEM_WHOLE(movq, whole_movq)
SEM_WHOLE(movq2dq, whole_movq)
SEM_WHOLE(movdq2q, whole_movq)

/* Loads clear the rest; between registers the rest is the first source's (legacy: stays). */
static void move_scalar(struct simd *s, unsigned bytes)
{
    const struct ir_native *n = s->n;
    bool load = n->rm_class == RC_NONE && !n->mem_write;
    s->bytes = 16; /* VEX.L is ignored */
    if (load) {
        memset(&s->d, 0, sizeof(s->d));
    } else if (simd_to_rm(n) && n->v_class != RC_NONE) {
        simd_read(s->cpu, n->v_class, n->v, &s->d);
    }
    memcpy(&s->d, &s->b, bytes);
}

static void whole_movss(struct simd *s)
{
    move_scalar(s, 4);
}

static void whole_movsd(struct simd *s)
{
    move_scalar(s, 8);
}
SEM_WHOLE(movss, whole_movss)
SEM_WHOLE(movsd, whole_movsd)

/* MOVLPS and MOVHPS: memory to one half, or one half to memory. */
static void whole_movlps(struct simd *s)
{
    s->d.u64[0] = s->b.u64[0];
}

static void whole_movhps(struct simd *s)
{
    if (s->n->mem_write) {
        s->d.u64[0] = s->b.u64[1];
    } else {
        s->d.u64[1] = s->b.u64[0];
    }
}

static void whole_movhlps(struct simd *s)
{
    s->d.u64[0] = s->b.u64[1];
}
SEM_WHOLE(movlps, whole_movlps)
SEM_WHOLE(movlpd, whole_movlps)
SEM_WHOLE(movhps, whole_movhps)
SEM_WHOLE(movhpd, whole_movhps)
SEM_WHOLE(movlhps, whole_movhps)
SEM_WHOLE(movhlps, whole_movhlps)

SEM_EACH(movddup, u64, uint64_t, b->u64[0])
SEM_EACH(movsldup, u32, uint32_t, b->u32[i & ~1u])
SEM_EACH(movshdup, u32, uint32_t, b->u32[i | 1u])

/* ---- elements to and from general registers and memory ---- */

#define SEM_EXTRACT(name, member)                                                                  \
    static void whole_##name(struct simd *s)                                                       \
    {                                                                                              \
        const struct ir_native *n = s->n;                                                          \
        unsigned bytes = n->rm_class == RC_MMX ? 8 : 16;                                           \
        unsigned i = s->imm & (bytes / (unsigned)sizeof(s->b.lane[0].member[0]) - 1);              \
        uint64_t v = s->b.lane[0].member[i];                                                       \
        if (n->mem_write) {                                                                        \
            s->d.u64[0] = v;                                                                       \
        } else {                                                                                   \
            s->cpu->gpr[n->rm_write ? n->rm : n->reg] = v;                                         \
            s->done = true;                                                                        \
        }                                                                                          \
    }                                                                                              \
    SEM_WHOLE(name, whole_##name)
SEM_EXTRACT(pextrb, u8)
SEM_EXTRACT(pextrw, u16)
SEM_EXTRACT(pextrd, u32)
SEM_EXTRACT(pextrq, u64)
SEM_WHOLE(extractps, whole_pextrd)

#define SEM_INSERT(name, member, T)                                                                \
    static void whole_##name(struct simd *s)                                                       \
    {                                                                                              \
        s->d.lane[0].member[s->imm & (s->bytes / sizeof(T) - 1)] = (T)s->b.u64[0];                 \
    }                                                                                              \
    SEM_WHOLE(name, whole_##name)
SEM_INSERT(pinsrb, u8, uint8_t)
SEM_INSERT(pinsrw, u16, uint16_t)
SEM_INSERT(pinsrd, u32, uint32_t)
SEM_INSERT(pinsrq, u64, uint64_t)

static void whole_insertps(struct simd *s)
{
    unsigned from = s->n->rm_class == RC_NONE ? 0 : s->imm >> 6;
    s->d.u32[s->imm >> 4 & 3] = s->b.u32[from];
    for (unsigned i = 0; i < 4; i++) {
        if (s->imm >> i & 1) {
            s->d.u32[i] = 0;
        }
    }
}
SEM_WHOLE(insertps, whole_insertps)

#define SEM_MASK(name, member)                                                                     \
    static void whole_##name(struct simd *s)                                                       \
    {                                                                                              \
        unsigned bits = 8 * (unsigned)sizeof(s->b.member[0]);                                      \
        uint32_t v = 0;                                                                            \
        for (unsigned i = 0; i < s->bytes * 8 / bits; i++) {                                       \
            v |= (uint32_t)(s->b.member[i] >> (bits - 1) & 1) << i;                                \
        }                                                                                          \
        s->cpu->gpr[s->n->reg] = v;                                                                \
        s->done = true;                                                                            \
    }                                                                                              \
    SEM_WHOLE(name, whole_##name)
SEM_MASK(pmovmskb, u8)
SEM_MASK(movmskps, u32)
SEM_MASK(movmskpd, u64)

/* ---- interleaving and shuffling within lanes ---- */

#define SEM_UNPACK(name, member, T, high)                                                          \
    static void lane_##name(union lane *d, const union lane *a, const union lane *b, unsigned len, \
                            unsigned imm)                                                          \
    {                                                                                              \
        unsigned half = len / (unsigned)sizeof(T) / 2;                                             \
        (void)imm;                                                                                 \
        for (unsigned i = 0; i < half; i++) {                                                      \
            d->member[2 * i] = a->member[i + (high)*half];                                         \
            d->member[2 * i + 1] = b->member[i + (high)*half];                                     \
        }                                                                                          \
    }                                                                                              \
    SEM_LANES(name, lane_##name)
SEM_UNPACK(punpcklbw, u8, uint8_t, 0)
SEM_UNPACK(punpcklwd, u16, uint16_t, 0)
SEM_UNPACK(punpckldq, u32, uint32_t, 0)
SEM_UNPACK(punpcklqdq, u64, uint64_t, 0)
SEM_UNPACK(punpckhbw, u8, uint8_t, 1)
SEM_UNPACK(punpckhwd, u16, uint16_t, 1)
SEM_UNPACK(punpckhdq, u32, uint32_t, 1)
SEM_UNPACK(punpckhqdq, u64, uint64_t, 1)
SEM_LANES(unpcklps, lane_punpckldq)
SEM_LANES(unpckhps, lane_punpckhdq)
SEM_LANES(unpcklpd, lane_punpcklqdq)
SEM_LANES(unpckhpd, lane_punpckhqdq)

SEM_EACH(pshufb, u8, uint8_t, B & 0x80 ? 0 : a->u8[B & (len - 1)])
SEM_EACH(pshufd, u32, uint32_t, b->u32[imm >> (2 * i) & 3])
SEM_EACH(pshufw, u16, uint16_t, b->u16[imm >> (2 * i) & 3])
SEM_EACH(pshuflw, u16, uint16_t, i < 4 ? b->u16[imm >> (2 * i) & 3] : B)
SEM_EACH(pshufhw, u16, uint16_t, i < 4 ? B : b->u16[4 + (imm >> (2 * i - 8) & 3)])
SEM_EACH(shufps, u32, uint32_t, (i < 2 ? a : b)->u32[imm >> (2 * i) & 3])
SEM_EACH(pblendw, u16, uint16_t, imm >> i & 1 ? B : A)

/* The immediate goes on from one lane to the next. */
static void whole_shufpd(struct simd *s)
{
    for (unsigned i = 0; i < s->bytes / 8; i++) {
        s->d.u64[i] = (i & 1 ? &s->b : &s->a)->u64[(i & ~1u) + (s->imm >> i & 1)];
    }
}
SEM_WHOLE(shufpd, whole_shufpd)

#define SEM_BLEND(name, member)                                                                    \
    static void whole_##name(struct simd *s)                                                       \
    {                                                                                              \
        for (unsigned i = 0; i < s->bytes / sizeof(s->a.member[0]); i++) {                         \
            s->d.member[i] = s->imm >> i & 1 ? s->b.member[i] : s->a.member[i];                    \
        }                                                                                          \
    }                                                                                              \
    SEM_WHOLE(name, whole_##name)
SEM_BLEND(blendps, u32)
SEM_BLEND(blendpd, u64)
SEM_WHOLE(vpblendd, whole_blendps)

/* The selector is XMM0, or with VEX the register in the immediate's upper half. */
#define SEM_BLENDV(name, member)                                                                   \
    static void whole_##name(struct simd *s)                                                       \
    {                                                                                              \
        union lanes m;                                                                             \
        unsigned sign = 8 * (unsigned)sizeof(m.member[0]) - 1;                                     \
        simd_read(s->cpu, RC_VEC, s->n->encoding == ENC_VEX ? s->imm >> 4 : 0, &m);                \
        for (unsigned i = 0; i < s->bytes / sizeof(m.member[0]); i++) {                            \
            s->d.member[i] = m.member[i] >> sign ? s->b.member[i] : s->a.member[i];                \
        }                                                                                          \
    }                                                                                              \
    SEM_WHOLE(name, whole_##name)
SEM_BLENDV(pblendvb, u8)
SEM_BLENDV(blendvps, u32)
SEM_BLENDV(blendvpd, u64)

/* ---- widening ---- */

#define SEM_EXTEND(name, From, To)                                                                 \
    static void whole_##name(struct simd *s)                                                       \
    {                                                                                              \
        for (unsigned i = 0; i < s->bytes / sizeof(To); i++) {                                     \
            From v;                                                                                \
            memcpy(&v, s->b.u8 + i * sizeof(v), sizeof(v));                                        \
            To w = (To)v;                                                                          \
            memcpy(s->d.u8 + i * sizeof(w), &w, sizeof(w));                                        \
        }                                                                                          \
    }                                                                                              \
    SEM_WHOLE(name, whole_##name)
SEM_EXTEND(pmovsxbw, int8_t, int16_t)
SEM_EXTEND(pmovsxbd, int8_t, int32_t)
SEM_EXTEND(pmovsxbq, int8_t, int64_t)
SEM_EXTEND(pmovsxwd, int16_t, int32_t)
SEM_EXTEND(pmovsxwq, int16_t, int64_t)
SEM_EXTEND(pmovsxdq, int32_t, int64_t)
SEM_EXTEND(pmovzxbw, uint8_t, uint16_t)
SEM_EXTEND(pmovzxbd, uint8_t, uint32_t)
SEM_EXTEND(pmovzxbq, uint8_t, uint64_t)
SEM_EXTEND(pmovzxwd, uint16_t, uint32_t)
SEM_EXTEND(pmovzxwq, uint16_t, uint64_t)
SEM_EXTEND(pmovzxdq, uint32_t, uint64_t)

/* ---- AVX: broadcasts, permutations across lanes ---- */

#define SEM_BROADCAST(name, size)                                                                  \
    static void whole_##name(struct simd *s)                                                       \
    {                                                                                              \
        for (unsigned i = 0; i < s->bytes; i++) {                                                  \
            s->d.u8[i] = s->b.u8[i % (size)];                                                      \
        }                                                                                          \
    }                                                                                              \
    SEM_WHOLE(name, whole_##name)
SEM_BROADCAST(vpbroadcastb, 1)
SEM_BROADCAST(vpbroadcastw, 2)
SEM_BROADCAST(vpbroadcastd, 4)
SEM_BROADCAST(vpbroadcastq, 8)
SEM_BROADCAST(vbroadcasti128, 16)
SEM_WHOLE(vbroadcastss, whole_vpbroadcastd)
SEM_WHOLE(vbroadcastsd, whole_vpbroadcastq)
SEM_WHOLE(vbroadcastf128, whole_vbroadcasti128)

static void whole_vinserti128(struct simd *s)
{
    s->d.lane[s->imm & 1] = s->b.lane[0];
}
SEM_WHOLE(vinserti128, whole_vinserti128)
SEM_WHOLE(vinsertf128, whole_vinserti128)

static void whole_vextracti128(struct simd *s)
{
    s->d.lane[0] = s->b.lane[s->imm & 1];
    s->bytes = 16;
}
SEM_WHOLE(vextracti128, whole_vextracti128)
SEM_WHOLE(vextractf128, whole_vextracti128)

static void whole_vperm2i128(struct simd *s)
{
    for (unsigned l = 0; l < 2; l++) {
        unsigned how = s->imm >> (4 * l);
        s->d.lane[l] = (how & 2 ? &s->b : &s->a)->lane[how & 1];
        if (how & 8) {
            memset(&s->d.lane[l], 0, 16);
        }
    }
}
SEM_WHOLE(vperm2i128, whole_vperm2i128)
SEM_WHOLE(vperm2f128, whole_vperm2i128)

static void whole_vpermq(struct simd *s)
{
    for (unsigned i = 0; i < 4; i++) {
        s->d.u64[i] = s->b.u64[s->imm >> (2 * i) & 3];
    }
}
SEM_WHOLE(vpermq, whole_vpermq)
SEM_WHOLE(vpermpd, whole_vpermq)

static void whole_vpermd(struct simd *s)
{
    for (unsigned i = 0; i < 8; i++) {
        s->d.u32[i] = s->b.u32[s->a.u32[i] & 7];
    }
}
SEM_WHOLE(vpermd, whole_vpermd)
SEM_WHOLE(vpermps, whole_vpermd)

/* Selectors are the immediate, or the last operand with the first as source. */
static void whole_vpermilps(struct simd *s)
{
    for (unsigned i = 0; i < s->bytes / 4; i++) {
        s->d.u32[i] = s->n->has_imm ? s->b.u32[(i & ~3u) + (s->imm >> (2 * (i & 3)) & 3)]
                                    : s->a.u32[(i & ~3u) + (s->b.u32[i] & 3)];
    }
}
SEM_WHOLE(vpermilps, whole_vpermilps)

static void whole_vpermilpd(struct simd *s)
{
    for (unsigned i = 0; i < s->bytes / 8; i++) {
        s->d.u64[i] = s->n->has_imm ? s->b.u64[(i & ~1u) + (s->imm >> i & 1)]
                                    : s->a.u64[(i & ~1u) + (s->b.u64[i] >> 1 & 1)];
    }
}
SEM_WHOLE(vpermilpd, whole_vpermilpd)

static void whole_vzeroupper(struct simd *s)
{
    for (unsigned i = 0; i < 16; i++) {
        s->cpu->vec[i].q[2] = s->cpu->vec[i].q[3] = 0;
    }
    s->done = true;
}
SEM_WHOLE(vzeroupper, whole_vzeroupper)

static void whole_vzeroall(struct simd *s)
{
    memset(s->cpu->vec, 0, sizeof(s->cpu->vec));
    s->done = true;
}
SEM_WHOLE(vzeroall, whole_vzeroall)
