/* SPDX-License-Identifier: MIT */
/* hw/display/vga-text.c - text modes: cells, fonts, cursor and blinking.
 *
 * A refresh turns every visible cell into one word (character, attribute, cursor on it, blinked
 * off) and compares it with the word it drew last time, so cursor and blinking need no timer and
 * video memory no dirty tracking. The two fonts in use are copied out of plane 2 and compared too.
 * Left out: CRTC cursor skew, split cursors (start below end shows none, as VGA does).
 * Reference: FreeVGA, "VGA Text Mode Operation".
 */
#include "hw/display/vga-int.h"

#include <string.h>

#define BLINK_NS 266933333 /* 16 frames: the cursor; attributes blink half as fast */
/* A drawn cell: character, attribute << 8, and: */
#define CELL_CURSOR 0x10000u
#define CELL_HIDDEN 0x20000u
#define CELL_CURSOR_FROM(cell) ((cell) >> 20 & 31) /* scan lines */
#define CELL_CURSOR_TO(cell) ((cell) >> 25 & 31)
#define FONT_BYTES (256 * 32)

/* Copies a font out of plane 2; true when it changed. */
static bool update_font(struct vga *v, unsigned map, uint32_t base)
{
    uint8_t font[FONT_BYTES];
    for (uint32_t i = 0; i < FONT_BYTES; i++) {
        font[i] = v->vram.host[((base + i) & 0xffff) * 4 + 2];
    }
    if (!memcmp(font, v->font[map], FONT_BYTES)) {
        return false;
    }
    memcpy(v->font[map], font, FONT_BYTES);
    return true;
}

/* What blinks now, and where the cursor is. */
struct text_now {
    uint32_t cursor;      /* display counter, or none at all */
    uint32_t cursor_cell; /* what a cell under it gets */
    bool hide;            /* characters with attribute bit 7 */
};

static struct text_now text_now(const struct vga *v, const struct vga_frame *f)
{
    uint64_t phase = (uint64_t)vclock_now(v->d->m) / BLINK_NS;
    uint32_t from = v->cr[0x0a] & 0x1f, to = v->cr[0x0b] & 0x1f;
    bool cursor = !(v->cr[0x0a] & 0x20) && from <= to && !(phase & 1);
    return (struct text_now){
        .cursor = cursor ? (uint32_t)(v->cr[0x0e] << 8 | v->cr[0x0f]) : UINT32_MAX,
        .cursor_cell = CELL_CURSOR | from << 20 | to << 25,
        .hide = f->blink && (phase & 2),
    };
}

static uint32_t cell_now(const struct vga *v, const struct vga_frame *f, const struct text_now *now,
                         uint32_t counter)
{
    uint32_t cell = vga_fetch(v, f, counter, 0) & 0xffff;
    if ((counter & 0xffff) == now->cursor) {
        cell |= now->cursor_cell;
    }
    return (cell & 0x8000) && now->hide ? cell | CELL_HIDDEN : cell;
}

struct span {
    uint32_t from, to;
};

/* Brings a row of cells up to date and says which to draw. */
static struct span update_row(struct vga *v, const struct vga_frame *f, const struct text_now *now,
                              const struct vga_scan *s, uint32_t row, bool full)
{
    uint32_t *cells = v->cells + (size_t)row * VGA_MAX_COLUMNS;
    uint32_t n = f->columns + (s->pan ? 1 : 0);
    struct span sp = { n, 0 };
    for (uint32_t i = 0; i < n; i++) {
        uint32_t cell = cell_now(v, f, now, s->start + i);
        if (cell != cells[i] || full) {
            cells[i] = cell;
            sp.from = i < sp.from ? i : sp.from;
            sp.to = i + 1;
        }
    }
    if (sp.to && s->pan) { /* cells are not where columns are: all of them */
        return (struct span){ 0, n };
    }
    return sp;
}

/* One cell's dots on scan line ra. */
static void put_cell(const struct vga *v, const struct vga_frame *f, uint32_t cell, uint32_t ra,
                     uint8_t *dots)
{
    uint8_t ch = (uint8_t)cell, attr = (uint8_t)(cell >> 8);
    uint8_t fg = attr & 15, bg = attr >> 4 & (f->blink ? 7 : 15);
    unsigned bits = v->font[attr >> 3 & 1][ch * 32u + ra] << 1u;
    if (f->line_graphics && ch >= 0xc0 && ch <= 0xdf) {
        bits |= bits >> 1 & 1;
    }
    if (ra == f->underline && (attr & 7) == 1) {
        bits = 0x1ff;
    }
    if (cell & CELL_HIDDEN) {
        bits = 0;
    }
    if ((cell & CELL_CURSOR) && ra >= CELL_CURSOR_FROM(cell) && ra <= CELL_CURSOR_TO(cell)) {
        bits = 0x1ff;
    }
    for (unsigned i = 0; i < f->dots; i++) {
        dots[i] = bits >> (8 - i) & 1 ? fg : bg;
    }
}

static void draw_line(struct vga *v, const struct vga_frame *f, const struct vga_scan *s,
                      const uint32_t *cells, struct span sp)
{
    uint8_t dots[VGA_MAX_COLUMNS * 9];
    uint32_t n = (sp.to - sp.from) * f->dots, x = sp.from * f->dots;
    for (uint32_t i = sp.from; i < sp.to; i++) {
        put_cell(v, f, cells[i], s->ra, dots + (i - sp.from) * f->dots);
    }
    if (s->pan) {
        n = f->columns * f->dots;
    }
    vga_put_dots(v, f, s->y, f->dot_twice ? 2 * x : x, dots + s->pan, n, v->text_lut);
}

/* Reports the lines from s, where a row began, up to line to: after they were drawn, since a viewer
 * copies at once. */
static void damage_row(struct vga *v, const struct vga_frame *f, const struct vga_scan *s,
                       struct span sp, uint32_t to)
{
    uint32_t width = f->dots * (f->dot_twice ? 2u : 1u);
    uint32_t last = sp.to < f->columns ? sp.to : f->columns;
    if (sp.from < last) {
        con_damage(v->con, sp.from * width, s->y, (last - sp.from) * width, to - s->y);
    }
}

void vga_draw_text(struct vga *v, const struct vga_frame *f, bool full)
{
    struct text_now now = text_now(v, f);
    struct span sp = { 0, 0 };
    struct vga_scan s, top = { 0 };
    uint32_t row = 0;
    full |= update_font(v, 0, f->font[0]);
    full |= update_font(v, 1, f->font[1]);
    for (vga_scan_first(f, &s); s.y < f->height; vga_scan_next(f, &s)) {
        if (s.fresh) {
            damage_row(v, f, &top, sp, s.y);
            sp = update_row(v, f, &now, &s, row++, full);
            top = s;
        }
        if (sp.from < sp.to) {
            draw_line(v, f, &s, v->cells + (size_t)(row - 1) * VGA_MAX_COLUMNS, sp);
        }
    }
    damage_row(v, f, &top, sp, f->height);
}
