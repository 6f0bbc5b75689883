/* SPDX-License-Identifier: MIT */
/* hw/display/vga-draw.c - from registers and video memory to pixels.
 *
 * Runs only when a viewer asks. Each refresh works out the frame from the registers (sizes, start,
 * addressing, colours); if that differs from the last one everything is drawn, otherwise only lines
 * on pages that changed (graphics) or cells that changed (text, vga-text.c). One walk over scan
 * lines serves all modes: row scan counts, double scan, split screen and panning are the CRTC's.
 * Double-width dots are drawn as two pixels, so 320x200 shows as 640x400.
 * Left out: borders, retrace positions, skew, and the interlaced modes.
 * Reference: IBM VGA XGA Technical Reference (1992), chapter 2, "CRT Controller" and "Attribute
 * Controller"; FreeVGA, "VGA Text Mode Operation" and "VGA Display Memory".
 */
#include "hw/display/vga-int.h"

#include "dm/base/bytes.h"

#include <string.h>

#define PAGE 4096u
#define MAX_PLANAR_COLUMNS (CON_MAX_WIDTH / 8 + 1) /* one more for panning */

void vga_scan_first(const struct vga_frame *f, struct vga_scan *s)
{
    *s = (struct vga_scan){ .start = f->start, .ra = f->first_scan, .pan = f->pan, .fresh = true };
}

void vga_scan_next(const struct vga_frame *f, struct vga_scan *s)
{
    s->fresh = false;
    if (s->y++ == f->split) {
        s->start = s->ra = 0;
        s->pan = f->pan_top_only ? 0 : f->pan;
        s->repeat = false;
        s->fresh = true;
    } else if (f->scan_twice && !s->repeat) {
        s->repeat = true;
    } else {
        s->repeat = false;
        s->ra = (s->ra + 1) & 31;
        if (s->ra == ((f->max_scan + 1) & 31)) {
            s->ra = 0;
            s->start += f->pitch;
            s->fresh = true;
        }
    }
}

/* The address multiplexer: display counter c to display address. */
static uint32_t display_address(const struct vga_frame *f, uint32_t c, uint32_t ra)
{
    uint32_t a = c;
    if (f->addressing == VGA_WORDS) {
        a = c << 1 | (c >> f->wrap_bit & 1);
    } else if (f->addressing == VGA_DWORDS) {
        a = c << 2 | (c >> 14 & 3);
    }
    if (!(f->row_bits & 1)) {
        a = (a & ~0x2000u) | (ra & 1) << 13;
    }
    if (!(f->row_bits & 2)) {
        a = (a & ~0x4000u) | (ra >> 1 & 1) << 14;
    }
    return a & f->address_mask;
}

uint32_t vga_fetch(const struct vga *v, const struct vga_frame *f, uint32_t c, uint32_t ra)
{
    return load_le32(v->vram.host + (display_address(f, c, ra) * 4 & v->vram_mask & ~3u));
}

/* Start of the picture, panning and the row scan machinery, from the CRTC. */
static void crtc_frame(const struct vga *v, struct vga_frame *f)
{
    const uint8_t *cr = v->cr;
    f->columns = cr[0x01] + 1u;
    f->height = (cr[0x12] | (cr[0x07] & 0x02) << 7 | (cr[0x07] & 0x40) << 3) + 1u;
    f->start = (cr[0x0c] << 8 | cr[0x0d]) + (cr[0x08] >> 5 & 3u);
    f->pitch = cr[0x13] * 2u;
    f->split = cr[0x18] | (cr[0x07] & 0x10) << 4 | (cr[0x09] & 0x40) << 3;
    f->first_scan = cr[0x08] & 0x1f;
    f->max_scan = cr[0x09] & 0x1f;
    f->scan_twice = cr[0x09] & 0x80;
    f->addressing = cr[0x14] & 0x40 ? VGA_DWORDS : cr[0x17] & 0x40 ? VGA_BYTES : VGA_WORDS;
    f->wrap_bit = cr[0x17] & 0x20 ? 15 : 13;
    f->row_bits = cr[0x17] & 3;
    f->address_mask = 0xffff;
    f->pan_top_only = v->ar[0x10] & 0x20;
    f->dot_twice = v->sr[1] & 0x08;
}

static void text_frame(const struct vga *v, struct vga_frame *f)
{
    uint8_t maps = v->sr[3];
    f->kind = VGA_TEXT;
    f->dots = v->sr[1] & 0x01 ? 8 : 9;
    f->pan = f->dots == 9 ? (v->ar[0x13] + 1u) % 9 : v->ar[0x13] & 7u;
    f->font[0] = (maps & 3u) * 0x4000 + (maps >> 4 & 1u) * 0x2000;
    f->font[1] = (maps >> 2 & 3u) * 0x4000 + (maps >> 5 & 1u) * 0x2000;
    f->blink = v->ar[0x10] & 0x08;
    f->line_graphics = v->ar[0x10] & 0x04;
    f->underline = v->cr[0x14] & 0x1f;
}

static void planar_frame(const struct vga *v, struct vga_frame *f)
{
    f->kind = VGA_PLANAR;
    f->dots = 8;
    f->shift = v->gr[5] >> 5 & 3;
    f->pan = f->shift & 2 ? v->ar[0x13] & 6u : v->ar[0x13] & 7u;
}

/* Nothing is shown before the CRTC runs and while the palette is with the processor. */
static bool blank(const struct vga *v)
{
    return !(v->ar_index & 0x20) || !(v->cr[0x17] & 0x80);
}

bool vga_screen_off(const struct vga *v)
{
    return v->sr[1] & 0x20;
}

void vga_frame_legacy(const struct vga *v, struct vga_frame *f)
{
    if (blank(v)) {
        return;
    }
    crtc_frame(v, f);
    if (v->gr[6] & 1) {
        planar_frame(v, f);
    } else {
        text_frame(v, f);
    }
    f->width = f->columns * f->dots * (f->dot_twice ? 2u : 1u);
}

void vga_no_overlay_moved(struct vga *v, uint32_t *from, uint32_t *to)
{
    (void)v;
    *from = *to = 0;
}

void vga_no_overlay(const struct vga *v, uint32_t y, uint32_t *row, uint32_t width)
{
    (void)v;
    (void)y;
    (void)row;
    (void)width;
}

static uint32_t dac_pixel(const struct vga *v, unsigned index)
{
    const uint8_t *c = v->dac + (index & v->dac_mask) * 3u;
    uint32_t rgb = (uint32_t)(c[0] << 16 | c[1] << 8 | c[2]);
    return vga_dac8(v) ? rgb : vga_rgb6(rgb);
}

/* Attribute colour i as a DAC index. */
static unsigned attribute_index(const struct vga *v, unsigned i)
{
    unsigned p = v->ar[i & v->ar[0x12] & 15];
    if (v->ar[0x10] & 0x80) {
        return (p & 15) | (v->ar[0x14] & 15u) << 4;
    }
    return p | (v->ar[0x14] & 12u) << 4;
}

/* Works out all colours; true when one changed. */
static bool update_colours(struct vga *v)
{
    uint32_t lut[256], text[16];
    for (unsigned i = 0; i < 256; i++) {
        lut[i] = dac_pixel(v, i);
    }
    for (unsigned i = 0; i < 16; i++) {
        text[i] = dac_pixel(v, attribute_index(v, i));
    }
    if (!memcmp(lut, v->lut, sizeof(lut)) && !memcmp(text, v->text_lut, sizeof(text))) {
        return false;
    }
    memcpy(v->lut, lut, sizeof(lut));
    memcpy(v->text_lut, text, sizeof(text));
    return true;
}

void vga_put_dots(struct vga *v, const struct vga_frame *f, uint32_t y, uint32_t x,
                  const uint8_t *dots, uint32_t n, const uint32_t *lut)
{
    uint32_t *out = v->con->pixels + (size_t)y * v->con->width + x;
    if (!f->dot_twice) {
        for (uint32_t i = 0; i < n; i++) {
            out[i] = lut[dots[i]];
        }
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        out[2 * i] = out[2 * i + 1] = lut[dots[i]];
    }
}

/* The 8 bits of b as 8 bytes of 0 or 1, the most significant first in memory. */
static uint64_t bits_to_bytes(uint8_t b)
{
    uint64_t x = b * 0x0101010101010101ull & 0x0102040810204080ull;
    return (x + 0x7f7f7f7f7f7f7f7full) >> 7 & 0x0101010101010101ull;
}

/* Four planes, a bit each a dot. */
static void shift_planar(uint8_t *dots, uint32_t data)
{
    uint64_t x = bits_to_bytes((uint8_t)data) | bits_to_bytes((uint8_t)(data >> 8)) << 1 |
                 bits_to_bytes((uint8_t)(data >> 16)) << 2 |
                 bits_to_bytes((uint8_t)(data >> 24)) << 3;
    store_le(dots, 8, x);
}

/* CGA: pairs of bits of planes 0 and 2, then of 1 and 3. */
static void shift_interleaved(uint8_t *dots, uint32_t data)
{
    for (unsigned i = 0; i < 8; i++) {
        unsigned byte = i < 4 ? 0 : 8, at = 6 - 2 * (i & 3);
        dots[i] = (uint8_t)((data >> (byte + at) & 3) | (data >> (byte + 16 + at) & 3) << 2);
    }
}

/* A plane after the other, a byte for two dots. */
static void shift_256(uint8_t *dots, uint32_t data)
{
    for (unsigned i = 0; i < 8; i++) {
        dots[i] = (uint8_t)(data >> (8 * (i / 2)));
    }
}

static void draw_planar_line(struct vga *v, const struct vga_frame *f, const struct vga_scan *s)
{
    static void (*const shift[4])(uint8_t *, uint32_t) = { shift_planar, shift_interleaved,
                                                           shift_256, shift_256 };
    uint8_t dots[MAX_PLANAR_COLUMNS * 8];
    uint32_t columns = f->columns + (s->pan ? 1 : 0);
    for (uint32_t i = 0; i < columns; i++) {
        shift[f->shift](dots + i * 8, vga_fetch(v, f, s->start + i, s->ra));
    }
    vga_put_dots(v, f, s->y, 0, dots + s->pan, f->columns * 8, f->shift & 2 ? v->lut : v->text_lut);
}

/* One line's bytes, put together in scratch where they wrap around the end of video memory. */
static const uint8_t *linear_bytes(struct vga *v, uint32_t off, uint32_t len)
{
    uint64_t room;
    off &= v->vram_mask;
    room = v->vram.len - off;
    if (len <= room) {
        return v->vram.host + off;
    }
    memcpy(v->scratch, v->vram.host + off, room);
    memcpy(v->scratch + room, v->vram.host, len - room);
    return v->scratch;
}

static uint32_t pixel_555(unsigned c)
{
    uint32_t r = c >> 10 & 31, g = c >> 5 & 31, b = c & 31;
    return (r << 3 | r >> 2) << 16 | (g << 3 | g >> 2) << 8 | (b << 3 | b >> 2);
}

static uint32_t pixel_565(unsigned c)
{
    uint32_t r = c >> 11 & 31, g = c >> 5 & 63, b = c & 31;
    return (r << 3 | r >> 2) << 16 | (g << 2 | g >> 4) << 8 | (b << 3 | b >> 2);
}

static void draw_linear_line(struct vga *v, const struct vga_frame *f, const struct vga_scan *s)
{
    uint32_t *out = v->con->pixels + (size_t)s->y * v->con->width, n = f->width;
    const uint8_t *in = linear_bytes(v, s->start, n * ((f->bpp + 7u) / 8));
    switch (f->bpp) {
    case 8:
        for (uint32_t x = 0; x < n; x++) {
            out[x] = v->lut[in[x]];
        }
        break;
    case 15:
        for (uint32_t x = 0; x < n; x++) {
            out[x] = pixel_555(load_le16(in + 2 * x));
        }
        break;
    case 16:
        for (uint32_t x = 0; x < n; x++) {
            out[x] = pixel_565(load_le16(in + 2 * x));
        }
        break;
    case 24:
        for (uint32_t x = 0; x < n; x++) {
            out[x] = (uint32_t)(in[3 * x + 2] << 16 | in[3 * x + 1] << 8 | in[3 * x]);
        }
        break;
    default:
        for (uint32_t x = 0; x < n; x++) {
            out[x] = load_le32(in + 4 * x) & 0xffffff;
        }
        break;
    }
}

/* Bytes [off, off + len) of video memory, modulo its size: did a page of them change? */
static bool bytes_dirty(const struct vga *v, uint32_t off, uint64_t len)
{
    uint64_t pages = v->vram.len / PAGE;
    uint64_t n;
    off &= v->vram_mask;
    n = min_u64(pages, (off % PAGE + len + PAGE - 1) / PAGE);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t page = (off / PAGE + i) % pages;
        if (v->dirty[page / 64] >> (page % 64) & 1) {
            return true;
        }
    }
    return false;
}

static bool line_dirty(const struct vga *v, const struct vga_frame *f, const struct vga_scan *s)
{
    if (f->kind == VGA_LINEAR) {
        return bytes_dirty(v, s->start, f->width * ((f->bpp + 7u) / 8));
    }
    uint32_t first = display_address(f, s->start, s->ra);
    uint32_t last = display_address(f, s->start + f->columns, s->ra);
    if (last < first) { /* around the end of the planes */
        return bytes_dirty(v, 0, v->vram.len);
    }
    return bytes_dirty(v, first * 4, (last - first + 1) * 4ull);
}

/* Asks for the pages that may be on the screen. Bits outside what was asked for stay as they are,
 * and no line that is looked up lies there. */
static void ask_dirty(struct vga *v, const struct vga_frame *f)
{
    uint64_t off = 0, end = v->vram.len;
    if (f->kind == VGA_PLANAR) {
        end = min_u64(end, (f->address_mask + 1ull) * 4);
    } else if (f->split >= f->height && f->start + (uint64_t)f->pitch * f->height < end) {
        /* the bitmap starts at a whole word so that bit n of it stays page n */
        off = f->start / (64 * PAGE) * (64 * PAGE);
        end = min_u64(end, f->start + (uint64_t)f->pitch * (f->height - 1) + f->width * 4ull);
        end = min_u64(v->vram.len, (end + PAGE - 1) / PAGE * PAGE);
    }
    gmem_block_dirty(v->d->m, &v->vram, off, end - off, v->dirty + off / PAGE / 64);
}

/* Rectangles of whole lines: touching ones are reported as one. */
struct band {
    uint32_t from, to;
};

static void band_flush(struct vga *v, struct band *b)
{
    if (b->to > b->from) {
        con_damage(v->con, 0, b->from, v->con->width, b->to - b->from);
    }
    b->from = b->to = 0;
}

static void band_add(struct vga *v, struct band *b, uint32_t y)
{
    if (b->to != y || b->to == b->from) {
        band_flush(v, b);
        b->from = y;
    }
    b->to = y + 1;
}

static void draw_graphics(struct vga *v, const struct vga_frame *f, bool full)
{
    struct band band = { 0, 0 };
    struct vga_scan s;
    uint32_t from, to;
    v->chip->overlay_moved(v, &from, &to);
    if (!full) {
        ask_dirty(v, f);
    }
    for (vga_scan_first(f, &s); s.y < f->height; vga_scan_next(f, &s)) {
        if (!full && (s.y < from || s.y >= to) && !line_dirty(v, f, &s)) {
            continue;
        }
        if (f->kind == VGA_LINEAR) {
            draw_linear_line(v, f, &s);
        } else {
            draw_planar_line(v, f, &s);
        }
        v->chip->overlay(v, s.y, v->con->pixels + (size_t)s.y * v->con->width, f->width);
        band_add(v, &band, s.y);
    }
    band_flush(v, &band);
}

static void draw_blank(struct vga *v, bool full)
{
    struct con *c = v->con;
    if (full) {
        memset(c->pixels, 0, (size_t)c->width * c->height * 4);
        con_damage(c, 0, 0, c->width, c->height);
    }
}

/* A viewer wants the picture. Nobody looking means that no page tracking is worth its price. */
static void refresh(void *opaque, bool full)
{
    struct vga *v = opaque;
    struct vga_frame f;
    memset(&f, 0, sizeof(f));
    v->chip->frame(v, &f);
    if (f.kind != VGA_BLANK && (f.width != v->con->width || f.height != v->con->height)) {
        if (!con_resize(v->con, f.width, f.height)) {
            return;
        }
        full = true;
    }
    full |=
        update_colours(v) || v->redraw || !v->con->looking || memcmp(&f, &v->shown, sizeof(f)) != 0;
    v->redraw = false;
    v->shown = f;
    if (f.kind == VGA_BLANK) {
        draw_blank(v, full);
    } else if (f.kind == VGA_TEXT) {
        vga_draw_text(v, &f, full);
    } else {
        draw_graphics(v, &f, full);
    }
}

const struct con_screen_ops vga_screen_ops = { refresh };
