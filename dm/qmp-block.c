/* SPDX-License-Identifier: MIT */
/* dm/qmp-block.c - QMP commands about drives: what is in them, and changing that. docs/qmp.md 5. */
#include "dm/qmp-block.h"

#include "block/graph.h"
#include "block/job.h"
#include "block/open.h"
#include "dm/base/util.h"
#include "dm/keel.h"
#include "dm/monitor.h"
#include "dm/qmp-node.h"
#include "ui/vnc.h"

#include <errno.h>
#include <string.h>

/* Whoever moved it: the monitor, or the guest with a command of its own. */
static void tray_moved(void *opaque, struct blk *b, bool open)
{
    struct keel *k = opaque;
    for (const struct drive *d = k->be.drives; d; d = d->next) {
        if (d->blk == b) {
            monitor_event(k, "DEVICE_TRAY_MOVED",
                          json_pack("{s:o, s:b, s:o}", "device", qmp_text(d->id), "tray-open",
                                    (int)open, "id", qmp_text(d->dev_id)));
        }
    }
}

static void stop_for_error(void *opaque)
{
    keel_stop_for_error(opaque);
}

static void io_error(void *opaque, struct blk *b, enum blk_op op, int ret, enum blk_on_error action)
{
    static const char *const actions[] = { "report", "ignore", "stop" };
    struct keel *k = opaque;
    for (struct drive *d = k->be.drives; d; d = d->next) {
        if (d->blk != b) {
            continue;
        }
        monitor_event(k, "BLOCK_IO_ERROR",
                      json_pack("{s:o, s:s, s:s, s:b, s:s}", "device", qmp_text(d->id), "operation",
                                op == BLK_READ ? "read" : "write", "action", actions[action],
                                "nospace", (int)(ret == -ENOSPC), "reason", strerror(-ret)));
        if (action == BLK_STOP) {
            ev_post(k->loop, &d->stopped);
        }
    }
}

void drives_watch(struct keel *k)
{
    jobs_watch_by_monitors(k);
    for (struct drive *d = k->be.drives; d; d = d->next) {
        if (!d->stopped.cb) {
            blk_on_tray(d->blk, tray_moved, k);
            blk_on_io_error(d->blk, io_error, k);
            d->stopped = (struct ev_post){ .cb = stop_for_error, .opaque = k };
        }
    }
}

void drives_retry(struct keel *k)
{
    for (struct drive *d = k->be.drives; d; d = d->next) {
        blk_retry(d->blk);
    }
}

bool drive_removable(const struct drive *d)
{
    return d->interface == DRIVE_FLOPPY || d->cdrom || d->open.read_only;
}

static void move_tray(struct drive *d, bool open)
{
    if (d->interface != DRIVE_FLOPPY) {
        blk_set_tray(d->blk, open);
    }
}

/* Opens the tray of a drive whose medium shall leave, or asks the guest to. */
static int open_tray(struct drive *d, bool force, struct err *e)
{
    if (!drive_removable(d)) {
        return err_set(e, -EINVAL, "Device '%s' is not removable", d->id);
    }
    if (blk_tray_open(d->blk)) {
        return 0;
    }
    void *opaque;
    const struct blk_user *u = blk_user(d->blk, &opaque);
    bool locked = blk_locked(d->blk) && !blk_tray_open(d->blk);
    if (locked && u && u->eject_request) {
        u->eject_request(opaque, force);
    }
    if (locked && !force) {
        return err_set(e, -EBUSY,
                       "Device '%s' is locked and force was not specified, wait for tray to open "
                       "and try again",
                       d->id);
    }
    move_tray(d, true);
    return 0;
}

int drive_eject(struct drive *d, bool force, struct err *e)
{
    int ret = open_tray(d, force, e);
    if (ret == 0) {
        blk_set_image(d->blk, NULL);
    }
    return ret;
}

int drive_change(struct keel *k, struct drive *d, const char *filename, bool force, struct err *e)
{
    if (!drive_removable(d)) {
        return err_set(e, -EINVAL, "Device '%s' is not removable", d->id);
    }
    struct blk_image *image = drive_open_image(&k->be, d, filename, d->open.read_only, e);
    if (!image) {
        return e->code;
    }
    int ret = open_tray(d, force, e);
    if (ret < 0) {
        image->ops->close(image);
        return ret;
    }
    blk_set_image(d->blk, NULL);
    blk_set_image(d->blk, image);
    move_tray(d, false);
    return 0;
}

/* device names the drive (-drive id=), id the device it is plugged into. */
static struct drive *which(struct qmp_call *c)
{
    const char *device = qmp_str(c, "device"), *id = qmp_str(c, "id");
    if (!device == !id) {
        qmp_fail(c, NULL, "Need exactly one of 'device' and 'id'");
        return NULL;
    }
    struct drive *d = drive_find_any(&c->k->be, device, id);
    if (!d) {
        qmp_fail(c, device ? "GenericError" : "DeviceNotFound", "Device '%.100s' not found",
                 device ? device : id);
        c->class = "DeviceNotFound";
    }
    return d;
}

/* The drive as whoever asks calls it. */
static const char *shown(const struct qmp_call *c, const struct drive *d)
{
    const char *id = qmp_str(c, "id");
    return id ? id : d->id;
}

static json_t *do_eject(struct qmp_call *c)
{
    struct drive *d = which(c);
    if (!d || drive_eject(d, qmp_bool(c, "force", false), &c->err) < 0) {
        return NULL;
    }
    return qmp_ok();
}

/* ---- the same in single steps ---- */

static json_t *do_open_tray(struct qmp_call *c)
{
    struct drive *d = which(c);
    if (!d) {
        return NULL;
    }
    if (!d->cdrom) {
        return qmp_fail(c, NULL, "Device '%s' does not have a tray", shown(c, d));
    }
    return open_tray(d, qmp_bool(c, "force", false), &c->err) < 0 ? NULL : qmp_ok();
}

static json_t *do_close_tray(struct qmp_call *c)
{
    struct drive *d = which(c);
    if (!d) {
        return NULL;
    }
    if (!drive_removable(d)) {
        return qmp_fail(c, NULL, "Device '%s' is not removable", shown(c, d));
    }
    move_tray(d, false);
    return qmp_ok();
}

/* Its medium may come or go: the tray, if there is one, is open. */
static bool is_open(struct qmp_call *c, const struct drive *d)
{
    if (!drive_removable(d)) {
        return qmp_fail(c, NULL, "Device '%s' is not removable", shown(c, d));
    }
    if (d->interface != DRIVE_FLOPPY && !blk_tray_open(d->blk)) {
        return qmp_fail(c, NULL, "Tray of device '%s' is not open", shown(c, d));
    }
    return true;
}

static json_t *do_remove_medium(struct qmp_call *c)
{
    struct drive *d = which(c);
    if (!d || !is_open(c, d)) {
        return NULL;
    }
    struct node *n = drive_node(d);
    if (n && job_node_free(n, &c->err) < 0) {
        return NULL;
    }
    blk_set_image(d->blk, NULL);
    return qmp_ok();
}

static json_t *do_insert_medium(struct qmp_call *c)
{
    struct drive *d = which(c);
    const char *name = qmp_str(c, "node-name");
    if (!d || !is_open(c, d)) {
        return NULL;
    }
    struct node *n = graph_find(c->k->be.graph, name);
    if (!n) {
        return qmp_fail(c, NULL, "Node '%.100s' not found", name);
    }
    if (blk_present(d->blk)) {
        return qmp_fail(c, NULL, "There already is a medium in device '%s'", shown(c, d));
    }
    if (graph_has_parent(n) || n->job) {
        return qmp_fail(c, NULL, "Node '%.100s' is already in use", name);
    }
    blk_set_image(d->blk, blk_image_of_node(node_share(n), d->open.discard, false));
    return qmp_ok();
}

/* What the command asks for beside the file; sets the format of d's next medium. */
static bool take_format(struct qmp_call *c, struct drive *d)
{
    const char *format = qmp_str(c, "format"), *mode = qmp_str(c, "read-only-mode");
    if (format && !image_format_had(format)) {
        return qmp_fail(c, NULL, "Unknown driver '%.60s'", format);
    }
    if (mode && strcmp(mode, "retain") != 0 && strcmp(mode, "read-only") != 0) {
        return qmp_fail(c, NULL, "Parameter 'read-only-mode' does not accept value '%.60s'", mode);
    }
    d->open.format = format ? image_format_name(format) : "raw";
    d->open.guessed = false;
    return true;
}

static json_t *do_change_medium(struct qmp_call *c)
{
    struct drive *d = which(c);
    if (!d || !take_format(c, d) ||
        drive_change(c->k, d, qmp_str(c, "filename"), qmp_bool(c, "force", false), &c->err) < 0) {
        return NULL;
    }
    return qmp_ok();
}

/* The old command: for a drive, or with device "vnc" for the password. */
static json_t *do_change(struct qmp_call *c)
{
    const char *device = qmp_str(c, "device"), *target = qmp_str(c, "target");
    if (strcmp(device, "vnc") == 0) {
        if (!c->k->vnc || strcmp(target, "password") != 0) {
            return qmp_fail(c, NULL, "vnc: only the password of a running server can change");
        }
        return vnc_set_password(c->k->vnc, qmp_str(c, "arg"), &c->err) < 0 ? NULL : qmp_ok();
    }
    struct drive *d = drive_find_any(&c->k->be, device, device);
    if (!d) {
        return qmp_fail(c, "DeviceNotFound", "Device '%.100s' not found", device);
    }
    return drive_change(c->k, d, target, false, &c->err) < 0 ? NULL : qmp_ok();
}

/* ---- looking ---- */

static json_t *medium_info(const struct drive *d)
{
    const struct blk_image *image = blk_image(d->blk);
    struct node *n = drive_node(d);
    const char *file = image->filename ? image->filename : "";

    if (!n) { /* a recording's */
        return json_pack("{s:o, s:b, s:s}", "file", qmp_text(file), "ro", (int)image->read_only,
                         "drv", image->ops->format);
    }
    json_t *info = node_info_json(n, true);
    if (d->open.throttle) {
        node_limits_json(info, d->open.throttle);
    }
    json_object_set_new(info, "ro", json_boolean(image->read_only));
    json_object_set_new(info, "drv", json_string(image->ops->format));
    return info;
}

json_t *drive_qdev_json(const struct machine *m, const struct drive *d)
{
    for (const struct device *dev = m->devices; dev; dev = dev->next) {
        if (strcmp(dev->id, d->dev_id) == 0 && strncmp(dev->class->name, "virtio-", 7) == 0) {
            return json_sprintf("/machine/peripheral/%s/virtio-backend", dev->id);
        }
    }
    return qmp_text(d->dev_id);
}

static json_t *drive_info(const struct machine *m, const struct drive *d)
{
    int held = blk_held_error(d->blk);
    const char *status = held == 0 ? "ok" : held == -ENOSPC ? "nospace" : "failed";
    json_t *info = json_pack("{s:s, s:o, s:b, s:b, s:s}", "io-status", status, "device",
                             qmp_text(d->anonymous ? "" : d->id), "locked", (int)blk_locked(d->blk),
                             "removable", (int)drive_removable(d), "type", "unknown");
    if (blk_present(d->blk)) {
        json_object_set_new(info, "inserted", medium_info(d));
    }
    if (d->dev_id[0]) {
        json_object_set_new(info, "qdev", drive_qdev_json(m, d));
    }
    if (drive_removable(d) && d->interface != DRIVE_FLOPPY) {
        json_object_set_new(info, "tray_open", json_boolean(blk_tray_open(d->blk)));
    }
    return info;
}

static json_t *query_block(struct qmp_call *c)
{
    json_t *list = json_array();
    for (const struct drive *d = c->k->be.drives; d; d = d->next) {
        json_array_append_new(list, drive_info(c->k->m, d));
    }
    return list;
}

const struct qmp_command qmp_commands_block[] = {
    { "blockdev-change-medium", "device:s? id:s? filename:s format:s? force:b? read-only-mode:s?",
      do_change_medium },
    { "blockdev-close-tray", "device:s? id:s?", do_close_tray },
    { "blockdev-insert-medium", "id:s node-name:s", do_insert_medium },
    { "blockdev-open-tray", "device:s? id:s? force:b?", do_open_tray },
    { "blockdev-remove-medium", "id:s", do_remove_medium },
    { "change", "device:s target:s arg:s?", do_change },
    { "eject", "device:s? id:s? force:b?", do_eject },
    { "query-block", "", query_block },
    { 0 },
};
