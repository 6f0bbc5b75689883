/* SPDX-License-Identifier: MIT */
/* hw/ide/ide.h - what the rest of the machine may ask of IDE: the classes, and unplugging. */
#ifndef HW_IDE_IDE_H
#define HW_IDE_IDE_H

#include "ioreq/dev.h"

struct machine;

extern const struct dev_class piix3_ide_class;
extern const struct dev_class ide_hd_class;
extern const struct dev_class ide_cd_class;

/* Takes hard disks, never CD-ROM drives, off their channels as if they had been pulled out; with
 * aux_only the primary master stays. I/O in flight is cancelled. Calling it again is harmless. The
 * disks are back after the next reset (Xen's unplug protocol, docs/misc/hvm-emulated-unplug). */
void ide_unplug_disks(struct machine *m, bool aux_only);
/* It shall not happen to d, for nobody takes over from it. False for what is no IDE disk. */
bool ide_keep_plugged(struct device *d);
/* Whether that has happened to d; false for what is no IDE drive. */
bool ide_unplugged(const struct device *d);

/* Where a drive (a device of ide_hd_class or ide_cd_class) hangs: its controller's PCI function, the
 * channel or port there, and the unit on it. */
struct ide_place {
    uint8_t devfn;
    unsigned channel, unit;
};
struct ide_place ide_place_of(const struct device *d);

#endif
