/* SPDX-License-Identifier: MIT */
/* hw/block/fdc.h - the floppy controller's class. */
#ifndef HW_BLOCK_FDC_H
#define HW_BLOCK_FDC_H

#include "ioreq/dev.h"

extern const struct dev_class fdc_class;

#endif
