/* SPDX-License-Identifier: MIT */
/* tests/unit/test-cmos-ram.c - the bytes behind ports 0x70 and 0x71. */
#include "hw/isa/cmos-ram.h"
#include "ioreq/flat.h"

#include <setjmp.h>
#include <stdarg.h>
/* cmocka.h needs the three above it */
#include <cmocka.h>

static struct flat_host *host;
static struct machine *m;

static int set_up(void **state)
{
    uint8_t content[CMOS_RAM_BYTES] = { [0x00] = 0x59, [0x38] = 0x30, [0x3d] = 0x21 };
    struct err e;
    (void)state;
    host = flat_new(4096);
    m = machine_new("test", &flat_host_ops, host);
    struct device *d = dev_new(m, &cmos_ram_class, NULL);
    dev_set_ptr(d, "content", content);
    return dev_init(d, &e);
}

static int tear_down(void **state)
{
    (void)state;
    machine_free(m);
    flat_free(host);
    return 0;
}

static unsigned get(unsigned index)
{
    io_write(m, IO_PIO, 0x70, 1, index);
    return (unsigned)io_read(m, IO_PIO, 0x71, 1);
}

static void test_cmos_when_given_content_then_firmware_reads_it(void **state)
{
    (void)state;
    assert_int_equal(get(0x38), 0x30);
    assert_int_equal(get(0x3d), 0x21);
    assert_int_equal(get(0x80 | 0x3d), 0x21); /* the NMI mask is no address bit */
}

static void test_cmos_when_clock_register_then_zero_and_not_kept(void **state)
{
    (void)state;
    assert_int_equal(get(0), 0);
    io_write(m, IO_PIO, 0x70, 1, 0x0d);
    io_write(m, IO_PIO, 0x71, 1, 0x55);
    assert_int_equal(get(0x0d), 0);
}

static void test_cmos_when_written_then_outlives_reset(void **state)
{
    (void)state;
    io_write(m, IO_PIO, 0x70, 1, 0x7f);
    io_write(m, IO_PIO, 0x71, 1, 0xa5);
    machine_enter(m);
    machine_reset(m);
    machine_leave(m);
    assert_int_equal(get(0x7f), 0xa5);
}

static void test_cmos_when_index_port_read_then_ones(void **state)
{
    (void)state;
    assert_int_equal(io_read(m, IO_PIO, 0x70, 1), 0xff);
}

static void test_cmos_when_word_written_then_index_and_data(void **state)
{
    (void)state;
    io_write(m, IO_PIO, 0x70, 2, 0x4220);
    assert_int_equal(get(0x20), 0x42);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_cmos_when_given_content_then_firmware_reads_it),
        T(test_cmos_when_clock_register_then_zero_and_not_kept),
        T(test_cmos_when_written_then_outlives_reset),
        T(test_cmos_when_index_port_read_then_ones),
        T(test_cmos_when_word_written_then_index_and_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
