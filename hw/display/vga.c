/* SPDX-License-Identifier: MIT */
/* hw/display/vga.c - the VGA register core: ports 3b4-3b5, 3ba, 3c0-3cf, 3d4-3d5 and 3da.
 *
 * A port access is one table look-up and changes registers only; what they mean is worked out when
 * somebody looks at the screen (vga-draw.c) or touches the window (vga-mem.c). Vertical retrace is
 * a function of virtual time at a fixed 60 Hz; so is its interrupt's status bit, which software
 * polls. Its line is strapped off, as boards have it.
 * Left out: light pen, sense comparator, and timing derived from the programmed CRTC values.
 * Reference: IBM VGA XGA Technical Reference (1992), chapter 2; FreeVGA register pages.
 */
#include "hw/display/vga-int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_PORT 0x3b0
#define FRAME_NS 16683333 /* 59.94 Hz */
#define LINES 525         /* of a 640x480 frame, of which 480 are shown */
#define SHOWN_LINES 480

/* What a guest can set in each standard register. */
static const uint8_t sr_bits[5] = { 0x03, 0x3d, 0x0f, 0x3f, 0x0e };
static const uint8_t gr_bits[9] = { 0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff };
static const uint8_t ar_bits[21] = { 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f,
                                     0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f,
                                     0x3f, 0x3f, 0xef, 0xff, 0x3f, 0x0f, 0x0f };
#define CR_COUNT 0x19
#define CR_RETRACE_ARMED 0x10 /* CR11 */
#define CR_PROTECT 0x80       /* CR11: registers 0..7 are read-only but for CR07 bit 4 */

uint8_t vga_sr_read(struct vga *v, uint8_t i)
{
    return i < ARRAY_SIZE(sr_bits) ? v->sr[i] : 0;
}

void vga_sr_write(struct vga *v, uint8_t i, uint8_t val)
{
    if (i < ARRAY_SIZE(sr_bits)) {
        v->sr[i] = val & sr_bits[i];
    }
}

uint8_t vga_gr_read(struct vga *v, uint8_t i)
{
    return i < ARRAY_SIZE(gr_bits) ? v->gr[i] : 0;
}

void vga_gr_write(struct vga *v, uint8_t i, uint8_t val)
{
    if (i < ARRAY_SIZE(gr_bits)) {
        v->gr[i] = val & gr_bits[i];
    }
}

uint8_t vga_cr_read(struct vga *v, uint8_t i)
{
    return i < CR_COUNT ? v->cr[i] : 0;
}

/* How many vertical retraces have begun so far. */
static uint64_t retraces(const struct vga *v)
{
    uint64_t now = (uint64_t)vclock_now(v->d->m);
    return now / FRAME_NS + (now % FRAME_NS >= SHOWN_LINES * (FRAME_NS / LINES));
}

/* CR11 bit 4 clear drops the interrupt; set, the next retrace raises it. */
static void arm_retrace(struct vga *v)
{
    if (!(v->cr[0x11] & CR_RETRACE_ARMED)) {
        v->retrace_due = 0;
    } else if (v->retrace_due == 0) {
        v->retrace_due = retraces(v) + 1;
    }
}

void vga_cr_write(struct vga *v, uint8_t i, uint8_t val)
{
    if (i >= CR_COUNT) {
        return;
    }
    if (i <= 7 && (v->cr[0x11] & CR_PROTECT)) {
        if (i == 7) {
            v->cr[7] = (uint8_t)((v->cr[7] & ~0x10) | (val & 0x10));
        }
        return;
    }
    v->cr[i] = val;
    if (i == 0x11) {
        arm_retrace(v);
    }
}

bool vga_dac8(const struct vga *v)
{
    return v->vbe[VBE_ENABLE] & VBE_DAC8;
}

uint8_t vga_mask_read(struct vga *v)
{
    return v->dac_mask;
}

void vga_mask_write(struct vga *v, uint8_t val)
{
    v->dac_mask = val;
}

uint8_t *vga_dac_entry(struct vga *v, uint8_t i)
{
    return v->dac + i * 3u;
}

static uint8_t attr_read(struct vga *v)
{
    return v->ar_data ? 0 : v->ar_index;
}

static uint8_t attr_data_read(struct vga *v)
{
    return v->ar[v->ar_index & 0x1f];
}

static void attr_write(struct vga *v, uint8_t val)
{
    unsigned i = v->ar_index & 0x1f;
    if (!v->ar_data) {
        v->ar_index = val & 0x3f;
    } else if (i < ARRAY_SIZE(ar_bits) && (i >= 0x10 || !(v->ar_index & 0x20))) {
        v->ar[i] = val & ar_bits[i]; /* the palette answers only while the screen is off it */
    }
    v->ar_data = !v->ar_data;
}

static uint8_t status0_read(struct vga *v)
{
    bool retrace = v->retrace_due && retraces(v) >= v->retrace_due;
    return 0x10 | (retrace ? 0x80 : 0); /* sense comparator: a colour monitor is there */
}

static uint8_t misc_read(struct vga *v)
{
    return v->misc;
}

static void misc_write(struct vga *v, uint8_t val)
{
    v->misc = val & 0xef;
}

static uint8_t feature_read(struct vga *v)
{
    return v->feature;
}

static void feature_write(struct vga *v, uint8_t val)
{
    v->feature = val & 0x08;
}

/* Bit 3 while the beam is below the picture, bit 0 then and in the last fifth of each line. */
static uint8_t status1_read(struct vga *v)
{
    uint64_t t = (uint64_t)vclock_now(v->d->m) % FRAME_NS;
    uint64_t line_ns = FRAME_NS / LINES;
    v->ar_data = false;
    if (t >= SHOWN_LINES * line_ns) {
        return 0x09;
    }
    return t % line_ns >= line_ns * 4 / 5 ? 0x01 : 0x00;
}

static uint8_t sr_index_read(struct vga *v)
{
    return v->sr_index;
}

static void sr_index_write(struct vga *v, uint8_t val)
{
    v->sr_index = val;
}

static uint8_t sr_data_read(struct vga *v)
{
    return v->chip->sr_read(v, v->sr_index);
}

static void sr_data_write(struct vga *v, uint8_t val)
{
    v->chip->sr_write(v, v->sr_index, val);
}

static uint8_t gr_index_read(struct vga *v)
{
    return v->gr_index;
}

static void gr_index_write(struct vga *v, uint8_t val)
{
    v->gr_index = val;
}

static uint8_t gr_data_read(struct vga *v)
{
    return v->chip->gr_read(v, v->gr_index);
}

static void gr_data_write(struct vga *v, uint8_t val)
{
    v->chip->gr_write(v, v->gr_index, val);
}

static uint8_t cr_index_read(struct vga *v)
{
    return v->cr_index;
}

static void cr_index_write(struct vga *v, uint8_t val)
{
    v->cr_index = val;
}

static uint8_t cr_data_read(struct vga *v)
{
    return v->chip->cr_read(v, v->cr_index);
}

static void cr_data_write(struct vga *v, uint8_t val)
{
    v->chip->cr_write(v, v->cr_index, val);
}

static uint8_t mask_read(struct vga *v)
{
    return v->chip->mask_read(v);
}

static void mask_write(struct vga *v, uint8_t val)
{
    v->chip->mask_write(v, val);
}

static uint8_t dac_state_read(struct vga *v)
{
    return v->dac_state;
}

static void dac_read_index(struct vga *v, uint8_t val)
{
    v->dac_read = val;
    v->dac_step = 0;
    v->dac_state = 3;
}

static uint8_t dac_write_index_read(struct vga *v)
{
    return v->dac_write;
}

static void dac_write_index(struct vga *v, uint8_t val)
{
    v->dac_write = val;
    v->dac_step = 0;
    v->dac_state = 0;
}

static uint8_t dac_data_read(struct vga *v)
{
    uint8_t val = v->chip->dac_entry(v, v->dac_read)[v->dac_step];
    if (++v->dac_step == 3) {
        v->dac_step = 0;
        v->dac_read++;
    }
    return val;
}

/* The entry changes when its third byte arrives. */
static void dac_data_write(struct vga *v, uint8_t val)
{
    uint8_t c = vga_dac8(v) ? val : val & 0x3f;
    if (v->dac_step < 2) {
        v->dac_part[v->dac_step++] = c;
        return;
    }
    uint8_t *entry = v->chip->dac_entry(v, v->dac_write);
    entry[0] = v->dac_part[0];
    entry[1] = v->dac_part[1];
    entry[2] = c;
    v->dac_step = 0;
    v->dac_write++;
}

struct vga_port {
    uint8_t (*read)(struct vga *v);
    void (*write)(struct vga *v, uint8_t val);
};

#define PORT(n) [(n)-FIRST_PORT]
static const struct vga_port ports[0x30] = {
    /* port          read                  write */
    PORT(0x3b4) = { cr_index_read, cr_index_write },
    PORT(0x3b5) = { cr_data_read, cr_data_write },
    PORT(0x3ba) = { status1_read, feature_write },
    PORT(0x3c0) = { attr_read, attr_write },
    PORT(0x3c1) = { attr_data_read, NULL },
    PORT(0x3c2) = { status0_read, misc_write },
    PORT(0x3c4) = { sr_index_read, sr_index_write },
    PORT(0x3c5) = { sr_data_read, sr_data_write },
    PORT(0x3c6) = { mask_read, mask_write },
    PORT(0x3c7) = { dac_state_read, dac_read_index },
    PORT(0x3c8) = { dac_write_index_read, dac_write_index },
    PORT(0x3c9) = { dac_data_read, dac_data_write },
    PORT(0x3ca) = { feature_read, NULL },
    PORT(0x3cc) = { misc_read, NULL },
    PORT(0x3ce) = { gr_index_read, gr_index_write },
    PORT(0x3cf) = { gr_data_read, gr_data_write },
    PORT(0x3d4) = { cr_index_read, cr_index_write },
    PORT(0x3d5) = { cr_data_read, cr_data_write },
    PORT(0x3da) = { status1_read, feature_write },
};

/* Misc bit 0 moves the CRTC and status ports between 3bx (mono) and 3dx (colour). */
static bool port_decoded(const struct vga *v, unsigned port)
{
    return (port & 0x30) == 0 || ((v->misc & 1) ? port >= 0x3c0 : port < 0x3d0);
}

uint8_t vga_port_read(struct vga *v, unsigned port)
{
    const struct vga_port *p = &ports[port - FIRST_PORT];
    return p->read && port_decoded(v, port) ? p->read(v) : 0xff;
}

void vga_port_write(struct vga *v, unsigned port, uint8_t val)
{
    const struct vga_port *p = &ports[port - FIRST_PORT];
    if (p->write && port_decoded(v, port)) {
        p->write(v, val);
    }
}

/* One pair of callbacks a range of ports, so that names in traces are right. */
#define PORT_RANGE(base)                                                                           \
    static uint64_t read_##base(struct device *d, uint64_t off, unsigned size)                     \
    {                                                                                              \
        (void)size;                                                                                \
        return vga_port_read(vga_of(d), 0x##base + (unsigned)off);                                 \
    }                                                                                              \
    static void write_##base(struct device *d, uint64_t off, unsigned size, uint64_t val)          \
    {                                                                                              \
        (void)size;                                                                                \
        vga_port_write(vga_of(d), 0x##base + (unsigned)off, (uint8_t)val);                         \
    }
PORT_RANGE(3b4)
PORT_RANGE(3ba)
PORT_RANGE(3c0)
PORT_RANGE(3d4)
PORT_RANGE(3da)

static const struct reg_name names_3x4[] = {
    { 0, "CRX" },
    { 1, "CRTC" },
    { 2, NULL },
};
static const struct reg_name names_3xa[] = {
    { 0, "STAT1/FC" },
    { 1, NULL },
};
static const struct reg_name names_3c0[] = {
    { 0x0, "ARX" }, { 0x1, "AR" },      { 0x2, "STAT0/MISC" }, { 0x3, "VSSE" }, { 0x4, "SRX" },
    { 0x5, "SR" },  { 0x6, "PELMASK" }, { 0x7, "PELR" },       { 0x8, "PELW" }, { 0x9, "PELDATA" },
    { 0xa, "FC" },  { 0xb, "-" },       { 0xc, "MISC" },       { 0xd, "-" },    { 0xe, "GRX" },
    { 0xf, "GR" },  { 0x10, NULL },
};

static const struct region_ops ops_3b4 = { read_3b4, write_3b4, 1, names_3x4 };
static const struct region_ops ops_3ba = { read_3ba, write_3ba, 1, names_3xa };
static const struct region_ops ops_3c0 = { read_3c0, write_3c0, 1, names_3c0 };
static const struct region_ops ops_3d4 = { read_3d4, write_3d4, 1, names_3x4 };
static const struct region_ops ops_3da = { read_3da, write_3da, 1, names_3xa };

static const struct {
    uint16_t base, len;
    const struct region_ops *ops;
    const char *name;
} port_ranges[] = {
    { 0x3b4, 2, &ops_3b4, "CRTC mono" }, { 0x3ba, 1, &ops_3ba, "STAT1 mono" },
    { 0x3c0, 16, &ops_3c0, "VGA" },      { 0x3d4, 2, &ops_3d4, "CRTC" },
    { 0x3da, 1, &ops_3da, "STAT1" },
};

const struct state_field vga_state[] = {
    FIELD(struct vga, misc),
    FIELD(struct vga, feature),
    FIELD(struct vga, sr_index),
    FIELD(struct vga, gr_index),
    FIELD(struct vga, cr_index),
    FIELD_RANGE(struct vga, ar_index, 0, 0x3f),
    FIELD(struct vga, ar_data),
    FIELD_ARRAY(struct vga, sr),
    FIELD_ARRAY(struct vga, gr),
    FIELD_ARRAY(struct vga, cr),
    FIELD_ARRAY(struct vga, ar),
    FIELD(struct vga, dac_mask),
    FIELD(struct vga, dac_read),
    FIELD(struct vga, dac_write),
    FIELD_RANGE(struct vga, dac_step, 0, 2),
    FIELD_RANGE(struct vga, dac_state, 0, 3),
    FIELD_ARRAY(struct vga, dac_part),
    FIELD_ARRAY(struct vga, dac),
    FIELD(struct vga, latch),
    FIELD_RANGE(struct vga, vbe_index, 0, 0xffff),
    FIELD_ARRAY(struct vga, vbe),
    FIELD_BLOCK(struct vga, vram),
    FIELD_SINCE(struct vga, retrace_due, 2),
    FIELD_END,
};

void vga_reset(struct vga *v)
{
    v->misc = v->feature = 0;
    v->sr_index = v->gr_index = v->cr_index = v->ar_index = 0;
    v->ar_data = false;
    memset(v->sr, 0, sizeof(v->sr));
    memset(v->gr, 0, sizeof(v->gr));
    memset(v->cr, 0, sizeof(v->cr));
    memset(v->ar, 0, sizeof(v->ar));
    v->dac_mask = 0xff;
    v->dac_read = v->dac_write = v->dac_step = v->dac_state = 0;
    memset(v->dac_part, 0, sizeof(v->dac_part));
    memset(v->dac, 0, sizeof(v->dac));
    v->latch = 0;
    v->retrace_due = 0;
    vbe_reset(v);
    v->redraw = true;
}

int vga_check_bits(const struct vga *v, const char *field, const uint8_t *regs, const uint8_t *bits,
                   size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        if (regs[i] & ~bits[i]) {
            return err_set(e, -EINVAL, "%s: %s[%zu] is 0x%02x, and only 0x%02x can be set",
                           v->d->id, field, i, regs[i], bits[i]);
        }
    }
    return 0;
}

int vga_check_standard(const struct vga *v, struct err *e)
{
    int rc = vga_check_bits(v, "sr", v->sr, sr_bits, sizeof(sr_bits), e);
    return rc < 0 ? rc : vga_check_bits(v, "gr", v->gr, gr_bits, sizeof(gr_bits), e);
}

int vga_loaded(struct vga *v, struct err *e)
{
    int rc = vga_check_bits(v, "ar", v->ar, ar_bits, sizeof(ar_bits), e);
    v->redraw = true;
    return rc < 0 ? rc : vbe_loaded(v, e);
}

/* Video memory is a power of two so that a mask keeps every access inside. */
static uint64_t vram_len(uint32_t mb)
{
    uint64_t len = 1u << 20;
    while (len < (uint64_t)mb << 20) {
        len *= 2;
    }
    return len;
}

int vga_init(struct vga *v, struct device *d, const struct vga_chip *chip, struct err *e)
{
    if (v->vgamem_mb < 1 || v->vgamem_mb > 256) {
        return err_set(e, -EINVAL, "%s: vgamem_mb must be 1 to 256, not %u", d->class->name,
                       v->vgamem_mb);
    }
    v->chip = chip;
    v->vram.name = "vga.vram";
    v->vram.len = vram_len(v->vgamem_mb);
    v->vram_mask = (uint32_t)(v->vram.len - 1);
    int rc = gmem_block_new(d->m, &v->vram, e);
    if (rc < 0) {
        return rc;
    }
    v->d = d;
    v->cells = xcalloc((size_t)VGA_MAX_ROWS * VGA_MAX_COLUMNS, sizeof(*v->cells));
    v->dirty = xcalloc(v->vram.len / 4096 / 64 + 1, sizeof(*v->dirty));
    v->scratch = xcalloc(CON_MAX_WIDTH, 4);
    for (size_t i = 0; i < ARRAY_SIZE(port_ranges); i++) {
        region_init(&v->ports[i], d, port_ranges[i].ops, IO_PIO, port_ranges[i].len,
                    port_ranges[i].name);
        region_map(&v->ports[i], port_ranges[i].base);
    }
    region_init(&v->window, d, chip->window, IO_MMIO, 0x20000, "VGA window");
    region_map(&v->window, 0xa0000);
    if (v->con) {
        con_set_screen(v->con, &vga_screen_ops, v);
    }
    return 0;
}

void vga_fini(struct vga *v)
{
    if (!v->d) {
        return;
    }
    if (v->con) {
        con_set_screen(v->con, NULL, NULL);
    }
    for (size_t i = 0; i < ARRAY_SIZE(v->ports); i++) {
        region_unmap(&v->ports[i]);
    }
    region_unmap(&v->window);
    free(v->cells);
    free(v->dirty);
    free(v->scratch);
    gmem_block_free(v->d->m, &v->vram);
}
