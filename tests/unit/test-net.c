/* SPDX-License-Identifier: MIT */
/* tests/unit/test-net.c - the cable: queue, back pressure both ways, link, offloads in software, hubs,
 * capture; and the option parsers' library side.
 */
#include "net/net.h"
#include "net/offload-int.h"

#include "dm/base/bytes.h"
#include "dm/base/util.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- both ends in the test's hands ---- */

struct ends {
    struct ev_loop *loop;
    struct nic *n;
    unsigned received, sent, resumed, writable, links;
    bool refuse, full;
    uint8_t last[NIC_FRAME_MAX];
    struct nic_frame last_frame; /* data: last */
};

static void keep_last(struct ends *b, const struct nic_frame *f)
{
    memcpy(b->last, f->data, f->len);
    b->last_frame = *f;
    b->last_frame.data = b->last;
}

static bool ends_receive(void *opaque, const struct nic_frame *f)
{
    struct ends *b = opaque;
    if (b->refuse) {
        return false;
    }
    b->received++;
    keep_last(b, f);
    return true;
}

static void ends_writable(void *opaque)
{
    ((struct ends *)opaque)->writable++;
}

static void ends_link(void *opaque)
{
    ((struct ends *)opaque)->links++;
}

static bool ends_send(struct nic *n, const struct nic_frame *f)
{
    struct ends *b = n->priv;
    b->sent++;
    keep_last(b, f);
    return !b->full;
}

static void ends_resume(struct nic *n)
{
    ((struct ends *)n->priv)->resumed++;
}

static const struct nic_user ends_user = { ends_receive, ends_writable, ends_link, NULL };
static const struct nic_ops ends_ops = { .kind = "test", .send = ends_send, .resume = ends_resume };

static struct ends *ends_new(void)
{
    struct ends *b = calloc(1, sizeof(*b));
    b->loop = ev_loop_new(NULL, NULL, NULL);
    b->n = nic_new(b->loop, "n0", &ends_ops);
    b->n->priv = b;
    nic_attach(b->n, &ends_user, b);
    return b;
}

static void ends_free(struct ends *b)
{
    nic_free(b->n);
    ev_loop_free(b->loop);
    free(b);
}

static void turn(struct ends *b)
{
    while (ev_loop_turn(b->loop, 0) > 0) {
    }
}

static bool deliver(struct ends *b, uint32_t len)
{
    static const uint8_t bytes[NIC_FRAME_MAX + 1] = { 0 };
    struct nic_frame f = { bytes, len, { 0 }, 0 };
    return nic_deliver(b->n, &f);
}

static void test_nic_when_card_refuses_then_frames_wait_in_order(void **state)
{
    struct ends *b = ends_new();
    (void)state;
    assert_true(deliver(b, 60));
    b->refuse = true;
    assert_false(deliver(b, 61));
    assert_false(deliver(b, 62));
    b->refuse = false;
    assert_false(deliver(b, 63)); /* not past those that wait */
    assert_int_equal(b->received, 1);
    nic_kick(b->n);
    assert_int_equal(b->received, 1); /* by the loop only */
    turn(b);
    assert_int_equal(b->received, 4);
    assert_int_equal(b->last_frame.len, 63);
    assert_int_equal(b->resumed, 1);
    nic_kick(b->n); /* nothing waits: nothing happens */
    turn(b);
    assert_int_equal(b->resumed, 1);
    ends_free(b);
}

static void test_nic_when_card_never_takes_then_memory_is_bounded(void **state)
{
    struct ends *b = ends_new();
    (void)state;
    b->refuse = true;
    for (unsigned i = 0; i < 10000; i++) {
        deliver(b, 60);
    }
    assert_int_equal(b->n->queued, 4096);
    assert_int_equal(b->n->rx.dropped, 10000 - 4096);
    nic_set_link(b->n, false); /* what waits is gone */
    assert_int_equal(b->n->queued, 0);
    turn(b);
    assert_int_equal(b->resumed, 1);
    nic_set_link(b->n, true);
    for (unsigned i = 0; i < 100; i++) {
        deliver(b, NIC_FRAME_MAX);
    }
    assert_true(b->n->queued_bytes <= 4 << 20);
    ends_free(b);
}

static void test_nic_when_link_is_down_then_nothing_passes(void **state)
{
    struct ends *b = ends_new();
    struct nic_frame f = { b->last, 60, { 0 }, 0 };
    (void)state;
    nic_set_link(b->n, false);
    assert_int_equal(b->links, 1);
    assert_true(deliver(b, 60));
    assert_true(nic_send(b->n, &f));
    assert_int_equal(b->received + b->sent, 0);
    assert_int_equal(b->n->tx.dropped, 1);
    nic_set_link(b->n, true);
    nic_set_link(b->n, true);
    assert_int_equal(b->links, 2);
    assert_true(nic_send(b->n, &f));
    assert_int_equal(b->sent, 1);
    ends_free(b);
}

static void test_nic_when_size_is_none_then_it_is_dropped(void **state)
{
    struct ends *b = ends_new();
    struct nic_frame f = { b->last, 13, { 0 }, 0 };
    (void)state;
    assert_true(deliver(b, 0));
    assert_true(deliver(b, 13));
    assert_true(deliver(b, NIC_FRAME_MAX + 1));
    assert_true(nic_send(b->n, &f));
    assert_int_equal(b->received + b->sent, 0);
    assert_true(deliver(b, NIC_FRAME_MAX));
    assert_int_equal(b->received, 1);
    ends_free(b);
}

static void test_nic_when_back_end_is_full_then_card_hears_of_it(void **state)
{
    struct ends *b = ends_new();
    struct nic_frame f = { b->last, 60, { 0 }, 0 };
    (void)state;
    b->full = true;
    assert_false(nic_send(b->n, &f));
    nic_writable(b->n);
    assert_int_equal(b->writable, 1);
    assert_true(nic_send(NULL, &f)); /* no cable */
    assert_false(nic_link(NULL));
    nic_kick(NULL);
    ends_free(b);
}

static void test_nic_when_card_goes_then_frames_are_dropped(void **state)
{
    struct ends *b = ends_new();
    (void)state;
    b->refuse = true;
    deliver(b, 60);
    nic_attach(b->n, NULL, NULL);
    turn(b);
    assert_int_equal(b->resumed, 1);
    assert_true(deliver(b, 60));
    assert_int_equal(b->n->rx.dropped, 2);
    nic_writable(b->n);
    ends_free(b);
}

/* ---- offloads ---- */

static uint32_t tcp(uint8_t *p, uint32_t payload, bool v6, bool tagged)
{
    uint32_t l3 = tagged ? 18 : 14, l4 = l3 + (v6 ? 40 : 20), len = l4 + 20 + payload;
    memset(p, 0, l4 + 20);
    p[0] = 2;
    if (tagged) {
        store_be32(p + 12, 0x81000005);
    }
    store_be16(p + l3 - 2, v6 ? 0x86dd : 0x0800);
    p[l3] = v6 ? 0x60 : 0x45;
    if (v6) {
        p[l3 + 6] = 6;
        memset(p + l3 + 8, 0x11, 32);
    } else {
        store_be16(p + l3 + 4, 0xfffe); /* id: wraps */
        p[l3 + 9] = 6;
        memset(p + l3 + 12, 0x0a, 8);
    }
    store_be32(p + l4 + 4, 0xfffffff0);
    p[l4 + 12] = 0x50;
    p[l4 + 13] = 0x80 | 0x19; /* CWR, ACK, PSH, FIN */
    for (uint32_t i = l4 + 20; i < len; i++) {
        p[i] = (uint8_t)(i * 13);
    }
    return len;
}

struct cut {
    const uint8_t *whole;
    uint32_t l4, at, n;
    bool v6;
};

static void check_cut(void *opaque, const struct nic_frame *f)
{
    struct cut *c = opaque;
    uint32_t payload = f->len - c->l4 - 20;
    unsigned sums = nic_check_sums(&(struct nic_frame){ f->data, f->len, { 0 }, 0 });
    assert_int_equal(sums, (c->v6 ? NIC_SUM_IP6 : NIC_SUM_IP) | NIC_SUM_TCP);
    assert_int_equal(load_be32(f->data + c->l4 + 4), 0xfffffff0 + c->at);
    assert_int_equal(f->data[c->l4 + 13] & 0x80, c->n == 0 ? 0x80 : 0);
    assert_memory_equal(f->data + c->l4 + 20, c->whole + c->l4 + 20 + c->at, payload);
    c->at += payload;
    c->n++;
}

static void test_offload_cuts_every_kind_of_frame(void **state)
{
    uint8_t p[NIC_FRAME_MAX];
    struct nic_offload off;
    (void)state;
    for (unsigned kind = 0; kind < 4; kind++) {
        bool v6 = kind & 1, tagged = kind & 2;
        for (uint32_t mss = 1; mss < 3000; mss += 499) {
            uint32_t len = tcp(p, 6001, v6, tagged);
            struct cut c = { p, (tagged ? 18 : 14) + (v6 ? 40 : 20), 0, 0, v6 };
            assert_true(nic_prepare_tso(p, len, mss, &off));
            assert_int_equal(off.gso, v6 ? NIC_GSO_TCP6 : NIC_GSO_TCP4);
            assert_int_equal(off.hdr_len, c.l4 + 20);
            assert_true(off.ecn);
            assert_true(offload_do(&(struct nic_frame){ p, len, off, 0 }, 0, check_cut, &c));
            assert_int_equal(c.at, 6001);
            assert_int_equal(c.n, (6001 + mss - 1) / mss);
        }
    }
}

static void test_offload_when_one_segment_fits_then_only_the_sum_is_left(void **state)
{
    uint8_t p[NIC_FRAME_MAX];
    struct nic_offload off;
    struct cut c = { p, 34, 0, 0, false };
    uint32_t len = tcp(p, 100, false, false);
    (void)state;
    assert_true(nic_prepare_tso(p, len, 100, &off));
    assert_int_equal(off.gso, NIC_GSO_NONE);
    assert_true(offload_do(&(struct nic_frame){ p, len, off, 0 }, 0, check_cut, &c));
    assert_int_equal(c.n, 1);
}

static void count_cut(void *opaque, const struct nic_frame *f)
{
    unsigned *n = opaque;
    assert_true(f->len <= NIC_FRAME_MAX);
    (*n)++;
}

static void test_offload_when_description_lies_then_nothing_is_sent(void **state)
{
    uint8_t p[NIC_FRAME_MAX];
    unsigned n = 0;
    uint32_t len = tcp(p, 500, false, false);
    struct nic_offload off = { .gso = NIC_GSO_TCP4, .gso_size = 0 };
    (void)state;
    assert_false(offload_do(&(struct nic_frame){ p, len, off, 0 }, 0, count_cut, &n));
    off = (struct nic_offload){ .csum = true, .csum_start = 600, .csum_offset = 16 };
    assert_false(offload_do(&(struct nic_frame){ p, len, off, 0 }, 0, count_cut, &n));
    off = (struct nic_offload){ .csum = true, .csum_start = 500, .csum_offset = 0xffff };
    assert_false(offload_do(&(struct nic_frame){ p, len, off, 0 }, 0, count_cut, &n));
    off = (struct nic_offload){ .gso = NIC_GSO_TCP4, .gso_size = 100 };
    for (uint32_t cut = 14; cut < 54; cut++) {
        assert_false(offload_do(&(struct nic_frame){ p, cut, off, 0 }, 0, count_cut, &n));
    }
    p[14] = 0x4f; /* header longer than the packet */
    assert_false(offload_do(&(struct nic_frame){ p, 60, off, 0 }, 0, count_cut, &n));
    p[14] = 0x45;
    p[46] = 0xf0;
    assert_false(offload_do(&(struct nic_frame){ p, 60, off, 0 }, 0, count_cut, &n));
    assert_int_equal(n, 0);
}

static void test_offload_when_frames_are_cut_anywhere_then_sums_stay_inside(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 4; kind++) {
        for (uint32_t len = 0; len < 100; len++) {
            uint8_t whole[200],
                *p = malloc(len ? len : 1); /* so that a sanitizer sees a step over */
            tcp(whole, 40, kind & 1, kind & 2);
            memcpy(p, whole, len);
            for (unsigned ihl = 0; ihl < 16 && len > 20; ihl++) {
                p[14] = (uint8_t)(0x40 | ihl);
                store_be16(p + 16, (uint16_t)(len - 14));
                (void)nic_check_sums(&(struct nic_frame){ p, len, { 0 }, 0 });
                nic_put_sums(p, len, true, true, true);
            }
            free(p);
        }
    }
}

static void test_sum_is_that_of_rfc_1071(void **state)
{
    static const uint8_t bytes[8] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };
    uint8_t many[1000];
    uint32_t slow = 0;
    (void)state;
    assert_int_equal(__builtin_bswap16(net_fold(net_sum(0, bytes, 8))), 0xddf2);
    for (unsigned i = 0; i < sizeof(many); i++) {
        many[i] = (uint8_t)(i * 251 + 3);
    }
    for (unsigned len = 0; len < sizeof(many); len++) {
        slow = 0;
        for (unsigned i = 0; i < len; i++) {
            slow += i & 1 ? many[i] : many[i] * 256u;
        }
        assert_int_equal(net_fold(slow), __builtin_bswap16(net_fold(net_sum(0, many, len))));
    }
    assert_int_equal(net_crc32((const uint8_t *)"123456789", 9), 0xcbf43926);
}

/* ---- hubs and captures ---- */

static void test_hub_repeats_to_all_others(void **state)
{
    struct ev_loop *loop = ev_loop_new(NULL, NULL, NULL);
    struct net_hub *hub = NULL;
    struct ends *out = ends_new(), card[2] = { 0 };
    struct nic *n[2];
    (void)state;
    nic_attach(out->n, NULL, NULL);
    net_hub_attach(&hub, out->n);
    for (unsigned i = 0; i < 2; i++) {
        n[i] = net_hubport_new(loop, i ? "h1" : "h0", &hub, 7);
        nic_attach(n[i], &ends_user, &card[i]);
    }
    struct nic_frame f = { out->last, 60, { 0 }, 0 };
    nic_send(n[0], &f);
    assert_int_equal(card[1].received, 0); /* a turn of its own */
    while (ev_loop_turn(loop, 0) > 0) {
    }
    assert_int_equal(card[1].received, 1);
    assert_int_equal(card[0].received, 0);
    assert_int_equal(out->sent, 1);
    nic_deliver(out->n, &f);
    while (ev_loop_turn(loop, 0) > 0) {
    }
    assert_int_equal(card[0].received + card[1].received, 3);
    nic_free(n[0]);
    net_hub_detach(&hub, out->n);
    nic_free(n[1]);
    assert_null(hub);
    ends_free(out);
    ev_loop_free(loop);
}

static void test_dump_is_told_of_both_ways(void **state)
{
    char path[] = "/tmp/test-net-XXXXXX";
    struct ends *b = ends_new();
    struct err e = { 0 };
    int fd = mkstemp(path);
    struct nic_filter *d = net_dump_new(path, 40, &e);
    struct nic_frame f = { b->last, 100, { 0 }, 0 };
    (void)state;
    nic_add_filter(b->n, d);
    nic_send(b->n, &f);
    deliver(b, 30);
    assert_int_equal(lseek(fd, 0, SEEK_END), 24 + 16 + 40 + 16 + 30);
    nic_del_filter(b->n, d);
    assert_null(net_dump_new("/none/x", 40, &e));
    assert_non_null(strstr(e.msg, "/none/x"));
    close(fd);
    unlink(path);
    ends_free(b);
}

/* ---- the stream's parser, fed in every way ---- */

static void test_stream_takes_frames_in_any_pieces(void **state)
{
    int fds[2];
    struct err e = { 0 };
    struct ends *b = ends_new();
    uint8_t wire[4 + 100] = { 0, 0, 0, 100 };
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    struct stream_options o = { .addr = { .kind = NET_FD, .fd = fds[0] } };
    struct nic *n = net_stream_new(b->loop, "s", "stream", &o, &e);
    assert_non_null(n);
    nic_attach(n, &ends_user, b);
    for (size_t piece = 1; piece <= sizeof(wire); piece++) {
        for (size_t at = 0; at < sizeof(wire); at += piece) {
            size_t len = sizeof(wire) - at < piece ? sizeof(wire) - at : piece;
            assert_int_equal(write(fds[1], wire + at, len), len);
            turn(b);
        }
        assert_int_equal(b->received, piece);
        assert_int_equal(b->last_frame.len, 100);
    }
    b->refuse = true; /* what came but was not taken is not lost */
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(write(fds[1], wire, sizeof(wire)), sizeof(wire));
        turn(b);
    }
    b->refuse = false;
    nic_kick(n);
    turn(b);
    assert_int_equal(b->received, sizeof(wire) + 5);
    assert_int_equal(write(fds[1], "\0\2\0\0", 4), 4); /* no frame is that long */
    turn(b);
    char c;
    assert_int_equal(read(fds[1], &c, 1), 0); /* hung up */
    nic_free(n);
    close(fds[1]);
    ends_free(b);
}

/* ---- the user network ---- */

/* Frames as if of IPv4 and UDP, cut anywhere: no byte behind them is looked at (for sanitizers to see). */
static void test_user_takes_frames_cut_anywhere(void **state)
{
    struct ends *b = ends_new();
    struct user_options o;
    struct err e = { 0 };
    (void)state;
    net_user_defaults(&o);
    struct nic *n = net_user_new(b->loop, "u", &o, &e);
    assert_non_null(n);
    nic_attach(n, &ends_user, b);
    for (uint32_t len = NIC_FRAME_MIN; len < 80; len++) {
        uint8_t *p = calloc(1, len);
        struct nic_frame f = { p, len, { 0 }, 0 };
        const uint8_t head[] = { 0x08, 0x00, 0x45, 0, 0, 60, 0, 0, 0, 0, 64, 17 };
        memcpy(p + 12, head, len - 12 < sizeof(head) ? len - 12 : sizeof(head));
        nic_send(n, &f);
        free(p);
    }
    turn(b);
    assert_int_equal(n->tx.dropped, 0);
    nic_free(n);
    ends_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_user_takes_frames_cut_anywhere),
        cmocka_unit_test(test_nic_when_card_refuses_then_frames_wait_in_order),
        cmocka_unit_test(test_nic_when_card_never_takes_then_memory_is_bounded),
        cmocka_unit_test(test_nic_when_link_is_down_then_nothing_passes),
        cmocka_unit_test(test_nic_when_size_is_none_then_it_is_dropped),
        cmocka_unit_test(test_nic_when_back_end_is_full_then_card_hears_of_it),
        cmocka_unit_test(test_nic_when_card_goes_then_frames_are_dropped),
        cmocka_unit_test(test_offload_cuts_every_kind_of_frame),
        cmocka_unit_test(test_offload_when_one_segment_fits_then_only_the_sum_is_left),
        cmocka_unit_test(test_offload_when_description_lies_then_nothing_is_sent),
        cmocka_unit_test(test_offload_when_frames_are_cut_anywhere_then_sums_stay_inside),
        cmocka_unit_test(test_sum_is_that_of_rfc_1071),
        cmocka_unit_test(test_hub_repeats_to_all_others),
        cmocka_unit_test(test_dump_is_told_of_both_ways),
        cmocka_unit_test(test_stream_takes_frames_in_any_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
