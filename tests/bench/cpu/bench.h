/* SPDX-License-Identifier: MIT */
/* tests/bench/cpu/bench.h - the frame of a CPU benchmark: one kernel a program.
 *
 * A file defines NAME and kernel(), which does a fixed amount of work, about 30 ms on a current
 * processor, and returns a checksum. main runs it as often as its argument says (5 times) and prints
 * "run NAME" before and "bench NAME CHECKSUM NANOSECONDS" behind each run; with a second argument the
 * time is the process's own processor time.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t kernel(void);
static const char NAME[];

static inline uint64_t bench_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

int main(int argc, char **argv)
{
    int runs = argc > 1 ? atoi(argv[1]) : 5;
    clockid_t clock = argc > 2 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC;
    for (int i = 0; i < runs; i++) {
        struct timespec a, b;
        printf("run %s\n", NAME); /* whoever watches from outside takes the time here, too */
        fflush(stdout);
        clock_gettime(clock, &a);
        uint64_t sum = kernel();
        clock_gettime(clock, &b);
        long long ns = (b.tv_sec - a.tv_sec) * 1000000000ll + (b.tv_nsec - a.tv_nsec);
        printf("bench %s %016llx %lld\n", NAME, (unsigned long long)sum, ns);
        fflush(stdout);
    }
    return 0;
}

#endif
