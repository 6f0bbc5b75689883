/* SPDX-License-Identifier: MIT */
/* dm/xen-net.h - -device xen-net-device: PV network cards that this process serves itself. */
#ifndef DM_XEN_NET_H
#define DM_XEN_NET_H

#include <stdbool.h>

struct backends;
struct err;
struct ev_loop;
struct keyval;
struct options;
struct xen;

/* The name of such a device: it is on no bus of the board's. */
bool xen_card_is(const char *driver);
/* Takes what follows -device and keeps it for xen_cards_start. 0, or -errno with e. */
int xen_card_add(struct backends *b, const struct options *o, struct keyval *kv, struct err *e);
/* Offers the cards to the guest; its domain is there, and the process not yet restricted. */
int xen_cards_start(struct backends *b, struct xen *x, struct ev_loop *loop, struct err *e);
/* Takes them away. Before xen_close. */
void xen_cards_stop(struct backends *b);

#endif
