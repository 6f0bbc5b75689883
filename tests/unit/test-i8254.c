/* SPDX-License-Identifier: MIT */
/* The interval timer in virtual time: rates, values, gates. */
#include "flat-pc.h"

#include "hw/timer/i8254.h"

#define HZ 1193182

struct rig {
    struct flat_pc pc;
    struct device *d;
    struct pcspk_timer speaker;
};

static void make(struct rig *r)
{
    pc_make(&r->pc, false);
    r->d = pc_add(&r->pc, &i8254_class);
    i8254_speaker(r->d, &r->speaker);
}

/* Moves on by whole input clocks from time 0. */
static void to_tick(struct rig *r, int64_t tick)
{
    int64_t ns = (int64_t)(((__int128)tick * 1000000000 + HZ - 1) / HZ);
    flat_advance(r->pc.f, r->pc.m, ns - r->pc.f->now);
}

static void program(struct rig *r, unsigned n, unsigned mode, unsigned count)
{
    out(&r->pc, 0x43, 1, n << 6 | 0x30 | mode << 1);
    out(&r->pc, 0x40 + n, 1, count & 0xff);
    out(&r->pc, 0x40 + n, 1, count >> 8);
}

static unsigned value(struct rig *r, unsigned n)
{
    out(&r->pc, 0x43, 1, n << 6);
    unsigned low = in(&r->pc, 0x40 + n, 1);
    return low | in(&r->pc, 0x40 + n, 1) << 8;
}

static unsigned status(struct rig *r, unsigned n)
{
    out(&r->pc, 0x43, 1, 0xe0 | 2u << n);
    return in(&r->pc, 0x40 + n, 1);
}

static void gate(struct rig *r, bool level)
{
    machine_enter(r->pc.m);
    r->speaker.gate(r->speaker.opaque, level);
    machine_leave(r->pc.m);
}

static void test_pit_when_periodic_then_rate_is_exact_over_a_minute(void **state)
{
    static const unsigned modes[] = { 2, 3 };
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct rig r;
        make(&r);
        program(&r, 0, modes[i], 11932); /* 100 Hz and a bit less */
        unsigned before = r.pc.f->isa_edges[0];
        flat_advance(r.pc.f, r.pc.m, 60000000000ll);
        assert_int_equal(r.pc.f->isa_edges[0] - before, 60ll * HZ / 11932);
        pc_free(&r.pc);
    }
}

static void test_pit_when_host_was_late_then_lost_edges_are_one(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    program(&r, 0, 2, 1000);
    unsigned before = r.pc.f->isa_edges[0];
    machine_enter(r.pc.m);
    r.pc.f->now = 100000000; /* 119 periods at once */
    machine_timers(r.pc.m);
    machine_leave(r.pc.m);
    assert_int_equal(r.pc.f->isa_edges[0] - before, 1);
    assert_true(r.pc.f->timer_at > 100000000 && r.pc.f->timer_at < 101000000);
    pc_free(&r.pc);
}

static void test_pit_when_mode_0_then_one_edge_and_then_sleeps(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    to_tick(&r, 10);
    program(&r, 0, 0, 100);
    assert_false(r.pc.f->isa[0]);
    to_tick(&r, 109);
    assert_false(r.pc.f->isa[0]);
    assert_int_equal(value(&r, 0), 1);
    to_tick(&r, 110);
    assert_true(r.pc.f->isa[0]);
    assert_int_equal(r.pc.f->timer_at, -1);
    to_tick(&r, 113);
    assert_int_equal(value(&r, 0), 0xfffd); /* counts on */
    pc_free(&r.pc);
}

static void test_pit_when_latched_then_value_stands_until_read(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    program(&r, 2, 0, 0x5000);
    gate(&r, true);
    to_tick(&r, 0x1001);
    out(&r.pc, 0x43, 1, 0x80);
    to_tick(&r, 0x2000);
    out(&r.pc, 0x43, 1, 0x80); /* ignored: one is waiting */
    assert_int_equal(in(&r.pc, 0x42, 1), 0xff);
    assert_int_equal(in(&r.pc, 0x42, 1), 0x3f);
    assert_int_equal(in(&r.pc, 0x42, 1), 0x00);
    assert_int_equal(in(&r.pc, 0x42, 1), 0x30);
    pc_free(&r.pc);
}

static void test_pit_when_read_back_then_status_comes_before_the_count(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    out(&r.pc, 0x43, 1, 0xb4); /* counter 2, mode 2, no count yet */
    assert_int_equal(status(&r, 2), 0x80 | 0x40 | 0x34);
    out(&r.pc, 0x42, 1, 0x34);
    out(&r.pc, 0x42, 1, 0x12);
    out(&r.pc, 0x43, 1, 0xc8); /* both of counter 2 */
    assert_int_equal(in(&r.pc, 0x42, 1), 0x80 | 0x34);
    assert_int_equal(in(&r.pc, 0x42, 1), 0x34);
    assert_int_equal(in(&r.pc, 0x42, 1), 0x12);
    pc_free(&r.pc);
}

static void test_pit_when_gate_closes_then_mode_0_holds_and_mode_1_triggers(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    gate(&r, true);
    program(&r, 2, 0, 1000);
    to_tick(&r, 300);
    gate(&r, false);
    to_tick(&r, 900);
    assert_int_equal(value(&r, 2), 700);
    gate(&r, true);
    to_tick(&r, 1000);
    assert_int_equal(value(&r, 2), 600);

    program(&r, 2, 1, 50);
    assert_int_equal(status(&r, 2) & 0x80, 0x80);
    gate(&r, false);
    gate(&r, true);
    assert_int_equal(status(&r, 2) & 0x80, 0);
    to_tick(&r, 1049);
    assert_int_equal(status(&r, 2) & 0x80, 0);
    to_tick(&r, 1051);
    assert_int_equal(status(&r, 2) & 0x80, 0x80);
    pc_free(&r.pc);
}

static void test_pit_when_square_wave_then_odd_counts_are_high_longer(void **state)
{
    struct rig r;
    unsigned high = 0;
    (void)state;
    make(&r);
    gate(&r, true);
    program(&r, 2, 3, 5);
    for (int64_t t = 0; t < 50; t++) {
        to_tick(&r, t);
        machine_enter(r.pc.m);
        high += r.speaker.out(r.speaker.opaque);
        machine_leave(r.pc.m);
    }
    assert_int_equal(high, 30);
    gate(&r, false);
    machine_enter(r.pc.m);
    assert_true(r.speaker.out(r.speaker.opaque));
    machine_leave(r.pc.m);
    pc_free(&r.pc);
}

static void test_pit_when_new_count_while_periodic_then_from_the_next_period(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    program(&r, 2, 2, 1000);
    gate(&r, true);
    to_tick(&r, 2300);
    out(&r.pc, 0x42, 1, 100);
    out(&r.pc, 0x42, 1, 0);
    assert_int_equal(value(&r, 2), 700);
    assert_int_equal(status(&r, 2) & 0x40, 0x40);
    to_tick(&r, 3010);
    assert_int_equal(value(&r, 2), 90);
    assert_int_equal(status(&r, 2) & 0x40, 0);
    pc_free(&r.pc);
}

static void test_pit_when_bcd_then_counts_in_decimal(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    gate(&r, true);
    out(&r.pc, 0x43, 1, 0xb1); /* mode 0 */
    out(&r.pc, 0x42, 1, 0x00);
    out(&r.pc, 0x42, 1, 0x10);
    to_tick(&r, 1);
    assert_int_equal(value(&r, 2), 0x0999);
    to_tick(&r, 1001);
    assert_int_equal(value(&r, 2), 0x9999);
    pc_free(&r.pc);
}

static void test_pit_when_irq_is_off_then_nothing_ticks(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    program(&r, 0, 2, 1000);
    machine_enter(r.pc.m);
    i8254_irq_off(r.d, true);
    machine_leave(r.pc.m);
    assert_int_equal(r.pc.f->timer_at, -1);
    unsigned before = r.pc.f->isa_edges[0];
    flat_advance(r.pc.f, r.pc.m, 1000000000);
    assert_int_equal(r.pc.f->isa_edges[0], before);
    pc_free(&r.pc);
}

static void test_pit_when_saved_then_the_next_edge_comes_on_time(void **state)
{
    struct rig a, b;
    (void)state;
    make(&a);
    make(&b);
    program(&a, 0, 2, 1000);
    to_tick(&a, 1500);
    pc_move(&a.pc, &b.pc);
    unsigned before = b.pc.f->isa_edges[0];
    int64_t gap = (int64_t)500 * 1000000000 / HZ;
    flat_advance(b.pc.f, b.pc.m, gap - 2000);
    assert_int_equal(b.pc.f->isa_edges[0], before);
    flat_advance(b.pc.f, b.pc.m, 4000);
    assert_int_equal(b.pc.f->isa_edges[0], before + 1);
    pc_free(&a.pc);
    pc_free(&b.pc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pit_when_periodic_then_rate_is_exact_over_a_minute),
        cmocka_unit_test(test_pit_when_host_was_late_then_lost_edges_are_one),
        cmocka_unit_test(test_pit_when_mode_0_then_one_edge_and_then_sleeps),
        cmocka_unit_test(test_pit_when_latched_then_value_stands_until_read),
        cmocka_unit_test(test_pit_when_read_back_then_status_comes_before_the_count),
        cmocka_unit_test(test_pit_when_gate_closes_then_mode_0_holds_and_mode_1_triggers),
        cmocka_unit_test(test_pit_when_square_wave_then_odd_counts_are_high_longer),
        cmocka_unit_test(test_pit_when_new_count_while_periodic_then_from_the_next_period),
        cmocka_unit_test(test_pit_when_bcd_then_counts_in_decimal),
        cmocka_unit_test(test_pit_when_irq_is_off_then_nothing_ticks),
        cmocka_unit_test(test_pit_when_saved_then_the_next_edge_comes_on_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
