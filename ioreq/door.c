/* SPDX-License-Identifier: MIT */
/* ioreq/door.c - ioreq_run: from a vCPU's access to a device's callback.
 *
 * A request is a run of items. An item that lies inside one region and is not too wide for it goes
 * to the device as it is (take_fast); any other is cut into naturally aligned pieces. String I/O
 * moves its values through a local buffer, a chunk of items at a time: values for the device are
 * all fetched before it sees the chunk's first item, values from it are stored after the last.
 */
#include "dm/base/bytes.h"
#include "ioreq/machine-int.h"
#include "ioreq/trace.h"

#include <errno.h>

#define CHUNK_BYTES 4096u

/* ---- one item ---- */

static inline uint64_t call_read(const struct region_span *s, uint64_t addr, unsigned size)
{
    return s->read ? s->read(s->d, addr - s->base, size) : UINT64_MAX;
}

static inline void call_write(const struct region_span *s, uint64_t addr, unsigned size,
                              uint64_t val)
{
    if (s->write) {
        s->write(s->d, addr - s->base, size, val);
    }
}

/* The span that takes [addr, addr + size) in one piece, or NULL. */
static inline const struct region_span *take_fast(struct region_table *t, enum io_space space,
                                                  uint64_t addr, unsigned size)
{
    const struct region_span *s = t->n ? &t->spans[t->last] : NULL;
    if (!s || addr < s->first || addr > s->last) {
        s = region_find(t, addr);
    }
    if (!s || size - 1 > s->last - addr || size > s->widest) {
        return NULL;
    }
    /* Configuration cycles carry one dword: a device never sees an access that crosses two. */
    return space == IO_PCI && (addr & 3) + size > 4 ? NULL : s;
}

/* How many bytes of the next n from addr go out as one naturally aligned piece within room. */
static unsigned piece_of(uint64_t addr, unsigned n, uint64_t room, unsigned widest)
{
    unsigned p = 8;
    while (p > n || p > widest || p > room || (addr & (p - 1))) {
        p >>= 1;
    }
    return p;
}

/* The general case: [addr, addr + size) piece by piece. The table is looked up anew for each: a
 * device may move its windows from inside a write. */
static uint64_t item_in_pieces(struct machine *m, enum io_space space, uint64_t addr, unsigned size,
                               bool write, uint64_t val)
{
    struct region_table *t = &m->regions[space];
    uint64_t got = 0;
    for (unsigned at = 0, n; at < size; at += n) {
        uint64_t here = addr + at;
        const struct region_span *s = here >= addr ? region_find(t, here) : NULL;
        uint64_t part = UINT64_MAX;
        if (!s) {
            n = (unsigned)min_u64(size - at, here >= addr ? region_gap(t, here) : UINT64_MAX);
            m->stats.unclaimed[space]++;
        } else {
            unsigned widest = space == IO_PCI && s->widest > 4 ? 4 : s->widest;
            uint64_t room = s->last - here;
            n = piece_of(here, size - at, room < 8 ? room + 1 : 8, widest);
            if (write) {
                call_write(s, here, n, val >> (8 * at) & ones(n));
            } else {
                part = call_read(s, here, n);
            }
        }
        got |= (part & ones(n)) << (8 * at);
    }
    return got;
}

/* One item; the value is masked to size both ways. */
static inline uint64_t door_read(struct machine *m, enum io_space space, uint64_t addr,
                                 unsigned size)
{
    const struct region_span *s = take_fast(&m->regions[space], space, addr, size);
    if (s) {
        return call_read(s, addr, size) & ones(size);
    }
    return item_in_pieces(m, space, addr, size, false, 0);
}

static inline void door_write(struct machine *m, enum io_space space, uint64_t addr, unsigned size,
                              uint64_t val)
{
    const struct region_span *s = take_fast(&m->regions[space], space, addr, size);
    if (s) {
        call_write(s, addr, size, val & ones(size));
    } else {
        (void)item_in_pieces(m, space, addr, size, true, val);
    }
}

/* ---- a whole request ---- */

/* Address of item i of a run that starts at base; false when it is below 0 or above 2^64. */
static bool item_at(const struct io_req *req, uint64_t base, uint32_t i, uint64_t *out)
{
    uint64_t off = (uint64_t)i * req->size;
    *out = req->df ? base - off : base + off;
    return req->df ? off <= base : *out >= base;
}

static uint64_t run_item(struct machine *m, const struct io_req *req, uint32_t i, uint64_t val)
{
    uint64_t addr = req->addr;
    if (req->space == IO_MMIO && !item_at(req, req->addr, i, &addr)) {
        m->stats.unclaimed[req->space]++;
        return ones(req->size);
    }
    if (req->write) {
        door_write(m, req->space, addr, req->size, val);
        return 0;
    }
    return door_read(m, req->space, addr, req->size);
}

static void run_repeat(struct machine *m, struct io_req *req)
{
    for (uint32_t i = 0; i < req->count; i++) {
        uint64_t got = run_item(m, req, i, req->data);
        if (!req->write) {
            req->data = got;
        }
    }
}

/* Items first to first + n - 1 of string I/O, as a piece of guest memory: values in the buffer are
 * in memory order, so with the direction flag item first comes last. */
struct chunk {
    uint8_t buf[CHUNK_BYTES];
    uint32_t first, n;
    uint64_t gpa; /* of the lowest byte, if whole */
    bool whole;   /* all n items begin within 64 bits */
};

static void chunk_place(struct chunk *c, const struct io_req *req, uint32_t first, uint32_t n)
{
    uint64_t head, tail;
    c->first = first;
    c->n = n;
    c->whole = item_at(req, req->data, first, &head);
    c->whole &= item_at(req, req->data, first + n - 1, &tail);
    c->gpa = req->df ? tail : head;
}

static uint8_t *chunk_slot(struct chunk *c, const struct io_req *req, uint32_t i)
{
    return c->buf + (size_t)(req->df ? c->n - 1 - i : i) * req->size;
}

/* Each item on its own, where the chunk as a whole is not RAM: what is a hole floats. */
static void chunk_move_items(struct machine *m, struct chunk *c, const struct io_req *req)
{
    for (uint32_t i = 0; i < c->n; i++) {
        uint8_t *slot = chunk_slot(c, req, i);
        uint64_t gpa;
        bool valid = item_at(req, req->data, c->first + i, &gpa);
        if (!req->write) {
            if (valid) {
                (void)gmem_write(m, gpa, slot, req->size);
            }
        } else if (!valid || gmem_read(m, gpa, slot, req->size) < 0) {
            memset(slot, 0xff, req->size);
        }
    }
}

/* Between guest memory and the buffer, in one copy if possible. */
static void chunk_move(struct machine *m, struct chunk *c, const struct io_req *req)
{
    size_t len = (size_t)c->n * req->size;
    if (c->whole) {
        int rc =
            req->write ? gmem_read(m, c->gpa, c->buf, len) : gmem_write(m, c->gpa, c->buf, len);
        if (rc == 0) {
            return;
        }
    }
    chunk_move_items(m, c, req);
}

static void run_string(struct machine *m, const struct io_req *req)
{
    struct chunk c;
    uint32_t most = CHUNK_BYTES / req->size;
    for (uint32_t first = 0; first < req->count; first += c.n) {
        chunk_place(&c, req, first, (uint32_t)min_u64(req->count - first, most));
        if (req->write) {
            chunk_move(m, &c, req);
        }
        for (uint32_t i = 0; i < c.n; i++) {
            uint8_t *slot = chunk_slot(&c, req, i);
            uint64_t got = run_item(m, req, first + i, req->write ? load_le(slot, req->size) : 0);
            if (!req->write) {
                store_le(slot, req->size, got);
            }
        }
        if (!req->write) {
            chunk_move(m, &c, req);
        }
    }
}

static inline void run(struct machine *m, struct io_req *req)
{
    if (req->count == 1 && req->write && !req->data_is_ptr) {
        door_write(m, req->space, req->addr, req->size, req->data);
    } else if (req->data_is_ptr) {
        run_string(m, req);
    } else if (req->count == 1) {
        req->data = door_read(m, req->space, req->addr, req->size);
    } else {
        run_repeat(m, req);
    }
}

static bool valid(const struct io_req *req)
{
    unsigned s = req->size;
    if ((s != 1 && s != 2 && s != 4 && s != 8) || req->space >= IO_SPACES ||
        req->count - 1 >= IO_REQ_MAX_COUNT) {
        return false;
    }
    return req->space == IO_PIO ? req->addr <= 0xffff
                                : req->space == IO_MMIO || (req->addr & 0xffffffff) < 4096;
}

/* In an event. */
static inline int run_locked(struct machine *m, struct io_req *req)
{
    m->cpu = req->cpu;
    if (!valid(req)) {
        m->stats.refused++;
        req->data = UINT64_MAX;
        return -EINVAL;
    }
    m->stats.requests[req->space]++;
    if (machine_traced(m)) {
        (void)vclock_now(m); /* the record carries the time the request began */
        trace_request_begin(m, req);
        run(m, req);
        trace_request_end(m, req);
    } else {
        run(m, req);
    }
    return 0;
}

int ioreq_run(struct machine *m, struct io_req *req)
{
    if (machine_is_mine(m)) {
        req->data = UINT64_MAX;
        return -EDEADLK;
    }
    machine_begin_event(m);
    int ret = run_locked(m, req);
    machine_end_event(m);
    return ret;
}

/* So many requests in a row are worth that others have to ask for the lock and wait. */
#define KEEP_AFTER 256u

static void keep_or_give(struct machine *m, struct machine_keeper *k)
{
    k->run = m->last == k ? k->run + 1 : 0;
    m->last = k;
    k->keeps = k->run >= KEEP_AFTER && lock_keep(&m->lock, &k->lock);
    if (!k->keeps) {
        lock_give(&m->lock);
    }
}

bool ioreq_try(struct machine *m, struct machine_keeper *k, struct io_req *req)
{
    if (!k->keeps && !lock_try(&m->lock)) {
        return false;
    }
    machine_own(m);
    (void)run_locked(m, req);
    machine_disown(m);
    if (!k->keeps) {
        keep_or_give(m, k);
    }
    return true;
}

uint64_t io_read(struct machine *m, enum io_space space, uint64_t addr, unsigned size)
{
    struct io_req req = {
        .addr = addr, .count = 1, .size = (uint8_t)size, .space = (uint8_t)space
    };
    (void)ioreq_run(m, &req); /* refused: all ones, like the bus */
    return req.data & ones(size);
}

void io_write(struct machine *m, enum io_space space, uint64_t addr, unsigned size, uint64_t val)
{
    struct io_req req = { .addr = addr,
                          .data = val,
                          .count = 1,
                          .size = (uint8_t)size,
                          .space = (uint8_t)space,
                          .write = true };
    (void)ioreq_run(m, &req);
}

const struct io_stats *io_stats(const struct machine *m)
{
    return &m->stats;
}
