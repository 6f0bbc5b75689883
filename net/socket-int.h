/* SPDX-License-Identifier: MIT */
/* net/socket-int.h - addresses of stream and datagram back ends. */
#ifndef NET_SOCKET_INT_H
#define NET_SOCKET_INT_H

#include "net/net.h"

#include <sys/socket.h>

struct net_sockaddr {
    struct sockaddr_storage ss;
    socklen_t len;
};

/* Looks a up (numeric or by name; blocks, so at the start only). NET_FD has none. 0 or -errno with
 * e. */
int net_resolve(const struct net_address *a, int type, bool passive, struct net_sockaddr *out,
                struct err *e);
/* "tcp:host:port" or "unix:path"; malloc'd. */
char *net_address_text(const struct net_sockaddr *a, const char *inet);

#endif
