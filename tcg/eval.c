/* SPDX-License-Identifier: MIT */
/* tcg/eval.c - arithmetic of the IR on values known now. */
#include "tcg/eval.h"

bool ir_is_pure(unsigned op)
{
    return op >= IR_MOV && op <= IR_CMC && op != IR_SETCC && op != IR_CMOV && op != IR_F_GET &&
           op != IR_F_SET;
}

struct ir_val ir_eval(unsigned op, unsigned size, uint64_t a, uint64_t b, uint64_t c, uint32_t f)
{
    return ev_op(op, size, a, b, c, f);
}
