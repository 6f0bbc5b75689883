/* SPDX-License-Identifier: MIT */
/* block/filter.h - what filter nodes share: a request on its way through to the child. */
#ifndef BLOCK_FILTER_H
#define BLOCK_FILTER_H

#include "block/node.h"
#include "block/range.h"

/* A request from above, and the same for the child. */
struct pass {
    struct node_req r; /* first */
    struct node_req *from;
    struct range range; /* for filters that lock */
    /* The child's answer; NULL: it is the answer to `from`. Ends with pass_end. */
    void (*then)(struct pass *p, int ret);
    struct node *filter;
};

/* Makes f a filter on child, whose share it takes. */
void filter_init(struct node *f, const struct node_ops *ops, struct node *child);
/* NULL: no memory; `from` has been answered. */
struct pass *pass_new(struct node *filter, struct node_req *from);
/* Sends it to filter->file. */
void pass_down(struct pass *p);
/* Answers `from` and frees p. A filter that may grow is longer then. */
void pass_end(struct pass *p, int ret);
/* All of that, for what the filter has no interest in. */
void filter_pass(struct node *filter, struct node_req *from);
int filter_resize(struct node *n, uint64_t len, struct err *e);
int filter_reopen(struct node *n, bool read_only, struct err *e);

#endif
