/* SPDX-License-Identifier: MIT */
/* tcg/link.c - blocks that lead straight to one another, by a patched jump. Under the engine's lock. */
#include "tcg/tcg-int.h"

static bool may_link(struct tcg *t, const struct tcg_link *l, const struct block *to)
{
    const struct block *from = link_from(l);
    const struct tb_key *a = &from->tb.key, *b = &to->tb.key;
    if (l->to || from->stale || to->stale || l->pc != b->pc || a->cs_base != b->cs_base ||
        a->flags != b->flags || (a->cflags & ~(uint32_t)TB_APART) != b->cflags ||
        a->mode != b->mode || block_page(to, 1) != NO_PAGE) {
        return false;
    }
    if (l->same_page) {
        return block_page(from, 0) == block_page(to, 0);
    }
    return l->slot && !l->returns && b->page && jit_guard(t, l, b->page);
}

static void may_ask(struct tcg_link *l, bool ask)
{
    __atomic_store_n(&l->ask, ask, __ATOMIC_RELAXED);
}

void block_link(struct tcg *t, struct tcg_link *l, struct block *to)
{
    may_ask(l, false);
    if (!may_link(t, l, to)) {
        return;
    }
    l->next_in = to->in;
    to->in = l;
    __atomic_store_n(&l->to, to, __ATOMIC_RELEASE);
    if (l->slot) {
        bool skip = link_from(l)->vec_out && to->vec_skip && !l->returns;
        jit_patch(t, l, (const uint8_t *)to->tb.code + (skip ? to->vec_skip : 0));
    }
    t->stats.chained++;
}

static void unlink_one(struct tcg *t, struct tcg_link *l)
{
    __atomic_store_n(&l->to, NULL, __ATOMIC_RELEASE);
    if (l->slot) {
        jit_patch(t, l, (const uint8_t *)link_from(l)->tb.code + l->stub);
    }
}

static void unlink_stale_to(struct tcg *t, struct block *to)
{
    for (struct tcg_link **p = &to->in; *p;) {
        struct tcg_link *l = *p;
        if (link_from(l)->stale) {
            *p = l->next_in;
            unlink_one(t, l);
        } else {
            p = &l->next_in;
        }
    }
}

void links_drop(struct tcg *t, struct block *b)
{
    for (struct tcg_link *l = b->in; l; l = l->next_in) {
        unlink_one(t, l);
        may_ask(l, true);
    }
    b->in = NULL;
    for (unsigned i = 0; i < 2; i++) {
        if (b->exit[i].to) {
            unlink_stale_to(t, b->exit[i].to);
        }
    }
}
