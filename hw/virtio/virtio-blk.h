/* SPDX-License-Identifier: MIT */
/* hw/virtio/virtio-blk.h - a virtio block device. */
#ifndef HW_VIRTIO_VIRTIO_BLK_H
#define HW_VIRTIO_VIRTIO_BLK_H

#include "ioreq/dev.h"

extern const struct dev_class virtio_blk_class;

#endif
