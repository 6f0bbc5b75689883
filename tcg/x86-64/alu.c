/* SPDX-License-Identifier: MIT */
/* tcg/x86-64/alu.c - arithmetic: one host instruction for one operation where operands allow. */
#include "tcg/x86-64/gen.h"

/* ---- two operands to two operands ---- */

static bool same_arg(const struct ir_arg *a, const struct ir_arg *b)
{
    return a->kind == b->kind && a->num == b->num && a->high == b->high;
}

static bool in_reg(const struct gen *g, const struct ir_arg *a, unsigned reg)
{
    return (reg_of(g, a) & 0xff) != NO_REG && (reg_of(g, a) & 15) == reg;
}

/* A register that holds a's value and may be changed, for a result that goes to dst; b (may be NULL)
 * is not in it afterwards unless it is the same operand. */
static unsigned target(struct gen *g, const struct ir_arg *dst, const struct ir_arg *a,
                       const struct ir_arg *b, unsigned size)
{
    if (dst->kind == IR_GPR && !dst->high && gpr_home[dst->num] != NO_REG) {
        unsigned home = gpr_home[dst->num];
        bool same = reg_of(g, a) == home;
        if (same) {
            return home; /* 1:1, `op home, b`; also when b is home */
        }
        if (!b || !in_reg(g, b, home)) {
            load_reg(g, home, a, size, false);
            return home;
        }
    } else if (dst->kind == IR_GPR && !dst->high && cache_wanted(g, dst->num)) {
        unsigned c = cache_reg(g, dst->num);
        if (same_arg(dst, a)) {
            return to_reg(g, a, 8);
        }
        if (c != NO_REG && size >= 4 && (!b || !in_reg(g, b, c))) {
            g->busy |= (uint16_t)(1u << c);
            load_reg(g, c, a, size, true);
            return c;
        }
    } else if (dst->kind == IR_TEMP && dies_here(g, a) && g->temp[a->num].where == T_REG) {
        unsigned r = g->temp[a->num].reg; /* goes on as the result */
        g->temp[a->num].where = T_NONE;
        g->owner[r] = FREE;
        g->busy |= (uint16_t)(1u << r);
        return r;
    }
    unsigned s = scratch(g);
    load_reg(g, s, a, size, true);
    return s;
}

/* The operation can work on the guest register where it is in memory. */
static bool in_place(const struct gen *g, const struct ir_op *o, const struct ir_arg *a)
{
    return o->dst.kind == IR_GPR && gpr_home[o->dst.num] == NO_REG && same_arg(&o->dst, a) &&
           o->size != 4 && !cache_wanted(g, o->dst.num);
}

struct src src_of(struct gen *g, const struct ir_arg *a, unsigned size)
{
    if (a->kind == IR_NONE) {
        return (struct src){ .reg = NO_REG };
    }
    if (is_const(a)) {
        int64_t v = size == 8   ? a->value
                    : size == 4 ? (int32_t)a->value
                    : size == 2 ? (int16_t)a->value
                                : (int8_t)a->value;
        if (fits32(v)) {
            return (struct src){ .is_const = true, .value = v };
        }
    }
    return (struct src){ .reg = (uint8_t)to_reg(g, a, size) };
}

static enum alu alu_of(unsigned op)
{
    switch (op) {
    case IR_ADD:
        return ALU_ADD;
    case IR_OR:
        return ALU_OR;
    case IR_ADC:
        return ALU_ADC;
    case IR_SBB:
        return ALU_SBB;
    case IR_AND:
        return ALU_AND;
    case IR_SUB:
        return ALU_SUB;
    default:
        return ALU_XOR;
    }
}

static bool commutes(unsigned op)
{
    return op == IR_ADD || op == IR_OR || op == IR_ADC || op == IR_AND || op == IR_XOR ||
           op == IR_IMUL || op == IR_ADCX || op == IR_ADOX;
}

/* Sum of registers or register and constant into another register: LEA, when flags do not matter. */
static bool by_lea(struct gen *g, const struct ir_op *o)
{
    unsigned ra = reg_of(g, &o->a), rb = reg_of(g, &o->b);
    bool sub = o->op == IR_SUB;
    int64_t k = sub ? (int64_t)(0 - (uint64_t)o->b.value) : o->b.value;
    if ((o->op != IR_ADD && !sub) || o->size < 4 || o->fneed || o->dst.kind == IR_NONE ||
        ra == NO_REG || same_arg(&o->dst, &o->a) || same_arg(&o->dst, &o->b)) {
        return false;
    }
    if (is_const(&o->b) ? !fits32(k) : sub || rb == NO_REG) {
        return false;
    }
    unsigned d = dst_reg(g, &o->dst);
    as_lea(&g->a, o->size, d, is_const(&o->b) ? rm_at(ra, (int32_t)k) : rm_sum(ra, rb, 1, 0));
    finish(g, &o->dst, d, o->size);
    return true;
}

static void compare(struct gen *g, const struct ir_op *o)
{
    struct as *a = &g->a;
    bool test = o->op == IR_AND;
    const struct ir_arg *x = &o->a, *y = &o->b;
    if (test && is_const(x)) {
        x = &o->b;
        y = &o->a;
    }
    struct rm m = is_const(x) ? rm_reg(to_reg(g, x, o->size)) : rm_of(g, x, o->size);
    struct src s = { .is_const = false };
    if (!is_const(y) && !m.mem && !test) { /* cmp reg, rm */
        struct rm n = rm_of(g, y, o->size);
        as_alu(a, ALU_CMP, o->size, m.reg, n);
        return;
    }
    s = src_of(g, y, o->size);
    if (s.is_const && test) {
        as_digit(a, 0xf6, o->size, 0, m);
        as_imm(a, o->size, s.value);
    } else if (s.is_const && s.value == 0 && !m.mem && !(o->fneed & F_AF)) {
        as_op(a, 0x84, o->size, m.reg, m); /* test reg, reg */
    } else if (s.is_const) {
        as_alu_imm(a, ALU_CMP, o->size, m, s.value);
    } else if (test) {
        as_op(a, 0x84, o->size, s.reg, m);
    } else {
        as_alu_to(a, ALU_CMP, o->size, m, s.reg);
    }
}

static void binary(struct gen *g, const struct ir_op *o)
{
    const struct ir_arg *x = &o->a, *y = &o->b;
    if (o->dst.kind == IR_NONE && (o->op == IR_SUB || o->op == IR_AND)) {
        if (o->fneed) {
            compare(g, o);
            flags_written(g, o);
        }
        return;
    }
    if (by_lea(g, o)) {
        return;
    }
    if (commutes(o->op) &&
        ((is_const(x) && !is_const(y)) || (same_arg(&o->dst, y) && !same_arg(&o->dst, x)))) {
        x = &o->b;
        y = &o->a;
    }
    enum alu op = alu_of(o->op);
    struct src s;
    if (in_place(g, o, x)) {
        s = src_of(g, y, o->size);
        flags_before(g, o);
        struct rm slot = rm_cpu(gpr_off(o->dst.num));
        if (s.is_const) {
            as_alu_imm(&g->a, op, o->size, slot, s.value);
        } else {
            as_alu_to(&g->a, op, o->size, slot, s.reg);
        }
        flags_written(g, o);
        return;
    }
    if (is_const(y)) {
        s = src_of(g, y, o->size);
        unsigned d = target(g, &o->dst, x, NULL, o->size);
        flags_before(g, o);
        if (s.is_const) {
            as_alu_imm(&g->a, op, o->size, rm_reg(d), s.value);
        } else {
            as_alu(&g->a, op, o->size, d, rm_reg(s.reg));
        }
        flags_written(g, o);
        finish(g, &o->dst, d, o->size);
        return;
    }
    struct rm m = rm_of(g, y, o->size);
    unsigned d = target(g, &o->dst, x, y, o->size);
    flags_before(g, o);
    as_alu(&g->a, op, o->size, d, m);
    flags_written(g, o);
    finish(g, &o->dst, d, o->size);
}

/* ---- one operand ---- */

static void unary_code(struct as *a, unsigned op, unsigned size, struct rm m)
{
    switch (op) {
    case IR_NOT:
        as_digit(a, 0xf6, size, 2, m);
        break;
    case IR_NEG:
        as_digit(a, 0xf6, size, 3, m);
        break;
    case IR_INC:
        as_digit(a, 0xfe, size, 0, m);
        break;
    default:
        as_digit(a, 0xfe, size, 1, m);
    }
}

static void unary(struct gen *g, const struct ir_op *o)
{
    if (in_place(g, o, &o->a)) {
        flags_before(g, o);
        unary_code(&g->a, o->op, o->size, rm_cpu(gpr_off(o->dst.num)));
        flags_written(g, o);
        return;
    }
    unsigned d = target(g, &o->dst, &o->a, NULL, o->size);
    flags_before(g, o);
    unary_code(&g->a, o->op, o->size, rm_reg(d));
    flags_written(g, o);
    finish(g, &o->dst, d, o->size);
}

/* ---- shifts ---- */

static unsigned shift_digit(unsigned op)
{
    static const uint8_t digit[] = { [IR_SHL - IR_SHL] = 4, [IR_SHR - IR_SHL] = 5,
                                     [IR_SAR - IR_SHL] = 7, [IR_ROL - IR_SHL] = 0,
                                     [IR_ROR - IR_SHL] = 1, [IR_RCL - IR_SHL] = 2,
                                     [IR_RCR - IR_SHL] = 3 };
    return digit[op - IR_SHL];
}

unsigned count_mask(unsigned size)
{
    return size == 8 ? 63 : 31;
}

static void shift_const_code(struct as *a, unsigned op, unsigned size, struct rm m, unsigned n)
{
    if (n == 1) {
        as_digit(a, 0xd0, size, shift_digit(op), m);
    } else {
        as_digit(a, 0xc0, size, shift_digit(op), m);
        as_byte(a, n);
    }
}

static void shiftx_code(struct gen *g, unsigned op, unsigned size, unsigned d, struct rm m,
                        unsigned count)
{
    unsigned pp = op == IR_SHL || op == IR_SHLX   ? P_66
                  : op == IR_SHR || op == IR_SHRX ? P_F2
                                                  : P_F3;
    as_vex(&g->a, pp | M_0F38 | 0xf7, size == 8, false, d, count, &m);
}

/* Brings the count to CL; RCX is saved unless it is the count's home. */
static bool count_to_cl(struct gen *g, const struct ir_arg *count)
{
    if (reg_of(g, count) == CX) {
        return false;
    }
    unsigned n = to_reg(g, count, 1);
    as_mov_to(&g->a, 8, rm_cpu(spill_off(SAVE_SLOT + 2)), CX);
    as_mov(&g->a, 4, CX, rm_reg(n));
    return true;
}

/* The count is not in CL's way: then the operation may not work in RCX. */
static unsigned shift_target(struct gen *g, const struct ir_op *o, const struct ir_arg *count)
{
    bool home_is_cx = o->dst.kind == IR_GPR && !o->dst.high && gpr_home[o->dst.num] == CX;
    if (!home_is_cx || (reg_of(g, count) == CX && same_arg(&o->dst, &o->a))) {
        return target(g, &o->dst, &o->a, count, o->size);
    }
    unsigned s = scratch(g);
    load_reg(g, s, &o->a, o->size, true);
    return s;
}

static void shift(struct gen *g, const struct ir_op *o)
{
    if (is_const(&o->b)) {
        unsigned n = (unsigned)o->b.value & count_mask(o->size);
        if (in_place(g, o, &o->a)) {
            if (n) {
                flags_before(g, o);
                shift_const_code(&g->a, o->op, o->size, rm_cpu(gpr_off(o->dst.num)), n);
                flags_written(g, o);
            }
            return;
        }
        unsigned d = target(g, &o->dst, &o->a, NULL, o->size);
        if (n) {
            flags_before(g, o);
            shift_const_code(&g->a, o->op, o->size, rm_reg(d), n);
            flags_written(g, o);
        } else if (o->size == 4) {
            as_mov(&g->a, 4, d, rm_reg(d));
        }
        finish(g, &o->dst, d, o->size);
        return;
    }
    if (!o->fneed && o->size >= 4 && o->op <= IR_SAR && g->jit->has.bmi2) {
        unsigned count = to_reg(g, &o->b, o->size);
        struct rm m = rm_of(g, &o->a, o->size);
        unsigned d = dst_reg(g, &o->dst);
        shiftx_code(g, o->op, o->size, d, m, count);
        finish(g, &o->dst, d, o->size);
        return;
    }
    unsigned d = shift_target(g, o, &o->b);
    bool saved = count_to_cl(g, &o->b);
    if (o->fneed) {
        flags_to_host(g, ir_flags_read(o) | o->fneed | g->live[g->at]);
    } else {
        flags_to_host(g, ir_opdefs[o->op].fr);
    }
    as_digit(&g->a, 0xd2, o->size, shift_digit(o->op), rm_reg(d));
    flags_written(g, o);
    if (saved) {
        as_mov(&g->a, 8, CX, rm_cpu(spill_off(SAVE_SLOT + 2)));
    }
    finish(g, &o->dst, d, o->size);
}

static void shift_double(struct gen *g, const struct ir_op *o)
{
    unsigned op = o->op == IR_SHLD ? 0xa4 : 0xac, n = (unsigned)o->c.value & count_mask(o->size);
    unsigned b = to_reg(g, &o->b, o->size);
    if (is_const(&o->c)) {
        unsigned d = target(g, &o->dst, &o->a, &o->b, o->size);
        if (n) {
            flags_before(g, o);
            as_rm(&g->a, M_0F | op, o->size, b, rm_reg(d));
            as_byte(&g->a, n);
            flags_written(g, o);
        } else if (o->size == 4) {
            as_mov(&g->a, 4, d, rm_reg(d));
        }
        finish(g, &o->dst, d, o->size);
        return;
    }
    if (reg_of(g, &o->c) != CX || b == CX ||
        (o->dst.kind == IR_GPR && gpr_home[o->dst.num] == CX)) {
        gen_eval(g, o);
        return;
    }
    unsigned d = target(g, &o->dst, &o->a, &o->b, o->size);
    if (o->fneed) {
        flags_to_host(g, o->fneed | g->live[g->at]);
    }
    as_rm(&g->a, M_0F | op | 1, o->size, b, rm_reg(d));
    flags_written(g, o);
    finish(g, &o->dst, d, o->size);
}

static void shiftx(struct gen *g, const struct ir_op *o)
{
    if (!g->jit->has.bmi2) {
        gen_eval(g, o);
        return;
    }
    if (o->op == IR_RORX) {
        if (!is_const(&o->b)) {
            gen_eval(g, o);
            return;
        }
        struct rm m = rm_of(g, &o->a, o->size);
        unsigned d = dst_reg(g, &o->dst);
        as_vex(&g->a, P_F2 | M_0F3A | 0xf0, o->size == 8, false, d, 0, &m);
        as_byte(&g->a, (unsigned)o->b.value & count_mask(o->size));
        finish(g, &o->dst, d, o->size);
        return;
    }
    unsigned count = to_reg(g, &o->b, o->size);
    struct rm m = rm_of(g, &o->a, o->size);
    unsigned d = dst_reg(g, &o->dst);
    shiftx_code(g, o->op, o->size, d, m, count);
    finish(g, &o->dst, d, o->size);
}

/* ---- multiplication ---- */

static void imul(struct gen *g, const struct ir_op *o)
{
    const struct ir_arg *x = &o->a, *y = &o->b;
    if (is_const(x) && !is_const(y)) {
        x = &o->b;
        y = &o->a;
    }
    struct src s = { .is_const = false };
    if (is_const(y)) {
        s = src_of(g, y, o->size);
    }
    if (s.is_const) {
        struct rm m = rm_of(g, x, o->size);
        unsigned d = dst_reg(g, &o->dst);
        bool byte = s.value == (int8_t)s.value;
        as_rm(&g->a, byte ? 0x6b : 0x69, o->size, d, m);
        as_imm(&g->a, byte ? 1 : o->size, s.value);
        flags_written(g, o);
        finish(g, &o->dst, d, o->size);
        return;
    }
    if (same_arg(&o->dst, y) && !same_arg(&o->dst, x)) {
        const struct ir_arg *t = x;
        x = y;
        y = t;
    }
    struct rm m = rm_of(g, y, o->size);
    unsigned d = target(g, &o->dst, x, y, o->size);
    as_rm(&g->a, M_0F | 0xaf, o->size, d, m);
    flags_written(g, o);
    finish(g, &o->dst, d, o->size);
}

static bool is_gpr(const struct ir_arg *a, unsigned n, bool high)
{
    return a->kind == IR_GPR && a->num == n && a->high == high;
}

/* MUL and IMUL with RAX and RDX as the instruction has them; everything else is rare. */
static void multiply2(struct gen *g, const struct ir_op *o)
{
    bool high_ok = o->size == 1 ? is_gpr(&o->dst2, 0, true) : is_gpr(&o->dst2, 2, false);
    if (!is_gpr(&o->a, 0, false) || !is_gpr(&o->dst, 0, false) || !high_ok) {
        gen_eval(g, o);
        return;
    }
    struct rm m = rm_of(g, &o->b, o->size);
    as_digit(&g->a, 0xf6, o->size, o->op == IR_MULU2 ? 4 : 5, m);
    flags_written(g, o);
}

static void mulx(struct gen *g, const struct ir_op *o)
{
    if (!g->jit->has.bmi2 || !is_gpr(&o->a, 2, false)) {
        gen_eval(g, o);
        return;
    }
    struct rm m = rm_of(g, &o->b, o->size);
    unsigned lo = dst_reg(g, &o->dst),
             hi = o->dst2.kind == IR_NONE ? scratch(g) : dst_reg(g, &o->dst2);
    as_vex(&g->a, P_F2 | M_0F38 | 0xf6, o->size == 8, false, hi, lo, &m);
    finish(g, &o->dst, lo, o->size);
    finish(g, &o->dst2, hi, o->size);
}

static void adcx(struct gen *g, const struct ir_op *o)
{
    if (!g->jit->has.adx) {
        gen_eval(g, o);
        return;
    }
    const struct ir_arg *x = &o->a, *y = &o->b;
    if (same_arg(&o->dst, y)) {
        x = &o->b;
        y = &o->a;
    }
    struct rm m = rm_of(g, y, o->size);
    unsigned d = target(g, &o->dst, x, y, o->size);
    uint16_t kept = g->live[g->at] & (uint16_t)~ir_flags_written(o);
    flags_to_host(g, F_ALL & (ir_flags_read(o) | kept));
    as_rm(&g->a, (o->op == IR_ADCX ? P_66 : P_F3) | M_0F38 | 0xf6, o->size, d, m);
    flags_written(g, o);
    finish(g, &o->dst, d, o->size);
}

/* ---- extensions and bits ---- */

static void extend(struct gen *g, const struct ir_op *o)
{
    unsigned from = o->op == IR_ZX8 || o->op == IR_SX8     ? 1
                    : o->op == IR_ZX16 || o->op == IR_SX16 ? 2
                                                           : 4;
    bool sign = o->op >= IR_SX8;
    struct rm m = rm_of(g, &o->a, from);
    unsigned d = dst_reg(g, &o->dst);
    if (from == 4) {
        if (sign) {
            as_rm(&g->a, 0x63, 8, d, m);
        } else {
            as_mov(&g->a, 4, d, m);
        }
    } else {
        unsigned op = M_0F | (sign ? 0xbe : 0xb6) | (from == 2 ? 1 : 0);
        as_full(&g->a, op, sign || o->size == 2 ? o->size : 4, d, false, &m, from == 1);
    }
    finish(g, &o->dst, d, o->size);
}

static void bswap(struct gen *g, const struct ir_op *o)
{
    if (o->size == 2) {
        gen_eval(g, o);
        return;
    }
    unsigned d = target(g, &o->dst, &o->a, NULL, o->size);
    if (o->size == 8 || d >= R8) {
        as_byte(&g->a, 0x40 | (o->size == 8 ? 8 : 0) | (d >> 3));
    }
    as_byte(&g->a, 0x0f);
    as_byte(&g->a, 0xc8 | (d & 7));
    finish(g, &o->dst, d, o->size);
}

static void bit_op(struct gen *g, const struct ir_op *o)
{
    unsigned k = o->op - IR_BT; /* BT BTS BTR BTC are /4../7 and A3 AB B3 BB */
    unsigned b = is_const(&o->b) ? NO_REG : to_reg(g, &o->b, o->size);
    unsigned d;
    if (o->op == IR_BT) {
        d = to_reg(g, &o->a, o->size);
    } else {
        d = target(g, &o->dst, &o->a, &o->b, o->size);
    }
    flags_before(g, o);
    if (b == NO_REG) {
        as_rm(&g->a, M_0F | 0xba, o->size, 4 + k, rm_reg(d));
        as_byte(&g->a, (unsigned)o->b.value & (o->size * 8u - 1));
    } else {
        as_rm(&g->a, M_0F | (0xa3 + k * 8), o->size, b, rm_reg(d));
    }
    flags_written(g, o);
    if (o->op != IR_BT) {
        finish(g, &o->dst, d, o->size);
    } else if (o->dst.kind != IR_NONE) {
        unsigned s = dst_reg(g, &o->dst);
        load_reg(g, s, &o->a, o->size, false);
        finish(g, &o->dst, s, o->size);
    }
}

/* BSF, BSR: the destination keeps b when a is 0. */
static void scan(struct gen *g, const struct ir_op *o)
{
    struct rm m = rm_of(g, &o->a, o->size);
    unsigned d = target(g, &o->dst, &o->b, &o->a, o->size);
    as_rm(&g->a, M_0F | (o->op == IR_BSF ? 0xbc : 0xbd), o->size, d, m);
    flags_written(g, o);
    if (o->size == 4) {
        as_mov(&g->a, 4, d, rm_reg(d));
    }
    finish(g, &o->dst, d, o->size);
}

static void count_bits(struct gen *g, const struct ir_op *o)
{
    const struct cpu_features *h = &g->jit->has;
    bool can = o->op == IR_LZCNT ? h->lzcnt : o->op == IR_TZCNT ? h->bmi1 : h->popcnt;
    if (!can) {
        gen_eval(g, o);
        return;
    }
    struct rm m = rm_of(g, &o->a, o->size);
    unsigned d = dst_reg(g, &o->dst);
    unsigned op = o->op == IR_LZCNT ? 0xbd : o->op == IR_TZCNT ? 0xbc : 0xb8;
    as_rm(&g->a, P_F3 | M_0F | op, o->size, d, m);
    flags_written(g, o);
    finish(g, &o->dst, d, o->size);
}

static void bmi1(struct gen *g, const struct ir_op *o)
{
    if (!g->jit->has.bmi1) {
        gen_eval(g, o);
        return;
    }
    struct as *a = &g->a;
    bool wide = o->size == 8;
    if (o->op == IR_ANDN) {
        unsigned v = to_reg(g, &o->a, o->size);
        struct rm m = rm_of(g, &o->b, o->size);
        unsigned d = dst_reg(g, &o->dst);
        as_vex(a, M_0F38 | 0xf2, wide, false, d, v, &m);
        finish(g, &o->dst, d, o->size);
    } else if (o->op == IR_BEXTR) {
        unsigned v = to_reg(g, &o->b, o->size);
        struct rm m = rm_of(g, &o->a, o->size);
        unsigned d = dst_reg(g, &o->dst);
        as_vex(a, M_0F38 | 0xf7, wide, false, d, v, &m);
        finish(g, &o->dst, d, o->size);
    } else {
        unsigned digit = o->op == IR_BLSR ? 1 : o->op == IR_BLSMSK ? 2 : 3;
        struct rm m = rm_of(g, &o->a, o->size);
        unsigned d = dst_reg(g, &o->dst);
        as_vex(a, M_0F38 | 0xf3, wide, false, digit, d, &m);
        finish(g, &o->dst, d, o->size);
    }
    flags_written(g, o);
}

static void bmi2(struct gen *g, const struct ir_op *o)
{
    if (!g->jit->has.bmi2) {
        gen_eval(g, o);
        return;
    }
    /* BZHI has its count in VEX.vvvv, PDEP and PEXT their source */
    const struct ir_arg *v_arg = o->op == IR_BZHI ? &o->b : &o->a;
    const struct ir_arg *m_arg = o->op == IR_BZHI ? &o->a : &o->b;
    unsigned v = to_reg(g, v_arg, o->size);
    struct rm m = rm_of(g, m_arg, o->size);
    unsigned d = dst_reg(g, &o->dst);
    unsigned pp = o->op == IR_BZHI ? 0 : o->op == IR_PDEP ? P_F2 : P_F3;
    as_vex(&g->a, pp | M_0F38 | 0xf5, o->size == 8, false, d, v, &m);
    flags_written(g, o);
    finish(g, &o->dst, d, o->size);
}

static void crc32(struct gen *g, const struct ir_op *o)
{
    if (!g->jit->has.sse42) {
        gen_eval(g, o);
        return;
    }
    unsigned bytes = (unsigned)o->imm;
    struct rm m = rm_of(g, &o->b, bytes);
    unsigned d = target(g, &o->dst, &o->a, &o->b, 4);
    as_full(&g->a, P_F2 | M_0F38 | (bytes == 1 ? 0xf0 : 0xf1), bytes == 1 ? 4 : bytes, d, false, &m,
            bytes == 1);
    finish(g, &o->dst, d, 4);
}

static void cmov(struct gen *g, const struct ir_op *o)
{
    unsigned size = o->size == 1 ? 4 : o->size;
    struct rm m;
    if (o->size == 1) {
        m = rm_reg(to_reg(g, &o->b, 1)); /* a byte in memory must not be read as four */
    } else {
        m = rm_of(g, &o->b, size);
    }
    unsigned d;
    if (o->size == 1 && o->dst.kind == IR_GPR) { /* the other bytes of a home stay */
        d = scratch(g);
        load_reg(g, d, &o->a, 1, true);
    } else {
        d = target(g, &o->dst, &o->a, &o->b, o->size);
    }
    unsigned cc = flags_cond(g, o->cond);
    as_rm(&g->a, M_0F | 0x40 | cc, size, d, m);
    finish(g, &o->dst, d, o->size);
}

/* ---- in memory ---- */

bool rmw_fits(const struct ir_op *o)
{
    switch (o->op) {
    case IR_ADD:
    case IR_OR:
    case IR_ADC:
    case IR_SBB:
    case IR_AND:
    case IR_SUB:
    case IR_XOR:
    case IR_NOT:
    case IR_NEG:
    case IR_INC:
    case IR_DEC:
        return true;
    case IR_SHL:
    case IR_SHR:
    case IR_SAR:
    case IR_ROL:
    case IR_ROR:
        return o->b.kind == IR_CONST && (o->b.value & count_mask(o->size));
    default:
        return false;
    }
}

void rmw_code(struct gen *g, const struct ir_op *o, struct rm m, const struct src *src, bool lock)
{
    unsigned op = lock ? (unsigned)o->imm : o->op;
    struct as *a = &g->a;
    if (lock) {
        as_byte(a, 0xf0);
    }
    switch (op) {
    case IR_NOT:
    case IR_NEG:
    case IR_INC:
    case IR_DEC:
        unary_code(a, op, o->size, m);
        break;
    case IR_BTS:
    case IR_BTR:
    case IR_BTC:
        if (src->is_const) {
            as_rm(a, M_0F | 0xba, o->size, 4 + op - IR_BT, m);
            as_byte(a, (unsigned)src->value & (o->size * 8u - 1));
        } else {
            as_rm(a, M_0F | (0xa3 + (op - IR_BT) * 8), o->size, src->reg, m);
        }
        break;
    case IR_SHL:
    case IR_SHR:
    case IR_SAR:
    case IR_ROL:
    case IR_ROR:
        shift_const_code(a, op, o->size, m, (unsigned)src->value & count_mask(o->size));
        break;
    default:
        if (src->is_const) {
            as_alu_imm(a, alu_of(op), o->size, m, src->value);
        } else {
            as_alu_to(a, alu_of(op), o->size, m, src->reg);
        }
    }
}

/* ---- all ---- */

void gen_alu(struct gen *g, const struct ir_op *o)
{
    switch (o->op) {
    case IR_NOT:
    case IR_NEG:
    case IR_INC:
    case IR_DEC:
        unary(g, o);
        break;
    case IR_SHL:
    case IR_SHR:
    case IR_SAR:
    case IR_ROL:
    case IR_ROR:
    case IR_RCL:
    case IR_RCR:
        shift(g, o);
        break;
    case IR_SHLX:
    case IR_SHRX:
    case IR_SARX:
    case IR_RORX:
        shiftx(g, o);
        break;
    case IR_SHLD:
    case IR_SHRD:
        shift_double(g, o);
        break;
    case IR_IMUL:
        imul(g, o);
        break;
    case IR_MULU2:
    case IR_MULS2:
        multiply2(g, o);
        break;
    case IR_MULX:
        mulx(g, o);
        break;
    case IR_ADCX:
    case IR_ADOX:
        adcx(g, o);
        break;
    case IR_ZX8:
    case IR_ZX16:
    case IR_ZX32:
    case IR_SX8:
    case IR_SX16:
    case IR_SX32:
        extend(g, o);
        break;
    case IR_BSWAP:
        bswap(g, o);
        break;
    case IR_BT:
    case IR_BTS:
    case IR_BTR:
    case IR_BTC:
        bit_op(g, o);
        break;
    case IR_BSF:
    case IR_BSR:
        scan(g, o);
        break;
    case IR_LZCNT:
    case IR_TZCNT:
    case IR_POPCNT:
        count_bits(g, o);
        break;
    case IR_ANDN:
    case IR_BLSR:
    case IR_BLSMSK:
    case IR_BLSI:
    case IR_BEXTR:
        bmi1(g, o);
        break;
    case IR_BZHI:
    case IR_PDEP:
    case IR_PEXT:
        bmi2(g, o);
        break;
    case IR_CRC32:
        crc32(g, o);
        break;
    case IR_CMOV:
        cmov(g, o);
        break;
    default:
        binary(g, o);
    }
}
