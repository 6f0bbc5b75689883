/* SPDX-License-Identifier: MIT */
/* block/mapped-int.h - what the parts of the engine in mapped.h share.
 *
 * mapped.c        requests: runs, allocation, packing
 * mapped-flush.c  the tables' way to the disk
 * mapped-check.c  reading tables, finding damage
 */
#ifndef BLOCK_MAPPED_INT_H
#define BLOCK_MAPPED_INT_H

#include "block/mapped.h"

/* r is a NODE_FLUSH of m's: it completes once everything that completed before it is on disk. */
void mapped_flush(struct mapped *m, struct node_req *r);
/* The same for the tables alone, waiting; the flush behind them is the caller's. 0 or -errno. */
int mapped_write_tables(struct mapped *m);

#endif
