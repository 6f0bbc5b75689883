/* SPDX-License-Identifier: MIT */
/* block/nbd.h - the protocol node "nbd": a disk that another machine or process serves.
 *
 * Addresses: nbd://HOST[:PORT]/EXPORT, nbd+unix:///EXPORT?socket=PATH, nbd:HOST:PORT[:exportname=E],
 * nbd:unix:PATH[:exportname=E]. A connection that is lost is made again if reconnect_s says so: for
 * that long requests wait, after that they fail with -EIO until it is there again. Else it stays
 * lost.
 */
#ifndef BLOCK_NBD_H
#define BLOCK_NBD_H

#include "block/node.h"

/* name is an address of this kind. */
bool nbd_is_address(const char *name);

struct tls_creds;

/* How to get to a server. */
struct nbd_how {
    struct tls_creds *tls; /* NULL: without TLS */
    const char *tls_host;  /* whom its certificate has to be for; NULL: the address's host */
    unsigned reconnect_s;  /* how long requests wait for a lost connection; 0: it stays lost */
    unsigned open_s;       /* how long a server that is not there yet is tried again */
};

struct nbd_open {
    const char *address;
    struct nbd_how how; /* copied */
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
/* Connects once and negotiates. h->fd is the caller's then. */
int nbd_connect(const char *address, const struct nbd_how *how, struct nbd_hello *h, struct err *e);

/* What a server tells of an export. */
struct nbd_export_info {
    const char *name, *description; /* description: NULL for none */
    uint64_t size;
    unsigned flags;
    uint32_t min_block, opt_block, max_block; /* max_block 0: it did not say */
    char **contexts;
    unsigned ncontexts;
};
/* Asks for all exports: `count` first with how many there are, then `each`. */
int nbd_list(const char *address, const struct nbd_how *how, void (*count)(unsigned n),
             void (*each)(const struct nbd_export_info *x), struct err *e);

#endif
