/* SPDX-License-Identifier: MIT */
/* dm/save.c - device state to and from files, descriptors and commands.
 *
 * Under Xen guest RAM, video memory included, travels by the toolstack; with processors of Keel's own
 * it is part of the state. The file holds what machine_save writes and nothing else. Disks are drained
 * first, so no request is in the stream. A restore reads the whole file before it touches the machine.
 */
#include "dm/keel.h"

#include "dm/base/err.h"
#include "dm/channel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_STATE_BYTES (1ull << 30) /* far more than any machine's state */

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
    int fd = ret == 0 ? channel_open_file(k->be.fdsets, filename, true, e) : ret;
    ret = fd < 0 ? fd : put_state(fd, &b, filename, e);
    free(b.p);
    if (was_running) {
        keel_cont(k, NULL);
    }
    return ret;
}

/* ---- migrate ---- */

static int state_to_send(struct keel *k, struct state_buf *b, struct err *e)
{
    return k->m->run_state == RUN_INMIGRATE
               ? err_set(e, -EBUSY, "the machine waits for its state to arrive")
               : take_state(k, b, e);
}

/* The state has gone, or (ret < 0) the machine goes on as it did, unless it may run elsewhere. */
static int sent(struct keel *k, struct state_buf *b, bool was_running, int ret)
{
    free(b->p);
    if (ret < 0 && ret != -EINPROGRESS && was_running) {
        keel_cont(k, NULL);
    }
    return ret;
}

/* Closes ch's fd. */
static int send_state(struct channel *ch, const struct state_buf *b, struct err *e)
{
    int ret = write_all(ch->fd, b->p, b->len);
    if (ret < 0) {
        err_set(e, ret, "%s: cannot write device state: %s", ch->uri, strerror(-ret));
    } else {
        ret = channel_await(ch, e);
    }
    if (close(ch->fd) < 0 && ret == 0) {
        ret = err_set(e, -errno, "%s: %s", ch->uri, strerror(errno));
    }
    return ret;
}

int keel_migrate(struct keel *k, const char *uri, struct err *e)
{
    struct state_buf b = { 0 };
    struct channel ch;
    bool was_running = machine_running(k->m);
    int ret = channel_check(uri, e);
    if (ret < 0) {
        return ret;
    }
    ret = state_to_send(k, &b, e);
    ret = ret < 0 ? ret : channel_open(&ch, k->be.fdsets, uri, true, e);
    if (ret == 0) {
        ret = channel_end(&ch, send_state(&ch, &b, e), e);
    }
    return sent(k, &b, was_running, ret);
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
    int fd = channel_open_file(k->be.fdsets, filename, false, e);
    return fd < 0 ? fd : load_fd(k, fd, filename, e);
}

static int load_from(struct keel *k, const char *uri, struct err *e)
{
    struct channel ch;
    if (machine_running(k->m)) {
        return err_set(e, -EBUSY, "the machine runs: stop it first");
    }
    int ret = channel_open(&ch, k->be.fdsets, uri, false, e);
    return ret < 0 ? ret : channel_end(&ch, load_fd(k, ch.fd, uri, e), e);
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
    int ret = incoming_open(k, uri, e);
    return ret == -ENOTSUP ? arrived(k, load_from(k, uri, e), e) : ret;
}

int keel_state_arrived(struct keel *k, const struct state_buf *b, struct err *e)
{
    return arrived(k, machine_load(k->m, b->p, b->len, e), e);
}

int keel_load_incoming_fd(struct keel *k, int fd, const char *name, struct err *e)
{
    return arrived(k, load_fd(k, fd, name, e), e);
}
