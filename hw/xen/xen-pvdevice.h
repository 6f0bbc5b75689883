/* SPDX-License-Identifier: MIT */
/* hw/xen/xen-pvdevice.h - an identity for PV drivers to bind to. */
#ifndef HW_XEN_XEN_PVDEVICE_H
#define HW_XEN_XEN_PVDEVICE_H

#include "hw/pci/pci.h"

extern const struct dev_class xen_pvdevice_class;

#endif
