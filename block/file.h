/* SPDX-License-Identifier: MIT */
/* block/file.h - the protocol node "file": a file or a block device of the host. */
#ifndef BLOCK_FILE_H
#define BLOCK_FILE_H

#include "block/blk.h"
#include "block/node.h"

#include <sys/types.h>

/* The system calls that move data, so that a test can fail each of them. */
struct file_calls {
    ssize_t (*preadv)(int fd, const struct iovec *iov, int n, off_t offset);
    ssize_t (*pwritev)(int fd, const struct iovec *iov, int n, off_t offset);
    int (*fdatasync)(int fd);
    int (*fallocate)(int fd, int mode, off_t offset, off_t len);
    int (*ftruncate)(int fd, off_t len);
    /* Of asynchronous calls; NULL: nothing happens to them. heard turns what the kernel said (bytes,
     * 0, or -errno) into what it shall have said; may_send false: the kernel takes none now. */
    long (*heard)(long res);
    bool (*may_send)(void);
};

struct file_open {
    const char *filename;
    int fd; /* -1, or an open descriptor to use (and own) instead of filename */
    bool read_only;
    bool growable; /* a format stands on it */
    bool lock;     /* take qemu's image locks */
    bool share_rw; /* another writer is all right */
    enum blk_cache cache;
    enum blk_aio aio;
    const struct file_calls *calls; /* NULL: the system's */
};

/* NULL with e naming file and cause. */
struct node *file_open(struct node_ctx *c, const struct file_open *o, struct err *e);
/* n's length as it is now: somebody else may have made the file longer. */
void file_refresh(struct node *n);
/* The mode n was opened in; writeback for what is no file. */
enum blk_cache file_cache(const struct node *n);
/* Bytes the host has set aside for it; 0 for what is no file of the host's. */
uint64_t file_allocated(const struct node *n);
/* Makes a new, empty file of len bytes (sparse), or empties an old one. A file somebody holds the
 * lock of is left alone. 0 or -errno. */
int file_create(const char *filename, uint64_t len, struct err *e);

/* block/lock.c: qemu's image locks on fd: shared locks at byte 100 + n for what we do and 200 + n
 * for what others may not do, n being 0 for consistent reads, 1 writes, 3 resizes. Held as long as
 * the open file description. 0, or -EAGAIN with e naming what another process does. A file
 * system without such locks is no error. */
int file_lock(int fd, const char *filename, bool writes, bool resizes, bool share_rw,
              struct err *e);

#endif
