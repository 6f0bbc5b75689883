/* SPDX-License-Identifier: MIT */
/* net/vhost-user.c - a switch in another process (Open vSwitch, DPDK) by the vhost-user protocol.
 *
 * Keel is the protocol's front end, and the driver of the virtqueues too: they and their buffers lie in a
 * memfd of Keel's own, which is all that the back end is shown. So any card can be plugged in, filters and
 * offloads work as with every other back end, and a switch that is broken or hostile reaches no guest
 * memory; the price is that each frame is copied.
 *
 *   card -> vhost_send -> transmit ring, kick -> switch
 *   switch -> receive ring, call -> loop: receive -> nic_deliver -> card
 *
 * Connecting is a list of requests, some with an answer that decides what comes next; no answer is waited
 * for. While nobody is there, or not ready, frames are dropped. A back end that breaks the rules loses
 * its connection and may come again.
 * Reference: QEMU docs/interop/vhost-user.rst; virtio 1.2, 5.1.
 */
#include "net/net.h"
#include "net/offload-int.h"
#include "net/vring.h"

#include "dm/base/bytes.h"
#include "dm/base/chr.h"
#include "dm/base/log.h"
#include "dm/base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum request {
    GET_FEATURES = 1,
    SET_FEATURES = 2,
    SET_OWNER = 3,
    SET_MEM_TABLE = 5,
    SET_VRING_NUM = 8,
    SET_VRING_ADDR = 9,
    SET_VRING_BASE = 10,
    SET_VRING_KICK = 12,
    SET_VRING_CALL = 13,
    GET_PROTOCOL_FEATURES = 15,
    SET_PROTOCOL_FEATURES = 16,
    GET_QUEUE_NUM = 17,
    SET_VRING_ENABLE = 18,
};

enum {
    HEAD = 12, /* request, flags, length */
    VERSION = 1,
    REPLY = 4,
    NEED_REPLY = 8,
    BODY_MAX = 40,
    BATCH = 64, /* frames a turn */
};

#define F_CSUM (1ull << 0)
#define F_GUEST_OFFLOADS (1ull << 1 | 1ull << 7 | 1ull << 8 | 1ull << 9) /* sums, TSO4, TSO6, ECN */
#define F_HOST_TSO4 (1ull << 11)
#define F_HOST_TSO6 (1ull << 12)
#define F_HOST_ECN (1ull << 13)
#define F_PROTOCOL (1ull << 30)
#define F_VERSION_1 (1ull << 32)
#define WANTED                                                                                     \
    (F_CSUM | F_GUEST_OFFLOADS | F_HOST_TSO4 | F_HOST_TSO6 | F_HOST_ECN | F_PROTOCOL | F_VERSION_1)
#define P_MQ (1ull << 0)
#define P_REPLY_ACK (1ull << 3)

#define GPA_BASE (1ull << 30) /* of our memory, as the rings spell it */

struct vhost_queue {
    struct vhost *v;
    unsigned index; /* 2 * pair: to the card; and one more: from it */
    struct vring ring;
    int kick;
    struct ev_fd call;
};

struct vhost {
    struct nic *n;
    struct chr *chr;
    uint8_t *mem;
    int memfd;
    uint64_t features, protocol;
    bool running;     /* the switch has all it needs */
    unsigned awaited; /* answers */
    bool reading, full;
    uint8_t in[HEAD + 8];
    size_t in_len;
    struct vhost_queue q[2 * NIC_QUEUES_MAX];
    uint8_t frame[VRING_BUFFER];
    struct log_limit log;
};

static void show(struct vhost *v)
{
    free(v->n->info);
    v->n->info = xasprintf("chardev=%s,queues=%u (%s)", v->chr->id, v->n->queues,
                           v->running     ? "connected"
                           : v->chr->open ? "connecting"
                                          : "not connected");
}

/* ---- the connection breaks ---- */

static void stop(struct vhost *v)
{
    v->running = false;
    v->awaited = 0;
    v->in_len = 0;
    for (unsigned i = 0; i < 2 * v->n->queues; i++) {
        if (v->q[i].call.loop) {
            ev_fd_del(&v->q[i].call);
        }
    }
    show(v);
    if (v->full) {
        v->full = false;
        nic_writable(v->n);
    }
}

static void give_up(struct vhost *v, const char *why)
{
    log_limited(&v->log, v->n->id, "vhost-user: %s: connection closed", why);
    stop(v);
    if (v->chr->ops->disconnect) {
        v->chr->ops->disconnect(v->chr);
    }
}

/* ---- frames ---- */

static uint32_t header_len(const struct vhost *v)
{
    return v->features & F_VERSION_1 ? 12 : 10;
}

static void kick(struct vhost_queue *q)
{
    uint64_t one = 1;
    if (vring_wants_kick(&q->ring) && write(q->kick, &one, sizeof(one)) < 0) {
        return; /* the counter is full: the switch was told */
    }
}

/* Every buffer that is ours goes to the switch. */
static void refill(struct vhost_queue *q)
{
    bool any = false;
    while (vring_idle(&q->ring) >= 0) {
        vring_post(&q->ring, VRING_BUFFER);
        any = true;
    }
    if (any) {
        kick(q);
    }
}

/* Looks at a copy: the switch can change what it shares at any time. */
static void deliver(struct vhost_queue *q, uint16_t id, uint32_t len)
{
    struct vhost *v = q->v;
    const uint8_t *p = v->frame;
    uint32_t head = header_len(v);
    if (len < head) {
        v->n->rx.dropped++;
        return;
    }
    memcpy(v->frame, q->ring.mem + vring_buffer(id), len);
    struct nic_frame f = { p + head, len - head, { 0 }, (uint16_t)(q->index / 2) };
    nic_offload_from_vnet(p, &f.off);
    v->reading = nic_deliver(v->n, &f);
}

/* True: more may be there. */
static bool receive(struct vhost_queue *q)
{
    struct vhost *v = q->v;
    uint16_t id;
    uint32_t len;
    int got = 0, n = 0;
    while (v->running && v->reading && n < BATCH && (got = vring_take(&q->ring, &id, &len)) > 0) {
        deliver(q, id, len);
        n++;
    }
    if (got < 0) {
        give_up(v, "a used ring that cannot be");
        return false;
    }
    if (v->running && n) {
        refill(q);
    }
    return v->running && v->reading && n == BATCH;
}

/* Descriptors of frames that the switch has sent. */
static void reclaim(struct vhost_queue *q)
{
    uint16_t id;
    uint32_t len;
    int got;
    while ((got = vring_take(&q->ring, &id, &len)) > 0) {
    }
    if (got < 0) {
        give_up(q->v, "a used ring that cannot be");
    }
}

/* Room again, in the queue that was full. */
static void sent(struct vhost_queue *q)
{
    struct vhost *v = q->v;
    reclaim(q);
    if (v->running && v->full && q->ring.nidle >= VRING_SIZE / 4) {
        v->full = false;
        vring_want_call(&q->ring, false);
        nic_writable(v->n);
    }
}

static void called(void *opaque, unsigned events)
{
    struct vhost_queue *q = opaque;
    uint64_t count;
    (void)events;
    if (read(q->call.fd, &count, sizeof(count)) < 0 && errno != EAGAIN) {
        return;
    }
    if (q->index & 1) {
        sent(q);
    } else if (receive(q)) {
        count = 1; /* the rest at another turn */
        count = (uint64_t)write(q->call.fd, &count, sizeof(count));
    }
}

static bool vhost_send(struct nic *n, const struct nic_frame *f)
{
    struct vhost *v = n->priv;
    struct vhost_queue *q = &v->q[2 * (f->queue < n->queues_used ? f->queue : 0) + 1];
    uint32_t head = header_len(v);
    if (v->running && q->ring.nidle < VRING_SIZE / 2) {
        reclaim(q);
    }
    if (!v->running || vring_idle(&q->ring) < 0) {
        n->tx.dropped++;
        return true;
    }
    uint8_t *p = q->ring.mem + vring_buffer((unsigned)vring_idle(&q->ring));
    memset(p, 0, head);
    nic_offload_to_vnet(&f->off, p);
    memcpy(p + head, f->data, f->len);
    vring_post(&q->ring, head + f->len);
    kick(q);
    if (vring_idle(&q->ring) < 0) {
        v->full = true;
        vring_want_call(&q->ring, true);
        reclaim(q);
        v->full = v->running && vring_idle(&q->ring) < 0;
    }
    return !v->full;
}

static void vhost_resume(struct nic *n)
{
    struct vhost *v = n->priv;
    v->reading = true;
    for (unsigned i = 0; v->running && i < 2 * n->queues_used; i += 2) {
        uint64_t one = 1;
        if (write(v->q[i].call.fd, &one, sizeof(one)) < 0) {
            continue; /* it is full, so the loop will look */
        }
    }
}

/* ---- requests ---- */

static bool request(struct vhost *v, enum request r, const void *body, uint32_t len, int fd)
{
    bool asks = r == GET_FEATURES || r == GET_PROTOCOL_FEATURES || r == GET_QUEUE_NUM;
    bool acked = !asks && v->protocol & P_REPLY_ACK && r != SET_PROTOCOL_FEATURES;
    uint8_t msg[HEAD + BODY_MAX];
    store_le(msg, 4, r);
    store_le(msg + 4, 4, VERSION | (acked ? NEED_REPLY : 0));
    store_le(msg + 8, 4, len);
    if (len) {
        memcpy(msg + HEAD, body, len);
    }
    v->awaited += asks || acked;
    if (chr_write_fd(v->chr, msg, HEAD + len, fd) == (long)(HEAD + len)) {
        return true;
    }
    give_up(v, "a request is not taken");
    return false;
}

static bool request_u64(struct vhost *v, enum request r, uint64_t val)
{
    uint8_t body[8];
    store_le(body, 8, val);
    return request(v, r, body, sizeof(body), -1);
}

static bool request_fd(struct vhost *v, enum request r, unsigned queue, int fd)
{
    uint8_t body[8];
    store_le(body, 8, queue);
    return request(v, r, body, sizeof(body), fd);
}

static bool request_state(struct vhost *v, enum request r, unsigned queue, uint32_t num)
{
    uint8_t body[8];
    store_le(body, 4, queue);
    store_le(body + 4, 4, num);
    return request(v, r, body, sizeof(body), -1);
}

/* One region: all there is. */
static bool share_memory(struct vhost *v)
{
    uint8_t body[40] = { 1 };
    store_le(body + 8, 8, GPA_BASE);
    store_le(body + 16, 8, 2 * v->n->queues * VRING_BYTES);
    store_le(body + 24, 8, (uint64_t)(uintptr_t)v->mem);
    return request(v, SET_MEM_TABLE, body, sizeof(body), v->memfd);
}

static bool start_queue(struct vhost_queue *q)
{
    struct vhost *v = q->v;
    uint64_t base = (uint64_t)(uintptr_t)q->ring.mem;
    uint8_t addr[40] = { (uint8_t)q->index };
    store_le(addr + 8, 8, base + vring_desc());
    store_le(addr + 16, 8, base + vring_used());
    store_le(addr + 24, 8, base + vring_avail());
    return request_state(v, SET_VRING_NUM, q->index, VRING_SIZE) &&
           request_state(v, SET_VRING_BASE, q->index, 0) &&
           request(v, SET_VRING_ADDR, addr, sizeof(addr), -1) &&
           request_fd(v, SET_VRING_KICK, q->index, q->kick) &&
           request_fd(v, SET_VRING_CALL, q->index, q->call.fd);
}

/* Those that the card's driver uses. */
static bool enable_queues(struct vhost *v)
{
    for (unsigned i = 0; v->features & F_PROTOCOL && i < 2 * v->n->queues; i++) {
        if (!request_state(v, SET_VRING_ENABLE, i, i < 2 * v->n->queues_used)) {
            return false;
        }
    }
    return true;
}

static void empty_queue(struct vhost_queue *q)
{
    struct vhost *v = q->v;
    uint64_t at = q->index * VRING_BYTES, count;
    vring_init(&q->ring, v->mem + at, GPA_BASE + at, !(q->index & 1));
    vring_want_call(&q->ring, !(q->index & 1));
    while (read(q->kick, &count, sizeof(count)) > 0 ||
           read(q->call.fd, &count, sizeof(count)) > 0) {
    }
}

static void now_running(struct vhost *v)
{
    v->running = true;
    v->reading = true;
    v->n->tx_takes = (v->features & F_CSUM ? NIC_TAKES_CSUM : 0) |
                     (v->features & F_HOST_TSO4 ? NIC_TAKES_TSO4 : 0) |
                     (v->features & F_HOST_TSO6 ? NIC_TAKES_TSO6 : 0);
    for (unsigned i = 0; i < 2 * v->n->queues; i++) {
        ev_fd_add(v->n->loop, &v->q[i].call);
        if (!(i & 1)) {
            refill(&v->q[i]);
        }
    }
    show(v);
}

/* All questions are answered. */
static void set_up(struct vhost *v)
{
    bool ok = request(v, SET_OWNER, NULL, 0, -1) && request_u64(v, SET_FEATURES, v->features) &&
              share_memory(v);
    for (unsigned i = 0; ok && i < 2 * v->n->queues; i++) {
        empty_queue(&v->q[i]);
        ok = start_queue(&v->q[i]);
    }
    if (ok && enable_queues(v) && !v->awaited) {
        now_running(v);
    }
}

/* ---- answers ---- */

static void have_features(struct vhost *v, uint64_t offered)
{
    v->features = offered & WANTED;
    if (v->features & F_PROTOCOL) {
        request(v, GET_PROTOCOL_FEATURES, NULL, 0, -1);
    } else if (v->n->queues > 1) {
        give_up(v, "several queues, which the back end does not have");
    } else {
        set_up(v);
    }
}

static void have_protocol(struct vhost *v, uint64_t offered)
{
    uint64_t chosen = offered & (P_MQ | P_REPLY_ACK);
    if (v->n->queues > 1 && !(chosen & P_MQ)) {
        give_up(v, "several queues, which the back end does not have");
        return;
    }
    if (!request_u64(v, SET_PROTOCOL_FEATURES, chosen)) {
        return;
    }
    v->protocol = chosen;
    if (v->n->queues > 1) {
        request(v, GET_QUEUE_NUM, NULL, 0, -1);
    } else {
        set_up(v);
    }
}

static void answer(struct vhost *v, uint32_t r, uint64_t val)
{
    char why[80];
    v->awaited--;
    if (r == GET_FEATURES) {
        have_features(v, val);
    } else if (r == GET_PROTOCOL_FEATURES) {
        have_protocol(v, val);
    } else if (r == GET_QUEUE_NUM && val < v->n->queues) {
        snprintf(why, sizeof(why), "queues=%u: the back end has %llu", v->n->queues,
                 (unsigned long long)val);
        give_up(v, why);
    } else if (r == GET_QUEUE_NUM) {
        set_up(v);
    } else if (val) {
        snprintf(why, sizeof(why), "request %u failed at the back end", r);
        give_up(v, why);
    } else if (!v->awaited && !v->running) {
        now_running(v);
    }
}

/* Every answer is eight bytes. */
static size_t can_read(void *opaque)
{
    const struct vhost *v = opaque;
    return sizeof(v->in) - v->in_len;
}

static void take_bytes(void *opaque, const uint8_t *buf, size_t len)
{
    struct vhost *v = opaque;
    memcpy(v->in + v->in_len, buf, len);
    v->in_len += len;
    if (v->in_len < sizeof(v->in)) {
        return;
    }
    v->in_len = 0;
    uint32_t flags = load_le32(v->in + 4);
    if ((flags & 7) != (VERSION | REPLY) || load_le32(v->in + 8) != 8 || !v->awaited) {
        give_up(v, "not an answer to a request");
        return;
    }
    answer(v, load_le32(v->in), load_le64(v->in + HEAD));
}

static void chr_changed(void *opaque, enum chr_event e)
{
    struct vhost *v = opaque;
    if (e == CHR_OPENED) {
        v->protocol = 0;
        show(v);
        request(v, GET_FEATURES, NULL, 0, -1);
    } else if (e == CHR_CLOSED) {
        stop(v);
    }
}

static const struct chr_handlers handlers = { can_read, take_bytes, NULL, chr_changed };

/* ---- life ---- */

static void vhost_use_queues(struct nic *n, unsigned used)
{
    struct vhost *v = n->priv;
    (void)used;
    if (v->running) {
        enable_queues(v);
    }
}

static void vhost_free(struct nic *n)
{
    struct vhost *v = n->priv;
    chr_attach(v->chr, NULL, NULL);
    for (unsigned i = 0; i < 2 * n->queues; i++) {
        if (v->q[i].call.loop) {
            ev_fd_del(&v->q[i].call);
        }
        close(v->q[i].kick);
        close(v->q[i].call.fd);
    }
    if (v->mem) {
        munmap(v->mem, 2 * n->queues * VRING_BYTES);
    }
    close(v->memfd);
    free(v);
}

static const struct nic_ops vhost_ops = {
    .kind = "vhost-user",
    .send = vhost_send,
    .resume = vhost_resume,
    .use_queues = vhost_use_queues,
    .free = vhost_free,
};

/* Sealed: a back end that made it shorter would have us fault. */
static int make_memory(struct vhost *v, uint64_t bytes, struct err *e)
{
    v->memfd = memfd_create("keel-vhost-user", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (v->memfd < 0 || ftruncate(v->memfd, (off_t)bytes) < 0 ||
        fcntl(v->memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        return err_set(e, -errno, "memory to share: %s", strerror(errno));
    }
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->memfd, 0);
    if (p == MAP_FAILED) {
        return err_set(e, -errno, "memory to share: %s", strerror(errno));
    }
    v->mem = p;
    return 0;
}

struct nic *net_vhost_user_new(struct ev_loop *loop, const char *id, struct chr *c, unsigned queues,
                               struct err *e)
{
    struct nic *n = nic_new(loop, id, &vhost_ops);
    struct vhost *v = xcalloc(1, sizeof(*v));
    n->priv = v;
    n->queues = queues;
    v->n = n;
    v->chr = c;
    for (unsigned i = 0; i < 2 * queues; i++) {
        struct vhost_queue *q = &v->q[i];
        *q = (struct vhost_queue){ .v = v, .index = i };
        q->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        q->call = (struct ev_fd){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                                  .events = EV_READ,
                                  .cb = called,
                                  .opaque = q };
    }
    if (make_memory(v, 2 * queues * VRING_BYTES, e) < 0) {
        nic_free(n);
        return NULL;
    }
    show(v);
    chr_attach(c, &handlers, v);
    return n;
}
