/* SPDX-License-Identifier: MIT */
/* tests/unit/test-cirrus-blt.c - the BitBLT engine against a pixel-at-a-time model of it, and the
 * blits no driver would ask for.
 */
#include "tests/unit/test-vga-rig.h"

#define VRAM (1u << 20)
#define MASK (VRAM - 1)

enum { BACK = 1, TO_SYS = 2, FROM_SYS = 4, TRANSP = 8, PATTERN = 0x40, EXPAND = 0x80 };

struct blit {
    unsigned mode, ext, rop, width, height, dst_pitch, src_pitch, dst, src, skip;
    unsigned fg, bg, key;
};

/* Truth tables: bit 2 * s + d of the low nibble is the result. */
static const struct {
    uint8_t code, truth;
} rops[16] = {
    { 0x00, 0x0 }, { 0x05, 0x8 }, { 0x06, 0xa }, { 0x09, 0x4 }, { 0x0b, 0x5 }, { 0x0d, 0xc },
    { 0x0e, 0xf }, { 0x50, 0x2 }, { 0x59, 0x6 }, { 0x6d, 0xe }, { 0x90, 0x7 }, { 0x95, 0x9 },
    { 0xad, 0xd }, { 0xd0, 0x3 }, { 0xd6, 0xb }, { 0xda, 0x1 },
};

static uint8_t model_rop(unsigned code, uint8_t s, uint8_t d)
{
    uint8_t out = 0;
    for (unsigned i = 0; i < 16; i++) {
        if (rops[i].code == code) {
            for (unsigned b = 0; b < 8; b++) {
                unsigned at = (s >> b & 1) * 2 + (d >> b & 1);
                out |= (uint8_t)((rops[i].truth >> at & 1) << b);
            }
            return out;
        }
    }
    return d;
}

static unsigned bytes_of(const struct blit *b)
{
    return (b->mode >> 4 & 3) + 1;
}

static unsigned bits_line(const struct blit *b)
{
    unsigned pixels = (b->width + bytes_of(b) - 1) / bytes_of(b);
    return b->ext & 1 ? (pixels + 31) / 32 * 4 : (pixels + 7) / 8;
}

/* Source byte k of pixel x on line y, and whether a bit says to leave the pixel alone. data is what
 * the processor sends, or NULL for memory. */
static uint8_t model_source(const struct blit *b, const uint8_t *vram, const uint8_t *data,
                            unsigned x, unsigned y, unsigned k, bool *leave)
{
    unsigned bytes = bytes_of(b), row = (b->src + y) & 7, at;
    bool bit;
    *leave = false;
    if (b->mode & EXPAND) {
        uint8_t byte;
        if (b->mode & PATTERN) {
            byte = data ? data[row] : vram[((b->src & ~7u) + row) & MASK];
            if (b->ext & 4 && !(b->mode & TRANSP)) {
                byte = 0xff;
            }
        } else {
            at = y * bits_line(b) + x / 8;
            byte = data ? data[at] : vram[(b->src + at) & MASK];
        }
        bit = byte >> (7 - x % 8) & 1;
        *leave = (b->mode & TRANSP) && bit == !!(b->ext & 2);
        return (uint8_t)((bit ? b->fg : b->bg) >> (8 * k));
    }
    if (b->mode & PATTERN) {
        at = row * (bytes == 3 ? 32 : 8 * bytes) + (x % 8) * bytes + k;
        return data ? data[at] : vram[((b->src & ~7u) + at) & MASK];
    }
    at = x * bytes + k;
    if (data) {
        return data[y * ((b->width + 3) & ~3u) + at];
    }
    if (b->mode & BACK) {
        return vram[(b->src - y * b->src_pitch - (b->width - 1) + at) & MASK];
    }
    return vram[(b->src + y * b->src_pitch + at) & MASK];
}

static bool skipped(const struct blit *b, unsigned x, unsigned k)
{
    bool solid = (b->ext & 4) && (b->mode & (EXPAND | PATTERN | TRANSP)) == (EXPAND | PATTERN);
    if (!(b->mode & (EXPAND | PATTERN)) || solid) {
        return false;
    }
    return bytes_of(b) == 3 ? x * 3 + k < (b->skip & 31) : x < (b->skip & 7);
}

static void model_pixel(const struct blit *b, uint8_t *vram, const uint8_t *data, unsigned x,
                        unsigned y)
{
    unsigned bytes = bytes_of(b), n = b->width - x * bytes < bytes ? b->width - x * bytes : bytes;
    bool back = (b->mode & BACK) && !(b->mode & (EXPAND | PATTERN | FROM_SYS)), leave = false;
    uint32_t at = back ? b->dst - y * b->dst_pitch - (b->width - 1) : b->dst + y * b->dst_pitch;
    uint8_t out[8]; /* four count; the compiler does not know that */
    at += x * bytes;
    for (unsigned k = 0; k < n; k++) {
        out[k] =
            model_rop(b->rop, model_source(b, vram, data, x, y, k, &leave), vram[(at + k) & MASK]);
    }
    if ((b->mode & TRANSP) && !(b->mode & EXPAND) && n == bytes &&
        load_le(out, bytes) == (b->key & ones(bytes))) {
        return;
    }
    for (unsigned k = 0; k < n && !leave; k++) {
        if (!skipped(b, x, k)) {
            vram[(at + k) & MASK] = out[k];
        }
    }
}

static void model(const struct blit *b, uint8_t *vram, const uint8_t *data)
{
    for (unsigned y = 0; y < b->height; y++) {
        for (unsigned x = 0; x * bytes_of(b) < b->width; x++) {
            model_pixel(b, vram, data, x, y);
        }
    }
}

/* ---- the device's side ---- */

static struct rig *rig;
static uint8_t want[VRAM], have[VRAM];

static int setup(void **state)
{
    (void)state;
    rig = rig_new(&cirrus_vga_class, 1, true);
    outb(rig, 0x3c2, 0x67);
    set(rig, 0x3c4, 7, 0x01);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_free(rig);
    return 0;
}

static void fetch(uint8_t *to)
{
    machine_enter(rig->m);
    assert_int_equal(gmem_read(rig->m, BAR0, to, VRAM), 0);
    machine_leave(rig->m);
}

static void scramble(uint32_t *seed)
{
    for (unsigned i = 0; i < VRAM; i += 4) {
        store_le(want + i, 4, rnd(seed));
    }
    machine_enter(rig->m);
    assert_int_equal(gmem_write(rig->m, BAR0, want, VRAM), 0);
    machine_leave(rig->m);
}

static void reg32(unsigned off, uint64_t val, unsigned size)
{
    mem_write(rig, BAR1 + 0x100 + off, size, val);
}

static void program(const struct blit *b)
{
    reg32(0x00, b->bg, 4);
    reg32(0x04, b->fg, 4);
    reg32(0x08, b->width - 1, 2);
    reg32(0x0a, b->height - 1, 2);
    reg32(0x0c, b->dst_pitch, 2);
    reg32(0x0e, b->src_pitch, 2);
    reg32(0x10, b->dst, 4);
    reg32(0x14, b->src & 0xffffff, 2);
    reg32(0x16, b->src >> 16, 1);
    reg32(0x17, b->skip, 1);
    reg32(0x18, b->mode, 1);
    reg32(0x1a, b->rop, 1);
    reg32(0x1b, b->ext, 1);
    reg32(0x1c, b->key, 2);
}

static void start(const struct blit *b)
{
    program(b);
    reg32(0x40, 0x02, 1);
}

static unsigned status(void)
{
    return get(rig, 0x3ce, 0x31);
}

static void check(const struct blit *b)
{
    fetch(have);
    if (!memcmp(want, have, VRAM)) {
        return;
    }
    for (unsigned i = 0; i < VRAM; i++) {
        if (want[i] != have[i]) {
            print_error(
                "mode %02x ext %02x rop %02x %ux%u dst %x src %x: at %x want %02x have %02x\n",
                b->mode, b->ext, b->rop, b->width, b->height, b->dst, b->src, i, want[i], have[i]);
            fail();
        }
    }
}

static void run_and_check(const struct blit *b)
{
    start(b);
    assert_int_equal(status() & 0x0b, 0);
    model(b, want, NULL);
    check(b);
}

/* Source in the lower half of memory, destination in the upper: a line never overlaps itself. */
static struct blit random_blit(uint32_t *seed)
{
    struct blit b = {
        .rop = rops[rnd(seed) & 15].code,
        .width = rnd(seed) % 150 + 1,
        .height = rnd(seed) % 12 + 1,
        .dst_pitch = rnd(seed) % 0x2000,
        .src_pitch = rnd(seed) % 0x2000,
        .src = 0x20000 + (rnd(seed) & 0x3ffff),
        .dst = 0xa0000 + (rnd(seed) & 0x3ffff),
        .skip = rnd(seed) & 0x1f,
        .fg = rnd(seed),
        .bg = rnd(seed),
    };
    return b;
}

static void test_copies_with_every_rop_direction_and_depth(void **state)
{
    uint32_t seed = 1;
    (void)state;
    scramble(&seed);
    for (unsigned n = 0; n < 16 * 2 * 4 * 2; n++) {
        struct blit b = random_blit(&seed);
        b.rop = rops[n & 15].code;
        b.mode = (n >> 4 & 1) | (n >> 5 & 3) << 4;
        run_and_check(&b);
    }
}

static void test_unknown_rop_changes_nothing(void **state)
{
    uint32_t seed = 11;
    (void)state;
    scramble(&seed);
    struct blit b = random_blit(&seed);
    b.rop = 0x77;
    run_and_check(&b);
}

static void test_transparent_copies(void **state)
{
    uint32_t seed = 2;
    (void)state;
    scramble(&seed);
    for (unsigned n = 0; n < 200; n++) {
        struct blit b = random_blit(&seed);
        b.mode = TRANSP | (n & 1) | (n >> 1 & 1) << 4;
        b.width = (b.width + 1) & ~1u;
        b.rop = n & 4 ? 0x0d : b.rop;
        b.key = load_le16(want + b.src); /* sure to occur when copying */
        run_and_check(&b);
    }
}

static void test_pattern_fills(void **state)
{
    uint32_t seed = 3;
    (void)state;
    scramble(&seed);
    for (unsigned n = 0; n < 400; n++) {
        struct blit b = random_blit(&seed);
        b.mode = PATTERN | (n & 3) << 4;
        run_and_check(&b);
    }
}

static void test_expansion_from_memory(void **state)
{
    uint32_t seed = 4;
    (void)state;
    scramble(&seed);
    for (unsigned n = 0; n < 800; n++) {
        struct blit b = random_blit(&seed);
        b.mode = EXPAND | (n & 3) << 4 | (n & 4 ? TRANSP : 0) | (n & 8 ? PATTERN : 0);
        b.ext = (n & 16 ? 2 : 0) | (n & 32 ? 1 : 0) | (n & 64 ? 4 : 0);
        run_and_check(&b);
    }
}

/* Sends len bytes as double words to where; the last one may carry more than is wanted. */
static void send(uint32_t where, const uint8_t *data, unsigned len)
{
    for (unsigned i = 0; i < len; i += 4) {
        assert_int_equal(status() & 1, 1);
        mem_write(rig, where + (i & 0x7ffc), 4, load_le32(data + i));
    }
    assert_int_equal(status() & 0x0b, 0);
}

static unsigned transfer_bytes(const struct blit *b)
{
    if (b->mode & PATTERN) {
        return b->mode & EXPAND ? 8 : 8 * (bytes_of(b) == 3 ? 32 : 8 * bytes_of(b));
    }
    return b->height * (b->mode & EXPAND ? bits_line(b) : (b->width + 3) & ~3u);
}

static void test_processor_to_screen(void **state)
{
    static const uint32_t where[3] = { 0xa0000, BAR0 + 0x1000000, BAR0 + 0x500 };
    uint8_t data[16384];
    uint32_t seed = 5;
    (void)state;
    scramble(&seed);
    for (unsigned n = 0; n < 600; n++) {
        struct blit b = random_blit(&seed);
        b.mode = FROM_SYS | (n & 3) << 4 | (n & 4 ? EXPAND : 0) | (n & 8 ? PATTERN : 0) |
                 (n & 16 && n & 4 ? TRANSP : 0);
        b.ext = n & 32 ? 3 : 0;
        for (unsigned i = 0; i < sizeof(data); i += 4) {
            store_le(data + i, 4, rnd(&seed));
        }
        start(&b);
        send(where[n % 3], data, transfer_bytes(&b));
        model(&b, want, data);
        check(&b);
    }
}

static void test_screen_to_processor(void **state)
{
    uint32_t seed = 6;
    (void)state;
    scramble(&seed);
    for (unsigned n = 0; n < 50; n++) {
        struct blit b = random_blit(&seed);
        unsigned line = (b.width + 3) & ~3u;
        b.mode = TO_SYS;
        start(&b);
        for (unsigned i = 0; i < line * b.height; i += 4) {
            uint32_t at = b.src + i / line * b.src_pitch + i % line;
            assert_int_equal(status() & 1, 1);
            uint32_t got = (uint32_t)mem_read(rig, n & 1 ? 0xa0000 : BAR0 + 0x1000000, 4);
            for (unsigned k = 0; k < 4; k++) {
                assert_int_equal(got >> (8 * k) & 0xff, want[(at + k) & MASK]);
            }
        }
        assert_int_equal(status() & 1, 0);
    }
    check(&(struct blit){ 0 });
}

static void test_overlapping_scrolls(void **state)
{
    uint32_t seed = 7;
    (void)state;
    scramble(&seed);
    memcpy(have, want, VRAM);
    for (unsigned y = 0; y < 100; y++) { /* up by two lines: forwards */
        memcpy(want + y * 640, have + (y + 2) * 640, 640);
    }
    struct blit up = { .rop = 0x0d,
                       .width = 640,
                       .height = 100,
                       .dst_pitch = 640,
                       .src_pitch = 640,
                       .dst = 0,
                       .src = 1280 };
    start(&up);
    check(&up);
    memcpy(have, want, VRAM);
    for (unsigned y = 0; y < 100; y++) { /* down and right: backwards */
        memcpy(want + (y + 3) * 640 + 8, have + y * 640, 600);
    }
    struct blit down = { .rop = 0x0d,
                         .mode = BACK,
                         .width = 600,
                         .height = 100,
                         .dst_pitch = 640,
                         .src_pitch = 640,
                         .dst = 102 * 640 + 607,
                         .src = 99 * 640 + 599 };
    start(&down);
    check(&down);
}

static void test_autostart_on_the_last_destination_byte(void **state)
{
    uint32_t seed = 8;
    (void)state;
    scramble(&seed);
    struct blit b = random_blit(&seed);
    program(&b);
    reg32(0x40, 0x80, 1);
    check(&b);
    model(&b, want, NULL);
    reg32(0x12, b.dst >> 16, 1);
    check(&b);
    assert_int_equal(status(), 0x80);
}

static void test_reset_ends_a_transfer(void **state)
{
    uint32_t seed = 9;
    (void)state;
    scramble(&seed);
    struct blit b = random_blit(&seed);
    b.mode = FROM_SYS;
    b.width = 64;
    start(&b);
    mem_write(rig, 0xa0000, 4, 0);
    assert_int_equal(status() & 1, 1);
    reg32(0x40, 0x04, 1);
    reg32(0x40, 0x00, 1);
    assert_int_equal(status(), 0);
    check(&b);
    mem_write(rig, 0xa0010, 1, 0x3c); /* the window is memory again */
    want[0x10] = 0x3c;
    check(&b);
}

/* ---- what no driver asks for ---- */

/* CVE-2007-1320, -2014-8106, -2017-2615, -2017-2620, -2017-7718, -2017-7980: beyond either end. */
static void test_blits_beyond_memory_wrap(void **state)
{
    static const uint32_t edges[] = { 0, 1, 7, 0xffffe, 0xfffff, 0x100000, 0x3fffff, 0x200003 };
    uint32_t seed = 10;
    uint8_t data[16384] = { 0 };
    (void)state;
    scramble(&seed);
    for (unsigned n = 0; n < 512; n++) {
        struct blit b = random_blit(&seed);
        b.dst = edges[n & 7];
        b.src = 0x80000;
        b.src_pitch = 0;
        b.dst_pitch = n & 8 ? 0x1fff : 0;
        b.mode = n >> 4 & 1 ? (n >> 5 & 3) << 4 | BACK : (n >> 5 & 15) << 4;
        b.mode |= n & 16 ? 0 : (n >> 8 & 1) * FROM_SYS;
        start(&b);
        if (b.mode & FROM_SYS) {
            send(0xa0000, data, transfer_bytes(&b));
        }
        model(&b, want, b.mode & FROM_SYS ? data : NULL);
        check(&b);
    }
}

static void test_largest_blits_stay_inside(void **state)
{
    uint32_t seed = 12;
    (void)state;
    for (unsigned n = 0; n < 32; n++) {
        struct blit b = random_blit(&seed);
        b.width = 8192;
        b.height = 2048;
        b.dst_pitch = b.src_pitch = n & 1 ? 0x1fff : 0;
        b.dst = b.src = n & 2 ? 0x3fffff : 0;
        b.mode = (n >> 2 & 1) | (n & 8 ? EXPAND : 0) | (n & 16 ? PATTERN : 0) | (n & 3) << 4;
        start(&b);
        assert_int_equal(status() & 1, 0);
    }
}

/* CVE-2016-9921, -9922: nothing divides by what the guest may set to zero. */
static void test_smallest_blits_and_zero_pitch(void **state)
{
    uint32_t seed = 13;
    (void)state;
    scramble(&seed);
    set(rig, 0x3c4, 7, 0x00); /* no packed pixels at all */
    for (unsigned n = 0; n < 64; n++) {
        struct blit b = random_blit(&seed);
        b.width = 1;
        b.height = 1;
        b.dst_pitch = b.src_pitch = 0;
        b.mode = (n & 3) << 4 | (n & 4 ? EXPAND : 0) | (n & 8 ? PATTERN : 0);
        run_and_check(&b);
    }
}

static void test_impossible_modes_draw_nothing(void **state)
{
    static const uint8_t modes[] = { TO_SYS | FROM_SYS, TO_SYS | PATTERN, TO_SYS | EXPAND,
                                     TRANSP | 0x20, TRANSP | 0x30 };
    uint32_t seed = 14;
    (void)state;
    scramble(&seed);
    for (unsigned n = 0; n < sizeof(modes); n++) {
        struct blit b = random_blit(&seed);
        b.mode = modes[n];
        start(&b);
        assert_int_equal(status() & 0x0b, 0);
        check(&b);
    }
}

/* CVE-2016-9603: sizes change between a blit and a look. */
static void test_resize_between_blit_and_refresh(void **state)
{
    uint32_t seed = 15;
    (void)state;
    mode_set(rig, &mode_12);
    set(rig, 0x3c4, 7, 0x19);
    rig->con->looking = 1;
    for (unsigned n = 0; n < 40; n++) {
        struct blit b = random_blit(&seed);
        start(&b);
        set(rig, 0x3d4, 0x11, 0);
        set(rig, 0x3d4, 0x01, rnd(&seed) & 0xff);
        set(rig, 0x3d4, 0x12, rnd(&seed) & 0xff);
        set(rig, 0x3d4, 0x13, rnd(&seed) & 0xff);
        rig_look(rig, false);
    }
}

static void test_transfer_goes_on_after_restore(void **state)
{
    uint32_t seed = 16;
    struct state_buf s = { 0 };
    struct err e = { 0 };
    uint8_t data[256];
    (void)state;
    scramble(&seed);
    struct blit b = random_blit(&seed);
    b.mode = FROM_SYS | 0x10;
    b.width = 50;
    b.height = 4;
    for (unsigned i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)rnd(&seed);
    }
    start(&b);
    for (unsigned i = 0; i < 60; i += 4) {
        mem_write(rig, 0xa0000, 4, load_le32(data + i));
    }
    machine_enter(rig->m);
    dev_save(rig->dev, &s);
    dev_reset(rig->dev);
    assert_true(dev_load(rig->dev, s.p, s.len, &e) == (long)s.len);
    machine_leave(rig->m);
    free(s.p);
    send(0xa0000, data + 60, transfer_bytes(&b) - 60);
    model(&b, want, data);
    check(&b);
}

/* Places in a transfer that no transfer reaches. */
static void test_impossible_transfer_in_a_stream_is_refused(void **state)
{
    static const struct {
        const char *field;
        uint8_t size;
        uint32_t val;
    } bad[] = {
        { "width", 4, 0 },     { "width", 4, 8193 }, { "height", 4, 0 }, { "height", 4, 2049 },
        { "line", 4, 4 },      { "at", 4, 52 },      { "at", 4, 8192 },  { "skip", 1, 0x20 },
        { "to_system", 1, 1 }, { "width", 4, 4 },
    };
    uint32_t seed = 17;
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        struct state_buf s = { 0 };
        struct err e = { 0 };
        struct blit b = random_blit(&seed);
        b.mode = FROM_SYS;
        b.width = 50;
        b.height = 4;
        start(&b);
        mem_write(rig, 0xa0000, 8, 0);
        machine_enter(rig->m);
        dev_save(rig->dev, &s);
        stream_set(&s, bad[i].field, bad[i].size, 0, bad[i].val);
        assert_true(dev_load(rig->dev, s.p, s.len, &e) < 0);
        assert_non_null(strstr(e.msg, "blt"));
        machine_leave(rig->m);
        assert_int_equal(status() & 1, 0); /* as after reset */
        cfg_write(rig, PCI_BAR0 + 4, 4, BAR1);
        cfg_write(rig, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
        free(s.p);
    }
}

/* A width only a stream can hold would leave the line buffers at the next start. */
static void test_impossible_registers_in_a_stream_are_refused(void **state)
{
    static const uint8_t bad[] = { 0x21, 0x23, 0x25, 0x27, 0x2a, 0x2e };
    (void)state;
    for (unsigned i = 0; i < sizeof(bad); i++) {
        struct state_buf s = { 0 };
        struct err e = { 0 };
        machine_enter(rig->m);
        dev_save(rig->dev, &s);
        stream_set(&s, "gr", 1, bad[i], 0xff);
        assert_true(dev_load(rig->dev, s.p, s.len, &e) < 0);
        assert_non_null(strstr(e.msg, "gr["));
        machine_leave(rig->m);
        free(s.p);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_copies_with_every_rop_direction_and_depth),
        T(test_unknown_rop_changes_nothing),
        T(test_transparent_copies),
        T(test_pattern_fills),
        T(test_expansion_from_memory),
        T(test_processor_to_screen),
        T(test_screen_to_processor),
        T(test_overlapping_scrolls),
        T(test_autostart_on_the_last_destination_byte),
        T(test_reset_ends_a_transfer),
        T(test_blits_beyond_memory_wrap),
        T(test_largest_blits_stay_inside),
        T(test_smallest_blits_and_zero_pitch),
        T(test_impossible_modes_draw_nothing),
        T(test_resize_between_blit_and_refresh),
        T(test_transfer_goes_on_after_restore),
        T(test_impossible_transfer_in_a_stream_is_refused),
        T(test_impossible_registers_in_a_stream_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
