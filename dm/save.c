/* SPDX-License-Identifier: MIT */
/* dm/save.c - device state to and from files and descriptors.
 *
 * Guest RAM, video memory included, travels by the toolstack; the file holds what machine_save
 * writes and nothing else. Disks are drained first, so no request is in the stream. A restore
 * reads the whole file before it touches the machine.
 */
#include "dm/keel.h"

#include "dm/base/err.h"
#include "dm/fdset.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_STATE_BYTES (1ull << 30) /* far more than any machine's state */

static int open_set(const struct keel *k, int64_t set, int flags)
{
    int fd = fdset_open(k->be.fdsets, set, flags);
    return fd == -EACCES ? fdset_open(k->be.fdsets, set, O_RDWR) : fd;
}

static int open_state(const struct keel *k, const char *filename, int flags, struct err *e)
{
    int64_t set = fdset_parse(filename);
    int fd =
        set >= 0 ? open_set(k, set, flags & O_ACCMODE) : open(filename, flags | O_CLOEXEC, 0600);
    if (fd < 0) {
        int code = set >= 0 ? fd : -errno;
        return err_set(e, code, "Unable to open %s: %s", filename, strerror(-code));
    }
    return fd;
}

static int write_all(int fd, const uint8_t *p, size_t len)
{
    while (len) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

int keel_save(struct keel *k, const char *filename, struct err *e)
{
    struct state_buf b = { 0 };
    bool was_running = machine_running(k->m);
    keel_stop(k);
    backends_drain(&k->be);
    int ret = machine_save(k->m, &b, e);
    if (ret == 0) { /* whoever reads the state to its end may use the disks */
        ret = backends_quiesce(&k->be, e);
    }
    int fd = ret == 0 ? open_state(k, filename, O_WRONLY | O_CREAT | O_TRUNC, e) : ret;
    if (fd >= 0) {
        ret = write_all(fd, b.p, b.len);
        if (close(fd) < 0 && ret == 0) {
            ret = -errno;
        }
        if (ret < 0) {
            err_set(e, ret, "%s: cannot write device state: %s", filename, strerror(-ret));
        }
    }
    free(b.p);
    if (was_running) {
        keel_cont(k, NULL);
    }
    return fd < 0 ? fd : ret;
}

static int read_all(int fd, struct state_buf *b)
{
    uint8_t chunk[16384];
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n == 0) {
            return 0;
        }
        if (n > 0) {
            state_put(b, chunk, (size_t)n);
        }
        if (b->len > MAX_STATE_BYTES) {
            return -EFBIG;
        }
    }
}

/* Closes fd. */
static int load_fd(struct keel *k, int fd, const char *name, struct err *e)
{
    struct state_buf b = { 0 };
    int ret = read_all(fd, &b);
    close(fd);
    if (ret < 0) {
        err_set(e, ret, "%s: cannot read device state: %s", name, strerror(-ret));
    } else {
        ret = machine_load(k->m, b.p, b.len, e);
    }
    free(b.p);
    return ret;
}

int keel_load(struct keel *k, const char *filename, struct err *e)
{
    if (machine_running(k->m)) {
        return err_set(e, -EBUSY, "the machine runs: stop it first");
    }
    if (k->taps) {
        return err_set(e, -EBUSY, "-keel-record: a recording cannot follow a load");
    }
    int fd = open_state(k, filename, O_RDONLY, e);
    return fd < 0 ? fd : load_fd(k, fd, filename, e);
}

int keel_load_incoming(struct keel *k, const char *incoming, struct err *e)
{
    uint64_t n;
    if (strncmp(incoming, "file:", 5) == 0) {
        return keel_load(k, incoming + 5, e);
    }
    if (parse_u64(incoming + 3, INT32_MAX, &n) < 0 || fcntl((int)n, F_GETFD) < 0) {
        return err_set(e, -EBADF, "not an open descriptor");
    }
    return load_fd(k, (int)n, incoming, e);
}
