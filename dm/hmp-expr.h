/* SPDX-License-Identifier: MIT */
/* dm/hmp-expr.h - numbers as the monitor takes them: "0x1000", "$rip", "$rsp + 8 * (2 - 1)", "'A'". */
#ifndef DM_HMP_EXPR_H
#define DM_HMP_EXPR_H

#include <stdint.h>

struct err;
struct keel;

/* The value of text, all of it; $NAME is a register of the monitor's processor. Arithmetic is of 64
 * bits and wraps. 0, or -EINVAL with e naming the place. */
int hmp_expr(struct keel *k, const char *text, uint64_t *value, struct err *e);

#endif
