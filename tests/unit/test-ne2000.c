/* SPDX-License-Identifier: MIT */
/* tests/unit/test-ne2000.c - the NE2000 through the door, on PCI and ISA: address PROM, remote DMA, the
 * ring of pages at every place it can wrap, filters, reset, what hostile drivers do.
 */
#include "nic-rig.h"

#include "hw/net/ne2000.h"

enum { IO = 0xc000, START = 0x46, STOP_PAGE = 0x80, TXPAGE = 0x40, PAGE = 256 };
enum {
    CR,
    PSTART,
    PSTOP,
    BNRY,
    TPSR,
    TBCR0,
    TBCR1,
    ISR,
    RSAR0,
    RSAR1,
    RBCR0,
    RBCR1,
    RCR,
    TCR,
    DCR,
    IMR
};
enum { PRX = 1, PTX = 2, TXE = 8, RDC = 0x40, RST = 0x80 };

static uint32_t base; /* where the card's ports are */

static uint8_t rd(struct nic_rig *r, unsigned reg)
{
    return (uint8_t)in(&r->pc, base + reg, 1);
}

static void wr(struct nic_rig *r, unsigned reg, uint32_t val)
{
    out(&r->pc, base + reg, 1, val);
}

static void remote(struct nic_rig *r, unsigned at, unsigned len, unsigned command)
{
    wr(r, CR, 0x22);
    wr(r, RBCR0, len & 0xff);
    wr(r, RBCR1, len >> 8);
    wr(r, RSAR0, at & 0xff);
    wr(r, RSAR1, at >> 8);
    wr(r, CR, 0x02 | command << 3);
}

/* size: of each access at the data port. */
static void get(struct nic_rig *r, unsigned at, uint8_t *buf, unsigned len, unsigned size)
{
    remote(r, at, len, 1);
    for (unsigned i = 0; i < len; i += size) {
        store_le(buf + i, size, in(&r->pc, base + 0x10, size));
    }
}

static void put(struct nic_rig *r, unsigned at, const uint8_t *buf, unsigned len, unsigned size)
{
    remote(r, at, len, 2);
    for (unsigned i = 0; i < len; i += size) {
        out(&r->pc, base + 0x10, size, (uint32_t)load_le(buf + i, size));
    }
}

/* Page 0 registers only. */
static struct nic_rig *started(const struct dev_class *class)
{
    struct nic_rig *r = rig_new(class);
    base = class == &ne2k_isa_class ? 0x300 : IO;
    if (class != &ne2k_isa_class) {
        cfg_set(&r->pc, CARD, PCI_BAR0, 4, IO);
        cfg_set(&r->pc, CARD, PCI_COMMAND, 2, 7);
    }
    wr(r, CR, 0x21);
    wr(r, DCR, 0x49); /* words */
    wr(r, RCR, 0x04);
    wr(r, TCR, 0);
    wr(r, PSTART, START);
    wr(r, PSTOP, STOP_PAGE);
    wr(r, BNRY, START);
    wr(r, ISR, 0xff);
    wr(r, IMR, 0x7f);
    wr(r, CR, 0x61);
    for (unsigned i = 0; i < 6; i++) {
        wr(r, 1 + i, rig_mac[i]);
    }
    wr(r, 7, START + 1); /* CURR */
    wr(r, CR, 0x22);
    return r;
}

static uint8_t curr(struct nic_rig *r)
{
    wr(r, CR, 0x62);
    uint8_t v = rd(r, 7);
    wr(r, CR, 0x22);
    return v;
}

static bool irq(struct nic_rig *r)
{
    return r->pc.f->intx[CARD][0];
}

/* ---- identity and memory ---- */

static void test_ne2000_address_prom(void **state)
{
    struct nic_rig *r = started(&ne2k_pci_class);
    uint8_t prom[32];
    (void)state;
    assert_int_equal(cfg(&r->pc, CARD, 0, 4), 0x802910ec);
    assert_int_equal(in(&r->pc, IO + RBCR0, 2), 0x4350);
    wr(r, DCR, 0x48); /* bytes: each twice */
    get(r, 0, prom, 32, 1);
    for (unsigned i = 0; i < 12; i++) {
        assert_int_equal(prom[i], rig_mac[i / 2]);
    }
    assert_int_equal(prom[28], 'W');
    assert_int_equal(prom[31], 'W');
    assert_int_equal(rd(r, ISR) & RDC, RDC);
    wr(r, DCR, 0x49); /* words: half of each goes unseen by byte accesses */
    get(r, 0, prom, 32, 1);
    assert_memory_equal(prom, rig_mac, 6);
    put(r, 0, (const uint8_t *)"x", 1, 1);
    get(r, 0, prom, 2, 2);
    assert_int_equal(prom[0], rig_mac[0]); /* read-only */
    rig_free(r);
}

static void test_ne2000_remote_dma_of_every_width(void **state)
{
    struct nic_rig *r = started(&ne2k_pci_class);
    uint8_t a[64], b[64];
    (void)state;
    for (unsigned size = 1; size <= 4; size *= 2) {
        wr(r, DCR, size == 1 ? 0x48 : 0x49);
        for (unsigned i = 0; i < 64; i++) {
            a[i] = (uint8_t)(i * 3 + size);
        }
        wr(r, ISR, 0xff);
        put(r, 0x7fe0, a, 64, size); /* over the ring's end */
        assert_int_equal(rd(r, ISR) & RDC, RDC);
        assert_true(irq(r));
        get(r, 0x7fe0, b, 64, size);
        assert_memory_equal(a, b, 64);
        get(r, START * PAGE, b, 32, size);
        assert_memory_equal(a + 32, b, 32);
    }
    get(r, 0x2000, b, 4, 2); /* nothing is there */
    assert_int_equal(load_le32(b), UINT32_MAX);
    put(r, 0xfffe, a, 4, 4);
    assert_int_equal(in(&r->pc, IO + 0x10, 2), 0); /* no command under way */
    rig_free(r);
}

static void test_ne2000_reset_port(void **state)
{
    struct nic_rig *r = started(&ne2k_pci_class);
    (void)state;
    wr(r, ISR, 0xff);
    assert_int_equal(rd(r, ISR), 0);
    rd(r, 0x1f);
    assert_int_equal(rd(r, CR), 0x21);
    assert_int_equal(rd(r, ISR), RST);
    wr(r, ISR, 0xff); /* only a start takes it away */
    assert_int_equal(rd(r, ISR), RST);
    wr(r, CR, 0x22);
    assert_int_equal(rd(r, ISR), 0);
    rig_free(r);
}

/* ---- sending ---- */

static void send(struct nic_rig *r, unsigned len)
{
    wr(r, TPSR, TXPAGE);
    wr(r, TBCR0, len & 0xff);
    wr(r, TBCR1, len >> 8);
    wr(r, CR, 0x26);
}

static void test_ne2000_sends(void **state)
{
    struct nic_rig *r = started(&ne2k_pci_class);
    uint8_t frame[1514];
    (void)state;
    for (unsigned len = 14; len <= 1514; len += 300) {
        rig_frame(frame, len, rig_mac);
        put(r, TXPAGE * PAGE, frame, (len + 1) & ~1u, 2);
        wr(r, ISR, 0xff);
        send(r, len);
        unsigned n = r->nsent - 1;
        assert_int_equal(r->sent_len[n], len);
        assert_memory_equal(r->sent[n], frame, len);
        assert_int_equal(rd(r, ISR), PTX);
        assert_int_equal(rd(r, TPSR), 1); /* TSR */
        assert_int_equal(rd(r, CR), 0x22);
        assert_true(irq(r));
    }
    unsigned n = r->nsent;
    send(r, 13);
    assert_int_equal(rd(r, ISR) & TXE, TXE);
    send(r, 0xffff);
    assert_int_equal(r->nsent, n);
    send(r, 0x4000); /* reads behind its memory: ones, nothing of the host's */
    wr(r, TPSR, 0x7f);
    wr(r, CR, 0x26);
    assert_int_equal(r->sent[n + 1][0x200], 0xff);
    wr(r, TCR, 2);
    n = r->nsent;
    send(r, 60); /* loopback */
    assert_int_equal(r->nsent, n);
    rig_free(r);
}

static void test_ne2000_waits_for_a_full_back_end(void **state)
{
    struct nic_rig *r = started(&ne2k_pci_class);
    (void)state;
    wr(r, ISR, 0xff);
    r->room = 1;
    send(r, 60);
    assert_int_equal(rd(r, ISR) & PTX, 0);
    assert_int_equal(rd(r, CR), 0x26);
    wr(r, CR, 0x26);
    assert_int_equal(r->nsent, 1);
    machine_enter(r->pc.m);
    nic_writable(r->nic);
    machine_leave(r->pc.m);
    assert_int_equal(rd(r, ISR) & PTX, PTX);
    assert_int_equal(rd(r, CR), 0x22);
    rig_free(r);
}

/* ---- receiving ---- */

static void receives(const struct dev_class *class)
{
    struct nic_rig *r = started(class);
    uint8_t frame[1514], got[1600];
    unsigned at = START + 1;
    for (unsigned i = 0; i < 300; i++) {
        uint32_t len = 14 + i * 37 % 1500, padded = len < 60 ? 60 : len;
        rig_frame(frame, len, rig_mac);
        wr(r, ISR, 0xff);
        assert_true(rig_deliver(r, frame, len));
        assert_int_equal(rd(r, ISR) & PRX, PRX);
        get(r, at * PAGE, got, 4, 2);
        unsigned pages = (padded + 8 + PAGE - 1) / PAGE, next = at + pages;
        next = next >= STOP_PAGE ? next - STOP_PAGE + START : next;
        assert_int_equal(got[0], 1);
        assert_int_equal(got[1], next);
        assert_int_equal(load_le16(got + 2), padded + 4);
        get(r, at * PAGE + 4, got, (padded + 5) & ~1u, 2);
        assert_memory_equal(got, frame, len);
        for (uint32_t k = len; k < padded + 4; k++) {
            assert_int_equal(got[k], 0);
        }
        at = next;
        assert_int_equal(curr(r), at);
        wr(r, BNRY, at == START && i & 1 ? STOP_PAGE - 1 : at - 1);
    }
    rig_free(r);
}

static void test_ne2000_ring_wraps_everywhere(void **state)
{
    (void)state;
    receives(&ne2k_pci_class);
    receives(&ne2k_isa_class);
}

static void test_ne2000_full_ring_holds_frames(void **state)
{
    struct nic_rig *r = started(&ne2k_pci_class);
    uint8_t frame[1514], kept[PAGE], now[PAGE];
    unsigned n = 0;
    (void)state;
    rig_frame(frame, 1514, rig_mac);
    get(r, START * PAGE, kept, PAGE, 2);
    while (rig_deliver(r, frame, 1514)) {
        n++;
    }
    assert_int_equal(n, 9); /* of six pages, in 57 */
    assert_int_equal(curr(r), START + 1 + 54);
    get(r, START * PAGE, now, PAGE, 2);
    assert_memory_equal(kept, now, PAGE); /* BNRY's page is the driver's */
    wr(r, BNRY, START + 6);
    rig_turn(r);
    assert_int_equal(curr(r), START + 3);
    rig_deliver(r, frame, 1514);
    wr(r, CR, 0x21); /* stopped: what waits is lost */
    rig_turn(r);
    assert_int_equal(r->resumed, 2);
    rig_free(r);
}

static void test_ne2000_filters(void **state)
{
    static const uint8_t group[6] = { 1, 0, 0x5e, 0, 0, 1 }, other[6] = { 2, 2, 2, 2, 2, 2 },
                         all[6] = { 255, 255, 255, 255, 255, 255 };
    struct nic_rig *r = started(&ne2k_pci_class);
    struct nic_rx_filter f = { 0 };
    uint8_t frame[60];
    (void)state;
    rig_frame(frame, 60, other);
    rig_deliver(r, frame, 60);
    rig_frame(frame, 60, group);
    rig_deliver(r, frame, 60);
    assert_int_equal(curr(r), START + 1);
    wr(r, CR, 0x62);
    wr(r, 8 + 31 / 8, 0x80); /* ether_crc(01:00:5e:00:00:01) >> 26 is 31 */
    wr(r, CR, 0x22);
    rig_deliver(r, frame, 60); /* not without AM */
    assert_int_equal(curr(r), START + 1);
    wr(r, RCR, 0x0c);
    rig_deliver(r, frame, 60);
    assert_int_equal(rd(r, RCR), 0x21); /* RSR: multicast */
    rig_frame(frame, 60, all);
    rig_deliver(r, frame, 60);
    assert_int_equal(curr(r), START + 3);
    wr(r, RCR, 0x10);
    rig_frame(frame, 60, other);
    rig_deliver(r, frame, 60);
    assert_int_equal(curr(r), START + 4);
    wr(r, RCR, 0x34); /* monitor */
    rig_deliver(r, frame, 60);
    assert_int_equal(curr(r), START + 4);
    assert_int_equal(rd(r, 0x0f), 1);
    assert_int_equal(rd(r, 0x0f), 0);
    r->nic->user->rx_filter(r->nic->opaque, &f);
    assert_true(f.promiscuous);
    assert_memory_equal(f.mac, rig_mac, 6);
    rig_free(r);
}

static void test_ne2000_bnry_in_front_of_the_ring_is_its_end(void **state)
{
    struct nic_rig *r = started(&ne2k_pci_class);
    uint8_t frame[1514];
    unsigned n = 0;
    (void)state;
    rig_frame(frame, 1514, rig_mac);
    wr(r, CR, 0x62);
    wr(r, 7, START);
    wr(r, CR, 0x22);
    wr(r, BNRY, START - 1);
    while (rig_deliver(r, frame, 1514)) {
        n++;
    }
    assert_int_equal(n, 9); /* and not one over those that nobody has read */
    rig_free(r);
}

static void test_ne2000_prx_comes_back_while_packets_wait(void **state)
{
    struct nic_rig *r = started(&ne2k_pci_class);
    uint8_t frame[60];
    (void)state;
    rig_frame(frame, 60, rig_mac);
    rig_deliver(r, frame, 60);
    rig_deliver(r, frame, 60);
    wr(r, ISR, PRX);
    assert_int_equal(rd(r, ISR) & PRX, PRX);
    wr(r, BNRY, START + 1);
    wr(r, ISR, PRX);
    assert_int_equal(rd(r, ISR) & PRX, PRX);
    wr(r, BNRY, START + 2); /* one before CURR: empty */
    wr(r, ISR, PRX);
    assert_int_equal(rd(r, ISR) & PRX, 0);
    wr(r, BNRY, START + 3); /* CURR itself: empty, too */
    wr(r, ISR, PRX);
    assert_int_equal(rd(r, ISR) & PRX, 0);
    rig_free(r);
}

/* Ring registers that make no sense: whatever comes, memory stays its own. */
static void test_ne2000_hostile_ring_registers(void **state)
{
    static const uint8_t odd[] = { 0, 1, 0x3f, 0x40, 0x41, 0x46, 0x7f, 0x80, 0x81, 0xff };
    struct nic_rig *r = started(&ne2k_pci_class);
    uint8_t frame[1518];
    (void)state;
    rig_frame(frame, sizeof(frame), rig_mac);
    for (unsigned i = 0; i < 10000; i++) {
        unsigned v = i;
        for (unsigned reg = PSTART; reg <= BNRY; reg++, v /= 10) {
            wr(r, reg, odd[v % 10]);
        }
        wr(r, CR, 0x62);
        wr(r, 7, odd[v % 10]);
        wr(r, CR, 0x22);
        rig_deliver(r, frame, sizeof(frame));
        rig_deliver(r, frame, 60);
        in(&r->pc, IO + 0x10, 4);
        rig_turn(r);
    }
    rig_free(r);
}

static void test_ne2000_isa_interrupts(void **state)
{
    struct nic_rig *r = started(&ne2k_isa_class);
    uint8_t frame[60];
    (void)state;
    rig_frame(frame, 60, rig_mac);
    wr(r, ISR, 0xff);
    assert_false(r->pc.f->isa[9]);
    rig_deliver(r, frame, 60);
    assert_true(r->pc.f->isa[9]);
    assert_int_equal(rd(r, RBCR0), 0); /* no RTL8029 */
    rig_free(r);
}

static void test_ne2000_state_moves(void **state)
{
    struct nic_rig *a = started(&ne2k_pci_class), *b = rig_new(&ne2k_pci_class);
    uint8_t frame[500], got[504];
    (void)state;
    rig_frame(frame, sizeof(frame), rig_mac);
    rig_deliver(a, frame, 500);
    pc_move(&a->pc, &b->pc);
    assert_true(irq(b));
    rig_deliver(b, frame, 500);
    assert_int_equal(curr(b), START + 1 + 4);
    get(b, (START + 1) * PAGE + 4, got, 504, 4);
    assert_memory_equal(got, frame, 500);
    rig_free(a);
    rig_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ne2000_address_prom),
        cmocka_unit_test(test_ne2000_remote_dma_of_every_width),
        cmocka_unit_test(test_ne2000_reset_port),
        cmocka_unit_test(test_ne2000_sends),
        cmocka_unit_test(test_ne2000_waits_for_a_full_back_end),
        cmocka_unit_test(test_ne2000_ring_wraps_everywhere),
        cmocka_unit_test(test_ne2000_full_ring_holds_frames),
        cmocka_unit_test(test_ne2000_filters),
        cmocka_unit_test(test_ne2000_bnry_in_front_of_the_ring_is_its_end),
        cmocka_unit_test(test_ne2000_prx_comes_back_while_packets_wait),
        cmocka_unit_test(test_ne2000_hostile_ring_registers),
        cmocka_unit_test(test_ne2000_isa_interrupts),
        cmocka_unit_test(test_ne2000_state_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
