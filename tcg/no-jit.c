/* SPDX-License-Identifier: MIT */
/* tcg/no-jit.c - hosts without a code generator: the interpreter is the engine. */
#include "tcg/tcg-int.h"

const bool jit_exists = false;

struct jit *jit_new(struct tcg *t, struct err *e)
{
    (void)t;
    (void)e;
    return NULL;
}

void jit_free(struct jit *j)
{
    (void)j;
}

bool jit_compile(struct tcg *t, struct block *b, struct ir_block *ir, const uint64_t *gpr)
{
    (void)t;
    (void)b;
    (void)ir;
    (void)gpr;
    return false;
}

enum leave jit_run(struct tcg_cpu *cpu, const void *code, struct tcg_link **link)
{
    (void)cpu;
    (void)code;
    *link = NULL;
    return LEAVE_BLOCK;
}

void jit_patch(struct tcg *t, struct tcg_link *l, const uint8_t *target)
{
    (void)t;
    (void)l;
    (void)target;
}
