/* SPDX-License-Identifier: MIT */
/* dm/qmp-watch.c - QMP: being told when a node fills up, and how long a disk's requests take. */
#include "dm/qmp-node.h"

#include "block/blk.h"
#include "dm/base/util.h"
#include "dm/keel.h"
#include "dm/monitor.h"
#include "dm/qmp-block.h"

#include <stdlib.h>
#include <string.h>

/* ---- block-set-write-threshold ---- */

static void crossed(void *opaque, struct node *n, uint64_t end)
{
    monitor_event(opaque, "BLOCK_WRITE_THRESHOLD",
                  json_pack("{s:o, s:I, s:I}", "node-name", qmp_text(node_name(n)),
                            "amount-exceeded", (json_int_t)(end - n->write_threshold),
                            "write-threshold", (json_int_t)n->write_threshold));
}

static json_t *do_set_threshold(struct qmp_call *c)
{
    const char *name = qmp_str(c, "node-name");
    struct node *n = graph_find(c->k->be.graph, name);

    if (!n) {
        return qmp_fail(c, NULL, "Device '%.100s' not found", name);
    }
    n->write_threshold = (uint64_t)qmp_int(c, "write-threshold", 0);
    node_ctx_on_threshold(c->k->be.graph, crossed, c->k);
    return qmp_ok();
}

/* ---- block-latency-histogram-set ---- */

/* By the device's id, or its place in the tree of objects as query-block has it. */
static struct drive *find_device(struct qmp_call *c, const char *id)
{
    struct drive *d = c->k->be.drives;

    for (bool found = false; d; d = found ? d : d->next) {
        json_t *qdev = d->dev_id[0] ? drive_qdev_json(c->k->m, d) : NULL;
        found = qdev && (strcmp(d->dev_id, id) == 0 || strcmp(json_string_value(qdev), id) == 0);
        json_decref(qdev);
        if (found) {
            return d;
        }
    }
    qmp_fail(c, "DeviceNotFound", "Device '%.100s' not found", id);
    return NULL;
}

/* One list of boundaries for one kind of request. */
static bool set_one(struct qmp_call *c, struct drive *d, const char *list, enum blk_op op,
                    const char *what)
{
    const json_t *v = json_object_get(c->args, list), *one;
    size_t n = json_array_size(v), i;
    uint64_t *boundary = xcalloc(n + 1, sizeof(*boundary));
    bool ok = true;

    json_array_foreach(v, i, one)
    {
        if (!json_is_integer(one) && ok) {
            ok = qmp_fail(c, NULL, "Parameter '%s[%zu]' expects uint64", list, i);
        }
        boundary[i] = (uint64_t)json_integer_value(one);
    }
    if (ok && blk_count_latency(d->blk, op, boundary, n) < 0) {
        ok = qmp_fail(c, NULL, "Device '%.100s' set %s boundaries fail", qmp_str(c, "id"), what);
    }
    free(boundary);
    return ok;
}

static json_t *do_set_histogram(struct qmp_call *c)
{
    static const struct {
        const char *list, *what;
        enum blk_op op;
    } kinds[] = { { "boundaries-read", "read", BLK_READ },
                  { "boundaries-write", "write", BLK_WRITE },
                  { "boundaries-flush", "flush", BLK_FLUSH } };
    struct drive *d = find_device(c, qmp_str(c, "id"));
    bool any = json_object_get(c->args, "boundaries");

    for (size_t i = 0; i < ARRAY_SIZE(kinds) && d; i++) {
        bool own = json_object_get(c->args, kinds[i].list);
        any |= own;
        if ((own || json_object_get(c->args, "boundaries")) &&
            !set_one(c, d, own ? kinds[i].list : "boundaries", kinds[i].op, kinds[i].what)) {
            return NULL;
        }
    }
    if (d && !any) {
        blk_count_no_latency(d->blk);
    }
    return d ? qmp_ok() : NULL;
}

const struct qmp_command qmp_commands_watch[] = {
    { "block-latency-histogram-set",
      "id:s boundaries:a? boundaries-read:a? boundaries-write:a? boundaries-flush:a?",
      do_set_histogram },
    { "block-set-write-threshold", "node-name:s write-threshold:i", do_set_threshold },
    { 0 },
};
