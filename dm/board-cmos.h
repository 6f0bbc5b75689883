/* SPDX-License-Identifier: MIT */
/* dm/board-cmos.h - what the board tells the firmware in CMOS RAM. */
#ifndef DM_BOARD_CMOS_H
#define DM_BOARD_CMOS_H

#include <stdint.h>

struct backends;
struct device;
struct options;

/* Fills bytes[128] from the command line and the drives. */
void board_cmos(uint8_t *bytes, const struct options *o, const struct backends *b);

/* How much RAM at most lies below 4 GiB, in bytes. */
uint64_t board_below_4g(const struct options *o);

/* Writes the boot order (drive letters, NULL: the default) into the clock chip's RAM. */
void board_boot_order(struct device *rtc, const char *order);

#endif
