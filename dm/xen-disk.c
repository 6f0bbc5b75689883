/* SPDX-License-Identifier: MIT */
/* dm/xen-disk.c - see xen-disk.h.
 *
 * A guest sees such a disk twice: as an emulated drive from the command line, and as a PV disk once its
 * driver is there. Both work on one and the same drive of ours, so an image is never open twice. A disk
 * that has no emulated twin (xvdX) is opened here. Reference: libxl's xl-disk-configuration(5); the nodes
 * are those of Xen's public/io/blkif.h.
 */
#include "dm/xen-disk.h"

#include "dm/base/err.h"
#include "dm/base/log.h"
#include "dm/base/util.h"
#include "dm/keel.h"
#include "dm/keyval.h"
#include "hw/ide/ide.h"
#include "hw/scsi/scsi.h"
#include "ioreq/machine.h"
#include "xen-glue/blkback.h"
#include "xen-glue/xen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TYPE "qdisk"

struct xen_disk {
    char name[16]; /* the device's number, as libxl has it */
    struct blkback *back;
    struct drive *drive; /* opened here, or NULL */
    char twin[32];       /* otherwise the emulated drive that it is */
    struct xen_disk *next;
};

struct xen_disks {
    struct keel *k;
    struct pv_bus *bus;
    struct xen_disk *disks;
};

/* ---- the drive behind a device ---- */

/* What libxl calls formats: params is "FORMAT:FILE". */
static const char *format_of(const char *name, size_t len)
{
    static const struct {
        const char *xen, *format;
    } formats[] = { { "aio", "raw" },   { "raw", "raw" }, { "qcow2", "qcow2" },
                    { "qcow", "qcow" }, { "vhd", "vpc" }, { "vpc", "vpc" },
                    { "vhdx", "vhdx" }, { "vdi", "vdi" }, { "vmdk", "vmdk" } };
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        if (strlen(formats[i].xen) == len && memcmp(formats[i].xen, name, len) == 0) {
            return formats[i].format;
        }
    }
    return NULL;
}

static struct drive *emulated_twin(struct keel *k, const char *device, const char *file)
{
    char dev_id[32];
    snprintf(dev_id, sizeof(dev_id), "ide-%s", device);
    struct drive *d = drive_find_any(&k->be, NULL, dev_id);
    for (struct drive *o = k->be.drives; !d && file && *file && o; o = o->next) {
        if (o->dev_id[0] && o->has_medium && strcmp(o->open.filename, file) == 0) {
            d = o;
        }
    }
    return d;
}

static struct drive *open_drive(struct keel *k, const char *device, const char *params,
                                bool read_only, bool discard, struct err *e)
{
    const char *colon = strchr(params, ':');
    const char *format = colon ? format_of(params, (size_t)(colon - params)) : NULL;
    char id[32];
    if (!format) {
        err_set(e, -EINVAL, "params \"%s\": expected FORMAT:FILE", params);
        return NULL;
    }
    struct keyval *kv = keyval_parse("", NULL);
    snprintf(id, sizeof(id), "qdisk-%s", device);
    keyval_add(kv, "if", "none");
    keyval_add(kv, "id", id);
    keyval_add(kv, "format", format);
    keyval_add(kv, "file", colon + 1);
    keyval_add(kv, "readonly", read_only ? "on" : "off");
    keyval_add(kv, "discard", discard ? "unmap" : "ignore");
    int ret = drive_add(&k->be, kv, e);
    keyval_free(kv);
    return ret < 0 ? NULL : drive_find(&k->be, id);
}

static void close_drive(struct keel *k, struct drive *d)
{
    for (struct drive **p = &k->be.drives; d && *p; p = &(*p)->next) {
        if (*p == d) {
            *p = d->next;
            drive_free(d);
            return;
        }
    }
}

/* ---- one device ---- */

static bool says(struct xen_disks *x, const char *device, const char *node, const char *what)
{
    char *text = pv_read_device(x->bus, TYPE, device, node);
    bool same = text && strcmp(text, what) == 0;
    free(text);
    return same;
}

static int offer(struct xen_disks *x, struct xen_disk *d, const char *params, struct err *e)
{
    const char *colon = strchr(params, ':');
    struct blkback_disk disk = {
        .read_only = !says(x, d->name, "mode", "w"),
        .cdrom = says(x, d->name, "device-type", "cdrom"),
        .removable = says(x, d->name, "removable", "1"),
        .discard = says(x, d->name, "discard-enable", "1"),
    };
    struct drive *drive = emulated_twin(x->k, d->name, colon ? colon + 1 : NULL);
    if (!drive &&
        !(drive = d->drive = open_drive(x->k, d->name, params, disk.read_only, disk.discard, e))) {
        return e->code;
    }
    snprintf(d->twin, sizeof(d->twin), "%s", drive->dev_id);
    disk.blk = drive->blk;
    if (disk.discard && !drive->open.discard) { /* the tool stack does not tell the emulated twin */
        drive->open.discard = true;
        if (drive->has_medium) {
            blk_image_allow_discard(blk_image(drive->blk));
        }
    }
    d->back = blkback_new(x->bus, x->k->loop, (unsigned)strtoul(d->name, NULL, 10), &disk, e);
    return d->back ? 0 : e->code;
}

static void take_device(struct xen_disks *x, const char *name)
{
    struct err e = { 0 };
    struct xen_disk *d = xcalloc(1, sizeof(*d));
    char *params = pv_read_device(x->bus, TYPE, name, "params");
    snprintf(d->name, sizeof(d->name), "%s", name);
    d->next = x->disks;
    x->disks = d;
    if (offer(x, d, params ? params : "", &e) < 0) {
        log_msg(LOG_WARN, TYPE, "%s: %s: PV drivers will not see it", name, e.msg);
    }
    free(params);
}

static void free_disk(struct xen_disks *x, struct xen_disk *d)
{
    blkback_free(d->back);
    close_drive(x->k, d->drive);
    free(d);
}

/* The tool stack has taken the disk away. If PV drivers had unplugged its emulated twin nobody is left who
 * reads it: it goes too, image and all. A saved state says nothing of it then, and so fits the machine that
 * the tool stack makes for it, which has the disk no more. */
static void pull_out(struct xen_disks *x, struct xen_disk *d)
{
    struct drive *twin = *d->twin ? drive_find_any(&x->k->be, NULL, d->twin) : NULL;
    struct device *dev = twin ? machine_find(x->k->m, d->twin) : NULL;
    char id[sizeof(d->twin)];
    memcpy(id, d->twin, sizeof(id));
    free_disk(x, d);
    if (dev && (ide_unplugged(dev) || scsi_unplugged(dev))) {
        dev_free(dev);
        drives_unplugged(&x->k->be, id, true);
    }
}

/* One whose nodes are still being written has no params yet. */
static bool is_device(const struct xen_disks *x, const char *name)
{
    if (!*name || strlen(name) >= 11 || strspn(name, "0123456789") != strlen(name)) {
        return false;
    }
    char *params = pv_read_device(x->bus, TYPE, name, "params");
    bool there = params != NULL;
    free(params);
    return there;
}

static bool known(const struct xen_disks *x, const char *name)
{
    for (const struct xen_disk *d = x->disks; d; d = d->next) {
        if (strcmp(d->name, name) == 0) {
            return true;
        }
    }
    return false;
}

static void look(void *opaque)
{
    struct xen_disks *x = opaque;
    unsigned n;
    for (struct xen_disk **p = &x->disks; *p;) {
        struct xen_disk *d = *p;
        if (d->back && blkback_closed(d->back)) {
            char name[sizeof(d->name)];
            memcpy(name, d->name, sizeof(name));
            *p = d->next;
            pull_out(x, d);
            pv_say_closed(x->bus, TYPE, name);
        } else {
            p = &d->next;
        }
    }
    char **names = pv_devices(x->bus, TYPE, &n);
    for (unsigned i = 0; names && i < n; i++) {
        if (!known(x, names[i]) && is_device(x, names[i]) && !says(x, names[i], "online", "0")) {
            take_device(x, names[i]);
        }
    }
    free(names);
}

/* ---- all of them ---- */

struct xen_disks *xen_disks_start(struct keel *k)
{
    struct err e = { 0 };
    struct xen_disks *x = xcalloc(1, sizeof(*x));
    x->k = k;
    x->bus = xen_pv_bus(k->xen, k->loop, &e);
    if (!x->bus || pv_on_devices(x->bus, TYPE, look, x, &e) < 0) {
        log_msg(LOG_INFO, TYPE, "%s: PV drivers see emulated drives only", e.msg);
        xen_disks_stop(x);
        return NULL;
    }
    look(x);
    return x;
}

/* ---- none of them ---- */

/* The drive that a guest has instead of a PV disk; NULL: none. */
static struct device *drive_instead(struct xen_disks *x, const char *name)
{
    char *params = pv_read_device(x->bus, TYPE, name, "params");
    const char *colon = params ? strchr(params, ':') : NULL;
    struct drive *twin = emulated_twin(x->k, name, colon ? colon + 1 : NULL);
    free(params);
    return twin ? machine_find(x->k->m, twin->dev_id) : NULL;
}

static int decline(struct xen_disks *x, const char *name, enum xen_disks_unserved why,
                   struct err *e)
{
    static const char *const because[] = {
        [XEN_DISKS_RESTRICTED] = "with dm_restrict xenstore and grant tables are out of reach",
        [XEN_DISKS_RECORDED] = "with -keel-record its requests would pass no recorder",
    };
    struct device *dev = drive_instead(x, name);
    bool cdrom = says(x, name, "device-type", "cdrom"); /* drivers do not unplug those */
    if (!cdrom && !dev) {
        return err_set(e, -ENOTSUP,
                       "disk %s has no emulated drive and the back end qdisk, and %s: give it "
                       "backendtype=phy, or a name from hda to hdd",
                       name, because[why]);
    }
    if (!cdrom && why == XEN_DISKS_RECORDED && x->k->be.unplug.disks) {
        return err_set(e, -ENOTSUP,
                       "disk %s has the back end qdisk, and %s: give it backendtype=phy, or the "
                       "domain xen_platform_pci=0",
                       name, because[why]);
    }
    if (!cdrom && (ide_keep_plugged(dev) || scsi_keep_plugged(dev))) {
        log_msg(LOG_WARN, TYPE, "%s: %s: the guest keeps its emulated drive", name, because[why]);
    }
    pv_say_closed(x->bus, TYPE, name);
    return 0;
}

int xen_disks_decline(struct keel *k, enum xen_disks_unserved why, struct err *e)
{
    struct err no_bus = { 0 };
    struct xen_disks x = { .k = k, .bus = xen_pv_bus(k->xen, k->loop, &no_bus) };
    unsigned n = 0;
    int ret = 0;
    char **names = x.bus ? pv_devices(x.bus, TYPE, &n) : NULL;
    for (unsigned i = 0; names && i < n && ret == 0; i++) {
        ret = is_device(&x, names[i]) ? decline(&x, names[i], why, e) : 0;
    }
    free(names);
    pv_bus_free(x.bus);
    return ret;
}

void xen_disks_resized(struct xen_disks *x)
{
    for (struct xen_disk *d = x ? x->disks : NULL; d; d = d->next) {
        if (d->back) {
            blkback_resized(d->back);
        }
    }
}

void xen_disks_stop(struct xen_disks *x)
{
    while (x && x->disks) {
        struct xen_disk *d = x->disks;
        x->disks = d->next;
        free_disk(x, d);
    }
    if (x && x->bus) {
        pv_on_devices(x->bus, TYPE, NULL, NULL, NULL);
        pv_bus_free(x->bus);
    }
    free(x);
}
