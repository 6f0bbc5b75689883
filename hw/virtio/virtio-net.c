/* SPDX-License-Identifier: MIT */
/* hw/virtio/virtio-net.c - the virtio network card: mergeable buffers, offloads, control queue.
 *
 *   queue 2n      receive   virtio-net-rx.c
 *   queue 2n + 1  transmit  virtio-net-tx.c
 *   behind them   control   virtio-net-ctrl.c
 *
 * With mq=on there are as many pairs as the back end has; a driver that does not know MQ finds the control
 * queue behind the first pair. A frame comes by the pair that the back end chose.
 * Left out: RSS, UDP fragmentation, announcing after a migration.
 * Reference: virtio 1.2, 5.1.
 */
#include "hw/virtio/virtio-net.h"

#include "dm/base/bytes.h"
#include "hw/virtio/virtio-net-int.h"

#include <errno.h>

enum {
    CONFIG_LEN = 12, /* mac, status, queue pairs, MTU */
    S_LINK_UP = 1,
};

static struct virtio_net *net_of(struct virtio_dev *v)
{
    return (struct virtio_net *)v;
}

/* ---- the cable's side ---- */

static void writable(void *opaque)
{
    struct virtio_net *s = opaque;
    s->tx_full = false;
    virtio_net_transmit_all(s);
}

static void link_changed(void *opaque)
{
    struct virtio_net *s = opaque;
    virtio_config_changed(&s->v);
}

static const struct nic_user user = { virtio_net_receive, writable, link_changed,
                                      virtio_net_rx_filter };

/* ---- the transport's side ---- */

static void kick(struct virtio_dev *v, unsigned q)
{
    struct virtio_net *s = net_of(v);
    if (q == virtio_net_control_queue(s)) {
        virtio_net_run_control(s);
    } else if (q / 2 >= s->pairs) {
        return; /* not in use, or not yet */
    } else if (q == virtio_net_rx_queue(q / 2)) {
        nic_kick(s->net.nic);
    } else {
        virtio_net_rang(s, q / 2);
    }
}

static void take_back(struct virtio_dev *v)
{
    struct virtio_net *s = net_of(v);
    memcpy(s->mac, s->net.mac, 6);
    memset(s->rx_mode, 0, sizeof(s->rx_mode));
    s->rx_mode[RX_PROMISC] = true; /* until the driver says otherwise: it may lack CTRL_RX */
    memset(s->table, 0, sizeof(s->table));
    s->ntable = s->first_multicast = 0;
    s->unicast_overflow = s->multicast_overflow = false;
    memset(s->vlans, 0, sizeof(s->vlans));
    s->offloads = 0;
    s->pairs = 1;
    s->turn = 0;
    if (s->tx_more.m) {
        virtio_net_tx_reset(s);
        virtio_net_apply_offloads(s);
        virtio_net_use_pairs(s, 1);
    }
}

static void features_set(struct virtio_dev *v)
{
    struct virtio_net *s = net_of(v);
    s->offloads = v->features & F_OFFLOADS;
    if (!virtio_has(v, F_CTRL_VLAN)) {
        memset(s->vlans, 0xff, sizeof(s->vlans));
    }
    virtio_net_apply_offloads(s);
}

static void config_read(struct virtio_dev *v, uint32_t off, uint8_t *buf, uint32_t size)
{
    const struct virtio_net *s = net_of(v);
    uint8_t c[CONFIG_LEN] = { 0 };
    memcpy(c, s->mac, 6);
    store_le(c + 6, 2, virtio_net_link_is_up(s) ? S_LINK_UP : 0);
    store_le(c + 8, 2, s->max_pairs);
    store_le(c + 10, 2, 1500);
    memcpy(buf, c + off, size);
}

/* The address, by a driver without the control queue: 5.1.4.2. */
static void config_write(struct virtio_dev *v, uint32_t off, const uint8_t *buf, uint32_t size)
{
    struct virtio_net *s = net_of(v);
    for (uint32_t i = 0; i < size && off + i < 6 && !virtio_has(v, VIRTIO_F_VERSION_1); i++) {
        s->mac[off + i] = buf[i];
    }
}

static const struct virtio_ops ops = {
    .id = 1,
    .transitional_id = 0x1000,
    .class = 0x020000,
    .config_len = CONFIG_LEN,
    .features = F_CSUM | F_CTRL_GUEST_OFFLOADS | F_MAC | F_OFFLOADS | F_HOST_TSO4 | F_HOST_TSO6 |
                F_HOST_ECN | F_MRG_RXBUF | F_STATUS | F_CTRL_VQ | F_CTRL_RX | F_CTRL_VLAN |
                F_CTRL_RX_EXTRA | F_CTRL_MAC_ADDR,
    .kick = kick,
    .reset = take_back,
    .config_read = config_read,
    .config_write = config_write,
    .features_set = features_set,
};

/* ---- life ---- */

static int virtio_net_init(struct device *d, struct err *e)
{
    struct virtio_net *s = (struct virtio_net *)d;
    s->max_pairs = s->mq && s->net.nic ? s->net.nic->queues : 1;
    for (unsigned i = 0; i < s->max_pairs; i++) {
        virtio_add_queue(&s->v, VIRTIO_NET_QUEUE);
        virtio_add_queue(&s->v, VIRTIO_NET_QUEUE);
    }
    virtio_add_queue(&s->v, VIRTIO_NET_QUEUE);
    int ret = virtio_init(&s->v, &ops, e);
    s->v.host_features |= s->max_pairs > 1 ? F_MQ : 0;
    if (ret == 0) {
        ret = net_dev_init(&s->v.pci, &s->net, e);
    }
    if (ret < 0) {
        return ret;
    }
    vtimer_init(&s->tx_more, d->m, "virtio-net tx", virtio_net_turn, s);
    vtimer_init(&s->tx_tell, d->m, "virtio-net tell", virtio_net_tell_sent, s);
    nic_attach(s->net.nic, &user, s);
    return 0;
}

static void virtio_net_reset(struct device *d)
{
    virtio_reset((struct virtio_dev *)d);
}

static int virtio_net_loaded(struct device *d, struct err *e)
{
    struct virtio_net *s = (struct virtio_net *)d;
    int ret = virtio_loaded(&s->v, e);
    if (ret < 0) {
        return ret;
    }
    if (s->pairs < 1 || s->pairs > s->max_pairs) {
        return err_set(e, -EINVAL, "%s: %u pairs of queues in use of %u", d->id, s->pairs,
                       s->max_pairs);
    }
    virtio_net_apply_offloads(s);
    virtio_net_use_pairs(s, s->pairs);
    virtio_net_tx_loaded(s);
    return 0;
}

static void virtio_net_fini(struct device *d)
{
    struct virtio_net *s = (struct virtio_net *)d;
    if (s->tx_more.m) {
        vtimer_fini(&s->tx_more);
        vtimer_fini(&s->tx_tell);
    }
    virtio_fini(&s->v);
    net_dev_fini(&s->v.pci, &s->net);
}

struct mac_entry {
    uint8_t mac[6];
};
static const struct state_field mac_state[] = {
    FIELD_ARRAY(struct mac_entry, mac),
    FIELD_END,
};

static const struct state_field state[] = {
    VIRTIO_STATE(struct virtio_net),
    FIELD_BLOCK(struct virtio_net, net.rom),
    FIELD_ARRAY(struct virtio_net, mac),
    FIELD_ARRAY(struct virtio_net, rx_mode),
    FIELD_SUB(struct virtio_net, table, mac_state, VIRTIO_NET_MACS),
    FIELD_RANGE(struct virtio_net, ntable, 0, VIRTIO_NET_MACS),
    FIELD_RANGE(struct virtio_net, first_multicast, 0, VIRTIO_NET_MACS),
    FIELD(struct virtio_net, unicast_overflow),
    FIELD(struct virtio_net, multicast_overflow),
    FIELD_ARRAY(struct virtio_net, vlans),
    FIELD(struct virtio_net, offloads),
    FIELD_SINCE(struct virtio_net, pairs, 2),
    FIELD_SINCE(struct virtio_net, turn, 2),
    FIELD(struct virtio_net, tx_full),
    FIELD_TIMER(struct virtio_net, tx_more),
    FIELD_SINCE(struct virtio_net, tx_flood, 3),
    FIELD_END,
};

static const struct dev_prop props[] = {
    VIRTIO_PROPS(struct virtio_net),
    NET_CARD_PROPS(struct virtio_net),
    PROP(struct virtio_net, "mq", PROP_BOOL, mq, 0, "as many pairs of queues as the back end has"),
    PCI_ROM_PROP(struct virtio_net, net.rom_image),
    { NULL, PROP_END, 0, 0, NULL },
};

const struct dev_class virtio_net_class = {
    .name = "virtio-net-pci",
    .desc = "Virtio network card",
    .size = sizeof(struct virtio_net),
    .props = props,
    .state = state,
    .state_version = 3,
    .user_creatable = true,
    .init = virtio_net_init,
    .reset = virtio_net_reset,
    .loaded = virtio_net_loaded,
    .fini = virtio_net_fini,
};
