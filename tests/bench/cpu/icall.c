/* SPDX-License-Identifier: MIT */
/* tests/bench/cpu/icall.c - calls through pointers to functions, in a changing order. */
#include "bench.h"

static const char NAME[] = "icall";
typedef uint64_t fn(uint64_t);

#define F(n, expr)                                                                                 \
    static __attribute__((noinline)) uint64_t f##n(uint64_t x)                                     \
    {                                                                                              \
        return expr;                                                                               \
    }
F(0, x + 1)
F(1, x * 3)
F(2, x ^ 0x5555)
F(3, x - 7)
F(4, x >> 1 | x << 63)
F(5, x + (x >> 3))
F(6, ~x)
F(7, x *x)

static fn *volatile table[8] = { f0, f1, f2, f3, f4, f5, f6, f7 };

static uint64_t kernel(void)
{
    uint64_t x = 1;
    for (uint32_t i = 0; i < 3000000; i++) {
        x = table[(i ^ i >> 3) & 7](x);
    }
    return x;
}
