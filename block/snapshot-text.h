/* SPDX-License-Identifier: MIT */
/* block/snapshot-text.h - internal snapshots in a list for people, in QEMU's columns. */
#ifndef BLOCK_SNAPSHOT_TEXT_H
#define BLOCK_SNAPSHOT_TEXT_H

struct qcow2_snapshot;

#define SNAPSHOT_HEADING                                                                           \
    "ID        TAG               VM SIZE                DATE     VM CLOCK     ICOUNT"

/* One line without its end, malloc'd. id: what stands in the first column. */
char *snapshot_line(const struct qcow2_snapshot *s, const char *id);

#endif
