/* SPDX-License-Identifier: MIT */
/* block/graph.h - the graph of a context as a whole: names, who stands on what, and changing that.
 *
 * All nodes that can be reached from a root are in the graph. A root is a place outside of it that
 * owns a node: a drive, a name that -blockdev gave, a job. A node's place in the graph changes when
 * nothing is in flight on it or on what stands on it: after graph_drain, which waits for that, or in a
 * lull, which does not.
 */
#ifndef BLOCK_GRAPH_H
#define BLOCK_GRAPH_H

#include "block/node.h"

struct ev_post;

struct node_root {
    struct node *node;
    bool pinned;                        /* means this very node: node_replace leaves it alone */
    void (*moved)(struct node_root *r); /* it holds another node now; may be NULL */
    struct node_root *next;
    struct node_req *kept, **kept_tail; /* submitted in a lull, linked through next */
};

/* r owns n from now on. */
void node_root_add(struct node_root *r, struct node *n);
/* Gives the node up: node_close. 0 or -errno as that. Nothing happens when r holds none. */
int node_root_del(struct node_root *r);
/* r takes n (a share of the caller's) in place of what it held, whose share is the caller's now. */
struct node *node_root_swap(struct node_root *r, struct node *n);
/* node_submit to what r holds; in a lull it is kept until the lull is over. */
void node_root_submit(struct node_root *r, struct node_req *q);
/* node_wait, for whoever waits for r's requests now: what a lull keeps goes first. */
bool node_root_wait(struct node_root *r);

/* Waits until nothing is in flight on n or on what stands on it. */
void graph_drain(struct node *n);

/* A moment for changing node's place in the graph. Roots that stand on node keep their requests back
 * while it lasts, and `look` is posted whenever there may be nothing left in flight above it. Requests of
 * others than roots, and of a root that waits, still come: lull_there is the truth. */
struct lull {
    struct node *node; /* NULL: there is none */
    struct ev_post *look;
    struct lull *next;
};
/* node stays the caller's and outlives the lull. */
void lull_begin(struct lull *l, struct node *node, struct ev_post *look);
/* Nothing is in flight on the node or on what stands on it. */
bool lull_there(const struct lull *l);
/* What was kept goes to what the roots hold now. Nothing happens when there is no lull. */
void lull_end(struct lull *l);

/* fn runs once for each node, what stands on top before what it stands on. */
void graph_each(struct node_ctx *c, void (*fn)(void *opaque, struct node *n), void *opaque);
/* NULL when no node has that name. */
struct node *graph_find(struct node_ctx *c, const char *name);
/* n's name; one is made up when it has none. */
const char *node_name(struct node *n);
/* Makes up all that are missing. */
void graph_name_all(struct node_ctx *c);
/* No node has that name, and one may: 0, or -EEXIST, -EINVAL with e. */
int graph_check_name(struct node_ctx *c, const char *name, struct err *e);
int node_set_name(struct node *n, const char *name, struct err *e);
/* n is top or something top stands on. */
bool node_stands_on(const struct node *top, const struct node *n);

/* Whatever holds `old`, roots and nodes alike, holds `with` instead, but for what `with` stands on
 * itself. Each holder gives up its share of old and gets one of with. */
void graph_replace(struct node *old, struct node *with);
/* A root holds n unpinned: a drive does. */
bool graph_has_user(const struct node *n);
/* That, or some node stands on n. */
bool graph_has_parent(struct node *n);
/* The node whose backing or file (through filters too) is n, NULL if none: the first found. */
struct node *graph_parent(struct node *n);
/* n, or the first node under it that is not a filter. */
struct node *node_skip_filters(struct node *n);

#endif
