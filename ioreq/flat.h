/* SPDX-License-Identifier: MIT */
/* ioreq/flat.h - the plainest host behind the doors: one bank of RAM, a clock moved by hand, and
 * line changes kept for whoever asks. Unit tests, qtest, fuzzers and replay stand on it.
 */
#ifndef IOREQ_FLAT_H
#define IOREQ_FLAT_H

#include "ioreq/machine.h"

struct flat_host {
    uint8_t *ram;
    uint64_t ram_len;
    int64_t now;            /* ns; flat_advance moves it */
    int64_t wall;           /* seconds */
    int64_t timer_at;       /* what the machine asked for, -1: nothing */
    bool isa[16];           /* levels now */
    bool intx[256][4];      /* by devfn and pin */
    uint8_t link[4];        /* ISA IRQ of each PIRQ link, 0: none */
    unsigned isa_edges[16]; /* rising edges so far */
    uint64_t msi_addr;      /* the last one */
    uint32_t msi_data;
    unsigned msi_count;
    unsigned power_count;
    enum power_event power; /* the last one */
    bool refuse_lend;       /* gmem_block_lend says no */
    unsigned slot_addend;   /* PIRQ link of a PCI pin: (slot + pin + slot_addend) & 3; Xen's is 0 */
    /* Called on a change of ISA line irq (PCI links folded in when fold_links); may be NULL. */
    void (*irq_changed)(void *opaque, unsigned irq, bool level);
    bool fold_links;
    bool told[16]; /* levels irq_changed knows of */
    void *opaque;
};

extern const struct machine_host flat_host_ops;

/* ram_len bytes of zeroed RAM at guest-physical 0. */
struct flat_host *flat_new(uint64_t ram_len);
void flat_free(struct flat_host *f);
/* Moves time forward by ns, firing m's timers at their own times on the way. Takes the lock. */
void flat_advance(struct flat_host *f, struct machine *m, int64_t ns);

/* What a CPU's plain load or store of len bytes does: devices answer where a region is mapped, then
 * come lent blocks and RAM; the rest floats. Take the lock. Bytes for devices go through the door
 * as one item if len is 1, 2, 4 or 8, else as naturally aligned ones of up to 4 bytes. */
void flat_mem_read(struct machine *m, uint64_t gpa, void *buf, size_t len);
void flat_mem_write(struct machine *m, uint64_t gpa, const void *buf, size_t len);

#endif
