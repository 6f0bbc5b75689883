/* SPDX-License-Identifier: MIT */
/* hw/net/ne2k-isa.c - the NE2000 (ne2000.c) as it was: 32 ports and an interrupt on the ISA bus. */
#include "hw/net/ne2000.h"

#include <errno.h>

struct ne2k_isa {
    struct device dev;
    struct net_dev net;
    struct ne2000 chip;
    uint32_t iobase, irq; /* properties */
    struct region io;
    struct line line;
};

static uint64_t window_read(struct device *d, uint64_t off, unsigned size)
{
    return ne2000_read(&((struct ne2k_isa *)d)->chip, off, size);
}

static void window_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    ne2000_write(&((struct ne2k_isa *)d)->chip, off, size, val);
}

static const struct region_ops window_ops = { window_read, window_write, 4, ne2000_names };

static void interrupt(struct device *d, bool level)
{
    line_set(&((struct ne2k_isa *)d)->line, level);
}

static int init(struct device *d, struct err *e)
{
    struct ne2k_isa *s = (struct ne2k_isa *)d;
    if (s->iobase > 0x10000 - NE2000_PORTS || s->irq > 15) {
        return err_set(e, -EINVAL, "ne2k_isa: iobase 0x%x or irq %u is out of range", s->iobase,
                       s->irq);
    }
    int ret = net_dev_take_mac(&s->net, e);
    if (ret < 0) {
        return ret;
    }
    region_init(&s->io, d, &window_ops, IO_PIO, NE2000_PORTS, "NE2000");
    region_map(&s->io, s->iobase);
    line_init(&s->line, d, LINE_ISA, (uint16_t)s->irq);
    s->chip.d = d;
    s->chip.nic = s->net.nic;
    s->chip.interrupt = interrupt;
    ne2000_init(&s->chip, s->net.mac);
    return 0;
}

static void reset(struct device *d)
{
    ne2000_reset(&((struct ne2k_isa *)d)->chip);
}

static int loaded(struct device *d, struct err *e)
{
    return ne2000_loaded(&((struct ne2k_isa *)d)->chip, e);
}

static void fini(struct device *d)
{
    struct ne2k_isa *s = (struct ne2k_isa *)d;
    nic_attach(s->net.nic, NULL, NULL);
    line_fini(&s->line);
    region_unmap(&s->io);
}

static const struct dev_prop props[] = {
    NET_CARD_PROPS(struct ne2k_isa),
    PROP(struct ne2k_isa, "iobase", PROP_U32, iobase, 0x300, "first port"),
    PROP(struct ne2k_isa, "irq", PROP_U32, irq, 9, "ISA interrupt"),
    { NULL, PROP_END, 0, 0, NULL },
};

static const struct state_field state[] = {
    FIELD_SUB(struct ne2k_isa, chip, ne2000_state, 1),
    FIELD_END,
};

const struct dev_class ne2k_isa_class = {
    .name = "ne2k_isa",
    .desc = "NE2000 on the ISA bus",
    .size = sizeof(struct ne2k_isa),
    .props = props,
    .state = state,
    .state_version = 1,
    .user_creatable = true,
    .init = init,
    .reset = reset,
    .loaded = loaded,
    .fini = fini,
};
