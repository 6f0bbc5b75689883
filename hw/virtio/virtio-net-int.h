/* SPDX-License-Identifier: MIT */
/* hw/virtio/virtio-net-int.h - what the files of the virtio network card share: see virtio-net.c. */
#ifndef HW_VIRTIO_VIRTIO_NET_INT_H
#define HW_VIRTIO_VIRTIO_NET_INT_H

#include "hw/net/net-dev.h"
#include "hw/virtio/virtio.h"

enum {
    VIRTIO_NET_QUEUE = 256, /* chains */
    VIRTIO_NET_MACS = 64,
    VIRTIO_NET_HDR_MAX = 12,
};

/* Commands of class RX, 5.1.6.5.1. */
enum { RX_PROMISC, RX_ALLMULTI, RX_ALLUNI, RX_NOMULTI, RX_NOUNI, RX_NOBCAST, RX_MODES };

enum { HDR_DATA_VALID = 2 }; /* struct virtio_net_hdr, 5.1.6: flags */

#define F_CSUM (1ull << 0)
#define F_GUEST_CSUM (1ull << 1)
#define F_CTRL_GUEST_OFFLOADS (1ull << 2)
#define F_MAC (1ull << 5)
#define F_GUEST_TSO4 (1ull << 7)
#define F_GUEST_TSO6 (1ull << 8)
#define F_GUEST_ECN (1ull << 9)
#define F_HOST_TSO4 (1ull << 11)
#define F_HOST_TSO6 (1ull << 12)
#define F_HOST_ECN (1ull << 13)
#define F_MRG_RXBUF (1ull << 15)
#define F_STATUS (1ull << 16)
#define F_CTRL_VQ (1ull << 17)
#define F_CTRL_RX (1ull << 18)
#define F_CTRL_VLAN (1ull << 19)
#define F_CTRL_RX_EXTRA (1ull << 20)
#define F_MQ (1ull << 22)
#define F_CTRL_MAC_ADDR (1ull << 23)
#define F_OFFLOADS (F_GUEST_CSUM | F_GUEST_TSO4 | F_GUEST_TSO6 | F_GUEST_ECN)

struct virtio_net {
    struct virtio_dev v;
    struct net_dev net;
    bool mq; /* property */
    unsigned max_pairs;

    uint8_t mac[6];
    bool rx_mode[RX_MODES];
    uint8_t table[VIRTIO_NET_MACS][6];
    uint8_t ntable, first_multicast;
    bool unicast_overflow, multicast_overflow;
    uint32_t vlans[128];
    uint64_t offloads; /* F_GUEST_* bits in force */
    uint8_t pairs;     /* in use */
    uint8_t turn;      /* whose queue is served first */
    bool tx_full;
    struct vtimer tx_more;
    bool tx_flood;      /* see virtio-net-tx.c */
    unsigned tx_run;    /* bells in quick succession */
    int64_t tx_rang;    /* when the last one rang, ns */
    uint64_t tx_untold; /* pairs whose driver has not been told; a bit each */
    int64_t tx_told;    /* when it was, ns */
    struct vtimer tx_tell;

    uint8_t frame[VIRTIO_NET_HDR_MAX + NIC_FRAME_MAX]; /* in use within one call only */
    struct virtq_chain chain, first;                   /* the same */
};

static inline unsigned virtio_net_rx_queue(unsigned pair)
{
    return 2 * pair;
}

static inline unsigned virtio_net_tx_queue(unsigned pair)
{
    return 2 * pair + 1;
}

static inline uint32_t virtio_net_header_len(const struct virtio_net *s)
{
    return virtio_has(&s->v, F_MRG_RXBUF) || virtio_has(&s->v, VIRTIO_F_VERSION_1) ? 12 : 10;
}

static inline bool virtio_net_link_is_up(const struct virtio_net *s)
{
    return s->net.nic == NULL || nic_link(s->net.nic);
}

/* virtio-net-tx.c. The driver rang the bell of pair. */
void virtio_net_rang(struct virtio_net *s, unsigned pair);
/* Sends what waits in the queues in use; returns how many frames. */
unsigned virtio_net_transmit_all(struct virtio_net *s);
/* Callbacks of tx_more and tx_tell. */
void virtio_net_turn(void *opaque);
void virtio_net_tell_sent(void *opaque);
/* The driver is gone. */
void virtio_net_tx_reset(struct virtio_net *s);
/* A state was loaded. */
void virtio_net_tx_loaded(struct virtio_net *s);

/* virtio-net-rx.c: what struct nic_user wants. */
bool virtio_net_receive(void *opaque, const struct nic_frame *f);
void virtio_net_rx_filter(void *opaque, struct nic_rx_filter *f);

/* virtio-net-ctrl.c. Works the control queue off. */
void virtio_net_run_control(struct virtio_net *s);
unsigned virtio_net_control_queue(const struct virtio_net *s);
/* Tells the cable what the driver takes, and how many pairs it uses. */
void virtio_net_apply_offloads(struct virtio_net *s);
void virtio_net_use_pairs(struct virtio_net *s, unsigned n);

#endif
