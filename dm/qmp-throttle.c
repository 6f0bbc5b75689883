/* SPDX-License-Identifier: MIT */
/* dm/qmp-throttle.c - QMP's block_set_io_throttle: other limits for a drive in use. docs/block.md 8. */
#include "dm/qmp-node.h"

#include "block/blk.h"
#include "block/job.h"
#include "block/throttle.h"
#include "dm/base/util.h"
#include "dm/keel.h"

#include <stdio.h>
#include <string.h>

static struct drive *find_drive(struct qmp_call *c)
{
    const char *device = qmp_str(c, "device"), *id = qmp_str(c, "id");
    const char *name = device ? device : id;
    struct drive *d = NULL;

    if (!device == !id) {
        qmp_fail(c, NULL, "Need exactly one of 'device' and 'id'");
        return NULL;
    }
    d = device ? drive_find(&c->k->be, device) : drive_find_any(&c->k->be, NULL, id);
    if (!d) {
        qmp_fail(c, "DeviceNotFound", "Device '%.100s' not found", name);
    } else if (!blk_present(d->blk) || !blk_image_node(blk_image(d->blk))) {
        qmp_fail(c, NULL, "Device has no medium");
        d = NULL;
    }
    return d;
}

static bool take_limits(struct qmp_call *c, struct throttle_limits *l)
{
    static const char *const names[] = { "bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr" };

    /* What is below zero is far above what may be. */
    l->iops_size = (uint64_t)qmp_int(c, "iops_size", 0);
    for (size_t i = 0; i < THROTTLE_LIMITS; i++) {
        char max[24], length[32];
        snprintf(max, sizeof(max), "%s_max", names[i]);
        snprintf(length, sizeof(length), "%s_max_length", names[i]);
        l->avg[i] = (uint64_t)qmp_int(c, names[i], 0);
        l->max[i] = (uint64_t)qmp_int(c, max, 0);
        l->length[i] = (uint64_t)qmp_int(c, length, 1);
        if (l->length[i] == 0) {
            return qmp_fail(c, NULL, "the burst length cannot be 0");
        }
    }
    return throttle_check(l, &c->err) == 0;
}

/* The one that is named, else the one it is in, else one by the drive's own name. */
static struct throttle_group *choose_group(struct qmp_call *c, const struct drive *d)
{
    const char *name = qmp_str(c, "group");

    if (!name && d->open.throttle) {
        return d->open.throttle;
    }
    name = name ? name : d->id;
    struct throttle_group *g = throttle_group_find(c->k->be.throttles, name);
    return g ? g : throttle_group_new(&c->k->be.throttles, name);
}

static json_t *do_set(struct qmp_call *c)
{
    static const struct throttle_limits none;
    struct throttle_limits l = { 0 };
    struct drive *d = find_drive(c);

    if (!d || !take_limits(c, &l)) {
        return NULL;
    }
    bool limited = memcmp(l.avg, none.avg, sizeof(l.avg)) != 0;
    jobs_hold(c->k->be.jobs, NULL);
    d->open.throttle = limited ? choose_group(c, d) : NULL; /* its next medium's too */
    blk_image_throttle(blk_image(d->blk), d->open.throttle);
    if (limited) {
        throttle_group_set(d->open.throttle, &l);
    }
    jobs_release(c->k->be.jobs);
    return qmp_ok();
}

#define BURST(name) name "_max:i? " name "_max_length:i? "

const struct qmp_command qmp_commands_throttle[] = {
    { "block_set_io_throttle",
      "device:s? id:s? bps:i bps_rd:i bps_wr:i iops:i iops_rd:i iops_wr:i iops_size:i? "
      "group:s? " BURST("bps") BURST("bps_rd") BURST("bps_wr") BURST("iops") BURST("iops_rd")
          BURST("iops_wr"),
      do_set },
    { 0 },
};
