/* SPDX-License-Identifier: MIT */
/* target/x86/simd-crypto.c - AES-NI, PCLMULQDQ and the SHA extensions.
 *
 * References: FIPS 197 (AES: the state is column by column in memory order), FIPS 180-4 (SHA-1, SHA-256),
 * SDM volume 2.
 */
#include "target/x86/simd-int.h"

#include <string.h>

/* ---- AES ---- */

static uint8_t gf_mul(uint8_t a, uint8_t b)
{
    uint8_t p = 0;
    for (unsigned i = 0; i < 8; i++) {
        p ^= b >> i & 1 ? a : 0;
        a = (uint8_t)(a << 1 ^ (a & 0x80 ? 0x1b : 0));
    }
    return p;
}

/* The inverse in GF(2^8), 0 for 0: a to the power of 254. */
static uint8_t gf_inverse(uint8_t a)
{
    uint8_t r = 1;
    for (unsigned i = 0; i < 7; i++) {
        a = gf_mul(a, a);
        r = gf_mul(r, a);
    }
    return r;
}

static uint8_t rotate8(uint8_t v, unsigned n)
{
    return (uint8_t)(v << n | v >> (8 - n));
}

static uint8_t sub_byte(uint8_t v)
{
    v = gf_inverse(v);
    return v ^ rotate8(v, 1) ^ rotate8(v, 2) ^ rotate8(v, 3) ^ rotate8(v, 4) ^ 0x63;
}

static uint8_t inv_sub_byte(uint8_t v)
{
    return gf_inverse(rotate8(v, 1) ^ rotate8(v, 3) ^ rotate8(v, 6) ^ 0x05);
}

/* ShiftRows and SubBytes in one: row r moves r columns to the left, or back. */
static void shift_sub(union lane *d, const union lane *a, bool inverse)
{
    for (unsigned i = 0; i < 16; i++) {
        unsigned row = i & 3, from = inverse ? i - 4 * row : i + 4 * row;
        d->u8[i] = inverse ? inv_sub_byte(a->u8[from & 15]) : sub_byte(a->u8[from & 15]);
    }
}

static void mix_columns(union lane *d, const union lane *a, const uint8_t row[4])
{
    for (unsigned i = 0; i < 16; i++) {
        uint8_t v = 0;
        for (unsigned k = 0; k < 4; k++) {
            v ^= gf_mul(a->u8[(i & ~3u) + ((i + k) & 3)], row[k]);
        }
        d->u8[i] = v;
    }
}

static const uint8_t mix[4] = { 2, 3, 1, 1 }, inv_mix[4] = { 14, 11, 13, 9 };

static void add_key(union lane *d, const union lane *key)
{
    d->u64[0] ^= key->u64[0];
    d->u64[1] ^= key->u64[1];
}

#define SEM_AES(name, inverse, last)                                                               \
    static void lane_##name(union lane *d, const union lane *a, const union lane *b, unsigned len, \
                            unsigned imm)                                                          \
    {                                                                                              \
        union lane t;                                                                              \
        (void)len;                                                                                 \
        (void)imm;                                                                                 \
        shift_sub(&t, a, inverse);                                                                 \
        *d = t;                                                                                    \
        if (!(last)) {                                                                             \
            mix_columns(d, &t, inverse ? inv_mix : mix);                                           \
        }                                                                                          \
        add_key(d, b);                                                                             \
    }                                                                                              \
    SEM_LANES(name, lane_##name)
SEM_AES(aesenc, false, false)
SEM_AES(aesenclast, false, true)
SEM_AES(aesdec, true, false)
SEM_AES(aesdeclast, true, true)

static void lane_aesimc(union lane *d, const union lane *a, const union lane *b, unsigned len,
                        unsigned imm)
{
    (void)a;
    (void)len;
    (void)imm;
    mix_columns(d, b, inv_mix);
}
SEM_LANES(aesimc, lane_aesimc)

static uint32_t sub_word(uint32_t v)
{
    uint32_t r = 0;
    for (unsigned i = 0; i < 32; i += 8) {
        r |= (uint32_t)sub_byte((uint8_t)(v >> i)) << i;
    }
    return r;
}

static uint32_t rotate_right(uint32_t v, unsigned n)
{
    return v >> n | v << (32 - n);
}

static void lane_aeskeygenassist(union lane *d, const union lane *a, const union lane *b,
                                 unsigned len, unsigned imm)
{
    (void)a;
    (void)len;
    uint32_t x1 = sub_word(b->u32[1]), x3 = sub_word(b->u32[3]);
    d->u32[0] = x1;
    d->u32[1] = rotate_right(x1, 8) ^ imm;
    d->u32[2] = x3;
    d->u32[3] = rotate_right(x3, 8) ^ imm;
}
SEM_LANES(aeskeygenassist, lane_aeskeygenassist)

/* ---- PCLMULQDQ ---- */

static void lane_pclmulqdq(union lane *d, const union lane *a, const union lane *b, unsigned len,
                           unsigned imm)
{
    uint64_t x = a->u64[imm & 1], y = b->u64[imm >> 4 & 1], low = 0, high = 0;
    (void)len;
    for (unsigned i = 0; i < 64; i++) {
        if (y >> i & 1) {
            low ^= x << i;
            high ^= i ? x >> (64 - i) : 0;
        }
    }
    d->u64[0] = low;
    d->u64[1] = high;
}
SEM_LANES(pclmulqdq, lane_pclmulqdq)

/* ---- SHA-1: a is in the topmost word ---- */

static uint32_t rotate_left(uint32_t v, unsigned n)
{
    return v << n | v >> (32 - n);
}

static uint32_t sha1_f(unsigned kind, uint32_t b, uint32_t c, uint32_t d)
{
    switch (kind) {
    case 0:
        return (b & c) ^ (~b & d);
    case 2:
        return (b & c) ^ (b & d) ^ (c & d);
    }
    return b ^ c ^ d;
}

/* Four rounds. b has the message words with E added to the first of them. */
static void lane_sha1rnds4(union lane *d, const union lane *a, const union lane *b, unsigned len,
                           unsigned imm)
{
    static const uint32_t k[4] = { 0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6 };
    uint32_t va = a->u32[3], vb = a->u32[2], vc = a->u32[1], vd = a->u32[0], ve = 0;
    (void)len;
    for (unsigned i = 0; i < 4; i++) {
        uint32_t t =
            sha1_f(imm & 3, vb, vc, vd) + rotate_left(va, 5) + b->u32[3 - i] + ve + k[imm & 3];
        ve = vd;
        vd = vc;
        vc = rotate_left(vb, 30);
        vb = va;
        va = t;
    }
    d->u32[3] = va;
    d->u32[2] = vb;
    d->u32[1] = vc;
    d->u32[0] = vd;
}
SEM_LANES(sha1rnds4, lane_sha1rnds4)

static void lane_sha1nexte(union lane *d, const union lane *a, const union lane *b, unsigned len,
                           unsigned imm)
{
    uint32_t e = rotate_left(a->u32[3], 30);
    (void)len;
    (void)imm;
    *d = *b;
    d->u32[3] += e;
}
SEM_LANES(sha1nexte, lane_sha1nexte)

static void lane_sha1msg1(union lane *d, const union lane *a, const union lane *b, unsigned len,
                          unsigned imm)
{
    (void)len;
    (void)imm;
    d->u32[3] = a->u32[1] ^ a->u32[3];
    d->u32[2] = a->u32[0] ^ a->u32[2];
    d->u32[1] = b->u32[3] ^ a->u32[1];
    d->u32[0] = b->u32[2] ^ a->u32[0];
}
SEM_LANES(sha1msg1, lane_sha1msg1)

static void lane_sha1msg2(union lane *d, const union lane *a, const union lane *b, unsigned len,
                          unsigned imm)
{
    uint32_t w16 = rotate_left(a->u32[3] ^ b->u32[2], 1);
    (void)len;
    (void)imm;
    d->u32[3] = w16;
    d->u32[2] = rotate_left(a->u32[2] ^ b->u32[1], 1);
    d->u32[1] = rotate_left(a->u32[1] ^ b->u32[0], 1);
    d->u32[0] = rotate_left(a->u32[0] ^ w16, 1);
}
SEM_LANES(sha1msg2, lane_sha1msg2)

/* ---- SHA-256 ---- */

static uint32_t big_sigma0(uint32_t x)
{
    return rotate_right(x, 2) ^ rotate_right(x, 13) ^ rotate_right(x, 22);
}

static uint32_t big_sigma1(uint32_t x)
{
    return rotate_right(x, 6) ^ rotate_right(x, 11) ^ rotate_right(x, 25);
}

static uint32_t small_sigma0(uint32_t x)
{
    return rotate_right(x, 7) ^ rotate_right(x, 18) ^ x >> 3;
}

static uint32_t small_sigma1(uint32_t x)
{
    return rotate_right(x, 17) ^ rotate_right(x, 19) ^ x >> 10;
}

/* Two rounds: the destination has C D G H, the source A B E F, XMM0 two words plus constants. */
static void whole_sha256rnds2(struct simd *s)
{
    uint32_t a = s->b.u32[3], b = s->b.u32[2], e = s->b.u32[1], f = s->b.u32[0];
    uint32_t c = s->a.u32[3], d = s->a.u32[2], g = s->a.u32[1], h = s->a.u32[0];
    for (unsigned i = 0; i < 2; i++) {
        uint32_t t = ((e & f) ^ (~e & g)) + big_sigma1(e) + s->cpu->vec[0].d[i] + h;
        uint32_t u = ((a & b) ^ (a & c) ^ (b & c)) + big_sigma0(a);
        h = g;
        g = f;
        f = e;
        e = t + d;
        d = c;
        c = b;
        b = a;
        a = t + u;
    }
    s->d.u32[3] = a;
    s->d.u32[2] = b;
    s->d.u32[1] = e;
    s->d.u32[0] = f;
}
SEM_WHOLE(sha256rnds2, whole_sha256rnds2)

static void lane_sha256msg1(union lane *d, const union lane *a, const union lane *b, unsigned len,
                            unsigned imm)
{
    (void)len;
    (void)imm;
    for (unsigned i = 0; i < 4; i++) {
        d->u32[i] = a->u32[i] + small_sigma0(i < 3 ? a->u32[i + 1] : b->u32[0]);
    }
}
SEM_LANES(sha256msg1, lane_sha256msg1)

static void lane_sha256msg2(union lane *d, const union lane *a, const union lane *b, unsigned len,
                            unsigned imm)
{
    (void)len;
    (void)imm;
    d->u32[0] = a->u32[0] + small_sigma1(b->u32[2]);
    d->u32[1] = a->u32[1] + small_sigma1(b->u32[3]);
    d->u32[2] = a->u32[2] + small_sigma1(d->u32[0]);
    d->u32[3] = a->u32[3] + small_sigma1(d->u32[1]);
}
SEM_LANES(sha256msg2, lane_sha256msg2)
