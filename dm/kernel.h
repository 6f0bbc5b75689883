/* SPDX-License-Identifier: MIT */
/* dm/kernel.h - -kernel, -initrd and -append: what the boot ROM finds in fw_cfg. */
#ifndef DM_KERNEL_H
#define DM_KERNEL_H

#include <stdint.h>

/* The boot ROM in fw_cfg, and as a device for the firmware's boot order. */
#define KERNEL_ROM_FILE "genroms/keel-boot.rom"
#define KERNEL_ROM_PATH "/rom@" KERNEL_ROM_FILE

struct device;
struct err;
struct options;

/* Reads the images that o names and adds them to fw_cfg together with the ROM that starts them;
 * below_4g: bytes of RAM there. 0, or -errno with e naming option and file. */
int kernel_load(struct device *fw_cfg, const struct options *o, uint64_t below_4g, struct err *e);

#endif
