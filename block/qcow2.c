/* SPDX-License-Identifier: MIT */
/* block/qcow2.c - the header, opening and closing.
 *
 * Left out: encryption, external data files, extended L2 entries (each refused by name), keeping
 * persistent bitmaps up to date (opening for writing marks them as no longer valid, as the
 * specification asks of software that does not know them).
 */
#include "block/qcow2-int.h"

#include "block/file.h"
#include "dm/base/err.h"
#include "dm/base/log.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define EXT_END 0u
#define EXT_BACKING_FORMAT 0xe2792acau
#define EXT_FEATURES 0x6803f857u
#define EXT_BITMAPS 0x23852875u
#define EXT_CRYPTO 0x0537be77u
#define EXT_DATA_FILE 0x44415441u
enum { V2_LENGTH = 72, V3_LENGTH = 112 };

/* ---- metadata clusters: an open hash set of cluster + 1 ---- */

static uint32_t meta_slot(const struct qcow2 *s, uint64_t cluster)
{
    uint32_t i = (uint32_t)((cluster * 0x9e3779b97f4a7c15ull) >> 32) & (s->meta_size - 1);

    while (s->meta[i] && s->meta[i] != cluster + 1) {
        i = (i + 1) & (s->meta_size - 1);
    }
    return i;
}

bool meta_has(const struct qcow2 *s, uint64_t cluster)
{
    return s->meta[meta_slot(s, cluster)] != 0;
}

static void meta_grow(struct qcow2 *s)
{
    uint64_t *old = s->meta;
    uint32_t size = s->meta_size;

    s->meta_size = size ? size * 2 : 64;
    s->meta = xcalloc(s->meta_size, sizeof(*s->meta));
    for (uint32_t i = 0; i < size; i++) {
        if (old[i]) {
            s->meta[meta_slot(s, old[i] - 1)] = old[i];
        }
    }
    free(old);
}

void meta_add(struct qcow2 *s, uint64_t cluster, uint64_t n)
{
    for (uint64_t c = cluster; c < cluster + n; c++) {
        if (s->meta_count * 2 >= s->meta_size) {
            meta_grow(s);
        }
        uint32_t i = meta_slot(s, c);
        s->meta_count += !s->meta[i];
        s->meta[i] = c + 1;
    }
}

void meta_del(struct qcow2 *s, uint64_t cluster, uint64_t n)
{
    for (uint64_t c = cluster; c < cluster + n; c++) {
        uint32_t i = meta_slot(s, c);

        if (!s->meta[i]) {
            continue;
        }
        s->meta[i] = 0;
        s->meta_count--;
        /* What was pushed past the gap moves up. */
        for (i = (i + 1) & (s->meta_size - 1); s->meta[i]; i = (i + 1) & (s->meta_size - 1)) {
            uint64_t v = s->meta[i];
            s->meta[i] = 0;
            s->meta[meta_slot(s, v - 1)] = v;
        }
    }
}

int qcow2_corrupt(struct qcow2 *s, const char *fmt, ...)
{
    char what[160];
    va_list ap;

    if (s->broken) {
        return -EIO;
    }
    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    log_msg(LOG_ERROR, "qcow2", "image '%s' is corrupt: %s%s", s->node.filename, what,
            s->node.read_only ? "" : "; nothing is written to it any more");
    s->broken = true;
    if (!s->node.read_only && s->h.version >= 3) {
        s->h.incompatible |= INCOMPAT_CORRUPT;
        s->header_dirty = true;
    }
    return -EIO;
}

/* ---- the header ---- */

void qcow2_header_free(struct header *h)
{
    free(h->backing_file);
    free(h->backing_format);
    free(h->other);
    h->backing_file = h->backing_format = NULL;
    h->other = NULL;
}

int qcow2_header_copy(struct header *to, const struct header *from)
{
    *to = *from;
    to->backing_file = from->backing_file ? xstrdup(from->backing_file) : NULL;
    to->backing_format = from->backing_format ? xstrdup(from->backing_format) : NULL;
    to->other = NULL;
    if (from->other_len) {
        to->other = xcalloc(1, from->other_len);
        memcpy(to->other, from->other, from->other_len);
    }
    return 0;
}

static char *text_at(const uint8_t *p, size_t len)
{
    char *t = xcalloc(1, len + 1);

    memcpy(t, p, len);
    return t;
}

static int parse_bitmaps(struct header *h, const uint8_t *p, uint32_t len)
{
    if (len != 24) {
        return -EINVAL;
    }
    h->has_bitmaps = true;
    h->nb_bitmaps = load_be32(p);
    h->bitmap_dir_size = load_be64(p + 8);
    h->bitmap_dir_offset = load_be64(p + 16);
    return 0;
}

static int parse_extension(struct header *h, uint32_t type, const uint8_t *p, uint32_t len,
                           struct err *e)
{
    uint32_t padded = (len + 7) & ~7u;

    switch (type) {
    case EXT_BACKING_FORMAT:
        if (len > 15) {
            return err_set(e, -EINVAL, "the backing format's name is too long");
        }
        free(h->backing_format);
        h->backing_format = text_at(p, len);
        return 0;
    case EXT_FEATURES:
        return 0; /* written anew */
    case EXT_BITMAPS:
        return parse_bitmaps(h, p, len) < 0
                   ? err_set(e, -EINVAL, "the bitmaps extension is %u bytes long", len)
                   : 0;
    case EXT_CRYPTO:
        return err_set(e, -ENOTSUP, "encryption (LUKS): known, but Keel does not have it yet");
    case EXT_DATA_FILE:
        return err_set(e, -ENOTSUP, "external data file: known, but Keel does not have it yet");
    default:
        h->other = xrealloc(h->other, h->other_len + 8ull + padded);
        memcpy(h->other + h->other_len, p - 8, 8);
        memset(h->other + h->other_len + 8, 0, padded);
        memcpy(h->other + h->other_len + 8, p, len);
        h->other_len += 8 + padded;
        return 0;
    }
}

static int parse_extensions(struct header *h, const uint8_t *b, size_t at, size_t end,
                            struct err *e)
{
    while (at + 8 <= end) {
        uint32_t type = load_be32(b + at), len = load_be32(b + at + 4);

        if (type == EXT_END) {
            return 0;
        }
        at += 8;
        if (len > end - at) {
            return err_set(e, -EINVAL, "header extension %#x is too long", type);
        }
        int ret = parse_extension(h, type, b + at, len, e);
        if (ret < 0) {
            return ret;
        }
        at += (len + 7) & ~7ull;
    }
    return 0;
}

static int check_features(const struct header *h, struct err *e)
{
    uint64_t known = INCOMPAT_DIRTY | INCOMPAT_CORRUPT | INCOMPAT_COMPRESSION;

    if (h->incompatible & INCOMPAT_DATA_FILE) {
        return err_set(e, -ENOTSUP, "external data file: known, but Keel does not have it yet");
    }
    if (h->incompatible & INCOMPAT_EXTENDED_L2) {
        return err_set(e, -ENOTSUP, "extended L2 entries: known, but Keel does not have it yet");
    }
    if (h->incompatible & ~known) {
        return err_set(e, -ENOTSUP, "unknown incompatible features %#llx",
                       (unsigned long long)(h->incompatible & ~known));
    }
    if (h->compression > 1 || (h->compression != 0) != !!(h->incompatible & INCOMPAT_COMPRESSION)) {
        return err_set(e, -EINVAL, "compression type %u with feature bits %#llx", h->compression,
                       (unsigned long long)h->incompatible);
    }
    return 0;
}

static int check_geometry(const struct header *h, struct err *e)
{
    uint64_t per_l1 = 2ull * h->cluster_bits - 3;
    uint64_t cluster = 1ull << h->cluster_bits;

    if (h->refcount_order > 6) {
        return err_set(e, -EINVAL, "reference counts of 2^%u bits", h->refcount_order);
    }
    if (h->size > INT64_MAX - cluster) {
        return err_set(e, -EFBIG, "a disk of %#llx bytes", (unsigned long long)h->size);
    }
    if (h->l1_size > QCOW2_MAX_L1_BYTES / 8) {
        return err_set(e, -EFBIG, "an L1 table of %u entries", h->l1_size);
    }
    if (h->size && ((h->size - 1) >> per_l1) + 1 > h->l1_size) {
        return err_set(e, -EINVAL, "an L1 table of %u entries is too small for the disk",
                       h->l1_size);
    }
    if (h->reftable_clusters > (uint32_t)QCOW2_MAX_REFTABLE_BYTES >> h->cluster_bits) {
        return err_set(e, -EFBIG, "a refcount table of %u clusters", h->reftable_clusters);
    }
    if (h->reftable_clusters == 0) {
        return err_set(e, -EINVAL, "no refcount table");
    }
    if (h->nb_snapshots > QCOW2_MAX_SNAPSHOTS) {
        return err_set(e, -EFBIG, "%u snapshots", h->nb_snapshots);
    }
    if (h->l1_offset % cluster || h->reftable_offset % cluster || h->snapshots_offset % cluster ||
        (h->l1_offset | h->reftable_offset | h->snapshots_offset) >> 56) {
        return err_set(e, -EINVAL, "a table that is not at a cluster's start");
    }
    if (!h->reftable_offset || (h->l1_size && !h->l1_offset)) {
        return err_set(e, -EINVAL, "a table at offset 0");
    }
    return 0;
}

static int parse_v3(struct header *h, const uint8_t *b, uint32_t *length, struct err *e)
{
    *length = load_be32(b + 100);
    h->incompatible = load_be64(b + 72);
    h->compatible = load_be64(b + 80);
    h->autoclear = load_be64(b + 88);
    h->refcount_order = load_be32(b + 96);
    if (*length < 104 || *length > 1u << h->cluster_bits || *length % 8) {
        return err_set(e, -EINVAL, "a header of %u bytes", *length);
    }
    h->compression = *length > 104 ? b[104] : 0;
    return check_features(h, e);
}

int qcow2_parse_header(struct qcow2 *s, const uint8_t *b, size_t len, struct err *e)
{
    struct header *h = &s->h;
    uint64_t backing = load_be64(b + 8);
    uint32_t backing_len = load_be32(b + 16), length = V2_LENGTH, crypt = load_be32(b + 32);
    int ret = 0;

    assert(len >= 512);
    h->version = load_be32(b + 4);
    if (load_be32(b) != QCOW2_MAGIC) {
        return err_set(e, -EINVAL, "it does not begin like a qcow2 image");
    }
    if (h->version < 2 || h->version > 3) {
        return err_set(e, -ENOTSUP, "version %u", h->version);
    }
    if (load_be32(b + 20) < 9 || load_be32(b + 20) > 21) {
        return err_set(e, -EINVAL, "clusters of 2^%u bytes", load_be32(b + 20));
    }
    h->cluster_bits = load_be32(b + 20);
    h->size = load_be64(b + 24);
    h->l1_size = load_be32(b + 36);
    h->l1_offset = load_be64(b + 40);
    h->reftable_offset = load_be64(b + 48);
    h->reftable_clusters = load_be32(b + 56);
    h->nb_snapshots = load_be32(b + 60);
    h->snapshots_offset = load_be64(b + 64);
    h->refcount_order = 4;
    if (h->version >= 3) {
        ret = parse_v3(h, b, &length, e);
    }
    if (ret == 0 && crypt) {
        ret = err_set(e, -ENOTSUP, "encryption method %u: Keel does not have it", crypt);
    }
    ret = ret ? ret : check_geometry(h, e);
    if (ret < 0) {
        return ret;
    }
    size_t end = min_u64(len, 1ull << h->cluster_bits);
    if (backing &&
        (backing_len > 1023 || backing < length || backing > end || backing_len > end - backing)) {
        return err_set(e, -EINVAL, "the backing file's name is not inside the header");
    }
    if (backing && backing_len) {
        h->backing_file = text_at(b + backing, backing_len);
        end = backing;
    }
    return length <= end ? parse_extensions(h, b, length, end, e) : 0;
}

struct writer {
    uint8_t *b;
    size_t at, room;
    bool full;
};

static void put(struct writer *w, const void *p, size_t len)
{
    w->full |= len > w->room - w->at;
    if (!w->full && len) {
        memcpy(w->b + w->at, p, len);
        w->at += len;
    }
}

static void put_extension(struct writer *w, uint32_t type, const void *p, uint32_t len)
{
    static const uint8_t pad[8];
    uint8_t head[8];

    store_be32(head, type);
    store_be32(head + 4, len);
    put(w, head, 8);
    put(w, p, len);
    put(w, pad, -len & 7);
}

/* Names for feature bits, for programs that do not know them. */
static void put_features(struct writer *w)
{
    static const struct {
        uint8_t type, bit;
        char name[46];
    } names[] = {
        { 0, 0, "dirty bit" },
        { 0, 1, "corrupt bit" },
        { 0, 2, "external data file" },
        { 0, 3, "compression type" },
        { 0, 4, "extended L2 entries" },
        { 1, 0, "lazy refcounts" },
        { 2, 0, "bitmaps" },
        { 2, 1, "raw external data" },
    };

    put_extension(w, EXT_FEATURES, names, sizeof(names));
}

static void put_extensions(struct writer *w, const struct header *h)
{
    if (h->backing_format) {
        put_extension(w, EXT_BACKING_FORMAT, h->backing_format,
                      (uint32_t)strlen(h->backing_format));
    }
    if (h->has_bitmaps) {
        uint8_t b[24] = { 0 };
        store_be32(b, h->nb_bitmaps);
        store_be64(b + 8, h->bitmap_dir_size);
        store_be64(b + 16, h->bitmap_dir_offset);
        put_extension(w, EXT_BITMAPS, b, sizeof(b));
    }
    put(w, h->other, h->other_len);
    /* Beside a backing file's name they would not fit into the first sector, which is what can be
     * changed in one go; in a small cluster they have no room at all. */
    if (h->version >= 3 && !h->backing_file && w->room >= 4096) {
        put_features(w);
    }
    put_extension(w, EXT_END, NULL, 0);
}

int qcow2_build_header(const struct qcow2 *s, const struct header *h, uint8_t *b)
{
    struct writer w = { .b = b, .room = s->cluster_size };
    size_t name = h->backing_file ? strlen(h->backing_file) : 0;

    memset(b, 0, s->cluster_size);
    store_be32(b, QCOW2_MAGIC);
    store_be32(b + 4, h->version);
    store_be32(b + 20, h->cluster_bits);
    store_be64(b + 24, h->size);
    store_be32(b + 36, h->l1_size);
    store_be64(b + 40, h->l1_offset);
    store_be64(b + 48, h->reftable_offset);
    store_be32(b + 56, h->reftable_clusters);
    store_be32(b + 60, h->nb_snapshots);
    store_be64(b + 64, h->snapshots_offset);
    w.at = V2_LENGTH;
    if (h->version >= 3) {
        store_be64(b + 72, h->incompatible);
        store_be64(b + 80, h->compatible);
        store_be64(b + 88, h->autoclear);
        store_be32(b + 96, h->refcount_order);
        store_be32(b + 100, V3_LENGTH);
        b[104] = h->compression;
        w.at = V3_LENGTH;
    }
    put_extensions(&w, h);
    if (h->backing_file) {
        store_be64(b + 8, w.at);
        store_be32(b + 16, (uint32_t)name);
        put(&w, h->backing_file, name);
    }
    return w.full ? -ENOSPC : (int)((w.at + 511) & ~511ull);
}

/* ---- tables ---- */

int qcow2_read_table(struct qcow2 *s, uint64_t offset, uint32_t entries, uint64_t **out)
{
    uint64_t bytes = ((uint64_t)entries * 8 + 511) & ~511ull;
    uint64_t *t;
    int ret = 0;

    if (posix_memalign((void **)&t, 512, bytes ? bytes : 512)) {
        return -ENOMEM;
    }
    if (bytes) {
        ret = node_read(s->node.file, offset, t, bytes);
    }
    if (ret < 0) {
        free(t);
        return ret;
    }
    for (uint32_t i = 0; i < entries; i++) {
        t[i] = __builtin_bswap64(t[i]);
    }
    *out = t;
    return 0;
}

static void know_metadata(struct qcow2 *s)
{
    meta_add(s, 0, 1);
    meta_add(s, cluster_of(s, s->h.l1_offset),
             round_up_cluster(s, s->h.l1_size * 8ull) >> s->cluster_bits);
    meta_add(s, cluster_of(s, s->h.reftable_offset), s->h.reftable_clusters);
    for (uint32_t i = 0; i < s->h.l1_size; i++) {
        if (s->l1[i] & OFFSET_MASK) {
            meta_add(s, cluster_of(s, s->l1[i] & OFFSET_MASK), 1);
        }
    }
    for (uint32_t i = 0; i < s->reftable_len; i++) {
        if (s->reftable[i]) {
            meta_add(s, cluster_of(s, s->reftable[i]), 1);
        }
    }
    for (uint32_t i = 0; i < s->h.nb_snapshots; i++) {
        meta_add(s, cluster_of(s, s->snaps[i].l1_offset),
                 round_up_cluster(s, s->snaps[i].l1_size * 8ull) >> s->cluster_bits);
    }
}

int qcow2_load_tables(struct qcow2 *s, struct err *e)
{
    int ret = qcow2_read_table(s, s->h.l1_offset, s->h.l1_size, &s->l1);

    s->reftable_len = s->h.reftable_clusters << (s->cluster_bits - 3);
    if (ret == 0) {
        ret = qcow2_read_table(s, s->h.reftable_offset, s->reftable_len, &s->reftable);
    }
    if (ret < 0) {
        return err_set(e, ret, "its tables cannot be read: %s", strerror(-ret));
    }
    if (s->h.nb_snapshots) {
        s->snaps = qcow2_read_snapshots(s, e);
        if (!s->snaps) {
            return e->code;
        }
    }
    s->l2.at = xcalloc(s->h.l1_size + 1ull, sizeof(*s->l2.at));
    s->rb.at = xcalloc(s->reftable_len + 1ull, sizeof(*s->rb.at));
    s->virgin = round_up_cluster(s, s->node.file->len) >> s->cluster_bits;
    s->free_hint = 0;
    s->comp_at = s->comp_end = 0;
    s->l1_dirty_from = s->l1_dirty_to = s->reftable_dirty_from = s->reftable_dirty_to = 0;
    know_metadata(s);
    return 0;
}

void qcow2_free_tables(struct qcow2 *s)
{
    if (s->l2.at) {
        cache_empty(&s->l2);
        cache_empty(&s->rb);
    }
    free(s->l1);
    free(s->reftable);
    free(s->l2.at);
    free(s->rb.at);
    free(s->meta);
    qcow2_free_snaps(s->snaps, s->snaps ? s->h.nb_snapshots : 0);
    s->l1 = s->reftable = s->meta = NULL;
    s->l2.at = s->rb.at = NULL;
    s->snaps = NULL;
    s->meta_size = s->meta_count = 0;
    s->unpacked_entry = 0;
}

/* ---- opening and closing ---- */

static void qcow2_free_all(struct qcow2 *s)
{
    qcow2_free_tables(s);
    qcow2_header_free(&s->h);
    free(s->frees);
    free(s->reaper);
    free(s->zeros);
    free(s->unpacked);
    free(s);
}

void qcow2_discard_node(struct qcow2 *s)
{
    free(s->node.filename);
    qcow2_free_all(s);
}

static int qcow2_close(struct node *n)
{
    struct qcow2 *s = (struct qcow2 *)n;
    int ret = s->node.read_only ? 0 : qcow2_settle(s), ret2;

    /* What a failed commit left in memory goes with it; the disk is as the last good one left
     * it. */
    node_close(n->backing);
    ret2 = node_close(n->file);
    qcow2_free_all(s);
    return ret < 0 ? ret : ret2;
}

static int qcow2_resize(struct node *n, uint64_t len, struct err *e);

static int qcow2_reopen(struct node *n, bool read_only, struct err *e);

static const struct node_ops qcow2_ops = { .name = "qcow2",
                                           .submit = qcow2_submit,
                                           .close = qcow2_close,
                                           .resize = qcow2_resize,
                                           .reopen = qcow2_reopen };

static int qcow2_resize(struct node *n, uint64_t len, struct err *e)
{
    return qcow2_set_size((struct qcow2 *)n, len, e);
}

bool qcow2_is(const struct node *n)
{
    return n->ops == &qcow2_ops;
}

static void set_caches(struct qcow2 *s, const struct qcow2_open *o)
{
    uint64_t l2_bytes =
        o->l2_cache ? o->l2_cache : min_u64(s->h.l1_size * 1ull * s->cluster_size, 32u << 20);
    uint64_t rb_bytes = o->refcount_cache ? o->refcount_cache : 256u << 10;

    s->l2.max = (unsigned)max_u64(l2_bytes >> s->cluster_bits, 4);
    s->rb.max = (unsigned)max_u64(rb_bytes >> s->cluster_bits, 4);
    if (s->h.compatible & COMPAT_LAZY_REFCOUNTS) {
        s->rb.max = UINT32_MAX; /* they are written at the end only */
    }
}

static int read_header(struct qcow2 *s, struct err *e)
{
    size_t len = 512;
    uint8_t *b = xcalloc(1, len);
    int ret = node_read(s->node.file, 0, b, len);

    if (ret == 0 && load_be32(b) == QCOW2_MAGIC && load_be32(b + 20) > 9 &&
        load_be32(b + 20) <= 21) {
        len = 1u << load_be32(b + 20);
        free(b);
        b = xcalloc(1, len);
        ret = node_read(s->node.file, 0, b, min_u64(len, s->node.file->len));
    }
    ret = ret < 0 ? err_set(e, ret, "its header cannot be read: %s", strerror(-ret))
                  : qcow2_parse_header(s, b, len, e);
    free(b);
    return ret;
}

/* Bits that say what is no longer true once this software writes. */
static int start_writing(struct qcow2 *s, struct err *e)
{
    int ret = 0;

    if (s->h.incompatible & INCOMPAT_CORRUPT) {
        return err_set(e, -EACCES, "it is marked corrupt and opens for reading only");
    }
    if (s->h.incompatible & INCOMPAT_DIRTY) {
        ret = qcow2_repair_refcounts(s, e);
    }
    if (ret == 0 && s->h.autoclear) {
        s->h.autoclear = 0;
        s->h.has_bitmaps = false;
        s->header_dirty = true;
        ret = qcow2_settle(s);
        ret = ret < 0 ? err_set(e, ret, "its header cannot be written: %s", strerror(-ret)) : 0;
    }
    return ret;
}

struct node *qcow2_new(struct node *file, const struct header *h)
{
    struct qcow2 *s = xcalloc(1, sizeof(*s));

    s->node.ops = &qcow2_ops;
    s->node.ctx = file->ctx;
    s->node.file = file;
    s->node.is_file = file->is_file;
    s->node.filename = xstrdup(file->filename);
    s->reaper = xcalloc(1, sizeof(*s->reaper));
    if (h) {
        qcow2_header_copy(&s->h, h);
        qcow2_set_shape(s);
    }
    return &s->node;
}

void qcow2_set_shape(struct qcow2 *s)
{
    s->cluster_bits = s->h.cluster_bits;
    s->cluster_size = 1u << s->cluster_bits;
    s->l2_bits = s->cluster_bits - 3;
    s->rb_bits = s->cluster_bits + 3 - s->h.refcount_order;
    s->node.len = (s->h.size + 511) & ~511ull;
    if (!s->zeros) {
        s->zeros = xcalloc(1, s->cluster_size);
    }
}

struct node *qcow2_open(struct node *file, const struct qcow2_open *o, struct err *e)
{
    struct qcow2 *s = (struct qcow2 *)qcow2_new(file, NULL);
    int ret = read_header(s, e);

    s->inactive = o->inactive && !o->read_only;
    s->node.read_only = o->read_only || s->inactive;
    s->pass_discard = o->pass_discard;
    s->check_mode = o->check;
    if (ret == 0) {
        qcow2_set_shape(s);
        set_caches(s, o);
        ret = qcow2_load_tables(s, e);
    }
    if (ret == 0 && !s->node.read_only && !o->check) {
        ret = start_writing(s, e);
    }
    if (ret < 0) {
        err_prefix(e, "image '%s'", file->filename);
        char *filename = s->node.filename;
        node_close(file);
        qcow2_free_all(s);
        free(filename);
        return NULL;
    }
    return &s->node;
}

static int qcow2_reopen(struct node *n, bool read_only, struct err *e)
{
    struct qcow2 *s = (struct qcow2 *)n;
    int ret = read_only ? qcow2_settle(s) : 0;

    n->read_only = read_only || s->inactive;
    if (ret == 0 && !n->read_only) {
        ret = start_writing(s, e);
        n->read_only = ret < 0;
        return ret < 0 ? err_prefix(e, "image '%s'", n->filename) : 0;
    }
    return ret < 0 ? err_set(e, ret, "image '%s': %s", n->filename, strerror(-ret)) : 0;
}

int qcow2_quiesce(struct node *n)
{
    node_drain(n);
    return n->read_only ? 0 : qcow2_settle((struct qcow2 *)n);
}

int qcow2_activate(struct node *n, struct err *e)
{
    struct qcow2 *s = (struct qcow2 *)n;
    unsigned cluster_bits = s->cluster_bits;
    int ret;

    if (!s->inactive) {
        return 0;
    }
    node_drain(n);
    file_refresh(n->file);
    qcow2_free_tables(s);
    qcow2_header_free(&s->h);
    s->h = (struct header){ 0 };
    ret = read_header(s, e);
    if (ret == 0 && s->h.cluster_bits != cluster_bits) {
        ret = err_set(e, -EIO, "its clusters are of another size than before");
    }
    if (ret == 0) {
        qcow2_set_shape(s);
        ret = qcow2_load_tables(s, e);
    }
    if (ret == 0) {
        s->node.read_only = s->inactive = false;
        ret = start_writing(s, e);
    }
    return ret < 0 ? err_prefix(e, "image '%s'", n->filename) : 0;
}

void qcow2_info(const struct node *n, struct qcow2_info *out)
{
    const struct qcow2 *s = (const struct qcow2 *)n;

    *out = (struct qcow2_info){
        .version = s->h.version,
        .cluster_bits = s->h.cluster_bits,
        .refcount_bits = 1u << s->h.refcount_order,
        .lazy_refcounts = s->h.compatible & COMPAT_LAZY_REFCOUNTS,
        .zstd = s->h.compression == 1,
        .corrupt = s->h.incompatible & INCOMPAT_CORRUPT,
        .dirty = s->h.incompatible & INCOMPAT_DIRTY,
        .backing_file = s->h.backing_file,
        .backing_format = s->h.backing_format,
        .snapshots = s->h.nb_snapshots,
    };
}
