/* SPDX-License-Identifier: MIT */
/* hw/xen/xen-platform.h - the Xen platform device and whom it unplugs. */
#ifndef HW_XEN_XEN_PLATFORM_H
#define HW_XEN_XEN_PLATFORM_H

#include "hw/pci/pci.h"

/* Property "unplug" (PTR): who takes emulated devices away when the guest's PV drivers ask for it.
 * Called under the machine lock, also again after a load; each may be NULL. A reset brings the
 * devices back by itself. */
struct xen_unplug {
    void (*disks)(void *o,
                  bool aux_only); /* IDE disks, not CD drives; aux: not the primary master */
    void (*nics)(void *o);
    void *o;
};

extern const struct dev_class xen_platform_class;

#endif
