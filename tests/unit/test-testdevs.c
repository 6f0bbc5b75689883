/* SPDX-License-Identifier: MIT */
/* tests/unit/test-testdevs.c - isa-debug-exit and pc-testdev, as test guests use them. */
#include "flat-pc.h"
#include "hw/test/debug-exit.h"
#include "hw/test/pc-testdev.h"

#include <errno.h>

static void on_exit_code(void *opaque, int code)
{
    *(int *)opaque = code;
}

static void test_debug_exit_when_written_then_odd_code(void **state)
{
    struct flat_pc pc;
    int code = -1;
    struct debug_exit_hook hook = { on_exit_code, &code };
    struct device *d;

    (void)state;
    pc_make(&pc, false);
    d = dev_new(pc.m, &debug_exit_class, NULL);
    dev_set_ptr(d, "exit", &hook);
    pc_start(d);
    assert_int_equal(in(&pc, 0x501, 1), 0);
    out(&pc, 0x501, 1, 0);
    assert_int_equal(code, 1);
    out(&pc, 0x501, 1, 0x10);
    assert_int_equal(code, 0x21);
    out(&pc, 0x501, 2, 0x1234);
    assert_int_equal(code, 0x2469);
    pc_free(&pc);
}

static void test_debug_exit_when_moved_to_f4_then_there(void **state)
{
    struct flat_pc pc;
    int code = -1;
    struct debug_exit_hook hook = { on_exit_code, &code };
    struct device *d;
    struct err e = { 0 };

    (void)state;
    pc_make(&pc, false);
    d = dev_new(pc.m, &debug_exit_class, NULL);
    assert_int_equal(dev_set_text(d, "iobase", "0xf4", &e), 0);
    assert_int_equal(dev_set_text(d, "iosize", "0x04", &e), 0);
    dev_set_ptr(d, "exit", &hook);
    pc_start(d);
    out(&pc, 0x501, 1, 3);
    assert_int_equal(code, -1);
    out(&pc, 0xf4, 4, 0xffffffff);
    assert_int_equal(code, 0x7fffffff);
    d = dev_new(pc.m, &debug_exit_class, "none"); /* nobody listens */
    dev_set_u32(d, "iobase", 0x600);
    pc_start(d);
    out(&pc, 0x600, 1, 1);
    d = dev_new(pc.m, &debug_exit_class, "bad");
    dev_set_u32(d, "iobase", 0xffff);
    assert_int_equal(dev_init(d, &e), -EINVAL);
    pc_free(&pc);
}

static void test_testdev_echo_when_any_width_then_reads_back(void **state)
{
    struct flat_pc pc;

    (void)state;
    pc_make(&pc, false);
    pc_add(&pc, &pc_testdev_class);
    out(&pc, 0xe0, 4, 0x12345678);
    assert_int_equal(in(&pc, 0xe0, 4), 0x12345678);
    out(&pc, 0xe1, 1, 0xaa);
    assert_int_equal(in(&pc, 0xe0, 4), 0x1234aa78);
    assert_int_equal(in(&pc, 0xe2, 2), 0x1234);
    out(&pc, 0xe4, 4, 0x1000);
    assert_int_equal(in(&pc, 0xe4, 4), 0);
    pc_free(&pc);
}

static void test_testdev_irq_when_written_then_line_level(void **state)
{
    struct flat_pc pc;

    (void)state;
    pc_make(&pc, false);
    pc_add(&pc, &pc_testdev_class);
    out(&pc, 0x2005, 1, 1);
    assert_true(pc.f->isa[5]);
    out(&pc, 0x2005, 1, 0);
    assert_false(pc.f->isa[5]);
    out(&pc, 0x2017, 1, 1); /* no such ISA line */
    out(&pc, 0x200e, 1, 0xff);
    machine_enter(pc.m);
    machine_reset(pc.m);
    machine_leave(pc.m);
    assert_false(pc.f->isa[14]);
    pc_free(&pc);
}

static void test_testdev_window_when_written_then_echoes(void **state)
{
    struct flat_pc pc;
    struct io_req q = { .addr = 0xff000000,
                        .data = 0x1000,
                        .count = 0x4000,
                        .size = 4,
                        .space = IO_MMIO,
                        .write = true,
                        .data_is_ptr = true };

    (void)state;
    pc_make(&pc, false);
    pc_add(&pc, &pc_testdev_class);
    io_write(pc.m, IO_MMIO, 0xff00fff8, 8, 0x1122334455667788);
    assert_true(io_read(pc.m, IO_MMIO, 0xff00fff8, 8) == 0x1122334455667788);
    assert_int_equal(io_read(pc.m, IO_MMIO, 0xff00fffd, 8), 0xffffffffff112233);
    memset(pc.f->ram + 0x1000, 0x3c, 0x10000);
    assert_int_equal(ioreq_run(pc.m, &q), 0); /* rep movsl over the whole window */
    assert_int_equal(io_read(pc.m, IO_MMIO, 0xff00fff8, 8), 0x3c3c3c3c3c3c3c3c);
    pc_free(&pc);
}

static void test_testdev_when_moved_then_lines_and_echo_follow(void **state)
{
    struct flat_pc a, b;

    (void)state;
    pc_make(&a, false);
    pc_make(&b, false);
    pc_add(&a, &pc_testdev_class);
    pc_add(&b, &pc_testdev_class);
    out(&a, 0xe0, 4, 0xcafe);
    out(&a, 0x2003, 1, 1);
    io_write(a.m, IO_MMIO, 0xff001234, 1, 0x77);
    pc_move(&a, &b);
    assert_true(b.f->isa[3]);
    assert_int_equal(in(&b, 0xe0, 4), 0xcafe);
    assert_int_equal(io_read(b.m, IO_MMIO, 0xff001234, 1), 0x77);
    pc_free(&a);
    pc_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_debug_exit_when_written_then_odd_code),
        cmocka_unit_test(test_debug_exit_when_moved_to_f4_then_there),
        cmocka_unit_test(test_testdev_echo_when_any_width_then_reads_back),
        cmocka_unit_test(test_testdev_irq_when_written_then_line_level),
        cmocka_unit_test(test_testdev_window_when_written_then_echoes),
        cmocka_unit_test(test_testdev_when_moved_then_lines_and_echo_follow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
