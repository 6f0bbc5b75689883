/* SPDX-License-Identifier: MIT */
/* dm/options-pc.h - takers of the options that concern clock, boot order, firmware and power. */
#ifndef DM_OPTIONS_PC_H
#define DM_OPTIONS_PC_H

#include "dm/options.h"

extern const struct opt_param opt_boot_params[], opt_rtc_params[], opt_action_params[],
    opt_smbios_params[], opt_fw_cfg_params[], opt_option_rom_params[];
int opt_take_boot(struct options *o, const char *arg, struct keyval *kv, struct err *e);
int opt_take_rtc(struct options *o, const char *arg, struct keyval *kv, struct err *e);
int opt_take_action(struct options *o, const char *arg, struct keyval *kv, struct err *e);
int opt_take_smbios(struct options *o, const char *arg, struct keyval *kv, struct err *e);
int opt_take_option_rom(struct options *o, const char *arg, struct keyval *kv, struct err *e);
int opt_take_fw_cfg(struct options *o, const char *arg, struct keyval *kv, struct err *e);
/* What these ask for and the accelerator cannot give. */
int opt_check_pc(const struct options *o, struct err *e);

#endif
