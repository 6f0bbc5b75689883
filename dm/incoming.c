/* SPDX-License-Identifier: MIT */
/* dm/incoming.c - a machine's state that arrives over a socket, while monitors answer.
 *
 * One sender is taken. Its bytes are collected until it has no more, loaded, and it is told how that went:
 * "loaded", or why not (dm/channel.h). A state that cannot be loaded ends the process, as QEMU's does; the
 * sender's machine runs on then.
 */
#include "dm/keel.h"

#include "dm/base/err.h"
#include "dm/base/ev.h"
#include "dm/base/log.h"
#include "dm/base/util.h"
#include "dm/channel.h"
#include "dm/monitor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct incoming {
    struct keel *k;
    struct ev_fd fd; /* listens, then is the sender */
    char *uri;
    struct state_buf b;
};

static void close_fd(struct incoming *in)
{
    ev_fd_del(&in->fd);
    close(in->fd.fd);
    in->fd.fd = -1;
}

void incoming_close(struct keel *k)
{
    struct incoming *in = k->incoming;
    if (!in) {
        return;
    }
    if (in->fd.fd >= 0) {
        close_fd(in);
    }
    if (strncmp(in->uri, "unix:", 5) == 0) {
        unlink(in->uri + 5);
    }
    free(in->b.p);
    free(in->uri);
    free(in);
    k->incoming = NULL;
}

static void fail(struct incoming *in, const struct err *e)
{
    struct keel *k = in->k;
    log_msg(LOG_ERROR, "incoming", "%s: %s", in->uri, e->msg);
    monitor_migration(k, "failed");
    channel_answer(in->fd.fd, e->msg);
    incoming_close(k);
    k->exit_code = 1;
    ev_quit(k->loop);
}

static void all_is_here(struct incoming *in)
{
    struct keel *k = in->k;
    struct err e = { 0 };
    int ret = keel_state_arrived(k, &in->b, &e);
    if (ret < 0) {
        fail(in, &e);
        return;
    }
    if (channel_answer(in->fd.fd, NULL) < 0) { /* it will not let go, so nobody runs here */
        err_set(&e, -EIO, "the sender left before it heard that its state is loaded");
        fail(in, &e);
        return;
    }
    incoming_close(k);
    monitor_migration(k, "completed");
    if (!k->o.stopped) {
        keel_cont(k, &e);
    }
}

static void read_more(void *opaque, unsigned events)
{
    struct incoming *in = opaque;
    uint8_t chunk[65536];
    struct err e;
    (void)events;
    ssize_t n = read(in->fd.fd, chunk, sizeof(chunk));
    if (n > 0) {
        state_put(&in->b, chunk, (size_t)n);
    }
    if (n == 0) {
        all_is_here(in);
    } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
        err_set(&e, -errno, "cannot read device state: %s", strerror(errno));
        fail(in, &e);
    } else if (in->b.len > keel_state_max(in->k)) {
        err_set(&e, -EFBIG, "more than a machine's state");
        fail(in, &e);
    }
}

static void on_sender(void *opaque, unsigned events)
{
    struct incoming *in = opaque;
    (void)events;
    int fd = accept4(in->fd.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)) {
        return; /* it is gone again */
    }
    if (fd < 0) { /* it would be told of the sender for ever */
        struct err e;
        err_set(&e, -errno, "the sender cannot be let in: %s", strerror(errno));
        fail(in, &e);
        return;
    }
    close_fd(in);
    in->fd = (struct ev_fd){ .fd = fd, .events = EV_READ, .cb = read_more, .opaque = in };
    ev_fd_add(in->k->loop, &in->fd);
    monitor_migration(in->k, "active");
}

int incoming_open(struct keel *k, const char *uri, struct err *e)
{
    if (k->incoming) {
        return err_set(e, -EBUSY, "%s is awaited already", k->incoming->uri);
    }
    int fd = channel_listen(uri, e);
    if (fd < 0) {
        return fd;
    }
    struct incoming *in = xcalloc(1, sizeof(*in));
    *in = (struct incoming){ .k = k, .uri = xstrdup(uri) };
    in->fd = (struct ev_fd){ .fd = fd, .events = EV_READ, .cb = on_sender, .opaque = in };
    k->incoming = in;
    monitor_migration(k, "setup");
    return ev_fd_add(k->loop, &in->fd);
}
