/* SPDX-License-Identifier: MIT */
/* dm/blockdev.c - nodes that the user builds and names: -blockdev and blockdev-add.
 *
 * Options form a tree ("file.filename"), which the graph of nodes follows. A child is given by its
 * own options or by the name of a node that exists. What a node is told about caching and writing
 * holds for the nodes under it too unless they say otherwise.
 */
#include "dm/blockdev.h"

#include "block/copy-on-read.h"
#include "block/nbd.h"
#include "block/open.h"
#include "block/qcow2.h"
#include "block/raw.h"
#include "block/throttle.h"
#include "dm/backends.h"
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "dm/fdset.h"
#include "dm/keyval-json.h"
#include "dm/tls-object.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a node leaves to those under it. */
struct inherited {
    bool direct, no_flush, read_only, auto_read_only, discard;
    bool growable; /* a format stands on it */
};

struct maker {
    struct backends *b;
    struct keyval *kv;
    struct err *e;
    const char *prefix; /* of the node's options: "", "file.", ... */
    struct inherited in;
};

static const char *key(const struct maker *m, const char *name, char *out, size_t room)
{
    snprintf(out, room, "%s%s", m->prefix, name);
    return out;
}

static const char *get(const struct maker *m, const char *name)
{
    char k[160];

    return keyval_get(m->kv, key(m, name, k, sizeof(k)));
}

/* A format stands on it, or may by its name. */
static bool may_grow(const struct maker *m)
{
    return m->in.growable || !*m->prefix;
}

static int get_bool(const struct maker *m, const char *name, bool *out)
{
    char k[160];

    return keyval_bool(m->kv, key(m, name, k, sizeof(k)), out, m->e);
}

static int get_size(const struct maker *m, const char *name, uint64_t *out)
{
    char k[160];

    return keyval_size(m->kv, key(m, name, k, sizeof(k)), 1, out, m->e);
}

/* One of a few words; absent: the first. -EINVAL with e. */
static int get_word(const struct maker *m, const char *name, const char *const *words)
{
    const char *v = get(m, name);

    for (int i = 0; words[i]; i++) {
        if (!v || strcmp(v, words[i]) == 0) {
            return i;
        }
    }
    return err_set(m->e, -EINVAL, "%s%s=%s: not one of the values it may have", m->prefix, name, v);
}

static enum blk_cache cache_mode(const struct inherited *in)
{
    return in->direct ? BLK_NONE : in->no_flush ? BLK_UNSAFE : BLK_WRITEBACK;
}

static struct node *build(struct backends *b, struct keyval *kv, const char *prefix,
                          struct inherited in, struct err *e);

/* ---- children ---- */

static struct node *by_name(const struct maker *m, const char *what, const char *name)
{
    struct node *n = graph_find(m->b->graph, name);

    if (!n) {
        err_set(m->e, -ENOENT, "%s%s=%s: Cannot find device='' nor node-name='%s'", m->prefix, what,
                name, name);
        return NULL;
    }
    if (graph_has_parent(n) && !n->read_only) {
        err_set(m->e, -EBUSY, "%s%s=%s: the node is in use", m->prefix, what, name);
        return NULL;
    }
    return node_share(n);
}

static bool has_options(const struct maker *m, const char *what)
{
    char k[160];
    size_t len = (size_t)snprintf(k, sizeof(k), "%s%s.", m->prefix, what);

    for (size_t i = 0; i < m->kv->n; i++) {
        if (strncmp(m->kv->pair[i].key, k, len) == 0) {
            return true;
        }
    }
    return false;
}

static struct node *child(const struct maker *m, const char *what, bool growable)
{
    const char *name = get(m, what);
    struct inherited in = m->in;
    char prefix[128];

    if (name) {
        return by_name(m, what, name);
    }
    if (!has_options(m, what)) {
        err_set(m->e, -EINVAL, "%s%s: missing", m->prefix, what);
        return NULL;
    }
    if (snprintf(prefix, sizeof(prefix), "%s%s.", m->prefix, what) >= 64) {
        err_set(m->e, -EINVAL, "%s: nodes stand too deep", prefix);
        return NULL;
    }
    in.growable = growable;
    return build(m->b, m->kv, prefix, in, m->e);
}

/* ---- drivers ---- */

static int open_set(struct backends *b, const char *filename, bool read_only)
{
    int64_t set = fdset_parse(filename);
    int fd = set < 0 ? -1 : fdset_open(b->fdsets, set, read_only ? O_RDONLY : O_RDWR);

    return set >= 0 && fd < 0 && read_only ? fdset_open(b->fdsets, set, O_RDWR) : fd;
}

static struct node *make_file(const struct maker *m)
{
    static const char *const locking[] = { "auto", "on", "off", NULL };
    const char *filename = get(m, "filename");
    const char *aio = get(m, "aio");
    int lock = get_word(m, "locking", locking);
    struct file_open f = { .filename = filename,
                           .read_only = m->in.read_only,
                           .growable = may_grow(m),
                           .lock = !m->b->incoming && lock != 2,
                           .cache = cache_mode(&m->in) };

    if (lock < 0) {
        return NULL;
    }
    if (aio && !blk_aio_named(aio, &f.aio)) {
        err_set(m->e, -EINVAL, "%saio=%s: expected threads, native or io_uring", m->prefix, aio);
        return NULL;
    }
    if (!filename) {
        err_set(m->e, -EINVAL, "%sfilename: missing", m->prefix);
        return NULL;
    }
    f.fd = open_set(m->b, filename, f.read_only);
    struct node *n = file_open(m->b->graph, &f, m->e);
    if (!n && m->in.auto_read_only && !f.read_only &&
        (m->e->code == -EACCES || m->e->code == -EROFS)) {
        f.read_only = true;
        f.fd = open_set(m->b, filename, true);
        n = file_open(m->b->graph, &f, m->e);
    }
    return n;
}

static struct tls_creds *find_tls(void *opaque, const char *id, struct err *e)
{
    return tls_object_find(((struct backends *)opaque)->tls, id, false, e);
}

static struct node *make_nbd(const struct maker *m)
{
    char *address = drive_nbd_address(m->kv, m->prefix, m->e);
    struct nbd_open o = { .address = address,
                          .read_only = m->in.read_only,
                          .ignore_flush = m->in.no_flush };
    bool good = address && drive_nbd_how(m->kv, m->prefix, find_tls, m->b, &o.how, m->e) == 0;
    struct node *n = good ? nbd_open(m->b->graph, &o, m->e) : NULL;

    free(address);
    return n;
}

static struct node *make_raw(const struct maker *m)
{
    struct raw_open o = { .read_only = m->in.read_only };

    if (get_size(m, "offset", &o.offset) < 0 || get_size(m, "size", &o.size) < 0) {
        return NULL;
    }
    struct node *file = child(m, "file", may_grow(m));
    return file ? raw_open(file, &o, m->e) : NULL;
}

/* backing=NODE, backing.driver=..., backing=null (""), or what the image says. */
static bool own_backing(const struct maker *m, bool *given, struct node **out)
{
    const char *name = get(m, "backing");
    struct maker b = *m;

    *given = name || has_options(m, "backing");
    *out = NULL;
    b.in.read_only = true;
    if (name ? *name : *given) {
        *out = child(&b, "backing", false);
        return *out;
    }
    return true;
}

/* data-file=NODE, or data-file.driver=...: only what is asked for so. Whoever made the image may have
 * named any file of the host. */
static int add_data_file(const struct maker *m, struct node *n)
{
    struct qcow2_info info = { 0 };
    char k[160];
    bool given =
        keyval_get(m->kv, key(m, "data-file", k, sizeof(k))) || has_options(m, "data-file");
    struct node *data;

    if (qcow2_is(n)) {
        qcow2_info(n, &info);
    }
    if (given != (info.data_file != NULL)) {
        return given ? err_set(m->e, -EINVAL, "image '%s' has no data file", n->filename)
                     : err_set(m->e, -EPERM,
                               "image '%s' keeps its data in '%s': %sdata-file: missing",
                               n->filename, info.data_file, m->prefix);
    }
    data = given ? child(m, "data-file", true) : NULL;
    if (given && !data) {
        return m->e->code;
    }
    if (data) {
        qcow2_set_data(n, data);
    }
    return 0;
}

/* The passphrase of an encrypted image. */
static int find_key(const struct maker *m, const struct luks_key **out)
{
    static const char *const formats[] = { "luks", NULL };
    char k[160];
    bool inside = strcmp(get(m, "driver"), "luks") != 0;

    if (inside && keyval_only(m->kv, key(m, "encrypt.format", k, sizeof(k)), formats, m->e) < 0) {
        return m->e->code;
    }
    return secret_option(
        m->b, m->kv, key(m, inside ? "encrypt.key-secret" : "key-secret", k, sizeof(k)), out, m->e);
}

static struct node *make_format(const struct maker *m)
{
    const char *format = get(m, "driver");
    struct image_open o = { .fd = -1,
                            .format = format,
                            .read_only = m->in.read_only,
                            .inactive = m->b->incoming,
                            .lock = !m->b->incoming,
                            .discard = m->in.discard,
                            .cache = cache_mode(&m->in) };
    struct node *backing, *file, *n;

    if (!image_format_had(format)) {
        err_set(m->e, -EINVAL,
                image_format_known(format) ? "%sdriver=%s: known, but Keel does not have it yet"
                                           : "%sdriver=%s: Unknown driver",
                m->prefix, format);
        return NULL;
    }
    if (get_size(m, "l2-cache-size", &o.l2_cache) < 0 || find_key(m, &o.key) < 0 ||
        !own_backing(m, &o.no_backing, &backing)) {
        return NULL;
    }
    file = child(m, "file", true);
    n = file ? image_open_on(file, &o, m->e) : NULL;
    if (n && add_data_file(m, n) < 0) {
        node_close(n);
        n = NULL;
    }
    if (!n) {
        node_close(backing);
        return NULL;
    }
    n->backing = backing ? backing : n->backing;
    return n;
}

static struct node *make_throttle(const struct maker *m)
{
    const char *name = get(m, "throttle-group");
    struct throttle_group *g = name ? throttle_group_find(m->b->throttles, name) : NULL;

    if (!g) {
        err_set(m->e, -EINVAL, "Throttle group '%s' does not exist", name ? name : "");
        return NULL;
    }
    struct node *file = child(m, "file", may_grow(m));
    return file ? throttle_new(file, g) : NULL;
}

static struct node *make_copy_on_read(const struct maker *m)
{
    struct node *file = child(m, "file", false);

    return file ? copy_on_read_new(file) : NULL;
}

static const struct driver {
    const char *name;
    struct node *(*make)(const struct maker *m);
} drivers[] = {
    { "copy-on-read", make_copy_on_read }, { "file", make_file }, { "host_cdrom", make_file },
    { "host_device", make_file },          { "nbd", make_nbd },   { "raw", make_raw },
    { "throttle", make_throttle },
};

/* ---- nodes ---- */

/* What all nodes are told. */
static int common_options(struct maker *m, enum node_zeroes *zeroes)
{
    static const char *const discard[] = { "ignore", "off", "unmap", "on", NULL };
    static const char *const detect[] = { "off", "on", "unmap", NULL };
    bool force_share = false;
    int d = get(m, "discard") ? get_word(m, "discard", discard) : m->in.discard ? 2 : 0;
    int z = get_word(m, "detect-zeroes", detect);

    if (d < 0 || z < 0 || get_bool(m, "read-only", &m->in.read_only) < 0 ||
        get_bool(m, "auto-read-only", &m->in.auto_read_only) < 0 ||
        get_bool(m, "cache.direct", &m->in.direct) < 0 ||
        get_bool(m, "cache.no-flush", &m->in.no_flush) < 0 ||
        get_bool(m, "force-share", &force_share) < 0) {
        return -EINVAL;
    }
    if (force_share) {
        return err_set(m->e, -ENOTSUP, "%sforce-share=on: known, but Keel does not have it yet",
                       m->prefix);
    }
    m->in.discard = d >= 2;
    if (z == NODE_ZEROES_UNMAP && !m->in.discard) {
        return err_set(m->e, -EINVAL,
                       "setting detect-zeroes to unmap is not allowed without setting discard "
                       "operation to unmap");
    }
    *zeroes = (enum node_zeroes)z;
    return 0;
}

static struct node *build(struct backends *b, struct keyval *kv, const char *prefix,
                          struct inherited in, struct err *e)
{
    struct maker m = { .b = b, .kv = kv, .e = e, .prefix = prefix, .in = in };
    const char *driver = get(&m, "driver"), *name = get(&m, "node-name");
    struct node *(*make)(const struct maker *) = make_format;
    enum node_zeroes zeroes = NODE_ZEROES_OFF;

    if (!driver) {
        err_set(e, -EINVAL, "%sdriver: missing", prefix);
        return NULL;
    }
    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
        make = strcmp(drivers[i].name, driver) == 0 ? drivers[i].make : make;
    }
    if (common_options(&m, &zeroes) < 0 || (name && graph_check_name(b->graph, name, e) < 0)) {
        return NULL;
    }
    struct node *n = make(&m);
    if (n && name && node_set_name(n, name, e) < 0) { /* a node under it took the name */
        node_close(n);
        return NULL;
    }
    if (n) {
        n->detect_zeroes = zeroes;
    }
    return n;
}

struct node *blockdev_ref(struct backends *b, const json_t *ref, struct err *e)
{
    static const struct inherited in = { .growable = true };
    struct node *n;

    if (json_is_string(ref)) {
        const char *name = json_string_value(ref);
        n = graph_find(b->graph, name);
        return n ? node_share(n)
                 : (err_set(e, -ENOENT, "Cannot find device='%s' nor node-name='%s'", name, name),
                    NULL);
    }
    struct keyval *kv = keyval_from_json(ref, KEYVAL_NUMBERED, e);
    n = kv ? build(b, kv, "", in, e) : NULL;
    if (n && keyval_done(kv, e) < 0) {
        node_close(n);
        n = NULL;
    }
    keyval_free(kv);
    return n;
}

/* ---- the list ---- */

static int take_node(struct backends *b, struct keyval *kv, struct named_node *d, struct err *e)
{
    static const struct inherited in = { 0 };
    const char *name = keyval_get(kv, "node-name"), *discard = keyval_get(kv, "discard");

    if (!name || !*name || strlen(name) > NODE_NAME_MAX) {
        return err_set(e, -EINVAL, "'node-name' must be specified for the root node%s",
                       name && *name ? ": it is too long" : "");
    }
    if (drive_find(b, name)) {
        return err_set(e, -EEXIST, "node-name=%s is conflicting with a device id", name);
    }
    snprintf(d->name, sizeof(d->name), "%s", name);
    d->discard = discard && (strcmp(discard, "unmap") == 0 || strcmp(discard, "on") == 0);
    if (keyval_bool(kv, "read-only", &d->read_only, e) < 0) {
        return e->code;
    }
    d->root.pinned = true;
    if (b->pretend) {
        return 0;
    }
    struct node *n = build(b, kv, "", in, e);
    if (!n) {
        return e->code ? e->code : -EINVAL;
    }
    node_root_add(&d->root, n);
    return keyval_done(kv, e);
}

int blockdev_add(struct backends *b, struct keyval *kv, struct err *e)
{
    struct named_node *d = xcalloc(1, sizeof(*d)), **end = &b->nodes;
    int ret = take_node(b, kv, d, e);

    if (ret < 0) {
        node_root_del(&d->root);
        free(d);
        return ret;
    }
    while (*end) {
        end = &(*end)->next;
    }
    *end = d;
    return 0;
}

int blockdev_add_json(struct backends *b, const json_t *options, struct err *e)
{
    struct keyval *kv = keyval_from_json(options, KEYVAL_NUMBERED, e);
    int ret = kv ? blockdev_add(b, kv, e) : e->code;

    keyval_free(kv);
    return ret;
}

static struct named_node *find_named(const struct backends *b, const char *name)
{
    struct named_node *d = b->nodes;

    while (d && strcmp(d->name, name) != 0) {
        d = d->next;
    }
    return d;
}

int blockdev_del(struct backends *b, const char *name, struct err *e)
{
    struct named_node *d = find_named(b, name), **at = &b->nodes;

    if (!d) {
        return graph_find(b->graph, name)
                   ? err_set(e, -EPERM, "Node %s is not owned by the monitor", name)
                   : err_set(e, -ENOENT, "Failed to find node with node-name='%s'", name);
    }
    if (d->root.node->job || graph_has_parent(d->root.node)) {
        return err_set(e, -EBUSY, "Block device %s is in use", name);
    }
    while (*at != d) {
        at = &(*at)->next;
    }
    *at = d->next;
    int ret = node_root_del(&d->root);
    free(d);
    return ret < 0 ? err_set(e, ret, "node '%s': closing it failed: %s", name, strerror(-ret)) : 0;
}

void blockdev_close_all(struct backends *b)
{
    while (b->nodes) {
        struct named_node *d = b->nodes;
        b->nodes = d->next;
        node_root_del(&d->root);
        free(d);
    }
}

struct drive *blockdev_drive(struct backends *b, const char *name, struct err *e)
{
    struct named_node *d = find_named(b, name);
    struct node *n = d ? d->root.node : graph_find(b->graph, name);
    struct drive *drive;

    if (!d && !n) {
        err_set(e, -ENOENT, "no -drive or -blockdev has that id");
        return NULL;
    }
    if (n && (graph_has_parent(n) || n->job)) {
        err_set(e, -EBUSY, "the node is in use");
        return NULL;
    }
    drive = drive_new(b, name);
    drive->anonymous = true;
    drive->open.discard = d && d->discard;
    drive->open.read_only = d ? d->read_only : n->read_only;
    if (n) {
        struct blk_image *i = blk_image_of_node(node_share(n), drive->open.discard, false);
        i->read_only = b->incoming ? drive->open.read_only : n->read_only;
        blk_set_image(drive->blk, i);
    }
    return drive;
}
