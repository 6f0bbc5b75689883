/* SPDX-License-Identifier: MIT */
/* tests/fuzz/fuzz-fdc.c - the floppy controller and its DMA channel against a hostile guest.
 *
 * The input is a list of 4-byte steps: what, and two bytes of value. Commands are often whole ones
 * with plausible parameters, since noise seldom gets past the parameter checks.
 */
#include "tests/fuzz/disk-world.h"

#include "hw/block/fdc-int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { STEP = 4, MAX_STEPS = 400, FLOPPY = 163840, FIFO = 0x3f5, MAX_SAVES = 9 };

struct world {
    struct disk_world base;
};

static void world_make(struct world *w)
{
    struct device *d;

    disk_world_make(&w->base, 128 << 10);
    struct blk *blk = disk_world_drive(&w->base, FLOPPY);
    world_start(dev_new(w->base.m, &i8257_class, NULL));
    d = dev_new(w->base.m, &fdc_class, NULL);
    dev_set_ptr(d, "driveA", blk);
    world_start(d);
    machine_set_run_state(w->base.m, RUN_RUNNING);
}

static void out(struct world *w, unsigned port, uint32_t val)
{
    io_write(w->base.m, IO_PIO, port, 1, val);
}

static void whole_command(struct world *w, const uint8_t *s)
{
    static const uint8_t codes[] = { 0xe6, 0xc5, 0x46, 0x45, 0x42, 0x4c, 0x56, 0x49 };
    const uint8_t bytes[9] = {
        codes[s[1] & 7],
        s[1] >> 6 & (s[2] & 1 ? 3 : 0),
        s[2] & 7,
        0,
        1 + (s[2] >> 3 & 7),
        2,
        8,
        0x1b,
        0xff,
    };

    for (unsigned i = 0; i < sizeof(bytes); i++) {
        out(w, FIFO, bytes[i]);
    }
}

static void program_dma(struct world *w, const uint8_t *s)
{
    out(w, 0x0a, 6);
    out(w, 0x0b, (s[1] & 0xfc) | 2);
    out(w, 0x0c, 0);
    out(w, 0x04, s[2]);
    out(w, 0x04, s[2]);
    out(w, 0x05, s[3]);
    out(w, 0x05, s[3] >> 4);
    out(w, 0x0a, 2);
}

static void cpu_run(struct world *w, const uint8_t *s)
{
    for (unsigned i = 0; i < 4u * s[2] + 4; i++) {
        if (s[1] & 1) {
            out(w, FIFO, s[3]);
        } else {
            io_read(w->base.m, IO_PIO, FIFO, 1);
        }
    }
}

static void disturb(struct world *w, const uint8_t *s)
{
    struct fake_image *image = (struct fake_image *)blk_image(w->base.blk[0]);

    machine_enter(w->base.m);
    switch (s[1] & 3) {
    case 0:
        blk_set_image(w->base.blk[0], s[2] & 1 ? &fake_image_new(FLOPPY)->base : NULL);
        break;
    case 1:
        if (image) {
            image->hold = s[2] & 1;
            image->fail = s[2] & 2 ? -EIO : 0;
            image->base.read_only = s[2] & 4;
        }
        break;
    case 2:
        if (image) {
            fake_release(image);
        }
        break;
    default:
        machine_reset(w->base.m);
        break;
    }
    machine_leave(w->base.m);
}

static void step(struct world *w, const uint8_t *s)
{
    switch (s[0] & 15) {
    default:
        out(w, 0x3f0 + (s[1] & 7), s[2]);
        break;
    case 4:
        out(w, 0x3f7, 1); /* the rate of the medium */
        whole_command(w, s);
        break;
    case 5:
        whole_command(w, s);
        break;
    case 6:
        program_dma(w, s);
        break;
    case 7:
        cpu_run(w, s);
        break;
    case 8:
        world_settle(&w->base);
        break;
    case 9:
        disturb(w, s);
        break;
    case 10:
        world_save_and_load(&w->base, MAX_SAVES);
        break;
    case 11:
        io_read(w->base.m, IO_PIO, 0x3f0 + (s[1] & 7), 1);
        break;
    case 12:
        out(w, s[1] & 15, s[2]);
        break;
    case 13:
        out(w, 0x3f2, s[1] & 1 ? 0x0c : 0x04 | (s[2] & 0x3b));
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct world w = { 0 };

    log_set_level(LOG_ERROR);
    world_make(&w);
    for (unsigned i = 0; i < MAX_STEPS && len >= STEP; i++, data += STEP, len -= STEP) {
        step(&w, data);
    }
    world_settle(&w.base);
    w.base.saves = 0;
    world_save_and_load(&w.base, MAX_SAVES);
    disk_world_free(&w.base);
    return 0;
}
