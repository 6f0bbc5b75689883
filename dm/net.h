/* SPDX-License-Identifier: MIT */
/* dm/net.h - network back ends from -netdev, -nic, -net and netdev_add, and the cards that -nic and
 * -net ask for.
 *
 * A struct nic (net/nic.h) is a cable; `netdev=` of a card names it. With `pretend` (a replay) every
 * cable ends nowhere.
 */
#ifndef DM_NET_H
#define DM_NET_H

#include "net/net.h"

#include <stdbool.h>
#include <stddef.h>

struct backends;
struct device;
struct keyval;
struct options;

#define NET_HUBS 16

/* A card that -nic or -net asked for; the board makes it. */
struct net_card {
    struct keyval *kv; /* as -device would have it: driver, netdev, mac, id, ... */
    char *option;      /* "-nic user", for messages */
};

struct networks {
    struct nic **nics; /* in the order given */
    size_t n;
    struct {
        unsigned id;
        struct net_hub *hub; /* NULL: free */
    } hubs[NET_HUBS];
    struct net_card *cards;
    size_t ncards;
    struct xen_card *xen_cards; /* dm/xen-net.c */
    struct pv_bus *pv;          /* NULL while no PV card is offered */
    unsigned next_mac, next_id;
};

/* 0, or -errno with e naming the option. */
int networks_open(struct backends *b, const struct options *o, struct err *e);
void networks_close(struct backends *b);
struct nic *nic_find(const struct backends *b, const char *id);
/* By the back end's id, or by that of the card. */
struct nic *nic_find_any(const struct backends *b, const char *id);
/* The stream that kv's `key` names and nobody uses yet; NULL without it, or with e. */
struct chr *net_stream_of(struct backends *b, struct keyval *kv, const char *key, struct err *e);
/* -netdev and netdev_add. */
int netdev_add(struct backends *b, struct keyval *kv, struct err *e);
/* -EBUSY while a card or a hub uses it. */
int netdev_del(struct backends *b, const char *id, struct err *e);
/* The next address of 52:54:00:12:34:56 and up, as text (18 bytes). */
void net_next_mac(struct backends *b, char *mac);
/* d is made with n at its netdev=. */
void net_plugged(struct nic *n, const struct device *d);
/* d, which was never initialised, goes away again. */
void net_unplugged(struct backends *b, const struct device *d);
/* What a card without netdev= is plugged into. */
struct nic *net_nowhere(struct backends *b, const struct device *d);
/* The machine runs again: frames that waited are offered. */
void networks_kick(struct backends *b);
/* Whether -object TYPE is one of these. */
bool net_filter_type(const char *type);
/* -object filter-*. */
int net_filter_add(struct backends *b, struct keyval *kv, struct err *e);

#endif
