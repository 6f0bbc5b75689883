/* SPDX-License-Identifier: MIT */
/* tests/bench/cpu/x87.c - long double: series for e and pi, a polynomial, square roots. */
#include "bench.h"

#include <string.h>

static const char NAME[] = "x87";

static uint64_t kernel(void)
{
    long double e = 1, pi = 0, p = 0, root = 2, x = 0.25L;
    uint64_t sum;
    for (int i = 1; i < 1000000; i++) {
        long double n = i;
        e += 1 / (n * n);
        pi += (i & 1 ? 4 : -4) / (2 * n - 1);
        p = p * x + n;
        root = (root + n / root) * 0.5L;
        x = 0.5L - x * 0.125L;
    }
    long double all = e + pi + p + root;
    memcpy(&sum, &all, 8);
    return sum;
}
