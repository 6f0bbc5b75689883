/* SPDX-License-Identifier: MIT */
/* net/offload.c - checksums and TCP segmentation in software.
 *
 * Every length is a guest's or a peer's word: headers are parsed within the bytes there are.
 * Reference: RFC 1071 (sum), RFC 791, RFC 8200, RFC 9293; virtio 1.2, 5.1.6 (meaning of the fields).
 */
#include "net/offload-int.h"

#include "dm/base/bytes.h"

#include <linux/virtio_net.h>
#include <string.h>

enum {
    ETH_VLAN = 0x8100,
    ETH_IP4 = 0x0800,
    ETH_IP6 = 0x86dd,
    PROTO_TCP = 6,
    PROTO_UDP = 17,
    TCP_SUM = 16,
    UDP_SUM = 6,
    TCP_FIN_PSH = 0x09,
    TCP_CWR = 0x80,
};

/* Where things are in a frame; l4 0: no whole TCP or UDP header. */
struct headers {
    uint32_t l3, l4, end; /* end: of the IP packet */
    uint8_t proto;
    bool v6, fragment;
};

uint64_t net_sum(uint64_t sum, const void *p, size_t len)
{
    const uint8_t *b = p;
    uint64_t a = 0, c = 0;
    for (; len >= 16; b += 16, len -= 16) {
        uint64_t x = load_le64(b), y = load_le64(b + 8);
        a += (x & UINT32_MAX) + (y & UINT32_MAX);
        c += (x >> 32) + (y >> 32);
    }
    for (; len >= 2; b += 2, len -= 2) {
        a += load_le16(b);
    }
    if (len) {
        a += *b;
    }
    a = (a & UINT32_MAX) + (a >> 32) + (c & UINT32_MAX) + (c >> 32);
    return sum + net_fold(a);
}

uint16_t net_fold(uint64_t sum)
{
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)sum;
}

uint32_t net_crc32(const uint8_t *p, size_t len)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        for (unsigned bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        }
    }
    return ~crc;
}

static bool parse_ip4(const uint8_t *p, uint32_t len, struct headers *h)
{
    if (h->l3 + 20 > len) {
        return false;
    }
    const uint8_t *ip = p + h->l3;
    uint32_t ihl = (ip[0] & 15) * 4u, total = load_be16(ip + 2);
    if (ip[0] >> 4 != 4 || ihl < 20 || h->l3 + ihl > len || total < ihl || h->l3 + total > len) {
        return false;
    }
    h->proto = ip[9];
    h->fragment = load_be16(ip + 6) & 0x3fff;
    h->l4 = h->l3 + ihl;
    h->end = h->l3 + total;
    return true;
}

static bool parse_ip6(const uint8_t *p, uint32_t len, struct headers *h)
{
    if (h->l3 + 40 > len || p[h->l3] >> 4 != 6) {
        return false;
    }
    h->v6 = true;
    h->proto = p[h->l3 + 6]; /* extension headers: no transport that we know */
    h->l4 = h->l3 + 40;
    h->end = h->l4 + load_be16(p + h->l3 + 4);
    return h->end <= len;
}

/* false: not IP, or cut short. The lengths inside the IP header count. */
static bool parse(const uint8_t *p, uint32_t len, struct headers *h)
{
    uint16_t type;
    *h = (struct headers){ .l3 = 14 };
    if (len < 14) {
        return false;
    }
    type = load_be16(p + 12);
    if (type == ETH_VLAN && len >= 18) {
        type = load_be16(p + 16);
        h->l3 = 18;
    }
    return type == ETH_IP4 ? parse_ip4(p, len, h) : type == ETH_IP6 && parse_ip6(p, len, h);
}

/* Sum of the pseudo header for l4_len bytes. */
static uint64_t pseudo(const uint8_t *p, const struct headers *h, uint32_t l4_len)
{
    uint64_t sum = h->v6 ? net_sum(0, p + h->l3 + 8, 32) : net_sum(0, p + h->l3 + 12, 8);
    return sum + (uint32_t)h->proto * 256u + __builtin_bswap16((uint16_t)l4_len);
}

unsigned nic_check_sums(const struct nic_frame *f)
{
    struct headers h;
    unsigned what = 0;
    if (!parse(f->data, f->len, &h)) {
        return 0;
    }
    what = h.v6 ? NIC_SUM_IP6 : NIC_SUM_IP;
    if (!h.v6 && net_fold(net_sum(0, f->data + h.l3, h.l4 - h.l3)) != 0xffff) {
        what |= NIC_SUM_IP_BAD;
    }
    uint32_t need = h.proto == PROTO_TCP ? 20 : 8;
    bool udp = h.proto == PROTO_UDP;
    if (h.fragment || (!udp && h.proto != PROTO_TCP) || h.end - h.l4 < need) {
        return what;
    }
    if (udp && load_le16(f->data + h.l4 + UDP_SUM) == 0) {
        return what; /* the sender left it away */
    }
    what |= udp ? NIC_SUM_UDP : NIC_SUM_TCP;
    if (!f->off.good && !f->off.csum &&
        net_fold(pseudo(f->data, &h, h.end - h.l4) + net_sum(0, f->data + h.l4, h.end - h.l4)) !=
            0xffff) {
        what |= NIC_SUM_L4_BAD;
    }
    return what;
}

void nic_put_sums(uint8_t *buf, uint32_t len, bool ip, bool tcp, bool udp)
{
    struct headers h;
    if (!parse(buf, len, &h) || h.v6) {
        return;
    }
    if (ip) {
        store_le(buf + h.l3 + 10, 2, 0);
        store_le(buf + h.l3 + 10, 2, (uint16_t)~net_fold(net_sum(0, buf + h.l3, h.l4 - h.l3)));
    }
    bool is_tcp = tcp && h.proto == PROTO_TCP, is_udp = udp && h.proto == PROTO_UDP;
    uint32_t l4_len = h.end - h.l4, at = h.l4 + (is_tcp ? TCP_SUM : UDP_SUM);
    if (h.fragment || (!is_tcp && !is_udp) || l4_len < (is_tcp ? 20u : 8u)) {
        return;
    }
    store_le(buf + at, 2, 0);
    uint16_t sum = (uint16_t)~net_fold(pseudo(buf, &h, l4_len) + net_sum(0, buf + h.l4, l4_len));
    store_le(buf + at, 2, is_udp && sum == 0 ? 0xffff : sum);
}

static void set_ip_len(uint8_t *p, const struct headers *h, uint32_t l4_len)
{
    uint8_t *ip = p + h->l3;
    if (h->v6) {
        store_be16(ip + 4, (uint16_t)l4_len);
        return;
    }
    store_be16(ip + 2, (uint16_t)(h->l4 - h->l3 + l4_len));
    store_le(ip + 10, 2, 0);
    store_le(ip + 10, 2, (uint16_t)~net_fold(net_sum(0, ip, h->l4 - h->l3)));
}

/* IP header and TCP header of a frame whose IP length may say anything. */
static bool parse_tcp(const uint8_t *p, uint32_t len, struct headers *h, uint32_t *payload)
{
    *h = (struct headers){ .l3 = 14 };
    if (len < 54 || len > NIC_FRAME_MAX) {
        return false;
    }
    uint16_t type = load_be16(p + 12);
    if (type == ETH_VLAN) {
        type = load_be16(p + 16);
        h->l3 = 18;
    }
    const uint8_t *ip = p + h->l3;
    h->v6 = type == ETH_IP6;
    uint32_t ihl = h->v6 ? 40 : (ip[0] & 15) * 4u;
    if ((type != ETH_IP4 && !h->v6) || ip[0] >> 4 != (h->v6 ? 6 : 4) || ihl < 20 ||
        h->l3 + ihl + 20 > len) {
        return false;
    }
    h->proto = h->v6 ? ip[6] : ip[9];
    h->fragment = !h->v6 && load_be16(ip + 6) & 0x3fff;
    h->l4 = h->l3 + ihl;
    h->end = len;
    uint32_t tcp_len = (p[h->l4 + 12] >> 4) * 4u;
    *payload = h->l4 + tcp_len;
    return h->proto == PROTO_TCP && !h->fragment && tcp_len >= 20 && *payload <= len &&
           len - h->l3 <= 65535;
}

bool nic_prepare_tso(uint8_t *buf, uint32_t len, uint32_t mss, struct nic_offload *off)
{
    struct headers h;
    uint32_t payload;
    if (!parse_tcp(buf, len, &h, &payload) || mss == 0 || mss > 65535) {
        return false;
    }
    set_ip_len(buf, &h, len - h.l4);
    store_le(buf + h.l4 + TCP_SUM, 2, net_fold(pseudo(buf, &h, len - h.l4)));
    *off = (struct nic_offload){ .csum = true,
                                 .csum_start = (uint16_t)h.l4,
                                 .csum_offset = TCP_SUM,
                                 .hdr_len = (uint16_t)payload };
    if (len - payload > mss) {
        off->gso = h.v6 ? NIC_GSO_TCP6 : NIC_GSO_TCP4;
        off->gso_size = (uint16_t)mss;
        off->ecn = buf[h.l4 + 13] & TCP_CWR;
    }
    return true;
}

/* The sum at csum_offset holds the pseudo header's. */
static bool finish_csum(uint8_t *p, uint32_t len, const struct nic_offload *off)
{
    uint32_t at = (uint32_t)off->csum_start + off->csum_offset;
    if (off->csum_start > len || at + 2 > len) {
        return false;
    }
    uint16_t sum = (uint16_t)~net_fold(net_sum(0, p + off->csum_start, len - off->csum_start));
    store_le(p + at, 2, sum == 0 && off->csum_offset == UDP_SUM ? 0xffff : sum);
    return true;
}

struct segmenter {
    struct headers h;
    uint32_t payload; /* where it begins */
    uint32_t seq;
    uint16_t ip_id;
    unsigned n;
};

/* Segment g->n: bytes [at, at + n) of f's payload behind its headers in out. */
static uint32_t make_segment(const struct segmenter *g, const struct nic_frame *f, uint8_t *out,
                             uint32_t at, uint32_t n)
{
    uint8_t *tcp = out + g->h.l4;
    uint32_t l4_len = g->payload - g->h.l4 + n;
    memcpy(out, f->data, g->payload);
    memcpy(out + g->payload, f->data + g->payload + at, n);
    if (!g->h.v6) {
        store_be16(out + g->h.l3 + 4, (uint16_t)(g->ip_id + g->n));
    }
    set_ip_len(out, &g->h, l4_len);
    store_be32(tcp + 4, g->seq + at);
    if (g->n) {
        tcp[13] &= (uint8_t)~TCP_CWR;
    }
    if (g->payload + at + n < f->len) {
        tcp[13] &= (uint8_t)~TCP_FIN_PSH;
    }
    store_le(tcp + TCP_SUM, 2, 0);
    store_le(tcp + TCP_SUM, 2,
             (uint16_t)~net_fold(pseudo(out, &g->h, l4_len) + net_sum(0, tcp, l4_len)));
    return g->payload + n;
}

static bool segment(const struct nic_frame *f, void (*emit)(void *, const struct nic_frame *),
                    void *opaque)
{
    uint8_t out[NIC_FRAME_MAX];
    struct segmenter g = { 0 };
    if (!parse_tcp(f->data, f->len, &g.h, &g.payload) || f->off.gso_size == 0) {
        return false;
    }
    g.seq = load_be32(f->data + g.h.l4 + 4);
    g.ip_id = g.h.v6 ? 0 : load_be16(f->data + g.h.l3 + 4);
    uint32_t total = f->len - g.payload, n;
    for (uint32_t at = 0; at < total; at += n, g.n++) {
        n = total - at < f->off.gso_size ? total - at : f->off.gso_size;
        struct nic_frame s = { out, make_segment(&g, f, out, at, n), { .good = true }, f->queue };
        emit(opaque, &s);
    }
    return true;
}

bool offload_do(const struct nic_frame *f, unsigned takes,
                void (*emit)(void *opaque, const struct nic_frame *f), void *opaque)
{
    uint8_t copy[NIC_FRAME_MAX];
    unsigned tso = f->off.gso == NIC_GSO_TCP6 ? NIC_TAKES_TSO6 : NIC_TAKES_TSO4;
    if (f->off.gso != NIC_GSO_NONE && !(takes & tso)) {
        return segment(f, emit, opaque);
    }
    if (f->off.csum && !(takes & NIC_TAKES_CSUM)) {
        struct nic_frame done = { copy, f->len, f->off, f->queue };
        memcpy(copy, f->data, f->len);
        if (!finish_csum(copy, f->len, &f->off)) {
            return false;
        }
        done.off.csum = false;
        done.off.good = true;
        emit(opaque, &done);
        return true;
    }
    emit(opaque, f);
    return true;
}

/* ---- the virtio header: virtio 1.2, 5.1.6 ---- */

void nic_offload_to_vnet(const struct nic_offload *o, uint8_t *p)
{
    memset(p, 0, VNET_HDR_LEN);
    p[0] = o->csum ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0;
    p[1] = o->gso == NIC_GSO_TCP4   ? VIRTIO_NET_HDR_GSO_TCPV4
           : o->gso == NIC_GSO_TCP6 ? VIRTIO_NET_HDR_GSO_TCPV6
                                    : VIRTIO_NET_HDR_GSO_NONE;
    if (o->gso != NIC_GSO_NONE && o->ecn) {
        p[1] |= VIRTIO_NET_HDR_GSO_ECN;
    }
    store_le(p + 2, 2, o->hdr_len);
    store_le(p + 4, 2, o->gso_size);
    store_le(p + 6, 2, o->csum_start);
    store_le(p + 8, 2, o->csum_offset);
}

void nic_offload_from_vnet(const uint8_t *p, struct nic_offload *o)
{
    uint8_t gso = p[1] & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;
    *o = (struct nic_offload){
        .csum = p[0] & VIRTIO_NET_HDR_F_NEEDS_CSUM,
        .good = p[0] & VIRTIO_NET_HDR_F_DATA_VALID,
        .ecn = p[1] & VIRTIO_NET_HDR_GSO_ECN,
        .gso = gso == VIRTIO_NET_HDR_GSO_TCPV4   ? NIC_GSO_TCP4
               : gso == VIRTIO_NET_HDR_GSO_TCPV6 ? NIC_GSO_TCP6
                                                 : NIC_GSO_NONE,
        .hdr_len = load_le16(p + 2),
        .gso_size = load_le16(p + 4),
        .csum_start = load_le16(p + 6),
        .csum_offset = load_le16(p + 8),
    };
}
