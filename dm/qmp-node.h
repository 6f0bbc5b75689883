/* SPDX-License-Identifier: MIT */
/* dm/qmp-node.h - what the QMP commands about the block graph share. docs/block.md 13. */
#ifndef DM_QMP_NODE_H
#define DM_QMP_NODE_H

#include "block/graph.h"
#include "dm/qmp.h"

struct blk_image;
struct drive;

/* A node as query-block's "inserted" and query-named-block-nodes tell it. */
json_t *node_info_json(struct node *n, bool chain);
/* The limits of g (NULL: none) in it. */
struct throttle_group;
void node_limits_json(json_t *info, const struct throttle_group *g);

/* The node a job of the user's works on, which `device` names: a drive's own, under its limits, or a
 * node by its name. NULL with the error set. */
struct node *qmp_node(struct qmp_call *c, const char *device);
/* By node-name alone. */
struct node *qmp_node_named(struct qmp_call *c, const char *name);
/* The one that "device" or "node-name" of the arguments names. */
struct node *qmp_node_arg(struct qmp_call *c);
/* A drive's node without the filters that came from the drive's own options or from a job. */
struct node *drive_node(const struct drive *d);
/* The drive whose node that is, NULL: none. */
struct drive *node_drive(const struct qmp_call *c, const struct node *n);
/* Every drive on n learns its new length. */
void drives_resized(struct keel *k, const struct node *n);

/* A new image for a job or a snapshot: an existing one, or made to be like `like`. */
struct new_image {
    const char *filename, *format; /* format NULL: like's */
    bool existing;
    uint64_t size;
    struct node *like;
    const char *backing; /* NULL: none */
    const char *backing_format;
};
/* Opens it for writing without its backing chain. NULL with the error set. */
struct node *qmp_new_image(struct qmp_call *c, const struct new_image *o);

/* One step of a transaction, done at once; `undo` takes it back, `done` cleans up. Either frees p. */
struct txn_step {
    void (*undo)(struct qmp_call *c, void *p);
    void (*done)(struct qmp_call *c, void *p);
    void *p;
};
/* A command that can be part of one: runs it with c->args as its arguments. False with the error
 * set, and nothing to take back. */
struct txn_action {
    const char *name, *schema;
    bool (*run)(struct qmp_call *c, struct txn_step *step);
};
extern const struct txn_action txn_snapshot_actions[], txn_bitmap_actions[], txn_job_actions[];
/* The same as a command of its own. */
json_t *txn_one(struct qmp_call *c, bool (*run)(struct qmp_call *c, struct txn_step *step));

#endif
