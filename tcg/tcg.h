/* SPDX-License-Identifier: MIT */
/* tcg/tcg.h - the translator engine: code cache, look-up, chaining, the two ways to run a block.
 *
 * The target (target/x86/) owns the CPU struct, whose first member is struct tcg_cpu, and gives the
 * engine a struct tcg_target. One struct tcg serves all vCPUs of a machine; translation and
 * invalidation take its lock; running does not. Generated code knows struct tcg_cpu and nothing else.
 */
#ifndef TCG_TCG_H
#define TCG_TCG_H

#include "tcg/ir.h"

#include <pthread.h>
#include <setjmp.h>

struct tcg;
struct tb;
struct err;

/* ---- what generated code addresses ---- */

union tcg_vec {
    uint8_t b[32];
    uint16_t w[16];
    uint32_t d[8];
    uint64_t q[4];
    float f[8];
    double g[4];
} __attribute__((aligned(32)));

/* Soft TLB. Direct-mapped by linear page. A tag is the page's linear address when that kind of
 * access is plain, or tcg_tlb_never of the slot. Entries are written by their own vCPU only. */
#define TLB_BITS 12
#define TLB_SIZE (1u << TLB_BITS)
/* A page that has another slot than this one and the next (an access across two pages looks in the
 * first one's slot with the second one's address): nothing compares equal, hostile addresses neither. It is 0 for
 * all slots but two, so that new memory is an empty table and what is not used stays untouched. */
static inline uint64_t tcg_tlb_never(unsigned slot)
{
    return ((slot + 1) & (TLB_SIZE - 1)) > 1 ? 0 : 0x2000;
}
/* Every access of translated code reads a tag and to_host: of one slot they do not lie in the same set of
 * the processor's first cache. */
enum { TLB_GAP = 2048 + 64 };
struct tcg_tlb {
    uint64_t read[TLB_SIZE];
    uint8_t gap_read[TLB_GAP];
    uint64_t to_host[TLB_SIZE]; /* added to linear: where the byte is in our memory */
    uint8_t gap_to_host[TLB_GAP];
    uint64_t write[TLB_SIZE];
    uint64_t exec[TLB_SIZE]; /* only C looks */
};
/* Which protection its tags were made for. KERNEL_AC: the supervisor while it may reach user pages in
 * spite of SMAP. */
enum { TLB_KERNEL, TLB_USER, TLB_KERNEL_AC, TLB_MODES };

/* Jump cache: where the block for a RIP lies, for indirect jumps and far direct ones. Valid for the
 * vCPU's present mode only: the target empties them when mode, CS base or mappings change. */
#define JC_BITS 14
#define JC_SIZE (1u << JC_BITS)
/* What an empty entry holds: a RIP of another slot, so that none is taken for it. */
#define JC_EMPTY(slot) ((slot) & ~2u ? 0ull : 16ull)
struct tcg_jc_entry {
    uint64_t pc; /* RIP, or JC_EMPTY */
    const void *code;
};

/* The second jump cache, for what another RIP drove out of the first. One for all modes: an entry is right
 * while its age is that of its mode, so that emptying costs nothing. */
#define JC2_BITS 16
#define JC2_SIZE (1u << JC2_BITS)
struct tcg_jc2_entry {
    uint64_t pc;   /* RIP, or JC_EMPTY */
    uint32_t code; /* where in the code cache */
    uint32_t age;
};

/* Which code lies behind a linear page now: a number that the engine gives each pair of a linear and a
 * guest-physical page, or 0: not known. Direct jumps to another page look here. Emptied with the jump
 * cache, because it becomes wrong with it. */
#define CODE_PAGE_BITS 14
#define CODE_PAGES (1u << CODE_PAGE_BITS)

/* Where calls will return to, as the blocks that made them know it, by the stack pointer in front of the
 * call: no order that a switch of stacks could upset. cell is the place in the code cache of a pointer to
 * the code, so that what is said there changes with the links. Right while age is the mode's, as in the
 * second jump cache. */
#define RET_SIZE 256u
struct tcg_ret_entry {
    uint64_t pc;
    uint32_t cell, age;
};

struct tcg_cpu {
    uint64_t gpr[16];     /* x86 numbering: rax rcx rdx rbx rsp rbp rsi rdi r8.. */
    uint64_t pc;          /* RIP; exact whenever C code of the target runs */
    uint64_t flags;       /* the six arithmetic flags, in EFLAGS' places */
    uint64_t seg_base[6]; /* ES CS SS DS FS GS */
    union tcg_vec vec[16];
    uint32_t mxcsr;
    bool x87_live;  /* x87/MMX state is in this thread's processor, not in the target's struct */
    bool vec_live;  /* vectors and MXCSR are in the processor, not here; never while C code runs */
    bool vec_again; /* the generator's: they were before it called C code */
    int32_t exit_request;    /* atomic; not 0: leave translated code at the next block boundary */
    struct tcg_tlb *tlb;     /* of the present protection mode */
    struct tcg_jc_entry *jc; /* the engine takes jcs[mode of the block] */
    int64_t icount_left;     /* with icount: instructions until the next forced exit */
    struct tcg *tcg;
    void *engine;       /* the engine's own for this vCPU */
    uint64_t slow_addr; /* linear address of an access that leaves translated code */
    uint32_t slow_size, slow_op;
    uint32_t uncounted; /* the generator's: groups across two pages until one is counted */
    uint64_t arg[3];    /* of a C function that translated code calls; its result */
    const void *call_fn;
    uint32_t mxcsr_host;                              /* for C code */
    uint8_t bounce[128] __attribute__((aligned(64))); /* operands that are not plain memory */
    sigjmp_buf unwind;                                /* set by tcg_run; tcg_raise goes there */
    uint64_t host_sp;                                 /* of the generator's frame */
    uint64_t spill[32];                               /* the generator's */
    struct tcg_tlb tlbs[TLB_MODES];
    struct tcg_jc_entry jcs[TLB_MODES][JC_SIZE]; /* a block belongs to one protection mode */
    struct tcg_jc2_entry jc2[JC2_SIZE];
    uint32_t jc2_age[TLB_MODES];
    struct tcg_ret_entry ret[TLB_MODES][RET_SIZE];
    uint32_t code_page[TLB_MODES][CODE_PAGES];
    uint64_t stat[16]; /* counters, see tcg-stats in docs/translator.md */
};

/* ---- blocks ---- */

/* What makes two pieces of code the same translation. */
struct tb_key {
    uint64_t pc; /* RIP */
    uint64_t cs_base;
    uint64_t phys;   /* guest-physical address of the first byte */
    uint32_t flags;  /* the target's mode bits */
    uint32_t cflags; /* TB_SINGLE: one instruction, not kept; TB_ICOUNT; TB_APART: each access is
                      * looked up by itself; limit in bits 15..8 */
    uint32_t mode;   /* TLB_KERNEL ...; the engine fills it in from cpu->tlb */
    uint32_t page;   /* what cpu->code_page says when a jump here is right; follows from the rest */
};
enum { TB_SINGLE = 1, TB_ICOUNT = 2, TB_APART = 4 };

struct tb {
    struct tb_key key;
    const void *code; /* host code (generator) or compiled IR (interpreter) */
    uint32_t code_len;
    uint16_t len; /* guest bytes */
    uint16_t insns;
};

/* ---- what the target does for the engine ---- */

enum tcg_unit { TCG_SIMD, TCG_X87, TCG_DIVIDER };
struct tcg_target {
    const char *name;
    size_t cpu_size;
    /* Decodes from key->pc into b, and says how many guest bytes and which second page. Faults on
     * fetching the first instruction are raised (tcg_raise); later ones end the block before. */
    void (*translate)(struct tcg_cpu *cpu, const struct tb_key *key, struct ir_block *b,
                      uint16_t *len, uint64_t *phys2);
    /* Guest-physical address of code at a linear one; may raise a fetch fault. NULL: no block lies on two
     * pages. */
    uint64_t (*fetch)(struct tcg_cpu *cpu, uint64_t linear);
    /* The key for cpu->pc as the CPU stands now; may raise a fetch fault. */
    void (*key)(struct tcg_cpu *cpu, struct tb_key *key);
    /* TLB misses and everything not plain: size 1..8 (loads return zero-extended). Exact RIP is in
     * cpu->pc. A store that hits translated code calls tcg_invalidate itself. */
    uint64_t (*load)(struct tcg_cpu *cpu, uint64_t linear, unsigned size);
    void (*store)(struct tcg_cpu *cpu, uint64_t linear, unsigned size, uint64_t val);
    /* size 1..128 bytes for NATIVE operands: bytes to or from buf. probe: only the fault check. */
    void (*load_bytes)(struct tcg_cpu *cpu, uint64_t linear, void *buf, unsigned size);
    void (*store_bytes)(struct tcg_cpu *cpu, uint64_t linear, const void *buf, unsigned size);
    void (*probe_write)(struct tcg_cpu *cpu, uint64_t linear, unsigned size);
    /* Memory of [linear, linear + size), a page at most, if such accesses are plain now or become so by
     * entering the page into cpu->tlb; NULL when they are not, or one would fault. Raises nothing, and
     * changes nothing that a load from there would not. */
    void *(*plain)(struct tcg_cpu *cpu, uint64_t linear, unsigned size, bool write);
    /* Atomic read-modify-write: host pointer that holds linear .. +size for writing, with what code it
     * hits gone, or NULL when it is not plain or crosses a page (then the others stand aside). */
    void *(*host_write)(struct tcg_cpu *cpu, uint64_t linear, unsigned size);
    /* begin: when this returns no other CPU is in guest code, or comes there, until the same with end.
     * NULL: there is but one. */
    void (*alone)(struct tcg_cpu *cpu, bool begin);
    /* Under NATIVE with x87: the state must be in the processor (true) or in memory (false). */
    void (*x87_sync)(struct tcg_cpu *cpu, bool to_processor);
    /* SIGFPE in translated code: #XM, #MF or #DE; does not return. */
    void (*fp_exception)(struct tcg_cpu *cpu, enum tcg_unit unit);
    void (*unaligned)(struct tcg_cpu *cpu,
                      uint64_t linear); /* IR_MEM_ALIGN violated: #GP; no return */
    void (*disas)(FILE *out, uint64_t pc, const uint8_t *code, unsigned len, uint32_t flags);
    /* Host code as text for -d out_asm; NULL: bytes are shown. */
    void (*host_disas)(FILE *out, uint64_t pc, const uint8_t *code, unsigned len);
};

/* ---- the engine ---- */

enum tcg_engine { TCG_JIT, TCG_INTERP };
struct tcg_range {
    uint64_t first, last;
};
/* How look-ups cut a slot's number out of an address. Tests ask for what other processors do. */
enum tcg_slots { TCG_SLOTS_QUICKEST, TCG_SLOTS_BEXTR, TCG_SLOTS_RORX, TCG_SLOTS_SHR };

struct tcg_options {
    enum tcg_engine engine;
    size_t cache_bytes; /* tb-size, 0: 64 MiB */
    unsigned passes;    /* enum ir_pass, PASS_ALL by default */
    unsigned dump;      /* TCG_DUMP_* */
    FILE *dump_to;
    const struct tcg_range *only; /* RIPs of the blocks that are dumped; the caller's */
    unsigned onlys;               /* 0: all are */
    bool perf_map;                /* /tmp/perf-PID.map */
    bool icount;
    bool verify; /* holds every block to the IR's rules; aborts: for tests */
    enum tcg_slots slots;
};
enum {
    TCG_DUMP_IN = 1,
    TCG_DUMP_OP = 2,
    TCG_DUMP_OP_OPT = 4,
    TCG_DUMP_OUT = 8,
    TCG_DUMP_EXEC = 16
};

struct tcg *tcg_new(const struct tcg_target *t, const struct tcg_options *o, struct err *e);
void tcg_free(struct tcg *t);
const struct tcg_target *tcg_target(const struct tcg *t);

/* A zeroed CPU of target->cpu_size, aligned, whose tcg_cpu part is ready to run. */
struct tcg_cpu *tcg_cpu_new(struct tcg *t);
void tcg_cpu_free(struct tcg_cpu *cpu);

/* Runs translated code from cpu->pc until something needs the target: an exit request, EXIT, a raised
 * exception. All state is in memory on return. Returns why. */
enum tcg_exit { TCG_EXIT_REQUEST, TCG_EXIT_BLOCK, TCG_EXIT_RAISED, TCG_EXIT_ICOUNT };
enum tcg_exit tcg_run(struct tcg_cpu *cpu);
/* One instruction, never chained (self-modifying code, single step). */
enum tcg_exit tcg_run_one(struct tcg_cpu *cpu);

/* From a helper or a target callback inside tcg_run: makes state exact as of the instruction that
 * called (its RIP in cpu->pc) and unwinds to tcg_run, which returns TCG_EXIT_RAISED. What was raised is
 * the target's to remember. */
void tcg_raise(struct tcg_cpu *cpu) __attribute__((noreturn));
/* From a helper or callback: RIP of the calling instruction into cpu->pc, without unwinding. */
void tcg_sync_pc(struct tcg_cpu *cpu);

/* From any thread. */
void tcg_kick(struct tcg_cpu *cpu);

/* Guest-physical [phys, phys+len) changed or is about to: blocks made from those bytes go
 * (fine-grained). Returns true when one of them is the block cpu runs now: before anything was stored
 * the caller then uses tcg_retry_single. cpu may be NULL. */
bool tcg_invalidate(struct tcg *t, struct tcg_cpu *cpu, uint64_t phys, uint64_t len);
/* From a helper or callback inside tcg_run: forgets what the current instruction did so far (nothing
 * that shows) and runs it once more, translated by itself; then goes on behind it. */
void tcg_retry_single(struct tcg_cpu *cpu) __attribute__((noreturn));
/* From a helper: what is done until tcg_together no other CPU sees half of. Faults were looked for
 * before; one that comes all the same ends it. */
void tcg_alone(struct tcg_cpu *cpu);
void tcg_together(struct tcg_cpu *cpu);
/* Whether any block was made from bytes of this 4 KiB page: stores to it must not be plain. */
bool tcg_page_has_code(struct tcg *t, uint64_t phys);
void tcg_flush(struct tcg *t); /* everything; when no vCPU is inside tcg_run */
/* TCG_DUMP_* from now on; the same holds. */
void tcg_set_dump(struct tcg *t, unsigned dump);
/* Whether a block at pc is one of those that are dumped and logged. */
bool tcg_shows(const struct tcg *t, uint64_t pc);

/* The vCPU's own translations of addresses; called by that vCPU's thread. */
void tcg_tlb_flush(struct tcg_cpu *cpu);
void tcg_tlb_flush_page(struct tcg_cpu *cpu, uint64_t linear);
void tcg_jc_flush(struct tcg_cpu *cpu);
void tcg_jc_flush_mode(struct tcg_cpu *cpu, unsigned mode); /* TLB_KERNEL ... */
static inline unsigned tcg_tlb_slot(uint64_t linear)
{
    return (linear >> 12) & (TLB_SIZE - 1);
}
/* Where the byte at linear is in our memory, if a tag of its slot says that it is plain. */
static inline uint8_t *tcg_tlb_host(const struct tcg_tlb *tlb, uint64_t linear)
{
    return (uint8_t *)(uintptr_t)(tlb->to_host[tcg_tlb_slot(linear)] + linear);
}
/* Enters the page that holds linear into a table (cpu->tlb is the present mode's). host_page: its
 * memory; which accesses are plain. */
static inline void tcg_tlb_set(struct tcg_tlb *tlb, uint64_t linear, uint8_t *host_page, bool read,
                               bool write, bool exec)
{
    unsigned slot = tcg_tlb_slot(linear);
    uint64_t page = linear & ~0xfffull, never = tcg_tlb_never(slot);
    tlb->read[slot] = read ? page : never;
    tlb->to_host[slot] = (uint64_t)(uintptr_t)host_page - page;
    tlb->write[slot] = write ? page : never;
    tlb->exec[slot] = exec ? page : never;
}
/* The page got its first block: every vCPU must drop write tags for it. The target implements
 * this by walking its vCPUs' TLBs (own vCPU) and asking others; called with the lock held. */
typedef void (*tcg_protect_fn)(void *o, uint64_t phys);
void tcg_on_protect(struct tcg *t, tcg_protect_fn fn, void *o);

struct tcg_stats {
    uint64_t blocks, guest_bytes, host_bytes, flushes, evictions, invalidated, chained;
    uint64_t misfits; /* blocks that their groups of accesses did not fit */
};
void tcg_get_stats(struct tcg *t, struct tcg_stats *s); /* for `info jit` */

#endif
