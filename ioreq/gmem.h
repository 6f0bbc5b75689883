/* SPDX-License-Identifier: MIT */
/* ioreq/gmem.h - the memory door: guest RAM as a device may reach it.
 *
 * DMA reaches RAM only, never another device's registers, so a device cannot be re-entered through
 * its own or another's DMA. Copies are all or nothing. Descriptors are copied into locals once and
 * only the copy is looked at. Bulk transfers pin a span; the request owns the pin. No host pointer
 * into guest memory outlives a callback otherwise.
 */
#ifndef IOREQ_GMEM_H
#define IOREQ_GMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct machine;
struct err;

/* 0, or -EFAULT when any byte of [gpa, gpa + len) is not RAM (nothing is written then). */
int gmem_read(struct machine *m, uint64_t gpa, void *buf, size_t len);
int gmem_write(struct machine *m, uint64_t gpa, const void *buf, size_t len);

/* The chipset's memory attributes, where Keel owns the processors; other hosts ignore them.
 * [gpa, gpa + len) in 0xc0000..0xfffff: loads reach RAM (read) or what lies on the bus, a ROM or
 * nothing; stores reach RAM (write) or vanish. All of it is off at first. */
void gmem_shadow(struct machine *m, uint64_t gpa, uint64_t len, bool read, bool write);
/* The RAM at 0xa0000..0xbffff is seen in system management mode (smm), or by everybody (all). */
void gmem_smram(struct machine *m, bool smm, bool all);

/* A pinned run of guest memory for a transfer that completes later. iov[] covers it in order. */
#define GMEM_PIN_MAX_IOV 33 /* 128 KiB of single pages, the first one begun in its middle */
struct gmem_pin {
    struct iovec iov[GMEM_PIN_MAX_IOV];
    int iovcnt;
    uint64_t gpa;
    size_t len;
    bool to_guest; /* the transfer writes guest memory */
};
/* Pins [gpa, gpa + len), len 1 to 128 KiB. 0, or -EFAULT when it is not all RAM. */
int gmem_pin(struct machine *m, struct gmem_pin *p, uint64_t gpa, size_t len, bool to_guest);
/* Lets go; `done` bytes from the start were transferred (marks them dirty, records them). */
void gmem_unpin(struct machine *m, struct gmem_pin *p, size_t done);

/* Device RAM: video memory, option ROMs. The device always has it at `host`; the guest sees it as
 * plain memory at `gpa` while it is lent there. On Xen these are guest pages that move. */
#define GMEM_NOWHERE UINT64_MAX
struct gmem_block {
    const char *name; /* unique in a machine; goes into streams */
    uint8_t *host;
    uint64_t len; /* bytes, a multiple of 4096 */
    uint64_t gpa; /* where it is lent now, or GMEM_NOWHERE; kept in saved state */
    void *priv;   /* the host's */
    struct gmem_block *next;
};
/* Allocates zeroed memory for b (name and len filled in by the caller). 0 or -errno with e. */
int gmem_block_new(struct machine *m, struct gmem_block *b, struct err *e);
void gmem_block_free(struct machine *m, struct gmem_block *b);
/* Lends b at gpa (page-aligned), or takes it back with GMEM_NOWHERE. Returns true when plain guest
 * accesses now reach it; false when the host cannot or may not lend (a recorder is listening), in
 * which case the device maps a region there and answers accesses itself. */
bool gmem_block_lend(struct machine *m, struct gmem_block *b, uint64_t gpa);
/* Which 4 KiB pages of [off, off + len) changed since the last call, by guest or device; one bit a
 * page from bit 0 of bitmap, which is overwritten. Everything counts as changed when the host
 * cannot tell. Costs something: only ask while somebody looks. */
void gmem_block_dirty(struct machine *m, struct gmem_block *b, uint64_t off, uint64_t len,
                      uint64_t *bitmap);
/* The device wrote [off, off + len) of b through b->host. */
void gmem_block_wrote(struct machine *m, struct gmem_block *b, uint64_t off, uint64_t len);

#endif
