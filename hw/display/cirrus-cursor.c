/* SPDX-License-Identifier: MIT */
/* hw/display/cirrus-cursor.c - the GD5446's hardware cursor, put over lines as they are drawn.
 *
 * 32x32 or 64x64 pixels of two bits in the last 16 KiB of the chip's memory: 0 screen, 1 screen
 * inverted, 2 and 3 the two cursor colours. A change of place, shape or colour redraws the lines it
 * left and the lines it reached.
 * Reference: CL-GD5446 Technical Reference Manual, "Hardware Cursor" and SR10-SR13.
 */
#include "hw/display/cirrus-int.h"

#include "dm/base/bytes.h"

#include <string.h>

#define PATTERNS (16 * 1024) /* from the end of memory */

static uint32_t cursor_size(const struct vga *v)
{
    if (!(v->sr[0x12] & SR12_CURSOR) || !(v->sr[0x07] & SR7_EXTENDED)) {
        return 0;
    }
    return v->sr[0x12] & SR12_CURSOR_64 ? 64 : 32;
}

/* 32x32: both planes, 128 bytes each, in one of 64 places; 64x64: lines of 8 bytes of each plane,
 * in one of 16. */
static const uint8_t *cursor_pattern(const struct vga *v, uint32_t size)
{
    uint32_t place = v->sr[0x13] & (size == 64 ? 0x3cu : 0x3fu);
    return v->vram.host + (cirrus_of(v)->mask + 1 - PATTERNS) + place * 256;
}

static uint32_t cursor_colour(const struct vga *v, unsigned i)
{
    const uint8_t *c = cirrus_of(v)->cursor_dac + i * 3;
    return vga_rgb6((uint32_t)(c[0] << 16 | c[1] << 8 | c[2]));
}

static uint64_t hash(const uint8_t *p, size_t len)
{
    uint64_t h = 0xcbf29ce484222325ull;
    for (size_t i = 0; i < len; i += 8) {
        h = (h ^ load_le64(p + i)) * 0x100000001b3ull;
        h ^= h >> 29;
    }
    return h;
}

static struct cirrus_cursor cursor_now(const struct vga *v)
{
    struct cirrus_cursor k;
    memset(&k, 0, sizeof(k));
    k.size = cursor_size(v);
    if (k.size) {
        k.x = cirrus_of(v)->cursor_x;
        k.y = cirrus_of(v)->cursor_y;
        k.colour[0] = cursor_colour(v, 0);
        k.colour[1] = cursor_colour(v, 15);
        k.shape = hash(cursor_pattern(v, k.size), k.size * k.size / 4);
    }
    return k;
}

void cirrus_cursor_moved(struct vga *v, uint32_t *from, uint32_t *to)
{
    struct cirrus *c = cirrus_of(v);
    struct cirrus_cursor now = cursor_now(v), was = c->drawn;
    *from = *to = 0;
    if (!memcmp(&now, &was, sizeof(now))) {
        return;
    }
    c->drawn = now;
    *from = UINT32_MAX;
    if (was.size) {
        *from = was.y;
        *to = was.y + was.size;
    }
    if (now.size) {
        *from = now.y < *from ? now.y : *from;
        *to = now.y + now.size > *to ? now.y + now.size : *to;
    }
}

static uint64_t bits_of_line(const uint8_t *p, uint32_t size)
{
    return size == 64 ? __builtin_bswap64(load_le64(p))
                      : (uint64_t)__builtin_bswap32(load_le32(p)) << 32;
}

void cirrus_cursor_draw(const struct vga *v, uint32_t y, uint32_t *row, uint32_t width)
{
    const struct cirrus_cursor *k = &cirrus_of(v)->drawn;
    if (y < k->y || y >= k->y + k->size) {
        return;
    }
    const uint8_t *p = cursor_pattern(v, k->size) + (y - k->y) * (k->size == 64 ? 16 : 4);
    uint64_t invert = bits_of_line(p, k->size);
    uint64_t solid = bits_of_line(p + (k->size == 64 ? 8 : 128), k->size);
    for (uint32_t i = 0; i < k->size && k->x + i < width; i++) {
        uint32_t *out = row + k->x + i;
        if (solid >> (63 - i) & 1) {
            *out = k->colour[invert >> (63 - i) & 1];
        } else if (invert >> (63 - i) & 1) {
            *out ^= 0xffffff;
        }
    }
}
