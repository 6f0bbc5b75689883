/* SPDX-License-Identifier: MIT */
/* block/vhdx-int.h - what the parts of VHDX share.
 *
 * vhdx.c      headers, tables, blocks
 * vhdx-log.c  the log of an image that was not closed
 */
#ifndef BLOCK_VHDX_INT_H
#define BLOCK_VHDX_INT_H

#include "block/node.h"

/* What a header says of the log. */
struct vhdx_log {
    uint8_t id[16]; /* all zero: the log is empty */
    uint16_t version;
    uint64_t at, len; /* bytes of the file */
};

/* CRC-32C of len bytes, those of the sum itself at 4 taken as zeros. */
uint32_t vhdx_crc(const uint8_t *p, size_t len);
/* A node that reads as the file would after its log was replayed; the file stays as it is. Takes
 * file, also when it fails: NULL with e. */
struct node *vhdx_replay(struct node *file, const struct vhdx_log *log, struct err *e);

#endif
