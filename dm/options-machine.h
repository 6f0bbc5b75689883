/* SPDX-License-Identifier: MIT */
/* dm/options-machine.h - takers of the options that say what machine it is. */
#ifndef DM_OPTIONS_MACHINE_H
#define DM_OPTIONS_MACHINE_H

#include "dm/options.h"

extern const struct opt_param opt_accel_params[], opt_machine_params[], opt_memory_params[],
    opt_smp_params[];
int opt_take_accel(struct options *o, const char *arg, struct keyval *kv, struct err *e);
int opt_take_cpu(struct options *o, const char *arg, struct keyval *kv, struct err *e);
int opt_take_machine(struct options *o, const char *arg, struct keyval *kv, struct err *e);
int opt_take_memory(struct options *o, const char *arg, struct keyval *kv, struct err *e);
int opt_take_smp(struct options *o, const char *arg, struct keyval *kv, struct err *e);

#endif
