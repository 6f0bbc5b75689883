/* SPDX-License-Identifier: MIT */
/* dm/hmp-block.h - the monitor's commands on jobs and snapshots of disks. */
#ifndef DM_HMP_BLOCK_H
#define DM_HMP_BLOCK_H

#include <stdbool.h>

struct keel;
struct text;

/* word[0] is the command; absent words are "". flags: the letters of "-f" and the like. */
void hmp_block(struct keel *k, char *const *word, const char *flags, struct text *out);
/* commit DRIVE|all: into the backing files. */
void hmp_commit(struct keel *k, char *const *word, struct text *out);
void hmp_info_block_jobs(struct keel *k, struct text *out);

#endif
