/* SPDX-License-Identifier: MIT */
/* dm/hmp-memory.h - the monitor's x and xp. */
#ifndef DM_HMP_MEMORY_H
#define DM_HMP_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

struct keel;
struct text;

/* format: what follows the slash, count, form (x d u o c i) and size (b h w g), each optional. linear:
 * as the chosen vCPU sees it, else guest-physical. */
void hmp_memory(struct keel *k, const char *format, uint64_t at, bool linear, struct text *out);

#endif
