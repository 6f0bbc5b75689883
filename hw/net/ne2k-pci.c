/* SPDX-License-Identifier: MIT */
/* hw/net/ne2k-pci.c - Realtek RTL8029AS: an NE2000 (ne2000.c) on PCI.
 * Reference: RTL8029AS data sheet. Its serial EEPROM is left out.
 */
#include "hw/net/ne2000.h"

struct ne2k_pci {
    struct pci_dev pci;
    struct net_dev net;
    struct ne2000 chip;
};

static uint64_t window_read(struct device *d, uint64_t off, unsigned size)
{
    return ne2000_read(&((struct ne2k_pci *)d)->chip, off, size);
}

static void window_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    ne2000_write(&((struct ne2k_pci *)d)->chip, off, size, val);
}

static const struct region_ops window_ops = { window_read, window_write, 4, ne2000_names };

static void interrupt(struct device *d, bool level)
{
    pci_set_intx((struct pci_dev *)d, level);
}

static int init(struct device *d, struct err *e)
{
    static const struct pci_info info = {
        .vendor = 0x10ec,
        .device = 0x8029,
        .class = 0x020000,
        .int_pin = 1,
    };
    struct ne2k_pci *s = (struct ne2k_pci *)d;
    int ret = pci_init(&s->pci, &info, e);
    if (ret < 0) {
        return ret;
    }
    pci_add_bar(&s->pci, 0, true, 0x100, &window_ops, "NE2000");
    ret = net_dev_init(&s->pci, &s->net, e);
    if (ret < 0) {
        return ret;
    }
    s->chip.d = d;
    s->chip.nic = s->net.nic;
    s->chip.interrupt = interrupt;
    s->chip.pci = true;
    ne2000_init(&s->chip, s->net.mac);
    return 0;
}

static void reset(struct device *d)
{
    struct ne2k_pci *s = (struct ne2k_pci *)d;
    pci_reset(&s->pci);
    ne2000_reset(&s->chip);
}

static int loaded(struct device *d, struct err *e)
{
    struct ne2k_pci *s = (struct ne2k_pci *)d;
    int ret = pci_loaded(&s->pci, e);
    return ret == 0 ? ne2000_loaded(&s->chip, e) : ret;
}

static void fini(struct device *d)
{
    struct ne2k_pci *s = (struct ne2k_pci *)d;
    pci_fini(&s->pci);
    net_dev_fini(&s->pci, &s->net);
}

static const struct dev_prop props[] = {
    NET_DEV_PROPS(struct ne2k_pci),
    { NULL, PROP_END, 0, 0, NULL },
};

static const struct state_field state[] = {
    PCI_STATE(struct ne2k_pci),
    FIELD_BLOCK(struct ne2k_pci, net.rom),
    FIELD_SUB(struct ne2k_pci, chip, ne2000_state, 1),
    FIELD_END,
};

const struct dev_class ne2k_pci_class = {
    .name = "ne2k_pci",
    .desc = "Realtek RTL8029AS, an NE2000 on PCI (PCI 10ec:8029)",
    .size = sizeof(struct ne2k_pci),
    .props = props,
    .state = state,
    .state_version = 1,
    .user_creatable = true,
    .init = init,
    .reset = reset,
    .loaded = loaded,
    .fini = fini,
};
