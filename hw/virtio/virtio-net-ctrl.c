/* SPDX-License-Identifier: MIT */
/* hw/virtio/virtio-net-ctrl.c - the control queue: filters, address, offloads, how many pairs are in use.
 * Reference: virtio 1.2, 5.1.6.5.
 */
#include "hw/virtio/virtio-net-int.h"

#include "dm/base/bytes.h"

enum {
    CTRL_RX = 0,
    CTRL_MAC = 1,
    CTRL_MAC_TABLE = 0,
    CTRL_MAC_ADDR = 1,
    CTRL_VLAN = 2,
    CTRL_VLAN_ADD = 0,
    CTRL_VLAN_DEL = 1,
    CTRL_MQ = 4,
    CTRL_OFFLOADS = 5,
    CTRL_OK = 0,
    CTRL_ERR = 1,
};

unsigned virtio_net_control_queue(const struct virtio_net *s)
{
    return 2 * (virtio_has(&s->v, F_MQ) ? s->max_pairs : 1);
}

/* len bytes of the command at off, or false. */
static bool command_bytes(struct virtio_net *s, uint64_t off, void *buf, uint32_t len)
{
    return s->chain.out_len >= off + len &&
           virtq_read(&s->v, &s->chain, off, buf, len) == (int64_t)len;
}

static uint8_t set_rx_mode(struct virtio_net *s, uint8_t command)
{
    uint8_t on;
    if (command >= RX_MODES || !command_bytes(s, 2, &on, 1)) {
        return CTRL_ERR;
    }
    s->rx_mode[command] = on;
    return CTRL_OK;
}

/* Two tables, unicast and multicast: a count each, then addresses. One that does not fit means all. */
static uint8_t set_mac_table(struct virtio_net *s)
{
    uint64_t at = 2;
    uint8_t count[4];
    s->ntable = 0;
    for (unsigned kind = 0; kind < 2; kind++) {
        bool *overflow = kind ? &s->multicast_overflow : &s->unicast_overflow;
        if (!command_bytes(s, at, count, 4)) {
            return CTRL_ERR;
        }
        uint32_t n = load_le32(count);
        at += 4;
        if (n > (s->chain.out_len - at) / 6) {
            return CTRL_ERR;
        }
        *overflow = n > (unsigned)VIRTIO_NET_MACS - s->ntable;
        for (uint32_t i = 0; i < n && !*overflow; i++) {
            if (!command_bytes(s, at + 6 * i, s->table[s->ntable++], 6)) {
                return CTRL_ERR;
            }
        }
        s->first_multicast = kind ? s->first_multicast : s->ntable;
        at += 6ull * n;
    }
    return CTRL_OK;
}

static uint8_t set_vlan(struct virtio_net *s, bool on)
{
    uint8_t raw[2];
    if (!command_bytes(s, 2, raw, 2) || load_le16(raw) > 4095) {
        return CTRL_ERR;
    }
    uint32_t vid = load_le16(raw), bit = 1u << (vid & 31);
    s->vlans[vid >> 5] = on ? s->vlans[vid >> 5] | bit : s->vlans[vid >> 5] & ~bit;
    return CTRL_OK;
}

void virtio_net_apply_offloads(struct virtio_net *s)
{
    unsigned takes = s->offloads & F_GUEST_CSUM ? NIC_TAKES_CSUM : 0;
    if (takes) {
        takes |= s->offloads & F_GUEST_TSO4 ? NIC_TAKES_TSO4 : 0;
        takes |= s->offloads & F_GUEST_TSO6 ? NIC_TAKES_TSO6 : 0;
    }
    nic_set_rx_takes(s->net.nic, takes);
}

static uint8_t set_offloads(struct virtio_net *s)
{
    uint8_t raw[8];
    if (!virtio_has(&s->v, F_CTRL_GUEST_OFFLOADS) || !command_bytes(s, 2, raw, 8) ||
        load_le64(raw) & ~(s->v.features & F_OFFLOADS)) {
        return CTRL_ERR;
    }
    s->offloads = load_le64(raw);
    virtio_net_apply_offloads(s);
    return CTRL_OK;
}

void virtio_net_use_pairs(struct virtio_net *s, unsigned n)
{
    s->pairs = (uint8_t)n;
    nic_use_queues(s->net.nic, n);
    nic_kick(s->net.nic);
}

static uint8_t set_pairs(struct virtio_net *s)
{
    uint8_t raw[2];
    if (!virtio_has(&s->v, F_MQ) || !command_bytes(s, 2, raw, 2) || load_le16(raw) < 1 ||
        load_le16(raw) > s->max_pairs) {
        return CTRL_ERR;
    }
    virtio_net_use_pairs(s, load_le16(raw));
    return CTRL_OK;
}

static uint8_t control(struct virtio_net *s)
{
    uint8_t head[2];
    if (!command_bytes(s, 0, head, 2)) {
        return CTRL_ERR;
    }
    switch (head[0]) {
    case CTRL_RX:
        return set_rx_mode(s, head[1]);
    case CTRL_MAC:
        if (head[1] == CTRL_MAC_ADDR) {
            return command_bytes(s, 2, s->mac, 6) ? CTRL_OK : CTRL_ERR;
        }
        return head[1] == CTRL_MAC_TABLE ? set_mac_table(s) : CTRL_ERR;
    case CTRL_VLAN:
        return head[1] <= CTRL_VLAN_DEL ? set_vlan(s, head[1] == CTRL_VLAN_ADD) : CTRL_ERR;
    case CTRL_MQ:
        return head[1] == 0 ? set_pairs(s) : CTRL_ERR;
    case CTRL_OFFLOADS:
        return head[1] == 0 ? set_offloads(s) : CTRL_ERR;
    default:
        return CTRL_ERR;
    }
}

/* Rings that overlap could make work for ever: no more than a queue holds at once. */
void virtio_net_run_control(struct virtio_net *s)
{
    unsigned q = virtio_net_control_queue(s);
    for (unsigned n = 0;
         n < VIRTIO_NET_QUEUE && virtio_ready(&s->v) && virtq_take(&s->v, q, &s->chain); n++) {
        if (s->chain.in_len < 1) {
            virtio_broken(&s->v, "a command without room for its answer");
            return;
        }
        uint8_t answer = control(s);
        virtq_write(&s->v, &s->chain, 0, &answer, 1);
        virtq_give(&s->v, q, s->chain.head, 1);
    }
}
