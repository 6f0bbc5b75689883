/* SPDX-License-Identifier: MIT */
/* dm/hmp-value.h - the monitor's commands on values and pieces of memory. word[0] says which; words that
 * were not given are "". */
#ifndef DM_HMP_VALUE_H
#define DM_HMP_VALUE_H

struct keel;
struct text;

/* print/FORMAT EXPRESSION; format: one of x d u o c. */
void hmp_print(struct keel *k, const char *format, const char *expression, struct text *out);
/* gva2gpa ADDRESS, sum ADDRESS SIZE */
void hmp_gva2gpa(struct keel *k, char *const word[], struct text *out);
void hmp_sum(struct keel *k, char *const word[], struct text *out);
/* memsave ADDRESS SIZE FILE, pmemsave the same, dump-guest-memory [-p] [-d] FILE [BEGIN LENGTH] */
void hmp_save_memory(struct keel *k, char *const word[], struct text *out);

#endif
