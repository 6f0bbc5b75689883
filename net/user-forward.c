/* SPDX-License-Identifier: MIT */
/* net/user-forward.c - ports of the host that lead to the guest, and ports of the virtual network that
 * lead to the host: hostfwd=, guestfwd=. IPv4 only. */
#include "net/user-int.h"

#include "dm/base/sock.h"
#include "dm/base/util.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* One field of a forward up to any of `ends` into buf (size bytes); *p moves behind the end. */
static bool field(const char **p, const char *ends, char *buf, size_t size)
{
    size_t len = strcspn(*p, ends);
    if (!(*p)[len] || len >= size) {
        return false;
    }
    memcpy(buf, *p, len);
    buf[len] = '\0';
    *p += len + 1;
    return true;
}

static bool parse_port(const char *s, uint16_t *port)
{
    char *end;
    unsigned long v = strtoul(s, &end, 10);
    *port = (uint16_t)v;
    return *s >= '0' && *s <= '9' && !*end && v <= 65535;
}

static bool parse_ip(const char *s, struct in_addr *a)
{
    return !*s || inet_aton(s, a) != 0;
}

static bool parse_protocol(const char *s, bool *udp)
{
    *udp = strcmp(s, "udp") == 0;
    return *udp || !*s || strcmp(s, "tcp") == 0;
}

/* "[tcp|udp]:[addr]:port" with the port ended by one of `ends`, or by the text's end. */
static bool parse_outside(const char **p, char end, struct user_forward *f)
{
    char proto[8], addr[64], port[8];
    const char ends[2] = { end, '\0' };
    bool ok = field(p, ":", proto, sizeof(proto)) && parse_protocol(proto, &f->udp) &&
              field(p, ":", addr, sizeof(addr)) && parse_ip(addr, &f->host);
    if (ok && end) {
        ok = field(p, ends, port, sizeof(port));
    } else if (ok) {
        ok = strlen(*p) < sizeof(port);
        snprintf(port, sizeof(port), "%s", *p);
    }
    return ok && parse_port(port, &f->host_port);
}

int net_user_hostfwd(struct nic *n, const char *text, struct err *e)
{
    struct user *u = n->priv;
    struct user_forward f = { 0 };
    const char *p = text;
    char addr[64];
    if (!parse_outside(&p, '-', &f) || !field(&p, ":", addr, sizeof(addr)) ||
        !parse_ip(addr, &f.to) || !parse_port(p, &f.to_port) || f.to_port == 0) {
        return err_set(e, -EINVAL,
                       "hostfwd=%s: expected [tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT",
                       text);
    }
    pthread_mutex_lock(&u->lock);
    int ret = slirp_add_hostfwd(u->slirp, f.udp, f.host, f.host_port, f.to, f.to_port);
    int why = errno;
    pthread_mutex_unlock(&u->lock);
    user_wake(u);
    return ret < 0 ? err_set(e, -why, "hostfwd=%s: port %u: %s", text, f.host_port, strerror(why))
                   : 0;
}

int net_user_hostfwd_remove(struct nic *n, const char *text, struct err *e)
{
    struct user *u = n->priv;
    struct user_forward f = { 0 };
    const char *p = text;
    if (!parse_outside(&p, '\0', &f)) {
        return err_set(e, -EINVAL, "%s: expected [tcp|udp]:[HOSTADDR]:HOSTPORT", text);
    }
    pthread_mutex_lock(&u->lock);
    int ret = slirp_remove_hostfwd(u->slirp, f.udp, f.host, f.host_port);
    pthread_mutex_unlock(&u->lock);
    user_wake(u);
    return ret < 0 ? err_set(e, -ENOENT, "%s: no such forward", text) : 0;
}

static ssize_t forward_write(const void *buf, size_t len, void *opaque)
{
    struct guest_forward *g = opaque;
    return g->fd < 0 ? -1 : send(g->fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* "tcp:HOST:PORT" as a connected socket, or -errno with e. */
static int connect_tcp(const char *target, struct err *e)
{
    struct sock_addr a;
    int ret = sock_parse(target, false, &a, e);
    return ret < 0 ? ret : sock_connect(&a, e);
}

static int add_tcp_forward(struct user *u, struct in_addr server, uint16_t port, int fd)
{
    struct guest_forward *g = xcalloc(1, sizeof(*g));
    *g = (struct guest_forward){ u, fd, server, port, -1, u->forwards };
    u->forwards = g;
    return slirp_add_guestfwd(u->slirp, forward_write, g, &g->server, port) < 0 ? -EINVAL : 0;
}

int net_user_guestfwd(struct nic *n, const char *text, struct err *e)
{
    struct user *u = n->priv;
    struct in_addr server = { 0 };
    char proto[8], addr[64], port_text[8];
    uint16_t port;
    bool udp;
    const char *p = text;
    if (!field(&p, ":", proto, sizeof(proto)) || !parse_protocol(proto, &udp) || udp ||
        !field(&p, ":", addr, sizeof(addr)) || !parse_ip(addr, &server) ||
        !field(&p, "-", port_text, sizeof(port_text)) || !parse_port(port_text, &port)) {
        return err_set(e, -EINVAL, "guestfwd=%s: expected [tcp]:SERVER:PORT-TARGET", text);
    }
    pthread_mutex_lock(&u->lock);
    struct err why = { 0 };
    int ret = -ENOTSUP;
    if (strncmp(p, "unix:", 5) == 0) {
        ret = slirp_add_unix(u->slirp, p + 5, &server, port) < 0 ? -EINVAL : 0;
    } else if (strncmp(p, "cmd:", 4) == 0) {
        ret = slirp_add_exec(u->slirp, p + 4, &server, port) < 0 ? -EINVAL : 0;
    } else if (strncmp(p, "tcp:", 4) == 0) {
        int fd = connect_tcp(p, &why);
        ret = fd < 0 ? fd : add_tcp_forward(u, server, port, fd);
    }
    pthread_mutex_unlock(&u->lock);
    user_wake(u);
    if (why.code) {
        return err_set(e, ret, "guestfwd=%s: %s", text, why.msg);
    }
    return ret == 0 ? 0
           : ret == -ENOTSUP
               ? err_set(e, ret,
                         "guestfwd=%s: expected tcp:HOST:PORT, unix:PATH or "
                         "cmd:COMMAND behind the dash",
                         text)
               : err_set(e, ret, "guestfwd=%s: not an address of the user network", text);
}

char *net_user_info(struct nic *n)
{
    struct user *u = n->priv;
    pthread_mutex_lock(&u->lock);
    char *s = slirp_connection_info(u->slirp);
    pthread_mutex_unlock(&u->lock);
    return s;
}
