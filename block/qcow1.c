/* SPDX-License-Identifier: MIT */
/* block/qcow1.c - qcow version 1 images, for reading. Big-endian.
 *
 *   header, 48 bytes                          36  4  encryption: 0 none
 *    0  4  "QFI\xfb"                          40  8  place of the L1 table, bytes
 *    4  4  version, 1
 *    8  8  place of the backing file's name   L1 entry: place of an L2 table, 0 for none
 *   16  4  its length, 0 for none             L2 entry: place of a cluster, 0 for none; with bit
 *   20  4  time of the last change                63 it is packed: the low 63 - cluster_bits bits
 *   24  8  size of the disk, bytes                are the place, those above the length
 *   32  1  log2 of a cluster's bytes
 *   33  1  log2 of an L2 table's entries
 *
 * The backing file's format is not in the image, so an image with one is not opened (block/open.c).
 * Leaves out: writing, encryption.
 */
#include "block/mapped.h"

#include "dm/base/bytes.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { MAX_L1 = 8 << 20, MAX_L2 = 256 << 20 /* bytes */, MAX_NAME = 1023 };

struct qcow1 {
    struct mapped m; /* first */
    uint64_t **l2;   /* big-endian as in the file; NULL: none */
    uint64_t tables;
    unsigned cluster_bits, l2_bits;
    char *backing;
};

static void qcow1_lookup(const struct mapped *m, uint64_t offset, uint64_t len, struct map_run *r)
{
    const struct qcow1 *q = (const struct qcow1 *)m;
    uint64_t cluster = offset >> q->cluster_bits, in = offset & (m->block - 1);
    const uint64_t *l2 = q->l2[cluster >> q->l2_bits];
    uint64_t entry = l2 ? load_be64(&l2[cluster & ((1ull << q->l2_bits) - 1)]) : 0;

    *r = (struct map_run){ .len = min_u64(len, m->block - in), .file = m->base.file };
    if (!entry) {
        r->kind = MAP_NONE;
        return;
    }
    r->kind = MAP_FILE;
    r->at = entry + in;
    if (entry >> 63) {
        r->kind = MAP_PACKED;
        r->at = entry & ((1ull << (63 - q->cluster_bits)) - 1);
        r->packed_len = (uint32_t)(entry >> (63 - q->cluster_bits) & (m->block - 1));
    }
    if (r->at >= m->base.file->len || (r->kind == MAP_FILE && r->at % 512) ||
        (r->kind == MAP_PACKED && !r->packed_len)) {
        r->kind = MAP_BAD;
    }
}

static int qcow1_unpack(const struct mapped *m, const uint8_t *src, uint32_t len, uint8_t *dst)
{
    z_stream z = { .next_in = (Bytef *)src, .avail_in = len };
    int ret;

    if (inflateInit2(&z, -12) != Z_OK) {
        return -ENOMEM;
    }
    z.next_out = dst;
    z.avail_out = (uInt)m->block;
    ret = inflate(&z, Z_FINISH);
    ret = (ret == Z_STREAM_END || ret == Z_BUF_ERROR) && z.avail_out == 0 ? 0 : -EIO;
    inflateEnd(&z);
    return ret;
}

static void qcow1_free(struct mapped *m)
{
    struct qcow1 *q = (struct qcow1 *)m;

    for (uint64_t i = 0; q->l2 && i < q->tables; i++) {
        free(q->l2[i]);
    }
    free(q->l2);
    free(q->backing);
    free(q);
}

static const struct map_ops qcow1_ops = {
    .node = { .name = "qcow" },
    .lookup = qcow1_lookup,
    .unpack = qcow1_unpack,
    .free = qcow1_free,
};

static int bad(const struct node *file, struct err *e, const char *what)
{
    return err_set(e, -EINVAL, "image '%s': qcow: %s", file->filename, what);
}

static int parse_header(struct qcow1 *q, const struct node *file, const uint8_t *h, struct err *e)
{
    q->m.base.len = load_be64(h + 24);
    q->cluster_bits = h[32];
    q->l2_bits = h[33];
    if (memcmp(h, "QFI\xfb\0\0\0\1", 8) != 0) {
        return bad(file, e, "this is none of version 1");
    }
    if (load_be32(h + 36)) {
        return bad(file, e, "encryption: known, but Keel does not have it yet");
    }
    if (q->cluster_bits < 9 || q->cluster_bits > 16 || q->l2_bits < 6 || q->l2_bits > 13) {
        return bad(file, e, "its cluster or table size is not one of the format");
    }
    if (q->m.base.len > INT64_MAX - (1ull << 40)) {
        return bad(file, e, "its size is absurd");
    }
    q->m.base.len = (q->m.base.len + 511) & ~511ull;
    q->m.block = 1ull << q->cluster_bits;
    unsigned shift = q->cluster_bits + q->l2_bits;
    q->tables = (q->m.base.len + (1ull << shift) - 1) >> shift;
    return q->tables * 8 > MAX_L1 ? bad(file, e, "its L1 table is larger than 8 MiB") : 0;
}

/* Tables need not lie on sectors. */
static int read_at(struct node *file, uint64_t at, void *buf, uint64_t len, const char *what,
                   struct err *e)
{
    uint64_t from = at & ~511ull;
    uint8_t *raw;

    if (at > file->len || len > file->len - at) {
        return bad(file, e, what);
    }
    raw = mapped_read(file, from, at - from + len, what, e);
    if (!raw) {
        return -EINVAL;
    }
    memcpy(buf, raw + (at - from), len);
    free(raw);
    return 0;
}

static int load_tables(struct qcow1 *q, struct node *file, uint64_t l1_at, struct err *e)
{
    uint64_t *l1 = xcalloc(q->tables + 1, sizeof(*l1)), bytes = 8ull << q->l2_bits, sum = 0;
    int ret = read_at(file, l1_at, l1, q->tables * 8, "its L1 table lies beyond its end", e);

    q->l2 = xcalloc(q->tables + 1, sizeof(*q->l2));
    for (uint64_t i = 0; i < q->tables && ret == 0; i++) {
        uint64_t at = load_be64(&l1[i]);
        if (!at) {
            continue;
        }
        sum += bytes;
        if (sum > MAX_L2 || sum > file->len) { /* more tables than there is file: they overlap */
            ret = bad(file, e, "more tables than Keel keeps in memory, or than can be");
            break;
        }
        q->l2[i] = xcalloc(1, bytes);
        ret = read_at(file, at, q->l2[i], bytes, "an L2 table lies beyond its end", e);
    }
    free(l1);
    return ret;
}

static struct node *qcow1_open(struct node *file, const struct image_open *o, struct err *e)
{
    struct qcow1 *q = xcalloc(1, sizeof(*q));
    uint8_t *h = mapped_read(file, 0, 512, "the header", e);
    int ret = h ? parse_header(q, file, h, e) : -EINVAL;

    q->m.ops = &qcow1_ops;
    if (ret == 0 && !o->read_only) {
        ret = bad(file, e, "Keel reads version 1 but does not write it");
    }
    uint32_t name = h ? load_be32(h + 16) : 0;
    if (ret == 0 && name > MAX_NAME) {
        ret = bad(file, e, "its backing file's name is too long");
    } else if (ret == 0 && name) {
        q->backing = xcalloc(1, name + 1);
        ret = read_at(file, load_be64(h + 8), q->backing, name,
                      "its backing file's name lies beyond its end", e);
    }
    ret = ret < 0 ? ret : load_tables(q, file, load_be64(h + 40), e);
    free(h);
    if (ret < 0) {
        node_close(file);
        qcow1_free(&q->m);
        return NULL;
    }
    mapped_start(&q->m, file, o);
    return &q->m.base;
}

static void qcow1_info(const struct node *n, struct format_info *out)
{
    const struct qcow1 *q = (const struct qcow1 *)n;

    out->cluster_size = q->m.block;
    out->backing_file = q->backing;
}

const struct format format_qcow1 = { .name = "qcow", .open = qcow1_open, .info = qcow1_info };
