/* SPDX-License-Identifier: MIT */
/* tests/bench/cpu/sha256.c - SHA-256 (FIPS 180-4) without any extension: rotations and additions. */
#include "bench.h"

static const char NAME[] = "sha256";

static uint32_t k[64];

static uint32_t rotr(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

/* The constants are fractions of cube roots of primes: integers find them without a table. */
static void make_constants(void)
{
    int n = 0;
    for (int p = 2; n < 64; p++) {
        int prime = 1;
        for (int d = 2; d * d <= p; d++) {
            prime &= p % d != 0;
        }
        if (!prime) {
            continue;
        }
        unsigned __int128 x = 0;
        for (int bit = 36; bit >= 0; bit--) { /* cube root of p * 2^96 */
            unsigned __int128 y = x | (unsigned __int128)1 << bit;
            if (y * y * y <= (unsigned __int128)p << 96) {
                x = y;
            }
        }
        k[n++] = (uint32_t)x;
    }
}

static void block(uint32_t h[8], const uint32_t m[16])
{
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++) {
        w[i] = m[i];
    }
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + (rotr(a, 7) ^ rotr(a, 18) ^ a >> 3) + w[i - 7] +
               (rotr(b, 17) ^ rotr(b, 19) ^ b >> 10);
    }
    for (int i = 0; i < 8; i++) {
        v[i] = h[i];
    }
    for (int i = 0; i < 64; i++) {
        uint32_t e = v[4], a = v[0];
        uint32_t t = v[7] + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + ((e & v[5]) ^ (~e & v[6])) +
                     k[i] + w[i];
        uint32_t u =
            (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) + ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
        for (int j = 7; j > 0; j--) {
            v[j] = v[j - 1];
        }
        v[4] += t;
        v[0] = t + u;
    }
    for (int i = 0; i < 8; i++) {
        h[i] += v[i];
    }
}

static uint64_t kernel(void)
{
    uint32_t h[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
    uint32_t m[16] = { 0 };
    if (!k[0]) {
        make_constants();
    }
    for (uint32_t i = 0; i < 20000; i++) {
        m[i & 15] += i;
        block(h, m);
    }
    return (uint64_t)h[0] << 32 | h[7];
}
