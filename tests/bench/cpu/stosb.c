/* SPDX-License-Identifier: MIT */
/* tests/bench/cpu/stosb.c - fills of one MiB by rep stosb; so many that the clock's grain does not count. */
#include "bench.h"

static const char NAME[] = "stosb";
enum { N = 1 << 20 };
static uint8_t to[N];

static uint64_t kernel(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < 640; i++) {
        void *d = to;
        size_t n = N;
        __asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(i) : "memory");
        sum += to[i * 1000];
    }
    return sum;
}
