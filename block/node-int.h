/* SPDX-License-Identifier: MIT */
/* block/node-int.h - what block/graph.c keeps in a context. */
#ifndef BLOCK_NODE_INT_H
#define BLOCK_NODE_INT_H

struct node_ctx;
struct node_root;

struct node_ctx_graph {
    struct node_root *roots;
    unsigned mark;  /* of the last walk: a node that has it was seen */
    unsigned names; /* made up so far */
};

struct node_ctx_graph *node_ctx_graph(struct node_ctx *c);

#endif
