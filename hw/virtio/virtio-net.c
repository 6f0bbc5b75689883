/* SPDX-License-Identifier: MIT */
/* hw/virtio/virtio-net.c - the virtio network card: mergeable buffers, offloads, control queue.
 *
 *   queue 2n      receive: a frame fills one chain, or several with MRG_RXBUF
 *   queue 2n + 1  transmit: each chain a header and a frame
 *   behind them   control: filters, address, offloads, how many pairs are in use
 *
 * With mq=on there are as many pairs as the back end has; a driver that does not know MQ finds the control
 * queue behind the first pair. A frame comes by the pair that the back end chose.
 *
 * A frame's header says what its sender left undone; it passes to the back end, or is done by the
 * cable (net/nic.h). A frame that finds no buffers waits at the cable until the driver rings a receive queue.
 * One turn sends at most BUDGET chains, then a timer that is due at once goes on. Of short frames sent the
 * driver is told at most once in TELL_NS: interrupts are what they cost most, and free memory only.
 * Left out: RSS, UDP fragmentation, announcing after a migration.
 * Reference: virtio 1.2, 5.1.
 */
#include "hw/virtio/virtio-net.h"

#include "dm/base/bytes.h"
#include "hw/net/net-dev.h"

#include <errno.h>
#include <stdlib.h>

enum {
    QUEUE_SIZE = 256,
    CONFIG_LEN = 12, /* mac, status, queue pairs, MTU */
    BUDGET = 256,
    SHORT = 512, /* bytes of a frame */
    TELL_NS = 100000,
    SOON_NS = 40000, /* sooner than that the next frame brings it out, not the timer */
    MACS = 64,
    HDR_MAX = 12,

    S_LINK_UP = 1,
    HDR_NEEDS_CSUM = 1,
    HDR_DATA_VALID = 2,
    GSO_TCP4 = 1,
    GSO_TCP6 = 4,
    GSO_ECN = 0x80,

    CTRL_RX = 0,
    CTRL_RX_PROMISC = 0,
    CTRL_RX_NOBCAST = 5,
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
    bool rx_mode[CTRL_RX_NOBCAST + 1]; /* by command: promiscuous, all multicast, ... */
    uint8_t table[MACS][6];
    uint8_t ntable, first_multicast;
    bool unicast_overflow, multicast_overflow;
    uint32_t vlans[128];
    uint64_t offloads; /* F_GUEST_* bits in force */
    uint8_t pairs;     /* in use */
    uint8_t turn;      /* whose queue is served first */
    bool tx_full;
    struct vtimer tx_more;
    uint64_t tx_untold; /* pairs whose driver has not been told; a bit each */
    int64_t tx_told;    /* when it was, ns */
    struct vtimer tx_tell;

    uint8_t frame[HDR_MAX + NIC_FRAME_MAX]; /* in use within one call only */
    struct virtq_chain chain, first;        /* the same */
};

static struct virtio_net *net_of(struct virtio_dev *v)
{
    return (struct virtio_net *)v;
}

static unsigned rx_queue(unsigned pair)
{
    return 2 * pair;
}

static unsigned tx_queue(unsigned pair)
{
    return 2 * pair + 1;
}

static unsigned control_queue(const struct virtio_net *s)
{
    return 2 * (virtio_has(&s->v, F_MQ) ? s->max_pairs : 1);
}

static uint32_t header_len(const struct virtio_net *s)
{
    return virtio_has(&s->v, F_MRG_RXBUF) || virtio_has(&s->v, VIRTIO_F_VERSION_1) ? 12 : 10;
}

static bool link_is_up(const struct virtio_net *s)
{
    return s->net.nic == NULL || nic_link(s->net.nic);
}

/* ---- sending ---- */

static void parse_header(const uint8_t *p, struct nic_offload *o)
{
    uint8_t gso = p[1] & (uint8_t)~GSO_ECN;
    *o = (struct nic_offload){ .csum = p[0] & HDR_NEEDS_CSUM,
                               .ecn = p[1] & GSO_ECN,
                               .gso = gso == GSO_TCP4   ? NIC_GSO_TCP4
                                      : gso == GSO_TCP6 ? NIC_GSO_TCP6
                                                        : NIC_GSO_NONE,
                               .hdr_len = load_le16(p + 2),
                               .gso_size = load_le16(p + 4),
                               .csum_start = load_le16(p + 6),
                               .csum_offset = load_le16(p + 8) };
}

/* The frame of the chain just taken. False: the driver broke the rules. */
static bool send_chain(struct virtio_net *s, unsigned pair)
{
    struct virtq_chain *c = &s->chain;
    uint32_t head = header_len(s);
    struct nic_frame f = { s->frame + head, 0, { 0 }, (uint16_t)pair };
    if (c->out_len < head || c->out_len > head + NIC_FRAME_MAX) {
        virtio_broken(&s->v, "a frame without header, or too long");
        return false;
    }
    if (virtq_read(&s->v, c, 0, s->frame, c->out_len) != (int64_t)c->out_len) {
        return false;
    }
    f.len = (uint32_t)c->out_len - head;
    parse_header(s->frame, &f.off);
    if (f.len >= NIC_FRAME_MIN && link_is_up(s) && !nic_send(s->net.nic, &f)) {
        s->tx_full = true;
    }
    virtq_put(&s->v, tx_queue(pair), c->head, 0);
    return true;
}

static void tell_sent(void *opaque)
{
    struct virtio_net *s = opaque;
    uint64_t pairs = s->tx_untold;
    vtimer_disarm(&s->tx_tell);
    s->tx_untold = 0;
    s->tx_told = vclock_now(s->v.pci.dev.m);
    for (unsigned i = 0; pairs >> i; i++) {
        if (pairs >> i & 1) {
            virtq_tell(&s->v, tx_queue(i));
        }
    }
}

/* Frames of pair have been put; the longest has max bytes. */
static void sent(struct virtio_net *s, unsigned pair, uint32_t max)
{
    int64_t now = vclock_now(s->v.pci.dev.m), due = s->tx_told + TELL_NS;
    s->tx_untold |= 1ull << pair;
    if (max > SHORT || now >= due - SOON_NS) {
        tell_sent(s);
        return;
    }
    virtq_publish(&s->v, tx_queue(pair));
    if (!vtimer_armed(&s->tx_tell)) {
        vtimer_arm_at(&s->tx_tell, due);
    }
}

static void transmit(struct virtio_net *s, unsigned pair)
{
    uint32_t max = 0;
    unsigned n = 0;
    while (virtio_ready(&s->v) && !s->tx_full && !vtimer_armed(&s->tx_more)) {
        if (n == BUDGET) {
            vtimer_arm(&s->tx_more, 0);
            break;
        }
        if (!virtq_take(&s->v, tx_queue(pair), &s->chain) || !send_chain(s, pair)) {
            break;
        }
        max = s->chain.out_len > max ? (uint32_t)s->chain.out_len : max;
        n++;
    }
    if (n) {
        sent(s, pair, max);
    }
}

/* Another pair goes first each time, so that none starves behind a busy one. */
static void transmit_all(struct virtio_net *s)
{
    unsigned first = s->turn++;
    for (unsigned i = 0; i < s->pairs; i++) {
        transmit(s, (first + i) % s->pairs);
    }
}

static void tx_more(void *opaque)
{
    transmit_all(opaque);
}

static void writable(void *opaque)
{
    struct virtio_net *s = opaque;
    s->tx_full = false;
    transmit_all(s);
}

/* ---- receiving ---- */

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

/* rx_mode is in the order of the commands: PROMISC, ALLMULTI, ALLUNI, NOMULTI, NOUNI, NOBCAST. */
static bool address_passes(const struct virtio_net *s, const uint8_t *mac)
{
    if (s->rx_mode[0]) {
        return true;
    }
    if (mac_is_broadcast(mac)) {
        return !s->rx_mode[5];
    }
    if (mac_is_multicast(mac)) {
        return !s->rx_mode[3] && (s->rx_mode[1] || s->multicast_overflow || in_table(s, mac));
    }
    return !s->rx_mode[4] && (s->rx_mode[2] || s->unicast_overflow || memcmp(mac, s->mac, 6) == 0 ||
                              in_table(s, mac));
}

static void build_header(const struct nic_frame *f, uint8_t *p)
{
    const struct nic_offload *o = &f->off;
    memset(p, 0, HDR_MAX);
    p[0] = o->csum ? HDR_NEEDS_CSUM : o->good ? HDR_DATA_VALID : 0;
    p[1] = o->gso == NIC_GSO_TCP4 ? GSO_TCP4 : o->gso == NIC_GSO_TCP6 ? GSO_TCP6 : 0;
    if (o->gso != NIC_GSO_NONE && o->ecn) {
        p[1] |= GSO_ECN;
    }
    store_le(p + 2, 2, o->hdr_len);
    store_le(p + 4, 2, o->gso_size);
    store_le(p + 6, 2, o->csum_start);
    store_le(p + 8, 2, o->csum_offset);
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
        if (c->in_len < header_len(s) || (!mergeable && c->in_len < total)) {
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
    if (header_len(s) == 12) {
        store_le(count, 2, n);
        virtq_write(&s->v, &s->first, 10, count, 2);
    }
    for (unsigned i = 0; i < n; i++) {
        virtq_put(&s->v, rx, heads[i], lens[i]);
    }
    virtq_tell(&s->v, rx);
    return true;
}

static bool net_receive(void *opaque, const struct nic_frame *f)
{
    struct virtio_net *s = opaque;
    if (!machine_running(s->v.pci.dev.m)) {
        return false;
    }
    if (!virtio_ready(&s->v) || !pci_bus_master(&s->v.pci) || !address_passes(s, f->data) ||
        !vlan_passes(s, f)) {
        return true;
    }
    uint32_t head = header_len(s);
    struct nic_frame told = *f;
    told.off.good = f->off.good && s->offloads & F_GUEST_CSUM;
    build_header(&told, s->frame);
    memcpy(s->frame + head, f->data, f->len);
    return fill_chains(s, rx_queue(f->queue < s->pairs ? f->queue : 0), head + f->len);
}

static void link_changed(void *opaque)
{
    struct virtio_net *s = opaque;
    virtio_config_changed(&s->v);
}

static void rx_filter(void *opaque, struct nic_rx_filter *f)
{
    const struct virtio_net *s = opaque;
    memcpy(f->mac, s->mac, 6);
    f->promiscuous = s->rx_mode[0];
    f->broadcast_allowed = !s->rx_mode[5];
    f->unicast = s->rx_mode[4] ? NIC_RX_NONE : s->rx_mode[2] ? NIC_RX_ALL : NIC_RX_NORMAL;
    f->multicast = s->rx_mode[3] ? NIC_RX_NONE : s->rx_mode[1] ? NIC_RX_ALL : NIC_RX_NORMAL;
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

static const struct nic_user user = { net_receive, writable, link_changed, rx_filter };

/* ---- the control queue: 5.1.6.5 ---- */

/* len bytes of the command at off, or false. */
static bool command_bytes(struct virtio_net *s, uint64_t off, void *buf, uint32_t len)
{
    return s->chain.out_len >= off + len &&
           virtq_read(&s->v, &s->chain, off, buf, len) == (int64_t)len;
}

static uint8_t set_rx_mode(struct virtio_net *s, uint8_t command)
{
    uint8_t on;
    if (command > CTRL_RX_NOBCAST || !command_bytes(s, 2, &on, 1)) {
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
        *overflow = n > (unsigned)MACS - s->ntable;
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

static void apply_offloads(struct virtio_net *s)
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
    apply_offloads(s);
    return CTRL_OK;
}

static void use_pairs(struct virtio_net *s, unsigned n)
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
    use_pairs(s, load_le16(raw));
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
static void run_control(struct virtio_net *s)
{
    unsigned q = control_queue(s);
    for (unsigned n = 0; n < QUEUE_SIZE && virtio_ready(&s->v) && virtq_take(&s->v, q, &s->chain);
         n++) {
        if (s->chain.in_len < 1) {
            virtio_broken(&s->v, "a command without room for its answer");
            return;
        }
        uint8_t answer = control(s);
        virtq_write(&s->v, &s->chain, 0, &answer, 1);
        virtq_give(&s->v, q, s->chain.head, 1);
    }
}

/* ---- the transport's side ---- */

static void kick(struct virtio_dev *v, unsigned q)
{
    struct virtio_net *s = net_of(v);
    if (q == control_queue(s)) {
        run_control(s);
    } else if (q / 2 >= s->pairs) {
        return; /* not in use, or not yet */
    } else if (q == rx_queue(q / 2)) {
        nic_kick(s->net.nic);
    } else {
        transmit(s, q / 2);
    }
}

static void take_back(struct virtio_dev *v)
{
    struct virtio_net *s = net_of(v);
    memcpy(s->mac, s->net.mac, 6);
    memset(s->rx_mode, 0, sizeof(s->rx_mode));
    s->rx_mode[CTRL_RX_PROMISC] = true; /* until the driver says otherwise: it may lack CTRL_RX */
    memset(s->table, 0, sizeof(s->table));
    s->ntable = s->first_multicast = 0;
    s->unicast_overflow = s->multicast_overflow = false;
    memset(s->vlans, 0, sizeof(s->vlans));
    s->offloads = 0;
    s->tx_full = false;
    s->pairs = 1;
    s->turn = 0;
    s->tx_untold = 0;
    if (s->tx_more.m) {
        vtimer_disarm(&s->tx_more);
        vtimer_disarm(&s->tx_tell);
        apply_offloads(s);
        use_pairs(s, 1);
    }
}

static void features_set(struct virtio_dev *v)
{
    struct virtio_net *s = net_of(v);
    s->offloads = v->features & F_OFFLOADS;
    if (!virtio_has(v, F_CTRL_VLAN)) {
        memset(s->vlans, 0xff, sizeof(s->vlans));
    }
    apply_offloads(s);
}

static void config_read(struct virtio_dev *v, uint32_t off, uint8_t *buf, uint32_t size)
{
    const struct virtio_net *s = net_of(v);
    uint8_t c[CONFIG_LEN] = { 0 };
    memcpy(c, s->mac, 6);
    store_le(c + 6, 2, link_is_up(s) ? S_LINK_UP : 0);
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
        virtio_add_queue(&s->v, QUEUE_SIZE);
        virtio_add_queue(&s->v, QUEUE_SIZE);
    }
    virtio_add_queue(&s->v, QUEUE_SIZE);
    int ret = virtio_init(&s->v, &ops, e);
    s->v.host_features |= s->max_pairs > 1 ? F_MQ : 0;
    if (ret == 0) {
        ret = net_dev_init(&s->v.pci, &s->net, e);
    }
    if (ret < 0) {
        return ret;
    }
    vtimer_init(&s->tx_more, d->m, "virtio-net tx", tx_more, s);
    vtimer_init(&s->tx_tell, d->m, "virtio-net tell", tell_sent, s);
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
    apply_offloads(s);
    use_pairs(s, s->pairs);
    s->tx_untold = (1ull << s->pairs) - 1; /* to be told once too often is no harm */
    vtimer_arm(&s->tx_tell, 0);
    if (s->tx_full) { /* another back end, which has room */
        s->tx_full = false;
        vtimer_arm(&s->tx_more, 0);
    }
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
    FIELD_SUB(struct virtio_net, table, mac_state, MACS),
    FIELD_RANGE(struct virtio_net, ntable, 0, MACS),
    FIELD_RANGE(struct virtio_net, first_multicast, 0, MACS),
    FIELD(struct virtio_net, unicast_overflow),
    FIELD(struct virtio_net, multicast_overflow),
    FIELD_ARRAY(struct virtio_net, vlans),
    FIELD(struct virtio_net, offloads),
    FIELD_SINCE(struct virtio_net, pairs, 2),
    FIELD_SINCE(struct virtio_net, turn, 2),
    FIELD(struct virtio_net, tx_full),
    FIELD_TIMER(struct virtio_net, tx_more),
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
    .state_version = 2,
    .user_creatable = true,
    .init = virtio_net_init,
    .reset = virtio_net_reset,
    .loaded = virtio_net_loaded,
    .fini = virtio_net_fini,
};
