/* SPDX-License-Identifier: MIT */
/* ui/vnc-listen.c - where the VNC server listens: a TCP port, the first free one of a range, or a
 * unix socket.
 */
#include "ui/vnc-int.h"

#include "dm/base/err.h"
#include "dm/base/sock.h"
#include "dm/base/util.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define FIRST_PORT 5900
#define LAST_PORT 65535

/* Every address of the host at one port, or none at all. */
static int listen_tcp(struct vnc *v, struct sock_addr *a, unsigned port)
{
    struct err unused;
    int fd[VNC_MAX_LISTEN];
    sock_set_port(a, (uint16_t)port);
    int n = sock_listen_both(a, fd, &unused);
    for (int i = 0; i < n; i++) {
        v->listener[v->nlisteners++].fd = fd[i];
    }
    v->port = port;
    return n < 0 ? n : 0;
}

static char *own_host(int fd)
{
    struct sock_addr a = { .len = sizeof(a.ss) };
    getsockname(fd, (struct sockaddr *)&a.ss, &a.len);
    return sock_host(&a);
}

static int listen_range(struct vnc *v, const struct vnc_options *o, struct err *e)
{
    unsigned last = o->to > o->display ? o->to : o->display, display = o->display;
    const char *host = o->host && *o->host ? o->host : "any address";
    struct sock_addr a;
    int ret;
    if (sock_look_up(o->host, "5900", SOCK_STREAM, AF_UNSPEC, true, &a, e) < 0) {
        return err_prefix(e, "vnc");
    }
    if (last > LAST_PORT - FIRST_PORT) {
        return err_set(e, -EINVAL, "vnc: display %u is above %u", last, LAST_PORT - FIRST_PORT);
    }
    do {
        ret = listen_tcp(v, &a, FIRST_PORT + display);
    } while (ret == -EADDRINUSE && display++ < last);
    if (ret < 0 && last > o->display) {
        return err_set(e, ret, "vnc: ports %u to %u on %s: %s", FIRST_PORT + o->display,
                       FIRST_PORT + last, host, strerror(-ret));
    }
    if (ret < 0) {
        return err_set(e, ret, "vnc: port %u on %s: %s", v->port, host, strerror(-ret));
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
