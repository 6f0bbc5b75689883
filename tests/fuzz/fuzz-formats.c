/* SPDX-License-Identifier: MIT */
/* tests/fuzz/fuzz-formats.c - hostile VHD, VDI, VMDK, VHDX and qcow images: opened, checked, read,
 * written.
 *
 * The first byte chooses the format and whether the input is the image or, five bytes each, changes
 * places of a good one.
 */
#include "block/format.h"
#include "dm/base/bytes.h"
#include "dm/base/err.h"
#include "dm/base/log.h"
#include "tests/unit/ram-node.h"
#include "tests/unit/vhdx-rig.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROOM = 16 << 20, KINDS = 9, VHDX_WITH_LOG = 8 };

static struct node_ctx *ctx;
static const struct kind {
    const struct format *f;
    const char *subformat;
} kinds[KINDS] = {
    { &format_vpc, NULL },
    { &format_vpc, "fixed" },
    { &format_vdi, NULL },
    { &format_vmdk, NULL },
    { &format_vmdk, "streamOptimized" },
    { &format_vhdx, NULL },
    { &format_qcow1, NULL },
    { &format_vmdk, NULL },
    { &format_vhdx, NULL },
};
static uint8_t *good[KINDS];
static uint64_t good_len[KINDS];

static void keep(unsigned k, struct node *ram)
{
    good_len[k] = ram->len;
    good[k] = xcalloc(1, ram->len + 1);
    memcpy(good[k], ((struct ram_node *)ram)->data, ram->len);
}

/* Made by the format itself, with some blocks in it. */
static void make_one(unsigned k)
{
    struct format_create c = { .size = 1 << 20, .subformat = kinds[k].subformat };
    struct image_open o = { .fd = -1, .discard = true };
    struct node *ram = ram_node_new(ctx, NULL, 0), *copy;
    static uint8_t buf[65536];
    struct err e = { 0 };
    bool stream = c.subformat && strcmp(c.subformat, "streamOptimized") == 0;
    uint64_t len = stream ? sizeof(buf) : 4096;

    memset(buf, 0x5a, sizeof(buf));
    assert(kinds[k].f->create(ram, &c, &e) == 0);
    copy = ram_node_new(ctx, ((struct ram_node *)ram)->data, ram->len);
    copy->shares++; /* it outlives the node on it */
    struct node *n = kinds[k].f->open(copy, &o, &e);
    assert(n);
    for (uint64_t at = 0; at + len <= n->len; at += 128 << 10) {
        int ret = node_rw(n, NODE_WRITE, at, buf, len, stream ? NODE_COMPRESS : 0);
        assert(ret == 0);
    }
    node_close(n);
    keep(k, copy);
    node_close(copy);
    node_close(ram);
}

/* Keel makes none: the least that opens; with a log that has to be replayed, or without. */
static void make_vhdx(unsigned k)
{
    struct node *ram = ram_node_new(ctx, NULL, VHDX_LEN);
    uint8_t *b = ((struct ram_node *)ram)->data;

    vhdx_make(b);
    if (k == VHDX_WITH_LOG) {
        vhdx_put_header(b, true);
        vhdx_log_entry(
            b, &(struct vhdx_entry){ .number = 3,
                                     .n = 4,
                                     .write = { { VHDX_BAT + 4096, 0, 0 },
                                                { VHDX_BLOCK, 8192, 0 },
                                                { VHDX_BLOCK + 65536, 0, 0x11 },
                                                { VHDX_BLOCK + VHDX_MIB - 4096, 0, 0x22 } } });
        vhdx_log_entry(
            b, &(struct vhdx_entry){
                   .at = 16384, .number = 4, .n = 1, .write = { { VHDX_BLOCK, 0, 0x33 } } });
    }
    keep(k, ram);
    node_close(ram);
}

static void make_qcow1(unsigned k)
{
    struct node *ram = ram_node_new(ctx, NULL, 32768);
    uint8_t *b = ((struct ram_node *)ram)->data;

    memcpy(b, "QFI\xfb\0\0\0\1", 8);
    store_be64(b + 24, 1 << 20);
    b[32] = 12;
    b[33] = 9;
    store_be64(b + 40, 4096);
    store_be64(b + 4096, 8192);
    store_be64(b + 8192, 12288);
    store_be64(b + 8200, 1ull << 63 | 100ull << 51 | 16384);
    keep(k, ram);
    node_close(ram);
}

static void make_all(void)
{
    for (unsigned k = 0; k < KINDS; k++) {
        if (kinds[k].f == &format_vhdx) {
            make_vhdx(k);
        } else if (kinds[k].f == &format_qcow1) {
            make_qcow1(k);
        } else {
            make_one(k);
        }
    }
}

/* Fields are where the headers and tables are: two thirds of the changes go there. */
static uint64_t place(unsigned k, uint32_t at)
{
    uint64_t len = good_len[k];

    if (k == VHDX_WITH_LOG) { /* headers and descriptors of its two entries */
        return VHDX_LOG + at % 2 * 16384 + at / 2 % 192;
    }
    if (kinds[k].f == &format_vhdx) {
        static const uint32_t dense[] = { 2 << 20, (2 << 20) + 65536, 3 << 20 };
        return dense[at % 3] + at / 3 % 128;
    }
    return at % 3 ? at / 3 % min_u64(len, at % 3 == 1 ? 1536 : 16384) : at / 3 % len;
}

static struct node *image(unsigned k, bool whole, const uint8_t *data, size_t size)
{
    struct ram_node *m;

    if (whole) {
        m = (struct ram_node *)ram_node_new(ctx, data, size);
    } else {
        m = (struct ram_node *)ram_node_new(ctx, good[k], good_len[k]);
        for (size_t i = 0; i + 5 <= size; i += 5) {
            m->data[place(k, load_le32(data + i))] = data[i + 4];
        }
        for (unsigned at = 0; k == VHDX_WITH_LOG && at <= 16384; at += 16384) {
            uint8_t *x = m->data + VHDX_LOG + at; /* its sum is right, whatever it says */
            if (load_le32(x + 8) <= VHDX_MIB - at) {
                vhdx_sum_entry(x);
            }
        }
    }
    m->max = ROOM;
    return &m->base;
}

static void use(struct node *n, bool write)
{
    static uint8_t buf[65536];
    struct node_status st;
    uint64_t len = min_u64(n->len & ~511ull, sizeof(buf));

    for (uint64_t at = 0, i = 0; at < n->len && i < 64; at += st.len, i++) {
        if (node_status(n, at, n->len - at, &st) < 0) {
            break;
        }
        assert(st.len > 0 && st.len <= n->len - at);
    }
    for (uint64_t at = 0, i = 0; at < n->len && i < 32; at += n->len / 32 + 512, i++) {
        at &= ~511ull;
        node_read(n, at, buf, min_u64(len, n->len - at));
    }
    if (write) {
        node_write(n, 0, buf, len);
        node_rw(n, NODE_DISCARD, 0, NULL, len, 0);
        node_rw(n, NODE_ZERO, 0, NULL, len, NODE_UNMAP);
        node_write(n, n->len - len, buf, len);
        node_rw(n, NODE_WRITE, 0, buf, len, NODE_COMPRESS);
        node_flush(n);
    }
}

static void once(unsigned k, bool whole, const uint8_t *data, size_t size, bool write)
{
    struct image_open o = { .fd = -1, .read_only = !write, .guessed = true, .discard = true };
    struct format_check c = { 0 };
    struct err e = { 0 };
    struct node *n = kinds[k].f->open(image(k, whole, data, size), &o, &e);

    if (!n) {
        assert(e.code < 0 && e.msg[0]);
        return;
    }
    if (kinds[k].f->check) {
        kinds[k].f->check(n, &c);
    }
    use(n, write);
    node_close(n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!ctx) {
        log_set_level(-1);
        ctx = node_ctx_new(NULL);
        node_ctx_no_threads(ctx);
        make_all();
    }
    if (size) {
        unsigned k = data[0] % KINDS;
        bool whole = data[0] & 0x80;
        once(k, whole, data + 1, size - 1, false);
        once(k, whole, data + 1, size - 1, true);
    }
    return 0;
}
