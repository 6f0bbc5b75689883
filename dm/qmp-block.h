/* SPDX-License-Identifier: MIT */
/* dm/qmp-block.h - changing a drive's medium, for QMP and HMP. */
#ifndef DM_QMP_BLOCK_H
#define DM_QMP_BLOCK_H

#include <jansson.h>
#include <stdbool.h>

struct drive;
struct err;
struct keel;
struct machine;

/* DEVICE_TRAY_MOVED from here on, whoever moves a tray. */
void drives_watch(struct keel *k);
/* What jobs do becomes events. */
void jobs_watch_by_monitors(struct keel *k);
/* The machine runs on: requests that an error held are tried again. */
void drives_retry(struct keel *k);

bool drive_removable(const struct drive *d);
/* 0, or -EBUSY when the guest locked the tray and force is false (it is told that somebody would
 * like the medium), -EINVAL when the medium cannot leave. */
int drive_eject(struct drive *d, bool force, struct err *e);
/* Opens filename first: when that fails nothing has changed. */
int drive_change(struct keel *k, struct drive *d, const char *filename, bool force, struct err *e);

/* How QEMU names the device a drive is in: by its id, but a virtio disk by the object behind its
 * transport. */
json_t *drive_qdev_json(const struct machine *m, const struct drive *d);

#endif
