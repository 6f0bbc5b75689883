/* SPDX-License-Identifier: MIT */
/* block/nbd-hello.c - an NBD client's first steps: the address, the connection, the negotiation.
 *
 * Leaves out: oldstyle servers. A server may send anything: every length is bounded, and a
 * time-out ends what takes too long.
 */
#include "block/nbd.h"

#include "block/nbd-proto.h"
#include "block/tls.h"
#include "dm/base/bytes.h"
#include "dm/base/err.h"
#include "dm/base/sock.h"
#include "dm/base/util.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HELLO_SECONDS = 30, MAX_REPLY = 65536, MAX_REPLIES = 1000 };

struct address {
    char *host, *port, *socket, *export;
};

static void address_free(struct address *a)
{
    free(a->host);
    free(a->port);
    free(a->socket);
    free(a->export);
}

bool nbd_is_address(const char *name)
{
    static const char *const starts[] = { "nbd:", "nbd+unix:", "nbds:", "nbds+unix:" };

    for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
        if (strncmp(name, starts[i], strlen(starts[i])) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- addresses ---- */

static int hex(char c)
{
    const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c | 0x20) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* len bytes of s with %XX undone; malloc'd. */
static char *unescape(const char *s, size_t len)
{
    char *out = xcalloc(1, len + 1);
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        if (s[i] == '%' && i + 2 < len + 0 && hex(s[i + 1]) >= 0 && hex(s[i + 2]) >= 0) {
            out[n++] = (char)(hex(s[i + 1]) << 4 | hex(s[i + 2]));
            i += 2;
        } else {
            out[n++] = s[i];
        }
    }
    return out;
}

/* HOST[:PORT] with brackets around an IPv6 address. */
static void take_host(struct address *a, const char *s, size_t len)
{
    const char *end = s + len, *colon = NULL;

    if (len && s[0] == '[') {
        const char *close = memchr(s, ']', len);
        if (close) {
            a->host = unescape(s + 1, (size_t)(close - s - 1));
            colon = close + 1 < end && close[1] == ':' ? close + 1 : NULL;
        }
    } else {
        colon = memchr(s, ':', len);
    }
    if (!a->host) {
        a->host = unescape(s, colon ? (size_t)(colon - s) : len);
    }
    a->port = colon ? unescape(colon + 1, (size_t)(end - colon - 1)) : xasprintf("%d", NBD_PORT);
}

static int parse_uri(struct address *a, const char *name, struct err *e)
{
    bool local = strncmp(name, "nbd+unix://", 11) == 0;
    const char *s = name + (local ? 11 : 6), *query = strchr(s, '?');
    const char *end = query ? query : s + strlen(s), *slash = memchr(s, '/', (size_t)(end - s));

    if (!local) {
        take_host(a, s, (size_t)((slash ? slash : end) - s));
    }
    a->export = slash ? unescape(slash + 1, (size_t)(end - slash - 1)) : xstrdup("");
    if (query && strncmp(query, "?socket=", 8) == 0 && local) {
        a->socket = unescape(query + 8, strcspn(query + 8, "&"));
    } else if (query) {
        return err_set(e, -EINVAL, "'%s': only nbd+unix has a parameter, socket=PATH", name);
    }
    return local && !a->socket ? err_set(e, -EINVAL, "'%s': ?socket=PATH is missing", name) : 0;
}

/* nbd:HOST:PORT[:exportname=E], nbd:unix:PATH[:exportname=E] */
static int parse_old(struct address *a, const char *name, struct err *e)
{
    const char *s = name + 4, *export = strstr(s, ":exportname=");
    size_t len = export ? (size_t)(export - s) : strlen(s);

    a->export = xstrdup(export ? export + 12 : "");
    if (strncmp(s, "unix:", 5) == 0) {
        a->socket = xasprintf("%.*s", (int)(len - 5), s + 5);
        return a->socket[0] ? 0 : err_set(e, -EINVAL, "'%s': the socket's path is missing", name);
    }
    take_host(a, s, len);
    return a->host[0] ? 0 : err_set(e, -EINVAL, "'%s': the host is missing", name);
}

static int parse_address(struct address *a, const char *name, struct err *e)
{
    int ret;

    if (strncmp(name, "nbds", 4) == 0) {
        return err_set(e, -ENOTSUP, "'%s': TLS is asked for by tls-creds=ID, not by the address",
                       name);
    }
    if (strncmp(name, "nbd://", 6) == 0 || strncmp(name, "nbd+unix://", 11) == 0) {
        ret = parse_uri(a, name, e);
    } else {
        ret = strncmp(name, "nbd:", 4) == 0
                  ? parse_old(a, name, e)
                  : err_set(e, -EINVAL, "'%s': expected nbd+unix:///EXPORT?socket=PATH", name);
    }
    if (ret == 0 && strlen(a->export) > NBD_MAX_NAME) {
        ret = err_set(e, -EINVAL, "'%.40s...': the export's name is too long", name);
    }
    return ret;
}

/* ---- connecting ---- */

static void set_timeout(int fd, int seconds)
{
    struct timeval tv = { .tv_sec = seconds };

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

static int connect_to(const struct address *a, struct err *e)
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

/* ---- negotiating ---- */

static int get(int fd, void *buf, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = recv(fd, (char *)buf + at, len - at, 0);
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

static int put(int fd, const void *buf, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = send(fd, (const char *)buf + at, len - at, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) {
            return errno == EAGAIN ? -ETIMEDOUT : -errno;
        }
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int send_option(int fd, enum nbd_opt opt, const void *data, size_t len)
{
    uint8_t head[16];
    int ret;

    store_be64(head, NBD_OPTS_MAGIC);
    store_be32(head + 8, opt);
    store_be32(head + 12, (uint32_t)len);
    ret = put(fd, head, sizeof(head));
    return ret < 0 || !len ? ret : put(fd, data, len);
}

struct reply {
    uint32_t type, len;
    uint8_t data[MAX_REPLY + 1]; /* ends with a NUL */
};

static int get_reply(int fd, enum nbd_opt opt, struct reply *r)
{
    uint8_t head[20];
    int ret = get(fd, head, sizeof(head));

    if (ret < 0) {
        return ret;
    }
    r->type = load_be32(head + 12);
    r->len = load_be32(head + 16);
    if (load_be64(head) != NBD_REP_MAGIC || load_be32(head + 8) != opt || r->len > MAX_REPLY) {
        return -EPROTO;
    }
    ret = get(fd, r->data, r->len);
    r->data[ret < 0 ? 0 : r->len] = '\0';
    return ret;
}

/* 1: the server agreed. 0: it did not. */
static int ask_structured(int fd, struct reply *r)
{
    int ret = send_option(fd, NBD_OPT_STRUCTURED_REPLY, NULL, 0);

    ret = ret < 0 ? ret : get_reply(fd, NBD_OPT_STRUCTURED_REPLY, r);
    return ret < 0 ? ret : r->type == NBD_REP_ACK;
}

static int ask_status(struct nbd_hello *h, const char *export, struct reply *r)
{
    static const char query[] = "base:allocation";
    size_t n = strlen(export), q = sizeof(query) - 1, len = 4 + n + 4 + 4 + q;
    uint8_t *data = xcalloc(1, len);
    int ret;

    store_be32(data, (uint32_t)n);
    memcpy(data + 4, export, n);
    store_be32(data + 4 + n, 1);
    store_be32(data + 8 + n, (uint32_t)q);
    memcpy(data + 12 + n, query, q);
    ret = send_option(h->fd, NBD_OPT_SET_META_CONTEXT, data, len);
    free(data);
    for (int i = 0; ret == 0 && i < MAX_REPLIES; i++) {
        ret = get_reply(h->fd, NBD_OPT_SET_META_CONTEXT, r);
        if (ret < 0 || r->type != NBD_REP_META_CONTEXT) {
            return ret;
        }
        if (r->len == 4 + q && memcmp(r->data + 4, query, q) == 0) {
            h->status = true;
            h->context = load_be32(r->data);
        }
    }
    return ret < 0 ? ret : -EPROTO;
}

static int take_info(struct nbd_hello *h, const struct reply *r, bool *export)
{
    unsigned what = r->len >= 2 ? load_be16(r->data) : NBD_INFO_NAME;

    if (what == NBD_INFO_EXPORT && r->len == 12) {
        h->size = load_be64(r->data + 2);
        h->flags = load_be16(r->data + 10);
        *export = true;
    } else if (what == NBD_INFO_BLOCK_SIZE && r->len == 14) {
        uint32_t max = load_be32(r->data + 10);
        if (load_be32(r->data + 2) > NODE_ALIGN || max < NODE_ALIGN) {
            return -ENOTSUP;
        }
        h->max_data = max < h->max_data ? max - max % NODE_ALIGN : h->max_data;
    }
    return 0;
}

/* For servers that do not know GO. */
static int ask_by_name(struct nbd_hello *h, const char *export, bool zeroes)
{
    uint8_t answer[10 + 124];
    int ret = send_option(h->fd, NBD_OPT_EXPORT_NAME, export, strlen(export));

    ret = ret < 0 ? ret : get(h->fd, answer, zeroes ? sizeof(answer) : 10);
    if (ret == 0) {
        h->size = load_be64(answer);
        h->flags = load_be16(answer + 8);
    }
    return ret;
}

static int ask_go(struct nbd_hello *h, const char *export, bool zeroes, struct reply *r,
                  struct err *e)
{
    size_t n = strlen(export);
    uint8_t *data = xcalloc(1, n + 8);
    bool known = false;
    int ret;

    store_be32(data, (uint32_t)n);
    memcpy(data + 4, export, n);
    store_be16(data + 4 + n, 1);
    store_be16(data + 6 + n, NBD_INFO_BLOCK_SIZE);
    ret = send_option(h->fd, NBD_OPT_GO, data, n + 8);
    free(data);
    for (int i = 0; ret == 0 && i < MAX_REPLIES; i++) {
        ret = get_reply(h->fd, NBD_OPT_GO, r);
        if (ret == 0 && r->type == NBD_REP_ACK) {
            return known ? 0 : -EPROTO;
        }
        if (ret == 0 && r->type == NBD_REP_ERR_UNSUP) {
            return ask_by_name(h, export, zeroes);
        }
        if (ret == 0 && (r->type & NBD_REP_ERR)) {
            make_printable((char *)r->data);
            return err_set(e, -ENOENT, "the server refuses export '%s': %.200s", export,
                           r->len ? (char *)r->data : "no reason given");
        }
        ret = ret < 0 ? ret : r->type == NBD_REP_INFO ? take_info(h, r, &known) : -EPROTO;
    }
    return ret < 0 ? ret : -EPROTO;
}

/* The greeting. Returns the server's flags, or -errno. */
static int greet(struct nbd_hello *h, struct err *e)
{
    uint8_t head[18], answer[4];
    int ret = get(h->fd, head, sizeof(head));

    if (ret < 0) {
        return ret;
    }
    if (load_be64(head) != NBD_MAGIC || load_be64(head + 8) != NBD_OPTS_MAGIC) {
        return err_set(e, -EPROTO, "%s",
                       load_be64(head + 8) == NBD_OLD_MAGIC
                           ? "an oldstyle server: known, but Keel does not have it yet"
                           : "this is no NBD server");
    }
    unsigned flags = load_be16(head + 16);
    if (!(flags & NBD_FLAG_FIXED_NEWSTYLE)) {
        return err_set(e, -EPROTO, "the server does not speak fixed newstyle");
    }
    store_be32(answer, flags & (NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES));
    ret = put(h->fd, answer, sizeof(answer));
    return ret < 0 ? ret : (int)flags;
}

/* From here on h->fd is the plain end of an encrypted connection. */
static int start_tls(struct nbd_hello *h, const struct nbd_how *how, const char *host,
                     struct reply *r, struct err *e)
{
    int ret = send_option(h->fd, NBD_OPT_STARTTLS, NULL, 0);

    ret = ret < 0 ? ret : get_reply(h->fd, NBD_OPT_STARTTLS, r);
    if (ret < 0) {
        return ret;
    }
    if (r->type != NBD_REP_ACK || r->len) {
        make_printable((char *)r->data);
        return err_set(e, -EPROTO, "the server refuses TLS: %.200s",
                       r->len ? (char *)r->data : "no reason given");
    }
    ret = tls_client(h->fd, how->tls, how->tls_host ? how->tls_host : host, e);
    h->fd = ret < 0 ? -1 : ret; /* the old one went with it */
    if (ret >= 0) {
        set_timeout(h->fd, HELLO_SECONDS);
    }
    return ret < 0 ? ret : 0;
}

static int negotiate(struct nbd_hello *h, const struct nbd_how *how, const struct address *a,
                     struct reply *r, struct err *e)
{
    int flags = greet(h, e), ret;

    ret = flags < 0 || !how->tls ? flags : start_tls(h, how, a->host, r, e);
    ret = ret < 0 ? ret : ask_structured(h->fd, r);
    if (ret > 0) {
        h->structured = true;
        ret = ask_status(h, a->export, r);
    }
    return ret < 0 ? ret : ask_go(h, a->export, !(flags & NBD_FLAG_NO_ZEROES), r, e);
}

/* Connects; then `talk` says what there is to say. */
static int connect_and(const char *address, const struct nbd_how *how, struct nbd_hello *h,
                       int (*talk)(struct nbd_hello *h, const struct nbd_how *how,
                                   const struct address *a, struct reply *r, struct err *e),
                       struct err *e)
{
    struct address a = { 0 };
    struct reply *r = xcalloc(1, sizeof(*r));
    int ret = parse_address(&a, address, e);

    *h = (struct nbd_hello){ .fd = -1, .max_data = NBD_MAX_DATA };
    if (ret == 0) {
        h->fd = ret = connect_to(&a, e);
    }
    if (ret >= 0) {
        struct err why = { 0 };
        set_timeout(h->fd, HELLO_SECONDS);
        ret = talk(h, how, &a, r, &why);
        if (ret == 0 && h->size > INT64_MAX - NODE_ALIGN) {
            ret = -EFBIG;
        }
        if (ret < 0) {
            err_set(e, ret, "'%s': %s", address, why.code ? why.msg : strerror(-ret));
            if (h->fd >= 0) {
                close(h->fd);
            }
            h->fd = -1;
        } else {
            set_timeout(h->fd, 0);
        }
    }
    address_free(&a);
    free(r);
    return ret < 0 ? ret : 0;
}

int nbd_connect(const char *address, const struct nbd_how *how, struct nbd_hello *h, struct err *e)
{
    return connect_and(address, how, h, negotiate, e);
}

/* ---- listing ---- */

struct listing {
    void (*count)(unsigned n);
    void (*each)(const struct nbd_export_info *x);
    struct listed {
        char *name, *description;
    } * x;
    unsigned n;
};

static int take_export(struct listing *l, const struct reply *r)
{
    uint32_t n = r->len >= 4 ? load_be32(r->data) : 0;

    if (r->len < 4 || n > r->len - 4 || n > NBD_MAX_NAME) {
        return -EPROTO;
    }
    l->x = xrealloc(l->x, (l->n + 1) * sizeof(*l->x));
    l->x[l->n] = (struct listed){ xasprintf("%.*s", (int)n, (const char *)r->data + 4), NULL };
    if (r->len > 4 + n) {
        l->x[l->n].description =
            xasprintf("%.*s", (int)(r->len - 4 - n), (const char *)r->data + 4 + n);
        make_printable(l->x[l->n].description);
    }
    l->n++;
    return 0;
}

static int get_exports(struct nbd_hello *h, struct listing *l, struct reply *r, struct err *e)
{
    int ret = send_option(h->fd, NBD_OPT_LIST, NULL, 0);

    for (unsigned i = 0; ret == 0 && i <= MAX_REPLIES; i++) {
        ret = get_reply(h->fd, NBD_OPT_LIST, r);
        if (ret == 0 && r->type == NBD_REP_ACK) {
            return 0;
        }
        if (ret == 0 && (r->type & NBD_REP_ERR)) {
            make_printable((char *)r->data);
            return err_set(e, -EPERM, "the server does not list its exports: %.200s",
                           r->len ? (char *)r->data : "no reason given");
        }
        ret = ret < 0 ? ret : r->type == NBD_REP_SERVER ? take_export(l, r) : -EPROTO;
    }
    return ret < 0 ? ret : -EPROTO;
}

/* INFO: size, flags, block sizes. */
/* An option about one export: its name, then up to eight bytes. */
static int ask_about(struct nbd_hello *h, const char *name, uint32_t option, const void *more,
                     size_t len)
{
    size_t n = strlen(name);
    uint8_t *data = xcalloc(1, 4 + n + len);
    int ret;

    store_be32(data, (uint32_t)n);
    memcpy(data + 4, name, n);
    memcpy(data + 4 + n, more, len);
    ret = send_option(h->fd, option, data, 4 + n + len);
    free(data);
    return ret;
}

static int get_info(struct nbd_hello *h, struct nbd_export_info *x, struct reply *r)
{
    uint8_t wanted[4];
    int ret;

    store_be16(wanted, 1);
    store_be16(wanted + 2, NBD_INFO_BLOCK_SIZE);
    ret = ask_about(h, x->name, NBD_OPT_INFO, wanted, sizeof(wanted));
    for (unsigned i = 0; ret == 0 && i < MAX_REPLIES; i++) {
        ret = get_reply(h->fd, NBD_OPT_INFO, r);
        unsigned what = ret == 0 && r->len >= 2 ? load_be16(r->data) : NBD_INFO_NAME;
        if (ret < 0 || r->type != NBD_REP_INFO) {
            break;
        }
        if (what == NBD_INFO_EXPORT && r->len == 12) {
            x->size = load_be64(r->data + 2);
            x->flags = load_be16(r->data + 10);
        } else if (what == NBD_INFO_BLOCK_SIZE && r->len == 14) {
            x->min_block = load_be32(r->data + 2);
            x->opt_block = load_be32(r->data + 6);
            x->max_block = load_be32(r->data + 10);
        }
    }
    return ret;
}

static int get_contexts(struct nbd_hello *h, struct nbd_export_info *x, struct reply *r)
{
    static const uint8_t all[4]; /* no queries: every one there is */
    int ret = ask_about(h, x->name, NBD_OPT_LIST_META_CONTEXT, all, sizeof(all));

    for (unsigned i = 0; ret == 0 && i < MAX_REPLIES; i++) {
        ret = get_reply(h->fd, NBD_OPT_LIST_META_CONTEXT, r);
        if (ret < 0 || r->type != NBD_REP_META_CONTEXT || r->len < 4) {
            break;
        }
        make_printable((char *)r->data + 4);
        x->contexts = xrealloc(x->contexts, (x->ncontexts + 1) * sizeof(*x->contexts));
        x->contexts[x->ncontexts++] = xstrdup((char *)r->data + 4);
    }
    return ret;
}

static int tell_export(struct nbd_hello *h, const struct listing *l, const struct listed *d,
                       bool contexts, struct reply *r)
{
    struct nbd_export_info x = { .name = d->name, .description = d->description };
    int ret = get_info(h, &x, r);

    ret = ret < 0 || !contexts ? ret : get_contexts(h, &x, r);
    if (ret == 0) {
        char *name = xstrdup(d->name);
        make_printable(name);
        x.name = name;
        l->each(&x);
        free(name);
    }
    for (unsigned i = 0; i < x.ncontexts; i++) {
        free(x.contexts[i]);
    }
    free(x.contexts);
    return ret;
}

/* nbd_list's callbacks, beside what nbd_connect is told. */
struct list_how {
    struct nbd_how how; /* first */
    struct listing l;
};

static struct listing *the_listing(const struct nbd_how *how)
{
    return &((struct list_how *)how)->l;
}

static int talk_of_exports(struct nbd_hello *h, const struct nbd_how *how, const struct address *a,
                           struct reply *r, struct err *e)
{
    struct listing *l = the_listing(how);
    int flags = greet(h, e), structured, ret;

    ret = flags < 0 || !how->tls ? flags : start_tls(h, how, a->host, r, e);
    ret = structured = ret < 0 ? ret : ask_structured(h->fd, r);
    ret = ret < 0 ? ret : get_exports(h, l, r, e);
    if (ret == 0) {
        l->count(l->n);
    }
    for (unsigned i = 0; ret == 0 && i < l->n; i++) {
        ret = tell_export(h, l, &l->x[i], structured > 0, r);
    }
    if (ret == 0) {
        send_option(h->fd, NBD_OPT_ABORT, NULL, 0); /* politeness: it may be gone already */
    }
    return ret;
}

int nbd_list(const char *address, const struct nbd_how *how, void (*count)(unsigned n),
             void (*each)(const struct nbd_export_info *x), struct err *e)
{
    struct list_how lh = { .how = *how, .l = { .count = count, .each = each } };
    struct nbd_hello h;
    int ret = connect_and(address, &lh.how, &h, talk_of_exports, e);

    if (ret == 0) {
        close(h.fd);
    }
    for (unsigned i = 0; i < lh.l.n; i++) {
        free(lh.l.x[i].name);
        free(lh.l.x[i].description);
    }
    free(lh.l.x);
    return ret;
}
