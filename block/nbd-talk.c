/* SPDX-License-Identifier: MIT */
/* block/nbd-talk.c - an NBD client's connection, the server's greeting, options and the replies to them.
 *
 * Leaves out: oldstyle servers.
 */
#include "block/nbd-hello-int.h"

#include "block/tls.h"
#include "dm/base/bytes.h"
#include "dm/base/sock.h"
#include "dm/base/util.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HELLO_SECONDS = 30 };

/* ---- connecting ---- */

static void set_timeout(int fd, int seconds)
{
    struct timeval tv = { .tv_sec = seconds };

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

static int connect_to(const struct nbd_address *a, struct err *e)
{
    struct sock_addr to;
    int one = 1;
    int ret = a->socket ? sock_unix(a->socket, &to, e) : sock_inet(a->host, a->port, false, &to, e);

    if (ret < 0 && !a->socket) {
        e->code = -EHOSTUNREACH; /* a name that may be known later */
    }
    int fd = ret < 0 ? e->code : sock_connect(&to, e);
    if (fd >= 0 && !a->socket) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    }
    return fd;
}

/* ---- bytes ---- */

int nbd_get(struct nbd_talk *t, void *buf, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = recv(t->h->fd, (char *)buf + at, len - at, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? (errno == EAGAIN ? -ETIMEDOUT : -errno) : -ECONNRESET;
        }
        at += (size_t)n;
    }
    return 0;
}

static int put(struct nbd_talk *t, const void *buf, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = send(t->h->fd, (const char *)buf + at, len - at, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) {
            return errno == EAGAIN ? -ETIMEDOUT : -errno;
        }
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* ---- options ---- */

int nbd_send_option(struct nbd_talk *t, enum nbd_opt opt, const void *data, size_t len)
{
    uint8_t head[16];
    int ret;

    store_be64(head, NBD_OPTS_MAGIC);
    store_be32(head + 8, opt);
    store_be32(head + 12, (uint32_t)len);
    ret = put(t, head, sizeof(head));
    return ret < 0 || !len ? ret : put(t, data, len);
}

int nbd_ask_about(struct nbd_talk *t, enum nbd_opt opt, const char *name, const void *more,
                  size_t len)
{
    size_t n = strlen(name);
    uint8_t *data = xcalloc(1, 4 + n + len);
    int ret;

    store_be32(data, (uint32_t)n);
    memcpy(data + 4, name, n);
    memcpy(data + 4 + n, more, len);
    ret = nbd_send_option(t, opt, data, 4 + n + len);
    free(data);
    return ret;
}

int nbd_ask_info(struct nbd_talk *t, enum nbd_opt opt, const char *name)
{
    uint8_t wanted[4];

    store_be16(wanted, 1);
    store_be16(wanted + 2, NBD_INFO_BLOCK_SIZE);
    return nbd_ask_about(t, opt, name, wanted, sizeof(wanted));
}

int nbd_get_reply(struct nbd_talk *t, enum nbd_opt opt)
{
    struct nbd_reply *r = &t->r;
    uint8_t head[20];
    int ret = nbd_get(t, head, sizeof(head));

    if (ret < 0) {
        return ret;
    }
    r->type = load_be32(head + 12);
    r->len = load_be32(head + 16);
    if (load_be64(head) != NBD_REP_MAGIC || load_be32(head + 8) != opt || r->len > NBD_MAX_REPLY) {
        return -EPROTO;
    }
    ret = nbd_get(t, r->data, r->len);
    r->data[ret < 0 ? 0 : r->len] = '\0';
    return ret;
}

const char *nbd_reason(struct nbd_talk *t)
{
    make_printable((char *)t->r.data);
    return t->r.len ? (char *)t->r.data : "no reason given";
}

/* ---- the first steps ---- */

static int greet(struct nbd_talk *t)
{
    uint8_t head[18], answer[4];
    int ret = nbd_get(t, head, sizeof(head));

    if (ret < 0) {
        return ret;
    }
    if (load_be64(head) != NBD_MAGIC || load_be64(head + 8) != NBD_OPTS_MAGIC) {
        return err_set(&t->err, -EPROTO, "%s",
                       load_be64(head + 8) == NBD_OLD_MAGIC
                           ? "an oldstyle server: known, but Keel does not have it yet"
                           : "this is no NBD server");
    }
    unsigned flags = load_be16(head + 16);
    if (!(flags & NBD_FLAG_FIXED_NEWSTYLE)) {
        return err_set(&t->err, -EPROTO, "the server does not speak fixed newstyle");
    }
    t->zeroes = !(flags & NBD_FLAG_NO_ZEROES);
    store_be32(answer, flags & (NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES));
    return put(t, answer, sizeof(answer));
}

/* From here on the descriptor is the plain end of an encrypted connection. */
static int start_tls(struct nbd_talk *t)
{
    const struct nbd_how *how = t->how;
    int ret = nbd_send_option(t, NBD_OPT_STARTTLS, NULL, 0);

    ret = ret < 0 ? ret : nbd_get_reply(t, NBD_OPT_STARTTLS);
    if (ret < 0) {
        return ret;
    }
    if (t->r.type != NBD_REP_ACK || t->r.len) {
        return err_set(&t->err, -EPROTO, "the server refuses TLS: %.200s", nbd_reason(t));
    }
    ret = tls_client(t->h->fd, how->tls, how->tls_host ? how->tls_host : t->address.host, &t->err);
    t->h->fd = ret < 0 ? -1 : ret; /* the old one went with it */
    if (ret < 0) {
        return ret;
    }
    set_timeout(t->h->fd, HELLO_SECONDS);
    return 0;
}

static int ask_structured(struct nbd_talk *t)
{
    int ret = nbd_send_option(t, NBD_OPT_STRUCTURED_REPLY, NULL, 0);

    ret = ret < 0 ? ret : nbd_get_reply(t, NBD_OPT_STRUCTURED_REPLY);
    t->h->structured = ret == 0 && t->r.type == NBD_REP_ACK;
    return ret;
}

static int first_steps(struct nbd_talk *t)
{
    int ret;

    set_timeout(t->h->fd, HELLO_SECONDS);
    ret = greet(t);
    ret = ret < 0 || !t->how->tls ? ret : start_tls(t);
    return ret < 0 ? ret : ask_structured(t);
}

/* The end of the talk: h->fd is the caller's if it went well. */
static int end(struct nbd_talk *t, const char *address, int ret, struct err *e)
{
    if (ret < 0) {
        err_set(e, ret, "'%s': %s", address, t->err.code ? t->err.msg : strerror(-ret));
        if (t->h->fd >= 0) {
            close(t->h->fd);
        }
        t->h->fd = -1;
    } else {
        set_timeout(t->h->fd, 0);
    }
    return ret;
}

int nbd_talk(const char *address, const struct nbd_how *how, struct nbd_hello *h,
             int (*say)(struct nbd_talk *t, void *opaque), void *opaque, struct err *e)
{
    struct nbd_talk *t = xcalloc(1, sizeof(*t));
    int ret;

    *h = (struct nbd_hello){ .fd = -1, .max_data = NBD_MAX_DATA };
    t->h = h;
    t->how = how;
    ret = nbd_address_parse(&t->address, address, e);
    if (ret == 0) {
        h->fd = ret = connect_to(&t->address, e);
    }
    if (ret >= 0) {
        ret = first_steps(t);
        ret = end(t, address, ret < 0 ? ret : say(t, opaque), e);
    }
    nbd_address_free(&t->address);
    free(t);
    return ret;
}
