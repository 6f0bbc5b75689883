/* SPDX-License-Identifier: MIT */
/* ui/vnc-listen.c - where the VNC server listens: a TCP port, the first free one of a range, or a
 * unix socket.
 */
#include "ui/vnc-int.h"

#include "dm/base/err.h"
#include "dm/base/sock.h"
#include "dm/base/util.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FIRST_PORT 5900
#define LAST_PORT 65535

/* The listening socket, or -errno. */
static int listen_at(const struct sockaddr *sa, socklen_t len)
{
    int one = 1, ret;
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (sa->sa_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    }
    if (bind(fd, sa, len) < 0 || listen(fd, 8) < 0) {
        ret = -errno;
        close(fd);
        return ret;
    }
    return fd;
}

static void close_listeners(struct vnc *v)
{
    while (v->nlisteners > 0) {
        close(v->listener[--v->nlisteners].fd);
    }
}

/* Every address of the host at one port, or none at all. */
static int listen_tcp(struct vnc *v, const struct addrinfo *list, unsigned port)
{
    int ret = -EADDRNOTAVAIL;
    for (const struct addrinfo *a = list; a && v->nlisteners < VNC_MAX_LISTEN; a = a->ai_next) {
        struct sockaddr_storage ss;
        int fd;
        memcpy(&ss, a->ai_addr, a->ai_addrlen);
        /* sin_port and sin6_port are in the same place */
        ((struct sockaddr_in *)&ss)->sin_port = htons((uint16_t)port);
        fd = listen_at((struct sockaddr *)&ss, a->ai_addrlen);
        if (fd >= 0) {
            v->listener[v->nlisteners++].fd = fd;
        } else if (fd == -EADDRINUSE) {
            close_listeners(v);
            return fd;
        } else {
            ret = fd; /* no IPv6 here, most likely: another address may do */
        }
    }
    return v->nlisteners ? 0 : ret;
}

static char *own_host(int fd)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    char host[NI_MAXHOST] = "";
    getsockname(fd, (struct sockaddr *)&ss, &len);
    getnameinfo((struct sockaddr *)&ss, len, host, sizeof(host), NULL, 0, NI_NUMERICHOST);
    return xstrdup(host);
}

static int listen_range(struct vnc *v, const struct vnc_options *o, struct err *e)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *list;
    const char *host = o->host ? o->host : "";
    unsigned last = o->to > o->display ? o->to : o->display, display = o->display;
    int ret = getaddrinfo(*host ? host : NULL, "0", &hints, &list);
    if (ret != 0) {
        return err_set(e, -EINVAL, "vnc: host '%s': %s", host, gai_strerror(ret));
    }
    if (last > LAST_PORT - FIRST_PORT) {
        freeaddrinfo(list);
        return err_set(e, -EINVAL, "vnc: display %u is above %u", last, LAST_PORT - FIRST_PORT);
    }
    do {
        v->port = FIRST_PORT + display;
        ret = listen_tcp(v, list, v->port);
    } while (ret == -EADDRINUSE && display++ < last);
    freeaddrinfo(list);
    if (ret < 0 && last > o->display) {
        return err_set(e, ret, "vnc: ports %u to %u on %s: %s", FIRST_PORT + o->display,
                       FIRST_PORT + last, *host ? host : "any address", strerror(-ret));
    }
    if (ret < 0) {
        return err_set(e, ret, "vnc: port %u on %s: %s", v->port, *host ? host : "any address",
                       strerror(-ret));
    }
    v->host = own_host(v->listener[0].fd);
    return 0;
}

static int listen_unix(struct vnc *v, const char *path, struct err *e)
{
    struct sock_addr a;
    int fd = sock_unix(path, &a, e);
    fd = fd < 0 ? fd : sock_listen(&a, e);
    if (fd < 0) {
        return err_prefix(e, "vnc");
    }
    v->listener[v->nlisteners++].fd = fd;
    v->host = xstrdup(path);
    v->unlink = xstrdup(path);
    return 0;
}

int vnc_listen(struct vnc *v, const struct vnc_options *o, struct err *e)
{
    if (o->host && !strncmp(o->host, "unix:", 5)) {
        return listen_unix(v, o->host + 5, e);
    }
    return listen_range(v, o, e);
}
