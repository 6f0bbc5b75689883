/* SPDX-License-Identifier: MIT */
/* hw/virtio/virtio-net-rx.c - receiving: filters, then a frame into one chain, or several with MRG_RXBUF.
 * A frame that finds no buffers waits at the cable until the driver rings a receive queue.
 * Reference: virtio 1.2, 5.1.6.3, 5.1.6.4.
 */
#include "hw/virtio/virtio-net-int.h"

#include "dm/base/bytes.h"

static bool vlan_passes(const struct virtio_net *s, const struct nic_frame *f)
{
    if (!virtio_has(&s->v, F_CTRL_VLAN) || f->len < 18 || load_be16(f->data + 12) != 0x8100) {
        return true;
    }
    unsigned vid = load_be16(f->data + 14) & 0xfff;
    return s->vlans[vid >> 5] >> (vid & 31) & 1;
}

static bool in_table(const struct virtio_net *s, const uint8_t *mac)
{
    for (unsigned i = 0; i < s->ntable; i++) {
        if (memcmp(s->table[i], mac, 6) == 0) {
            return true;
        }
    }
    return false;
}

static bool address_passes(const struct virtio_net *s, const uint8_t *mac)
{
    if (s->rx_mode[RX_PROMISC]) {
        return true;
    }
    if (mac_is_broadcast(mac)) {
        return !s->rx_mode[RX_NOBCAST];
    }
    if (mac_is_multicast(mac)) {
        return !s->rx_mode[RX_NOMULTI] &&
               (s->rx_mode[RX_ALLMULTI] || s->multicast_overflow || in_table(s, mac));
    }
    return !s->rx_mode[RX_NOUNI] && (s->rx_mode[RX_ALLUNI] || s->unicast_overflow ||
                                     memcmp(mac, s->mac, 6) == 0 || in_table(s, mac));
}

static void build_header(const struct nic_offload *o, uint8_t *p)
{
    memset(p, 0, VIRTIO_NET_HDR_MAX);
    nic_offload_to_vnet(o, p);
    if (o->good && !o->csum) {
        p[0] = HDR_DATA_VALID;
    }
}

/* Puts total bytes of s->frame into as many chains as it takes; false, with all of them put back, when
 * there are not enough. */
static bool fill_chains(struct virtio_net *s, unsigned rx, uint32_t total)
{
    bool mergeable = virtio_has(&s->v, F_MRG_RXBUF);
    uint32_t heads[VIRTIO_QUEUE_MAX], lens[VIRTIO_QUEUE_MAX], at = 0;
    uint8_t count[2];
    unsigned n = 0;
    for (; at < total; n++) {
        struct virtq_chain *c = n ? &s->chain : &s->first;
        if (n == VIRTIO_QUEUE_MAX || !virtq_take(&s->v, rx, c)) {
            break;
        }
        if (c->in_len < virtio_net_header_len(s) || (!mergeable && c->in_len < total)) {
            virtio_broken(&s->v, "a receive buffer that is too small");
            return true;
        }
        heads[n] = c->head;
        lens[n] = (uint32_t)min_u64(c->in_len, total - at);
        if (virtq_write(&s->v, c, 0, s->frame + at, lens[n]) < 0) {
            return true;
        }
        at += lens[n];
    }
    if (at < total) {
        while (n--) {
            virtq_untake(&s->v, rx, heads[n]);
        }
        return false;
    }
    if (virtio_net_header_len(s) == 12) {
        store_le(count, 2, n);
        virtq_write(&s->v, &s->first, 10, count, 2);
    }
    for (unsigned i = 0; i < n; i++) {
        virtq_put(&s->v, rx, heads[i], lens[i]);
    }
    virtq_tell(&s->v, rx);
    return true;
}

bool virtio_net_receive(void *opaque, const struct nic_frame *f)
{
    struct virtio_net *s = opaque;
    if (!machine_running(s->v.pci.dev.m)) {
        return false;
    }
    if (!virtio_ready(&s->v) || !pci_bus_master(&s->v.pci) || !address_passes(s, f->data) ||
        !vlan_passes(s, f)) {
        return true;
    }
    s->tx_run = 0; /* they talk to one another: no flood */
    uint32_t head = virtio_net_header_len(s);
    struct nic_frame told = *f;
    told.off.good = f->off.good && s->offloads & F_GUEST_CSUM;
    build_header(&told.off, s->frame);
    memcpy(s->frame + head, f->data, f->len);
    return fill_chains(s, virtio_net_rx_queue(f->queue < s->pairs ? f->queue : 0), head + f->len);
}

void virtio_net_rx_filter(void *opaque, struct nic_rx_filter *f)
{
    const struct virtio_net *s = opaque;
    memcpy(f->mac, s->mac, 6);
    f->promiscuous = s->rx_mode[RX_PROMISC];
    f->broadcast_allowed = !s->rx_mode[RX_NOBCAST];
    f->unicast = s->rx_mode[RX_NOUNI]    ? NIC_RX_NONE
                 : s->rx_mode[RX_ALLUNI] ? NIC_RX_ALL
                                         : NIC_RX_NORMAL;
    f->multicast = s->rx_mode[RX_NOMULTI]    ? NIC_RX_NONE
                   : s->rx_mode[RX_ALLMULTI] ? NIC_RX_ALL
                                             : NIC_RX_NORMAL;
    f->multicast_overflow = s->multicast_overflow;
    f->vlan = virtio_has(&s->v, F_CTRL_VLAN) ? NIC_RX_NORMAL : NIC_RX_ALL;
    memcpy(f->table, s->table, sizeof(f->table));
    f->ntable = s->ntable;
    for (unsigned i = 0; i < 4096 && virtio_has(&s->v, F_CTRL_VLAN); i++) {
        if (s->vlans[i >> 5] >> (i & 31) & 1 && f->nvlans < ARRAY_SIZE(f->vlans)) {
            f->vlans[f->nvlans++] = (uint16_t)i;
        }
    }
}
