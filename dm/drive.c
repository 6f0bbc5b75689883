/* SPDX-License-Identifier: MIT */
/* dm/drive.c - drives from the command line: -drive, -blockdev. docs/block.md. */
#include "block/node.h"
#include "block/open.h"
#include "dm/backends.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/fdset.h"
#include "dm/keyval.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int parse_interface(struct drive *d, struct keyval *kv, struct err *e)
{
    static const char *const known[] = { "virtio", "sd", "pflash", "mtd", "xen" };
    const char *v = keyval_get(kv, "if");
    if (!v || strcmp(v, "ide") == 0) {
        d->interface = DRIVE_IDE;
    } else if (strcmp(v, "none") == 0) {
        d->interface = DRIVE_NONE;
    } else if (strcmp(v, "floppy") == 0) {
        d->interface = DRIVE_FLOPPY;
    } else if (strcmp(v, "scsi") == 0) {
        d->interface = DRIVE_SCSI;
    } else {
        for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
            if (strcmp(v, known[i]) == 0) {
                return err_set(e, -EINVAL, "if=%s: known, but Keel does not have it yet", v);
            }
        }
        return err_set(e, -EINVAL, "if=%s: expected ide, floppy, scsi or none", v);
    }
    return 0;
}

static bool place_taken(const struct backends *b, const struct drive *d)
{
    for (const struct drive *o = b->drives; o; o = o->next) {
        if (o->interface == d->interface && o->bus == d->bus && o->unit == d->unit) {
            return true;
        }
    }
    return false;
}

/* Places a drive that needs no -device: index, or bus and unit, or the first free place. */
static int parse_place(struct backends *b, struct drive *d, struct keyval *kv, struct err *e)
{
    unsigned buses = d->interface == DRIVE_IDE ? 2 : 1;
    unsigned units = d->interface == DRIVE_SCSI ? 7 : 2; /* a target each, below the adapter's 7 */
    uint32_t index = UINT32_MAX, bus = UINT32_MAX, unit = UINT32_MAX;
    if (keyval_u32(kv, "index", &index, e) < 0 || keyval_u32(kv, "bus", &bus, e) < 0 ||
        keyval_u32(kv, "unit", &unit, e) < 0) {
        return -EINVAL;
    }
    if (d->interface == DRIVE_NONE) {
        return 0;
    }
    bool anywhere = index == UINT32_MAX && bus == UINT32_MAX && unit == UINT32_MAX;
    if (index == UINT32_MAX) {
        index = (bus == UINT32_MAX ? 0 : bus * units) + (unit == UINT32_MAX ? 0 : unit);
    }
    if (index >= buses * units || (unit != UINT32_MAX && unit >= units)) {
        return err_set(e, -EINVAL, "index=%u: there are %u drives of this kind", index,
                       buses * units);
    }
    do {
        d->bus = index / units;
        d->unit = index % units;
        if (!place_taken(b, d)) {
            return 0;
        }
    } while (anywhere && ++index < buses * units);
    return err_set(e, -EINVAL, "index=%u: used twice", d->bus * units + d->unit);
}

static int parse_cache(struct drive *d, struct keyval *kv, struct err *e)
{
    static const struct {
        const char *name;
        enum blk_cache cache;
    } modes[] = { { "writeback", BLK_WRITEBACK },
                  { "none", BLK_NONE },
                  { "off", BLK_NONE },
                  { "writethrough", BLK_WRITETHROUGH },
                  { "directsync", BLK_DIRECTSYNC },
                  { "unsafe", BLK_UNSAFE } };
    const char *cache = keyval_get(kv, "cache"), *aio = keyval_get(kv, "aio");
    d->open.cache = BLK_WRITEBACK;
    bool found = !cache;
    for (size_t i = 0; cache && i < ARRAY_SIZE(modes); i++) {
        if (strcmp(cache, modes[i].name) == 0) {
            d->open.cache = modes[i].cache;
            found = true;
        }
    }
    if (!found) {
        return err_set(e, -EINVAL, "cache=%s: unknown mode", cache);
    }
    if (aio && !blk_aio_named(aio, &d->open.aio)) {
        return err_set(e, -EINVAL, "aio=%s: expected threads, native or io_uring", aio);
    }
    return 0;
}

static int parse_discard(struct drive *d, struct keyval *kv, struct err *e)
{
    static const char *const discard[] = { "ignore", "off", "unmap", "on", NULL };
    static const char *const zeroes[] = { "off", "on", "unmap" };
    const char *want = keyval_get(kv, "discard"), *detect = keyval_get(kv, "detect-zeroes");
    int ret = keyval_only(kv, "discard", discard, e);
    d->open.discard = want && (strcmp(want, "unmap") == 0 || strcmp(want, "on") == 0);
    for (unsigned i = 0; detect && i < ARRAY_SIZE(zeroes); i++) {
        if (strcmp(detect, zeroes[i]) == 0) {
            d->open.detect_zeroes = i;
            detect = NULL;
        }
    }
    if (ret == 0 && detect) {
        return err_set(e, -EINVAL, "detect-zeroes=%s: expected off, on or unmap", detect);
    }
    if (ret == 0 && d->open.detect_zeroes == NODE_ZEROES_UNMAP && !d->open.discard) {
        return err_set(e, -EINVAL, "detect-zeroes=unmap: only with discard=unmap");
    }
    return ret;
}

static int set_format(struct drive *d, const char *format, struct err *e)
{
    d->open.format = image_format_name(format);
    if (d->open.format) {
        return 0;
    }
    if (image_format_known(format)) {
        return err_set(e, -EINVAL, "format=%s: known, but Keel does not have it yet", format);
    }
    return err_set(e, -EINVAL, "format=%s: unknown image format", format);
}

/* What only an image with another file, or with a key, has. The drive's next medium has neither. */
static int parse_behind(struct backends *b, struct drive *d, struct keyval *kv, struct err *e)
{
    static const char *const formats[] = { "luks", NULL }, *const drivers[] = { "file", NULL };
    const char *data = keyval_get(kv, "data-file.filename");
    if (keyval_only(kv, "encrypt.format", formats, e) < 0 ||
        keyval_only(kv, "data-file.driver", drivers, e) < 0 ||
        secret_option(b, kv, "key-secret", &d->open.key, e) < 0 ||
        secret_option(b, kv, "encrypt.key-secret", &d->open.key, e) < 0) {
        return e->code;
    }
    if (!data && keyval_get(kv, "data-file.driver")) {
        return err_set(e, -EINVAL, "data-file.filename: missing");
    }
    d->open.data_file = data;
    return 0;
}

static int parse_format(struct drive *d, struct keyval *kv, struct err *e)
{
    const char *format = keyval_get(kv, "format"), *media = keyval_get(kv, "media");
    if (media && strcmp(media, "cdrom") != 0 && strcmp(media, "disk") != 0) {
        return err_set(e, -EINVAL, "media=%s: expected disk or cdrom", media);
    }
    d->cdrom = media && strcmp(media, "cdrom") == 0;
    return format ? set_format(d, format, e) : 0;
}

static int open_to_look(const struct backends *b, const char *filename)
{
    int64_t set = fdset_parse(filename);
    if (set < 0) {
        return open(filename, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    }
    int fd = fdset_open(b->fdsets, set, O_RDONLY);
    return fd >= 0 ? fd : fdset_open(b->fdsets, set, O_RDWR);
}

/* Without format= the header decides, as QEMU has it; but a guest can write any header onto its own
 * disk. So a format that was guessed may not name other files of the host (block/open.h), and what
 * is of a format that is not had is refused: a guest that took it for its disk would destroy it. */
static int guess_format(const struct backends *b, struct drive *d, struct err *e)
{
    int fd = open_to_look(b, d->open.filename);
    const char *found = fd < 0 ? "raw" : image_probe(fd);
    if (fd >= 0) {
        close(fd);
    }
    if (!image_format_had(found)) {
        return err_set(e, -EINVAL,
                       "looks like %s, which Keel does not have yet; format=raw takes its bytes "
                       "for the disk's",
                       found);
    }
    d->open.guessed = true;
    return set_format(d, found, e);
}

static int parse_action(struct keyval *kv, const char *key, enum blk_on_error *out, struct err *e)
{
    static const char *const names[] = { "report", "ignore", "stop", "enospc" };
    const char *v = keyval_get(kv, key);
    for (size_t i = 0; v && i < ARRAY_SIZE(names); i++) {
        if (strcmp(names[i], v) == 0 && (i != BLK_ENOSPC || strcmp(key, "werror") == 0)) {
            *out = (enum blk_on_error)i;
            return 0;
        }
    }
    return v ? err_set(e, -EINVAL, "%s=%s: expected report, ignore%s or stop", key, v,
                       key[0] == 'w' ? ", enospc" : "")
             : 0;
}

/* QEMU's two spellings of each limit, of its burst, and of how long that may last. */
static int parse_limits(struct keyval *kv, struct throttle_limits *l, struct err *e)
{
    static const char *const names[THROTTLE_LIMITS][2] = {
        { "bps", "throttling.bps-total" },     { "bps_rd", "throttling.bps-read" },
        { "bps_wr", "throttling.bps-write" },  { "iops", "throttling.iops-total" },
        { "iops_rd", "throttling.iops-read" }, { "iops_wr", "throttling.iops-write" },
    };
    if (keyval_size(kv, "iops_size", 1, &l->iops_size, e) < 0 ||
        keyval_size(kv, "throttling.iops-size", 1, &l->iops_size, e) < 0) {
        return -EINVAL;
    }
    for (size_t i = 0; i < THROTTLE_LIMITS; i++) {
        for (size_t k = 0; k < 2; k++) {
            char max[48], length[48];
            snprintf(max, sizeof(max), k ? "%s-max" : "%s_max", names[i][k]);
            snprintf(length, sizeof(length), k ? "%s-max-length" : "%s_max_length", names[i][k]);
            if (keyval_size(kv, names[i][k], 1, &l->avg[i], e) < 0 ||
                keyval_size(kv, max, 1, &l->max[i], e) < 0 ||
                keyval_size(kv, length, 1, &l->length[i], e) < 0) {
                return -EINVAL;
            }
        }
    }
    return throttle_check(l, e);
}

/* The group that is named, or one for this drive alone if there are limits. */
static int parse_throttle(struct backends *b, struct drive *d, struct keyval *kv, struct err *e)
{
    struct throttle_limits l = { 0 }, none = { 0 };
    const char *name = keyval_get(kv, "throttling.group"), *old = keyval_get(kv, "group");
    if (parse_limits(kv, &l, e) < 0) {
        return -EINVAL;
    }
    bool limited = memcmp(&l, &none, sizeof(l)) != 0;
    name = name ? name : old;
    if (name) {
        struct throttle_group *g = throttle_group_find(b->throttles, name);
        d->open.throttle = g ? g : throttle_group_new(&b->throttles, name);
    } else if (limited) {
        d->open.throttle = d->own_throttle = throttle_group_new(NULL, "");
    }
    if (limited) {
        throttle_group_set(d->open.throttle, &l);
    }
    return 0;
}

static int parse_behaviour(struct backends *b, struct drive *d, struct keyval *kv, struct err *e)
{
    static const char *const locking[] = { "auto", "on", "off", NULL };
    const char *lock = keyval_get(kv, "file.locking");
    d->werror = BLK_ENOSPC;
    d->open.temporary = b->snapshot && !d->cdrom;
    if (keyval_only(kv, "file.locking", locking, e) < 0 ||
        keyval_bool(kv, "snapshot", &d->open.temporary, e) < 0 || parse_throttle(b, d, kv, e) < 0 ||
        keyval_bool(kv, "copy-on-read", &d->open.copy_on_read, e) < 0 ||
        parse_action(kv, "rerror", &d->rerror, e) < 0 ||
        parse_action(kv, "werror", &d->werror, e) < 0) {
        return -EINVAL;
    }
    /* What arrives by migration is still its source's when this process starts. */
    d->open.inactive = b->incoming;
    d->open.lock = !b->incoming && (!lock || strcmp(lock, "off") != 0);
    return 0;
}

static int parse_drive(struct backends *b, struct drive *d, struct keyval *kv, struct err *e)
{
    bool readonly = false;
    const char *id;
    if (parse_interface(d, kv, e) < 0 || parse_place(b, d, kv, e) < 0 ||
        parse_cache(d, kv, e) < 0 || parse_discard(d, kv, e) < 0 || parse_format(d, kv, e) < 0 ||
        parse_behaviour(b, d, kv, e) < 0 || parse_behind(b, d, kv, e) < 0 ||
        keyval_bool(kv, "readonly", &readonly, e) < 0 ||
        keyval_bool(kv, "read-only", &readonly, e) < 0) {
        return -EINVAL;
    }
    d->open.fd = -1;
    d->open.read_only = readonly || d->cdrom;
    const char *file = keyval_get(kv, "file");
    d->has_medium = file && *file;
    d->open.filename = xstrdup(file ? file : "");
    if ((id = keyval_get(kv, "id"))) {
        if (strlen(id) >= sizeof(d->id)) {
            return err_set(e, -EINVAL, "id=%s: too long", id);
        }
        snprintf(d->id, sizeof(d->id), "%s", id);
    } else if (d->interface == DRIVE_IDE) {
        snprintf(d->id, sizeof(d->id), "ide%u-%s%u", d->bus, d->cdrom ? "cd" : "hd", d->unit);
    } else if (d->interface == DRIVE_SCSI) {
        snprintf(d->id, sizeof(d->id), "scsi%u-%s%u", d->bus, d->cdrom ? "cd" : "hd", d->unit);
    } else if (d->interface == DRIVE_FLOPPY) {
        snprintf(d->id, sizeof(d->id), "floppy%u", d->unit);
    } else {
        return err_set(e, -EINVAL, "id: missing, if=none needs it");
    }
    return drive_find(b, d->id) ? err_set(e, -EEXIST, "id=%s: used twice", d->id) : 0;
}

struct blk_image *drive_open_image(struct backends *b, const struct drive *d, const char *filename,
                                   bool read_only, struct err *e)
{
    struct blk_open open = d->open;
    int64_t set = fdset_parse(filename);
    open.filename = filename;
    open.read_only = read_only;
    open.fd = -1;
    open.ctx = b->graph;
    if (set >= 0) {
        open.fd = fdset_open(b->fdsets, set, read_only ? O_RDONLY : O_RDWR);
        if (open.fd == -EACCES && read_only) { /* a peer may hand out more than is needed */
            open.fd = fdset_open(b->fdsets, set, O_RDWR);
        }
        if (open.fd < 0) {
            err_set(e, open.fd, "Could not open '%s': %s", filename, strerror(-open.fd));
            return NULL;
        }
    }
    return blk_open_image(b->loop, &open, e);
}

void drive_free(struct drive *d)
{
    blk_free(d->blk);
    throttle_group_drop(NULL, d->own_throttle);
    free((char *)d->open.filename);
    free(d);
}

void drive_remove(struct backends *b, struct drive *d)
{
    struct drive **at = &b->drives;

    while (*at != d) {
        at = &(*at)->next;
    }
    *at = d->next;
    ev_post_cancel(b->loop, &d->stopped);
    drive_free(d);
}

void drives_unplugged(struct backends *b, const char *dev_id, bool went)
{
    for (struct drive *d = b->drives, *next; d; d = next) {
        next = d->next;
        if (strcmp(d->dev_id, dev_id) != 0) {
            continue;
        }
        d->dev_id[0] = '\0';
        if (went || d->anonymous) {
            drive_remove(b, d);
        }
    }
}

/* Puts d behind the others. */
static void list_drive(struct backends *b, struct drive *d)
{
    struct drive **end = &b->drives;

    d->blk = blk_new(b->loop, d->id);
    blk_set_on_error(d->blk, d->rerror, d->werror);
    while (*end) {
        end = &(*end)->next;
    }
    *end = d;
}

struct drive *drive_new(struct backends *b, const char *id)
{
    struct drive *d = xcalloc(1, sizeof(*d));

    snprintf(d->id, sizeof(d->id), "%s", id);
    d->werror = BLK_ENOSPC;
    d->open.fd = -1;
    d->open.filename = xstrdup("");
    list_drive(b, d);
    return d;
}

/* Opens d's medium and lists d. Takes d. */
static int take_drive(struct backends *b, struct drive *d, struct err *e)
{
    struct blk_image *image = NULL;

    if (d->has_medium && !b->pretend) {
        int ret = d->open.format ? 0 : guess_format(b, d, e);
        image = ret < 0 ? NULL : drive_open_image(b, d, d->open.filename, d->open.read_only, e);
        if (!image) {
            drive_free(d);
            return e->code;
        }
    }
    d->open.key = NULL;
    d->open.data_file = NULL;
    list_drive(b, d);
    if (image) {
        blk_set_image(d->blk, image);
    }
    return 0;
}

int drive_add(struct backends *b, struct keyval *kv, struct err *e)
{
    struct drive *d = xcalloc(1, sizeof(*d));
    int ret = parse_drive(b, d, kv, e);
    if (ret < 0) {
        drive_free(d);
        return ret;
    }
    return take_drive(b, d, e);
}

/* ---- handing over ---- */

int backends_quiesce(struct backends *b, struct err *e)
{
    for (struct drive *d = b->drives; d; d = d->next) {
        struct blk_image *i = blk_image(d->blk);
        int ret = i ? blk_image_quiesce(i) : 0;
        if (ret < 0) {
            return err_set(e, ret, "image '%s' cannot be written: %s", i->filename, strerror(-ret));
        }
    }
    return 0;
}

int backends_activate(struct backends *b, struct err *e)
{
    b->incoming = false;
    for (struct drive *d = b->drives; d; d = d->next) {
        struct blk_image *i = blk_image(d->blk);
        int ret = i ? blk_image_activate(i, e) : 0;
        d->open.inactive = false;
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}
