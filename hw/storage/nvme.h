/* SPDX-License-Identifier: MIT */
/* hw/storage/nvme.h - an NVM Express controller with one namespace. */
#ifndef HW_STORAGE_NVME_H
#define HW_STORAGE_NVME_H

#include "ioreq/dev.h"

extern const struct dev_class nvme_class;

#endif
