/* SPDX-License-Identifier: MIT */
/* tests/unit/test-mapcache.c - windows come, go, are pinned and forgotten. */
#include "dm/base/util.h"
#include "xen-glue/mapcache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PAGE 4096u
#define RAM_PAGES 1024u /* 16 windows */

/* The pretended hypervisor: pages below RAM_PAGES exist unless they are the hole. A mapping is
 * filled with the low byte of each page's number. */
static struct {
    unsigned maps, unmaps;
    uint64_t hole; /* a page that is no RAM */
    bool refuse;
} xen;

static bool exists(uint64_t page)
{
    return page < RAM_PAGES && page != xen.hole;
}

static void *fake_map(void *opaque, uint64_t first, unsigned n, uint64_t *valid)
{
    (void)opaque;
    if (xen.refuse) {
        return NULL;
    }
    uint8_t *p = malloc((size_t)n * PAGE);
    *valid = 0;
    for (unsigned i = 0; i < n; i++) {
        *valid |= (uint64_t)exists(first + i) << i;
        memset(p + (size_t)i * PAGE, (int)(first + i), PAGE);
    }
    xen.maps++;
    return p;
}

static void fake_unmap(void *opaque, void *addr, unsigned n)
{
    (void)opaque;
    assert_int_equal(n, MAPCACHE_PAGES);
    xen.unmaps++;
    free(addr);
}

static const struct mapcache_ops ops = { fake_map, fake_unmap };

static struct mapcache *fresh(unsigned windows)
{
    memset(&xen, 0, sizeof(xen));
    xen.hole = UINT64_MAX;
    return mapcache_new(&ops, NULL, windows * MAPCACHE_WINDOW);
}

static uint8_t *get(struct mapcache *c, uint64_t gpa, size_t want, size_t expect, bool pin)
{
    size_t len = want;
    uint8_t *p = mapcache_get(c, gpa, &len, pin);
    if (p) {
        assert_int_equal(len, expect);
        assert_int_equal(*p, (uint8_t)(gpa / PAGE));
    }
    return p;
}

static void done(struct mapcache *c)
{
    mapcache_free(c);
    assert_int_equal(xen.maps, xen.unmaps);
}

static void test_mapcache_hit_maps_once(void **state)
{
    (void)state;
    struct mapcache *c = fresh(4);
    struct mapcache_stats s;
    uint8_t *p = get(c, 0x1234, 100, 100, false);
    assert_non_null(p);
    assert_ptr_equal(get(c, 0x1234, 100, 100, false), p);
    assert_ptr_equal(get(c, 0x2000, 1, 1, false), p + 0x2000 - 0x1234);
    mapcache_stats(c, &s);
    assert_int_equal(s.misses, 1);
    assert_int_equal(s.hits, 2);
    assert_int_equal(s.bytes, MAPCACHE_WINDOW);
    done(c);
}

static void test_mapcache_len_ends_with_the_window(void **state)
{
    (void)state;
    struct mapcache *c = fresh(4);
    assert_non_null(get(c, MAPCACHE_WINDOW - 16, 100, 16, false));
    assert_non_null(get(c, MAPCACHE_WINDOW, 100, 100, false));
    assert_non_null(get(c, 0, SIZE_MAX, MAPCACHE_WINDOW, false));
    done(c);
}

static void test_mapcache_len_ends_before_a_hole(void **state)
{
    (void)state;
    struct mapcache *c = fresh(4);
    xen.hole = 5;
    assert_non_null(get(c, 0x3ff0, 0x8000, 0x1010, false));
    assert_null(get(c, 0x5000, 1, 1, false));
    assert_non_null(get(c, 0x6000, 0x1000000, MAPCACHE_WINDOW - 0x6000, false));
    assert_null(get(c, RAM_PAGES * PAGE, 1, 1, false));
    assert_null(get(c, UINT64_MAX - 8, 1, 1, false));
    done(c);
}

static void test_mapcache_hole_that_became_ram_is_found(void **state)
{
    (void)state;
    struct mapcache *c = fresh(4);
    xen.hole = 5;
    assert_null(get(c, 0x5000, 1, 1, false));
    xen.hole = UINT64_MAX;
    assert_non_null(get(c, 0x5000, 1, 1, false));
    done(c);
}

static void test_mapcache_hole_beside_a_pin_is_found(void **state)
{
    (void)state;
    struct mapcache *c = fresh(4);
    xen.hole = 5;
    uint8_t *pinned = get(c, 0x4000, 1, 1, true);
    assert_non_null(pinned);
    xen.hole = UINT64_MAX;
    assert_non_null(get(c, 0x5000, 1, 1, false));
    assert_int_equal(xen.unmaps, 0);
    mapcache_unpin(c, pinned);
    assert_int_equal(xen.unmaps, 1);
    done(c);
}

static void test_mapcache_bound_drops_the_least_recent(void **state)
{
    (void)state;
    struct mapcache *c = fresh(3);
    for (uint64_t i = 0; i < 3; i++) {
        get(c, i * MAPCACHE_WINDOW, 1, 1, false);
    }
    get(c, 0, 1, 1, false); /* now window 1 is the oldest */
    get(c, 3 * MAPCACHE_WINDOW, 1, 1, false);
    assert_int_equal(xen.maps, 4);
    assert_int_equal(xen.unmaps, 1);
    get(c, 0, 1, 1, false);
    get(c, 2 * MAPCACHE_WINDOW, 1, 1, false);
    assert_int_equal(xen.maps, 4);
    get(c, MAPCACHE_WINDOW, 1, 1, false);
    assert_int_equal(xen.maps, 5);
    done(c);
}

static void test_mapcache_pinned_windows_stay(void **state)
{
    (void)state;
    struct mapcache *c = fresh(2);
    uint8_t *a = get(c, 0, 1, 1, true), *b = get(c, MAPCACHE_WINDOW, 1, 1, true);
    assert_null(get(c, 2 * MAPCACHE_WINDOW, 1, 1, false)); /* nothing can go */
    assert_ptr_equal(get(c, 0, 1, 1, true), a);            /* a second pin of the same window */
    mapcache_unpin(c, a);
    assert_null(get(c, 2 * MAPCACHE_WINDOW, 1, 1, false));
    mapcache_unpin(c, a + MAPCACHE_WINDOW - 1);
    assert_non_null(get(c, 2 * MAPCACHE_WINDOW, 1, 1, false));
    mapcache_unpin(c, b);
    done(c);
}

static void test_mapcache_invalidate_forgets_the_range_only(void **state)
{
    (void)state;
    struct mapcache *c = fresh(8);
    for (uint64_t i = 0; i < 4; i++) {
        get(c, i * MAPCACHE_WINDOW, 1, 1, false);
    }
    mapcache_invalidate(c, MAPCACHE_WINDOW + 5, MAPCACHE_WINDOW);
    assert_int_equal(xen.unmaps, 2);
    mapcache_invalidate(c, 0, 0);
    assert_int_equal(xen.unmaps, 2);
    mapcache_invalidate(c, 0, UINT64_MAX);
    assert_int_equal(xen.unmaps, 4);
    mapcache_invalidate(c, UINT64_MAX - 1, 100);
    done(c);
}

static void test_mapcache_invalidate_waits_for_the_unpin(void **state)
{
    (void)state;
    struct mapcache *c = fresh(8);
    uint8_t *old = get(c, 0x1000, 1, 1, true);
    mapcache_invalidate(c, 0, UINT64_MAX);
    mapcache_invalidate(c, 0, UINT64_MAX);
    assert_int_equal(xen.unmaps, 0);
    assert_int_equal(*old, 1); /* still readable */
    uint8_t *new = get(c, 0x1000, 1, 1, true);
    assert_ptr_not_equal(new, old);
    mapcache_unpin(c, old);
    assert_int_equal(xen.unmaps, 1);
    mapcache_unpin(c, new);
    assert_ptr_equal(get(c, 0x1000, 1, 1, false), new);
    done(c);
}

static void test_mapcache_survives_a_refusing_hypervisor(void **state)
{
    (void)state;
    struct mapcache *c = fresh(2);
    xen.refuse = true;
    assert_null(get(c, 0, 1, 1, false));
    xen.refuse = false;
    xen.hole = 3;
    assert_non_null(get(c, 0, 1, 1, false));
    xen.refuse = true;
    assert_null(get(c, 0x3000, 1, 1, false)); /* looked at again, and lost on the way */
    xen.refuse = false;
    assert_non_null(get(c, 0, 1, 1, false));
    done(c);
}

static void test_mapcache_random_use_agrees_with_the_rules(void **state)
{
    (void)state;
    struct mapcache *c = fresh(5);
    uint8_t *pins[3] = { 0 };
    uint32_t r = 1;
    for (int i = 0; i < 20000; i++) {
        r = r * 1664525 + 1013904223;
        uint64_t gpa = (r >> 8) % (RAM_PAGES * PAGE);
        unsigned slot = r >> 4 & 3;
        if (slot < 3 && pins[slot]) {
            mapcache_unpin(c, pins[slot]);
            pins[slot] = NULL;
        } else if (slot < 3) {
            pins[slot] = get(c, gpa, 1, 1, true);
            assert_non_null(pins[slot]);
        } else if ((r & 15) == 0) {
            mapcache_invalidate(c, gpa, 1 << 20);
        } else {
            assert_non_null(get(c, gpa, 1, 1, false));
        }
    }
    for (int i = 0; i < 3; i++) {
        if (pins[i]) {
            mapcache_unpin(c, pins[i]);
        }
    }
    done(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mapcache_hit_maps_once),
        cmocka_unit_test(test_mapcache_len_ends_with_the_window),
        cmocka_unit_test(test_mapcache_len_ends_before_a_hole),
        cmocka_unit_test(test_mapcache_hole_that_became_ram_is_found),
        cmocka_unit_test(test_mapcache_hole_beside_a_pin_is_found),
        cmocka_unit_test(test_mapcache_bound_drops_the_least_recent),
        cmocka_unit_test(test_mapcache_pinned_windows_stay),
        cmocka_unit_test(test_mapcache_invalidate_forgets_the_range_only),
        cmocka_unit_test(test_mapcache_invalidate_waits_for_the_unpin),
        cmocka_unit_test(test_mapcache_survives_a_refusing_hypervisor),
        cmocka_unit_test(test_mapcache_random_use_agrees_with_the_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
