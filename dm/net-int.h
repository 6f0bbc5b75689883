/* SPDX-License-Identifier: MIT */
/* dm/net-int.h - what the files about -netdev share: makers turn parameters into a back end. */
#ifndef DM_NET_INT_H
#define DM_NET_INT_H

#include "dm/net.h"

#include "dm/keyval.h"

struct maker {
    struct backends *b;
    const char *id;
    struct keyval *kv;
    struct err *e;
};

/* Each makes the back end called m->id of m->kv, or NULL with m->e. */
struct nic *net_make_tap(struct maker *m);
struct nic *net_make_bridge(struct maker *m);
struct nic *net_make_user(struct maker *m);

/* fd=N, fds=N:N:..., or queues= into o; room for NIC_QUEUES_MAX at fds. 0, or -EINVAL with m->e. */
int net_tap_queues(struct maker *m, struct tap_options *o, int *fds);

#endif
