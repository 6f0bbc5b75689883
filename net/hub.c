/* SPDX-License-Identifier: MIT */
/* net/hub.c - a repeater: what enters one port leaves all others.
 *
 * A port is either a cable to a card (net_hubport_new) or the user of a back end (net_hub_attach).
 * Frames towards a card wait for a turn of the loop, since they may come from inside another card's
 * nic_send. A port that cannot take a frame loses it; the hub never holds up the others.
 */
#include "net/net.h"

#include "dm/base/util.h"

#include <stdlib.h>

struct hub_port {
    struct net_hub *hub;
    struct nic *n;
    bool backend; /* n carries frames out of the machine; we stand in the card's place */
    struct hub_port *next;
};

struct net_hub {
    unsigned id;
    struct hub_port *ports;
    struct net_hub **self; /* whoever keeps it */
};

static void repeat(struct hub_port *from, const struct nic_frame *f)
{
    for (struct hub_port *p = from->hub->ports; p; p = p->next) {
        if (p == from) {
            continue;
        }
        if (p->backend) {
            nic_send(p->n, f);
        } else {
            nic_deliver_later(p->n, f);
        }
    }
}

static void add_port(struct net_hub **hub, struct hub_port *p)
{
    if (!*hub) {
        *hub = xcalloc(1, sizeof(**hub));
        (*hub)->self = hub;
    }
    p->hub = *hub;
    p->next = p->hub->ports;
    p->hub->ports = p;
}

static void del_port(struct hub_port *p)
{
    struct net_hub *h = p->hub;
    for (struct hub_port **at = &h->ports; *at; at = &(*at)->next) {
        if (*at == p) {
            *at = p->next;
            break;
        }
    }
    if (!h->ports) {
        *h->self = NULL;
        free(h);
    }
    free(p);
}

/* ---- a cable to a card ---- */

static bool port_send(struct nic *n, const struct nic_frame *f)
{
    repeat(n->priv, f);
    return true;
}

static void port_free(struct nic *n)
{
    del_port(n->priv);
}

static const struct nic_ops port_ops = { .kind = "hubport", .send = port_send, .free = port_free };

struct nic *net_hubport_new(struct ev_loop *loop, const char *id, struct net_hub **hub,
                            unsigned hubid)
{
    struct nic *n = nic_new(loop, id, &port_ops);
    struct hub_port *p = xcalloc(1, sizeof(*p));
    p->n = n;
    add_port(hub, p);
    p->hub->id = hubid;
    n->priv = p;
    n->tx_takes = NIC_TAKES_ALL; /* each port does what its other end needs */
    n->info = xasprintf("hubid=%u", hubid);
    return n;
}

/* ---- a back end in the other direction ---- */

static bool backend_receive(void *opaque, const struct nic_frame *f)
{
    repeat(opaque, f);
    return true;
}

static const struct nic_user backend_user = { .receive = backend_receive };

void net_hub_attach(struct net_hub **hub, struct nic *backend)
{
    struct hub_port *p = xcalloc(1, sizeof(*p));
    p->n = backend;
    p->backend = true;
    add_port(hub, p);
    nic_attach(backend, &backend_user, p);
}

void net_hub_detach(struct net_hub **hub, struct nic *backend)
{
    for (struct hub_port *p = *hub ? (*hub)->ports : NULL; p; p = p->next) {
        if (p->backend && p->n == backend) {
            nic_attach(backend, NULL, NULL);
            del_port(p);
            return;
        }
    }
}
