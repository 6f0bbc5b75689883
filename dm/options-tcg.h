/* SPDX-License-Identifier: MIT */
/* dm/options-tcg.h - takers of the options that concern the translator and the debugger. */
#ifndef DM_OPTIONS_TCG_H
#define DM_OPTIONS_TCG_H

#include "dm/options.h"

struct err;

extern const struct opt_param opt_icount_params[];
/* Each as struct opt_def's take: 0, or -EINVAL with e. */
int opt_take_dfilter(struct options *o, const char *arg, struct keyval *kv, struct err *e);
int opt_take_d(struct options *o, const char *arg, struct keyval *kv, struct err *e);
int opt_take_icount(struct options *o, const char *arg, struct keyval *kv, struct err *e);
int opt_take_pass(struct options *o, const char *arg, struct keyval *kv, struct err *e);
int opt_take_engine(struct options *o, const char *name, struct err *e);

#endif
