/* SPDX-License-Identifier: MIT */
/* block/file-work.c - what a worker thread does for a file: system calls that may block, repeated until
 * all is done.
 */
#include "block/file-int.h"

#include "dm/base/util.h"

#include <errno.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FILE_ZERO_STEP = 1 << 20, /* bytes of zeros written at a time where fallocate cannot help */
    FILE_RETRIES = 50,        /* of EAGAIN, a millisecond apart */
};

/* Whether a call that failed with errno is worth repeating. */
static bool again(unsigned *tries)
{
    if (errno == EINTR) {
        return true;
    }
    if (errno != EAGAIN || ++*tries > FILE_RETRIES) {
        return false;
    }
    usleep(1000);
    return true;
}

static int file_read_rest(struct file_op *op)
{
    struct file *f = op->f;
    unsigned tries = 0;

    while (op->at < op->r->len) {
        struct iovec part[FILE_IOV_STEP];
        int n = node_iov_part(op->iov, op->iovcnt, op->at, op->r->len, part, FILE_IOV_STEP);
        /* Direct I/O stops short of a sector only where the file ends. */
        bool end = f->direct && op->at % FILE_ALIGN;
        ssize_t got = end ? 0 : f->calls->preadv(f->fd, part, n, (off_t)(op->r->offset + op->at));

        if (got < 0 && again(&tries)) {
            continue;
        }
        if (got < 0) {
            return -errno;
        }
        op->at += (uint64_t)got;
        if (got == 0) {
            node_iov_zero(op->iov, op->iovcnt, op->at, op->r->len - op->at);
            break;
        }
    }
    return 0;
}

static int file_write_rest(struct file_op *op)
{
    struct file *f = op->f;
    unsigned tries = 0;

    while (op->at < op->r->len) {
        struct iovec part[FILE_IOV_STEP];
        int n = node_iov_part(op->iov, op->iovcnt, op->at, op->r->len, part, FILE_IOV_STEP);
        ssize_t put = f->calls->pwritev(f->fd, part, n, (off_t)(op->r->offset + op->at));

        if (put < 0 && again(&tries)) {
            continue;
        }
        if (put <= 0) {
            return put < 0 ? -errno : -ENOSPC;
        }
        op->at += (uint64_t)put;
    }
    return 0;
}

int file_sync(struct file *f)
{
    unsigned tries = 0;
    int ret;

    if (file_lost(f)) {
        return file_lost(f);
    }
    do {
        ret = f->calls->fdatasync(f->fd);
    } while (ret < 0 && again(&tries));
    ret = ret < 0 ? -errno : 0;
    if (ret < 0) {
        file_flush_failed(f, ret);
    }
    return ret;
}

static int file_fallocate(struct file *f, int mode, uint64_t offset, uint64_t len)
{
    unsigned tries = 0;
    int ret;

    do {
        ret = f->calls->fallocate(f->fd, mode, (off_t)offset, (off_t)len);
    } while (ret < 0 && again(&tries));
    return ret < 0 ? -errno : 0;
}

static int file_ioctl(struct file *f, unsigned long what, uint64_t offset, uint64_t len)
{
    uint64_t range[2] = { offset, len };
    int ret;

    do {
        ret = ioctl(f->fd, what, range);
    } while (ret < 0 && errno == EINTR);
    return ret < 0 ? -errno : 0;
}

static bool cannot(int ret)
{
    return ret == -EOPNOTSUPP || ret == -ENOTTY || ret == -ENOSYS || ret == -EINVAL;
}

/* Advice: an image that cannot take it is not an error. */
static int file_discard(struct file *f, const struct node_req *r)
{
    int ret;

    if (f->block_device) {
        ret = file_ioctl(f, BLKDISCARD, r->offset, r->len);
    } else {
        ret = file_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, r->offset, r->len);
    }
    return cannot(ret) ? 0 : ret;
}

static int file_write_zeros(struct file_op *op)
{
    uint64_t offset = op->r->offset, left = op->r->len;
    struct node_req r = *op->r;
    struct file_op part = { .f = op->f, .r = &r, .iov = &part.bounce_iov, .iovcnt = 1 };
    int ret = 0;
    size_t step = (size_t)min_u64(left, FILE_ZERO_STEP);
    void *zeros;

    if (posix_memalign(&zeros, 4096, step)) {
        return -ENOMEM;
    }
    memset(zeros, 0, step);
    while (left && ret == 0) {
        r.offset = offset;
        r.len = min_u64(left, step);
        part.at = 0;
        part.bounce_iov = (struct iovec){ zeros, r.len };
        ret = file_write_rest(&part);
        offset += r.len;
        left -= r.len;
    }
    free(zeros);
    return ret;
}

int file_truncate(struct file *f, uint64_t len)
{
    unsigned tries = 0;
    int ret;

    do {
        ret = f->calls->ftruncate(f->fd, (off_t)len);
    } while (ret < 0 && again(&tries));
    return ret < 0 ? -errno : 0;
}

/* Makes the file reach to end, at least. */
static int file_extend(struct file *f, uint64_t end)
{
    struct stat st;

    if (fstat(f->fd, &st) < 0) {
        return -errno;
    }
    return (uint64_t)st.st_size < end ? file_truncate(f, end) : 0;
}

static int file_zero(struct file_op *op)
{
    struct file *f = op->f;
    const struct node_req *r = op->r;
    int ret = -EOPNOTSUPP;

    if (f->block_device) {
        ret = file_ioctl(f, BLKZEROOUT, r->offset, r->len);
        return cannot(ret) ? file_write_zeros(op) : ret;
    }
    if ((r->flags & NODE_UNMAP) && !__atomic_load_n(&f->no_punch, __ATOMIC_RELAXED)) {
        ret = file_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, r->offset, r->len);
        __atomic_store_n(&f->no_punch, cannot(ret), __ATOMIC_RELAXED);
        ret = ret == 0 ? file_extend(f, r->offset + r->len) : ret;
    }
    if (cannot(ret) && !__atomic_load_n(&f->no_zero_range, __ATOMIC_RELAXED)) {
        ret = file_fallocate(f, FALLOC_FL_ZERO_RANGE, r->offset, r->len);
        __atomic_store_n(&f->no_zero_range, cannot(ret), __ATOMIC_RELAXED);
    }
    return cannot(ret) ? file_write_zeros(op) : ret;
}

static int file_status(struct file *f, struct node_req *r)
{
    uint64_t end = r->offset + r->len, upto = end;
    off_t data = f->block_device ? (off_t)r->offset : lseek(f->fd, (off_t)r->offset, SEEK_DATA);
    bool hole = false;

    if (data < 0 && errno == ENXIO) {
        hole = true; /* to the end of the file and beyond */
    } else if (data >= 0 && ((uint64_t)data & ~(uint64_t)(FILE_ALIGN - 1)) > r->offset) {
        hole = true;
        upto = (uint64_t)data & ~(uint64_t)(FILE_ALIGN - 1);
    } else if (data >= 0 && !f->block_device) {
        off_t next = lseek(f->fd, (off_t)r->offset, SEEK_HOLE);
        if (next > (off_t)r->offset) {
            upto = ((uint64_t)next + FILE_ALIGN - 1) & ~(uint64_t)(FILE_ALIGN - 1);
        }
    }
    r->status.len = min_u64(upto, end) - r->offset;
    r->status.flags = NODE_MAPPED | NODE_ALLOCATED | (hole ? NODE_IS_ZERO : NODE_HAS_DATA);
    r->status.mapped = r->offset;
    return 0;
}

int file_do(struct file_op *op)
{
    struct file *f = op->f;
    int ret;

    switch (op->r->op) {
    case NODE_READ:
        return file_read_rest(op);
    case NODE_FLUSH:
        return file_sync(f);
    case NODE_DISCARD:
        return file_discard(f, op->r);
    case NODE_STATUS:
        return file_status(f, op->r);
    case NODE_ZERO:
        ret = file_zero(op);
        break;
    default:
        ret = file_write_rest(op);
    }
    return ret == 0 && f->sync_writes ? file_sync(f) : ret;
}

static void file_run(struct node_work *w)
{
    struct file_op *op = (struct file_op *)w;

    op->ret = file_do(op);
}

static void file_ran(struct node_work *w)
{
    struct file_op *op = (struct file_op *)w;

    file_end(op, op->ret);
}

void file_to_thread(struct file_op *op)
{
    op->work.run = file_run;
    op->work.done = file_ran;
    node_ctx_work(op->f->base.ctx, &op->work);
}
