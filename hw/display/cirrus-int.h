/* SPDX-License-Identifier: MIT */
/* hw/display/cirrus-int.h - what the parts of the CL-GD5446 share: registers and class (cirrus.c),
 * apertures (cirrus-mem.c), BitBLT engine (cirrus-blt.c), hardware cursor (cirrus-cursor.c).
 */
#ifndef HW_DISPLAY_CIRRUS_INT_H
#define HW_DISPLAY_CIRRUS_INT_H

#include "hw/display/vga-int.h"

enum {
    /* SR07 */
    SR7_EXTENDED = 0x01, /* packed pixels */
    /* SR12 */
    SR12_CURSOR = 0x01,
    SR12_CURSOR_DAC = 0x02, /* port 3c9 reaches the cursor's colours */
    SR12_CURSOR_64 = 0x04,
    /* SR17 */
    SR17_MMIO = 0x04,     /* BLT registers in memory: at 0xb8000 ... */
    SR17_MMIO_TOP = 0x40, /* ... or in the last 256 bytes of the linear frame buffer */
    /* GR0B */
    GRB_DUAL_BANK = 0x01,
    GRB_BY_8 = 0x02,
    GRB_EXTENDED_WRITE = 0x04,
    GRB_BY_16 = 0x10,
    GRB_16K_BANKS = 0x20,
    /* GR30 */
    BLT_BACKWARDS = 0x01,
    BLT_TO_SYSTEM = 0x02,
    BLT_FROM_SYSTEM = 0x04,
    BLT_TRANSPARENT = 0x08,
    BLT_WIDTH = 0x30, /* bytes a pixel, less one */
    BLT_PATTERN = 0x40,
    BLT_EXPAND = 0x80,
    /* GR31 */
    BLT_BUSY = 0x01,
    BLT_START = 0x02,
    BLT_RESET = 0x04,
    BLT_FIFO = 0x08,
    BLT_AUTOSTART = 0x80,
    /* GR33 */
    BLT_DWORDS = 0x01, /* each line of bits from the system starts at a double word */
    BLT_INVERT = 0x02, /* transparent expansion draws zero bits in the background colour */
    BLT_SOLID = 0x04,
};

#define BLT_MAX_WIDTH 8192 /* bytes */
#define BLT_MAX_HEIGHT 2048

/* Parameters as they were at the start, and how far a transfer with the processor has come. */
struct cirrus_blt {
    bool to_screen, to_system; /* a transfer is under way */
    uint8_t mode, ext, rop, skip;
    uint32_t width, height; /* bytes, lines */
    uint32_t dst, src;      /* of the current line */
    uint32_t dst_pitch, src_pitch;
    uint32_t fg, bg, key;
    uint32_t line;                /* lines done */
    uint32_t at;                  /* bytes of the current line that have passed */
    uint8_t bytes[BLT_MAX_WIDTH]; /* ... and what they were */
};

/* A cursor as it was drawn. Zeroed before it is filled: compared as bytes. */
struct cirrus_cursor {
    uint32_t size; /* 0: none */
    uint32_t x, y;
    uint32_t colour[2];
    uint64_t shape; /* hash */
};

struct cirrus {
    struct vga_pci base;
    uint32_t mask;    /* the chip's own memory less one: 4 MiB at most */
    uint64_t lent_at; /* or PCI_BAR_OFF */
    uint8_t hidden_dac;
    uint8_t mask_reads; /* of port 3c6 in a row; the fifth access is the hidden register's */
    uint16_t cursor_x, cursor_y;
    uint8_t cursor_dac[48];
    struct cirrus_blt blt;
    struct cirrus_cursor drawn;
};

static inline struct vga *cirrus_vga(struct cirrus *c)
{
    return &c->base.vga;
}

static inline struct cirrus *cirrus_of(const struct vga *v)
{
    return container_of(v, struct cirrus, base.vga);
}

/* cirrus.c */
/* Lends or takes back the linear frame buffer after the BAR or the write mode changed. */
void cirrus_update_lend(struct cirrus *c);

/* cirrus-mem.c */
extern const struct region_ops cirrus_window_ops;
extern const struct region_ops cirrus_linear_ops; /* BAR0: frame buffer, BLT data at 16 MiB */
extern const struct region_ops cirrus_mmio_ops; /* BAR1: ports 3c0.. at 0, BLT registers at 0x100 */
/* Every byte of a plain linear access is one byte of memory. */
bool cirrus_linear_is_plain(const struct cirrus *c);

/* The device wrote n bytes at `at`, modulo the chip's memory. */
void cirrus_wrote(struct cirrus *c, uint32_t at, uint32_t n);

/* cirrus-blt.c */
extern const struct state_field cirrus_blt_state[];
/* A write to GR31, or one to GR2A with autostart on. */
void cirrus_blt_control(struct cirrus *c, uint8_t val);
void cirrus_blt_start(struct cirrus *c);
/* The processor's side of a transfer: size bytes in, or size bytes out. */
void cirrus_blt_feed(struct cirrus *c, uint64_t val, unsigned size);
uint64_t cirrus_blt_drain(struct cirrus *c, unsigned size);
int cirrus_blt_loaded(struct cirrus *c, struct err *e);

/* cirrus-cursor.c */
void cirrus_cursor_moved(struct vga *v, uint32_t *from, uint32_t *to);
void cirrus_cursor_draw(const struct vga *v, uint32_t y, uint32_t *row, uint32_t width);

#endif
