/* SPDX-License-Identifier: MIT */
/* target/x86/arith.c - integer instructions with several results or faults: divisions, BCD, BOUND,
 * ENTER, the wide compare-and-exchange.
 *
 * Flags that the manual leaves undefined come out as current processors leave them where that is
 * known: unchanged for divisions.
 */
#include "target/x86/x86-int.h"

static void set_low(uint64_t *g, unsigned size, uint64_t v)
{
    *g = size == 2 ? (*g & ~0xffffull) | (uint16_t)v : size == 4 ? (uint32_t)v : v;
}

static void de(struct tcg_cpu *t) __attribute__((noreturn));
static void de(struct tcg_cpu *t)
{
    x86_raise(x86_of(t), EX_DE);
}

/* ---- DIV, IDIV ---- */

X86_HELPER(div, IR_H_READS | IR_H_WRITES | IR_H_FAULTS)
{
    uint64_t *ax = &t->gpr[RAX], *dx = &t->gpr[RDX];
    (void)cc;
    if (b == 1) {
        unsigned d = a & 0xff, n = *ax & 0xffff;
        if (!d || n / d > 0xff) {
            de(t);
        }
        set_low(ax, 2, (n % d) << 8 | n / d);
        return 0;
    }
    unsigned bits = (unsigned)b * 8;
    uint64_t mask = b == 8 ? UINT64_MAX : (1ull << bits) - 1, d = a & mask;
    unsigned __int128 n = (unsigned __int128)(*dx & mask) << bits | (*ax & mask);
    if (!d || (*dx & mask) >= d) {
        de(t);
    }
    uint64_t q = (uint64_t)(n / d), r = (uint64_t)(n % d);
    set_low(ax, (unsigned)b, q);
    set_low(dx, (unsigned)b, r);
    return 0;
}

static int64_t sign(uint64_t v, unsigned bits)
{
    return (int64_t)(v << (64 - bits)) >> (64 - bits);
}

X86_HELPER(idiv, IR_H_READS | IR_H_WRITES | IR_H_FAULTS)
{
    uint64_t *ax = &t->gpr[RAX], *dx = &t->gpr[RDX];
    (void)cc;
    unsigned bits = (unsigned)b * 8;
    int64_t d = sign(a, bits);
    if (!d) {
        de(t);
    }
    if (b == 1) {
        int n = (int16_t)*ax, q = n / (int)d;
        if (q != (int8_t)q) {
            de(t);
        }
        set_low(ax, 2, ((unsigned)(n % (int)d) & 0xff) << 8 | ((unsigned)q & 0xff));
        return 0;
    }
    uint64_t low = b == 8 ? *ax : *ax & ((1ull << bits) - 1);
    __int128 n = (__int128)((unsigned __int128)(__int128)sign(*dx, bits) << bits | low);
    /* the one quotient that overflows the host's own type */
    if (d == -1 && n == (__int128)((unsigned __int128)1 << 127)) {
        de(t);
    }
    __int128 q = n / d;
    if (q != sign((uint64_t)q, bits)) {
        de(t);
    }
    set_low(ax, (unsigned)b, (uint64_t)q);
    set_low(dx, (unsigned)b, (uint64_t)(n % d));
    return 0;
}

/* ---- BCD ---- */

#define BCD_FLAGS (IR_H_READS | IR_H_WRITES | IR_H_F_IN | IR_H_F_OUT)

static uint64_t logic_flags(uint8_t v)
{
    return (__builtin_parity(v) ? 0u : F_PF) | (v ? 0u : F_ZF) | (v & 0x80 ? F_SF : 0u);
}

X86_HELPER(aam, BCD_FLAGS | IR_H_FAULTS)
{
    (void)b, (void)cc;
    unsigned d = a & 0xff, al = t->gpr[RAX] & 0xff;
    if (!d) {
        de(t);
    }
    set_low(&t->gpr[RAX], 2, (al / d) << 8 | al % d);
    t->flags = logic_flags((uint8_t)(al % d));
    return 0;
}

X86_HELPER(aad, BCD_FLAGS)
{
    (void)b, (void)cc;
    unsigned al = t->gpr[RAX] & 0xff, ah = t->gpr[RAX] >> 8 & 0xff;
    uint8_t r = (uint8_t)(al + ah * (a & 0xff));
    set_low(&t->gpr[RAX], 2, r);
    t->flags = logic_flags(r);
    return 0;
}

static uint64_t adjust(struct tcg_cpu *t, int dir)
{
    unsigned old = t->gpr[RAX] & 0xff;
    bool cf = t->flags & F_CF, af = t->flags & F_AF, old_cf = cf;
    int al = (int)old;
    cf = false;
    if ((old & 0xf) > 9 || af) {
        al += 6 * dir;
        cf = old_cf || al < 0 || al > 0xff;
        af = true;
    }
    if (old > 0x99 || old_cf) {
        al += 0x60 * dir;
        cf = true;
    }
    t->gpr[RAX] = (t->gpr[RAX] & ~0xffull) | (uint8_t)al;
    t->flags = logic_flags((uint8_t)al) | (cf ? F_CF : 0) | (af ? F_AF : 0);
    return 0;
}

X86_HELPER(daa, BCD_FLAGS)
{
    (void)a, (void)b, (void)cc;
    return adjust(t, 1);
}

X86_HELPER(das, BCD_FLAGS)
{
    (void)a, (void)b, (void)cc;
    return adjust(t, -1);
}

static uint64_t adjust_ascii(struct tcg_cpu *t, int dir)
{
    unsigned ax = t->gpr[RAX] & 0xffff;
    bool go = (ax & 0xf) > 9 || t->flags & F_AF;
    if (go) {
        ax = dir > 0 ? ax + 0x106 : ax - 0x106;
    }
    set_low(&t->gpr[RAX], 2, ax & 0xff0f);
    t->flags = logic_flags((uint8_t)(ax & 0xf)) | (go ? F_CF | F_AF : 0);
    return 0;
}

X86_HELPER(aaa, BCD_FLAGS)
{
    (void)a, (void)b, (void)cc;
    return adjust_ascii(t, 1);
}

X86_HELPER(aas, BCD_FLAGS)
{
    (void)a, (void)b, (void)cc;
    return adjust_ascii(t, -1);
}

/* ---- BOUND, ENTER ---- */

X86_HELPER(bound, IR_H_READS | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    unsigned bits = (unsigned)cc * 8;
    int64_t v = sign(a, bits), lo = sign(x86_ld(c, b, (unsigned)cc), bits);
    int64_t hi = sign(x86_ld(c, b + cc, (unsigned)cc), bits);
    if (v < lo || v > hi) {
        x86_raise(c, EX_BR);
    }
    return 0;
}

X86_HELPER(enter, IR_H_READS | IR_H_WRITES | IR_H_FAULTS)
{
    struct x86_cpu *c = x86_of(t);
    unsigned level = b & 31, size = cc & 0xff;
    struct x86_stack s = x86_stack_here(c, size);
    uint64_t bp = t->gpr[RBP];
    stack_push(&s, bp);
    uint64_t frame = s.sp;
    for (unsigned i = 1; i < level; i++) {
        bp -= size;
        uint64_t at = s.base + (bp & s.mask);
        stack_push(&s, x86_ld(c, s.mask == UINT64_MAX ? at : (uint32_t)at, size));
    }
    if (level) {
        stack_push(&s, frame);
    }
    s.sp -= (uint16_t)a;
    uint64_t end = s.base + (s.sp & s.mask);
    x86_probe_as(c, s.mode, s.mask == UINT64_MAX ? end : (uint32_t)end, 1);
    stack_commit(&s);
    set_low(&t->gpr[RBP], size, frame & (s.mask == 0xffff ? 0xffff : UINT64_MAX));
    return 0;
}

/* ---- CMPXCHG8B, CMPXCHG16B: locked ---- */

static void set_zf(struct tcg_cpu *t, bool zf)
{
    t->flags = zf ? t->flags | F_ZF : t->flags & ~(uint64_t)F_ZF;
}

X86_HELPER(cmpxchg8b, IR_H_READS | IR_H_WRITES | IR_H_FAULTS | IR_H_F_IN | IR_H_F_OUT)
{
    struct x86_cpu *c = x86_of(t);
    (void)b, (void)cc;
    uint64_t want = (uint32_t)t->gpr[RAX] | t->gpr[RDX] << 32;
    uint64_t to = (uint32_t)t->gpr[RBX] | t->gpr[RCX] << 32, old = want;
    uint64_t *p = x86_mmu_host_write(t, a, 8);
    bool ok;
    if (p) {
        ok = __atomic_compare_exchange_n(p, &old, to, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    } else { /* two pages, devices */
        tcg_alone(t);
        old = x86_ld(c, a, 8);
        ok = old == want;
        x86_st(c, a, 8, ok ? to : old);
        tcg_together(t);
    }
    if (!ok) {
        t->gpr[RAX] = (uint32_t)old;
        t->gpr[RDX] = old >> 32;
    }
    set_zf(t, ok);
    return 0;
}

typedef unsigned __int128 u128;

/* Compares and exchanges 16 aligned bytes; returns what was there. */
static u128 exchange16(u128 *p, u128 want, u128 to)
{
#ifdef __x86_64__
    uint64_t lo = (uint64_t)want, hi = (uint64_t)(want >> 64);
    __asm__ volatile("lock cmpxchg16b %0"
                     : "+m"(*p), "+a"(lo), "+d"(hi)
                     : "b"((uint64_t)to), "c"((uint64_t)(to >> 64))
                     : "cc", "memory");
    return (u128)hi << 64 | lo;
#else
    __atomic_compare_exchange(p, &want, &to, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return want;
#endif
}

X86_HELPER(cmpxchg16b, IR_H_READS | IR_H_WRITES | IR_H_FAULTS | IR_H_F_IN | IR_H_F_OUT)
{
    struct x86_cpu *c = x86_of(t);
    (void)b, (void)cc;
    if (a & 15) {
        x86_raise_code(c, EX_GP, 0);
    }
    u128 want = (u128)t->gpr[RDX] << 64 | t->gpr[RAX];
    u128 to = (u128)t->gpr[RCX] << 64 | t->gpr[RBX], old;
    u128 *p = x86_mmu_host_write(t, a, 16);
    if (p) {
        old = exchange16(p, want, to);
    } else {
        tcg_alone(t);
        old = (u128)x86_ld(c, a + 8, 8) << 64 | x86_ld(c, a, 8);
        u128 v = old == want ? to : old;
        x86_st(c, a, 8, (uint64_t)v);
        x86_st(c, a + 8, 8, (uint64_t)(v >> 64));
        tcg_together(t);
    }
    bool ok = old == want;
    if (!ok) {
        t->gpr[RAX] = (uint64_t)old;
        t->gpr[RDX] = (uint64_t)(old >> 64);
    }
    set_zf(t, ok);
    return 0;
}
