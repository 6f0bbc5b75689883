/* SPDX-License-Identifier: MIT */
/* hw/isa/piix3.h - the PCI-to-ISA bridge. */
#ifndef HW_ISA_PIIX3_H
#define HW_ISA_PIIX3_H

#include "hw/pci/pci.h"

/* FERR# of a processor: rising, it raises IRQ 13 until a write to port 0xf0 acknowledges it. */
void piix3_ferr(struct device *d, bool level);

extern const struct dev_class piix3_class;

#endif
