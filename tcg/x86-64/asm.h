/* SPDX-License-Identifier: MIT */
/* tcg/x86-64/asm.h - writes x86-64 instructions.
 *
 * An opcode is a number: low byte, map (0F, 0F38, 0F3A) and mandatory prefix. One function encodes
 * every instruction with a ModRM byte; the rest are short forms. Reference: Intel SDM volume 2,
 * chapter 2 and appendix A.
 */
#ifndef TCG_X86_64_ASM_H
#define TCG_X86_64_ASM_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum hreg { AX, CX, DX, BX, SP, BP, SI, DI, R8, R9, R10, R11, R12, R13, R14, R15 };
enum { NO_REG = 0xff };
/* AH, CH, DH, BH as byte operands: only without a REX prefix. */
enum { HIGH = 0x20 };

enum {
    M_0F = 0x100,
    M_0F38 = 0x200,
    M_0F3A = 0x300,
    M_MASK = 0x300,
    P_66 = 0x1000,
    P_F3 = 0x2000,
    P_F2 = 0x3000,
    P_MASK = 0x3000,
};

/* A ModRM operand: a register or memory. */
struct rm {
    bool mem;
    uint8_t reg;          /* register, or base */
    uint8_t index, scale; /* NO_REG; 1, 2, 4, 8 */
    int32_t disp;
};

struct as {
    uint8_t *p, *end; /* writable view */
    intptr_t rx;      /* add to get the executable view */
    bool full;        /* ran into end: the code is useless */
};

static inline struct rm rm_reg(unsigned r)
{
    return (struct rm){ .reg = (uint8_t)r, .index = NO_REG, .scale = 1 };
}

static inline struct rm rm_at(unsigned base, int32_t disp)
{
    return (
        struct rm){ .mem = true, .reg = (uint8_t)base, .index = NO_REG, .scale = 1, .disp = disp };
}

static inline struct rm rm_sum(unsigned base, unsigned index, unsigned scale, int32_t disp)
{
    return (struct rm){ .mem = true,
                        .reg = (uint8_t)base,
                        .index = (uint8_t)index,
                        .scale = (uint8_t)scale,
                        .disp = disp };
}

/* A field of struct tcg_cpu: host RSP points at it. */
static inline struct rm rm_cpu(size_t off)
{
    return rm_at(SP, (int32_t)off);
}

static inline const uint8_t *as_here(const struct as *a)
{
    return a->p + a->rx;
}

static inline void as_byte(struct as *a, unsigned v)
{
    *a->p++ = (uint8_t)v;
}

static inline void as_u32(struct as *a, uint32_t v)
{
    memcpy(a->p, &v, 4);
    a->p += 4;
}

static inline void as_u64(struct as *a, uint64_t v)
{
    memcpy(a->p, &v, 8);
    a->p += 8;
}

/* Room for one more operation; the caller gives up when it is full. */
static inline bool as_room(struct as *a, size_t bytes)
{
    if ((size_t)(a->end - a->p) < bytes) {
        a->full = true;
    }
    return !a->full;
}

static inline unsigned as_scale_bits(unsigned scale)
{
    return scale == 8 ? 3 : scale == 4 ? 2 : scale == 2 ? 1 : 0;
}

/* ModRM, SIB and displacement, written at p; returns what lies behind. A pointer of the caller's own, because a
 * byte that is written might be part of struct as for all the compiler knows. */
static inline uint8_t *as_modrm_at(uint8_t *p, unsigned reg, const struct rm *m)
{
    unsigned r = (reg & 7) << 3;
    if (!m->mem) {
        *p++ = (uint8_t)(0xc0 | r | (m->reg & 7));
        return p;
    }
    bool none = m->reg == NO_REG; /* no base: disp32, with SIB */
    bool sib = none || m->index != NO_REG || (m->reg & 7) == SP;
    bool d8 = m->disp == (int8_t)m->disp;
    unsigned base = none ? BP : m->reg & 7u;
    unsigned mod = none || (m->disp == 0 && base != BP) ? 0 : d8 ? 1 : 2;
    *p++ = (uint8_t)(mod << 6 | r | (sib ? 4u : base));
    if (sib) {
        unsigned index = m->index == NO_REG ? 4u : m->index & 7u;
        *p++ = (uint8_t)(as_scale_bits(m->scale) << 6 | index << 3 | base);
    }
    if (mod == 1) {
        *p++ = (uint8_t)m->disp;
    } else if (mod == 2 || none) {
        memcpy(p, &m->disp, 4);
        p += 4;
    }
    return p;
}

static inline unsigned as_rex_bits(unsigned reg, const struct rm *m)
{
    unsigned rex = (reg & 15) >> 3 << 2;
    if (!m->mem || m->reg != NO_REG) {
        rex |= (m->reg & 15) >> 3;
    }
    if (m->mem && m->index != NO_REG) {
        rex |= (m->index & 15u) >> 3 << 1;
    }
    return rex;
}

/* SPL..DIL need an empty REX; AH..BH must not have one. */
static inline bool as_byte_rex(unsigned reg)
{
    return !(reg & HIGH) && reg >= SP && reg <= DI;
}

/* op reg, rm. size: of the operands (1, 2, 4, 8): picks 66 and REX.W; reg may be a digit. byte_reg and
 * byte_rm: which operands are byte registers. */
static inline void as_full(struct as *a, unsigned op, unsigned size, unsigned reg, bool byte_reg,
                           const struct rm *m, bool byte_rm)
{
    static const uint8_t prefix[] = { 0, 0x66, 0xf3, 0xf2 };
    unsigned rex = as_rex_bits(reg & HIGH ? 4 : reg, m);
    bool high = (byte_reg && reg & HIGH) || (byte_rm && !m->mem && m->reg & HIGH);
    struct rm plain = *m;
    if (byte_reg && reg & HIGH) {
        reg = (reg & 3) + 4;
    }
    if (byte_rm && !m->mem && m->reg & HIGH) {
        plain.reg = (uint8_t)((m->reg & 3) + 4);
        rex = as_rex_bits(reg, &plain);
    }
    bool empty = (byte_reg && !(reg & HIGH) && !high && as_byte_rex(reg)) ||
                 (byte_rm && !m->mem && !high && as_byte_rex(m->reg));
    uint8_t *p = a->p;
    if (size == 2) {
        *p++ = 0x66;
    }
    if (op & P_MASK) {
        *p++ = prefix[(op & P_MASK) >> 12];
    }
    if (size == 8) {
        rex |= 8;
    }
    assert(!high || (!rex && !empty));
    if (rex || empty) {
        *p++ = (uint8_t)(0x40 | rex);
    }
    if (op & M_MASK) {
        *p++ = 0x0f;
        if ((op & M_MASK) != M_0F) {
            *p++ = (op & M_MASK) == M_0F38 ? 0x38 : 0x3a;
        }
    }
    *p++ = (uint8_t)op;
    a->p = as_modrm_at(p, reg, &plain);
}

/* Both operands have `size`; the opcode is given for bytes and has bit 0 set otherwise. */
static inline void as_op(struct as *a, unsigned op, unsigned size, unsigned reg, struct rm m)
{
    as_full(a, size == 1 ? op : op | 1, size, reg, size == 1, &m, size == 1);
}

/* An opcode with no byte form. */
static inline void as_rm(struct as *a, unsigned op, unsigned size, unsigned reg, struct rm m)
{
    as_full(a, op, size, reg, false, &m, false);
}

/* op /digit rm */
static inline void as_digit(struct as *a, unsigned op, unsigned size, unsigned digit, struct rm m)
{
    as_full(a, size == 1 ? op : op | 1, size, digit, false, &m, size == 1);
}

static inline void as_imm(struct as *a, unsigned size, int64_t v)
{
    if (size == 1) {
        as_byte(a, (unsigned)v & 0xff);
    } else if (size == 2) {
        as_byte(a, (unsigned)v & 0xff);
        as_byte(a, (unsigned)(v >> 8) & 0xff);
    } else {
        as_u32(a, (uint32_t)v);
    }
}

enum alu { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP };

static inline void as_alu(struct as *a, enum alu op, unsigned size, unsigned reg, struct rm m)
{
    as_op(a, op << 3 | 2, size, reg, m); /* reg OP= rm */
}

static inline void as_alu_to(struct as *a, enum alu op, unsigned size, struct rm m, unsigned reg)
{
    as_op(a, op << 3, size, reg, m); /* rm OP= reg */
}

static inline void as_alu_imm(struct as *a, enum alu op, unsigned size, struct rm m, int64_t v)
{
    if (size > 1 && v == (int8_t)v) {
        as_rm(a, 0x83, size, op, m);
        as_byte(a, (unsigned)v & 0xff);
    } else {
        as_digit(a, 0x80, size, op, m);
        as_imm(a, size, v);
    }
}

static inline void as_mov(struct as *a, unsigned size, unsigned reg, struct rm m)
{
    as_op(a, 0x8a, size, reg, m);
}

static inline void as_mov_to(struct as *a, unsigned size, struct rm m, unsigned reg)
{
    as_op(a, 0x88, size, reg, m);
}

/* v fits in 32 bits, sign-extended, when size is 8. */
static inline void as_mov_imm(struct as *a, unsigned size, struct rm m, int64_t v)
{
    as_digit(a, 0xc6, size, 0, m);
    as_imm(a, size, v);
}

/* The whole register becomes v, by the shortest form that leaves the flags alone. */
static inline void as_const(struct as *a, unsigned reg, uint64_t v)
{
    if (v <= UINT32_MAX) {
        if (reg >= R8) {
            as_byte(a, 0x41);
        }
        as_byte(a, 0xb8 | (reg & 7));
        as_u32(a, (uint32_t)v);
    } else if ((int64_t)v == (int32_t)v) {
        as_mov_imm(a, 8, rm_reg(reg), (int64_t)v);
    } else {
        as_byte(a, 0x48 | (reg >> 3));
        as_byte(a, 0xb8 | (reg & 7));
        as_u64(a, v);
    }
}

static inline void as_lea(struct as *a, unsigned size, unsigned reg, struct rm m)
{
    as_rm(a, 0x8d, size, reg, m);
}

/* VEX instruction with general registers: pp 0..3 in the opcode's prefix bits. */
static inline void as_vex(struct as *a, unsigned op, bool w, bool l, unsigned reg, unsigned v,
                          const struct rm *m)
{
    unsigned rex = as_rex_bits(reg, m), map = (op & M_MASK) >> 8;
    uint8_t *p = a->p;
    *p++ = 0xc4;
    *p++ = (uint8_t)((~rex & 4) << 5 | (~rex & 2) << 5 | (~rex & 1) << 5 | map);
    *p++ = (uint8_t)((unsigned)w << 7 | (~v & 15) << 3 | (unsigned)l << 2 | (op & P_MASK) >> 12);
    *p++ = (uint8_t)op;
    a->p = as_modrm_at(p, reg, m);
}

/* ---- jumps ---- */

static inline void as_rel32(struct as *a, const uint8_t *target)
{
    as_u32(a, (uint32_t)(target - (as_here(a) + 4)));
}

static inline void as_jmp(struct as *a, const uint8_t *target)
{
    as_byte(a, 0xe9);
    as_rel32(a, target);
}

static inline void as_call(struct as *a, const uint8_t *target)
{
    as_byte(a, 0xe8);
    as_rel32(a, target);
}

static inline void as_jcc(struct as *a, unsigned cc, const uint8_t *target)
{
    as_byte(a, 0x0f);
    as_byte(a, 0x80 | cc);
    as_rel32(a, target);
}

/* Forward jumps: returns the place to hand to as_land. */
static inline uint8_t *as_jcc_ahead(struct as *a, unsigned cc)
{
    as_jcc(a, cc, as_here(a));
    return a->p;
}

static inline uint8_t *as_jmp_ahead(struct as *a)
{
    as_jmp(a, as_here(a));
    return a->p;
}

static inline void as_land(struct as *a, uint8_t *from)
{
    uint32_t rel = (uint32_t)(a->p - from);
    memcpy(from - 4, &rel, 4);
}

/* No operation of n bytes, 0..3. */
static inline void as_nop(struct as *a, unsigned n)
{
    static const uint8_t nops[4][3] = { { 0 }, { 0x90 }, { 0x66, 0x90 }, { 0x0f, 0x1f, 0x00 } };
    for (unsigned i = 0; i < n; i++) {
        as_byte(a, nops[n][i]);
    }
}

#endif
