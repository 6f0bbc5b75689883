/* SPDX-License-Identifier: MIT */
/* dm/chardev/stream.c - bytes between a device and one or two descriptors.
 *
 *   events wanted on `in`   when
 *   EV_READ                 the device says it has room
 *   EV_WRITE                the last write came back short (one descriptor for both ways)
 *   none                    the device is full: even a hang-up waits until it is not
 */
#include "dm/chardev/chardev-int.h"

#include "dm/base/log.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define CHUNK 4096

static size_t stream_room(struct stream *s)
{
    const struct chr *c = &s->d.c;
    return c->handlers && c->handlers->can_read ? c->handlers->can_read(c->opaque) : 0;
}

static void stream_readable(struct stream *s, unsigned events)
{
    uint8_t buf[CHUNK];
    size_t room = stream_room(s);
    long n;
    if (room == 0) {
        /* A hang-up would be reported over and over for as long as anything is wanted. */
        ev_fd_set(&s->in, (events & EV_HANGUP) ? 0 : s->in.events & ~(unsigned)EV_READ);
        return;
    }
    room = room < CHUNK ? room : CHUNK;
    n = s->recv ? s->recv(s, buf, room) : read(s->in.fd, buf, room);
    if (n > 0) {
        s->d.c.handlers->read(s->d.c.opaque, buf, (size_t)n);
        if (s->plain_in && s->in.fd >= 0) {
            ev_post(s->d.loop, &s->again);
        }
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR) || (events & EV_HANGUP)) {
        s->ended(s);
    }
}

static void stream_writable(struct stream *s)
{
    struct chr *c = &s->d.c;
    if (c->handlers && c->handlers->writable) {
        c->handlers->writable(c->opaque);
    }
}

static void in_event(void *opaque, unsigned events)
{
    struct stream *s = opaque;
    if (events & EV_WRITE) {
        ev_fd_set(&s->in, s->in.events & ~(unsigned)EV_WRITE);
        stream_writable(s);
    }
    if (s->in.loop && (events & (EV_READ | EV_HANGUP))) {
        stream_readable(s, events);
    }
}

static void out_event(void *opaque, unsigned events)
{
    struct stream *s = opaque;
    (void)events;
    ev_fd_del(&s->out);
    stream_writable(s);
}

static void read_again(void *opaque)
{
    struct stream *s = opaque;
    if (s->in.fd >= 0) {
        stream_readable(s, EV_READ);
    }
}

void stream_open(struct stream *s, int in_fd, int out_fd)
{
    s->in = (struct ev_fd){ .fd = in_fd, .cb = in_event, .opaque = s };
    s->out = (struct ev_fd){ .fd = out_fd, .events = EV_WRITE, .cb = out_event, .opaque = s };
    s->again = (struct ev_post){ .cb = read_again, .opaque = s };
    s->dropping = false;
    s->plain_in = false;
    if (in_fd >= 0) {
        s->in.events = EV_READ;
        s->plain_in = ev_fd_add(s->d.loop, &s->in) == -EPERM;
    }
}

void stream_close(struct stream *s)
{
    if (s->in.loop) {
        ev_fd_del(&s->in);
    }
    if (s->out.loop) {
        ev_fd_del(&s->out);
    }
    if (s->plain_in) {
        ev_post_cancel(s->d.loop, &s->again);
    }
    s->in.fd = s->out.fd = -1;
}

void stream_kick(struct chr *c)
{
    struct stream *s = (struct stream *)c;
    if (s->in.fd < 0 || stream_room(s) == 0) {
        return;
    }
    if (s->plain_in) {
        ev_post(s->d.loop, &s->again);
    } else {
        ev_fd_set(&s->in, s->in.events | EV_READ);
    }
}

/* Asks for writable(); false when the descriptor cannot tell (a file that is full). */
static bool await_room(struct stream *s)
{
    if (s->out.fd == s->in.fd) {
        ev_fd_set(&s->in, s->in.events | EV_WRITE);
        return true;
    }
    return s->out.loop || ev_fd_add(s->d.loop, &s->out) == 0;
}

long stream_write(struct chr *c, const void *buf, size_t len)
{
    struct stream *s = (struct stream *)c;
    long n = s->out.fd < 0 ? (long)len : write(s->out.fd, buf, len);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        n = 0;
    }
    if (n < 0) {
        if (!s->dropping) {
            log_msg(LOG_WARN, "chardev", "%s: %s: output is dropped", c->id, strerror(errno));
        }
        s->dropping = true;
        return (long)len;
    }
    s->dropping = false;
    if ((size_t)n < len && !await_room(s)) {
        n = (long)len;
    }
    chardev_log(&s->d, buf, (size_t)n);
    return n;
}
