/* SPDX-License-Identifier: MIT */
/* block/job-mirror.c - "mirror", and "commit" of what the guest writes to: a target catches up with
 * a source that changes, and in the end takes its place.
 *
 *        guest                 guest
 *          |                     |
 *        source       =>    mirror_top - - > target      =>      guest - target
 *                                |                ^
 *                             source --- copier ---
 *
 * The filter's bitmap says what target does not have yet. In the background mode each write of the
 * guest's makes its range dirty once it has completed; the copier clears bits before it reads, and
 * its pieces exclude each other, so the last copy of a range is one of what the range holds. With
 * write-blocking a write goes to both, under the lock that pieces take, and makes nothing dirty
 * unless target fails.
 *
 * A commit is the same with a node of source's own chain as the target, of which only what stands
 * above it counts.
 */
#include "block/jobs.h"

#include "block/bitmap.h"
#include "block/filter.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct mirror {
    struct job job; /* first */
    struct node_root top, source, target;
    bool blocking, completing;
    bool was_read_only;            /* the target of a commit */
    const struct node *claimed_to; /* below the last node of source's chain that is claimed */
};

struct mirror_top {
    struct node base; /* first */
    struct mirror *m;
};

/* ---- the filter ---- */

static void top_ended(struct pass *p, int ret)
{
    struct mirror *m = ((struct mirror_top *)p->filter)->m;

    if (m->blocking) {
        range_unlock(&m->job.locks, &p->range);
    }
    pass_end(p, ret);
    job_go_on(&m->job);
}

static void top_copied(struct pass *p, int ret)
{
    struct mirror *m = ((struct mirror_top *)p->filter)->m;

    if (ret < 0) {
        bitmap_set(m->job.copy.todo, p->from->offset, p->from->len);
    } else {
        bitmap_clear(m->job.copy.todo, p->from->offset, p->from->len);
    }
    top_ended(p, 0);
}

static void top_written(struct pass *p, int ret)
{
    struct mirror *m = ((struct mirror_top *)p->filter)->m;

    /* Failed or discarded: whatever the range holds now. */
    if (ret < 0 || p->from->op == NODE_DISCARD) {
        bitmap_set(m->job.copy.todo, p->from->offset, p->from->len);
        top_ended(p, ret);
        return;
    }
    p->then = top_copied;
    p->r.op = p->from->op;
    p->r.flags = p->from->flags;
    node_submit(m->target.node, &p->r);
}

static void top_granted(struct range *r)
{
    pass_down(container_of(r, struct pass, range));
}

static void top_submit(struct node *n, struct node_req *r)
{
    struct mirror *m = ((struct mirror_top *)n)->m;
    bool changes = r->op == NODE_WRITE || r->op == NODE_ZERO || r->op == NODE_DISCARD;
    struct pass *p = pass_new(n, r);

    if (!p || !changes) {
        if (p) {
            pass_down(p);
        }
        return;
    }
    p->then = m->blocking ? top_written : top_ended;
    p->range = (struct range){ r->offset, r->offset + r->len, .granted = top_granted };
    if (!m->blocking || range_lock(&m->job.locks, &p->range)) {
        pass_down(p);
    }
}

static int top_close(struct node *n)
{
    int ret = node_close(n->file), ret2 = node_close(n->other);

    free(n);
    return ret < 0 ? ret : ret2;
}

static const struct node_ops top_ops = {
    .name = "mirror_top", .filter = true, .own = true, .submit = top_submit, .close = top_close
};
static const struct node_ops commit_top_ops = {
    .name = "commit_top", .filter = true, .own = true, .submit = top_submit, .close = top_close
};

/* ---- the job ---- */

static void mirror_work(struct job *j)
{
    copy_start(&j->copy);
}

static void mirror_idle(struct job *j)
{
    struct mirror *m = (struct mirror *)j;

    if (j->copy.todo->dirty) {
        job_no_lull(j);
        job_go_on(j);
        return;
    }
    job_set_ready(j);
    if (!m->completing && !j->cancelled) {
        return;
    }
    if (!job_lull(j)) {
        return; /* what is in flight may make something dirty */
    }
    job_end(j, 0);
}

static int mirror_commit(struct job *j, struct err *e)
{
    struct mirror *m = (struct mirror *)j;

    (void)e;
    graph_replace(m->top.node, m->completing ? m->target.node : m->source.node);
    return 0;
}

static void mirror_abort(struct job *j)
{
    struct mirror *m = (struct mirror *)j;

    m->completing = false;
    graph_replace(m->top.node, m->source.node);
}

static int mirror_complete(struct job *j, struct err *e)
{
    (void)e;
    ((struct mirror *)j)->completing = true;
    return 0;
}

static void mirror_free(struct job *j)
{
    struct mirror *m = (struct mirror *)j;

    if (!m->top.node) { /* it never began */
        free(m);
        return;
    }
    job_claim(m->source.node, m->claimed_to, NULL);
    m->target.node->job = NULL;
    if (m->was_read_only && !m->completing) {
        struct err unused;
        node_reopen(m->target.node, true, &unused);
    }
    node_root_del(&m->top);
    node_root_del(&m->source);
    node_root_del(&m->target);
    free(m);
}

static const struct job_ops mirror_ops = { .type = "mirror",
                                           .work = mirror_work,
                                           .idle = mirror_idle,
                                           .commit = mirror_commit,
                                           .abort = mirror_abort,
                                           .complete = mirror_complete,
                                           .free = mirror_free };
static const struct job_ops commit_ops = { .type = "commit",
                                           .work = mirror_work,
                                           .idle = mirror_idle,
                                           .commit = mirror_commit,
                                           .abort = mirror_abort,
                                           .complete = mirror_complete,
                                           .free = mirror_free };

static struct node *top_new(struct mirror *m, const struct node_ops *ops, struct node *source,
                            struct node *target, const char *name, struct err *e)
{
    struct mirror_top *t = xcalloc(1, sizeof(*t));

    filter_init(&t->base, ops, node_share(source));
    t->base.other = node_share(target);
    t->m = m;
    if (name && node_set_name(&t->base, name, e) < 0) {
        node_close(&t->base);
        return NULL;
    }
    return &t->base;
}

/* The filter goes in, and the job begins. base NULL: all of source counts. dirty: to begin with. */
static struct job *mirror_begin(struct jobs *s, struct mirror *m, struct node *source,
                                struct node *target, const struct job_mirror *o, bool dirty,
                                const struct node *base, struct err *e)
{
    bool commit = m->job.ops == &commit_ops;
    struct node *top;

    jobs_hold(s, source);
    top = top_new(m, commit ? &commit_top_ops : &top_ops, source, target, o->filter_name, e);
    struct bitmap *b =
        top ? bitmap_new(top, "job", o->granularity ? o->granularity : job_granularity(target), e)
            : NULL;
    if (!b) {
        node_close(top);
        job_forget(&m->job);
        jobs_release(s);
        return NULL;
    }
    b->recording = !o->write_blocking;
    if (dirty) {
        bitmap_set(b, 0, source->len);
    }
    m->blocking = o->write_blocking;
    m->job.total = bitmap_dirty_bytes(b);
    m->job.copy.from = source;
    m->job.copy.to = target;
    m->job.copy.base = base;
    m->job.copy.keep_storage = o->keep_storage;
    m->job.copy.todo = b;
    m->job.changes = top;
    m->top.pinned = m->source.pinned = m->target.pinned = true;
    node_root_add(&m->top, top);
    node_root_add(&m->source, node_share(source));
    node_root_add(&m->target, node_share(target));
    graph_replace(source, top);
    job_claim(source, m->claimed_to, m->job.ops->type);
    target->job = m->job.ops->type;
    jobs_release(s);
    job_start(&m->job);
    return &m->job;
}

struct job *job_mirror_start(struct jobs *s, struct node *source, struct node *target,
                             const struct job_mirror *o, struct err *e)
{
    if (job_node_free(source, e) < 0 || job_node_free(target, e) < 0) {
        return NULL;
    }
    if (chain_has(source, target)) {
        err_set(e, -EINVAL, "Can't mirror node into itself");
        return NULL;
    }
    if (target->len != source->len) {
        err_set(e, -EINVAL, "Source and target image have different sizes");
        return NULL;
    }
    struct mirror *m = xcalloc(1, sizeof(*m));
    if (job_init(s, &m->job, &mirror_ops, &o->common, e) < 0) {
        free(m);
        return NULL;
    }
    m->claimed_to = chain_below(source);
    return mirror_begin(s, m, source, target, o, o->sync != SYNC_NONE,
                        o->sync == SYNC_TOP ? node_skip_filters(source)->backing : NULL, e);
}

struct job *job_commit_active(struct jobs *s, struct node *top, struct node *base,
                              const struct job_commit *o, struct err *e)
{
    struct mirror *m = xcalloc(1, sizeof(*m));
    struct job_mirror mo = { .filter_name = o->filter_name };

    if (job_init(s, &m->job, &commit_ops, &o->common, e) < 0) {
        free(m);
        return NULL;
    }
    m->was_read_only = base->read_only;
    m->claimed_to = chain_below(base);
    jobs_hold(s, base);
    int ret = node_reopen(base, false, e);
    if (ret == 0 && base->len < top->len) {
        ret = node_resize(base, top->len, e);
    }
    jobs_release(s);
    if (ret < 0) {
        job_forget(&m->job);
        return NULL;
    }
    return mirror_begin(s, m, top, base, &mo, true, base, e);
}
