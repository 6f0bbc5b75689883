/* SPDX-License-Identifier: MIT */
/* block/nbd.h - the protocol node "nbd": a disk that another machine or process serves.
 *
 * Addresses: nbd://HOST[:PORT]/EXPORT, nbd+unix:///EXPORT?socket=PATH, nbd:HOST:PORT[:exportname=E],
 * nbd:unix:PATH[:exportname=E]. TLS is not had. A connection that is lost stays lost: every request
 * fails with -EIO then.
 */
#ifndef BLOCK_NBD_H
#define BLOCK_NBD_H

#include "block/node.h"

/* name is an address of this kind. */
bool nbd_is_address(const char *name);

struct nbd_open {
    const char *address;
    bool read_only;
    bool sync_writes;  /* a write counts once it is durable */
    bool ignore_flush; /* cache=unsafe */
};
/* Connects, waits for the server's greeting. NULL with e naming address and cause. */
struct node *nbd_open(struct node_ctx *c, const struct nbd_open *o, struct err *e);

/* ---- shared by nbd-client.c and nbd-hello.c ---- */

struct nbd_hello {
    int fd;
    uint64_t size;  /* bytes */
    unsigned flags; /* NBD_READ_ONLY and so on */
    bool structured;
    bool status; /* base:allocation was agreed on, under this number */
    uint32_t context;
    uint32_t max_data; /* bytes of one read or write */
};
/* Connects and negotiates. h->fd is the caller's then. */
int nbd_connect(const char *address, struct nbd_hello *h, struct err *e);

#endif
