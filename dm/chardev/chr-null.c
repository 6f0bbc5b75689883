/* SPDX-License-Identifier: MIT */
/* dm/chardev/chr-null.c - swallows everything, says nothing. */
#include "dm/chardev/chardev-int.h"

#include "dm/base/util.h"

#include <stdlib.h>

static long null_write(struct chr *c, const void *buf, size_t len)
{
    chardev_log((struct chardev *)c, buf, len);
    return (long)len;
}

static void null_free(struct chr *c)
{
    chardev_fini((struct chardev *)c);
    free(c);
}

static const struct chr_ops null_ops = { .kind = "null", .write = null_write, .free = null_free };

struct chr *chr_null_new(struct ev_loop *loop, const char *id, struct keyval *kv, struct err *e)
{
    struct chardev *d = xcalloc(1, sizeof(*d));
    (void)kv;
    (void)e;
    chardev_init(d, loop, &null_ops, id, xstrdup("null"));
    d->c.open = true;
    return &d->c;
}
