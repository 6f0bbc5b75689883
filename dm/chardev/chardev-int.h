/* SPDX-License-Identifier: MIT */
/* dm/chardev/chardev-int.h - what the kinds of back end share.
 *
 * Every back end starts with struct chardev. Those with descriptors build on struct stream, which
 * does the watching: it reads while the device has room, stops while it has not, and waits for
 * room on the other side after a short write.
 */
#ifndef DM_CHARDEV_CHARDEV_INT_H
#define DM_CHARDEV_CHARDEV_INT_H

#include "dm/base/chr.h"
#include "dm/base/err.h"
#include "dm/base/ev.h"

struct keyval;

struct chardev {
    struct chr c; /* first, so a struct chr * is a struct chardev * */
    struct ev_loop *loop;
    int log_fd; /* copy of everything the device writes, or -1 */
};

/* d is zeroed memory. filename is taken over. */
void chardev_init(struct chardev *d, struct ev_loop *loop, const struct chr_ops *ops,
                  const char *id, char *filename);
void chardev_fini(struct chardev *d);
void chardev_set_filename(struct chardev *d, char *filename);
/* c->open becomes `open`; the device is told when that is news. */
void chardev_set_open(struct chardev *d, bool open);
/* The device's bytes on their way out, for the log. */
void chardev_log(struct chardev *d, const void *buf, size_t len);

struct stream {
    struct chardev d;
    struct ev_fd in, out; /* fd -1: closed; out.fd == in.fd: `in` watches both directions */
    bool dropping;        /* a write failed and was reported */
    bool plain_in;        /* in.fd is a file: always readable, epoll refuses it */
    struct ev_post again; /* the next piece of such a file */
    /* Reads bytes, like read(2); NULL: read(2) itself. */
    long (*recv)(struct stream *s, void *buf, size_t len);
    /* End of file or an error on in.fd. The stream is still open. */
    void (*ended)(struct stream *s);
};
/* s->d, recv and ended are set. Watches the descriptors (-1: none); the stream owns nothing. */
void stream_open(struct stream *s, int in_fd, int out_fd);
/* Forgets the descriptors, without closing them. */
void stream_close(struct stream *s);
/* chr_ops.kick and the body of chr_ops.write. */
void stream_kick(struct chr *c);
long stream_write(struct chr *c, const void *buf, size_t len);

/* Makers. kv holds the options; each takes its own and leaves the rest unused. */
struct chr *chr_null_new(struct ev_loop *loop, const char *id, struct keyval *kv, struct err *e);
struct chr *chr_stdio_new(struct ev_loop *loop, const char *id, struct keyval *kv, struct err *e);
struct chr *chr_pty_new(struct ev_loop *loop, const char *id, struct keyval *kv, struct err *e);
struct chr *chr_file_new(struct ev_loop *loop, const char *id, struct keyval *kv, struct err *e);
struct chr *chr_pipe_new(struct ev_loop *loop, const char *id, struct keyval *kv, struct err *e);
struct chr *chr_socket_new(struct ev_loop *loop, const char *id, struct keyval *kv, struct err *e);

#endif
