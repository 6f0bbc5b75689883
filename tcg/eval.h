/* SPDX-License-Identifier: MIT */
/* tcg/eval.h - what the arithmetic operations of the IR mean, in portable C.
 *
 * One always-inlined function for all: the interpreter instantiates it for each operation and size, the
 * constant folder and the slow paths of atomic operations call ir_eval. Where the architecture leaves a
 * flag undefined the value here is a common processor's.
 */
#ifndef TCG_EVAL_H
#define TCG_EVAL_H

#include "tcg/ir.h"

#define EVAL_INLINE static inline __attribute__((always_inline))

struct ir_val {
    uint64_t lo, hi; /* dst, dst2; bits above size are undefined */
    uint32_t flags;  /* all six afterwards */
};

EVAL_INLINE uint64_t ev_mask(unsigned size)
{
    return size == 8 ? UINT64_MAX : (1ull << (size * 8)) - 1;
}

EVAL_INLINE uint64_t ev_zx(uint64_t v, unsigned size)
{
    return v & ev_mask(size);
}

EVAL_INLINE int64_t ev_sx(uint64_t v, unsigned size)
{
    unsigned s = 64 - size * 8;
    return (int64_t)(v << s) >> s;
}

EVAL_INLINE uint32_t ev_bit(bool b, uint32_t flag)
{
    return b ? flag : 0;
}

/* ZF, SF and PF of a result. */
EVAL_INLINE uint32_t ev_szp(uint64_t r, unsigned size)
{
    return ev_bit(ev_zx(r, size) == 0, F_ZF) | ev_bit(r >> (size * 8 - 1) & 1, F_SF) |
           ev_bit(!__builtin_parity((unsigned)(r & 0xff)), F_PF);
}

/* r = a + b + carry. */
EVAL_INLINE uint32_t ev_add_flags(uint64_t a, uint64_t b, uint64_t r, unsigned size)
{
    uint64_t carries = (a & b) | ((a | b) & ~r);
    uint64_t overflow = (a ^ r) & (b ^ r);
    return ev_szp(r, size) | ev_bit(carries >> (size * 8 - 1) & 1, F_CF) |
           ev_bit(overflow >> (size * 8 - 1) & 1, F_OF) | (uint32_t)((a ^ b ^ r) & F_AF);
}

/* r = a - b - borrow. */
EVAL_INLINE uint32_t ev_sub_flags(uint64_t a, uint64_t b, uint64_t r, unsigned size)
{
    uint64_t borrows = (~a & b) | ((~a | b) & r);
    uint64_t overflow = (a ^ b) & (a ^ r);
    return ev_szp(r, size) | ev_bit(borrows >> (size * 8 - 1) & 1, F_CF) |
           ev_bit(overflow >> (size * 8 - 1) & 1, F_OF) | (uint32_t)((a ^ b ^ r) & F_AF);
}

EVAL_INLINE bool ev_cond(unsigned cc, uint32_t f)
{
    bool sf_of = !(f & F_SF) != !(f & F_OF), r;
    switch (cc >> 1) {
    case CC_O >> 1:
        r = f & F_OF;
        break;
    case CC_B >> 1:
        r = f & F_CF;
        break;
    case CC_E >> 1:
        r = f & F_ZF;
        break;
    case CC_BE >> 1:
        r = f & (F_CF | F_ZF);
        break;
    case CC_S >> 1:
        r = f & F_SF;
        break;
    case CC_P >> 1:
        r = f & F_PF;
        break;
    case CC_L >> 1:
        r = sf_of;
        break;
    default:
        r = sf_of || f & F_ZF;
    }
    return r != (cc & 1);
}

EVAL_INLINE struct ir_val ev_shift(unsigned op, unsigned size, uint64_t a, uint64_t b, uint32_t f)
{
    unsigned bits = size * 8, n = (unsigned)b & (size == 8 ? 63 : 31);
    uint64_t r, cf;
    if (n == 0) {
        return (struct ir_val){ a, 0, f };
    }
    a = ev_zx(a, size);
    if (op == IR_SHL) {
        r = n < 64 ? a << n : 0;
        cf = n <= bits ? a >> (bits - n) & 1 : 0;
    } else if (op == IR_SHR) {
        r = a >> n;
        cf = a >> (n - 1) & 1;
    } else {
        int64_t s = ev_sx(a, size);
        r = (uint64_t)(s >> n);
        cf = (uint64_t)(s >> (n - 1)) & 1;
    }
    uint64_t top = op == IR_SHL   ? (r >> (bits - 1) & 1) ^ cf
                   : op == IR_SHR ? a >> (bits - 1) & 1
                                  : 0;
    return (struct ir_val){ r, 0, ev_szp(r, size) | ev_bit(cf, F_CF) | ev_bit(top, F_OF) };
}

EVAL_INLINE struct ir_val ev_rotate(unsigned op, unsigned size, uint64_t a, uint64_t b, uint32_t f)
{
    unsigned bits = size * 8, n = (unsigned)b & (size == 8 ? 63 : 31), m = n % bits;
    if (n == 0) {
        return (struct ir_val){ a, 0, f };
    }
    a = ev_zx(a, size);
    if (op == IR_ROR) {
        m = (bits - m) % bits;
    }
    uint64_t r = m ? ev_zx(a << m, size) | a >> (bits - m) : a;
    uint64_t msb = r >> (bits - 1) & 1, second = r >> (bits - 2) & 1;
    uint64_t cf = op == IR_ROL ? r & 1 : msb;
    uint64_t of = op == IR_ROL ? msb ^ cf : msb ^ second;
    f &= ~(uint32_t)(F_CF | F_OF);
    return (struct ir_val){ r, 0, f | ev_bit(cf, F_CF) | ev_bit(of, F_OF) };
}

EVAL_INLINE struct ir_val ev_rotate_carry(unsigned op, unsigned size, uint64_t a, uint64_t b,
                                          uint32_t f)
{
    unsigned bits = size * 8, n = (unsigned)b & (size == 8 ? 63 : 31), m = n % (bits + 1);
    if (n == 0 || m == 0) {
        uint64_t top = ev_zx(a, size) >> (bits - 1) & 1, second = ev_zx(a, size) >> (bits - 2) & 1;
        uint64_t o = op == IR_RCL ? top ^ (f & F_CF) : top ^ second;
        return (struct ir_val){ a, 0, n == 0 ? f : (f & ~(uint32_t)F_OF) | ev_bit(o, F_OF) };
    }
    a = ev_zx(a, size);
    uint64_t c = f & F_CF, r = a, of;
    if (op == IR_RCL) {
        uint64_t out = a >> (bits - m) & 1;
        r = (m < 64 ? a << m : 0) | c << (m - 1) | (m > 1 ? a >> (bits + 1 - m) : 0);
        c = out;
        of = (r >> (bits - 1) & 1) ^ c;
    } else {
        uint64_t out = a >> (m - 1) & 1;
        r = (m < 64 ? a >> m : 0) | c << (bits - m) | (m > 1 ? a << (bits + 1 - m) : 0);
        c = out;
        of = (r >> (bits - 1) ^ r >> (bits - 2)) & 1;
    }
    f &= ~(uint32_t)(F_CF | F_OF);
    return (struct ir_val){ r, 0, f | ev_bit(c, F_CF) | ev_bit(of, F_OF) };
}

EVAL_INLINE struct ir_val ev_shift_double(unsigned op, unsigned size, uint64_t a, uint64_t b,
                                          uint64_t c, uint32_t f)
{
    unsigned bits = size * 8, n = (unsigned)c & (size == 8 ? 63 : 31);
    if (n == 0) {
        return (struct ir_val){ a, 0, f };
    }
    a = ev_zx(a, size);
    b = ev_zx(b, size);
    uint64_t r, cf;
    if (size == 2 && n > 16) { /* undefined: a longer operand rotates in again */
        uint64_t w = op == IR_SHLD ? a << 32 | b << 16 | a : a << 32 | b << 16 | a;
        r = op == IR_SHLD ? (w << n) >> 32 : w >> n;
        cf = op == IR_SHLD ? w >> (48 - n) & 1 : w >> (n - 1) & 1;
    } else if (op == IR_SHLD) {
        r = a << n | b >> (bits - n);
        cf = a >> (bits - n) & 1;
    } else {
        r = a >> n | b << (bits - n);
        cf = a >> (n - 1) & 1;
    }
    uint64_t of = (a ^ r) >> (bits - 1) & 1;
    return (struct ir_val){ r, 0, ev_szp(r, size) | ev_bit(cf, F_CF) | ev_bit(of, F_OF) };
}

EVAL_INLINE struct ir_val ev_multiply(unsigned op, unsigned size, uint64_t a, uint64_t b,
                                      uint32_t f)
{
    struct ir_val v = { .flags = f };
    bool is_signed = op == IR_IMUL || op == IR_MULS2, over;
    if (size == 8) {
        unsigned __int128 p = is_signed ? (unsigned __int128)((__int128)(int64_t)a * (int64_t)b)
                                        : (unsigned __int128)a * b;
        v.lo = (uint64_t)p;
        v.hi = (uint64_t)(p >> 64);
    } else {
        uint64_t p = is_signed ? (uint64_t)(ev_sx(a, size) * ev_sx(b, size))
                               : ev_zx(a, size) * ev_zx(b, size);
        v.lo = p;
        v.hi = p >> (size * 8);
    }
    if (op == IR_MULX) {
        return v;
    }
    over = is_signed ? (uint64_t)ev_sx(v.hi, size) != (uint64_t)(ev_sx(v.lo, size) >> 63)
                     : ev_zx(v.hi, size) != 0;
    v.flags = ev_bit(over, F_CF | F_OF) | ev_szp(v.lo, size);
    return v;
}

EVAL_INLINE struct ir_val ev_bit_op(unsigned op, unsigned size, uint64_t a, uint64_t b, uint32_t f)
{
    unsigned n = (unsigned)b & (size * 8 - 1);
    uint64_t bit = 1ull << n, r = a;
    switch (op) {
    case IR_BTS:
        r = a | bit;
        break;
    case IR_BTR:
        r = a & ~bit;
        break;
    case IR_BTC:
        r = a ^ bit;
        break;
    default:
        break;
    }
    return (struct ir_val){ r, 0, (f & ~(uint32_t)F_CF) | (uint32_t)(a >> n & 1) };
}

EVAL_INLINE struct ir_val ev_scan(unsigned op, unsigned size, uint64_t a, uint64_t b, uint32_t f)
{
    unsigned bits = size * 8;
    a = ev_zx(a, size);
    (void)f;
    switch (op) {
    case IR_BSF:
        return (struct ir_val){ a ? (uint64_t)__builtin_ctzll(a) : b, 0, ev_bit(!a, F_ZF) };
    case IR_BSR:
        return (struct ir_val){ a ? 63 - (uint64_t)__builtin_clzll(a) : b, 0, ev_bit(!a, F_ZF) };
    case IR_LZCNT: {
        uint64_t r = a ? (uint64_t)__builtin_clzll(a) - (64 - bits) : bits;
        return (struct ir_val){ r, 0, ev_bit(!a, F_CF) | ev_bit(!r, F_ZF) };
    }
    case IR_TZCNT: {
        uint64_t r = a ? (uint64_t)__builtin_ctzll(a) : bits;
        return (struct ir_val){ r, 0, ev_bit(!a, F_CF) | ev_bit(!r, F_ZF) };
    }
    default: /* POPCNT */
        return (struct ir_val){ (uint64_t)__builtin_popcountll(a), 0, ev_bit(!a, F_ZF) };
    }
}

EVAL_INLINE struct ir_val ev_bmi(unsigned op, unsigned size, uint64_t a, uint64_t b)
{
    unsigned bits = size * 8;
    uint64_t r;
    a = ev_zx(a, size);
    switch (op) {
    case IR_ANDN:
        r = ~a & b;
        return (struct ir_val){ r, 0, ev_szp(r, size) & ~(uint32_t)F_PF };
    case IR_BLSR:
        r = a & (a - 1);
        return (struct ir_val){ r, 0, (ev_szp(r, size) & ~(uint32_t)F_PF) | ev_bit(!a, F_CF) };
    case IR_BLSMSK:
        r = a ^ (a - 1);
        return (struct ir_val){ r, 0, (ev_szp(r, size) & (uint32_t)F_SF) | ev_bit(!a, F_CF) };
    case IR_BLSI:
        r = a & -a;
        return (struct ir_val){ r, 0, (ev_szp(r, size) & ~(uint32_t)F_PF) | ev_bit(a, F_CF) };
    case IR_BZHI: {
        unsigned n = b & 0xff;
        r = n < bits ? a & ((1ull << n) - 1) : a;
        return (struct ir_val){ r, 0,
                                (ev_szp(r, size) & ~(uint32_t)F_PF) | ev_bit(n >= bits, F_CF) };
    }
    default: { /* BEXTR */
        unsigned start = b & 0xff, len = b >> 8 & 0xff;
        r = start < bits ? a >> start : 0;
        r = len < 64 ? r & ((1ull << len) - 1) : r;
        return (struct ir_val){ r, 0, ev_bit(!ev_zx(r, size), F_ZF) };
    }
    }
}

EVAL_INLINE uint64_t ev_pdep(uint64_t src, uint64_t mask)
{
    uint64_t r = 0;
    for (; mask; mask &= mask - 1, src >>= 1) {
        if (src & 1) {
            r |= mask & -mask;
        }
    }
    return r;
}

EVAL_INLINE uint64_t ev_pext(uint64_t src, uint64_t mask)
{
    uint64_t r = 0;
    for (unsigned n = 0; mask; mask &= mask - 1, n++) {
        if (src & (mask & -mask)) {
            r |= 1ull << n;
        }
    }
    return r;
}

/* CRC-32C (polynomial 0x11edc6f41, reflected) of size bytes more (the operation's imm: ev_op's c). */
EVAL_INLINE uint64_t ev_crc32(uint64_t crc, uint64_t data, unsigned size)
{
    uint32_t r = (uint32_t)crc;
    for (unsigned i = 0; i < size; i++) {
        r ^= (uint8_t)(data >> (i * 8));
        for (unsigned k = 0; k < 8; k++) {
            r = r >> 1 ^ (r & 1 ? 0x82f63b78u : 0);
        }
    }
    return r;
}

EVAL_INLINE struct ir_val ev_op(unsigned op, unsigned size, uint64_t a, uint64_t b, uint64_t c,
                                uint32_t f)
{
    uint64_t r;
    uint32_t cf = f & F_CF;
    switch (op) {
    case IR_MOV:
        return (struct ir_val){ a, 0, f };
    case IR_ADD:
        r = a + b;
        return (struct ir_val){ r, 0, ev_add_flags(a, b, r, size) };
    case IR_ADC:
        r = a + b + cf;
        return (struct ir_val){ r, 0, ev_add_flags(a, b, r, size) };
    case IR_SUB:
        r = a - b;
        return (struct ir_val){ r, 0, ev_sub_flags(a, b, r, size) };
    case IR_SBB:
        r = a - b - cf;
        return (struct ir_val){ r, 0, ev_sub_flags(a, b, r, size) };
    case IR_AND:
        r = a & b;
        return (struct ir_val){ r, 0, ev_szp(r, size) };
    case IR_OR:
        r = a | b;
        return (struct ir_val){ r, 0, ev_szp(r, size) };
    case IR_XOR:
        r = a ^ b;
        return (struct ir_val){ r, 0, ev_szp(r, size) };
    case IR_NOT:
        return (struct ir_val){ ~a, 0, f };
    case IR_NEG:
        r = -a;
        return (struct ir_val){ r, 0, ev_sub_flags(0, a, r, size) };
    case IR_INC:
        r = a + 1;
        return (struct ir_val){ r, 0, (ev_add_flags(a, 1, r, size) & ~(uint32_t)F_CF) | cf };
    case IR_DEC:
        r = a - 1;
        return (struct ir_val){ r, 0, (ev_sub_flags(a, 1, r, size) & ~(uint32_t)F_CF) | cf };
    case IR_SHL:
    case IR_SHR:
    case IR_SAR:
        return ev_shift(op, size, a, b, f);
    case IR_ROL:
    case IR_ROR:
        return ev_rotate(op, size, a, b, f);
    case IR_RCL:
    case IR_RCR:
        return ev_rotate_carry(op, size, a, b, f);
    case IR_SHLX:
    case IR_SHRX:
    case IR_SARX: {
        struct ir_val v = ev_shift(op - IR_SHLX + IR_SHL, size, a, b, f);
        v.flags = f;
        return v;
    }
    case IR_RORX: {
        struct ir_val v = ev_rotate(IR_ROR, size, a, b, f);
        v.flags = f;
        return v;
    }
    case IR_SHLD:
    case IR_SHRD:
        return ev_shift_double(op, size, a, b, c, f);
    case IR_IMUL:
    case IR_MULU2:
    case IR_MULS2:
    case IR_MULX:
        return ev_multiply(op, size, a, b, f);
    case IR_ADCX: {
        r = a + b + cf;
        return (struct ir_val){ r, 0,
                                (f & ~(uint32_t)F_CF) | (ev_add_flags(a, b, r, size) & F_CF) };
    }
    case IR_ADOX: {
        r = a + b + (f & F_OF ? 1 : 0);
        return (struct ir_val){
            r, 0, (f & ~(uint32_t)F_OF) | (ev_add_flags(a, b, r, size) & F_CF ? F_OF : 0)
        };
    }
    case IR_ZX8:
        return (struct ir_val){ (uint8_t)a, 0, f };
    case IR_ZX16:
        return (struct ir_val){ (uint16_t)a, 0, f };
    case IR_ZX32:
        return (struct ir_val){ (uint32_t)a, 0, f };
    case IR_SX8:
        return (struct ir_val){ (uint64_t)(int8_t)a, 0, f };
    case IR_SX16:
        return (struct ir_val){ (uint64_t)(int16_t)a, 0, f };
    case IR_SX32:
        return (struct ir_val){ (uint64_t)(int32_t)a, 0, f };
    case IR_BSWAP:
        r = size == 8   ? __builtin_bswap64(a)
            : size == 4 ? __builtin_bswap32((uint32_t)a)
                        : __builtin_bswap16((uint16_t)a);
        return (struct ir_val){ r, 0, f };
    case IR_BT:
    case IR_BTS:
    case IR_BTR:
    case IR_BTC:
        return ev_bit_op(op, size, a, b, f);
    case IR_BSF:
    case IR_BSR:
    case IR_LZCNT:
    case IR_TZCNT:
    case IR_POPCNT:
        return ev_scan(op, size, a, b, f);
    case IR_ANDN:
    case IR_BLSR:
    case IR_BLSMSK:
    case IR_BLSI:
    case IR_BZHI:
    case IR_BEXTR:
        return ev_bmi(op, size, a, b);
    case IR_PDEP:
        return (struct ir_val){ ev_pdep(a, ev_zx(b, size)), 0, f };
    case IR_PEXT:
        return (struct ir_val){ ev_pext(a, ev_zx(b, size)), 0, f };
    case IR_CRC32:
        return (struct ir_val){ ev_crc32(a, b, (unsigned)c), 0, f };
    case IR_CLC:
        return (struct ir_val){ 0, 0, f & ~(uint32_t)F_CF };
    case IR_STC:
        return (struct ir_val){ 0, 0, f | F_CF };
    case IR_CMC:
        return (struct ir_val){ 0, 0, f ^ F_CF };
    default:
        return (struct ir_val){ 0, 0, f };
    }
}

/* The operations ev_op knows: everything from MOV to CMC but conditions and F_GET/F_SET. */
bool ir_is_pure(unsigned op);
struct ir_val ir_eval(unsigned op, unsigned size, uint64_t a, uint64_t b, uint64_t c, uint32_t f);

#endif
