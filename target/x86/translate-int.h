/* SPDX-License-Identifier: MIT */
/* target/x86/translate-int.h - what the files of the front end share.
 *
 * One struct dc lives as long as the translation of one block. An emitter (translate-*.c) is called
 * with one decoded instruction in it and appends IR; the table in translate-table.c says which one
 * and with which argument. An emitter that ends the block sets `ended`.
 */
#ifndef TARGET_X86_TRANSLATE_INT_H
#define TARGET_X86_TRANSLATE_INT_H

#include "target/x86/cpu.h"
#include "target/x86/cpuid.h"
#include "target/x86/helper.h"

#include <Zydis/Zydis.h>

struct dc {
    struct x86_cpu *c;
    struct ir_block *b;
    const struct tb_key *key;
    uint32_t mode;   /* enum x86_mode */
    bool code64;     /* 64-bit code segment */
    bool vm86, real; /* real: PE is off */
    uint8_t ssz;     /* bytes of the stack pointer: 2, 4 or 8 */
    uint8_t cpl;
    uint64_t pc, next; /* RIP of this instruction and of the one behind it */
    uint64_t pc_mask;
    uint64_t page; /* RIP of the first byte of the page the block began on */
    const uint8_t *page_bytes;

    ZydisDecoder decoder;
    ZydisDecodedInstruction in;
    ZydisDecodedOperand op[5]; /* the visible ones */
    const uint8_t *bytes;      /* of this instruction */
    uint8_t arg;               /* from the table */
    bool ended;                /* the block has its terminator */
    bool last;                 /* end behind this instruction */
    bool last_after_next;      /* end behind the next instruction */
};

typedef void emit_fn(struct dc *d);
struct emitter {
    emit_fn *fn;
    uint8_t arg;
};
/* By Zydis mnemonic; fn NULL: vector or x87, or unknown. */
extern const struct emitter x86_emitters[ZYDIS_MNEMONIC_MAX_VALUE + 1];

/* My own helpers, beside those of helper.h. */
extern const struct ir_helper x86_h_log_exec, x86_h_log_cpu;
extern const struct ir_helper x86_h_no_fpu, x86_h_no_mmx, x86_h_no_sse, x86_h_no_avx, x86_h_into_if,
    x86_h_check_align, x86_h_popf_rare4, x86_h_popf_rare8;

/* ---- translate.c ---- */

/* Which of the six flags code at RIP pc may still read; F_ALL when that cannot be told cheaply. */
uint16_t x86_flags_live(struct dc *d, uint64_t pc);

/* ---- translate-ops.c: operands, stack, small idioms ---- */

static inline struct ir_arg temp(struct dc *d)
{
    return ir_temp(d->b);
}
static inline struct ir_op *emit(struct dc *d, enum ir_opcode op, unsigned size, struct ir_arg dst,
                                 struct ir_arg a, struct ir_arg b)
{
    return ir_emit(d->b, op, size, dst, a, b);
}
/* The same into a new temporary. */
struct ir_arg emit_t(struct dc *d, enum ir_opcode op, unsigned size, struct ir_arg a,
                     struct ir_arg b);
void mov(struct dc *d, unsigned size, struct ir_arg dst, struct ir_arg a);
/* A constant as the IR wants it: sign-extended from size bytes. */
struct ir_arg imm(uint64_t v, unsigned size);
/* Zero-extends size bytes to 64 bits (helpers see all of their arguments). */
struct ir_arg zx(struct dc *d, struct ir_arg a, unsigned size);
struct ir_op *call(struct dc *d, const struct ir_helper *h, struct ir_arg dst, struct ir_arg a,
                   struct ir_arg b, struct ir_arg c);
/* helper(constant, constant, constant) without a result */
void call_k(struct dc *d, const struct ir_helper *h, int64_t a, int64_t b, int64_t c);
struct ir_arg ld_state(struct dc *d, unsigned size, size_t off);
void st_state(struct dc *d, unsigned size, size_t off, struct ir_arg v);
struct ir_arg reg_arg(ZydisRegister r);

static inline unsigned op_size(const struct dc *d, unsigned i)
{
    return d->op[i].size / 8u;
}
static inline unsigned insn_size(const struct dc *d)
{
    return d->in.operand_width / 8u;
}
static inline unsigned addr_size(const struct dc *d)
{
    return d->in.address_width / 8u;
}
static inline bool is_mem(const struct dc *d, unsigned i)
{
    return d->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY;
}
static inline bool is_reg(const struct dc *d, unsigned i)
{
    return d->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER;
}
static inline bool is_imm(const struct dc *d, unsigned i)
{
    return d->op[i].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
}
static inline bool has_lock(const struct dc *d)
{
    return (d->in.attributes & ZYDIS_ATTRIB_HAS_LOCK) != 0;
}

enum { ACCESS_NONE, ACCESS_R = 1, ACCESS_W = 2, ACCESS_RW = 3 };
/* The memory operand i, checked against its segment for an access of size bytes. */
struct ir_mem mem_operand(struct dc *d, unsigned i, unsigned size, unsigned access);
/* The same without a check (LEA, addresses that are computed further). */
struct ir_mem mem_address(struct dc *d, unsigned i);
/* base + disp in segment seg with addr_size bytes of address, unchecked and checked. */
struct ir_mem mem_at(struct dc *d, unsigned seg, struct ir_arg base, int64_t disp, unsigned asize);
void check_mem(struct dc *d, const struct ir_mem *m, unsigned seg, unsigned size, unsigned access);
unsigned segment_of(struct dc *d, unsigned i); /* of operand i */
struct ir_arg load(struct dc *d, const struct ir_mem *m, unsigned size);
void store(struct dc *d, const struct ir_mem *m, unsigned size, struct ir_arg v);
/* offset cut to its address size, 64 bits wide; with the segment added */
struct ir_arg effective(struct dc *d, const struct ir_mem *m);
struct ir_arg linear(struct dc *d, const struct ir_mem *m);
struct ir_arg linear_operand(struct dc *d, unsigned i, unsigned size, unsigned access);
/* dst (of size bytes) = base + disp, cut to asize, without touching flags */
void lea(struct dc *d, unsigned size, struct ir_arg dst, struct ir_arg base, int64_t disp,
         unsigned asize);

/* Reads operand i (register, memory or immediate) of size bytes; a register is named, not copied. */
struct ir_arg read_op(struct dc *d, unsigned i, unsigned size);
void write_op(struct dc *d, unsigned i, unsigned size, struct ir_arg v);

void push(struct dc *d, unsigned size, struct ir_arg v);
struct ir_arg peek(struct dc *d, unsigned size, int64_t at);
void drop(struct dc *d, int64_t bytes);

/* ---- ends and exceptions ---- */

/* #UD and others without a code; ends the block. */
void raise_vector(struct dc *d, enum x86_vector v);
void raise_gp0(struct dc *d);
void emit_ud(struct dc *d);
/* #GP(0) and false unless CPL is 0. */
bool privileged(struct dc *d);
/* #UD and false unless the model has f. */
bool need(struct dc *d, enum x86_feature f);
void go_to(struct dc *d, uint64_t pc);
/* exit 0 to pc0 when the branch op emitted by the caller is taken, else to pc1 */
void two_exits(struct dc *d, uint64_t pc0, uint64_t pc1);
void jump_to(struct dc *d, struct ir_arg target, int hint);
/* A helper has left the RIP to go on with in cpu->pc, and may have changed the mode. */
void leave(struct dc *d);
/* The same by way of the CPU's loop: for what it must see before anything else runs. */
void leave_to_loop(struct dc *d);

/* ---- translate-simd.c ---- */

/* Makes a NATIVE of a vector, MMX or x87 instruction; false when it is not one. */
bool emit_native(struct dc *d);

/* ---- emitters, named by translate-table.c ---- */

emit_fn emit_alu, emit_cmp, emit_test, emit_incdec, emit_neg, emit_not, emit_shift, emit_shld,
    emit_imul, emit_mul, emit_div, emit_mov, emit_movzx, emit_movsx, emit_lea, emit_xchg, emit_xadd,
    emit_cmpxchg, emit_cmpxchg8b, emit_bswap, emit_bt, emit_bsf, emit_count, emit_setcc, emit_cmov,
    emit_cbw, emit_cwd, emit_lahf, emit_sahf, emit_flag, emit_df, emit_movbe, emit_andn, emit_bls,
    emit_bzhi, emit_shx, emit_rorx, emit_pdep, emit_mulx, emit_adcx, emit_crc32, emit_nop,
    emit_pause, emit_salc, emit_xlat, emit_bcd, emit_movnti;
emit_fn emit_push, emit_pop, emit_pusha, emit_popa, emit_pushf, emit_popf, emit_enter, emit_leave,
    emit_jcc, emit_jmp, emit_call, emit_ret, emit_loop, emit_jcxz, emit_int, emit_int3, emit_into,
    emit_int1, emit_iret, emit_bound, emit_syscall, emit_sysret, emit_sysenter, emit_sysexit;
emit_fn emit_string, emit_in, emit_out;
emit_fn emit_cli, emit_sti, emit_hlt, emit_load_far, emit_lgdt, emit_sgdt, emit_sldt, emit_lldt,
    emit_smsw, emit_lmsw, emit_lar, emit_verr, emit_arpl, emit_clts, emit_invlpg, emit_invpcid,
    emit_rdmsr, emit_wrmsr, emit_rdtsc, emit_rdtscp, emit_rdpmc, emit_cpuid, emit_xgetbv,
    emit_xsetbv, emit_swapgs, emit_rdbase, emit_wrbase, emit_stac, emit_wbinvd, emit_monitor,
    emit_mwait, emit_rdrand, emit_rdpid, emit_fence, emit_clflush, emit_rsm, emit_fxsave,
    emit_xsave;
void emit_mov_seg(struct dc *d);
void emit_mov_cr(struct dc *d);
void emit_mov_dr(struct dc *d);
void emit_pop_seg(struct dc *d, unsigned seg);

#endif
