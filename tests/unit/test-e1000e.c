/* SPDX-License-Identifier: MIT */
/* tests/unit/test-e1000e.c - what the 82574L does that the 82540EM does not: messages and their
 * throttling, extended and packet split descriptors, two queues each way, the hash, NVM and PHY.
 */
#include "nic-rig.h"

enum { BAR = 0xe0000000, MSIX = 0xe0200000, TX = 0x1000, RX = 0x2000, RX1 = 0x3000, TX1 = 0x4000 };
enum { DATA = 0x8000, BUF = 0x10000, BUF1 = 0x80000, N = 8 };
enum {
    CTRL = 0x00,
    STATUS = 0x08,
    EECD = 0x10,
    EERD = 0x14,
    CTRL_EXT = 0x18,
    MDIC = 0x20,
    ICR = 0xc0,
    ICS = 0xc8,
    IMS = 0xd0,
    IMC = 0xd8,
    EIAC = 0xdc,
    IAM = 0xe0,
    IVAR = 0xe4,
    EITR = 0xe8,
    RCTL = 0x100,
    TCTL = 0x400,
    PSRCTL = 0x2170,
    RDBAL = 0x2800,
    RDLEN = 0x2808,
    RDH = 0x2810,
    RDT = 0x2818,
    TDBAL = 0x3800,
    TDLEN = 0x3808,
    TDH = 0x3810,
    TDT = 0x3818,
    QUEUE1 = 0x100, /* from a queue's register to the other's */
    RXCSUM = 0x5000,
    RFCTL = 0x5008,
    MRQC = 0x5818,
    RETA = 0x5c00,
    RSSRK = 0x5c80,
};
enum { RXQ0 = 1 << 20, RXQ1 = 1 << 21, TXQ0 = 1 << 22, TXQ1 = 1 << 23, OTHER = 1 << 24, LSC = 4 };
enum { DD = 1, EOP = 2, EXTENDED = 0x8000, EIAME = 1 << 24, IAME = 1 << 27 };

static uint32_t rd(struct nic_rig *r, uint32_t reg)
{
    return (uint32_t)io_read(r->pc.m, IO_MMIO, BAR + reg, 4);
}

static void wr(struct nic_rig *r, uint32_t reg, uint32_t val)
{
    io_write(r->pc.m, IO_MMIO, BAR + reg, 4, val);
}

static unsigned find_cap(struct nic_rig *r, uint8_t id)
{
    unsigned at = cfg(&r->pc, CARD, PCI_CAP_PTR, 1);
    while (at && cfg(&r->pc, CARD, at, 1) != id) {
        at = cfg(&r->pc, CARD, at + 1, 1);
    }
    return at;
}

static void ring(struct nic_rig *r, uint32_t base, uint32_t at, uint32_t bytes)
{
    wr(r, base, at);
    wr(r, base + 8, N * bytes);
}

/* Extended descriptors on both queues, with buffers of 2 KiB. */
static struct nic_rig *start(void)
{
    struct nic_rig *r = rig_new(&e1000e_class);
    cfg_set(&r->pc, CARD, PCI_BAR0, 4, BAR);
    cfg_set(&r->pc, CARD, PCI_BAR0 + 12, 4, MSIX);
    cfg_set(&r->pc, CARD, PCI_COMMAND, 2, 7);
    wr(r, RFCTL, EXTENDED);
    ring(r, TDBAL, TX, 16);
    ring(r, TDBAL + QUEUE1, TX1, 16);
    ring(r, RDBAL, RX, 16);
    ring(r, RDBAL + QUEUE1, RX1, 16);
    for (unsigned i = 0; i < N; i++) {
        store_le(ram(r, RX + 16 * i), 8, BUF + 0x1000 * i);
        store_le(ram(r, RX1 + 16 * i), 8, BUF1 + 0x1000 * i);
    }
    wr(r, TCTL, 0xa);
    wr(r, RCTL, 0x04008002); /* EN, BAM, SECRC */
    wr(r, RDT, N - 1);
    wr(r, RDT + QUEUE1, N - 1);
    return r;
}

/* As Linux's driver sets it up, but each cause has a vector of its own. */
static struct nic_rig *start_msix(void)
{
    struct nic_rig *r = start();
    for (unsigned v = 0; v < 5; v++) {
        io_write(r->pc.m, IO_MMIO, MSIX + 16 * v, 4, 0xfee00000);
        io_write(r->pc.m, IO_MMIO, MSIX + 16 * v + 4, 4, 0);
        io_write(r->pc.m, IO_MMIO, MSIX + 16 * v + 8, 4, 0x40 + v);
        io_write(r->pc.m, IO_MMIO, MSIX + 16 * v + 12, 4, 0);
    }
    cfg_set(&r->pc, CARD, find_cap(r, 0x11) + 2, 2, 0x8000);
    wr(r, IVAR, 0x800cba98); /* 0 to RXQ0, ... 4 to OTHER */
    wr(r, IAM, ~0u);
    wr(r, CTRL_EXT, EIAME);
    wr(r, EIAC, 0x01f00000);
    wr(r, IMS, 0x01f00000 | LSC);
    return r;
}

static void tx_desc(struct nic_rig *r, uint32_t at, unsigned i, uint32_t addr, uint32_t len)
{
    store_le(ram(r, at + 16 * i), 8, addr);
    store_le(ram(r, at + 16 * i + 8), 8, len | 0x0b000000); /* EOP, IFCS, RS */
}

static uint32_t status_of(struct nic_rig *r, uint32_t at)
{
    return load_le32(ram(r, at + 8));
}

/* ---- identity ---- */

static void test_e1000e_identity_and_nvm(void **state)
{
    struct nic_rig *r = start();
    uint16_t sum = 0;
    (void)state;
    assert_int_equal(cfg(&r->pc, CARD, 0, 4), 0x10d38086);
    assert_int_not_equal(find_cap(r, 1), 0);
    assert_int_not_equal(find_cap(r, 5), 0);
    assert_int_equal(cfg(&r->pc, CARD, find_cap(r, 0x10) + 2, 2), 0x91);
    assert_int_equal(cfg(&r->pc, CARD, find_cap(r, 0x11) + 2, 2), 4); /* five vectors */
    for (unsigned i = 0; i < 64; i++) {
        wr(r, EERD, i << 2 | 1);
        assert_int_equal(rd(r, EERD) & 2, 2);
        sum = (uint16_t)(sum + (rd(r, EERD) >> 16));
    }
    assert_int_equal(sum, 0xbaba);
    wr(r, EERD, 0x3fff << 2 | 1);
    assert_int_equal(rd(r, EERD) >> 16, 0);
    assert_int_equal(rd(r, EECD) & 0x300, 0x300);
    wr(r, MDIC, 1u << 21 | 3u << 16 | 2u << 26); /* PHY identity, low */
    assert_int_equal(rd(r, MDIC) & 0xffff, 0x0cb1);
    assert_int_equal(rd(r, STATUS) >> 19 & 1, 1);
    wr(r, CTRL, rd(r, CTRL) | 4);
    assert_int_equal(rd(r, STATUS) >> 19 & 1, 0);
    rig_free(r);
}

/* ---- interrupts ---- */

static void test_e1000e_icr_says_whether_it_interrupted(void **state)
{
    struct nic_rig *r = start();
    (void)state;
    wr(r, IMS, LSC);
    wr(r, ICS, 0x10); /* not in the mask: stays there however often it is read */
    assert_int_equal(rd(r, ICR), 0x10);
    assert_int_equal(rd(r, ICR), 0x10);
    wr(r, IAM, ~0u);
    wr(r, CTRL_EXT, IAME);
    wr(r, ICS, LSC);
    assert_true(r->pc.f->intx[CARD][0]);
    assert_int_equal(rd(r, ICR), 0x80000014);
    assert_false(r->pc.f->intx[CARD][0]);
    assert_int_equal(rd(r, IMS), 0); /* masked itself */
    wr(r, ICS, LSC);
    assert_false(r->pc.f->intx[CARD][0]);
    assert_int_equal(rd(r, ICR), LSC); /* no mask: reading clears */
    assert_int_equal(rd(r, ICR), 0);
    rig_free(r);
}

static void test_e1000e_each_cause_has_its_vector(void **state)
{
    struct nic_rig *r = start_msix();
    static const uint32_t causes[] = { RXQ0, RXQ1, TXQ0, TXQ1, OTHER };
    (void)state;
    for (unsigned v = 0; v < 5; v++) {
        unsigned before = r->pc.f->msi_count;
        wr(r, ICS, causes[v]);
        assert_int_equal(r->pc.f->msi_count, before + 1);
        assert_int_equal(r->pc.f->msi_data, 0x40 + v);
        assert_int_equal(rd(r, IMS) & causes[v], 0); /* masked by IAM */
        wr(r, ICS, causes[v]);
        assert_int_equal(r->pc.f->msi_count, before + 1);
        wr(r, IMS, causes[v]); /* what came meanwhile is told now */
        assert_int_equal(r->pc.f->msi_count, before + 2);
    }
    assert_int_equal(rd(r, ICR), 0); /* all cleared by EIAC */
    assert_false(r->pc.f->intx[CARD][0]);
    rig_free(r);
}

static void test_e1000e_link_change_is_another_cause(void **state)
{
    struct nic_rig *r = start_msix();
    unsigned before = r->pc.f->msi_count;
    (void)state;
    machine_enter(r->pc.m);
    nic_set_link(r->nic, false);
    machine_leave(r->pc.m);
    assert_int_equal(r->pc.f->msi_count, before + 1);
    assert_int_equal(r->pc.f->msi_data, 0x44);
    assert_int_equal(rd(r, ICR) & LSC, LSC);
    rig_free(r);
}

static void test_e1000e_without_auto_clear_one_message_a_cause(void **state)
{
    struct nic_rig *r = start_msix();
    unsigned before = r->pc.f->msi_count;
    (void)state;
    wr(r, EIAC, 0);
    wr(r, CTRL_EXT, 0);
    wr(r, ICS, RXQ0);
    wr(r, ICS, RXQ0);
    wr(r, IMS, RXQ0);
    assert_int_equal(r->pc.f->msi_count, before + 1);
    wr(r, ICR, RXQ0);
    wr(r, ICS, RXQ0);
    assert_int_equal(r->pc.f->msi_count, before + 2);
    wr(r, IVAR, 0x0000000f); /* a vector that is not there */
    wr(r, ICR, RXQ0);
    wr(r, ICS, RXQ0);
    assert_int_equal(r->pc.f->msi_count, before + 2);
    rig_free(r);
}

static void test_e1000e_vectors_are_throttled_each(void **state)
{
    struct nic_rig *r = start_msix();
    unsigned before = r->pc.f->msi_count;
    (void)state;
    wr(r, EITR, 1000); /* 256 us */
    for (unsigned i = 0; i < 3; i++) {
        wr(r, ICS, RXQ0);
        wr(r, IMS, RXQ0);
    }
    assert_int_equal(r->pc.f->msi_count, before + 1);
    wr(r, ICS, TXQ0); /* the others are not */
    assert_int_equal(r->pc.f->msi_count, before + 2);
    flat_advance(r->pc.f, r->pc.m, 255000);
    assert_int_equal(r->pc.f->msi_count, before + 2);
    flat_advance(r->pc.f, r->pc.m, 2000);
    assert_int_equal(r->pc.f->msi_count, before + 3);
    rig_free(r);
}

/* ---- receiving ---- */

static void test_e1000e_extended_descriptors(void **state)
{
    struct nic_rig *r = start_msix();
    uint8_t frame[900];
    (void)state;
    rig_frame(frame, 900, rig_mac);
    for (unsigned n = 0; n < 20; n++) {
        unsigned i = n % N;
        assert_true(rig_deliver(r, frame, 14 + n * 40));
        const uint8_t *d = ram(r, RX + 16 * i);
        uint32_t len = 14 + n * 40 < 60 ? 60 : 14 + n * 40;
        assert_int_equal(load_le32(d + 8), DD | EOP | 4); /* no sums */
        assert_int_equal(load_le16(d + 12), len);
        assert_int_equal(load_le64(d), 0);
        assert_memory_equal(ram(r, BUF + 0x1000 * i), frame, 14 + n * 40);
        store_le(ram(r, RX + 16 * i), 8, BUF + 0x1000 * i);
        store_le(ram(r, RX + 16 * i + 8), 8, 0);
        wr(r, RDT, i);
        wr(r, IMS, RXQ0);
    }
    assert_int_equal(r->pc.f->msi_data, 0x40);
    rig_free(r);
}

static void ps_desc(struct nic_rig *r, unsigned i)
{
    for (unsigned k = 0; k < 4; k++) {
        store_le(ram(r, RX + 32 * i + 8 * k), 8, BUF + 0x8000 * i + 0x2000 * k);
    }
}

static struct nic_rig *start_ps(uint32_t psrctl)
{
    struct nic_rig *r = start();
    wr(r, RCTL, 0);
    ring(r, RDBAL, RX, 32);
    for (unsigned i = 0; i < N; i++) {
        ps_desc(r, i);
    }
    wr(r, PSRCTL, psrctl);
    wr(r, RDH, 0);
    wr(r, RDT, 2 * (N - 1)); /* in units of 16 bytes */
    wr(r, RCTL, 0x04008422); /* EN, LPE, BAM, SECRC, packet split */
    return r;
}

static void test_e1000e_packet_split(void **state)
{
    struct nic_rig *r = start_ps(0x04040402); /* 256 bytes, three times 4 KiB */
    uint8_t frame[9014];
    uint32_t len = rig_tcp(frame, 8000);
    (void)state;
    assert_true(rig_deliver(r, frame, len));
    const uint8_t *d = ram(r, RX);
    assert_int_equal(load_le32(d + 8) & 3, DD | EOP);
    assert_int_equal(load_le16(d + 12), 54);
    assert_int_equal(load_le16(d + 16), 0x8000 | 54);
    assert_int_equal(load_le16(d + 18), 4096);
    assert_int_equal(load_le16(d + 20), 8000 - 4096);
    assert_int_equal(load_le16(d + 22), 0);
    assert_memory_equal(ram(r, BUF), frame, 54);
    assert_memory_equal(ram(r, BUF + 0x2000), frame + 54, 4096);
    assert_memory_equal(ram(r, BUF + 0x4000), frame + 54 + 4096, 8000 - 4096);
    assert_int_equal(*ram(r, BUF + 54), 0); /* nothing behind the header */
    rig_frame(frame, 9000, rig_mac);        /* no header it knows: buffers in turn */
    assert_true(rig_deliver(r, frame, 9000));
    d = ram(r, RX + 32);
    assert_int_equal(load_le16(d + 12), 256);
    assert_int_equal(load_le16(d + 16), 0);
    assert_int_equal(load_le16(d + 20), 4096);
    assert_int_equal(load_le16(d + 22), 9000 - 256 - 8192);
    for (unsigned i = 2; i < 3 * N; i++) { /* round and round, as Linux moves the tail */
        ps_desc(r, (i - 2) % N);
        wr(r, RDT, 2 * ((i - 2) % N));
        assert_true(rig_deliver(r, frame, 100 + i));
        assert_int_equal(load_le16(ram(r, RX + 32 * (i % N) + 12)), 100 + i);
        assert_int_equal(rd(r, RDH), 2 * ((i + 1) % N));
    }
    rig_free(r);
}

static void test_e1000e_packet_split_over_descriptors_and_odd_sizes(void **state)
{
    struct nic_rig *r = start_ps(0x00000001); /* 128 bytes and nothing else */
    uint8_t frame[1000];
    uint32_t len = rig_tcp(frame, 200);
    (void)state;
    assert_true(rig_deliver(r, frame, len));
    assert_int_equal(load_le16(ram(r, RX + 12)), 54);
    assert_int_equal(load_le32(ram(r, RX + 8)) & 3, DD);
    assert_int_equal(load_le16(ram(r, RX + 32 + 12)), 128);
    assert_int_equal(load_le16(ram(r, RX + 64 + 12)), 72);
    assert_int_equal(load_le32(ram(r, RX + 64 + 8)) & 3, DD | EOP);
    wr(r, PSRCTL, 0); /* no buffers: lost, and nothing hangs */
    assert_true(rig_deliver(r, frame, len));
    assert_int_equal(rd(r, RDH), 6);
    for (unsigned i = 0; i < 4000; i++) { /* headers cut and bent */
        len = rig_tcp(frame, 200);
        frame[12 + i % 60] ^= (uint8_t)(i / 7);
        wr(r, PSRCTL, i * 0x01030507u);
        wr(r, RDT, i % (2 * N));
        rig_deliver(r, frame, 14 + i % 240);
        rig_turn(r);
    }
    rig_free(r);
}

/* The key and the numbers everybody tests this hash with. */
static void test_e1000e_hash_chooses_the_queue(void **state)
{
    static const uint8_t key[40] = { 0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67,
                                     0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb,
                                     0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
                                     0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa };
    struct nic_rig *r = start_msix();
    uint8_t frame[100];
    uint32_t len = rig_tcp(frame, 20);
    (void)state;
    memcpy(frame + 26, "\x42\x09\x95\xbb\xa1\x8e\x64\x50", 8); /* 66.9.149.187, 161.142.100.80 */
    store_be16(frame + 34, 2794);
    store_be16(frame + 36, 1766);
    for (unsigned i = 0; i < 10; i++) {
        wr(r, RSSRK + 4 * i, load_le32(key + 4 * i));
    }
    wr(r, RXCSUM, 1 << 13);
    wr(r, MRQC, 0x00030001); /* IPv4, TCP over it */
    rig_deliver(r, frame, len);
    assert_int_equal(load_le32(ram(r, RX)), 1);
    assert_int_equal(load_le32(ram(r, RX + 4)), 0x51ccc178);
    wr(r, MRQC, 0x00020001);
    rig_deliver(r, frame, len);
    assert_int_equal(load_le32(ram(r, RX + 16)), 2);
    assert_int_equal(load_le32(ram(r, RX + 20)), 0x323e8fc2);
    wr(r, RETA + (0x42 & ~3u), 0x80u << 8 * (0x42 & 3)); /* entry c2 & 127 */
    rig_deliver(r, frame, len);
    assert_int_equal(load_le32(ram(r, RX1)), 0x102);
    assert_memory_equal(ram(r, BUF1), frame, len);
    assert_int_equal(r->pc.f->msi_data, 0x41);
    rig_frame(frame, 100, rig_mac); /* nothing to hash: queue 0 */
    rig_deliver(r, frame, 100);
    assert_int_equal(load_le32(ram(r, RX + 32)), 0);
    assert_int_equal(status_of(r, RX + 32) & DD, DD);
    rig_free(r);
}

static void test_e1000e_powered_down_moves_nothing(void **state)
{
    struct nic_rig *r = start();
    uint8_t frame[60];
    (void)state;
    rig_frame(frame, 60, rig_mac);
    cfg_set(&r->pc, CARD, find_cap(r, 1) + 4, 2, 3);
    assert_true(rig_deliver(r, frame, 60));
    assert_int_equal(rd(r, RDH), 0);
    rig_free(r);
}

/* ---- sending ---- */

static void test_e1000e_two_transmit_queues(void **state)
{
    struct nic_rig *r = start_msix();
    (void)state;
    rig_frame(ram(r, DATA), 200, rig_mac);
    tx_desc(r, TX1, 0, DATA, 200);
    wr(r, TDT + QUEUE1, 1);
    assert_int_equal(r->nsent, 1);
    assert_int_equal(r->sent_len[0], 200);
    assert_int_equal(rd(r, TDH + QUEUE1), 1);
    assert_int_equal(r->pc.f->msi_data, 0x43);
    tx_desc(r, TX, 0, DATA, 100);
    wr(r, TDT, 1);
    assert_int_equal(r->pc.f->msi_data, 0x42);
    /* a packet that is not whole keeps the other ring waiting: they do not mix */
    store_le(ram(r, TX + 16), 8, DATA);
    store_le(ram(r, TX + 24), 8, 50);
    wr(r, TDT, 2);
    tx_desc(r, TX1, 1, DATA, 150);
    wr(r, TDT + QUEUE1, 2);
    assert_int_equal(r->nsent, 2);
    tx_desc(r, TX, 2, DATA + 50, 50);
    wr(r, TDT, 3);
    assert_int_equal(r->nsent, 4);
    assert_int_equal(r->sent_len[2], 100);
    assert_memory_equal(r->sent[2], ram(r, DATA), 100);
    assert_int_equal(r->sent_len[3], 150);
    rig_free(r);
}

static void test_e1000e_second_ring_out_of_bounds(void **state)
{
    struct nic_rig *r = start();
    (void)state;
    wr(r, TDH + QUEUE1, 100);
    wr(r, TDT + QUEUE1, 3);
    wr(r, RDH + QUEUE1, 100);
    assert_int_equal(r->nsent, 0);
    wr(r, TDBAL + QUEUE1 + 4, 0xffffffff);
    wr(r, TDH + QUEUE1, 0);
    wr(r, TDT + QUEUE1, 4);
    assert_int_equal(rd(r, TDH + QUEUE1), 0);
    rig_free(r);
}

static void test_e1000e_state_moves(void **state)
{
    struct nic_rig *a = start_msix(), *b = rig_new(&e1000e_class);
    uint8_t frame[100];
    (void)state;
    wr(a, EITR, 1000);
    rig_frame(frame, 100, rig_mac);
    rig_deliver(a, frame, 100);
    wr(a, IMS, RXQ0);
    rig_deliver(a, frame, 100); /* its message is throttled */
    store_le(ram(a, TX), 8, DATA);
    store_le(ram(a, TX + 8), 8, 50);
    rig_frame(ram(a, DATA), 100, rig_mac);
    wr(a, TDT, 1); /* half a packet */
    pc_move(&a->pc, &b->pc);
    memcpy(b->pc.f->ram, a->pc.f->ram, RAM);
    unsigned before = b->pc.f->msi_count;
    flat_advance(b->pc.f, b->pc.m, 300000);
    assert_int_equal(b->pc.f->msi_count, before + 1);
    tx_desc(b, TX, 1, DATA + 50, 50);
    wr(b, TDT, 2);
    assert_int_equal(b->nsent, 1);
    assert_memory_equal(b->sent[0], ram(b, DATA), 100);
    assert_int_equal(rd(b, RDH), 2);
    rig_free(a);
    rig_free(b);
}

static struct nic_rig *start_split(void)
{
    return start_ps(0x04040402);
}

static void test_e1000e_frames_of_any_size_hide_the_host(void **state)
{
    (void)state;
    rig_hides_the_host(start, 1514);
    rig_hides_the_host(start_split, 1514);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_e1000e_identity_and_nvm),
        cmocka_unit_test(test_e1000e_icr_says_whether_it_interrupted),
        cmocka_unit_test(test_e1000e_each_cause_has_its_vector),
        cmocka_unit_test(test_e1000e_link_change_is_another_cause),
        cmocka_unit_test(test_e1000e_without_auto_clear_one_message_a_cause),
        cmocka_unit_test(test_e1000e_vectors_are_throttled_each),
        cmocka_unit_test(test_e1000e_extended_descriptors),
        cmocka_unit_test(test_e1000e_packet_split),
        cmocka_unit_test(test_e1000e_packet_split_over_descriptors_and_odd_sizes),
        cmocka_unit_test(test_e1000e_hash_chooses_the_queue),
        cmocka_unit_test(test_e1000e_powered_down_moves_nothing),
        cmocka_unit_test(test_e1000e_two_transmit_queues),
        cmocka_unit_test(test_e1000e_second_ring_out_of_bounds),
        cmocka_unit_test(test_e1000e_state_moves),
        cmocka_unit_test(test_e1000e_frames_of_any_size_hide_the_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
