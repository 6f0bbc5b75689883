/* SPDX-License-Identifier: MIT */
/* tests/unit/test-fault.c - each system call of each image format fails once.
 *
 * An image is opened, used and closed; then again and again while one call fails (fault-rig.h). Whatever
 * fails: nobody crashes; who asked is told, by an error of the very request that met it; every slot reads
 * as something that was written, and as the last of it once a flush or the close went well; a check finds
 * no corruption; the same request, tried once more, works; and so does the image when it is opened again.
 * Making an image fails in the same way.
 */
#include "tests/unit/fault-rig.h"

#include "block/bitmap.h"
#include "block/crypt.h"
#include "block/format.h"
#include "block/qcow2.h"
#include "dm/base/bytes.h"
#include "dm/base/log.h"
#include "tests/unit/vhdx-rig.h"

#include <zlib.h>

enum { KIB = 1024, MIB = 1024 * 1024, BELOW = 31 /* what the backing file is full of */ };
enum { IMAGE, DATA, BACKING, FILES };

static char names[FILES][64];
static struct node_ctx *ctx;      /* without threads: calls come in the same order each time */
static struct node_ctx *threaded; /* for the engines */

static const struct luks_key key = { (const uint8_t *)"key", 3, NULL };

/* What is done to an image, a letter and a slot each: w write, c write compressed, z zero, d discard,
 * f flush, r read it all; s make a snapshot, a go back to it, x delete it, g grow, u change the width of counts,
 * e empty it. */
static const char usual[] = "w0 w1 f c2 z1 w3 d0 f w0 w4 z5 r f w1 z3 d4 w6 c7 f w2 w7";
static const char brief[] = "w0 w1 f c2 z1 d0 w3 f w0";
static const char no_discards[] = "w0 w1 f w2 z1 w3 f w0 z5 r f w1 z3 w6 f w2 w7";
static const char packing[] = "c0 c1 f c2 r c3 c4 f c6 c7";
static const char reading[] = "r f r";
static const char upkeep[] = "w0 w1 w2 s w1 z2 w3 f g w4 a w5 f x w5 s u w6 f";
static const char emptying[] = "w0 w1 f e w2 r f e";

struct subject {
    const char *name;
    const char *format; /* "raw": none */
    const char *acts;
    uint64_t size, step, len; /* of the disk; from slot to slot, and of each */
    struct format_create c;
    struct qcow2_create q;
    void (*make)(const struct subject *s,
                 uint8_t *values); /* NULL: an empty image as c and q say */
    bool bitmap, backing;
};

static struct subject_files {
    uint8_t *bytes[FILES];
    uint64_t len[FILES];
    uint8_t values[FAULT_SLOTS]; /* what the slots are full of to begin with */
} fresh;

static struct way {
    enum blk_aio aio;
    enum blk_cache cache;
} way;

/* ---- images ---- */

static struct node *open_file(int which, bool faulty)
{
    struct file_open how = { .growable = which != BACKING,
                             .read_only = which == BACKING,
                             .aio = way.aio,
                             .cache = way.cache };

    return fault_file_open(way.aio == BLK_AIO_THREADS ? ctx : threaded, names[which], &how, faulty);
}

static bool is_qcow2(const struct subject *s)
{
    return strcmp(s->format, "qcow2") == 0;
}

static int create(const struct subject *s, struct node *file, struct err *e)
{
    static const struct luks_create luks = { .key_bits = 128, .iter_ms = 1, .hash = "sha256" };
    struct format_create c = s->c;
    struct qcow2_create q = s->q;

    c.size = q.size = s->size;
    if (strcmp(s->format, "luks") == 0) {
        return crypt_create(file, s->size, &luks, &key, e);
    }
    return is_qcow2(s) ? qcow2_create(file, &q, e) : format_find(s->format)->create(file, &c, e);
}

/* NULL: a call failed. */
static struct node *open_image(const struct subject *s, bool faulty)
{
    struct image_open o = {
        .fd = -1,
        .format = s->format,
        .read_only = s->acts == reading || (s->acts == packing && !faulty), /* written once */
        .discard = true,
        .key = &key,
    };
    struct node *n = open_file(IMAGE, faulty);
    struct err e = { 0 };

    if (strcmp(s->format, "raw") != 0) {
        n = format_find(s->format)->open(n, &o, &e);
    }
    if (n && s->q.data_file) {
        qcow2_set_data(n, open_file(DATA, faulty));
    }
    if (n && s->backing) {
        n->backing = open_file(BACKING, faulty);
    }
    if (!n) {
        assert_true(e.msg[0]);
        fault_expected(s->name, e.msg, false, e.code);
    }
    return n;
}

static void make_fresh(const struct subject *s)
{
    struct err e = { 0 };

    memset(&fresh, 0, sizeof(fresh));
    way = (struct way){ BLK_AIO_THREADS, BLK_NONE };
    for (int i = 0; i < FILES; i++) {
        fault_file_put(names[i], "", 0);
    }
    if (s->backing) {
        memset(fresh.values, BELOW, sizeof(fresh.values));
        uint8_t *full = xcalloc(1, s->size);
        memset(full, BELOW, s->size);
        fault_file_put(names[BACKING], full, s->size);
        free(full);
    }
    if (s->make) {
        s->make(s, fresh.values);
    } else if (strcmp(s->format, "raw") == 0) {
        assert_int_equal(truncate(names[IMAGE], (off_t)s->size), 0);
    } else {
        struct node *n = open_file(IMAGE, false);
        assert_int_equal(create(s, n, &e), 0);
        assert_int_equal(node_close(n), 0);
    }
    if (s->bitmap) {
        struct node *n = open_image(s, false);
        bitmap_new(n, "b", 4 * KIB, &e)->persistent = true;
        assert_int_equal(node_close(n), 0);
    }
    for (int i = 0; i < FILES; i++) {
        fresh.bytes[i] = fault_file_get(names[i], &fresh.len[i]);
    }
}

static void drop_fresh(void)
{
    for (int i = 0; i < FILES; i++) {
        free(fresh.bytes[i]);
    }
}

static void put_fresh(const struct subject *s)
{
    for (int i = 0; i < BACKING; i++) { /* nobody writes to the backing file */
        fault_file_put(names[i], fresh.bytes[i], fresh.len[i]);
    }
    slots = slots_full_of(s->step, s->len, 0);
    for (int i = 0; i < FAULT_SLOTS; i++) {
        slots.last[i] = fresh.values[i];
        slots.may[i] = 1u << fresh.values[i];
    }
}

static void check(const struct subject *s, struct node *n)
{
    struct format_check c = { 0 };
    struct qcow2_check q = { 0 };
    int ret = 0;

    if (is_qcow2(s)) {
        ret = qcow2_check(n, QCOW2_CHECK_ONLY, &q);
    } else if (format_of(n) && format_of(n)->check) {
        ret = format_of(n)->check(n, &c);
    }
    if (ret < 0 || c.corruptions || q.corruptions) {
        fail_msg("%s: call %d fails with %d: the image is corrupt", s->name, fault.nth, fault.with);
    }
}

/* ---- what is done to them ---- */

static struct slots snapshot; /* the disk when it was made */
static bool changed[FAULT_SLOTS];

static void merge_slots(const struct slots *other)
{
    for (int i = 0; i < FAULT_SLOTS; i++) {
        slots.may[i] |= other->may[i];
        slots.last[i] = slots.last[i] == other->last[i] ? slots.last[i] : FAULT_UNKNOWN;
    }
}

/* A change of the whole disk to `then` ended with ret. */
static int whole(int ret, const struct slots *then)
{
    if (ret == 0) {
        slots = *then;
    } else {
        merge_slots(then);
    }
    return ret;
}

static int change(struct node *n, char what, int i, int v)
{
    uint8_t *buf = xcalloc(1, slots.len);
    uint64_t at = (uint64_t)i * slots.step;
    int ret;

    changed[i] = true;
    memset(buf, v, slots.len);
    if (what == 'w' || what == 'c') {
        ret = node_rw(n, NODE_WRITE, at, buf, slots.len, what == 'c' ? NODE_COMPRESS : 0);
        slots_changed(i, v, ret == 0);
    } else {
        ret = node_rw(n, what == 'z' ? NODE_ZERO : NODE_DISCARD, at, NULL, slots.len, NODE_UNMAP);
        slots_changed(i, 0, ret == 0 && what == 'z');
    }
    free(buf);
    return ret;
}

static int do_act(const struct subject *s, struct node *n, char what, int i, int v)
{
    struct slots empty = slots_full_of(s->step, s->len, s->backing ? BELOW : 0);
    struct err e = { 0 };
    int ret;

    switch (what) {
    case 'f':
        ret = node_flush(n);
        if (ret == 0) {
            slots_flushed();
        }
        return ret;
    case 'r':
        slots_expect_all(s->name, n);
        return 0;
    case 's':
        snapshot = slots;
        return qcow2_snapshot_create(n, "s", &e);
    case 'a': /* one that could not be made is not there */
        return qcow2_snapshot(n, 0) ? whole(qcow2_snapshot_apply(n, "s", &e), &snapshot) : 0;
    case 'x':
        return qcow2_snapshot(n, 0) ? qcow2_snapshot_delete(n, "s", &e) : 0;
    case 'g':
        return node_resize(n, n->len + MIB, &e);
    case 'u':
        return qcow2_amend(n, 0, 32, 1, &e);
    case 'e':
        return whole(qcow2_make_empty(n, &e), &empty);
    default:
        if (what == 'c' && s->acts != packing && (!s->q.version || s->q.data_file)) {
            what = 'w'; /* it packs nothing */
        }
        return change(n, what, i, v);
    }
}

/* Through the page cache a flush that failed is never forgotten (block/file.c). */
static bool sticky(void)
{
    return way.cache == BLK_WRITEBACK || way.cache == BLK_WRITETHROUGH;
}

static void act(const struct subject *s, struct node *n, const char *a, int v)
{
    bool before = fault.hit && !sticky();
    int i = a[1] >= '0' && a[1] <= '9' ? a[1] - '0' : 0, ret = do_act(s, n, a[0], i, v);

    if (ret == 0) {
        return;
    }
    fault_expected(s->name, a, before, ret);
    if (fault.with == ENOSPC && !sticky() && (ret = do_act(s, n, a[0], i, v)) < 0) {
        fault_expected(s->name, "another try", true, ret);
    }
}

/* All of the acts, then the end. */
static void live(const struct subject *s, struct node *n)
{
    int v = 1;

    for (const char *a = s->acts; *a; a += strcspn(a, " "), a += *a == ' ') {
        act(s, n, a, v++);
    }
    slots_expect_all(s->name, n);
    bool before = fault.hit && !sticky();
    int ret = node_close(n);
    if (ret == 0) {
        slots_flushed();
    } else {
        fault_expected(s->name, "closing", before, ret);
    }
}

/* A bitmap is in use, or knows of each write. */
static void look_at_bitmap(const struct subject *s, const struct node *n)
{
    const struct bitmap *b = bitmap_find(n, "b");

    assert_non_null(b);
    for (int i = 0; i < FAULT_SLOTS && !b->inconsistent; i++) {
        assert_true(!changed[i] || bitmap_get(b, (uint64_t)i * s->step));
    }
}

/* Nothing fails any more: it is whole, reads as it may, and can be used. */
static void look_after(const struct subject *s)
{
    struct node *n = open_image(s, false);

    slots_reopened();
    check(s, n);
    slots_expect_all(s->name, n);
    if (s->bitmap) {
        look_at_bitmap(s, n);
    }
    for (int i = 0; i < FAULT_SLOTS && s->acts != reading; i++) {
        assert_int_equal(change(n, 'w', i, 30), 0);
    }
    slots_expect_all(s->name, n);
    assert_int_equal(node_close(n), 0);
    n = open_image(s, false);
    check(s, n);
    slots_expect_all(s->name, n);
    assert_int_equal(node_close(n), 0);
}

static void use_story(void *opaque)
{
    const struct subject *s = opaque;

    put_fresh(s);
    memset(changed, 0, sizeof(changed));
    struct node *n = open_image(s, true);
    if (n) {
        live(s, n);
    }
    fault_over();
    /* A stream that was cut off is no image: who made it was told. */
    if (s->acts != packing) {
        look_after(s);
    } else if (!fault.hit || !fault_hard()) {
        n = open_image(s, false);
        slots_expect_all(s->name, n);
        node_close(n);
    }
}

/* What was never written reads as noise. */
static void make_luks(const struct subject *s, uint8_t *values)
{
    struct node *n = open_file(IMAGE, false);
    struct err e = { 0 };

    (void)values;
    assert_int_equal(create(s, n, &e), 0);
    n = crypt_open(n, &key, false, &e);
    assert_non_null(n);
    assert_int_equal(node_rw(n, NODE_ZERO, 0, NULL, s->size, 0), 0);
    assert_int_equal(node_close(n), 0);
}

static void create_story(void *opaque)
{
    const struct subject *s = opaque;
    struct err e = { 0 };

    fault_file_put(names[IMAGE], "", 0);
    struct node *n = open_file(IMAGE, true);
    int ret = create(s, n, &e);
    int closed = node_close(n);
    if (ret < 0 || closed < 0) {
        assert_true(closed < 0 || e.msg[0]);
        fault_expected(s->name, "making it", false, ret < 0 ? ret : closed);
    }
    fault_over();
    n = open_file(IMAGE, false);
    if (ret < 0) {
        assert_int_equal(create(s, n, &e), 0);
    }
    assert_int_equal(node_close(n), 0);
    if (s->acts == packing) {
        return;
    }
    slots = slots_full_of(s->step, s->len, s->backing ? BELOW : 0);
    for (int i = 0; i < FAULT_SLOTS; i++) { /* of an encrypted one nobody knows what it reads as */
        slots.may[i] = s->make == make_luks ? UINT32_MAX : slots.may[i];
    }
    look_after(s);
}

/* ---- images that Keel does not make ---- */

static void put_image(uint8_t *bytes, uint64_t len)
{
    fault_file_put(names[IMAGE], bytes, len);
    free(bytes);
}

/* The first slot has data, the last one never had any. */
static uint8_t *vhdx_bytes(uint8_t *values)
{
    uint8_t *b = xcalloc(1, VHDX_LEN);

    vhdx_make(b);
    memset(b + VHDX_BLOCK, 7, MIB);
    values[0] = values[1] = values[2] = 7;
    return b;
}

static void make_vhdx(const struct subject *s, uint8_t *values)
{
    (void)s;
    put_image(vhdx_bytes(values), VHDX_LEN);
}

/* Its log says that the first slot is full of 9. */
static void make_vhdx_log(const struct subject *s, uint8_t *values)
{
    uint8_t *b = vhdx_bytes(values);
    struct vhdx_entry w = { .number = 1, .n = 1, .write = { { .to = VHDX_BLOCK, .fill = 9 } } };

    (void)s;
    values[0] = 9;
    vhdx_put_header(b, true);
    vhdx_log_entry(b, &w);
    put_image(b, VHDX_LEN);
}

/* Two clusters as they are, a packed one, and others that are not there. */
static void make_qcow1(const struct subject *s, uint8_t *values)
{
    enum { CLUSTER = 4096, L2 = CLUSTER, FIRST = 2 * CLUSTER, PACKED = 4 * CLUSTER };
    uint8_t *b = xcalloc(1, 5 * CLUSTER), plain[CLUSTER];
    z_stream z = { .next_in = plain, .avail_in = CLUSTER };

    memcpy(b, "QFI\xfb\0\0\0\1", 8);
    store_be64(b + 24, s->size);
    b[32] = 12;
    b[33] = 9;
    store_be64(b + 40, 48);
    store_be64(b + 48, L2);
    memset(b + FIRST, 1, CLUSTER);
    memset(b + FIRST + CLUSTER, 2, CLUSTER);
    memset(plain, 3, CLUSTER);
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_out = b + PACKED;
    z.avail_out = CLUSTER;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    store_be64(b + L2, FIRST);
    store_be64(b + L2 + 8, FIRST + CLUSTER);
    store_be64(b + L2 + 16, 1ull << 63 | z.total_out << 51 | PACKED);
    deflateEnd(&z);
    for (int i = 0; i < 3; i++) {
        values[i] = (uint8_t)(i + 1);
    }
    put_image(b, 5 * CLUSTER);
}

static void vhd_sum(uint8_t *p, size_t len, size_t at)
{
    uint32_t sum = 0;

    store_be32(p + at, 0);
    for (size_t i = 0; i < len; i++) {
        sum += p[i];
    }
    store_be32(p + at, ~sum);
}

enum { SMALL_BLOCK = 32 * KIB, VHD_HEADER = 512, VHD_BLOCKS = 2 * MIB, VDI_BLOCKS = MIB };

/* An image of as many blocks, which are then said to be small ones. */
static uint8_t *image_of_blocks(const struct subject *s, uint64_t block, uint64_t *len)
{
    struct format_create c = { .size = s->size / SMALL_BLOCK * block, .force_size = true };
    struct node *n = open_file(IMAGE, false);
    struct err e = { 0 };

    assert_int_equal(format_find(s->format)->create(n, &c, &e), 0);
    assert_int_equal(node_close(n), 0);
    return fault_file_get(names[IMAGE], len);
}

static uint8_t *small_vhd(const struct subject *s, uint32_t type, uint64_t *len)
{
    uint8_t *b = image_of_blocks(s, VHD_BLOCKS, len);

    store_be32(b + VHD_HEADER + 32, SMALL_BLOCK);
    vhd_sum(b + VHD_HEADER, 1024, 36);
    for (uint64_t at = 0; at < *len; at += *len - 512) { /* both footers */
        store_be64(b + at + 40, s->size);
        store_be64(b + at + 48, s->size);
        store_be32(b + at + 60, type);
        vhd_sum(b + at, 512, 64);
    }
    return b;
}

static void make_vhd(const struct subject *s, uint8_t *values)
{
    uint64_t len;
    uint8_t *b = small_vhd(s, 3, &len);

    (void)values;
    put_image(b, len);
}

/* Of the first block it has the first half, full of 5; the parent has the rest. */
static void make_vhd_diff(const struct subject *s, uint8_t *values)
{
    uint64_t len, block, all;
    uint8_t *b = small_vhd(s, 4, &len), *footer;

    block = len - 512;
    all = block + 512 + SMALL_BLOCK + 512;
    b = xrealloc(b, all);
    footer = b + all - 512;
    memcpy(footer, b, 512);
    memcpy(b + VHD_HEADER + 64, "\0p", 2);
    vhd_sum(b + VHD_HEADER, 1024, 36);
    store_be32(b + load_be64(b + VHD_HEADER + 16), (uint32_t)(block / 512));
    memset(b + block, 0, 512 + SMALL_BLOCK);
    memset(b + block, 0xff, SMALL_BLOCK / 512 / 16); /* its bitmap */
    memset(b + block + 512, 5, SMALL_BLOCK / 2);
    for (int i = 0; i < FAULT_SLOTS; i++) {
        values[i] = (uint64_t)i * s->step < SMALL_BLOCK / 2 ? 5 : BELOW;
    }
    put_image(b, all);
}

static void make_vdi(const struct subject *s, uint8_t *values)
{
    uint64_t len;
    uint8_t *b = image_of_blocks(s, VDI_BLOCKS, &len);

    (void)values;
    store_le(b + 368, 8, s->size);
    store_le(b + 376, 4, SMALL_BLOCK);
    put_image(b, len);
}

/* ---- tests ---- */

#define QCOW2(...) .format = "qcow2", .q = { .version = 3, .refcount_bits = 16, __VA_ARGS__ }

static const struct subject subjects[] = {
    { "raw", "raw", usual, .size = MIB, .step = 12 * KIB, .len = 4 * KIB },
    { "luks", "luks", no_discards, .size = MIB, .step = 12 * KIB, .len = 4 * KIB,
      .make = make_luks },
    { "qcow2", .acts = usual, .size = MIB, .step = 12 * KIB, .len = 4 * KIB,
      QCOW2(.cluster_bits = 12) },
    { "qcow2 over a backing file", .acts = usual, .size = MIB, .step = 6 * KIB, .len = 2 * KIB,
      QCOW2(.cluster_bits = 11, .lazy_refcounts = true), .backing = true },
    { "qcow2 with parts of clusters", .acts = usual, .size = MIB, .step = 48 * KIB, .len = 16 * KIB,
      QCOW2(.cluster_bits = 14, .extended_l2 = true), .bitmap = true },
    { "qcow2 with a data file", .acts = usual, .size = MIB, .step = 12 * KIB, .len = 4 * KIB,
      QCOW2(.cluster_bits = 12, .data_file = "data"), .bitmap = true },
    { "qcow2 with snapshots", .acts = upkeep, .size = MIB, .step = 12 * KIB, .len = 4 * KIB,
      QCOW2(.cluster_bits = 12) },
    { "qcow2 that is emptied", .acts = emptying, .size = MIB, .step = 12 * KIB, .len = 4 * KIB,
      QCOW2(.cluster_bits = 12), .backing = true },
    { "vpc", "vpc", usual, .size = MIB, .step = 24 * KIB, .len = 4 * KIB, .make = make_vhd },
    { "vpc, whole blocks", "vpc", usual, .size = MIB, .step = 32 * KIB, .len = 32 * KIB,
      .make = make_vhd },
    { "vpc, fixed", "vpc", usual, .size = MIB, .step = 12 * KIB, .len = 4 * KIB,
      .c = { .force_size = true, .subformat = "fixed" } },
    { "vpc, differencing", "vpc", usual, .size = MIB, .step = 12 * KIB, .len = 4 * KIB,
      .make = make_vhd_diff, .backing = true },
    { "vdi", "vdi", usual, .size = MIB, .step = 24 * KIB, .len = 4 * KIB, .make = make_vdi },
    { "vdi over a backing file", "vdi", usual, .size = MIB, .step = 24 * KIB, .len = 4 * KIB,
      .make = make_vdi, .backing = true },
    { "vdi, whole blocks", "vdi", usual, .size = MIB, .step = 32 * KIB, .len = 32 * KIB,
      .make = make_vdi },
    { "vmdk", "vmdk", usual, .size = MIB, .step = 48 * KIB, .len = 16 * KIB },
    { "vmdk with zeroed grains", "vmdk", usual, .size = MIB, .step = 64 * KIB, .len = 64 * KIB,
      .c = { .zeroed_grain = true } },
    { "vmdk over a backing file", "vmdk", usual, .size = MIB, .step = 48 * KIB, .len = 16 * KIB,
      .backing = true },
    { "vmdk stream", "vmdk", packing, .size = MIB, .step = 64 * KIB, .len = 64 * KIB,
      .c = { .subformat = "streamOptimized" } },
    { "vhdx", "vhdx", reading, .size = 3 * MIB, .step = 384 * KIB, .len = 4 * KIB,
      .make = make_vhdx },
    { "vhdx with a log", "vhdx", reading, .size = 3 * MIB, .step = 384 * KIB, .len = 2 * KIB,
      .make = make_vhdx_log },
    { "qcow", "qcow", reading, .size = MIB, .step = 4 * KIB, .len = 4 * KIB, .make = make_qcow1 },
};

/* To be made, as users make them. */
static const struct subject makes[] = {
    { "luks", "luks", no_discards, .size = MIB, .step = 12 * KIB, .len = 4 * KIB,
      .make = make_luks },
    { "qcow2", .acts = usual, .size = MIB, .step = 12 * KIB, .len = 4 * KIB,
      QCOW2(.cluster_bits = 16, .extended_l2 = true) },
    { "vpc", "vpc", usual, .size = 4 * MIB, .step = 4 * KIB, .len = 4 * KIB,
      .c = { .force_size = true } },
    { "vpc, fixed", "vpc", usual, .size = MIB, .step = 4 * KIB, .len = 4 * KIB,
      .c = { .force_size = true, .subformat = "fixed" } },
    { "vdi", "vdi", usual, .size = 2 * MIB, .step = 4 * KIB, .len = 4 * KIB },
    { "vdi, static", "vdi", usual, .size = 2 * MIB, .step = 4 * KIB, .len = 4 * KIB,
      .c = { .is_static = true } },
    { "vmdk", "vmdk", usual, .size = MIB, .step = 4 * KIB, .len = 4 * KIB },
    { "vmdk stream", "vmdk", packing, .size = MIB, .step = 64 * KIB, .len = 64 * KIB,
      .c = { .subformat = "streamOptimized" } },
};

static void test_fault_when_any_call_fails_once_nothing_is_lost_silently(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(subjects); i++) {
        make_fresh(&subjects[i]);
        fault_each(use_story, (void *)&subjects[i]);
        drop_fresh();
    }
}

static void test_fault_when_an_image_is_made_then_it_is_whole_or_there_is_an_error(void **state)
{
    (void)state;
    way = (struct way){ BLK_AIO_THREADS, BLK_NONE };
    for (size_t i = 0; i < ARRAY_SIZE(makes); i++) {
        fault_each(create_story, (void *)&makes[i]);
    }
}

/* The same through the page cache and past it, and by every way to the kernel. */
static void test_fault_by_every_engine_and_cache_mode(void **state)
{
    static const struct way ways[] = {
        { BLK_AIO_THREADS, BLK_DIRECTSYNC }, { BLK_AIO_NATIVE, BLK_NONE },
        { BLK_AIO_IO_URING, BLK_WRITEBACK }, { BLK_AIO_IO_URING, BLK_WRITETHROUGH },
        { BLK_AIO_IO_URING, BLK_NONE },
    };
    static const struct subject of[] = {
        { "qcow2", .acts = brief, .size = MIB, .step = 12 * KIB, .len = 4 * KIB,
          QCOW2(.cluster_bits = 12) },
        { "qcow2 with a data file", .acts = brief, .size = MIB, .step = 48 * KIB, .len = 16 * KIB,
          QCOW2(.cluster_bits = 14, .extended_l2 = true, .data_file = "data"), .bitmap = true },
        { "qcow2 with snapshots", .acts = upkeep, .size = MIB, .step = 12 * KIB, .len = 4 * KIB,
          QCOW2(.cluster_bits = 12) },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
        const struct subject *s = &of[i % ARRAY_SIZE(of)];
        make_fresh(s);
        way = ways[i];
        fault_each(use_story, (void *)s);
        drop_fresh();
    }
}

static int setup(void **state)
{
    (void)state;
    log_set_level(LOG_ERROR);
    for (int i = 0; i < FILES; i++) {
        strcpy(names[i], "/dev/shm/keel-test-fault-XXXXXX");
        fault_file_new(names[i]);
    }
    ctx = node_ctx_new(NULL);
    node_ctx_no_threads(ctx);
    threaded = node_ctx_new(NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < FILES; i++) {
        unlink(names[i]);
    }
    node_ctx_free(ctx);
    node_ctx_free(threaded);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fault_when_any_call_fails_once_nothing_is_lost_silently),
        cmocka_unit_test(test_fault_when_an_image_is_made_then_it_is_whole_or_there_is_an_error),
        cmocka_unit_test(test_fault_by_every_engine_and_cache_mode),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
