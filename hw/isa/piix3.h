/* SPDX-License-Identifier: MIT */
/* hw/isa/piix3.h - the PCI-to-ISA bridge. */
#ifndef HW_ISA_PIIX3_H
#define HW_ISA_PIIX3_H

#include "hw/pci/pci.h"

extern const struct dev_class piix3_class;

#endif
