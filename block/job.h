/* SPDX-License-Identifier: MIT */
/* block/job.h - long work on the graph of a machine that runs: what all jobs share.
 *
 * A job copies (block/copy.h), beside the guest, until it is done, fails or is cancelled. Its life,
 * with the names QMP gives the stages:
 *
 *   created - running <-> paused                     the work
 *             running - ready <-> standby            a mirror that has caught up, until it is told
 *             waiting - pending - concluded - null   it went well; pending waits for job_finalize
 *             aborting - concluded - null            it did not
 *
 * Everything runs on the graph's thread. What changes the graph runs from the event loop in a lull
 * (block/graph.h), never inside the completion of a request. The loop does not wait for the lull, nor for
 * what is left to copy or to flush: a job that ends does so in steps, "waiting", "pending" when the user
 * finalizes it, or "aborting" meanwhile.
 */
#ifndef BLOCK_JOB_H
#define BLOCK_JOB_H

#include "block/copy.h"
#include "block/graph.h"
#include "dm/base/ev.h"

#include <stdbool.h>
#include <stdint.h>

struct err;
struct job;
struct jobs;

enum job_status {
    JOB_CREATED,
    JOB_RUNNING,
    JOB_PAUSED,
    JOB_READY,
    JOB_STANDBY,
    JOB_WAITING,
    JOB_PENDING,
    JOB_ABORTING,
    JOB_CONCLUDED,
    JOB_NULL,
    JOB_STATUSES
};
const char *job_status_name(enum job_status s);

/* What becomes of a piece that fails. */
enum job_on_error { JOB_REPORT, JOB_IGNORE, JOB_ENOSPC, JOB_STOP };

enum job_event { JOB_EV_STATUS, JOB_EV_READY, JOB_EV_PENDING, JOB_EV_COMPLETED, JOB_EV_CANCELLED };

struct job_error {
    bool reading;
    int ret;
    enum job_on_error action; /* never JOB_ENOSPC */
};

struct jobs_watch {
    void (*event)(void *opaque, struct job *j, enum job_event what);
    void (*error)(void *opaque, struct job *j, const struct job_error *error);
    void *opaque;
};

struct job_ops {
    const char *type; /* "mirror" */
    bool plain;       /* it copies nothing: no "block job" to the monitor */
    /* The work may start or go on: nothing holds the job. */
    void (*work)(struct job *j);
    /* Nothing of the job is in flight, nobody holds it, and it has nothing left to copy or cannot
     * go on. From the loop. */
    void (*idle)(struct job *j);
    /* Ends the work on the graph: commit when it went well (0 or -errno with e), else abort. Nothing
     * is in flight on j->changes or above it, and what was copied is flushed. */
    int (*commit)(struct job *j, struct err *e);
    void (*abort)(struct job *j);
    /* It was cancelled while it is busy: what is in flight shall end soon. NULL: it does. */
    void (*cancel)(struct job *j);
    /* The user says that a ready job shall end. NULL: it ends by itself. */
    int (*complete)(struct job *j, struct err *e);
    void (*free)(struct job *j);
};

struct job_options {
    const char *id;
    uint64_t speed; /* bytes a second, 0: as fast as it goes */
    uint64_t chunk; /* bytes copied in one piece at most; 0: 1 MiB */
    bool no_finalize, no_dismiss;
    enum job_on_error on_source_error, on_target_error;
};

struct job {
    const struct job_ops *ops;
    struct jobs *jobs;
    struct job *next;
    char *id;
    enum job_status status;
    struct copier copy;
    struct ranges locks;  /* copy.locks */
    struct node *changes; /* its place in the graph does, in the end; NULL: nothing's */
    struct lull lull;     /* on it */
    uint64_t done, total; /* bytes */
    uint64_t speed;
    bool auto_finalize, auto_dismiss;
    enum job_on_error on_source_error, on_target_error;
    bool ready, cancelled, user_paused, ended;
    bool ending;           /* the user need not be waited for: commit or abort is next */
    struct node_req flush; /* of copy.to, before commit */
    bool flushed;
    int io_error; /* what it was paused for: 0 or -errno */
    int ret;
    char *error;     /* why it failed */
    int64_t next_ns; /* no piece starts before: the speed */
    struct ev_timer timer;
    struct ev_post step;
};

/* The jobs of a graph. */
struct jobs *jobs_new(struct node_ctx *c);
void jobs_set_watch(struct jobs *s, const struct jobs_watch *watch);
/* Cancels what is left. NULL is fine. */
void jobs_free(struct jobs *s);
struct job *jobs_first(struct jobs *s);
struct job *job_find(struct jobs *s, const char *id);
/* When this returns, nothing is in flight on n or on what stands on it, NULL: in the whole graph; and no
 * job starts anything. Waits on the spot. */
void jobs_hold(struct jobs *s, struct node *n);
void jobs_release(struct jobs *s);
/* n is free for a job of its own and for changes of the graph: 0 or -EBUSY. */
int job_node_free(struct node *n, struct err *e);

/* ---- for the user; each 0 or -errno with e, in QEMU's words ---- */
int job_set_speed(struct job *j, uint64_t speed);
int job_pause(struct job *j, struct err *e);
int job_resume(struct job *j, struct err *e);
/* A ready job ends without an error, and without the change it was made for, unless forced. */
int job_cancel(struct job *j, bool force, struct err *e);
int job_complete(struct job *j, struct err *e);
int job_finalize(struct job *j, struct err *e);
int job_dismiss(struct job *j, struct err *e);
bool job_paused(const struct job *j);
/* Nothing of it may start: somebody holds all jobs, or the user this one. */
bool job_held(const struct job *j);
/* Bytes are being copied right now. */
bool job_busy(const struct job *j);

/* ---- for a kind of job ---- */
/* Fills in what all share and lists the job; -EEXIST, -EINVAL. The caller fills in j->copy's nodes
 * and bitmap, then starts it. */
int job_init(struct jobs *s, struct job *j, const struct job_ops *ops, const struct job_options *o,
             struct err *e);
/* Takes j off the list and frees it: it never started, or it is over. */
void job_forget(struct job *j);
void job_start(struct job *j);
/* The work is over, with 0 or -errno. */
void job_end(struct job *j, int ret);
/* Begins a lull on j->changes: true when it is there. Else ops->idle runs again. It lasts until the job
 * has ended, is paused, or calls job_no_lull. */
bool job_lull(struct job *j);
void job_no_lull(struct job *j);
/* It failed where nothing can wait for another try; it ends soon. */
void job_break(struct job *j, int ret, bool reading);
/* It has caught up. */
void job_set_ready(struct job *j);
/* There may be more to copy, or the reason to wait is gone. */
void job_go_on(struct job *j);
/* It is busy with nothing but waiting to go on: paused, if the user said so. */
void job_stands(struct job *j);
/* Calls ops->idle soon if nothing is left. */
void job_kick(struct job *j);

#endif
