/* SPDX-License-Identifier: MIT */
/* tests/unit/test-virtio.c - virtqueues and the PCI transport, seen through a block device.
 * virtio 1.2, 2.7, 2.8, 4.1 and 5.2.
 */
#include "fake-image.h"
#include "pc-loop.h"

#include "dm/base/bytes.h"
#include "hw/virtio/virtio-blk.h"
#include "hw/virtio/virtio.h"

enum {
    BAR = 0xe0000000u,
    LEGACY = 0xc000,
    FN = 4 << 3,
    DISK_BYTES = 4 << 20,
    SIZE = 8,
    DESC = 0x10000,
    AVAIL = 0x11000,
    USED = 0x12000,
    HEADER = 0x20000,
    STATUS = 0x20100,
    TABLE = 0x21000,
    DATA = 0x30000,
    NEXT = 1,
    WRITE = 2,
    INDIRECT = 4,
    OK = 0x0f,             /* ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK */
    FEATURES = 0x30000000, /* INDIRECT_DESC, EVENT_IDX */
    VERSION_1 = 1,         /* of the high word */
    PACKED = 4,
    IS_AVAIL = 0x80,
    IS_USED = 0x8000,
    ID = 0x1234, /* any number */
};

struct rig {
    struct flat_pc pc;
    struct ev_loop *loop;
    struct blk *blk;
    struct fake_image *img;
    struct virtio_dev *v;
    unsigned avail, used;
};

static void make(struct rig *r)
{
    memset(r, 0, sizeof(*r));
    pc_make(&r->pc, true);
    r->loop = pc_loop_new(&r->pc);
    r->blk = fake_drive_new(r->loop, "d", DISK_BYTES, &r->img);
    struct device *d = dev_new(r->pc.m, &virtio_blk_class, NULL);
    dev_set_str(d, "addr", "4");
    dev_set_str(d, "serial", "S1");
    dev_set_ptr(d, "drive", r->blk);
    dev_set_u32(d, "queue-size", SIZE);
    dev_set_bool(d, "packed", true); /* offered; those who do not choose it see no difference */
    r->v = (struct virtio_dev *)pc_start(d);
    cfg_set(&r->pc, FN, PCI_BAR0, 4, LEGACY);
    cfg_set(&r->pc, FN, PCI_BAR0 + 16, 4, BAR);
    cfg_set(&r->pc, FN, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void destroy(struct rig *r)
{
    settle(r->loop);
    machine_free(r->pc.m);
    blk_free(r->blk);
    ev_loop_free(r->loop);
    flat_free(r->pc.f);
}

static void set(struct rig *r, unsigned off, unsigned size, uint32_t v)
{
    io_write(r->pc.m, IO_MMIO, BAR + off, size, v);
}

static uint32_t get(struct rig *r, unsigned off, unsigned size)
{
    return (uint32_t)io_read(r->pc.m, IO_MMIO, BAR + off, size);
}

/* Brings the modern device up with these low feature bits, and high ones. */
static void start_with(struct rig *r, uint32_t features, uint32_t high)
{
    set(r, 0x14, 1, 0);
    set(r, 0x14, 1, 3);
    set(r, 8, 4, 0);
    set(r, 0xc, 4, features);
    set(r, 8, 4, 1);
    set(r, 0xc, 4, high);
    set(r, 0x14, 1, 11);
    assert_int_equal(get(r, 0x14, 1), 11);
    set(r, 0x16, 2, 0);
    set(r, 0x20, 4, DESC);
    set(r, 0x28, 4, AVAIL);
    set(r, 0x30, 4, USED);
    set(r, 0x1c, 2, 1);
    memset(r->pc.f->ram + DESC, 0, 0x3000);
    r->avail = r->used = 0;
    set(r, 0x14, 1, OK);
}

static void start(struct rig *r, uint32_t features)
{
    start_with(r, features, VERSION_1);
}

static void put_desc(struct rig *r, uint32_t table, unsigned i, uint64_t addr, uint32_t len,
                     uint16_t flags, uint16_t next)
{
    uint8_t *d = r->pc.f->ram + table + i * 16;
    store_le(d, 8, addr);
    store_le(d + 8, 4, len);
    store_le(d + 12, 2, flags);
    store_le(d + 14, 2, next);
}

static void offer(struct rig *r, uint16_t head)
{
    store_le(r->pc.f->ram + AVAIL + 4 + 2 * (r->avail % SIZE), 2, head);
    r->avail++;
    store_le(r->pc.f->ram + AVAIL + 2, 2, r->avail);
}

static void ring(struct rig *r)
{
    set(r, 0x3000, 2, 0);
    settle(r->loop);
}

static unsigned used_index(struct rig *r)
{
    return load_le16(r->pc.f->ram + USED + 2);
}

/* The next used entry's length. */
static uint32_t take_used(struct rig *r)
{
    const uint8_t *e = r->pc.f->ram + USED + 4 + 8 * (r->used % SIZE);
    assert_int_equal((uint16_t)(used_index(r) - r->used) > 0, 1);
    r->used++;
    return load_le32(e + 4);
}

static void put_header(struct rig *r, uint32_t type, uint64_t sector)
{
    uint8_t *h = r->pc.f->ram + HEADER;
    store_le(h, 4, type);
    store_le(h + 4, 4, 0);
    store_le(h + 8, 8, sector);
    r->pc.f->ram[STATUS] = 0xee;
}

/* Header, one piece of data, status, in a table at `table`. */
static void put_request(struct rig *r, uint32_t table, uint32_t type, uint64_t sector, uint32_t len)
{
    bool in = type == 0 || type == 8;
    put_header(r, type, sector);
    put_desc(r, table, 0, HEADER, 16, NEXT, 1);
    put_desc(r, table, 1, DATA, len, (uint16_t)(NEXT | (in ? WRITE : 0)), 2);
    put_desc(r, table, 2, STATUS, 1, WRITE, 0);
}

/* Runs a request; its status byte. */
static unsigned run(struct rig *r, uint32_t type, uint64_t sector, uint32_t len)
{
    put_request(r, DESC, type, sector, len);
    offer(r, 0);
    ring(r);
    take_used(r);
    return r->pc.f->ram[STATUS];
}

static void assert_disk_bytes(struct rig *r, uint64_t at, uint32_t len)
{
    assert_fake(r->pc.f->ram + DATA, at, len);
}

static void test_virtio_when_probed_then_both_register_sets_agree(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    assert_int_equal(cfg(&r.pc, FN, 0, 4), 0x10011af4);
    unsigned seen = 0;
    for (unsigned at = cfg(&r.pc, FN, PCI_CAP_PTR, 1); at; at = cfg(&r.pc, FN, at + 1, 1)) {
        seen |= cfg(&r.pc, FN, at, 1) == 9 ? 1u << cfg(&r.pc, FN, at + 3, 1) : 0;
    }
    assert_int_equal(seen, 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5);
    assert_int_equal(in(&r.pc, LEGACY, 4), get(&r, 4, 4));
    assert_int_equal(in(&r.pc, LEGACY + 12, 2), SIZE);
    assert_int_equal(in(&r.pc, LEGACY + 20, 4), DISK_BYTES / 512);
    assert_int_equal(get(&r, 0x2000, 4), DISK_BYTES / 512);
    assert_int_equal(get(&r, 0x2000 + 58, 2), 0);
    assert_int_equal(get(&r, 0x20ff, 1), 0);
    set(&r, 0, 4, 1);
    assert_int_equal(get(&r, 4, 4), VERSION_1 | PACKED);
    set(&r, 0, 4, 2);
    assert_int_equal(get(&r, 4, 4), 0);
    assert_int_equal(get(&r, 0x12, 2), 1);
    destroy(&r);
}

static void test_virtio_when_features_are_not_offered_then_not_ok(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    set(&r, 0x14, 1, 3);
    set(&r, 8, 4, 1);
    set(&r, 0xc, 4, 0xffffffff);
    set(&r, 0x14, 1, 11);
    assert_int_equal(get(&r, 0x14, 1), 3);
    destroy(&r);
}

static void test_virtio_blk_reads_writes_flushes_and_names_itself(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    start(&r, 0);
    assert_int_equal(run(&r, 0, 7, 4096), 0);
    assert_disk_bytes(&r, 7 * 512, 4096);
    memset(r.pc.f->ram + DATA, 0x3c, 1024);
    assert_int_equal(run(&r, 1, 100, 1024), 0);
    assert_int_equal(r.img->data[100 * 512], 0x3c);
    assert_int_equal(r.img->data[102 * 512], fake_byte(102 * 512));
    assert_int_equal(run(&r, 8, 0, 20), 0);
    assert_memory_equal(r.pc.f->ram + DATA, "S1\0", 3);
    put_header(&r, 4, 0);
    put_desc(&r, DESC, 0, HEADER, 16, NEXT, 2);
    offer(&r, 0);
    ring(&r);
    assert_int_equal(take_used(&r), 1);
    assert_int_equal(r.img->count[BLK_FLUSH], 1);
    store_le(r.pc.f->ram + DATA, 8, 16);
    store_le(r.pc.f->ram + DATA + 8, 8, 8);
    assert_int_equal(run(&r, 11, 0, 16), 0);
    assert_int_equal(r.img->data[16 * 512], 0);
    assert_int_equal(run(&r, 99, 0, 512), 2);
    assert_int_equal(run(&r, 0, DISK_BYTES / 512, 512), 1);
    assert_int_equal(run(&r, 0, UINT64_MAX, 512), 1);
    assert_int_equal(run(&r, 0, 0, 100), 1);
    r.img->fail = -EIO;
    assert_int_equal(run(&r, 1, 0, 512), 1);
    destroy(&r);
}

static void test_virtio_indirect_tables_carry_whole_chains(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    start(&r, FEATURES);
    put_header(&r, 0, 3);
    put_desc(&r, TABLE, 0, HEADER, 16, NEXT, 1);
    for (unsigned i = 1; i <= 20; i++) {
        put_desc(&r, TABLE, i, DATA + (i - 1) * 512, 512, NEXT | WRITE, (uint16_t)(i + 1));
    }
    put_desc(&r, TABLE, 21, STATUS, 1, WRITE, 0);
    put_desc(&r, DESC, 5, TABLE, 22 * 16, INDIRECT, 0);
    offer(&r, 5);
    ring(&r);
    assert_int_equal(take_used(&r), 20 * 512 + 1);
    assert_disk_bytes(&r, 3 * 512, 20 * 512);
    assert_int_equal(load_le32(r.pc.f->ram + USED + 4), 5);
    assert_int_equal(load_le16(r.pc.f->ram + USED + 4 + 8 * SIZE), 1); /* avail_event */
    destroy(&r);
}

static void test_virtio_interrupts_as_the_driver_asks(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    start(&r, 0);
    store_le(r.pc.f->ram + AVAIL, 2, 1); /* none, please */
    run(&r, 0, 0, 512);
    assert_false(r.pc.f->intx[FN][0]);
    store_le(r.pc.f->ram + AVAIL, 2, 0);
    run(&r, 0, 0, 512);
    assert_true(r.pc.f->intx[FN][0]);
    assert_int_equal(get(&r, 0x1000, 1), 1);
    assert_false(r.pc.f->intx[FN][0]);
    start(&r, FEATURES);
    uint8_t *used_event = r.pc.f->ram + AVAIL + 4 + 2 * SIZE;
    store_le(used_event, 2, 3); /* when the fourth is used */
    for (unsigned i = 0; i < 6; i++) {
        run(&r, 0, 0, 512);
        bool first = i == 0; /* nothing is known of the driver's wish before */
        assert_int_equal(get(&r, 0x1000, 1), first || i == 3);
    }
    destroy(&r);
}

static void test_virtio_legacy_drivers_work_the_same(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    uint32_t at = DESC; /* table, available ring behind it, used ring on the next page */
    out(&r.pc, LEGACY + 18, 1, 3);
    out(&r.pc, LEGACY + 4, 4, FEATURES);
    out(&r.pc, LEGACY + 8, 4, at >> 12);
    assert_int_equal(in(&r.pc, LEGACY + 8, 4), at >> 12);
    out(&r.pc, LEGACY + 18, 1, 7);
    put_request(&r, DESC, 0, 9, 512);
    store_le(r.pc.f->ram + at + SIZE * 16 + 4, 2, 0);
    store_le(r.pc.f->ram + at + SIZE * 16 + 2, 2, 1);
    out(&r.pc, LEGACY + 16, 2, 0);
    settle(r.loop);
    assert_int_equal(load_le16(r.pc.f->ram + at + 4096 + 2), 1);
    assert_int_equal(r.pc.f->ram[STATUS], 0);
    assert_disk_bytes(&r, 9 * 512, 512);
    assert_int_equal(in(&r.pc, LEGACY + 19, 1), 1);
    out(&r.pc, LEGACY + 8, 4, 0);
    assert_int_equal(in(&r.pc, LEGACY + 18, 1), 0);
    destroy(&r);
}

/* Each breaks the device once; it must say so and stand still until reset. */
static void test_virtio_when_rings_lie_then_the_device_stops(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    for (unsigned i = 0; i < 11; i++) {
        start(&r, FEATURES);
        put_request(&r, DESC, 0, 0, 512);
        uint8_t *avail = r.pc.f->ram + AVAIL;
        offer(&r, 0);
        switch (i) {
        case 0:
            store_le(avail + 4, 2, SIZE); /* head outside */
            break;
        case 1:
            store_le(avail + 2, 2, SIZE + 1); /* more than fit */
            break;
        case 2:
            put_desc(&r, DESC, 1, DATA, 512, NEXT | WRITE, 0); /* loop */
            put_desc(&r, DESC, 0, DATA, 512, NEXT | WRITE, 1);
            break;
        case 3:
            put_desc(&r, DESC, 2, STATUS, 1, NEXT | WRITE, 0xffff);
            break;
        case 4:
            put_desc(&r, DESC, 0, 0xfffffffff000ull, 16, NEXT, 1);
            break;
        case 5:
            put_desc(&r, DESC, 2, BAR, 1, WRITE, 0); /* status into a device */
            break;
        case 6:
            put_desc(&r, DESC, 1, DATA, 512, NEXT | WRITE, 2);
            put_desc(&r, DESC, 2, STATUS, 1, 0, 0); /* readable behind writable */
            break;
        case 7:
            put_desc(&r, DESC, 0, TABLE, 24, INDIRECT, 0); /* half a descriptor */
            break;
        case 8:
            put_desc(&r, DESC, 0, TABLE, 16, INDIRECT, 0);
            put_desc(&r, TABLE, 0, TABLE, 16, INDIRECT, 0); /* nested */
            break;
        case 9:
            put_desc(&r, DESC, 0, TABLE, 0xfffffff0, INDIRECT, 0);
            break;
        case 10:
            put_desc(&r, DESC, 0, HEADER, 16, 0, 0); /* no status */
            break;
        }
        ring(&r);
        assert_int_equal(get(&r, 0x14, 1), OK | VIRTIO_S_NEEDS_RESET);
        unsigned before = used_index(&r);
        ring(&r);
        assert_int_equal(used_index(&r), before);
    }
    start(&r, FEATURES);
    assert_int_equal(run(&r, 0, 0, 512), 0);
    set(&r, 0x16, 2, 77); /* queues that are not there */
    set(&r, 0x1c, 2, 1);
    set(&r, 0x20, 4, 1);
    assert_int_equal(get(&r, 0x18, 2), 0);
    set(&r, 0x3000 + 4 * 77, 2, 77);
    destroy(&r);
}

static void test_virtio_when_reset_in_flight_then_taken_back(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    start(&r, FEATURES);
    r.img->hold = true;
    put_request(&r, DESC, 0, 0, 512);
    offer(&r, 0);
    offer(&r, 0);
    ring(&r);
    assert_int_equal(blk_in_flight(r.blk), 2);
    set(&r, 0x14, 1, 0);
    assert_int_equal(blk_in_flight(r.blk), 0);
    assert_int_equal(used_index(&r), 0);
    assert_int_equal(get(&r, 0x14, 1), 0);
    destroy(&r);
}

static void test_virtio_when_saved_then_another_machine_goes_on(void **state)
{
    struct rig r, s;
    (void)state;
    make(&r);
    make(&s);
    start(&r, FEATURES);
    assert_int_equal(run(&r, 0, 0, 512), 0);
    pc_move(&r.pc, &s.pc);
    memcpy(s.pc.f->ram, r.pc.f->ram, 1 << 20);
    s.avail = r.avail;
    s.used = r.used;
    assert_int_equal(run(&s, 0, 5, 512), 0);
    assert_disk_bytes(&s, 5 * 512, 512);
    destroy(&r);
    destroy(&s);
}

/* 4.1.4.9: any register of the modern BAR, read and written through configuration space. */
static void test_virtio_configuration_access_window(void **state)
{
    struct rig r;
    unsigned cap;
    (void)state;
    make(&r);
    for (cap = cfg(&r.pc, FN, PCI_CAP_PTR, 1); cap; cap = cfg(&r.pc, FN, cap + 1, 1)) {
        if (cfg(&r.pc, FN, cap, 1) == 9 && cfg(&r.pc, FN, cap + 3, 1) == 5) {
            break;
        }
    }
    assert_int_not_equal(cap, 0);
    cfg_set(&r.pc, FN, cap + 4, 1, 4);
    cfg_set(&r.pc, FN, cap + 8, 4, 0x14); /* device status */
    cfg_set(&r.pc, FN, cap + 12, 4, 1);
    cfg_set(&r.pc, FN, cap + 16, 4, 3);
    assert_int_equal(io_read(r.pc.m, IO_MMIO, BAR + 0x14, 1), 3);
    assert_int_equal(cfg(&r.pc, FN, cap + 16, 4) & 0xff, 3);
    cfg_set(&r.pc, FN, cap + 8, 4, 0x12);
    cfg_set(&r.pc, FN, cap + 12, 4, 2);
    assert_int_equal(cfg(&r.pc, FN, cap + 16, 2), io_read(r.pc.m, IO_MMIO, BAR + 0x12, 2));
    static const uint32_t odd[][3] = { { 4, 0x15, 2 },          { 4, 0x14, 3 },
                                       { 4, 0xfffffffc, 4 },    { 0, 0x14, 1 },
                                       { 4, 0x14, 0xffffffff }, { 7, 0x14, 1 } };
    for (size_t i = 0; i < ARRAY_SIZE(odd); i++) { /* nothing happens */
        cfg_set(&r.pc, FN, cap + 4, 1, odd[i][0]);
        cfg_set(&r.pc, FN, cap + 8, 4, odd[i][1]);
        cfg_set(&r.pc, FN, cap + 12, 4, odd[i][2]);
        cfg_set(&r.pc, FN, cap + 16, 4, 0);
        cfg(&r.pc, FN, cap + 16, 4);
        assert_int_equal(io_read(r.pc.m, IO_MMIO, BAR + 0x14, 1), 3);
    }
    destroy(&r);
}

/* ---- packed rings, 2.8 ---- */

static void start_packed(struct rig *r, uint32_t features)
{
    start_with(r, features, VERSION_1 | PACKED);
}

static bool wrap_at(unsigned place)
{
    return !(place / SIZE & 1);
}

static void put_packed(struct rig *r, uint64_t addr, uint32_t len, unsigned flags)
{
    flags |= wrap_at(r->avail) ? IS_AVAIL : IS_USED;
    put_desc(r, DESC, r->avail % SIZE, addr, len, ID, (uint16_t)flags);
    r->avail++;
}

/* Three entries; the device gives one back for them. */
static void run_packed(struct rig *r, uint32_t type, uint64_t sector, uint32_t len)
{
    const uint8_t *e = r->pc.f->ram + DESC + 16 * (r->used % SIZE);
    put_header(r, type, sector);
    put_packed(r, HEADER, 16, NEXT);
    put_packed(r, DATA, len, NEXT | (type == 0 ? WRITE : 0));
    put_packed(r, STATUS, 1, WRITE);
    ring(r);
    assert_int_equal(load_le16(e + 12), ID);
    assert_int_equal(load_le32(e + 8), type == 0 ? len + 1 : 1);
    assert_int_equal(load_le16(e + 14) & (IS_AVAIL | IS_USED),
                     wrap_at(r->used) ? IS_AVAIL | IS_USED : 0);
    assert_int_equal(r->pc.f->ram[STATUS], 0);
    r->used += 3;
}

static void test_virtio_packed_ring_goes_round(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    start_packed(&r, 0);
    for (unsigned i = 0; i < 4 * SIZE; i++) {
        run_packed(&r, 0, i, 512);
        assert_disk_bytes(&r, i * 512, 512);
    }
    memset(r.pc.f->ram + DATA, 0x5a, 512);
    run_packed(&r, 1, 3, 512);
    memset(r.pc.f->ram + DATA, 0, 512);
    run_packed(&r, 0, 3, 512);
    assert_int_equal(r.pc.f->ram[DATA + 511], 0x5a);
    ring(&r); /* nothing new is there */
    assert_int_equal(get(&r, 0x14, 1), OK);
    destroy(&r);
}

static void test_virtio_packed_tables_carry_whole_chains(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    start_packed(&r, FEATURES);
    for (unsigned i = 0; i < 3 * SIZE; i++) {
        put_header(&r, 0, i);
        put_desc(&r, TABLE, 0, HEADER, 16, 0, 0); /* id and flags: NEXT does not count */
        put_desc(&r, TABLE, 1, DATA, 512, 0, WRITE);
        put_desc(&r, TABLE, 2, STATUS, 1, 0, WRITE);
        put_packed(&r, TABLE, 48, INDIRECT);
        ring(&r);
        assert_int_equal(r.pc.f->ram[STATUS], 0);
        assert_disk_bytes(&r, i * 512, 512);
    }
    destroy(&r);
}

static void test_virtio_packed_interrupts_as_the_driver_asks(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    start_packed(&r, 0);
    store_le(r.pc.f->ram + AVAIL + 2, 2, 1); /* none, please */
    run_packed(&r, 0, 0, 512);
    assert_int_equal(get(&r, 0x1000, 1), 0);
    store_le(r.pc.f->ram + AVAIL + 2, 2, 0);
    run_packed(&r, 0, 0, 512);
    assert_int_equal(get(&r, 0x1000, 1), 1);
    start_packed(&r, FEATURES);
    store_le(r.pc.f->ram + AVAIL, 2,
             4 | 0x8000); /* when the fifth entry, in the first round, is used */
    store_le(r.pc.f->ram + AVAIL + 2, 2, 2);
    run_packed(&r, 0, 0, 512);
    assert_int_equal(get(&r, 0x1000, 1), 1); /* nothing was told before */
    run_packed(&r, 0, 0, 512);
    assert_int_equal(get(&r, 0x1000, 1), 1); /* entries 3 to 5 */
    store_le(r.pc.f->ram + AVAIL, 2, 5);     /* that of the next round */
    run_packed(&r, 0, 0, 512);               /* 6, 7, 0 */
    (void)get(&r, 0x1000, 1);                /* past the end it may be told anew */
    run_packed(&r, 0, 0, 512);               /* 1, 2, 3 */
    assert_int_equal(get(&r, 0x1000, 1), 0);
    run_packed(&r, 0, 0, 512); /* 4, 5, 6 */
    assert_int_equal(get(&r, 0x1000, 1), 1);
    destroy(&r);
}

static void test_virtio_packed_when_rings_lie_then_the_device_stops(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    for (unsigned kind = 0; kind < 6; kind++) {
        start_packed(&r, kind == 4 ? 0 : FEATURES);
        put_header(&r, 0, 0);
        for (unsigned i = 0; kind == 0 && i < SIZE; i++) {
            put_packed(&r, HEADER, 16, NEXT); /* without end */
        }
        if (kind == 1) {
            put_packed(&r, UINT64_C(1) << 40, 16, 0); /* no memory */
        } else if (kind == 2) {
            put_packed(&r, HEADER, 16, NEXT);
            put_packed(&r, TABLE, 48, INDIRECT); /* inside a chain */
        } else if (kind == 3) {
            put_packed(&r, TABLE, 47, INDIRECT);
        } else if (kind == 4) {
            put_packed(&r, TABLE, 48, INDIRECT); /* not chosen */
        } else if (kind == 5) {
            put_packed(&r, STATUS, 1, NEXT | WRITE);
            put_packed(&r, HEADER, 16, 0); /* the wrong way round */
        }
        ring(&r);
        assert_int_equal(get(&r, 0x14, 1) & 0x40, 0x40);
    }
    start_packed(&r, FEATURES);
    run_packed(&r, 0, 0, 512);
    destroy(&r);
}

static void test_virtio_packed_when_saved_then_another_machine_goes_on(void **state)
{
    struct rig r, s;
    (void)state;
    make(&r);
    make(&s);
    start_packed(&r, FEATURES);
    for (unsigned i = 0; i < 3; i++) {
        run_packed(&r, 0, 0, 512);
    }
    pc_move(&r.pc, &s.pc);
    memcpy(s.pc.f->ram, r.pc.f->ram, 1 << 20);
    s.avail = r.avail;
    s.used = r.used;
    run_packed(&s, 0, 5, 512);
    assert_disk_bytes(&s, 5 * 512, 512);
    destroy(&r);
    destroy(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_virtio_when_probed_then_both_register_sets_agree),
        cmocka_unit_test(test_virtio_when_features_are_not_offered_then_not_ok),
        cmocka_unit_test(test_virtio_blk_reads_writes_flushes_and_names_itself),
        cmocka_unit_test(test_virtio_indirect_tables_carry_whole_chains),
        cmocka_unit_test(test_virtio_interrupts_as_the_driver_asks),
        cmocka_unit_test(test_virtio_legacy_drivers_work_the_same),
        cmocka_unit_test(test_virtio_when_rings_lie_then_the_device_stops),
        cmocka_unit_test(test_virtio_when_reset_in_flight_then_taken_back),
        cmocka_unit_test(test_virtio_when_saved_then_another_machine_goes_on),
        cmocka_unit_test(test_virtio_configuration_access_window),
        cmocka_unit_test(test_virtio_packed_ring_goes_round),
        cmocka_unit_test(test_virtio_packed_tables_carry_whole_chains),
        cmocka_unit_test(test_virtio_packed_interrupts_as_the_driver_asks),
        cmocka_unit_test(test_virtio_packed_when_rings_lie_then_the_device_stops),
        cmocka_unit_test(test_virtio_packed_when_saved_then_another_machine_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
