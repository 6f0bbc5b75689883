/* SPDX-License-Identifier: MIT */
/* tests/fuzz/fuzz-fdc.c - the floppy controller and its DMA channel against a hostile guest.
 *
 * The input is a list of 4-byte steps: what, and two bytes of value. Commands are often whole ones
 * with plausible parameters, since noise seldom gets past the parameter checks.
 */
#include "tests/unit/fake-image.h"

#include "dm/base/ev.h"
#include "hw/block/fdc-int.h"
#include "ioreq/flat.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { STEP = 4, MAX_STEPS = 400, FLOPPY = 163840, FIFO = 0x3f5 };

struct world {
    struct flat_host *f;
    struct machine *m;
    struct ev_loop *loop;
    struct blk *blk;
    unsigned saves;
};

static void lock(void *m)
{
    machine_enter(m);
}

static void unlock(void *m)
{
    machine_leave(m);
}

static void settle(struct world *w)
{
    while (ev_loop_turn(w->loop, 0) > 0) {
    }
}

static void start(struct device *d)
{
    struct err e = { 0 };

    if (dev_init(d, &e) < 0) {
        abort();
    }
}

static void world_make(struct world *w)
{
    struct device *d;

    w->f = flat_new(128 << 10);
    w->m = machine_new("pc", &flat_host_ops, w->f);
    w->loop = ev_loop_new(lock, unlock, w->m);
    w->blk = blk_new(w->loop, "fd0");
    blk_set_image(w->blk, &fake_image_new(FLOPPY)->base);
    start(dev_new(w->m, &i8257_class, NULL));
    d = dev_new(w->m, &fdc_class, NULL);
    dev_set_ptr(d, "driveA", w->blk);
    start(d);
    machine_set_run_state(w->m, RUN_RUNNING);
}

static void out(struct world *w, unsigned port, uint32_t val)
{
    io_write(w->m, IO_PIO, port, 1, val);
}

static void save_and_load(struct world *w)
{
    struct state_buf b = { 0 };
    struct err e = { 0 };
    uint64_t hash;

    if (w->saves++ > 8) { /* a save is dear */
        return;
    }
    machine_enter(w->m);
    blk_drain(w->blk);
    machine_set_run_state(w->m, RUN_PAUSED);
    hash = machine_state_hash(w->m);
    if (machine_save(w->m, &b, &e) < 0 || machine_load(w->m, b.p, b.len, &e) < 0 ||
        machine_state_hash(w->m) != hash) {
        log_msg(LOG_ERROR, "fuzz", "%s", e.msg);
        abort();
    }
    machine_set_run_state(w->m, RUN_RUNNING);
    machine_leave(w->m);
    free(b.p);
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
            io_read(w->m, IO_PIO, FIFO, 1);
        }
    }
}

static void disturb(struct world *w, const uint8_t *s)
{
    struct fake_image *image = (struct fake_image *)blk_image(w->blk);

    machine_enter(w->m);
    switch (s[1] & 3) {
    case 0:
        blk_set_image(w->blk, s[2] & 1 ? &fake_image_new(FLOPPY)->base : NULL);
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
        machine_reset(w->m);
        break;
    }
    machine_leave(w->m);
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
        settle(w);
        break;
    case 9:
        disturb(w, s);
        break;
    case 10:
        save_and_load(w);
        break;
    case 11:
        io_read(w->m, IO_PIO, 0x3f0 + (s[1] & 7), 1);
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
    settle(&w);
    w.saves = 0;
    save_and_load(&w);
    machine_free(w.m);
    flat_free(w.f);
    blk_free(w.blk);
    ev_loop_free(w.loop);
    return 0;
}
