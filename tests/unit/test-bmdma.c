/* SPDX-License-Identifier: MIT */
/* tests/unit/test-bmdma.c - the bus master of an IDE channel, PRD tables good and bad. */
#include "ide-rig.h"

#include "hw/test/pc-testdev.h"

enum { TABLE = 0x8000, EOT = 0x80000000u };

static unsigned prd_count;

static void prd_begin(void)
{
    prd_count = 0;
}

static void prd(struct ide_rig *r, uint32_t addr, uint32_t len_and_flags)
{
    store_le(r->pc.f->ram + TABLE + 8 * prd_count, 4, addr);
    store_le(r->pc.f->ram + TABLE + 8 * prd_count + 4, 4, len_and_flags);
    prd_count++;
}

static void start(struct ide_rig *r, bool to_memory)
{
    outb(r, BM_CMD, 0);
    out(&r->pc, BM_PRD, 4, TABLE);
    outb(r, BM_STATUS, BMS_IRQ | BMS_ERR);
    outb(r, BM_CMD, (to_memory ? BM_RWCON : 0) | BM_START);
}

static void dma(struct ide_rig *r, uint32_t lba, unsigned n, unsigned cmd)
{
    command(r, 0, lba, n, cmd);
    start(r, cmd == 0xc8);
    settle(r->loop);
}

static void test_bmdma_read_reaches_memory(void **s)
{
    struct ide_rig r;

    (void)s;
    rig_make(&r, "h---");
    prd_begin();
    prd(&r, 0x20000, 1024 | EOT);
    command(&r, 0, 11, 2, 0xc8);
    assert_int_equal(inb(&r, STATUS), WANTS);
    start(&r, true);
    assert_int_equal(inb(&r, BM_STATUS), BMS_ACTIVE);
    settle(r.loop);
    assert_int_equal(inb(&r, BM_STATUS), BMS_IRQ);
    assert_true(r.pc.f->isa[14]);
    assert_int_equal(inb(&r, STATUS), READY);
    assert_fake(r.pc.f->ram + 0x20000, 11 * 512, 1024);
    assert_int_equal(r.pc.f->ram[0x20400], 0);
    outb(&r, BM_CMD, 0);
    outb(&r, BM_STATUS, BMS_IRQ);
    assert_int_equal(inb(&r, BM_STATUS), 0);
    rig_free(&r);
}

static void test_bmdma_write_gathers(void **s)
{
    struct ide_rig r;

    (void)s;
    rig_make(&r, "h---");
    for (unsigned i = 0; i < 0x4000; i++) {
        r.pc.f->ram[0x20000 + i] = (uint8_t)(i ^ i >> 8);
    }
    prd_begin();
    prd(&r, 0x20000, 100);
    prd(&r, 0x20064, 412);
    prd(&r, 0x20200, 512);
    prd(&r, 0x20400, 1024 | EOT);
    start(&r, false); /* START first: the command sets it off */
    command(&r, 0, 40, 4, 0xca);
    settle(r.loop);
    assert_int_equal(inb(&r, BM_STATUS), BMS_IRQ);
    assert_memory_equal(r.img[0]->data + 40 * 512, r.pc.f->ram + 0x20000, 2048);
    assert_int_equal(r.img[0]->count[BLK_WRITE], 1);
    rig_free(&r);
}

/* A count of zero means 64 KiB; a big transfer runs in several chunks. */
static void test_bmdma_moves_big_transfers(void **s)
{
    struct ide_rig r;

    (void)s;
    rig_make(&r, "h---");
    prd_begin();
    for (unsigned i = 0; i < 13; i++) {
        prd(&r, 0x10000 + i * 0x10000, i == 12 ? EOT : 0);
    }
    command_ext(&r, 0, 3, 13 * 128, 0x25);
    start(&r, true);
    settle(r.loop);
    assert_int_equal(inb(&r, BM_STATUS), BMS_IRQ);
    assert_fake(r.pc.f->ram + 0x10000, 3 * 512, 13 * 0x10000);
    assert_int_equal(r.img[0]->count[BLK_READ], 2);
    assert_int_equal(edges(&r), 1);
    rig_free(&r);
}

/* Pieces of two bytes: no run of pins makes a sector, so the bounce buffer serves. */
static void test_bmdma_copes_with_crumbs(void **s)
{
    struct ide_rig r;

    (void)s;
    rig_make(&r, "h---");
    prd_begin();
    for (unsigned i = 0; i < 512; i++) {
        prd(&r, 0x40000 + i * 4, 2 | (i == 511 ? EOT : 0));
    }
    dma(&r, 20, 2, 0xc8);
    assert_int_equal(inb(&r, BM_STATUS), BMS_IRQ);
    for (unsigned i = 0; i < 512; i++) {
        assert_fake(r.pc.f->ram + 0x40000 + i * 4, 20 * 512 + i * 2, 2);
        assert_int_equal(r.pc.f->ram[0x40000 + i * 4 + 2], 0);
    }
    dma(&r, 100, 2, 0xca);
    assert_int_equal(inb(&r, BM_STATUS), BMS_IRQ);
    assert_memory_equal(r.img[0]->data + 100 * 512, r.img[0]->data + 20 * 512, 1024);
    rig_free(&r);
}

static void test_bmdma_long_table_stays_active(void **s)
{
    struct ide_rig r;

    (void)s;
    rig_make(&r, "h---");
    prd_begin();
    prd(&r, 0x20000, 4096 | EOT);
    dma(&r, 0, 1, 0xc8);
    assert_int_equal(inb(&r, BM_STATUS), BMS_ACTIVE | BMS_IRQ);
    assert_int_equal(r.pc.f->ram[0x20200], 0);
    outb(&r, BM_CMD, 0);
    assert_int_equal(inb(&r, BM_STATUS), BMS_IRQ);
    rig_free(&r);
}

/* CVE-2019-20175, gitlab 2777: fewer bytes than the command moves. */
static void test_bmdma_short_table_ends_quietly(void **s)
{
    struct ide_rig r;
    static const uint32_t lens[] = { 512, 2, 514, 1 };

    (void)s;
    rig_make(&r, "h---");
    for (unsigned i = 0; i < ARRAY_SIZE(lens); i++) {
        prd_begin();
        prd(&r, 0x20000, lens[i] | EOT);
        if (lens[i] == 1) { /* an odd count loses its low bit, and 0 means 64 KiB */
            dma(&r, 0, 0, 0xc8);
        } else {
            dma(&r, 0, 2, 0xc8);
        }
        assert_int_equal(inb(&r, BM_STATUS), 0);
        assert_int_equal(inb(&r, STATUS), READY);
        outb(&r, BM_CMD, 0);
        prd_begin();
        prd(&r, 0x20000, lens[i] | EOT);
        dma(&r, 0, lens[i] == 1 ? 0 : 2, 0xca);
        assert_int_equal(inb(&r, BM_STATUS), 0);
        outb(&r, BM_CMD, 0);
    }
    assert_int_equal(edges(&r), 0);
    rig_free(&r);
}

static void test_bmdma_needs_bus_mastering(void **s)
{
    struct ide_rig r;

    (void)s;
    rig_make(&r, "h---");
    cfg_set(&r.pc, IDE_FN, 0x04, 2, 1);
    prd_begin();
    prd(&r, 0x20000, 512 | EOT);
    dma(&r, 0, 1, 0xc8);
    assert_int_equal(inb(&r, BM_STATUS), BMS_ERR | BMS_IRQ);
    assert_int_equal(inb(&r, STATUS), FAILED);
    assert_int_equal(r.pc.f->ram[0x20000], 0);
    assert_int_equal(r.img[0]->count[BLK_READ], 0);
    rig_free(&r);
}

static void test_bmdma_refuses_what_is_not_ram(void **s)
{
    struct ide_rig r;

    (void)s;
    rig_make(&r, "h---");
    prd_begin();
    prd(&r, 0x20000, 512);
    prd(&r, 0xfffffffe, 512 | EOT);
    dma(&r, 0, 2, 0xc8);
    assert_int_equal(inb(&r, BM_STATUS), BMS_ERR | BMS_IRQ);
    assert_int_equal(inb(&r, STATUS), FAILED);
    outb(&r, BM_CMD, 0);
    command(&r, 0, 0, 1, 0xc8);
    out(&r.pc, BM_PRD, 4, 0xfffffffc); /* the table itself */
    outb(&r, BM_STATUS, 6);
    outb(&r, BM_CMD, BM_START);
    settle(r.loop);
    assert_int_equal(inb(&r, BM_STATUS), BMS_ERR | BMS_IRQ);
    rig_free(&r);
}

/* CVE-2021-3416 and its kin: guest-named addresses are memory or nothing, never a device. */
static void test_bmdma_when_aimed_at_a_device_window_then_it_is_not_entered(void **s)
{
    struct ide_rig r;
    struct device *d;
    static const uint8_t cmds[] = { 0xc8, 0xca };

    (void)s;
    rig_make(&r, "h---");
    d = pc_add(&r.pc, &pc_testdev_class);
    assert_non_null(d);
    io_write(r.pc.m, IO_MMIO, 0xff000000, 4, 0x5a5a5a5a);
    for (unsigned i = 0; i < sizeof(cmds); i++) {
        prd_begin();
        prd(&r, 0xff000000, 512 | EOT);
        dma(&r, 3, 1, cmds[i]);
        assert_int_equal(inb(&r, BM_STATUS), BMS_ERR | BMS_IRQ);
        assert_int_equal(inb(&r, STATUS), FAILED);
        assert_int_equal(io_read(r.pc.m, IO_MMIO, 0xff000000, 4), 0x5a5a5a5a);
        outb(&r, BM_CMD, 0);
    }
    command(&r, 0, 3, 1, 0xc8); /* the table itself there */
    out(&r.pc, BM_PRD, 4, 0xff000000);
    outb(&r, BM_STATUS, 6);
    outb(&r, BM_CMD, BM_START | BM_RWCON);
    settle(r.loop);
    assert_int_equal(inb(&r, BM_STATUS), BMS_ERR | BMS_IRQ);
    assert_int_equal(r.img[0]->count[BLK_READ] + r.img[0]->count[BLK_WRITE], 0);
    rig_free(&r);
}

/* A table that never ends is at most 64 KiB long. */
static void test_bmdma_endless_table_ends(void **s)
{
    struct ide_rig r;

    (void)s;
    rig_make(&r, "h---");
    for (unsigned i = 0; i < 0x20000; i += 8) {
        store_le(r.pc.f->ram + 0x40000 + i, 8, 0x0000000200020000ull);
    }
    command_ext(&r, 0, 0, 16384, 0x25);
    out(&r.pc, BM_PRD, 4, 0x40000);
    outb(&r, BM_STATUS, 6);
    outb(&r, BM_CMD, BM_START);
    settle(r.loop);
    assert_int_equal(inb(&r, BM_STATUS), 0);
    assert_int_equal(inb(&r, STATUS), READY);
    rig_free(&r);
}

static void test_bmdma_stopped_in_flight_is_cancelled(void **s)
{
    struct ide_rig r;

    (void)s;
    rig_make(&r, "h---");
    r.img[0]->hold = true;
    prd_begin();
    prd(&r, 0x20000, 512 | EOT);
    dma(&r, 7, 1, 0xc8);
    assert_int_equal(r.img[0]->nheld, 1);
    assert_true(r.img[0]->held[0]->guest_memory);
    outb(&r, BM_CMD, 0);
    assert_int_equal(blk_in_flight(r.blk[0]), 0);
    assert_int_equal(inb(&r, BM_STATUS), 0);
    assert_int_equal(inb(&r, STATUS), FAILED);
    assert_int_equal(edges(&r), 0);
    r.img[0]->hold = false; /* and it works again */
    dma(&r, 8, 1, 0xc8);
    assert_int_equal(inb(&r, BM_STATUS), BMS_IRQ);
    assert_fake(r.pc.f->ram + 0x20000, 8 * 512, 512);
    rig_free(&r);
}

static void test_bmdma_reset_in_flight_is_cancelled(void **s)
{
    struct ide_rig r;

    (void)s;
    rig_make(&r, "h---");
    r.img[0]->hold = true;
    prd_begin();
    prd(&r, 0x20000, 512 | EOT);
    for (unsigned how = 0; how < 4; how++) {
        dma(&r, 7, 1, how & 1 ? 0xca : 0xc8);
        assert_int_equal(r.img[0]->nheld, 1);
        if (how < 2) {
            outb(&r, CONTROL, DC_SRST);
            outb(&r, CONTROL, 0);
        } else {
            machine_enter(r.pc.m);
            machine_reset(r.pc.m);
            machine_leave(r.pc.m);
            cfg_set(&r.pc, IDE_FN, 0x20, 4, BM);
            cfg_set(&r.pc, IDE_FN, 0x04, 2, 5);
        }
        assert_int_equal(r.img[0]->nheld, 0);
        assert_int_equal(inb(&r, STATUS), READY);
        outb(&r, BM_CMD, 0);
    }
    settle(r.loop);
    rig_free(&r);
}

/* Whatever the guest does while data moves, the transfer keeps to its own count. */
static void test_bmdma_registers_in_flight_change_nothing(void **s)
{
    struct ide_rig r;

    (void)s;
    rig_make(&r, "h---");
    r.img[0]->hold = true;
    prd_begin();
    prd(&r, 0x20000, 1024 | EOT);
    dma(&r, 7, 2, 0xc8);
    prd_begin();
    prd(&r, 0xdead0000, 0xffff);
    out(&r.pc, BM_PRD, 4, 0xfffffff0);
    outb(&r, NSECT, 0);
    outb(&r, STATUS, 0xc8);
    outb(&r, BM_CMD, BM_START | BM_RWCON); /* already started */
    rig_release(&r, 0);
    assert_int_equal(inb(&r, STATUS), READY);
    assert_fake(r.pc.f->ram + 0x20000, 7 * 512, 1024);
    assert_int_equal(edges(&r), 1);
    rig_free(&r);
}

static void test_bmdma_io_error_is_told_twice(void **s)
{
    struct ide_rig r;

    (void)s;
    rig_make(&r, "h---");
    r.img[0]->fail = -EIO;
    prd_begin();
    prd(&r, 0x20000, 1024 | EOT);
    dma(&r, 300, 2, 0xc8);
    assert_int_equal(inb(&r, BM_STATUS), BMS_IRQ);
    assert_int_equal(inb(&r, STATUS), FAILED);
    assert_int_equal(inb(&r, ERROR), ER_UNC);
    assert_int_equal(inb(&r, LBAL), 300 & 255);
    assert_int_equal(inb(&r, LBAM), 300 >> 8);
    dma(&r, 300, 2, 0xca);
    outb(&r, BM_CMD, 0);
    rig_free(&r);
}

static void test_bmdma_trim_discards_ranges(void **s)
{
    struct ide_rig r;
    uint8_t zero[2048] = { 0 };

    (void)s;
    rig_make(&r, "h---");
    store_le(r.pc.f->ram + 0x20000, 8, 10 | 2ull << 48);
    store_le(r.pc.f->ram + 0x20010, 8, 50 | 1ull << 48);
    prd_begin();
    prd(&r, 0x20000, 512 | EOT);
    outb(&r, ERROR, 1);
    command_ext(&r, 0, 0, 1, 0x06);
    start(&r, false);
    settle(r.loop);
    assert_int_equal(inb(&r, STATUS), READY);
    assert_memory_equal(r.img[0]->data + 10 * 512, zero, 1024);
    assert_fake(r.img[0]->data + 12 * 512, 12 * 512, 512);
    assert_memory_equal(r.img[0]->data + 50 * 512, zero, 512);
    store_le(r.pc.f->ram + 0x20008, 8, 0xffffffffffffull | 1ull << 48);
    command_ext(&r, 0, 0, 1, 0x06);
    start(&r, false);
    settle(r.loop);
    assert_int_equal(inb(&r, STATUS), FAILED);
    assert_int_equal(inb(&r, ERROR), ER_IDNF);
    rig_free(&r);
}

static void test_bmdma_saved_while_waiting_for_start(void **s)
{
    struct ide_rig a, b;

    (void)s;
    rig_make(&a, "h---");
    rig_make(&b, "h---");
    command(&a, 0, 77, 1, 0xc8);
    pc_move(&a.pc, &b.pc);
    prd_begin();
    prd(&b, 0x20000, 512 | EOT);
    start(&b, true);
    settle(b.loop);
    assert_int_equal(inb(&b, BM_STATUS), BMS_IRQ);
    assert_fake(b.pc.f->ram + 0x20000, 77 * 512, 512);
    rig_free(&a);
    rig_free(&b);
}

static void test_bmdma_drain_runs_to_a_saveable_phase(void **s)
{
    struct ide_rig a, b;

    (void)s;
    rig_make(&a, "h---");
    rig_make(&b, "h---");
    a.img[0]->hold = true;
    prd_begin();
    for (unsigned i = 0; i < 10; i++) {
        prd(&a, 0x10000 + i * 0x10000, i == 9 ? EOT : 0);
    }
    command_ext(&a, 0, 0, 10 * 128, 0x25);
    start(&a, true);
    machine_enter(a.pc.m);
    blk_drain(a.blk[0]);
    machine_leave(a.pc.m);
    assert_int_equal(inb(&a, BM_STATUS), BMS_IRQ);
    assert_int_equal(a.img[0]->count[BLK_READ], 2);
    assert_fake(a.pc.f->ram + 0x10000, 0, 10 * 0x10000);
    pc_move(&a.pc, &b.pc);
    assert_true(b.pc.f->isa[14]);
    rig_free(&a);
    rig_free(&b);
}

static void test_bmdma_registers_read_back(void **s)
{
    struct ide_rig r;

    (void)s;
    rig_make(&r, "h---");
    out(&r.pc, BM_PRD, 4, 0x12345677);
    assert_int_equal(in(&r.pc, BM_PRD, 4), 0x12345674);
    outb(&r, BM_PRD + 1, 0xaa);
    assert_int_equal(in(&r.pc, BM_PRD, 4), 0x1234aa74);
    outb(&r, BM_STATUS, 0xff);
    assert_int_equal(inb(&r, BM_STATUS), 0x60);
    outb(&r, BM_CMD, 0xff);
    assert_int_equal(inb(&r, BM_CMD), 9);
    assert_int_equal(in(&r.pc, BM, 4), 0x610009);
    assert_int_equal(in(&r.pc, BM + 8, 4), 0); /* the secondary channel is another one */
    rig_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bmdma_read_reaches_memory),
        cmocka_unit_test(test_bmdma_write_gathers),
        cmocka_unit_test(test_bmdma_moves_big_transfers),
        cmocka_unit_test(test_bmdma_copes_with_crumbs),
        cmocka_unit_test(test_bmdma_long_table_stays_active),
        cmocka_unit_test(test_bmdma_short_table_ends_quietly),
        cmocka_unit_test(test_bmdma_needs_bus_mastering),
        cmocka_unit_test(test_bmdma_refuses_what_is_not_ram),
        cmocka_unit_test(test_bmdma_when_aimed_at_a_device_window_then_it_is_not_entered),
        cmocka_unit_test(test_bmdma_endless_table_ends),
        cmocka_unit_test(test_bmdma_stopped_in_flight_is_cancelled),
        cmocka_unit_test(test_bmdma_reset_in_flight_is_cancelled),
        cmocka_unit_test(test_bmdma_registers_in_flight_change_nothing),
        cmocka_unit_test(test_bmdma_io_error_is_told_twice),
        cmocka_unit_test(test_bmdma_trim_discards_ranges),
        cmocka_unit_test(test_bmdma_saved_while_waiting_for_start),
        cmocka_unit_test(test_bmdma_drain_runs_to_a_saveable_phase),
        cmocka_unit_test(test_bmdma_registers_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
