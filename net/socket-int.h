/* SPDX-License-Identifier: MIT */
/* net/socket-int.h - addresses of stream and datagram back ends. */
#ifndef NET_SOCKET_INT_H
#define NET_SOCKET_INT_H

#include "net/net.h"

#include "dm/base/sock.h"

/* Looks a up (numeric or by name; blocks, so at the start only). NET_FD has none. 0 or -errno with
 * e. */
int net_resolve(const struct net_address *a, int type, bool passive, struct sock_addr *out,
                struct err *e);
/* As sock_text, with another word than "tcp"; malloc'd. */
char *net_address_text(const struct sock_addr *a, const char *inet);

#endif
