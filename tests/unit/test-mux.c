/* SPDX-License-Identifier: MIT */
/* Two devices on one stream. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dm/base/util.h"
#include "dm/chardev/chardev-int.h"
#include "dm/chardev/chr-mux.h"

#include <stdlib.h>
#include <string.h>

struct wire { /* the stream: what came out, and a way to type */
    struct chardev d;
    char out[512];
    size_t n;
    unsigned kicks;
};

struct dev {
    size_t room;
    char in[128];
    size_t n;
    unsigned opened, closed, breaks;
};

static long wire_write(struct chr *c, const void *buf, size_t len)
{
    struct wire *w = (struct wire *)c;
    memcpy(w->out + w->n, buf, len);
    w->n += len;
    return (long)len;
}

static void wire_kick(struct chr *c)
{
    ((struct wire *)c)->kicks++;
}

static void wire_free(struct chr *c)
{
    chardev_fini((struct chardev *)c);
    free(c);
}

static const struct chr_ops wire_ops = {
    .kind = "wire", .write = wire_write, .kick = wire_kick, .free = wire_free
};

static size_t dev_can_read(void *o)
{
    return ((struct dev *)o)->room;
}

static void dev_read(void *o, const uint8_t *buf, size_t len)
{
    struct dev *d = o;
    memcpy(d->in + d->n, buf, len);
    d->n += len;
    d->room -= len;
}

static void dev_event(void *o, enum chr_event e)
{
    struct dev *d = o;
    d->opened += e == CHR_OPENED;
    d->closed += e == CHR_CLOSED;
    d->breaks += e == CHR_BREAK;
}

static const struct chr_handlers dev_handlers = { dev_can_read, dev_read, NULL, dev_event };

struct rig {
    struct wire *w;
    struct chr_mux *x;
    struct chr *serial, *monitor;
    struct dev s, m;
    unsigned quits;
};

static void quit(void *o)
{
    ((struct rig *)o)->quits++;
}

static void make(struct rig *r)
{
    *r = (struct rig){ .s.room = 100, .m.room = 100 };
    r->w = xcalloc(1, sizeof(*r->w));
    chardev_init(&r->w->d, NULL, &wire_ops, "wire", xstrdup("wire"));
    r->w->d.c.open = true;
    r->x = chr_mux_new(&r->w->d.c);
    r->serial = chr_mux_front(r->x, "serial0");
    r->monitor = chr_mux_front(r->x, "monitor");
    chr_mux_on_quit(r->x, quit, r);
    chr_attach(r->serial, &dev_handlers, &r->s);
    chr_attach(r->monitor, &dev_handlers, &r->m);
}

static void unmake(struct rig *r)
{
    chr_free(&r->w->d.c);
    chr_free(r->serial);
    chr_free(r->monitor);
}

static void type(struct rig *r, const char *text)
{
    struct chr *c = &r->w->d.c;
    for (; *text; text++) {
        if (c->handlers->can_read(c->opaque)) {
            c->handlers->read(c->opaque, (const uint8_t *)text, 1);
        }
    }
}

static void test_mux_when_typed_then_the_focus_gets_it_and_both_may_speak(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    assert_int_equal(r.s.opened, 1);
    assert_int_equal(r.m.opened, 0); /* not before it has the focus */
    type(&r, "ls\r");
    assert_memory_equal(r.s.in, "ls\r", 3);
    type(&r, "\1cinfo");
    assert_int_equal(r.m.opened, 1);
    assert_memory_equal(r.m.in, "info", 4);
    assert_int_equal(r.s.n, 3);
    type(&r, "\1c!");
    assert_int_equal(r.m.closed, 1);
    assert_int_equal(r.s.in[3], '!');
    chr_write(r.serial, "one", 3);
    chr_write(r.monitor, "two", 3);
    assert_memory_equal(r.w->out, "onetwo", 6);
    unmake(&r);
}

static void test_mux_when_escape_then_commands(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    type(&r, "\1\1\1b\1h\1x\1zq");
    assert_int_equal(r.s.n, 2);
    assert_memory_equal(r.s.in, "\1q", 2);
    assert_int_equal(r.s.breaks, 1);
    assert_int_equal(r.quits, 1);
    assert_non_null(memmem(r.w->out, r.w->n, "C-a x", 5));
    unmake(&r);
}

static void test_mux_when_device_is_full_then_input_waits_and_escape_passes(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    r.s.room = 2;
    type(&r, "abcdef\1cm");
    assert_int_equal(r.s.n, 2);
    assert_int_equal(r.m.n, 1);
    r.s.room = 3;
    chr_kick(r.serial);
    assert_memory_equal(r.s.in, "abcde", 5);
    r.s.room = 10;
    chr_kick(r.serial);
    assert_memory_equal(r.s.in, "abcdef", 6);
    assert_true(r.w->kicks >= 2);
    unmake(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mux_when_typed_then_the_focus_gets_it_and_both_may_speak),
        cmocka_unit_test(test_mux_when_escape_then_commands),
        cmocka_unit_test(test_mux_when_device_is_full_then_input_waits_and_escape_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
