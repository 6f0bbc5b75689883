/* SPDX-License-Identifier: MIT */
/* net/vring.h - the driver's side of a split virtqueue in memory that the device shares.
 *
 * A ring has VRING_SIZE descriptors, each with a buffer of its own and never chained. The device may
 * write anywhere in that memory at any time: nothing that was put there is read back, and what the device
 * answers is looked at once and checked. Reference: virtio 1.2, 2.7.
 */
#ifndef NET_VRING_H
#define NET_VRING_H

#include <stdbool.h>
#include <stdint.h>

enum { VRING_SIZE = 128, VRING_BUFFER = 68 << 10, VRING_HEAD_BYTES = 8192 };
/* Of memory, for the ring and its buffers. */
#define VRING_BYTES (VRING_HEAD_BYTES + (uint64_t)VRING_SIZE * VRING_BUFFER)

struct vring {
    uint8_t *mem; /* VRING_BYTES, page-aligned */
    uint64_t gpa; /* what the device calls mem */
    bool to_us;   /* the device writes the buffers */
    uint16_t posted, seen;
    uint16_t idle[VRING_SIZE]; /* descriptors that are ours, nidle of them */
    unsigned nidle;
    bool theirs[VRING_SIZE];
};

/* An empty ring. mem stays the caller's. */
void vring_init(struct vring *r, uint8_t *mem, uint64_t gpa, bool to_us);
/* Where its three parts and a descriptor's buffer are, in bytes from mem. */
uint64_t vring_desc(void);
uint64_t vring_avail(void);
uint64_t vring_used(void);
uint64_t vring_buffer(unsigned id);
/* A descriptor of ours, or -1. It stays ours until it is posted. */
int vring_idle(const struct vring *r);
/* Gives descriptor vring_idle() to the device, with the first len bytes of its buffer. */
void vring_post(struct vring *r, uint32_t len);
/* 1: descriptor *id is ours again, with *len bytes written; 0: none is; -EPROTO: the device broke the rules. */
int vring_take(struct vring *r, uint16_t *id, uint32_t *len);
/* The device wants to hear of what was posted. */
bool vring_wants_kick(const struct vring *r);
/* Whether we want to hear of what it gives back. After wanting it again look once more. */
void vring_want_call(struct vring *r, bool want);

#endif
