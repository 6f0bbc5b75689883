/* SPDX-License-Identifier: MIT */
/* target/x86/fp-half.c - F16C's conversions between half and single precision, in integers.
 *
 * Reference: SDM volume 2, VCVTPH2PS and VCVTPS2PH: DAZ and FTZ do not touch half-precision values,
 * and a half-precision denormal signals nothing.
 */
#include "target/x86/fp.h"

uint32_t fp_16_to_32(struct fp *f, uint16_t v)
{
    uint32_t sign = (uint32_t)(v & 0x8000) << 16;
    uint32_t exp = v >> 10 & 31, frac = v & 0x3ff;
    if (exp == 31) {
        if (frac && !(frac & 0x200)) {
            f->flags |= MX_IE;
        }
        return sign | 0x7f800000u | frac << 13 | (frac ? 0x00400000u : 0);
    }
    if (!exp) {
        if (!frac) {
            return sign;
        }
        exp = 1;
        while (!(frac & 0x400)) {
            frac <<= 1;
            exp--;
        }
        frac &= 0x3ff;
    }
    return sign | (exp + 127 - 15) << 23 | frac << 13;
}

/* What rounding adds to value >> shift. */
static uint32_t round_up(uint32_t value, unsigned shift, unsigned rc, bool negative)
{
    uint32_t rest = value & ((1u << shift) - 1), half = 1u << (shift - 1);
    switch (rc) {
    case FP_NEAREST:
        return rest > half || (rest == half && (value >> shift & 1));
    case FP_DOWN:
        return rest && negative;
    case FP_UP:
        return rest && !negative;
    }
    return 0;
}

static uint16_t overflow(struct fp *f, unsigned rc, bool negative)
{
    bool infinite = rc == FP_NEAREST || (rc == FP_UP && !negative) || (rc == FP_DOWN && negative);
    f->flags |= MX_OE | MX_PE;
    return infinite ? 0x7c00 : 0x7bff;
}

/* mant (bit 23 set unless denormal) times 2 to the power exp - 23. */
static uint16_t to_half(struct fp *f, uint32_t mant, int exp, unsigned rc, bool negative)
{
    unsigned shift = exp >= -14 ? 13 : (unsigned)(13 - 14 - exp);
    shift = shift > 30 ? 30 : shift; /* everything is below the rounding position by then */
    uint32_t up = round_up(mant, shift, rc, negative);
    uint32_t q = (mant >> shift) + up;
    bool inexact = mant & ((1u << shift) - 1);
    /* Tiny: below the smallest normal number even when rounded with any exponent. */
    bool tiny =
        exp < -14 && !(exp == -15 && (mant >> 13) + round_up(mant, 13, rc, negative) == 0x800);
    if (exp >= -14) {
        q += (uint32_t)(exp + 14) << 10; /* the implicit bit adds the last one */
    }
    if (q >= 0x7c00) {
        return overflow(f, rc, negative);
    }
    if (tiny && (inexact || f->tiny)) {
        f->flags |= MX_UE;
    }
    if (inexact) {
        f->flags |= MX_PE;
    }
    return (uint16_t)q;
}

uint16_t fp_32_to_16(struct fp *f, uint32_t v, unsigned imm)
{
    unsigned rc = imm & 4 ? f->mxcsr >> MX_RC_SHIFT & 3 : imm & 3;
    uint16_t sign = (uint16_t)(v >> 16 & 0x8000);
    uint32_t exp = v >> 23 & 255, frac = v & 0x7fffff;
    if (exp == 255) {
        if (frac && !(frac & 0x400000)) {
            f->flags |= MX_IE;
        }
        return (uint16_t)(sign | 0x7c00 | frac >> 13 | (frac ? 0x200 : 0));
    }
    if (!exp && (!frac || (f->mxcsr & MX_DAZ))) {
        return sign;
    }
    if (!exp) {
        f->flags |= MX_DE;
        return sign | to_half(f, frac, -126, rc, sign);
    }
    return sign | to_half(f, frac | 0x800000, (int)exp - 127, rc, sign);
}
