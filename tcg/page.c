/* SPDX-License-Identifier: MIT */
/* tcg/page.c - guest-physical pages that blocks were made from.
 *
 * Each has a bitmap of its 64-byte chunks and a list of its blocks, so that a store next to code costs a
 * bit test and a store into code finds exactly the blocks it overlaps; and names, one a linear page at
 * which it was seen.
 */
#include "tcg/tcg-int.h"

#include "dm/base/util.h"

#include <assert.h>
#include <stdlib.h>

struct code_page *page_at(struct tcg *t, uint64_t phys, bool make)
{
    uint64_t n1 = phys >> (12 + L2_BITS), n2 = phys >> 12 & ((1u << L2_BITS) - 1);
    if (n1 >= 1u << L1_BITS) {
        return NULL;
    }
    struct code_page **l2 = __atomic_load_n(&t->l1[n1], __ATOMIC_ACQUIRE);
    if (!l2) {
        if (!make) {
            return NULL;
        }
        l2 = xcalloc(1u << L2_BITS, sizeof(*l2));
        __atomic_store_n(&t->l1[n1], l2, __ATOMIC_RELEASE);
    }
    struct code_page *p = __atomic_load_n(&l2[n2], __ATOMIC_ACQUIRE);
    if (!p && make) {
        p = xcalloc(1, sizeof(*p));
        __atomic_store_n(&l2[n2], p, __ATOMIC_RELEASE);
    }
    return p;
}

bool tcg_page_has_code(struct tcg *t, uint64_t phys)
{
    struct code_page *p = page_at(t, phys, false);
    return p && __atomic_load_n(&p->armed, __ATOMIC_SEQ_CST);
}

/* ---- which bytes have code ---- */

uint64_t page_chunks(unsigned from, unsigned to)
{
    unsigned first = from >> 6, last = (to - 1) >> 6;
    return (UINT64_MAX >> (63 - (last - first))) << first;
}

bool page_mark(struct tcg *t, struct code_page *p, uint64_t phys, uint64_t chunks)
{
    __atomic_fetch_or(&p->chunks, chunks, __ATOMIC_SEQ_CST);
    p->idle = 0;
    if (__atomic_load_n(&p->armed, __ATOMIC_SEQ_CST)) {
        return false;
    }
    __atomic_store_n(&p->armed, true, __ATOMIC_SEQ_CST);
    if (t->protect) {
        t->protect(t->protect_o, phys & ~0xfffull);
    }
    return true;
}

/* Code that is written anew again and again comes back soon; after some stores it does not: they may be
 * plain again. */
void page_idle(struct tcg *t, struct code_page *p)
{
    enum { PATIENCE = 64 };
    pthread_mutex_lock(&t->lock);
    if (!__atomic_load_n(&p->chunks, __ATOMIC_SEQ_CST) && ++p->idle >= PATIENCE) {
        __atomic_store_n(&p->armed, false, __ATOMIC_SEQ_CST);
        p->idle = 0;
    }
    pthread_mutex_unlock(&t->lock);
}

/* Bytes of b that lie on its first page. */
static unsigned first_part(const struct tb *b)
{
    unsigned room = 4096 - (unsigned)(b->key.phys & 0xfff);
    return b->len < room ? b->len : room;
}

/* The part of b on page `which`, as [from, to) within the page. */
static void part_on_page(const struct tb *b, unsigned which, unsigned *from, unsigned *to)
{
    unsigned n = first_part(b);
    if (which == 0) {
        *from = (unsigned)(b->key.phys & 0xfff);
        *to = *from + (n ? n : 1);
    } else {
        *from = 0;
        *to = b->len > n ? b->len - n : 1u;
    }
}

void block_span(const struct block *b, unsigned which, unsigned *from, unsigned *to)
{
    part_on_page(&b->tb, which, from, to);
    if (which == 0 && b->peek_to) {
        *from = b->peek_from < *from ? b->peek_from : *from;
        *to = b->peek_to > *to ? b->peek_to : *to;
    }
}

uint64_t block_chunks(const struct block *b, unsigned which)
{
    unsigned from, to;
    block_span(b, which, &from, &to);
    return page_chunks(from, to);
}

/* ---- names ---- */

static struct page_name *name_of(struct tcg *t, struct code_page *p, uint64_t linear)
{
    for (struct page_name *n = p->names; n; n = n->next) {
        if (n->linear == linear) {
            return n;
        }
    }
    struct page_name *n = xcalloc(1, sizeof(*n));
    *n = (struct page_name){ .linear = linear, .number = ++t->page_names, .next = p->names };
    assert(n->number != CODE_PAGE_NEVER);
    p->names = n;
    return n;
}

static void names_free(struct code_page *p, bool all)
{
    for (struct page_name **at = &p->names; *at;) {
        struct page_name *n = *at;
        if (all || !n->blocks) {
            *at = n->next;
            free(n);
        } else {
            at = &n->next;
        }
    }
}

/* A block that had this name is on the page's list no more. */
static void name_let_go(struct code_page *p, uint32_t number)
{
    for (struct page_name *n = p->names; n; n = n->next) {
        if (n->number == number) {
            n->blocks--;
            return;
        }
    }
}

/* ---- the blocks of a page ---- */

static struct block **next_on_page(struct block *b, unsigned which)
{
    return which == 0 ? &b->next_on_page : &b->more->next_on_page;
}

struct block *page_next(struct block *b, uint64_t page)
{
    return *next_on_page(b, block_part(b, page));
}

static struct code_page *page_of_part(struct tcg *t, const struct block *b, unsigned which,
                                      bool make)
{
    uint64_t page = block_page(b, which);
    return page == NO_PAGE ? NULL : page_at(t, page, make);
}

void pages_add(struct tcg *t, struct block *b)
{
    for (unsigned i = 0; i < 2; i++) {
        struct code_page *p = page_of_part(t, b, i, true);
        if (p) {
            *next_on_page(b, i) = p->blocks;
            p->blocks = b;
        }
        if (p && i == 0) {
            struct page_name *n = name_of(t, p, (b->tb.key.pc + b->tb.key.cs_base) >> 12);
            n->blocks++;
            b->tb.key.page = n->number;
        }
    }
}

/* A block that is taken off leads to itself. */
static void drop_stale(struct code_page *p, uint64_t page)
{
    uint64_t chunks = 0;
    for (struct block **at = &p->blocks; *at;) {
        struct block *b = *at;
        unsigned i = block_part(b, page);
        struct block **next = next_on_page(b, i);
        if (!b->stale) {
            chunks |= block_chunks(b, i);
            at = next;
            continue;
        }
        *at = *next;
        *next = b;
        if (i == 0) {
            name_let_go(p, b->tb.key.page);
        }
    }
    __atomic_store_n(&p->chunks, chunks, __ATOMIC_SEQ_CST);
}

void pages_drop(struct tcg *t, struct block *b)
{
    for (unsigned i = 0; i < 2; i++) {
        struct code_page *p = page_of_part(t, b, i, false);
        if (p && *next_on_page(b, i) != b) {
            drop_stale(p, block_page(b, i));
        }
    }
}

void page_forget_names(struct tcg *t, const struct block *b)
{
    struct code_page *p = page_of_part(t, b, 0, false);
    if (p) {
        names_free(p, false);
    }
}

void pages_free(struct tcg *t)
{
    for (unsigned i = 0; i < 1u << L1_BITS; i++) {
        for (unsigned k = 0; t->l1[i] && k < 1u << L2_BITS; k++) {
            if (t->l1[i][k]) {
                names_free(t->l1[i][k], true);
                free(t->l1[i][k]);
            }
        }
        free(t->l1[i]);
    }
}
