/* SPDX-License-Identifier: MIT */
/* block/vhdx.c - Hyper-V's VHDX images, dynamic and fixed, for reading. Little-endian.
 *
 * Reference: [MS-VHDX] Virtual Hard Disk v2 File Format.
 *
 *      0  "vhdxfile", creator        region table: "regi", CRC-32C, entries; each
 *    64K  header                       16 id, 8 place, 4 length, 4 required
 *   128K  header                     metadata region: "metadata", 2 zero, 2 entries; from 32 on each
 *   192K  region table                 16 id, 4 place in the region, 4 length, 8 flags
 *   256K  its copy
 *
 *   header: "head", 4 CRC-32C, 8 sequence number (the higher one holds), 3 ids of 16 (file write,
 *           data write, log), 2 log version, 2 version, 4 log length, 8 log place
 *   block table (BAT), 8 bytes each: bits 0-2 state, 20-63 place in MiB; after as many blocks as
 *           2^23 sectors hold an entry for their sector bitmap
 *
 * An image whose log is not empty was not closed; it is read as it would be after a replay
 * (vhdx-log.c). Leaves out: writing, differencing images.
 */
#include "block/mapped.h"
#include "block/vhdx-int.h"

#include "dm/base/bytes.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEADER_LEN = 4096,
    REGION_LEN = 65536,
    METADATA_LEN = 65536, /* bytes of it that are looked at */
    MAX_BAT = 128 << 20,  /* bytes */
    STATE_NONE = 0,
    STATE_UNDEFINED = 1,
    STATE_ZERO = 2,
    STATE_UNMAPPED = 3,
    STATE_FULL = 6,
};

struct vhdx {
    struct mapped m; /* first */
    uint64_t *bat;
    uint64_t entries, chunk; /* blocks between two bitmap entries */
};

static const uint8_t id_bat[16] = { 0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42,
                                    0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08 };
static const uint8_t id_metadata[16] = { 0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
                                         0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e };
static const uint8_t id_parameters[16] = { 0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d,
                                           0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b };
static const uint8_t id_size[16] = { 0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48,
                                     0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8 };
static const uint8_t id_sector[16] = { 0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47,
                                       0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f };

static int bad(const struct node *file, struct err *e, const char *what)
{
    return err_set(e, -EINVAL, "image '%s': VHDX: %s", file->filename, what);
}

static void vhdx_lookup(const struct mapped *m, uint64_t offset, uint64_t len, struct map_run *r)
{
    const struct vhdx *v = (const struct vhdx *)m;
    uint64_t block = offset / m->block, in = offset % m->block;
    uint64_t entry = v->bat[block + block / v->chunk];

    *r = (struct map_run){ .kind = MAP_BAD, .len = min_u64(len, m->block - in) };
    switch (entry & 7) {
    case STATE_NONE:
        r->kind = MAP_NONE;
        break;
    case STATE_UNDEFINED:
    case STATE_ZERO:
    case STATE_UNMAPPED:
        r->kind = MAP_ZERO;
        break;
    case STATE_FULL:
        r->at = entry >> 20 << 20;
        if (r->at >= 1 << 20 && r->at < m->base.file->len) {
            r->kind = MAP_FILE;
            r->file = m->base.file;
            r->at += in;
        }
        break;
    default:
        break; /* partly present: only of differencing images; or nothing the format knows */
    }
}

static void vhdx_free(struct mapped *m)
{
    struct vhdx *v = (struct vhdx *)m;

    free(v->bat);
    free(v);
}

static const struct map_ops vhdx_ops = {
    .node = { .name = "vhdx" },
    .lookup = vhdx_lookup,
    .free = vhdx_free,
};

/* The header that holds, and what it says of the log. */
static int read_headers(struct node *file, struct vhdx_log *log, struct err *e)
{
    uint64_t best = 0;
    bool any = false;

    for (uint64_t at = 65536; at <= 131072; at += 65536) {
        uint8_t *h = mapped_read(file, at, HEADER_LEN, "a header", e);
        if (!h) {
            return -EINVAL;
        }
        if (memcmp(h, "head", 4) == 0 && vhdx_crc(h, HEADER_LEN) == load_le32(h + 4) &&
            load_le16(h + 66) == 1 && (!any || load_le64(h + 8) > best)) {
            any = true;
            best = load_le64(h + 8);
            memcpy(log->id, h + 48, 16);
            log->version = load_le16(h + 64);
            log->len = load_le32(h + 68);
            log->at = load_le64(h + 72);
        }
        free(h);
    }
    return any ? 0 : bad(file, e, "neither header is whole");
}

struct regions {
    uint64_t bat_at, bat_len, metadata_at, metadata_len;
};

static int read_regions(struct node *file, struct regions *out, struct err *e)
{
    for (uint64_t at = 196608; at <= 262144; at += 65536) {
        uint8_t *t = mapped_read(file, at, REGION_LEN, "the region table", e);
        if (!t) {
            return -EINVAL;
        }
        uint32_t n = load_le32(t + 8);
        bool good = memcmp(t, "regi", 4) == 0 && vhdx_crc(t, REGION_LEN) == load_le32(t + 4) &&
                    n <= (REGION_LEN - 16) / 32;
        for (uint32_t i = 0; good && i < n; i++) {
            const uint8_t *x = t + 16 + i * 32;
            if (memcmp(x, id_bat, 16) == 0) {
                out->bat_at = load_le64(x + 16);
                out->bat_len = load_le32(x + 24);
            } else if (memcmp(x, id_metadata, 16) == 0) {
                out->metadata_at = load_le64(x + 16);
                out->metadata_len = load_le32(x + 24);
            } else if (load_le32(x + 28) & 1) {
                free(t);
                return bad(file, e, "it needs a region that Keel does not know");
            }
        }
        free(t);
        if (good) {
            return out->bat_at && out->metadata_at
                       ? 0
                       : bad(file, e, "it has no block table or no metadata");
        }
    }
    return bad(file, e, "neither region table is whole");
}

/* An item's bytes; NULL if there is none of that id and length. */
static const uint8_t *item(const uint8_t *t, uint64_t len, const uint8_t id[16], uint32_t want)
{
    uint32_t n = load_le16(t + 10);

    for (uint32_t i = 0; i < n && 32 + (i + 1) * 32 <= 65536; i++) {
        const uint8_t *x = t + 32 + i * 32;
        uint64_t at = load_le32(x + 16);
        if (memcmp(x, id, 16) == 0 && load_le32(x + 20) == want && at <= len - want) {
            return t + at;
        }
    }
    return NULL;
}

static int read_metadata(struct vhdx *v, struct node *file, const struct regions *g, struct err *e)
{
    uint64_t len = min_u64(g->metadata_len, 1 << 20);
    uint8_t *t = len < METADATA_LEN ? NULL : mapped_read(file, g->metadata_at, len, "metadata", e);
    const uint8_t *parameters, *size, *sector;
    int ret = 0;

    if (!t) {
        return len < METADATA_LEN ? bad(file, e, "its metadata are too short") : -EINVAL;
    }
    parameters = item(t, len, id_parameters, 8);
    size = item(t, len, id_size, 8);
    sector = item(t, len, id_sector, 4);
    if (memcmp(t, "metadata", 8) != 0 || !parameters || !size || !sector) {
        ret = bad(file, e, "its metadata are not whole");
    } else if (load_le32(parameters + 4) & 2) {
        ret = bad(file, e, "differencing images: known, but Keel does not have them yet");
    } else {
        uint32_t bytes = load_le32(sector), block = load_le32(parameters);
        v->m.base.len = load_le64(size);
        v->m.block = block;
        if ((bytes != 512 && bytes != 4096) || block < 1 << 20 || block > 256 << 20 ||
            block & (block - 1) || v->m.base.len > 64ull << 40 || v->m.base.len % 512) {
            ret = bad(file, e, "its sector, block or disk size is not one of the format");
        } else {
            v->chunk = (1ull << 23) * bytes / block;
        }
    }
    free(t);
    return ret;
}

static int read_bat(struct vhdx *v, struct node *file, const struct regions *g, struct err *e)
{
    uint64_t blocks = (v->m.base.len + v->m.block - 1) / v->m.block;

    v->entries = blocks + (blocks ? (blocks - 1) / v->chunk : 0);
    if (v->entries * 8 > MAX_BAT || v->entries * 8 > g->bat_len) {
        return bad(file, e, "its block table does not fit its size");
    }
    v->bat = mapped_read(file, g->bat_at, v->entries * 8, "the block table", e);
    return v->bat ? 0 : -EINVAL; /* hosts are little-endian */
}

static struct node *vhdx_open(struct node *file, const struct image_open *o, struct err *e)
{
    struct vhdx *v = xcalloc(1, sizeof(*v));
    struct vhdx_log log = { 0 };
    struct regions g = { 0 };
    uint8_t *id = mapped_read(file, 0, 512, "the file's id", e);
    int ret = id ? 0 : -EINVAL;

    v->m.ops = &vhdx_ops;
    if (id && memcmp(id, "vhdxfile", 8) != 0) {
        ret = bad(file, e, "this is none");
    } else if (!o->read_only) {
        ret = bad(file, e, "Keel reads the format but does not write it");
    }
    free(id);
    ret = ret < 0 ? ret : read_headers(file, &log, e);
    if (ret == 0 && !node_is_zero(log.id, sizeof(log.id))) {
        file = vhdx_replay(file, &log, e);
        ret = file ? 0 : -EINVAL;
    }
    ret = ret < 0 ? ret : read_regions(file, &g, e);
    ret = ret < 0 ? ret : read_metadata(v, file, &g, e);
    ret = ret < 0 ? ret : read_bat(v, file, &g, e);
    if (ret < 0) {
        node_close(file);
        vhdx_free(&v->m);
        return NULL;
    }
    mapped_start(&v->m, file, o);
    return &v->m.base;
}

static void vhdx_info(const struct node *n, struct format_info *out)
{
    out->cluster_size = ((const struct mapped *)n)->block;
}

const struct format format_vhdx = {
    .name = "vhdx", .open = vhdx_open, .info = vhdx_info, .check = mapped_check
};
