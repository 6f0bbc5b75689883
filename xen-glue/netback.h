/* SPDX-License-Identifier: MIT */
/* xen-glue/netback.h - xen-net-device: a PV network card's back end. */
#ifndef XEN_GLUE_NETBACK_H
#define XEN_GLUE_NETBACK_H

#include "xen-glue/pv.h"

#include "net/nic.h"

struct netback;

/* Offers device `index` with address mac on b, and stands in a card's place at cable n. NULL with e. */
struct netback *netback_new(struct pv_bus *b, struct nic *n, unsigned index, const uint8_t mac[6],
                            struct err *e);
/* Unplugs n, takes the device away. NULL is fine. */
void netback_free(struct netback *s);

#endif
