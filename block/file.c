/* SPDX-License-Identifier: MIT */
/* block/file.c - the protocol node: a file or a block device, whose bytes are the node's bytes.
 *
 * Two roads lead to the kernel: an engine (io_uring, libaio) that takes what a turn collected in one
 * call and needs no thread, and worker threads, which also end what an engine cannot. What the page
 * cache has already is read on the spot. So is a write into it where nobody but its requester waits,
 * which is true of tools: a machine's loop must not wait until the kernel has written older pages.
 *
 * libaio is for O_DIRECT alone: a buffered io_submit blocks until the page cache has the data.
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
#include "block/file-int.h"

#include "dm/base/err.h"
#include "dm/base/log.h"
#include "dm/base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_INLINE = 256 << 10 }; /* bytes that are copied from or to the page cache on the spot */

static const struct file_calls system_calls = { preadv,    pwritev, fdatasync, fallocate,
                                                ftruncate, NULL,    NULL };

static bool iov_aligned(const struct iovec *iov, int n)
{
    for (int i = 0; i < n; i++) {
        if ((uintptr_t)iov[i].iov_base % FILE_ALIGN || iov[i].iov_len % FILE_ALIGN) {
            return false;
        }
    }
    return true;
}

void file_end(struct file_op *op, int ret)
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
    if (!f->engine || !f->engine->queue(op)) {
        file_to_thread(op);
    }
}

/* What the page cache has is there without a thread. Returns the bytes read; the rest would block,
 * or is for a thread to find out about. */
static uint64_t file_read_cached(const struct file *f, uint64_t offset, const struct iovec *iov,
                                 int iovcnt, uint64_t len)
{
    ssize_t got;

    if (f->direct || f->calls != &system_calls || len > FILE_INLINE || iovcnt > FILE_IOV_STEP) {
        return 0;
    }
    got = preadv2(f->fd, iov, iovcnt, (off_t)offset, RWF_NOWAIT);
    return got > 0 ? (uint64_t)got : 0;
}

static bool file_read_now(struct node *n, uint64_t offset, const struct iovec *iov, int iovcnt,
                          uint64_t len)
{
    return file_read_cached((struct file *)n, offset, iov, iovcnt, len) == len;
}

/* Where nobody waits but for requests like this one: a write into the page cache, a look at the map. */
static bool file_does_here(const struct file *f, const struct node_req *r)
{
    bool write = r->op == NODE_WRITE && !f->direct && !f->sync_writes && r->len <= FILE_INLINE;

    return (write || r->op == NODE_STATUS) && !node_ctx_loop(f->base.ctx) &&
           f->calls == &system_calls;
}

static void file_submit(struct node *n, struct node_req *r)
{
    struct file *f = (struct file *)n;
    struct file_op *op;
    uint64_t have =
        r->op == NODE_READ ? file_read_cached(f, r->offset, r->iov, r->iovcnt, r->len) : 0;

    if (r->op == NODE_FLUSH && (f->ignore_flush || (n->read_only && !file_lost(f)))) {
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
    if (file_does_here(f, r)) {
        file_end(op, file_do(op));
    } else {
        file_start(op);
    }
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
    int ret = file_lost(f);

    if (f->engine && f->engine->close) {
        f->engine->close(f);
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
                                          .read_now = file_read_now,
                                          .close = file_close,
                                          .resize = file_resize,
                                          .reopen = file_reopen };

/* ---- opening ---- */

bool blk_aio_named(const char *name, enum blk_aio *out)
{
    static const char *const names[] = {
        [BLK_AIO_THREADS] = "threads", [BLK_AIO_NATIVE] = "native", [BLK_AIO_IO_URING] = "io_uring"
    };

    for (unsigned i = BLK_AIO_THREADS; i < ARRAY_SIZE(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (enum blk_aio)i;
            return true;
        }
    }
    return false;
}

/* Only io_uring that was asked for by name has to be had; else threads do what no engine does. */
static int file_choose_engine(struct file *f, enum blk_aio aio, struct err *e)
{
    int ret = -ENOSYS;

    if (aio == BLK_AIO_IO_URING || aio == BLK_AIO_AUTO) {
        ret = file_use_uring(f);
    }
    if (ret < 0 && aio == BLK_AIO_IO_URING) {
        return err_set(e, ret, "image '%s': aio=io_uring: the kernel refuses it: %s",
                       f->base.filename, strerror(-ret));
    }
    if (ret < 0 && aio != BLK_AIO_THREADS && f->direct) {
        file_use_aio(f);
    }
    return 0;
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
    if (file_choose_engine(f, o->aio, e) < 0) {
        goto fail;
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
