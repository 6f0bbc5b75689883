/* SPDX-License-Identifier: MIT */
/* tests/xen/guest/vectors.c - do vector registers keep what a process put there? Four processes load all
 * of theirs, let others run, and look, for ten seconds; then "VECTORS rounds, lost". No C library.
 *
 * The emulated machine is not above suspicion: docs/testing.md, section 6.
 */
#include <stddef.h>
#include <stdint.h>

enum {
    SYS_WRITE = 1,
    SYS_MMAP = 9,
    SYS_SCHED_YIELD = 24,
    SYS_NANOSLEEP = 35,
    SYS_FORK = 57,
    SYS_WAIT4 = 61,
    SYS_CLOCK_GETTIME = 228,
    SYS_EXIT_GROUP = 231,
};
enum { PROCESSES = 4, SECONDS = 10, REGISTERS = 16 };

static long sys(long n, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long ret;
    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}

struct vectors {
    uint64_t word[REGISTERS][2];
} __attribute__((aligned(16)));

#define EACH(op)                                                                                   \
    op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) op(12) op(13) op(14) \
        op(15)
#define LOAD(i) "movdqa 16*" #i "(%0), %%xmm" #i "\n"
#define STORE(i) "movdqa %%xmm" #i ", 16*" #i "(%0)\n"

static struct vectors put, found;

/* A round: what the registers hold behind it. Compiled without vector instructions of its own. */
static void round_of(unsigned process, uint64_t n)
{
    static const long tick[2] = { 0, 1000000 };
    for (unsigned i = 0; i < REGISTERS; i++) {
        put.word[i][0] = put.word[i][1] = (uint64_t)process << 56 | n << 8 | i;
    }
    __asm__ volatile(EACH(LOAD) : : "r"(&put) : "memory");
    switch (n % 3) {
    case 0:
        sys(SYS_SCHED_YIELD, 0, 0, 0, 0, 0, 0);
        break;
    case 1:
        sys(SYS_NANOSLEEP, (long)tick, 0, 0, 0, 0, 0);
        break;
    default:
        for (volatile unsigned i = 0; i < 20000; i++) {
        }
    }
    __asm__ volatile(EACH(STORE) : : "r"(&found) : "memory");
}

static long now(void)
{
    long t[2];
    sys(SYS_CLOCK_GETTIME, 1, (long)t, 0, 0, 0, 0);
    return t[0];
}

/* shared: rounds and losses of all processes. */
static void look(unsigned process, uint64_t *shared)
{
    long end = now() + SECONDS;
    for (uint64_t n = 0; now() < end; n++) {
        unsigned lost = 0;
        round_of(process, n);
        for (unsigned i = 0; i < REGISTERS; i++) {
            lost |= put.word[i][0] != found.word[i][0] || put.word[i][1] != found.word[i][1];
        }
        __atomic_fetch_add(&shared[0], 1, __ATOMIC_RELAXED);
        __atomic_fetch_add(&shared[1], lost, __ATOMIC_RELAXED);
    }
    sys(SYS_EXIT_GROUP, 0, 0, 0, 0, 0, 0);
}

static char *decimal(char *end, uint64_t v)
{
    do {
        *--end = (char)('0' + v % 10);
    } while (v /= 10);
    return end;
}

static void say(uint64_t v, const char *what, size_t len)
{
    char digits[20], *at = decimal(digits + sizeof(digits), v);
    sys(SYS_WRITE, 1, (long)at, digits + sizeof(digits) - at, 0, 0, 0);
    sys(SYS_WRITE, 1, (long)what, (long)len, 0, 0, 0);
}

static void run(void)
{
    uint64_t *shared = (uint64_t *)sys(SYS_MMAP, 0, 4096, 3, 0x21, -1, 0);
    for (unsigned i = 1; i <= PROCESSES; i++) {
        if (sys(SYS_FORK, 0, 0, 0, 0, 0, 0) == 0) {
            look(i, shared);
        }
    }
    while (sys(SYS_WAIT4, -1, 0, 0, 0, 0, 0) > 0) {
    }
    sys(SYS_WRITE, 1, (long)"VECTORS ", 8, 0, 0, 0);
    say(shared[0], " rounds, ", 9);
    say(shared[1], " lost\n", 6);
    sys(SYS_EXIT_GROUP, 0, 0, 0, 0, 0, 0);
}

void _start(void);
void _start(void)
{
    __asm__ volatile("andq $-16, %rsp");
    run();
}
