/* SPDX-License-Identifier: MIT */
/* block/nbd-server.h - serves nodes to NBD clients, on an event loop.
 *
 * Fixed newstyle negotiation, structured replies, block status (base:allocation), flush, FUA, trim,
 * write zeroes; several clients at once, also on one export. No TLS. Everything runs on the loop's
 * thread, under its lock; the nodes' context has that loop. A client may send anything: what it can
 * make the server hold is bounded, and whoever breaks the protocol is disconnected.
 */
#ifndef BLOCK_NBD_SERVER_H
#define BLOCK_NBD_SERVER_H

#include "block/node.h"

struct nbd_server;

struct nbd_server_open {
    unsigned max_clients; /* 0: no limit */
    /* A client has gone and `left` are there; may be NULL. */
    void (*gone)(void *opaque, unsigned left);
    void *opaque;
};

struct nbd_server *nbd_server_new(struct ev_loop *loop, const struct nbd_server_open *o);
/* Disconnects everybody and waits for the requests in flight. Exports go with it. NULL is fine. */
void nbd_server_free(struct nbd_server *s);
/* Accepts clients on a listening socket, which is the server's from now on. 0 or -errno. */
int nbd_server_listen(struct nbd_server *s, int fd);
/* A node under a name ("" is the one that clients get who ask for none). The node stays the
 * caller's and must outlive the export. description may be NULL. -EEXIST: the name is taken. */
int nbd_server_export(struct nbd_server *s, struct node *n, const char *name,
                      const char *description, bool read_only);
/* Disconnects the clients of that export and forgets it. -ENOENT. */
int nbd_server_unexport(struct nbd_server *s, const char *name);

#endif
