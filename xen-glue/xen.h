/* SPDX-License-Identifier: MIT */
/* xen-glue/xen.h - Keel as one ioreq server of one Xen domain.
 *
 * Life: xen_open (libraries, handles, ioreq server created, rings mapped) -> machine_new(type,
 * &xen_host, x) -> the board is built, regions are claimed as they appear -> xen_start (server
 * enabled, event channels bound, ring thread running) -> xen_restrict -> xen_ready -> ... ->
 * xen_stop -> machine_free -> xen_close. Xen's libraries are opened with dlopen here and nowhere
 * else.
 *
 * The ring thread owns the event channel descriptor: it blocks in read(2) there, sweeps every
 * vCPU's slot and the buffered ring, and calls ioreq_run, which takes the machine lock. Everything
 * else runs on the loop thread.
 */
#ifndef XEN_GLUE_XEN_H
#define XEN_GLUE_XEN_H

#include "ioreq/machine.h"

struct ev_loop;
struct pv_bus;
struct xen;

extern const struct machine_host xen_host; /* h is a struct xen */

/* Opens everything for domain domid. ram_bytes is -m: where device RAM may be put above. With
 * restoring, device RAM already exists in the guest and is only mapped, where the state says.
 * NULL with e naming the library, hypercall and cause ("domain 7 does not exist"). */
struct xen *xen_open(unsigned domid, uint64_t ram_bytes, uint64_t below_4g_max, bool restoring,
                     struct err *e);
/* Says whom to tell, on the loop thread, that no request will come in any more although the domain
 * lives: its event channels broke, and e says how. Before xen_start. */
void xen_set_on_lost(struct xen *x, void (*cb)(void *opaque, const struct err *e), void *opaque);
/* Enables the server and starts to answer; m's board is complete. 0, or -errno with e naming the
 * call that failed. The ring thread may take the machine lock from here on. */
int xen_start(struct xen *x, struct machine *m, struct ev_loop *loop, struct err *e);
/* -xen-domid-restrict: from here on the handles reach this domain only (xentoolcore). Before the
 * process changes its root directory: some handles become /dev/null. */
int xen_restrict(struct xen *x, struct err *e);
/* Ends the ring thread: no request comes in any more. Before machine_free, not under the machine
 * lock; safe at any time after xen_open. xen_close comes after machine_free. */
void xen_stop(struct xen *x);
void xen_close(struct xen *x);

/* The domain's PV devices (pv.h), for back ends in this process; before xen_restrict. All callers share
 * one, and each frees it (pv_bus_free) before xen_close. NULL with e. */
struct pv_bus *xen_pv_bus(struct xen *x, struct ev_loop *loop, struct err *e);

/* Writes `running` to device-model/<domid>/state; nothing when restricted. */
int xen_ready(struct xen *x, struct err *e);
/* Says why the start failed where libxl and people look (device-model/<domid>/keel-error). */
void xen_store_failure(unsigned domid, const char *msg);
/* Reads a node relative to nothing (absolute path) into malloc'ed text, NULL when absent. */
char *xen_store_read(struct xen *x, const char *path);

/* Tells the domain to power off, reboot or crash (remote shutdown). */
void xen_shutdown(struct xen *x, enum power_event ev);
/* Ends S3: Xen lets the vCPUs go on from their reset vector. */
void xen_wakeup(struct xen *x);
/* While on, every device write to guest memory is reported (modified_memory). */
int xen_set_dirty_log(struct xen *x, bool on, struct err *e);
/* vCPUs the domain may have, and how many are online at start. */
unsigned xen_vcpus(const struct xen *x);

/* Facts for `info xen` and the benchmarks. */
struct xen_stats {
    uint64_t sync, buffered, invalidate, timeoffset, bad_slot;
    uint64_t map_hits, map_misses, map_bytes;
    uint64_t lingered; /* times that requests were there before the thread had gone to sleep */
    uint64_t vain;     /* times that it looked for them and slept after all */
};
void xen_stats(const struct xen *x, struct xen_stats *out);

#endif
