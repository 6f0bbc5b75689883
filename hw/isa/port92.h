/* SPDX-License-Identifier: MIT */
/* hw/isa/port92.h - system control port A. */
#ifndef HW_ISA_PORT92_H
#define HW_ISA_PORT92_H

#include "ioreq/dev.h"

extern const struct dev_class port92_class;

#endif
