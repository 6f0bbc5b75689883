/* SPDX-License-Identifier: MIT */
/* tests/unit/test-pcnet.c - the Am79C970A through the door: both I/O modes, every descriptor style,
 * rings at their ends, start and stop, filters, EEPROM, loopback, what hostile drivers do.
 */
#include "nic-rig.h"

#include "hw/net/pcnet-int.h"

enum { IO = 0xc000, BLOCK = 0x800, TX = 0x1000, RX = 0x4000, DATA = 0x8000, BUF = 0x40000 };
enum { ENP = 1 << 24, STP = 1 << 25, ERR = 1 << 30, PAM = 1 << 22, LAFM = 1 << 21, BAM = 1 << 20 };
#define OWN (1u << 31)

/* How the rig set the chip up. */
static struct {
    unsigned style, ntx, nrx, rx_size; /* lengths: powers of two */
} with;

static uint32_t port(struct nic_rig *r, unsigned wide, unsigned n)
{
    (void)r;
    return IO + 16 + n * (wide ? 4 : 2);
}

/* Style 0 by 16-bit ports, the others by 32-bit ones. */
static uint32_t reg(struct nic_rig *r, unsigned n, bool bcr)
{
    unsigned wide = with.style != 0, size = wide ? 4 : 2;
    out(&r->pc, port(r, wide, 1), size, n);
    return in(&r->pc, port(r, wide, bcr ? 3 : 0), size);
}

static void set(struct nic_rig *r, unsigned n, bool bcr, uint32_t val)
{
    unsigned wide = with.style != 0, size = wide ? 4 : 2;
    out(&r->pc, port(r, wide, 1), size, n);
    out(&r->pc, port(r, wide, bcr ? 3 : 0), size, val);
}

static uint32_t csr(struct nic_rig *r, unsigned n)
{
    return reg(r, n, false);
}

static void csr_set(struct nic_rig *r, unsigned n, uint32_t val)
{
    set(r, n, false, val);
}

static bool irq(struct nic_rig *r)
{
    return r->pc.f->intx[CARD][0];
}

static unsigned desc_size(void)
{
    return with.style ? 16 : 8;
}

/* Descriptor i of a ring: status is bits 31..16 of TMD1, len what BCNT says. */
static void put_desc(struct nic_rig *r, uint32_t ring, unsigned i, uint32_t status, uint32_t addr,
                     uint32_t len)
{
    uint8_t *d = ram(r, ring + i * desc_size());
    uint32_t bcnt = 0xf000 | (-len & 0xfff);
    if (with.style == 0) {
        store_le(d, 4, (addr & 0xffffff) | (status & 0xff000000));
        store_le(d + 4, 4, bcnt);
    } else {
        store_le(d + (with.style == 3 ? 8 : 0), 4, addr);
        store_le(d + 4, 4, status | bcnt);
        store_le(d + (with.style == 3 ? 0 : 8), 4, 0xdeadbeef);
    }
}

static uint32_t status(struct nic_rig *r, uint32_t ring, unsigned i)
{
    const uint8_t *d = ram(r, ring + i * desc_size());
    return with.style == 0 ? load_le32(d) & 0xff000000 : load_le32(d + 4) & 0xffff0000;
}

static uint32_t misc(struct nic_rig *r, uint32_t ring, unsigned i)
{
    const uint8_t *d = ram(r, ring + i * desc_size());
    return with.style == 0   ? (uint32_t)load_le16(d + 6)
           : with.style == 3 ? load_le32(d)
                             : load_le32(d + 8);
}

static void tx(struct nic_rig *r, unsigned i, uint32_t flags, uint32_t addr, uint32_t len)
{
    put_desc(r, TX, i, OWN | flags, addr, len);
}

static void give_rx(struct nic_rig *r, unsigned i)
{
    put_desc(r, RX, i, OWN, BUF + 0x1000 * i, with.rx_size);
}

static unsigned log2_of(unsigned n)
{
    return n <= 1 ? 0 : 1 + log2_of(n / 2);
}

static void put_block(struct nic_rig *r, uint16_t mode)
{
    uint8_t *b = ram(r, BLOCK);
    unsigned rlen = log2_of(with.nrx), tlen = log2_of(with.ntx);
    memset(b, 0, 28);
    store_le(b, 2, mode);
    memcpy(b + (with.style ? 4 : 2), rig_mac, 6);
    if (with.style) {
        b[2] = (uint8_t)(rlen << 4);
        b[3] = (uint8_t)(tlen << 4);
        store_le(b + 20, 4, RX);
        store_le(b + 24, 4, TX);
    } else {
        store_le(b + 16, 4, RX | rlen << 29);
        store_le(b + 20, 4, TX | tlen << 29);
    }
}

static void initialise(struct nic_rig *r, uint16_t mode)
{
    put_block(r, mode);
    csr_set(r, 1, BLOCK);
    csr_set(r, 2, 0);
    csr_set(r, 0, CSR0_INIT);
    assert_int_equal(csr(r, 0), CSR0_INIT | CSR0_IDON | CSR0_INTR);
    csr_set(r, 0, CSR0_STRT | CSR0_IENA | CSR0_IDON);
}

static struct nic_rig *stopped(unsigned style, unsigned ntx, unsigned nrx, unsigned rx_size)
{
    struct nic_rig *r = rig_new(&pcnet_class);
    with.style = style;
    with.ntx = ntx;
    with.nrx = nrx;
    with.rx_size = rx_size;
    cfg_set(&r->pc, CARD, PCI_BAR0, 4, IO);
    cfg_set(&r->pc, CARD, PCI_COMMAND, 2, 7);
    if (style) {
        out(&r->pc, IO + 16, 4, 0); /* DWIO */
    }
    set(r, 20, true, style);
    for (unsigned i = 0; i < nrx; i++) {
        give_rx(r, i);
    }
    return r;
}

static struct nic_rig *start(unsigned style, unsigned ntx, unsigned nrx, unsigned rx_size)
{
    struct nic_rig *r = stopped(style, ntx, nrx, rx_size);
    initialise(r, 0);
    return r;
}

/* ---- registers ---- */

static void test_pcnet_identity_in_both_modes(void **state)
{
    struct nic_rig *r = stopped(0, 4, 4, 1536);
    (void)state;
    assert_int_equal(cfg(&r->pc, CARD, 0, 4), 0x20001022);
    assert_int_equal(cfg(&r->pc, CARD, 8, 1), 0x10);
    assert_int_equal(in(&r->pc, IO, 4), 0x12005452);
    assert_int_equal(in(&r->pc, IO + 14, 2), 0x5757);
    uint32_t sum = 0;
    for (unsigned i = 0; i < 16; i++) {
        sum += i == 12 || i == 13 ? 0 : in(&r->pc, IO + i, 1);
    }
    assert_int_equal(in(&r->pc, IO + 12, 2), sum);
    assert_int_equal(in(&r->pc, IO + 15, 4), 0x57); /* no byte behind the PROM */
    assert_int_equal(csr(r, 0), CSR0_STOP);
    assert_int_equal(csr(r, 88), 0x1003);
    assert_int_equal(csr(r, 89), 0x0262);
    assert_int_equal(csr(r, 12), 0x5452);
    assert_int_equal(in(&r->pc, IO + 16, 4), 0); /* the other width says nothing */
    out(&r->pc, IO + 16, 4, 0);
    with.style = 2;
    assert_int_equal(csr(r, 88), 0x1003);
    assert_int_equal(reg(r, 18, true) & 0x80, 0x80);
    set(r, 20, true, 3);
    assert_int_equal(csr(r, 58), 0x0303);
    in(&r->pc, IO + 0x18, 4); /* a soft reset leaves both as they are */
    assert_int_equal(reg(r, 20, true), 0x0303);
    assert_int_equal(csr(r, 0), CSR0_STOP);
    rig_free(r);
}

static void test_pcnet_registers_are_locked_while_it_runs(void **state)
{
    struct nic_rig *r = start(2, 4, 4, 1536);
    (void)state;
    csr_set(r, 15, 0x8000);
    set(r, 20, true, 3);
    assert_int_equal(csr(r, 15), 0);
    assert_int_equal(reg(r, 20, true) & 3, 2);
    csr_set(r, 5, 1); /* suspended */
    assert_int_equal(csr(r, 5), 1);
    csr_set(r, 15, 0x8000);
    assert_int_equal(csr(r, 15), 0x8000);
    csr_set(r, 88, 0);
    assert_int_equal(csr(r, 88), 0x1003);
    csr_set(r, 0, CSR0_STOP);
    assert_int_equal(csr(r, 0), CSR0_STOP);
    assert_int_equal(csr(r, 5), 0);
    rig_free(r);
}

static void test_pcnet_interrupt_masks(void **state)
{
    struct nic_rig *r = start(2, 4, 4, 1536);
    (void)state;
    assert_false(irq(r));
    csr_set(r, 4, 0x0115 | 0x0080); /* UINTCMD */
    assert_true(irq(r));
    csr_set(r, 4, 0x0115 | 0x0040);
    assert_false(irq(r));
    csr_set(r, 3, 0x0200); /* TINT masked */
    tx(r, 0, STP | ENP, DATA, 60);
    csr_set(r, 0, CSR0_TDMD | CSR0_IENA);
    assert_int_equal(csr(r, 0) & (CSR0_TINT | CSR0_INTR), CSR0_TINT);
    assert_false(irq(r));
    csr_set(r, 3, 0);
    assert_true(irq(r));
    assert_int_equal(csr(r, 0) & CSR0_INTR, CSR0_INTR);
    csr_set(r, 0, CSR0_TINT); /* and IENA off */
    assert_false(irq(r));
    csr_set(r, 4, 0x0111); /* TXSTRT no longer masked */
    csr_set(r, 0, CSR0_IENA);
    assert_true(irq(r));
    csr_set(r, 4, 0x0119);
    assert_false(irq(r));
    rig_free(r);
}

static unsigned bit(struct nic_rig *r, unsigned di)
{
    set(r, 19, true, 0x14 | di);
    set(r, 19, true, 0x16 | di);
    return reg(r, 19, true) & 1;
}

static uint16_t eeprom(struct nic_rig *r, unsigned word)
{
    uint16_t v = 0;
    set(r, 19, true, 0x10);
    for (int i = 8; i >= 0; i--) {
        bit(r, (6u << 6 | word) >> i & 1);
    }
    for (int i = 0; i < 16; i++) {
        v = (uint16_t)(v << 1 | bit(r, 0));
    }
    return v;
}

static void test_pcnet_eeprom_and_aprom(void **state)
{
    struct nic_rig *r = stopped(2, 4, 4, 1536);
    unsigned sum = 0;
    (void)state;
    for (unsigned i = 0; i < 16; i++) {
        uint16_t w = eeprom(r, i);
        sum += (w & 0xff) + (w >> 8);
    }
    assert_int_equal(eeprom(r, 0), 0x5452);
    assert_int_equal(sum & 0xff, 0xff);
    assert_int_equal(reg(r, 19, true) & 0xe000, 0xa000);
    out(&r->pc, IO, 1, 0x99); /* not writable yet */
    assert_int_equal(in(&r->pc, IO, 1), 0x52);
    set(r, 2, true, 0x102);
    out(&r->pc, IO, 1, 0x99);
    assert_int_equal(in(&r->pc, IO, 1), 0x99);
    set(r, 19, true, 0x4000); /* read it again */
    assert_int_equal(in(&r->pc, IO, 1), 0x52);
    rig_free(r);
}

static void test_pcnet_link_shows_in_the_led_register(void **state)
{
    struct nic_rig *r = start(2, 4, 4, 1536);
    (void)state;
    assert_int_equal(reg(r, 4, true), 0x80c0);
    machine_enter(r->pc.m);
    nic_set_link(r->nic, false);
    machine_leave(r->pc.m);
    assert_int_equal(reg(r, 4, true), 0x00c0);
    tx(r, 0, STP | ENP, DATA, 60);
    csr_set(r, 0, CSR0_TDMD);
    assert_int_equal(r->nsent, 0);
    assert_int_equal(status(r, TX, 0), ERR | STP | ENP);
    assert_int_equal(misc(r, TX, 0), 1u << 27); /* LCAR */
    assert_int_equal(csr(r, 0) & (CSR0_CERR | CSR0_ERR), CSR0_CERR | CSR0_ERR);
    rig_free(r);
}

/* ---- sending ---- */

static void sends(unsigned style)
{
    struct nic_rig *r = start(style, 4, 4, 1536);
    uint8_t frame[900];
    rig_frame(frame, 900, rig_mac);
    memcpy(ram(r, DATA), frame, 900);
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned n = 0; n < 3; n++) { /* three parts of a frame: each round starts elsewhere */
            unsigned i = (round * 3 + n) % 4;
            tx(r, i, (n == 0 ? STP : 0) | (n == 2 ? ENP : 0), DATA + 300 * n, 300);
        }
        csr_set(r, 0, CSR0_TDMD | CSR0_IENA | CSR0_TINT);
        assert_int_equal(r->nsent, round + 1);
        assert_int_equal(r->sent_len[round], 900);
        assert_memory_equal(r->sent[round], frame, 900);
        assert_true(irq(r));
        for (unsigned n = 0; n < 3; n++) {
            assert_int_equal(status(r, TX, (round * 3 + n) % 4),
                             (n == 0 ? STP : 0) | (n == 2 ? ENP : 0));
            assert_int_equal(misc(r, TX, (round * 3 + n) % 4), 0);
        }
    }
    rig_free(r);
}

static void test_pcnet_sends_over_the_ring_end_in_every_style(void **state)
{
    (void)state;
    for (unsigned style = 0; style < 4; style++) {
        sends(style);
    }
}

static void test_pcnet_pads_when_told_to(void **state)
{
    struct nic_rig *r = start(2, 4, 4, 1536);
    (void)state;
    memset(ram(r, DATA), 0xaa, 100);
    tx(r, 0, STP | ENP, DATA, 20);
    csr_set(r, 0, CSR0_TDMD);
    assert_int_equal(r->sent_len[0], 20);
    csr_set(r, 4, 0x0915);
    tx(r, 1, STP | ENP, DATA, 200); /* what the next one must not show */
    tx(r, 2, STP | ENP, DATA, 20);
    tx(r, 3, STP | ENP, DATA, 13); /* no frame */
    csr_set(r, 0, CSR0_TDMD);
    assert_int_equal(r->nsent, 3);
    assert_int_equal(r->sent_len[2], 60);
    for (unsigned i = 20; i < 60; i++) {
        assert_int_equal(r->sent[2][i], 0);
    }
    rig_free(r);
}

static void test_pcnet_frame_that_breaks_off_is_an_underflow(void **state)
{
    struct nic_rig *r = start(2, 4, 4, 1536);
    (void)state;
    tx(r, 0, STP, DATA, 100);
    csr_set(r, 0, CSR0_TDMD | CSR0_IENA);
    assert_int_equal(r->nsent, 0);
    assert_int_equal(status(r, TX, 0), ERR | STP);
    assert_int_equal(misc(r, TX, 0), 3u << 30); /* BUFF, UFLO */
    assert_int_equal(csr(r, 0) & (CSR0_TXON | CSR0_TINT), CSR0_TINT);
    csr_set(r, 0, CSR0_STOP);
    csr_set(r, 3, CSR3_DXSUFLO);
    initialise(r, 0);
    tx(r, 0, STP, DATA, 100);
    csr_set(r, 0, CSR0_TDMD);
    assert_int_equal(csr(r, 0) & CSR0_TXON, CSR0_TXON);
    tx(r, 1, 0, DATA, 100); /* the middle of nothing: skipped */
    tx(r, 2, STP | ENP, DATA, 100);
    csr_set(r, 0, CSR0_TDMD);
    assert_int_equal(r->nsent, 1);
    assert_int_equal(status(r, TX, 1) & OWN, 0);
    rig_free(r);
}

static void test_pcnet_frame_without_end_is_bounded(void **state)
{
    struct nic_rig *r = start(2, 512, 4, 1536);
    (void)state;
    for (unsigned i = 0; i < 512; i++) {
        tx(r, i, i ? 0 : STP, DATA, 4096);
    }
    csr_set(r, 0, CSR0_TDMD);
    for (unsigned i = 0; i < 10; i++) {
        flat_advance(r->pc.f, r->pc.m, 1);
    }
    assert_int_equal(r->nsent, 0);
    assert_int_equal(csr(r, 0) & CSR0_TXON, 0); /* it met its own beginning */
    for (unsigned i = 0; i < 512; i++) {
        assert_int_equal(status(r, TX, i) & OWN, 0);
    }
    rig_free(r);
}

static void test_pcnet_babble_and_length_limits(void **state)
{
    struct nic_rig *r = start(3, 8, 4, 1536);
    (void)state;
    tx(r, 0, STP | ENP, DATA, 1514);
    csr_set(r, 0, CSR0_TDMD);
    assert_int_equal(csr(r, 0) & CSR0_BABL, 0);
    tx(r, 1, STP | ENP, DATA, 1515);
    csr_set(r, 0, CSR0_TDMD);
    assert_int_equal(r->sent_len[1], 1515);
    assert_int_equal(csr(r, 0) & CSR0_BABL, CSR0_BABL);
    tx(r, 2, STP | ENP, DATA, 0); /* BCNT 0 is 4096 bytes: too long */
    csr_set(r, 0, CSR0_TDMD);
    assert_int_equal(r->nsent, 2);
    assert_int_equal(status(r, TX, 2) & OWN, 0);
    rig_free(r);
}

static void test_pcnet_long_ring_yields_and_full_back_end_stops_it(void **state)
{
    struct nic_rig *r = start(2, 512, 4, 1536);
    (void)state;
    for (unsigned i = 0; i < 512; i++) {
        tx(r, i, STP | ENP, DATA, 60);
    }
    csr_set(r, 0, CSR0_TDMD);
    assert_int_equal(r->nsent, 256);
    flat_advance(r->pc.f, r->pc.m, 1);
    flat_advance(r->pc.f, r->pc.m, 1);
    assert_int_equal(r->nsent, 512);
    r->room = 1;
    tx(r, 0, STP | ENP, DATA, 60);
    tx(r, 1, STP | ENP, DATA, 60);
    csr_set(r, 0, CSR0_TDMD);
    assert_int_equal(r->nsent, 513);
    r->room = 0;
    machine_enter(r->pc.m);
    nic_writable(r->nic);
    machine_leave(r->pc.m);
    assert_int_equal(r->nsent, 514);
    rig_free(r);
}

static void test_pcnet_interrupts_only_for_the_last_if_told_to(void **state)
{
    struct nic_rig *r = start(2, 4, 4, 1536);
    (void)state;
    csr_set(r, 5, CSR5_LTINTEN);
    tx(r, 0, STP | ENP, DATA, 60);
    csr_set(r, 0, CSR0_TDMD);
    assert_int_equal(csr(r, 0) & CSR0_TINT, 0);
    tx(r, 1, STP | ENP | 1 << 28, DATA, 60); /* LTINT */
    csr_set(r, 0, CSR0_TDMD);
    assert_int_equal(csr(r, 0) & CSR0_TINT, CSR0_TINT);
    csr_set(r, 0, CSR0_TINT);
    csr_set(r, 5, CSR5_TOKINTD);
    tx(r, 2, STP | ENP, DATA, 60);
    csr_set(r, 0, CSR0_TDMD);
    assert_int_equal(r->nsent, 3);
    assert_int_equal(csr(r, 0) & CSR0_TINT, 0);
    rig_free(r);
}

/* ---- receiving ---- */

static void receives(unsigned style)
{
    struct nic_rig *r = start(style, 4, 4, 1536);
    uint8_t frame[1514];
    for (unsigned n = 0; n < 9; n++) {
        uint32_t len = n % 3 == 0 ? 20 : n % 3 == 1 ? 777 : 1514, padded = len < 60 ? 60 : len;
        unsigned i = n % 4;
        rig_frame(frame, len, rig_mac);
        memset(ram(r, BUF + 0x1000 * i), 0x77, 1536);
        assert_true(rig_deliver(r, frame, len));
        assert_int_equal(status(r, RX, i), STP | ENP | (style >= 2 ? PAM : 0));
        assert_int_equal(misc(r, RX, i), padded + 4);
        assert_memory_equal(ram(r, BUF + 0x1000 * i), frame, len);
        for (uint32_t k = len; k < padded + 4; k++) {
            assert_int_equal(ram(r, BUF + 0x1000 * i)[k], 0); /* nothing of the host's */
        }
        assert_int_equal(ram(r, BUF + 0x1000 * i)[padded + 4], 0x77);
        assert_true(irq(r));
        give_rx(r, i);
        csr_set(r, 0, CSR0_RINT | CSR0_IENA);
        assert_false(irq(r));
    }
    rig_free(r);
}

static void test_pcnet_receives_in_every_style(void **state)
{
    (void)state;
    for (unsigned style = 0; style < 4; style++) {
        receives(style);
    }
}

static void test_pcnet_spreads_a_frame_or_says_buff(void **state)
{
    struct nic_rig *r = start(2, 4, 4, 100);
    uint8_t frame[500];
    (void)state;
    rig_frame(frame, 500, rig_mac);
    assert_true(rig_deliver(r, frame, 250));
    assert_int_equal(status(r, RX, 0), STP);
    assert_int_equal(status(r, RX, 1), 0);
    assert_int_equal(status(r, RX, 2), ENP | PAM);
    assert_int_equal(misc(r, RX, 2), 254);
    assert_memory_equal(ram(r, BUF + 0x2000), frame + 200, 50);
    assert_false(rig_deliver(r, frame, 250)); /* one is left: it waits */
    assert_int_equal(status(r, RX, 3), OWN);
    for (unsigned i = 0; i < 3; i++) {
        give_rx(r, i);
    }
    csr_set(r, 0, CSR0_IENA);
    rig_turn(r);
    assert_int_equal(status(r, RX, 3), STP);
    csr_set(r, 0, CSR0_STOP);
    for (unsigned i = 0; i < 4; i++) {
        give_rx(r, i);
    }
    initialise(r, 0);
    assert_true(rig_deliver(r, frame, 500)); /* more than the whole ring */
    assert_int_equal(status(r, RX, 0), STP);
    assert_int_equal(status(r, RX, 3), ERR | 1 << 26);
    rig_free(r);
}

static void test_pcnet_frame_without_descriptors_is_missed_in_the_end(void **state)
{
    struct nic_rig *r = start(2, 4, 1, 1536);
    uint8_t frame[60];
    (void)state;
    rig_frame(frame, 60, rig_mac);
    assert_true(rig_deliver(r, frame, 60));
    assert_false(rig_deliver(r, frame, 60));
    for (unsigned i = 0; i < 60; i++) {
        flat_advance(r->pc.f, r->pc.m, 1000000);
        rig_turn(r);
    }
    assert_int_equal(csr(r, 0) & (CSR0_MISS | CSR0_ERR), CSR0_MISS | CSR0_ERR);
    assert_int_equal(csr(r, 112), 1);
    give_rx(r, 0);
    assert_true(rig_deliver(r, frame, 60));
    rig_free(r);
}

static void test_pcnet_filters(void **state)
{
    static const uint8_t group[6] = { 1, 0, 0x5e, 0, 0, 1 }, other[6] = { 2, 2, 2, 2, 2, 2 },
                         all[6] = { 255, 255, 255, 255, 255, 255 };
    struct nic_rig *r = start(2, 4, 4, 1536);
    struct nic_rx_filter f = { 0 };
    uint8_t frame[60];
    (void)state;
    rig_frame(frame, 60, other);
    rig_deliver(r, frame, 60);
    rig_frame(frame, 60, group);
    rig_deliver(r, frame, 60);
    assert_int_equal(status(r, RX, 0), OWN);
    csr_set(r, 5, 1);
    /* crc_le(01:00:5e:00:00:01) >> 26 */
    unsigned hash = ~net_crc32(group, 6) >> 26;
    csr_set(r, 8 + hash / 16, 1u << hash % 16);
    csr_set(r, 5, 0);
    rig_deliver(r, frame, 60);
    assert_int_equal(status(r, RX, 0), STP | ENP | LAFM);
    rig_frame(frame, 60, all);
    rig_deliver(r, frame, 60);
    assert_int_equal(status(r, RX, 1), STP | ENP | BAM);
    csr_set(r, 5, 1);
    csr_set(r, 15, MODE_DRCVBC | MODE_DRCVPA);
    csr_set(r, 5, 0);
    rig_deliver(r, frame, 60);
    rig_frame(frame, 60, rig_mac);
    rig_deliver(r, frame, 60);
    assert_int_equal(status(r, RX, 2), OWN);
    csr_set(r, 5, 1);
    csr_set(r, 15, MODE_PROM);
    csr_set(r, 5, 0);
    rig_frame(frame, 60, other);
    rig_deliver(r, frame, 60);
    assert_int_equal(status(r, RX, 2), STP | ENP);
    r->nic->user->rx_filter(r->nic->opaque, &f);
    assert_true(f.promiscuous && f.multicast == NIC_RX_NORMAL);
    assert_memory_equal(f.mac, rig_mac, 6);
    rig_free(r);
}

static void test_pcnet_strips_padding(void **state)
{
    struct nic_rig *r = start(2, 4, 4, 1536);
    uint8_t frame[60];
    (void)state;
    csr_set(r, 4, 0x0515);
    rig_frame(frame, 60, rig_mac);
    store_be16(frame + 12, 10);
    rig_deliver(r, frame, 60);
    assert_int_equal(misc(r, RX, 0), 24);
    store_be16(frame + 12, 46);
    rig_deliver(r, frame, 60);
    assert_int_equal(misc(r, RX, 1), 64);
    rig_free(r);
}

static void test_pcnet_suspended_frames_wait(void **state)
{
    struct nic_rig *r = start(2, 4, 4, 1536);
    uint8_t frame[60];
    (void)state;
    rig_frame(frame, 60, rig_mac);
    csr_set(r, 5, 1);
    assert_false(rig_deliver(r, frame, 60));
    tx(r, 0, STP | ENP, DATA, 60);
    csr_set(r, 0, CSR0_TDMD);
    assert_int_equal(r->nsent, 0);
    csr_set(r, 5, 0);
    rig_turn(r);
    assert_int_equal(r->nsent, 1);
    assert_int_equal(status(r, RX, 0) & OWN, 0);
    csr_set(r, 5, 1);
    rig_deliver(r, frame, 60);
    csr_set(r, 0, CSR0_STOP);
    rig_turn(r);
    assert_int_equal(r->resumed, 2); /* dropped */
    rig_free(r);
}

/* ---- loopback, hostility, state ---- */

static void test_pcnet_loops_back(void **state)
{
    struct nic_rig *r = stopped(2, 4, 2, 1536);
    (void)state;
    rig_frame(ram(r, DATA), 100, rig_mac);
    initialise(r, MODE_LOOP);
    for (unsigned i = 0; i < 3; i++) {
        tx(r, i, STP | ENP, DATA, 100);
    }
    csr_set(r, 0, CSR0_TDMD | CSR0_IENA);
    assert_int_equal(r->nsent, 0);
    assert_memory_equal(ram(r, BUF), ram(r, DATA), 100);
    assert_int_equal(misc(r, RX, 1), 104);
    assert_int_equal(csr(r, 112), 1);               /* the third found no room */
    assert_true(rig_deliver(r, ram(r, DATA), 100)); /* the wire is off */
    rig_free(r);
}

static void test_pcnet_rings_outside_memory_stop_it(void **state)
{
    struct nic_rig *r = stopped(2, 4, 4, 1536);
    uint8_t frame[60];
    (void)state;
    rig_frame(frame, 60, rig_mac);
    csr_set(r, 1, 0xfffe);
    csr_set(r, 2, 0xffff);
    csr_set(r, 0, CSR0_INIT | CSR0_STRT);
    assert_int_equal(csr(r, 0) & (CSR0_MERR | CSR0_IDON), CSR0_MERR);
    csr_set(r, 0, CSR0_STOP);
    csr_set(r, 25, 0xf000); /* the rings, without a block */
    csr_set(r, 31, 0xf000);
    csr_set(r, 76, 0xfff0);
    csr_set(r, 78, 0xfff0);
    csr_set(r, 15, MODE_PROM);
    csr_set(r, 0, CSR0_STRT);
    assert_int_equal(csr(r, 0) & (CSR0_TXON | CSR0_RXON | CSR0_MERR), CSR0_RXON | CSR0_MERR);
    assert_true(rig_deliver(r, frame, 60));
    assert_int_equal(csr(r, 0) & CSR0_RXON, 0);
    csr_set(r, 0, CSR0_STOP);
    csr_set(r, 25, 0); /* lengths of none, and of 65535 */
    csr_set(r, 31, 0);
    csr_set(r, 24, RX);
    csr_set(r, 30, TX);
    csr_set(r, 76, 0);
    csr_set(r, 78, 1);
    csr_set(r, 72, 0x1234);
    csr_set(r, 0, CSR0_STRT);
    rig_deliver(r, frame, 60);
    csr_set(r, 0, CSR0_TDMD);
    rig_free(r);
}

static void test_pcnet_buffers_outside_memory(void **state)
{
    struct nic_rig *r = start(2, 4, 4, 1536);
    uint8_t frame[60];
    (void)state;
    rig_frame(frame, 60, rig_mac);
    put_desc(r, RX, 0, OWN, 0xf0000000, 1536);
    rig_deliver(r, frame, 60);
    assert_int_equal(status(r, RX, 0), STP | ENP | PAM);
    tx(r, 0, STP | ENP, 0xfffffff0, 200);
    csr_set(r, 0, CSR0_TDMD);
    assert_int_equal(r->sent_len[0], 200);
    for (unsigned i = 0; i < 200; i++) {
        assert_int_equal(r->sent[0][i], 0);
    }
    rig_free(r);
}

static void test_pcnet_state_moves_in_the_middle_of_a_frame(void **state)
{
    struct nic_rig *a = start(2, 512, 4, 1536), *b = rig_new(&pcnet_class);
    uint8_t frame[60];
    (void)state;
    rig_frame(ram(a, DATA), 600, rig_mac);
    for (unsigned i = 0; i < 300; i++) {
        tx(a, i, i == 0 ? STP : i == 299 ? ENP : 0, DATA + 2 * i, 2);
    }
    csr_set(a, 0, CSR0_TDMD); /* 256 of the 300 for now */
    pc_move(&a->pc, &b->pc);
    memcpy(b->pc.f->ram, a->pc.f->ram, RAM);
    flat_advance(b->pc.f, b->pc.m, 1);
    assert_int_equal(b->nsent, 1);
    assert_int_equal(b->sent_len[0], 600);
    assert_memory_equal(b->sent[0], ram(b, DATA), 600);
    rig_frame(frame, 60, rig_mac);
    rig_deliver(b, frame, 60);
    assert_int_equal(status(b, RX, 0), STP | ENP | PAM);
    rig_free(a);
    rig_free(b);
}

static struct nic_rig *start_16(void)
{
    return start(0, 4, 4, 1536);
}

static struct nic_rig *start_32(void)
{
    return start(3, 4, 4, 1536);
}

static void test_pcnet_frames_of_any_size_hide_the_host(void **state)
{
    (void)state;
    rig_hides_the_host(start_16, 1514);
    rig_hides_the_host(start_32, 1514);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pcnet_identity_in_both_modes),
        cmocka_unit_test(test_pcnet_registers_are_locked_while_it_runs),
        cmocka_unit_test(test_pcnet_interrupt_masks),
        cmocka_unit_test(test_pcnet_eeprom_and_aprom),
        cmocka_unit_test(test_pcnet_link_shows_in_the_led_register),
        cmocka_unit_test(test_pcnet_sends_over_the_ring_end_in_every_style),
        cmocka_unit_test(test_pcnet_pads_when_told_to),
        cmocka_unit_test(test_pcnet_frame_that_breaks_off_is_an_underflow),
        cmocka_unit_test(test_pcnet_frame_without_end_is_bounded),
        cmocka_unit_test(test_pcnet_babble_and_length_limits),
        cmocka_unit_test(test_pcnet_long_ring_yields_and_full_back_end_stops_it),
        cmocka_unit_test(test_pcnet_interrupts_only_for_the_last_if_told_to),
        cmocka_unit_test(test_pcnet_receives_in_every_style),
        cmocka_unit_test(test_pcnet_spreads_a_frame_or_says_buff),
        cmocka_unit_test(test_pcnet_frame_without_descriptors_is_missed_in_the_end),
        cmocka_unit_test(test_pcnet_filters),
        cmocka_unit_test(test_pcnet_strips_padding),
        cmocka_unit_test(test_pcnet_suspended_frames_wait),
        cmocka_unit_test(test_pcnet_loops_back),
        cmocka_unit_test(test_pcnet_rings_outside_memory_stop_it),
        cmocka_unit_test(test_pcnet_buffers_outside_memory),
        cmocka_unit_test(test_pcnet_state_moves_in_the_middle_of_a_frame),
        cmocka_unit_test(test_pcnet_frames_of_any_size_hide_the_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
