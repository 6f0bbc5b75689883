/* SPDX-License-Identifier: MIT */
/* tests/fuzz/fuzz-vhost-user.c - a hostile back end of the vhost-user protocol: what it answers, cut anywhere,
 * and what it writes into the shared memory, at any place and while frames pass both ways.
 *
 * The first bytes say how many queues there are and whether the handshake is played to its end first, so that
 * rings are reached; then come steps: answers, ring entries, writes, kicks, frames, hang-ups.
 */
#include "net/net.h"
#include "net/vring.h"

#include "dm/base/bytes.h"
#include "dm/base/chr.h"
#include "dm/base/log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { SET_MEM_TABLE = 5, SET_VRING_CALL = 13, CALLS = 2 * NIC_QUEUES_MAX };
/* Requests that are answered with a value; the others with 0, if asked to. */
enum { GET_FEATURES = 1, GET_PROTOCOL_FEATURES = 15, GET_QUEUE_NUM = 17, NEED_REPLY = 8 };

static struct peer {
    struct chr c;
    uint8_t *mem; /* what it is shown, where the front end has it */
    int call[CALLS];
    uint8_t asked[64]; /* requests that want an answer, oldest first */
    unsigned nasked;
    bool shut;
} peer;

static unsigned refuse; /* frames that the card does not take at first */

static bool receive(void *opaque, const struct nic_frame *f)
{
    volatile uint8_t last = f->data[f->len - 1];
    (void)opaque, (void)last;
    return refuse == 0 || refuse-- == 0;
}

static const struct nic_user card = { .receive = receive };

static long take(struct chr *c, const void *buf, size_t len, int fd)
{
    struct peer *p = (struct peer *)c;
    const uint8_t *m = buf;
    uint32_t r = load_le32(m);
    bool wants = r == GET_FEATURES || r == GET_PROTOCOL_FEATURES || r == GET_QUEUE_NUM ||
                 load_le32(m + 4) & NEED_REPLY;
    if (p->shut) {
        return 0;
    }
    if (wants && p->nasked < sizeof(p->asked)) {
        p->asked[p->nasked++] = (uint8_t)r;
    }
    if (r == SET_MEM_TABLE) {
        p->mem = (uint8_t *)(uintptr_t)load_le64(m + 12 + 24);
    } else if (r == SET_VRING_CALL && m[12] < CALLS) {
        p->call[m[12]] = fd;
    }
    return (long)len;
}

static long take_plain(struct chr *c, const void *buf, size_t len)
{
    return take(c, buf, len, -1);
}

static void hang_up(struct chr *c)
{
    if (c->open) {
        c->open = false;
        ((struct peer *)c)->nasked = 0;
        c->handlers->event(c->opaque, CHR_CLOSED);
    }
}

static const struct chr_ops ops = {
    .kind = "fuzz", .write = take_plain, .write_fd = take, .disconnect = hang_up
};

static void say(const void *buf, size_t len)
{
    const uint8_t *p = buf;
    for (size_t at = 0, n; at < len && peer.c.open; at += n) {
        n = peer.c.handlers->can_read(peer.c.opaque);
        n = n < len - at ? n : len - at;
        if (n == 0) {
            return;
        }
        peer.c.handlers->read(peer.c.opaque, p + at, n);
    }
}

static void answer(uint32_t r, uint64_t val)
{
    uint8_t m[20];
    store_le(m, 4, r);
    store_le(m + 4, 4, 5);
    store_le(m + 8, 4, 8);
    store_le(m + 12, 8, val);
    say(m, sizeof(m));
}

/* The oldest question: as a good switch does, or with val. */
static bool answer_next(bool well, uint64_t val)
{
    if (peer.nasked == 0 || !peer.c.open) {
        return false;
    }
    uint8_t r = peer.asked[0];
    memmove(peer.asked, peer.asked + 1, --peer.nasked);
    uint64_t good = r == GET_FEATURES            ? 1ull << 32 | 1ull << 30 | 0x3fff
                    : r == GET_PROTOCOL_FEATURES ? 9
                    : r == GET_QUEUE_NUM         ? NIC_QUEUES_MAX
                                                 : 0;
    answer(r, well ? good : val);
    return true;
}

static void turn(struct ev_loop *loop)
{
    for (int i = 0; i < 16 && ev_loop_turn(loop, 0) > 0; i++) {
    }
}

/* What the rings are told: a used entry, its index, or bytes anywhere. */
static void scribble(uint8_t *mem, unsigned queues, const uint8_t *s)
{
    uint64_t ring = (s[1] % (2 * queues)) * VRING_BYTES, used = ring + vring_used();
    uint16_t idx = load_le16(mem + used + 2);
    if (s[0] & 8) { /* a true entry, more or less */
        store_le(mem + used + 4 + 8 * (idx % VRING_SIZE), 4, s[2]);
        store_le(mem + used + 8 + 8 * (idx % VRING_SIZE), 4,
                 load_le16(s + 3) * (s[5] & 1 ? 2u : 1u));
        store_le(mem + used + 2, 2, (uint16_t)(idx + 1));
    } else if (s[0] & 16) {
        store_le(mem + used + 2, 2, load_le16(s + 2));
    } else {
        memset(mem + (ring + load_le32(s + 1) % VRING_BYTES) % (2 * queues * VRING_BYTES - 64),
               s[5], s[6] % 64);
    }
}

static void frame_out(struct nic *n, const uint8_t *s)
{
    static uint8_t buf[NIC_FRAME_MAX];
    struct nic_frame f = {
        buf, load_le16(s + 1) + 14u, { .csum = s[3] & 1, .csum_start = 34, .csum_offset = 16 }, s[4]
    };
    nic_send(n, &f);
}

enum { STEP = 8 };

static void steps(struct ev_loop *loop, struct nic *n, unsigned queues, const uint8_t *data,
                  size_t len)
{
    uint64_t one = 1;
    for (; len >= STEP; data += STEP, len -= STEP) {
        int call = peer.call[data[1] % (2 * queues)];
        switch (data[0] % 8) {
        case 0:
            answer_next(data[1] & 1, load_le32(data + 2));
            break;
        case 1:
            say(data + 1, 1 + data[1] % 7u);
            break;
        case 2:
            frame_out(n, data);
            break;
        case 3:
            if (data[1] == 0xee) {
                hang_up(&peer.c);
            } else if (data[1] == 0xef && !peer.c.open) {
                peer.c.open = true;
                peer.c.handlers->event(peer.c.opaque, CHR_OPENED);
            } else if (call >= 0 && write(call, &one, sizeof(one)) < 0) {
                return;
            }
            break;
        case 4:
            nic_use_queues(n, 1 + data[1] % queues);
            nic_kick(n);
            break;
        default:
            if (peer.mem) {
                scribble(peer.mem, queues, data);
            }
            break;
        }
        turn(loop);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct err e = { 0 };
    if (len < 2) {
        return 0;
    }
    unsigned queues = 1 + data[0] % 2;
    struct ev_loop *loop = ev_loop_new(NULL, NULL, NULL);
    log_set_level(-1);
    refuse = data[1] >> 1 & 7;
    peer = (struct peer){ .c = { .ops = &ops, .id = (char *)"c", .open = true } };
    memset(peer.call, -1, sizeof(peer.call));
    struct nic *n = net_vhost_user_new(loop, "v", &peer.c, queues, &e);
    if (!n) {
        abort();
    }
    nic_attach(n, &card, NULL);
    while (data[1] & 0x70 && answer_next(true, 0)) {
    }
    steps(loop, n, queues, data + 2, len - 2);
    nic_free(n);
    ev_loop_free(loop);
    return 0;
}
