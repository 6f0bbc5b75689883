/* SPDX-License-Identifier: MIT */
/* dm/qmp-export.c - the machine's NBD server: nbd-server-start and its kin, block exports.
 *
 * An export has a share of its node. Clients may write only where no guest and no other node does.
 */
#include "block/bitmap.h"
#include "block/graph.h"
#include "block/nbd-proto.h"
#include "block/nbd-server.h"
#include "dm/base/util.h"
#include "dm/keel.h"
#include "dm/monitor.h"
#include "dm/qmp-node.h"
#include "dm/qmp.h"
#include "dm/tls-object.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct one_export {
    char *id, *name;
    struct node *node;
    struct one_export *next;
};

struct exports {
    struct nbd_server *server;
    char *path; /* of a unix socket */
    struct one_export *first;
};

static struct one_export *find(const struct exports *x, const char *id)
{
    struct one_export *o = x ? x->first : NULL;

    while (o && strcmp(o->id, id) != 0) {
        o = o->next;
    }
    return o;
}

static void drop(struct exports *x, struct one_export *o)
{
    struct one_export **at = &x->first;

    nbd_server_unexport(x->server, o->name);
    while (*at != o) {
        at = &(*at)->next;
    }
    *at = o->next;
    node_close(o->node);
    free(o->id);
    free(o->name);
    free(o);
}

void exports_free(struct backends *b)
{
    struct exports *x = b->exports;

    if (!x) {
        return;
    }
    while (x->first) {
        drop(x, x->first);
    }
    nbd_server_free(x->server);
    if (x->path) {
        unlink(x->path);
    }
    free(x->path);
    free(x);
    b->exports = NULL;
}

/* ---- the server ---- */

/* {"type": "unix", "data": {"path": ...}}, or inet with host and port. */
static int listen_at(struct qmp_call *c, const json_t *addr, char **path)
{
    const char *type = json_string_value(json_object_get(addr, "type"));
    const json_t *data = json_object_get(addr, "data");
    const char *local = json_string_value(json_object_get(data, "path"));
    const char *host = json_string_value(json_object_get(data, "host"));
    const char *port = json_string_value(json_object_get(data, "port"));

    if (type && strcmp(type, "unix") == 0 && local) {
        *path = xstrdup(local);
        return nbd_listen(local, NULL, NULL, &c->err);
    }
    if (type && strcmp(type, "inet") == 0 && host && port) {
        return nbd_listen(NULL, host, port, &c->err);
    }
    return err_set(&c->err, -EINVAL,
                   "addr: expected type unix with data.path, or inet with data.host and data.port");
}

static json_t *do_start(struct qmp_call *c)
{
    const char *id = qmp_str(c, "tls-creds");
    int64_t max = qmp_int(c, "max-connections", 0);
    struct nbd_server_open open = { .max_clients = (unsigned)max };
    char *path = NULL;

    if (c->k->be.exports) {
        return qmp_fail(c, NULL, "NBD server already running");
    }
    if (qmp_str(c, "tls-authz")) {
        return qmp_fail(c, NULL, "tls-authz: Keel does not have it yet");
    }
    if (max < 0 || max > UINT32_MAX) {
        return qmp_fail(c, NULL, "Parameter 'max-connections' expects a number of connections");
    }
    if (id && !(open.tls = tls_object_find(c->k->be.tls, id, true, &c->err))) {
        return NULL;
    }
    int fd = listen_at(c, json_object_get(c->args, "addr"), &path);
    if (fd < 0) {
        free(path);
        return NULL;
    }
    struct exports *x = xcalloc(1, sizeof(*x));
    x->path = path;
    x->server = nbd_server_new(c->k->loop, &open);
    c->k->be.exports = x;
    int ret = nbd_server_listen(x->server, fd);
    if (ret < 0) {
        close(fd);
        exports_free(&c->k->be);
        return qmp_fail(c, NULL, "%s", strerror(-ret));
    }
    return qmp_ok();
}

static void tell_gone(struct qmp_call *c, const char *id)
{
    monitor_event(c->k, "BLOCK_EXPORT_DELETED", json_pack("{s:o}", "id", qmp_text(id)));
}

static json_t *do_stop(struct qmp_call *c)
{
    struct exports *x = c->k->be.exports;

    if (!x) {
        return qmp_fail(c, NULL, "NBD server not running");
    }
    for (const struct one_export *o = x->first; o; o = o->next) {
        tell_gone(c, o->id);
    }
    exports_free(&c->k->be);
    return qmp_ok();
}

/* ---- exports ---- */

/* The node's own, or of one below it. */
static struct bitmap *find_bitmap(struct qmp_call *c, const struct node *n, const char *name)
{
    struct bitmap *b = NULL;

    for (const struct node *at = n; at && !b; at = at->backing) {
        b = bitmap_find(at, name);
    }
    if (!b) {
        qmp_fail(c, NULL, "Bitmap '%.200s' is not found", name);
    } else if (b->len != n->len) {
        qmp_fail(c, NULL, "Bitmap '%.200s' covers another length than the node", name);
    } else if (bitmap_usable(b, &c->err) == 0) {
        return b;
    }
    return NULL;
}

static bool may_write(struct qmp_call *c, struct node *n)
{
    if (n->read_only) {
        return qmp_fail(c, NULL, "Block node is read-only");
    }
    if (node_drive(c, n) || graph_has_parent(n) || n->job) {
        return qmp_fail(c, NULL, "Node '%s' is in use: it can be exported for reading alone",
                        node_name(n));
    }
    return true;
}

/* What both commands ask for. bitmaps: an array of names, or NULL. */
static json_t *add(struct qmp_call *c, const char *id, struct node *n, const char *name,
                   const json_t *bitmaps)
{
    struct exports *x = c->k->be.exports;
    bool writable = qmp_bool(c, "writable", false);
    struct bitmap *list[NBD_MAX_BITMAPS];
    struct nbd_export e = { .node = n,
                            .name = name,
                            .description = qmp_str(c, "description"),
                            .read_only = !writable,
                            .depth = qmp_bool(c, "allocation-depth", false),
                            .bitmaps = list };

    if (!x) {
        return qmp_fail(c, NULL, "NBD server not running");
    }
    if (find(x, id)) {
        return qmp_fail(c, NULL, "Block export id '%.100s' is already in use", id);
    }
    if (strlen(name) > NBD_MAX_NAME || json_array_size(bitmaps) > NBD_MAX_BITMAPS) {
        return qmp_fail(c, NULL, "export '%.40s': too long a name, or too many bitmaps", name);
    }
    if (writable && !may_write(c, n)) {
        return NULL;
    }
    for (; e.nbitmaps < json_array_size(bitmaps); e.nbitmaps++) {
        const char *b = json_string_value(json_array_get(bitmaps, e.nbitmaps));
        if (!b) {
            return qmp_fail(c, NULL, "Parameter 'bitmaps' expects an array of names");
        }
        list[e.nbitmaps] = find_bitmap(c, n, b);
        if (!list[e.nbitmaps]) {
            return NULL;
        }
    }
    if (nbd_server_export(x->server, &e) < 0) {
        return qmp_fail(c, NULL, "NBD server already has export named '%.100s'", name);
    }
    struct one_export *o = xcalloc(1, sizeof(*o)), **end = &x->first;
    *o = (struct one_export){ xstrdup(id), xstrdup(name), node_share(n), NULL };
    while (*end) {
        end = &(*end)->next;
    }
    *end = o;
    return qmp_ok();
}

static json_t *do_server_add(struct qmp_call *c)
{
    struct node *n = qmp_node(c, qmp_str(c, "device"));
    const char *name = qmp_str(c, "name"), *bitmap = qmp_str(c, "bitmap");
    json_t *bitmaps = bitmap ? json_pack("[o]", qmp_text(bitmap)) : NULL;

    name = name ? name : qmp_str(c, "device");
    json_t *ret = n ? add(c, name, n, name, bitmaps) : NULL;
    json_decref(bitmaps);
    return ret;
}

static json_t *do_export_add(struct qmp_call *c)
{
    const char *type = qmp_str(c, "type"), *name = qmp_str(c, "name");

    if (strcmp(type, "nbd") != 0) {
        return qmp_fail(c, NULL, "type '%.60s': Keel has nbd", type);
    }
    struct node *n = qmp_node_named(c, qmp_str(c, "node-name"));
    return n ? add(c, qmp_str(c, "id"), n, name ? name : qmp_str(c, "node-name"),
                   json_object_get(c->args, "bitmaps"))
             : NULL;
}

/* mode: "safe", only while nobody is connected, or "hard". */
static json_t *del(struct qmp_call *c, const char *id)
{
    struct exports *x = c->k->be.exports;
    struct one_export *o = find(x, id);
    const char *mode = qmp_str(c, "mode");

    if (mode && strcmp(mode, "safe") != 0 && strcmp(mode, "hard") != 0) {
        return qmp_fail(c, NULL, "Parameter 'mode' does not accept value '%.60s'", mode);
    }
    if (!o) {
        return qmp_fail(c, NULL, "Export '%.100s' is not found", id);
    }
    if ((!mode || strcmp(mode, "safe") == 0) && nbd_server_clients(x->server, o->name)) {
        return qmp_fail(c, NULL, "export '%.100s' still in use", id);
    }
    drop(x, o);
    tell_gone(c, id);
    return qmp_ok();
}

static json_t *do_server_remove(struct qmp_call *c)
{
    return c->k->be.exports ? del(c, qmp_str(c, "name"))
                            : qmp_fail(c, NULL, "NBD server not running");
}

static json_t *do_export_del(struct qmp_call *c)
{
    return del(c, qmp_str(c, "id"));
}

static json_t *query_exports(struct qmp_call *c)
{
    const struct exports *x = c->k->be.exports;
    json_t *list = json_array();

    for (const struct one_export *o = x ? x->first : NULL; o; o = o->next) {
        json_array_append_new(list, json_pack("{s:o, s:s, s:o, s:b}", "id", qmp_text(o->id), "type",
                                              "nbd", "node-name", qmp_text(node_name(o->node)),
                                              "shutting-down", 0));
    }
    return list;
}

const struct qmp_command qmp_commands_export[] = {
    { "block-export-add",
      "type:s id:s node-name:s writable:b? name:s? description:s? bitmaps:a? allocation-depth:b?",
      do_export_add },
    { "block-export-del", "id:s mode:s?", do_export_del },
    { "nbd-server-add", "device:s name:s? description:s? writable:b? bitmap:s?", do_server_add },
    { "nbd-server-remove", "name:s mode:s?", do_server_remove },
    { "nbd-server-start", "addr:o tls-creds:s? tls-authz:s? max-connections:i?", do_start },
    { "nbd-server-stop", "", do_stop },
    { "query-block-exports", "", query_exports },
    { 0 },
};
