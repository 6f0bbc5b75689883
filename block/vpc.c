/* SPDX-License-Identifier: MIT */
/* block/vpc.c - VHD images (Virtual PC, Hyper-V, Xen's "vhd"): fixed, dynamic, differencing.
 *
 * Reference: Microsoft, Virtual Hard Disk Image Format Specification 1.0. Big-endian throughout.
 *
 *   fixed:    | data | footer |
 *   dynamic:  | copy of the footer | header, 1024 | block table (BAT) | blocks ... | footer |
 *
 *   footer, 512 bytes                            header
 *    0  8  "conectix"                             0   8  "cxsparse"
 *    8  4  features                               8   8  all ones
 *   12  4  version, 0x10000                      16   8  place of the BAT, bytes
 *   16  8  place of the header; fixed: all ones  24   4  version, 0x10000
 *   24  4  seconds since 2000                    28   4  entries of the BAT
 *   28  4  creator                               32   4  block size, bytes
 *   32  4  its version                           36   4  checksum
 *   36  4  its system, "Wi2k"                    40  16  the parent's id
 *   40  8  first size, bytes                     56   4  the parent's time
 *   48  8  size                                  64 512  the parent's name, UTF-16
 *   56  4  cylinders (2), heads, sectors        576 192  eight locators of the parent: platform,
 *   60  4  2 fixed, 3 dynamic, 4 differencing            space, length, 0 (4 each), place (8)
 *   64  4  checksum: ~ of the sum of the other bytes
 *   68 16  id
 *
 * A BAT entry is the sector where a block begins, or all ones. A block is a bitmap (a bit a sector,
 * whole sectors long) and the data. Only a differencing image's bitmaps say anything: 0 means that
 * the parent decides. What is allocated here has all bits set.
 *
 * Some creators mean the geometry where others mean the size field: size_of().
 */
#include "block/mapped.h"

#include "block/node.h"
#include "dm/base/bytes.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum {
    FOOTER = 512,
    HEADER = 1024,
    FIXED = 2,
    DYNAMIC = 3,
    DIFFERENCING = 4,
    MAX_ENTRIES = 16 << 20,
    MAX_BITMAPS = 256 << 20, /* bytes */
    EPOCH = 946684800,       /* 2000-01-01 */
    BLOCK = 2 << 20,
};
#define MAX_SECTORS 0xff000000ull /* 2040 GiB */
#define MAX_CHS (65535ull * 16 * 255)

struct vpc {
    struct mapped m; /* first */
    uint8_t footer[FOOTER];
    bool fixed;
    uint32_t *bat; /* host order */
    uint32_t entries;
    uint64_t bat_at, bitmap_bytes;
    uint8_t **partial; /* bitmaps of blocks that are not whole; NULL: none, or all bits set */
    char *parent;
};

static uint32_t checksum(const uint8_t *p, size_t len, size_t skip)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < len; i++) {
        sum += i < skip || i >= skip + 4 ? p[i] : 0;
    }
    return ~sum;
}

/* ---- tables ---- */

static uint64_t bat_sectors(const struct vpc *v)
{
    return ((uint64_t)v->entries * 4 + 511) / 512;
}

static uint64_t bitmap_key(const struct vpc *v, uint64_t block)
{
    return bat_sectors(v) + block * (v->bitmap_bytes / 512);
}

static uint64_t data_at(const struct vpc *v, uint64_t block)
{
    return (uint64_t)v->bat[block] * 512 + v->bitmap_bytes;
}

static bool bit(const uint8_t *map, uint64_t sector)
{
    return map[sector / 8] >> (7 - sector % 8) & 1;
}

static void vpc_lookup(const struct mapped *m, uint64_t offset, uint64_t len, struct map_run *r)
{
    const struct vpc *v = (const struct vpc *)m;
    uint64_t block = offset / m->block, in = offset % m->block;

    *r = (struct map_run){ .kind = MAP_FILE, .file = m->base.file, .at = offset, .len = len };
    if (v->fixed) {
        return;
    }
    r->len = min_u64(len, m->block - in);
    if (v->bat[block] == UINT32_MAX) {
        r->kind = MAP_NONE;
        return;
    }
    r->at = data_at(v, block) + in;
    if (r->at - in < v->bat_at + bat_sectors(v) * 512 + v->bitmap_bytes ||
        r->at - in >= m->base.file->len) {
        r->kind = MAP_BAD;
        return;
    }
    const uint8_t *map = v->partial ? v->partial[block] : NULL;
    if (map) {
        uint64_t s = in / 512, end = s + r->len / 512, first = s;
        while (s < end && bit(map, s) == bit(map, first)) {
            s++;
        }
        r->len = (s - first) * 512;
        r->in_place = !bit(map, first);
        r->kind = r->in_place ? MAP_NONE : MAP_FILE;
    }
}

static int vpc_allocate(struct mapped *m, uint64_t first, uint64_t count, uint64_t *at)
{
    const struct vpc *v = (struct vpc *)m;

    (void)first;
    assert(count == 1);
    if (m->end / 512 >= UINT32_MAX) {
        return -EFBIG;
    }
    *at = m->end + v->bitmap_bytes;
    m->end = *at + m->block;
    return 0;
}

static void vpc_written(struct mapped *m, uint64_t first, uint64_t count, uint64_t at, uint32_t len)
{
    struct vpc *v = (struct vpc *)m;

    (void)len;
    (void)count;
    v->bat[first] = (uint32_t)((at - v->bitmap_bytes) / 512);
    if (v->partial) {
        free(v->partial[first]);
        v->partial[first] = NULL;
    }
    mapped_dirty(m, first / 128);
    for (uint64_t i = 0; i < v->bitmap_bytes / 512; i++) {
        mapped_dirty(m, bitmap_key(v, first) + i);
    }
    mapped_dirty(m, m->keys - 1); /* the footer comes after it */
}

static uint64_t vpc_table(const struct mapped *m, uint64_t key, uint8_t sector[512])
{
    const struct vpc *v = (const struct vpc *)m;
    uint64_t per = v->bitmap_bytes / 512;

    if (key == m->keys - 1) {
        memcpy(sector, v->footer, FOOTER);
        return m->end;
    }
    if (key >= bat_sectors(v)) {
        key -= bat_sectors(v);
        memset(sector, 0xff, 512);
        return (uint64_t)v->bat[key / per] * 512 + key % per * 512;
    }
    for (uint64_t i = 0; i < 128; i++) {
        uint64_t k = key * 128 + i;
        store_be32(sector + i * 4, k < v->entries ? v->bat[k] : UINT32_MAX);
    }
    return v->bat_at + key * 512;
}

static void vpc_free(struct mapped *m)
{
    struct vpc *v = (struct vpc *)m;

    for (uint32_t i = 0; v->partial && i < v->entries; i++) {
        free(v->partial[i]);
    }
    free(v->partial);
    free(v->bat);
    free(v->parent);
    free(v);
}

static const struct map_ops vpc_ops = {
    .node = { .name = "vpc" },
    .lookup = vpc_lookup,
    .allocate = vpc_allocate,
    .written = vpc_written,
    .table = vpc_table,
    .free = vpc_free,
};

/* ---- opening ---- */

static uint64_t size_of(const uint8_t *footer)
{
    static const char exact[][4] = { "win ", "d2v ", { 't', 'a', 'p', 0 },
                                     "CTXS", "qem2", { 'w', 'a', 0, 0 } };
    uint64_t chs = (uint64_t)load_be16(footer + 56) * footer[58] * footer[59];

    for (size_t i = 0; i < ARRAY_SIZE(exact); i++) {
        if (memcmp(footer + 28, exact[i], 4) == 0) {
            return load_be64(footer + 48);
        }
    }
    return chs == MAX_CHS ? load_be64(footer + 48) : chs * 512;
}

static int bad(const struct node *file, struct err *e, const char *what)
{
    return err_set(e, -EINVAL, "image '%s': VHD: %s", file->filename, what);
}

static bool good_footer(const uint8_t *p)
{
    return memcmp(p, "conectix", 8) == 0 && checksum(p, FOOTER, 64) == load_be32(p + 64);
}

/* A dynamic image has a copy at the front, a fixed one its footer at the end alone. Old versions
 * of Virtual PC wrote 511 bytes of it. */
static int load_footer(struct vpc *v, struct node *file, struct err *e)
{
    uint8_t last[FOOTER];
    uint64_t end = file->len < FOOTER ? 0 : file->len - FOOTER;
    int ret = file->len < FOOTER ? -EINVAL : node_read(file, 0, v->footer, FOOTER);

    ret = ret < 0 ? ret : node_read(file, end, last, FOOTER);
    if (ret < 0) {
        return file->len < FOOTER
                   ? bad(file, e, "too short")
                   : err_set(e, ret, "image '%s': VHD: footer: %s", file->filename, strerror(-ret));
    }
    if (good_footer(last) && (load_be32(last + 60) == FIXED || !good_footer(v->footer))) {
        memcpy(v->footer, last, FOOTER);
    }
    if (!good_footer(v->footer)) {
        return bad(file, e, "it has no footer, or a damaged one");
    }
    v->fixed = load_be32(v->footer + 60) == FIXED;
    v->m.base.len = size_of(v->footer);
    v->m.end = end;
    if (v->m.base.len % 512 || v->m.base.len / 512 > MAX_SECTORS) {
        return bad(file, e, "its size is no whole number of sectors, or more than 2040 GiB");
    }
    if (v->fixed && v->m.base.len > end) {
        return bad(file, e, "the disk is larger than the file");
    }
    return 0;
}

/* UTF-16 in a file name as this host writes it. Anything beyond ASCII is taken as UTF-8 would have
 * it; backslashes separate folders. malloc'd. */
static char *host_name(const uint8_t *p, size_t len, bool big)
{
    char *out = xcalloc(1, len / 2 * 3 + 1), *at = out;

    for (size_t i = 0; i + 1 < len; i += 2) {
        unsigned c = big ? load_be16(p + i) : load_le16(p + i);
        if (!c) {
            break;
        }
        c = c == '\\' ? '/' : c;
        if (c < 0x80) {
            *at++ = (char)c;
        } else if (c < 0x800) {
            *at++ = (char)(0xc0 | c >> 6);
            *at++ = (char)(0x80 | (c & 63));
        } else {
            *at++ = (char)(0xe0 | c >> 12);
            *at++ = (char)(0x80 | (c >> 6 & 63));
            *at++ = (char)(0x80 | (c & 63));
        }
    }
    if (strncmp(out, "./", 2) == 0) {
        memmove(out, out + 2, strlen(out + 2) + 1);
    }
    return out;
}

/* The parent's name: relative if the image has it, else as the header says it. */
static int load_parent(struct vpc *v, struct node *file, const uint8_t *header, struct err *e)
{
    for (unsigned i = 0; i < 8 && !v->parent; i++) {
        const uint8_t *l = header + 576 + i * 24;
        uint32_t len = load_be32(l + 8);
        if (memcmp(l, "W2ru", 4) == 0 && len && len <= 4096) {
            uint8_t *name = mapped_read(file, load_be64(l + 16), len, "the parent's name", e);
            if (!name) {
                return -EINVAL;
            }
            v->parent = host_name(name, len, false);
            free(name);
        }
    }
    if (!v->parent) {
        v->parent = host_name(header + 64, 512, true);
    }
    return v->parent[0] ? 0 : bad(file, e, "it does not say what it differs from");
}

static int load_bat(struct vpc *v, struct node *file, struct err *e)
{
    uint8_t *raw = mapped_read(file, v->bat_at, (uint64_t)v->entries * 4, "the block table", e);

    if (!raw) {
        return -EINVAL;
    }
    v->bat = xcalloc(v->entries + 1, sizeof(*v->bat));
    v->m.end = v->bat_at + bat_sectors(v) * 512;
    for (uint32_t i = 0; i < v->entries; i++) {
        v->bat[i] = load_be32(raw + i * 4);
        if (v->bat[i] != UINT32_MAX) {
            v->m.end = max_u64(v->m.end, data_at(v, i) + v->m.block);
        }
    }
    free(raw);
    return 0;
}

static int load_bitmaps(struct vpc *v, struct node *file, struct err *e)
{
    uint64_t sum = 0;

    v->partial = xcalloc(v->entries + 1, sizeof(*v->partial));
    for (uint32_t i = 0; i < v->entries; i++) {
        if (v->bat[i] == UINT32_MAX) {
            continue;
        }
        sum += v->bitmap_bytes;
        if (sum > MAX_BITMAPS) {
            return bad(file, e, "more bitmaps than Keel keeps in memory");
        }
        v->partial[i] =
            mapped_read(file, (uint64_t)v->bat[i] * 512, v->bitmap_bytes, "a block's bitmap", e);
        if (!v->partial[i]) {
            return -EINVAL;
        }
        bool whole = true;
        for (uint64_t k = 0; k < v->m.block / 512 && whole; k++) {
            whole = bit(v->partial[i], k);
        }
        if (whole) {
            free(v->partial[i]);
            v->partial[i] = NULL;
        }
    }
    return 0;
}

static int load_dynamic(struct vpc *v, struct node *file, struct err *e)
{
    uint64_t at = load_be64(v->footer + 16), block;
    uint32_t type = load_be32(v->footer + 60);
    uint8_t *h = mapped_read(file, at, HEADER, "the header", e);
    int ret = 0;

    if (!h) {
        return -EINVAL;
    }
    block = load_be32(h + 32);
    v->bat_at = load_be64(h + 16);
    if (memcmp(h, "cxsparse", 8) != 0 || checksum(h, HEADER, 36) != load_be32(h + 36)) {
        ret = bad(file, e, "the header of a dynamic disk is damaged");
    } else if (block < 512 || block > 256 << 20 || block & (block - 1)) {
        ret = bad(file, e, "its block size is no power of two from 512 bytes to 256 MiB");
    } else if (v->bat_at % 512 || v->bat_at > file->len) {
        ret = bad(file, e, "its block table lies nowhere");
    } else if (type != DYNAMIC && type != DIFFERENCING) {
        ret = bad(file, e, "a type of disk that is not known");
    }
    v->m.block = block;
    v->m.gaps = true;
    uint64_t want = ret ? 0 : (v->m.base.len + block - 1) / block;
    if (ret == 0 && (want > load_be32(h + 28) || want > MAX_ENTRIES)) {
        ret = bad(file, e, "its block table does not fit its size");
    }
    if (ret == 0) {
        v->entries = (uint32_t)want;
        v->bitmap_bytes = (block / 512 / 8 + 511) & ~511ull;
        ret = load_bat(v, file, e);
    }
    if (ret == 0 && type == DIFFERENCING) {
        ret = load_parent(v, file, h, e);
        ret = ret < 0 ? ret : load_bitmaps(v, file, e);
    }
    free(h);
    return ret;
}

static struct node *vpc_open(struct node *file, const struct image_open *o, struct err *e)
{
    struct vpc *v = xcalloc(1, sizeof(*v));
    int ret = load_footer(v, file, e);

    v->m.ops = &vpc_ops;
    v->m.block = 1 << 20;
    if (ret == 0 && !v->fixed) {
        ret = load_dynamic(v, file, e);
    }
    if (ret < 0) {
        node_close(file);
        vpc_free(&v->m);
        return NULL;
    }
    v->m.keys = bat_sectors(v) + v->entries * (v->bitmap_bytes / 512) + 1;
    v->m.knows_zeros = true;
    mapped_start(&v->m, file, o);
    return &v->m.base;
}

/* ---- creating ---- */

/* Cylinders, heads, sectors of the specification's appendix. */
static void geometry(uint64_t sectors, uint16_t *c, uint8_t *h, uint8_t *s)
{
    uint64_t tracks, heads = 16, spt;

    sectors = min_u64(sectors, MAX_CHS);
    if (sectors >= 65535ull * 16 * 63) {
        spt = 255;
        tracks = sectors / spt;
    } else {
        spt = 17;
        tracks = sectors / spt;
        heads = max_u64((tracks + 1023) / 1024, 4);
        if (tracks >= heads * 1024 || heads > 16) {
            spt = 31;
            heads = 16;
            tracks = sectors / spt;
        }
        if (tracks >= heads * 1024) {
            spt = 63;
            tracks = sectors / spt;
        }
    }
    *c = (uint16_t)(tracks / heads);
    *h = (uint8_t)heads;
    *s = (uint8_t)spt;
}

static void build_footer(uint8_t *f, uint64_t *size, const struct format_create *c, uint32_t type)
{
    uint64_t sectors = *size / 512;
    uint16_t cyls = 0;
    uint8_t heads = 0, spt = 0;

    geometry(sectors, &cyls, &heads, &spt);
    for (uint64_t i = 1;
         !c->force_size && sectors < MAX_CHS && (uint64_t)cyls * heads * spt < sectors; i++) {
        geometry(sectors + i, &cyls, &heads, &spt);
    }
    if (!c->force_size && (uint64_t)cyls * heads * spt != MAX_CHS) {
        *size = (uint64_t)cyls * heads * spt * 512;
    }
    memset(f, 0, FOOTER);
    memcpy(f, "conectix", 8);
    store_be32(f + 8, 2);
    store_be32(f + 12, 0x10000);
    store_be64(f + 16, type == FIXED ? UINT64_MAX : FOOTER);
    store_be32(f + 24, (uint32_t)(time(NULL) - EPOCH));
    memcpy(f + 28, c->force_size ? "qem2" : "qemu", 4);
    store_be32(f + 32, 0x00050003);
    memcpy(f + 36, "Wi2k", 4);
    store_be64(f + 40, *size);
    store_be64(f + 48, *size);
    store_be16(f + 56, cyls);
    f[58] = heads;
    f[59] = spt;
    store_be32(f + 60, type);
    if (getrandom(f + 68, 16, 0) != 16) {
        store_be64(f + 68, (uint64_t)time(NULL));
    }
    store_be32(f + 64, checksum(f, FOOTER, 64));
}

static int create_fixed(struct node *file, const uint8_t *footer, uint64_t size, struct err *e)
{
    int ret = node_resize(file, size + FOOTER, e);

    return ret < 0 ? ret : node_write(file, size, footer, FOOTER);
}

static int create_dynamic(struct node *file, const uint8_t *footer, uint64_t size)
{
    uint64_t entries = (size + BLOCK - 1) / BLOCK, bat = (entries * 4 + 511) & ~511ull;
    uint64_t len = FOOTER + HEADER + bat + FOOTER;
    uint8_t *all = xcalloc(1, len), *h = all + FOOTER;
    int ret;

    memset(all, 0xff, len);
    memcpy(all, footer, FOOTER);
    memset(h, 0, HEADER);
    memcpy(h, "cxsparse", 8);
    store_be64(h + 8, UINT64_MAX);
    store_be64(h + 16, FOOTER + HEADER);
    store_be32(h + 24, 0x10000);
    store_be32(h + 28, (uint32_t)entries);
    store_be32(h + 32, BLOCK);
    store_be32(h + 36, checksum(h, HEADER, 36));
    memcpy(all + len - FOOTER, footer, FOOTER);
    ret = node_write(file, 0, all, len);
    free(all);
    return ret;
}

static int vpc_create(struct node *file, const struct format_create *c, struct err *e)
{
    bool fixed = c->subformat && strcmp(c->subformat, "fixed") == 0;
    uint64_t size = c->size;
    uint8_t footer[FOOTER];
    int ret;

    if (c->subformat && !fixed && strcmp(c->subformat, "dynamic") != 0) {
        return err_set(e, -EINVAL, "Invalid subformat '%s'", c->subformat);
    }
    if (c->backing_file) {
        return err_set(e, -ENOTSUP, "differencing images: Keel opens them but makes none");
    }
    build_footer(footer, &size, c, fixed ? FIXED : DYNAMIC);
    if (size / 512 > MAX_SECTORS) {
        return err_set(e, -EFBIG, "The requested image size is too large for VHD (2040 GiB)");
    }
    ret = fixed ? create_fixed(file, footer, size, e) : create_dynamic(file, footer, size);
    return ret < 0 && !(e && e->code) ? err_set(e, ret, "%s", strerror(-ret)) : ret;
}

static void vpc_info(const struct node *n, struct format_info *out)
{
    const struct vpc *v = (const struct vpc *)n;

    out->cluster_size = v->fixed ? 0 : v->m.block;
    out->backing_file = v->parent;
}

const struct format format_vpc = { .name = "vpc",
                                   .open = vpc_open,
                                   .create = vpc_create,
                                   .info = vpc_info,
                                   .check = mapped_check,
                                   .backing_format = "vpc" };
