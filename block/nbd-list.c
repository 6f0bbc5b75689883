/* SPDX-License-Identifier: MIT */
/* block/nbd-list.c - all exports of an NBD server, and what it tells of each. */
#include "block/nbd-hello-int.h"

#include "dm/base/bytes.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct listing {
    void (*count)(unsigned n);
    void (*each)(const struct nbd_export_info *x);
    struct listed {
        char *name, *description;
    } * x;
    unsigned n;
};

static int take_export(struct listing *l, const struct nbd_reply *r)
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

static int get_exports(struct nbd_talk *t, struct listing *l)
{
    const struct nbd_reply *r = &t->r;
    int ret = nbd_send_option(t, NBD_OPT_LIST, NULL, 0);

    for (unsigned i = 0; ret == 0 && i <= NBD_MAX_REPLIES; i++) {
        ret = nbd_get_reply(t, NBD_OPT_LIST);
        if (ret == 0 && r->type == NBD_REP_ACK) {
            return 0;
        }
        if (ret == 0 && (r->type & NBD_REP_ERR)) {
            return err_set(&t->err, -EPERM, "the server does not list its exports: %.200s",
                           nbd_reason(t));
        }
        ret = ret < 0 ? ret : r->type == NBD_REP_SERVER ? take_export(l, r) : -EPROTO;
    }
    return ret < 0 ? ret : -EPROTO;
}

/* Size, flags, block sizes. */
static int get_info(struct nbd_talk *t, struct nbd_export_info *x)
{
    const struct nbd_reply *r = &t->r;
    int ret = nbd_ask_info(t, NBD_OPT_INFO, x->name);

    for (unsigned i = 0; ret == 0 && i < NBD_MAX_REPLIES; i++) {
        ret = nbd_get_reply(t, NBD_OPT_INFO);
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

static int get_contexts(struct nbd_talk *t, struct nbd_export_info *x)
{
    static const uint8_t all[4]; /* no queries: every one there is */
    char *name = (char *)t->r.data + 4;
    int ret = nbd_ask_about(t, NBD_OPT_LIST_META_CONTEXT, x->name, all, sizeof(all));

    for (unsigned i = 0; ret == 0 && i < NBD_MAX_REPLIES; i++) {
        ret = nbd_get_reply(t, NBD_OPT_LIST_META_CONTEXT);
        if (ret < 0 || t->r.type != NBD_REP_META_CONTEXT || t->r.len < 4) {
            break;
        }
        make_printable(name);
        x->contexts = xrealloc(x->contexts, (x->ncontexts + 1) * sizeof(*x->contexts));
        x->contexts[x->ncontexts++] = xstrdup(name);
    }
    return ret;
}

static int tell_export(struct nbd_talk *t, const struct listing *l, const struct listed *d)
{
    struct nbd_export_info x = { .name = d->name, .description = d->description };
    int ret = get_info(t, &x);

    ret = ret < 0 || !t->h->structured ? ret : get_contexts(t, &x);
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

static int tell_all(struct nbd_talk *t, void *opaque)
{
    struct listing *l = opaque;
    int ret = get_exports(t, l);

    if (ret == 0) {
        l->count(l->n);
    }
    for (unsigned i = 0; ret == 0 && i < l->n; i++) {
        ret = tell_export(t, l, &l->x[i]);
    }
    if (ret == 0) {
        nbd_send_option(t, NBD_OPT_ABORT, NULL, 0); /* politeness: it may be gone already */
    }
    return ret;
}

int nbd_list(const char *address, const struct nbd_how *how, void (*count)(unsigned n),
             void (*each)(const struct nbd_export_info *x), struct err *e)
{
    struct listing l = { .count = count, .each = each };
    struct nbd_hello h;
    int ret = nbd_talk(address, how, &h, tell_all, &l, e);

    if (ret == 0) {
        close(h.fd);
    }
    for (unsigned i = 0; i < l.n; i++) {
        free(l.x[i].name);
        free(l.x[i].description);
    }
    free(l.x);
    return ret;
}
