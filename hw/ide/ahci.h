/* SPDX-License-Identifier: MIT */
/* hw/ide/ahci.h - the ICH9 serial ATA controller. */
#ifndef HW_IDE_AHCI_H
#define HW_IDE_AHCI_H

#include "ioreq/dev.h"

extern const struct dev_class ich9_ahci_class;

#endif
