/* SPDX-License-Identifier: MIT */
/* hw/ide/drive.c - the devices ide-hd and ide-cd: properties, media, unplugging, state.
 *
 * A drive sits at unit 0 or 1 of a channel for its whole life. Unplugging only hides it from the
 * channel until the next reset, so that a saved state always finds the same devices.
 *
 * Saved state holds whatever waits for the guest, a half-moved PIO block included. I/O in flight
 * is never saved: the process drains all drives first, and a drained drive has run on to a phase
 * that waits for the guest.
 */
#include "hw/ide/ide-int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>

enum { ANY_UNIT = 0xffffffff };

/* Media. */

static void cd_medium_changed(void *opaque)
{
    struct mmc c = ide_mmc(opaque);

    mmc_medium_changed(&c);
}

/* The operator pressed the button: a locked drive leaves the decision to the guest. */
static void cd_eject_request(void *opaque, bool force)
{
    struct ide_drive *d = opaque;

    d->media_event = CD_EVENT_EJECT_REQUEST;
    if (force) {
        blk_set_locked(d->blk, false);
    }
}

static void cd_tray_moved(void *opaque)
{
    struct ide_drive *d = opaque;

    d->tray_open = blk_tray_open(d->blk);
    d->locked = blk_locked(d->blk);
}

static const struct blk_user cd_user = { cd_medium_changed, cd_eject_request, cd_tray_moved };
static const struct blk_user hd_user = { NULL, NULL, NULL };

/* Slots. */

static bool take_slot(struct ide_drive *d, struct ide_channel *ch, uint32_t unit)
{
    if (ch->drive[unit]) {
        return false;
    }
    ch->drive[unit] = d;
    d->ch = ch;
    d->unit = unit;
    return true;
}

static bool take_any_slot(struct ide_drive *d, struct ide_channel *ch)
{
    return take_slot(d, ch, 0) || take_slot(d, ch, 1);
}

static int attach_to_bus(struct ide_drive *d, struct err *e)
{
    struct ide_channel *ch = ide_bus_find(d->dev.m, d->bus);
    const char *id = d->dev.id;

    if (!ch) {
        return err_set(e, -ENOENT, "%s: there is no IDE bus '%s'", id, d->bus);
    }
    if (ch->link && d->unit != ANY_UNIT && d->unit != 0) {
        return err_set(e, -EINVAL, "%s: unit %u: a serial ATA port has one drive, unit 0", id,
                       d->unit);
    }
    if (ch->link) {
        return take_slot(d, ch, 0) ? 0 : err_set(e, -EBUSY, "%s: bus '%s' is full", id, d->bus);
    }
    if (d->unit == ANY_UNIT) {
        return take_any_slot(d, ch) ? 0 : err_set(e, -EBUSY, "%s: bus '%s' is full", id, d->bus);
    }
    if (d->unit > 1) {
        return err_set(e, -EINVAL, "%s: unit %u of '%s' is neither 0 nor 1", id, d->unit, d->bus);
    }
    if (!take_slot(d, ch, d->unit)) {
        return err_set(e, -EBUSY, "%s: unit %u of '%s' is taken", id, d->unit, d->bus);
    }
    return 0;
}

static int attach(struct ide_drive *d, struct err *e)
{
    static const char *const buses[] = { "ide.0", "ide.1" };

    if (d->bus) {
        return attach_to_bus(d, e);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(buses); i++) {
        struct ide_channel *ch = ide_bus_find(d->dev.m, buses[i]);

        if (ch && take_any_slot(d, ch)) {
            return 0;
        }
    }
    return err_set(e, -EBUSY, "%s: no IDE slot is free", d->dev.id);
}

/* Life. */

static void default_text(char **text, const char *value)
{
    if (!*text) {
        *text = xstrdup(value);
    }
}

static void default_texts(struct ide_drive *d)
{
    char serial[16];
    bool secondary = d->ch == ide_bus_find(d->dev.m, "ide.1");

    snprintf(serial, sizeof(serial), "KL%05u", (secondary ? 2 : 0) + d->unit + 1);
    default_text(&d->serial, serial);
    default_text(&d->model, d->cd ? "KEEL DVD-ROM" : "KEEL HARDDISK");
    default_text(&d->ver, "1.0");
}

static int check_sizes(const struct ide_drive *d, struct err *e)
{
    uint32_t physical = d->physical_block_size;

    if (d->logical_block_size != IDE_SECTOR) {
        return err_set(e, -EINVAL, "%s: logical_block_size must be 512", d->dev.id);
    }
    if (physical < IDE_SECTOR || physical > 65536 || (physical & (physical - 1))) {
        return err_set(e, -EINVAL, "%s: physical_block_size must be a power of two, 512 to 65536",
                       d->dev.id);
    }
    return 0;
}

static int check_hd(const struct ide_drive *d, struct err *e)
{
    if (!blk_present(d->blk)) {
        return err_set(e, -ENOMEDIUM, "%s: drive '%s' has no medium", d->dev.id, blk_id(d->blk));
    }
    if (blk_read_only(d->blk)) {
        return err_set(e, -EROFS, "%s: a hard disk cannot be read-only", d->dev.id);
    }
    return check_sizes(d, e);
}

static int drive_init(struct ide_drive *d, struct err *e)
{
    int ret;

    if (!d->blk) {
        return err_set(e, -EINVAL, "%s: drive= is missing", d->dev.id);
    }
    if (blk_user(d->blk, NULL)) {
        return err_set(e, -EBUSY, "%s: drive '%s' is in use", d->dev.id, blk_id(d->blk));
    }
    ret = d->cd ? 0 : check_hd(d, e);
    if (ret == 0) {
        ret = attach(d, e);
    }
    if (ret == 0) {
        default_texts(d);
        blk_set_user(d->blk, d->cd ? &cd_user : &hd_user, d);
    }
    return ret;
}

static int hd_init(struct device *dev, struct err *e)
{
    return drive_init((struct ide_drive *)dev, e);
}

static int cd_init(struct device *dev, struct err *e)
{
    struct ide_drive *d = (struct ide_drive *)dev;

    d->cd = true;
    return drive_init(d, e);
}

static void drive_reset(struct device *dev)
{
    struct ide_drive *d = (struct ide_drive *)dev;

    d->unplugged = false;
    ide_drive_reset(d, true);
    if (d->cd) {
        blk_set_locked(d->blk, false);
        cd_tray_moved(d);
    }
}

static void drive_fini(struct device *dev)
{
    struct ide_drive *d = (struct ide_drive *)dev;

    if (d->ch) {
        ide_stop(d);
        d->ch->drive[d->unit] = NULL;
        blk_set_user(d->blk, NULL, NULL);
    }
}

void ide_unplug_disks(struct machine *m, bool aux_only)
{
    struct ide_channel *primary = ide_bus_find(m, "ide.0");

    for (struct device *dev = m->devices; dev; dev = dev->next) {
        struct ide_drive *d = (struct ide_drive *)dev;

        if (dev->class != &ide_hd_class || !d->ch || d->unplugged || d->stays) {
            continue;
        }
        if (aux_only && d->ch == primary && d->unit == 0) {
            continue;
        }
        ide_stop(d);
        d->status = 0;
        d->unplugged = true;
    }
}

bool ide_keep_plugged(struct device *d)
{
    if (d->class != &ide_hd_class) {
        return false;
    }
    ((struct ide_drive *)d)->stays = true;
    return true;
}

bool ide_unplugged(const struct device *d)
{
    return d->class == &ide_hd_class && ((const struct ide_drive *)d)->unplugged;
}

struct ide_place ide_place_of(const struct device *dev)
{
    const struct ide_drive *d = (const struct ide_drive *)dev;
    const char *dot = d->bus ? strrchr(d->bus, '.') : NULL;
    struct ide_place p = { .devfn = d->ch->pci->devfn, .unit = d->unit };

    if (d->ch->link) { /* a serial port is known by its bus's number */
        p.channel = dot ? (unsigned)strtoul(dot + 1, NULL, 10) : 0;
    } else {
        p.channel = d->ch == ide_bus_find(dev->m, "ide.1");
    }
    return p;
}

/* State. */

/* A buffer's marks, and what the phase needs to go on. */
static bool buffer_sane(const struct ide_drive *d)
{
    bool moving = d->phase == PHASE_IN || d->phase == PHASE_OUT || d->phase == PHASE_PACKET;

    if (d->pos > d->end || d->end > d->fill || d->fill > IDE_BUF_BYTES) {
        return false;
    }
    if (moving && d->pos == d->end) {
        return false;
    }
    if (d->phase == PHASE_IN && (d->block == 0 || d->block > 0xffff)) {
        return false;
    }
    return d->phase != PHASE_PACKET || d->end == sizeof(d->packet);
}

static bool sectors_sane(const struct ide_drive *d)
{
    if (!d->cd && (d->left > 65536 || d->heads == 0 || d->sectors == 0)) {
        return false;
    }
    if (d->lba >= 1ull << 48) {
        return false;
    }
    if (d->phase == PHASE_OUT && d->xfer == XFER_WRITE) {
        return d->end % IDE_SECTOR == 0 && d->end / IDE_SECTOR <= d->left && d->block &&
               d->block <= IDE_BUF_BYTES && d->block % IDE_SECTOR == 0;
    }
    return true;
}

static bool xfer_is_of_medium(uint8_t xfer)
{
    return xfer == XFER_READ || xfer == XFER_WRITE || xfer == XFER_CD_READ;
}

static bool xfer_sane(const struct ide_drive *d)
{
    bool cd_only = d->xfer >= XFER_CD_READ;
    bool out = d->xfer == XFER_WRITE || d->xfer == XFER_CD_PARAM;

    switch (d->phase) {
    case PHASE_IDLE:
        return true;
    case PHASE_PACKET:
        return d->cd;
    case PHASE_IN:
        return d->xfer != XFER_NONE && d->xfer != XFER_TRIM && !out && (d->cd || !cd_only);
    case PHASE_OUT:
        return out && d->cd == cd_only;
    case PHASE_DMA_WAIT:
        if (d->xfer == XFER_NONE || d->xfer == XFER_REPLY || d->cd != cd_only || !d->dma_len) {
            return false;
        }
        if (xfer_is_of_medium(d->xfer)) {
            return d->dma_len % IDE_SECTOR == 0 && d->dma_offset % IDE_SECTOR == 0 &&
                   d->dma_len <= 1ull << 43;
        }
        return d->dma_len <= IDE_BUF_BYTES && (d->xfer != XFER_TRIM || d->dma_len % 8 == 0);
    default:
        return false; /* I/O in flight is never saved */
    }
}

static int drive_loaded(struct device *dev, struct err *e)
{
    struct ide_drive *d = (struct ide_drive *)dev;

    if (!buffer_sane(d) || !sectors_sane(d) || !xfer_sane(d)) {
        return err_set(e, -EINVAL, "phase %u with transfer %u and marks %u, %u, %u is impossible",
                       d->phase, d->xfer, d->pos, d->end, d->fill);
    }
    if (d->multiple & (d->multiple - 1)) {
        return err_set(e, -EINVAL, "multiple %u is not a power of two", d->multiple);
    }
    if (d->cd) {
        bool open = d->tray_open, locked = d->locked;

        blk_set_tray(d->blk, open);
        blk_set_locked(d->blk, locked);
    }
    return 0;
}

#define F(member) FIELD(struct ide_drive, member)
#define R(member, lo, hi) FIELD_RANGE(struct ide_drive, member, lo, hi)

static const struct state_field drive_state[] = {
    F(unplugged),
    F(tf.feature),
    F(tf.nsect),
    F(tf.lbal),
    F(tf.lbam),
    F(tf.lbah),
    F(hob.feature),
    F(hob.nsect),
    F(hob.lbal),
    F(hob.lbam),
    F(hob.lbah),
    F(device),
    F(status),
    F(error),
    F(command),
    R(heads, 0, 16),
    R(sectors, 0, 255),
    R(multiple, 0, IDE_MAX_MULTIPLE),
    F(mdma),
    F(udma),
    F(write_cache),
    F(read_ahead),
    F(frozen),
    F(sleeping),
    F(smart.enabled),
    F(smart.autosave),
    F(smart.errors),
    R(smart.selftest_count, 0, IDE_SELF_TESTS - 1),
    FIELD_ARRAY(struct ide_drive, smart.selftest),
    R(phase, 0, PHASE_LAST),
    R(xfer, 0, XFER_LAST),
    FIELD_ARRAY(struct ide_drive, buf),
    F(pos),
    F(end),
    F(fill),
    F(block),
    F(lba),
    F(left),
    F(fua),
    F(lba48),
    F(dma_offset),
    F(dma_len),
    FIELD_ARRAY(struct ide_drive, packet),
    F(packet_dma),
    F(sense.key),
    F(sense.asc),
    F(sense.ascq),
    F(unit_attention),
    R(media_event, CD_EVENT_NONE, CD_EVENT_REMOVAL),
    F(tray_open),
    F(locked),
    FIELD_SINCE(struct ide_drive, ncq_error.valid, 2),
    FIELD_SINCE(struct ide_drive, ncq_error.tag, 2),
    FIELD_SINCE(struct ide_drive, ncq_error.status, 2),
    FIELD_SINCE(struct ide_drive, ncq_error.error, 2),
    FIELD_SINCE(struct ide_drive, ncq_error.lba, 2),
    FIELD_END,
};

#define P(name, kind, member, def, help) PROP(struct ide_drive, name, kind, member, def, help)

static const struct dev_prop hd_props[] = {
    P("bus", PROP_STR, bus, 0, "\"ide.0\" or \"ide.1\"; default: the first with a free slot"),
    P("unit", PROP_U32, unit, ANY_UNIT, "0 (master) or 1 (slave); default: the first free one"),
    P("drive", PROP_BLK, blk, 0, "the drive's id"),
    P("serial", PROP_STR, serial, 0, "serial number, up to 20 characters"),
    P("model", PROP_STR, model, 0, "model name, up to 40 characters"),
    P("ver", PROP_STR, ver, 0, "firmware revision, up to 8 characters"),
    P("logical_block_size", PROP_U32, logical_block_size, IDE_SECTOR, "bytes, only 512"),
    P("physical_block_size", PROP_U32, physical_block_size, IDE_SECTOR, "bytes, 512 to 65536"),
    { NULL, PROP_END, 0, 0, NULL },
};

static const struct dev_prop cd_props[] = {
    P("bus", PROP_STR, bus, 0, "\"ide.0\" or \"ide.1\"; default: the first with a free slot"),
    P("unit", PROP_U32, unit, ANY_UNIT, "0 (master) or 1 (slave); default: the first free one"),
    P("drive", PROP_BLK, blk, 0, "the drive's id; it may be empty"),
    P("serial", PROP_STR, serial, 0, "serial number, up to 20 characters"),
    P("model", PROP_STR, model, 0, "model name, up to 40 characters"),
    P("ver", PROP_STR, ver, 0, "firmware revision, up to 8 characters"),
    { NULL, PROP_END, 0, 0, NULL },
};

const struct dev_class ide_hd_class = {
    .name = "ide-hd",
    .desc = "IDE hard disk",
    .size = sizeof(struct ide_drive),
    .props = hd_props,
    .state = drive_state,
    .state_version = 2,
    .user_creatable = true,
    .init = hd_init,
    .reset = drive_reset,
    .loaded = drive_loaded,
    .fini = drive_fini,
};

const struct dev_class ide_cd_class = {
    .name = "ide-cd",
    .desc = "ATAPI CD-ROM drive",
    .size = sizeof(struct ide_drive),
    .props = cd_props,
    .state = drive_state,
    .state_version = 2,
    .user_creatable = true,
    .init = cd_init,
    .reset = drive_reset,
    .loaded = drive_loaded,
    .fini = drive_fini,
};
