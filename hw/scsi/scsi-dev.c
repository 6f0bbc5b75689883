/* SPDX-License-Identifier: MIT */
/* hw/scsi/scsi-dev.c - the devices scsi-hd and scsi-cd: places on a bus, media, state.
 *
 * A device keeps its place for its whole life; unplugging only hides it until the next reset.
 */
#include "hw/scsi/scsi-int.h"

#include "ioreq/machine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { ANY = 0xffffffff };

/* ---- the bus ---- */

struct scsi_dev *scsi_at(const struct scsi_bus *bus, unsigned target, unsigned lun)
{
    struct scsi_dev *d = target < SCSI_TARGETS && lun < SCSI_LUNS ? bus->dev[target][lun] : NULL;
    return d && !d->unplugged ? d : NULL;
}

bool scsi_target_present(const struct scsi_bus *bus, unsigned target)
{
    for (unsigned lun = 0; lun < SCSI_LUNS; lun++) {
        if (scsi_at(bus, target, lun)) {
            return true;
        }
    }
    return false;
}

static void was_reset(struct scsi_dev *d)
{
    d->power_on = true;
    d->sense = SENSE_NONE;
    d->write_cache = true;
    if (d->cd) {
        blk_set_locked(d->blk, false);
    }
}

void scsi_bus_was_reset(struct scsi_bus *bus, int target)
{
    for (unsigned t = 0; t < SCSI_TARGETS; t++) {
        for (unsigned lun = 0; lun < SCSI_LUNS; lun++) {
            struct scsi_dev *d = bus->dev[t][lun];
            if (d && (target < 0 || t == (unsigned)target)) {
                was_reset(d);
            }
        }
    }
}

/* "ID.0" names an adapter's bus; "scsi.N" the Nth adapter's; NULL the first. */
static struct scsi_bus *find_bus(struct machine *m, const char *name)
{
    unsigned n = 0;
    for (struct device *d = m->devices; d; d = d->next) {
        char by_id[40], by_number[24];
        struct scsi_bus *bus = lsi_bus_of(d);
        if (!bus) {
            continue;
        }
        snprintf(by_id, sizeof(by_id), "%s.0", d->id);
        snprintf(by_number, sizeof(by_number), "scsi.%u", n++);
        if (!name || strcmp(name, by_id) == 0 || strcmp(name, by_number) == 0) {
            return bus;
        }
    }
    return NULL;
}

bool scsi_adapter_present(struct machine *m)
{
    return find_bus(m, NULL);
}

/* ---- media ---- */

static void medium_changed(void *opaque)
{
    struct scsi_dev *d = opaque;
    d->unit_attention = blk_present(d->blk);
    if (d->cd) {
        d->media_event = blk_present(d->blk) ? CD_EVENT_NEW_MEDIA : CD_EVENT_REMOVAL;
    }
}

/* The operator pressed the button: a locked drive leaves the decision to the guest. */
static void eject_request(void *opaque, bool force)
{
    struct scsi_dev *d = opaque;
    d->media_event = CD_EVENT_EJECT_REQUEST;
    if (force) {
        blk_set_locked(d->blk, false);
    }
}

static void tray_moved(void *opaque)
{
    struct scsi_dev *d = opaque;
    d->tray_open = blk_tray_open(d->blk);
    d->locked = blk_locked(d->blk);
}

static const struct blk_user cd_user = { medium_changed, eject_request, tray_moved };
static const struct blk_user hd_user = { medium_changed, NULL, NULL };

/* ---- life ---- */

static bool own_id(uint32_t id)
{
    return id == 7; /* the adapter's */
}

static int take_place(struct scsi_dev *d, struct err *e)
{
    const char *id = d->dev.id;
    if (d->channel) {
        return err_set(e, -EINVAL, "%s: channel=%u: a bus has one channel, 0", id, d->channel);
    }
    if (d->scsi_id != ANY && (d->scsi_id >= SCSI_TARGETS || own_id(d->scsi_id))) {
        return err_set(e, -EINVAL, "%s: scsi-id=%u: 0 to 15 but 7, the adapter's", id, d->scsi_id);
    }
    if (d->lun >= SCSI_LUNS) {
        return err_set(e, -EINVAL, "%s: lun=%u: 0 to %u", id, d->lun, SCSI_LUNS - 1);
    }
    for (uint32_t t = 0; d->scsi_id == ANY && t < SCSI_TARGETS; t++) {
        if (!own_id(t) && !d->on->dev[t][d->lun]) {
            d->scsi_id = t;
        }
    }
    if (d->scsi_id == ANY || d->on->dev[d->scsi_id][d->lun]) {
        return err_set(e, -EBUSY, "%s: that place on the SCSI bus is taken", id);
    }
    d->on->dev[d->scsi_id][d->lun] = d;
    return 0;
}

static int check_hd(const struct scsi_dev *d, struct err *e)
{
    const char *id = d->dev.id;
    uint32_t physical = d->physical;
    if (!blk_present(d->blk) || blk_len(d->blk) < SCSI_BLOCK) {
        return err_set(e, -ENOMEDIUM, "%s: drive '%s' has no medium", id, blk_id(d->blk));
    }
    if (d->logical != SCSI_BLOCK) {
        return err_set(e, -EINVAL, "%s: logical_block_size must be 512", id);
    }
    if (physical < SCSI_BLOCK || physical > 65536 || (physical & (physical - 1))) {
        return err_set(e, -EINVAL, "%s: physical_block_size must be a power of two, 512 to 65536",
                       id);
    }
    return 0;
}

static void default_text(char **text, const char *value)
{
    if (!*text) {
        *text = xstrdup(value);
    }
}

static int dev_start(struct scsi_dev *d, struct err *e)
{
    const char *id = d->dev.id;
    if (!d->blk) {
        return err_set(e, -EINVAL, "%s: drive= is missing", id);
    }
    if (blk_user(d->blk, NULL)) {
        return err_set(e, -EBUSY, "%s: drive '%s' is in use", id, blk_id(d->blk));
    }
    int ret = d->cd ? 0 : check_hd(d, e);
    struct scsi_bus *bus = find_bus(d->dev.m, d->bus);
    if (ret == 0 && !bus) {
        ret = d->bus ? err_set(e, -ENOENT, "%s: there is no SCSI bus '%s'", id, d->bus)
                     : err_set(e, -ENOENT, "%s: there is no SCSI bus: -device lsi53c895a", id);
    }
    if (ret < 0) {
        return ret;
    }
    d->on = bus;
    ret = take_place(d, e);
    if (ret < 0) {
        d->on = NULL;
        return ret;
    }
    default_text(&d->vendor, "KEEL");
    default_text(&d->product, d->cd ? "KEEL CD-ROM" : "KEEL HARDDISK");
    default_text(&d->ver, "1.0");
    blk_set_user(d->blk, d->cd ? &cd_user : &hd_user, d);
    return 0;
}

static int hd_init(struct device *dev, struct err *e)
{
    return dev_start((struct scsi_dev *)dev, e);
}

static int cd_init(struct device *dev, struct err *e)
{
    struct scsi_dev *d = (struct scsi_dev *)dev;
    d->cd = true;
    return dev_start(d, e);
}

static void dev_reset_scsi(struct device *dev)
{
    struct scsi_dev *d = (struct scsi_dev *)dev;
    d->unplugged = false;
    d->unit_attention = false;
    d->media_event = CD_EVENT_NONE;
    was_reset(d);
    tray_moved(d);
}

static void dev_fini(struct device *dev)
{
    struct scsi_dev *d = (struct scsi_dev *)dev;
    if (d->on) {
        d->on->dev[d->scsi_id][d->lun] = NULL;
        d->on->gone(d->on);
        blk_set_user(d->blk, NULL, NULL);
    }
}

struct scsi_place scsi_place_of(const struct device *dev)
{
    const struct scsi_dev *d = (const struct scsi_dev *)dev;
    return (struct scsi_place){ .devfn = d->on->devfn, .target = d->scsi_id, .lun = d->lun };
}

void scsi_unplug_disks(struct machine *m)
{
    for (struct device *dev = m->devices; dev; dev = dev->next) {
        struct scsi_dev *d = (struct scsi_dev *)dev;
        if (dev->class == &scsi_hd_class && d->on && !d->unplugged && !d->stays) {
            d->unplugged = true;
            d->on->gone(d->on);
        }
    }
}

bool scsi_keep_plugged(struct device *d)
{
    if (d->class != &scsi_hd_class) {
        return false;
    }
    ((struct scsi_dev *)d)->stays = true;
    return true;
}

bool scsi_unplugged(const struct device *d)
{
    return d->class == &scsi_hd_class && ((const struct scsi_dev *)d)->unplugged;
}

/* ---- state ---- */

static int dev_loaded(struct device *dev, struct err *e)
{
    struct scsi_dev *d = (struct scsi_dev *)dev;
    (void)e;
    if (d->unplugged) {
        d->on->gone(d->on);
    }
    if (d->cd) {
        bool open = d->tray_open, locked = d->locked;
        blk_set_tray(d->blk, open);
        blk_set_locked(d->blk, locked);
    }
    return 0;
}

#define F(member) FIELD(struct scsi_dev, member)
static const struct state_field state[] = {
    F(unplugged),
    F(sense.key),
    F(sense.asc),
    F(sense.ascq),
    F(power_on),
    F(unit_attention),
    FIELD_RANGE(struct scsi_dev, media_event, CD_EVENT_NONE, CD_EVENT_REMOVAL),
    F(tray_open),
    F(locked),
    F(write_cache),
    FIELD_END,
};

#define P(name, kind, member, def, help) PROP(struct scsi_dev, name, kind, member, def, help)
#define COMMON_PROPS                                                                               \
    P("bus", PROP_STR, bus, 0, "the adapter's, \"ID.0\"; default: the first"),                     \
        P("scsi-id", PROP_U32, scsi_id, ANY, "target, 0 to 15 but 7; default: the first free"),    \
        P("lun", PROP_U32, lun, 0, "logical unit, 0 to 7"),                                        \
        P("channel", PROP_U32, channel, 0, "only 0"),                                              \
        P("drive", PROP_BLK, blk, 0, "the drive's id"),                                            \
        P("serial", PROP_STR, serial, 0, "serial number, up to 36 characters"),                    \
        P("vendor", PROP_STR, vendor, 0, "vendor, up to 8 characters"),                            \
        P("product", PROP_STR, product, 0, "product name, up to 16 characters"),                   \
        P("ver", PROP_STR, ver, 0, "revision, up to 4 characters")

static const struct dev_prop hd_props[] = {
    COMMON_PROPS,
    P("logical_block_size", PROP_U32, logical, SCSI_BLOCK, "bytes, only 512"),
    P("physical_block_size", PROP_U32, physical, SCSI_BLOCK, "bytes, 512 to 65536"),
    { NULL, PROP_END, 0, 0, NULL },
};
static const struct dev_prop cd_props[] = {
    COMMON_PROPS,
    { NULL, PROP_END, 0, 0, NULL },
};

const struct dev_class scsi_hd_class = {
    .name = "scsi-hd",
    .desc = "SCSI hard disk",
    .size = sizeof(struct scsi_dev),
    .props = hd_props,
    .state = state,
    .state_version = 1,
    .user_creatable = true,
    .init = hd_init,
    .reset = dev_reset_scsi,
    .loaded = dev_loaded,
    .fini = dev_fini,
};

const struct dev_class scsi_cd_class = {
    .name = "scsi-cd",
    .desc = "SCSI CD-ROM drive",
    .size = sizeof(struct scsi_dev),
    .props = cd_props,
    .state = state,
    .state_version = 1,
    .user_creatable = true,
    .init = cd_init,
    .reset = dev_reset_scsi,
    .loaded = dev_loaded,
    .fini = dev_fini,
};
