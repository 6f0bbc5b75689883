/* SPDX-License-Identifier: MIT */
/* dm/xen-input.h - the PV keyboard and pointer that libxl gives every HVM guest (vkbd). */
#ifndef DM_XEN_INPUT_H
#define DM_XEN_INPUT_H

struct keel;
struct xen_input;

/* Offers it if the tool stack has made one; a guest's driver waits for it while it starts. NULL: there is
 * none, or it was said why not. Under the machine lock, before the process gives up its rights. */
struct xen_input *xen_input_start(struct keel *k);
/* Under the machine lock. NULL does nothing. */
void xen_input_stop(struct xen_input *x);

#endif
