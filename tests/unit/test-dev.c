/* SPDX-License-Identifier: MIT */
/* tests/unit/test-dev.c - devices, their properties, and the machine's life around them. */
#include "tests/unit/toy.h"

struct gadget {
    struct device dev;
    bool on;
    uint32_t port;
    uint64_t bytes;
    char *label;
    void *drive, *chardev, *other;
    int fail; /* what init returns */
    struct region r;
    struct line l;
    struct vtimer t;
    struct gmem_block b;
};

static unsigned alive;
static char gone[256]; /* ids in order of death */

static uint64_t gadget_read(struct device *d, uint64_t off, unsigned size)
{
    (void)size;
    return ((struct gadget *)d)->port + off;
}
static const struct region_ops gadget_ops = { .read = gadget_read };

static int gadget_init(struct device *d, struct err *e)
{
    struct gadget *g = (struct gadget *)d;
    alive++;
    if (g->fail) {
        return err_set(e, g->fail, "%s: broken", d->id);
    }
    region_init(&g->r, d, &gadget_ops, IO_PIO, 4, "G");
    region_map(&g->r, g->port);
    line_init(&g->l, d, LINE_ISA, 3);
    vtimer_init(&g->t, d->m, "g", NULL, NULL);
    return 0;
}

static void gadget_fini(struct device *d)
{
    struct gadget *g = (struct gadget *)d;
    alive--;
    strcat(strcat(gone, d->id), " ");
    region_unmap(&g->r);
    line_fini(&g->l);
    vtimer_fini(&g->t);
    gmem_block_free(d->m, &g->b);
}

static const struct dev_prop gadget_props[] = {
    PROP(struct gadget, "on", PROP_BOOL, on, true, ""),
    PROP(struct gadget, "port", PROP_U32, port, 0x300, ""),
    PROP(struct gadget, "bytes", PROP_SIZE, bytes, 5ull << 32, ""),
    PROP(struct gadget, "label", PROP_STR, label, 0, ""),
    PROP(struct gadget, "drive", PROP_BLK, drive, 0, ""),
    PROP(struct gadget, "chardev", PROP_CHR, chardev, 0, ""),
    PROP(struct gadget, "other", PROP_PTR, other, 0, ""),
    { 0 },
};
static const struct dev_class gadget_class = {
    .name = "gadget",
    .size = sizeof(struct gadget),
    .props = gadget_props,
    .init = gadget_init,
    .fini = gadget_fini,
};

struct rig {
    struct flat_host *f;
    struct machine *m;
    struct gadget *g;
    struct err e;
};

static int set_up(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    r->m = toy_machine(&r->f, 0);
    r->g = (struct gadget *)dev_new(r->m, &gadget_class, NULL);
    gone[0] = 0;
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *r = *state;
    machine_free(r->m);
    flat_free(r->f);
    free(r);
    assert_int_equal(alive, 0);
    return 0;
}

static void test_dev_new_sets_defaults(void **state)
{
    struct rig *r = *state;
    assert_string_equal(r->g->dev.id, "gadget.0");
    assert_true(r->g->on);
    assert_int_equal(r->g->port, 0x300);
    assert_true(r->g->bytes == 5ull << 32);
    assert_null(r->g->label);
    assert_null(r->g->drive);
}

static void test_dev_set_by_type(void **state)
{
    struct rig *r = *state;
    struct device *d = &r->g->dev;
    int thing;
    dev_set_bool(d, "on", false);
    dev_set_u32(d, "port", 7);
    dev_set_size(d, "bytes", 8);
    dev_set_str(d, "label", "one");
    dev_set_str(d, "label", "two");
    dev_set_ptr(d, "drive", &thing);
    dev_set_ptr(d, "chardev", &thing);
    dev_set_ptr(d, "other", &thing);
    assert_false(r->g->on);
    assert_int_equal(r->g->port, 7);
    assert_int_equal(r->g->bytes, 8);
    assert_string_equal(r->g->label, "two");
    assert_ptr_equal(r->g->chardev, &thing);
    dev_set_str(d, "label", NULL);
    assert_null(r->g->label);
}

static void set_ok(struct rig *r, const char *prop, const char *text)
{
    if (dev_set_text(&r->g->dev, prop, text, &r->e) < 0) {
        fail_msg("%s=%s: %s", prop, text, r->e.msg);
    }
}

static void test_dev_set_from_text(void **state)
{
    struct rig *r = *state;
    set_ok(r, "on", "off");
    assert_false(r->g->on);
    set_ok(r, "on", "yes");
    assert_true(r->g->on);
    set_ok(r, "port", "0x3F8");
    assert_int_equal(r->g->port, 0x3f8);
    set_ok(r, "port", "010"); /* no octal */
    assert_int_equal(r->g->port, 10);
    set_ok(r, "port", "4294967295");
    assert_int_equal(r->g->port, UINT32_MAX);
    set_ok(r, "bytes", "16M");
    assert_int_equal(r->g->bytes, 16 << 20);
    set_ok(r, "bytes", "3g");
    assert_true(r->g->bytes == 3ull << 30);
    set_ok(r, "bytes", "18446744073709551615");
    assert_true(r->g->bytes == UINT64_MAX);
    set_ok(r, "label", "");
    assert_string_equal(r->g->label, "");
}

static void test_dev_bad_text_is_refused_by_name(void **state)
{
    struct rig *r = *state;
    static const char *const bad[][2] = {
        { "on", "1" },
        { "on", "" },
        { "port", "" },
        { "port", "-1" },
        { "port", "+1" },
        { "port", " 1" },
        { "port", "1 " },
        { "port", "0x" },
        { "port", "12x" },
        { "port", "1K" },
        { "port", "4294967296" },
        { "bytes", "16MB" },
        { "bytes", "M" },
        { "bytes", "18446744073709551616" },
        { "bytes", "99999999999T" },
        { "drive", "d0" },
        { "chardev", "c0" },
        { "other", "x" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(dev_set_text(&r->g->dev, bad[i][0], bad[i][1], &r->e), -EINVAL);
        assert_non_null(strstr(r->e.msg, bad[i][0]));
    }
    assert_int_equal(r->g->port, 0x300);
    assert_int_equal(dev_set_text(&r->g->dev, "colour", "red", &r->e), -ENOENT);
    assert_non_null(strstr(r->e.msg, "colour"));
    assert_null(dev_prop_find(&gadget_class, "colour"));
}

static void test_dev_ids_are_unique(void **state)
{
    struct rig *r = *state;
    struct device *second = dev_new(r->m, &gadget_class, NULL);
    struct device *twin = dev_new(r->m, &gadget_class, "gadget.1");
    struct device *wide = dev_new(r->m, &gadget_class, "a-name-that-is-longer-than-ids-may-be");
    struct device *none = dev_new(r->m, &gadget_class, "");
    assert_string_equal(second->id, "gadget.1");
    assert_int_equal(dev_init(second, &r->e), 0);
    assert_int_equal(dev_init(twin, &r->e), -EEXIST);
    assert_non_null(strstr(r->e.msg, "gadget.1"));
    assert_int_equal(dev_init(wide, &r->e), -EINVAL);
    assert_int_equal(dev_init(none, &r->e), -EINVAL);
    assert_int_equal(alive, 1);
}

static void test_dev_failed_init_is_cleaned_by_free(void **state)
{
    struct rig *r = *state;
    r->g->fail = -ENODEV;
    assert_int_equal(dev_init(&r->g->dev, &r->e), -ENODEV);
    assert_string_equal(r->e.msg, "gadget.0: broken");
    dev_free(&r->g->dev);
    assert_null(machine_find(r->m, "gadget.0"));
    assert_int_equal(alive, 0);
}

static void test_dev_free_leaves_nothing_behind(void **state)
{
    struct rig *r = *state;
    assert_int_equal(dev_init(&r->g->dev, NULL), 0);
    vtimer_arm(&r->g->t, 10);
    line_set(&r->g->l, true);
    assert_int_equal(io_read(r->m, IO_PIO, 0x302, 1), 2);
    dev_free(&r->g->dev);
    assert_int_equal(io_read(r->m, IO_PIO, 0x302, 1), 0xff);
    assert_false(r->f->isa[3]);
    assert_int_equal(r->f->timer_at, -1);
    dev_free(NULL);
}

static void test_machine_frees_newest_first(void **state)
{
    struct flat_host *f;
    struct machine *m = toy_machine(&f, 0);
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct device *d = dev_new(m, &gadget_class, NULL);
        assert_int_equal(dev_init(d, NULL), 0);
    }
    (void)dev_new(m, &gadget_class, "never"); /* not inited: not finished either */
    machine_free(m);
    assert_string_equal(gone, "gadget.2 gadget.1 gadget.0 ");
    flat_free(f);
}

static void test_machine_reset_reaches_inited_devices(void **state)
{
    struct rig *r = *state;
    struct toy *t = toy_new(r->m, 0);
    unsigned before = t->resets;
    struct toy *raw = (struct toy *)dev_new(r->m, &toy_class, NULL);
    machine_enter(r->m);
    machine_reset(r->m);
    machine_leave(r->m);
    assert_int_equal(t->resets, before + 1);
    assert_int_equal(raw->resets, 0);
}

static void test_guest_odd_counts(void **state)
{
    struct rig *r = *state;
    log_set_level(LOG_ERROR);
    for (unsigned i = 0; i < 100; i++) {
        guest_odd(&r->g->dev, "wrote 0x%x to a hole", i);
    }
    assert_int_equal(r->g->dev.odd_count, 100);
    log_set_level(LOG_WARN);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_dev_new_sets_defaults),
        T(test_dev_set_by_type),
        T(test_dev_set_from_text),
        T(test_dev_bad_text_is_refused_by_name),
        T(test_dev_ids_are_unique),
        T(test_dev_failed_init_is_cleaned_by_free),
        T(test_dev_free_leaves_nothing_behind),
        T(test_machine_frees_newest_first),
        T(test_machine_reset_reaches_inited_devices),
        T(test_guest_odd_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
