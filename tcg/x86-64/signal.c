/* SPDX-License-Identifier: MIT */
/* tcg/x86-64/signal.c - SIGFPE: a vector or x87 instruction of the guest raised an unmasked exception, or
 * a division did.
 *
 * The block's table says which guest instruction stands there. Execution goes on in a thunk that saves
 * the state and tells the target, which raises #XM, #MF
 * or #DE.
 */
#include "tcg/x86-64/gen.h"

#include <pthread.h>
#include <signal.h>
#include <ucontext.h>

enum { TRAP_DIVIDE = 0, TRAP_X87 = 16, TRAP_SIMD = 19 };

__thread struct tcg_cpu *jit_running;
static struct sigaction before;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const struct tcg_site *find_site(struct tcg *t, const uint8_t *at)
{
    const struct tcg_site *found = NULL;
    pthread_mutex_lock(&t->lock);
    const struct block *b = block_by_host(t, at);
    const struct block_more *m = b ? b->more : NULL;
    for (unsigned i = 0; m && i < m->sites; i++) {
        if (m->site[i].host == (uint32_t)(at - (const uint8_t *)b->tb.code)) {
            found = &m->site[i];
        }
    }
    pthread_mutex_unlock(&t->lock);
    return found;
}

static bool from_translated_code(const struct tcg_cpu *cpu, const uint8_t *at)
{
    const struct tcg_cache *c = &cpu->tcg->cache;
    return at >= c->rx + c->thunks && at < c->rx + c->bytes;
}

static void on_fpe(int sig, siginfo_t *info, void *context)
{
    ucontext_t *u = context;
    greg_t *regs = u->uc_mcontext.gregs;
    struct tcg_cpu *cpu = jit_running;
    const uint8_t *at = (const uint8_t *)(uintptr_t)regs[REG_RIP];
    const struct tcg_site *s = NULL;
    if (cpu && from_translated_code(cpu, at)) {
        s = find_site(cpu->tcg, at);
    }
    if (!s) { /* not ours: as if we had never been here */
        if (before.sa_flags & SA_SIGINFO) {
            before.sa_sigaction(sig, info, context);
        } else {
            sigaction(SIGFPE, &before, NULL);
        }
        return;
    }
    cpu->pc = s->pc;
    if (s->flags_live) {
        cpu->flags = (uint64_t)regs[REG_EFL] & F_ALL;
    }
    /* conversions from MMX to SSE may raise either of two */
    cpu->slow_op = regs[REG_TRAPNO] == TRAP_X87      ? TCG_X87
                   : regs[REG_TRAPNO] == TRAP_DIVIDE ? TCG_DIVIDER
                                                     : TCG_SIMD;
    regs[REG_RIP] = (greg_t)(uintptr_t)cpu->tcg->jit->fp_fault;
}

static void install(void)
{
    struct sigaction a = { .sa_sigaction = on_fpe, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    sigemptyset(&a.sa_mask);
    sigaction(SIGFPE, &a, &before);
}

void signal_init(void)
{
    pthread_once(&once, install);
}
