/* SPDX-License-Identifier: MIT */
/* tests/unit/test-bitmap.c - dirty bitmaps in memory, against an array of bools. */
#include "block/bitmap.h"
#include "dm/base/err.h"
#include "tests/unit/ram-node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct node_ctx *ctx;

static void test_bitmap_marks_what_requests_touched(void **state)
{
    struct node *n = ram_node_new(ctx, NULL, 1 << 20);
    struct err e = { 0 };
    struct bitmap *b = bitmap_new(n, "b", 4096, &e);
    uint8_t buf[512] = { 0 };
    uint64_t at = 0, len;

    (void)state;
    assert_non_null(b);
    assert_false(bitmap_next(b, &at, &len, 0));
    assert_int_equal(node_write(n, 8192 - 512, buf, 512), 0);
    assert_int_equal(node_rw(n, NODE_ZERO, 8192, NULL, 512, 0), 0);
    assert_int_equal(node_rw(n, NODE_DISCARD, 65536, NULL, 8192, 0), 0);
    assert_int_equal(node_read(n, 0, buf, 512), 0);
    assert_true(bitmap_next(b, &at, &len, 0));
    assert_int_equal(at, 4096);
    assert_int_equal(len, 8192);
    assert_int_equal(bitmap_dirty_bytes(b), 4 * 4096);
    b->recording = false;
    assert_int_equal(node_write(n, 0, buf, 512), 0);
    assert_false(bitmap_get(b, 0));
    assert_int_equal(node_close(n), 0);
}

/* A write that fails may have changed a part. */
static void test_bitmap_marks_a_failed_write_too(void **state)
{
    struct node *n = ram_node_new(ctx, NULL, 1 << 20);
    struct err e = { 0 };
    struct bitmap *b = bitmap_new(n, "b", 0, &e);
    uint8_t buf[512] = { 0 };

    (void)state;
    ((struct ram_node *)n)->max = 512;
    assert_int_equal(node_write(n, 65536, buf, 512), -ENOSPC);
    assert_true(bitmap_get(b, 65536));
    assert_false(bitmap_get(b, 0));
    assert_int_equal(node_close(n), 0);
}

static void test_bitmap_names_and_granularities_are_checked(void **state)
{
    struct node *n = ram_node_new(ctx, NULL, 1 << 20);
    struct err e = { 0 };
    struct bitmap *b = bitmap_new(n, "b", 0, &e);

    (void)state;
    assert_null(bitmap_new(n, "b", 0, &e));
    assert_int_equal(e.code, -EEXIST);
    assert_null(bitmap_new(n, "c", 256, &e));
    assert_null(bitmap_new(n, "c", 5000, &e));
    assert_null(bitmap_new(n, "", 0, &e));
    n->len = 1ull << 50;
    assert_null(bitmap_new(n, "c", 512, &e));
    assert_int_equal(e.code, -EFBIG);
    n->len = 1 << 20;
    assert_ptr_equal(bitmap_find(n, "b"), b);
    b->busy = true;
    assert_int_equal(bitmap_usable(b, &e), -EBUSY);
    bitmap_free(b);
    assert_null(bitmap_find(n, "b"));
    assert_int_equal(node_close(n), 0);
}

static void test_bitmap_merges_across_granularities_and_swaps(void **state)
{
    struct node *n = ram_node_new(ctx, NULL, 1 << 20);
    struct err e = { 0 };
    struct bitmap *fine = bitmap_new(n, "fine", 512, &e), *wide = bitmap_new(n, "wide", 65536, &e);
    struct bitmap *other = bitmap_new(n, "other", 512, &e);

    (void)state;
    bitmap_set(fine, 65536 - 512, 1024);
    assert_int_equal(bitmap_merge(wide, fine), 0);
    assert_int_equal(wide->dirty, 2);
    bitmap_swap(fine, other);
    assert_int_equal(fine->dirty, 0);
    assert_int_equal(other->dirty, 2);
    bitmap_clear(wide, 0, 1 << 20);
    assert_int_equal(wide->dirty, 0);
    wide->len /= 2;
    assert_int_equal(bitmap_merge(wide, other), -EINVAL);
    wide->len *= 2;
    assert_int_equal(node_close(n), 0);
}

enum { SECTORS = 1000 };

static void compare(const struct bitmap *b, const bool *want, unsigned per)
{
    uint64_t at = 0, len, next = 0, dirty = 0;

    while (bitmap_next(b, &at, &len, 0)) {
        for (uint64_t i = next; i < at / 512; i++) {
            assert_false(want[i / per]);
        }
        for (uint64_t i = at / 512; i < (at + len) / 512; i++) {
            assert_true(want[i / per]);
        }
        dirty += len;
        at += len;
        next = at / 512;
    }
    for (uint64_t i = next; i < b->len / 512; i++) {
        assert_false(want[i / per]);
    }
    assert_int_equal(dirty, bitmap_dirty_bytes(b));
}

/* Random ranges, sizes and granularities, also past the end. */
static void test_bitmap_agrees_with_an_array(void **state)
{
    (void)state;
    srand(1);
    for (int round = 0; round < 60; round++) {
        uint64_t sectors = 1 + (uint64_t)rand() % SECTORS;
        unsigned per = 1u << rand() % 5;
        struct node *n = ram_node_new(ctx, NULL, sectors * 512);
        struct err e = { 0 };
        struct bitmap *b = bitmap_new(n, "b", per * 512, &e);
        bool want[SECTORS + 1] = { false };

        for (int i = 0; i < 50; i++) {
            uint64_t from = (uint64_t)rand() % (sectors + 10), len = (uint64_t)rand() % 200;
            bool set = rand() % 2;
            for (uint64_t k = 0; k < (sectors + per - 1) / per; k++) {
                uint64_t first = k * per, end = min_u64(first + per, sectors);
                bool touches = len && first < from + len && end > from;
                bool covers = first >= from && end <= from + len;
                want[k] = set ? want[k] || touches : want[k] && !covers;
            }
            if (set) {
                bitmap_set(b, from * 512, len * 512);
            } else {
                bitmap_clear(b, from * 512, len * 512);
            }
            compare(b, want, per);
        }
        /* Shorter and as long as before: what was cut off is clean. */
        if (sectors > 1) {
            uint64_t cut = 1 + (uint64_t)rand() % (sectors - 1);
            assert_int_equal(bitmap_resize(n, cut * 512), 0);
            assert_int_equal(bitmap_resize(n, sectors * 512), 0);
            for (uint64_t k = (cut + per - 1) / per; k <= SECTORS; k++) {
                want[k] = false;
            }
            compare(b, want, per);
        }
        assert_int_equal(node_close(n), 0);
    }
}

static int setup(void **state)
{
    (void)state;
    ctx = node_ctx_new(NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    node_ctx_free(ctx);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bitmap_marks_what_requests_touched),
        cmocka_unit_test(test_bitmap_marks_a_failed_write_too),
        cmocka_unit_test(test_bitmap_names_and_granularities_are_checked),
        cmocka_unit_test(test_bitmap_merges_across_granularities_and_swaps),
        cmocka_unit_test(test_bitmap_agrees_with_an_array),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
