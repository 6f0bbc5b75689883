/* SPDX-License-Identifier: MIT */
/* hw/pci/i440fx.h - the host bridge, which brings the machine's PCI bus. */
#ifndef HW_PCI_I440FX_H
#define HW_PCI_I440FX_H

#include "hw/pci/pci.h"

extern const struct dev_class i440fx_class;

#endif
