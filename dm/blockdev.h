/* SPDX-License-Identifier: MIT */
/* dm/blockdev.h - nodes that the user builds and names: -blockdev and blockdev-add. docs/block.md 12.
 */
#ifndef DM_BLOCKDEV_H
#define DM_BLOCKDEV_H

#include "block/graph.h"

#include <jansson.h>

struct backends;
struct drive;
struct err;
struct keyval;

struct named_node {
    struct node_root root; /* no node while a replay pretends */
    char name[NODE_NAME_MAX + 1];
    bool discard, read_only; /* as asked for */
    struct named_node *next;
};

/* What follows -blockdev. 0, or -errno with e. */
int blockdev_add(struct backends *b, struct keyval *kv, struct err *e);
/* The arguments of blockdev-add. */
int blockdev_add_json(struct backends *b, const json_t *options, struct err *e);
/* A node for a format to be written onto: by its name, or built by its options. One share is the
 * caller's; NULL with e. */
struct node *blockdev_ref(struct backends *b, const json_t *ref, struct err *e);
int blockdev_del(struct backends *b, const char *name, struct err *e);
void blockdev_close_all(struct backends *b);
/* A drive that holds the node of that name, for a device: -ENOENT, -EBUSY with e and NULL. */
struct drive *blockdev_drive(struct backends *b, const char *name, struct err *e);

#endif
