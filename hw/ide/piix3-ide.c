/* SPDX-License-Identifier: MIT */
/* hw/ide/piix3-ide.c - PIIX3 function 1: the PCI side of two IDE channels.
 *
 * The command blocks sit at their legacy ports and interrupt on IRQ 14 and 15, whatever the PCI
 * interrupt pin says. BAR 4 holds both channels' bus-master registers. The timing registers keep
 * what is written; nothing here takes time.
 *
 * QUIRK: the legacy ports answer whether or not IDETIM's decode bit and the command register's I/O
 * bit are set: guests that boot without firmware, and tests, do not set them.
 * Reference: 82371FB/82371SB (PIIX/PIIX3) data sheet 290550, 2.3 and 2.5.
 */
#include "hw/ide/ide-int.h"

#include <errno.h>
#include <string.h>

struct piix3_ide {
    struct pci_dev pci;
    struct ide_channel ch[2];
};

enum { IDETIM = 0x40, SIDETIM = 0x44, BM_BAR = 4, BM_CHANNEL_BYTES = 8 };

static const struct {
    uint16_t cmd_port, ctl_port;
    uint8_t irq;
    const char *bus;
} legacy[2] = {
    { 0x1f0, 0x3f6, 14, "ide.0" },
    { 0x170, 0x376, 15, "ide.1" },
};

struct ide_channel *ide_bus_find(struct machine *m, const char *name)
{
    for (struct device *d = m->devices; d; d = d->next) {
        for (unsigned i = 0; d->class == &piix3_ide_class && i < 2; i++) {
            if (strcmp(name, legacy[i].bus) == 0) {
                return &((struct piix3_ide *)d)->ch[i];
            }
        }
        struct ide_channel *port = ahci_bus_find(d, name);
        if (port) {
            return port;
        }
    }
    return NULL;
}

static struct ide_channel *channel(struct device *d, unsigned i)
{
    return &((struct piix3_ide *)d)->ch[i];
}

static uint64_t cmd0_read(struct device *d, uint64_t off, unsigned size)
{
    return ide_cmd_read(channel(d, 0), off, size);
}

static uint64_t cmd1_read(struct device *d, uint64_t off, unsigned size)
{
    return ide_cmd_read(channel(d, 1), off, size);
}

static void cmd0_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    ide_cmd_write(channel(d, 0), off, size, val);
}

static void cmd1_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    ide_cmd_write(channel(d, 1), off, size, val);
}

static uint64_t ctl0_read(struct device *d, uint64_t off, unsigned size)
{
    (void)off;
    (void)size;
    return ide_ctl_read(channel(d, 0));
}

static uint64_t ctl1_read(struct device *d, uint64_t off, unsigned size)
{
    (void)off;
    (void)size;
    return ide_ctl_read(channel(d, 1));
}

static void ctl0_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    (void)off;
    (void)size;
    ide_ctl_write(channel(d, 0), (uint8_t)val);
}

static void ctl1_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    (void)off;
    (void)size;
    ide_ctl_write(channel(d, 1), (uint8_t)val);
}

static uint64_t bm_read(struct device *d, uint64_t off, unsigned size)
{
    return bmdma_read(channel(d, off / BM_CHANNEL_BYTES & 1), off % BM_CHANNEL_BYTES, size);
}

static void bm_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    bmdma_write(channel(d, off / BM_CHANNEL_BYTES & 1), off % BM_CHANNEL_BYTES, size, val);
}

static const struct reg_name cmd_names[] = {
    { 0, "DATA" }, { 1, "ERROR/FEATURES" }, { 2, "NSECTOR" },        { 3, "LBAL" }, { 4, "LBAM" },
    { 5, "LBAH" }, { 6, "DEVICE" },         { 7, "STATUS/COMMAND" }, { 8, NULL },
};
static const struct reg_name ctl_names[] = { { 0, "ALTSTATUS/DEVCTL" }, { 1, NULL } };
static const struct reg_name bm_names[] = {
    { 0, "BMICP" },  { 2, "BMISP" },    { 4, "BMIDTPP" }, { 8, "BMICS" },
    { 10, "BMISS" }, { 12, "BMIDTPS" }, { 16, NULL },
};

static const struct region_ops cmd_ops[2] = {
    { cmd0_read, cmd0_write, 4, cmd_names },
    { cmd1_read, cmd1_write, 4, cmd_names },
};
static const struct region_ops ctl_ops[2] = {
    { ctl0_read, ctl0_write, 1, ctl_names },
    { ctl1_read, ctl1_write, 1, ctl_names },
};
static const struct region_ops bm_ops = { bm_read, bm_write, 4, bm_names };

static void channel_init(struct piix3_ide *s, unsigned i)
{
    struct ide_channel *ch = &s->ch[i];
    struct device *d = &s->pci.dev;

    ch->pci = &s->pci;
    line_init(&ch->irq, d, LINE_ISA, legacy[i].irq);
    bmdma_init(ch);
    region_init(&ch->cmd_ports, d, &cmd_ops[i], IO_PIO, 8, i ? "IDE1" : "IDE0");
    region_init(&ch->ctl_port, d, &ctl_ops[i], IO_PIO, 1, i ? "IDE1-CTL" : "IDE0-CTL");
    region_map(&ch->cmd_ports, legacy[i].cmd_port);
    region_map(&ch->ctl_port, legacy[i].ctl_port);
}

static int piix3_ide_init(struct device *d, struct err *e)
{
    struct piix3_ide *s = (struct piix3_ide *)d;
    const struct pci_info info = {
        .vendor = 0x8086,
        .device = 0x7010,
        .subvendor = 0x1af4,
        .subdevice = 0x1100,
        .class = 0x010180,
    };
    int ret = pci_init(&s->pci, &info, e);

    if (ret < 0) {
        return ret;
    }
    memset(s->pci.wmask + IDETIM, 0xff, 4);
    s->pci.wmask[SIDETIM] = 0xff;
    pci_add_bar(&s->pci, BM_BAR, true, 2 * BM_CHANNEL_BYTES, &bm_ops, "BMDMA");
    channel_init(s, 0);
    channel_init(s, 1);
    return 0;
}

static void piix3_ide_reset(struct device *d)
{
    struct piix3_ide *s = (struct piix3_ide *)d;

    pci_reset(&s->pci);
    memset(s->pci.config + IDETIM, 0, 5);
    ide_channel_reset(&s->ch[0]);
    ide_channel_reset(&s->ch[1]);
}

static int piix3_ide_loaded(struct device *d, struct err *e)
{
    struct piix3_ide *s = (struct piix3_ide *)d;

    for (unsigned i = 0; i < 2; i++) {
        if (s->ch[i].control & ~(DC_HOB | DC_SRST | DC_NIEN)) {
            return err_set(e, -EINVAL, "control register %02x has impossible bits",
                           s->ch[i].control);
        }
        ide_update_irq(&s->ch[i]);
    }
    return pci_loaded(&s->pci, e);
}

static void piix3_ide_fini(struct device *d)
{
    struct piix3_ide *s = (struct piix3_ide *)d;

    for (unsigned i = 0; i < 2; i++) {
        struct ide_channel *ch = &s->ch[i];

        if (ch->pci) {
            region_unmap(&ch->cmd_ports);
            region_unmap(&ch->ctl_port);
            line_fini(&ch->irq);
            bmdma_fini(ch);
        }
    }
    pci_fini(&s->pci);
}

#define F(member) FIELD(struct ide_channel, member)
#define R(member, lo, hi) FIELD_RANGE(struct ide_channel, member, lo, hi)

static const struct state_field channel_state[] = {
    R(select, 0, 1), F(control),   F(intrq),
    F(bm_cmd),       F(bm_status), F(bm_prd),
    F(walk.next),    F(walk.addr), R(walk.left, 0, 0x10000),
    F(walk.count),   F(walk.last), FIELD_END,
};

static const struct state_field piix3_ide_state[] = {
    PCI_STATE(struct piix3_ide),
    FIELD_SUB(struct piix3_ide, ch, channel_state, 2),
    FIELD_END,
};

static const struct dev_prop piix3_ide_props[] = {
    PCI_PROPS(struct piix3_ide),
    { NULL, PROP_END, 0, 0, NULL },
};

const struct dev_class piix3_ide_class = {
    .name = "piix3-ide",
    .desc = "PIIX3 IDE controller",
    .size = sizeof(struct piix3_ide),
    .props = piix3_ide_props,
    .state = piix3_ide_state,
    .state_version = 1,
    .init = piix3_ide_init,
    .reset = piix3_ide_reset,
    .loaded = piix3_ide_loaded,
    .fini = piix3_ide_fini,
};
