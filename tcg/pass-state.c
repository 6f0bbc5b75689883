/* SPDX-License-Identifier: MIT */
/* tcg/pass-state.c - fields of the guest's CPU struct are read once, and not read back after a write.
 *
 * C code may change any of them; plain loads and stores do not.
 */
#include "tcg/pass.h"

struct field {
    int64_t off;
    uint8_t size;
    struct ir_arg value;
};
enum { FIELDS = 16 };
struct fields {
    struct field f[FIELDS];
    unsigned n;
};

static void forget(struct fields *s, int64_t off, unsigned size)
{
    unsigned keep = 0;
    for (unsigned i = 0; i < s->n; i++) {
        if (s->f[i].off + s->f[i].size <= off || off + (int64_t)size <= s->f[i].off) {
            s->f[keep++] = s->f[i];
        }
    }
    s->n = keep;
}

static void forget_register(struct fields *s, uint16_t written)
{
    unsigned keep = 0;
    for (unsigned i = 0; i < s->n; i++) {
        const struct ir_arg *v = &s->f[i].value;
        if (v->kind != IR_GPR || !(written >> v->num & 1)) {
            s->f[keep++] = s->f[i];
        }
    }
    s->n = keep;
}

static void note(struct fields *s, const struct ir_op *o, struct ir_arg value)
{
    if (s->n < FIELDS && (value.kind == IR_TEMP || value.kind == IR_CONST)) {
        s->f[s->n++] = (struct field){ o->imm, o->size, value };
    }
}

static const struct field *find(const struct fields *s, const struct ir_op *o)
{
    for (unsigned i = 0; i < s->n; i++) {
        if (s->f[i].off == o->imm && s->f[i].size == o->size) {
            return &s->f[i];
        }
    }
    return NULL;
}

/* The value again, with upper bits 0 as LD_STATE gives them. */
static void reuse(struct ir_op *o, const struct field *f)
{
    o->op = o->size == 1 ? IR_ZX8 : o->size == 2 ? IR_ZX16 : o->size == 4 ? IR_ZX32 : IR_MOV;
    o->size = 8;
    o->a = f->value;
    o->imm = 0;
}

void pass_state(struct ir_block *b)
{
    struct fields s = { .n = 0 };
    for (unsigned i = 0; i < b->n; i++) {
        struct ir_op *o = &b->op[i];
        const struct field *f;
        forget_register(&s, ir_gprs_written(o));
        if (o->op == IR_ST_STATE) {
            forget(&s, o->imm, o->size);
            note(&s, o, o->a);
        } else if (o->op == IR_LD_STATE && o->dst.kind == IR_TEMP) {
            f = find(&s, o);
            if (f) {
                reuse(o, f);
            } else {
                note(&s, o, o->dst);
            }
        } else if (o->op == IR_CALL && !(o->helper->flags & IR_H_PURE)) {
            s.n = 0;
        }
    }
}
