/* SPDX-License-Identifier: MIT */
/* dm/base/sock.h - sockets by name: unix paths, hosts and ports. */
#ifndef DM_BASE_SOCK_H
#define DM_BASE_SOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct err;

/* A name of a host's may have an address of each family: `other` is that to try next, if other_len. */
struct sock_addr {
    struct sockaddr_storage ss, other;
    socklen_t len, other_len;
};

/* 0, or -EINVAL with e. */
int sock_unix(const char *path, struct sock_addr *a, struct err *e);
/* A name that is no path (unix(7): abstract). As above. */
int sock_abstract(const char *name, struct sock_addr *a, struct err *e);
/* host NULL or "": this one when connecting, every one of its addresses when passive. port: a number or
 * a service's name. May ask a name server. 0, or -EINVAL with e. */
int sock_inet(const char *host, const char *port, bool passive, struct sock_addr *a, struct err *e);
/* The same for a type (SOCK_STREAM, SOCK_DGRAM) and a family (AF_UNSPEC: any); port NULL: any. */
int sock_look_up(const char *host, const char *port, int type, int family, bool passive,
                 struct sock_addr *a, struct err *e);
/* "unix:PATH", "tcp:HOST:PORT" or "tcp:[HOST]:PORT". As the two above. */
int sock_parse(const char *text, bool passive, struct sock_addr *a, struct err *e);

/* Removes a socket that an earlier process left behind; anything else at a's path stays. */
void sock_clear_path(const struct sock_addr *a);
/* A listening socket that does not block; at a unix path an earlier process's is replaced. The caller's
 * descriptor, or -errno with e. */
int sock_listen(const struct sock_addr *a, struct err *e);
/* At each of a's two addresses, IPv6's for itself. How many of fd are the caller's: one is enough unless
 * the port of the other is taken (-EADDRINUSE). Or -errno with e. */
int sock_listen_both(const struct sock_addr *a, int fd[2], struct err *e);
enum { SOCK_CONNECT_SECONDS = 10 };
/* A connection that blocks, also meanwhile, so long at most an address. The caller's descriptor, or -errno
 * with e. */
int sock_connect(const struct sock_addr *a, struct err *e);

/* Turns to the other address; the two change places. False: there is none. */
bool sock_turn(struct sock_addr *a);
/* Another port, of both addresses; of a host's alone. */
void sock_set_port(struct sock_addr *a, uint16_t port);

/* A host's address in digits; malloc'd. */
char *sock_host(const struct sock_addr *a);
/* "unix:/path", "unix:@name" or "tcp:host:port"; malloc'd. */
char *sock_text(const struct sock_addr *a);

#endif
