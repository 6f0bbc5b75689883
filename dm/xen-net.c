/* SPDX-License-Identifier: MIT */
/* dm/xen-net.c - see xen-net.h. Reference: qemu(1), -device xen-net-device. */
#include "dm/xen-net.h"

#include "dm/backends.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/keyval.h"
#include "dm/net.h"
#include "dm/options.h"
#include "xen-glue/netback.h"
#include "xen-glue/xen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct xen_card {
    struct nic *nic;
    uint8_t mac[6];
    uint32_t index;
    char *text;           /* as given, for messages */
    struct netback *back; /* once it is offered */
    struct xen_card *next;
};

static bool parse_mac(const char *s, uint8_t *mac)
{
    int end = 0;
    return sscanf(s, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2], &mac[3],
                  &mac[4], &mac[5], &end) == 6 &&
           !s[end] && !(mac[0] & 1);
}

bool xen_card_is(const char *driver)
{
    return strcmp(driver, "xen-net-device") == 0;
}

/* The number asked for, or the lowest that is free. */
static int choose_index(const struct backends *b, struct xen_card *c, bool given, struct err *e)
{
    for (const struct xen_card *o = b->net.xen_cards; o; o = o->next) {
        if (o->index == c->index && given) {
            return err_set(e, -EEXIST, "idx=%u: used twice", c->index);
        }
        if (o->index == c->index) {
            c->index++;
            o = b->net.xen_cards;
        }
    }
    return 0;
}

static int take_options(struct backends *b, struct xen_card *c, struct keyval *kv, struct err *e)
{
    const char *netdev = keyval_get(kv, "netdev"), *mac = keyval_get(kv, "mac");
    const char *id = keyval_get(kv, "id");
    bool given = keyval_get(kv, "idx") != NULL;
    char made[18];
    keyval_get(kv, "driver");
    if (keyval_u32(kv, "idx", &c->index, e) < 0 || keyval_done(kv, e) < 0) {
        return -EINVAL;
    }
    if (!mac) {
        net_next_mac(b, made);
        mac = made;
    }
    if (!parse_mac(mac, c->mac)) {
        return err_set(e, -EINVAL, "mac=%s: not the address of a card", mac);
    }
    c->nic = netdev ? nic_find(b, netdev) : NULL;
    if (!c->nic) {
        return err_set(e, -ENOENT, netdev ? "netdev=%s: no -netdev has that id" : "netdev: missing",
                       netdev);
    }
    if (c->nic->user || c->nic->dev_id[0]) {
        return err_set(e, -EBUSY, "netdev=%s: the back end is in use", netdev);
    }
    if (choose_index(b, c, given, e) < 0) {
        return -EEXIST;
    }
    snprintf(c->nic->model, sizeof(c->nic->model), "xen-net-device");
    if (id) {
        snprintf(c->nic->dev_id, sizeof(c->nic->dev_id), "%s", id);
    } else {
        snprintf(c->nic->dev_id, sizeof(c->nic->dev_id), "vif%u", c->index);
    }
    return 0;
}

int xen_card_add(struct backends *b, const struct options *o, struct keyval *kv, struct err *e)
{
    if (o->accel != ACCEL_XEN) {
        return err_set(e, -EINVAL, "xen-net-device: needs accel=xen");
    }
    if (o->record || o->domid_restrict) {
        return err_set(e, -EINVAL, "xen-net-device: does not go together with %s",
                       o->record ? "-keel-record" : "-xen-domid-restrict");
    }
    struct xen_card *c = xcalloc(1, sizeof(*c));
    int ret = take_options(b, c, kv, e);
    if (ret < 0) {
        free(c);
        return ret;
    }
    c->text = xstrdup(kv->text);
    c->next = b->net.xen_cards;
    b->net.xen_cards = c;
    return 0;
}

int xen_cards_start(struct backends *b, struct xen *x, struct ev_loop *loop, struct err *e)
{
    if (b->net.xen_cards && !b->net.pv) {
        b->net.pv = xen_pv_bus(x, loop, e);
        if (!b->net.pv) {
            return e->code;
        }
    }
    for (struct xen_card *c = b->net.xen_cards; c; c = c->next) {
        c->back = netback_new(b->net.pv, c->nic, c->index, c->mac, e);
        if (!c->back) {
            return err_prefix(e, "-device %s", c->text);
        }
    }
    return 0;
}

void xen_cards_stop(struct backends *b)
{
    while (b->net.xen_cards) {
        struct xen_card *c = b->net.xen_cards;
        b->net.xen_cards = c->next;
        netback_free(c->back);
        free(c->text);
        free(c);
    }
    pv_bus_free(b->net.pv);
    b->net.pv = NULL;
}
