/* SPDX-License-Identifier: MIT */
/* tests/unit/test-vkbd.c - the PV keyboard and pointer against a front end that fetches and one that lies. */
#include "xen-glue/vkbd.h"

#include "dm/base/bytes.h"
#include "ui/con.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "pv-rig.h"

#include <xen/io/kbdif.h>

#define BACK "/local/domain/0/backend/vkbd/7/0/"
#define FRONT "/local/domain/7/device/vkbd/0/"

enum { PAGE_REF = 8 };

struct keyboard {
    struct con *con;
    struct vkbd *back;
    uint8_t *page;
    unsigned ps2_keys, ps2_motions; /* what the emulated controller got */
};

static void ps2_key(void *opaque, uint16_t scancode, bool down)
{
    (void)scancode, (void)down;
    ((struct keyboard *)opaque)->ps2_keys++;
}

static void ps2_motion(void *opaque, int dx, int dy, int dz, unsigned buttons)
{
    (void)dx, (void)dy, (void)dz, (void)buttons;
    ((struct keyboard *)opaque)->ps2_motions++;
}

static const struct con_input_ops ps2 = { ps2_key, ps2_motion };

static struct keyboard *keyboard_up(void)
{
    struct keyboard *t = calloc(1, sizeof(*t));
    struct err e = { 0 };
    pv_rig_up();
    t->con = con_new();
    con_set_keyboard(t->con, &ps2, t);
    con_set_mouse(t->con, &ps2, t);
    assert_null(vkbd_new(rig.bus, t->con, &e)); /* the tool stack has made none */
    assert_int_equal(e.code, -ENOENT);
    pv_rig_offer("/local/domain/0/backend/vkbd/7/0", "/local/domain/7/device/vkbd/0");
    t->back = vkbd_new(rig.bus, t->con, &e);
    assert_non_null(t->back);
    pv_rig_turn();
    assert_string_equal(pv_rig_read(BACK "state"), "2");
    return t;
}

static void keyboard_down(struct keyboard *t)
{
    vkbd_free(t->back);
    assert_null(t->con->first);
    con_free(t->con);
    pv_rig_down();
    free(t);
}

static struct keyboard *connected(void)
{
    struct keyboard *t = keyboard_up();
    t->page = pv_rig_grant(PAGE_REF);
    pv_rig_write(FRONT "page-gref", "8");
    pv_rig_write(FRONT "event-channel", "33");
    pv_rig_write(FRONT "state", "3");
    pv_rig_turn();
    assert_string_equal(pv_rig_read(BACK "state"), "4");
    return t;
}

static uint32_t produced(const struct keyboard *t)
{
    return load_le32(t->page + 4);
}

static const uint8_t *event(const struct keyboard *t, unsigned i)
{
    return t->page + XENKBD_IN_RING_OFFS + i % XENKBD_IN_RING_LEN * XENKBD_IN_EVENT_SIZE;
}

static void expect_key(const struct keyboard *t, unsigned i, uint32_t code, bool down)
{
    assert_int_equal(event(t, i)[0], XENKBD_TYPE_KEY);
    assert_int_equal(event(t, i)[1], down);
    assert_int_equal(load_le32(event(t, i) + 4), code);
}

static void test_vkbd_connected_takes_keys_from_the_emulated_keyboard(void **state)
{
    (void)state;
    struct keyboard *t = connected();
    unsigned before = rig.notified;
    con_key(t->con, 0x1e, true);    /* a */
    con_key(t->con, 0xe050, true);  /* down */
    con_key(t->con, 0xe11d, false); /* pause */
    con_key(t->con, 0xe07f, true);  /* Linux has no name for it */
    assert_int_equal(produced(t), 3);
    assert_int_equal(rig.notified - before, 3);
    expect_key(t, 0, 30, true);
    expect_key(t, 1, 108, true);
    expect_key(t, 2, 119, false);
    assert_int_equal(t->ps2_keys, 0);
    keyboard_down(t);
}

static void test_vkbd_pointer_tells_motion_and_what_changed_of_the_buttons(void **state)
{
    (void)state;
    struct keyboard *t = connected();
    con_motion(t->con, 5, -7, 1, 1 | 4);
    assert_int_equal(produced(t), 3);
    assert_int_equal(event(t, 0)[0], XENKBD_TYPE_MOTION);
    assert_int_equal((int32_t)load_le32(event(t, 0) + 4), 5);
    assert_int_equal((int32_t)load_le32(event(t, 0) + 8), -7);
    assert_int_equal((int32_t)load_le32(event(t, 0) + 12), 1);
    expect_key(t, 1, 0x110, true);
    expect_key(t, 2, 0x112, true);
    con_motion(t->con, 0, 0, 0, 4);
    assert_int_equal(produced(t), 4);
    expect_key(t, 3, 0x110, false);
    assert_int_equal(t->ps2_motions, 0);
    keyboard_down(t);
}

static void test_vkbd_when_the_guest_does_not_fetch_then_events_are_dropped(void **state)
{
    (void)state;
    struct keyboard *t = connected();
    for (unsigned i = 0; i < 200; i++) {
        con_key(t->con, 0x1e, i % 2 == 0);
    }
    assert_int_equal(produced(t), XENKBD_IN_RING_LEN);
    store_le(t->page, 4, 10); /* it has fetched ten */
    pv_rig_ring();
    con_key(t->con, 0x30, true);
    assert_int_equal(produced(t), XENKBD_IN_RING_LEN + 1);
    expect_key(t, XENKBD_IN_RING_LEN, 48, true);
    keyboard_down(t);
}

static void test_vkbd_with_indexes_that_cannot_be_writes_inside_the_ring_alone(void **state)
{
    (void)state;
    struct keyboard *t = connected();
    memset(t->page + XENKBD_OUT_RING_OFFS, 0x5a, 1024);
    for (unsigned i = 0; i < 300; i++) {
        store_le(t->page, 4, i * 0x01234567u);     /* ours to read */
        store_le(t->page + 4, 4, i * 0x89abcdefu); /* ours to write, and ours alone to know */
        con_key(t->con, 0x1e, true);
    }
    for (unsigned i = 0; i < 1024; i++) {
        assert_int_equal(t->page[XENKBD_OUT_RING_OFFS + i], 0x5a);
    }
    for (unsigned i = 16; i < XENKBD_IN_RING_OFFS; i++) {
        assert_int_equal(t->page[i], 0);
    }
    keyboard_down(t);
}

static void test_vkbd_gone_gives_keys_back_to_the_emulated_keyboard(void **state)
{
    (void)state;
    struct keyboard *t = connected();
    pv_rig_write(FRONT "state", "5");
    pv_rig_turn();
    con_key(t->con, 0x1e, true);
    con_motion(t->con, 1, 1, 0, 0);
    assert_int_equal(t->ps2_keys, 1);
    assert_int_equal(t->ps2_motions, 1);
    pv_rig_write(FRONT "state", "1"); /* it starts anew */
    pv_rig_turn();
    assert_string_equal(pv_rig_read(BACK "state"), "2");
    pv_rig_write(FRONT "state", "3");
    pv_rig_turn();
    con_key(t->con, 0x1e, false);
    assert_int_equal(t->ps2_keys, 1);
    keyboard_down(t);
}

static void test_vkbd_without_a_page_that_can_be_mapped_is_refused(void **state)
{
    (void)state;
    struct keyboard *t = keyboard_up();
    pv_rig_write(FRONT "page-ref", "8"); /* an old front end's page number */
    pv_rig_write(FRONT "event-channel", "33");
    pv_rig_write(FRONT "state", "3");
    pv_rig_turn();
    assert_string_equal(pv_rig_read(BACK "state"), "5");
    pv_rig_write(FRONT "state", "1");
    pv_rig_turn();
    pv_rig_write(FRONT "page-gref", "9"); /* not granted */
    pv_rig_write(FRONT "state", "3");
    pv_rig_turn();
    assert_string_equal(pv_rig_read(BACK "state"), "5");
    con_key(t->con, 0x1e, true);
    assert_int_equal(t->ps2_keys, 1);
    keyboard_down(t);
}

static void test_vkbd_taken_away_by_the_tool_stack_is_closed(void **state)
{
    (void)state;
    struct keyboard *t = connected();
    pv_rig_write(BACK "online", "0");
    pv_rig_write(BACK "state", "5");
    pv_rig_turn();
    assert_string_equal(pv_rig_read(BACK "state"), "6");
    assert_null(t->con->first);
    keyboard_down(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vkbd_connected_takes_keys_from_the_emulated_keyboard),
        cmocka_unit_test(test_vkbd_pointer_tells_motion_and_what_changed_of_the_buttons),
        cmocka_unit_test(test_vkbd_when_the_guest_does_not_fetch_then_events_are_dropped),
        cmocka_unit_test(test_vkbd_with_indexes_that_cannot_be_writes_inside_the_ring_alone),
        cmocka_unit_test(test_vkbd_gone_gives_keys_back_to_the_emulated_keyboard),
        cmocka_unit_test(test_vkbd_without_a_page_that_can_be_mapped_is_refused),
        cmocka_unit_test(test_vkbd_taken_away_by_the_tool_stack_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
