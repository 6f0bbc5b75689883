/* SPDX-License-Identifier: MIT */
/* block/throttle.h - the filter node "throttle": bytes and requests a second, with bursts.
 *
 * The limits belong to a group; nodes of one group share them.
 */
#ifndef BLOCK_THROTTLE_H
#define BLOCK_THROTTLE_H

#include "block/node.h"

enum {
    THROTTLE_BPS,
    THROTTLE_BPS_RD,
    THROTTLE_BPS_WR,
    THROTTLE_IOPS,
    THROTTLE_IOPS_RD,
    THROTTLE_IOPS_WR,
    THROTTLE_LIMITS
};

/* avg: a second, 0 for no limit. max: a second, in a burst after a pause; 0: a tenth of a second's
 * worth of avg at once. length: seconds that a burst at max may last; 0 and 1: max may come at
 * once. iops_size: bytes that count as one request, 0: all requests count as one. */
struct throttle_limits {
    uint64_t avg[THROTTLE_LIMITS], max[THROTTLE_LIMITS], length[THROTTLE_LIMITS];
    uint64_t iops_size;
};
/* -EINVAL with e naming what contradicts what. */
int throttle_check(const struct throttle_limits *l, struct err *e);

struct throttle_group;
/* In *list, unlimited; NULL for list: known to nobody else. The caller has a share. */
struct throttle_group *throttle_group_new(struct throttle_group **list, const char *name);
struct throttle_group *throttle_group_find(struct throttle_group *first, const char *name);
void throttle_group_share(struct throttle_group *g);
/* Gives up a share. *list: where it may stand. NULL for g is fine. */
void throttle_group_drop(struct throttle_group **list, struct throttle_group *g);
void throttle_group_set(struct throttle_group *g, const struct throttle_limits *l);
const struct throttle_limits *throttle_group_limits(const struct throttle_group *g);
const char *throttle_group_name(const struct throttle_group *g);
/* Some node is in it. */
bool throttle_group_used(const struct throttle_group *g);

/* Takes child. The context must have a loop, whose clock counts. The group outlives the node. */
struct node *throttle_new(struct node *child, struct throttle_group *g);
/* n's group; NULL when n is none of these nodes. */
struct throttle_group *throttle_group_of(const struct node *n);
/* n is one of them: it is in g from now on. Nothing is in flight. */
void throttle_set_group(struct node *n, struct throttle_group *g);

#endif
