/* SPDX-License-Identifier: MIT */
/* hw/display/cirrus.c - "cirrus-vga", the Cirrus Logic CL-GD5446: PCI 1013:00b8.
 *
 * VGA plus extended sequencer, graphics and CRTC registers, a hidden DAC register behind port 3c6,
 * packed-pixel modes of 8 to 32 bits, 4 MiB of memory, a BitBLT engine and a hardware cursor.
 * BAR0 is 32 MiB: the linear frame buffer, and from 16 MiB on a window for BLT data. BAR1 is 4 KiB
 * of registers. The frame buffer is lent to the guest while plain access is all there is to see, so
 * not in an extended write mode and not during a blit with the processor; video memory above the
 * chip's own 4 MiB (vgamem_mb=8) is plain memory. Left out: the register lock (extended registers
 * always answer; SR06 reads as the part's), clock synthesis, video overlay, DDC, and the extended
 * start address in planar modes. Reference: CL-GD5446 Technical Reference Manual (November 1996).
 */
#include "hw/display/cirrus-int.h"

#include <errno.h>
#include <string.h>

#define CHIP_MEMORY (4u << 20)
#define BAR0_BYTES (32u << 20)
#define MAX_VGAMEM_MB 16 /* below the BLT data window */
#define ID_GD5446 0xb8   /* CR27 */
#define SR_UNLOCK 0x12
#define SR_LOCKED 0x0f

/* ---- sequencer ---- */

static uint8_t sr_read(struct vga *v, uint8_t i)
{
    cirrus_of(v)->mask_reads = 0;
    if ((i & 0x1f) == 0x10 || (i & 0x1f) == 0x11) {
        return v->sr[i & 0x1f];
    }
    return i < 5 ? vga_sr_read(v, i) : i < 0x20 ? v->sr[i] : 0;
}

/* The cursor's place: eight bits of data and three of the index. */
static void write_cursor(struct cirrus *c, uint8_t i, uint8_t val)
{
    uint16_t place = (uint16_t)(val << 3 | i >> 5);
    c->base.vga.sr[i & 0x1f] = val;
    if ((i & 0x1f) == 0x10) {
        c->cursor_x = place;
    } else {
        c->cursor_y = place;
    }
}

static void sr_write(struct vga *v, uint8_t i, uint8_t val)
{
    struct cirrus *c = cirrus_of(v);
    c->mask_reads = 0;
    if (i == 0x02) {
        v->sr[i] = val; /* eight bits here */
    } else if (i < 5) {
        vga_sr_write(v, i, val);
    } else if ((i & 0x1f) == 0x10 || (i & 0x1f) == 0x11) {
        write_cursor(c, i, val);
    } else if (i == 0x06) {
        v->sr[6] = (val & 0x17) == SR_UNLOCK ? SR_UNLOCK : SR_LOCKED;
    } else if (i == 0x17) {
        v->sr[i] = (uint8_t)((v->sr[i] & 0x38) | (val & 0xc7)); /* the bus type is strapped */
        cirrus_update_lend(c);
    } else if (i < 0x20 && i != 0x0f && i != 0x15) { /* those two say how much memory there is */
        v->sr[i] = val;
    }
}

/* ---- graphics controller ---- */

static const uint8_t gr_bits[0x3a] = {
    /*  0 */ 0xff, 0xff, 0x0f, 0x1f, 0x03, 0x7f, 0x0f, 0x0f,
    /*  8 */ 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00,
    /* 10 */ 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00,
    /* 18 */ 0xff, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    /* 20 */ 0xff, 0x1f, 0xff, 0x07, 0xff, 0x1f, 0xff, 0x1f,
    /* 28 */ 0xff, 0xff, 0x3f, 0x00, 0xff, 0xff, 0x3f, 0xff,
    /* 30 */ 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00,
    /* 38 */ 0xff, 0xff,
};

static uint8_t gr_read(struct vga *v, uint8_t i)
{
    cirrus_of(v)->mask_reads = 0;
    return i < sizeof(gr_bits) ? v->gr[i] : 0;
}

static void gr_write(struct vga *v, uint8_t i, uint8_t val)
{
    struct cirrus *c = cirrus_of(v);
    c->mask_reads = 0;
    if (i >= sizeof(gr_bits)) {
        return;
    }
    if (i == 0x31) {
        cirrus_blt_control(c, val);
        return;
    }
    v->gr[i] = val & gr_bits[i];
    if (i == 0x05 || i == 0x0b) {
        cirrus_update_lend(c);
    } else if (i == 0x2a && (v->gr[0x31] & BLT_AUTOSTART)) {
        cirrus_blt_start(c);
    }
}

/* ---- CRTC ---- */

static uint8_t cr_read(struct vga *v, uint8_t i)
{
    cirrus_of(v)->mask_reads = 0;
    switch (i) {
    case 0x22:
        return (uint8_t)(v->latch >> (8 * (v->gr[4] & 3)));
    case 0x24:
        return v->ar_data ? 0x80 : 0x00;
    case 0x26:
        return v->ar_index;
    case 0x27:
        return ID_GD5446;
    default:
        return i < 0x19 ? vga_cr_read(v, i) : i < 0x40 ? v->cr[i] : 0;
    }
}

static void cr_write(struct vga *v, uint8_t i, uint8_t val)
{
    cirrus_of(v)->mask_reads = 0;
    if (i < 0x19) {
        vga_cr_write(v, i, val);
    } else if (i < 0x40 && (i < 0x22 || i > 0x27)) {
        v->cr[i] = val;
    }
}

/* ---- DAC ---- */

/* After four reads of port 3c6 in a row the next access is the hidden DAC register's. */
static uint8_t mask_read(struct vga *v)
{
    struct cirrus *c = cirrus_of(v);
    if (c->mask_reads == 4) {
        c->mask_reads = 0;
        return c->hidden_dac;
    }
    c->mask_reads++;
    return v->dac_mask;
}

static void mask_write(struct vga *v, uint8_t val)
{
    struct cirrus *c = cirrus_of(v);
    if (c->mask_reads == 4) {
        c->hidden_dac = val;
    } else {
        v->dac_mask = val;
    }
    c->mask_reads = 0;
}

static uint8_t *dac_entry(struct vga *v, uint8_t i)
{
    struct cirrus *c = cirrus_of(v);
    c->mask_reads = 0;
    return v->sr[0x12] & SR12_CURSOR_DAC ? c->cursor_dac + (i & 15) * 3 : vga_dac_entry(v, i);
}

/* ---- picture ---- */

static uint8_t packed_bpp(const struct vga *v)
{
    unsigned sixteen = (cirrus_of(v)->hidden_dac & 0x0f) == 0 ? 15 : 16;
    switch (v->sr[0x07] & 0x0e) {
    case 0x00:
        return 8;
    case 0x02: /* with a doubled clock */
    case 0x06:
        return (uint8_t)sixteen;
    case 0x04:
        return 24;
    case 0x08:
        return 32;
    default:
        return 0;
    }
}

static void frame(const struct vga *v, struct vga_frame *f)
{
    const uint8_t *cr = v->cr;
    bool extended = v->sr[0x07] & SR7_EXTENDED;
    /* QUIRK: SeaBIOS's VGA BIOS sets its extended modes up with the screen off bit set. */
    if (extended || !vga_screen_off(v)) {
        vga_frame_legacy(v, f);
    }
    if (f->kind == VGA_BLANK || !extended) {
        return;
    }
    f->bpp = packed_bpp(v);
    if (!f->bpp) {
        memset(f, 0, sizeof(*f));
        return;
    }
    f->kind = VGA_LINEAR;
    f->width = f->columns * 8;
    f->height <<= cr[0x1a] & 1; /* interlaced: both fields */
    f->pitch = (cr[0x13] | (cr[0x1b] & 0x10u) << 4) * 8;
    f->start = ((cr[0x0c] << 8 | cr[0x0d]) | (cr[0x1b] & 0x01u) << 16 | (cr[0x1b] & 0x0cu) << 15 |
                (cr[0x1d] & 0x80u) << 12) *
               4;
}

static const struct vga_chip gd5446 = {
    .sr_read = sr_read,
    .sr_write = sr_write,
    .gr_read = gr_read,
    .gr_write = gr_write,
    .cr_read = cr_read,
    .cr_write = cr_write,
    .mask_read = mask_read,
    .mask_write = mask_write,
    .dac_entry = dac_entry,
    .window = &cirrus_window_ops,
    .frame = frame,
    .overlay_moved = cirrus_cursor_moved,
    .overlay = cirrus_cursor_draw,
};

/* ---- device ---- */

void cirrus_update_lend(struct cirrus *c)
{
    struct vga *v = cirrus_vga(c);
    uint64_t at = cirrus_linear_is_plain(c) ? pci_bar_at(&c->base.pci, 0) : PCI_BAR_OFF;
    if (at != c->lent_at) {
        c->lent_at = at;
        gmem_block_lend(v->d->m, &v->vram, at == PCI_BAR_OFF ? GMEM_NOWHERE : at);
    }
}

static void config_wrote(struct pci_dev *p, unsigned off, unsigned size)
{
    (void)off;
    (void)size;
    cirrus_update_lend((struct cirrus *)p);
}

static int cirrus_init(struct device *d, struct err *e)
{
    static const struct pci_info info = {
        .vendor = 0x1013,
        .device = 0x00b8,
        .subvendor = 0x1af4,
        .subdevice = 0x1100,
        .class = 0x030000,
    };
    struct cirrus *c = (struct cirrus *)d;
    struct vga *v = vga_of(d);
    int rc;
    if (v->vgamem_mb > MAX_VGAMEM_MB) {
        return err_set(e, -EINVAL, "%s: vgamem_mb must be 1 to %u, not %u", d->class->name,
                       MAX_VGAMEM_MB, v->vgamem_mb);
    }
    c->lent_at = PCI_BAR_OFF;
    rc = vga_pci_init(&c->base, &info, &gd5446, e);
    if (rc < 0) {
        return rc;
    }
    c->mask = (uint32_t)min_u64(v->vram.len, CHIP_MEMORY) - 1;
    pci_add_bar(&c->base.pci, 0, false, BAR0_BYTES, &cirrus_linear_ops, "VRAM");
    pci_set_prefetch(&c->base.pci, 0, true);
    pci_add_bar(&c->base.pci, 1, false, 0x1000, &cirrus_mmio_ops, "Cirrus MMIO");
    c->base.pci.config_wrote = config_wrote;
    return 0;
}

/* What the BIOS reads to learn how much memory there is: 64 bits wide, one or two banks. */
static void strap_memory(struct cirrus *c)
{
    struct vga *v = cirrus_vga(c);
    uint32_t mb = (c->mask + 1) >> 20;
    v->sr[0x0f] = mb == 4 ? 0x98 : mb == 2 ? 0x18 : 0x10;
    v->sr[0x15] = mb == 4 ? 0x04 : mb == 2 ? 0x03 : 0x02;
}

static void cirrus_reset(struct device *d)
{
    struct cirrus *c = (struct cirrus *)d;
    struct vga *v = vga_of(d);
    pci_reset(&c->base.pci);
    vga_reset(v);
    v->sr[0x06] = SR_LOCKED;
    v->sr[0x17] = 0x20; /* on a PCI bus */
    v->sr[0x1f] = 0x2d;
    v->gr[0x18] = 0x0f;
    strap_memory(c);
    c->hidden_dac = c->mask_reads = 0;
    c->cursor_x = c->cursor_y = 0;
    memset(c->cursor_dac, 0, sizeof(c->cursor_dac));
    memset(&c->blt, 0, sizeof(c->blt));
    memset(&c->drawn, 0, sizeof(c->drawn));
    cirrus_update_lend(c);
}

static int cirrus_loaded(struct device *d, struct err *e)
{
    struct cirrus *c = (struct cirrus *)d;
    int rc = pci_loaded(&c->base.pci, e);
    if (rc == 0) {
        rc = vga_check_bits(vga_of(d), "gr", vga_of(d)->gr, gr_bits, sizeof(gr_bits), e);
    }
    if (rc == 0) {
        rc = vga_loaded(vga_of(d), e);
    }
    if (rc == 0) {
        rc = cirrus_blt_loaded(c, e);
    }
    if (rc == 0 && vbe_enabled(vga_of(d))) {
        rc = err_set(e, -EINVAL, "%s: vbe is not a part of this device", d->id);
    }
    cirrus_update_lend(c);
    return rc;
}

static void cirrus_fini(struct device *d)
{
    struct cirrus *c = (struct cirrus *)d;
    if (c->lent_at != PCI_BAR_OFF) {
        gmem_block_lend(d->m, &vga_of(d)->vram, GMEM_NOWHERE);
    }
    vga_pci_fini(d);
}

static const struct dev_prop cirrus_props[] = {
    VGA_PROPS(8),
    { NULL, PROP_END, 0, 0, NULL },
};
static const struct state_field cirrus_state[] = {
    VGA_STATE,
    FIELD(struct cirrus, hidden_dac),
    FIELD_RANGE(struct cirrus, mask_reads, 0, 4),
    FIELD_RANGE(struct cirrus, cursor_x, 0, 0x7ff),
    FIELD_RANGE(struct cirrus, cursor_y, 0, 0x7ff),
    FIELD_ARRAY(struct cirrus, cursor_dac),
    FIELD_SUB(struct cirrus, blt, cirrus_blt_state, 1),
    FIELD_END,
};

const struct dev_class cirrus_vga_class = {
    .name = "cirrus-vga",
    .desc = "Cirrus Logic CL-GD5446 (PCI 1013:00b8)",
    .size = sizeof(struct cirrus),
    .props = cirrus_props,
    .state = cirrus_state,
    .state_version = 2,
    .user_creatable = true,
    .init = cirrus_init,
    .reset = cirrus_reset,
    .loaded = cirrus_loaded,
    .fini = cirrus_fini,
};
