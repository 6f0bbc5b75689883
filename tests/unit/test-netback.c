/* SPDX-License-Identifier: MIT */
/* tests/unit/test-netback.c - xen-net-device against a front end that behaves and one that does not. */
#include "xen-glue/netback.h"

#include "dm/base/bytes.h"
#include "tests/unit/pv-rig.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <xen/io/netif.h>

#define BACK "/local/domain/0/backend/qnic/7/0/"
#define FRONT "/local/domain/7/device/vif/0/"
enum { TX_REF = 8, RX_REF = 9, DATA = 16, RX_DATA = 300, SLOTS = 256, HEADER = 64 };

/* ---- the cable's other end, and the front end ---- */

struct net {
    struct nic *n;
    struct netback *back;
    unsigned sent;
    bool full;
    uint8_t last[NIC_FRAME_MAX];
    struct nic_frame frame;
    uint8_t *tx, *rx; /* rings */
    uint32_t tx_prod, rx_prod;
};

static bool net_send(struct nic *n, const struct nic_frame *f)
{
    struct net *t = n->priv;
    t->sent++;
    memcpy(t->last, f->data, f->len);
    t->frame = *f;
    return !t->full;
}

static const struct nic_ops net_ops = { .kind = "test", .send = net_send };

static struct net *net_up(void)
{
    static const uint8_t mac[6] = { 0, 0x16, 0x3e, 1, 2, 3 };
    struct net *t = calloc(1, sizeof(*t));
    struct err e = { 0 };
    pv_rig_up();
    t->n = nic_new(rig.loop, "n0", &net_ops);
    t->n->priv = t;
    t->n->tx_takes = NIC_TAKES_ALL;
    t->back = netback_new(rig.bus, t->n, 0, mac, &e);
    assert_non_null(t->back);
    t->tx = pv_rig_grant(TX_REF);
    t->rx = pv_rig_grant(RX_REF);
    *pv_rig_word(t->tx, 1) = *pv_rig_word(t->rx, 1) = 1;
    pv_rig_turn();
    return t;
}

static void net_down(struct net *t)
{
    netback_free(t->back);
    assert_string_equal(pv_rig_read(BACK "state"), "");
    nic_free(t->n);
    pv_rig_down();
    free(t);
}

static void connect_front(void)
{
    pv_rig_write(FRONT "tx-ring-ref", "8");
    pv_rig_write(FRONT "rx-ring-ref", "9");
    pv_rig_write(FRONT "event-channel", "33");
    pv_rig_write(FRONT "request-rx-copy", "1");
    pv_rig_write(FRONT "feature-sg", "1");
    pv_rig_write(FRONT "feature-gso-tcpv4", "1");
    pv_rig_write(FRONT "feature-ipv6-csum-offload", "1");
    pv_rig_write(FRONT "state", "4");
    pv_rig_turn();
}

static struct net *connected(void)
{
    struct net *t = net_up();
    connect_front();
    assert_string_equal(pv_rig_read(BACK "state"), "4");
    return t;
}

static void put_tx(struct net *t, uint32_t ref, uint16_t off, uint16_t flags, uint16_t id,
                   uint16_t size)
{
    netif_tx_request_t r = { .gref = ref, .offset = off, .flags = flags, .id = id, .size = size };
    memcpy(t->tx + HEADER + t->tx_prod++ % SLOTS * 12, &r, sizeof(r));
}

static void put_extra(struct net *t, struct netif_extra_info x)
{
    memcpy(t->tx + HEADER + t->tx_prod++ % SLOTS * 12, &x, sizeof(x));
}

static void push_tx(struct net *t)
{
    *pv_rig_word(t->tx, 0) = t->tx_prod;
    pv_rig_ring();
}

static netif_tx_response_t tx_answer(struct net *t, uint32_t i)
{
    netif_tx_response_t r;
    memcpy(&r, t->tx + HEADER + i % SLOTS * 12, sizeof(r));
    return r;
}

static void post_rx(struct net *t, unsigned n)
{
    for (; n; n--, t->rx_prod++) {
        uint16_t id = (uint16_t)(t->rx_prod % SLOTS);
        netif_rx_request_t r = { .id = id, .gref = RX_DATA + id };
        pv_rig_grant(RX_DATA + id);
        memcpy(t->rx + HEADER + t->rx_prod % SLOTS * 8, &r, sizeof(r));
    }
    *pv_rig_word(t->rx, 0) = t->rx_prod;
}

static netif_rx_response_t rx_answer(struct net *t, uint32_t i)
{
    netif_rx_response_t r;
    memcpy(&r, t->rx + HEADER + i % SLOTS * 8, sizeof(r));
    return r;
}

static uint8_t *fill(uint32_t ref, uint8_t with)
{
    return memset(pv_rig_grant(ref), with, PV_PAGE);
}

/* A TCP segment of IPv4 with `payload` bytes; sums blank. Its length. */
static uint16_t tcp4(uint8_t *p, unsigned payload)
{
    memset(p, 0, 54);
    store_be16(p + 12, 0x0800);
    p[14] = 0x45;
    store_be16(p + 16, (uint16_t)(40 + payload));
    p[23] = 6;
    p[46] = 0x50;
    return (uint16_t)(54 + payload);
}

/* ---- tests ---- */

static void test_netback_handshake_goes_through_its_states(void **state)
{
    struct net *t = net_up();
    (void)state;
    assert_string_equal(pv_rig_read(BACK "state"), "2");
    assert_string_equal(pv_rig_read(BACK "feature-rx-copy"), "1");
    assert_string_equal(pv_rig_read(FRONT "mac"), "00:16:3e:01:02:03");
    connect_front();
    assert_string_equal(pv_rig_read(BACK "state"), "4");
    assert_int_equal(rig.mapped, 2);
    assert_int_equal(rig.bound, 1);
    assert_int_equal(t->n->rx_takes, NIC_TAKES_CSUM | NIC_TAKES_TSO4);
    pv_rig_write(FRONT "state", "5");
    pv_rig_turn();
    assert_string_equal(pv_rig_read(BACK "state"), "5");
    assert_int_equal(rig.mapped, 0);
    pv_rig_write(FRONT "state", "6");
    pv_rig_turn();
    assert_string_equal(pv_rig_read(BACK "state"), "6");
    pv_rig_write(FRONT "state", "1"); /* another kernel, say after a reboot */
    pv_rig_turn();
    assert_string_equal(pv_rig_read(BACK "state"), "2");
    connect_front();
    assert_string_equal(pv_rig_read(BACK "state"), "4");
    net_down(t);
}

static void test_netback_when_a_node_is_missing_then_it_closes_and_waits_for_another(void **state)
{
    static const char *const nodes[] = { "tx-ring-ref", "rx-ring-ref", "event-channel",
                                         "request-rx-copy" };
    static const char *const values[] = { "x", "4294967296", "500000", "" };
    struct net *t = net_up();
    char path[80];
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
        for (size_t v = 0; v < ARRAY_SIZE(values); v++) {
            connect_front();
            pv_rig_write(FRONT "state", "1");
            pv_rig_turn();
            snprintf(path, sizeof(path), FRONT "%s", nodes[i]);
            pv_rig_write(path, i == 3 ? "0" : values[v]);
            pv_rig_write(FRONT "state", "4");
            pv_rig_turn();
            assert_string_equal(pv_rig_read(BACK "state"), "5");
            assert_int_equal(rig.mapped, 0);
            pv_rig_write(FRONT "state", "1");
            pv_rig_turn();
            assert_string_equal(pv_rig_read(BACK "state"), "2");
        }
    }
    net_down(t);
}

static void test_netback_sends_what_the_guest_puts_into_pieces(void **state)
{
    struct net *t = connected();
    (void)state;
    fill(DATA, 0x11);
    fill(DATA + 1, 0x22);
    put_tx(t, DATA, 100, 0, 70, 60);
    put_tx(t, DATA, 4000, NETTXF_more_data, 71, 1000);
    put_tx(t, DATA + 1, 0, NETTXF_more_data, 72, 500);
    put_tx(t, DATA + 1, 3692, 0, 73, 404);
    push_tx(t);
    assert_int_equal(t->sent, 2);
    assert_int_equal(t->frame.len, 1000);
    assert_int_equal(t->last[95], 0x11);
    assert_int_equal(t->last[96], 0x22);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(tx_answer(t, i).id, 70 + i);
        assert_int_equal(tx_answer(t, i).status, NETIF_RSP_OKAY);
    }
    assert_int_equal(*pv_rig_word(t->tx, 2), 4);
    put_tx(t, 599, 0, 0, 9, 60);   /* not granted */
    put_tx(t, DATA, 0, 0, 10, 13); /* no frame */
    push_tx(t);
    assert_int_equal(tx_answer(t, 4).status, NETIF_RSP_ERROR);
    assert_int_equal(tx_answer(t, 5).status, NETIF_RSP_ERROR);
    assert_int_equal(t->sent, 2);
    net_down(t);
}

static void test_netback_sums_and_segments_pass_undone(void **state)
{
    struct net *t = connected();
    struct netif_extra_info x = { .type = XEN_NETIF_EXTRA_TYPE_GSO };
    (void)state;
    uint16_t len = tcp4(pv_rig_grant(DATA), 3000);
    put_tx(t, DATA, 0, NETTXF_csum_blank, 1, len);
    push_tx(t);
    assert_true(t->frame.off.csum);
    assert_int_equal(t->frame.off.csum_start, 34);
    assert_int_equal(t->frame.off.csum_offset, 16);
    x.u.gso.type = XEN_NETIF_GSO_TYPE_TCPV4;
    x.u.gso.size = 1448;
    put_tx(t, DATA, 0, NETTXF_csum_blank | NETTXF_extra_info, 2, len);
    put_extra(t, x);
    push_tx(t);
    assert_int_equal(t->frame.off.gso, NIC_GSO_TCP4);
    assert_int_equal(t->frame.off.gso_size, 1448);
    assert_int_equal(tx_answer(t, 2).status, NETIF_RSP_NULL);
    memset(pv_rig_grant(DATA), 0, 64); /* not TCP at all */
    put_tx(t, DATA, 0, NETTXF_csum_blank | NETTXF_extra_info, 3, len);
    put_extra(t, x);
    push_tx(t);
    assert_int_equal(tx_answer(t, 3).status, NETIF_RSP_ERROR);
    assert_int_equal(t->sent, 2);
    net_down(t);
}

static void test_netback_when_wire_is_full_then_the_ring_waits(void **state)
{
    struct net *t = connected();
    (void)state;
    fill(DATA, 1);
    t->full = true;
    put_tx(t, DATA, 0, 0, 1, 60);
    put_tx(t, DATA, 0, 0, 2, 60);
    push_tx(t);
    assert_int_equal(t->sent, 1);
    t->full = false;
    nic_writable(t->n);
    assert_int_equal(t->sent, 2);
    net_down(t);
}

static void test_netback_when_rate_is_given_then_the_guest_is_slowed(void **state)
{
    struct net *t = net_up();
    (void)state;
    pv_rig_write(BACK "rate", "2000,30000");
    connect_front();
    fill(DATA, 1);
    for (int i = 0; i < 4; i++) {
        put_tx(t, DATA, 0, 0, 1, 1000);
    }
    int64_t start = ev_now_ns();
    push_tx(t);
    assert_int_equal(t->sent, 2);
    while (t->sent < 4) {
        ev_loop_turn(rig.loop, 1000);
    }
    assert_true(ev_now_ns() - start >= 30000000);
    net_down(t);
}

static bool deliver(struct net *t, uint32_t len, struct nic_offload off)
{
    static uint8_t bytes[NIC_FRAME_MAX];
    for (uint32_t i = 0; i < len; i++) {
        bytes[i] = (uint8_t)(i * 7 >> 3);
    }
    struct nic_frame f = { bytes, len, off, 0 };
    return nic_deliver(t->n, &f);
}

static void test_netback_fills_the_pages_the_guest_posts(void **state)
{
    struct net *t = connected();
    (void)state;
    assert_false(deliver(t, 60, (struct nic_offload){ 0 })); /* none yet: it waits */
    assert_int_equal(*pv_rig_word(t->rx, 1), 1);             /* and wants an event at the first */
    post_rx(t, 1);
    pv_rig_ring();
    assert_int_equal(rx_answer(t, 0).status, 60);
    assert_int_equal(*pv_rig_word(t->rx, 2), 1);
    assert_false(deliver(t, 9000, (struct nic_offload){ .good = true }));
    post_rx(t, 2);
    pv_rig_ring();
    assert_int_equal(*pv_rig_word(t->rx, 2), 1);
    post_rx(t, 1);
    unsigned before = rig.notified;
    *pv_rig_word(t->rx, 3) = 2;
    pv_rig_ring();
    assert_int_equal(rig.notified, before + 1);
    assert_int_equal(rx_answer(t, 1).flags, NETRXF_more_data | NETRXF_data_validated);
    assert_int_equal(rx_answer(t, 3).status, 9000 - 8192);
    assert_int_equal(rx_answer(t, 3).flags, 0);
    assert_int_equal(((uint8_t *)rig.grant[RX_DATA + 3])[7], (uint8_t)(8199 * 7 >> 3));
    rig.read_only[RX_DATA + 4] = true;
    post_rx(t, 1);
    assert_true(deliver(t, 60, (struct nic_offload){ 0 }));
    assert_int_equal(rx_answer(t, 4).status, NETIF_RSP_ERROR);
    net_down(t);
}

static void test_netback_large_segments_carry_their_size(void **state)
{
    struct net *t = connected();
    struct netif_extra_info x;
    struct nic_offload off = { .csum = true,
                               .gso = NIC_GSO_TCP4,
                               .gso_size = 1448,
                               .hdr_len = 54,
                               .csum_start = 34,
                               .csum_offset = 16 };
    (void)state;
    post_rx(t, 3);
    assert_true(deliver(t, 6000, off));
    assert_int_equal(rx_answer(t, 0).flags, NETRXF_more_data | NETRXF_csum_blank |
                                                NETRXF_data_validated | NETRXF_extra_info);
    memcpy(&x, t->rx + HEADER + 8, sizeof(x));
    assert_int_equal(x.type, XEN_NETIF_EXTRA_TYPE_GSO);
    assert_int_equal(x.u.gso.size, 1448);
    assert_int_equal(rx_answer(t, 2).status, 6000 - 4096);
    assert_int_equal(rx_answer(t, 2).id, 2);
    net_down(t);
}

static void test_netback_when_guest_lists_groups_then_others_do_not_come(void **state)
{
    struct net *t = net_up();
    struct netif_extra_info x = { .type = XEN_NETIF_EXTRA_TYPE_MCAST_ADD };
    uint8_t f[60] = { 1, 0, 0x5e, 0, 0, 9 };
    struct nic_frame frame = { f, sizeof(f), { 0 }, 0 };
    (void)state;
    pv_rig_write(FRONT "request-multicast-control", "1");
    connect_front();
    post_rx(t, 10);
    nic_deliver(t->n, &frame);
    assert_int_equal(*pv_rig_word(t->rx, 2), 0);
    memcpy(x.u.mcast.addr, f, 6);
    fill(DATA, 1);
    put_tx(t, DATA, 0, NETTXF_extra_info, 1, 60);
    put_extra(t, x);
    push_tx(t);
    nic_deliver(t->n, &frame);
    assert_int_equal(*pv_rig_word(t->rx, 2), 1);
    x.type = XEN_NETIF_EXTRA_TYPE_MCAST_DEL;
    put_tx(t, DATA, 0, NETTXF_extra_info, 1, 60);
    put_extra(t, x);
    push_tx(t);
    nic_deliver(t->n, &frame);
    assert_int_equal(*pv_rig_word(t->rx, 2), 1);
    net_down(t);
}

/* ---- a front end that breaks the protocol ---- */

enum broken {
    TOO_MANY,
    NO_END,
    EXTRA_END,
    EXTRA_TYPE,
    MORE_THAN_SIZE,
    OFF_PAGE,
    OFF_PAGE_LATER,
    MANY_PIECES,
    RX_TOO_MANY,
    BROKEN_KINDS
};

static void break_it(struct net *t, enum broken how)
{
    struct netif_extra_info x = { .type = 9 };
    switch (how) {
    case TOO_MANY:
        t->tx_prod += 257;
        break;
    case NO_END:
        put_tx(t, DATA, 0, NETTXF_more_data, 1, 100);
        break;
    case EXTRA_END:
        put_tx(t, DATA, 0, NETTXF_extra_info, 1, 100);
        break;
    case EXTRA_TYPE:
        put_tx(t, DATA, 0, NETTXF_extra_info, 1, 100);
        put_extra(t, x);
        break;
    case MORE_THAN_SIZE:
        put_tx(t, DATA, 0, NETTXF_more_data, 1, 100);
        put_tx(t, DATA, 0, 0, 1, 101);
        break;
    case OFF_PAGE:
        put_tx(t, DATA, 4000, 0, 1, 97);
        break;
    case OFF_PAGE_LATER:
        put_tx(t, DATA, 0, NETTXF_more_data, 1, 1000);
        put_tx(t, DATA, 65535, 0, 1, 900);
        break;
    case MANY_PIECES:
        for (int i = 0; i < 19; i++) {
            put_tx(t, DATA, 0, i < 18 ? NETTXF_more_data : 0, 1, i ? 1 : 1000);
        }
        break;
    case RX_TOO_MANY:
        *pv_rig_word(t->rx, 0) = 0x80000000u;
        deliver(t, 60, (struct nic_offload){ 0 });
        pv_rig_turn();
        return;
    default:
        break;
    }
    push_tx(t);
}

static void
test_netback_when_front_end_breaks_rules_then_it_is_closed_and_may_start_anew(void **state)
{
    (void)state;
    for (int how = 0; how < BROKEN_KINDS; how++) {
        struct net *t = connected();
        fill(DATA, 1);
        break_it(t, (enum broken)how);
        assert_string_equal(pv_rig_read(BACK "state"), "5");
        assert_int_equal(rig.mapped, 0);
        assert_int_equal(t->sent, 0);
        assert_true(deliver(t, 60, (struct nic_offload){ 0 }));
        pv_rig_ring();
        memset(t->tx, 0, PV_PAGE);
        memset(t->rx, 0, PV_PAGE);
        t->tx_prod = 0;
        pv_rig_write(FRONT "state", "1");
        pv_rig_turn();
        connect_front();
        put_tx(t, DATA, 0, 0, 1, 60);
        push_tx(t);
        assert_int_equal(t->sent, 1);
        net_down(t);
    }
}

/* Rings of noise, for a while: nothing but what the rules above say may happen. */
static void test_netback_when_rings_hold_noise_then_nothing_bad_happens(void **state)
{
    unsigned seed = 12345;
    (void)state;
    for (int round = 0; round < 200; round++) {
        struct net *t = connected();
        for (unsigned i = 0; i < PV_PAGE / 4; i++) {
            seed = seed * 1103515245u + 12345u;
            *pv_rig_word(t->tx, i) = seed >> (round % 3 ? 16 : 0);
            *pv_rig_word(t->rx, i) = seed >> 8;
        }
        for (unsigned i = 0; i < 40; i++) {
            pv_rig_grant(i * 7 % 64 + 10);
        }
        t->tx_prod = seed % 400;
        *pv_rig_word(t->tx, 0) = t->tx_prod;
        *pv_rig_word(t->rx, 0) = seed % 300;
        pv_rig_ring();
        for (uint32_t len = 14; len < NIC_FRAME_MAX; len += 9001) {
            deliver(t, len, (struct nic_offload){ 0 });
        }
        pv_rig_ring();
        net_down(t);
    }
}

/* A guest cannot so much as look at what inherits dom0's permissions. */
static void test_netback_nodes_are_the_guests_to_write_and_to_read(void **state)
{
    struct net *t = net_up();
    (void)state;
    int front = node(FRONT "state", false), back = node(BACK "state", false);
    assert_int_equal(rig.store[front].owner, RIG_DOMID);
    assert_int_equal(rig.store[front].reader, 0);
    assert_int_equal(rig.store[back].owner, 0);
    assert_int_equal(rig.store[back].reader, RIG_DOMID);
    net_down(t);
}

/* libxl's own card of that number is not to be overwritten. */
static void test_netback_when_the_domain_has_that_card_then_it_is_refused(void **state)
{
    static const uint8_t mac[6] = { 0, 0x16, 0x3e, 1, 2, 3 };
    struct err e = { 0 };
    (void)state;
    pv_rig_up();
    struct nic *n = nic_new(rig.loop, "n0", &net_ops);
    pv_rig_write(FRONT "backend", "/local/domain/0/backend/vif/7/0");
    assert_null(netback_new(rig.bus, n, 0, mac, &e));
    assert_string_equal(e.msg, "/local/domain/7/device/vif/0: there is one already");
    assert_string_equal(pv_rig_read(FRONT "backend"), "/local/domain/0/backend/vif/7/0");
    nic_free(n);
    pv_rig_down();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_netback_nodes_are_the_guests_to_write_and_to_read),
        cmocka_unit_test(test_netback_when_the_domain_has_that_card_then_it_is_refused),
        cmocka_unit_test(test_netback_handshake_goes_through_its_states),
        cmocka_unit_test(test_netback_when_a_node_is_missing_then_it_closes_and_waits_for_another),
        cmocka_unit_test(test_netback_sends_what_the_guest_puts_into_pieces),
        cmocka_unit_test(test_netback_sums_and_segments_pass_undone),
        cmocka_unit_test(test_netback_when_wire_is_full_then_the_ring_waits),
        cmocka_unit_test(test_netback_when_rate_is_given_then_the_guest_is_slowed),
        cmocka_unit_test(test_netback_fills_the_pages_the_guest_posts),
        cmocka_unit_test(test_netback_large_segments_carry_their_size),
        cmocka_unit_test(test_netback_when_guest_lists_groups_then_others_do_not_come),
        cmocka_unit_test(
            test_netback_when_front_end_breaks_rules_then_it_is_closed_and_may_start_anew),
        cmocka_unit_test(test_netback_when_rings_hold_noise_then_nothing_bad_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
