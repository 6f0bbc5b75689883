/* SPDX-License-Identifier: MIT */
/* tests/unit/test-piix3.c - the ISA bridge and the two small system control ports. */
#include "flat-pc.h"
#include "hw/isa/pcspk.h"
#include "hw/isa/piix3.h"
#include "hw/isa/port92.h"

#include <errno.h>

#define DF PCI_DEVFN(1, 0)

static void start(struct flat_pc *pc)
{
    pc_make(pc, true);
    pc_add(pc, &piix3_class);
}

static void test_piix3_identity_when_read_then_as_hvmloader_asserts(void **state)
{
    struct flat_pc pc;

    (void)state;
    start(&pc);
    assert_int_equal(cfg(&pc, DF, 0, 4), 0x70008086);
    assert_int_equal(cfg(&pc, DF, 0x0a, 2), 0x0601);
    assert_int_equal(cfg(&pc, DF, 0x0e, 1), 0x80);
    assert_int_equal(cfg(&pc, DF, 4, 2), 7);
    assert_int_equal(cfg(&pc, DF, 0x60, 4), 0x80808080);
    pc_free(&pc);
}

static void test_piix3_pirq_when_routed_then_link_follows(void **state)
{
    struct flat_pc pc;

    (void)state;
    start(&pc);
    cfg_set(&pc, DF, 0x60, 4, 0x0b0a0505); /* A, B: 5; C: 10; D: 11 */
    assert_int_equal(pc.f->link[0], 5);
    assert_int_equal(pc.f->link[1], 5);
    assert_int_equal(pc.f->link[2], 10);
    assert_int_equal(pc.f->link[3], 11);
    cfg_set(&pc, DF, 0x61, 1, 0x8a); /* off, whatever the number */
    assert_int_equal(pc.f->link[1], 0);
    for (const uint8_t *bad = (const uint8_t[]){ 1, 2, 8, 13, 0 }; *bad; bad++) {
        cfg_set(&pc, DF, 0x60, 1, *bad);
        assert_int_equal(pc.f->link[0], 0);
    }
    cfg_set(&pc, DF, 0x60, 1, 0x7e);
    assert_int_equal(cfg(&pc, DF, 0x60, 1), 0x0e);
    assert_int_equal(pc.f->link[0], 14);
    machine_enter(pc.m);
    machine_reset(pc.m);
    machine_leave(pc.m);
    assert_int_equal(pc.f->link[0], 0);
    pc_free(&pc);
}

static void test_piix3_when_moved_then_routes_follow(void **state)
{
    struct flat_pc a, b;

    (void)state;
    start(&a);
    start(&b);
    cfg_set(&a, DF, 0x62, 1, 0x0a);
    out(&a, 0x80, 1, 0x42);
    pc_move(&a, &b);
    assert_int_equal(b.f->link[2], 10);
    assert_int_equal(b.f->link[0], 0);
    assert_int_equal(in(&b, 0x80, 1), 0x42);
    pc_free(&a);
    pc_free(&b);
}

static void test_piix3_reset_control_when_bit2_rises_then_once(void **state)
{
    struct flat_pc pc;

    (void)state;
    start(&pc);
    out(&pc, 0xcf9, 1, 0x0e);
    out(&pc, 0xcf9, 1, 0x0e);
    assert_int_equal(pc.f->power_count, 1);
    out(&pc, 0xcf9, 1, 0x00);
    out(&pc, 0xcf9, 1, 0x04); /* soft */
    assert_int_equal(pc.f->power_count, 2);
    out(&pc, 0xcf9, 2, 0x0000); /* not a byte: nobody */
    assert_int_equal(in(&pc, 0xcf9, 1), 4);
    pc_free(&pc);
}

static void test_piix3_elcr_when_property_then_masked_else_absent(void **state)
{
    struct flat_pc pc;
    struct device *d;

    (void)state;
    start(&pc);
    out(&pc, 0x4d0, 2, 0xffff);
    assert_int_equal(in(&pc, 0x4d0, 2), 0xffff); /* unclaimed */
    pc_free(&pc);
    pc_make(&pc, true);
    d = dev_new(pc.m, &piix3_class, NULL);
    dev_set_bool(d, "elcr", true);
    pc_start(d);
    assert_int_equal(in(&pc, 0x4d0, 2), 0);
    out(&pc, 0x4d0, 2, 0xffff);
    assert_int_equal(in(&pc, 0x4d0, 2), 0xdef8);
    pc_free(&pc);
}

static void test_port92_when_bit0_rises_then_reset(void **state)
{
    struct flat_pc pc;

    (void)state;
    pc_make(&pc, false);
    pc_add(&pc, &port92_class);
    out(&pc, 0x92, 1, 0xfe);
    assert_int_equal(in(&pc, 0x92, 1), 2);
    assert_int_equal(pc.f->power_count, 0);
    out(&pc, 0x92, 1, 3);
    out(&pc, 0x92, 1, 3);
    assert_int_equal(pc.f->power_count, 1);
    assert_int_equal(pc.f->power, POWER_RESET);
    pc_free(&pc);
}

static void test_pcspk_when_time_passes_then_refresh_and_out2_toggle(void **state)
{
    struct flat_pc pc;
    uint32_t was;

    (void)state;
    pc_make(&pc, false);
    pc_add(&pc, &pcspk_class);
    assert_int_equal(in(&pc, 0x61, 1) & 0x2f, 0x20);
    was = in(&pc, 0x61, 1);
    flat_advance(pc.f, pc.m, 15085);
    assert_int_equal((was ^ in(&pc, 0x61, 1)) & 0x10, 0x10);
    out(&pc, 0x61, 1, 0xff);
    assert_int_equal(in(&pc, 0x61, 1) & 0xef, 0x2f);
    flat_advance(pc.f, pc.m, 27462539);
    assert_int_equal(in(&pc, 0x61, 1) & 0x20, 0);
    flat_advance(pc.f, pc.m, 27462539);
    assert_int_equal(in(&pc, 0x61, 1) & 0x20, 0x20);
    pc_free(&pc);
}

struct counter {
    bool gate, out;
};

static void counter_gate(void *opaque, bool level)
{
    ((struct counter *)opaque)->gate = level;
}

static bool counter_out(void *opaque)
{
    return ((struct counter *)opaque)->out;
}

static void test_pcspk_when_timer_attached_then_gate_and_out_pass(void **state)
{
    struct flat_pc pc;
    struct counter c = { true, false };
    struct pcspk_timer t = { counter_gate, counter_out, &c };
    struct device *d;

    (void)state;
    pc_make(&pc, false);
    d = dev_new(pc.m, &pcspk_class, NULL);
    dev_set_ptr(d, "timer", &t);
    pc_start(d);
    assert_false(c.gate);
    out(&pc, 0x61, 1, 1);
    assert_true(c.gate);
    assert_int_equal(in(&pc, 0x61, 1) & 0x20, 0);
    c.out = true;
    assert_int_equal(in(&pc, 0x61, 1) & 0x20, 0x20);
    pc_free(&pc);
}

static void test_piix3_when_no_bus_then_refused(void **state)
{
    struct flat_pc pc;
    struct device *d;
    struct err e = { 0 };

    (void)state;
    pc_make(&pc, false);
    d = dev_new(pc.m, &piix3_class, NULL);
    assert_int_equal(dev_init(d, &e), -ENODEV);
    pc_free(&pc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_piix3_identity_when_read_then_as_hvmloader_asserts),
        cmocka_unit_test(test_piix3_pirq_when_routed_then_link_follows),
        cmocka_unit_test(test_piix3_when_moved_then_routes_follow),
        cmocka_unit_test(test_piix3_reset_control_when_bit2_rises_then_once),
        cmocka_unit_test(test_piix3_elcr_when_property_then_masked_else_absent),
        cmocka_unit_test(test_port92_when_bit0_rises_then_reset),
        cmocka_unit_test(test_pcspk_when_time_passes_then_refresh_and_out2_toggle),
        cmocka_unit_test(test_pcspk_when_timer_attached_then_gate_and_out_pass),
        cmocka_unit_test(test_piix3_when_no_bus_then_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
