/* SPDX-License-Identifier: MIT */
/* tests/bench/cpu/matmul.c - product of two matrices of doubles. */
#include "bench.h"

#include <string.h>

static const char NAME[] = "matmul";
enum { N = 256 };
static double a[N][N], b[N][N], c[N][N];

static uint64_t kernel(void)
{
    uint64_t seed = 1, sum = 0;
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) {
            a[i][j] = (double)(bench_random(&seed) >> 40) / 1e6;
            b[i][j] = (double)(bench_random(&seed) >> 40) / 1e6;
            c[i][j] = 0;
        }
    }
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < N; k++) {
            double x = a[i][k];
            for (int j = 0; j < N; j++) {
                c[i][j] += x * b[k][j];
            }
        }
    }
    memcpy(&sum, &c[N / 2][N / 3], 8);
    return sum;
}
