/* SPDX-License-Identifier: MIT */
/* tests/oracle/native.c - runs tests on the processor itself.
 *
 * One signal a test: whatever ends it (INT3 or a fault) enters the handler with the whole state in
 * the signal's frame. The handler notes it, writes the next test's state into the frame and returns
 * into it. Runs in a process of its own, which a test may ruin.
 */
#include "tests/oracle/oracle.h"

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <asm/prctl.h>
#include <ucontext.h>
#include <unistd.h>

/* The frame's extended state: SDM volume 1, 13.4; the kernel's arch/x86/include/uapi/asm/sigcontext.h */
enum { XSAVE_BV = 512, XSAVE_YMM_HIGH = 576, XSAVE_NEEDS = 7 };

static const struct test *test;
static struct outcome *outcome;
static unsigned left;
static bool started, wrong_on_purpose;
static sigjmp_buf done;

static const int gregs[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                               REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                               REG_R12, REG_R13, REG_R14, REG_R15 };

/* The bit says that the component is not in its initial state; the others read as zero. */
static void save_vectors(struct state *s, const uint8_t *x)
{
    uint64_t bv;
    memcpy(&bv, x + XSAVE_BV, 8);
    memset(s->vec, 0, sizeof(s->vec));
    for (unsigned i = 0; i < VEC_COUNT; i++) {
        if (bv & 2) {
            memcpy(&s->vec[i][0], x + 160 + 16 * i, 16);
        }
        if (bv & 4) {
            memcpy(&s->vec[i][2], x + XSAVE_YMM_HIGH + 16 * i, 16);
        }
    }
}

static void save_x87(struct state *s, const uint8_t *x)
{
    static const uint16_t initial = 0x37f;
    uint64_t bv;
    memcpy(&bv, x + XSAVE_BV, 8);
    memset(s->x87, 0, sizeof(s->x87));
    if (!(bv & 1)) {
        memcpy(s->x87, &initial, 2);
        return;
    }
    memcpy(s->x87, x, 6); /* without the pointers */
    for (unsigned i = 0; i < 8; i++) {
        memcpy(s->x87 + 32 + 16 * i, x + 32 + 16 * i, 10);
    }
}

static void save(const ucontext_t *u, struct outcome *o)
{
    const uint8_t *x = (const uint8_t *)u->uc_mcontext.fpregs;
    const greg_t *g = u->uc_mcontext.gregs;
    for (unsigned i = 0; i < 16; i++) {
        o->out.gpr[i] = (uint64_t)g[gregs[i]];
    }
    o->out.rip = (uint64_t)g[REG_RIP];
    o->out.flags = (uint64_t)g[REG_EFL];
    memcpy(&o->out.mxcsr, x + 24, 4);
    save_vectors(&o->out, x);
    save_x87(&o->out, x);
    o->vector = (uint32_t)g[REG_TRAPNO];
    o->error = (uint32_t)g[REG_ERR];
    o->cr2 = o->vector == 14 ? (uint64_t)g[REG_CR2] : 0;
    if (o->cr2 >= 0x7ffffffff000u) { /* Linux says "present" of all its own addresses */
        o->error &= ~1u;
    }
    memcpy(o->data, (const void *)DATA_BASE, DATA_WRITABLE);
}

static void load(ucontext_t *u, const struct test *t)
{
    uint8_t *x = (uint8_t *)u->uc_mcontext.fpregs;
    greg_t *g = u->uc_mcontext.gregs;
    uint64_t bv;
    memset((void *)CODE_BASE, 0xcc, CODE_SIZE);
    memcpy((void *)(CODE_BASE + t->code_at), t->code, t->code_len);
    fill_data((uint8_t *)DATA_BASE, t);
    for (unsigned i = 0; i < 16; i++) {
        g[gregs[i]] = (greg_t)t->in.gpr[i];
    }
    g[REG_RIP] = (greg_t)t->in.rip;
    g[REG_EFL] = (greg_t)(t->in.flags | 0x202);
    memcpy(x, t->in.x87, 6);
    memset(x + 6, 0, 18);
    memcpy(x + 24, &t->in.mxcsr, 4);
    memcpy(x + 32, t->in.x87 + 32, X87_SIZE - 32);
    for (unsigned i = 0; i < VEC_COUNT; i++) {
        memcpy(x + 160 + 16 * i, &t->in.vec[i][0], 16);
        memcpy(x + XSAVE_YMM_HIGH + 16 * i, &t->in.vec[i][2], 16);
    }
    memcpy(&bv, x + XSAVE_BV, 8);
    bv |= XSAVE_NEEDS;
    memcpy(x + XSAVE_BV, &bv, 8);
}

/* For the oracle's own test: wrong now and then, in ways that are easy to overlook. */
static void spoil(const struct test *t, struct outcome *o)
{
    if (t->code[0] == 0x0f && t->code[1] == 0xaf && (o->out.flags & 0x801) == 0x801) {
        o->out.flags ^= 0x800;
    } else if (t->code[0] == 0x66 && t->code[1] == 0x0f && t->code[2] == 0x58) {
        o->out.mxcsr &= ~0x20u;
    }
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
    ucontext_t *u = context;
    /* The kernel leaves AC as the test had it, and C code is not aligned; it does not
     * restore NT and ID. */
    __asm__ volatile("pushfq; andl %0, (%%rsp); popfq" ::"i"(~(FLAG_AC | FLAG_NT | FLAG_ID))
                     : "memory", "cc");
    (void)info;
    if (started) {
        save(u, outcome);
        outcome->vector = sig == SIGALRM ? ENDED_HANG : outcome->vector;
        if (wrong_on_purpose) {
            spoil(test, outcome);
        }
        outcome++;
        test++;
        left--;
    }
    started = true;
    if (!left || sig == SIGALRM) { /* the parent starts anew behind a test that hangs */
        siglongjmp(done, 1);
    }
    load(u, test);
}

void native_init(bool wrong)
{
    static const int signals[] = { SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGALRM };
    stack_t stack = { .ss_sp = malloc(1 << 16), .ss_size = 1 << 16 };
    struct sigaction sa = { .sa_sigaction = on_signal,
                            .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
    int fixed = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    wrong_on_purpose = wrong;
    if (mmap((void *)CODE_BASE, CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC, fixed, -1, 0) ==
            MAP_FAILED ||
        mmap((void *)DATA_BASE, DATA_SIZE, PROT_READ | PROT_WRITE, fixed, -1, 0) == MAP_FAILED) {
        perror("oracle: mmap");
        exit(1);
    }
    fill_readonly((uint8_t *)DATA_BASE + DATA_WRITABLE);
    mprotect((void *)(DATA_BASE + DATA_WRITABLE), DATA_SIZE - DATA_WRITABLE, PROT_READ);
    syscall(SYS_arch_prctl, ARCH_SET_GS, GS_BASE);
    sigaltstack(&stack, NULL);
    for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        sigaction(signals[i], &sa, NULL);
    }
}

void native_run(const struct test *t, struct outcome *o, unsigned n)
{
    test = t;
    outcome = o;
    left = n;
    started = false;
    static const struct itimerval soon = { .it_value = { .tv_sec = 2 } }, never;
    setitimer(ITIMER_REAL, &soon, NULL); /* a batch takes milliseconds */
    if (!sigsetjmp(done, 1)) {
        __asm__ volatile("int3" ::: "memory");
    }
    setitimer(ITIMER_REAL, &never, NULL);
    if (left) {
        _exit(1);
    }
}
