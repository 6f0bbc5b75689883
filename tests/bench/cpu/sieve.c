/* SPDX-License-Identifier: MIT */
/* tests/bench/cpu/sieve.c - primes below two million, by byte stores. */
#include "bench.h"

static const char NAME[] = "sieve";
enum { N = 2000000 };
static uint8_t composite[N];

static uint64_t kernel(void)
{
    uint64_t sum = 0;
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < N; i++) {
            composite[i] = 0;
        }
        for (uint32_t i = 2; i < N; i++) {
            if (composite[i]) {
                continue;
            }
            sum += i;
            for (uint64_t k = (uint64_t)i * i; k < N; k += i) {
                composite[k] = 1;
            }
        }
    }
    return sum;
}
