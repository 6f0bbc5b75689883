/* SPDX-License-Identifier: MIT */
/* block/jobs.h - the kinds of jobs. docs/block.md 13.
 *
 * Each function starts a job on nodes of the graph, or returns NULL with e. Nodes that are given
 * stay the caller's: a job takes shares of its own. From the event loop only.
 */
#ifndef BLOCK_JOBS_H
#define BLOCK_JOBS_H

#include "block/job.h"

struct bitmap;

enum job_sync { SYNC_FULL, SYNC_TOP, SYNC_NONE, SYNC_INCREMENTAL, SYNC_BITMAP };
/* What becomes of a bitmap whose bits were backed up. */
enum job_bitmap_mode { BITMAP_ON_SUCCESS, BITMAP_NEVER, BITMAP_ALWAYS };

struct job_mirror {
    struct job_options common;
    enum job_sync sync;      /* full, top, none */
    uint32_t granularity;    /* bytes, 0: 64 KiB or the target's clusters */
    bool keep_storage;       /* zeros are written as such, not as holes */
    bool write_blocking;     /* the guest's writes reach the target before they are reported */
    const char *filter_name; /* of the filter node; NULL: made up */
};
/* Makes target hold what source holds, and keeps it so, until it is completed. */
struct job *job_mirror_start(struct jobs *s, struct node *source, struct node *target,
                             const struct job_mirror *o, struct err *e);

struct job_backup {
    struct job_options common;
    enum job_sync sync;
    struct bitmap *bitmap; /* for incremental and bitmap; also full, top: what was not copied */
    enum job_bitmap_mode bitmap_mode;
    bool compress; /* what is written to target, a qcow2 image */
    const char *filter_name;
};
/* Makes target hold what source holds at this moment: what the guest is about to overwrite is
 * copied first. An error of target's never reaches the guest: the job fails. */
struct job *job_backup_start(struct jobs *s, struct node *source, struct node *target,
                             const struct job_backup *o, struct err *e);

struct job_commit {
    struct job_options common;
    const char *backing_file; /* what the image above top then says; NULL: base's name */
    const char *filter_name;
};
/* Writes what the layers from top down to above base hold into base and takes them out of the
 * chain. top is what the guest writes to: becomes ready and waits for job_complete. */
struct job *job_commit_start(struct jobs *s, struct node *top, struct node *base,
                             const struct job_commit *o, struct err *e);

struct job_stream {
    struct job_options common;
    const char *backing_file; /* what node's image then says; NULL: base's name */
    const char *filter_name;
};
/* Copies what the layers between node and base (NULL: all of them) hold into node and takes them
 * out of the chain. */
struct job *job_stream_start(struct jobs *s, struct node *node, struct node *base,
                             const struct job_stream *o, struct err *e);

/* ---- what they share ---- */

/* block/job-mirror.c's part of job_commit_start, which has checked everything. */
struct job *job_commit_active(struct jobs *s, struct node *top, struct node *base,
                              const struct job_commit *o, struct err *e);
/* Bytes copied at a time: at least 64 KiB, at least a cluster of n's format. */
uint32_t job_granularity(const struct node *n);
/* A filter's child or a format's backing node. */
struct node *chain_below(const struct node *n);
/* The node of top's chain that stands on n; NULL: none. */
struct node *chain_above(struct node *top, const struct node *n);
/* n stands in top's chain of backing files. */
bool chain_has(struct node *top, const struct node *n);
/* n says `file` (NULL: nothing) is its backing file, and reads from `backing` (a share is taken). */
int chain_set_backing(struct node *n, struct node *backing, const char *file, struct err *e);
/* Marks n and what is below it, down to above `end`, as the job's, or with NULL as free again. */
void job_claim(struct node *n, const struct node *end, const char *type);
/* -EBUSY when something uses n that is not of top's chain. Who uses top itself does not matter. */
int chain_alone(struct node *top, struct node *n, struct err *e);

#endif
