/* SPDX-License-Identifier: MIT */
/* dm/qmp-snapshot.c - QMP: overlays put on disks in use, and snapshots inside qcow2 images. */
#include "dm/qmp-node.h"

#include "block/blk.h"
#include "block/job.h"
#include "block/open.h"
#include "block/qcow2.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/keel.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- overlays ---- */

struct overlay {
    struct node *below, *above; /* shares */
    bool was_read_only;
    char *made; /* the file that was made for it */
};

static void overlay_done(struct qmp_call *c, void *p)
{
    struct overlay *o = p;

    (void)c;
    node_close(o->below);
    node_close(o->above);
    free(o->made);
    free(o);
}

static void overlay_undo(struct qmp_call *c, void *p)
{
    struct overlay *o = p;
    struct err unused;

    graph_replace(o->above, o->below);
    if (!o->was_read_only) {
        node_reopen(o->below, false, &unused);
    }
    char *made = o->made;
    o->made = NULL;
    overlay_done(c, o);
    if (made) {
        unlink(made);
        free(made);
    }
}

/* `above` stands on `below` from now on, and everybody else on above. Takes a share of each. */
static bool put_overlay(struct qmp_call *c, struct node *below, struct node *above,
                        const char *made, struct txn_step *step)
{
    struct overlay *o = xcalloc(1, sizeof(*o));

    *o =
        (struct overlay){ node_share(below), above, below->read_only, made ? xstrdup(made) : NULL };
    above->backing = node_share(below);
    graph_replace(below, above);
    *step = (struct txn_step){ overlay_undo, overlay_done, o };
    if (node_reopen(below, true, &c->err) < 0) {
        overlay_undo(c, o);
        return false;
    }
    return true;
}

static bool may_have_overlay(struct qmp_call *c, struct node *n)
{
    const struct drive *d = node_drive(c, n);

    if (d && blk_read_only(d->blk) && n->read_only) {
        return qmp_fail(c, NULL, "Device '%.60s' is read only", d->id);
    }
    return job_node_free(n, &c->err) == 0;
}

/* Where the image lies, from everywhere. malloc'd. */
static char *absolute(const char *filename)
{
    char *path = filename[0] == '/' || strchr(filename, ':') ? NULL : realpath(filename, NULL);

    return path ? path : xstrdup(filename);
}

static bool do_snapshot_sync(struct qmp_call *c, struct txn_step *step)
{
    const char *mode = qmp_str(c, "mode"), *name = qmp_str(c, "snapshot-node-name");
    const char *format = qmp_str(c, "format");
    struct node *below = qmp_node_arg(c), *above;

    if (!below || !may_have_overlay(c, below)) {
        return false;
    }
    if (mode && strcmp(mode, "existing") != 0 && strcmp(mode, "absolute-paths") != 0) {
        return qmp_fail(c, NULL, "Parameter 'mode' does not accept value '%.60s'", mode);
    }
    if (name && graph_find(below->ctx, name)) {
        return qmp_fail(c, NULL, "New overlay node name already in use");
    }
    char *backing = absolute(below->filename);
    struct new_image o = { .filename = qmp_str(c, "snapshot-file"),
                           .format = format ? format : "qcow2",
                           .existing = mode && mode[0] == 'e',
                           .size = below->len,
                           .like = below,
                           .backing = backing,
                           .backing_format = image_format(below) };
    above = qmp_new_image(c, &o);
    free(backing);
    if (!above) {
        return false;
    }
    if (above->len < below->len || (name && node_set_name(above, name, &c->err) < 0)) {
        node_close(above);
        return c->err.code ? false
                           : (qmp_fail(c, NULL, "The overlay is smaller than the disk"), false);
    }
    return put_overlay(c, below, above, o.existing ? NULL : o.filename, step);
}

static bool do_snapshot(struct qmp_call *c, struct txn_step *step)
{
    struct node *below = qmp_node_named(c, qmp_str(c, "node"));
    struct node *above = below ? qmp_node_named(c, qmp_str(c, "overlay")) : NULL;

    if (!above || !may_have_overlay(c, below) || !may_have_overlay(c, above)) {
        return false;
    }
    if (above->backing) {
        return qmp_fail(c, NULL, "The overlay already has a backing image");
    }
    if (graph_has_parent(above) || node_stands_on(below, above)) {
        return qmp_fail(c, NULL, "The overlay is already in use");
    }
    if (!qcow2_is(above)) {
        return qmp_fail(c, NULL, "The overlay does not support backing images");
    }
    return put_overlay(c, below, node_share(above), NULL, step);
}

/* ---- inside the image ---- */

/* The image that a snapshot of device goes into. */
static struct node *internal_node(struct qmp_call *c, const char *device)
{
    struct node *n = qmp_node(c, device);

    if (!n || job_node_free(n, &c->err) < 0) {
        return NULL;
    }
    n = node_skip_filters(n);
    if (!qcow2_is(n)) {
        return (void *)qmp_fail(c, NULL,
                                "Block format '%s' used by device '%.60s' does not support "
                                "internal snapshots",
                                image_format(n), device);
    }
    if (n->read_only) {
        return (void *)qmp_fail(c, NULL, "Device '%.60s' is read only", device);
    }
    return n;
}

static const struct qcow2_snapshot *find_internal(struct node *n, const char *id, const char *name)
{
    const struct qcow2_snapshot *s;

    for (unsigned i = 0; (s = qcow2_snapshot(n, i)); i++) {
        if ((!id || strcmp(s->id, id) == 0) && (!name || strcmp(s->name, name) == 0)) {
            return s;
        }
    }
    return NULL;
}

struct internal {
    struct node *n;
    char *name;
};

static void internal_done(struct qmp_call *c, void *p)
{
    struct internal *i = p;

    (void)c;
    node_close(i->n);
    free(i->name);
    free(i);
}

static void internal_undo(struct qmp_call *c, void *p)
{
    struct internal *i = p;
    struct err unused;

    qcow2_snapshot_delete(i->n, i->name, &unused);
    internal_done(c, p);
}

static bool do_internal(struct qmp_call *c, struct txn_step *step)
{
    const char *name = qmp_str(c, "name"), *device = qmp_str(c, "device");
    struct node *n = internal_node(c, device);

    if (!n) {
        return false;
    }
    if (!*name) {
        return qmp_fail(c, NULL, "Name is empty");
    }
    if (find_internal(n, NULL, name)) {
        return qmp_fail(c, NULL, "Snapshot with name '%.100s' already exists on device '%.60s'",
                        name, device);
    }
    if (qcow2_snapshot_create(n, name, &c->err) < 0) {
        return false;
    }
    struct internal *i = xcalloc(1, sizeof(*i));
    *i = (struct internal){ node_share(n), xstrdup(name) };
    *step = (struct txn_step){ internal_undo, internal_done, i };
    return true;
}

static json_t *do_internal_delete(struct qmp_call *c)
{
    const char *id = qmp_str(c, "id"), *name = qmp_str(c, "name"), *device = qmp_str(c, "device");
    struct node *n = internal_node(c, device);

    if (!n) {
        return NULL;
    }
    if (!id && !name) {
        return qmp_fail(c, NULL, "Name or id must be provided");
    }
    const struct qcow2_snapshot *s = find_internal(n, id, name);
    if (!s) {
        return qmp_fail(c, NULL,
                        "Snapshot with id '%.60s' and name '%.100s' does not exist on device "
                        "'%.60s'",
                        id ? id : "(null)", name ? name : "(null)", device);
    }
    json_t *gone =
        json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:I}", "id", qmp_text(s->id), "name",
                  qmp_text(s->name), "vm-state-size", (json_int_t)s->vm_state_size, "date-sec",
                  (json_int_t)s->date_sec, "date-nsec", (json_int_t)s->date_nsec, "vm-clock-sec",
                  (json_int_t)(s->vm_clock_nsec / 1000000000), "vm-clock-nsec",
                  (json_int_t)(s->vm_clock_nsec % 1000000000));
    char *which = xstrdup(s->id);
    jobs_hold(c->k->be.jobs, NULL);
    int ret = qcow2_snapshot_delete(n, which, &c->err);
    jobs_release(c->k->be.jobs);
    free(which);
    if (ret < 0) {
        json_decref(gone);
        return NULL;
    }
    return gone;
}

#define OVERLAY_SYNC                                                                               \
    "device:s? node-name:s? snapshot-file:s snapshot-node-name:s? format:s? mode:s?"

const struct txn_action txn_snapshot_actions[] = {
    { "blockdev-snapshot", "node:s overlay:s", do_snapshot },
    { "blockdev-snapshot-internal-sync", "device:s name:s", do_internal },
    { "blockdev-snapshot-sync", OVERLAY_SYNC, do_snapshot_sync },
    { 0 },
};

static json_t *one_snapshot(struct qmp_call *c)
{
    return txn_one(c, do_snapshot);
}

static json_t *one_snapshot_sync(struct qmp_call *c)
{
    return txn_one(c, do_snapshot_sync);
}

static json_t *one_internal(struct qmp_call *c)
{
    return txn_one(c, do_internal);
}

const struct qmp_command qmp_commands_snapshot[] = {
    { "blockdev-snapshot", "node:s overlay:s", one_snapshot },
    { "blockdev-snapshot-delete-internal-sync", "device:s id:s? name:s?", do_internal_delete },
    { "blockdev-snapshot-internal-sync", "device:s name:s", one_internal },
    { "blockdev-snapshot-sync", OVERLAY_SYNC, one_snapshot_sync },
    { 0 },
};
