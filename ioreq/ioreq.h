/* SPDX-License-Identifier: MIT */
/* ioreq/ioreq.h - the request door: how a guest's access reaches a device.
 *
 * Whoever owns the vCPUs (Xen's ring, a KVM exit, the translator, a trace, a test) fills a struct
 * io_req and calls ioreq_run, from any thread. The door takes the machine lock, checks and
 * records the request, unfolds repeats and string I/O, and calls the regions' owners with single
 * items of 1, 2, 4 or 8 bytes that lie inside one region. There is one flat table of regions per
 * space; no aliases, no nesting.
 */
#ifndef IOREQ_IOREQ_H
#define IOREQ_IOREQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct machine;
struct machine_keeper;
struct device;

/* PCI configuration is a space of its own: address = SBDF << 32 | register, as Xen sends it. */
enum io_space { IO_PIO, IO_MMIO, IO_PCI, IO_SPACES };

#define PCI_CFG_ADDR(sbdf, reg) ((uint64_t)(sbdf) << 32 | (reg))

/* One access as a vCPU owner hands it over; field meanings follow Xen's public hvm/ioreq.h, whose
 * struct ioreq keeps its name for xen-glue/. */
struct io_req {
    uint64_t addr;    /* port, guest-physical byte address, or PCI_CFG_ADDR */
    uint64_t data;    /* value, or guest-physical address of values if data_is_ptr */
    uint32_t count;   /* repetitions, 1 to IO_REQ_MAX_COUNT */
    uint8_t size;     /* bytes an item: 1, 2, 4 or 8 */
    uint8_t space;    /* enum io_space */
    bool write;       /* true: guest to device */
    bool df;          /* direction flag: addresses step downwards */
    bool data_is_ptr; /* string I/O: data names guest memory */
    uint8_t cpu;      /* which vCPU asks (cpu_current); 0 where the local APIC is not ours */
};
#define IO_REQ_MAX_COUNT 65536u

/* The door. A port stays the same over repeats, an MMIO address steps by size, and so does the
 * pointer of string I/O. Reads nobody claims give all ones, writes are dropped, both are counted.
 * An item that straddles regions is split into naturally aligned pieces.
 * Returns 0, or -EINVAL for a request no hardware could issue (port above 0xffff, bad size, count
 * or space; nothing was touched, req->data is all ones), or -EDEADLK when called from inside a
 * device callback. */
int ioreq_run(struct machine *m, struct io_req *req);
/* The same when the machine lock is free right now or k keeps it; false: it is not, and nothing happened.
 * After many requests in which nobody else had the lock k keeps it (machine_give_back). */
bool ioreq_try(struct machine *m, struct machine_keeper *k, struct io_req *req);

/* Shorthands for one item, used by tests and by the string-free owners. */
uint64_t io_read(struct machine *m, enum io_space space, uint64_t addr, unsigned size);
void io_write(struct machine *m, enum io_space space, uint64_t addr, unsigned size, uint64_t val);

/* A register's name, for traces and `info`: matches off and the bytes up to the next entry. */
struct reg_name {
    uint32_t off;
    const char *name; /* as the data sheet spells it */
};

/* What a device does with one item. off counts from the region's start; size is 1, 2, 4 or 8 and
 * never above max_size (0 means 4): wider items arrive as several, lowest address first. Reads
 * return the value in the low bytes; the rest is ignored. */
struct region_ops {
    uint64_t (*read)(struct device *d, uint64_t off, unsigned size);
    void (*write)(struct device *d, uint64_t off, unsigned size, uint64_t val);
    uint8_t max_size;
    const struct reg_name *names; /* sorted, ends with a NULL name; may be NULL */
};

/* A window of one space that a device answers. Lives inside the device's struct. */
struct region {
    struct device *d;
    const struct region_ops *ops;
    const char *name; /* "BMDMA", "CRTC"; shown by `info mtree` and in traces */
    enum io_space space;
    uint64_t len;
    uint64_t base; /* valid while mapped */
    bool mapped;
    uint8_t prio;    /* the higher one answers where two overlap; chips 1, PCI BARs 0 */
    uint32_t serial; /* among equals the one mapped first answers */
};

/* Prepares r; nothing is mapped. prio 1. */
void region_init(struct region *r, struct device *d, const struct region_ops *ops,
                 enum io_space space, uint64_t len, const char *name);
/* Puts r at base (moving it if it was elsewhere). A window that would wrap or, for ports, leave
 * 16 bits is cut off at the end of its space. Tells the host behind the doors, which on Xen claims
 * exactly the ports and pages some region answers. */
void region_map(struct region *r, uint64_t base);
void region_unmap(struct region *r);

/* One dispatchable piece of the table: [first, last] answered by r. For `info mtree` and claims. */
struct region_span {
    uint64_t first, last;
    struct region *r;
    /* r's, side by side: a request follows one pointer */
    uint64_t base;
    struct device *d;
    uint64_t (*read)(struct device *d, uint64_t off, unsigned size);
    void (*write)(struct device *d, uint64_t off, unsigned size, uint64_t val);
    unsigned widest; /* bytes an item may have */
};
const struct region_span *region_spans(const struct machine *m, enum io_space space, size_t *n);

struct io_stats {
    uint64_t requests[IO_SPACES];  /* through ioreq_run */
    uint64_t unclaimed[IO_SPACES]; /* items nobody answered */
    uint64_t refused;              /* -EINVAL */
};
const struct io_stats *io_stats(const struct machine *m);

#endif
