/* SPDX-License-Identifier: MIT */
/* tests/unit/test-nvme.c - the NVMe controller through its door. NVMe 1.4. */
#include "fake-image.h"
#include "pc-loop.h"

#include "dm/base/bytes.h"
#include "hw/storage/nvme-int.h"

enum {
    BAR = 0xe0000000u,
    FN = 4 << 3,
    DISK_BYTES = 4 << 20,
    REG_CC = BAR + 0x14,
    REG_CSTS = BAR + 0x1c,
    ASQ = 0x10000,
    ACQ = 0x11000,
    IOSQ = 0x12000,
    IOCQ = 0x13000,
    DATA = 0x20000, /* 128 KiB */
    LIST = 0x50000,
    ENTRIES = 8,
};

struct rig {
    struct flat_pc pc;
    struct ev_loop *loop;
    struct blk *blk;
    struct fake_image *img;
    struct nvme *n;
    unsigned tail[2], head[2]; /* admin, I/O */
    bool phase[2];
};

static void make(struct rig *r)
{
    memset(r, 0, sizeof(*r));
    pc_make(&r->pc, true);
    r->loop = pc_loop_new(&r->pc);
    r->blk = fake_drive_new(r->loop, "d", DISK_BYTES, &r->img);
    struct device *d = dev_new(r->pc.m, &nvme_class, NULL);
    dev_set_str(d, "addr", "4");
    dev_set_str(d, "serial", "S1");
    dev_set_ptr(d, "drive", r->blk);
    r->n = (struct nvme *)pc_start(d);
    cfg_set(&r->pc, FN, PCI_BAR0, 4, BAR);
    cfg_set(&r->pc, FN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void destroy(struct rig *r)
{
    settle(r->loop);
    machine_free(r->pc.m);
    blk_free(r->blk);
    ev_loop_free(r->loop);
    flat_free(r->pc.f);
}

static void set32(struct rig *r, uint32_t at, uint32_t v)
{
    io_write(r->pc.m, IO_MMIO, at, 4, v);
}

static uint32_t get32(struct rig *r, uint32_t at)
{
    return (uint32_t)io_read(r->pc.m, IO_MMIO, at, 4);
}

static void enable(struct rig *r)
{
    set32(r, BAR + 0x24, (ENTRIES - 1) << 16 | (ENTRIES - 1));
    io_write(r->pc.m, IO_MMIO, BAR + 0x28, 8, ASQ);
    io_write(r->pc.m, IO_MMIO, BAR + 0x30, 8, ACQ);
    set32(r, REG_CC, 0x00460001);
    assert_int_equal(get32(r, REG_CSTS), 1);
    memset(r->tail, 0, sizeof(r->tail));
    memset(r->head, 0, sizeof(r->head));
    r->phase[0] = r->phase[1] = true;
    memset(r->pc.f->ram + ASQ, 0, 0x4000);
}

/* Puts e into queue q (0 admin, 1 I/O) without ringing. */
static void put(struct rig *r, unsigned q, struct nvme_sqe e)
{
    uint32_t base = q ? IOSQ : ASQ;
    memcpy(r->pc.f->ram + base + r->tail[q] * NVME_SQE, &e, sizeof(e));
    r->tail[q] = (r->tail[q] + 1) % ENTRIES;
}

static void ring(struct rig *r, unsigned q)
{
    set32(r, BAR + 0x1000 + q * 8, r->tail[q]);
    settle(r->loop);
}

static const uint8_t *peek(struct rig *r, unsigned q)
{
    return r->pc.f->ram + (q ? IOCQ : ACQ) + r->head[q] * NVME_CQE;
}

static bool waiting(struct rig *r, unsigned q)
{
    return (load_le16(peek(r, q) + 14) & 1) == r->phase[q];
}

/* Takes the next completion: its status; result and identifier on demand. */
static unsigned take(struct rig *r, unsigned q, uint32_t *result, unsigned *cid)
{
    const uint8_t *e = peek(r, q);
    assert_true(waiting(r, q));
    if (result) {
        *result = load_le32(e);
    }
    if (cid) {
        *cid = load_le16(e + 12);
    }
    unsigned status = load_le16(e + 14) >> 1;
    if (++r->head[q] == ENTRIES) {
        r->head[q] = 0;
        r->phase[q] = !r->phase[q];
    }
    set32(r, BAR + 0x1004 + q * 8, r->head[q]);
    settle(r->loop);
    return status;
}

static unsigned admin(struct rig *r, struct nvme_sqe e, uint32_t *result)
{
    put(r, 0, e);
    ring(r, 0);
    return take(r, 0, result, NULL);
}

static struct nvme_sqe sqe(uint8_t opcode, uint64_t prp1, uint32_t cdw10, uint32_t cdw11)
{
    return (
        struct nvme_sqe){ .opcode = opcode, .cid = 0x77, .prp1 = prp1, .cdw = { cdw10, cdw11 } };
}

static void io_queues(struct rig *r)
{
    assert_int_equal(admin(r, sqe(5, IOCQ, (ENTRIES - 1) << 16 | 1, 1 << 16 | 3), NULL), NVME_OK);
    assert_int_equal(admin(r, sqe(1, IOSQ, (ENTRIES - 1) << 16 | 1, 1 << 16 | 1), NULL), NVME_OK);
}

static struct nvme_sqe rw(uint8_t opcode, uint64_t lba, unsigned blocks, uint64_t prp1,
                          uint64_t prp2)
{
    return (struct nvme_sqe){ .opcode = opcode,
                              .cid = (uint16_t)lba,
                              .nsid = 1,
                              .prp1 = prp1,
                              .prp2 = prp2,
                              .cdw = { (uint32_t)lba, (uint32_t)(lba >> 32), blocks - 1 } };
}

static unsigned io(struct rig *r, struct nvme_sqe e)
{
    put(r, 1, e);
    ring(r, 1);
    return take(r, 1, NULL, NULL);
}

static void assert_disk_bytes(struct rig *r, uint32_t gpa, uint64_t at, uint32_t len)
{
    assert_fake(r->pc.f->ram + gpa, at, len);
}

static void test_nvme_when_read_then_registers_are_the_data_sheets(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    assert_int_equal(io_read(r.pc.m, IO_MMIO, BAR, 8), 0x000000200f0103ffull);
    assert_int_equal(get32(&r, BAR + 8), 0x00010400);
    assert_int_equal(get32(&r, REG_CSTS), 0);
    set32(&r, BAR + 0x0c, 0x5);
    set32(&r, BAR + 0x10, 0x4);
    assert_int_equal(get32(&r, BAR + 0x0c), 1);
    destroy(&r);
}

static void test_nvme_when_enabled_badly_then_fatal_status(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    set32(&r, REG_CC, 1); /* queues of one entry */
    assert_int_equal(get32(&r, REG_CSTS), 2);
    set32(&r, REG_CC, 0);
    assert_int_equal(get32(&r, REG_CSTS), 0);
    set32(&r, BAR + 0x24, 0x00070007);
    set32(&r, BAR + 0x28, ASQ + 8);
    set32(&r, REG_CC, 1);
    assert_int_equal(get32(&r, REG_CSTS), 2);
    set32(&r, REG_CC, 0);
    enable(&r);
    set32(&r, REG_CC, 0x00464001); /* normal shutdown */
    assert_int_equal(get32(&r, REG_CSTS), 9);
    destroy(&r);
}

static void test_nvme_identify_tells_controller_and_namespace(void **state)
{
    struct rig r;
    uint32_t result;
    (void)state;
    make(&r);
    enable(&r);
    assert_int_equal(admin(&r, sqe(6, DATA, 1, 0), NULL), NVME_OK);
    assert_memory_equal(r.pc.f->ram + DATA + 4, "S1                  ", 20);
    assert_int_equal(r.pc.f->ram[DATA + 77], 5);
    struct nvme_sqe e = sqe(6, DATA, 0, 0);
    e.nsid = 1;
    assert_int_equal(admin(&r, e, NULL), NVME_OK);
    assert_int_equal(load_le64(r.pc.f->ram + DATA), DISK_BYTES / 512);
    assert_int_equal(admin(&r, sqe(6, DATA, 2, 0), NULL), NVME_OK);
    assert_int_equal(load_le32(r.pc.f->ram + DATA), 1);
    assert_int_equal(admin(&r, sqe(6, DATA, 9, 0), NULL), NVME_INVALID_FIELD | NVME_DNR);
    assert_int_equal(admin(&r, sqe(9, 0, 7, 0x00ff00ff), &result), NVME_OK);
    assert_int_equal(result, 0x000f000f);
    assert_int_equal(admin(&r, sqe(10, 0, 6, 0), &result), NVME_OK);
    assert_int_equal(result, 1);
    assert_int_equal(admin(&r, sqe(0x99, 0, 0, 0), NULL), NVME_INVALID_OPCODE | NVME_DNR);
    destroy(&r);
}

static void test_nvme_reads_and_writes_through_every_shape_of_prp(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    enable(&r);
    io_queues(&r);
    assert_int_equal(io(&r, rw(2, 3, 1, DATA, 0)), NVME_OK);
    assert_disk_bytes(&r, DATA, 3 * 512, 512);
    assert_int_equal(io(&r, rw(2, 8, 8, DATA + 512, DATA + 0x4000)), NVME_OK); /* two pages */
    assert_disk_bytes(&r, DATA + 512, 8 * 512, 4096 - 512);
    assert_disk_bytes(&r, DATA + 0x4000, 8 * 512 + 4096 - 512, 512);
    for (unsigned i = 0; i < 31; i++) { /* a list, pages in reverse */
        store_le(r.pc.f->ram + LIST + i * 8, 8, DATA + (31 - i) * 4096);
    }
    assert_int_equal(io(&r, rw(2, 100, 256, DATA, LIST)), NVME_OK);
    assert_disk_bytes(&r, DATA, 100 * 512, 4096);
    assert_disk_bytes(&r, DATA + 31 * 4096, 100 * 512 + 4096, 4096);
    assert_disk_bytes(&r, DATA + 4096, 100 * 512 + 31 * 4096, 4096);
    memset(r.pc.f->ram + DATA, 0xa5, 1024);
    assert_int_equal(io(&r, rw(1, 2000, 2, DATA, 0)), NVME_OK);
    assert_int_equal(r.img->data[2000 * 512], 0xa5);
    assert_int_equal(r.img->data[2002 * 512 - 1], 0xa5);
    assert_int_equal(r.img->data[2002 * 512], fake_byte(2002 * 512));
    destroy(&r);
}

static void test_nvme_list_may_go_on_in_another_page(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    enable(&r);
    io_queues(&r);
    store_le(r.pc.f->ram + LIST + 4096 - 16, 8, DATA + 4096);
    store_le(r.pc.f->ram + LIST + 4096 - 8, 8, LIST + 8192);
    store_le(r.pc.f->ram + LIST + 8192, 8, DATA + 2 * 4096);
    store_le(r.pc.f->ram + LIST + 8192 + 8, 8, DATA + 3 * 4096);
    assert_int_equal(io(&r, rw(2, 0, 32, DATA, LIST + 4096 - 16)), NVME_OK);
    assert_disk_bytes(&r, DATA, 0, 4 * 4096);
    /* the last entry of a page is data when nothing follows */
    store_le(r.pc.f->ram + LIST + 4096 - 8, 8, DATA + 5 * 4096);
    assert_int_equal(io(&r, rw(2, 64, 24, DATA, LIST + 4096 - 16)), NVME_OK);
    assert_disk_bytes(&r, DATA + 5 * 4096, 64 * 512 + 2 * 4096, 4096);
    destroy(&r);
}

static void test_nvme_refuses_what_does_not_fit(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    enable(&r);
    io_queues(&r);
    uint64_t all = DISK_BYTES / 512;
    assert_int_equal(io(&r, rw(2, all, 1, DATA, 0)), NVME_LBA_OUT_OF_RANGE | NVME_DNR);
    assert_int_equal(io(&r, rw(2, UINT64_MAX, 2, DATA, 0)), NVME_LBA_OUT_OF_RANGE | NVME_DNR);
    assert_int_equal(io(&r, rw(2, 0, 257, DATA, LIST)), NVME_INVALID_FIELD | NVME_DNR);
    assert_int_equal(io(&r, rw(2, 0, 1, DATA + 1, 0)), NVME_INVALID_PRP_OFFSET | NVME_DNR);
    assert_int_equal(io(&r, rw(1, 0, 16, DATA, DATA + 2)), NVME_INVALID_PRP_OFFSET | NVME_DNR);
    assert_int_equal(io(&r, rw(2, 0, 1, 0xffffffff000ull, 0)), NVME_DATA_TRANSFER_ERROR);
    assert_int_equal(io(&r, rw(2, 0, 1, BAR, 0)), NVME_DATA_TRANSFER_ERROR);
    struct nvme_sqe e = rw(2, 0, 1, DATA, 0);
    e.nsid = 2;
    assert_int_equal(io(&r, e), NVME_INVALID_NAMESPACE | NVME_DNR);
    e = rw(2, 0, 1, DATA, 0);
    e.flags = 0x40;
    assert_int_equal(io(&r, e), NVME_INVALID_FIELD | NVME_DNR);
    assert_int_equal(io(&r, rw(0x42, 0, 1, DATA, 0)), NVME_INVALID_OPCODE | NVME_DNR);
    r.img->fail = -EIO;
    assert_int_equal(io(&r, rw(2, 0, 1, DATA, 0)), NVME_READ_ERROR);
    assert_int_equal(io(&r, rw(1, 0, 1, DATA, 0)), NVME_WRITE_FAULT);
    r.img->fail = -ENOSPC;
    assert_int_equal(io(&r, rw(1, 0, 1, DATA, 0)), NVME_CAPACITY_EXCEEDED);
    destroy(&r);
}

static void test_nvme_flush_and_discard_reach_the_drive(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    enable(&r);
    io_queues(&r);
    assert_int_equal(io(&r, rw(0, 0, 1, 0, 0)), NVME_OK);
    assert_int_equal(r.img->count[BLK_FLUSH], 1);
    uint8_t *p = r.pc.f->ram + DATA;
    memset(p, 0, 48);
    store_le(p + 4, 4, 8);
    store_le(p + 8, 8, 16);
    store_le(p + 32 + 4, 4, 2);
    store_le(p + 32 + 8, 8, 100);
    struct nvme_sqe e = rw(9, 2, 1, DATA, 0); /* three ranges, the middle one empty */
    e.cdw[1] = 4;
    assert_int_equal(io(&r, e), NVME_OK);
    assert_int_equal(r.img->count[BLK_DISCARD], 2);
    assert_int_equal(r.img->data[16 * 512], 0);
    assert_int_equal(r.img->data[101 * 512], 0);
    assert_int_equal(r.img->data[102 * 512], fake_byte(102 * 512));
    store_le(p + 32 + 8, 8, DISK_BYTES / 512 - 1);
    assert_int_equal(io(&r, e), NVME_LBA_OUT_OF_RANGE | NVME_DNR);
    assert_int_equal(r.img->count[BLK_DISCARD], 2);
    destroy(&r);
}

static void test_nvme_completion_queue_when_full_then_commands_wait(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    enable(&r);
    io_queues(&r);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < ENTRIES - 1; i++) {
            put(&r, 1, rw(2, i, 1, DATA, 0));
        }
        ring(&r, 1);
        if (round == 0) { /* seven wait for us; seven more may not overwrite them */
            continue;
        }
        assert_int_equal(r.img->count[BLK_READ], ENTRIES - 1);
        for (unsigned i = 0; i < 2 * (ENTRIES - 1); i++) {
            unsigned cid;
            assert_int_equal(take(&r, 1, NULL, &cid), NVME_OK);
            assert_int_equal(cid, i % (ENTRIES - 1));
        }
        assert_false(waiting(&r, 1));
    }
    destroy(&r);
}

static void test_nvme_interrupts_follow_queue_and_mask(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    enable(&r);
    put(&r, 0, sqe(10, 0, 6, 0));
    ring(&r, 0);
    assert_true(r.pc.f->intx[FN][0]);
    set32(&r, BAR + 0x0c, 1);
    assert_false(r.pc.f->intx[FN][0]);
    set32(&r, BAR + 0x10, 1);
    assert_true(r.pc.f->intx[FN][0]);
    take(&r, 0, NULL, NULL);
    assert_false(r.pc.f->intx[FN][0]);
    destroy(&r);
}

static void test_nvme_queues_when_misused_then_an_error(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    enable(&r);
    uint32_t size = (ENTRIES - 1) << 16;
    assert_int_equal(admin(&r, sqe(5, IOCQ, size | 0, 1), NULL), NVME_QID_INVALID | NVME_DNR);
    assert_int_equal(admin(&r, sqe(5, IOCQ, size | 99, 1), NULL), NVME_QID_INVALID | NVME_DNR);
    assert_int_equal(admin(&r, sqe(5, IOCQ, 1, 1), NULL), NVME_QSIZE_INVALID | NVME_DNR);
    assert_int_equal(admin(&r, sqe(5, IOCQ, 0xffff0001, 1), NULL), NVME_QSIZE_INVALID | NVME_DNR);
    assert_int_equal(admin(&r, sqe(5, IOCQ, size | 1, 0), NULL), NVME_INVALID_FIELD | NVME_DNR);
    assert_int_equal(admin(&r, sqe(5, IOCQ, size | 1, 99 << 16 | 1), NULL),
                     NVME_VECTOR_INVALID | NVME_DNR);
    assert_int_equal(admin(&r, sqe(1, IOSQ, size | 1, 1 << 16 | 1), NULL),
                     NVME_CQ_INVALID | NVME_DNR);
    io_queues(&r);
    assert_int_equal(admin(&r, sqe(4, 0, 1, 0), NULL), NVME_QUEUE_DELETION_INVALID | NVME_DNR);
    assert_int_equal(admin(&r, sqe(0, 0, 1, 0), NULL), NVME_OK);
    assert_int_equal(admin(&r, sqe(0, 0, 1, 0), NULL), NVME_QID_INVALID | NVME_DNR);
    assert_int_equal(admin(&r, sqe(4, 0, 1, 0), NULL), NVME_OK);
    set32(&r, BAR + 0x1000, 99); /* doorbells that lie */
    set32(&r, BAR + 0x1008, 1);
    set32(&r, BAR + 0x3ffc, 1);
    assert_int_equal(get32(&r, REG_CSTS), 1);
    destroy(&r);
}

static void test_nvme_when_a_queue_is_deleted_in_flight_then_taken_back(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    enable(&r);
    io_queues(&r);
    r.img->hold = r.img->no_wait = true;
    put(&r, 1, rw(2, 0, 8, DATA, 0));
    put(&r, 1, rw(1, 8, 8, DATA, 0));
    ring(&r, 1);
    assert_int_equal(blk_in_flight(r.blk), 2);
    assert_int_equal(admin(&r, sqe(0, 0, 1, 0), NULL), NVME_OK); /* delete submission queue 1 */
    assert_int_equal(blk_in_flight(r.blk), 0);
    assert_false(waiting(&r, 1));
    r.img->hold = false;
    assert_int_equal(admin(&r, sqe(1, IOSQ, (ENTRIES - 1) << 16 | 1, 1 << 16 | 1), NULL), NVME_OK);
    r.tail[1] = 0;
    assert_int_equal(io(&r, rw(2, 3, 1, DATA, 0)), NVME_OK);
    assert_disk_bytes(&r, DATA, 3 * 512, 512);
    destroy(&r);
}

static void test_nvme_when_disabled_in_flight_then_nothing_completes(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    enable(&r);
    io_queues(&r);
    r.img->hold = true;
    put(&r, 1, rw(2, 0, 8, DATA, 0));
    put(&r, 1, rw(1, 9, 8, DATA, 0));
    ring(&r, 1);
    assert_int_equal(blk_in_flight(r.blk), 2);
    set32(&r, REG_CC, 0);
    assert_int_equal(blk_in_flight(r.blk), 0);
    assert_false(waiting(&r, 1));
    r.img->hold = false;
    enable(&r);
    io_queues(&r);
    assert_int_equal(io(&r, rw(2, 5, 1, DATA, 0)), NVME_OK);
    destroy(&r);
}

static void test_nvme_when_many_events_are_asked_for_then_limited(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    enable(&r);
    for (unsigned i = 0; i < NVME_MAX_AERS; i++) {
        put(&r, 0, sqe(12, 0, 0, 0));
        ring(&r, 0);
        assert_false(waiting(&r, 0));
    }
    assert_int_equal(admin(&r, sqe(12, 0, 0, 0), NULL), NVME_AER_LIMIT | NVME_DNR);
    for (unsigned i = 0; i < 3 * ENTRIES; i++) {
        assert_int_equal(admin(&r, sqe(10, 0, 6, 0), NULL), NVME_OK);
    }
    destroy(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nvme_when_read_then_registers_are_the_data_sheets),
        cmocka_unit_test(test_nvme_when_enabled_badly_then_fatal_status),
        cmocka_unit_test(test_nvme_identify_tells_controller_and_namespace),
        cmocka_unit_test(test_nvme_reads_and_writes_through_every_shape_of_prp),
        cmocka_unit_test(test_nvme_list_may_go_on_in_another_page),
        cmocka_unit_test(test_nvme_refuses_what_does_not_fit),
        cmocka_unit_test(test_nvme_flush_and_discard_reach_the_drive),
        cmocka_unit_test(test_nvme_completion_queue_when_full_then_commands_wait),
        cmocka_unit_test(test_nvme_interrupts_follow_queue_and_mask),
        cmocka_unit_test(test_nvme_queues_when_misused_then_an_error),
        cmocka_unit_test(test_nvme_when_a_queue_is_deleted_in_flight_then_taken_back),
        cmocka_unit_test(test_nvme_when_disabled_in_flight_then_nothing_completes),
        cmocka_unit_test(test_nvme_when_many_events_are_asked_for_then_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
