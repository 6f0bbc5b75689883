/* SPDX-License-Identifier: MIT */
/* hw/display/cirrus-mem.c - how the processor reaches the GD5446's memory and BLT registers.
 *
 * In packed-pixel modes the window at 0xa0000 is two 32 KiB banks and the linear frame buffer
 * (BAR0) the whole memory; with extended write modes 4 and 5 a byte written to either is eight
 * pixels in the foreground (and, in mode 5, background) colour. While a blit with the processor is
 * under way, every access there is a piece of its data. Every address is masked to the chip's
 * memory. Left out: the pixel mask (SR02) of extended writes, the byte-swapping apertures, banking
 * in the planar modes. Reference: CL-GD5446 Technical Reference Manual, chapters on the graphics
 * controller extensions and on memory-mapped I/O.
 */
#include "hw/display/cirrus-int.h"

#include "dm/base/bytes.h"

#define MMIO_BLT 0x100      /* in BAR1 */
#define MMIO_LEGACY 0x18000 /* in the window: 0xb8000 */

/* BLT registers in memory: which graphics controller register each byte is, 0xff for none. */
static const uint8_t mmio_gr[0x41] = {
    /*  0 */ 0x00, 0x10, 0x12, 0x14, 0x01, 0x11, 0x13, 0x15,
    /*  8 */ 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27,
    /* 10 */ 0x28, 0x29, 0x2a, 0xff, 0x2c, 0x2d, 0x2e, 0x2f,
    /* 18 */ 0x30, 0xff, 0x32, 0x33, 0x34, 0x35, 0xff, 0xff,
    /* 20 */ 0x38, 0x39, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    /* 28 */ 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    /* 30 */ 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    /* 38 */ 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    /* 40 */ 0x31,
};

static uint8_t blt_reg_read(struct vga *v, uint32_t off)
{
    return off < sizeof(mmio_gr) && mmio_gr[off] != 0xff ? v->chip->gr_read(v, mmio_gr[off]) : 0xff;
}

static void blt_reg_write(struct vga *v, uint32_t off, uint8_t val)
{
    if (off < sizeof(mmio_gr) && mmio_gr[off] != 0xff) {
        v->chip->gr_write(v, mmio_gr[off], val);
    }
}

static bool by_16(const struct vga *v)
{
    return (v->gr[0x0b] & (GRB_BY_16 | GRB_EXTENDED_WRITE)) == (GRB_BY_16 | GRB_EXTENDED_WRITE);
}

/* Write modes 4 and 5, one bit a pixel. */
static bool extended_write(const struct vga *v)
{
    return (v->gr[0x0b] & GRB_EXTENDED_WRITE) && (v->gr[5] & 6) == 4;
}

bool cirrus_linear_is_plain(const struct cirrus *c)
{
    const struct vga *v = &c->base.vga;
    unsigned top = SR17_MMIO | SR17_MMIO_TOP;
    return !c->blt.to_screen && !c->blt.to_system && !by_16(v) && !(v->gr[0x0b] & GRB_BY_8) &&
           !extended_write(v) && (v->sr[0x17] & top) != top;
}

/* An address in pixels-as-bits to bytes of memory. */
static uint32_t scaled(const struct cirrus *c, uint32_t addr)
{
    const struct vga *v = &c->base.vga;
    if (by_16(v)) {
        addr <<= 4;
    } else if (v->gr[0x0b] & GRB_BY_8) {
        addr <<= 3;
    }
    return addr & c->mask;
}

void cirrus_wrote(struct cirrus *c, uint32_t at, uint32_t n)
{
    struct vga *v = cirrus_vga(c);
    uint32_t room = c->mask + 1 - (at & c->mask), first = n < room ? n : room;
    gmem_block_wrote(v->d->m, &v->vram, at & c->mask, first);
    if (n > first) {
        gmem_block_wrote(v->d->m, &v->vram, 0, n - first);
    }
}

static void write_pixels(struct cirrus *c, uint32_t at, uint8_t bits)
{
    struct vga *v = cirrus_vga(c);
    unsigned bytes = by_16(v) ? 2 : 1;
    const uint8_t colour[2][2] = { { v->gr[0x00], v->gr[0x10] }, { v->gr[0x01], v->gr[0x11] } };
    for (unsigned i = 0; i < 8; i++) {
        unsigned on = bits >> (7 - i) & 1;
        for (unsigned b = 0; b < bytes && (on || (v->gr[5] & 1)); b++) {
            v->vram.host[(at + i * bytes + b) & c->mask] = colour[on][b];
        }
    }
    cirrus_wrote(c, at, 8 * bytes);
}

static void packed_write(struct cirrus *c, uint32_t addr, uint8_t val)
{
    struct vga *v = cirrus_vga(c);
    uint32_t at = scaled(c, addr);
    if (extended_write(v)) {
        write_pixels(c, at, val);
    } else {
        v->vram.host[at] = val;
        gmem_block_wrote(v->d->m, &v->vram, at, 1);
    }
}

/* The window's address in memory. */
static uint32_t banked(const struct vga *v, uint32_t off)
{
    bool dual = v->gr[0x0b] & GRB_DUAL_BANK;
    uint32_t bank = v->gr[dual && off >= 0x8000 ? 0x0a : 0x09];
    return (bank << (v->gr[0x0b] & GRB_16K_BANKS ? 14 : 12)) + (dual ? off & 0x7fff : off);
}

static bool mmio_in_window(const struct vga *v, uint64_t off)
{
    return off >= MMIO_LEGACY && off < MMIO_LEGACY + 0x100 &&
           (v->sr[0x17] & (SR17_MMIO | SR17_MMIO_TOP)) == SR17_MMIO;
}

static uint8_t window_byte(struct cirrus *c, uint32_t off)
{
    struct vga *v = cirrus_vga(c);
    return off < 0x10000 ? v->vram.host[scaled(c, banked(v, off))] : 0xff;
}

static uint64_t mmio_window_read(struct vga *v, uint64_t off, unsigned size)
{
    uint64_t val = 0;
    for (unsigned i = 0; i < size; i++) {
        val |= (uint64_t)blt_reg_read(v, ((uint32_t)off + i) & 0xff) << (8 * i);
    }
    return val;
}

static void mmio_window_write(struct vga *v, uint64_t off, unsigned size, uint64_t val)
{
    for (unsigned i = 0; i < size; i++, val >>= 8) {
        blt_reg_write(v, ((uint32_t)off + i) & 0xff, (uint8_t)val);
    }
}

static uint64_t window_read(struct device *d, uint64_t off, unsigned size)
{
    struct cirrus *c = (struct cirrus *)d;
    struct vga *v = cirrus_vga(c);
    uint64_t val = 0;
    if (mmio_in_window(v, off)) {
        return mmio_window_read(v, off, size);
    }
    if (c->blt.to_system) {
        return cirrus_blt_drain(c, size);
    }
    if (!(v->sr[0x07] & SR7_EXTENDED)) {
        return vga_window_ops.read(d, off, size);
    }
    for (unsigned i = 0; i < size; i++) {
        val |= (uint64_t)window_byte(c, (uint32_t)off + i) << (8 * i);
    }
    return val;
}

static void window_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct cirrus *c = (struct cirrus *)d;
    struct vga *v = cirrus_vga(c);
    if (mmio_in_window(v, off)) {
        mmio_window_write(v, off, size, val);
    } else if (c->blt.to_screen) {
        cirrus_blt_feed(c, val, size);
    } else if (!(v->sr[0x07] & SR7_EXTENDED)) {
        vga_window_ops.write(d, off, size, val);
    } else {
        for (unsigned i = 0; i < size && off + i < 0x10000; i++, val >>= 8) {
            packed_write(c, banked(v, (uint32_t)off + i), (uint8_t)val);
        }
    }
}

const struct region_ops cirrus_window_ops = { window_read, window_write, 8, NULL };

static bool mmio_on_top(const struct cirrus *c, uint64_t off)
{
    unsigned both = SR17_MMIO | SR17_MMIO_TOP;
    return (c->base.vga.sr[0x17] & both) == both && off <= c->mask && off > c->mask - 0x100;
}

static uint64_t linear_read(struct device *d, uint64_t off, unsigned size)
{
    struct cirrus *c = (struct cirrus *)d;
    struct vga *v = cirrus_vga(c);
    uint64_t val = 0;
    if (mmio_on_top(c, off)) {
        return mmio_window_read(v, off, size);
    }
    if (c->blt.to_system) {
        return cirrus_blt_drain(c, size);
    }
    if (off + size > v->vram.len) {
        return ones(size);
    }
    if (cirrus_linear_is_plain(c)) {
        return load_le(v->vram.host + off, size);
    }
    for (unsigned i = 0; i < size; i++) {
        val |= (uint64_t)v->vram.host[scaled(c, (uint32_t)off + i)] << (8 * i);
    }
    return val;
}

static void linear_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct cirrus *c = (struct cirrus *)d;
    struct vga *v = cirrus_vga(c);
    if (mmio_on_top(c, off)) {
        mmio_window_write(v, off, size, val);
    } else if (c->blt.to_screen) {
        cirrus_blt_feed(c, val, size);
    } else if (off + size > v->vram.len) {
        return;
    } else if (cirrus_linear_is_plain(c)) {
        store_le(v->vram.host + off, size, val);
        gmem_block_wrote(d->m, &v->vram, off, size);
    } else {
        for (unsigned i = 0; i < size; i++, val >>= 8) {
            packed_write(c, (uint32_t)off + i, (uint8_t)val);
        }
    }
}

const struct region_ops cirrus_linear_ops = { linear_read, linear_write, 8, NULL };

static uint64_t mmio_read(struct device *d, uint64_t off, unsigned size)
{
    struct vga *v = vga_of(d);
    (void)size;
    if (off < 0x20) {
        return vga_port_read(v, 0x3c0 + (unsigned)off);
    }
    return off >= MMIO_BLT ? blt_reg_read(v, (uint32_t)off - MMIO_BLT) : 0xff;
}

static void mmio_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct vga *v = vga_of(d);
    (void)size;
    if (off < 0x20) {
        vga_port_write(v, 0x3c0 + (unsigned)off, (uint8_t)val);
    } else if (off >= MMIO_BLT) {
        blt_reg_write(v, (uint32_t)off - MMIO_BLT, (uint8_t)val);
    }
}

static const struct reg_name mmio_names[] = {
    { 0x000, "ARX" },
    { 0x001, "AR" },
    { 0x002, "STAT0/MISC" },
    { 0x003, "VSSE" },
    { 0x004, "SRX" },
    { 0x005, "SR" },
    { 0x006, "PELMASK/HDR" },
    { 0x007, "PELR" },
    { 0x008, "PELW" },
    { 0x009, "PELDATA" },
    { 0x00a, "FC" },
    { 0x00c, "MISC" },
    { 0x00e, "GRX" },
    { 0x00f, "GR" },
    { 0x010, "-" },
    { 0x014, "CRX" },
    { 0x015, "CR" },
    { 0x016, "-" },
    { 0x01a, "STAT1/FC" },
    { 0x01b, "-" },
    { 0x100, "BLT_BACKGROUND" },
    { 0x104, "BLT_FOREGROUND" },
    { 0x108, "BLT_WIDTH" },
    { 0x10a, "BLT_HEIGHT" },
    { 0x10c, "BLT_DST_PITCH" },
    { 0x10e, "BLT_SRC_PITCH" },
    { 0x110, "BLT_DST" },
    { 0x114, "BLT_SRC" },
    { 0x117, "BLT_WRITE_MASK" },
    { 0x118, "BLT_MODE" },
    { 0x11a, "BLT_ROP" },
    { 0x11b, "BLT_MODE_EXT" },
    { 0x11c, "BLT_KEY" },
    { 0x120, "BLT_KEY_MASK" },
    { 0x122, "-" },
    { 0x140, "BLT_STATUS" },
    { 0x141, NULL },
};
const struct region_ops cirrus_mmio_ops = { mmio_read, mmio_write, 1, mmio_names };
