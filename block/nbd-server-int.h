/* SPDX-License-Identifier: MIT */
/* block/nbd-server-int.h - what the parts of the NBD server share. */
#ifndef BLOCK_NBD_SERVER_INT_H
#define BLOCK_NBD_SERVER_INT_H

#include "block/nbd-server.h"

#include "block/nbd-proto.h"
#include "dm/base/bytes.h"
#include "dm/base/ev.h"
#include "dm/base/util.h"

enum { INPUT = 16384, MAX_OPTION = 65536, MAX_OPTIONS = 1000, HELLO_SECONDS = 30 };

struct client;

struct export
{
    struct export *next;
    struct nbd_server *server;
    struct node *node;
    char *name, *description;
    bool read_only, depth;
    struct bitmap **bitmaps;
    unsigned nbitmaps;
    unsigned in_flight;            /* requests at the node */
    struct msg *held, **held_tail; /* requests that wait for others to end */
};

struct nbd_server {
    struct ev_loop *loop;
    struct nbd_server_open open;
    struct export *exports;
    struct client *clients;
    struct listener {
        struct ev_fd ev;
        struct nbd_server *server;
        struct listener *next;
    } * listeners;
    unsigned nclients;
};

/* A request and its reply, or an answer of the negotiation. */
struct msg {
    struct node_req r; /* first */
    struct iovec iov;
    struct client *c;
    struct msg *next;
    unsigned cmd, flags;
    uint64_t handle, offset;
    uint32_t len;
    uint8_t *data;            /* malloc'd */
    size_t data_at, data_len; /* the part of it that is sent */
    struct node *at;          /* block status: this deep in the chain */
    unsigned depth;           /* block status: `at` is the chain's depth-th, from 1 on */
    uint64_t pos;             /* block status: this far */
    unsigned context;         /* block status: the one that is being answered */
    uint8_t head[64];
    size_t head_len, sent;
    bool counted; /* in the client's in_flight and held_bytes */
};

struct client {
    struct ev_fd ev;
    struct ev_post post;   /* there is input left, or it can be freed */
    struct ev_timer hello; /* ends a negotiation that takes too long */
    struct nbd_server *server;
    struct client *next;
    struct export *export; /* NULL while negotiating */
    bool no_zeroes, structured;
    bool tls;                 /* it is encrypted */
    bool starting_tls;        /* once the output is gone */
    uint32_t contexts;        /* bit i: the context of number i was agreed on */
    bool closed;              /* only waits for its requests to end */
    bool draining;            /* is dropped when all is sent */
    struct export *status_of; /* the export that contexts were asked for */
    unsigned options;
    /* input: `want` bytes go to `to`, then `then` runs */
    uint8_t *to;
    size_t want;
    void (*then)(struct client *c);
    uint8_t small[NBD_REQUEST_LEN];
    uint8_t *option;
    uint32_t opt, opt_len;
    struct msg *writing; /* its data are coming in */
    size_t in_at, in_len;
    uint8_t in[INPUT];
    /* output */
    struct msg *out, **out_tail;
    unsigned in_flight; /* requests that are not answered yet */
    uint64_t held_bytes;
};

/* nbd-server.c */
void client_want(struct client *c, void *to, size_t len, void (*then)(struct client *c));
/* Queues m's head and data; frees m once they are sent. */
void client_send(struct client *c, struct msg *m);
/* Ends the connection; c is freed when nothing of it is in flight, and never before the loop is
 * back. */
void client_drop(struct client *c);
/* m is a request from now on: its answer is waited for. */
void client_count(struct client *c, struct msg *m);
/* NULL without memory. */
struct msg *msg_new(struct client *c);
void msg_free(struct msg *m);
struct export *server_find(const struct nbd_server *s, const char *name);

/* The contexts of block status: */
enum { CONTEXT_ALLOCATION, CONTEXT_DEPTH, CONTEXT_BITMAPS, CONTEXTS = 32 };
/* What is context i of x called? malloc'd; NULL: it has none of that number. */
char *export_context(const struct export *x, unsigned i);

/* nbd-server-hello.c: greets; ends with client_serve. */
void client_greet(struct client *c);

/* nbd-server-req.c: the export is chosen. */
void client_serve(struct client *c);
unsigned export_flags(const struct export *x);

#endif
