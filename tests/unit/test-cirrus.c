/* SPDX-License-Identifier: MIT */
/* tests/unit/test-cirrus.c - the GD5446 through the door: registers, apertures, packed-pixel
 * pictures, cursor. The BitBLT engine is test-cirrus-blt.c.
 */
#include "tests/unit/test-vga-rig.h"

static int setup(void **state)
{
    *state = rig_new(&cirrus_vga_class, 4, false);
    return 0;
}

static int teardown(void **state)
{
    rig_free(*state);
    return 0;
}

static void hidden_dac(struct rig *r, unsigned val)
{
    for (unsigned i = 0; i < 4; i++) {
        inb(r, 0x3c6);
    }
    outb(r, 0x3c6, val);
}

/* 640x480 packed pixels, pitch in bytes. */
static void packed(struct rig *r, unsigned sr7, unsigned hdr, unsigned pitch)
{
    mode_set(r, &mode_12);
    dac_fill(r);
    set(r, 0x3c4, 6, 0x12);
    set(r, 0x3c4, 7, sr7);
    hidden_dac(r, hdr);
    set(r, 0x3d4, 0x13, pitch / 8);
    set(r, 0x3d4, 0x1b, 0x22 | (pitch / 8 >> 8) << 4);
}

static void test_identity(void **state)
{
    struct rig *r = *state;
    assert_int_equal(cfg_read(r, 0, 4), 0x00b81013);
    assert_int_equal(cfg_read(r, 8, 4), 0x03000000);
    outb(r, 0x3c2, 0x67);
    assert_int_equal(get(r, 0x3c4, 6), 0x0f);
    set(r, 0x3c4, 6, 0x92);
    assert_int_equal(get(r, 0x3c4, 6), 0x12);
    set(r, 0x3c4, 6, 0x00);
    assert_int_equal(get(r, 0x3c4, 6), 0x0f);
    assert_int_equal(get(r, 0x3d4, 0x27), 0xb8);
    assert_int_equal(get(r, 0x3c4, 0x0f), 0x98); /* 4 MiB */
    set(r, 0x3c4, 0x0f, 0x00);
    assert_int_equal(get(r, 0x3c4, 0x0f), 0x98);
    cfg_write(r, PCI_BAR0, 4, 0xffffffff);
    assert_int_equal(cfg_read(r, PCI_BAR0, 4), 0xfe000008); /* 32 MiB, prefetchable */
}

static void test_extended_registers_hold_what_was_written(void **state)
{
    struct rig *r = *state;
    outb(r, 0x3c2, 0x67);
    for (unsigned i = 0x20; i < 0x31; i++) {
        set(r, 0x3ce, i, 0xff);
    }
    assert_int_equal(get(r, 0x3ce, 0x21), 0x1f);
    assert_int_equal(get(r, 0x3ce, 0x23), 0x07);
    assert_int_equal(get(r, 0x3ce, 0x2a), 0x3f);
    assert_int_equal(get(r, 0x3ce, 0x80), 0);
    set(r, 0x3ce, 0, 0xa5);
    assert_int_equal(get(r, 0x3ce, 0), 0xa5); /* eight bits, unlike plain VGA */
    set(r, 0x3d4, 0x1b, 0x5a);
    assert_int_equal(get(r, 0x3d4, 0x1b), 0x5a);
    assert_int_equal(get(r, 0x3d4, 0xff), 0);
    assert_int_equal(get(r, 0x3c4, 0xff), 0);
    inb(r, 0x3da);
    assert_int_equal(get(r, 0x3d4, 0x24), 0x00);
    outb(r, 0x3c0, 0x33);
    assert_int_equal(get(r, 0x3d4, 0x24), 0x80);
    assert_int_equal(get(r, 0x3d4, 0x26), 0x33);
}

static void test_hidden_dac_needs_four_reads_in_a_row(void **state)
{
    struct rig *r = *state;
    outb(r, 0x3c6, 0x7f);
    hidden_dac(r, 0xc5);
    assert_int_equal(inb(r, 0x3c6), 0x7f);
    for (unsigned i = 0; i < 3; i++) {
        inb(r, 0x3c6);
    }
    assert_int_equal(inb(r, 0x3c6), 0xc5);
    for (unsigned i = 0; i < 4; i++) {
        inb(r, 0x3c6);
    }
    get(r, 0x3c4, 7); /* breaks the row */
    outb(r, 0x3c6, 0x3f);
    assert_int_equal(inb(r, 0x3c6), 0x3f);
}

static void test_registers_answer_in_memory_too(void **state)
{
    struct rig *r = *state;
    mem_write(r, BAR1 + 0x02, 1, 0x67);
    assert_int_equal(inb(r, 0x3cc), 0x67);
    mem_write(r, BAR1 + 0x14, 2, 0x341b);
    assert_int_equal(get(r, 0x3d4, 0x1b), 0x34);
    mem_write(r, BAR1 + 0x108, 2, 0x0123);
    assert_int_equal(get(r, 0x3ce, 0x20), 0x23);
    assert_int_equal(get(r, 0x3ce, 0x21), 0x01);
    mem_write(r, BAR1 + 0x100, 4, 0x44332211);
    assert_int_equal(get(r, 0x3ce, 0x00), 0x11);
    assert_int_equal(get(r, 0x3ce, 0x10), 0x22);
    assert_int_equal(get(r, 0x3ce, 0x12), 0x33);
    assert_int_equal(get(r, 0x3ce, 0x14), 0x44);
    assert_int_equal(mem_read(r, BAR1 + 0x100, 4), 0x44332211);
    assert_int_equal(mem_read(r, BAR1 + 0x113, 1), 0xff);
    set(r, 0x3c4, 0x17, 0x04); /* at 0xb8000 */
    assert_int_equal(mem_read(r, 0xb8008, 2), 0x0123);
    mem_write(r, 0xb8008, 2, 0x0456);
    assert_int_equal(get(r, 0x3ce, 0x20), 0x56);
    set(r, 0x3c4, 0x17, 0x44); /* at the end of the frame buffer */
    assert_int_equal(mem_read(r, BAR0 + 0x3fff08, 2), 0x0456);
    mem_write(r, BAR0 + 0x3fff08, 2, 0x0789);
    assert_int_equal(get(r, 0x3ce, 0x20), 0x89);
}

static void test_banks_of_4k_and_16k(void **state)
{
    struct rig *r = *state;
    packed(r, 0x01, 0, 640);
    set(r, 0x3ce, 0x0b, 0x00);
    set(r, 0x3ce, 0x09, 0x12);
    mem_write(r, 0xa0003, 4, 0xdeadbeef);
    assert_int_equal(mem_read(r, BAR0 + 0x12003, 4), 0xdeadbeef);
    mem_write(r, 0xaabcd, 1, 0x77);
    assert_int_equal(mem_read(r, BAR0 + 0x12000 + 0xabcd, 1), 0x77);
    set(r, 0x3ce, 0x0b, 0x21); /* two banks, 16 KiB steps */
    set(r, 0x3ce, 0x0a, 0x05);
    mem_write(r, 0xa8010, 2, 0x1234);
    assert_int_equal(mem_read(r, BAR0 + 0x14010, 2), 0x1234);
    mem_write(r, 0xa0010, 2, 0x5678);
    assert_int_equal(mem_read(r, BAR0 + 0x48010, 2), 0x5678);
    assert_int_equal(mem_read(r, 0xa0010, 2), 0x5678);
    assert_int_equal(mem_read(r, 0xb0000, 4), 0xffffffff);
}

static void test_banks_wrap_at_the_end_of_memory(void **state)
{
    struct rig *r = *state;
    packed(r, 0x01, 0, 640);
    set(r, 0x3ce, 0x0b, 0x20);
    set(r, 0x3ce, 0x09, 0xff); /* the last 16 KiB, and 48 KiB more */
    mem_write(r, 0xa4000, 8, 0x1122334455667788);
    assert_int_equal(mem_read(r, BAR0, 8), 0x1122334455667788);
    mem_write(r, 0xaffff, 1, 0x99);
    assert_int_equal(mem_read(r, BAR0 + 0xbfff, 1), 0x99);
}

static void test_extended_writes_paint_eight_pixels(void **state)
{
    struct rig *r = *state;
    packed(r, 0x01, 0, 640);
    mem_write(r, BAR0 + 0x800, 8, 0x0807060504030201);
    set(r, 0x3ce, 0x0b, 0x06);
    set(r, 0x3ce, 0x05, 0x04); /* mode 4: background stays */
    set(r, 0x3ce, 0x00, 0xb0);
    set(r, 0x3ce, 0x01, 0xf1);
    mem_write(r, 0xa0100, 1, 0xa5);
    set(r, 0x3ce, 0x0b, 0x00);
    assert_int_equal(mem_read(r, BAR0 + 0x800, 8), 0xf107f10504f102f1);
    set(r, 0x3ce, 0x0b, 0x06);
    set(r, 0x3ce, 0x05, 0x05); /* mode 5: background too; through the frame buffer */
    mem_write(r, BAR0 + 0x100, 1, 0xa5);
    set(r, 0x3ce, 0x0b, 0x00);
    assert_int_equal(mem_read(r, BAR0 + 0x800, 8), 0xf1b0f1b0b0f1b0f1);
    set(r, 0x3ce, 0x0b, 0x04);
    set(r, 0x3ce, 0x05, 0x06); /* no such mode: a plain byte */
    mem_write(r, 0xa0807, 1, 0x5a);
    assert_int_equal(mem_read(r, BAR0 + 0x800, 8), 0x5ab0f1b0b0f1b0f1);
    set(r, 0x3ce, 0x05, 0x05);
    set(r, 0x3ce, 0x0b, 0x14); /* 16 bits a pixel */
    set(r, 0x3ce, 0x10, 0xb8);
    set(r, 0x3ce, 0x11, 0xf9);
    mem_write(r, 0xa0080, 1, 0xc0);
    set(r, 0x3ce, 0x0b, 0x00);
    set(r, 0x3ce, 0x05, 0x00);
    assert_int_equal(mem_read(r, BAR0 + 0x800, 8), 0xb8b0b8b0f9f1f9f1);
}

/* CVE-2017-15289: mode 4 and 5 writes next to the end of memory. */
static void test_extended_writes_wrap_at_the_end_of_memory(void **state)
{
    struct rig *r = *state;
    packed(r, 0x01, 0, 640);
    mem_write(r, BAR0, 8, 0);
    set(r, 0x3ce, 0x09, 0xff);
    set(r, 0x3ce, 0x0b, 0x24);
    set(r, 0x3ce, 0x05, 0x05);
    set(r, 0x3ce, 0x00, 0x22);
    set(r, 0x3ce, 0x01, 0x11);
    set(r, 0x3ce, 0x11, 0x11);
    mem_write(r, 0xa3ffc, 1, 0xf0); /* four bytes before the end */
    set(r, 0x3ce, 0x0b, 0x34);
    mem_write(r, 0xaffff, 1, 0xff);
    mem_write(r, BAR0 + 0x3fffff, 1, 0xff);
    set(r, 0x3ce, 0x0b, 0x00);
    assert_int_equal(mem_read(r, BAR0 + 0x3ffffc, 4), 0x11111111);
    assert_int_equal(mem_read(r, BAR0, 4), 0x22222222);
}

static void test_linear_frame_buffer_is_lent_only_while_plain(void **state)
{
    struct rig *r = rig_new(&cirrus_vga_class, 4, true);
    uint32_t val = 0x12345678;
    (void)state;
    packed(r, 0x01, 0, 640);
    machine_enter(r->m);
    assert_int_equal(gmem_write(r->m, BAR0 + 0x100, &val, 4), 0);
    machine_leave(r->m);
    set(r, 0x3ce, 0x0b, 0x04);
    set(r, 0x3ce, 0x05, 0x05);
    machine_enter(r->m);
    assert_int_equal(gmem_write(r->m, BAR0 + 0x100, &val, 4), -14);
    machine_leave(r->m);
    set(r, 0x3ce, 0x05, 0x00);
    machine_enter(r->m);
    assert_int_equal(gmem_read(r->m, BAR0 + 0x100, &val, 4), 0);
    assert_int_equal(val, 0x12345678);
    cfg_write(r, PCI_COMMAND, 2, 0);
    assert_int_equal(gmem_read(r->m, BAR0 + 0x100, &val, 4), -14);
    machine_leave(r->m);
    rig_free(r);
}

/* ---- pictures ---- */

static uint32_t expected(unsigned bpp, const uint8_t *p)
{
    unsigned c = p[0] | p[1] << 8;
    switch (bpp) {
    case 8:
        return dac_colour(p[0]);
    case 15:
        return ((c >> 10 & 31) * 33 >> 2) << 16 | ((c >> 5 & 31) * 33 >> 2) << 8 |
               ((c & 31) * 33 >> 2);
    case 16:
        return ((c >> 11 & 31) * 33 >> 2) << 16 | ((c >> 5 & 63) * 65 >> 4) << 8 |
               ((c & 31) * 33 >> 2);
    default:
        return (uint32_t)(p[2] << 16 | p[1] << 8 | p[0]);
    }
}

static void test_packed_pixels_of_every_depth(void **state)
{
    struct rig *r = *state;
    static const struct {
        unsigned bpp, sr7, hdr;
    } modes[] = { { 8, 0x11, 0x00 },  { 15, 0x17, 0xf0 }, { 16, 0x17, 0xc1 },
                  { 24, 0x15, 0xc5 }, { 32, 0x19, 0xc5 }, { 15, 0x13, 0xf0 } };
    uint32_t seed = 77;
    for (unsigned m = 0; m < ARRAY_SIZE(modes); m++) {
        unsigned bytes = (modes[m].bpp + 7) / 8, pitch = 640 * bytes + 64;
        uint32_t start = 0x40123;
        packed(r, modes[m].sr7, modes[m].hdr, pitch);
        set(r, 0x3d4, 0x0c, start >> 8 & 0xff);
        set(r, 0x3d4, 0x0d, start & 0xff);
        set(r, 0x3d4, 0x1b,
            0x22 | (pitch / 8 >> 8) << 4 | (start >> 16 & 1) | (start >> 17 & 3) << 2);
        for (unsigned y = 0; y < 480; y += 53) {
            for (unsigned i = 0; i < 640 * bytes; i += 8) {
                mem_write(r, BAR0 + start * 4 + y * pitch + i, 8,
                          (uint64_t)rnd(&seed) << 32 | rnd(&seed));
            }
        }
        rig_look(r, true);
        assert_int_equal(r->con->width, 640);
        assert_int_equal(r->con->height, 480);
        for (unsigned y = 0; y < 480; y += 53) {
            for (unsigned x = 0; x < 640; x += 3) {
                uint8_t p[4];
                store_le(p, 4, mem_read(r, BAR0 + start * 4 + y * pitch + x * bytes, 4));
                assert_int_equal(pixel(r, x, y), expected(modes[m].bpp, p));
            }
        }
    }
}

static void test_interlace_shows_both_fields(void **state)
{
    struct rig *r = *state;
    packed(r, 0x11, 0, 640);
    set(r, 0x3d4, 0x1a, 0x01);
    rig_look(r, true);
    assert_int_equal(r->con->height, 960);
}

/* As vgabios-cirrus leaves it; in the modes of plain VGA the bit does blank the screen. */
static void test_packed_pixels_show_with_the_screen_off_bit(void **state)
{
    struct rig *r = *state;
    packed(r, 0x19, 0xc5, 640 * 4);
    set(r, 0x3c4, 1, 0x21);
    mem_write(r, BAR0, 4, 0x00abcdef);
    rig_look(r, true);
    assert_int_equal(pixel(r, 0, 0), 0xabcdef);
    set(r, 0x3c4, 7, 0);
    rig_look(r, true);
    assert_int_equal(pixel(r, 0, 0), 0);
}

static void test_unknown_depth_is_blank(void **state)
{
    struct rig *r = *state;
    packed(r, 0x1b, 0, 640);
    rig_look(r, true);
    for (unsigned x = 0; x < r->con->width; x++) {
        assert_int_equal(pixel(r, x, 0), 0);
    }
}

/* CVE-2017-13672, -13673 and -2018-7858 on this chip: start, pitch and split beyond memory. */
static void test_start_and_pitch_beyond_memory_wrap(void **state)
{
    struct rig *r = *state;
    packed(r, 0x19, 0xc5, 0xff8);
    set(r, 0x3d4, 0x0c, 0xff);
    set(r, 0x3d4, 0x0d, 0xff);
    set(r, 0x3d4, 0x1b, 0xff);
    set(r, 0x3d4, 0x1d, 0x80);
    mem_write(r, BAR0, 4, 0x00abcdef); /* the second pixel: memory starts again */
    rig_look(r, true);
    assert_int_equal(pixel(r, 1, 0), 0xabcdef);
    r->con->looking = 1;
    set(r, 0x3d4, 0x18, 0x10);
    set(r, 0x3d4, 0x07, 0x22);
    set(r, 0x3d4, 0x09, 0x00);
    rig_look(r, false);
    rig_look(r, false);
    mem_write(r, BAR0 + 8, 4, 0x00123456);
    rig_look(r, false);
    assert_int_equal(pixel(r, 3, 0), 0x123456);
    assert_int_equal(pixel(r, 2, 0x11), 0x123456);
}

static void test_only_changed_lines_are_drawn(void **state)
{
    struct rig *r = *state;
    packed(r, 0x19, 0xc5, 640 * 4);
    r->con->looking = 1;
    rig_look(r, true);
    rig_look(r, false);
    rig_look(r, false);
    assert_int_equal(r->damaged, 0);
    mem_write(r, BAR0 + 100 * 2560 + 40, 4, 0x00778899);
    rig_look(r, false);
    assert_int_equal(r->damaged, 1);
    assert_true(r->y0 <= 100 && r->y1 > 100 && r->y1 - r->y0 <= 4);
    assert_int_equal(pixel(r, 10, 100), 0x778899);
}

/* ---- cursor ---- */

static void cursor_colours(struct rig *r)
{
    set(r, 0x3c4, 0x12, 0x02);
    outb(r, 0x3c8, 0);
    outb(r, 0x3c9, 63);
    outb(r, 0x3c9, 0);
    outb(r, 0x3c9, 0);
    outb(r, 0x3c8, 15);
    outb(r, 0x3c9, 0);
    outb(r, 0x3c9, 63);
    outb(r, 0x3c9, 0);
}

/* index bits 7..5 are the place's low ones */
static void cursor_at(struct rig *r, unsigned x, unsigned y)
{
    set(r, 0x3c4, 0x10 | (x & 7) << 5, x >> 3);
    set(r, 0x3c4, 0x11 | (y & 7) << 5, y >> 3);
}

static uint32_t cursor_dot(unsigned two_bits, uint32_t below)
{
    return two_bits == 0   ? below
           : two_bits == 1 ? below ^ 0xffffff
           : two_bits == 2 ? 0xff0000
                           : 0xff00;
}

static void check_cursor(struct rig *r, unsigned size, unsigned at_x, unsigned at_y,
                         uint32_t pattern)
{
    for (unsigned y = 0; y < 480; y += 1) {
        for (unsigned x = 0; x < 640; x += 1) {
            unsigned cx = x - at_x, cy = y - at_y, bits = 0;
            if (cx < size && cy < size) {
                uint32_t line = pattern + cy * (size == 64 ? 16 : 4);
                uint32_t other = line + (size == 64 ? 8 : 128);
                bits = (unsigned)(mem_read(r, line + cx / 8, 1) >> (7 - cx % 8) & 1) |
                       (unsigned)(mem_read(r, other + cx / 8, 1) >> (7 - cx % 8) & 1) << 1;
            }
            assert_int_equal(pixel(r, x, y), cursor_dot(bits, 0x102030));
        }
    }
}

static void fill_screen(struct rig *r)
{
    for (unsigned i = 0; i < 640 * 480; i += 2) {
        mem_write(r, BAR0 + 4 * i, 8, 0x0010203000102030);
    }
}

static void test_cursor_of_both_sizes(void **state)
{
    struct rig *r = *state;
    uint32_t seed = 3;
    packed(r, 0x19, 0xc5, 640 * 4);
    fill_screen(r);
    cursor_colours(r);
    for (uint32_t i = 0; i < 0x4000; i += 4) {
        mem_write(r, BAR0 + 0x3fc000 + i, 4, rnd(&seed));
    }
    set(r, 0x3c4, 0x12, 0x01);
    set(r, 0x3c4, 0x13, 0x3f);
    cursor_at(r, 101, 203);
    rig_look(r, true);
    check_cursor(r, 32, 101, 203, BAR0 + 0x3fc000 + 0x3f00);
    set(r, 0x3c4, 0x12, 0x05);
    cursor_at(r, 611, 455); /* hangs over two edges */
    r->con->looking = 1;
    rig_look(r, false);
    check_cursor(r, 64, 611, 455, BAR0 + 0x3fc000 + 0x3c00);
    rig_look(r, false);
    set(r, 0x3c4, 0x12, 0x00);
    rig_look(r, false);
    assert_int_equal(r->y0, 455);
    assert_int_equal(r->y1, 480);
    assert_int_equal(pixel(r, 620, 460), 0x102030);
}

static void test_cursor_colours_are_not_the_palette(void **state)
{
    struct rig *r = *state;
    dac_fill(r);
    cursor_colours(r);
    set(r, 0x3c4, 0x12, 0x00);
    outb(r, 0x3c7, 0);
    assert_int_equal(inb(r, 0x3c9), 0);
    set(r, 0x3c4, 0x12, 0x02);
    outb(r, 0x3c7, 0xf0); /* four bits count */
    assert_int_equal(inb(r, 0x3c9), 63);
}

static void test_plain_vga_modes_still_work(void **state)
{
    struct rig *r = *state;
    mode_set(r, &mode_13);
    dac_fill(r);
    mem_write(r, 0xa0000 + 320 * 10 + 7, 1, 0xc3);
    rig_look(r, true);
    assert_int_equal(r->con->width, 640);
    assert_int_equal(r->con->height, 400);
    assert_int_equal(pixel(r, 14, 20), dac_colour(0xc3));
    mode_set(r, &mode_03);
    mem_write(r, 0xb8000, 2, 0x1f41);
    rig_look(r, true);
    assert_int_equal(r->con->width, 720);
    assert_int_equal(pixel(r, 0, 0), dac_colour(1));
}

static void test_vgamem_beyond_the_blt_window_is_refused(void **state)
{
    struct rig *r = *state;
    struct err e = { 0 };
    machine_enter(r->m);
    struct device *d = dev_new(r->m, &cirrus_vga_class, "second");
    dev_set_u32(d, "vgamem_mb", 32);
    assert_int_equal(dev_init(d, &e), -22);
    assert_non_null(strstr(e.msg, "vgamem_mb"));
    dev_free(d);
    machine_leave(r->m);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_identity),
        T(test_extended_registers_hold_what_was_written),
        T(test_hidden_dac_needs_four_reads_in_a_row),
        T(test_registers_answer_in_memory_too),
        T(test_banks_of_4k_and_16k),
        T(test_banks_wrap_at_the_end_of_memory),
        T(test_extended_writes_paint_eight_pixels),
        T(test_extended_writes_wrap_at_the_end_of_memory),
        cmocka_unit_test(test_linear_frame_buffer_is_lent_only_while_plain),
        T(test_packed_pixels_of_every_depth),
        T(test_interlace_shows_both_fields),
        T(test_packed_pixels_show_with_the_screen_off_bit),
        T(test_unknown_depth_is_blank),
        T(test_start_and_pitch_beyond_memory_wrap),
        T(test_only_changed_lines_are_drawn),
        T(test_cursor_of_both_sizes),
        T(test_cursor_colours_are_not_the_palette),
        T(test_plain_vga_modes_still_work),
        T(test_vgamem_beyond_the_blt_window_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
