/* SPDX-License-Identifier: MIT */
/* block/open.c - building a graph: a file, a format on it, its backing chain.
 *
 * Formats are never guessed for a guest, nor for a backing file: a guest that writes a qcow2 header
 * onto its raw disk could name any file of the host as its backing file.
 */
#include "block/open.h"

#include "block/crypt.h"
#include "block/format.h"
#include "block/nbd.h"
#include "block/qcow2.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_CHAIN = 200 };

/* The files of a chain so far, topmost last. */
struct chain {
    const struct chain *above;
    dev_t dev;
    ino_t ino;
    unsigned depth;
};

static const struct {
    const char *name;
    unsigned at;
    const char *magic;
    unsigned len;
} formats[] = {
    { "qcow2", 0, "QFI\xfb\0\0\0\x02", 8 },
    { "qcow2", 0, "QFI\xfb\0\0\0\x03", 8 },
    { "qcow", 0, "QFI\xfb\0\0\0\x01", 8 },
    { "vmdk", 0, "KDMV", 4 },
    { "vmdk", 0, "COWD", 4 },
    { "vmdk", 0, "# Disk DescriptorFile", 21 },
    { "vdi", 64, "\x7f\x10\xda\xbe", 4 },
    { "vpc", 0, "conectix", 8 },
    { "vhdx", 0, "vhdxfile", 8 },
    { "qed", 0, "QED\0", 4 },
    { "luks", 0, "LUKS\xba\xbe", 6 },
    { "raw", 0, "", 0 },
};

bool image_format_known(const char *name)
{
    static const char *const others[] = { "host_device", "host_cdrom", "bochs",
                                          "cloop",       "dmg",        "parallels" };

    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        if (strcmp(others[i], name) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        if (strcmp(formats[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

bool image_format_had(const char *name)
{
    return strcmp(name, "raw") == 0 || format_find(name);
}

const char *image_format_name(const char *name)
{
    const struct format *f = format_find(name);

    return f ? f->name : strcmp(name, "raw") == 0 ? "raw" : NULL;
}

/* head: the first 512 bytes. */
static const char *probe_head(const char *head)
{
    size_t i = 0;

    while (memcmp(head + formats[i].at, formats[i].magic, formats[i].len) != 0) {
        i++; /* the last one fits always */
    }
    return formats[i].name;
}

const char *image_probe(int fd)
{
    char head[512] = { 0 };

    return pread(fd, head, sizeof(head), 0) > 0 ? probe_head(head) : "raw";
}

static const char *probe_file(const char *filename, struct err *e)
{
    int fd = open(filename, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const char *found;

    if (fd < 0) {
        err_set(e, -errno, "image '%s' cannot be opened: %s", filename, strerror(errno));
        return NULL;
    }
    found = image_probe(fd);
    close(fd);
    return found;
}

char *image_backing_path(const char *overlay, const char *backing)
{
    const char *slash = strrchr(overlay, '/');

    if (strncmp(backing, "file:", 5) == 0) {
        backing += 5;
    }
    if (backing[0] == '/' || !slash || nbd_is_address(backing)) {
        return xstrdup(backing);
    }
    return xasprintf("%.*s/%s", (int)(slash - overlay), overlay, backing);
}

const char *image_format(const struct node *n)
{
    while (n->ops->filter) {
        n = n->file;
    }
    return n->file ? n->ops->name : "raw";
}

struct node *image_protocol(struct node *n)
{
    while (n->file) {
        n = n->file;
    }
    return n;
}

static struct node *open_chain(struct node_ctx *c, const struct image_open *o,
                               const struct chain *above, struct err *e);

static int open_backing(struct node *n, const struct image_open *o, const struct chain *chain,
                        struct err *e)
{
    struct format_info info;
    struct image_open b = { .fd = -1,
                            .read_only = true,
                            .lock = o->lock,
                            .cache = o->cache,
                            .share_rw = o->share_rw,
                            .aio = o->aio };

    format_info(n, &info);
    if (!info.backing_file || o->no_backing) {
        return 0;
    }
    if (o->guessed) {
        return err_set(e, -EPERM,
                       "image '%s' has a backing file, which is followed only when format=%s "
                       "is given: a guest can write such a header onto a raw disk",
                       n->filename, n->ops->name);
    }
    if (!info.backing_format) {
        return err_set(e, -EINVAL,
                       "image '%s' does not say which format its backing file '%s' has "
                       "(keel-img rebase -u -b FILE -F FORMAT sets it)",
                       n->filename, info.backing_file);
    }
    if (strncmp(info.backing_file, "json:", 5) == 0) {
        return err_set(e, -ENOTSUP,
                       "image '%s': backing file '%.60s': Keel does not have json: "
                       "names yet",
                       n->filename, info.backing_file);
    }
    char *path = image_backing_path(n->filename, info.backing_file);
    b.filename = path;
    b.format = info.backing_format;
    n->backing = open_chain(n->ctx, &b, chain, e);
    free(path);
    return n->backing ? 0 : err_prefix(e, "backing file of '%s'", n->filename);
}

static int open_data(struct node *n, const struct image_open *o, struct err *e)
{
    struct file_open f = { .fd = -1,
                           .read_only = o->read_only,
                           .growable = true,
                           .lock = o->lock,
                           .share_rw = o->share_rw,
                           .cache = o->cache,
                           .aio = o->aio };
    struct qcow2_info info = { 0 };
    struct node *data;
    char *path;

    if (qcow2_is(n)) {
        qcow2_info(n, &info);
    }
    if (!info.data_file) {
        return o->data_file ? err_set(e, -EINVAL, "image '%s' has no data file", n->filename) : 0;
    }
    if (!o->data_file && (o->guessed || !o->follow_data)) {
        return o->no_backing ? 0
                             : err_set(e, -EPERM,
                                       "image '%s' keeps its data in '%s', which is opened only "
                                       "when asked for: data-file.filename=FILE, or the format "
                                       "given to a tool",
                                       n->filename, info.data_file);
    }
    path = o->data_file ? xstrdup(o->data_file) : image_backing_path(n->filename, info.data_file);
    f.filename = path;
    data = path[0] ? file_open(n->ctx, &f, e) : NULL;
    free(path);
    if (!data) {
        return e->code ? err_prefix(e, "data file of '%s'", n->filename)
                       : err_set(e, -EINVAL, "image '%s' does not name its data file", n->filename);
    }
    qcow2_set_data(n, data);
    return 0;
}

bool image_encrypted(const struct node *n)
{
    struct qcow2_info info = { 0 };

    if (qcow2_is(n)) {
        qcow2_info(n, &info);
    }
    return info.encrypted || crypt_is(n);
}

static int check_key(const struct node *n, const struct image_open *o, struct err *e)
{
    return !o->key || image_encrypted(n)
               ? 0
               : err_set(e, -EINVAL,
                         "image '%s' is not encrypted, so that encrypt.key-secret=%s is of no use",
                         n->filename, o->key->name ? o->key->name : "");
}

static int check_loop(const struct image_open *o, struct chain *here, struct err *e)
{
    struct stat st;

    here->depth = here->above ? here->above->depth + 1 : 0;
    if (here->depth > MAX_CHAIN) {
        return err_set(e, -ELOOP, "more than %d backing files", MAX_CHAIN);
    }
    if ((o->fd >= 0 ? fstat(o->fd, &st) : stat(o->filename, &st)) < 0) {
        return 0; /* opening it tells why */
    }
    here->dev = st.st_dev;
    here->ino = st.st_ino;
    for (const struct chain *a = here->above; a; a = a->above) {
        if (a->dev == st.st_dev && a->ino == st.st_ino) {
            return err_set(e, -ELOOP, "image '%s' is in its own backing chain", o->filename);
        }
    }
    return 0;
}

static int check_format(const struct image_open *o, struct err *e)
{
    if (!o->format || image_format_had(o->format)) {
        return 0;
    }
    if (image_format_known(o->format)) {
        return err_set(e, -ENOTSUP, "format=%s: known, but Keel does not have it yet", o->format);
    }
    return err_set(e, -EINVAL, "format=%s: unknown image format", o->format);
}

static struct node *open_protocol(struct node_ctx *c, const struct image_open *p, bool growable,
                                  struct err *e)
{
    if (p->fd < 0 && nbd_is_address(p->filename)) {
        struct nbd_open n = { .address = p->filename,
                              .how = p->nbd,
                              .read_only = p->read_only,
                              .sync_writes =
                                  p->cache == BLK_WRITETHROUGH || p->cache == BLK_DIRECTSYNC,
                              .ignore_flush = p->cache == BLK_UNSAFE };
        return nbd_open(c, &n, e);
    }
    struct file_open f = { .filename = p->filename,
                           .fd = p->fd,
                           .read_only = p->read_only,
                           .growable = growable,
                           .lock = p->lock,
                           .share_rw = p->share_rw,
                           .cache = p->cache,
                           .aio = p->aio };
    return file_open(c, &f, e);
}

/* The header of what another machine serves. */
static const char *probe_served(struct node *n, struct err *e)
{
    char head[512] = { 0 };
    int ret = n->len ? node_read(n, 0, head, sizeof(head)) : 0;

    if (ret < 0) {
        err_set(e, ret, "image '%s' cannot be read: %s", n->filename, strerror(-ret));
        return NULL;
    }
    return probe_head(head);
}

static struct node *open_chain(struct node_ctx *c, const struct image_open *o,
                               const struct chain *above, struct err *e)
{
    struct chain here = { .above = above };
    struct image_open p = *o;
    struct node *n = NULL;

    if (check_loop(o, &here, e) < 0) {
        goto fail;
    }
    if (!p.format && nbd_is_address(p.filename)) {
        n = open_protocol(c, &p, false, e);
        p.format = n ? probe_served(n, e) : NULL;
    } else if (!p.format) {
        p.format = probe_file(p.filename, e);
    }
    if (!p.format || check_format(&p, e) < 0) {
        goto fail;
    }
    const struct format *format = format_find(p.format);
    n = n ? n : open_protocol(c, &p, format != NULL, e);
    if (n && format) {
        n = format->open(n, &p, e);
    }
    if (n && (check_key(n, &p, e) < 0 || open_data(n, &p, e) < 0 ||
              (format && open_backing(n, &p, &here, e) < 0))) {
        node_close(n);
        n = NULL;
    }
    return n;
fail:
    node_close(n);
    if (o->fd >= 0) {
        close(o->fd);
    }
    return NULL;
}

struct node *image_open_on(struct node *file, const struct image_open *o, struct err *e)
{
    struct image_open p = *o;
    struct chain here = { 0 };
    struct node *n;

    p.filename = file->filename;
    if (!nbd_is_address(p.filename)) {
        check_loop(&p, &here, e);
    }
    n = format_find(p.format)->open(file, &p, e);
    if (n && (check_key(n, &p, e) < 0 || open_backing(n, &p, &here, e) < 0)) {
        node_close(n);
        n = NULL;
    }
    return n;
}

/* Writes to `base` go to a file without a name. */
static struct node *open_overlay(struct node_ctx *c, const struct image_open *o, struct node *base,
                                 struct err *e)
{
    struct qcow2_create create = {
        .size = base->len, .version = 3, .cluster_bits = 16, .refcount_bits = 16
    };
    char name[] = "/var/tmp/keel-XXXXXX";
    int fd = mkostemp(name, O_CLOEXEC);
    struct file_open f = { .filename = name, .fd = fd, .growable = true, .cache = BLK_UNSAFE };
    struct qcow2_open q = { .pass_discard = true };
    struct node *n;

    if (fd < 0) {
        err_set(e, -errno, "snapshot=on: no file in /var/tmp: %s", strerror(errno));
        node_close(base);
        return NULL;
    }
    unlink(name);
    n = file_open(c, &f, e);
    if (n && qcow2_create(n, &create, e) < 0) {
        node_close(n);
        n = NULL;
    }
    n = n ? qcow2_open(n, &q, e) : NULL;
    if (!n) {
        node_close(base);
        return NULL;
    }
    n->backing = base;
    free(n->filename);
    n->filename = xstrdup(o->filename);
    return n;
}

struct node *image_open(struct node_ctx *c, const struct image_open *o, struct err *e)
{
    struct image_open p = *o;
    struct node *n;

    p.read_only |= p.temporary;
    n = open_chain(c, &p, NULL, e);
    return n && p.temporary ? open_overlay(c, o, n, e) : n;
}
