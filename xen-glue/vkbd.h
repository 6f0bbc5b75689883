/* SPDX-License-Identifier: MIT */
/* xen-glue/vkbd.h - the back end of Xen's PV keyboard and pointer (kbdif).
 *
 * The tool stack makes the device in xenstore for every HVM guest. While the guest's driver is connected
 * keys and motion go to it and not to the emulated keyboard controller. Everything runs on the loop
 * thread under the machine lock. Reference: Xen's public/io/kbdif.h.
 */
#ifndef XEN_GLUE_VKBD_H
#define XEN_GLUE_VKBD_H

#include "xen-glue/pv.h"

struct con;
struct vkbd;

/* Takes over backend/vkbd/<domid>/0; con has to outlive it. NULL with e: -ENOENT when the tool stack made
 * none. */
struct vkbd *vkbd_new(struct pv_bus *b, struct con *con, struct err *e);
/* NULL does nothing. */
void vkbd_free(struct vkbd *s);

#endif
