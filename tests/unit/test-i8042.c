/* SPDX-License-Identifier: MIT */
/* tests/unit/test-i8042.c - the keyboard controller, keyboard and mouse through ports 60h, 64h. */
#include "dm/base/util.h"
#include "hw/input/i8042.h"
#include "hw/input/ps2.h"
#include "ioreq/flat.h"
#include "ui/con.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GAP 500000 /* ns between two bytes that nobody asked for */

struct bed {
    struct flat_host *f;
    struct machine *m;
    struct device *d;
    struct con *con;
};

static struct bed *bed_new(void)
{
    struct bed *b = xcalloc(1, sizeof(*b));
    struct err e = { 0 };
    b->f = flat_new(65536);
    b->m = machine_new("test", &flat_host_ops, b->f);
    b->con = con_new();
    b->d = dev_new(b->m, &i8042_class, NULL);
    dev_set_ptr(b->d, "con", b->con);
    assert_int_equal(dev_init(b->d, &e), 0);
    machine_enter(b->m);
    machine_set_run_state(b->m, RUN_RUNNING);
    machine_leave(b->m);
    return b;
}

static void bed_free(struct bed *b)
{
    machine_free(b->m);
    flat_free(b->f);
    con_free(b->con);
    free(b);
}

static uint8_t status(struct bed *b)
{
    return (uint8_t)io_read(b->m, IO_PIO, 0x64, 1);
}

static uint8_t data(struct bed *b)
{
    return (uint8_t)io_read(b->m, IO_PIO, 0x60, 1);
}

static void cmd(struct bed *b, uint8_t val)
{
    io_write(b->m, IO_PIO, 0x64, 1, val);
}

static void put(struct bed *b, uint8_t val)
{
    io_write(b->m, IO_PIO, 0x60, 1, val);
}

static void aux(struct bed *b, uint8_t val)
{
    cmd(b, 0xd4);
    put(b, val);
}

static void key(struct bed *b, uint16_t code, bool down)
{
    machine_enter(b->m);
    con_key(b->con, code, down);
    machine_leave(b->m);
}

static void motion(struct bed *b, int dx, int dy, int dz, unsigned buttons)
{
    machine_enter(b->m);
    con_motion(b->con, dx, dy, dz, buttons);
    machine_leave(b->m);
}

/* Everything there is to read, with the time it takes, must be exactly these n bytes. */
static void reads(struct bed *b, const char *hex)
{
    char got[512] = "", *p = got;
    for (int i = 0; i < 100 && (status(b) & 1); i++) {
        p += sprintf(p, "%s%02x", p == got ? "" : " ", data(b));
        flat_advance(b->f, b->m, GAP);
    }
    assert_string_equal(got, hex);
}

static void test_i8042_self_test_and_port_tests_pass(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    assert_int_equal(status(b), 0x18);
    cmd(b, 0xaa);
    assert_int_equal(status(b), 0x1d);
    reads(b, "55");
    cmd(b, 0xab);
    reads(b, "00");
    cmd(b, 0xa9);
    reads(b, "00");
    cmd(b, 0xa4);
    reads(b, "f1");
    cmd(b, 0xc0);
    reads(b, "80");
    cmd(b, 0xe0);
    reads(b, "00");
    assert_int_equal(data(b), 0x00); /* read again: the last byte stays */
    bed_free(b);
}

static void test_i8042_ram_and_configuration_read_back(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    cmd(b, 0x60);
    assert_int_equal(status(b) & 8, 8);
    put(b, 0x47);
    assert_int_equal(status(b) & 0x0c, 0x04);
    cmd(b, 0x20);
    reads(b, "47");
    for (uint8_t i = 1; i < 32; i++) {
        cmd(b, 0x60 + i);
        put(b, i * 7);
    }
    for (uint8_t i = 1; i < 32; i++) {
        cmd(b, 0x20 + i);
        assert_int_equal(data(b), (uint8_t)(i * 7));
    }
    bed_free(b);
}

static void test_i8042_interrupts_follow_the_output_buffer(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    cmd(b, 0xd2);
    put(b, 0x11);
    assert_true(b->f->isa[1]);
    assert_false(b->f->isa[12]);
    assert_int_equal(status(b) & 0x21, 0x01);
    reads(b, "11");
    assert_false(b->f->isa[1]);
    cmd(b, 0xd3); /* Linux tests the mouse's interrupt like this */
    put(b, 0xa5);
    assert_false(b->f->isa[1]);
    assert_true(b->f->isa[12]);
    assert_int_equal(status(b) & 0x21, 0x21);
    reads(b, "a5");
    assert_false(b->f->isa[12]);
    cmd(b, 0x60);
    put(b, 0x00);
    cmd(b, 0xd2);
    put(b, 0x12);
    assert_false(b->f->isa[1]);
    cmd(b, 0x60);
    put(b, 0x01);
    assert_true(b->f->isa[1]); /* enabling with a byte unread */
    bed_free(b);
}

static void test_i8042_reset_pulse_and_output_port(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    cmd(b, 0xd0);
    reads(b, "c3");
    cmd(b, 0xdd);
    cmd(b, 0xd0);
    reads(b, "c1");
    cmd(b, 0xd1);
    put(b, 0xdf);
    cmd(b, 0xd0);
    reads(b, "cf");
    cmd(b, 0xff); /* pulses nothing */
    assert_int_equal(b->f->power_count, 0);
    cmd(b, 0xfe);
    assert_int_equal(b->f->power_count, 1);
    assert_int_equal(b->f->power, POWER_RESET);
    cmd(b, 0xd1);
    put(b, 0x02);
    assert_int_equal(b->f->power_count, 2);
    bed_free(b);
}

static void test_i8042_answer_overtakes_a_key_and_loses_none(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    key(b, 0x1e, true);
    assert_int_equal(status(b) & 1, 1);
    cmd(b, 0x20);
    assert_int_equal(data(b), 0x03);
    reads(b, "1c");
    bed_free(b);
}

static void test_i8042_disabled_ports_hold_their_bytes(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    cmd(b, 0xad);
    key(b, 0x1e, true);
    reads(b, "");
    cmd(b, 0xae);
    reads(b, "1c");
    aux(b, 0xf4);
    reads(b, "fa");
    cmd(b, 0xa7);
    motion(b, 1, 0, 0, 0);
    reads(b, "");
    cmd(b, 0xa8);
    reads(b, "08 01 00");
    bed_free(b);
}

static void test_i8042_keys_keep_their_distance_in_time(void **state)
{
    struct bed *b = bed_new();
    unsigned edges;
    (void)state;
    key(b, 0xe04b, true);
    edges = b->f->isa_edges[1];
    assert_int_equal(data(b), 0xe0);
    assert_int_equal(data(b), 0xe0); /* a DOS handler reads it again */
    assert_int_equal(status(b) & 1, 0);
    flat_advance(b->f, b->m, GAP);
    assert_int_equal(b->f->isa_edges[1], edges + 1);
    assert_int_equal(data(b), 0x6b);
    bed_free(b);
}

static void test_kbd_commands_answer(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    put(b, 0xff);
    assert_int_equal(data(b), 0xfa); /* replies do not wait */
    assert_int_equal(data(b), 0xaa);
    put(b, 0xf2);
    reads(b, "fa ab 83");
    put(b, 0xee);
    reads(b, "ee");
    put(b, 0xed);
    reads(b, "fa");
    put(b, 0x06);
    reads(b, "fa");
    assert_int_equal(b->con->leds, 6);
    put(b, 0xf3);
    reads(b, "fa");
    put(b, 0x20);
    reads(b, "fa");
    put(b, 0xf0);
    reads(b, "fa");
    put(b, 0x00);
    reads(b, "fa 02");
    put(b, 0xfe);
    reads(b, "02"); /* once more */
    put(b, 0x05);
    reads(b, "fe"); /* no command */
    put(b, 0xef);
    reads(b, "fe");
    put(b, 0xed); /* a command in place of the argument */
    reads(b, "fa");
    put(b, 0xf4);
    reads(b, "fa");
    put(b, 0xf5);
    reads(b, "fa");
    key(b, 0x1e, true);
    reads(b, "");
    put(b, 0xf4);
    reads(b, "fa");
    bed_free(b);
}

static void test_kbd_new_command_drops_the_old_reply(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    cmd(b, 0xad); /* nothing is fetched meanwhile ... */
    put(b, 0xf2); /* ... but writing to the keyboard enables it */
    assert_int_equal(data(b), 0xfa);
    put(b, 0xee);
    reads(b, "ab ee"); /* ab was in the output buffer already */
    bed_free(b);
}

static void test_kbd_sets_and_translation(void **state)
{
    static const struct {
        uint8_t set;
        bool xlate;
        uint16_t code;
        const char *down, *up;
    } t[] = {
        { 2, false, 0x1e, "1c", "f0 1c" },
        { 2, true, 0x1e, "1e", "9e" },
        { 2, true, 0x41, "41", "c1" }, /* F7 is 83h in set 2 */
        { 2, false, 0x41, "83", "f0 83" },
        { 2, false, 0xe048, "e0 75", "e0 f0 75" },
        { 2, true, 0xe048, "e0 48", "e0 c8" },
        { 2, true, 0xe11d, "e1 1d 45 e1 9d c5", "" },
        { 2, false, 0xe11d, "e1 14 77 e1 f0 14 f0 77", "" },
        { 2, true, 0xe037, "e0 2a e0 37", "e0 b7 e0 aa" },
        { 2, true, 0x56, "56", "d6" },
        { 2, true, 0x58, "58", "d8" },
        { 2, true, 0xe05b, "e0 5b", "e0 db" },
        { 1, false, 0xe01d, "e0 1d", "e0 9d" },
        { 3, false, 0x1e, "1c", "" },
        { 3, false, 0x2a, "12", "f0 12" },
        { 3, false, 0xe048, "63", "" },
        { 3, false, 0xe11d, "62", "" },
        { 2, false, 0x7777, "", "" },
        { 3, false, 0x7777, "", "" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        struct bed *b = bed_new();
        cmd(b, 0x60);
        put(b, t[i].xlate ? 0x43 : 0x03);
        put(b, 0xf0);
        reads(b, "fa");
        put(b, t[i].set);
        reads(b, "fa");
        key(b, t[i].code, true);
        reads(b, t[i].down);
        key(b, t[i].code, false);
        reads(b, t[i].up);
        bed_free(b);
    }
}

static void test_kbd_modifiers_change_print_and_pause(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    cmd(b, 0x60);
    put(b, 0x43);
    key(b, 0x38, true);
    key(b, 0xe037, true);
    key(b, 0xe037, false);
    key(b, 0x38, false);
    reads(b, "38 54 d4 b8");
    key(b, 0x1d, true);
    key(b, 0xe11d, true);
    key(b, 0x1d, false);
    reads(b, "1d e0 46 e0 c6 9d");
    bed_free(b);
}

static void test_kbd_set3_break_codes_on_request(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    put(b, 0xf0);
    put(b, 0x03);
    reads(b, "fa fa"); /* the first was in the output buffer */
    put(b, 0xf8);
    reads(b, "fa");
    key(b, 0x1e, true);
    key(b, 0x1e, false);
    reads(b, "1c f0 1c");
    put(b, 0xfd);
    reads(b, "fa");
    put(b, 0x1c);
    reads(b, "fa");
    put(b, 0xf4);
    reads(b, "fa");
    key(b, 0x1e, true);
    key(b, 0x1e, false);
    key(b, 0x1f, true);
    key(b, 0x1f, false);
    reads(b, "1c 1b f0 1b");
    bed_free(b);
}

static void save_into(struct bed *b, struct state_buf *s)
{
    struct err e = { 0 };
    machine_enter(b->m);
    machine_set_run_state(b->m, RUN_PAUSED);
    assert_int_equal(machine_save(b->m, s, &e), 0);
    machine_set_run_state(b->m, RUN_RUNNING);
    machine_leave(b->m);
}

static int load_from(struct bed *b, const struct state_buf *s)
{
    struct err e = { 0 };
    int ret;
    machine_enter(b->m);
    machine_set_run_state(b->m, RUN_PAUSED);
    ret = machine_load(b->m, s->p, s->len, &e);
    machine_set_run_state(b->m, RUN_RUNNING);
    machine_leave(b->m);
    return ret;
}

/* How many times the held key's code comes within ms. */
static unsigned codes_in(struct bed *b, uint8_t code, unsigned ms)
{
    unsigned n = 0;
    for (unsigned i = 0; i < ms; i++) {
        flat_advance(b->f, b->m, 1000000);
        while (status(b) & 1) {
            assert_int_equal(data(b), code);
            n++;
        }
    }
    return n;
}

static void test_kbd_held_key_repeats_at_the_guests_rate(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    key(b, 0x1e, true);
    assert_int_equal(codes_in(b, 0x1c, 499), 1);
    assert_in_range(codes_in(b, 0x1c, 1001), 10, 12); /* 10.9 a second after half of one */
    key(b, 0x1e, true);                               /* a viewer's own repeat is not news */
    assert_int_equal(status(b) & 1, 0);
    put(b, 0xf3);
    put(b, 0x60); /* 30 a second after a whole one */
    reads(b, "fa fa");
    key(b, 0x1f, true); /* only the last one repeats */
    assert_int_equal(codes_in(b, 0x1b, 990), 1);
    assert_in_range(codes_in(b, 0x1b, 1010), 28, 32);
    key(b, 0x1e, false);
    flat_advance(b->f, b->m, GAP);
    reads(b, "f0 1c");
    assert_true(codes_in(b, 0x1b, 1000) > 20); /* another key's release does not end it */
    key(b, 0x1f, false);
    flat_advance(b->f, b->m, GAP);
    reads(b, "f0 1b");
    assert_int_equal(codes_in(b, 0, 3000), 0);
    bed_free(b);
}

static void test_kbd_repeats_wait_for_a_guest_that_reads_nothing(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    key(b, 0x1e, true);
    flat_advance(b->f, b->m, 60000000000);
    key(b, 0x1e, false);
    reads(b, "1c 1c f0 1c");
    bed_free(b);
}

static void test_kbd_what_never_repeats(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    key(b, 0xe11d, true); /* Pause */
    reads(b, "e1 14 77 e1 f0 14 f0 77");
    assert_int_equal(codes_in(b, 0, 2000), 0);
    key(b, 0xe11d, false);
    key(b, 0x1e, true);
    reads(b, "1c");
    put(b, 0xf5); /* scanning off */
    reads(b, "fa");
    assert_int_equal(codes_in(b, 0, 2000), 0);
    put(b, 0xf4);
    reads(b, "fa");
    assert_int_equal(codes_in(b, 0, 2000), 0);
    put(b, 0xf0);
    put(b, 0x03);
    reads(b, "fa fa");
    key(b, 0x1e, false);
    key(b, 0x1e, true);
    assert_true(codes_in(b, 0x1c, 2000) > 10);
    put(b, 0xf8); /* every key reports its release and none repeats */
    key(b, 0x1e, false);
    key(b, 0x1e, true);
    reads(b, "fa f0 1c 1c");
    assert_int_equal(codes_in(b, 0, 2000), 0);
    key(b, 0x1e, false);
    put(b, 0xfa); /* all: release and repeat */
    key(b, 0x1e, true);
    flat_advance(b->f, b->m, 10000000);
    reads(b, "f0 fa 1c 1c");
    assert_true(codes_in(b, 0x1c, 2000) > 10);
    bed_free(b);
}

static void test_kbd_held_key_is_up_after_a_restore(void **state)
{
    struct bed *b = bed_new(), *c = bed_new();
    struct state_buf s = { 0 }, again = { 0 };
    (void)state;
    flat_advance(b->f, b->m, 5000000000);
    key(b, 0x1e, true);
    reads(b, "1c"); /* the timer is set for the repeat */
    key(b, 0x1f, true);
    data(b); /* ... and now for the gap */
    save_into(b, &s);
    assert_int_equal(load_from(c, &s), 0);
    save_into(c, &again);
    assert_int_equal(s.len, again.len);
    assert_memory_equal(s.p, again.p, s.len);
    assert_int_equal(codes_in(c, 0, 3000), 0);
    key(c, 0x20, true);
    assert_int_equal(codes_in(c, 0x23, 499), 1);
    assert_true(codes_in(b, 0x1b, 3000) > 20);
    free(again.p);
    free(s.p);
    bed_free(b);
    bed_free(c);
}

static void test_kbd_flood_is_bounded_and_leaves_no_key_down(void **state)
{
    struct bed *b = bed_new();
    int down = 0;
    (void)state;
    cmd(b, 0x60);
    put(b, 0x43);
    for (int i = 0; i < 10000; i++) {
        key(b, 0x1e, true);
    }
    key(b, 0x1e, false);
    for (int i = 0; i < 200 && (status(b) & 1); i++) {
        uint8_t byte = data(b);
        down = byte == 0x1e ? 1 : byte == 0x9e ? 0 : -1;
        assert_int_not_equal(down, -1);
        flat_advance(b->f, b->m, GAP);
    }
    assert_int_equal(down, 0);
    assert_int_equal(status(b) & 1, 0);
    bed_free(b);
}

static void test_mouse_commands_answer(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    aux(b, 0xff);
    assert_int_equal(status(b) & 0x21, 0x21);
    reads(b, "fa aa 00");
    aux(b, 0xf2);
    reads(b, "fa 00");
    aux(b, 0xe9);
    reads(b, "fa 00 02 64");
    aux(b, 0xe8);
    reads(b, "fa");
    aux(b, 0x03);
    reads(b, "fa");
    aux(b, 0xe7);
    reads(b, "fa");
    aux(b, 0xf4);
    reads(b, "fa");
    motion(b, 0, 0, 0, 1);
    reads(b, "09 00 00");
    aux(b, 0xe9);
    reads(b, "fa 34 03 64");
    aux(b, 0xe6);
    reads(b, "fa");
    aux(b, 0xf6);
    reads(b, "fa");
    aux(b, 0x42);
    reads(b, "fe");
    aux(b, 0xee);
    reads(b, "fa");
    aux(b, 0x42);
    reads(b, "42"); /* wrap */
    aux(b, 0xec);
    reads(b, "fa");
    bed_free(b);
}

static void knock(struct bed *b, uint8_t a, uint8_t c, uint8_t d)
{
    const uint8_t rates[3] = { a, c, d };
    for (int i = 0; i < 3; i++) {
        aux(b, 0xf3);
        reads(b, "fa");
        aux(b, rates[i]);
        reads(b, "fa");
    }
    aux(b, 0xf2);
}

static void test_mouse_becomes_intellimouse_and_explorer(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    knock(b, 200, 100, 80);
    reads(b, "fa 03");
    aux(b, 0xf4);
    reads(b, "fa");
    motion(b, 5, 3, -1, 2); /* down the screen is negative on the wire */
    reads(b, "2a 05 fd ff");
    motion(b, 0, 0, 0, 0x1a); /* no side buttons here */
    reads(b, "");
    motion(b, 0, 0, 0, 2);
    knock(b, 200, 200, 80);
    reads(b, "fa 04");
    motion(b, -1, 0, 1, 0x18);
    reads(b, "18 ff 00 31");
    aux(b, 0xff);
    reads(b, "fa aa 00");
    aux(b, 0xf2);
    reads(b, "fa 00");
    bed_free(b);
}

static void test_mouse_motion_adds_up_while_nobody_reads(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    aux(b, 0xf4);
    reads(b, "fa");
    for (int i = 0; i < 100; i++) {
        motion(b, 1, -2, 0, 0);
    }
    /* The first packet left at once; the second has the rest. */
    reads(b, "08 01 02 08 63 c6");
    motion(b, 300, 0, 0, 0);
    reads(b, "08 ff 00 08 2d 00");
    bed_free(b);
}

/* n clicks (odd ones press) with a step each, then everything is read: where it ended. */
static void click_and_read(struct bed *b, int n, int *dx, unsigned *buttons)
{
    uint8_t packet[3];
    *dx = 0;
    for (int i = 0; i < n; i++) {
        motion(b, 1, 0, 0, i & 1u);
    }
    while (status(b) & 1) {
        for (int i = 0; i < 3; i++) {
            packet[i] = data(b);
            flat_advance(b->f, b->m, GAP);
        }
        *dx += packet[1];
        *buttons = packet[0] & 7;
    }
}

static void test_mouse_full_queue_loses_neither_way_nor_button(void **state)
{
    struct bed *b = bed_new();
    unsigned buttons;
    int dx;
    (void)state;
    aux(b, 0xf4);
    reads(b, "fa");
    for (int n = 100; n < 104; n++) {
        click_and_read(b, n, &dx, &buttons);
        assert_int_equal(dx, n);
        assert_int_equal(buttons, (n - 1) & 1);
    }
    for (unsigned i = 0; i < 1000; i++) {
        motion(b, INT32_MAX, INT32_MIN, INT32_MAX, i);
    }
    bed_free(b);
}

static void test_mouse_remote_mode_speaks_when_asked(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    aux(b, 0xf0);
    reads(b, "fa");
    aux(b, 0xf4);
    reads(b, "fa");
    motion(b, 4, 0, 0, 4);
    reads(b, "");
    aux(b, 0xeb);
    reads(b, "fa 0c 04 00");
    aux(b, 0xea);
    reads(b, "fa");
    motion(b, 1, 0, 0, 4);
    reads(b, "0c 01 00");
    bed_free(b);
}

static void test_mouse_scaling_doubles_large_counts(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    aux(b, 0xe7);
    reads(b, "fa");
    aux(b, 0xf4);
    reads(b, "fa");
    motion(b, 3, 50, 0, 0);
    reads(b, "28 03 9c");
    motion(b, -127, 0, 0, 0);
    reads(b, "18 02 00");
    bed_free(b);
}

static void test_i8042_state_travels_in_the_middle_of_everything(void **state)
{
    struct bed *b = bed_new(), *c = bed_new();
    struct state_buf s = { 0 }, t = { 0 };
    (void)state;
    cmd(b, 0x60);
    put(b, 0x43);
    put(b, 0xed);
    data(b);
    put(b, 0x02);
    aux(b, 0xf4);
    reads(b, "fa fa");
    key(b, 0xe048, true);
    motion(b, 3, 0, 0, 1);
    data(b);
    save_into(b, &s);
    assert_int_equal(load_from(c, &s), 0);
    save_into(c, &t);
    assert_int_equal(s.len, t.len);
    assert_memory_equal(s.p, t.p, s.len);
    assert_int_equal(c->con->leds, 2);
    flat_advance(c->f, c->m, GAP);
    reads(c, "48 09 03 00");
    free(s.p);
    free(t.p);
    bed_free(b);
    bed_free(c);
}

/* CVE-2017-16845: queue positions from a stream are as hostile as a guest's. */
static void test_i8042_hostile_state_never_leaves_its_bounds(void **state)
{
    struct bed *b = bed_new(), *c = bed_new();
    struct state_buf s = { 0 };
    (void)state;
    key(b, 0x1e, true);
    key(b, 0x1e, false);
    save_into(b, &s);
    for (size_t i = 0; i < s.len; i++) {
        uint8_t old = s.p[i];
        s.p[i] = 0xff;
        load_from(c, &s);
        s.p[i] = old;
        for (int j = 0; j < 10; j++) {
            data(c);
            flat_advance(c->f, c->m, GAP);
        }
    }
    for (size_t len = 0; len < s.len; len++) {
        struct state_buf cut = { s.p, len, len };
        assert_true(load_from(c, &cut) < 0);
    }
    free(s.p);
    bed_free(b);
    bed_free(c);
}

static void ignore_wake(void *opaque)
{
    (void)opaque;
}

/* A full queue takes a whole event or none of it, and a reply ends at its most. */
static void test_ps2_queue_when_full_then_nothing_is_overwritten(void **state)
{
    struct ps2_port p = { .wake = ignore_wake };
    uint8_t bytes[3] = { 1, 2, 3 }, byte;
    unsigned taken = 0, got = 0;
    bool event;
    (void)state;
    for (unsigned i = 0; i < 300; i++) {
        taken += ps2_event(&p, bytes, 3);
    }
    assert_int_equal(taken, PS2_EVENTS / 3);
    for (unsigned i = 0; i < 300; i++) {
        ps2_reply(&p, 0x80);
    }
    assert_int_equal(ps2_check(&p), 0);
    while (ps2_fetch(&p, true, &byte, &event)) {
        assert_int_equal(byte, got < PS2_REPLIES ? 0x80 : bytes[(got - PS2_REPLIES) % 3]);
        got++;
    }
    assert_int_equal(got, PS2_REPLIES + taken * 3);
}

static void test_ps2_check_refuses_impossible_queues(void **state)
{
    struct ps2_port p = { .event_len = PS2_EVENTS, .reply_len = PS2_REPLIES };
    (void)state;
    assert_int_equal(ps2_check(&p), 0);
    p.event_len = PS2_EVENTS + 1;
    assert_int_equal(ps2_check(&p), -22);
    p.event_len = 0;
    p.event_head = PS2_EVENTS;
    assert_int_equal(ps2_check(&p), -22);
    p.event_head = 0;
    p.reply_head = PS2_REPLIES;
    assert_int_equal(ps2_check(&p), -22);
}

static void test_i8042_every_command_byte_is_harmless(void **state)
{
    struct bed *b = bed_new();
    (void)state;
    for (unsigned c = 0; c < 256; c++) {
        for (unsigned arg = 0; arg < 256; arg++) {
            cmd(b, (uint8_t)c);
            put(b, (uint8_t)arg);
            aux(b, (uint8_t)(c + arg));
            data(b);
            io_read(b->m, IO_PIO, 0x60, 4);
        }
    }
    bed_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_i8042_self_test_and_port_tests_pass),
        cmocka_unit_test(test_i8042_ram_and_configuration_read_back),
        cmocka_unit_test(test_i8042_interrupts_follow_the_output_buffer),
        cmocka_unit_test(test_i8042_reset_pulse_and_output_port),
        cmocka_unit_test(test_i8042_answer_overtakes_a_key_and_loses_none),
        cmocka_unit_test(test_i8042_disabled_ports_hold_their_bytes),
        cmocka_unit_test(test_i8042_keys_keep_their_distance_in_time),
        cmocka_unit_test(test_kbd_commands_answer),
        cmocka_unit_test(test_kbd_new_command_drops_the_old_reply),
        cmocka_unit_test(test_kbd_sets_and_translation),
        cmocka_unit_test(test_kbd_modifiers_change_print_and_pause),
        cmocka_unit_test(test_kbd_set3_break_codes_on_request),
        cmocka_unit_test(test_kbd_held_key_repeats_at_the_guests_rate),
        cmocka_unit_test(test_kbd_repeats_wait_for_a_guest_that_reads_nothing),
        cmocka_unit_test(test_kbd_what_never_repeats),
        cmocka_unit_test(test_kbd_held_key_is_up_after_a_restore),
        cmocka_unit_test(test_kbd_flood_is_bounded_and_leaves_no_key_down),
        cmocka_unit_test(test_mouse_commands_answer),
        cmocka_unit_test(test_mouse_becomes_intellimouse_and_explorer),
        cmocka_unit_test(test_mouse_motion_adds_up_while_nobody_reads),
        cmocka_unit_test(test_mouse_full_queue_loses_neither_way_nor_button),
        cmocka_unit_test(test_mouse_remote_mode_speaks_when_asked),
        cmocka_unit_test(test_mouse_scaling_doubles_large_counts),
        cmocka_unit_test(test_i8042_state_travels_in_the_middle_of_everything),
        cmocka_unit_test(test_i8042_hostile_state_never_leaves_its_bounds),
        cmocka_unit_test(test_ps2_queue_when_full_then_nothing_is_overwritten),
        cmocka_unit_test(test_ps2_check_refuses_impossible_queues),
        cmocka_unit_test(test_i8042_every_command_byte_is_harmless),
    };
    return cmocka_run_group_tests_name("i8042", tests, NULL, NULL);
}
