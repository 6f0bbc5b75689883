/* SPDX-License-Identifier: MIT */
/* net/user.c - the user network: a guest's way to the world without privileges, by libslirp.
 *
 * libslirp runs on a thread of its own, which alone polls its sockets; `lock` is held whenever the
 * library runs, so that the monitor can ask it things. Frames cross in two lists: the card's are
 * taken by the thread when it wakes up, which also gives the library's to the card when nobody has the
 * machine lock, so that no second thread has to wake; else the loop does. What is quickly answered goes
 * to the library while the thread sleeps on (user-direct.c).
 *
 *   card -> user_send -> out list -> eventfd -> thread: slirp_input
 *   slirp send_packet -> in list -> ev_call -> thread or loop: nic_deliver -> card
 *
 * Segments go in uncut (the library looks at sums and IP length only). With nothing connected the
 * thread sleeps for good.
 */
#include "net/user-int.h"

#include "dm/base/util.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* What may wait on the way to the thread before the card is told to stop, and on the way to the
 * loop before frames are dropped. */
#define OUT_BYTES (1u << 20)
#define IN_BYTES (4u << 20)

/* ---- lists ---- */

static bool push(struct packets *l, const void *data, size_t len)
{
    struct packet *p = malloc(sizeof(*p) + len);
    if (!p) {
        return false;
    }
    p->next = NULL;
    p->len = (uint32_t)len;
    memcpy(p->data, data, len);
    *l->tail = p;
    l->tail = &p->next;
    l->bytes += len;
    return true;
}

static struct packet *take_all(struct user *u, struct packets *l)
{
    pthread_mutex_lock(&u->queues);
    struct packet *p = l->head;
    *l = (struct packets){ NULL, &l->head, 0 };
    pthread_mutex_unlock(&u->queues);
    return p;
}

static void free_all(struct packet *p)
{
    for (struct packet *next; p; p = next) {
        next = p->next;
        free(p);
    }
}

void user_wake(struct user *u)
{
    uint64_t one = 1;
    ssize_t n = write(u->wake, &one, sizeof(one)); /* full means awake */
    (void)n;
}

/* ---- what the library calls, on the thread ---- */

static ssize_t on_packet(const void *buf, size_t len, void *opaque)
{
    struct user *u = opaque;
    pthread_mutex_lock(&u->queues);
    if (u->in.bytes + len <= IN_BYTES) {
        push(&u->in, buf, len);
    }
    pthread_mutex_unlock(&u->queues);
    u->got = true;
    return (ssize_t)len;
}

static void on_guest_error(const char *msg, void *opaque)
{
    struct user *u = opaque;
    log_limited(&u->log, "user", "%s", msg);
}

static int64_t on_clock(void *opaque)
{
    (void)opaque;
    return ev_now_ns();
}

static void *on_timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque)
{
    struct user *u = opaque;
    struct slirp_timer *t = xcalloc(1, sizeof(*t));
    *t = (struct slirp_timer){ cb, cb_opaque, -1, u->timers };
    u->timers = t;
    return t;
}

static void on_timer_free(void *timer, void *opaque)
{
    struct user *u = opaque;
    for (struct slirp_timer **p = &u->timers; *p; p = &(*p)->next) {
        if (*p == timer) {
            *p = (*p)->next;
            free(timer);
            return;
        }
    }
}

static void on_timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
    (void)opaque;
    ((struct slirp_timer *)timer)->when_ms = expire_ms;
}

static void on_fd(int fd, void *opaque)
{
    (void)fd, (void)opaque; /* the descriptors are asked for before each poll */
}

static void on_notify(void *opaque)
{
    user_wake(opaque);
}

static const SlirpCb callbacks = {
    .send_packet = on_packet,
    .guest_error = on_guest_error,
    .clock_get_ns = on_clock,
    .timer_new = on_timer_new,
    .timer_free = on_timer_free,
    .timer_mod = on_timer_mod,
    .register_poll_fd = on_fd,
    .unregister_poll_fd = on_fd,
    .notify = on_notify,
};

/* ---- the thread ---- */

static int add_fd(struct user *u, int fd, short events)
{
    if (u->npfd == u->cappfd) {
        u->cappfd = u->cappfd ? 2 * u->cappfd : 16;
        u->pfd = xrealloc(u->pfd, (size_t)u->cappfd * sizeof(*u->pfd));
    }
    u->pfd[u->npfd] = (struct pollfd){ .fd = fd, .events = events };
    return u->npfd++;
}

static const struct {
    int slirp;
    short poll;
} event_bits[] = {
    { SLIRP_POLL_IN, POLLIN },   { SLIRP_POLL_OUT, POLLOUT }, { SLIRP_POLL_PRI, POLLPRI },
    { SLIRP_POLL_ERR, POLLERR }, { SLIRP_POLL_HUP, POLLHUP },
};

short user_poll_bits(int slirp_bits)
{
    short e = 0;
    for (size_t i = 0; i < ARRAY_SIZE(event_bits); i++) {
        e |= slirp_bits & event_bits[i].slirp ? event_bits[i].poll : 0;
    }
    return e;
}

static int on_add_poll(int fd, int events, void *opaque)
{
    return add_fd(opaque, fd, user_poll_bits(events));
}

static int on_revents(int idx, void *opaque)
{
    struct user *u = opaque;
    int e = 0;
    for (size_t i = 0; idx >= 0 && idx < u->npfd && i < ARRAY_SIZE(event_bits); i++) {
        e |= u->pfd[idx].revents & event_bits[i].poll ? event_bits[i].slirp : 0;
    }
    return e;
}

static int timeout_ms(const struct user *u, uint32_t library)
{
    int64_t best = library == UINT32_MAX ? -1 : (int64_t)library, now = ev_now_ns() / 1000000;
    for (const struct slirp_timer *t = u->timers; t; t = t->next) {
        int64_t left = t->when_ms < 0 ? -1 : t->when_ms > now ? t->when_ms - now : 0;
        best = left >= 0 && (best < 0 || left < best) ? left : best;
    }
    return best > INT32_MAX ? INT32_MAX : (int)best;
}

static void run_timers(struct user *u)
{
    int64_t now = ev_now_ns() / 1000000;
    struct slirp_timer *t = u->timers;
    while (t) {
        struct slirp_timer *next = t->next;
        if (t->when_ms >= 0 && t->when_ms <= now) {
            t->when_ms = -1;
            t->cb(t->opaque);
        }
        t = next;
    }
}

static void read_forward(struct guest_forward *g)
{
    uint8_t buf[16384];
    size_t room = slirp_socket_can_recv(g->u->slirp, g->server, g->port);
    room = room < sizeof(buf) ? room : sizeof(buf);
    ssize_t n = room ? recv(g->fd, buf, room, MSG_DONTWAIT) : 0;
    if (n > 0) {
        slirp_socket_recv(g->u->slirp, g->server, g->port, buf, (int)n);
    } else if (room && (n == 0 || errno != EAGAIN)) {
        close(g->fd);
        g->fd = -1;
    }
}

static void feed(struct user *u)
{
    struct packet *p = take_all(u, &u->out);
    for (const struct packet *q = p; q; q = q->next) {
        slirp_input(u->slirp, q->data, (int)q->len);
    }
    free_all(p);
    pthread_mutex_lock(&u->queues);
    bool tell = u->full;
    u->full = false;
    pthread_mutex_unlock(&u->queues);
    if (tell) {
        ev_post(u->n->loop, &u->drained);
    }
}

int user_wanted(struct user *u, SlirpAddPollCb add, void *opaque)
{
    uint32_t timeout = UINT32_MAX;
    for (struct guest_forward *g = u->forwards; g; g = g->next) {
        bool wants = g->fd >= 0 && slirp_socket_can_recv(u->slirp, g->server, g->port) > 0;
        g->poll = wants ? add(g->fd, SLIRP_POLL_IN, opaque) : -1;
    }
    slirp_pollfds_fill(u->slirp, &timeout, add, opaque);
    return timeout_ms(u, timeout);
}

static int prepare_poll(struct user *u)
{
    u->npfd = 0;
    add_fd(u, u->wake, POLLIN);
    int timeout = user_wanted(u, on_add_poll, u);
    u->until_ms = timeout < 0 ? INT64_MAX : ev_now_ns() / 1000000 + timeout;
    u->stale = false;
    return timeout;
}

/* n: what poll said. Nothing is lost of what it found when the descriptors are no longer these. */
static void look(struct user *u, int n)
{
    bool ready = n > 0 && !u->stale;
    slirp_pollfds_poll(u->slirp, !ready && n != 0, on_revents, u);
    for (struct guest_forward *g = u->forwards; ready && g; g = g->next) {
        if (g->poll >= 0 && u->pfd[g->poll].revents) {
            read_forward(g);
        }
    }
}

static void *run(void *opaque)
{
    struct user *u = opaque;
    bool quit = false;
    uint64_t count;
    while (!quit) {
        pthread_mutex_lock(&u->lock);
        int timeout = prepare_poll(u);
        pthread_mutex_unlock(&u->lock);
        int n = poll(u->pfd, (nfds_t)u->npfd, timeout);
        if (n > 0 && u->pfd[0].revents) {
            n -= read(u->wake, &count, sizeof(count)) < 0;
        }
        pthread_mutex_lock(&u->lock);
        look(u, n);
        run_timers(u);
        feed(u);
        bool got = u->got;
        u->got = false;
        pthread_mutex_unlock(&u->lock);
        if (got) { /* with no lock: the card may answer by user_send */
            ev_call(u->n->loop, &u->arrived);
        }
        pthread_mutex_lock(&u->queues);
        quit = u->quit;
        pthread_mutex_unlock(&u->queues);
    }
    return NULL;
}

static int start_thread(struct user *u)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int ret = pthread_create(&u->thread, NULL, run, u);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    u->started = ret == 0;
    if (u->started) {
        pthread_setname_np(u->thread, "net-user");
    }
    return -ret;
}

/* ---- the card's side, on the loop or a vCPU thread, under the machine lock ---- */

static bool user_send(struct nic *n, const struct nic_frame *f)
{
    struct user *u = n->priv;
    if (user_direct(u, f)) {
        return true;
    }
    pthread_mutex_lock(&u->queues);
    bool first = u->out.head == NULL, room = u->out.bytes + f->len <= OUT_BYTES;
    if (!room || !push(&u->out, f->data, f->len)) {
        n->tx.dropped++;
    }
    u->full = u->out.bytes + NIC_FRAME_MAX > OUT_BYTES;
    bool more = !u->full;
    pthread_mutex_unlock(&u->queues);
    if (first) {
        user_wake(u);
    }
    return more;
}

static void arrived(void *opaque)
{
    struct user *u = opaque;
    struct packet *p = take_all(u, &u->in);
    for (const struct packet *q = p; q; q = q->next) {
        struct nic_frame f = { q->data, q->len, { .good = true }, 0 };
        nic_deliver(u->n, &f);
    }
    free_all(p);
}

static void drained(void *opaque)
{
    nic_writable(((struct user *)opaque)->n);
}

static void user_free(struct nic *n)
{
    struct user *u = n->priv;
    if (u->started) {
        pthread_mutex_lock(&u->queues);
        u->quit = true;
        pthread_mutex_unlock(&u->queues);
        user_wake(u);
        pthread_join(u->thread, NULL);
    }
    ev_post_cancel(n->loop, &u->arrived);
    ev_post_cancel(n->loop, &u->drained);
    if (u->slirp) {
        slirp_cleanup(u->slirp);
    }
    for (struct guest_forward *g = u->forwards, *next; g; g = next) {
        next = g->next;
        if (g->fd >= 0) {
            close(g->fd);
        }
        free(g);
    }
    while (u->timers) {
        on_timer_free(u->timers, u);
    }
    user_smb_stop(u);
    free_all(u->out.head);
    free_all(u->in.head);
    close(u->wake);
    pthread_mutex_destroy(&u->lock);
    pthread_mutex_destroy(&u->queues);
    free(u->pfd);
    free(u);
}

static const struct nic_ops user_ops = { .kind = "user", .send = user_send, .free = user_free };

bool net_is_user(const struct nic *n)
{
    return n->ops == &user_ops;
}

/* ---- life ---- */

void net_user_defaults(struct user_options *o)
{
    *o = (struct user_options){ .ipv4 = true, .ipv6 = true, .prefix6_len = 64 };
    inet_aton("10.0.2.0", &o->net);
    inet_aton("255.255.255.0", &o->mask);
    inet_pton(AF_INET6, "fec0::", &o->prefix6);
}

/* Host .2, name server .3 and DHCP from .15 of whatever network it is. */
static void fill_ipv4(struct user_options *o)
{
    if (!o->host.s_addr) {
        o->host.s_addr = o->net.s_addr | (htonl(0x0202) & ~o->mask.s_addr);
    }
    if (!o->dhcp_start.s_addr) {
        o->dhcp_start.s_addr = o->net.s_addr | (htonl(0x020f) & ~o->mask.s_addr);
    }
    if (!o->dns.s_addr) {
        o->dns.s_addr = o->net.s_addr | (htonl(0x0203) & ~o->mask.s_addr);
    }
}

static bool inside(const struct user_options *o, struct in_addr a)
{
    return (a.s_addr & o->mask.s_addr) == o->net.s_addr;
}

static int check(struct user_options *o, struct err *e)
{
    const struct in6_addr none = { 0 };
    fill_ipv4(o);
    if (!inside(o, o->host)) {
        return err_set(e, -EINVAL, "host=%s: not in the network", inet_ntoa(o->host));
    }
    if (!inside(o, o->dns)) {
        return err_set(e, -EINVAL, "dns=%s: not in the network", inet_ntoa(o->dns));
    }
    if (!inside(o, o->dhcp_start)) {
        return err_set(e, -EINVAL, "dhcpstart=%s: not in the network", inet_ntoa(o->dhcp_start));
    }
    if (o->host.s_addr == o->dns.s_addr) {
        return err_set(e, -EINVAL, "dns=%s: the same as host=", inet_ntoa(o->dns));
    }
    if (o->smb_server.s_addr && !inside(o, o->smb_server)) {
        return err_set(e, -EINVAL, "smbserver=%s: not in the network", inet_ntoa(o->smb_server));
    }
    if (o->smb && !o->ipv4) {
        return err_set(e, -EINVAL, "smb=%s: needs ipv4=on", o->smb);
    }
    if (!o->ipv4 && !o->ipv6) {
        return err_set(e, -EINVAL, "ipv4=off: and ipv6=off leave nothing");
    }
    if (memcmp(&o->host6, &none, sizeof(none)) == 0) {
        o->host6 = o->prefix6;
        o->host6.s6_addr[15] |= 2;
    }
    if (memcmp(&o->dns6, &none, sizeof(none)) == 0) {
        o->dns6 = o->prefix6;
        o->dns6.s6_addr[15] |= 3;
    }
    return 0;
}

static Slirp *start_slirp(struct user *u, const struct user_options *o)
{
    SlirpConfig c = {
        .version = 4,
        .restricted = o->restricted,
        .in_enabled = o->ipv4,
        .vnetwork = o->net,
        .vnetmask = o->mask,
        .vhost = o->host,
        .in6_enabled = o->ipv6,
        .vprefix_addr6 = o->prefix6,
        .vprefix_len = (uint8_t)o->prefix6_len,
        .vhost6 = o->host6,
        .vhostname = o->hostname,
        .tftp_server_name = o->tftp_server,
        .tftp_path = o->tftp,
        .bootfile = o->bootfile,
        .vdhcp_start = o->dhcp_start,
        .vnameserver = o->dns,
        .vnameserver6 = o->dns6,
        .vdnssearch = o->search,
        .vdomainname = o->domain,
    };
    return slirp_new(&c, &callbacks, u);
}

struct nic *net_user_new(struct ev_loop *loop, const char *id, const struct user_options *options,
                         struct err *e)
{
    struct user_options o = *options;
    char net[INET_ADDRSTRLEN];
    if (check(&o, e) < 0) {
        return NULL;
    }
    struct nic *n = nic_new(loop, id, &user_ops);
    struct user *u = xcalloc(1, sizeof(*u));
    n->priv = u;
    u->n = n;
    u->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&u->lock, NULL);
    pthread_mutex_init(&u->queues, NULL);
    u->out.tail = &u->out.head;
    u->in.tail = &u->in.head;
    u->arrived = (struct ev_post){ .cb = arrived, .opaque = u };
    u->drained = (struct ev_post){ .cb = drained, .opaque = u };
    n->tx_takes = NIC_TAKES_TSO4 | NIC_TAKES_TSO6;
    inet_ntop(AF_INET, &o.net, net, sizeof(net));
    n->info = xasprintf("net=%s,restrict=%s", net, o.restricted ? "on" : "off");
    u->slirp = start_slirp(u, &o);
    int ret = u->slirp ? 0 : err_set(e, -EINVAL, "the user network does not start");
    if (ret == 0 && o.smb) {
        ret = user_smb_start(u, o.smb, o.smb_server, e);
    }
    if (ret == 0 && (ret = start_thread(u)) < 0) {
        err_set(e, ret, "the user network does not start: %s", strerror(-ret));
    }
    if (ret < 0) {
        nic_free(n);
        return NULL;
    }
    return n;
}
