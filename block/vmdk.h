/* SPDX-License-Identifier: MIT */
/* block/vmdk.h - what is particular to VMDK images, for whoever describes them. */
#ifndef BLOCK_VMDK_H
#define BLOCK_VMDK_H

#include "block/node.h"

struct vmdk_extent_info {
    const char *filename, *format; /* "", "FLAT", "ZERO"; the node's */
    uint64_t len, cluster_size;    /* bytes; cluster_size 0 for flat ones */
    bool compressed;
};

struct vmdk_info {
    uint32_t cid, parent_cid;
    const char *create_type; /* the node's */
    unsigned extents;
};
bool vmdk_is(const struct node *n);
void vmdk_info(const struct node *n, struct vmdk_info *out);
void vmdk_extent(const struct node *n, unsigned i, struct vmdk_extent_info *out);

#endif
