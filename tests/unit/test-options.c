/* SPDX-License-Identifier: MIT */
/* tests/unit/test-options.c - the option table, the frames of JSON, key names, descriptor sets. */
#include "dm/base/err.h"
#include "dm/base64.h"
#include "dm/fdset.h"
#include "dm/json-frame.h"
#include "dm/keys.h"
#include "dm/options.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static void test_options_when_table_is_walked_then_sorted_and_complete(void **state)
{
    (void)state;
    for (size_t i = 0; opt_table[i].name; i++) {
        const struct opt_def *d = &opt_table[i];
        assert_true(i == 0 || strcmp(opt_table[i - 1].name, d->name) < 0);
        assert_ptr_equal(opt_find(d->name), d);
        assert_int_equal(d->have, d->take != NULL);
        assert_int_equal(d->have, d->help != NULL);
    }
    assert_null(opt_find("frobnicate"));
    assert_null(opt_find(""));
}

static void test_options_when_device_names_are_looked_up_then_found(void **state)
{
    (void)state;
    static const char *const names[] = {
        "AC97",    "ahci",       "e1000",          "lsi53c895a",
        "rtl8139", "usb-tablet", "virtio-net-pci", "xen-pvdevice"
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_true(device_known(names[i]));
    }
    assert_false(device_known("frob"));
    assert_false(device_known(""));
}

static void test_options_when_libxl_probes_then_parsed(void **state)
{
    (void)state;
    char *argv[] = { "keel",
                     "-S",
                     "-no-user-config",
                     "-nodefaults",
                     "-nographic",
                     "-machine",
                     "none,accel=xen",
                     "-chardev",
                     "socket,id=libxl-cmd,fd=7,server=on,wait=off",
                     "-mon",
                     "chardev=libxl-cmd,mode=control" };
    struct options o;
    struct err e;
    assert_int_equal(options_parse(&o, sizeof(argv) / sizeof(argv[0]), argv, &e), 0);
    assert_int_equal(o.machine, MACHINE_NONE);
    assert_true(o.stopped && o.nodefaults && o.nographic);
    assert_int_equal(o.chardevs.n, 1);
    assert_int_equal(o.mons.n, 1);
    options_free(&o);
}

static void test_options_when_both_spellings_then_the_same(void **state)
{
    (void)state;
    char *old_way[] = { "keel", "-accel", "qtest", "-chroot", "/a", "-runas", "1:2" };
    char *new_way[] = { "keel", "--accel", "qtest", "--run-with", "chroot=/a,user=1:2" };
    struct options o;
    struct err e;
    assert_int_equal(options_parse(&o, 7, old_way, &e), 0);
    assert_string_equal(o.chroot, "/a");
    assert_string_equal(o.runas, "1:2");
    options_free(&o);
    assert_int_equal(options_parse(&o, 5, new_way, &e), 0);
    assert_string_equal(o.chroot, "/a");
    assert_string_equal(o.runas, "1:2");
    options_free(&o);
}

/* Feeds text; returns the last event that was not MORE, with its text in out. */
static enum json_frame_event frame(const char *text, char *out, size_t size)
{
    struct json_frame f = { 0 };
    enum json_frame_event last = JSON_FRAME_MORE;
    out[0] = '\0';
    for (; *text; text++) {
        enum json_frame_event e = json_frame_feed(&f, *text);
        if (e != JSON_FRAME_MORE) {
            last = e;
            strncpy(out, f.text.p ? f.text.p : "", size - 1);
        }
    }
    json_frame_reset(&f);
    return last;
}

static void test_frame_when_brackets_close_then_a_value(void **state)
{
    (void)state;
    char out[64] = "";
    assert_int_equal(frame("{\"a\":[1,{}]}", out, sizeof(out)), JSON_FRAME_VALUE);
    assert_string_equal(out, "{\"a\":[1,{}]}");
    assert_int_equal(frame("{\"}\":\"\\\"}\"}", out, sizeof(out)), JSON_FRAME_VALUE);
    assert_string_equal(out, "{\"}\":\"\\\"}\"}");
    assert_int_equal(frame("{'a\"':'\\''}", out, sizeof(out)), JSON_FRAME_VALUE);
    assert_string_equal(out, "{\"a\\\"\":\"'\"}");
    assert_int_equal(frame("{\"a\":", out, sizeof(out)), JSON_FRAME_MORE);
    assert_int_equal(frame("hello ", out, sizeof(out)), JSON_FRAME_WORD);
    assert_int_equal(frame("}", out, sizeof(out)), JSON_FRAME_VALUE);
    assert_int_equal(frame("  \n\r\t", out, sizeof(out)), JSON_FRAME_MORE);
}

static void test_frame_when_too_deep_or_big_then_said_once(void **state)
{
    (void)state;
    struct json_frame f = { 0 };
    unsigned deep = 0, big = 0;
    for (unsigned i = 0; i < 3 * JSON_FRAME_MAX_DEPTH; i++) {
        deep += json_frame_feed(&f, '[') == JSON_FRAME_TOO_DEEP;
    }
    assert_int_equal(deep, 1);
    json_frame_feed(&f, '\n');
    json_frame_feed(&f, '"');
    for (unsigned i = 0; i < 3 * JSON_FRAME_MAX_BYTES; i++) {
        big += json_frame_feed(&f, 'a') == JSON_FRAME_TOO_BIG;
    }
    assert_int_equal(big, 1);
    json_frame_feed(&f, '\n');
    json_frame_feed(&f, '{');
    assert_int_equal(json_frame_feed(&f, '}'), JSON_FRAME_VALUE);
    json_frame_reset(&f);
}

static void test_keys_when_named_then_scan_codes(void **state)
{
    (void)state;
    assert_int_equal(key_qcode("a"), 0x1e);
    assert_int_equal(key_qcode("ctrl_r"), 0xe01d);
    assert_int_equal(key_qcode("pause"), 0xe11d);
    assert_int_equal(key_qcode("z"), 0x2c);
    assert_int_equal(key_qcode("0"), 0x0b);
    assert_int_equal(key_qcode("zz"), 0);
    assert_int_equal(key_number(0x1e), 0x1e);
    assert_int_equal(key_number(0x9d), 0xe01d);
    assert_int_equal(key_number(0), 0);
    assert_int_equal(key_number(0x100), 0);
}

static void test_fdset_when_opened_then_the_mode_decides(void **state)
{
    (void)state;
    struct fdset *sets = NULL;
    int64_t id = -1, other = -1;
    int r = open("/dev/null", O_RDONLY), w = open("/dev/null", O_WRONLY);
    assert_int_equal(fdset_add(&sets, &id, r, "a", NULL), 0);
    assert_int_equal(id, 0);
    assert_int_equal(fdset_add(&sets, &other, w, NULL, NULL), 0);
    assert_int_equal(other, 1);
    assert_int_equal(fdset_open(sets, 0, O_WRONLY), -EACCES);
    assert_int_equal(fdset_open(sets, 2, O_WRONLY), -ENOENT);
    int fd = fdset_open(sets, 1, O_WRONLY);
    assert_true(fd >= 0 && fd != w);
    close(fd);
    assert_int_equal(fdset_remove(&sets, 0, w), -ENOENT);
    assert_int_equal(fdset_remove(&sets, 0, r), 0);
    assert_int_equal(fdset_remove(&sets, 0, -1), -ENOENT);
    fdset_free_all(&sets);
    assert_null(sets);
}

static void test_fdset_when_names_are_parsed_then_only_whole_numbers(void **state)
{
    (void)state;
    assert_int_equal(fdset_parse("/dev/fdset/0"), 0);
    assert_int_equal(fdset_parse("/dev/fdset/12"), 12);
    assert_int_equal(fdset_parse("/dev/fdset/"), -1);
    assert_int_equal(fdset_parse("/dev/fdset/-1"), -1);
    assert_int_equal(fdset_parse("/dev/fdset/1x"), -1);
    assert_int_equal(fdset_parse("/dev/fdset/99999999999999999999"), -1);
    assert_int_equal(fdset_parse("/dev/sda"), -1);
}

static void test_base64_when_round_then_the_same(void **state)
{
    (void)state;
    uint8_t in[64] = { 0 }, out[64];
    for (size_t len = 0; len < sizeof(in); len++) {
        for (size_t i = 0; i < len; i++) {
            in[i] = (uint8_t)(i * 37 + len);
        }
        char *text = base64_encode(in, len);
        assert_int_equal(base64_decode(text, out, len), len);
        assert_memory_equal(in, out, len);
        assert_true(len == 0 || base64_decode(text, out, len - 1) < 0);
        free(text);
    }
    assert_true(base64_decode("a!", out, sizeof(out)) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_when_table_is_walked_then_sorted_and_complete),
        cmocka_unit_test(test_options_when_device_names_are_looked_up_then_found),
        cmocka_unit_test(test_options_when_libxl_probes_then_parsed),
        cmocka_unit_test(test_options_when_both_spellings_then_the_same),
        cmocka_unit_test(test_frame_when_brackets_close_then_a_value),
        cmocka_unit_test(test_frame_when_too_deep_or_big_then_said_once),
        cmocka_unit_test(test_keys_when_named_then_scan_codes),
        cmocka_unit_test(test_fdset_when_opened_then_the_mode_decides),
        cmocka_unit_test(test_fdset_when_names_are_parsed_then_only_whole_numbers),
        cmocka_unit_test(test_base64_when_round_then_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
