/* SPDX-License-Identifier: MIT */
/* tcg/x86-64/misfit.c - blocks whose groups of accesses do not lie on one page where they are needed.
 *
 * A block is made once and serves every process that maps its page. In one of them the stack may begin elsewhere, or
 * a pointer has moved on: then the look-up for a whole group fails each time, the block is left for one without
 * groups, and that costs several look-ups. A block whose failures come thick and fast goes, and is made anew
 * without tables, then, if that was not it, without groups. Which blocks these are is kept by a hash: a wrong answer
 * costs a little time.
 */
#include "tcg/x86-64/gen.h"

#include <string.h>

/* So many counted failures of a block, in less than so many ticks of the TSC each: more than groups may bring. */
enum { FEW = 8, TICKS_EACH = MISFIT_SAMPLE * 1024 };
/* So many answers kept, all are forgotten: most of that code is gone, and some hashes meet. */
enum { MOST = (1 << MISFIT_BITS) / 4 };

static uint8_t *level_of(struct jit *j, const struct tb_key *k)
{
    return &j->misfit[(k->phys * 0x9e3779b97f4a7c15ull) >> (64 - MISFIT_BITS)];
}

enum misfit misfit_level(const struct gen *g)
{
    return *level_of(g->t->jit, &g->b->tb.key);
}

static void note_block(struct jit *j, const struct block *b)
{
    if (++j->t->stats.misfits % MOST == 0) {
        memset(j->misfit, MISFIT_NOT, sizeof(j->misfit));
    }
    uint8_t *level = level_of(j, &b->tb.key);
    *level = *level == MISFIT_NOT ? MISFIT_TABLES : MISFIT_GROUPS;
}

static void make_anew(struct tcg_cpu *cpu, const void *host)
{
    engine_lock(cpu);
    struct block *b = block_by_host(cpu->tcg, host);
    if (b && !b->stale) {
        note_block(cpu->tcg->jit, b);
        block_forget(cpu->tcg, b);
    }
    engine_unlock(cpu);
}

void misfit_note(struct tcg_cpu *cpu)
{
    const uint8_t *host = ((const uint8_t *const *)cpu)[-1];
    struct misfit_count *m = &engine_of(cpu)->misfit[(uintptr_t)host / 16 % MISFIT_COUNTS];
    if (m->host != host || m->n == FEW) {
        *m = (struct misfit_count){ .host = host, .since = __builtin_ia32_rdtsc() };
    }
    if (++m->n == FEW && __builtin_ia32_rdtsc() - m->since < (uint64_t)FEW * TICKS_EACH) {
        make_anew(cpu, host);
    }
}
