/* SPDX-License-Identifier: MIT */
/* tests/bench/cpu/movsb.c - copies of one MiB by rep movsb. */
#include "bench.h"

static const char NAME[] = "movsb";
enum { N = 1 << 20 };
static uint8_t from[N], to[N];

static uint64_t kernel(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < 64; i++) {
        void *s = from, *d = to;
        size_t n = N;
        from[i * 1000] = (uint8_t)i;
        __asm__ volatile("rep movsb" : "+S"(s), "+D"(d), "+c"(n)::"memory");
        sum += to[i * 1000];
    }
    return sum;
}
