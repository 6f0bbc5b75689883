/* SPDX-License-Identifier: MIT */
/* tcg/interp.c - TCI: runs blocks of IR in portable C, on any host and without executable memory.
 *
 * A block is decoded once into an array of struct tci_op: the address of the handler (computed goto)
 * and operands as offsets. Temporaries lie just below struct tcg_cpu, so that a register, a temporary
 * and the CPU's own fields are all `cpu + offset`; constants are in the operation itself. Arithmetic has
 * a handler for each operation and size, with and without flags, made from tcg/eval.h.
 */
#include "tcg/eval.h"
#include "tcg/tcg-int.h"

#include "dm/base/bytes.h"
#include "dm/base/util.h"

#include <stdlib.h>
#include <string.h>

enum { SEL_CPU, SEL_OP };
struct tci_arg {
    int32_t off; /* from the CPU or from the operation */
    uint8_t sel;
};

struct tci_mem {
    int32_t base, index, seg; /* offsets from the CPU; ZERO_SLOT when there is none */
    uint8_t shift;
    bool align, rmw;
    uint64_t disp, mask, lin_mask;
};

struct tci_op {
    const void *label;
    struct tci_arg a, b, c;
    int32_t dst, dst2;
    uint8_t op, size, wsize, cond;
    uint16_t need; /* flags that somebody reads */
    int64_t imm;
    uint64_t k[3]; /* constant operands */
    struct tci_mem m;
    union {
        const struct ir_helper *helper;
        const struct ir_native *native;
    };
};

struct tci_code {
    unsigned n;
    struct tci_op op[];
};

enum { NONE_SLOT = IR_MAX_TEMPS, ZERO_SLOT };
static int32_t temp_off(unsigned n)
{
    return -(int32_t)(n + 1) * 8;
}

/* ---- decoding ---- */

static int32_t reg_off(const struct ir_arg *a)
{
    switch (a->kind) {
    case IR_TEMP:
        return temp_off(a->num);
    case IR_GPR:
        return (int32_t)(offsetof(struct tcg_cpu, gpr) + a->num * 8u + (a->high ? 1 : 0));
    default:
        return temp_off(NONE_SLOT);
    }
}

static struct tci_arg arg_of(struct tci_op *o, const struct ir_arg *a, unsigned i)
{
    if (a->kind == IR_CONST) {
        o->k[i] = (uint64_t)a->value;
        return (struct tci_arg){ (int32_t)(offsetof(struct tci_op, k) + i * 8), SEL_OP };
    }
    return (struct tci_arg){ reg_off(a), SEL_CPU };
}

static struct tci_mem mem_of(const struct ir_mem *m)
{
    struct tci_mem t = {
        .base = m->base.kind == IR_NONE ? temp_off(ZERO_SLOT) : reg_off(&m->base),
        .index = m->index.kind == IR_NONE ? temp_off(ZERO_SLOT) : reg_off(&m->index),
        .seg = m->seg < 0 ? temp_off(ZERO_SLOT)
                          : (int32_t)(offsetof(struct tcg_cpu, seg_base) + (unsigned)m->seg * 8u),
        .shift = m->scale == 8   ? 3
                 : m->scale == 4 ? 2
                 : m->scale == 2 ? 1
                                 : 0,
        .align = m->flags & IR_MEM_ALIGN,
        .rmw = m->flags & IR_MEM_RMW,
        .disp = (uint64_t)m->disp,
        .mask = ev_mask(m->addr_size),
        .lin_mask = m->lin32 ? UINT32_MAX : UINT64_MAX,
    };
    return t;
}

static unsigned write_size(const struct ir_op *o)
{
    bool wide = o->op == IR_LD_STATE || o->op == IR_CALL || o->op == IR_F_GET ||
                o->op == IR_SETCC || o->op == IR_LINEAR;
    if (wide && o->dst.kind == IR_TEMP) {
        return 8;
    }
    return o->size ? o->size : 8;
}

static void decode(struct block *b, const struct ir_block *ir, const struct ir_op *in,
                   struct tci_op *o)
{
    memset(o, 0, sizeof(*o));
    o->op = in->op;
    o->size = in->size;
    o->wsize = (uint8_t)write_size(in);
    o->cond = in->cond;
    o->need = in->fneed & ir_flags_written(in);
    o->imm = in->imm;
    o->a = arg_of(o, &in->a, 0);
    o->b = arg_of(o, &in->b, 1);
    struct ir_arg data_bytes = ir_const(in->imm);
    o->c = arg_of(o, in->op == IR_CRC32 ? &data_bytes : &in->c, 2);
    o->dst = reg_off(&in->dst);
    o->dst2 = reg_off(&in->dst2);
    o->m = mem_of(&in->mem);
    if (in->op == IR_CALL) {
        o->helper = in->helper;
    } else if (in->op == IR_NATIVE) {
        o->native = &b->more->native[in->native - ir->native];
    }
}

static enum leave interpret(struct tcg_cpu *cpu, struct block *b, bool labels);

bool tci_compile(struct tcg *t, struct block *b, const struct ir_block *ir)
{
    size_t bytes = sizeof(struct tci_code) + ir->n * sizeof(struct tci_op);
    struct tci_code *code = malloc(bytes);
    struct block_more *m = block_more(b);
    if (ir->natives && !m->native) {
        m->native = malloc(ir->natives * sizeof(*m->native));
    }
    if (!code || (ir->natives && !m->native)) {
        free(code);
        return false;
    }
    if (ir->natives) {
        memcpy(m->native, ir->native, ir->natives * sizeof(*m->native));
    }
    m->interp = code;
    code->n = 0;
    for (unsigned i = 0; i < ir->n; i++) {
        if (ir->op[i].op != IR_NOP) {
            decode(b, ir, &ir->op[i], &code->op[code->n++]);
        }
    }
    interpret(NULL, b, true);
    if (!t->jit) {
        b->tb.code = b;
        b->tb.code_len = (uint32_t)bytes;
        t->interp_bytes += bytes;
    }
    return true;
}

void tci_free(struct block *b)
{
    if (b->more) {
        free(b->more->interp);
    }
}

/* ---- memory ---- */

static inline uint64_t reg64(struct tcg_cpu *cpu, int32_t off)
{
    uint64_t v;
    memcpy(&v, (uint8_t *)cpu + off, 8);
    return v;
}

static inline uint64_t offset_of_mem(struct tcg_cpu *cpu, const struct tci_mem *m)
{
    return (reg64(cpu, m->base) + (reg64(cpu, m->index) << m->shift) + m->disp) & m->mask;
}

static inline uint64_t linear_of(struct tcg_cpu *cpu, const struct tci_mem *m)
{
    return (offset_of_mem(cpu, m) + reg64(cpu, m->seg)) & m->lin_mask;
}

static inline uint8_t *plain(struct tcg_cpu *cpu, uint64_t linear, unsigned size, bool write)
{
    unsigned slot = tcg_tlb_slot(linear);
    uint64_t tag = write ? cpu->tlb->write[slot] : cpu->tlb->read[slot];
    return tag == ((linear + size - 1) & ~0xfffull) ? tcg_tlb_host(cpu->tlb, linear) : NULL;
}

static inline void check_align(struct tcg_cpu *cpu, const struct tci_mem *m, uint64_t linear,
                               unsigned size)
{
    if (m->align && linear & (size - 1)) {
        cpu->tcg->target->unaligned(cpu, linear);
    }
}

static inline uint64_t load(struct tcg_cpu *cpu, const struct tci_mem *m, unsigned size)
{
    uint64_t linear = linear_of(cpu, m);
    check_align(cpu, m, linear, size);
    uint8_t *p = plain(cpu, linear, size, m->rmw);
    if (!p && m->rmw) {
        cpu->tcg->target->probe_write(cpu, linear, size);
    }
    return p ? load_le(p, size) : cpu->tcg->target->load(cpu, linear, size);
}

static inline void store(struct tcg_cpu *cpu, const struct tci_mem *m, unsigned size, uint64_t v)
{
    uint64_t linear = linear_of(cpu, m);
    check_align(cpu, m, linear, size);
    uint8_t *p = plain(cpu, linear, size, true);
    if (p) {
        store_le(p, size, v);
    } else {
        cpu->tcg->target->store(cpu, linear, size, v);
    }
}

static void probe(struct tcg_cpu *cpu, const struct tci_mem *m, unsigned size)
{
    uint64_t linear = linear_of(cpu, m);
    if (!plain(cpu, linear, size, true)) {
        cpu->tcg->target->probe_write(cpu, linear, size);
    }
}

void native_by_c(struct tcg_cpu *cpu, const struct ir_native *n, uint64_t linear, bool align)
{
    const struct tcg_target *t = cpu->tcg->target;
    if (n->x87 && cpu->x87_live) {
        t->x87_sync(cpu, false);
    }
    if (!n->mem_size) {
        n->sem(cpu, n, NULL);
        return;
    }
    if (align && linear & (n->mem_size - 1u)) {
        t->unaligned(cpu, linear);
    }
    void *p = plain(cpu, linear, n->mem_size, n->mem_write);
    if (p) {
        n->sem(cpu, n, p);
        return;
    }
    if (n->mem_write) {
        t->probe_write(cpu, linear, n->mem_size);
    }
    /* x87 stores nothing when an unmasked exception comes up: then what was there is written back. */
    if (n->mem_read || n->encoding == ENC_X87) {
        t->load_bytes(cpu, linear, cpu->bounce, n->mem_size);
    }
    n->sem(cpu, n, cpu->bounce);
    if (n->mem_write) {
        t->store_bytes(cpu, linear, cpu->bounce, n->mem_size);
    }
}

/* ---- running ---- */

static inline void write_reg(struct tcg_cpu *cpu, int32_t off, unsigned wsize, uint64_t v)
{
    uint8_t *p = (uint8_t *)cpu + off;
    switch (wsize) {
    case 1:
        *p = (uint8_t)v;
        break;
    case 2: {
        uint16_t w = (uint16_t)v;
        memcpy(p, &w, 2);
        break;
    }
    case 4:
        v = (uint32_t)v;
        memcpy(p, &v, 8);
        break;
    default:
        memcpy(p, &v, 8);
    }
}

/* Where a block leads: the next one, or NULL with cpu->pc set and *why. */
static struct block *follow(struct tcg_cpu *cpu, struct tcg_link *l, enum leave *why)
{
    struct block *to = __atomic_load_n(&l->to, __ATOMIC_ACQUIRE);
    if (to && !__atomic_load_n(&cpu->exit_request, __ATOMIC_RELAXED)) {
        return to;
    }
    cpu->pc = l->pc;
    engine_of(cpu)->taken = l;
    *why = LEAVE_LOOKUP;
    return NULL;
}

static struct block *follow_pc(struct tcg_cpu *cpu, struct block *b, uint64_t pc, int64_t hint,
                               enum leave *why)
{
    const struct tcg_jc_entry *jc = hint == IR_JMP_MODE ? cpu->jc : cpu->jcs[b->tb.key.mode];
    const struct tcg_jc_entry *j = &jc[jc_slot(pc)];
    cpu->pc = pc;
    *why = LEAVE_LOOKUP;
    if (j->pc != pc || b->tb.key.cflags & TB_SINGLE || cpu->tcg->jit ||
        __atomic_load_n(&cpu->exit_request, __ATOMIC_RELAXED)) {
        return NULL;
    }
    return (struct block *)(uintptr_t)j->code;
}

/* Handlers that every operation of tcg/eval.h gets: four sizes, without flags and with. */
/* clang-format off */
#define PURE_OPS(X)                                                                                \
    X(MOV) X(ADD) X(ADC) X(SUB) X(SBB) X(AND) X(OR) X(XOR) X(ANDN) X(NOT) X(NEG) X(INC) X(DEC)     \
    X(SHL) X(SHR) X(SAR) X(ROL) X(ROR) X(RCL) X(RCR) X(SHLX) X(SHRX) X(SARX) X(RORX) X(SHLD)       \
    X(SHRD) X(IMUL) X(MULU2) X(MULS2) X(MULX) X(ADCX) X(ADOX) X(ZX8) X(ZX16) X(ZX32) X(SX8)        \
    X(SX16) X(SX32) X(BSWAP) X(BT) X(BTS) X(BTR) X(BTC) X(BSF) X(BSR) X(LZCNT) X(TZCNT)            \
    X(POPCNT) X(BLSR) X(BLSMSK) X(BLSI) X(BZHI) X(BEXTR) X(PDEP) X(PEXT) X(CRC32) X(CLC) X(STC)    \
    X(CMC)
/* clang-format on */
/* clang-format off */
#define OTHER_OPS(X)                                                                               \
    X(INSN) X(SETCC) X(CMOV) X(F_GET) X(F_SET) X(LEA) X(LINEAR) X(LD) X(LDZX) X(LDSX) X(ST)        \
    X(LDST_PROBE) X(A_RMW) X(A_XCHG) X(A_CMPXCHG) X(FENCE) X(LD_STATE) X(ST_STATE) X(CALL)         \
    X(NATIVE) X(GOTO) X(BRCC) X(BRNZ) X(JMP) X(EXIT)
/* clang-format on */

#define BASE(arg) ((arg).sel == SEL_CPU ? (const uint8_t *)cpu : (const uint8_t *)o)
#define ARG(arg)                                                                                   \
    ({                                                                                             \
        uint64_t v_;                                                                               \
        memcpy(&v_, BASE(arg) + (arg).off, 8);                                                     \
        v_;                                                                                        \
    })
#define NEXT()                                                                                     \
    do {                                                                                           \
        o++;                                                                                       \
        goto * o->label;                                                                           \
    } while (0)
#define PURE(name, size, flagged)                                                                  \
    L_##name##_##size##_##flagged:                                                                 \
    {                                                                                              \
        struct ir_val r =                                                                          \
            ev_op(IR_##name, size, ARG(o->a), ARG(o->b), ARG(o->c), (uint32_t)cpu->flags);         \
        if (flagged) {                                                                             \
            cpu->flags = r.flags;                                                                  \
        }                                                                                          \
        write_reg(cpu, o->dst, size, r.lo);                                                        \
        if (IR_##name == IR_MULU2 || IR_##name == IR_MULS2 || IR_##name == IR_MULX) {              \
            write_reg(cpu, o->dst2, size, r.hi);                                                   \
        }                                                                                          \
        NEXT();                                                                                    \
    }
#define PURE_ALL(name)                                                                             \
    PURE(name, 1, 0)                                                                               \
    PURE(name, 2, 0)                                                                               \
    PURE(name, 4, 0)                                                                               \
    PURE(name, 8, 0) PURE(name, 1, 1) PURE(name, 2, 1) PURE(name, 4, 1) PURE(name, 8, 1)

static unsigned size_index(unsigned size)
{
    return size == 8 ? 3 : size == 4 ? 2 : size == 2 ? 1 : 0;
}

/* labels: only fills in the handlers' addresses, which are known in here alone. */
static enum leave interpret(struct tcg_cpu *cpu, struct block *b, bool labels)
{
#define LABELS(name)                                                                               \
    [IR_##name * 8] = &&L_##name##_1_0, &&L_##name##_2_0, &&L_##name##_4_0, &&L_##name##_8_0,      \
                 &&L_##name##_1_1, &&L_##name##_2_1, &&L_##name##_4_1, &&L_##name##_8_1,
#define LABEL(name) [IR_##name] = &&L_##name,
    static const void *const pure[IR_OPCODES * 8] = { PURE_OPS(LABELS) };
    static const void *const other[IR_OPCODES] = { OTHER_OPS(LABEL) };
    struct tci_op *o = ((struct tci_code *)b->more->interp)->op;
    enum leave why = LEAVE_LOOKUP;
    struct block *next;
    uint64_t v;

    if (labels) {
        for (unsigned i = 0; i < ((struct tci_code *)b->more->interp)->n; i++, o++) {
            o->label = other[o->op] ? other[o->op]
                                    : pure[o->op * 8 + size_index(o->size) + (o->need ? 4 : 0)];
        }
        return LEAVE_LOOKUP;
    }

enter:
    engine_of(cpu)->now = b;
    o = ((struct tci_code *)b->more->interp)->op;
    if (b->tb.key.cflags & TB_ICOUNT) {
        bool asked = !(b->tb.key.cflags & TB_SINGLE) &&
                     __atomic_load_n(&cpu->exit_request, __ATOMIC_RELAXED);
        cpu->icount_left -= b->tb.insns;
        if (cpu->icount_left < 0 || asked) {
            cpu->icount_left += b->tb.insns;
            cpu->pc = b->tb.key.pc;
            return LEAVE_ICOUNT;
        }
    }
    goto * o->label;

    PURE_OPS(PURE_ALL)

L_INSN:
    cpu->pc = (uint64_t)o->imm;
    NEXT();
L_SETCC:
    write_reg(cpu, o->dst, o->wsize, ev_cond(o->cond, (uint32_t)cpu->flags));
    NEXT();
L_CMOV:
    v = ev_cond(o->cond, (uint32_t)cpu->flags) ? ARG(o->b) : ARG(o->a);
    write_reg(cpu, o->dst, o->wsize, v);
    NEXT();
L_F_GET:
    write_reg(cpu, o->dst, o->wsize, cpu->flags);
    NEXT();
L_F_SET:
    v = (uint64_t)o->imm & F_ALL;
    cpu->flags = (cpu->flags & ~v) | (ARG(o->a) & v);
    NEXT();
L_LEA:
    write_reg(cpu, o->dst, o->wsize, offset_of_mem(cpu, &o->m));
    NEXT();
L_LINEAR:
    write_reg(cpu, o->dst, o->wsize, linear_of(cpu, &o->m));
    NEXT();
L_LD:
    write_reg(cpu, o->dst, o->wsize, load(cpu, &o->m, o->size));
    NEXT();
L_LDZX:
    write_reg(cpu, o->dst, o->wsize, ev_zx(load(cpu, &o->m, (unsigned)o->imm), (unsigned)o->imm));
    NEXT();
L_LDSX:
    v = (uint64_t)ev_sx(load(cpu, &o->m, (unsigned)o->imm), (unsigned)o->imm);
    write_reg(cpu, o->dst, o->wsize, v);
    NEXT();
L_ST:
    store(cpu, &o->m, o->size, ARG(o->a));
    NEXT();
L_LDST_PROBE:
    probe(cpu, &o->m, o->size);
    NEXT();
L_A_RMW : {
    uint32_t f = (uint32_t)cpu->flags;
    v = slow_rmw(cpu, linear_of(cpu, &o->m), (unsigned)o->imm, o->size, ARG(o->b), &f);
    cpu->flags = f;
    write_reg(cpu, o->dst, o->wsize, v);
    NEXT();
}
L_A_XCHG:
    v = slow_xchg(cpu, linear_of(cpu, &o->m), o->size, ARG(o->a));
    write_reg(cpu, o->dst, o->wsize, v);
    NEXT();
L_A_CMPXCHG : {
    uint64_t expect = ARG(o->a);
    v = slow_cmpxchg(cpu, linear_of(cpu, &o->m), o->size, expect, ARG(o->b));
    cpu->flags = ir_eval(IR_SUB, o->size, expect, v, 0, 0).flags;
    write_reg(cpu, o->dst, o->wsize, v);
    NEXT();
}
L_FENCE:
    __sync_synchronize();
    NEXT();
L_LD_STATE:
    v = load_le((uint8_t *)cpu + o->imm, o->size);
    write_reg(cpu, o->dst, o->wsize, v);
    NEXT();
L_ST_STATE:
    store_le((uint8_t *)cpu + o->imm, o->size, ARG(o->a));
    NEXT();
L_CALL:
    if (o->imm && !ARG(o->c)) {
        NEXT();
    }
    v = o->helper->fn(cpu, ARG(o->a), ARG(o->b), ARG(o->c));
    write_reg(cpu, o->dst, o->wsize, v);
    NEXT();
L_NATIVE:
    native_by_c(cpu, o->native, o->native->mem_size ? linear_of(cpu, &o->m) : 0, o->m.align);
    NEXT();
L_GOTO:
    next = follow(cpu, &b->exit[0], &why);
    goto left;
L_BRCC:
    next = follow(cpu, &b->exit[ev_cond(o->cond, (uint32_t)cpu->flags) ? 0 : 1], &why);
    goto left;
L_BRNZ:
    next = follow(cpu, &b->exit[ev_zx(ARG(o->a), o->size) ? 0 : 1], &why);
    goto left;
L_JMP:
    next = follow_pc(cpu, b, ev_zx(ARG(o->a), o->size), o->imm, &why);
    goto left;
L_EXIT:
    return LEAVE_BLOCK;

left:
    if (next) {
        b = next;
        goto enter;
    }
    return why;
}

enum leave tci_run(struct tcg_cpu *cpu, struct block *b, struct tcg_link **link)
{
    uint64_t *zero = (uint64_t *)((uint8_t *)cpu + temp_off(ZERO_SLOT));
    *zero = 0;
    engine_of(cpu)->taken = NULL;
    enum leave why = interpret(cpu, b, false);
    *link = b->tb.key.cflags & TB_SINGLE ? NULL : engine_of(cpu)->taken;
    return why;
}
