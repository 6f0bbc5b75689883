/* SPDX-License-Identifier: MIT */
/* block/blk.h - what a disk controller and an image may ask of each other.
 *
 * A struct blk is a drive as a controller sees it: it may hold a medium or not, and a medium may
 * come and go. Requests are asynchronous: submitted under the machine lock, completed exactly once
 * by the event loop under the same lock, never from inside blk_submit. Buffers belong to the
 * submitter until done() runs. A flush covers every write completed before it was submitted.
 */
#ifndef BLOCK_BLK_H
#define BLOCK_BLK_H

#include "block/histogram.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct ev_loop;
struct err;
struct luks_key;
struct node;
struct node_ctx;
struct throttle_group;
struct blk;

enum blk_op { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD, BLK_OPS };

struct blk_req {
    enum blk_op op;
    uint64_t offset; /* bytes, a multiple of 512 */
    uint64_t len;    /* bytes, a multiple of 512: the sum of iov, or the range to discard */
    struct iovec *iov;
    int iovcnt;
    bool guest_memory; /* iov points into pinned guest memory: its bytes are never looked at */
    void (*done)(struct blk_req *r, int ret); /* ret 0 or -errno; r may be reused in here */
    void *opaque;

    struct blk *blk;      /* not NULL while in flight; from here on the block layer's own */
    struct blk_req *next; /* in flight, newest first */
    void *priv;           /* the image's */
    int64_t start_ns;
    int ret;
    bool finished; /* handed back, not delivered yet */
    bool held;     /* it failed, and waits for blk_retry */
};

/* An image, opened: what stands behind a drive. Implementations: block/image.c (a node of the
 * block graph), a replayer, test doubles. */
struct blk_image;
struct blk_image_ops {
    const char *format;                                     /* "raw" */
    void (*submit)(struct blk_image *i, struct blk_req *r); /* ends with blk_complete(r, ret) */
    /* Blocks until at least one request of i was handed to blk_complete; called only while one is
     * in flight. False: this image cannot wait (a replayer's completions come from elsewhere), and
     * the drive then ends the request without it. NULL is the same as false. */
    bool (*wait)(struct blk_image *i);
    /* Forgets r, which will never be completed: called when wait() said no. NULL if wait never
     * does. */
    void (*forget)(struct blk_image *i, struct blk_req *r);
    void (*close)(struct blk_image *i); /* no request is in flight */
    /* blk_hold (on) and blk_release. NULL: every request is worth a call of its own. */
    void (*hold)(struct blk_image *i, bool on);
};
struct blk_image {
    const struct blk_image_ops *ops;
    uint64_t len; /* bytes */
    bool read_only;
    bool is_file; /* a regular file: the process's limit on file sizes holds for writes to it */
    bool grows;   /* a format's file, which gets longer than len */
    char *filename;
};

enum blk_cache { BLK_WRITEBACK, BLK_NONE, BLK_WRITETHROUGH, BLK_DIRECTSYNC, BLK_UNSAFE };
/* How an image's file is reached (docs/block.md 3). AUTO: whatever works best here. */
enum blk_aio { BLK_AIO_AUTO, BLK_AIO_THREADS, BLK_AIO_NATIVE, BLK_AIO_IO_URING };
/* The mode of that name, as in aio=. False: there is none. */
bool blk_aio_named(const char *name, enum blk_aio *out);
struct blk_open {
    const char *filename; /* a path or /dev/fdset/N */
    int fd;               /* -1, or an open descriptor to use (and own) instead of filename */
    const char *format;   /* "raw" (also NULL), "qcow2" */
    bool read_only;
    enum blk_cache cache;
    enum blk_aio aio;
    bool discard;          /* discard=unmap: what is discarded is given back to the host */
    bool temporary;        /* snapshot=on: what is written is gone at the end */
    bool lock;             /* take the image's locks, as qemu and its tools do */
    bool share_rw;         /* others may write */
    bool inactive;         /* another process still writes to it, until blk_image_activate */
    uint64_t l2_cache;     /* qcow2: bytes; 0: automatic */
    bool guessed;          /* format was guessed: it may not name other files */
    const char *data_file; /* qcow2: where its data are, else one that has a data file is refused */
    const struct luks_key *key;      /* of an encrypted image; used while opening */
    struct throttle_group *throttle; /* NULL: no limits */
    bool copy_on_read;
    unsigned detect_zeroes; /* enum node_zeroes */
    struct node_ctx *ctx;   /* the graph it becomes part of; NULL: one of its own */
};
/* Opens an image and its backing chain. NULL with e naming file and cause. */
struct blk_image *blk_open_image(struct ev_loop *loop, const struct blk_open *o, struct err *e);
/* All is on disk and nothing is left to write: another process may go on with the image. No
 * request may be under way. */
int blk_image_quiesce(struct blk_image *i);
/* The other process is done. */
int blk_image_activate(struct blk_image *i, struct err *e);
/* Discards are given back to the host from now on, as with blk_open's discard. */
void blk_image_allow_discard(struct blk_image *i);
/* The node behind an image that blk_open_image opened; NULL for any other. */
struct node *blk_image_node(struct blk_image *i);
/* The node has another length or name now. */
void blk_image_resized(struct blk_image *i);
/* Requests of i's drive are held to g's limits from now on; NULL: to none of its own. Nothing is in
 * flight, and i has a node. */
void blk_image_throttle(struct blk_image *i, struct throttle_group *g);
/* An image of n, one share of which it takes. flush_writes: a write counts once it is on disk. */
struct blk_image *blk_image_of_node(struct node *n, bool discard, bool flush_writes);

/* What a drive tells its controller; all may be NULL. */
struct blk_user {
    void (*medium_changed)(void *opaque);            /* inserted, removed or replaced */
    void (*eject_request)(void *opaque, bool force); /* the operator wants it out */
    void (*tray_moved)(void *opaque);                /* blk_set_tray or blk_set_locked changed it */
};

struct blk_stats {
    uint64_t ops[BLK_OPS], bytes[BLK_OPS], errors[BLK_OPS];
    uint64_t invalid[BLK_OPS];  /* the guest's mistakes: no medium, past the end, not writable */
    uint64_t total_ns[BLK_OPS]; /* from submission to the end, of those that ended well */
    struct histogram took[BLK_OPS]; /* how long each took, in ns: blk_count_latency */
    int64_t last_ns;                /* when the last one ended, as ev_now_ns; 0: none has */
};

/* id as in -drive id=. Starts empty. */
struct blk *blk_new(struct ev_loop *loop, const char *id);
/* Drains, closes the image, frees. */
void blk_free(struct blk *b);
const char *blk_id(const struct blk *b);
/* Takes image (NULL: empties the drive) after draining, then tells the user. */
void blk_set_image(struct blk *b, struct blk_image *image);
struct blk_image *blk_image(const struct blk *b);
void blk_set_user(struct blk *b, const struct blk_user *u, void *opaque);
const struct blk_user *blk_user(const struct blk *b, void **opaque);

bool blk_present(const struct blk *b); /* a medium is in; b may be NULL */
bool blk_read_only(const struct blk *b);
uint64_t blk_len(const struct blk *b); /* bytes, 0 when empty */
/* ATAPI and the monitor share these two facts about a removable drive. */
bool blk_tray_open(const struct blk *b);
bool blk_locked(const struct blk *b);
void blk_set_tray(struct blk *b, bool open);
void blk_set_locked(struct blk *b, bool locked);
/* For the monitor's events: fn runs when the tray was opened or closed, whoever did it. */
void blk_on_tray(struct blk *b, void (*fn)(void *opaque, struct blk *b, bool open), void *opaque);

/* Queues r. Out of range, no medium (-ENOMEDIUM) and read-only (-EROFS) complete with an error
 * like any other, through the loop. */
void blk_submit(struct blk *b, struct blk_req *r);
/* A controller is about to submit several requests: they may go to the host in one call, which is
 * made at the release at the latest. They nest; the medium stays in between. */
void blk_hold(struct blk *b);
void blk_release(struct blk *b);
/* Image side: hands r back, under the lock. From the loop it is delivered at once: done() has run
 * when this returns, which is how a replayer completes a request at an exact point. From inside
 * submit, or while blk_cancel waits, the loop delivers it soon after. */
void blk_complete(struct blk_req *r, int ret);
/* The same, but always for the loop to deliver: another drive may be waiting for its own. */
void blk_complete_later(struct blk_req *r, int ret);
/* The controller no longer wants r: done() will not run, and when this returns nobody touches r's
 * buffers. Waits for the I/O if it is in the kernel. Nothing happens when r is not in flight. */
void blk_cancel(struct blk_req *r);
/* Waits until nothing is in flight on b; completions have been delivered. What is held stays. */
void blk_drain(struct blk *b);

/* For a replayer: r ends now with ret, whatever became of it here; done() has run on return. */
void blk_end_now(struct blk_req *r, int ret);

/* What becomes of a request that fails: reported to the controller, taken for a success, or held
 * until blk_retry tries it again; ENOSPC: held if the host's disk is full, else reported. */
enum blk_on_error { BLK_REPORT, BLK_IGNORE, BLK_STOP, BLK_ENOSPC };
/* Both are BLK_REPORT to begin with; werror is also for flushes and discards. */
void blk_set_on_error(struct blk *b, enum blk_on_error rerror, enum blk_on_error werror);
/* fn runs for each request that failed, with what becomes of it (never BLK_ENOSPC). It may not stop
 * the machine on the spot: a controller may be on the stack. */
void blk_on_io_error(struct blk *b,
                     void (*fn)(void *opaque, struct blk *b, enum blk_op op, int ret,
                                enum blk_on_error action),
                     void *opaque);
/* Submits what is held again: the machine runs on. */
void blk_retry(struct blk *b);
/* The error that requests are held for: 0 for none, else -errno. */
int blk_held_error(const struct blk *b);

/* A recorder's view of a drive; each may be NULL. submitted: as r enters, with the bytes of a
 * write still in r->iov. completed: just before done(r, ret) runs; a cancelled request is reported
 * as that instead. */
struct blk_watch {
    void (*submitted)(void *opaque, const struct blk_req *r);
    void (*completed)(void *opaque, const struct blk_req *r, int ret);
    void (*cancelled)(void *opaque, const struct blk_req *r);
};
/* One watcher a drive; w NULL ends it. */
void blk_set_watch(struct blk *b, const struct blk_watch *w, void *opaque);
unsigned blk_in_flight(const struct blk *b);
const struct blk_stats *blk_stats(const struct blk *b);
/* Counts how many requests took how long, from now on: histogram_set. */
int blk_count_latency(struct blk *b, enum blk_op op, const uint64_t *boundary, size_t n);
void blk_count_no_latency(struct blk *b);

#endif
