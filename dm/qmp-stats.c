/* SPDX-License-Identifier: MIT */
/* dm/qmp-stats.c - query-blockstats: what drives and nodes have done.
 *
 * A drive counts its guest's requests. A node only knows how far it has been written. There is no
 * merging of requests. Reference: QEMU 7.2 qapi/block-core.json, BlockStats.
 */
#include "block/blk.h"
#include "block/graph.h"
#include "dm/backends.h"
#include "dm/base/ev.h"
#include "dm/base/util.h"
#include "dm/keel.h"
#include "dm/qmp-block.h"
#include "dm/qmp-node.h"
#include "dm/qmp.h"

#include <stdio.h>

static void put(json_t *o, const char *before, const char *what, const char *after, uint64_t v)
{
    char key[48];

    snprintf(key, sizeof(key), "%s%s%s", before, what, after);
    json_object_set_new(o, key, json_integer((json_int_t)v));
}

static void put_histogram(json_t *o, const char *what, const struct histogram *h)
{
    json_t *boundaries = json_array(), *bins = json_array();
    char key[48];

    snprintf(key, sizeof(key), "%s_latency_histogram", what);
    for (size_t i = 0; i <= h->n; i++) {
        json_array_append_new(bins, json_integer((json_int_t)h->bin[i]));
        if (i < h->n) {
            json_array_append_new(boundaries, json_integer((json_int_t)h->boundary[i]));
        }
    }
    json_object_set_new(o, key, json_pack("{s:o, s:o}", "boundaries", boundaries, "bins", bins));
}

/* st NULL: a node's, which counts nothing. */
static json_t *stats_json(const struct blk_stats *st, uint64_t written_end)
{
    static const char *const names[BLK_OPS] = {
        [BLK_READ] = "rd", [BLK_WRITE] = "wr", [BLK_FLUSH] = "flush", [BLK_DISCARD] = "unmap"
    };
    static const struct blk_stats none;
    json_t *o = json_pack("{s:b, s:b, s:[], s:I}", "account_failed", st != NULL, "account_invalid",
                          st != NULL, "timed_stats", "wr_highest_offset", (json_int_t)written_end);

    st = st ? st : &none;
    for (unsigned i = 0; i < BLK_OPS; i++) {
        put(o, "", names[i], "_operations", st->ops[i]);
        put(o, "", names[i], "_total_time_ns", st->total_ns[i]);
        put(o, "failed_", names[i], "_operations", st->errors[i]);
        put(o, "invalid_", names[i], "_operations", st->invalid[i]);
        if (st->took[i].bin) {
            put_histogram(o, names[i], &st->took[i]);
        }
        if (i != BLK_FLUSH) {
            put(o, "", names[i], "_bytes", st->bytes[i]);
            put(o, "", names[i], "_merged", 0);
        }
    }
    if (st->last_ns) {
        put(o, "", "idle_time_ns", "", (uint64_t)(ev_now_ns() - st->last_ns));
    }
    return o;
}

static json_t *node_stats(struct node *n, bool chain)
{
    json_t *o = json_pack("{s:o, s:o}", "node-name", qmp_text(node_name(n)), "stats",
                          stats_json(NULL, n->written_end));

    if (n->file) {
        json_object_set_new(o, "parent", node_stats(n->file, chain));
    }
    if (chain && n->backing) {
        json_object_set_new(o, "backing", node_stats(n->backing, chain));
    }
    return o;
}

static json_t *drive_stats(const struct machine *m, const struct drive *d)
{
    struct node *n = drive_node(d);
    json_t *o = n ? node_stats(n, true) : json_object();

    json_object_set_new(o, "device", qmp_text(d->anonymous ? "" : d->id));
    json_object_set_new(o, "stats", stats_json(blk_stats(d->blk), n ? n->written_end : 0));
    if (d->dev_id[0]) {
        json_object_set_new(o, "qdev", drive_qdev_json(m, d));
    }
    return o;
}

static void add_node(void *opaque, struct node *n)
{
    if (!n->ops->own) {
        json_array_append_new(opaque, node_stats(n, false));
    }
}

static json_t *query_blockstats(struct qmp_call *c)
{
    json_t *list = json_array();

    graph_name_all(c->k->be.graph);
    if (qmp_bool(c, "query-nodes", false)) {
        graph_each(c->k->be.graph, add_node, list);
        return list;
    }
    for (const struct drive *d = c->k->be.drives; d; d = d->next) {
        json_array_append_new(list, drive_stats(c->k->m, d));
    }
    return list;
}

const struct qmp_command qmp_commands_stats[] = {
    { "query-blockstats", "query-nodes:b?", query_blockstats },
    { 0 },
};
