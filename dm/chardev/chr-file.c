/* SPDX-License-Identifier: MIT */
/* dm/chardev/chr-file.c - the device's output goes to a file; there is no input.
 *
 * A full disk or a file-size limit costs the bytes, not the process (main ignores SIGXFSZ).
 */
#include "dm/chardev/chardev-int.h"

#include "dm/base/util.h"
#include "dm/keyval.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void file_free(struct chr *c)
{
    struct stream *s = (struct stream *)c;
    int fd = s->out.fd;
    stream_close(s);
    close(fd);
    chardev_fini(&s->d);
    free(s);
}

static const struct chr_ops file_ops = { .kind = "file", .write = stream_write, .free = file_free };

struct chr *chr_file_new(struct ev_loop *loop, const char *id, struct keyval *kv, struct err *e)
{
    const char *path = keyval_get(kv, "path");
    bool append = false;
    struct stream *s;
    int fd;
    if (!path || !*path) {
        err_set(e, -EINVAL, "a path is missing");
        return NULL;
    }
    if (keyval_bool(kv, "append", &append, e) < 0) {
        return NULL;
    }
    /* Non-blocking matters for what is not a regular file: a FIFO, a terminal. */
    fd =
        open(path,
             O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (append ? O_APPEND : O_TRUNC),
             0666);
    if (fd < 0) {
        err_set(e, -errno, "%s: %s", path, strerror(errno));
        return NULL;
    }
    s = xcalloc(1, sizeof(*s));
    chardev_init(&s->d, loop, &file_ops, id, xstrdup("file"));
    stream_open(s, -1, fd);
    s->d.c.open = true;
    return &s->d.c;
}
