/* SPDX-License-Identifier: MIT */
/* hw/test/debug-exit.c - isa-debug-exit: a write of v ends the process with code v << 1 | 1.
 *
 * The code is never 0, so that a guest cannot look like an orderly shutdown.
 * Reference: the device of that name in QEMU, as kvm-unit-tests use it.
 */
#include "hw/test/debug-exit.h"

#include <errno.h>

struct debug_exit {
    struct device dev;
    uint32_t iobase, iosize;
    struct debug_exit_hook *hook;
    struct region port;
};

static uint64_t exit_read(struct device *d, uint64_t off, unsigned size)
{
    (void)d, (void)off, (void)size;
    return 0;
}

static void exit_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    const struct debug_exit *s = (const struct debug_exit *)d;

    (void)off;
    if (s->hook) {
        s->hook->fn(s->hook->opaque, (int)((val & ones(size) & 0x3fffffff) << 1 | 1));
    }
}

static const struct reg_name names[] = { { 0, "EXIT" }, { 0, NULL } };
static const struct region_ops ops = { exit_read, exit_write, 4, names };

static int debug_exit_init(struct device *d, struct err *e)
{
    struct debug_exit *s = (struct debug_exit *)d;

    if (s->iosize < 1 || s->iosize > 8 || s->iobase + (uint64_t)s->iosize > 0x10000) {
        return err_set(e, -EINVAL, "%s: iobase=0x%x iosize=%u are not ports", d->id, s->iobase,
                       s->iosize);
    }
    region_init(&s->port, d, &ops, IO_PIO, s->iosize, "EXIT");
    region_map(&s->port, s->iobase);
    return 0;
}

static void debug_exit_fini(struct device *d)
{
    region_unmap(&((struct debug_exit *)d)->port);
}

static const struct dev_prop debug_exit_props[] = {
    PROP(struct debug_exit, "iobase", PROP_U32, iobase, 0x501, "first I/O port"),
    PROP(struct debug_exit, "iosize", PROP_U32, iosize, 2, "number of ports"),
    PROP(struct debug_exit, "exit", PROP_PTR, hook, 0, "who ends the process"),
    { NULL, PROP_END, 0, 0, NULL },
};

const struct dev_class debug_exit_class = {
    .name = "isa-debug-exit",
    .desc = "port that ends the process with a test guest's exit code",
    .size = sizeof(struct debug_exit),
    .props = debug_exit_props,
    .state_version = 1,
    .user_creatable = true,
    .init = debug_exit_init,
    .fini = debug_exit_fini,
};
