/* SPDX-License-Identifier: MIT */
/* dm/base/sock.h - stream sockets by name: unix paths, hosts and ports. */
#ifndef DM_BASE_SOCK_H
#define DM_BASE_SOCK_H

#include <stdbool.h>
#include <sys/socket.h>

struct err;

struct sock_addr {
    struct sockaddr_storage ss;
    socklen_t len;
};

/* 0, or -EINVAL with e. */
int sock_unix(const char *path, struct sock_addr *a, struct err *e);
/* host NULL or "": this one when connecting, every one of its addresses when passive. port: a number or
 * a service's name. May ask a name server. 0, or -EINVAL with e. */
int sock_inet(const char *host, const char *port, bool passive, struct sock_addr *a, struct err *e);
/* "unix:PATH", "tcp:HOST:PORT" or "tcp:[HOST]:PORT". As the two above. */
int sock_parse(const char *text, bool passive, struct sock_addr *a, struct err *e);

/* A listening socket that does not block; at a unix path an earlier process's is replaced. The caller's
 * descriptor, or -errno with e. */
int sock_listen(const struct sock_addr *a, struct err *e);
enum { SOCK_CONNECT_SECONDS = 10 };
/* A connection that blocks, also meanwhile, so long at most. The caller's descriptor, or -errno with e. */
int sock_connect(const struct sock_addr *a, struct err *e);

/* "unix:/path" or "tcp:host:port"; malloc'd. */
char *sock_text(const struct sock_addr *a);

#endif
