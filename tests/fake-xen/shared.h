/* SPDX-License-Identifier: MIT */
/* tests/fake-xen/shared.h - what the stand-in for Xen's libraries and the driver share.
 *
 * One directory ($FAKE_XEN_DIR) is one domain:
 *   control         struct fake_domain, mapped by both sides
 *   memory          machine pages; the p2m in control says which guest frame is which page
 *   evtchn.sock     the device model's event channel descriptor is a connection to it
 *   notify          FIFO: a byte wakes a driver that sleeps
 *   xenstore/       a file a node, '/' in its path written as '!'
 *   calls           a line for every call worth checking
 * The library side changes control under its lock; the driver reads counters without.
 */
#ifndef FAKE_XEN_SHARED_H
#define FAKE_XEN_SHARED_H

#include <stdbool.h>
#include <stdint.h>

#define FAKE_MAGIC 0x6e65582du
#define FAKE_PAGE 4096u
#define FAKE_MAX_VCPUS 128u
#define FAKE_MAX_EXTENTS 512u
#define FAKE_MAX_RANGES 256u /* as Xen: MAX_NR_IO_RANGES */
#define FAKE_BUFFERED_PORT 9u
#define FAKE_FIRST_VCPU_PORT 10u
#define FAKE_LOCAL_PORT(remote) ((remote) + 100u) /* what binding a port gives */
#define FAKE_LOCAL_PORTS 256u
/* The first two machine pages are the shared ioreq pages; guest frames for the old way to map. */
#define FAKE_BUFFERED_PAGE 0u
#define FAKE_SYNC_PAGE 1u
#define FAKE_BUFFERED_GFN 0xfeffcu
#define FAKE_SYNC_GFN 0xfeffdu
#define FAKE_TRACK_MAX 16384u   /* pages */
#define FAKE_SPARE_PAGES 16384u /* the file is longer by as many than the guest's RAM */

/* n guest frames from gfn on are the machine pages from page on. */
struct fake_extent {
    uint64_t gfn, page, n;
};

struct fake_range {
    uint64_t first, last;
};

struct fake_domain {
    uint32_t magic;
    uint32_t lock;

    /* the domain, from the driver */
    uint32_t domid, vcpus, hvm;
    uint64_t max_memkb;

    /* memory */
    uint64_t pages; /* handed out so far, of the file */
    uint32_t extents;
    struct fake_extent extent[FAKE_MAX_EXTENTS];
    uint64_t mapped_pages, map_calls; /* foreign mappings now, and ever */

    /* events from the device model: counted first, then whoever sleeps is woken */
    uint32_t notifies, driver_sleeps;

    /* the ioreq server */
    uint32_t server_exists, enabled;
    uint8_t port_bound[FAKE_LOCAL_PORTS];
    uint8_t pio[65536 / 8]; /* a bit for each claimed port */
    uint8_t pci[65536 / 8]; /* and PCI function */
    uint32_t mmio_ranges, pio_claims;
    struct fake_range mmio[FAKE_MAX_RANGES];

    /* what the device model did to the guest */
    uint8_t isa_level[16];
    uint8_t intx[32][4];
    uint8_t link[4];
    uint32_t isa_calls, msi_count, shutdowns, shutdown_reason;
    uint64_t msi_addr;
    uint32_t msi_data;
    uint64_t modified_calls, modified_pages;
    uint32_t s_state;
    uint32_t cache_ranges;

    /* video memory tracking */
    uint64_t track_first, track_n, track_calls;
    uint8_t track_dirty[FAKE_TRACK_MAX / 8];
};

/* The machine page of a guest frame; false when there is none. */
static inline bool fake_lookup(const struct fake_domain *d, uint64_t gfn, uint64_t *page)
{
    for (uint32_t i = 0; i < d->extents; i++) {
        const struct fake_extent *x = &d->extent[i];
        if (gfn - x->gfn < x->n) {
            *page = x->page + (gfn - x->gfn);
            return true;
        }
    }
    return false;
}

#endif
