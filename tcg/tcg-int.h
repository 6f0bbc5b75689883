/* SPDX-License-Identifier: MIT */
/* tcg/tcg-int.h - what the engine's files share: blocks with their links, the cache, a vCPU's part.
 *
 * run.c is the loop; tb.c finds, makes and forgets blocks; cache.c owns the memory that host code lies
 * in; interp.c and x86-64/ are the two ways to run a block.
 *
 * Locking: struct tcg's lock covers everything that more than one vCPU may change: the table of blocks,
 * the pages, the cache, links. Running code takes no lock. A block that became stale keeps its
 * memory until the next flush, because some vCPU may still be inside.
 */
#ifndef TCG_TCG_INT_H
#define TCG_TCG_INT_H

#include "tcg/tcg.h"

struct block;

/* A way out of a block to a RIP known when it was made. */
struct tcg_link {
    struct block *from, *to;  /* to: NULL until linked */
    struct tcg_link *next_in; /* others that lead to the same block */
    uint64_t pc;
    uint8_t *slot; /* rel32 that is patched (writable view), NULL: never linked */
    uint8_t *stub; /* where the slot leads while it is not linked (executable view) */
    bool same_page;
};

/* Host code position to guest RIP, for signals: ascending. */
struct tcg_site {
    uint32_t host;   /* offset in the block's code */
    bool flags_live; /* F is in the processor's EFLAGS there */
    bool x87;
    uint64_t pc;
};

struct block {
    struct tb tb; /* first */
    struct tcg *tcg;
    struct block *next_hash, *next_stale, *next_all;
    struct block *next_on_page[2];
    struct tcg_link exit[2], *in;
    uint8_t vec_skip; /* bytes of code that a block which has the vectors live jumps over */
    bool vec_out;     /* has them live where it ends */
    uint16_t peek_from, peek_to; /* bytes of the first page that liveness was read from */
    struct tcg_site *site;
    unsigned sites;
    struct ir_native *native; /* descriptions its code refers to */
    void *interp;             /* struct tci_code when the interpreter runs it */
};

/* A guest-physical page that blocks were made from. */
struct code_page {
    uint64_t chunks; /* 64-byte pieces with code: atomic, read without the lock */
    bool armed;   /* atomic: stores are not plain. Stays for a while when the last block is gone */
    uint8_t idle; /* stores since then */
    struct block *blocks;
};

struct tcg_cache {
    uint8_t *rw, *rx;           /* the same memory twice */
    size_t bytes, used, thunks; /* thunks: bytes at the start that stay */
};

enum { HASH_BITS = 16, L1_BITS = 14, L2_BITS = 18 };

struct engine_cpu {
    struct tcg_cpu *cpu;
    struct engine_cpu *next;
    int inside;                 /* atomic: in tcg_run */
    bool locked;                /* holds the lock while calling the target */
    bool alone;                 /* tcg_alone */
    bool single;                /* runs a block of one instruction */
    struct block *making, *one; /* freed when the target unwinds */
    void *map;
    size_t map_bytes;
    struct block *now;             /* interpreter: the block it runs */
    struct tcg_link *taken;        /* interpreter: the way out that had no block behind it */
    unsigned jc_filled[TLB_MODES]; /* entries in jc_list, or more than fit */
    uint16_t jc_list[TLB_MODES][512];
};

struct tcg {
    const struct tcg_target *target;
    struct tcg_options opt;
    pthread_mutex_t lock; /* recursive: a page walk during translation may invalidate */
    struct tcg_cache cache;
    size_t interp_bytes;
    struct block *hash[1 << HASH_BITS];
    struct block *all;                   /* newest first: descending host code */
    struct code_page **l1[1 << L1_BITS]; /* by guest-physical address */
    struct engine_cpu *cpus;
    struct ir_block *ir; /* scratch, under the lock */
    int flush_wanted;    /* atomic */
    tcg_protect_fn protect;
    void *protect_o;
    struct tcg_stats stats;
    FILE *perf_map;
    /* The generator's thunks; NULL with the interpreter alone. */
    struct jit *jit;
};

static inline struct engine_cpu *engine_of(struct tcg_cpu *cpu)
{
    return cpu->engine;
}

/* ---- cache.c ---- */

/* 0, or -errno with e: no executable memory. */
int cache_init(struct tcg_cache *c, size_t bytes, struct err *e);
void cache_fini(struct tcg_cache *c);
static inline uint8_t *cache_rw(const struct tcg_cache *c, const void *rx)
{
    return c->rw + ((const uint8_t *)rx - c->rx);
}

/* ---- tb.c ---- */

/* The block for cpu->pc as the CPU stands, made if need be; may raise. NULL: the cache is full. */
struct block *block_find(struct tcg_cpu *cpu);
/* A block of one instruction for the interpreter; the caller frees it. */
struct block *block_single(struct tcg_cpu *cpu);
void block_free(struct tcg *t, struct block *b);
void engine_lock(struct tcg_cpu *cpu);
void engine_unlock(struct tcg_cpu *cpu);
/* Makes `from` lead straight to `to` if that stays right for good. */
void block_link(struct tcg *t, struct tcg_link *from, struct block *to);
void blocks_flush(struct tcg *t);
struct block *block_by_host(struct tcg *t, const void *host);

/* ---- jc.c ---- */

void jc_enter(struct tcg_cpu *cpu, struct block *b);
void jc_forget(struct tcg *t, struct block *b);
/* Functions begin at multiples of 16: the page's number spreads them. */
static inline unsigned jc_slot(uint64_t pc)
{
    return (unsigned)(pc ^ pc >> JC_BITS) & (JC_SIZE - 1);
}

/* ---- slow.c: what both engines do by calling C ---- */

/* A_RMW and A_CMPXCHG with C code. op: IR operation; returns the old value; flags in *flags. */
uint64_t slow_rmw(struct tcg_cpu *cpu, uint64_t linear, unsigned op, unsigned size, uint64_t val,
                  uint32_t *flags);
uint64_t slow_xchg(struct tcg_cpu *cpu, uint64_t linear, unsigned size, uint64_t val);
/* NATIVE by its C meaning; linear and align: of its memory operand, if there is one. */
void native_by_c(struct tcg_cpu *cpu, const struct ir_native *n, uint64_t linear, bool align);
uint64_t slow_cmpxchg(struct tcg_cpu *cpu, uint64_t linear, unsigned size, uint64_t expect,
                      uint64_t val);

/* ---- interp.c ---- */

/* Compiles b->... from ir; what it needs of ir is copied. */
bool tci_compile(struct tcg *t, struct block *b, const struct ir_block *ir);
void tci_free(struct block *b);
/* Why a run came back. */
enum leave { LEAVE_LOOKUP, LEAVE_BLOCK, LEAVE_REQUEST, LEAVE_ICOUNT };
/* Runs from b; *link: the way out that was taken when it is LEAVE_LOOKUP, or NULL. */
enum leave tci_run(struct tcg_cpu *cpu, struct block *b, struct tcg_link **link);

/* ---- x86-64/ ---- */

struct jit *jit_new(struct tcg *t, struct err *e);
void jit_free(struct jit *j);
/* False: no room in the cache. */
bool jit_compile(struct tcg *t, struct block *b, struct ir_block *ir);
enum leave jit_run(struct tcg_cpu *cpu, const void *code, struct tcg_link **link);
/* Points the jump of a link at host code (executable view). */
void jit_patch(struct tcg_link *l, const uint8_t *target);
extern const bool jit_exists; /* false: no generator for this host */

#endif
