/* SPDX-License-Identifier: MIT */
/* dm/options-host.h - takers of the options that concern the process on its host. */
#ifndef DM_OPTIONS_HOST_H
#define DM_OPTIONS_HOST_H

#include "dm/options.h"

extern const struct opt_param opt_sandbox_params[], opt_run_with_params[], opt_overcommit_params[],
    opt_msg_params[];
int opt_take_sandbox(struct options *o, const char *arg, struct keyval *kv, struct err *e);
int opt_take_run_with(struct options *o, const char *arg, struct keyval *kv, struct err *e);
int opt_take_overcommit(struct options *o, const char *arg, struct keyval *kv, struct err *e);
int opt_take_msg(struct options *o, const char *arg, struct keyval *kv, struct err *e);

#endif
