/* SPDX-License-Identifier: MIT */
/* block/job-commit.c - "commit" of layers that nobody writes to, and "stream": shortening a chain.
 *
 *     commit:  overlay - top - ... - base     =>    overlay - base
 *     stream:  node - ... - base              =>    node - base
 *
 * Neither changes what the disk reads as at any moment. A commit writes into base what stands above
 * it and hides it; a stream copies up what is read through node anyhow. Only when all of that is
 * flushed does the image above say that base is its backing file, with one write of its header. So a
 * crash leaves either chain, and both read the same.
 *
 * A stream writes where the guest may write too: a filter makes the guest's writes hold their range,
 * which the copier's pieces take for themselves before they look whether node still lacks it.
 */
#include "block/jobs.h"

#include "block/bitmap.h"
#include "block/filter.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct shorten {
    struct job job; /* first */
    struct node_root above, top,
        base;                /* whose header changes; from where on layers go; what stays */
    struct node_root filter; /* stream: above `above`; commit: holds the bitmap */
    char *backing_file;
    bool was_read_only; /* base of a commit */
    const struct node *claimed_to;
};

/* ---- the filter ---- */

struct stream_top {
    struct node base; /* first */
    struct shorten *s;
};

static void stream_written(struct pass *p, int ret)
{
    range_unlock(&((struct stream_top *)p->filter)->s->job.locks, &p->range);
    pass_end(p, ret);
}

static void stream_granted(struct range *r)
{
    pass_down(container_of(r, struct pass, range));
}

static void stream_submit(struct node *n, struct node_req *r)
{
    struct shorten *s = ((struct stream_top *)n)->s;
    bool changes = r->op == NODE_WRITE || r->op == NODE_ZERO || r->op == NODE_DISCARD;
    struct pass *p = pass_new(n, r);

    if (!p) {
        return;
    }
    p->then = changes ? stream_written : NULL;
    p->range =
        (struct range){ r->offset, r->offset + r->len, .shared = true, .granted = stream_granted };
    if (!changes || range_lock(&s->job.locks, &p->range)) {
        pass_down(p);
    }
}

static int stream_close(struct node *n)
{
    int ret = node_close(n->file);

    free(n);
    return ret;
}

static const struct node_ops stream_top_ops = { .name = "copy-on-read",
                                                .filter = true,
                                                .own = true,
                                                .submit = stream_submit,
                                                .close = stream_close };

/* ---- both jobs ---- */

static void shorten_work(struct job *j)
{
    copy_start(&j->copy);
}

static void shorten_idle(struct job *j)
{
    if (!j->copy.todo->dirty) {
        job_end(j, 0);
    }
}

/* The image above says what it stands on now. */
static int new_backing(struct shorten *s, struct err *e)
{
    struct node *base = s->base.node;
    const char *file = s->backing_file ? s->backing_file : base ? base->filename : NULL;

    return chain_set_backing(s->above.node, base, file, e);
}

static void remove_filter(struct shorten *s)
{
    if (s->filter.node->ops == &stream_top_ops) {
        graph_replace(s->filter.node, s->above.node);
    }
}

static int shorten_commit(struct job *j, struct err *e)
{
    struct shorten *s = (struct shorten *)j;
    int ret;

    job_claim(s->top.node, s->claimed_to, NULL); /* while the chain is whole */
    ret = new_backing(s, e);
    if (ret == 0) {
        remove_filter(s);
    }
    return ret;
}

static void shorten_abort(struct job *j)
{
    remove_filter((struct shorten *)j);
}

static void shorten_free(struct job *j)
{
    struct shorten *s = (struct shorten *)j;
    struct err unused;

    if (s->filter.node) {
        job_claim(s->top.node, s->claimed_to, NULL);
        if (s->was_read_only) {
            node_reopen(s->base.node, true, &unused);
        }
    }
    node_root_del(&s->filter);
    node_root_del(&s->above);
    node_root_del(&s->top);
    node_root_del(&s->base);
    free(s->backing_file);
    free(s);
}

static const struct job_ops commit_ops = { .type = "commit",
                                           .work = shorten_work,
                                           .idle = shorten_idle,
                                           .commit = shorten_commit,
                                           .abort = shorten_abort,
                                           .free = shorten_free };
static const struct job_ops stream_ops = { .type = "stream",
                                           .work = shorten_work,
                                           .idle = shorten_idle,
                                           .commit = shorten_commit,
                                           .abort = shorten_abort,
                                           .free = shorten_free };

static struct node *filter_new(struct shorten *s, struct node *n, const char *name, struct err *e)
{
    struct stream_top *t = xcalloc(1, sizeof(*t));

    filter_init(&t->base, &stream_top_ops, node_share(n));
    t->s = s;
    if (name && node_set_name(&t->base, name, e) < 0) {
        node_close(&t->base);
        return NULL;
    }
    return &t->base;
}

static void hold(struct node_root *r, struct node *n)
{
    r->pinned = true;
    if (n) {
        node_root_add(r, node_share(n));
    }
}

/* from, to and base of the copier are filled in; all of `from` is to be looked at. */
static int begin(struct shorten *s, struct node *above, struct node *top, struct node *base,
                 const char *filter_name, bool insert, struct err *e)
{
    struct copier *c = &s->job.copy;
    struct node *f = filter_new(s, c->from, filter_name, e);

    c->todo = f ? bitmap_new(f, "job", job_granularity(c->to), e) : NULL;
    if (!c->todo) {
        node_close(f);
        return -ENOMEM;
    }
    c->todo->recording = false;
    bitmap_set(c->todo, 0, c->from->len);
    s->job.total = c->from->len;
    s->job.changes = above;
    hold(&s->above, above);
    hold(&s->top, top);
    hold(&s->base, base);
    s->filter.pinned = true;
    node_root_add(&s->filter, f);
    if (insert) {
        graph_replace(above, f);
    }
    job_claim(top, s->claimed_to, s->job.ops->type);
    return 0;
}

static struct shorten *shorten_new(struct jobs *jobs, const struct job_ops *ops,
                                   const struct job_options *o, const char *backing_file,
                                   struct err *e)
{
    struct shorten *s = xcalloc(1, sizeof(*s));

    if (job_init(jobs, &s->job, ops, o, e) < 0) {
        free(s);
        return NULL;
    }
    s->backing_file = backing_file ? xstrdup(backing_file) : NULL;
    return s;
}

static struct job *started(struct shorten *s, struct jobs *jobs, int ret)
{
    jobs_release(jobs);
    if (ret < 0) {
        job_forget(&s->job);
        return NULL;
    }
    job_start(&s->job);
    return &s->job;
}

/* ---- commit ---- */

/* Nobody but `above` (NULL: what stands on top moves along) may see the layers change. */
static int check_chain(struct node *above, struct node *top, struct node *base, struct err *e)
{
    for (struct node *n = top; n && n != chain_below(base); n = chain_below(n)) {
        if (job_node_free(n, e) < 0 || chain_alone(above ? above : top, n, e) < 0) {
            return e->code;
        }
    }
    return 0;
}

struct job *job_commit_start(struct jobs *jobs, struct node *top, struct node *base,
                             const struct job_commit *o, struct err *e)
{
    struct node *above = graph_parent(top);
    struct shorten *s;
    int ret;

    if (top == base || !chain_has(top, base)) {
        err_set(e, -EINVAL, "'%s' is not in the backing file chain of '%s'", base->filename,
                top->filename);
        return NULL;
    }
    if (check_chain(above, top, base, e) < 0) {
        return NULL;
    }
    if (!above) {
        return job_commit_active(jobs, top, base, o, e);
    }
    if (job_node_free(above, e) < 0 ||
        !(s = shorten_new(jobs, &commit_ops, &o->common, o->backing_file, e))) {
        return NULL;
    }
    jobs_hold(jobs, base);
    s->was_read_only = base->read_only;
    s->claimed_to = chain_below(base);
    ret = node_reopen(base, false, e);
    if (ret == 0 && base->len < top->len) {
        ret = node_resize(base, top->len, e);
    }
    s->job.copy.from = top;
    s->job.copy.to = base;
    s->job.copy.base = base;
    ret = ret == 0 ? begin(s, above, top, base, o->filter_name, false, e) : ret;
    return started(s, jobs, ret);
}

/* ---- stream ---- */

struct job *job_stream_start(struct jobs *jobs, struct node *node, struct node *base,
                             const struct job_stream *o, struct err *e)
{
    struct shorten *s;

    if (node == base || (base && !chain_has(node, base))) {
        err_set(e, -EINVAL, "Can't find '%s' in the backing chain", base->filename);
        return NULL;
    }
    for (struct node *n = node; n && n != base; n = chain_below(n)) {
        if (job_node_free(n, e) < 0) {
            return NULL;
        }
    }
    if (!(s = shorten_new(jobs, &stream_ops, &o->common, o->backing_file, e))) {
        return NULL;
    }
    jobs_hold(jobs, node);
    s->claimed_to = base;
    s->job.copy.from = s->job.copy.to = node;
    s->job.copy.base = base;
    s->job.copy.skip_top = s->job.copy.unchanged = true;
    return started(s, jobs, begin(s, node, node, base, o->filter_name, true, e));
}
