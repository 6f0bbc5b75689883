/* SPDX-License-Identifier: MIT */
/* dm/chardev/chr-stdio.c - standard input and output.
 *
 * A terminal is put in raw mode (with signal=on Ctrl-C still interrupts) and back when the stream
 * is freed. Both descriptors become non-blocking for as long, so that a stopped terminal cannot
 * stop the guest.
 */
#include "dm/chardev/chardev-int.h"

#include "dm/base/util.h"
#include "dm/keyval.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

struct chr_stdio {
    struct stream s;
    struct termios saved;
    bool is_tty;
    int flags[2]; /* of descriptors 0 and 1 */
};

static void stdio_ended(struct stream *s)
{
    if (s->in.loop) {
        ev_fd_del(&s->in);
    }
    s->in.fd = -1; /* output goes on */
}

static void stdio_free(struct chr *c)
{
    struct chr_stdio *io = (struct chr_stdio *)c;
    stream_close(&io->s);
    if (io->is_tty) {
        tcsetattr(0, TCSANOW, &io->saved);
    }
    for (int fd = 0; fd < 2; fd++) {
        if (io->flags[fd] >= 0) {
            fcntl(fd, F_SETFL, io->flags[fd]);
        }
    }
    chardev_fini(&io->s.d);
    free(io);
}

static const struct chr_ops stdio_ops = {
    .kind = "stdio", .write = stream_write, .kick = stream_kick, .free = stdio_free
};

static void make_raw(struct chr_stdio *io, bool signals)
{
    struct termios t;
    io->is_tty = tcgetattr(0, &io->saved) == 0;
    if (!io->is_tty) {
        return;
    }
    t = io->saved;
    t.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    t.c_oflag |= OPOST;
    t.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN);
    if (!signals) {
        t.c_lflag &= ~(tcflag_t)ISIG;
    }
    t.c_cc[VMIN] = 1;
    t.c_cc[VTIME] = 0;
    tcsetattr(0, TCSANOW, &t);
}

struct chr *chr_stdio_new(struct ev_loop *loop, const char *id, struct keyval *kv, struct err *e)
{
    struct chr_stdio *io;
    bool signals = true;
    if (keyval_bool(kv, "signal", &signals, e) < 0) {
        return NULL;
    }
    io = xcalloc(1, sizeof(*io));
    chardev_init(&io->s.d, loop, &stdio_ops, id, xstrdup("stdio"));
    make_raw(io, signals);
    for (int fd = 0; fd < 2; fd++) {
        io->flags[fd] = fcntl(fd, F_GETFL);
        fcntl(fd, F_SETFL, io->flags[fd] | O_NONBLOCK);
    }
    io->s.ended = stdio_ended;
    stream_open(&io->s, 0, 1);
    io->s.d.c.open = true;
    return &io->s.d.c;
}
