/* SPDX-License-Identifier: MIT */
/* block/nbd-server-hello.c - the NBD server's side of the negotiation: fixed newstyle. */
#include "block/nbd-server-int.h"

#include "block/bitmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void want_option(struct client *c);

/* ---- replies ---- */

static void reply(struct client *c, uint32_t type, const void *data, size_t len)
{
    struct msg *m = msg_new(c);

    if (!m || (len && !(m->data = malloc(len)))) {
        free(m);
        client_drop(c);
        return;
    }
    store_be64(m->head, NBD_REP_MAGIC);
    store_be32(m->head + 8, c->opt);
    store_be32(m->head + 12, type);
    store_be32(m->head + 16, (uint32_t)len);
    m->head_len = 20;
    m->data_len = len;
    if (len) {
        memcpy(m->data, data, len);
    }
    client_send(c, m);
}

static void refuse(struct client *c, uint32_t type, const char *why)
{
    reply(c, type, why, strlen(why));
}

static void refuse_name(struct client *c, const char *name)
{
    char *why = xasprintf("export '%s' not present", name);

    refuse(c, NBD_REP_ERR_UNKNOWN, why);
    free(why);
}

/* ---- what clients ask ---- */

/* A string with its length before it, from *at on; malloc'd. NULL: it is not there as a whole. */
static char *take_string(const struct client *c, uint32_t *at)
{
    uint32_t len;
    char *s;

    if (c->opt_len - *at < 4) {
        return NULL;
    }
    len = load_be32(c->option + *at);
    if (len > c->opt_len - *at - 4 || len > NBD_MAX_NAME) {
        return NULL;
    }
    s = xcalloc(1, (size_t)len + 1);
    memcpy(s, c->option + *at + 4, len);
    *at += 4 + len;
    return s;
}

static void opt_list(struct client *c)
{
    if (c->opt_len) {
        refuse(c, NBD_REP_ERR_INVALID, "LIST has no data");
        return;
    }
    for (const struct export *x = c->server->exports; x && !c->closed; x = x->next) {
        size_t n = strlen(x->name), d = x->description ? strlen(x->description) : 0;
        uint8_t *data = xcalloc(1, 4 + n + d);
        store_be32(data, (uint32_t)n);
        memcpy(data + 4, x->name, n);
        memcpy(data + 4 + n, x->description ? x->description : "", d);
        reply(c, NBD_REP_SERVER, data, 4 + n + d);
        free(data);
    }
    reply(c, NBD_REP_ACK, NULL, 0);
}

static void send_text(struct client *c, unsigned what, const char *text)
{
    size_t n = strlen(text);
    uint8_t *data = xcalloc(1, 2 + n);

    store_be16(data, (uint16_t)what);
    memcpy(data + 2, text, n);
    reply(c, NBD_REP_INFO, data, 2 + n);
    free(data);
}

static void send_infos(struct client *c, const struct export *x, uint32_t at, unsigned n)
{
    uint8_t info[14];

    for (unsigned i = 0; i < n; i++) {
        unsigned what = load_be16(c->option + at + 2 * i);
        if (what == NBD_INFO_NAME) {
            send_text(c, what, x->name);
        } else if (what == NBD_INFO_DESCRIPTION && x->description) {
            send_text(c, what, x->description);
        } else if (what == NBD_INFO_BLOCK_SIZE) {
            store_be16(info, NBD_INFO_BLOCK_SIZE);
            store_be32(info + 2, 1);
            store_be32(info + 6, 4096);
            store_be32(info + 10, NBD_MAX_DATA);
            reply(c, NBD_REP_INFO, info, 14);
        }
    }
    store_be16(info, NBD_INFO_EXPORT);
    store_be64(info + 2, x->node->len);
    store_be16(info + 10, (uint16_t)export_flags(x));
    reply(c, NBD_REP_INFO, info, 12);
    reply(c, NBD_REP_ACK, NULL, 0);
}

static void choose(struct client *c, struct export *x)
{
    c->contexts = c->status_of == x ? c->contexts : 0;
    c->export = x;
}

/* INFO and GO. */
static void opt_go(struct client *c)
{
    uint32_t at = 0;
    char *name = take_string(c, &at);
    unsigned n = name && c->opt_len - at >= 2 ? load_be16(c->option + at) : 0;
    struct export *x = name ? server_find(c->server, name) : NULL;

    if (!name || c->opt_len - at < 2 || c->opt_len - at - 2 != 2 * n) {
        refuse(c, NBD_REP_ERR_INVALID, "malformed");
    } else if (!x) {
        refuse_name(c, name);
    } else {
        send_infos(c, x, at + 2, n);
        if (c->opt == NBD_OPT_GO) {
            choose(c, x);
        }
    }
    free(name);
}

static void opt_export_name(struct client *c)
{
    char name[NBD_MAX_NAME + 1] = "";
    struct msg *m = msg_new(c);
    struct export *x;

    if (c->opt_len <= NBD_MAX_NAME && c->opt_len) {
        memcpy(name, c->option, c->opt_len);
    }
    x = c->opt_len <= NBD_MAX_NAME ? server_find(c->server, name) : NULL;
    if (!m || !x || !(m->data = calloc(1, 124))) {
        free(m);
        client_drop(c); /* this option has no way to say no */
        return;
    }
    store_be64(m->head, x->node->len);
    store_be16(m->head + 8, (uint16_t)export_flags(x));
    m->head_len = 10;
    m->data_len = c->no_zeroes ? 0 : 124;
    choose(c, x);
    client_send(c, m);
}

static void opt_structured(struct client *c)
{
    if (c->opt_len) {
        refuse(c, NBD_REP_ERR_INVALID, "STRUCTURED_REPLY has no data");
        return;
    }
    c->structured = true;
    reply(c, NBD_REP_ACK, NULL, 0);
}

char *export_context(const struct export *x, unsigned i)
{
    if (i == CONTEXT_ALLOCATION) {
        return xstrdup("base:allocation");
    }
    if (i == CONTEXT_DEPTH) {
        return x->depth ? xstrdup("qemu:allocation-depth") : NULL;
    }
    return i - CONTEXT_BITMAPS < x->nbitmaps
               ? xasprintf("qemu:dirty-bitmap:%s", x->bitmaps[i - CONTEXT_BITMAPS]->name)
               : NULL;
}

static void send_context(struct client *c, uint32_t id, const char *name)
{
    size_t n = strlen(name);
    uint8_t *data = xcalloc(1, 4 + n);

    store_be32(data, id);
    memcpy(data + 4, name, n);
    reply(c, NBD_REP_META_CONTEXT, data, 4 + n);
    free(data);
}

/* Those of x that a query names. A list also takes a name space: what ends with a colon. */
static uint32_t contexts_named(const struct export *x, const char *query, bool list)
{
    size_t len = strlen(query);
    bool space = list && len && query[len - 1] == ':';
    uint32_t found = 0;

    for (unsigned i = 0; i < CONTEXTS; i++) {
        char *name = export_context(x, i);
        bool is = name && (space ? strncmp(name, query, len) == 0 : strcmp(name, query) == 0);
        found |= is ? 1u << i : 0;
        free(name);
    }
    return found;
}

/* The queries from `at` on. 0, or -EINVAL: they are malformed. x may be NULL. */
static int take_queries(const struct client *c, uint32_t at, const struct export *x, bool list,
                        uint32_t *found)
{
    uint32_t n = c->opt_len - at >= 4 ? load_be32(c->option + at) : 0;

    *found = list && n == 0 ? UINT32_MAX : 0;
    if (c->opt_len - at < 4) {
        return -EINVAL;
    }
    at += 4;
    for (uint32_t i = 0; i < n; i++) {
        char *query = take_string(c, &at);
        if (!query) {
            return -EINVAL;
        }
        *found |= x ? contexts_named(x, query, list) : 0;
        free(query);
    }
    return at == c->opt_len ? 0 : -EINVAL;
}

static void opt_context(struct client *c)
{
    bool list = c->opt == NBD_OPT_LIST_META_CONTEXT;
    uint32_t at = 0, found = 0;
    char *name = take_string(c, &at);
    struct export *x = name ? server_find(c->server, name) : NULL;
    int ret = name ? take_queries(c, at, x, list, &found) : -EINVAL;

    if (!c->structured) {
        refuse(c, NBD_REP_ERR_INVALID, "structured replies come first");
    } else if (ret < 0) {
        refuse(c, NBD_REP_ERR_INVALID, "malformed");
    } else if (!x) {
        refuse_name(c, name);
    } else {
        c->status_of = list ? c->status_of : x;
        c->contexts = list ? c->contexts : 0;
        for (unsigned i = 0; i < CONTEXTS && !c->closed; i++) {
            char *context = found >> i & 1 ? export_context(x, i) : NULL;
            if (context) {
                send_context(c, list ? 0 : i + 1, context);
                c->contexts |= list ? 0 : 1u << i;
            }
            free(context);
        }
        reply(c, NBD_REP_ACK, NULL, 0);
    }
    free(name);
}

static void opt_starttls(struct client *c)
{
    if (c->opt_len) {
        refuse(c, NBD_REP_ERR_INVALID, "STARTTLS has no data");
    } else if (!c->server->open.tls) {
        refuse(c, NBD_REP_ERR_POLICY, "TLS not configured");
    } else if (c->tls) {
        refuse(c, NBD_REP_ERR_INVALID, "TLS already enabled");
    } else {
        c->starting_tls = true;
        reply(c, NBD_REP_ACK, NULL, 0);
    }
}

/* Who wants TLS says nothing about his exports without it. True: it was dealt with. */
static bool needs_tls(struct client *c)
{
    if (!c->server->open.tls || c->tls || c->opt == NBD_OPT_STARTTLS || c->opt == NBD_OPT_ABORT) {
        return false;
    }
    if (c->opt == NBD_OPT_EXPORT_NAME) {
        client_drop(c);
    } else {
        refuse(c, NBD_REP_ERR_TLS_REQD, "Option needs TLS: use STARTTLS first");
    }
    return true;
}

static void opt_abort(struct client *c)
{
    c->draining = true;
    reply(c, NBD_REP_ACK, NULL, 0);
}

static void opt_unknown(struct client *c)
{
    refuse(c, NBD_REP_ERR_UNSUP, "unknown option");
}

static void run_option(struct client *c)
{
    static void (*const options[])(struct client * c) = {
        [NBD_OPT_EXPORT_NAME] = opt_export_name,
        [NBD_OPT_ABORT] = opt_abort,
        [NBD_OPT_LIST] = opt_list,
        [NBD_OPT_STARTTLS] = opt_starttls,
        [NBD_OPT_INFO] = opt_go,
        [NBD_OPT_GO] = opt_go,
        [NBD_OPT_STRUCTURED_REPLY] = opt_structured,
        [NBD_OPT_LIST_META_CONTEXT] = opt_context,
        [NBD_OPT_SET_META_CONTEXT] = opt_context,
    };

    if (++c->options > MAX_OPTIONS) {
        client_drop(c);
        return;
    }
    if (needs_tls(c)) {
        /* answered */
    } else if (c->opt < ARRAY_SIZE(options) && options[c->opt]) {
        options[c->opt](c);
    } else {
        opt_unknown(c);
    }
    free(c->option);
    c->option = NULL;
    if (c->closed) {
        return;
    }
    if (c->export) {
        ev_timer_disarm(&c->hello);
        client_serve(c);
    } else {
        want_option(c);
    }
}

static void option_head(struct client *c)
{
    c->opt = load_be32(c->small + 8);
    c->opt_len = load_be32(c->small + 12);
    if (load_be64(c->small) != NBD_OPTS_MAGIC || c->opt_len > MAX_OPTION ||
        !(c->option = calloc(1, (size_t)c->opt_len + 1))) {
        client_drop(c);
        return;
    }
    client_want(c, c->option, c->opt_len, run_option);
}

static void want_option(struct client *c)
{
    client_want(c, c->small, 16, option_head);
}

static void took_flags(struct client *c)
{
    uint32_t flags = load_be32(c->small);

    if (flags & ~(uint32_t)(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)) {
        client_drop(c);
        return;
    }
    c->no_zeroes = flags & NBD_FLAG_NO_ZEROES;
    want_option(c);
}

void client_greet(struct client *c)
{
    struct msg *m = msg_new(c);

    if (!m) {
        client_drop(c);
        return;
    }
    store_be64(m->head, NBD_MAGIC);
    store_be64(m->head + 8, NBD_OPTS_MAGIC);
    store_be16(m->head + 16, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    m->head_len = 18;
    client_want(c, c->small, 4, took_flags);
    client_send(c, m);
}
