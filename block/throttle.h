/* SPDX-License-Identifier: MIT */
/* block/throttle.h - the filter node "throttle": bytes and requests a second, with bursts. */
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

/* avg: a second, 0 for no limit. max: what may come at once after a pause; 0 for a tenth of a
 * second's worth. */
struct throttle_limits {
    uint64_t avg[THROTTLE_LIMITS], max[THROTTLE_LIMITS];
};

/* Takes child. The context must have a loop, whose clock counts. */
struct node *throttle_new(struct node *child, const struct throttle_limits *l);

#endif
