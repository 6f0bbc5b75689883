/* SPDX-License-Identifier: MIT */
/* hw/display/vga-pci.c - "VGA", the standard VGA of Bochs and QEMU: PCI 1234:1111.
 *
 * BAR0 is video memory (lent: plain memory to the guest), BAR2 is 4 KiB of registers for drivers
 * that do without ports: EDID at 0, ports 3c0-3df at 0x400, dispi at 0x500, the QEMU extension at
 * 0x600 (its size and the frame buffer's byte order). The ROM BAR holds the VGA BIOS.
 * Left out: a big-endian frame buffer.
 * Reference: QEMU docs/specs/standard-vga.
 */
#include "hw/display/vga-int.h"

#include "dm/base/bytes.h"

#include <errno.h>
#include <string.h>

#define MMIO_PORTS 0x400
#define MMIO_DISPI 0x500
#define MMIO_QEXT 0x600
#define LITTLE_ENDIAN_FB 0x1e1e1e1e

struct vga_std {
    struct vga_pci base;
    uint8_t edid[128];
};

int vga_pci_init(struct vga_pci *p, const struct pci_info *info, const struct vga_chip *chip,
                 struct err *e)
{
    int rc = pci_init(&p->pci, info, e);
    if (rc < 0) {
        return rc;
    }
    rc = vga_init(&p->vga, &p->pci.dev, chip, e);
    if (rc < 0) {
        return rc;
    }
    p->rom.name = "vga.rom";
    return pci_add_rom(&p->pci, &p->rom, p->rom_image, VGA_ROM_BYTES, "VGA ROM", e);
}

void vga_pci_fini(struct device *d)
{
    struct vga_pci *p = (struct vga_pci *)d;
    pci_fini(&p->pci);
    vga_fini(&p->vga);
    if (p->rom.host) {
        gmem_block_free(d->m, &p->rom);
    }
}

static uint64_t dispi_mmio_read(struct vga *v, unsigned off, unsigned size)
{
    uint16_t val = vbe_read(v, off / 2);
    return size == 1 ? val >> (off % 2 * 8) & 0xff : val;
}

static uint8_t mmio_byte(struct vga_std *s, unsigned off)
{
    static const uint32_t qext[2] = { 8, LITTLE_ENDIAN_FB };
    if (off < sizeof(s->edid)) {
        return s->edid[off];
    }
    if (off >= MMIO_PORTS && off < MMIO_PORTS + 0x20) {
        return vga_port_read(&s->base.vga, 0x3c0 + off - MMIO_PORTS);
    }
    if (off >= MMIO_QEXT && off < MMIO_QEXT + 8) {
        return (uint8_t)(qext[(off - MMIO_QEXT) / 4] >> (off % 4 * 8));
    }
    return off < MMIO_PORTS ? 0 : 0xff;
}

static uint64_t mmio_read(struct device *d, uint64_t off, unsigned size)
{
    struct vga_std *s = (struct vga_std *)d;
    unsigned at = (unsigned)off;
    uint64_t val = 0;
    if (at >= MMIO_DISPI && at < MMIO_DISPI + 2 * VBE_REGS) {
        return dispi_mmio_read(&s->base.vga, at - MMIO_DISPI, size);
    }
    for (unsigned i = 0; i < size; i++) {
        val |= (uint64_t)mmio_byte(s, at + i) << (8 * i);
    }
    return val;
}

static void mmio_write(struct device *d, uint64_t off, unsigned size, uint64_t val)
{
    struct vga *v = vga_of(d);
    unsigned at = (unsigned)off;
    if (at >= MMIO_DISPI && at < MMIO_DISPI + 2 * VBE_REGS) {
        if (size == 2 && at % 2 == 0) {
            vbe_write(v, (at - MMIO_DISPI) / 2, (uint16_t)val);
        }
        return;
    }
    for (unsigned i = 0; i < size; i++, at++, val >>= 8) {
        if (at >= MMIO_PORTS && at < MMIO_PORTS + 0x20) {
            vga_port_write(v, 0x3c0 + at - MMIO_PORTS, (uint8_t)val);
        }
    }
}

static const struct reg_name mmio_names[] = {
    { 0x000, "EDID" },
    { 0x080, "-" },
    { 0x400, "ARX" },
    { 0x401, "AR" },
    { 0x402, "STAT0/MISC" },
    { 0x403, "VSSE" },
    { 0x404, "SRX" },
    { 0x405, "SR" },
    { 0x406, "PELMASK" },
    { 0x407, "PELR" },
    { 0x408, "PELW" },
    { 0x409, "PELDATA" },
    { 0x40a, "FC" },
    { 0x40b, "-" },
    { 0x40c, "MISC" },
    { 0x40d, "-" },
    { 0x40e, "GRX" },
    { 0x40f, "GR" },
    { 0x410, "-" },
    { 0x414, "CRX" },
    { 0x415, "CRTC" },
    { 0x416, "-" },
    { 0x41a, "STAT1/FC" },
    { 0x41b, "-" },
    { 0x500, "VBE_ID" },
    { 0x502, "VBE_XRES" },
    { 0x504, "VBE_YRES" },
    { 0x506, "VBE_BPP" },
    { 0x508, "VBE_ENABLE" },
    { 0x50a, "VBE_BANK" },
    { 0x50c, "VBE_VIRT_WIDTH" },
    { 0x50e, "VBE_VIRT_HEIGHT" },
    { 0x510, "VBE_X_OFFSET" },
    { 0x512, "VBE_Y_OFFSET" },
    { 0x514, "VBE_MEMORY_64K" },
    { 0x516, "-" },
    { 0x600, "QEXT_SIZE" },
    { 0x604, "QEXT_BYTEORDER" },
    { 0x608, NULL },
};
static const struct region_ops mmio_ops = { mmio_read, mmio_write, 2, mmio_names };

static void std_frame(const struct vga *v, struct vga_frame *f)
{
    if (vbe_enabled(v) && v->ar_index & 0x20) {
        vbe_frame(v, f);
    } else if (!vbe_enabled(v) && !vga_screen_off(v)) {
        vga_frame_legacy(v, f);
    }
}

static const struct vga_chip std_chip = {
    .sr_read = vga_sr_read,
    .sr_write = vga_sr_write,
    .gr_read = vga_gr_read,
    .gr_write = vga_gr_write,
    .cr_read = vga_cr_read,
    .cr_write = vga_cr_write,
    .mask_read = vga_mask_read,
    .mask_write = vga_mask_write,
    .dac_entry = vga_dac_entry,
    .window = &vga_window_ops,
    .frame = std_frame,
    .overlay_moved = vga_no_overlay_moved,
    .overlay = vga_no_overlay,
};

static int std_init(struct device *d, struct err *e)
{
    static const struct pci_info info = {
        .vendor = 0x1234,
        .device = 0x1111,
        .subvendor = 0x1af4,
        .subdevice = 0x1100,
        .class = 0x030000,
        .revision = 2,
    };
    struct vga_std *s = (struct vga_std *)d;
    struct vga *v = vga_of(d);
    int rc = vga_pci_init(&s->base, &info, &std_chip, e);
    if (rc < 0) {
        return rc;
    }
    vga_edid(s->edid, v->vram.len);
    pci_add_block_bar(&s->base.pci, 0, &v->vram, true, &vga_vram_ops, "VRAM");
    pci_add_bar(&s->base.pci, 2, false, 0x1000, &mmio_ops, "VGA MMIO");
    region_init(&v->dispi, d, &vga_dispi_ops, IO_PIO, 3, "dispi");
    region_map(&v->dispi, 0x1ce);
    return 0;
}

static void std_reset(struct device *d)
{
    pci_reset(&((struct vga_pci *)d)->pci);
    vga_reset(vga_of(d));
}

static int std_loaded(struct device *d, struct err *e)
{
    int rc = pci_loaded(&((struct vga_pci *)d)->pci, e);
    if (rc == 0) {
        rc = vga_check_standard(vga_of(d), e);
    }
    return rc < 0 ? rc : vga_loaded(vga_of(d), e);
}

static void std_fini(struct device *d)
{
    if (vga_of(d)->d) {
        region_unmap(&vga_of(d)->dispi);
    }
    vga_pci_fini(d);
}

static const struct dev_prop std_props[] = {
    VGA_PROPS(16),
    { NULL, PROP_END, 0, 0, NULL },
};
static const struct state_field std_state[] = {
    VGA_STATE,
    FIELD_END,
};

const struct dev_class vga_class = {
    .name = "VGA",
    .desc = "standard VGA with Bochs dispi (PCI 1234:1111)",
    .size = sizeof(struct vga_std),
    .props = std_props,
    .state = std_state,
    .state_version = 2,
    .user_creatable = true,
    .init = std_init,
    .reset = std_reset,
    .loaded = std_loaded,
    .fini = std_fini,
};
