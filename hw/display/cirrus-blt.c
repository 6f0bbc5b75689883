/* SPDX-License-Identifier: MIT */
/* hw/display/cirrus-blt.c - the GD5446's BitBLT engine.
 *
 * A blit is a rectangle of lines. Each line goes the same way whatever the mode: its source bytes
 * are put into a buffer (from memory, an 8x8 pattern, bits expanded to colours, or the processor),
 * the destination bytes are fetched, combined by the raster operation, and those that the
 * transparency keeps are stored:
 *
 *     memory | pattern | bits | processor  ->  source line  -+
 *                                                            +-> rop -> keep? -> memory
 *                              memory  ->  destination line -+
 *
 * Addresses are masked to the chip's memory byte by byte, so no start, pitch, size or direction
 * can leave it. Blits between memory and memory are done at once; one with the processor keeps its
 * place between accesses. A line is read whole before it is written.
 * The colour key has 16 bits: with 24 and 32 bits a pixel only expansion can be transparent, and a
 * blit that asks for more draws nothing. Left out: the time a blit takes, the colour key's mask
 * (GR38, GR39).
 * Reference: CL-GD5446 Technical Reference Manual, "BitBLT Engine", GR20-GR39.
 */
#include "hw/display/cirrus-int.h"

#include "dm/base/bytes.h"

#include <errno.h>
#include <string.h>

const struct state_field cirrus_blt_state[] = {
    FIELD(struct cirrus_blt, to_screen),
    FIELD(struct cirrus_blt, to_system),
    FIELD(struct cirrus_blt, mode),
    FIELD(struct cirrus_blt, ext),
    FIELD(struct cirrus_blt, rop),
    FIELD_RANGE(struct cirrus_blt, skip, 0, 0x1f),
    FIELD_RANGE(struct cirrus_blt, width, 0, BLT_MAX_WIDTH),
    FIELD_RANGE(struct cirrus_blt, height, 0, BLT_MAX_HEIGHT),
    FIELD(struct cirrus_blt, dst),
    FIELD(struct cirrus_blt, src),
    FIELD(struct cirrus_blt, dst_pitch),
    FIELD(struct cirrus_blt, src_pitch),
    FIELD(struct cirrus_blt, fg),
    FIELD(struct cirrus_blt, bg),
    FIELD(struct cirrus_blt, key),
    FIELD_RANGE(struct cirrus_blt, line, 0, BLT_MAX_HEIGHT),
    FIELD_RANGE(struct cirrus_blt, at, 0, BLT_MAX_WIDTH),
    FIELD_ARRAY(struct cirrus_blt, bytes),
    FIELD_END,
};

static unsigned pixel_bytes(const struct cirrus_blt *b)
{
    return ((b->mode & BLT_WIDTH) >> 4) + 1;
}

/* ---- memory, modulo its size ---- */

static void get_bytes(const struct cirrus *c, uint32_t at, uint8_t *buf, uint32_t n)
{
    const uint8_t *vram = c->base.vga.vram.host;
    uint32_t room = c->mask + 1 - (at & c->mask), first = n < room ? n : room;
    memcpy(buf, vram + (at & c->mask), first);
    memcpy(buf + first, vram, n - first);
}

static void put_bytes(struct cirrus *c, uint32_t at, const uint8_t *buf, uint32_t n)
{
    uint8_t *vram = cirrus_vga(c)->vram.host;
    uint32_t room = c->mask + 1 - (at & c->mask), first = n < room ? n : room;
    memcpy(vram + (at & c->mask), buf, first);
    memcpy(vram, buf + first, n - first);
    cirrus_wrote(c, at, n);
}

/* ---- raster operations ---- */

#define ROP(name, expr)                                                                            \
    static void rop_##name(uint8_t *dst, const uint8_t *src, uint32_t n)                           \
    {                                                                                              \
        for (uint32_t i = 0; i < n; i++) {                                                         \
            unsigned s = src[i], d = dst[i];                                                       \
            (void)s;                                                                               \
            (void)d;                                                                               \
            dst[i] = (uint8_t)(expr);                                                              \
        }                                                                                          \
    }
ROP(zero, 0)
ROP(s_and_d, s &d)
ROP(s_and_not_d, s & ~d)
ROP(not_d, ~d)
ROP(s, s)
ROP(one, 0xff)
ROP(not_s_and_d, ~s &d)
ROP(s_xor_d, s ^ d)
ROP(s_or_d, s | d)
ROP(not_s_or_not_d, ~s | ~d)
ROP(not_s_xor_d, ~(s ^ d))
ROP(s_or_not_d, s | ~d)
ROP(not_s, ~s)
ROP(not_s_or_d, ~s | d)
ROP(not_s_and_not_d, ~s & ~d)

/* By the code in GR32; codes that mean nothing leave the destination as it is, as 0x06 does. */
static void combine(uint8_t code, uint8_t *dst, const uint8_t *src, uint32_t n)
{
    static const struct {
        uint8_t code;
        void (*fn)(uint8_t *dst, const uint8_t *src, uint32_t n);
    } rops[] = {
        { 0x0d, rop_s },
        { 0x00, rop_zero },
        { 0x05, rop_s_and_d },
        { 0x09, rop_s_and_not_d },
        { 0x0b, rop_not_d },
        { 0x0e, rop_one },
        { 0x50, rop_not_s_and_d },
        { 0x59, rop_s_xor_d },
        { 0x6d, rop_s_or_d },
        { 0x90, rop_not_s_or_not_d },
        { 0x95, rop_not_s_xor_d },
        { 0xad, rop_s_or_not_d },
        { 0xd0, rop_not_s },
        { 0xd6, rop_not_s_or_d },
        { 0xda, rop_not_s_and_not_d },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rops); i++) {
        if (rops[i].code == code) {
            rops[i].fn(dst, src, n);
            return;
        }
    }
}

/* ---- one line ---- */

struct blt_line {
    uint8_t src[BLT_MAX_WIDTH + 4], dst[BLT_MAX_WIDTH + 4];
    uint8_t keep[BLT_MAX_WIDTH + 4]; /* non-zero: stored */
};

/* Bits, the most significant first, to pixels from `from` on; bits repeat after `period` bytes. */
static void expand(const struct cirrus_blt *b, struct blt_line *l, const uint8_t *bits,
                   uint32_t period)
{
    unsigned bytes = pixel_bytes(b);
    bool transparent = b->mode & BLT_TRANSPARENT, invert = transparent && (b->ext & BLT_INVERT);
    for (uint32_t x = 0, pixel = 0; x < b->width; x += bytes, pixel++) {
        bool on = bits[pixel / 8 % period] >> (7 - pixel % 8) & 1;
        uint32_t colour = on ? b->fg : b->bg;
        if (transparent && on == invert) {
            memset(l->keep + x, 0, bytes);
        }
        store_le(l->src + x, bytes, colour);
    }
}

/* Pixels left of the skip count stay. At 24 bits it counts bytes. */
static void skip_left(const struct cirrus_blt *b, struct blt_line *l)
{
    unsigned bytes = pixel_bytes(b);
    uint32_t n = bytes == 3 ? b->skip : (b->skip & 7u) * bytes;
    memset(l->keep, 0, n < b->width ? n : b->width);
}

/* Results in the key colour stay away; 8 and 16 bits a pixel only. */
static void drop_key(const struct cirrus_blt *b, struct blt_line *l)
{
    if (pixel_bytes(b) == 1) {
        for (uint32_t x = 0; x < b->width; x++) {
            l->keep[x] &= l->dst[x] != (uint8_t)b->key;
        }
        return;
    }
    for (uint32_t x = 0; x + 2 <= b->width; x += 2) {
        if (load_le16(l->dst + x) == (uint16_t)b->key) {
            l->keep[x] = l->keep[x + 1] = 0;
        }
    }
}

/* Combines l->src with memory at `at` and stores what is kept. */
static void store_line(struct cirrus *c, struct blt_line *l, uint32_t at)
{
    const struct cirrus_blt *b = &c->blt;
    uint8_t old[BLT_MAX_WIDTH];
    bool picky = (b->mode & (BLT_TRANSPARENT | BLT_EXPAND | BLT_PATTERN)) != 0;
    get_bytes(c, at, l->dst, b->width);
    if (picky) {
        memcpy(old, l->dst, b->width);
    }
    combine(b->rop, l->dst, l->src, b->width);
    if ((b->mode & BLT_TRANSPARENT) && !(b->mode & BLT_EXPAND)) {
        drop_key(b, l);
    }
    for (uint32_t i = 0; picky && i < b->width; i++) {
        l->dst[i] = l->keep[i] ? l->dst[i] : old[i];
    }
    put_bytes(c, at, l->dst, b->width);
}

/* Bytes of one line of bits. */
static uint32_t bits_pitch(const struct cirrus_blt *b)
{
    uint32_t pixels = (b->width + pixel_bytes(b) - 1) / pixel_bytes(b);
    return b->ext & BLT_DWORDS ? (pixels + 31) / 32 * 4 : (pixels + 7) / 8;
}

/* Bytes of one line of an 8x8 colour pattern: 24-bit ones have 32. */
static uint32_t pattern_pitch(const struct cirrus_blt *b)
{
    return pixel_bytes(b) == 3 ? 32 : 8 * pixel_bytes(b);
}

/* Repeats a pattern line of 8 pixels over the line. */
static void repeat(const struct cirrus_blt *b, struct blt_line *l, const uint8_t *row)
{
    uint32_t n = 8 * pixel_bytes(b);
    for (uint32_t x = 0; x < b->width; x++) {
        l->src[x] = row[x % n];
    }
}

/* Which line of the pattern line b->line uses. */
static uint32_t pattern_row(const struct cirrus_blt *b)
{
    return (b->src + b->line) & 7;
}

static void pattern_line(struct cirrus *c, struct blt_line *l, const uint8_t *pattern)
{
    const struct cirrus_blt *b = &c->blt;
    if (b->mode & BLT_EXPAND) {
        expand(b, l, pattern + pattern_row(b), 1);
    } else {
        repeat(b, l, pattern + pattern_row(b) * pattern_pitch(b));
    }
    skip_left(b, l);
    store_line(c, l, b->dst + b->line * b->dst_pitch);
}

/* One line whose source is `bytes`: pixels or bits. */
static void source_line(struct cirrus *c, struct blt_line *l, const uint8_t *bytes)
{
    const struct cirrus_blt *b = &c->blt;
    if (b->mode & BLT_EXPAND) {
        expand(b, l, bytes, BLT_MAX_WIDTH);
        skip_left(b, l);
    } else {
        memcpy(l->src, bytes, b->width);
    }
    store_line(c, l, b->dst + b->line * b->dst_pitch);
}

static void keep_all(const struct cirrus_blt *b, struct blt_line *l)
{
    memset(l->keep, 1, b->width);
}

/* ---- whole blits ---- */

static void finish(struct cirrus *c)
{
    struct vga *v = cirrus_vga(c);
    v->gr[0x31] &= (uint8_t) ~(BLT_BUSY | BLT_START | BLT_FIFO);
    if (c->blt.to_screen || c->blt.to_system) {
        c->blt.to_screen = c->blt.to_system = false;
        cirrus_update_lend(c);
    }
}

static void blit_solid(struct cirrus *c)
{
    struct cirrus_blt *b = &c->blt;
    struct blt_line l;
    static const uint8_t all_ones[1] = { 0xff };
    for (; b->line < b->height; b->line++) {
        keep_all(b, &l);
        expand(b, &l, all_ones, 1);
        store_line(c, &l, b->dst + b->line * b->dst_pitch);
    }
}

static void blit_pattern(struct cirrus *c)
{
    struct cirrus_blt *b = &c->blt;
    struct blt_line l;
    uint8_t pattern[256];
    uint32_t len = b->mode & BLT_EXPAND ? 8 : 8 * pattern_pitch(b);
    get_bytes(c, b->src & ~7u, pattern, len);
    for (; b->line < b->height; b->line++) {
        keep_all(b, &l);
        pattern_line(c, &l, pattern);
    }
}

static void blit_bits(struct cirrus *c)
{
    struct cirrus_blt *b = &c->blt;
    struct blt_line l;
    uint8_t bits[BLT_MAX_WIDTH];
    for (; b->line < b->height; b->line++) {
        get_bytes(c, b->src + b->line * bits_pitch(b), bits, bits_pitch(b));
        keep_all(b, &l);
        source_line(c, &l, bits);
    }
}

/* Backwards, addresses name the last byte of each line and lines go up. */
static void blit_copy(struct cirrus *c)
{
    struct cirrus_blt *b = &c->blt;
    struct blt_line l;
    bool back = b->mode & BLT_BACKWARDS;
    uint32_t first = back ? b->width - 1 : 0;
    for (; b->line < b->height; b->line++) {
        uint32_t src = b->line * b->src_pitch, dst = b->line * b->dst_pitch;
        keep_all(b, &l);
        get_bytes(c, (back ? b->src - src : b->src + src) - first, l.src, b->width);
        store_line(c, &l, (back ? b->dst - dst : b->dst + dst) - first);
    }
}

/* How many bytes the processor moves for one line (or for the whole pattern). */
static uint32_t line_bytes(const struct cirrus_blt *b)
{
    if (b->to_system) {
        return (b->width + 3) & ~3u;
    }
    if (b->mode & BLT_PATTERN) {
        return b->mode & BLT_EXPAND ? 8 : 8 * pattern_pitch(b);
    }
    return b->mode & BLT_EXPAND ? bits_pitch(b) : (b->width + 3) & ~3u;
}

static void fed_line(struct cirrus *c)
{
    struct cirrus_blt *b = &c->blt;
    struct blt_line l;
    if (b->mode & BLT_PATTERN) {
        for (; b->line < b->height; b->line++) {
            keep_all(b, &l);
            pattern_line(c, &l, b->bytes);
        }
        return;
    }
    keep_all(b, &l);
    source_line(c, &l, b->bytes);
    b->line++;
}

/* Bytes beyond the end of the blit in its last double word are dropped. */
void cirrus_blt_feed(struct cirrus *c, uint64_t val, unsigned size)
{
    struct cirrus_blt *b = &c->blt;
    for (unsigned i = 0; i < size && b->to_screen; i++, val >>= 8) {
        b->bytes[b->at++] = (uint8_t)val;
        if (b->at == line_bytes(b)) {
            b->at = 0;
            fed_line(c);
        }
        if (b->line == b->height) {
            finish(c);
        }
    }
}

uint64_t cirrus_blt_drain(struct cirrus *c, unsigned size)
{
    struct cirrus_blt *b = &c->blt;
    uint64_t val = 0;
    for (unsigned i = 0; i < size && b->to_system; i++) {
        uint32_t at = b->src + b->line * b->src_pitch + b->at;
        val |= (uint64_t)c->base.vga.vram.host[at & c->mask] << (8 * i);
        if (++b->at == line_bytes(b)) {
            b->at = 0;
            b->line++;
        }
        if (b->line == b->height) {
            finish(c);
        }
    }
    return val;
}

static uint32_t gr16(const struct vga *v, unsigned i)
{
    return load_le16(v->gr + i);
}

static uint32_t gr24(const struct vga *v, unsigned i)
{
    return gr16(v, i) | (uint32_t)v->gr[i + 2] << 16;
}

static void latch(struct cirrus *c)
{
    const struct vga *v = cirrus_vga(c);
    struct cirrus_blt *b = &c->blt;
    b->mode = v->gr[0x30];
    b->ext = v->gr[0x33];
    b->rop = v->gr[0x32];
    b->skip = v->gr[0x2f] & 0x1f;
    b->width = gr16(v, 0x20) + 1;
    b->height = gr16(v, 0x22) + 1;
    b->dst_pitch = gr16(v, 0x24);
    b->src_pitch = gr16(v, 0x26);
    b->dst = gr24(v, 0x28);
    b->src = gr24(v, 0x2c);
    b->key = gr16(v, 0x34);
    b->bg = (uint32_t)(v->gr[0x00] | v->gr[0x10] << 8 | v->gr[0x12] << 16) | (uint32_t)v->gr[0x14]
                                                                                 << 24;
    b->fg = (uint32_t)(v->gr[0x01] | v->gr[0x11] << 8 | v->gr[0x13] << 16) | (uint32_t)v->gr[0x15]
                                                                                 << 24;
    b->line = b->at = 0;
}

/* Solid fill is expansion of a pattern of ones. */
static bool solid(const struct cirrus_blt *b)
{
    return (b->ext & BLT_SOLID) && (b->mode & (BLT_TO_SYSTEM | BLT_TRANSPARENT | BLT_PATTERN |
                                               BLT_EXPAND)) == (BLT_PATTERN | BLT_EXPAND);
}

/* Combinations the part does not have. */
static bool impossible(const struct cirrus_blt *b)
{
    bool system = b->mode & BLT_FROM_SYSTEM;
    return ((b->mode & BLT_TO_SYSTEM) && (system || (b->mode & (BLT_PATTERN | BLT_EXPAND)))) ||
           ((b->mode & BLT_TRANSPARENT) && !(b->mode & BLT_EXPAND) && pixel_bytes(b) > 2);
}

void cirrus_blt_start(struct cirrus *c)
{
    struct vga *v = cirrus_vga(c);
    struct cirrus_blt *b = &c->blt;
    finish(c); /* a transfer under way ends here */
    latch(c);
    if (impossible(b)) {
        guest_odd(v->d, "blit mode 0x%02x does not exist", b->mode);
        return;
    }
    if (solid(b)) {
        blit_solid(c);
    } else if (b->mode & BLT_TO_SYSTEM) {
        b->to_system = true;
    } else if (b->mode & BLT_FROM_SYSTEM) {
        b->to_screen = true;
    } else if (b->mode & BLT_PATTERN) {
        blit_pattern(c);
    } else if (b->mode & BLT_EXPAND) {
        blit_bits(c);
    } else {
        blit_copy(c);
    }
    if (b->to_screen || b->to_system) {
        v->gr[0x31] |= BLT_BUSY | BLT_FIFO | BLT_START;
        cirrus_update_lend(c);
    }
}

void cirrus_blt_control(struct cirrus *c, uint8_t val)
{
    struct vga *v = cirrus_vga(c);
    uint8_t was = v->gr[0x31], status = BLT_BUSY | BLT_FIFO;
    v->gr[0x31] = (uint8_t)((val & ~status) | (was & status));
    if ((was & BLT_RESET) && !(val & BLT_RESET)) {
        finish(c);
    } else if (!(was & BLT_START) && (val & BLT_START)) {
        cirrus_blt_start(c);
    }
}

int cirrus_blt_loaded(struct cirrus *c, struct err *e)
{
    const struct cirrus_blt *b = &c->blt;
    if (!b->to_screen && !b->to_system) {
        return 0;
    }
    if (b->width == 0 || b->line >= b->height || b->at >= line_bytes(b) ||
        (b->to_screen && b->to_system) || b->skip > 0x1f) {
        return err_set(e, -EINVAL, "%s: blt is beyond its own end", c->base.pci.dev.id);
    }
    return 0;
}
