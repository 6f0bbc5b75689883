/* SPDX-License-Identifier: MIT */
/* dm/smbios.h - the SMBIOS tables: -smbios, -uuid, and what the machine is made of. */
#ifndef DM_SMBIOS_H
#define DM_SMBIOS_H

#include <stdint.h>

struct device;
struct err;
struct options;

/* Adds entry point and tables to fw_cfg. below_4g: bytes of RAM there. 0, or -errno with e naming the
 * option. */
int smbios_add(struct device *fw_cfg, const struct options *o, uint64_t below_4g, struct err *e);

#endif
