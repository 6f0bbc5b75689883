/* SPDX-License-Identifier: MIT */
/* dm/chardev/chr-socket.c - a stream socket: unix, TCP, or a descriptor somebody opened for us.
 *
 * A server serves one peer at a time; others wait in the backlog until it leaves, and then the
 * next one is taken. Descriptors that a peer passes (SCM_RIGHTS) queue up until the device takes
 * them and are closed when the peer leaves. A client connects once, at the start; with reconnect= it tries
 * again every so often, from the start on, without ever waiting.
 * Left out: TLS, telnet, WebSocket.
 */
#include "dm/chardev/chardev-int.h"

#include "dm/base/log.h"
#include "dm/base/sock.h"
#include "dm/base/util.h"
#include "dm/keyval.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ACCEPT_AGAIN_NS 500000000ll
#define MAX_FDS 16 /* waiting to be taken; SCM_MAX_FD is far more than anybody needs */

struct chr_socket {
    struct stream s;
    struct ev_fd
        listener; /* a server's; or a client's connection that is being made; fd -1: none */
    struct ev_timer
        retry; /* armed while accept has nothing to put a connection in, or until reconnect_ns */
    struct sock_addr to;  /* a client's */
    int64_t reconnect_ns; /* 0: never */
    struct log_limit retry_log;
    int peer; /* -1: nobody */
    bool server, wait, nodelay;
    char *where;  /* "unix:/path" or "tcp:host:port", what to say while nobody is there */
    char *unlink; /* the path we bound, to be removed; NULL otherwise */
    int fds[MAX_FDS];
    unsigned nfds;
};

/* The name of fd's own end, or of its peer's. */
static char *socket_text(int fd, bool peer)
{
    struct sock_addr a = { .len = sizeof(a.ss) };
    int ret = peer ? getpeername(fd, (struct sockaddr *)&a.ss, &a.len)
                   : getsockname(fd, (struct sockaddr *)&a.ss, &a.len);
    return ret < 0 ? xstrdup("socket") : sock_text(&a);
}

static void show_filename(struct chr_socket *k)
{
    const char *role = k->server ? ",server=on" : "";
    char *peer;
    if (k->peer < 0) {
        chardev_set_filename(&k->s.d, xasprintf("disconnected:%s%s", k->where, role));
    } else if (!strncmp(k->where, "tcp:", 4)) {
        peer = socket_text(k->peer, true);
        chardev_set_filename(&k->s.d, xasprintf("%s%s <-> %s", k->where, role,
                                                !strncmp(peer, "tcp:", 4) ? peer + 4 : peer));
        free(peer);
    } else {
        chardev_set_filename(&k->s.d, xasprintf("%s%s", k->where, role));
    }
}

static void drop_fds(struct chr_socket *k)
{
    while (k->nfds > 0) {
        close(k->fds[--k->nfds]);
    }
}

static void keep_fds(struct chr_socket *k, struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (k->nfds < MAX_FDS) {
                k->fds[k->nfds++] = fd;
            } else {
                close(fd);
            }
        }
    }
}

static long socket_recv(struct stream *s, void *buf, size_t len)
{
    struct chr_socket *k = (struct chr_socket *)s;
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int) * MAX_FDS)];
    } control;
    struct iovec iov = { buf, len };
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
    };
    long n = recvmsg(k->peer, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n > 0) {
        keep_fds(k, &msg);
    }
    return n;
}

static int socket_take_fd(struct chr *c)
{
    struct chr_socket *k = (struct chr_socket *)c;
    int fd;
    if (k->nfds == 0) {
        return -1;
    }
    fd = k->fds[0];
    k->nfds--;
    memmove(k->fds, k->fds + 1, k->nfds * sizeof(k->fds[0]));
    return fd;
}

static void listen_again(void *opaque)
{
    struct chr_socket *k = opaque;
    if (k->listener.fd >= 0 && !k->listener.loop && k->peer < 0) {
        ev_fd_add(k->s.d.loop, &k->listener);
    }
}

static void connect_later(struct chr_socket *k)
{
    if (k->reconnect_ns) {
        (void)sock_turn(&k->to); /* each try at another of the name's addresses */
        ev_timer_arm(k->s.d.loop, &k->retry, ev_now_ns() + k->reconnect_ns);
    }
}

static void socket_ended(struct stream *s)
{
    struct chr_socket *k = (struct chr_socket *)s;
    stream_close(s);
    close(k->peer);
    k->peer = -1;
    drop_fds(k);
    show_filename(k);
    if (k->server) {
        listen_again(k);
    }
    connect_later(k);
    chardev_set_open(&s->d, false);
}

static void socket_disconnect(struct chr *c)
{
    if (((struct chr_socket *)c)->peer >= 0) {
        socket_ended((struct stream *)c);
    }
}

static void adopt_peer(struct chr_socket *k, int fd)
{
    int one = 1;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    if (k->nodelay) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* no-op on unix sockets */
    }
    k->peer = fd;
    if (k->listener.loop) {
        ev_fd_del(&k->listener);
    }
    stream_open(&k->s, fd, fd);
    show_filename(k);
    chardev_set_open(&k->s.d, true);
}

static void socket_accept(void *opaque, unsigned events)
{
    struct chr_socket *k = opaque;
    int fd = accept4(k->listener.fd, NULL, NULL, SOCK_CLOEXEC);
    (void)events;
    if (fd >= 0) {
        adopt_peer(k, fd);
    } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
        /* Out of descriptors, most likely: the connection stays in the backlog, and watching on
         * would spin. */
        log_limited(&k->retry_log, "chardev", "%s: accept: %s: trying again", k->s.d.c.id,
                    strerror(errno));
        ev_fd_del(&k->listener);
        ev_timer_arm(k->s.d.loop, &k->retry, ev_now_ns() + ACCEPT_AGAIN_NS);
    }
}

/* The connection under way is made, or is not. */
static void socket_connected(void *opaque, unsigned events)
{
    struct chr_socket *k = opaque;
    int err = 0, fd = k->listener.fd;
    socklen_t len = sizeof(err);
    (void)events;
    ev_fd_del(&k->listener);
    k->listener.fd = -1;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0 || err) {
        close(fd);
        connect_later(k);
        return;
    }
    adopt_peer(k, fd);
}

static void connect_again(void *opaque)
{
    struct chr_socket *k = opaque;
    int fd = socket(k->to.ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int ret = fd < 0 ? -1 : connect(fd, (const struct sockaddr *)&k->to.ss, k->to.len);
    if (ret == 0) {
        adopt_peer(k, fd);
        return;
    }
    k->listener =
        (struct ev_fd){ .fd = fd, .events = EV_WRITE, .cb = socket_connected, .opaque = k };
    if (fd >= 0 && errno == EINPROGRESS && ev_fd_add(k->s.d.loop, &k->listener) == 0) {
        return;
    }
    if (fd >= 0) {
        close(fd);
    }
    k->listener.fd = -1;
    connect_later(k);
}

static long socket_write_fd(struct chr *c, const void *buf, size_t len, int fd)
{
    struct chr_socket *k = (struct chr_socket *)c;
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control = { .space = { 0 } };
    struct iovec iov = { (void *)buf, len };
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
    };
    struct cmsghdr *m = CMSG_FIRSTHDR(&msg);
    m->cmsg_level = SOL_SOCKET;
    m->cmsg_type = SCM_RIGHTS;
    m->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(m), &fd, sizeof(int));
    long n = k->peer < 0 ? -1 : sendmsg(k->peer, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? k->peer < 0 ? -ENOTCONN : -errno : n;
}

static long socket_write(struct chr *c, const void *buf, size_t len)
{
    struct chr_socket *k = (struct chr_socket *)c;
    if (k->peer < 0) {
        chardev_log(&k->s.d, buf, len);
        return (long)len;
    }
    return stream_write(c, buf, len);
}

static void socket_free(struct chr *c)
{
    struct chr_socket *k = (struct chr_socket *)c;
    stream_close(&k->s);
    drop_fds(k);
    if (k->peer >= 0) {
        close(k->peer);
    }
    ev_timer_disarm(&k->retry);
    if (k->listener.loop) {
        ev_fd_del(&k->listener);
    }
    if (k->listener.fd >= 0) {
        close(k->listener.fd);
    }
    if (k->unlink) {
        unlink(k->unlink);
    }
    free(k->unlink);
    free(k->where);
    chardev_fini(&k->s.d);
    free(k);
}

static const struct chr_ops socket_ops = {
    .kind = "socket",
    .write = socket_write,
    .write_fd = socket_write_fd,
    .kick = stream_kick,
    .take_fd = socket_take_fd,
    .disconnect = socket_disconnect,
    .free = socket_free,
};

/* fd=N: the toolstack opened it; a server's may already have a connection waiting. */
static int adopt_fd(uint32_t fd, bool server, struct err *e)
{
    int listening = 0;
    socklen_t len = sizeof(listening);
    if (getsockopt((int)fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0) {
        return err_set(e, -errno, "fd=%u: %s", fd, strerror(errno));
    }
    if (server != (listening != 0)) {
        return err_set(e, -EINVAL, "fd=%u: the socket %s", fd,
                       listening ? "is listening: server=on is missing" : "is not listening");
    }
    fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    fcntl((int)fd, F_SETFL, fcntl((int)fd, F_GETFL) | O_NONBLOCK);
    return (int)fd;
}

/* A client's first try. -1 without e: nobody is there yet, and it will be tried again. */
static int first_try(struct chr_socket *k, struct err *e)
{
    int fd = sock_connect(&k->to, e);
    if (fd < 0 && k->reconnect_ns) {
        *e = (struct err){ 0 };
        return -1;
    }
    return fd;
}

static int open_socket(struct chr_socket *k, struct keyval *kv, struct err *e)
{
    const char *path = keyval_get(kv, "path"), *host = keyval_get(kv, "host");
    const char *port = keyval_get(kv, "port");
    struct sock_addr a = { .len = 0 };
    uint32_t fd = UINT32_MAX;
    int ret = keyval_u32(kv, "fd", &fd, e);
    if (ret < 0) {
        return ret;
    }
    if ((path != NULL) + (port != NULL) + (fd != UINT32_MAX) != 1) {
        return err_set(e, -EINVAL, "exactly one of path, port and fd is needed");
    }
    if (fd != UINT32_MAX && k->reconnect_ns) {
        return err_set(e, -EINVAL, "fd=%u: not together with reconnect=", fd);
    }
    if (fd != UINT32_MAX) {
        return adopt_fd(fd, k->server, e);
    }
    ret = path ? sock_unix(path, &a, e) : sock_inet(host, port, k->server, &a, e);
    if (ret < 0) {
        return ret;
    }
    k->to = a;
    ret = k->server ? sock_listen(&a, e) : first_try(k, e);
    if (ret >= 0 && k->server && path) {
        k->unlink = xstrdup(path);
    }
    return ret;
}

/* wait=on: the machine does not start before somebody is there. */
static void wait_for_peer(struct chr_socket *k)
{
    int flags = fcntl(k->listener.fd, F_GETFL), fd;
    fcntl(k->listener.fd, F_SETFL, flags & ~O_NONBLOCK);
    do {
        fd = accept4(k->listener.fd, NULL, NULL, SOCK_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    fcntl(k->listener.fd, F_SETFL, flags);
    if (fd >= 0) {
        adopt_peer(k, fd);
    }
}

static int reconnect_option(struct chr_socket *k, struct keyval *kv, struct err *e)
{
    uint32_t s = 0, ms = 0;
    if (keyval_u32(kv, "reconnect", &s, e) < 0 || keyval_u32(kv, "reconnect-ms", &ms, e) < 0) {
        return e->code;
    }
    if (s && ms) {
        return err_set(e, -EINVAL, "reconnect=%u: not together with reconnect-ms=", s);
    }
    if ((s || ms) && k->server) {
        return err_set(e, -EINVAL, "%s: for a client, not with server=on",
                       s ? "reconnect" : "reconnect-ms");
    }
    k->reconnect_ns = s ? s * 1000000000ll : ms * 1000000ll;
    return 0;
}

static int socket_options(struct chr_socket *k, struct keyval *kv, struct err *e)
{
    bool delay = true;
    int ret;
    if ((ret = keyval_bool(kv, "server", &k->server, e)) < 0 ||
        (ret = keyval_bool(kv, "delay", &delay, e)) < 0) {
        return ret;
    }
    k->nodelay = !delay;
    k->wait = k->server;
    if ((ret = keyval_bool(kv, "nodelay", &k->nodelay, e)) < 0 ||
        (ret = keyval_bool(kv, "wait", &k->wait, e)) < 0) {
        return ret;
    }
    if (k->wait && !k->server) {
        return err_set(e, -EINVAL, "wait=on needs server=on");
    }
    return reconnect_option(k, kv, e);
}

struct chr *chr_socket_new(struct ev_loop *loop, const char *id, struct keyval *kv, struct err *e)
{
    struct chr_socket *k = xcalloc(1, sizeof(*k));
    int fd = socket_options(k, kv, e);
    fd = fd < 0 ? fd : open_socket(k, kv, e);
    if (fd < 0 && e->code) {
        free(k);
        return NULL;
    }
    chardev_init(&k->s.d, loop, &socket_ops, id, NULL);
    k->s.in.fd = k->s.out.fd = k->listener.fd = k->peer = -1;
    k->s.recv = socket_recv;
    k->s.ended = socket_ended;
    k->where = fd < 0 ? sock_text(&k->to) : socket_text(fd, !k->server);
    k->retry = (struct ev_timer){ .cb = k->server ? listen_again : connect_again, .opaque = k };
    if (!k->server && fd < 0) {
        show_filename(k);
        connect_later(k);
        return &k->s.d.c;
    }
    if (!k->server) {
        adopt_peer(k, fd);
        return &k->s.d.c;
    }
    k->listener = (struct ev_fd){ .fd = fd, .events = EV_READ, .cb = socket_accept, .opaque = k };
    if (k->wait) {
        wait_for_peer(k);
    } else {
        show_filename(k);
        ev_fd_add(loop, &k->listener);
    }
    return &k->s.d.c;
}
