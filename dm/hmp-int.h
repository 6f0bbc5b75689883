/* SPDX-License-Identifier: MIT */
/* dm/hmp-int.h - how the monitor's commands for people answer. Lines end in CR LF. */
#ifndef DM_HMP_INT_H
#define DM_HMP_INT_H

#include <jansson.h>

struct err;
struct keel;
struct text;

/* Says what went wrong, if ret is negative. */
void hmp_report(struct text *out, int ret, const struct err *e);
/* Runs QMP's command of that name and takes args (NULL: none). What it returns is not shown. */
void hmp_qmp(struct keel *k, const char *name, json_t *args, struct text *out);

#endif
