/* SPDX-License-Identifier: MIT */
/* tests/unit/test-e1000.c - the 82540EM through the door: rings and their corners, offloads,
 * filters, interrupts, PHY, EEPROM, what hostile drivers do.
 */
#include "nic-rig.h"

enum { BAR = 0xe0000000, IOBAR = 0xc000, TX = 0x1000, RX = 0x2000, BUF = 0x10000, DATA = 0x8000 };
enum {
    CTRL = 0x00,
    STATUS = 0x08,
    EECD = 0x10,
    EERD = 0x14,
    MDIC = 0x20,
    ICR = 0xc0,
    ITR = 0xc4,
    ICS = 0xc8,
    IMS = 0xd0,
    IMC = 0xd8,
    RCTL = 0x100,
    TCTL = 0x400,
    RDBAL = 0x2800,
    RDLEN = 0x2808,
    RDH = 0x2810,
    RDT = 0x2818,
    RDTR = 0x2820,
    RADV = 0x282c,
    TDBAL = 0x3800,
    TDLEN = 0x3808,
    TDH = 0x3810,
    TDT = 0x3818,
    TIDV = 0x3820,
    TADV = 0x382c,
    MPC = 0x4010,
    GPRC = 0x4074,
    GOTCL = 0x4090,
    RXCSUM = 0x5000,
    MTA = 0x5200,
    RA = 0x5400,
    VFTA = 0x5600,
};
enum { N = 8 }; /* descriptors a ring */
enum { TXDW = 1, TXQE = 2, LSC = 4, RXDMT0 = 0x10, RXT0 = 0x80 };

static uint32_t rd(struct nic_rig *r, uint32_t reg)
{
    return (uint32_t)io_read(r->pc.m, IO_MMIO, BAR + reg, 4);
}

static void wr(struct nic_rig *r, uint32_t reg, uint32_t val)
{
    io_write(r->pc.m, IO_MMIO, BAR + reg, 4, val);
}

static void decode(struct nic_rig *r)
{
    cfg_set(&r->pc, CARD, PCI_BAR0, 4, BAR);
    cfg_set(&r->pc, CARD, PCI_BAR0 + 4, 4, IOBAR);
    cfg_set(&r->pc, CARD, PCI_COMMAND, 2, 7);
}

static void rx_desc(struct nic_rig *r, unsigned i)
{
    memset(ram(r, RX + 16 * i), 0, 16);
    store_le(ram(r, RX + 16 * i), 8, BUF + 0x1000 * i);
}

static struct nic_rig *start(void)
{
    struct nic_rig *r = rig_new(&e1000_class);
    decode(r);
    wr(r, TDBAL, TX);
    wr(r, TDLEN, N * 16);
    wr(r, TCTL, 0xa); /* EN, PSP */
    for (unsigned i = 0; i < N; i++) {
        rx_desc(r, i);
    }
    wr(r, RDBAL, RX);
    wr(r, RDLEN, N * 16);
    wr(r, RDT, N - 1);
    wr(r, RCTL, 0x04008002); /* EN, BAM, SECRC, 2048 */
    wr(r, IMS, TXDW | RXT0 | LSC | RXDMT0);
    rd(r, ICR);
    return r;
}

static bool irq(struct nic_rig *r)
{
    return r->pc.f->intx[CARD][0];
}

static void tx_desc(struct nic_rig *r, unsigned i, uint64_t addr, uint32_t lower, uint32_t upper)
{
    store_le(ram(r, TX + 16 * i), 8, addr);
    store_le(ram(r, TX + 16 * i + 8), 4, lower);
    store_le(ram(r, TX + 16 * i + 12), 4, upper);
}

enum {
    EOP = 1u << 24,
    IC = 1u << 26,
    TSE = 1u << 26,
    RS = 1u << 27,
    DEXT = 1u << 29,
    VLE = 1u << 30
};
#define IDE (1u << 31)
enum { DATA_DESC = DEXT | 1u << 20 };

/* ---- identity ---- */

static void test_e1000_identity_and_eeprom(void **state)
{
    struct nic_rig *r = start();
    uint16_t sum = 0;
    (void)state;
    assert_int_equal(cfg(&r->pc, CARD, 0, 4), 0x100e8086);
    assert_int_equal(rd(r, STATUS) & 3, 3);
    assert_int_equal(rd(r, RA), 0x12005452);
    assert_int_equal(rd(r, RA + 4), 0x80005634);
    for (unsigned i = 0; i < 64; i++) {
        wr(r, EERD, i << 8 | 1);
        assert_int_equal(rd(r, EERD) & 0x10, 0x10);
        sum = (uint16_t)(sum + (rd(r, EERD) >> 16));
    }
    assert_int_equal(sum, 0xbaba);
    wr(r, EERD, 0xff01); /* beyond the chip */
    assert_int_equal(rd(r, EERD) >> 16, 0);
    rig_free(r);
}

static unsigned bit_in(struct nic_rig *r, unsigned bit)
{
    wr(r, EECD, 0x42 | bit << 2);
    wr(r, EECD, 0x43 | bit << 2);
    unsigned out = rd(r, EECD) >> 3 & 1;
    return out;
}

static uint16_t microwire_read(struct nic_rig *r, unsigned word)
{
    uint16_t v = 0;
    wr(r, EECD, 0x40);
    wr(r, EECD, 0x42);
    for (int i = 8; i >= 0; i--) {
        bit_in(r, (6u << 6 | word) >> i & 1);
    }
    for (int i = 0; i < 16; i++) {
        v = (uint16_t)(v << 1 | bit_in(r, 0));
    }
    wr(r, EECD, 0x40);
    return v;
}

static void test_e1000_eeprom_bit_by_bit(void **state)
{
    struct nic_rig *r = start();
    (void)state;
    wr(r, EECD, 0x40);
    assert_int_equal(rd(r, EECD) & 0x80, 0x80); /* granted */
    assert_int_equal(microwire_read(r, 0), 0x5452);
    assert_int_equal(microwire_read(r, 2), 0x5634);
    assert_int_equal(microwire_read(r, 14), 0x8086);
    rig_free(r);
}

static uint16_t phy(struct nic_rig *r, unsigned reg)
{
    wr(r, MDIC, 2u << 26 | 1u << 21 | reg << 16);
    assert_int_equal(rd(r, MDIC) >> 28 & 5, 1);
    return (uint16_t)rd(r, MDIC);
}

static void test_e1000_phy_negotiates(void **state)
{
    struct nic_rig *r = start();
    (void)state;
    assert_int_equal(phy(r, 2), 0x0141);
    assert_int_equal(phy(r, 3), 0x0c20);
    assert_int_equal(phy(r, 1) & 0x24, 0x24);
    wr(r, MDIC, 1u << 26 | 1u << 21 | 0x1340); /* restart */
    assert_int_equal(rd(r, STATUS) & 2, 0);
    assert_int_equal(phy(r, 1) & 0x24, 0);
    flat_advance(r->pc.f, r->pc.m, 600000000);
    assert_int_equal(rd(r, STATUS) & 2, 2);
    assert_true(irq(r));
    assert_int_equal(rd(r, ICR), LSC);
    assert_false(irq(r));
    wr(r, MDIC, 2u << 26 | 2u << 21); /* nobody at that address */
    assert_int_equal(rd(r, MDIC) >> 28 & 5, 5);
    rig_free(r);
}

static void test_e1000_cable_pulled_and_back(void **state)
{
    struct nic_rig *r = start();
    (void)state;
    machine_enter(r->pc.m);
    nic_set_link(r->nic, false);
    machine_leave(r->pc.m);
    assert_int_equal(rd(r, STATUS) & 2, 0);
    assert_int_equal(rd(r, ICR), LSC);
    tx_desc(r, 0, DATA, 60 | EOP | RS, 0);
    wr(r, TDT, 1); /* sent into nothing */
    assert_int_equal(rd(r, TDH), 1);
    assert_int_equal(r->nsent, 0);
    machine_enter(r->pc.m);
    nic_set_link(r->nic, true);
    machine_leave(r->pc.m);
    flat_advance(r->pc.f, r->pc.m, 600000000);
    assert_int_equal(rd(r, STATUS) & 2, 2);
    rig_free(r);
}

static void test_e1000_io_window_reaches_registers(void **state)
{
    struct nic_rig *r = start();
    (void)state;
    out(&r->pc, IOBAR, 4, STATUS);
    assert_int_equal(in(&r->pc, IOBAR + 4, 4), rd(r, STATUS));
    out(&r->pc, IOBAR, 4, 0x38);
    out(&r->pc, IOBAR + 4, 4, 0x88a8);
    assert_int_equal(rd(r, 0x38), 0x88a8);
    out(&r->pc, IOBAR, 4, 0xfffff);
    assert_int_equal(in(&r->pc, IOBAR + 4, 4), 0);
    rig_free(r);
}

/* ---- sending ---- */

static void test_e1000_sends_a_frame_of_parts_over_the_ring_end(void **state)
{
    struct nic_rig *r = start();
    uint8_t frame[1000];
    (void)state;
    rig_frame(frame, sizeof(frame), rig_mac);
    memcpy(ram(r, DATA), frame, sizeof(frame));
    for (unsigned i = 0; i < 6; i++) { /* bring the head to 6 */
        tx_desc(r, i, DATA, 60 | EOP, 0);
    }
    wr(r, TDT, 6);
    assert_int_equal(r->nsent, 6);
    tx_desc(r, 6, DATA, 14, 0);
    tx_desc(r, 7, DATA + 14, 500, 0);
    tx_desc(r, 0, DATA + 514, 0, 0); /* zero length: passed over */
    tx_desc(r, 1, DATA + 514, 486 | EOP | RS, 0);
    wr(r, TDT, 2);
    assert_int_equal(rd(r, TDH), 2);
    assert_int_equal(r->nsent, 7);
    assert_int_equal(r->sent_len[6], 1000);
    assert_memory_equal(r->sent[6], frame, 1000);
    assert_int_equal(ram(r, TX + 16 + 12)[0] & 1, 1); /* DD only where asked */
    assert_int_equal(ram(r, TX + 12)[0] & 1, 0);
    assert_true(irq(r));
    assert_int_equal(rd(r, ICR), TXDW | TXQE);
    rig_free(r);
}

static void test_e1000_pads_short_frames_with_zeroes(void **state)
{
    struct nic_rig *r = start();
    (void)state;
    memset(ram(r, DATA), 0xee, 200);
    tx_desc(r, 0, DATA, 200 | EOP, 0); /* leaves its bytes in the buffer */
    tx_desc(r, 1, DATA, 20 | EOP, 0);
    tx_desc(r, 2, DATA, 5 | EOP, 0); /* no frame at all */
    wr(r, TDT, 3);
    assert_int_equal(r->nsent, 2);
    assert_int_equal(r->sent_len[1], 60);
    for (unsigned i = 20; i < 60; i++) {
        assert_int_equal(r->sent[1][i], 0);
    }
    rig_free(r);
}

static void test_e1000_when_pointers_leave_the_ring_then_nothing_is_sent(void **state)
{
    struct nic_rig *r = start();
    (void)state;
    tx_desc(r, 0, DATA, 60 | EOP, 0);
    wr(r, TDT, 0xffff);
    assert_int_equal(r->nsent, 0);
    wr(r, TDT, 0);
    wr(r, TDH, 0x8000);
    wr(r, TDT, 4);
    assert_int_equal(r->nsent, 0);
    wr(r, TDH, 0);
    wr(r, TDLEN, 0);
    wr(r, TDT, 1);
    assert_int_equal(r->nsent, 0);
    wr(r, RDH, 0x9000);
    rig_deliver(r, ram(r, DATA), 60);
    assert_int_equal(rd(r, RDH), 0x9000);
    rig_free(r);
}

static void test_e1000_when_the_ring_is_no_memory_then_it_stops(void **state)
{
    struct nic_rig *r = start();
    (void)state;
    wr(r, TDBAL, 0xf0000000);
    wr(r, TDT, 3);
    assert_int_equal(rd(r, TDH), 0);
    wr(r, TDBAL, TX);
    tx_desc(r, 0, 0xf0000000, 60 | EOP | RS, 0); /* data that is none: zeroes, not our memory */
    wr(r, TDT, 1);
    assert_int_equal(r->nsent, 1);
    for (unsigned i = 0; i < 60; i++) {
        assert_int_equal(r->sent[0][i], 0);
    }
    cfg_set(&r->pc, CARD, PCI_COMMAND, 2, 3); /* no bus master */
    wr(r, TDT, 2);
    assert_int_equal(rd(r, TDH), 1);
    rig_free(r);
}

static void test_e1000_packet_without_end_is_bounded(void **state)
{
    struct nic_rig *r = start();
    (void)state;
    for (unsigned i = 0; i < N; i++) {
        tx_desc(r, i, 0x1000, DATA_DESC | 0xfffff, 0); /* one MiB each, no end */
    }
    for (unsigned round = 0; round < 4; round++) {
        wr(r, TDT, (rd(r, TDH) + N - 1) % N);
        flat_advance(r->pc.f, r->pc.m, 1000);
    }
    tx_desc(r, rd(r, TDH), 0x1000, DATA_DESC | EOP | 10, 0);
    wr(r, TDT, (rd(r, TDH) + 1) % N);
    flat_advance(r->pc.f, r->pc.m, 1000);
    assert_int_equal(r->nsent, 0); /* too long: gone */
    tx_desc(r, rd(r, TDH), DATA, EOP | 60, 0);
    wr(r, TDT, (rd(r, TDH) + 1) % N);
    assert_int_equal(r->nsent, 1);
    rig_free(r);
}

static void test_e1000_long_ring_yields(void **state)
{
    struct nic_rig *r = start();
    (void)state;
    memset(ram(r, DATA), 0, 64);
    wr(r, TDBAL, 0x40000);
    wr(r, TDLEN, 4096 * 16);
    for (unsigned i = 0; i < 4096; i++) {
        store_le(ram(r, 0x40000 + 16 * i), 8, DATA);
        store_le(ram(r, 0x40000 + 16 * i + 8), 8, 60 | EOP);
    }
    wr(r, TDT, 4095);
    assert_int_equal(r->nsent, 512); /* others may have the lock now */
    flat_advance(r->pc.f, r->pc.m, 1000);
    assert_int_equal(r->nsent, 4095);
    rig_free(r);
}

static void test_e1000_stops_for_a_full_back_end(void **state)
{
    struct nic_rig *r = start();
    (void)state;
    for (unsigned i = 0; i < N; i++) {
        tx_desc(r, i, DATA, 60 | EOP, 0);
    }
    r->room = 3;
    wr(r, TDT, 7);
    assert_int_equal(r->nsent, 3);
    assert_int_equal(rd(r, TDH), 3);
    r->room = 0;
    machine_enter(r->pc.m);
    nic_writable(r->nic);
    machine_leave(r->pc.m);
    assert_int_equal(r->nsent, 7);
    rig_free(r);
}

static void context(struct nic_rig *r, unsigned i, uint32_t mss, bool tso)
{
    uint64_t ip = 14 | 24 << 8 | 33 << 16, tcp = 34 | 50 << 8;
    tx_desc(r, i, ip | tcp << 32, DEXT | 3u << 24 | (tso ? TSE : 0), 54u << 8 | mss << 16);
}

static void test_e1000_puts_in_checksums(void **state)
{
    struct nic_rig *r = start();
    uint32_t len = rig_tcp(ram(r, DATA), 101);
    uint64_t pseudo;
    (void)state;
    store_be16(ram(r, DATA + 16), (uint16_t)(len - 14));
    pseudo = net_sum(0, ram(r, DATA + 26), 8) + 6 * 256 + __builtin_bswap16((uint16_t)(len - 34));
    store_le(ram(r, DATA + 50), 2, net_fold(pseudo));
    context(r, 0, 0, false);
    tx_desc(r, 1, DATA, DATA_DESC | EOP | len, 3 << 8);
    wr(r, TDT, 2);
    assert_int_equal(r->nsent, 1);
    assert_int_equal(rig_sums(r->sent[0], len), NIC_SUM_IP | NIC_SUM_TCP);
    /* the legacy way: sum from CSS to the end, at CSO */
    store_le(ram(r, DATA + 50), 2, net_fold(pseudo));
    tx_desc(r, 2, DATA, EOP | IC | 50 << 16 | len, 34 << 8);
    wr(r, TDT, 3);
    assert_int_equal(rig_sums(r->sent[1], len) & NIC_SUM_L4_BAD, 0);
    /* places outside the frame: left alone */
    tx_desc(r, 3, DATA, EOP | IC | 255 << 16 | 60, 254 << 8);
    wr(r, TDT, 4);
    assert_memory_equal(r->sent[2], ram(r, DATA), 60);
    rig_free(r);
}

static void check_segments(struct nic_rig *r, unsigned first, uint32_t total, uint32_t mss,
                           unsigned l2)
{
    uint32_t at = 0;
    unsigned n = (total + mss - 1) / mss;
    assert_int_equal(r->nsent, first + n);
    for (unsigned i = 0; i < n; i++) {
        const uint8_t *f = r->sent[first + i];
        uint32_t want = total - at < mss ? total - at : mss;
        assert_int_equal(r->sent_len[first + i], l2 + 40 + want);
        assert_int_equal(rig_sums(f, r->sent_len[first + i]), NIC_SUM_IP | NIC_SUM_TCP);
        assert_int_equal(load_be16(f + l2 + 4), 0x1000 + i);
        assert_int_equal(load_be32(f + l2 + 24), 0x01000000 + at);
        assert_int_equal(f[l2 + 33], i + 1 == n ? 0x19 : 0x10);
        assert_memory_equal(f + l2 + 40, ram(r, DATA + 54 + at), want);
        at += want;
    }
}

static void test_e1000_cuts_segments(void **state)
{
    struct nic_rig *r = start();
    uint32_t len = rig_tcp(ram(r, DATA), 10000);
    (void)state;
    context(r, 0, 1448, true);
    tx_desc(r, 1, DATA, DATA_DESC | TSE | 54, 3 << 8);
    tx_desc(r, 2, DATA + 54, DATA_DESC | TSE | EOP | RS | (len - 54), 3 << 8);
    wr(r, TDT, 3);
    check_segments(r, 0, 10000, 1448, 14);
    rig_free(r);
}

static void test_e1000_cuts_tagged_segments(void **state)
{
    struct nic_rig *r = start();
    uint32_t len = rig_tcp(ram(r, DATA), 3000);
    (void)state;
    wr(r, CTRL, rd(r, CTRL) | 1u << 30); /* VME */
    context(r, 0, 1000, true);
    tx_desc(r, 1, DATA, DATA_DESC | TSE | EOP | VLE | len, 3 << 8 | 0x2005u << 16);
    wr(r, TDT, 2);
    check_segments(r, 0, 3000, 1000, 18);
    assert_int_equal(load_be32(r->sent[1] + 12), 0x81002005);
    rig_free(r);
}

/* Loopback cannot leave the cutting to others: the part's own way. */
static void test_e1000_cuts_segments_by_itself_in_loopback(void **state)
{
    struct nic_rig *r = start();
    uint32_t len = rig_tcp(ram(r, DATA), 2500);
    uint64_t pseudo = net_sum(0, ram(r, DATA + 26), 8) + 6 * 256;
    (void)state;
    store_le(ram(r, DATA + 50), 2, net_fold(pseudo)); /* without the length, as drivers do */
    wr(r, RCTL, rd(r, RCTL) | 1 << 6);
    context(r, 0, 1000, true);
    tx_desc(r, 1, DATA, DATA_DESC | TSE | EOP | len, 3 << 8);
    wr(r, TDT, 2);
    assert_int_equal(r->nsent, 0);
    assert_int_equal(rd(r, RDH), 3);
    for (unsigned i = 0; i < 3; i++) {
        uint32_t n = load_le16(ram(r, RX + 16 * i + 8));
        assert_int_equal(n, i < 2 ? 1054 : 554);
        assert_int_equal(rig_sums(ram(r, BUF + 0x1000 * i), n), NIC_SUM_IP | NIC_SUM_TCP);
    }
    rig_free(r);
}

/* Header longer than the packet, MSS 0, UDP: progress, and no byte that is not the guest's. */
static void test_e1000_hostile_segmentation_ends(void **state)
{
    struct nic_rig *r = start();
    (void)state;
    rig_tcp(ram(r, DATA), 100);
    for (unsigned kind = 0; kind < 4; kind++) {
        uint32_t tucmd = kind == 2 ? 0x2 : 0x3, mss = kind == 0 ? 0 : 1;
        uint32_t head = kind == 1 ? 255 : 54;
        wr(r, TDH, 0);
        wr(r, TDT, 0);
        tx_desc(r, 0, kind == 3 ? ~0ull : 0, DEXT | tucmd << 24 | TSE, head << 8 | mss << 16);
        tx_desc(r, 1, DATA, DATA_DESC | TSE | EOP | 100, 3 << 8);
        wr(r, TDT, 2);
        assert_int_equal(rd(r, TDH), 2);
    }
    assert_true(r->nsent <= 2 * 46 + 2);
    rig_free(r);
}

#define SLACK 100000 /* how late a delayed interrupt for sent frames may be, ns */

static void send_delayed(struct nic_rig *r, unsigned i)
{
    tx_desc(r, i, DATA, EOP | RS | IDE | 60, 0);
    wr(r, TDT, i + 1);
}

static void test_e1000_delays_the_sent_interrupt(void **state)
{
    struct nic_rig *r = start();
    (void)state;
    wr(r, TIDV, 8);
    wr(r, TADV, 12);
    send_delayed(r, 0);
    assert_false(irq(r));
    flat_advance(r->pc.f, r->pc.m, 6 * 1024);
    send_delayed(r, 1); /* puts it off ... */
    flat_advance(r->pc.f, r->pc.m, 5 * 1024);
    assert_false(irq(r));
    flat_advance(r->pc.f, r->pc.m, 1024 + SLACK); /* ... until TADV after the first */
    assert_true(irq(r));
    rd(r, ICR);
    send_delayed(r, 2);
    assert_false(irq(r));
    wr(r, TIDV, 8 | 1u << 31); /* flush */
    assert_true(irq(r));
    rig_free(r);
}

static void test_e1000_delayed_cause_is_in_icr_in_time(void **state)
{
    struct nic_rig *r = start();
    (void)state;
    wr(r, TIDV, 8);
    send_delayed(r, 0);
    flat_advance(r->pc.f, r->pc.m, 7 * 1024);
    assert_int_equal(rd(r, ICR) & TXDW, 0);
    flat_advance(r->pc.f, r->pc.m, 1024);
    assert_int_equal(rd(r, ICR) & TXDW, TXDW);
    flat_advance(r->pc.f, r->pc.m, 2 * SLACK);
    assert_int_equal(rd(r, ICR) & TXDW, 0); /* once */
    rig_free(r);
}

static void test_e1000_later_frame_brings_the_delayed_interrupt(void **state)
{
    struct nic_rig *r = start();
    (void)state;
    wr(r, TIDV, 8);
    send_delayed(r, 0);
    flat_advance(r->pc.f, r->pc.m, 8 * 1024 + SLACK - 10000);
    assert_false(irq(r));
    send_delayed(r, 1);
    assert_true(irq(r));
    rig_free(r);
}

static void test_e1000_delay_waits_for_the_throttle(void **state)
{
    struct nic_rig *r = start();
    (void)state;
    wr(r, ITR, 4000); /* 1.024 ms */
    wr(r, TIDV, 8);
    send_delayed(r, 0);
    flat_advance(r->pc.f, r->pc.m, 8 * 1024 + SLACK);
    assert_true(irq(r));
    rd(r, ICR);
    send_delayed(r, 1);
    flat_advance(r->pc.f, r->pc.m, 1000000);
    assert_false(irq(r));
    flat_advance(r->pc.f, r->pc.m, 24000 + SLACK);
    assert_true(irq(r));
    rig_free(r);
}

/* ---- receiving ---- */

static void test_e1000_receives_over_the_ring_end(void **state)
{
    struct nic_rig *r = start();
    uint8_t frame[1514];
    (void)state;
    for (unsigned i = 0; i < 3 * N; i++) {
        unsigned at = i % N;
        rig_frame(frame, 60 + i * 60, rig_mac);
        assert_true(rig_deliver(r, frame, 60 + i * 60));
        assert_int_equal(ram(r, RX + 16 * at + 12)[0] & 0x0f, 7); /* DD, EOP, IXSM */
        assert_int_equal(load_le16(ram(r, RX + 16 * at + 8)), 60 + i * 60);
        assert_memory_equal(ram(r, BUF + 0x1000 * at), frame, 60 + i * 60);
        rx_desc(r, at);
        wr(r, RDT, at);
    }
    assert_true(irq(r));
    assert_int_equal(rd(r, GPRC), 3 * N);
    assert_int_equal(rd(r, GPRC), 0); /* reading clears */
    rig_free(r);
}

static void test_e1000_when_ring_is_full_then_frames_wait(void **state)
{
    struct nic_rig *r = start();
    uint8_t frame[60];
    (void)state;
    rig_frame(frame, 60, rig_mac);
    for (unsigned i = 0; i < N - 1; i++) {
        assert_true(rig_deliver(r, frame, 60));
    }
    frame[20] = 0xab;
    assert_false(rig_deliver(r, frame, 60));
    assert_int_equal(rd(r, RDH), N - 1);
    rx_desc(r, 0);
    wr(r, RDT, 0);
    assert_int_equal(rd(r, RDH), N - 1); /* not from inside the write */
    rig_turn(r);
    assert_int_equal(rd(r, RDH), 0);
    assert_int_equal(ram(r, BUF + 0x1000 * (N - 1))[20], 0xab);
    assert_int_equal(r->resumed, 1);
    rig_free(r);
}

static void test_e1000_splits_a_jumbo_frame(void **state)
{
    struct nic_rig *r = start();
    uint8_t frame[9000];
    (void)state;
    rig_frame(frame, sizeof(frame), rig_mac);
    rig_deliver(r, frame, sizeof(frame)); /* LPE off: too long */
    assert_int_equal(rd(r, RDH), 0);
    wr(r, RCTL, (rd(r, RCTL) & ~0x04000000u) | 0x20); /* with FCS */
    rig_deliver(r, frame, sizeof(frame));
    assert_int_equal(rd(r, RDH), 5);
    for (unsigned i = 0; i < 5; i++) {
        uint32_t n = load_le16(ram(r, RX + 16 * i + 8)),
                 data = n > 9000 - i * 2048 ? 9000 - i * 2048 : n;
        assert_int_equal(n, i < 4 ? 2048 : 9004 - 4 * 2048);
        assert_int_equal(ram(r, RX + 16 * i + 12)[0] & 3, i < 4 ? 1 : 3);
        assert_memory_equal(ram(r, BUF + 0x1000 * i), frame + 2048 * i, data);
    }
    rig_free(r);
}

static void test_e1000_frame_larger_than_any_ring_is_dropped(void **state)
{
    struct nic_rig *r = start();
    uint8_t *frame = calloc(1, NIC_FRAME_MAX);
    (void)state;
    rig_frame(frame, 16380, rig_mac);
    wr(r, RCTL, 0x04000022 | 3 << 16); /* 256-byte buffers: 64 of them for it, and 8 are there */
    assert_true(rig_deliver(r, frame, 16380));
    assert_int_equal(rd(r, MPC), 1);
    rig_frame(frame, NIC_FRAME_MAX, rig_mac);
    assert_true(rig_deliver(r, frame, NIC_FRAME_MAX));
    assert_true(rig_deliver(r, frame, 0));
    assert_true(rig_deliver(r, frame, 13));
    assert_int_equal(rd(r, RDH), 0);
    free(frame);
    rig_free(r);
}

static void test_e1000_pads_and_hides_nothing_of_the_host(void **state)
{
    struct nic_rig *r = start();
    uint8_t frame[60];
    (void)state;
    wr(r, RCTL, 0x00008002); /* FCS kept */
    memset(ram(r, BUF), 0x5a, 100);
    rig_frame(frame, 20, rig_mac);
    rig_deliver(r, frame, 20);
    assert_int_equal(load_le16(ram(r, RX + 8)), 64);
    for (unsigned i = 20; i < 64; i++) {
        assert_int_equal(ram(r, BUF)[i], 0);
    }
    assert_int_equal(ram(r, BUF)[64], 0x5a);
    rig_free(r);
}

static bool arrives(struct nic_rig *r, const uint8_t *dst)
{
    uint8_t frame[60];
    uint32_t head = rd(r, RDH);
    rig_frame(frame, 60, dst);
    rig_deliver(r, frame, 60);
    bool here = rd(r, RDH) != head;
    wr(r, RDT, (rd(r, RDH) + N - 1) % N);
    return here;
}

static void test_e1000_filters_addresses(void **state)
{
    static const uint8_t other[6] = { 2, 1, 1, 1, 1, 1 }, all[6] = { 255, 255, 255, 255, 255, 255 },
                         group[6] = { 1, 0, 0x5e, 0, 0x12, 0x34 };
    struct nic_rig *r = start();
    (void)state;
    assert_true(arrives(r, rig_mac));
    assert_true(arrives(r, all));
    assert_false(arrives(r, other));
    assert_false(arrives(r, group));
    unsigned hash = (0x3412 >> 4) & 0xfff;
    wr(r, MTA + 4 * (hash >> 5), 1u << (hash & 31));
    assert_true(arrives(r, group));
    wr(r, RCTL, rd(r, RCTL) | 3 << 12); /* another window of the hash */
    assert_false(arrives(r, group));
    wr(r, RA + 8, load_le32(other));
    wr(r, RA + 12, load_le16(other + 4) | 1u << 31);
    assert_true(arrives(r, other));
    wr(r, RA + 12, load_le16(other + 4));
    assert_false(arrives(r, other));
    wr(r, RCTL, rd(r, RCTL) | 0x18); /* promiscuous both ways */
    assert_true(arrives(r, other));
    assert_true(arrives(r, group));
    wr(r, RCTL, 0x04000002); /* no broadcast */
    assert_false(arrives(r, all));
    wr(r, RCTL, 0x04008000); /* off */
    assert_false(arrives(r, rig_mac));
    rig_free(r);
}

static void test_e1000_takes_tags_out_and_filters_them(void **state)
{
    struct nic_rig *r = start();
    uint8_t frame[100];
    (void)state;
    rig_frame(frame, 100, rig_mac);
    store_be32(frame + 12, 0x81006005); /* VLAN 5, priority 3 */
    rig_deliver(r, frame, 100);
    assert_int_equal(load_le16(ram(r, RX + 8)), 100); /* VME off: as it is */
    wr(r, CTRL, rd(r, CTRL) | 1u << 30);
    rig_deliver(r, frame, 100);
    assert_int_equal(load_le16(ram(r, RX + 16 + 8)), 96);
    assert_int_equal(load_le16(ram(r, RX + 16 + 14)), 0x6005);
    assert_int_equal(ram(r, RX + 16 + 12)[0] & 8, 8);
    assert_memory_equal(ram(r, BUF + 0x1000 + 12), frame + 16, 84);
    wr(r, RCTL, rd(r, RCTL) | 1 << 18); /* VFE */
    rig_deliver(r, frame, 100);
    assert_int_equal(rd(r, RDH), 2);
    wr(r, VFTA, 1 << 5);
    rig_deliver(r, frame, 100);
    assert_int_equal(rd(r, RDH), 3);
    rig_free(r);
}

static void test_e1000_checks_sums_of_what_comes(void **state)
{
    struct nic_rig *r = start();
    uint8_t frame[600];
    uint32_t len = rig_tcp(frame, 500);
    (void)state;
    store_be16(frame + 16, (uint16_t)(len - 14));
    nic_put_sums(frame, len, true, true, true);
    wr(r, RXCSUM, 0x300);
    rig_deliver(r, frame, len);
    assert_int_equal(ram(r, RX + 12)[0], 0x63); /* DD, EOP, TCPCS, IPCS */
    assert_int_equal(ram(r, RX + 13)[0], 0);
    frame[100] ^= 1;
    frame[22]--;
    rig_deliver(r, frame, len);
    assert_int_equal(ram(r, RX + 16 + 12)[0], 0x63);
    assert_int_equal(ram(r, RX + 16 + 13)[0], 0x60); /* IPE, TCPE */
    frame[17] += 100; /* IP says more than there is: nothing is claimed */
    rig_deliver(r, frame, 60);
    assert_int_equal(ram(r, RX + 32 + 12)[0], 0x07);
    rig_free(r);
}

static void test_e1000_throttles_interrupts(void **state)
{
    struct nic_rig *r = start();
    uint8_t frame[60];
    (void)state;
    rig_frame(frame, 60, rig_mac);
    wr(r, ITR, 400); /* 102.4 us */
    rig_deliver(r, frame, 60);
    assert_true(irq(r)); /* the first one at once */
    rd(r, ICR);
    assert_false(irq(r));
    rig_deliver(r, frame, 60);
    assert_false(irq(r));
    flat_advance(r->pc.f, r->pc.m, 102000);
    assert_false(irq(r));
    flat_advance(r->pc.f, r->pc.m, 500);
    assert_true(irq(r));
    rig_free(r);
}

static void test_e1000_delays_the_received_interrupt(void **state)
{
    struct nic_rig *r = start();
    uint8_t frame[60];
    (void)state;
    rig_frame(frame, 60, rig_mac);
    wr(r, RDTR, 10);
    rig_deliver(r, frame, 60);
    assert_false(irq(r));
    flat_advance(r->pc.f, r->pc.m, 9 * 1024);
    rig_deliver(r, frame, 60);
    flat_advance(r->pc.f, r->pc.m, 9 * 1024);
    assert_false(irq(r));
    flat_advance(r->pc.f, r->pc.m, 1024);
    assert_true(irq(r));
    rig_free(r);
}

/* Everything about both rings points at the part's own registers: DMA does not get there. */
static void test_e1000_loopback_into_its_own_registers(void **state)
{
    struct nic_rig *r = start();
    (void)state;
    rig_frame(ram(r, DATA), 60, rig_mac);
    wr(r, RCTL, 0x04008042);
    for (unsigned i = 0; i < N; i++) {
        store_le(ram(r, RX + 16 * i), 8, BAR + TDT);
    }
    tx_desc(r, 0, DATA, EOP | 60, 0);
    tx_desc(r, 1, BAR, EOP | 60, 0);
    wr(r, TDT, 2);
    assert_int_equal(rd(r, TDH), 2);
    assert_int_equal(rd(r, TDT), 2);
    assert_int_equal(r->nsent, 0);
    rig_free(r);
}

static void test_e1000_stopped_machine_takes_no_frame(void **state)
{
    struct nic_rig *r = start();
    uint8_t frame[60];
    (void)state;
    rig_frame(frame, 60, rig_mac);
    machine_enter(r->pc.m);
    machine_set_run_state(r->pc.m, RUN_PAUSED);
    machine_leave(r->pc.m);
    assert_false(rig_deliver(r, frame, 60));
    assert_int_equal(rd(r, RDH), 0);
    machine_enter(r->pc.m);
    machine_set_run_state(r->pc.m, RUN_RUNNING);
    nic_kick(r->nic);
    machine_leave(r->pc.m);
    rig_turn(r);
    assert_int_equal(rd(r, RDH), 1);
    rig_free(r);
}

static void test_e1000_state_moves_in_the_middle_of_a_frame(void **state)
{
    struct nic_rig *a = start(), *b = rig_new(&e1000_class);
    uint8_t frame[500];
    (void)state;
    rig_frame(frame, sizeof(frame), rig_mac);
    memcpy(ram(a, DATA), frame, sizeof(frame));
    tx_desc(a, 0, DATA, 200, 0);
    wr(a, TDT, 1); /* half a packet */
    rig_deliver(a, frame, 500);
    assert_true(irq(a));
    pc_move(&a->pc, &b->pc);
    memcpy(b->pc.f->ram, a->pc.f->ram, RAM);
    assert_true(irq(b));
    tx_desc(b, 1, DATA + 200, 300 | EOP, 0);
    wr(b, TDT, 2);
    assert_int_equal(b->nsent, 1);
    assert_int_equal(b->sent_len[0], 500);
    assert_memory_equal(b->sent[0], frame, 500);
    rig_free(a);
    rig_free(b);
}

static void test_e1000_vanishes_and_comes_back_with_a_reset(void **state)
{
    struct nic_rig *r = start();
    uint8_t frame[60];
    (void)state;
    rig_frame(frame, 60, rig_mac);
    machine_enter(r->pc.m);
    net_unplug_cards(r->pc.m);
    machine_leave(r->pc.m);
    assert_int_equal(cfg(&r->pc, CARD, 0, 4), 0xffffffff);
    assert_int_equal(rd(r, STATUS), 0xffffffff);
    assert_true(rig_deliver(r, frame, 60)); /* into nothing */
    machine_enter(r->pc.m);
    machine_reset(r->pc.m);
    machine_leave(r->pc.m);
    assert_int_equal(cfg(&r->pc, CARD, 0, 4), 0x100e8086);
    rig_free(r);
}

static void test_e1000_rx_filter_is_told(void **state)
{
    struct nic_rig *r = start();
    struct nic_rx_filter f = { 0 };
    (void)state;
    wr(r, RA + 8, 0x11111101);
    wr(r, RA + 12, 0x80001111);
    r->nic->user->rx_filter(r->nic->opaque, &f);
    assert_memory_equal(f.mac, rig_mac, 6);
    assert_int_equal(f.ntable, 1);
    assert_true(f.broadcast_allowed);
    assert_false(f.promiscuous);
    rig_free(r);
}

static void test_e1000_refuses_wrong_addresses(void **state)
{
    static const char *const wrong[] = { "",
                                         "52:54:00:12:34",
                                         "52:54:00:12:34:5g",
                                         "01:00:00:00:00:00",
                                         "52:54:00:12:34:56:78",
                                         "525400123456" };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        struct flat_pc pc;
        struct err e = { 0 };
        pc_make(&pc, true);
        struct device *d = dev_new(pc.m, &e1000_class, "card");
        dev_set_str(d, "mac", wrong[i]);
        assert_int_equal(dev_init(d, &e), -EINVAL);
        assert_non_null(strstr(e.msg, "mac="));
        pc_free(&pc);
    }
}

static void test_e1000_frames_of_any_size_hide_the_host(void **state)
{
    (void)state;
    rig_hides_the_host(start, 1514);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_e1000_identity_and_eeprom),
        cmocka_unit_test(test_e1000_eeprom_bit_by_bit),
        cmocka_unit_test(test_e1000_phy_negotiates),
        cmocka_unit_test(test_e1000_cable_pulled_and_back),
        cmocka_unit_test(test_e1000_io_window_reaches_registers),
        cmocka_unit_test(test_e1000_sends_a_frame_of_parts_over_the_ring_end),
        cmocka_unit_test(test_e1000_pads_short_frames_with_zeroes),
        cmocka_unit_test(test_e1000_when_pointers_leave_the_ring_then_nothing_is_sent),
        cmocka_unit_test(test_e1000_when_the_ring_is_no_memory_then_it_stops),
        cmocka_unit_test(test_e1000_packet_without_end_is_bounded),
        cmocka_unit_test(test_e1000_long_ring_yields),
        cmocka_unit_test(test_e1000_stops_for_a_full_back_end),
        cmocka_unit_test(test_e1000_puts_in_checksums),
        cmocka_unit_test(test_e1000_cuts_segments),
        cmocka_unit_test(test_e1000_cuts_tagged_segments),
        cmocka_unit_test(test_e1000_cuts_segments_by_itself_in_loopback),
        cmocka_unit_test(test_e1000_hostile_segmentation_ends),
        cmocka_unit_test(test_e1000_delays_the_sent_interrupt),
        cmocka_unit_test(test_e1000_delayed_cause_is_in_icr_in_time),
        cmocka_unit_test(test_e1000_later_frame_brings_the_delayed_interrupt),
        cmocka_unit_test(test_e1000_delay_waits_for_the_throttle),
        cmocka_unit_test(test_e1000_receives_over_the_ring_end),
        cmocka_unit_test(test_e1000_when_ring_is_full_then_frames_wait),
        cmocka_unit_test(test_e1000_splits_a_jumbo_frame),
        cmocka_unit_test(test_e1000_frame_larger_than_any_ring_is_dropped),
        cmocka_unit_test(test_e1000_pads_and_hides_nothing_of_the_host),
        cmocka_unit_test(test_e1000_filters_addresses),
        cmocka_unit_test(test_e1000_takes_tags_out_and_filters_them),
        cmocka_unit_test(test_e1000_checks_sums_of_what_comes),
        cmocka_unit_test(test_e1000_throttles_interrupts),
        cmocka_unit_test(test_e1000_delays_the_received_interrupt),
        cmocka_unit_test(test_e1000_loopback_into_its_own_registers),
        cmocka_unit_test(test_e1000_stopped_machine_takes_no_frame),
        cmocka_unit_test(test_e1000_state_moves_in_the_middle_of_a_frame),
        cmocka_unit_test(test_e1000_vanishes_and_comes_back_with_a_reset),
        cmocka_unit_test(test_e1000_rx_filter_is_told),
        cmocka_unit_test(test_e1000_refuses_wrong_addresses),
        cmocka_unit_test(test_e1000_frames_of_any_size_hide_the_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
