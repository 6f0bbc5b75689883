/* SPDX-License-Identifier: MIT */
/* block/vmdk.c - VMware's VMDK images: a text names extents, which are flat or sparse files.
 *
 * Reference: VMware, Virtual Disk Format 5.0. Little-endian; places are in sectors.
 *
 *   monolithicSparse  | header | descriptor | grain directory and tables, twice | grains ... |
 *   monolithicFlat    descriptor file, one flat file; twoGbMaxExtentFlat: several
 *   twoGbMaxExtentSparse  descriptor file, several sparse ones
 *   streamOptimized   | header | descriptor | marker, packed grain | ... | tables | footer | end |
 *
 *   header of a sparse extent, 512 bytes
 *    0  4  "KDMV"                              44  4  entries of a grain table, 512
 *    4  4  version, 1 to 3                     48  8  place of the redundant grain directory
 *    8  4  flags: 2 redundant tables,          56  8  place of the grain directory, all ones: the
 *          4 zeroed grains, 1 << 16 packed,           footer says it, a copy of the header in the
 *          1 << 17 markers                            last sector but one
 *   12  8  capacity                            64  8  where the grains begin
 *   20  8  grain                               72  1  not closed properly
 *   28  8  place of the descriptor             73  4  "\n \r\n": damaged by no text-mode transfer
 *   36  8  its length                          77  2  1: deflate
 *
 * An entry of the grain directory is the sector of a grain table, one of a grain table that of a
 * grain; 0: none, 1: zeros (with flag 4). A packed grain begins with its first sector (8), its
 * packed length (4), then zlib's data.
 *
 * Written are flat extents, the grains of monolithicSparse, and streamOptimized from beginning to
 * end by convert. Leaves out: COWD and other ESX extents.
 */
#include "block/vmdk.h"

#include "block/compress.h"
#include "block/vmdk-int.h"
#include "dm/base/bytes.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { MARK_GT = 1, MARK_GD = 2, MARK_FOOTER = 3, GRAIN_HEAD = 12 };

int vmdk_bad(const struct node *file, struct err *e, const char *what)
{
    return err_set(e, -EINVAL, "image '%s': VMDK: %s", file->filename, what);
}

/* ---- lookup ---- */

static const struct vmdk_extent *extent_at(const struct vmdk *v, uint64_t offset)
{
    unsigned lo = 0, hi = v->extents;

    while (hi - lo > 1) {
        unsigned mid = (lo + hi) / 2;
        if (v->extent[mid].start <= offset) {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    return &v->extent[lo];
}

static void sparse_lookup(const struct mapped *m, const struct vmdk_extent *x, uint64_t offset,
                          struct map_run *r)
{
    uint64_t grain = x->h.grain * 512, in = offset % grain, index = offset / grain;
    const uint32_t *gt = x->gt[index / VMDK_GTES];
    uint32_t gte = gt ? gt[index % VMDK_GTES] : 0;

    r->len = min_u64(r->len, grain - in);
    if (gte == 0) {
        r->kind = MAP_NONE;
    } else if (gte == 1 && (x->h.flags & VMDK_ZEROED)) {
        r->kind = MAP_ZERO;
    } else if (gte >= x->file->len / 512) {
        r->kind = MAP_BAD;
    } else if (x->h.flags & VMDK_COMPRESSED) {
        r->kind = MAP_PACKED;
        r->at = gte * 512ull;
        r->packed_len = (uint32_t)min_u64(x->file->len - r->at, m->block * 2);
    } else {
        r->at = gte * 512ull + in;
    }
}

static void vmdk_lookup(const struct mapped *m, uint64_t offset, uint64_t len, struct map_run *r)
{
    const struct vmdk *v = (const struct vmdk *)m;
    const struct vmdk_extent *x = extent_at(v, offset);
    uint64_t in = offset - x->start;

    *r = (struct map_run){ .kind = MAP_FILE, .file = x->file, .len = min_u64(len, x->len - in) };
    if (!x->file) {
        r->kind = MAP_ZERO;
    } else if (x->gt) {
        sparse_lookup(m, x, in, r);
    } else {
        r->at = x->at + in;
    }
}

/* ---- writing ---- */

static int vmdk_allocate(struct mapped *m, uint64_t first, uint64_t count, uint64_t *at)
{
    const struct vmdk *v = (struct vmdk *)m;
    const struct vmdk_extent *x = &v->extent[0];

    if (!x->gt || (m->end + count * m->block) / 512 > UINT32_MAX) {
        return x->gt ? -EFBIG : -EIO;
    }
    for (uint64_t i = first; i < first + count; i++) {
        if (!x->gt[i / VMDK_GTES]) {
            return -EIO;
        }
    }
    *at = m->end;
    m->end += count * m->block;
    return 0;
}

static void change_cid(struct vmdk *v)
{
    char *at = v->descriptor ? strstr(v->descriptor, "\nCID=") : NULL, cid[9];

    v->touched = true;
    if (!at || strlen(at) < 13) {
        return;
    }
    v->cid = v->cid * 2654435761u + 12345;
    v->cid -= v->cid == UINT32_MAX;
    snprintf(cid, sizeof(cid), "%08x", v->cid);
    memcpy(at + 5, cid, 8);
    for (uint64_t i = 0; i < v->descriptor_len / 512; i++) {
        mapped_dirty(&v->m, v->gt_keys + i);
    }
}

static void vmdk_written(struct mapped *m, uint64_t first, uint64_t count, uint64_t at,
                         uint32_t len)
{
    struct vmdk *v = (struct vmdk *)m;
    struct vmdk_extent *x = &v->extent[0];

    for (uint64_t i = 0; i < count; i++) {
        uint64_t k = first + i, sector = k / 128;
        x->gt[k / VMDK_GTES][k % VMDK_GTES] = (uint32_t)((at + i * m->block) / 512);
        if (!len) {
            mapped_dirty(m, sector * 2);
            if (x->rgd) {
                mapped_dirty(m, sector * 2 + 1);
            }
        }
    }
    if (!len && !v->touched) {
        change_cid(v);
    }
}

/* Keys: twice the number of a sector of grain tables, with 1 for the copy; then the descriptor. */
static uint64_t vmdk_table(const struct mapped *m, uint64_t key, uint8_t sector[512])
{
    const struct vmdk *v = (const struct vmdk *)m;
    const struct vmdk_extent *x = &v->extent[0];
    uint64_t s = key / 2;

    if (key >= v->gt_keys) {
        key -= v->gt_keys;
        memcpy(sector, v->descriptor + key * 512, 512);
        return v->descriptor_at + key * 512;
    }
    for (unsigned i = 0; i < 128; i++) {
        store_le(sector + i * 4, 4, x->gt[s / 4][s % 4 * 128 + i]);
    }
    return ((key & 1 ? x->rgd : x->gd)[s / 4] + s % 4) * 512ull;
}

static int vmdk_unpack(const struct mapped *m, const uint8_t *src, uint32_t len, uint8_t *dst)
{
    uint32_t packed = len > GRAIN_HEAD ? load_le32(src + 8) : UINT32_MAX;
    uLongf out = m->block;
    int ret;

    if (packed > len - GRAIN_HEAD) {
        return -EIO;
    }
    ret = uncompress(dst, &out, src + GRAIN_HEAD, packed);
    if (ret != Z_OK) {
        return -EIO;
    }
    memset(dst + out, 0, m->block - out); /* the last grain may be short */
    return 0;
}

static uint32_t vmdk_pack(const struct mapped *m, uint64_t index, const uint8_t *src, uint8_t *dst)
{
    size_t room = 2 * m->block - GRAIN_HEAD - 512;
    long out = pack_zlib(dst + GRAIN_HEAD, room, src, m->block);

    if (out <= 0) { /* no memory: zlib takes less, and always fits */
        uLongf zlib = room;
        compress(dst + GRAIN_HEAD, &zlib, src, m->block);
        out = (long)zlib;
    }
    store_le(dst, 8, index * (m->block / 512));
    store_le(dst + 8, 4, (uint64_t)out);
    uint64_t len = GRAIN_HEAD + (uint64_t)out, whole = (len + 511) & ~511ull;
    memset(dst + len, 0, whole - len);
    return (uint32_t)whole;
}

static int put(struct vmdk *v, const void *data, uint64_t len)
{
    int ret = node_write(v->m.base.file, v->m.end, data, len);

    v->m.end += len;
    return ret;
}

static int put_marker(struct vmdk *v, uint64_t sectors, uint32_t type)
{
    uint8_t mark[512] = { 0 };

    store_le(mark, 8, sectors);
    store_le(mark + 12, 4, type);
    return put(v, mark, sizeof(mark));
}

static int put_tables(struct vmdk *v, uint32_t *gd)
{
    struct vmdk_extent *x = &v->extent[0];
    uint8_t raw[VMDK_GT_BYTES];
    int ret = 0;

    for (uint32_t i = 0; i < x->ngt && ret == 0; i++) {
        bool any = false;
        for (unsigned k = 0; k < VMDK_GTES; k++) {
            store_le(raw + k * 4, 4, x->gt[i][k]);
            any |= x->gt[i][k] != 0;
        }
        if (any) {
            ret = put_marker(v, sizeof(raw) / 512, MARK_GT);
            gd[i] = (uint32_t)(v->m.end / 512);
            ret = ret < 0 ? ret : put(v, raw, sizeof(raw));
        }
    }
    return ret;
}

/* A stream ends: grain tables, their directory, the footer, the end. */
static int vmdk_finish(struct mapped *m)
{
    struct vmdk *v = (struct vmdk *)m;
    struct vmdk_extent *x = &v->extent[0];
    uint64_t len = ((uint64_t)x->ngt * 4 + 511) & ~511ull;
    uint8_t footer[512];
    uint32_t *gd;
    int ret;

    if (!v->stream) {
        return 0;
    }
    gd = xcalloc(1, len); /* little-endian, as hosts are */
    ret = put_tables(v, gd);
    ret = ret < 0 ? ret : put_marker(v, len / 512, MARK_GD);
    struct vmdk_header h = x->h;
    h.gd_at = m->end / 512;
    ret = ret < 0 ? ret : put(v, gd, len);
    ret = ret < 0 ? ret : put_marker(v, 1, MARK_FOOTER);
    vmdk_build_header(footer, &h);
    ret = ret < 0 ? ret : put(v, footer, sizeof(footer));
    free(gd);
    return ret < 0 ? ret : put_marker(v, 0, 0);
}

static void vmdk_free(struct mapped *m)
{
    struct vmdk *v = (struct vmdk *)m;

    for (unsigned i = 0; i < v->extents; i++) {
        struct vmdk_extent *x = &v->extent[i];
        for (uint32_t k = 0; x->gt && k < x->ngt; k++) {
            free(x->gt[k]);
        }
        free(x->gt);
        free(x->gd);
        free(x->rgd);
        free(x->name);
        free(x->type);
    }
    free(v->extent);
    free(v->create_type);
    free(v->parent);
    free(v->descriptor);
    free(v);
}

static const struct map_ops vmdk_ops = {
    .node = { .name = "vmdk" },
    .lookup = vmdk_lookup,
    .allocate = vmdk_allocate,
    .written = vmdk_written,
    .table = vmdk_table,
    .unpack = vmdk_unpack,
    .finish = vmdk_finish,
    .free = vmdk_free,
};
/* The same, for images that are packed: every write has to be. */
static const struct map_ops vmdk_packed_ops = {
    .node = { .name = "vmdk" },
    .lookup = vmdk_lookup,
    .allocate = vmdk_allocate,
    .written = vmdk_written,
    .table = vmdk_table,
    .unpack = vmdk_unpack,
    .pack = vmdk_pack,
    .finish = vmdk_finish,
    .free = vmdk_free,
};

/* ---- sparse extents ---- */

static int parse_header(const uint8_t *b, struct vmdk_header *h, const struct node *file,
                        struct err *e)
{
    *h = (struct vmdk_header){ .version = load_le32(b + 4),
                               .flags = load_le32(b + 8),
                               .capacity = load_le64(b + 12),
                               .grain = load_le64(b + 20),
                               .desc_at = load_le64(b + 28),
                               .desc_len = load_le64(b + 36),
                               .gtes = load_le32(b + 44),
                               .rgd_at = load_le64(b + 48),
                               .gd_at = load_le64(b + 56),
                               .overhead = load_le64(b + 64),
                               .compression = load_le16(b + 77) };
    if (memcmp(b, "KDMV", 4) != 0 || h->version < 1 || h->version > 3) {
        return vmdk_bad(file, e, "this is no sparse extent of version 1 to 3");
    }
    if (memcmp(b + 73, "\n \r\n", 4) != 0) {
        return vmdk_bad(file, e, "a transfer as text has damaged it");
    }
    if (h->capacity > 1ull << 42 || h->grain < 1 || h->grain > 2048 || h->grain & (h->grain - 1) ||
        h->gtes != VMDK_GTES) {
        return vmdk_bad(file, e, "its capacity, grain or table size is not one Keel can have");
    }
    if ((h->flags & VMDK_COMPRESSED) && h->compression != 1) {
        return vmdk_bad(file, e, "it is compressed in a way that is not known");
    }
    return 0;
}

static int load_header(struct vmdk_extent *x, struct err *e)
{
    struct node *file = x->file;
    uint8_t *b = mapped_read(file, 0, 512, "the header", e);
    int ret = b ? parse_header(b, &x->h, file, e) : -EINVAL;

    free(b);
    if (ret < 0 || x->h.gd_at != VMDK_AT_END || file->len < 1536) {
        return ret;
    }
    b = mapped_read(file, file->len - 1024, 512, "the footer", e);
    if (!b) {
        return -EINVAL;
    }
    if (memcmp(b, "KDMV", 4) == 0) {
        ret = parse_header(b, &x->h, file, e);
    }
    free(b);
    return ret;
}

static uint32_t *load_words(struct node *file, uint64_t sector, uint32_t n, const char *what,
                            struct err *e)
{
    uint32_t *raw = sector > UINT32_MAX ? NULL : mapped_read(file, sector * 512, n * 4ull, what, e);

    if (!raw && sector > UINT32_MAX) {
        vmdk_bad(file, e, "a table lies nowhere");
    }
    return raw; /* hosts are little-endian */
}

/* Neighbours that lie one after the other are read at once. */
static int load_tables(struct vmdk_extent *x, struct err *e)
{
    enum { AT_ONCE = 512 };
    const uint32_t per = VMDK_GT_BYTES / 512;

    for (uint32_t i = 0, n; i < x->ngt; i += n) {
        n = 1;
        if (!x->gd[i]) {
            continue;
        }
        while (i + n < x->ngt && n < AT_ONCE && x->gd[i + n] == x->gd[i] + n * per) {
            n++;
        }
        uint32_t *raw = load_words(x->file, x->gd[i], n * VMDK_GTES, "a grain table", e);
        if (!raw) {
            return -EINVAL;
        }
        for (uint32_t k = 0; k < n; k++) {
            x->gt[i + k] = xcalloc(1, VMDK_GT_BYTES);
            memcpy(x->gt[i + k], raw + k * VMDK_GTES, VMDK_GT_BYTES);
        }
        free(raw);
    }
    return 0;
}

static int word_order(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* Two directory entries with one table would let a small file claim much memory, and a write change
 * the disk in two places. */
static bool tables_overlap(const struct vmdk_extent *x)
{
    uint32_t *sorted = xcalloc(x->ngt + 1, sizeof(*sorted));
    bool found = false;

    memcpy(sorted, x->gd, x->ngt * sizeof(*sorted));
    qsort(sorted, x->ngt, sizeof(*sorted), word_order);
    for (uint32_t i = 1; i < x->ngt; i++) {
        found |= sorted[i - 1] && sorted[i] - sorted[i - 1] < VMDK_GT_BYTES / 512;
    }
    free(sorted);
    return found;
}

int vmdk_load_sparse(struct vmdk *v, struct vmdk_extent *x, bool writable, struct err *e)
{
    int ret = load_header(x, e);

    if (ret < 0) {
        return ret;
    }
    uint64_t grains = (x->h.capacity + x->h.grain - 1) / x->h.grain;
    uint64_t tables = (grains + VMDK_GTES - 1) / VMDK_GTES;
    if (tables * VMDK_GT_BYTES > VMDK_MAX_TABLES) {
        return vmdk_bad(x->file, e, "more grain tables than Keel keeps in memory");
    }
    x->ngt = (uint32_t)tables;
    x->gt = xcalloc(tables + 1, sizeof(*x->gt));
    v->m.block = x->h.grain * 512;
    if (x->h.gd_at == VMDK_AT_END) { /* a stream that has just begun */
        if (!writable) {
            return vmdk_bad(x->file, e, "a stream that was cut off: it has no footer");
        }
        for (uint32_t i = 0; i < x->ngt; i++) {
            x->gt[i] = xcalloc(1, VMDK_GT_BYTES);
        }
        x->gd = xcalloc(tables + 1, sizeof(*x->gd));
        v->stream = true;
        v->m.end = x->h.overhead * 512;
        return v->m.end < x->file->len ? vmdk_bad(x->file, e, "a stream that was cut off") : 0;
    }
    if (writable && (x->h.flags & VMDK_COMPRESSED)) {
        return vmdk_bad(x->file, e, "streamOptimized images are written by convert alone");
    }
    x->gd = load_words(x->file, x->h.gd_at, x->ngt, "the grain directory", e);
    if (!x->gd) {
        return -EINVAL;
    }
    if (tables_overlap(x)) {
        return vmdk_bad(x->file, e, "two grain tables lie over one another");
    }
    if (writable && (x->h.flags & 2)) {
        x->rgd = load_words(x->file, x->h.rgd_at, x->ngt, "the redundant grain directory", e);
        if (!x->rgd) {
            return -EINVAL;
        }
    }
    for (uint32_t i = 0; writable && i < x->ngt; i++) {
        if (!x->gd[i] || (x->rgd && !x->rgd[i])) {
            return vmdk_bad(x->file, e, "a grain table is missing: it can be read only");
        }
    }
    v->m.end = (x->file->len + v->m.block - 1) & ~(v->m.block - 1);
    return load_tables(x, e);
}

/* ---- opening ---- */

/* The descriptor inside a sparse extent; not all have one. */
static int load_embedded(struct vmdk *v, struct vmdk_extent *x, struct err *e)
{
    uint64_t len = x->h.desc_len * 512;
    char *text;
    int ret;

    if (!x->h.desc_at) {
        return 0;
    }
    if (x->h.desc_len > VMDK_MAX_DESCRIPTOR / 512 || x->h.desc_at > UINT32_MAX) {
        return vmdk_bad(x->file, e, "its descriptor is too long");
    }
    v->descriptor_at = x->h.desc_at * 512;
    text = mapped_read(x->file, v->descriptor_at, len, "the descriptor", e);
    if (!text) {
        return -EINVAL;
    }
    v->descriptor = xcalloc(1, len + 1);
    memcpy(v->descriptor, text, len);
    free(text);
    v->descriptor_len = len;
    ret = vmdk_parse(v, x->file, v->descriptor, e);
    return ret;
}

static int open_monolithic(struct vmdk *v, struct node *file, const struct image_open *o,
                           struct err *e)
{
    struct vmdk_extent *x = xcalloc(1, sizeof(*x));
    int ret;

    x->file = file;
    ret = vmdk_load_sparse(v, x, !o->read_only, e);
    ret = ret < 0 ? ret : load_embedded(v, x, e);
    for (unsigned i = 0; i < v->extents; i++) { /* what the text names is this very file */
        free(v->extent[i].name);
        free(v->extent[i].type);
    }
    free(v->extent);
    x->name = xstrdup(file->filename);
    x->type = xstrdup("");
    x->len = x->h.capacity * 512;
    v->extent = x;
    v->extents = 1;
    v->m.base.len = x->len;
    return ret;
}

static int open_extent(struct vmdk *v, struct node *file, struct vmdk_extent *x,
                       const struct image_open *o, struct err *e)
{
    bool sparse = strcmp(x->type, "SPARSE") == 0;
    struct image_open how = *o;

    if (strcmp(x->type, "ZERO") == 0) {
        return 0;
    }
    if (sparse && !o->read_only) {
        return vmdk_bad(file, e, "sparse extents in files of their own can be read only");
    }
    x->file = format_open_sibling(file, x->name, sparse ? 512 : x->at + x->len, &how, e);
    if (!x->file) {
        return -EINVAL;
    }
    v->m.files[v->m.nfiles++] = x->file;
    if (sparse) {
        uint64_t was = v->m.block;
        x->file->growable = true; /* its length need not be whole grains */
        int ret = vmdk_load_sparse(v, x, false, e);
        if (ret == 0 && was && was != v->m.block) {
            ret = vmdk_bad(file, e, "its extents have different grains");
        }
        if (ret == 0 && x->len > x->h.capacity * 512) {
            ret = vmdk_bad(file, e, "an extent is smaller than said");
        }
        return ret;
    }
    return 0;
}

static int open_extents(struct vmdk *v, struct node *file, const struct image_open *o,
                        struct err *e)
{
    uint64_t len = min_u64(file->len, VMDK_MAX_DESCRIPTOR), at = 0;
    char *raw = mapped_read(file, 0, len, "the descriptor", e), *text;
    int ret;

    if (!raw) {
        return -EINVAL;
    }
    text = xcalloc(1, len + 1);
    memcpy(text, raw, len);
    free(raw);
    ret = vmdk_parse(v, file, text, e);
    free(text);
    v->m.files = xcalloc(v->extents + 1, sizeof(*v->m.files));
    for (unsigned i = 0; ret == 0 && i < v->extents; i++) {
        v->extent[i].start = at;
        at += v->extent[i].len;
        ret = open_extent(v, file, &v->extent[i], o, e);
    }
    v->m.base.len = at;
    if (ret == 0 && !at) {
        ret = vmdk_bad(file, e, "its descriptor names no extent");
    }
    return ret;
}

static struct node *vmdk_open(struct node *file, const struct image_open *o, struct err *e)
{
    struct vmdk *v = xcalloc(1, sizeof(*v));
    uint8_t *head = mapped_read(file, 0, 512, "the header", e);
    int ret = head ? 0 : -EINVAL;
    bool sparse = head && memcmp(head, "KDMV", 4) == 0;

    v->m.ops = &vmdk_ops;
    v->parent_cid = UINT32_MAX;
    if (head && memcmp(head, "COWD", 4) == 0) {
        ret = vmdk_bad(file, e, "ESX extents: known, but Keel does not have them yet");
    } else if (head) {
        ret = sparse ? open_monolithic(v, file, o, e) : open_extents(v, file, o, e);
    }
    free(head);
    if (ret < 0) {
        for (unsigned i = 0; i < v->m.nfiles; i++) {
            node_close(v->m.files[i]);
        }
        free(v->m.files);
        node_close(file);
        vmdk_free(&v->m);
        return NULL;
    }
    v->m.block = v->m.block ? v->m.block : 65536;
    if (v->stream) {
        v->m.ops = &vmdk_packed_ops;
    }
    v->gt_keys = sparse ? v->extent[0].ngt * (VMDK_GT_BYTES / 512) * 2ull : 0;
    v->m.keys = v->gt_keys + v->descriptor_len / 512;
    mapped_start(&v->m, file, o);
    return &v->m.base;
}

/* ---- looking at it ---- */

bool vmdk_is(const struct node *n)
{
    return strcmp(n->ops->name, "vmdk") == 0;
}

void vmdk_info(const struct node *n, struct vmdk_info *out)
{
    const struct vmdk *v = (const struct vmdk *)n;

    *out = (struct vmdk_info){ .cid = v->cid,
                               .parent_cid = v->parent_cid,
                               .create_type = v->create_type ? v->create_type : "",
                               .extents = v->extents };
}

void vmdk_extent(const struct node *n, unsigned i, struct vmdk_extent_info *out)
{
    const struct vmdk_extent *x = &((const struct vmdk *)n)->extent[i];

    *out = (struct vmdk_extent_info){ .filename = x->file ? x->file->filename : x->name,
                                      .format = x->gt ? "" : x->type,
                                      .len = x->len,
                                      .cluster_size = x->gt ? x->h.grain * 512 : 0,
                                      .compressed = x->h.flags & VMDK_COMPRESSED };
}

static void vmdk_format_info(const struct node *n, struct format_info *out)
{
    const struct vmdk *v = (const struct vmdk *)n;

    out->cluster_size = v->extent[0].gt ? v->m.block : 0;
    out->backing_file = v->parent_cid != UINT32_MAX ? v->parent : NULL;
    out->compressed = v->stream;
    for (unsigned i = 0; i < v->m.nfiles; i++) {
        out->elsewhere += file_allocated(v->m.files[i]);
    }
}

const struct format format_vmdk = { .name = "vmdk",
                                    .open = vmdk_open,
                                    .create = vmdk_create,
                                    .info = vmdk_format_info,
                                    .check = mapped_check,
                                    .backing_format = "vmdk" };
