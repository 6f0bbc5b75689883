/* SPDX-License-Identifier: MIT */
/* tests/unit/test-virtio-net.c - the virtio card through its legacy registers: headers, buffers of
 * every size, the control queue, what hostile drivers do.
 */
#include "hw/virtio/virtio-net.h"

#include "nic-rig.h"

enum { IO = 0xc000, RING = 0x10000, BUF = 0x40000, HEAD = 12 };
enum {
    FEATURES = 0x00,
    GUEST = 0x04,
    PFN = 0x08,
    SIZE = 0x0c,
    SEL = 0x0e,
    NOTIFY = 0x10,
    STATUS = 0x12
};
enum { ISR = 0x13, CONFIG = 0x14 };
enum { NEXT = 1, WRITE = 2 };
enum { MRG = 1 << 15, CSUM = 1 << 0, TSO4 = 1 << 11, GUEST_CSUM = 1 << 1, CTRL = 0x000e0000 };

static uint32_t rd(struct nic_rig *r, unsigned reg, unsigned size)
{
    return in(&r->pc, IO + reg, size);
}

static void wr(struct nic_rig *r, unsigned reg, unsigned size, uint32_t val)
{
    out(&r->pc, IO + reg, size, val);
}

struct ring {
    uint32_t desc, avail, used;
    unsigned size;
};

static struct ring ring_of(struct nic_rig *r, unsigned q)
{
    wr(r, SEL, 2, q);
    struct ring g = { .desc = RING + 0x4000 * q, .size = rd(r, SIZE, 2) };
    g.avail = g.desc + 16 * g.size;
    g.used = (g.avail + 6 + 2 * g.size + 4095) & ~4095u;
    return g;
}

static struct nic_rig *start(uint32_t features)
{
    struct nic_rig *r = rig_new(&virtio_net_class);
    cfg_set(&r->pc, CARD, PCI_BAR0, 4, IO);
    cfg_set(&r->pc, CARD, PCI_COMMAND, 2, 7);
    wr(r, STATUS, 1, 3);
    assert_int_equal(rd(r, FEATURES, 4) & features, features);
    wr(r, GUEST, 4, features);
    for (unsigned q = 0; q < 3; q++) {
        wr(r, SEL, 2, q);
        wr(r, PFN, 4, (RING + 0x4000 * q) >> 12);
    }
    wr(r, STATUS, 1, 7);
    return r;
}

static void desc(struct nic_rig *r, unsigned q, unsigned i, uint64_t gpa, uint32_t len,
                 unsigned flags)
{
    uint8_t *d = ram(r, ring_of(r, q).desc + 16 * i);
    store_le(d, 8, gpa);
    store_le(d + 8, 4, len);
    store_le(d + 12, 2, flags);
    store_le(d + 14, 2, i + 1);
}

static void offer(struct nic_rig *r, unsigned q, unsigned head)
{
    struct ring g = ring_of(r, q);
    uint16_t idx = load_le16(ram(r, g.avail + 2));
    store_le(ram(r, g.avail + 4 + 2 * (idx % g.size)), 2, head);
    store_le(ram(r, g.avail + 2), 2, (uint16_t)(idx + 1));
}

static unsigned given(struct nic_rig *r, unsigned q)
{
    return load_le16(ram(r, ring_of(r, q).used + 2));
}

/* Bytes of the i-th chain given back. */
static uint32_t given_len(struct nic_rig *r, unsigned q, unsigned i)
{
    return load_le32(ram(r, ring_of(r, q).used + 4 + 8 * i + 4));
}

static bool broken(struct nic_rig *r)
{
    return rd(r, STATUS, 1) & 0x40;
}

static void test_virtio_net_identity(void **state)
{
    struct nic_rig *r = start(0);
    (void)state;
    assert_int_equal(cfg(&r->pc, CARD, 0, 4), 0x10001af4);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(rd(r, CONFIG + i, 1), rig_mac[i]);
    }
    assert_int_equal(rd(r, CONFIG + 6, 2), 1);
    machine_enter(r->pc.m);
    nic_set_link(r->nic, false);
    machine_leave(r->pc.m);
    assert_int_equal(rd(r, CONFIG + 6, 2), 0);
    assert_int_equal(rd(r, ISR, 1), 3);
    rig_free(r);
}

static void test_virtio_net_sends_and_does_what_is_left(void **state)
{
    struct nic_rig *r = start(CSUM | TSO4 | MRG);
    uint32_t len = rig_tcp(ram(r, BUF + HEAD), 5000);
    struct nic_offload off;
    uint8_t *h = ram(r, BUF);
    (void)state;
    assert_true(nic_prepare_tso(h + HEAD, len, 1448, &off));
    memset(h, 0, HEAD);
    h[0] = 1;
    h[1] = 1;
    store_le(h + 2, 2, 54);
    store_le(h + 4, 2, 1448);
    store_le(h + 6, 2, 34);
    store_le(h + 8, 2, 16);
    desc(r, 1, 0, BUF, HEAD, NEXT);
    desc(r, 1, 1, BUF + HEAD, 100, NEXT); /* pieces as they come */
    desc(r, 1, 2, BUF + HEAD + 100, len - 100, 0);
    offer(r, 1, 0);
    wr(r, NOTIFY, 2, 1);
    assert_int_equal(given(r, 1), 1);
    assert_int_equal(r->nsent, 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(rig_sums(r->sent[i], r->sent_len[i]), NIC_SUM_IP | NIC_SUM_TCP);
    }
    rig_free(r);
}

/* Sends a frame of len bytes; whether the driver is interrupted. */
static bool interrupts_after(struct nic_rig *r, uint32_t len)
{
    desc(r, 1, 0, BUF, HEAD + len, 0);
    memset(ram(r, BUF), 0, HEAD);
    offer(r, 1, 0);
    wr(r, NOTIFY, 2, 1);
    return rd(r, ISR, 1) & 1;
}

static void test_virtio_net_tells_of_short_frames_once_a_while(void **state)
{
    struct nic_rig *r = start(MRG);
    (void)state;
    flat_advance(r->pc.f, r->pc.m, 1000000);
    assert_true(interrupts_after(r, 60)); /* nothing was told for long */
    assert_false(interrupts_after(r, 60));
    assert_int_equal(given(r, 1), 2); /* it can see that for itself */
    flat_advance(r->pc.f, r->pc.m, 50000);
    assert_false(interrupts_after(r, 60));
    flat_advance(r->pc.f, r->pc.m, 50000);
    assert_true(rd(r, ISR, 1) & 1); /* the timer */
    assert_false(interrupts_after(r, 60));
    flat_advance(r->pc.f, r->pc.m, 70000);
    assert_true(interrupts_after(r, 60)); /* sooner than the timer */
    flat_advance(r->pc.f, r->pc.m, 100000);
    assert_false(rd(r, ISR, 1) & 1);
    rig_free(r);
}

static void test_virtio_net_tells_of_a_long_frame_at_once(void **state)
{
    struct nic_rig *r = start(MRG);
    (void)state;
    flat_advance(r->pc.f, r->pc.m, 1000000);
    assert_true(interrupts_after(r, 60));
    assert_false(interrupts_after(r, 60));
    assert_true(interrupts_after(r, 1514));
    rig_free(r);
}

/* Whether the driver is asked to ring when it has sent. */
static bool wants_bell(struct nic_rig *r)
{
    return !(load_le16(ram(r, ring_of(r, 1).used)) & 1);
}

static void start_flood(struct nic_rig *r)
{
    for (unsigned i = 0; i < 20 && wants_bell(r); i++) {
        interrupts_after(r, 60);
        flat_advance(r->pc.f, r->pc.m, 10000);
    }
    assert_false(wants_bell(r));
}

static void test_virtio_net_looks_by_itself_in_a_flood(void **state)
{
    struct nic_rig *r = start(MRG);
    (void)state;
    start_flood(r);
    unsigned before = r->nsent;
    offer(r, 1, 0);
    offer(r, 1, 0);
    flat_advance(r->pc.f, r->pc.m, 50000);
    assert_int_equal(r->nsent, before + 2);
    assert_false(wants_bell(r));
    flat_advance(r->pc.f, r->pc.m, 50000); /* nothing came: it is over */
    assert_true(wants_bell(r));
    interrupts_after(r, 60);
    assert_int_equal(r->nsent, before + 3);
    rig_free(r);
}

static void test_virtio_net_answers_and_long_frames_are_no_flood(void **state)
{
    struct nic_rig *r = start(MRG);
    uint8_t frame[60];
    (void)state;
    rig_frame(frame, 60, rig_mac);
    desc(r, 0, 0, BUF + 0x1000, 2000, WRITE);
    for (unsigned i = 0; i < 40; i++) {
        interrupts_after(r, i % 2 ? 60 : 1514);
        assert_true(wants_bell(r));
    }
    for (unsigned i = 0; i < 40; i++) {
        interrupts_after(r, 60);
        offer(r, 0, 0);
        rig_deliver(r, frame, 60);
        assert_true(wants_bell(r));
    }
    start_flood(r);
    offer(r, 1, 0);
    offer(r, 0, 0);
    rig_deliver(r, frame, 60);
    flat_advance(r->pc.f, r->pc.m, 50000);
    assert_true(wants_bell(r));
    rig_free(r);
}

static void test_virtio_net_flood_survives_a_move(void **state)
{
    struct nic_rig *r = start(MRG);
    (void)state;
    start_flood(r);
    struct nic_rig *to = rig_new(&virtio_net_class);
    pc_move(&r->pc, &to->pc);
    memcpy(to->pc.f->ram, r->pc.f->ram, RAM);
    offer(to, 1, 0); /* it has no reason to ring */
    flat_advance(to->pc.f, to->pc.m, 100000);
    assert_int_equal(to->nsent, 1);
    flat_advance(to->pc.f, to->pc.m, 100000);
    assert_true(wants_bell(to));
    rig_free(r);
    rig_free(to);
}

static void test_virtio_net_stops_for_a_full_back_end(void **state)
{
    struct nic_rig *r = start(MRG);
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        desc(r, 1, i, BUF, HEAD + 60, 0);
        offer(r, 1, i);
    }
    r->room = 2;
    wr(r, NOTIFY, 2, 1);
    assert_int_equal(r->nsent, 2);
    r->room = 0;
    machine_enter(r->pc.m);
    nic_writable(r->nic);
    machine_leave(r->pc.m);
    assert_int_equal(r->nsent, 4);
    rig_free(r);
}

static void test_virtio_net_merges_buffers(void **state)
{
    struct nic_rig *r = start(MRG);
    uint8_t frame[1000];
    (void)state;
    rig_frame(frame, sizeof(frame), rig_mac);
    for (unsigned i = 0; i < 3; i++) {
        desc(r, 0, i, BUF + 0x1000 * i, 400, WRITE);
        offer(r, 0, i);
    }
    assert_true(rig_deliver(r, frame, 1000));
    assert_int_equal(given(r, 0), 3);
    assert_int_equal(load_le16(ram(r, BUF + 10)), 3);
    assert_int_equal(given_len(r, 0, 2), 1012 - 800);
    assert_memory_equal(ram(r, BUF + HEAD), frame, 388);
    assert_memory_equal(ram(r, BUF + 0x1000), frame + 388, 400);
    assert_memory_equal(ram(r, BUF + 0x2000), frame + 788, 212);
    /* two buffers for a frame that needs three: it waits, and they stay the driver's */
    for (unsigned i = 3; i < 5; i++) {
        desc(r, 0, i, BUF + 0x1000 * i, 400, WRITE);
        offer(r, 0, i);
    }
    assert_false(rig_deliver(r, frame, 1000));
    assert_int_equal(given(r, 0), 3);
    desc(r, 0, 5, BUF + 0x5000, 400, WRITE);
    offer(r, 0, 5);
    wr(r, NOTIFY, 2, 0);
    rig_turn(r);
    assert_int_equal(given(r, 0), 6);
    assert_memory_equal(ram(r, BUF + 0x3000 + HEAD), frame, 388);
    rig_free(r);
}

static uint8_t command(struct nic_rig *r, unsigned class, unsigned cmd, const void *data,
                       uint32_t len)
{
    uint8_t *p = ram(r, BUF + 0x8000);
    p[0] = (uint8_t) class;
    p[1] = (uint8_t)cmd;
    memcpy(p + 2, data, len);
    p[1000] = 0xee;
    desc(r, 2, 0, BUF + 0x8000, 2 + len, NEXT);
    desc(r, 2, 1, BUF + 0x8000 + 1000, 1, WRITE);
    offer(r, 2, 0);
    wr(r, NOTIFY, 2, 2);
    return p[1000];
}

static bool arrives(struct nic_rig *r, const uint8_t *dst)
{
    uint8_t frame[60];
    unsigned n = given(r, 0), i = n % 64;
    rig_frame(frame, 60, dst);
    desc(r, 0, i, BUF, 2000, WRITE);
    if (load_le16(ram(r, ring_of(r, 0).avail + 2)) == n) {
        offer(r, 0, i);
    }
    rig_deliver(r, frame, 60);
    return given(r, 0) != n;
}

static void test_virtio_net_filters_as_told(void **state)
{
    static const uint8_t other[6] = { 2, 1, 1, 1, 1, 1 }, group[6] = { 1, 0, 0x5e, 0, 0, 9 };
    struct nic_rig *r = start(MRG | CTRL);
    uint8_t table[20] = { 1, 0, 0, 0, 2, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0x5e, 0, 0, 9 };
    (void)state;
    assert_true(arrives(r, other)); /* until the driver says otherwise */
    assert_int_equal(command(r, 0, 0, "\0", 1), 0);
    assert_false(arrives(r, other));
    assert_true(arrives(r, rig_mac));
    assert_int_equal(command(r, 1, 0, table, sizeof(table)), 0);
    assert_true(arrives(r, other));
    assert_true(arrives(r, group));
    assert_int_equal(command(r, 0, 3, "\1", 1), 0); /* no multicast */
    assert_false(arrives(r, group));
    table[0] = 200; /* more than there are bytes */
    assert_int_equal(command(r, 1, 0, table, sizeof(table)), 1);
    memset(table, 0xff, 4);
    assert_int_equal(command(r, 1, 0, table, sizeof(table)), 1);
    assert_int_equal(command(r, 0, 9, "\1", 1), 1);
    assert_int_equal(command(r, 0, 0, "", 0), 1);
    assert_int_equal(command(r, 2, 0, "\xff\xff", 2), 1); /* no such VLAN */
    assert_int_equal(command(r, 77, 0, "", 0), 1);
    assert_false(broken(r));
    rig_free(r);
}

static void test_virtio_net_hostile_chains_stop_it(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 6; kind++) {
        struct nic_rig *r = start(kind == 5 ? 0 : MRG);
        uint8_t frame[60];
        rig_frame(frame, 60, rig_mac);
        desc(r, 1, 0, BUF, kind == 0 ? 5 : kind == 1 ? 200000 : 72, 0);
        if (kind == 2) {
            desc(r, 1, 0, 0xf0000000, 72, 0); /* no memory */
        }
        if (kind == 3) {
            desc(r, 1, 0, BUF, 72, NEXT); /* a loop */
            store_le(ram(r, ring_of(r, 1).desc + 14), 2, 0);
        }
        if (kind < 4) {
            offer(r, 1, 0);
            wr(r, NOTIFY, 2, 1);
        } else { /* receive buffers that hold nothing, or too little without merging */
            desc(r, 0, 0, BUF, kind == 4 ? 3 : 50, WRITE);
            offer(r, 0, 0);
            rig_deliver(r, frame, 60);
        }
        assert_int_equal(r->nsent, 0);
        assert_true(broken(r));
        wr(r, STATUS, 1, 0);
        assert_false(broken(r));
        rig_free(r);
    }
}

/* ---- several queues, by the modern registers ---- */

enum { BAR = 0xe0000000, MQ = 1 << 22, QBYTES = 0x1000, QSIZE = 16, PAIRS = 4 };

static void mset(struct nic_rig *r, unsigned off, unsigned size, uint32_t val)
{
    io_write(r->pc.m, IO_MMIO, BAR + off, size, val);
}

/* Queue q: descriptors, available ring, used ring, each in a third of a page; 2 * PAIRS is control. */
static void mq_desc(struct nic_rig *r, unsigned q, uint32_t gpa, uint32_t len, unsigned flags)
{
    uint32_t at = RING + QBYTES * q;
    uint16_t idx = load_le16(ram(r, at + 0x402));
    store_le(ram(r, at + 16 * (idx % QSIZE)), 8, gpa);
    store_le(ram(r, at + 16 * (idx % QSIZE) + 8), 4, len);
    store_le(ram(r, at + 16 * (idx % QSIZE) + 12), 2, flags);
    store_le(ram(r, at + 0x404 + 2 * (idx % QSIZE)), 2, idx % QSIZE);
    store_le(ram(r, at + 0x402), 2, (uint16_t)(idx + 1));
    mset(r, 0x3000 + 4 * q, 2, q);
}

static unsigned mq_given(struct nic_rig *r, unsigned q)
{
    return load_le16(ram(r, RING + QBYTES * q + 0x802));
}

static struct nic_rig *start_mq(void)
{
    struct nic_rig *r = rig_new_with(&virtio_net_class, PAIRS, "mq", true);
    cfg_set(&r->pc, CARD, PCI_BAR0 + 16, 4, BAR);
    cfg_set(&r->pc, CARD, PCI_COMMAND, 2, 7);
    mset(r, 0x14, 1, 3);
    mset(r, 0x08, 4, 0);
    mset(r, 0x0c, 4, MRG | CTRL | MQ);
    mset(r, 0x08, 4, 1);
    mset(r, 0x0c, 4, 1); /* VERSION_1 */
    mset(r, 0x14, 1, 0xb);
    for (unsigned q = 0; q <= 2 * PAIRS; q++) {
        mset(r, 0x16, 2, q);
        mset(r, 0x18, 2, QSIZE);
        mset(r, 0x20, 4, RING + QBYTES * q);
        mset(r, 0x28, 4, RING + QBYTES * q + 0x400);
        mset(r, 0x30, 4, RING + QBYTES * q + 0x800);
        mset(r, 0x1c, 2, 1);
    }
    mset(r, 0x14, 1, 0xf);
    return r;
}

static uint8_t set_pairs(struct nic_rig *r, unsigned n)
{
    uint8_t *p = ram(r, BUF + 0x8000);
    uint32_t at = RING + QBYTES * 2 * PAIRS;
    uint16_t idx = load_le16(ram(r, at + 0x402));
    memcpy(p, "\4\0", 2);
    store_le(p + 2, 2, n);
    p[100] = 0xee;
    store_le(ram(r, at), 8, BUF + 0x8000);
    store_le(ram(r, at + 8), 4, 4);
    store_le(ram(r, at + 12), 4, NEXT | 1 << 16);
    store_le(ram(r, at + 16), 8, BUF + 0x8000 + 100);
    store_le(ram(r, at + 24), 4, 1);
    store_le(ram(r, at + 28), 2, WRITE);
    store_le(ram(r, at + 0x404 + 2 * (idx % QSIZE)), 2, 0);
    store_le(ram(r, at + 0x402), 2, (uint16_t)(idx + 1));
    mset(r, 0x3000 + 4 * 2 * PAIRS, 2, 0);
    return p[100];
}

static void deliver_by(struct nic_rig *r, unsigned queue)
{
    uint8_t frame[60];
    rig_frame(frame, 60, rig_mac);
    struct nic_frame f = { frame, 60, { 0 }, (uint16_t)queue };
    machine_enter(r->pc.m);
    nic_deliver(r->nic, &f);
    machine_leave(r->pc.m);
}

static void test_virtio_net_several_queues(void **state)
{
    struct nic_rig *r = start_mq();
    (void)state;
    assert_int_equal(io_read(r->pc.m, IO_MMIO, BAR + 0x2008, 2), PAIRS);
    assert_int_equal(io_read(r->pc.m, IO_MMIO, BAR + 0x12, 2), 2 * PAIRS + 1);
    mq_desc(r, 3, BUF, HEAD + 60, 0); /* the second pair is not in use yet */
    assert_int_equal(r->nsent, 0);
    assert_int_equal(set_pairs(r, 0), 1);
    assert_int_equal(set_pairs(r, PAIRS + 1), 1);
    assert_int_equal(r->nic->queues_used, 1);
    assert_int_equal(set_pairs(r, 3), 0);
    assert_int_equal(r->nic->queues_used, 3);
    mset(r, 0x3000 + 4 * 3, 2, 3);
    assert_int_equal(r->nsent, 1);
    assert_int_equal(r->sent_queue[0], 1);
    mq_desc(r, 7, BUF, HEAD + 60, 0); /* the fourth is not */
    assert_int_equal(r->nsent, 1);
    for (unsigned q = 0; q < 2 * PAIRS; q += 2) {
        mq_desc(r, q, BUF + 0x1000 * q, 2000, WRITE);
    }
    deliver_by(r, 2);
    assert_int_equal(mq_given(r, 4), 1);
    deliver_by(r, 3); /* no such pair for the driver: the first */
    assert_int_equal(mq_given(r, 0), 1);
    assert_int_equal(mq_given(r, 6), 0);
    mset(r, 0x14, 1, 0); /* a reset goes back to one */
    assert_int_equal(r->nic->queues_used, 1);
    rig_free(r);
}

static bool mq_wants_bell(struct nic_rig *r, unsigned q)
{
    return !(load_le16(ram(r, RING + QBYTES * q + 0x800)) & 1);
}

/* Pairs that go out of use while the device looks by itself come back with their bells on. */
static void test_virtio_net_flood_ends_for_every_pair(void **state)
{
    struct nic_rig *r = start_mq();
    (void)state;
    set_pairs(r, 2);
    for (unsigned i = 0; i < 20 && mq_wants_bell(r, 1); i++) {
        mq_desc(r, 1, BUF, HEAD + 60, 0);
        flat_advance(r->pc.f, r->pc.m, 10000);
    }
    assert_false(mq_wants_bell(r, 1));
    assert_false(mq_wants_bell(r, 3));
    set_pairs(r, 1);
    flat_advance(r->pc.f, r->pc.m, 200000);
    assert_true(mq_wants_bell(r, 1));
    set_pairs(r, 2);
    assert_true(mq_wants_bell(r, 3));
    rig_free(r);
}

static void test_virtio_net_several_queues_move(void **state)
{
    struct nic_rig *a = start_mq(), *b = rig_new_with(&virtio_net_class, PAIRS, "mq", true);
    (void)state;
    set_pairs(a, 4);
    mq_desc(a, 6, BUF, 2000, WRITE);
    pc_move(&a->pc, &b->pc);
    memcpy(b->pc.f->ram, a->pc.f->ram, RAM);
    assert_int_equal(b->nic->queues_used, 4);
    deliver_by(b, 3);
    assert_int_equal(mq_given(b, 6), 1);
    rig_free(a);
    rig_free(b);
}

static void test_virtio_net_state_moves(void **state)
{
    struct nic_rig *a = start(MRG | CTRL | GUEST_CSUM), *b = rig_new(&virtio_net_class);
    uint8_t frame[100];
    (void)state;
    rig_frame(frame, 100, rig_mac);
    command(a, 0, 0, "\0", 1);
    desc(a, 0, 0, BUF, 2000, WRITE);
    offer(a, 0, 0);
    pc_move(&a->pc, &b->pc);
    memcpy(b->pc.f->ram, a->pc.f->ram, RAM);
    assert_int_equal(b->nic->rx_takes, NIC_TAKES_CSUM);
    rig_deliver(b, frame, 100);
    assert_int_equal(given(b, 0), 1);
    assert_memory_equal(ram(b, BUF + HEAD), frame, 100);
    rig_free(a);
    rig_free(b);
}

static struct nic_rig *start_receiving(uint32_t features)
{
    struct nic_rig *r = start(features);
    for (unsigned i = 0; i < 4; i++) {
        desc(r, 0, i, BUF + 0x1000 * i, 2000, WRITE);
        offer(r, 0, i);
    }
    return r;
}

static struct nic_rig *start_merging(void)
{
    return start_receiving(MRG);
}

static struct nic_rig *start_plain(void)
{
    return start_receiving(0);
}

static void test_virtio_net_frames_of_any_size_hide_the_host(void **state)
{
    (void)state;
    rig_hides_the_host(start_merging, 1514);
    rig_hides_the_host(start_plain, 1514);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_virtio_net_identity),
        cmocka_unit_test(test_virtio_net_sends_and_does_what_is_left),
        cmocka_unit_test(test_virtio_net_tells_of_short_frames_once_a_while),
        cmocka_unit_test(test_virtio_net_tells_of_a_long_frame_at_once),
        cmocka_unit_test(test_virtio_net_looks_by_itself_in_a_flood),
        cmocka_unit_test(test_virtio_net_answers_and_long_frames_are_no_flood),
        cmocka_unit_test(test_virtio_net_flood_survives_a_move),
        cmocka_unit_test(test_virtio_net_stops_for_a_full_back_end),
        cmocka_unit_test(test_virtio_net_merges_buffers),
        cmocka_unit_test(test_virtio_net_filters_as_told),
        cmocka_unit_test(test_virtio_net_hostile_chains_stop_it),
        cmocka_unit_test(test_virtio_net_several_queues),
        cmocka_unit_test(test_virtio_net_flood_ends_for_every_pair),
        cmocka_unit_test(test_virtio_net_several_queues_move),
        cmocka_unit_test(test_virtio_net_state_moves),
        cmocka_unit_test(test_virtio_net_frames_of_any_size_hide_the_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
