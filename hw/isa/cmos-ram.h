/* SPDX-License-Identifier: MIT */
/* hw/isa/cmos-ram.h - the battery-backed bytes behind ports 0x70 and 0x71. */
#ifndef HW_ISA_CMOS_RAM_H
#define HW_ISA_CMOS_RAM_H

#include "ioreq/dev.h"

#define CMOS_RAM_BYTES 128
#define CMOS_RAM_FIRST 14 /* below are the clock's registers */

/* Property "content" (PTR): uint8_t[CMOS_RAM_BYTES], copied by init. */
extern const struct dev_class cmos_ram_class;

#endif
