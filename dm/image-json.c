/* SPDX-License-Identifier: MIT */
/* dm/image-json.c - an image as QMP's ImageInfo. Reference: QEMU 7.2 qapi/block-core.json. */
#include "dm/image-json.h"

#include "block/bitmap.h"
#include "block/crypt.h"
#include "block/format.h"
#include "block/qcow2.h"
#include "block/vmdk.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <stdlib.h>
#include <string.h>

json_t *json_text(const char *s)
{
    json_t *j = json_string(s);

    if (!j) {
        char *copy = xstrdup(s);
        for (char *p = copy; *p; p++) {
            *p = *p & 0x80 ? '?' : *p;
        }
        j = json_string(copy);
        free(copy);
    }
    return j;
}

static json_t *snapshots_json(const struct node *n)
{
    json_t *list = json_array();
    const struct qcow2_snapshot *sn;

    for (unsigned i = 0; (sn = qcow2_snapshot(n, i)); i++) {
        json_t *j =
            json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:I}", "id", json_text(sn->id), "name",
                      json_text(sn->name), "vm-state-size", (json_int_t)sn->vm_state_size,
                      "date-sec", (json_int_t)sn->date_sec, "date-nsec", (json_int_t)sn->date_nsec,
                      "vm-clock-sec", (json_int_t)(sn->vm_clock_nsec / 1000000000), "vm-clock-nsec",
                      (json_int_t)(sn->vm_clock_nsec % 1000000000));
        if (sn->icount != UINT64_MAX) {
            json_object_set_new(j, "icount", json_integer((json_int_t)sn->icount));
        }
        json_array_append_new(list, j);
    }
    return list;
}

static json_t *bitmaps_json(const struct node *n)
{
    json_t *list = json_array();

    for (const struct bitmap *b = n->bitmaps; b; b = b->next) {
        json_t *flags = json_array();
        if (b->inconsistent) {
            json_array_append_new(flags, json_string("in-use"));
        }
        if (b->recording) {
            json_array_append_new(flags, json_string("auto"));
        }
        json_array_append_new(list, json_pack("{s:o, s:o, s:I}", "flags", flags, "name",
                                              json_text(b->name), "granularity",
                                              (json_int_t)1 << b->granularity_bits));
    }
    return list;
}

static json_t *luks_json(const struct luks_info *i)
{
    json_t *slots = json_array();
    char alg[16];

    snprintf(alg, sizeof(alg), "aes-%u", i->key_bits);
    for (unsigned n = 0; n < LUKS_SLOTS; n++) {
        const struct luks_slot *s = &i->slot[n];
        json_t *j =
            json_pack("{s:b, s:I}", "active", s->active, "key-offset", (json_int_t)s->offset);
        if (s->active) {
            json_object_set_new(j, "iters", json_integer(s->iterations));
            json_object_set_new(j, "stripes", json_integer(s->stripes));
        }
        json_array_append_new(slots, j);
    }
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:o}", "ivgen-alg", "plain64", "hash-alg",
                     i->hash, "cipher-alg", alg, "uuid", i->uuid, "cipher-mode", "xts",
                     "payload-offset", (json_int_t)i->payload, "master-key-iters",
                     (json_int_t)i->master_iterations, "slots", slots);
}

/* NULL: the header is not as it should be. */
static json_t *encrypt_json(struct node *n)
{
    struct luks_info i;
    struct err e = { 0 };
    json_t *j = qcow2_luks_info(n, &i, &e) == 0 ? luks_json(&i) : NULL;

    if (j) {
        json_object_set_new(j, "format", json_string("luks"));
    }
    return j;
}

/* What only qcow2 images have to tell. */
static json_t *qcow2_json(struct node *n, const struct qcow2_info *q)
{
    json_t *data = json_pack("{s:s, s:s, s:i, s:b}", "compat", q->version >= 3 ? "1.1" : "0.10",
                             "compression-type", q->zstd ? "zstd" : "zlib", "refcount-bits",
                             (int)q->refcount_bits, "extended-l2", q->extended_l2);
    if (q->encrypted) {
        json_object_set_new(data, "encrypt", encrypt_json(n));
    }
    if (q->version >= 3) {
        json_object_set_new(data, "lazy-refcounts", json_boolean(q->lazy_refcounts));
        json_object_set_new(data, "corrupt", json_boolean(q->corrupt));
        if (n->bitmaps) {
            json_object_set_new(data, "bitmaps", bitmaps_json(n));
        }
        if (q->data_file) {
            json_object_set_new(data, "data-file", json_text(q->data_file));
            json_object_set_new(data, "data-file-raw", json_boolean(q->data_file_raw));
        }
    } else {
        json_object_del(data, "extended-l2");
    }
    return json_pack("{s:s, s:o}", "type", "qcow2", "data", data);
}

static json_t *vmdk_json(const struct node *n)
{
    json_t *list = json_array();
    struct vmdk_info v;

    vmdk_info(n, &v);
    for (unsigned i = 0; i < v.extents; i++) {
        struct vmdk_extent_info x;
        vmdk_extent(n, i, &x);
        json_t *j = json_pack("{s:I, s:o, s:s}", "virtual-size", (json_int_t)x.len, "filename",
                              json_text(x.filename), "format", x.format);
        if (x.compressed) {
            json_object_set_new(j, "compressed", json_true());
        }
        if (x.cluster_size) {
            json_object_set_new(j, "cluster-size", json_integer((json_int_t)x.cluster_size));
        }
        json_array_append_new(list, j);
    }
    json_t *data = json_pack("{s:I, s:I, s:o, s:o}", "cid", (json_int_t)v.cid, "parent-cid",
                             (json_int_t)v.parent_cid, "create-type", json_text(v.create_type),
                             "extents", list);
    return json_pack("{s:s, s:o}", "type", "vmdk", "data", data);
}

static json_t *specific_json(struct node *n)
{
    struct luks_info luks;
    struct qcow2_info q;
    struct err e = { 0 };

    if (qcow2_is(n)) {
        qcow2_info(n, &q);
        return qcow2_json(n, &q);
    }
    if (vmdk_is(n)) {
        return vmdk_json(n);
    }
    if (crypt_is(n) && luks_info(n->file, 0, n->file->len, &luks, &e) == 0) {
        return json_pack("{s:s, s:o}", "type", "luks", "data", luks_json(&luks));
    }
    return NULL;
}

static void add_backing(json_t *j, struct node *n, const struct format_info *f)
{
    char *full = image_backing_path(n->filename, f->backing_file);

    json_object_set_new(j, "backing-filename", json_text(f->backing_file));
    json_object_set_new(j, "full-backing-filename", json_text(full));
    free(full);
    if (qcow2_is(n) && f->backing_format) {
        json_object_set_new(j, "backing-filename-format", json_text(f->backing_format));
    }
}

json_t *image_json(struct node *n, bool chain)
{
    struct node *file = image_protocol(n);
    json_t *j = json_pack("{s:I, s:o, s:s, s:b}", "virtual-size", (json_int_t)n->len, "filename",
                          json_text(n->filename), "format", image_format(n), "dirty-flag", 0);
    struct qcow2_info q = { 0 };
    struct format_info f;

    format_info(n, &f);
    if (qcow2_is(n)) {
        qcow2_info(n, &q);
        json_object_set_new(j, "dirty-flag", json_boolean(q.dirty));
    }
    if (file->is_file) {
        json_object_set_new(j, "actual-size",
                            json_integer((json_int_t)(file_allocated(file) + f.elsewhere)));
    }
    if (image_encrypted(n)) {
        json_object_set_new(j, "encrypted", json_true());
    }
    if (f.cluster_size) {
        json_object_set_new(j, "cluster-size", json_integer((json_int_t)f.cluster_size));
    }
    json_t *specific = specific_json(n);
    if (specific) {
        json_object_set_new(j, "format-specific", specific);
    }
    if (q.snapshots) {
        json_object_set_new(j, "snapshots", snapshots_json(n));
    }
    if (f.backing_file) {
        add_backing(j, n, &f);
    }
    if (chain && n->backing) {
        json_object_set_new(j, "backing-image", image_json(node_skip_filters(n->backing), true));
    }
    return j;
}
