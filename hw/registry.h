/* SPDX-License-Identifier: MIT */
/* hw/registry.h - every device Keel has, in one sorted array. */
#ifndef HW_REGISTRY_H
#define HW_REGISTRY_H

#include "ioreq/dev.h"

extern const struct dev_class *const hw_registry[]; /* sorted by name, ends with NULL */
/* The class `-device name` means, or NULL. */
const struct dev_class *hw_find(const char *name);

#endif
