/* SPDX-License-Identifier: MIT */
/* tcg/ir-verify.c - holds a block to the rules of tcg/ir.h. */
#include "tcg/ir.h"

#include <stdarg.h>
#include <string.h>

struct verifier {
    const struct ir_block *b;
    unsigned at;
    bool assigned[IR_MAX_TEMPS];
    char *why;
    size_t len;
    bool bad;
};

static void __attribute__((format(printf, 2, 3))) fail(struct verifier *v, const char *fmt, ...)
{
    if (v->bad) {
        return;
    }
    v->bad = true;
    int n = snprintf(v->why, v->len, "op %u (%s): ", v->at, ir_opdefs[v->b->op[v->at].op].name);
    if (n >= 0 && (size_t)n < v->len) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(v->why + n, v->len - (size_t)n, fmt, ap);
        va_end(ap);
    }
}

static void check_use(struct verifier *v, const struct ir_arg *a, unsigned size)
{
    switch (a->kind) {
    case IR_NONE:
    case IR_CONST:
        break;
    case IR_TEMP:
        if (a->num >= v->b->temps || !v->assigned[a->num]) {
            fail(v, "t%u is used before it is assigned", a->num);
        }
        break;
    case IR_GPR:
        if (a->num >= 16) {
            fail(v, "there is no register %u", a->num);
        }
        if (a->high && (size != 1 || a->num >= 4)) {
            fail(v, "only byte operands have high halves");
        }
        break;
    default:
        fail(v, "operand kind %u", a->kind);
    }
}

static void check_def(struct verifier *v, const struct ir_arg *a, unsigned size)
{
    if (a->kind == IR_CONST) {
        fail(v, "a constant is no destination");
    } else if (a->kind == IR_TEMP) {
        if (a->num >= v->b->temps || v->assigned[a->num]) {
            fail(v, "t%u is assigned twice or does not exist", a->num);
        } else {
            v->assigned[a->num] = true;
        }
    } else {
        check_use(v, a, size);
    }
}

static bool power_of_two_to_8(unsigned n)
{
    return n == 1 || n == 2 || n == 4 || n == 8;
}

static void check_mem(struct verifier *v, const struct ir_mem *m)
{
    if (m->base.kind == IR_CONST || m->index.kind == IR_CONST) {
        fail(v, "constants belong in the displacement");
    }
    check_use(v, &m->base, 8);
    check_use(v, &m->index, 8);
    if (m->index.kind != IR_NONE && !power_of_two_to_8(m->scale)) {
        fail(v, "scale %u", m->scale);
    }
    if (m->addr_size != 2 && m->addr_size != 4 && m->addr_size != 8) {
        fail(v, "address size %u", m->addr_size);
    }
    if (m->seg < -1 || m->seg > 5) {
        fail(v, "segment %d", m->seg);
    }
}

static bool uses_mem(const struct ir_op *o)
{
    return (o->op >= IR_LEA && o->op <= IR_A_CMPXCHG) ||
           (o->op == IR_NATIVE && o->native && o->native->mem_size);
}

/* Sizes of operands that differ from the operation's. */
static unsigned input_size(const struct ir_op *o)
{
    switch (o->op) {
    case IR_ZX8:
    case IR_SX8:
        return 1;
    case IR_ZX16:
    case IR_SX16:
        return 2;
    case IR_ZX32:
    case IR_SX32:
        return 4;
    default:
        return o->size;
    }
}

static bool is_atomic_op(int64_t op)
{
    static const uint8_t ops[] = { IR_ADD, IR_OR,  IR_ADC, IR_SBB, IR_AND, IR_SUB, IR_XOR,
                                   IR_INC, IR_DEC, IR_NEG, IR_NOT, IR_BTS, IR_BTR, IR_BTC };
    for (unsigned i = 0; i < sizeof(ops); i++) {
        if (ops[i] == op) {
            return true;
        }
    }
    return false;
}

static void check_details(struct verifier *v, const struct ir_op *o)
{
    switch (o->op) {
    case IR_CALL:
        if (!o->helper || !o->helper->fn) {
            fail(v, "no helper");
        }
        break;
    case IR_NATIVE:
        if (!o->native || o->native < v->b->native || o->native >= v->b->native + v->b->natives) {
            fail(v, "its description is not the block's");
        } else if (!o->native->sem) {
            fail(v, "no meaning in C");
        }
        break;
    case IR_LDZX:
    case IR_LDSX:
        if (!power_of_two_to_8((unsigned)o->imm) || o->imm > o->size) {
            fail(v, "%d bytes of memory", (int)o->imm);
        }
        break;
    case IR_A_RMW:
        if (!is_atomic_op(o->imm)) {
            fail(v, "atomic operation %d", (int)o->imm);
        }
        break;
    case IR_LD_STATE:
    case IR_ST_STATE:
        if (o->imm < 0) {
            fail(v, "offset %d", (int)o->imm);
        }
        break;
    default:
        break;
    }
}

static void check_op(struct verifier *v, const struct ir_op *o)
{
    unsigned inputs = ir_opdefs[o->op].inputs;
    const struct ir_arg *args[] = { &o->a, &o->b, &o->c };
    bool sized = o->op != IR_NOP && o->op != IR_INSN && o->op != IR_NATIVE && o->op != IR_GOTO &&
                 o->op != IR_BRCC && o->op != IR_EXIT && o->op != IR_FENCE && o->op != IR_CLC &&
                 o->op != IR_STC && o->op != IR_CMC && o->op != IR_CALL;
    if (sized && !power_of_two_to_8(o->size)) {
        fail(v, "size %u", o->size);
    }
    for (unsigned i = 0; i < 3; i++) {
        check_use(v, args[i], o->op == IR_CRC32 && i == 1 ? (unsigned)o->imm : input_size(o));
        if (i < inputs && args[i]->kind == IR_NONE && o->op != IR_CALL && o->op != IR_A_RMW) {
            fail(v, "operand %u is missing", i);
        }
    }
    if (uses_mem(o)) {
        check_mem(v, &o->mem);
    }
    check_details(v, o);
    check_def(v, &o->dst, o->size);
    check_def(v, &o->dst2, o->size);
    if (ir_is_terminator(o) != (v->at + 1 == v->b->n)) {
        fail(v, "a block ends with exactly one terminator");
    }
}

bool ir_verify(const struct ir_block *b, char *why, size_t len)
{
    struct verifier v = { .b = b, .why = why, .len = len };
    if (len) {
        why[0] = 0;
    }
    if (!b->n) {
        snprintf(why, len, "the block is empty");
        return false;
    }
    for (v.at = 0; v.at < b->n && !v.bad; v.at++) {
        if (b->op[v.at].op >= IR_OPCODES) {
            snprintf(why, len, "op %u: no such operation", v.at);
            return false;
        }
        check_op(&v, &b->op[v.at]);
    }
    return !v.bad;
}
