/* SPDX-License-Identifier: MIT */
/* tcg/tcg-int.h - what the engine's files share: blocks with their links, the cache, a vCPU's part.
 *
 * run.c is the loop; tb.c makes and forgets blocks, table.c finds them, page.c and link.c know where they lie
 * and which lead to which; cache.c owns the memory that host code lies in; interp.c and x86-64/ are the two ways
 * to run a block.
 *
 * Locking: struct tcg's lock covers everything that more than one vCPU may change: the table of blocks,
 * the pages, the cache, links. Running code takes no lock. A block that became stale keeps its
 * memory until its region is emptied, because some vCPU may still be inside.
 */
#ifndef TCG_TCG_INT_H
#define TCG_TCG_INT_H

#include "tcg/tcg.h"

struct block;

/* Of an offset in a block's code: far more than the operations of one take. */
enum { LINK_STUB_BITS = 21 };

/* A way out of a block to a RIP known when it was made. Places are offsets in the block's code. */
struct tcg_link {
    struct block *to;         /* NULL until linked */
    struct tcg_link *next_in; /* others that lead to the same block */
    uint64_t pc;
    uint32_t slot;                      /* the rel32 that is patched; 0: never linked */
    uint32_t stub : LINK_STUB_BITS;     /* where the slot leads while it is not linked */
    uint32_t number : 1, same_page : 1; /* number: its place in the block's exit[] */
    uint32_t returns : 1; /* of a call, to what follows it: the slot is a pointer that RET finds */
    bool ask;             /* to another page: worth trying to link; read without the lock */
};
_Static_assert(sizeof(struct tcg_link) == 32, "block descriptors are most of the engine's memory");

/* Host code position to guest RIP, for signals: ascending. */
struct tcg_site {
    uint32_t host;   /* offset in the block's code */
    bool flags_live; /* F is in the processor's EFLAGS there */
    bool x87;
    uint64_t pc;
};

/* What few blocks have. */
struct block_more {
    uint64_t phys2;             /* second page the code lies on, or UINT64_MAX */
    struct block *next_on_page; /* there */
    struct tcg_site *site;
    unsigned sites;
    struct ir_native *native; /* descriptions its code refers to */
    void *interp;             /* struct tci_code when the interpreter runs it */
};

/* There are hundreds of thousands of them: nothing is here that can be reckoned from the rest. */
struct block {
    struct tb tb;                /* first */
    uint16_t peek_from, peek_to; /* bytes of the first page that liveness was read from */
    uint8_t vec_skip; /* bytes of code that a block which has the vectors live jumps over */
    bool vec_out;     /* has them live where it ends */
    bool stale;       /* invalidated */
    struct tcg_link exit[2], *in;
    struct block *next_on_page; /* on the first page */
    struct block_more *more;    /* or NULL */
};
_Static_assert(sizeof(struct block) <= 152, "block descriptors are most of the engine's memory");

static inline struct block *link_from(const struct tcg_link *l)
{
    return (struct block *)((uintptr_t)(l - l->number) - offsetof(struct block, exit));
}

/* The cache is filled region by region. When it is full, the blocks of the oldest region go. */
enum { MAX_REGIONS = 16, REGION_MIN = 1 << 20, REGION_BLOCKS = 1 << 27 };
struct tb_region {
    struct block **chunk; /* its blocks in the order of their making: ascending host code */
    uint32_t chunks, blocks;
};

struct tb_slot {
    uint32_t hash,
        number; /* number: region * REGION_BLOCKS + the block's place there + 1; 0: free */
};
struct tb_table {
    struct tb_slot *slot;
    uint32_t mask, used, live; /* slots less 1; those that are not free; those with a block */
};

/* A linear page at which a guest-physical one was seen. */
struct page_name {
    uint64_t linear;
    uint32_t number; /* of struct tcg's page_names */
    uint32_t blocks; /* on the page's list that have it */
    struct page_name *next;
};

/* A guest-physical page that blocks were made from. */
struct code_page {
    uint64_t chunks; /* 64-byte pieces with code: atomic, read without the lock */
    bool armed;   /* atomic: stores are not plain. Stays for a while when the last block is gone */
    uint8_t idle; /* stores since then */
    struct block *blocks;
    struct page_name *names; /* the newest first */
};

struct tcg_cache {
    uint8_t *rw, *rx;     /* the same memory twice; NULL: the interpreter alone */
    size_t bytes, thunks; /* thunks: bytes at the start that stay */
    size_t used, end;     /* offsets: of what comes next, of the end of the region that is filled */
    size_t huge;          /* bytes at the start that were asked to be huge pages */
    unsigned regions;     /* at least 1 */
};

enum { L1_BITS = 14, L2_BITS = 18 };

/* Groups across two pages, as the generator sees them (x86-64/misfit.c). */
struct misfit_count {
    const void *host; /* where */
    uint64_t since;   /* TSC */
    unsigned n;
};
enum { MISFIT_COUNTS = 64 };

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
    uint16_t jc_list[TLB_MODES][2048];
    unsigned code_filled[TLB_MODES]; /* the same of cpu->code_page */
    uint16_t code_list[TLB_MODES][1024];
    uint32_t jc2_ages;                         /* given out */
    struct misfit_count misfit[MISFIT_COUNTS]; /* by a hash of host */
};

struct tcg {
    const struct tcg_target *target;
    struct tcg_options opt;
    pthread_mutex_t lock; /* recursive: a page walk during translation may invalidate */
    struct tcg_cache cache;
    struct tb_region region[MAX_REGIONS]; /* cache.regions of them */
    unsigned filling;                     /* the newest of them */
    size_t interp_bytes;                  /* what it holds when there is no generator */
    struct tb_table table;
    struct code_page **l1[1 << L1_BITS]; /* by guest-physical address */
    uint32_t page_names; /* numbers given out; none twice: what is left of old ones does no harm */
    struct engine_cpu *cpus;
    struct ir_block *ir; /* scratch, under the lock */
    int room_wanted;     /* atomic */
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

/* Into how many regions so many bytes are divided. */
unsigned cache_regions(size_t bytes);
/* c->regions is known. 0, or -errno with e: no executable memory. */
int cache_init(struct tcg_cache *c, size_t bytes, struct err *e);
void cache_fini(struct tcg_cache *c);
/* The next code goes to the start of this region, behind the thunks. */
void cache_begin(struct tcg_cache *c, unsigned region);
/* The region that holds this address of the executable view. */
unsigned cache_region_at(const struct tcg_cache *c, const void *rx);
/* Before `need` bytes behind `used` are written. */
void cache_grow(struct tcg_cache *c, size_t need);
static inline uint8_t *cache_rw(const struct tcg_cache *c, const void *rx)
{
    return c->rw + ((const uint8_t *)rx - c->rx);
}

/* ---- tb.c ---- */

/* The block for cpu->pc as the CPU stands, made if need be; cflags: 0 or TB_APART; may raise. NULL: the
 * cache is full. */
struct block *block_find(struct tcg_cpu *cpu, uint32_t cflags);
/* A block of one instruction for the interpreter; the caller frees it. */
struct block *block_single(struct tcg_cpu *cpu);
/* Gives back what b holds, and b itself if it is not one of those kept. NULL is nothing. */
void block_free(struct block *b);
/* Nothing leads to b any more; who is inside goes on. Under the lock. */
void block_forget(struct tcg *t, struct block *b);
/* The rare part, made if need be. */
struct block_more *block_more(struct block *b);
void engine_lock(struct tcg_cpu *cpu);
void engine_unlock(struct tcg_cpu *cpu);
/* Forgets the blocks of the oldest region, which is filled anew; when no vCPU is inside. */
void blocks_make_room(struct tcg *t);
void blocks_flush(struct tcg *t);

/* ---- page.c: under the lock ---- */

#define NO_PAGE UINT64_MAX
/* The guest-physical address of the block's first page (0) or second one (1, or NO_PAGE). */
static inline uint64_t block_page(const struct block *b, unsigned which)
{
    uint64_t phys = which == 0 ? b->tb.key.phys : b->more ? b->more->phys2 : NO_PAGE;
    return phys == NO_PAGE ? NO_PAGE : phys & ~0xfffull;
}
/* Which of its pages this one is. */
static inline unsigned block_part(const struct block *b, uint64_t page)
{
    return block_page(b, 0) == page ? 0 : 1;
}
/* NULL when there is none and !make, or beyond what the table covers; without make also without the lock. */
struct code_page *page_at(struct tcg *t, uint64_t phys, bool make);
void pages_free(struct tcg *t);
/* Bits of the chunks that [from, to) of a page touches; to <= 4096. */
uint64_t page_chunks(unsigned from, unsigned to);
/* Marks code; true: the target was told now that stores there are not plain. */
bool page_mark(struct tcg *t, struct code_page *p, uint64_t phys, uint64_t chunks);
/* A store, without the lock, to a page whose blocks are all gone. */
void page_idle(struct tcg *t, struct code_page *p);
/* The bytes of page `which` that b was made from or that liveness was read from, as [from, to); their chunks. */
void block_span(const struct block *b, unsigned which, unsigned *from, unsigned *to);
uint64_t block_chunks(const struct block *b, unsigned which);
/* Puts b on the lists of its pages and says which name its first page has; takes it off when it is stale. */
void pages_add(struct tcg *t, struct block *b);
void pages_drop(struct tcg *t, struct block *b);
struct block *page_next(struct block *b, uint64_t page);
/* Forgets names of b's first page that no block has. */
void page_forget_names(struct tcg *t, const struct block *b);

/* ---- link.c: under the lock ---- */

/* Makes `from` lead straight to `to` if that stays right for good. */
void block_link(struct tcg *t, struct tcg_link *from, struct block *to);
/* Of a stale block: what leads to it and where it leads. */
void links_drop(struct tcg *t, struct block *b);

/* ---- table.c: under the lock ---- */

struct block *region_block(const struct tb_region *r, uint32_t n);
/* Room for the next block, zeroed; table_keep makes it one of its region's, found by its key. */
struct block *block_next(struct tcg *t);
struct block *table_keep(struct tcg *t);
struct block *table_find(const struct tcg *t, const struct tb_key *k); /* or NULL */
void table_remove(struct tcg *t, const struct block *b);
void table_fini(struct tcg *t);
struct block *block_by_host(const struct tcg *t, const void *host); /* or NULL */

/* ---- jc.c ---- */

void jc_init(struct tcg_cpu *cpu);
void jc_enter(struct tcg_cpu *cpu, struct block *b);
void jc_forget(struct tcg *t, struct block *b);
/* A product of which the bits above a sixteenth's are taken: all bits of pc count, functions, which begin
 * at multiples of 16, use all slots, and what is left of the product is the entry's offset. */
enum { JC_MULTIPLIER = 9 };
static inline unsigned jc2_slot(uint64_t pc)
{
    return (unsigned)(pc * JC_MULTIPLIER / sizeof(struct tcg_jc2_entry)) & (JC2_SIZE - 1);
}
static inline unsigned jc_slot(uint64_t pc)
{
    return (unsigned)(pc * JC_MULTIPLIER / sizeof(struct tcg_jc_entry)) & (JC_SIZE - 1);
}

/* A number that no page has. */
#define CODE_PAGE_NEVER UINT32_MAX
static inline unsigned code_page_slot(uint64_t linear)
{
    return (unsigned)(linear >> 12 ^ linear >> (12 + CODE_PAGE_BITS)) & (CODE_PAGES - 1);
}
enum { JC_APART = 2 };
/* A block of TB_APART stands where no jump to that RIP looks; an empty entry there holds another one. */
static inline unsigned jc_slot_of(const struct tb_key *k)
{
    return jc_slot(k->pc) ^ (k->cflags & TB_APART ? JC_APART : 0);
}
/* Code of the TB_APART block for cpu->pc that the jump cache knows, or NULL. */
const void *jc_apart(const struct tcg_cpu *cpu);

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
enum leave {
    LEAVE_LOOKUP,
    LEAVE_BLOCK,
    LEAVE_REQUEST,
    LEAVE_ICOUNT,
    LEAVE_APART, /* LOOKUP of a block in which each access is looked up by itself */
};
/* Runs from b; *link: the way out that was taken when it is LEAVE_LOOKUP, or NULL. */
enum leave tci_run(struct tcg_cpu *cpu, struct block *b, struct tcg_link **link);

/* ---- x86-64/ ---- */

struct jit *jit_new(struct tcg *t, struct err *e);
void jit_free(struct jit *j);
/* gpr: what the guest's registers hold now, a hint. False: no room in the cache. */
bool jit_compile(struct tcg *t, struct block *b, struct ir_block *ir, const uint64_t *gpr);
enum leave jit_run(struct tcg_cpu *cpu, const void *code, struct tcg_link **link);
/* Points the jump of a link, or its pointer, at host code (executable view). */
void jit_patch(struct tcg *t, struct tcg_link *l, const uint8_t *target);
/* Of a link to another page: whether its look at cpu->code_page is for this number, which the first call
 * decides for good: somebody may stand between the look and the jump. */
bool jit_guard(struct tcg *t, const struct tcg_link *l, uint32_t page);
extern const bool jit_exists; /* false: no generator for this host */

#endif
