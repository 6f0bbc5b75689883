/* SPDX-License-Identifier: MIT */
/* dm/chardev/chr-pty.c - a pseudo-terminal whose name the toolstack hands to its users.
 *
 * While nobody has the slave open the kernel keeps what the guest wrote, up to the size of its own
 * buffer; after that bytes are dropped. While somebody has it open a full buffer holds the guest's
 * UART back, so that nothing is lost. The kernel reports the last close but not the first open:
 * for that we look once a second.
 */
#include "dm/chardev/chardev-int.h"

#include "dm/base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define LOOK_NS 1000000000ll

struct chr_pty {
    struct stream s;
    int master;
    struct ev_timer look;
};

static void pty_look(void *opaque)
{
    struct chr_pty *p = opaque;
    struct pollfd pfd = { .fd = p->master, .events = POLLIN };
    poll(&pfd, 1, 0);
    if ((pfd.revents & POLLHUP) && !(pfd.revents & POLLIN)) {
        ev_timer_arm(p->s.d.loop, &p->look, ev_now_ns() + LOOK_NS);
        return;
    }
    stream_open(&p->s, p->master, p->master);
    chardev_set_open(&p->s.d, true);
}

static void pty_ended(struct stream *s)
{
    struct chr_pty *p = (struct chr_pty *)s;
    stream_close(s);
    chardev_set_open(&s->d, false);
    ev_timer_arm(s->d.loop, &p->look, ev_now_ns() + LOOK_NS);
}

static long pty_write(struct chr *c, const void *buf, size_t len)
{
    struct chr_pty *p = (struct chr_pty *)c;
    if (p->s.d.c.open) {
        return stream_write(c, buf, len);
    }
    if (write(p->master, buf, len) < 0) {
        /* Nobody is there and the buffer is full: dropped. */
    }
    chardev_log(&p->s.d, buf, len);
    return (long)len;
}

static void pty_free(struct chr *c)
{
    struct chr_pty *p = (struct chr_pty *)c;
    ev_timer_disarm(&p->look);
    stream_close(&p->s);
    close(p->master);
    chardev_fini(&p->s.d);
    free(p);
}

static const struct chr_ops pty_ops = {
    .kind = "pty", .write = pty_write, .kick = stream_kick, .free = pty_free
};

/* Raw from the start: the line discipline must neither echo nor translate. */
static int make_raw(const char *name)
{
    struct termios t;
    int slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    int ret = slave < 0 ? -errno : 0;
    if (slave >= 0) {
        tcgetattr(slave, &t);
        cfmakeraw(&t);
        tcsetattr(slave, TCSAFLUSH, &t);
        close(slave);
    }
    return ret;
}

struct chr *chr_pty_new(struct ev_loop *loop, const char *id, struct keyval *kv, struct err *e)
{
    char name[64];
    struct chr_pty *p;
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    (void)kv;
    if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0 ||
        ptsname_r(master, name, sizeof(name)) != 0 || make_raw(name) < 0) {
        err_set(e, -errno, "pseudo-terminal: %s", strerror(errno));
        if (master >= 0) {
            close(master);
        }
        return NULL;
    }
    p = xcalloc(1, sizeof(*p));
    chardev_init(&p->s.d, loop, &pty_ops, id, xasprintf("pty:%s", name));
    p->s.in.fd = p->s.out.fd = -1;
    p->s.ended = pty_ended;
    p->master = master;
    p->look = (struct ev_timer){ .cb = pty_look, .opaque = p };
    ev_timer_arm(loop, &p->look, ev_now_ns() + LOOK_NS);
    return &p->s.d.c;
}
