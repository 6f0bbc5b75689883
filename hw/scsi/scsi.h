/* SPDX-License-Identifier: MIT */
/* hw/scsi/scsi.h - what the rest of the machine may ask of SCSI: the classes, places, unplugging. */
#ifndef HW_SCSI_SCSI_H
#define HW_SCSI_SCSI_H

#include "ioreq/dev.h"

struct machine;

extern const struct dev_class lsi53c895a_class;
extern const struct dev_class scsi_hd_class;
extern const struct dev_class scsi_cd_class;

/* Where a device of scsi_hd_class or scsi_cd_class hangs: its controller's PCI function, target, LUN. */
struct scsi_place {
    uint8_t devfn;
    unsigned target, lun;
};
struct scsi_place scsi_place_of(const struct device *d);

/* There is an adapter that a device without bus= would go to. */
bool scsi_adapter_present(struct machine *m);

/* Takes hard disks, never CD-ROM drives, off their buses until the next reset (Xen's unplug protocol,
 * docs/misc/hvm-emulated-unplug). Calling it again is harmless. */
void scsi_unplug_disks(struct machine *m);
/* It shall not happen to d, for nobody takes over from it. False for what is no SCSI disk. */
bool scsi_keep_plugged(struct device *d);
/* Whether that has happened to d; false for what is no SCSI disk. */
bool scsi_unplugged(const struct device *d);

#endif
