/* SPDX-License-Identifier: MIT */
/* block/format.c - the table of image formats. */
#include "block/format.h"

#include "block/crypt.h"
#include "block/qcow2.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct node *open_qcow2(struct node *file, const struct image_open *o, struct err *e)
{
    struct qcow2_open q = { .read_only = o->read_only,
                            .check = o->check,
                            .no_io = o->no_io || o->check,
                            .key = o->key,
                            .inactive = o->inactive,
                            .pass_discard = o->discard,
                            .l2_cache = o->l2_cache };

    return qcow2_open(file, &q, e);
}

static void info_qcow2(const struct node *n, struct format_info *out)
{
    struct qcow2_info q;

    qcow2_info(n, &q);
    out->cluster_size = 1ull << q.cluster_bits;
    out->backing_file = q.backing_file;
    out->backing_format = q.backing_format;
}

static struct node *open_luks(struct node *file, const struct image_open *o, struct err *e)
{
    return crypt_open(file, o->key, o->no_io || o->check, e);
}

static void info_luks(const struct node *n, struct format_info *out)
{
    (void)n;
    (void)out;
}

static const struct format format_luks = { .name = "luks", .open = open_luks, .info = info_luks };

static const struct format format_qcow2 = { .name = "qcow2",
                                            .open = open_qcow2,
                                            .info = info_qcow2 };

static const struct format *const formats[] = { &format_luks, &format_qcow1, &format_qcow2,
                                                &format_vdi,  &format_vhdx,  &format_vmdk,
                                                &format_vpc };

const struct format *format_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        if (strcmp(formats[i]->name, name) == 0) {
            return formats[i];
        }
    }
    return NULL;
}

const struct format *format_of(const struct node *n)
{
    while (n->ops->filter) {
        n = n->file;
    }
    return format_find(n->ops->name);
}

void format_info(const struct node *n, struct format_info *out)
{
    const struct format *f = format_of(n);

    *out = (struct format_info){ 0 };
    while (n->ops->filter) {
        n = n->file;
    }
    if (f) {
        f->info(n, out);
        out->backing_format = out->backing_format ? out->backing_format : f->backing_format;
    }
}

struct node *format_open_sibling(struct node *file, const char *name, uint64_t min_len,
                                 const struct image_open *o, struct err *e)
{
    char *path;
    struct file_open f = { .fd = -1,
                           .read_only = o->read_only,
                           .lock = o->lock,
                           .share_rw = o->share_rw,
                           .cache = o->cache,
                           .aio = o->aio };
    struct node *n;

    if (o->guessed) {
        err_set(e, -EPERM,
                "image '%s' names another file, which is followed only when its format is given: a "
                "guest can write such a header onto a raw disk",
                file->filename);
        return NULL;
    }
    path = image_backing_path(file->filename, name);
    f.filename = path;
    n = file_open(file->ctx, &f, e);
    free(path);
    if (n && n->len < min_len) {
        err_set(e, -EINVAL, "image '%s': shorter than '%s' says", n->filename, file->filename);
        node_close(n);
        n = NULL;
    }
    return n;
}
