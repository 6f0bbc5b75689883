/* SPDX-License-Identifier: MIT */
/* block/nbd-hello-int.h - what an NBD client says before there are requests.
 *
 * nbd-address.c  what the server's name means
 * nbd-talk.c     the connection, the greeting, options and the replies to them
 * nbd-hello.c    agreeing on one export
 * nbd-list.c     asking for all of them
 *
 * A server may send anything: every length is bounded, and a time-out ends what takes too long.
 */
#ifndef BLOCK_NBD_HELLO_INT_H
#define BLOCK_NBD_HELLO_INT_H

#include "block/nbd-proto.h"
#include "block/nbd.h"
#include "dm/base/err.h"

/* Strings that the name does not have are NULL, but for export. */
struct nbd_address {
    char *host, *port, *socket, *export;
};
/* a: all NULL. 0, or -errno with e; nbd_address_free frees what is there either way. */
int nbd_address_parse(struct nbd_address *a, const char *name, struct err *e);
void nbd_address_free(struct nbd_address *a);

enum { NBD_MAX_REPLY = 65536, NBD_MAX_REPLIES = 1000 };

struct nbd_reply {
    uint32_t type, len;
    uint8_t data[NBD_MAX_REPLY + 1]; /* ends with a NUL */
};

struct nbd_talk {
    struct nbd_hello *h;
    const struct nbd_how *how;
    struct nbd_address address;
    bool zeroes;        /* the server sends some where it need not */
    struct nbd_reply r; /* the last one */
    struct err err;     /* what is wrong; without it the errno says so */
};

/* Connects, under TLS if how says so, and has `say` say the rest: 0 or -errno. h->fd is the caller's
 * then. -errno with e. */
int nbd_talk(const char *address, const struct nbd_how *how, struct nbd_hello *h,
             int (*say)(struct nbd_talk *t, void *opaque), void *opaque, struct err *e);

/* Each 0 or -errno. */
int nbd_get(struct nbd_talk *t, void *buf, size_t len);
int nbd_send_option(struct nbd_talk *t, enum nbd_opt opt, const void *data, size_t len);
/* An option about one export: its name, then len bytes more. */
int nbd_ask_about(struct nbd_talk *t, enum nbd_opt opt, const char *name, const void *more,
                  size_t len);
/* The same for INFO and GO: how large blocks may be, beside what is always told. */
int nbd_ask_info(struct nbd_talk *t, enum nbd_opt opt, const char *name);
int nbd_get_reply(struct nbd_talk *t, enum nbd_opt opt);
/* Why the server refuses, in its own words. */
const char *nbd_reason(struct nbd_talk *t);

#endif
