/* SPDX-License-Identifier: MIT */
/* dm/qmp-bitmap.c - QMP: dirty bitmaps, and transactions. */
#include "dm/qmp-node.h"

#include "block/bitmap.h"
#include "block/job.h"
#include "block/qcow2.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/keel.h"

#include <stdlib.h>
#include <string.h>

/* ---- bitmaps ---- */

static struct bitmap *find(struct qmp_call *c, const char *node, const char *name)
{
    struct node *n = qmp_node(c, node);
    struct bitmap *b = n ? bitmap_find(n, name) : NULL;

    if (n && !b) {
        qmp_fail(c, NULL, "Dirty bitmap '%.200s' not found", name);
    }
    return b;
}

static struct bitmap *find_usable(struct qmp_call *c)
{
    struct bitmap *b = find(c, qmp_str(c, "node"), qmp_str(c, "name"));

    return b && bitmap_usable(b, &c->err) == 0 ? b : NULL;
}

static void drop_bitmap(struct qmp_call *c, void *p)
{
    (void)c;
    bitmap_free(p);
}

static bool do_bitmap_add(struct qmp_call *c, struct txn_step *step)
{
    struct node *n = qmp_node(c, qmp_str(c, "node"));
    int64_t granularity = qmp_int(c, "granularity", 0);
    bool persistent = qmp_bool(c, "persistent", false);

    if (!n) {
        return false;
    }
    if (granularity < 0 || granularity > UINT32_MAX) {
        return qmp_fail(c, NULL, "Granularity must be power of 2 and at least 512");
    }
    if (persistent && !qcow2_is(node_skip_filters(n))) {
        return qmp_fail(c, NULL, "Driver '%s' does not support persistent bitmaps", n->ops->name);
    }
    struct bitmap *b = bitmap_new(n, qmp_str(c, "name"), (uint32_t)granularity, &c->err);
    if (!b) {
        return false;
    }
    b->persistent = persistent;
    b->recording = !qmp_bool(c, "disabled", false);
    *step = (struct txn_step){ drop_bitmap, NULL, b };
    return true;
}

static json_t *do_bitmap_remove(struct qmp_call *c)
{
    struct bitmap *b = find(c, qmp_str(c, "node"), qmp_str(c, "name"));

    if (!b) {
        return NULL;
    }
    if (b->busy) {
        return qmp_fail(c, NULL,
                        "Bitmap '%.200s' is currently in use by another operation and cannot be "
                        "used",
                        b->name);
    }
    bitmap_free(b);
    return qmp_ok();
}

/* What a bitmap was, to take a change of it back. */
struct before {
    struct bitmap *b, *copy;
    bool recording;
};

static void before_done(struct qmp_call *c, void *p)
{
    struct before *o = p;

    (void)c;
    bitmap_free(o->copy);
    free(o);
}

static void before_undo(struct qmp_call *c, void *p)
{
    struct before *o = p;

    o->b->recording = o->recording;
    if (o->copy) {
        bitmap_swap(o->b, o->copy);
    }
    before_done(c, o);
}

/* bits: they change too, not only whether it records. */
static bool remember(struct qmp_call *c, struct bitmap *b, bool bits, struct txn_step *step)
{
    struct before *o = xcalloc(1, sizeof(*o));

    *o = (struct before){ .b = b, .recording = b->recording };
    *step = (struct txn_step){ before_undo, before_done, o };
    if (bits) {
        o->copy = bitmap_new(b->node, "#before", 1u << b->granularity_bits, &c->err);
        if (!o->copy) {
            free(o);
            return false;
        }
        o->copy->recording = false;
        bitmap_merge(o->copy, b);
    }
    return true;
}

static bool do_bitmap_clear(struct qmp_call *c, struct txn_step *step)
{
    struct bitmap *b = find_usable(c);

    if (!b || !remember(c, b, true, step)) {
        return false;
    }
    bitmap_clear(b, 0, b->len);
    return true;
}

static bool set_recording(struct qmp_call *c, struct txn_step *step, bool on)
{
    struct bitmap *b = find_usable(c);

    if (!b || !remember(c, b, false, step)) {
        return false;
    }
    b->recording = on;
    return true;
}

static bool do_bitmap_enable(struct qmp_call *c, struct txn_step *step)
{
    return set_recording(c, step, true);
}

static bool do_bitmap_disable(struct qmp_call *c, struct txn_step *step)
{
    return set_recording(c, step, false);
}

/* "name", of target's node, or {"node": N, "name": B}. */
static struct bitmap *merge_source(struct qmp_call *c, json_t *v)
{
    const char *node = qmp_str(c, "node"), *name = json_string_value(v);

    if (json_is_object(v)) {
        node = json_string_value(json_object_get(v, "node"));
        name = json_string_value(json_object_get(v, "name"));
    }
    if (!node || !name) {
        qmp_fail(c, NULL, "Invalid parameter type for 'bitmaps', expected: string or object");
        return NULL;
    }
    struct bitmap *b = find(c, node, name);
    return b && bitmap_usable(b, &c->err) == 0 ? b : NULL;
}

static bool do_bitmap_merge(struct qmp_call *c, struct txn_step *step)
{
    struct bitmap *to = find(c, qmp_str(c, "node"), qmp_str(c, "target")), *from;
    json_t *v;
    size_t i;

    if (!to || bitmap_usable(to, &c->err) < 0 || !remember(c, to, true, step)) {
        return false;
    }
    json_array_foreach(json_object_get(c->args, "bitmaps"), i, v)
    {
        from = merge_source(c, v);
        if (from && bitmap_merge(to, from) < 0) {
            qmp_fail(c, NULL, "Bitmaps are of different sizes and can't be merged");
            from = NULL;
        }
        if (!from) {
            step->undo(c, step->p);
            return false;
        }
    }
    return true;
}

#define BITMAP_ADD "node:s name:s granularity:i? persistent:b? disabled:b?"

const struct txn_action txn_bitmap_actions[] = {
    { "block-dirty-bitmap-add", BITMAP_ADD, do_bitmap_add },
    { "block-dirty-bitmap-clear", "node:s name:s", do_bitmap_clear },
    { "block-dirty-bitmap-disable", "node:s name:s", do_bitmap_disable },
    { "block-dirty-bitmap-enable", "node:s name:s", do_bitmap_enable },
    { "block-dirty-bitmap-merge", "node:s target:s bitmaps:a", do_bitmap_merge },
    { 0 },
};

/* ---- transactions ---- */

json_t *txn_one(struct qmp_call *c, bool (*run)(struct qmp_call *c, struct txn_step *step))
{
    struct txn_step step = { 0 };

    jobs_hold(c->k->be.jobs, NULL);
    bool ok = run(c, &step);
    if (ok && step.done) {
        step.done(c, step.p);
    }
    jobs_release(c->k->be.jobs);
    return ok ? qmp_ok() : NULL;
}

static bool do_abort(struct qmp_call *c, struct txn_step *step)
{
    (void)step;
    qmp_fail(c, NULL, "Transaction aborted using Abort action");
    return false;
}

static const struct txn_action abort_action[] = { { "abort", "", do_abort }, { 0 } };

static const struct txn_action *find_action(const char *type)
{
    static const struct txn_action *const tables[] = { txn_snapshot_actions, txn_bitmap_actions,
                                                       txn_job_actions, abort_action };

    for (size_t t = 0; t < ARRAY_SIZE(tables); t++) {
        for (const struct txn_action *a = tables[t]; a->name; a++) {
            if (strcmp(a->name, type) == 0) {
                return a;
            }
        }
    }
    return NULL;
}

static bool run_action(struct qmp_call *c, const json_t *action, struct txn_step *step)
{
    const char *type = json_string_value(json_object_get(action, "type"));
    const struct txn_action *a = type ? find_action(type) : NULL;
    json_t *data = json_object_get(action, "data"), *was = c->args;

    if (!a) {
        return qmp_fail(c, NULL, "Parameter 'type' does not accept value '%.60s'",
                        type ? type : "");
    }
    if (!json_is_object(data)) {
        return qmp_fail(c, NULL, "Parameter 'data' is missing");
    }
    c->args = data;
    bool ok = qmp_check_args(c, a->schema) && a->run(c, step);
    c->args = was;
    return ok;
}

static json_t *do_transaction(struct qmp_call *c)
{
    json_t *actions = json_object_get(c->args, "actions");
    const char *mode = json_string_value(
        json_object_get(json_object_get(c->args, "properties"), "completion-mode"));
    size_t n = json_array_size(actions), i;
    struct txn_step *steps = xcalloc(n + 1, sizeof(*steps));
    bool ok = true;

    if (mode && strcmp(mode, "individual") != 0) {
        free(steps);
        return qmp_fail(c, NULL, "completion-mode '%.60s': Keel does not have it yet", mode);
    }
    jobs_hold(c->k->be.jobs, NULL);
    for (i = 0; i < n && ok; i++) {
        ok = run_action(c, json_array_get(actions, i), &steps[i]);
    }
    struct err why = c->err; /* taking steps back may fail too */
    for (i = ok ? i : i - 1; i > 0; i--) {
        struct txn_step *s = &steps[i - 1];
        void (*end)(struct qmp_call *, void *) = ok ? s->done : s->undo;
        if (end) {
            end(c, s->p);
        }
    }
    c->err = why;
    jobs_release(c->k->be.jobs);
    free(steps);
    return ok ? qmp_ok() : NULL;
}

#define ONE(name)                                                                                  \
    static json_t *one_##name(struct qmp_call *c)                                                  \
    {                                                                                              \
        return txn_one(c, do_bitmap_##name);                                                       \
    }
ONE(add)
ONE(clear)
ONE(disable)
ONE(enable)
ONE(merge)

const struct qmp_command qmp_commands_bitmap[] = {
    { "block-dirty-bitmap-add", BITMAP_ADD, one_add },
    { "block-dirty-bitmap-clear", "node:s name:s", one_clear },
    { "block-dirty-bitmap-disable", "node:s name:s", one_disable },
    { "block-dirty-bitmap-enable", "node:s name:s", one_enable },
    { "block-dirty-bitmap-merge", "node:s target:s bitmaps:a", one_merge },
    { "block-dirty-bitmap-remove", "node:s name:s", do_bitmap_remove },
    { "transaction", "actions:a properties:o?", do_transaction },
    { 0 },
};
