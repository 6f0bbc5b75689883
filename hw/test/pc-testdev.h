/* SPDX-License-Identifier: MIT */
/* hw/test/pc-testdev.h - echoes and interrupt lines for test guests. */
#ifndef HW_TEST_PC_TESTDEV_H
#define HW_TEST_PC_TESTDEV_H

#include "ioreq/dev.h"

extern const struct dev_class pc_testdev_class;

#endif
