/* SPDX-License-Identifier: MIT */
/* tests/fuzz/fuzz-image.c - hostile disk images: opened, checked, repaired, read and written.
 *
 * The first byte chooses: the input is the image, or each five bytes change one place of a good
 * image (its metadata are dense, so most changes matter): plain, with parts of clusters, with a data
 * file, or encrypted; all of them with bitmaps and most with a snapshot.
 */
#include "block/bitmap.h"
#include "block/qcow2.h"
#include "dm/base/bytes.h"
#include "dm/base/err.h"
#include "dm/base/log.h"
#include "tests/unit/ram-node.h"

#include <assert.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROOM = 4 << 20 };

static struct node_ctx *ctx;
static const uint8_t passphrase[] = "k";
static const struct luks_key key = { passphrase, 1 };
static const struct luks_create luks = { .key_bits = 128, .iter_ms = 1, .hash = "sha1" };

/* What the good images have in them. */
static const struct qcow2_create shapes[] = {
    { .size = 256 << 10, .version = 3, .cluster_bits = 9, .refcount_bits = 16 },
    { .size = 1 << 20, .version = 3, .cluster_bits = 14, .refcount_bits = 16, .extended_l2 = true },
    { .size = 256 << 10, .version = 3, .cluster_bits = 9, .refcount_bits = 16, .data_file = "d" },
    { .size = 64 << 10,
      .version = 3,
      .cluster_bits = 12,
      .refcount_bits = 16,
      .luks = &luks,
      .key = &key },
};
enum { SHAPES = 4 };
static uint8_t *good[SHAPES];
static uint64_t good_len[SHAPES];

static struct node *image(const uint8_t *data, size_t size);

static void add_bitmaps(struct node *n)
{
    struct err e = { 0 };
    struct bitmap *a = bitmap_new(n, "a", 512, &e), *b = bitmap_new(n, "b", 65536, &e);

    assert(a && b);
    a->persistent = b->persistent = true;
    bitmap_set(b, 0, n->len);
}

/* The passphrase, unless the header asks for work that takes long: that it may, but not here. */
static const struct luks_key *cheap_key(const uint8_t *data, size_t size)
{
    struct qcow2_open o = { .read_only = true, .check = true };
    struct luks_info info;
    struct err e = { 0 };
    uint64_t work = 0;
    struct node *n = qcow2_open(image(data, size), &o, &e);

    if (!n) {
        return NULL;
    }
    if (qcow2_luks_info(n, &info, &e) == 0) {
        work = info.master_iterations;
        for (unsigned i = 0; i < LUKS_SLOTS; i++) {
            work += info.slot[i].active ? info.slot[i].iterations : 0;
        }
    }
    node_close(n);
    return work < 10000 ? &key : NULL;
}

static struct node *open_image(struct node *file, const struct qcow2_open *o, struct err *e)
{
    struct node *n = qcow2_open(file, o, e);
    struct qcow2_info info;

    if (n) {
        qcow2_info(n, &info);
    }
    if (n && info.data_file) {
        struct ram_node *data = (struct ram_node *)ram_node_new(ctx, NULL, 0);
        data->max = ROOM;
        qcow2_set_data(n, &data->base);
    }
    return n;
}

static void make_good(unsigned i)
{
    struct qcow2_open o = { .key = &key };
    struct err e = { 0 };
    struct node *ram = ram_node_new(ctx, NULL, 0), *n;
    uint8_t buf[4096];

    memset(buf, 0x5a, sizeof(buf));
    assert(qcow2_create(ram, &shapes[i], &e) == 0);
    n = open_image(ram, &o, &e);
    assert(n);
    add_bitmaps(n);
    for (uint64_t at = 0; at < shapes[i].size; at += 32768) {
        node_write(n, at, buf, sizeof(buf));
    }
    node_rw(n, NODE_WRITE, 8192, buf, 512, NODE_COMPRESS);
    static const uint8_t state[3000] = { 1 };
    const struct qcow2_vm vm = { .state = state, .len = sizeof(state), .icount = UINT64_MAX };
    qcow2_snapshot_create_vm(n, "s", &vm, &e);
    node_write(n, 4096, buf, sizeof(buf));
    assert(qcow2_quiesce(n) == 0);
    good_len[i] = ram->len;
    good[i] = xcalloc(1, good_len[i]);
    memcpy(good[i], ((struct ram_node *)ram)->data, good_len[i]);
    node_close(n);
}

static struct node *image(const uint8_t *data, size_t size)
{
    struct ram_node *m;
    /* The last takes long to open: seldom. */
    unsigned pick = size ? data[0] >> 1 & 15 : 0, k = pick == 15 ? 3 : pick % 3;

    if (size && data[0] & 1) {
        m = (struct ram_node *)ram_node_new(ctx, data + 1, size - 1);
    } else {
        m = (struct ram_node *)ram_node_new(ctx, good[k], good_len[k]);
        for (size_t i = 1; i + 5 <= size; i += 5) {
            uint64_t at = load_le32(data + i) & 0xffffff;
            m->data[at % (at & 0x800000 ? 512 : good_len[k])] = data[i + 4];
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

    for (uint64_t at = 0, k = 0; at < n->len && k < 64; at += st.len, k++) {
        if (node_status(n, at, n->len - at, &st) < 0) {
            break;
        }
        assert(st.len > 0 && st.len <= n->len - at);
    }
    node_read(n, 0, buf, len);
    if (n->len > len) {
        node_read(n, n->len - len, buf, len);
    }
    if (write) {
        node_write(n, 0, buf, len);
        node_rw(n, NODE_DISCARD, 0, NULL, len, 0);
        node_rw(n, NODE_ZERO, 0, NULL, len, NODE_UNMAP);
        node_write(n, n->len - len, buf, len);
        node_flush(n);
    }
}

static void once(const uint8_t *data, size_t size, bool write, bool check)
{
    struct qcow2_open o = { .read_only = !write,
                            .check = check,
                            .key = check ? NULL : cheap_key(data, size) };
    struct qcow2_check c = { 0 };
    struct err e = { 0 };
    struct node *n = open_image(image(data, size), &o, &e);

    if (!n) {
        assert(e.code < 0 && e.msg[0]);
        return;
    }
    if (check) {
        qcow2_check(n, write ? QCOW2_REPAIR_ALL : QCOW2_CHECK_ONLY, &c);
    } else {
        use(n, write);
        if (write && qcow2_snapshot(n, 0)) {
            char id[64];
            snprintf(id, sizeof(id), "%s", qcow2_snapshot(n, 0)->id);
            uint8_t *state;
            qcow2_snapshot_state(n, id, 1 << 20, &state, &e);
            free(state);
            qcow2_snapshot_apply(n, id, &e);
            qcow2_snapshot_delete(n, id, &e);
        }
    }
    node_close(n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!ctx) {
        log_set_level(-1);
        ctx = node_ctx_new(NULL);
        node_ctx_no_threads(ctx);
        for (unsigned i = 0; i < SHAPES; i++) {
            make_good(i);
        }
    }
    once(data, size, false, true);
    once(data, size, false, false);
    once(data, size, true, true);
    once(data, size, true, false);
    return 0;
}
