/* SPDX-License-Identifier: MIT */
/* hw/virtio/virtio.c - virtqueues: what devices call, and the split kind (packed.c has the other).
 * Reference: virtio 1.2, 2.7.
 *
 * Descriptors and ring entries are copied out of guest memory once. A chain's length is bounded by
 * VIRTIO_CHAIN_MAX whatever its next fields say, a queue's work by its size.
 */
#include "hw/virtio/virtio-int.h"

#include "dm/base/bytes.h"

#include <string.h>

enum {
    AVAIL_NO_INTERRUPT = 1,
    USED_NO_NOTIFY = 1,
};

static bool packed(const struct virtio_dev *v)
{
    return virtio_has(v, VIRTIO_F_RING_PACKED);
}

void virtio_broken(struct virtio_dev *v, const char *why)
{
    guest_odd(&v->pci.dev, "%s", why);
    v->status |= VIRTIO_S_NEEDS_RESET;
    if (virtio_has(v, VIRTIO_F_VERSION_1)) {
        virtio_interrupt(v, -1);
    }
}

bool virtio_ready(const struct virtio_dev *v)
{
    return (v->status & VIRTIO_S_DRIVER_OK) && !(v->status & VIRTIO_S_NEEDS_RESET);
}

bool virtq_usable(const struct virtio_dev *v, const struct virtq *q)
{
    return q->enabled && virtio_ready(v);
}

bool virtq_read16(struct virtio_dev *v, uint64_t gpa, uint16_t *val)
{
    uint8_t b[2];
    if (pci_dma_read(&v->pci, gpa, b, sizeof(b)) < 0) {
        virtio_broken(v, "a virtqueue is not in memory");
        return false;
    }
    *val = load_le16(b);
    return true;
}

bool virtq_write16(struct virtio_dev *v, uint64_t gpa, uint16_t val)
{
    uint8_t b[2];
    store_le(b, 2, val);
    if (pci_dma_write(&v->pci, gpa, b, sizeof(b)) < 0) {
        virtio_broken(v, "a virtqueue is not in memory");
        return false;
    }
    return true;
}

/* ---- taking ---- */

/* How many chains wait; -1 when the device broke. */
static int waiting(struct virtio_dev *v, struct virtq *q)
{
    uint16_t idx;
    if (packed(v)) {
        return packed_waiting(v, q);
    }
    if (!virtq_usable(v, q) || !virtq_read16(v, q->avail + 2, &idx)) {
        return -1;
    }
    __atomic_thread_fence(__ATOMIC_ACQUIRE); /* the ring's entries were written before its index */
    uint16_t n = (uint16_t)(idx - q->seen);
    if (n > q->size) {
        virtio_broken(v, "the available index ran past the queue");
        return -1;
    }
    return n;
}

unsigned virtq_waiting(struct virtio_dev *v, unsigned i)
{
    int n = waiting(v, &v->q[i]);
    return n > 0 ? (unsigned)n : 0;
}

bool virtq_read_desc(struct virtio_dev *v, uint64_t table, unsigned i, struct virtq_desc *d)
{
    uint8_t b[VIRTQ_DESC_BYTES];
    if (pci_dma_read(&v->pci, table + (uint64_t)i * VIRTQ_DESC_BYTES, b, sizeof(b)) < 0) {
        virtio_broken(v, "a descriptor is not in memory");
        return false;
    }
    uint16_t third = load_le16(b + 12), last = load_le16(b + 14);
    *d = packed(v) ? (struct virtq_desc){ load_le64(b), load_le32(b + 8), last, third }
                   : (struct virtq_desc){ load_le64(b), load_le32(b + 8), third, last };
    return true;
}

bool virtq_add_piece(struct virtio_dev *v, struct virtq_chain *c, const struct virtq_desc *d)
{
    bool in = d->flags & VIRTQ_WRITE;
    if (c->nout + c->nin == VIRTIO_CHAIN_MAX) {
        virtio_broken(v, "a chain without end");
        return false;
    }
    if (!in && c->nin) {
        virtio_broken(v, "a readable descriptor behind a writable one");
        return false;
    }
    c->piece[c->nout + c->nin] = (struct virtq_piece){ d->addr, d->len };
    *(in ? &c->nin : &c->nout) += 1;
    *(in ? &c->in_len : &c->out_len) += d->len;
    return true;
}

static bool may_be_table(struct virtio_dev *v, const struct virtq_desc *d)
{
    return virtio_has(v, VIRTIO_F_INDIRECT_DESC) && d->len && d->len % VIRTQ_DESC_BYTES == 0 &&
           d->len / VIRTQ_DESC_BYTES <= VIRTIO_CHAIN_MAX;
}

/* Follows a chain from entry i of a table of n descriptors. */
static bool follow(struct virtio_dev *v, struct virtq_chain *c, uint64_t table, unsigned n,
                   unsigned i, bool may_be_indirect)
{
    struct virtq_desc d;
    do {
        if (i >= n) {
            virtio_broken(v, "a descriptor outside its table");
            return false;
        }
        if (!virtq_read_desc(v, table, i, &d)) {
            return false;
        }
        if (d.flags & VIRTQ_INDIRECT) {
            if (!may_be_indirect || !may_be_table(v, &d) || (d.flags & VIRTQ_NEXT)) {
                virtio_broken(v, "an indirect descriptor that may not be");
                return false;
            }
            return follow(v, c, d.addr, d.len / VIRTQ_DESC_BYTES, 0, false);
        }
        if (!virtq_add_piece(v, c, &d)) {
            return false;
        }
        i = d.next;
    } while (d.flags & VIRTQ_NEXT);
    return true;
}

bool virtq_follow_table(struct virtio_dev *v, struct virtq_chain *c, const struct virtq_desc *d)
{
    struct virtq_desc e;
    for (unsigned i = 0; may_be_table(v, d) && i < d->len / VIRTQ_DESC_BYTES; i++) {
        if (!virtq_read_desc(v, d->addr, i, &e)) {
            return false;
        }
        if (!virtq_add_piece(v, c, &e)) {
            return false;
        }
    }
    return may_be_table(v, d);
}

static void empty(struct virtq_chain *c)
{
    c->nout = c->nin = 0;
    c->out_len = c->in_len = 0;
}

bool virtq_take(struct virtio_dev *v, unsigned i, struct virtq_chain *c)
{
    struct virtq *q = &v->q[i];
    uint16_t head;
    int n = waiting(v, q);
    empty(c);
    if (n > 0 && packed(v)) {
        return packed_take(v, q, c);
    }
    if (n <= 0 || !virtq_read16(v, q->avail + 4 + 2 * (uint64_t)(q->seen & (q->size - 1)), &head)) {
        return false;
    }
    c->head = head;
    if (!follow(v, c, q->desc, q->size, head, true)) {
        return false;
    }
    q->seen++;
    if (virtio_has(v, VIRTIO_F_EVENT_IDX) && !q->quiet) {
        virtq_write16(v, q->used + 4 + 8 * (uint64_t)q->size, q->seen); /* avail_event */
    }
    return true;
}

void virtq_untake(struct virtio_dev *v, unsigned i, uint32_t head)
{
    if (packed(v)) {
        packed_untake(&v->q[i], head);
    } else {
        v->q[i].seen--;
    }
}

/* ---- giving ---- */

void virtq_put(struct virtio_dev *v, unsigned i, uint32_t head, uint32_t written)
{
    struct virtq *q = &v->q[i];
    uint8_t e[8];
    if (!virtq_usable(v, q)) {
        return;
    }
    if (packed(v)) {
        packed_put(v, q, head, written);
        return;
    }
    store_le(e, 4, head);
    store_le(e + 4, 4, written);
    uint64_t at = q->used + 4 + 8 * (uint64_t)(q->given & (q->size - 1));
    if (pci_dma_write(&v->pci, at, e, sizeof(e)) < 0) {
        virtio_broken(v, "a used ring is not in memory");
        return;
    }
    q->given++;
}

/* What was put becomes visible, all of it at once: a frame over several chains must (5.1.6.4). */
void virtq_publish(struct virtio_dev *v, unsigned i)
{
    struct virtq *q = &v->q[i];
    if (!virtq_usable(v, q)) {
        return;
    }
    if (packed(v)) {
        packed_publish(v, q);
        return;
    }
    __atomic_thread_fence(__ATOMIC_RELEASE);
    virtq_write16(v, q->used + 2, q->given);
}

/* The driver's own words on interrupts: an index it waits for, or a flag. */
static bool wants_interrupt(struct virtio_dev *v, struct virtq *q)
{
    uint16_t event, flags, old = q->told;
    bool first = !q->told_valid;
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* our index before its wish */
    if (packed(v)) {
        return packed_wants_interrupt(v, q);
    }
    if (!virtio_has(v, VIRTIO_F_EVENT_IDX)) {
        return virtq_read16(v, q->avail, &flags) && !(flags & AVAIL_NO_INTERRUPT);
    }
    q->told = q->given;
    q->told_valid = true;
    if (!virtq_read16(v, q->avail + 4 + 2 * (uint64_t)q->size, &event)) {
        return false;
    }
    return first || (uint16_t)(q->given - event - 1) < (uint16_t)(q->given - old);
}

void virtq_tell(struct virtio_dev *v, unsigned i)
{
    virtq_publish(v, i);
    if (virtq_usable(v, &v->q[i]) && wants_interrupt(v, &v->q[i])) {
        virtio_interrupt(v, (int)i);
    }
}

void virtq_give(struct virtio_dev *v, unsigned i, uint32_t head, uint32_t written)
{
    virtq_put(v, i, head, written);
    virtq_tell(v, i);
}

void virtq_want_kick(struct virtio_dev *v, unsigned i, bool want)
{
    struct virtq *q = &v->q[i];
    if (!virtq_usable(v, q)) {
        return;
    }
    q->quiet = !want;
    if (packed(v)) {
        packed_want_kick(v, q, want);
    } else if (!virtio_has(v, VIRTIO_F_EVENT_IDX)) {
        virtq_write16(v, q->used, want ? 0 : USED_NO_NOTIFY);
    } else if (want) {
        virtq_write16(v, q->used + 4 + 8 * (uint64_t)q->size, q->seen);
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* ---- bytes of a chain ---- */

static int64_t copy(struct virtio_dev *v, const struct virtq_piece *p, unsigned n, uint64_t off,
                    uint8_t *buf, uint64_t len, bool to_guest)
{
    uint64_t done = 0;
    for (unsigned i = 0; i < n && done < len; i++) {
        if (off >= p[i].len) {
            off -= p[i].len;
            continue;
        }
        uint64_t bytes = min_u64(p[i].len - off, len - done);
        int ret = to_guest ? pci_dma_write(&v->pci, p[i].gpa + off, buf + done, bytes)
                           : pci_dma_read(&v->pci, p[i].gpa + off, buf + done, bytes);
        if (ret < 0) {
            virtio_broken(v, "a buffer is not in memory");
            return -1;
        }
        done += bytes;
        off = 0;
    }
    return (int64_t)done;
}

int64_t virtq_read(struct virtio_dev *v, const struct virtq_chain *c, uint64_t off, void *buf,
                   uint64_t len)
{
    return copy(v, c->piece, c->nout, off, buf, len, false);
}

int64_t virtq_write(struct virtio_dev *v, const struct virtq_chain *c, uint64_t off,
                    const void *buf, uint64_t len)
{
    return copy(v, c->piece + c->nout, c->nin, off, (uint8_t *)buf, len, true);
}
