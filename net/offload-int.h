/* SPDX-License-Identifier: MIT */
/* net/offload-int.h - doing in software what a frame left undone. */
#ifndef NET_OFFLOAD_INT_H
#define NET_OFFLOAD_INT_H

#include "net/nic.h"

/* Does the work of f->off that `takes` does not cover and calls emit for each resulting frame.
 * False when the offload makes no sense for these bytes (nothing was emitted). */
bool offload_do(const struct nic_frame *f, unsigned takes,
                void (*emit)(void *opaque, const struct nic_frame *f), void *opaque);

#endif
