/* SPDX-License-Identifier: MIT */
/* xen-glue/xen-int.h - what the files of this folder share: one struct xen a domain.
 *
 * Threads: the ring thread (ring-thread.c) reads the event channel descriptor and the shared pages
 * and counts in stats; everything else is touched under the machine lock or before xen_start.
 */
#ifndef XEN_GLUE_XEN_INT_H
#define XEN_GLUE_XEN_INT_H

#include "xen-glue/lib.h"
#include "xen-glue/mapcache.h"
#include "xen-glue/ring.h"
#include "xen-glue/xen.h"

#include "dm/base/err.h"
#include "dm/base/ev.h"
#include "dm/base/log.h"

#include <pthread.h>

#define XEN_PAGE 4096u

struct xen_block; /* blocks.c */

struct xen {
    struct xen_lib lib;
    domid_t domid;
    unsigned vcpus;
    uint64_t max_memkb, free_memkb; /* the domain's limit, 0 when unknown, and what is left */
    bool restricted;
    bool dirty_log;
    struct machine *m;
    struct ev_loop *loop;

    /* handles, NULL when not open */
    xentoollog_logger logger;
    xc_interface *xc;
    xendevicemodel_handle *dm;
    xenforeignmemory_handle *fm;
    xenevtchn_handle *ec;
    struct xs_handle *xs;

    /* server.c */
    ioservid_t server;
    bool server_exists;
    xenforeignmemory_resource_handle *resource; /* NULL when mapped by frame number */
    void *pages[2];                             /* buffered, synchronous */
    struct err claim_failure;                   /* the first before xen_start */
    struct log_limit claim_log;

    /* ring-thread.c */
    struct buffered_iopage *buffered;
    struct ioreq *slots; /* vcpus of them */
    evtchn_port_t vcpu_port[RING_MAX_VCPUS];
    evtchn_port_t buffered_port; /* Xen's end */
    pthread_t thread;
    bool thread_runs;
    bool thread_ended, stop;              /* atomic */
    unsigned linger_rest, linger_penalty; /* wakes to go without lingering; how many next time */
    void (*on_lost)(void *opaque, const struct err *e);
    void *on_lost_opaque;
    struct ev_post lost_post; /* the event channels' end, on its way to the loop */
    int lost_error;
    struct xen_stats stats;
    struct log_limit bad_log;

    /* lines.c: what Xen was told last */
    bool isa_level[16];
    uint8_t link[4];
    struct log_limit line_log;

    /* memory: host.c, blocks.c */
    struct mapcache *cache;
    uint64_t ram_below, ram_above; /* bytes below and above 4 GiB */
    bool restoring;
    uint64_t next_home; /* where the next block's pages go */
    struct xen_block *blocks;
    struct ev_timer untrack; /* nobody looked for a while: stop tracking */
    struct log_limit memory_log;

    /* clock */
    struct ev_timer timer;
    int64_t timer_at; /* asked for before there was a loop; -1: nothing */

    struct pv_bus *pv; /* pv.c; NULL while there is none */

    /* store.c */
    struct ev_post timeoffset_post;
    int64_t timeoffset; /* seconds not yet written to xenstore; atomic */
};

/* server.c: the ioreq server's life, its shared pages, and what it claims. */
int server_create(struct xen *x, struct err *e);
int server_enable(struct xen *x, struct err *e);
void server_destroy(struct xen *x);
void server_claim(void *h, enum io_space space, uint64_t first, uint64_t last);
void server_release(void *h, enum io_space space, uint64_t first, uint64_t last);

/* ring-thread.c */
int ring_thread_start(struct xen *x, struct err *e);

/* lines.c: struct machine_host's line calls. */
void xen_isa_irq(void *h, unsigned irq, bool level);
void xen_pci_intx(void *h, unsigned devfn, unsigned pin, bool level);
void xen_pci_link(void *h, unsigned link, unsigned isa_irq);
void xen_msi(void *h, uint64_t addr, uint32_t data);
void xen_power(void *h, enum power_event ev);

/* blocks.c: device RAM as guest pages. */
void blocks_layout(struct xen *x, uint64_t ram_bytes, uint64_t below_4g_max);
int xen_block_new(void *h, struct gmem_block *b, struct err *e);
void xen_block_free(void *h, struct gmem_block *b);
bool xen_block_lend(void *h, struct gmem_block *b, uint64_t gpa);
void xen_block_dirty(void *h, struct gmem_block *b, uint64_t off, uint64_t len, uint64_t *bitmap);
void xen_block_wrote(void *h, struct gmem_block *b, uint64_t off, uint64_t len);
/* Maps those blocks of a restored domain that are not lent; before the guest runs. */
void blocks_settle(struct xen *x);

/* host.c: the device side wrote guest memory. */
void xen_dirtied(void *h, uint64_t gpa, size_t len);

/* store.c */
/* The guest moved its clock by delta seconds; from the ring thread. */
void store_timeoffset(struct xen *x, int64_t delta);
void store_init(struct xen *x);

#endif
