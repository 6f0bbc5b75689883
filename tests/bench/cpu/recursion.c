/* SPDX-License-Identifier: MIT */
/* tests/bench/cpu/recursion.c - Fibonacci numbers and Ackermann's function: calls and returns. */
#include "bench.h"

static const char NAME[] = "recursion";

static __attribute__((noinline, optimize("no-optimize-sibling-calls"))) uint64_t fib(unsigned n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static __attribute__((noinline, optimize("no-optimize-sibling-calls"))) unsigned
ackermann(unsigned m, unsigned n)
{
    return !m ? n + 1 : !n ? ackermann(m - 1, 1) : ackermann(m - 1, ackermann(m, n - 1));
}

static uint64_t kernel(void)
{
    return fib(30) * 1000 + ackermann(2, 700);
}
