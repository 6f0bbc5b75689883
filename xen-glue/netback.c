/* SPDX-License-Identifier: MIT */
/* xen-glue/netback.c - see netback.h: a network card's transmit and receive ring on shared pages.
 *
 *   transmit  a packet is one slot, or more: the first with flags and the whole size, then extra
 *             slots (segmentation, multicast list), then a slot for each further piece
 *   receive   the front end posts pages; a frame takes as many as it needs, and one more slot when
 *             it is to be cut into segments
 *
 * Slots are copied before they are looked at; a producer index or a chain that cannot be ends the
 * device (pv_broken). IPv4 checksums and TCP segments go uncut both ways; IPv6 ones towards the front end
 * only, since what a front end means by a blank checksum there is not said in the slot. The tool
 * stack's rate= limits what the guest sends: a node "BYTES,MICROSECONDS".
 * Left out: several queues, split event channels, the control ring (hashing).
 * Reference: Xen's public/io/netif.h, public/io/ring.h.
 */
#include "xen-glue/netback.h"

#include "dm/base/bytes.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xen/xen.h>

#include <xen/grant_table.h>
#include <xen/io/netif.h>

enum {
    SLOTS = 256, /* of either ring: a page holds as many */
    HEADER = 64, /* bytes before the slots */
    TX_SLOT = 12,
    RX_SLOT = 8,
    PIECES = 18, /* a packet's, XEN_NETIF_NR_SLOTS_MIN */
    BUDGET = 128,
    MACS = 64,
};

/* The shared part of both rings: Xen's DEFINE_RING_TYPES. */
struct ring_head {
    uint32_t req_prod, req_event, rsp_prod, rsp_event;
};

struct ring {
    uint8_t *page;
    uint32_t cons; /* requests taken, and responses given */
    uint32_t slot; /* bytes */
};

struct netback {
    struct pv_backend dev; /* first */
    struct nic *n;
    struct ev_loop *loop;
    struct ring tx, rx;
    bool tx_full; /* the cable's other end */
    bool gso4, gso6;
    bool multicast; /* the front end asked for multicast control */
    uint8_t macs[MACS][6];
    unsigned nmacs;
    struct ev_post again;                 /* more to send than one turn takes */
    uint64_t rate_bytes, rate_us, credit; /* rate_bytes 0: no limit */
    struct ev_timer refill;
    uint8_t frame[NIC_FRAME_MAX];
};

/* ---- rings ---- */

static struct ring_head *head(const struct ring *r)
{
    return (struct ring_head *)(void *)r->page;
}

static uint8_t *slot_at(const struct ring *r, uint32_t i)
{
    return r->page + HEADER + (i % SLOTS) * r->slot;
}

/* Requests that wait; more than a ring holds ends the device: then false. */
static bool waiting(struct netback *s, const struct ring *r, uint32_t *n)
{
    *n = __atomic_load_n(&head(r)->req_prod, __ATOMIC_ACQUIRE) - r->cons;
    if (*n > SLOTS) {
        pv_broken(&s->dev, "produces more requests than the ring holds");
        return false;
    }
    return true;
}

/* Asks for an event at the nth request from here; true when they are there by now. */
static bool ask_for(struct netback *s, const struct ring *r, uint32_t n)
{
    uint32_t there;
    __atomic_store_n(&head(r)->req_event, r->cons + n, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return waiting(s, r, &there) && there >= n;
}

/* Response slots up to cons are written: the front end may have them. */
static void publish(struct netback *s, const struct ring *r, uint32_t before)
{
    __atomic_store_n(&head(r)->rsp_prod, r->cons, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint32_t event = __atomic_load_n(&head(r)->rsp_event, __ATOMIC_RELAXED);
    if (r->cons - event < r->cons - before) {
        pv_notify(&s->dev);
    }
}

/* ---- from the guest ---- */

struct packet {
    netif_tx_request_t first;
    struct pv_piece piece[PIECES];
    unsigned pieces, slots;
    uint16_t id[SLOTS]; /* of each slot */
    bool extra[SLOTS];  /* which has no id of its own */
    uint32_t gso_size, gso_type;
};

static void change_list(struct netback *s, bool add, const uint8_t *mac)
{
    for (unsigned i = 0; i < s->nmacs; i++) {
        if (memcmp(s->macs[i], mac, 6) == 0) {
            if (!add) {
                memcpy(s->macs[i], s->macs[--s->nmacs], 6);
            }
            return;
        }
    }
    if (add && s->nmacs < MACS) {
        memcpy(s->macs[s->nmacs++], mac, 6);
    }
}

/* The extra slots behind the first one. False: the protocol is broken. */
static bool take_extras(struct netback *s, struct packet *p, uint32_t there)
{
    struct netif_extra_info x;
    do {
        if (p->slots == there) {
            return false;
        }
        memcpy(&x, slot_at(&s->tx, s->tx.cons + p->slots), sizeof(x));
        p->extra[p->slots++] = true;
        if (x.type == XEN_NETIF_EXTRA_TYPE_GSO) {
            p->gso_size = x.u.gso.size;
            p->gso_type = x.u.gso.type;
        } else if (x.type == XEN_NETIF_EXTRA_TYPE_MCAST_ADD ||
                   x.type == XEN_NETIF_EXTRA_TYPE_MCAST_DEL) {
            change_list(s, x.type == XEN_NETIF_EXTRA_TYPE_MCAST_ADD, x.u.mcast.addr);
        } else {
            return false;
        }
    } while (x.flags & XEN_NETIF_EXTRA_FLAG_MORE);
    return true;
}

static bool add_piece(struct packet *p, const netif_tx_request_t *r, uint32_t len, uint8_t *to)
{
    if (p->pieces == PIECES || r->offset + len > PV_PAGE) {
        return false;
    }
    p->piece[p->pieces++] = (struct pv_piece){ r->gref, r->offset, (uint16_t)len, to, false };
    return true;
}

/* All slots of the next packet; there > 0. False: the protocol is broken. */
static bool gather(struct netback *s, struct packet *p, uint32_t there)
{
    netif_tx_request_t r;
    uint32_t rest = 0, at[PIECES];
    memcpy(&p->first, slot_at(&s->tx, s->tx.cons), sizeof(p->first));
    p->id[0] = p->first.id;
    p->extra[0] = false;
    p->slots = 1;
    p->pieces = 1;
    p->gso_size = p->gso_type = 0;
    if (p->first.flags & NETTXF_extra_info && !take_extras(s, p, there)) {
        return false;
    }
    for (uint16_t flags = p->first.flags; flags & NETTXF_more_data; flags = r.flags) {
        if (p->slots == there) {
            return false;
        }
        memcpy(&r, slot_at(&s->tx, s->tx.cons + p->slots), sizeof(r));
        p->id[p->slots] = r.id;
        p->extra[p->slots++] = false;
        at[p->pieces < PIECES ? p->pieces : 0] = rest;
        rest += r.size;
        if (rest > p->first.size || !add_piece(p, &r, r.size, NULL)) {
            return false;
        }
    }
    /* the first slot's size is the packet's: its own piece is what the others leave */
    uint32_t own = p->first.size - rest;
    if (p->first.offset + own > PV_PAGE) {
        return false;
    }
    p->piece[0] =
        (struct pv_piece){ p->first.gref, p->first.offset, (uint16_t)own, s->frame, false };
    for (unsigned i = 1; i < p->pieces; i++) {
        p->piece[i].local = s->frame + own + at[i];
    }
    return true;
}

/* Finds out what a blank checksum or a segment size means for the frame. False: it makes no sense. */
static bool describe(struct netback *s, const struct packet *p, struct nic_frame *f)
{
    bool blank = p->first.flags & NETTXF_csum_blank;
    f->off.good = p->first.flags & NETTXF_data_validated;
    if (p->gso_size) {
        return nic_prepare_tso(s->frame, f->len, p->gso_size, &f->off);
    }
    if (p->gso_type != XEN_NETIF_GSO_TYPE_NONE) {
        return false; /* segments of no bytes */
    }
    if (blank && !nic_prepare_tso(s->frame, f->len, UINT16_MAX, &f->off)) {
        nic_put_sums(s->frame, f->len, false, false, true);
    }
    return true;
}

static int16_t send_packet(struct netback *s, struct packet *p)
{
    struct nic_frame f = { s->frame, p->first.size, { 0 }, 0 };
    if (f.len < NIC_FRAME_MIN) {
        return NETIF_RSP_ERROR;
    }
    if (!pv_copy(&s->dev, false, p->piece, p->pieces) || !describe(s, p, &f)) {
        return NETIF_RSP_ERROR;
    }
    s->tx_full = !nic_send(s->n, &f);
    return NETIF_RSP_OKAY;
}

/* The packet's slots become responses. */
static void respond(struct netback *s, const struct packet *p, int16_t status)
{
    uint32_t before = s->tx.cons;
    for (unsigned i = 0; i < p->slots; i++) {
        netif_tx_response_t r = { .id = p->extra[i] ? 0 : p->id[i],
                                  .status = p->extra[i] ? NETIF_RSP_NULL : status };
        memcpy(slot_at(&s->tx, s->tx.cons++), &r, sizeof(r));
    }
    publish(s, &s->tx, before);
}

static bool has_credit(struct netback *s, uint32_t len)
{
    if (s->rate_bytes && s->credit < len) {
        if (!s->refill.loop) {
            ev_timer_arm(s->loop, &s->refill, ev_now_ns() + (int64_t)s->rate_us * 1000);
        }
        return false;
    }
    s->credit -= s->rate_bytes ? len : 0;
    return true;
}

/* A packet and its answer. False: stop. */
static bool transmit_one(struct netback *s)
{
    struct packet p;
    uint32_t there;
    if (!waiting(s, &s->tx, &there) || there == 0) {
        return there == 0 && !s->dev.broken && ask_for(s, &s->tx, 1);
    }
    memcpy(&p.first, slot_at(&s->tx, s->tx.cons), sizeof(p.first));
    if (!has_credit(s, p.first.size)) {
        return false;
    }
    if (!gather(s, &p, there)) {
        pv_broken(&s->dev, "sends a packet that is not whole");
        return false;
    }
    respond(s, &p, send_packet(s, &p));
    return true;
}

static void transmit(struct netback *s)
{
    for (int i = 0; s->dev.connected && !s->dev.broken && !s->tx_full; i++) {
        if (i == BUDGET) {
            ev_post(s->loop, &s->again);
            return;
        }
        if (!transmit_one(s)) {
            return;
        }
    }
}

static void transmit_again(void *opaque)
{
    transmit(opaque);
}

static void refill(void *opaque)
{
    struct netback *s = opaque;
    uint64_t most = s->rate_bytes > UINT16_MAX ? s->rate_bytes : UINT16_MAX;
    s->credit = min_u64(s->credit + s->rate_bytes, most);
    transmit(s);
}

/* ---- to the guest ---- */

static bool passes(const struct netback *s, const uint8_t *mac)
{
    static const uint8_t everybody[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    if (!s->multicast || !(mac[0] & 1) || memcmp(mac, everybody, 6) == 0) {
        return true;
    }
    for (unsigned i = 0; i < s->nmacs; i++) {
        if (memcmp(s->macs[i], mac, 6) == 0) {
            return true;
        }
    }
    return false;
}

/* Copies the frame into the next `pages` posted pages. */
static bool fill_pages(struct netback *s, const struct nic_frame *f, unsigned pages,
                       unsigned extras, uint16_t *id)
{
    struct pv_piece piece[PIECES];
    for (unsigned i = 0; i < pages; i++) {
        netif_rx_request_t r;
        uint32_t len = (uint32_t)min_u64(f->len - i * PV_PAGE, PV_PAGE);
        uint32_t at = s->rx.cons + i + (i ? extras : 0);
        memcpy(&r, slot_at(&s->rx, at), sizeof(r));
        id[i + (i ? extras : 0)] = r.id;
        piece[i] =
            (struct pv_piece){ r.gref, 0, (uint16_t)len, (void *)(f->data + i * PV_PAGE), false };
    }
    return pv_copy(&s->dev, true, piece, pages);
}

static uint16_t rx_flags(const struct nic_frame *f, bool last, bool first)
{
    return (uint16_t)((last ? 0 : NETRXF_more_data) |
                      (first && f->off.csum ? NETRXF_csum_blank | NETRXF_data_validated : 0) |
                      (first && f->off.good ? NETRXF_data_validated : 0) |
                      (first && f->off.gso != NIC_GSO_NONE ? NETRXF_extra_info : 0));
}

static void put_extra(struct netback *s, const struct nic_offload *o)
{
    struct netif_extra_info x = { .type = XEN_NETIF_EXTRA_TYPE_GSO };
    x.u.gso.size = o->gso_size;
    x.u.gso.type = o->gso == NIC_GSO_TCP6 ? XEN_NETIF_GSO_TYPE_TCPV6 : XEN_NETIF_GSO_TYPE_TCPV4;
    memcpy(slot_at(&s->rx, s->rx.cons++), &x, sizeof(x));
}

static bool netback_receive(void *opaque, const struct nic_frame *f)
{
    struct netback *s = opaque;
    uint16_t id[PIECES + 1];
    uint32_t there;
    if (!s->dev.connected || s->dev.broken || !passes(s, f->data)) {
        return true;
    }
    unsigned pages = (f->len + PV_PAGE - 1) / PV_PAGE, extras = f->off.gso != NIC_GSO_NONE;
    if (!waiting(s, &s->rx, &there)) {
        return true;
    }
    if (there < pages + extras && !ask_for(s, &s->rx, pages + extras)) {
        return s->dev.broken;
    }
    bool ok = fill_pages(s, f, pages, extras, id);
    uint32_t before = s->rx.cons;
    for (unsigned i = 0; i < pages; i++) {
        uint32_t len = (uint32_t)min_u64(f->len - i * PV_PAGE, PV_PAGE);
        netif_rx_response_t r = { .id = id[i + (i ? extras : 0)],
                                  .flags = rx_flags(f, i + 1 == pages, i == 0),
                                  .status = ok ? (int16_t)len : NETIF_RSP_ERROR };
        memcpy(slot_at(&s->rx, s->rx.cons++), &r, sizeof(r));
        if (i == 0 && extras) {
            put_extra(s, &f->off);
        }
    }
    publish(s, &s->rx, before);
    return true;
}

static void writable(void *opaque)
{
    struct netback *s = opaque;
    s->tx_full = false;
    transmit(s);
}

static void rx_filter(void *opaque, struct nic_rx_filter *f)
{
    const struct netback *s = opaque;
    memcpy(f->mac, s->n->mac, 6);
    f->promiscuous = !s->multicast;
    f->broadcast_allowed = true;
    f->unicast = NIC_RX_ALL;
    f->multicast = s->multicast ? NIC_RX_NORMAL : NIC_RX_ALL;
    f->vlan = NIC_RX_ALL;
    f->ntable = s->nmacs;
    memcpy(f->table, s->macs, sizeof(s->macs));
}

static const struct nic_user user = { netback_receive, writable, NULL, rx_filter };

/* ---- the handshake ---- */

static bool asks(struct netback *s, const char *name)
{
    uint32_t v = 0;
    return pv_read_u32(&s->dev, false, name, UINT32_MAX, &v) == 0 && v;
}

static void read_features(struct netback *s)
{
    unsigned takes = 0;
    if (!asks(s, "feature-no-csum-offload") && asks(s, "feature-ipv6-csum-offload")) {
        takes = NIC_TAKES_CSUM;
        takes |= asks(s, "feature-sg") && asks(s, "feature-gso-tcpv4") ? NIC_TAKES_TSO4 : 0;
        takes |= asks(s, "feature-sg") && asks(s, "feature-gso-tcpv6") ? NIC_TAKES_TSO6 : 0;
    }
    s->multicast = asks(s, "request-multicast-control");
    s->nmacs = 0;
    nic_set_rx_takes(s->n, takes);
}

/* "BYTES,MICROSECONDS", by libxl's rate=. */
static void read_rate(struct netback *s)
{
    char *text = pv_read_back(&s->dev, "rate");
    const char *p = text;
    uint32_t bytes, us;
    s->rate_bytes = 0;
    if (p && pv_digits(&p, UINT32_MAX, &bytes) && *p++ == ',' && pv_digits(&p, UINT32_MAX, &us) &&
        !*p && bytes && us) {
        s->rate_bytes = s->credit = bytes;
        s->rate_us = us;
    }
    free(text);
}

static void netback_disconnect(struct pv_backend *d)
{
    struct netback *s = (struct netback *)d;
    ev_post_cancel(s->loop, &s->again);
    ev_timer_disarm(&s->refill);
    pv_unbind(d);
    pv_unmap_page(d, s->tx.page);
    pv_unmap_page(d, s->rx.page);
    s->tx.page = s->rx.page = NULL;
    nic_kick(s->n); /* what waits is for nobody */
}

static int map_ring(struct netback *s, struct ring *r, const char *node, struct err *e)
{
    uint32_t ref;
    int ret = pv_read_u32(&s->dev, false, node, UINT32_MAX, &ref);
    if (ret < 0) {
        return err_set(e, ret, "%s/%s: missing or not a number", s->dev.front, node);
    }
    r->page = pv_map_page(&s->dev, ref);
    if (!r->page) {
        return err_set(e, -errno, "%s/%s: cannot map grant %u: %s", s->dev.front, node, ref,
                       strerror(errno));
    }
    r->cons = __atomic_load_n(&head(r)->rsp_prod, __ATOMIC_RELAXED); /* where the last one ended */
    return 0;
}

static int netback_connect(struct pv_backend *d, struct err *e)
{
    struct netback *s = (struct netback *)d;
    uint32_t port;
    int ret;
    if (!asks(s, "request-rx-copy")) {
        return err_set(e, -EINVAL, "%s/request-rx-copy: missing; pages are not flipped", d->front);
    }
    if ((ret = map_ring(s, &s->tx, "tx-ring-ref", e)) < 0 ||
        (ret = map_ring(s, &s->rx, "rx-ring-ref", e)) < 0) {
        netback_disconnect(d);
        return ret;
    }
    if ((ret = pv_read_u32(d, false, "event-channel", UINT32_MAX, &port)) < 0 ||
        (ret = pv_bind(d, port)) < 0) {
        netback_disconnect(d);
        return err_set(e, ret, "%s/event-channel: %s", d->front, strerror(-ret));
    }
    read_features(s);
    read_rate(s);
    s->tx_full = false;
    ev_post(s->loop, &s->again);
    return 0;
}

static void netback_event(struct pv_backend *d)
{
    struct netback *s = (struct netback *)d;
    nic_kick(s->n);
    transmit(s);
}

static const struct pv_ops ops = { netback_connect, netback_disconnect, netback_event };

struct netback *netback_new(struct pv_bus *b, struct nic *n, unsigned index, const uint8_t mac[6],
                            struct err *e)
{
    struct netback *s = xcalloc(1, sizeof(*s));
    char mac_text[18], handle[12];
    snprintf(mac_text, sizeof(mac_text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
             mac[3], mac[4], mac[5]);
    snprintf(handle, sizeof(handle), "%u", index);
    const struct pv_node front[] = { { "mac", mac_text }, { "handle", handle }, { NULL, NULL } };
    const struct pv_node back[] = {
        { "mac", mac_text },   { "handle", handle },         { "feature-rx-copy", "1" },
        { "feature-sg", "1" }, { "feature-gso-tcpv4", "1" }, { "feature-multicast-control", "1" },
        { NULL, NULL }
    };
    s->n = n;
    s->loop = n->loop;
    s->tx.slot = TX_SLOT;
    s->rx.slot = RX_SLOT;
    s->again = (struct ev_post){ .cb = transmit_again, .opaque = s };
    s->refill = (struct ev_timer){ .cb = refill, .opaque = s };
    s->dev.ops = &ops;
    s->dev.type = "qnic"; /* dom0's own back end takes all that is called vif for its */
    s->dev.front_type = "vif";
    s->dev.index = index;
    s->dev.name = "xen-net";
    memcpy(n->mac, mac, 6);
    nic_attach(n, &user, s);
    if (pv_start(b, &s->dev, front, back, e) < 0) {
        netback_free(s);
        return NULL;
    }
    return s;
}

void netback_free(struct netback *s)
{
    if (s) {
        pv_stop(&s->dev);
        nic_attach(s->n, NULL, NULL);
        free(s);
    }
}
