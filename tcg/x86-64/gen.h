/* SPDX-License-Identifier: MIT */
/* tcg/x86-64/gen.h - the x86-64 generator's parts.
 *
 * Homes while translated code runs: RAX RCX RDX RBX RBP RSI RDI R8..R11 are the guest's own; guest RSP
 * is in R13; guest R12..R15 stay in struct tcg_cpu, which host RSP points at. R12, R14 and R15 are
 * scratch. Vector registers, MXCSR and (lazily) the x87 are the guest's own. Flags live in EFLAGS within
 * a block as far as nothing clobbers them, else in cpu->flags, where they always are between blocks.
 *
 * gen.c drives and allocates; lookup.c finds operands in memory, group.c several at once and misfit.c
 * where that fails; alu.c, mem.c, native.c, call.c and exit.c write code for groups of operations; flags.c
 * moves F; thunk.c has the common code and the way in and out; signal.c answers SIGFPE.
 */
#ifndef TCG_X86_64_GEN_H
#define TCG_X86_64_GEN_H

#include "tcg/pass.h"
#include "tcg/tcg-int.h"
#include "tcg/x86-64/asm.h"

enum {
    SPILL_SLOTS = 24,
    SAVE_SLOT = 24
}; /* of cpu->spill: temporaries, then the generator's own */

enum temp_where {
    T_NONE,
    T_REG,
    T_SPILL,
    T_LAZY,    /* not loaded yet: disp bytes behind the sum of the registers */
    T_GROUPED, /* not loaded yet: disp bytes behind where the group in reg points */
};
struct temp {
    uint8_t where, reg, slot;
    uint8_t base;  /* T_LAZY: added to reg, or NO_REG */
    uint16_t last; /* operation of the last use; of a group's pointer, the next one */
    uint16_t uses; /* still to come */
    uint8_t size;  /* T_LAZY, T_GROUPED: bytes */
    int32_t disp;
};

/* Accesses of a block that one look-up serves (group.c). Temporary ir->temps + n points at their first
 * byte, from the first of them to the last. */
enum { GROUPS = 24, NO_GROUP = 0xff };
struct group {
    uint16_t bytes; /* from the first to behind the last */
    uint8_t base;   /* home to be added to the pointer, or NO_REG */
    int32_t off;    /* of the first behind where they point */
    bool write;
};
/* Of an operation with a memory operand. */
struct place {
    uint8_t group; /* NO_GROUP: it is none's */
    bool first;    /* looks up for all */
    bool indexed;  /* the group has all places that the index leads to */
    bool apart;    /* what is not plain here is left to a TB_APART block */
    uint16_t at;   /* bytes behind the group's first */
    uint16_t next; /* operation of the group */
    int64_t disp;  /* while groups are collected */
};

/* What a scratch register holds: nothing, temporary n, or guest register n. */
enum { FREE = -1, GPR_OWNER = 0x4000 };
enum { NEVER = 0xffff };

struct cached {
    uint8_t reg; /* NO_REG: it is in struct tcg_cpu only */
    bool dirty;
};

/* C functions that translated code calls with everything saved. */
enum thunk {
    TH_LOAD,
    TH_STORE,
    TH_RMW_LOAD,
    TH_NATIVE_LOAD,
    TH_NATIVE_PROBE,
    TH_NATIVE_STORE,
    TH_NATIVE_SEM,
    TH_PROBE,
    TH_ATOMIC,
    TH_EVAL,
    TH_HELPER,
    TH_X87_IN,
    TH_UNALIGNED,
    TH_PLAIN, /* leaves for a TB_APART block when it is not */
    THUNKS,
};

struct cpu_features {
    bool avx, avx2, bmi1, bmi2, lzcnt, popcnt, adx, sse42, movbe;
};

/* What a block does without, because it did not hold (misfit.c). */
enum misfit { MISFIT_NOT, MISFIT_TABLES, MISFIT_GROUPS };
enum { MISFIT_BITS = 12, MISFIT_SAMPLE = 16 }; /* so many groups across two pages, one is counted */

struct jit {
    struct tcg *t;
    uint64_t (*enter)(struct tcg_cpu *cpu, const void *code);
    const uint8_t *thunk[THUNKS];
    const uint8_t *plain[TLB_MODES]; /* before TH_PLAIN's */
    const uint8_t *leave_link;       /* R12: the link */
    const uint8_t *leave_pc;         /* R14: RIP */
    /* The same, but the jump caches of the block's mode may know. */
    const uint8_t *leave_far[TLB_MODES];    /* link that leads nowhere now */
    const uint8_t *leave_missed[TLB_MODES]; /* RIP that the first one does not know */
    const uint8_t *leave_return[TLB_MODES]; /* RIP that no call has told */
    const uint8_t *leave_block, *leave_icount;
    const uint8_t *fp_fault;
    const uint8_t *vec_in; /* called: vectors and MXCSR to the processor */
    struct cpu_features has;
    enum tcg_slots slots;
    struct gen *gen;
    uint8_t misfit[1 << MISFIT_BITS]; /* enum misfit, by a hash of the address; under the lock */
};

enum slow_kind {
    SLOW_LOAD,
    SLOW_STORE,
    SLOW_RMW,
    SLOW_NATIVE,
    SLOW_ATOMIC,
    SLOW_PROBE,
    SLOW_X87,
    SLOW_VEC,
    SLOW_APART
};

/* TH_PLAIN: in slow_size, beside the size. */
enum { PLAIN_WRITE = 1 << 16, PLAIN_ALIGNED = 1 << 17 };

/* What is written of a store, or the second operand of a read-modify-write. */
struct src {
    bool is_const;
    uint8_t reg;
    int64_t value;
};

/* A way out of line, written behind the block. */
/* Where the linear address is when a look-up missed. */
enum missed {
    MISSED_ADDR, /* in addr */
    MISSED_TAG,  /* addr is the address xor the tag of the slot in index */
    MISSED_KNOWN /* it is `at`, and no register has it */
};
struct slow {
    uint8_t kind;
    uint8_t addr, index; /* registers */
    uint8_t to;          /* register that points at the operand, less the address if `less` */
    bool less;
    uint8_t missed; /* enum missed */
    uint16_t size;
    int32_t off; /* the operand is that much behind where `to` points */
    bool write, align;
    uint64_t at;
    uint8_t *from;          /* the jump that leads here */
    uint8_t *resume, *done; /* writable view: the access; behind it */
    uint64_t pc;
    struct src src;
    uint16_t need; /* flags to bring back before the instruction */
    const struct ir_op *op;
    const struct ir_native *native;
    uint8_t native_reg;
    uint8_t dirty[4]; /* registers with changed guest R12..R15 */
};

struct exit_stub {
    uint8_t *from[3];
    unsigned n;
};

struct gen {
    struct as a;
    const uint8_t *start; /* of the block, executable view */
    struct jit *jit;
    struct tcg *t;
    struct block *b;
    struct ir_block *ir;
    unsigned at;
    uint64_t pc;           /* of the instruction */
    const uint64_t *entry; /* what the guest's registers held when the block was asked for */
    struct temp temp[IR_MAX_TEMPS + GROUPS];
    struct group group[GROUPS];
    struct place place[IR_MAX_OPS];
    int16_t owner[16];
    struct cached cached[4];            /* guest R12..R15 */
    uint16_t busy;                      /* registers that the current operation holds */
    uint32_t slots;                     /* spill slots in use */
    bool f_host, f_mem;                 /* where F is valid */
    bool x87_in, vec_in;                /* known to be in the processor */
    bool by_c;                          /* the code refers to descriptions of NATIVE operations */
    uint16_t live[IR_MAX_OPS];          /* flags live behind each operation */
    uint16_t again[IR_MAX_OPS];         /* wanted should it fault: read by its instruction before */
    struct slow slow[IR_MAX_OPS + 160]; /* one a memory operand, one more a look for the x87 */
    unsigned slows;
    struct exit_stub stub[2], far_stub[2]; /* to leave_link, to leave_far */
    uint8_t
        *return_cell; /* an immediate operand that is to become its place in the cache, or NULL */
    struct tcg_site site[300];
    unsigned sites;
};

/* ---- gen.c ---- */

extern const uint8_t gpr_home[16]; /* NO_REG: in struct tcg_cpu */
static inline size_t gpr_off(unsigned n)
{
    return offsetof(struct tcg_cpu, gpr) + n * 8;
}
static inline size_t spill_off(unsigned slot)
{
    return offsetof(struct tcg_cpu, spill) + slot * 8;
}

bool is_scratch(unsigned reg);
/* A scratch register that holds nothing beyond the present operation. */
bool is_ours(const struct gen *g, unsigned reg);
bool scratch_free(const struct gen *g);
/* How many can be had without moving what is still wanted. */
unsigned scratch_spare(const struct gen *g);
unsigned scratch(struct gen *g); /* held until the operation ends */
void let_go(struct gen *g, unsigned reg);
/* The operation will not look at this operand any more. */
void consume(struct gen *g, const struct ir_arg *a);
bool dies_here(const struct gen *g, const struct ir_arg *a);

bool is_const(const struct ir_arg *a);
bool fits32(int64_t v);
/* The host register that an operand is in, or NO_REG. */
unsigned reg_of(const struct gen *g, const struct ir_arg *a);
/* The operand as ModRM: no constants, no high halves. */
struct rm rm_of(struct gen *g, const struct ir_arg *a, unsigned size);
/* The value in a register that must not be changed; low `size` bytes count. */
unsigned to_reg(struct gen *g, const struct ir_arg *a, unsigned size);
/* Copies the value into reg. whole: upper bits may be overwritten. */
void load_reg(struct gen *g, unsigned reg, const struct ir_arg *a, unsigned size, bool whole);
/* A register to write dst in, without its old value unless it is a home. */
unsigned dst_reg(struct gen *g, const struct ir_arg *dst);
/* reg holds the result, with upper bits as a 32-bit operation leaves them: puts it into dst. */
void finish(struct gen *g, const struct ir_arg *dst, unsigned reg, unsigned size);
void bind_temp(struct gen *g, const struct ir_arg *temp, unsigned reg);

/* ---- cache.c ---- */

unsigned cache_reg(const struct gen *g, unsigned n);
void cache_set(struct gen *g, unsigned n, unsigned reg, bool dirty);
void cache_changed(struct gen *g, unsigned n);
void cache_drop(struct gen *g, unsigned n);  /* the value is not needed */
void cache_evict(struct gen *g, unsigned n); /* stores it if need be */
void cache_write_back(struct gen *g);
void cache_flush(struct gen *g);
void cache_note_dirty(const struct gen *g, uint8_t dirty[4]);
unsigned cache_next_use(const struct gen *g, unsigned n);
bool cache_wanted(const struct gen *g, unsigned n);

/* ---- flags.c ---- */

void flags_liveness(struct gen *g);
uint16_t flags_live_before(const struct gen *g, const struct ir_op *o);
/* EFLAGS will be lost: keeps what of `live` is only there. */
void flags_clobber(struct gen *g, uint16_t live);
void flags_to_mem(struct gen *g, uint16_t live);
void flags_to_host(struct gen *g, uint16_t need);
/* The operation wrote EFLAGS as the IR says. */
void flags_written(struct gen *g, const struct ir_op *o);
/* Makes EFLAGS answer cond; returns the condition to use, which may be another. */
unsigned flags_cond(struct gen *g, unsigned cond);
void flags_restore_code(struct as *a); /* EFLAGS from cpu->flags */
/* OF in cpu->flags to EFLAGS' place; changes EFLAGS. */
void flags_put_right(struct gen *g);
/* Before an operation that reads and writes flags as its host instruction does. */
void flags_before(struct gen *g, const struct ir_op *o);
uint16_t flags_wanted_before(const struct gen *g, const struct ir_op *o);

/* ---- group.c ---- */

/* Fills in g->place; uses of temporaries are counted already. */
void group_accesses(struct gen *g);

/* ---- misfit.c ---- */

/* A group does not lie on one page, in the block that called C code now: one such in MISFIT_SAMPLE. */
void misfit_note(struct tcg_cpu *cpu);
enum misfit misfit_level(const struct gen *g);

/* ---- alu.c ---- */

void gen_alu(struct gen *g, const struct ir_op *o);
void rmw_code(struct gen *g, const struct ir_op *o, struct rm m, const struct src *src, bool lock);
bool rmw_fits(const struct ir_op *o);
/* What of a shift's count counts. */
unsigned count_mask(unsigned size);
struct src src_of(struct gen *g, const struct ir_arg *a, unsigned size);

/* ---- lookup.c ---- */

/* The linear address in a scratch register that is held; changes EFLAGS. */
unsigned linear_address(struct gen *g, const struct ir_mem *m);
void gen_lea(struct gen *g, const struct ir_op *o);
/* Looks the operand up: the register `to` of what it returns points at its bytes. */
struct slow *probe(struct gen *g, const struct ir_mem *m, unsigned size, bool write,
                   enum slow_kind kind);
/* Where the operand of the present operation is, looked up if need be; *s: its way out of line, or NULL. */
struct rm operand(struct gen *g, const struct ir_mem *m, unsigned size, bool write,
                  enum slow_kind kind, struct slow **s);
/* It is not asked for any more. */
void operand_done(struct gen *g);
/* What a look-up found. */
struct rm found(const struct slow *s);
/* The temporary that holds a group's address, or what makes one of its base; and one use of it less. */
struct ir_arg pointer_of(const struct gen *g, unsigned group);
/* disp bytes behind where a group points; its pointer in a register that is held. */
struct rm grouped(struct gen *g, unsigned group, int32_t disp);
void consume_pointer(struct gen *g, unsigned group);
/* The present operation looks nothing up and cannot fault: the address is known. */
bool follows(const struct gen *g);
/* Behind a miss: the linear address back in its register. Changes EFLAGS. */
void missed_address(struct gen *g, const struct slow *s);
/* `to` holds where the operand is: makes it what the code behind the look-up takes. Changes EFLAGS. */
void as_found(struct gen *g, const struct slow *s);
/* The operand comes from cpu->bounce: makes its registers point there. Changes EFLAGS. */
void point_at_bounce(struct gen *g, const struct slow *s);

/* ---- mem.c ---- */

void gen_mem(struct gen *g, const struct ir_op *o);
/* Tries LD, OP, ST on one place; returns the number of operations taken, 0 when it is another shape. */
unsigned gen_rmw(struct gen *g);
/* The operations behind the present one that make up LD, OP, ST on one place with LD at `at`: false if
 * it is another shape. */
bool rmw_shape(const struct gen *g, unsigned at, unsigned *op, unsigned *st);
void slow_code(struct gen *g, struct slow *s);
void set_pc_code(struct gen *g, uint64_t pc, unsigned reg);

/* ---- native.c, call.c, exit.c ---- */

void gen_native(struct gen *g, const struct ir_op *o);
/* Done by its meaning in C. */
bool native_is_c(const struct gen *g, const struct ir_native *n);
/* A block with vector instructions begins with a look for whether the vectors are here. */
void vec_at_start(struct gen *g);
void native_slow(struct gen *g, struct slow *s);

void gen_call(struct gen *g, const struct ir_op *o);
void gen_eval(struct gen *g, const struct ir_op *o);
void gen_atomic(struct gen *g, const struct ir_op *o);
bool atomic_is_c(const struct ir_op *o);
void atomic_slow(struct gen *g, struct slow *s);

void gen_exit(struct gen *g, const struct ir_op *o);
void exit_stubs(struct gen *g);
void icount_code(struct gen *g);
/* to = the offset of pc's entry from the start of a jump cache with that many. EFLAGS change. */
void jc_slot_code(struct as *a, unsigned to, unsigned pc, size_t entries);

/* ---- thunk.c, signal.c ---- */

void signal_init(void);
extern __thread struct tcg_cpu *jit_running;

#endif
