/* SPDX-License-Identifier: MIT */
/* block/nbd-hello.c - an NBD client and a server agree on one export. */
#include "block/nbd-hello-int.h"

#include "dm/base/bytes.h"
#include "dm/base/util.h"

#include <errno.h>
#include <string.h>

static int ask_status(struct nbd_talk *t)
{
    static const char query[] = "base:allocation";
    enum { LEN = sizeof(query) - 1 };
    uint8_t wanted[8 + LEN];
    const struct nbd_reply *r = &t->r;
    int ret;

    store_be32(wanted, 1);
    store_be32(wanted + 4, LEN);
    memcpy(wanted + 8, query, LEN);
    ret = nbd_ask_about(t, NBD_OPT_SET_META_CONTEXT, t->address.export, wanted, sizeof(wanted));
    for (int i = 0; ret == 0 && i < NBD_MAX_REPLIES; i++) {
        ret = nbd_get_reply(t, NBD_OPT_SET_META_CONTEXT);
        if (ret < 0 || r->type != NBD_REP_META_CONTEXT) {
            return ret;
        }
        if (r->len == 4 + LEN && memcmp(r->data + 4, query, LEN) == 0) {
            t->h->status = true;
            t->h->context = load_be32(r->data);
        }
    }
    return ret < 0 ? ret : -EPROTO;
}

static int take_info(struct nbd_hello *h, const struct nbd_reply *r, bool *export)
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
static int ask_by_name(struct nbd_talk *t)
{
    const char *export = t->address.export;
    uint8_t answer[10 + 124];
    int ret = nbd_send_option(t, NBD_OPT_EXPORT_NAME, export, strlen(export));

    ret = ret < 0 ? ret : nbd_get(t, answer, t->zeroes ? sizeof(answer) : 10);
    if (ret == 0) {
        t->h->size = load_be64(answer);
        t->h->flags = load_be16(answer + 8);
    }
    return ret;
}

static int ask_go(struct nbd_talk *t)
{
    const struct nbd_reply *r = &t->r;
    bool known = false;
    int ret = nbd_ask_info(t, NBD_OPT_GO, t->address.export);

    for (int i = 0; ret == 0 && i < NBD_MAX_REPLIES; i++) {
        ret = nbd_get_reply(t, NBD_OPT_GO);
        if (ret == 0 && r->type == NBD_REP_ACK) {
            return known ? 0 : -EPROTO;
        }
        if (ret == 0 && r->type == NBD_REP_ERR_UNSUP) {
            return ask_by_name(t);
        }
        if (ret == 0 && (r->type & NBD_REP_ERR)) {
            return err_set(&t->err, -ENOENT, "the server refuses export '%s': %.200s",
                           t->address.export, nbd_reason(t));
        }
        ret = ret < 0 ? ret : r->type == NBD_REP_INFO ? take_info(t->h, r, &known) : -EPROTO;
    }
    return ret < 0 ? ret : -EPROTO;
}

static int agree(struct nbd_talk *t, void *opaque)
{
    int ret = t->h->structured ? ask_status(t) : 0;

    (void)opaque;
    ret = ret < 0 ? ret : ask_go(t);
    return ret == 0 && t->h->size > INT64_MAX - NODE_ALIGN ? -EFBIG : ret;
}

int nbd_connect(const char *address, const struct nbd_how *how, struct nbd_hello *h, struct err *e)
{
    return nbd_talk(address, how, h, agree, NULL, e);
}
