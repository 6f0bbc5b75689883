/* SPDX-License-Identifier: MIT */
/* block/node-int.h - what block/graph.c and block/file-uring.c keep in a context. */
#ifndef BLOCK_NODE_INT_H
#define BLOCK_NODE_INT_H

struct lull;
struct node_ctx;
struct node_root;
struct ring;

struct node_ctx_graph {
    struct node_root *roots;
    struct lull *lulls;
    unsigned mark;  /* of the last walk: a node that has it was seen */
    unsigned names; /* made up so far */
};

struct node_ctx_graph *node_ctx_graph(struct node_ctx *c);
/* Nothing is in flight on some node any more: posts every lull's look. */
void graph_became_idle(struct node_ctx *c);
/* Where block/file-uring.c keeps what all files of the context share, from the first one's opening
 * to the context's end. */
struct ring **node_ctx_ring(struct node_ctx *c);
void ring_free(struct ring *g); /* NULL is fine */

#endif
