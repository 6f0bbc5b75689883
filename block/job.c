/* SPDX-License-Identifier: MIT */
/* block/job.c - what all jobs share: their stages, speed, pausing, errors, and the end. */
#include "block/job.h"

#include "block/bitmap.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { JOB_RETRY_MS = 100, JOB_SLICE_MS = 100 };

struct jobs {
    struct node_ctx *ctx;
    struct jobs_watch watch;
    struct job *first;
    unsigned held;
};

const char *job_status_name(enum job_status s)
{
    static const char *const names[JOB_STATUSES] = { "created",   "running", "paused",  "ready",
                                                     "standby",   "waiting", "pending", "aborting",
                                                     "concluded", "null" };
    return names[s];
}

static void tell(struct job *j, enum job_event what)
{
    if (j->jobs->watch.event) {
        j->jobs->watch.event(j->jobs->watch.opaque, j, what);
    }
}

static void set_status(struct job *j, enum job_status s)
{
    if (j->status != s) {
        j->status = s;
        tell(j, JOB_EV_STATUS);
    }
}

/* ---- the list ---- */

struct jobs *jobs_new(struct node_ctx *c)
{
    struct jobs *s = xcalloc(1, sizeof(*s));

    s->ctx = c;
    return s;
}

void jobs_set_watch(struct jobs *s, const struct jobs_watch *watch)
{
    s->watch = *watch;
}

struct job *jobs_first(struct jobs *s)
{
    return s ? s->first : NULL;
}

struct job *job_find(struct jobs *s, const char *id)
{
    struct job *j = s->first;

    while (j && strcmp(j->id, id) != 0) {
        j = j->next;
    }
    return j;
}

int job_node_free(struct node *n, struct err *e)
{
    return n->job ? err_set(e, -EBUSY, "Node '%s' is busy: block device is in use by block job: %s",
                            node_name(n), n->job)
                  : 0;
}

void job_forget(struct job *j)
{
    struct job **at = &j->jobs->first;

    while (*at != j) {
        at = &(*at)->next;
    }
    *at = j->next;
    ev_timer_disarm(&j->timer);
    ev_post_cancel(node_ctx_loop(j->jobs->ctx), &j->step);
    free(j->id);
    free(j->error);
    j->ops->free(j);
}

/* ---- pausing ---- */

bool job_paused(const struct job *j)
{
    return j->status == JOB_PAUSED || j->status == JOB_STANDBY;
}

bool job_held(const struct job *j)
{
    return j->jobs->held || j->user_paused;
}

bool job_busy(const struct job *j)
{
    return j->copy.in_flight != 0;
}

void job_go_on(struct job *j)
{
    if (j->ended || j->status == JOB_CREATED || job_held(j)) {
        return;
    }
    if (job_paused(j)) {
        set_status(j, j->ready ? JOB_READY : JOB_RUNNING);
    }
    if (!j->cancelled || j->ready) {
        j->ops->work(j);
    }
    job_kick(j);
}

void jobs_hold(struct jobs *s, struct node *n)
{
    s->held++;
    if (n) {
        graph_drain(n);
    } else {
        node_ctx_drain(s->ctx);
    }
}

void jobs_release(struct jobs *s)
{
    if (--s->held) {
        return;
    }
    for (struct job *j = s->first; j; j = j->next) {
        job_go_on(j);
    }
}

bool job_lull(struct job *j)
{
    if (j->changes && !j->lull.node) {
        lull_begin(&j->lull, j->changes, &j->step);
    }
    return !j->changes || lull_there(&j->lull);
}

void job_no_lull(struct job *j)
{
    lull_end(&j->lull);
}

/* Nobody else stands still for a job that does. */
static void stop(struct job *j)
{
    j->user_paused = true;
    job_no_lull(j);
}

void job_stands(struct job *j)
{
    if (j->user_paused) {
        set_status(j, j->ready ? JOB_STANDBY : JOB_PAUSED);
    }
}

int job_pause(struct job *j, struct err *e)
{
    if (j->user_paused) {
        return err_set(e, -EBUSY, "Job is already paused");
    }
    if (j->status != JOB_CREATED && j->status != JOB_RUNNING && j->status != JOB_READY) {
        return err_set(e, -EPERM, "Job '%s' in state '%s' cannot accept command verb 'pause'",
                       j->id, job_status_name(j->status));
    }
    stop(j);
    if (!job_busy(j)) {
        job_stands(j);
    }
    return 0;
}

int job_resume(struct job *j, struct err *e)
{
    if (!j->user_paused) {
        return err_set(e, -EPERM, "Can't resume a job that was not paused");
    }
    j->user_paused = false;
    j->io_error = 0;
    job_go_on(j);
    return 0;
}

/* ---- speed ---- */

static void job_time(void *opaque)
{
    job_go_on(opaque);
}

static void wait_until(struct job *j, int64_t when)
{
    j->next_ns = when;
    ev_timer_arm(node_ctx_loop(j->jobs->ctx), &j->timer, when);
}

/* A tenth of a second's worth at a time. */
static uint64_t job_allowance(struct copier *c)
{
    struct job *j = c->opaque;
    int64_t now;

    if (j->ending) { /* the guest stands still for it */
        return UINT64_MAX;
    }
    if (j->ended || j->ret < 0 || job_held(j) || (j->cancelled && !j->ready)) {
        return 0;
    }
    if (!j->speed && !j->next_ns) {
        return UINT64_MAX;
    }
    now = ev_now_ns();
    if (now < j->next_ns) {
        wait_until(j, j->next_ns);
        return 0;
    }
    return j->speed ? max_u64(j->speed / (1000 / JOB_SLICE_MS), 1) : UINT64_MAX;
}

static void job_charge(struct copier *c, uint64_t len)
{
    struct job *j = c->opaque;

    if (j->speed) {
        int64_t now = ev_now_ns(), from = j->next_ns > now ? j->next_ns : now;
        j->next_ns = from + (int64_t)((double)len * 1e9 / (double)j->speed);
    } else {
        j->next_ns = 0;
    }
}

int job_set_speed(struct job *j, uint64_t speed)
{
    j->speed = speed;
    j->next_ns = 0;
    ev_timer_disarm(&j->timer);
    if (j->status == JOB_RUNNING || j->status == JOB_READY) {
        job_go_on(j);
    }
    return 0;
}

/* ---- pieces that ended ---- */

static void step_soon(struct job *j)
{
    ev_post(node_ctx_loop(j->jobs->ctx), &j->step);
}

static enum job_on_error action(const struct job *j, bool reading, int ret)
{
    enum job_on_error a = reading ? j->on_source_error : j->on_target_error;

    return a != JOB_ENOSPC ? a : ret == -ENOSPC ? JOB_STOP : JOB_REPORT;
}

static void tell_error(struct job *j, const struct job_error *error)
{
    if (j->jobs->watch.error) {
        j->jobs->watch.error(j->jobs->watch.opaque, j, error);
    }
}

void job_break(struct job *j, int ret, bool reading)
{
    struct job_error error = { reading, ret, JOB_REPORT };

    if (j->ret == 0) {
        tell_error(j, &error);
        j->ret = ret;
    }
    job_kick(j);
}

static void failed(struct job *j, int ret, bool reading)
{
    struct job_error error = { reading, ret, action(j, reading, ret) };

    tell_error(j, &error);
    if (error.action == JOB_STOP) {
        j->io_error = ret;
        stop(j);
    } else if (error.action == JOB_IGNORE) {
        wait_until(j, ev_now_ns() + JOB_RETRY_MS * 1000000ll);
    } else if (j->ret == 0) {
        j->ret = ret;
    }
}

static void piece_ended(struct copier *c, uint64_t len, int ret, bool reading)
{
    struct job *j = c->opaque;

    j->done += len;
    if (j->ending) {
        j->ret = j->ret == 0 ? ret : j->ret;
        step_soon(j);
        return;
    }
    if (ret < 0) {
        failed(j, ret, reading);
    }
    if (j->ret == 0 && !job_held(j)) {
        j->ops->work(j);
    }
    job_kick(j);
}

static bool nothing_to_copy(const struct job *j)
{
    return j->ops->plain || !j->copy.todo->dirty;
}

void job_kick(struct job *j)
{
    if (!j->ended && j->copy.in_flight == 0 && (j->ret || j->cancelled || nothing_to_copy(j))) {
        step_soon(j);
    } else if (!j->ended && j->copy.in_flight == 0) {
        job_stands(j);
    }
}

static void end_step(struct job *j);

/* From the loop: nothing else of this graph is on the stack. */
static void job_step(void *opaque)
{
    struct job *j = opaque;

    if (j->copy.in_flight || j->status == JOB_CREATED) {
        return;
    }
    if (j->ended) {
        end_step(j);
    } else if (j->cancelled && !j->ready) {
        job_end(j, -ECANCELED);
    } else if (j->ret < 0) {
        job_end(j, j->ret);
    } else if (job_held(j)) {
        job_stands(j); /* whoever lets it go on kicks it */
    } else {
        j->ops->idle(j);
    }
}

/* ---- beginning and end ---- */

static int check_id(struct jobs *s, const char *id, struct err *e)
{
    if (!id || !isalpha((unsigned char)id[0]) || strlen(id) > 127 ||
        id[strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")]) {
        return err_set(e, -EINVAL, "Invalid job ID '%s'", id ? id : "");
    }
    return job_find(s, id) ? err_set(e, -EEXIST, "Job ID '%s' already in use", id) : 0;
}

int job_init(struct jobs *s, struct job *j, const struct job_ops *ops, const struct job_options *o,
             struct err *e)
{
    int ret = check_id(s, o->id, e);

    if (ret < 0) {
        return ret;
    }
    j->ops = ops;
    j->jobs = s;
    j->id = xstrdup(o->id);
    j->speed = o->speed;
    j->auto_finalize = !o->no_finalize;
    j->auto_dismiss = !o->no_dismiss;
    j->on_source_error = o->on_source_error;
    j->on_target_error = o->on_target_error;
    j->timer = (struct ev_timer){ .cb = job_time, .opaque = j };
    j->step = (struct ev_post){ .cb = job_step, .opaque = j };
    j->copy.chunk = o->chunk;
    j->copy.locks = &j->locks;
    j->copy.ended = piece_ended;
    j->copy.allowance = job_allowance;
    j->copy.charge = job_charge;
    j->copy.opaque = j;
    j->next = s->first;
    s->first = j;
    return 0;
}

void job_start(struct job *j)
{
    tell(j, JOB_EV_STATUS);
    set_status(j, JOB_RUNNING);
    job_go_on(j);
}

void job_set_ready(struct job *j)
{
    if (!j->ready) {
        j->ready = true;
        set_status(j, JOB_READY);
        tell(j, JOB_EV_READY);
    }
}

static void conclude(struct job *j)
{
    tell(j, j->cancelled && j->ret == -ECANCELED ? JOB_EV_CANCELLED : JOB_EV_COMPLETED);
    set_status(j, JOB_CONCLUDED);
    if (j->auto_dismiss) {
        set_status(j, JOB_NULL);
        job_forget(j);
    }
}

/* From the loop, and nothing is in flight where the graph changes. */
static void abort_now(struct job *j)
{
    set_status(j, JOB_ABORTING);
    if (j->ret != -ECANCELED && !j->error) {
        j->error = xstrdup(strerror(-j->ret));
    }
    j->ops->abort(j);
}

static void commit_now(struct job *j)
{
    struct err e = { 0 };

    set_status(j, JOB_PENDING);
    j->ret = j->ops->commit(j, &e);
    if (j->ret < 0) {
        j->error = xstrdup(e.msg);
        abort_now(j);
    }
}

static void flush_done(struct node_req *r, int ret)
{
    struct job *j = container_of(r, struct job, flush);

    j->ret = j->ret == 0 ? ret : j->ret;
    j->flushed = true;
    step_soon(j);
}

/* What was copied is on the target's disk. False: it soon is, and end_step runs again. */
static bool all_flushed(struct job *j)
{
    if (!j->flushed && !j->ops->plain) {
        j->flush = (struct node_req){ .op = NODE_FLUSH, .done = flush_done };
        node_submit(j->copy.to, &j->flush);
        return false;
    }
    return true;
}

/* So is what the guest wrote while the user took his time. */
static bool all_copied(struct job *j)
{
    if (j->ops->plain || !j->copy.todo->dirty) {
        return true;
    }
    j->flushed = false;
    copy_start(&j->copy);
    if (!j->copy.in_flight) {
        j->ret = -ENOMEM;
        step_soon(j);
    }
    return false;
}

static void wait_for_user(struct job *j)
{
    if (j->status != JOB_PENDING) {
        job_no_lull(j);
        set_status(j, JOB_PENDING);
        tell(j, JOB_EV_PENDING);
    }
}

/* Flushing comes first, so that the guest's requests are not kept back for it unless there is more to
 * copy after all. */
static void end_step(struct job *j)
{
    struct jobs *s = j->jobs;

    if (j->copy.in_flight || j->flush.node || (j->ret == 0 && !all_flushed(j))) {
        return;
    }
    if (j->ret == 0 && !j->ending) {
        wait_for_user(j);
        return;
    }
    if (!job_lull(j) || (j->ret == 0 && !all_copied(j))) {
        return;
    }
    s->held++; /* no other starts anything while nodes come and go */
    if (j->ret < 0) {
        abort_now(j);
    } else {
        commit_now(j);
    }
    job_no_lull(j);
    jobs_release(s);
    conclude(j);
}

static void begin_end(struct job *j)
{
    j->ending = true;
    if (j->ret < 0) {
        set_status(j, JOB_ABORTING);
    }
    end_step(j);
}

void job_end(struct job *j, int ret)
{
    j->ended = true;
    j->ret = ret;
    ev_timer_disarm(&j->timer);
    ev_post_cancel(node_ctx_loop(j->jobs->ctx), &j->step);
    if (ret == 0) {
        j->done = j->total = max_u64(j->done, j->total);
        set_status(j, JOB_WAITING);
    }
    if (ret < 0 || j->auto_finalize) {
        begin_end(j);
    } else {
        end_step(j);
    }
}

static int cannot(const struct job *j, const char *verb, struct err *e)
{
    return err_set(e, -EPERM, "Job '%s' in state '%s' cannot accept command verb '%s'", j->id,
                   job_status_name(j->status), verb);
}

int job_finalize(struct job *j, struct err *e)
{
    if (j->status != JOB_PENDING || j->ending) {
        return cannot(j, "finalize", e);
    }
    begin_end(j);
    return 0;
}

int job_dismiss(struct job *j, struct err *e)
{
    if (j->status != JOB_CONCLUDED) {
        return cannot(j, "dismiss", e);
    }
    set_status(j, JOB_NULL);
    job_forget(j);
    return 0;
}

int job_complete(struct job *j, struct err *e)
{
    if (j->status != JOB_READY || j->user_paused) {
        return cannot(j, "complete", e);
    }
    if (!j->ops->complete) {
        return err_set(e, -EPERM, "The active block job '%s' cannot be completed", j->id);
    }
    int ret = j->ops->complete(j, e);
    job_go_on(j);
    return ret;
}

int job_cancel(struct job *j, bool force, struct err *e)
{
    if (j->status == JOB_WAITING || j->status == JOB_PENDING) {
        j->cancelled = true;
        j->ret = -ECANCELED;
        begin_end(j);
        return 0;
    }
    if (j->ended) {
        return cannot(j, "cancel", e);
    }
    if (j->user_paused && !force) {
        return err_set(e, -EBUSY, "The block job for device '%s' is currently paused", j->id);
    }
    j->cancelled = true;
    j->ready = j->ready && !force; /* a ready one that is not forced ends well */
    if (force) {
        j->user_paused = false;
    }
    job_kick(j);
    if (j->ready) {
        job_go_on(j);
    } else if (job_busy(j) && j->ops->cancel) {
        j->ops->cancel(j);
    }
    return 0;
}

void jobs_free(struct jobs *s)
{
    if (!s) {
        return;
    }
    jobs_hold(s, NULL);
    while (s->first) {
        struct job *j = s->first;
        if (j->status != JOB_CONCLUDED) {
            j->ended = j->cancelled = true;
            j->ret = -ECANCELED;
            abort_now(j);
            job_no_lull(j);
            tell(j, JOB_EV_CANCELLED);
            set_status(j, JOB_CONCLUDED);
        }
        job_forget(j);
    }
    s->held--;
    free(s);
}
