/* SPDX-License-Identifier: MIT */
/* tests/unit/test-vga.c - the VGA core through the door: registers, window, legacy pictures. */
#include "tests/unit/test-vga-rig.h"

static int setup(void **state)
{
    *state = rig_new(&vga_class, 4, false);
    return 0;
}

static int teardown(void **state)
{
    rig_free(*state);
    return 0;
}

/* Video memory as the linear frame buffer shows it: plane p of address a at 4a + p. */
static uint8_t plane(struct rig *r, uint32_t a, unsigned p)
{
    return (uint8_t)mem_read(r, BAR0 + 4 * a + p, 1);
}

static void set_cell(struct rig *r, uint32_t a, uint32_t planes)
{
    mem_write(r, BAR0 + 4 * a, 4, planes);
}

/* ---- registers ---- */

static void test_indexed_registers_keep_the_bits_they_have(void **state)
{
    struct rig *r = *state;
    for (unsigned i = 0; i < 16; i++) {
        set(r, 0x3c4, i, 0xff);
        set(r, 0x3ce, i, 0xff);
    }
    static const uint8_t sr[8] = { 3, 0x3d, 0x0f, 0x3f, 0x0e, 0, 0, 0 };
    static const uint8_t gr[10] = { 15, 15, 15, 0x1f, 3, 0x7b, 15, 15, 0xff, 0 };
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(get(r, 0x3c4, i), sr[i]);
    }
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(get(r, 0x3ce, i), gr[i]);
    }
    assert_int_equal(get(r, 0x3c4, 0xff), 0);
}

static void test_crtc_protection_spares_line_compare(void **state)
{
    struct rig *r = *state;
    outb(r, 0x3c2, 0x67);
    set(r, 0x3d4, 0x11, 0x00);
    set(r, 0x3d4, 0x00, 0x5f);
    set(r, 0x3d4, 0x07, 0x1f);
    set(r, 0x3d4, 0x11, 0x80);
    set(r, 0x3d4, 0x00, 0x11);
    set(r, 0x3d4, 0x07, 0x00);
    assert_int_equal(get(r, 0x3d4, 0x00), 0x5f);
    assert_int_equal(get(r, 0x3d4, 0x07), 0x0f);
    set(r, 0x3d4, 0x13, 0x28);
    assert_int_equal(get(r, 0x3d4, 0x13), 0x28);
}

static void test_misc_bit_0_moves_the_crtc(void **state)
{
    struct rig *r = *state;
    outb(r, 0x3c2, 0x66);
    set(r, 0x3b4, 0x0e, 0x12);
    assert_int_equal(get(r, 0x3b4, 0x0e), 0x12);
    assert_int_equal(inb(r, 0x3d5), 0xff);
    outb(r, 0x3c2, 0x67);
    assert_int_equal(get(r, 0x3d4, 0x0e), 0x12);
    assert_int_equal(inb(r, 0x3b5), 0xff);
    assert_int_equal(inb(r, 0x3cc), 0x67);
}

static void test_attribute_flip_flop(void **state)
{
    struct rig *r = *state;
    outb(r, 0x3c2, 0x67);
    inb(r, 0x3da);
    outb(r, 0x3c0, 0x05);
    outb(r, 0x3c0, 0x2a);
    outb(r, 0x3c0, 0x25); /* palette now belongs to the screen */
    outb(r, 0x3c0, 0x15);
    assert_int_equal(inb(r, 0x3c1), 0x2a);
    outb(r, 0x3c0, 0x31); /* registers from 0x10 on still answer */
    outb(r, 0x3c0, 0x77);
    assert_int_equal(inb(r, 0x3c1), 0x77);
    inb(r, 0x3da);
    outb(r, 0x3c0, 0x1f); /* no such register */
    outb(r, 0x3c0, 0xff);
    assert_int_equal(inb(r, 0x3c1), 0);
}

static void test_dac_steps_and_turns_around(void **state)
{
    struct rig *r = *state;
    dac_fill(r);
    outb(r, 0x3c7, 254);
    assert_int_equal(inb(r, 0x3c7), 3);
    for (unsigned i = 254; i < 258; i++) {
        assert_int_equal(inb(r, 0x3c9), i & 0xff & 63);
        assert_int_equal(inb(r, 0x3c9), (i & 0xff) >> 2);
        assert_int_equal(inb(r, 0x3c9), ((i & 0xff) * 7) & 63);
    }
    outb(r, 0x3c8, 9);
    assert_int_equal(inb(r, 0x3c7), 0);
    outb(r, 0x3c9, 0xff); /* two thirds of an entry change nothing */
    outb(r, 0x3c9, 0xff);
    outb(r, 0x3c7, 9);
    assert_int_equal(inb(r, 0x3c9), 9);
    outb(r, 0x3c6, 0x5a);
    assert_int_equal(inb(r, 0x3c6), 0x5a);
}

static void test_retrace_comes_and_goes_with_virtual_time(void **state)
{
    struct rig *r = *state;
    unsigned in_retrace = 0, edges = 0;
    uint8_t last = 0;
    outb(r, 0x3c2, 0x67);
    for (unsigned i = 0; i < 1000; i++) { /* 0.1 s in steps of 100 us */
        uint8_t s = inb(r, 0x3da);
        in_retrace += s >> 3 & 1;
        edges += (s & 8) && !(last & 8);
        assert_true(!(s & 8) || (s & 1));
        last = s;
        flat_advance(r->f, r->m, 100000);
    }
    assert_in_range(edges, 5, 7);
    assert_in_range(in_retrace, 30, 150);
}

static void test_retrace_interrupt_is_raised_dropped_and_armed_again(void **state)
{
    struct rig *r = *state;
    outb(r, 0x3c2, 0x67);
    set(r, 0x3d4, 0x11, 0x00);
    flat_advance(r->f, r->m, 50000000);
    assert_int_equal(inb(r, 0x3c2), 0x10); /* nobody asked */
    while (inb(r, 0x3da) & 8) {
        flat_advance(r->f, r->m, 100000);
    }
    set(r, 0x3d4, 0x11, 0x10);
    assert_int_equal(inb(r, 0x3c2), 0x10); /* the picture is still being drawn */
    while (!(inb(r, 0x3da) & 8)) {
        assert_int_equal(inb(r, 0x3c2), 0x10);
        flat_advance(r->f, r->m, 100000);
    }
    assert_int_equal(inb(r, 0x3c2), 0x90);
    flat_advance(r->f, r->m, 8000000);
    assert_int_equal(inb(r, 0x3da) & 8, 0);
    assert_int_equal(inb(r, 0x3c2), 0x90); /* stays until it is dropped */
    set(r, 0x3d4, 0x11, 0x30);             /* bit 5 is about the line only */
    assert_int_equal(inb(r, 0x3c2), 0x90);
    set(r, 0x3d4, 0x11, 0x20);
    assert_int_equal(inb(r, 0x3c2), 0x10);
    set(r, 0x3d4, 0x11, 0x10);
    assert_int_equal(inb(r, 0x3c2), 0x10);
    flat_advance(r->f, r->m, 17000000);
    assert_int_equal(inb(r, 0x3c2), 0x90);
}

/* ---- the window ---- */

/* The graphics controller as the reference describes it, a plane and a bit at a time. */
static uint8_t reference_write(const uint8_t gr[9], uint8_t latch, unsigned p, uint8_t val)
{
    unsigned mode = gr[5] & 3, rot = gr[3] & 7;
    uint8_t turned = (uint8_t)(rot ? (val >> rot) | (val << (8 - rot)) : val);
    uint8_t out = 0;
    for (unsigned b = 0; b < 8; b++) {
        unsigned l = latch >> b & 1, mask = gr[8] >> b & 1, d, x;
        if (mode == 1) {
            out |= (uint8_t)(l << b);
            continue;
        }
        if (mode == 0) {
            d = gr[1] >> p & 1 ? gr[0] >> p & 1 : turned >> b & 1;
        } else if (mode == 2) {
            d = val >> p & 1;
        } else {
            d = gr[0] >> p & 1;
            mask &= turned >> b & 1;
        }
        switch (gr[3] >> 3 & 3) {
        case 0:
            x = d;
            break;
        case 1:
            x = d & l;
            break;
        case 2:
            x = d | l;
            break;
        default:
            x = d ^ l;
        }
        out |= (uint8_t)((mask ? x : l) << b);
    }
    return out;
}

static void test_every_write_mode_follows_the_reference(void **state)
{
    struct rig *r = *state;
    uint32_t seed = 12345;
    mode_set(r, &mode_12);
    for (unsigned n = 0; n < 4000; n++) {
        uint8_t gr[9] = { rnd(&seed) & 15,    rnd(&seed) & 15, 0, rnd(&seed) & 31, 0, n & 3, 5, 15,
                          (uint8_t)rnd(&seed) };
        uint8_t val = (uint8_t)rnd(&seed), planes = rnd(&seed) & 15;
        uint32_t latch = rnd(&seed), old = rnd(&seed), a = rnd(&seed) & 0xfffe;
        set_cell(r, a + 1, latch);
        set_cell(r, a, old);
        for (unsigned i = 0; i < 9; i++) {
            set(r, 0x3ce, i, gr[i]);
        }
        set(r, 0x3c4, 2, planes);
        mem_read(r, 0xa0000 + a + 1, 1); /* fills the latches */
        mem_write(r, 0xa0000 + a, 1, val);
        for (unsigned p = 0; p < 4; p++) {
            uint8_t want = (uint8_t)(old >> (8 * p));
            if (planes >> p & 1) {
                want = reference_write(gr, (uint8_t)(latch >> (8 * p)), p, val);
            }
            assert_int_equal(plane(r, a, p), want);
        }
    }
}

static void test_read_modes(void **state)
{
    struct rig *r = *state;
    mode_set(r, &mode_12);
    set_cell(r, 7, 0x0ff03355);
    for (unsigned p = 0; p < 4; p++) {
        set(r, 0x3ce, 4, p);
        assert_int_equal(mem_read(r, 0xa0007, 1), 0x0ff03355u >> (8 * p) & 0xff);
    }
    set(r, 0x3ce, 5, 0x08);
    set(r, 0x3ce, 2, 0x05); /* planes 0 and 2 set, 1 and 3 clear */
    set(r, 0x3ce, 7, 0x0f);
    assert_int_equal(mem_read(r, 0xa0007, 1), 0x55 & ~0x33 & 0xf0 & ~0x0f & 0xff);
    set(r, 0x3ce, 7, 0x01); /* only plane 0 matters */
    assert_int_equal(mem_read(r, 0xa0007, 1), 0x55);
    set(r, 0x3ce, 7, 0x00); /* nothing does */
    assert_int_equal(mem_read(r, 0xa0007, 1), 0xff);
}

static void test_window_answers_only_where_it_is_mapped(void **state)
{
    struct rig *r = *state;
    static const struct {
        uint32_t from, len;
    } map[4] = {
        { 0xa0000, 0x20000 }, { 0xa0000, 0x10000 }, { 0xb0000, 0x8000 }, { 0xb8000, 0x8000 }
    };
    mode_set(r, &mode_12);
    for (unsigned m = 0; m < 4; m++) {
        set(r, 0x3ce, 6, 1 | m << 2);
        for (uint32_t at = 0xa0000; at < 0xc0000; at += 0x1000) {
            bool inside = at >= map[m].from && at < map[m].from + map[m].len;
            set_cell(r, (at - map[m].from) & 0x1ffff, 0x11111111);
            assert_int_equal(mem_read(r, at, 1), inside ? 0x11 : 0xff);
        }
    }
    set(r, 0x3ce, 6, 5);
    outb(r, 0x3c2, 0x01); /* RAM access off */
    assert_int_equal(mem_read(r, 0xa0000, 1), 0xff);
    set_cell(r, 0, 0);
    mem_write(r, 0xa0000, 4, 0x12345678);
    assert_int_equal(mem_read(r, BAR0, 4), 0);
}

static void test_chain_4_and_odd_even_pick_planes(void **state)
{
    struct rig *r = *state;
    mode_set(r, &mode_13);
    mem_write(r, 0xa0000 + 0x104, 8, 0x8877665544332211);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(plane(r, 0x104 + (i & ~3u), i & 3), 0x11 * (i + 1));
    }
    assert_int_equal(mem_read(r, 0xa0106, 2), 0x4433);
    mode_set(r, &mode_03);
    mem_write(r, 0xb8000 + 0x20, 4, 0x07420741);
    assert_int_equal(plane(r, 0x20, 0), 0x41);
    assert_int_equal(plane(r, 0x20, 1), 0x07);
    assert_int_equal(plane(r, 0x22, 0), 0x42);
    assert_int_equal(mem_read(r, 0xb8020, 4), 0x07420741);
}

/* ---- pictures ---- */

static uint8_t glyph(unsigned map, unsigned ch, unsigned row)
{
    return (uint8_t)(ch * 37 + row * 11 + map * 101 + 1);
}

static void load_fonts(struct rig *r)
{
    for (unsigned ch = 0; ch < 256; ch++) {
        for (unsigned row = 0; row < 32; row++) {
            for (unsigned map = 0; map < 2; map++) {
                mem_write(r, BAR0 + 4 * (map * 0x4000 + ch * 32 + row) + 2, 1, glyph(map, ch, row));
            }
        }
    }
}

static void text(struct rig *r, unsigned cell, unsigned ch, unsigned attr)
{
    mem_write(r, 0xb8000 + 2 * cell, 2, attr << 8 | (ch & 0xff));
}

static struct rig *text_screen(struct rig *r)
{
    mode_set(r, &mode_03);
    dac_fill(r);
    load_fonts(r);
    set(r, 0x3d4, 0x0a, 0x20);
    for (unsigned i = 0; i < 80 * 25; i++) {
        text(r, i, i * 7 + i / 80, i % 128);
    }
    return r;
}

static uint32_t text_colour(unsigned i)
{
    return dac_colour(mode_03.ar[i]);
}

/* What the dot at x, y should be, from first principles; no cursor, nothing hidden. */
static uint32_t text_dot(unsigned x, unsigned y, unsigned dots, unsigned height)
{
    unsigned cell = y / height * 80 + x / dots, dot = x % dots;
    unsigned ch = (cell * 7 + cell / 80) & 0xff, attr = cell % 128;
    uint8_t bits = glyph(0, ch, y % height);
    bool on = dot < 8 ? bits >> (7 - dot) & 1 : ch >= 0xc0 && ch <= 0xdf && (bits & 1);
    return text_colour(on ? attr & 15 : attr >> 4);
}

static void check_text(struct rig *r, unsigned dots, unsigned height)
{
    assert_int_equal(r->con->width, 80 * dots);
    assert_int_equal(r->con->height, 400);
    for (unsigned y = 0; y < 400; y++) {
        for (unsigned x = 0; x < 80 * dots; x++) {
            assert_int_equal(pixel(r, x, y), text_dot(x, y, dots, height));
        }
    }
}

static void test_text_screen_of_9_and_8_dots(void **state)
{
    struct rig *r = text_screen(*state);
    rig_look(r, true);
    check_text(r, 9, 16);
    set(r, 0x3c4, 1, 0x01);
    rig_look(r, false);
    check_text(r, 8, 16);
}

static void test_text_50_lines(void **state)
{
    struct rig *r = text_screen(*state);
    for (unsigned i = 80 * 25; i < 80 * 50; i++) {
        text(r, i, i * 7 + i / 80, i % 128);
    }
    set(r, 0x3d4, 0x09, 0x47);
    rig_look(r, true);
    check_text(r, 9, 8);
}

static void test_text_40_columns_are_twice_as_wide(void **state)
{
    struct rig *r = text_screen(*state);
    set(r, 0x3c4, 1, 0x08);
    set(r, 0x3d4, 0x11, 0);
    set(r, 0x3d4, 0x01, 0x27);
    set(r, 0x3d4, 0x13, 0x14);
    rig_look(r, true);
    assert_int_equal(r->con->width, 720);
    for (unsigned x = 0; x < 720; x++) { /* 40 columns: the first row is the first half of 80's */
        assert_int_equal(pixel(r, x, 5), text_dot(x / 2, 5, 9, 16));
    }
}

static void test_text_cell_change_damages_that_cell(void **state)
{
    struct rig *r = text_screen(*state);
    r->con->looking = 1;
    rig_look(r, true);
    rig_look(r, false);
    assert_int_equal(r->damaged, 0);
    text(r, 3 * 80 + 17, 'X', 0x1e);
    rig_look(r, false);
    assert_int_equal(r->damaged, 1);
    assert_int_equal(r->x0, 17 * 9);
    assert_int_equal(r->x1, 18 * 9);
    assert_int_equal(r->y0, 48);
    assert_int_equal(r->y1, 64);
    for (unsigned i = 0; i < 8; i++) {
        bool on = glyph(0, 'X', 2) >> (7 - i) & 1;
        assert_int_equal(pixel(r, 17 * 9 + i, 50), text_colour(on ? 14 : 1));
    }
}

static void test_text_font_change_redraws(void **state)
{
    struct rig *r = text_screen(*state);
    r->con->looking = 1;
    rig_look(r, true);
    set(r, 0x3c4, 2, 4); /* as a BIOS loads a font */
    set(r, 0x3c4, 4, 6);
    set(r, 0x3ce, 5, 0);
    set(r, 0x3ce, 6, 4);
    mem_write(r, 0xa0000 + 7 * 32, 1, 0xff);
    set(r, 0x3c4, 2, 3);
    set(r, 0x3c4, 4, 2);
    set(r, 0x3ce, 5, 0x10);
    set(r, 0x3ce, 6, 0x0e);
    rig_look(r, false);
    assert_true(r->damaged > 0);
    for (unsigned i = 0; i < 8; i++) { /* cell 1 shows character 7 in colour 1 */
        assert_int_equal(pixel(r, 9 + i, 0), text_colour(1));
    }
}

static void test_text_second_font_by_attribute_bit_3(void **state)
{
    struct rig *r = text_screen(*state);
    set(r, 0x3c4, 3, 0x04); /* map A (attribute bit 3 set) at 16 KiB, map B at 0 */
    text(r, 0, 'a', 0x07);
    text(r, 1, 'a', 0x0f);
    rig_look(r, true);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(pixel(r, i, 3), text_colour(glyph(0, 'a', 3) >> (7 - i) & 1 ? 7 : 0));
        assert_int_equal(pixel(r, 9 + i, 3), text_colour(glyph(1, 'a', 3) >> (7 - i) & 1 ? 15 : 0));
    }
}

static void test_text_cursor_shape_place_and_blink(void **state)
{
    struct rig *r = text_screen(*state);
    r->con->looking = 1;
    text(r, 85, 0, 0x2f);
    mem_write(r, BAR0 + 2, 1, 0);
    set(r, 0x3d4, 0x0a, 13);
    set(r, 0x3d4, 0x0b, 14);
    set(r, 0x3d4, 0x0e, 0);
    set(r, 0x3d4, 0x0f, 85);
    rig_look(r, true);
    for (unsigned y = 0; y < 16; y++) {
        bool on = y == 13 || y == 14 || (glyph(0, 0, y) & 0x80 && y > 0);
        assert_int_equal(pixel(r, 45, 16 + y), text_colour(on ? 15 : 2));
    }
    flat_advance(r->f, r->m, 270000000); /* the dark half */
    rig_look(r, false);
    assert_int_equal(r->damaged, 1);
    assert_int_equal(pixel(r, 53, 29), text_colour(2)); /* the ninth dot */
    flat_advance(r->f, r->m, 270000000);
    rig_look(r, false);
    assert_int_equal(pixel(r, 53, 29), text_colour(15));
    set(r, 0x3d4, 0x0a, 0x2d);
    rig_look(r, false);
    assert_int_equal(pixel(r, 53, 29), text_colour(2));
}

static void test_text_attribute_blink(void **state)
{
    struct rig *r = text_screen(*state);
    r->con->looking = 1;
    ar_set(r, 0x10, 0x0c);
    text(r, 0, 'A', 0x94);
    rig_look(r, true);
    assert_int_equal(pixel(r, 0, 2), text_colour(glyph(0, 'A', 2) & 0x80 ? 4 : 1));
    flat_advance(r->f, r->m, 540000000);
    rig_look(r, false);
    for (unsigned i = 0; i < 9; i++) {
        assert_int_equal(pixel(r, i, 2), text_colour(1));
    }
    ar_set(r, 0x10, 0x04); /* bit 7 is brightness */
    rig_look(r, false);
    assert_int_equal(pixel(r, 8, 2), text_colour(9));
}

static void test_text_underline(void **state)
{
    struct rig *r = text_screen(*state);
    set(r, 0x3d4, 0x14, 12);
    text(r, 0, 'A', 0x21);
    rig_look(r, true);
    for (unsigned i = 0; i < 9; i++) {
        assert_int_equal(pixel(r, i, 12), text_colour(1));
    }
}

static void test_text_start_panning_and_split(void **state)
{
    struct rig *r = text_screen(*state);
    ar_set(r, 0x13, 2); /* 9 dots: 3 to the left */
    ar_set(r, 0x10, 0x24);
    set(r, 0x3d4, 0x0d, 80);
    set(r, 0x3d4, 0x08, 5);
    set(r, 0x3d4, 0x18, 199); /* below line 199: the start of memory, not shifted */
    set(r, 0x3d4, 0x11, 0);
    set(r, 0x3d4, 0x07, 0x0f);
    set(r, 0x3d4, 0x09, 0x0f);
    rig_look(r, true);
    for (unsigned x = 0; x < 700; x++) {
        assert_int_equal(pixel(r, x, 0), text_dot(x + 3, 16 + 5, 9, 16));
        assert_int_equal(pixel(r, x, 199), text_dot(x + 3, 16 + 5 + 199, 9, 16));
        assert_int_equal(pixel(r, x, 200), text_dot(x, 0, 9, 16));
        assert_int_equal(pixel(r, x, 399), text_dot(x, 199, 9, 16));
    }
    ar_set(r, 0x10, 0x04); /* panning below the split too */
    rig_look(r, false);
    assert_int_equal(pixel(r, 100, 200), text_dot(103, 0, 9, 16));
}

static void random_planes(struct rig *r, uint32_t addresses)
{
    uint32_t seed = 99;
    for (uint32_t a = 0; a < addresses; a++) {
        set_cell(r, a, rnd(&seed));
    }
}

static uint32_t planar_dot(struct rig *r, const struct legacy_mode *m, uint32_t a, unsigned bit)
{
    uint32_t d = (uint32_t)mem_read(r, BAR0 + 4 * a, 4);
    unsigned i = (d >> (7 - bit) & 1) | (d >> (15 - bit) & 1) << 1 | (d >> (23 - bit) & 1) << 2 |
                 (d >> (31 - bit) & 1) << 3;
    return dac_colour(m->ar[i & m->ar[0x12]]);
}

static void test_mode_12_planes(void **state)
{
    struct rig *r = *state;
    mode_set(r, &mode_12);
    dac_fill(r);
    random_planes(r, 80 * 480);
    rig_look(r, true);
    assert_int_equal(r->con->width, 640);
    assert_int_equal(r->con->height, 480);
    for (unsigned y = 0; y < 480; y += 7) {
        for (unsigned x = 0; x < 640; x++) {
            assert_int_equal(pixel(r, x, y), planar_dot(r, &mode_12, y * 80 + x / 8, x & 7));
        }
    }
    assert_true(picture_hash(r) == 0x716e4f4a4f29a793);
}

static void test_planar_panning_split_and_colour_planes(void **state)
{
    struct rig *r = *state;
    mode_set(r, &mode_12);
    dac_fill(r);
    random_planes(r, 0x10000);
    ar_set(r, 0x13, 5);
    ar_set(r, 0x10, 0x21);
    set(r, 0x3d4, 0x08, 0x20); /* one byte more */
    set(r, 0x3d4, 0x0c, 0x10);
    set(r, 0x3d4, 0x13, 0x30);
    set(r, 0x3d4, 0x18, 0x2b); /* 0x12b */
    set(r, 0x3d4, 0x09, 0x00);
    rig_look(r, true);
    for (unsigned x = 0; x < 640; x++) {
        unsigned at = x + 5;
        assert_int_equal(pixel(r, x, 100),
                         planar_dot(r, &mode_12, 0x1001 + 100 * 96 + at / 8, at & 7));
        assert_int_equal(pixel(r, x, 0x12c), planar_dot(r, &mode_12, x / 8, x & 7));
        assert_int_equal(pixel(r, x, 0x12f), planar_dot(r, &mode_12, 3 * 96 + x / 8, x & 7));
    }
    ar_set(r, 0x12, 0x05);
    rig_look(r, false);
    struct legacy_mode two = mode_12;
    two.ar[0x12] = 5;
    assert_int_equal(pixel(r, 3, 0x12c), planar_dot(r, &two, 0, 3));
}

static void test_planar_address_wraps_at_64k(void **state)
{
    struct rig *r = *state;
    mode_set(r, &mode_12);
    dac_fill(r);
    random_planes(r, 0x10000);
    set(r, 0x3d4, 0x0c, 0xff);
    set(r, 0x3d4, 0x0d, 0xf0);
    rig_look(r, true);
    assert_int_equal(pixel(r, 0, 0), planar_dot(r, &mode_12, 0xfff0, 0));
    assert_int_equal(pixel(r, 16 * 8, 0), planar_dot(r, &mode_12, 0, 0));
    r->con->looking = 1;
    rig_look(r, false);
    rig_look(r, false);
    set_cell(r, 3, ~(uint32_t)mem_read(r, BAR0 + 12, 4));
    rig_look(r, false);
    assert_int_equal(pixel(r, 19 * 8, 0), planar_dot(r, &mode_12, 3, 0));
}

static void test_mode_0d_doubles_dots_and_lines(void **state)
{
    struct rig *r = *state;
    mode_set(r, &mode_0d);
    dac_fill(r);
    random_planes(r, 40 * 200);
    rig_look(r, true);
    assert_int_equal(r->con->width, 640);
    assert_int_equal(r->con->height, 400);
    for (unsigned y = 0; y < 400; y += 3) {
        for (unsigned x = 0; x < 640; x++) {
            assert_int_equal(pixel(r, x, y),
                             planar_dot(r, &mode_0d, y / 2 * 40 + x / 16, x / 2 & 7));
        }
    }
}

static void test_mode_13_bytes(void **state)
{
    struct rig *r = *state;
    uint32_t seed = 5;
    uint8_t picture[64000];
    mode_set(r, &mode_13);
    dac_fill(r);
    for (unsigned i = 0; i < sizeof(picture); i += 8) {
        for (unsigned k = 0; k < 8; k++) {
            picture[i + k] = (uint8_t)rnd(&seed);
        }
        mem_write(r, 0xa0000 + i, 8, load_le64(picture + i));
    }
    rig_look(r, true);
    assert_int_equal(r->con->width, 640);
    assert_int_equal(r->con->height, 400);
    for (unsigned y = 0; y < 400; y++) {
        for (unsigned x = 0; x < 640; x++) {
            assert_int_equal(pixel(r, x, y), dac_colour(picture[y / 2 * 320 + x / 2]));
        }
    }
    outb(r, 0x3c6, 0x0f);
    rig_look(r, false);
    assert_int_equal(pixel(r, 2, 2), dac_colour(picture[321] & 0x0f));
}

static void test_mode_13_redraws_only_dirty_lines(void **state)
{
    struct rig *r = *state;
    mode_set(r, &mode_13);
    dac_fill(r);
    r->con->looking = 1;
    rig_look(r, true);
    rig_look(r, false); /* clears what the set-up dirtied */
    rig_look(r, false);
    assert_int_equal(r->damaged, 0);
    mem_write(r, 0xa0000 + 100 * 320 + 5, 1, 0x55);
    rig_look(r, false);
    assert_true(r->damaged > 0 && r->y0 <= 200 && r->y1 >= 202 && r->y1 - r->y0 < 20);
    assert_int_equal(pixel(r, 10, 200), dac_colour(0x55));
}

static void test_mode_x_planes_and_page_flip(void **state)
{
    struct rig *r = *state;
    mode_set(r, &mode_13);
    dac_fill(r);
    set(r, 0x3c4, 4, 0x06); /* chain 4 off, byte mode: 320x200 in four planes */
    set(r, 0x3d4, 0x14, 0x00);
    set(r, 0x3d4, 0x17, 0xe3);
    for (unsigned p = 0; p < 4; p++) {
        set(r, 0x3c4, 2, 1 << p);
        for (unsigned a = 0; a < 80; a++) {
            mem_write(r, 0xa0000 + 16000 + a, 1, (a * 4 + p) & 0xff);
        }
    }
    set(r, 0x3d4, 0x0c, 16000 >> 8);
    set(r, 0x3d4, 0x0d, 16000 & 0xff);
    rig_look(r, true);
    for (unsigned x = 0; x < 640; x++) {
        assert_int_equal(pixel(r, x, 1), dac_colour(x / 2 & 0xff));
    }
    ar_set(r, 0x13, 2); /* one pixel of two dots */
    rig_look(r, false);
    assert_int_equal(pixel(r, 0, 0), dac_colour(1));
    assert_int_equal(pixel(r, 10, 0), dac_colour(6));
}

static void test_mode_04_interleaves_like_cga(void **state)
{
    struct rig *r = *state;
    uint32_t seed = 8;
    mode_set(r, &mode_04);
    dac_fill(r);
    for (unsigned i = 0; i < 0x4000; i += 4) {
        mem_write(r, 0xb8000 + i, 4, rnd(&seed));
    }
    rig_look(r, true);
    assert_int_equal(r->con->width, 640);
    for (unsigned y = 0; y < 200; y += 3) {
        for (unsigned x = 0; x < 320; x++) {
            uint32_t at = (y & 1) * 0x2000 + y / 2 * 80 + x / 4;
            unsigned c = (unsigned)(mem_read(r, 0xb8000 + at, 1) >> (6 - 2 * (x & 3)) & 3);
            assert_int_equal(pixel(r, 2 * x, 2 * y), dac_colour(mode_04.ar[c]));
        }
    }
}

static void test_mode_06_interleaves_like_cga(void **state)
{
    struct rig *r = *state;
    uint32_t seed = 81;
    mode_set(r, &mode_06);
    dac_fill(r);
    for (unsigned i = 0; i < 0x4000; i += 4) {
        mem_write(r, 0xb8000 + i, 4, rnd(&seed));
    }
    rig_look(r, true);
    for (unsigned y = 0; y < 200; y += 3) {
        for (unsigned x = 0; x < 640; x++) {
            uint32_t at = (y & 1) * 0x2000 + y / 2 * 80 + x / 8;
            bool on = mem_read(r, 0xb8000 + at, 1) >> (7 - (x & 7)) & 1;
            assert_int_equal(pixel(r, x, 2 * y + 1), dac_colour(on ? 0x17 : 0));
        }
    }
}

static void test_word_mode_wraps_bit_13_or_15(void **state)
{
    struct rig *r = text_screen(*state);
    set_cell(r, 0x4000, 0x0721); /* character 0x21, attribute 7 */
    set_cell(r, 0x4001, 0x0722);
    mem_write(r, BAR0 + 4 * (0x21 * 32) + 2, 1, 0xff);
    mem_write(r, BAR0 + 4 * (0x22 * 32) + 2, 1, 0x00);
    set(r, 0x3d4, 0x0c, 0x20);
    rig_look(r, true);
    assert_int_equal(pixel(r, 0, 0), text_colour(7));
    set(r, 0x3d4, 0x17, 0x83); /* a 64 KiB card's wrap */
    rig_look(r, true);
    assert_int_equal(pixel(r, 0, 0), text_colour(0));
}

static void test_double_word_mode_wraps(void **state)
{
    struct rig *r = *state;
    mode_set(r, &mode_13);
    dac_fill(r);
    set_cell(r, 5, 0x44332211); /* counter 0x4001: 4 from the shift, 1 from the wrapped bits */
    set(r, 0x3d4, 0x0c, 0x40);
    set(r, 0x3d4, 0x0d, 0x01);
    rig_look(r, true);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pixel(r, 2 * i, 0), dac_colour(0x11 * (i + 1)));
    }
}

static void test_colour_select(void **state)
{
    struct rig *r = *state;
    mode_set(r, &mode_12);
    dac_fill(r);
    set_cell(r, 0, 0xff00ff00); /* attribute colour 10: palette 0x3a */
    ar_set(r, 0x14, 0x0e);
    rig_look(r, true);
    assert_int_equal(pixel(r, 0, 0), dac_colour(0xc0 | 0x3a));
    ar_set(r, 0x10, 0x81);
    rig_look(r, true);
    assert_int_equal(pixel(r, 0, 0), dac_colour(0xe0 | 0x0a));
}

static void test_blanked_screen_is_black_until_unblanked(void **state)
{
    struct rig *r = text_screen(*state);
    r->con->looking = 1;
    rig_look(r, true);
    set(r, 0x3c4, 1, 0x20);
    rig_look(r, false);
    for (unsigned x = 0; x < r->con->width; x++) {
        assert_int_equal(pixel(r, x, 8), 0);
    }
    rig_look(r, false);
    assert_int_equal(r->damaged, 0);
    set(r, 0x3c4, 1, 0x00);
    rig_look(r, false);
    check_text(r, 9, 16);
}

static void test_palette_change_redraws(void **state)
{
    struct rig *r = text_screen(*state);
    r->con->looking = 1;
    rig_look(r, true);
    outb(r, 0x3c8, mode_03.ar[1]);
    outb(r, 0x3c9, 63);
    outb(r, 0x3c9, 0);
    outb(r, 0x3c9, 0);
    rig_look(r, false);
    set(r, 0x3d4, 0x14, 12);
    text(r, 0, 'A', 0x11);
    rig_look(r, false);
    assert_int_equal(pixel(r, 4, 4), 0xff0000);
}

static void test_random_registers_and_window_never_leave_memory(void **state)
{
    struct rig *r = *state;
    uint32_t seed = 4711;
    static const uint16_t ports[] = { 0x3c0, 0x3c2, 0x3c4, 0x3c5, 0x3ce, 0x3cf, 0x3d4, 0x3d5,
                                      0x3b4, 0x3b5, 0x3c6, 0x3c7, 0x3c8, 0x3c9, 0x3da };
    mode_set(r, &mode_13);
    for (unsigned n = 0; n < 60000; n++) {
        uint32_t x = rnd(&seed);
        if (n % 500 == 0) {
            rig_look(r, x & 1);
            set(r, 0x3d4, 0x11, 0);
            set(r, 0x3d4, 0x17, rnd(&seed) | 0x80);
            outb(r, 0x3c2, rnd(&seed) | 3);
            inb(r, 0x3da);
            outb(r, 0x3c0, 0x20);
        } else if (x & 1) {
            outb(r, ports[x / 2 % ARRAY_SIZE(ports)], rnd(&seed));
        } else if (x & 2) {
            mem_write(r, 0xa0000 + (x >> 4 & 0x1fff8), 8, rnd(&seed));
        } else {
            mem_read(r, 0xa0000 + (x >> 4 & 0x1fff8), 8);
        }
    }
}

static struct rig *plain(void)
{
    return rig_new(&vga_class, 1, true);
}

static void test_nobody_looking_asks_for_no_dirty_pages(void **state)
{
    struct rig *r = *state;
    mode_set(r, &mode_13);
    mem_write(r, 0xa0000, 1, 1);
    r->con->looking = 0;
    rig_look(r, false); /* a screenshot: everything drawn, tracking left alone */
    assert_int_equal(r->y1 - r->y0, 400);
    r->con->looking = 1;
    rig_look(r, false);
    assert_true(r->damaged > 0); /* the page is still reported */
}

static void test_vgamem_out_of_range_is_refused(void **state)
{
    (void)state;
    struct rig *r = plain();
    struct err e = { 0 };
    machine_enter(r->m);
    struct device *d = dev_new(r->m, &vga_class, "second");
    dev_set_u32(d, "vgamem_mb", 0);
    assert_int_equal(dev_init(d, &e), -22);
    assert_non_null(strstr(e.msg, "vgamem_mb"));
    dev_free(d);
    machine_leave(r->m);
    rig_free(r);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_indexed_registers_keep_the_bits_they_have),
        T(test_crtc_protection_spares_line_compare),
        T(test_misc_bit_0_moves_the_crtc),
        T(test_attribute_flip_flop),
        T(test_dac_steps_and_turns_around),
        T(test_retrace_comes_and_goes_with_virtual_time),
        T(test_retrace_interrupt_is_raised_dropped_and_armed_again),
        T(test_every_write_mode_follows_the_reference),
        T(test_read_modes),
        T(test_window_answers_only_where_it_is_mapped),
        T(test_chain_4_and_odd_even_pick_planes),
        T(test_text_screen_of_9_and_8_dots),
        T(test_text_50_lines),
        T(test_text_40_columns_are_twice_as_wide),
        T(test_text_cell_change_damages_that_cell),
        T(test_text_font_change_redraws),
        T(test_text_second_font_by_attribute_bit_3),
        T(test_text_cursor_shape_place_and_blink),
        T(test_text_attribute_blink),
        T(test_text_underline),
        T(test_text_start_panning_and_split),
        T(test_mode_12_planes),
        T(test_planar_panning_split_and_colour_planes),
        T(test_planar_address_wraps_at_64k),
        T(test_mode_0d_doubles_dots_and_lines),
        T(test_mode_13_bytes),
        T(test_mode_13_redraws_only_dirty_lines),
        T(test_mode_x_planes_and_page_flip),
        T(test_mode_04_interleaves_like_cga),
        T(test_mode_06_interleaves_like_cga),
        T(test_word_mode_wraps_bit_13_or_15),
        T(test_double_word_mode_wraps),
        T(test_colour_select),
        T(test_blanked_screen_is_black_until_unblanked),
        T(test_palette_change_redraws),
        T(test_random_registers_and_window_never_leave_memory),
        T(test_nobody_looking_asks_for_no_dirty_pages),
        cmocka_unit_test(test_vgamem_out_of_range_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
