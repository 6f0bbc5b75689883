/* SPDX-License-Identifier: MIT */
/* dm/save.c - device state to and from files, descriptors and commands.
 *
 * Under Xen guest RAM, video memory included, travels by the toolstack; with processors of Keel's own
 * it is part of the state. The file holds what machine_save writes and nothing else. Disks are drained first, so no request is in the stream. A restore
 * reads the whole file before it touches the machine.
 */
#include "dm/keel.h"

#include "dm/base/err.h"
#include "dm/fdset.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
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

/* All of the machine's state into b, which is the caller's to free. */
static int take_state(struct keel *k, struct state_buf *b, struct err *e)
{
    keel_stop(k);
    backends_drain(&k->be);
    int ret = machine_save(k->m, b, e);
    /* whoever reads the state to its end may use the disks */
    return ret < 0 ? ret : backends_quiesce(&k->be, e);
}

/* Closes fd. */
static int put_state(int fd, const struct state_buf *b, const char *name, struct err *e)
{
    int ret = write_all(fd, b->p, b->len);
    if (close(fd) < 0 && ret == 0) {
        ret = -errno;
    }
    return ret < 0 ? err_set(e, ret, "%s: cannot write device state: %s", name, strerror(-ret)) : 0;
}

int keel_save(struct keel *k, const char *filename, struct err *e)
{
    struct state_buf b = { 0 };
    bool was_running = machine_running(k->m);
    int ret = take_state(k, &b, e);
    int fd = ret == 0 ? open_state(k, filename, O_WRONLY | O_CREAT | O_TRUNC, e) : ret;
    ret = fd < 0 ? fd : put_state(fd, &b, filename, e);
    free(b.p);
    if (was_running) {
        keel_cont(k, NULL);
    }
    return ret;
}

/* ---- migrate ---- */

/* A shell's standard input or output, and who it is. */
static int start_command(const char *command, bool to, pid_t *pid, struct err *e)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return err_set(e, -errno, "exec:%s: %s", command, strerror(errno));
    }
    *pid = fork();
    if (*pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGPIPE, SIG_DFL);
        dup2(ends[to ? 0 : 1], to ? STDIN_FILENO : STDOUT_FILENO);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(ends[to ? 0 : 1]);
    if (*pid < 0) {
        int code = -errno;
        close(ends[to ? 1 : 0]);
        return err_set(e, code, "exec:%s: %s", command, strerror(-code));
    }
    return ends[to ? 1 : 0];
}

static int end_command(pid_t pid, const char *command, struct err *e)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0
               ? 0
               : err_set(e, -EIO, "exec:%s: the command failed", command);
}

static int open_fd(const char *text, struct err *e)
{
    uint64_t n;
    if (parse_u64(text, INT32_MAX, &n) < 0 || fcntl((int)n, F_GETFD) < 0) {
        return err_set(e, -EBADF, "fd:%s: not an open descriptor", text);
    }
    return (int)n;
}

static int put_to(struct keel *k, const struct state_buf *b, const char *uri, struct err *e)
{
    if (strncmp(uri, "exec:", 5) == 0) {
        pid_t pid;
        int fd = start_command(uri + 5, true, &pid, e),
            ret = fd < 0 ? fd : put_state(fd, b, uri, e);
        return fd >= 0 && end_command(pid, uri + 5, e) < 0 ? -EIO : ret;
    }
    int fd = strncmp(uri, "fd:", 3) == 0 ? open_fd(uri + 3, e)
                                         : open_state(k, uri + 5, O_WRONLY | O_CREAT | O_TRUNC, e);
    return fd < 0 ? fd : put_state(fd, b, uri, e);
}

static int state_to_send(struct keel *k, struct state_buf *b, struct err *e)
{
    return k->m->run_state == RUN_INMIGRATE
               ? err_set(e, -EBUSY, "the machine waits for its state to arrive")
               : take_state(k, b, e);
}

/* The state has gone, or (ret < 0) the machine goes on as it did. */
static int sent(struct keel *k, struct state_buf *b, bool was_running, int ret)
{
    free(b->p);
    if (ret < 0 && was_running) {
        keel_cont(k, NULL);
    }
    return ret;
}

int keel_migrate(struct keel *k, const char *uri, struct err *e)
{
    struct state_buf b = { 0 };
    bool was_running = machine_running(k->m);
    if (strncmp(uri, "file:", 5) != 0 && strncmp(uri, "exec:", 5) != 0 &&
        strncmp(uri, "fd:", 3) != 0) {
        return err_set(e, -EINVAL, "%s: Keel migrates to file:PATH, fd:NUMBER and exec:COMMAND",
                       uri);
    }
    int ret = state_to_send(k, &b, e);
    return sent(k, &b, was_running, ret < 0 ? ret : put_to(k, &b, uri, e));
}

int keel_migrate_fd(struct keel *k, int fd, const char *name, struct err *e)
{
    struct state_buf b = { 0 };
    bool was_running = machine_running(k->m);
    int ret = state_to_send(k, &b, e);
    if (ret < 0) {
        close(fd);
    } else {
        ret = put_state(fd, &b, name, e);
    }
    return sent(k, &b, was_running, ret);
}

/* ---- back again ---- */

static int read_all(int fd, struct state_buf *b, uint64_t most)
{
    uint8_t chunk[65536];
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
        if (b->len > most) {
            return -EFBIG;
        }
    }
}

uint64_t keel_state_max(const struct keel *k)
{
    return MAX_STATE_BYTES + (k->soft ? 2 * k->o.ram_bytes : 0);
}

/* Closes fd. */
static int load_fd(struct keel *k, int fd, const char *name, struct err *e)
{
    struct state_buf b = { 0 };
    int ret = read_all(fd, &b, keel_state_max(k));
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

static int load_from(struct keel *k, const char *uri, struct err *e)
{
    if (strncmp(uri, "file:", 5) == 0) {
        return keel_load(k, uri + 5, e);
    }
    if (strncmp(uri, "exec:", 5) == 0) {
        pid_t pid;
        int fd = start_command(uri + 5, false, &pid, e);
        int ret = fd < 0 ? fd : load_fd(k, fd, uri, e);
        return fd >= 0 && ret == 0 ? end_command(pid, uri + 5, e) : ret;
    }
    if (strncmp(uri, "fd:", 3) == 0) {
        int fd = open_fd(uri + 3, e);
        return fd < 0 ? fd : load_fd(k, fd, uri, e);
    }
    return err_set(e, -EINVAL, "%s: Keel loads from file:PATH, fd:NUMBER and exec:COMMAND", uri);
}

static int arrived(struct keel *k, int ret, struct err *e)
{
    if (ret == 0) {
        ret = backends_activate(&k->be, e);
    }
    if (ret == 0) {
        machine_set_run_state(k->m, RUN_PAUSED);
    }
    return ret;
}

int keel_load_incoming(struct keel *k, const char *uri, struct err *e)
{
    return arrived(k, load_from(k, uri, e), e);
}

int keel_load_incoming_fd(struct keel *k, int fd, const char *name, struct err *e)
{
    return arrived(k, load_fd(k, fd, name, e), e);
}
