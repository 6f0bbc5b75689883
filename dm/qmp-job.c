/* SPDX-License-Identifier: MIT */
/* dm/qmp-job.c - QMP: starting jobs, commanding them, and telling what they do. */
#include "dm/qmp-node.h"

#include "block/bitmap.h"
#include "block/blk.h"
#include "block/format.h"
#include "block/jobs.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/keel.h"
#include "dm/monitor.h"
#include "dm/qmp-block.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- events ---- */

static json_t *job_event_json(const struct job *j)
{
    json_t *data = json_pack("{s:s, s:o, s:I, s:I, s:I}", "type", j->ops->type, "device",
                             qmp_text(j->id), "len", (json_int_t)max_u64(j->total, j->done),
                             "offset", (json_int_t)j->done, "speed", (json_int_t)j->speed);

    if (j->error) {
        json_object_set_new(data, "error", qmp_text(j->error));
    }
    return data;
}

static void job_event(void *opaque, struct job *j, enum job_event what)
{
    static const char *const names[] = { NULL, "BLOCK_JOB_READY", NULL, "BLOCK_JOB_COMPLETED",
                                         "BLOCK_JOB_CANCELLED" };

    if (what == JOB_EV_STATUS) {
        monitor_event(
            opaque, "JOB_STATUS_CHANGE",
            json_pack("{s:s, s:o}", "status", job_status_name(j->status), "id", qmp_text(j->id)));
    } else if (j->ops->plain) {
        return;
    } else if (what == JOB_EV_PENDING) {
        monitor_event(opaque, "BLOCK_JOB_PENDING",
                      json_pack("{s:s, s:o}", "type", j->ops->type, "id", qmp_text(j->id)));
    } else {
        monitor_event(opaque, names[what], job_event_json(j));
    }
}

static void job_error(void *opaque, struct job *j, const struct job_error *error)
{
    static const char *const actions[] = { "report", "ignore", "stop", "stop" };

    monitor_event(opaque, "BLOCK_JOB_ERROR",
                  json_pack("{s:o, s:s, s:s}", "device", qmp_text(j->id), "operation",
                            error->reading ? "read" : "write", "action", actions[error->action]));
}

void jobs_watch_by_monitors(struct keel *k)
{
    struct jobs_watch w = { job_event, job_error, k };

    jobs_set_watch(k->be.jobs, &w);
}

/* ---- arguments ---- */

static bool error_arg(struct qmp_call *c, const char *name, enum job_on_error *out)
{
    static const char *const words[] = { "report", "ignore", "enospc", "stop", NULL };
    int i = qmp_word(c, name, words, JOB_REPORT);

    *out = (enum job_on_error)i;
    return i >= 0;
}

/* What all jobs are told; device: what they work on. */
static bool common_args(struct qmp_call *c, const char *device, const struct node *n,
                        struct job_options *o)
{
    int64_t speed = qmp_int(c, "speed", 0), buf = qmp_int(c, "buf-size", 0);
    struct drive *d = node_drive(c, n);

    o->id = qmp_str(c, "job-id");
    if (!o->id) {
        o->id = d ? d->id : NULL;
    }
    if (!o->id) {
        return qmp_fail(c, NULL, "An explicit job ID is required for this node ('%.60s')", device);
    }
    if (speed < 0 || buf < 0) {
        return qmp_fail(c, NULL, "Parameter '%s' expects a non-negative value",
                        speed < 0 ? "speed" : "buf-size");
    }
    o->speed = (uint64_t)speed;
    o->chunk = (uint64_t)buf / COPY_PIECES;
    o->no_finalize = !qmp_bool(c, "auto-finalize", true);
    o->no_dismiss = !qmp_bool(c, "auto-dismiss", true);
    return error_arg(c, "on-source-error", &o->on_source_error) &&
           error_arg(c, "on-target-error", &o->on_target_error);
}

/* For the jobs that know but one kind of error. */
static bool one_error(struct qmp_call *c, struct job_options *o)
{
    if (!error_arg(c, "on-error", &o->on_source_error)) {
        return false;
    }
    o->on_target_error = o->on_source_error;
    return true;
}

static const char *const sync_words[] = { "full", "top", "none", "incremental", "bitmap", NULL };

/* ---- targets ---- */

/* The image that drive-mirror and drive-backup copy to; the caller's. It reads what is not copied
 * from where the source does, or for sync=none from the source. */
static struct node *make_target(struct qmp_call *c, struct node *source, enum job_sync sync)
{
    static const char *const modes[] = { "absolute-paths", "existing", NULL };
    const char *name = qmp_str(c, "node-name");
    int mode = qmp_word(c, "mode", modes, 0);
    struct node *format = node_skip_filters(source), *target;
    struct node *backing = sync == SYNC_TOP ? format->backing : sync == SYNC_NONE ? source : NULL;
    struct new_image o = { .filename = qmp_str(c, "target"),
                           .format = qmp_str(c, "format"),
                           .existing = mode == 1,
                           .size = source->len,
                           .like = source };
    struct format_info info;

    if (mode < 0) {
        return NULL;
    }
    if (backing && strcmp(o.format ? o.format : image_format(source), "raw") != 0) {
        o.backing = backing->filename;
        o.backing_format = image_format(backing);
    }
    target = qmp_new_image(c, &o);
    if (target && name && node_set_name(target, name, &c->err) < 0) {
        node_close(target);
        return NULL;
    }
    if (target && backing) {
        format_info(target, &info);
        if (info.backing_file) {
            target->backing = node_share(backing);
        }
    }
    return target;
}

/* ---- mirror ---- */

static json_t *mirror(struct qmp_call *c, struct node *source, struct node *target,
                      enum job_sync sync)
{
    static const char *const modes[] = { "background", "write-blocking", NULL };
    struct job_mirror o = { .sync = sync, .filter_name = qmp_str(c, "filter-node-name") };
    int64_t granularity = qmp_int(c, "granularity", 0);
    int copy = qmp_word(c, "copy-mode", modes, 0);

    if (copy < 0 || !common_args(c, qmp_str(c, "device"), source, &o.common)) {
        return NULL;
    }
    if (qmp_str(c, "replaces")) {
        return qmp_fail(c, NULL, "replaces: Keel does not have it yet");
    }
    if (granularity && (granularity < 512 || granularity > 64 << 20)) {
        return qmp_fail(c, NULL, "Parameter 'granularity' expects a value in range [512B, 64MB]");
    }
    o.granularity = (uint32_t)granularity;
    o.write_blocking = copy == 1;
    o.keep_storage = !qmp_bool(c, "unmap", true);
    return job_mirror_start(c->k->be.jobs, source, target, &o, &c->err) ? qmp_ok() : NULL;
}

static json_t *do_drive_mirror(struct qmp_call *c)
{
    struct node *source = qmp_node(c, qmp_str(c, "device")), *target;
    int sync = qmp_word(c, "sync", sync_words, -1);

    if (!source || sync < 0 || job_node_free(source, &c->err) < 0) {
        return NULL;
    }
    if (sync > SYNC_NONE) {
        return qmp_fail(c, NULL, "Sync mode '%s' not supported", sync_words[sync]);
    }
    sync = sync == SYNC_TOP && !node_skip_filters(source)->backing ? SYNC_FULL : sync;
    target = make_target(c, source, (enum job_sync)sync);
    json_t *ret = target ? mirror(c, source, target, (enum job_sync)sync) : NULL;
    node_close(target);
    return ret;
}

static json_t *do_blockdev_mirror(struct qmp_call *c)
{
    struct node *source = qmp_node(c, qmp_str(c, "device"));
    struct node *target = source ? qmp_node(c, qmp_str(c, "target")) : NULL;
    int sync = qmp_word(c, "sync", sync_words, -1);

    if (!target || sync < 0) {
        return NULL;
    }
    if (sync > SYNC_NONE) {
        return qmp_fail(c, NULL, "Sync mode '%s' not supported", sync_words[sync]);
    }
    if (graph_has_parent(target)) {
        return qmp_fail(c, NULL, "Node '%s' is in use", node_name(target));
    }
    return mirror(c, source, target, (enum job_sync)sync);
}

/* ---- backup ---- */

static void backup_undo(struct qmp_call *c, void *p)
{
    struct err unused;

    (void)c;
    job_cancel(p, true, &unused);
}

static bool backup(struct qmp_call *c, struct node *source, struct node *target,
                   struct txn_step *step)
{
    static const char *const modes[] = { "on-success", "never", "always", NULL };
    struct job_backup o = { .filter_name = qmp_str(c, "filter-node-name"),
                            .compress = qmp_bool(c, "compress", false) };
    const char *bitmap = qmp_str(c, "bitmap");
    int sync = qmp_word(c, "sync", sync_words, -1), mode = qmp_word(c, "bitmap-mode", modes, 0);

    if (sync < 0 || mode < 0 || !common_args(c, qmp_str(c, "device"), source, &o.common)) {
        return false;
    }
    if (sync == SYNC_BITMAP && !qmp_str(c, "bitmap-mode")) {
        return qmp_fail(c, NULL, "Bitmap sync mode must be given when providing a bitmap");
    }
    o.sync =
        sync == SYNC_TOP && !node_skip_filters(source)->backing ? SYNC_FULL : (enum job_sync)sync;
    o.bitmap_mode = (enum job_bitmap_mode)mode;
    o.bitmap = bitmap ? bitmap_find(source, bitmap) : NULL;
    if (bitmap && !o.bitmap) {
        return qmp_fail(c, NULL, "Bitmap '%.200s' could not be found", bitmap);
    }
    struct job *j = job_backup_start(c->k->be.jobs, source, target, &o, &c->err);
    *step = (struct txn_step){ backup_undo, NULL, j };
    return j;
}

static bool do_drive_backup(struct qmp_call *c, struct txn_step *step)
{
    struct node *source = qmp_node(c, qmp_str(c, "device")), *target;
    int sync = qmp_word(c, "sync", sync_words, -1);

    if (!source || sync < 0 || job_node_free(source, &c->err) < 0) {
        return false;
    }
    target = make_target(c, source, (enum job_sync)sync);
    bool ok = target && backup(c, source, target, step);
    node_close(target);
    return ok;
}

static bool do_blockdev_backup(struct qmp_call *c, struct txn_step *step)
{
    struct node *source = qmp_node(c, qmp_str(c, "device"));
    struct node *target = source ? qmp_node(c, qmp_str(c, "target")) : NULL;

    if (target && graph_has_parent(target)) {
        return qmp_fail(c, NULL, "Node '%s' is in use", node_name(target));
    }
    return target && backup(c, source, target, step);
}

static json_t *one_drive_backup(struct qmp_call *c)
{
    return txn_one(c, do_drive_backup);
}

static json_t *one_blockdev_backup(struct qmp_call *c)
{
    return txn_one(c, do_blockdev_backup);
}

#define BACKUP                                                                                     \
    "job-id:s? device:s target:s sync:s speed:i? bitmap:s? bitmap-mode:s? compress:b? "            \
    "on-source-error:s? on-target-error:s? auto-finalize:b? auto-dismiss:b? filter-node-name:s?"
#define DRIVE_BACKUP BACKUP " format:s? mode:s?"

const struct txn_action txn_job_actions[] = {
    { "blockdev-backup", BACKUP, do_blockdev_backup },
    { "drive-backup", DRIVE_BACKUP, do_drive_backup },
    { 0 },
};

/* ---- commit and stream ---- */

static bool same_file(const char *a, const char *b)
{
    char *x = realpath(a, NULL), *y = realpath(b, NULL);
    bool same = strcmp(a, b) == 0 || (x && y && strcmp(x, y) == 0);

    free(x);
    free(y);
    return same;
}

/* The layer of top's chain that `by_name` (a node) or `by_file` names; NULL with the error set. */
static struct node *find_layer(struct qmp_call *c, struct node *top, const char *by_name,
                               const char *by_file)
{
    struct node *n = by_name ? qmp_node_named(c, by_name) : top;

    if (by_name) {
        if (n && !chain_has(top, n)) {
            qmp_fail(c, NULL, "'%.60s' is not in this backing file chain", by_name);
            return NULL;
        }
        return n;
    }
    while (n && !same_file(n->filename, by_file)) {
        n = chain_below(n);
    }
    if (!n) {
        qmp_fail(c, NULL, "Can't find '%.200s' in the backing chain", by_file);
    }
    return n;
}

static struct node *chain_end(struct node *n)
{
    for (struct node *b = n; b; b = chain_below(b)) {
        n = b;
    }
    return n;
}

static json_t *do_commit(struct qmp_call *c)
{
    const char *top_node = qmp_str(c, "top-node"), *top_file = qmp_str(c, "top");
    const char *base_node = qmp_str(c, "base-node"), *base_file = qmp_str(c, "base");
    struct job_commit o = { .backing_file = qmp_str(c, "backing-file"),
                            .filter_name = qmp_str(c, "filter-node-name") };
    struct node *disk = qmp_node(c, qmp_str(c, "device")), *top = disk, *base;

    if (!disk || !common_args(c, qmp_str(c, "device"), disk, &o.common) ||
        !one_error(c, &o.common)) {
        return NULL;
    }
    disk = node_skip_filters(disk);
    if (top_node || top_file) {
        top = find_layer(c, disk, top_node, top_file);
    }
    if (!top) {
        return NULL;
    }
    base = base_node || base_file ? find_layer(c, top, base_node, base_file) : chain_end(top);
    if (!base) {
        return NULL;
    }
    if (top == base) {
        return qmp_fail(c, NULL, "Can't find a base below '%.200s' in its backing chain",
                        top->filename);
    }
    if (top == disk && o.backing_file) {
        return qmp_fail(c, NULL, "'backing-file' specified, but 'top' is the active layer");
    }
    return job_commit_start(c->k->be.jobs, top, base, &o, &c->err) ? qmp_ok() : NULL;
}

static json_t *do_stream(struct qmp_call *c)
{
    const char *base_node = qmp_str(c, "base-node"), *base_file = qmp_str(c, "base");
    struct job_stream o = { .backing_file = qmp_str(c, "backing-file"),
                            .filter_name = qmp_str(c, "filter-node-name") };
    struct node *n = qmp_node(c, qmp_str(c, "device")), *base = NULL;

    if (!n || !common_args(c, qmp_str(c, "device"), n, &o.common) || !one_error(c, &o.common)) {
        return NULL;
    }
    if (qmp_str(c, "bottom")) {
        return qmp_fail(c, NULL, "bottom: Keel does not have it yet");
    }
    n = node_skip_filters(n);
    if ((base_node || base_file) && !(base = find_layer(c, n, base_node, base_file))) {
        return NULL;
    }
    if (o.backing_file && !base) {
        return qmp_fail(c, NULL, "backing file specified, but streaming the entire chain");
    }
    return job_stream_start(c->k->be.jobs, n, base, &o, &c->err) ? qmp_ok() : NULL;
}

/* ---- commanding jobs ---- */

/* The one that "device" or "id" names. */
static struct job *job_arg(struct qmp_call *c)
{
    const char *device = qmp_str(c, "device"), *id = qmp_str(c, "id");
    struct job *j = job_find(c->k->be.jobs, device ? device : id);

    j = device && j && j->ops->plain ? NULL : j;
    if (!j && device) {
        qmp_fail(c, "DeviceNotActive", "Block job '%.100s' not found", device);
    } else if (!j) {
        qmp_fail(c, NULL, "Job not found");
    }
    return j;
}

static json_t *command(struct qmp_call *c, int (*run)(struct job *j, struct err *e))
{
    struct job *j = job_arg(c);

    return j && run(j, &c->err) >= 0 ? qmp_ok() : NULL;
}

static json_t *do_pause(struct qmp_call *c)
{
    return command(c, job_pause);
}

static json_t *do_resume(struct qmp_call *c)
{
    return command(c, job_resume);
}

static json_t *do_complete(struct qmp_call *c)
{
    return command(c, job_complete);
}

static json_t *do_finalize(struct qmp_call *c)
{
    return command(c, job_finalize);
}

static json_t *do_dismiss(struct qmp_call *c)
{
    return command(c, job_dismiss);
}

static json_t *do_cancel(struct qmp_call *c)
{
    struct job *j = job_arg(c);
    bool force = qmp_bool(c, "force", !qmp_str(c, "device"));

    return j && job_cancel(j, force, &c->err) >= 0 ? qmp_ok() : NULL;
}

static json_t *do_set_speed(struct qmp_call *c)
{
    struct job *j = job_arg(c);
    int64_t speed = qmp_int(c, "speed", 0);

    if (j && speed < 0) {
        return qmp_fail(c, NULL, "Parameter 'speed' expects a non-negative value");
    }
    return j && job_set_speed(j, (uint64_t)speed) >= 0 ? qmp_ok() : NULL;
}

/* ---- looking ---- */

static json_t *query_block_jobs(struct qmp_call *c)
{
    json_t *list = json_array();

    for (struct job *j = jobs_first(c->k->be.jobs); j; j = j->next) {
        if (j->ops->plain) {
            continue;
        }
        const char *io = j->io_error == 0 ? "ok" : j->io_error == -ENOSPC ? "nospace" : "failed";
        json_t *o = json_pack("{s:s, s:o, s:I, s:I, s:b, s:b, s:I, s:s, s:b, s:s, s:b, s:b}",
                              "type", j->ops->type, "device", qmp_text(j->id), "len",
                              (json_int_t)max_u64(j->total, j->done), "offset", (json_int_t)j->done,
                              "busy", (int)job_busy(j), "paused", (int)j->user_paused, "speed",
                              (json_int_t)j->speed, "io-status", io, "ready", (int)j->ready,
                              "status", job_status_name(j->status), "auto-finalize",
                              (int)j->auto_finalize, "auto-dismiss", (int)j->auto_dismiss);
        if (j->error) {
            json_object_set_new(o, "error", qmp_text(j->error));
        }
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *query_jobs(struct qmp_call *c)
{
    json_t *list = json_array();

    for (struct job *j = jobs_first(c->k->be.jobs); j; j = j->next) {
        json_t *o =
            json_pack("{s:o, s:s, s:s, s:I, s:I}", "id", qmp_text(j->id), "type", j->ops->type,
                      "status", job_status_name(j->status), "current-progress", (json_int_t)j->done,
                      "total-progress", (json_int_t)max_u64(j->total, j->done));
        if (j->error) {
            json_object_set_new(o, "error", qmp_text(j->error));
        }
        json_array_append_new(list, o);
    }
    return list;
}

#define COMMON "job-id:s? device:s speed:i? auto-finalize:b? auto-dismiss:b? filter-node-name:s? "
#define MIRROR                                                                                     \
    "job-id:s? device:s target:s replaces:s? sync:s speed:i? granularity:i? buf-size:i? "          \
    "on-source-error:s? on-target-error:s? copy-mode:s? auto-finalize:b? auto-dismiss:b? "         \
    "filter-node-name:s?"

const struct qmp_command qmp_commands_job[] = {
    { "block-commit", COMMON "base-node:s? base:s? top-node:s? top:s? backing-file:s? on-error:s?",
      do_commit },
    { "block-job-cancel", "device:s force:b?", do_cancel },
    { "block-job-complete", "device:s", do_complete },
    { "block-job-dismiss", "id:s", do_dismiss },
    { "block-job-finalize", "id:s", do_finalize },
    { "block-job-pause", "device:s", do_pause },
    { "block-job-resume", "device:s", do_resume },
    { "block-job-set-speed", "device:s speed:i", do_set_speed },
    { "block-stream", COMMON "base:s? base-node:s? backing-file:s? bottom:s? on-error:s?",
      do_stream },
    { "blockdev-backup", BACKUP, one_blockdev_backup },
    { "blockdev-mirror", MIRROR, do_blockdev_mirror },
    { "drive-backup", DRIVE_BACKUP, one_drive_backup },
    { "drive-mirror", MIRROR " format:s? node-name:s? mode:s? unmap:b?", do_drive_mirror },
    { "job-cancel", "id:s", do_cancel },
    { "job-complete", "id:s", do_complete },
    { "job-dismiss", "id:s", do_dismiss },
    { "job-finalize", "id:s", do_finalize },
    { "job-pause", "id:s", do_pause },
    { "job-resume", "id:s", do_resume },
    { "query-block-jobs", "", query_block_jobs },
    { "query-jobs", "", query_jobs },
    { 0 },
};
