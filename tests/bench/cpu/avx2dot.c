/* SPDX-License-Identifier: MIT */
/* tests/bench/cpu/avx2dot.c - dot products of floats with AVX2 and FMA. */
#include "bench.h"

#include <immintrin.h>
#include <string.h>

static const char NAME[] = "avx2dot";
enum { N = 8192 };
static float a[N] __attribute__((aligned(32))), b[N] __attribute__((aligned(32)));

__attribute__((target("avx2,fma"))) static float dot(void)
{
    __m256 s = _mm256_setzero_ps(), t = _mm256_setzero_ps();
    for (int i = 0; i < N; i += 16) {
        s = _mm256_fmadd_ps(_mm256_load_ps(a + i), _mm256_load_ps(b + i), s);
        t = _mm256_fmadd_ps(_mm256_load_ps(a + i + 8), _mm256_load_ps(b + i + 8), t);
    }
    s = _mm256_add_ps(s, t);
    __m128 r = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    r = _mm_hadd_ps(r, r);
    r = _mm_hadd_ps(r, r);
    return _mm_cvtss_f32(r);
}

static uint64_t kernel(void)
{
    uint64_t seed = 5;
    uint32_t sum = 0;
    for (int i = 0; i < N; i++) {
        a[i] = (float)(bench_random(&seed) >> 50);
        b[i] = (float)(bench_random(&seed) >> 50);
    }
    for (int i = 0; i < 20000; i++) {
        float f = dot();
        uint32_t v;
        memcpy(&v, &f, 4);
        sum = sum * 31 + v;
        a[i % N] += 1;
    }
    return sum;
}
