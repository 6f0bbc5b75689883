/* SPDX-License-Identifier: MIT */
/* hw/display/edid.c - what the screen says about itself: one EDID 1.4 base block.
 *
 * Names only modes that fit the video memory at 32 bits a pixel; the preferred one has CVT reduced
 * blanking timings at 60 Hz. Left out: extension blocks, colour characteristics beyond sRGB.
 * Reference: VESA E-EDID Standard 1.4, section 3; VESA CVT 1.1, section 5.
 */
#include "hw/display/vga-int.h"

#include "dm/base/bytes.h"

#include <string.h>

struct mode {
    uint16_t width, height;
};

static bool fits(const struct mode *m, uint64_t vram_bytes)
{
    return (uint64_t)m->width * m->height * 4 <= vram_bytes;
}

static void established(uint8_t *edid, uint64_t vram_bytes)
{
    static const struct {
        struct mode mode;
        uint8_t byte, bit;
    } list[] = {
        { { 640, 480 }, 35, 0x20 },
        { { 800, 600 }, 35, 0x01 },
        { { 1024, 768 }, 36, 0x08 },
    };
    for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
        if (fits(&list[i].mode, vram_bytes)) {
            edid[list[i].byte] |= list[i].bit;
        }
    }
}

/* Aspect ratio code of a standard timing: 16:10, 4:3, 5:4, 16:9. */
static unsigned aspect(const struct mode *m)
{
    static const uint8_t ratio[4][2] = { { 16, 10 }, { 4, 3 }, { 5, 4 }, { 16, 9 } };
    unsigned i = 0;
    while (i < 3 && m->width * ratio[i][1] != m->height * ratio[i][0]) {
        i++;
    }
    return i;
}

static void standard(uint8_t *edid, uint64_t vram_bytes)
{
    static const struct mode list[] = {
        { 1920, 1200 }, { 1920, 1080 }, { 1600, 1200 }, { 1680, 1050 },
        { 1440, 900 },  { 1280, 1024 }, { 1280, 960 },  { 1280, 720 },
    };
    uint8_t *p = edid + 38;
    memset(p, 0x01, 16); /* 01 01: unused */
    for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
        if (fits(&list[i], vram_bytes)) {
            p[0] = (uint8_t)(list[i].width / 8 - 31);
            p[1] = (uint8_t)(aspect(&list[i]) << 6); /* 60 Hz */
            p += 2;
        }
    }
}

/* CVT reduced blanking: 160 pixels, and at least 460 us of lines. */
static void detailed(uint8_t *p, const struct mode *m)
{
    unsigned hblank = 160, hfront = 48, hsync = 32, vfront = 3, vsync = 6;
    unsigned line_ns = (1000000000u / 60 - 460000) / m->height;
    unsigned vblank = 460000 / line_ns + 1;
    unsigned clock_hz = (m->width + hblank) * (m->height + vblank) * 60u;
    store_le(p, 2, clock_hz / 250000 * 25); /* whole quarters of a MHz, in 10 kHz */
    p[2] = (uint8_t)m->width;
    p[3] = (uint8_t)hblank;
    p[4] = (uint8_t)(m->width >> 8 << 4 | hblank >> 8);
    p[5] = (uint8_t)m->height;
    p[6] = (uint8_t)vblank;
    p[7] = (uint8_t)(m->height >> 8 << 4 | vblank >> 8);
    p[8] = (uint8_t)hfront;
    p[9] = (uint8_t)hsync;
    p[10] = (uint8_t)(vfront << 4 | vsync);
    p[12] = 0x40; /* 320 mm by 200 mm */
    p[13] = 200;
    p[14] = 0x10;
    p[17] = 0x1a; /* digital separate sync, horizontal positive */
}

static void text_descriptor(uint8_t *p, uint8_t tag, const char *text)
{
    size_t n = strlen(text);
    p[3] = tag;
    memset(p + 5, ' ', 13);
    memcpy(p + 5, text, n);
    p[5 + n] = '\n';
}

static void range_descriptor(uint8_t *p)
{
    /* 50..75 Hz, 30..90 kHz, up to 200 MHz, no formula */
    static const uint8_t range[18] = { 0,  0, 0,  0xfd, 0,   50,  75,  30,  90,
                                       20, 1, 10, ' ',  ' ', ' ', ' ', ' ', ' ' };
    memcpy(p, range, sizeof(range));
}

static const struct mode *preferred(uint64_t vram_bytes)
{
    static const struct mode list[] = { { 1280, 800 }, { 1024, 768 }, { 800, 600 }, { 640, 480 } };
    size_t i = 0;
    while (i + 1 < ARRAY_SIZE(list) && !fits(&list[i], vram_bytes)) {
        i++;
    }
    return &list[i];
}

void vga_edid(uint8_t edid[128], uint64_t vram_bytes)
{
    static const uint8_t head[35] = {
        0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, /* signature */
        0x2c, 0xac,                                     /* "KEL", five bits a letter */
        0x01, 0x00, 0x00, 0x00, 0x00, 0x00,             /* product 1, no serial number */
        0x01, 0x22, 0x01, 0x04,                         /* week 1 of 2024, EDID 1.4 */
        0xa0, 32,   20,   0x78, 0x06,                   /* digital, 8 bits; cm; gamma; sRGB */
        0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54, /* sRGB primaries */
    };
    uint8_t sum = 0;
    memset(edid, 0, 128);
    memcpy(edid, head, sizeof(head));
    established(edid, vram_bytes);
    standard(edid, vram_bytes);
    detailed(edid + 54, preferred(vram_bytes));
    range_descriptor(edid + 72);
    text_descriptor(edid + 90, 0xfc, "Keel");
    text_descriptor(edid + 108, 0xff, "1");
    for (unsigned i = 0; i < 127; i++) {
        sum = (uint8_t)(sum + edid[i]);
    }
    edid[127] = (uint8_t)-sum;
}
