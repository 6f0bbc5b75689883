/* SPDX-License-Identifier: MIT */
/* dm/hmp-drive.h - drives that come and go: the monitor's drive_add and drive_del. */
#ifndef DM_HMP_DRIVE_H
#define DM_HMP_DRIVE_H

struct keel;
struct text;

/* word as hmp.c split it: "drive_add" [DUMMY] OPTIONS; "drive_del" ID. */
void hmp_drive_add(struct keel *k, char *const word[], struct text *out);
void hmp_drive_del(struct keel *k, char *const word[], struct text *out);

#endif
