/* SPDX-License-Identifier: MIT */
/* tests/bench/cpu/syscall.c - the cheapest system call, again and again. */
#include "bench.h"

#include <sys/syscall.h>
#include <unistd.h>

static const char NAME[] = "syscall";

static uint64_t kernel(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < 100000; i++) {
        sum += syscall(SYS_getppid) >= 0;
    }
    return sum;
}
