/* SPDX-License-Identifier: MIT */
/* The real-time clock in virtual time: calendar, formats, interrupts. */
#include "flat-pc.h"

#include "hw/timer/mc146818.h"

#define S 1000000000ll

struct rig {
    struct flat_pc pc;
    struct device *d;
};

static void make_at(struct rig *r, int64_t wall, bool follow)
{
    pc_make(&r->pc, false);
    r->pc.f->wall = wall;
    r->d = dev_new(r->pc.m, &mc146818_class, NULL);
    dev_set_bool(r->d, "follow", follow);
    pc_start(r->d);
}

static uint8_t get(struct rig *r, unsigned reg)
{
    out(&r->pc, 0x70, 1, reg);
    return (uint8_t)in(&r->pc, 0x71, 1);
}

static void set(struct rig *r, unsigned reg, unsigned v)
{
    out(&r->pc, 0x70, 1, reg);
    out(&r->pc, 0x71, 1, v);
}

static void expect_time(struct rig *r, unsigned century, unsigned year, unsigned month,
                        unsigned day, unsigned weekday, unsigned hour, unsigned min, unsigned sec)
{
    assert_int_equal(get(r, 0x32), century);
    assert_int_equal(get(r, 9), year);
    assert_int_equal(get(r, 8), month);
    assert_int_equal(get(r, 7), day);
    assert_int_equal(get(r, 6), weekday);
    assert_int_equal(get(r, 4), hour);
    assert_int_equal(get(r, 2), min);
    assert_int_equal(get(r, 0), sec);
}

static void test_rtc_when_dates_roll_over_then_calendar_is_right(void **state)
{
    struct rig r;
    (void)state;
    make_at(&r, 951782399, false); /* 2000-02-28 23:59:59, a Monday; the year is leap */
    expect_time(&r, 0x20, 0x00, 0x02, 0x28, 2, 0x23, 0x59, 0x59);
    flat_advance(r.pc.f, r.pc.m, 1 * S);
    expect_time(&r, 0x20, 0x00, 0x02, 0x29, 3, 0x00, 0x00, 0x00);
    flat_advance(r.pc.f, r.pc.m, 86400 * S);
    expect_time(&r, 0x20, 0x00, 0x03, 0x01, 4, 0x00, 0x00, 0x00);
    pc_free(&r.pc);
    make_at(&r, 946684799, false); /* 1999-12-31 23:59:59, a Friday */
    flat_advance(r.pc.f, r.pc.m, 1 * S);
    expect_time(&r, 0x20, 0x00, 0x01, 0x01, 7, 0x00, 0x00, 0x00);
    pc_free(&r.pc);
}

static void test_rtc_when_binary_or_12_hours_then_registers_say_so(void **state)
{
    struct rig r;
    (void)state;
    make_at(&r, 1700000000, false); /* 2023-11-14 22:13:20 */
    set(&r, 11, 0x06);
    assert_int_equal(get(&r, 4), 22);
    set(&r, 11, 0x04);
    assert_int_equal(get(&r, 4), 0x80 | 10);
    set(&r, 11, 0x00);
    assert_int_equal(get(&r, 4), 0x90);
    flat_advance(r.pc.f, r.pc.m, 2 * 3600 * S); /* 00:13 is 12 AM */
    assert_int_equal(get(&r, 4), 0x12);
    flat_advance(r.pc.f, r.pc.m, 12 * 3600 * S);
    assert_int_equal(get(&r, 4), 0x92);
    pc_free(&r.pc);
}

static void test_rtc_when_set_then_it_stands_and_goes_on_from_there(void **state)
{
    struct rig r;
    (void)state;
    make_at(&r, 1700000000, false);
    set(&r, 11, 0x82);
    static const uint8_t time[][2] = { { 0, 0x58 }, { 2, 0x59 }, { 4, 0x23 }, { 6, 0x05 },
                                       { 7, 0x31 }, { 8, 0x12 }, { 9, 0x98 }, { 0x32, 0x19 } };
    for (unsigned i = 0; i < ARRAY_SIZE(time); i++) {
        set(&r, time[i][0], time[i][1]);
    }
    flat_advance(r.pc.f, r.pc.m, 10 * S);
    assert_int_equal(get(&r, 0), 0x58);
    set(&r, 11, 0x02);
    flat_advance(r.pc.f, r.pc.m, 2 * S);
    expect_time(&r, 0x19, 0x99, 0x01, 0x01, 6, 0x00, 0x00, 0x00);
    machine_enter(r.pc.m);
    machine_reset(r.pc.m); /* the battery keeps it */
    machine_leave(r.pc.m);
    expect_time(&r, 0x19, 0x99, 0x01, 0x01, 6, 0x00, 0x00, 0x00);
    pc_free(&r.pc);
}

static void test_rtc_when_divider_is_released_then_second_ends_after_half_of_one(void **state)
{
    struct rig r;
    (void)state;
    make_at(&r, 1700000000, false);
    set(&r, 10, 0x76);
    uint8_t sec = get(&r, 0);
    flat_advance(r.pc.f, r.pc.m, 5 * S);
    assert_int_equal(get(&r, 0), sec);
    set(&r, 10, 0x26);
    flat_advance(r.pc.f, r.pc.m, S / 2 - 1);
    assert_int_equal(get(&r, 0), sec);
    flat_advance(r.pc.f, r.pc.m, 1);
    assert_int_equal(get(&r, 0), sec + 1);
    pc_free(&r.pc);
}

static void test_rtc_when_update_is_near_then_uip_says_so(void **state)
{
    struct rig r;
    (void)state;
    make_at(&r, 1700000000, false);
    flat_advance(r.pc.f, r.pc.m, S - 245000);
    assert_int_equal(get(&r, 10), 0x26);
    flat_advance(r.pc.f, r.pc.m, 1000);
    assert_int_equal(get(&r, 10), 0xa6);
    flat_advance(r.pc.f, r.pc.m, 244000);
    assert_int_equal(get(&r, 10), 0x26);
    pc_free(&r.pc);
}

static void test_rtc_when_periodic_then_rates_are_those_of_the_data_sheet(void **state)
{
    static const unsigned hz[16] = { 0,   256, 128, 8192, 4096, 2048, 1024, 512,
                                     256, 128, 64,  32,   16,   8,    4,    2 };
    (void)state;
    for (unsigned rate = 0; rate < 16; rate++) {
        struct rig r;
        unsigned n = 0;
        make_at(&r, 1700000000, false);
        set(&r, 10, 0x20 | rate);
        get(&r, 12);
        set(&r, 11, 0x42);
        for (int64_t at = 0; at < S; at += S / 16384) {
            flat_advance(r.pc.f, r.pc.m, S / 16384);
            if (r.pc.f->isa[8]) {
                n++;
                assert_int_equal(get(&r, 12) & 0xc0, 0xc0);
                assert_false(r.pc.f->isa[8]);
            }
        }
        assert_in_range(n, hz[rate] - (hz[rate] > 0), hz[rate] + 1);
        pc_free(&r.pc);
    }
}

static void test_rtc_when_nobody_acknowledges_then_nothing_wakes_up(void **state)
{
    struct rig r;
    (void)state;
    make_at(&r, 1700000000, false);
    assert_int_equal(r.pc.f->timer_at, -1); /* as it is after power-on */
    set(&r, 11, 0x42);
    flat_advance(r.pc.f, r.pc.m, S);
    assert_true(r.pc.f->isa[8]);
    assert_int_equal(r.pc.f->isa_edges[8], 1);
    assert_int_equal(r.pc.f->timer_at, -1);
    pc_free(&r.pc);
}

/* 10 of 64 a second are missed; all come within the next second or so. */
static void test_rtc_when_slewing_then_missed_interrupts_are_made_up_for(void **state)
{
    struct rig r;
    unsigned n = 0;
    (void)state;
    for (unsigned slew = 0; slew < 2; slew++) {
        make_at(&r, 1700000000, false);
        dev_set_bool(r.d, "slew", slew);
        set(&r, 10, 0x2a);
        get(&r, 12);
        set(&r, 11, 0x42);
        flat_advance(r.pc.f, r.pc.m, 10 * S / 64); /* nobody answers */
        for (n = 0; r.pc.f->now < S;) {
            if (r.pc.f->isa[8]) {
                get(&r, 12);
                n++;
            }
            flat_advance(r.pc.f, r.pc.m, 100000);
        }
        assert_in_range(n, slew ? 63 : 54, slew ? 65 : 56);
        pc_free(&r.pc);
    }
}

static void test_rtc_when_flags_are_polled_then_they_tell_without_interrupts(void **state)
{
    struct rig r;
    (void)state;
    make_at(&r, 1700000000, false);
    get(&r, 12);
    flat_advance(r.pc.f, r.pc.m, S);
    assert_int_equal(get(&r, 12), 0x50); /* PF and UF, no IRQF */
    assert_int_equal(get(&r, 12), 0);
    assert_int_equal(r.pc.f->isa_edges[8], 0);
    pc_free(&r.pc);
}

static void test_rtc_when_alarm_matches_then_irq_once(void **state)
{
    struct rig r;
    (void)state;
    make_at(&r, 1700000000, false); /* 22:13:20 */
    set(&r, 1, 0x30);
    set(&r, 3, 0x14);
    set(&r, 5, 0x22);
    set(&r, 11, 0x22);
    flat_advance(r.pc.f, r.pc.m, 70 * S - 1);
    assert_false(r.pc.f->isa[8]);
    flat_advance(r.pc.f, r.pc.m, 1);
    assert_true(r.pc.f->isa[8]);
    assert_int_equal(get(&r, 12) & 0xa0, 0xa0);
    set(&r, 3, 0xff); /* any minute, any hour */
    set(&r, 5, 0xc0);
    flat_advance(r.pc.f, r.pc.m, 60 * S);
    assert_int_equal(get(&r, 12) & 0xa0, 0xa0);
    pc_free(&r.pc);
}

static void test_rtc_when_update_ended_then_irq_each_second(void **state)
{
    struct rig r;
    (void)state;
    make_at(&r, 1700000000, false);
    set(&r, 11, 0x12);
    for (unsigned i = 1; i <= 5; i++) {
        flat_advance(r.pc.f, r.pc.m, S);
        assert_int_equal(get(&r, 12) & 0x90, 0x90);
        assert_int_equal(r.pc.f->isa_edges[8], i);
    }
    pc_free(&r.pc);
}

static void test_rtc_when_following_then_a_stop_is_made_up_for(void **state)
{
    struct rig r;
    (void)state;
    make_at(&r, 1700000000, true);
    set(&r, 4, 0x01); /* the guest set its own hour: 01:13:20 */
    r.pc.f->wall += 100;
    get(&r, 10); /* drivers look at UIP first */
    assert_int_equal(get(&r, 4), 0x01);
    assert_int_equal(get(&r, 2), 0x15);
    assert_int_equal(get(&r, 0), 0x00);
    pc_free(&r.pc);
    make_at(&r, 1700000000, false);
    r.pc.f->wall += 100;
    get(&r, 10);
    assert_int_equal(get(&r, 2), 0x13);
    pc_free(&r.pc);
}

static void test_rtc_when_saved_with_an_alarm_then_it_rings_there(void **state)
{
    struct rig a, b;
    (void)state;
    make_at(&a, 1700000000, false);
    make_at(&b, 0, false);
    set(&a, 1, 0x25);
    set(&a, 3, 0xff);
    set(&a, 5, 0xff);
    set(&a, 11, 0x22);
    pc_move(&a.pc, &b.pc);
    flat_advance(b.pc.f, b.pc.m, 5 * S);
    assert_true(b.pc.f->isa[8]);
    assert_int_equal(get(&b, 0), 0x25);
    pc_free(&a.pc);
    pc_free(&b.pc);
}

/* 64 bits of nanoseconds end in 2255: a date beyond is the last one, and may be saved and loaded. */
static void test_rtc_when_the_date_is_out_of_reach_then_the_nearest(void **state)
{
    struct rig r;
    (void)state;
    make_at(&r, 0, true);
    set(&r, 0x32, 0x99);
    set(&r, 9, 0x99);
    expect_time(&r, 0x22, 0x55, 0x03, 0x14, 4, 0x16, 0x00, 0x00);
    set(&r, 0x32, 0x00);
    expect_time(&r, 0x16, 0x84, 0x10, 0x19, 5, 0x08, 0x00, 0x00);
    struct state_buf b = { 0 };
    struct err e = { 0 };
    dev_save(r.d, &b);
    assert_int_equal(dev_load(r.d, b.p, b.len, &e), (long)b.len);
    free(b.p);
    pc_free(&r.pc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rtc_when_dates_roll_over_then_calendar_is_right),
        cmocka_unit_test(test_rtc_when_binary_or_12_hours_then_registers_say_so),
        cmocka_unit_test(test_rtc_when_set_then_it_stands_and_goes_on_from_there),
        cmocka_unit_test(test_rtc_when_divider_is_released_then_second_ends_after_half_of_one),
        cmocka_unit_test(test_rtc_when_update_is_near_then_uip_says_so),
        cmocka_unit_test(test_rtc_when_periodic_then_rates_are_those_of_the_data_sheet),
        cmocka_unit_test(test_rtc_when_nobody_acknowledges_then_nothing_wakes_up),
        cmocka_unit_test(test_rtc_when_slewing_then_missed_interrupts_are_made_up_for),
        cmocka_unit_test(test_rtc_when_flags_are_polled_then_they_tell_without_interrupts),
        cmocka_unit_test(test_rtc_when_alarm_matches_then_irq_once),
        cmocka_unit_test(test_rtc_when_update_ended_then_irq_each_second),
        cmocka_unit_test(test_rtc_when_following_then_a_stop_is_made_up_for),
        cmocka_unit_test(test_rtc_when_the_date_is_out_of_reach_then_the_nearest),
        cmocka_unit_test(test_rtc_when_saved_with_an_alarm_then_it_rings_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
