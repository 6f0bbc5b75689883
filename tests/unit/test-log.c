/* SPDX-License-Identifier: MIT */
/* tests/unit/test-log.c - log lines, their rate, and errors that explain themselves. */
#include "dm/base/chr.h"
#include "dm/base/err.h"
#include "dm/base/log.h"
#include "dm/base/util.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Standard error goes to a file while a test runs. */
struct rig {
    FILE *file;
    int saved;
    char text[8192];
};

static int set_up(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    r->file = tmpfile();
    r->saved = dup(STDERR_FILENO);
    dup2(fileno(r->file), STDERR_FILENO);
    log_set_level(LOG_WARN);
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *r = *state;
    dup2(r->saved, STDERR_FILENO);
    close(r->saved);
    fclose(r->file);
    free(r);
    return 0;
}

static const char *said(struct rig *r)
{
    ssize_t n = pread(fileno(r->file), r->text, sizeof(r->text) - 1, 0);
    r->text[n > 0 ? n : 0] = 0;
    return r->text;
}

static unsigned lines(struct rig *r)
{
    unsigned n = 0;
    for (const char *s = said(r); *s; s++) {
        n += *s == '\n';
    }
    return n;
}

static void test_log_line_names_its_part(void **state)
{
    struct rig *r = *state;
    log_msg(LOG_ERROR, "block", "cannot open %s: %d", "a.img", 2);
    assert_string_equal(said(r), "block: cannot open a.img: 2\n");
}

static void test_log_level_decides(void **state)
{
    struct rig *r = *state;
    log_msg(LOG_INFO, "x", "not said");
    log_set_level(LOG_DEBUG);
    log_msg(LOG_DEBUG, "x", "said");
    log_set_level(LOG_ERROR);
    log_msg(LOG_WARN, "x", "not said");
    assert_string_equal(said(r), "x: said\n");
}

static void test_log_control_characters_do_not_reach_a_terminal(void **state)
{
    struct rig *r = *state;
    log_msg(LOG_WARN, "x\n", "a\033[2Jb\nc\177");
    assert_string_equal(said(r), "x?: a?[2Jb?c?\n");
}

static void test_log_long_line_is_cut(void **state)
{
    struct rig *r = *state;
    char big[4000];
    memset(big, 'y', sizeof(big) - 1);
    big[sizeof(big) - 1] = 0;
    log_msg(LOG_WARN, big, "%s", big);
    log_msg(LOG_WARN, "x", "%s", big);
    assert_int_equal(lines(r), 2);
    assert_true(strlen(said(r)) < 2100);
}

static void test_log_limit_lets_ten_through(void **state)
{
    struct rig *r = *state;
    struct log_limit l = { 0 };
    for (unsigned i = 0; i < 1000; i++) {
        log_limited(&l, "ide", "odd %u", i);
    }
    assert_int_equal(lines(r), 10);
    assert_int_equal(l.dropped, 990);
}

static void test_log_limit_refills_a_line_a_second_and_tells_what_it_dropped(void **state)
{
    struct rig *r = *state;
    struct log_limit l = { 0 };
    for (unsigned i = 0; i < 15; i++) {
        log_limited(&l, "ide", "odd");
    }
    l.last_ns -= 2500000000ll; /* two and a half seconds pass */
    for (unsigned i = 0; i < 5; i++) {
        log_limited(&l, "ide", "late");
    }
    assert_int_equal(lines(r), 12);
    assert_non_null(strstr(said(r), "ide: late (5 similar lines dropped)\nide: late\n"));
    l.last_ns -= 500000000; /* the half second counts */
    log_limited(&l, "ide", "third");
    assert_non_null(strstr(said(r), "ide: third (3 similar lines dropped)\n"));
    l.last_ns -= 3600000000000ll;
    for (unsigned i = 0; i < 50; i++) {
        log_limited(&l, "ide", "much later");
    }
    assert_int_equal(lines(r), 23); /* the bucket holds ten */
}

static void test_err_set_returns_its_code(void **state)
{
    struct err e;
    (void)state;
    assert_int_equal(err_set(&e, -EINVAL, "drive \"%s\": bad", "hda"), -EINVAL);
    assert_int_equal(e.code, -EINVAL);
    assert_string_equal(e.msg, "drive \"hda\": bad");
    assert_int_equal(err_prefix(&e, "line %d", 3), -EINVAL);
    assert_string_equal(e.msg, "line 3: drive \"hda\": bad");
    assert_int_equal(err_set(NULL, -ENOENT, "nobody listens"), -ENOENT);
    assert_int_equal(err_prefix(NULL, "x"), 0);
    err_set(&e, -EIO, "two\nlines\033");
    assert_string_equal(e.msg, "two?lines?");
}

static void test_err_long_text_is_cut(void **state)
{
    struct err e;
    char big[1000];
    (void)state;
    memset(big, 'z', sizeof(big) - 1);
    big[sizeof(big) - 1] = 0;
    err_set(&e, -EINVAL, "%s", big);
    assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
    err_prefix(&e, "%s", big);
    assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
}

static void test_util_allocation(void **state)
{
    (void)state;
    char *s = xasprintf("%d-%s", 5, "x"), *t = xstrdup(s);
    assert_string_equal(t, "5-x");
    t = xrealloc(t, 100);
    assert_string_equal(t, "5-x");
    uint32_t *z = xcalloc(10, sizeof(*z));
    assert_int_equal(z[9], 0);
    assert_int_equal(ones(1), 0xff);
    assert_int_equal(ones(4), 0xffffffff);
    assert_true(ones(8) == UINT64_MAX);
    free(z);
    free(s);
    free(t);
}

/* ---- the character seam ---- */

struct fake {
    struct chr c;
    unsigned kicks, opened;
    long room;
};

static long fake_write(struct chr *c, const void *buf, size_t len)
{
    (void)buf;
    return (long)min_u64(len, (uint64_t)((struct fake *)c)->room);
}

static void fake_kick(struct chr *c)
{
    ((struct fake *)c)->kicks++;
}

static void on_event(void *opaque, enum chr_event e)
{
    ((struct fake *)opaque)->opened += e == CHR_OPENED;
}

static void test_chr_attach_tells_that_a_peer_is_there(void **state)
{
    static const struct chr_ops ops = { .kind = "fake", .write = fake_write, .kick = fake_kick };
    static const struct chr_handlers h = { .event = on_event };
    struct fake f = { .c = { .ops = &ops, .open = true }, .room = 3 };
    (void)state;
    chr_attach(&f.c, &h, &f);
    assert_int_equal(f.opened, 1);
    assert_ptr_equal(f.c.handlers, &h);
    assert_int_equal(chr_write(&f.c, "hello", 5), 3);
    chr_attach(&f.c, NULL, NULL);
    assert_null(f.c.handlers);
    f.c.open = false;
    chr_attach(&f.c, &h, &f);
    assert_int_equal(f.opened, 1);
}

static void test_chr_nothing_plugged_in_swallows(void **state)
{
    (void)state;
    assert_int_equal(chr_write(NULL, "hello", 5), 5);
    chr_attach(NULL, NULL, NULL);
    chr_kick(NULL);
    chr_free(NULL);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_log_line_names_its_part),
        T(test_log_level_decides),
        T(test_log_control_characters_do_not_reach_a_terminal),
        T(test_log_long_line_is_cut),
        T(test_log_limit_lets_ten_through),
        T(test_log_limit_refills_a_line_a_second_and_tells_what_it_dropped),
        T(test_err_set_returns_its_code),
        T(test_err_long_text_is_cut),
        cmocka_unit_test(test_util_allocation),
        cmocka_unit_test(test_chr_attach_tells_that_a_peer_is_there),
        cmocka_unit_test(test_chr_nothing_plugged_in_swallows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
