/* SPDX-License-Identifier: MIT */
/* block/file-int.h - what the parts of the file node share.
 *
 * file.c        opening, closing, and where requests come in
 * file-work.c   what a worker thread does, in system calls that may block
 * file-aio.c    libaio
 * file-uring.c  io_uring
 */
#ifndef BLOCK_FILE_INT_H
#define BLOCK_FILE_INT_H

#include "block/file.h"

#include <libaio.h>

enum {
    FILE_ALIGN = 512,
    FILE_IOV_STEP = 64, /* iovec elements a worker hands to one system call */
};

struct file;
struct file_op;
struct ring;

/* A way to the kernel that needs no thread of ours. */
struct file_engine {
    const char *name; /* as in aio= */
    /* Collects op until the turn ends. False: it is nothing for this engine; a thread does it. */
    bool (*queue)(struct file_op *op);
    void (*close)(struct file *f); /* nothing is in flight; NULL: nothing to do */
};

struct file_list {
    struct file_op *head, **tail;
};

struct file_aio {
    io_context_t context;
    struct node_poller poller;
    struct file_list collected;
    unsigned in_flight;
};

struct file {
    struct node base; /* first: a struct node * is a struct file * */
    const struct file_calls *calls;
    int fd;
    bool block_device, direct, sync_writes, ignore_flush;
    enum blk_cache cache; /* as asked for when it was opened, like the next */
    bool lock, share_rw;
    bool no_punch, no_zero_range;     /* the file system said so; atomic, like the next */
    int lost;                         /* a failed flush's -errno; use file_lost */
    const struct file_engine *engine; /* NULL: threads do it all */
    struct file_aio aio;              /* of the engine "native" */
    struct ring *ring;                /* of the engine "io_uring": the context's */
};

struct file_op {
    struct node_work work; /* first: a struct node_work * is a struct file_op * */
    struct file *f;
    struct node_req *r;
    struct file_op *next; /* collected */
    struct iocb cb;
    bool syncing; /* io_uring: the write is done, its fdatasync is not */
    void *bounce;
    struct iovec bounce_iov;
    const struct iovec *iov; /* the request's, or bounce_iov */
    int iovcnt;
    uint64_t at; /* bytes done */
    int ret;
};

static inline void file_list_init(struct file_list *l)
{
    l->head = NULL;
    l->tail = &l->head;
}

static inline void file_list_add(struct file_list *l, struct file_op *op)
{
    op->next = NULL;
    *l->tail = op;
    l->tail = &op->next;
}

static inline struct file_op *file_list_take(struct file_list *l)
{
    struct file_op *op = l->head;

    if (op) {
        l->head = op->next;
        if (!l->head) {
            l->tail = &l->head;
        }
    }
    return op;
}

/* file.c: op is over; ret 0 or -errno. Frees it. */
void file_end(struct file_op *op, int ret);

/* file-work.c: a thread does op, or what is left of it from op->at on. */
void file_to_thread(struct file_op *op);
/* These block. 0 or -errno. */
int file_do(struct file_op *op); /* all that op asks for, from op->at on */
int file_sync(struct file *f);
int file_truncate(struct file *f, uint64_t len);

/* Give f the engine. 0, or -errno: the kernel refuses. */
int file_use_aio(struct file *f);
int file_use_uring(struct file *f);

/* Through the page cache a failed flush leaves pages that count as clean: no later one is a success. */
static inline void file_flush_failed(struct file *f, int ret)
{
    if (!f->direct) {
        __atomic_store_n(&f->lost, ret, __ATOMIC_RELAXED);
    }
}

static inline int file_lost(const struct file *f)
{
    return __atomic_load_n(&f->lost, __ATOMIC_RELAXED);
}

/* What the kernel said of an asynchronous call, after a test had its way with it. */
static inline long file_heard(const struct file *f, long res)
{
    return f->calls->heard ? f->calls->heard(res) : res;
}

/* Whether what was collected may go to the kernel: a test may say no. */
static inline bool file_may_send(const struct file *f)
{
    return !f->calls->may_send || f->calls->may_send();
}

#endif
