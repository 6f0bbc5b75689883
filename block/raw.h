/* SPDX-License-Identifier: MIT */
/* block/raw.h - the format node "raw": a part of a file, or all of it, as it is. */
#ifndef BLOCK_RAW_H
#define BLOCK_RAW_H

#include "block/node.h"

struct raw_open {
    bool read_only;
    uint64_t offset, size; /* bytes, multiples of 512; size 0: all the rest */
};

/* Takes file, also when it fails. */
struct node *raw_open(struct node *file, const struct raw_open *o, struct err *e);

#endif
