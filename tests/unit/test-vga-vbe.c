/* SPDX-License-Identifier: MIT */
/* tests/unit/test-vga-vbe.c - the standard VGA's Bochs dispi modes, MMIO, EDID, ROM and state. */
#include "tests/unit/test-vga-rig.h"

#include <errno.h>

enum { ID, XRES, YRES, BPP, ENABLE, BANK, VIRT_WIDTH, VIRT_HEIGHT, X_OFFSET, Y_OFFSET, MEMORY_64K };

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

static void mode(struct rig *r, unsigned x, unsigned y, unsigned bpp, unsigned flags)
{
    vbe_set(r, ENABLE, 0);
    vbe_set(r, XRES, x);
    vbe_set(r, YRES, y);
    vbe_set(r, BPP, bpp);
    vbe_set(r, ENABLE, 1 | flags);
    outb(r, 0x3c0, 0x20);
    inb(r, 0x3da);
    outb(r, 0x3c0, 0x20);
}

static void test_identity_and_capabilities(void **state)
{
    struct rig *r = *state;
    assert_int_equal(cfg_read(r, 0, 4), 0x11111234);
    assert_int_equal(cfg_read(r, 8, 4), 0x03000002);
    assert_int_equal(vbe_get(r, ID), 0xb0c5);
    for (unsigned id = 0xb0c0; id <= 0xb0c5; id++) {
        vbe_set(r, ID, id);
        assert_int_equal(vbe_get(r, ID), id);
    }
    vbe_set(r, ID, 0xb0c6);
    assert_int_equal(vbe_get(r, ID), 0xb0c5);
    assert_int_equal(vbe_get(r, MEMORY_64K), 64);
    vbe_set(r, ENABLE, 2);
    assert_int_equal(vbe_get(r, XRES), 4096);
    assert_int_equal(vbe_get(r, YRES), 4096);
    assert_int_equal(vbe_get(r, BPP), 32);
    vbe_set(r, ENABLE, 0);
    assert_int_equal(vbe_get(r, XRES), 0);
    assert_int_equal(vbe_get(r, 0xffff), 0);
    vbe_set(r, 0xffff, 1);
    outw(r, 0x1ce, BPP);
    outw(r, 0x1d0, 24); /* the other data port */
    assert_int_equal(vbe_get(r, BPP), 24);
    cfg_write(r, PCI_BAR0, 4, 0xffffffff);
    assert_int_equal(cfg_read(r, PCI_BAR0, 4), 0xffc00008);
    cfg_write(r, PCI_BAR0 + 8, 4, 0xffffffff);
    assert_int_equal(cfg_read(r, PCI_BAR0 + 8, 4), 0xfffff000);
}

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

static void test_every_depth(void **state)
{
    struct rig *r = *state;
    static const uint8_t depths[] = { 8, 15, 16, 24, 32 };
    uint32_t seed = 21;
    dac_fill(r);
    for (unsigned m = 0; m < sizeof(depths); m++) {
        unsigned bpp = depths[m], bytes = (bpp + 7u) / 8;
        mode(r, 360, 200, bpp, 0);
        for (unsigned i = 0; i < 360 * 200 * bytes; i += 8) {
            mem_write(r, BAR0 + i, 8, (uint64_t)rnd(&seed) << 32 | rnd(&seed));
        }
        rig_look(r, true);
        assert_int_equal(r->con->width, 360);
        assert_int_equal(r->con->height, 200);
        for (unsigned at = 0; at < 360 * 200; at += 7) {
            uint8_t p[4];
            store_le(p, 4, mem_read(r, BAR0 + at * bytes, 4));
            assert_int_equal(pixel(r, at % 360, at / 360), expected(bpp, p));
        }
    }
}

static void test_16_colours_with_panning(void **state)
{
    struct rig *r = *state;
    uint32_t seed = 22;
    mode_set(r, &mode_12);
    dac_fill(r);
    mode(r, 800, 600, 4, 0);
    vbe_set(r, VIRT_WIDTH, 1024);
    vbe_set(r, X_OFFSET, 13);
    vbe_set(r, Y_OFFSET, 50);
    for (unsigned i = 0; i < 1024 / 8 * 700 * 4; i += 4) {
        mem_write(r, BAR0 + i, 4, rnd(&seed));
    }
    rig_look(r, true);
    assert_int_equal(r->con->width, 800);
    for (unsigned x = 0; x < 800; x++) {
        unsigned at = x + 13, i = 0;
        uint32_t d = (uint32_t)mem_read(r, BAR0 + ((599 + 50) * 128 + at / 8) * 4, 4);
        for (unsigned p = 0; p < 4; p++) {
            i |= (d >> (8 * p + 7 - at % 8) & 1) << p;
        }
        assert_int_equal(pixel(r, x, 599), dac_colour(mode_12.ar[i]));
    }
    vbe_set(r, BANK, 1); /* planes are banked as well */
    set(r, 0x3c4, 2, 0x0f);
    set(r, 0x3ce, 8, 0xff);
    mem_write(r, 0xa0005, 1, 0xff);
    assert_int_equal(mem_read(r, BAR0 + 0x10005 * 4, 4), 0xffffffff);
}

static void test_virtual_screen_and_offsets(void **state)
{
    struct rig *r = *state;
    mode(r, 640, 400, 32, 0);
    vbe_set(r, VIRT_WIDTH, 1003);
    assert_int_equal(vbe_get(r, VIRT_WIDTH), 1000);
    assert_int_equal(vbe_get(r, VIRT_HEIGHT), (4 << 20) / 4000);
    vbe_set(r, X_OFFSET, 17);
    vbe_set(r, Y_OFFSET, 33);
    mem_write(r, BAR0 + (33 + 100) * 4000 + (17 + 50) * 4, 4, 0x00fedcba);
    rig_look(r, true);
    assert_int_equal(pixel(r, 50, 100), 0xfedcba);
    vbe_set(r, VIRT_WIDTH, 300); /* narrower than the screen: the screen's width */
    assert_int_equal(vbe_get(r, VIRT_WIDTH), 640);
    vbe_set(r, VIRT_HEIGHT, 3); /* not for the guest to say */
    assert_int_equal(vbe_get(r, VIRT_HEIGHT), (4 << 20) / 2560);
}

static void test_enabling_clears_unless_told_not_to(void **state)
{
    struct rig *r = *state;
    mem_write(r, BAR0 + 100, 4, 0x55555555);
    mode(r, 640, 400, 8, 0x80);
    assert_int_equal(mem_read(r, BAR0 + 100, 4), 0x55555555);
    mode(r, 640, 400, 8, 0x40);
    assert_int_equal(mem_read(r, BAR0 + 100, 4), 0);
    mem_write(r, BAR0 + 100, 4, 0x66666666);
    vbe_set(r, ENABLE, 0x41); /* was on already */
    assert_int_equal(mem_read(r, BAR0 + 100, 4), 0x66666666);
}

static void test_dac_of_eight_bits(void **state)
{
    struct rig *r = *state;
    mode(r, 320, 200, 8, 0x20);
    outb(r, 0x3c8, 0);
    outb(r, 0x3c9, 0xfe);
    outb(r, 0x3c9, 0x81);
    outb(r, 0x3c9, 0x03);
    rig_look(r, true);
    assert_int_equal(pixel(r, 0, 0), 0xfe8103);
}

static void test_banked_window(void **state)
{
    struct rig *r = *state;
    mode_set(r, &mode_03); /* text's map does not matter now */
    mode(r, 1024, 768, 32, 0);
    vbe_set(r, BANK, 5);
    mem_write(r, 0xa1234, 8, 0x1122334455667788);
    assert_int_equal(mem_read(r, BAR0 + 0x51234, 8), 0x1122334455667788);
    assert_int_equal(mem_read(r, 0xa1238, 4), 0x11223344);
    assert_int_equal(mem_read(r, 0xb8000, 4), 0xffffffff);
    vbe_set(r, ENABLE, 0);
    assert_int_equal(vbe_get(r, BANK), 0);
    mem_write(r, 0xb8000, 2, 0x0741);
    assert_int_equal(mem_read(r, BAR0, 2), 0x0741);
}

/* CVE-2016-3710: a bank beyond memory, after the mode was set. */
static void test_bank_beyond_memory_wraps(void **state)
{
    struct rig *r = *state;
    mode(r, 320, 200, 8, 0);
    for (unsigned bank = 0x3f; bank <= 0xffff; bank = bank * 2 + 1) {
        vbe_set(r, BANK, bank);
        mem_write(r, 0xafff8, 8, bank);
        assert_int_equal(mem_read(r, 0xafff8, 8), bank);
        assert_int_equal(mem_read(r, BAR0 + 0x3ffff8, 8), bank);
    }
    mode(r, 320, 200, 4, 0);
    vbe_set(r, BANK, 0xffff);
    set(r, 0x3c4, 2, 0x0f);
    mem_write(r, 0xaffff, 1, 0xff);
    mem_read(r, 0xaffff, 1);
}

/* CVE-2016-3712, CVE-2018-7858: offsets and widths beyond memory, legacy registers under a mode. */
static void test_geometry_beyond_memory_wraps(void **state)
{
    struct rig *r = *state;
    static const uint8_t depths[] = { 4, 8, 15, 16, 24, 32 };
    r->con->looking = 1;
    for (unsigned m = 0; m < sizeof(depths); m++) {
        mode(r, 640, 480, depths[m], 0);
        vbe_set(r, VIRT_WIDTH, 0xffff);
        vbe_set(r, X_OFFSET, 0xffff);
        vbe_set(r, Y_OFFSET, 0xffff);
        rig_look(r, false);
        rig_look(r, false);
        set(r, 0x3d4, 0x0c, 0xff); /* legacy registers change under it */
        set(r, 0x3d4, 0x13, 0xff);
        set(r, 0x3ce, 6, 0x0e);
        rig_look(r, false);
        assert_int_equal(r->con->width, 640);
        assert_int_equal(r->con->height, 480);
    }
    mode(r, 640, 480, 32, 0);
    vbe_set(r, Y_OFFSET, (4 << 20) / 2560); /* the last, broken line wraps */
    mem_write(r, BAR0, 4, 0x00c0ffee);
    rig_look(r, false);
    assert_int_equal(pixel(r, (4 << 20) % 2560 / 4, 0), 0xc0ffee);
}

static void test_modes_that_do_not_fit_stay_off(void **state)
{
    struct rig *r = *state;
    static const uint16_t bad[][3] = {
        { 1280, 1024, 32 },     { 640, 480, 0 }, { 640, 480, 7 },      { 640, 480, 64 },
        { 0, 480, 32 },         { 640, 0, 32 },  { 5000, 1, 8 },       { 8, 5000, 8 },
        { 0xffff, 0xffff, 32 }, { 7, 7, 8 },     { 640, 480, 0xffff },
    };
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        mode(r, bad[i][0], bad[i][1], bad[i][2], 0);
        assert_int_equal(vbe_get(r, ENABLE) & 1, 0);
        rig_look(r, true);
    }
    mode(r, 1024, 768, 32, 0);
    assert_int_equal(vbe_get(r, ENABLE) & 1, 1);
    vbe_set(r, BPP, 0); /* depth zero under a running mode */
    assert_int_equal(vbe_get(r, ENABLE) & 1, 0);
    rig_look(r, true);
    mode(r, 1024, 768, 32, 0);
    vbe_set(r, YRES, 0xffff);
    assert_int_equal(vbe_get(r, ENABLE) & 1, 0);
    rig_look(r, true);
}

static void test_new_size_while_enabled_resizes(void **state)
{
    struct rig *r = *state;
    mode(r, 640, 480, 32, 0);
    vbe_set(r, XRES, 800);
    assert_int_equal(vbe_get(r, VIRT_WIDTH), 800);
    vbe_set(r, YRES, 600);
    rig_look(r, false);
    assert_int_equal(r->con->width, 800);
    assert_int_equal(r->con->height, 600);
}

static void test_only_changed_lines_are_drawn(void **state)
{
    struct rig *r = *state;
    mode(r, 1024, 768, 32, 0);
    r->con->looking = 1;
    rig_look(r, true);
    rig_look(r, false);
    rig_look(r, false);
    assert_int_equal(r->damaged, 0);
    mem_write(r, BAR0 + 500 * 4096 + 8, 4, 0x00010203); /* a line is a page here */
    mem_write(r, BAR0 + 502 * 4096, 4, 0x00040506);
    rig_look(r, false);
    assert_int_equal(r->damaged, 2);
    assert_int_equal(r->y0, 500);
    assert_int_equal(r->y1, 503);
    assert_int_equal(pixel(r, 2, 500), 0x010203);
    vbe_set(r, Y_OFFSET, 1); /* a new start: everything */
    rig_look(r, false);
    assert_int_equal(r->y1 - r->y0, 768);
    assert_int_equal(pixel(r, 2, 499), 0x010203);
}

static void test_guest_writes_lent_memory_and_they_show(void **state)
{
    struct rig *r = rig_new(&vga_class, 4, true);
    uint32_t val = 0x00a1b2c3;
    (void)state;
    mode(r, 640, 480, 32, 0);
    r->con->looking = 1;
    rig_look(r, true);
    rig_look(r, false);
    machine_enter(r->m);
    assert_int_equal(gmem_write(r->m, BAR0 + 2560 * 7, &val, 4), 0);
    machine_leave(r->m);
    rig_look(r, false);
    assert_int_equal(pixel(r, 0, 7), 0xa1b2c3);
    assert_int_equal(mem_read(r, BAR2 + 0x500, 2), 0xb0c5);
    rig_free(r);
}

/* ---- BAR2, EDID, ROM ---- */

static void test_registers_in_memory(void **state)
{
    struct rig *r = *state;
    mem_write(r, BAR2 + 0x402, 1, 0x67);
    assert_int_equal(inb(r, 0x3cc), 0x67);
    mem_write(r, BAR2 + 0x414, 2, 0x770e);
    assert_int_equal(get(r, 0x3d4, 0x0e), 0x77);
    assert_int_equal(mem_read(r, BAR2 + 0x415, 1), 0x77);
    mem_write(r, BAR2 + 0x502, 2, 1234);
    assert_int_equal(vbe_get(r, XRES), 1234);
    assert_int_equal(mem_read(r, BAR2 + 0x502, 4), 1234);
    assert_int_equal(mem_read(r, BAR2 + 0x503, 1), 1234 >> 8);
    assert_int_equal(mem_read(r, BAR2 + 0x600, 4), 8);
    assert_int_equal(mem_read(r, BAR2 + 0x604, 4), 0x1e1e1e1e);
    mem_write(r, BAR2 + 0x604, 4, 0xbebebebe); /* no big-endian frame buffer */
    assert_int_equal(mem_read(r, BAR2 + 0x604, 4), 0x1e1e1e1e);
    assert_int_equal(mem_read(r, BAR2 + 0x518, 2), 0xffff);
    assert_int_equal(mem_read(r, BAR2 + 0xffc, 4), 0xffffffff);
}

/* Pixels the block's preferred mode has, after checking what every block must have. */
static unsigned check_edid(unsigned mb)
{
    struct rig *r = rig_new(&vga_class, mb, false);
    uint8_t edid[128], sum = 0;
    for (unsigned i = 0; i < 128; i++) {
        edid[i] = (uint8_t)mem_read(r, BAR2 + i, 1);
        sum = (uint8_t)(sum + edid[i]);
    }
    assert_int_equal(mem_read(r, BAR2 + 128, 4), 0);
    assert_int_equal(sum, 0);
    assert_int_equal(load_le64(edid), 0x00ffffffffffff00);
    assert_int_equal(edid[18] << 8 | edid[19], 0x0104);
    assert_int_equal(edid[126], 0);
    for (unsigned i = 38; i < 54 && edid[i] != 1; i += 2) {
        static const uint8_t ratio[4][2] = { { 16, 10 }, { 4, 3 }, { 5, 4 }, { 16, 9 } };
        unsigned w = (edid[i] + 31u) * 8, k = edid[i + 1] >> 6;
        assert_true(w * w * ratio[k][1] / ratio[k][0] * 4ull <= (uint64_t)mb << 20);
    }
    rig_free(r);
    unsigned w = edid[56] | (edid[58] >> 4) << 8, h = edid[59] | (edid[61] >> 4) << 8;
    unsigned total = (w + edid[57]) * (h + edid[60]), clock = load_le16(edid + 54) * 10000u;
    assert_in_range(clock / total, 59, 60);
    assert_int_equal(edid[35] & 0x01, mb >= 2 ? 0x01 : 0); /* 800x600 */
    assert_int_equal(edid[36] & 0x08, mb >= 4 ? 0x08 : 0); /* 1024x768 */
    return w * h;
}

static void test_edid_names_what_fits(void **state)
{
    (void)state;
    assert_int_equal(check_edid(1), 640 * 480); /* the least an EDID can say */
    assert_int_equal(check_edid(2), 800 * 600);
    assert_int_equal(check_edid(4), 1280 * 800);
    assert_int_equal(check_edid(16), 1280 * 800);
}

static void test_rom_bar_shows_the_image(void **state)
{
    uint8_t bytes[0x10001] = { 0x55, 0xaa, 0x40 };
    struct pci_rom rom = { bytes, 0x10001, false };
    struct rig *r = rig_with_rom(&vga_class, 1, false, &rom);
    (void)state;
    assert_int_equal(r->init_error, -EINVAL);
    rig_free(r);
    rom.len = 0x9000;
    r = rig_with_rom(&vga_class, 1, false, &rom);
    cfg_write(r, PCI_ROM, 4, 0xfffffffe);
    assert_int_equal(cfg_read(r, PCI_ROM, 4), 0xffff0000);
    cfg_write(r, PCI_ROM, 4, 0xf0000001);
    assert_int_equal(mem_read(r, 0xf0000000, 4), 0x0040aa55);
    mem_write(r, 0xf0000000, 4, 0);
    assert_int_equal(mem_read(r, 0xf0000000, 4), 0x0040aa55);
    rig_free(r);
}

/* ---- state ---- */

static void mess_up(struct rig *r)
{
    mode_set(r, &mode_12);
    dac_fill(r);
    outb(r, 0x3c8, 3);
    outb(r, 0x3c9, 1);
    inb(r, 0x3da);
    outb(r, 0x3c0, 0x31);
    for (unsigned i = 0; i < 4096; i += 8) {
        mem_write(r, 0xa0000 + i, 8, i * 0x123456789ull);
    }
}

static void test_save_load_save_is_the_same(void **state)
{
    static const struct dev_class *const classes[] = { &vga_class, &cirrus_vga_class };
    (void)state;
    for (unsigned k = 0; k < 2; k++) {
        struct rig *a = rig_new(classes[k], 1, false), *b = rig_new(classes[k], 1, false);
        struct state_buf first = { 0 }, second = { 0 };
        struct err e = { 0 };
        mess_up(a);
        machine_enter(a->m);
        dev_save(a->dev, &first);
        machine_leave(a->m);
        machine_enter(b->m);
        assert_int_equal(dev_load(b->dev, first.p, first.len, &e), (long)first.len);
        dev_save(b->dev, &second);
        machine_leave(b->m);
        assert_int_equal(first.len, second.len);
        assert_memory_equal(first.p, second.p, first.len);
        rig_look(a, true);
        rig_look(b, true);
        assert_true(picture_hash(a) == picture_hash(b));
        outb(b, 0x3c9, 2); /* the DAC write goes on where it was */
        outb(b, 0x3c9, 4);
        outb(b, 0x3c7, 3);
        assert_int_equal(inb(b, 0x3c9), 1);
        free(first.p);
        free(second.p);
        rig_free(a);
        rig_free(b);
    }
}

static void test_reset_is_power_on(void **state)
{
    struct rig *r = *state;
    struct state_buf first = { 0 }, second = { 0 };
    machine_enter(r->m);
    dev_reset(r->dev);
    dev_save(r->dev, &first);
    machine_leave(r->m);
    mode(r, 640, 480, 32, 0);
    mode_set(r, &mode_13);
    dac_fill(r);
    machine_enter(r->m);
    dev_reset(r->dev);
    dev_save(r->dev, &second);
    machine_leave(r->m);
    assert_int_equal(first.len, second.len);
    assert_memory_equal(first.p, second.p, first.len);
    rig_look(r, true);
    free(first.p);
    free(second.p);
}

static void test_broken_streams_are_refused(void **state)
{
    struct rig *r = *state;
    struct state_buf s = { 0 };
    struct err e = { 0 };
    mode(r, 640, 480, 32, 0);
    machine_enter(r->m);
    dev_save(r->dev, &s);
    for (size_t i = 0; i < s.len; i += 997) {
        s.p[i] ^= 0x5a;
        assert_true(dev_load(r->dev, s.p, s.len, &e) < 0);
        s.p[i] ^= 0x5a;
    }
    for (size_t i = 0; i < s.len; i += 4999) {
        assert_true(dev_load(r->dev, s.p, i, &e) < 0);
    }
    assert_true(dev_load(r->dev, s.p, s.len, &e) > 0);
    machine_leave(r->m);
    rig_look(r, true);
    assert_int_equal(r->con->width, 640);
    free(s.p);
}

/* A stream may hold only what a guest could have set. */
static void test_impossible_values_in_a_stream_are_refused(void **state)
{
    struct rig *r = *state;
    static const struct {
        const char *field;
        uint8_t size, index;
        uint16_t val;
    } bad[] = {
        { "vbe", 2, XRES, 5000 },    { "vbe", 2, YRES, 0 },         { "vbe", 2, BPP, 0 },
        { "vbe", 2, BPP, 64 },       { "vbe", 2, YRES, 4000 },      { "vbe", 2, VIRT_WIDTH, 0 },
        { "vbe", 2, VIRT_WIDTH, 8 }, { "vbe", 2, VIRT_WIDTH, 641 }, { "vbe", 2, VIRT_HEIGHT, 9999 },
        { "vbe", 2, ID, 0xb0bf },    { "ar_index", 1, 0, 0x40 },    { "dac_step", 1, 0, 3 },
        { "dac_state", 1, 0, 4 },    { "sr", 1, 2, 0x10 },          { "gr", 1, 4, 4 },
        { "ar", 1, 3, 0x40 },
    };
    mode(r, 640, 480, 32, 0);
    machine_enter(r->m);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        struct state_buf s = { 0 };
        struct err e = { 0 };
        dev_save(r->dev, &s);
        stream_set(&s, bad[i].field, bad[i].size, bad[i].index, bad[i].val);
        assert_true(dev_load(r->dev, s.p, s.len, &e) < 0);
        assert_non_null(strstr(e.msg, bad[i].field));
        free(s.p);
        machine_leave(r->m);
        rig_look(r, true);
        mode(r, 640, 480, 32, 0);
        machine_enter(r->m);
    }
    machine_leave(r->m);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_identity_and_capabilities),
        T(test_every_depth),
        T(test_16_colours_with_panning),
        T(test_virtual_screen_and_offsets),
        T(test_enabling_clears_unless_told_not_to),
        T(test_dac_of_eight_bits),
        T(test_banked_window),
        T(test_bank_beyond_memory_wraps),
        T(test_geometry_beyond_memory_wraps),
        T(test_modes_that_do_not_fit_stay_off),
        T(test_new_size_while_enabled_resizes),
        T(test_only_changed_lines_are_drawn),
        cmocka_unit_test(test_guest_writes_lent_memory_and_they_show),
        T(test_registers_in_memory),
        cmocka_unit_test(test_edid_names_what_fits),
        cmocka_unit_test(test_rom_bar_shows_the_image),
        cmocka_unit_test(test_save_load_save_is_the_same),
        T(test_reset_is_power_on),
        T(test_broken_streams_are_refused),
        T(test_impossible_values_in_a_stream_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
