/* SPDX-License-Identifier: MIT */
/* net/dgram.c - a frame a datagram: UDP to one peer, to a multicast group, or on a unix socket.
 *
 * The net has no order and no back pressure; what the socket does not take is lost. With a
 * multicast group as remote the socket joins it and hears itself not. A datagram from elsewhere
 * than the peer is taken too, as QEMU does: who can reach the port can send frames (docs/network.md).
 */
#include "net/socket-int.h"

#include "dm/base/log.h"
#include "dm/base/util.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BATCH = 64 };

struct net_dgram {
    struct nic *n;
    struct ev_fd fd;
    struct sock_addr remote, self; /* self: multicast, to know our own frames */
    bool multicast;
    int sender; /* multicast; -1: none */
    char *unlink;
    uint8_t in[NIC_FRAME_MAX];
};

static bool own(const struct net_dgram *d, const struct sockaddr_storage *from)
{
    const struct sockaddr_in *a = (const struct sockaddr_in *)from,
                             *b = (const struct sockaddr_in *)&d->self.ss;
    return d->multicast && a->sin_family == AF_INET && a->sin_port == b->sin_port &&
           a->sin_addr.s_addr == b->sin_addr.s_addr;
}

static void dgram_event(void *opaque, unsigned events)
{
    struct net_dgram *d = opaque;
    (void)events;
    for (int i = 0; i < BATCH; i++) {
        struct sockaddr_storage from = { 0 };
        socklen_t len = sizeof(from);
        ssize_t n = recvfrom(d->fd.fd, d->in, sizeof(d->in), MSG_DONTWAIT | MSG_TRUNC,
                             (struct sockaddr *)&from, &len);
        if (n < 0) {
            return; /* EAGAIN, or an earlier frame that nobody took */
        }
        struct nic_frame f = { d->in, (uint32_t)n, { 0 }, 0 };
        if ((size_t)n <= sizeof(d->in) && !own(d, &from) && !nic_deliver(d->n, &f)) {
            ev_fd_set(&d->fd, 0);
            return;
        }
    }
}

static void dgram_resume(struct nic *n)
{
    struct net_dgram *d = n->priv;
    ev_fd_set(&d->fd, EV_READ);
}

static bool dgram_send(struct nic *n, const struct nic_frame *f)
{
    struct net_dgram *d = n->priv;
    bool connected = d->multicast || !d->remote.len;
    const struct sockaddr *to = connected ? NULL : (struct sockaddr *)&d->remote.ss;
    if (sendto(d->multicast ? d->sender : d->fd.fd, f->data, f->len, MSG_DONTWAIT | MSG_NOSIGNAL,
               to, connected ? 0 : d->remote.len) < 0) {
        n->tx.dropped++;
    }
    return true;
}

static void dgram_free(struct nic *n)
{
    struct net_dgram *d = n->priv;
    if (d->fd.loop) {
        ev_fd_del(&d->fd);
    }
    if (d->fd.fd >= 0) {
        close(d->fd.fd);
    }
    if (d->sender >= 0) {
        close(d->sender);
    }
    if (d->unlink) {
        unlink(d->unlink);
    }
    free(d->unlink);
    free(d);
}

/* A socket of its own to send to the group from: the group's port is shared by all, so only the
 * source tells our own frames. */
static int open_sender(struct net_dgram *d, const struct in_addr *interface)
{
    int one = 1;
    socklen_t len = sizeof(d->self.ss);
    d->sender = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (d->sender < 0 ||
        setsockopt(d->sender, IPPROTO_IP, IP_MULTICAST_LOOP, &one, sizeof(one)) < 0) {
        return -errno;
    }
    if (interface->s_addr &&
        setsockopt(d->sender, IPPROTO_IP, IP_MULTICAST_IF, interface, sizeof(*interface)) < 0) {
        return -errno;
    }
    if (connect(d->sender, (struct sockaddr *)&d->remote.ss, d->remote.len) < 0 ||
        getsockname(d->sender, (struct sockaddr *)&d->self.ss, &len) < 0) {
        return -errno;
    }
    return 0;
}

static int join_group(struct net_dgram *d, const struct dgram_options *o, struct err *e)
{
    const struct sockaddr_in *group = (struct sockaddr_in *)&d->remote.ss;
    struct ip_mreq req = { .imr_multiaddr = group->sin_addr };
    int one = 1;
    if (o->have_local && o->local.host && !inet_aton(o->local.host, &req.imr_interface)) {
        return err_set(e, -EINVAL, "local.host=%s: not an address of this host", o->local.host);
    }
    setsockopt(d->fd.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    int ret = bind(d->fd.fd, (struct sockaddr *)&d->remote.ss, d->remote.len) < 0 ||
                      setsockopt(d->fd.fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &req, sizeof(req)) < 0
                  ? -errno
                  : open_sender(d, &req.imr_interface);
    if (ret < 0) {
        return err_set(e, ret, "%s: %s", inet_ntoa(group->sin_addr), strerror(-ret));
    }
    return 0;
}

static int bind_local(struct net_dgram *d, const struct net_address *a, struct err *e)
{
    struct sock_addr local;
    int one = 1;
    if (net_resolve(a, SOCK_DGRAM, true, &local, e) < 0) {
        return e->code;
    }
    sock_clear_path(&local);
    setsockopt(d->fd.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(d->fd.fd, (struct sockaddr *)&local.ss, local.len) < 0) {
        char *text = net_address_text(&local, "udp");
        err_set(e, -errno, "%s: %s", text, strerror(errno));
        free(text);
        return e->code;
    }
    d->unlink = a->kind == NET_UNIX && !a->abstract ? xstrdup(a->path) : NULL;
    return 0;
}

static bool is_multicast(const struct sock_addr *a)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)&a->ss;
    return in->sin_family == AF_INET && IN_MULTICAST(ntohl(in->sin_addr.s_addr));
}

static int start(struct net_dgram *d, const struct dgram_options *o, struct err *e)
{
    if (o->have_local && o->local.kind == NET_FD) {
        d->fd.fd = o->local.fd;
        return fcntl(d->fd.fd, F_GETFD) < 0
                   ? err_set(e, -EBADF, "fd=%d: not an open descriptor", o->local.fd)
                   : 0;
    }
    if (o->have_remote && net_resolve(&o->remote, SOCK_DGRAM, false, &d->remote, e) < 0) {
        return e->code;
    }
    int family = o->have_remote              ? d->remote.ss.ss_family
                 : o->local.kind == NET_UNIX ? AF_UNIX
                                             : AF_INET;
    d->fd.fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (d->fd.fd < 0) {
        return err_set(e, -errno, "socket: %s", strerror(errno));
    }
    d->multicast = is_multicast(&d->remote);
    return d->multicast ? join_group(d, o, e) : o->have_local ? bind_local(d, &o->local, e) : 0;
}

struct nic *net_dgram_new(struct ev_loop *loop, const char *id, const char *kind,
                          const struct dgram_options *o, struct err *e)
{
    static const struct nic_ops ops = {
        .kind = "dgram", .send = dgram_send, .resume = dgram_resume, .free = dgram_free
    };
    static const struct nic_ops socket_ops = {
        .kind = "socket", .send = dgram_send, .resume = dgram_resume, .free = dgram_free
    };
    struct nic *n = nic_new(loop, id, strcmp(kind, "socket") == 0 ? &socket_ops : &ops);
    struct net_dgram *d = xcalloc(1, sizeof(*d));
    n->priv = d;
    d->n = n;
    d->sender = -1;
    d->fd = (struct ev_fd){ .fd = -1, .events = EV_READ, .cb = dgram_event, .opaque = d };
    int ret = start(d, o, e);
    if (ret == 0) {
        ret = ev_fd_add(loop, &d->fd);
        if (ret < 0) {
            err_set(e, ret, "%s: %s", kind, strerror(-ret));
        }
    }
    if (ret < 0) {
        nic_free(n);
        return NULL;
    }
    n->info = d->remote.len ? net_address_text(&d->remote, d->multicast ? "mcast" : "udp")
                            : xstrdup("udp");
    return n;
}
