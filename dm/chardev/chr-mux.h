/* SPDX-License-Identifier: MIT */
/* dm/chardev/chr-mux.h - two devices on one stream: "mon:stdio".
 *
 * Input goes to the front end that has the focus; what any of them says comes out. Ctrl-A is the
 * escape: c moves the focus on, x ends the process, b sends a break, h tells these, Ctrl-A itself.
 */
#ifndef DM_CHARDEV_CHR_MUX_H
#define DM_CHARDEV_CHR_MUX_H

#include "dm/base/chr.h"

struct chr_mux;

/* Takes base, which nobody listens to yet; base stays its owner's and is freed before the fronts or
 * after. The mux goes with its last front. */
struct chr_mux *chr_mux_new(struct chr *base);
/* A front end, the caller's to free. The first one has the focus; the others open, for their
 * device, whenever they get it. At most two. */
struct chr *chr_mux_front(struct chr_mux *x, const char *id);
/* Who hears of Ctrl-A x. */
void chr_mux_on_quit(struct chr_mux *x, void (*quit)(void *o), void *o);

#endif
