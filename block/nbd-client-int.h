/* SPDX-License-Identifier: MIT */
/* block/nbd-client-int.h - what the parts of an NBD client's node share.
 *
 * nbd-client.c   requests, sending, connections that are lost
 * nbd-receive.c  what the server answers
 */
#ifndef BLOCK_NBD_CLIENT_INT_H
#define BLOCK_NBD_CLIENT_INT_H

#include "block/nbd-proto.h"
#include "block/nbd.h"

#include <pthread.h>

enum {
    SLOTS = 64,           /* commands in flight */
    IOV = 64,             /* elements handed to one system call */
    ZERO_STEP = 1 << 20,  /* bytes, where the server cannot write zeroes */
    RANGE_STEP = 1 << 30, /* bytes of a trim, a zeroing, a status */
    MAX_STATUS = 1 << 20, /* bytes of a status reply */
};

struct nbd_op {
    struct node_work work; /* first */
    struct nbd *n;
    struct node_req *r;
    struct nbd_op *next;
    uint64_t at, len; /* the step: its place in the request, its bytes */
    uint64_t have;    /* bytes of a read's step that were answered */
    unsigned slot;
    bool flush; /* the write is done, now its flush */
    bool ended; /* the last chunk has been seen */
    bool with_data;
    uint8_t head[NBD_REQUEST_LEN];
    uint64_t sent; /* bytes of head and data */
    int ret;
};

struct nbd {
    struct node base; /* first */
    struct nbd_hello h;
    struct nbd_how how;
    char *tls_host;
    bool sync_writes, ignore_flush;
    struct nbd_op *waiting, **waiting_tail; /* for a slot; the context's thread only */
    uint8_t *zeros;
    pthread_t sender, receiver;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct nbd_op *slot[SLOTS];
    unsigned used;
    struct nbd_op *queue, **queue_tail; /* to be sent, in this order */
    struct nbd_op *sending;
    bool dead;
    bool stop;             /* atomic */
    bool lost;             /* no connection: nothing is sent */
    struct nbd_hello next; /* lost: the one that is being made */
};

/* One reply, or one chunk of one: on the receiver's thread. 0, or -errno: nothing more can be made of
 * what this connection brings. */
int nbd_receive(struct nbd *n);

#endif
