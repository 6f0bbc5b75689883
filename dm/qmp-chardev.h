/* SPDX-License-Identifier: MIT */
/* dm/qmp-chardev.h - adding a character stream while the machine runs, for QMP and HMP. */
#ifndef DM_QMP_CHARDEV_H
#define DM_QMP_CHARDEV_H

struct err;
struct keel;

/* spec: what follows -chardev. 0, or -errno with e: also when it would have the machine wait. */
int chardev_add_running(struct keel *k, const char *spec, struct err *e);

#endif
