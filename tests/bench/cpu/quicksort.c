/* SPDX-License-Identifier: MIT */
/* tests/bench/cpu/quicksort.c - 150 000 integers: unpredictable branches, swaps. */
#include "bench.h"

static const char NAME[] = "quicksort";
enum { N = 150000 };
static int64_t v[N];

static void sort(int64_t *a, long n)
{
    while (n > 1) {
        int64_t p = a[n / 2];
        long i = 0, j = n - 1;
        while (i <= j) {
            while (a[i] < p) {
                i++;
            }
            while (a[j] > p) {
                j--;
            }
            if (i <= j) {
                int64_t t = a[i];
                a[i++] = a[j];
                a[j--] = t;
            }
        }
        sort(a, j + 1);
        a += i;
        n -= i;
    }
}

static uint64_t kernel(void)
{
    uint64_t seed = 88172645463325252ull, sum = 0;
    for (int i = 0; i < N; i++) {
        v[i] = (int64_t)bench_random(&seed);
    }
    sort(v, N);
    for (int i = 0; i < N; i += 1000) {
        sum = sum * 31 + (uint64_t)v[i];
    }
    return sum;
}
