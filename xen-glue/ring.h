/* SPDX-License-Identifier: MIT */
/* xen-glue/ring.h - the pages that Xen and an ioreq server share, without any system call.
 *
 * Synchronous requests sit in one slot a vCPU: Xen fills a slot and makes its state READY, we copy
 * it once, answer, and make the state RESP_READY. Buffered requests (writes nobody waits for) sit
 * in a ring of 511 entries. Only the copy is ever looked at, and every value Xen could not have
 * written still has a defined answer. Who sleeps and who notifies is ring-thread.c's business.
 */
#ifndef XEN_GLUE_RING_H
#define XEN_GLUE_RING_H

#include "ioreq/ioreq.h"

#include <xen/hvm/ioreq.h>

#include <stdbool.h>
#include <stdint.h>

#define RING_MAX_VCPUS 128u /* slots of 32 bytes in one page */

enum ring_kind {
    RING_IDLE,       /* nothing to do */
    RING_IO,         /* req is a request for ioreq_run */
    RING_TIMEOFFSET, /* the guest set its clock: data is the change in seconds */
    RING_INVALIDATE, /* guest pages moved: forget what is mapped */
    RING_BAD,        /* not something Xen sends; reads answer all ones */
};

/* One request, copied out of shared memory. */
struct ring_item {
    enum ring_kind kind;
    struct io_req req;
    uint64_t data;
    uint8_t flags; /* the slot's state byte as it was, without the state */
};

/* Takes vCPU slot s if it is READY (it becomes INPROCESS); RING_IDLE otherwise. */
void ring_take(struct ioreq *s, struct ring_item *it);
/* Answers slot s: data for reads, then the state. Afterwards the vCPU may be notified. */
void ring_answer(struct ioreq *s, const struct ring_item *it);

/* Entries waiting in the buffered ring, 0..511. Pointers no producer could have left there empty
 * the ring; *wild counts those. */
uint32_t ring_buffered_waiting(struct buffered_iopage *p, uint64_t *wild);
/* Takes the next of `waiting` entries. Returns how many entries it covered: 1, or 2 for a write of
 * 8 bytes. The caller handles it->req and then calls ring_buffered_done with that number. */
uint32_t ring_buffered_take(struct buffered_iopage *p, uint32_t waiting, struct ring_item *it);
void ring_buffered_done(struct buffered_iopage *p, uint32_t entries);

#endif
