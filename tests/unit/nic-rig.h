/* SPDX-License-Identifier: MIT */
/* tests/unit/nic-rig.h - a bare PC with one network card whose cable ends in the test. */
#ifndef TESTS_UNIT_NIC_RIG_H
#define TESTS_UNIT_NIC_RIG_H

#include "pc-loop.h"

#include "dm/base/bytes.h"
#include "hw/net/net-dev.h"
#include "net/nic.h"

#include <errno.h>

enum { CARD = PCI_DEVFN(3, 0), RAM = 1 << 20 };

struct nic_rig {
    struct flat_pc pc;
    struct ev_loop *loop;
    struct nic *nic;
    struct device *d;
    /* what the card sent */
    uint8_t sent[256][NIC_FRAME_MAX];
    uint32_t sent_len[256];
    uint16_t sent_queue[256];
    unsigned nsent;
    unsigned room; /* sends that are taken before the back end is full; 0: any number */
    bool taking;
    unsigned resumed;
};

static const uint8_t rig_mac[6] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 };

static inline bool rig_send(struct nic *n, const struct nic_frame *f)
{
    struct nic_rig *r = n->priv;
    unsigned at = r->nsent++ % 256;
    memcpy(r->sent[at], f->data, f->len);
    r->sent_len[at] = f->len;
    r->sent_queue[at] = f->queue;
    return r->room == 0 || --r->room > 0;
}

static inline void rig_resume(struct nic *n)
{
    ((struct nic_rig *)n->priv)->resumed++;
}

/* The back end has `queues` pairs of queues; the boolean property `prop` (or NULL) is `on`. */
static inline struct nic_rig *rig_new_with(const struct dev_class *class, unsigned queues,
                                           const char *prop, bool on)
{
    static const struct nic_ops ops = { .kind = "rig", .send = rig_send, .resume = rig_resume };
    struct nic_rig *r = calloc(1, sizeof(*r));
    pc_make(&r->pc, true);
    r->loop = pc_loop_new(&r->pc);
    r->nic = nic_new(r->loop, "net0", &ops);
    r->nic->priv = r;
    r->nic->queues = queues;
    r->d = dev_new(r->pc.m, class, "card");
    if (dev_prop_find(class, "addr")) {
        dev_set_str(r->d, "addr", "3");
    }
    dev_set_ptr(r->d, "netdev", r->nic);
    if (prop) {
        dev_set_bool(r->d, prop, on);
    }
    machine_enter(r->pc.m);
    pc_start(r->d);
    machine_leave(r->pc.m);
    return r;
}

static inline struct nic_rig *rig_new(const struct dev_class *class)
{
    return rig_new_with(class, 1, NULL, false);
}

static inline void rig_free(struct nic_rig *r)
{
    machine_free(r->pc.m);
    nic_free(r->nic);
    ev_loop_free(r->loop);
    flat_free(r->pc.f);
    free(r);
}

static inline void rig_turn(struct nic_rig *r)
{
    settle(r->loop);
}

/* A frame from the cable. */
static inline bool rig_deliver(struct nic_rig *r, const void *data, uint32_t len)
{
    struct nic_frame f = { data, len, { 0 }, 0 };
    machine_enter(r->pc.m);
    bool more = nic_deliver(r->nic, &f);
    machine_leave(r->pc.m);
    return more;
}

static inline uint8_t *ram(struct nic_rig *r, uint32_t at)
{
    return r->pc.f->ram + at;
}

/* len bytes to dst: a header of made-up type, then a pattern. */
static inline void rig_frame(uint8_t *p, uint32_t len, const uint8_t *dst)
{
    static const uint8_t src[6] = { 2, 0, 0, 0, 0, 9 };
    for (uint32_t i = 14; i < len; i++) {
        p[i] = (uint8_t)(i * 7 + len);
    }
    memcpy(p, dst, 6);
    memcpy(p + 6, src, 6);
    p[12] = 0x88;
    p[13] = 0xb5;
}

/* ---- nothing shows that is not the frame's ---- */

static inline void rig_fill_host(uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        p[i] = (uint8_t) "HOST"[i % 4];
    }
}

/* What a card that looks at memory it did not fill would find: on the stack and the heap. */
__attribute__((noinline)) static void rig_rubbish(void)
{
    uint8_t stack[64 << 10];
    void *heap[64];
    rig_fill_host(stack, sizeof(stack));
    __asm__ volatile("" : : "r"(stack) : "memory");
    for (size_t i = 0; i < 64; i++) {
        heap[i] = memcpy(malloc(32 + 160 * i), stack, 32 + 160 * i);
    }
    for (size_t i = 0; i < 64; i++) {
        free(heap[i]);
    }
}

/* How often rubbish is in the guest's memory; it is there no more. */
static inline unsigned rig_wipe(struct nic_rig *r)
{
    unsigned n = 0;
    for (uint8_t *p = ram(r, 0); (p = memmem(p, (size_t)(ram(r, RAM) - p), "HOST", 4)); n++) {
        memset(p, 0, 4);
    }
    return n;
}

/* Frames of every size up to max, each behind one of max bytes of rubbish: of that, or of anything else of
 * the host's, the guest gets nothing to see. start: a new rig that receives. */
static inline void rig_hides_the_host(struct nic_rig *(*start)(void), uint32_t max)
{
    for (uint32_t len = NIC_FRAME_MIN; len <= max; len += len < 128 ? 1 : 73) {
        uint8_t *frame = malloc(max), *exact = malloc(len);
        rig_rubbish();
        struct nic_rig *r = start();
        rig_frame(frame, max, rig_mac);
        rig_fill_host(frame + 14, max - 14);
        rig_deliver(r, frame, max);
        assert_true(rig_wipe(r) > 0);
        rig_rubbish();
        rig_frame(exact, len, rig_mac);
        assert_true(rig_deliver(r, exact, len));
        assert_int_equal(rig_wipe(r), 0);
        assert_non_null(memmem(ram(r, 0), RAM, exact, len < 60 ? len : 60));
        rig_free(r);
        free(frame);
        free(exact);
    }
}

/* Ethernet, IPv4, TCP with n bytes of payload; no sums, IP length 0. Returns the length. */
static inline uint32_t rig_tcp(uint8_t *p, uint32_t n)
{
    rig_frame(p, 54 + n, rig_mac);
    p[12] = 0x08;
    p[13] = 0x00;
    memset(p + 14, 0, 40);
    p[14] = 0x45;
    store_be16(p + 18, 0x1000); /* id */
    p[22] = 64;
    p[23] = 6;
    memcpy(p + 26, "\x0a\x00\x02\x0f\x0a\x00\x02\x02", 8);
    store_be16(p + 34, 1234);
    store_be16(p + 36, 80);
    store_be32(p + 38, 0x01000000); /* sequence */
    p[46] = 0x50;
    p[47] = 0x19; /* FIN, PSH, ACK */
    return 54 + n;
}

static inline unsigned rig_sums(const uint8_t *p, uint32_t len)
{
    struct nic_frame f = { p, len, { 0 }, 0 };
    return nic_check_sums(&f);
}

#endif
