/* SPDX-License-Identifier: MIT */
/* hw/virtio/packed.c - packed virtqueues: one ring that driver and device go round behind each other.
 *
 *   desc, size entries     address (8), length (4), id (2), flags (2)
 *   avail: driver events   offset and wrap (2), flags (2): when the driver wants an interrupt
 *   used: device events    the same: when we want a bell
 *
 * A place in the ring is an index with the wrap counter in bit 15, which is how `seen` and `given` are
 * kept. An entry is the driver's to us when its AVAIL bit is the counter and its USED bit is not; we give
 * it back with both as our own counter. What is given back takes as many entries as it had, so a chain's
 * token carries them beside its id. Several chains put at once appear at once: the first one's flags
 * are written last (virtq_tell). Reference: virtio 1.2, 2.8.
 */
#include "hw/virtio/virtio-int.h"

#include "dm/base/bytes.h"

enum {
    AVAIL = 1 << 7,
    USED = 1 << 15,
    WRAP = 1 << 15,
    EVENTS_OFF = 1,
    EVENTS_AT = 2,
};

static uint64_t entry(const struct virtq *q, uint16_t place)
{
    return q->desc + (uint64_t)(place & ~WRAP) * VIRTQ_DESC_BYTES;
}

static uint16_t advance(const struct virtq *q, uint16_t place, unsigned n)
{
    unsigned i = (place & ~WRAP) + n;
    return (uint16_t)(i < q->size ? (place & WRAP) | i : ((place & WRAP) ^ WRAP) | (i - q->size));
}

static uint16_t retreat(const struct virtq *q, uint16_t place, unsigned n)
{
    unsigned i = place & ~WRAP;
    return (uint16_t)(i >= n ? (place & WRAP) | (i - n)
                             : ((place & WRAP) ^ WRAP) | (i + q->size - n));
}

int packed_waiting(struct virtio_dev *v, struct virtq *q)
{
    uint16_t flags;
    if (!virtq_usable(v, q) || !virtq_read16(v, entry(q, q->seen) + 14, &flags)) {
        return -1;
    }
    __atomic_thread_fence(__ATOMIC_ACQUIRE); /* the entry was written before its flags */
    bool wrap = q->seen & WRAP;
    return !!(flags & AVAIL) == wrap && !!(flags & USED) != wrap;
}

/* The table of d, which is entry n of its chain: a chain of its own. */
static bool take_table(struct virtio_dev *v, struct virtq_chain *c, const struct virtq_desc *d,
                       unsigned n)
{
    if (n == 0 && !(d->flags & VIRTQ_NEXT) && virtq_follow_table(v, c, d)) {
        return true;
    }
    if (virtio_ready(v)) {
        virtio_broken(v, "an indirect descriptor that may not be");
    }
    return false;
}

/* The driver makes a chain available as a whole, its first entry last: no flags to look at inside. */
bool packed_take(struct virtio_dev *v, struct virtq *q, struct virtq_chain *c)
{
    struct virtq_desc d;
    uint16_t place = q->seen;
    unsigned n = 0;
    do {
        if (n == q->size) {
            virtio_broken(v, "a chain longer than its queue");
            return false;
        }
        if (!virtq_read_desc(v, q->desc, place & ~WRAP, &d)) {
            return false;
        }
        if (!(d.flags & VIRTQ_INDIRECT ? take_table(v, c, &d, n) : virtq_add_piece(v, c, &d))) {
            return false;
        }
        c->head = d.next; /* the last one's counts */
        place = advance(q, place, 1);
        n++;
    } while (d.flags & VIRTQ_NEXT);
    c->head |= n << 16;
    q->seen = place;
    return true;
}

void packed_untake(struct virtq *q, uint32_t head)
{
    q->seen = retreat(q, q->seen, head >> 16);
}

void packed_put(struct virtio_dev *v, struct virtq *q, uint32_t head, uint32_t written)
{
    uint8_t e[6];
    uint64_t at = entry(q, q->given);
    uint16_t flags = (uint16_t)((q->given & WRAP ? AVAIL | USED : 0) | (written ? VIRTQ_WRITE : 0));
    store_le(e, 4, written);
    store_le(e + 4, 2, head & 0xffff);
    if (pci_dma_write(&v->pci, at + 8, e, sizeof(e)) < 0) {
        virtio_broken(v, "a queue is not in memory");
        return;
    }
    if (!q->held) {
        q->held = true;
        q->held_at = at + 14;
        q->held_flags = flags;
    } else {
        __atomic_thread_fence(__ATOMIC_RELEASE);
        virtq_write16(v, at + 14, flags);
    }
    uint16_t next = advance(q, q->given, head >> 16);
    q->told_valid =
        q->told_valid && !((next ^ q->given) & WRAP); /* else: past the end, told anew */
    q->given = next;
}

void packed_publish(struct virtio_dev *v, struct virtq *q)
{
    if (q->held) {
        q->held = false;
        __atomic_thread_fence(__ATOMIC_RELEASE);
        virtq_write16(v, q->held_at, q->held_flags);
    }
}

bool packed_wants_interrupt(struct virtio_dev *v, struct virtq *q)
{
    uint16_t at, flags, old = q->told, now = q->given & (uint16_t)~WRAP;
    bool first = !q->told_valid;
    q->told = now;
    q->told_valid = true;
    if (!virtq_read16(v, q->avail + 2, &flags) || (flags & 3) == EVENTS_OFF) {
        return false;
    }
    if ((flags & 3) != EVENTS_AT || !virtio_has(v, VIRTIO_F_EVENT_IDX)) {
        return true;
    }
    if (!virtq_read16(v, q->avail, &at)) {
        return false;
    }
    uint16_t event = at & (uint16_t)~WRAP;
    event = (uint16_t)((at ^ q->given) & WRAP ? event - q->size : event);
    return first || (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

void packed_want_kick(struct virtio_dev *v, struct virtq *q, bool want)
{
    virtq_write16(v, q->used + 2, want ? 0 : EVENTS_OFF);
}
