/* SPDX-License-Identifier: MIT */
/* hw/input/i8042.h - the class of hw/input/. */
#ifndef HW_INPUT_I8042_H
#define HW_INPUT_I8042_H

#include "ioreq/dev.h"

extern const struct dev_class i8042_class;

#endif
