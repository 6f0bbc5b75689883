/* SPDX-License-Identifier: MIT */
/* hw/display/vbe.c - the Bochs dispi interface: index port 1ce, data port 1cf (also 1d0).
 *
 * Eleven 16-bit registers set a mode without the CRTC: 4 (planar), 8, 15, 16, 24 or 32 bits a
 * pixel, a virtual screen, and offsets into it. Geometry is checked when it is used, against the
 * video memory there is, so register order does not matter: a mode that does not fit cannot be
 * enabled, and offsets beyond the virtual screen wrap line by line in the renderer.
 * Left out: Bochs' DDC register and the separate read and write banks of its newest revision.
 * Reference: Bochs "VBE Display Extension" revision 5; QEMU docs/specs/standard-vga.
 */
#include "hw/display/vga-int.h"

#include <errno.h>
#include <string.h>

#define ID_FIRST 0xb0c0
#define ID_LAST 0xb0c5

static bool known_bpp(unsigned bpp)
{
    return bpp == 4 || bpp == 8 || bpp == 15 || bpp == 16 || bpp == 24 || bpp == 32;
}

/* Bytes that `pixels` side by side take; four planes of one bit at 4 bits a pixel. */
static uint64_t line_bytes(unsigned bpp, uint64_t pixels)
{
    return bpp == 4 ? pixels / 8 * 4 : pixels * ((bpp + 7u) / 8);
}

uint32_t vbe_pitch(const struct vga *v)
{
    return (uint32_t)line_bytes(v->vbe[VBE_BPP], v->vbe[VBE_VIRT_WIDTH]);
}

static bool mode_fits(const struct vga *v)
{
    const uint16_t *r = v->vbe;
    return known_bpp(r[VBE_BPP]) && r[VBE_XRES] >= 8 && r[VBE_XRES] <= CON_MAX_WIDTH &&
           r[VBE_YRES] >= 1 && r[VBE_YRES] <= CON_MAX_HEIGHT &&
           line_bytes(r[VBE_BPP], (r[VBE_XRES] + 7u) & ~7u) * r[VBE_YRES] <= v->vram.len;
}

/* The virtual screen is as high as memory allows; never narrower than the real one. */
static void fix_virtual(struct vga *v)
{
    uint16_t *r = v->vbe;
    uint64_t lines;
    if (r[VBE_VIRT_WIDTH] < r[VBE_XRES] || (uint64_t)vbe_pitch(v) * r[VBE_YRES] > v->vram.len) {
        r[VBE_VIRT_WIDTH] = r[VBE_XRES];
    }
    r[VBE_VIRT_WIDTH] &= 0xfff8;
    if (r[VBE_VIRT_WIDTH] < r[VBE_XRES]) {
        r[VBE_VIRT_WIDTH] = (uint16_t)(r[VBE_XRES] + 7) & 0xfff8;
    }
    lines = v->vram.len / vbe_pitch(v);
    r[VBE_VIRT_HEIGHT] = (uint16_t)min_u64(lines, 0xffff);
}

static void clear_screen(struct vga *v)
{
    uint64_t len = min_u64((uint64_t)vbe_pitch(v) * v->vbe[VBE_YRES], v->vram.len);
    memset(v->vram.host, 0, len);
    gmem_block_wrote(v->d->m, &v->vram, 0, len);
}

static void enable(struct vga *v, uint16_t val)
{
    uint16_t *r = v->vbe;
    bool was = vbe_enabled(v);
    if ((val & VBE_ENABLED) && !mode_fits(v)) {
        guest_odd(v->d, "dispi mode %ux%u, %u bits a pixel does not exist", r[VBE_XRES],
                  r[VBE_YRES], r[VBE_BPP]);
        val &= (uint16_t)~VBE_ENABLED;
    }
    r[VBE_ENABLE] = val & (VBE_ENABLED | VBE_GETCAPS | VBE_DAC8 | VBE_LFB | VBE_NOCLEAR);
    if (vbe_enabled(v) && !was) {
        r[VBE_VIRT_WIDTH] = r[VBE_XRES];
        r[VBE_X_OFFSET] = r[VBE_Y_OFFSET] = 0;
        fix_virtual(v);
        if (!(val & VBE_NOCLEAR)) {
            clear_screen(v);
        }
    } else if (!vbe_enabled(v)) {
        r[VBE_BANK] = 0;
    }
}

/* A new size while enabled takes effect at once if it fits, or turns the mode off. */
static void resize(struct vga *v)
{
    if (!vbe_enabled(v)) {
        return;
    }
    if (mode_fits(v)) {
        fix_virtual(v);
    } else {
        enable(v, v->vbe[VBE_ENABLE]);
    }
}

uint16_t vbe_read(const struct vga *v, unsigned index)
{
    bool caps = v->vbe[VBE_ENABLE] & VBE_GETCAPS;
    switch (index) {
    case VBE_XRES:
        return caps ? CON_MAX_WIDTH : v->vbe[index];
    case VBE_YRES:
        return caps ? CON_MAX_HEIGHT : v->vbe[index];
    case VBE_BPP:
        return caps ? 32 : v->vbe[index];
    case VBE_MEMORY_64K:
        return (uint16_t)(v->vram.len >> 16);
    default:
        return index < VBE_REGS ? v->vbe[index] : 0;
    }
}

void vbe_write(struct vga *v, unsigned index, uint16_t val)
{
    switch (index) {
    case VBE_ID:
        if (val >= ID_FIRST && val <= ID_LAST) {
            v->vbe[VBE_ID] = val;
        }
        break;
    case VBE_XRES:
    case VBE_YRES:
    case VBE_BPP:
        v->vbe[index] = val;
        resize(v);
        break;
    case VBE_ENABLE:
        enable(v, val);
        break;
    case VBE_VIRT_WIDTH:
        v->vbe[index] = val;
        if (vbe_enabled(v)) {
            fix_virtual(v);
        }
        break;
    case VBE_BANK:
    case VBE_X_OFFSET:
    case VBE_Y_OFFSET:
        v->vbe[index] = val;
        break;
    default: /* the virtual height and the memory size follow from the rest */
        break;
    }
}

void vbe_reset(struct vga *v)
{
    memset(v->vbe, 0, sizeof(v->vbe));
    v->vbe_index = 0;
    v->vbe[VBE_ID] = ID_LAST;
}

int vbe_loaded(struct vga *v, struct err *e)
{
    if (v->vbe[VBE_ID] < ID_FIRST || v->vbe[VBE_ID] > ID_LAST) {
        return err_set(e, -EINVAL, "%s: vbe[0] is no dispi revision", v->d->id);
    }
    if (!vbe_enabled(v)) {
        return 0;
    }
    if (!mode_fits(v)) {
        return err_set(e, -EINVAL, "%s: vbe holds a mode that does not fit", v->d->id);
    }
    uint16_t width = v->vbe[VBE_VIRT_WIDTH], height = v->vbe[VBE_VIRT_HEIGHT];
    fix_virtual(v);
    if (width != v->vbe[VBE_VIRT_WIDTH] || height != v->vbe[VBE_VIRT_HEIGHT]) {
        return err_set(e, -EINVAL, "%s: vbe holds a virtual screen that does not fit", v->d->id);
    }
    return 0;
}

static uint64_t dispi_read(struct device *d, uint64_t off, unsigned size)
{
    struct vga *v = vga_of(d);
    uint16_t val = off == 0 ? v->vbe_index : vbe_read(v, v->vbe_index);
    return size == 1 ? val & 0xff : val;
}

static void dispi_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct vga *v = vga_of(d);
    (void)size;
    if (off == 0) {
        v->vbe_index = (uint16_t)val;
    } else {
        vbe_write(v, v->vbe_index, (uint16_t)val);
    }
}

static const struct reg_name dispi_names[] = {
    { 0, "VBE_INDEX" },
    { 1, "VBE_DATA" },
    { 3, NULL },
};
const struct region_ops vga_dispi_ops = { dispi_read, dispi_write, 2, dispi_names };

void vbe_frame(const struct vga *v, struct vga_frame *f)
{
    const uint16_t *r = v->vbe;
    uint32_t bpp = r[VBE_BPP], row = vbe_pitch(v);
    f->width = r[VBE_XRES];
    f->height = r[VBE_YRES];
    f->split = UINT32_MAX;
    if (bpp > 4) {
        f->kind = VGA_LINEAR;
        f->bpp = (uint8_t)bpp;
        f->pitch = row;
        f->start = r[VBE_Y_OFFSET] * row + (uint32_t)line_bytes(bpp, r[VBE_X_OFFSET]);
        return;
    }
    f->kind = VGA_PLANAR;
    f->columns = r[VBE_XRES] / 8u;
    f->width = f->columns * 8;
    f->pitch = row / 4;
    f->start = r[VBE_Y_OFFSET] * f->pitch + r[VBE_X_OFFSET] / 8u;
    f->pan = r[VBE_X_OFFSET] & 7u;
    f->address_mask = v->vram_mask / 4;
    f->row_bits = 3;
    f->dots = 8;
}
