/* SPDX-License-Identifier: MIT */
/* tcg/optimise.c - the passes, in order, each of which can be switched off by name. */
#include "tcg/eval.h"
#include "tcg/pass.h"

#include <string.h>

static const struct {
    const char *name;
    enum ir_pass bit;
    void (*run)(struct ir_block *b);
} passes[] = {
    { "const", PASS_CONST, pass_const }, { "copy", PASS_COPY, pass_copy },
    { "addr", PASS_ADDR, pass_addr },    { "state", PASS_STATE, pass_state },
    { "dead", PASS_DEAD, pass_dead },    { "deadflags", PASS_DEADFLAGS, NULL },
    { "group", PASS_GROUP, NULL },
};

/* Without liveness every flag written is wanted. */
static void want_all_flags(struct ir_block *b)
{
    for (unsigned i = 0; i < b->n; i++) {
        b->op[i].fneed = ir_flags_written(&b->op[i]);
    }
}

static void flags(struct ir_block *b, unsigned chosen)
{
    if (chosen & PASS_DEADFLAGS) {
        pass_deadflags(b);
    } else {
        want_all_flags(b);
    }
}

/* Passes that may find something to do for this operation. */
static unsigned worth_for(const struct ir_op *o)
{
    unsigned worth = 0;
    switch (o->op) {
    case IR_MOV:
        worth = o->a.kind == IR_CONST                            ? PASS_CONST | PASS_COPY
                : o->dst.kind == IR_TEMP || o->a.kind == IR_TEMP ? PASS_COPY
                                                                 : 0;
        break;
    case IR_LD_STATE:
    case IR_ST_STATE:
        worth = PASS_STATE;
        break;
    case IR_LEA:
    case IR_ADD:
    case IR_SUB:
        worth = o->dst.kind == IR_TEMP ? PASS_ADDR : 0;
        break;
    default:
        break;
    }
    bool pure = ir_is_pure(o->op);
    if (pure && o->dst.kind != IR_NONE &&
        (o->a.kind == IR_CONST || (o->b.kind == IR_CONST && o->b.value + 1ull <= 1))) {
        worth |= PASS_CONST | PASS_COPY;
    }
    if (pure && o->dst.kind == IR_NONE && !o->fneed) {
        worth |= PASS_DEAD;
    }
    return worth;
}

/* Most blocks come from the front end as they should be: a look at each operation costs less than the passes. */
static unsigned worth(const struct ir_block *b)
{
    unsigned all = 0;
    for (unsigned i = 0; i < b->n; i++) {
        all |= worth_for(&b->op[i]);
    }
    return all ? all | PASS_DEAD : 0;
}

/* Flags come first: most folding needs to know that nobody wants them; and last, since operations
 * that read some are gone. */
void ir_optimise(struct ir_block *b, unsigned chosen)
{
    flags(b, chosen);
    unsigned run = chosen & worth(b);
    for (unsigned i = 0; i < sizeof(passes) / sizeof(passes[0]); i++) {
        if (run & passes[i].bit && passes[i].run) {
            passes[i].run(b);
        }
    }
    if (run) {
        flags(b, chosen);
    }
}

int ir_pass_by_name(const char *name)
{
    for (unsigned i = 0; i < sizeof(passes) / sizeof(passes[0]); i++) {
        if (strcmp(name, passes[i].name) == 0) {
            return (int)passes[i].bit;
        }
    }
    return strcmp(name, "all") == 0 ? PASS_ALL : 0;
}
