/* SPDX-License-Identifier: MIT */
/* tcg/ir.h - the intermediate representation: one block of guest code as typed operations.
 *
 * SSA-like: a temporary is assigned exactly once; the guest's sixteen general registers are named
 * slots that operations read and write in place (each has a fixed host home across blocks), so that
 * `add rax, rbx` is one operation and one host instruction. The flags are a value too: at any point
 * there is one current F, made by the last operation that wrote flags and read by conditions,
 * carries and F_GET. A block is straight-line and ends with exactly one terminator.
 *
 * Order and precision: operations happen in order as far as memory, helpers and faults are
 * concerned. A front end writes a guest register only after everything of the same instruction
 * that can fault. F that a later operation of the block overwrites may be dropped even when
 * something in between can fault (the switchable pass `deadflags` decides).
 *
 * Sizes: an operation works on `size` bytes (1, 2, 4, 8) of its inputs; upper bits of inputs are
 * ignored. A temporary of size < 8 has undefined upper bits. Writing a guest register follows
 * x86-64: size 4 zero-extends, sizes 1 and 2 keep the upper bits; `high` on a register operand names
 * bits 15..8. In 16 and 32-bit code the upper halves are simply never read.
 */
#ifndef TCG_IR_H
#define TCG_IR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct tcg_cpu;
struct ir_block;

/* ---- operands ---- */

enum ir_kind { IR_NONE, IR_TEMP, IR_GPR, IR_CONST };
struct ir_arg {
    uint8_t kind;  /* enum ir_kind */
    bool high;     /* IR_GPR, size 1: AH, CH, DH, BH (num 0..3) */
    uint16_t num;  /* temporary or register number */
    int64_t value; /* IR_CONST, sign-extended from the operation's size */
};
static inline struct ir_arg ir_none(void)
{
    return (struct ir_arg){ .kind = IR_NONE };
}
static inline struct ir_arg ir_gpr(unsigned n)
{
    return (struct ir_arg){ .kind = IR_GPR, .num = (uint16_t)n };
}
static inline struct ir_arg ir_const(int64_t v)
{
    return (struct ir_arg){ .kind = IR_CONST, .value = v };
}

/* A guest memory operand: linear address = seg_base + trunc(base + index * scale + disp). */
struct ir_mem {
    struct ir_arg base, index; /* IR_GPR, IR_TEMP or IR_NONE */
    uint8_t scale;             /* 1, 2, 4, 8 */
    uint8_t addr_size;         /* 2, 4, 8: the sum is cut to it before the segment base is added */
    int8_t seg;                /* -1: base is known to be 0; else enum x86_seg, base read from
                                * cpu->seg_base[seg] at run time. Outside 64-bit code the linear
                                * address is cut to 32 bits after adding. */
    bool lin32;                /* cut the linear address to 32 bits */
    uint8_t flags;             /* IR_MEM_* */
    int64_t disp;
};
enum {
    IR_MEM_KERNEL =
        1,            /* implicit supervisor access (descriptor tables): helpers only, not inline */
    IR_MEM_ALIGN = 2, /* #GP unless aligned to its size (movaps ...) */
    IR_MEM_RMW = 4, /* of an LD: faults as a store would; the next ST of the instruction goes to the
                        * same place (its own mem still says where), so one look-up can serve both */
};

/* ---- conditions and flags ---- */

/* x86's own encoding (SDM vol. 1 appendix B): the low nibble of Jcc. */
enum ir_cond {
    CC_O,
    CC_NO,
    CC_B,
    CC_AE,
    CC_E,
    CC_NE,
    CC_BE,
    CC_A,
    CC_S,
    CC_NS,
    CC_P,
    CC_NP,
    CC_L,
    CC_GE,
    CC_LE,
    CC_G
};
enum {
    F_CF = 0x001,
    F_PF = 0x004,
    F_AF = 0x010,
    F_ZF = 0x040,
    F_SF = 0x080,
    F_OF = 0x800,
    F_ALL = 0x8d5
};
uint16_t ir_cond_flags(enum ir_cond c); /* which flags it reads */

/* ---- operations ---- */

/* name, inputs a b c used, flags written (undefined ones included), flags read.
 * dst/dst2: result. Shifts: b is CL-like, masked to 5 or 6 bits by the operation itself; a count of
 * 0 leaves F as it was, so they also count as reading what they write unless b is a constant. */
#define IR_OPS(X)                                                                                  \
    X(NOP, 0, 0, 0)                                                                                \
    X(INSN, 0, 0, 0) /* imm: guest RIP of the instruction that begins here; imm2: its length */    \
    X(MOV, 1, 0, 0)                                                                                \
    X(ADD, 2, F_ALL, 0)                                                                            \
    X(ADC, 2, F_ALL, F_CF)                                                                         \
    X(SUB, 2, F_ALL, 0) /* dst none: CMP */                                                        \
    X(SBB, 2, F_ALL, F_CF)                                                                         \
    X(AND, 2, F_ALL, 0) /* dst none: TEST */                                                       \
    X(OR, 2, F_ALL, 0)                                                                             \
    X(XOR, 2, F_ALL, 0)                                                                            \
    X(ANDN, 2, F_ALL, 0) /* ~a & b */                                                              \
    X(NOT, 1, 0, 0)                                                                                \
    X(NEG, 1, F_ALL, 0)                                                                            \
    X(INC, 1, F_ALL & ~F_CF, 0)                                                                    \
    X(DEC, 1, F_ALL & ~F_CF, 0)                                                                    \
    X(SHL, 2, F_ALL, 0)                                                                            \
    X(SHR, 2, F_ALL, 0)                                                                            \
    X(SAR, 2, F_ALL, 0)                                                                            \
    X(ROL, 2, F_CF | F_OF, 0)                                                                      \
    X(ROR, 2, F_CF | F_OF, 0)                                                                      \
    X(RCL, 2, F_CF | F_OF, F_CF)                                                                   \
    X(RCR, 2, F_CF | F_OF, F_CF)                                                                   \
    X(SHLX, 2, 0, 0) /* BMI2: no flags */                                                          \
    X(SHRX, 2, 0, 0)                                                                               \
    X(SARX, 2, 0, 0)                                                                               \
    X(RORX, 2, 0, 0)                                                                               \
    X(SHLD, 3, F_ALL, 0) /* a: destination operand, b: source, c: count */                         \
    X(SHRD, 3, F_ALL, 0)                                                                           \
    X(IMUL, 2, F_ALL, 0)  /* low half, signed: CF = OF = overflow */                               \
    X(MULU2, 2, F_ALL, 0) /* dst: low, dst2: high half */                                          \
    X(MULS2, 2, F_ALL, 0)                                                                          \
    X(MULX, 2, 0, 0) /* as MULU2 without flags */                                                  \
    X(ADCX, 2, F_CF, F_CF)                                                                         \
    X(ADOX, 2, F_OF, F_OF)                                                                         \
    X(ZX8, 1, 0, 0) /* size: of the result */                                                      \
    X(ZX16, 1, 0, 0)                                                                               \
    X(ZX32, 1, 0, 0)                                                                               \
    X(SX8, 1, 0, 0)                                                                                \
    X(SX16, 1, 0, 0)                                                                               \
    X(SX32, 1, 0, 0)                                                                               \
    X(BSWAP, 1, 0, 0)                                                                              \
    X(BT, 2, F_CF, 0) /* b modulo size; other flags stay */                                        \
    X(BTS, 2, F_CF, 0)                                                                             \
    X(BTR, 2, F_CF, 0)                                                                             \
    X(BTC, 2, F_CF, 0)                                                                             \
    X(BSF, 2, F_ALL, 0) /* b: what dst is when a is 0 */                                           \
    X(BSR, 2, F_ALL, 0)                                                                            \
    X(LZCNT, 1, F_ALL, 0)                                                                          \
    X(TZCNT, 1, F_ALL, 0)                                                                          \
    X(POPCNT, 1, F_ALL, 0)                                                                         \
    X(BLSR, 1, F_ALL, 0)                                                                           \
    X(BLSMSK, 1, F_ALL, 0)                                                                         \
    X(BLSI, 1, F_ALL, 0)                                                                           \
    X(BZHI, 2, F_ALL, 0)                                                                           \
    X(BEXTR, 2, F_ALL, 0)                                                                          \
    X(PDEP, 2, 0, 0)                                                                               \
    X(PEXT, 2, 0, 0)                                                                               \
    X(CRC32, 2, 0, 0)     /* a: crc; b: imm bytes of data; the result is 32 bits (size 4) */       \
    X(SETCC, 0, 0, 0)     /* cond; 0 or 1 */                                                       \
    X(CMOV, 2, 0, 0)      /* cond ? b : a; both are evaluated */                                   \
    X(F_GET, 0, 0, F_ALL) /* the six flags in EFLAGS' places, other bits 0 */                      \
    X(F_SET, 1, F_ALL, 0) /* from EFLAGS' places; imm: mask of flags written */                    \
    X(CLC, 0, F_CF, 0)                                                                             \
    X(STC, 0, F_CF, 0)                                                                             \
    X(CMC, 0, F_CF, F_CF)                                                                          \
    X(LEA, 0, 0, 0)    /* mem without segment: size is the result's */                             \
    X(LINEAR, 0, 0, 0) /* mem's linear address, for helpers */                                     \
    X(LD, 0, 0, 0)     /* size bytes from mem; upper bits of dst undefined (gpr rules apply) */    \
    X(LDZX, 0, 0, 0)   /* imm: bytes in memory, zero-extended to size */                           \
    X(LDSX, 0, 0, 0)                                                                               \
    X(ST, 1, 0, 0)                                                                                 \
    X(LDST_PROBE, 0, 0, 0) /* faults as a store of size bytes would; no access */                  \
    X(A_RMW, 2, F_ALL,                                                                             \
      0)               /* atomic mem = mem OP b, dst = old; imm: the IR op (ADD OR ADC SBB AND  \
                             SUB XOR INC DEC NEG NOT BTS BTR BTC); F as that op */  \
    X(A_XCHG, 1, 0, 0) /* dst = old, mem = a */                                                    \
    X(A_CMPXCHG, 2, F_ALL,                                                                         \
      0) /* compare a (the accumulator) with mem; equal: mem = b;             \
                                 dst = old value of mem; F as SUB(a, old) */                    \
    X(FENCE, 0, 0, 0)                                                                              \
    X(LD_STATE, 0, 0, 0) /* imm: byte offset in the guest's CPU struct, size bytes, zero-ext. */   \
    X(ST_STATE, 1, 0, 0)                                                                           \
    X(CALL, 3, 0, 0)   /* dst = helper(cpu, a, b, c); imm 1: only unless c is 0, without dst */    \
    X(NATIVE, 0, 0, 0) /* an instruction of the host's own kind, see struct ir_native */           \
    /* terminators */                                                                              \
    X(GOTO, 0, 0, 0) /* exit 0; imm: IR_JMP_CALL or 0 */                                           \
    X(BRCC, 0, 0, 0) /* cond on F ? exit 0 : exit 1 */                                             \
    X(BRNZ, 1, 0, 0) /* a (of size) != 0 ? exit 0 : exit 1 */                                      \
    X(JMP, 1, 0, 0)  /* to RIP a; imm: IR_JMP_* */                                                 \
    X(EXIT, 0, 0, 0) /* back to the CPU loop; RIP is in cpu->pc already */

enum ir_opcode {
#define X(name, inputs, fw, fr) IR_##name,
    IR_OPS(X)
#undef X
        IR_OPCODES
};
/* What a JMP is, CALL also of a GOTO: then exit 1 says what follows the call, and RET probably leads
 * there. MODE: the block changed the mode, look where cpu->jc says now. */
enum { IR_JMP_PLAIN, IR_JMP_CALL, IR_JMP_RET, IR_JMP_MODE };

struct ir_opdef {
    const char *name;
    uint8_t inputs;
    uint16_t fw, fr; /* flags written and read; conditions add ir_cond_flags */
};
extern const struct ir_opdef ir_opdefs[IR_OPCODES];
struct ir_op;
/* Flags this operation may write (all of them: ones it may leave alone as well) and read. A shift by
 * a count not known also reads what it writes. Terminators read what is live at their exits too, which
 * is not counted here. */
uint16_t ir_flags_written(const struct ir_op *o);
uint16_t ir_flags_read(const struct ir_op *o);
bool ir_is_terminator(const struct ir_op *o);

/* ---- helpers ---- */

/* A C function called from translated code. All guest state is in memory (struct tcg_cpu) when it
 * runs if READS/WRITES/FAULTS say so; a helper without those is pure arithmetic. */
typedef uint64_t (*ir_helper_fn)(struct tcg_cpu *cpu, uint64_t a, uint64_t b, uint64_t c);
enum {
    IR_H_READS = 1,   /* looks at guest registers or vector state */
    IR_H_WRITES = 2,  /* changes them (implies READS) */
    IR_H_FAULTS = 4,  /* may not return: tcg_raise; RIP is recovered from the call's place */
    IR_H_F_IN = 8,    /* reads cpu->flags */
    IR_H_F_OUT = 16,  /* writes cpu->flags, all six */
    IR_H_VECTOR = 32, /* touches vector or x87 state (implies the matching READS/WRITES) */
    IR_H_PURE = 64,   /* same inputs, same result; may be dropped when unused */
};
struct ir_helper {
    const char *name;
    ir_helper_fn fn;
    uint16_t flags;
};

/* ---- opaque instructions (SSE, AVX, x87, MMX, AES, SHA ...) ---- */

/* DIV and IDIV of 32 and 64 bits (map 0, opcode f7) are described, too; they work on RAX and RDX.
 * Without any operand in ModRM (reg_class and rm_class RC_NONE, mem_size 0) there is no ModRM byte
 * (EMMS, VZEROUPPER). A register form of x87 has ModRM 11 reg rm, with rm_class RC_ST or RC_FIXED. */
/* A guest instruction that the x86-64 generator re-encodes with its own registers and address, and
 * that other engines do by calling sem. Vector registers keep their numbers. */
enum ir_rclass { RC_NONE, RC_VEC, RC_GPR, RC_MMX, RC_ST, RC_FIXED };
enum ir_encoding { ENC_LEGACY, ENC_VEX, ENC_X87 };
struct ir_native {
    uint8_t encoding; /* enum ir_encoding */
    uint8_t pp;       /* 0 none, 1 0x66, 2 0xf3, 3 0xf2: the mandatory prefix */
    uint8_t map;      /* 0 one-byte, 1 0f, 2 0f38, 3 0f3a */
    uint8_t opcode;
    bool w, l;         /* REX.W or VEX.W; VEX.L */
    bool has_imm;      /* an 8-bit immediate follows */
    uint8_t imm;       /* its value (also the is4 register byte) */
    uint8_t reg_class; /* ModRM.reg: enum ir_rclass; RC_FIXED: reg is an opcode extension */
    uint8_t reg;
    bool reg_write, reg_read; /* RC_GPR: what happens to it */
    uint8_t rm_class;         /* ModRM.rm when it is a register; RC_NONE when it is memory */
    uint8_t rm;
    bool rm_write, rm_read;
    uint8_t v_class; /* VEX.vvvv */
    uint8_t v;
    uint8_t mem_size; /* bytes accessed when rm is memory (1..64, x87 up to 108), 0: none */
    bool mem_write, mem_read;
    uint8_t gpr_size;       /* bytes written to a GPR result (4 or 8) */
    uint16_t fw, fr;        /* flags written (COMISD, PTEST ...) and read (FCMOV), from F_* */
    bool x87;               /* uses x87/MMX state */
    bool may_raise;         /* SIMD or x87 floating-point exceptions when unmasked */
    uint8_t bytes[15], len; /* the instruction as the guest wrote it, for dumps */
    /* The same in C. mem: the operand's bytes (mem_size of them) to read and/or write, or NULL.
     * Registers are in cpu; flags written go to cpu->flags. */
    void (*sem)(struct tcg_cpu *cpu, const struct ir_native *n, void *mem);
};

/* ---- a block ---- */

struct ir_op {
    uint8_t op;              /* enum ir_opcode */
    uint8_t size;            /* 1, 2, 4, 8 */
    uint8_t cond;            /* enum ir_cond */
    uint16_t fneed;          /* of the flags written: those somebody reads (set by liveness) */
    struct ir_arg dst, dst2; /* IR_TEMP, IR_GPR or IR_NONE */
    struct ir_arg a, b, c;
    int64_t imm, imm2;
    struct ir_mem mem;
    union {
        const struct ir_helper *helper; /* CALL */
        struct ir_native *native;       /* NATIVE; owned by the block */
    };
};

/* Where a terminator goes: a RIP, and which of the six flags are still read over there. */
struct ir_exit {
    uint64_t pc;
    uint16_t live_flags; /* F_ALL when unknown */
};

#define IR_MAX_OPS 1024
#define IR_MAX_TEMPS 512
struct ir_block {
    struct ir_op op[IR_MAX_OPS];
    unsigned n, temps;
    struct ir_exit exit[2];
    uint16_t live_out; /* flags live at JMP and EXIT; F_ALL unless the front end knows better */
    uint64_t pc;       /* RIP of the first instruction */
    unsigned insns;
    /* Liveness at the exits was read from code at RIPs [peek_lo, peek_hi) of the page the block begins
     * on (0, 0: nowhere): the block goes stale with those bytes as well as with its own. */
    uint64_t peek_lo, peek_hi;
    struct ir_native native[128];
    unsigned natives;
};

void ir_block_init(struct ir_block *b, uint64_t pc);
bool ir_full(const struct ir_block *b); /* no room for another instruction (64 operations) */
struct ir_arg ir_temp(struct ir_block *b);
/* Appends an operation; the caller fills in what is not an argument. Never NULL (see ir_full). */
struct ir_op *ir_emit(struct ir_block *b, enum ir_opcode op, unsigned size, struct ir_arg dst,
                      struct ir_arg a, struct ir_arg bb);
/* Asserts the rules above (single assignment, terminator last, sizes); for tests and debug runs. */
bool ir_verify(const struct ir_block *b, char *why, size_t len);
void ir_dump(const struct ir_block *b, FILE *out);

/* ---- passes ---- */

enum ir_pass {
    PASS_CONST = 1,     /* fold constants, algebraic identities */
    PASS_COPY = 2,      /* propagate copies */
    PASS_DEADFLAGS = 4, /* fneed becomes what is really read; off: everything written */
    PASS_DEAD = 8,      /* drop operations nobody needs */
    PASS_STATE = 16,    /* redundant LD_STATE/ST_STATE */
    PASS_ADDR = 32,     /* fold ADD/LEA chains into memory operands */
    PASS_GROUP = 64,    /* the generator's: one look-up for several accesses */
    PASS_ALL = 127,
};
/* Runs the chosen passes in order. */
void ir_optimise(struct ir_block *b, unsigned passes);
int ir_pass_by_name(const char *name); /* the bit, 0 when unknown */

#endif
