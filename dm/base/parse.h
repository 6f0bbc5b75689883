/* SPDX-License-Identifier: MIT */
/* dm/base/parse.h - values that people type, on the command line and in monitors.
 *
 * Each takes the whole text or nothing: 0, or -EINVAL and *out as it was.
 */
#ifndef DM_BASE_PARSE_H
#define DM_BASE_PARSE_H

#include <stdbool.h>
#include <stdint.h>

/* on, yes, true, y; off, no, false, n. */
int parse_bool(const char *text, bool *out);
/* A number from 0 to max: decimal, or hexadecimal behind 0x. */
int parse_u64(const char *text, uint64_t max, uint64_t *out);
/* Bytes: such a number with an optional suffix B, K, M, G or T; one without counts in `unit`. */
int parse_size(const char *text, uint64_t unit, uint64_t *out);

#endif
