/* SPDX-License-Identifier: MIT */
/* block/vdi.c - VirtualBox's VDI images: dynamic and static. Little-endian.
 *
 *   | header, 512 | block map | blocks ... |
 *
 *   header
 *     0 64  text, ends with a newline           364  4  unused
 *    64  4  0xbeda107f                          368  8  size of the disk, bytes
 *    68  4  version, 0x10001                    376  4  size of a block, 1 MiB
 *    72  4  bytes of the header from here, 400  380  4  bytes before each block: 0
 *    76  4  1 dynamic, 2 static, 4 differencing 384  4  blocks of the disk
 *    80  4  flags                               388  4  blocks that are allocated
 *    84 256 description                         392 16  id
 *   340  4  place of the block map, bytes       408 16  id of the last change
 *   344  4  place of the blocks                 424 16  id of what it links to
 *   348  16 geometry, sector size 512           440 16  id of the parent
 *
 * An entry of the map is the number of a block in the file, 0xffffffff for none, 0xfffffffe for
 * zeros. Leaves out: differencing images, block sizes that are no power of two.
 */
#include "block/mapped.h"

#include "dm/base/bytes.h"
#include "dm/base/err.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { HEADER = 512, MAX_BLOCKS = 16 << 20, BLOCK = 1 << 20, DYNAMIC = 1, STATIC = 2 };
#define MAGIC 0xbeda107fu
#define NONE 0xffffffffu
#define ZERO 0xfffffffeu

struct vdi {
    struct mapped m; /* first */
    uint8_t header[HEADER];
    uint32_t *map;
    uint32_t blocks, used; /* of the disk; the first free number in the file */
    uint64_t map_at, data_at;
};

static void vdi_lookup(const struct mapped *m, uint64_t offset, uint64_t len, struct map_run *r)
{
    const struct vdi *v = (const struct vdi *)m;
    uint32_t entry = v->map[offset / m->block];
    uint64_t in = offset % m->block;

    *r = (struct map_run){ .len = min_u64(len, m->block - in) };
    if (entry == NONE || entry == ZERO) {
        r->kind = entry == NONE ? MAP_NONE : MAP_ZERO;
        return;
    }
    r->kind = MAP_FILE;
    r->file = m->base.file;
    r->at = v->data_at + entry * m->block + in;
    if (r->at - in >= m->base.file->len) {
        r->kind = MAP_BAD;
    }
}

static int vdi_allocate(struct mapped *m, uint64_t first, uint64_t count, uint64_t *at)
{
    struct vdi *v = (struct vdi *)m;

    (void)first;
    if (v->used > MAX_BLOCKS * 2u) {
        return -EFBIG;
    }
    *at = v->data_at + v->used * m->block;
    v->used += (uint32_t)count;
    m->end = v->data_at + v->used * m->block;
    return 0;
}

static void vdi_written(struct mapped *m, uint64_t first, uint64_t count, uint64_t at, uint32_t len)
{
    struct vdi *v = (struct vdi *)m;

    (void)len;
    for (uint64_t i = 0; i < count; i++) {
        v->map[first + i] = (uint32_t)((at - v->data_at) / m->block + i);
        mapped_dirty(m, 1 + (first + i) / 128);
    }
    store_le(v->header + 388, 4, v->used);
    mapped_dirty(m, 0);
}

static uint64_t vdi_table(const struct mapped *m, uint64_t key, uint8_t sector[512])
{
    const struct vdi *v = (const struct vdi *)m;

    if (key == 0) {
        memcpy(sector, v->header, HEADER);
        return 0;
    }
    for (uint64_t i = 0; i < 128; i++) {
        uint64_t k = (key - 1) * 128 + i;
        store_le(sector + i * 4, 4, k < v->blocks ? v->map[k] : NONE);
    }
    return v->map_at + (key - 1) * 512;
}

static void vdi_free(struct mapped *m)
{
    struct vdi *v = (struct vdi *)m;

    free(v->map);
    free(v);
}

static const struct map_ops vdi_ops = {
    .node = { .name = "vdi" },
    .lookup = vdi_lookup,
    .allocate = vdi_allocate,
    .written = vdi_written,
    .table = vdi_table,
    .free = vdi_free,
};

static int bad(const struct node *file, struct err *e, const char *what)
{
    return err_set(e, -EINVAL, "image '%s': VDI: %s", file->filename, what);
}

static int check_header(struct vdi *v, const struct node *file, struct err *e)
{
    const uint8_t *h = v->header;
    uint32_t type = load_le32(h + 76);

    v->map_at = load_le32(h + 340);
    v->data_at = load_le32(h + 344);
    v->m.base.len = (load_le64(h + 368) + 511) & ~511ull;
    v->m.block = load_le32(h + 376);
    v->blocks = load_le32(h + 384);
    if (load_le32(h + 64) != MAGIC || load_le32(h + 68) >> 16 != 1) {
        return bad(file, e, "the header is not one of version 1");
    }
    if ((type != DYNAMIC && type != STATIC) || !node_is_zero(h + 424, 32)) {
        return bad(file, e, "differencing images: known, but Keel does not have them yet");
    }
    if (v->m.block < 512 || v->m.block > 256 << 20 || v->m.block & (v->m.block - 1) ||
        load_le32(h + 380) || load_le32(h + 360) != 512) {
        return bad(file, e, "blocks of this size or shape are not had");
    }
    if (v->map_at % 512 || v->data_at % 512 || v->blocks > MAX_BLOCKS ||
        v->data_at < v->map_at + (uint64_t)v->blocks * 4 || v->map_at < HEADER) {
        return bad(file, e, "the block map lies over something else");
    }
    if (load_le64(h + 368) > v->blocks * v->m.block) {
        return bad(file, e, "the block map does not fit the disk's size");
    }
    return 0;
}

static int load_map(struct vdi *v, struct node *file, struct err *e)
{
    uint8_t *raw = mapped_read(file, v->map_at, (uint64_t)v->blocks * 4, "the block map", e);

    if (!raw) {
        return -EINVAL;
    }
    v->map = xcalloc(v->blocks + 1, sizeof(*v->map));
    for (uint32_t i = 0; i < v->blocks; i++) {
        v->map[i] = load_le32(raw + i * 4);
        if (v->map[i] < ZERO && v->map[i] >= v->used) {
            v->used = v->map[i] + 1;
        }
    }
    free(raw);
    v->used = load_le32(v->header + 388) > v->used ? load_le32(v->header + 388) : v->used;
    v->m.end = v->data_at + v->used * v->m.block;
    return v->used > 2u * MAX_BLOCKS ? bad(file, e, "a block of an absurd number") : 0;
}

static struct node *vdi_open(struct node *file, const struct image_open *o, struct err *e)
{
    struct vdi *v = xcalloc(1, sizeof(*v));
    uint8_t *h = mapped_read(file, 0, HEADER, "the header", e);
    int ret = h ? 0 : -EINVAL;

    v->m.ops = &vdi_ops;
    if (h) {
        memcpy(v->header, h, HEADER);
        free(h);
        ret = check_header(v, file, e);
    }
    ret = ret < 0 ? ret : load_map(v, file, e);
    if (ret < 0) {
        node_close(file);
        vdi_free(&v->m);
        return NULL;
    }
    v->m.keys = 1 + (v->blocks + 127) / 128;
    v->m.knows_zeros = true;
    mapped_start(&v->m, file, o);
    return &v->m.base;
}

static int vdi_create(struct node *file, const struct format_create *c, struct err *e)
{
    static const char text[] = "<<< Keel VM Virtual Disk Image >>>\n";
    uint64_t blocks = (c->size + BLOCK - 1) / BLOCK, map = (blocks * 4 + 511) & ~511ull;
    uint8_t *all;
    int ret;

    if (blocks > MAX_BLOCKS) {
        return err_set(e, -EFBIG, "too large a disk: Keel makes VDI images of up to 16 TiB");
    }
    all = xcalloc(1, HEADER + map);
    memcpy(all, text, sizeof(text) - 1);
    store_le(all + 64, 4, MAGIC);
    store_le(all + 68, 4, 0x10001);
    store_le(all + 72, 4, 400);
    store_le(all + 76, 4, c->is_static ? STATIC : DYNAMIC);
    store_le(all + 340, 4, HEADER);
    store_le(all + 344, 4, HEADER + map);
    store_le(all + 360, 4, 512);
    store_le(all + 368, 8, c->size);
    store_le(all + 376, 4, BLOCK);
    store_le(all + 384, 4, blocks);
    store_le(all + 388, 4, c->is_static ? blocks : 0);
    ret = getrandom(all + 392, 32, 0) == 32 ? 0 : -EIO;
    for (uint64_t i = 0; i < map / 4; i++) {
        store_le(all + HEADER + i * 4, 4, c->is_static && i < blocks ? i : NONE);
    }
    ret = ret < 0 ? ret : node_write(file, 0, all, HEADER + map);
    free(all);
    if (ret == 0 && c->is_static) {
        return node_resize(file, HEADER + map + blocks * BLOCK, e);
    }
    return ret < 0 ? err_set(e, ret, "%s", strerror(-ret)) : 0;
}

static void vdi_info(const struct node *n, struct format_info *out)
{
    out->cluster_size = ((const struct mapped *)n)->block;
}

const struct format format_vdi = {
    .name = "vdi", .open = vdi_open, .create = vdi_create, .info = vdi_info, .check = mapped_check
};
