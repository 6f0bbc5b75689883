/* SPDX-License-Identifier: MIT */
/* tests/unit/test-ide.c - IDE channels and ATA commands, through the ports. */
#include "ide-rig.h"

static void test_ide_empty_channel_floats(void **s)
{
    struct ide_rig r;

    (void)s;
    rig_make(&r, "h---");
    assert_int_equal(inb(&r, STATUS - SECONDARY), 0x7f);
    assert_int_equal(inb(&r, CONTROL - SECONDARY), 0x7f);
    outb(&r, NSECT - SECONDARY, 0x55);
    assert_int_equal(inb(&r, NSECT - SECONDARY), 0x7f);
    /* a missing slave beside a master: zeros, and commands go nowhere */
    outb(&r, DEVICE, 0xb0);
    assert_int_equal(inb(&r, STATUS), 0);
    outb(&r, NSECT, 0x55);
    assert_int_equal(inb(&r, NSECT), 0);
    outb(&r, STATUS, 0xec);
    settle(r.loop);
    assert_int_equal(inb(&r, STATUS), 0);
    assert_int_equal(edges(&r), 0);
    rig_free(&r);
}

static void test_ide_reset_shows_signatures(void **s)
{
    struct ide_rig r;

    (void)s;
    rig_make(&r, "hc--");
    outb(&r, CONTROL, DC_SRST);
    assert_int_equal(inb(&r, STATUS) & ST_BSY, ST_BSY);
    outb(&r, CONTROL, 0);
    assert_int_equal(inb(&r, STATUS), READY);
    assert_int_equal(inb(&r, ERROR), 1);
    assert_int_equal(inb(&r, LBAM) | inb(&r, LBAH) << 8, 0);
    outb(&r, DEVICE, 0xb0);
    assert_int_equal(inb(&r, STATUS), 0);
    assert_int_equal(inb(&r, NSECT), 1);
    assert_int_equal(inb(&r, LBAM) | inb(&r, LBAH) << 8, 0xeb14);
    outb(&r, STATUS, 0x90);
    assert_int_equal(inb(&r, ERROR), 1);
    assert_int_equal(edges(&r), 1);
    rig_free(&r);
}

static void identity_string(const uint8_t *id, unsigned word, unsigned len, char *out)
{
    for (unsigned i = 0; i < len; i++) {
        out[i] = (char)id[2 * word + (i ^ 1)];
    }
    out[len] = 0;
}

static void test_ide_identify_names_the_disk(void **s)
{
    struct ide_rig r;
    uint8_t id[512];
    char text[41];

    (void)s;
    rig_make(&r, "-h--");
    outb(&r, DEVICE, 0xb0);
    outb(&r, STATUS, 0xec);
    assert_int_equal(inb(&r, STATUS), WANTS);
    get(&r, id, 512);
    assert_int_equal(inb(&r, STATUS), READY);
    identity_string(id, 27, 13, text);
    assert_string_equal(text, "KEEL HARDDISK");
    identity_string(id, 10, 7, text);
    assert_string_equal(text, "KL00002");
    assert_int_equal(load_le32(id + 120), DISK_BYTES / 512);
    assert_int_equal(load_le64(id + 200), DISK_BYTES / 512);
    assert_int_equal(id[0], 0x40);
    /* the disk does not answer the packet drive's question */
    outb(&r, STATUS, 0xa1);
    assert_int_equal(inb(&r, STATUS), FAILED);
    assert_int_equal(inb(&r, ERROR), ER_ABRT);
    rig_free(&r);
}

static void test_ide_pio_read_interrupts_once_a_block(void **s)
{
    struct ide_rig r;
    uint8_t buf[512];

    (void)s;
    rig_make(&r, "h---");
    command(&r, 0, 100, 40, 0x20);
    assert_int_equal(inb(&r, CONTROL) & ST_BSY, ST_BSY);
    for (unsigned i = 0; i < 40; i++) {
        settle(r.loop);
        assert_int_equal(edges(&r), i + 1);
        assert_int_equal(inb(&r, STATUS), WANTS);
        assert_false(r.pc.f->isa[14]);
        get(&r, buf, 512);
        assert_fake(buf, (100 + i) * 512, 512);
    }
    assert_int_equal(inb(&r, STATUS), READY);
    assert_int_equal(edges(&r), 40);
    assert_int_equal(r.img[0]->count[BLK_READ], 3); /* sixteen sectors at a time */
    assert_int_equal(inb(&r, NSECT), 0);
    assert_int_equal(inb(&r, LBAL), 139);
    rig_free(&r);
}

static void test_ide_read_multiple_takes_blocks(void **s)
{
    struct ide_rig r;
    uint8_t buf[4096];

    (void)s;
    rig_make(&r, "h---");
    command(&r, 0, 0, 8, 0xc6);
    assert_int_equal(inb(&r, STATUS), READY);
    command(&r, 0, 7, 19, 0xc4);
    for (unsigned at = 0, n; at < 19; at += n) {
        n = 19 - at < 8 ? 19 - at : 8;
        settle(r.loop);
        assert_int_equal(inb(&r, STATUS), WANTS);
        get(&r, buf, n * 512);
        assert_fake(buf, (7 + at) * 512, n * 512);
    }
    assert_int_equal(inb(&r, STATUS), READY);
    assert_int_equal(edges(&r), 4);
    command(&r, 0, 0, 3, 0xc6); /* not a power of two */
    assert_int_equal(inb(&r, STATUS), FAILED);
    command(&r, 0, 0, 0, 0xc6);
    command(&r, 0, 0, 1, 0xc4); /* switched off */
    assert_int_equal(inb(&r, STATUS), FAILED);
    rig_free(&r);
}

static void test_ide_pio_write_reaches_the_image(void **s)
{
    struct ide_rig r;
    uint8_t buf[4096];

    (void)s;
    rig_make(&r, "h---");
    memset(buf, 0xa5, sizeof(buf));
    command(&r, 0, 9, 2, 0x30);
    assert_int_equal(inb(&r, STATUS), WANTS);
    assert_int_equal(edges(&r), 0);
    put(&r, buf, 512);
    assert_int_equal(inb(&r, CONTROL) & ST_BSY, ST_BSY);
    settle(r.loop);
    assert_int_equal(edges(&r), 1);
    assert_int_equal(inb(&r, STATUS), WANTS);
    put(&r, buf, 512);
    settle(r.loop);
    assert_int_equal(edges(&r), 2);
    assert_int_equal(inb(&r, STATUS), READY);
    assert_memory_equal(r.img[0]->data + 9 * 512, buf, 1024);
    assert_fake(r.img[0]->data + 8 * 512, 8 * 512, 512);
    assert_fake(r.img[0]->data + 11 * 512, 11 * 512, 512);
    memset(buf, 0x5a, sizeof(buf));
    command(&r, 0, 64, 8, 0xc5);
    put(&r, buf, 4096);
    settle(r.loop);
    assert_int_equal(inb(&r, STATUS), READY);
    assert_memory_equal(r.img[0]->data + 64 * 512, buf, 4096);
    assert_int_equal(r.img[0]->count[BLK_WRITE], 3);
    rig_free(&r);
}

static void test_ide_all_addressing_modes_agree(void **s)
{
    struct ide_rig r;
    uint8_t buf[512];

    (void)s;
    rig_make(&r, "h---");
    /* CHS 2/3/4 with 16 heads and 63 sectors */
    outb(&r, DEVICE, 0xa3);
    outb(&r, NSECT, 1);
    outb(&r, LBAL, 4);
    outb(&r, LBAM, 2);
    outb(&r, LBAH, 0);
    outb(&r, STATUS, 0x20);
    settle(r.loop);
    get(&r, buf, 512);
    assert_fake(buf, ((2 * 16 + 3) * 63 + 3) * 512, 512);
    assert_int_equal(inb(&r, LBAL), 4);
    assert_int_equal(inb(&r, LBAM), 2);
    assert_int_equal(inb(&r, DEVICE), 0xa3);
    /* sector 0 does not exist */
    outb(&r, LBAL, 0);
    outb(&r, STATUS, 0x20);
    assert_int_equal(inb(&r, STATUS), FAILED);
    assert_int_equal(inb(&r, ERROR), ER_IDNF);
    /* 48-bit: high bytes first */
    outb(&r, DEVICE, 0xe0);
    outb(&r, NSECT, 0);
    outb(&r, LBAL, 0);
    outb(&r, LBAM, 0);
    outb(&r, LBAH, 0);
    outb(&r, NSECT, 1);
    outb(&r, LBAL, 0x34);
    outb(&r, LBAM, 0x12);
    outb(&r, LBAH, 0);
    outb(&r, STATUS, 0x24);
    settle(r.loop);
    get(&r, buf, 512);
    assert_fake(buf, 0x1234 * 512, 512);
    outb(&r, LBAL, 1); /* LBA 24..31 = 0x34 now: far away */
    outb(&r, STATUS, 0x24);
    assert_int_equal(inb(&r, STATUS), FAILED);
    outb(&r, CONTROL, DC_HOB);
    assert_int_equal(inb(&r, LBAL), 0x34);
    rig_free(&r);
}

static void test_ide_range_is_checked_to_the_sector(void **s)
{
    struct ide_rig r;
    static const uint8_t cmds[] = { 0x20, 0x30, 0xc4, 0xc5, 0xc8, 0xca, 0x40 };

    (void)s;
    rig_make(&r, "h---");
    for (unsigned i = 0; i < sizeof(cmds); i++) {
        command(&r, 0, DISK_BYTES / 512 - 1, 2, cmds[i]);
        assert_int_equal(inb(&r, STATUS), FAILED);
        assert_int_equal(inb(&r, ERROR), ER_IDNF);
        command(&r, 0, 0x0fffffff, 0, cmds[i]);
        assert_int_equal(inb(&r, STATUS), FAILED);
    }
    command(&r, 0, DISK_BYTES / 512 - 2, 2, 0x40);
    assert_int_equal(inb(&r, STATUS), READY);
    rig_free(&r);
}

static void test_ide_interrupt_follows_nien_and_status(void **s)
{
    struct ide_rig r;

    (void)s;
    rig_make(&r, "h---");
    outb(&r, CONTROL, DC_NIEN);
    command(&r, 0, 0, 1, 0x40);
    assert_false(r.pc.f->isa[14]);
    outb(&r, CONTROL, 0);
    assert_true(r.pc.f->isa[14]);
    inb(&r, CONTROL); /* alternate status does not acknowledge */
    assert_true(r.pc.f->isa[14]);
    inb(&r, STATUS);
    assert_false(r.pc.f->isa[14]);
    rig_free(&r);
}

static void test_ide_soft_reset_drops_what_is_in_flight(void **s)
{
    struct ide_rig r;
    uint8_t buf[512];

    (void)s;
    rig_make(&r, "h---");
    r.img[0]->hold = true;
    command(&r, 0, 0, 1, 0x20);
    assert_int_equal(r.img[0]->nheld, 1);
    outb(&r, CONTROL, DC_SRST);
    assert_int_equal(blk_in_flight(r.blk[0]), 0);
    outb(&r, STATUS, 0xec); /* nobody listens during reset */
    assert_int_equal(inb(&r, STATUS) & ST_BSY, ST_BSY);
    outb(&r, CONTROL, 0);
    settle(r.loop);
    assert_int_equal(inb(&r, STATUS), READY);
    assert_int_equal(edges(&r), 0);
    r.img[0]->hold = false;
    command(&r, 0, 0, 1, 0x20);
    settle(r.loop);
    get(&r, buf, 100);
    outb(&r, CONTROL, DC_SRST);
    outb(&r, CONTROL, 0);
    assert_int_equal(in(&r.pc, DATA, 2), 0); /* and in mid-PIO */
    assert_int_equal(inb(&r, STATUS), READY);
    command(&r, 0, 0, 1, 0x30);
    put(&r, buf, 100);
    machine_enter(r.pc.m);
    machine_reset(r.pc.m);
    machine_leave(r.pc.m);
    put(&r, buf, 512);
    settle(r.loop);
    assert_int_equal(r.img[0]->count[BLK_WRITE], 0);
    rig_free(&r);
}

static void test_ide_io_errors_reach_the_guest(void **s)
{
    struct ide_rig r;
    uint8_t buf[512] = { 0 };

    (void)s;
    rig_make(&r, "h---");
    r.img[0]->fail = -EIO;
    command(&r, 0, 0x12345 & 0x3fff, 1, 0x20);
    settle(r.loop);
    assert_int_equal(inb(&r, CONTROL), FAILED);
    assert_true(r.pc.f->isa[14]);
    assert_int_equal(inb(&r, ERROR), ER_UNC);
    assert_int_equal(inb(&r, LBAL), 0x45);
    assert_int_equal(inb(&r, LBAM), 0x23);
    assert_int_equal(in(&r.pc, DATA, 2), 0);
    command(&r, 0, 5, 2, 0x30);
    put(&r, buf, 512);
    settle(r.loop);
    assert_int_equal(inb(&r, STATUS), FAILED);
    assert_int_equal(inb(&r, ERROR), ER_ABRT);
    assert_int_equal(inb(&r, NSECT), 2);
    command(&r, 0, 0, 0, 0xe7);
    settle(r.loop);
    assert_int_equal(inb(&r, STATUS), FAILED);
    assert_int_equal(blk_stats(r.blk[0])->errors[BLK_FLUSH], 1);
    rig_free(&r);
}

/* XSA-142: a read-only image stays what it is, whichever command asks. */
static void test_ide_when_image_is_read_only_then_every_write_fails(void **s)
{
    static const uint8_t cmds[] = { 0x30, 0x34, 0xc5, 0xca, 0x35 };
    struct ide_rig r;
    uint8_t buf[512] = { 0xee };

    (void)s;
    rig_make(&r, "h---");
    r.img[0]->base.read_only = true;
    for (unsigned i = 0; i < sizeof(cmds); i++) {
        command(&r, 0, 5, 1, cmds[i]);
        put(&r, buf, 512);
        outb(&r, BM_CMD, BM_START);
        settle(r.loop);
        assert_int_equal(inb(&r, STATUS) & ST_ERR, ST_ERR);
        outb(&r, BM_CMD, 0);
    }
    assert_int_equal(r.img[0]->count[BLK_WRITE], 0);
    assert_fake(r.img[0]->data + 5 * 512, 5 * 512, 512);
    rig_free(&r);
}

static void write_one(struct ide_rig *r, unsigned cmd)
{
    uint8_t buf[512] = { 1 };

    command(r, 0, 0, 0, 0x10); /* leaves zeros to become the high-order bytes */
    command(r, 0, 5, 1, cmd);
    put(r, buf, 512);
    settle(r->loop);
    assert_int_equal(inb(r, STATUS), READY);
}

static void test_ide_writes_are_flushed_when_asked(void **s)
{
    struct ide_rig r;

    (void)s;
    rig_make(&r, "h---");
    write_one(&r, 0x30);
    assert_int_equal(r.img[0]->count[BLK_FLUSH], 0);
    write_one(&r, 0xce); /* FUA */
    assert_int_equal(r.img[0]->count[BLK_FLUSH], 1);
    outb(&r, ERROR, 0x82); /* write cache off: flushes what it holds */
    outb(&r, STATUS, 0xef);
    settle(r.loop);
    assert_int_equal(inb(&r, STATUS), READY);
    assert_int_equal(r.img[0]->count[BLK_FLUSH], 2);
    write_one(&r, 0x30);
    assert_int_equal(r.img[0]->count[BLK_FLUSH], 3);
    outb(&r, STATUS, 0xea);
    settle(r.loop);
    assert_int_equal(r.img[0]->count[BLK_FLUSH], 4);
    rig_free(&r);
}

static void test_ide_set_features_refuses_the_unknown(void **s)
{
    struct ide_rig r;
    static const uint8_t modes[][2] = { { 0x0c, 1 }, { 0x0d, 0 }, { 0x22, 1 }, { 0x23, 0 },
                                        { 0x45, 1 }, { 0x46, 0 }, { 0xff, 0 }, { 0x10, 0 } };
    uint8_t id[512];

    (void)s;
    rig_make(&r, "h---");
    for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
        outb(&r, ERROR, 3);
        outb(&r, NSECT, modes[i][0]);
        outb(&r, STATUS, 0xef);
        assert_int_equal(inb(&r, STATUS), modes[i][1] ? READY : FAILED);
    }
    outb(&r, STATUS, 0xec);
    get(&r, id, 512);
    assert_int_equal(load_le16(id + 2 * 88), 0x203f);
    assert_int_equal(load_le16(id + 2 * 63), 0x0007);
    outb(&r, ERROR, 0x99);
    outb(&r, STATUS, 0xef);
    assert_int_equal(inb(&r, STATUS), FAILED);
    rig_free(&r);
}

/* Commands of the other kind of drive: no medium geometry is ever looked at. */
static void test_ide_disk_commands_abort_on_a_cd_drive(void **s)
{
    struct ide_rig r;
    static const uint8_t cmds[] = { 0x27, 0xf8, 0x91, 0xc8, 0xca, 0x25, 0x35, 0x30, 0xc4,
                                    0x10, 0x70, 0xb0, 0x06, 0xc6, 0xe7, 0xec, 0x20, 0xf5 };

    (void)s;
    rig_make(&r, "e---");
    for (unsigned i = 0; i < sizeof(cmds); i++) {
        outb(&r, DEVICE, 0xa0);
        outb(&r, STATUS, cmds[i]);
        assert_int_equal(inb(&r, STATUS), FAILED);
        assert_int_equal(inb(&r, ERROR), ER_ABRT);
    }
    assert_int_equal(inb(&r, LBAM), 0x14); /* the last refusals say what it is */
    outb(&r, STATUS, 0x08);
    assert_int_equal(inb(&r, STATUS), 0);
    assert_int_equal(inb(&r, LBAH), 0xeb);
    rig_free(&r);
}

static void test_ide_native_max_and_power_modes(void **s)
{
    struct ide_rig r;

    (void)s;
    rig_make(&r, "h---");
    command(&r, 0, 0, 0, 0xf8);
    assert_int_equal(inb(&r, LBAL) | inb(&r, LBAM) << 8 | inb(&r, LBAH) << 16,
                     DISK_BYTES / 512 - 1);
    outb(&r, STATUS, 0xe5);
    assert_int_equal(inb(&r, NSECT), 0xff);
    outb(&r, STATUS, 0xe0);
    outb(&r, STATUS, 0xe5);
    assert_int_equal(inb(&r, NSECT), 0x00);
    command(&r, 0, 0, 1, 0x40);
    outb(&r, STATUS, 0xe5);
    assert_int_equal(inb(&r, NSECT), 0xff);
    outb(&r, STATUS, 0x77); /* unknown */
    assert_int_equal(inb(&r, STATUS), FAILED);
    rig_free(&r);
}

static void smart(struct ide_rig *r, unsigned feature, unsigned lbal)
{
    outb(r, ERROR, feature);
    outb(r, NSECT, 1);
    outb(r, LBAL, lbal);
    outb(r, LBAM, 0x4f);
    outb(r, LBAH, 0xc2);
    outb(r, STATUS, 0xb0);
}

/* CVE-2014-2894: the self-test log has 21 entries, whatever the guest starts. */
static void test_ide_smart_self_test_log_wraps(void **s)
{
    struct ide_rig r;
    uint8_t buf[512], sum = 0;

    (void)s;
    rig_make(&r, "h---");
    for (unsigned i = 0; i < 100; i++) {
        smart(&r, 0xd4, 1 + i % 2);
        assert_int_equal(inb(&r, STATUS), READY);
    }
    assert_int_equal(r.drive[0]->smart.selftest_count, 100 % 21);
    smart(&r, 0xd5, 6);
    get(&r, buf, 512);
    for (unsigned i = 0; i < 512; i++) {
        sum = (uint8_t)(sum + buf[i]);
    }
    assert_int_equal(sum, 0);
    assert_int_equal(buf[508], 100 % 21);
    smart(&r, 0xd4, 0x7f);
    assert_int_equal(inb(&r, STATUS), FAILED);
    smart(&r, 0xda, 0);
    assert_int_equal(inb(&r, STATUS), READY);
    assert_int_equal(inb(&r, LBAM) | inb(&r, LBAH) << 8, 0xc24f);
    smart(&r, 0xd9, 0);
    smart(&r, 0xd0, 0);
    assert_int_equal(inb(&r, STATUS), FAILED);
    smart(&r, 0xd8, 0);
    smart(&r, 0xd0, 0);
    assert_int_equal(inb(&r, STATUS), WANTS);
    outb(&r, STATUS, 0xb0); /* no signature in the registers: they cannot be written during DRQ */
    rig_free(&r);
}

/* CVE-2015-5154: the data port after the end of a transfer, and a command in the middle of one. */
static void test_ide_data_port_is_dead_without_drq(void **s)
{
    struct ide_rig r;
    uint8_t buf[1024] = { 0 };

    (void)s;
    rig_make(&r, "h---");
    assert_int_equal(in(&r.pc, DATA, 4), 0);
    out(&r.pc, DATA, 4, 0x12345678);
    command(&r, 0, 0, 1, 0x20);
    assert_int_equal(in(&r.pc, DATA, 2), 0); /* while busy */
    settle(r.loop);
    get(&r, buf, 300);
    outb(&r, STATUS, 0xe7); /* a flush in mid-block ends the block */
    settle(r.loop);
    assert_int_equal(in(&r.pc, DATA, 2), 0);
    assert_int_equal(inb(&r, STATUS), READY);
    command(&r, 0, 0, 1, 0x30);
    get(&r, buf, 512); /* wrong direction: nothing moves */
    assert_int_equal(inb(&r, STATUS), WANTS);
    put(&r, buf, 1024); /* more than asked for */
    settle(r.loop);
    assert_int_equal(inb(&r, STATUS), READY);
    assert_int_equal(r.img[0]->count[BLK_WRITE], 1);
    rig_free(&r);
}

static void test_ide_data_port_takes_every_width(void **s)
{
    struct ide_rig r;
    uint8_t buf[512];
    struct io_req req = {
        .addr = DATA, .data = 0x1000, .count = 127, .size = 4, .space = IO_PIO, .data_is_ptr = true
    };

    (void)s;
    rig_make(&r, "h---");
    command(&r, 0, 3, 1, 0x20);
    settle(r.loop);
    assert_int_equal(ioreq_run(r.pc.m, &req), 0); /* rep insl */
    buf[0] = inb(&r, DATA);                       /* the low half of a word */
    buf[1] = (uint8_t)in(&r.pc, DATA, 4);         /* only two bytes are left */
    assert_fake(r.pc.f->ram + 0x1000, 3 * 512, 508);
    assert_int_equal(buf[0], fake_byte(3 * 512 + 508));
    assert_int_equal(buf[1], fake_byte(3 * 512 + 510));
    assert_int_equal(inb(&r, STATUS), READY);
    rig_free(&r);
}

static void test_ide_command_while_busy_is_ignored(void **s)
{
    struct ide_rig r;
    uint8_t buf[512];

    (void)s;
    rig_make(&r, "h---");
    r.img[0]->hold = true;
    command(&r, 0, 4, 1, 0x20);
    outb(&r, LBAL, 99);
    outb(&r, DEVICE, 0xf0);
    outb(&r, STATUS, 0x20);
    assert_int_equal(r.img[0]->nheld, 1);
    rig_release(&r, 0);
    get(&r, buf, 512);
    assert_fake(buf, 4 * 512, 512);
    assert_int_equal(inb(&r, DEVICE), 0xe0);
    rig_free(&r);
}

/* Sector 0 of a cylinder does not exist; what the failed command leaves behind must still load. */
static void test_ide_saved_after_a_failed_command(void **s)
{
    struct ide_rig a, b;

    (void)s;
    rig_make(&a, "h---");
    rig_make(&b, "h---");
    outb(&a, DEVICE, 0xa0);
    outb(&a, LBAL, 0);
    outb(&a, STATUS, 0x20);
    assert_int_equal(inb(&a, CONTROL), FAILED);
    pc_move(&a.pc, &b.pc);
    assert_int_equal(inb(&b, ERROR), ER_IDNF);
    rig_free(&a);
    rig_free(&b);
}

static void test_ide_saved_in_mid_pio_goes_on_elsewhere(void **s)
{
    struct ide_rig a, b;
    uint8_t buf[512];

    (void)s;
    rig_make(&a, "h-c-");
    rig_make(&b, "h-c-");
    command(&a, 0, 30, 20, 0x20);
    settle(a.loop);
    get(&a, buf, 512);
    get(&a, buf, 200);
    pc_move(&a.pc, &b.pc);
    assert_int_equal(inb(&b, STATUS), WANTS);
    get(&b, buf + 200, 312);
    assert_fake(buf, 31 * 512, 512);
    for (unsigned i = 2; i < 20; i++) {
        settle(b.loop);
        get(&b, buf, 512);
        assert_fake(buf, (30 + i) * 512, 512);
    }
    assert_int_equal(inb(&b, STATUS), READY);
    outb(&a, CONTROL, DC_SRST);
    outb(&a, CONTROL, 0);
    command(&a, 0, 50, 2, 0x30);
    put(&a, buf, 100);
    pc_move(&a.pc, &b.pc);
    put(&b, buf + 100, 412);
    settle(b.loop);
    assert_int_equal(inb(&b, STATUS), WANTS);
    assert_memory_equal(b.img[0]->data + 50 * 512, buf, 512);
    rig_free(&a);
    rig_free(&b);
}

/* Each change makes one field of the stream a lie. */
static void hostile_marks(struct ide_drive *d, unsigned which)
{
    switch (which) {
    case 0:
        d->pos = d->end + 1;
        break;
    case 1:
        d->end = d->fill + 1;
        break;
    case 2:
        d->fill = d->end = IDE_BUF_BYTES + 1;
        break;
    case 3:
        d->phase = PHASE_BUSY;
        break;
    case 4:
        d->phase = PHASE_DMA;
        break;
    case 5:
        d->xfer = XFER_CD_READ;
        break;
    case 6:
        d->phase = PHASE_OUT;
        break;
    case 7:
        d->pos = d->end;
        break;
    case 8:
        d->block = 0;
        break;
    case 9:
        d->heads = 0;
        break;
    case 10:
        d->multiple = 3;
        break;
    case 11:
        d->smart.selftest_count = 21;
        break;
    case 12:
        d->lba = 1ull << 60;
        break;
    case 13:
        d->phase = PHASE_DMA_WAIT;
        break;
    default:
        d->xfer = 200;
        break;
    }
}

static void test_ide_hostile_state_is_refused(void **s)
{
    (void)s;
    for (unsigned i = 0; i < 15; i++) {
        struct ide_rig a;
        struct state_buf b = { 0 };
        struct err e = { 0 };
        struct ide_drive kept;

        rig_make(&a, "h---");
        command(&a, 0, 30, 20, 0x20);
        settle(a.loop);
        kept = *a.drive[0];
        hostile_marks(a.drive[0], i);
        dev_save(&a.drive[0]->dev, &b);
        *a.drive[0] = kept;
        machine_enter(a.pc.m);
        assert_int_equal(dev_load(&a.drive[0]->dev, b.p, b.len, &e), -EINVAL);
        machine_leave(a.pc.m);
        assert_int_not_equal(e.msg[0], 0);
        free(b.p);
        rig_free(&a);
    }
}

static void unplug(struct ide_rig *r, bool aux_only)
{
    machine_enter(r->pc.m);
    ide_unplug_disks(r->pc.m, aux_only);
    machine_leave(r->pc.m);
}

static void test_ide_unplug_hides_disks_until_reset(void **s)
{
    struct ide_rig r, other;

    (void)s;
    rig_make(&r, "hhch");
    rig_make(&other, "hhch");
    unplug(&r, true);
    assert_int_equal(inb(&r, STATUS), READY);
    outb(&r, DEVICE, 0xb0);
    assert_int_equal(inb(&r, STATUS), 0);
    outb(&r, DEVICE, 0xe0);
    r.img[0]->hold = true;
    command(&r, 0, 0, 1, 0x20);
    unplug(&r, false); /* with I/O in flight */
    unplug(&r, false);
    assert_int_equal(blk_in_flight(r.blk[0]), 0);
    assert_int_equal(inb(&r, STATUS), 0x7f);
    outb(&r, DEVICE - SECONDARY, 0xa0);
    assert_int_equal(inb(&r, LBAM - SECONDARY), 0x14); /* the CD stays */
    pc_move(&r.pc, &other.pc);
    assert_int_equal(inb(&other, STATUS), 0x7f);
    machine_enter(r.pc.m);
    machine_reset(r.pc.m);
    machine_leave(r.pc.m);
    assert_int_equal(inb(&r, STATUS), READY);
    rig_free(&r);
    rig_free(&other);
}

static int try_drive(struct ide_rig *r, const char *bus, unsigned unit, struct blk *blk,
                     struct err *e)
{
    struct device *d = dev_new(r->pc.m, &ide_hd_class, NULL);
    int ret;

    dev_set_str(d, "bus", bus);
    dev_set_u32(d, "unit", unit);
    dev_set_ptr(d, "drive", blk);
    ret = dev_init(d, e);
    if (ret < 0) {
        dev_free(d);
    }
    return ret;
}

static void test_ide_drive_explains_why_it_cannot_start(void **s)
{
    struct ide_rig r;
    struct err e = { 0 };
    struct blk *blk;

    (void)s;
    rig_make(&r, "h---");
    blk = blk_new(r.loop, "spare");
    assert_int_equal(try_drive(&r, "ide.0", 1, NULL, &e), -EINVAL);
    assert_non_null(strstr(e.msg, "drive="));
    assert_int_equal(try_drive(&r, "ide.0", 1, blk, &e), -ENOMEDIUM);
    assert_non_null(strstr(e.msg, "spare"));
    assert_int_equal(try_drive(&r, "ide.0", 1, r.blk[0], &e), -EBUSY);
    blk_set_image(blk, &fake_image_new(65536)->base);
    assert_int_equal(try_drive(&r, "ide.0", 0, blk, &e), -EBUSY);
    assert_non_null(strstr(e.msg, "ide.0"));
    assert_int_equal(try_drive(&r, "ide.7", 0, blk, &e), -ENOENT);
    assert_int_equal(try_drive(&r, "ide.1", 2, blk, &e), -EINVAL);
    assert_int_equal(try_drive(&r, "ide.1", 1, blk, &e), 0);
    r.blk[3] = blk;
    rig_free(&r);
}

static void test_ide_every_port_survives_every_width(void **s)
{
    struct ide_rig r;

    (void)s;
    rig_make(&r, "hcec");
    for (unsigned pass = 0; pass < 3; pass++) {
        for (unsigned port = 0x168; port < 0x3f8; port = port == 0x178 ? 0x1e8 : port + 1) {
            port = port == 0x1f8 ? 0x3f0 : port;
            for (unsigned size = 1; size <= 4; size *= 2) {
                out(&r.pc, port, size, 0xffffffffu >> (pass * 7));
                (void)in(&r.pc, port, size);
                settle(r.loop);
            }
        }
    }
    machine_enter(r.pc.m);
    machine_reset(r.pc.m);
    machine_leave(r.pc.m);
    assert_int_equal(inb(&r, STATUS), READY);
    rig_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ide_empty_channel_floats),
        cmocka_unit_test(test_ide_reset_shows_signatures),
        cmocka_unit_test(test_ide_identify_names_the_disk),
        cmocka_unit_test(test_ide_pio_read_interrupts_once_a_block),
        cmocka_unit_test(test_ide_read_multiple_takes_blocks),
        cmocka_unit_test(test_ide_pio_write_reaches_the_image),
        cmocka_unit_test(test_ide_all_addressing_modes_agree),
        cmocka_unit_test(test_ide_range_is_checked_to_the_sector),
        cmocka_unit_test(test_ide_interrupt_follows_nien_and_status),
        cmocka_unit_test(test_ide_soft_reset_drops_what_is_in_flight),
        cmocka_unit_test(test_ide_io_errors_reach_the_guest),
        cmocka_unit_test(test_ide_when_image_is_read_only_then_every_write_fails),
        cmocka_unit_test(test_ide_writes_are_flushed_when_asked),
        cmocka_unit_test(test_ide_set_features_refuses_the_unknown),
        cmocka_unit_test(test_ide_disk_commands_abort_on_a_cd_drive),
        cmocka_unit_test(test_ide_native_max_and_power_modes),
        cmocka_unit_test(test_ide_smart_self_test_log_wraps),
        cmocka_unit_test(test_ide_data_port_is_dead_without_drq),
        cmocka_unit_test(test_ide_data_port_takes_every_width),
        cmocka_unit_test(test_ide_command_while_busy_is_ignored),
        cmocka_unit_test(test_ide_saved_after_a_failed_command),
        cmocka_unit_test(test_ide_saved_in_mid_pio_goes_on_elsewhere),
        cmocka_unit_test(test_ide_hostile_state_is_refused),
        cmocka_unit_test(test_ide_unplug_hides_disks_until_reset),
        cmocka_unit_test(test_ide_drive_explains_why_it_cannot_start),
        cmocka_unit_test(test_ide_every_port_survives_every_width),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
