/* SPDX-License-Identifier: MIT */
/* block/copy-on-read.h - the filter node "copy-on-read": what is read comes to stay. */
#ifndef BLOCK_COPY_ON_READ_H
#define BLOCK_COPY_ON_READ_H

#include "block/node.h"

/* Takes child: what is read of its backing files is written into it on the way. */
struct node *copy_on_read_new(struct node *child);

#endif
