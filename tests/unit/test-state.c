/* SPDX-License-Identifier: MIT */
/* tests/unit/test-state.c - declared state: streams that come back, and streams that lie. */
#include "tests/unit/toy.h"

#include <stdio.h>
#include <zlib.h>

#define PAGE 4096u

struct rig {
    struct flat_host *f;
    struct machine *m;
    struct toy *a, *b;
    struct state_buf s;
    struct err e;
};

static void pause_machine(struct machine *m)
{
    machine_enter(m);
    machine_set_run_state(m, RUN_PAUSED);
    machine_leave(m);
}

/* Values that reset would not give. */
static void fill(struct toy *t)
{
    t->flag = true;
    memcpy(t->bytes, "hello", 5);
    t->mode = 7;
    t->addr = 0xdeadbeef;
    t->big = 0x123456789abcdef0;
    t->low = -3;
    t->wide = INT64_MIN;
    vtimer_arm_at(&t->timer, 5000);
    t->part[0].level = 0xffff;
    t->part[1].bias = -1;
    vtimer_arm_at(&t->part[2].tick, 0);
    if (t->ram.host) {
        memcpy(t->ram.host + PAGE + 17, "page one", 8);
        memcpy(t->ram.host + 3 * PAGE, "page three", 10);
        (void)gmem_block_lend(t->dev.m, &t->ram, 0xf0000000);
    }
}

static int set_up(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    r->m = toy_machine(&r->f, 0);
    r->a = toy_new(r->m, 4 * PAGE);
    r->b = toy_new(r->m, 0);
    flat_advance(r->f, r->m, 1234);
    pause_machine(r->m);
    fill(r->a);
    r->b->mode = 3;
    assert_int_equal(machine_save(r->m, &r->s, NULL), 0);
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *r = *state;
    machine_free(r->m);
    flat_free(r->f);
    free(r->s.p);
    free(r);
    return 0;
}

static int load(struct rig *r, const void *p, size_t len)
{
    memset(&r->e, 0, sizeof(r->e));
    return machine_load(r->m, p, len, &r->e);
}

static void assert_reset(const struct toy *t)
{
    assert_false(t->flag);
    assert_int_equal(t->mode, 1);
    assert_int_equal(t->addr, 0);
    assert_false(vtimer_armed(&t->timer));
    assert_false(t->irq.level);
}

static void assert_filled(const struct toy *t)
{
    assert_true(t->flag);
    assert_memory_equal(t->bytes, "hello", 5);
    assert_int_equal(t->mode, 7);
    assert_int_equal(t->addr, 0xdeadbeef);
    assert_true(t->big == 0x123456789abcdef0);
    assert_int_equal(t->low, -3);
    assert_true(t->wide == INT64_MIN);
    assert_int_equal(t->timer.when, 5000);
    assert_int_equal(t->part[0].level, 0xffff);
    assert_int_equal(t->part[1].bias, -1);
    assert_false(vtimer_armed(&t->part[1].tick));
    assert_int_equal(t->part[2].tick.when, 0);
    assert_memory_equal(t->ram.host + PAGE + 17, "page one", 8);
    assert_memory_equal(t->ram.host + 3 * PAGE, "page three", 10);
    assert_int_equal(t->ram.host[0], 0);
    assert_true(t->ram.gpa == 0xf0000000);
}

static void test_state_save_load_save_is_identical(void **state)
{
    struct rig *r = *state;
    struct state_buf again = { 0 };
    memset(r->a->ram.host, 0x55, r->a->ram.len); /* must go away */
    r->a->addr = 1;
    vtimer_disarm(&r->a->timer);
    vtimer_arm_at(&r->b->timer, 9);
    assert_int_equal(load(r, r->s.p, r->s.len), 0);
    assert_filled(r->a);
    assert_int_equal(r->b->mode, 3);
    assert_false(vtimer_armed(&r->b->timer));
    assert_true(r->a->irq.level);
    assert_true(r->f->isa[5]);
    assert_int_equal(machine_save(r->m, &again, NULL), 0);
    assert_int_equal(again.len, r->s.len);
    assert_memory_equal(again.p, r->s.p, r->s.len);
    free(again.p);
}

static void test_state_moves_to_another_machine(void **state)
{
    struct rig *r = *state;
    struct flat_host *f;
    struct machine *m = toy_machine(&f, 0);
    struct toy *a = toy_new(m, 4 * PAGE);
    (void)toy_new(m, 0);
    f->now = 99999;
    pause_machine(m);
    assert_int_equal(machine_load(m, r->s.p, r->s.len, NULL), 0);
    assert_filled(a);
    assert_int_equal(vclock_now(m), 1234);
    assert_true(machine_state_hash(m) == machine_state_hash(r->m));
    machine_enter(m);
    machine_set_run_state(m, RUN_RUNNING);
    machine_leave(m);
    flat_advance(f, m, 1);
    assert_int_equal(a->fired, 1); /* the tick that was due at 0 */
    flat_advance(f, m, 5000 - 1234);
    assert_int_equal(a->fired, 2);
    assert_int_equal(a->fired_at, 5000);
    machine_free(m);
    flat_free(f);
}

static void test_state_running_machine_is_refused(void **state)
{
    struct rig *r = *state;
    struct state_buf b = { 0 };
    machine_enter(r->m);
    machine_set_run_state(r->m, RUN_RUNNING);
    machine_leave(r->m);
    assert_int_equal(machine_save(r->m, &b, &r->e), -EBUSY);
    assert_int_equal(b.len, 0);
    assert_int_equal(load(r, r->s.p, r->s.len), -EBUSY);
    assert_filled(r->a);
}

static void test_state_every_truncation_is_refused(void **state)
{
    struct rig *r = *state;
    for (size_t len = 0; len < r->s.len; len++) {
        uint8_t *copy = malloc(len ? len : 1); /* exact, so that a sanitizer sees one byte more */
        memcpy(copy, r->s.p, len);
        assert_int_equal(load(r, copy, len), -EINVAL);
        assert_true(r->e.msg[0]);
        free(copy);
        assert_reset(r->a);
    }
}

static void test_state_every_flipped_bit_is_refused(void **state)
{
    struct rig *r = *state;
    for (size_t i = 0; i < r->s.len; i++) {
        for (unsigned bit = 0; bit < 8; bit += i < 600 ? 1 : 3) {
            r->s.p[i] ^= (uint8_t)(1u << bit);
            assert_int_equal(load(r, r->s.p, r->s.len), -EINVAL);
            r->s.p[i] ^= (uint8_t)(1u << bit);
        }
        assert_reset(r->a);
    }
    assert_int_equal(load(r, r->s.p, r->s.len), 0);
}

static void test_state_trailing_bytes_are_refused(void **state)
{
    struct rig *r = *state;
    state_put(&r->s, "", 1);
    assert_int_equal(load(r, r->s.p, r->s.len), -EINVAL);
    assert_non_null(strstr(r->e.msg, "after the end"));
}

/* ---- lies under a right checksum ---- */

static uint8_t *find(struct state_buf *s, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i + n < s->len; i++) {
        if (s->p[i] == n && !memcmp(s->p + i + 1, name, n)) {
            return s->p + i + 1;
        }
    }
    fail_msg("no %s in the stream", name);
    return NULL;
}

/* Makes every checksum right again; knows the frame as state.c describes it. */
static void mend(struct state_buf *s)
{
    uint8_t *p = s->p;
    size_t at = 8 + 2 + 1 + p[10] + 8;
    uint32_t crc = (uint32_t)crc32(0, p, (uInt)at), len;
    memcpy(p + at, &crc, 4);
    for (at += 4; p[at] == 1; at += 9 + len) {
        memcpy(&len, p + at + 1, 4);
        crc = (uint32_t)crc32(0, p + at + 5, len);
        memcpy(p + at + 5 + len, &crc, 4);
    }
    crc = (uint32_t)crc32(0, p + at + 1, 4);
    memcpy(p + at + 5, &crc, 4);
}

/* Loads the mended stream, which must be refused with all of the words, and leave a reset machine.
 */
static void assert_refused(struct rig *r, const char *one, const char *two)
{
    mend(&r->s);
    assert_int_equal(load(r, r->s.p, r->s.len), -EINVAL);
    if (!strstr(r->e.msg, one) || !strstr(r->e.msg, two)) {
        fail_msg("\"%s\" lacks \"%s\" or \"%s\"", r->e.msg, one, two);
    }
    assert_reset(r->a);
    assert_reset(r->b);
}

#define VALUE(name) (find(&r->s, name) + strlen(name) + 5) /* behind name, kind and count */

static void test_state_value_out_of_range_is_refused_by_name(void **state)
{
    struct rig *r = *state;
    *VALUE("mode") = 8;
    assert_refused(r, "toy.0", "mode");
}

static void test_state_value_below_range_is_refused(void **state)
{
    struct rig *r = *state;
    *VALUE("mode") = 0;
    assert_refused(r, "mode", "out of range");
}

static void test_state_signed_range_is_signed(void **state)
{
    struct rig *r = *state;
    int32_t low = -4;
    memcpy(VALUE("low"), &low, 4);
    assert_refused(r, "low", "out of range");
    low = 4;
    memcpy(VALUE("low"), &low, 4);
    assert_refused(r, "low", "out of range");
    low = 3;
    memcpy(VALUE("low"), &low, 4);
    mend(&r->s);
    assert_int_equal(load(r, r->s.p, r->s.len), 0);
    assert_int_equal(r->a->low, 3);
}

static void test_state_bool_is_zero_or_one(void **state)
{
    struct rig *r = *state;
    *VALUE("flag") = 2;
    assert_refused(r, "flag", "out of range");
}

static void test_state_timer_before_minus_one_is_refused(void **state)
{
    struct rig *r = *state;
    int64_t when = -2;
    memcpy(VALUE("timer"), &when, 8);
    assert_refused(r, "timer", "due");
}

static void test_state_sub_field_is_named_with_its_path(void **state)
{
    struct rig *r = *state;
    uint8_t *tick = find(&r->s, "tick");
    int64_t when = INT64_MIN;
    memcpy(tick + 4 + 5, &when, 8);
    assert_refused(r, "part[0].tick", "toy.0");
}

static void test_state_wrong_kind_or_count_is_refused(void **state)
{
    struct rig *r = *state;
    uint8_t *kind = find(&r->s, "addr") + 4;
    *kind = STATE_U64;
    assert_refused(r, "addr", "kind");
    *kind = STATE_U32;
    kind[1] = 2;
    assert_refused(r, "addr", "elements");
    memset(kind + 1, 0xff, 4);
    assert_refused(r, "addr", "elements");
}

static void test_state_renamed_field_is_unknown(void **state)
{
    struct rig *r = *state;
    memcpy(find(&r->s, "addr"), "adde", 4);
    assert_refused(r, "no field", "adde");
}

static void test_state_fields_out_of_order_are_missing(void **state)
{
    struct rig *r = *state;
    memcpy(find(&r->s, "flag"), "mode", 4);
    assert_refused(r, "missing", "flag");
}

static void test_state_unknown_instance_is_refused(void **state)
{
    struct rig *r = *state;
    memcpy(find(&r->s, "toy.1"), "toy.7", 5);
    assert_refused(r, "no device", "toy.7");
}

static void test_state_same_instance_twice_is_refused(void **state)
{
    struct rig *r = *state;
    memcpy(find(&r->s, "toy.1"), "toy.0", 5);
    assert_refused(r, "toy.0", "twice");
}

static void test_state_other_class_is_refused(void **state)
{
    struct rig *r = *state;
    memcpy(find(&r->s, "toy"), "tax", 3);
    assert_refused(r, "toy.0", "tax");
}

static void test_state_version_beyond_ours_is_refused(void **state)
{
    struct rig *r = *state;
    uint8_t *version = find(&r->s, "toy") + 3;
    *version = 3;
    assert_refused(r, "toy.0", "version 3");
    *version = 0;
    assert_refused(r, "toy.0", "version 0");
    *version = 1; /* every field of the toy is of version 1 */
    mend(&r->s);
    assert_int_equal(load(r, r->s.p, r->s.len), 0);
}

static void test_state_missing_instance_is_refused(void **state)
{
    struct rig *r = *state;
    (void)toy_new(r->m, 0);
    assert_refused(r, "nothing about", "toy.2");
}

/* Not in the stream, nor needed in the machine that takes it; one that has the device must know it to be away. */
static void test_state_absent_device_is_left_out(void **state)
{
    struct rig *r = *state;
    struct flat_host *f;
    struct machine *m = toy_machine(&f, 0);
    struct toy *a = toy_new(m, 4 * PAGE);
    pause_machine(m);
    r->b->dev.absent = true;
    r->s.len = 0;
    assert_int_equal(machine_save(r->m, &r->s, NULL), 0);
    assert_int_equal(machine_load(m, r->s.p, r->s.len, &r->e), 0);
    assert_filled(a);
    assert_int_equal(load(r, r->s.p, r->s.len), 0);
    assert_filled(r->a);
    assert_int_equal(r->b->loads, 0);
    r->b->dev.absent = false;
    assert_refused(r, "nothing about", "toy.1");
    machine_free(m);
    flat_free(f);
}

static void test_state_wrong_number_at_the_end_is_refused(void **state)
{
    struct rig *r = *state;
    r->s.p[r->s.len - 8] = 3;
    assert_refused(r, "3 devices", "2");
}

static void test_state_other_machine_is_refused(void **state)
{
    struct rig *r = *state;
    memcpy(find(&r->s, "toys"), "toyz", 4);
    assert_refused(r, "toyz", "toys");
}

static void test_state_negative_time_is_refused(void **state)
{
    struct rig *r = *state;
    r->s.p[8 + 2 + 5 + 7] = 0x80;
    assert_refused(r, "virtual time", "");
    assert_int_equal(vclock_now(r->m), 1234);
}

static void test_state_block_lies_are_refused(void **state)
{
    struct rig *r = *state;
    uint8_t *gpa = VALUE("ram"), *len = gpa + 8, *has = gpa + 16, *n = gpa + 17, *page = gpa + 21;
    uint8_t keep[32];
    memcpy(keep, gpa, sizeof(keep));
    gpa[0] = 1; /* not on a page */
    assert_refused(r, "ram", "cannot be at");
    memset(gpa, 0xff, 8);
    gpa[0] = 0;
    gpa[1] = 0xf0; /* would wrap */
    assert_refused(r, "ram", "cannot be at");
    memcpy(gpa, keep, sizeof(keep));
    len[1] = 0x30;
    assert_refused(r, "ram", "this machine has");
    memcpy(gpa, keep, sizeof(keep));
    *has = 0;
    assert_refused(r, "ram", "contents of device RAM are missing");
    *has = 2;
    assert_refused(r, "ram", "contents 2");
    memcpy(gpa, keep, sizeof(keep));
    *page = 4; /* there are four, from 0 */
    assert_refused(r, "page 4", "out of place");
    *page = 3; /* the second one is 3 too */
    assert_refused(r, "page 3", "out of place");
    *page = 1;
    memset(n, 0xff, 4);
    assert_refused(r, "toy.0", "ram");
}

static void test_state_refused_stream_does_not_move_time(void **state)
{
    struct rig *r = *state;
    machine_enter(r->m);
    machine_set_run_state(r->m, RUN_RUNNING);
    machine_leave(r->m);
    flat_advance(r->f, r->m, 100);
    pause_machine(r->m);
    *VALUE("mode") = 8;
    assert_refused(r, "mode", "");
    assert_int_equal(vclock_now(r->m), 1334);
}

static void test_state_load_drives_lines_that_did_not_change(void **state)
{
    struct rig *r = *state;
    *VALUE("flag") = 0;
    mend(&r->s);
    line_set(&r->a->irq, false);
    r->f->isa[5] = true; /* a host that remembers the other machine */
    assert_int_equal(load(r, r->s.p, r->s.len), 0);
    assert_false(r->f->isa[5]);
}

/* Puts n bytes into a record of one device at `at`, whose length and checksum follow. */
static void splice(struct state_buf *s, size_t at, const void *bytes, size_t n)
{
    uint32_t len, crc;
    state_put(s, bytes, n);
    memmove(s->p + at + n, s->p + at, s->len - n - at);
    memcpy(s->p + at, bytes, n);
    memcpy(&len, s->p + 1, 4);
    len += (uint32_t)n;
    memcpy(s->p + 1, &len, 4);
    crc = (uint32_t)crc32(0, s->p + 5, len);
    memcpy(s->p + 5 + len, &crc, 4);
}

static void test_state_bytes_behind_the_fields_are_refused(void **state)
{
    struct rig *r = *state;
    struct state_buf one = { 0 };
    dev_save(&r->a->dev, &one);
    splice(&one, one.len - 4, "xyz", 3);
    assert_int_equal(dev_load(&r->a->dev, one.p, one.len, &r->e), -EINVAL);
    assert_non_null(strstr(r->e.msg, "3 bytes too many"));
    free(one.p);
}

static void test_state_zero_byte_in_a_name_is_refused(void **state)
{
    struct rig *r = *state;
    struct state_buf one = { 0 };
    dev_save(&r->a->dev, &one);
    one.p[5] += 2; /* the instance's name grows from "toy.0" */
    splice(&one, 11, "\0x", 2);
    assert_int_equal(dev_load(&r->a->dev, one.p, one.len, &r->e), -EINVAL);
    assert_non_null(strstr(r->e.msg, "zero byte"));
    free(one.p);
}

static void test_state_device_may_refuse_what_it_got(void **state)
{
    struct rig *r = *state;
    r->b->refuse_load = true;
    assert_refused(r, "toy.1", "not today");
    assert_int_equal(r->a->loads, 1);
}

static void test_state_foreign_streams_are_named(void **state)
{
    struct rig *r = *state;
    static const char *const them[][2] = {
        { "QEVM\0\0\0\3", "QEMU migration" },
        { "DeviceModelRecord0002....", "old xl" },
        { "Xen saved domain, xl format\n \0 \r", "xl restore" },
        { "something else", "not a saved state" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(them); i++) {
        char buf[64] = { 0 };
        memcpy(buf, them[i][0], strlen(them[i][0]));
        assert_int_equal(load(r, buf, sizeof(buf)), -EINVAL);
        assert_non_null(strstr(r->e.msg, them[i][1]));
    }
    assert_int_equal(load(r, NULL, 0), -EINVAL);
}

/* ---- one device ---- */

static void test_state_one_record_by_itself(void **state)
{
    struct rig *r = *state;
    struct state_buf one = { 0 };
    dev_save(&r->a->dev, &one);
    size_t len = one.len;
    state_put(&one, "rest", 4);
    r->a->addr = 0;
    assert_int_equal(dev_load(&r->a->dev, one.p, one.len, &r->e), len);
    assert_filled(r->a);
    assert_int_equal(dev_load(&r->b->dev, one.p, one.len, &r->e), -EINVAL);
    assert_non_null(strstr(r->e.msg, "toy.0"));
    assert_int_equal(dev_load(&r->a->dev, one.p, len - 1, &r->e), -EINVAL);
    assert_reset(r->a);
    free(one.p);
}

/* ---- fields younger than a stream ---- */

struct grown {
    struct device dev;
    uint32_t old, young;
};

static void grown_reset(struct device *d)
{
    ((struct grown *)d)->old = 1;
    ((struct grown *)d)->young = 42;
}

static const struct state_field grown_before[] = { FIELD(struct grown, old), FIELD_END };
static const struct state_field grown_after[] = {
    { "young", STATE_U32, 2, offsetof(struct grown, young), 1, 0, 0, NULL, 0 },
    FIELD(struct grown, old),
    FIELD_END,
};
static const struct dev_class grown_v1 = { .name = "grown",
                                           .size = sizeof(struct grown),
                                           .state = grown_before,
                                           .state_version = 1,
                                           .reset = grown_reset };
static const struct dev_class grown_v2 = { .name = "grown",
                                           .size = sizeof(struct grown),
                                           .state = grown_after,
                                           .state_version = 2,
                                           .reset = grown_reset };

static struct grown *grown_new(struct machine **m, const struct dev_class *c)
{
    *m = machine_new("toys", &flat_host_ops, flat_new(0));
    struct device *d = dev_new(*m, c, NULL);
    assert_int_equal(dev_init(d, NULL), 0);
    return (struct grown *)d;
}

static void test_state_young_field_keeps_its_reset_value(void **state)
{
    struct rig *r = *state;
    struct machine *m1, *m2;
    struct grown *g1 = grown_new(&m1, &grown_v1), *g2 = grown_new(&m2, &grown_v2);
    struct state_buf s = { 0 };
    g1->old = 77;
    g2->young = 5;
    assert_int_equal(machine_save(m1, &s, NULL), 0);
    assert_int_equal(machine_load(m2, s.p, s.len, &r->e), 0);
    assert_int_equal(g2->old, 77);
    assert_int_equal(g2->young, 42);
    s.len = 0;
    assert_int_equal(machine_save(m2, &s, NULL), 0);
    assert_int_equal(machine_load(m1, s.p, s.len, &r->e), -EINVAL); /* not backwards */
    assert_non_null(strstr(r->e.msg, "version 2"));
    free(s.p);
    flat_free(m1->h);
    flat_free(m2->h);
    machine_free(m1);
    machine_free(m2);
}

/* ---- hash and lists ---- */

static void test_state_hash_sees_every_kind_of_change(void **state)
{
    struct rig *r = *state;
    uint64_t h = machine_state_hash(r->m);
    assert_true(h == machine_state_hash(r->m));
    r->a->bytes[4] ^= 1;
    assert_true(h != machine_state_hash(r->m));
    r->a->bytes[4] ^= 1;
    vtimer_arm_at(&r->b->part[2].tick, 1);
    assert_true(h != machine_state_hash(r->m));
    vtimer_disarm(&r->b->part[2].tick);
    r->a->ram.host[2 * PAGE] = 1;
    assert_true(h != machine_state_hash(r->m));
    r->a->ram.host[2 * PAGE] = 0;
    assert_true(h == machine_state_hash(r->m));
}

static void collect(void *opaque, const char *name, uint64_t value)
{
    char line[80];
    snprintf(line, sizeof(line), "%s=%llx ", name, (unsigned long long)value);
    strcat(opaque, line);
}

static void test_state_each_names_every_scalar(void **state)
{
    struct rig *r = *state;
    char all[2000] = "";
    dev_state_each(&r->a->dev, collect, all);
    assert_string_equal(
        all, "flag=1 bytes[0]=68 bytes[1]=65 bytes[2]=6c bytes[3]=6c bytes[4]=6f mode=7 "
             "addr=deadbeef big=123456789abcdef0 low=fffffffffffffffd wide=8000000000000000 "
             "timer=1388 part[0].level=ffff part[0].bias=0 part[0].tick=ffffffffffffffff "
             "part[1].level=0 part[1].bias=ffffffffffffffff part[1].tick=ffffffffffffffff "
             "part[2].level=0 part[2].bias=0 part[2].tick=0 ram.gpa=f0000000 ");
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_state_save_load_save_is_identical),
        T(test_state_moves_to_another_machine),
        T(test_state_running_machine_is_refused),
        T(test_state_every_truncation_is_refused),
        T(test_state_every_flipped_bit_is_refused),
        T(test_state_trailing_bytes_are_refused),
        T(test_state_value_out_of_range_is_refused_by_name),
        T(test_state_value_below_range_is_refused),
        T(test_state_signed_range_is_signed),
        T(test_state_bool_is_zero_or_one),
        T(test_state_timer_before_minus_one_is_refused),
        T(test_state_sub_field_is_named_with_its_path),
        T(test_state_wrong_kind_or_count_is_refused),
        T(test_state_renamed_field_is_unknown),
        T(test_state_fields_out_of_order_are_missing),
        T(test_state_unknown_instance_is_refused),
        T(test_state_same_instance_twice_is_refused),
        T(test_state_other_class_is_refused),
        T(test_state_version_beyond_ours_is_refused),
        T(test_state_missing_instance_is_refused),
        T(test_state_absent_device_is_left_out),
        T(test_state_wrong_number_at_the_end_is_refused),
        T(test_state_other_machine_is_refused),
        T(test_state_negative_time_is_refused),
        T(test_state_block_lies_are_refused),
        T(test_state_refused_stream_does_not_move_time),
        T(test_state_load_drives_lines_that_did_not_change),
        T(test_state_bytes_behind_the_fields_are_refused),
        T(test_state_zero_byte_in_a_name_is_refused),
        T(test_state_device_may_refuse_what_it_got),
        T(test_state_foreign_streams_are_named),
        T(test_state_one_record_by_itself),
        T(test_state_young_field_keeps_its_reset_value),
        T(test_state_hash_sees_every_kind_of_change),
        T(test_state_each_names_every_scalar),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
