/* SPDX-License-Identifier: MIT */
/* tests/unit/test-keyval.c - sub-options as people and toolstacks type them. */
#include "dm/keyval.h"

#include "dm/base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void test_keyval_when_commas_are_doubled_then_they_are_kept(void **state)
{
    (void)state;
    struct keyval *kv = keyval_parse("file=/a,,b,,,id=x,,", NULL);
    assert_string_equal(keyval_get(kv, "file"), "/a,b,");
    assert_string_equal(keyval_get(kv, "id"), "x,");
    keyval_free(kv);
}

static void test_keyval_when_first_word_is_bare_then_it_is_the_implied_key(void **state)
{
    (void)state;
    struct keyval *kv = keyval_parse("pc,accel=xen,foo", "type");
    assert_string_equal(keyval_get(kv, "type"), "pc");
    assert_string_equal(keyval_get(kv, "foo"), "on");
    keyval_free(kv);
    kv = keyval_parse("accel=xen", "type");
    assert_null(keyval_get(kv, "type"));
    keyval_free(kv);
}

static void test_keyval_when_switch_begins_with_no_then_off(void **state)
{
    (void)state;
    bool wait = true, nothing = false;
    struct keyval *kv = keyval_parse("path=x,nowait,nothing", NULL);
    assert_int_equal(keyval_bool(kv, "wait", &wait, NULL), 0);
    assert_false(wait);
    assert_int_equal(keyval_bool(kv, "nothing", &nothing, NULL), 0);
    assert_true(nothing);
    keyval_free(kv);
}

static void test_keyval_when_key_comes_twice_then_the_last_counts(void **state)
{
    (void)state;
    struct keyval *kv = keyval_parse("a=1,a=2", NULL);
    assert_string_equal(keyval_get(kv, "a"), "2");
    assert_int_equal(keyval_done(kv, NULL), 0);
    keyval_free(kv);
}

static void test_keyval_when_nobody_asked_for_a_key_then_it_is_named(void **state)
{
    (void)state;
    struct err e;
    struct keyval *kv = keyval_parse("a=1,frob=2", NULL);
    keyval_get(kv, "a");
    assert_true(keyval_done(kv, &e) < 0);
    assert_non_null(strstr(e.msg, "'frob'"));
    keyval_free(kv);
}

static void test_keyval_when_size_has_suffix_then_it_scales(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = { { "64", 64ull << 20 },
                 { "64M", 64ull << 20 },
                 { "1g", 1ull << 30 },
                 { "2T", 2ull << 40 },
                 { "512b", 512 },
                 { "0x10k", 0x10 << 10 },
                 { "0", 0 } };
    static const char *const bad[] = {
        "", "-1", "M", "1Q", "1MB", " 1", "1.5G", "99999999999999T", "99999999999999999999999"
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        uint64_t v = 1;
        assert_int_equal(parse_size(good[i].text, 1 << 20, &v), 0);
        assert_int_equal(v, good[i].bytes);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint64_t v;
        assert_true(parse_size(bad[i], 1 << 20, &v) < 0);
    }
}

static void test_keyval_when_number_is_bad_then_key_and_value_are_named(void **state)
{
    (void)state;
    struct err e;
    uint32_t v = 7;
    struct keyval *kv = keyval_parse("unit=4294967296,index=-1", NULL);
    assert_true(keyval_u32(kv, "unit", &v, &e) < 0);
    assert_non_null(strstr(e.msg, "unit=4294967296"));
    assert_true(keyval_u32(kv, "index", &v, &e) < 0);
    assert_int_equal(keyval_u32(kv, "absent", &v, &e), 0);
    assert_int_equal(v, 7);
    keyval_free(kv);
}

static void test_keyval_when_text_is_odd_then_no_harm(void **state)
{
    (void)state;
    static const char *const odd[] = { "", ",", ",,", ",,,", "=", "=,=", "a=", "=b", ",a=1," };
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        keyval_free(keyval_parse(odd[i], NULL));
        keyval_free(keyval_parse(odd[i], "k"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keyval_when_commas_are_doubled_then_they_are_kept),
        cmocka_unit_test(test_keyval_when_first_word_is_bare_then_it_is_the_implied_key),
        cmocka_unit_test(test_keyval_when_switch_begins_with_no_then_off),
        cmocka_unit_test(test_keyval_when_key_comes_twice_then_the_last_counts),
        cmocka_unit_test(test_keyval_when_nobody_asked_for_a_key_then_it_is_named),
        cmocka_unit_test(test_keyval_when_size_has_suffix_then_it_scales),
        cmocka_unit_test(test_keyval_when_number_is_bad_then_key_and_value_are_named),
        cmocka_unit_test(test_keyval_when_text_is_odd_then_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
