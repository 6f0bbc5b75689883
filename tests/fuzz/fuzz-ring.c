/* SPDX-License-Identifier: MIT */
/* tests/fuzz/fuzz-ring.c - the pages shared with Xen, holding anything at all.
 *
 * The input fills the buffered page and the vCPU slots; both are then served as the ring thread
 * does. What must hold: every READY slot is answered and no other is touched, nothing beside a
 * slot's data and state changes, the buffered ring ends empty after one lap at most, and what
 * passes for a request is one that ioreq_run accepts.
 */
#include "dm/base/util.h"
#include "ioreq/flat.h"
#include "xen-glue/ring.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define MAX_BYTES_MOVED 65536u /* a request may move more; the door's own target looks at that */

static void must(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void run(struct machine *m, const struct ring_item *it)
{
    struct io_req req = it->req;
    if (it->kind == RING_IO && (uint64_t)req.count * req.size <= MAX_BYTES_MOVED) {
        int r = ioreq_run(m, &req);
        must(r == 0 || (req.space == IO_PCI && (uint32_t)req.addr >= 4096));
    }
}

static void serve_slot(struct machine *m, struct ioreq *s)
{
    struct ioreq was = *s;
    struct ring_item it;
    ring_take(s, &it);
    if (was.state != STATE_IOREQ_READY) {
        must(it.kind == RING_IDLE && !memcmp(s, &was, sizeof(was)));
        return;
    }
    must(it.kind != RING_IDLE && s->state == STATE_IOREQ_INPROCESS);
    run(m, &it);
    ring_answer(s, &it);
    must(s->state == STATE_IORESP_READY);
    was.state = STATE_IORESP_READY;
    if (was.dir == IOREQ_READ && !was.data_is_ptr) {
        was.data = s->data;
    }
    must(!memcmp(s, &was, sizeof(was)));
}

static void drain(struct machine *m, struct buffered_iopage *p)
{
    uint64_t wild = 0;
    uint32_t waiting = ring_buffered_waiting(p, &wild);
    must(waiting <= IOREQ_BUFFER_SLOT_NUM && wild <= 1);
    while (waiting > 0) {
        struct ring_item it;
        uint32_t n = ring_buffered_take(p, waiting, &it);
        must(n >= 1 && n <= waiting);
        must(it.kind != RING_IO || it.req.write);
        run(m, &it);
        ring_buffered_done(p, n);
        waiting -= n;
    }
    must(p->read_pointer == p->write_pointer);
}

/* Noise is hardly ever a possible request: brings a slot near to one. */
static void tame(struct ioreq *s)
{
    s->state &= STATE_IOREQ_READY;
    s->type %= IOREQ_TYPE_INVALIDATE + 1;
    s->size = s->size & 64 ? s->size : 1u << (s->size & 3);
    s->count = s->count & 64 ? s->count : s->count % 256;
    s->addr %= 0x11000;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static union {
        uint8_t bytes[4096 + 8 * sizeof(struct ioreq)];
        uint64_t aligned;
    } pages;
    struct flat_host *f = flat_new(1 << 16);
    struct machine *m = machine_new("ring", &flat_host_ops, f);

    memset(&pages, 0, sizeof(pages));
    memcpy(pages.bytes, data, min_u64(len, sizeof(pages)));
    if (len > 8) { /* near indexes too, not only wild ones */
        memcpy(pages.bytes + 4096, data + len / 2, min_u64(len - len / 2, sizeof(pages) - 4096));
        pages.bytes[7] = pages.bytes[3] = 0;
        pages.bytes[6] = pages.bytes[2];
    }
    for (size_t i = 0; i < 8; i++) {
        struct ioreq *s = (struct ioreq *)(void *)(pages.bytes + 4096) + i;
        if (i % 2) {
            tame(s);
        }
        serve_slot(m, s);
    }
    drain(m, (struct buffered_iopage *)(void *)pages.bytes);
    machine_free(m);
    flat_free(f);
    return 0;
}
