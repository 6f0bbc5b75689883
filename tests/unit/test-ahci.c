/* SPDX-License-Identifier: MIT */
/* tests/unit/test-ahci.c - the AHCI controller with a disk and a CD-ROM drive. AHCI 1.3.1. */
#include "fake-image.h"
#include "pc-loop.h"

#include "dm/base/bytes.h"
#include "hw/ide/ahci-int.h"

enum {
    ABAR = 0xe0000000u,
    FN = 4 << 3,
    DISK_BYTES = 8 << 20,
    LIST = 0x10000,
    RX = 0x11000,
    TABLE = 0x12000, /* one per slot, 0x800 apart */
    DATA = 0x40000,
    PxCLB = 0,
    PxFB = 8,
    PxIS = 0x10,
    PxIE = 0x14,
    PxCMD = 0x18,
    PxTFD = 0x20,
    PxSIG = 0x24,
    PxSSTS = 0x28,
    PxSCTL = 0x2c,
    PxSACT = 0x34,
    PxCI = 0x38,
    RUNNING = PCMD_ST | PCMD_FRE,
    IDENTIFY = 0xec,
    READ_DMA_EXT = 0x25,
    WRITE_DMA_EXT = 0x35,
    READ_SECTORS = 0x20,
    WRITE_MULTIPLE_EXT = 0x39,
    READ_FPDMA = 0x60,
    WRITE_FPDMA = 0x61,
    PACKET = 0xa0,
};

struct rig {
    struct flat_pc pc;
    struct ev_loop *loop;
    struct blk *blk[2];
    struct fake_image *img[2];
};

static uint32_t port_reg(unsigned port, unsigned off)
{
    return ABAR + 0x100 + port * 0x80 + off;
}

static void set(struct rig *r, unsigned port, unsigned off, uint32_t v)
{
    io_write(r->pc.m, IO_MMIO, port_reg(port, off), 4, v);
}

static uint32_t get(struct rig *r, unsigned port, unsigned off)
{
    return (uint32_t)io_read(r->pc.m, IO_MMIO, port_reg(port, off), 4);
}

static void add_drive(struct rig *r, unsigned i, const struct dev_class *class, const char *bus)
{
    r->blk[i] = fake_drive_new(r->loop, i ? "cd" : "hd", DISK_BYTES, &r->img[i]);
    struct device *d = dev_new(r->pc.m, class, NULL);
    dev_set_str(d, "bus", bus);
    dev_set_ptr(d, "drive", r->blk[i]);
    pc_start(d);
}

static void start_port(struct rig *r, unsigned port)
{
    set(r, port, PxCLB, LIST + port * 0x400);
    set(r, port, PxFB, RX + port * 0x100);
    set(r, port, PxIE, 0xffffffff);
    set(r, port, PxCMD, RUNNING);
}

/* A disk at port 0, a CD-ROM drive at port 3. */
static void make(struct rig *r)
{
    memset(r, 0, sizeof(*r));
    pc_make(&r->pc, true);
    r->loop = pc_loop_new(&r->pc);
    struct device *d = dev_new(r->pc.m, &ich9_ahci_class, "sata");
    dev_set_str(d, "addr", "4");
    pc_start(d);
    add_drive(r, 0, &ide_hd_class, "sata.0");
    add_drive(r, 1, &ide_cd_class, "sata.3");
    cfg_set(&r->pc, FN, PCI_BAR0 + 20, 4, ABAR);
    cfg_set(&r->pc, FN, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    io_write(r->pc.m, IO_MMIO, ABAR + 4, 4, 0x80000002);
    start_port(r, 0);
    start_port(r, 3);
}

static void destroy(struct rig *r)
{
    settle(r->loop);
    machine_free(r->pc.m);
    blk_free(r->blk[0]);
    blk_free(r->blk[1]);
    ev_loop_free(r->loop);
    flat_free(r->pc.f);
}

struct command {
    unsigned port, slot;
    uint8_t code, feature, device;
    uint64_t lba;
    uint32_t count; /* also features of queued ones */
    uint32_t len;   /* bytes at DATA, in pieces of `piece` */
    uint32_t piece;
    const uint8_t *packet;
};

static void put_prds(uint8_t *t, const struct command *c)
{
    uint32_t piece = c->piece ? c->piece : c->len, at = 0;
    for (unsigned i = 0; at < c->len; i++, at += piece) {
        uint32_t n = c->len - at < piece ? c->len - at : piece;
        store_le(t + 0x80 + i * 16, 8, DATA + at);
        store_le(t + 0x80 + i * 16 + 12, 4, n - 1);
    }
}

static void prepare(struct rig *r, struct command c)
{
    uint8_t *h = r->pc.f->ram + LIST + c.port * 0x400 + c.slot * 32;
    uint32_t table = TABLE + c.slot * 0x800;
    uint8_t *t = r->pc.f->ram + table;
    uint32_t piece = c.piece ? c.piece : c.len;
    bool queued = c.code == READ_FPDMA || c.code == WRITE_FPDMA;
    memset(h, 0, 32);
    memset(t, 0, 0x800);
    h[0] = (uint8_t)(5 | (c.packet ? 0x20 : 0));
    store_le(h + 2, 2, c.len ? (c.len + piece - 1) / piece : 0);
    store_le(h + 8, 4, table);
    t[0] = 0x27;
    t[1] = 0x80;
    t[2] = c.code;
    t[3] = queued ? (uint8_t)c.count : c.feature;
    t[11] = queued ? (uint8_t)(c.count >> 8) : 0;
    for (unsigned i = 0; i < 3; i++) {
        t[4 + i] = (uint8_t)(c.lba >> (8 * i));
        t[8 + i] = (uint8_t)(c.lba >> (24 + 8 * i));
    }
    t[7] = 0x40 | c.device;
    store_le(t + 12, 2, queued ? c.slot << 3 : c.count);
    if (c.packet) {
        memcpy(t + 0x40, c.packet, 12);
    }
    put_prds(t, &c);
}

/* Runs one command to its end; returns PxTFD. */
static uint32_t run(struct rig *r, struct command c)
{
    prepare(r, c);
    set(r, c.port, PxIS, 0xffffffff);
    if (c.code == READ_FPDMA || c.code == WRITE_FPDMA) {
        set(r, c.port, PxSACT, 1u << c.slot);
    }
    set(r, c.port, PxCI, 1u << c.slot);
    settle(r->loop);
    return get(r, c.port, PxTFD);
}

static uint32_t moved(struct rig *r, unsigned port, unsigned slot)
{
    return load_le32(r->pc.f->ram + LIST + port * 0x400 + slot * 32 + 4);
}

static void assert_disk_bytes(struct rig *r, uint64_t at, uint32_t len)
{
    assert_fake(r->pc.f->ram + DATA, at, len);
}

static void test_ahci_when_started_then_drives_show_their_signatures(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    assert_int_equal(io_read(r.pc.m, IO_MMIO, ABAR, 4), 0xc0141f05);
    assert_int_equal(io_read(r.pc.m, IO_MMIO, ABAR + 0xc, 4), 0x3f);
    assert_int_equal(get(&r, 0, PxSSTS), 0x113);
    assert_int_equal(get(&r, 1, PxSSTS), 0);
    assert_int_equal(get(&r, 0, PxSIG), 0x00000101);
    assert_int_equal(get(&r, 3, PxSIG), 0xeb140101);
    assert_int_equal(get(&r, 0, PxTFD) & 0xff, 0x50);
    assert_int_equal(get(&r, 1, PxTFD), 0x7f);
    assert_int_equal(r.pc.f->ram[RX + 0x40], 0x34);
    set(&r, 0, PxSCTL, 1);
    assert_int_equal(get(&r, 0, PxSSTS), 0);
    set(&r, 0, PxSCTL, 0);
    assert_int_equal(get(&r, 0, PxSSTS), 0x113);
    destroy(&r);
}

static void test_ahci_identify_says_serial_ata_with_a_queue(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    uint32_t tfd = run(&r, (struct command){ .code = IDENTIFY, .len = 512 });
    assert_int_equal(tfd & 0xff, 0x50);
    const uint8_t *id = r.pc.f->ram + DATA;
    assert_int_equal(load_le16(id + 75 * 2), 31);
    assert_int_equal(load_le16(id + 76 * 2), 0x102);
    assert_int_equal(load_le64(id + 100 * 2), DISK_BYTES / 512);
    assert_int_equal(moved(&r, 0, 0), 512);
    assert_int_equal(get(&r, 0, PxCI), 0);
    assert_true(get(&r, 0, PxIS) & PIS_DHR);
    assert_int_equal(r.pc.f->ram[RX + 0x20], 0x5f);
    destroy(&r);
}

static void test_ahci_moves_sectors_by_dma_and_pio_through_any_prds(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    struct command c = { .code = READ_DMA_EXT, .lba = 77, .count = 600, .len = 600 * 512 };
    assert_int_equal(run(&r, c) & 0xff, 0x50);
    assert_disk_bytes(&r, 77 * 512, c.len);
    assert_int_equal(moved(&r, 0, 0), c.len);
    c = (struct command){ .code = READ_DMA_EXT, .lba = 5, .count = 8, .len = 4096, .piece = 62 };
    assert_int_equal(run(&r, c) & 0xff, 0x50);
    assert_disk_bytes(&r, 5 * 512, 4096);
    c = (struct command){ .code = READ_SECTORS, .lba = 9, .count = 40, .len = 40 * 512 };
    assert_int_equal(run(&r, c) & 0xff, 0x50);
    assert_disk_bytes(&r, 9 * 512, c.len);
    memset(r.pc.f->ram + DATA, 0x5a, 64 * 512);
    c = (struct command){ .code = WRITE_DMA_EXT, .lba = 1000, .count = 3, .len = 1536 };
    assert_int_equal(run(&r, c) & 0xff, 0x50);
    assert_int_equal(r.img[0]->data[1003 * 512 - 1], 0x5a);
    assert_int_equal(r.img[0]->data[1003 * 512], fake_byte(1003 * 512));
    c = (struct command){ .code = WRITE_MULTIPLE_EXT, .lba = 2000, .count = 33, .len = 33 * 512 };
    assert_int_equal(run(&r, c) & 0xff, 0x50);
    assert_int_equal(r.img[0]->data[2033 * 512 - 1], 0x5a);
    assert_int_equal(r.img[0]->data[2033 * 512], fake_byte(2033 * 512));
    destroy(&r);
}

static void test_ahci_queued_commands_run_side_by_side(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    r.img[0]->hold = true;
    prepare(&r,
            (struct command){ .code = READ_FPDMA, .slot = 4, .lba = 8, .count = 8, .len = 4096 });
    prepare(&r,
            (struct command){ .code = WRITE_FPDMA, .slot = 9, .lba = 99, .count = 1, .len = 512 });
    memset(r.pc.f->ram + DATA, 0x77, 512);
    set(&r, 0, PxSACT, 1 << 4 | 1 << 9);
    set(&r, 0, PxCI, 1 << 4 | 1 << 9);
    assert_int_equal(blk_in_flight(r.blk[0]), 2);
    assert_int_equal(get(&r, 0, PxCI), 0); /* accepted */
    assert_int_equal(get(&r, 0, PxSACT), 1 << 4 | 1 << 9);
    machine_enter(r.pc.m);
    fake_release(r.img[0]);
    machine_leave(r.pc.m);
    settle(r.loop);
    assert_int_equal(get(&r, 0, PxSACT), 0);
    assert_int_equal(get(&r, 0, PxIS), PIS_SDB);
    assert_true(r.pc.f->intx[FN][0]);
    assert_int_equal(r.img[0]->data[99 * 512], 0x77);
    assert_disk_bytes(&r, 8 * 512, 4096);
    set(&r, 0, PxIS, PIS_SDB);
    io_write(r.pc.m, IO_MMIO, ABAR + 8, 4, 1);
    assert_false(r.pc.f->intx[FN][0]);
    destroy(&r);
}

/* Where the capability of that id begins. */
static unsigned capability(struct rig *r, unsigned id)
{
    unsigned at = cfg(&r->pc, FN, PCI_CAP_PTR, 1);
    while (at && cfg(&r->pc, FN, at, 1) != id) {
        at = cfg(&r->pc, FN, at + 1, 1);
    }
    assert_true(at);
    return at;
}

/* Between a driver's two acknowledgements the next command ends: it must hear of that, too. */
static void test_ahci_when_a_command_ends_amid_acknowledgement_then_another_message(void **state)
{
    enum { MSI = 5 };
    const struct command c = { .code = READ_FPDMA, .slot = 0, .lba = 8, .count = 8, .len = 4096 };
    struct rig r;
    (void)state;
    make(&r);
    unsigned at = capability(&r, MSI);
    cfg_set(&r.pc, FN, at + 4, 4, 0xfee00000);
    cfg_set(&r.pc, FN, at + 2, 2, 1);
    unsigned before = r.pc.f->msi_count;
    for (unsigned i = 0; i < 2; i++) {
        prepare(&r, c);
        set(&r, 0, PxSACT, 1);
        set(&r, 0, PxCI, 1);
        settle(r.loop);
        assert_int_equal(get(&r, 0, PxIS), PIS_SDB);
        if (i == 0) {
            set(&r, 0, PxIS, PIS_SDB); /* the port's, not yet the controller's */
        }
    }
    assert_int_equal(r.pc.f->msi_count, before + 1);
    io_write(r.pc.m, IO_MMIO, ABAR + 8, 4, 1);
    assert_int_equal(r.pc.f->msi_count, before + 2);
    set(&r, 0, PxIS, PIS_SDB);
    io_write(r.pc.m, IO_MMIO, ABAR + 8, 4, 1);
    assert_int_equal(r.pc.f->msi_count, before + 2);
    destroy(&r);
}

static void test_ahci_when_a_command_fails_then_the_port_waits_for_the_driver(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    r.img[0]->fail = -EIO;
    struct command c = { .code = READ_DMA_EXT, .slot = 2, .count = 8, .len = 4096 };
    assert_int_equal(run(&r, c), 0x4051);
    assert_true(get(&r, 0, PxIS) & PIS_TFE);
    assert_int_equal(get(&r, 0, PxCI), 1 << 2);
    r.img[0]->fail = 0;
    set(&r, 0, PxCI, 1 << 3);
    settle(r.loop);
    assert_int_equal(get(&r, 0, PxCI), 3 << 2);
    set(&r, 0, PxCMD, PCMD_FRE);
    assert_int_equal(get(&r, 0, PxCI), 0);
    set(&r, 0, PxCMD, RUNNING);
    assert_int_equal(run(&r, c) & 0xff, 0x50);
    r.img[0]->fail = -EIO;
    c = (struct command){ .code = READ_FPDMA, .slot = 2, .count = 8, .len = 4096 };
    assert_int_equal(run(&r, c), 0x4051);
    assert_int_equal(get(&r, 0, PxSACT), 1 << 2);
    destroy(&r);
}

/* The driver's way back: restart the port, read log page 10h, try again. */
static void test_ahci_failed_queued_command_is_in_the_log(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    r.img[0]->hold = true;
    prepare(&r,
            (struct command){ .code = READ_FPDMA, .slot = 4, .lba = 8, .count = 8, .len = 4096 });
    prepare(&r, (struct command){
                    .code = READ_FPDMA, .slot = 9, .lba = 0x123, .count = 1, .len = 512 });
    set(&r, 0, PxSACT, 1 << 4 | 1 << 9);
    set(&r, 0, PxCI, 1 << 9);
    set(&r, 0, PxCI, 1 << 4);
    r.img[0]->hold = false;
    r.img[0]->no_wait = true;
    machine_enter(r.pc.m);
    struct blk_req *failed = r.img[0]->held[0]; /* the other one is still at the drive */
    memmove(r.img[0]->held, r.img[0]->held + 1, --r.img[0]->nheld * sizeof(failed));
    blk_complete(failed, -EIO);
    machine_leave(r.pc.m);
    settle(r.loop);
    assert_int_equal(blk_in_flight(r.blk[0]), 0); /* given up */
    assert_int_equal(get(&r, 0, PxSACT), 1 << 4 | 1 << 9);
    assert_int_equal(get(&r, 0, PxTFD), 0x4051);
    set(&r, 0, PxCMD, PCMD_FRE);
    set(&r, 0, PxCMD, RUNNING);
    struct command log = { .code = 0x2f, .lba = 0x10, .count = 1, .len = 512 };
    const uint8_t *page = r.pc.f->ram + DATA;
    assert_int_equal(run(&r, log) & 0xff, 0x50);
    assert_memory_equal(page, "\x09\0\x51\x40\x23\x01\0\x40\0\0\0\0\x48", 13);
    uint8_t sum = 0;
    for (unsigned i = 0; i < 512; i++) {
        sum = (uint8_t)(sum + page[i]);
    }
    assert_int_equal(sum, 0);
    assert_int_equal(run(&r, log) & 0xff, 0x50);
    assert_int_equal(page[0], 0x80); /* told once */
    log.lba = 0x11;
    assert_int_equal(run(&r, log) & 0xff, 0x51);
    destroy(&r);
}

static void test_ahci_packets_reach_the_cd_drive(void **state)
{
    static const uint8_t inquiry[12] = { 0x12, 0, 0, 0, 36 };
    static const uint8_t read10[12] = { 0x28, 0, 0, 0, 0, 5, 0, 0, 100 };
    static const uint8_t beyond[12] = { 0x28, 0, 0x7f, 0, 0, 0, 0, 0, 1 };
    struct rig r;
    (void)state;
    make(&r);
    struct command c = { .port = 3, .code = PACKET, .len = 36, .packet = inquiry };
    c.lba = 36 << 8; /* byte count limit */
    assert_int_equal(run(&r, c) & 0xff, 0x50);
    assert_memory_equal(r.pc.f->ram + DATA + 8, "KEEL", 4);
    c = (struct command){ .port = 3, .code = PACKET, .feature = 1, .packet = read10 };
    c.len = 100 * 2048;
    run(&r, c); /* the medium is new: unit attention, perhaps */
    set(&r, 3, PxCMD, PCMD_FRE);
    set(&r, 3, PxCMD, RUNNING);
    assert_int_equal(run(&r, c) & 0xff, 0x50);
    assert_disk_bytes(&r, 5 * 2048, c.len);
    c.packet = beyond;
    assert_int_equal(run(&r, c), 0x5051); /* illegal request */
    destroy(&r);
}

static void test_ahci_when_tables_lie_then_an_error_and_no_harm(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    struct command c = { .code = READ_DMA_EXT, .count = 8, .len = 1024 }; /* too little room */
    assert_int_equal(run(&r, c) & 0xff, 0x51);
    assert_true(get(&r, 0, PxIS) & PIS_OF);
    for (unsigned i = 0; i < 5; i++) {
        set(&r, 0, PxCMD, PCMD_FRE);
        set(&r, 0, PxCMD, RUNNING);
        c = (struct command){ .code = i & 1 ? READ_FPDMA : READ_DMA_EXT, .count = 8, .len = 4096 };
        prepare(&r, c);
        uint8_t *t = r.pc.f->ram + TABLE, *h = r.pc.f->ram + LIST;
        store_le(t + 0x80, 8, i < 2 ? 0xfffffffff000ull : ABAR);
        if (i == 4) {
            store_le(h + 8, 8, 0xfffffffff000ull);
        }
        set(&r, 0, PxSACT, 1);
        set(&r, 0, PxCI, 1);
        settle(r.loop);
        assert_true(get(&r, 0, PxIS) & (PIS_TFE | PIS_HBF));
        assert_int_equal(blk_in_flight(r.blk[0]), 0);
    }
    set(&r, 0, PxCLB, 0xfffffc00);
    set(&r, 0, PxFB, 0xffffff00);
    set(&r, 0, PxCMD, PCMD_FRE);
    set(&r, 0, PxCMD, RUNNING);
    set(&r, 0, PxCI, 0xffffffff);
    assert_int_equal(get(&r, 0, PxCI), 0);
    assert_true(get(&r, 0, PxIS) & PIS_HBF);
    set(&r, 1, PxCMD, RUNNING); /* nobody there */
    set(&r, 1, PxCI, 0xffffffff);
    io_write(r.pc.m, IO_MMIO, port_reg(0, PxCI), 2, 1);
    io_write(r.pc.m, IO_MMIO, ABAR + 0xffc, 4, 1);
    destroy(&r);
}

static void test_ahci_when_reset_in_flight_then_all_is_taken_back(void **state)
{
    struct rig r;
    (void)state;
    make(&r);
    for (unsigned i = 0; i < 3; i++) {
        r.img[0]->hold = true;
        prepare(&r, (struct command){ .code = READ_FPDMA, .slot = 1, .count = 8, .len = 4096 });
        prepare(&r, (struct command){ .code = READ_FPDMA, .slot = 2, .count = 8, .len = 4096 });
        prepare(&r, (struct command){ .code = READ_DMA_EXT, .slot = 3, .count = 8, .len = 4096 });
        set(&r, 0, PxSACT, i == 2 ? 0 : 6);
        set(&r, 0, PxCI, i == 2 ? 8 : 6);
        assert_int_equal(blk_in_flight(r.blk[0]), i == 2 ? 1 : 2);
        if (i == 0) {
            set(&r, 0, PxCMD, PCMD_FRE);
        } else if (i == 1) {
            set(&r, 0, PxSCTL, 1);
            set(&r, 0, PxSCTL, 0);
        } else {
            io_write(r.pc.m, IO_MMIO, ABAR + 4, 4, 1);
            io_write(r.pc.m, IO_MMIO, ABAR + 4, 4, 0x80000002);
        }
        assert_int_equal(blk_in_flight(r.blk[0]), 0);
        assert_int_equal(get(&r, 0, PxCI) | get(&r, 0, PxSACT), 0);
        r.img[0]->hold = false;
        start_port(&r, 0);
        assert_int_equal(run(&r, (struct command){ .code = IDENTIFY, .len = 512 }) & 0xff, 0x50);
    }
    destroy(&r);
}

static void test_ahci_when_buses_are_wrong_then_refused(void **state)
{
    static const char *const bad[] = { "sata", "sata.", "sata.6", "sata.00", "sat.0", "sata.0" };
    struct rig r;
    (void)state;
    make(&r);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        struct err e = { 0 };
        struct blk *b = blk_new(r.loop, "x");
        blk_set_image(b, &fake_image_new(DISK_BYTES)->base);
        struct device *d = dev_new(r.pc.m, &ide_hd_class, NULL);
        dev_set_str(d, "bus", bad[i]);
        dev_set_ptr(d, "drive", b);
        assert_true(dev_init(d, &e) < 0);
        dev_free(d);
        blk_free(b);
    }
    destroy(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ahci_when_started_then_drives_show_their_signatures),
        cmocka_unit_test(test_ahci_identify_says_serial_ata_with_a_queue),
        cmocka_unit_test(test_ahci_moves_sectors_by_dma_and_pio_through_any_prds),
        cmocka_unit_test(test_ahci_queued_commands_run_side_by_side),
        cmocka_unit_test(test_ahci_when_a_command_ends_amid_acknowledgement_then_another_message),
        cmocka_unit_test(test_ahci_when_a_command_fails_then_the_port_waits_for_the_driver),
        cmocka_unit_test(test_ahci_failed_queued_command_is_in_the_log),
        cmocka_unit_test(test_ahci_packets_reach_the_cd_drive),
        cmocka_unit_test(test_ahci_when_tables_lie_then_an_error_and_no_harm),
        cmocka_unit_test(test_ahci_when_reset_in_flight_then_all_is_taken_back),
        cmocka_unit_test(test_ahci_when_buses_are_wrong_then_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
