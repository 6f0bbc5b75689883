/* SPDX-License-Identifier: MIT */
/* tests/fuzz/fuzz-display.h - a display device against a hostile guest and a viewer that looks at
 * any moment.
 *
 * The input is a list of 8-byte steps: what, then its operands. What must hold besides not
 * crashing: damage lies inside the picture, and saved state loads.
 */
#ifndef FUZZ_DISPLAY_H
#define FUZZ_DISPLAY_H

#include "dm/base/bytes.h"
#include "hw/display/vga.h"
#include "hw/pci/i440fx.h"
#include "hw/pci/pci.h"
#include "ioreq/flat.h"
#include "ui/con.h"

#include <assert.h>
#include <stdlib.h>
#include <zlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { STEP = 8, MAX_STEPS = 200, BAR0 = 0xe0000000u, BAR1 = 0xd0000000u, BAR2 = 0xd0100000u };

struct world {
    struct flat_host *f;
    struct machine *m;
    struct con *con;
    struct device *dev;
    struct con_viewer viewer;
    unsigned moves;
};

static void damaged(void *opaque, unsigned x, unsigned y, unsigned w, unsigned h)
{
    const struct con *con = opaque;
    assert(w > 0 && h > 0 && x + w <= con->width && y + h <= con->height);
}

static void resized(void *opaque)
{
    (void)opaque;
}

static void decode_on(struct world *w)
{
    pci_cfg_write(w->m, 0, PCI_DEVFN(2, 0), PCI_BAR0, 4, BAR0);
    pci_cfg_write(w->m, 0, PCI_DEVFN(2, 0), PCI_BAR0 + 4, 4, BAR1);
    pci_cfg_write(w->m, 0, PCI_DEVFN(2, 0), PCI_BAR0 + 8, 4, BAR2);
    pci_cfg_write(w->m, 0, PCI_DEVFN(2, 0), PCI_COMMAND, 2, 3);
}

static void world_make(struct world *w, const struct dev_class *class)
{
    struct err e = { 0 };
    w->f = flat_new(1 << 16);
    w->f->refuse_lend = true;
    w->m = machine_new("fuzz", &flat_host_ops, w->f);
    w->con = con_new();
    machine_enter(w->m);
    if (dev_init(dev_new(w->m, &i440fx_class, NULL), &e) < 0) {
        abort();
    }
    w->dev = dev_new(w->m, class, "display");
    dev_set_str(w->dev, "addr", "2");
    dev_set_u32(w->dev, "vgamem_mb", 1);
    dev_set_ptr(w->dev, "con", w->con);
    if (dev_init(w->dev, &e) < 0) {
        abort();
    }
    machine_set_run_state(w->m, RUN_RUNNING);
    decode_on(w);
    machine_leave(w->m);
    w->moves = 0;
    w->viewer = (struct con_viewer){ damaged, resized, w->con, NULL };
    con_add_viewer(w->con, &w->viewer);
}

static void world_free(struct world *w)
{
    con_del_viewer(w->con, &w->viewer);
    machine_free(w->m);
    con_free(w->con);
    flat_free(w->f);
}

static void port_step(struct world *w, const uint8_t *s)
{
    static const uint16_t ports[16] = { 0x3c0, 0x3c2, 0x3c4, 0x3c5, 0x3ce, 0x3cf, 0x3d4, 0x3d5,
                                        0x3b4, 0x3b5, 0x3c6, 0x3c7, 0x3c8, 0x3c9, 0x3da, 0x3ba };
    unsigned size = 1u << (s[2] & 1);
    if (s[2] & 2) {
        (void)io_read(w->m, IO_PIO, ports[s[1] & 15], size);
    } else {
        io_write(w->m, IO_PIO, ports[s[1] & 15], size, load_le16(s + 3));
    }
}

/* An indexed register, which random ports would seldom hit. */
static void index_step(struct world *w, const uint8_t *s)
{
    static const uint16_t ports[4] = { 0x3c4, 0x3ce, 0x3d4, 0x3c0 };
    if ((s[1] & 3) == 3) {
        (void)io_read(w->m, IO_PIO, 0x3da, 1);
        io_write(w->m, IO_PIO, 0x3c0, 1, s[2] & 0x3f);
        io_write(w->m, IO_PIO, 0x3c0, 1, s[3]);
    } else {
        io_write(w->m, IO_PIO, ports[s[1] & 3], 2, load_le16(s + 2));
    }
}

static void dispi_step(struct world *w, const uint8_t *s)
{
    io_write(w->m, IO_PIO, 0x1ce, 2, s[1] & 15);
    io_write(w->m, IO_PIO, 0x1cf, 2, load_le16(s + 2) >> (s[1] >> 4));
}

static void memory_step(struct world *w, const uint8_t *s)
{
    static const struct {
        uint32_t base, len;
    } windows[8] = { { 0xa0000, 0x20000 }, { 0xa0000, 0x10000 },     { 0xb8000, 0x8000 },
                     { BAR0, 0x100000 },   { BAR0, 0x2000000 },      { BAR1, 0x200 },
                     { BAR2, 0x700 },      { BAR0 + 0xfff00, 0x100 } };
    unsigned size = 1u << (s[1] & 3);
    uint32_t at = (uint32_t)load_le(s + 2, 3) * 3 % windows[s[1] >> 2 & 7].len;
    at += windows[s[1] >> 2 & 7].base;
    if (s[1] & 0x80) {
        (void)io_read(w->m, IO_MMIO, at, size);
    } else {
        io_write(w->m, IO_MMIO, at, size, load_le(s + 5, 3) * 0x10001000100ull);
    }
}

static void look(struct world *w, const uint8_t *s)
{
    machine_enter(w->m);
    w->con->looking = s[1] & 1;
    con_refresh(w->con, s[1] & 2);
    machine_leave(w->m);
}

/* A checksum that fits, so that values are looked at; ioreq/state.c has the format. */
static void spoil(struct state_buf *b, const uint8_t *s)
{
    size_t body = b->len - 9, at = (size_t)load_le16(s + 2) % (body < 9000 ? body : 9000);
    at = s[7] & 1 ? 5 + at : b->len - 5 - at; /* from either end: memory lies between */
    b->p[at] ^= s[4];
    store_le(b->p + b->len - 4, 4, crc32_z(0, b->p + 5, b->len - 9));
}

/* What was saved loads; what was spoilt may be refused, and then the device is as after reset. */
static void save_and_load(struct world *w, const uint8_t *s)
{
    struct state_buf b = { 0 };
    struct err e = { 0 };
    bool spoilt = s[7] & 2;
    machine_enter(w->m);
    dev_save(w->dev, &b);
    if (spoilt) {
        spoil(&b, s);
    }
    if (dev_load(w->dev, b.p, b.len, &e) != (long)b.len && !spoilt) {
        log_msg(LOG_ERROR, "fuzz", "%s", e.msg);
        abort();
    }
    decode_on(w);
    machine_leave(w->m);
    free(b.p);
}

static void other(struct world *w, const uint8_t *s)
{
    if (s[1] < 0x08) {
        machine_enter(w->m);
        dev_reset(w->dev);
        decode_on(w);
        machine_leave(w->m);
    } else if (s[1] < 0x40 && w->moves++ < 4) {
        save_and_load(w, s);
    } else {
        flat_advance(w->f, w->m, (int64_t)load_le16(s + 2) * 100000);
    }
}

/* A blit: mode, raster operation, sizes and places that are likely to reach an end of memory. */
static void blit_step(struct world *w, const uint8_t *s)
{
    const uint8_t regs[][2] = { { 0x30, s[1] }, { 0x20, s[2] }, { 0x21, s[3] & 1 }, { 0x22, s[3] },
                                { 0x23, 0 },    { 0x24, s[4] }, { 0x2a, s[5] },     { 0x2e, s[6] },
                                { 0x33, s[7] }, { 0x31, 0 },    { 0x31, 2 } };
    for (size_t i = 0; i < ARRAY_SIZE(regs); i++) {
        io_write(w->m, IO_PIO, 0x3ce, 2, regs[i][0] | regs[i][1] << 8);
    }
}

static int fuzz_display(const struct dev_class *class, const uint8_t *data, size_t len)
{
    static void (*const steps[8])(struct world *, const uint8_t *) = {
        port_step, index_step, dispi_step, memory_step, memory_step, look, other, blit_step,
    };
    struct world w;
    log_set_level(LOG_ERROR);
    world_make(&w, class);
    for (size_t i = 0; i + STEP <= len && i < MAX_STEPS * STEP; i += STEP) {
        steps[data[i] & 7](&w, data + i);
    }
    world_free(&w);
    return 0;
}

#endif
