/* SPDX-License-Identifier: MIT */
/* tests/bench/cpu/nbody.c - five bodies under gravity in doubles: division and square root. */
#include "bench.h"

#include <math.h>
#include <string.h>

static const char NAME[] = "nbody";
enum { N = 5 };
struct body {
    double x[3], v[3], m;
};

static void advance(struct body *b, double dt)
{
    for (int i = 0; i < N; i++) {
        for (int j = i + 1; j < N; j++) {
            double d[3], r2 = 0.01;
            for (int k = 0; k < 3; k++) {
                d[k] = b[i].x[k] - b[j].x[k];
                r2 += d[k] * d[k];
            }
            double f = dt / (r2 * sqrt(r2));
            for (int k = 0; k < 3; k++) {
                b[i].v[k] -= d[k] * b[j].m * f;
                b[j].v[k] += d[k] * b[i].m * f;
            }
        }
    }
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < 3; k++) {
            b[i].x[k] += dt * b[i].v[k];
        }
    }
}

static uint64_t kernel(void)
{
    struct body b[N];
    uint64_t seed = 7, sum;
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < 3; k++) {
            b[i].x[k] = (double)(bench_random(&seed) >> 44) / 1e4;
            b[i].v[k] = (double)(bench_random(&seed) >> 44) / 1e6;
        }
        b[i].m = (double)(i + 1);
    }
    for (int i = 0; i < 150000; i++) {
        advance(b, 0.001);
    }
    memcpy(&sum, &b[0].x[0], 8);
    return sum;
}
