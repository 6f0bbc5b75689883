/* SPDX-License-Identifier: MIT */
/* dm/xen-disk.h - PV disks whose back end is this process: what libxl calls qdisk. */
#ifndef DM_XEN_DISK_H
#define DM_XEN_DISK_H

struct err;
struct keel;
struct xen_disks;

/* Offers every disk and CD-ROM drive that the tool stack has made for this domain, and those it makes
 * later. Where Xen's grant tables are not to be had it says so once and there are none: emulated drives
 * do without. NULL then. Under the machine lock, before the process gives up its rights. */
struct xen_disks *xen_disks_start(struct keel *k);
enum xen_disks_unserved {
    XEN_DISKS_RESTRICTED, /* after xen_restrict nothing of it can be reached */
    XEN_DISKS_RECORDED,   /* what passes a PV disk would not be in the trace */
};
/* Instead of that, where PV disks cannot be served. With the first, emulated disks stay even when PV drivers
 * unplug such; their PV devices are closed, so that no driver waits for them. 0; or -ENOTSUP with e
 * naming a disk that the guest would never see, or would lose (the second: a replay would not know what
 * stays). */
int xen_disks_decline(struct keel *k, enum xen_disks_unserved why, struct err *e);
/* A monitor may have changed a medium or a length: front ends are told. NULL does nothing. */
void xen_disks_resized(struct xen_disks *x);
/* Under the machine lock, before the drives go. NULL does nothing. */
void xen_disks_stop(struct xen_disks *x);

#endif
