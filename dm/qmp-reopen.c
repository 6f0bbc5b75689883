/* SPDX-License-Identifier: MIT */
/* dm/qmp-reopen.c - QMP's blockdev-reopen: other options for nodes in use, and change-backing-file.
 *
 * The options of each node are given anew, all of them: what is left out is as blockdev-add has it. What can
 * be changed is read-only, discard, detect-zeroes, the backing node and the group of a throttle node; any
 * other option has to be what it is. Either all nodes change, or none.
 */
#include "dm/qmp-node.h"

#include "block/file.h"
#include "block/job.h"
#include "block/jobs.h"
#include "block/open.h"
#include "block/qcow2.h"
#include "block/throttle.h"
#include "dm/base/util.h"
#include "dm/keel.h"

#include <stdlib.h>
#include <string.h>

struct reopen {
    struct node *n, *backing;
    struct throttle_group *group;
    bool read_only, discard, new_backing;
    enum node_zeroes zeroes;
    bool written; /* somebody above it may write */
    bool was_read_only, changed;
};

static bool cannot_change(struct qmp_call *c, const char *option)
{
    return qmp_fail(c, NULL, "Cannot change the option '%.60s'", option);
}

/* ---- the options ---- */

/* An option as it was given: to r, or the error. */
#define TAKER(name)                                                                                \
    static bool name(struct qmp_call *c, struct reopen *r, const char *key, const json_t *v)

TAKER(take_nothing)
{
    (void)c, (void)r, (void)key, (void)v;
    return true;
}

/* What the node has. */
static bool take_same(struct qmp_call *c, const char *key, const json_t *v, const char *is)
{
    const char *s = json_string_value(v);

    return (s && is && strcmp(s, is) == 0) || cannot_change(c, key);
}

TAKER(take_driver)
{
    const char *s = json_string_value(v), *is = r->n->ops->name;
    bool file = strcmp(is, "file") == 0;

    return (file && s && (strcmp(s, "host_device") == 0 || strcmp(s, "host_cdrom") == 0)) ||
           take_same(c, key, v, is);
}

TAKER(take_filename)
{
    return take_same(c, key, v, r->n->filename);
}

TAKER(take_file)
{
    return take_same(c, key, v, r->n->file ? node_name(r->n->file) : NULL);
}

TAKER(take_data_file)
{
    return take_same(c, key, v, r->n->other ? node_name(r->n->other) : NULL);
}

TAKER(take_read_only)
{
    (void)c, (void)key;
    r->read_only = json_is_true(v);
    return true;
}

TAKER(take_discard)
{
    static const char *const words[] = { "ignore", "off", "unmap", "on", NULL };
    int word = qmp_word(c, key, words, 0);

    (void)v;
    r->discard = word >= 2;
    return word >= 0;
}

TAKER(take_zeroes)
{
    static const char *const words[] = { "off", "on", "unmap", NULL };
    int word = qmp_word(c, key, words, 0);

    (void)v;
    r->zeroes = (enum node_zeroes)word;
    return word >= 0;
}

TAKER(take_backing)
{
    const char *name = json_string_value(v);

    if (!r->n->file || r->n->ops->filter) {
        return cannot_change(c, key);
    }
    r->new_backing = true;
    if (json_is_null(v) || (name && !*name)) {
        return true;
    }
    r->backing = name ? qmp_node_named(c, name) : NULL;
    if (!name) {
        qmp_fail(c, NULL, "backing: a node has to be named");
    }
    if (!r->backing || r->backing == r->n->backing) {
        return r->backing;
    }
    if (node_stands_on(r->backing, r->n)) {
        return qmp_fail(c, NULL, "Making '%s' a backing child of '%s' would create a cycle", name,
                        node_name(r->n));
    }
    return !graph_has_parent(r->backing) || r->backing->read_only ||
           qmp_fail(c, NULL, "Node '%s' is in use", name);
}

TAKER(take_group)
{
    const char *name = json_string_value(v);

    if (!throttle_group_of(r->n)) {
        return cannot_change(c, key);
    }
    r->group = name ? throttle_group_find(c->k->be.throttles, name) : NULL;
    return r->group || qmp_fail(c, NULL, "Throttle group '%.60s' does not exist", name ? name : "");
}

static const struct {
    const char *name;
    bool (*take)(struct qmp_call *c, struct reopen *r, const char *key, const json_t *v);
} options[] = {
    { "auto-read-only", take_nothing },
    { "backing", take_backing },
    { "cache", take_nothing }, /* check_cache, also when it is not given */
    { "data-file", take_data_file },
    { "detect-zeroes", take_zeroes },
    { "discard", take_discard },
    { "driver", take_driver },
    { "encrypt", take_nothing }, /* a passphrase was for opening it */
    { "file", take_file },
    { "filename", take_filename },
    { "key-secret", take_nothing },
    { "node-name", take_nothing },
    { "read-only", take_read_only },
    { "throttle-group", take_group },
};

static bool take_option(struct qmp_call *c, struct reopen *r, const char *key, const json_t *v)
{
    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        if (strcmp(options[i].name, key) == 0) {
            return options[i].take(c, r, key, v);
        }
    }
    return cannot_change(c, key);
}

/* ---- what they mean together ---- */

/* Caching is as it was asked for when the file was opened. */
static bool check_cache(struct qmp_call *c, const struct reopen *r, const json_t *v)
{
    enum blk_cache cache = file_cache(image_protocol(r->n));
    bool direct = cache == BLK_NONE || cache == BLK_DIRECTSYNC;

    if (json_is_true(json_object_get(v, "direct")) != direct) {
        return cannot_change(c, "cache.direct");
    }
    return json_is_true(json_object_get(v, "no-flush")) == (cache == BLK_UNSAFE) ||
           cannot_change(c, "cache.no-flush");
}

static void find_writer(void *opaque, struct node *u)
{
    struct reopen *r = opaque;

    r->written |= u->file == r->n && !u->read_only;
}

/* Whoever writes to it needs it writable. */
static bool check_users(struct qmp_call *c, struct reopen *r)
{
    r->written = graph_has_user(r->n) && !r->n->read_only;
    graph_each(r->n->ctx, find_writer, r);
    return !r->read_only || r->n->read_only || !r->written ||
           qmp_fail(c, NULL, "Read-only block node '%s' cannot support read-write users",
                    node_name(r->n));
}

static bool take(struct qmp_call *c, struct reopen *r)
{
    const char *name = qmp_str(c, "node-name"), *key;
    json_t *v;

    r->n = name ? graph_find(c->k->be.graph, name) : NULL;
    if (!r->n) {
        return name ? qmp_fail(c, NULL, "Failed to find node with node-name='%.100s'", name)
                    : qmp_fail(c, NULL, "node-name not specified");
    }
    if (job_node_free(r->n, &c->err) < 0) {
        return false;
    }
    json_object_foreach(c->args, key, v)
    {
        if (!take_option(c, r, key, v)) {
            return false;
        }
    }
    if (r->n->backing && !r->new_backing) {
        return qmp_fail(c, NULL, "backing is missing for '%s'", node_name(r->n));
    }
    if (r->zeroes == NODE_ZEROES_UNMAP && !r->discard) {
        return qmp_fail(c, NULL,
                        "setting detect-zeroes to unmap is not allowed without setting discard "
                        "operation to unmap");
    }
    return check_cache(c, r, json_object_get(c->args, "cache")) && check_users(c, r);
}

/* ---- the change ---- */

/* What can fail; the rest is for finish. */
static bool change(struct qmp_call *c, struct reopen *r)
{
    r->was_read_only = r->n->read_only;
    if (r->read_only != r->n->read_only && node_reopen(r->n, r->read_only, &c->err) < 0) {
        return false;
    }
    r->changed = true;
    return true;
}

static void undo(struct reopen *r)
{
    struct err unused;

    if (r->changed && r->n->read_only != r->was_read_only) {
        node_reopen(r->n, r->was_read_only, &unused);
    }
}

static void finish(struct reopen *r)
{
    struct node *old = r->n->backing;

    r->n->detect_zeroes = r->zeroes;
    if (qcow2_is(r->n)) {
        qcow2_pass_discard(r->n, r->discard);
    }
    if (r->new_backing && old != r->backing) {
        r->n->backing = r->backing ? node_share(r->backing) : NULL;
        node_close(old);
    }
    if (r->group) {
        throttle_set_group(r->n, r->group);
    }
}

static bool take_all(struct qmp_call *c, struct reopen *r)
{
    json_t *all = c->args, *list = json_object_get(all, "options"), *v;
    bool ok = true;
    size_t i;

    json_array_foreach(list, i, v)
    {
        c->args = v;
        ok = ok && (json_is_object(v) ? take(c, &r[i])
                                      : (bool)qmp_fail(c, NULL,
                                                       "Invalid parameter type for 'options', "
                                                       "expected: object"));
    }
    c->args = all;
    return ok;
}

static json_t *do_reopen(struct qmp_call *c)
{
    size_t n = json_array_size(json_object_get(c->args, "options"));
    struct reopen *r = xcalloc(n + 1, sizeof(*r));
    bool ok = take_all(c, r);

    if (ok) {
        jobs_hold(c->k->be.jobs, NULL);
        for (size_t i = 0; i < n && ok; i++) {
            ok = change(c, &r[i]);
        }
        for (size_t i = 0; i < n; i++) {
            if (ok) {
                finish(&r[i]);
            } else {
                undo(&r[i]);
            }
        }
        jobs_release(c->k->be.jobs);
    }
    free(r);
    return ok ? qmp_ok() : NULL;
}

/* ---- change-backing-file ---- */

/* The chain stays as it is: only what the image says of it is another name. */
static json_t *do_change_backing(struct qmp_call *c)
{
    const char *name = qmp_str(c, "image-node-name"), *device = qmp_str(c, "device");
    struct node *disk = qmp_node(c, device), *n = disk ? qmp_node_named(c, name) : NULL;
    bool was;
    int ret;

    if (!n) {
        return NULL;
    }
    if (!n->backing) {
        return qmp_fail(c, NULL,
                        "not allowing backing file change on an image without a backing file");
    }
    if (!chain_has(disk, n)) {
        return qmp_fail(c, NULL, "'%.60s' and image file are not in the same chain", device);
    }
    if (!qcow2_is(n)) {
        return qmp_fail(c, NULL,
                        "Could not change backing file to '%.100s': Operation not supported",
                        qmp_str(c, "backing-file"));
    }
    if (job_node_free(n, &c->err) < 0) {
        return NULL;
    }
    jobs_hold(c->k->be.jobs, NULL);
    was = n->read_only;
    ret = node_reopen(n, false, &c->err);
    ret = ret < 0
              ? ret
              : qcow2_set_backing(n, qmp_str(c, "backing-file"), image_format(n->backing), &c->err);
    if (was) {
        struct err unused;
        node_reopen(n, true, ret < 0 ? &unused : &c->err);
    }
    jobs_release(c->k->be.jobs);
    return ret < 0 || c->err.code ? NULL : qmp_ok();
}

const struct qmp_command qmp_commands_reopen[] = {
    { "blockdev-reopen", "options:a", do_reopen },
    { "change-backing-file", "device:s image-node-name:s backing-file:s", do_change_backing },
    { 0 },
};
