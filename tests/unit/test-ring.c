/* SPDX-License-Identifier: MIT */
/* tests/unit/test-ring.c - the shared ioreq pages, values Xen never writes included. */
#include "xen-glue/ring.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct ioreq ready(uint8_t type, uint64_t addr, uint32_t size, uint64_t data)
{
    return (struct ioreq){ .addr = addr,
                           .data = data,
                           .count = 1,
                           .size = size,
                           .vp_eport = 77,
                           .state = STATE_IOREQ_READY,
                           .dir = IOREQ_READ,
                           .type = type };
}

static void test_ring_take_copies_a_ready_slot(void **state)
{
    (void)state;
    struct ioreq s = ready(IOREQ_TYPE_COPY, 0xfedcba9876543210, 4, 0x1234);
    struct ring_item it;
    s.dir = IOREQ_WRITE;
    s.df = 1;
    s.data_is_ptr = 1;
    s.count = 9;
    ring_take(&s, &it);
    assert_int_equal(it.kind, RING_IO);
    assert_int_equal(s.state, STATE_IOREQ_INPROCESS);
    assert_int_equal(it.req.space, IO_MMIO);
    assert_true(it.req.addr == 0xfedcba9876543210);
    assert_int_equal(it.req.data, 0x1234);
    assert_int_equal(it.req.count, 9);
    assert_int_equal(it.req.size, 4);
    assert_true(it.req.write && it.req.df && it.req.data_is_ptr);
}

static void test_ring_answer_writes_data_of_reads_and_keeps_the_rest(void **state)
{
    (void)state;
    struct ioreq s = ready(IOREQ_TYPE_PIO, 0x1f7, 1, 0);
    struct ioreq want = s;
    struct ring_item it;
    ring_take(&s, &it);
    it.req.data = 0x50;
    ring_answer(&s, &it);
    want.state = STATE_IORESP_READY;
    want.data = 0x50;
    assert_memory_equal(&s, &want, sizeof(s));
}

static void test_ring_answer_leaves_data_of_writes_and_strings(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct ioreq s = ready(IOREQ_TYPE_PIO, 0x1f0, 2, 0xabcd);
        struct ring_item it;
        s.dir = i ? IOREQ_READ : IOREQ_WRITE;
        s.data_is_ptr = i & 1u;
        ring_take(&s, &it);
        it.req.data = 1;
        ring_answer(&s, &it);
        assert_int_equal(s.data, 0xabcd);
        assert_int_equal(s.state, STATE_IORESP_READY);
    }
}

static void test_ring_take_leaves_every_other_state_alone(void **state)
{
    (void)state;
    for (uint8_t st = 0; st < 16; st++) {
        struct ioreq s = ready(IOREQ_TYPE_PIO, 0x60, 1, 0), was;
        struct ring_item it;
        s.state = st & 15u;
        was = s;
        ring_take(&s, &it);
        assert_int_equal(it.kind, st == STATE_IOREQ_READY ? RING_IO : RING_IDLE);
        assert_true(st == STATE_IOREQ_READY || !memcmp(&s, &was, sizeof(s)));
    }
}

static enum ring_kind kind_of(struct ioreq s)
{
    struct ring_item it;
    ring_take(&s, &it);
    if (it.kind == RING_BAD) {
        ring_answer(&s, &it);
        assert_true(s.data == UINT64_MAX);
        assert_int_equal(s.state, STATE_IORESP_READY);
    }
    return it.kind;
}

static void test_ring_take_refuses_impossible_sizes_and_counts(void **state)
{
    (void)state;
    for (uint32_t size = 0; size < 40; size++) {
        bool good = size == 1 || size == 2 || size == 4 || size == 8;
        assert_int_equal(kind_of(ready(IOREQ_TYPE_PIO, 0x80, size, 0)), good ? RING_IO : RING_BAD);
    }
    assert_int_equal(kind_of(ready(IOREQ_TYPE_PIO, 0x80, 0x101, 0)), RING_BAD);
    assert_int_equal(kind_of(ready(IOREQ_TYPE_PIO, 0x80, 0xffffffff, 0)), RING_BAD);
    static const uint32_t counts[] = { 0, IO_REQ_MAX_COUNT + 1, 0x80000000, 0xffffffff };
    for (size_t i = 0; i < 4; i++) {
        struct ioreq s = ready(IOREQ_TYPE_COPY, 0xa0000, 1, 0);
        s.count = counts[i];
        assert_int_equal(kind_of(s), RING_BAD);
    }
    struct ioreq most = ready(IOREQ_TYPE_COPY, 0xa0000, 1, 0);
    most.count = IO_REQ_MAX_COUNT;
    assert_int_equal(kind_of(most), RING_IO);
}

static void test_ring_take_refuses_ports_beyond_16_bits(void **state)
{
    (void)state;
    assert_int_equal(kind_of(ready(IOREQ_TYPE_PIO, 0xffff, 4, 0)), RING_IO);
    assert_int_equal(kind_of(ready(IOREQ_TYPE_PIO, 0x10000, 1, 0)), RING_BAD);
    assert_int_equal(kind_of(ready(IOREQ_TYPE_PIO, 0xffffffff00000060, 1, 0)), RING_BAD);
}

static void test_ring_take_knows_every_type(void **state)
{
    (void)state;
    for (unsigned type = 0; type < 256; type++) {
        enum ring_kind want = type <= IOREQ_TYPE_PCI_CONFIG   ? RING_IO
                              : type == IOREQ_TYPE_TIMEOFFSET ? RING_TIMEOFFSET
                              : type == IOREQ_TYPE_INVALIDATE ? RING_INVALIDATE
                                                              : RING_BAD;
        assert_int_equal(kind_of(ready((uint8_t)type, 0x100, 4, 5)), want);
    }
}

/* XSA-197: what is in the slot after it was taken changes nothing. */
static void test_ring_when_slot_changes_after_take_then_the_copy_counts(void **state)
{
    (void)state;
    struct ioreq s = ready(IOREQ_TYPE_PIO, 0x1f0, 2, 0x1111), want;
    struct ring_item it, was;
    ring_take(&s, &it);
    was = it;
    memset(&s, 0xff, sizeof(s)); /* a pointer now, and a write, of 4 GiB */
    assert_memory_equal(&it, &was, sizeof(it));
    want = s;
    it.req.data = 0x2222;
    ring_answer(&s, &it);
    assert_int_equal(s.state, STATE_IORESP_READY);
    assert_int_equal(s.dir, IOREQ_READ); /* as it was when taken */
    assert_int_equal(s.data, 0x2222);
    assert_true(s.addr == want.addr && s.count == want.count && s.size == want.size);
}

static bool scribble_stop;

/* XSA-197 again: another processor writes while the slot is taken. */
static void *scribble(void *opaque)
{
    struct ioreq *s = opaque;
    uint64_t noise = 88172645463325252ull;
    while (!__atomic_load_n(&scribble_stop, __ATOMIC_RELAXED)) {
        for (size_t i = 0; i < sizeof(*s) / 8; i++) {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            uint64_t w = noise & 1 << 20 ? noise & 0x0000000300000003 : noise; /* often sane */
            __atomic_store_n((uint64_t *)(void *)s + i, w, __ATOMIC_RELAXED);
        }
        __atomic_store_n((uint8_t *)s + 30, STATE_IOREQ_READY, __ATOMIC_RELEASE);
    }
    return NULL;
}

static void test_ring_when_slot_changes_during_take_then_items_are_sane(void **state)
{
    (void)state;
    static _Alignas(8) struct ioreq s;
    struct ring_item it;
    pthread_t other;
    unsigned seen = 0;
    assert_int_equal(pthread_create(&other, NULL, scribble, &s), 0);
    for (unsigned i = 0; i < 2000000 || (seen == 0 && i < 200000000); i++) {
        if (i >= 2000000) { /* a busy machine: the other thread has not run yet */
            sched_yield();
        }
        ring_take(&s, &it);
        if (it.kind == RING_IO) {
            unsigned size = it.req.size;
            seen++;
            assert_true(size == 1 || size == 2 || size == 4 || size == 8);
            assert_in_range(it.req.count, 1, IO_REQ_MAX_COUNT);
            assert_true(it.req.space != IO_PIO || it.req.addr <= 0xffff);
        }
    }
    __atomic_store_n(&scribble_stop, true, __ATOMIC_RELAXED);
    pthread_join(other, NULL);
    assert_true(seen > 0);
}

static struct buffered_iopage page;

static void put(uint32_t at, uint8_t type, uint32_t addr, uint8_t log_size, uint32_t data)
{
    page.buf_ioreq[at % IOREQ_BUFFER_SLOT_NUM] = (struct buf_ioreq){
        .type = type, .size = log_size & 3u, .addr = addr & 0xfffff, .data = data
    };
}

static void pointers(uint32_t rd, uint32_t wr)
{
    page.read_pointer = rd;
    page.write_pointer = wr;
}

static void test_buffered_ring_gives_entries_in_order(void **state)
{
    (void)state;
    struct ring_item it;
    uint64_t wild = 0;
    pointers(510, 513); /* wraps behind the last slot */
    put(510, IOREQ_TYPE_COPY, 0xa0001, 0, 0x11);
    put(511, IOREQ_TYPE_COPY, 0xa0008, 3, 0x22222222);
    put(512, IOREQ_TYPE_COPY, 0, 0, 0x33333333);
    assert_int_equal(ring_buffered_waiting(&page, &wild), 3);
    assert_int_equal(ring_buffered_take(&page, 3, &it), 1);
    assert_int_equal(it.kind, RING_IO);
    assert_true(it.req.addr == 0xa0001 && it.req.data == 0x11 && it.req.size == 1 && it.req.write);
    ring_buffered_done(&page, 1);
    assert_int_equal(ring_buffered_take(&page, 2, &it), 2);
    assert_true(it.req.data == 0x3333333322222222 && it.req.size == 8);
    ring_buffered_done(&page, 2);
    assert_int_equal(page.read_pointer, 513);
    assert_int_equal(ring_buffered_waiting(&page, &wild), 0);
    assert_int_equal(wild, 0);
}

static void test_buffered_ring_with_wild_pointers_is_emptied(void **state)
{
    (void)state;
    static const uint32_t wild_pairs[][2] = {
        { 0, 512 }, { 5, 4 }, { 0, 0x80000000 }, { 0xffffffff, 0xfffffffe }, { 600, 0 },
    };
    for (size_t i = 0; i < 5; i++) {
        uint64_t wild = 0;
        pointers(wild_pairs[i][0], wild_pairs[i][1]);
        assert_int_equal(ring_buffered_waiting(&page, &wild), 0);
        assert_int_equal(wild, 1);
        assert_int_equal(page.read_pointer, page.write_pointer);
    }
    uint64_t wild = 0;
    pointers(0xfffffff0, 0x10); /* an index that wraps is not wild */
    assert_int_equal(ring_buffered_waiting(&page, &wild), 0x20);
    pointers(3, 3 + IOREQ_BUFFER_SLOT_NUM);
    assert_int_equal(ring_buffered_waiting(&page, &wild), IOREQ_BUFFER_SLOT_NUM);
    assert_int_equal(wild, 0);
}

static void test_buffered_ring_refuses_half_an_entry_reads_and_types(void **state)
{
    (void)state;
    struct ring_item it;
    pointers(0, 1);
    put(0, IOREQ_TYPE_COPY, 0xa0000, 3, 1);
    assert_int_equal(ring_buffered_take(&page, 1, &it), 1);
    assert_int_equal(it.kind, RING_BAD);
    put(0, IOREQ_TYPE_COPY, 0xa0000, 0, 1);
    page.buf_ioreq[0].dir = IOREQ_READ;
    ring_buffered_take(&page, 1, &it);
    assert_int_equal(it.kind, RING_BAD);
    put(0, 3, 0xa0000, 0, 1);
    ring_buffered_take(&page, 1, &it);
    assert_int_equal(it.kind, RING_BAD);
    put(0, IOREQ_TYPE_PIO, 0x10000, 0, 1); /* 20 address bits hold more than a port has */
    ring_buffered_take(&page, 1, &it);
    assert_int_equal(it.kind, RING_BAD);
    put(0, IOREQ_TYPE_TIMEOFFSET, 0, 3, 0xfffffffe);
    put(1, IOREQ_TYPE_TIMEOFFSET, 0, 3, 0xffffffff);
    assert_int_equal(ring_buffered_take(&page, 2, &it), 2);
    assert_int_equal(it.kind, RING_TIMEOFFSET);
    assert_true((int64_t)it.data == -2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ring_take_copies_a_ready_slot),
        cmocka_unit_test(test_ring_answer_writes_data_of_reads_and_keeps_the_rest),
        cmocka_unit_test(test_ring_answer_leaves_data_of_writes_and_strings),
        cmocka_unit_test(test_ring_take_leaves_every_other_state_alone),
        cmocka_unit_test(test_ring_take_refuses_impossible_sizes_and_counts),
        cmocka_unit_test(test_ring_take_refuses_ports_beyond_16_bits),
        cmocka_unit_test(test_ring_take_knows_every_type),
        cmocka_unit_test(test_ring_when_slot_changes_after_take_then_the_copy_counts),
        cmocka_unit_test(test_ring_when_slot_changes_during_take_then_items_are_sane),
        cmocka_unit_test(test_buffered_ring_gives_entries_in_order),
        cmocka_unit_test(test_buffered_ring_with_wild_pointers_is_emptied),
        cmocka_unit_test(test_buffered_ring_refuses_half_an_entry_reads_and_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
