/* SPDX-License-Identifier: MIT */
/* dm/base/chr.c - the seam between a character device and its back end; see chr.h. */
#include "dm/base/chr.h"

#include <errno.h>
#include <stdlib.h>

void chr_attach(struct chr *c, const struct chr_handlers *h, void *opaque)
{
    if (!c) {
        return;
    }
    c->handlers = h;
    c->opaque = opaque;
    if (!h) {
        return;
    }
    if (c->open && h->event) {
        h->event(opaque, CHR_OPENED);
    }
    chr_kick(c);
}

long chr_write(struct chr *c, const void *buf, size_t len)
{
    return c && c->ops->write ? c->ops->write(c, buf, len) : (long)len;
}

long chr_write_fd(struct chr *c, const void *buf, size_t len, int fd)
{
    if (fd < 0) {
        return chr_write(c, buf, len);
    }
    return c && c->ops->write_fd ? c->ops->write_fd(c, buf, len, fd) : -ENOTSUP;
}

void chr_kick(struct chr *c)
{
    if (c && c->ops->kick) {
        c->ops->kick(c);
    }
}

void chr_free(struct chr *c)
{
    if (c) {
        c->ops->free(c);
    }
}
