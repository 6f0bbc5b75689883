/* SPDX-License-Identifier: MIT */
/* tests/unit/test-blkback.c - qdisk against a front end that behaves and one that does not. */
#include "xen-glue/blkback.h"

#include "fake-image.h"

#include "dm/base/bytes.h"
#include "dm/base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "pv-rig.h"

#include <xen/io/blkif.h>

#define BACK "/local/domain/0/backend/qdisk/7/51712/"
#define FRONT "/local/domain/7/device/vbd/51712/"

enum { RING_REF = 8, DATA = 100, LIST = 90, DISK_BYTES = 1 << 20, SLOT64 = 112, SLOT32 = 108 };

struct disk {
    struct blk *blk;
    struct fake_image *img;
    struct blkback *back;
    uint8_t *ring;
    unsigned slot, entries;
    uint32_t prod;
};

static struct disk *disk_up(void)
{
    struct disk *t = calloc(1, sizeof(*t));
    struct err e = { 0 };
    pv_rig_up();
    t->blk = fake_drive_new(rig.loop, "d", DISK_BYTES, &t->img);
    pv_rig_offer("/local/domain/0/backend/qdisk/7/51712", "/local/domain/7/device/vbd/51712");
    struct blkback_disk d = { .blk = t->blk, .discard = true };
    t->back = blkback_new(rig.bus, rig.loop, 51712, &d, &e);
    assert_non_null(t->back);
    pv_rig_turn();
    assert_string_equal(pv_rig_read(BACK "state"), "2");
    t->slot = SLOT64;
    t->entries = 32;
    return t;
}

static void disk_down(struct disk *t)
{
    blkback_free(t->back);
    assert_int_equal(blk_in_flight(t->blk), 0);
    blk_free(t->blk);
    pv_rig_down();
    free(t);
}

static void connect_front(struct disk *t)
{
    t->ring = t->ring ? t->ring : pv_rig_grant(RING_REF);
    *pv_rig_word(t->ring, 3) = 1;
    pv_rig_write(FRONT "ring-ref", "8");
    pv_rig_write(FRONT "event-channel", "33");
    pv_rig_write(FRONT "state", "3");
    pv_rig_turn();
}

static struct disk *connected(void)
{
    struct disk *t = disk_up();
    connect_front(t);
    assert_string_equal(pv_rig_read(BACK "state"), "4");
    return t;
}

static uint8_t *next_slot(struct disk *t)
{
    return memset(t->ring + 64 + t->prod++ % t->entries * t->slot, 0, t->slot);
}

static void put_segment(uint8_t *p, uint32_t ref, uint8_t first, uint8_t last)
{
    store_le(p, 4, ref);
    p[4] = first;
    p[5] = last;
}

/* A request of n whole pages from DATA on. */
static uint8_t *put(struct disk *t, uint8_t op, uint64_t id, uint64_t sector, uint8_t n)
{
    bool wide = t->slot == SLOT64;
    uint8_t *p = next_slot(t);
    p[0] = op;
    p[1] = n;
    store_le(p + (wide ? 8 : 4), 8, id);
    store_le(p + (wide ? 16 : 12), 8, sector);
    for (unsigned i = 0; i < n; i++) {
        put_segment(p + (wide ? 24 : 20) + 8 * i, DATA + i, 0, 7);
    }
    return p;
}

static void push(struct disk *t)
{
    *pv_rig_word(t->ring, 0) = t->prod;
    pv_rig_ring();
}

/* Status of response i, whose identifier must be id. */
static int answer(struct disk *t, uint32_t i, uint64_t id)
{
    const uint8_t *p = t->ring + 64 + i % t->entries * t->slot;
    assert_true((int32_t)(*pv_rig_word(t->ring, 2) - i) > 0);
    assert_int_equal(load_le64(p), id);
    return (int16_t)load_le16(p + 10);
}

static void assert_disk(uint32_t ref, uint64_t at, uint32_t off, uint32_t len)
{
    assert_fake((const uint8_t *)rig.grant[ref] + off, at, len);
}

/* ---- tests ---- */

static void test_blkback_handshake_goes_through_its_states(void **state)
{
    struct disk *t = connected();
    (void)state;
    assert_string_equal(pv_rig_read(BACK "feature-persistent"), "1");
    assert_string_equal(pv_rig_read(BACK "sectors"), "2048");
    assert_string_equal(pv_rig_read(BACK "sector-size"), "512");
    assert_string_equal(pv_rig_read(BACK "info"), "0");
    pv_rig_write(FRONT "state", "5");
    pv_rig_turn();
    assert_string_equal(pv_rig_read(BACK "state"), "5");
    assert_int_equal(rig.mapped, 0);
    pv_rig_write(FRONT "state", "6");
    pv_rig_turn();
    assert_string_equal(pv_rig_read(BACK "state"), "6");
    pv_rig_write(FRONT "state", "1"); /* another kernel */
    pv_rig_turn();
    assert_string_equal(pv_rig_read(BACK "state"), "2");
    connect_front(t);
    assert_string_equal(pv_rig_read(BACK "state"), "4");
    assert_false(blkback_closed(t->back));
    pv_rig_write(BACK "online", "0"); /* block-detach */
    pv_rig_write(BACK "state", "5");
    pv_rig_turn();
    assert_true(blkback_closed(t->back));
    assert_int_equal(rig.mapped, 0);
    assert_string_equal(pv_rig_read(BACK "state"), "5"); /* the image is still open */
    pv_say_closed(rig.bus, "qdisk", "51712");
    assert_string_equal(pv_rig_read(BACK "state"), "6");
    disk_down(t);
}

static void test_blkback_when_a_node_is_wrong_then_it_closes(void **state)
{
    static const char *const wrong[][2] = {
        { "ring-ref", "x" },        { "ring-ref", "599" },  { "event-channel", "34" },
        { "ring-page-order", "5" }, { "protocol", "ia64" }, { "ring-page-order", "1" },
    };
    struct disk *t = disk_up();
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        char path[80];
        snprintf(path, sizeof(path), FRONT "%s", wrong[i][0]);
        pv_rig_write(FRONT "ring-page-order", "0");
        pv_rig_write(FRONT "protocol", "x86_64-abi");
        pv_rig_write(FRONT "ring-ref", "8");
        pv_rig_write(FRONT "event-channel", "33");
        pv_rig_grant(RING_REF);
        pv_rig_write(path, wrong[i][1]);
        pv_rig_write(FRONT "state", "3");
        pv_rig_turn();
        assert_string_equal(pv_rig_read(BACK "state"), "5");
        assert_int_equal(rig.mapped, 0);
        assert_int_equal(rig.bound, 0);
        pv_rig_write(FRONT "state", "1");
        pv_rig_turn();
        assert_string_equal(pv_rig_read(BACK "state"), "2");
    }
    disk_down(t);
}

static void check_transfers(struct disk *t)
{
    for (unsigned i = 0; i < 11; i++) {
        memset(pv_rig_grant(DATA + i), 0, PV_PAGE);
    }
    uint32_t first = *pv_rig_word(t->ring, 2);
    put(t, BLKIF_OP_READ, 0x1122334455667788, 16, 11);
    push(t);
    assert_int_equal(answer(t, first, 0x1122334455667788), 0);
    for (unsigned i = 0; i < 11; i++) {
        assert_disk(DATA + i, 16 * 512 + i * 4096, 0, 4096);
    }
    uint8_t *p = put(t, BLKIF_OP_READ, 2, 3, 2); /* parts of pages */
    unsigned seg = t->slot == SLOT64 ? 24 : 20;
    put_segment(p + seg, DATA, 2, 4);
    put_segment(p + seg + 8, DATA + 1, 7, 7);
    push(t);
    assert_int_equal(answer(t, first + 1, 2), 0);
    assert_disk(DATA, 3 * 512, 1024, 3 * 512);
    assert_disk(DATA + 1, 6 * 512, 7 * 512, 512);
    memset(rig.grant[DATA], 0x5a, PV_PAGE);
    put(t, BLKIF_OP_WRITE, 3, 100, 1);
    put(t, BLKIF_OP_FLUSH_DISKCACHE, 4, 0, 0);
    push(t);
    assert_int_equal(answer(t, first + 2, 3), 0);
    assert_int_equal(answer(t, first + 3, 4), 0);
    assert_int_equal(t->img->data[100 * 512], 0x5a);
    assert_int_equal(t->img->data[108 * 512 - 1], 0x5a);
    assert_int_equal(t->img->data[108 * 512], fake_byte(108 * 512));
    assert_int_equal(t->img->count[BLK_FLUSH], 1);
}

static void test_blkback_reads_writes_and_flushes_by_copies(void **state)
{
    struct disk *t = connected();
    (void)state;
    check_transfers(t);
    assert_int_equal(rig.mapped, 1); /* the ring */
    assert_true(rig.notified >= 1);
    disk_down(t);
}

static void test_blkback_persistent_grants_stay_mapped(void **state)
{
    struct disk *t = disk_up();
    (void)state;
    pv_rig_write(FRONT "feature-persistent", "1");
    connect_front(t);
    check_transfers(t);
    assert_int_equal(rig.mapped, 1 + 11);
    disk_down(t);
}

static void test_blkback_speaks_to_32_bit_guests(void **state)
{
    struct disk *t = disk_up();
    (void)state;
    pv_rig_write(FRONT "protocol", "x86_32-abi");
    t->slot = SLOT32;
    connect_front(t);
    check_transfers(t);
    disk_down(t);
}

static void test_blkback_rings_of_several_pages(void **state)
{
    struct disk *t = disk_up();
    (void)state;
    t->ring = pv_rig_grant_run(RING_REF, 4);
    pv_rig_write(FRONT "ring-page-order", "2");
    pv_rig_write(FRONT "ring-ref0", "8");
    pv_rig_write(FRONT "ring-ref1", "9");
    pv_rig_write(FRONT "ring-ref2", "10");
    pv_rig_write(FRONT "ring-ref3", "11");
    t->entries = 128;
    connect_front(t);
    pv_rig_grant(DATA);
    for (unsigned i = 0; i < 128; i++) {
        put(t, BLKIF_OP_READ, i, i, 1);
    }
    push(t);
    for (unsigned i = 0; i < 128; i++) {
        assert_int_equal(answer(t, i, i), 0);
    }
    assert_disk(DATA, 127 * 512, 0, 4096);
    disk_down(t);
}

static void put_indirect(struct disk *t, uint64_t id, uint16_t n, uint8_t op)
{
    uint8_t *p = next_slot(t);
    p[0] = BLKIF_OP_INDIRECT;
    p[1] = op;
    store_le(p + 2, 2, n);
    store_le(p + 8, 8, id);
    store_le(p + 28, 4, LIST);
}

static void test_blkback_indirect_segments_and_discard(void **state)
{
    struct disk *t = connected();
    uint8_t *list = pv_rig_grant(LIST);
    (void)state;
    for (unsigned i = 0; i < 32; i++) {
        pv_rig_grant(DATA + i);
        put_segment(list + 8 * i, DATA + i, 0, 7);
    }
    put_indirect(t, 1, 32, BLKIF_OP_READ);
    push(t);
    assert_int_equal(answer(t, 0, 1), 0);
    assert_disk(DATA + 31, 31 * 4096, 0, 4096);
    put_indirect(t, 2, 33, BLKIF_OP_READ);
    put_indirect(t, 3, 1, BLKIF_OP_DISCARD);
    uint8_t *p = put(t, BLKIF_OP_DISCARD, 4, 8, 0);
    store_le(p + 24, 8, 16);
    p = put(t, BLKIF_OP_DISCARD, 5, 2040, 0);
    store_le(p + 24, 8, 9);
    p = put(t, BLKIF_OP_DISCARD, 6, 0, 0);
    store_le(p + 24, 8, UINT64_MAX / 256);
    push(t);
    assert_int_equal(answer(t, 1, 2), BLKIF_RSP_ERROR);
    assert_int_equal(answer(t, 2, 3), BLKIF_RSP_ERROR);
    assert_int_equal(answer(t, 3, 5), BLKIF_RSP_ERROR);
    assert_int_equal(answer(t, 4, 6), BLKIF_RSP_ERROR);
    assert_int_equal(answer(t, 5, 4), 0); /* the drive comes last */
    assert_int_equal(t->img->data[8 * 512], 0);
    assert_int_equal(t->img->data[24 * 512 - 1], 0);
    assert_int_equal(t->img->data[24 * 512], fake_byte(24 * 512));
    disk_down(t);
}

static void test_blkback_when_requests_are_wrong_then_errors(void **state)
{
    struct disk *t = connected();
    uint8_t *p;
    (void)state;
    pv_rig_grant(DATA);
    put(t, 99, 1, 0, 1); /* no such operation */
    put(t, BLKIF_OP_READ, 2, 0, 12);
    put(t, BLKIF_OP_READ, 3, 2041, 1); /* past the end */
    put(t, BLKIF_OP_READ, 4, UINT64_MAX / 512, 1);
    p = put(t, BLKIF_OP_WRITE, 5, 0, 1);
    put_segment(p + 24, 599, 0, 7); /* not granted */
    p = put(t, BLKIF_OP_READ, 6, 0, 1);
    put_segment(p + 24, DATA, 4, 3);
    p = put(t, BLKIF_OP_READ, 7, 0, 1);
    put_segment(p + 24, DATA, 0, 8);
    put(t, BLKIF_OP_READ, 8, 0, 0); /* nothing */
    push(t);
    assert_int_equal(answer(t, 0, 1), BLKIF_RSP_EOPNOTSUPP);
    for (unsigned i = 1; i < 8; i++) {
        assert_int_equal(answer(t, i, i + 1), BLKIF_RSP_ERROR);
    }
    t->img->fail = -EIO;
    put(t, BLKIF_OP_READ, 9, 0, 1);
    push(t);
    assert_int_equal(answer(t, 8, 9), BLKIF_RSP_ERROR);
    t->img->base.read_only = true;
    put(t, BLKIF_OP_WRITE, 10, 0, 1);
    push(t);
    assert_int_equal(answer(t, 9, 10), BLKIF_RSP_ERROR);
    assert_string_equal(pv_rig_read(BACK "state"), "4");
    disk_down(t);
}

static void test_blkback_when_front_end_vanishes_in_flight_then_taken_back(void **state)
{
    struct disk *t = connected();
    (void)state;
    pv_rig_grant(DATA);
    t->img->hold = t->img->no_wait = true;
    put(t, BLKIF_OP_READ, 1, 0, 1);
    put(t, BLKIF_OP_WRITE, 2, 0, 1);
    push(t);
    assert_int_equal(blk_in_flight(t->blk), 2);
    pv_rig_write(FRONT "state", "6");
    pv_rig_turn();
    assert_int_equal(blk_in_flight(t->blk), 0);
    assert_int_equal(rig.mapped, 0);
    disk_down(t);
}

static void test_blkback_when_index_cannot_be_then_closed_until_it_starts_anew(void **state)
{
    struct disk *t = connected();
    (void)state;
    *pv_rig_word(t->ring, 0) = 33;
    pv_rig_ring();
    assert_string_equal(pv_rig_read(BACK "state"), "5");
    assert_int_equal(rig.mapped, 0);
    pv_rig_ring();
    pv_rig_write(FRONT "state", "1");
    pv_rig_turn();
    assert_string_equal(pv_rig_read(BACK "state"), "2");
    memset(t->ring, 0, PV_PAGE);
    t->prod = 0;
    connect_front(t);
    check_transfers(t);
    disk_down(t);
}

static void test_blkback_when_the_disk_grows_then_the_guest_is_told(void **state)
{
    struct disk *t = connected();
    (void)state;
    t->img->base.len = DISK_BYTES / 2;
    blkback_resized(t->back);
    assert_string_equal(pv_rig_read(BACK "sectors"), "1024");
    assert_string_equal(pv_rig_read(BACK "state"), "4");
    blk_set_image(t->blk, NULL);
    blkback_resized(t->back);
    pv_rig_grant(DATA);
    put(t, BLKIF_OP_READ, 1, 0, 1);
    push(t);
    assert_string_equal(pv_rig_read(BACK "sectors"), "0");
    assert_int_equal(answer(t, 0, 1), BLKIF_RSP_ERROR);
    disk_down(t);
}

/* Noise in the ring: every answer is some answer, nothing else happens. */
static void test_blkback_when_rings_hold_noise_then_nothing_bad_happens(void **state)
{
    uint64_t s = 1;
    (void)state;
    for (unsigned round = 0; round < 60; round++) {
        struct disk *t = disk_up();
        pv_rig_write(FRONT "feature-persistent", round & 1 ? "1" : "0");
        t->slot = round & 2 ? SLOT32 : SLOT64;
        pv_rig_write(FRONT "protocol", round & 2 ? "x86_32-abi" : "x86_64-abi");
        connect_front(t);
        for (unsigned i = 0; i < 12; i++) {
            memset(pv_rig_grant(DATA + i), (int)i, PV_PAGE);
        }
        for (unsigned n = 0; n < 64; n++) {
            uint8_t *p = next_slot(t);
            for (unsigned i = 0; i < t->slot; i++) {
                s = s * 6364136223846793005u + 1442695040888963407u;
                p[i] = (uint8_t)((s >> 33) & (i < 2 || i % 8 == 0 ? 7 : s >> 50 & 1 ? 0xff : 0));
            }
            if (n % 4) {
                put_segment(p + (round & 2 ? 20 : 24), DATA + n % 12, 0, 7);
            }
            push(t);
            t->prod = n % 8 ? t->prod : *pv_rig_word(t->ring, 2);
        }
        disk_down(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blkback_handshake_goes_through_its_states),
        cmocka_unit_test(test_blkback_when_a_node_is_wrong_then_it_closes),
        cmocka_unit_test(test_blkback_reads_writes_and_flushes_by_copies),
        cmocka_unit_test(test_blkback_persistent_grants_stay_mapped),
        cmocka_unit_test(test_blkback_speaks_to_32_bit_guests),
        cmocka_unit_test(test_blkback_rings_of_several_pages),
        cmocka_unit_test(test_blkback_indirect_segments_and_discard),
        cmocka_unit_test(test_blkback_when_requests_are_wrong_then_errors),
        cmocka_unit_test(test_blkback_when_front_end_vanishes_in_flight_then_taken_back),
        cmocka_unit_test(test_blkback_when_index_cannot_be_then_closed_until_it_starts_anew),
        cmocka_unit_test(test_blkback_when_the_disk_grows_then_the_guest_is_told),
        cmocka_unit_test(test_blkback_when_rings_hold_noise_then_nothing_bad_happens),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
