/* SPDX-License-Identifier: MIT */
/* block/job-backup.c - "backup": target gets what source holds when the job starts.
 *
 * A filter above source copies what the guest is about to change before it lets it through, while
 * the copier walks over the rest. `todo` says what target does not have yet; its bits are taken out
 * under the lock of their range, so whoever has the lock and finds a bit clear knows that the old
 * bytes are in target, and whoever finds it set copies them itself.
 *
 * When target fails on a write of the guest's, the guest goes on and the backup is what breaks.
 *
 * A bitmap's bits are set aside when the job starts, so that it records what happens meanwhile,
 * and are given back by merging if they are still needed.
 */
#include "block/jobs.h"

#include "block/bitmap.h"
#include "block/filter.h"
#include "block/qcow2.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct backup {
    struct job job; /* first */
    struct node_root cbw, source, target;
    bool walks; /* copies what nobody writes to, too: all but sync=none */
    enum job_bitmap_mode bitmap_mode;
    struct bitmap *bitmap, *aside; /* the user's, and what it said at the start */
    const struct node *claimed_to;
};

struct cbw {
    struct node base; /* first */
    struct backup *b;
};

/* ---- the filter ---- */

static void cbw_next(struct pass *p);

static void cbw_copied(void *opaque, int ret, bool reading)
{
    struct pass *p = opaque;
    struct backup *b = ((struct cbw *)p->filter)->b;

    if (ret < 0) {
        job_break(&b->job, ret, reading);
    }
    cbw_next(p);
}

/* The range is locked: copies the next part of it that target lacks, or lets the request go. */
static void cbw_next(struct pass *p)
{
    struct backup *b = ((struct cbw *)p->filter)->b;
    struct bitmap *todo = b->job.copy.todo;
    uint64_t offset = p->range.from, len;

    if (b->job.ret == 0 && !b->job.ended && bitmap_next(todo, &offset, &len, COPY_CHUNK) &&
        offset < p->range.to) {
        len = min_u64(len, p->range.to - offset);
        bitmap_clear(todo, offset, len);
        b->job.done += len;
        copy_range(&b->job.copy, offset, len, cbw_copied, p);
        return;
    }
    range_unlock(&b->job.locks, &p->range);
    pass_down(p);
    job_kick(&b->job);
}

static void cbw_granted(struct range *r)
{
    cbw_next(container_of(r, struct pass, range));
}

static void cbw_submit(struct node *n, struct node_req *r)
{
    struct backup *b = ((struct cbw *)n)->b;
    bool changes = r->op == NODE_WRITE || r->op == NODE_ZERO || r->op == NODE_DISCARD;
    struct pass *p = pass_new(n, r);
    uint64_t bit = 1ull << b->job.copy.todo->granularity_bits;

    if (!p) {
        return;
    }
    if (!changes) {
        pass_down(p);
        return;
    }
    p->range = (struct range){ r->offset & ~(bit - 1), (r->offset + r->len + bit - 1) & ~(bit - 1),
                               .granted = cbw_granted };
    if (range_lock(&b->job.locks, &p->range)) {
        cbw_next(p);
    }
}

static int cbw_close(struct node *n)
{
    int ret = node_close(n->file), ret2 = node_close(n->other);

    free(n);
    return ret < 0 ? ret : ret2;
}

static const struct node_ops cbw_ops = { .name = "copy-before-write",
                                         .filter = true,
                                         .own = true,
                                         .submit = cbw_submit,
                                         .close = cbw_close };

/* ---- the job ---- */

static void backup_work(struct job *j)
{
    if (((struct backup *)j)->walks) {
        copy_start(&j->copy);
    }
}

static void backup_idle(struct job *j)
{
    if (((struct backup *)j)->walks && !j->copy.todo->dirty) {
        job_end(j, 0);
    }
}

/* What the bitmap said is given back as far as it is still needed. */
static void settle_bitmap(struct backup *b, bool ok)
{
    if (!b->bitmap) {
        return;
    }
    if (b->bitmap_mode == BITMAP_NEVER || (!ok && b->bitmap_mode == BITMAP_ON_SUCCESS)) {
        bitmap_merge(b->bitmap, b->aside);
    } else if (!ok) {
        bitmap_merge(b->bitmap, b->job.copy.todo);
    }
    bitmap_free(b->aside);
    b->bitmap->busy = false;
    b->bitmap = b->aside = NULL;
}

static int backup_commit(struct job *j, struct err *e)
{
    struct backup *b = (struct backup *)j;

    (void)e;
    settle_bitmap(b, true);
    graph_replace(b->cbw.node, b->source.node);
    return 0;
}

static void backup_abort(struct job *j)
{
    struct backup *b = (struct backup *)j;

    settle_bitmap(b, false);
    graph_replace(b->cbw.node, b->source.node);
}

static void backup_free(struct job *j)
{
    struct backup *b = (struct backup *)j;

    if (b->cbw.node) {
        job_claim(b->source.node, b->claimed_to, NULL);
        b->target.node->job = NULL;
    }
    node_root_del(&b->cbw);
    node_root_del(&b->source);
    node_root_del(&b->target);
    free(b);
}

static const struct job_ops backup_ops = { .type = "backup",
                                           .work = backup_work,
                                           .idle = backup_idle,
                                           .commit = backup_commit,
                                           .abort = backup_abort,
                                           .free = backup_free };

/* The clusters in which target takes compressed writes; 0: it takes none. */
static uint64_t packed_cluster(struct node *target)
{
    struct node *n = node_skip_filters(target);
    struct qcow2_info info;

    if (!qcow2_is(n)) {
        return 0;
    }
    qcow2_info(n, &info);
    return info.data_file || info.encrypted ? 0 : 1ull << info.cluster_bits;
}

static int check(struct node *source, struct node *target, const struct job_backup *o,
                 struct err *e)
{
    bool by_bitmap = o->sync == SYNC_INCREMENTAL || o->sync == SYNC_BITMAP;

    if (job_node_free(source, e) < 0 || job_node_free(target, e) < 0) {
        return e->code;
    }
    if (source == target || chain_has(source, target)) {
        return err_set(e, -EINVAL, "Source and target cannot be the same");
    }
    if (by_bitmap && !o->bitmap) {
        return err_set(e, -EINVAL, "Must provide a valid bitmap name for '%s' sync mode",
                       o->sync == SYNC_BITMAP ? "bitmap" : "incremental");
    }
    if (o->bitmap && !by_bitmap) {
        return err_set(e, -ENOTSUP, "sync: a bitmap goes with incremental and bitmap only");
    }
    if (o->bitmap && bitmap_usable(o->bitmap, e) < 0) {
        return e->code;
    }
    if (o->compress && !packed_cluster(target)) {
        return err_set(e, -ENOTSUP, "Compression is not supported for this drive %s",
                       node_name(target));
    }
    if (target->len < source->len) {
        return err_set(e, -EINVAL, "Source and target image have different sizes");
    }
    return 0;
}

/* Takes the bits of the user's bitmap and leaves it recording, empty. */
static int take_bitmap(struct backup *b, const struct job_backup *o, struct err *e)
{
    struct bitmap *todo = b->job.copy.todo;

    if (!o->bitmap) {
        bitmap_set(todo, 0, b->job.copy.from->len);
        return 0;
    }
    b->aside = bitmap_new(o->bitmap->node, "#backup", 1u << o->bitmap->granularity_bits, e);
    if (!b->aside) {
        return e->code;
    }
    b->aside->recording = false;
    b->bitmap = o->bitmap;
    b->bitmap->busy = true;
    bitmap_swap(b->bitmap, b->aside);
    return bitmap_merge(todo, b->aside);
}

static struct node *cbw_new(struct backup *b, struct node *source, struct node *target,
                            const char *name, struct err *e)
{
    struct cbw *c = xcalloc(1, sizeof(*c));

    filter_init(&c->base, &cbw_ops, node_share(source));
    c->base.other = node_share(target);
    c->b = b;
    if (name && node_set_name(&c->base, name, e) < 0) {
        node_close(&c->base);
        return NULL;
    }
    return &c->base;
}

static int begin(struct backup *b, struct node *source, struct node *target,
                 const struct job_backup *o, struct err *e)
{
    struct node *cbw = cbw_new(b, source, target, o->filter_name, e);
    uint32_t granularity = job_granularity(target);

    b->job.copy.from = source;
    b->job.copy.to = target;
    b->job.copy.compress = o->compress ? packed_cluster(target) : 0;
    b->job.copy.base = o->sync == SYNC_TOP ? node_skip_filters(source)->backing : NULL;
    b->job.copy.todo = cbw ? bitmap_new(cbw, "job", granularity, e) : NULL;
    if (!b->job.copy.todo || (b->job.copy.todo->recording = false, take_bitmap(b, o, e) < 0)) {
        settle_bitmap(b, false);
        node_close(cbw);
        return -ENOMEM;
    }
    b->job.total = bitmap_dirty_bytes(b->job.copy.todo);
    b->job.changes = cbw;
    b->cbw.pinned = b->source.pinned = b->target.pinned = true;
    node_root_add(&b->cbw, cbw);
    node_root_add(&b->source, node_share(source));
    node_root_add(&b->target, node_share(target));
    graph_replace(source, cbw);
    job_claim(source, b->claimed_to, backup_ops.type);
    target->job = backup_ops.type;
    return 0;
}

struct job *job_backup_start(struct jobs *s, struct node *source, struct node *target,
                             const struct job_backup *o, struct err *e)
{
    struct backup *b;
    int ret;

    if (check(source, target, o, e) < 0) {
        return NULL;
    }
    b = xcalloc(1, sizeof(*b));
    b->walks = o->sync != SYNC_NONE;
    b->bitmap_mode = o->sync == SYNC_INCREMENTAL ? BITMAP_ON_SUCCESS : o->bitmap_mode;
    b->claimed_to = chain_below(source);
    if (job_init(s, &b->job, &backup_ops, &o->common, e) < 0) {
        free(b);
        return NULL;
    }
    jobs_hold(s, source);
    ret = begin(b, source, target, o, e);
    jobs_release(s);
    if (ret < 0) {
        job_forget(&b->job);
        return NULL;
    }
    job_start(&b->job);
    return &b->job;
}
