/* SPDX-License-Identifier: MIT */
/* hw/display/vga-int.h - what the VGA core, its renderer and its two chips share.
 *
 * The core (vga.c registers, vga-mem.c the 0xa0000 window, vga-draw.c and vga-text.c the picture)
 * knows nothing of PCI. A chip (vga-pci.c, cirrus.c) embeds struct vga in a struct vga_pci and
 * supplies a struct vga_chip, whose hooks may fall back to the core's own functions.
 *
 * Video memory holds the four planes interleaved: plane p of display address a is byte a * 4 + p,
 * so that what the linear frame buffer shows is the plain content.
 */
#ifndef HW_DISPLAY_VGA_INT_H
#define HW_DISPLAY_VGA_INT_H

#include "hw/display/vga.h"
#include "hw/pci/rom.h"
#include "ui/con.h"

struct vga;

enum vga_kind { VGA_BLANK, VGA_TEXT, VGA_PLANAR, VGA_LINEAR };
enum vga_addressing { VGA_BYTES, VGA_WORDS, VGA_DWORDS };

/* What the registers put on the screen. Zeroed before it is filled, so that two can be compared as
 * bytes: when one differs from the last, everything is drawn again. */
struct vga_frame {
    enum vga_kind kind;
    uint32_t width, height; /* pixels */
    uint32_t start;         /* of the first row: display address, or byte when linear */
    uint32_t pitch;         /* from row to row, same unit */
    uint32_t split;         /* the last scan line before the display address restarts at 0 */
    uint32_t columns;       /* character clocks a line */
    uint32_t address_mask;  /* display addresses wrap here */
    uint32_t pan;           /* dots the picture is shifted to the left */
    uint32_t first_scan;    /* row scan count of the first line */
    uint32_t max_scan;      /* row scan counts 0..max_scan */
    uint32_t font[2];       /* plane 2 addresses of maps B and A */
    enum vga_addressing addressing;
    uint8_t bpp;        /* linear: 8, 15, 16, 24, 32 */
    uint8_t shift;      /* GR05 bits 6..5: 0 planar, 1 interleaved, 2 and 3 256 colours */
    uint8_t row_bits;   /* CR17 bits 1..0: clear ones put the row scan into the address */
    uint8_t wrap_bit;   /* of the display counter that word mode wraps to bit 0 */
    uint8_t dots;       /* a character: 8, 9 */
    uint8_t underline;  /* row scan count */
    bool pan_top_only;  /* below the split nothing is shifted */
    bool scan_twice;    /* every line is shown two times */
    bool dot_twice;     /* every dot is shown two times */
    bool blink;         /* attribute bit 7 blinks instead of brightening the background */
    bool line_graphics; /* the ninth dot of 0xc0..0xdf repeats the eighth */
};

/* Where the beam is: one scan line. */
struct vga_scan {
    uint32_t y;
    uint32_t start; /* display address or byte of the line's first column */
    uint32_t ra;    /* row scan count */
    uint32_t pan;
    bool repeat; /* this line shows the previous one's data again (scan_twice) */
    bool fresh;  /* the first line of a row */
};
void vga_scan_first(const struct vga_frame *f, struct vga_scan *s);
void vga_scan_next(const struct vga_frame *f, struct vga_scan *s);

/* Bochs dispi registers. */
enum {
    VBE_ID,
    VBE_XRES,
    VBE_YRES,
    VBE_BPP,
    VBE_ENABLE,
    VBE_BANK,
    VBE_VIRT_WIDTH,
    VBE_VIRT_HEIGHT,
    VBE_X_OFFSET,
    VBE_Y_OFFSET,
    VBE_MEMORY_64K,
    VBE_REGS
};
enum {
    VBE_ENABLED = 0x01,
    VBE_GETCAPS = 0x02,
    VBE_DAC8 = 0x20,
    VBE_LFB = 0x40,
    VBE_NOCLEAR = 0x80,
};

/* How a chip differs from plain VGA; every hook is set. Index registers are bytes and so are the
 * arrays' indices: no index is out of range. */
struct vga_chip {
    uint8_t (*sr_read)(struct vga *v, uint8_t i);
    void (*sr_write)(struct vga *v, uint8_t i, uint8_t val);
    uint8_t (*gr_read)(struct vga *v, uint8_t i);
    void (*gr_write)(struct vga *v, uint8_t i, uint8_t val);
    uint8_t (*cr_read)(struct vga *v, uint8_t i);
    void (*cr_write)(struct vga *v, uint8_t i, uint8_t val);
    uint8_t (*mask_read)(struct vga *v); /* port 3c6 */
    void (*mask_write)(struct vga *v, uint8_t val);
    uint8_t *(*dac_entry)(struct vga *v, uint8_t i); /* red, green, blue behind port 3c9 */
    const struct region_ops *window;                 /* 0xa0000..0xbffff */
    /* Fills f (zeroed). */
    void (*frame)(const struct vga *v, struct vga_frame *f);
    /* Before drawing: lines [*from, *to) must be drawn even if their memory did not change. */
    void (*overlay_moved)(struct vga *v, uint32_t *from, uint32_t *to);
    /* Puts the hardware cursor over line y of width pixels. */
    void (*overlay)(const struct vga *v, uint32_t y, uint32_t *row, uint32_t width);
};

#define VGA_ROM_BYTES 0x10000 /* the ROM BAR */
#define VGA_MAX_COLUMNS 257   /* CR01 counts to 256; one more for panning */
#define VGA_MAX_ROWS 2048     /* vertical display end has 11 bits at most */

struct vga {
    struct device *d;
    const struct vga_chip *chip;
    struct con *con;
    uint32_t vgamem_mb;
    struct gmem_block vram;
    uint32_t vram_mask; /* vram.len - 1, a power of two less one */

    /* guest-visible */
    uint8_t misc, feature;
    uint8_t sr_index, gr_index, cr_index, ar_index;
    bool ar_data; /* port 3c0 takes data next */
    uint8_t sr[256], gr[256], cr[256], ar[32];
    uint8_t dac_mask, dac_read, dac_write, dac_step; /* step 0..2: red, green, blue */
    uint8_t dac_state;                               /* port 3c7: 3 reading, 0 writing */
    uint8_t dac_part[2];                             /* red and green until blue arrives */
    uint8_t dac[768];
    uint32_t latch; /* plane p in byte p */
    uint16_t vbe_index, vbe[VBE_REGS];
    uint64_t retrace_due; /* the retrace, counted from time 0, that raises the interrupt; 0: none */

    struct region ports[5], window, dispi;

    /* the picture as last drawn; rebuilt whenever redraw is set */
    bool redraw;
    struct vga_frame shown;
    uint32_t lut[256], text_lut[16]; /* pixels of DAC indices and of attribute colours */
    uint8_t font[2][256 * 32];
    uint32_t *cells;  /* VGA_MAX_ROWS * VGA_MAX_COLUMNS */
    uint64_t *dirty;  /* a bit a page of vram */
    uint8_t *scratch; /* one line that wraps around the end of video memory */
};

struct vga_pci {
    struct pci_dev pci;
    struct vga vga;
    struct pci_rom *rom_image; /* property "rom" */
    struct gmem_block rom;
};

static inline struct vga *vga_of(struct device *d)
{
    return &((struct vga_pci *)d)->vga;
}

extern const struct state_field vga_state[];
#define VGA_PROPS(mb)                                                                              \
    PCI_PROPS(struct vga_pci),                                                                     \
        PROP(struct vga_pci, "vgamem_mb", PROP_U32, vga.vgamem_mb, mb, "video memory in MiB"),     \
        PROP(struct vga_pci, "con", PROP_PTR, vga.con, 0, "the screen"),                           \
        PCI_ROM_PROP(struct vga_pci, rom_image)
#define VGA_STATE                                                                                  \
    PCI_STATE(struct vga_pci), FIELD_SUB(struct vga_pci, vga, vga_state, 1),                       \
        FIELD_BLOCK(struct vga_pci, rom)

/* vga.c: registers. */
int vga_init(struct vga *v, struct device *d, const struct vga_chip *chip, struct err *e);
void vga_fini(struct vga *v);
void vga_reset(struct vga *v);
/* The registers every chip has; the chip checks its own SR and GR. */
int vga_loaded(struct vga *v, struct err *e);
int vga_check_standard(const struct vga *v, struct err *e);
/* Legacy ports by number, 0x3b0..0x3df. */
uint8_t vga_port_read(struct vga *v, unsigned port);
void vga_port_write(struct vga *v, unsigned port, uint8_t val);
/* The standard registers, for chips to fall back to. */
uint8_t vga_sr_read(struct vga *v, uint8_t i);
void vga_sr_write(struct vga *v, uint8_t i, uint8_t val);
uint8_t vga_gr_read(struct vga *v, uint8_t i);
void vga_gr_write(struct vga *v, uint8_t i, uint8_t val);
uint8_t vga_cr_read(struct vga *v, uint8_t i);
void vga_cr_write(struct vga *v, uint8_t i, uint8_t val);
uint8_t vga_mask_read(struct vga *v);
void vga_mask_write(struct vga *v, uint8_t val);
uint8_t *vga_dac_entry(struct vga *v, uint8_t i);
/* The port 3c9 has 8 bits a colour (dispi's DAC8, or never on Cirrus). */
bool vga_dac8(const struct vga *v);

/* Three colours of six bits, one a byte, to eight bits. */
static inline uint32_t vga_rgb6(uint32_t rgb)
{
    return (rgb & 0x3f3f3f) << 2 | (rgb >> 4 & 0x030303);
}
/* Refuses saved registers with bits set that bits[0..n) says the guest cannot set. */
int vga_check_bits(const struct vga *v, const char *field, const uint8_t *regs, const uint8_t *bits,
                   size_t n, struct err *e);

/* vga-mem.c: the window. */
extern const struct region_ops vga_window_ops;
extern const struct region_ops vga_vram_ops; /* the linear frame buffer where it is not lent */
/* bits 0..3 to 0x00 or 0xff in bytes 0..3. */
uint32_t vga_spread(unsigned bits);

/* vbe.c: Bochs dispi. */
extern const struct region_ops vga_dispi_ops;
static inline bool vbe_enabled(const struct vga *v)
{
    return v->vbe[VBE_ENABLE] & VBE_ENABLED;
}
uint16_t vbe_read(const struct vga *v, unsigned index);
void vbe_write(struct vga *v, unsigned index, uint16_t val);
void vbe_reset(struct vga *v);
int vbe_loaded(struct vga *v, struct err *e);
void vbe_frame(const struct vga *v, struct vga_frame *f);
/* Bytes a line, 0 when it would not fit video memory. */
uint32_t vbe_pitch(const struct vga *v);

/* edid.c: a 128-byte EDID 1.4 block for a screen with vram_bytes of memory at 32 bits a pixel. */
void vga_edid(uint8_t edid[128], uint64_t vram_bytes);

/* vga-draw.c and vga-text.c: the picture. */
extern const struct con_screen_ops vga_screen_ops;
/* The sequencer blanks the screen. */
bool vga_screen_off(const struct vga *v);
/* What plain VGA shows, were the screen not off. */
void vga_frame_legacy(const struct vga *v, struct vga_frame *f);
void vga_no_overlay_moved(struct vga *v, uint32_t *from, uint32_t *to);
void vga_no_overlay(const struct vga *v, uint32_t y, uint32_t *row, uint32_t width);
/* Four planes under character clock c of scan line ra. */
uint32_t vga_fetch(const struct vga *v, const struct vga_frame *f, uint32_t c, uint32_t ra);
void vga_draw_text(struct vga *v, const struct vga_frame *f, bool full);
/* Puts n dots (indices into lut) to the row's pixels from x on, each `times` wide. */
void vga_put_dots(struct vga *v, const struct vga_frame *f, uint32_t y, uint32_t x,
                  const uint8_t *dots, uint32_t n, const uint32_t *lut);

/* vga-pci.c: what both classes share. */
int vga_pci_init(struct vga_pci *p, const struct pci_info *info, const struct vga_chip *chip,
                 struct err *e);
void vga_pci_fini(struct device *d);

#endif
