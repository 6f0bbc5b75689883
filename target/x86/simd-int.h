/* SPDX-License-Identifier: MIT */
/* target/x86/simd-int.h - how the C semantics of vector instructions are put together.
 *
 * Each instruction is a function x86_sem_NAME with the signature of struct ir_native.sem, listed in
 * simd-ops.h. Most consist of one of the frames below around a small function:
 *   lanes: for every 16 bytes (8 with MMX registers): d = fn(a, b, imm), the shape of nearly all
 *          integer instructions, also of their 256-bit forms;
 *   whole: fn sees all operands, and stores nothing by itself: what crosses lanes.
 * a is the first source (VEX.vvvv, or the destination), b the last one (ModRM.rm, memory); with
 * stores and in instructions of two operands, only b counts. The frames take care of where operands
 * come from, of the upper half (kept by legacy encodings, zeroed by VEX) and of the MMX registers'
 * place in the x87 state.
 */
#ifndef TARGET_X86_SIMD_INT_H
#define TARGET_X86_SIMD_INT_H

#include "target/x86/cpu.h"
#include "target/x86/fp.h"
#include "target/x86/simd-ops.h"

union lane {
    uint8_t u8[16];
    int8_t s8[16];
    uint16_t u16[8];
    int16_t s16[8];
    uint32_t u32[4];
    int32_t s32[4];
    uint64_t u64[2];
    int64_t s64[2];
};
union lanes {
    union lane lane[2];
    uint8_t u8[32];
    uint16_t u16[16];
    uint32_t u32[8];
    int32_t s32[8];
    int64_t s64[4];
    uint64_t u64[4];
};

struct simd {
    struct tcg_cpu *cpu;
    const struct ir_native *n;
    void *mem;
    union lanes d, a, b; /* d starts as a */
    unsigned bytes;      /* of the operands that count: 8, 16 or 32 */
    unsigned imm;
    bool done; /* the destination is written already, or there is none */
};

/* len: 8 or 16 bytes of d, a and b. */
typedef void (*lane_fn)(union lane *d, const union lane *a, const union lane *b, unsigned len,
                        unsigned imm);
typedef void (*whole_fn)(struct simd *s);

#define SEM_ARGS struct tcg_cpu *cpu, const struct ir_native *n, void *mem

/* The frames' two halves. A source that faults or signals must do so between them. */
void simd_load(struct simd *s, struct tcg_cpu *cpu, const struct ir_native *n, void *mem);
void simd_store(struct simd *s);
void simd_lanes(SEM_ARGS, lane_fn fn);
void simd_whole(SEM_ARGS, whole_fn fn);

#define SEM_LANES(name, fn)                                                                        \
    void x86_sem_##name(SEM_ARGS)                                                                  \
    {                                                                                              \
        simd_lanes(cpu, n, mem, fn);                                                               \
    }
#define SEM_WHOLE(name, fn)                                                                        \
    void x86_sem_##name(SEM_ARGS)                                                                  \
    {                                                                                              \
        simd_whole(cpu, n, mem, fn);                                                               \
    }

/* d->member[i] = expr for every element; expr uses A and B (elements) and imm. */
#define LANE_FN(name, member, T, expr)                                                             \
    static void name(union lane *d, const union lane *a, const union lane *b, unsigned len,        \
                     unsigned imm)                                                                 \
    {                                                                                              \
        (void)imm;                                                                                 \
        for (unsigned i = 0; i < len / sizeof(T); i++) {                                           \
            T A = a->member[i], B = b->member[i];                                                  \
            (void)A;                                                                               \
            (void)B;                                                                               \
            d->member[i] = (T)(expr);                                                              \
        }                                                                                          \
    }
#define SEM_EACH(name, member, T, expr)                                                            \
    LANE_FN(lane_##name, member, T, expr)                                                          \
    SEM_LANES(name, lane_##name)

/* The operands of struct ir_native one by one, for what fits no frame. */
void simd_read(struct tcg_cpu *cpu, unsigned reg_class, unsigned num, union lanes *v);
void simd_write(struct tcg_cpu *cpu, const struct ir_native *n, unsigned reg_class, unsigned num,
                const union lanes *v, unsigned bytes);
/* A general register as RC_GPR results are written: 4 bytes zero-extend. */
void simd_write_gpr(struct simd *s, unsigned num, uint64_t val);
/* Whether the instruction writes ModRM.rm (stores and their register forms). */
static inline bool simd_to_rm(const struct ir_native *n)
{
    return n->mem_write || n->rm_write;
}
/* Saturation to n bits. */
static inline int32_t sat_s(int64_t v, int32_t lo, int32_t hi)
{
    return (int32_t)(v < lo ? lo : v > hi ? hi : v);
}

/* ---- simd-mmx.c: MM0..7 are the fractions of R0..7 ---- */

uint64_t mmx_read(struct tcg_cpu *cpu, unsigned num);
void mmx_write(struct tcg_cpu *cpu, unsigned num, uint64_t val);
/* What every MMX instruction but EMMS does: TOP 0, all registers valid. */
void mmx_enter(struct tcg_cpu *cpu);
/* #MF when an unmasked x87 exception is pending. */
void mmx_check_pending(struct tcg_cpu *cpu);

/* Adds flags of an SSE operation to MXCSR. False: one of them is unmasked and must be raised by
 * simd_raise, with nothing written. */
bool simd_flags(struct tcg_cpu *cpu, uint32_t flags);
void simd_raise(struct tcg_cpu *cpu);

#endif
