/* SPDX-License-Identifier: MIT */
/* hw/display/vga-mem.c - the window at 0xa0000 and the graphics controller behind it.
 *
 * A byte goes through latches, rotator, set/reset, function select and bit mask as on the part,
 * all four planes at once in a 32-bit word. Odd/even and chain 4 addressing drop the low address
 * bits they use for the plane, as the hardware does, and the display's word and double word modes
 * (vga-draw.c) put them back. With Bochs dispi on and 8 or more bits a pixel, the window is 64 KiB
 * of plain bytes at the bank.
 * Left out: odd/even page select (misc bit 5), which no BIOS uses.
 * Reference: IBM VGA XGA Technical Reference (1992), chapter 2, "Graphics Controller".
 */
#include "hw/display/vga-int.h"

#include "dm/base/bytes.h"

uint32_t vga_spread(unsigned bits)
{
    uint32_t m = bits & 15;
    m = (m | m << 14) & 0x00030003;
    m = (m | m << 7) & 0x01010101;
    return m * 0xff;
}

static uint32_t every(uint8_t val)
{
    return val * 0x01010101u;
}

static uint8_t *cell(const struct vga *v, uint32_t a)
{
    return v->vram.host + (a * 4 & v->vram_mask & ~3u);
}

/* Read mode 1: a bit is set where all planes that matter have the compare colour. */
static uint8_t compare(const struct vga *v)
{
    uint32_t differ = (v->latch ^ vga_spread(v->gr[2])) & vga_spread(v->gr[7]);
    return (uint8_t) ~(differ | differ >> 8 | differ >> 16 | differ >> 24);
}

static uint8_t planes_read(struct vga *v, uint32_t a, unsigned plane)
{
    v->latch = load_le32(cell(v, a));
    if (v->gr[5] & 0x08) {
        return compare(v);
    }
    return (uint8_t)(v->latch >> (8 * (plane & 3)));
}

static uint8_t rotated(const struct vga *v, uint8_t val)
{
    unsigned n = v->gr[3] & 7;
    return (uint8_t)(val >> n | val << (8 - n));
}

static uint32_t function_select(const struct vga *v, uint32_t data)
{
    switch (v->gr[3] >> 3 & 3) {
    case 1:
        return data & v->latch;
    case 2:
        return data | v->latch;
    case 3:
        return data ^ v->latch;
    default:
        return data;
    }
}

/* What the graphics controller makes of a byte, for all planes. */
static uint32_t gc_data(const struct vga *v, uint8_t val)
{
    uint32_t data, bits = every(v->gr[8]);
    uint32_t set_reset = vga_spread(v->gr[0]), enable = vga_spread(v->gr[1]);
    switch (v->gr[5] & 3) {
    case 0:
        data = (every(rotated(v, val)) & ~enable) | (set_reset & enable);
        break;
    case 1:
        return v->latch;
    case 2:
        data = vga_spread(val);
        break;
    default:
        data = set_reset;
        bits &= every(rotated(v, val));
        break;
    }
    return (function_select(v, data) & bits) | (v->latch & ~bits);
}

static void planes_write(struct vga *v, uint32_t a, unsigned lanes, uint8_t val)
{
    uint32_t mask = vga_spread(lanes & v->sr[2]);
    uint8_t *p = cell(v, a);
    store_le(p, 4, (gc_data(v, val) & mask) | (load_le32(p) & ~mask));
}

static bool window_address(const struct vga *v, uint32_t off, uint32_t *addr)
{
    static const struct {
        uint32_t base, len;
    } map[4] = { { 0, 0x20000 }, { 0, 0x10000 }, { 0x10000, 0x8000 }, { 0x18000, 0x8000 } };
    bool dispi = vbe_enabled(v);
    unsigned m = dispi ? 1 : v->gr[6] >> 2 & 3;
    *addr = off - map[m].base;
    return *addr < map[m].len && (dispi || (v->misc & 0x02));
}

/* Dispi modes of 8 bits a pixel and more are plain bytes at the bank. */
static bool banked(const struct vga *v)
{
    return vbe_enabled(v) && v->vbe[VBE_BPP] > 4;
}

static uint32_t bank_offset(const struct vga *v, uint32_t addr)
{
    return ((uint32_t)v->vbe[VBE_BANK] << 16 | addr) & v->vram_mask;
}

/* Dispi's 4-bit modes bank the planes. */
static uint32_t plane_address(const struct vga *v, uint32_t addr)
{
    return vbe_enabled(v) ? (uint32_t)v->vbe[VBE_BANK] << 16 | addr : addr;
}

static uint8_t mem_read(struct vga *v, uint32_t off)
{
    uint32_t addr;
    if (!window_address(v, off, &addr)) {
        return 0xff;
    }
    if (banked(v)) {
        return v->vram.host[bank_offset(v, addr)];
    }
    addr = plane_address(v, addr);
    if (v->sr[4] & 0x08) {
        return planes_read(v, addr & ~3u, addr & 3);
    }
    if (v->gr[5] & 0x10) {
        return planes_read(v, addr & ~1u, (v->gr[4] & 2) | (addr & 1));
    }
    return planes_read(v, addr, v->gr[4]);
}

static void mem_write(struct vga *v, uint32_t off, uint8_t val)
{
    uint32_t addr, at;
    unsigned lanes = 15;
    if (!window_address(v, off, &addr)) {
        return;
    }
    if (banked(v)) {
        at = bank_offset(v, addr);
        v->vram.host[at] = val;
        gmem_block_wrote(v->d->m, &v->vram, at, 1);
        return;
    }
    at = plane_address(v, addr);
    if (v->sr[4] & 0x08) {
        lanes = 1u << (at & 3);
        at &= ~3u;
    } else if (!(v->sr[4] & 0x04)) {
        lanes = at & 1 ? 0xa : 0x5;
        at = v->gr[6] & 2 ? at & ~1u : at;
    }
    planes_write(v, at, lanes, val);
    gmem_block_wrote(v->d->m, &v->vram, at * 4 & v->vram_mask & ~3u, 4);
}

static uint64_t window_read(struct device *d, uint64_t off, unsigned size)
{
    struct vga *v = vga_of(d);
    uint64_t val = 0;
    for (unsigned i = 0; i < size; i++) {
        val |= (uint64_t)mem_read(v, (uint32_t)off + i) << (8 * i);
    }
    return val;
}

static void window_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct vga *v = vga_of(d);
    for (unsigned i = 0; i < size; i++) {
        mem_write(v, (uint32_t)off + i, (uint8_t)(val >> (8 * i)));
    }
}

const struct region_ops vga_window_ops = { window_read, window_write, 8, NULL };

static uint64_t vram_read(struct device *d, uint64_t off, unsigned size)
{
    struct vga *v = vga_of(d);
    return off + size <= v->vram.len ? load_le(v->vram.host + off, size) : ones(size);
}

static void vram_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct vga *v = vga_of(d);
    if (off + size <= v->vram.len) {
        store_le(v->vram.host + off, size, val);
        gmem_block_wrote(d->m, &v->vram, off, size);
    }
}

const struct region_ops vga_vram_ops = { vram_read, vram_write, 8, NULL };
