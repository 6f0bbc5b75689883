/* SPDX-License-Identifier: MIT */
/* tcg/optimise.c - the passes, in order, each of which can be switched off by name. */
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

/* Flags come first: most folding needs to know that nobody wants them; and last, since operations
 * that read some are gone. */
void ir_optimise(struct ir_block *b, unsigned chosen)
{
    flags(b, chosen);
    for (unsigned i = 0; i < sizeof(passes) / sizeof(passes[0]); i++) {
        if (chosen & passes[i].bit && passes[i].run) {
            passes[i].run(b);
        }
    }
    flags(b, chosen);
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
