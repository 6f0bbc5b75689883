/* SPDX-License-Identifier: MIT */
/* hw/pci/i440fx.h - the host bridge, which brings the machine's PCI bus. */
#ifndef HW_PCI_I440FX_H
#define HW_PCI_I440FX_H

#include "hw/pci/pci.h"

#define I440FX_PAM0 0x59u /* configuration registers: shadow attributes of 0xc0000-0xfffff */
#define I440FX_PAM_REGS 7u

extern const struct dev_class i440fx_class;

#endif
