/* SPDX-License-Identifier: MIT */
/* tcg/tb.c - translated blocks: making them, forgetting those whose code changed, and making room.
 *
 * A block is found by its key (RIP, guest-physical address, mode) in a table (table.c); page.c knows which
 * lie on a page, link.c which lead to which.
 */
#include "tcg/tcg-int.h"

#include "dm/base/util.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- forgetting, making room ---- */

void block_forget(struct tcg *t, struct block *b)
{
    b->stale = true;
    table_remove(t, b);
    links_drop(t, b);
    pages_drop(t, b);
    jc_forget(t, b);
    t->stats.invalidated++;
}

static void evict(struct tcg *t, struct tb_region *r)
{
    for (uint32_t n = 0; n < r->blocks; n++) {
        struct block *b = region_block(r, n);
        if (!b->stale) {
            table_remove(t, b);
        }
        b->stale = true;
        t->stats.blocks--;
        t->stats.guest_bytes -= b->tb.len;
        t->stats.host_bytes -= b->tb.code_len;
    }
    for (uint32_t n = 0; n < r->blocks; n++) {
        links_drop(t, region_block(r, n));
        pages_drop(t, region_block(r, n));
    }
    for (uint32_t n = 0; n < r->blocks; n++) {
        page_forget_names(t, region_block(r, n));
        block_free(region_block(r, n));
    }
    r->blocks = 0;
    for (struct engine_cpu *e = t->cpus; e; e = e->next) {
        tcg_jc_flush(e->cpu);
    }
}

static void fill(struct tcg *t, unsigned region)
{
    t->filling = region;
    t->interp_bytes = 0;
    cache_begin(&t->cache, region);
}

static unsigned next_region(const struct tcg *t)
{
    return (t->filling + 1) % t->cache.regions;
}

/* Whether there is another region that holds nothing yet; it is filled from now on. */
static bool fill_empty(struct tcg *t)
{
    bool empty = t->region[next_region(t)].blocks == 0;
    if (empty) {
        fill(t, next_region(t));
    }
    return empty;
}

void blocks_make_room(struct tcg *t)
{
    evict(t, &t->region[next_region(t)]);
    fill(t, next_region(t));
    t->stats.evictions++;
}

void blocks_flush(struct tcg *t)
{
    for (unsigned i = 0; i < t->cache.regions; i++) {
        evict(t, &t->region[i]);
    }
    fill(t, 0);
    t->stats.flushes++;
}

/* ---- making ---- */

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
        page_mark(t, p, phys, page_chunks(phys & 0xfff, (phys & 0xfff) + 1));
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
            page_mark(t, p, phys, block_chunks(b, 0));
        }
        p2 = keep && phys2 != NO_PAGE ? page_at(t, phys2, true) : NULL;
        if (p2) { /* bytes read before stores there were caught may be old */
            again = page_mark(t, p2, phys2, block_chunks(b, 1));
        }
    } while (again);
    check_ir(t, "from the front end");
    bool shows = tcg_shows(t, tb->key.pc);
    if (shows && t->opt.dump & TCG_DUMP_OP) {
        dump_translated(t, tb, t->ir);
    }
    ir_optimise(t->ir, t->opt.passes);
    check_ir(t, "after optimisation");
    if (shows && t->opt.dump & TCG_DUMP_OP_OPT) {
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
    pages_add(t, b);
    t->stats.blocks++;
    t->stats.guest_bytes += b->tb.len;
    t->stats.host_bytes += b->tb.code_len;
}

static bool compile(struct tcg_cpu *cpu, struct block *b)
{
    struct tcg *t = cpu->tcg;
    if (t->jit) {
        return jit_compile(t, b, t->ir, cpu->gpr);
    }
    return t->interp_bytes < t->opt.cache_bytes / t->cache.regions && tci_compile(t, b, t->ir);
}

static struct block *make(struct tcg_cpu *cpu, const struct tb_key *key)
{
    struct tcg *t = cpu->tcg;
    struct block *b = key->cflags & TB_SINGLE ? xcalloc(1, sizeof(*b)) : block_next(t);
    b->tb.key = *key;
    engine_of(cpu)->making = b; /* freed if the target raises */
    make_ir(cpu, b);
    bool ok = key->cflags & TB_SINGLE ? tci_compile(t, b, t->ir) : compile(cpu, b);
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
    return block_page(b, 1) == NO_PAGE ||
           (cpu->tcg->target->fetch(cpu, behind) & ~0xfffull) == block_page(b, 1);
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
        block_forget(t, b);
        b = NULL;
    }
    if (!b) {
        b = make(cpu, &k);
        if (!b && fill_empty(t)) {
            b = make(cpu, &k);
        }
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

/* ---- code that changes ---- */

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
    if (!(chunks & page_chunks(from, to))) {
        if (p && !chunks && __atomic_load_n(&p->armed, __ATOMIC_RELAXED)) {
            page_idle(t, p);
        }
        return false;
    }
    pthread_mutex_lock(&t->lock);
    for (struct block *b = p->blocks, *next; b; b = next) {
        unsigned i = block_part(b, page), lo, hi;
        next = page_next(b, page);
        block_span(b, i, &lo, &hi);
        if (from < hi && to > lo) {
            hit |= cpu && !engine_of(cpu)->single && runs_now(cpu, b);
            block_forget(t, b);
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

void tcg_flush(struct tcg *t)
{
    pthread_mutex_lock(&t->lock);
    blocks_flush(t);
    pthread_mutex_unlock(&t->lock);
}

void tcg_set_dump(struct tcg *t, unsigned dump)
{
    t->opt.dump = dump;
    tcg_flush(t);
}

bool tcg_shows(const struct tcg *t, uint64_t pc)
{
    bool shows = !t->opt.onlys;
    for (unsigned i = 0; i < t->opt.onlys && !shows; i++) {
        shows = pc >= t->opt.only[i].first && pc <= t->opt.only[i].last;
    }
    return shows;
}

void tcg_on_protect(struct tcg *t, tcg_protect_fn fn, void *o)
{
    t->protect = fn;
    t->protect_o = o;
}
