/* SPDX-License-Identifier: MIT */
/* tests/unit/test-atapi.c - a CD-ROM drive, packet by packet. */
#include "ide-rig.h"

enum { CD_SECTORS = DISK_BYTES / 2048, TABLE = 0x8000 };

struct packet {
    uint8_t b[12];
};

/* Sends a packet to the primary master; limit is the byte count register. */
static void packet(struct ide_rig *r, struct packet p, unsigned limit)
{
    outb(r, DEVICE, 0xa0);
    outb(r, ERROR, 0);
    outb(r, LBAM, limit & 255);
    outb(r, LBAH, limit >> 8);
    outb(r, STATUS, 0xa0);
    assert_int_equal(inb(r, CONTROL), WANTS);
    assert_int_equal(inb(r, NSECT), IR_CD);
    put(r, p.b, 12);
    settle(r->loop);
}

static unsigned byte_count(struct ide_rig *r)
{
    return inb(r, LBAM) | (unsigned)inb(r, LBAH) << 8;
}

/* Takes data blocks until the status phase; returns bytes. */
static unsigned take(struct ide_rig *r, uint8_t *buf, unsigned max)
{
    unsigned total = 0;

    while (inb(r, STATUS) & ST_DRQ) {
        unsigned n = byte_count(r);

        assert_int_equal(inb(r, NSECT), IR_IO);
        assert_true(n && total + n <= max);
        get(r, buf + total, n);
        total += n;
        settle(r->loop);
    }
    assert_int_equal(inb(r, NSECT), IR_IO | IR_CD);
    return total;
}

static void assert_ok(struct ide_rig *r)
{
    assert_int_equal(inb(r, STATUS), READY);
}

/* The command ended with this sense; asking clears it. */
static void assert_sense(struct ide_rig *r, unsigned key, unsigned asc)
{
    uint8_t sense[18];

    assert_int_equal(inb(r, STATUS), FAILED);
    assert_int_equal(inb(r, ERROR) >> 4, key);
    packet(r, (struct packet){ { 0x03, 0, 0, 0, 18 } }, 0xfffe);
    assert_int_equal(take(r, sense, 18), 18);
    assert_int_equal(sense[2], key);
    assert_int_equal(sense[12], asc);
}

static void test_atapi_inquiry_and_identify(void **s)
{
    struct ide_rig r;
    uint8_t buf[512];

    (void)s;
    rig_make(&r, "c---");
    packet(&r, (struct packet){ { 0x12, 0, 0, 0, 36 } }, 36);
    assert_int_equal(take(&r, buf, 36), 36);
    assert_int_equal(buf[0], 5);
    assert_int_equal(buf[1], 0x80);
    assert_memory_equal(buf + 8, "KEEL    KEEL DVD-ROM    ", 24);
    outb(&r, STATUS, 0xa1);
    get(&r, buf, 512);
    assert_int_equal(load_le16(buf), 0x85c0);
    packet(&r, (struct packet){ { 0x12, 1, 0x80, 0, 255 } }, 255);
    assert_int_equal(take(&r, buf, 64), 24);
    assert_memory_equal(buf + 4, "KL00001 ", 8);
    packet(&r, (struct packet){ { 0x12, 1, 0x77, 0, 255 } }, 255);
    assert_sense(&r, 5, 0x24);
    rig_free(&r);
}

static void test_atapi_read_10_in_blocks_of_the_limit(void **s)
{
    struct ide_rig r;
    static const unsigned limits[] = { 2048, 0xfffe, 1000, 0, 0xffff, 2049, 1 };
    static const unsigned blocks[] = { 2048, 8192, 1000, 8192, 8192, 2048, 2 };
    uint8_t *buf = malloc(65536);

    (void)s;
    rig_make(&r, "c---");
    for (unsigned i = 0; i < ARRAY_SIZE(limits); i++) {
        packet(&r, (struct packet){ { 0x28, 0, 0, 0, 0, 21, 0, 0, 9 } }, limits[i]);
        assert_int_equal(byte_count(&r), blocks[i]);
        assert_int_equal(take(&r, buf, 65536), 9 * 2048);
        assert_ok(&r);
        assert_fake(buf, 21 * 2048, 9 * 2048);
    }
    free(buf);
    rig_free(&r);
}

static void test_atapi_read_12_and_6_and_read_cd(void **s)
{
    struct ide_rig r;
    uint8_t buf[8192];

    (void)s;
    rig_make(&r, "c---");
    packet(&r, (struct packet){ { 0xa8, 0, 0, 0, 1, 2, 0, 0, 0, 2 } }, 2048);
    assert_int_equal(take(&r, buf, sizeof(buf)), 4096);
    assert_fake(buf, 258 * 2048, 4096);
    packet(&r, (struct packet){ { 0x08, 0, 0, 3, 1 } }, 2048);
    assert_int_equal(take(&r, buf, sizeof(buf)), 2048);
    assert_fake(buf, 3 * 2048, 2048);
    packet(&r, (struct packet){ { 0xbe, 0, 0, 0, 0, 75, 0, 0, 2, 0x10 } }, 2048);
    assert_int_equal(take(&r, buf, sizeof(buf)), 4096);
    assert_fake(buf, 75 * 2048, 4096);
    packet(&r, (struct packet){ { 0xbe, 0, 0, 0, 0, 75, 0, 0, 2, 0xf8 } }, 0xfffe);
    assert_int_equal(take(&r, buf, sizeof(buf)), 2 * 2352);
    assert_int_equal(buf[0], 0);
    assert_int_equal(buf[1], 0xff);
    assert_int_equal(buf[13], 3); /* 75 + 150 frames are three seconds */
    assert_int_equal(buf[15], 1);
    assert_fake(buf + 16, 75 * 2048, 2048);
    assert_fake(buf + 2352 + 16, 76 * 2048, 2048);
    packet(&r, (struct packet){ { 0xbe, 0, 0, 0, 0, 75, 0, 0, 2, 0x40 } }, 2048);
    assert_sense(&r, 5, 0x24);
    packet(&r, (struct packet){ { 0xbe, 0, 0, 0, 0, 75, 0, 0, 0, 0x10 } }, 2048);
    assert_ok(&r);
    rig_free(&r);
}

/* CVE-2020-29443: an address past the end, all ones above all, and a small byte count. */
static void test_atapi_range_is_checked(void **s)
{
    struct ide_rig r;

    (void)s;
    rig_make(&r, "c---");
    packet(&r, (struct packet){ { 0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 1 } }, 2);
    assert_sense(&r, 5, 0x21);
    packet(&r, (struct packet){ { 0x28, 0, 0, 0, CD_SECTORS >> 8, 0, 0, 0, 1 } }, 2048);
    assert_sense(&r, 5, 0x21);
    packet(&r, (struct packet){ { 0x28, 0, 0, 0, (CD_SECTORS - 1) >> 8, 255, 0, 0, 2 } }, 2048);
    assert_sense(&r, 5, 0x21);
    packet(&r, (struct packet){ { 0xa8, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff } }, 2048);
    assert_sense(&r, 5, 0x21);
    packet(&r, (struct packet){ { 0xbe, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0xf8 } }, 2048);
    assert_sense(&r, 5, 0x21);
    packet(&r, (struct packet){ { 0x2b, 0, 0xff, 0xff, 0xff, 0xff } }, 2048);
    assert_sense(&r, 5, 0x21);
    packet(&r, (struct packet){ { 0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0 } }, 2048);
    assert_sense(&r, 5, 0x21);
    assert_int_equal(r.img[0]->count[BLK_READ], 0);
    rig_free(&r);
}

static void start_dma(struct ide_rig *r, uint32_t addr, uint32_t len)
{
    store_le(r->pc.f->ram + TABLE, 4, addr);
    store_le(r->pc.f->ram + TABLE + 4, 4, len | 0x80000000u);
    outb(r, BM_CMD, 0);
    out(&r->pc, BM_PRD, 4, TABLE);
    outb(r, BM_STATUS, 6);
    outb(r, BM_CMD, BM_START | BM_RWCON);
}

static void packet_dma(struct ide_rig *r, struct packet p, uint32_t addr, uint32_t len)
{
    outb(r, DEVICE, 0xa0);
    outb(r, ERROR, 1);
    outb(r, STATUS, 0xa0);
    put(r, p.b, 12);
    start_dma(r, addr, len);
    settle(r->loop);
}

static void test_atapi_dma(void **s)
{
    struct ide_rig r;

    (void)s;
    rig_make(&r, "c---");
    packet_dma(&r, (struct packet){ { 0x28, 0, 0, 0, 0, 5, 0, 0, 8 } }, 0x20000, 8 * 2048);
    assert_int_equal(inb(&r, BM_STATUS), BMS_IRQ);
    assert_ok(&r);
    assert_int_equal(inb(&r, NSECT), IR_IO | IR_CD);
    assert_fake(r.pc.f->ram + 0x20000, 5 * 2048, 8 * 2048);
    packet_dma(&r, (struct packet){ { 0x12, 0, 0, 0, 36 } }, 0x30000, 36);
    assert_int_equal(inb(&r, BM_STATUS), BMS_IRQ);
    assert_memory_equal(r.pc.f->ram + 0x30008, "KEEL", 4);
    packet_dma(&r, (struct packet){ { 0xbe, 0, 0, 0, 0, 75, 0, 0, 3, 0xf8 } }, 0x40000, 3 * 2352);
    assert_int_equal(inb(&r, BM_STATUS), BMS_IRQ);
    assert_fake(r.pc.f->ram + 0x40000 + 2 * 2352 + 16, 77 * 2048, 2048);
    packet_dma(&r, (struct packet){ { 0x28, 0, 0, 0, 0, 5, 0, 0, 8 } }, 0x50000, 2048);
    assert_int_equal(inb(&r, BM_STATUS), 0); /* the table was too short */
    assert_ok(&r);
    packet_dma(&r, (struct packet){ { 0x28, 0, 0, 0, 0, 5, 0, 0, 8 } }, 0xf0000000, 0x4000);
    assert_int_equal(inb(&r, BM_STATUS), BMS_IRQ | BMS_ERR);
    assert_sense(&r, 0x0b, 0x4b);
    r.img[0]->fail = -EIO;
    packet_dma(&r, (struct packet){ { 0x28, 0, 0, 0, 0, 5, 0, 0, 1 } }, 0x20000, 2048);
    assert_sense(&r, 3, 0x11);
    packet(&r, (struct packet){ { 0x28, 0, 0, 0, 0, 5, 0, 0, 1 } }, 2048);
    assert_sense(&r, 3, 0x11);
    rig_free(&r);
}

static void test_atapi_capacity_and_toc(void **s)
{
    struct ide_rig r;
    uint8_t buf[64];

    (void)s;
    rig_make(&r, "c---");
    packet(&r, (struct packet){ { 0x25 } }, 8);
    assert_int_equal(take(&r, buf, 8), 8);
    assert_int_equal(load_be32(buf), CD_SECTORS - 1);
    assert_int_equal(load_be32(buf + 4), 2048);
    packet(&r, (struct packet){ { 0x43, 0, 0, 0, 0, 0, 0, 0, 64 } }, 64);
    assert_int_equal(take(&r, buf, 64), 20);
    assert_int_equal(load_be16(buf), 18);
    assert_int_equal(buf[6], 1);
    assert_int_equal(buf[14], 0xaa);
    assert_int_equal(load_be32(buf + 16), CD_SECTORS);
    packet(&r, (struct packet){ { 0x43, 2, 0, 0, 0, 0, 0xaa, 0, 64 } }, 64);
    assert_int_equal(take(&r, buf, 64), 12);
    assert_int_equal(buf[9] * 60 * 75 + buf[10] * 75 + buf[11], CD_SECTORS + 150);
    packet(&r, (struct packet){ { 0x43, 0, 1, 0, 0, 0, 0, 0, 4 } }, 64);
    assert_int_equal(take(&r, buf, 64), 4); /* as much as there is room for */
    packet(&r, (struct packet){ { 0x43, 0, 2, 0, 0, 0, 0, 0, 64 } }, 64);
    assert_int_equal(take(&r, buf, 64), 48);
    packet(&r, (struct packet){ { 0x43, 0, 5, 0, 0, 0, 0, 0, 64 } }, 64);
    assert_sense(&r, 5, 0x24);
    packet(&r, (struct packet){ { 0x43, 0, 0, 0, 0, 0, 7, 0, 64 } }, 64);
    assert_sense(&r, 5, 0x24);
    rig_free(&r);
}

static void test_atapi_mode_pages(void **s)
{
    struct ide_rig r;
    uint8_t buf[128];

    (void)s;
    rig_make(&r, "c---");
    packet(&r, (struct packet){ { 0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 128 } }, 128);
    assert_int_equal(take(&r, buf, 128), 30);
    assert_int_equal(load_be16(buf), 28);
    assert_int_equal(buf[8], 0x2a);
    packet(&r, (struct packet){ { 0x1a, 0, 0x01, 0, 128 } }, 128);
    assert_int_equal(take(&r, buf, 128), 12);
    assert_int_equal(buf[0], 11);
    packet(&r, (struct packet){ { 0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 128 } }, 128);
    assert_int_equal(take(&r, buf, 128), 8 + 8 + 16 + 22);
    packet(&r, (struct packet){ { 0x5a, 0, 0x41, 0, 0, 0, 0, 0, 128 } }, 128);
    assert_int_equal(take(&r, buf, 128), 16);
    assert_int_equal(buf[11], 0); /* nothing can be changed */
    packet(&r, (struct packet){ { 0x5a, 0, 0xc1, 0, 0, 0, 0, 0, 128 } }, 128);
    assert_sense(&r, 5, 0x39);
    packet(&r, (struct packet){ { 0x5a, 0, 0x77 & 0x3f, 0, 0, 0, 0, 0, 128 } }, 128);
    assert_sense(&r, 5, 0x24);
    /* MODE SELECT: a parameter list comes in */
    packet(&r, (struct packet){ { 0x55, 0x10, 0, 0, 0, 0, 0, 0, 16 } }, 16);
    assert_int_equal(inb(&r, STATUS), WANTS);
    assert_int_equal(byte_count(&r), 16);
    assert_int_equal(inb(&r, NSECT), 0);
    put(&r, buf, 16);
    assert_ok(&r);
    packet(&r, (struct packet){ { 0x55, 0x10, 0, 0, 0, 0, 0, 0xff, 0xff } }, 0xfffe);
    assert_sense(&r, 5, 0x24);
    rig_free(&r);
}

static unsigned media_event(struct ide_rig *r, uint8_t *state)
{
    uint8_t buf[8];

    packet(r, (struct packet){ { 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8 } }, 8);
    assert_int_equal(take(r, buf, 8), 8);
    *state = buf[5];
    return buf[4];
}

static void change_medium(struct ide_rig *r, struct fake_image *image)
{
    machine_enter(r->pc.m);
    blk_set_tray(r->blk[0], true);
    blk_set_image(r->blk[0], image ? &image->base : NULL);
    blk_set_tray(r->blk[0], false);
    machine_leave(r->pc.m);
    r->img[0] = image;
}

static void test_atapi_change_of_medium(void **s)
{
    struct ide_rig r;
    uint8_t state, buf[8];

    (void)s;
    rig_make(&r, "e---");
    packet(&r, (struct packet){ { 0x00 } }, 0);
    assert_sense(&r, 2, 0x3a);
    assert_int_equal(media_event(&r, &state), CD_EVENT_NONE);
    assert_int_equal(state, 0);
    change_medium(&r, fake_image_new(65536));
    assert_int_equal(media_event(&r, &state), CD_EVENT_NEW_MEDIA);
    assert_int_equal(state, 2);
    assert_int_equal(media_event(&r, &state), CD_EVENT_NONE);
    packet(&r, (struct packet){ { 0x00 } }, 0);
    assert_sense(&r, 6, 0x28);
    packet(&r, (struct packet){ { 0x00 } }, 0);
    assert_ok(&r);
    packet(&r, (struct packet){ { 0x25 } }, 8);
    take(&r, buf, 8);
    assert_int_equal(load_be32(buf), 31);
    change_medium(&r, NULL);
    assert_int_equal(media_event(&r, &state), CD_EVENT_REMOVAL);
    packet(&r, (struct packet){ { 0x28, 0, 0, 0, 0, 0, 0, 0, 1 } }, 2048);
    assert_sense(&r, 2, 0x3a);
    rig_free(&r);
}

static void tray_told(void *opaque, struct blk *b, bool open)
{
    (void)b;
    *(int *)opaque = open;
}

static void test_atapi_eject_and_lock(void **s)
{
    struct ide_rig r;
    uint8_t state;
    int told = -1;

    (void)s;
    rig_make(&r, "c---");
    blk_on_tray(r.blk[0], tray_told, &told);
    packet(&r, (struct packet){ { 0x1e, 0, 0, 0, 1 } }, 0);
    assert_ok(&r);
    assert_true(blk_locked(r.blk[0]));
    packet(&r, (struct packet){ { 0x1b, 0, 0, 0, 2 } }, 0);
    assert_sense(&r, 5, 0x53);
    assert_int_equal(told, -1);
    machine_enter(r.pc.m);
    blk_user(r.blk[0], NULL)->eject_request(r.drive[0], false);
    machine_leave(r.pc.m);
    assert_int_equal(media_event(&r, &state), CD_EVENT_EJECT_REQUEST);
    assert_true(blk_locked(r.blk[0]));
    packet(&r, (struct packet){ { 0x1e, 0, 0, 0, 0 } }, 0);
    packet(&r, (struct packet){ { 0x1b, 0, 0, 0, 2 } }, 0);
    assert_ok(&r);
    assert_int_equal(told, 1);
    assert_true(blk_tray_open(r.blk[0]));
    media_event(&r, &state);
    assert_int_equal(state, 1);
    packet(&r, (struct packet){ { 0x00 } }, 0);
    assert_sense(&r, 2, 0x3a);
    packet(&r, (struct packet){ { 0x1b, 0, 0, 0, 3 } }, 0);
    assert_ok(&r);
    assert_int_equal(told, 0);
    packet(&r, (struct packet){ { 0x00 } }, 0);
    assert_sense(&r, 6, 0x28);
    packet(&r, (struct packet){ { 0x00 } }, 0);
    assert_ok(&r);
    rig_free(&r);
}

static void test_atapi_configuration_follows_the_medium(void **s)
{
    struct ide_rig r;
    uint8_t buf[256], len;

    (void)s;
    rig_make(&r, "c---");
    packet(&r, (struct packet){ { 0x46, 0, 0, 0, 0, 0, 0, 1, 0 } }, 256);
    len = (uint8_t)take(&r, buf, 256);
    assert_int_equal(load_be32(buf), len - 4);
    assert_int_equal(load_be16(buf + 6), 8);
    packet(&r, (struct packet){ { 0x46, 2, 0, 0x1e, 0, 0, 0, 1, 0 } }, 256);
    assert_int_equal(take(&r, buf, 256), 16);
    assert_int_equal(load_be16(buf + 8), 0x1e);
    assert_int_equal(buf[10] & 1, 1);
    r.img[0]->base.len = 4ull << 30; /* nothing is read: a DVD by its size */
    packet(&r, (struct packet){ { 0x46, 0, 0, 0, 0, 0, 0, 0, 8 } }, 256);
    take(&r, buf, 256);
    assert_int_equal(load_be16(buf + 6), 0x10);
    packet(&r, (struct packet){ { 0x46, 3, 0, 0, 0, 0, 0, 1, 0 } }, 256);
    assert_sense(&r, 5, 0x24);
    rig_free(&r);
}

static void test_atapi_dvd_structures(void **s)
{
    struct ide_rig r;
    uint8_t buf[2100];

    (void)s;
    rig_make(&r, "c---");
    packet(&r, (struct packet){ { 0xad, 0, 0, 0, 0, 0, 0, 0, 8, 4 } }, 0xfffe);
    assert_sense(&r, 5, 0x24); /* a CD has none */
    r.img[0]->base.len = 4ull << 30;
    packet(&r, (struct packet){ { 0xad, 0, 0, 0, 0, 0, 0, 0, 8, 4 } }, 0xfffe);
    assert_int_equal(take(&r, buf, 2100), 2052);
    assert_int_equal(load_be32(buf + 4 + 8), 0x30000 + (1u << 21) - 1);
    packet(&r, (struct packet){ { 0xad, 0, 0, 0, 0, 0, 0, 0xff, 8, 4 } }, 0xfffe);
    assert_int_equal(take(&r, buf, 2100), 20);
    packet(&r, (struct packet){ { 0xad, 0, 0, 0, 0, 0, 0, 0x66, 8, 4 } }, 0xfffe);
    assert_sense(&r, 5, 0x24);
    rig_free(&r);
}

static void test_atapi_small_replies(void **s)
{
    struct ide_rig r;
    uint8_t buf[64];

    (void)s;
    rig_make(&r, "c---");
    packet(&r, (struct packet){ { 0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8 } }, 64);
    assert_int_equal(take(&r, buf, 64), 8);
    packet(&r, (struct packet){ { 0x51, 0, 0, 0, 0, 0, 0, 0, 34 } }, 64);
    assert_int_equal(take(&r, buf, 64), 34);
    packet(&r, (struct packet){ { 0x52, 1, 0, 0, 0, 1, 0, 0, 36 } }, 64);
    assert_int_equal(take(&r, buf, 64), 36);
    assert_int_equal(load_be32(buf + 24), CD_SECTORS);
    packet(&r, (struct packet){ { 0x42, 0, 0x40, 1, 0, 0, 0, 0, 64 } }, 64);
    assert_int_equal(take(&r, buf, 64), 16);
    packet(&r, (struct packet){ { 0x4a, 1, 0, 0, 0x02, 0, 0, 0, 8 } }, 8);
    assert_int_equal(take(&r, buf, 64), 4);
    assert_int_equal(buf[2], 0x80);
    packet(&r, (struct packet){ { 0x4a, 0, 0, 0, 0x10, 0, 0, 0, 8 } }, 8);
    assert_sense(&r, 5, 0x24);
    packet(&r, (struct packet){ { 0xbb } }, 8);
    assert_ok(&r);
    packet(&r, (struct packet){ { 0x2a } }, 8); /* WRITE: not with this drive */
    assert_sense(&r, 5, 0x20);
    packet(&r, (struct packet){ { 0x12, 0, 0, 0, 0 } }, 8); /* room for nothing */
    assert_ok(&r);
    rig_free(&r);
}

/* CVE-2015-5154: a command in the middle of a data phase, then more reads of the data port. */
static void test_atapi_command_in_mid_pio_ends_the_transfer(void **s)
{
    struct ide_rig r;
    uint8_t buf[2048];

    (void)s;
    rig_make(&r, "c---");
    packet(&r, (struct packet){ { 0x28, 0, 0, 0, 0, 5, 0, 0, 4 } }, 0xfffe);
    get(&r, buf, 1000);
    outb(&r, STATUS, 0xe1);
    assert_ok(&r);
    for (unsigned i = 0; i < 5000; i++) {
        assert_int_equal(in(&r.pc, DATA, 4), 0);
    }
    packet(&r, (struct packet){ { 0x28, 0, 0, 0, 0, 5, 0, 0, 4 } }, 0xfffe);
    outb(&r, STATUS, 0x08); /* DEVICE RESET in mid-PIO, then while busy */
    assert_int_equal(in(&r.pc, DATA, 2), 0);
    r.img[0]->hold = true;
    packet(&r, (struct packet){ { 0x28, 0, 0, 0, 0, 5, 0, 0, 4 } }, 0xfffe);
    assert_int_equal(inb(&r, STATUS) & ST_BSY, ST_BSY);
    outb(&r, STATUS, 0x08);
    assert_int_equal(blk_in_flight(r.blk[0]), 0);
    assert_int_equal(inb(&r, STATUS), 0);
    /* a packet cut short by another PACKET command */
    outb(&r, STATUS, 0xa0);
    put(&r, buf, 6);
    packet(&r, (struct packet){ { 0x12, 0, 0, 0, 36 } }, 36);
    assert_int_equal(take(&r, buf, 36), 36);
    outb(&r, ERROR, 2); /* overlap is not supported */
    outb(&r, STATUS, 0xa0);
    assert_int_equal(inb(&r, STATUS), FAILED);
    rig_free(&r);
}

/* The guest stops, resets or empties the drive while the host still moves its data. */
static void test_atapi_when_stopped_with_dma_in_flight_then_cancelled(void **s)
{
    struct ide_rig r;

    (void)s;
    rig_make(&r, "c---");
    for (unsigned how = 0; how < 4; how++) {
        r.img[0]->hold = true;
        packet_dma(&r, (struct packet){ { 0x28, 0, 0, 0, 0, 5, 0, 0, 4 } }, 0x20000, 4 * 2048);
        assert_int_equal(r.img[0]->nheld, 1);
        if (how == 0) {
            outb(&r, BM_CMD, 0);
        } else if (how == 1) {
            outb(&r, STATUS, 0x08);
        } else if (how == 2) {
            outb(&r, CONTROL, DC_SRST);
            outb(&r, CONTROL, 0);
        } else {
            change_medium(&r, fake_image_new(65536));
        }
        assert_int_equal(blk_in_flight(r.blk[0]), 0);
        settle(r.loop);
        outb(&r, BM_CMD, 0);
        r.img[0]->hold = false;
        packet(&r, (struct packet){ { 0x03, 0, 0, 0, 18 } }, 18);
        take(&r, r.pc.f->ram + 0x30000, 18);
        packet_dma(&r, (struct packet){ { 0x28, 0, 0, 0, 0, 7, 0, 0, 1 } }, 0x20000, 2048);
        assert_ok(&r);
        assert_fake(r.pc.f->ram + 0x20000, 7 * 2048, 2048);
    }
    rig_free(&r);
}

static void test_atapi_saved_in_mid_pio_goes_on_elsewhere(void **s)
{
    struct ide_rig a, b;
    uint8_t buf[6 * 2048];

    (void)s;
    rig_make(&a, "c---");
    rig_make(&b, "c---");
    packet(&a, (struct packet){ { 0x1e, 0, 0, 0, 1 } }, 0);
    packet(&a, (struct packet){ { 0x28, 0, 0, 0, 0, 5, 0, 0, 6 } }, 2048);
    get(&a, buf, 500);
    pc_move(&a.pc, &b.pc);
    assert_true(blk_locked(b.blk[0]));
    get(&b, buf + 500, 1548);
    assert_int_equal(take(&b, buf + 2048, 5 * 2048), 5 * 2048);
    assert_fake(buf, 5 * 2048, sizeof(buf));
    /* six bytes of a packet, and a DMA command that waits for START */
    outb(&b, STATUS, 0xa0);
    put(&b, (uint8_t[]){ 0x28, 0, 0, 0, 0, 5 }, 6);
    pc_move(&b.pc, &a.pc);
    put(&a, (uint8_t[]){ 0, 0, 1, 0, 0, 0 }, 6);
    settle(a.loop);
    assert_int_equal(take(&a, buf, 2048), 2048);
    outb(&a, ERROR, 1);
    outb(&a, STATUS, 0xa0);
    put(&a, (uint8_t[]){ 0x28, 0, 0, 0, 0, 6, 0, 0, 1, 0, 0, 0 }, 12);
    pc_move(&a.pc, &b.pc);
    start_dma(&b, 0x20000, 2048);
    settle(b.loop);
    assert_fake(b.pc.f->ram + 0x20000, 6 * 2048, 2048);
    rig_free(&a);
    rig_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_atapi_inquiry_and_identify),
        cmocka_unit_test(test_atapi_read_10_in_blocks_of_the_limit),
        cmocka_unit_test(test_atapi_read_12_and_6_and_read_cd),
        cmocka_unit_test(test_atapi_range_is_checked),
        cmocka_unit_test(test_atapi_dma),
        cmocka_unit_test(test_atapi_capacity_and_toc),
        cmocka_unit_test(test_atapi_mode_pages),
        cmocka_unit_test(test_atapi_change_of_medium),
        cmocka_unit_test(test_atapi_eject_and_lock),
        cmocka_unit_test(test_atapi_configuration_follows_the_medium),
        cmocka_unit_test(test_atapi_dvd_structures),
        cmocka_unit_test(test_atapi_small_replies),
        cmocka_unit_test(test_atapi_command_in_mid_pio_ends_the_transfer),
        cmocka_unit_test(test_atapi_when_stopped_with_dma_in_flight_then_cancelled),
        cmocka_unit_test(test_atapi_saved_in_mid_pio_goes_on_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
