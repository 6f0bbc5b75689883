/* SPDX-License-Identifier: MIT */
/* net/nic.h - the cable between a network card and whatever carries its frames.
 *
 * A struct nic has two ends. The card (the user) sends with nic_send and gets frames through its
 * receive callback; the back end (tap, user network, socket, hub) implements struct nic_ops and
 * calls nic_deliver. Everything runs under the machine lock and nothing blocks. Frames are Ethernet
 * without FCS; the bytes belong to the caller and are copied before a call returns.
 *
 * Back pressure: nic_send says when the back end is full, and writable() when it no longer is;
 * receive() may refuse a frame, which then waits here until nic_kick. Delivery comes from the event
 * loop, by ev_call or by ev_before_leave, never from inside nic_send or nic_kick, so that a card is not
 * re-entered.
 *
 * Offloads: a frame may leave work undone (a checksum, the cut into segments), described as virtio
 * does. The cable does it in software where the other end has not said that it takes such frames.
 */
#ifndef NET_NIC_H
#define NET_NIC_H

#include "dm/base/ev.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nic;

/* A frame: the Ethernet header, at most one VLAN tag, and an IP packet of 64 KiB. */
#define NIC_FRAME_MAX (14u + 4u + 65535u)
#define NIC_FRAME_MIN 14u

enum nic_gso { NIC_GSO_NONE, NIC_GSO_TCP4, NIC_GSO_TCP6 };
struct nic_offload {
    bool csum;            /* sum from csum_start to the end goes to csum_start + csum_offset */
    bool good;            /* transport checksum was checked, or never left this host */
    bool ecn;             /* gso: the first segment has CWR, no other may */
    uint8_t gso;          /* enum nic_gso: cut into TCP segments */
    uint16_t hdr_len;     /* gso: bytes up to the TCP payload */
    uint16_t gso_size;    /* gso: TCP payload bytes a segment */
    uint16_t csum_start;  /* bytes */
    uint16_t csum_offset; /* bytes from csum_start */
};
struct nic_frame {
    const uint8_t *data;
    uint32_t len;
    struct nic_offload off;
    uint16_t
        queue; /* which of the card's it left, or of the back end's it came by; 0 if in doubt */
};
/* Pairs of queues that a card and a back end may have. */
#define NIC_QUEUES_MAX 16u
/* What an end takes undone. */
enum { NIC_TAKES_CSUM = 1, NIC_TAKES_TSO4 = 2, NIC_TAKES_TSO6 = 4, NIC_TAKES_ALL = 7 };

/* For query-rx-filter. */
enum nic_rx_mode { NIC_RX_NONE, NIC_RX_NORMAL, NIC_RX_ALL };
struct nic_rx_filter {
    uint8_t mac[6];
    bool promiscuous, broadcast_allowed;
    enum nic_rx_mode unicast, multicast, vlan;
    uint8_t table[64][6]; /* further exact addresses, multicast ones included */
    unsigned ntable;
    bool multicast_overflow; /* a hash decides, not the table alone */
    uint16_t vlans[64];
    unsigned nvlans;
};

/* The card's end. */
struct nic_user {
    /* Takes f, or drops it for the part's own reasons: true. False: no room (or the machine
     * stands still); f waits, and nic_kick says when to try again. */
    bool (*receive)(void *opaque, const struct nic_frame *f);
    void (*writable)(void *opaque);     /* after nic_send said full; may be NULL */
    void (*link_changed)(void *opaque); /* see nic_link; may be NULL */
    void (*rx_filter)(void *opaque, struct nic_rx_filter *f); /* zeroed; may be NULL */
};

/* The back end's. */
struct nic_ops {
    const char *kind; /* "tap", "user" */
    /* Takes f in any case (it may drop and count it); false when it is full now. */
    bool (*send)(struct nic *n, const struct nic_frame *f);
    void (*resume)(struct nic *n);                    /* after nic_deliver said stop; may be NULL */
    void (*rx_takes)(struct nic *n, unsigned takes);  /* the card's end changed; may be NULL */
    void (*use_queues)(struct nic *n, unsigned used); /* see nic_use_queues; may be NULL */
    void (*free)(struct nic *n);                      /* of what priv holds; may be NULL */
};

struct nic_stats {
    uint64_t frames, bytes, dropped;
};

/* Stands between card and back end and sees frames before any offload is done. The first one is next
 * to the back end. */
struct nic_filter {
    /* False: it has taken the frame, or a copy to be sent on (nic_filter_go_on). */
    bool (*pass)(struct nic_filter *f, bool to_card, const struct nic_frame *frame);
    void (*free)(struct nic_filter *f);
    bool from_card, to_card; /* which frames it is shown; both, unless set before nic_add_filter */
    struct nic *n;           /* its cable */
    struct nic_filter *next, *prev;
};

/* A recorder's view of what the card sends: f as it leaves the card, then what nic_send answers. */
struct nic_tap {
    void (*sending)(void *opaque, const struct nic_frame *f);
    bool (*sent)(void *opaque, bool more);
};

struct nic_queued;
struct nic {
    const struct nic_ops *ops;
    const struct nic_user *user; /* NULL while no card is attached */
    void *opaque;                /* the card's */
    void *priv;                  /* the back end's */
    char *id;                    /* as -netdev id= */
    char *info;                  /* one line for `info network` */
    char dev_id[32];             /* of the card, "" while there is none */
    char model[32];              /* its class, for `info network` */
    uint8_t mac[6];              /* the card's, as it was made */
    bool link;                   /* set_link; up at first */
    unsigned tx_takes;           /* what the back end takes undone */
    unsigned rx_takes;           /* what the card takes undone */
    unsigned queues;             /* pairs the back end has, 1..NIC_QUEUES_MAX */
    unsigned queues_used;        /* of these by the card's driver: 1 until nic_use_queues */
    struct nic_stats tx, rx;     /* tx: from the card */
    struct nic_filter *filters, *last_filter;
    const struct nic_tap *tap; /* NULL: nobody records */
    void *tap_opaque;

    struct ev_loop *loop;
    struct ev_post flush;
    struct nic_queued *head, **tail; /* frames on their way to the card */
    unsigned queued;
    size_t queued_bytes;
    bool stopped; /* nic_deliver said stop */
};

/* ---- the card's side; n may be NULL: nothing plugged in ---- */

/* Plugs a card in, or out with u NULL. The card may read n->mac only before. */
void nic_attach(struct nic *n, const struct nic_user *u, void *opaque);
/* Sends f, len NIC_FRAME_MIN..NIC_FRAME_MAX (others are dropped and counted). False: the back end
 * is full; f was taken, but nothing more should come until writable(). */
bool nic_send(struct nic *n, const struct nic_frame *f);
/* There is room, or the card was switched on: what waits is offered again, by the loop. */
void nic_kick(struct nic *n);
/* Whether a cable with something at its other end is plugged in. */
bool nic_link(const struct nic *n);
void nic_set_rx_takes(struct nic *n, unsigned takes);
/* The driver uses `used` pairs, 1..n->queues, from here on: frames come by these only. */
void nic_use_queues(struct nic *n, unsigned used);

/* Prepares the frame in buf (Ethernet, at most one VLAN tag, IPv4 or IPv6 without extensions, TCP)
 * to be cut into segments of mss payload bytes, or leaves just its checksum undone if it fits one:
 * sets IP length, IP checksum and the pseudo-header's sum, and fills off. False when it is not such
 * a frame; it is untouched then. */
bool nic_prepare_tso(uint8_t *buf, uint32_t len, uint32_t mss, struct nic_offload *off);

/* What a frame leaves undone as the first VNET_HDR_LEN bytes of a virtio header, and back. Sums known to be
 * good are only told on the way back. */
enum { VNET_HDR_LEN = 10 };
void nic_offload_to_vnet(const struct nic_offload *o, uint8_t *p);
void nic_offload_from_vnet(const uint8_t *p, struct nic_offload *o);

/* What a card with checksum engines says of a received frame. */
enum {
    NIC_SUM_IP = 1, /* IPv4 header looked at */
    NIC_SUM_IP_BAD = 2,
    NIC_SUM_TCP = 4, /* TCP or UDP looked at: whole, not a fragment, checksum present */
    NIC_SUM_UDP = 8,
    NIC_SUM_L4_BAD = 16,
    NIC_SUM_IP6 = 32, /* seen */
};
unsigned nic_check_sums(const struct nic_frame *f);
/* Puts the IPv4 header's sum, and that of TCP or UDP over IPv4, into a frame where they belong.
 * Nothing happens to what is not whole. */
void nic_put_sums(uint8_t *buf, uint32_t len, bool ip, bool tcp, bool udp);

/* Internet checksum (RFC 1071): adds len bytes to a running sum; folds one to 16 bits, not inverted,
 * in the byte order of memory. */
uint64_t net_sum(uint64_t sum, const void *p, size_t len);
uint16_t net_fold(uint64_t sum);
/* The CRC of an Ethernet frame, as the multicast hash filters use it. */
uint32_t net_crc32(const uint8_t *p, size_t len);

/* ---- the back end's side ---- */

/* id copied. The back end fills priv, info and tx_takes. */
struct nic *nic_new(struct ev_loop *loop, const char *id, const struct nic_ops *ops);
/* Unplugs, frees the back end, what waits and the filters. */
void nic_free(struct nic *n);
/* A frame for the card. Drops and counts what nobody can take. False: it waits; stop until resume(),
 * or go on and see frames dropped once too many wait. */
bool nic_deliver(struct nic *n, const struct nic_frame *f);
/* The same, but the card sees it in a turn of the loop of its own: for frames that come from inside
 * another card's nic_send. */
void nic_deliver_later(struct nic *n, const struct nic_frame *f);
/* The back end takes frames again. */
void nic_writable(struct nic *n);

/* ---- who commands ---- */

void nic_set_link(struct nic *n, bool up);
void nic_add_filter(struct nic *n, struct nic_filter *f);
/* A frame goes on its way behind f, which is not inside pass(). Towards the card by the loop only. */
void nic_filter_go_on(struct nic_filter *f, bool to_card, const struct nic_frame *frame);
/* Unlinks and frees f. */
void nic_del_filter(struct nic *n, struct nic_filter *f);

#endif
