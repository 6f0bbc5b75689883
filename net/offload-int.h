/* SPDX-License-Identifier: MIT */
/* net/offload-int.h - doing in software what a frame left undone. */
#ifndef NET_OFFLOAD_INT_H
#define NET_OFFLOAD_INT_H

#include "net/nic.h"

/* Does the work of f->off that `takes` does not cover and calls emit for each resulting frame.
 * False when the offload makes no sense for these bytes (nothing was emitted). */
bool offload_do(const struct nic_frame *f, unsigned takes,
                void (*emit)(void *opaque, const struct nic_frame *f), void *opaque);

/* What a frame leaves undone as the first VNET_HDR_LEN bytes of a virtio header, and back. */
enum { VNET_HDR_LEN = 10 };
void offload_to_vnet(const struct nic_offload *o, uint8_t *p);
void offload_from_vnet(const uint8_t *p, struct nic_offload *o);

#endif
