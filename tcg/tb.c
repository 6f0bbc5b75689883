/* SPDX-License-Identifier: MIT */
/* tcg/tb.c - translated blocks: making, linking and forgetting them.
 *
 * A block is found by its key (RIP, guest-physical address, mode) in a table (table.c). Each guest-physical
 * page with code keeps a bitmap of its 64-byte chunks and a list of its blocks, so that a store next to
 * code costs a bit test and a store into code takes exactly the blocks it overlaps.
 */
#include "tcg/tcg-int.h"

#include "dm/base/util.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NO_PAGE UINT64_MAX

/* ---- pages ---- */

/* NULL when there is none and !make, or beyond what the table covers. */
static struct code_page *page_at(struct tcg *t, uint64_t phys, bool make)
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

/* Bits of the chunks that [from, to) of a page touches; to <= 4096. */
static uint64_t chunk_bits(unsigned from, unsigned to)
{
    unsigned first = from >> 6, last = (to - 1) >> 6;
    return (UINT64_MAX >> (63 - (last - first))) << first;
}

/* Marks code and, unless the target knows already, tells it that stores there are not plain. */
static bool page_mark(struct tcg *t, struct code_page *p, uint64_t phys, uint64_t bits)
{
    __atomic_fetch_or(&p->chunks, bits, __ATOMIC_SEQ_CST);
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

/* A store to a page whose blocks are all gone. Code that is written anew again and again comes back
 * soon; after some stores it does not: they may be plain again. */
static void page_idle(struct tcg *t, struct code_page *p)
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

/* The same with the bytes that liveness was read from. */
static void span_on_page(const struct block *b, unsigned which, unsigned *from, unsigned *to)
{
    part_on_page(&b->tb, which, from, to);
    if (which == 0 && b->peek_to) {
        *from = b->peek_from < *from ? b->peek_from : *from;
        *to = b->peek_to > *to ? b->peek_to : *to;
    }
}

static void set_peek(struct block *b, const struct ir_block *ir)
{
    uint64_t page = b->tb.key.pc + b->tb.key.cs_base - (b->tb.key.phys & 0xfff);
    uint64_t lo = ir->peek_lo + b->tb.key.cs_base - page,
             hi = ir->peek_hi + b->tb.key.cs_base - page;
    if (ir->peek_hi > ir->peek_lo && lo < 4096 && hi <= 4096) {
        b->peek_from = (uint16_t)lo;
        b->peek_to = (uint16_t)hi;
    }
}

static uint64_t block_bits(const struct block *b, unsigned which)
{
    unsigned from, to;
    span_on_page(b, which, &from, &to);
    return chunk_bits(from, to);
}

static uint64_t second_page(const struct block *b)
{
    return b->more ? b->more->phys2 : NO_PAGE;
}

static uint64_t page_of(const struct block *b, unsigned which)
{
    uint64_t phys = which == 0 ? b->tb.key.phys : second_page(b);
    return phys == NO_PAGE ? NO_PAGE : phys & ~0xfffull;
}

/* Which of its pages this one is. */
static unsigned part_of(const struct block *b, uint64_t page)
{
    return page_of(b, 0) == page ? 0 : 1;
}

static struct block **next_on_page(struct block *b, unsigned which)
{
    return which == 0 ? &b->next_on_page : &b->more->next_on_page;
}

/* ---- what lies behind linear pages ---- */

/* The number of the pair of this page and the linear one. */
static uint32_t page_number(struct tcg *t, struct code_page *p, uint64_t linear)
{
    linear >>= 12;
    for (const struct page_name *n = p->names; n; n = n->next) {
        if (n->linear == linear) {
            return n->number;
        }
    }
    struct page_name *n = xcalloc(1, sizeof(*n));
    *n = (struct page_name){ .linear = linear, .number = ++t->page_names, .next = p->names };
    assert(n->number != CODE_PAGE_NEVER);
    p->names = n;
    return n->number;
}

void page_names_free(struct code_page *p)
{
    while (p->names) {
        struct page_name *n = p->names;
        p->names = n->next;
        free(n);
    }
}

/* ---- links ---- */

static bool may_link(struct tcg *t, const struct tcg_link *l, const struct block *to)
{
    const struct block *from = link_from(l);
    const struct tb_key *a = &from->tb.key, *b = &to->tb.key;
    if (l->to || from->stale || to->stale || l->pc != b->pc || a->cs_base != b->cs_base ||
        a->flags != b->flags || (a->cflags & ~(uint32_t)TB_APART) != b->cflags ||
        a->mode != b->mode || second_page(to) != NO_PAGE) {
        return false;
    }
    if (l->same_page) {
        return (a->phys & ~0xfffull) == (b->phys & ~0xfffull);
    }
    return l->slot && b->page && jit_guard(t, l, b->page);
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
        bool skip = link_from(l)->vec_out && to->vec_skip;
        jit_patch(t, l, (const uint8_t *)to->tb.code + (skip ? to->vec_skip : 0));
    }
    t->stats.chained++;
}

static void lead_to_stub(struct tcg *t, struct tcg_link *l)
{
    if (l->slot) {
        jit_patch(t, l, (const uint8_t *)link_from(l)->tb.code + l->stub);
    }
}

static void unlink_in(struct tcg *t, struct block *b)
{
    for (struct tcg_link *l = b->in; l; l = l->next_in) {
        __atomic_store_n(&l->to, NULL, __ATOMIC_RELEASE);
        lead_to_stub(t, l);
        may_ask(l, true);
    }
    b->in = NULL;
}

static void unlink_out(struct tcg *t, struct tcg_link *l)
{
    if (!l->to) {
        return;
    }
    struct tcg_link **p = &l->to->in;
    while (*p && *p != l) {
        p = &(*p)->next_in;
    }
    if (*p) {
        *p = l->next_in;
    }
    lead_to_stub(t, l);
    __atomic_store_n(&l->to, NULL, __ATOMIC_RELEASE);
}

/* ---- making ---- */

static void forget(struct tcg *t, struct block *b);

static void set_links(struct block *b, const struct ir_block *ir)
{
    for (unsigned i = 0; i < 2; i++) {
        struct tcg_link *l = &b->exit[i];
        uint64_t here = b->tb.key.pc + b->tb.key.cs_base;
        *l = (struct tcg_link){ .pc = ir->exit[i].pc, .number = i & 1, .ask = true };
        l->same_page = ((l->pc + b->tb.key.cs_base) ^ here) < 4096;
    }
}

static void dump_translated(struct tcg *t, const struct tb *tb, const struct ir_block *ir)
{
    FILE *out = t->opt.dump_to ? t->opt.dump_to : stderr;
    fprintf(out, "OP: 0x%llx, %u instructions\n", (unsigned long long)tb->key.pc, ir->insns);
    ir_dump(ir, out);
    fputc('\n', out);
}

static void check_ir(struct tcg *t, const char *when)
{
    const struct ir_block *ir = t->ir;
    char why[200];
    if (t->opt.verify && !ir_verify(ir, why, sizeof(why))) {
        fprintf(stderr, "tcg: invalid IR %s: %s\n", when, why);
        ir_dump(ir, stderr);
        abort();
    }
}

/* IR of the code at the key, optimised and verified; marks its pages. May raise. */
static void make_ir(struct tcg_cpu *cpu, struct block *b)
{
    struct tcg *t = cpu->tcg;
    struct tb *tb = &b->tb;
    uint64_t phys = tb->key.phys, phys2;
    struct code_page *p = page_at(t, phys, true), *p2;
    bool keep = !(tb->key.cflags & TB_SINGLE), again;
    if (keep && p) {
        page_mark(t, p, phys, chunk_bits(phys & 0xfff, (phys & 0xfff) + 1));
    }
    do {
        again = false;
        ir_block_init(t->ir, tb->key.pc);
        phys2 = NO_PAGE;
        t->target->translate(cpu, &tb->key, t->ir, &tb->len, &phys2);
        if (phys2 != NO_PAGE) {
            block_more(b)->phys2 = phys2;
        }
        tb->insns = (uint16_t)t->ir->insns;
        set_peek(b, t->ir);
        if (keep && p) {
            page_mark(t, p, phys, block_bits(b, 0));
        }
        p2 = keep && phys2 != NO_PAGE ? page_at(t, phys2, true) : NULL;
        if (p2) { /* bytes read before stores there were caught may be old */
            again = page_mark(t, p2, phys2, block_bits(b, 1));
        }
    } while (again);
    check_ir(t, "from the front end");
    if (t->opt.dump & TCG_DUMP_OP) {
        dump_translated(t, tb, t->ir);
    }
    ir_optimise(t->ir, t->opt.passes);
    check_ir(t, "after optimisation");
    if (t->opt.dump & TCG_DUMP_OP_OPT) {
        dump_translated(t, tb, t->ir);
    }
    set_links(b, t->ir);
}

struct block_more *block_more(struct block *b)
{
    if (!b->more) {
        b->more = xcalloc(1, sizeof(*b->more));
        b->more->phys2 = NO_PAGE;
    }
    return b->more;
}

static void more_free(struct block *b)
{
    if (b->more) {
        tci_free(b);
        free(b->more->native);
        free(b->more->site);
        free(b->more);
        b->more = NULL;
    }
}

void block_free(struct block *b)
{
    if (b) {
        more_free(b);
        if (b->tb.key.cflags & TB_SINGLE) {
            free(b);
        }
    }
}

/* The block that was made in block_next's place is one of all. */
static void remember(struct tcg *t)
{
    struct block *b = table_keep(t);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t page = page_of(b, i);
        struct code_page *p = page == NO_PAGE ? NULL : page_at(t, page, true);
        if (p) {
            *next_on_page(b, i) = p->blocks;
            p->blocks = b;
        }
        if (p && i == 0) {
            b->tb.key.page = page_number(t, p, b->tb.key.pc + b->tb.key.cs_base);
        }
    }
    t->stats.blocks++;
    t->stats.guest_bytes += b->tb.len;
    t->stats.host_bytes += b->tb.code_len;
}

static bool compile(struct tcg *t, struct block *b)
{
    if (t->jit) {
        return jit_compile(t, b, t->ir);
    }
    return t->interp_bytes < t->opt.cache_bytes && tci_compile(t, b, t->ir);
}

static struct block *make(struct tcg_cpu *cpu, const struct tb_key *key)
{
    struct tcg *t = cpu->tcg;
    struct block *b = key->cflags & TB_SINGLE ? xcalloc(1, sizeof(*b)) : block_next(t);
    b->tb.key = *key;
    engine_of(cpu)->making = b; /* freed if the target raises */
    make_ir(cpu, b);
    bool ok = key->cflags & TB_SINGLE ? tci_compile(t, b, t->ir) : compile(t, b);
    engine_of(cpu)->making = NULL;
    if (!ok) {
        block_free(b);
        return NULL;
    }
    return b;
}

static void current_key(struct tcg_cpu *cpu, struct tb_key *k)
{
    memset(k, 0, sizeof(*k));
    cpu->tcg->target->key(cpu, k);
    k->mode = (uint32_t)(cpu->tlb - cpu->tlbs);
    k->cflags |= cpu->tcg->opt.icount ? TB_ICOUNT : 0;
}

void engine_lock(struct tcg_cpu *cpu)
{
    pthread_mutex_lock(&cpu->tcg->lock);
    engine_of(cpu)->locked = true;
}

void engine_unlock(struct tcg_cpu *cpu)
{
    engine_of(cpu)->locked = false;
    pthread_mutex_unlock(&cpu->tcg->lock);
}

/* The key says where the first page lies, not the second. May raise. */
static bool second_stands(struct tcg_cpu *cpu, const struct block *b)
{
    uint64_t behind = (b->tb.key.pc + b->tb.key.cs_base + 0x1000) & ~0xfffull;
    return second_page(b) == NO_PAGE ||
           (cpu->tcg->target->fetch(cpu, behind) & ~0xfffull) == page_of(b, 1);
}

struct block *block_find(struct tcg_cpu *cpu, uint32_t cflags)
{
    struct tcg *t = cpu->tcg;
    struct tb_key k;
    current_key(cpu, &k);
    k.cflags |= cflags;
    engine_lock(cpu);
    struct block *b = table_find(t, &k);
    if (b && !second_stands(cpu, b)) {
        forget(t, b);
        b = NULL;
    }
    if (!b) {
        b = make(cpu, &k);
        if (b) {
            remember(t);
        }
    }
    if (b) {
        jc_enter(cpu, b);
    }
    engine_unlock(cpu);
    return b;
}

struct block *block_single(struct tcg_cpu *cpu)
{
    struct tb_key k;
    current_key(cpu, &k);
    k.cflags |= TB_SINGLE;
    engine_lock(cpu);
    struct block *b = make(cpu, &k);
    engine_unlock(cpu);
    return b;
}

/* ---- forgetting ---- */

static void page_list_remove(struct tcg *t, struct block *b, unsigned which)
{
    uint64_t page = page_of(b, which);
    struct code_page *p = page == NO_PAGE ? NULL : page_at(t, page, false);
    if (!p) {
        return;
    }
    struct block **at = &p->blocks;
    while (*at && *at != b) {
        at = next_on_page(*at, part_of(*at, page));
    }
    if (*at) {
        *at = *next_on_page(b, which);
    }
    uint64_t bits = 0;
    for (struct block *o = p->blocks; o;) {
        unsigned i = part_of(o, page);
        bits |= block_bits(o, i);
        o = *next_on_page(o, i);
    }
    __atomic_store_n(&p->chunks, bits, __ATOMIC_SEQ_CST);
}

static void forget(struct tcg *t, struct block *b)
{
    b->stale = true;
    table_remove(t, b);
    unlink_in(t, b);
    unlink_out(t, &b->exit[0]);
    unlink_out(t, &b->exit[1]);
    page_list_remove(t, b, 0);
    if (second_page(b) != NO_PAGE) {
        page_list_remove(t, b, 1);
    }
    jc_forget(t, b);
    t->stats.invalidated++;
}

/* Whether cpu is inside b now: the place it called C from, or what the interpreter runs. */
static bool runs_now(struct tcg_cpu *cpu, const struct block *b)
{
    if (!cpu->tcg->jit) {
        return engine_of(cpu)->now == b;
    }
    const uint8_t *ret = ((const uint8_t *const *)cpu)[-1], *code = b->tb.code;
    return ret > code && ret <= code + b->tb.code_len;
}

static bool invalidate_on_page(struct tcg *t, struct tcg_cpu *cpu, uint64_t page, unsigned from,
                               unsigned to)
{
    struct code_page *p = page_at(t, page, false);
    bool hit = false;
    uint64_t chunks = p ? __atomic_load_n(&p->chunks, __ATOMIC_SEQ_CST) : 0;
    if (!(chunks & chunk_bits(from, to))) {
        if (p && !chunks && __atomic_load_n(&p->armed, __ATOMIC_RELAXED)) {
            page_idle(t, p);
        }
        return false;
    }
    pthread_mutex_lock(&t->lock);
    for (struct block *b = p->blocks, *next; b; b = next) {
        unsigned i = part_of(b, page), lo, hi;
        next = *next_on_page(b, i);
        span_on_page(b, i, &lo, &hi);
        if (from < hi && to > lo) {
            hit |= cpu && !engine_of(cpu)->single && runs_now(cpu, b);
            forget(t, b);
        }
    }
    pthread_mutex_unlock(&t->lock);
    return hit;
}

bool tcg_invalidate(struct tcg *t, struct tcg_cpu *cpu, uint64_t phys, uint64_t len)
{
    bool hit = false;
    while (len) {
        unsigned from = phys & 0xfff;
        uint64_t n = min_u64(4096 - from, len);
        hit |= invalidate_on_page(t, cpu, phys & ~0xfffull, from, from + (unsigned)n);
        phys += n;
        len -= n;
    }
    return hit;
}

void blocks_flush(struct tcg *t)
{
    for (uint32_t n = 0; n < t->blocks; n++) {
        struct block *b = block_at(t, n);
        for (unsigned i = 0; i < 2; i++) {
            uint64_t page = page_of(b, i);
            struct code_page *p = page == NO_PAGE ? NULL : page_at(t, page, false);
            if (p) {
                p->blocks = NULL;
                page_names_free(p);
                __atomic_store_n(&p->chunks, 0, __ATOMIC_SEQ_CST);
            }
        }
        block_free(b);
    }
    table_clear(t);
    t->cache.used = t->cache.thunks;
    t->interp_bytes = 0;
    t->stats.blocks = t->stats.guest_bytes = t->stats.host_bytes = 0;
    t->stats.flushes++;
    for (struct engine_cpu *e = t->cpus; e; e = e->next) {
        tcg_jc_flush(e->cpu);
    }
}

void tcg_flush(struct tcg *t)
{
    pthread_mutex_lock(&t->lock);
    blocks_flush(t);
    pthread_mutex_unlock(&t->lock);
}

void tcg_on_protect(struct tcg *t, tcg_protect_fn fn, void *o)
{
    t->protect = fn;
    t->protect_o = o;
}
