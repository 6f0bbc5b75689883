/* SPDX-License-Identifier: MIT */
/* net/user-direct.c - the user network's short way: a frame goes to the library on the thread that sent it.
 *
 * A guest that asks and waits would otherwise wait for two threads to wake up, and one that sends many
 * short datagrams would wake the thread for each. Only what the library deals with on the spot goes this
 * way: ARP, ICMP, UDP, and TCP of connections that are there. Files (TFTP), programs (guestfwd=cmd:, smb=)
 * and new connections are the thread's, and so is bulk, which it works on beside the guest. What comes back
 * reaches the card when the sender is done with its device (ev_before_leave).
 *
 * The thread sleeps in poll meanwhile. It is woken only if the library now wants other descriptors, or
 * its attention sooner.
 */
#include "net/user-int.h"

#include "dm/base/bytes.h"

#include <netinet/in.h>

enum { SHORT = 512, ETHER = 14, IP_MIN = 20, TCP_MIN = 20, UDP_MIN = 8 };
enum { TYPE_IP4 = 0x0800, TYPE_ARP = 0x0806, FRAGMENT = 0x3fff, IP_PROTOCOL = 9 };
enum { BULK_NS = 15000 };
enum { TCP_FLAGS = 13, TCP_SYN = 2, PORT_BOOTPS = 67, PORT_TFTP = 69 };

/* Of a packet with a header of its protocol whole in it. */
static bool quick_tcp(const uint8_t *tcp)
{
    return !(tcp[TCP_FLAGS] & TCP_SYN);
}

static bool quick_udp(const uint8_t *udp)
{
    uint16_t port = load_be16(udp + 2);
    return port != PORT_BOOTPS && port != PORT_TFTP;
}

static bool quick(const struct nic_frame *f)
{
    const uint8_t *ip = f->data + ETHER;
    if (f->len < ETHER + IP_MIN || f->len > SHORT) {
        return false;
    }
    if (load_be16(f->data + 12) != TYPE_IP4) {
        return load_be16(f->data + 12) == TYPE_ARP;
    }
    uint32_t head = (ip[0] & 15) * 4u;
    if (load_be16(ip + 6) & FRAGMENT) {
        return false;
    }
    uint32_t payload = f->len - ETHER > head ? f->len - ETHER - head : 0;
    switch (ip[IP_PROTOCOL]) {
    case IPPROTO_ICMP:
        return true;
    case IPPROTO_TCP:
        return payload >= TCP_MIN && quick_tcp(ip + head);
    case IPPROTO_UDP:
        return payload >= UDP_MIN && quick_udp(ip + head);
    default:
        return false;
    }
}

struct comparison {
    const struct user *u;
    int at; /* place in pfd */
    bool differs;
};

static int compare(int fd, int events, void *opaque)
{
    struct comparison *c = opaque;
    const struct pollfd *p = c->at < c->u->npfd ? &c->u->pfd[c->at] : NULL;
    c->differs |= !p || p->fd != fd || p->events != user_poll_bits(events);
    return c->at++;
}

/* Whether the thread must look again. */
static bool wants_thread(struct user *u)
{
    struct comparison c = { u, 1, false };
    int timeout = user_wanted(u, compare, &c);
    if (c.differs || c.at != u->npfd) {
        u->stale = true;
    }
    return u->stale || (timeout >= 0 && ev_now_ns() / 1000000 + timeout < u->until_ms);
}

static bool is_datagram(const struct nic_frame *f)
{
    return f->len >= ETHER + IP_MIN && load_be16(f->data + 12) == TYPE_IP4 &&
           f->data[ETHER + IP_PROTOCOL] == IPPROTO_UDP;
}

/* Datagrams that come as fast as that are bulk: the thread stays awake between them. */
static bool is_bulk(const struct user *u, const struct nic_frame *f)
{
    return is_datagram(f) && ev_now_ns() - u->datagram_ns < BULK_NS;
}

static bool take(struct user *u, const struct nic_frame *f)
{
    if (!quick(f) || is_bulk(u, f) || pthread_mutex_trylock(&u->lock) != 0) {
        return false;
    }
    pthread_mutex_lock(&u->queues);
    bool first = u->out.head == NULL;
    pthread_mutex_unlock(&u->queues);
    bool wake = false, got = false;
    if (first) {
        slirp_input(u->slirp, f->data, (int)f->len);
        wake = wants_thread(u);
        got = u->got;
        u->got = false;
    }
    pthread_mutex_unlock(&u->lock);
    if (wake) {
        user_wake(u);
    }
    if (got) {
        ev_before_leave(u->n->loop, &u->arrived);
    }
    return first;
}

bool user_direct(struct user *u, const struct nic_frame *f)
{
    bool taken = take(u, f);
    if (is_datagram(f)) {
        u->datagram_ns = ev_now_ns();
    }
    return taken;
}
