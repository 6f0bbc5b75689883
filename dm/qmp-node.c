/* SPDX-License-Identifier: MIT */
/* dm/qmp-node.c - nodes of the block graph in QMP: naming, describing, adding and resizing them. */
#include "dm/qmp-node.h"

#include "block/bitmap.h"
#include "block/format.h"
#include "block/job.h"
#include "block/qcow2.h"
#include "block/throttle.h"
#include "dm/base/util.h"
#include "dm/blockdev.h"
#include "dm/keel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- finding ---- */

/* A filter that nobody asked for by name. */
static bool own_filter(const struct node *n)
{
    return n->ops->filter && (n->ops->own || !n->name[0] || n->name[0] == '#');
}

struct node *drive_node(const struct drive *d)
{
    struct node *n = blk_present(d->blk) ? blk_image_node(blk_image(d->blk)) : NULL;

    while (n && own_filter(n)) {
        n = n->file;
    }
    return n;
}

struct drive *node_drive(const struct qmp_call *c, const struct node *n)
{
    struct drive *d = c->k->be.drives;

    while (d && drive_node(d) != n) {
        d = d->next;
    }
    return d;
}

struct node *qmp_node_named(struct qmp_call *c, const char *name)
{
    struct node *n = graph_find(c->k->be.graph, name);

    if (!n) {
        qmp_fail(c, "GenericError", "Cannot find device='' nor node-name='%.100s'", name);
    }
    return n;
}

struct node *qmp_node(struct qmp_call *c, const char *device)
{
    struct drive *d = drive_find_any(&c->k->be, device, device);
    struct node *n = d ? drive_node(d) : graph_find(c->k->be.graph, device);

    if (d && !n) {
        qmp_fail(c, "GenericError", "Device '%.100s' has no medium", device);
    } else if (!n) {
        qmp_fail(c, "GenericError", "Cannot find device='%.100s' nor node-name='%.100s'", device,
                 device);
    }
    return n;
}

struct node *qmp_node_arg(struct qmp_call *c)
{
    const char *device = qmp_str(c, "device"), *name = qmp_str(c, "node-name");

    if (device && *device) {
        return qmp_node(c, device);
    }
    return name ? qmp_node_named(c, name)
                : (qmp_fail(c, "GenericError", "Need a 'device' or a 'node-name'"), NULL);
}

void drives_resized(struct keel *k, const struct node *n)
{
    for (struct drive *d = k->be.drives; d; d = d->next) {
        struct node *top = blk_present(d->blk) ? blk_image_node(blk_image(d->blk)) : NULL;
        void *opaque;
        const struct blk_user *u = blk_user(d->blk, &opaque);
        if (top && node_stands_on(top, n)) {
            blk_image_resized(blk_image(d->blk));
            if (u && u->medium_changed) {
                u->medium_changed(opaque);
            }
        }
    }
}

/* ---- describing ---- */

static json_t *bitmaps_json(struct node *n)
{
    json_t *list = json_array();

    for (struct bitmap *b = n->bitmaps; b; b = b->next) {
        if (b->name[0] != '#') {
            json_t *o =
                json_pack("{s:o, s:I, s:I, s:b, s:b, s:b}", "name", qmp_text(b->name), "count",
                          (json_int_t)bitmap_dirty_bytes(b), "granularity",
                          (json_int_t)1 << b->granularity_bits, "recording", (int)b->recording,
                          "busy", (int)b->busy, "persistent", (int)b->persistent);
            if (b->inconsistent) {
                json_object_set_new(o, "inconsistent", json_true());
            }
            json_array_append_new(list, o);
        }
    }
    return list;
}

void node_limits_json(json_t *info, const struct throttle_group *g)
{
    static const char *const names[] = { "bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr" };
    static const struct throttle_limits none;
    const struct throttle_limits *l = g ? throttle_group_limits(g) : &none;

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char max[24], length[32];
        snprintf(max, sizeof(max), "%s_max", names[i]);
        snprintf(length, sizeof(length), "%s_max_length", names[i]);
        json_object_set_new(info, names[i], json_integer((json_int_t)l->avg[i]));
        if (l->max[i]) {
            json_object_set_new(info, max, json_integer((json_int_t)l->max[i]));
            json_object_set_new(info, length, json_integer((json_int_t)max_u64(l->length[i], 1)));
        }
    }
    if (l->iops_size) {
        json_object_set_new(info, "iops_size", json_integer((json_int_t)l->iops_size));
    }
    if (g && throttle_group_name(g)[0]) {
        json_object_set_new(info, "group", qmp_text(throttle_group_name(g)));
    }
}

json_t *node_info_json(struct node *n, bool chain)
{
    static const char *const zeroes[] = { "off", "on", "unmap" };
    enum blk_cache cache = file_cache(image_protocol(n));
    bool direct = cache == BLK_NONE || cache == BLK_DIRECTSYNC;
    bool through = cache == BLK_WRITETHROUGH || cache == BLK_DIRECTSYNC;
    int depth = 0;

    for (const struct node *b = node_skip_filters(n); b && b->backing;
         b = node_skip_filters(b->backing)) {
        depth++;
    }
    json_t *info =
        json_pack("{s:o, s:o, s:b, s:s, s:i, s:b, s:s, s:I, s:o, s:{s:b, s:b, s:b}}", "file",
                  qmp_text(n->filename), "node-name", qmp_text(node_name(n)), "ro",
                  (int)n->read_only, "drv", n->ops->name, "backing_file_depth", depth, "encrypted",
                  (int)image_encrypted(node_skip_filters(n)), "detect_zeroes",
                  zeroes[n->detect_zeroes], "write_threshold", (json_int_t)n->write_threshold,
                  "image", image_json(node_skip_filters(n), chain), "cache", "no-flush",
                  cache == BLK_UNSAFE, "direct", (int)direct, "writeback", (int)!through);
    if (n->backing) {
        json_object_set_new(info, "backing_file", qmp_text(n->backing->filename));
    }
    node_limits_json(info, throttle_group_of(n));
    json_t *bitmaps = bitmaps_json(n);
    if (json_array_size(bitmaps)) {
        json_object_set_new(info, "dirty-bitmaps", bitmaps);
    } else {
        json_decref(bitmaps);
    }
    return info;
}

struct listing {
    json_t *list;
    bool chain;
};

static void list_node(void *opaque, struct node *n)
{
    if (!n->ops->own) {
        const struct listing *l = opaque;
        json_array_append_new(l->list, node_info_json(n, l->chain));
    }
}

static json_t *query_nodes(struct qmp_call *c)
{
    struct listing l = { json_array(), !qmp_bool(c, "flat", false) };

    graph_name_all(c->k->be.graph);
    graph_each(c->k->be.graph, list_node, &l);
    return l.list;
}

/* ---- adding and resizing ---- */

static json_t *do_add(struct qmp_call *c)
{
    return blockdev_add_json(&c->k->be, c->args, &c->err) < 0 ? NULL : qmp_ok();
}

static json_t *do_del(struct qmp_call *c)
{
    return blockdev_del(&c->k->be, qmp_str(c, "node-name"), &c->err) < 0 ? NULL : qmp_ok();
}

static json_t *do_resize(struct qmp_call *c)
{
    int64_t size = qmp_int(c, "size", 0);
    struct node *n = qmp_node_arg(c);

    if (!n || job_node_free(n, &c->err) < 0) {
        return NULL;
    }
    if (size < 0 || size > INT64_MAX - 511) {
        return qmp_fail(c, NULL, "Parameter 'size' expects a >0 size");
    }
    jobs_hold(c->k->be.jobs, NULL);
    int ret = node_resize(n, ((uint64_t)size + 511) & ~511ull, &c->err);
    if (ret == 0) {
        drives_resized(c->k, n);
    }
    jobs_release(c->k->be.jobs);
    return ret < 0 ? NULL : qmp_ok();
}

/* ---- images for jobs ---- */

static int create(const struct new_image *o, const char *format, struct err *e)
{
    const struct format *f = format_find(format);
    struct format_create make = { .size = o->size,
                                  .backing_file = o->backing,
                                  .backing_format = o->backing ? o->backing_format : NULL };
    int ret = file_create(o->filename, f ? 0 : o->size, e);

    if (ret < 0 || !f) {
        return ret;
    }
    bool qcow2 = strcmp(format, "qcow2") == 0;
    if (!f->create && !qcow2) {
        return err_set(e, -ENOTSUP, "format '%s' cannot be made", format);
    }
    struct node_ctx *c = node_ctx_new(NULL);
    struct file_open open = { .filename = o->filename, .fd = -1, .growable = true, .lock = true };
    struct node *file = file_open(c, &open, e);
    if (!file) {
        ret = e->code;
    } else if (qcow2) {
        struct qcow2_create q = { .size = o->size,
                                  .version = 3,
                                  .cluster_bits = 16,
                                  .refcount_bits = 16,
                                  .backing_file = make.backing_file,
                                  .backing_format = make.backing_format };
        ret = qcow2_create(file, &q, e);
    } else {
        ret = f->create(file, &make, e);
    }
    node_close(file);
    node_ctx_free(c);
    return ret;
}

struct node *qmp_new_image(struct qmp_call *c, const struct new_image *o)
{
    const char *format = o->format ? o->format : image_format(o->like);
    enum blk_cache cache = file_cache(image_protocol(o->like));

    if (!image_format_had(format)) {
        qmp_fail(c, NULL, "Unknown driver '%.60s'", format);
        return NULL;
    }
    if (!o->existing && create(o, format, &c->err) < 0) {
        return NULL;
    }
    struct image_open open = { .filename = o->filename,
                               .fd = -1,
                               .format = format,
                               .no_backing = true,
                               .lock = true,
                               .discard = true,
                               .cache = cache };
    return image_open(c->k->be.graph, &open, &c->err);
}

const struct qmp_command qmp_commands_node[] = {
    { "block_resize", "device:s? node-name:s? size:i", do_resize },
    { "blockdev-add", "driver:s *", do_add },
    { "blockdev-del", "node-name:s", do_del },
    { "query-named-block-nodes", "flat:b?", query_nodes },
    { 0 },
};
