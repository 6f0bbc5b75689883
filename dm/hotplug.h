/* SPDX-License-Identifier: MIT */
/* dm/hotplug.h - PCI cards that come and go while the guest runs. Everything under the machine lock. */
#ifndef DM_HOTPLUG_H
#define DM_HOTPLUG_H

#include <stdbool.h>

struct device;
struct err;
struct keel;
struct keyval;

/* Before the board is built: who removes what the guest ejects. */
void hotplug_init(struct keel *k);
/* Whether device_add can make one of these. */
bool hotplug_can(const char *driver);
/* kv as -device has it. 0, or -errno with e. */
int hotplug_add(struct keel *k, struct keyval *kv, struct err *e);
/* Asks the guest to let go of d; DEVICE_DELETED says when it has. */
int hotplug_del(struct keel *k, struct device *d, struct err *e);
/* The machine is being reset: who was asked to go is gone. */
void hotplug_reset(struct keel *k);

#endif
