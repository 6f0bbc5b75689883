/* SPDX-License-Identifier: MIT */
/* block/raw.c - raw images: a file or a block device whose bytes are the disk's bytes.
 *
 * Two roads lead to the kernel. With cache=none the file is opened O_DIRECT and reads and writes go
 * through libaio, whose eventfd the loop watches. Everything else goes to worker threads: a
 * buffered io_submit blocks until the page cache has the data (and a flush until the disk has it),
 * which would hold up the loop and with it every vCPU that waits for a device. The threads are
 * also the fallback when libaio is not to be had (io_setup fails, aio=threads) or says EAGAIN.
 *
 * Writethrough and directsync flush after each write; unsafe never flushes. O_DIRECT wants
 * 512-byte aligned memory: other buffers take a detour through a bounce buffer. An image whose
 * direct I/O needs more than 512-byte alignment is used through the page cache instead; flushes
 * keep their meaning. A length that is no multiple of 512 is rounded up; bytes past the end of the
 * file read as zeros.
 *
 * Left out: image locking, growing the file on purpose.
 */
#include "block/blk.h"

#include "block/pool.h"
#include "dm/base/err.h"
#include "dm/base/ev.h"
#include "dm/base/log.h"
#include "dm/base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    RAW_ALIGN = 512,
    RAW_AIO_DEPTH = 64,
    RAW_THREADS = 4,
    RAW_IOV_STEP = 64, /* iovec elements a worker hands to one system call */
};

struct raw_op {
    struct pool_work work; /* first: a struct pool_work * is a struct raw_op * */
    struct raw *raw;
    struct blk_req *r;
    struct iocb cb;
    void *bounce;
    struct iovec bounce_iov;
    const struct iovec *iov; /* the request's, or bounce_iov */
    int iovcnt;
    uint64_t at; /* bytes done */
    int ret;
    struct raw_op *next;
};

struct raw {
    struct blk_image base; /* first: a struct blk_image * is a struct raw * */
    struct ev_loop *loop;
    int fd;
    bool block_device, direct, sync_writes, ignore_flush, ignore_discard;
    io_context_t aio; /* NULL: not used */
    unsigned aio_in_flight, thread_in_flight;
    struct ev_fd aio_ev;
    struct pool *pool;
    pthread_mutex_t lock; /* the list of what the workers finished */
    pthread_cond_t more;
    struct raw_op *finished, **finished_tail;
    struct ev_post post;
};

/* The part of iov from byte `at` on, as at most max elements in out. Returns how many. */
static int iov_from(const struct iovec *iov, int n, uint64_t at, struct iovec *out, int max)
{
    int used = 0;

    for (int i = 0; i < n && used < max; i++) {
        if (at >= iov[i].iov_len) {
            at -= iov[i].iov_len;
            continue;
        }
        out[used].iov_base = (char *)iov[i].iov_base + at;
        out[used++].iov_len = iov[i].iov_len - at;
        at = 0;
    }
    return used;
}

static void iov_copy(const struct iovec *iov, int n, char *flat, bool to_iov)
{
    for (int i = 0; i < n; i++) {
        if (to_iov) {
            memcpy(iov[i].iov_base, flat, iov[i].iov_len);
        } else {
            memcpy(flat, iov[i].iov_base, iov[i].iov_len);
        }
        flat += iov[i].iov_len;
    }
}

static void iov_zero_from(const struct iovec *iov, int n, uint64_t at)
{
    struct iovec rest;

    for (; (n > 0) && iov_from(iov, n, at, &rest, 1); at += rest.iov_len) {
        memset(rest.iov_base, 0, rest.iov_len);
    }
}

static bool iov_aligned(const struct iovec *iov, int n)
{
    for (int i = 0; i < n; i++) {
        if ((uintptr_t)iov[i].iov_base % RAW_ALIGN || iov[i].iov_len % RAW_ALIGN) {
            return false;
        }
    }
    return true;
}

/* On the loop, under the lock. */
static void raw_end(struct raw_op *op, int ret)
{
    struct blk_req *r = op->r;

    if (op->bounce && ret == 0 && r->op == BLK_READ) {
        iov_copy(r->iov, r->iovcnt, op->bounce, true);
    }
    free(op->bounce);
    free(op);
    blk_complete(r, ret);
}

/* A worker's steps. */

static int raw_read_rest(struct raw_op *op)
{
    struct raw *raw = op->raw;

    while (op->at < op->r->len) {
        struct iovec part[RAW_IOV_STEP];
        int n = iov_from(op->iov, op->iovcnt, op->at, part, RAW_IOV_STEP);
        /* Direct I/O stops short of a sector only where the file ends. */
        bool end = raw->direct && op->at % RAW_ALIGN;
        ssize_t got = end ? 0 : preadv(raw->fd, part, n, (off_t)(op->r->offset + op->at));

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return -errno;
        }
        op->at += (uint64_t)got;
        if (got == 0) {
            iov_zero_from(op->iov, op->iovcnt, op->at);
            break;
        }
    }
    return 0;
}

static int raw_write_rest(struct raw_op *op)
{
    while (op->at < op->r->len) {
        struct iovec part[RAW_IOV_STEP];
        int n = iov_from(op->iov, op->iovcnt, op->at, part, RAW_IOV_STEP);
        ssize_t put = pwritev(op->raw->fd, part, n, (off_t)(op->r->offset + op->at));

        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            return put < 0 ? -errno : -ENOSPC;
        }
        op->at += (uint64_t)put;
    }
    return 0;
}

static int raw_sync(struct raw *raw)
{
    int ret;

    do {
        ret = fdatasync(raw->fd);
    } while (ret < 0 && errno == EINTR);
    return ret < 0 ? -errno : 0;
}

/* Advice from the guest: an image that cannot take it is not an error. */
static int raw_discard(struct raw *raw, const struct blk_req *r)
{
    int ret;

    do {
        if (raw->block_device) {
            uint64_t range[2] = { r->offset, r->len };
            ret = ioctl(raw->fd, BLKDISCARD, range);
        } else {
            ret = fallocate(raw->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)r->offset,
                            (off_t)r->len);
        }
    } while (ret < 0 && errno == EINTR);
    return ret < 0 && errno != EOPNOTSUPP && errno != ENOTTY ? -errno : 0;
}

static int raw_work(struct raw_op *op)
{
    struct raw *raw = op->raw;
    int ret;

    switch (op->r->op) {
    case BLK_READ:
        return raw_read_rest(op);
    case BLK_WRITE:
        ret = raw_write_rest(op);
        return ret == 0 && raw->sync_writes ? raw_sync(raw) : ret;
    case BLK_FLUSH:
        return raw_sync(raw);
    default:
        return op->r->len ? raw_discard(raw, op->r) : 0;
    }
}

static void raw_run(struct pool_work *w)
{
    struct raw_op *op = (struct raw_op *)w;
    struct raw *raw = op->raw;

    op->ret = raw_work(op);
    pthread_mutex_lock(&raw->lock);
    op->next = NULL;
    *raw->finished_tail = op;
    raw->finished_tail = &op->next;
    pthread_cond_signal(&raw->more);
    /* Inside the lock: once the list is seen empty again, the image may be closed. */
    ev_post(raw->loop, &raw->post);
    pthread_mutex_unlock(&raw->lock);
}

static struct raw_op *raw_take_finished(struct raw *raw, bool wait)
{
    struct raw_op *list;

    pthread_mutex_lock(&raw->lock);
    while (wait && !raw->finished) {
        pthread_cond_wait(&raw->more, &raw->lock);
    }
    list = raw->finished;
    raw->finished = NULL;
    raw->finished_tail = &raw->finished;
    pthread_mutex_unlock(&raw->lock);
    return list;
}

static void raw_reap_threads(struct raw *raw, bool wait)
{
    struct raw_op *op = raw_take_finished(raw, wait);

    for (struct raw_op *next; op; op = next) {
        next = op->next;
        raw->thread_in_flight--;
        raw_end(op, op->ret);
    }
}

static void raw_posted(void *opaque)
{
    raw_reap_threads(opaque, false);
}

static void raw_to_thread(struct raw_op *op)
{
    int ret;

    op->work.run = raw_run;
    ret = pool_submit(op->raw->pool, &op->work);
    if (ret < 0) {
        raw_end(op, ret);
    } else {
        op->raw->thread_in_flight++;
    }
}

/* libaio. */

static int raw_to_aio(struct raw_op *op)
{
    struct raw *raw = op->raw;
    struct iocb *list[1] = { &op->cb };
    int ret;

    if (op->r->op == BLK_READ) {
        io_prep_preadv(&op->cb, raw->fd, op->iov, op->iovcnt, (long long)op->r->offset);
    } else {
        io_prep_pwritev(&op->cb, raw->fd, op->iov, op->iovcnt, (long long)op->r->offset);
    }
    io_set_eventfd(&op->cb, raw->aio_ev.fd);
    op->cb.data = op;
    do {
        ret = io_submit(raw->aio, 1, list);
    } while (ret == -EINTR);
    if (ret == 1) {
        raw->aio_in_flight++;
        return 0;
    }
    return ret < 0 ? ret : -EAGAIN;
}

static void raw_aio_ended(struct raw_op *op, long res)
{
    op->raw->aio_in_flight--;
    if (res < 0) {
        raw_end(op, (int)res);
    } else if ((uint64_t)res == op->r->len) {
        raw_end(op, 0);
    } else {
        /* Short: the end of the file, or a transfer to be continued. A worker sees to both. */
        op->at = (uint64_t)res;
        raw_to_thread(op);
    }
}

static void raw_reap_aio(struct raw *raw, bool wait)
{
    struct io_event events[RAW_AIO_DEPTH];
    struct timespec now = { 0 };
    int n;

    do {
        n = io_getevents(raw->aio, wait ? 1 : 0, RAW_AIO_DEPTH, events, wait ? NULL : &now);
    } while (n == -EINTR);
    for (int i = 0; i < n; i++) {
        raw_aio_ended(events[i].data, (long)events[i].res);
    }
}

static void raw_aio_ready(void *opaque, unsigned events)
{
    struct raw *raw = opaque;
    uint64_t count;

    (void)events;
    /* Empties the counter; it only says that there is something to reap. */
    if (read(raw->aio_ev.fd, &count, sizeof(count)) > 0) {
        raw_reap_aio(raw, false);
    }
}

static bool raw_wait(struct blk_image *i)
{
    struct raw *raw = (struct raw *)i;

    if (raw->thread_in_flight) {
        raw_reap_threads(raw, true);
    } else {
        raw_reap_aio(raw, true);
    }
    return true;
}

static int raw_bounce(struct raw_op *op)
{
    struct blk_req *r = op->r;

    if (posix_memalign(&op->bounce, 4096, r->len)) {
        op->bounce = NULL;
        return -ENOMEM;
    }
    if (r->op == BLK_WRITE) {
        iov_copy(r->iov, r->iovcnt, op->bounce, false);
    }
    op->bounce_iov = (struct iovec){ op->bounce, r->len };
    op->iov = &op->bounce_iov;
    op->iovcnt = 1;
    return 0;
}

static void raw_start(struct raw_op *op)
{
    struct raw *raw = op->raw;
    bool moves = op->r->op == BLK_READ || op->r->op == BLK_WRITE;

    if (raw->direct && moves && !iov_aligned(op->iov, op->iovcnt)) {
        int ret = raw_bounce(op);
        if (ret < 0) {
            raw_end(op, ret);
            return;
        }
    }
    if (raw->aio && moves && op->iovcnt <= IOV_MAX && raw_to_aio(op) == 0) {
        return;
    }
    raw_to_thread(op);
}

/* Whether r asks for nothing that this image was opened to do. */
static bool is_nothing(const struct raw *raw, const struct blk_req *r)
{
    return r->op == BLK_FLUSH ? raw->ignore_flush
                              : r->len == 0 || (r->op == BLK_DISCARD && raw->ignore_discard);
}

static void raw_submit(struct blk_image *i, struct blk_req *r)
{
    struct raw *raw = (struct raw *)i;
    struct raw_op *op;

    if (is_nothing(raw, r)) {
        blk_complete(r, 0);
        return;
    }
    op = calloc(1, sizeof(*op));
    if (!op) {
        blk_complete(r, -ENOMEM);
        return;
    }
    op->raw = raw;
    op->r = r;
    op->iov = r->iov;
    op->iovcnt = r->iovcnt;
    raw_start(op);
}

static void raw_close(struct blk_image *i)
{
    struct raw *raw = (struct raw *)i;

    pool_free(raw->pool);
    ev_post_cancel(raw->loop, &raw->post);
    if (raw->aio) {
        ev_fd_del(&raw->aio_ev);
        close(raw->aio_ev.fd);
        io_destroy(raw->aio);
    }
    pthread_cond_destroy(&raw->more);
    pthread_mutex_destroy(&raw->lock);
    close(raw->fd);
    free(raw->base.filename);
    free(raw);
}

static const struct blk_image_ops raw_ops = {
    .format = "raw",
    .submit = raw_submit,
    .wait = raw_wait,
    .close = raw_close,
};

/* libaio if it can be had; else the threads do it all. */
static void raw_start_aio(struct raw *raw)
{
    int fd;

    if (io_setup(RAW_AIO_DEPTH, &raw->aio) < 0) {
        raw->aio = NULL;
        return;
    }
    fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    raw->aio_ev = (struct ev_fd){ .fd = fd, .events = EV_READ, .cb = raw_aio_ready, .opaque = raw };
    if (fd < 0 || ev_fd_add(raw->loop, &raw->aio_ev) < 0) {
        if (fd >= 0) {
            close(fd);
        }
        io_destroy(raw->aio);
        raw->aio = NULL;
    }
}

/* Whether a 512-byte aligned, 512-byte read works: the only way to ask every kernel. */
static bool raw_direct_works(int fd, uint64_t len)
{
    void *buf;
    ssize_t got;

    if (len < 2 * RAW_ALIGN) {
        return true;
    }
    if (posix_memalign(&buf, RAW_ALIGN * 16, RAW_ALIGN * 2)) {
        return false;
    }
    got = pread(fd, (char *)buf + RAW_ALIGN, RAW_ALIGN, RAW_ALIGN);
    free(buf);
    return got >= 0;
}

/* Puts an open descriptor into the mode the options ask for, as far as it goes. */
static int raw_set_flags(struct raw *raw, const struct blk_open *o)
{
    int flags = fcntl(raw->fd, F_GETFL);

    if (flags < 0) {
        return -errno;
    }
    flags &= ~(O_NONBLOCK | O_DIRECT);
    if ((o->cache == BLK_NONE || o->cache == BLK_DIRECTSYNC) &&
        fcntl(raw->fd, F_SETFL, flags | O_DIRECT) == 0) {
        if (raw_direct_works(raw->fd, raw->base.len)) {
            raw->direct = true;
            return 0;
        }
        log_msg(LOG_INFO, "block",
                "image '%s': direct I/O needs more than 512-byte alignment, "
                "the page cache is used",
                raw->base.filename);
    }
    return fcntl(raw->fd, F_SETFL, flags) < 0 ? -errno : 0;
}

static int raw_measure(struct raw *raw, struct err *e)
{
    const char *name = raw->base.filename;
    struct stat st;
    off_t end;

    if (fstat(raw->fd, &st) < 0) {
        return err_set(e, -errno, "image '%s': %s", name, strerror(errno));
    }
    if (S_ISDIR(st.st_mode)) {
        return err_set(e, -EISDIR, "image '%s' is a directory", name);
    }
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
        return err_set(e, -EINVAL, "image '%s' is neither a file nor a block device", name);
    }
    raw->block_device = S_ISBLK(st.st_mode);
    raw->base.is_file = S_ISREG(st.st_mode);
    end = lseek(raw->fd, 0, SEEK_END);
    if (end < 0) {
        return err_set(e, -errno, "image '%s': %s", name, strerror(errno));
    }
    raw->base.len = ((uint64_t)end + RAW_ALIGN - 1) & ~(uint64_t)(RAW_ALIGN - 1);
    return 0;
}

/* A descriptor that was handed over must allow what the drive wants to do with it. */
static int raw_check_access(const struct raw *raw, struct err *e)
{
    int flags = fcntl(raw->fd, F_GETFL);

    if (flags < 0) {
        return err_set(e, -errno, "image '%s': %s", raw->base.filename, strerror(errno));
    }
    if ((flags & O_ACCMODE) == O_WRONLY ||
        (!raw->base.read_only && (flags & O_ACCMODE) == O_RDONLY)) {
        return err_set(e, -EACCES, "image '%s': the descriptor does not allow %s",
                       raw->base.filename, raw->base.read_only ? "reading" : "writing");
    }
    return 0;
}

static int raw_open_fd(struct raw *raw, const struct blk_open *o, struct err *e)
{
    const char *name = raw->base.filename;

    if (o->fd >= 0) {
        raw->fd = o->fd;
        return raw_check_access(raw, e);
    }
    /* O_NONBLOCK: a FIFO must not hold up the start; it is refused next. */
    raw->fd = open(name, (o->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
    if (raw->fd < 0 && errno == EISDIR) {
        return err_set(e, -EISDIR, "image '%s' is a directory", name);
    }
    if (raw->fd < 0) {
        return err_set(e, -errno, "image '%s' cannot be opened%s: %s", name,
                       o->read_only ? "" : " for writing", strerror(errno));
    }
    return 0;
}

struct blk_image *blk_open_raw(struct ev_loop *loop, const struct blk_open *o, struct err *e)
{
    struct raw *raw = xcalloc(1, sizeof(*raw));

    raw->base.ops = &raw_ops;
    raw->base.read_only = o->read_only;
    raw->base.filename = o->filename ? xstrdup(o->filename) : xasprintf("fd:%d", o->fd);
    raw->fd = -1;
    if (raw_open_fd(raw, o, e) < 0 || raw_measure(raw, e) < 0) {
        goto fail;
    }
    if (raw_set_flags(raw, o) < 0) {
        err_set(e, -errno, "image '%s': %s", raw->base.filename, strerror(errno));
        goto fail;
    }
    raw->loop = loop;
    raw->sync_writes = o->cache == BLK_WRITETHROUGH || o->cache == BLK_DIRECTSYNC;
    raw->ignore_flush = o->cache == BLK_UNSAFE;
    raw->ignore_discard = !o->discard;
    raw->finished_tail = &raw->finished;
    raw->post = (struct ev_post){ .cb = raw_posted, .opaque = raw };
    pthread_mutex_init(&raw->lock, NULL);
    pthread_cond_init(&raw->more, NULL);
    raw->pool = pool_new(RAW_THREADS);
    if (raw->direct && !raw->sync_writes && !o->aio_threads) {
        raw_start_aio(raw);
    }
    return &raw->base;
fail:
    if (raw->fd >= 0) {
        close(raw->fd);
    }
    free(raw->base.filename);
    free(raw);
    return NULL;
}
