/* SPDX-License-Identifier: MIT */
/* block/qcow2.c - which clusters hold metadata; opening and closing.
 */
#include "block/qcow2-int.h"

#include "block/bitmap.h"
#include "block/crypt.h"
#include "block/file.h"
#include "dm/base/err.h"
#include "dm/base/log.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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
    if (s->h.crypt_offset) {
        meta_add(s, cluster_of(s, s->h.crypt_offset),
                 round_up_cluster(s, s->h.crypt_len) >> s->cluster_bits);
    }
    if (s->h.has_bitmaps) {
        meta_add(s, cluster_of(s, s->h.bitmap_dir_offset),
                 round_up_cluster(s, min_u64(s->h.bitmap_dir_size, 64 << 20)) >> s->cluster_bits);
    }
    for (uint32_t i = 0; i < s->h.nb_snapshots; i++) {
        meta_add(s, cluster_of(s, s->snaps[i].l1_offset),
                 round_up_cluster(s, s->snaps[i].l1_size * 8ull) >> s->cluster_bits);
    }
}

static uint32_t reftable_entries(const struct qcow2 *s, const struct header *h)
{
    return h->reftable_clusters << (s->cluster_bits - 3);
}

int qcow2_read_tables(struct qcow2 *s, const struct header *h, struct qcow2_tables *t,
                      struct err *e)
{
    *t = (struct qcow2_tables){ 0 };
    int ret = qcow2_read_table(s, h->l1_offset, h->l1_size, &t->l1);

    ret = ret < 0 ? ret
                  : qcow2_read_table(s, h->reftable_offset, reftable_entries(s, h), &t->reftable);
    if (ret < 0) {
        err_set(e, ret, "its tables cannot be read: %s", strerror(-ret));
    } else if (h->nb_snapshots && !(t->snaps = qcow2_read_snapshots(s, h, e))) {
        ret = e->code;
    }
    if (ret < 0) {
        qcow2_drop_tables(t, h);
    }
    return ret;
}

void qcow2_drop_tables(struct qcow2_tables *t, const struct header *h)
{
    free(t->l1);
    free(t->reftable);
    qcow2_free_snaps(t->snaps, t->snaps ? h->nb_snapshots : 0);
    *t = (struct qcow2_tables){ 0 };
}

static void set_tables(struct qcow2 *s, const struct qcow2_tables *t)
{
    s->l1 = t->l1;
    s->reftable = t->reftable;
    s->snaps = t->snaps;
    s->reftable_len = reftable_entries(s, &s->h);
    s->l2.at = xcalloc(s->h.l1_size + 1ull, sizeof(*s->l2.at));
    s->rb.at = xcalloc(s->reftable_len + 1ull, sizeof(*s->rb.at));
    s->virgin = round_up_cluster(s, s->node.file->len) >> s->cluster_bits;
    s->free_hint = 0;
    s->comp_at = s->comp_end = 0;
    s->l1_dirty_from = s->l1_dirty_to = s->reftable_dirty_from = s->reftable_dirty_to = 0;
    know_metadata(s);
}

static void free_tables(struct qcow2 *s)
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

void qcow2_take_tables(struct qcow2 *s, struct header *h, const struct qcow2_tables *t)
{
    free_tables(s);
    qcow2_header_free(&s->h);
    s->h = *h;
    *h = (struct header){ 0 };
    s->broken = false;
    qcow2_set_shape(s);
    set_tables(s, t);
}

/* ---- opening and closing ---- */

static void qcow2_free_all(struct qcow2 *s)
{
    s->node.bitmaps = NULL; /* block/node.c frees those */
    ev_timer_disarm(&s->give_back);
    qcow2_bitmaps_unload(s);
    free_tables(s);
    luks_free(s->luks);
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

/* Everything that is still in memory alone is written. */
static int stop_writing(struct qcow2 *s)
{
    int ret = qcow2_bitmaps_store(s), ret2 = qcow2_settle(s);

    return ret < 0 ? ret : ret2;
}

static int qcow2_close(struct node *n)
{
    struct qcow2 *s = (struct qcow2 *)n;
    int ret = s->node.read_only ? 0 : stop_writing(s), ret2;

    /* What a failed commit left in memory goes with it; the disk is as the last good one left
     * it. */
    node_close(n->backing);
    node_close(s->crypt);
    ret2 = node_close(n->other);
    ret = ret < 0 ? ret : ret2;
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

/* With the key at hand, and the file that has the data, what is between them. */
static void set_crypt(struct qcow2 *s)
{
    struct node *data = s->external ? s->node.other : s->node.file;

    if (s->luks && data && !s->crypt) {
        s->crypt = crypt_new(node_share(data), s->luks, 0);
    }
    qcow2_set_shape(s);
}

void qcow2_set_data(struct node *n, struct node *data)
{
    n->other = data;
    set_crypt((struct qcow2 *)n);
}

int qcow2_luks_info(struct node *n, struct luks_info *out, struct err *e)
{
    const struct qcow2 *s = (const struct qcow2 *)n;

    return luks_info(n->file, s->h.crypt_offset, s->h.crypt_len, out, e);
}

int qcow2_luks_amend(struct node *n, const struct luks_amend *a, struct err *e)
{
    const struct qcow2 *s = (const struct qcow2 *)n;

    return luks_amend(n->file, s->h.crypt_offset, s->h.crypt_len, a, e);
}

static int unlock(struct qcow2 *s, const struct qcow2_open *o, struct err *e)
{
    if (!s->h.crypt_offset || o->no_io) {
        return 0;
    }
    if (!o->key) {
        return err_set(e, -EINVAL, "Parameter 'encrypt.key-secret' is required for cipher");
    }
    s->luks = luks_open(s->node.file, s->h.crypt_offset, s->h.crypt_len, o->key, e);
    if (!s->luks) {
        return e->code;
    }
    set_crypt(s);
    return 0;
}

bool qcow2_is(const struct node *n)
{
    return n->ops == &qcow2_ops;
}

void qcow2_pass_discard(struct node *n, bool on)
{
    ((struct qcow2 *)n)->pass_discard = on;
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
    if (ret == 0 && s->h.autoclear & ~(uint64_t)(AUTOCLEAR_RAW_DATA | AUTOCLEAR_BITMAPS)) {
        s->h.autoclear &= AUTOCLEAR_RAW_DATA;
        s->h.has_bitmaps = false;
        s->header_dirty = true;
        ret = qcow2_settle(s);
        ret = ret < 0 ? err_set(e, ret, "its header cannot be written: %s", strerror(-ret)) : 0;
    }
    if (ret == 0 && (ret = qcow2_bitmaps_claim(s)) < 0) {
        err_set(e, ret, "its bitmap directory cannot be written: %s", strerror(-ret));
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
    s->entry_bits = entry_bits(&s->h);
    s->l2_bits = s->cluster_bits - s->entry_bits;
    s->extended = s->h.incompatible & INCOMPAT_EXTENDED_L2;
    s->sub_bits = s->cluster_bits - (s->extended ? 5 : 0);
    s->external = s->h.incompatible & INCOMPAT_DATA_FILE;
    s->data = s->h.crypt_offset ? s->crypt : s->external ? s->node.other : s->node.file;
    s->rb_bits = s->cluster_bits + 3 - s->h.refcount_order;
    s->node.len = (s->h.size + 511) & ~511ull;
    if (!s->zeros) {
        s->zeros = xcalloc(1, s->cluster_size);
    }
}

struct node *qcow2_open(struct node *file, const struct qcow2_open *o, struct err *e)
{
    struct qcow2 *s = (struct qcow2 *)qcow2_new(file, NULL);
    struct qcow2_tables t;
    int ret = read_header(s, e);

    s->inactive = o->inactive && !o->read_only;
    s->node.read_only = o->read_only || s->inactive;
    s->pass_discard = o->pass_discard;
    s->check_mode = o->check;
    if (ret == 0) {
        qcow2_set_shape(s);
        set_caches(s, o);
        ret = qcow2_read_tables(s, &s->h, &t, e);
    }
    if (ret == 0) {
        set_tables(s, &t);
    }
    ret = ret < 0 ? ret : unlock(s, o, e);
    if (ret == 0 && !o->check && !s->inactive) {
        ret = qcow2_bitmaps_load(s, e);
    }
    if (ret == 0 && !s->node.read_only && !o->check) {
        ret = start_writing(s, e);
    }
    if (ret < 0) {
        err_prefix(e, "image '%s'", file->filename);
        char *filename = s->node.filename;
        node_close(s->crypt);
        node_close(file);
        bitmap_free_list(s->node.bitmaps);
        qcow2_free_all(s);
        free(filename);
        return NULL;
    }
    return &s->node;
}

static int qcow2_reopen(struct node *n, bool read_only, struct err *e)
{
    struct qcow2 *s = (struct qcow2 *)n;
    int ret = read_only ? stop_writing(s) : 0;

    n->read_only = read_only || s->inactive;
    if (s->crypt) {
        s->crypt->read_only = false; /* what stands under it knows */
    }
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
    return n->read_only ? 0 : stop_writing((struct qcow2 *)n);
}

int qcow2_activate(struct node *n, struct err *e)
{
    struct qcow2 *s = (struct qcow2 *)n;
    struct header old = s->h, h;
    struct qcow2_tables t;
    int ret;

    if (!s->inactive) {
        return 0;
    }
    node_drain(n);
    file_refresh(n->file);
    s->h = (struct header){ 0 };
    ret = read_header(s, e);
    h = s->h;
    s->h = old; /* until all is read */
    if (ret == 0 && h.cluster_bits != s->cluster_bits) {
        ret = err_set(e, -EIO, "its clusters are of another size than before");
    }
    ret = ret < 0 ? ret : qcow2_read_tables(s, &h, &t, e);
    if (ret == 0) {
        qcow2_take_tables(s, &h, &t);
    }
    qcow2_header_free(&h);
    if (ret == 0) {
        qcow2_bitmaps_unload(s);
        ret = qcow2_bitmaps_load(s, e);
    }
    if (ret == 0) {
        set_crypt(s);
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
        .extended_l2 = s->extended,
        .encrypted = s->h.crypt_offset != 0,
        .data_file = s->external ? s->h.data_file ? s->h.data_file : "" : NULL,
        .data_file_raw = s->h.autoclear & AUTOCLEAR_RAW_DATA,
        .snapshots = s->h.nb_snapshots,
    };
}
