/* SPDX-License-Identifier: MIT */
/* xen-glue/blkback.h - the back end of Xen's PV disk (blkif), which libxl calls qdisk.
 *
 * The tool stack makes the device in xenstore, whoever calls this finds the drive for it. Everything runs
 * on the loop thread under the machine lock. Reference: Xen's public/io/blkif.h.
 */
#ifndef XEN_GLUE_BLKBACK_H
#define XEN_GLUE_BLKBACK_H

#include "xen-glue/pv.h"

struct blk;
struct blkback;

struct blkback_disk {
    struct blk *blk; /* may be shared with an emulated drive; it has to outlive the back end */
    bool read_only, cdrom, removable, discard;
};
/* Takes over backend/qdisk/<domid>/<index>. NULL with e. */
struct blkback *blkback_new(struct pv_bus *b, struct ev_loop *loop, unsigned index,
                            const struct blkback_disk *disk, struct err *e);
/* The disk may have another length: tells the front end if so. */
void blkback_resized(struct blkback *s);
/* Takes back what is in flight. */
void blkback_free(struct blkback *s);
/* The tool stack has closed the device: only blkback_free is left. */
bool blkback_closed(const struct blkback *s);

#endif
