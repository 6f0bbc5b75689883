/* SPDX-License-Identifier: MIT */
/* net/socket.c - addresses of back ends: options to sockaddrs, sockaddrs to text. */
#include "net/socket-int.h"

#include "dm/base/util.h"

#include <stdlib.h>
#include <string.h>

int net_resolve(const struct net_address *a, int type, bool passive, struct sock_addr *out,
                struct err *e)
{
    if (a->kind == NET_UNIX) {
        int ret = a->abstract ? sock_abstract(a->path, out, e) : sock_unix(a->path, out, e);
        return ret < 0 ? err_prefix(e, "path=") : 0;
    }
    bool named = a->host && *a->host;
    bool ipv4 =
        a->ipv4_only || (!named && !a->ipv6_only); /* without a name that is what is meant */
    const char *host = named ? a->host : passive || !ipv4 ? NULL : "127.0.0.1";
    int family = ipv4 ? AF_INET : a->ipv6_only ? AF_INET6 : AF_UNSPEC;
    return sock_look_up(host, a->port, type, family, passive, out, e);
}

char *net_address_text(const struct sock_addr *a, const char *inet)
{
    char *text = sock_text(a);
    const char *colon = strchr(text, ':');
    if (a->ss.ss_family != AF_UNIX && colon) {
        char *other = xasprintf("%s%s", inet, colon);
        free(text);
        return other;
    }
    return text;
}
