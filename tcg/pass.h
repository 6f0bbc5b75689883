/* SPDX-License-Identifier: MIT */
/* tcg/pass.h - the passes, and what they share. */
#ifndef TCG_PASS_H
#define TCG_PASS_H

#include "tcg/ir.h"

void pass_const(struct ir_block *b);
void pass_copy(struct ir_block *b);
void pass_addr(struct ir_block *b);
void pass_state(struct ir_block *b);
void pass_dead(struct ir_block *b);
void pass_deadflags(struct ir_block *b);

/* Every operand that an operation reads, the parts of its address included: at most five. */
unsigned ir_uses(struct ir_op *o, struct ir_arg *use[5]);
bool ir_has_mem(const struct ir_op *o);
/* Bit mask of guest registers it writes, and reads (operands, address, NATIVE; all for C code). */
uint16_t ir_gprs_written(const struct ir_op *o);
uint16_t ir_gprs_read(const struct ir_op *o);
/* It may stop the block halfway: then everything before it shows. */
bool ir_may_fault(const struct ir_op *o);
/* Flags live behind the terminator of b. */
uint16_t ir_live_at_end(const struct ir_block *b);

#endif
