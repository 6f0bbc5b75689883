/* SPDX-License-Identifier: MIT */
/* hw/nvram/fw-cfg.c - firmware configuration: selector 0x510, data 0x511, DMA 0x514.
 *
 * The guest selects an item and reads its bytes one by one, or hands over the address of a request
 * that copies them to memory at once. Past an item's end there are zeros; an item nobody added is
 * empty. Items cannot be written.
 * Reference: docs/specs/fw_cfg in QEMU's documentation, which defines the interface.
 */
#include "hw/nvram/fw-cfg.h"

#include "dm/base/bytes.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    DMA_ERROR = 0x01,
    DMA_READ = 0x02,
    DMA_SKIP = 0x04,
    DMA_SELECT = 0x08,
    DMA_WRITE = 0x10,
    VERSION_TRADITIONAL = 1,
    VERSION_DMA = 2,
    DIR_ENTRY = 64,
    DIR_NAME = 8,
    KEY_WRITE = 0x4000, /* an old request to write: what follows is the key */
};

static const uint8_t dma_signature[8] = "QEMU CFG";

struct item {
    uint16_t key;
    uint32_t len;
    uint8_t *data;
    void (*fill)(void *o);
    void *fill_o;
};

struct fw_cfg {
    struct device dev;
    struct region ports, dma;
    struct item *items;
    size_t nitems;
    unsigned nfiles;
    uint16_t key;
    uint32_t at; /* bytes of the selected item that were read */
    uint64_t dma_addr;
};

/* ---- items ---- */

static struct item *find(const struct fw_cfg *s, uint16_t key)
{
    for (size_t i = 0; i < s->nitems; i++) {
        if (s->items[i].key == key) {
            return &s->items[i];
        }
    }
    return NULL;
}

void fw_cfg_add(struct device *d, uint16_t key, const void *data, uint32_t len)
{
    struct fw_cfg *s = (struct fw_cfg *)d;
    struct item *it = find(s, key);
    if (!it) {
        s->items = xrealloc(s->items, (s->nitems + 1) * sizeof(*s->items));
        it = &s->items[s->nitems++];
        *it = (struct item){ .key = key };
    }
    free(it->data);
    it->data = xcalloc(1, len ? len : 1);
    it->len = len;
    if (len) {
        memcpy(it->data, data, len);
    }
}

void fw_cfg_add_u16(struct device *d, uint16_t key, uint16_t v)
{
    fw_cfg_add(d, key, &v, sizeof(v));
}

void fw_cfg_add_u32(struct device *d, uint16_t key, uint32_t v)
{
    fw_cfg_add(d, key, &v, sizeof(v));
}

void fw_cfg_add_u64(struct device *d, uint16_t key, uint64_t v)
{
    fw_cfg_add(d, key, &v, sizeof(v));
}

/* The directory's entry of a file, or NULL. */
static uint8_t *dir_find(const struct fw_cfg *s, const char *name)
{
    struct item *dir = find(s, FW_CFG_FILE_DIR);
    for (unsigned i = 0; dir && i < s->nfiles; i++) {
        uint8_t *entry = dir->data + 4 + i * DIR_ENTRY;
        if (strcmp((char *)entry + DIR_NAME, name) == 0) {
            return entry;
        }
    }
    return NULL;
}

bool fw_cfg_has_file(const struct device *d, const char *name)
{
    return dir_find((const struct fw_cfg *)d, name) != NULL;
}

static uint8_t *dir_append(struct fw_cfg *s, const char *name)
{
    uint8_t *bytes = xcalloc(1, 4 + (size_t)(s->nfiles + 1) * DIR_ENTRY);
    struct item *dir = find(s, FW_CFG_FILE_DIR);
    if (dir) {
        memcpy(bytes, dir->data, dir->len);
    }
    uint8_t *entry = bytes + 4 + s->nfiles * DIR_ENTRY;
    store_be16(entry + 4, (uint16_t)(FW_CFG_FILE_FIRST + s->nfiles));
    memcpy(entry + DIR_NAME, name, strlen(name));
    s->nfiles++;
    store_be32(bytes, s->nfiles);
    fw_cfg_add(&s->dev, FW_CFG_FILE_DIR, bytes, 4 + s->nfiles * DIR_ENTRY);
    free(bytes);
    return dir_find(s, name);
}

int fw_cfg_add_file(struct device *d, const char *name, const void *data, uint32_t len,
                    struct err *e)
{
    struct fw_cfg *s = (struct fw_cfg *)d;
    if (!*name || strlen(name) > FW_CFG_NAME_MAX) {
        return err_set(e, -EINVAL, "fw_cfg: a file's name has 1 to %u bytes", FW_CFG_NAME_MAX);
    }
    uint8_t *entry = dir_find(s, name);
    if (!entry && s->nfiles == FW_CFG_FILES_MAX) {
        return err_set(e, -ENOSPC, "fw_cfg: more than %u files", FW_CFG_FILES_MAX);
    }
    entry = entry ? entry : dir_append(s, name);
    store_be32(entry, len);
    fw_cfg_add(d, load_be16(entry + 4), data, len);
    return 0;
}

/* ---- whole, for a trace ---- */

void fw_cfg_each(const struct device *d,
                 void (*put)(void *o, uint16_t key, const uint8_t *data, uint32_t len), void *o)
{
    const struct fw_cfg *s = (const struct fw_cfg *)d;
    for (size_t i = 0; i < s->nitems; i++) {
        put(o, s->items[i].key, s->items[i].data, s->items[i].len);
    }
}

/* As many entries as it says and has. */
static void count_files(struct fw_cfg *s)
{
    const struct item *dir = find(s, FW_CFG_FILE_DIR);
    uint32_t room = dir && dir->len >= 4 ? (dir->len - 4) / DIR_ENTRY : 0;
    uint32_t n = room ? load_be32(dir->data) : 0;
    s->nfiles = n <= room && n <= FW_CFG_FILES_MAX ? n : 0;
    for (unsigned i = 0; i < s->nfiles; i++) {
        dir->data[4 + (i + 1) * DIR_ENTRY - 1] = 0; /* names end */
    }
}

bool fw_cfg_put(struct device *d, uint16_t key, uint32_t len, uint32_t at, const uint8_t *data,
                uint32_t n)
{
    struct fw_cfg *s = (struct fw_cfg *)d;
    struct item *it = find(s, key);
    if (len > 1u << 30 || at > len || n > len - at) {
        return false;
    }
    if (!it || it->len != len) {
        fw_cfg_add(d, key, "", 0);
        it = find(s, key);
        it->data = xrealloc(it->data, len ? len : 1);
        memset(it->data, 0, len);
        it->len = len;
    }
    if (n) {
        memcpy(it->data + at, data, n);
    }
    if (key == FW_CFG_FILE_DIR) {
        count_files(s);
    }
    return true;
}

/* ---- reading ---- */

void fw_cfg_on_select(struct device *d, const char *name, void (*fill)(void *o), void *o)
{
    struct fw_cfg *s = (struct fw_cfg *)d;
    const uint8_t *entry = dir_find(s, name);
    struct item *it = entry ? find(s, load_be16(entry + 4)) : NULL;
    assert(it);
    it->fill = fill;
    it->fill_o = o;
}

static void select_item(struct fw_cfg *s, uint16_t key)
{
    s->key = key & (uint16_t)~KEY_WRITE;
    s->at = 0;
    const struct item *it = find(s, s->key);
    if (it && it->fill) {
        it->fill(it->fill_o);
    }
}

/* The next bytes of the selected item, n at most: how many there are, from *p. */
static uint32_t take(struct fw_cfg *s, uint32_t n, const uint8_t **p)
{
    const struct item *it = find(s, s->key);
    uint32_t left = it && s->at < it->len ? it->len - s->at : 0;
    n = n < left ? n : left;
    *p = n ? it->data + s->at : NULL;
    s->at += n;
    return n;
}

static uint64_t port_read(struct device *d, uint64_t off, unsigned size)
{
    struct fw_cfg *s = (struct fw_cfg *)d;
    const uint8_t *p;
    if (off == 0 && size == 2) {
        return 0;
    }
    return off == 1 && take(s, 1, &p) ? *p : 0;
}

static void port_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    if (off == 0 && size == 2) {
        select_item((struct fw_cfg *)d, (uint16_t)val);
    }
}

/* ---- DMA ---- */

static bool dma_zeros(struct fw_cfg *s, uint64_t gpa, uint32_t len)
{
    static const uint8_t zeros[4096];
    for (uint32_t n; len; gpa += n, len -= n) {
        n = len < sizeof(zeros) ? len : sizeof(zeros);
        if (gmem_write(s->dev.m, gpa, zeros, n) < 0) {
            return false;
        }
    }
    return true;
}

static bool dma_read(struct fw_cfg *s, uint64_t gpa, uint32_t len)
{
    const uint8_t *p;
    uint32_t n = take(s, len, &p);
    return (!n || gmem_write(s->dev.m, gpa, p, n) == 0) && dma_zeros(s, gpa + n, len - n);
}

static bool dma_run(struct fw_cfg *s, uint32_t control, uint32_t len, uint64_t gpa)
{
    const uint8_t *p;
    if (control & DMA_SELECT) {
        select_item(s, (uint16_t)(control >> 16));
    }
    if (control & DMA_READ) {
        return dma_read(s, gpa, len);
    }
    if (control & DMA_WRITE) {
        return false;
    }
    if (control & DMA_SKIP) {
        take(s, len, &p);
    }
    return true;
}

static void dma_go(struct fw_cfg *s, uint64_t at)
{
    uint8_t req[16], done[4];
    if (gmem_read(s->dev.m, at, req, sizeof(req)) < 0) {
        guest_odd(&s->dev, "request at 0x%llx is not in RAM", (unsigned long long)at);
        return;
    }
    uint64_t gpa = (uint64_t)load_be32(req + 8) << 32 | load_be32(req + 12);
    bool ok = dma_run(s, load_be32(req), load_be32(req + 4), gpa);
    store_be32(done, ok ? 0 : DMA_ERROR);
    (void)gmem_write(s->dev.m, at, done, sizeof(done));
}

static uint64_t dma_port_read(struct device *d, uint64_t off, unsigned size)
{
    (void)d;
    return load_le(dma_signature + off, size);
}

/* The address register is big-endian; its low half starts the transfer. */
static void dma_port_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct fw_cfg *s = (struct fw_cfg *)d;
    if (size != 4) {
        return;
    }
    uint32_t v = __builtin_bswap32((uint32_t)val);
    if (off == 0) {
        s->dma_addr = (uint64_t)v << 32;
    } else if (off == 4) {
        uint64_t at = s->dma_addr | v;
        s->dma_addr = 0;
        dma_go(s, at);
    }
}

/* ---- life ---- */

static const struct reg_name port_names[] = { { 0, "SELECTOR" }, { 1, "DATA" }, { 0, NULL } };
static const struct reg_name dma_names[] = { { 0, "DMA_HIGH" }, { 4, "DMA_LOW" }, { 0, NULL } };
static const struct region_ops port_ops = { port_read, port_write, 2, port_names };
static const struct region_ops dma_ops = { dma_port_read, dma_port_write, 4, dma_names };

static int fw_cfg_init(struct device *d, struct err *e)
{
    struct fw_cfg *s = (struct fw_cfg *)d;
    (void)e;
    fw_cfg_add(d, FW_CFG_SIGNATURE, "QEMU", 4);
    fw_cfg_add_u32(d, FW_CFG_ID, VERSION_TRADITIONAL | VERSION_DMA);
    region_init(&s->ports, d, &port_ops, IO_PIO, 2, "FW_CFG");
    region_init(&s->dma, d, &dma_ops, IO_PIO, 8, "FW_CFG_DMA");
    region_map(&s->ports, 0x510);
    region_map(&s->dma, 0x514);
    return 0;
}

static void fw_cfg_reset(struct device *d)
{
    struct fw_cfg *s = (struct fw_cfg *)d;
    select_item(s, 0);
    s->dma_addr = 0;
}

static void fw_cfg_fini(struct device *d)
{
    struct fw_cfg *s = (struct fw_cfg *)d;
    region_unmap(&s->ports);
    region_unmap(&s->dma);
    for (size_t i = 0; i < s->nitems; i++) {
        free(s->items[i].data);
    }
    free(s->items);
}

static const struct state_field state[] = {
    FIELD(struct fw_cfg, key),
    FIELD(struct fw_cfg, at),
    FIELD(struct fw_cfg, dma_addr),
    FIELD_END,
};

const struct dev_class fw_cfg_class = {
    .name = "fw_cfg_io",
    .desc = "firmware configuration",
    .size = sizeof(struct fw_cfg),
    .state = state,
    .state_version = 1,
    .init = fw_cfg_init,
    .reset = fw_cfg_reset,
    .fini = fw_cfg_fini,
};
