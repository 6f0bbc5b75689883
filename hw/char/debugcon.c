/* SPDX-License-Identifier: MIT */
/* hw/char/debugcon.c - isa-debugcon: one port whose writes go to a character stream.
 *
 * Port 0xe9 (Bochs) or 0x402 (SeaBIOS, OVMF). A read returns a fixed byte by which firmware finds
 * out that the port is there. Bytes that the host side cannot take at once are dropped: firmware
 * must never wait for its log.
 */
#include "hw/char/uart16550.h"

#include "dm/base/chr.h"
#include "ioreq/machine.h"

#include <errno.h>

struct debugcon {
    struct device dev;
    uint32_t iobase, readback; /* properties */
    struct chr *chardev;
    struct region io;
};

static uint64_t debugcon_read(struct device *d, uint64_t off, unsigned size)
{
    (void)off;
    (void)size;
    return ((struct debugcon *)d)->readback;
}

static void debugcon_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    uint8_t byte = (uint8_t)val;
    (void)off;
    (void)size;
    chr_write(((struct debugcon *)d)->chardev, &byte, 1);
}

/* The port has no input: what a peer says is taken, so that its leaving is seen, and dropped. */
static size_t can_swallow(void *opaque)
{
    (void)opaque;
    return 4096;
}

static void swallow(void *opaque, const uint8_t *buf, size_t len)
{
    (void)opaque, (void)buf, (void)len;
}

static const struct chr_handlers out_only = { .can_read = can_swallow, .read = swallow };

static const struct reg_name debugcon_names[] = { { 0, "DATA" }, { 0 } };
static const struct region_ops debugcon_ops = {
    .read = debugcon_read, .write = debugcon_write, .max_size = 1, .names = debugcon_names
};

static int debugcon_init(struct device *d, struct err *e)
{
    struct debugcon *s = (struct debugcon *)d;
    if (s->iobase > 0xffff) {
        return err_set(e, -EINVAL, "isa-debugcon: iobase 0x%x is no port", s->iobase);
    }
    region_init(&s->io, d, &debugcon_ops, IO_PIO, 1, "debugcon");
    region_map(&s->io, s->iobase);
    chr_attach(s->chardev, &out_only, s);
    return 0;
}

static void debugcon_fini(struct device *d)
{
    chr_attach(((struct debugcon *)d)->chardev, NULL, NULL);
    region_unmap(&((struct debugcon *)d)->io);
}

static const struct dev_prop debugcon_props[] = {
    PROP(struct debugcon, "iobase", PROP_U32, iobase, 0xe9, "port"),
    PROP(struct debugcon, "readback", PROP_U32, readback, 0xe9, "what a read returns"),
    PROP(struct debugcon, "chardev", PROP_CHR, chardev, 0, "where the bytes go"),
    { .kind = PROP_END },
};

const struct dev_class debugcon_class = {
    .name = "isa-debugcon",
    .desc = "debug console port",
    .size = sizeof(struct debugcon),
    .props = debugcon_props,
    .state_version = 1,
    .user_creatable = true,
    .init = debugcon_init,
    .fini = debugcon_fini,
};
