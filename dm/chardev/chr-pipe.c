/* SPDX-License-Identifier: MIT */
/* dm/chardev/chr-pipe.c - a pair of FIFOs, PATH.in towards the device and PATH.out from it, or one
 * file PATH for both ways. Opened for reading and writing, so that neither end has to come first.
 */
#include "dm/chardev/chardev-int.h"

#include "dm/base/util.h"
#include "dm/keyval.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void pipe_ended(struct stream *s)
{
    ev_fd_del(&s->in); /* cannot happen to a FIFO that we hold open ourselves */
    chardev_set_open(&s->d, false);
}

static void pipe_free(struct chr *c)
{
    struct stream *s = (struct stream *)c;
    int in = s->in.fd, out = s->out.fd;
    stream_close(s);
    close(in);
    if (out != in) {
        close(out);
    }
    chardev_fini(&s->d);
    free(s);
}

static const struct chr_ops pipe_ops = {
    .kind = "pipe", .write = stream_write, .kick = stream_kick, .free = pipe_free
};

static int open_end(const char *path, const char *suffix)
{
    char *name = xasprintf("%s%s", path, suffix);
    int fd = open(name, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    free(name);
    return fd;
}

struct chr *chr_pipe_new(struct ev_loop *loop, const char *id, struct keyval *kv, struct err *e)
{
    const char *path = keyval_get(kv, "path");
    struct stream *s;
    int in, out;
    if (!path || !*path) {
        err_set(e, -EINVAL, "a path is missing");
        return NULL;
    }
    in = open_end(path, ".in");
    out = in < 0 ? -1 : open_end(path, ".out");
    if (out < 0) {
        if (in >= 0) {
            close(in);
        }
        in = out = open_end(path, "");
    }
    if (in < 0) {
        err_set(e, -errno, "%s: %s", path, strerror(errno));
        return NULL;
    }
    s = xcalloc(1, sizeof(*s));
    chardev_init(&s->d, loop, &pipe_ops, id, xstrdup("pipe"));
    s->ended = pipe_ended;
    stream_open(s, in, out);
    s->d.c.open = true;
    return &s->d.c;
}
