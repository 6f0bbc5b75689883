/* SPDX-License-Identifier: MIT */
/* xen-glue/server.c - the ioreq server: created, its pages mapped, ranges claimed, enabled.
 *
 * The order of calls matters: pages are mapped before anything is claimed, and the slots' event
 * channels are only valid once the server is enabled. Xen keeps claims as sets of byte ranges,
 * hands an access over only when one server claimed all of its bytes, and lets a later server win
 * an overlap; so claims are exactly what some region answers. Xen serves its own chips first and
 * never forwards their ranges; they are not claimed either, so that no guest-placed window makes
 * us look as if we did.
 * Reference: Xen's public hvm/dm_op.h (ioreq servers) and memory.h (XENMEM_acquire_resource).
 */
#include "xen-glue/xen-int.h"

#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <xen/hvm/dm_op.h>
#include <xen/memory.h>

struct range {
    uint64_t first, last;
};

/* Sorted. PIC, PIT, speaker gate, debug port, ELCR, PM1a event block, PM timer. The RTC's ports are
 * not here: Xen keeps its registers 0 to 13 and forwards the RAM above them, where firmware looks
 * for the boot order. */
static const struct range xen_ports[] = {
    { 0x20, 0x21 }, { 0x40, 0x43 },   { 0x61, 0x61 },     { 0xa0, 0xa1 },
    { 0xe9, 0xe9 }, { 0x4d0, 0x4d1 }, { 0xb000, 0xb003 }, { 0xb008, 0xb00b },
};
/* Sorted. IOAPIC, HPET, local APIC. */
static const struct range xen_mmio[] = {
    { 0xfec00000, 0xfec00fff },
    { 0xfed00000, 0xfed003ff },
    { 0xfee00000, 0xfeefffff },
};

static int map_resource(struct xen *x)
{
    void *at = NULL;
    if (!x->lib.xenforeignmemory_map_resource) {
        errno = EOPNOTSUPP;
        return -1;
    }
    x->resource = x->lib.xenforeignmemory_map_resource(
        x->fm, x->domid, XENMEM_resource_ioreq_server, x->server,
        XENMEM_resource_ioreq_server_frame_bufioreq, 2, &at, PROT_READ | PROT_WRITE, 0);
    if (!x->resource) {
        return -1;
    }
    x->pages[0] = at;
    x->pages[1] = (uint8_t *)at + XEN_PAGE;
    return x->lib.xendevicemodel_get_ioreq_server_info(x->dm, x->domid, x->server, NULL, NULL,
                                                       &x->buffered_port);
}

/* Before 4.11, or on kernels without the resource call: the pages are guest frames. */
static int map_frames(struct xen *x)
{
    xen_pfn_t sync, buffered;
    if (x->lib.xendevicemodel_get_ioreq_server_info(x->dm, x->domid, x->server, &sync, &buffered,
                                                    &x->buffered_port) < 0) {
        return -1;
    }
    const xen_pfn_t frames[2] = { buffered, sync };
    for (int i = 0; i < 2; i++) {
        x->pages[i] = x->lib.xenforeignmemory_map(x->fm, x->domid, PROT_READ | PROT_WRITE, 1,
                                                  &frames[i], NULL);
        if (!x->pages[i]) {
            return -1;
        }
    }
    return 0;
}

static void unmap_pages(struct xen *x)
{
    if (x->resource) {
        x->lib.xenforeignmemory_unmap_resource(x->fm, x->resource);
        x->resource = NULL;
        x->pages[0] = x->pages[1] = NULL;
    }
    for (int i = 0; i < 2; i++) {
        if (x->pages[i]) {
            x->lib.xenforeignmemory_unmap(x->fm, x->pages[i], 1);
            x->pages[i] = NULL;
        }
    }
}

static int map_pages(struct xen *x)
{
    int r = map_resource(x);
    if (r < 0 && errno == EOPNOTSUPP) {
        r = map_frames(x);
    }
    return r;
}

int server_create(struct xen *x, struct err *e)
{
    if (x->lib.xendevicemodel_create_ioreq_server(x->dm, x->domid, HVM_IOREQSRV_BUFIOREQ_ATOMIC,
                                                  &x->server) < 0) {
        return err_set(e, -errno, "cannot create an ioreq server for domain %u: %s", x->domid,
                       strerror(errno));
    }
    x->server_exists = true;
    if (map_pages(x) < 0) {
        return err_set(e, -errno, "cannot map the ioreq pages of domain %u: %s", x->domid,
                       strerror(errno));
    }
    x->buffered = x->pages[0];
    x->slots = x->pages[1];
    return 0;
}

int server_enable(struct xen *x, struct err *e)
{
    if (x->lib.xendevicemodel_set_ioreq_server_state(x->dm, x->domid, x->server, 1) < 0) {
        return err_set(e, -errno, "cannot enable the ioreq server of domain %u: %s", x->domid,
                       strerror(errno));
    }
    return 0;
}

void server_destroy(struct xen *x)
{
    unmap_pages(x);
    if (x->server_exists) {
        x->lib.xendevicemodel_destroy_ioreq_server(x->dm, x->domid, x->server);
        x->server_exists = false;
    }
}

/* A board that cannot have its addresses does not start; a window that the guest placed since is
 * only reported. errno says why. */
static void failed(struct xen *x, bool claim, const char *what)
{
    const char *verb = claim ? "claim" : "release";
    if (!x->loop && claim && !x->claim_failure.code) {
        err_set(&x->claim_failure, -errno, "cannot claim %s of domain %u: %s", what, x->domid,
                strerror(errno));
    } else if (x->loop) {
        log_limited(&x->claim_log, "xen", "cannot %s %s: %s", verb, what, strerror(errno));
    }
}

static void tell(struct xen *x, bool claim, bool mmio, uint64_t first, uint64_t last)
{
    char what[64];
    int r = claim ? x->lib.xendevicemodel_map_io_range_to_ioreq_server(x->dm, x->domid, x->server,
                                                                       mmio, first, last)
                  : x->lib.xendevicemodel_unmap_io_range_from_ioreq_server(
                        x->dm, x->domid, x->server, mmio, first, last);
    if (r < 0) {
        snprintf(what, sizeof(what), "%s 0x%llx-0x%llx", mmio ? "memory" : "ports",
                 (unsigned long long)first, (unsigned long long)last);
        failed(x, claim, what);
    }
}

/* Claims or releases [first, last] without what is Xen's own. */
static void tell_around(struct xen *x, bool claim, bool mmio, uint64_t first, uint64_t last)
{
    const struct range *own = mmio ? xen_mmio : xen_ports;
    size_t n = mmio ? ARRAY_SIZE(xen_mmio) : ARRAY_SIZE(xen_ports);
    for (size_t i = 0; i < n; i++) {
        if (own[i].last < first || own[i].first > last) {
            continue;
        }
        if (first < own[i].first) {
            tell(x, claim, mmio, first, own[i].first - 1);
        }
        if (last <= own[i].last) {
            return;
        }
        first = own[i].last + 1;
    }
    tell(x, claim, mmio, first, last);
}

static void tell_pci(struct xen *x, bool claim, uint32_t sbdf)
{
    uint16_t segment = (uint16_t)(sbdf >> 16);
    uint8_t bus = (uint8_t)(sbdf >> 8), dev = (sbdf >> 3) & 31, fn = sbdf & 7;
    char what[64];
    int r = claim ? x->lib.xendevicemodel_map_pcidev_to_ioreq_server(x->dm, x->domid, x->server,
                                                                     segment, bus, dev, fn)
                  : x->lib.xendevicemodel_unmap_pcidev_from_ioreq_server(x->dm, x->domid, x->server,
                                                                         segment, bus, dev, fn);
    if (r < 0) {
        snprintf(what, sizeof(what), "PCI %02x:%02x.%x", bus, dev, fn);
        failed(x, claim, what);
    }
}

static void server_tell(struct xen *x, bool claim, enum io_space space, uint64_t first,
                        uint64_t last)
{
    if (space != IO_PCI) {
        tell_around(x, claim, space == IO_MMIO, first, last);
        return;
    }
    for (uint64_t sbdf = first >> 32; sbdf <= last >> 32; sbdf++) {
        tell_pci(x, claim, (uint32_t)sbdf);
    }
}

void server_claim(void *h, enum io_space space, uint64_t first, uint64_t last)
{
    server_tell(h, true, space, first, last);
}

void server_release(void *h, enum io_space space, uint64_t first, uint64_t last)
{
    server_tell(h, false, space, first, last);
}
