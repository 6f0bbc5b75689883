/* SPDX-License-Identifier: MIT */
/* hw/virtio/virtio-int.h - what the two kinds of virtqueues share: see virtio.c and packed.c. */
#ifndef HW_VIRTIO_VIRTIO_INT_H
#define HW_VIRTIO_VIRTIO_INT_H

#include "hw/virtio/virtio.h"

enum { VIRTQ_DESC_BYTES = 16, VIRTQ_NEXT = 1, VIRTQ_WRITE = 2, VIRTQ_INDIRECT = 4 };

/* A descriptor of either kind. */
struct virtq_desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next; /* packed: next is the id */
};

/* All of these break the device when what they are to look at is not memory, or cannot be. */
bool virtq_usable(const struct virtio_dev *v, const struct virtq *q);
bool virtq_read16(struct virtio_dev *v, uint64_t gpa, uint16_t *val);
bool virtq_write16(struct virtio_dev *v, uint64_t gpa, uint16_t val);
bool virtq_read_desc(struct virtio_dev *v, uint64_t table, unsigned i, struct virtq_desc *d);
/* d as one more piece of c. */
bool virtq_add_piece(struct virtio_dev *v, struct virtq_chain *c, const struct virtq_desc *d);
/* The table that d of a packed ring leads to: its descriptors in turn, ids and NEXT do not count. False with
 * the device still whole: d may not lead to one. */
bool virtq_follow_table(struct virtio_dev *v, struct virtq_chain *c, const struct virtq_desc *d);

/* packed.c. 1, 0, or -1 when the device broke. */
int packed_waiting(struct virtio_dev *v, struct virtq *q);
bool packed_take(struct virtio_dev *v, struct virtq *q, struct virtq_chain *c);
void packed_untake(struct virtq *q, uint32_t head);
void packed_put(struct virtio_dev *v, struct virtq *q, uint32_t head, uint32_t written);
void packed_publish(struct virtio_dev *v, struct virtq *q);
bool packed_wants_interrupt(struct virtio_dev *v, struct virtq *q);
void packed_want_kick(struct virtio_dev *v, struct virtq *q, bool want);

#endif
