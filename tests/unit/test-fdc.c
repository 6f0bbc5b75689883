/* SPDX-License-Identifier: MIT */
/* tests/unit/test-fdc.c - the floppy controller, through its ports and the DMA controller. */
#include "fake-image.h"
#include "pc-loop.h"

#include "dm/base/bytes.h"
#include "hw/block/fdc-int.h"

enum {
    SRA = 0x3f0,
    DOR = 0x3f2,
    TDR = 0x3f3,
    MSR = 0x3f4,
    FIFO = 0x3f5,
    DIR = 0x3f7,
    FLOPPY = 1474560,
    SEC = 512,
    BUF = 0x20000,
};

struct rig {
    struct flat_pc pc;
    struct ev_loop *loop;
    struct blk *blk[2];
    struct fake_image *img[2];
    struct fdc *fdc;
};

/* what: a letter a drive: f a 1.44 MB floppy, e empty, - no drive. */
static void rig_make(struct rig *r, const char *what)
{
    struct device *d;

    *r = (struct rig){ 0 };
    pc_make(&r->pc, false);
    r->loop = pc_loop_new(&r->pc);
    pc_add(&r->pc, &i8257_class);
    d = dev_new(r->pc.m, &fdc_class, NULL);
    for (unsigned i = 0; i < 2; i++) {
        if (what[i] == '-') {
            continue;
        }
        r->blk[i] = blk_new(r->loop, i ? "fd1" : "fd0");
        if (what[i] == 'f') {
            r->img[i] = fake_image_new(FLOPPY);
            blk_set_image(r->blk[i], &r->img[i]->base);
        }
        dev_set_ptr(d, i ? "driveB" : "driveA", r->blk[i]);
    }
    r->fdc = (struct fdc *)pc_start(d);
    out(&r->pc, DIR, 1, 0); /* 500 kbit/s */
}

static void rig_free(struct rig *r)
{
    machine_free(r->pc.m);
    flat_free(r->pc.f);
    blk_free(r->blk[0]);
    blk_free(r->blk[1]);
    ev_loop_free(r->loop);
}

static void send(struct rig *r, const uint8_t *bytes, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(in(&r->pc, MSR, 1) & 0xc0, 0x80);
        out(&r->pc, FIFO, 1, bytes[i]);
    }
    settle(r->loop);
}

#define SEND(r, ...) send(r, (const uint8_t[]){ __VA_ARGS__ }, sizeof((uint8_t[]){ __VA_ARGS__ }))

static void receive(struct rig *r, uint8_t *bytes, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(in(&r->pc, MSR, 1), 0xd0);
        bytes[i] = (uint8_t)in(&r->pc, FIFO, 1);
    }
    assert_int_equal(in(&r->pc, MSR, 1), 0x80);
}

/* Channel 2: mode 0x44 device to memory, 0x48 memory to device. */
static void dma_setup(struct rig *r, unsigned mode, uint32_t addr, uint32_t len)
{
    out(&r->pc, 0x0a, 1, 6);
    out(&r->pc, 0x0c, 1, 0);
    out(&r->pc, 0x0b, 1, mode | 2);
    out(&r->pc, 0x04, 1, addr & 255);
    out(&r->pc, 0x04, 1, addr >> 8 & 255);
    out(&r->pc, 0x81, 1, addr >> 16);
    out(&r->pc, 0x05, 1, (len - 1) & 255);
    out(&r->pc, 0x05, 1, (len - 1) >> 8);
    out(&r->pc, 0x0a, 1, 2);
    settle(r->loop);
}

static void assert_result(struct rig *r, unsigned st0, unsigned st1, unsigned c, unsigned h,
                          unsigned s)
{
    uint8_t res[7];

    assert_true(r->pc.f->isa[6]);
    receive(r, res, 7);
    assert_false(r->pc.f->isa[6]);
    assert_int_equal(res[0], st0);
    assert_int_equal(res[1], st1);
    assert_int_equal(res[3], c);
    assert_int_equal(res[4], h);
    assert_int_equal(res[5], s);
    assert_int_equal(res[6], 2);
}

static unsigned lba(unsigned c, unsigned h, unsigned s)
{
    return (c * 2 + h) * 18 + s - 1;
}

static void reset_chip(struct rig *r)
{
    out(&r->pc, DOR, 1, 0x08);
    assert_int_equal(in(&r->pc, MSR, 1), 0);
    out(&r->pc, DOR, 1, 0x0c);
}

static void test_fdc_reset_polls_four_drives(void **s)
{
    struct rig r;
    uint8_t res[2];

    (void)s;
    rig_make(&r, "f-");
    reset_chip(&r);
    assert_true(r.pc.f->isa[6]);
    for (unsigned i = 0; i < 4; i++) {
        SEND(&r, 0x08);
        receive(&r, res, 2);
        assert_int_equal(res[0], 0xc0 | i);
    }
    assert_false(r.pc.f->isa[6]);
    SEND(&r, 0x08);
    receive(&r, res, 1);
    assert_int_equal(res[0], 0x80);
    SEND(&r, 0x10);
    receive(&r, res, 1);
    assert_int_equal(res[0], 0x90);
    out(&r.pc, MSR, 1, 0x80); /* the other reset: DSR */
    SEND(&r, 0x08);
    receive(&r, res, 2);
    assert_int_equal(res[0], 0xc0);
    rig_free(&r);
}

/* READ DATA or WRITE DATA of a sector waits for its drive when the chip is reset, by either register
 * or with the whole machine: the request is taken back, nothing comes of it later, and the chip works. */
static void test_fdc_reset_in_flight_takes_the_request_back(void **s)
{
    static const uint8_t commands[][9] = { { 0x46, 0, 1, 0, 3, 2, 18, 0x1b, 0xff },
                                           { 0x45, 0, 1, 0, 3, 2, 18, 0x1b, 0xff } };
    uint8_t res[2];

    (void)s;
    for (unsigned way = 0; way < 6; way++) {
        struct rig r;

        rig_make(&r, "f-");
        dma_setup(&r, way % 2 ? 0x48 : 0x44, BUF, SEC);
        r.img[0]->hold = true;
        send(&r, commands[way % 2], 9);
        assert_int_equal(r.img[0]->nheld, 1);
        assert_int_equal(in(&r.pc, MSR, 1) & 0x90, 0x10); /* busy, nothing to be had */
        if (way / 2 == 0) {
            reset_chip(&r);
        } else if (way / 2 == 1) {
            out(&r.pc, MSR, 1, 0x80);
        } else {
            machine_enter(r.pc.m);
            machine_reset(r.pc.m);
            machine_leave(r.pc.m);
        }
        assert_int_equal(blk_in_flight(r.blk[0]), 0);
        assert_int_equal(r.img[0]->nheld, 0);
        if (way / 2 == 2) {
            reset_chip(&r);
            out(&r.pc, DIR, 1, 0);
        }
        SEND(&r, 0x08);
        receive(&r, res, 2);
        assert_int_equal(res[0], 0xc0);
        settle(r.loop);
        assert_false(r.pc.f->isa[6]); /* no late interrupt of the old command */
        r.img[0]->hold = false;
        dma_setup(&r, 0x44, BUF, SEC);
        SEND(&r, 0x46, 0, 1, 0, 5, 2, 18, 0x1b, 0xff);
        assert_result(&r, 0x00, 0, 1, 0, 6);
        assert_fake(r.pc.f->ram + BUF, lba(1, 0, 5) * SEC, SEC);
        rig_free(&r);
    }
}

static void test_fdc_seek_and_recalibrate(void **s)
{
    struct rig r;
    uint8_t res[2];

    (void)s;
    rig_make(&r, "f-");
    SEND(&r, 0x0f, 0x00, 17);
    assert_true(r.pc.f->isa[6]);
    SEND(&r, 0x08);
    receive(&r, res, 2);
    assert_int_equal(res[0], 0x20);
    assert_int_equal(res[1], 17);
    SEND(&r, 0x04, 0x00);
    receive(&r, res, 1);
    assert_int_equal(res[0], 0x28);
    SEND(&r, 0x8f, 0x00, 20); /* outwards, past track 0 */
    SEND(&r, 0x08);
    receive(&r, res, 2);
    assert_int_equal(res[1], 0);
    SEND(&r, 0xcf, 0x00, 250);
    SEND(&r, 0xcf, 0x00, 250);
    SEND(&r, 0x08);
    receive(&r, res, 2);
    assert_int_equal(res[1], 255);
    SEND(&r, 0x07, 0x00);
    SEND(&r, 0x08);
    receive(&r, res, 2);
    assert_int_equal(res[1], 0);
    SEND(&r, 0x04, 0x00);
    receive(&r, res, 1);
    assert_int_equal(res[0], 0x38);
    SEND(&r, 0x07, 0x01); /* no such drive: no track 0 either */
    SEND(&r, 0x08);
    receive(&r, res, 2);
    assert_int_equal(res[0], 0x71);
    rig_free(&r);
}

static void test_fdc_dma_read_over_both_heads(void **s)
{
    struct rig r;

    (void)s;
    rig_make(&r, "f-");
    dma_setup(&r, 0x44, BUF, 4 * SEC);
    SEND(&r, 0xe6, 0x00, 3, 0, 17, 2, 18, 0x1b, 0xff);
    assert_fake(r.pc.f->ram + BUF, lba(3, 0, 17) * SEC, 4 * SEC);
    assert_int_equal(r.pc.f->ram[BUF + 4 * SEC], 0);
    assert_result(&r, 0x04, 0, 3, 1, 3);
    rig_free(&r);
}

/* The channel is programmed only after the command. */
static void test_fdc_dma_may_come_later(void **s)
{
    struct rig r;

    (void)s;
    rig_make(&r, "f-");
    SEND(&r, 0x46, 0x00, 0, 0, 5, 2, 18, 0x1b, 0xff);
    assert_int_equal(in(&r.pc, MSR, 1), 0x10);
    assert_false(r.pc.f->isa[6]);
    dma_setup(&r, 0x44, BUF, SEC);
    assert_result(&r, 0, 0, 0, 0, 6);
    assert_fake(r.pc.f->ram + BUF, 4 * SEC, SEC);
    rig_free(&r);
}

static void test_fdc_end_of_track_without_terminal_count(void **s)
{
    struct rig r;

    (void)s;
    rig_make(&r, "f-");
    dma_setup(&r, 0x44, BUF, 8 * SEC);
    SEND(&r, 0x46, 0x00, 0, 0, 17, 2, 18, 0x1b, 0xff);
    assert_result(&r, 0x40, 0x80, 1, 0, 1);
    assert_fake(r.pc.f->ram + BUF, 16 * SEC, 2 * SEC);
    rig_free(&r);
}

static void test_fdc_dma_write(void **s)
{
    struct rig r;
    uint8_t zero[SEC] = { 0 };

    (void)s;
    rig_make(&r, "f-");
    memset(r.pc.f->ram + BUF, 0x77, 4 * SEC);
    dma_setup(&r, 0x48, BUF, SEC + 100);
    SEND(&r, 0xc5, 0x04, 2, 1, 3, 2, 18, 0x1b, 0xff);
    assert_result(&r, 0x04, 0, 2, 1, 5);
    assert_memory_equal(r.img[0]->data + lba(2, 1, 3) * SEC, r.pc.f->ram + BUF, SEC + 100);
    assert_memory_equal(r.img[0]->data + lba(2, 1, 4) * SEC + 100, zero, SEC - 100);
    assert_fake(r.img[0]->data + lba(2, 1, 5) * SEC, lba(2, 1, 5) * SEC, SEC);
    r.img[0]->base.read_only = true;
    SEND(&r, 0xc5, 0x04, 2, 1, 3, 2, 18, 0x1b, 0xff);
    assert_result(&r, 0x44, 0x02, 2, 1, 3);
    rig_free(&r);
}

static void test_fdc_cpu_transfers(void **s)
{
    struct rig r;
    uint8_t buf[2 * SEC];

    (void)s;
    rig_make(&r, "f-");
    SEND(&r, 0x03, 0xdf, 0x03); /* SPECIFY: non-DMA */
    SEND(&r, 0x46, 0x00, 0, 0, 1, 2, 2, 0x1b, 0xff);
    for (unsigned i = 0; i < 2 * SEC; i++) {
        settle(r.loop);
        assert_int_equal(in(&r.pc, MSR, 1), 0xf0);
        buf[i] = (uint8_t)in(&r.pc, FIFO, 1);
    }
    assert_fake(buf, 0, 2 * SEC);
    assert_result(&r, 0, 0, 1, 0, 1);
    memset(buf, 0x3c, sizeof(buf));
    SEND(&r, 0x45, 0x00, 0, 0, 7, 2, 7, 0x1b, 0xff);
    for (unsigned i = 0; i < SEC; i++) {
        assert_int_equal(in(&r.pc, MSR, 1), 0xb0);
        out(&r.pc, FIFO, 1, buf[i]);
    }
    settle(r.loop);
    assert_result(&r, 0, 0, 1, 0, 1);
    assert_memory_equal(r.img[0]->data + 6 * SEC, buf, SEC);
    rig_free(&r);
}

static void test_fdc_format_and_read_id(void **s)
{
    struct rig r;
    uint8_t want[2 * SEC];

    (void)s;
    rig_make(&r, "f-");
    SEND(&r, 0x0f, 0x00, 4);
    for (unsigned i = 0; i < 2; i++) {
        const uint8_t id[4] = { 4, 1, (uint8_t)(i + 9), 2 };
        memcpy(r.pc.f->ram + BUF + 4 * i, id, 4);
    }
    dma_setup(&r, 0x48, BUF, 8);
    SEND(&r, 0x4d, 0x04, 2, 2, 0x54, 0xf6);
    assert_result(&r, 0x04, 0, 4, 1, 10);
    memset(want, 0xf6, sizeof(want));
    assert_memory_equal(r.img[0]->data + lba(4, 1, 9) * SEC, want, 2 * SEC);
    SEND(&r, 0x4a, 0x04);
    assert_result(&r, 0x04, 0, 4, 1, 1);
    out(&r.pc, DIR, 1, 2); /* the wrong data rate: no mark is found */
    SEND(&r, 0x4a, 0x00);
    assert_result(&r, 0x40, 0x01, 4, 0, 1);
    rig_free(&r);
}

/* CVE-2021-20196: no medium, no drive; and a reset in the middle of a transfer. */
static void test_fdc_missing_drive_is_not_ready(void **s)
{
    struct rig r;

    (void)s;
    rig_make(&r, "fe");
    dma_setup(&r, 0x44, BUF, SEC);
    for (unsigned unit = 1; unit < 4; unit++) {
        SEND(&r, 0xe6, (uint8_t)unit, 0, 0, 1, 2, 18, 0x1b, 0xff);
        assert_result(&r, 0x48 | unit, 0, 0, 0, 1);
        SEND(&r, 0xc5, (uint8_t)unit, 0, 0, 1, 2, 18, 0x1b, 0xff);
        assert_result(&r, 0x48 | unit, 0, 0, 0, 1);
        SEND(&r, 0x4d, (uint8_t)unit, 2, 18, 0x54, 0xf6);
        assert_result(&r, 0x48 | unit, 0, 0, 0, 1);
        SEND(&r, 0x4a, (uint8_t)unit);
        assert_result(&r, 0x40 | unit, 5, 0, 0, 1);
        SEND(&r, 0x0f, (uint8_t)unit, 5);
        SEND(&r, 0x46, (uint8_t)unit, 0, 0, 1, 2, 18, 0x1b, 0xff);
        assert_result(&r, 0x48 | unit, 0, 0, 0, 1);
    }
    r.img[0]->hold = true;
    SEND(&r, 0x46, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff);
    assert_int_equal(r.img[0]->nheld, 1);
    reset_chip(&r);
    assert_int_equal(r.img[0]->nheld, 0);
    assert_int_equal(in(&r.pc, MSR, 1), 0x80);
    rig_free(&r);
}

/* CVE-2021-3507: sector sizes, ends of track and counts that do not fit a sector. */
static void test_fdc_odd_geometry_is_refused(void **s)
{
    struct rig r;

    (void)s;
    rig_make(&r, "f-");
    dma_setup(&r, 0x44, BUF, 0x10000);
    for (unsigned n = 0; n < 256; n++) {
        if (n == 2) {
            continue;
        }
        SEND(&r, 0xe6, 0x00, 0, 0, 1, (uint8_t)n, 18, 0x1b, 0xff);
        assert_result(&r, 0x40, 0x04, 0, 0, 1);
    }
    SEND(&r, 0xe6, 0x00, 80, 0, 1, 2, 18, 0x1b, 0xff);
    assert_result(&r, 0x40, 0x04, 80, 0, 1);
    SEND(&r, 0xe6, 0x00, 0, 0, 0, 2, 18, 0x1b, 0xff);
    assert_result(&r, 0x40, 0x04, 0, 0, 0);
    SEND(&r, 0xe6, 0x00, 0, 1, 1, 2, 18, 0x1b, 0xff); /* heads disagree */
    assert_result(&r, 0x40, 0x04, 0, 0, 1);
    SEND(&r, 0x46, 0x00, 79, 0, 18, 2, 255, 0x1b, 0xff); /* runs off the track */
    assert_result(&r, 0x40, 0x04, 79, 0, 19);
    assert_fake(r.pc.f->ram + BUF, lba(79, 0, 18) * SEC, SEC);
    assert_int_equal(r.pc.f->ram[BUF + SEC], 0);
    rig_free(&r);
}

/* CVE-2015-3456 (VENOM): parameter bytes without end, for every command there is. */
static void test_fdc_fifo_is_bounded(void **s)
{
    static const uint8_t fills[] = { 0x00, 0x7f, 0x80, 0xff, 0x02 };
    struct rig r;

    (void)s;
    rig_make(&r, "f-");
    for (unsigned code = 0; code < 256; code++) {
        for (unsigned i = 0; i < sizeof(fills); i++) {
            reset_chip(&r);
            out(&r.pc, FIFO, 1, code);
            for (unsigned n = 0; n < 1500; n++) {
                out(&r.pc, FIFO, 1, fills[i]);
                assert_true(r.fdc->pos < sizeof(r.fdc->fifo));
                assert_true(r.fdc->len <= sizeof(r.fdc->fifo));
            }
            settle(r.loop);
            for (unsigned n = 0; n < 20; n++) {
                in(&r.pc, FIFO, 1);
                assert_true(r.fdc->pos < sizeof(r.fdc->fifo));
            }
        }
    }
    rig_free(&r);
}

static void test_fdc_drive_specification_ends_itself(void **s)
{
    struct rig r;
    uint8_t res[4];

    (void)s;
    rig_make(&r, "f-");
    SEND(&r, 0x8e, 0x10, 0x20, 0x80);
    receive(&r, res, 4);
    SEND(&r, 0x8e, 0xc0); /* no result wanted */
    assert_int_equal(in(&r.pc, MSR, 1), 0x80);
    SEND(&r, 0x8e, 1, 2, 3, 4, 5); /* no end byte */
    assert_int_equal(in(&r.pc, MSR, 1), 0x80);
    rig_free(&r);
}

static void test_fdc_settings(void **s)
{
    struct rig r;
    uint8_t res[16];

    (void)s;
    rig_make(&r, "f-");
    SEND(&r, 0x03, 0xaf, 0x1e);
    SEND(&r, 0x13, 0x00, 0x57, 0x05);
    SEND(&r, 0x12, 0x0c);
    SEND(&r, 0x94);
    receive(&r, res, 1);
    assert_int_equal(res[0], 0x10);
    SEND(&r, 0x2e);
    receive(&r, res, 16);
    out(&r.pc, MSR, 1, 0x80); /* locked: the reset keeps it; polling is off: no interrupt */
    assert_false(r.pc.f->isa[6]);
    SEND(&r, 0x14);
    receive(&r, res, 1);
    SEND(&r, 0x0e);
    receive(&r, res, 10);
    assert_int_equal(res[4], 0xaf);
    assert_int_equal(res[5], 0x1e);
    assert_int_equal(res[7], 0x0c);
    assert_int_equal(res[8], 0x57);
    assert_int_equal(res[9], 0x05);
    out(&r.pc, MSR, 1, 0x80);
    SEND(&r, 0x4e, 0, 0, 0, 0, 0, 0, 0x11, 0x22, 0, 0x83, 0x44, 0x55, 0, 0, 0, 0);
    SEND(&r, 0x0e);
    receive(&r, res, 10);
    assert_int_equal(res[4], 0x11);
    assert_int_equal(res[5], 0x22);
    assert_int_equal(res[7], 0x83);
    assert_int_equal(res[8], 0x44);
    SEND(&r, 0x18);
    receive(&r, res, 1);
    SEND(&r, 0x1f); /* no command */
    receive(&r, res, 1);
    assert_int_equal(res[0], 0x80);
    rig_free(&r);
}

static void test_fdc_change_line(void **s)
{
    struct rig r;

    (void)s;
    rig_make(&r, "f-");
    assert_int_equal(in(&r.pc, DIR, 1), 0x80);
    SEND(&r, 0x0f, 0x00, 1);
    assert_int_equal(in(&r.pc, DIR, 1), 0);
    machine_enter(r.pc.m);
    blk_set_image(r.blk[0], NULL);
    machine_leave(r.pc.m);
    r.img[0] = NULL;
    SEND(&r, 0x0f, 0x00, 2);
    assert_int_equal(in(&r.pc, DIR, 1), 0x80); /* nothing in: a step does not help */
    machine_enter(r.pc.m);
    blk_set_image(r.blk[0], &fake_image_new(737280)->base);
    machine_leave(r.pc.m);
    assert_int_equal(in(&r.pc, DIR, 1), 0x80);
    SEND(&r, 0x0f, 0x00, 1);
    assert_int_equal(in(&r.pc, DIR, 1), 0);
    out(&r.pc, DOR, 1, 0x0d);
    assert_int_equal(in(&r.pc, DIR, 1), 0); /* no drive B */
    /* 720 KB: nine sectors, 250 kbit/s */
    out(&r.pc, DOR, 1, 0x0c);
    out(&r.pc, DIR, 1, 2);
    dma_setup(&r, 0x44, BUF, SEC);
    SEND(&r, 0x46, 0x00, 1, 0, 10, 2, 10, 0x1b, 0xff);
    assert_result(&r, 0x40, 0x04, 1, 0, 10);
    SEND(&r, 0x46, 0x00, 1, 0, 9, 2, 9, 0x1b, 0xff);
    assert_result(&r, 0, 0, 2, 0, 1);
    assert_fake(r.pc.f->ram + BUF, (18 + 8) * SEC, SEC);
    rig_free(&r);
}

static void test_fdc_io_error_reaches_the_guest(void **s)
{
    struct rig r;

    (void)s;
    rig_make(&r, "f-");
    r.img[0]->fail = -EIO;
    dma_setup(&r, 0x44, BUF, SEC);
    SEND(&r, 0x46, 0x00, 0, 0, 3, 2, 18, 0x1b, 0xff);
    assert_result(&r, 0x40, 0x20, 0, 0, 3);
    dma_setup(&r, 0x48, BUF, SEC);
    SEND(&r, 0x45, 0x00, 0, 0, 3, 2, 18, 0x1b, 0xff);
    assert_result(&r, 0x40, 0x20, 0, 0, 3);
    rig_free(&r);
}

static void test_fdc_lines_are_gated(void **s)
{
    struct rig r;

    (void)s;
    rig_make(&r, "f-");
    out(&r.pc, DOR, 1, 0x04);
    SEND(&r, 0x0f, 0x00, 17);
    assert_false(r.pc.f->isa[6]);
    assert_int_equal(in(&r.pc, SRA, 1), 0x80);
    out(&r.pc, DOR, 1, 0x0c);
    assert_true(r.pc.f->isa[6]);
    rig_free(&r);
}

static void test_fdc_saved_in_mid_transfer_goes_on_elsewhere(void **s)
{
    struct rig a, b;
    uint8_t buf[SEC];

    (void)s;
    rig_make(&a, "f-");
    rig_make(&b, "f-");
    SEND(&a, 0x46, 0x00, 1, 0, 5, 2); /* in the middle of a command */
    pc_move(&a.pc, &b.pc);
    SEND(&b, 18, 0x1b, 0xff); /* waits for DMA */
    pc_move(&b.pc, &a.pc);
    dma_setup(&a, 0x44, BUF, SEC);
    assert_fake(a.pc.f->ram + BUF, lba(1, 0, 5) * SEC, SEC);
    pc_move(&a.pc, &b.pc); /* with the result waiting */
    assert_result(&b, 0, 0, 1, 0, 6);
    SEND(&b, 0x03, 0xdf, 0x03);
    SEND(&b, 0x46, 0x00, 0, 0, 1, 2, 2, 0x1b, 0xff);
    for (unsigned i = 0; i < 100; i++) {
        buf[i] = (uint8_t)in(&b.pc, FIFO, 1);
    }
    pc_move(&b.pc, &a.pc);
    for (unsigned i = 100; i < SEC; i++) {
        buf[i] = (uint8_t)in(&a.pc, FIFO, 1);
    }
    assert_fake(buf, 0, SEC);
    rig_free(&a);
    rig_free(&b);
}

static void hostile(struct fdc *f, unsigned which)
{
    switch (which) {
    case 0:
        f->pos = f->len;
        break;
    case 1:
        f->len = 18;
        break;
    case 2:
        f->phase = 1;
        break;
    case 3:
        f->phase = 2;
        f->transfer = T_READ;
        f->data_pos = f->data_len = 512;
        break;
    case 4:
        f->phase = 2;
        f->transfer = T_READ;
        f->data_len = 513;
        break;
    case 5:
        f->phase = 2;
        f->transfer = T_READ;
        f->data_len = 512;
        f->unit = 3;
        break;
    case 6:
        f->poll_sense = 5;
        break;
    case 7:
        f->transfer = T_WRITE;
        break;
    default:
        f->fifo[0] = 0x8e; /* wants more bytes than len says */
        break;
    }
}

static void test_fdc_hostile_state_is_refused(void **s)
{
    (void)s;
    for (unsigned i = 0; i < 9; i++) {
        struct rig r;
        struct state_buf b = { 0 };
        struct err e = { 0 };
        struct fdc kept;

        rig_make(&r, "f-");
        SEND(&r, 0x46, 0x00, 1, 0, 5, 2);
        kept = *r.fdc;
        hostile(r.fdc, i);
        dev_save(&r.fdc->dev, &b);
        *r.fdc = kept;
        machine_enter(r.pc.m);
        assert_int_equal(dev_load(&r.fdc->dev, b.p, b.len, &e), -EINVAL);
        machine_leave(r.pc.m);
        free(b.p);
        rig_free(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fdc_reset_polls_four_drives),
        cmocka_unit_test(test_fdc_reset_in_flight_takes_the_request_back),
        cmocka_unit_test(test_fdc_seek_and_recalibrate),
        cmocka_unit_test(test_fdc_dma_read_over_both_heads),
        cmocka_unit_test(test_fdc_dma_may_come_later),
        cmocka_unit_test(test_fdc_end_of_track_without_terminal_count),
        cmocka_unit_test(test_fdc_dma_write),
        cmocka_unit_test(test_fdc_cpu_transfers),
        cmocka_unit_test(test_fdc_format_and_read_id),
        cmocka_unit_test(test_fdc_missing_drive_is_not_ready),
        cmocka_unit_test(test_fdc_odd_geometry_is_refused),
        cmocka_unit_test(test_fdc_fifo_is_bounded),
        cmocka_unit_test(test_fdc_drive_specification_ends_itself),
        cmocka_unit_test(test_fdc_settings),
        cmocka_unit_test(test_fdc_change_line),
        cmocka_unit_test(test_fdc_io_error_reaches_the_guest),
        cmocka_unit_test(test_fdc_lines_are_gated),
        cmocka_unit_test(test_fdc_saved_in_mid_transfer_goes_on_elsewhere),
        cmocka_unit_test(test_fdc_hostile_state_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
