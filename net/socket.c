/* SPDX-License-Identifier: MIT */
/* net/socket.c - addresses: names to sockaddrs, sockaddrs to text. */
#include "net/socket-int.h"

#include "dm/base/util.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static int resolve_unix(const struct net_address *a, struct net_sockaddr *out, struct err *e)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&out->ss;
    size_t len = strlen(a->path);
    if (len + a->abstract >= sizeof(un->sun_path)) {
        return err_set(e, -EINVAL, "path=: too long for a unix socket (%zu bytes)", len);
    }
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path + a->abstract, a->path, len);
    out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
    return 0;
}

int net_resolve(const struct net_address *a, int type, bool passive, struct net_sockaddr *out,
                struct err *e)
{
    struct addrinfo hints = { .ai_socktype = type,
                              .ai_flags = passive ? AI_PASSIVE : 0,
                              .ai_family = a->ipv4_only   ? AF_INET
                                           : a->ipv6_only ? AF_INET6
                                                          : AF_UNSPEC },
                    *list;
    *out = (struct net_sockaddr){ 0 };
    if (a->kind == NET_UNIX) {
        return resolve_unix(a, out, e);
    }
    const char *host = a->host && *a->host ? a->host : NULL;
    if (!host && !passive) {
        host = "127.0.0.1";
    }
    if (!host && !a->ipv6_only) {
        hints.ai_family = AF_INET; /* all interfaces */
    }
    int ret = getaddrinfo(host, a->port, &hints, &list);
    if (ret != 0) {
        return err_set(e, -EINVAL, "%s:%s: %s", host ? host : "", a->port ? a->port : "",
                       gai_strerror(ret));
    }
    memcpy(&out->ss, list->ai_addr, list->ai_addrlen);
    out->len = list->ai_addrlen;
    freeaddrinfo(list);
    return 0;
}

char *net_address_text(const struct net_sockaddr *a, const char *inet)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&a->ss;
    char host[NI_MAXHOST], port[NI_MAXSERV];
    if (a->ss.ss_family == AF_UNIX) {
        bool abstract = !un->sun_path[0];
        return xasprintf("unix:%s%s", abstract ? "@" : "", un->sun_path + abstract);
    }
    if (getnameinfo((const struct sockaddr *)&a->ss, a->len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return xstrdup("socket");
    }
    return xasprintf(a->ss.ss_family == AF_INET6 ? "%s:[%s]:%s" : "%s:%s:%s", inet, host, port);
}
