/* SPDX-License-Identifier: MIT */
/* target/x86/translate-alu.c - arithmetic, logic, moves and bits: instructions without privilege.
 *
 * A destination in memory is loaded, computed and stored; with LOCK (or XCHG) it is one atomic
 * operation. The load asks whether the store will succeed (IR_MEM_RMW): ADC and its like cannot be
 * run twice once CF has changed.
 */
#include "target/x86/translate-int.h"

#include <stddef.h>
#include <string.h>

/* Where a result goes: a register in place, or memory by way of temporaries. */
struct place {
    bool mem;
    struct ir_mem m;
    struct ir_arg old; /* the operand's value */
    struct ir_arg out; /* where the operation writes */
};

static struct ir_arg load_to_modify(struct dc *d, const struct ir_mem *m, unsigned size)
{
    struct ir_mem rmw = *m;
    rmw.flags |= IR_MEM_RMW;
    return load(d, &rmw, size);
}

static struct place open_place(struct dc *d, unsigned i, unsigned size)
{
    struct place p = { .mem = is_mem(d, i) };
    if (p.mem) {
        p.m = mem_operand(d, i, size, ACCESS_RW);
        p.old = load_to_modify(d, &p.m, size);
        p.out = temp(d);
    } else {
        p.old = p.out = reg_arg(d->op[i].reg.value);
    }
    return p;
}

static void close_place(struct dc *d, const struct place *p, unsigned size)
{
    if (p->mem) {
        store(d, &p->m, size, p->out);
    }
}

static void atomic(struct dc *d, unsigned op, unsigned size, const struct ir_mem *m,
                   struct ir_arg dst, struct ir_arg b)
{
    struct ir_op *o = emit(d, IR_A_RMW, size, dst, ir_none(), b);
    o->mem = *m;
    o->imm = op;
}

static void lock_rmw(struct dc *d, unsigned op, unsigned size, struct ir_arg b)
{
    struct ir_mem m = mem_operand(d, 0, size, ACCESS_RW);
    atomic(d, op, size, &m, ir_none(), b);
}

void emit_alu(struct dc *d)
{
    unsigned size = op_size(d, 0);
    struct ir_arg src = read_op(d, 1, size);
    if (has_lock(d)) {
        lock_rmw(d, d->arg, size, src);
        return;
    }
    struct place p = open_place(d, 0, size);
    emit(d, d->arg, size, p.out, p.old, src);
    close_place(d, &p, size);
}

void emit_cmp(struct dc *d)
{
    unsigned size = op_size(d, 0);
    struct ir_arg a = read_op(d, 0, size);
    struct ir_arg b = read_op(d, 1, size);
    emit(d, IR_SUB, size, ir_none(), a, b);
}

void emit_test(struct dc *d)
{
    unsigned size = op_size(d, 0);
    struct ir_arg a = read_op(d, 0, size);
    struct ir_arg b = read_op(d, 1, size);
    emit(d, IR_AND, size, ir_none(), a, b);
}

static void unary(struct dc *d)
{
    unsigned size = op_size(d, 0);
    if (has_lock(d)) {
        lock_rmw(d, d->arg, size, ir_none());
        return;
    }
    struct place p = open_place(d, 0, size);
    emit(d, d->arg, size, p.out, p.old, ir_none());
    close_place(d, &p, size);
}

void emit_incdec(struct dc *d)
{
    unary(d);
}

void emit_neg(struct dc *d)
{
    unary(d);
}

void emit_not(struct dc *d)
{
    unary(d);
}

void emit_shift(struct dc *d)
{
    unsigned size = op_size(d, 0);
    struct ir_arg count =
        is_imm(d, 1) ? ir_const(d->op[1].imm.value.u & (size == 8 ? 63 : 31)) : ir_gpr(RCX);
    struct place p = open_place(d, 0, size);
    emit(d, d->arg, size, p.out, p.old, count);
    close_place(d, &p, size);
}

void emit_shld(struct dc *d)
{
    unsigned size = op_size(d, 0);
    struct ir_arg count =
        is_imm(d, 2) ? ir_const(d->op[2].imm.value.u & (size == 8 ? 63 : 31)) : ir_gpr(RCX);
    struct place p = open_place(d, 0, size);
    emit(d, d->arg, size, p.out, p.old, reg_arg(d->op[1].reg.value))->c = count;
    close_place(d, &p, size);
}

/* ---- multiplication and division ---- */

static struct ir_arg high_half(unsigned size)
{
    struct ir_arg h = ir_gpr(size == 1 ? RAX : RDX);
    h.high = size == 1;
    return h;
}

void emit_mul(struct dc *d)
{
    unsigned size = op_size(d, 0);
    struct ir_arg src = read_op(d, 0, size);
    emit(d, d->arg, size, ir_gpr(RAX), ir_gpr(RAX), src)->dst2 = high_half(size);
}

void emit_imul(struct dc *d)
{
    unsigned size = op_size(d, 0);
    if (d->in.operand_count_visible == 1) {
        emit_mul(d);
        return;
    }
    bool three = d->in.operand_count_visible == 3;
    struct ir_arg dst = reg_arg(d->op[0].reg.value);
    struct ir_arg a = three ? read_op(d, 1, size) : dst;
    struct ir_arg b = read_op(d, three ? 2 : 1, size);
    emit(d, IR_IMUL, size, dst, a, b);
}

/* The C meaning of a division that is a NATIVE. */
static void divide(struct tcg_cpu *cpu, const struct ir_native *n, void *mem)
{
    uint64_t by = 0;
    unsigned size = n->w ? 8 : 4;
    memcpy(&by, mem ? mem : &cpu->gpr[n->rm], size);
    (n->reg == 7 ? &x86_h_idiv : &x86_h_div)->fn(cpu, by, size, 0);
}

/* DIV and IDIV, which the host does as well; what it refuses comes back as #DE. */
static void native_div(struct dc *d, unsigned size)
{
    struct ir_native *n = &d->b->native[d->b->natives++];
    *n = (struct ir_native){ .encoding = ENC_LEGACY,
                             .opcode = 0xf7,
                             .w = size == 8,
                             .reg_class = RC_FIXED,
                             .reg = d->arg ? 7 : 6,
                             .fw = F_ALL,
                             .may_raise = true,
                             .sem = divide,
                             .len = d->in.length };
    memcpy(n->bytes, d->bytes, n->len);
    struct ir_mem m = { .seg = -1, .addr_size = 8 };
    if (is_mem(d, 0)) {
        n->mem_size = (uint8_t)size;
        n->mem_read = true;
        m = mem_operand(d, 0, size, ACCESS_R);
    } else {
        n->rm_class = RC_GPR;
        n->rm = (uint8_t)reg_arg(d->op[0].reg.value).num;
        n->rm_read = true;
    }
    struct ir_op *o = emit(d, IR_NATIVE, 0, ir_none(), ir_none(), ir_none());
    o->native = n;
    o->mem = m;
    o->fneed = n->fw;
}

void emit_div(struct dc *d)
{
    unsigned size = op_size(d, 0);
    if (size >= 4) {
        native_div(d, size);
        return;
    }
    struct ir_arg src = zx(d, read_op(d, 0, size), size);
    call(d, d->arg ? &x86_h_idiv : &x86_h_div, ir_none(), src, ir_const(size), ir_none());
}

void emit_mulx(struct dc *d)
{
    unsigned size = op_size(d, 0);
    if (!need(d, X86_BMI2)) {
        return;
    }
    struct ir_arg src = read_op(d, 2, size);
    struct ir_arg hi = reg_arg(d->op[0].reg.value), lo = reg_arg(d->op[1].reg.value);
    struct ir_arg out = hi.num == lo.num ? temp(d) : lo; /* the same twice: the high half stays */
    emit(d, IR_MULX, size, out, ir_gpr(RDX), src)->dst2 = hi;
}

void emit_adcx(struct dc *d)
{
    unsigned size = op_size(d, 0);
    if (!need(d, X86_ADX)) {
        return;
    }
    struct ir_arg src = read_op(d, 1, size);
    struct ir_arg dst = reg_arg(d->op[0].reg.value);
    emit(d, d->arg, size, dst, dst, src);
}

/* arg 0: ASCII and decimal adjustments without an operand */
void emit_bcd(struct dc *d)
{
    static const struct ir_helper *const fn[] = { &x86_h_daa, &x86_h_das, &x86_h_aaa,
                                                  &x86_h_aas, &x86_h_aam, &x86_h_aad };
    call_k(d, fn[d->arg], d->arg >= 4 ? (int64_t)(d->op[0].imm.value.u & 0xff) : 0, 0, 0);
}

/* ---- moves ---- */

void emit_mov(struct dc *d)
{
    for (unsigned i = 0; i < 2; i++) {
        if (is_reg(d, i)) {
            ZydisRegister r = d->op[i].reg.value;
            if (r >= ZYDIS_REGISTER_ES && r <= ZYDIS_REGISTER_GS) {
                emit_mov_seg(d);
                return;
            }
            if (r >= ZYDIS_REGISTER_CR0 && r <= ZYDIS_REGISTER_CR15) {
                emit_mov_cr(d);
                return;
            }
            if (r >= ZYDIS_REGISTER_DR0 && r <= ZYDIS_REGISTER_DR15) {
                emit_mov_dr(d);
                return;
            }
        }
    }
    unsigned size = op_size(d, 0);
    if (is_mem(d, 1)) {
        struct ir_mem m = mem_operand(d, 1, size, ACCESS_R);
        emit(d, IR_LD, size, reg_arg(d->op[0].reg.value), ir_none(), ir_none())->mem = m;
        return;
    }
    write_op(d, 0, size, read_op(d, 1, size));
}

static void extend(struct dc *d, enum ir_opcode load_op, enum ir_opcode op8, enum ir_opcode op16,
                   enum ir_opcode op32)
{
    unsigned size = op_size(d, 0), from = op_size(d, 1);
    struct ir_arg dst = reg_arg(d->op[0].reg.value);
    if (is_mem(d, 1)) {
        struct ir_mem m = mem_operand(d, 1, from, ACCESS_R);
        struct ir_op *o = emit(d, load_op, size, dst, ir_none(), ir_none());
        o->mem = m;
        o->imm = from;
        return;
    }
    struct ir_arg src = reg_arg(d->op[1].reg.value);
    if (from >= size) { /* MOVSXD without REX.W */
        mov(d, size, dst, src);
        return;
    }
    emit(d, from == 1 ? op8 : from == 2 ? op16 : op32, size, dst, src, ir_none());
}

void emit_movzx(struct dc *d)
{
    extend(d, IR_LDZX, IR_ZX8, IR_ZX16, IR_ZX32);
}

void emit_movsx(struct dc *d)
{
    unsigned size = op_size(d, 0);
    if (is_mem(d, 1) && op_size(d, 1) >= size) {
        struct ir_mem m = mem_operand(d, 1, size, ACCESS_R);
        emit(d, IR_LD, size, reg_arg(d->op[0].reg.value), ir_none(), ir_none())->mem = m;
        return;
    }
    extend(d, IR_LDSX, IR_SX8, IR_SX16, IR_SX32);
}

void emit_lea(struct dc *d)
{
    struct ir_op *o =
        emit(d, IR_LEA, op_size(d, 0), reg_arg(d->op[0].reg.value), ir_none(), ir_none());
    o->mem = mem_address(d, 1);
    o->mem.seg = -1;
    o->mem.lin32 = false;
}

void emit_xchg(struct dc *d)
{
    unsigned size = op_size(d, 0);
    if (is_mem(d, 0) || is_mem(d, 1)) {
        unsigned m_at = is_mem(d, 0) ? 0 : 1;
        struct ir_arg r = reg_arg(d->op[1 - m_at].reg.value);
        struct ir_mem m = mem_operand(d, m_at, size, ACCESS_RW);
        struct ir_arg t = temp(d);
        emit(d, IR_A_XCHG, size, t, r, ir_none())->mem = m;
        mov(d, size, r, t);
        return;
    }
    struct ir_arg a = reg_arg(d->op[0].reg.value), b = reg_arg(d->op[1].reg.value);
    struct ir_arg t = emit_t(d, IR_MOV, size, a, ir_none());
    mov(d, size, a, b);
    mov(d, size, b, t);
}

void emit_xadd(struct dc *d)
{
    unsigned size = op_size(d, 0);
    struct ir_arg src = reg_arg(d->op[1].reg.value);
    struct ir_arg old = temp(d);
    if (has_lock(d)) {
        struct ir_mem m = mem_operand(d, 0, size, ACCESS_RW);
        atomic(d, IR_ADD, size, &m, old, src);
        mov(d, size, src, old);
        return;
    }
    struct place p = open_place(d, 0, size);
    mov(d, size, old, p.old);
    struct ir_arg sum = emit_t(d, IR_ADD, size, old, src);
    if (p.mem) {
        store(d, &p.m, size, sum);
        mov(d, size, src, old);
    } else {
        mov(d, size, src, old);
        mov(d, size, p.out, sum);
    }
}

/* The accumulator becomes `old` unless they were equal (F says); a 32-bit accumulator that was
 * equal keeps its upper half. */
static void cmpxchg_accumulator(struct dc *d, unsigned size, struct ir_arg old)
{
    if (size == 4) {
        old = zx(d, old, 4);
        size = 8;
    }
    emit(d, IR_CMOV, size, ir_gpr(RAX), ir_gpr(RAX), old)->cond = CC_NE;
}

void emit_cmpxchg(struct dc *d)
{
    unsigned size = op_size(d, 0);
    struct ir_arg src = reg_arg(d->op[1].reg.value);
    if (has_lock(d)) {
        struct ir_arg old = temp(d);
        struct ir_mem m = mem_operand(d, 0, size, ACCESS_RW);
        emit(d, IR_A_CMPXCHG, size, old, ir_gpr(RAX), src)->mem = m;
        cmpxchg_accumulator(d, size, old);
        return;
    }
    struct place p = open_place(d, 0, size);
    struct ir_arg old = p.mem ? p.old : emit_t(d, IR_MOV, size, p.old, ir_none());
    struct ir_arg new = temp(d), wide = size == 4 ? zx(d, src, 4) : src;
    emit(d, IR_SUB, size, ir_none(), ir_gpr(RAX), old);
    emit(d, IR_CMOV, size, new, old, src)->cond = CC_E;
    if (p.mem) {
        store(d, &p.m, size, new);
        cmpxchg_accumulator(d, size, old);
    } else {
        /* both may be the same register: then the destination wins, which is written when equal */
        cmpxchg_accumulator(d, size, old);
        if (size == 4 && p.out.num != RAX) { /* one that differs keeps its upper half */
            emit(d, IR_CMOV, 8, p.out, p.out, wide)->cond = CC_E;
        } else if (p.out.num != RAX || p.out.high) {
            mov(d, size, p.out, new);
        } else {
            emit(d, IR_CMOV, size, p.out, ir_gpr(RAX), new)->cond = CC_E;
        }
    }
}

void emit_cmpxchg8b(struct dc *d)
{
    unsigned size = op_size(d, 0);
    if (!need(d, size == 16 ? X86_CX16 : X86_CX8)) {
        return;
    }
    struct ir_arg at = linear_operand(d, 0, size, ACCESS_RW);
    call(d, size == 16 ? &x86_h_cmpxchg16b : &x86_h_cmpxchg8b, ir_none(), at, ir_none(), ir_none());
}

void emit_bswap(struct dc *d)
{
    struct ir_arg r = reg_arg(d->op[0].reg.value);
    if (op_size(d, 0) == 2) { /* undefined; processors give 0 */
        mov(d, 2, r, ir_const(0));
        return;
    }
    emit(d, IR_BSWAP, op_size(d, 0), r, r, ir_none());
}

/* Swaps the bytes of v without touching flags. */
static struct ir_arg swapped(struct dc *d, unsigned size, struct ir_arg v)
{
    if (size == 2) {
        struct ir_arg t = emit_t(d, IR_BSWAP, 4, v, ir_none());
        return emit_t(d, IR_SHRX, 4, t, ir_const(16));
    }
    return emit_t(d, IR_BSWAP, size, v, ir_none());
}

void emit_movbe(struct dc *d)
{
    unsigned size = op_size(d, 0);
    if (!need(d, X86_MOVBE)) {
        return;
    }
    write_op(d, 0, size, swapped(d, size, read_op(d, 1, size)));
}

void emit_movnti(struct dc *d)
{
    if (!need(d, X86_SSE2)) {
        return;
    }
    write_op(d, 0, op_size(d, 0), read_op(d, 1, op_size(d, 0)));
}

void emit_xlat(struct dc *d)
{
    unsigned seg = DS; /* the operand is hidden, the prefix is not */
    static const uint64_t prefix[] = { ZYDIS_ATTRIB_HAS_SEGMENT_ES, ZYDIS_ATTRIB_HAS_SEGMENT_CS,
                                       ZYDIS_ATTRIB_HAS_SEGMENT_SS, ZYDIS_ATTRIB_HAS_SEGMENT_DS,
                                       ZYDIS_ATTRIB_HAS_SEGMENT_FS, ZYDIS_ATTRIB_HAS_SEGMENT_GS };
    for (unsigned i = 0; i < 6; i++) {
        if (d->in.attributes & prefix[i]) {
            seg = i;
        }
    }
    struct ir_mem m = mem_at(d, seg, ir_gpr(RBX), 0, addr_size(d));
    m.index = zx(d, ir_gpr(RAX), 1);
    check_mem(d, &m, seg, 1, ACCESS_R);
    emit(d, IR_LD, 1, ir_gpr(RAX), ir_none(), ir_none())->mem = m;
}

/* ---- bits ---- */

/* The operand of a bit string instruction: memory near the operand as the signed bit offset says. */
static struct ir_mem bit_string(struct dc *d, unsigned size, struct ir_arg offset, unsigned access)
{
    struct ir_mem m = mem_address(d, 0);
    unsigned log2_bits = size == 8 ? 6 : size == 4 ? 5 : 4;
    unsigned wide = d->code64 ? 8 : 4;
    struct ir_arg o = offset;
    if (size < wide) {
        o = emit_t(d, size == 2 ? IR_SX16 : IR_SX32, wide, offset, ir_none());
    }
    if (m.index.kind != IR_NONE) {
        m.base = effective(d, &m);
        m.disp = 0;
    }
    m.index = emit_t(d, IR_SARX, wide, o, ir_const(log2_bits));
    m.scale = (uint8_t)size;
    check_mem(d, &m, segment_of(d, 0), size, access);
    return m;
}

void emit_bt(struct dc *d)
{
    unsigned size = op_size(d, 0), op = d->arg;
    struct ir_arg bit = is_imm(d, 1) ? ir_const(d->op[1].imm.value.u & (8 * size - 1))
                                     : reg_arg(d->op[1].reg.value);
    if (!is_mem(d, 0)) {
        struct ir_arg r = reg_arg(d->op[0].reg.value);
        emit(d, op, size, op == IR_BT ? ir_none() : r, r, bit);
        return;
    }
    unsigned access = op == IR_BT ? ACCESS_R : ACCESS_RW;
    struct ir_mem m =
        is_imm(d, 1) ? mem_operand(d, 0, size, access) : bit_string(d, size, bit, access);
    if (has_lock(d)) {
        atomic(d, op, size, &m, ir_none(), bit);
        return;
    }
    struct ir_arg old = op == IR_BT ? load(d, &m, size) : load_to_modify(d, &m, size);
    struct ir_arg out = op == IR_BT ? ir_none() : temp(d);
    emit(d, op, size, out, old, bit);
    if (op != IR_BT) {
        store(d, &m, size, out);
    }
}

void emit_bsf(struct dc *d)
{
    unsigned size = op_size(d, 0);
    struct ir_arg src = read_op(d, 1, size);
    struct ir_arg dst = reg_arg(d->op[0].reg.value);
    emit(d, d->arg, size, dst, src, dst);
}

/* LZCNT, TZCNT, POPCNT: the decoder takes the first two for BSR and BSF on models without. */
void emit_count(struct dc *d)
{
    unsigned size = op_size(d, 0);
    if (d->arg == IR_POPCNT && !need(d, X86_POPCNT)) {
        return;
    }
    struct ir_arg src = read_op(d, 1, size);
    emit(d, d->arg, size, reg_arg(d->op[0].reg.value), src, ir_none());
}

void emit_andn(struct dc *d)
{
    unsigned size = op_size(d, 0);
    if (!need(d, X86_BMI1)) {
        return;
    }
    struct ir_arg b = read_op(d, 2, size);
    emit(d, IR_ANDN, size, reg_arg(d->op[0].reg.value), reg_arg(d->op[1].reg.value), b);
}

void emit_bls(struct dc *d)
{
    unsigned size = op_size(d, 0);
    if (!need(d, X86_BMI1)) {
        return;
    }
    struct ir_arg src = read_op(d, 1, size);
    emit(d, d->arg, size, reg_arg(d->op[0].reg.value), src, ir_none());
}

/* BZHI, BEXTR: source, then control */
void emit_bzhi(struct dc *d)
{
    unsigned size = op_size(d, 0);
    if (!need(d, d->arg == IR_BEXTR ? X86_BMI1 : X86_BMI2)) {
        return;
    }
    struct ir_arg src = read_op(d, 1, size);
    emit(d, d->arg, size, reg_arg(d->op[0].reg.value), src, reg_arg(d->op[2].reg.value));
}

void emit_shx(struct dc *d)
{
    unsigned size = op_size(d, 0);
    if (!need(d, X86_BMI2)) {
        return;
    }
    struct ir_arg src = read_op(d, 1, size);
    emit(d, d->arg, size, reg_arg(d->op[0].reg.value), src, reg_arg(d->op[2].reg.value));
}

void emit_rorx(struct dc *d)
{
    unsigned size = op_size(d, 0);
    if (!need(d, X86_BMI2)) {
        return;
    }
    struct ir_arg src = read_op(d, 1, size);
    emit(d, IR_RORX, size, reg_arg(d->op[0].reg.value), src,
         ir_const(d->op[2].imm.value.u & (size == 8 ? 63 : 31)));
}

void emit_pdep(struct dc *d)
{
    unsigned size = op_size(d, 0);
    if (!need(d, X86_BMI2)) {
        return;
    }
    struct ir_arg mask = read_op(d, 2, size);
    emit(d, d->arg, size, reg_arg(d->op[0].reg.value), reg_arg(d->op[1].reg.value), mask);
}

void emit_crc32(struct dc *d)
{
    if (!need(d, X86_SSE42)) {
        return;
    }
    struct ir_arg src = read_op(d, 1, op_size(d, 1));
    struct ir_arg dst = reg_arg(d->op[0].reg.value);
    if (src.high) {
        src = emit_t(d, IR_MOV, 1, src, ir_none());
    }
    emit(d, IR_CRC32, 4, dst, dst, src)->imm = op_size(d, 1);
}

/* ---- conditions and flags ---- */

void emit_setcc(struct dc *d)
{
    struct ir_arg out = is_mem(d, 0) ? temp(d) : reg_arg(d->op[0].reg.value);
    if (is_mem(d, 0)) {
        struct ir_mem m = mem_operand(d, 0, 1, ACCESS_W);
        emit(d, IR_SETCC, 1, out, ir_none(), ir_none())->cond = d->in.opcode & 15;
        store(d, &m, 1, out);
        return;
    }
    emit(d, IR_SETCC, 1, out, ir_none(), ir_none())->cond = d->in.opcode & 15;
}

void emit_cmov(struct dc *d)
{
    unsigned size = op_size(d, 0);
    if (!need(d, X86_CMOV)) {
        return;
    }
    struct ir_arg src = read_op(d, 1, size);
    struct ir_arg dst = reg_arg(d->op[0].reg.value);
    emit(d, IR_CMOV, size, dst, dst, src)->cond = d->in.opcode & 15;
}

/* CBW, CWDE, CDQE; arg: bytes of the result */
void emit_cbw(struct dc *d)
{
    static const uint8_t op[9] = { [2] = IR_SX8, [4] = IR_SX16, [8] = IR_SX32 };
    emit(d, op[d->arg], d->arg, ir_gpr(RAX), ir_gpr(RAX), ir_none());
}

/* CWD, CDQ, CQO; arg: bytes of the result */
void emit_cwd(struct dc *d)
{
    if (d->arg == 2) {
        struct ir_arg t = emit_t(d, IR_SX16, 4, ir_gpr(RAX), ir_none());
        mov(d, 2, ir_gpr(RDX), emit_t(d, IR_SARX, 4, t, ir_const(31)));
        return;
    }
    emit(d, IR_SARX, d->arg, ir_gpr(RDX), ir_gpr(RAX), ir_const(d->arg * 8 - 1));
}

static struct ir_arg ah(void)
{
    struct ir_arg a = ir_gpr(RAX);
    a.high = true;
    return a;
}

void emit_lahf(struct dc *d)
{
    struct ir_arg f = emit_t(d, IR_F_GET, 8, ir_none(), ir_none());
    struct ir_arg with_fixed = temp(d);
    lea(d, 8, with_fixed, f, EF_FIXED, 8);
    mov(d, 1, ah(), with_fixed);
}

void emit_sahf(struct dc *d)
{
    struct ir_arg v = zx(d, ah(), 1);
    emit(d, IR_F_SET, 8, ir_none(), v, ir_none())->imm = F_SF | F_ZF | F_AF | F_PF | F_CF;
}

void emit_salc(struct dc *d)
{
    struct ir_arg cf = temp(d);
    emit(d, IR_SETCC, 1, cf, ir_none(), ir_none())->cond = CC_B;
    struct ir_arg wide = zx(d, cf, 1);
    struct ir_arg less = temp(d);
    lea(d, 8, less, wide, -1, 8);
    emit(d, IR_NOT, 1, ir_gpr(RAX), less, ir_none());
}

void emit_flag(struct dc *d)
{
    emit(d, d->arg, 1, ir_none(), ir_none(), ir_none());
}

/* Clears a bit of x86_cpu.eflags; the arithmetic flags stay. */
static struct ir_arg eflags_without(struct dc *d, unsigned bit)
{
    struct ir_arg e = ld_state(d, 4, offsetof(struct x86_cpu, eflags));
    struct ir_arg up = emit_t(d, IR_SHLX, 4, e, ir_const(31 - bit));
    struct ir_arg b = emit_t(d, IR_SHRX, 4, up, ir_const(31));
    struct ir_arg in_place = emit_t(d, IR_SHLX, 4, b, ir_const(bit));
    struct ir_arg minus = emit_t(d, IR_NOT, 4, in_place, ir_none());
    struct ir_arg out = temp(d);
    struct ir_op *o = emit(d, IR_LEA, 4, out, ir_none(), ir_none());
    o->mem.base = e;
    o->mem.index = minus;
    o->mem.scale = 1;
    o->mem.disp = 1;
    o->mem.addr_size = 4;
    return out;
}

/* CLD, STD */
void emit_df(struct dc *d)
{
    struct ir_arg e = eflags_without(d, 10);
    if (d->arg) {
        struct ir_arg set = temp(d);
        lea(d, 4, set, e, EF_DF, 4);
        e = set;
    }
    st_state(d, 4, offsetof(struct x86_cpu, eflags), e);
}

void emit_cli(struct dc *d)
{
    unsigned iopl = (d->mode & MODE_IOPL) >> MODE_IOPL_SHIFT;
    if (d->cpl > iopl || d->vm86) {
        call_k(d, &x86_h_cli, 0, 0, (int64_t)d->next);
        leave(d);
        return;
    }
    st_state(d, 4, offsetof(struct x86_cpu, eflags), eflags_without(d, 9));
}

void emit_nop(struct dc *d)
{
    (void)d;
}
