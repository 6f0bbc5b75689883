/* SPDX-License-Identifier: MIT */
/* net/stream.c - frames on a stream socket: four bytes of length, big-endian, then the frame.
 *
 * That is what QEMU's `stream` and `socket,listen=/connect=` and passt speak. A server has one peer
 * at a time and listens again when it left; a client may try again every so often. Without a peer
 * frames are dropped, as on a cable with nothing at its other end. A length that no frame has ends
 * the connection: there is no way to find the next frame.
 *
 * What the socket does not take waits in a buffer of bounded size; the card is told to stop while
 * it is over half full.
 */
#include "net/socket-int.h"

#include "dm/base/bytes.h"
#include "dm/base/log.h"
#include "dm/base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

enum { BATCH = 64, OUT_MAX = 512 << 10, RETRY = 1000 * 1000, CONNECT_MS = 10000 };

struct net_stream {
    struct nic *n;
    struct ev_loop *loop;
    bool server, connecting, reading;
    struct sock_addr addr;
    char *where, *unlink;
    const char *kind;
    int64_t reconnect_ns; /* 0: never */
    struct ev_timer retry;
    struct ev_fd listener, peer; /* fd -1: none */
    struct log_limit log;

    uint8_t in[4 + NIC_FRAME_MAX];
    size_t in_len;
    uint8_t *out; /* out_max bytes */
    size_t out_at, out_len;
    bool full;
};

static void show(struct net_stream *s)
{
    free(s->n->info);
    s->n->info = xasprintf("%s%s", s->where,
                           s->peer.fd < 0  ? s->server ? " (listening)" : " (not connected)"
                           : s->connecting ? " (connecting)"
                                           : " (connected)");
}

static void watch(struct net_stream *s)
{
    if (s->peer.loop) {
        ev_fd_set(&s->peer, (s->reading && !s->connecting ? EV_READ : 0) |
                                (s->out_len || s->connecting ? EV_WRITE : 0));
    }
}

static void no_longer_full(struct net_stream *s)
{
    if (s->full) {
        s->full = false;
        nic_writable(s->n);
    }
}

static void try_later(struct net_stream *s)
{
    if (!s->server && s->reconnect_ns) {
        ev_timer_arm(s->loop, &s->retry, ev_now_ns() + s->reconnect_ns);
    }
}

static void drop_peer(struct net_stream *s)
{
    ev_fd_del(&s->peer);
    close(s->peer.fd);
    s->peer.fd = -1;
    s->in_len = s->out_at = s->out_len = 0;
    s->connecting = false;
    show(s);
    if (s->server && s->listener.fd >= 0) {
        ev_fd_add(s->loop, &s->listener);
    }
    try_later(s);
    no_longer_full(s);
}

/* ---- towards the card ---- */

/* Hands over the whole frames in s->in, as many as the card takes. False: the peer is gone. */
static bool parse(struct net_stream *s)
{
    size_t at = 0;
    while (s->in_len - at >= 4 && s->reading) {
        uint32_t len = load_be32(s->in + at);
        if (len > NIC_FRAME_MAX) {
            log_limited(&s->log, s->n->id, "a peer's frame of %u bytes: connection closed", len);
            drop_peer(s);
            return false;
        }
        if (s->in_len - at < 4 + len) {
            break;
        }
        struct nic_frame f = { s->in + at + 4, len, { 0 }, 0 };
        at += 4 + len;
        s->reading = nic_deliver(s->n, &f);
    }
    memmove(s->in, s->in + at, s->in_len - at);
    s->in_len -= at;
    return true;
}

static void readable(struct net_stream *s)
{
    for (int i = 0; i < BATCH && s->reading; i++) {
        ssize_t n = recv(s->peer.fd, s->in + s->in_len, sizeof(s->in) - s->in_len, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (n <= 0) {
            drop_peer(s);
            return;
        }
        s->in_len += (size_t)n;
        if (!parse(s)) {
            return;
        }
    }
}

static void stream_resume(struct nic *n)
{
    struct net_stream *s = n->priv;
    s->reading = true;
    if (s->peer.fd >= 0 && parse(s)) {
        watch(s);
    }
}

/* ---- from the card ---- */

static void flush(struct net_stream *s)
{
    while (s->out_len) {
        ssize_t n = send(s->peer.fd, s->out + s->out_at, s->out_len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            break;
        }
        if (n < 0) {
            drop_peer(s);
            return;
        }
        s->out_at += (size_t)n;
        s->out_len -= (size_t)n;
    }
    if (s->out_len < OUT_MAX / 4) {
        no_longer_full(s);
    }
}

static void keep(struct net_stream *s, const void *p, size_t len)
{
    if (s->out_at + s->out_len + len > OUT_MAX) {
        memmove(s->out, s->out + s->out_at, s->out_len);
        s->out_at = 0;
    }
    memcpy(s->out + s->out_at + s->out_len, p, len);
    s->out_len += len;
}

static bool stream_send(struct nic *n, const struct nic_frame *f)
{
    struct net_stream *s = n->priv;
    uint8_t head[4];
    if (s->peer.fd < 0 || s->connecting || s->out_len + 4 + f->len > OUT_MAX) {
        n->tx.dropped++;
        return true;
    }
    store_be32(head, f->len);
    ssize_t done = 0;
    if (!s->out_len) {
        struct iovec iov[2] = { { head, 4 }, { (void *)f->data, f->len } };
        struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
        done = sendmsg(s->peer.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
        done = done < 0 ? 0 : done; /* an error shows again at the next turn */
    }
    if (done < 4) {
        keep(s, head + done, (size_t)(4 - done));
        done = 4;
    }
    if ((size_t)done < 4 + f->len) {
        keep(s, f->data + done - 4, 4 + f->len - (size_t)done);
    }
    if (s->out_len) {
        watch(s);
    }
    s->full = s->out_len > OUT_MAX / 2;
    return !s->full;
}

/* ---- connections ---- */

/* The next try is at the name's other address. */
static bool turn(struct net_stream *s)
{
    if (!sock_turn(&s->addr)) {
        return false;
    }
    free(s->where);
    s->where = net_address_text(&s->addr, "tcp");
    return true;
}

static void connected(struct net_stream *s)
{
    int err = 0, one = 1;
    socklen_t len = sizeof(err);
    getsockopt(s->peer.fd, SOL_SOCKET, SO_ERROR, &err, &len);
    if (err) {
        log_limited(&s->log, s->n->id, "%s: %s", s->where, strerror(err));
        turn(s);
        drop_peer(s);
        return;
    }
    s->connecting = false;
    setsockopt(s->peer.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    show(s);
}

static void peer_event(void *opaque, unsigned events)
{
    struct net_stream *s = opaque;
    if (s->connecting) {
        connected(s);
    } else if (events & EV_WRITE) {
        flush(s);
    }
    if (s->peer.fd >= 0 && !s->connecting && events & (EV_READ | EV_HANGUP)) {
        readable(s);
    }
    watch(s);
}

static int add_peer(struct net_stream *s, int fd, bool connecting)
{
    int one = 1;
    s->peer = (struct ev_fd){
        .fd = fd, .events = connecting ? EV_WRITE : EV_READ, .cb = peer_event, .opaque = s
    };
    s->connecting = connecting;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    int ret = ev_fd_add(s->loop, &s->peer);
    show(s);
    watch(s);
    return ret;
}

static void accept_event(void *opaque, unsigned events)
{
    struct net_stream *s = opaque;
    int fd = accept4(s->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    (void)events;
    if (fd >= 0) {
        ev_fd_del(&s->listener);
        add_peer(s, fd, false);
    }
}

/* 0, or -errno: nobody is there. */
static int try_connect(struct net_stream *s)
{
    int fd = socket(s->addr.ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    int ret = connect(fd, (struct sockaddr *)&s->addr.ss, s->addr.len);
    if (ret < 0 && errno != EINPROGRESS) {
        ret = -errno;
        close(fd);
        return ret;
    }
    return add_peer(s, fd, ret < 0);
}

static void retry(void *opaque)
{
    struct net_stream *s = opaque;
    if (try_connect(s) < 0) {
        turn(s);
        try_later(s);
    }
}

static int start_server(struct net_stream *s, const struct net_address *a, struct err *e)
{
    int fd = a->kind == NET_FD ? a->fd : sock_listen(&s->addr, e);
    s->listener = (struct ev_fd){ .fd = fd, .events = EV_READ, .cb = accept_event, .opaque = s };
    if (fd < 0) {
        return e->code;
    }
    if (a->kind == NET_FD) {
        fcntl(fd, F_SETFL, O_NONBLOCK);
    } else {
        s->unlink = a->kind == NET_UNIX && !a->abstract ? xstrdup(a->path) : NULL;
    }
    if ((a->kind == NET_FD && listen(fd, 1) < 0) || ev_fd_add(s->loop, &s->listener) < 0) {
        return err_set(e, -errno, "%s: %s", s->where, strerror(errno));
    }
    return 0;
}

/* No other try is to come: whoever starts us wants to know. */
static int wait_connected(struct net_stream *s)
{
    struct pollfd p = { s->peer.fd, POLLOUT, 0 };
    int err = 0, n = poll(&p, 1, CONNECT_MS);
    socklen_t len = sizeof(err);
    getsockopt(s->peer.fd, SOL_SOCKET, SO_ERROR, &err, &len);
    s->connecting = n <= 0 || err;
    watch(s);
    return n == 0 ? -ETIMEDOUT : n < 0 ? -errno : -err;
}

static int first_try(struct net_stream *s)
{
    int ret = try_connect(s);
    return ret == 0 && s->connecting && !s->reconnect_ns ? wait_connected(s) : ret;
}

static int start(struct net_stream *s, const struct stream_options *o, struct err *e)
{
    if (o->addr.kind == NET_FD) {
        s->where = xasprintf("fd=%d", o->addr.fd);
        if (fcntl(o->addr.fd, F_GETFD) < 0) {
            return err_set(e, -EBADF, "%s: not an open descriptor", s->where);
        }
    } else if (net_resolve(&o->addr, SOCK_STREAM, o->server, &s->addr, e) < 0) {
        return e->code;
    } else {
        s->where = net_address_text(&s->addr, "tcp");
    }
    if (o->server) {
        return start_server(s, &o->addr, e);
    }
    int ret = o->addr.kind == NET_FD ? add_peer(s, o->addr.fd, false) : first_try(s);
    if (ret < 0 && turn(s)) {
        if (s->peer.fd >= 0) {
            drop_peer(s);
        }
        ret = first_try(s);
    }
    if (ret < 0 && s->reconnect_ns) {
        try_later(s);
        return 0;
    }
    return ret < 0 ? err_set(e, ret, "%s: %s", s->where, strerror(-ret)) : 0;
}

static void stream_free(struct nic *n)
{
    struct net_stream *s = n->priv;
    ev_timer_disarm(&s->retry);
    for (int i = 0; i < 2; i++) {
        struct ev_fd *f = i ? &s->peer : &s->listener;
        if (f->loop) {
            ev_fd_del(f);
        }
        if (f->fd >= 0) {
            close(f->fd);
        }
    }
    if (s->unlink) {
        unlink(s->unlink);
    }
    free(s->unlink);
    free(s->where);
    free(s->out);
    free(s);
}

struct nic *net_stream_new(struct ev_loop *loop, const char *id, const char *kind,
                           const struct stream_options *o, struct err *e)
{
    static const struct nic_ops ops = {
        .kind = "stream", .send = stream_send, .resume = stream_resume, .free = stream_free
    };
    static const struct nic_ops socket_ops = {
        .kind = "socket", .send = stream_send, .resume = stream_resume, .free = stream_free
    };
    struct nic *n = nic_new(loop, id, strcmp(kind, "socket") == 0 ? &socket_ops : &ops);
    struct net_stream *s = xcalloc(1, sizeof(*s));
    n->priv = s;
    s->n = n;
    s->loop = loop;
    s->server = o->server;
    s->reading = true;
    s->reconnect_ns = (int64_t)o->reconnect_ms * RETRY;
    s->retry = (struct ev_timer){ .cb = retry, .opaque = s };
    s->listener.fd = s->peer.fd = -1;
    s->out = xcalloc(1, OUT_MAX);
    if (start(s, o, e) < 0) {
        nic_free(n);
        return NULL;
    }
    show(s);
    return n;
}
