/* SPDX-License-Identifier: MIT */
/* tests/unit/test-scsi.c - SCSI disks and CD drives, through an adapter. SPC-3, SBC-3, MMC-3. */
#include "scsi-rig.h"

#define CDB(...)                                                                                   \
    (const uint8_t[16])                                                                            \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

static unsigned in_cmd(struct scsi_rig *r, const uint8_t *cdb, unsigned len, uint32_t bytes)
{
    return command(r, 0, 0, cdb, len, 'i', bytes);
}

static void assert_fails(struct scsi_rig *r, const uint8_t *cdb, unsigned len, uint32_t why)
{
    assert_int_equal(command(r, 0, 0, cdb, len, 0, 0), SCSI_CHECK);
    assert_int_equal(sense(r, 0, 0), why);
    assert_int_equal(sense(r, 0, 0), 0); /* told once */
}

static void test_scsi_after_power_on_then_unit_attention_once(void **state)
{
    struct scsi_rig r;
    (void)state;
    rig_make(&r);
    assert_int_equal(in_cmd(&r, CDB(0x12, 0, 0, 0, 36), 6, 36), SCSI_GOOD); /* INQUIRY works */
    assert_int_equal(command(&r, 0, 0, CDB(0), 6, 0, 0), SCSI_CHECK);
    assert_int_equal(sense(&r, 0, 0), 0x062900);
    assert_int_equal(command(&r, 0, 0, CDB(0), 6, 0, 0), SCSI_GOOD);
    rig_free(&r);
}

static void test_scsi_inquiry_tells_who_it_is(void **state)
{
    struct scsi_rig r;
    (void)state;
    rig_make(&r);
    awake(&r);
    assert_int_equal(in_cmd(&r, CDB(0x12, 0, 0, 0, 36), 6, 36), SCSI_GOOD);
    assert_memory_equal(ram(&r, DATA_AT), "\0\0\5\2\37", 5);
    assert_memory_equal(ram(&r, DATA_AT + 8), "KEEL    KEEL HARDDISK   1.0 ", 28);
    assert_int_equal(in_cmd(&r, CDB(0x12, 1, 0, 0, 255), 6, 10), SCSI_GOOD);
    assert_memory_equal(ram(&r, DATA_AT), "\0\0\0\6\x00\x80\x83\xb0\xb1\xb2", 10);
    assert_int_equal(in_cmd(&r, CDB(0x12, 1, 0x80, 0, 255), 6, 8), SCSI_GOOD);
    assert_memory_equal(ram(&r, DATA_AT), "\0\x80\0\4SER0", 8);
    assert_int_equal(in_cmd(&r, CDB(0x12, 1, 0xb2, 0, 255), 6, 8), SCSI_GOOD);
    assert_int_equal(ram(&r, DATA_AT)[5], 0x80);
    assert_fails(&r, CDB(0x12, 1, 0x99, 0, 255), 6, 0x052400);
    assert_fails(&r, CDB(0xff), 10, 0x052000);
    rig_free(&r);
}

static void test_scsi_luns_are_reported_and_missing_ones_say_so(void **state)
{
    struct scsi_rig r;
    (void)state;
    rig_make(&r);
    awake(&r);
    assert_int_equal(command(&r, 2, 1, CDB(0xa0, [9] = 64), 12, 'i', 24), SCSI_GOOD);
    assert_memory_equal(ram(&r, DATA_AT), "\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 18);
    assert_int_equal(command(&r, 2, 0, CDB(0x12, 0, 0, 0, 36), 6, 'i', 36), SCSI_GOOD);
    assert_int_equal(*ram(&r, DATA_AT), 0x7f);
    assert_int_equal(command(&r, 2, 0, CDB(0), 6, 0, 0), SCSI_CHECK);
    assert_int_equal(sense(&r, 2, 0), 0x052500);
    rig_free(&r);
}

static void test_scsi_capacity_and_mode_pages(void **state)
{
    struct scsi_rig r;
    (void)state;
    rig_make(&r);
    awake(&r);
    assert_int_equal(in_cmd(&r, CDB(0x25), 10, 8), SCSI_GOOD);
    assert_int_equal(load_be32(ram(&r, DATA_AT)), DISK_BYTES / 512 - 1);
    assert_int_equal(load_be32(ram(&r, DATA_AT + 4)), 512);
    assert_int_equal(in_cmd(&r, CDB(0x9e, 0x10, [13] = 32), 16, 32), SCSI_GOOD);
    assert_int_equal(load_be32(ram(&r, DATA_AT + 4)), DISK_BYTES / 512 - 1);
    assert_int_equal(in_cmd(&r, CDB(0x1a, 8, 8, 0, 255), 6, 24), SCSI_GOOD);
    assert_memory_equal(ram(&r, DATA_AT), "\x17\0\x10\0\x08\x12\x04", 7);
    /* the write cache goes off: writes are flushed */
    memcpy(ram(&r, DATA_AT), "\0\0\0\0\x08\x12\0", 7);
    assert_int_equal(command(&r, 0, 0, CDB(0x15, 0x10, 0, 0, 24), 6, 'o', 24), SCSI_GOOD);
    assert_int_equal(in_cmd(&r, CDB(0x5a, 8, 8, 0, 0, 0, 0, 0, 255), 10, 28), SCSI_GOOD);
    assert_int_equal(ram(&r, DATA_AT)[10], 0);
    assert_int_equal(command(&r, 0, 0, CDB(0x0a, 0, 0, 1, 1), 6, 'o', 512), SCSI_GOOD);
    assert_int_equal(r.img[0]->count[BLK_FLUSH], 1);
    assert_fails(&r, CDB(0x1a, 0, 0x1c, 0, 255), 6, 0x052400);
    assert_fails(&r, CDB(0x1a, 0, 0xc8, 0, 255), 6, 0x053900);
    rig_free(&r);
}

static void test_scsi_reads_by_every_size_of_command(void **state)
{
    struct scsi_rig r;
    (void)state;
    rig_make(&r);
    awake(&r);
    assert_int_equal(in_cmd(&r, CDB(0x08, 0, 0x01, 0x02, 2), 6, 1024), SCSI_GOOD);
    assert_fake(ram(&r, DATA_AT), 0x102 * 512, 1024);
    assert_int_equal(in_cmd(&r, CDB(0x28, 0, 0, 0, 0x01, 0x03, 0, 0, 1), 10, 512), SCSI_GOOD);
    assert_fake(ram(&r, DATA_AT), 0x103 * 512, 512);
    assert_int_equal(in_cmd(&r, CDB(0xa8, 0, 0, 0, 0x01, 0x04, 0, 0, 0, 1), 12, 512), SCSI_GOOD);
    assert_fake(ram(&r, DATA_AT), 0x104 * 512, 512);
    assert_int_equal(in_cmd(&r, CDB(0x88, [8] = 0x01, [9] = 0x05, [13] = 1), 16, 512), SCSI_GOOD);
    assert_fake(ram(&r, DATA_AT), 0x105 * 512, 512);
    /* 256 blocks where the count is 0; more than is read at once */
    assert_int_equal(in_cmd(&r, CDB(0x08), 6, 131072), SCSI_GOOD);
    assert_fake(ram(&r, DATA_AT), 0, 131072);
    assert_int_equal(in_cmd(&r, CDB(0x28, [7] = 0x05, [8] = 0x10), 10, 0x510 * 512), SCSI_GOOD);
    assert_fake(ram(&r, DATA_AT), 0, 0x510 * 512);
    assert_int_equal(in_cmd(&r, CDB(0x28), 10, 0), SCSI_GOOD); /* none */
    rig_free(&r);
}

static void test_scsi_writes_reach_the_image(void **state)
{
    struct scsi_rig r;
    enum { BLOCKS = 300, AT = 77 };
    (void)state;
    rig_make(&r);
    awake(&r);
    for (uint32_t i = 0; i < BLOCKS * 512; i++) {
        ram(&r, DATA_AT)[i] = (uint8_t)(i * 7 + i / 512);
    }
    const uint8_t *cdb = CDB(0x2a, 0, 0, 0, 0, AT, 0, BLOCKS >> 8, BLOCKS & 255);
    assert_int_equal(command(&r, 0, 0, cdb, 10, 'o', BLOCKS * 512), SCSI_GOOD);
    assert_memory_equal(r.img[0]->data + AT * 512, ram(&r, DATA_AT), BLOCKS * 512);
    assert_int_equal(r.img[0]->data[AT * 512 - 1], fake_byte(AT * 512 - 1));
    assert_int_equal(r.img[0]->data[(AT + BLOCKS) * 512], fake_byte((AT + BLOCKS) * 512));
    assert_int_equal(r.img[0]->count[BLK_FLUSH], 0);
    assert_int_equal(command(&r, 0, 0, CDB(0x2a, 0x08, [8] = 1), 10, 'o', 512),
                     SCSI_GOOD); /* FUA */
    assert_int_equal(r.img[0]->count[BLK_FLUSH], 1);
    assert_int_equal(command(&r, 0, 0, CDB(0x35), 10, 0, 0), SCSI_GOOD);
    assert_int_equal(command(&r, 0, 0, CDB(0x91), 16, 0, 0), SCSI_GOOD);
    assert_int_equal(r.img[0]->count[BLK_FLUSH], 3);
    rig_free(&r);
}

static void test_scsi_blocks_are_unmapped_and_written_the_same(void **state)
{
    struct scsi_rig r;
    (void)state;
    rig_make(&r);
    awake(&r);
    memcpy(ram(&r, DATA_AT),
           "\0\x26\0\x20\0\0\0\0"
           "\0\0\0\0\0\0\0\x10\0\0\0\2\0\0\0\0"
           "\0\0\0\0\0\0\0\x20\0\0\0\1\0\0\0\0",
           40);
    assert_int_equal(command(&r, 0, 0, CDB(0x42, [8] = 40), 10, 'o', 40), SCSI_GOOD);
    assert_int_equal(r.img[0]->count[BLK_DISCARD], 2);
    assert_int_equal(r.img[0]->data[0x10 * 512 + 100], 0);
    assert_int_equal(r.img[0]->data[0x20 * 512 + 100], 0);
    ram(&r, DATA_AT)[3] = 0x21; /* not whole descriptors */
    assert_int_equal(command(&r, 0, 0, CDB(0x42, [8] = 40), 10, 'o', 40), SCSI_CHECK);
    assert_int_equal(sense(&r, 0, 0), 0x052600);
    memset(ram(&r, DATA_AT), 0x5a, 512);
    assert_int_equal(command(&r, 0, 0, CDB(0x41, [5] = 4, [7] = 1, [8] = 2), 10, 'o', 512),
                     SCSI_GOOD);
    for (unsigned i = 0; i < 0x102 * 512; i++) {
        assert_int_equal(r.img[0]->data[4 * 512 + i], 0x5a);
    }
    assert_int_equal(r.img[0]->data[(4 + 0x102) * 512], fake_byte((4 + 0x102) * 512));
    /* no data out: zeros */
    assert_int_equal(command(&r, 0, 0, CDB(0x93, 1, [9] = 4, [13] = 1), 16, 0, 0), SCSI_GOOD);
    assert_int_equal(r.img[0]->data[4 * 512], 0);
    rig_free(&r);
}

static void test_scsi_what_fails_leaves_sense(void **state)
{
    struct scsi_rig r;
    (void)state;
    rig_make(&r);
    awake(&r);
    assert_fails(&r, CDB(0x28, 0, 0, 0, 0x20, 0, 0, 0, 1), 10, 0x052100); /* one past the end */
    assert_fails(&r, CDB(0x88, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2), 16,
                 0x052100);
    r.img[0]->fail = -EIO;
    assert_fails(&r, CDB(0x28, [8] = 1), 10, 0x031100);
    assert_int_equal(command(&r, 0, 0, CDB(0x2a, [8] = 1), 10, 'o', 512), SCSI_CHECK);
    assert_int_equal(sense(&r, 0, 0), 0x030c00);
    r.img[0]->fail = -ENOSPC;
    assert_int_equal(command(&r, 0, 0, CDB(0x2a, [8] = 1), 10, 'o', 512), SCSI_CHECK);
    assert_int_equal(sense(&r, 0, 0), 0x072707);
    r.img[0]->fail = 0;
    r.img[0]->base.read_only = true;
    assert_fails(&r, CDB(0x2a, [8] = 1), 10, 0x072700);
    rig_free(&r);
}

static void test_scsi_cd_reads_and_notices_its_medium(void **state)
{
    struct scsi_rig r;
    (void)state;
    rig_make(&r);
    awake(&r);
    assert_int_equal(command(&r, 5, 0, CDB(0x12, 0, 0, 0, 36), 6, 'i', 36), SCSI_GOOD);
    assert_memory_equal(ram(&r, DATA_AT), "\5\x80\5\2", 4);
    assert_int_equal(command(&r, 5, 0, CDB(0x25), 10, 'i', 8), SCSI_GOOD);
    assert_int_equal(load_be32(ram(&r, DATA_AT)), DISK_BYTES / 2048 - 1);
    assert_int_equal(command(&r, 5, 0, CDB(0x28, [5] = 3, [8] = 2), 10, 'i', 4096), SCSI_GOOD);
    assert_fake(ram(&r, DATA_AT), 3 * 2048, 4096);
    assert_int_equal(command(&r, 5, 0, CDB(0x43, [8] = 20), 10, 'i', 20), SCSI_GOOD);
    assert_int_equal(load_be16(ram(&r, DATA_AT)), 18);
    assert_int_equal(command(&r, 5, 0, CDB(0x1e, 0, 0, 0, 1), 6, 0, 0), SCSI_GOOD);
    assert_int_equal(command(&r, 5, 0, CDB(0x1b, 0, 0, 0, 2), 6, 0, 0), SCSI_CHECK);
    assert_int_equal(sense(&r, 5, 0), 0x055302);
    machine_enter(r.pc.m);
    blk_set_image(r.blk[2], NULL);
    machine_leave(r.pc.m);
    assert_int_equal(command(&r, 5, 0, CDB(0), 6, 0, 0), SCSI_CHECK);
    assert_int_equal(sense(&r, 5, 0), 0x023a01);
    machine_enter(r.pc.m);
    blk_set_image(r.blk[2], &fake_image_new(DISK_BYTES)->base);
    machine_leave(r.pc.m);
    assert_int_equal(command(&r, 5, 0, CDB(0), 6, 0, 0), SCSI_CHECK);
    assert_int_equal(sense(&r, 5, 0), 0x062800);
    assert_int_equal(command(&r, 5, 0, CDB(0), 6, 0, 0), SCSI_GOOD);
    rig_free(&r);
}

static void test_scsi_disks_when_unplugged_then_gone_until_reset(void **state)
{
    struct scsi_rig r;
    (void)state;
    rig_make(&r);
    r.img[0]->hold = true;
    awake(&r);
    start_command(&r, 0, 0, CDB(0x28, [8] = 1), 10, 'i', 512);
    machine_enter(r.pc.m);
    scsi_unplug_disks(r.pc.m);
    machine_leave(r.pc.m);
    assert_int_equal(blk_in_flight(r.blk[0]), 0);
    assert_false(scsi_target_present(&r.l->bus, 0));
    assert_true(scsi_target_present(&r.l->bus, 5));
    r.img[0]->hold = false;
    machine_enter(r.pc.m);
    machine_reset(r.pc.m);
    machine_leave(r.pc.m);
    assert_true(scsi_target_present(&r.l->bus, 0));
    rig_free(&r);
}

static void refused(struct scsi_rig *r, const char *what, unsigned target, unsigned lun,
                    const char *bus)
{
    struct err e = { 0 };
    struct blk *b = blk_new(r->loop, "x");
    struct device *d = dev_new(r->pc.m, &scsi_cd_class, NULL);
    dev_set_ptr(d, "drive", b);
    dev_set_u32(d, "scsi-id", target);
    dev_set_u32(d, "lun", lun);
    if (bus) {
        dev_set_str(d, "bus", bus);
    }
    assert_true(dev_init(d, &e) < 0);
    assert_non_null(strstr(e.msg, what));
    dev_free(d);
    blk_free(b);
}

static void test_scsi_devices_refuse_places_that_are_not_there(void **state)
{
    struct scsi_rig r;
    (void)state;
    rig_make(&r);
    refused(&r, "scsi-id=7", 7, 0, NULL);
    refused(&r, "scsi-id=16", 16, 0, NULL);
    refused(&r, "lun=8", 1, 8, NULL);
    refused(&r, "is taken", 0, 0, NULL);
    refused(&r, "no SCSI bus 'x.0'", 1, 0, "x.0");
    rig_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scsi_after_power_on_then_unit_attention_once),
        cmocka_unit_test(test_scsi_inquiry_tells_who_it_is),
        cmocka_unit_test(test_scsi_luns_are_reported_and_missing_ones_say_so),
        cmocka_unit_test(test_scsi_capacity_and_mode_pages),
        cmocka_unit_test(test_scsi_reads_by_every_size_of_command),
        cmocka_unit_test(test_scsi_writes_reach_the_image),
        cmocka_unit_test(test_scsi_blocks_are_unmapped_and_written_the_same),
        cmocka_unit_test(test_scsi_what_fails_leaves_sense),
        cmocka_unit_test(test_scsi_cd_reads_and_notices_its_medium),
        cmocka_unit_test(test_scsi_disks_when_unplugged_then_gone_until_reset),
        cmocka_unit_test(test_scsi_devices_refuse_places_that_are_not_there),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
