/* SPDX-License-Identifier: MIT */
/* tests/unit/test-i8257.c - the DMA controllers, as a floppy or sound driver programs them. */
#include "flat-pc.h"
#include "hw/dma/i8257.h"

#include <errno.h>

struct user {
    struct i8257_user u;
    struct device *d;
    unsigned ready;
};

static void on_ready(void *opaque)
{
    ((struct user *)opaque)->ready++;
}

static struct device *add(struct flat_pc *pc, bool wide)
{
    struct device *d = dev_new(pc->m, &i8257_class, NULL);

    dev_set_u32(d, "base", wide ? 0xc0 : 0);
    dev_set_u32(d, "page-base", wide ? 0x88 : 0x80);
    dev_set_u32(d, "dshift", wide);
    return pc_start(d);
}

/* Channel 2 of the 8-bit controller: mode, page, address, count. */
static void program(struct flat_pc *pc, uint8_t mode, uint8_t page, uint16_t addr, uint16_t count)
{
    out(pc, 0x0a, 1, 6);
    out(pc, 0x0c, 1, 0);
    out(pc, 0x0b, 1, mode | 2u);
    out(pc, 0x04, 1, addr & 0xff);
    out(pc, 0x04, 1, addr >> 8);
    out(pc, 0x05, 1, count & 0xff);
    out(pc, 0x05, 1, count >> 8);
    out(pc, 0x81, 1, page);
    out(pc, 0x0a, 1, 2);
}

static size_t put(struct flat_pc *pc, struct device *d, const void *buf, size_t len, bool *tc)
{
    size_t n;

    machine_enter(pc->m);
    n = i8257_write(d, 2, buf, len, tc);
    machine_leave(pc->m);
    return n;
}

static void test_dma_write_when_count_runs_out_then_tc_and_masked(void **state)
{
    struct flat_pc pc;
    struct device *d;
    uint8_t buf[2000];
    bool tc;

    (void)state;
    pc_make(&pc, false);
    d = add(&pc, false);
    memset(buf, 0x5a, sizeof(buf));
    program(&pc, 0x44, 1, 0x2000, 1023);
    assert_int_equal(put(&pc, d, buf, 512, &tc), 512);
    assert_false(tc);
    assert_int_equal(in(&pc, 0x08, 1) & 0x0f, 0);
    assert_int_equal(put(&pc, d, buf, sizeof(buf), &tc), 512);
    assert_true(tc);
    assert_int_equal(pc.f->ram[0x12000], 0x5a);
    assert_int_equal(pc.f->ram[0x123ff], 0x5a);
    assert_int_equal(pc.f->ram[0x12400], 0);
    assert_int_equal(in(&pc, 0x08, 1) & 0x0f, 4);
    assert_int_equal(in(&pc, 0x08, 1) & 0x0f, 0); /* read once */
    assert_int_equal(in(&pc, 0x0f, 1), 0xff);
    assert_int_equal(put(&pc, d, buf, 16, &tc), 0);
    pc_free(&pc);
}

static void test_dma_counters_when_read_then_current_values(void **state)
{
    struct flat_pc pc;
    struct device *d;
    uint8_t buf[16] = { 0 };
    bool tc;

    (void)state;
    pc_make(&pc, false);
    d = add(&pc, false);
    program(&pc, 0x44, 0, 0x1234, 0x00ff);
    assert_int_equal(put(&pc, d, buf, 16, &tc), 16);
    out(&pc, 0x0c, 1, 0);
    assert_int_equal(in(&pc, 0x04, 1) | in(&pc, 0x04, 1) << 8, 0x1244);
    assert_int_equal(in(&pc, 0x05, 1) | in(&pc, 0x05, 1) << 8, 0x00ef);
    assert_int_equal(in(&pc, 0x81, 1), 0);
    pc_free(&pc);
}

static void test_dma_read_when_address_counts_down_then_bytes_reversed(void **state)
{
    struct flat_pc pc;
    struct device *d;
    uint8_t buf[4] = { 0 };
    bool tc;

    (void)state;
    pc_make(&pc, false);
    d = add(&pc, false);
    memcpy(pc.f->ram + 0x1000, "\1\2\3\4", 4);
    program(&pc, 0x68, 0, 0x1003, 3);
    machine_enter(pc.m);
    assert_int_equal(i8257_read(d, 2, buf, 4, &tc), 4);
    machine_leave(pc.m);
    assert_true(tc);
    assert_memory_equal(buf, "\4\3\2\1", 4);
    pc_free(&pc);
}

static void test_dma_address_when_it_wraps_then_stays_in_its_page(void **state)
{
    struct flat_pc pc;
    struct device *d;
    uint8_t buf[4] = { 1, 2, 3, 4 };
    bool tc;

    (void)state;
    pc_make(&pc, false);
    d = add(&pc, false);
    program(&pc, 0x44, 1, 0xfffe, 3);
    assert_int_equal(put(&pc, d, buf, 4, &tc), 4);
    assert_memory_equal(pc.f->ram + 0x1fffe, buf, 2);
    assert_memory_equal(pc.f->ram + 0x10000, buf + 2, 2);
    assert_int_equal(pc.f->ram[0x20000], 0);
    pc_free(&pc);
}

static void test_dma_auto_init_when_tc_then_starts_over(void **state)
{
    struct flat_pc pc;
    struct device *d;
    uint8_t buf[6] = { 1, 2, 3, 4, 5, 6 };
    bool tc;

    (void)state;
    pc_make(&pc, false);
    d = add(&pc, false);
    program(&pc, 0x54, 0, 0x1000, 3);
    assert_int_equal(put(&pc, d, buf, 6, &tc), 4); /* stops at TC to tell */
    assert_true(tc);
    assert_int_equal(put(&pc, d, buf + 4, 2, &tc), 2);
    assert_false(tc);
    assert_memory_equal(pc.f->ram + 0x1000, "\5\6\3\4", 4);
    pc_free(&pc);
}

static void test_dma_when_mode_or_mask_or_command_forbid_then_nothing_moves(void **state)
{
    struct flat_pc pc;
    struct device *d;
    uint8_t buf[4] = { 9, 9, 9, 9 };
    bool tc;

    (void)state;
    pc_make(&pc, false);
    d = add(&pc, false);
    program(&pc, 0x48, 0, 0x1000, 3); /* memory to device */
    assert_int_equal(put(&pc, d, buf, 4, &tc), 0);
    program(&pc, 0x4c, 0, 0x1000, 3); /* illegal */
    assert_int_equal(put(&pc, d, buf, 4, &tc), 0);
    program(&pc, 0xc4, 0, 0x1000, 3); /* cascade */
    assert_int_equal(put(&pc, d, buf, 4, &tc), 0);
    program(&pc, 0x44, 0, 0x1000, 3);
    out(&pc, 0x08, 1, 4); /* controller off */
    assert_int_equal(put(&pc, d, buf, 4, &tc), 0);
    out(&pc, 0x0d, 1, 0); /* master clear masks everything */
    assert_int_equal(put(&pc, d, buf, 4, &tc), 0);
    assert_int_equal(pc.f->ram[0x1000], 0);
    out(&pc, 0x0e, 1, 0);
    assert_int_equal(put(&pc, d, buf, 4, &tc), 4);
    program(&pc, 0x40, 0, 0x2000, 3); /* verify: counts, writes nothing */
    assert_int_equal(put(&pc, d, buf, 4, &tc), 4);
    assert_true(tc);
    assert_int_equal(pc.f->ram[0x2000], 0);
    pc_free(&pc);
}

static void test_dma_when_memory_is_missing_then_ones_and_count_goes_on(void **state)
{
    struct flat_pc pc;
    struct device *d;
    uint8_t buf[4] = { 0 };
    bool tc;

    (void)state;
    pc_make(&pc, false);
    d = add(&pc, false);
    program(&pc, 0x48, 0xf0, 0x1000, 3);
    machine_enter(pc.m);
    assert_int_equal(i8257_read(d, 2, buf, 4, &tc), 4);
    machine_leave(pc.m);
    assert_true(tc);
    assert_memory_equal(buf, "\xff\xff\xff\xff", 4);
    program(&pc, 0x44, 0xf0, 0x1000, 3);
    assert_int_equal(put(&pc, d, buf, 4, &tc), 4);
    pc_free(&pc);
}

static void test_dma_16bit_when_odd_page_and_length_then_words(void **state)
{
    struct flat_pc pc;
    struct device *d;
    uint8_t buf[7] = { 1, 2, 3, 4, 5, 6, 7 };
    bool tc;

    (void)state;
    pc_make(&pc, false);
    d = add(&pc, true);
    out(&pc, 0xd6, 1, 0x45); /* channel 5 */
    out(&pc, 0xd8, 1, 0);
    out(&pc, 0xc4, 1, 0x00);
    out(&pc, 0xc4, 1, 0x10);
    out(&pc, 0xc6, 1, 9);
    out(&pc, 0xc6, 1, 0);
    out(&pc, 0x8b, 1, 3); /* bit 0 of the page is not used */
    out(&pc, 0xd4, 1, 1);
    machine_enter(pc.m);
    assert_int_equal(i8257_write(d, 1, buf, 7, &tc), 6);
    machine_leave(pc.m);
    assert_false(tc);
    assert_memory_equal(pc.f->ram + 0x22000, buf, 6);
    assert_int_equal(pc.f->ram[0x22006], 0);
    assert_int_equal(in(&pc, 0xc6, 1), 6);
    pc_free(&pc);
}

static void test_dma_when_unmasked_with_dreq_then_user_called(void **state)
{
    struct flat_pc pc;
    struct device *d;
    struct user u = { { on_ready, &u }, NULL, 0 };

    (void)state;
    pc_make(&pc, false);
    d = add(&pc, false);
    machine_enter(pc.m);
    i8257_attach(d, 2, &u.u);
    machine_leave(pc.m);
    program(&pc, 0x44, 0, 0, 3);
    assert_int_equal(u.ready, 0);
    machine_enter(pc.m);
    i8257_dreq(d, 2, true);
    machine_leave(pc.m);
    assert_int_equal(in(&pc, 0x08, 1) & 0xf0, 0x40);
    out(&pc, 0x0a, 1, 6);
    assert_int_equal(u.ready, 0);
    out(&pc, 0x0a, 1, 2);
    assert_int_equal(u.ready, 1);
    out(&pc, 0x0f, 1, 0x0b);
    assert_int_equal(u.ready, 2);
    machine_enter(pc.m);
    i8257_attach(d, 2, NULL);
    machine_leave(pc.m);
    out(&pc, 0x0e, 1, 0);
    assert_int_equal(u.ready, 2);
    pc_free(&pc);
}

static void test_dma_pages_when_no_channel_then_scratch(void **state)
{
    struct flat_pc pc;

    (void)state;
    pc_make(&pc, false);
    add(&pc, false);
    add(&pc, true);
    for (unsigned port = 0x81; port < 0x90; port++) {
        out(&pc, port, 1, port);
    }
    for (unsigned port = 0x81; port < 0x90; port++) {
        assert_int_equal(in(&pc, port, 1), port == 0x88 ? 0xff : port);
    }
    pc_free(&pc);
}

static void test_dma_when_moved_in_mid_transfer_then_goes_on(void **state)
{
    struct flat_pc a, b;
    struct device *d, *e;
    uint8_t buf[4] = { 1, 2, 3, 4 };
    bool tc;

    (void)state;
    pc_make(&a, false);
    pc_make(&b, false);
    d = add(&a, false);
    e = add(&b, false);
    program(&a, 0x44, 0, 0x1000, 3);
    assert_int_equal(put(&a, d, buf, 2, &tc), 2);
    out(&a, 0x0c, 1, 0);
    in(&a, 0x04, 1); /* leaves the flip-flop high */
    pc_move(&a, &b);
    assert_int_equal(in(&b, 0x04, 1), 0x10);
    assert_int_equal(put(&b, e, buf + 2, 2, &tc), 2);
    assert_true(tc);
    assert_memory_equal(b.f->ram + 0x1002, buf + 2, 2);
    pc_free(&a);
    pc_free(&b);
}

static void test_dma_when_dshift_wrong_then_refused(void **state)
{
    struct flat_pc pc;
    struct device *d;
    struct err e = { 0 };

    (void)state;
    pc_make(&pc, false);
    d = dev_new(pc.m, &i8257_class, NULL);
    dev_set_u32(d, "dshift", 2);
    assert_int_equal(dev_init(d, &e), -EINVAL);
    pc_free(&pc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dma_write_when_count_runs_out_then_tc_and_masked),
        cmocka_unit_test(test_dma_counters_when_read_then_current_values),
        cmocka_unit_test(test_dma_read_when_address_counts_down_then_bytes_reversed),
        cmocka_unit_test(test_dma_address_when_it_wraps_then_stays_in_its_page),
        cmocka_unit_test(test_dma_auto_init_when_tc_then_starts_over),
        cmocka_unit_test(test_dma_when_mode_or_mask_or_command_forbid_then_nothing_moves),
        cmocka_unit_test(test_dma_when_memory_is_missing_then_ones_and_count_goes_on),
        cmocka_unit_test(test_dma_16bit_when_odd_page_and_length_then_words),
        cmocka_unit_test(test_dma_when_unmasked_with_dreq_then_user_called),
        cmocka_unit_test(test_dma_pages_when_no_channel_then_scratch),
        cmocka_unit_test(test_dma_when_moved_in_mid_transfer_then_goes_on),
        cmocka_unit_test(test_dma_when_dshift_wrong_then_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
