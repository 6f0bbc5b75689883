/* SPDX-License-Identifier: MIT */
/* dm/hotplug.c - PCI cards that come and go while the guest runs: device_add, device_del.
 *
 *   device_add  the card is made, its slot's bit set in PIIX4_PM's UP register, GPE 1 rung
 *   device_del  the slot's bit in DOWN, GPE 1; the card is there until the guest's ACPI ejects the slot,
 *               which comes back as card_ejected and is told by DEVICE_DELETED
 *
 * Network cards, and controllers that are one disk: those take back what they asked of it as they go. The
 * drive behind such a disk goes with it, as QEMU's does; a node of the block graph stays.
 */
#include "dm/hotplug.h"

#include "dm/base/err.h"
#include "dm/board.h"
#include "dm/keel.h"
#include "dm/keyval.h"
#include "dm/monitor.h"
#include "dm/options.h"
#include "dm/qmp-block.h"
#include "hw/acpi/piix4-pm.h"
#include "hw/registry.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static struct device *power_management(const struct keel *k)
{
    struct device *d = k->m->devices;
    while (d && d->class != &piix4_pm_class) {
        d = d->next;
    }
    return d;
}

static bool is_card(const struct dev_class *c)
{
    bool net = dev_prop_find(c, "netdev"), disk = dev_prop_find(c, "drive");
    return (net || disk) && dev_prop_find(c, "addr");
}

bool hotplug_can(const char *driver)
{
    const struct dev_class *c = hw_find(device_full_name(driver));
    return c && c->user_creatable && is_card(c);
}

int hotplug_add(struct keel *k, struct keyval *kv, struct err *e)
{
    struct device *pm = power_management(k), *d;
    if (k->taps) {
        return err_set(e, -EBUSY, "not while a recording runs");
    }
    if (keyval_get(kv, "bootindex")) {
        return err_set(e, -EINVAL, "bootindex: the firmware has its list already");
    }
    if (!pm) {
        return err_set(e, -ENODEV, "this machine has no hot-plug registers");
    }
    int ret = board_device_add(k->m, &k->o, &k->be, kv, &d, e);
    if (ret == 0) {
        unsigned slot = ((struct pci_dev *)d)->devfn >> 3;
        k->unplugging &= ~(1u << slot);
        drives_watch(k);
        piix4_pm_pci_plug(pm, slot);
    }
    return ret;
}

int hotplug_del(struct keel *k, struct device *d, struct err *e)
{
    struct device *pm = power_management(k);
    if (!pm || !is_card(d->class)) {
        return err_set(e, -EINVAL, "Device '%s': Keel cannot unplug it yet", d->id);
    }
    if (k->taps) {
        return err_set(e, -EBUSY, "Device '%s': not while a recording runs", d->id);
    }
    unsigned slot = ((struct pci_dev *)d)->devfn >> 3;
    if (k->unplugging >> slot & 1) {
        return err_set(e, -EBUSY, "Device %s is already in the process of unplug", d->id);
    }
    k->unplugging |= 1u << slot;
    piix4_pm_pci_unplug_request(pm, slot);
    return 0;
}

static void remove_card(struct keel *k, struct device *d)
{
    char path[64];
    snprintf(path, sizeof(path), "/machine/peripheral/%s", d->id);
    json_t *data = json_pack("{s:s, s:s}", "device", d->id, "path", path);
    char id[sizeof(d->id)];
    snprintf(id, sizeof(id), "%s", d->id);
    dev_free(d);
    drives_unplugged(&k->be, id, true);
    monitor_event(k, "DEVICE_DELETED", data);
}

/* From inside the guest's write to the eject register, or its reset. */
static void card_ejected(void *opaque, unsigned slot)
{
    struct keel *k = opaque;
    k->unplugging &= ~(1u << slot);
    for (unsigned fn = 0; fn < 8; fn++) {
        struct pci_dev *p = k->m->pci->fn[PCI_DEVFN(slot, fn)];
        if (p && is_card(p->dev.class)) {
            remove_card(k, &p->dev);
        }
    }
}

void hotplug_reset(struct keel *k)
{
    for (unsigned slot = 0; slot < 32; slot++) {
        if (k->unplugging >> slot & 1) {
            card_ejected(k, slot);
        }
    }
}

void hotplug_init(struct keel *k)
{
    k->eject_hook = (struct piix4_pm_eject){ card_ejected, k };
    k->be.eject_hook = &k->eject_hook;
}
