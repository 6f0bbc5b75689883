/* SPDX-License-Identifier: MIT */
/* net/none.c - a cable that ends nowhere, also a replay's: frames come from the trace there. */
#include "net/net.h"

#include "dm/base/util.h"

static bool none_send(struct nic *n, const struct nic_frame *f)
{
    (void)n, (void)f;
    return true;
}

struct nic *net_none_new(struct ev_loop *loop, const char *id, const char *kind)
{
    static const struct nic_ops ops = { .kind = "none", .send = none_send };
    struct nic *n = nic_new(loop, id, &ops);
    n->info = xstrdup(kind);
    n->tx_takes = NIC_TAKES_ALL;
    return n;
}
