/* SPDX-License-Identifier: MIT */
/* xen-glue/ring.c - copies requests out of the shared pages and answers into them.
 *
 * The memory order is that of Xen's public hvm/ioreq.h: the producer writes a slot's fields, then
 * its state; the consumer reads the state (acquire), then the fields; the answer goes the same way
 * back (release). Xen keeps both indexes of the buffered ring in one 64-bit word and wraps them
 * down with a compare-and-exchange, so they are read as one word and the read index is advanced by
 * an atomic addition (HVM_IOREQSRV_BUFIOREQ_ATOMIC).
 */
#include "xen-glue/ring.h"

#include <stddef.h>

enum {
    FLAGS_AT = 30, /* the byte behind struct ioreq's bit fields */
    STATE_MASK = 0x0f,
    DATA_IS_PTR = 0x10,
    DIR_READ = 0x20,
    DF = 0x40,
};
_Static_assert(sizeof(struct ioreq) == 32, "Xen's slot layout");
_Static_assert(offsetof(struct ioreq, type) == FLAGS_AT + 1, "Xen's slot layout");
_Static_assert(sizeof(struct buf_ioreq) == 8, "Xen's buffered entry layout");

static uint8_t *flags_of(struct ioreq *s)
{
    return (uint8_t *)s + FLAGS_AT;
}

/* Xen's request types to our spaces; false for what is no access. */
static bool space_of(uint8_t type, uint8_t *space)
{
    switch (type) {
    case IOREQ_TYPE_PIO:
        *space = IO_PIO;
        return true;
    case IOREQ_TYPE_COPY:
        *space = IO_MMIO;
        return true;
    case IOREQ_TYPE_PCI_CONFIG:
        *space = IO_PCI;
        return true;
    default:
        return false;
    }
}

static bool request_is_sane(const struct io_req *r, uint32_t size, uint32_t count)
{
    if (size != 1 && size != 2 && size != 4 && size != 8) {
        return false;
    }
    if (count == 0 || count > IO_REQ_MAX_COUNT) {
        return false;
    }
    return r->space != IO_PIO || r->addr <= 0xffff;
}

/* Fills in it->kind from a copied request. */
static void classify(struct ring_item *it, uint8_t type, uint32_t size, uint32_t count)
{
    it->data = it->req.data;
    if (type == IOREQ_TYPE_TIMEOFFSET) {
        it->kind = RING_TIMEOFFSET;
    } else if (type == IOREQ_TYPE_INVALIDATE) {
        it->kind = RING_INVALIDATE;
    } else if (space_of(type, &it->req.space) && request_is_sane(&it->req, size, count)) {
        it->kind = RING_IO;
        it->req.size = (uint8_t)size;
        it->req.count = count;
    } else {
        it->kind = RING_BAD;
        it->req.data = UINT64_MAX;
    }
}

void ring_take(struct ioreq *s, struct ring_item *it)
{
    uint8_t flags = __atomic_load_n(flags_of(s), __ATOMIC_ACQUIRE);
    if ((flags & STATE_MASK) != STATE_IOREQ_READY) {
        it->kind = RING_IDLE;
        return;
    }
    it->flags = flags & (uint8_t)~STATE_MASK;
    it->req = (struct io_req){
        .addr = __atomic_load_n(&s->addr, __ATOMIC_RELAXED),
        .data = __atomic_load_n(&s->data, __ATOMIC_RELAXED),
        .write = !(flags & DIR_READ),
        .df = (flags & DF) != 0,
        .data_is_ptr = (flags & DATA_IS_PTR) != 0,
    };
    classify(it, __atomic_load_n(&s->type, __ATOMIC_RELAXED),
             __atomic_load_n(&s->size, __ATOMIC_RELAXED),
             __atomic_load_n(&s->count, __ATOMIC_RELAXED));
    __atomic_store_n(flags_of(s), it->flags | STATE_IOREQ_INPROCESS, __ATOMIC_RELAXED);
}

void ring_answer(struct ioreq *s, const struct ring_item *it)
{
    if ((it->flags & DIR_READ) && !(it->flags & DATA_IS_PTR)) {
        __atomic_store_n(&s->data, it->req.data, __ATOMIC_RELAXED);
    }
    __atomic_store_n(flags_of(s), it->flags | STATE_IORESP_READY, __ATOMIC_RELEASE);
}

static uint64_t *both_pointers(struct buffered_iopage *p)
{
    return (uint64_t *)(void *)p; /* a page: read index low, write index high */
}

uint32_t ring_buffered_waiting(struct buffered_iopage *p, uint64_t *wild)
{
    uint64_t both = __atomic_load_n(both_pointers(p), __ATOMIC_ACQUIRE);
    uint32_t waiting = (uint32_t)(both >> 32) - (uint32_t)both;
    if (waiting <= IOREQ_BUFFER_SLOT_NUM) {
        return waiting;
    }
    __atomic_fetch_add(&p->read_pointer, waiting, __ATOMIC_RELEASE);
    ++*wild;
    return 0;
}

uint32_t ring_buffered_take(struct buffered_iopage *p, uint32_t waiting, struct ring_item *it)
{
    uint32_t at = __atomic_load_n(&p->read_pointer, __ATOMIC_RELAXED);
    uint64_t *slot = (uint64_t *)(void *)p + 1;
    uint64_t w = __atomic_load_n(&slot[at % IOREQ_BUFFER_SLOT_NUM], __ATOMIC_RELAXED);

    /* struct buf_ioreq: type 8 bits, pad 1, dir 1, size 2, addr 20, data 32 */
    uint32_t log_size = (uint32_t)(w >> 10) & 3;
    bool two = log_size == 3;
    it->flags = 0;
    it->req = (struct io_req){
        .addr = (w >> 12) & 0xfffff,
        .data = w >> 32,
        .write = !((w >> 9) & 1),
    };
    if (two && waiting < 2) {
        it->kind = RING_BAD;
        return 1;
    }
    if (two) {
        uint64_t high = __atomic_load_n(&slot[(at + 1) % IOREQ_BUFFER_SLOT_NUM], __ATOMIC_RELAXED);
        it->req.data |= high & 0xffffffff00000000ull;
    }
    classify(it, (uint8_t)w, 1u << log_size, 1);
    if (it->kind == RING_IO && !it->req.write) {
        it->kind = RING_BAD; /* nobody waits for the answer of a buffered read */
    }
    return two ? 2 : 1;
}

void ring_buffered_done(struct buffered_iopage *p, uint32_t entries)
{
    __atomic_fetch_add(&p->read_pointer, entries, __ATOMIC_RELEASE);
}
