/* SPDX-License-Identifier: MIT */
/* tests/unit/ram-node.h - a protocol node in memory. */
#ifndef TESTS_UNIT_RAM_NODE_H
#define TESTS_UNIT_RAM_NODE_H

#include "block/node.h"
#include "dm/base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct ram_node {
    struct node base; /* first */
    uint8_t *data;
    uint64_t room;
    uint64_t max;  /* bytes; writes beyond fail: 0 for no limit */
    bool borrowed; /* data are somebody else's */
};

static inline int ram_reach(struct ram_node *m, uint64_t end)
{
    if (m->max && end > m->max) {
        return -ENOSPC;
    }
    if (end > m->room) {
        uint64_t room = max_u64(end, m->room * 2);

        m->data = xrealloc(m->data, room);
        memset(m->data + m->room, 0, room - m->room);
        m->room = room;
    }
    m->base.len = max_u64(m->base.len, end);
    return 0;
}

static inline int ram_do(struct ram_node *m, struct node_req *r)
{
    int ret = 0;

    switch (r->op) {
    case NODE_READ:
        node_iov_zero(r->iov, r->iovcnt, 0, r->len);
        if (r->offset < m->base.len) {
            node_iov_from_buf(r->iov, r->iovcnt, 0, m->data + r->offset,
                              min_u64(r->len, m->base.len - r->offset));
        }
        break;
    case NODE_WRITE:
        ret = ram_reach(m, r->offset + r->len);
        if (ret == 0) {
            node_iov_to_buf(r->iov, r->iovcnt, 0, m->data + r->offset, r->len);
        }
        break;
    case NODE_ZERO:
        ret = ram_reach(m, r->offset + r->len);
        if (ret == 0) {
            memset(m->data + r->offset, 0, r->len);
        }
        break;
    case NODE_DISCARD:
        if (r->offset < m->base.len) {
            memset(m->data + r->offset, 0, min_u64(r->len, m->base.len - r->offset));
        }
        break;
    case NODE_STATUS:
        r->status = (struct node_status){ .len = r->len,
                                          .flags = NODE_HAS_DATA | NODE_ALLOCATED | NODE_MAPPED,
                                          .mapped = r->offset };
        break;
    default:
        break;
    }
    return ret;
}

static inline void ram_submit(struct node *n, struct node_req *r)
{
    node_complete(r, ram_do((struct ram_node *)n, r));
}

static inline int ram_close(struct node *n)
{
    struct ram_node *m = (struct ram_node *)n;

    if (!m->borrowed) {
        free(m->data);
    }
    free(m);
    return 0;
}

static inline int ram_resize(struct node *n, uint64_t len, struct err *e)
{
    struct ram_node *m = (struct ram_node *)n;

    (void)e;
    ram_reach(m, len);
    memset(m->data + len, 0, m->room - len);
    n->len = len;
    return 0;
}

static const struct node_ops ram_ops = {
    .name = "ram", .submit = ram_submit, .close = ram_close, .resize = ram_resize
};

/* Copies len bytes of data (NULL: zeros). */
static inline struct node *ram_node_new(struct node_ctx *c, const void *data, uint64_t len)
{
    struct ram_node *m = xcalloc(1, sizeof(*m));

    m->base.ops = &ram_ops;
    m->base.ctx = c;
    m->base.growable = m->base.zero_tail = true;
    m->base.filename = xstrdup("ram");
    ram_reach(m, (len + 511) & ~511ull);
    if (data && len) {
        memcpy(m->data, data, len);
    }
    return &m->base;
}

/* Only to be read: it stands on data itself, len bytes, whole sectors. */
static inline struct node *ram_node_view(struct node_ctx *c, uint8_t *data, uint64_t len)
{
    struct ram_node *m = (struct ram_node *)ram_node_new(c, NULL, 0);

    free(m->data);
    m->data = data;
    m->room = m->base.len = len;
    m->borrowed = m->base.read_only = true;
    return &m->base;
}

#endif
