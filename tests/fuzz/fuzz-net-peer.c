/* SPDX-License-Identifier: MIT */
/* tests/fuzz/fuzz-net-peer.c - what comes to back ends from outside, and from a hostile guest to the user
 * network: the first byte says which. Stream and datagram peers, filter-redirector's stream, and
 * frames to libslirp (ARP, DHCP, TFTP, TCP and UDP of both families) in the same process.
 */
#include "net/net.h"

#include "dm/base/bytes.h"
#include "dm/base/chr.h"
#include "dm/base/log.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static unsigned refuse; /* frames that the card does not take at first */

static bool receive(void *opaque, const struct nic_frame *f)
{
    volatile uint8_t last = f->data[f->len - 1];
    (void)opaque, (void)last;
    return refuse == 0 || refuse-- == 0;
}

static const struct nic_user card = { .receive = receive };

static void turn(struct ev_loop *loop)
{
    for (int i = 0; i < 64 && ev_loop_turn(loop, 0) > 0; i++) {
    }
}

/* ---- a peer on a socket ---- */

static void socket_peer(struct ev_loop *loop, const uint8_t *data, size_t len, bool datagrams)
{
    int fd[2];
    struct err e = { 0 };
    if (socketpair(AF_UNIX, datagrams ? SOCK_DGRAM : SOCK_STREAM, 0, fd) < 0) {
        return;
    }
    struct net_address a = { .kind = NET_FD, .fd = fd[0] };
    struct stream_options so = { .addr = a };
    struct dgram_options dgo = { .local = a, .have_local = true };
    struct nic *n = datagrams ? net_dgram_new(loop, "d", "dgram", &dgo, &e)
                              : net_stream_new(loop, "s", "stream", &so, &e);
    if (!n) {
        close(fd[1]);
        return;
    }
    nic_attach(n, &card, NULL);
    for (size_t at = 0, piece; at < len; at += piece) {
        piece = 1 + data[at] % 97u * 31u;
        piece = piece < len - at ? piece : len - at;
        if (send(fd[1], data + at, piece, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
            break;
        }
        turn(loop);
        nic_kick(n);
    }
    turn(loop);
    nic_free(n);
    close(fd[1]);
}

/* ---- filter-redirector ---- */

static long chr_out(struct chr *c, const void *buf, size_t len)
{
    (void)c, (void)buf;
    return (long)len;
}

static bool none_send(struct nic *n, const struct nic_frame *f)
{
    (void)n, (void)f;
    return true;
}

static void redirector(struct ev_loop *loop, const uint8_t *data, size_t len, bool vnet)
{
    static const struct chr_ops chr_ops = { .kind = "fuzz", .write = chr_out };
    static const struct nic_ops ops = { .kind = "fuzz", .send = none_send };
    struct chr in = { .ops = &chr_ops, .id = (char *)"in", .open = true };
    struct chr out = { .ops = &chr_ops, .id = (char *)"out", .open = true };
    struct nic *n = nic_new(loop, "n", &ops);
    nic_attach(n, &card, NULL);
    nic_add_filter(n, net_mirror_new(&out, NULL, false, vnet));
    nic_add_filter(n, net_mirror_new(NULL, &in, true, vnet));
    for (size_t at = 0, piece; at < len; at += piece) {
        piece = 1 + data[at] % 61u * 13u;
        piece = piece < len - at ? piece : len - at;
        in.handlers->read(in.opaque, data + at, piece);
        if (data[at] == 0xee) {
            in.handlers->event(in.opaque, CHR_CLOSED);
        }
    }
    turn(loop);
    nic_free(n);
}

/* ---- a guest on the user network ---- */

/* Beginnings that get past the first checks: Ethernet and what follows. */
static const struct {
    uint8_t len, bytes[60];
} starts[] = {
    { 14, { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 8, 6 } },
    { 42, { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0,    0x12, 0x34, 0x56, 8, 0,
            0x45, 0,    1,    0x48, 0,    1,    0,    0,    0x40, 17,   0,    0,    0, 0,
            0,    0,    0xff, 0xff, 0xff, 0xff, 0,    68,   0,    67,   1,    0x34, 0, 0 } },
    { 42, { 0x52, 0x55, 10, 0,    2, 2, 0x52, 0x54, 0,    0x12, 0x34, 0x56, 8,  0,
            0x45, 0,    0,  0x80, 0, 1, 0,    0,    0x40, 17,   0,    0,    10, 0,
            2,    15,   10, 0,    2, 2, 7,    0xd0, 0,    69,   0,    0x6c, 0,  0 } },
    { 38, { 0x52, 0x55, 10, 0,  2,    2, 0x52, 0x54, 0,    0x12, 0x34, 0x56, 8,
            0,    0x45, 0,  0,  0x60, 0, 1,    0,    0,    0x40, 6,    0,    0,
            10,   0,    2,  15, 10,   0, 2,    2,    0x10, 0,    0,    80 } },
    { 20, { 0x33, 0x33, 0,    0,    0,    2, 0x52, 0x54, 0, 0x12,
            0x34, 0x56, 0x86, 0xdd, 0x60, 0, 0,    0,    0, 16 } },
};

/* IPv4's header sum, which the library looks at. */
static void sum_header(uint8_t *p, size_t len)
{
    size_t head = (size_t)(p[14] & 15) * 4;
    if (len >= 34 && p[12] == 8 && p[13] == 0 && 14 + head <= len) {
        store_le(p + 24, 2, 0);
        store_le(p + 24, 2, (uint16_t)~net_fold(net_sum(0, p + 14, head)));
    }
}

static void guest(struct ev_loop *loop, const uint8_t *data, size_t len)
{
    struct user_options o;
    struct err e = { 0 };
    static uint8_t frame[NIC_FRAME_MAX];
    net_user_defaults(&o);
    o.restricted = true;
    o.tftp = "/usr/share/doc/libslirp0";
    o.bootfile = "copyright";
    struct nic *n = net_user_new(loop, "u", &o, &e);
    if (!n) {
        abort();
    }
    nic_attach(n, &card, NULL);
    for (size_t at = 0; at + 4 < len;) {
        size_t k = data[at] % (sizeof(starts) / sizeof(starts[0]) + 1),
               size = load_le16(data + at + 1);
        size_t have = 0, body = data[at + 3];
        if (k < sizeof(starts) / sizeof(starts[0])) {
            have = starts[k].len;
            memcpy(frame, starts[k].bytes, have);
        }
        at += 4;
        body = body < len - at ? body : len - at;
        memcpy(frame + have, data + at, body);
        at += body;
        memset(frame + have + body, (int)body, 2000);
        sum_header(frame, have + body);
        struct nic_frame f = { frame, (uint32_t)(size % 2000), { 0 }, 0 };
        nic_send(n, &f);
        turn(loop);
    }
    usleep(len > 100 ? 300 : 0); /* the library's thread has something to look at */
    turn(loop);
    nic_free(n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 2) {
        return 0;
    }
    struct ev_loop *loop = ev_loop_new(NULL, NULL, NULL);
    log_set_level(-1);
    refuse = data[1] % 4;
    switch (data[0] % 8) {
    case 0: /* the slowest: a thread each */
        guest(loop, data + 2, len - 2);
        break;
    case 1:
    case 2:
        redirector(loop, data + 2, len - 2, data[1] & 4);
        break;
    default:
        socket_peer(loop, data + 2, len - 2, data[0] & 1);
        break;
    }
    ev_loop_free(loop);
    return 0;
}
