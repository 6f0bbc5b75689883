/* SPDX-License-Identifier: MIT */
/* dm/xen-disk.h - PV disks whose back end is this process: what libxl calls qdisk. */
#ifndef DM_XEN_DISK_H
#define DM_XEN_DISK_H

struct keel;
struct xen_disks;

/* Offers every disk and CD-ROM drive that the tool stack has made for this domain, and those it makes
 * later. Where Xen's grant tables are not to be had it says so once and there are none: emulated drives
 * do without. NULL then. Under the machine lock, before the process gives up its rights. */
struct xen_disks *xen_disks_start(struct keel *k);
/* A monitor may have changed a medium or a length: front ends are told. NULL does nothing. */
void xen_disks_resized(struct xen_disks *x);
/* Under the machine lock, before the drives go. NULL does nothing. */
void xen_disks_stop(struct xen_disks *x);

#endif
