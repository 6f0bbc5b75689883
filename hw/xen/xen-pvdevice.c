/* SPDX-License-Identifier: MIT */
/* hw/xen/xen-pvdevice.c - a PCI identity to which Windows Update binds a vendor's PV drivers.
 *
 * It does nothing: BAR 1 is address space that reads as all ones. libxl asks for device-id 0xc000
 * with vendor_device="xenserver".
 * Reference: Xen docs/man/xen-pci-device-reservations.
 */
#include "hw/xen/xen-pvdevice.h"

#include <errno.h>

struct xen_pvdevice {
    struct pci_dev pci;
    uint32_t vendor, device, revision;
    uint64_t size;
};

static uint64_t pv_read(struct device *d, uint64_t off, unsigned size)
{
    (void)d, (void)off;
    return ones(size);
}

static void pv_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    (void)off, (void)size, (void)val;
    guest_odd(d, "write to the empty memory BAR");
}

static const struct region_ops ops = { pv_read, pv_write, 8, NULL };

static int check_props(const struct xen_pvdevice *s, struct err *e)
{
    const char *id = s->pci.dev.id;

    if (s->vendor > 0xffff || s->device > 0xffff || s->revision > 0xff) {
        return err_set(e, -EINVAL, "%s: vendor-id, device-id or revision is too large", id);
    }
    if (s->vendor == 0xffff) {
        return err_set(e, -EINVAL, "%s: vendor-id=0xffff means an absent device", id);
    }
    if (s->size < 16 || s->size > 1u << 31 || (s->size & (s->size - 1))) {
        return err_set(e, -EINVAL, "%s: size is not a power of two from 16 to 2 GiB", id);
    }
    return 0;
}

static int xen_pvdevice_init(struct device *d, struct err *e)
{
    struct xen_pvdevice *s = (struct xen_pvdevice *)d;
    struct pci_info info = { .class = 0x088000, .int_pin = 1 };
    int ret = check_props(s, e);

    if (ret < 0) {
        return ret;
    }
    info.vendor = info.subvendor = (uint16_t)s->vendor;
    info.device = info.subdevice = (uint16_t)s->device;
    info.revision = (uint8_t)s->revision;
    ret = pci_init(&s->pci, &info, e);
    if (ret < 0) {
        return ret;
    }
    pci_add_bar(&s->pci, 1, false, s->size, &ops, "XEN_PV");
    pci_set_prefetch(&s->pci, 1, true);
    return 0;
}

static void xen_pvdevice_reset(struct device *d)
{
    pci_reset(&((struct xen_pvdevice *)d)->pci);
}

static int xen_pvdevice_loaded(struct device *d, struct err *e)
{
    return pci_loaded(&((struct xen_pvdevice *)d)->pci, e);
}

static void xen_pvdevice_fini(struct device *d)
{
    pci_fini(&((struct xen_pvdevice *)d)->pci);
}

static const struct dev_prop xen_pvdevice_props[] = {
    PCI_PROPS(struct xen_pvdevice),
    PROP(struct xen_pvdevice, "vendor-id", PROP_U32, vendor, 0x5853, "PCI vendor id"),
    PROP(struct xen_pvdevice, "device-id", PROP_U32, device, 0xc000, "PCI device id"),
    PROP(struct xen_pvdevice, "revision", PROP_U32, revision, 1, "PCI revision"),
    PROP(struct xen_pvdevice, "size", PROP_SIZE, size, 0x400000, "bytes of the memory BAR"),
    { NULL, PROP_END, 0, 0, NULL },
};

static const struct state_field xen_pvdevice_state[] = {
    PCI_STATE(struct xen_pvdevice),
    FIELD_END,
};

const struct dev_class xen_pvdevice_class = {
    .name = "xen-pvdevice",
    .desc = "identity for PV drivers to bind to",
    .size = sizeof(struct xen_pvdevice),
    .props = xen_pvdevice_props,
    .state = xen_pvdevice_state,
    .state_version = 1,
    .user_creatable = true,
    .init = xen_pvdevice_init,
    .reset = xen_pvdevice_reset,
    .loaded = xen_pvdevice_loaded,
    .fini = xen_pvdevice_fini,
};
