/* SPDX-License-Identifier: MIT */
/* net/vring.c - see vring.h. */
#include "net/vring.h"

#include "dm/base/bytes.h"

#include <errno.h>
#include <string.h>

enum {
    DESC_BYTES = 16,
    DESC_WRITE = 2,
    AVAIL = VRING_SIZE * DESC_BYTES,
    USED = AVAIL + 4096 / 2, /* behind 4 + 2 * VRING_SIZE + 2 bytes, and aligned */
    NO_INTERRUPT = 1,
    NO_NOTIFY = 1,
};

_Static_assert(AVAIL + 6 + 2 * VRING_SIZE <= USED, "the rings overlap");
_Static_assert(USED + 6 + 8 * VRING_SIZE <= VRING_HEAD_BYTES, "the ring and its buffers overlap");

static uint16_t *word(const struct vring *r, uint64_t off)
{
    return (uint16_t *)(void *)(r->mem + off);
}

uint64_t vring_desc(void)
{
    return 0;
}

uint64_t vring_avail(void)
{
    return AVAIL;
}

uint64_t vring_used(void)
{
    return USED;
}

uint64_t vring_buffer(unsigned id)
{
    return VRING_HEAD_BYTES + (uint64_t)id * VRING_BUFFER;
}

void vring_init(struct vring *r, uint8_t *mem, uint64_t gpa, bool to_us)
{
    *r = (struct vring){ .mem = mem, .gpa = gpa, .to_us = to_us, .nidle = VRING_SIZE };
    memset(mem, 0, VRING_HEAD_BYTES);
    for (unsigned i = 0; i < VRING_SIZE; i++) {
        r->idle[i] = (uint16_t)(VRING_SIZE - 1 - i);
    }
}

int vring_idle(const struct vring *r)
{
    return r->nidle ? r->idle[r->nidle - 1] : -1;
}

void vring_post(struct vring *r, uint32_t len)
{
    uint16_t id = r->idle[--r->nidle];
    uint8_t *d = r->mem + (size_t)id * DESC_BYTES;
    store_le(d, 8, r->gpa + vring_buffer(id));
    store_le(d + 8, 4, len);
    store_le(d + 12, 4, r->to_us ? DESC_WRITE : 0);
    r->theirs[id] = true;
    store_le(r->mem + AVAIL + 4 + 2 * (r->posted % VRING_SIZE), 2, id);
    __atomic_store_n(word(r, AVAIL + 2), ++r->posted, __ATOMIC_RELEASE);
}

int vring_take(struct vring *r, uint16_t *id, uint32_t *len)
{
    uint16_t idx = __atomic_load_n(word(r, USED + 2), __ATOMIC_ACQUIRE);
    uint8_t raw[8];
    if (idx == r->seen) {
        return 0;
    }
    memcpy(raw, r->mem + USED + 4 + 8 * (r->seen % VRING_SIZE), sizeof(raw));
    uint32_t which = load_le32(raw);
    *len = load_le32(raw + 4);
    if ((uint16_t)(idx - r->seen) > VRING_SIZE || which >= VRING_SIZE || !r->theirs[which] ||
        (r->to_us && *len > VRING_BUFFER)) {
        return -EPROTO;
    }
    r->seen++;
    r->theirs[which] = false;
    r->idle[r->nidle++] = (uint16_t)which;
    *id = (uint16_t)which;
    return 1;
}

bool vring_wants_kick(const struct vring *r)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* our index before its wish */
    return !(__atomic_load_n(word(r, USED), __ATOMIC_RELAXED) & NO_NOTIFY);
}

void vring_want_call(struct vring *r, bool want)
{
    __atomic_store_n(word(r, AVAIL), want ? 0 : NO_INTERRUPT, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
