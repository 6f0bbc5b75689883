/* SPDX-License-Identifier: MIT */
/* hw/virtio/virtio-net.h - the virtio network card. */
#ifndef HW_VIRTIO_VIRTIO_NET_H
#define HW_VIRTIO_VIRTIO_NET_H

#include "hw/virtio/virtio.h"

extern const struct dev_class virtio_net_class;

#endif
