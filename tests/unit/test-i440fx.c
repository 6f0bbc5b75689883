/* SPDX-License-Identifier: MIT */
/* tests/unit/test-i440fx.c - the host bridge through ports 0xcf8 to 0xcff. */
#include "flat-pc.h"
#include "hw/isa/piix3.h"

static void latch(struct flat_pc *pc, unsigned devfn, unsigned reg)
{
    out(pc, 0xcf8, 4, 0x80000000u | devfn << 8 | reg);
}

static void test_i440fx_identity_when_read_then_as_firmware_expects(void **state)
{
    struct flat_pc pc;

    (void)state;
    pc_make(&pc, true);
    latch(&pc, 0, 0);
    assert_int_equal(in(&pc, 0xcfc, 4), 0x12378086);
    latch(&pc, 0, 8);
    assert_int_equal(in(&pc, 0xcfc, 4), 0x06000002);
    latch(&pc, 0, 0x2c);
    assert_int_equal(in(&pc, 0xcfc, 4), 0x11001af4);
    assert_int_equal(cfg(&pc, 0, 4, 2), 6);
    cfg_set(&pc, 0, 4, 2, 0);
    assert_int_equal(cfg(&pc, 0, 4, 2), 6);
    assert_int_equal(cfg(&pc, 0, 6, 2), 0x0280);
    assert_int_equal(cfg(&pc, 0, 0x50, 4), 0x80000000);
    assert_int_equal(cfg(&pc, 0, 0x54, 4), 0x01000000);
    assert_int_equal(cfg(&pc, 0, 0x58, 4), 0x00000010);
    assert_int_equal(cfg(&pc, 0, 0x60, 4), 0x01010101);
    assert_int_equal(cfg(&pc, 0, 0x70, 4), 0x00021000);
    pc_free(&pc);
}

static void test_i440fx_latch_when_written_narrow_then_kept(void **state)
{
    struct flat_pc pc;

    (void)state;
    pc_make(&pc, true);
    out(&pc, 0xcf8, 4, 0xffffffff);
    assert_int_equal(in(&pc, 0xcf8, 4), 0x80fffffc);
    latch(&pc, 0, 8);
    out(&pc, 0xcf8, 1, 0);
    out(&pc, 0xcf9, 1, 0x55); /* nobody without PIIX3 */
    out(&pc, 0xcf8, 2, 0);
    out(&pc, 0xcfa, 2, 0);
    out(&pc, 0xcfb, 1, 0);
    assert_int_equal(in(&pc, 0xcf8, 4), 0x80000008);
    assert_int_equal(in(&pc, 0xcf8, 1), 0xff);
    assert_int_equal(in(&pc, 0xcf9, 1), 0xff);
    pc_free(&pc);
}

static void test_i440fx_data_when_partial_then_bytes_of_the_register(void **state)
{
    struct flat_pc pc;

    (void)state;
    pc_make(&pc, true);
    latch(&pc, 0, 0);
    assert_int_equal(in(&pc, 0xcfc, 2), 0x8086);
    assert_int_equal(in(&pc, 0xcfe, 2), 0x1237);
    assert_int_equal(in(&pc, 0xcff, 1), 0x12);
    assert_int_equal(in(&pc, 0xcfd, 2), 0x3780);
    latch(&pc, 0, 0x58);
    out(&pc, 0xcfd, 1, 0x30);
    out(&pc, 0xcfe, 2, 0x3311);
    assert_int_equal(cfg(&pc, 0, 0x58, 4), 0x33113010);
    pc_free(&pc);
}

static void test_i440fx_data_when_off_or_absent_then_all_ones(void **state)
{
    struct flat_pc pc;

    (void)state;
    pc_make(&pc, true);
    assert_int_equal(in(&pc, 0xcfc, 4), 0xffffffff); /* latch not enabled */
    out(&pc, 0xcfc, 4, 0);
    latch(&pc, PCI_DEVFN(5, 3), 0);
    assert_int_equal(in(&pc, 0xcfc, 4), 0xffffffff);
    assert_int_equal(in(&pc, 0xcfe, 1), 0xff);
    out(&pc, 0xcfc, 4, 0x1234);
    out(&pc, 0xcf8, 4, 0x80010000); /* bus 1 */
    assert_int_equal(in(&pc, 0xcfc, 4), 0xffffffff);
    pc_free(&pc);
}

static void test_i440fx_smram_when_locked_then_closed_until_reset(void **state)
{
    struct flat_pc pc;

    (void)state;
    pc_make(&pc, true);
    assert_int_equal(cfg(&pc, 0, 0x72, 1), 0x02);
    cfg_set(&pc, 0, 0x72, 1, 0x4a);
    assert_int_equal(cfg(&pc, 0, 0x72, 1), 0x4a);
    cfg_set(&pc, 0, 0x72, 1, 0x5a);
    assert_int_equal(cfg(&pc, 0, 0x72, 1), 0x1a);
    cfg_set(&pc, 0, 0x72, 1, 0x4a);
    assert_int_equal(cfg(&pc, 0, 0x72, 1), 0x1a);
    machine_enter(pc.m);
    machine_reset(pc.m);
    machine_leave(pc.m);
    assert_int_equal(cfg(&pc, 0, 0x72, 1), 0x02);
    cfg_set(&pc, 0, 0x72, 1, 0x4a);
    assert_int_equal(cfg(&pc, 0, 0x72, 1), 0x4a);
    pc_free(&pc);
}

static void test_i440fx_when_moved_then_latch_pam_and_lock_follow(void **state)
{
    struct flat_pc a, b;

    (void)state;
    pc_make(&a, true);
    pc_make(&b, true);
    cfg_set(&a, 0, 0x59, 1, 0x30);
    cfg_set(&a, 0, 0x72, 1, 0x1a);
    latch(&a, 0, 0x58);
    pc_move(&a, &b);
    assert_int_equal(in(&b, 0xcfd, 1), 0x30);
    cfg_set(&b, 0, 0x72, 1, 0x02);
    assert_int_equal(cfg(&b, 0, 0x72, 1), 0x1a);
    pc_free(&a);
    pc_free(&b);
}

static void test_i440fx_string_io_when_rep_outs_to_latch_then_last_wins(void **state)
{
    struct flat_pc pc;
    struct io_req q = { .addr = 0xcf8,
                        .data = 0x1000,
                        .count = 3,
                        .size = 4,
                        .space = IO_PIO,
                        .write = true,
                        .data_is_ptr = true };

    (void)state;
    pc_make(&pc, true);
    ((uint32_t *)(pc.f->ram + 0x1000))[2] = 0x80000008;
    assert_int_equal(ioreq_run(pc.m, &q), 0);
    assert_int_equal(in(&pc, 0xcfc, 4), 0x06000002);
    pc_free(&pc);
}

static void test_i440fx_when_cf9_with_bridge_then_reset_control(void **state)
{
    struct flat_pc pc;

    (void)state;
    pc_make(&pc, true);
    pc_add(&pc, &piix3_class);
    latch(&pc, 0, 0);
    out(&pc, 0xcf9, 1, 2);
    assert_int_equal(in(&pc, 0xcf9, 1), 2);
    assert_int_equal(pc.f->power_count, 0);
    assert_int_equal(in(&pc, 0xcf8, 4), 0x80000000);
    out(&pc, 0xcf9, 1, 6);
    assert_int_equal(pc.f->power_count, 1);
    assert_int_equal(pc.f->power, POWER_RESET);
    pc_free(&pc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_i440fx_identity_when_read_then_as_firmware_expects),
        cmocka_unit_test(test_i440fx_latch_when_written_narrow_then_kept),
        cmocka_unit_test(test_i440fx_data_when_partial_then_bytes_of_the_register),
        cmocka_unit_test(test_i440fx_data_when_off_or_absent_then_all_ones),
        cmocka_unit_test(test_i440fx_smram_when_locked_then_closed_until_reset),
        cmocka_unit_test(test_i440fx_when_moved_then_latch_pam_and_lock_follow),
        cmocka_unit_test(test_i440fx_string_io_when_rep_outs_to_latch_then_last_wins),
        cmocka_unit_test(test_i440fx_when_cf9_with_bridge_then_reset_control),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
