/* SPDX-License-Identifier: MIT */
/* tests/unit/test-vhdx.c - VHDX images that were not closed: the log replayed in memory, and broken
 * logs. The image and its log are made by vhdx-rig.h.
 */
#include "block/format.h"
#include "dm/base/err.h"
#include "tests/unit/ram-node.h"
#include "tests/unit/vhdx-rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

static struct node_ctx *ctx;
static uint8_t image[VHDX_LEN], *log_of = image + VHDX_LOG;

static void fresh(void)
{
    memset(image, 0, sizeof(image));
    memset(image + VHDX_BLOCK, 0xdd, VHDX_MIB);
    vhdx_make(image);
    vhdx_put_header(image, true);
}

static struct node *opened(uint64_t len, struct err *e)
{
    struct image_open o = { .fd = -1, .format = "vhdx", .read_only = true };
    struct node *file = ram_node_new(ctx, image, len);

    file->growable = false;
    return format_vhdx.open(file, &o, e);
}

static void refused(uint64_t len, const char *why)
{
    struct err e = { 0 };
    struct node *n = opened(len, &e);

    assert_null(n);
    if (!strstr(e.msg, why)) {
        fail_msg("\"%s\" does not say \"%s\"", e.msg, why);
    }
}

static uint8_t byte_at(struct node *n, uint64_t at)
{
    uint8_t buf[512];

    assert_int_equal(node_read(n, at & ~511ull, buf, sizeof(buf)), 0);
    return buf[at & 511];
}

/* Opens; what the disk's first 16 KiB are, sector by sector of 4 KiB, and nothing lies between. */
static void reads(const uint8_t want[4])
{
    struct err e = { 0 };
    struct node *n = opened(VHDX_LEN, &e);
    static uint8_t before[VHDX_LEN], buf[65536];

    memcpy(before, image, sizeof(image));
    if (!n) {
        fail_msg("%s", e.msg);
    }
    assert_int_equal(node_read(n, 0, buf, sizeof(buf)), 0);
    for (unsigned i = 0; i < sizeof(buf); i++) {
        if (buf[i] != (i < 16384 ? want[i / 4096] : 0xdd)) {
            fail_msg("byte %u: %#x", i, buf[i]);
        }
    }
    assert_int_equal(byte_at(n, 8192 + 512), want[2]);
    assert_int_equal(node_close(n), 0);
    assert_memory_equal(before, image, sizeof(image));
}

static void test_vhdx_log_with_data_and_zeros_is_replayed(void **state)
{
    (void)state;
    fresh();
    vhdx_log_entry(image, &(struct vhdx_entry){ .number = 7,
                                                .n = 3,
                                                .write = { { VHDX_BLOCK, 0, 0x11 },
                                                           { VHDX_BLOCK + 4096, 8192, 0 },
                                                           { VHDX_BLOCK + 12288, 0, 0x22 } } });
    reads((uint8_t[4]){ 0x11, 0, 0, 0x22 });
}

static void test_vhdx_log_of_several_entries_the_last_write_holds(void **state)
{
    uint32_t at = 8192, tail = at;

    (void)state;
    fresh();
    at += vhdx_log_entry(
        image, &(struct vhdx_entry){ .at = at,
                                     .tail = tail,
                                     .number = 3,
                                     .n = 2,
                                     .write = { { VHDX_BLOCK, 16384, 0 }, { VHDX_BLOCK, 0, 1 } } });
    at += vhdx_log_entry(image, &(struct vhdx_entry){ .at = at,
                                                      .tail = tail,
                                                      .number = 4,
                                                      .n = 2,
                                                      .write = { { VHDX_BLOCK + 4096, 0, 2 },
                                                                 { VHDX_BLOCK + 8192, 0, 3 } } });
    vhdx_log_entry(image, &(struct vhdx_entry){ .at = at,
                                                .tail = tail,
                                                .number = 5,
                                                .n = 2,
                                                .write = { { VHDX_BLOCK + 8192, 4096, 0 },
                                                           { VHDX_BLOCK + 12288, 0, 4 } } });
    reads((uint8_t[4]){ 1, 2, 0, 4 });
}

/* Entry 9 says that all before it is in the file: entry 8 does not count any more. */
static void test_vhdx_log_begins_where_the_last_entry_says(void **state)
{
    uint32_t len;

    (void)state;
    fresh();
    len = vhdx_log_entry(
        image, &(struct vhdx_entry){ .number = 8, .n = 1, .write = { { VHDX_BLOCK, 0, 0x66 } } });
    vhdx_log_entry(image, &(struct vhdx_entry){ .at = len,
                                                .tail = len,
                                                .number = 9,
                                                .n = 1,
                                                .write = { { VHDX_BLOCK + 4096, 0, 0x77 } } });
    reads((uint8_t[4]){ 0xdd, 0x77, 0xdd, 0xdd });
}

static void test_vhdx_log_passes_the_end_of_its_ring(void **state)
{
    uint32_t tail = VHDX_MIB - 8192 - 4096, len;

    (void)state;
    fresh();
    len = vhdx_log_entry(
        image,
        &(struct vhdx_entry){
            .at = tail, .tail = tail, .number = 20, .n = 1, .write = { { VHDX_BLOCK, 0, 5 } } });
    len += vhdx_log_entry(image, &(struct vhdx_entry){ .at = tail + len,
                                                       .tail = tail,
                                                       .number = 21,
                                                       .n = 2,
                                                       .write = { { VHDX_BLOCK + 4096, 0, 6 },
                                                                  { VHDX_BLOCK + 8192, 0, 7 } } });
    vhdx_log_entry(image, &(struct vhdx_entry){ .at = (tail + len) % VHDX_MIB,
                                                .tail = tail,
                                                .number = 22,
                                                .n = 1,
                                                .write = { { VHDX_BLOCK + 12288, 0, 8 } } });
    reads((uint8_t[4]){ 5, 6, 7, 8 });
}

/* A torn last entry was never there; what lies about of an older round has lower numbers. */
static void test_vhdx_log_with_a_torn_and_a_stale_entry(void **state)
{
    uint32_t len;

    (void)state;
    fresh();
    len = vhdx_log_entry(
        image, &(struct vhdx_entry){ .number = 30, .n = 1, .write = { { VHDX_BLOCK, 0, 0x31 } } });
    vhdx_log_entry(image,
                   &(struct vhdx_entry){
                       .at = len, .number = 31, .n = 1, .write = { { VHDX_BLOCK, 0, 0x32 } } });
    log_of[len + 5000] ^= 1;
    vhdx_log_entry(image, &(struct vhdx_entry){ .at = 65536,
                                                .tail = 65536,
                                                .number = 12,
                                                .n = 1,
                                                .write = { { VHDX_BLOCK, 0, 0x33 } } });
    reads((uint8_t[4]){ 0x31, 0xdd, 0xdd, 0xdd });
}

/* The log may hold the block table itself, and say that the file is longer than it is. */
static void test_vhdx_log_that_makes_the_file_longer(void **state)
{
    struct err e = { 0 };
    struct node *n;

    (void)state;
    fresh();
    vhdx_log_entry(image, &(struct vhdx_entry){
                              .number = 2,
                              .last = VHDX_LEN + VHDX_MIB,
                              .n = 2,
                              .write = { { VHDX_BAT, 4096, 0 }, { VHDX_LEN + 4096, 0, 0x44 } } });
    n = opened(VHDX_LEN, &e);
    assert_non_null(n);
    assert_int_equal(byte_at(n, 0), 0);
    assert_int_equal(node_close(n), 0);

    fresh();
    store_le(image + VHDX_BAT + 8, 8, VHDX_LEN | 6); /* lies behind the end until it is replayed */
    vhdx_log_entry(image, &(struct vhdx_entry){ .number = 2,
                                                .last = VHDX_LEN + VHDX_MIB,
                                                .n = 1,
                                                .write = { { VHDX_LEN + 4096, 0, 0x44 } } });
    n = opened(VHDX_LEN, &e);
    assert_non_null(n);
    assert_int_equal(byte_at(n, VHDX_MIB), 0);
    assert_int_equal(byte_at(n, VHDX_MIB + 4096), 0x44);
    assert_int_equal(byte_at(n, VHDX_MIB + 8192), 0);
    assert_int_equal(node_close(n), 0);
}

static void test_vhdx_log_that_is_broken_is_refused(void **state)
{
    const struct vhdx_entry one = { .number = 1, .n = 1, .write = { { VHDX_BLOCK, 0, 9 } } };

    (void)state;
    fresh();
    refused(VHDX_LEN, "holds no sequence of whole entries");
    static const struct {
        unsigned at, len;
        uint64_t value;
    } changes[] = {
        { 8, 4, 0 },           { 8, 4, 4097 },   { 8, 4, 0xfffff000 },  { 12, 4, 4096 },
        { 12, 4, 0xfffff000 }, { 16, 8, 0 },     { 24, 4, 0xffffffff }, { 24, 4, 2 },
        { 32, 1, 0 },          { 64, 1, 'x' },   { 80, 8, 512 },        { 80, 8, 1ull << 63 },
        { 88, 8, 2 },          { 4096, 1, 'x' }, { 4100, 4, 1 },        { 8188, 4, 2 },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(changes); i++) {
        fresh();
        vhdx_log_entry(image, &one);
        store_le(log_of + changes[i].at, changes[i].len, changes[i].value);
        if (changes[i].at != 8) {
            vhdx_sum_entry(log_of);
        }
        refused(VHDX_LEN, "holds no sequence of whole entries");
    }
    fresh();
    vhdx_log_entry(image, &(struct vhdx_entry){ .number = 1, .flushed = VHDX_LEN + 512 });
    refused(VHDX_LEN, "the file was cut short");
    vhdx_log_entry(image, &(struct vhdx_entry){ .number = 1, .last = 1ull << 63 });
    refused(VHDX_LEN, "absurd length");
}

static void test_vhdx_header_with_an_impossible_log_is_refused(void **state)
{
    static const struct {
        unsigned at, len;
        uint64_t value;
        const char *why;
    } changes[] = {
        { 64, 2, 1, "version 0" },
        { 68, 4, 0, "the format does not allow" },
        { 68, 4, 4096, "the format does not allow" },
        { 68, 4, 128 << 20, "longer than 64 MiB" },
        { 72, 8, 4096, "the format does not allow" },
        { 72, 8, 0, "the format does not allow" },
        { 72, 8, 1ull << 40, "beyond the file's end" },
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(changes); i++) {
        fresh();
        store_le(image + 65536 + changes[i].at, changes[i].len, changes[i].value);
        store_le(image + 65540, 4, vhdx_crc(image + 65536, 4096));
        refused(VHDX_LEN, changes[i].why);
    }
}

/* Each sector claims to be an entry of the whole ring: summing all of them would take 256 MiB. */
static void test_vhdx_log_of_overlapping_entries_costs_little(void **state)
{
    clock_t before = clock();

    (void)state;
    fresh();
    for (uint32_t at = 0; at < VHDX_MIB; at += 4096) {
        vhdx_log_entry(image, &(struct vhdx_entry){ .at = at, .number = 1 });
        store_le(log_of + at + 8, 4, VHDX_MIB);
    }
    refused(VHDX_LEN, "lie over one another");
    assert_true(clock() - before < 2 * CLOCKS_PER_SEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vhdx_log_with_data_and_zeros_is_replayed),
        cmocka_unit_test(test_vhdx_log_of_several_entries_the_last_write_holds),
        cmocka_unit_test(test_vhdx_log_begins_where_the_last_entry_says),
        cmocka_unit_test(test_vhdx_log_passes_the_end_of_its_ring),
        cmocka_unit_test(test_vhdx_log_with_a_torn_and_a_stale_entry),
        cmocka_unit_test(test_vhdx_log_that_makes_the_file_longer),
        cmocka_unit_test(test_vhdx_log_that_is_broken_is_refused),
        cmocka_unit_test(test_vhdx_header_with_an_impossible_log_is_refused),
        cmocka_unit_test(test_vhdx_log_of_overlapping_entries_costs_little),
    };
    int rc;

    ctx = node_ctx_new(NULL);
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    node_ctx_free(ctx);
    return rc;
}
