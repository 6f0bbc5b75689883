/* SPDX-License-Identifier: MIT */
/* block/node.h - the block graph: nodes that move bytes, one standing on another.
 *
 * A node is a disk's worth of bytes. A *protocol* node ("file", a simulated disk) reaches the host;
 * a *format* node ("qcow2") keeps its bytes inside a protocol node and perhaps in a backing node; a
 * *filter* node ("throttle") passes requests on. Whoever uses a node (a drive, keel-img, a format)
 * owns it and closes it; a node owns its children. There may be several owners: each gives its share
 * up with node_close. block/graph.h finds nodes and changes who stands on what.
 *
 * Everything of one graph runs on one thread at a time, under one struct node_ctx: on the event
 * loop, under the machine lock, or, without a loop, inside node_ctx_poll. Requests are asynchronous
 * and complete exactly once, never from inside node_submit. Buffers belong to the submitter until
 * done() runs. A flush covers every request that had completed before it was submitted. Two
 * requests in flight that touch the same bytes may take effect in either order, but each byte ends
 * up as one of them left it.
 */
#ifndef BLOCK_NODE_H
#define BLOCK_NODE_H

#include "block/pool.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct bitmap;
struct err;
struct ev_loop;
struct node;
struct node_ctx;

enum { NODE_ALIGN = 512 }; /* offsets and lengths of requests are multiples of it */

enum node_op {
    NODE_READ,
    NODE_WRITE,
    NODE_ZERO,    /* the range reads as zeros afterwards */
    NODE_DISCARD, /* nobody needs the range's contents: advice */
    NODE_FLUSH,
    NODE_STATUS, /* what the bytes from offset on are, for up to len bytes */
    NODE_OPS
};

enum node_flags {
    NODE_UNMAP = 1,     /* with NODE_ZERO: storage may be given back */
    NODE_COMPRESS = 2,  /* with NODE_WRITE: whole clusters, to be stored compressed */
    NODE_GUEST = 4,     /* iov is pinned guest memory: it may change while it is read */
    NODE_UNCHANGED = 8, /* the range reads as it did: nothing becomes dirty */
};

enum node_status_flags {
    NODE_HAS_DATA = 1,   /* has to be read to know it */
    NODE_IS_ZERO = 2,    /* reads as zeros */
    NODE_ALLOCATED = 4,  /* this node decides what is read, not its backing node */
    NODE_MAPPED = 8,     /* they have their place in the child file from `mapped` on; with
                        NODE_HAS_DATA they are there as they are */
    NODE_COMPRESSED = 16 /* stored compressed */
};

struct node_status {
    uint64_t len; /* how far from the request's offset the rest of this is true; at least 512 */
    unsigned flags;
    uint64_t mapped;
};

struct node_req {
    enum node_op op;
    unsigned flags;
    uint64_t offset, len; /* bytes; 0 and 0 for a flush */
    const struct iovec *iov;
    int iovcnt;
    void (*done)(struct node_req *r, int ret); /* ret 0 or -errno; r may be reused in here */
    void *opaque;
    struct node_status status; /* the answer to NODE_STATUS */

    struct node *node; /* not NULL while in flight; from here on the block layer's own */
    struct node_req *next;
    int ret;
};

struct node_ops {
    const char *name; /* "file", "qcow2" */
    bool filter;      /* passes requests on to its child `file`, whose bytes are its own */
    bool own;         /* a job's filter: no part of what the user built */
    /* r was checked; ends with node_complete(r, ret), now or later. */
    void (*submit)(struct node *n, struct node_req *r);
    /* Reads len bytes if none of them has to be waited for: true when all are there, else iov may
     * hold anything. NULL: never. */
    bool (*read_now)(struct node *n, uint64_t offset, const struct iovec *iov, int iovcnt,
                     uint64_t len);
    /* Nothing is in flight. Leaves the node clean on disk if it can, closes the children. 0, or
     * -errno when something may not have reached the disk. */
    int (*close)(struct node *n);
    /* Makes the node len bytes long. Blocks; nothing is in flight. NULL: it cannot. */
    int (*resize)(struct node *n, uint64_t len, struct err *e);
    /* Allows or forbids writing from now on. Blocks; nothing is in flight. NULL: it cannot. */
    int (*reopen)(struct node *n, bool read_only, struct err *e);
};

enum { NODE_NAME_MAX = 31 };
enum node_zeroes { NODE_ZEROES_OFF, NODE_ZEROES_ON, NODE_ZEROES_UNMAP };

struct node {
    const struct node_ops *ops;
    struct node_ctx *ctx;
    uint64_t len; /* bytes, a multiple of 512 */
    bool read_only;
    bool growable;  /* a write past the end makes it longer, a read there finds zeros */
    bool zero_tail; /* growable, and what lies past the end is zeros until it is written */
    bool is_file;   /* of the host's: its limit on file sizes holds */
    char *filename;
    struct node *file;        /* where a format keeps its bytes */
    struct node *backing;     /* what a format reads where it has nothing of its own */
    struct bitmap *bitmaps;   /* block/bitmap.h */
    struct node *other;       /* what a job's filter writes beside `file`; owned too */
    uint64_t written_end;     /* past the last byte that was written since it was opened */
    uint64_t write_threshold; /* a write past it is told of, once: node_ctx_on_threshold; 0: none */
    unsigned in_flight;
    unsigned shares; /* owners beyond the first */
    unsigned mark;   /* block/graph.c's */
    char name[NODE_NAME_MAX + 1];
    const char *job;                /* the kind of job that has the node; NULL: none */
    enum node_zeroes detect_zeroes; /* writes of zeros become NODE_ZERO */
};

/* loop NULL: nothing runs but inside node_ctx_poll. Ends the process when the kernel refuses an
 * eventfd: set-up only. */
struct node_ctx *node_ctx_new(struct ev_loop *loop);
/* Without a loop, for whoever can do without: NULL when the kernel refuses, errno says why. */
struct node_ctx *node_ctx_try(void);
/* Every node of it is closed. NULL is fine. */
void node_ctx_free(struct node_ctx *c);
/* From now on node_ctx_work runs work at once, on the caller's thread: what happens then depends on
 * nothing but the requests. */
void node_ctx_no_threads(struct node_ctx *c);
/* Delivers what has completed; with block, waits until there was something. False: nothing ran.
 * Nothing in flight and block set is a bug of the caller's. */
bool node_ctx_poll(struct node_ctx *c, bool block);
/* The same with block, for whoever waits for requests to n: nothing else has to be let go. */
bool node_wait(struct node *n);
/* Somebody waits in node_ctx_poll(c, true). */
bool node_ctx_blocking(const struct node_ctx *c);
/* n, or what it stands on, is waited for. */
bool node_awaited(const struct node *n);
/* Waits until nothing is in flight anywhere. */
void node_ctx_drain(struct node_ctx *c);
struct ev_loop *node_ctx_loop(const struct node_ctx *c);

/* Work for another thread: run() on one without any lock, then done() like a completion. */
struct node_work {
    struct pool_work pool; /* first */
    void (*run)(struct node_work *w);
    void (*done)(struct node_work *w);
    struct node_work *next;
    struct node_ctx *ctx;
};
/* Without any thread to be had it runs here and now; done() still comes later. */
void node_ctx_work(struct node_ctx *c, struct node_work *w);
/* The same for work that a thread of the node's own does: begin on the context's thread, end on any
 * one; run() is not called. */
void node_ctx_begin(struct node_ctx *c, struct node_work *w);
void node_ctx_end(struct node_work *w);

/* Something that completes requests when asked: a simulated disk, libaio, a throttle. poll returns
 * whether it completed anything; block: everybody waits, so do not hold anything back, but never
 * sleep either. */
struct node_poller {
    bool (*poll)(void *opaque, bool block);
    /* Hands over what was collected since the last time; completes nothing. NULL: it collects
     * nothing. */
    void (*send)(void *opaque);
    void *opaque;
    struct node_poller *next;
};
void node_ctx_add_poller(struct node_ctx *c, struct node_poller *p);
void node_ctx_del_poller(struct node_ctx *c, struct node_poller *p);
/* A poller has collected something: it is sent when the turn ends, when the last hold is released,
 * or, if there is neither, at once. */
void node_ctx_collected(struct node_ctx *c);
/* More requests come in a moment: what pollers collect waits for the release. They nest. */
void node_ctx_hold(struct node_ctx *c);
void node_ctx_release(struct node_ctx *c);
/* An eventfd that wakes the context up; pollers are asked when it is signalled. */
int node_ctx_eventfd(const struct node_ctx *c);

/* fn runs for each write past its node's write_threshold, which is 0 afterwards. */
void node_ctx_on_threshold(struct node_ctx *c,
                           void (*fn)(void *opaque, struct node *n, uint64_t end), void *opaque);

/* Queues r. Out of range, misaligned (-EINVAL) and read-only (-EROFS) complete with an error like
 * any other. */
void node_submit(struct node *n, struct node_req *r);
/* Reads len bytes into iov if that takes no waiting. False: submit a request; iov may hold anything. */
bool node_read_now(struct node *n, uint64_t offset, const struct iovec *iov, int iovcnt,
                   uint64_t len);
/* A node starts r itself, without node_submit's checks and submit: it is in flight from now on. */
void node_adopt(struct node *n, struct node_req *r);
/* A node hands r back. */
void node_complete(struct node_req *r, int ret);
/* Waits until nothing is in flight on n. */
void node_drain(struct node *n);
/* One more owner. */
struct node *node_share(struct node *n);
/* Gives up one owner's share; the last one drains and closes: 0, or -errno when something may not
 * have reached the disk. NULL is fine. */
int node_close(struct node *n);

/* The same, waiting for the answer: for set-up and tools. */
int node_rw(struct node *n, enum node_op op, uint64_t offset, void *buf, uint64_t len,
            unsigned flags);
int node_read(struct node *n, uint64_t offset, void *buf, uint64_t len);
int node_write(struct node *n, uint64_t offset, const void *buf, uint64_t len);
int node_flush(struct node *n);
int node_status(struct node *n, uint64_t offset, uint64_t len, struct node_status *out);
int node_resize(struct node *n, uint64_t len, struct err *e);
/* Allows or forbids writing to n and the file under it. */
int node_reopen(struct node *n, bool read_only, struct err *e);

/* iovecs. */
uint64_t node_iov_len(const struct iovec *iov, int n);
/* Copies len bytes between a flat buffer and iov, starting at byte `at` of iov. */
void node_iov_to_buf(const struct iovec *iov, int n, uint64_t at, void *buf, uint64_t len);
void node_iov_from_buf(const struct iovec *iov, int n, uint64_t at, const void *buf, uint64_t len);
void node_iov_zero(const struct iovec *iov, int n, uint64_t at, uint64_t len);
/* The part of iov that covers [at, at + len), into out, which has room for max. Returns how many
 * elements, at most max; the part may then be shorter. */
int node_iov_part(const struct iovec *iov, int n, uint64_t at, uint64_t len, struct iovec *out,
                  int max);
/* len bytes at p are all zero. */
bool node_is_zero(const void *p, size_t len);

#endif
