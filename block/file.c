/* SPDX-License-Identifier: MIT */
/* block/file.c - the protocol node: a file or a block device, whose bytes are the node's bytes.
 *
 * Two roads lead to the kernel. With cache=none the file is opened O_DIRECT and reads and writes go
 * through libaio, whose eventfd is the context's. Everything else goes to worker threads: a
 * buffered io_submit blocks until the page cache has the data (and a flush until the disk has it),
 * which would hold up the loop and with it every vCPU that waits for a device. Only a read of what
 * the page cache has already is done on the spot. The threads are also the fallback when libaio is
 * not to be had (io_setup fails, aio=threads) or says EAGAIN.
 *
 * Writethrough and directsync flush after each write; unsafe never flushes. O_DIRECT wants
 * 512-byte aligned memory: other buffers take a detour through a bounce buffer. An image whose
 * direct I/O needs more than 512-byte alignment is used through the page cache instead; flushes
 * keep their meaning. A length that is no multiple of 512 is rounded up; bytes past the end of the
 * file read as zeros.
 *
 * After a failed fdatasync the kernel has marked the pages clean that it could not write, and the
 * next fdatasync would claim success for data that are lost. So through the page cache one failure
 * makes every later flush fail.
 */
#include "block/file.h"

#include "dm/base/err.h"
#include "dm/base/log.h"
#include "dm/base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FILE_ALIGN = 512,
    FILE_AIO_DEPTH = 64,
    FILE_IOV_STEP = 64,       /* iovec elements a worker hands to one system call */
    FILE_ZERO_STEP = 1 << 20, /* bytes of zeros written at a time where fallocate cannot help */
    FILE_RETRIES = 50,        /* of EAGAIN, a millisecond apart */
    FILE_INLINE = 256 << 10,  /* bytes that are copied out of the page cache on the spot, at most */
};

struct file {
    struct node base; /* first: a struct node * is a struct file * */
    const struct file_calls *calls;
    int fd;
    bool block_device, direct, sync_writes, ignore_flush;
    enum blk_cache cache; /* as asked for when it was opened, like the next */
    bool lock, share_rw;
    bool no_punch, no_zero_range; /* the file system said so */
    int lost;                     /* the first failed flush's -errno */
    io_context_t aio;             /* NULL: not used */
    unsigned aio_in_flight;
    struct node_poller poller;
};

struct file_op {
    struct node_work work; /* first: a struct node_work * is a struct file_op * */
    struct file *f;
    struct node_req *r;
    struct iocb cb;
    void *bounce;
    struct iovec bounce_iov;
    const struct iovec *iov; /* the request's, or bounce_iov */
    int iovcnt;
    uint64_t at; /* bytes done */
    int ret;
};

static const struct file_calls system_calls = { preadv, pwritev, fdatasync, fallocate, ftruncate };

static bool iov_aligned(const struct iovec *iov, int n)
{
    for (int i = 0; i < n; i++) {
        if ((uintptr_t)iov[i].iov_base % FILE_ALIGN || iov[i].iov_len % FILE_ALIGN) {
            return false;
        }
    }
    return true;
}

static void file_end(struct file_op *op, int ret)
{
    struct node_req *r = op->r;
    struct node *n = &op->f->base;
    bool longer = r->op == NODE_WRITE || r->op == NODE_ZERO;

    if (op->bounce && ret == 0 && r->op == NODE_READ) {
        node_iov_from_buf(r->iov, r->iovcnt, 0, op->bounce, r->len);
    }
    if (ret == 0 && longer && n->growable) {
        n->len = max_u64(n->len, r->offset + r->len);
    }
    free(op->bounce);
    free(op);
    node_complete(r, ret);
}

/* ---- a worker's steps ---- */

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

static int file_sync(struct file *f)
{
    unsigned tries = 0;
    int ret;

    if (f->lost) {
        return f->lost;
    }
    do {
        ret = f->calls->fdatasync(f->fd);
    } while (ret < 0 && again(&tries));
    ret = ret < 0 ? -errno : 0;
    if (ret < 0 && !f->direct) {
        f->lost = ret;
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

static int file_truncate(struct file *f, uint64_t len)
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
    if ((r->flags & NODE_UNMAP) && !f->no_punch) {
        ret = file_fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, r->offset, r->len);
        f->no_punch = cannot(ret);
        ret = ret == 0 ? file_extend(f, r->offset + r->len) : ret;
    }
    if (cannot(ret) && !f->no_zero_range) {
        ret = file_fallocate(f, FALLOC_FL_ZERO_RANGE, r->offset, r->len);
        f->no_zero_range = cannot(ret);
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

static int file_do(struct file_op *op)
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

static void file_to_thread(struct file_op *op)
{
    op->work.run = file_run;
    op->work.done = file_ran;
    node_ctx_work(op->f->base.ctx, &op->work);
}

/* ---- libaio ---- */

static bool file_to_aio(struct file_op *op)
{
    struct file *f = op->f;
    struct iocb *list[1] = { &op->cb };
    int ret;

    if (op->r->op == NODE_READ) {
        io_prep_preadv(&op->cb, f->fd, op->iov, op->iovcnt, (long long)op->r->offset);
    } else {
        io_prep_pwritev(&op->cb, f->fd, op->iov, op->iovcnt, (long long)op->r->offset);
    }
    io_set_eventfd(&op->cb, node_ctx_eventfd(f->base.ctx));
    op->cb.data = op;
    do {
        ret = io_submit(f->aio, 1, list);
    } while (ret == -EINTR);
    f->aio_in_flight += ret == 1;
    return ret == 1;
}

static void file_aio_ended(struct file_op *op, long res)
{
    op->f->aio_in_flight--;
    if (res == -EAGAIN || res == -EINTR) {
        file_to_thread(op);
    } else if (res < 0) {
        file_end(op, (int)res);
    } else if ((uint64_t)res == op->r->len) {
        file_end(op, 0);
    } else {
        /* Short: the end of the file, or a transfer to be continued. A worker sees to both. */
        op->at = (uint64_t)res;
        file_to_thread(op);
    }
}

static bool file_poll(void *opaque, bool block)
{
    struct file *f = opaque;
    struct io_event events[FILE_AIO_DEPTH];
    struct timespec now = { 0 };
    int n;

    (void)block;
    if (!f->aio_in_flight) {
        return false;
    }
    do {
        n = io_getevents(f->aio, 0, FILE_AIO_DEPTH, events, &now);
    } while (n == -EINTR);
    for (int i = 0; i < n; i++) {
        file_aio_ended(events[i].data, (long)events[i].res);
    }
    return n > 0;
}

/* ---- requests ---- */

static int file_bounce(struct file_op *op)
{
    struct node_req *r = op->r;

    if (posix_memalign(&op->bounce, 4096, r->len)) {
        op->bounce = NULL;
        return -ENOMEM;
    }
    if (r->op == NODE_WRITE) {
        node_iov_to_buf(r->iov, r->iovcnt, 0, op->bounce, r->len);
    }
    op->bounce_iov = (struct iovec){ op->bounce, r->len };
    op->iov = &op->bounce_iov;
    op->iovcnt = 1;
    return 0;
}

static void file_start(struct file_op *op)
{
    struct file *f = op->f;
    bool moves = op->r->op == NODE_READ || op->r->op == NODE_WRITE;

    if (f->direct && moves && !iov_aligned(op->iov, op->iovcnt)) {
        int ret = file_bounce(op);
        if (ret < 0) {
            file_end(op, ret);
            return;
        }
    }
    if (!f->aio || !moves || op->iovcnt > IOV_MAX || !file_to_aio(op)) {
        file_to_thread(op);
    }
}

/* What the page cache has is there without a thread. Returns the bytes read; the rest would block,
 * or is for a thread to find out about. */
static uint64_t file_read_cached(const struct file *f, const struct node_req *r)
{
    ssize_t got;

    if (f->direct || f->calls != &system_calls || r->op != NODE_READ || r->len > FILE_INLINE ||
        r->iovcnt > FILE_IOV_STEP) {
        return 0;
    }
    got = preadv2(f->fd, r->iov, r->iovcnt, (off_t)r->offset, RWF_NOWAIT);
    return got > 0 ? (uint64_t)got : 0;
}

static void file_submit(struct node *n, struct node_req *r)
{
    struct file *f = (struct file *)n;
    struct file_op *op;
    uint64_t have = file_read_cached(f, r);

    if (r->op == NODE_FLUSH && (f->ignore_flush || (n->read_only && !f->lost))) {
        node_complete(r, 0);
        return;
    }
    if (have && have == r->len) {
        node_complete(r, 0);
        return;
    }
    op = calloc(1, sizeof(*op));
    if (!op) {
        node_complete(r, -ENOMEM);
        return;
    }
    op->f = f;
    op->r = r;
    op->at = have;
    op->iov = r->iov;
    op->iovcnt = r->iovcnt;
    file_start(op);
}

static int file_resize(struct node *n, uint64_t len, struct err *e)
{
    struct file *f = (struct file *)n;

    if (f->block_device) {
        return len <= n->len
                   ? 0
                   : err_set(e, -ENOTSUP, "'%s': a block device cannot grow", n->filename);
    }
    int ret = file_truncate(f, len);
    if (ret < 0) {
        return err_set(e, ret, "image '%s' cannot be resized: %s", n->filename, strerror(-ret));
    }
    n->len = len;
    return 0;
}

static int file_close(struct node *n)
{
    struct file *f = (struct file *)n;
    int ret = f->lost;

    if (f->aio) {
        node_ctx_del_poller(n->ctx, &f->poller);
        io_destroy(f->aio);
    }
    close(f->fd);
    free(f);
    return ret;
}

static int file_take_locks(const struct file *f, struct err *e)
{
    const struct node *n = &f->base;

    return f->lock ? file_lock(f->fd, n->filename, !n->read_only, n->growable && !n->read_only,
                               f->share_rw, e)
                   : 0;
}

/* The same file once more, with the other access, in the descriptor's place. */
static int file_replace_fd(struct file *f, bool read_only)
{
    char self[40];
    int flags = fcntl(f->fd, F_GETFL), access = read_only ? O_RDONLY : O_RDWR, fd, ret = 0;

    snprintf(self, sizeof(self), "/proc/self/fd/%d", f->fd);
    fd = open(self, access | O_CLOEXEC | (flags & O_DIRECT));
    if (fd < 0 && errno == ENOENT) { /* no /proc */
        fd = open(f->base.filename, access | O_CLOEXEC | (flags & O_DIRECT));
    }
    if (fd < 0 || dup3(fd, f->fd, O_CLOEXEC) < 0) {
        ret = -errno;
    }
    if (fd >= 0) {
        close(fd);
    }
    return ret;
}

static int file_reopen(struct node *n, bool read_only, struct err *e)
{
    struct file *f = (struct file *)n;
    int ret = n->read_only ? 0 : file_sync(f);

    ret = ret == 0 ? file_replace_fd(f, read_only) : ret;
    if (ret < 0) {
        return err_set(e, ret, "image '%s' cannot be reopened: %s", n->filename, strerror(-ret));
    }
    n->read_only = read_only;
    ret = file_take_locks(f, e); /* the old ones went with the old descriptor */
    if (ret < 0 && file_replace_fd(f, !read_only) == 0) {
        struct err unused;
        n->read_only = !read_only;
        file_take_locks(f, &unused);
    }
    return ret;
}

static const struct node_ops file_ops = { .name = "file",
                                          .submit = file_submit,
                                          .close = file_close,
                                          .resize = file_resize,
                                          .reopen = file_reopen };

/* ---- opening ---- */

/* libaio if it can be had; else the threads do it all. */
static void file_start_aio(struct file *f)
{
    if (io_setup(FILE_AIO_DEPTH, &f->aio) < 0) {
        f->aio = NULL;
        return;
    }
    f->poller = (struct node_poller){ .poll = file_poll, .opaque = f };
    node_ctx_add_poller(f->base.ctx, &f->poller);
}

/* Whether a 512-byte aligned, 512-byte read works: the only way to ask every kernel. */
static bool direct_works(int fd, uint64_t len)
{
    void *buf;
    ssize_t got;

    if (len < 2 * FILE_ALIGN) {
        return true;
    }
    if (posix_memalign(&buf, FILE_ALIGN * 16, FILE_ALIGN * 2)) {
        return false;
    }
    got = pread(fd, (char *)buf + FILE_ALIGN, FILE_ALIGN, FILE_ALIGN);
    free(buf);
    return got >= 0;
}

/* Puts an open descriptor into the mode the options ask for, as far as it goes. */
static int file_set_flags(struct file *f, const struct file_open *o)
{
    int flags = fcntl(f->fd, F_GETFL);

    if (flags < 0) {
        return -errno;
    }
    flags &= ~(O_NONBLOCK | O_DIRECT);
    if ((o->cache == BLK_NONE || o->cache == BLK_DIRECTSYNC) &&
        fcntl(f->fd, F_SETFL, flags | O_DIRECT) == 0) {
        if (direct_works(f->fd, f->base.len)) {
            f->direct = true;
            return 0;
        }
        log_msg(LOG_INFO, "block",
                "image '%s': direct I/O needs more than 512-byte alignment, "
                "the page cache is used",
                f->base.filename);
    }
    return fcntl(f->fd, F_SETFL, flags) < 0 ? -errno : 0;
}

static int file_measure(struct file *f, struct err *e)
{
    const char *name = f->base.filename;
    struct stat st;
    off_t end;

    if (fstat(f->fd, &st) < 0) {
        return err_set(e, -errno, "image '%s': %s", name, strerror(errno));
    }
    if (S_ISDIR(st.st_mode)) {
        return err_set(e, -EISDIR, "image '%s' is a directory", name);
    }
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
        return err_set(e, -EINVAL, "image '%s' is neither a file nor a block device", name);
    }
    f->block_device = S_ISBLK(st.st_mode);
    f->base.is_file = S_ISREG(st.st_mode);
    end = lseek(f->fd, 0, SEEK_END);
    if (end < 0) {
        return err_set(e, -errno, "image '%s': %s", name, strerror(errno));
    }
    f->base.len = ((uint64_t)end + FILE_ALIGN - 1) & ~(uint64_t)(FILE_ALIGN - 1);
    return 0;
}

/* A descriptor that was handed over must allow what the drive wants to do with it. */
static int file_check_access(const struct file *f, struct err *e)
{
    int flags = fcntl(f->fd, F_GETFL);

    if (flags < 0) {
        return err_set(e, -errno, "image '%s': %s", f->base.filename, strerror(errno));
    }
    if ((flags & O_ACCMODE) == O_WRONLY ||
        (!f->base.read_only && (flags & O_ACCMODE) == O_RDONLY)) {
        return err_set(e, -EACCES, "image '%s': the descriptor does not allow %s", f->base.filename,
                       f->base.read_only ? "reading" : "writing");
    }
    return 0;
}

static int file_open_fd(struct file *f, const struct file_open *o, struct err *e)
{
    const char *name = f->base.filename;

    if (o->fd >= 0) {
        f->fd = o->fd;
        return file_check_access(f, e);
    }
    /* O_NONBLOCK: a FIFO must not hold up the start; it is refused next. */
    f->fd = open(name, (o->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
    if (f->fd < 0 && errno == EISDIR) {
        return err_set(e, -EISDIR, "image '%s' is a directory", name);
    }
    if (f->fd < 0) {
        return err_set(e, -errno, "image '%s' cannot be opened%s: %s", name,
                       o->read_only ? "" : " for writing", strerror(errno));
    }
    return 0;
}

struct node *file_open(struct node_ctx *c, const struct file_open *o, struct err *e)
{
    struct file *f = xcalloc(1, sizeof(*f));

    f->base.ops = &file_ops;
    f->base.ctx = c;
    f->base.read_only = o->read_only;
    f->base.filename = o->filename ? xstrdup(o->filename) : xasprintf("fd:%d", o->fd);
    f->calls = o->calls ? o->calls : &system_calls;
    f->fd = -1;
    if (file_open_fd(f, o, e) < 0 || file_measure(f, e) < 0) {
        goto fail;
    }
    f->lock = o->lock;
    f->share_rw = o->share_rw;
    f->cache = o->cache;
    f->base.growable = o->growable && !f->block_device;
    if (file_take_locks(f, e) < 0) {
        goto fail;
    }
    if (file_set_flags(f, o) < 0) {
        err_set(e, -errno, "image '%s': %s", f->base.filename, strerror(errno));
        goto fail;
    }
    f->base.zero_tail = f->base.growable;
    f->sync_writes = o->cache == BLK_WRITETHROUGH || o->cache == BLK_DIRECTSYNC;
    f->ignore_flush = o->cache == BLK_UNSAFE;
    if (f->direct && !f->sync_writes && !o->aio_threads && !o->calls) {
        file_start_aio(f);
    }
    return &f->base;
fail:
    if (f->fd >= 0) {
        close(f->fd);
    }
    free(f->base.filename);
    free(f);
    return NULL;
}

void file_refresh(struct node *n)
{
    struct stat st;

    if (n->ops == &file_ops && n->is_file && fstat(((struct file *)n)->fd, &st) == 0) {
        n->len = ((uint64_t)st.st_size + FILE_ALIGN - 1) & ~(uint64_t)(FILE_ALIGN - 1);
    }
}

enum blk_cache file_cache(const struct node *n)
{
    return n->ops == &file_ops ? ((const struct file *)n)->cache : BLK_WRITEBACK;
}

uint64_t file_allocated(const struct node *n)
{
    struct stat st;

    return n->ops != &file_ops || fstat(((const struct file *)n)->fd, &st) < 0
               ? 0
               : (uint64_t)st.st_blocks * 512;
}

int file_create(const char *filename, uint64_t len, struct err *e)
{
    struct stat st;
    int fd = open(filename, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0644), ret;

    if (fd < 0) {
        return err_set(e, -errno, "image '%s' cannot be created: %s", filename, strerror(errno));
    }
    ret = file_lock(fd, filename, true, true, false, e);
    if (ret == 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
        (ftruncate(fd, 0) < 0 || ftruncate(fd, (off_t)len) < 0)) {
        ret = err_set(e, -errno, "image '%s' cannot be made %llu bytes long: %s", filename,
                      (unsigned long long)len, strerror(errno));
    }
    close(fd);
    return ret;
}
