/* SPDX-License-Identifier: MIT */
/* block/nbd-server.c - the NBD server's connections: who comes and goes, what flows in and out.
 *
 * A client is a state machine fed by the loop: `want` bytes for `to`, then `then`. Replies queue up
 * and leave as the socket takes them, many with one system call. A client that asks for more than it
 * takes back is not read from until it does.
 *
 *   nbd-server-hello.c   negotiation    |  then the requests   nbd-server-req.c
 */
#include "block/nbd-server-int.h"

#include "block/bitmap.h"
#include "block/tls.h"
#include "dm/base/log.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_REQUESTS = 128, MAX_HELD = 64 << 20, SEND_MSGS = 16, TURN = 64 };

struct msg *msg_new(struct client *c)
{
    struct msg *m = calloc(1, sizeof(*m));

    if (m) {
        m->c = c;
    }
    return m;
}

void msg_free(struct msg *m)
{
    struct client *c = m->c;

    if (m->counted) {
        c->in_flight--;
        c->held_bytes -= m->len;
    }
    free(m->data);
    free(m);
    if (c->closed && !c->in_flight) {
        ev_post(c->server->loop, &c->post);
    }
}

void client_count(struct client *c, struct msg *m)
{
    bool moves = m->cmd == NBD_CMD_READ || m->cmd == NBD_CMD_WRITE;

    m->len = moves ? m->len : 0;
    m->counted = true;
    c->in_flight++;
    c->held_bytes += m->len;
}

/* ---- output ---- */

static bool client_full(const struct client *c)
{
    return c->in_flight >= MAX_REQUESTS || c->held_bytes >= MAX_HELD || c->draining;
}

static void client_update(struct client *c)
{
    bool full = client_full(c);

    if (c->closed) {
        return;
    }
    ev_fd_set(&c->ev, (full ? 0u : EV_READ) | (c->out ? EV_WRITE : 0u));
    if (!full && (c->in_at < c->in_len || !c->want)) {
        ev_post(c->server->loop, &c->post); /* the socket will not tell of input that is here */
    }
}

static int gather(const struct client *c, struct iovec *iov)
{
    int n = 0;

    for (struct msg *m = c->out; m && n < 2 * SEND_MSGS; m = m->next) {
        size_t at = m->sent > m->head_len ? m->sent - m->head_len : 0;
        if (m->sent < m->head_len) {
            iov[n++] = (struct iovec){ m->head + m->sent, m->head_len - m->sent };
        }
        if (m->data_len > at) {
            iov[n++] = (struct iovec){ m->data + m->data_at + at, m->data_len - at };
        }
    }
    return n;
}

/* The first n bytes of the output are gone. */
static void took(struct client *c, size_t n)
{
    while (c->out) {
        struct msg *m = c->out;
        size_t k = (size_t)min_u64(n, m->head_len + m->data_len - m->sent);
        m->sent += k;
        n -= k;
        if (m->sent < m->head_len + m->data_len) {
            break;
        }
        c->out = m->next;
        if (!c->out) {
            c->out_tail = &c->out;
        }
        msg_free(m);
    }
}

/* The option is answered. What the client has sent already, in the clear, is no part of what follows:
 * whoever put it there wants it to be taken for that. */
static void client_start_tls(struct client *c)
{
    struct nbd_server *s = c->server;
    int fd;

    c->starting_tls = false;
    c->tls = true;
    ev_fd_del(&c->ev);
    fd = c->in_at < c->in_len ? -EPROTO : dup(c->ev.fd);
    if (fd >= 0) {
        fd = tls_server(fd, s->open.tls);
    }
    close(c->ev.fd);
    c->ev.fd = fd;
    if (fd < 0 || ev_fd_add(s->loop, &c->ev) < 0) {
        client_drop(c);
    }
}

static void client_flush(struct client *c)
{
    struct iovec iov[2 * SEND_MSGS + 2];

    while (c->out) {
        struct msghdr h = { .msg_iov = iov, .msg_iovlen = (size_t)gather(c, iov) };
        ssize_t n = sendmsg(c->ev.fd, &h, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            break;
        }
        if (n < 0 && errno != EINTR) {
            client_drop(c);
            return;
        }
        took(c, n < 0 ? 0 : (size_t)n);
    }
    if (!c->out && c->draining) {
        client_drop(c);
    }
    if (!c->out && c->starting_tls) {
        client_start_tls(c);
    }
    client_update(c);
}

void client_send(struct client *c, struct msg *m)
{
    if (c->closed) {
        msg_free(m);
        return;
    }
    bool first = !c->out;
    m->next = NULL;
    *c->out_tail = m;
    c->out_tail = &m->next;
    if (first) {
        client_flush(c);
    }
}

/* ---- input ---- */

void client_want(struct client *c, void *to, size_t len, void (*then)(struct client *c))
{
    c->to = to;
    c->want = len;
    c->then = then;
}

/* Moves what there is towards `to`. False: nothing more now. */
static bool client_take(struct client *c)
{
    size_t have = c->in_len - c->in_at;
    ssize_t n;

    if (have) {
        have = (size_t)min_u64(have, c->want);
        if (have) {
            memcpy(c->to, c->in + c->in_at, have);
        }
        c->in_at += have;
        c->to += have;
        c->want -= have;
        return true;
    }
    bool direct = c->want >= INPUT;
    n = direct ? recv(c->ev.fd, c->to, c->want, MSG_DONTWAIT)
               : recv(c->ev.fd, c->in, INPUT, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return false;
    }
    if (n <= 0) {
        client_drop(c);
        return false;
    }
    if (direct) {
        c->to += n;
        c->want -= (size_t)n;
    } else {
        c->in_at = 0;
        c->in_len = (size_t)n;
    }
    return true;
}

static void client_input(struct client *c)
{
    for (int i = 0; i < TURN && !c->closed && !client_full(c); i++) {
        while (!c->closed && c->want == 0 && !client_full(c)) {
            c->then(c);
        }
        if (c->closed || client_full(c) || !client_take(c)) {
            break;
        }
    }
    client_update(c);
}

static void client_event(void *opaque, unsigned events)
{
    struct client *c = opaque;

    if (events & EV_WRITE) {
        client_flush(c);
    }
    if (!c->closed && (events & EV_READ)) {
        client_input(c);
    } else if (!c->closed && !(events & EV_WRITE) && (events & EV_HANGUP)) {
        client_drop(c);
    }
}

/* ---- coming and going ---- */

static void client_free(struct client *c)
{
    struct client **at = &c->server->clients;

    while (*at != c) {
        at = &(*at)->next;
    }
    *at = c->next;
    ev_post_cancel(c->server->loop, &c->post);
    free(c->option);
    free(c);
}

/* From the loop: goes on with the input that is here, or ends. */
static void client_posted(void *opaque)
{
    struct client *c = opaque;

    if (!c->closed) {
        client_input(c);
    } else if (!c->in_flight) {
        client_free(c);
    }
}

void client_drop(struct client *c)
{
    struct nbd_server *s = c->server;

    if (c->closed) {
        return;
    }
    c->closed = true;
    ev_timer_disarm(&c->hello);
    if (c->ev.loop) {
        ev_fd_del(&c->ev);
    }
    if (c->ev.fd >= 0) {
        close(c->ev.fd);
    }
    for (struct msg *m = c->out, *next; m; m = next) {
        next = m->next;
        msg_free(m);
    }
    c->out = NULL;
    c->out_tail = &c->out;
    if (c->writing) {
        msg_free(c->writing);
        c->writing = NULL;
    }
    s->nclients--;
    for (struct listener *l = s->listeners; l; l = l->next) {
        ev_fd_set(&l->ev, EV_READ);
    }
    ev_post(s->loop, &c->post);
    if (s->open.gone) {
        s->open.gone(s->open.opaque, s->nclients);
    }
}

static void hello_late(void *opaque)
{
    client_drop(opaque);
}

static void client_new(struct nbd_server *s, int fd)
{
    struct client *c = calloc(1, sizeof(*c));
    int one = 1;

    if (!c) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    c->server = s;
    c->out_tail = &c->out;
    c->ev = (struct ev_fd){ .fd = fd, .events = EV_READ, .cb = client_event, .opaque = c };
    c->post = (struct ev_post){ .cb = client_posted, .opaque = c };
    c->hello = (struct ev_timer){ .cb = hello_late, .opaque = c };
    if (ev_fd_add(s->loop, &c->ev) < 0) {
        close(fd);
        free(c);
        return;
    }
    ev_timer_arm(s->loop, &c->hello, ev_now_ns() + HELLO_SECONDS * 1000000000ll);
    c->next = s->clients;
    s->clients = c;
    s->nclients++;
    client_greet(c);
}

static void listener_event(void *opaque, unsigned events)
{
    struct listener *l = opaque;
    struct nbd_server *s = l->server;
    int fd;

    (void)events;
    if (s->open.max_clients && s->nclients >= s->open.max_clients) {
        ev_fd_set(&l->ev, 0); /* they wait in the socket's queue */
        return;
    }
    fd = accept4(l->ev.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        client_new(s, fd);
    }
}

int nbd_server_listen(struct nbd_server *s, int fd)
{
    struct listener *l = xcalloc(1, sizeof(*l));
    int ret;

    l->server = s;
    l->ev = (struct ev_fd){ .fd = fd, .events = EV_READ, .cb = listener_event, .opaque = l };
    ret = ev_fd_add(s->loop, &l->ev);
    if (ret < 0) {
        free(l);
        return ret;
    }
    l->next = s->listeners;
    s->listeners = l;
    return 0;
}

/* ---- server and exports ---- */

struct nbd_server *nbd_server_new(struct ev_loop *loop, const struct nbd_server_open *o)
{
    struct nbd_server *s = xcalloc(1, sizeof(*s));

    s->loop = loop;
    s->open = *o;
    s->open.tls = o->tls ? tls_creds_share(o->tls) : NULL;
    return s;
}

struct export *server_find(const struct nbd_server *s, const char *name)
{
    struct export *x = s->exports;

    while (x && strcmp(x->name, name) != 0) {
        x = x->next;
    }
    return x;
}

int nbd_server_export(struct nbd_server *s, const struct nbd_export *o)
{
    struct export *x, **at = &s->exports;

    if (server_find(s, o->name)) {
        return -EEXIST;
    }
    assert(o->nbitmaps <= NBD_MAX_BITMAPS);
    x = xcalloc(1, sizeof(*x));
    x->server = s;
    x->node = o->node;
    x->name = xstrdup(o->name);
    x->description = o->description ? xstrdup(o->description) : NULL;
    x->read_only = o->read_only || o->node->read_only;
    x->depth = o->depth;
    x->bitmaps = xcalloc(o->nbitmaps + 1, sizeof(*x->bitmaps));
    for (x->nbitmaps = 0; x->nbitmaps < o->nbitmaps; x->nbitmaps++) {
        x->bitmaps[x->nbitmaps] = o->bitmaps[x->nbitmaps];
        o->bitmaps[x->nbitmaps]->busy = true;
    }
    x->held_tail = &x->held;
    while (*at) {
        at = &(*at)->next;
    }
    *at = x;
    return 0;
}

/* Drops the clients of x, all of them for NULL, and waits until nothing of theirs is in flight. */
static void drop_clients(struct nbd_server *s, const struct export *x)
{
    for (struct client *c = s->clients, *next; c; c = next) {
        next = c->next;
        if (x && c->export != x) {
            continue;
        }
        client_drop(c);
        while (c->in_flight) {
            node_ctx_poll(c->export->node->ctx, true);
        }
        client_free(c);
    }
}

static void export_free(struct export *x)
{
    assert(!x->in_flight && !x->held);
    for (unsigned i = 0; i < x->nbitmaps; i++) {
        x->bitmaps[i]->busy = false;
    }
    free(x->bitmaps);
    free(x->name);
    free(x->description);
    free(x);
}

unsigned nbd_server_clients(const struct nbd_server *s, const char *name)
{
    const struct export *x = server_find(s, name);
    unsigned n = 0;

    for (const struct client *c = s->clients; c; c = c->next) {
        n += x && c->export == x && !c->closed;
    }
    return n;
}

int nbd_server_unexport(struct nbd_server *s, const char *name)
{
    struct export *x = server_find(s, name), **at = &s->exports;

    if (!x) {
        return -ENOENT;
    }
    while (*at != x) {
        at = &(*at)->next;
    }
    *at = x->next;
    for (struct client *c = s->clients; c; c = c->next) {
        c->status_of = c->status_of == x ? NULL : c->status_of;
    }
    drop_clients(s, x);
    export_free(x);
    return 0;
}

void nbd_server_free(struct nbd_server *s)
{
    if (!s) {
        return;
    }
    s->open.gone = NULL;
    while (s->listeners) {
        struct listener *l = s->listeners;
        s->listeners = l->next;
        ev_fd_del(&l->ev);
        close(l->ev.fd);
        free(l);
    }
    drop_clients(s, NULL);
    while (s->exports) {
        struct export *x = s->exports;
        s->exports = x->next;
        export_free(x);
    }
    tls_creds_free(s->open.tls);
    free(s);
}
