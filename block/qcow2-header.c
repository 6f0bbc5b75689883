/* SPDX-License-Identifier: MIT */
/* block/qcow2-header.c - the header and its extensions, read and written. */
#include "block/qcow2-int.h"

#include "dm/base/err.h"

#include <assert.h>
#include <string.h>

#define EXT_END 0u
#define EXT_BACKING_FORMAT 0xe2792acau
#define EXT_FEATURES 0x6803f857u
#define EXT_BITMAPS 0x23852875u
#define EXT_CRYPTO 0x0537be77u
#define EXT_DATA_FILE 0x44415441u
enum { V2_LENGTH = 72, V3_LENGTH = 112 };
enum { METHOD_AES = 1, METHOD_LUKS = 2, MAX_LUKS_HEADER = 64 << 20 };

void qcow2_header_free(struct header *h)
{
    free(h->backing_file);
    free(h->backing_format);
    free(h->data_file);
    free(h->other);
    h->backing_file = h->backing_format = h->data_file = NULL;
    h->other = NULL;
}

int qcow2_header_copy(struct header *to, const struct header *from)
{
    *to = *from;
    to->backing_file = from->backing_file ? xstrdup(from->backing_file) : NULL;
    to->backing_format = from->backing_format ? xstrdup(from->backing_format) : NULL;
    to->data_file = from->data_file ? xstrdup(from->data_file) : NULL;
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
        if (len != 16) {
            return err_set(e, -EINVAL, "the encryption extension is %u bytes long", len);
        }
        h->crypt_offset = load_be64(p);
        h->crypt_len = load_be64(p + 8);
        return 0;
    case EXT_DATA_FILE:
        free(h->data_file);
        h->data_file = text_at(p, len);
        return 0;
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
    uint64_t known = INCOMPAT_DIRTY | INCOMPAT_CORRUPT | INCOMPAT_COMPRESSION | INCOMPAT_DATA_FILE |
                     INCOMPAT_EXTENDED_L2;

    if ((h->incompatible & INCOMPAT_EXTENDED_L2) && h->cluster_bits < 14) {
        return err_set(e, -EINVAL, "extended L2 entries with clusters of %u bytes",
                       1u << h->cluster_bits);
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
    unsigned per_l1 = l1_reach(h);
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
    if (!(h->incompatible & INCOMPAT_DATA_FILE)) {
        h->autoclear &= ~(uint64_t)AUTOCLEAR_RAW_DATA;
    }
    return check_features(h, e);
}

static int check_crypt(const struct header *h, uint32_t method, struct err *e)
{
    if ((method == METHOD_LUKS) != (h->crypt_offset != 0)) {
        return err_set(e, -EINVAL, "encryption method %u %s a LUKS header", method,
                       method ? "without" : "with");
    }
    if (h->crypt_offset % (1ull << h->cluster_bits) || h->crypt_offset >> 56 ||
        h->crypt_len > MAX_LUKS_HEADER) {
        return err_set(e, -EINVAL, "a LUKS header of %llu bytes at %#llx",
                       (unsigned long long)h->crypt_len, (unsigned long long)h->crypt_offset);
    }
    return 0;
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
    if (ret == 0 && crypt == METHOD_AES) {
        ret = err_set(e, -ENOTSUP,
                      "AES encryption of the old kind, which is not safe: Keel has LUKS");
    } else if (ret == 0 && crypt > METHOD_LUKS) {
        ret = err_set(e, -EINVAL, "encryption method %u", crypt);
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
    ret = length <= end ? parse_extensions(h, b, length, end, e) : 0;
    ret = ret < 0 ? ret : check_crypt(h, crypt, e);
    /* Without the bit somebody wrote who does not know them: they are out of date. */
    h->has_bitmaps = h->has_bitmaps && (h->autoclear & AUTOCLEAR_BITMAPS);
    if (!h->has_bitmaps) {
        h->autoclear &= ~(uint64_t)AUTOCLEAR_BITMAPS;
    }
    return ret;
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
    if (h->data_file) {
        put_extension(w, EXT_DATA_FILE, h->data_file, (uint32_t)strlen(h->data_file));
    }
    if (h->crypt_offset) {
        uint8_t b[16];
        store_be64(b, h->crypt_offset);
        store_be64(b + 8, h->crypt_len);
        put_extension(w, EXT_CRYPTO, b, sizeof(b));
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
    if (h->version >= 3 && !h->backing_file && !h->data_file && w->room >= 4096) {
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
    store_be32(b + 32, h->crypt_offset ? METHOD_LUKS : 0);
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
