/* SPDX-License-Identifier: MIT */
/* The pair of interrupt controllers, through its ports and pins. */
#include "flat-pc.h"

#include "hw/intc/i8259.h"

struct rig {
    struct flat_pc pc;
    struct device *d;
    bool intr;
    unsigned rises;
};

static void intr_changed(void *o, bool level)
{
    struct rig *r = o;
    r->rises += level && !r->intr;
    r->intr = level;
}

static void make(struct rig *r)
{
    struct i8259_out out_pin = { intr_changed, r };
    *r = (struct rig){ 0 };
    pc_make(&r->pc, false);
    r->d = dev_new(r->pc.m, &i8259_class, NULL);
    dev_set_ptr(r->d, "intr", &out_pin);
    pc_start(r->d);
}

/* As every PC's firmware does: vectors 8 and 0x70, everything open. */
static void program(struct rig *r, uint8_t icw4)
{
    static const uint8_t port[2] = { 0x20, 0xa0 }, base[2] = { 0x08, 0x70 }, wire[2] = { 4, 2 };
    for (unsigned n = 0; n < 2; n++) {
        out(&r->pc, port[n], 1, 0x11);
        out(&r->pc, port[n] + 1, 1, base[n]);
        out(&r->pc, port[n] + 1, 1, wire[n]);
        out(&r->pc, port[n] + 1, 1, icw4);
        out(&r->pc, port[n] + 1, 1, 0);
    }
}

static void set(struct rig *r, unsigned irq, bool level)
{
    machine_enter(r->pc.m);
    i8259_set_irq(r->d, irq, level);
    machine_leave(r->pc.m);
}

static void pulse(struct rig *r, unsigned irq)
{
    set(r, irq, true);
    set(r, irq, false);
}

static int ack(struct rig *r)
{
    machine_enter(r->pc.m);
    int v = i8259_ack(r->d);
    machine_leave(r->pc.m);
    return v;
}

static uint8_t isr(struct rig *r, unsigned port)
{
    out(&r->pc, port, 1, 0x0b);
    return (uint8_t)in(&r->pc, port, 1);
}

static void test_i8259_when_two_ask_then_the_lower_goes_first_and_nests(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    program(&r, 1);
    pulse(&r, 5);
    assert_true(r.intr);
    assert_int_equal(ack(&r), 8 + 5);
    assert_false(r.intr);
    pulse(&r, 6); /* less urgent than what is served */
    assert_false(r.intr);
    pulse(&r, 3);
    assert_true(r.intr);
    assert_int_equal(ack(&r), 8 + 3);
    assert_int_equal(isr(&r, 0x20), 0x28);
    out(&r.pc, 0x20, 1, 0x20); /* ends 3 */
    assert_false(r.intr);
    out(&r.pc, 0x20, 1, 0x20); /* ends 5 */
    assert_true(r.intr);
    assert_int_equal(ack(&r), 8 + 6);
    pc_free(&r.pc);
}

static void test_i8259_when_slave_asks_twice_then_both_come_through_the_cascade(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    program(&r, 1);
    pulse(&r, 14);
    pulse(&r, 10);
    assert_int_equal(ack(&r), 0x70 + 2);
    assert_int_equal(isr(&r, 0x20), 0x04);
    assert_false(r.intr); /* IR2 is being served */
    out(&r.pc, 0xa0, 1, 0x20);
    out(&r.pc, 0x20, 1, 0x20);
    assert_true(r.intr);
    assert_int_equal(ack(&r), 0x70 + 6);
    pc_free(&r.pc);
}

static void test_i8259_when_special_fully_nested_then_the_slave_interrupts_itself(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    program(&r, 0x11);
    pulse(&r, 14);
    assert_int_equal(ack(&r), 0x76);
    pulse(&r, 9);
    assert_true(r.intr);
    assert_int_equal(ack(&r), 0x71);
    pc_free(&r.pc);
}

static void test_i8259_when_masked_then_an_edge_waits_and_a_request_gone_is_spurious(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    program(&r, 1);
    out(&r.pc, 0x21, 1, 0xff);
    pulse(&r, 4);
    assert_false(r.intr);
    assert_int_equal(ack(&r), 8 + 7); /* nobody asks */
    assert_int_equal(isr(&r, 0x20), 0);
    out(&r.pc, 0x21, 1, 0xef);
    assert_true(r.intr);
    assert_int_equal(ack(&r), 8 + 4);
    pc_free(&r.pc);
}

static void test_i8259_when_elcr_makes_a_pin_level_then_it_asks_as_long_as_it_is_high(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    program(&r, 1);
    out(&r.pc, 0x4d0, 1, 0xff);
    out(&r.pc, 0x4d1, 1, 0xff);
    assert_int_equal(in(&r.pc, 0x4d0, 1), 0xf8);
    assert_int_equal(in(&r.pc, 0x4d1, 1), 0xde);
    set(&r, 11, true);
    assert_int_equal(ack(&r), 0x73);
    out(&r.pc, 0xa0, 1, 0x20);
    out(&r.pc, 0x20, 1, 0x20);
    assert_true(r.intr); /* still high */
    set(&r, 11, false);
    assert_false(r.intr);
    pc_free(&r.pc);
}

static void test_i8259_when_auto_eoi_rotates_then_the_served_becomes_last(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    program(&r, 3);
    out(&r.pc, 0x20, 1, 0x80); /* rotate in automatic EOI */
    pulse(&r, 1);
    assert_int_equal(ack(&r), 9);
    assert_int_equal(isr(&r, 0x20), 0);
    pulse(&r, 1);
    pulse(&r, 5);
    assert_int_equal(ack(&r), 8 + 5); /* 2 is first now */
    assert_int_equal(ack(&r), 8 + 1);
    pc_free(&r.pc);
}

static void test_i8259_when_priority_is_set_or_rotated_then_order_follows(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    program(&r, 1);
    out(&r.pc, 0x20, 1, 0xc4); /* 4 is last: 5 6 7 0 1 2 3 4 */
    pulse(&r, 0);
    pulse(&r, 6);
    assert_int_equal(ack(&r), 8 + 6);
    out(&r.pc, 0x20, 1, 0xa0); /* ends it, which makes 6 last */
    pulse(&r, 6);
    assert_int_equal(ack(&r), 8 + 0);
    out(&r.pc, 0x20, 1, 0x60); /* specific: 0 */
    assert_int_equal(isr(&r, 0x20), 0);
    assert_int_equal(ack(&r), 8 + 6);
    pc_free(&r.pc);
}

static void test_i8259_when_special_mask_then_lower_ones_pass_a_masked_service(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    program(&r, 1);
    pulse(&r, 1);
    assert_int_equal(ack(&r), 9);
    pulse(&r, 6);
    assert_false(r.intr);
    out(&r.pc, 0x21, 1, 0x02);
    out(&r.pc, 0x20, 1, 0x68);
    assert_true(r.intr);
    assert_int_equal(ack(&r), 8 + 6);
    out(&r.pc, 0x20, 1, 0x20); /* not the masked one */
    assert_int_equal(isr(&r, 0x20), 0x02);
    pc_free(&r.pc);
}

static void test_i8259_when_polled_then_reading_serves(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    program(&r, 1);
    out(&r.pc, 0x20, 1, 0x0c);
    assert_int_equal(in(&r.pc, 0x20, 1), 0);
    pulse(&r, 3);
    out(&r.pc, 0x20, 1, 0x0c);
    assert_int_equal(in(&r.pc, 0x20, 1), 0x83);
    assert_int_equal(isr(&r, 0x20), 0x08);
    assert_false(r.intr);
    pc_free(&r.pc);
}

static void test_i8259_when_saved_in_service_then_it_goes_on(void **state)
{
    struct rig a, b;
    (void)state;
    make(&a);
    make(&b);
    program(&a, 1);
    set(&a, 14, true);
    assert_int_equal(ack(&a), 0x76);
    pulse(&a, 1);
    pc_move(&a.pc, &b.pc);
    assert_true(b.intr);
    assert_int_equal(ack(&b), 9);
    assert_int_equal(isr(&b, 0xa0), 0x40);
    pc_free(&a.pc);
    pc_free(&b.pc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_i8259_when_two_ask_then_the_lower_goes_first_and_nests),
        cmocka_unit_test(test_i8259_when_slave_asks_twice_then_both_come_through_the_cascade),
        cmocka_unit_test(test_i8259_when_special_fully_nested_then_the_slave_interrupts_itself),
        cmocka_unit_test(test_i8259_when_masked_then_an_edge_waits_and_a_request_gone_is_spurious),
        cmocka_unit_test(test_i8259_when_elcr_makes_a_pin_level_then_it_asks_as_long_as_it_is_high),
        cmocka_unit_test(test_i8259_when_auto_eoi_rotates_then_the_served_becomes_last),
        cmocka_unit_test(test_i8259_when_priority_is_set_or_rotated_then_order_follows),
        cmocka_unit_test(test_i8259_when_special_mask_then_lower_ones_pass_a_masked_service),
        cmocka_unit_test(test_i8259_when_polled_then_reading_serves),
        cmocka_unit_test(test_i8259_when_saved_in_service_then_it_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
