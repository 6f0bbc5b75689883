/* SPDX-License-Identifier: MIT */
/* tcg/pass-const.c - constants: known operands become constants, operations on constants become moves,
 * and a few identities. */
#include "tcg/eval.h"
#include "tcg/pass.h"

#include <string.h>

struct known {
    bool temp[IR_MAX_TEMPS], gpr[16];
    int64_t temp_value[IR_MAX_TEMPS], gpr_value[16];
};

static bool fits32(int64_t v)
{
    return v == (int32_t)v;
}

static bool value_of(const struct known *k, const struct ir_arg *a, int64_t *v)
{
    switch (a->kind) {
    case IR_CONST:
        *v = a->value;
        return true;
    case IR_TEMP:
        *v = k->temp_value[a->num];
        return k->temp[a->num];
    case IR_GPR:
        *v = k->gpr_value[a->num];
        return k->gpr[a->num] && !a->high;
    default:
        return false;
    }
}

/* Registers stay registers when the constant would need a register of its own. */
static void make_const(const struct known *k, struct ir_arg *a)
{
    int64_t v;
    if (a->kind != IR_CONST && value_of(k, a, &v) && (a->kind == IR_TEMP || fits32(v))) {
        *a = ir_const(v);
    }
}

static void fold_address(const struct known *k, struct ir_mem *m)
{
    int64_t v;
    if (m->index.kind != IR_NONE && value_of(k, &m->index, &v) && fits32(v) &&
        fits32(m->disp + v * m->scale)) {
        m->disp += v * m->scale;
        m->index = ir_none();
    }
    if (m->base.kind != IR_NONE && value_of(k, &m->base, &v) &&
        (m->index.kind == IR_NONE || fits32(m->disp + v))) {
        m->disp = (int64_t)((uint64_t)m->disp + (uint64_t)v);
        m->base = ir_none();
    }
}

static void become_mov(struct ir_op *o, struct ir_arg from)
{
    o->op = IR_MOV;
    o->a = from;
    o->b = o->c = ir_none();
    o->fneed = 0;
}

/* x OP 0 and the like, when nobody wants the flags. */
static void identities(struct ir_op *o)
{
    if (o->b.kind != IR_CONST || o->fneed || o->dst.kind == IR_NONE) {
        return;
    }
    int64_t v = o->b.value;
    switch (o->op) {
    case IR_ADD:
    case IR_SUB:
    case IR_OR:
    case IR_XOR:
        if (v == 0) {
            become_mov(o, o->a);
        }
        break;
    case IR_AND:
        if (ev_zx((uint64_t)v, o->size) == ev_mask(o->size)) {
            become_mov(o, o->a);
        } else if (v == 0) {
            become_mov(o, ir_const(0));
        }
        break;
    case IR_SHL:
    case IR_SHR:
    case IR_SAR:
        if ((v & (o->size == 8 ? 63 : 31)) == 0) {
            become_mov(o, o->a);
        }
        break;
    default:
        break;
    }
}

static void fold(struct ir_op *o)
{
    if (!ir_is_pure(o->op) || o->op == IR_MOV || o->fneed || ir_flags_read(o) ||
        o->dst.kind == IR_NONE || o->dst2.kind != IR_NONE || o->a.kind != IR_CONST) {
        return;
    }
    unsigned n = ir_opdefs[o->op].inputs;
    if ((n > 1 && o->b.kind != IR_CONST) || (n > 2 && o->c.kind != IR_CONST)) {
        return;
    }
    uint64_t c = o->op == IR_CRC32 ? (uint64_t)o->imm : (uint64_t)o->c.value;
    struct ir_val v = ir_eval(o->op, o->size, (uint64_t)o->a.value, (uint64_t)o->b.value, c, 0);
    become_mov(o, ir_const(ev_sx(v.lo, o->size)));
}

static void learn(struct known *k, const struct ir_op *o)
{
    for (unsigned left = ir_gprs_written(o); left; left &= left - 1) {
        k->gpr[__builtin_ctz(left)] = false;
    }
    if (o->op != IR_MOV || o->a.kind != IR_CONST) {
        return;
    }
    if (o->dst.kind == IR_TEMP) {
        k->temp[o->dst.num] = true;
        k->temp_value[o->dst.num] = ev_sx((uint64_t)o->a.value, o->size);
    } else if (o->dst.kind == IR_GPR && o->size >= 4) {
        k->gpr[o->dst.num] = true;
        k->gpr_value[o->dst.num] = o->size == 8 ? o->a.value : (int64_t)(uint32_t)o->a.value;
    }
}

void pass_const(struct ir_block *b)
{
    struct known k;
    memset(k.gpr, 0, sizeof(k.gpr));
    memset(k.temp, 0, b->temps * sizeof(k.temp[0]));
    for (unsigned i = 0; i < b->n; i++) {
        struct ir_op *o = &b->op[i];
        if (o->op != IR_NATIVE) {
            make_const(&k, &o->a);
            make_const(&k, &o->b);
            make_const(&k, &o->c);
        }
        if (ir_has_mem(o)) {
            fold_address(&k, &o->mem);
        }
        fold(o);
        identities(o);
        learn(&k, o);
    }
}
