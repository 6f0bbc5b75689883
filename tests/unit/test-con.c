/* SPDX-License-Identifier: MIT */
/* tests/unit/test-con.c - the screen between a device and its viewers; screenshots read back. */
#include "dm/base/err.h"
#include "dm/base/util.h"
#include "ui/con.h"

#include <errno.h>
#include <png.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct seen {
    unsigned damages, resizes, keys, motions, taps;
    unsigned x, y, w, h;
    int last[4];
};

static void on_damage(void *opaque, unsigned x, unsigned y, unsigned w, unsigned h)
{
    struct seen *s = opaque;
    s->damages++;
    s->x = x;
    s->y = y;
    s->w = w;
    s->h = h;
}

static void on_resized(void *opaque)
{
    ((struct seen *)opaque)->resizes++;
}

static void on_key(void *opaque, uint16_t scancode, bool down)
{
    struct seen *s = opaque;
    s->keys++;
    s->last[0] = scancode;
    s->last[1] = down;
}

static void on_motion(void *opaque, int dx, int dy, int dz, unsigned buttons)
{
    struct seen *s = opaque;
    int last[4] = { dx, dy, dz, (int)buttons };
    s->motions++;
    memcpy(s->last, last, sizeof(last));
}

static void on_tap(void *opaque, int kind, int a, int b, int c, int d)
{
    (void)kind, (void)a, (void)b, (void)c, (void)d;
    ((struct seen *)opaque)->taps++;
}

/* A screen that paints a colour which depends on the place. */
static uint32_t colour_at(unsigned x, unsigned y)
{
    return (x & 0xff) << 16 | (y & 0xff) << 8 | ((x + y) & 0xff);
}

static void paint(void *opaque, bool full)
{
    struct con *c = opaque;
    assert_true(full);
    for (unsigned y = 0; y < c->height; y++) {
        for (unsigned x = 0; x < c->width; x++) {
            c->pixels[y * c->width + x] = colour_at(x, y);
        }
    }
    con_damage(c, 0, 0, c->width, c->height);
}

static const struct con_screen_ops painter = { .refresh = paint };

static void test_con_damage_is_cut_to_the_screen(void **state)
{
    struct con *c = con_new();
    struct seen s = { 0 };
    struct con_viewer v = { .damage = on_damage, .resized = on_resized, .opaque = &s };
    (void)state;
    con_add_viewer(c, &v);
    assert_true(con_resize(c, 100, 50));
    assert_int_equal(s.resizes, 1);
    con_damage(c, 90, 40, 1000, UINT32_MAX);
    assert_int_equal(s.w, 10);
    assert_int_equal(s.h, 10);
    con_damage(c, 100, 0, 1, 1);
    con_damage(c, 0, 50, 1, 1);
    con_damage(c, 0, 0, 0, 1);
    assert_int_equal(s.damages, 1);
    con_del_viewer(c, &v);
    con_damage(c, 0, 0, 1, 1);
    assert_int_equal(s.damages, 1);
    con_free(c);
}

static void test_con_resize_refuses_what_is_out_of_range(void **state)
{
    struct con *c = con_new();
    (void)state;
    assert_false(con_resize(c, 0, 10));
    assert_false(con_resize(c, 10, 0));
    assert_false(con_resize(c, CON_MAX_WIDTH + 1, 10));
    assert_false(con_resize(c, 10, CON_MAX_HEIGHT + 1));
    assert_int_equal(c->width, 640);
    assert_int_equal(c->height, 480);
    con_free(c);
}

static void test_con_input_goes_to_device_and_tap(void **state)
{
    static const struct con_input_ops ops = { .key = on_key, .motion = on_motion };
    struct con *c = con_new();
    struct seen s = { 0 };
    (void)state;
    con_key(c, 0x1e, true); /* nobody is there */
    con_motion(c, 1, 2, 3, 4);
    con_set_keyboard(c, &ops, &s);
    con_set_mouse(c, &ops, &s);
    c->tap = on_tap;
    c->tap_opaque = &s;
    con_key(c, 0xe01d, true);
    assert_int_equal(s.last[0], 0xe01d);
    con_motion(c, -5, 6, -1, 7);
    assert_int_equal(s.last[0], -5);
    assert_int_equal(s.last[3], 7);
    assert_int_equal(s.keys, 1);
    assert_int_equal(s.motions, 1);
    assert_int_equal(s.taps, 2);
    con_free(c);
}

static struct con *painted(unsigned width, unsigned height)
{
    struct con *c = con_new();
    assert_true(con_resize(c, width, height));
    con_set_screen(c, &painter, c);
    return c;
}

static void test_screendump_ppm_reads_back(void **state)
{
    struct con *c = painted(33, 17);
    const char *name = "/tmp/test-con.ppm";
    unsigned w, h, max;
    FILE *f;
    (void)state;
    assert_int_equal(con_screendump(c, name, "ppm", NULL), 0);
    f = fopen(name, "r");
    assert_int_equal(fscanf(f, "P6\n%u %u\n%u", &w, &h, &max), 3);
    assert_int_equal(fgetc(f), '\n');
    assert_int_equal(w, 33);
    assert_int_equal(h, 17);
    assert_int_equal(max, 255);
    for (unsigned i = 0; i < w * h; i++) {
        uint32_t rgb = (uint32_t)fgetc(f) << 16;
        rgb |= (uint32_t)fgetc(f) << 8;
        rgb |= (uint32_t)fgetc(f);
        assert_int_equal(rgb, colour_at(i % w, i / w));
    }
    assert_int_equal(fgetc(f), EOF);
    fclose(f);
    unlink(name);
    con_free(c);
}

static void test_screendump_png_reads_back(void **state)
{
    struct con *c = painted(70, 40);
    const char *name = "/tmp/test-con.png";
    png_image img = { .version = PNG_IMAGE_VERSION };
    uint8_t *rgb;
    (void)state;
    assert_int_equal(con_screendump(c, name, "png", NULL), 0);
    assert_true(png_image_begin_read_from_file(&img, name));
    assert_int_equal(img.width, 70);
    assert_int_equal(img.height, 40);
    img.format = PNG_FORMAT_RGB;
    rgb = xcalloc(1, PNG_IMAGE_SIZE(img));
    assert_true(png_image_finish_read(&img, NULL, rgb, 0, NULL));
    for (unsigned i = 0; i < 70 * 40; i++) {
        uint32_t at = colour_at(i % 70, i / 70);
        assert_int_equal(rgb[3 * i] << 16 | rgb[3 * i + 1] << 8 | rgb[3 * i + 2], at);
    }
    free(rgb);
    unlink(name);
    con_free(c);
}

static void test_screendump_says_why_not(void **state)
{
    struct con *c = painted(8, 8);
    struct err e = { 0 };
    (void)state;
    assert_int_equal(con_screendump(c, "/nonexistent/x.png", "png", &e), -ENOENT);
    assert_non_null(strstr(e.msg, "/nonexistent/x.png"));
    assert_int_equal(con_screendump(c, "/tmp/x", "gif", &e), -EINVAL);
    assert_non_null(strstr(e.msg, "gif"));
    assert_int_equal(con_screendump(c, "/dev/full", "ppm", &e), -ENOSPC);
    assert_int_equal(con_screendump(c, "/dev/full", "png", &e), -ENOSPC);
    con_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_con_damage_is_cut_to_the_screen),
        cmocka_unit_test(test_con_resize_refuses_what_is_out_of_range),
        cmocka_unit_test(test_con_input_goes_to_device_and_tap),
        cmocka_unit_test(test_screendump_ppm_reads_back),
        cmocka_unit_test(test_screendump_png_reads_back),
        cmocka_unit_test(test_screendump_says_why_not),
    };
    return cmocka_run_group_tests_name("con", tests, NULL, NULL);
}
