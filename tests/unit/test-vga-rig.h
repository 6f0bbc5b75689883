/* SPDX-License-Identifier: MIT */
/* tests/unit/test-vga-rig.h - a machine with one display device, for the display tests. */
#ifndef TEST_VGA_RIG_H
#define TEST_VGA_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <zlib.h>

#include "dm/base/bytes.h"
#include "hw/display/vga.h"
#include "hw/pci/i440fx.h"
#include "hw/pci/rom.h"
#include "ioreq/flat.h"
#include "ui/con.h"

#define BAR0 0xe0000000u
#define BAR1 0xd0000000u /* Cirrus registers */
#define BAR2 0xd0000000u /* VGA registers */
#define DEVFN PCI_DEVFN(2, 0)

struct rig {
    struct flat_host *f;
    struct machine *m;
    struct con *con;
    struct device *dev;
    struct con_viewer viewer;
    int init_error;          /* what dev_init said; dev is NULL unless it is 0 */
    unsigned damaged;        /* rectangles since rig_look */
    unsigned x0, y0, x1, y1; /* their bounding box */
    uint32_t *copy;          /* what a viewer has that copies each rectangle as it is reported */
};

static void rig_damage(void *opaque, unsigned x, unsigned y, unsigned w, unsigned h)
{
    struct rig *r = opaque;
    assert_true(w > 0 && h > 0 && x + w <= r->con->width && y + h <= r->con->height);
    r->x0 = !r->damaged || x < r->x0 ? x : r->x0;
    r->y0 = !r->damaged || y < r->y0 ? y : r->y0;
    r->x1 = !r->damaged || x + w > r->x1 ? x + w : r->x1;
    r->y1 = !r->damaged || y + h > r->y1 ? y + h : r->y1;
    r->damaged++;
    for (unsigned row = y; row < y + h; row++) {
        size_t at = (size_t)row * r->con->width + x;
        memcpy(r->copy + at, r->con->pixels + at, w * sizeof(uint32_t));
    }
}

static void rig_resized(void *opaque)
{
    struct rig *r = opaque;
    size_t bytes = (size_t)r->con->width * r->con->height * sizeof(uint32_t);
    free(r->copy);
    r->copy = malloc(bytes);
    assert_non_null(r->copy);
    memcpy(r->copy, r->con->pixels, bytes);
}

static inline void cfg_write(struct rig *r, unsigned reg, unsigned size, uint32_t val)
{
    pci_cfg_write(r->m, 0, DEVFN, reg, size, val);
}

static inline uint32_t cfg_read(struct rig *r, unsigned reg, unsigned size)
{
    return pci_cfg_read(r->m, 0, DEVFN, reg, size);
}

/* lend: whether the host lends video memory; if not, BAR0 accesses pass the door. rom may be NULL.
 */
static inline struct rig *rig_with_rom(const struct dev_class *class, uint32_t mb, bool lend,
                                       struct pci_rom *rom)
{
    struct rig *r = calloc(1, sizeof(*r));
    struct device *bridge;
    struct err e = { 0 };
    r->f = flat_new(1 << 20);
    r->f->refuse_lend = !lend;
    r->m = machine_new("test", &flat_host_ops, r->f);
    r->con = con_new();
    machine_enter(r->m);
    bridge = dev_new(r->m, &i440fx_class, NULL);
    assert_int_equal(dev_init(bridge, &e), 0);
    r->dev = dev_new(r->m, class, "display");
    dev_set_str(r->dev, "addr", "2");
    dev_set_u32(r->dev, "vgamem_mb", mb);
    dev_set_ptr(r->dev, "con", r->con);
    dev_set_ptr(r->dev, "rom", rom);
    r->init_error = dev_init(r->dev, &e);
    if (r->init_error) {
        dev_free(r->dev);
        r->dev = NULL;
    }
    machine_set_run_state(r->m, RUN_RUNNING);
    cfg_write(r, PCI_BAR0, 4, BAR0);
    cfg_write(r, PCI_BAR0 + 4, 4, BAR1);
    cfg_write(r, PCI_BAR0 + 8, 4, BAR2);
    cfg_write(r, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
    machine_leave(r->m);
    r->viewer = (struct con_viewer){ rig_damage, rig_resized, r, NULL };
    con_add_viewer(r->con, &r->viewer);
    rig_resized(r);
    return r;
}

static inline struct rig *rig_new(const struct dev_class *class, uint32_t mb, bool lend)
{
    struct rig *r = rig_with_rom(class, mb, lend, NULL);
    assert_int_equal(r->init_error, 0);
    return r;
}

static inline void rig_free(struct rig *r)
{
    free(r->copy);
    con_del_viewer(r->con, &r->viewer);
    machine_free(r->m);
    con_free(r->con);
    flat_free(r->f);
    free(r);
}

static inline void outb(struct rig *r, unsigned port, unsigned val)
{
    io_write(r->m, IO_PIO, port, 1, val);
}

static inline uint8_t inb(struct rig *r, unsigned port)
{
    return (uint8_t)io_read(r->m, IO_PIO, port, 1);
}

static inline void outw(struct rig *r, unsigned port, unsigned val)
{
    io_write(r->m, IO_PIO, port, 2, val);
}

/* Index port, index, value: a word write as drivers do it. */
static inline void set(struct rig *r, unsigned port, unsigned index, unsigned val)
{
    outw(r, port, val << 8 | index);
}

static inline uint8_t get(struct rig *r, unsigned port, unsigned index)
{
    outb(r, port, index);
    return inb(r, port + 1);
}

static inline void mem_write(struct rig *r, uint32_t addr, unsigned size, uint64_t val)
{
    io_write(r->m, IO_MMIO, addr, size, val);
}

static inline uint64_t mem_read(struct rig *r, uint32_t addr, unsigned size)
{
    return io_read(r->m, IO_MMIO, addr, size);
}

static inline void vbe_set(struct rig *r, unsigned index, unsigned val)
{
    outw(r, 0x1ce, index);
    outw(r, 0x1cf, val);
}

static inline unsigned vbe_get(struct rig *r, unsigned index)
{
    outw(r, 0x1ce, index);
    return (unsigned)io_read(r->m, IO_PIO, 0x1cf, 2);
}

/* A legacy mode as video BIOSes program it. */
struct legacy_mode {
    uint8_t misc, sr[5], cr[25], gr[9], ar[21];
};

static inline void mode_set(struct rig *r, const struct legacy_mode *m)
{
    outb(r, 0x3c2, m->misc);
    for (unsigned i = 0; i < 5; i++) {
        set(r, 0x3c4, i, m->sr[i]);
    }
    set(r, 0x3d4, 0x11, 0);
    for (unsigned i = 0; i < 25; i++) {
        set(r, 0x3d4, i, m->cr[i]);
    }
    for (unsigned i = 0; i < 9; i++) {
        set(r, 0x3ce, i, m->gr[i]);
    }
    inb(r, 0x3da);
    for (unsigned i = 0; i < 21; i++) {
        outb(r, 0x3c0, i);
        outb(r, 0x3c0, m->ar[i]);
    }
    outb(r, 0x3c0, 0x20);
}

static inline void ar_set(struct rig *r, unsigned i, unsigned val)
{
    inb(r, 0x3da);
    outb(r, 0x3c0, i);
    outb(r, 0x3c0, val);
    outb(r, 0x3c0, 0x20);
}

/* Every DAC entry different: red is the index's low six bits, green the upper bits, blue mixes. */
static inline void dac_fill(struct rig *r)
{
    outb(r, 0x3c8, 0);
    for (unsigned i = 0; i < 256; i++) {
        outb(r, 0x3c9, i & 63);
        outb(r, 0x3c9, i >> 2);
        outb(r, 0x3c9, (i * 7) & 63);
    }
}

static inline uint32_t six(unsigned c)
{
    return (c & 63) << 2 | (c & 63) >> 4;
}

static inline uint32_t dac_colour(unsigned i)
{
    return six(i & 63) << 16 | six(i >> 2) << 8 | six(i * 7);
}

static inline void rig_look(struct rig *r, bool full)
{
    r->damaged = 0;
    machine_enter(r->m);
    con_refresh(r->con, full);
    machine_leave(r->m);
    assert_memory_equal(r->copy, r->con->pixels,
                        (size_t)r->con->width * r->con->height * sizeof(uint32_t));
}

static inline uint32_t pixel(const struct rig *r, unsigned x, unsigned y)
{
    assert_true(x < r->con->width && y < r->con->height);
    return r->con->pixels[y * r->con->width + x];
}

static inline uint64_t picture_hash(const struct rig *r)
{
    uint64_t h = 0xcbf29ce484222325ull;
    for (size_t i = 0; i < (size_t)r->con->width * r->con->height; i++) {
        h = (h ^ r->con->pixels[i]) * 0x100000001b3ull;
    }
    return h;
}

/* Overwrites element i of the field `name` in a record that dev_save wrote, so that only its value
 * is wrong. See ioreq/state.c for the format. */
static inline void stream_set(struct state_buf *b, const char *name, unsigned size, unsigned i,
                              uint64_t val)
{
    size_t n = strlen(name);
    for (size_t at = 5; at + n + 6 < b->len; at++) {
        if (b->p[at] == n && !memcmp(b->p + at + 1, name, n)) {
            store_le(b->p + at + 1 + n + 5 + i * size, size, val);
            store_le(b->p + b->len - 4, 4, crc32_z(0, b->p + 5, b->len - 9));
            return;
        }
    }
    fail_msg("no field %s", name);
}

/* Pseudo-random, the same every run. */
static inline uint32_t rnd(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static const struct legacy_mode mode_03 = {
    /* 80x25 text, 9x16 */
    0x67,
    { 0x03, 0x00, 0x03, 0x00, 0x02 },
    { 0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0,
      0,    0,    0,    0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff },
    { 0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff },
    { 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a,
      0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08, 0x00 },
};
static const struct legacy_mode mode_04 = {
    /* 320x200, 4 colours, CGA layout */
    0x63,
    { 0x03, 0x09, 0x03, 0x00, 0x02 },
    { 0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0x00, 0xc1, 0,    0,   0,
      0,    0,    0,    0x9c, 0x8e, 0x8f, 0x14, 0x00, 0x96, 0xb9, 0xa2, 0xff },
    { 0, 0, 0, 0, 0, 0x30, 0x0f, 0, 0xff },
    { 0x00, 0x13, 0x15, 0x17, 0x02, 0x04, 0x06, 0x07, 0x10, 0x11, 0x12,
      0x13, 0x14, 0x15, 0x16, 0x17, 0x01, 0x00, 0x03, 0x00, 0x00 },
};
static const struct legacy_mode mode_06 = {
    /* 640x200, 2 colours, CGA layout */
    0x63,
    { 0x03, 0x01, 0x01, 0x00, 0x06 },
    { 0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0x00, 0xc1, 0,    0,   0,
      0,    0,    0,    0x9c, 0x8e, 0x8f, 0x28, 0x00, 0x96, 0xb9, 0xc2, 0xff },
    { 0, 0, 0, 0, 0, 0x00, 0x0d, 0, 0xff },
    { 0x00, 0x17, 0x17, 0x17, 0x17, 0x17, 0x17, 0x17, 0x17, 0x17, 0x17,
      0x17, 0x17, 0x17, 0x17, 0x17, 0x01, 0x00, 0x01, 0x00, 0x00 },
};
static const struct legacy_mode mode_0d = {
    /* 320x200, 16 colours */
    0x63,
    { 0x03, 0x09, 0x0f, 0x00, 0x06 },
    { 0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0x00, 0xc0, 0,    0,   0,
      0,    0,    0,    0x9c, 0x8e, 0x8f, 0x14, 0x00, 0x96, 0xb9, 0xe3, 0xff },
    { 0, 0, 0, 0, 0, 0x00, 0x05, 0x0f, 0xff },
    { 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x10, 0x11, 0x12,
      0x13, 0x14, 0x15, 0x16, 0x17, 0x01, 0x00, 0x0f, 0x00, 0x00 },
};
static const struct legacy_mode mode_12 = {
    /* 640x480, 16 colours */
    0xe3,
    { 0x03, 0x01, 0x0f, 0x00, 0x06 },
    { 0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0x00, 0x40, 0,    0,   0,
      0,    0,    0,    0xea, 0x8c, 0xdf, 0x28, 0x00, 0xe7, 0x04, 0xe3, 0xff },
    { 0, 0, 0, 0, 0, 0x00, 0x05, 0x0f, 0xff },
    { 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a,
      0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x01, 0x00, 0x0f, 0x00, 0x00 },
};
static const struct legacy_mode mode_13 = {
    /* 320x200, 256 colours, chain 4 */
    0x63,
    { 0x03, 0x01, 0x0f, 0x00, 0x0e },
    { 0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0x00, 0x41, 0,    0,   0,
      0,    0,    0,    0x9c, 0x8e, 0x8f, 0x28, 0x40, 0x96, 0xb9, 0xa3, 0xff },
    { 0, 0, 0, 0, 0, 0x40, 0x05, 0x0f, 0xff },
    { 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a,
      0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x41, 0x00, 0x0f, 0x00, 0x00 },
};

#endif
