/* SPDX-License-Identifier: MIT */
/* tests/unit/test-rtl8139.c - the RTL8139C+ through the door: the ring buffer at every place it can
 * wrap, both descriptor modes, offloads, EEPROM, timer, power, what hostile drivers do.
 */
#include "nic-rig.h"

enum { IO = 0xc000, MEM = 0xe0000000, RING = 0x20000, TX = 0x1000, RX = 0x2000, BUF = 0x40000 };
enum { DATA = 0x8000 };
enum {
    TSD0 = 0x10,
    TSAD0 = 0x20,
    RBSTART = 0x30,
    CR = 0x37,
    CAPR = 0x38,
    CBR = 0x3a,
    IMR = 0x3c,
    ISR = 0x3e,
    TCR = 0x40,
    RCR = 0x44,
    TCTR = 0x48,
    MPC = 0x4c,
    CR9346 = 0x50,
    CONFIG1 = 0x52,
    TIMERINT = 0x54,
    MSR = 0x58,
    BMSR = 0x64,
    CSCR = 0x74,
    TPPOLL = 0xd9,
    CPCR = 0xe0,
    RDSAR = 0xe4,
};
enum { ROK = 1, TOK = 4, RXOVW = 0x10, PUN = 0x20, TDU = 0x80, SWINT = 0x100, TIMEOUT = 0x4000 };
enum { EOR = 1 << 30, FS = 1 << 29, LS = 1 << 28, LGSEN = 1 << 27 };
#define OWN (1u << 31)

static uint32_t rd(struct nic_rig *r, unsigned reg, unsigned size)
{
    return in(&r->pc, IO + reg, size);
}

static void wr(struct nic_rig *r, unsigned reg, unsigned size, uint32_t val)
{
    out(&r->pc, IO + reg, size, val);
}

static void decode(struct nic_rig *r)
{
    cfg_set(&r->pc, CARD, PCI_BAR0, 4, IO);
    cfg_set(&r->pc, CARD, PCI_BAR0 + 4, 4, MEM);
    cfg_set(&r->pc, CARD, PCI_COMMAND, 2, 7);
}

/* C mode, receive buffer of 8 KiB << rblen. */
static struct nic_rig *start_c(unsigned rblen, bool wrap)
{
    struct nic_rig *r = rig_new(&rtl8139_class);
    decode(r);
    wr(r, CR, 1, 0x0c);
    wr(r, RCR, 4, 0x0e | (wrap ? 0x80u : 0) | rblen << 11);
    wr(r, RBSTART, 4, RING);
    wr(r, IMR, 2, ROK | TOK | RXOVW | PUN | TIMEOUT);
    return r;
}

static struct nic_rig *start_cplus(unsigned ntx, unsigned nrx, uint32_t rx_size)
{
    struct nic_rig *r = rig_new(&rtl8139_class);
    decode(r);
    wr(r, CPCR, 2, 0x63); /* TX, RX, checksums, tags out */
    wr(r, RCR, 4, 0x0e);
    wr(r, RDSAR, 4, RX);
    wr(r, TSAD0, 4, TX);
    for (unsigned i = 0; i < nrx; i++) {
        store_le(ram(r, RX + 16 * i), 4, OWN | (i + 1 == nrx ? EOR : 0) | rx_size);
        store_le(ram(r, RX + 16 * i + 8), 8, BUF + 0x1000 * i);
    }
    store_le(ram(r, TX + 16 * (ntx - 1)), 4, EOR);
    wr(r, CR, 1, 0x0c);
    wr(r, IMR, 2, 0xffff);
    return r;
}

static bool irq(struct nic_rig *r)
{
    return r->pc.f->intx[CARD][0];
}

/* ---- identity ---- */

static void test_rtl8139_identity(void **state)
{
    struct nic_rig *r = start_c(0, false);
    (void)state;
    assert_int_equal(cfg(&r->pc, CARD, 0, 4), 0x813910ec);
    assert_int_equal(cfg(&r->pc, CARD, 8, 1), 0x20);
    assert_int_equal(rd(r, 0, 4), 0x12005452);
    assert_int_equal(rd(r, 4, 2), 0x5634);
    assert_int_equal(rd(r, 3, 1), 0x12);
    assert_int_equal(rd(r, TCR, 4) & 0x7cc00000, 0x74800000);
    assert_int_equal(rd(r, MSR, 1) & 4, 0);
    assert_int_equal(rd(r, BMSR, 2) & 0x24, 0x24);
    assert_int_equal(io_read(r->pc.m, IO_MMIO, MEM, 4), 0x12005452);
    rig_free(r);
}

static unsigned bit_in(struct nic_rig *r, unsigned bit)
{
    wr(r, CR9346, 1, 0x88 | bit << 1);
    wr(r, CR9346, 1, 0x8c | bit << 1);
    return rd(r, CR9346, 1) & 1;
}

static void start_command(struct nic_rig *r, unsigned bits)
{
    wr(r, CR9346, 1, 0x80);
    wr(r, CR9346, 1, 0x88);
    for (int i = 8; i >= 0; i--) {
        bit_in(r, bits >> i & 1);
    }
}

static uint16_t eeprom(struct nic_rig *r, unsigned word)
{
    uint16_t v = 0;
    start_command(r, 6u << 6 | word);
    for (int i = 0; i < 16; i++) {
        v = (uint16_t)(v << 1 | bit_in(r, 0));
    }
    return v;
}

static void eeprom_write(struct nic_rig *r, unsigned word, uint16_t v)
{
    start_command(r, 5u << 6 | word);
    for (int i = 15; i >= 0; i--) {
        bit_in(r, v >> i & 1);
    }
}

static void test_rtl8139_eeprom_reads_writes_and_loads(void **state)
{
    struct nic_rig *r = start_c(0, false);
    (void)state;
    assert_int_equal(eeprom(r, 0), 0x8129);
    assert_int_equal(eeprom(r, 7), 0x5452);
    assert_int_equal(eeprom(r, 9), 0x5634);
    eeprom_write(r, 9, 0xbeef);
    assert_int_equal(eeprom(r, 9), 0x5634); /* not allowed yet */
    start_command(r, 4u << 6 | 3u << 4);    /* EWEN */
    eeprom_write(r, 9, 0xbeef);
    assert_int_equal(eeprom(r, 9), 0xbeef);
    start_command(r, 4u << 6); /* EWDS */
    eeprom_write(r, 9, 0x1111);
    assert_int_equal(eeprom(r, 9), 0xbeef);
    wr(r, CR9346, 1, 0x40); /* load */
    assert_int_equal(rd(r, 4, 2), 0xbeef);
    assert_int_equal(rd(r, CR9346, 1), 0);
    rig_free(r);
}

static void test_rtl8139_config_registers_need_unlocking(void **state)
{
    struct nic_rig *r = start_c(0, false);
    uint32_t was = rd(r, CONFIG1, 1);
    (void)state;
    wr(r, CONFIG1, 1, 0xf0);
    assert_int_equal(rd(r, CONFIG1, 1), was);
    wr(r, CR9346, 1, 0xc0);
    wr(r, CONFIG1, 1, 0xf0);
    assert_int_equal(rd(r, CONFIG1, 1), 0xfc);
    rig_free(r);
}

static void test_rtl8139_accesses_of_any_width_reach_their_registers(void **state)
{
    struct nic_rig *r = start_c(0, false);
    (void)state;
    wr(r, 8, 4, 0x44332211);
    wr(r, 9, 1, 0x99);
    assert_int_equal(rd(r, 8, 4), 0x44339911);
    wr(r, IMR, 4, 0xffff0003); /* IMR and ISR in one */
    assert_int_equal(rd(r, IMR, 2), 3);
    wr(r, 0x84, 4, 0x12345678);
    assert_int_equal(rd(r, 0x86, 2), 0x1234);
    assert_int_equal(rd(r, 0xf8, 4), 0);
    rig_free(r);
}

static void test_rtl8139_timer(void **state)
{
    struct nic_rig *r = start_c(0, false);
    (void)state;
    wr(r, TCTR, 4, 0);
    wr(r, TIMERINT, 4, 3300); /* 100 us */
    flat_advance(r->pc.f, r->pc.m, 99000);
    assert_int_equal(rd(r, ISR, 2) & TIMEOUT, 0);
    assert_int_equal(rd(r, TCTR, 4), 99 * 33);
    flat_advance(r->pc.f, r->pc.m, 1100);
    assert_int_equal(rd(r, ISR, 2) & TIMEOUT, TIMEOUT);
    assert_true(irq(r));
    wr(r, ISR, 2, TIMEOUT);
    assert_false(irq(r));
    flat_advance(r->pc.f, r->pc.m, 1000000);
    assert_false(irq(r)); /* once in 2^32 ticks */
    wr(r, TIMERINT, 4, 0);
    rig_free(r);
}

static void test_rtl8139_link(void **state)
{
    struct nic_rig *r = start_c(0, false);
    (void)state;
    machine_enter(r->pc.m);
    nic_set_link(r->nic, false);
    machine_leave(r->pc.m);
    assert_int_equal(rd(r, MSR, 1) & 4, 4);
    assert_int_equal(rd(r, BMSR, 2) & 4, 0);
    assert_int_equal(rd(r, ISR, 2), PUN);
    assert_true(irq(r));
    assert_int_equal(rd(r, CSCR, 2) & 0x0c08, 0x0800); /* changed: no underrun, says this bit */
    wr(r, ISR, 2, PUN);
    assert_int_equal(rd(r, CSCR, 2) & 0x0c08, 0);
    machine_enter(r->pc.m);
    nic_set_link(r->nic, true);
    machine_leave(r->pc.m);
    assert_int_equal(rd(r, CSCR, 2) & 0x0c08, 0x0c08);
    wr(r, CSCR, 2, 0xffff); /* none of them can be written */
    wr(r, ISR, 2, PUN);
    assert_int_equal(rd(r, CSCR, 2) & 0x0c08, 0x0408);
    rig_free(r);
}

/* ---- C mode ---- */

static void test_rtl8139_c_sends_in_turn(void **state)
{
    struct nic_rig *r = start_c(0, false);
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        rig_frame(ram(r, DATA + 0x800 * i), 300 + i, rig_mac);
        wr(r, TSAD0 + 4 * i, 4, DATA + 0x800 * i);
    }
    wr(r, TSD0 + 4, 4, 301); /* not its turn */
    assert_int_equal(r->nsent, 0);
    wr(r, TSD0, 4, 300); /* both now */
    assert_int_equal(r->nsent, 2);
    assert_int_equal(r->sent_len[1], 301);
    assert_int_equal(rd(r, TSD0, 4), 300 | 0xa000);
    assert_int_equal(rd(r, 0x60, 2), 0x300f); /* OWN of all, TOK of two */
    assert_true(irq(r));
    assert_int_equal(rd(r, ISR, 2), TOK);
    for (unsigned i = 2; i < 10; i++) {
        wr(r, TSD0 + 4 * (i & 3), 4, 60);
    }
    assert_int_equal(r->nsent, 10);
    wr(r, TSAD0 + 8, 4, 0xf0000000); /* no memory: zeroes */
    wr(r, TSD0 + 8, 4, 0x1fff);
    assert_int_equal(r->sent_len[10], 0x1fff);
    assert_int_equal(r->sent[10][100], 0);
    wr(r, TSD0 + 12, 4, 0); /* nothing to send, and done all the same */
    assert_int_equal(r->nsent, 11);
    assert_int_equal(rd(r, TSD0 + 12, 4) & 0x2000, 0x2000);
    rig_free(r);
}

static uint8_t ring_byte(struct nic_rig *r, uint32_t at, uint32_t len, bool wrap)
{
    return ram(r, RING)[wrap ? at : at % len];
}

/* The next frame's bytes as a driver would read them. */
static void check_ring(struct nic_rig *r, uint32_t *at, uint32_t size, bool linear,
                       const uint8_t *frame, uint32_t len)
{
    uint32_t status = ring_byte(r, *at, size, linear) | ring_byte(r, *at + 1, size, linear) << 8;
    uint32_t n = ring_byte(r, *at + 2, size, linear) | ring_byte(r, *at + 3, size, linear) << 8;
    assert_int_equal(status, 0x4001);
    assert_int_equal(n, (len < 60 ? 60 : len) + 4);
    for (uint32_t i = 0; i < len; i++) {
        assert_int_equal(ring_byte(r, *at + 4 + i, size, linear), frame[i]);
    }
    *at = ((*at + 4 + n + 3) & ~3u) % size;
}

static void wrap_test(unsigned rblen, bool wrap)
{
    struct nic_rig *r = start_c(rblen, wrap);
    uint32_t size = 8192u << rblen, at = 0;
    bool linear = wrap && rblen < 3;
    uint8_t frame[1514];
    for (uint32_t i = 0; i < 3 * size / 700; i++) {
        uint32_t len = 14 + i * 37 % 1500;
        rig_frame(frame, len, rig_mac);
        assert_int_equal(rd(r, CR, 1) & 1, 1); /* empty */
        assert_true(rig_deliver(r, frame, len));
        assert_int_equal(rd(r, CR, 1) & 1, 0);
        check_ring(r, &at, size, linear, frame, len);
        assert_int_equal(rd(r, CBR, 2), at);
        wr(r, CAPR, 2, (uint16_t)(at - 16));
    }
    /* what lies behind buffer and slack was not touched */
    for (uint32_t i = size + 1600; i < size + 3000; i++) {
        assert_int_equal(ram(r, RING)[i], 0);
    }
    for (uint32_t i = linear ? size + 1600 : size; i < size + 1600; i++) {
        assert_int_equal(ram(r, RING)[i], 0);
    }
    rig_free(r);
}

static void test_rtl8139_c_ring_wraps_everywhere(void **state)
{
    (void)state;
    for (unsigned rblen = 0; rblen < 4; rblen++) {
        wrap_test(rblen, false);
        wrap_test(rblen, true);
    }
}

static void test_rtl8139_c_full_ring_holds_frames(void **state)
{
    struct nic_rig *r = start_c(0, false);
    uint8_t frame[1000];
    unsigned n = 0;
    (void)state;
    rig_frame(frame, 1000, rig_mac);
    while (rig_deliver(r, frame, 1000)) {
        n++;
    }
    assert_int_equal(n, 8); /* of 1008 bytes, one byte at least stays free */
    assert_int_equal(rd(r, CBR, 2), 8064);
    rig_turn(r);
    wr(r, CAPR, 2, (uint16_t)(1008 - 16));
    assert_int_equal(rd(r, CBR, 2), 8064);
    rig_turn(r);
    assert_int_equal(rd(r, CBR, 2), 9072 - 8192);
    assert_int_equal(r->resumed, 1);
    wr(r, CAPR, 2, 0xffff); /* any value is some place in the ring */
    rig_deliver(r, frame, 1000);
    rig_free(r);
}

/* The driver has cleared ROK and stopped reading, as Linux's 8139too may: it hears of the frame that
 * waits, again each time it clears what told it. */
static void test_rtl8139_c_full_ring_is_not_forgotten(void **state)
{
    struct nic_rig *r = start_c(0, false);
    uint8_t frame[1000];
    (void)state;
    rig_frame(frame, 1000, rig_mac);
    while (rig_deliver(r, frame, 1000)) {
    }
    flat_advance(r->pc.f, r->pc.m, 5000000);
    rig_turn(r);
    assert_int_equal(rd(r, ISR, 2), ROK); /* enough to have it look */
    for (unsigned i = 0; i < 3; i++) {
        wr(r, ISR, 2, ROK | RXOVW);
        assert_false(irq(r));
        rig_turn(r);
        flat_advance(r->pc.f, r->pc.m, 1000000);
        rig_turn(r);
        assert_int_equal(rd(r, ISR, 2), RXOVW);
        assert_true(irq(r));
    }
    wr(r, ISR, 2, RXOVW);
    wr(r, CAPR, 2, (uint16_t)(1008 - 16));
    rig_turn(r);
    assert_int_equal(rd(r, ISR, 2), ROK);
    wr(r, ISR, 2, ROK);
    flat_advance(r->pc.f, r->pc.m, 5000000);
    rig_turn(r);
    assert_int_equal(rd(r, ISR, 2), 0); /* nothing waits any more */
    assert_int_equal(rd(r, MPC, 4), 0); /* nothing was lost */
    rig_free(r);
}

static void test_rtl8139_c_filters(void **state)
{
    static const uint8_t group[6] = { 1, 0, 0x5e, 0, 0, 1 }, other[6] = { 2, 2, 2, 2, 2, 2 },
                         all[6] = { 255, 255, 255, 255, 255, 255 };
    struct nic_rig *r = start_c(1, false);
    uint8_t frame[60];
    (void)state;
    rig_frame(frame, 60, other);
    rig_deliver(r, frame, 60);
    rig_frame(frame, 60, group);
    rig_deliver(r, frame, 60);
    assert_int_equal(rd(r, CBR, 2), 0);
    wr(r, 8, 4, 0xffffffff); /* ether_crc(01:00:5e:00:00:01) >> 26 is 31 */
    wr(r, 8, 4, 1u << 31);
    wr(r, 12, 4, 0);
    rig_deliver(r, frame, 60);
    assert_int_equal(load_le16(ram(r, RING)), 0x8001);
    rig_frame(frame, 60, all);
    rig_deliver(r, frame, 60);
    assert_int_equal(load_le16(ram(r, RING + 68)), 0x2001);
    wr(r, RCR, 4, 0x0f | 1 << 11);
    rig_frame(frame, 60, other);
    rig_deliver(r, frame, 60);
    assert_int_equal(load_le16(ram(r, RING + 136)), 0x0001);
    rig_free(r);
}

static void test_rtl8139_c_loops_back(void **state)
{
    struct nic_rig *r = start_c(0, false);
    (void)state;
    rig_frame(ram(r, DATA), 100, rig_mac);
    wr(r, TCR, 4, 0x60000);
    wr(r, TSAD0, 4, DATA);
    wr(r, TSD0, 4, 100);
    assert_int_equal(r->nsent, 0);
    assert_memory_equal(ram(r, RING + 4), ram(r, DATA), 100);
    wr(r, RBSTART, 4, MEM); /* its own registers: no memory */
    wr(r, TSAD0 + 4, 4, MEM);
    wr(r, TSD0 + 4, 4, 100);
    rig_free(r);
}

/* ---- C+ mode ---- */

static void tx_desc(struct nic_rig *r, unsigned i, uint32_t opts, uint32_t opts2, uint32_t addr)
{
    store_le(ram(r, TX + 16 * i), 4, opts);
    store_le(ram(r, TX + 16 * i + 4), 4, opts2);
    store_le(ram(r, TX + 16 * i + 8), 8, addr);
}

static void test_rtl8139_cplus_sends_over_the_ring_end(void **state)
{
    struct nic_rig *r = start_cplus(4, 4, 1536);
    uint8_t frame[900];
    (void)state;
    rig_frame(frame, 900, rig_mac);
    memcpy(ram(r, DATA), frame, 900);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 4; i++) {
            tx_desc(r, i, OWN | (i == 3 ? EOR | LS : 0) | (i == 0 ? FS : 0) | (i == 3 ? 300 : 200),
                    0, DATA + 200 * i);
        }
        wr(r, TPPOLL, 1, 0x40);
        assert_int_equal(r->nsent, round + 1);
        assert_int_equal(r->sent_len[round], 900);
        assert_memory_equal(r->sent[round], frame, 900);
        assert_int_equal(load_le32(ram(r, TX + 48)) & OWN, 0);
        assert_int_equal(rd(r, ISR, 2), TOK | TDU);
        wr(r, ISR, 2, 0xffff);
    }
    rig_free(r);
}

static void test_rtl8139_cplus_ring_without_end_is_64(void **state)
{
    struct nic_rig *r = start_cplus(1, 4, 1536);
    (void)state;
    rig_frame(ram(r, DATA), 60, rig_mac);
    for (unsigned i = 0; i < 64; i++) {
        tx_desc(r, i, OWN | FS | LS | 60, 0, DATA);
    }
    wr(r, TPPOLL, 1, 0x40);
    assert_int_equal(r->nsent, 64);
    /* never gives back: the ring lies where nothing can be written */
    for (unsigned i = 0; i < 4; i++) {
        tx_desc(r, i, OWN | FS | LS | 60, 0, DATA);
    }
    wr(r, TPPOLL, 1, 0xc0); /* both queues; the second one's ring is at 0 */
    assert_int_equal(r->nsent, 68);
    rig_free(r);
}

static void test_rtl8139_cplus_checksums_and_tag(void **state)
{
    struct nic_rig *r = start_cplus(8, 4, 1536);
    uint32_t len = rig_tcp(ram(r, DATA), 333);
    (void)state;
    store_be16(ram(r, DATA + 16), (uint16_t)(len - 14));
    tx_desc(r, 0, OWN | FS | LS | 5 << 16 | len, 1 << 17 | 0x0520, DATA);
    wr(r, TPPOLL, 1, 0x40);
    assert_int_equal(r->sent_len[0], len + 4);
    assert_int_equal(load_be32(r->sent[0] + 12), 0x81002005);
    assert_int_equal(rig_sums(r->sent[0], len + 4), NIC_SUM_IP | NIC_SUM_TCP);
    rig_free(r);
}

/* IP lengths that lie: what is sent is what the guest gave, byte for byte. */
static void test_rtl8139_cplus_lying_lengths_leak_nothing(void **state)
{
    struct nic_rig *r = start_cplus(8, 4, 1536);
    (void)state;
    for (uint32_t total = 0; total < 70000; total += 1111) {
        rig_tcp(ram(r, DATA), 20);
        store_be16(ram(r, DATA + 16), (uint16_t)total);
        ram(r, DATA + 14)[0] = (uint8_t)(0x40 | (total / 1111 & 15));
        wr(r, CR, 1, 0);
        wr(r, CR, 1, 0x0c);
        tx_desc(r, 0, OWN | EOR | FS | LS | 7 << 16 | 74, 0, DATA);
        unsigned n = r->nsent % 256;
        wr(r, TPPOLL, 1, 0x40);
        assert_int_equal(r->sent_len[n], 74);
        assert_memory_equal(r->sent[n] + 52, ram(r, DATA + 52), 22);
        tx_desc(r, 0, OWN | EOR | FS | LS | LGSEN | (total & 0x7ff) << 16 | 74, 0, DATA);
        wr(r, TPPOLL, 1, 0x40);
    }
    rig_free(r);
}

static void test_rtl8139_cplus_large_send(void **state)
{
    struct nic_rig *r = start_cplus(8, 4, 1536);
    uint32_t len = rig_tcp(ram(r, DATA), 5000);
    (void)state;
    tx_desc(r, 0, OWN | FS | LS | LGSEN | 1448 << 16 | len, 0, DATA);
    wr(r, TPPOLL, 1, 0x40);
    assert_int_equal(r->nsent, 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(rig_sums(r->sent[i], r->sent_len[i]), NIC_SUM_IP | NIC_SUM_TCP);
        assert_int_equal(load_be32(r->sent[i] + 38), 0x01000000 + 1448 * i);
    }
    assert_int_equal(r->sent_len[3], 54 + 5000 - 3 * 1448);
    rig_free(r);
}

static void test_rtl8139_cplus_receives(void **state)
{
    struct nic_rig *r = start_cplus(4, 3, 1536);
    uint8_t frame[600];
    uint32_t len = rig_tcp(frame, 500);
    (void)state;
    store_be16(frame + 16, (uint16_t)(len - 14));
    nic_put_sums(frame, len, true, true, false);
    for (unsigned i = 0; i < 7; i++) {
        unsigned at = i % 3;
        assert_true(rig_deliver(r, frame, len));
        uint32_t opts = load_le32(ram(r, RX + 16 * at));
        assert_int_equal(opts & ~EOR, FS | LS | 1 << 25 | 1 << 16 | (len + 4));
        assert_memory_equal(ram(r, BUF + 0x1000 * at), frame, len);
        store_le(ram(r, RX + 16 * at), 4, OWN | (opts & EOR) | 1536);
    }
    frame[100] ^= 1;
    rig_deliver(r, frame, len);
    assert_int_equal(load_le32(ram(r, RX + 16)) >> 13 & 7, 1); /* TCPF */
    rig_free(r);
}

static void test_rtl8139_cplus_takes_tags_out(void **state)
{
    struct nic_rig *r = start_cplus(4, 3, 1536);
    uint8_t frame[100];
    (void)state;
    rig_frame(frame, 100, rig_mac);
    store_be32(frame + 12, 0x81002005);
    rig_deliver(r, frame, 100);
    assert_int_equal(load_le32(ram(r, RX)) & 0x1fff, 100);
    assert_int_equal(load_le32(ram(r, RX + 4)), 1 << 16 | 0x0520);
    assert_memory_equal(ram(r, BUF + 12), frame + 16, 84);
    rig_free(r);
}

static void test_rtl8139_cplus_spreads_a_frame(void **state)
{
    struct nic_rig *r = start_cplus(4, 4, 100);
    uint8_t frame[250];
    (void)state;
    rig_frame(frame, 250, rig_mac);
    assert_true(rig_deliver(r, frame, 250));
    for (unsigned i = 0; i < 3; i++) {
        uint32_t opts = load_le32(ram(r, RX + 16 * i));
        assert_int_equal(opts & OWN, 0);
        assert_int_equal(opts & (FS | LS), i == 0 ? FS : i == 2 ? LS : 0);
        assert_memory_equal(ram(r, BUF + 0x1000 * i), frame + 100 * i, i < 2 ? 100 : 50);
    }
    assert_false(rig_deliver(r, frame, 250)); /* one is left: too few */
    assert_int_equal(load_le32(ram(r, RX + 48)) & OWN, OWN);
    rig_free(r);
}

static void test_rtl8139_cplus_without_descriptors_waits_a_while(void **state)
{
    struct nic_rig *r = start_cplus(4, 1, 1536);
    uint8_t frame[60];
    (void)state;
    rig_frame(frame, 60, rig_mac);
    assert_true(rig_deliver(r, frame, 60));
    assert_false(rig_deliver(r, frame, 60));
    assert_int_equal(rd(r, ISR, 2), ROK | RXOVW);
    wr(r, ISR, 2, 0xffff);
    rig_turn(r);
    store_le(ram(r, RX), 4, OWN | EOR | 1536);
    wr(r, IMR, 2, 0xffff);
    rig_turn(r);
    assert_int_equal(load_le32(ram(r, RX)) & OWN, 0);
    assert_false(rig_deliver(r, frame, 60));
    for (unsigned i = 0; i < 100; i++) {
        flat_advance(r->pc.f, r->pc.m, 1000000);
        rig_turn(r);
    }
    assert_int_equal(rd(r, MPC, 4), 1); /* given up */
    rig_free(r);
}

static void test_rtl8139_cplus_hostile_rings(void **state)
{
    struct nic_rig *r = start_cplus(4, 1, 0);
    uint8_t frame[60];
    (void)state;
    rig_frame(frame, 60, rig_mac);
    assert_false(rig_deliver(r, frame, 60)); /* a ring of one descriptor of no length */
    for (unsigned i = 0; i < 64; i++) {
        store_le(ram(r, RX + 16 * i), 4, OWN);
    }
    rig_deliver(r, frame, 60);
    wr(r, RDSAR, 4, 0xf0000000);
    wr(r, RDSAR + 4, 4, 0xffffffff);
    rig_turn(r);
    wr(r, TSAD0, 4, 0xf0000000);
    wr(r, TSAD0 + 4, 4, 0xffffffff);
    wr(r, TPPOLL, 1, 0xc1);
    assert_int_equal(rd(r, ISR, 2) & SWINT, SWINT);
    wr(r, TSD0, 4, 0xf0000008); /* tally counters there */
    rig_free(r);
}

static void test_rtl8139_tally_counters(void **state)
{
    struct nic_rig *r = start_cplus(4, 4, 1536);
    uint8_t frame[60];
    (void)state;
    rig_frame(frame, 60, rig_mac);
    rig_deliver(r, frame, 60);
    rig_deliver(r, frame, 60);
    wr(r, TSD0 + 4, 4, 0);
    wr(r, TSD0, 4, 0x7000 | 8);
    assert_int_equal(rd(r, TSD0, 4), 0x7000);
    assert_int_equal(load_le64(ram(r, 0x7008)), 2);
    assert_int_equal(load_le64(ram(r, 0x7028)), 2);
    rig_free(r);
}

static void test_rtl8139_asleep_moves_nothing(void **state)
{
    struct nic_rig *r = start_c(0, false);
    uint8_t frame[60];
    unsigned cap = cfg(&r->pc, CARD, PCI_CAP_PTR, 1);
    (void)state;
    rig_frame(frame, 60, rig_mac);
    assert_int_equal(cfg(&r->pc, CARD, cap, 1), 1);
    cfg_set(&r->pc, CARD, cap + 4, 2, 3); /* D3 */
    assert_true(rig_deliver(r, frame, 60));
    assert_int_equal(rd(r, CBR, 2), 0);
    wr(r, TSAD0, 4, DATA);
    wr(r, TSD0, 4, 60);
    assert_int_equal(r->nsent, 0);
    cfg_set(&r->pc, CARD, cap + 4, 2, 0);
    rig_deliver(r, frame, 60);
    assert_int_equal(rd(r, CBR, 2), 68);
    rig_free(r);
}

static void test_rtl8139_stops_for_a_full_back_end(void **state)
{
    struct nic_rig *r = start_c(0, false);
    (void)state;
    r->room = 1;
    wr(r, TSD0 + 4, 4, 60);
    wr(r, TSD0, 4, 60);
    assert_int_equal(r->nsent, 1);
    r->room = 0;
    machine_enter(r->pc.m);
    nic_writable(r->nic);
    machine_leave(r->pc.m);
    assert_int_equal(r->nsent, 2);
    rig_free(r);
}

static void test_rtl8139_state_moves(void **state)
{
    struct nic_rig *a = start_c(2, true), *b = rig_new(&rtl8139_class);
    uint8_t frame[500];
    (void)state;
    rig_frame(frame, sizeof(frame), rig_mac);
    rig_deliver(a, frame, 500);
    wr(a, TIMERINT, 4, 330000);
    pc_move(&a->pc, &b->pc);
    memcpy(b->pc.f->ram, a->pc.f->ram, RAM);
    assert_true(irq(b));
    rig_deliver(b, frame, 500);
    assert_int_equal(rd(b, CBR, 2), 2 * 508);
    assert_memory_equal(ram(b, RING + 508 + 4), frame, 500);
    flat_advance(b->pc.f, b->pc.m, 10100000);
    assert_int_equal(rd(b, ISR, 2) & TIMEOUT, TIMEOUT);
    rig_free(a);
    rig_free(b);
}

static void test_rtl8139_soft_reset_keeps_the_address(void **state)
{
    struct nic_rig *r = start_c(0, false);
    (void)state;
    wr(r, 0, 4, 0x11223344);
    wr(r, CR, 1, 0x10);
    assert_int_equal(rd(r, CR, 1) & 0x1c, 0);
    assert_int_equal(rd(r, 0, 4), 0x11223344);
    assert_int_equal(rd(r, TSD0, 4), 0x2000);
    assert_int_equal(rd(r, IMR, 2), 0);
    rig_free(r);
}

/* cplus=off: the older part, by its revision, its version and what it lacks. */
static void test_rtl8139_without_cplus(void **state)
{
    struct nic_rig *r = rig_new_with(&rtl8139_class, 1, "cplus", false);
    (void)state;
    cfg_set(&r->pc, CARD, PCI_BAR0, 4, IO);
    cfg_set(&r->pc, CARD, PCI_COMMAND, 2, 7);
    assert_int_equal(cfg(&r->pc, CARD, 8, 1), 0x10);
    assert_int_equal(rd(r, 0x40, 4) & 0x7cc00000, 0x74000000);
    wr(r, 0xe0, 2, 3);
    wr(r, 0xe4, 4, 0x12345600);
    assert_int_equal(rd(r, 0xe0, 2), 0);
    assert_int_equal(rd(r, 0xe4, 4), 0);
    rig_free(r);
}

static struct nic_rig *start_ring(void)
{
    return start_c(0, false);
}

static struct nic_rig *start_descriptors(void)
{
    return start_cplus(4, 4, 1600);
}

static void test_rtl8139_frames_of_any_size_hide_the_host(void **state)
{
    (void)state;
    rig_hides_the_host(start_ring, 1514);
    rig_hides_the_host(start_descriptors, 1514);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rtl8139_identity),
        cmocka_unit_test(test_rtl8139_eeprom_reads_writes_and_loads),
        cmocka_unit_test(test_rtl8139_config_registers_need_unlocking),
        cmocka_unit_test(test_rtl8139_accesses_of_any_width_reach_their_registers),
        cmocka_unit_test(test_rtl8139_timer),
        cmocka_unit_test(test_rtl8139_link),
        cmocka_unit_test(test_rtl8139_c_sends_in_turn),
        cmocka_unit_test(test_rtl8139_c_ring_wraps_everywhere),
        cmocka_unit_test(test_rtl8139_c_full_ring_holds_frames),
        cmocka_unit_test(test_rtl8139_c_full_ring_is_not_forgotten),
        cmocka_unit_test(test_rtl8139_c_filters),
        cmocka_unit_test(test_rtl8139_c_loops_back),
        cmocka_unit_test(test_rtl8139_cplus_sends_over_the_ring_end),
        cmocka_unit_test(test_rtl8139_cplus_ring_without_end_is_64),
        cmocka_unit_test(test_rtl8139_cplus_checksums_and_tag),
        cmocka_unit_test(test_rtl8139_cplus_lying_lengths_leak_nothing),
        cmocka_unit_test(test_rtl8139_cplus_large_send),
        cmocka_unit_test(test_rtl8139_cplus_receives),
        cmocka_unit_test(test_rtl8139_cplus_takes_tags_out),
        cmocka_unit_test(test_rtl8139_cplus_spreads_a_frame),
        cmocka_unit_test(test_rtl8139_cplus_without_descriptors_waits_a_while),
        cmocka_unit_test(test_rtl8139_cplus_hostile_rings),
        cmocka_unit_test(test_rtl8139_tally_counters),
        cmocka_unit_test(test_rtl8139_asleep_moves_nothing),
        cmocka_unit_test(test_rtl8139_stops_for_a_full_back_end),
        cmocka_unit_test(test_rtl8139_state_moves),
        cmocka_unit_test(test_rtl8139_soft_reset_keeps_the_address),
        cmocka_unit_test(test_rtl8139_without_cplus),
        cmocka_unit_test(test_rtl8139_frames_of_any_size_hide_the_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
