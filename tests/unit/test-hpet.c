/* SPDX-License-Identifier: MIT */
/* The high precision event timers in virtual time. */
#include "flat-pc.h"

#include "hw/timer/hpet.h"

struct rig {
    struct flat_pc pc;
    struct device *d;
    bool legacy;
};

static void legacy_changed(void *o, bool on)
{
    ((struct rig *)o)->legacy = on;
}

static void make(struct rig *r)
{
    struct hpet_legacy legacy = { legacy_changed, r };
    *r = (struct rig){ 0 };
    pc_make(&r->pc, false);
    r->d = dev_new(r->pc.m, &hpet_class, NULL);
    dev_set_ptr(r->d, "legacy", &legacy);
    pc_start(r->d);
}

static uint64_t get(struct rig *r, unsigned reg, unsigned size)
{
    return io_read(r->pc.m, IO_MMIO, HPET_BASE + reg, size);
}

static void set(struct rig *r, unsigned reg, unsigned size, uint64_t v)
{
    io_write(r->pc.m, IO_MMIO, HPET_BASE + reg, size, v);
}

static void test_hpet_when_enabled_then_counts_at_100_mhz_and_stands_when_not(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    assert_int_equal(get(&r, 0, 8), 10000000ull << 32 | 0x8086a201);
    set(&r, 0x10, 4, 1);
    flat_advance(r.pc.f, r.pc.m, 12345);
    assert_int_equal(get(&r, 0xf0, 8), 1234);
    set(&r, 0x10, 4, 0);
    flat_advance(r.pc.f, r.pc.m, 1000);
    assert_int_equal(get(&r, 0xf0, 4), 1234);
    set(&r, 0xf0, 8, 0xfffffffffull);
    set(&r, 0x10, 4, 1);
    flat_advance(r.pc.f, r.pc.m, 10);
    assert_int_equal(get(&r, 0xf4, 4), 0x10);
    assert_int_equal(get(&r, 0xf0, 4), 0);
    assert_int_equal(r.pc.f->timer_at, -1);
    pc_free(&r.pc);
}

static void test_hpet_when_one_shot_legacy_then_irq_0_at_the_match(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    set(&r, 0x10, 4, 3);
    assert_true(r.legacy);
    set(&r, 0x100, 4, 4);
    set(&r, 0x108, 8, 1000);
    flat_advance(r.pc.f, r.pc.m, 9999);
    assert_int_equal(r.pc.f->isa_edges[0], 0);
    flat_advance(r.pc.f, r.pc.m, 1);
    assert_int_equal(r.pc.f->isa_edges[0], 1);
    flat_advance(r.pc.f, r.pc.m, 1000000000);
    assert_int_equal(r.pc.f->isa_edges[0], 1);
    set(&r, 0x10, 4, 1);
    assert_false(r.legacy);
    pc_free(&r.pc);
}

static void test_hpet_when_periodic_then_every_period_and_accumulator_shows_next(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    set(&r, 0x120, 4, 0x4c); /* timer 1: periodic, enabled, value follows */
    set(&r, 0x128, 8, 500);
    set(&r, 0x128, 8, 200);
    set(&r, 0x10, 4, 3);
    flat_advance(r.pc.f, r.pc.m, 4999);
    assert_int_equal(r.pc.f->isa_edges[8], 0);
    flat_advance(r.pc.f, r.pc.m, 1);
    assert_int_equal(r.pc.f->isa_edges[8], 1);
    flat_advance(r.pc.f, r.pc.m, 20000);
    assert_int_equal(r.pc.f->isa_edges[8], 11);
    assert_int_equal(get(&r, 0x128, 8), 2700);
    pc_free(&r.pc);
}

static void test_hpet_when_level_then_status_bit_holds_the_line(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    set(&r, 0x140, 4, 2 << 9 | 6); /* timer 2: pin 2, level, enabled */
    set(&r, 0x148, 8, 100);
    set(&r, 0x10, 4, 1);
    flat_advance(r.pc.f, r.pc.m, 1000);
    assert_true(r.pc.f->isa[2]);
    assert_int_equal(get(&r, 0x20, 4), 4);
    set(&r, 0x20, 4, 4);
    assert_false(r.pc.f->isa[2]);
    pc_free(&r.pc);
}

static void test_hpet_when_32_bit_then_a_match_behind_comes_after_the_wrap(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    set(&r, 0xf0, 8, 0xfffffff0);
    set(&r, 0x100, 4, 0x104);
    set(&r, 0x108, 4, 0x10);
    set(&r, 0x10, 4, 3);
    flat_advance(r.pc.f, r.pc.m, 310);
    assert_int_equal(r.pc.f->isa_edges[0], 0);
    flat_advance(r.pc.f, r.pc.m, 10);
    assert_int_equal(r.pc.f->isa_edges[0], 1);
    pc_free(&r.pc);
}

static void test_hpet_when_saved_then_the_match_comes_there(void **state)
{
    struct rig a, b;
    (void)state;
    make(&a);
    make(&b);
    set(&a, 0x10, 4, 3);
    set(&a, 0x100, 4, 4);
    set(&a, 0x108, 8, 1000);
    flat_advance(a.pc.f, a.pc.m, 4000);
    pc_move(&a.pc, &b.pc);
    assert_true(b.legacy);
    flat_advance(b.pc.f, b.pc.m, 5999);
    assert_int_equal(b.pc.f->isa_edges[0], 0);
    flat_advance(b.pc.f, b.pc.m, 1);
    assert_int_equal(b.pc.f->isa_edges[0], 1);
    pc_free(&a.pc);
    pc_free(&b.pc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hpet_when_enabled_then_counts_at_100_mhz_and_stands_when_not),
        cmocka_unit_test(test_hpet_when_one_shot_legacy_then_irq_0_at_the_match),
        cmocka_unit_test(test_hpet_when_periodic_then_every_period_and_accumulator_shows_next),
        cmocka_unit_test(test_hpet_when_level_then_status_bit_holds_the_line),
        cmocka_unit_test(test_hpet_when_32_bit_then_a_match_behind_comes_after_the_wrap),
        cmocka_unit_test(test_hpet_when_saved_then_the_match_comes_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
