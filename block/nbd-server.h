/* SPDX-License-Identifier: MIT */
/* block/nbd-server.h - serves nodes to NBD clients, on an event loop.
 *
 * Fixed newstyle negotiation, structured replies, block status (base:allocation, and if wanted
 * qemu:allocation-depth and dirty bitmaps), flush, FUA, trim, write zeroes; TLS; several clients at
 * once, also on one export. Everything runs on the loop's thread, under its lock, but encryption; the
 * nodes' context has that loop. A client may send anything: what it can make the server hold is
 * bounded, and whoever breaks the protocol is disconnected.
 */
#ifndef BLOCK_NBD_SERVER_H
#define BLOCK_NBD_SERVER_H

#include "block/node.h"

struct nbd_server;
struct tls_creds;

enum { NBD_MAX_BITMAPS = 29 };

struct nbd_server_open {
    unsigned max_clients;  /* 0: no limit */
    struct tls_creds *tls; /* nobody is served without; NULL: nobody with. The server shares it. */
    /* A client has gone and `left` are there; may be NULL. */
    void (*gone)(void *opaque, unsigned left);
    void *opaque;
};

struct nbd_server *nbd_server_new(struct ev_loop *loop, const struct nbd_server_open *o);
/* Disconnects everybody and waits for the requests in flight. Exports go with it. NULL is fine. */
void nbd_server_free(struct nbd_server *s);
/* A socket that listens: a unix one at path, or TCP at host (NULL: all of IPv4) and port (NULL: NBD's).
 * -errno with e. */
int nbd_listen(const char *path, const char *host, const char *port, struct err *e);
/* Accepts clients on a listening socket, which is the server's from now on. 0 or -errno. */
int nbd_server_listen(struct nbd_server *s, int fd);

struct nbd_export {
    struct node *node;       /* stays the caller's and must outlive the export */
    const char *name;        /* "" is the one that clients get who ask for none */
    const char *description; /* NULL: none */
    bool read_only;
    bool depth;                    /* qemu:allocation-depth can be asked for */
    struct bitmap *const *bitmaps; /* qemu:dirty-bitmap:NAME can; busy as long as the export is */
    unsigned nbitmaps;             /* at most NBD_MAX_BITMAPS */
};
/* -EEXIST: the name is taken. */
int nbd_server_export(struct nbd_server *s, const struct nbd_export *o);
/* How many clients an export has. */
unsigned nbd_server_clients(const struct nbd_server *s, const char *name);
/* Disconnects the clients of that export and forgets it. -ENOENT. */
int nbd_server_unexport(struct nbd_server *s, const char *name);

#endif
