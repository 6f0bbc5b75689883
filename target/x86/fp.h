/* SPDX-License-Identifier: MIT */
/* target/x86/fp.h - scalar floating-point operations as SSE, F16C and FMA do them, for interpreters.
 *
 * Values are bit patterns. Between fp_begin and fp_end rounding, denormals-are-zero and flush-to-zero
 * are the guest's; every exception is masked and noted. fp-x86-64.c uses the host's own scalar
 * instructions, which makes results and flags exact; fp-portable.c is for other hosts.
 * Reference: SDM volume 1, chapter 11.5 (exceptions), table 4-7 (which NaN is returned).
 */
#ifndef TARGET_X86_FP_H
#define TARGET_X86_FP_H

#include <stdbool.h>
#include <stdint.h>

/* MXCSR: flags in bits 5..0, their masks seven bits further up. */
enum {
    MX_IE = 1 << 0,
    MX_DE = 1 << 1,
    MX_ZE = 1 << 2,
    MX_OE = 1 << 3,
    MX_UE = 1 << 4,
    MX_PE = 1 << 5,
    MX_FLAGS = 0x3f,
    MX_DAZ = 1 << 6,
    MX_MASK_SHIFT = 7,
    MX_MASKS = 0x3f << 7,
    MX_RC_SHIFT = 13,
    MX_RC = 3 << 13,
    MX_FTZ = 1 << 15,
};
enum { FP_NEAREST, FP_DOWN, FP_UP, FP_CHOP };

struct fp {
    uint32_t mxcsr; /* the guest's, flags clear */
    uint32_t flags; /* MX_IE ... MX_PE of what the host's hardware does not note itself */
    uint32_t saved; /* the host's own control word */
    bool tiny;      /* underflow is unmasked: tiny exact results count as underflow too */
};

/* Enters the guest's floating-point environment. */
void fp_begin(struct fp *f, uint32_t mxcsr);
/* Leaves it and returns the flags of everything since fp_begin or the last fp_take. */
uint32_t fp_end(struct fp *f);
/* The flags so far, for instructions whose steps signal one after the other (DPPS). */
uint32_t fp_take(struct fp *f);

uint32_t fp_add32(struct fp *f, uint32_t a, uint32_t b);
uint32_t fp_sub32(struct fp *f, uint32_t a, uint32_t b);
uint32_t fp_mul32(struct fp *f, uint32_t a, uint32_t b);
uint32_t fp_div32(struct fp *f, uint32_t a, uint32_t b);
uint32_t fp_min32(struct fp *f, uint32_t a, uint32_t b);
uint32_t fp_max32(struct fp *f, uint32_t a, uint32_t b);
uint32_t fp_sqrt32(struct fp *f, uint32_t a, uint32_t b); /* of b */
uint32_t fp_rcp32(struct fp *f, uint32_t a, uint32_t b);
uint32_t fp_rsqrt32(struct fp *f, uint32_t a, uint32_t b);
uint64_t fp_add64(struct fp *f, uint64_t a, uint64_t b);
uint64_t fp_sub64(struct fp *f, uint64_t a, uint64_t b);
uint64_t fp_mul64(struct fp *f, uint64_t a, uint64_t b);
uint64_t fp_div64(struct fp *f, uint64_t a, uint64_t b);
uint64_t fp_min64(struct fp *f, uint64_t a, uint64_t b);
uint64_t fp_max64(struct fp *f, uint64_t a, uint64_t b);
uint64_t fp_sqrt64(struct fp *f, uint64_t a, uint64_t b);

/* a * b + c with signs flipped as the instruction asks; the NaN that is returned is the first of the
 * instruction's operands in the order of its 132, 213 or 231 form. */
enum fp_fma_form { FP_132, FP_213, FP_231 };
enum { FP_NEG_PRODUCT = 1, FP_NEG_ADDEND = 2 };
uint32_t fp_fma32(struct fp *f, enum fp_fma_form form, unsigned neg, uint32_t dst, uint32_t v,
                  uint32_t rm);
uint64_t fp_fma64(struct fp *f, enum fp_fma_form form, unsigned neg, uint64_t dst, uint64_t v,
                  uint64_t rm);

/* How a stands to b; signal: a quiet NaN is invalid as well. */
enum fp_relation { FP_LT = 1, FP_EQ = 2, FP_GT = 4, FP_UNORDERED = 8 };
enum fp_relation fp_compare32(struct fp *f, uint32_t a, uint32_t b, bool signal);
enum fp_relation fp_compare64(struct fp *f, uint64_t a, uint64_t b, bool signal);

/* Conversions; the integer indefinite value when out of range. chop: toward zero whatever MXCSR says. */
uint32_t fp_int32_to_32(struct fp *f, int32_t v);
uint32_t fp_int64_to_32(struct fp *f, int64_t v);
uint64_t fp_int32_to_64(struct fp *f, int32_t v);
uint64_t fp_int64_to_64(struct fp *f, int64_t v);
uint32_t fp_32_to_int32(struct fp *f, uint32_t v, bool chop);
uint64_t fp_32_to_int64(struct fp *f, uint32_t v, bool chop);
uint32_t fp_64_to_int32(struct fp *f, uint64_t v, bool chop);
uint64_t fp_64_to_int64(struct fp *f, uint64_t v, bool chop);
uint64_t fp_32_to_64(struct fp *f, uint32_t v);
uint32_t fp_64_to_32(struct fp *f, uint64_t v);
/* imm as ROUNDPS has it: rounding in bits 1..0, bit 2 takes MXCSR's, bit 3 suppresses PE. */
uint32_t fp_round32(struct fp *f, uint32_t v, unsigned imm);
uint64_t fp_round64(struct fp *f, uint64_t v, unsigned imm);

/* ---- fp-half.c ---- */

uint32_t fp_16_to_32(struct fp *f, uint16_t v);
uint16_t fp_32_to_16(struct fp *f, uint32_t v, unsigned imm); /* imm as VCVTPS2PH's */

#endif
